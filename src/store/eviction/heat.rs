//! Whether a policy has a choice at all.
//!
//! When it would keep nearly all that there is, keeping costs a copy each and tells nothing: the oldest go then, as they
//! are. That changes no count of misses on recorded requests (it stays within the 0.5 % by which they scatter), and a
//! set costs half as much when all that is stored is read again and again.

/// How many of the main log's items in a sample the policy would keep, were there room: a moving average over some
/// hundred. What is new, and nobody knows yet, is in the small log.
#[derive(Debug, Default)]
pub(in crate::store) struct Heat {
    kept: u32,
    sample_count: u64,
}

/// All of them.
const ALL: u32 = 1 << 24;
/// So many are nearly all.
const NEARLY_ALL: u32 = ALL / 100 * 97;
/// The average is over about 2^this many items.
const WINDOW_SHIFT: u32 = 7;

impl Heat {
    /// Counts an item of the sample that the policy would keep, or not.
    pub(in crate::store) fn note(&mut self, is_kept: bool) {
        if is_kept {
            self.kept += (ALL - self.kept) >> WINDOW_SHIFT;
        } else {
            self.kept -= self.kept >> WINDOW_SHIFT;
        }
    }

    /// The number of the next sample.
    pub(in crate::store) fn next_sample(&mut self) -> u64 {
        self.sample_count += 1;
        self.sample_count
    }

    /// Whether it would keep nearly all.
    pub(in crate::store) fn is_all_hot(&self) -> bool {
        self.kept > NEARLY_ALL
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// After many items of which every `period`th is cold.
    fn is_all_hot(period: u32) -> bool {
        let mut heat = Heat::default();
        (1..20_000).for_each(|item| heat.note(item % period != 0));
        heat.is_all_hot()
    }

    #[test]
    fn one_cold_item_in_ten_is_a_choice_and_one_in_a_hundred_is_none() {
        assert!(!is_all_hot(1), "nothing is kept");
        assert!(!is_all_hot(10));
        assert!(is_all_hot(100));
        assert!(is_all_hot(u32::MAX));
    }

    #[test]
    fn a_few_items_are_no_sample() {
        let mut heat = Heat::default();
        assert!(!heat.is_all_hot());
        (0..300).for_each(|_| heat.note(true));
        assert!(!heat.is_all_hot());
    }
}
