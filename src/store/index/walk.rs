//! A walk over all buckets that may stop and go on while the index grows.
//!
//! A position is the low bits of a hash, read backwards, as a fraction: what belongs to one bucket is an interval, and
//! a bucket that is split keeps the front half of its interval and leaves the other one to the new bucket. So what is
//! before a position stays before it (P. Noordhuis had the idea for Redis' `SCAN`). Where buckets were joined, a position
//! may be amid an interval: then items are asked which side they are on.

use super::super::dump::POSITION_BITS;
use super::{Index, LOCATION_MASK, SlotAt};

impl Index {
    /// Hands the locations of the bucket at a position to `visit`, save those before it; the position of the next bucket,
    /// or `None` behind the last one. `hash_of` hashes the key of the item at a location.
    pub(in crate::store) fn walk(
        &self,
        position: u64,
        hash_of: impl Fn(u64) -> u64,
        mut visit: impl FnMut(u64),
    ) -> Option<u64> {
        let home = self.table.buckets.home(reversed(position));
        let width = 1 << (POSITION_BITS - self.table.buckets.bit_count(home));
        let start = position & !(width - 1);
        let is_due = |location| start == position || reversed(hash_of(location)) >= position;
        let mut next = Some(SlotAt::bucket(home));
        while let Some(at) = next {
            let words = self.bucket(at).slots().into_iter().filter(|word| *word != 0);
            let locations = words.map(|word| (word & LOCATION_MASK) - 1);
            locations.filter(|location| is_due(*location)).for_each(&mut visit);
            next = self.after(at);
        }
        Some(start + width).filter(|position| *position < 1 << POSITION_BITS)
    }
}

/// The low bits of a hash as a position, and the other way round.
fn reversed(bits: u64) -> u64 {
    bits.reverse_bits() >> (64 - POSITION_BITS)
}
