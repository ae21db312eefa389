//! One lock domain of the store: items in two logs of segments, and an index to find them.
//!
//! New keys go into the small log; what is read again, or comes back soon after it was evicted, into the main one
//! (S3-FIFO, J. Yang et al., SOSP 2023). Both are queues of segments, written once from the front. Memory comes
//! back a segment at a time: the items of a victim that are worth it are copied to the head of a log, the
//! others are forgotten.
//!
//! A plain single-threaded struct; the lock is one layer up.
//!
//! INVARIANT: the index points to every item that counts, and to nothing else.
//! INVARIANT: everything that the shard holds is charged to the pool, neither more nor less.
//! INVARIANT: all items of a segment are of one flush generation.
#![expect(clippy::cast_possible_truncation, reason = "locations are taken apart")]

mod books;
mod reclaim;
mod write;

use super::exptime::Deadline;
use super::ghost::Ghost;
use super::index::{Index, SlotAt};
use super::item::{self, Format, Layout, NewItem};
use super::large::LargeValues;
use super::number::number_in;
use super::segment::{LogName, Pool, Segment};
use super::{
    Arithmetic, Delta, ItemSize, ItemView, Key, Miss, Moment, NoRoom, StoreConfig, StoreMode,
    StoreStats, Stored, Write,
};
use reclaim::Rule;
use std::collections::VecDeque;

/// A queue of segments.
#[derive(Debug, Default)]
struct Log {
    /// Full ones, the oldest first.
    sealed: VecDeque<u32>,
    /// The one that is written.
    open: Option<u32>,
    /// Bytes of large values that its items own.
    large_len: u64,
}

impl Log {
    fn segment_count(&self) -> u64 {
        self.sealed.len() as u64 + u64::from(self.open.is_some())
    }
}

#[derive(Debug)]
pub(super) struct Shard {
    format: Format,
    hasher: ahash::RandomState,
    /// Segments are 2^this bytes long.
    segment_shift: u32,
    evictions_allowed: bool,
    item_size: ItemSize,
    index: Index,
    /// By number, which with a position makes a location.
    segments: Vec<Option<Segment>>,
    vacant: Vec<u32>,
    small: Log,
    main: Log,
    /// For the survivors of the next victim, which is not free before they have left it.
    spare: Option<Box<[u8]>>,
    /// The victim that is being read, the position in it, and its rule.
    victim: Option<(u32, usize, Rule)>,
    ghost: Ghost,
    large: LargeValues,
    next_sweep_ms: u64,
    /// Its part of the limit, in bytes.
    fair_share: u64,
    stats: StoreStats,
}

/// A living item: its slot, and its segment and position.
#[derive(Debug, Clone, Copy)]
struct Found {
    hash: u64,
    slot: SlotAt,
    segment: usize,
    at: usize,
}

impl Shard {
    /// An empty shard; takes a little memory from the pool.
    pub(super) fn new(config: &StoreConfig, hasher: ahash::RandomState, pool: &Pool) -> Self {
        Self {
            format: Format { cas: config.cas },
            hasher,
            segment_shift: pool.segment_len().trailing_zeros(),
            evictions_allowed: config.evictions,
            item_size: config.item_size,
            index: Index::new(pool).expect("the limit has room for empty shards"),
            segments: Vec::new(),
            vacant: Vec::new(),
            small: Log::default(),
            main: Log::default(),
            spare: None,
            victim: None,
            ghost: Ghost::default(),
            large: LargeValues::default(),
            next_sweep_ms: 0,
            fair_share: config.limit_bytes / config.shard_count as u64,
            stats: StoreStats::default(),
        }
    }

    fn place(&self, location: u64) -> (usize, usize) {
        let at = location & ((1 << self.segment_shift) - 1);
        ((location >> self.segment_shift) as usize, at as usize)
    }

    fn location(&self, segment: usize, at: usize) -> u64 {
        (segment as u64) << self.segment_shift | at as u64
    }

    fn segment(&self, number: usize) -> &Segment {
        self.segments[number].as_ref().expect("a location is in a segment that is held")
    }

    fn segment_mut(&mut self, number: usize) -> &mut Segment {
        self.segments[number].as_mut().expect("a location is in a segment that is held")
    }

    fn bytes(&self, found: Found) -> &[u8] {
        &self.segment(found.segment).bytes[found.at..]
    }

    fn bytes_mut(&mut self, found: Found) -> &mut [u8] {
        &mut self.segment_mut(found.segment).bytes[found.at..]
    }

