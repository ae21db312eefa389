//! Where memory comes from when there is none: victims, and what of them survives.
//!
//! S3-FIFO with segments for items: while the small log has more than its share, its oldest segment is the
//! victim, else the main log's. An item of the small log that was read moves to the main one; an item of the main one
//! that was read goes round once more.
//!
//! INVARIANT: a victim's survivors fit into what is left of the open segment and the spare one.

use super::super::exptime::Deadline;
use super::super::item::{self, Layout};
use super::super::large::LargeValues;
use super::super::segment::{LogName, Pool, Segment};
use super::super::{Moment, NoRoom};
use super::{Found, Shard};
use std::collections::VecDeque;

/// As many items of a victim are read side by side.
const GROUP_LEN: usize = 16;
/// The share of the small log, in percent.
const SMALL_PERCENT: u64 = 10;
/// With more dead bytes than this share of a shard, in percent, nothing living is evicted.
const DEAD_PERCENT: u64 = 10;
/// As much is read through for one operation before the demands on what may survive rise, in bytes.
const PATIENCE_LEN: usize = 192 * 1024;
/// How long a shard that may not evict rests between looking for dead items.
const SWEEP_PAUSE_MS: u64 = 1000;

/// Which segment gives its memory, and which of its items survive that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rule {
    /// All that live: it has much that is dead.
    Compact,
    /// Those that were read more often than this.
    Evict { frequency_min: u8 },
}

/// What a step of reclaiming brought.
#[derive(Debug)]
enum Freed {
    /// A segment, for whoever needs one.
    Segment(Box<[u8]>),
    /// The spare segment that its survivors had taken.
    Spare,
    /// As much as was asked for, with the victim still there.
    Enough,
}

impl Freed {
    /// Gives it to the pool; how many victims that took.
    fn give(self, pool: &Pool) -> u8 {
        match self {
            Self::Segment(bytes) => pool.give(bytes),
            Self::Spare => {}
            Self::Enough => return 0,
        }
        1
    }
}

impl Shard {
    /// Takes memory for a large value out of the limit, evicting where it must.
    pub(super) fn reserve_large(
        &mut self,
        charge: u64,
        at: Moment,
        pool: &Pool,
    ) -> Result<(), NoRoom> {
        let wanted = self.wanted(charge, pool);
        let mut victim_count = 0;
        let mut is_exhausted = false;
        loop {
            if (is_exhausted || pool.has(wanted)) && pool.reserve(charge) {
                return Ok(());
            }
            match self.reclaim(victim_count, at, pool, || pool.has(wanted)) {
                None if is_exhausted => return Err(NoRoom { needed: charge }),
                None => is_exhausted = true,
                Some(freed) => victim_count = victim_count.saturating_add(freed.give(pool)),
            }
        }
    }

    /// Room for an item at the head of a log, reclaiming segments where it must.
    pub(super) fn allocate(
        &mut self,
        log: LogName,
        len: usize,
        at: Moment,
        pool: &Pool,
    ) -> Result<(usize, usize), NoRoom> {
        let segment_len = pool.segment_len() as u64;
        let wanted = self.wanted(segment_len, pool);
        let mut victim_count = 0;
        let mut is_exhausted = false;
        loop {
            if let Some(place) = self.allocate_open(log, len, at) {
                return Ok(place);
            }
            if self.spare.is_none() {
                self.spare = pool.take();
            }
            let may_take = self.spare.is_some() && (is_exhausted || pool.has(wanted));
            if let Some(bytes) = may_take.then(|| pool.take()).flatten() {
                self.open(log, bytes, at);
                continue;
            }
            // A segment of large values may free much more than itself.
            match self.reclaim(victim_count, at, pool, || pool.has(wanted)) {
                None if is_exhausted => return Err(NoRoom { needed: 2 * segment_len }),
                None => is_exhausted = true,
                Some(freed) => victim_count = victim_count.saturating_add(freed.give(pool)),
            }
        }
    }

