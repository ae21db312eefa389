//! A table of cache lines that grows, moves nothing when it does, and can be read without a lock meanwhile.
//!
//! It is allocated in rows, each twice as long as the one before. Memory that was never written is not there yet, so a
//! table takes what is in use of it, which [`ChargedLines`] counts and has charged.

use super::block::discard;
use super::prefetch::prefetch;
use super::segment::Pool;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

const WORDS: usize = 8;
/// Lines of the first row.
const FIRST_ROW_LEN: usize = 64;
const ROW_COUNT: usize = 40;
/// In bytes.
pub(super) const LINE_LEN: usize = WORDS * size_of::<u64>();
/// A step in which the lines of a table are counted: a page.
pub(super) const STEP_LEN: usize = 64;

/// One cache line.
pub(super) type Line = [AtomicU64; WORDS];

#[derive(Debug)]
struct Row {
    words: Box<[AtomicU64]>,
    /// Words before the first whole line: an allocation that must begin with one would be filled with zeros.
    skip: usize,
}

impl Row {
    #[inline]
    fn line(&self, index: usize) -> Option<&Line> {
        self.words.get(self.skip + index * WORDS..)?.first_chunk()
    }
}

/// Lines that are zeros at first.
#[derive(Debug)]
pub(super) struct Lines {
    rows: [OnceLock<Row>; ROW_COUNT],
}

impl Default for Lines {
    fn default() -> Self {
        Self { rows: [const { OnceLock::new() }; ROW_COUNT] }
    }
}

/// The row of a line, and the place in it.
#[inline]
fn row_of(index: usize) -> (usize, usize) {
    let row = ((index + FIRST_ROW_LEN) / FIRST_ROW_LEN).ilog2() as usize;
    (row, index + FIRST_ROW_LEN - (FIRST_ROW_LEN << row))
}

impl Lines {
    /// The line of an index, where its row is there.
    #[inline]
    pub(super) fn try_get(&self, index: usize) -> Option<&Line> {
        let (row, at) = row_of(index);
        self.rows[row].get()?.line(at)
    }

    /// The line of an index whose row is there.
    #[inline]
    pub(super) fn get(&self, index: usize) -> &Line {
        self.try_get(index).expect("lines in use have a row")
    }

    /// Asks for a line, which may not be there.
    #[inline]
    pub(super) fn prefetch(&self, index: usize) {
        if let Some(line) = self.try_get(index) {
            prefetch(line.as_ptr().addr());
        }
    }

    /// Bytes that [`Self::ensure`] would allocate.
    pub(super) fn missing_len(&self, index: usize) -> usize {
        let (row, _) = row_of(index);
        if self.rows[row].get().is_some() { 0 } else { (FIRST_ROW_LEN << row) * size_of::<Line>() }
    }

    /// Makes the row of an index be there; false where the system has no memory for it.
    pub(super) fn ensure(&self, index: usize) -> bool {
        let (row, _) = row_of(index);
        if self.rows[row].get().is_some() {
            return true;
        }
        let word_count = (FIRST_ROW_LEN << row) * WORDS;
        let Ok(words) =
            bytemuck::allocation::try_zeroed_slice_box::<AtomicU64>(word_count + WORDS - 1)
        else {
            return false;
        };
        let skip = words.as_ptr().align_offset(size_of::<Line>()).min(WORDS - 1);
        self.rows[row].get_or_init(|| Row { words, skip });
        true
    }

