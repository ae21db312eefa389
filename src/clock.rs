//! What time it is: the only place that asks the system.

use crate::store::Now;
use nix::time::{ClockId, clock_gettime};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What the wall clock says, since 1970.
pub fn unix_time() -> Duration {
    // One before 1970 is wrong anyway.
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// A clock that starts with the server.
///
/// Exptimes in seconds from now follow the boot-time clock, which neither jumps when the wall clock is
/// set nor stands still while the machine sleeps.
#[derive(Debug)]
pub struct Clock {
    started_ms: u64,
}

impl Clock {
    /// Starts at 1 ms, so that no moment on it is 0.
    pub fn start() -> Self {
        Self { started_ms: boot_ms().saturating_sub(1) }
    }

    /// The time now, on both clocks.
    pub fn now(&self) -> Now {
        Now { ms: boot_ms().saturating_sub(self.started_ms), unix_ms: unix_ms() }
    }
}

fn boot_ms() -> u64 {
    let time = clock_gettime(ClockId::CLOCK_BOOTTIME).expect("every Linux since 2.6.39 has it");
    let seconds = u64::try_from(time.tv_sec()).expect("time since boot is not negative");
    let nanoseconds = u64::try_from(time.tv_nsec()).expect("part of a second");
    seconds * 1000 + nanoseconds / 1_000_000
}

fn unix_ms() -> u64 {
    let since = unix_time();
    since.as_secs() * 1000 + u64::from(since.subsec_millis())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_passes_on_both_clocks() {
        let clock = Clock::start();
        let first = clock.now();
        assert!((1..60_000).contains(&first.ms));
        assert!(first.unix_ms > 1_700_000_000_000);
        let later = loop {
            let now = clock.now();
            if now.ms > first.ms + 2 {
                break now;
            }
        };
        assert!(later.unix_ms > first.unix_ms);
    }
}
