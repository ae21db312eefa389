//! Where memory comes from when there is none: victims, and what of them survives.
//!
//! What the policy wants to keep of the small log is copied to the main one; where that is nearly all of a segment, the
//! segment goes over as it is.
//!
//! While much is dead, a segment is had by moving together what lives, and nothing is evicted: as long as there is one
//! among those looked at for which that costs little enough.

use super::super::Moment;
use super::super::block::Piece;
use super::super::eviction::{Fate, Judged, TRIES_MAX};
use super::super::exptime::Deadline;
use super::super::item::{self, FRONT_LEN_MAX, Layout};
use super::super::prefetch::prefetch_all;
use super::super::segment::{DEAD_FRACTION, Link, LogName, Pool, Segment};
use super::{Found, Place, Shard};
use arrayvec::ArrayVec;
use std::collections::VecDeque;

/// So many items of a victim are looked at ahead of the one that is judged.
const AHEAD_COUNT: usize = 16;
/// Their overflow buckets are asked for so many items ahead, and their own bytes so many bytes before that: as many as an
/// item has, and no more than this, behind which the processor goes on by itself.
const CHAIN_AHEAD: usize = 6;
const NEAR_LEN: usize = 512;
const FETCHED_LEN_MAX: usize = 1024;
/// So many bytes of a victim are asked for before its first item is looked at.
const FIRST_LEN: usize = 4096;
/// As much is read through for one segment, or two victims, before the demands on what may survive rise, in bytes.
const PATIENCE_LEN: usize = 64 * 1024;
/// A record that passes from one segment to the next is copied in pieces of this many bytes.
const PIECE_LEN: usize = 1024;
/// Among so many segments the one that is compacted at the least cost is looked for.
const CANDIDATES_MAX: usize = 256;
/// So many segments at most are looked at as one.
const RUN_MAX: usize = 8;
/// Memory is worth moving so many bytes of living items for each byte that comes free.
const COST_MAX: usize = 48;

/// So many segments at most go over to the main log before a victim is found: whoever stores waits for it.
const KEPT_WHOLE_MAX: usize = 8;
/// So many items are asked about for each victim, to see how many the policy would keep of all that there are.
const SAMPLE_COUNT: usize = 16;

/// Which items of a segment survive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rule {
    /// All that live: it has much that is dead.
    Compact,
    /// Those that the policy wants to keep.
    Evict,
}

/// How far a search for a segment to compact has come that goes around all, and when it began. After a circle in vain,
/// another one is so too until much more is dead.
#[derive(Debug, Default)]
pub(super) struct Circle {
    /// So many segments in a row were not worth it.
    vain_count: usize,
    dead_len: u64,
    spare_count: usize,
}

/// What came of a look for a segment to compact.
#[derive(Debug)]
pub(super) enum Search {
    Found(Loose),
    /// There are others to be looked at.
    Unfinished,
    /// None is worth it.
    InVain,
}

/// A segment that is being given up. The keys and lengths of its items do not change any more.
#[derive(Debug)]
pub(super) struct Victim {
    number: u32,
    /// How far it was read.
    position: usize,
    /// Bytes of its items that survive.
    kept_len: usize,
    /// The hashes of the next items' keys.
    ahead: VecDeque<u64>,
    /// How far these go.
    ahead_position: usize,
}

/// A segment that is worth compacting, and where it stands in its log: there until one before it is closed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Loose {
    pub(super) number: u32,
    position: usize,
}

/// What reading victims brought.
#[derive(Debug)]
pub(in crate::store) enum Reclaimed {
    Segment(Piece),
    /// Nothing yet; there is more to read.
    Paused,
    /// Nothing, and there is nothing to read.
    Nothing,
}

