//! Accepting: within the connection limit, each connection for the worker that has the fewest.
//!
//! A connection too many is heard out before it is turned away: a few that ask for `stats` are served all the same, or
//! nobody could see why others are not.
//!
//! INVARIANT: never more than `-c` connections are served at a time, and [`RESERVE_COUNT`].

use super::listener::{Listener, set_options};
use crate::address::Peer;
use crate::connection::{Connection, linger};
use crate::instance::Instance;
use crate::panics;
use crate::watch::Closed;
use larder_protocol::Reject;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::os::fd::AsRawFd;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::Poll;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::timeout;

/// So many connections beyond the limit are served when they ask for this first.
const RESERVE_COUNT: usize = 4;
const STATS: &[u8] = b"stats";
/// So many that are too many are heard out, or wait, at a time.
const TRIED_COUNT_MAX: usize = 32;
/// How long they have to ask, where they do not wait.
const TRIAL_TIME_MAX: Duration = Duration::from_millis(250);
/// As many refused connections are given time to hear why.
const REFUSED_COUNT_MAX: usize = 32;
/// File descriptors for connections beyond the limit.
pub(super) const EXTRA_FDS: u64 = (RESERVE_COUNT + TRIED_COUNT_MAX + REFUSED_COUNT_MAX) as u64;
/// How long accepting rests after it failed, out of file descriptors for example.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A thread that serves connections, as the acceptor sees it.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) event_loop: Handle,
    /// Connections that it serves now.
    open: AtomicUsize,
}

impl Worker {
    pub(super) fn new(event_loop: Handle) -> Self {
        Self { event_loop, open: AtomicUsize::new(0) }
    }
}

/// Accepts on all listeners. All of it runs in one thread.
#[derive(Debug)]
pub(super) struct Acceptor {
    instance: Arc<Instance>,
    listeners: Vec<Listener>,
    workers: Arc<[Arc<Worker>]>,
    /// One permit for each connection that may be open.
    limit: Arc<Semaphore>,
    /// One permit for each that may be open beyond that.
    reserve: Arc<Semaphore>,
    /// One permit for each that may wait until another leaves.
    waiting: Arc<Semaphore>,
    /// One permit for each refused connection that is told why.
    refused: Arc<Semaphore>,
    /// Since when not all are accepted that come.
    disabled_since: Mutex<Option<Instant>>,
}

impl Acceptor {
    pub(super) fn new(
        instance: &Arc<Instance>,
        listeners: Vec<Listener>,
        workers: &Arc<[Arc<Worker>]>,
    ) -> Self {
        let limit = usize::try_from(instance.config.max_connections).unwrap_or(usize::MAX);
        Self {
            instance: Arc::clone(instance),
            listeners,
            workers: Arc::clone(workers),
            limit: Arc::new(Semaphore::new(limit.min(Semaphore::MAX_PERMITS))),
            reserve: Arc::new(Semaphore::new(RESERVE_COUNT)),
            waiting: Arc::new(Semaphore::new(TRIED_COUNT_MAX)),
            refused: Arc::new(Semaphore::new(REFUSED_COUNT_MAX)),
            disabled_since: Mutex::new(None),
        }
    }

