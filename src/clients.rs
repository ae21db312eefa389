//! Who is connected: the registry behind `stats conns`, with what each connection holds.

mod budget;

pub use budget::Budget;

use crate::address::{Address, Peer};
use crate::config::Protocol;
use ahash::RandomState;
use dashmap::{DashMap, DashSet};
use nix::sys::socket::{Shutdown, shutdown};
use std::borrow::Borrow;
use std::hash::{Hash, Hasher};
use std::net::IpAddr;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed};

/// Who has never held more than this, in bytes, is read without waiting for room.
const LIGHT_LEN_MAX: usize = 16 * 1024;
/// When connections must be closed, those that hold most are, until no more than such a part of the memory is held.
const EASY_PART: usize = 2;

/// What a connection is doing, in memcached's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Waiting for a request.
    Read,
    /// Executing requests.
    ParseCmd,
    /// Waiting for the rest of a data block.
    Nread,
    /// Skipping a refused data block.
    Swallow,
    /// Sending replies.
    Write,
    /// Shown what happens.
    Watch,
}

impl State {
    const ALL: [Self; 6] =
        [Self::Read, Self::ParseCmd, Self::Nread, Self::Swallow, Self::Write, Self::Watch];

    /// As `stats conns` shows it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "conn_read",
            Self::ParseCmd => "conn_parse_cmd",
            Self::Nread => "conn_nread",
            Self::Swallow => "conn_swallow",
            Self::Write => "conn_mwrite",
            Self::Watch => "conn_watch",
        }
    }
}

/// One connection, as others see it. Written by the connection's own task only, save `is_closing`.
#[derive(Debug)]
pub struct Client {
    /// The socket's number in the process.
    pub fd: RawFd,
    // Its address, shorter than a socket's: there may be many clients.
    port: u16,
    /// `None` at a Unix socket.
    ip: Option<IpAddr>,
    protocol: Protocol,
    state: AtomicU8,
    /// Whether it ever held more than [`LIGHT_LEN_MAX`], or could not hold what it had to.
    is_heavy: AtomicBool,
    /// Whether it is to be closed, for what it holds.
    is_closing: AtomicBool,
    /// Of the last request, on the server's clock.
    last_cmd_ms: AtomicU64,
    read_buf_bytes: AtomicU32,
    response_bytes: AtomicU32,
}

impl Client {
    /// Who it is.
    pub fn peer(&self) -> Peer {
        Peer { addr: self.ip.map(|ip| (ip, self.port).into()), protocol: self.protocol }
    }

    /// What it is doing.
    pub fn state(&self) -> State {
        State::ALL[usize::from(self.state.load(Relaxed))]
    }

    /// Capacity of the read buffer, in bytes.
    pub fn read_buf_bytes(&self) -> usize {
        self.read_buf_bytes.load(Relaxed) as usize
    }

    /// Capacity of the reply buffer, in bytes.
    pub fn response_bytes(&self) -> usize {
        self.response_bytes.load(Relaxed) as usize
    }

    /// What it holds of requests that have not come whole and of replies that the client has not taken, in bytes.
    pub fn held_bytes(&self) -> usize {
        self.read_buf_bytes() + self.response_bytes()
    }

    /// Whether it is to be closed, for what it holds.
    pub fn is_closing(&self) -> bool {
        self.is_closing.load(Relaxed)
    }

    /// Says what it is doing.
    pub fn set_state(&self, state: State) {
        self.state.store(state as u8, Relaxed);
    }

    /// When it last asked for something, in milliseconds on the server's clock.
    pub fn last_cmd_ms(&self) -> u64 {
        self.last_cmd_ms.load(Relaxed)
    }

    /// Says that it asked for something.
    pub fn touch(&self, now_ms: u64) {
        self.last_cmd_ms.store(now_ms, Relaxed);
    }
}

/// A client, found by the number of its socket.
#[derive(Debug)]
struct ByFd(Arc<Client>);

impl Borrow<RawFd> for ByFd {
    fn borrow(&self) -> &RawFd {
        &self.0.fd
    }
}

impl Hash for ByFd {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.fd.hash(state);
    }
}

impl PartialEq for ByFd {
    fn eq(&self, other: &Self) -> bool {
        self.0.fd == other.0.fd
    }
}

impl Eq for ByFd {}

/// All open connections.
#[derive(Debug)]
pub struct Clients {
    by_fd: DashSet<ByFd, RandomState>,
    /// How many there are from each address; empty where any number may be.
    by_ip: DashMap<IpAddr, u32, RandomState>,
    /// 0 is any number.
    per_ip_max: u32,
    /// What they hold.
    pub budget: Budget,
}

/// Connections that were closed for what they held.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Closed {
    /// Those that held a part of a request.
    pub readers: u64,
    /// Those that held replies.
    pub writers: u64,
    /// What they held, in bytes.
    pub bytes: usize,
}

