//! One burst, from the bytes of a read to the bytes of its replies: no input, no output, no waiting.
//!
//! INVARIANT: whatever the input, each call consumes some of it, or says what it waits for.
//! INVARIANT: replies come in the order of their requests, one each.
//! INVARIANT: `out` grows by at most one value, or one block of `stats`, or one piece of a dump, past [`REPLY_LEN_MAX`] in one call, and a few
//! lines.

mod binary;
mod text;

use super::incoming::{BEGUN_LEN_MIN, Beginning, Incoming};
use crate::command::{Context, Dump};
use crate::config::Protocol;
use crate::replies::Replies;
use crate::store::Key;
use arrayvec::ArrayVec;
use binary::log_frame;
use larder_protocol::binary::REQUEST_MAGIC;
use larder_protocol::{Retrieve, Streams};
use text::log_request;

/// Replies are sent when there are this many bytes of them.
pub const REPLY_LEN_MAX: usize = 64 * 1024;
/// So many things at most are parsed before the first of them is carried out. What is looked at for so many still fits
/// into a first cache of 32 KiB: with 64, a get of 100 keys out of a million takes 4 % longer.
const TASK_COUNT_MAX: u8 = 32;
/// So many at least.
const TASK_COUNT_MIN: u8 = 2;
/// With fewer keys, asking the memory in advance takes longer than waiting for it.
const PREFETCHED_MIN: usize = 2;
/// As much of a request as a log line shows.
const LOGGED_LEN_MAX: usize = 256;

/// Where in the stream of its requests a connection is.
#[derive(Debug)]
pub struct Session {
    position: Position,
    /// What it speaks: until the first byte, what its listener lets it.
    protocol: Protocol,
    /// So far the lines of the input are logged. Some may be parsed again, when replies had to be sent before them.
    logged_len: u32,
    /// So many things are parsed before the first of them is carried out: few after replies had to be sent in between,
    /// since what follows is parsed again then.
    task_count_max: u8,
    /// The request whose value is received at the moment. The next one stands behind it.
    incoming: Option<Box<Incoming>>,
    /// Whether the last request had a value that was received like that.
    expects_large: bool,
}

#[derive(Debug)]
enum Position {
    /// At the front of a request.
    Request,
    /// Among the keys of a get.
    Keys(Retrieve),
    /// Amid a reply that comes in pieces.
    Dump(Box<Dump>),
    /// This far before the end of a refused data block.
    Block { left_len: usize },
    /// Somewhere before the end of a refused line.
    Line,
}

/// What a call did, and what must happen before the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Bytes of the input that are done with.
    pub consumed: usize,
    /// Of these, bytes of a value that has not come whole: nobody has asked for anything with them.
    pub partial_len: usize,
    /// What must happen now.
    pub next: Next,
}

/// What must happen before a burst can go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// The input (less what was consumed) must be this long.
    Read {
        /// In bytes.
        len_min: usize,
    },
    /// The replies must be sent.
    Flush,
    /// Others must have their turn.
    Yield,
    /// The replies must be sent, and then what is watched, whatever the client is still sending.
    Watch(Streams),
    /// The replies must be sent, and the connection closed: the client said so.
    Quit,
    /// The replies must be sent, and the connection closed, whatever the client is still sending.
    Close,
}

impl Session {
    /// At the front of the first request.
    pub fn new(protocol: Protocol) -> Self {
        Self {
            position: Position::Request,
            protocol,
            logged_len: 0,
            task_count_max: TASK_COUNT_MAX,
            incoming: None,
            expects_large: false,
        }
    }

    /// Whether it is skipping a refused data block.
    pub fn is_swallowing(&self) -> bool {
        let is_incoming_lost =
            self.incoming.as_ref().is_some_and(|incoming| incoming.is_swallowing());
        is_incoming_lost || matches!(self.position, Position::Block { .. })
    }

    /// Whether it is amid a request whose value is received as it comes.
    pub(super) fn has_incoming(&self) -> bool {
        self.incoming.is_some()
    }

    /// That request, where what comes next has a place of its own.
    pub(super) fn receiving(&mut self) -> Option<&mut Incoming> {
        self.incoming.as_deref_mut().filter(|incoming| incoming.is_receiving())
    }

    /// Whether all of that request has come.
    pub(super) fn has_whole(&self) -> bool {
        self.incoming.as_ref().is_some_and(|incoming| incoming.len_min() == 0)
    }

    /// Whether it speaks the binary protocol.
    pub(super) fn is_binary(&self) -> bool {
        self.protocol == Protocol::Binary
    }

    /// Forgets that request.
    pub(super) fn give_up(&mut self) {
        self.incoming = None;
    }

    /// Memory that it takes, in bytes.
    pub(super) fn held_len(&self) -> usize {
        self.incoming.as_ref().map_or(0, |incoming| incoming.held_len())
    }

    /// What a reply that comes in pieces takes between two of them, in bytes. Not nothing, so that a server that is to
    /// end waits for it.
    pub(super) fn dump_len(&self) -> usize {
        if let Position::Dump(dump) = &self.position { dump.held_len() } else { 0 }
    }

