//! From the hash of a key to the place of its item: buckets of one cache line, grown a bucket at a time.
//!
//! Linear hashing (W. Litwin, VLDB 1980): the table has any number of buckets, and grows by splitting the
//! next one in turn, so no insert ever waits for all of it to move. A bucket that is full goes on in an
//! overflow bucket.
//!
//! The index knows no keys: whoever asks compares them. Only the holder of the shard's lock may change it; the
//! table is of atomics so that a burst of lookups can be prefetched without the lock, from what may be stale.
//!
//! INVARIANT: a slot is 0, or tag (16 bits) | mark (8) | location + 1 (40).
#![expect(clippy::cast_possible_truncation, reason = "slots are taken apart")]

mod shrink;
mod walk;

use super::lines::{ChargedLines, Line};
use super::prefetch::prefetch;
use super::segment::Pool;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// Slots of a bucket; the eighth word links to an overflow bucket.
const SLOT_COUNT: usize = 7;
/// A bucket more for each so many items.
const ITEMS_PER_BUCKET: u64 = 6;

const LOCATION_BITS: u32 = 40;
const LOCATION_MASK: u64 = (1 << LOCATION_BITS) - 1;
const MARK_MASK: u64 = 0xff << LOCATION_BITS;
const TAG_SHIFT: u32 = 48;
const TAG_MASK: u64 = u64::MAX << TAG_SHIFT;

/// One line: the slots, and one more than the overflow bucket that goes on, or 0.
#[derive(Debug, Clone, Copy)]
struct Bucket<'a>(&'a Line);

/// The slots and the next overflow bucket of a bucket.
type Contents = ([u64; SLOT_COUNT], u64);

impl Bucket<'_> {
    #[inline]
    fn slots(self) -> [u64; SLOT_COUNT] {
        let [slots @ .., _] = self.0;
        slots.each_ref().map(|slot| slot.load(Relaxed))
    }

    /// Which slots may be of a hash, by their tags: one bit each, without a branch for each.
    #[inline]
    fn matches(self, hash: u64) -> u32 {
        let (tag, [slots @ .., _]) = (tag(hash) << TAG_SHIFT, self.0);
        slots
            .iter()
            .rev()
            .fold(0, |matches, slot| matches * 2 + u32::from(slot.load(Relaxed) ^ tag <= !TAG_MASK))
    }

    /// The same for one slot.
    #[inline]
    fn matches_at(self, slot: usize, hash: u64) -> u32 {
        u32::from(self.word(slot) >> TAG_SHIFT == tag(hash)) << slot
    }

    fn word(self, slot: usize) -> u64 {
        self.0[slot].load(Relaxed)
    }

    fn next(self) -> u64 {
        self.0[SLOT_COUNT].load(Relaxed)
    }

    fn set_next(self, next: u64) {
        self.0[SLOT_COUNT].store(next, Relaxed);
    }

    fn set(self, (slots, next): Contents) {
        for (slot, word) in slots.into_iter().enumerate() {
            self.0[slot].store(word, Relaxed);
        }
        self.set_next(next);
    }

    fn take(self) -> Contents {
        let contents = (self.slots(), self.next());
        self.set(([0; SLOT_COUNT], 0));
        contents
    }
}

/// Never 0, which is the tag of an empty slot.
#[inline]
fn tag(hash: u64) -> u64 {
    (hash >> TAG_SHIFT).max(1)
}

/// What may be looked at without the lock.
#[derive(Debug, Default)]
pub(super) struct Table {
    buckets: ChargedLines,
    overflow: ChargedLines,
}

impl Table {
    fn home(&self, hash: u64) -> SlotAt {
        SlotAt::bucket(self.buckets.home(hash))
    }

    #[inline]
    fn line(&self, at: SlotAt) -> Option<&Line> {
        let lines = if at.is_overflow() { &self.overflow } else { &self.buckets };
        lines.try_get(at.index())
    }

