//! A store beside its model: every operation on both.

use super::*;
use crate::store::index::SlotAt;
use std::cell::Cell;
use std::collections::HashMap;
use std::ops::RangeInclusive;

/// What the model keeps for a key.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Known {
    pub(super) value: Vec<u8>,
    pub(super) flags: u32,
    pub(super) deadline: Deadline,
    pub(super) cas_unique: u64,
    pub(super) marked: Marked,
}

/// The first word, where it is a number.
fn number_of(value: &[u8]) -> Option<u64> {
    std::str::from_utf8(value).expect("text").split_whitespace().next()?.parse().ok()
}

/// Most keys are short, some are as long as a key may be.
pub(super) fn key_of(number: u16) -> Vec<u8> {
    let mut key = number.to_le_bytes().to_vec();
    key.resize([250, 100, 2, 3][usize::from(number % 16).min(3)], b'k');
    key
}

/// The costs of a store that do not depend on what is in it: of each shard the open segments, the spare ones, what was
/// begun of a victim while the store was full, and chunks of the index and the ghosts that are hardly used.
pub(super) fn fixed_len(config: &StoreConfig) -> u64 {
    config.shard_count as u64 * (8 * (config.segment_len as u64 + 200) + 4 * 16_384)
}

/// A store and what it should hold. Each operation is checked against the model, and against what the store counts.
pub(super) struct Pair {
    pub(super) config: StoreConfig,
    pub(super) store: Store,
    pub(super) model: HashMap<u16, Known>,
    pending_flush: Deadline,
    pub(super) now: Now,
    /// As it was before the operation.
    pub(super) before: StoreStats,
    /// Items that came into the store.
    added: u64,
    /// Items that left it, other than by eviction and reclaiming.
    removed: u64,
    /// Items that the model has and the store evicted.
    pub(super) lost: u64,
    pub(super) last_unique: u64,
    /// Changes with every value that is written.
    pub(super) version: u8,
    /// What is lent, and the bytes that it had then.
    pub(super) loans: Vec<(Loan, Vec<u8>)>,
    /// What clients have begun to send.
    pub(super) uploads: Vec<Upload>,
    /// Where items were that were looked for a while ago.
    slots: [Cell<SlotAt>; 8],
}

impl Pair {
    pub(super) fn new(config: StoreConfig) -> Self {
        // The same hashes in every run: else a case that failed may not fail again.
        let store = Store::with_hasher(&config, RandomState::with_seeds(1, 2, 3, 4));
        Self {
            config,
            before: store.stats(at(1)),
            store,
            model: HashMap::new(),
            pending_flush: Deadline::NEVER,
            now: at(1),
            added: 0,
            removed: 0,
            lost: 0,
            last_unique: 0,
            version: 0,
            loans: Vec::new(),
            uploads: Vec::new(),
            slots: [const { Cell::new(SlotAt::UNKNOWN) }; 8],
        }
    }

