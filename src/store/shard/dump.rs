//! What a shard holds, listed.

use super::super::Moment;
use super::super::item;
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
        let mut position = from;
        for _ in 0..STEP_COUNT {
            position = self.index.walk(position, |location| {
                if let Some(listed) = self.listed(location, at) {
                    visit(listed);
                }
            })?;
        }
        Some(position)
    }

    /// An item, where it lives.
    fn listed(&self, location: u64, at: Moment) -> Option<Listed<'_>> {
        let place = self.place(location);
        let bytes = self.bytes(place);
        let layout = self.format.parse(bytes);
        let deadline = layout.deadline(bytes);
        if self.segment(place.segment).generation < at.generation || deadline.is_due(at.now) {
            return None;
        }
        let (key, flags) = (layout.key(bytes), layout.flags(bytes));
        let value_len = self.value(place, layout).len();
        Some(Listed {
            key,
            value_len,
            size: self.item_size.of(key.len(), flags, value_len),
            flags,
            deadline,
            idle_s: item::idle_s(bytes, at.now.ms),
            is_fetched: layout.is_fetched(),
            cas_unique: self.format.cas_unique(bytes),
        })
    }
}
