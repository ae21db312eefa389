//! The one memory number: what `-m` allows and what is in use, over all shards.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Bytes allowed and bytes in use.
///
/// INVARIANT: `used` never passes `limit`, and only goes down where the limit was set below it.
#[derive(Debug)]
pub(super) struct Budget {
    limit: AtomicU64,
    used: AtomicU64,
}

impl Budget {
    pub(super) fn new(limit: u64) -> Self {
        Self { limit: AtomicU64::new(limit), used: AtomicU64::new(0) }
    }

    /// Takes `len` bytes; false, and nothing taken, where that would pass the limit.
    pub(super) fn reserve(&self, len: u64) -> bool {
        self.used
            .fetch_update(Relaxed, Relaxed, |used| {
                used.checked_add(len).filter(|used| *used <= self.limit())
            })
            .is_ok()
    }

    /// Gives back `len` bytes that were taken.
    pub(super) fn release(&self, len: u64) {
        let before = self.used.fetch_sub(len, Relaxed);
        debug_assert!(before >= len, "more given back than taken");
    }

    pub(super) fn limit(&self) -> u64 {
        self.limit.load(Relaxed)
    }

    pub(super) fn set_limit(&self, limit: u64) {
        self.limit.store(limit, Relaxed);
    }

    /// What may still be taken.
    pub(super) fn left(&self) -> u64 {
        self.limit().saturating_sub(self.used())
    }

    pub(super) fn used(&self) -> u64 {
        self.used.load(Relaxed)
    }
}