    /// A key that was looked up in advance, so long ago that anything may be there by now.
    pub(super) fn key<'k>(&self, bytes: &'k [u8]) -> Key<'k> {
        let mut key = self.store.key(bytes);
        self.store.prefetch(&mut [&mut key]);
        key.slot = self.slots[usize::from(bytes[0]) % self.slots.len()].replace(key.slot);
        key
    }

    /// Digits where a length is short, so that counting has something to count.
    fn value(&mut self, len: usize) -> Vec<u8> {
        self.version = self.version.wrapping_add(1);
        if len < 5 {
            return vec![b'7'; len];
        }
        let mut value = vec![b'a' + self.version % 26; len];
        // A mark in every piece, so that pieces in wrong order are seen.
        for (piece, mark) in value.chunks_mut(61).zip((b'A'..=b'Z').cycle()) {
            piece[0] = mark;
        }
        value
    }

    /// Lets the model forget what is dead.
    pub(super) fn forget_dead(&mut self) {
        if self.pending_flush.is_due(self.now) {
            self.model.clear();
            self.pending_flush = Deadline::NEVER;
        }
        self.model.retain(|_, known| !known.deadline.is_due(self.now));
    }

    /// A key is asked for: what the store has must be right, and what it has not it must have evicted. Whether it is
    /// there.
    pub(super) fn look(&mut self, number: u16) -> Result<bool, TestCaseError> {
        let key = key_of(number);
        let read = self.store.get(self.key(&key), self.now, |item| {
            prop_assert_eq!(item.value.len(), item.value.to_vec().len());
            Ok((item.value.to_vec(), item.flags, item.cas_unique))
        });
        match (read, self.model.get(&number)) {
            (Ok(read), Some(Known { value, flags, cas_unique, .. })) => {
                let (read_value, read_flags, read_unique) = read?;
                prop_assert!(read_value == *value, "another value of {}", number);
                prop_assert_eq!((read_flags, read_unique), (*flags, *cas_unique));
                return self.look_behind(number).map(|()| true);
            }
            (Ok(_), None) => prop_assert!(false, "{} should not be there", number),
            (Err(Miss::Absent), Some(_)) => {
                self.model.remove(&number);
                self.lost += 1;
            }
            (Err(Miss::Expired | Miss::Flushed), Some(_)) => {
                prop_assert!(false, "{} died too early", number);
            }
            (Err(Miss::Absent), None) => {}
            (Err(Miss::Expired | Miss::Flushed), None) => self.removed += 1,
        }
        Ok(false)
    }

    /// Of a key that is there: what a get does not show.
    fn look_behind(&self, number: u16) -> Result<(), TestCaseError> {
        let key = key_of(number);
        let seen = self.store.inspect(self.key(&key), true, self.now, |item| {
            ((item.deadline, item.marked, item.is_fetched), false)
        });
        let known = &self.model[&number];
        prop_assert_eq!(seen, Ok((known.deadline, known.marked, true)));
        Ok(())
    }

    /// Looks at every key.
    pub(super) fn look_at_all(&mut self) -> Result<(), TestCaseError> {
        let mut numbers: Vec<u16> = self.model.keys().copied().collect();
        numbers.sort_unstable();
        for number in numbers {
            self.look(number)?;
        }
        self.settle(0..=0, 0)?;
        prop_assert!(self.lost <= self.before.evictions, "an item is gone that was not evicted");
        self.store.validate();
        Ok(())
    }

    /// After an operation that has added so many items (or removed, where negative), and may have needed so much
    /// room: do the counters agree, and was there a reason to evict?
    pub(super) fn settle(
        &mut self,
        added: RangeInclusive<i64>,
        len: usize,
    ) -> Result<(), TestCaseError> {
        let stats = self.store.stats(self.now);
        let all = stats.curr_items + stats.evictions + stats.reclaimed + self.removed;
        let seen = all.cast_signed() - self.added.cast_signed();
        prop_assert!(added.contains(&seen), "added {seen}, not {added:?}: {stats:?}");
        self.added = all;
        let before = std::mem::replace(&mut self.before, stats);
        prop_assert!(stats.charged_bytes <= self.config.limit_bytes);
        prop_assert!(self.store.pool.budget.used() <= self.config.limit_bytes);
        if stats.evictions > before.evictions {
            prop_assert!(self.config.evictions);
            prop_assert!(
                self.config.eviction == Eviction::ExactLru || self.is_full(&before, len),
                "evicted for {len} bytes: {before:?}, then {stats:?}"
            );
        }
        Ok(())
    }

    /// Whether what lives and so many bytes more are near to the limit.
    pub(super) fn is_full(&self, before: &StoreStats, len: usize) -> bool {
        let held = before.live_bytes + before.large_bytes + before.index_bytes + before.ghost_bytes;
        (held + len as u64 + fixed_len(&self.config)) * 100 >= self.config.limit_bytes * 90
    }

    pub(super) fn apply(&mut self, op: &Op) -> Result<(), TestCaseError> {
        let segment_len = self.config.segment_len;
        self.forget_dead();
        match *op {
            Op::Wait(ms) => self.now = at(self.now.ms + u64::from(ms)),
            Op::Get(number) => {
                self.look(number)?;
                self.settle(0..=0, 0)?;
            }
            Op::Touch(number, exptime) => self.touch(number, Deadline::new(exptime, self.now))?,
            Op::Inspect { key, touch, vivify, wins } => {
                let deadline = |exptime: i32| Deadline::new(exptime, self.now);
                self.inspect(key, touch.map(deadline), vivify.map(deadline), wins)?;
            }
            Op::Spoil { key, is_stale, emptied, exptime } => {
                let deadline = exptime.map(|exptime| Deadline::new(exptime, self.now));
                self.spoil(key, is_stale, emptied, deadline)?;
            }
            Op::Delete(number) => {
                let present = self.look(number)?;
                let key = key_of(number);
                let expected = if present { Deleted::Deleted } else { Deleted::NotFound };
                let outcome = self.store.delete(self.key(&key), None, self.now);
                prop_assert_eq!(outcome, expected);
                self.model.remove(&number);
                self.removed += u64::from(present);
                self.settle(0..=0, 0)?;
            }
            Op::Flush(delay) => {
                let moment = Deadline::new(if delay == 0 { -1 } else { delay }, self.now);
                self.store.flush_all(moment, self.now);
                if moment.is_due(self.now) {
                    self.model.clear();
                    self.pending_flush = Deadline::NEVER;
                } else {
                    self.pending_flush = moment;
                }
            }
            Op::Borrow(number) => self.borrow(number)?,
            Op::Return(index) => {
                if !self.loans.is_empty() {
                    self.end_loan(usize::from(index) % self.loans.len())?;
                }
            }
            Op::Begin { key, len, percent } => {
                let value = self.value(len.resolve(segment_len));
                self.look(key)?;
                let key = key_of(key);
                let write = write(&self.store, StoreMode::Set, &key, b"");
                if let Some(mut upload) = self.store.begin_upload(&write, value.len(), self.now) {
                    let part = &value[..upload.left_len() * percent / 100];
                    if self.receive(&mut upload, write.key, part) {
                        self.uploads.push(upload);
                    }
                }
                prop_assert!(self.uploading_len() <= self.config.limit_bytes / 4);
                self.settle(0..=0, value.len())?;
            }
            Op::Vanish(index) => {
                if !self.uploads.is_empty() {
                    self.uploads.swap_remove(usize::from(index) % self.uploads.len());
                }
            }
            Op::Maintain => {
                self.store.maintain(self.now, false);
                self.settle(0..=0, 0)?;
            }
            Op::Count(number, delta) => self.count(number, delta)?,
            Op::Store { mode, key, len, flags, exptime } => {
                let value = self.value(len.resolve(segment_len));
                self.write(mode, key, &value, flags, Deadline::new(exptime, self.now))?;
            }
            Op::Fill { key, count, len } => {
                for number in key..key + count {
                    let value = self.value(len.resolve(segment_len));
                    self.write(StoreMode::Set, number, &value, 0, Deadline::NEVER)?;
                }
            }
            Op::Join { key, mode, count, len } => {
                for _ in 0..count {
                    let value = self.value(len);
                    self.write(mode, key, &value, 1, Deadline::NEVER)?;
                }
            }
            Op::Cas { key, is_right, len } => {
                let known = self.model.get(&key).map_or(0, |known| known.cas_unique);
                let value = self.value(len.resolve(segment_len));
                let mode = StoreMode::Cas(known + u64::from(!is_right));
                self.write(mode, key, &value, 0, Deadline::NEVER)?;
            }
            Op::CasOrStale { key, before, len } => {
                let known = self.model.get(&key).map_or(0, |known| known.cas_unique);
                let value = self.value(len.resolve(segment_len));
                let mode = StoreMode::CasOrStale(known.saturating_add_signed(-before));
                self.write(mode, key, &value, 1, Deadline::NEVER)?;
            }
        }
        Ok(())
    }

    fn touch(&mut self, number: u16, deadline: Deadline) -> Result<(), TestCaseError> {
        let present = self.look(number)?;
        let key = key_of(number);
        let hit = self
            .store
            .get_and_touch(self.key(&key), deadline, self.now, |item| item.value.to_vec());
        let len = self.model.get(&number).map_or(0, |known| known.value.len());
        match (hit, present) {
            (Ok(value), true) => {
                let known = self.model.get_mut(&number).expect("it is present");
                prop_assert!(value == known.value);
                known.deadline = deadline;
                self.settle(0..=0, len)
            }
            (Err(Miss::Absent), true) => self.check_given_up(number, len),
            (Err(Miss::Absent), false) => self.settle(0..=0, 0),
            (outcome, _) => {
                prop_assert!(false, "{outcome:?} where it is {present}");
                Ok(())
            }
        }
    }

    fn count(&mut self, number: u16, delta: Delta) -> Result<(), TestCaseError> {
        let present = self.look(number)?;
        let key = key_of(number);
        let outcome = arithmetic(&self.store, self.key(&key), delta, self.now);
        let old = self.model.get(&number).and_then(|known| number_of(&known.value));
        let (Some(old), true) = (old, present) else {
            let is_miss = matches!(outcome, Arithmetic::Miss(_));
            prop_assert!(is_miss != present && (is_miss || outcome == Arithmetic::NonNumeric));
            return self.settle(0..=0, 0);
        };
        if matches!(outcome, Arithmetic::NoMemory | Arithmetic::Miss(Miss::Absent)) {
            self.settle(0..=0, 20)?;
            return self.check_refusal(20);
        }
        let new = match delta {
            Delta::Incr(delta) => old.wrapping_add(delta),
            Delta::Decr(delta) => old.saturating_sub(delta),
        };
        prop_assert_eq!(outcome, Arithmetic::Number(new));
        self.settle(0..=1, 20)?;
        let mut known = self.model.remove(&number).expect("it is present");
        let width = known.value.len();
        known.value = format!("{new:<width$}").into_bytes();
        if known.value.len() > width {
            known.marked = Marked { is_base64: known.marked.is_base64, ..Marked::default() };
        }
        self.check_stored(number, known)
    }
}
