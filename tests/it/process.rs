//! One server process under test, ours or memcached.
//!
//! Owns the child, its temporary directory and the address it listens on. Must not know what is said
//! over a connection.
//!
//! INVARIANT: no port is chosen here. The server binds any free one and writes it to a file of its own, so that any
//! number of servers may run side by side.
//! INVARIANT: dropping a [`Server`] ends the process it started, and no other.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

/// How long a server may take to start, to answer or to stop before the test fails.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

const POLL_INTERVAL: Duration = Duration::from_millis(2);

/// A running server. It is killed when dropped; [`Server::stop`] ends it in an orderly way.
pub(crate) struct Server {
    child: Child,
    address: SocketAddr,
    directory: TempDir,
}

impl Server {
    /// Starts `program` with `args` on a free port of 127.0.0.1 and returns once it listens.
    pub(crate) fn start(program: &Path, args: &[&str]) -> Self {
        let mut command = Command::new(program);
        command.args(["-l", "127.0.0.1", "-p", "-1"]).args(args);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        Self::start_command(command)
    }

    /// Starts a server that listens on 127.0.0.1, and returns once it does.
    pub(crate) fn start_command(command: Command) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory for the server");
        let stderr = File::create(directory.path().join("stderr")).expect("a file for stderr");
        Self::start_in(directory, command, stderr)
    }

    /// The same, with its standard error going somewhere else.
    pub(crate) fn start_logging_to(stderr: impl Into<Stdio>, command: Command) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory for the server");
        Self::start_in(directory, command, stderr)
    }

    fn start_in(directory: TempDir, mut command: Command, stderr: impl Into<Stdio>) -> Self {
        let ports = directory.path().join("ports");
        // memcached refuses to run as root unless it is told which user to become. Whoever owns a directory that
        // was made just now is who we are.
        let owner = fs::metadata(directory.path()).expect("the owner of the directory");
        if owner.uid() == 0 {
            command.args(["-u", "root"]);
        }
        command.env("MEMCACHED_PORT_FILENAME", &ports).stderr(stderr);
        let child =
            command.spawn().unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));

        let mut server =
            Self { child, address: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), directory };
        let port = server.wait_for_port(&ports, &command);
        server.address.set_port(port);
        server
    }

    /// Starts `program` with `args` on a Unix socket and returns once it answers there, which it does not do before it
    /// catches signals. What its address is then, is not said.
    pub(crate) fn start_at(program: &Path, socket: &Path, args: &[&str]) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory for the server");
        let stderr = File::create(directory.path().join("stderr")).expect("a file for stderr");
        let mut command = Command::new(program);
        command.arg("-s").arg(socket).args(["-u", "root"]).args(args);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr);
        let child =
            command.spawn().unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        let mut server =
            Self { child, address: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), directory };
        let deadline = Instant::now() + DEADLINE;
        let answers = || {
            // A socket that is there already refuses.
            let mut stream = UnixStream::connect(socket).ok()?;
            stream.set_read_timeout(Some(DEADLINE)).ok()?;
            stream.write_all(b"version\r\n").ok()?;
            stream.read_exact(&mut [0; 8]).ok()
        };
        while answers().is_none() {
            if let Some(status) = server.child.try_wait().expect("the state of our own child") {
                panic!("{command:?} ended at once, {status}: {}", server.stderr());
            }
            assert!(Instant::now() < deadline, "{command:?} does not listen: {}", server.stderr());
            thread::sleep(POLL_INTERVAL);
        }
        server
    }

    /// Where the server listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The process id of the server.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A new connection whose reads fail after [`DEADLINE`] instead of hanging the test.
    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address)
            .unwrap_or_else(|error| panic!("no connection to {}: {error}", self.address));
        stream.set_read_timeout(Some(DEADLINE)).expect("a read timeout above zero is accepted");
        stream
    }

    /// Asks the server to end (SIGTERM) and waits until it has.
    pub(crate) fn stop(mut self) -> ExitStatus {
        self.signal(Signal::SIGTERM);
        self.wait()
    }

    /// Sends the server a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.pid()).expect("a process id fits into an i32");
        kill(Pid::from_raw(pid), signal)
            .unwrap_or_else(|error| panic!("{signal} to server {pid}: {error}"));
    }

    /// Waits until the server has ended by itself.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        self.wait_for(DEADLINE)
    }

    /// The same, where that may take so long.
    pub(crate) fn wait_for(&mut self, limit: Duration) -> ExitStatus {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.child.try_wait().expect("the state of our own child") {
                return status;
            }
            assert!(Instant::now() < deadline, "server {} still runs after {limit:?}", self.pid());
            thread::sleep(POLL_INTERVAL);
        }
    }

    /// What the server has written to its standard error so far.
    pub(crate) fn stderr(&self) -> String {
        let bytes = fs::read(self.directory.path().join("stderr")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn wait_for_port(&mut self, ports: &PathBuf, command: &Command) -> u16 {
        let deadline = Instant::now() + DEADLINE;
        loop {
            if let Some(port) = fs::read_to_string(ports).ok().as_deref().and_then(tcp_port) {
                return port;
            }
            if let Some(status) = self.child.try_wait().expect("the state of our own child") {
                panic!("{command:?} ended at once, {status}: {}", self.stderr());
            }
            assert!(
                Instant::now() < deadline,
                "{command:?} named no port within {DEADLINE:?}: {}",
                self.stderr()
            );
            thread::sleep(POLL_INTERVAL);
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail only when the child has ended and was waited for, which is what is wanted here.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The port in a line `TCP INET: 12345`. Lines without their newline are still being written.
fn tcp_port(file: &str) -> Option<u16> {
    file.split_inclusive('\n')
        .filter_map(|line| line.strip_suffix('\n'))
        .find_map(|line| line.strip_prefix("TCP INET: "))
        .and_then(|port| port.trim().parse().ok())
}
