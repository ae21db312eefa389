//! Where log lines go, and how many: `-v`, and `verbosity` while running.
//!
//! At 0 the server says when it starts and stops and what an operator must know; at 1 also what happens
//! to connections; from 2 on every request.
//!
//! INVARIANT: nobody waits for who reads the log.

mod lossy;

use lossy::Lossy;
use nix::fcntl::OFlag;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::registry::Registry;
use tracing_subscriber::reload::{self, Handle};
use tracing_subscriber::util::SubscriberInitExt;

/// The most that `verbosity` sets.
const VERBOSITY_MAX: u8 = 2;

/// The log's level, which may change while running.
#[derive(Debug, Default)]
pub struct Log {
    verbosity: AtomicU8,
    /// `None` in tests, where nothing is logged.
    level: Option<Handle<LevelFilter, Registry>>,
}

impl Log {
    /// Starts logging, to stderr or to the end of a file. Once in a process.
    pub fn start(verbosity: u8, file: Option<&Path>) -> Result<Self, String> {
        let (filter, level) = reload::Layer::new(level(verbosity));
        let lines = tracing_subscriber::fmt::layer().with_ansi(false).with_target(false);
        let lines: Box<dyn Layer<_> + Send + Sync> = match file {
            None => lines.with_writer(Mutex::new(Lossy::new(io::stderr()))).boxed(),
            Some(path) => {
                let file = open(path).map_err(|error| {
                    format!("cannot open the log file {}: {error}", path.display())
                })?;
                lines.with_writer(Mutex::new(Lossy::new(file))).boxed()
            }
        };
        let subscriber = tracing_subscriber::registry().with(filter).with(lines);
        subscriber.try_init().map_err(|error| format!("cannot start logging: {error}"))?;
        Ok(Self { verbosity: AtomicU8::new(verbosity), level: Some(level) })
    }

    /// As set by `-v` or `verbosity`.
    pub fn verbosity(&self) -> u8 {
        self.verbosity.load(Relaxed)
    }

    /// Sets it while running.
    pub fn set_verbosity(&self, verbosity: u32) {
        let verbosity = u8::try_from(verbosity).unwrap_or(VERBOSITY_MAX).min(VERBOSITY_MAX);
        self.verbosity.store(verbosity, Relaxed);
        if let Some(handle) = &self.level
            && let Err(error) = handle.reload(level(verbosity))
        {
            tracing::warn!("cannot change the log level: {error}");
        }
    }
}

/// A FIFO that nobody reads is an error: to wait for its reader would be to wait for ever.
fn open(path: &Path) -> io::Result<File> {
    let nonblocking = OFlag::O_NONBLOCK.bits();
    OpenOptions::new().create(true).append(true).custom_flags(nonblocking).open(path)
}

fn level(verbosity: u8) -> LevelFilter {
    match verbosity {
        0 => LevelFilter::INFO,
        1 => LevelFilter::DEBUG,
        2.. => LevelFilter::TRACE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fifo_needs_a_reader() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("fifo");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let refusal = open(&path).unwrap_err().to_string();
        assert_eq!(refusal, "No such device or address (os error 6)");
        let both = OpenOptions::new().read(true).write(true).open(&path).unwrap();
        assert!(open(&path).is_ok());
        drop(both);
    }

    #[test]
    fn verbosity_is_capped_at_two() {
        let log = Log::default();
        for (asked, got) in [(1, 1), (2, 2), (3, 2), (u32::MAX, 2), (0, 0)] {
            log.set_verbosity(asked);
            assert_eq!(log.verbosity(), got);
        }
    }
}
