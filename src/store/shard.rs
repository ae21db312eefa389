//! One lock domain of the store: items in two logs of segments, and an index to find them.
//!
//! Each log is a queue of segments, written once from the front: a stream of records that pass from one segment to the
//! next. Memory comes back a segment at a time: the items of a victim that are worth it are copied to the head of a
//! log, the others are forgotten.
//!
//! A plain single-threaded struct; the lock is one layer up.
//!
//! INVARIANT: the index points to every item that counts, and to nothing else.
//! INVARIANT: everything that the shard holds is charged to the pool, neither more nor less.
//! INVARIANT: all items of a segment are of one flush generation.
//! INVARIANT: the head and the key of an item are in one segment; its value may go on in the next one.
#![expect(clippy::cast_possible_truncation, reason = "locations are taken apart")]

mod books;
mod hints;
mod reclaim;
mod room;
mod sweep;
mod write;

use super::eviction::Policy;
use super::exptime::Deadline;
use super::ghost::Ghost;
use super::index::{Index, SlotAt};
use super::item::{self, Format, Layout};
use super::large::{Bodies, Body};
use super::lines::Lines;
use super::number::number_in;
use super::segment::{LogName, Pool, Purse, Segment};
use super::value::Value;
use super::{
    Arithmetic, Delta, ItemSize, ItemView, Key, Miss, Moment, NoRoom, StoreConfig, StoreMode,
    StoreStats, Stored, Write,
};
pub(super) use hints::{Hints, PREFETCHED_MAX, prefetch_burst};
pub(super) use reclaim::Reclaimed;
use reclaim::{Circle, Victim};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use sweep::Round;
use write::Put;

/// Items longer than this fraction of a segment make a shard keep a spare segment more.
const WIDE_FRACTION: usize = 8;

/// A queue of segments.
#[derive(Debug, Default)]
struct Log {
    /// Full ones, the oldest first.
    sealed: VecDeque<u32>,
    /// The one that is written.
    open: Option<u32>,
    /// Segments of the bodies of its items.
    body_count: u64,
}

impl Log {
    fn segment_count(&self) -> u64 {
        self.sealed.len() as u64 + u64::from(self.open.is_some())
    }
}

#[derive(Debug)]
pub(super) struct Shard {
    /// Among the shards of the store.
    number: usize,
    format: Format,
    hasher: ahash::RandomState,
    /// Segments are 2^this bytes long.
    segment_shift: u32,
    evictions_allowed: bool,
    policy: Box<dyn Policy>,
    item_size: ItemSize,
    index: Index,
    /// By number, which with a position makes a location.
    segments: Vec<Option<Segment>>,
    vacant: Vec<u32>,
    /// Where the bytes of each segment begin, eight to a line, for [`Hints`].
    addresses: Arc<Lines>,
    /// Where `segments` begins in memory, for [`Hints`].
    segments_address: Arc<AtomicUsize>,
    small: Log,
    main: Log,
    /// For the survivors of the next victim, which is not free before they have left it.
    spares: Vec<Box<[u8]>>,
    /// Items of more than a [`WIDE_FRACTION`] of a segment.
    wide_count: u64,
    /// Whether room for such an item was asked for, before it was there.
    expects_wide: bool,
    /// The segment that is being given up.
    victim: Option<Victim>,
    /// Ticks with what is written, for the policy.
    clock: u32,
    /// Bytes written since its last tick.
    since_tick: u64,
    /// Bytes of victims read since the last segment came free.
    read_len: usize,
    /// Those, and bytes of segments that were compacted or searched.
    work_len: usize,
    /// As much work as it took for the last segment that came free.
    last_work_len: usize,
    /// The last record that was written and its log, where no work was done for it yet.
    work_for: Option<(LogName, usize)>,
    /// Work that is due but not done, in bytes: a segment is compacted as a whole.
    work_due_len: usize,
    /// The search for segments to compact when there is no memory left, and while nobody waits.
    compact_circle: Circle,
    tidy_circle: Circle,
    /// Where the next segment with dead items is looked for.
    compact_cursor: usize,
    sweep_cursor: usize,
    /// Of the search for dead items where nothing may be evicted.
    round: Round,
    ghost: Ghost,
    bodies: Bodies,
    /// Its part of the limit, in bytes.
    fair_share: u64,
    stats: StoreStats,
}

/// Where a record begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    segment: usize,
    at: usize,
}

/// An item that the index points to.
#[derive(Debug, Clone, Copy)]
struct Found {
    hash: u64,
    slot: SlotAt,
    mark: u8,
    place: Place,
    layout: Layout,
}

