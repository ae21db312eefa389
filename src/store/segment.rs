//! Segments: equal pieces of memory that a log is made of, and the pool that they come from.
//!
//! INVARIANT: the pool's budget is charged for every segment that exists, wherever it is.

use super::budget::Budget;
use parking_lot::Mutex;

/// One piece of a log: items one behind another, written once from the front.
#[derive(Debug)]
pub(super) struct Segment {
    /// All of a segment is allocated, used or not.
    pub(super) bytes: Box<[u8]>,
    /// How far it is written.
    pub(super) used_len: usize,
    /// Bytes of items that the index still points to.
    pub(super) live_len: usize,
    /// Bytes of large values that those items own outside.
    pub(super) large_len: u64,
    /// The flush generation of all its items.
    pub(super) generation: u32,
    /// When it was begun, in milliseconds on the server's clock.
    pub(super) begun_ms: u64,
    /// Which log it belongs to.
    pub(super) log: LogName,
}

/// The two logs of a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LogName {
    /// New keys, a tenth of the memory.
    Small,
    /// What was read again, or is known from before.
    Main,
}

/// The memory limit, and the segments that nobody uses at the moment.
#[derive(Debug)]
pub(super) struct Pool {
    pub(super) budget: Budget,
    segment_len: usize,
    free: Mutex<Vec<Box<[u8]>>>,
}

impl Pool {
    pub(super) fn new(limit: u64, segment_len: usize) -> Self {
        Self { budget: Budget::new(limit), segment_len, free: Mutex::default() }
    }

    pub(super) fn segment_len(&self) -> usize {
        self.segment_len
    }

    /// A segment, where there is one free or room for another.
    pub(super) fn take(&self) -> Option<Box<[u8]>> {
        if let Some(bytes) = self.free.lock().pop() {
            return Some(bytes);
        }
        self.budget.reserve(self.segment_len as u64).then(|| vec![0; self.segment_len].into())
    }

    /// Gives a segment back, for any shard to take.
    pub(super) fn give(&self, bytes: Box<[u8]>) {
        debug_assert_eq!(bytes.len(), self.segment_len);
        self.free.lock().push(bytes);
    }

    /// Takes bytes out of the limit for something that is no segment, turning free segments back into
    /// memory where that helps.
    pub(super) fn reserve(&self, len: u64) -> bool {
        loop {
            if self.budget.reserve(len) {
                return true;
            }
            let Some(bytes) = self.free.lock().pop() else {
                return false;
            };
            drop(bytes);
            self.budget.release(self.segment_len as u64);
        }
    }

    /// Whether [`Self::reserve`] would find so much.
    pub(super) fn has(&self, len: u64) -> bool {
        self.free() >= len
    }

    /// Bytes that nobody uses, in segments or not yet allocated.
    pub(super) fn free(&self) -> u64 {
        self.budget.limit() - self.budget.used() + self.free_len()
    }

    /// Whether less than a sixteenth of the limit is free.
    pub(super) fn is_tight(&self) -> bool {
        !self.has(self.budget.limit() / 16)
    }

    /// Gives back what [`Self::reserve`] took.
    pub(super) fn release(&self, len: u64) {
        self.budget.release(len);
    }

    /// Bytes of the segments that nobody uses.
    pub(super) fn free_len(&self) -> u64 {
        (self.free.lock().len() * self.segment_len) as u64
    }
}
