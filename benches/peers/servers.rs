//! The servers that are compared, each pinned to the same processors.
//!
//! INVARIANT: one server runs at a time, and none outlives its measurement.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use clap::ValueEnum;
use nix::time::{ClockId, clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use crate::cpus::Cpus;
use crate::process::{DEADLINE, Outcome, Server, on_free_port};

/// What is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Peer {
    Memcached,
    Larder,
    /// The limit: sockets and tokio, and nothing behind them.
    Bare,
}

impl Peer {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Memcached => "memcached",
            Self::Larder => "larder",
            Self::Bare => "bare tokio",
        }
    }
}

/// How a row wants its servers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Setup {
    pub(crate) memory_mb: u64,
    /// Worker threads; `None`: one for each processor of `--server-cpus`.
    pub(crate) workers: Option<usize>,
    /// `-c`, where the default does not do.
    pub(crate) connections_max: Option<usize>,
    /// `-R`, where the default does not do.
    pub(crate) requests_per_turn: Option<u32>,
    pub(crate) value_len: usize,
}

/// The options about the servers.
#[derive(Debug, clap::Args)]
pub(crate) struct ServerOptions {
    /// The memcached to compare with: a path, or a name that is looked for on PATH
    #[arg(long, value_name = "PROGRAM", default_value = "memcached")]
    memcached: PathBuf,

    /// The Larder to measure
    #[arg(long, value_name = "PROGRAM", default_value = env!("CARGO_BIN_EXE_larder"))]
    larder: PathBuf,

    /// More options for memcached, as in --memcached-args='-C'
    #[arg(long, value_name = "ARGS", default_value = "", allow_hyphen_values = true)]
    memcached_args: String,

    /// More options for Larder, as in --larder-args='-o eviction=lru'
    #[arg(long, value_name = "ARGS", default_value = "", allow_hyphen_values = true)]
    larder_args: String,

    /// Measure these servers alone
    #[arg(long, value_name = "SERVER", value_delimiter = ',')]
    only: Vec<Peer>,

    /// The processors that servers run on; the load comes from the others
    #[arg(long, value_name = "LIST", default_value = "0")]
    server_cpus: Cpus,
}

/// What is needed to start servers.
pub(crate) struct Servers {
    options: ServerOptions,
    /// Processors that this program was allowed to use when it started.
    allowed: Cpus,
}

impl Servers {
    pub(crate) fn new(options: ServerOptions) -> Outcome<Self> {
        let allowed = Cpus::allowed()?;
        if let Some(cpu) = options.server_cpus.0.iter().find(|cpu| !allowed.0.contains(cpu)) {
            return Err(format!("processor {cpu} is not among those of this program").into());
        }
        Ok(Self { options, allowed })
    }

    /// Whom to measure.
    pub(crate) fn peers(&self) -> Vec<Peer> {
        let mut peers = self.options.only.clone();
        if peers.is_empty() {
            peers.extend(Peer::value_variants());
        }
        peers.sort_unstable();
        peers.dedup();
        peers
    }

    /// Which versions are measured. Finds out too whether the programs are there.
    pub(crate) fn versions(&self) -> Outcome<Vec<String>> {
        let mut versions = Vec::new();
        for peer in self.peers() {
            let program = match peer {
                Peer::Memcached => &self.options.memcached,
                Peer::Larder => &self.options.larder,
                Peer::Bare => continue,
            };
            let output = Command::new(program).arg("-V").output().map_err(|error| {
                format!(
                    "cannot run {}: {error}; name another program with --memcached, or measure the others alone with \
                     --only larder,bare",
                    program.display()
                )
            })?;
            versions.push(String::from_utf8_lossy(&output.stdout).trim().to_owned());
        }
        Ok(versions)
    }

    /// The processors of a server with so many workers, and of the load.
    pub(crate) fn cpus(&self, workers: Option<usize>) -> (Cpus, Cpus) {
        let first = &self.options.server_cpus;
        let servers = first.extended(&self.allowed, workers.unwrap_or(0));
        // A load that shares a processor with one of two workers is better than workers that share one.
        let load = servers.others(&self.allowed).or_else(|| first.others(&self.allowed));
        let load = load.unwrap_or_else(|| servers.clone());
        (servers, load)
    }

