//! Who goes first: the rules by which a log's oldest segment is chosen and its items survive or not.
//!
//! A policy sees an item when it is stored and when its segment is the victim, and how often it was read in
//! between; it keeps nothing of its own.

mod s3fifo;

use super::segment::LogName;
pub(super) use s3fifo::S3Fifo;

/// What becomes of a living item whose segment is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is copied to the head of a log.
    Keep {
        log: LogName,
        /// What is left of how often it was read.
        frequency: u8,
    },
    /// It is evicted, and its key remembered or not.
    Evict { remember: bool },
}

/// A rule of eviction.
pub(super) trait Policy: std::fmt::Debug + Send {
    /// The log of a new key; it is `known` where its eviction is remembered.
    fn entry(&self, known: bool) -> LogName;

    /// The log that gives its oldest segment, if it has one, when the small one has so much of all, in bytes.
    fn victim(&self, small_len: u64, all_len: u64) -> LogName;

    /// What becomes of an item of a victim. The `pressure` rises from 0 with every victim of which so much survived
    /// that none came free; from [`PRESSURE_MAX`] on nothing may be kept.
    fn judge(&self, log: LogName, frequency: u8, pressure: u8) -> Fate;
}

/// With so much pressure nothing survives, so that a set ends even where all items are hot.
pub(super) const PRESSURE_MAX: u8 = super::index::FREQUENCY_MAX;
