//! Sockets and threads: binding, accepting within the connection limit, dealing to workers, stopping.
//!
//! A worker is a thread with an event loop of its own; a connection goes to the worker that has the
//! fewest and stays there. The thread that calls [`run`] accepts; one more looks after the store.
//!
//! INVARIANT: never more than `-c` connections are served at a time.

mod relief;

use crate::config::{Config, Listen, VERSION};
use crate::connection::{Connection, linger};
use crate::instance::{Instance, Phase};
use crate::panics;
use crate::systemd::Manager;
use larder_protocol::Reject;
use socket2::{Domain, Socket, Type};
use std::future::{Future, poll_fn};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::os::fd::AsRawFd;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::Poll;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// As many refused connections are given time to hear why.
const REFUSED_COUNT_MAX: usize = 32;
/// File descriptors for other things than connections and threads: refused connections, the standard streams, the
/// log, signals.
const OTHER_FDS: u64 = REFUSED_COUNT_MAX as u64 + 32;
/// What the event loop of a thread takes.
const FDS_PER_THREAD: u64 = 4;
/// How long the store is left to itself.
const MAINTENANCE_PAUSE: Duration = Duration::from_secs(5);
/// Between two looks at what is on its way, when it is to end.
const DRAIN_PAUSE: Duration = Duration::from_millis(2);
/// How long accepting rests after it failed, out of file descriptors for example.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// File descriptors kept for other things than connections.
pub fn reserved_fds(threads: usize, listener_count: usize) -> u64 {
    OTHER_FDS + FDS_PER_THREAD * (threads as u64 + 2) + listener_count as u64
}

/// Binds every address that the configuration names.
///
/// The error is one sentence that names the address.
pub fn bind(config: &Config) -> Result<Vec<std::net::TcpListener>, String> {
    let mut listeners = Vec::new();
    let mut named = Vec::new();
    for listen in &config.listen {
        let mut failed = None;
        let mut bound_any = false;
        for addr in addresses(listen, listen.port.unwrap_or(config.port))? {
            // The same address by two names; port 0 is another port each time.
            if addr.port() != 0 && named.contains(&addr) {
                bound_any = true;
                continue;
            }
            named.push(addr);
            match bind_one(addr, config.backlog) {
                Ok(listener) => {
                    bound_any = true;
                    listeners.push(listener);
                }
                // A name may stand for an address family that this machine does not have.
                Err(error) if is_unavailable(&error) => failed = Some((addr, error)),
                Err(error) => return Err(format!("cannot listen on {addr}: {error}")),
            }
        }
        if let (false, Some((addr, error))) = (bound_any, failed) {
            return Err(format!("cannot listen on {addr}: {error}"));
        }
    }
    Ok(listeners)
}

fn is_unavailable(error: &io::Error) -> bool {
    let no_family = nix::errno::Errno::EAFNOSUPPORT as i32;
    error.kind() == io::ErrorKind::AddrNotAvailable || error.raw_os_error() == Some(no_family)
}

fn addresses(listen: &Listen, port: u16) -> Result<Vec<SocketAddr>, String> {
    if listen.host == "*" {
        return Ok(vec![
            (Ipv4Addr::UNSPECIFIED, port).into(),
            (Ipv6Addr::UNSPECIFIED, port).into(),
        ]);
    }
    let found = (listen.host.as_str(), port).to_socket_addrs();
    let mut found: Vec<SocketAddr> = found
        .map_err(|error| format!("cannot resolve the address {}: {error}", listen.host))?
        .collect();
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

fn bind_one(addr: SocketAddr, backlog: u32) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    if addr.is_ipv6() {
        // So that it does not collide with the same port on IPv4.
        socket.set_only_v6(true)?;
    }
    socket.bind(&addr.into())?;
    socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// A thread that serves connections, as the acceptor sees it.
#[derive(Debug)]
struct Worker {
    event_loop: Handle,
    /// Connections that it serves now.
    open: AtomicUsize,
}

/// Serves until the instance is told to stop, or `stop_asked` ends: then answers what is on its way, but only until
/// that ends again. `acceptor` is the calling thread's.
pub fn run(
    acceptor: &Runtime,
    instance: &Arc<Instance>,
    listeners: Vec<std::net::TcpListener>,
    manager: &Manager,
    mut stop_asked: impl AsyncFnMut(),
) -> io::Result<()> {
    let mut workers = Vec::new();
    let mut threads = Vec::new();
    for index in 0..instance.config.threads {
        let event_loop = event_loop()?;
        let handle = event_loop.handle().clone();
        workers.push(Arc::new(Worker { event_loop: handle, open: AtomicUsize::new(0) }));
        let mut phase = instance.phase.subscribe();
        let thread = std::thread::Builder::new().name(format!("worker-{index}"));
        threads.push(thread.spawn(move || {
            // An error means that nobody can say stop any more.
            let _ = event_loop.block_on(phase.wait_for(|phase| *phase == Phase::Over));
        })?);
    }
    threads.push(spawn_maintenance(instance)?);
    let relieved = Arc::clone(instance);
    acceptor.spawn(async move { relief::relieve(&relieved).await });
    let workers: Arc<[Arc<Worker>]> = workers.into();
    let outcome = acceptor.block_on(accept_all(
        instance,
        listeners,
        Arc::clone(&workers),
        manager,
        stop_asked(),
    ));
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
            let mut is_over = async || phase.wait_for(|phase| *phase == Phase::Over).await.is_ok();
            while timeout(MAINTENANCE_PAUSE, is_over()).await.is_err() {
                instance.store.maintain(instance.clock.now());
            }
        });
    })
}

