//! The grammar of the options, for the command line and for the file.
//!
//! Owns the options' spellings, defaults, ranges and help texts, and turns clap's findings into
//! one sentence. Reads no file and no environment. More lenient than getopt in one thing, clap's
//! `-m=64`.

use std::ffi::OsString;
use std::num::NonZero;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::thread;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, ArgMatches, Command, CommandFactory, FromArgMatches, Parser};

use super::absent;
use super::extended::{self, Extended, ExtendedList};
use super::listen::{self, ListenList};
use super::{COMPATIBLE_VERSION, Protocol, VERSION, value};

/// What counts things has this for its end, since a few system calls take them as `int`.
const COUNT: RangeInclusive<u64> = 1..=2_147_483_647;

/// In MB; the end is 1 PiB.
const MEMORY_LIMIT_MB: RangeInclusive<u64> = 1..=1 << 30;

const THREADS: RangeInclusive<u64> = 1..=1024;

const NETWORK: &str = "Network";
const MEMORY: &str = "Memory";
const COMMANDS: &str = "Commands";
const PROCESS: &str = "Process";
const INFORMATION: &str = "Information";
const WITHOUT_EFFECT: &str = "Accepted, without effect";

const LISTEN_HELP: &str = "\
Address to listen on: host, host:port, [v6]:port, * for all,
or a list of these with commas; repeatable. With proto[ascii]:,
proto[binary]: or proto[negotiating]: in front, -B does not
count there";

const EXTENDED_HELP: &str = "\
More options, with commas between them:
connection_memory=SIZE
                      what connections may hold of requests and replies
                      that are on their way, in bytes or with k, m or g
                      [default: a 16th of -m, at least 32m and twice -I]
drain_timeout=SECONDS when stopping, wait so long for open requests
                      [default: 5]
eviction=POLICY       which items go first: s3fifo, lru, lfu
idle_timeout=SECONDS  close a connection that is silent so long
                      [default: 0, never]
maxconns_fast         close connections beyond -c with an error [default]
no_maxconns_fast      leave connections beyond -c waiting
maxconns_per_ip=COUNT connections from one address at the same time
                      [default: 0, any number]
watcher_logbuf_size=KB
                      what may wait for one who watches [default: 256]
track_sizes           have 'stats sizes' count the items by their sizes
and, without effect, those for memcached's slabs, LRU lists and hash table";

/// What `-i` prints.
const LICENCES: &str = include_str!("../../LICENSE");

/// What the arguments say, option by option.
#[derive(Debug, Clone, Parser)]
#[command(
    name = "larder",
    bin_name = "larder",
    version = VERSION,
    about = "A cache server that every memcached client can use unchanged",
    override_usage = "larder [OPTIONS]",
    no_binary_name = true,
    args_override_self = true,
    disable_help_flag = true,
    disable_version_flag = true,
)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a switch of the command line, none a state"
)]
pub(super) struct Options {
    /// TCP port; 0 or -1 takes any free one
    #[arg(short = 'p', long, value_name = "PORT", help_heading = NETWORK)]
    #[arg(default_value = "11211", value_parser = value::port)]
    pub(super) port: u16,

    #[arg(short = 'l', long, value_name = "ADDRESS", help_heading = NETWORK, help = LISTEN_HELP)]
    #[arg(default_value = "127.0.0.1", value_parser = listen::list, action = ArgAction::Append)]
    pub(super) listen: Vec<ListenList>,

    /// Unix socket to listen on, instead of any address
    #[arg(short = 's', long, value_name = "FILE", help_heading = NETWORK)]
    pub(super) unix_socket: Option<PathBuf>,

    /// Permissions of the Unix socket, in octal
    #[arg(short = 'a', long, value_name = "MODE", help_heading = NETWORK)]
    #[arg(default_value = "700", value_parser = value::permissions)]
    pub(super) unix_mask: u32,

    /// UDP port; UDP is not offered, so only 0
    #[arg(short = 'U', long, value_name = "PORT", help_heading = NETWORK)]
    #[arg(default_value = "0", value_parser = value::udp_port)]
    udp_port: u16,

