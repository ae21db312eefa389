//! Dead items that nobody reads: found before they are the oldest of their log, and their memory made use of.

use super::super::Moment;
use super::super::segment::{Pool, Segment, seconds};
use super::reclaim::Search;
use super::{Place, Shard};

/// Between two looks at the same segment, in seconds.
pub(in crate::store) const SWEEP_PAUSE_S: u32 = 20;
/// As many segments are asked whether they have dead items under one hold of the lock.
const STEP_COUNT: usize = 1024;

/// How far a search for dead items has come that goes around all segments, a little under each hold of the lock.
#[derive(Debug, Default)]
pub(super) struct Round {
    /// The segment that is asked next.
    next: usize,
    /// So many in a row were asked in vain.
    vain_count: usize,
    /// When the first of those was asked.
    begun: Option<Moment>,
}

impl Shard {
    /// Does a little of what is to do while nobody waits: forgets dead items, and moves together what lives in
    /// segments that are half dead. False when all is done for now.
    pub(in crate::store) fn maintain(&mut self, pause_s: u32, at: Moment, pool: &Pool) -> bool {
        for _ in 0..STEP_COUNT {
            let number = self.sweep_cursor;
            if number >= self.segments.len() {
                let goes_on = self.tidy(at, pool);
                self.sweep_cursor = if goes_on { number } else { 0 };
                return goes_on;
            }
            self.sweep_cursor += 1;
            if self.has_dead(number, at)
                && seconds(at.now.ms) >= self.segment(number).swept_s + pause_s
            {
                self.sweep(number, at, pool);
                return true;
            }
        }
        true
    }

    /// Frees a segment that is half dead; whether there may be another.
    fn tidy(&mut self, at: Moment, pool: &Pool) -> bool {
        if self.spares.is_empty() {
            self.spares.extend(pool.take());
        }
        let mut circle = std::mem::take(&mut self.tidy_circle);
        let search = self.search(&mut circle, 1);
        self.tidy_circle = circle;
        let loose = match search {
            Search::Found(loose) => loose,
            Search::Unfinished => return true,
            Search::InVain => return false,
        };
        let bytes = self.compact(loose, at, pool);
        self.publish_dead(pool);
        if self.spares.len() < self.spares_wanted() {
            self.spares.push(bytes);
        } else {
            pool.give(bytes);
        }
        true
    }

    /// Forgets the dead items of one segment that has any, going on where the last search stopped, and stops where the
    /// `budget` of bytes to be read ends. False when all segments were asked in vain.
    pub(super) fn sweep_due(&mut self, budget: &mut usize, at: Moment, pool: &Pool) -> bool {
        while *budget > 0 {
            if self.round.vain_count == 0 {
                self.round.begun = Some(at);
            }
            if self.round.vain_count >= self.segments.len() {
                self.round.vain_count = 0;
                // What was asked before may have died since.
                let is_recent =
                    |begun: Moment| begun.now.ms >= at.now.ms && begun.generation >= at.generation;
                if self.round.begun.is_some_and(is_recent) {
                    return false;
                }
                continue;
            }
            let number = self.round.next % self.segments.len();
            self.round.next = number + 1;
            self.round.vain_count += 1;
            let has_dead = self.has_dead(number, at);
            let used_len = if has_dead { self.segment(number).used_len } else { 0 };
            let read_len = size_of::<Segment>() + used_len;
            *budget = budget.saturating_sub(read_len);
            self.work_len += read_len;
            if has_dead && self.sweep(number, at, pool) {
                self.round.vain_count = 0;
                return true;
            }
        }
        true
    }

    /// Whether a segment is held and some of its items may be dead.
    fn has_dead(&self, number: usize, at: Moment) -> bool {
        self.segments[number].as_ref().is_some_and(|segment| {
            let is_due =
                segment.earliest_s <= seconds(at.now.ms) || segment.generation < at.generation;
            is_due && segment.live_len > 0
        })
    }

    /// Forgets the dead items of a segment; whether there were any.
    fn sweep(&mut self, number: usize, at: Moment, pool: &Pool) -> bool {
        let before = self.stats.reclaimed;
        let segment = self.segment(number);
        let is_flushed = segment.generation < at.generation;
        let used_len = segment.used_len;
        let mut place = Place { segment: number, at: segment.carried_len };
        let mut earliest_ms = u64::MAX;
        while place.at < used_len {
            let bytes = self.bytes(place);
            let layout = self.format.parse(bytes);
            let deadline = layout.deadline(bytes);
            if is_flushed || deadline.is_due(at.now) {
                let hash = self.hasher.hash_one(layout.key(bytes));
                if let Some(found) = self.item_at(place, layout, hash) {
                    let extent = self.extent(layout, bytes);
                    self.reclaim_dead(found, extent, pool);
                }
            } else {
                earliest_ms = earliest_ms.min(deadline.ms());
            }
            place.at += layout.len();
        }
        let segment = self.segment_mut(number);
        segment.earliest_s = seconds(earliest_ms);
        segment.swept_s = seconds(at.now.ms);
        self.stats.sweeps += 1;
        self.stats.reclaimed > before
    }
}
