//! Room at the head of a log, and the segments that it is made of.
//!
//! INVARIANT: a record takes two segments at most.

use super::super::block::Piece;
use super::super::eviction::TICKS_PER_MEMORY;
use super::super::exptime::Deadline;
use super::super::item::Layout;
use super::super::segment::{Link, LogName, Pool, Purse, Segment, seconds};
use super::super::{Moment, NoRoom};
use super::reclaim::Reclaimed;
use super::{Place, Shard, WIDE_FRACTION};
use std::sync::atomic::Ordering::Relaxed;

/// As much of victims is read under one hold of the lock, in bytes.
const HOLD_LEN: usize = 64 * 1024;

/// Whether a record may stand in what is left of a segment.
fn has_room(segment: &Segment, len: usize, at: Moment) -> bool {
    segment.generation == at.generation && segment.used_len + len <= segment.bytes.len()
}

impl Shard {
    /// Room for a record at the head of a log, reclaiming a segment where it must.
    pub(super) fn allocate(
        &mut self,
        log: LogName,
        layout: Layout,
        at: Moment,
        purse: &mut Purse<'_>,
    ) -> Result<Place, NoRoom> {
        if let Some(place) = self.allocate_open(log, layout.len(), at) {
            return Ok(place);
        }
        let bytes = self.segment_for_new(layout.len(), at, purse)?;
        // Survivors may have opened another one in the meantime.
        if let Some(place) = self.allocate_open(log, layout.len(), at) {
            purse.pool.give(bytes);
            return Ok(place);
        }
        Ok(self.allocate_across(log, bytes, layout, at))
    }

    /// Sees to it that a record finds room at the head of a log.
    pub(super) fn make_room(
        &mut self,
        log: LogName,
        len: usize,
        at: Moment,
        purse: &mut Purse<'_>,
    ) -> Result<(), NoRoom> {
        let open = self.log(log).open.map(|number| self.segment(number as usize));
        if !open.is_some_and(|segment| has_room(segment, len, at)) {
            let bytes = self.segment_for_new(len, at, purse)?;
            // One more than are wanted is the first to be taken.
            self.spares.push(bytes);
        }
        Ok(())
    }

    /// Room for an item that leaves its segment: in the open one or the spare ones.
    pub(super) fn allocate_survivor(
        &mut self,
        log: LogName,
        layout: Layout,
        at: Moment,
    ) -> Option<Place> {
        if let Some(place) = self.allocate_open(log, layout.len(), at) {
            return Some(place);
        }
        let spare = self.spares.pop()?;
        Some(self.allocate_across(log, spare, layout, at))
    }

    /// Room in the open segment of a log, where there is enough.
    fn allocate_open(&mut self, log: LogName, len: usize, at: Moment) -> Option<Place> {
        let number = self.log(log).open? as usize;
        let segment = self.segment_mut(number);
        if !has_room(segment, len, at) {
            return None;
        }
        let place = Place { segment: number, at: segment.used_len };
        segment.used_len += len;
        segment.last_at = place.at;
        self.count_new(place, len);
        Some(place)
    }

    /// Room in what is left of the open segment and in a new one; in that alone where head and key would not
    /// fit.
    fn allocate_across(&mut self, log: LogName, bytes: Piece, layout: Layout, at: Moment) -> Place {
        let before = self.log(log).open;
        let number = self.open(log, bytes, at);
        let mut place = Place { segment: number as usize, at: 0 };
        let mut carried_len = layout.len();
        if let Some(before) = before {
            let segment = self.segment_mut(before as usize);
            let room = segment.bytes.len() - segment.used_len;
            if segment.generation == at.generation && room >= layout.front_len() {
                place = Place { segment: before as usize, at: segment.used_len };
                segment.used_len += room;
                segment.last_at = place.at;
                segment.next = Link::to(number as usize);
                carried_len -= room;
                let segment = self.segment_mut(number as usize);
                segment.previous = Link::to(before as usize);
                segment.carried_len = carried_len;
            }
        }
        self.segment_mut(number as usize).used_len = carried_len;
        self.count_new(place, layout.len());
        place
    }

