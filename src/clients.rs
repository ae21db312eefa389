//! Who is connected: the registry behind `stats conns`.

use ahash::RandomState;
use dashmap::DashMap;
use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering::Relaxed};

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
}

impl State {
    const ALL: [Self; 5] = [Self::Read, Self::ParseCmd, Self::Nread, Self::Swallow, Self::Write];

    /// As `stats conns` shows it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "conn_read",
            Self::ParseCmd => "conn_parse_cmd",
            Self::Nread => "conn_nread",
            Self::Swallow => "conn_swallow",
            Self::Write => "conn_mwrite",
        }
    }
}

/// One connection, as others see it. Written by the connection's own task only.
#[derive(Debug)]
pub struct Client {
    /// The socket's number in the process.
    pub fd: RawFd,
    /// The client's address.
    pub addr: SocketAddr,
    /// Our address that it connected to.
    pub listen_addr: SocketAddr,
    state: AtomicU8,
    /// Of the last request, on the server's clock.
    last_cmd_ms: AtomicU64,
    /// Capacity of the read buffer, in bytes.
    pub read_buf_bytes: AtomicUsize,
    /// Capacity of the reply buffer, in bytes.
    pub response_bytes: AtomicUsize,
}

impl Client {
    /// What it is doing.
    pub fn state(&self) -> State {
        State::ALL[usize::from(self.state.load(Relaxed))]
    }

    /// Whether it holds a part of a request, or replies that the client has not taken.
    pub fn is_busy(&self) -> bool {
        self.read_buf_bytes.load(Relaxed) > 0 || self.response_bytes.load(Relaxed) > 0
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

/// All open connections.
#[derive(Debug, Default)]
pub struct Clients {
    by_fd: DashMap<RawFd, Arc<Client>, RandomState>,
}

impl Clients {
    /// Enters a connection; it leaves when the guard is dropped.
    pub fn enter(
        self: &Arc<Self>,
        fd: RawFd,
        addr: SocketAddr,
        listen_addr: SocketAddr,
        now_ms: u64,
    ) -> Guest {
        let client = Arc::new(Client {
            fd,
            addr,
            listen_addr,
            state: AtomicU8::new(State::Read as u8),
            last_cmd_ms: AtomicU64::new(now_ms),
            read_buf_bytes: AtomicUsize::new(0),
            response_bytes: AtomicUsize::new(0),
        });
        self.by_fd.insert(fd, Arc::clone(&client));
        Guest { clients: Arc::clone(self), client }
    }

    /// Whether any connection holds a part of a request, or replies.
    pub fn any_busy(&self) -> bool {
        self.by_fd.iter().any(|row| row.value().is_busy())
    }

    /// The connections as they are now, by socket number.
    pub fn all(&self) -> Vec<Arc<Client>> {
        let mut all: Vec<_> = self.by_fd.iter().map(|row| Arc::clone(row.value())).collect();
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

impl Drop for Guest {
    fn drop(&mut self) {
        self.clients.by_fd.remove(&self.client.fd);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_listed_as_long_as_it_is_there() {
        let clients = Arc::new(Clients::default());
        let addr = SocketAddr::from(([127, 0, 0, 1], 5));
        let first = clients.enter(7, addr, addr, 0);
        let second = clients.enter(3, addr, addr, 0);
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
    fn states_are_numbered_as_listed() {
        for (index, state) in State::ALL.into_iter().enumerate() {
            assert_eq!(state as usize, index);
        }
    }
}
