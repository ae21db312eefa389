//! What of a shard may be looked at without its lock.
#![expect(clippy::cast_possible_truncation, reason = "locations are taken apart")]

use super::super::index::{Guess, Peek};
use super::super::lines::{LINE_LEN, Lines};
use super::super::prefetch::prefetch;
use super::super::segment::Segment;
use super::super::{Key, ghost, index};
use arrayvec::ArrayVec;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// What may be looked at without the lock, to prefetch by: all of it may be stale.
#[derive(Debug, Clone)]
pub(in crate::store) struct Hints {
    pub(super) index: Arc<index::Table>,
    pub(super) ghost: Arc<ghost::Table>,
    pub(super) addresses: Arc<Lines>,
    pub(super) segments_address: Arc<AtomicUsize>,
    pub(super) segment_shift: u32,
}

impl Hints {
    /// Asks for what says where an item is, and whether its key was evicted lately.
    pub(in crate::store) fn prefetch_for_write(&self, hash: u64) {
        self.index.prefetch(hash);
        self.ghost.prefetch(hash);
    }

    /// Where an item begins in memory, where that is known; asks for what is known of its segment.
    #[inline]
    fn address(&self, location: u64) -> Option<usize> {
        let at = location & ((1 << self.segment_shift) - 1);
        let number = (location >> self.segment_shift) as usize;
        prefetch(self.segments_address.load(Relaxed) + number * size_of::<Option<Segment>>());
        let address = self.addresses.try_get(number / 8)?[number % 8].load(Relaxed) as usize;
        (address != 0).then_some(address + at as usize)
    }

    /// Looks for a key in one bucket of its chain; the bucket that goes on, where it is not there.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "this is what most of the time goes to")]
    fn look<'a>(
        &'a self,
        key: &mut Key<'_>,
        peek: Peek<'a>,
        items: &mut Items,
    ) -> Option<Peek<'a>> {
        match self.index.guess(peek, key.hash) {
            Guess::Item(slot, location) => {
                key.slot = slot;
                items.extend(self.address(location));
                None
            }
            Guess::Bucket(next) => next,
        }
    }
}

/// Where the items of a burst begin in memory.
type Items = ArrayVec<usize, PREFETCHED_MAX>;

/// Keys of a burst that are asked for together.
pub(in crate::store) const PREFETCHED_MAX: usize = 32;
/// Lines of an item that are asked for: head, key, and the front of the value. One line less costs a tenth more for values
/// of 100 bytes, of which every tenth passes into the fourth line, and one more costs as much as it brings.
const ITEM_LINES: usize = 4;

/// Brings near what the operations on some keys will read, and notes where the index has them, in passes: what one of them
/// asks for, a later one reads. Between asking and reading there must be other keys, or each of them would wait.
pub(in crate::store) fn prefetch_burst<'a>(
    keys: &mut [&mut Key<'_>],
    hints_of: impl Fn(Key<'_>) -> &'a Hints,
) {
    let mut peeks = ArrayVec::<_, PREFETCHED_MAX>::new();
    for key in keys {
        let hints = hints_of(**key);
        if let Some(peek) = hints.index.peek(key.hash) {
            peek.prefetch();
            peeks.push((key, hints, peek));
        }
    }
    let mut items = Items::new();
    let mut chained = ArrayVec::<_, PREFETCHED_MAX>::new();
    for (key, hints, peek) in &mut peeks {
        if let Some(next) = hints.look(key, *peek, &mut items) {
            next.prefetch();
            chained.push((key, hints, next));
        }
    }
    // Longer chains are rare.
    for (key, hints, peek) in chained {
        hints.look(key, peek, &mut items);
    }
    // The heads first: looking up a page takes longest, and goes on for many pages at once.
    for item in &items {
        prefetch(*item);
    }
    for line in 1..ITEM_LINES {
        for item in &items {
            prefetch(item + line * LINE_LEN);
        }
    }
}