    /// Connections at the same time
    #[arg(short = 'c', long = "conn-limit", value_name = "COUNT", help_heading = NETWORK)]
    #[arg(default_value = "1024", value_parser = value::number::<u32>("connections", COUNT))]
    pub(super) max_connections: u32,

    /// Connections waiting to be accepted, per address
    #[arg(short = 'b', long = "listen-backlog", value_name = "COUNT", help_heading = NETWORK)]
    #[arg(default_value = "1024", value_parser = value::number::<u32>("connections", COUNT))]
    pub(super) backlog: u32,

    /// Requests of one connection before others get their turn
    #[arg(short = 'R', long = "max-reqs-per-event", value_name = "COUNT", help_heading = NETWORK)]
    #[arg(default_value = "64", value_parser = value::number::<u32>("requests", COUNT))]
    pub(super) requests_per_event: u32,

    /// Protocol of the connections: auto, ascii or binary
    #[arg(short = 'B', long, value_name = "NAME", help_heading = NETWORK)]
    #[arg(default_value = "auto", value_parser = value::protocol)]
    pub(super) protocol: Protocol,

    #[arg(short = 'o', long, value_name = "LIST", help_heading = NETWORK, help = EXTENDED_HELP)]
    #[arg(value_parser = extended::list, action = ArgAction::Append)]
    pub(super) extended: Vec<ExtendedList>,

    /// Memory for items, in MB
    #[arg(short = 'm', long = "memory-limit", value_name = "MB", help_heading = MEMORY)]
    #[arg(default_value = "64", value_parser = value::number::<u64>("megabytes", MEMORY_LIMIT_MB))]
    pub(super) memory_limit_mb: u64,

    /// Largest item, in bytes or with k, m or g: 1k to 1g, and at most
    /// half of -m [default: 1m, or half of -m when that is less]
    #[arg(verbatim_doc_comment)]
    #[arg(short = 'I', long = "max-item-size", value_name = "SIZE", help_heading = MEMORY)]
    #[arg(value_parser = value::item_size)]
    pub(super) item_size_max_bytes: Option<u32>,

    /// When memory is full, refuse new items instead of evicting old ones
    #[arg(short = 'M', long = "disable-evictions", help_heading = MEMORY)]
    pub(super) evictions_disabled: bool,

    /// Store no cas unique with the items
    #[arg(short = 'C', long = "disable-cas", help_heading = MEMORY)]
    pub(super) cas_disabled: bool,

    /// Keep all memory out of swap
    #[arg(short = 'k', long = "lock-memory", help_heading = MEMORY)]
    pub(super) lock_memory: bool,

    #[arg(short = 'F', long = "disable-flush-all", help_heading = COMMANDS)]
    #[arg(help = "Refuse flush_all")]
    pub(super) flush_disabled: bool,

    /// Refuse the commands that list keys or their prefixes
    #[arg(short = 'X', long = "disable-dumping", help_heading = COMMANDS)]
    pub(super) dump_disabled: bool,

    /// Refuse the watch command
    #[arg(short = 'W', long = "disable-watch", help_heading = COMMANDS)]
    pub(super) watch_disabled: bool,

    /// Obey the shutdown command
    #[arg(short = 'A', long = "enable-shutdown", help_heading = COMMANDS)]
    pub(super) shutdown_command: bool,

    /// Collect statistics per key prefix, which ends before this character
    /// [default: off, and : when a client turns it on]
    #[arg(verbatim_doc_comment)]
    #[arg(short = 'D', value_name = "CHAR", help_heading = COMMANDS)]
    #[arg(value_parser = value::delimiter)]
    pub(super) prefix_delimiter: Option<u8>,

    /// Worker threads; as many as there are CPUs unless given
    #[arg(short = 't', long, value_name = "COUNT", help_heading = PROCESS)]
    #[arg(default_value_t = available_threads())]
    #[arg(value_parser = value::number::<usize>("threads", THREADS))]
    pub(super) threads: usize,

    /// User to become, when started as root
    #[arg(short = 'u', long, value_name = "NAME", help_heading = PROCESS)]
    #[arg(value_parser = value::user)]
    pub(super) user: Option<String>,

