//! A table that grows a chunk at a time, moves nothing when it does, and can be read without a lock meanwhile.
//!
//! It knows how many entries a chunk has, not how many are in use: whoever uses it counts them, and has them
//! charged.

use super::prefetch::prefetch;
use bytemuck::Zeroable;
use std::sync::OnceLock;

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
fn row_of(chunk: usize) -> (usize, usize) {
    let row = (chunk + 1).ilog2() as usize;
    (row, chunk + 1 - (1 << row))
}

impl<T: Zeroable> Chunks<T> {
    /// The entry of an index, where its chunk is there.
    pub(super) fn try_get(&self, index: usize) -> Option<&T> {
        let (row, at) = row_of(index / CHUNK_LEN);
        Some(&self.rows[row].get()?[at].get()?[index % CHUNK_LEN])
    }

    /// The entry of an index whose chunk is there.
    pub(super) fn get(&self, index: usize) -> &T {
        self.try_get(index).expect("entries in use have a chunk")
    }

    /// Asks for the line of an entry, which may not be there.
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

/// Where a hash belongs among so many entries that grow one at a time, by linear hashing: an entry that is
/// added takes about half of what belonged to [`split_by`] it.
pub(super) fn home(hash: u64, count: usize) -> usize {
    let bits = usize::BITS - count.leading_zeros();
    #[expect(clippy::cast_possible_truncation, reason = "low bits of a hash")]
    let wide = hash as usize & ((1 << bits) - 1);
    if wide < count { wide } else { wide & ((1 << (bits - 1)) - 1) }
}

/// The entry that the next one takes from, when there are `count`.
pub(super) fn split_by(count: usize) -> usize {
    count - (1 << count.ilog2())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

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
        assert!((0..100 * CHUNK_LEN).all(|index| chunks.get(index).load(Relaxed) == index as u64 + 1));
        assert!(std::ptr::eq(first, chunks.get(0)));
        assert!(chunks.try_get(100 * CHUNK_LEN).is_none());
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn one_entry_more_takes_from_one_entry_only(hash: u64, count in 1..10_000_usize) {
            let (before, after) = (home(hash, count), home(hash, count + 1));
            prop_assert!(before < count);
            prop_assert!(after == before || (after == count && before == split_by(count)));
        }
    }
}
