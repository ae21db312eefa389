//! Exact LRU over an `lru` map: the reference that the log store is tested against and compared with. Small and
//! plain on purpose.
//!
//! INVARIANT: the order of `items` is the exact order of use; eviction takes the least recently used.
//! INVARIANT: what `items` costs is reserved in the [`Pool`], neither more nor less.

use super::exact_item::{Death, Item, charge};
use super::exptime::{Deadline, Now};
use super::number::number_in;
use super::segment::Pool;
use super::value::Value;
use super::{
    Arithmetic, Count, Deleted, Empty, Inquiry, Inspected, ItemSize, ItemView, Listed, Marked,
    Miss, Moment, NoRoom, Spoiling, StoreMode, StoreStats, Stored, Write,
};
use lru::LruCache;

/// How long a shard that may not evict rests between looking for dead items.
const SWEEP_PAUSE_MS: u64 = 1000;

#[derive(Debug)]
pub(super) struct Shard {
    items: LruCache<Box<[u8]>, Item, ahash::RandomState>,
    evictions_allowed: bool,
    item_size: ItemSize,
    /// Not before this is it worth to look for dead items again.
    next_sweep_ms: u64,
    /// Counters and sums of this shard; `charged_bytes` is what it holds of the pool.
    stats: StoreStats,
}

impl Shard {
    pub(super) fn new(evictions_allowed: bool, item_size: ItemSize) -> Self {
        Self {
            items: LruCache::unbounded_with_hasher(ahash::RandomState::new()),
            evictions_allowed,
            item_size,
            next_sweep_ms: 0,
            stats: StoreStats::default(),
        }
    }

    /// The living item of a key, now the most recently used; a dead one is removed.
    fn live(&mut self, key: &[u8], at: Moment, pool: &Pool) -> Result<&mut Item, Miss> {
        let item = self.items.peek(key).ok_or(Miss::Absent)?;
        if let Some(death) = item.death(at.now, at.generation) {
            self.remove(key, pool);
            return Err(match death {
                Death::Expired => {
                    self.stats.get_expired += 1;
                    Miss::Expired
                }
                Death::Flushed => {
                    self.stats.get_flushed += 1;
                    Miss::Flushed
                }
            });
        }
        self.items.get_mut(key).ok_or(Miss::Absent)
    }

