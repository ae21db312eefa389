//! What a shard holds, listed.

use super::super::Moment;
use super::super::item::{self, Layout, Tags};
use super::super::operation::Listed;
use super::Shard;

/// So many buckets are visited under one hold of the lock.
const STEP_COUNT: usize = 16;

impl Shard {
    /// Hands the living items of some buckets to `visit`; the position to go on from, or `None` when that was all.
    pub(in crate::store) fn dump(
        &self,
        from: u64,
        at: Moment,
        mut visit: impl FnMut(Listed<'_>),
    ) -> Option<u64> {
        let hash_of = |location| {
            let bytes = self.bytes(self.place(location));
            self.hasher.hash_one(self.format.parse(bytes).key(bytes))
        };
        let mut position = from;
        for _ in 0..STEP_COUNT {
            position = self.index.walk(position, hash_of, |location| {
                let place = self.place(location);
                let bytes = self.bytes(place);
                let layout = self.format.parse(bytes);
                let is_flushed = self.segment(place.segment).generation < at.generation;
                if !is_flushed && !layout.deadline(bytes).is_due(at.now) {
                    visit(self.listed(layout, bytes, at));
                }
            })?;
        }
        Some(position)
    }

    /// An item that may be cut where its segment ends.
    pub(super) fn listed<'a>(&self, layout: Layout, bytes: &'a [u8], at: Moment) -> Listed<'a> {
        let (key, flags) = (layout.key(bytes), layout.flags(bytes));
        let value_len = self.value_len(layout, bytes);
        Listed {
            key,
            is_base64: layout.tags().has(Tags::BASE64),
            value_len,
            size: self.item_size.of(key.len(), flags, value_len),
            flags,
            deadline: layout.deadline(bytes),
            idle_s: item::idle_s(bytes, at.now.ms),
            is_fetched: layout.is_fetched(),
            cas_unique: self.format.cas_unique(bytes),
        }
    }
}
