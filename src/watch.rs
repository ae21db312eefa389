//! What `watch` shows: log lines of what happens, for those who asked, as memcached writes them.
//!
//! A thread that has something to say formats it once and appends it to the buffer of each watcher that wants it. A
//! watcher that reads slowly has its buffer fill up, misses lines and is told how many; nobody ever waits for it.
//!
//! INVARIANT: who watches nothing costs a load for each burst of requests.
//! INVARIANT: a watcher's buffer is never longer than it may be.
//! INVARIANT: lines are numbered in the order in which every watcher gets them.

mod lines;
mod watcher;

pub use lines::{
    Closed, Crawl, Fetched, StoreLog, conn_close, conn_new, crawled, deleted, fetched, stored,
};
pub use watcher::Watcher;

use crate::clock::unix_time;
use crate::store::{Listed, Now, Witness};
use larder_protocol::Streams;
use parking_lot::Mutex;
use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering::Relaxed};
use tokio::sync::Notify;

/// As many may watch, as in memcached.
pub const WATCHER_COUNT_MAX: usize = 20;
/// The longest line that says how many lines were skipped, in bytes.
const SKIPPED_LEN_MAX: usize = 32;

/// All who watch.
#[derive(Debug)]
pub struct Watchers {
    /// So many bytes may wait for a watcher to be sent.
    buffer_len_max: usize,
    /// What any of them wants to see.
    streams: AtomicU16,
    desk: Mutex<Desk>,
}

/// What was counted of the log.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct LogCounts {
    /// Lines that were written.
    pub log_worker_written: u64,
    /// Lines that a watcher did not get.
    pub log_watcher_skipped: u64,
    /// Lines that went to watchers.
    pub log_watcher_sent: u64,
    /// Watchers now.
    pub log_watchers: u64,
}

/// Where lines are written.
#[derive(Debug, Default)]
struct Desk {
    counts: LogCounts,
    /// Of the last line.
    gid: u64,
    /// Of the last watcher.
    number: u64,
    slots: Vec<Slot>,
    line: Vec<u8>,
}

/// What waits for a watcher.
#[derive(Debug)]
struct Slot {
    number: u64,
    streams: Streams,
    text: Vec<u8>,
    /// Lines that did not fit since the last one that did.
    skipped: u64,
    has_text: Arc<Notify>,
}

impl Slot {
    /// Appends a line, where there is room for it among so many bytes; else it is skipped.
    fn push(&mut self, line: &[u8], len_max: usize) -> bool {
        let has_room = self.text.len() + line.len() + SKIPPED_LEN_MAX <= len_max;
        if !has_room {
            self.skipped += 1;
            return false;
        }
        if self.skipped > 0 {
            lines::say(&mut self.text, format_args!("skipped={}\n", self.skipped));
            self.skipped = 0;
        }
        self.text.extend_from_slice(line);
        self.has_text.notify_one();
        true
    }
}

impl Watchers {
    /// Nobody watches yet; so many bytes may wait for each that will.
    pub fn new(buffer_len_max: usize) -> Self {
        Self { buffer_len_max, streams: AtomicU16::default(), desk: Mutex::default() }
    }

    /// What a watcher takes at most, in bytes: what waits for it, and what is being sent.
    pub fn held_len(&self) -> usize {
        self.buffer_len_max.saturating_mul(2)
    }

    /// What anybody wants to see. To be asked for once for many events.
    pub fn streams(&self) -> Streams {
        Streams::of_bits(self.streams.load(Relaxed))
    }

    /// Shows a line to those who watch a stream. `write` appends it without its line end, from its `type=` on.
    pub fn log(&self, stream: Streams, write: impl FnOnce(&mut Vec<u8>)) {
        let mut desk = self.desk.lock();
        let desk = &mut *desk;
        if !desk.slots.iter().any(|slot| slot.streams.has(stream)) {
            return;
        }
        desk.gid += 1;
        desk.counts.log_worker_written += 1;
        let since = unix_time();
        desk.line.clear();
        // Microseconds without leading zeros, as memcached has them.
        let (seconds, micros) = (since.as_secs(), since.subsec_micros());
        lines::say(&mut desk.line, format_args!("ts={seconds}.{micros} gid={} ", desk.gid));
        write(&mut desk.line);
        desk.line.push(b'\n');
        for slot in desk.slots.iter_mut().filter(|slot| slot.streams.has(stream)) {
            if slot.push(&desk.line, self.buffer_len_max) {
                desk.counts.log_watcher_sent += 1;
            } else {
                desk.counts.log_watcher_skipped += 1;
            }
        }
    }

    /// What was counted since the start or the last reset, and how many watch now.
    pub fn counts(&self) -> LogCounts {
        let desk = self.desk.lock();
        LogCounts { log_watchers: desk.slots.len() as u64, ..desk.counts }
    }

    /// Makes what is counted begin at 0 again.
    pub fn reset_counts(&self) {
        self.desk.lock().counts = LogCounts::default();
    }

    fn publish(&self, desk: &Desk) {
        let all = desk.slots.iter().fold(0, |all, slot| all | slot.streams.bits());
        self.streams.store(all, Relaxed);
    }
}

impl Witness for Watchers {
    fn wants_evicted(&self) -> bool {
        self.streams().has(Streams::EVICTIONS)
    }

    fn evicted(&self, item: &Listed<'_>, now: Now) {
        self.log(Streams::EVICTIONS, |line| lines::evicted(line, item, now));
    }
}
