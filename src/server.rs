//! Sockets and threads: starting what accepts and what serves, stopping.
//!
//! A worker is a thread with an event loop of its own; a connection goes to the worker that has the
//! fewest and stays there. The thread that calls [`run`] accepts; one more looks after the store.

mod accept;
mod listener;
mod relief;

pub use listener::{Bound, bind, bind_unix};

use crate::config::VERSION;
use crate::instance::{Instance, Phase};
use crate::panics;
use crate::store::Shrunk;
use crate::systemd::Manager;
use crate::watch::{self, Crawl};
use accept::{Acceptor, EXTRA_FDS, Worker};
use larder_protocol::Streams;
use listener::Listener;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

/// File descriptors for other things than connections and threads: connections beyond the limit, the standard streams,
/// the log, signals.
const OTHER_FDS: u64 = EXTRA_FDS + 32;
/// What the event loop of a thread takes.
const FDS_PER_THREAD: u64 = 4;
/// How long the store is left to itself.
const MAINTENANCE_PAUSE: Duration = Duration::from_secs(5);
/// Between two looks at what is on its way, when it is to end.
const DRAIN_PAUSE: Duration = Duration::from_millis(2);

/// File descriptors kept for other things than connections.
pub fn reserved_fds(threads: usize, listener_count: usize) -> u64 {
    OTHER_FDS + FDS_PER_THREAD * (threads as u64 + 2) + listener_count as u64
}

/// Serves until the instance is told to stop, or `stop_asked` ends: then answers what is on its way, but only until
/// that ends again. `acceptor` is the calling thread's.
pub fn run(
    acceptor: &Runtime,
    instance: &Arc<Instance>,
    listeners: Vec<Bound>,
    manager: &Manager,
    mut stop_asked: impl AsyncFnMut(),
) -> io::Result<()> {
    let mut workers = Vec::new();
    let mut threads = Vec::new();
    for index in 0..instance.config.threads {
        let event_loop = event_loop()?;
        let handle = event_loop.handle().clone();
        workers.push(Arc::new(Worker::new(handle)));
        let mut phase = instance.phase.subscribe();
        let thread = std::thread::Builder::new().name(format!("worker-{index}"));
        threads.push(thread.spawn(move || {
            // An error means that nobody can say stop any more.
            let _ = event_loop.block_on(phase.wait_for(|phase| *phase == Phase::Over));
        })?);
    }
    threads.push(spawn_maintenance(instance)?);
    let relieved = Arc::clone(instance);
    acceptor.spawn(async move { relief::look_after(&relieved).await });
    let workers: Arc<[Arc<Worker>]> = workers.into();
    let outcome =
        acceptor.block_on(accept_all(instance, listeners, &workers, manager, stop_asked()));
    instance.stop();
    manager.stopping();
    acceptor.block_on(drain(instance, &workers, stop_asked()));
    instance.enter(Phase::Over);
    for thread in threads {
        // A worker that panicked has said so already.
        let _ = thread.join();
    }
    outcome
}

/// The thread that looks after the store while nobody asks it to.
fn spawn_maintenance(instance: &Arc<Instance>) -> io::Result<JoinHandle<()>> {
    let event_loop = event_loop()?;
    let instance = Arc::clone(instance);
    std::thread::Builder::new().name("maintenance".to_owned()).spawn(move || {
        event_loop.block_on(async {
            let mut phase = instance.phase.subscribe();
            let mut last_crawl = Instant::now();
            let mut is_over = async || phase.wait_for(|phase| *phase == Phase::Over).await.is_ok();
            loop {
                tokio::select! {
                    () = tokio::time::sleep(MAINTENANCE_PAUSE) => {}
                    () = instance.crawler.asked() => {}
                    () = instance.limit_set.notified() => {}
                    _ = is_over() => break,
                }
                let is_asked = instance.crawler.is_running();
                // What it was at is looked after again, by the next one.
                let maintain = || maintain(&instance, is_asked, &mut last_crawl);
                if let Err(panic) = panics::catch(maintain) {
                    instance.acceptor_counters().conn_panics.increment();
                    tracing::error!("looking after the items panicked: {panic}");
                }
                if is_asked {
                    instance.crawler.end();
                }
            }
        });
    })
}