    /// How much must be free before a shard takes so much. A shard that has its share while there is
    /// little left must free as much itself: else those that take first would starve the others.
    fn wanted(&self, needed: u64, pool: &Pool) -> u64 {
        let has_its_share = self.charged() > self.fair_share && pool.is_tight();
        if has_its_share { pool.free() + needed } else { needed }
    }

    /// Room in the open segment of a log, where there is enough.
    fn allocate_open(&mut self, log: LogName, len: usize, at: Moment) -> Option<(usize, usize)> {
        let number = self.log(log).open? as usize;
        let segment = self.segment_mut(number);
        if segment.generation != at.generation || segment.used_len + len > segment.bytes.len() {
            return None;
        }
        let position = segment.used_len;
        segment.used_len += len;
        segment.live_len += len;
        self.stats.live_bytes += len as u64;
        self.stats.used_bytes += len as u64;
        Some((number, position))
    }

    /// Takes back the room that was allocated last.
    pub(super) fn unallocate(&mut self, number: usize, len: usize) {
        let segment = self.segment_mut(number);
        segment.used_len -= len;
        segment.live_len -= len;
        self.stats.live_bytes -= len as u64;
        self.stats.used_bytes -= len as u64;
    }

    /// Begins a segment at the head of a log.
    fn open(&mut self, name: LogName, bytes: Box<[u8]>, at: Moment) {
        let segment = Segment {
            bytes,
            used_len: 0,
            live_len: 0,
            large_len: 0,
            generation: at.generation,
            begun_ms: at.now.ms,
            log: name,
        };
        let number = self.vacant.pop().unwrap_or_else(|| {
            self.segments.push(None);
            u32::try_from(self.segments.len() - 1).expect("fewer than 2^32 segments")
        });
        self.segments[number as usize] = Some(segment);
        let log = self.log_mut(name);
        let full = log.open.replace(number);
        log.sealed.extend(full);
    }

    /// Frees a segment, or its survivors take the spare one and it becomes that; or stops where it is
    /// `enough`. `None` where there is nothing to free.
    fn reclaim(
        &mut self,
        victim_count: u8,
        at: Moment,
        pool: &Pool,
        enough: impl Fn() -> bool,
    ) -> Option<Freed> {
        if self.spare.is_none() {
            self.spare = pool.take();
        }
        let begun = self.victim.take();
        let (number, start, rule) = if let Some(begun) = begun {
            begun
        } else {
            let mut chosen = self.choose_victim(victim_count);
            if chosen.is_none() && !self.evictions_allowed && self.sweep(at, pool) {
                chosen = self.choose_victim(victim_count);
            }
            let (number, rule) = chosen?;
            (number, 0, rule)
        };
        let index = number as usize;
        let bytes = std::mem::take(&mut self.segment_mut(index).bytes);
        let used_len = self.segment(index).used_len;
        let mut position = start;
        let mut group = VecDeque::with_capacity(GROUP_LEN);
        while position < used_len {
            let may_stop = self.spare.is_some() || rule != Rule::Compact;
            if position > start && may_stop && enough() {
                self.segment_mut(index).bytes = bytes;
                self.victim = Some((number, position, rule));
                return Some(Freed::Enough);
            }
            if group.is_empty() {
                self.fetch_group(&bytes[..used_len], position, &mut group);
            }
            let (layout, hash) = group.pop_front().expect("there is an item at the position");
            let item = &bytes[position..position + layout.len];
            self.judge(index, position, (layout, hash), item, rule, at, pool);
            position += layout.len;
        }
        let segment = self.segments[index].take().expect("it was chosen from those held");
        debug_assert_eq!((segment.live_len, segment.large_len), (0, 0), "nothing lives in it");
        self.stats.used_bytes -= used_len as u64;
        self.log_mut(segment.log).sealed.retain(|sealed| *sealed != number);
        self.vacant.push(number);
        if self.spare.is_none() {
            self.spare = Some(bytes);
            return Some(Freed::Spare);
        }
        Some(Freed::Segment(bytes))
    }