    #[inline]
    fn peek_at(&self, at: SlotAt) -> Option<Peek<'_>> {
        Some(Peek { at, line: self.line(at)? })
    }

    /// The bucket of a hash.
    #[inline]
    pub(super) fn peek(&self, hash: u64) -> Option<Peek<'_>> {
        self.peek_at(self.home(hash))
    }

    /// Asks for the bucket of a hash.
    pub(super) fn prefetch(&self, hash: u64) {
        self.buckets.prefetch(self.buckets.home(hash));
    }

    /// Asks for the overflow bucket of a hash, where it has one. Its bucket was asked for before.
    pub(super) fn prefetch_next(&self, hash: u64) {
        let next = self.peek(hash).and_then(|peek| Bucket(peek.line).next().checked_sub(1));
        if let Some(next) = next {
            self.overflow.prefetch(next as usize);
        }
    }

    /// Where the item of a hash may be, as one bucket of its chain has it.
    #[inline]
    pub(super) fn guess(&self, peek: Peek<'_>, hash: u64) -> Guess<'_> {
        let bucket = Bucket(peek.line);
        let matches = bucket.matches(hash);
        if matches != 0 {
            let slot = matches.trailing_zeros() as usize;
            let location = (bucket.word(slot) & LOCATION_MASK).wrapping_sub(1);
            return Guess::Item(peek.at.with_slot(slot), location);
        }
        let next = bucket.next().checked_sub(1);
        Guess::Bucket(next.and_then(|next| self.peek_at(SlotAt::overflow(next as usize))))
    }
}

/// A bucket that is looked at without the lock.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peek<'a> {
    at: SlotAt,
    line: &'a Line,
}

impl Peek<'_> {
    pub(super) fn prefetch(self) {
        prefetch(self.line.as_ptr().addr());
    }
}

/// What a bucket says of a hash, without the lock: anything may have changed since.
#[derive(Debug)]
pub(super) enum Guess<'a> {
    /// The slot and the location of an item with the same tag.
    Item(SlotAt, u64),
    /// The bucket that goes on, where there is one.
    Bucket(Option<Peek<'a>>),
}

/// Where a slot is, in one word that stays in a register. Good until the next change of the index; a hint after that.
///
/// INVARIANT: number of the bucket (60 bits) | whether it is an overflow bucket (1) | slot in it (3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SlotAt(u64);

impl SlotAt {
    /// For want of a hint.
    pub(super) const UNKNOWN: Self = Self(0);

    fn bucket(index: usize) -> Self {
        Self((index as u64) << 4)
    }

    fn overflow(index: usize) -> Self {
        Self((index as u64) << 4 | 8)
    }

    /// Another slot of the same bucket.
    fn with_slot(self, slot: usize) -> Self {
        Self(self.0 & !7 | slot as u64)
    }

    fn index(self) -> usize {
        (self.0 >> 4) as usize
    }

    fn is_overflow(self) -> bool {
        self.0 & 8 != 0
    }

    fn slot(self) -> usize {
        (self.0 & 7) as usize
    }
}

/// A slot that may be of a hash, and what it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) slot: SlotAt,
    word: u64,
}

impl Candidate {
    #[inline]
    pub(super) fn location(self) -> u64 {
        (self.word & LOCATION_MASK) - 1
    }

    /// What the eviction policy keeps of the item.
    #[inline]
    pub(super) fn mark(self) -> u8 {
        (self.word >> LOCATION_BITS) as u8
    }
}

/// All of those, made by [`Index::candidates`].
#[derive(Debug)]
pub(super) struct Candidates<'a> {
    index: &'a Index,
    hash: u64,
    /// The bucket that is looked at, and which of its slots are left.
    at: SlotAt,
    bucket: Option<Bucket<'a>>,
    matches: u32,
    is_hint: bool,
}

