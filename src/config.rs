//! What the server is told to be: the command line and the configuration file.
//!
//! Owns every option: its spelling, default, unit, range and the sentence that refuses a wrong
//! value. Flags and the file share one grammar, since a line of the file is turned into
//! arguments and put in front of the command line's own. Opens no socket, resolves no name and
//! starts nothing; knows nothing of the store, of connections or of the process.
//!
//! INVARIANT: a [`Config`] that [`parse`] returns is within every limit its fields document.
//! INVARIANT: clap is known to this module only.
//! INVARIANT: of the environment one variable counts as an option (`MEMCACHED_PORT_FILENAME`), and is read
//! by [`parse`] only.

use std::env;
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

mod absent;
mod extended;
mod file;
mod grammar;
mod listen;
mod value;

use extended::Extended;
use grammar::{Options, Parsed};
pub use listen::Listen;

/// The version of this server.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The memcached release whose behaviour clients and tools are shown.
pub const COMPATIBLE_VERSION: &str = "1.6.45";

/// In seconds.
const DRAIN_TIMEOUT_S: u32 = 5;
/// In bytes, as in memcached.
const WATCHER_LOGBUF_BYTES: usize = 256 * BYTES_PER_KB;
/// The environment variable that names [`Config::port_file`].
const PORT_FILE_VARIABLE: &str = "MEMCACHED_PORT_FILENAME";

const BYTES_PER_MB: u64 = 1 << 20;
const BYTES_PER_KB: usize = 1 << 10;

/// What `-I` is when it is not given and `-m` has room for it, in bytes.
const ITEM_SIZE_MAX_DEFAULT_BYTES: u32 = 1 << 20;

/// What `-o connection_memory` is when it is not given: this part of `-m`, and so many bytes at least.
const CONNECTION_MEMORY_PART: u64 = 16;
const CONNECTION_MEMORY_DEFAULT_MIN_BYTES: u64 = 32 << 20;
/// So many of the largest requests must fit in it: one that comes, and the reply to it.
const CONNECTION_MEMORY_ITEMS: u64 = 2;

/// What the command line asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Invocation {
    /// Serve, with this configuration.
    Run(Box<Config>),
    /// `--help`, `--version` or `--license`: print the text, which has no newline at its end,
    /// and exit with code 0.
    Print(String),
}

/// Why there is no configuration: one sentence on one line, without a prefix and without a full
/// stop. A mistake in a file starts with `FILE:LINE: `.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError(String);

impl ConfigError {
    /// A sentence may quote what the user wrote, so control characters are shown escaped.
    fn new(sentence: impl AsRef<str>) -> ConfigError {
        ConfigError(crate::sentence::one_line(sentence.as_ref()))
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ConfigError {}

/// Which protocols a connection may speak (`-B`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// Whatever the first byte of the connection shows.
    Auto,
    /// The text protocol only.
    Ascii,
    /// The binary protocol only.
    Binary,
}

/// Which items a full store gives up first (`-o eviction`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Eviction {
    /// By S3-FIFO.
    S3Fifo,
    /// The least recently used, nearly.
    Lru,
    /// The least frequently used, nearly.
    Lfu,
}

impl Eviction {
    /// Each of them.
    pub const ALL: [Self; 3] = [Self::S3Fifo, Self::Lru, Self::Lfu];

    /// As it is written behind `-o eviction=`.
    pub fn name(self) -> &'static str {
        match self {
            Self::S3Fifo => "s3fifo",
            Self::Lru => "lru",
            Self::Lfu => "lfu",
        }
    }
}