    /// Reads the next items of a victim and their buckets. None of the reads waits for another, so the memory
    /// serves them side by side; one by one they are most of the time that a victim takes.
    fn fetch_group(&self, bytes: &[u8], from: usize, group: &mut VecDeque<(Layout, u64)>) {
        let mut position = from;
        let mut fetched = 0;
        while position < bytes.len() && group.len() < GROUP_LEN {
            let item = &bytes[position..];
            let layout = self.format.parse(item);
            let hash = self.hasher.hash_one(layout.key(item));
            fetched ^= self.index.fetch(hash);
            group.push_back((layout, hash));
            position += layout.len;
        }
        std::hint::black_box(fetched);
    }

    /// The segment to free next. The more victims it took already, the more must an item have been read
    /// to survive: so a set ends even where all items are hot.
    fn choose_victim(&mut self, victim_count: u8) -> Option<(u32, Rule)> {
        let segment_len = 1_u64 << self.segment_shift;
        let held_len = (self.small.segment_count() + self.main.segment_count()) * segment_len;
        let dead_len = self.stats.used_bytes - self.stats.live_bytes;
        let is_worth_it = dead_len * 100 > held_len * DEAD_PERCENT || !self.evictions_allowed;
        if is_worth_it && self.spare.is_some() {
            let dead = |number: &u32| {
                let segment = self.segment(*number as usize);
                segment.used_len - segment.live_len
            };
            let sealed = self.small.sealed.iter().chain(&self.main.sealed).copied();
            if let Some(number) = sealed.max_by_key(dead)
                && dead(&number) as u64 * 16 >= segment_len
            {
                return Some((number, Rule::Compact));
            }
        }
        if !self.evictions_allowed {
            return None;
        }
        let small_len = self.small.segment_count() * segment_len + self.small.large_len;
        let all_len = held_len + self.small.large_len + self.main.large_len;
        let names = if small_len * 100 > all_len * SMALL_PERCENT {
            [LogName::Small, LogName::Main]
        } else {
            [LogName::Main, LogName::Small]
        };
        let patience = (PATIENCE_LEN >> self.segment_shift).clamp(1, 255);
        let raised = victim_count / u8::try_from(patience).expect("255 at most");
        let rule = Rule::Evict { frequency_min: raised.saturating_add(1) };
        let sealed = names.iter().find_map(|name| self.log(*name).sealed.front().copied());
        let number = sealed.or_else(|| {
            // All there is stands in the open segments.
            names.iter().find_map(|name| {
                let log = self.log_mut(*name);
                let number = log.open.take()?;
                log.sealed.push_back(number);
                Some(number)
            })
        })?;
        Some((number, rule))
    }

