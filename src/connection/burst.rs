//! One burst, from the bytes of a read to the bytes of its replies: no input, no output, no waiting.
//!
//! INVARIANT: whatever the input, each call consumes some of it, or says what it waits for.
//! INVARIANT: replies come in the order of their requests, one each.
//! INVARIANT: `out` grows by at most one value, or one block of `stats`, past [`REPLY_LEN_MAX`] in one call.

use crate::command::{self, Context, Flow};
use larder_protocol::{NextKey, Parsed, Reply, Request, Retrieve, Then};
use memchr::memchr;

/// Replies are sent when there are this many bytes of them.
pub const REPLY_LEN_MAX: usize = 64 * 1024;
/// The first byte of every binary request, and of no text command.
const BINARY_MAGIC: u8 = 0x80;
/// As much of a request as a log line shows.
const LOGGED_LEN_MAX: usize = 256;

/// Where in the stream of its requests a connection is.
#[derive(Debug)]
pub struct Session {
    position: Position,
    /// Nothing has come yet.
    fresh: bool,
}

#[derive(Debug, Clone, Copy)]
enum Position {
    /// At the front of a request.
    Request,
    /// Among the keys of a get.
    Keys(Retrieve),
    /// Among the lines of a `stats detail dump`, before the prefix of this number.
    Prefixes { next: usize },
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
    /// The replies must be sent, and the connection closed: the client said so.
    Quit,
    /// The replies must be sent, and the connection closed, whatever the client is still sending.
    Close,
}

impl Default for Session {
    fn default() -> Self {
        Self { position: Position::Request, fresh: true }
    }
}

impl Session {
    /// Whether it is skipping a refused data block.
    pub fn is_swallowing(&self) -> bool {
        matches!(self.position, Position::Block { .. })
    }

    /// Answers what is in `input`, appending to `out`.
    pub fn run(&mut self, cx: &Context<'_>, input: &[u8], out: &mut Vec<u8>) -> Progress {
        if self.fresh && input.first() == Some(&BINARY_MAGIC) {
            tracing::debug!("closing: the client speaks the binary protocol, which is not offered");
            return Progress { consumed: 0, next: Next::Close };
        }
        self.fresh &= input.is_empty();
        let mut consumed = 0;
        let mut requests_left = cx.instance.config.requests_per_event;
        let next = loop {
            if out.len() >= REPLY_LEN_MAX {
                break Next::Flush;
            }
            let rest = &input[consumed..];
            let step = match self.position {
                Position::Block { left_len } => self.skip_block(left_len, rest),
                Position::Line => self.skip_line(rest),
                Position::Keys(retrieve) => self.next_key(cx, retrieve, rest, out),
                Position::Prefixes { next } => self.next_prefixes(cx, next, out),
                Position::Request if requests_left == 0 && !rest.is_empty() => {
                    cx.counters.conn_yields.increment();
                    break Next::Yield;
                }
                Position::Request => {
                    requests_left = requests_left.saturating_sub(1);
                    self.next_request(cx, rest, out)
                }
            };
            consumed += step.consumed;
            if let Some(next) = step.next {
                break next;
            }
        };
        Progress { consumed, next }
    }

    fn next_request(&mut self, cx: &Context<'_>, rest: &[u8], out: &mut Vec<u8>) -> Step {
        if rest.is_empty() {
            return Step::wait(0, 1);
        }
        match larder_protocol::parse(rest, cx.instance.limits) {
            Parsed::NeedMore { len_min } => Step::wait(0, len_min),
            Parsed::Request { request, consumed } => {
                log_request(rest);
                if let Request::Retrieve(retrieve) = request {
                    self.position = Position::Keys(retrieve);
                }
                match command::execute(cx, request, out) {
                    Flow::Continue => self.skip(consumed, rest.len()),
                    Flow::Close => Step { consumed, next: Some(Next::Quit) },
                    Flow::DumpPrefixes => {
                        self.position = Position::Prefixes { next: 0 };
                        Step::on(consumed)
                    }
                }
            }
            Parsed::Refused { reply, consumed, then } => {
                log_request(rest);
                if let Some(reply) = reply {
                    out.extend_from_slice(reply.line());
                }
                match then {
                    Then::Continue => self.skip(consumed, rest.len()),
                    Then::SkipLine => {
                        self.position = Position::Line;
                        Step::on(consumed)
                    }
                    Then::Close => {
                        let consumed = consumed.min(rest.len());
                        Step { consumed, next: Some(Next::Close) }
                    }
                }
            }
        }
    }

    fn next_key(
        &mut self,
        cx: &Context<'_>,
        mut retrieve: Retrieve,
        rest: &[u8],
        out: &mut Vec<u8>,
    ) -> Step {
        match retrieve.next_key(rest) {
            NextKey::Key { key, consumed } => {
                command::retrieve::key(cx, &retrieve, key, out);
                self.position = Position::Keys(retrieve);
                Step::on(consumed)
            }
            NextKey::NeedMore { consumed } => Step::wait(consumed, rest.len() - consumed + 1),
            NextKey::End { consumed } => {
                out.extend_from_slice(Reply::End.line());
                self.position = Position::Request;
                Step::on(consumed)
            }
            NextKey::Reject { reject, consumed } => {
                out.extend_from_slice(reject.line());
                self.position = Position::Line;
                Step::on(consumed)
            }
        }
    }

    fn next_prefixes(&mut self, cx: &Context<'_>, next: usize, out: &mut Vec<u8>) -> Step {
        self.position = if let Some(next) = cx.instance.prefixes.dump(next, out, REPLY_LEN_MAX) {
            Position::Prefixes { next }
        } else {
            out.extend_from_slice(Reply::End.line());
            Position::Request
        };
        Step::on(0)
    }

    /// Moves on by a number of bytes, of which `at_hand` are here.
    fn skip(&mut self, len: usize, at_hand: usize) -> Step {
        if len > at_hand {
            self.position = Position::Block { left_len: len - at_hand };
        }
        Step::on(len.min(at_hand))
    }

    fn skip_block(&mut self, left_len: usize, rest: &[u8]) -> Step {
        if left_len > rest.len() {
            self.position = Position::Block { left_len: left_len - rest.len() };
            return Step::wait(rest.len(), 1);
        }
        self.position = Position::Request;
        Step::on(left_len)
    }

    fn skip_line(&mut self, rest: &[u8]) -> Step {
        let Some(line_end) = memchr(b'\n', rest) else {
            return Step::wait(rest.len(), 1);
        };
        self.position = Position::Request;
        Step::on(line_end + 1)
    }
}

/// What one step of a burst did.
struct Step {
    consumed: usize,
    /// `None`: the burst goes on.
    next: Option<Next>,
}

impl Step {
    fn on(consumed: usize) -> Self {
        Self { consumed, next: None }
    }

    fn wait(consumed: usize, len_min: usize) -> Self {
        Self { consumed, next: Some(Next::Read { len_min }) }
    }
}

/// Shows the line of a request, with what is no printable ASCII escaped.
fn log_request(rest: &[u8]) {
    if tracing::enabled!(tracing::Level::TRACE) {
        let shown = &rest[..rest.len().min(LOGGED_LEN_MAX)];
        let line = shown.split(|byte| *byte == b'\n').next().unwrap_or_default();
        tracing::trace!("< {}", line.escape_ascii());
    }
}

#[cfg(test)]
mod tests;