impl Shard {
    /// An empty shard; takes a little memory from the pool.
    pub(super) fn new(
        number: usize,
        config: &StoreConfig,
        policy: Box<dyn Policy>,
        hasher: ahash::RandomState,
        pool: &Pool,
    ) -> Self {
        Self {
            number,
            format: Format { cas: config.cas },
            hasher,
            segment_shift: pool.segment_len().trailing_zeros(),
            evictions_allowed: config.evictions,
            policy,
            item_size: config.item_size,
            index: Index::new(pool).expect("the limit has room for empty shards"),
            segments: Vec::new(),
            vacant: Vec::new(),
            addresses: Arc::default(),
            segments_address: Arc::default(),
            small: Log::default(),
            main: Log::default(),
            spares: Vec::new(),
            wide_count: 0,
            expects_wide: false,
            victim: None,
            clock: 0,
            since_tick: 0,
            read_len: 0,
            work_len: 0,
            last_work_len: 0,
            work_for: None,
            work_due_len: 0,
            compact_circle: Circle::default(),
            tidy_circle: Circle::default(),
            compact_cursor: 0,
            sweep_cursor: 0,
            round: Round::default(),
            ghost: Ghost::default(),
            bodies: Bodies::default(),
            fair_share: config.limit_bytes / config.shard_count as u64,
            stats: StoreStats::default(),
        }
    }

    /// What may be looked at without the lock.
    pub(super) fn hints(&self) -> Hints {
        Hints {
            index: self.index.table.clone(),
            ghost: self.ghost.table.clone(),
            addresses: self.addresses.clone(),
            segments_address: self.segments_address.clone(),
            segment_shift: self.segment_shift,
        }
    }

    fn segment_len(&self) -> usize {
        1 << self.segment_shift
    }

    #[inline]
    fn place(&self, location: u64) -> Place {
        let at = location & ((1 << self.segment_shift) - 1);
        Place { segment: (location >> self.segment_shift) as usize, at: at as usize }
    }

    fn location(&self, place: Place) -> u64 {
        (place.segment as u64) << self.segment_shift | place.at as u64
    }

    #[inline]
    fn segment(&self, number: usize) -> &Segment {
        self.segments[number].as_ref().expect("a location is in a segment that is held")
    }

    #[inline]
    fn segment_mut(&mut self, number: usize) -> &mut Segment {
        self.segments[number].as_mut().expect("a location is in a segment that is held")
    }

    /// An item from its head to its end, or to the end of its segment.
    fn bytes(&self, place: Place) -> &[u8] {
        &self.segment(place.segment).bytes[place.at..]
    }

    fn bytes_mut(&mut self, place: Place) -> &mut [u8] {
        &mut self.segment_mut(place.segment).bytes[place.at..]
    }

    fn log(&self, name: LogName) -> &Log {
        match name {
            LogName::Small => &self.small,
            LogName::Main => &self.main,
        }
    }

    fn log_mut(&mut self, name: LogName) -> &mut Log {
        match name {
            LogName::Small => &mut self.small,
            LogName::Main => &mut self.main,
        }
    }

