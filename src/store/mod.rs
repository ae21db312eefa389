//! The store: keys to items under one memory limit.
//!
//! Memory is segments, and a shard is two logs of them: no allocation per item, no size classes, nothing that
//! could calcify when the sizes of values change. A log that runs out of memory gives up its oldest segment: what is
//! worth keeping is copied to the head of a log, and the rest is forgotten. While much is dead (overwritten, deleted,
//! expired), what lives between it is moved together instead, and nothing is evicted.
//!
//! Reading order: `operation` (what can be asked of it), this file (the locks), `shard` (how it is done), `item` (an
//! item as bytes), `index` (where it is), `segment` (memory and its pool), `block` (where that is from), `eviction` (who
//! goes first), `large`, `upload`, `ghost`, `exptime`, `flush`, `budget`.
//! `exact` is a second form behind the same interface: exact LRU, small and plain, the reference that the
//! first is tested against and compared with.
//!
//! The store knows no protocol, no sockets, no threads but through its locks, and no clock: the time is
//! an argument.
//!
//! INVARIANT: keys, values and their bookkeeping together never pass the limit; room is made before an
//! insert, not after. Where the limit is set below what is in use, that only goes down until it holds.
//! INVARIANT: a key is found if and only if it was stored and not deleted, expired, flushed or evicted.
//! INVARIANT: a CAS unique changes exactly when the value does, and no two are equal.

/// Calls the same method of either form; the exact one hashes keys itself.
macro_rules! either {
    ($shard:expr, $log:ident => $by_log:expr, $exact:ident => $by_exact:expr) => {
        match $shard {
            Shard::Log($log) => $by_log,
            Shard::Exact($exact) => $by_exact,
        }
    };
}

mod block;
mod budget;
mod dump;
mod eviction;
mod exact;
mod exact_item;
mod exptime;
mod flush;
mod ghost;
mod index;
mod item;
mod large;
mod limit;
mod lines;
mod meta;
mod number;
mod operation;
mod prefetch;
mod segment;
mod shard;
mod stats;
#[cfg(test)]
mod tests;
mod upload;
mod value;
mod witness;

pub use dump::Cursor;
pub use exptime::{Deadline, Now};
pub use large::Loan;
pub use limit::Shrunk;
pub use meta::{Empty, Inquiry, Inspected, Marked, Spoiling};
pub use operation::{
    Arithmetic, Cas, Count, Deleted, Delta, Initial, ItemSize, ItemView, Key, Listed, Miss,
    StoreMode, Stored, Write,
};
pub use stats::StoreStats;
pub use upload::Upload;
pub use value::Value;
pub use witness::Witness;

use ahash::RandomState;
use flush::Flush;
use index::SlotAt;
use large::{Body, body_len};
use parking_lot::{Mutex, MutexGuard};
use segment::{Pool, Purse};
use shard::{Hints, PREFETCHED_MAX, Reclaimed, prefetch_burst};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// So often at most is memory collected for one operation: others may take what was collected.
const ROUNDS_MAX: u32 = 10_000;

/// How a store is made.
#[derive(Debug, Clone, Copy)]
pub struct StoreConfig {
    /// For keys, values and bookkeeping together, in bytes.
    pub limit_bytes: u64,
    /// A power of two.
    pub shard_count: usize,
    /// Of logs, in bytes: a power of two, 64 KiB at most.
    pub segment_len: usize,
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
    /// Items in logs of segments, evicted by S3-FIFO.
    S3Fifo,
    /// Items in logs of segments; the least recently used go first, nearly.
    Lru,
    /// Items in logs of segments; the least frequently used go first, nearly.
    Lfu,
    /// Each item in allocations of its own, evicted in the exact order of use: the reference.
    ExactLru,
}

impl Eviction {
    /// The rule for logs; none where items are in none.
    fn policy(self) -> Option<Box<dyn eviction::Policy>> {
        match self {
            Self::S3Fifo => Some(Box::new(eviction::S3Fifo)),
            Self::Lru => Some(Box::new(eviction::Lru)),
            Self::Lfu => Some(Box::<eviction::Lfu>::default()),
            Self::ExactLru => None,
        }
    }
}

