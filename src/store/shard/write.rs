//! How an item gets into a log: over the old one where it fits, else at the head.

use super::super::exptime::Deadline;
use super::super::index::Index;
use super::super::item::{self, Layout, Marks, NewItem, Tags};
use super::super::large::{Body, body_len, fill};
use super::super::lines::STEP_BYTES;
use super::super::segment::{LogName, Pool, Purse};
use super::super::{Key, Moment, NoRoom, StoreMode, Stored, Write};
use super::{Found, Place, Shard};
use std::sync::Arc;

/// An index that is refused memory so often while the limit leaves room is refused it by the system.
const REFUSED_MAX: u32 = 4;

/// An item to be stored.
#[derive(Debug, Clone, Copy)]
pub(super) struct Put<'a> {
    pub(super) key: Key<'a>,
    /// What is under the key now.
    pub(super) found: Option<Found>,
    /// Of a large value: what its body does not hold.
    pub(super) value: &'a [u8],
    pub(super) flags: u32,
    pub(super) deadline: Deadline,
    pub(super) cas_unique: u64,
    pub(super) tags: Tags,
}

impl<'a> Put<'a> {
    fn item(self, body: Option<u32>, at: Moment) -> NewItem<'a> {
        let Self { key, found: _, value, flags, deadline, cas_unique, tags } = self;
        let now_ms = at.now.ms;
        NewItem { key: key.bytes, value, body, flags, deadline, cas_unique, tags, now_ms }
    }
}

/// What a new record takes the place of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Replaces {
    /// Nothing is under its key.
    Nothing,
    /// The present item, if making room has not evicted it.
    Item,
    /// The present item but its body, which goes over to the new one: it is not written where making room has evicted
    /// that.
    AllButBody,
}

/// What an item is marked with when a value was joined to its own.
fn joined_tags(old: Layout, write: &Write<'_>) -> Tags {
    old.tags().and(Tags::BASE64).with(Tags::BASE64.when(write.is_base64))
}

impl Shard {
    /// Puts an item under a key. The `body` of its value is taken, unless there is no room.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "most are written over what they replace")]
    pub(super) fn put(
        &mut self,
        put: Put<'_>,
        body: &mut Option<Body>,
        at: Moment,
        purse: &mut Purse<'_>,
    ) -> Result<(), NoRoom> {
        if let (Some(found), None) = (put.found, &body)
            && self.put_over(found, &put.item(None, at))
        {
            return Ok(());
        }
        self.put_elsewhere(put, body, at, purse)
    }

    /// The same where the present item gives no place for it.
    #[inline(never)]
    fn put_elsewhere(
        &mut self,
        put: Put<'_>,
        body: &mut Option<Body>,
        at: Moment,
        purse: &mut Purse<'_>,
    ) -> Result<(), NoRoom> {
        let len = body.as_ref().map_or(0, Body::len) + put.value.len();
        let size = self.item_size.of(put.key.bytes.len(), put.flags, len);
        let replaces = if put.found.is_some() { Replaces::Item } else { Replaces::Nothing };
        let Some(whole) = body.take() else {
            self.append(put.key, replaces, &put.item(None, at), at, purse)?;
            self.stats.bytes += size;
            return Ok(());
        };
        let number = self.bodies.insert(whole);
        let new = put.item(Some(number), at);
        match self.append(put.key, replaces, &new, at, purse) {
            Ok(log) => {
                let log = log.expect("it keeps nothing of the present item");
                let count = self.bodies.get(number).segment_count();
                self.log_mut(log).body_count += count;
                self.stats.bytes += size;
                Ok(())
            }
            Err(no_room) => {
                *body = Arc::into_inner(self.bodies.take(number));
                Err(no_room)
            }
        }
    }

    /// Writes an item over one of the same layout; whether there was such a one.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "as above")]
    fn put_over(&mut self, found: Found, new: &NewItem<'_>) -> bool {
        let fits = self.format.fits_over(found.layout, new);
        if fits {
            self.count_use(found);
            self.write(found.place, found.layout, new);
        }
        fits
    }