impl Clients {
    /// No connections yet, which may hold so many bytes; so many of one address, or any number for 0.
    pub fn new(connection_memory_bytes: u64, per_ip_max: u32) -> Self {
        let limit = usize::try_from(connection_memory_bytes).unwrap_or(usize::MAX);
        Self {
            by_fd: DashSet::default(),
            by_ip: DashMap::default(),
            per_ip_max,
            budget: Budget::new(limit),
        }
    }

    /// Whether there may be no more connections from an address. They enter from one thread only.
    pub fn is_full(&self, peer: Peer) -> bool {
        let Some(ip) = peer.addr.map(|addr| addr.ip().to_canonical()) else { return false };
        self.per_ip_max > 0 && self.by_ip.get(&ip).is_some_and(|count| *count >= self.per_ip_max)
    }

    /// Enters a connection; it leaves when the guard is dropped.
    pub fn enter(self: &Arc<Self>, fd: RawFd, peer: Peer, now_ms: u64) -> Guest {
        let client = Arc::new(Client {
            fd,
            port: peer.addr.map_or(0, |addr| addr.port()),
            // One address, whichever kind of socket it came to.
            ip: peer.addr.map(|addr| addr.ip().to_canonical()),
            protocol: peer.protocol,
            state: AtomicU8::new(State::Read as u8),
            is_heavy: AtomicBool::new(false),
            is_closing: AtomicBool::new(false),
            last_cmd_ms: AtomicU64::new(now_ms),
            read_buf_bytes: AtomicU32::new(0),
            response_bytes: AtomicU32::new(0),
        });
        self.by_fd.insert(ByFd(Arc::clone(&client)));
        if let Some(ip) = client.ip.filter(|_| self.per_ip_max > 0) {
            *self.by_ip.entry(ip).or_default() += 1;
        }
        Guest { clients: Arc::clone(self), client }
    }

    /// Whether any connection holds a part of a request, or replies.
    pub fn any_busy(&self) -> bool {
        self.by_fd.iter().any(|row| row.0.held_bytes() > 0)
    }

    /// Closes the connections that hold most, of those that have asked for nothing since `since_ms`, until enough has
    /// come free; one at least, where there is one.
    pub fn close_worst(&self, since_ms: u64) -> Closed {
        let mut holders: Vec<(usize, RawFd)> = self
            .by_fd
            .iter()
            .filter(|row| row.0.held_bytes() > 0 && row.0.last_cmd_ms() <= since_ms)
            .map(|row| (row.0.held_bytes(), row.0.fd))
            .collect();
        holders.sort_unstable_by(|left, right| right.cmp(left));
        let to_free = self.budget.used().saturating_sub(self.budget.limit() / EASY_PART).max(1);
        let mut closed = Closed::default();
        for (_, fd) in holders {
            if closed.bytes >= to_free {
                break;
            }
            self.close(fd, since_ms, &mut closed);
        }
        closed
    }

    /// Ends a connection as its client could: by what its task reads, or cannot write.
    fn close(&self, fd: RawFd, since_ms: u64, closed: &mut Closed) {
        // While the row is locked it stays, and with it the number of the socket.
        let Some(row) = self.by_fd.get(&fd) else { return };
        let client = &row.0;
        // Another may have the number now, or it has got on.
        if client.held_bytes() == 0 || client.last_cmd_ms() > since_ms {
            return;
        }
        let (is_writing, is_closing) = (client.response_bytes() > 0, client.is_closing());
        client.is_closing.store(true, Relaxed);
        // Who is not amid a reply can still be told why.
        let how = if is_writing { Shutdown::Both } else { Shutdown::Read };
        if let Err(error) = shutdown(fd, how) {
            tracing::debug!(client = %client.peer(), "cannot close: {error}");
        }
        closed.bytes += client.held_bytes();
        if !is_closing {
            *(if is_writing { &mut closed.writers } else { &mut closed.readers }) += 1;
        }
    }

    /// Our address that a client connected to; `None` when it is gone.
    pub fn listen_addr(&self, fd: RawFd) -> Option<Address> {
        // While the row is locked it stays, and with it the number of the socket.
        let _row = self.by_fd.get(&fd)?;
        Address::of(fd).ok()
    }

    /// The connections as they are now, by socket number.
    pub fn all(&self) -> Vec<Arc<Client>> {
        let mut all: Vec<_> = self.by_fd.iter().map(|row| Arc::clone(&row.0)).collect();
        all.sort_unstable_by_key(|client| client.fd);
        all
    }
}

/// A connection's place in the registry.
#[derive(Debug)]
pub struct Guest {
    clients: Arc<Clients>,
    client: Arc<Client>,
}

impl std::ops::Deref for Guest {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl Guest {
    /// Whether it may be read: who has needed much memory before waits while there is little.
    pub fn may_read(&self) -> bool {
        !self.client.is_heavy.load(Relaxed) || self.clients.budget.has_room()
    }