impl Shard {
    /// Compacts segments and reads through victims, as many bytes of them as the `budget` says and until there is
    /// `enough`. The first ones may replace the spare segments. Nothing living goes unless it `may_evict`.
    pub(super) fn reclaim(
        &mut self,
        may_evict: bool,
        budget: &mut usize,
        at: Moment,
        pool: &Pool,
        enough: impl Fn() -> bool,
    ) -> Reclaimed {
        let may_evict = may_evict && self.evictions_allowed;
        loop {
            if *budget == 0 || enough() {
                return Reclaimed::Paused;
            }
            let before = *budget;
            let search = if !may_evict || self.is_loose() {
                let mut circle = std::mem::take(&mut self.compact_circle);
                let search = self.search(&mut circle, COST_MAX);
                self.compact_circle = circle;
                search
            } else {
                Search::InVain
            };
            if let Search::Unfinished = search {
                *budget = budget.saturating_sub(CANDIDATES_MAX * size_of::<Segment>());
                continue;
            }
            let bytes = if let Search::Found(loose) = search {
                // Reading nothing is work too, or there might be no end of it.
                let used_len = self.segment(loose.number as usize).used_len;
                let read_len = used_len.max(self.load(loose.number)).max(1);
                *budget = budget.saturating_sub(read_len);
                self.work_len += read_len;
                self.compact(loose, at, pool)
            } else if may_evict {
                let Some(victim) = self.victim.take().or_else(|| self.choose_victim(at, pool))
                else {
                    return Reclaimed::Nothing;
                };
                let victim = self.read_victim(victim, Rule::Evict, budget, at, pool, &enough);
                self.read_len += before - *budget;
                self.work_len += before - *budget;
                let Segment { log, used_len, .. } = *self.segment(victim.number as usize);
                if victim.position < used_len {
                    self.victim = Some(victim);
                    continue;
                }
                self.policy.judged(log, used_len, victim.kept_len);
                self.close(victim.number, 0)
            } else if !self.evictions_allowed && self.sweep_due(budget, at, pool) {
                continue;
            } else {
                return Reclaimed::Nothing;
            };
            self.publish_dead(pool);
            if self.spares.len() < self.spares_wanted() {
                self.spares.push(bytes);
                continue;
            }
            self.read_len = 0;
            self.last_work_len = std::mem::take(&mut self.work_len);
            return Reclaimed::Segment(bytes);
        }
    }

    /// Looks at some segments for one to compact, going on where the last look stopped.
    pub(super) fn search(&mut self, circle: &mut Circle, cost_max: usize) -> Search {
        let count = self.small.sealed.len() + self.main.sealed.len();
        let (dead_len, spare_count) = (self.dead_len(), self.spares.len());
        if circle.vain_count >= count {
            let step_len = (self.segment_len() as u64 / 4).max(circle.dead_len / 16);
            if spare_count <= circle.spare_count && dead_len.abs_diff(circle.dead_len) < step_len {
                return Search::InVain;
            }
            circle.vain_count = 0;
        }
        if circle.vain_count == 0 {
            (circle.dead_len, circle.spare_count) = (dead_len, spare_count);
        }
        if let Some(loose) = self.compactable(cost_max) {
            circle.vain_count = 0;
            return Search::Found(loose);
        }
        circle.vain_count += CANDIDATES_MAX;
        if circle.vain_count < count { Search::Unfinished } else { Search::InVain }
    }

    /// Whether so much is dead here that moving together what lives comes before evicting.
    pub(super) fn is_loose(&self) -> bool {
        self.dead_len() * DEAD_FRACTION > self.held_len()
    }

    /// Bytes of the logs' segments.
    fn held_len(&self) -> u64 {
        (self.small.segment_count() + self.main.segment_count()) << self.segment_shift
    }

    /// The segment to give up next.
    fn choose_victim(&mut self, at: Moment, pool: &Pool) -> Option<Victim> {
        let mut number = self.oldest()?;
        for _ in 0..KEPT_WHOLE_MAX {
            if !self.is_kept_whole(number, at) {
                break;
            }
            self.keep_whole(number);
            number = self.oldest()?;
        }
        self.settle_first(number as usize, at, pool);
        let victim = self.first_look(number);
        let bytes = &self.segment(number as usize).bytes[victim.position..];
        prefetch_all(&bytes[..bytes.len().min(FIRST_LEN)]);
        if self.policy.has_small_log() {
            self.sample();
        }
        Some(victim)
    }

    /// The oldest segment of the log that is to give one, or of the other.
    fn oldest(&mut self) -> Option<u32> {
        let body_len = |log: &super::Log| log.body_count << self.segment_shift;
        let small_len = (self.small.segment_count() << self.segment_shift) + body_len(&self.small);
        let all_len = self.held_len() + body_len(&self.small) + body_len(&self.main);
        let names = match self.policy.victim(small_len, all_len) {
            LogName::Small => [LogName::Small, LogName::Main],
            LogName::Main => [LogName::Main, LogName::Small],
        };
        let sealed = names.iter().find_map(|name| self.log(*name).sealed.front().copied());
        sealed.or_else(|| {
            // All there is stands in the open segments.
            names.iter().find_map(|name| {
                let log = self.log_mut(*name);
                let number = log.open.take()?;
                log.sealed.push_back(number);
                Some(number)
            })
        })
    }

