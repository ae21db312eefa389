//! The bodies of large values: whole segments, outside of the logs. What does not fill a segment stands in the
//! log, behind the key, as the values of other items do.
//!
//! A body is lent to those who send it, so that it need not be copied for them. Its item may be overwritten, deleted or
//! evicted meanwhile: the body lives until the last of them has sent it.
//!
//! INVARIANT: all segments of a body are full but the last one, which may be when nothing stands in the log.
//! INVARIANT: the bytes of a body that is lent do not change.
//! INVARIANT: readers keep no more segments from coming free than the pool lends.

use super::block::Piece;
use super::item::FRONT_LEN_MAX;
use super::segment::Pool;
use std::ops::DerefMut;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// The front of a value, in whole segments, which go back to the pool when it is dropped.
#[derive(Debug)]
pub(super) struct Body {
    pool: Arc<Pool>,
    /// As many as `len` needs.
    segments: Vec<Piece>,
    /// In bytes of the value.
    len: usize,
    /// So many loans there are of it. A new one is made under the lock of its shard.
    loan_count: AtomicUsize,
}

impl Body {
    pub(super) fn new(pool: &Arc<Pool>, segments: Vec<Piece>, len: usize) -> Self {
        pool.count_in_bodies(segments.len());
        Self { pool: Arc::clone(pool), segments, len, loan_count: AtomicUsize::new(0) }
    }

    /// In bytes of the value.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn segment_count(&self) -> u64 {
        self.segments.len() as u64
    }

    /// Its bytes, a segment at a time.
    pub(super) fn parts(&self) -> impl Iterator<Item = &[u8]> {
        let mut left_len = self.len;
        self.segments.iter().map(move |bytes| {
            let part = &bytes[..bytes.len().min(left_len)];
            left_len -= part.len();
            part
        })
    }

    /// Bytes that its segments have room for.
    pub(super) fn capacity(&self) -> usize {
        self.segments.len() * self.pool.segment_len()
    }

    /// What of its segments is behind its bytes.
    pub(super) fn room(&mut self) -> impl Iterator<Item = &mut [u8]> {
        let segment_len = self.pool.segment_len();
        let (full_count, mut skipped_len) = (self.len / segment_len, self.len % segment_len);
        self.segments[full_count..]
            .iter_mut()
            .map(move |bytes| &mut bytes[std::mem::take(&mut skipped_len)..])
    }

    /// So many bytes behind it belong to it now.
    pub(super) fn advance(&mut self, len: usize) {
        self.len += len;
    }

    /// Gives it more room.
    pub(super) fn push(&mut self, segments: Vec<Piece>) {
        self.pool.count_in_bodies(segments.len());
        self.segments.extend(segments);
    }

    /// Takes it apart.
    pub(super) fn into_segments(mut self) -> Vec<Piece> {
        self.pool.count_out_of_bodies(self.segments.len());
        std::mem::take(&mut self.segments)
    }

    /// Lets somebody read it for as long as he likes, unless too much is lent. To be called under the lock of its shard.
    #[inline(never)]
    pub(super) fn lend(self: &Arc<Self>) -> Option<Loan> {
        let is_first = self.loan_count.fetch_add(1, Relaxed) == 0;
        if is_first && !self.pool.lend(self.segment_count()) {
            self.loan_count.fetch_sub(1, Relaxed);
            return None;
        }
        Some(Loan(Arc::clone(self)))
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        if !self.segments.is_empty() {
            self.pool.count_out_of_bodies(self.segments.len());
            self.pool.give_all(&mut self.segments);
        }
    }
}

/// The body of a value, to be read without the lock of its shard, as it was when it was lent.
#[derive(Debug)]
pub struct Loan(Arc<Body>);

impl Loan {
    /// In bytes.
    #[expect(clippy::len_without_is_empty, reason = "a body is not empty")]
    pub fn len(&self) -> usize {
        self.0.len
    }

    /// Its pieces, in order.
    pub fn parts(&self) -> impl Iterator<Item = &[u8]> {
        self.0.parts()
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        let body = &self.0;
        if body.loan_count.fetch_sub(1, Relaxed) == 1 {
            body.pool.end_loan(body.segment_count());
        }
    }
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
    by_number: Vec<Option<Arc<Body>>>,
    vacant: Vec<u32>,
    segment_count: u64,
}

impl Bodies {
    pub(super) fn insert(&mut self, body: Body) -> u32 {
        self.segment_count += body.segment_count();
        let number = self.vacant.pop().unwrap_or_else(|| {
            self.by_number.push(None);
            u32::try_from(self.by_number.len() - 1).expect("fewer than 2^32 large values")
        });
        self.by_number[number as usize] = Some(Arc::new(body));
        number
    }

    pub(super) fn get(&self, number: u32) -> &Arc<Body> {
        self.by_number[number as usize].as_ref().expect("an item has this number")
    }

    /// Whether nobody reads a body without the lock: then nobody begins to before it is opened.
    pub(super) fn is_unlent(&self, number: u32) -> bool {
        Arc::strong_count(self.get(number)) == 1
    }

    /// Puts segments that hold `more_len` bytes behind the first `kept_len` bytes of a body, which are full
    /// segments; the last segment where that was not full. It must be [`Self::is_unlent`].
    pub(super) fn extend(
        &mut self,
        number: u32,
        kept_len: usize,
        more: Vec<Piece>,
        more_len: usize,
    ) -> Option<Piece> {
        let body = self.by_number[number as usize].as_mut().expect("an item has this number");
        let body = Arc::get_mut(body).expect("nobody else has it");
        let before = body.segment_count();
        let partial = if kept_len < body.len { body.segments.pop() } else { None };
        body.pool.count_out_of_bodies(usize::from(partial.is_some()));
        body.pool.count_in_bodies(more.len());
        body.segments.extend(more);
        body.len = kept_len + more_len;
        self.segment_count = self.segment_count + body.segment_count() - before;
        partial
    }

    /// Takes a body out.
    pub(super) fn take(&mut self, number: u32) -> Arc<Body> {
        let body = self.by_number[number as usize].take().expect("an item has this number");
        self.vacant.push(number);
        self.segment_count -= body.segment_count();
        body
    }

    /// Segments of all of them.
    pub(super) fn segment_count(&self) -> u64 {
        self.segment_count
    }

    /// The same, counted anew.
    pub(super) fn recount(&self) -> u64 {
        self.by_number.iter().flatten().map(|body| body.segment_count()).sum()
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