    /// Detach from the terminal
    #[arg(short = 'd', long, help_heading = PROCESS)]
    pub(super) daemon: bool,

    /// File to write the process id to
    #[arg(short = 'P', long = "pidfile", value_name = "FILE", help_heading = PROCESS)]
    pub(super) pid_file: Option<PathBuf>,

    /// File to write the log to, instead of standard error
    #[arg(long = "logfile", value_name = "FILE", help_heading = PROCESS)]
    pub(super) log_file: Option<PathBuf>,

    /// Log more: -v, -vv also the commands, -vvv the same
    #[arg(short = 'v', long = "verbose", help_heading = PROCESS, action = ArgAction::Count)]
    pub(super) verbosity: u8,

    /// Allow core files of any size
    #[arg(short = 'r', long = "enable-coredumps", help_heading = PROCESS)]
    pub(super) coredumps: bool,

    /// Growth of the chunk sizes, more than 1
    #[arg(short = 'f', long, value_name = "FACTOR", help_heading = WITHOUT_EFFECT)]
    #[arg(value_parser = value::growth_factor)]
    slab_growth_factor: Option<f64>,

    /// Smallest chunk, in bytes
    #[arg(short = 'n', long, value_name = "BYTES", help_heading = WITHOUT_EFFECT)]
    #[arg(value_parser = value::number::<u32>("bytes", COUNT))]
    slab_min_size: Option<u32>,

    /// Large memory pages
    #[arg(short = 'L', long, help_heading = WITHOUT_EFFECT)]
    enable_largepages: bool,

    /// Read options from FILE first, one a line; the command line wins
    #[arg(long, value_name = "FILE", help_heading = INFORMATION)]
    pub(super) config: Option<PathBuf>,

    /// Print this help and exit
    #[arg(short = 'h', long, help_heading = INFORMATION, action = ArgAction::HelpShort)]
    help: Option<bool>,

    /// Print the licences and exit
    #[arg(short = 'i', long, help_heading = INFORMATION)]
    license: bool,

    /// Print the version and exit
    #[arg(short = 'V', long, help_heading = INFORMATION, action = ArgAction::Version)]
    version: Option<bool>,

    /// Whether there was any `-l`.
    #[arg(skip)]
    pub(super) listen_given: bool,

    /// As [`Config::without_effect`](super::Config::without_effect).
    #[arg(skip)]
    pub(super) without_effect: Vec<String>,
}

/// What the arguments ask for.
#[derive(Debug)]
pub(super) enum Parsed {
    Options(Box<Options>),
    /// Print this, which has no newline at its end.
    Print(String),
}

/// Reads arguments without a program name in front. An error is one sentence, in which what the
/// user wrote stands as it is.
pub(super) fn parse(args: &[OsString]) -> Result<Parsed, String> {
    let mut command = command();
    let matches = match command.try_get_matches_from_mut(args) {
        Ok(matches) => matches,
        Err(error) => match error.kind() {
            ErrorKind::DisplayHelp => {
                return Ok(Parsed::Print(error.to_string().trim_end().to_owned()));
            }
            ErrorKind::DisplayVersion => {
                return Ok(Parsed::Print(format!(
                    "larder {VERSION} (speaks memcached {COMPATIBLE_VERSION})"
                )));
            }
            ErrorKind::InvalidUtf8 => return Err(not_utf8(args)),
            _ => return Err(sentence(&command, &error)),
        },
    };
    let mut options =
        Options::from_arg_matches(&matches).map_err(|error| sentence(&command, &error))?;
    if options.license {
        return Ok(Parsed::Print(format!("larder {VERSION}\n\n{}", LICENCES.trim_end())));
    }
    options.listen_given =
        matches.value_source("listen") == Some(clap::parser::ValueSource::CommandLine);
    options.without_effect = without_effect(&matches);
    Ok(Parsed::Options(Box::new(options)))
}

/// The options as clap knows them.
pub(super) fn command() -> Command {
    // As with getopt, an option that needs a value takes the next argument whatever it looks
    // like: `-p -1`, `-D -`.
    Options::command().mut_args(|arg| {
        let takes_value = arg.get_action().takes_values();
        arg.allow_hyphen_values(takes_value)
    })
}

