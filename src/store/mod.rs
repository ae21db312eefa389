//! The store: keys to items under one memory limit.
//!
//! Memory is segments, and a shard is two logs of them: no allocation per item, no size classes, nothing that
//! could calcify when the sizes of values change. A log that runs out of memory takes its oldest segment,
//! copies what is worth keeping to the head of a log, and begins it anew; where much of a shard is dead
//! (overwritten, deleted), it takes the segment with the most dead bytes instead, and evicts nothing.
//!
//! Reading order: this file (what a store can do, and the locks), `shard` (how it is done), `item` (an item as
//! bytes), `index` (where it is), `segment` (memory and its pool), `large`, `ghost`, `exptime`, `flush`, `budget`.
//! `exact` is a second form behind the same interface: exact LRU, small and plain, the reference that the
//! first is tested against and compared with.
//!
//! The store knows no protocol, no sockets, no threads but through its locks, and no clock: the time is
//! an argument.
//!
//! INVARIANT: keys, values and their bookkeeping together never pass the limit; room is made before an
//! insert, not after.
//! INVARIANT: a key is found if and only if it was stored and not deleted, expired, flushed or evicted.
//! INVARIANT: a CAS unique changes exactly when the value does, and no two are equal.

mod budget;
mod exact;
mod exact_item;
mod exptime;
mod flush;
mod ghost;
mod index;
mod item;
mod large;
mod number;
mod segment;
mod shard;
mod stats;
#[cfg(test)]
mod tests;

pub use exptime::{Deadline, Now};
pub use stats::StoreStats;

use ahash::RandomState;
use flush::Flush;
use parking_lot::{Mutex, MutexGuard};
use segment::Pool;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// How a store is made.
#[derive(Debug, Clone, Copy)]
pub struct StoreConfig {
    /// For keys, values and bookkeeping together, in bytes.
    pub limit_bytes: u64,
    /// A power of two.
    pub shard_count: usize,
    /// How memory is managed, and what goes first when there is none left.
    pub eviction: Eviction,
    /// Whether living items may be thrown out for new ones.
    pub evictions: bool,
    /// Whether items have a CAS unique; without, it is 0 and no `cas` ever matches.
    pub cas: bool,
    /// What counts as an item's size.
    pub item_size: ItemSize,
}

/// How a store manages its memory, and what goes first when it is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Eviction {
    /// Items in logs of segments of this many bytes (a power of two), evicted by S3-FIFO.
    S3Fifo {
        /// In bytes.
        segment_len: usize,
    },
    /// Each item in allocations of its own, evicted in the exact order of use: the reference.
    ExactLru,
}

impl StoreConfig {
    /// What suits a limit: segments and shards that are small enough for the open ones not to matter.
    #[expect(clippy::missing_panics_doc, reason = "64 KiB fit into any usize")]
    pub fn for_limit(limit_bytes: u64, item_size: ItemSize) -> Self {
        let segment_len = (limit_bytes / 256).clamp(4096, 65_536).next_power_of_two();
        // Each shard has two open segments and a spare one, so many shards cost memory.
        let shard_count = 1 << (limit_bytes / segment_len / 128).clamp(1, 16).ilog2();
        Self {
            limit_bytes,
            shard_count,
            eviction: Eviction::S3Fifo {
                segment_len: usize::try_from(segment_len).expect("64 KiB at most"),
            },
            evictions: true,
            cas: true,
            item_size,
        }
    }
}

/// A key and its hash.
#[derive(Debug, Clone, Copy)]
struct Key<'a> {
    bytes: &'a [u8],
    hash: u64,
}

/// The moment of one operation.
#[derive(Debug, Clone, Copy)]
struct Moment {
    now: Now,
    /// Of [`Flush`].
    generation: u32,
}

/// This shard has nothing left to evict, and it was not enough.
#[derive(Debug)]
struct NoRoom {
    /// Bytes that must come free.
    needed: u64,
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

/// One lock domain, in the form that the store was made in.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "the larger one is the one in use")]
enum Shard {
    Log(shard::Shard),
    Exact(exact::Shard),
}

/// Calls the same method of either form; the exact one hashes keys itself.
macro_rules! either {
    ($shard:expr, $log:ident => $by_log:expr, $exact:ident => $by_exact:expr) => {
        match $shard {
            Shard::Log($log) => $by_log,
            Shard::Exact($exact) => $by_exact,
        }
    };
}

impl Shard {
    fn evict(&mut self, needed: u64, at: Moment, pool: &Pool) -> bool {
        either!(self, log => log.evict(needed, at, pool), exact => exact.evict(at, pool))
    }

