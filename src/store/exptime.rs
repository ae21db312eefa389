//! When an item dies: memcached's exptime, turned into a moment on the server's clock.
//!
//! The store reads no clock; whoever calls it says what time it is.
//!
//! INVARIANT: an item stored for n seconds is alive for n seconds, and dead a millisecond later.

/// Exptimes up to this many seconds (30 days) count from now; larger ones are Unix times.
const RELATIVE_MAX_S: i64 = 60 * 60 * 24 * 30;

/// So far the clocks may go apart without a Unix time that a client sent being shown as the second before, in
/// milliseconds.
const CLOCK_TOLERANCE_MS: u64 = 100;

/// What time it is, on the two clocks that exptimes refer to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Milliseconds since the server started; never goes back, whatever happens to the wall clock.
    pub ms: u64,
    /// Milliseconds since 1970, by the wall clock.
    pub unix_ms: u64,
}

/// The moment from which an item is dead, in [`Now::ms`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline(u64);

impl Deadline {
    /// Lives until it is removed.
    pub const NEVER: Self = Self(u64::MAX);

    /// The deadline that a client's exptime means now: 0 never, negative at once, up to 30 days from
    /// now, above that a Unix time (by the wall clock as it is now).
    pub fn new(exptime: impl Into<i64>, now: Now) -> Self {
        let exptime = exptime.into();
        match exptime {
            0 => Self::NEVER,
            ..0 => Self(0),
            // Some of the millisecond that the clock shows is over: without one more it would die early.
            1..=RELATIVE_MAX_S => Self(now.ms + exptime.unsigned_abs() * 1000 + 1),
            _ => {
                let unix_ms = exptime.unsigned_abs().saturating_mul(1000);
                Self(now.ms.saturating_add(unix_ms).saturating_sub(now.unix_ms))
            }
        }
    }

    /// A moment in [`Now::ms`].
    pub(super) fn at_ms(ms: u64) -> Self {
        Self(ms)
    }

    /// Whether the moment has come.
    pub fn is_due(self, now: Now) -> bool {
        now.ms >= self.0
    }

    /// The moment in Unix seconds, by the wall clock as it is now; `None` for never.
    pub fn unix_s(self, now: Now) -> Option<u64> {
        let unix_ms = || (self.0 + now.unix_ms).saturating_sub(now.ms);
        // The two clocks are read one after the other, and one of them is corrected at times.
        (self != Self::NEVER).then(|| (unix_ms() + CLOCK_TOLERANCE_MS) / 1000)
    }

    /// The moment itself, in [`Now::ms`]; `u64::MAX` for never.
    pub fn ms(self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Now = Now { ms: 5_000, unix_ms: 1_800_000_000_000 };

    #[test]
    fn the_four_kinds_of_exptime() {
        assert_eq!(Deadline::new(0, NOW), Deadline::NEVER);
        assert!(Deadline::new(-1, NOW).is_due(NOW));
        assert_eq!(Deadline::new(1, NOW).ms(), 6_001);
        assert_eq!(Deadline::new(2_592_000, NOW).ms(), 2_592_005_001);
        // One second more, and it is a moment in January 1970.
        assert!(Deadline::new(2_592_001, NOW).is_due(NOW));
        assert_eq!(Deadline::new(1_800_000_007, NOW).ms(), 12_000);
        assert!(Deadline::new(1_800_000_000, NOW).is_due(NOW));
        assert_eq!(
            Deadline::new(u32::MAX, NOW).ms(),
            5_000 + (4_294_967_295 - 1_800_000_000) * 1000
        );
        let later = Now { ms: NOW.ms + 3_001, unix_ms: NOW.unix_ms + 2_950 };
        assert_eq!(Deadline::new(1_800_000_007, NOW).unix_s(later), Some(1_800_000_007));
        assert_eq!(Deadline::new(7, NOW).unix_s(later), Some(1_800_000_007));
        assert_eq!(Deadline::new(0, NOW).unix_s(NOW), None);
        assert_eq!(Deadline::new(-1, NOW).unix_s(NOW), Some(1_799_999_995));
        assert!(!Deadline::NEVER.is_due(Now { ms: u64::MAX - 1, unix_ms: 0 }));
    }

    #[test]
    fn a_second_is_a_second() {
        let deadline = Deadline::new(1, NOW);
        assert!(!deadline.is_due(Now { ms: 6_000, ..NOW }), "it may have been stored at 5,000.9");
        assert!(deadline.is_due(Now { ms: 6_001, ..NOW }));
    }
}
