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
    Arithmetic, Deleted, Delta, ItemSize, ItemView, Listed, Miss, Moment, NoRoom, StoreMode,
    StoreStats, Stored, Write,
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
                Death::Expired => Miss::Expired,
                Death::Flushed => Miss::Flushed,
            });
        }
        self.items.get_mut(key).ok_or(Miss::Absent)
    }

    /// Reads an item, giving it a new deadline where one is given.
    pub(super) fn get<R>(
        &mut self,
        key: &[u8],
        deadline: Option<Deadline>,
        at: Moment,
        pool: &Pool,
        read: impl FnOnce(ItemView<'_>) -> R,
    ) -> Result<R, Miss> {
        let item = self.live(key, at, pool)?;
        item.fetched = true;
        item.accessed_ms = at.now.ms;
        if let Some(deadline) = deadline {
            item.deadline = deadline;
        }
        let value = Value::whole(&item.value);
        let view = ItemView { value, flags: item.flags, cas_unique: item.cas_unique };
        Ok(read(view))
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
            value: Box::default(),
            flags: write.flags,
            cas_unique,
            deadline: write.deadline,
            generation: at.generation,
            accessed_ms: at.now.ms,
            fetched: false,
        };
        let joined = match (write.mode, old) {
            (StoreMode::Add, Some(_))
            | (StoreMode::Replace | StoreMode::Append | StoreMode::Prepend, None) => {
                return Ok(Stored::NotStored);
            }
            (StoreMode::Cas(_), None) => return Ok(Stored::NotFound),
            (StoreMode::Cas(unique), Some(old)) if !has_expected(old, Some(unique)) => {
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
        };
        if let Some((front, back, old)) = joined {
            let joined_len = front.len() + back.len();
            if item_size.is_over(write.key.bytes.len(), old.flags, joined_len) {
                return Ok(Stored::NotStored);
            }
            (item.flags, item.deadline) = (old.flags, old.deadline);
            item.value = joined_value([front, back])?;
        } else {
            item.value = joined_value([write.value, b""])?;
        }
        self.put(write.key.bytes, present, item, at, pool)?;
        self.stats.total_items += 1;
        Ok(Stored::Stored)
    }

    /// Adds to or subtracts from the number in a value.
    pub(super) fn arithmetic(
        &mut self,
        key: &[u8],
        delta: Delta,
        expected: Option<u64>,
        cas_unique: u64,
        at: Moment,
        pool: &Pool,
    ) -> Result<Arithmetic, NoRoom> {
        let item = match self.live(key, at, pool) {
            Ok(item) => item,
            Err(miss) => return Ok(Arithmetic::Miss(miss)),
        };
        if !has_expected(item, expected) {
            return Ok(Arithmetic::Exists);
        }
        let Some(old) = number_in(&item.value) else {
            return Ok(Arithmetic::NonNumeric);
        };
        let number = match delta {
            Delta::Incr(delta) => old.wrapping_add(delta),
            Delta::Decr(delta) => old.saturating_sub(delta),
        };
        let digits = number.to_string();
        if let Some((front, back)) = item.value.split_at_mut_checked(digits.len()) {
            // Within the stored width, padded on the right: what memcached's clients know.
            front.copy_from_slice(digits.as_bytes());
            back.fill(b' ');
            item.cas_unique = cas_unique;
            item.accessed_ms = at.now.ms;
        } else {
            let grown = Item {
                value: digits.into_bytes().into(),
                flags: item.flags,
                cas_unique,
                deadline: item.deadline,
                generation: at.generation,
                accessed_ms: at.now.ms,
                fetched: false,
            };
            self.put(key, true, grown, at, pool)?;
            self.stats.total_items += 1;
        }
        Ok(Arithmetic::Number(number))
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
                visit(Listed {
                    key,
                    value_len: item.value.len(),
                    size: self.item_size.of(key.len(), item.flags, item.value.len()),
                    flags: item.flags,
                    deadline: item.deadline,
                    idle_s: at.now.ms.saturating_sub(item.accessed_ms) / 1000,
                    is_fetched: item.fetched,
                    cas_unique: item.cas_unique,
                });
            }
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
