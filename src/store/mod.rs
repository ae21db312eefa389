//! The store: keys to items under one memory limit.
//!
//! This is the first form: exact LRU over 2^n shards, each a lock around an `lru` map. It is small and
//! plain on purpose, since it stays as the reference that a faster store is compared with.
//!
//! Reading order: this file (what a store can do, and the locks), `shard` (how it is done), `item` (what
//! is kept and what it costs), `exptime`, `flush`, `budget`.
//!
//! The store knows no protocol, no sockets, no threads but through its locks, and no clock: the time is
//! an argument.
//!
//! INVARIANT: keys, values and their bookkeeping together never pass the limit; room is made before an
//! insert, not after.
//! INVARIANT: a key is found if and only if it was stored and not deleted, expired, flushed or evicted.
//! INVARIANT: a CAS unique changes exactly when the value does, and no two are equal.

mod budget;
mod exptime;
mod flush;
mod item;
mod shard;
#[cfg(test)]
mod tests;

pub use exptime::{Deadline, Now};

use ahash::RandomState;
use budget::Budget;
use flush::Flush;
use parking_lot::{Mutex, MutexGuard};
use shard::{Moment, NoRoom, Shard};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// How a store is made.
#[derive(Debug, Clone, Copy)]
pub struct StoreConfig {
    /// For keys, values and bookkeeping together, in bytes.
    pub limit_bytes: u64,
    /// A power of two.
    pub shard_count: usize,
    /// Whether living items may be thrown out for new ones.
    pub evictions: bool,
    /// Whether items have a CAS unique; without, it is 0 and no `cas` ever matches.
    pub cas: bool,
    /// What counts as an item's size.
    pub item_size: ItemSize,
}

/// memcached's measure of an item, which clients see as a size limit and as the `bytes` counter.
#[derive(Debug, Clone, Copy)]
pub struct ItemSize {
    /// Counted for every item besides key and value, in bytes.
    pub header_len: u64,
    /// Counted for an item whose flags are not 0, in bytes.
    pub flags_len: u64,
    /// Largest item, in bytes.
    pub max: u64,
}

impl ItemSize {
    fn of(&self, key_len: usize, flags: u32, value_len: usize) -> u64 {
        let flags_len = if flags == 0 { 0 } else { self.flags_len };
        self.header_len + flags_len + key_len as u64 + value_len as u64
    }

    fn is_over(&self, key_len: usize, flags: u32, value_len: usize) -> bool {
        self.of(key_len, flags, value_len) > self.max
    }
}

/// An item as a reader sees it, under its shard's lock.
#[derive(Debug, Clone, Copy)]
pub struct ItemView<'a> {
    /// The client's bytes.
    pub value: &'a [u8],
    /// The client's 32 bits.
    pub flags: u32,
    /// 0 where the store keeps none.
    pub cas_unique: u64,
}

/// Why there is no item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Miss {
    /// Never stored, deleted, evicted, or removed when its death was seen before.
    Absent,
    /// There, but past its exptime; removed now.
    Expired,
    /// There, but stored before a flush; removed now.
    Flushed,
}

/// One storage command.
#[derive(Debug, Clone, Copy)]
pub struct Write<'a> {
    /// On which condition, and what becomes of the old value.
    pub mode: StoreMode,
    /// Any bytes.
    pub key: &'a [u8],
    /// Ignored when a value is joined to an old one, which keeps its own.
    pub flags: u32,
    /// Ignored when a value is joined to an old one, which keeps its own.
    pub deadline: Deadline,
    /// Any bytes.
    pub value: &'a [u8],
}

/// When to store, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreMode {
    /// Always.
    Set,
    /// If absent.
    Add,
    /// If present.
    Replace,
    /// If present, behind the old value.
    Append,
    /// If present, before the old value.
    Prepend,
    /// If present and its CAS unique is this one.
    Cas(u64),
}

/// What became of a [`Write`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stored {
    /// Stored.
    Stored,
    /// The condition of add, replace, append or prepend did not hold, or the joined item is too large.
    NotStored,
    /// The item has another CAS unique.
    Exists,
    /// No item to compare with.
    NotFound,
    /// No room. The old item is kept, save for [`StoreMode::Set`]: a stale value must not outlive the
    /// attempt to replace it.
    NoMemory,
}

/// What to count by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delta {
    /// Up, wrapping at 2^64.
    Incr(u64),
    /// Down, stopping at 0.
    Decr(u64),
}