    /// Whether a segment of the small log goes over to the main one as it is: where the policy would keep all of its
    /// first items, copying them one by one brings next to nothing. Bodies are counted by log, and stay where they are.
    fn is_kept_whole(&self, number: u32, at: Moment) -> bool {
        let segment = self.segment(number as usize);
        if segment.log != LogName::Small
            || !self.policy.has_small_log()
            || self.small.body_count > 0
            || segment.generation != at.generation
            || self.main.sealed.is_empty()
            || self.small.sealed.front() != Some(&number)
        {
            return false;
        }
        let mut position = segment.carried_len;
        let mut items = ArrayVec::<_, SAMPLE_COUNT>::new();
        while position < segment.used_len && !items.is_full() {
            let item = &segment.bytes[position..];
            let layout = self.format.parse(item);
            let hash = self.hasher.hash_one(layout.key(item));
            self.index.table.prefetch(hash);
            items.push((hash, Place { segment: number as usize, at: position }));
            position += layout.len();
        }
        let Segment { log, begun, .. } = *segment;
        let is_kept = |(hash, place): &(u64, Place)| {
            self.index.find(*hash, self.location(*place)).is_some_and(|found| {
                let judged = Judged { log, begun, tries: 0 };
                matches!(self.policy.judge(judged, found.mark(), self.clock), Fate::Keep { .. })
            })
        };
        items.is_full() && items.iter().all(is_kept)
    }

    /// Lets the oldest segment of the small log go over to the main one.
    fn keep_whole(&mut self, number: u32) {
        self.small.sealed.pop_front();
        self.segment_mut(number as usize).log = LogName::Main;
        self.main.sealed.push_back(number);
    }

    /// Moves the item that ends in a segment that is given up, and begins in one that is not.
    fn settle_first(&mut self, number: usize, at: Moment, pool: &Pool) {
        if let Some(previous) = self.segment(number).previous.get()
            && self.segment(number).live_len > 0
        {
            let place = Place { segment: previous, at: self.segment(previous).last_at };
            let bytes = std::mem::take(&mut self.segment_mut(previous).bytes);
            let item = &bytes[place.at..];
            let layout = self.format.parse(item);
            let hash = self.hasher.hash_one(layout.key(item));
            self.judge(place, (layout, hash), item, Rule::Compact, at, pool);
            self.segment_mut(previous).bytes = bytes;
        }
    }

    /// Asks the policy about some items, wherever they are.
    fn sample(&mut self) {
        let randoms: [u64; SAMPLE_COUNT] =
            std::array::from_fn(|_| self.hasher.hash_one(self.heat.next_sample()));
        for random in randoms {
            self.index.table.prefetch(random);
        }
        for random in randoms {
            let Some((location, mark)) = self.index.any(random) else {
                continue;
            };
            let Segment { log, begun, .. } = *self.segment(self.place(location).segment);
            if log == LogName::Main {
                let fate = self.policy.judge(Judged { log, begun, tries: 0 }, mark, self.clock);
                self.heat.note(matches!(fate, Fate::Keep { .. }));
            }
        }
    }

    /// A victim of which nothing is read yet.
    fn first_look(&self, number: u32) -> Victim {
        let segment = self.segment(number as usize);
        let position = if segment.live_len > 0 { segment.carried_len } else { segment.used_len };
        let ahead = VecDeque::with_capacity(AHEAD_COUNT);
        Victim { number, position, kept_len: 0, ahead, ahead_position: position }
    }

    /// Moves what lives in a segment that is [`Self::compactable`]; its bytes.
    pub(super) fn compact(&mut self, loose: Loose, at: Moment, pool: &Pool) -> Piece {
        let Loose { number, position } = loose;
        self.settle_first(number as usize, at, pool);
        let victim = self.first_look(number);
        self.read_victim(victim, Rule::Compact, &mut { usize::MAX }, at, pool, || false);
        self.close(number, position)
    }

