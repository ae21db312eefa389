//! Least frequently used, with ageing: an item survives when it was read more often than a level that rises as victims
//! are read, so that yesterday's hits do not last for ever.
//!
//! New keys pass through a small log and must be read there once. As with [`super::S3Fifo`], reads in quick
//! succession count once.
//!
//! A mark is count (4 bits, modulo 16, relative to the level) | when a read last counted (4).

use super::{Fate, Judged, Policy};
use crate::store::segment::LogName;

const SMALL_PERCENT: u64 = 10;
/// An item is at most so far above the level.
const LEAD_MAX: i8 = 7;
const TIME_MASK: u8 = 15;
/// In units of two ticks.
const GAP: u8 = 2;
/// One victim of so many is of the main log even where the small one has more than its share: the level must go on
/// rising.
const MAIN_EVERY: u8 = 16;
/// The level rises by one in so many victims of the main log, and faster the more of them survives.
const VICTIMS_PER_LEVEL: f32 = 128.0;
const LEVEL_PER_SURVIVAL: f32 = 0.1;

#[derive(Debug, Default)]
pub(in crate::store) struct Lfu {
    level: f32,
    since_main: u8,
}

fn time(clock: u32) -> u8 {
    (clock >> 1).to_le_bytes()[0] & TIME_MASK
}

impl Lfu {
    /// The whole levels, modulo 16.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 16")]
    fn level(&self) -> u8 {
        self.level as u8 & 15
    }

    /// How far a mark is above the level: -8 to 7.
    fn lead(&self, mark: u8) -> i8 {
        ((mark >> 4).wrapping_sub(self.level()) << 4).cast_signed() >> 4
    }

    fn mark(&self, lead: i8, time: u8) -> u8 {
        self.level().wrapping_add(lead.cast_unsigned()) << 4 | time
    }
}

impl Policy for Lfu {
    fn enter(&self, _: bool, clock: u32) -> (LogName, u8) {
        (LogName::Small, self.mark(0, time(clock)))
    }

    fn hit(&self, mark: u8, clock: u32) -> u8 {
        if time(clock).wrapping_sub(mark) & TIME_MASK < GAP {
            return mark;
        }
        self.mark((self.lead(mark).max(0) + 1).min(LEAD_MAX), time(clock))
    }

    fn victim(&mut self, small_len: u64, all_len: u64) -> LogName {
        self.since_main += 1;
        if self.since_main < MAIN_EVERY && small_len * 100 > all_len * SMALL_PERCENT {
            return LogName::Small;
        }
        self.since_main = 0;
        LogName::Main
    }

    fn judge(&self, victim: Judged, mark: u8, _: u32) -> Fate {
        let demanded = (1_usize << victim.tries.min(7)) - 1;
        match usize::try_from(self.lead(mark)) {
            Ok(lead) if lead > demanded => Fate::Keep { log: LogName::Main, mark },
            _ => Fate::Evict { remember: false },
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "a share")]
    fn judged(&mut self, log: LogName, used_len: usize, kept_len: usize) {
        if log == LogName::Main {
            let kept = kept_len as f32 / used_len.max(1) as f32;
            self.level += 1.0 / VICTIMS_PER_LEVEL + LEVEL_PER_SURVIVAL * (kept - 0.5).max(0.0);
            self.level %= 16.0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVICTED: Fate = Fate::Evict { remember: false };

    fn fate(lfu: &Lfu, tries: usize, mark: u8) -> Fate {
        lfu.judge(Judged { log: LogName::Small, begun: 0, tries }, mark, 50)
    }

    /// Reads that are far enough apart to count.
    fn read(lfu: &Lfu, mark: u8, count: u32) -> u8 {
        (1..=count).fold(mark, |mark, turn| lfu.hit(mark, turn * 2 * u32::from(GAP)))
    }

    #[test]
    fn a_new_key_must_be_read_again_and_not_at_once() {
        let lfu = Lfu::default();
        let (log, stored) = lfu.enter(true, 0);
        assert_eq!((log, lfu.lead(stored)), (LogName::Small, 0));
        assert_eq!(fate(&lfu, 0, stored), EVICTED);
        assert_eq!(lfu.hit(stored, 3), stored, "set and read at once");
        let once = lfu.hit(stored, 4);
        assert_eq!(lfu.lead(once), 1);
        assert_eq!(fate(&lfu, 0, once), Fate::Keep { log: LogName::Main, mark: once });
        assert_eq!(fate(&lfu, 1, once), EVICTED, "each try demands more");
    }

    #[test]
    fn reads_lift_an_item_so_far_and_the_level_overtakes_it() {
        for level in [0.0, 8.0, 15.0] {
            let mut lfu = Lfu { level, since_main: 0 };
            let mark = read(&lfu, lfu.enter(false, 0).1, 20);
            assert_eq!(lfu.lead(mark), LEAD_MAX, "from level {level}");
            let victims_per_level = (0..).take_while(|_| {
                lfu.judged(LogName::Main, 100, 0);
                lfu.lead(mark) == LEAD_MAX
            });
            assert_eq!(victims_per_level.count(), 127, "from level {level}");
            lfu.level = (level + 7.0) % 16.0;
            assert_eq!(fate(&lfu, 0, mark), EVICTED, "from level {level}");
            assert_eq!(lfu.lead(read(&lfu, mark, 1)), 1, "it begins where new keys do");
        }
    }

    #[test]
    fn the_level_rises_faster_where_much_survives_and_not_by_the_small_log() {
        let mut lfu = Lfu::default();
        lfu.judged(LogName::Small, 100, 100);
        assert_eq!(lfu.level.to_bits(), 0);
        lfu.judged(LogName::Main, 100, 50);
        let slow = lfu.level;
        lfu.judged(LogName::Main, 100, 100);
        assert!(lfu.level - slow > 5.0 * slow);
    }

    #[test]
    fn the_main_log_has_its_turn_even_where_the_small_one_is_large() {
        let mut lfu = Lfu::default();
        let small = (0..160).filter(|_| lfu.victim(100, 100) == LogName::Small);
        assert_eq!(small.count(), 150);
        assert_eq!(lfu.victim(SMALL_PERCENT, 100), LogName::Main);
    }
}