    fn remove(&mut self, key: Key<'_>, pool: &Pool) {
        either!(self, log => log.remove(key, pool), exact => drop(exact.remove(key.bytes, pool)));
    }
}

/// Keys to items, shared by all workers.
#[derive(Debug)]
pub struct Store {
    shards: Box<[Mutex<Shard>]>,
    /// Seeded at random at every start, so that nobody can choose keys that meet in one shard.
    hasher: RandomState,
    pool: Pool,
    flush: Flush,
    /// The last CAS unique that was given out; `None` where there are none.
    cas_unique: Option<AtomicU64>,
}

impl Store {
    /// An empty store.
    ///
    /// # Panics
    /// When the number of shards or the length of a segment is no power of two, or the limit has no room for
    /// empty shards.
    pub fn new(config: &StoreConfig) -> Self {
        assert!(config.shard_count.is_power_of_two(), "shards are picked by bits of a hash");
        let hasher = RandomState::new();
        let segment_len = match config.eviction {
            Eviction::S3Fifo { segment_len } => segment_len,
            Eviction::ExactLru => 1,
        };
        assert!(segment_len.is_power_of_two(), "segments are found by bits of a location");
        let pool = Pool::new(config.limit_bytes, segment_len);
        let shard = || match config.eviction {
            Eviction::S3Fifo { .. } => Shard::Log(shard::Shard::new(config, hasher.clone(), &pool)),
            Eviction::ExactLru => {
                Shard::Exact(exact::Shard::new(config.evictions, config.item_size))
            }
        };
        Self {
            shards: (0..config.shard_count).map(|_| Mutex::new(shard())).collect(),
            hasher,
            pool,
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
        let key = self.key(key);
        let mut shard = self.shard(self.home(key));
        let (at, pool) = (self.moment(now), &self.pool);
        either!(&mut *shard,
            log => log.get(key, deadline, at, pool, read),
            exact => exact.get(key.bytes, deadline, at, pool, read))
    }

    /// Carries out a storage command.
    pub fn store(&self, write: &Write<'_>, now: Now) -> Stored {
        let key = self.key(write.key);
        let attempt = |shard: &mut Shard, at| {
            let cas_unique = self.next_cas_unique();
            either!(shard,
                log => log.store(key, write, cas_unique, at, &self.pool),
                exact => exact.store(write, cas_unique, at, &self.pool))
        };
        let give_up = |shard: &mut Shard| match write.mode {
            // A join that finds no room is one that did not happen.
            StoreMode::Append | StoreMode::Prepend => Stored::NotStored,
            StoreMode::Set => {
                shard.remove(key, &self.pool);
                Stored::NoMemory
            }
            StoreMode::Add | StoreMode::Replace | StoreMode::Cas(_) => Stored::NoMemory,
        };
        self.with_room(key, now, attempt, give_up)
    }

    /// Adds to or subtracts from the number in a value.
    pub fn arithmetic(&self, key: &[u8], delta: Delta, now: Now) -> Arithmetic {
        let key = self.key(key);
        let attempt = |shard: &mut Shard, at| {
            let cas_unique = self.next_cas_unique();
            either!(shard,
                log => log.arithmetic(key, delta, cas_unique, at, &self.pool),
                exact => exact.arithmetic(key.bytes, delta, cas_unique, at, &self.pool))
        };
        self.with_room(key, now, attempt, |_| Arithmetic::NoMemory)
    }

    /// Removes a living item; whether there was one.
    pub fn delete(&self, key: &[u8], now: Now) -> bool {
        let key = self.key(key);
        let mut shard = self.shard(self.home(key));
        let (at, pool) = (self.moment(now), &self.pool);
        either!(&mut *shard, log => log.delete(key, at, pool), exact => exact.delete(key.bytes, at, pool))
    }

    /// Removes whatever is under a key.
    pub fn remove(&self, key: &[u8]) {
        let key = self.key(key);
        self.shard(self.home(key)).remove(key, &self.pool);
    }

    /// Makes all that is stored before a moment dead; replaces a flush that is still to come.
    pub fn flush_all(&self, at: Deadline, now: Now) {
        self.flush.schedule(at, now);
    }

    /// Counters and gauges, summed over the shards.
    pub fn stats(&self, now: Now) -> StoreStats {
        let mut sum = StoreStats::default();
        for shard in &self.shards {
            sum.add(&either!(&*shard.lock(), log => log.stats(now), exact => exact.stats(now)));
        }
        sum.segment_bytes += self.pool.free_len();
        sum.charged_bytes += self.pool.free_len();
        sum
    }

    /// The memory limit, in bytes.
    pub fn limit_bytes(&self) -> u64 {
        self.pool.budget.limit()
    }

    /// Recounts everything. For tests: slow, and exact only while nobody else uses the store.
    ///
    /// # Panics
    /// When the books are wrong.
    pub fn validate(&self) {
        let mut charged = self.pool.free_len();
        for shard in &self.shards {
            charged += either!(&*shard.lock(), log => log.validate(), exact => exact.validate());
        }
        assert_eq!(charged, self.pool.budget.used(), "the budget is the sum of its shards");
        assert!(charged <= self.pool.budget.limit(), "the limit holds");
    }

    fn key<'a>(&self, bytes: &'a [u8]) -> Key<'a> {
        Key { bytes, hash: self.hasher.hash_one(bytes) }
    }

    /// The index takes the low and the high bits of the hash; these are others.
    fn home(&self, key: Key<'_>) -> usize {
        (key.hash >> 40) as usize & (self.shards.len() - 1)
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
        key: Key<'_>,
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
                freed_now |= other.evict(needed, self.moment(now), &self.pool);
            }
            freed |= freed_now;
            if !freed_now || self.pool.has(needed) {
                return freed;
            }
        }
    }
}
