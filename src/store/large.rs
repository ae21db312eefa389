//! The bodies of large values: whole segments, outside of the logs. What does not fill a segment stands in the
//! log, behind the key, as the values of other items do.
//!
//! INVARIANT: all segments of a body are full but the last one, which may be when nothing stands in the log.

use super::item::FRONT_LEN_MAX;
use super::segment::Pool;

/// The front of a value, in whole segments.
#[derive(Debug, Default)]
pub(super) struct Body {
    /// As many as `len` needs.
    pub(super) segments: Vec<Box<[u8]>>,
    /// In bytes of the value.
    pub(super) len: usize,
}

/// How many bytes of a value go into its body: whole segments, or all where the rest has no room in one segment with
/// its key.
pub(super) fn body_len(value_len: usize, segment_len: usize) -> usize {
    let rest_len = value_len % segment_len;
    if rest_len + FRONT_LEN_MAX > segment_len { value_len } else { value_len - rest_len }
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
        more: Vec<Box<[u8]>>,
        more_len: usize,
    ) -> Option<Box<[u8]>> {
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