    fn layout(&self, found: Found) -> Layout {
        self.format.parse(self.bytes(found))
    }

    /// The client's bytes of an item, wherever they are kept.
    fn value<'a>(&'a self, layout: Layout, item: &'a [u8]) -> &'a [u8] {
        match layout.large(item) {
            Some(number) => self.large.get(number),
            None => layout.value(item),
        }
    }

    fn find(&self, key: Key<'_>) -> Option<Found> {
        let slot = self.index.find(key.hash, |location| {
            let (segment, at) = self.place(location);
            let bytes = &self.segment(segment).bytes[at..];
            self.format.parse(bytes).key(bytes) == key.bytes
        })?;
        let (segment, at) = self.place(self.index.location(slot));
        Some(Found { hash: key.hash, slot, segment, at })
    }

    /// The item of a key if it lives; a dead one is removed.
    fn find_living(&mut self, key: Key<'_>, at: Moment, pool: &Pool) -> Result<Found, Miss> {
        let found = self.find(key).ok_or(Miss::Absent)?;
        let miss = if self.segment(found.segment).generation < at.generation {
            Miss::Flushed
        } else if self.layout(found).deadline(self.bytes(found)).is_due(at.now) {
            Miss::Expired
        } else {
            return Ok(found);
        };
        self.drop_item(found, pool);
        Err(miss)
    }

    /// Forgets an item.
    fn drop_item(&mut self, found: Found, pool: &Pool) {
        self.index.remove(found.hash, found.slot);
        self.bury(found, pool);
    }

    /// Takes an item out of the books that the index does not point to any more.
    fn bury(&mut self, found: Found, pool: &Pool) {
        let layout = self.layout(found);
        let bytes = self.bytes(found);
        let (key_len, flags) = (layout.key(bytes).len(), layout.flags(bytes));
        let large = layout.large(bytes);
        let value_len = self.value(layout, bytes).len();
        self.stats.bytes -= self.item_size.of(key_len, flags, value_len);
        let large_len = large.map_or(0, |number| self.large.remove(number, pool));
        self.count_dead(found.segment, layout.len, large_len);
    }