fn available_threads() -> usize {
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    threads.min(usize::try_from(*THREADS.end()).unwrap_or(usize::MAX))
}

/// The options without effect in the order they were written.
fn without_effect(matches: &ArgMatches) -> Vec<String> {
    let mut found: Vec<(usize, String)> = Vec::new();
    for (id, short) in [("slab_growth_factor", "-f"), ("slab_min_size", "-n")] {
        let values = matches.get_raw(id).into_iter().flatten();
        let indices = matches.indices_of(id).into_iter().flatten();
        for (index, value) in indices.zip(values) {
            found.push((index, format!("{short} {}", value.to_string_lossy())));
        }
    }
    if matches.get_flag("enable_largepages") {
        let index = matches.index_of("enable_largepages").unwrap_or(0);
        found.push((index, "-L".to_owned()));
    }
    let lists = matches.get_many::<ExtendedList>("extended");
    let lists = lists.into_iter().flatten();
    let indices = matches.indices_of("extended").into_iter().flatten();
    for (index, list) in indices.zip(lists) {
        for item in &list.0 {
            if let Extended::WithoutEffect(item) = item {
                found.push((index, format!("-o {item}")));
            }
        }
    }
    // Stable, so the items of one list stay in their order.
    found.sort_by_key(|(index, _)| *index);
    found.into_iter().map(|(_, option)| option).collect()
}

/// How an option is named in a sentence: `-m/--memory-limit`.
fn label(arg: &Arg) -> String {
    match (arg.get_short(), arg.get_long()) {
        (Some(short), Some(long)) => format!("-{short}/--{long}"),
        (Some(short), None) => format!("-{short}"),
        (None, Some(long)) => format!("--{long}"),
        (None, None) => arg.get_id().to_string(),
    }
}

/// clap does not say which argument it was; only a path may be other than UTF-8.
fn not_utf8(args: &[OsString]) -> String {
    let culprit = args.iter().find(|arg| arg.to_str().is_none());
    let culprit = culprit.map_or("an argument".into(), |arg| arg.to_string_lossy());
    format!("'{culprit}' is not UTF-8")
}

/// Condenses clap's report, which has several lines, into one sentence.
fn sentence(command: &Command, error: &clap::Error) -> String {
    let context = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => text.as_str(),
        _ => "",
    };
    // `--memory-limit <MB>` for a known option, or the argument as written.
    let argument = context(ContextKind::InvalidArg);
    let spelling = argument.split(' ').next().unwrap_or(argument);
    let known = command.get_arguments().find(|arg| is_spelling(arg, spelling));
    let option = known.map_or_else(|| argument.to_owned(), label);
    match error.kind() {
        ErrorKind::UnknownArgument if argument.starts_with('-') => absent::refusal(argument)
            .unwrap_or_else(|| format!("unknown option '{argument}'; --help lists the options")),
        ErrorKind::UnknownArgument => {
            format!("unexpected argument '{argument}'; --help lists the options")
        }
        ErrorKind::ValueValidation => {
            let refusal = std::error::Error::source(error).map(ToString::to_string);
            let refusal = refusal.unwrap_or_else(|| "has a wrong value".to_owned());
            if known.is_some_and(|arg| arg.get_id() == "extended") {
                refusal
            } else {
                format!("{option} {refusal}")
            }
        }
        ErrorKind::InvalidValue => format!("{option} needs a value"),
        ErrorKind::TooManyValues => {
            let value = context(ContextKind::InvalidValue);
            format!("{option} takes no value, but has '{value}'")
        }
        _ => {
            let report = error.to_string();
            let first = report.lines().next().unwrap_or_default();
            first.trim_start_matches("error: ").to_owned()
        }
    }
}

fn is_spelling(arg: &Arg, spelling: &str) -> bool {
    match spelling.strip_prefix("--") {
        Some(long) => arg.get_long() == Some(long),
        None => spelling
            .strip_prefix('-')
            .is_some_and(|short| arg.get_short().is_some_and(|c| short == c.to_string())),
    }
}