/// What became of a count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arithmetic {
    /// The new number.
    Number(u64),
    /// No item.
    Miss(Miss),
    /// The value is no number.
    NonNumeric,
    /// No room for the longer number; the old one is kept.
    NoMemory,
}

/// The store's counters and gauges. A field is named after its STAT where there is one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StoreStats {
    /// Items held, dead ones included until they are found out.
    pub curr_items: u64,
    /// Items stored since the start.
    pub total_items: u64,
    /// Size of the items held, by [`ItemSize`].
    pub bytes: u64,
    /// Bytes that the items held take out of the limit.
    pub charged_bytes: u64,
    /// Living items thrown out.
    pub evictions: u64,
    /// Of [`Self::evictions`], never read.
    pub evicted_unfetched: u64,
    /// Of [`Self::evictions`], with an exptime.
    pub evicted_nonzero: u64,
    /// Seconds for which the last victim had not been used; the longest of all shards.
    pub evicted_time_s: u64,
    /// Dead items whose memory was used again.
    pub reclaimed: u64,
    /// Of [`Self::reclaimed`], never read.
    pub expired_unfetched: u64,
    /// Seconds since the least recently used item was used.
    pub age_s: u64,
    /// Most items ever held at a time by each shard, summed.
    pub items_peak: u64,
}

impl StoreStats {
    /// With the counters as counted since an earlier look; the gauges as they are.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            total_items: self.total_items - earlier.total_items,
            evictions: self.evictions - earlier.evictions,
            evicted_unfetched: self.evicted_unfetched - earlier.evicted_unfetched,
            evicted_nonzero: self.evicted_nonzero - earlier.evicted_nonzero,
            reclaimed: self.reclaimed - earlier.reclaimed,
            expired_unfetched: self.expired_unfetched - earlier.expired_unfetched,
            ..*self
        }
    }

    fn add(&mut self, shard: &Self) {
        self.curr_items += shard.curr_items;
        self.total_items += shard.total_items;
        self.bytes += shard.bytes;
        self.charged_bytes += shard.charged_bytes;
        self.evictions += shard.evictions;
        self.evicted_unfetched += shard.evicted_unfetched;
        self.evicted_nonzero += shard.evicted_nonzero;
        self.evicted_time_s = self.evicted_time_s.max(shard.evicted_time_s);
        self.reclaimed += shard.reclaimed;
        self.expired_unfetched += shard.expired_unfetched;
        self.age_s = self.age_s.max(shard.age_s);
        self.items_peak += shard.items_peak;
    }
}

/// Keys to items, shared by all workers.
#[derive(Debug)]
pub struct Store {
    shards: Box<[Mutex<Shard>]>,
    /// Seeded at random at every start, so that nobody can choose keys that meet in one shard.
    hasher: RandomState,
    budget: Budget,
    flush: Flush,
    /// The last CAS unique that was given out; `None` where there are none.
    cas_unique: Option<AtomicU64>,
}

impl Store {
    /// An empty store.
    ///
    /// # Panics
    /// When the number of shards is no power of two.
    pub fn new(config: &StoreConfig) -> Self {
        assert!(
            config.shard_count.is_power_of_two(),
            "shards are picked by the low bits of a hash"
        );
        let shard = || Mutex::new(Shard::new(config.evictions, config.item_size));
        Self {
            shards: (0..config.shard_count).map(|_| shard()).collect(),
            hasher: RandomState::new(),
            budget: Budget::new(config.limit_bytes),
            flush: Flush::new(),
            cas_unique: config.cas.then(AtomicU64::default),
        }
    }