    /// Starts a server. The calling thread is left on the processors of the load.
    pub(crate) fn start(&self, peer: Peer, setup: &Setup) -> Outcome<Pinned> {
        let (server_cpus, load_cpus) = self.cpus(setup.workers);
        let workers = setup.workers.unwrap_or(server_cpus.0.len());
        let (mut command, args) = match peer {
            Peer::Memcached => {
                (on_free_port(&self.options.memcached), self.options.memcached_args.as_str())
            }
            Peer::Larder => (on_free_port(&self.options.larder), self.options.larder_args.as_str()),
            // This program, also when it was built anew since it started.
            Peer::Bare => (Command::new("/proc/self/exe"), ""),
        };
        if peer == Peer::Bare {
            command.args(["--bare-value-len", &setup.value_len.to_string()]);
            command.args(["--bare-workers", &workers.to_string()]);
        } else {
            command.args(["-t", &workers.to_string(), "-m", &setup.memory_mb.to_string()]);
            if setup.value_len >= 1 << 20 {
                command.args(["-I", "8m"]);
            }
            if let Some(count) = setup.connections_max {
                command.args(["-c", &count.to_string()]);
            }
            if let Some(count) = setup.requests_per_turn {
                command.args(["-R", &count.to_string()]);
            }
        }
        command.args(args.split(' ').filter(|arg| !arg.is_empty()));
        // A process inherits the processors of the thread that starts it.
        server_cpus.pin()?;
        let server = Server::start(command);
        load_cpus.pin()?;
        Ok(Pinned { peer, server: server?, cpus: server_cpus, load_cpus })
    }
}

/// Processor time of a process, in seconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CpuTime {
    total_s: f64,
    /// Of all programs on the same processors, in seconds.
    everyone_s: f64,
    /// In ticks, of which a second has a hundred: good for the ratio of the two alone.
    user_ticks: u64,
    system_ticks: u64,
}

impl CpuTime {
    /// What was used since `before`.
    pub(crate) fn since(&self, before: &Self) -> CpuUse {
        let total_s = self.total_s - before.total_s;
        let user_ticks = self.user_ticks - before.user_ticks;
        let ticks = user_ticks + self.system_ticks - before.system_ticks;
        let user = total_s * user_ticks as f64 / ticks.max(1) as f64;
        let others = (self.everyone_s - before.everyone_s - total_s).max(0.0);
        CpuUse { user, system: total_s - user, others }
    }
}

/// Processor time that was used between two moments, in seconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CpuUse {
    pub(crate) user: f64,
    pub(crate) system: f64,
    /// By other programs, on the processors of the server.
    pub(crate) others: f64,
}

impl CpuUse {
    pub(crate) fn total_s(self) -> f64 {
        self.user + self.system
    }
}

/// A server that runs.
pub(crate) struct Pinned {
    pub(crate) peer: Peer,
    pub(crate) server: Server,
    /// Processors that it runs on.
    pub(crate) cpus: Cpus,
    /// Those that the load comes from.
    pub(crate) load_cpus: Cpus,
}

impl Pinned {
    /// What the process has used since it started, all threads together.
    pub(crate) fn cpu_time(&self) -> Outcome<CpuTime> {
        let pid = self.server.pid();
        let clock: ClockId = clock_getcpuclockid(Pid::from_raw(i32::try_from(pid)?))?;
        let total_s = Duration::from(clock_gettime(clock)?).as_secs_f64();
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        // The name of the program, in parentheses, may have spaces.
        let (_, fields) = stat.rsplit_once(") ").ok_or("no name in /proc/PID/stat")?;
        let ticks = |index: usize| -> Outcome<u64> {
            Ok(fields.split(' ').nth(index).ok_or("too little in /proc/PID/stat")?.parse()?)
        };
        let everyone_s = self.cpus.worked_s()?;
        Ok(CpuTime { total_s, everyone_s, user_ticks: ticks(11)?, system_ticks: ticks(12)? })
    }

    /// A new connection that waits.
    pub(crate) fn connect(&self) -> Outcome<TcpStream> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.server.port()))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(DEADLINE))?;
        Ok(stream)
    }

    /// The first line of the reply to one request.
    pub(crate) fn ask(&self, request: &str) -> Outcome<String> {
        let mut stream = self.connect()?;
        stream.write_all(request.as_bytes())?;
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line)?;
        Ok(line.trim_end().to_owned())
    }
}
