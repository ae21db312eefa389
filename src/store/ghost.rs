//! Fingerprints of keys that were evicted, to know them when they come back.
//!
//! A table of cache lines: each holds the last 31 fingerprints of 16 bits whose hashes fall into it, in a
//! ring. A fingerprint is wrong once in about 2,000 lookups, which costs a wrong guess about one key. It grows a
//! line at a time, by linear hashing, forgetting a few with each.
//!
//! Only the holder of the shard's lock may change it; the table may be prefetched without.
#![expect(clippy::cast_possible_truncation, reason = "fingerprints are parts of hashes")]

use super::lines::{ChargedLines, Line};
use super::segment::Pool;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

const RING_LEN: usize = 31;
const LANES: usize = 4;
/// So many lines are given up in one step.
const SHRINK_COUNT: usize = 256;

/// One line of the table: 31 fingerprints and the place of the next, four to a word.
#[derive(Debug, Clone, Copy)]
struct Ring<'a>(&'a Line);

impl Ring<'_> {
    fn lane(self, index: usize) -> u16 {
        (self.0[index / LANES].load(Relaxed) >> (16 * (index % LANES))) as u16
    }

    fn set_lane(self, index: usize, value: u16) {
        let shift = 16 * (index % LANES);
        let word = &self.0[index / LANES];
        let kept = word.load(Relaxed) & !(0xffff << shift);
        word.store(kept | u64::from(value) << shift, Relaxed);
    }

    /// The first place of a fingerprint: four lanes at a time. One that is equal becomes zero, and the lowest zero lane is
    /// the lowest from which taking one away borrows.
    fn find(self, fingerprint: u16) -> Option<usize> {
        const ONES: u64 = 0x0001_0001_0001_0001;
        const HIGH: u64 = ONES << 15;
        let wanted = ONES * u64::from(fingerprint);
        self.0.iter().enumerate().find_map(|(index, word)| {
            let differing = word.load(Relaxed) ^ wanted;
            let equal = differing.wrapping_sub(ONES) & !differing & HIGH;
            let place = index * LANES + equal.trailing_zeros() as usize / 16;
            // The last lane is none of them.
            (equal != 0 && place < RING_LEN).then_some(place)
        })
    }
}

/// What may be looked at without the lock.
#[derive(Debug, Default)]
pub(super) struct Table(ChargedLines);

impl Table {
    fn line_index(&self, hash: u64) -> Option<usize> {
        (self.0.count() > 0).then(|| self.0.home(hash >> 16))
    }

    /// Asks for the line of a key.
    pub(super) fn prefetch(&self, hash: u64) {
        if let Some(index) = self.line_index(hash) {
            self.0.prefetch(index);
        }
    }
}

/// The fingerprints of one shard; charged to the pool.
#[derive(Debug, Default)]
pub(super) struct Ghost {
    pub(super) table: Arc<Table>,
}

impl Ghost {
    /// Makes room for about this many keys, a line at a time, where there is memory.
    pub(super) fn grow(&mut self, key_count: u64, pool: &Pool) {
        if ((self.table.0.count() * RING_LEN) as u64) < key_count {
            // Without memory for more, fewer are remembered.
            let _ = self.table.0.push(pool);
        }
    }

    /// Gives up some lines where there are more than so many keys need, and forgets what is in them.
    pub(super) fn shrink(&mut self, key_count: u64, pool: &Pool) {
        for _ in 0..SHRINK_COUNT {
            let count = self.table.0.count();
            if count == 0 || ((count - 1) * RING_LEN) as u64 <= key_count {
                return;
            }
            self.table.0.pop(pool);
        }
    }

    /// Bytes that the table takes.
    pub(super) fn charged(&self) -> u64 {
        self.table.0.charged()
    }

    /// Remembers a key.
    pub(super) fn insert(&mut self, hash: u64) {
        if let Some(index) = self.table.line_index(hash) {
            let ring = Ring(self.table.0.get(index));
            let next = usize::from(ring.lane(RING_LEN));
            ring.set_lane(next, fingerprint(hash));
            ring.set_lane(RING_LEN, ((next + 1) % RING_LEN) as u16);
        }
    }

