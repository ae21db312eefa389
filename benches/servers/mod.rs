//! Larder and memcached side by side: what the comparing benchmarks share.
//!
//! Owns one connection to a server process, and the objects that go over it. Must not know what is measured.
//!
//! INVARIANT: a value follows from its key and its length, so that every value that comes back can be checked.

mod process;

use std::collections::HashMap;
use std::fmt::Display;
use std::fs;
use std::io::{self, BufRead, BufReader, IsTerminal, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use process::{DEADLINE, on_free_port};
pub(crate) use process::{Outcome, Server};

const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);
const READ_BUFFER_LEN: usize = 256 << 10;
const BLOCK_LEN: usize = 16;

/// The options about the servers, and where results go.
#[derive(Debug, clap::Args)]
pub(crate) struct PeerOptions {
    /// The memcached to compare with: a path, or a name that is looked for on PATH
    #[arg(long, value_name = "PROGRAM", default_value = "memcached")]
    memcached: PathBuf,

    /// More options for memcached, as in --memcached-args='-t 1 -C'
    #[arg(long, value_name = "ARGS", default_value = "", allow_hyphen_values = true)]
    memcached_args: String,

    /// More options for Larder, as in --larder-args='-t 1'
    #[arg(long, value_name = "ARGS", default_value = "", allow_hyphen_values = true)]
    larder_args: String,

    /// Measure this server alone
    #[arg(long, value_name = "SERVER")]
    only: Option<Peer>,

    /// Write the results to a file too
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,

    /// Cargo says it to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

impl PeerOptions {
    /// Whom to measure, memcached first because it is what Larder is compared with.
    pub(crate) fn peers(&self) -> Vec<Peer> {
        match self.only {
            Some(peer) => vec![peer],
            None => vec![Peer::Memcached, Peer::Larder],
        }
    }

    /// Starts one server with a memory limit of `memory_mb`.
    pub(crate) fn start(&self, peer: Peer, memory_mb: u64) -> Outcome<Server> {
        let memory_mb = memory_mb.to_string();
        let args = match peer {
            Peer::Larder => &self.larder_args,
            Peer::Memcached => &self.memcached_args,
        };
        let mut command = on_free_port(self.program(peer));
        command.args(["-m", &memory_mb]).args(args.split(' ').filter(|arg| !arg.is_empty()));
        Server::start(command)
    }

    /// Which versions are measured, in one line. Finds out too whether the programs are there.
    pub(crate) fn versions(&self) -> Outcome<String> {
        let mut versions = Vec::new();
        for peer in self.peers() {
            let program = self.program(peer);
            let output = Command::new(program).arg("-V").output().map_err(|error| {
                format!(
                    "cannot run {}: {error}; name another program with --memcached, or measure Larder alone with \
                     --only larder",
                    program.display()
                )
            })?;
            versions.push(String::from_utf8_lossy(&output.stdout).trim().to_owned());
        }
        Ok(versions.join(" and "))
    }

    /// Writes the results, an object each, where `--json` says.
    pub(crate) fn write_json(&self, results: &[String]) -> Outcome<()> {
        if let Some(path) = &self.json {
            fs::write(path, format!("[\n{}\n]\n", results.join(",\n")))
                .map_err(|error| format!("cannot write {}: {error}", path.display()))?;
        }
        Ok(())
    }

    fn program(&self, peer: Peer) -> &Path {
        match peer {
            Peer::Larder => Path::new(env!("CARGO_BIN_EXE_larder")),
            Peer::Memcached => &self.memcached,
        }
    }
}

/// One of the two servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Peer {
    Larder,
    Memcached,
}

impl Peer {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Larder => "larder",
            Self::Memcached => "memcached",
        }
    }
}

/// A key, by its number, and how long its value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Object {
    pub(crate) number: u32,
    pub(crate) value_len: u32,
}

impl Object {
    /// What the value repeats to its end.
    fn block(self) -> [u8; BLOCK_LEN] {
        let mut digits = mix(u64::from(self.number) << 32 | u64::from(self.value_len));
        [(); BLOCK_LEN].map(|()| {
            digits = digits.rotate_left(4);
            b"0123456789abcdef"[(digits & 15) as usize]
        })
    }

    fn is_value(self, value: &[u8]) -> bool {
        let block = self.block();
        value.len() == self.value_len as usize
            && value.chunks(BLOCK_LEN).all(|chunk| chunk == &block[..chunk.len()])
    }
}

