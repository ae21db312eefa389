//! An index that gives back what it has more than it needs, a little at a time: the reverse of its growth.

use super::super::segment::Pool;
use super::{Bucket, ITEMS_PER_BUCKET, Index, LOCATION_MASK, SlotAt};

/// So many buckets or overflow buckets are given up in one step.
const STEP_COUNT: usize = 256;
/// Buckets are given up while this many quarters of the items that they are for are not there.
const SPARE_QUARTERS: u64 = 1;

impl Index {
    /// Gives up some buckets where there are few items, and some overflow buckets that are not in use; `hash_of` hashes the
    /// key of the item at a location.
    pub(in crate::store) fn shrink(&mut self, pool: &Pool, hash_of: impl Fn(u64) -> u64) {
        for _ in 0..STEP_COUNT {
            let left_count = self.table.buckets.count() as u64 - 1;
            let is_loose =
                self.item_count * 4 < left_count * ITEMS_PER_BUCKET * (4 - SPARE_QUARTERS);
            if !is_loose || left_count == 0 || !self.join_last(pool) {
                break;
            }
        }
        self.give_up_overflow(pool, hash_of);
    }

    /// Gives up the last bucket: what is in it belongs to another one then. False where there is no overflow bucket for
    /// what that has no slots for.
    fn join_last(&mut self, pool: &Pool) -> bool {
        let overflow = &self.table.overflow;
        // The overflow buckets of its own come free as they are needed, so one more suffices.
        if self.vacant.is_empty() {
            if overflow.push(pool).is_none() {
                return false;
            }
            self.vacant.push(number_of(overflow.count() - 1));
        }
        let last = self.table.buckets.count() - 1;
        let mut contents = Bucket(self.table.buckets.get(last)).take();
        let home = SlotAt::bucket(self.table.buckets.pop(pool));
        loop {
            let (slots, next) = contents;
            for word in slots.into_iter().filter(|word| *word != 0) {
                let entered = self.enter(home, word, pool);
                debug_assert!(entered, "the overflow buckets given up suffice");
            }
            let Some(next) = next.checked_sub(1) else {
                return true;
            };
            contents = Bucket(self.table.overflow.get(next as usize)).take();
            self.vacant.push(number_of(next as usize));
        }
    }

    /// Gives up overflow buckets at the end, and moves those among them that are in use.
    fn give_up_overflow(&mut self, pool: &Pool, hash_of: impl Fn(u64) -> u64) {
        let count = self.table.overflow.count();
        let give_up_count = self.vacant.len().min(STEP_COUNT);
        // What is left over is soon needed again.
        if give_up_count < STEP_COUNT && self.item_count > 0 || give_up_count == 0 {
            return;
        }
        let left_count = count - give_up_count;
        // Those that stay are taken from the end.
        self.vacant.sort_unstable_by(|left, right| right.cmp(left));
        let gone = self.vacant.partition_point(|number| *number as usize >= left_count);
        let is_vacant: Vec<u32> = self.vacant.drain(..gone).collect();
        for index in left_count..count {
            let is_in_use =
                is_vacant.binary_search_by(|number| number_of(index).cmp(number)).is_err();
            if is_in_use {
                let to = self.vacant.pop().expect("as many are vacant as are given up");
                self.move_overflow(index, to as usize, &hash_of);
            }
        }
        for _ in 0..give_up_count {
            self.table.overflow.pop(pool);
        }
    }

    /// Puts an overflow bucket in place of another one that is vacant.
    fn move_overflow(&mut self, from: usize, to: usize, hash_of: &impl Fn(u64) -> u64) {
        let contents = Bucket(self.table.overflow.get(from)).take();
        let word = contents.0.into_iter().find(|word| *word != 0);
        let word = word.expect("an overflow bucket that is in use is not empty");
        let mut before = self.home(hash_of((word & LOCATION_MASK) - 1));
        while self.bucket(before).next() != from as u64 + 1 {
            before = self.after(before).expect("it is in the chain of what it holds");
        }
        Bucket(self.table.overflow.get(to)).set(contents);
        self.bucket(before).set_next(to as u64 + 1);
    }
}

fn number_of(index: usize) -> u32 {
    u32::try_from(index).expect("fewer than 2^32 overflow buckets")
}

#[cfg(test)]
mod tests {
    use super::super::Candidate;
    use super::*;
    use std::collections::HashSet;

    /// A mixer in place of a hash of keys.
    fn hash(number: u64) -> u64 {
        let mixed = (number ^ (number >> 31)).wrapping_mul(0x7fb5_d329_728e_a185);
        (mixed ^ (mixed >> 27)).wrapping_mul(0x81da_def4_bc2d_d44d)
    }

    #[test]
    fn it_is_as_small_as_one_that_never_was_larger_and_grows_again() {
        let pool = Pool::new(1 << 30, 4096, 1);
        let mut index = Index::new(&pool).expect("there is room");
        let enter = |index: &mut Index, numbers: std::ops::Range<u64>| {
            for number in numbers {
                assert!(index.insert(hash(number), 3, number, &pool));
                index.grow(&pool, hash);
            }
        };
        enter(&mut index, 0..200_000);
        let charged = index.charged();
        for number in 2_000..200_000 {
            let found = index.find(hash(number), number);
            index.remove(hash(number), found.expect("it was entered").slot);
        }
        let mut before = index.charged();
        assert!(before > charged / 2, "it does not shrink by itself");
        loop {
            index.shrink(&pool, hash);
            let now = index.charged();
            assert_eq!(now, pool.budget.used());
            if now == before {
                break;
            }
            before = now;
        }
        let mut small = Index::new(&pool).expect("there is room");
        enter(&mut small, 0..2_000);
        assert!(index.charged() <= 3 * small.charged(), "{} {}", index.charged(), small.charged());
        let all = |index: &Index| index.locations().into_iter().collect::<HashSet<_>>();
        assert_eq!(all(&index), (0..2_000).collect());
        enter(&mut index, 2_000..50_000);
        assert_eq!(all(&index), (0..50_000).collect());
        for number in 0..50_000 {
            let found = index.find(hash(number), number);
            assert_eq!(found.map(Candidate::mark), Some(3));
        }
        assert!(
            index.vacant.iter().all(|number| (*number as usize) < index.table.overflow.count())
        );
    }
}