    /// Whether the next request may have a large value, as the last one had.
    pub(super) fn expects_large(&self) -> bool {
        self.expects_large
    }

    /// Answers what is in `input`, appending to `out`.
    pub fn run(&mut self, cx: &Context<'_>, input: &[u8], out: &mut Replies) -> Progress {
        if self.protocol == Protocol::Auto
            && let Some(first) = input.first()
        {
            let is_binary = *first == REQUEST_MAGIC;
            self.protocol = if is_binary { Protocol::Binary } else { Protocol::Ascii };
        }
        self.expects_large = false;
        let (mut consumed, mut partial_len) = (0, 0);
        let mut requests_left = cx.instance.config.requests_per_event;
        let next = loop {
            if out.len() >= REPLY_LEN_MAX {
                break Next::Flush;
            }
            if self.incoming.is_some() {
                let (len, next) = self.receive(cx, &input[consumed..], out);
                consumed += len;
                match next {
                    Some(next) => {
                        partial_len = len;
                        break next;
                    }
                    None => continue,
                }
            }
            if let Position::Dump(dump) = &mut self.position {
                if dump.write_piece(cx, &mut out.text) {
                    self.position = Position::Request;
                }
                // However long it takes, others wait for one piece of it at most.
                break Next::Yield;
            }
            let (done, next) = if self.is_binary() {
                self.answer_frames(cx, input, consumed, &mut requests_left, out)
            } else {
                self.answer_lines(cx, input, consumed, &mut requests_left, out)
            };
            consumed = done;
            match next {
                Some(Next::Read { len_min }) if len_min > BEGUN_LEN_MIN => {
                    let (len, next) = self.begin(cx, &input[consumed..], len_min);
                    consumed += len;
                    if let Some(next) = next {
                        break next;
                    }
                }
                Some(next) => {
                    if next == Next::Yield {
                        cx.counters.conn_yields.increment();
                    }
                    break next;
                }
                None => {}
            }
        };
        self.logged_len = self.logged_len.saturating_sub(in_u32(consumed));
        Progress { consumed, partial_len, next }
    }

    /// Begins to receive the value of a storage command that has not come whole, where the store lets it; how much of
    /// the input is done with.
    #[inline(never)]
    fn begin(&mut self, cx: &Context<'_>, rest: &[u8], len_min: usize) -> (usize, Option<Next>) {
        match Incoming::begin(cx, rest, self.is_binary()) {
            Beginning::Begun(incoming, consumed) => {
                if self.is_binary() {
                    log_frame(rest);
                } else {
                    log_request(rest);
                }
                self.incoming = Some(incoming);
                (consumed, None)
            }
            Beginning::TooEarly(begun_len) => {
                self.expects_large = true;
                (0, Some(Next::Read { len_min: begun_len }))
            }
            Beginning::Refused => (0, Some(Next::Read { len_min })),
        }
    }

    /// Receives what is here of a value, and carries out its command when that is all.
    #[inline(never)]
    fn receive(
        &mut self,
        cx: &Context<'_>,
        rest: &[u8],
        out: &mut Replies,
    ) -> (usize, Option<Next>) {
        let Some(mut incoming) = self.incoming.take() else {
            return (0, None);
        };
        let front_len = incoming.take_front(cx, rest);
        let len_min = incoming.len_min();
        let Some(tail) = rest[front_len..].get(..len_min) else {
            self.incoming = Some(incoming);
            return (front_len, Some(Next::Read { len_min }));
        };
        incoming.finish(cx, tail, &mut out.text);
        self.expects_large = true;
        (front_len + len_min, None)
    }

    /// Moves on by a number of bytes, of which `at_hand` are here; how many of these are done with.
    fn skip(&mut self, len: usize, at_hand: usize) -> usize {
        if len > at_hand {
            self.position = Position::Block { left_len: len - at_hand };
        }
        len.min(at_hand)
    }

    /// Moves on in a refused data block; the same.
    fn skip_block(&mut self, left_len: usize, at_hand: usize) -> (usize, Option<Next>) {
        if left_len > at_hand {
            self.position = Position::Block { left_len: left_len - at_hand };
            return (at_hand, Some(Next::Read { len_min: 1 }));
        }
        self.position = Position::Request;
        (left_len, None)
    }
}

/// Asks the memory for all that operations on these keys will read.
fn prefetch<'k, 'a: 'k>(cx: &Context<'_>, keys: impl Iterator<Item = &'k mut Key<'a>>) {
    let mut keys: ArrayVec<_, { TASK_COUNT_MAX as usize }> = keys.collect();
    if keys.len() >= PREFETCHED_MIN {
        cx.instance.store.prefetch(&mut keys);
    }
}

/// A number in a field of a connection, of which there may be many. There are fewer threads, and no request is as long as
/// 4 GiB; behind that lines are logged twice.
pub(super) fn in_u32(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