    /// Has the memory of some lines from this index on, none of which is in use, go back to the system.
    fn discard(&self, index: usize) {
        let (row, at) = row_of(index);
        if let Some(row) = self.rows[row].get() {
            let start = row.skip + at * WORDS;
            // A page may begin anywhere in a step.
            let end = row.words.len().min(start + 2 * STEP_LEN * WORDS);
            discard(&row.words[start..end]);
        }
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

    /// One less; the one that it took from when it came.
    pub(super) fn pop(&self) -> usize {
        let count = self.count() - 1;
        self.count.store(count, Relaxed);
        self.mask.store((count + 1).next_power_of_two() - 1, Relaxed);
        count & !((count + 1).next_power_of_two() / 2)
    }

    /// So many low bits of a hash say that it belongs to this entry.
    pub(super) fn bit_count(&self, home: usize) -> u32 {
        let high = (self.mask.load(Relaxed) >> 1) + 1;
        let is_split = home | high < self.count();
        high.ilog2() + u32::from(is_split)
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

/// What a table takes at a time, in bytes.
pub(super) const STEP_BYTES: u64 = STEP_LEN as u64 * LINE_LEN as u64;

/// Lines that are spread over by [`Extent`], charged to the pool as they come into use.
#[derive(Debug, Default)]
pub(super) struct ChargedLines {
    lines: Lines,
    extent: Extent,
}

impl ChargedLines {
    /// Lines in use.
    pub(super) fn count(&self) -> usize {
        self.extent.count()
    }

    /// One more, zeros, and the one that it takes from; `None` where there is no memory.
    pub(super) fn push(&self, pool: &Pool) -> Option<usize> {
        let count = self.count();
        if count.is_multiple_of(STEP_LEN) {
            if !pool.reserve(STEP_BYTES) {
                return None;
            }
            if !pool.ensure_line(&self.lines, count) {
                pool.release(STEP_BYTES);
                return None;
            }
        }
        Some(self.extent.push())
    }

    /// One less, the last one, which is zeros again; the one that what belonged to it belongs to now.
    pub(super) fn pop(&self, pool: &Pool) -> usize {
        let to = self.extent.pop();
        let count = self.count();
        self.lines.get(count).iter().for_each(|word| word.store(0, Relaxed));
        if count.is_multiple_of(STEP_LEN) {
            self.lines.discard(count);
            pool.release(STEP_BYTES);
        }
        to
    }

    /// Where a hash belongs; 0 where there is nothing.
    #[inline]
    pub(super) fn home(&self, hash: u64) -> usize {
        self.extent.home(hash)
    }

    /// So many low bits of a hash say that it belongs to this line.
    pub(super) fn bit_count(&self, home: usize) -> u32 {
        self.extent.bit_count(home)
    }

    #[inline]
    pub(super) fn get(&self, index: usize) -> &Line {
        self.lines.get(index)
    }

    #[inline]
    pub(super) fn try_get(&self, index: usize) -> Option<&Line> {
        self.lines.try_get(index)
    }

    #[inline]
    pub(super) fn prefetch(&self, index: usize) {
        self.lines.prefetch(index);
    }

    /// Bytes that it takes.
    pub(super) fn charged(&self) -> u64 {
        self.count().div_ceil(STEP_LEN) as u64 * STEP_BYTES
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lines_stay_where_they_are_while_it_grows() {
        let lines = Lines::default();
        assert!(lines.try_get(0).is_none());
        assert_eq!(lines.missing_len(0), FIRST_ROW_LEN * size_of::<Line>());
        assert!(lines.ensure(0));
        assert_eq!(lines.missing_len(FIRST_ROW_LEN - 1), 0);
        assert_eq!(lines.missing_len(FIRST_ROW_LEN), 2 * FIRST_ROW_LEN * size_of::<Line>());
        let first: *const Line = lines.get(0);
        assert_eq!(first.addr() % size_of::<Line>(), 0, "a line is a line of the cache");
        for index in 0..5_000 {
            assert!(lines.ensure(index));
            let before = lines.get(index)[index % WORDS].swap(index as u64 + 1, Relaxed);
            assert_eq!(before, 0, "zeros at first");
        }
        let holds =
            |index: usize| lines.get(index)[index % WORDS].load(Relaxed) == index as u64 + 1;
        assert!((0..5_000).all(holds));
        assert!(std::ptr::eq(first, lines.get(0)));
        assert!(lines.try_get(1 << 20).is_none());
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
                let low_bits = !(u64::MAX << extent.bit_count(after));
                prop_assert_eq!(hash & low_bits, after as u64 & low_bits);
                prop_assert_eq!(extent.home(hash & low_bits), after);
                prop_assert!(before < count);
                prop_assert!(after == before || (after == count && before == from));
            }
        }
    }
}