/// Every setting, checked. [`Config::default`] is what an empty command line gives.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a switch of the command line, none a state"
)]
pub struct Config {
    /// `-p`: the TCP port of every listener that names none. 0 takes any free port, and so does
    /// `-p -1`. Default 11211.
    pub port: u16,
    /// `-l`: where to listen, in the order written; never empty. Default 127.0.0.1 alone.
    pub listen: Vec<Listen>,
    /// `-s`: the Unix socket to listen on, instead of any address. Default: none.
    pub unix_socket: Option<PathBuf>,
    /// `-a`: the permissions of the Unix socket, 0 to 0777. Default 0700.
    pub unix_mask: u32,
    /// `-m`: the memory for items, in bytes; given in MB, 1 to 1,073,741,824 (1 PiB).
    /// Default 64 MiB.
    pub memory_limit_bytes: u64,
    /// `-c`: connections at the same time, 1 to 2,147,483,647. Default 1024.
    pub max_connections: u32,
    /// `-t`: worker threads, 1 to 1024. Default: the CPUs this process may use.
    pub threads: usize,
    /// `-u`: the user to become when started as root. Default: none.
    pub user: Option<String>,
    /// `-d`: detach from the terminal. Default false.
    pub daemon: bool,
    /// `-P`: where to write the process id. Default: nowhere.
    pub pid_file: Option<PathBuf>,
    /// `--logfile`, in the file `logfile`: where to write the log. Default: standard error.
    pub log_file: Option<PathBuf>,
    /// How often `-v` was given, 0 to 3; more counts as 3. Default 0.
    pub verbosity: u8,
    /// `-I`: the largest item, in bytes, 1 KiB to 1 GiB and at most half of
    /// [`memory_limit_bytes`](Self::memory_limit_bytes). Default 1 MiB, or that half when it is
    /// less.
    pub item_size_max_bytes: u32,
    /// False with `-M`: a full store refuses new items instead of evicting old ones.
    /// Default true.
    pub evictions: bool,
    /// False with `-F`: `flush_all` is refused. Default true.
    pub flush_enabled: bool,
    /// False with `-X`: the commands that list keys are refused. Default true.
    pub dump_enabled: bool,
    /// False with `-W`: `watch` is refused. Default true.
    pub watch_enabled: bool,
    /// False with `-C`: items carry no cas unique. Default true.
    pub cas_enabled: bool,
    /// `-A`: the `shutdown` command is obeyed. Default false.
    pub shutdown_command: bool,
    /// `-b`: connections that may wait to be accepted, per listener, 1 to 2,147,483,647; the
    /// kernel has a limit of its own. Default 1024.
    pub backlog: u32,
    /// `-R`: requests of one connection before the other connections of its thread get their
    /// turn, 1 to 2,147,483,647. Default 64.
    pub requests_per_event: u32,
    /// `-D`: the byte between a key's prefix and the rest of it. Default `:`.
    pub prefix_delimiter: u8,
    /// Set by `-D`: statistics per prefix are collected from the start. Default false.
    pub detail_enabled: bool,
    /// `-B`: which protocols a connection may speak. Default [`Protocol::Auto`].
    pub protocol: Protocol,
    /// `-o eviction`: which items go first. Default S3-FIFO.
    pub eviction: Eviction,
    /// `-o connection_memory`: what all connections together may hold of requests that have not come whole and of
    /// replies that are not taken, in bytes, 1 MiB to 1 PiB and at least twice
    /// [`item_size_max_bytes`](Self::item_size_max_bytes). Default: a 16th of
    /// [`memory_limit_bytes`](Self::memory_limit_bytes), at least 32 MiB and that minimum.
    pub connection_memory_bytes: u64,
    /// `-o maxconns_per_ip`: connections from one address at the same time, 1 to 2,147,483,647, or 0 for any number.
    /// Default 0.
    pub max_connections_per_ip: u32,
    /// `-o drain_timeout`: how long a stopping server waits for requests that are on their way and replies
    /// that are not taken, in seconds, 0 to 3,600. Default 5.
    pub drain_timeout_s: u32,
    /// `-o idle_timeout`: how long a connection may be silent before it is closed, in seconds,
    /// 0 to 2,147,483,647; 0 is for ever. Default 0.
    pub idle_timeout_s: u32,
    /// `-o maxconns_fast`: a connection beyond the limit is closed with an error; false
    /// (`no_maxconns_fast`) leaves it waiting. Default true.
    pub maxconns_fast: bool,
    /// `-o watcher_logbuf_size`: what may wait for one who watches, in bytes; given in KB, 1 to 1,048,576 (1 GiB).
    /// Default 256 KiB.
    pub watcher_logbuf_bytes: usize,
    /// `-o track_sizes`: `stats sizes` counts the items. Default false.
    pub track_sizes: bool,
    /// `-k`: keep all memory out of swap. Default false.
    pub lock_memory: bool,
    /// `-r`: allow core files of any size. Default false.
    pub coredumps: bool,
    /// The environment's `MEMCACHED_PORT_FILENAME`: where to write the ports that were bound.
    /// Default: nowhere.
    pub port_file: Option<PathBuf>,
    /// The accepted options that change nothing here, such as `-f 1.25` or `-o modern`: each with
    /// its short name and its value as written, the file's first. Default: none.
    pub without_effect: Vec<String>,
}

impl Default for Config {
    fn default() -> Config {
        let options = match grammar::parse(&[]) {
            Ok(Parsed::Options(options)) => Some(*options),
            Ok(Parsed::Print(_)) | Err(_) => None,
        };
        options
            .and_then(|options| Config::resolve(options, None).ok())
            .expect("the grammar's own defaults are valid, as a test shows")
    }
}

/// Reads the command line, and the file that its `--config` names.
///
/// `args` starts with the program's name, as [`std::env::args_os`] does. The file counts as if
/// its lines stood in front of the command line: a later occurrence of an option wins, and a
/// switch that is set stays set. Two options add up within the file or within the command line
/// but not across them: the command line's `-l` and `-v` replace the file's.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Invocation, ConfigError> {
    parse_with(args, env::var_os(PORT_FILE_VARIABLE))
}

