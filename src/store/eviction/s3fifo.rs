//! S3-FIFO (J. Yang et al., "FIFO queues are all you need for cache eviction", SOSP 2023): new keys pass through a
//! small log, those that were read there or come back soon after their eviction live in the main one.

use super::{Fate, Policy};
use crate::store::segment::LogName;

/// The share of the small log, in percent.
const SMALL_PERCENT: u64 = 10;

#[derive(Debug)]
pub(in crate::store) struct S3Fifo;

impl Policy for S3Fifo {
    fn entry(&self, known: bool) -> LogName {
        if known { LogName::Main } else { LogName::Small }
    }

    fn victim(&self, small_len: u64, all_len: u64) -> LogName {
        if small_len * 100 > all_len * SMALL_PERCENT { LogName::Small } else { LogName::Main }
    }

    fn judge(&self, log: LogName, frequency: u8, pressure: u8) -> Fate {
        if frequency <= pressure {
            return Fate::Evict { remember: log == LogName::Small };
        }
        let frequency = match log {
            LogName::Small => 0,
            LogName::Main => frequency - 1,
        };
        Fate::Keep { log: LogName::Main, frequency }
    }
}