impl Iterator for Candidates<'_> {
    type Item = Candidate;

    #[inline(always)]
    #[expect(clippy::inline_always, reason = "as below")]
    fn next(&mut self) -> Option<Candidate> {
        loop {
            if let Some(bucket) = self.bucket
                && self.matches != 0
            {
                let slot = self.matches.trailing_zeros() as usize;
                self.matches &= self.matches - 1;
                return Some(Candidate { slot: self.at.with_slot(slot), word: bucket.word(slot) });
            }
            let home = self.is_hint.then(|| self.index.home(self.hash));
            self.at = home.or_else(|| self.index.after(self.at))?;
            self.is_hint = false;
            let bucket = self.index.bucket(self.at);
            (self.bucket, self.matches) = (Some(bucket), bucket.matches(self.hash));
        }
    }
}

/// The index of one shard; charged to the pool.
#[derive(Debug)]
pub(super) struct Index {
    pub(super) table: Arc<Table>,
    /// Overflow buckets that are not in use.
    vacant: Vec<u32>,
    item_count: u64,
}

impl Index {
    /// An index of one bucket; `None` where there is no memory for it.
    pub(super) fn new(pool: &Pool) -> Option<Self> {
        let table = Arc::<Table>::default();
        table.buckets.push(pool)?;
        Some(Self { table, vacant: Vec::new(), item_count: 0 })
    }

    /// Items it points to.
    pub(super) fn item_count(&self) -> u64 {
        self.item_count
    }

    /// Bytes that it takes.
    pub(super) fn charged(&self) -> u64 {
        self.table.buckets.charged() + self.table.overflow.charged()
    }

    /// Buckets that hashes are spread over.
    pub(super) fn bucket_count(&self) -> u64 {
        self.table.buckets.count() as u64
    }

    fn home(&self, hash: u64) -> SlotAt {
        self.table.home(hash)
    }