    /// The segment of some that is compacted at the least cost for each byte that it brings, if that is so much at
    /// most, and what lives has where to go. Not the one that is being given up. Where there is none, the first one of a
    /// run that is worth it as a whole.
    fn compactable(&mut self, cost_max: usize) -> Option<Loose> {
        let (small, main) = (&self.small.sealed, &self.main.sealed);
        let count = small.len() + main.len();
        let start = if count > CANDIDATES_MAX { self.compact_cursor % count } else { 0 };
        self.compact_cursor = start + CANDIDATES_MAX;
        let sealed = (start..start + count.min(CANDIDATES_MAX)).map(|index| {
            let index = index % count;
            match small.get(index) {
                Some(number) => Loose { number: *number, position: index },
                None => Loose { number: main[index - small.len()], position: index - small.len() },
            }
        });
        let movable = sealed.filter(|loose| self.is_movable(loose.number));
        let worth_it = movable.clone().filter_map(|loose| {
            // What its neighbours lose is dead there then.
            let load = self.load(loose.number);
            let gain = self.segment(loose.number as usize).used_len.saturating_sub(load);
            (gain > 0 && load <= gain * cost_max).then_some((loose, gain, load))
        });
        // Fractions are compared without dividing.
        let best = worth_it
            .reduce(|best, other| if other.2 * best.1 < best.2 * other.1 { other } else { best })
            .map(|(loose, ..)| loose);
        // Where no record is long, the segments beside one matter little.
        let mut movable = movable.filter(|_| self.wide_count > 0);
        best.or_else(|| movable.find(|loose| self.begins_run(loose.number, cost_max)))
    }

    /// Whether what lives in a segment has where to go, and it is not the one that is being given up.
    fn is_movable(&self, number: u32) -> bool {
        // From one spare segment to the next, a record may leave room behind that it cannot use.
        let room = (self.spares.len() << self.segment_shift)
            .saturating_sub(FRONT_LEN_MAX * self.spares.len().saturating_sub(1));
        self.load(number) <= room && !self.is_victim(number as usize)
    }

    fn is_victim(&self, number: usize) -> bool {
        self.victim.as_ref().is_some_and(|victim| victim.number as usize == number)
    }

    /// Whether moving what lives in a segment and in those that its records lead to is worth it, where it is not for any
    /// single one: records nearly as long as segments have their dead bytes in pieces between them. Each step of it
    /// leaves a run that is worth more.
    fn begins_run(&self, first: u32, cost_max: usize) -> bool {
        let mut number = first as usize;
        let (mut used_len, mut load) = (0, self.load(first));
        for _ in 0..RUN_MAX {
            let segment = self.segment(number);
            used_len += segment.used_len;
            let gain = used_len.saturating_sub(load);
            if gain > 0 && load <= gain * cost_max {
                return true;
            }
            let Some(next) = segment.next.get() else {
                return false;
            };
            let is_open = [&self.small, &self.main]
                .iter()
                .any(|log| log.open.is_some_and(|open| open as usize == next));
            if is_open || self.is_victim(next) {
                return false;
            }
            number = next;
            let Segment { live_len, carried_len, .. } = *self.segment(number);
            load += live_len + self.len_behind(number) - carried_len;
        }
        false
    }

    /// Bytes of the last record of a segment that are in the next one.
    fn len_behind(&self, number: usize) -> usize {
        self.segment(number).next.get().map_or(0, |next| self.segment(next).carried_len)
    }

    /// Bytes at most that must find room elsewhere before a segment is free: what lives in it, and what its first
    /// and its last record have in the segments beside it.
    fn load(&self, number: u32) -> usize {
        let segment = self.segment(number as usize);
        if segment.live_len == 0 {
            return 0;
        }
        let before = segment
            .previous
            .get()
            .map_or(0, |previous| self.segment_len() - self.segment(previous).last_at);
        segment.live_len + before + self.len_behind(number as usize)
    }

    /// Reads on through a victim; how far it came.
    fn read_victim(
        &mut self,
        mut victim: Victim,
        rule: Rule,
        budget: &mut usize,
        at: Moment,
        pool: &Pool,
        enough: impl Fn() -> bool,
    ) -> Victim {
        let number = victim.number as usize;
        let used_len = self.segment(number).used_len;
        let bytes = std::mem::take(&mut self.segment_mut(number).bytes);
        while victim.position < used_len {
            // What lives in a segment that is compacted has room now, and may have none later.
            if rule != Rule::Compact && (*budget == 0 || enough()) {
                break;
            }
            let position = victim.position;
            self.look_ahead(&bytes[..used_len], &mut victim);
            let hash = victim.ahead.pop_front().expect("there is an item at the position");
            let layout = self.format.parse(&bytes[position..]);
            let place = Place { segment: number, at: position };
            let end = position + layout.len();
            // A record whose rest is not held any more is dead.
            let is_held = end <= bytes.len() || self.segment(number).next != Link::NONE;
            let item = &bytes[position..end.min(bytes.len())];
            let is_kept = is_held && self.judge(place, (layout, hash), item, rule, at, pool);
            victim.kept_len += if is_kept { layout.len() } else { 0 };
            victim.position = end;
            *budget = budget.saturating_sub(layout.len());
        }
        self.segment_mut(number).bytes = bytes;
        victim
    }

