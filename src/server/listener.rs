//! Sockets that listen: binding them, and accepting on them.
//!
//! INVARIANT: what a listener accepts is a stream of which nothing is asked but what TCP and Unix sockets have in
//! common, so that nothing behind it knows two kinds.

use crate::address::{Address, Peer};
use crate::config::{Config, Listen, Protocol};
use crate::sentence::one_line;
use nix::sys::stat::{Mode, umask};
use socket2::{Domain, SockAddr, Socket, Type};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::task::{Context, Poll, ready};
use tokio::net::{TcpListener, TcpStream, UnixListener};

/// So often a free port is looked for that all addresses of a name have.
const FREE_PORT_ATTEMPTS: usize = 16;

/// A socket that listens, and what may be spoken at it.
#[derive(Debug)]
pub struct Bound {
    socket: Socket,
    address: Address,
    protocol: Protocol,
}

impl Bound {
    /// A socket that listens already.
    pub fn new(socket: Socket, protocol: Protocol) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        let address = Address::of(socket.as_raw_fd())?;
        Ok(Self { socket, address, protocol })
    }

    /// Its number, and where it listens.
    pub fn address(&self) -> (RawFd, Address) {
        (self.socket.as_raw_fd(), self.address.clone())
    }
}

/// Binds every TCP address that the configuration names: none where there is a Unix socket.
///
/// The error is one sentence that names the address.
pub fn bind(config: &Config) -> Result<Vec<Bound>, String> {
    let mut bound = Vec::new();
    if config.unix_socket.is_some() {
        return Ok(bound);
    }
    for listen in &config.listen {
        let port = listen.port.unwrap_or(config.port);
        let protocol = listen.protocol.unwrap_or(config.protocol);
        let addrs = addresses(listen, port)?;
        let mut attempts_left = if port == 0 { FREE_PORT_ATTEMPTS } else { 1 };
        let found = loop {
            attempts_left -= 1;
            match bind_each(&addrs, protocol, config.backlog, &bound) {
                Err((_, error))
                    if error.kind() == io::ErrorKind::AddrInUse && attempts_left > 0 => {}
                found => break found,
            }
        };
        bound.extend(found.map_err(|(addr, error)| format!("cannot listen on {addr}: {error}"))?);
    }
    Ok(bound)
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

/// Binds all that one name stands for, on one port; less what is bound already, by another name.
fn bind_each(
    addrs: &[SocketAddr],
    protocol: Protocol,
    backlog: u32,
    before: &[Bound],
) -> Result<Vec<Bound>, (SocketAddr, io::Error)> {
    let mut bound: Vec<Bound> = Vec::new();
    let mut unavailable = None;
    let mut is_known = false;
    for addr in addrs {
        let mut addr = *addr;
        let first = bound.first().and_then(|first| first.address.ip());
        if let (0, Some(first)) = (addr.port(), first) {
            addr.set_port(first.port());
        }
        let is_this = |other: &Bound| {
            other.address == Address::Ip(addr) && other.protocol == protocol && addr.port() != 0
        };
        if before.iter().any(is_this) {
            is_known = true;
            continue;
        }
        match listen_on(addr, backlog).and_then(|socket| Bound::new(socket, protocol)) {
            Ok(one) => bound.push(one),
            // A name may stand for an address family that this machine does not have.
            Err(error) if is_unavailable(&error) => unavailable = Some((addr, error)),
            Err(error) => return Err((addr, error)),
        }
    }
    match unavailable {
        Some(failed) if bound.is_empty() && !is_known => Err(failed),
        Some(_) | None => Ok(bound),
    }
}

fn is_unavailable(error: &io::Error) -> bool {
    let no_family = nix::errno::Errno::EAFNOSUPPORT as i32;
    error.kind() == io::ErrorKind::AddrNotAvailable || error.raw_os_error() == Some(no_family)
}

fn listen_on(addr: SocketAddr, backlog: u32) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    if addr.is_ipv6() {
        // So that it does not collide with the same port on IPv4.
        socket.set_only_v6(true)?;
    }
    socket.bind(&addr.into())?;
    listen(socket, backlog)
}

fn listen(socket: Socket, backlog: u32) -> io::Result<Socket> {
    socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
    Ok(socket)
}

/// Binds the Unix socket of the configuration, if it has one. To be called while there is one thread only, and by the
/// user who is to own it.
///
/// As memcached does, it takes the place of a socket that is there, in use or not, and of no other file; and it stays
/// when the server has ended. The error is one sentence that names the path.
pub fn bind_unix(config: &Config) -> Result<Option<Bound>, String> {
    let Some(path) = &config.unix_socket else { return Ok(None) };
    let bound = listen_at(path, config.unix_mask, config.backlog)
        .and_then(|socket| Bound::new(socket, config.protocol));
    bound
        .map(Some)
        .map_err(|error| one_line(&format!("cannot listen on {}: {error}", path.display())))
}

fn listen_at(path: &Path, permissions: u32, backlog: u32) -> io::Result<Socket> {
    let addr = SockAddr::unix(path)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    if path.symlink_metadata().is_ok_and(|found| found.file_type().is_socket()) {
        // Where that fails, binding says why.
        let _ = std::fs::remove_file(path);
    }
    // There is no moment at which others may connect who must not.
    let before = umask(Mode::from_bits_truncate(!permissions & 0o777));
    let outcome = socket.bind(&addr);
    umask(before);
    outcome?;
    listen(socket, backlog)
}

/// A listener in an event loop.
#[derive(Debug)]
pub(super) struct Listener {
    kind: Kind,
    protocol: Protocol,
}

#[derive(Debug)]
enum Kind {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    /// In the event loop that this is called in.
    pub(super) fn new(Bound { socket, address, protocol }: Bound) -> io::Result<Self> {
        let kind = match address {
            Address::Ip(_) => Kind::Tcp(TcpListener::from_std(socket.into())?),
            Address::Unix(_) => Kind::Unix(UnixListener::from_std(socket.into())?),
        };
        Ok(Self { kind, protocol })
    }

    /// The next connection.
    pub(super) fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(TcpStream, Peer)>> {
        let (stream, addr) = match &self.kind {
            Kind::Tcp(listener) => {
                let (stream, addr) = ready!(listener.poll_accept(cx))?;
                (stream, Some(addr))
            }
            Kind::Unix(listener) => {
                let (stream, _) = ready!(listener.poll_accept(cx))?;
                let stream = OwnedFd::from(stream.into_std()?);
                (TcpStream::from_std(stream.into())?, None)
            }
        };
        Poll::Ready(Ok((stream, Peer { addr, protocol: self.protocol })))
    }
}

/// What a stream needs to be served, and has only at TCP.
pub(super) fn set_options(stream: &std::net::TcpStream, peer: Peer) -> io::Result<()> {
    if peer.addr.is_some() {
        stream.set_nodelay(true)?;
        socket2::SockRef::from(stream).set_keepalive(true)?;
    }
    Ok(())
}