/// Scatters numbers over all 64 bits: the finalizer of `SplitMix64`.
pub(crate) fn mix(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

/// Appends a `set`; `tail` is empty or ` noreply`.
pub(crate) fn push_set(out: &mut Vec<u8>, key_len: usize, object: Object, tail: &str) {
    let Object { number, value_len } = object;
    write!(out, "set {number:0key_len$} 0 0 {value_len}{tail}\r\n")
        .expect("a Vec takes whatever is written");
    let block = object.block();
    let mut left_len = value_len as usize;
    while left_len > 0 {
        let len = left_len.min(BLOCK_LEN);
        out.extend_from_slice(&block[..len]);
        left_len -= len;
    }
    out.extend_from_slice(b"\r\n");
}

/// Appends one `get` of all these keys.
pub(crate) fn push_get(out: &mut Vec<u8>, key_len: usize, objects: &[Object]) {
    out.extend_from_slice(b"get");
    for object in objects {
        write!(out, " {:0key_len$}", object.number).expect("a Vec takes whatever is written");
    }
    out.extend_from_slice(b"\r\n");
}

/// One connection. Whoever sends reads as many replies as are due.
pub(crate) struct Client {
    reader: BufReader<TcpStream>,
    line: String,
    value: Vec<u8>,
}

impl Client {
    /// Its reads fail when the server is silent for a minute.
    pub(crate) fn connect(server: &Server) -> Outcome<Self> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, server.port()))?;
        stream.set_read_timeout(Some(DEADLINE))?;
        stream.set_nodelay(true)?;
        let reader = BufReader::with_capacity(READ_BUFFER_LEN, stream);
        Ok(Self { reader, line: String::new(), value: Vec::new() })
    }

    pub(crate) fn send(&mut self, requests: &[u8]) -> io::Result<()> {
        self.reader.get_mut().write_all(requests)
    }

    /// The next line of a reply, without its end.
    pub(crate) fn line(&mut self) -> Outcome<&str> {
        self.line.clear();
        self.reader.read_line(&mut self.line)?;
        self.line
            .strip_suffix("\r\n")
            .ok_or_else(|| format!("the connection ended after {:?}", self.line).into())
    }

    /// The statistics that are whole numbers.
    pub(crate) fn stats(&mut self) -> Outcome<HashMap<String, u64>> {
        self.send(b"stats\r\n")?;
        let mut stats = HashMap::new();
        loop {
            let line = self.line()?;
            let mut words = line.split(' ');
            match (words.next(), words.next(), words.next()) {
                (Some("STAT"), Some(name), Some(value)) => {
                    if let Ok(value) = value.parse() {
                        stats.insert(name.to_owned(), value);
                    }
                }
                (Some("END"), None, None) => return Ok(stats),
                _ => return Err(format!("{line:?} in the reply to stats").into()),
            }
        }
    }

    /// Reads the reply to a `get` of `asked`, which has no key twice, checks every value, and appends what
    /// was not there to `missed`.
    ///
    /// A value may have another length than asked for: that of a `set` that gave it another one.
    pub(crate) fn read_values(
        &mut self,
        asked: &[Object],
        missed: &mut Vec<Object>,
    ) -> Outcome<()> {
        let mut asked = asked.iter();
        loop {
            let line = self.line()?;
            if line == "END" {
                missed.extend(asked);
                return Ok(());
            }
            let mut words = line.split(' ');
            let (Some("VALUE"), Some(key), Some("0"), Some(value_len), None) =
                (words.next(), words.next(), words.next(), words.next(), words.next())
            else {
                return Err(format!("{line:?} in the reply to get").into());
            };
            let found = Object { number: key.parse()?, value_len: value_len.parse()? };
            loop {
                let next = asked.next().ok_or_else(|| format!("{found:?} was not asked for"))?;
                if next.number == found.number {
                    break;
                }
                missed.push(*next);
            }
            self.value.resize(found.value_len as usize + 2, 0);
            self.reader.read_exact(&mut self.value)?;
            match self.value.strip_suffix(b"\r\n") {
                Some(value) if found.is_value(value) => {}
                _ => return Err(format!("a wrong value for {found:?}").into()),
            }
        }
    }
}

/// One line on a terminal that says how far a measurement is, or nothing but its end elsewhere.
pub(crate) struct Progress {
    label: String,
    told: Instant,
}

impl Progress {
    pub(crate) fn new(label: String) -> Self {
        Self { label, told: Instant::now() }
    }

    /// Says `text` if the last was said long enough ago.
    pub(crate) fn tell<T: Display>(&mut self, text: impl FnOnce() -> T) {
        if self.told.elapsed() > PROGRESS_INTERVAL && io::stderr().is_terminal() {
            eprint!("\r\x1b[2K{}: {}", self.label, text());
            self.told = Instant::now();
        }
    }

    pub(crate) fn finish(self, text: impl Display) {
        let clear_line = if io::stderr().is_terminal() { "\r\x1b[2K" } else { "" };
        eprintln!("{clear_line}{}: {text}", self.label);
    }
}

/// `part` / `whole`.
#[expect(clippy::cast_precision_loss, reason = "counts and sizes here are far below 2^53")]
pub(crate) fn ratio(part: u64, whole: u64) -> f64 {
    part as f64 / whole as f64
}

/// Bytes as MiB.
pub(crate) fn mib(len: u64) -> f64 {
    ratio(len, 1 << 20)
}