    /// Counts a new record, and lets the clock of the policy go on.
    fn count_new(&mut self, place: Place, len: usize) {
        self.count_live(place, len);
        self.stats.used_bytes += len as u64;
        self.since_tick += len as u64;
        if self.since_tick * TICKS_PER_MEMORY >= self.stats.used_bytes {
            self.since_tick = 0;
            self.clock = self.clock.wrapping_add(1);
        }
    }

    /// Begins a segment at the head of a log.
    fn open(&mut self, name: LogName, bytes: Piece, at: Moment) -> u32 {
        let number = self.vacant.pop().unwrap_or_else(|| {
            self.segments.push(None);
            self.segments_address.store(self.segments.as_ptr().addr(), Relaxed);
            u32::try_from(self.segments.len() - 1).expect("fewer than 2^32 segments")
        });
        // Without an address there is no prefetching, and nothing worse.
        if self.addresses.ensure(number as usize / 8) {
            self.set_address(number, bytes.as_ptr().addr());
        }
        self.segments[number as usize] = Some(Segment {
            bytes,
            used_len: 0,
            live_len: 0,
            carried_len: 0,
            last_at: 0,
            previous: Link::NONE,
            next: Link::NONE,
            generation: at.generation,
            begun_s: seconds(at.now.ms),
            begun: self.clock,
            earliest_s: seconds(Deadline::NEVER.ms()),
            swept_s: seconds(at.now.ms),
            log: name,
        });
        let log = self.log_mut(name);
        let full = log.open.replace(number);
        log.sealed.extend(full);
        number
    }

    fn set_address(&self, number: u32, address: usize) {
        if let Some(addresses) = self.addresses.try_get(number as usize / 8) {
            addresses[number as usize % 8].store(address as u64, Relaxed);
        }
    }

    /// Takes a segment out of its log, in which it stands at this position; its bytes.
    pub(super) fn close(&mut self, number: u32, position: usize) -> Piece {
        let segment = self.segments[number as usize].take().expect("it is held");
        debug_assert_eq!(segment.live_len, 0, "nothing lives in it");
        if let Some(next) = segment.next.get() {
            self.segment_mut(next).previous = Link::NONE;
        }
        if let Some(previous) = segment.previous.get() {
            self.segment_mut(previous).next = Link::NONE;
        }
        self.stats.used_bytes -= segment.used_len as u64;
        let closed = self.log_mut(segment.log).sealed.remove(position);
        debug_assert_eq!(closed, Some(number), "it stands where it was found");
        self.set_address(number, 0);
        self.vacant.push(number);
        segment.bytes
    }

    /// How much must be free before a shard takes so much. A shard that has its share while there is
    /// little left must free as much itself: else those that take first would starve the others.
    fn wanted(&self, needed: u64, pool: &Pool) -> u64 {
        let is_tight = !pool.has(pool.budget.limit() / 64);
        let has_its_share = is_tight && self.taken(pool) > pool.fair_share();
        if has_its_share { pool.free() + needed } else { needed }
    }

    /// Spare segments that a victim's survivors may need: the records that pass from it to its neighbours go whole.
    pub(super) fn spares_wanted(&self) -> usize {
        if self.wide_count > 0 || self.expects_wide { 3 } else { 1 }
    }

    /// Takes spare segments while some are missing and there are any.
    fn fill_spares(&mut self, mut take: impl FnMut() -> Option<Piece>) {
        while self.spares.len() < self.spares_wanted()
            && let Some(bytes) = take()
        {
            self.spares.push(bytes);
        }
    }

    pub(super) fn is_wide(&self, len: usize) -> bool {
        len > self.segment_len() / WIDE_FRACTION
    }