impl StoreConfig {
    /// What suits a limit: segments and shards that are small enough for the open ones not to matter.
    #[expect(clippy::missing_panics_doc, reason = "64 KiB fit into any usize")]
    pub fn for_limit(limit_bytes: u64, item_size: ItemSize) -> Self {
        // A segment goes back to the system in whole pages.
        let page_len = block::page_len().map_or(4096, |len| len.clamp(4096, 65_536)) as u64;
        let segment_len = 1_u64 << (limit_bytes / 2048).clamp(page_len, 65_536).ilog2();
        // Each shard has two open segments, a spare one, and one that is being given up.
        let shard_count = 1 << (limit_bytes / segment_len / 512).clamp(1, 16).ilog2();
        Self {
            limit_bytes,
            shard_count,
            segment_len: usize::try_from(segment_len).expect("64 KiB at most"),
            eviction: Eviction::S3Fifo,
            evictions: true,
            cas: true,
            item_size,
        }
    }
}

/// The moment of one operation.
#[derive(Debug, Clone, Copy)]
struct Moment {
    now: Now,
    /// Of [`Flush`].
    generation: u32,
}

/// Why an operation found no room in its shard.
#[derive(Debug)]
enum NoRoom {
    /// So many bytes must come free, and this shard alone has not so much to give.
    Needs(u64),
    /// The limit leaves room, but the system has no memory: whatever comes free, there is none.
    NoMemory,
}

/// One lock domain, in the form that the store was made in.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "the larger one is the one in use")]
enum Shard {
    Log(shard::Shard),
    Exact(exact::Shard),
}

impl Shard {
    fn remove(&mut self, key: Key<'_>, pool: &Pool) {
        either!(self, log => log.remove(key, pool), exact => drop(exact.remove(key.bytes, pool)));
    }
}