    fn count_dead(&mut self, segment: usize, len: usize, large_len: u64) {
        let segment = self.segment_mut(segment);
        segment.live_len -= len;
        segment.large_len -= large_len;
        let log = segment.log;
        self.log_mut(log).large_len -= large_len;
        self.stats.live_bytes -= len as u64;
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

    /// Hands an item to `read`, giving it a new deadline where one is given.
    pub(super) fn get<R>(
        &mut self,
        key: Key<'_>,
        deadline: Option<Deadline>,
        at: Moment,
        pool: &Pool,
        read: impl FnOnce(ItemView<'_>) -> R,
    ) -> Result<R, Miss> {
        let mut found = self.find_living(key, at, pool)?;
        if let Some(deadline) = deadline {
            found = self.touch(key, found, deadline, at, pool)?;
        }
        let frequency = self.index.frequency(found.slot);
        self.index.set_frequency(found.slot, frequency.saturating_add(1));
        let bytes = self.bytes_mut(found);
        item::set_fetched(bytes);
        item::set_accessed(bytes, at.now.ms);
        let layout = self.layout(found);
        let bytes = self.bytes(found);
        let value = self.value(layout, bytes);
        let cas_unique = self.format.cas_unique(bytes);
        Ok(read(ItemView { value, flags: layout.flags(bytes), cas_unique }))
    }

    /// Gives an item another deadline: in place where it has a field for it, else it is written anew. Where
    /// there is no room for that, it is gone: it must not outlive its deadline.
    fn touch(
        &mut self,
        key: Key<'_>,
        found: Found,
        deadline: Deadline,
        at: Moment,
        pool: &Pool,
    ) -> Result<Found, Miss> {
        let layout = self.layout(found);
        if layout.set_deadline(self.bytes_mut(found), deadline) {
            return Ok(found);
        }
        let bytes = self.bytes(found)[..layout.len].to_vec();
        let bytes = &bytes[..];
        let new = NewItem {
            key: key.bytes,
            value: [layout.value(bytes), b""],
            is_large: layout.large(bytes).is_some(),
            flags: layout.flags(bytes),
            deadline,
            cas_unique: self.format.cas_unique(bytes),
            now_ms: at.now.ms,
        };
        let log = self.segment(found.segment).log;
        let len = self.format.layout_of(&new).len;
        let Ok((segment, position)) = self.allocate(log, len, at, pool) else {
            self.remove(key, pool);
            return Err(Miss::Absent);
        };
        // Making room may have moved the item, or evicted it.
        let Some(old) = self.find(key) else {
            self.unallocate(segment, len);
            return Err(Miss::Absent);
        };
        let format = self.format;
        format.write(&mut self.segment_mut(segment).bytes[position..], &new);
        let large_len = layout
            .large(bytes)
            .map_or(0, |number| LargeValues::charge(self.large.get(number).len()));
        self.move_large(old.segment, segment, large_len);
        self.count_dead(old.segment, layout.len, 0);
        self.index.relocate(old.slot, self.location(segment, position));
        Ok(Found { slot: old.slot, hash: key.hash, segment, at: position })
    }

    fn move_large(&mut self, from: usize, to: usize, large_len: u64) {
        let segment = self.segment_mut(from);
        segment.large_len -= large_len;
        let log = segment.log;
        self.log_mut(log).large_len -= large_len;
        self.add_large(to, large_len);
    }

    fn add_large(&mut self, to: usize, large_len: u64) {
        let segment = self.segment_mut(to);
        segment.large_len += large_len;
        let log = segment.log;
        self.log_mut(log).large_len += large_len;
    }

    /// Carries out a storage command; the caller has drawn `cas_unique` for it.
    pub(super) fn store(
        &mut self,
        key: Key<'_>,
        write: &Write<'_>,
        cas_unique: u64,
        at: Moment,
        pool: &Pool,
    ) -> Result<Stored, NoRoom> {
        let found = self.find_living(key, at, pool).ok();
        let joins = match (write.mode, found) {
            (StoreMode::Add, Some(found)) => {
                let frequency = self.index.frequency(found.slot);
                self.index.set_frequency(found.slot, frequency.saturating_add(1));
                return Ok(Stored::NotStored);
            }
            (StoreMode::Replace | StoreMode::Append | StoreMode::Prepend, None) => {
                return Ok(Stored::NotStored);
            }
            (StoreMode::Cas(_), None) => return Ok(Stored::NotFound),
            // 0 is no unique: it is what servers without them show.
            (StoreMode::Cas(unique), Some(found))
                if unique == 0 || unique != self.format.cas_unique(self.bytes(found)) =>
            {
                return Ok(Stored::Exists);
            }
            (StoreMode::Append | StoreMode::Prepend, Some(_)) => true,
            (StoreMode::Set, _)
            | (StoreMode::Add, None)
            | (StoreMode::Replace | StoreMode::Cas(_), Some(_)) => false,
        };
        let stored = if let Some(found) = found.filter(|_| joins) {
            self.join(key, found, write, cas_unique, at, pool)?
        } else {
            let new = NewItem {
                key: key.bytes,
                value: [write.value, b""],
                is_large: false,
                flags: write.flags,
                deadline: write.deadline,
                cas_unique,
                now_ms: at.now.ms,
            };
            self.put(key, found, new, at, pool)?;
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
        pool: &Pool,
    ) -> Result<Arithmetic, NoRoom> {
        let found = match self.find_living(key, at, pool) {
            Ok(found) => found,
            Err(miss) => return Ok(Arithmetic::Miss(miss)),
        };
        let layout = self.layout(found);
        let large = layout.large(self.bytes(found));
        let value = self.value(layout, self.bytes(found));
        let Some(old) = number_in(value) else {
            return Ok(Arithmetic::NonNumeric);
        };
        let number = match delta {
            Delta::Incr(delta) => old.wrapping_add(delta),
            Delta::Decr(delta) => old.saturating_sub(delta),
        };
        let digits = number.to_string();
        if digits.len() > value.len() {
            let bytes = self.bytes(found);
            let new = NewItem {
                key: key.bytes,
                value: [digits.as_bytes(), b""],
                is_large: false,
                flags: layout.flags(bytes),
                deadline: layout.deadline(bytes),
                cas_unique,
                now_ms: at.now.ms,
            };
            self.put(key, Some(found), new, at, pool)?;
            self.stats.total_items += 1;
            return Ok(Arithmetic::Number(number));
        }
        let format = self.format;
        let bytes = self.bytes_mut(found);
        format.set_cas_unique(bytes, cas_unique);
        item::set_accessed(bytes, at.now.ms);
        // Within the stored width, padded on the right: what memcached's clients know.
        let value = match large {
            Some(number) => self.large.get_mut(number),
            None => layout.value_mut(bytes),
        };
        let (front, back) = value.split_at_mut(digits.len());
        front.copy_from_slice(digits.as_bytes());
        back.fill(b' ');
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