    /// A segment for new records.
    fn segment_for_new(
        &mut self,
        record_len: usize,
        at: Moment,
        purse: &mut Purse<'_>,
    ) -> Result<Piece, NoRoom> {
        let pool = purse.pool;
        self.expects_wide |= self.is_wide(record_len);
        self.fill_spares(|| purse.segments.pop().or_else(|| pool.take()));
        if let Some(bytes) = purse.segments.pop() {
            return Ok(bytes);
        }
        let missing = self.spares_wanted().saturating_sub(self.spares.len()) as u64;
        match self.free_segment(!pool.is_loose(), at, pool) {
            Reclaimed::Segment(bytes) if missing == 0 => Ok(bytes),
            Reclaimed::Segment(bytes) => {
                self.spares.push(bytes);
                Err(NoRoom::Needs(pool.charge(missing)))
            }
            Reclaimed::Paused | Reclaimed::Nothing => Err(NoRoom::Needs(pool.charge(1 + missing))),
        }
    }

    /// A segment: what was made ready for it, one of the pool, or one that is reclaimed for it.
    fn free_segment(&mut self, may_evict: bool, at: Moment, pool: &Pool) -> Reclaimed {
        let mut budget = HOLD_LEN;
        let mut from_pool = true;
        loop {
            if self.spares.len() > self.spares_wanted() {
                return self.spares.pop().map_or(Reclaimed::Nothing, Reclaimed::Segment);
            }
            let wanted = self.wanted(pool.charge(1), pool);
            if from_pool && pool.has(wanted) {
                match pool.take() {
                    Some(bytes) => return Reclaimed::Segment(bytes),
                    // The system has no memory.
                    None => from_pool = false,
                }
            }
            // Bodies of large values come free while their items are read.
            let enough = || from_pool && pool.has(wanted);
            match self.reclaim(may_evict, &mut budget, at, pool, enough) {
                Reclaimed::Paused if budget > 0 && enough() => {}
                reclaimed => return reclaimed,
            }
        }
    }

    /// A segment for another shard, or for a large value; it may take several calls.
    pub(in crate::store) fn free(&mut self, may_evict: bool, at: Moment, pool: &Pool) -> Reclaimed {
        self.fill_spares(|| pool.take());
        self.free_segment(may_evict, at, pool)
    }

    /// Does as much of the work as it takes for the next segment to be free when a log has no room left, for what was
    /// written there last: so no set has to wait for all of it. A store does that before anything else; meanwhile the
    /// memory fetches what it will read.
    pub(super) fn work_ahead(&mut self, at: Moment, pool: &Pool) {
        let Some((log, record_len)) = self.work_for.take() else {
            return;
        };
        let needed = pool.charge(1);
        let is_free = || pool.has(needed) && pool.has(self.wanted(needed, pool));
        if self.spares.len() > self.spares_wanted() || is_free() {
            return;
        }
        // As much as the last time, and a bit, over the room that is left.
        let expected_len = self.last_work_len.max(self.segment_len());
        let to_do_len = expected_len.saturating_sub(self.work_len) + self.segment_len() / 8;
        let room = self
            .log(log)
            .open
            .map_or(0, |number| self.segment_len() - self.segment(number as usize).used_len);
        self.work_due_len += (record_len * to_do_len / room.max(record_len)).min(HOLD_LEN);
        let may_evict = self.evictions_allowed && !pool.is_loose();
        // A segment is compacted, and searched for what is dead, as a whole.
        if (!may_evict || self.is_loose()) && self.work_due_len < self.segment_len() {
            return;
        }
        let mut budget = self.work_due_len.min(HOLD_LEN);
        match self.reclaim(may_evict, &mut budget, at, pool, || false) {
            Reclaimed::Segment(bytes) => self.spares.push(bytes),
            Reclaimed::Paused => {}
            // Looking again at once is in vain.
            Reclaimed::Nothing => budget = 0,
        }
        self.work_due_len = budget;
    }
}
