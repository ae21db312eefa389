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
mod dump;
mod hints;
mod meta;
mod read;
mod reclaim;
mod room;
mod sweep;
mod write;

use super::block::Piece;
use super::eviction::{Heat, Policy};
use super::exptime::Deadline;
use super::ghost::Ghost;
use super::index::{Index, SlotAt};
use super::item::{Format, Layout, Tags};
use super::large::{Bodies, Body};
use super::lines::Lines;
use super::number::number_in;
use super::segment::{LogName, Pool, Purse, Segment};
use super::{
    Arithmetic, Count, Deleted, ItemSize, Key, Moment, NoRoom, StoreConfig, StoreMode, StoreStats,
    Stored, Write,
};
pub(super) use hints::{Hints, PREFETCHED_MAX, prefetch_burst};
pub(super) use reclaim::Reclaimed;
use reclaim::{Circle, Victim};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use sweep::Round;
pub(super) use sweep::SWEEP_PAUSE_S;
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
    /// Of what victims hold.
    heat: Heat,
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
    spares: Vec<Piece>,
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
pub(super) struct Found {
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
            heat: Heat::default(),
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

    /// What a storage command is refused with, before its value is looked at.
    pub(super) fn refuses(&mut self, write: &Write<'_>, at: Moment, pool: &Pool) -> Option<Stored> {
        self.condition(write, at, pool).err()
    }

    /// Whether an item has the CAS unique that it must have. 0 is no unique: it is what servers without them show.
    fn has_expected(&self, found: Found, expected: Option<u64>) -> bool {
        expected.is_none_or(|unique| {
            unique != 0 && unique == self.format.cas_unique(self.bytes(found.place))
        })
    }