/// What a thread of the server waits in.
pub fn event_loop() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}

/// Accepts on all listeners until it is time to stop.
async fn accept_all(
    instance: &Arc<Instance>,
    listeners: Vec<std::net::TcpListener>,
    workers: Arc<[Arc<Worker>]>,
    manager: &Manager,
    stop_asked: impl Future<Output = ()>,
) -> io::Result<()> {
    instance.acceptor_counters().total_connections.add(listeners.len() as u64);
    let listeners: io::Result<Vec<TcpListener>> =
        listeners.into_iter().map(TcpListener::from_std).collect();
    let permits = usize::try_from(instance.config.max_connections).unwrap_or(usize::MAX);
    let acceptor = Acceptor {
        instance: Arc::clone(instance),
        listeners: listeners?,
        limit: Arc::new(Semaphore::new(permits.min(Semaphore::MAX_PERMITS))),
        refused: Arc::new(Semaphore::new(REFUSED_COUNT_MAX)),
        workers,
    };
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
    tracing::info!(
        "larder {VERSION} listens on {}, {} MB, {} threads",
        addrs.join(" and "),
        instance.config.memory_limit_bytes >> 20,
        instance.config.threads
    );
}

/// Accepts on all listeners.
#[derive(Debug)]
struct Acceptor {
    instance: Arc<Instance>,
    listeners: Vec<TcpListener>,
    /// One permit for each connection that may be open.
    limit: Arc<Semaphore>,
    /// One permit for each refused connection that is told why.
    refused: Arc<Semaphore>,
    workers: Arc<[Arc<Worker>]>,
}

impl Acceptor {
    async fn run(self) {
        let mut failing_since = None;
        // The listener that is asked first, in turn, so that a busy one does not shut out the others.
        let mut first = 0;
        loop {
            let permit = if self.instance.config.maxconns_fast {
                None
            } else {
                Some(self.wait_for_permit().await)
            };
            first = (first + 1) % self.listeners.len();
            match self.accept(first).await {
                Ok((stream, addr)) => {
                    if let Some(since) = failing_since.take() {
                        self.enable_accepting(since);
                    }
                    let permit = if self.instance.clients.is_full(addr.ip()) {
                        None
                    } else {
                        permit.or_else(|| Arc::clone(&self.limit).try_acquire_owned().ok())
                    };
                    match permit {
                        Some(permit) => self.deal(stream, addr, permit),
                        None => self.reject(stream),
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    if failing_since.is_none() {
                        tracing::warn!("cannot accept a connection, trying again: {error}");
                        failing_since = Some(self.disable_accepting());
                    }
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// The next connection on any listener.
    async fn accept(&self, first: usize) -> io::Result<(TcpStream, SocketAddr)> {
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

    /// Accepts nothing until a connection may be open.
    async fn wait_for_permit(&self) -> OwnedSemaphorePermit {
        if let Ok(permit) = Arc::clone(&self.limit).try_acquire_owned() {
            return permit;
        }
        let since = self.disable_accepting();
        let permit = Arc::clone(&self.limit).acquire_owned().await;
        self.enable_accepting(since);
        permit.expect("the semaphore is never closed")
    }

    /// Lets operators know that nothing is accepted from now on.
    fn disable_accepting(&self) -> Instant {
        self.instance.acceptor_counters().listen_disabled_num.increment();
        self.instance.accepting.store(false, Relaxed);
        Instant::now()
    }

    /// Lets operators know that connections are accepted again.
    fn enable_accepting(&self, since: Instant) {
        let waited_us = u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.instance.acceptor_counters().time_in_listen_disabled_us.add(waited_us);
        self.instance.accepting.store(true, Relaxed);
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
    fn deal(&self, stream: TcpStream, addr: SocketAddr, permit: OwnedSemaphorePermit) {
        let open = |index: &usize| self.workers[*index].open.load(Relaxed);
        self.instance.acceptor_counters().total_connections.increment();
        let index = (0..self.workers.len()).min_by_key(open).expect("there is a worker");
        let seat = Seat::take(Arc::clone(&self.workers[index]));
        let mut connection = match self.hand_over(stream, addr, index) {
            Ok(connection) => connection,
            Err(error) => return tracing::debug!("cannot hand over a connection: {error}"),
        };
        tracing::debug!(client = %addr, "connected");
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
            match outcome {
                Ok(Ok(())) => tracing::debug!(client = %connection.addr(), "closed"),
                Ok(Err(error)) => {
                    tracing::debug!(client = %connection.addr(), "connection ended: {error}");
                }
                Err(panic) => {
                    connection.count_panic();
                    tracing::error!(client = %connection.addr(), "closed: serving it panicked: {panic}");
                }
            }
            // Its seat is free when its socket is.
            drop(connection);
            drop((permit, seat));
        });
    }

    /// A connection in the event loop of a worker.
    fn hand_over(
        &self,
        stream: TcpStream,
        addr: SocketAddr,
        index: usize,
    ) -> io::Result<Connection> {
        let stream = stream.into_std()?;
        stream.set_nodelay(true)?;
        socket2::SockRef::from(&stream).set_keepalive(true)?;
        let now = self.instance.clock.now();
        let _context = self.workers[index].event_loop.enter();
        let stream = TcpStream::from_std(stream)?;
        let guest = self.instance.clients.enter(stream.as_raw_fd(), addr, now.ms);
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
