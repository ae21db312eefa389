//! How an item is found and read.

use super::super::exptime::Deadline;
use super::super::index::SlotAt;
use super::super::item::{self, Layout};
use super::super::segment::{Pool, Purse};
use super::super::value::Value;
use super::super::{ItemView, Key, Miss, Moment, NoRoom};
use super::{Found, Place, Shard};

impl Shard {
    /// The client's bytes of an item, wherever they are kept.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "most are in one piece, and stay in registers then")]
    pub(super) fn value(&self, place: Place, layout: Layout) -> Value<'_> {
        let bytes = self.bytes(place);
        let front = &bytes[layout.front_len()..layout.len().min(bytes.len())];
        let (mut rest, mut body) = (&b""[..], None);
        if layout.len() > bytes.len() {
            rest = self.rest(place, layout.len() - bytes.len());
        }
        if !layout.is_plain() {
            body = layout.body(bytes).map(|number| self.bodies.get(number));
        }
        Value { body, front, rest }
    }

    /// So much of an item as stands in the next segment.
    #[cold]
    fn rest(&self, place: Place, len: usize) -> &[u8] {
        &self.segment(self.next_of(place.segment)).bytes[..len]
    }

    /// The number of the segment in which the last record of one goes on.
    pub(super) fn next_of(&self, number: usize) -> usize {
        self.segment(number).next.get().expect("a record that goes on has where to")
    }

    /// The item of a place, if the index points to it; else what is there is dead.
    pub(super) fn item_at(&self, place: Place, layout: Layout, hash: u64) -> Option<Found> {
        let candidate = self.index.find(hash, self.location(place))?;
        Some(Found { hash, slot: candidate.slot, mark: candidate.mark(), place, layout })
    }

    #[inline(always)]
    #[expect(clippy::inline_always, reason = "as below")]
    pub(super) fn find(&self, key: Key<'_>) -> Option<Found> {
        let hash = key.hash;
        for candidate in self.index.candidates(hash, key.slot) {
            let place = self.place(candidate.location());
            let bytes = self.bytes(place);
            let layout = self.format.parse(bytes);
            if layout.key(bytes) == key.bytes {
                return Some(Found {
                    hash,
                    slot: candidate.slot,
                    mark: candidate.mark(),
                    place,
                    layout,
                });
            }
        }
        None
    }

    /// The item of a key if it lives; a dead one is removed.
    #[inline(always)]
    #[expect(
        clippy::inline_always,
        reason = "a tenth of what a get costs is handing over what was found"
    )]
    pub(in crate::store) fn find_living(
        &mut self,
        key: Key<'_>,
        at: Moment,
        pool: &Pool,
    ) -> Result<Found, Miss> {
        let found = self.find(key).ok_or(Miss::Absent)?;
        let segment = self.segment(found.place.segment);
        if segment.generation < at.generation {
            self.stats.get_flushed += 1;
            self.drop_dead(found.hash, found.slot, found.place, found.layout, pool);
            return Err(Miss::Flushed);
        }
        if found.layout.deadline(&segment.bytes[found.place.at..]).is_due(at.now) {
            self.stats.get_expired += 1;
            self.drop_dead(found.hash, found.slot, found.place, found.layout, pool);
            return Err(Miss::Expired);
        }
        Ok(found)
    }

    /// Forgets an item that a get found dead. In its parts: what a get finds stays in registers as long as nobody
    /// wants the address of all of it.
    #[cold]
    pub(super) fn drop_dead(
        &mut self,
        hash: u64,
        slot: SlotAt,
        place: Place,
        layout: Layout,
        pool: &Pool,
    ) {
        self.drop_item(Found { hash, slot, mark: 0, place, layout }, pool);
    }

    /// Forgets an item.
    pub(super) fn drop_item(&mut self, found: Found, pool: &Pool) {
        self.index.remove(found.hash, found.slot);
        let extent = self.extent(found.layout, self.bytes(found.place));
        self.bury(found.place, extent, pool);
    }

    /// Notes a use of an item that a policy is to know of.
    #[inline]
    pub(super) fn count_use(&mut self, found: Found) {
        let mark = self.policy.hit(found.mark, self.clock);
        if mark != found.mark {
            self.index.set_mark(found.slot, mark);
        }
    }

    /// Notes that the value of an item was changed where it is.
    pub(super) fn note_write(&mut self, found: Found, cas_unique: u64, at: Moment) {
        self.count_use(found);
        let format = self.format;
        let bytes = self.bytes_mut(found.place);
        format.set_cas_unique(bytes, cas_unique);
        item::set_accessed(bytes, at.now.ms);
    }

    /// A living item, which is read and gets a new deadline.
    pub(in crate::store) fn get_and_touch(
        &mut self,
        key: Key<'_>,
        deadline: Deadline,
        at: Moment,
        purse: &mut Purse<'_>,
    ) -> Result<Result<ItemView<'_>, Miss>, NoRoom> {
        let found = match self.find_living(key, at, purse.pool) {
            Ok(found) => found,
            Err(miss) => return Ok(Err(miss)),
        };
        Ok(match self.touch(key, found, deadline, at, purse)? {
            Some(found) => Ok(self.read(found, at)),
            None => Err(Miss::Absent),
        })
    }

    /// What a client reads of an item.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "as above")]
    pub(in crate::store) fn read(&mut self, found: Found, at: Moment) -> ItemView<'_> {
        let Found { place, layout, .. } = found;
        item::set_fetched(self.bytes_mut(place), at.now.ms);
        self.count_use(found);
        let bytes = self.bytes(place);
        let (flags, cas_unique) = (layout.flags(bytes), self.format.cas_unique(bytes));
        ItemView { value: self.value(place, layout), flags, cas_unique }
    }
}
