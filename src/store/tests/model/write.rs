//! Storage commands, and what is so once something was stored or refused.

use super::pair::{Known, Pair, fixed_len, key_of};
use super::*;

impl Pair {
    /// One storage command.
    pub(super) fn write(
        &mut self,
        mode: StoreMode,
        number: u16,
        value: &[u8],
        flags: u32,
        deadline: Deadline,
    ) -> Result<(), TestCaseError> {
        let present = self.look(number)?;
        let key = key_of(number);
        let key = self.key(&key);
        let is_base64 = self.version.is_multiple_of(3);
        let outcome = self.store(&Write {
            mode,
            key,
            flags,
            deadline,
            value,
            cas: Cas::default(),
            is_base64,
        });
        let old = self.model.get(&number).cloned();
        let marked = Marked { is_base64, ..Marked::default() };
        let new = Known { value: value.to_vec(), flags, deadline, cas_unique: 0, marked };
        let joined = |parts: [&[u8]; 2], old: &Known| {
            let marked = Marked { is_base64: is_base64 || old.marked.is_base64, ..marked };
            Known { value: parts.concat(), marked, ..*old }
        };
        let expected = match (mode, &old) {
            (StoreMode::Set, _) | (StoreMode::Add, None) | (StoreMode::Replace, Some(_)) => Ok(new),
            (StoreMode::Append, Some(old)) => Ok(joined([&old.value, value], old)),
            (StoreMode::Prepend, Some(old)) => Ok(joined([value, &old.value], old)),
            (StoreMode::Cas(unique), Some(old)) if unique == old.cas_unique && unique != 0 => {
                Ok(new)
            }
            (StoreMode::CasOrStale(unique), Some(old))
                if unique == old.cas_unique && unique != 0 =>
            {
                Ok(new)
            }
            (StoreMode::CasOrStale(unique), Some(old)) if (1..old.cas_unique).contains(&unique) => {
                let marked = Marked { is_stale: true, is_won: old.marked.is_won, ..marked };
                Ok(Known { deadline: old.deadline, marked, ..new })
            }
            (StoreMode::Cas(_) | StoreMode::CasOrStale(_), Some(_)) => Err(Stored::Exists),
            (StoreMode::Cas(_) | StoreMode::CasOrStale(_), None) => Err(Stored::NotFound),
            (_, _) => Err(Stored::NotStored),
        };
        let is_join = matches!(mode, StoreMode::Append | StoreMode::Prepend);
        let stored = |new: &Known| {
            if is_join { Stored::Joined(new.value.len()) } else { Stored::Stored }
        };
        let is_over = |new: &Known| ITEM_SIZE.is_over(key.bytes.len(), new.flags, new.value.len());
        match expected {
            // The work that is due before anything else may have evicted what it would have been refused for.
            Err(Stored::Exists) if outcome == Stored::NotFound => {
                self.settle(0..=0, 0)?;
                prop_assert!(!self.look(number)?, "it is there");
                Ok(())
            }
            Err(Stored::NotStored) if mode == StoreMode::Add && outcome == Stored::Stored => {
                self.settle(1..=1, value.len())?;
                self.lost += 1;
                let value = value.to_vec();
                self.check_stored(number, Known { value, flags, deadline, cas_unique: 0, marked })
            }
            Err(refusal) => {
                prop_assert_eq!(outcome, refusal);
                self.settle(0..=0, 0)
            }
            Ok(new) if is_join && is_over(&new) => {
                prop_assert_eq!(outcome, Stored::NotStored);
                self.settle(0..=0, 0)
            }
            Ok(new) if outcome == stored(&new) => {
                self.settle(i64::from(!present)..=1, new.value.len())?;
                self.check_stored(number, new)
            }
            Ok(new) => {
                let len = new.value.len();
                let gone = i64::from(mode == StoreMode::Set && present);
                self.settle(-gone..=0, len)?;
                if mode == StoreMode::Set {
                    self.model.remove(&number);
                }
                let was_evicted = !self.look(number)? && present && mode != StoreMode::Set;
                // What it was to replace has been evicted to make room for it.
                let is_miss = match mode {
                    StoreMode::Cas(_) | StoreMode::CasOrStale(_) => outcome == Stored::NotFound,
                    _ => outcome == Stored::NotStored,
                };
                if was_evicted && is_miss {
                    return Ok(());
                }
                prop_assert_eq!(
                    outcome,
                    if is_join { Stored::NotStored } else { Stored::NoMemory }
                );
                self.check_refusal(len)
            }
        }
    }

    /// An item was evicted for its own change, or given up.
    pub(super) fn check_given_up(&mut self, number: u16, len: usize) -> Result<(), TestCaseError> {
        self.model.remove(&number);
        let evictions = self.before.evictions;
        self.settle(-1..=0, len)?;
        if self.before.evictions > evictions { Ok(()) } else { self.check_refusal(len) }
    }

    /// A store that refused to take so many bytes is full, or they are too many for it.
    pub(super) fn check_refusal(&self, len: usize) -> Result<(), TestCaseError> {
        let StoreConfig { limit_bytes, evictions, .. } = self.config;
        let room = limit_bytes
            .saturating_sub(fixed_len(&self.config) + self.lent_len() + self.uploading_len());
        let is_large = len as u64 * 2 > room;
        prop_assert!(
            is_large || (!evictions && self.is_full(&self.before, len)),
            "refused {len} bytes: {:?}",
            self.before
        );
        Ok(())
    }

    /// An item was stored just now: it is there, with a new unique.
    pub(super) fn check_stored(
        &mut self,
        number: u16,
        mut new: Known,
    ) -> Result<(), TestCaseError> {
        if new.deadline.is_due(self.now) {
            self.model.remove(&number);
            return Ok(());
        }
        let key = key_of(number);
        let unique = cas_unique(&self.store, &key, self.now);
        prop_assert!(unique.is_some(), "{number} was stored just now");
        new.cas_unique = unique.expect("it is there");
        if self.config.cas {
            prop_assert!(new.cas_unique > self.last_unique);
            self.last_unique = new.cas_unique;
        } else {
            prop_assert_eq!(new.cas_unique, 0);
        }
        self.model.insert(number, new);
        prop_assert!(self.look(number)?);
        Ok(())
    }
}
