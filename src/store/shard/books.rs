//! What a shard says of itself, and whether that is true.

use super::super::StoreStats;
use super::super::exptime::Now;
use super::super::large::LargeValues;
use super::Shard;

impl Shard {
    /// The counters and sums of this shard.
    pub(in crate::store) fn stats(&self, now: Now) -> StoreStats {
        let oldest = [&self.small, &self.main].into_iter().filter_map(|log| {
            let number = log.sealed.front().copied().or(log.open)?;
            Some(self.segment(number as usize).begun_ms)
        });
        let oldest_ms = oldest.min().unwrap_or(now.ms);
        StoreStats {
            curr_items: self.index.item_count(),
            age_s: now.ms.saturating_sub(oldest_ms) / 1000,
            segment_bytes: self.segment_bytes(),
            index_bytes: self.index.charged(),
            hash_buckets: self.index.bucket_count(),
            ghost_bytes: self.ghost.charged(),
            large_bytes: self.large.charged(),
            charged_bytes: self.charged(),
            ..self.stats
        }
    }

    fn segment_bytes(&self) -> u64 {
        let held = self.small.segment_count()
            + self.main.segment_count()
            + u64::from(self.spare.is_some());
        held << self.segment_shift
    }

    pub(super) fn charged(&self) -> u64 {
        self.segment_bytes() + self.index.charged() + self.ghost.charged() + self.large.charged()
    }

    /// Recounts everything and compares; what it holds of the pool.
    pub(in crate::store) fn validate(&self) -> u64 {
        let mut live = vec![(0, 0); self.segments.len()];
        let mut bytes = 0;
        let mut item_count = 0;
        for location in self.index.locations() {
            let (segment, position) = self.place(location);
            let item = &self.segment(segment).bytes[position..];
            let layout = self.format.parse(item);
            let large = layout.large(item).map(|number| self.large.get(number).len());
            let value_len = large.unwrap_or_else(|| layout.value(item).len());
            bytes += self.item_size.of(layout.key(item).len(), layout.flags(item), value_len);
            live[segment].0 += layout.len;
            live[segment].1 += large.map_or(0, LargeValues::charge);
            item_count += 1;
            let hash = self.hasher.hash_one(layout.key(item));
            let found = self.index.find(hash, |found| found == location);
            assert!(found.is_some(), "an item is found by its key");
            let same = |found| {
                let (segment, position) = self.place(found);
                let other = &self.segment(segment).bytes[position..];
                self.format.parse(other).key(other) == layout.key(item)
            };
            assert_eq!(self.index.find(hash, same), found, "one item a key");
        }
        assert_eq!(item_count, self.index.item_count(), "items");
        assert_eq!(bytes, self.stats.bytes, "item bytes");
        let (mut used_bytes, mut live_bytes) = (0, 0);
        for (number, segment) in self.segments.iter().enumerate() {
            let Some(segment) = segment else { continue };
            assert_eq!((segment.live_len, segment.large_len), live[number], "segment {number}");
            used_bytes += segment.used_len as u64;
            live_bytes += segment.live_len as u64;
        }
        assert_eq!(used_bytes, self.stats.used_bytes, "used bytes");
        assert_eq!(live_bytes, self.stats.live_bytes, "live bytes");
        let held = self.segments.iter().flatten().count() as u64;
        assert_eq!(held, self.small.segment_count() + self.main.segment_count(), "segments");
        for log in [&self.small, &self.main] {
            let numbers = log.sealed.iter().chain(&log.open);
            let large: u64 = numbers.map(|number| self.segment(*number as usize).large_len).sum();
            assert_eq!(large, log.large_len, "large values of a log");
        }
        self.charged()
    }
}