    /// Lets one item of a victim survive, or forgets it.
    #[expect(clippy::too_many_arguments, reason = "the victim's bytes are not in its segment now")]
    fn judge(
        &mut self,
        victim: usize,
        position: usize,
        (layout, hash): (Layout, u64),
        item: &[u8],
        rule: Rule,
        at: Moment,
        pool: &Pool,
    ) {
        let location = self.location(victim, position);
        let Some(slot) = self.index.find(hash, |found| found == location) else {
            return;
        };
        let (log, generation) = (self.segment(victim).log, self.segment(victim).generation);
        let is_dead = generation < at.generation || layout.deadline(item).is_due(at.now);
        let large_number = layout.large(item);
        let frequency = self.index.frequency(slot);
        let survives = match rule {
            Rule::Compact => true,
            Rule::Evict { frequency_min } => frequency >= frequency_min,
        };
        let to = if rule == Rule::Compact { log } else { LogName::Main };
        if survives
            && !is_dead
            && let Some((segment, at)) = self.allocate_survivor(to, layout.len, at)
        {
            if rule != Rule::Compact {
                let frequency = if log == LogName::Small { 0 } else { frequency - 1 };
                self.index.set_frequency(slot, frequency);
            }
            self.segment_mut(segment).bytes[at..at + layout.len].copy_from_slice(item);
            let large_len =
                large_number.map_or(0, |number| LargeValues::charge(self.large.get(number).len()));
            self.move_large(victim, segment, large_len);
            self.count_dead(victim, layout.len, 0);
            let location = self.location(segment, at);
            self.index.relocate(slot, location);
            self.stats.moved_bytes += layout.len as u64;
            return;
        }
        self.index.remove(hash, slot);
        let value_len = self.value(layout, item).len();
        self.stats.bytes -=
            self.item_size.of(layout.key(item).len(), layout.flags(item), value_len);
        let large_len = large_number.map_or(0, |number| self.large.remove(number, pool));
        self.count_dead(victim, layout.len, large_len);
        if is_dead {
            self.stats.reclaimed += 1;
            self.stats.expired_unfetched += u64::from(!layout.is_fetched());
            return;
        }
        if log == LogName::Small {
            self.ghost.insert(hash);
        }
        self.stats.evictions += 1;
        self.stats.evicted_unfetched += u64::from(!layout.is_fetched());
        self.stats.evicted_nonzero += u64::from(layout.deadline(item) != Deadline::NEVER);
        self.stats.evicted_time_s = item::idle_s(item, at.now.ms);
    }

    /// Room for an item that leaves its segment. All that leaves one segment fits into what is left of the
    /// open one and the spare one; without a spare one, it is luck.
    fn allocate_survivor(
        &mut self,
        log: LogName,
        len: usize,
        at: Moment,
    ) -> Option<(usize, usize)> {
        if let Some(place) = self.allocate_open(log, len, at) {
            return Some(place);
        }
        let spare = self.spare.take()?;
        self.open(log, spare, at);
        self.allocate_open(log, len, at)
    }

    /// Gives memory to the pool for another shard that needs so much, a segment at a time; whether it had any
    /// to give.
    pub(in crate::store) fn evict(&mut self, needed: u64, at: Moment, pool: &Pool) -> bool {
        for victim_count in 0..u8::MAX {
            match self.reclaim(victim_count, at, pool, || pool.has(needed)) {
                None => break,
                Some(Freed::Enough) => return true,
                Some(Freed::Spare) => {}
                Some(Freed::Segment(bytes)) => {
                    pool.give(bytes);
                    return true;
                }
            }
        }
        if self.small.segment_count() + self.main.segment_count() == 0
            && let Some(bytes) = self.spare.take()
        {
            pool.give(bytes);
            return true;
        }
        false
    }

    /// Forgets all dead items. Looks at every item, so once a second is often enough.
    fn sweep(&mut self, at: Moment, pool: &Pool) -> bool {
        if at.now.ms < self.next_sweep_ms {
            return false;
        }
        self.next_sweep_ms = at.now.ms + SWEEP_PAUSE_MS;
        let before = self.index.item_count();
        for location in self.index.locations() {
            let (segment, position) = self.place(location);
            let held = self.segment(segment);
            let bytes = &held.bytes[position..];
            let layout = self.format.parse(bytes);
            if held.generation == at.generation && !layout.deadline(bytes).is_due(at.now) {
                continue;
            }
            let hash = self.hasher.hash_one(layout.key(bytes));
            let is_fetched = layout.is_fetched();
            if let Some(slot) = self.index.find(hash, |found| found == location) {
                self.drop_item(Found { hash, slot, segment, at: position }, pool);
                self.stats.reclaimed += 1;
                self.stats.expired_unfetched += u64::from(!is_fetched);
            }
        }
        self.index.item_count() < before
    }
}
