//! How replies are handed to the system.

use crate::replies::Replies;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{self, Poll, ready};
use tokio::io::AsyncWrite;
use tokio::net::TcpStream;

/// So many pieces at most are handed over at once.
const PIECE_COUNT_MAX: usize = 64;

/// Sends what comes behind the first `sent_len` bytes, as far as the client takes it at once; how much that was.
pub(super) fn poll_send(
    stream: &mut TcpStream,
    cx: &mut task::Context<'_>,
    replies: &Replies,
    sent_len: usize,
) -> Poll<io::Result<usize>> {
    let written = if replies.is_text() {
        Pin::new(stream).poll_write(cx, &replies.text[sent_len..])
    } else {
        poll_send_pieces(stream, cx, replies, sent_len)
    };
    match ready!(written)? {
        0 => Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
        len => Poll::Ready(Ok(len)),
    }
}

/// Apart, since what most replies need is little.
#[inline(never)]
fn poll_send_pieces(
    stream: &mut TcpStream,
    cx: &mut task::Context<'_>,
    replies: &Replies,
    sent_len: usize,
) -> Poll<io::Result<usize>> {
    let mut slices = [IoSlice::new(&[]); PIECE_COUNT_MAX];
    let count = fill(&mut slices, replies.pieces(), sent_len);
    Pin::new(stream).poll_write_vectored(cx, &slices[..count])
}

/// Fills `slices` with what comes behind the first `skipped_len` bytes of some pieces; how many it took.
fn fill<'a>(
    slices: &mut [IoSlice<'a>],
    pieces: impl Iterator<Item = &'a [u8]>,
    mut skipped_len: usize,
) -> usize {
    let rests = pieces.filter_map(|piece| {
        let len = skipped_len.min(piece.len());
        skipped_len -= len;
        Some(&piece[len..]).filter(|rest| !rest.is_empty())
    });
    let mut count = 0;
    for (slice, rest) in slices.iter_mut().zip(rests) {
        *slice = IoSlice::new(rest);
        count += 1;
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn pieces_go_on_where_the_last_ones_ended(
            pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..9), 0..20),
            slice_count in 1..20_usize,
        ) {
            let all = pieces.concat();
            for skipped_len in 0..=all.len() {
                let mut slices = vec![IoSlice::new(&[]); slice_count];
                let count = fill(&mut slices, pieces.iter().map(|piece| &piece[..]), skipped_len);
                let filled = slices[..count].iter().flat_map(|slice| slice.to_vec()).collect::<Vec<_>>();
                prop_assert!(all[skipped_len..].starts_with(&filled));
                prop_assert!(count == slice_count || filled.len() == all.len() - skipped_len);
            }
        }
    }
}