    /// What is under a key, if that is as a storage command wants it.
    #[inline(always)]
    #[expect(
        clippy::inline_always,
        reason = "handing over what was found takes as long as finding it"
    )]
    fn condition(
        &mut self,
        write: &Write<'_>,
        at: Moment,
        pool: &Pool,
    ) -> Result<Option<Found>, Stored> {
        let found = self.find_living(write.key, at, pool).ok();
        match (write.mode, found) {
            (StoreMode::Add, Some(found)) => {
                self.count_use(found);
                Err(Stored::NotStored)
            }
            (StoreMode::Replace | StoreMode::Append | StoreMode::Prepend, None) => {
                Err(Stored::NotStored)
            }
            (StoreMode::Cas(_) | StoreMode::CasOrStale(_), None) => Err(Stored::NotFound),
            (StoreMode::Cas(unique), Some(found)) if !self.has_expected(found, Some(unique)) => {
                Err(Stored::Exists)
            }
            (StoreMode::CasOrStale(unique), Some(found))
                if unique == 0 || unique > self.format.cas_unique(self.bytes(found.place)) =>
            {
                Err(Stored::Exists)
            }
            (_, Some(found)) if !self.has_expected(found, write.cas.expected) => {
                Err(Stored::Exists)
            }
            (StoreMode::Set, _)
            | (StoreMode::Add, None)
            | (
                StoreMode::Replace
                | StoreMode::Append
                | StoreMode::Prepend
                | StoreMode::Cas(_)
                | StoreMode::CasOrStale(_),
                Some(_),
            ) => Ok(found),
        }
    }

    /// Carries out a storage command; the caller has drawn `cas_unique` for it, and filled the `body` of a large value
    /// that is not to be joined to another, which the value of `write` is the rest of then.
    pub(super) fn store(
        &mut self,
        write: &Write<'_>,
        body: &mut Option<Body>,
        cas_unique: u64,
        at: Moment,
        purse: &mut Purse<'_>,
    ) -> Result<Stored, NoRoom> {
        self.work_ahead(at, purse.pool);
        let key = write.key;
        let found = match self.condition(write, at, purse.pool) {
            Ok(found) => found,
            Err(refusal) => return Ok(refusal),
        };
        let joins = matches!(write.mode, StoreMode::Append | StoreMode::Prepend);
        let stored = if let Some(found) = found.filter(|_| joins) {
            self.join(write, found, cas_unique, at, purse)?
        } else {
            let Write { flags, value, is_base64, .. } = *write;
            let (mut deadline, mut tags) = (write.deadline, Tags::BASE64.when(is_base64));
            if let (StoreMode::CasOrStale(unique), Some(Found { place, layout, .. })) =
                (write.mode, found)
                && unique != self.format.cas_unique(self.bytes(place))
            {
                deadline = layout.deadline(self.bytes(place));
                tags = tags.with(Tags::STALE).with(layout.tags().and(Tags::WON));
            }
            let put = Put { key, found, value, flags, deadline, cas_unique, tags };
            self.put(put, body, at, purse)?;
            Stored::Stored
        };
        self.stats.total_items += u64::from(matches!(stored, Stored::Stored | Stored::Joined(_)));
        Ok(stored)
    }

    /// Adds to or subtracts from the number in a value, and gives the item a new deadline where one is asked for. What
    /// became of it, and the deadline that the item had.
    pub(super) fn arithmetic(
        &mut self,
        key: Key<'_>,
        count: &Count,
        cas_unique: u64,
        at: Moment,
        purse: &mut Purse<'_>,
    ) -> Result<(Arithmetic, Deadline), NoRoom> {
        let found = match self.find_living(key, at, purse.pool) {
            Ok(found) => found,
            Err(miss) => return Ok((Arithmetic::Miss(miss), Deadline::NEVER)),
        };
        let layout = found.layout;
        let bytes = self.bytes(found.place);
        let before = layout.deadline(bytes);
        let value = self.value(found.place, layout);
        // Before its unique is looked at, as in memcached.
        if self.item_size.is_no_number(key.bytes.len(), layout.flags(bytes), value.len()) {
            return Ok((Arithmetic::NonNumeric, before));
        }
        if !self.has_expected(found, count.cas.expected) {
            return Ok((Arithmetic::Exists, before));
        }
        if layout.body(bytes).is_some() {
            return Ok((Arithmetic::NonNumeric, before));
        }
        let number = match value.rest {
            [] => number_in(value.front),
            _ => number_in(&value.to_vec()),
        };
        let Some(old) = number else {
            return Ok((Arithmetic::NonNumeric, before));
        };
        let number = count.delta.apply(old);
        let mut digits = number.to_string().into_bytes();
        let deadline = count.touch.unwrap_or(before);
        let is_longer = digits.len() > value.len();
        if is_longer || !layout.may_have(deadline) {
            let flags = layout.flags(bytes);
            let tags = if is_longer { layout.tags().and(Tags::BASE64) } else { layout.tags() };
            digits.resize(digits.len().max(value.len()), b' ');
            let value = &digits[..];
            let put = Put { key, found: Some(found), value, flags, deadline, cas_unique, tags };
            self.put(put, &mut None, at, purse)?;
            self.stats.total_items += u64::from(is_longer);
            return Ok((Arithmetic::Number(number), before));
        }
        // Within the stored width, padded on the right: what memcached's clients know.
        digits.resize(value.len(), b' ');
        if count.touch.is_some() {
            layout.set_deadline(self.bytes_mut(found.place), deadline);
            self.note_deadline(found.place, deadline);
        }
        self.note_write(found, cas_unique, at);
        self.write_at(found.place, layout.front_len(), &digits);
        Ok((Arithmetic::Number(number), before))
    }

    /// Removes a living item, which must have the `expected` CAS unique.
    pub(super) fn delete(
        &mut self,
        key: Key<'_>,
        expected: Option<u64>,
        at: Moment,
        pool: &Pool,
    ) -> Deleted {
        match self.find_living(key, at, pool) {
            Ok(found) if self.has_expected(found, expected) => {
                self.drop_item(found, pool);
                Deleted::Deleted
            }
            Ok(_) => Deleted::Exists,
            Err(_) => Deleted::NotFound,
        }
    }

    /// Removes a key, dead or alive.
    pub(super) fn remove(&mut self, key: Key<'_>, pool: &Pool) {
        if let Some(found) = self.find(key) {
            self.drop_item(found, pool);
        }
    }
}
