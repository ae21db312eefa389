//! A large value on its way in: it is received into the segments that it will be in, as they are needed.
//!
//! INVARIANT: segments of values that have not come whole are charged as all others are, and take no more of the limit
//! than the pool lets them.

use super::block::Piece;
use super::large::Body;
use super::segment::{Pool, Purse};
use super::{Key, Now, Store, Stored, Write};
use std::sync::Arc;

/// What has come of the body of a value, and room for more.
#[derive(Debug)]
pub struct Upload {
    body: Body,
    /// As long will the body be, in bytes.
    whole_len: usize,
    permit: Permit,
}

/// Leave to take so many segments for a body that is not whole.
#[derive(Debug)]
struct Permit {
    pool: Arc<Pool>,
    count: u64,
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.pool.end_upload(self.count);
    }
}

impl Upload {
    /// Of a body of this length, of which nothing has come; `None` where too much is on its way already.
    pub(super) fn begin(pool: &Arc<Pool>, whole_len: usize) -> Option<Self> {
        let count = whole_len.div_ceil(pool.segment_len()) as u64;
        pool.begin_upload(count).then(|| Self {
            body: Body::new(pool, Vec::new(), 0),
            whole_len,
            permit: Permit { pool: Arc::clone(pool), count },
        })
    }

    /// Bytes of the body that are still to come.
    pub fn left_len(&self) -> usize {
        self.whole_len - self.body.len()
    }

    /// Bytes that have come.
    pub fn len(&self) -> usize {
        self.body.len()
    }

    /// Whether nothing has come.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of memory that it takes.
    pub fn held_len(&self) -> usize {
        self.body.capacity()
    }

    /// The same when there is room for so many bytes more.
    pub fn held_len_with(&self, len: usize) -> usize {
        let wanted_len = self.body.len() + len.min(self.left_len());
        self.held_len().max(wanted_len.next_multiple_of(self.permit.pool.segment_len()))
    }

    /// Bytes for which there is room already.
    pub fn room_len(&self) -> usize {
        self.held_len().min(self.whole_len) - self.body.len()
    }

    /// Where the next bytes go, in order.
    pub fn room(&mut self) -> impl Iterator<Item = &mut [u8]> {
        let mut left_len = self.left_len();
        self.body.room().map(move |piece| {
            let len = piece.len().min(left_len);
            left_len -= len;
            &mut piece[..len]
        })
    }

    /// So many bytes have come into the room.
    ///
    /// # Panics
    /// When there was no room for so many.
    pub fn advance(&mut self, len: usize) {
        assert!(len <= self.room_len(), "more has come than there was room for");
        self.body.advance(len);
    }

    /// Segments that are missing, to have room for so many bytes more, or for all.
    pub(super) fn missing_count(&self, len: usize) -> u64 {
        let missing_len = self.held_len_with(len) - self.held_len();
        (missing_len / self.permit.pool.segment_len()) as u64
    }

    pub(super) fn push(&mut self, segments: Vec<Piece>) {
        self.body.push(segments);
    }

    /// The body, which has come whole.
    pub(super) fn into_body(self) -> Body {
        assert_eq!(self.left_len(), 0, "it has come whole");
        self.body
    }
}

impl Store {
    /// Begins a storage command whose value comes in pieces; `None` where that must come whole: it is not large enough
    /// or too large, would be refused, or is joined to another. The value of `write` does not matter.
    pub fn begin_upload(&self, write: &Write<'_>, value_len: usize, now: Now) -> Option<Upload> {
        let whole_len = self.whole_len(write.mode, value_len);
        if whole_len == 0 || self.refusal(write, now).is_some() {
            return None;
        }
        Upload::begin(&self.pool, whole_len)
    }

    /// Makes room for so many bytes more of an upload, or for all of them; false where there is no memory.
    pub fn grow_upload(&self, upload: &mut Upload, key: Key<'_>, len: usize, now: Now) -> bool {
        let needed = self.pool.charge(upload.missing_count(len));
        let mut purse = Purse::new(&self.pool);
        let is_there = self.collect(needed, self.home(key), now, &mut purse);
        if is_there {
            upload.push(std::mem::take(&mut purse.segments));
        }
        is_there
    }

    /// Carries out a storage command whose value begins with an upload that has come whole, and ends with the value of
    /// `write`.
    pub fn finish_upload(&self, upload: Upload, write: &Write<'_>, now: Now) -> Stored {
        self.put(write, Some(upload.into_body()), now)
    }

    /// Carries out a storage command for whose value there was no memory.
    pub fn refuse(&self, write: &Write<'_>, now: Now) -> Stored {
        let refusal = self.refusal(write, now);
        refusal.unwrap_or_else(|| self.give_up(write, &mut self.shard(self.home(write.key))))
    }
}
