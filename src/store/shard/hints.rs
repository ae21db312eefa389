//! What of a shard may be looked at without its lock.
#![expect(clippy::cast_possible_truncation, reason = "locations are taken apart")]

use super::super::lines::Lines;
use super::super::prefetch::prefetch;
use super::super::{ghost, index};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// What may be looked at without the lock, to prefetch by: all of it may be stale.
#[derive(Debug, Clone)]
pub(in crate::store) struct Hints {
    pub(super) index: Arc<index::Table>,
    pub(super) ghost: Arc<ghost::Table>,
    pub(super) addresses: Arc<Lines>,
    pub(super) segment_shift: u32,
}

impl Hints {
    /// Asks for what says where an item is.
    pub(in crate::store) fn prefetch_bucket(&self, hash: u64) {
        self.index.prefetch(hash);
    }

    /// Asks for what says whether a key was evicted lately.
    pub(in crate::store) fn prefetch_ghost(&self, hash: u64) {
        self.ghost.prefetch(hash);
    }

    /// Asks for the items that may be the one of a hash: the head, the key, and the front of the value.
    pub(in crate::store) fn prefetch_item(&self, hash: u64) {
        self.index.guess(hash, |location| {
            let at = location & ((1 << self.segment_shift) - 1);
            let number = (location >> self.segment_shift) as usize;
            let Some(addresses) = self.addresses.try_get(number / 8) else {
                return;
            };
            let address = addresses[number % 8].load(Relaxed) as usize + at as usize;
            prefetch(address);
            prefetch(address + 64);
            prefetch(address + 128);
        });
    }
}