    /// Ends by being cancelled.
    pub(super) async fn run(self) {
        let this = Arc::new(self);
        // The listener that is asked first, in turn, so that a busy one does not shut out the others.
        let mut first = 0;
        // The last ones that are heard out. Who is pushed out of here is turned away.
        let mut tried = VecDeque::with_capacity(TRIED_COUNT_MAX);
        loop {
            first = (first + 1) % this.listeners.len();
            match this.accept(first).await {
                Ok((stream, peer)) => {
                    this.enable_accepting();
                    let is_full = this.instance.clients.is_full(peer);
                    let permit = Arc::clone(&this.limit).try_acquire_owned().ok();
                    if let (Some(permit), false) = (permit, is_full) {
                        this.deal(stream, peer, permit);
                    } else if is_full || this.instance.config.maxconns_fast {
                        tried.truncate(TRIED_COUNT_MAX - 1);
                        tried.push_front(this.hear_out(stream, peer));
                    } else {
                        this.let_wait(stream, peer).await;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    if this.disable_accepting() {
                        tracing::warn!("cannot accept a connection, trying again: {error}");
                    }
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// The next connection on any listener.
    async fn accept(&self, first: usize) -> io::Result<(TcpStream, Peer)> {
        poll_fn(|cx| {
            let (before, from) = self.listeners.split_at(first);
            let accepted = from.iter().chain(before).find_map(|listener| {
                let accepted = listener.poll_accept(cx);
                accepted.is_ready().then_some(accepted)
            });
            accepted.unwrap_or(Poll::Pending)
        })
        .await
    }

    /// Lets operators know that not all are accepted from now on; false where they do.
    fn disable_accepting(&self) -> bool {
        let mut since = self.disabled_since.lock();
        if since.is_some() {
            return false;
        }
        *since = Some(Instant::now());
        self.instance.acceptor_counters().listen_disabled_num.increment();
        self.instance.accepting.store(false, Relaxed);
        true
    }

    /// Lets operators know that connections are accepted again, unless some wait.
    fn enable_accepting(&self) {
        if self.waiting.available_permits() < TRIED_COUNT_MAX {
            return;
        }
        if let Some(since) = self.disabled_since.lock().take() {
            let waited_us = u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX);
            self.instance.acceptor_counters().time_in_listen_disabled_us.add(waited_us);
            self.instance.accepting.store(true, Relaxed);
        }
    }

    /// Lets a connection wait until another leaves. Waits itself where too many do, and nothing is accepted then.
    async fn let_wait(self: &Arc<Self>, stream: TcpStream, peer: Peer) {
        self.disable_accepting();
        let place = Arc::clone(&self.waiting).acquire_owned().await;
        let this = Arc::clone(self);
        tokio::spawn(async move {
            let permit = {
                let mut left = pin!(Arc::clone(&this.limit).acquire_owned());
                tokio::select! {
                    biased;
                    permit = &mut left => permit,
                    reserved = this.reserved_for(&stream) => match reserved {
                        Some(permit) => Ok(permit),
                        None => left.await,
                    },
                }
            };
            drop(place);
            this.enable_accepting();
            this.deal(stream, peer, permit.expect("the semaphore is never closed"));
        });
    }

    /// Turns a connection away when it asks for anything but `stats`, or too late, or when the result is dropped.
    fn hear_out(self: &Arc<Self>, stream: TcpStream, peer: Peer) -> oneshot::Sender<()> {
        let (place, replaced) = oneshot::channel();
        let this = Arc::clone(self);
        tokio::spawn(async move {
            let permit = tokio::select! {
                tried = timeout(TRIAL_TIME_MAX, this.reserved_for(&stream)) => tried.ok().flatten(),
                _ = replaced => None,
            };
            match permit {
                Some(permit) => this.deal(stream, peer, permit),
                None => this.reject(stream),
            }
        });
        place
    }

    /// A permit of the reserve, for a connection whose first request is `stats`.
    async fn reserved_for(&self, stream: &TcpStream) -> Option<OwnedSemaphorePermit> {
        let mut front = [0; STATS.len() + 1];
        // It stays where it is, for whoever serves the connection.
        let len = stream.peek(&mut front).await.ok()?;
        let is_stats = matches!(front[..len].strip_prefix(STATS), Some([b' ' | b'\r' | b'\n']));
        is_stats.then(|| Arc::clone(&self.reserve).try_acquire_owned().ok())?
    }

    /// Says that there are too many, and waits a little until that is heard. In a flood, only closes.
    fn reject(&self, mut stream: TcpStream) {
        self.instance.acceptor_counters().rejected_connections.increment();
        let line = Reject::TooManyConnections.line();
        if let Err(error) = stream.try_write(line) {
            return tracing::debug!("cannot tell a client that there are too many: {error}");
        }
        if let Ok(permit) = Arc::clone(&self.refused).try_acquire_owned() {
            tokio::spawn(async move {
                let _permit = permit;
                // It is over either way.
                let _ = linger(&mut stream).await;
            });
        }
    }

    /// Gives a connection to the worker that has the fewest.
    fn deal(&self, stream: TcpStream, peer: Peer, permit: OwnedSemaphorePermit) {
        let open = |index: &usize| self.workers[*index].open.load(Relaxed);
        self.instance.acceptor_counters().total_connections.increment();
        let index = (0..self.workers.len()).min_by_key(open).expect("there is a worker");
        let seat = Seat::take(Arc::clone(&self.workers[index]));
        let mut connection = match self.hand_over(stream, peer, index) {
            Ok(connection) => connection,
            Err(error) => return tracing::debug!("cannot hand over a connection: {error}"),
        };
        tracing::debug!(client = %peer, "connected");
        connection.show_new();
        // What is moved into it is the memory of an idle connection.
        self.workers[index].event_loop.spawn(async move {
            let outcome = {
                let mut serving = pin!(connection.serve());
                poll_fn(move |cx| match panics::catch(|| serving.as_mut().poll(cx)) {
                    Ok(poll) => poll.map(Ok),
                    Err(panic) => Poll::Ready(Err(panic)),
                })
                .await
            };
            let closed = match outcome {
                Ok(Ok(closed)) => {
                    tracing::debug!(client = %connection.peer(), "closed");
                    closed
                }
                Ok(Err(error)) => {
                    tracing::debug!(client = %connection.peer(), "connection ended: {error}");
                    Closed::Error
                }
                Err(panic) => {
                    connection.count_panic();
                    tracing::error!(client = %connection.peer(), "closed: serving it panicked: {panic}");
                    Closed::Error
                }
            };
            connection.show_closed(closed);
            // Its seat is free when its socket is.
            drop(connection);
            drop((permit, seat));
        });
    }

    /// A connection in the event loop of a worker.
    fn hand_over(&self, stream: TcpStream, peer: Peer, index: usize) -> io::Result<Connection> {
        let stream = stream.into_std()?;
        set_options(&stream, peer)?;
        let now = self.instance.clock.now();
        let _context = self.workers[index].event_loop.enter();
        let stream = TcpStream::from_std(stream)?;
        let guest = self.instance.clients.enter(stream.as_raw_fd(), peer, now.ms);
        Ok(Connection::new(Arc::clone(&self.instance), index, stream, guest))
    }
}

/// A connection's place with its worker.
#[derive(Debug)]
struct Seat(Arc<Worker>);

impl Seat {
    fn take(worker: Arc<Worker>) -> Self {
        worker.open.fetch_add(1, Relaxed);
        Self(worker)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Relaxed);
    }
}
