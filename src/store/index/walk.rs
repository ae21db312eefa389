//! A walk over all buckets that may stop and go on while the index grows.
//!
//! A position is the low bits of a hash, read backwards, as a fraction: what belongs to one bucket is an interval, and
//! a bucket that is split keeps the front half of its interval and leaves the other one to the new bucket. So what is
//! before a position stays before it (P. Noordhuis had the idea for Redis' `SCAN`).

use super::super::dump::POSITION_BITS;
use super::{Index, LOCATION_MASK, SlotAt};

impl Index {
    /// Hands the locations of the bucket at a position to `visit`; the position of the next bucket, or `None` behind the
    /// last one.
    pub(in crate::store) fn walk(&self, position: u64, mut visit: impl FnMut(u64)) -> Option<u64> {
        let home = self.table.buckets.home(position.reverse_bits() >> (64 - POSITION_BITS));
        let mut next = Some(SlotAt::bucket(home));
        while let Some(at) = next {
            let words = self.bucket(at).slots().into_iter().filter(|word| *word != 0);
            words.for_each(|word| visit((word & LOCATION_MASK) - 1));
            next = self.after(at);
        }
        let width = 1 << (POSITION_BITS - self.table.buckets.bit_count(home));
        Some(position + width).filter(|position| *position < 1 << POSITION_BITS)
    }
}
