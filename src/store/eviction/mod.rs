//! Who goes first: the rules by which a log gives its oldest segment, and its items survive that or not.
//!
//! There are no lists to keep in order: an item is judged when its segment is the victim, by the log that it is in and
//! by a mark of 8 bits that its hits may change. Time is a clock of bytes written, not of seconds: it ticks
//! [`TICKS_PER_MEMORY`] times while all that a shard holds is written once.

mod heat;
mod lfu;
mod lru;
mod s3fifo;

use super::segment::LogName;
pub(super) use heat::Heat;
pub(super) use lfu::Lfu;
pub(super) use lru::Lru;
pub(super) use s3fifo::S3Fifo;

/// Ticks of the clock while as much is written as a shard holds.
pub(super) const TICKS_PER_MEMORY: u64 = 96;

/// What becomes of a living item whose segment is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is copied to the head of a log.
    Keep { log: LogName, mark: u8 },
    /// It is evicted, and its key remembered or not.
    Evict { remember: bool },
}

/// A segment whose items are judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Judged {
    pub(super) log: LogName,
    /// When it was begun.
    pub(super) begun: u32,
    /// How often enough victims were read for a new segment, and gave none. A policy keeps less with each time, and
    /// with [`TRIES_MAX`] nothing is kept: so a set ends even where all items are hot.
    pub(super) tries: usize,
}

/// After so many tries, nothing survives.
pub(super) const TRIES_MAX: usize = 4;

/// A rule of eviction. All times are of the clock of bytes.
pub(super) trait Policy: std::fmt::Debug + Send {
    /// The log of a new key, and its mark; it is `known` where its eviction is remembered.
    fn enter(&self, known: bool, clock: u32) -> (LogName, u8);

    /// Whether new keys pass through the small log, so that what nobody reads again takes nothing of the main one.
    fn has_small_log(&self) -> bool {
        false
    }

    /// The mark of an item that was read.
    fn hit(&self, mark: u8, clock: u32) -> u8;

    /// The log that gives its oldest segment, if it has one, when the small one has so much of all, in bytes.
    fn victim(&mut self, small_len: u64, all_len: u64) -> LogName;

    /// What becomes of an item of a victim.
    fn judge(&self, victim: Judged, mark: u8, clock: u32) -> Fate;

    /// A victim was read through, and so much of it kept, in bytes.
    fn judged(&mut self, _log: LogName, _used_len: usize, _kept_len: usize) {}
}
