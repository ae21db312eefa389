//! A server process that is measured.
//!
//! Owns the child and the port it listens on. Must not know what is said over a connection.
//!
//! INVARIANT: no port is chosen here. The server binds any free one and writes it to a file of its own.
//! INVARIANT: dropping a [`Server`] ends the process it started, and no other.

use std::error::Error;
use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::unistd::geteuid;
use tempfile::TempDir;

/// How long a server may take to start or to answer.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);
const POLL_INTERVAL: Duration = Duration::from_micros(500);

/// A result, or a sentence that ends the benchmark.
pub(crate) type Outcome<T> = Result<T, Box<dyn Error>>;

/// Larder or memcached, told to listen on any free port of 127.0.0.1.
pub(crate) fn on_free_port(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.args(["-l", "127.0.0.1", "-p", "-1"]);
    // memcached refuses to run as root unless it is told which user to become.
    if geteuid().is_root() {
        command.args(["-u", "root"]);
    }
    command
}

/// A running server. It is killed when dropped.
pub(crate) struct Server {
    child: Child,
    port: u16,
    directory: TempDir,
}

impl Server {
    /// Starts it, and returns once it listens.
    pub(crate) fn start(mut command: Command) -> Outcome<Self> {
        let directory = tempfile::tempdir()?;
        let ports = directory.path().join("ports");
        let program = Path::new(command.get_program()).display().to_string();
        let args: Vec<_> = command.get_args().map(|arg| arg.to_string_lossy()).collect();
        let args = args.join(" ");
        let child = command
            .env("MEMCACHED_PORT_FILENAME", &ports)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(directory.path().join("stderr"))?)
            .spawn()
            .map_err(|error| format!("cannot start {program}: {error}"))?;
        let mut server = Self { child, port: 0, directory };
        server.port =
            server.wait_for_port(&ports).map_err(|error| format!("{program} {args}: {error}"))?;
        Ok(server)
    }

    /// Of 127.0.0.1.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Bytes of physical memory that the process has, counted page by page: the sums in `/proc/PID/status`
    /// may be off by some hundred KB.
    pub(crate) fn rss_bytes(&self) -> Outcome<u64> {
        let rollup = fs::read_to_string(format!("/proc/{}/smaps_rollup", self.pid()))?;
        let kb = rollup.lines().find_map(|line| line.strip_prefix("Rss:")?.strip_suffix("kB"));
        Ok(kb.ok_or("no Rss in smaps_rollup")?.trim().parse::<u64>()? * 1024)
    }

    fn wait_for_port(&mut self, ports: &Path) -> Outcome<u16> {
        let deadline = Instant::now() + DEADLINE;
        while Instant::now() < deadline {
            // A line without its newline is still being written.
            let file = fs::read_to_string(ports).unwrap_or_default();
            if let Some((port, _)) =
                file.strip_prefix("TCP INET: ").and_then(|rest| rest.split_once('\n'))
            {
                return Ok(port.trim().parse()?);
            }
            if let Some(status) = self.child.try_wait()? {
                let stderr = fs::read(self.directory.path().join("stderr"))?;
                let stderr = String::from_utf8_lossy(&stderr);
                return Err(format!("ended at once, {status}: {}", stderr.trim()).into());
            }
            thread::sleep(POLL_INTERVAL);
        }
        Err(format!("named no port within {DEADLINE:?}").into())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail only when the child has ended and was waited for, which is what is wanted here.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