    /// A living item, which is read.
    pub(super) fn get(
        &mut self,
        key: &[u8],
        at: Moment,
        pool: &Pool,
    ) -> Result<ItemView<'_>, Miss> {
        Ok(self.live(key, at, pool)?.read(at))
    }

    /// The same, and gives it a new deadline.
    pub(super) fn get_and_touch(
        &mut self,
        key: &[u8],
        deadline: Deadline,
        at: Moment,
        pool: &Pool,
    ) -> Result<ItemView<'_>, Miss> {
        let item = self.live(key, at, pool)?;
        item.deadline = deadline;
        Ok(item.read(at))
    }

    /// Hands a living item to `read`.
    pub(super) fn inspect<R>(
        &mut self,
        key: &[u8],
        is_secret: bool,
        at: Moment,
        pool: &Pool,
        read: impl FnOnce(&Inspected<'_>) -> (R, bool),
    ) -> Result<R, Miss> {
        let item = self.live(key, at, pool)?;
        Ok(show(item, item.deadline, false, is_secret, at, read))
    }

    /// The same with a new deadline for it, or where there is none, with an empty one; `read` is taken then.
    pub(super) fn inspect_and_change<R>(
        &mut self,
        key: &[u8],
        inquiry: &Inquiry,
        cas_unique: u64,
        read: &mut Option<impl FnOnce(&Inspected<'_>) -> (R, bool)>,
        at: Moment,
        pool: &Pool,
    ) -> Result<Result<R, Miss>, NoRoom> {
        let miss = self.live(key, at, pool).err();
        if let (Some(miss), empty) = (miss, inquiry.vivify) {
            let Some(Empty { deadline, is_base64, .. }) = empty else {
                return Ok(Err(miss));
            };
            let marked = Marked { is_base64, ..Marked::default() };
            let item = Item { marked, ..Item::new(Box::default(), cas_unique, deadline, at) };
            self.put(key, false, item, at, pool)?;
            self.stats.total_items += 1;
        }
        let Some(item) = self.items.get_mut(key) else {
            return Ok(Err(Miss::Absent));
        };
        let is_new = miss.is_some();
        let before = if is_new { Deadline::NEVER } else { item.deadline };
        if let (Some(deadline), false) = (inquiry.touch, is_new) {
            item.deadline = deadline;
        }
        let read = read.take().expect("an operation succeeds once");
        Ok(Ok(show(item, before, is_new, inquiry.is_secret, at, read)))
    }

    /// Makes a living item useless.
    pub(super) fn spoil(
        &mut self,
        key: &[u8],
        spoiling: &Spoiling,
        cas_unique: Option<u64>,
        at: Moment,
        pool: &Pool,
    ) -> Result<Stored, NoRoom> {
        let Ok(item) = self.live(key, at, pool) else {
            return Ok(Stored::NotFound);
        };
        if !has_expected(item, spoiling.cas.expected) {
            return Ok(Stored::Exists);
        }
        let cas_unique = cas_unique.unwrap_or(item.cas_unique);
        if let Some(flags) = spoiling.emptied {
            let deadline = spoiling.deadline.unwrap_or(Deadline::NEVER);
            let empty = Item {
                flags,
                marked: Marked { is_stale: spoiling.is_stale, is_won: false, ..item.marked },
                ..Item::new(Box::default(), cas_unique, deadline, at)
            };
            self.put(key, true, empty, at, pool)?;
            self.stats.total_items += 1;
            return Ok(Stored::Stored);
        }
        item.deadline = spoiling.deadline.unwrap_or(item.deadline);
        item.cas_unique = cas_unique;
        item.marked.is_stale |= spoiling.is_stale;
        item.marked.is_won = false;
        Ok(Stored::Stored)
    }

    /// Carries out a storage command; the caller has drawn `cas_unique` for it.
    pub(super) fn store(
        &mut self,
        write: &Write<'_>,
        cas_unique: u64,
        at: Moment,
        pool: &Pool,
    ) -> Result<Stored, NoRoom> {
        let item_size = self.item_size;
        let old = self.live(write.key.bytes, at, pool).ok();
        let present = old.is_some();
        let mut item = Item {
            flags: write.flags,
            marked: Marked { is_base64: write.is_base64, ..Marked::default() },
            ..Item::new(Box::default(), cas_unique, write.deadline, at)
        };
        let joined = match (write.mode, old) {
            (StoreMode::Add, Some(_))
            | (StoreMode::Replace | StoreMode::Append | StoreMode::Prepend, None) => {
                return Ok(Stored::NotStored);
            }
            (StoreMode::Cas(_) | StoreMode::CasOrStale(_), None) => return Ok(Stored::NotFound),
            (StoreMode::Cas(unique), Some(old)) if !has_expected(old, Some(unique)) => {
                return Ok(Stored::Exists);
            }
            (StoreMode::CasOrStale(unique), Some(old))
                if unique == 0 || unique > old.cas_unique =>
            {
                return Ok(Stored::Exists);
            }
            (_, Some(old)) if !has_expected(old, write.cas.expected) => {
                return Ok(Stored::Exists);
            }
            (StoreMode::Append, Some(old)) => Some((&*old.value, write.value, &*old)),
            (StoreMode::Prepend, Some(old)) => Some((write.value, &*old.value, &*old)),
            (StoreMode::Set, _)
            | (StoreMode::Add, None)
            | (StoreMode::Replace | StoreMode::Cas(_), Some(_)) => None,
            (StoreMode::CasOrStale(unique), Some(old)) => {
                if unique != old.cas_unique {
                    item.deadline = old.deadline;
                    (item.marked.is_stale, item.marked.is_won) = (true, old.marked.is_won);
                }
                None
            }
        };
        if let Some((front, back, old)) = joined {
            let joined_len = front.len() + back.len();
            if item_size.is_over(write.key.bytes.len(), old.flags, joined_len) {
                return Ok(Stored::NotStored);
            }
            (item.flags, item.deadline) = (old.flags, old.deadline);
            item.marked.is_base64 |= old.marked.is_base64;
            item.value = joined_value([front, back])?;
        } else {
            item.value = joined_value([write.value, b""])?;
        }
        let (is_joined, len) = (joined.is_some(), item.value.len());
        self.put(write.key.bytes, present, item, at, pool)?;
        self.stats.total_items += 1;
        Ok(if is_joined { Stored::Joined(len) } else { Stored::Stored })
    }

    /// Adds to or subtracts from the number in a value, and gives the item a new deadline where one is asked for. What
    /// became of it, and the deadline that the item had.
    pub(super) fn arithmetic(
        &mut self,
        key: &[u8],
        count: &Count,
        cas_unique: u64,
        at: Moment,
        pool: &Pool,
    ) -> Result<(Arithmetic, Deadline), NoRoom> {
        let item_size = self.item_size;
        let item = match self.live(key, at, pool) {
            Ok(item) => item,
            Err(miss) => return Ok((Arithmetic::Miss(miss), Deadline::NEVER)),
        };
        let before = item.deadline;
        // Before its unique is looked at, as in memcached.
        if item_size.is_no_number(key.len(), item.flags, item.value.len()) {
            return Ok((Arithmetic::NonNumeric, before));
        }
        if !has_expected(item, count.cas.expected) {
            return Ok((Arithmetic::Exists, before));
        }
        let Some(old) = number_in(&item.value) else {
            return Ok((Arithmetic::NonNumeric, before));
        };
        let number = count.delta.apply(old);
        let (digits, deadline) = (number.to_string(), count.touch.unwrap_or(before));
        if let Some((front, back)) = item.value.split_at_mut_checked(digits.len()) {
            // Within the stored width, padded on the right: what memcached's clients know.
            front.copy_from_slice(digits.as_bytes());
            back.fill(b' ');
            item.deadline = deadline;
            item.cas_unique = cas_unique;
            item.accessed_ms = at.now.ms;
        } else {
            let grown = Item {
                flags: item.flags,
                marked: Marked { is_base64: item.marked.is_base64, ..Marked::default() },
                ..Item::new(digits.into_bytes().into(), cas_unique, deadline, at)
            };
            self.put(key, true, grown, at, pool)?;
            self.stats.total_items += 1;
        }
        Ok((Arithmetic::Number(number), before))
    }

    /// Removes a living item, which must have the `expected` CAS unique.
    pub(super) fn delete(
        &mut self,
        key: &[u8],
        expected: Option<u64>,
        at: Moment,
        pool: &Pool,
    ) -> Deleted {
        match self.live(key, at, pool) {
            Ok(item) if has_expected(item, expected) => {
                self.remove(key, pool);
                Deleted::Deleted
            }
            Ok(_) => Deleted::Exists,
            Err(_) => Deleted::NotFound,
        }
    }

    /// Puts an item under a key. A key that is `present` is the most recently used one.
    fn put(
        &mut self,
        key: &[u8],
        present: bool,
        item: Item,
        at: Moment,
        pool: &Pool,
    ) -> Result<(), NoRoom> {
        let old_charge = match self.items.peek(key).filter(|_| present) {
            Some(old) => charge(key.len(), old.value.len()),
            None => 0,
        };
        let new_charge = charge(key.len(), item.value.len());
        let needed = new_charge.saturating_sub(old_charge);
        while !pool.reserve(needed) {
            let key_alone = present && self.items.len() == 1;
            if key_alone || !self.evict(at, pool) {
                return Err(NoRoom::Needs(needed));
            }
        }
        pool.release(old_charge.saturating_sub(new_charge));
        self.stats.charged_bytes = self.stats.charged_bytes + new_charge - old_charge;
        self.stats.bytes += self.item_size.of(key.len(), item.flags, item.value.len());
        if let Some(old) = self.items.get_mut(key).filter(|_| present) {
            self.stats.bytes -= self.item_size.of(key.len(), old.flags, old.value.len());
            *old = item;
        } else {
            self.items.put(key.into(), item);
        }
        Ok(())
    }

    /// Removes a key, dead or alive.
    pub(super) fn remove(&mut self, key: &[u8], pool: &Pool) -> bool {
        let Some(item) = self.items.pop(key) else {
            return false;
        };
        self.forget(key.len(), &item, pool);
        true
    }

    /// Takes a removed item out of the books.
    fn forget(&mut self, key_len: usize, item: &Item, pool: &Pool) {
        let charge = charge(key_len, item.value.len());
        self.stats.charged_bytes -= charge;
        self.stats.bytes -= self.item_size.of(key_len, item.flags, item.value.len());
        pool.release(charge);
    }

    /// Removes the least recently used item; where evictions are not allowed, all dead ones. False when
    /// that was nothing.
    pub(super) fn evict(&mut self, at: Moment, pool: &Pool) -> bool {
        if !self.evictions_allowed {
            return self.sweep(at, pool);
        }
        let Some((key, item)) = self.items.pop_lru() else {
            return false;
        };
        self.forget(key.len(), &item, pool);
        if item.death(at.now, at.generation).is_some() {
            self.count_reclaimed(&item);
        } else {
            if let Some(witness) = pool.eviction_witness() {
                witness.evicted(&self.listed(&key, &item, at), at.now);
            }
            self.stats.evictions += 1;
            self.stats.evicted_unfetched += u64::from(!item.fetched);
            self.stats.evicted_nonzero += u64::from(item.deadline != Deadline::NEVER);
            self.stats.evicted_time_s = at.now.ms.saturating_sub(item.accessed_ms) / 1000;
        }
        true
    }

    /// Removes all dead items. Looks at every item, so once a second is often enough.
    fn sweep(&mut self, at: Moment, pool: &Pool) -> bool {
        if at.now.ms < self.next_sweep_ms {
            return false;
        }
        self.next_sweep_ms = at.now.ms + SWEEP_PAUSE_MS;
        let is_dead = |item: &Item| item.death(at.now, at.generation).is_some();
        let dead: Vec<Box<[u8]>> = self
            .items
            .iter()
            .filter(|(_, item)| is_dead(item))
            .map(|(key, _)| key.clone())
            .collect();
        for key in &dead {
            if let Some(item) = self.items.pop(key) {
                self.forget(key.len(), &item, pool);
                self.count_reclaimed(&item);
            }
        }
        !dead.is_empty()
    }

    /// Hands all living items to `visit`.
    pub(super) fn dump(&self, at: Moment, mut visit: impl FnMut(Listed<'_>)) {
        for (key, item) in &self.items {
            if item.death(at.now, at.generation).is_none() {
                visit(self.listed(key, item, at));
            }
        }
    }

    fn listed<'a>(&self, key: &'a [u8], item: &Item, at: Moment) -> Listed<'a> {
        Listed {
            key,
            is_base64: item.marked.is_base64,
            value_len: item.value.len(),
            size: self.item_size.of(key.len(), item.flags, item.value.len()),
            flags: item.flags,
            deadline: item.deadline,
            idle_s: at.now.ms.saturating_sub(item.accessed_ms) / 1000,
            is_fetched: item.fetched,
            cas_unique: item.cas_unique,
        }
    }

    fn count_reclaimed(&mut self, item: &Item) {
        self.stats.reclaimed += 1;
        self.stats.expired_unfetched += u64::from(!item.fetched);
    }

    /// The counters and sums of this shard.
    pub(super) fn stats(&self, now: Now) -> StoreStats {
        let tail_ms = self.items.peek_lru().map_or(now.ms, |(_, item)| item.accessed_ms);
        StoreStats {
            curr_items: self.items.len() as u64,
            age_s: now.ms.saturating_sub(tail_ms) / 1000,
            ..self.stats
        }
    }

    /// Recounts everything and compares; what it holds of the pool.
    pub(super) fn validate(&self) -> u64 {
        let mut charged = 0;
        let mut bytes = 0;
        for (key, item) in &self.items {
            charged += charge(key.len(), item.value.len());
            bytes += self.item_size.of(key.len(), item.flags, item.value.len());
        }
        assert_eq!(charged, self.stats.charged_bytes, "charged bytes");
        assert_eq!(bytes, self.stats.bytes, "item bytes");
        charged
    }
}

