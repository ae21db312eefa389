//! A table that grows a chunk at a time, moves nothing when it does, and can be read without a lock meanwhile.
//!
//! It knows how many entries a chunk has, not how many are in use: whoever uses it counts them, and has them
//! charged.

use super::prefetch::prefetch;
use bytemuck::Zeroable;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Entries of a chunk.
pub(super) const CHUNK_LEN: usize = 256;
/// Row r has 2^r chunks, so a few rows reach any size.
const ROW_COUNT: usize = 32;

type Chunk<T> = OnceLock<Box<[T; CHUNK_LEN]>>;

/// Entries that are zeros at first.
#[derive(Debug)]
pub(super) struct Chunks<T> {
    rows: [OnceLock<Box<[Chunk<T>]>>; ROW_COUNT],
}

impl<T> Default for Chunks<T> {
    fn default() -> Self {
        Self { rows: [const { OnceLock::new() }; ROW_COUNT] }
    }
}

/// The row of a chunk, and the place in it.
#[inline]
fn row_of(chunk: usize) -> (usize, usize) {
    let row = (chunk + 1).ilog2() as usize;
    (row, chunk + 1 - (1 << row))
}

impl<T: Zeroable> Chunks<T> {
    /// The entry of an index, where its chunk is there.
    #[inline]
    pub(super) fn try_get(&self, index: usize) -> Option<&T> {
        let (row, at) = row_of(index / CHUNK_LEN);
        Some(&self.rows[row].get()?[at].get()?[index % CHUNK_LEN])
    }

    /// The entry of an index whose chunk is there.
    #[inline]
    pub(super) fn get(&self, index: usize) -> &T {
        self.try_get(index).expect("entries in use have a chunk")
    }

    /// Asks for the line of an entry, which may not be there.
    #[inline]
    pub(super) fn prefetch(&self, index: usize) {
        if let Some(entry) = self.try_get(index) {
            prefetch(std::ptr::from_ref(entry).addr());
        }
    }

    /// Makes the chunk of an index be there; false where the system has no memory for it.
    pub(super) fn ensure(&self, index: usize) -> bool {
        let (row, at) = row_of(index / CHUNK_LEN);
        let row = self.rows[row].get_or_init(|| (0..1 << row).map(|_| OnceLock::new()).collect());
        if row[at].get().is_some() {
            return true;
        }
        let Ok(chunk) = bytemuck::allocation::try_zeroed_box() else {
            return false;
        };
        row[at].get_or_init(|| chunk);
        true
    }
}

/// How many entries of a table are in use, and where a hash belongs among them, by linear hashing: with an entry that
/// is added, about half of what belonged to one other belongs to it.
#[derive(Debug, Default)]
pub(super) struct Extent {
    count: AtomicUsize,
    /// One less than the power of two that is above `count`.
    mask: AtomicUsize,
}

impl Extent {
    #[inline]
    pub(super) fn count(&self) -> usize {
        self.count.load(Relaxed)
    }

    /// One more is in use; the one that it takes from.
    pub(super) fn push(&self) -> usize {
        let count = self.count() + 1;
        self.mask.store((count + 1).next_power_of_two() - 1, Relaxed);
        self.count.store(count, Relaxed);
        (count - 1) & !((count).next_power_of_two() / 2)
    }

    /// Where a hash belongs; 0 where there is nothing.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "low bits of a hash")]
    pub(super) fn home(&self, hash: u64) -> usize {
        let mask = self.mask.load(Relaxed);
        let wide = hash as usize & mask;
        if wide < self.count() { wide } else { wide & (mask >> 1) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::sync::atomic::AtomicU64;

    #[test]
    fn entries_stay_where_they_are_while_it_grows() {
        let chunks = Chunks::<AtomicU64>::default();
        assert!(chunks.try_get(0).is_none());
        assert!(chunks.ensure(0));
        let first: *const AtomicU64 = chunks.get(0);
        for index in 0..100 * CHUNK_LEN {
            assert!(chunks.ensure(index));
            assert_eq!(chunks.get(index).swap(index as u64 + 1, Relaxed), 0, "zeros at first");
        }
        assert!(
            (0..100 * CHUNK_LEN).all(|index| chunks.get(index).load(Relaxed) == index as u64 + 1)
        );
        assert!(std::ptr::eq(first, chunks.get(0)));
        assert!(chunks.try_get(100 * CHUNK_LEN).is_none());
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn one_entry_more_takes_from_one_entry_only(hash: u64) {
            let extent = Extent::default();
            extent.push();
            for count in 1..3000 {
                let before = extent.home(hash);
                let from = extent.push();
                let after = extent.home(hash);
                prop_assert!(before < count);
                prop_assert!(after == before || (after == count && before == from));
            }
        }
    }
}
