//! What the meta commands do, on both.

use super::pair::{Known, Pair, key_of};
use super::*;

impl Pair {
    /// A look that may touch an item, make it, and tell its reader to refill it.
    pub(super) fn inspect(
        &mut self,
        number: u16,
        touch: Option<Deadline>,
        vivify: Option<Deadline>,
        wins: bool,
    ) -> Result<(), TestCaseError> {
        let present = self.look(number)?;
        let (key, is_base64) = (key_of(number), wins);
        let empty = |deadline| Empty { deadline, cas_unique: None, is_base64 };
        let inquiry = Inquiry { touch, vivify: vivify.map(empty), is_secret: wins };
        let key = self.key(&key);
        let seen = self.store.inspect_and_change(key, &inquiry, self.now, |item| {
            ((item.item.value.to_vec(), item.deadline, item.marked, item.is_new), wins)
        });
        let len = self.model.get(&number).map_or(0, |known| known.value.len());
        match (seen, present, vivify) {
            (Ok((value, deadline, marked, is_new)), true, _) => {
                let known = self.model.get_mut(&number).expect("it is present");
                prop_assert!(!is_new && value == known.value);
                prop_assert_eq!((deadline, marked), (known.deadline, known.marked));
                known.deadline = touch.unwrap_or(deadline);
                known.marked.is_won |= wins;
                self.settle(0..=0, len)?;
                self.forget_dead();
                self.look(number).map(drop)
            }
            (Ok((value, deadline, marked, is_new)), false, Some(vivified)) => {
                prop_assert!(is_new && value.is_empty() && deadline == Deadline::NEVER);
                prop_assert_eq!(marked, Marked { is_base64, ..Marked::default() });
                self.settle(1..=1, 0)?;
                let marked = Marked { is_won: wins, ..marked };
                let (value, deadline) = (Vec::new(), vivified);
                self.check_stored(
                    number,
                    Known { value, flags: 0, deadline, cas_unique: 0, marked },
                )
            }
            (Err(Miss::Absent), true, _) => self.check_given_up(number, len),
            (Err(Miss::Absent), false, None) => self.settle(0..=0, 0),
            (Err(Miss::Absent), false, Some(_)) => {
                self.settle(0..=0, 0)?;
                self.check_refusal(0)
            }
            (outcome, ..) => {
                prop_assert!(false, "{outcome:?} where it is {present}");
                Ok(())
            }
        }
    }

    /// Makes an item useless.
    pub(super) fn spoil(
        &mut self,
        number: u16,
        is_stale: bool,
        emptied: Option<u32>,
        deadline: Option<Deadline>,
    ) -> Result<(), TestCaseError> {
        let present = self.look(number)?;
        let key = key_of(number);
        let spoiling = Spoiling { cas: Cas::default(), is_stale, emptied, deadline };
        let outcome = self.store.spoil(self.key(&key), &spoiling, self.now);
        if !present {
            prop_assert_eq!(outcome, Stored::NotFound);
            return self.settle(0..=0, 0);
        }
        let old = self.model.get(&number).cloned().expect("it is present");
        let len = old.value.len();
        match outcome {
            Stored::Stored => {}
            // It was evicted by the work that is due before anything else, or given up.
            Stored::NotFound | Stored::NoMemory => return self.check_given_up(number, len),
            outcome => prop_assert!(false, "{outcome:?}"),
        }
        let marked = Marked {
            is_stale: is_stale || (emptied.is_none() && old.marked.is_stale),
            is_won: false,
            ..old.marked
        };
        let new = match emptied {
            Some(flags) => Known {
                value: Vec::new(),
                flags,
                deadline: deadline.unwrap_or(Deadline::NEVER),
                marked,
                ..old
            },
            None => Known { deadline: deadline.unwrap_or(old.deadline), marked, ..old },
        };
        self.settle(0..=i64::from(emptied.is_some()), len)?;
        self.model.insert(number, new);
        self.forget_dead();
        // A new unique where it is out of date, else the one that it had.
        if let Some(known) = self.model.get_mut(&number)
            && let Some(unique) = cas_unique(&self.store, &key, self.now)
        {
            let is_new = is_stale && self.config.cas;
            let is_right =
                if is_new { unique > self.last_unique } else { unique == known.cas_unique };
            prop_assert!(is_right, "{unique} after {}", known.cas_unique);
            known.cas_unique = unique;
            self.last_unique = self.last_unique.max(unique);
        }
        self.look(number).map(drop)
    }
}
