//! From the hash of a key to the place of its item: buckets of one cache line, grown a bucket at a time.
//!
//! Linear hashing (W. Litwin, VLDB 1980): the table has any number of buckets, and grows by splitting the
//! next one in turn, so no insert ever waits for all of it to move. A bucket that is full goes on in an
//! overflow bucket.
//!
//! The index knows no keys: whoever asks compares them.
//!
//! INVARIANT: a slot is 0, or tag (16 bits) | frequency (2) | location + 1 (46).
#![expect(clippy::cast_possible_truncation, reason = "slots are taken apart")]

use super::segment::Pool;

/// Slots of a bucket; the eighth word links to an overflow bucket.
const SLOT_COUNT: usize = 7;
/// Buckets are allocated so many at a time.
const CHUNK_LEN: usize = 256;
/// A bucket more for each so many items.
const ITEMS_PER_BUCKET: u64 = 6;
/// The highest frequency.
pub(super) const FREQUENCY_MAX: u8 = 3;

const LOCATION_BITS: u32 = 46;
const LOCATION_MASK: u64 = (1 << LOCATION_BITS) - 1;
const TAG_SHIFT: u32 = 48;

#[derive(Debug, Clone, Copy, Default)]
#[repr(align(64))]
struct Bucket {
    slots: [u64; SLOT_COUNT],
    /// One more than the overflow bucket that goes on; 0 where none does.
    next: u32,
}

/// A number of buckets, of which there may be ever more without moving one.
#[derive(Debug, Default)]
struct Buckets {
    chunks: Vec<Box<[Bucket; CHUNK_LEN]>>,
    /// How many are in use.
    count: usize,
}

/// What the index takes at a time.
pub(super) const CHUNK_BYTES: u64 = (CHUNK_LEN * size_of::<Bucket>()) as u64;

impl Buckets {
    fn get(&self, index: usize) -> &Bucket {
        &self.chunks[index / CHUNK_LEN][index % CHUNK_LEN]
    }

    fn get_mut(&mut self, index: usize) -> &mut Bucket {
        &mut self.chunks[index / CHUNK_LEN][index % CHUNK_LEN]
    }

    /// One more, empty; false where there is no memory.
    fn push(&mut self, pool: &Pool) -> bool {
        if self.count == self.chunks.len() * CHUNK_LEN {
            if !pool.reserve(CHUNK_BYTES) {
                return false;
            }
            self.chunks.push(Box::new([Bucket::default(); CHUNK_LEN]));
        }
        self.count += 1;
        true
    }
}

/// Where a slot is. Good until the next change of the index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SlotAt {
    /// In `overflow` where that is so, else in `buckets`.
    index: usize,
    is_overflow: bool,
    slot: usize,
}

/// The index of one shard; charged to the pool.
#[derive(Debug)]
pub(super) struct Index {
    buckets: Buckets,
    overflow: Buckets,
    /// Overflow buckets that are not in use.
    vacant: Vec<u32>,
    /// 2^level buckets had the table when this round of splitting began.
    level: u32,
    item_count: u64,
}

impl Index {
    /// An index of one bucket; `None` where there is no memory for it.
    pub(super) fn new(pool: &Pool) -> Option<Self> {
        let mut buckets = Buckets::default();
        buckets.push(pool).then(|| Self {
            buckets,
            overflow: Buckets::default(),
            vacant: Vec::new(),
            level: 0,
            item_count: 0,
        })
    }

    /// Items it points to.
    pub(super) fn item_count(&self) -> u64 {
        self.item_count
    }

    /// Bytes that it takes.
    pub(super) fn charged(&self) -> u64 {
        (self.buckets.chunks.len() + self.overflow.chunks.len()) as u64 * CHUNK_BYTES
    }

    /// Buckets that hashes are spread over.
    pub(super) fn bucket_count(&self) -> u64 {
        self.buckets.count as u64
    }

    fn home(&self, hash: u64) -> usize {
        let wide = (hash & ((2 << self.level) - 1)) as usize;
        if wide < self.buckets.count { wide } else { (hash & ((1 << self.level) - 1)) as usize }
    }

    fn bucket(&self, at: SlotAt) -> &Bucket {
        if at.is_overflow { self.overflow.get(at.index) } else { self.buckets.get(at.index) }
    }

