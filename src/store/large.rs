//! The bodies of large values: whole segments, outside of the logs. What does not fill a segment stands in the
//! log, behind the key, as the values of other items do.
//!
//! INVARIANT: all segments of a body are full but the last one, which may be when nothing stands in the log.

use super::block::Piece;
use super::item::FRONT_LEN_MAX;
use super::segment::Pool;
use std::ops::DerefMut;

/// The front of a value, in whole segments.
#[derive(Debug, Default)]
pub(super) struct Body {
    /// As many as `len` needs.
    pub(super) segments: Vec<Piece>,
    /// In bytes of the value.
    pub(super) len: usize,
}

/// How many bytes of a value go into its body: whole segments, or all where the rest has no room in one segment with
/// its key.
pub(super) fn body_len(value_len: usize, segment_len: usize) -> usize {
    let rest_len = value_len % segment_len;
    if rest_len + FRONT_LEN_MAX > segment_len { value_len } else { value_len - rest_len }
}

/// Copies parts of a value, one behind another, into segments; what these have no room for.
pub(super) fn fill<'a>(
    segments: &mut [impl DerefMut<Target = [u8]>],
    parts: impl Iterator<Item = &'a [u8]>,
) -> Vec<u8> {
    let mut rest = Vec::new();
    let mut segments = segments.iter_mut();
    let mut room: &mut [u8] = &mut [];
    for mut part in parts {
        while !part.is_empty() {
            if room.is_empty() {
                let Some(bytes) = segments.next() else {
                    rest.extend_from_slice(part);
                    break;
                };
                room = bytes;
            }
            let (front, behind) = part.split_at(part.len().min(room.len()));
            let (taken, left) = room.split_at_mut(front.len());
            taken.copy_from_slice(front);
            (part, room) = (behind, left);
        }
    }
    rest
}

/// The bodies of a shard, by number.
#[derive(Debug, Default)]
pub(super) struct Bodies {
    by_number: Vec<Option<Body>>,
    vacant: Vec<u32>,
    segment_count: u64,
}

impl Bodies {
    pub(super) fn insert(&mut self, body: Body) -> u32 {
        self.segment_count += body.segments.len() as u64;
        let number = self.vacant.pop().unwrap_or_else(|| {
            self.by_number.push(None);
            u32::try_from(self.by_number.len() - 1).expect("fewer than 2^32 large values")
        });
        self.by_number[number as usize] = Some(body);
        number
    }

    pub(super) fn get(&self, number: u32) -> &Body {
        self.by_number[number as usize].as_ref().expect("an item has this number")
    }

    /// Puts segments that hold `more_len` bytes behind the first `kept_len` bytes of a body, which are full
    /// segments; the last segment where that was not full.
    pub(super) fn extend(
        &mut self,
        number: u32,
        kept_len: usize,
        more: Vec<Piece>,
        more_len: usize,
    ) -> Option<Piece> {
        let body = self.by_number[number as usize].as_mut().expect("an item has this number");
        let partial = if kept_len < body.len { body.segments.pop() } else { None };
        self.segment_count += more.len() as u64;
        self.segment_count -= u64::from(partial.is_some());
        body.segments.extend(more);
        body.len = kept_len + more_len;
        partial
    }

    /// Takes a body out; its segments are the caller's.
    pub(super) fn take(&mut self, number: u32) -> Body {
        let body = self.by_number[number as usize].take().expect("an item has this number");
        self.vacant.push(number);
        self.segment_count -= body.segments.len() as u64;
        body
    }

    /// Gives the segments of a body back to the pool; how many they were.
    pub(super) fn remove(&mut self, number: u32, pool: &Pool) -> u64 {
        let body = self.take(number);
        let count = body.segments.len() as u64;
        for bytes in body.segments {
            pool.give(bytes);
        }
        count
    }

    /// Segments of all of them.
    pub(super) fn segment_count(&self) -> u64 {
        self.segment_count
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn parts_fill_segments_as_if_they_were_one(
            parts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..20), 0..8),
            segment_count in 0..8_usize,
        ) {
            let mut segments = vec![vec![0; 8].into_boxed_slice(); segment_count];
            let rest = fill(&mut segments, parts.iter().map(|part| &part[..]));
            let all = parts.concat();
            let room = all.len().min(8 * segment_count);
            prop_assert_eq!(&segments.concat()[..room], &all[..room]);
            prop_assert_eq!(&rest, &all[room..]);
        }
    }
}