    /// Hands an item to `read`, which runs under the shard's lock; `deadline` gives it a new one.
    pub fn get<R>(
        &self,
        key: &[u8],
        deadline: Option<Deadline>,
        now: Now,
        read: impl FnOnce(ItemView<'_>) -> R,
    ) -> Result<R, Miss> {
        let mut shard = self.shard(self.home(key));
        shard.get(key, deadline, self.moment(now), &self.budget, read)
    }

    /// Carries out a storage command.
    pub fn store(&self, write: &Write<'_>, now: Now) -> Stored {
        let attempt =
            |shard: &mut Shard, at| shard.store(write, self.next_cas_unique(), at, &self.budget);
        let give_up = |shard: &mut Shard| match write.mode {
            // A join that finds no room is one that did not happen.
            StoreMode::Append | StoreMode::Prepend => Stored::NotStored,
            StoreMode::Set => {
                shard.remove(write.key, &self.budget);
                Stored::NoMemory
            }
            StoreMode::Add | StoreMode::Replace | StoreMode::Cas(_) => Stored::NoMemory,
        };
        self.with_room(write.key, now, attempt, give_up)
    }

    /// Adds to or subtracts from the number in a value.
    pub fn arithmetic(&self, key: &[u8], delta: Delta, now: Now) -> Arithmetic {
        let attempt = |shard: &mut Shard, at| {
            shard.arithmetic(key, delta, self.next_cas_unique(), at, &self.budget)
        };
        self.with_room(key, now, attempt, |_| Arithmetic::NoMemory)
    }

    /// Removes a living item; whether there was one.
    pub fn delete(&self, key: &[u8], now: Now) -> bool {
        let mut shard = self.shard(self.home(key));
        shard.delete(key, self.moment(now), &self.budget)
    }

    /// Removes whatever is under a key.
    pub fn remove(&self, key: &[u8]) {
        self.shard(self.home(key)).remove(key, &self.budget);
    }

    /// Makes all that is stored before a moment dead; replaces a flush that is still to come.
    pub fn flush_all(&self, at: Deadline, now: Now) {
        self.flush.schedule(at, now);
    }

    /// Counters and gauges, summed over the shards.
    pub fn stats(&self, now: Now) -> StoreStats {
        let mut sum = StoreStats::default();
        for shard in &self.shards {
            sum.add(&shard.lock().stats(now));
        }
        sum
    }

    /// The memory limit, in bytes.
    pub fn limit_bytes(&self) -> u64 {
        self.budget.limit()
    }

    /// How many shards there are.
    pub fn shard_count(&self) -> usize {
        self.shards.len()
    }

    /// Recounts everything. For tests: slow, and exact only while nobody else uses the store.
    ///
    /// # Panics
    /// When the books are wrong.
    pub fn validate(&self) {
        let charged: u64 = self.shards.iter().map(|shard| shard.lock().validate()).sum();
        assert_eq!(charged, self.budget.used(), "the budget is the sum of its shards");
        assert!(charged <= self.budget.limit(), "the limit holds");
    }

    fn home(&self, key: &[u8]) -> usize {
        #[expect(clippy::cast_possible_truncation, reason = "only the low bits are kept")]
        let hash = self.hasher.hash_one(key) as usize;
        hash & (self.shards.len() - 1)
    }

    fn shard(&self, index: usize) -> MutexGuard<'_, Shard> {
        self.shards[index].lock()
    }

    /// The moment of an operation on a shard. To be asked for under the shard's lock: only then no
    /// operation works with a generation older than that of an item it meets.
    fn moment(&self, now: Now) -> Moment {
        Moment { now, generation: self.flush.generation(now) }
    }

    fn next_cas_unique(&self) -> u64 {
        self.cas_unique.as_ref().map_or(0, |last| last.fetch_add(1, Relaxed) + 1)
    }

    /// Runs an operation that may need memory on its key's shard, again and again while other shards
    /// have something to give for it. When none has, `give_up` answers, under the same lock as the last
    /// attempt.
    fn with_room<R>(
        &self,
        key: &[u8],
        now: Now,
        attempt: impl Fn(&mut Shard, Moment) -> Result<R, NoRoom>,
        give_up: impl FnOnce(&mut Shard) -> R,
    ) -> R {
        let home = self.home(key);
        let mut others_can_give = true;
        loop {
            let mut shard = self.shard(home);
            let NoRoom { needed } = match attempt(&mut shard, self.moment(now)) {
                Ok(outcome) => return outcome,
                Err(_) if !others_can_give => return give_up(&mut shard),
                Err(no_room) => no_room,
            };
            drop(shard);
            others_can_give = self.make_room(needed, home, now);
        }
    }

    /// Evicts from all shards but one, in turn, until so much is free or none has anything left; whether
    /// any had.
    fn make_room(&self, needed: u64, home: usize, now: Now) -> bool {
        let mut freed = false;
        loop {
            let mut freed_now = false;
            for index in (0..self.shards.len()).filter(|index| *index != home) {
                let mut other = self.shard(index);
                freed_now |= other.evict(self.moment(now), &self.budget);
            }
            freed |= freed_now;
            if !freed_now || self.budget.has(needed) {
                return freed;
            }
        }
    }
}
