//! What a shard holds, counted as it changes; what it says of itself, and whether that is true.

use super::super::StoreStats;
use super::super::exptime::Now;
use super::super::index::{Candidate, SlotAt};
use super::super::item::Layout;
use super::super::segment::{Link, Pool, seconds};
use super::{Found, Place, Shard};

/// What an item takes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Extent {
    /// Of its record, in bytes.
    pub(super) len: usize,
    /// By [`super::super::ItemSize`].
    pub(super) size: u64,
    pub(super) body: Option<u32>,
}

impl Shard {
    /// What the item at the front of `bytes` takes.
    pub(super) fn extent(&self, layout: Layout, bytes: &[u8]) -> Extent {
        let value_len = self.value_len(layout, bytes);
        let size = self.item_size.of(layout.key(bytes).len(), layout.flags(bytes), value_len);
        Extent { len: layout.len(), size, body: layout.body(bytes) }
    }

    /// Of the item at the front of `bytes`.
    pub(super) fn value_len(&self, layout: Layout, bytes: &[u8]) -> usize {
        let body_len = layout.body(bytes).map_or(0, |number| self.bodies.get(number).len());
        body_len + layout.len() - layout.front_len()
    }

    /// The bytes of a record in its segment, and those in the next one.
    fn split(&self, place: Place, len: usize) -> (usize, usize) {
        let front_len = len.min(self.segment_len() - place.at);
        (front_len, len - front_len)
    }

    pub(super) fn count_live(&mut self, place: Place, len: usize) {
        let (front_len, rest_len) = self.split(place, len);
        self.segment_mut(place.segment).live_len += front_len;
        if rest_len > 0 {
            let next = self.next_of(place.segment);
            self.segment_mut(next).live_len += rest_len;
        }
        self.stats.live_bytes += len as u64;
        self.wide_count += u64::from(self.is_wide(len));
    }

    pub(super) fn count_dead(&mut self, place: Place, len: usize) {
        let (front_len, rest_len) = self.split(place, len);
        self.segment_mut(place.segment).live_len -= front_len;
        if rest_len > 0 {
            // Nothing that counts goes from one to the other any more.
            let next = self.next_of(place.segment);
            self.segment_mut(place.segment).next = Link::NONE;
            let next = self.segment_mut(next);
            next.previous = Link::NONE;
            next.live_len -= rest_len;
        }
        self.stats.live_bytes -= len as u64;
        if self.is_wide(len) {
            self.wide_count -= 1;
            self.expects_wide &= self.wide_count > 0;
        }
    }

    /// Bytes in the logs of items that do not count any more.
    pub(super) fn dead_len(&self) -> u64 {
        self.stats.used_bytes - self.stats.live_bytes
    }

    /// Lets the other shards know how much is dead here.
    pub(super) fn publish_dead(&self, pool: &Pool) {
        pool.set_dead(self.number, self.dead_len());
    }

    /// Takes an item out of the books that the index does not point to any more.
    pub(super) fn bury(&mut self, place: Place, extent: Extent, pool: &Pool) {
        self.stats.bytes -= extent.size;
        if let Some(number) = extent.body {
            let log = self.segment(place.segment).log;
            let body = self.bodies.take(number);
            self.log_mut(log).body_count -= body.segment_count();
        }
        self.count_dead(place, extent.len);
        self.publish_dead(pool);
    }

    /// Forgets an item that was found to be dead.
    pub(super) fn reclaim_dead(&mut self, found: Found, extent: Extent, pool: &Pool) {
        self.index.remove(found.hash, found.slot);
        self.bury(found.place, extent, pool);
        self.stats.reclaimed += 1;
        self.stats.expired_unfetched += u64::from(!found.layout.is_fetched());
    }

    /// Makes a body count for the log of the record that has it now.
    pub(super) fn move_body(&mut self, body: Option<u32>, from: Place, to: Place) {
        let count = body.map_or(0, |number| self.bodies.get(number).segment_count());
        let (from, to) = (self.segment(from.segment).log, self.segment(to.segment).log);
        self.log_mut(from).body_count -= count;
        self.log_mut(to).body_count += count;
    }