    /// Looks at the next items of a victim and asks for all that judging them needs: waiting for it, one item after the
    /// other, is most of the time that a victim takes.
    fn look_ahead(&self, bytes: &[u8], victim: &mut Victim) {
        while victim.ahead_position < bytes.len() && victim.ahead.len() < AHEAD_COUNT {
            let item = &bytes[victim.ahead_position..];
            let layout = self.format.parse(item);
            let hash = self.hasher.hash_one(layout.key(item));
            self.index.table.prefetch(hash);
            self.ghost.table.prefetch(hash);
            victim.ahead.push_back(hash);
            victim.ahead_position += layout.len();
            let near = bytes.get(victim.ahead_position + NEAR_LEN..).unwrap_or_default();
            prefetch_all(&near[..near.len().min(layout.len()).min(FETCHED_LEN_MAX)]);
        }
        // The bucket of one that is nearer has come by now, and says whether there is another.
        if let Some(hash) = victim.ahead.get(CHAIN_AHEAD) {
            self.index.table.prefetch_next(*hash);
        }
    }

    /// Lets one item of a victim survive, or forgets it; whether it survives. `item` is what of it is in its segment.
    fn judge(
        &mut self,
        place: Place,
        (layout, hash): (Layout, u64),
        item: &[u8],
        rule: Rule,
        at: Moment,
        pool: &Pool,
    ) -> bool {
        let Some(found) = self.item_at(place, layout, hash) else {
            return false;
        };
        let mark = found.mark;
        let Segment { log, generation, begun, .. } = *self.segment(place.segment);
        if generation < at.generation || layout.deadline(item).is_due(at.now) {
            self.reclaim_dead(found, self.extent(layout, item), pool);
            return false;
        }
        let tries = if log == LogName::Main && self.heat.is_all_hot() {
            TRIES_MAX
        } else {
            self.read_len / PATIENCE_LEN.max(2 * self.segment_len())
        };
        let fate = match rule {
            Rule::Compact => Fate::Keep { log, mark },
            Rule::Evict if tries >= TRIES_MAX => Fate::Evict { remember: true },
            Rule::Evict => self.policy.judge(Judged { log, begun, tries }, mark, self.clock),
        };
        let remember = match fate {
            Fate::Keep { log, mark } => {
                if let Some(new) = self.allocate_survivor(log, layout, at) {
                    self.move_item(Found { mark, ..found }, item, new);
                    return true;
                }
                // No spare segment is left for it.
                true
            }
            Fate::Evict { remember } => remember,
        };
        if remember {
            self.ghost.insert(hash);
        }
        if let Some(witness) = pool.eviction_witness() {
            witness.evicted(&self.listed(layout, item, at), at.now);
        }
        self.index.remove(hash, found.slot);
        self.bury(place, self.extent(layout, item), pool);
        self.stats.evictions += 1;
        self.stats.evicted_unfetched += u64::from(!layout.is_fetched());
        self.stats.evicted_nonzero += u64::from(layout.deadline(item) != Deadline::NEVER);
        self.stats.evicted_time_s = item::idle_s(item, at.now.ms);
        false
    }

    /// Copies an item to where it goes on living, with the mark that was found.
    fn move_item(&mut self, found: Found, item: &[u8], new: Place) {
        let layout = found.layout;
        self.write_at(new, 0, item);
        if item.len() < layout.len() {
            self.move_rest(found.place.segment, item.len(), layout.len(), new);
        }
        self.note_deadline(new, layout.deadline(item));
        self.move_body(layout.body(item), found.place, new);
        self.count_dead(found.place, layout.len());
        self.index.relocate(found.slot, self.location(new), found.mark);
        self.stats.moved_bytes += layout.len() as u64;
    }

    /// Copies what of a record is in the segment behind its own, piece by piece: both may be in one segment, and
    /// there may be no memory for a copy of all of it.
    #[cold]
    fn move_rest(&mut self, segment: usize, front_len: usize, len: usize, new: Place) {
        let mut piece = [0; PIECE_LEN];
        let mut moved_len = front_len;
        while moved_len < len {
            let piece = &mut piece[..PIECE_LEN.min(len - moved_len)];
            let from = moved_len - front_len;
            piece.copy_from_slice(
                &self.segment(self.next_of(segment)).bytes[from..from + piece.len()],
            );
            self.write_at(new, moved_len, piece);
            moved_len += piece.len();
        }
    }
}
