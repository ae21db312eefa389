//! What of a shard may be looked at without its lock.
#![expect(clippy::cast_possible_truncation, reason = "locations are taken apart")]

use super::super::index::Guess;
use super::super::lines::{LINE_LEN, Line, Lines};
use super::super::prefetch::prefetch;
use super::super::segment::Segment;
use super::super::{ghost, index};
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

    /// Where an item begins in memory, 0 where that is not known; asks for what is known of its segment.
    #[inline]
    fn address(&self, location: u64) -> usize {
        let at = location & ((1 << self.segment_shift) - 1);
        let number = (location >> self.segment_shift) as usize;
        prefetch(self.segments_address.load(Relaxed) + number * size_of::<Option<Segment>>());
        let addresses = self.addresses.try_get(number / 8);
        match addresses.map_or(0, |line| line[number % 8].load(Relaxed) as usize) {
            0 => 0,
            address => address + at as usize,
        }
    }
}

/// Keys of a burst that are asked for together.
pub(in crate::store) const PREFETCHED_MAX: usize = 64;
/// Buckets of a chain that are looked through.
const CHAIN_MAX: usize = 2;
/// Lines of an item that are asked for: head, key, and the front of the value. One line less costs a tenth more for values
/// of 100 bytes, of which every tenth passes into the fourth line, and one more costs as much as it brings.
const ITEM_LINES: usize = 4;

/// Brings near what the operations on some keys will read, in passes: what one of them asks for, a later one reads.
/// Between asking and reading there must be other keys, or each of them would wait.
pub(in crate::store) fn prefetch_burst<'a>(
    keys: &(impl ExactSizeIterator<Item = (&'a Hints, u64)> + Clone),
) {
    let mut buckets = [None; PREFETCHED_MAX];
    for (bucket, (hints, hash)) in buckets.iter_mut().zip(keys.clone()) {
        *bucket = hints.index.bucket(hash);
        prefetch_line(*bucket);
    }
    let mut items = [0; PREFETCHED_MAX];
    for _ in 0..CHAIN_MAX {
        for ((bucket, item), (hints, hash)) in buckets.iter_mut().zip(&mut items).zip(keys.clone())
        {
            let Some(line) = bucket.take() else {
                continue;
            };
            match hints.index.guess(line, hash) {
                Guess::Location(location) => *item = hints.address(location),
                Guess::Bucket(next) => {
                    *bucket = next;
                    prefetch_line(next);
                }
            }
        }
    }
    // The heads first: looking up a page takes longest, and goes on for many pages at once.
    let items = items[..keys.len()].iter().filter(|item| **item != 0);
    items.clone().for_each(|item| prefetch(*item));
    for line in 1..ITEM_LINES {
        items.clone().for_each(|item| prefetch(item + line * LINE_LEN));
    }
}

fn prefetch_line(line: Option<&Line>) {
    if let Some(line) = line {
        prefetch(line.as_ptr().addr());
    }
}
