//! A value as a reader sees it: in pieces, since it may pass from one segment to the next.

use super::block::Piece;

/// The client's bytes of an item.
#[derive(Debug, Clone, Copy)]
pub struct Value<'a> {
    /// Whole segments, of which the first `body_len` bytes count.
    pub(super) body: &'a [Piece],
    pub(super) body_len: usize,
    pub(super) front: &'a [u8],
    pub(super) rest: &'a [u8],
}

impl<'a> Value<'a> {
    /// A value in one piece.
    pub(super) fn whole(front: &'a [u8]) -> Self {
        Self { body: &[], body_len: 0, front, rest: &[] }
    }

    /// In bytes.
    pub fn len(&self) -> usize {
        self.body_len + self.front.len() + self.rest.len()
    }

    /// Whether it is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Its pieces, in order.
    pub fn parts(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let mut left_len = self.body_len;
        let body = self.body.iter().map(move |bytes| {
            let part = &bytes[..bytes.len().min(left_len)];
            left_len -= part.len();
            part
        });
        body.chain([self.front, self.rest])
    }

    /// Appends it to `out`.
    pub fn copy_to(&self, out: &mut Vec<u8>) {
        for part in self.parts() {
            out.extend_from_slice(part);
        }
    }

    /// Its bytes in one piece.
    pub fn to_vec(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.len());
        self.copy_to(&mut bytes);
        bytes
    }
}