    /// The client's bytes of an item, wherever they are kept.
    #[inline]
    fn value(&self, place: Place, layout: Layout) -> Value<'_> {
        let bytes = self.bytes(place);
        if layout.is_plain() && layout.len() <= bytes.len() {
            return Value::whole(&bytes[layout.front_len()..layout.len()]);
        }
        let rest_len = layout.len().saturating_sub(bytes.len());
        let front = &bytes[layout.front_len()..layout.len() - rest_len];
        let rest = if rest_len > 0 {
            &self.segment(self.next_of(place.segment)).bytes[..rest_len]
        } else {
            &[]
        };
        match layout.body(bytes) {
            None => Value { rest, ..Value::whole(front) },
            Some(number) => {
                let Body { segments, len } = self.bodies.get(number);
                Value { body: segments, body_len: *len, front, rest }
            }
        }
    }

    /// The number of the segment in which the last record of one goes on.
    fn next_of(&self, number: usize) -> usize {
        self.segment(number).next.get().expect("a record that goes on has where to")
    }

    /// The item of a place, if the index points to it; else what is there is dead.
    fn item_at(&self, place: Place, layout: Layout, hash: u64) -> Option<Found> {
        let location = self.location(place);
        let is_it = |found| (found == location).then_some(());
        let (slot, mark, ()) = self.index.look_up(hash, is_it)?;
        Some(Found { hash, slot, mark, place, layout })
    }

    #[inline(always)]
    #[expect(clippy::inline_always, reason = "as below")]
    fn find(&self, key: Key<'_>) -> Option<Found> {
        let (slot, mark, (place, layout)) = self.index.look_up(key.hash, |location| {
            let place = self.place(location);
            let bytes = self.bytes(place);
            let layout = self.format.parse(bytes);
            (layout.key(bytes) == key.bytes).then_some((place, layout))
        })?;
        Some(Found { hash: key.hash, slot, mark, place, layout })
    }

    /// The item of a key if it lives; a dead one is removed.
    #[inline(always)]
    #[expect(
        clippy::inline_always,
        reason = "a tenth of what a get costs is handing over what was found"
    )]
    fn find_living(&mut self, key: Key<'_>, at: Moment, pool: &Pool) -> Result<Found, Miss> {
        let found = self.find(key).ok_or(Miss::Absent)?;
        let segment = self.segment(found.place.segment);
        if segment.generation < at.generation {
            self.drop_dead(found.hash, found.slot, found.place, found.layout, pool);
            return Err(Miss::Flushed);
        }
        if found.layout.deadline(&segment.bytes[found.place.at..]).is_due(at.now) {
            self.drop_dead(found.hash, found.slot, found.place, found.layout, pool);
            return Err(Miss::Expired);
        }
        Ok(found)
    }

    /// Forgets an item that a get found dead. In its parts: what a get finds stays in registers as long as nobody
    /// wants the address of all of it.
    #[cold]
    fn drop_dead(&mut self, hash: u64, slot: SlotAt, place: Place, layout: Layout, pool: &Pool) {
        self.drop_item(Found { hash, slot, mark: 0, place, layout }, pool);
    }

    /// Forgets an item.
    fn drop_item(&mut self, found: Found, pool: &Pool) {
        self.index.remove(found.hash, found.slot);
        let extent = self.extent(found.layout, self.bytes(found.place));
        self.bury(found.place, extent, pool);
    }

    /// Notes a use of an item that a policy is to know of.
    #[inline]
    fn count_use(&mut self, found: Found) {
        let mark = self.policy.hit(found.mark, self.clock);
        if mark != found.mark {
            self.index.set_mark(found.slot, mark);
        }
    }

    /// Notes that the value of an item was changed where it is.
    fn note_write(&mut self, found: Found, cas_unique: u64, at: Moment) {
        self.count_use(found);
        let format = self.format;
        let bytes = self.bytes_mut(found.place);
        format.set_cas_unique(bytes, cas_unique);
        item::set_accessed(bytes, at.now.ms);
    }

    /// Hands a living item to `read`.
    #[inline]
    pub(super) fn get<R>(
        &mut self,
        key: Key<'_>,
        at: Moment,
        pool: &Pool,
        read: impl FnOnce(ItemView<'_>) -> R,
    ) -> Result<R, Miss> {
        let found = self.find_living(key, at, pool)?;
        Ok(self.read(found, at, read))
    }

    /// Hands a living item to `read`, which is taken, and gives it a new deadline.
    pub(super) fn get_and_touch<R>(
        &mut self,
        key: Key<'_>,
        deadline: Deadline,
        read: &mut Option<impl FnOnce(ItemView<'_>) -> R>,
        at: Moment,
        purse: &mut Purse<'_>,
    ) -> Result<Result<R, Miss>, NoRoom> {
        let found = match self.find_living(key, at, purse.pool) {
            Ok(found) => found,
            Err(miss) => return Ok(Err(miss)),
        };
        let found = if found.layout.set_deadline(self.bytes_mut(found.place), deadline) {
            self.note_deadline(found.place, deadline);
            found
        } else {
            match self.rewrite(key, found, deadline, at, purse)? {
                Some(found) => found,
                None => return Ok(Err(Miss::Absent)),
            }
        };
        let read = read.take().expect("an operation succeeds once");
        Ok(Ok(self.read(found, at, read)))
    }

    #[inline]
    fn read<R>(&mut self, found: Found, at: Moment, read: impl FnOnce(ItemView<'_>) -> R) -> R {
        self.count_use(found);
        item::set_fetched(self.bytes_mut(found.place), at.now.ms);
        let bytes = self.bytes(found.place);
        let value = self.value(found.place, found.layout);
        let cas_unique = self.format.cas_unique(bytes);
        read(ItemView { value, flags: found.layout.flags(bytes), cas_unique })
    }

    /// What a storage command is refused with, before its value is looked at.
    pub(super) fn refuses(&mut self, write: &Write<'_>, at: Moment, pool: &Pool) -> Option<Stored> {
        self.condition(write.key, write.mode, at, pool).err()
    }

    /// What is under a key, if that is as a storage command wants it.
    fn condition(
        &mut self,
        key: Key<'_>,
        mode: StoreMode,
        at: Moment,
        pool: &Pool,
    ) -> Result<Option<Found>, Stored> {
        let found = self.find_living(key, at, pool).ok();
        match (mode, found) {
            (StoreMode::Add, Some(found)) => {
                self.count_use(found);
                Err(Stored::NotStored)
            }
            (StoreMode::Replace | StoreMode::Append | StoreMode::Prepend, None) => {
                Err(Stored::NotStored)
            }
            (StoreMode::Cas(_), None) => Err(Stored::NotFound),
            // 0 is no unique: it is what servers without them show.
            (StoreMode::Cas(unique), Some(found))
                if unique == 0 || unique != self.format.cas_unique(self.bytes(found.place)) =>
            {
                Err(Stored::Exists)
            }
            (StoreMode::Set, _)
            | (StoreMode::Add, None)
            | (
                StoreMode::Replace | StoreMode::Append | StoreMode::Prepend | StoreMode::Cas(_),
                Some(_),
            ) => Ok(found),
        }
    }

    /// Carries out a storage command; the caller has drawn `cas_unique` for it, and filled the `body` of a large value
    /// that is not to be joined to another.
    pub(super) fn store(
        &mut self,
        write: &Write<'_>,
        body: &mut Body,
        cas_unique: u64,
        at: Moment,
        purse: &mut Purse<'_>,
    ) -> Result<Stored, NoRoom> {
        self.work_ahead(at, purse.pool);
        let key = write.key;
        let found = match self.condition(key, write.mode, at, purse.pool) {
            Ok(found) => found,
            Err(refusal) => return Ok(refusal),
        };
        let joins = matches!(write.mode, StoreMode::Append | StoreMode::Prepend);
        let stored = if let Some(found) = found.filter(|_| joins) {
            self.join(write, found, cas_unique, at, purse)?
        } else {
            let value = [&write.value[body.len..], b""];
            let (flags, deadline) = (write.flags, write.deadline);
            self.put(Put { key, found, value, flags, deadline, cas_unique }, body, at, purse)?;
            Stored::Stored
        };
        self.stats.total_items += u64::from(stored == Stored::Stored);
        Ok(stored)
    }

    /// Adds to or subtracts from the number in a value.
    pub(super) fn arithmetic(
        &mut self,
        key: Key<'_>,
        delta: Delta,
        cas_unique: u64,
        at: Moment,
        purse: &mut Purse<'_>,
    ) -> Result<Arithmetic, NoRoom> {
        let found = match self.find_living(key, at, purse.pool) {
            Ok(found) => found,
            Err(miss) => return Ok(Arithmetic::Miss(miss)),
        };
        let layout = found.layout;
        let bytes = self.bytes(found.place);
        if layout.body(bytes).is_some() {
            return Ok(Arithmetic::NonNumeric);
        }
        let value = self.value(found.place, layout);
        let number = match value.rest {
            [] => number_in(value.front),
            _ => number_in(&value.to_vec()),
        };
        let Some(old) = number else {
            return Ok(Arithmetic::NonNumeric);
        };
        let number = match delta {
            Delta::Incr(delta) => old.wrapping_add(delta),
            Delta::Decr(delta) => old.saturating_sub(delta),
        };
        let mut digits = number.to_string().into_bytes();
        if digits.len() > value.len() {
            let (flags, deadline) = (layout.flags(bytes), layout.deadline(bytes));
            let value = [&digits[..], b""];
            let put = Put { key, found: Some(found), value, flags, deadline, cas_unique };
            self.put(put, &mut Body::default(), at, purse)?;
            self.stats.total_items += 1;
            return Ok(Arithmetic::Number(number));
        }
        // Within the stored width, padded on the right: what memcached's clients know.
        digits.resize(value.len(), b' ');
        self.note_write(found, cas_unique, at);
        self.write_at(found.place, layout.front_len(), &digits);
        Ok(Arithmetic::Number(number))
    }

    /// Removes a living item.
    pub(super) fn delete(&mut self, key: Key<'_>, at: Moment, pool: &Pool) -> bool {
        match self.find_living(key, at, pool) {
            Ok(found) => {
                self.drop_item(found, pool);
                true
            }
            Err(_) => false,
        }
    }

    /// Removes a key, dead or alive.
    pub(super) fn remove(&mut self, key: Key<'_>, pool: &Pool) {
        if let Some(found) = self.find(key) {
            self.drop_item(found, pool);
        }
    }
}