    /// Puts a value behind or before the present one.
    pub(super) fn join(
        &mut self,
        write: &Write<'_>,
        found: Found,
        cas_unique: u64,
        at: Moment,
        purse: &mut Purse<'_>,
    ) -> Result<Stored, NoRoom> {
        let Found { place, layout, .. } = found;
        let flags = layout.flags(self.bytes(place));
        let len = self.value(place, layout).len() + write.value.len();
        if self.item_size.is_over(write.key.bytes.len(), flags, len) {
            return Ok(Stored::NotStored);
        }
        if write.value.is_empty() {
            self.note_join(found, write, cas_unique, at);
            return Ok(Stored::Joined(len));
        }
        if self.extend(found, write, cas_unique, at) {
            return Ok(Stored::Joined(len));
        }
        self.join_anew(write, found, cas_unique, at, purse)
    }

    /// Writes a joined value elsewhere. Nothing is copied before there is room for all of it.
    fn join_anew(
        &mut self,
        write: &Write<'_>,
        found: Found,
        cas_unique: u64,
        at: Moment,
        purse: &mut Purse<'_>,
    ) -> Result<Stored, NoRoom> {
        let layout = found.layout;
        let bytes = self.bytes(found.place);
        let (flags, deadline) = (layout.flags(bytes), layout.deadline(bytes));
        let key = write.key;
        let is_behind = write.mode != StoreMode::Prepend;
        let old = self.value(found.place, layout);
        let len = old.len() + write.value.len();
        // The full segments of a body stay as they are when something comes behind them, unless somebody reads them.
        let kept = layout.body(bytes).filter(|number| {
            is_behind && old.body_len() >= self.segment_len() && self.bodies.is_unlent(*number)
        });
        let kept_count = kept.map_or(0, |_| old.body_len() >> self.segment_shift);
        let kept_len = kept_count << self.segment_shift;
        let in_body_len = body_len(len - kept_len, self.segment_len());
        let more_count = in_body_len.div_ceil(self.segment_len());
        if more_count > purse.segments.len() {
            return Err(NoRoom::Needs(purse.pool.charge(more_count as u64)));
        }
        // What the purse holds for the body is no room for the record.
        let body_charge = purse.pool.charge(more_count as u64);
        let beside_body = |no_room| match no_room {
            NoRoom::Needs(needed) => NoRoom::Needs(needed + body_charge),
            NoRoom::NoMemory => NoRoom::NoMemory,
        };
        let mut more = purse.segments.split_off(purse.segments.len() - more_count);
        let marks = Marks::of(flags, deadline, kept_len + in_body_len > 0);
        let rest_len = len - kept_len - in_body_len;
        let record_len = self.format.layout(marks, key.bytes.len(), rest_len).len();
        let log = self.segment(found.place.segment).log;
        let made = self.make_room(log, record_len, at, purse);
        // Making room may have moved the old value, or evicted it.
        let found = self.find(key);
        let Some(Found { place, .. }) = found.filter(|_| made.is_ok()) else {
            purse.segments.append(&mut more);
            return made.map(|()| Stored::NotStored).map_err(beside_body);
        };
        let ends = if is_behind { [b"", write.value] } else { [write.value, b""] };
        let old = self.value(place, layout).parts().skip(kept_count);
        let rest = fill(&mut more, [ends[0]].into_iter().chain(old).chain([ends[1]]));
        let tags = joined_tags(layout, write);
        let put = Put { key, found, value: &rest, flags, deadline, cas_unique, tags };
        let Some(number) = kept else {
            let mut body = (in_body_len > 0).then(|| Body::new(purse.pool, more, in_body_len));
            let outcome = self.put(put, &mut body, at, purse);
            purse.segments.extend(body.into_iter().flat_map(Body::into_segments));
            return outcome.map(|()| Stored::Joined(len)).map_err(beside_body);
        };
        let size = self.item_size.of(key.bytes.len(), flags, len);
        let new = put.item(Some(number), at);
        match self.append(key, Replaces::AllButBody, &new, at, purse) {
            Ok(Some(log)) => {
                let body = self.bodies.extend(number, kept_len, more, in_body_len);
                let log = self.log_mut(log);
                log.body_count += more_count as u64;
                if let Some(bytes) = body {
                    log.body_count -= 1;
                    purse.pool.give(bytes);
                }
                self.stats.bytes += size;
                Ok(Stored::Joined(len))
            }
            outcome => {
                purse.segments.append(&mut more);
                // Making room has evicted the old value.
                outcome.map(|_| Stored::NotStored).map_err(beside_body)
            }
        }
    }

