//! Where the server listens, and who is at the other end of a connection: as log and `stats conns` show it.

use crate::config::Protocol;
use crate::sentence::one_line;
use nix::sys::socket::{SockaddrStorage, getsockname};
use std::ffi::OsStr;
use std::fmt;
use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// Our end of a socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// TCP.
    Ip(SocketAddr),
    /// A Unix socket's path; empty where it has none, and with an `@` in front where its name is abstract.
    Unix(PathBuf),
}

impl Address {
    /// That of the socket with this number.
    pub fn of(fd: RawFd) -> nix::Result<Self> {
        let addr: SockaddrStorage = getsockname(fd)?;
        let v4 = addr.as_sockaddr_in().map(|v4| SocketAddr::V4((*v4).into()));
        let ip = v4.or_else(|| addr.as_sockaddr_in6().map(|v6| SocketAddr::V6((*v6).into())));
        Ok(ip.map_or_else(|| Self::Unix(unix_path(&addr)), Self::Ip))
    }

    /// The IP address and port, where it has them.
    pub fn ip(&self) -> Option<SocketAddr> {
        match self {
            Self::Ip(addr) => Some(*addr),
            Self::Unix(_) => None,
        }
    }

    /// In memcached's way: `tcp:127.0.0.1:11211`, `tcp6:[::1]:11211`, `unix:/run/larder.sock`.
    pub fn stat(&self) -> String {
        match self {
            Self::Ip(addr) => stat_of_ip(*addr),
            Self::Unix(_) => format!("unix:{self}"),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(addr) => addr.fmt(f),
            Self::Unix(path) => f.write_str(&one_line(&path.to_string_lossy())),
        }
    }
}

fn unix_path(addr: &SockaddrStorage) -> PathBuf {
    let Some(unix) = addr.as_unix_addr() else { return PathBuf::new() };
    match (unix.path(), unix.as_abstract()) {
        (Some(path), _) => path.to_owned(),
        (None, Some(name)) => OsStr::from_bytes(&[b"@", name].concat()).into(),
        (None, None) => PathBuf::new(),
    }
}

fn stat_of_ip(addr: SocketAddr) -> String {
    match addr {
        SocketAddr::V4(addr) => format!("tcp:{addr}"),
        SocketAddr::V6(addr) => format!("tcp6:[{}]:{}", addr.ip(), addr.port()),
    }
}

/// The other end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// `None` at a Unix socket, where hardly any client has a name.
    pub addr: Option<SocketAddr>,
    /// What may be spoken there, as its listener has it.
    pub protocol: Protocol,
}

impl Peer {
    /// In memcached's way, which knows no names of Unix sockets' clients: `tcp:127.0.0.1:50000`, `?:<AF 0>`.
    pub fn stat(&self) -> String {
        self.addr.map_or_else(|| "?:<AF 0>".to_owned(), stat_of_ip)
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.addr {
            Some(addr) => addr.fmt(f),
            None => f.write_str("unix"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd;
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr as UnixAddr, UnixDatagram, UnixListener};

    #[test]
    fn sockets_of_every_kind() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a\nb");
        let name = format!("larder-address-{}", std::process::id());
        let by_path = UnixListener::bind(&path).unwrap();
        let by_name = UnixListener::bind_addr(&UnixAddr::from_abstract_name(&name).unwrap());
        let by_name = by_name.unwrap();
        let unnamed = UnixDatagram::unbound().unwrap();
        let stat = |fd: RawFd| Address::of(fd).unwrap().stat();
        assert_eq!(
            stat(by_path.as_raw_fd()),
            format!("unix:{}/a\\nb", directory.path().display()),
            "no second line"
        );
        assert_eq!(stat(by_name.as_raw_fd()), format!("unix:@{name}"));
        assert_eq!(stat(unnamed.as_raw_fd()), "unix:");
        for host in ["127.0.0.1", "::1"] {
            let Ok(tcp) = std::net::TcpListener::bind((host, 0)) else {
                assert_eq!(host, "::1", "only IPv6 may be missing");
                continue;
            };
            let addr = tcp.local_addr().unwrap();
            assert_eq!(Address::of(tcp.as_raw_fd()), Ok(Address::Ip(addr)));
            let kind = if host == "::1" { "tcp6" } else { "tcp" };
            assert_eq!(stat(tcp.as_raw_fd()), format!("{kind}:{addr}"));
        }
    }
}