    fn bucket_mut(&mut self, at: SlotAt) -> &mut Bucket {
        if at.is_overflow {
            self.overflow.get_mut(at.index)
        } else {
            self.buckets.get_mut(at.index)
        }
    }

    /// A word of the bucket of a hash, for no other end than to have it in the processor's cache.
    pub(super) fn fetch(&self, hash: u64) -> u64 {
        self.buckets.get(self.home(hash)).slots[0]
    }

    /// The slot of a key: `is_it` compares the key of the item at a location.
    pub(super) fn find(&self, hash: u64, mut is_it: impl FnMut(u64) -> bool) -> Option<SlotAt> {
        let tag = hash >> TAG_SHIFT;
        let mut at = SlotAt { index: self.home(hash), is_overflow: false, slot: 0 };
        loop {
            let bucket = self.bucket(at);
            let mut matches = 0_u32;
            for (slot, word) in bucket.slots.iter().enumerate() {
                matches |= u32::from(word >> TAG_SHIFT == tag && *word != 0) << slot;
            }
            while matches != 0 {
                let slot = matches.trailing_zeros() as usize;
                if is_it((bucket.slots[slot] & LOCATION_MASK) - 1) {
                    return Some(SlotAt { slot, ..at });
                }
                matches &= matches - 1;
            }
            if bucket.next == 0 {
                return None;
            }
            at = SlotAt { index: bucket.next as usize - 1, is_overflow: true, slot: 0 };
        }
    }

    /// The location that a slot holds.
    pub(super) fn location(&self, at: SlotAt) -> u64 {
        (self.bucket(at).slots[at.slot] & LOCATION_MASK) - 1
    }

    /// Makes a slot hold another location.
    pub(super) fn relocate(&mut self, at: SlotAt, location: u64) {
        let word = &mut self.bucket_mut(at).slots[at.slot];
        *word = (*word & !LOCATION_MASK) | (location + 1);
    }

    /// How often the item was read, 3 at most.
    pub(super) fn frequency(&self, at: SlotAt) -> u8 {
        (self.bucket(at).slots[at.slot] >> LOCATION_BITS) as u8 & FREQUENCY_MAX
    }

    /// Sets it.
    pub(super) fn set_frequency(&mut self, at: SlotAt, frequency: u8) {
        let word = &mut self.bucket_mut(at).slots[at.slot];
        *word &= !(u64::from(FREQUENCY_MAX) << LOCATION_BITS);
        *word |= u64::from(frequency.min(FREQUENCY_MAX)) << LOCATION_BITS;
    }

    /// Forgets an item of this hash. An item of the last overflow bucket takes its place, so that such
    /// buckets come free again.
    pub(super) fn remove(&mut self, hash: u64, at: SlotAt) {
        self.bucket_mut(at).slots[at.slot] = 0;
        self.item_count -= 1;
        let mut before = SlotAt { index: self.home(hash), is_overflow: false, slot: 0 };
        let mut next = self.bucket(before).next;
        if next == 0 {
            return;
        }
        let mut last = next as usize - 1;
        loop {
            next = self.overflow.get(last).next;
            if next == 0 {
                break;
            }
            before = SlotAt { index: last, is_overflow: true, slot: 0 };
            last = next as usize - 1;
        }
        let mut tail = self.overflow.get_mut(last).slots.iter_mut();
        if let Some(word) = tail.find(|word| **word != 0) {
            let word = std::mem::take(word);
            self.bucket_mut(at).slots[at.slot] = word;
        }
        if self.overflow.get(last).slots.iter().all(|word| *word == 0) {
            self.bucket_mut(before).next = 0;
            self.vacant.push(u32::try_from(last).expect("fewer than 2^32 overflow buckets"));
        }
    }

    /// Enters an item that is not there yet; false where there is no memory for an overflow bucket.
    pub(super) fn insert(&mut self, hash: u64, location: u64, pool: &Pool) -> bool {
        let word = (hash >> TAG_SHIFT << TAG_SHIFT) | (location + 1);
        let home = self.home(hash);
        let entered = self.enter(home, word, pool);
        self.item_count += u64::from(entered);
        entered
    }

