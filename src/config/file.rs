//! The `--config` file: one option a line, in the format of Debian's `/etc/memcached.conf`.
//!
//! Owns the format; the options are the grammar's. A line is blank, or a comment that starts with
//! `#`, or one option: `-x`, `-x value`, `-xvalue`, `--long`, `--long value`, `--long=value`, or
//! Debian's `logfile PATH`. Blanks around each part are dropped. A value runs to the end of the
//! line, blanks included and without quoting, but a `#` behind a blank ends it and starts a
//! comment, except where `#` is all there is, as in `-D #`. So the one thing that a value cannot
//! have here is a blank with a `#` behind it.
//!
//! INVARIANT: every line is valid by itself before the lines are read together, so a mistake is
//! reported with its line and no line can change what another one means.

use std::ffi::OsString;
use std::fmt::Display;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use clap::Command;

use super::ConfigError;
use super::grammar::{self, Parsed};

/// The largest file that is read, in bytes.
const FILE_LEN_MAX: usize = 64 << 10;

/// Reads the file as arguments of the grammar, all of them valid.
pub(super) fn read(path: &Path) -> Result<Vec<OsString>, ConfigError> {
    let name = path.display();
    let bytes = read_bytes(path)
        .map_err(|error| ConfigError::new(format!("cannot read --config {name}: {error}")))?;
    args(name, &bytes)
}