    /// Makes an item longer where it is; false where it is not the last one of an open segment, or that has no
    /// room.
    fn extend(&mut self, found: Found, write: &Write<'_>, cas_unique: u64, at: Moment) -> bool {
        let Found { place, layout, .. } = found;
        let more = write.value;
        let segment = self.segment(place.segment);
        let is_last = self.log(segment.log).open == Some(place.segment as u32)
            && place.at + layout.len() == segment.used_len;
        if !is_last
            || segment.used_len + more.len() > segment.bytes.len()
            || body_len(layout.len() - layout.front_len() + more.len(), segment.bytes.len()) > 0
            || layout.body(self.bytes(place)).is_some()
        {
            return false;
        }
        self.note_join(found, write, cas_unique, at);
        self.count_dead(place, layout.len());
        self.count_live(place, layout.len() + more.len());
        self.segment_mut(place.segment).used_len += more.len();
        self.stats.used_bytes += more.len() as u64;
        self.stats.bytes += more.len() as u64;
        let front_len = layout.front_len();
        let bytes = self.bytes_mut(place);
        item::set_value_len(bytes, layout.len() - front_len + more.len());
        let more_at = if write.mode == StoreMode::Prepend {
            bytes.copy_within(front_len..layout.len(), front_len + more.len());
            front_len
        } else {
            layout.len()
        };
        bytes[more_at..more_at + more.len()].copy_from_slice(more);
        true
    }

    /// Notes that a value was joined to that of an item, which counts as a new one.
    fn note_join(&mut self, found: Found, write: &Write<'_>, cas_unique: u64, at: Moment) {
        self.note_write(found, cas_unique, at);
        item::set_tags(self.bytes_mut(found.place), joined_tags(found.layout, write));
    }

    /// Gives an item another deadline; `None` where making room for that has evicted it.
    pub(super) fn touch(
        &mut self,
        key: Key<'_>,
        found: Found,
        deadline: Deadline,
        at: Moment,
        purse: &mut Purse<'_>,
    ) -> Result<Option<Found>, NoRoom> {
        if found.layout.set_deadline(self.bytes_mut(found.place), deadline) {
            self.note_deadline(found.place, deadline);
            return Ok(Some(found));
        }
        self.rewrite(key, found, deadline, at, purse)
    }

    /// Writes an item anew with another deadline, for which it has no field; `None` where making room has
    /// evicted it.
    fn rewrite(
        &mut self,
        key: Key<'_>,
        found: Found,
        deadline: Deadline,
        at: Moment,
        purse: &mut Purse<'_>,
    ) -> Result<Option<Found>, NoRoom> {
        let layout = found.layout;
        let bytes = self.bytes(found.place);
        let old = self.value(found.place, layout);
        let value = [old.front, old.rest].concat();
        let size = self.extent(layout, bytes).size;
        let put = Put {
            key,
            found: Some(found),
            value: &value,
            flags: layout.flags(bytes),
            deadline,
            cas_unique: self.format.cas_unique(bytes),
            tags: layout.tags(),
        };
        let accessed_ms = at.now.ms.saturating_sub(1000 * item::idle_s(bytes, at.now.ms));
        let new = NewItem { now_ms: accessed_ms, ..put.item(layout.body(bytes), at) };
        let log = self.append(key, Replaces::AllButBody, &new, at, purse)?;
        if log.is_some() {
            self.stats.bytes += size;
        }
        Ok(self.find(key))
    }

    /// Writes an item to the head of a log and makes the index point to it; the log, or `None` where the item whose
    /// body it was to take over is gone.
    fn append(
        &mut self,
        key: Key<'_>,
        replaces: Replaces,
        new: &NewItem<'_>,
        at: Moment,
        purse: &mut Purse<'_>,
    ) -> Result<Option<LogName>, NoRoom> {
        let layout = self.format.layout_of(new);
        let present = self.replaced(replaces, key);
        let is_remembered = present.is_none() && self.ghost.knows(key.hash);
        let (log, mark) = match present {
            Some(found) => (self.segment(found.place.segment).log, found.mark),
            None => self.policy.enter(is_remembered, self.clock),
        };
        let place = self.allocate(log, layout, at, purse)?;
        self.work_for = Some((log, layout.len()));
        self.write(place, layout, new);
        // Making room may have moved the old item, or evicted it.
        if let Some(old) = self.replaced(replaces, key) {
            let mut extent = self.extent(old.layout, self.bytes(old.place));
            if replaces == Replaces::AllButBody {
                self.move_body(extent.body, old.place, place);
                extent.body = None;
            }
            self.bury(old.place, extent, purse.pool);
            self.index.relocate(old.slot, self.location(place), old.mark);
            return Ok(Some(log));
        }
        if replaces == Replaces::AllButBody {
            self.count_dead(place, layout.len());
            return Ok(None);
        }
        if let Err(no_room) = self.enter(key, mark, place, purse) {
            self.count_dead(place, layout.len());
            return Err(no_room);
        }
        // What it replaces was evicted just now, if at all.
        if is_remembered || present.is_some() {
            self.ghost.forget(key.hash);
        }
        self.grow(purse.pool);
        Ok(Some(log))
    }

