//! The service manager: the sockets that it hands over, and what it is told. These are systemd's protocols,
//! `sd_listen_fds(3)` and `sd_notify(3)`, which other managers speak too.
//!
//! Owns their variables of the environment. `LISTEN_FDS` and `LISTEN_PID` are gone once they were read. `NOTIFY_SOCKET` stays:
//! the server starts no other program that could take it for its own, and removing a variable is unsafe.
//!
//! INVARIANT: without their variables nothing here does anything.

use crate::address::Address;
use crate::config::Protocol;
use crate::server::Bound;
use listenfd::ListenFd;
use socket2::Socket;
use std::ffi::OsString;
use std::io;
use std::os::fd::AsRawFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// How long the manager may be busy with other things before it is left uninformed.
const TELL_TIME_MAX: Duration = Duration::from_secs(1);

/// The sockets that were handed over, to speak this protocol at, ready for [`crate::server::run`]; none where the server is to bind its own.
///
/// The error is one sentence that names the file descriptor.
pub fn listeners(protocol: Protocol) -> Result<Vec<Bound>, String> {
    // As the protocol has it: without a process they are nobody's.
    if std::env::var_os("LISTEN_PID").is_none_or(|pid| pid.is_empty()) {
        return Ok(Vec::new());
    }
    let mut handed_over = ListenFd::from_env();
    let mut listeners = Vec::new();
    for index in 0..handed_over.len() {
        let listener = take(&mut handed_over, index)
            .and_then(|socket| socket.map(|socket| Bound::new(socket, protocol)).transpose())
            .map_err(|error| format!("cannot listen on what was handed over: {error}"))?;
        listeners.extend(listener);
    }
    Ok(listeners)
}

fn take(handed_over: &mut ListenFd, index: usize) -> io::Result<Option<Socket>> {
    // What is no Unix socket stays for the next question.
    let unix = handed_over.take_unix_listener(index).ok().flatten().map(Socket::from);
    let tcp = handed_over.take_tcp_listener(index)?.map(Socket::from);
    let Some(socket) = unix.or(tcp) else {
        return Ok(None);
    };
    if !socket.is_listener()? {
        let address = Address::of(socket.as_raw_fd())?;
        return Err(io::Error::other(format!("the socket of {address} does not listen")));
    }
    Ok(Some(socket))
}

/// Who wants to know how far the server is, if anybody does.
#[derive(Debug)]
pub struct Manager {
    /// A path, or with an `@` in front the name of an abstract socket.
    socket: Option<OsString>,
}

impl Manager {
    /// The one of the environment.
    pub fn from_env() -> Self {
        Self { socket: std::env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty()) }
    }

    /// Says that connections are accepted.
    pub fn ready(&self) {
        self.tell("READY=1");
    }

    /// Says that the end has begun.
    pub fn stopping(&self) {
        self.tell("STOPPING=1");
    }

    fn tell(&self, state: &str) {
        if let Some(name) = &self.socket
            && let Err(error) = send(name.as_bytes(), state)
        {
            tracing::warn!("cannot tell the service manager {state}: {error}");
        }
    }
}

fn send(name: &[u8], state: &str) -> io::Result<()> {
    let manager = match name.strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(std::ffi::OsStr::from_bytes(name))?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_write_timeout(Some(TELL_TIME_MAX))?;
    socket.send_to_addr(state.as_bytes(), &manager)?;
    Ok(())
}
