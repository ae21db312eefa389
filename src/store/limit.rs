//! A limit that is changed while the store is in use.
//!
//! More is allowed at once. Less is too, and what is above it then is given up a little at a time, under one lock after
//! the other, while others go on: dead items and free memory first, then what the policy has go first. The tables shrink
//! with the number of items. Memory goes back to the system by the segment.

use super::exptime::Now;
use super::shard::Reclaimed;
use super::{Shard, Store};

/// Whether there is more to give up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shrunk {
    /// What is in use is within the limit.
    Enough,
    /// Not yet.
    Unfinished,
    /// Not yet, and there is nothing that may be given up: nothing may be evicted, or what is left is lent.
    Stuck,
}

impl Store {
    /// Sets the memory limit, in bytes. What is above it is given up by [`Self::shrink`].
    pub fn set_limit(&self, bytes: u64) {
        self.pool.budget.set_limit(bytes);
    }

    /// Gives up a segment of each shard, at most, where more is in use than is allowed.
    pub fn shrink(&self, now: Now) -> Shrunk {
        if !self.pool.is_over() {
            return Shrunk::Enough;
        }
        self.pool.shed();
        let mut shrunk = Shrunk::Stuck;
        for shard in &self.shards {
            if !self.pool.is_over() {
                return Shrunk::Enough;
            }
            let mut shard = shard.lock();
            let at = self.moment(now);
            let gives = match &mut *shard {
                Shard::Log(log) => {
                    log.shrink_tables(&self.pool);
                    match log.free(true, at, &self.pool) {
                        Reclaimed::Segment(bytes) => {
                            self.pool.give(bytes);
                            true
                        }
                        Reclaimed::Paused => true,
                        Reclaimed::Nothing => false,
                    }
                }
                Shard::Exact(exact) => exact.evict(at, &self.pool),
            };
            if gives {
                shrunk = Shrunk::Unfinished;
            }
        }
        shrunk
    }
}