/// One byte more than allowed shows that there is too much, however large the file is.
fn read_bytes(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(FILE_LEN_MAX as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn args(name: impl Display, bytes: &[u8]) -> Result<Vec<OsString>, ConfigError> {
    if bytes.len() > FILE_LEN_MAX {
        return Err(ConfigError::new(format!(
            "--config {name} is longer than {FILE_LEN_MAX} bytes"
        )));
    }
    let text = str::from_utf8(bytes).map_err(|error| {
        let valid = &bytes[..error.valid_up_to()];
        let line = valid.split(|byte| *byte == b'\n').count();
        ConfigError::new(format!("{name}:{line}: not UTF-8"))
    })?;
    // Editors of Windows leave a byte order mark at the front.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let command = grammar::command();
    let mut args = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line_args = line_args(&command, line.trim())
            .map_err(|refusal| ConfigError::new(format!("{name}:{}: {refusal}", index + 1)))?;
        args.extend(line_args);
    }
    Ok(args)
}

/// The arguments that a trimmed line stands for, none for a blank line or a comment.
fn line_args(command: &Command, line: &str) -> Result<Vec<OsString>, String> {
    if line.is_empty() || line.starts_with('#') {
        return Ok(Vec::new());
    }
    if line.contains('\0') {
        return Err("a line may not hold a NUL byte".to_owned());
    }
    let args = split(command, line)?;
    match grammar::parse(&args)? {
        Parsed::Options(options) if options.config.is_some() => {
            Err("--config is for the command line only".to_owned())
        }
        Parsed::Options(_) => Ok(args),
        Parsed::Print(_) => {
            Err("--help, --version and --license are for the command line only".to_owned())
        }
    }
}

/// Takes a line apart. What clap can refuse, an unknown option or a missing value, is left to it.
fn split(command: &Command, line: &str) -> Result<Vec<OsString>, String> {
    let (word, rest) = match line.split_once(char::is_whitespace) {
        Some((word, rest)) => (word, rest.trim_start()),
        None => (line, ""),
    };
    if word == "logfile" {
        return Ok(with_value("--logfile", rest));
    }
    let Some(name) = word.strip_prefix('-').filter(|name| !matches!(*name, "" | "-")) else {
        return Err(format!("'{word}' is not an option"));
    };
    let mut known = command.get_arguments();
    let (arg, value_attached) = if let Some(long) = name.strip_prefix('-') {
        let bare = long.split('=').next();
        (known.find(|arg| arg.get_long() == bare), long.contains('='))
    } else {
        let short = name.chars().next();
        (known.find(|arg| arg.get_short() == short), name.chars().count() > 1)
    };
    if arg.is_some_and(|arg| arg.get_action().takes_values()) {
        return Ok(if value_attached {
            vec![without_comment(line).into()]
        } else {
            with_value(word, rest)
        });
    }
    if arg.is_some() && !rest.is_empty() && !rest.starts_with('#') {
        return Err(format!("a line holds one option, so '{rest}' is too much"));
    }
    Ok(vec![word.into()])
}

fn with_value(option: &str, value: &str) -> Vec<OsString> {
    let value = match value {
        "#" => value,
        _ if value.starts_with('#') => "",
        _ => without_comment(value),
    };
    let mut args = vec![option.into()];
    if !value.is_empty() {
        args.push(value.into());
    }
    args
}

/// Cuts at the first `#` that has a blank before it.
fn without_comment(text: &str) -> &str {
    let mut blank = false;
    for (index, c) in text.char_indices() {
        if blank && c == '#' {
            return text[..index].trim_end();
        }
        blank = c.is_whitespace();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::super::{Config, Invocation, parse_with};
    use super::*;
    use crate::rule;

    const EXAMPLE: &str = include_str!("../../memcached.conf.example");

    fn read(text: &str) -> Vec<String> {
        let args = args("F", text.as_bytes()).unwrap_or_else(|error| panic!("{text:?}: {error}"));
        args.into_iter().map(|arg| arg.into_string().unwrap()).collect()
    }

    fn config(text: &str) -> Config {
        let args =
            [OsString::from("larder")].into_iter().chain(args("F", text.as_bytes()).unwrap());
        match parse_with(args, None) {
            Ok(Invocation::Run(config)) => *config,
            other => panic!("{text:?}: {other:?}"),
        }
    }

    #[test]
    fn every_form() {
        for (line, expected) in [
            ("", &[][..]),
            (" \t ", &[]),
            ("# -m 64", &[]),
            ("  #-m 64", &[]),
            ("-d", &["-d"]),
            ("\t-d \r", &["-d"]),
            ("-vv", &["-vv"]),
            ("-dv", &["-dv"]),
            ("--daemon", &["--daemon"]),
            ("-m 64", &["-m", "64"]),
            ("-m \t 64  ", &["-m", "64"]),
            ("-m64", &["-m64"]),
            ("-vm64", &["-vm64"]),
            ("-p -1", &["-p", "-1"]),
            ("--memory-limit 64", &["--memory-limit", "64"]),
            ("--memory-limit=64", &["--memory-limit=64"]),
            ("-P /a b", &["-P", "/a b"]),
            ("-P/a b", &["-P/a b"]),
            ("--pidfile /a  b", &["--pidfile", "/a  b"]),
            ("--pidfile=/a b", &["--pidfile=/a b"]),
            ("--pidfile = a", &["--pidfile", "= a"]),
            ("-l 127.0.0.1, ::1", &["-l", "127.0.0.1, ::1"]),
            ("logfile /var/log/a b", &["--logfile", "/var/log/a b"]),
            ("logfile\t/x", &["--logfile", "/x"]),
            ("--logfile=/x", &["--logfile=/x"]),
            // Comments behind the option.
            ("-d # detach", &["-d"]),
            ("-d #", &["-d"]),
            ("--daemon #detach", &["--daemon"]),
            ("-m 64 # MB", &["-m", "64"]),
            ("-m64\t#MB", &["-m64"]),
            ("--memory-limit=64 # MB", &["--memory-limit=64"]),
            ("-P /a#b", &["-P", "/a#b"]),
            ("-P /a # b # c", &["-P", "/a"]),
            ("-D #", &["-D", "#"]),
            ("-D#", &["-D#"]),
            ("-D# # a hash", &["-D#"]),
        ] {
            assert_eq!(read(line), expected, "{line:?}");
        }
        assert_eq!(read("-d\r\n\n-p 1\n-v"), ["-d", "-p", "1", "-v"]);
        assert_eq!(read("\u{feff}-d\r\n"), ["-d"]);
        assert_eq!(read("\u{feff}# all defaults\n"), [""; 0]);
    }

    #[test]
    fn refusals() {
        for (text, sentence) in [
            ("x", "F:1: 'x' is not an option"),
            ("-d\n\n-", "F:3: '-' is not an option"),
            ("--", "F:1: '--' is not an option"),
            ("-- -d", "F:1: '--' is not an option"),
            ("logfiles /x", "F:1: 'logfiles' is not an option"),
            ("port 1", "F:1: 'port' is not an option"),
            ("logfile", "F:1: --logfile needs a value"),
            ("-m", "F:1: -m/--memory-limit needs a value"),
            ("-P # nowhere", "F:1: -P/--pidfile needs a value"),
            ("logfile #nowhere", "F:1: --logfile needs a value"),
            ("-vm 64", "F:1: a line holds one option, so '64' is too much"),
            ("-d -v", "F:1: a line holds one option, so '-v' is too much"),
            ("--daemon yes", "F:1: a line holds one option, so 'yes' is too much"),
            ("--daemon=yes", "F:1: -d/--daemon takes no value, but has 'yes'"),
            ("-x /x", "F:1: unknown option '-x'; --help lists the options"),
            ("--unix /x", "F:1: unknown option '--unix'; --help lists the options"),
            ("---", "F:1: unknown option '---'; --help lists the options"),
            (
                "-m 64 -p 1",
                "F:1: -m/--memory-limit takes a number of megabytes from 1 to 1073741824, not \
                 '64 -p 1'",
            ),
            (
                "-m 64#MB",
                "F:1: -m/--memory-limit takes a number of megabytes from 1 to 1073741824, not \
                 '64#MB'",
            ),
            ("--config /x", "F:1: --config is for the command line only"),
            ("--config=/x", "F:1: --config is for the command line only"),
            ("-h", "F:1: --help, --version and --license are for the command line only"),
            ("-vV", "F:1: --help, --version and --license are for the command line only"),
            ("--license", "F:1: --help, --version and --license are for the command line only"),
            ("-i", "F:1: --help, --version and --license are for the command line only"),
            ("-d\n\u{feff}-d", "F:2: '\u{feff}-d' is not an option"),
            ("-P /a\0b", "F:1: a line may not hold a NUL byte"),
        ] {
            let error = args("F", text.as_bytes()).unwrap_err();
            assert_eq!(error.to_string(), sentence, "{text:?}");
        }
        let error = args("F", b"-d\n-v\n-P /\xff\n").unwrap_err();
        assert_eq!(error.to_string(), "F:3: not UTF-8");
    }

    #[test]
    fn length_limit() {
        let mut bytes = vec![b'#'; FILE_LEN_MAX];
        assert_eq!(args("F", &bytes), Ok(Vec::new()));
        bytes.push(b'#');
        let error = args("F", &bytes).unwrap_err();
        assert_eq!(error.to_string(), "--config F is longer than 65536 bytes");
        // Without an end, and yet it ends.
        let error = super::read(Path::new("/dev/zero")).unwrap_err();
        assert_eq!(error.to_string(), "--config /dev/zero is longer than 65536 bytes");
        let error = super::read(Path::new("/")).unwrap_err();
        assert_eq!(error.to_string(), "cannot read --config /: Is a directory (os error 21)");
    }

    #[test]
    fn the_file_of_debian() {
        let text = "# memcached default config file\n\n-d\nlogfile /var/log/memcached.log\n# -v\n\
                    -m 64\n-p 11211\n-u memcache\n-l 127.0.0.1\n-P /var/run/memcached/memcached.pid\n";
        let expected = Config {
            daemon: true,
            log_file: Some("/var/log/memcached.log".into()),
            user: Some("memcache".to_owned()),
            pid_file: Some("/var/run/memcached/memcached.pid".into()),
            ..Config::default()
        };
        assert_eq!(config(text), expected);
    }

    /// The example's lines that become options when their `# ` is taken away.
    fn example_options() -> Vec<&'static str> {
        EXAMPLE
            .lines()
            .filter_map(|line| line.strip_prefix("# "))
            .filter(|line| line.starts_with('-') || line.starts_with("logfile "))
            .collect()
    }

    #[test]
    fn the_example_shows_the_defaults() {
        assert_eq!(config(EXAMPLE), Config::default());
        let switches =
            ["-M", "-C", "-k", "-F", "-X", "-W", "-A", "-d", "-v", "-r", "-L", "-o track_sizes"];
        let without_default = ["-D ", "-s ", "-t ", "-u ", "-P ", "logfile ", "-f ", "-n "];
        for line in example_options() {
            let differs = switches.iter().chain(&without_default);
            let differs = differs.into_iter().any(|start| line.starts_with(start));
            assert_eq!(config(line) != Config::default(), differs, "{line}");
        }
    }

    #[test]
    fn the_example_is_valid_with_everything_in() {
        let config = config(&example_options().join("\n"));
        assert_eq!(config.without_effect, ["-f 1.25", "-n 48", "-L"]);
    }

    /// Add an option to the grammar, or take one away, and this names the line to write.
    #[test]
    fn the_example_has_every_option() {
        let command = grammar::command();
        let mut shown = BTreeSet::new();
        for line in example_options() {
            let name = line.split(' ').next().unwrap_or_default().replace("logfile", "--logfile");
            let arg = command.get_arguments().find(|arg| match name.strip_prefix("--") {
                Some(long) => arg.get_long() == Some(long),
                None => arg.get_short() == name.chars().nth(1),
            });
            shown.insert(arg.unwrap_or_else(|| panic!("no such option: {line}")).get_id().as_str());
        }
        let only_on_the_command_line = ["config", "help", "license", "version"];
        let known: BTreeSet<&str> = command
            .get_arguments()
            .map(|arg| arg.get_id().as_str())
            .filter(|id| !only_on_the_command_line.contains(id))
            .collect();
        assert_eq!(shown, known);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_keep_the_rule(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            rule::config(&bytes);
        }

        /// The example with every option in it, damaged in a few places.
        #[test]
        fn a_damaged_file_keeps_the_rule(
            damages in prop::collection::vec(
                (any::<prop::sample::Index>(), 0..12_usize, prop::collection::vec(any::<u8>(), 0..4)),
                1..8,
            ),
        ) {
            let mut bytes = example_options().join("\n").into_bytes();
            for (at, len, inserted) in damages {
                let start = at.index(bytes.len());
                let end = (start + len).min(bytes.len());
                bytes.splice(start..end, inserted);
            }
            rule::config(&bytes);
            // A text in one byte per character, so that more than the first line is read.
            let text: String = bytes.iter().copied().map(char::from).collect();
            rule::config(text.as_bytes());
        }

        #[test]
        fn arbitrary_lines_keep_the_rule(
            lines in prop::collection::vec("(-[a-zA-Z-]{1,6}|logfile)[ =\t#]{0,3}\\PC{0,8}", 0..6),
        ) {
            rule::config(lines.join("\n").as_bytes());
        }
    }
}