/// Gives memory back that is over a new limit, and that of dead items.
fn maintain(instance: &Instance, is_asked: bool, last_crawl: &mut Instant) {
    #[cfg(debug_assertions)]
    panics::when_asked(b"lru_crawler");
    // A little at a time: others wait for the same locks.
    while instance.store.shrink(instance.clock.now()) == Shrunk::Unfinished
        && *instance.phase.borrow() != Phase::Over
    {
        std::thread::yield_now();
    }
    if instance.crawler.is_enabled() {
        let since_run = std::mem::replace(last_crawl, Instant::now()).elapsed();
        crawl(instance, is_asked, since_run);
    }
}

/// Forgets dead items, and tells those who watch what came of it where somebody asked for that, or something did.
fn crawl(instance: &Instance, is_asked: bool, since_run: Duration) {
    let is_watched = instance.watchers.streams().has(Streams::SYSEVENTS);
    let (start, before) =
        (Instant::now(), is_watched.then(|| instance.store.stats(instance.clock.now())));
    instance.store.maintain(instance.clock.now(), is_asked);
    let Some(before) = before else { return };
    let after = instance.store.stats(instance.clock.now());
    let crawl = Crawl {
        since_run_s: since_run.as_secs(),
        next_run_s: MAINTENANCE_PAUSE.as_secs(),
        elapsed_s: start.elapsed().as_secs(),
        examined: before.curr_items,
        reclaimed: after.reclaimed - before.reclaimed,
    };
    if is_asked || crawl.reclaimed > 0 {
        instance.watchers.log(Streams::SYSEVENTS, |line| watch::crawled(line, &crawl));
    }
}

/// What a thread of the server waits in.
pub fn event_loop() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}

/// Accepts on all listeners until it is time to stop.
async fn accept_all(
    instance: &Arc<Instance>,
    listeners: Vec<Bound>,
    workers: &Arc<[Arc<Worker>]>,
    manager: &Manager,
    stop_asked: impl Future<Output = ()>,
) -> io::Result<()> {
    instance.acceptor_counters().total_connections.add(listeners.len() as u64);
    let listeners: io::Result<Vec<Listener>> = listeners.into_iter().map(Listener::new).collect();
    let acceptor = Acceptor::new(instance, listeners?, workers);
    let mut accepting = tokio::spawn(acceptor.run());
    announce(instance);
    manager.ready();
    let mut phase = instance.phase.subscribe();
    tokio::select! {
        () = stop_asked => {}
        _ = phase.wait_for(|phase| *phase != Phase::Serving) => {}
        // A server that accepts nobody is of no use: whoever looks after it starts another.
        ended = &mut accepting => {
            let why = ended.map_or_else(|error| error.to_string(), |()| "it ended".to_owned());
            return Err(io::Error::other(format!("accepting connections has failed: {why}")));
        }
    }
    // Closes the listeners, so that the next server can have the port. It ends by being cancelled.
    accepting.abort();
    let _ = accepting.await;
    Ok(())
}

/// Waits until all that is on its way is answered, for as long as the configuration says, or until `stop_asked` ends.
async fn drain(instance: &Instance, workers: &[Arc<Worker>], stop_asked: impl Future<Output = ()>) {
    let limit = Duration::from_secs(u64::from(instance.config.drain_timeout_s));
    if limit.is_zero() {
        return;
    }
    let is_quiet = async {
        let mut read_len = None;
        loop {
            for worker in workers {
                // Its event loop has seen then what had come before. One that panicked sees nothing any more.
                let _ = worker.event_loop.spawn(tokio::time::sleep(DRAIN_PAUSE)).await;
            }
            let before = read_len.replace(instance.totals().bytes_read);
            if before == read_len && !instance.clients.any_busy() {
                break;
            }
        }
    };
    tokio::select! {
        waited = timeout(limit, is_quiet) => if waited.is_err() {
            tracing::warn!("not all clients took their replies in {} s", limit.as_secs());
        },
        () = stop_asked => {}
    }
}

fn announce(instance: &Instance) {
    let addrs: Vec<String> = instance.listeners.iter().map(|(_, addr)| addr.to_string()).collect();
    let (last, others) = addrs.split_last().expect("there is a listener");
    tracing::info!(
        "larder {VERSION} listens on {}{}{last}, {} MB, {} threads",
        others.join(", "),
        if others.is_empty() { "" } else { " and " },
        instance.config.memory_limit_bytes >> 20,
        instance.config.threads
    );
}
