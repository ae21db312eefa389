//! What a store counts.

/// The store's counters and gauges. A field is named after its STAT where there is one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StoreStats {
    /// Items held, dead ones included until they are found out.
    pub curr_items: u64,
    /// Items stored since the start.
    pub total_items: u64,
    /// Size of the items held, by [`super::ItemSize`].
    pub bytes: u64,
    /// Bytes that the items held take out of the limit.
    pub charged_bytes: u64,
    /// Living items thrown out.
    pub evictions: u64,
    /// Of [`Self::evictions`], never read.
    pub evicted_unfetched: u64,
    /// Of [`Self::evictions`], with an exptime.
    pub evicted_nonzero: u64,
    /// Seconds for which the last victim had not been used; the longest of all shards.
    pub evicted_time_s: u64,
    /// Dead items whose memory was used again.
    pub reclaimed: u64,
    /// Of [`Self::reclaimed`], never read.
    pub expired_unfetched: u64,
    /// Items that an operation found dead for their exptime.
    pub get_expired: u64,
    /// Items that an operation found dead for a flush.
    pub get_flushed: u64,
    /// Seconds since the oldest of the logs' segments was begun; in the exact form, since its least recently used item
    /// was used.
    pub age_s: u64,
    /// Bytes of segments, the spare ones among them.
    pub segment_bytes: u64,
    /// Of those, not in use.
    pub segment_free_bytes: u64,
    /// Of those, written.
    pub used_bytes: u64,
    /// Of those, of items that count.
    pub live_bytes: u64,
    /// Bytes of the index.
    pub index_bytes: u64,
    /// Buckets of the index.
    pub hash_buckets: u64,
    /// Bytes of what is remembered of evicted keys.
    pub ghost_bytes: u64,
    /// Bytes of segments that values take for themselves, those included that have not come whole, and those of which the
    /// item is gone but that somebody reads.
    pub large_bytes: u64,
    /// Bytes of items that were copied to survive.
    pub moved_bytes: u64,
    /// Segments that were searched for dead items.
    pub sweeps: u64,
}

impl StoreStats {
    /// With the counters as counted since an earlier look; the gauges as they are.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            total_items: self.total_items - earlier.total_items,
            evictions: self.evictions - earlier.evictions,
            evicted_unfetched: self.evicted_unfetched - earlier.evicted_unfetched,
            evicted_nonzero: self.evicted_nonzero - earlier.evicted_nonzero,
            reclaimed: self.reclaimed - earlier.reclaimed,
            moved_bytes: self.moved_bytes - earlier.moved_bytes,
            sweeps: self.sweeps - earlier.sweeps,
            expired_unfetched: self.expired_unfetched - earlier.expired_unfetched,
            get_expired: self.get_expired - earlier.get_expired,
            get_flushed: self.get_flushed - earlier.get_flushed,
            ..*self
        }
    }

    pub(super) fn add(&mut self, shard: &Self) {
        self.curr_items += shard.curr_items;
        self.total_items += shard.total_items;
        self.bytes += shard.bytes;
        self.charged_bytes += shard.charged_bytes;
        self.evictions += shard.evictions;
        self.evicted_unfetched += shard.evicted_unfetched;
        self.evicted_nonzero += shard.evicted_nonzero;
        self.evicted_time_s = self.evicted_time_s.max(shard.evicted_time_s);
        self.reclaimed += shard.reclaimed;
        self.expired_unfetched += shard.expired_unfetched;
        self.get_expired += shard.get_expired;
        self.get_flushed += shard.get_flushed;
        self.age_s = self.age_s.max(shard.age_s);
        self.segment_bytes += shard.segment_bytes;
        self.segment_free_bytes += shard.segment_free_bytes;
        self.used_bytes += shard.used_bytes;
        self.live_bytes += shard.live_bytes;
        self.index_bytes += shard.index_bytes;
        self.hash_buckets += shard.hash_buckets;
        self.ghost_bytes += shard.ghost_bytes;
        self.moved_bytes += shard.moved_bytes;
        self.sweeps += shard.sweeps;
    }
}
