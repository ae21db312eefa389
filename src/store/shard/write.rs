//! How an item gets into a log: over the old one where it fits, else at the head.

use super::super::index::CHUNK_BYTES;
use super::super::item::{LARGE_REF_LEN, NewItem};
use super::super::large::LargeValues;
use super::super::segment::{LogName, Pool};
use super::super::{Key, Moment, NoRoom, StoreMode, Stored, Write};
use super::{Found, Shard};

/// Values longer than this fraction of a segment are kept outside.
const LARGE_FRACTION: usize = 8;

impl Shard {
    /// Puts a value behind or before the present one.
    pub(super) fn join(
        &mut self,
        key: Key<'_>,
        found: Found,
        write: &Write<'_>,
        cas_unique: u64,
        at: Moment,
        pool: &Pool,
    ) -> Result<Stored, NoRoom> {
        let layout = self.layout(found);
        let bytes = self.bytes(found);
        let old = self.value(layout, bytes);
        let flags = layout.flags(bytes);
        if self.item_size.is_over(key.bytes.len(), flags, old.len() + write.value.len()) {
            return Ok(Stored::NotStored);
        }
        // A copy, since making room may move the old one.
        let old = old.to_vec();
        let value = match write.mode {
            StoreMode::Prepend => [write.value, &old],
            StoreMode::Set
            | StoreMode::Add
            | StoreMode::Replace
            | StoreMode::Append
            | StoreMode::Cas(_) => [&old, write.value],
        };
        let deadline = layout.deadline(self.bytes(found));
        let new = NewItem {
            key: key.bytes,
            value,
            is_large: false,
            flags,
            deadline,
            cas_unique,
            now_ms: at.now.ms,
        };
        self.put(key, Some(found), new, at, pool)?;
        Ok(Stored::Stored)
    }

    /// Puts an item under a key, over the one that was `found` there.
    pub(super) fn put(
        &mut self,
        key: Key<'_>,
        found: Option<Found>,
        new: NewItem<'_>,
        at: Moment,
        pool: &Pool,
    ) -> Result<(), NoRoom> {
        let value_len = new.value[0].len() + new.value[1].len();
        let size = self.item_size.of(key.bytes.len(), new.flags, value_len);
        if value_len > pool.segment_len() / LARGE_FRACTION {
            return self.put_large(key, found, new, size, at, pool);
        }
        if let Some(found) = found
            && self.format.fits_over(self.layout(found), &new)
        {
            let format = self.format;
            format.write(self.bytes_mut(found), &new);
            return Ok(());
        }
        self.append(key, found.is_some(), &new, at, pool)?;
        self.stats.bytes += size;
        Ok(())
    }

    /// Puts an item whose value is kept outside.
    fn put_large(
        &mut self,
        key: Key<'_>,
        found: Option<Found>,
        new: NewItem<'_>,
        size: u64,
        at: Moment,
        pool: &Pool,
    ) -> Result<(), NoRoom> {
        let len = new.value[0].len() + new.value[1].len();
        let mut value = Vec::new();
        let charge = LargeValues::charge(len);
        value.try_reserve_exact(len).map_err(|_| NoRoom { needed: charge })?;
        value.extend_from_slice(new.value[0]);
        value.extend_from_slice(new.value[1]);
        self.reserve_large(charge, at, pool)?;
        let number = self.large.insert(value.into());
        let reference = number.to_le_bytes();
        debug_assert_eq!(reference.len(), LARGE_REF_LEN);
        let new = NewItem { value: [&reference, b""], is_large: true, ..new };
        match self.append(key, found.is_some(), &new, at, pool) {
            Ok(segment) => {
                self.add_large(segment, charge);
                self.stats.bytes += size;
                Ok(())
            }
            Err(no_room) => {
                self.large.remove(number as usize, pool);
                Err(no_room)
            }
        }
    }

    /// Writes an item to the head of a log and makes the index point to it instead of the one that
    /// was `present`; its segment.
    fn append(
        &mut self,
        key: Key<'_>,
        present: bool,
        new: &NewItem<'_>,
        at: Moment,
        pool: &Pool,
    ) -> Result<usize, NoRoom> {
        let log = match self.find_if(present, key) {
            Some(found) => self.segment(found.segment).log,
            None if self.ghost.take(key.hash) => LogName::Main,
            None => LogName::Small,
        };
        let len = self.format.layout_of(new).len;
        let (segment, position) = self.allocate(log, len, at, pool)?;
        let location = self.location(segment, position);
        let format = self.format;
        format.write(&mut self.segment_mut(segment).bytes[position..], new);
        // Making room may have moved the old item, or evicted it.
        if let Some(old) = self.find_if(present, key) {
            self.bury(old, pool);
            self.index.relocate(old.slot, location);
        } else if self.index.insert(key.hash, location, pool) {
            self.grow(pool);
        } else {
            self.unallocate(segment, len);
            return Err(NoRoom { needed: CHUNK_BYTES });
        }
        Ok(segment)
    }

    /// The item of a key that may be present; a key that is not needs no look.
    fn find_if(&self, present: bool, key: Key<'_>) -> Option<Found> {
        if present { self.find(key) } else { None }
    }

    /// Lets the index and the ghosts follow the number of items.
    fn grow(&mut self, pool: &Pool) {
        let Self { index, segments, format, hasher, segment_shift, .. } = self;
        let mask = (1_u64 << *segment_shift) - 1;
        index.grow(pool, |location| {
            let segment = segments[(location >> *segment_shift) as usize].as_ref();
            let bytes = &segment.expect("a location is in a segment that is held").bytes
                [(location & mask) as usize..];
            hasher.hash_one(format.parse(bytes).key(bytes))
        });
        self.ghost.fit(self.index.item_count(), pool);
    }
}