    /// Means to hold a read buffer of so many bytes, in place of the one that it has; false where it must wait.
    pub fn plan_input(&self, bytes: usize) -> bool {
        self.hold(&self.client.read_buf_bytes, bytes, self.clients.budget.plannable())
    }

    /// Holds a read buffer of so many bytes, in place of the one that it has; false, and nothing changed, where
    /// there is no memory for it.
    pub fn hold_input(&self, bytes: usize) -> bool {
        self.hold(&self.client.read_buf_bytes, bytes, self.clients.budget.limit())
    }

    /// The same for replies.
    pub fn hold_replies(&self, bytes: usize) -> bool {
        self.hold(&self.client.response_bytes, bytes, self.clients.budget.limit())
    }

    fn hold(&self, held: &AtomicU32, bytes: usize, max: usize) -> bool {
        let before = held.load(Relaxed) as usize;
        if before == bytes {
            return true;
        }
        // What is counted in 32 bits is longer than any request or reply.
        let counted = u32::try_from(bytes).ok();
        let held_now = counted.filter(|_| self.clients.budget.change(before, bytes, max));
        if let Some(bytes) = held_now {
            held.store(bytes, Relaxed);
        }
        let is_held = held_now.is_some();
        if bytes > LIGHT_LEN_MAX || !is_held {
            self.client.is_heavy.store(true, Relaxed);
        }
        is_held
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.clients.by_fd.remove(&self.client.fd);
        self.clients.budget.change(self.client.held_bytes(), 0, 0);
        if let Some(ip) = self.client.ip.filter(|_| self.clients.per_ip_max > 0) {
            let leave = |_: &IpAddr, count: &mut u32| {
                *count -= 1;
                *count == 0
            };
            self.clients.by_ip.remove_if_mut(&ip, leave);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::SocketAddr;

    fn peer(host: u8) -> Peer {
        let addr = Some(SocketAddr::from(([127, 0, 0, host], 5)));
        Peer { addr, protocol: Protocol::Auto }
    }

    #[test]
    fn a_client_is_listed_as_long_as_it_is_there() {
        let clients = Arc::new(Clients::new(1 << 20, 0));
        let peer = peer(1);
        let first = clients.enter(7, peer, 0);
        let second = clients.enter(3, peer, 0);
        first.set_state(State::Swallow);
        first.touch(9);
        let all = clients.all();
        assert_eq!(all.iter().map(|client| client.fd).collect::<Vec<_>>(), [3, 7]);
        assert_eq!((all[1].state().name(), all[1].last_cmd_ms()), ("conn_swallow", 9));
        drop(second);
        drop(first);
        assert!(clients.all().is_empty());
    }

    #[test]
    fn an_address_is_full_until_one_of_it_leaves() {
        let clients = Arc::new(Clients::new(1 << 20, 2));
        let [here, there] = [1, 2].map(peer);
        let first = clients.enter(7, here, 0);
        assert!(!clients.is_full(here));
        let second = clients.enter(8, here, 0);
        assert!(clients.is_full(here) && !clients.is_full(there));
        drop(first);
        assert!(!clients.is_full(here));
        drop(second);
        let unix = Peer { addr: None, ..here };
        let local = [7, 8, 9].map(|fd| clients.enter(fd, unix, 0));
        assert!(!clients.is_full(unix) && local[0].peer() == unix);
        assert!(clients.by_ip.is_empty());
    }

    #[test]
    fn what_one_holds_is_free_when_it_leaves() {
        let clients = Arc::new(Clients::new(1 << 20, 0));
        let peer = peer(1);
        let guest = clients.enter(7, peer, 0);
        assert!(guest.hold_input(LIGHT_LEN_MAX) && guest.hold_replies(500_000));
        assert!(guest.hold_replies(LIGHT_LEN_MAX));
        assert_eq!(clients.budget.used(), 2 * LIGHT_LEN_MAX);
        assert!(!guest.hold_input(1 << 20));
        assert_eq!(guest.read_buf_bytes(), LIGHT_LEN_MAX);
        drop(guest);
        assert_eq!(clients.budget.used(), 0);
    }

    #[test]
    fn only_who_needed_much_waits() {
        let clients = Arc::new(Clients::new(1 << 20, 0));
        let peer = peer(1);
        let [hog, heavy, light] = [7, 8, 9].map(|fd| clients.enter(fd, peer, 0));
        assert!(heavy.hold_input(LIGHT_LEN_MAX + 1) && heavy.hold_input(0));
        assert!(light.hold_input(LIGHT_LEN_MAX) && light.hold_input(0));
        assert!(hog.hold_replies(1_000_000));
        assert!(!heavy.may_read() && light.may_read());
        assert!(hog.hold_replies(0));
        assert!(heavy.may_read());
    }

    #[test]
    fn states_are_numbered_as_listed() {
        for (index, state) in State::ALL.into_iter().enumerate() {
            assert_eq!(state as usize, index);
        }
    }
}