/// Keys to items, shared by all workers.
#[derive(Debug)]
pub struct Store {
    shards: Box<[Mutex<Shard>]>,
    /// Of each shard in the form of logs.
    hints: Box<[Hints]>,
    /// Seeded at random at every start, so that nobody can choose keys that meet in one shard.
    hasher: RandomState,
    pool: Arc<Pool>,
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
        Self::with_hasher(config, RandomState::new())
    }

    fn with_hasher(config: &StoreConfig, hasher: RandomState) -> Self {
        assert!(config.shard_count.is_power_of_two(), "shards are picked by bits of a hash");
        let segment_len = config.segment_len;
        assert!(segment_len.is_power_of_two(), "segments are found by bits of a location");
        let pool = Arc::new(Pool::new(config.limit_bytes, segment_len, config.shard_count));
        let shard = |number| match config.eviction.policy() {
            Some(policy) => {
                Shard::Log(shard::Shard::new(number, config, policy, hasher.clone(), &pool))
            }
            None => Shard::Exact(exact::Shard::new(config.evictions, config.item_size)),
        };
        let shards: Box<[Shard]> = (0..config.shard_count).map(shard).collect();
        let hints = shards.iter().filter_map(|shard| match shard {
            Shard::Log(log) => Some(log.hints()),
            Shard::Exact(_) => None,
        });
        Self {
            hints: hints.collect(),
            shards: shards.into_iter().map(Mutex::new).collect(),
            hasher,
            pool,
            flush: Flush::new(),
            cas_unique: config.cas.then(AtomicU64::default),
        }
    }

    /// Has a witness told what happens from now on; the first one alone.
    pub fn tell(&self, witness: Arc<dyn Witness>) {
        let _ = self.pool.witness.set(witness);
    }

    /// A key as the operations take it.
    pub fn key<'a>(&self, bytes: &'a [u8]) -> Key<'a> {
        Key { bytes, hash: self.hasher.hash_one(bytes), slot: SlotAt::UNKNOWN }
    }

    /// Asks the memory for what operations on these keys will read, and notes in them where their items are. To be called
    /// for all keys of a burst, before the operations.
    pub fn prefetch(&self, keys: &mut [&mut Key<'_>]) {
        if self.hints.is_empty() {
            return;
        }
        for keys in keys.chunks_mut(PREFETCHED_MAX) {
            prefetch_burst(keys, |key| &self.hints[self.home(key)]);
        }
    }

    /// Hands an item to `read`, which runs under the shard's lock.
    #[inline]
    pub fn get<R>(
        &self,
        key: Key<'_>,
        now: Now,
        read: impl FnOnce(ItemView<'_>) -> R,
    ) -> Result<R, Miss> {
        let mut shard = self.shard(self.home(key));
        let (at, pool) = (self.moment(now), &self.pool);
        let item = match &mut *shard {
            Shard::Log(log) => {
                let found = log.find_living(key, at, pool)?;
                log.read(found, at)
            }
            Shard::Exact(exact) => exact.get(key.bytes, at, pool)?,
        };
        Ok(read(item))
    }

    /// The same, and gives the item a new deadline.
    #[expect(clippy::missing_panics_doc, reason = "an operation succeeds once")]
    pub fn get_and_touch<R>(
        &self,
        key: Key<'_>,
        deadline: Deadline,
        now: Now,
        read: impl FnOnce(ItemView<'_>) -> R,
    ) -> Result<R, Miss> {
        let mut read = Some(read);
        let attempt = |shard: &mut Shard, at, purse: &mut Purse<'_>| {
            let item = either!(shard,
                log => log.get_and_touch(key, deadline, at, purse)?,
                exact => exact.get_and_touch(key.bytes, deadline, at, &self.pool));
            let read = |item| read.take().expect("an operation succeeds once")(item);
            Ok(item.map(read))
        };
        // Without room for its deadline an item is gone: it must not outlive it.
        let give_up = |shard: &mut Shard| {
            shard.remove(key, &self.pool);
            Err(Miss::Absent)
        };
        self.with_room(key, now, attempt, give_up)
    }

    /// Carries out a storage command.
    pub fn store(&self, write: &Write<'_>, now: Now) -> Stored {
        let key = write.key;
        if key.slot == SlotAt::UNKNOWN
            && let Some(hints) = self.hints.get(self.home(key))
        {
            hints.prefetch_for_write(key.hash);
        }
        let len = self.whole_len(write.mode, write.value.len());
        if len == 0 { self.put(write, None, now) } else { self.store_large(write, len, now) }
    }

    /// Carries out a storage command with so much of its value in whole segments. These are filled outside of any lock.
    #[inline(never)]
    fn store_large(&self, write: &Write<'_>, len: usize, now: Now) -> Stored {
        if let Some(refusal) = self.refusal(write, now) {
            return refusal;
        }
        let (home, segment_len) = (self.home(write.key), self.pool.segment_len());
        let needed = self.pool.charge(len.div_ceil(segment_len) as u64);
        let mut filled = Purse::new(&self.pool);
        if !self.collect(needed, home, now, &mut filled) {
            return self.give_up(write, &mut self.shard(home));
        }
        let (front, rest) = write.value.split_at(len);
        for (bytes, part) in filled.segments.iter_mut().zip(front.chunks(segment_len)) {
            bytes[..part.len()].copy_from_slice(part);
        }
        let body = Body::new(&self.pool, std::mem::take(&mut filled.segments), len);
        self.put(&Write { value: rest, ..*write }, Some(body), now)
    }

    /// What becomes of a storage command that finds no room.
    fn give_up(&self, write: &Write<'_>, shard: &mut Shard) -> Stored {
        match write.mode {
            // A join that finds no room is one that did not happen.
            StoreMode::Append | StoreMode::Prepend => Stored::NotStored,
            StoreMode::Set => {
                shard.remove(write.key, &self.pool);
                Stored::NoMemory
            }
            StoreMode::Add | StoreMode::Replace | StoreMode::Cas(_) | StoreMode::CasOrStale(_) => {
                Stored::NoMemory
            }
        }
    }

    /// What a storage command is refused with, before its value is looked at.
    fn refusal(&self, write: &Write<'_>, now: Now) -> Option<Stored> {
        match &mut *self.shard(self.home(write.key)) {
            Shard::Log(log) => log.refuses(write, self.moment(now), &self.pool),
            Shard::Exact(_) => None,
        }
    }

    /// How much of a value is kept in whole segments, where it is not joined to another.
    fn whole_len(&self, mode: StoreMode, value_len: usize) -> usize {
        if self.hints.is_empty() || matches!(mode, StoreMode::Append | StoreMode::Prepend) {
            return 0;
        }
        body_len(value_len, self.pool.segment_len())
    }

    /// Carries out a storage command; the `body` holds the front of its value.
    fn put(&self, write: &Write<'_>, mut body: Option<Body>, now: Now) -> Stored {
        // One for all attempts: how many there are depends on what others do with memory.
        let cas_unique = write.cas.new.unwrap_or_else(|| self.next_cas_unique());
        let attempt = |shard: &mut Shard, at, purse: &mut Purse<'_>| {
            either!(shard,
                log => log.store(write, &mut body, cas_unique, at, purse),
                exact => exact.store(write, cas_unique, at, &self.pool))
        };
        self.with_room(write.key, now, attempt, |shard| self.give_up(write, shard))
    }

    /// Adds to or subtracts from the number in a value, or makes the initial one; with it comes the deadline that the item
    /// had before.
    pub fn count(&self, key: Key<'_>, count: &Count, now: Now) -> (Arithmetic, Deadline) {
        let Count { cas, initial, is_base64, .. } = *count;
        let attempt = |shard: &mut Shard, at, purse: &mut Purse<'_>| {
            let cas_unique = cas.new.unwrap_or_else(|| self.next_cas_unique());
            let (counted, before) = either!(&mut *shard,
                log => log.arithmetic(key, count, cas_unique, at, purse),
                exact => exact.arithmetic(key.bytes, count, cas_unique, at, &self.pool))?;
            let (Arithmetic::Miss(_), Some(Initial { number, deadline })) = (counted, initial)
            else {
                return Ok((counted, before));
            };
            let digits = number.to_string();
            let (mode, value) = (StoreMode::Add, digits.as_bytes());
            let write = Write { mode, key, flags: 0, deadline, value, cas, is_base64 };
            either!(shard,
                log => log.store(&write, &mut None, cas_unique, at, purse),
                exact => exact.store(&write, cas_unique, at, &self.pool))?;
            Ok((Arithmetic::Created, Deadline::NEVER))
        };
        self.with_room(key, now, attempt, |_| (Arithmetic::NoMemory, Deadline::NEVER))
    }

    /// Removes a living item, which must have the `expected` CAS unique where one is given.
    pub fn delete(&self, key: Key<'_>, expected: Option<u64>, now: Now) -> Deleted {
        let mut shard = self.shard(self.home(key));
        let (at, pool) = (self.moment(now), &self.pool);
        either!(&mut *shard,
            log => log.delete(key, expected, at, pool),
            exact => exact.delete(key.bytes, expected, at, pool))
    }

    /// Removes whatever is under a key.
    pub fn remove(&self, key: Key<'_>) {
        self.shard(self.home(key)).remove(key, &self.pool);
    }

    /// Makes all that is stored before a moment dead; replaces a flush that is still to come.
    pub fn flush_all(&self, at: Deadline, now: Now) {
        self.flush.schedule(at, now);
    }

    /// Forgets what is dead and frees segments that are half dead, in short steps. To be called every few seconds: what
    /// was looked at lately is left out, unless it is to be `thorough`.
    pub fn maintain(&self, now: Now, thorough: bool) {
        let pause_s = if thorough { 0 } else { shard::SWEEP_PAUSE_S };
        for shard in &self.shards {
            loop {
                let mut shard = shard.lock();
                let at = self.moment(now);
                let goes_on = either!(&mut *shard, log => log.maintain(pause_s, at, &self.pool), _exact => false);
                if !goes_on {
                    break;
                }
            }
        }
    }

    /// Counters and gauges, summed over the shards.
    pub fn stats(&self, now: Now) -> StoreStats {
        let mut sum = StoreStats::default();
        for shard in &self.shards {
            let shard = shard.lock();
            sum.add(
                &either!(&*shard, log => log.stats(now, &self.pool), exact => exact.stats(now)),
            );
        }
        let (free_len, large_len) = (self.pool.free_len(), self.large_len());
        sum.segment_bytes += free_len;
        sum.segment_free_bytes += free_len;
        sum.large_bytes = large_len;
        sum.charged_bytes += free_len + large_len;
        sum
    }

    /// What the bodies of large values take out of the limit, those among them that only a reader has any more.
    fn large_len(&self) -> u64 {
        self.pool.charge(self.pool.body_count())
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
        let mut charged = self.pool.free_len() + self.large_len();
        let mut body_count = 0;
        for shard in &self.shards {
            let shard = shard.lock();
            charged += either!(&*shard, log => log.validate(&self.pool), exact => exact.validate());
            body_count += either!(&*shard, log => log.body_count(), _exact => 0);
        }
        let others_count = self.pool.lent_count() + self.pool.uploading_count();
        assert!(self.pool.body_count() - body_count <= others_count, "bodies are somebody's");
        assert_eq!(charged, self.pool.budget.used(), "the budget is the sum of its shards");
        assert!(charged <= self.pool.budget.limit(), "the limit holds");
    }

    /// The index takes the low and the high bits of the hash; these are others.
    fn home(&self, key: Key<'_>) -> usize {
        (key.hash >> 40) as usize & (self.shards.len() - 1)
    }

    /// A panic opens the lock again and poisons nothing. What is promised then: memory safety, as a shard is safe code; the
    /// other shards; in this one the items that the operation had nothing to do with, and all of them where it was
    /// reading, which changes marks only. A writing operation may be half done: its item may be gone or cut, and memory
    /// may stay charged to nobody.
    fn shard(&self, index: usize) -> MutexGuard<'_, Shard> {
        self.shards[index].lock()
    }

    /// The moment of an operation on a shard. To be asked for under the shard's lock: only then no
    /// operation works with a generation older than that of an item it meets.
    fn moment(&self, now: Now) -> Moment {
        Moment { now, generation: self.flush.generation(now) }
    }

    /// Gives out a CAS unique for one change; 0 where there are none.
    pub fn next_cas_unique(&self) -> u64 {
        self.cas_unique.as_ref().map_or(0, |last| last.fetch_add(1, Relaxed) + 1)
    }

    /// Runs an operation that may need memory on its key's shard, again and again while memory can be
    /// collected for it. When there is none, `give_up` answers, under the same lock as the last attempt.
    fn with_room<R>(
        &self,
        key: Key<'_>,
        now: Now,
        mut attempt: impl FnMut(&mut Shard, Moment, &mut Purse<'_>) -> Result<R, NoRoom>,
        give_up: impl FnOnce(&mut Shard) -> R,
    ) -> R {
        let home = self.home(key);
        let mut purse = Purse::new(&self.pool);
        let mut is_last = false;
        let mut round_count = 0;
        loop {
            round_count += 1;
            debug_assert!(round_count < ROUNDS_MAX, "what was collected is never enough");
            let mut shard = self.shard(home);
            let needed = match attempt(&mut shard, self.moment(now), &mut purse) {
                Ok(outcome) => return outcome,
                Err(NoRoom::Needs(needed)) if !is_last => needed,
                Err(NoRoom::Needs(_) | NoRoom::NoMemory) => return give_up(&mut shard),
            };
            drop(shard);
            is_last = !self.collect(needed, home, now, &mut purse) || round_count > ROUNDS_MAX;
        }
    }

    /// Collects memory from a shard, then from the others, a little under each hold of a lock; false where there is
    /// not so much.
    fn collect(&self, needed: u64, home: usize, now: Now, purse: &mut Purse<'_>) -> bool {
        if self.hints.is_empty() {
            return self.evict_from_others(needed, home, now);
        }
        let is_enough = |purse: &Purse<'_>| self.pool.charge(purse.segments.len() as u64) >= needed;
        // First what is dead anywhere, then what lives, beginning at home.
        for may_evict in [false, true] {
            for index in 0..self.shards.len() {
                while !is_enough(purse)
                    && let Shard::Log(log) = &mut *self.shard((home + index) % self.shards.len())
                {
                    match log.free(may_evict, self.moment(now), &self.pool) {
                        Reclaimed::Segment(bytes) => purse.segments.push(bytes),
                        Reclaimed::Paused => {}
                        Reclaimed::Nothing => break,
                    }
                }
            }
        }
        // Nobody has anything left to give: what is free may be taken, whoever's share it is.
        while !is_enough(purse)
            && let Some(bytes) = self.pool.take()
        {
            purse.segments.push(bytes);
        }
        is_enough(purse)
    }

    /// The same for the exact form, where the shard of the key has given what it could.
    fn evict_from_others(&self, needed: u64, home: usize, now: Now) -> bool {
        for index in (0..self.shards.len()).filter(|index| *index != home) {
            while !self.pool.has(needed)
                && let Shard::Exact(exact) = &mut *self.shard(index)
                && exact.evict(self.moment(now), &self.pool)
            {}
        }
        self.pool.has(needed)
    }
}
