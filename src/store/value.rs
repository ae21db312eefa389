//! A value as a reader sees it: in pieces, since it may pass from one segment to the next.

use super::large::{Body, Loan};
use std::sync::Arc;

/// The client's bytes of an item.
#[derive(Debug, Clone, Copy)]
pub struct Value<'a> {
    /// Whole segments.
    pub(super) body: Option<&'a Arc<Body>>,
    pub(super) front: &'a [u8],
    pub(super) rest: &'a [u8],
}

impl<'a> Value<'a> {
    /// A value in one piece.
    pub(super) fn whole(front: &'a [u8]) -> Self {
        Self { body: None, front, rest: &[] }
    }

    /// Of what stands in whole segments, in bytes.
    pub(super) fn body_len(&self) -> usize {
        self.body.map_or(0, |body| body.len())
    }

    /// In bytes.
    pub fn len(&self) -> usize {
        self.body_len() + self.front.len() + self.rest.len()
    }

    /// Whether it is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All of it, where it is in one piece.
    #[inline]
    pub fn piece(&self) -> Option<&'a [u8]> {
        (self.body.is_none() && self.rest.is_empty()).then_some(self.front)
    }

    /// Its pieces, in order.
    pub fn parts(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let body = self.body.into_iter().flat_map(|body| body.parts());
        body.chain([self.front, self.rest])
    }

    /// The front of it, to be read later, where so much or more stands in whole segments, and not too much is lent.
    #[inline]
    pub fn lend(&self, len_min: usize) -> Option<Loan> {
        self.body.filter(|body| body.len() >= len_min)?.lend()
    }

    /// Appends to `out` what is not lent by [`Self::lend`].
    #[inline]
    pub fn copy_rest_to(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.front);
        out.extend_from_slice(self.rest);
    }

    /// Appends it to `out`.
    #[inline]
    pub fn copy_to(&self, out: &mut Vec<u8>) {
        if let Some(body) = self.body {
            body.parts().for_each(|part| out.extend_from_slice(part));
        }
        self.copy_rest_to(out);
    }

    /// Its bytes in one piece.
    pub fn to_vec(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.len());
        self.copy_to(&mut bytes);
        bytes
    }
}