    fn enter(&mut self, home: usize, word: u64, pool: &Pool) -> bool {
        let mut at = SlotAt { index: home, is_overflow: false, slot: 0 };
        loop {
            let bucket = self.bucket_mut(at);
            if let Some(slot) = bucket.slots.iter_mut().find(|slot| **slot == 0) {
                *slot = word;
                return true;
            }
            if bucket.next == 0 {
                break;
            }
            at = SlotAt { index: bucket.next as usize - 1, is_overflow: true, slot: 0 };
        }
        let index = match self.vacant.pop() {
            Some(index) => index as usize,
            None if self.overflow.push(pool) => self.overflow.count - 1,
            None => return false,
        };
        let next = u32::try_from(index + 1).expect("fewer than 2^32 overflow buckets");
        self.bucket_mut(at).next = next;
        let mut slots = [0; SLOT_COUNT];
        slots[0] = word;
        *self.overflow.get_mut(index) = Bucket { slots, next: 0 };
        true
    }

    /// Splits a bucket or two where there are many items; `hash_of` hashes the key of the item at a
    /// location. Without memory the buckets fill up instead.
    pub(super) fn grow(&mut self, pool: &Pool, hash_of: impl Fn(u64) -> u64) {
        for _ in 0..2 {
            if self.item_count <= self.buckets.count as u64 * ITEMS_PER_BUCKET
                || !self.buckets.push(pool)
            {
                return;
            }
            self.split(pool, &hash_of);
        }
    }

    /// Moves what belongs there into the bucket that was just added.
    fn split(&mut self, pool: &Pool, hash_of: &impl Fn(u64) -> u64) {
        let split = self.buckets.count - 1 - (1 << self.level);
        if self.buckets.count == 2 << self.level {
            self.level += 1;
        }
        let mut bucket = std::mem::take(self.buckets.get_mut(split));
        loop {
            for word in bucket.slots.into_iter().filter(|word| *word != 0) {
                let home = self.home(hash_of((word & LOCATION_MASK) - 1));
                let entered = self.enter(home, word, pool);
                debug_assert!(entered, "the overflow buckets given up suffice");
            }
            if bucket.next == 0 {
                return;
            }
            let index = bucket.next - 1;
            bucket = std::mem::take(self.overflow.get_mut(index as usize));
            self.vacant.push(index);
        }
    }

    /// All locations, in no order.
    pub(super) fn locations(&self) -> Vec<u64> {
        let all = [&self.buckets, &self.overflow];
        let words = all
            .into_iter()
            .flat_map(|buckets| (0..buckets.count).flat_map(|index| buckets.get(index).slots));
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
        fn the_index_is_a_map(ops in proptest::collection::vec((0..4_u8, 0..600_u16), 1..3000)) {
            let pool = Pool::new(1 << 24, 4096);
            let mut index = Index::new(&pool).expect("there is room");
            // A location is the key and how often it moved, so that the key can be read from it.
            let mut model: HashMap<u16, u64> = HashMap::new();
            let key_of = |location: u64| (location & 0xffff) as u16;
            for (op, key) in ops {
                let found = index.find(hash(key), |location| key_of(location) == key);
                prop_assert_eq!(found.map(|at| index.location(at)), model.get(&key).copied());
                match (op, found) {
                    (0 | 1, None) => {
                        prop_assert!(index.insert(hash(key), u64::from(key), &pool));
                        model.insert(key, u64::from(key));
                        index.grow(&pool, |location| hash(key_of(location)));
                    }
                    (1, Some(at)) => {
                        let moved = index.location(at) + 0x1_0000;
                        index.set_frequency(at, 2);
                        index.relocate(at, moved);
                        prop_assert_eq!(index.frequency(at), 2);
                        model.insert(key, moved);
                    }
                    (2, Some(at)) => {
                        index.remove(hash(key), at);
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
        let pool = Pool::new(1 << 24, 4096);
        let mut index = Index::new(&pool).expect("there is room");
        // All in one bucket, which never splits here.
        for key in 0..1000 {
            assert!(index.insert(0, key, &pool));
        }
        let charged = index.charged();
        for key in 0..1000 {
            let at = index.find(0, |location| location == key).expect("it was entered");
            index.remove(0, at);
        }
        assert_eq!(index.vacant.len(), index.overflow.count);
        for key in 0..1000 {
            assert!(index.insert(0, key, &pool));
        }
        assert_eq!(index.charged(), charged);
    }
}