    /// Whether a key is remembered.
    pub(super) fn knows(&self, hash: u64) -> bool {
        self.find(hash).is_some()
    }

    /// Forgets a key.
    pub(super) fn forget(&mut self, hash: u64) {
        if let Some((ring, place)) = self.find(hash) {
            ring.set_lane(place, 0);
        }
    }

    fn find(&self, hash: u64) -> Option<(Ring<'_>, usize)> {
        let ring = Ring(self.table.0.get(self.table.line_index(hash)?));
        Some((ring, ring.find(fingerprint(hash))?))
    }
}

/// 0 is an empty place.
fn fingerprint(hash: u64) -> u16 {
    (hash as u16).max(1)
}

#[cfg(test)]
mod tests {
    use super::super::lines::{STEP_BYTES, STEP_LEN};
    use super::*;
    use std::sync::atomic::AtomicU64;

    /// A mixer in place of a hash of keys.
    fn hash(number: u64) -> u64 {
        let mixed = (number ^ (number >> 31)).wrapping_mul(0x7fb5_d329_728e_a185);
        (mixed ^ (mixed >> 27)).wrapping_mul(0x81da_def4_bc2d_d44d)
    }

    fn grown(key_count: u64, pool: &Pool) -> Ghost {
        let mut ghost = Ghost::default();
        for count in 1..=key_count {
            ghost.grow(count, pool);
        }
        ghost
    }

    /// Neighbours that differ by one, zeros, and the last lane, which is no fingerprint.
    #[test]
    fn a_fingerprint_is_found_at_its_first_place() {
        let line: Line = std::array::from_fn(|_| AtomicU64::new(0));
        let ring = Ring(&line);
        let values = [0, 1, 2, 0x7fff, 0x8000, 0xfffe, u16::MAX];
        for turn in 0..values.len() * 40 {
            (0..=RING_LEN).for_each(|place| {
                let value = values[(turn + place * (1 + turn / 7) + place / 5) % values.len()];
                ring.set_lane(place, value);
            });
            for wanted in values {
                let place = (0..RING_LEN).find(|place| ring.lane(*place) == wanted);
                assert_eq!(ring.find(wanted), place, "{wanted} in turn {turn}");
            }
        }
        (0..RING_LEN).for_each(|place| ring.set_lane(place, 9));
        ring.set_lane(RING_LEN, 10);
        assert_eq!(ring.find(10), None, "the last lane says where the next one goes");
    }

    #[test]
    fn the_last_keys_are_known_and_others_are_not() {
        let pool = Pool::new(1 << 20, 4096, 1);
        let mut ghost = Ghost::default();
        assert!(!ghost.knows(hash(1)), "nothing is known without memory");
        ghost = grown(1000, &pool);
        for number in 0..10_000 {
            ghost.insert(hash(number));
        }
        let known = |ghost: &mut Ghost, numbers: std::ops::Range<u64>| {
            let known = |number: &u64| {
                let knows = ghost.knows(hash(*number));
                ghost.forget(hash(*number));
                knows
            };
            numbers.filter(known).count()
        };
        assert!(known(&mut ghost, 0..5_000) < 50, "those of long ago are forgotten");
        assert!(known(&mut ghost, 20_000..30_000) < 50, "strangers are seldom mistaken");
        let recent = known(&mut ghost, 9_500..10_000);
        assert!(recent > 450, "{recent} of 500");
        assert_eq!(known(&mut ghost, 9_500..10_000), 0, "who is forgotten is not known");
        assert_eq!(ghost.charged(), pool.budget.used());
    }

    #[test]
    fn without_memory_it_keeps_its_size() {
        let pool = Pool::new(STEP_BYTES, 4096, 1);
        let ghost = grown(1_000_000, &pool);
        assert_eq!(ghost.table.0.count(), STEP_LEN);
        assert_eq!((ghost.charged(), pool.budget.used()), (STEP_BYTES, STEP_BYTES));
    }
}