/// Hands an item to `read`, with the deadline that it had before.
fn show<R>(
    item: &mut Item,
    deadline: Deadline,
    is_new: bool,
    is_secret: bool,
    at: Moment,
    read: impl FnOnce(&Inspected<'_>) -> (R, bool),
) -> R {
    let Item { flags, cas_unique, marked, .. } = *item;
    let (result, wins) = read(&Inspected {
        item: ItemView { value: Value::whole(&item.value), flags, cas_unique },
        deadline,
        idle_s: (at.now.ms / 1000).saturating_sub(item.accessed_ms / 1000),
        is_fetched: item.fetched,
        marked,
        is_new,
    });
    item.marked.is_won |= wins;
    if !is_secret {
        item.fetched = true;
        item.accessed_ms = at.now.ms;
    }
    result
}

/// Whether an item has the CAS unique that it must have. 0 is no unique: it is what servers without them show.
fn has_expected(item: &Item, expected: Option<u64>) -> bool {
    expected.is_none_or(|unique| unique != 0 && unique == item.cas_unique)
}

/// A value of its own; no room where the system has no memory for it.
fn joined_value(parts: [&[u8]; 2]) -> Result<Box<[u8]>, NoRoom> {
    let len = parts[0].len() + parts[1].len();
    let mut value = Vec::new();
    value.try_reserve_exact(len).map_err(|_| NoRoom::Needs(charge(0, len)))?;
    value.extend_from_slice(parts[0]);
    value.extend_from_slice(parts[1]);
    Ok(value.into())
}