    /// Makes the index point to an item that replaces none.
    fn enter(
        &mut self,
        key: Key<'_>,
        mark: u8,
        place: Place,
        purse: &mut Purse<'_>,
    ) -> Result<(), NoRoom> {
        let pool = purse.pool;
        let mut refused_count = 0;
        while !self.index.insert(key.hash, mark, self.location(place), pool) {
            if pool.has(STEP_BYTES) {
                // Once, another shard may have given it back a moment ago.
                refused_count += 1;
                if refused_count == REFUSED_MAX {
                    return Err(NoRoom::NoMemory);
                }
            } else if let Some(bytes) = purse.segments.pop() {
                pool.give(bytes);
            } else {
                // The next attempt needs segments for its record too, and takes them first.
                return Err(NoRoom::Needs(STEP_BYTES + pool.charge(4)));
            }
        }
        Ok(())
    }

    /// Writes all of an item.
    #[inline]
    fn write(&mut self, place: Place, layout: Layout, new: &NewItem<'_>) {
        let format = self.format;
        let segment = self.segment_mut(place.segment);
        segment.note_deadline(new.deadline);
        let bytes = &mut segment.bytes[place.at..];
        format.write_head(bytes, layout, new);
        match bytes.get_mut(layout.front_len()..layout.len()) {
            Some(value) => value.copy_from_slice(new.value),
            None => self.write_at(place, layout.front_len(), new.value),
        }
    }

    /// Writes so far behind the beginning of a record, going on in the next segment where one ends.
    pub(super) fn write_at(&mut self, place: Place, offset: usize, bytes: &[u8]) {
        let position = place.at + offset;
        let room = self.segment_len().saturating_sub(position);
        let (front, rest) = bytes.split_at(bytes.len().min(room));
        if !front.is_empty() {
            self.segment_mut(place.segment).bytes[position..position + front.len()]
                .copy_from_slice(front);
        }
        if !rest.is_empty() {
            let next = self.next_of(place.segment);
            let position = position + front.len() - self.segment_len();
            self.segment_mut(next).bytes[position..position + rest.len()].copy_from_slice(rest);
        }
    }

    /// Makes the segment of an item know when it dies.
    pub(super) fn note_deadline(&mut self, place: Place, deadline: Deadline) {
        self.segment_mut(place.segment).note_deadline(deadline);
    }

    /// The item that a new one replaces, if it is still there. A key that was not needs no look.
    fn replaced(&self, replaces: Replaces, key: Key<'_>) -> Option<Found> {
        match replaces {
            Replaces::Nothing => None,
            Replaces::Item | Replaces::AllButBody => self.find(key),
        }
    }

    /// Lets the index and the ghosts follow the number of items.
    fn grow(&mut self, pool: &Pool) {
        self.with_index(|index, hash_of| index.grow(pool, hash_of));
        self.ghost.grow(self.index.item_count(), pool);
    }

    /// Has them give up some of what they have more than they need.
    pub(in crate::store) fn shrink_tables(&mut self, pool: &Pool) {
        self.with_index(|index, hash_of| index.shrink(pool, hash_of));
        self.ghost.shrink(self.index.item_count(), pool);
    }

    /// Hands the index to `change`, with what hashes the key of the item at a location.
    fn with_index(&mut self, change: impl FnOnce(&mut Index, &dyn Fn(u64) -> u64)) {
        let Self { index, segments, format, hasher, segment_shift, .. } = self;
        let mask = (1_u64 << *segment_shift) - 1;
        change(index, &|location| {
            let segment = segments[(location >> *segment_shift) as usize].as_ref();
            let bytes = &segment.expect("a location is in a segment that is held").bytes
                [(location & mask) as usize..];
            hasher.hash_one(format.parse(bytes).key(bytes))
        });
    }
}