/// [`parse`] with the one environment variable given.
fn parse_with(
    args: impl IntoIterator<Item = OsString>,
    port_file: Option<OsString>,
) -> Result<Invocation, ConfigError> {
    let args: Vec<OsString> = args.into_iter().skip(1).collect();
    let options = match grammar::parse(&args).map_err(ConfigError::new)? {
        Parsed::Print(text) => return Ok(Invocation::Print(text)),
        Parsed::Options(options) => match &options.config {
            None => *options,
            Some(path) => behind_file(file::read(path)?, &args, &options)?,
        },
    };
    let config = Config::resolve(options, port_file)?;
    Ok(Invocation::Run(Box::new(config)))
}

/// Puts the file's arguments in front of the command line's; `alone` is the command line without
/// the file.
fn behind_file(
    mut file_args: Vec<OsString>,
    args: &[OsString],
    alone: &Options,
) -> Result<Options, ConfigError> {
    file_args.extend_from_slice(args);
    let mut options = match grammar::parse(&file_args).map_err(ConfigError::new)? {
        Parsed::Options(options) => *options,
        Parsed::Print(_) => {
            return Err(ConfigError::new("the file asks for text instead of a server"));
        }
    };
    if alone.listen_given {
        options.listen.clone_from(&alone.listen);
    }
    if alone.verbosity > 0 {
        options.verbosity = alone.verbosity;
    }
    Ok(options)
}

impl Config {
    /// Checks what no option can check alone, and turns the options' units into the fields'.
    fn resolve(options: Options, port_file: Option<OsString>) -> Result<Config, ConfigError> {
        let memory_limit_bytes = options.memory_limit_mb * BYTES_PER_MB;
        let item_size_max_bytes = item_size_max(options.item_size_max_bytes, memory_limit_bytes)?;
        let mut connection_memory_bytes = None;
        let mut config = Config {
            port: options.port,
            listen: options.listen.into_iter().flat_map(|list| list.0).collect(),
            unix_socket: options.unix_socket,
            unix_mask: options.unix_mask,
            memory_limit_bytes,
            max_connections: options.max_connections,
            threads: options.threads,
            user: options.user,
            daemon: options.daemon,
            pid_file: options.pid_file,
            log_file: options.log_file,
            verbosity: options.verbosity.min(3),
            item_size_max_bytes,
            evictions: !options.evictions_disabled,
            flush_enabled: !options.flush_disabled,
            dump_enabled: !options.dump_disabled,
            watch_enabled: !options.watch_disabled,
            cas_enabled: !options.cas_disabled,
            shutdown_command: options.shutdown_command,
            backlog: options.backlog,
            requests_per_event: options.requests_per_event,
            prefix_delimiter: options.prefix_delimiter.unwrap_or(b':'),
            detail_enabled: options.prefix_delimiter.is_some(),
            protocol: options.protocol,
            eviction: Eviction::S3Fifo,
            connection_memory_bytes: 0,
            max_connections_per_ip: 0,
            drain_timeout_s: DRAIN_TIMEOUT_S,
            idle_timeout_s: 0,
            maxconns_fast: true,
            watcher_logbuf_bytes: WATCHER_LOGBUF_BYTES,
            track_sizes: false,
            lock_memory: options.lock_memory,
            coredumps: options.coredumps,
            // memcached takes an empty name for a file and then fails on it.
            port_file: port_file.filter(|name| !name.is_empty()).map(PathBuf::from),
            without_effect: options.without_effect,
        };
        for extended in options.extended.into_iter().flat_map(|list| list.0) {
            match extended {
                Extended::ConnectionMemory(bytes) => connection_memory_bytes = Some(bytes),
                Extended::Eviction(eviction) => config.eviction = eviction,
                Extended::DrainTimeout(seconds) => config.drain_timeout_s = seconds,
                Extended::IdleTimeout(seconds) => config.idle_timeout_s = seconds,
                Extended::MaxconnsFast(fast) => config.maxconns_fast = fast,
                Extended::MaxconnsPerIp(count) => config.max_connections_per_ip = count,
                Extended::WatcherLogbufSize(kb) => {
                    config.watcher_logbuf_bytes = kb * BYTES_PER_KB;
                }
                Extended::TrackSizes => config.track_sizes = true,
                Extended::WithoutEffect(_) => {}
            }
        }
        config.connection_memory_bytes =
            connection_memory(connection_memory_bytes, item_size_max_bytes, memory_limit_bytes)?;
        Ok(config)
    }
}