    /// The counters and sums of this shard, but what its bodies take: these may live longer than their items.
    pub(in crate::store) fn stats(&self, now: Now, pool: &Pool) -> StoreStats {
        let oldest = [&self.small, &self.main].into_iter().filter_map(|log| {
            let number = log.sealed.front().copied().or(log.open)?;
            Some(self.segment(number as usize).begun_s)
        });
        let now_s = seconds(now.ms);
        StoreStats {
            curr_items: self.index.item_count(),
            age_s: oldest.min().map_or(0, |begun_s| u64::from(now_s.saturating_sub(begun_s))),
            segment_bytes: pool.charge(self.segment_count()),
            segment_free_bytes: pool.charge(self.spares.len() as u64),
            index_bytes: self.index.charged(),
            hash_buckets: self.index.bucket_count(),
            ghost_bytes: self.ghost.charged(),
            charged_bytes: self.charged(pool),
            ..self.stats
        }
    }

    fn segment_count(&self) -> u64 {
        self.small.segment_count() + self.main.segment_count() + self.spares.len() as u64
    }

    /// What it takes out of the limit, beside its bodies.
    fn charged(&self, pool: &Pool) -> u64 {
        pool.charge(self.segment_count()) + self.index.charged() + self.ghost.charged()
    }

    /// What it takes out of the limit.
    pub(super) fn taken(&self, pool: &Pool) -> u64 {
        self.charged(pool) + pool.charge(self.body_count())
    }

    /// Segments of its bodies.
    pub(in crate::store) fn body_count(&self) -> u64 {
        self.bodies.segment_count()
    }

    /// Recounts everything and compares; what it holds of the pool beside its bodies.
    pub(in crate::store) fn validate(&self, pool: &Pool) -> u64 {
        let mut live = vec![0; self.segments.len()];
        let (mut bytes, mut item_count, mut wide_count) = (0, 0, 0);
        for location in self.index.locations() {
            let place = self.place(location);
            let item = self.bytes(place);
            let layout = self.format.parse(item);
            let (front_len, rest_len) = self.split(place, layout.len());
            live[place.segment] += front_len;
            if rest_len > 0 {
                let next = self.next_of(place.segment);
                assert!(rest_len <= self.segment(next).carried_len, "the rest is at the front");
                assert_eq!(self.segment(next).previous.get(), Some(place.segment));
                assert_eq!(
                    self.segment(place.segment).last_at,
                    place.at,
                    "only the last one goes on"
                );
                live[next] += rest_len;
            }
            bytes += self.extent(layout, item).size;
            wide_count += u64::from(self.is_wide(layout.len()));
            item_count += 1;
            let deadline = seconds(layout.deadline(item).ms());
            assert!(self.segment(place.segment).earliest_s <= deadline, "none dies unforeseen");
            let hash = self.hasher.hash_one(layout.key(item));
            let found = self.index.find(hash, location);
            assert!(found.is_some(), "an item is found by its key");
            let mut candidates = self.index.candidates(hash, SlotAt::UNKNOWN);
            let same = |candidate: &Candidate| {
                let other = self.bytes(self.place(candidate.location()));
                self.format.parse(other).key(other) == layout.key(item)
            };
            assert_eq!(candidates.find(same), found, "one item a key");
        }
        assert_eq!(item_count, self.index.item_count(), "items");
        assert_eq!(bytes, self.stats.bytes, "item bytes");
        assert_eq!(wide_count, self.wide_count, "wide items");
        let (mut used_bytes, mut live_bytes) = (0, 0);
        for (number, segment) in self.segments.iter().enumerate() {
            let Some(segment) = segment else { continue };
            assert_eq!(segment.live_len, live[number], "segment {number}");
            used_bytes += segment.used_len as u64;
            live_bytes += segment.live_len as u64;
        }
        assert_eq!(used_bytes, self.stats.used_bytes, "used bytes");
        assert_eq!(live_bytes, self.stats.live_bytes, "live bytes");
        let held = self.segments.iter().flatten().count() as u64;
        assert_eq!(held, self.small.segment_count() + self.main.segment_count(), "segments");
        let body_count = self.small.body_count + self.main.body_count;
        assert_eq!(body_count, self.body_count(), "bodies of both logs");
        assert_eq!(body_count, self.bodies.recount(), "bodies");
        self.charged(pool)
    }
}
