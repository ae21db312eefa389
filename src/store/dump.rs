//! All items, a few under each hold of a lock.
//!
//! The order is that of the index, shard by shard: see `index::walk`. What is guaranteed while others change the store:
//!
//! INVARIANT: a key that is there from the first step to the last is listed once, however its value changes, wherever it
//! is moved and however the index grows or shrinks. Others are listed once or not at all.

use super::exptime::Now;
use super::operation::Listed;
use super::{Shard, Store};

/// A position in a shard has so many bits.
pub(super) const POSITION_BITS: u32 = 48;

/// How far a dump has come: the number of a shard, and a position in it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cursor(u64);

impl Store {
    /// Hands some of the living items to `visit`, under the lock of their shard, from where a cursor points to; where the
    /// next ones are, or `None` when that was all.
    pub fn dump(&self, from: Cursor, now: Now, visit: impl FnMut(Listed<'_>)) -> Option<Cursor> {
        let index = usize::try_from(from.0 >> POSITION_BITS).ok()?;
        let position = from.0 & !(u64::MAX << POSITION_BITS);
        let mut shard = self.shards.get(index)?.lock();
        let at = self.moment(now);
        let next = match &mut *shard {
            Shard::Log(log) => log.dump(position, at, visit),
            Shard::Exact(exact) => {
                exact.dump(at, visit);
                None
            }
        };
        let is_last = index + 1 == self.shards.len();
        match next {
            Some(position) => Some(Cursor((index as u64) << POSITION_BITS | position)),
            None => (!is_last).then_some(Cursor((index as u64 + 1) << POSITION_BITS)),
        }
    }
}
