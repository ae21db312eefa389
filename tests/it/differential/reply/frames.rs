//! Responses of the binary protocol as they can be compared.

use super::Uniques;
use crate::differential::frame::{Frame, HEADER_LEN, UNIQUE_AT, Unique};
use std::ops::Range;

/// Where a response says how long its body is, and what it repeats of its request.
const BODY_LEN: Range<usize> = 8..12;
const OPAQUE: Range<usize> = 12..16;
/// The opaque of the first frame of a turn; the others count on from there.
const OPAQUE_OF_FIRST: u32 = 0x0102_0300;
/// What a turn ends with has an opaque from here on.
const OPAQUE_OF_END: u32 = 1 << 31;

/// The opaque of what a turn ends with.
pub(crate) fn opaque_of_end(turn_count: u64) -> u32 {
    OPAQUE_OF_END | u32::try_from(turn_count % (1 << 31)).expect("it is less")
}

impl Uniques {
    /// A request with the unique that this server gave the item.
    pub(crate) fn rendered_frame(&self, frame: &Frame, index: usize) -> Vec<u8> {
        let unique = match frame.unique {
            Unique::Number(number) => number,
            Unique::Seen => {
                let digits = std::str::from_utf8(self.last(&frame.key.0)).expect("digits");
                digits.parse().expect("a unique is a number")
            }
        };
        frame.bytes(unique, OPAQUE_OF_FIRST + u32::try_from(index).expect("turns of some frames"))
    }

    /// Responses to the frames of a turn.
    pub(crate) fn normal_frames(
        &mut self,
        mut replies: &[u8],
        frames: &[Frame],
    ) -> Result<Vec<u8>, String> {
        let mut normal = Vec::with_capacity(replies.len());
        while !replies.is_empty() {
            let parts = replies.split_first_chunk::<HEADER_LEN>().and_then(|(head, rest)| {
                let body_len = u32::from_be_bytes(head[BODY_LEN].try_into().ok()?);
                let (body, rest) = rest.split_at_checked(body_len as usize)?;
                Some((head, body, rest))
            });
            let (head, body, rest) =
                parts.ok_or_else(|| format!("half a response: {}", replies.escape_ascii()))?;
            let number =
                |field: &[u8]| field.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
            let (opaque, unique) = (number(&head[OPAQUE]), number(&head[UNIQUE_AT..]));
            normal.extend_from_slice(&head[..UNIQUE_AT]);
            if unique > 0 {
                let digits = unique.to_string().into_bytes();
                normal.extend_from_slice(self.number(&digits).as_bytes());
                let index = opaque.checked_sub(OPAQUE_OF_FIRST.into()).map(usize::try_from);
                let frame = index.and_then(|index| frames.get(index.ok()?));
                self.last.extend(frame.map(|frame| (frame.key.0.clone(), digits)));
            }
            normal.extend_from_slice(body);
            replies = rest;
        }
        Ok(normal)
    }
}