    fn bucket(&self, at: SlotAt) -> Bucket<'_> {
        self.try_bucket(at).expect("buckets in use are there")
    }

    fn try_bucket(&self, at: SlotAt) -> Option<Bucket<'_>> {
        self.table.line(at).map(Bucket)
    }

    /// The overflow bucket that goes on where a bucket is full.
    fn after(&self, at: SlotAt) -> Option<SlotAt> {
        Some(SlotAt::overflow(self.bucket(at).next().checked_sub(1)? as usize))
    }

    fn set_word(&mut self, at: SlotAt, word: u64) {
        self.bucket(at).0[at.slot()].store(word, Relaxed);
    }

    /// Changes what stands in a slot.
    fn change(&mut self, at: SlotAt, change: impl FnOnce(u64) -> u64) {
        let word = &self.bucket(at).0[at.slot()];
        word.store(change(word.load(Relaxed)), Relaxed);
    }

    /// The slots that may be of a hash: whoever asks compares the keys. The one that a `hint` says comes first.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "a get is little more than this")]
    pub(super) fn candidates(&self, hash: u64, hint: SlotAt) -> Candidates<'_> {
        let hinted = if hint == SlotAt::UNKNOWN { None } else { self.try_bucket(hint) };
        let matches = hinted.map_or(0, |bucket| bucket.matches_at(hint.slot(), hash));
        Candidates { index: self, hash, at: hint, bucket: hinted, matches, is_hint: true }
    }

    /// The slot of a hash that has this location.
    pub(super) fn find(&self, hash: u64, location: u64) -> Option<Candidate> {
        let wanted = tag(hash) << TAG_SHIFT | (location + 1);
        let mut at = self.home(hash);
        loop {
            let slots = self.bucket(at).slots();
            if let Some(slot) = slots.iter().position(|word| word & !MARK_MASK == wanted) {
                return Some(Candidate { slot: at.with_slot(slot), word: slots[slot] });
            }
            at = self.after(at)?;
        }
    }

    /// The location and the mark of an item, picked by a random number.
    pub(super) fn any(&self, random: u64) -> Option<(u64, u8)> {
        let slots = self.bucket(self.home(random)).slots();
        let start = (random >> 32) as usize;
        let mut words = (0..SLOT_COUNT).map(|slot| slots[(start + slot) % SLOT_COUNT]);
        let word = words.find(|word| *word != 0)?;
        Some(((word & LOCATION_MASK) - 1, (word >> LOCATION_BITS) as u8))
    }

    /// Makes a slot hold another location, and another mark.
    pub(super) fn relocate(&mut self, at: SlotAt, location: u64, mark: u8) {
        let mark = u64::from(mark) << LOCATION_BITS;
        self.change(at, |word| word & TAG_MASK | mark | (location + 1));
    }

    /// Sets what the eviction policy keeps of the item.
    pub(super) fn set_mark(&mut self, at: SlotAt, mark: u8) {
        let mark = u64::from(mark) << LOCATION_BITS;
        self.change(at, |word| word & !MARK_MASK | mark);
    }

    /// Forgets an item of this hash.
    pub(super) fn remove(&mut self, hash: u64, at: SlotAt) {
        self.item_count -= 1;
        let bucket = self.bucket(at);
        bucket.0[at.slot()].store(0, Relaxed);
        if at.is_overflow() || bucket.next() != 0 {
            self.close_gap(hash, at);
        }
    }

    /// Lets an item of the last overflow bucket take the place of one that was removed, so that such buckets come free
    /// again.
    fn close_gap(&mut self, hash: u64, at: SlotAt) {
        let mut before = self.home(hash);
        let Some(mut last) = self.after(before) else {
            return;
        };
        while let Some(next) = self.after(last) {
            before = std::mem::replace(&mut last, next);
        }
        let is_in_last = at.with_slot(0) == last;
        let slots = self.bucket(last).slots();
        let mut left_count = slots.iter().filter(|word| **word != 0).count();
        if let Some(slot) = slots.iter().position(|word| *word != 0)
            && !is_in_last
        {
            self.set_word(last.with_slot(slot), 0);
            self.set_word(at, slots[slot]);
            left_count -= 1;
        }
        if left_count == 0 {
            self.bucket(before).set_next(0);
            self.vacant
                .push(u32::try_from(last.index()).expect("fewer than 2^32 overflow buckets"));
        }
    }

    /// Enters an item that is not there yet; false where there is no memory for an overflow bucket.
    pub(super) fn insert(&mut self, hash: u64, mark: u8, location: u64, pool: &Pool) -> bool {
        let mark = u64::from(mark) << LOCATION_BITS;
        let word = tag(hash) << TAG_SHIFT | mark | (location + 1);
        let entered = self.enter(self.home(hash), word, pool);
        self.item_count += u64::from(entered);
        entered
    }

    fn enter(&mut self, home: SlotAt, word: u64, pool: &Pool) -> bool {
        let mut at = home;
        loop {
            if let Some(slot) = self.bucket(at).slots().iter().position(|slot| *slot == 0) {
                self.set_word(at.with_slot(slot), word);
                return true;
            }
            match self.after(at) {
                Some(next) => at = next,
                None => break,
            }
        }
        let overflow = &self.table.overflow;
        let index = match self.vacant.pop() {
            Some(index) => index as usize,
            None if overflow.push(pool).is_some() => overflow.count() - 1,
            None => return false,
        };
        let mut slots = [0; SLOT_COUNT];
        slots[0] = word;
        Bucket(overflow.get(index)).set((slots, 0));
        self.bucket(at).set_next(index as u64 + 1);
        true
    }

    /// Splits a bucket or two where there are many items; `hash_of` hashes the key of the item at a
    /// location. Without memory the buckets fill up instead.
    pub(super) fn grow(&mut self, pool: &Pool, hash_of: impl Fn(u64) -> u64) {
        for _ in 0..2 {
            let count = self.table.buckets.count();
            if self.item_count <= count as u64 * ITEMS_PER_BUCKET {
                return;
            }
            let Some(from) = self.table.buckets.push(pool) else {
                return;
            };
            self.split(from, pool, &hash_of);
        }
    }

    /// Moves what belongs there from a bucket into the one that was just added.
    fn split(&mut self, index: usize, pool: &Pool, hash_of: &impl Fn(u64) -> u64) {
        let mut contents = Bucket(self.table.buckets.get(index)).take();
        loop {
            let (slots, next) = contents;
            for word in slots.into_iter().filter(|word| *word != 0) {
                let home = self.home(hash_of((word & LOCATION_MASK) - 1));
                let entered = self.enter(home, word, pool);
                debug_assert!(entered, "the overflow buckets given up suffice");
            }
            let Some(next) = next.checked_sub(1) else {
                return;
            };
            contents = Bucket(self.table.overflow.get(next as usize)).take();
            self.vacant.push(u32::try_from(next).expect("fewer than 2^32 overflow buckets"));
        }
    }

    /// All locations, in no order.
    pub(super) fn locations(&self) -> Vec<u64> {
        let all = [&self.table.buckets, &self.table.overflow];
        let words = all.into_iter().flat_map(|buckets| {
            (0..buckets.count()).flat_map(|index| Bucket(buckets.get(index)).slots())
        });
        words.filter(|word| *word != 0).map(|word| (word & LOCATION_MASK) - 1).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    /// A hash with few different buckets and tags, so that chains and confusions are likely.
    fn hash(key: u16) -> u64 {
        let key = u64::from(key);
        (key % 7) << TAG_SHIFT | key.wrapping_mul(0x9e37_79b9) & 0xffff
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// Whatever is entered, moved and removed while it grows: the index is a map.
        #[test]
        fn the_index_is_a_map(ops in proptest::collection::vec((0..4_u8, 0..600_u16, any::<u16>()), 1..3000)) {
            let pool = Pool::new(1 << 24, 4096, 1);
            let mut index = Index::new(&pool).expect("there is room");
            // A location is the key and how often it moved, so that the key can be read from it.
            let mut model: HashMap<u16, u64> = HashMap::new();
            let key_of = |location: u64| (location & 0xffff) as u16;
            for (op, key, hint) in ops {
                // Whatever the hint says.
                let mut candidates = index.candidates(hash(key), SlotAt(hint.into()));
                let found = candidates.find(|found| key_of(found.location()) == key);
                prop_assert_eq!(found.map(Candidate::location), model.get(&key).copied());
                match (op, found) {
                    (0 | 1, None) => {
                        prop_assert!(index.insert(hash(key), 7, u64::from(key), &pool));
                        model.insert(key, u64::from(key));
                        index.grow(&pool, |location| hash(key_of(location)));
                    }
                    (1, Some(found)) => {
                        let moved = found.location() + 0x1_0000;
                        index.relocate(found.slot, moved, 3);
                        index.set_mark(found.slot, 2);
                        prop_assert_eq!(index.find(hash(key), found.location()), None);
                        let again = index.find(hash(key), moved);
                        prop_assert_eq!(again.map(|again| (again.slot, again.mark())), Some((found.slot, 2)));
                        let hinted = index.candidates(hash(key), found.slot).next();
                        prop_assert_eq!(hinted.map(Candidate::location), Some(moved));
                        model.insert(key, moved);
                    }
                    (2, Some(found)) => {
                        index.remove(hash(key), found.slot);
                        model.remove(&key);
                    }
                    _ => {}
                }
                prop_assert_eq!(index.item_count(), model.len() as u64);
            }
            let mut locations = index.locations();
            let mut expected: Vec<u64> = model.into_values().collect();
            locations.sort_unstable();
            expected.sort_unstable();
            prop_assert_eq!(locations, expected);
            prop_assert_eq!(index.charged(), pool.budget.used());
        }
    }

    #[test]
    fn overflow_buckets_come_free_again() {
        let pool = Pool::new(1 << 24, 4096, 1);
        let mut index = Index::new(&pool).expect("there is room");
        // All in one bucket, which never splits here.
        for key in 0..1000 {
            assert!(index.insert(0, 0, key, &pool));
        }
        let charged = index.charged();
        for key in 0..1000 {
            let found = index.find(0, key).expect("it was entered");
            index.remove(0, found.slot);
        }
        assert_eq!(index.vacant.len(), index.table.overflow.count());
        for key in 0..1000 {
            assert!(index.insert(0, 0, key, &pool));
        }
        assert_eq!(index.charged(), charged);
    }
}