/// `-I` against `-m`, both in bytes.
fn item_size_max(given: Option<u32>, memory_limit_bytes: u64) -> Result<u32, ConfigError> {
    let half = memory_limit_bytes / 2;
    match given {
        None => {
            let half = u32::try_from(half).unwrap_or(u32::MAX);
            Ok(ITEM_SIZE_MAX_DEFAULT_BYTES.min(half))
        }
        Some(bytes) if u64::from(bytes) <= half => Ok(bytes),
        Some(bytes) => Err(ConfigError::new(format!(
            "-I/--max-item-size is {bytes} bytes, which is more than half of the {} MB of \
             -m/--memory-limit: lower -I or raise -m",
            memory_limit_bytes / BYTES_PER_MB,
        ))),
    }
}

/// `-o connection_memory` against `-I` and `-m`, all in bytes.
fn connection_memory(
    given: Option<u64>,
    item_size_max_bytes: u32,
    memory_limit_bytes: u64,
) -> Result<u64, ConfigError> {
    let min = u64::from(item_size_max_bytes) * CONNECTION_MEMORY_ITEMS;
    match given {
        None => {
            let part = memory_limit_bytes / CONNECTION_MEMORY_PART;
            Ok(part.max(CONNECTION_MEMORY_DEFAULT_MIN_BYTES).max(min))
        }
        Some(bytes) if bytes >= min => Ok(bytes),
        Some(bytes) => Err(ConfigError::new(format!(
            "-o connection_memory is {bytes} bytes, which is less than twice the \
             {item_size_max_bytes} bytes of -I/--max-item-size: raise it or lower -I"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::ffi::OsStringExt;

    use proptest::prelude::*;

    use super::*;

    fn invoke(args: &[&str]) -> Result<Invocation, ConfigError> {
        let args = ["larder"].iter().chain(args);
        parse_with(args.map(OsString::from), None)
    }

    fn config(args: &[&str]) -> Config {
        match invoke(args) {
            Ok(Invocation::Run(config)) => *config,
            other => panic!("{args:?}: {other:?}"),
        }
    }

    fn refusal(args: &[&str]) -> String {
        invoke(args).unwrap_err().to_string()
    }

    /// Runs with a file of this text and these further arguments.
    fn invoke_with_file(text: &str, args: &[&str]) -> (String, Result<Invocation, ConfigError>) {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), text).unwrap();
        let path = file.path().to_str().unwrap();
        (path.to_owned(), invoke(&[&["--config", path], args].concat()))
    }

    fn config_with_file(text: &str, args: &[&str]) -> Config {
        match invoke_with_file(text, args).1 {
            Ok(Invocation::Run(config)) => *config,
            other => panic!("{text:?} {args:?}: {other:?}"),
        }
    }

    fn listen(host: &str, port: Option<u16>) -> Listen {
        Listen { host: host.to_owned(), port, protocol: None }
    }

    #[test]
    fn defaults() {
        let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let expected = Config {
            port: 11211,
            listen: vec![listen("127.0.0.1", None)],
            unix_socket: None,
            unix_mask: 0o700,
            memory_limit_bytes: 64 << 20,
            max_connections: 1024,
            threads: threads.min(1024),
            user: None,
            daemon: false,
            pid_file: None,
            log_file: None,
            verbosity: 0,
            item_size_max_bytes: 1 << 20,
            evictions: true,
            flush_enabled: true,
            dump_enabled: true,
            watch_enabled: true,
            cas_enabled: true,
            shutdown_command: false,
            backlog: 1024,
            requests_per_event: 64,
            prefix_delimiter: b':',
            detail_enabled: false,
            protocol: Protocol::Auto,
            eviction: Eviction::S3Fifo,
            connection_memory_bytes: 32 << 20,
            max_connections_per_ip: 0,
            drain_timeout_s: 5,
            idle_timeout_s: 0,
            maxconns_fast: true,
            watcher_logbuf_bytes: 256 << 10,
            track_sizes: false,
            lock_memory: false,
            coredumps: false,
            port_file: None,
            without_effect: Vec::new(),
        };
        assert_eq!(config(&[]), expected);
        assert_eq!(Config::default(), expected);
        // Not even a program's name.
        assert_eq!(parse_with([], None), Ok(Invocation::Run(Box::new(expected))));
    }

    /// Every option that takes effect, in its short and its long form, changes its field only.
    #[test]
    fn every_option() {
        type Change = fn(&mut Config);
        let rows: &[(&[&[&str]], Change)] = &[
            (&[&["-p", "1"], &["-p1"], &["--port", "1"], &["--port=1"]], |c| c.port = 1),
            (&[&["-p", "0"], &["-p0"], &["-p", "-1"], &["-p-1"], &["--port=-1"]], |c| c.port = 0),
            (&[&["-l", "*:1"], &["-l*:1"], &["--listen=*:1"]], |c| {
                c.listen = vec![listen("*", Some(1))];
            }),
            (&[&["-l::1,a;b:2"], &["-l", "::1", "-la", "--listen", "b:2"]], |c| {
                c.listen = vec![listen("::1", None), listen("a", None), listen("b", Some(2))];
            }),
            (&[&["-l", "proto[ascii]:a"]], |c| {
                c.listen = vec![Listen { protocol: Some(Protocol::Ascii), ..listen("a", None) }];
            }),
            (&[&["-s", "/x"], &["-s/x"], &["--unix-socket=/x"]], |c| {
                c.unix_socket = Some("/x".into());
            }),
            (&[&["-a", "0660"], &["-a660"], &["--unix-mask=660"]], |c| c.unix_mask = 0o660),
            (&[&["-U", "0"], &["-U0"], &["--udp-port=0"]], |_| {}),
            (&[&["-c", "7"], &["-c7"], &["--conn-limit=7"]], |c| {
                c.max_connections = 7;
            }),
            (&[&["-b", "7"], &["--listen-backlog", "7"]], |c| {
                c.backlog = 7;
            }),
            (&[&["-R", "7"], &["--max-reqs-per-event=7"]], |c| {
                c.requests_per_event = 7;
            }),
            (&[&["-B", "ascii"], &["--protocol=ascii"]], |c| {
                c.protocol = Protocol::Ascii;
            }),
            (&[&["-B", "binary"], &["-Bbinary"]], |c| {
                c.protocol = Protocol::Binary;
            }),
            (&[&["-B", "auto"]], |_| {}),
            (&[&["-o", "eviction=lfu"], &["-o", "eviction=lru,eviction=lfu"]], |c| {
                c.eviction = Eviction::Lfu;
            }),
            (&[&["-o", "connection_memory=33m"], &["-o", "connection_memory=34603008"]], |c| {
                c.connection_memory_bytes = 33 << 20;
            }),
            (&[&["-o", "maxconns_per_ip=9"]], |c| {
                c.max_connections_per_ip = 9;
            }),
            (&[&["-o", "drain_timeout=9"]], |c| {
                c.drain_timeout_s = 9;
            }),
            (&[&["-o", "idle_timeout=9"], &["--extended=idle_timeout=9"]], |c| {
                c.idle_timeout_s = 9;
            }),
            (&[&["-o", "no_maxconns_fast,idle_timeout=1"]], |c| {
                c.maxconns_fast = false;
                c.idle_timeout_s = 1;
            }),
            (&[&["-o", "no_maxconns_fast", "-o", "maxconns_fast"]], |_| {}),
            (&[&["-m", "65"], &["-m65"], &["-m=65"], &["--memory-limit=65"]], |c| {
                c.memory_limit_bytes = 65 << 20;
            }),
            (&[&["-I", "2m"], &["-I2M"], &["--max-item-size=2048k"]], |c| {
                c.item_size_max_bytes = 2 << 20;
            }),
            (&[&["-M"], &["--disable-evictions"]], |c| {
                c.evictions = false;
            }),
            (&[&["-C"], &["--disable-cas"]], |c| c.cas_enabled = false),
            (&[&["-k"], &["--lock-memory"]], |c| c.lock_memory = true),
            (&[&["-F"], &["--disable-flush-all"]], |c| {
                c.flush_enabled = false;
            }),
            (&[&["-X"], &["--disable-dumping"]], |c| {
                c.dump_enabled = false;
            }),
            (&[&["-W"], &["--disable-watch"]], |c| {
                c.watch_enabled = false;
            }),
            (&[&["-A"], &["--enable-shutdown"]], |c| {
                c.shutdown_command = true;
            }),
            (&[&["-D", "-"], &["-D-"]], |c| {
                c.prefix_delimiter = b'-';
                c.detail_enabled = true;
            }),
            (&[&["-D:"]], |c| c.detail_enabled = true),
            (&[&["-t", "3"], &["--threads=3"]], |c| c.threads = 3),
            (&[&["-u", "nobody"], &["--user=nobody"]], |c| {
                c.user = Some("nobody".to_owned());
            }),
            (&[&["-d"], &["-d", "-d"], &["--daemon"]], |c| {
                c.daemon = true;
            }),
            (&[&["-P", "/a b"], &["-P/a b"], &["--pidfile=/a b"]], |c| {
                c.pid_file = Some("/a b".into());
            }),
            (&[&["--logfile", "/x"], &["--logfile=/x"]], |c| {
                c.log_file = Some("/x".into());
            }),
            (&[&["-v"], &["--verbose"]], |c| c.verbosity = 1),
            (&[&["-vv"], &["-v", "--verbose"]], |c| c.verbosity = 2),
            (&[&["-vvv"], &["-vv", "-v"], &["-vvvvv"]], |c| {
                c.verbosity = 3;
            }),
            (&[&["-r"], &["--enable-coredumps"]], |c| c.coredumps = true),
            (&[&["-vvMm", "65", "-dkp1"]], |c| {
                c.verbosity = 2;
                c.evictions = false;
                c.memory_limit_bytes = 65 << 20;
                c.daemon = true;
                c.lock_memory = true;
                c.port = 1;
            }),
            (&[&["-f", "1.5"], &["-f1.5"], &["--slab-growth-factor=1.5"]], |c| {
                c.without_effect = vec!["-f 1.5".to_owned()];
            }),
            (&[&["-n", "96"], &["--slab-min-size=96"]], |c| {
                c.without_effect = vec!["-n 96".to_owned()];
            }),
            (&[&["-L"], &["--enable-largepages"]], |c| {
                c.without_effect = vec!["-L".to_owned()];
            }),
        ];
        for (spellings, change) in rows {
            let mut expected = Config::default();
            change(&mut expected);
            for args in *spellings {
                assert_eq!(config(args), expected, "{args:?}");
            }
        }
    }

    #[test]
    fn without_effect_keeps_the_order() {
        let args = ["-o", "modern,idle_timeout=1,slab_automove=2", "-L", "-n48", "-vf", "1.25"];
        assert_eq!(
            config(&args).without_effect,
            ["-o modern", "-o slab_automove=2", "-L", "-n 48", "-f 1.25"]
        );
        let config = config_with_file("-o no_modern\n-f 2\n-L\n", &["-o", "modern", "-n", "9"]);
        assert_eq!(config.without_effect, ["-o no_modern", "-f 2", "-L", "-o modern", "-n 9"]);
    }

    /// Both sides of every range, and the sentence beyond it.
    #[test]
    fn ranges() {
        const COUNT_MAX: &str = "2147483647";
        for (option, low, high, below, above, range) in [
            (
                "-p/--port",
                "-1",
                "65535",
                "-2",
                "65536",
                "port from 0 to 65535, or -1 for any free one",
            ),
            (
                "-m/--memory-limit",
                "1",
                "1073741824",
                "0",
                "1073741825",
                "number of megabytes from 1 to 1073741824",
            ),
            (
                "-c/--conn-limit",
                "1",
                COUNT_MAX,
                "0",
                "2147483648",
                "number of connections from 1 to 2147483647",
            ),
            (
                "-b/--listen-backlog",
                "1",
                COUNT_MAX,
                "0",
                "2147483648",
                "number of connections from 1 to 2147483647",
            ),
            (
                "-R/--max-reqs-per-event",
                "1",
                COUNT_MAX,
                "0",
                "2147483648",
                "number of requests from 1 to 2147483647",
            ),
            (
                "-n/--slab-min-size",
                "1",
                COUNT_MAX,
                "0",
                "2147483648",
                "number of bytes from 1 to 2147483647",
            ),
            ("-t/--threads", "1", "1024", "0", "1025", "number of threads from 1 to 1024"),
        ] {
            for value in [low, high] {
                config(&[&option[..2], value]);
            }
            for value in [below, above, "", "x", "18446744073709551616"] {
                for args in [vec![&option[..2], value], vec![&option[3..], value]] {
                    assert_eq!(refusal(&args), format!("{option} takes a {range}, not '{value}'"));
                }
            }
        }
        assert_eq!(config(&["-m", "1073741824"]).memory_limit_bytes, 1 << 50);
    }

    #[test]
    fn item_size_and_memory() {
        assert_eq!(config(&["-I", "1k"]).item_size_max_bytes, 1 << 10);
        assert_eq!(config(&["-I", "1g", "-m2048"]).item_size_max_bytes, 1 << 30);
        assert_eq!(config(&["-I32m"]).item_size_max_bytes, 32 << 20);
        assert_eq!(
            refusal(&["-I", "33554433"]),
            "-I/--max-item-size is 33554433 bytes, which is more than half of the 64 MB of \
             -m/--memory-limit: lower -I or raise -m"
        );
        // Without -I there is nothing to complain about.
        assert_eq!(config(&["-m", "1"]).item_size_max_bytes, 512 << 10);
        assert_eq!(config(&["-m", "2"]).item_size_max_bytes, 1 << 20);
        assert_eq!(config(&["-m", "1", "-I", "512k"]).item_size_max_bytes, 512 << 10);
        assert!(refusal(&["-m", "1", "-I", "1m"]).starts_with("-I/--max-item-size is 1048576"));
    }

    #[test]
    fn connection_memory_item_size_and_memory() {
        let bytes = |args: &[&str]| config(args).connection_memory_bytes;
        // A 16th of -m, but no less than 32 MiB, and no less than a request and a reply of -I.
        assert_eq!(bytes(&["-m", "512"]), 32 << 20);
        assert_eq!(bytes(&["-m", "1024"]), 64 << 20);
        assert_eq!(bytes(&["-m", "1024", "-I", "32m"]), 64 << 20);
        assert_eq!(bytes(&["-m", "1024", "-I", "33m"]), 66 << 20);
        assert_eq!(bytes(&["-m", "1073741824"]), 1 << 46);
        // Whatever their order.
        assert_eq!(bytes(&["-o", "connection_memory=2m", "-I", "1m"]), 2 << 20);
        assert_eq!(bytes(&["-m", "1", "-o", "connection_memory=1m"]), 1 << 20);
        assert_eq!(
            refusal(&["-o", "connection_memory=2097151"]),
            "-o connection_memory is 2097151 bytes, which is less than twice the 1048576 bytes of \
             -I/--max-item-size: raise it or lower -I"
        );
    }

    #[test]
    fn refusals() {
        for (args, sentence) in [
            (&["-s", ""][..], "-s/--unix-socket needs a value"),
            (&["-a", "778"], "-a/--unix-mask takes permissions in octal from 0 to 777, not '778'"),
            (
                &["-S"],
                "-S/--enable-sasl is not offered: whoever can connect can read and change \
                 everything, so let in with -l or -s only whom you trust",
            ),
            (
                &["-Y/x"],
                "-Y/--auth-file is not offered: whoever can connect can read and change everything, \
                 so let in with -l or -s only whom you trust",
            ),
            (
                &["-Z"],
                "-Z/--enable-ssl is not offered: for encrypted connections put a TLS proxy in front, \
                 and listen on the loopback or with -s",
            ),
            (&["-e", "/x"], "-e/--memory-file is not offered: a restart begins empty"),
            (
                &["-N", "1"],
                "-N/--napi-ids is not offered: a connection goes to the thread that has the fewest",
            ),
            (&["-vw"], "unknown option '-w'; --help lists the options"),
            (&["--memory-file=/x"], "-e/--memory-file is not offered: a restart begins empty"),
            (&["--memory", "1"], "unknown option '--memory'; --help lists the options"),
            (&["--port\n2"], "unknown option '--port\\n2'; --help lists the options"),
            (&["-m", "64", "x"], "unexpected argument 'x'; --help lists the options"),
            (&["--", "x"], "unexpected argument 'x'; --help lists the options"),
            (&["-m"], "-m/--memory-limit needs a value"),
            (&["-D"], "-D needs a value"),
            (&["--config"], "--config needs a value"),
            (&["-P", ""], "-P/--pidfile needs a value"),
            (&["--logfile="], "--logfile needs a value"),
            (&["--daemon=yes"], "-d/--daemon takes no value, but has 'yes'"),
            (&["--help=yes"], "-h/--help takes no value, but has 'yes'"),
            (
                &["-m", "-v"],
                "-m/--memory-limit takes a number of megabytes from 1 to 1073741824, not '-v'",
            ),
            (
                &["-U", "11211"],
                "-U/--udp-port takes only 0, not '11211': UDP is not offered, because a forged \
                 sender address turns a UDP cache into a traffic amplifier",
            ),
            (&["-B", "b"], "-B/--protocol takes auto, ascii or binary, not 'b'"),
            (&["-D", "::"], "-D takes exactly one character, and one of a single byte, not '::'"),
            (&["-u", ""], "-u/--user takes the name of a user, not ''"),
            (&["-f", "1"], "-f/--slab-growth-factor takes a number greater than 1, not '1'"),
            (
                &["-I", "1023"],
                "-I/--max-item-size takes a size from 1k to 1g, in bytes or with one of k, m and \
                 g behind it, not '1023'",
            ),
            (
                &["-l", "a:b:c"],
                "-l/--listen takes host, host:port, [v6]:port, * or *:port, or a list of these, \
                 not 'a:b:c'",
            ),
            (
                &["-l", "notls:10.0.0.1"],
                "-l/--listen does not offer the prefix 'notls:' of 'notls:10.0.0.1': there is no TLS, \
                 and listeners have no tags",
            ),
            (&["-o", "modern,x"], "unknown -o option 'x'"),
            (&["-o", "no_modern=1"], "-o no_modern takes no value, but has '1'"),
            (
                &["--config", "/no/such"],
                "cannot read --config /no/such: No such file or directory (os error 2)",
            ),
        ] {
            assert_eq!(refusal(args), sentence, "{args:?}");
        }
        let args = ["larder".into(), "-m".into(), OsString::from_vec(vec![b'6', 0xff])];
        assert_eq!(parse_with(args, None).unwrap_err().to_string(), "'6\u{fffd}' is not UTF-8");
        let args = ["larder".into(), "-P".into(), OsString::from_vec(vec![0xff])];
        assert!(parse_with(args, None).is_ok());
    }

    #[test]
    fn printed_texts() {
        for (args, text) in [
            ("-V", "larder 0.1.0 (speaks memcached 1.6.45)"),
            ("--version", "larder 0.1.0 (speaks memcached 1.6.45)"),
            ("-i", concat!("larder 0.1.0\n\n", include_str!("../LICENSE"))),
            ("--license", concat!("larder 0.1.0\n\n", include_str!("../LICENSE"))),
        ] {
            let text = text.trim_end().replace("0.1.0", VERSION);
            assert_eq!(invoke(&[args]), Ok(Invocation::Print(text)));
        }
        let Ok(Invocation::Print(help)) = invoke(&["-h"]) else {
            panic!("no help");
        };
        assert_eq!(invoke(&["-v", "--help", "--more"]), Ok(Invocation::Print(help.clone())));
        for part in
            ["Usage: larder [OPTIONS]\n", "\nMemory:\n", "--memory-limit <MB>", "[default: 64]"]
        {
            assert!(help.contains(part), "{help}");
        }
        assert_eq!(help.trim_end(), help);
        for line in help.lines() {
            assert!(line.chars().count() <= 110, "{line}");
        }
    }

    #[test]
    fn environment() {
        let with = |name: &str| match parse_with([], Some(name.into())) {
            Ok(Invocation::Run(config)) => config.port_file,
            other => panic!("{other:?}"),
        };
        assert_eq!(with("/tmp/ports"), Some("/tmp/ports".into()));
        assert_eq!(with(""), None);
    }

    #[test]
    fn the_command_line_wins_over_the_file() {
        let text =
            "-m 100\n-p 1\n-d\n-l ::1\n-l 10.0.0.1\n-v\n-v\n-o idle_timeout=5\nlogfile /log\n";
        let mut expected = Config {
            memory_limit_bytes: 100 << 20,
            port: 1,
            daemon: true,
            listen: vec![listen("::1", None), listen("10.0.0.1", None)],
            verbosity: 2,
            idle_timeout_s: 5,
            log_file: Some("/log".into()),
            ..Config::default()
        };
        assert_eq!(config_with_file(text, &[]), expected);
        expected.memory_limit_bytes = 200 << 20;
        expected.listen = vec![listen("*", None)];
        expected.verbosity = 1;
        expected.idle_timeout_s = 6;
        expected.cas_enabled = false;
        let args = ["-m200", "-l", "*", "-v", "-o", "idle_timeout=6", "-C"];
        assert_eq!(config_with_file(text, &args), expected);
        // Checked together only: either half alone would be refused, or would not.
        assert!(invoke_with_file("-I 40m\n", &["-m", "80"]).1.is_ok());
        assert!(invoke_with_file("-I 40m\n-m 80\n", &["-m", "79"]).1.is_err());
        // The last --config counts.
        let (path, _) = invoke_with_file("", &[]);
        assert!(invoke_with_file("-p 5", &["--config", &path]).1.is_err());
        assert!(invoke_with_file("-p 5", &["-V"]).1.is_ok());
    }

    #[test]
    fn a_mistake_in_the_file_has_its_line() {
        let (path, result) = invoke_with_file("# a\n\n-m 64\n  -t\t0\n-p x\n", &["-t", "1"]);
        assert_eq!(
            result.unwrap_err().to_string(),
            format!("{path}:4: -t/--threads takes a number of threads from 1 to 1024, not '0'")
        );
        let (_, result) = invoke_with_file("-m 1\n", &["-x"]);
        assert_eq!(
            result.unwrap_err().to_string(),
            "unknown option '-x'; --help lists the options"
        );
    }

    fn any_arg() -> impl Strategy<Value = OsString> {
        // Never a whole --config, so that no arbitrary file is opened.
        let known = prop::sample::select(vec![
            "-p",
            "-l",
            "-m",
            "-I",
            "-D",
            "-o",
            "-vv",
            "-M",
            "--listen",
            "--memory-limit=",
            "--",
            "-",
            "-U0",
            "64",
            "::1",
            "[::1]:1,*",
            "idle_timeout=1,modern",
            "-P",
            "-f",
            "--conf",
        ]);
        prop_oneof![
            known.prop_map(OsString::from),
            "\\PC{0,12}".prop_map(OsString::from),
            "-[a-zA-Z]{1,3}[0-9=,:]{0,4}".prop_map(OsString::from),
            prop::collection::vec(any::<u8>(), 0..12).prop_map(OsString::from_vec),
        ]
    }

    proptest! {
        #[test]
        fn arbitrary_arguments_never_panic(args in prop::collection::vec(any_arg(), 0..8)) {
            match parse_with(args, None) {
                Ok(Invocation::Run(config)) => {
                    prop_assert!(!config.listen.is_empty());
                    prop_assert!(config.verbosity <= 3);
                    prop_assert!(config.threads >= 1 && config.max_connections >= 1);
                    let half = config.memory_limit_bytes / 2;
                    prop_assert!(u64::from(config.item_size_max_bytes) <= half);
                }
                Ok(Invocation::Print(text)) => prop_assert!(!text.ends_with('\n')),
                Err(error) => {
                    let sentence = error.to_string();
                    prop_assert!(!sentence.is_empty());
                    prop_assert!(!sentence.chars().any(char::is_control), "{sentence:?}");
                }
            }
        }
    }
}
