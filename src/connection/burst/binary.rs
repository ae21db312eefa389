//! Bursts of the binary protocol. A session is the same, and so is the way through a burst: what comes next is parsed,
//! as much of it as may be carried out together, and its keys are looked up together.
//!
//! INVARIANT: between requests the position of a session is at the front of one, or within a body that is skipped.

use super::{
    LOGGED_LEN_MAX, Next, Position, REPLY_LEN_MAX, Session, TASK_COUNT_MAX, TASK_COUNT_MIN,
    prefetch,
};
use crate::command::{Context, binary as command};
use crate::replies::Replies;
use crate::store::Key;
use arrayvec::ArrayVec;
use larder_protocol::binary::response::write_status;
use larder_protocol::binary::{self, HEADER_LEN, Origin, Parsed, Request, Status};
use std::ops::ControlFlow;

/// Something to be done, and where in the input it stands.
#[derive(Debug)]
struct Task<'a> {
    todo: Todo<'a>,
    start: usize,
}

/// What is to be done for a client.
#[derive(Debug, Clone, Copy)]
enum Todo<'a> {
    Request(Request<'a, Key<'a>>),
    /// This is the answer.
    Refuse(Origin, Status),
}

impl<'a> Task<'a> {
    fn key_mut(&mut self) -> Option<&mut Key<'a>> {
        match &mut self.todo {
            Todo::Request(request) => request.key_mut(),
            Todo::Refuse(..) => None,
        }
    }
}

type Tasks<'a> = ArrayVec<Task<'a>, { TASK_COUNT_MAX as usize }>;

impl Session {
    /// Parses what comes behind `start`, and carries it out in order; how far it came, and what must happen now.
    #[inline(never)]
    pub(super) fn answer_frames(
        &mut self,
        cx: &Context<'_>,
        input: &[u8],
        start: usize,
        requests_left: &mut u32,
        out: &mut Replies,
    ) -> (usize, Option<Next>) {
        let (mut tasks, mut end, mut next) = (Tasks::new(), start, None);
        while next.is_none() && tasks.len() < usize::from(self.task_count_max) {
            let rest = &input[end..];
            if let Position::Block { left_len } = self.position {
                let skipped;
                (skipped, next) = self.skip_block(left_len, rest.len());
                end += skipped;
                continue;
            }
            if rest.is_empty() {
                next = Some(Next::Read { len_min: 1 });
                continue;
            }
            if *requests_left == 0 {
                next = Some(Next::Yield);
                continue;
            }
            *requests_left -= 1;
            let (todo, consumed) = match binary::parse(rest, cx.instance.limits) {
                Parsed::NeedMore { len_min } => {
                    next = Some(Next::Read { len_min });
                    continue;
                }
                Parsed::NeedValue { head_len, value_len, .. } => {
                    next = Some(Next::Read { len_min: head_len + value_len });
                    continue;
                }
                Parsed::Garbage => {
                    next = Some(Next::Close);
                    continue;
                }
                Parsed::Request { request, consumed } => {
                    let request = request.with_key(|key| cx.instance.store.key(key));
                    (Todo::Request(request), consumed)
                }
                Parsed::Refused { origin, status, consumed } => {
                    (Todo::Refuse(origin, status), consumed)
                }
                Parsed::Fatal { origin, status } => {
                    next = Some(Next::Close);
                    (Todo::Refuse(origin, status), 0)
                }
            };
            tasks.push(Task { todo, start: end });
            end += self.skip(consumed, rest.len());
        }
        prefetch(cx, tasks.iter_mut().filter_map(Task::key_mut));
        for (index, Task { todo, start }) in tasks.iter().enumerate() {
            if out.len() >= REPLY_LEN_MAX {
                self.position = Position::Request;
                self.task_count_max = TASK_COUNT_MIN;
                return (*start, Some(Next::Flush));
            }
            log_frame(&input[*start..]);
            match *todo {
                Todo::Request(request) => match command::execute(cx, request, out) {
                    ControlFlow::Continue(()) => {}
                    ControlFlow::Break(None) => return (end, Some(Next::Quit)),
                    ControlFlow::Break(Some(dump)) => {
                        self.position = Position::Dump(Box::new(dump));
                        // What was parsed already is parsed again behind it.
                        return (tasks.get(index + 1).map_or(end, |next| next.start), None);
                    }
                },
                Todo::Refuse(origin, status) => write_status(&mut out.text, origin, status),
            }
        }
        self.task_count_max = (self.task_count_max * 2).min(TASK_COUNT_MAX);
        (end, next)
    }
}

/// Shows header, extras and key of a frame, with what is no printable ASCII escaped.
pub(super) fn log_frame(rest: &[u8]) {
    if tracing::enabled!(tracing::Level::TRACE) {
        let parts_len = match *rest {
            [_, _, high, low, extras_len, ..] => {
                usize::from(u16::from_be_bytes([high, low])) + usize::from(extras_len)
            }
            _ => 0,
        };
        let shown_len = (HEADER_LEN + parts_len).min(LOGGED_LEN_MAX).min(rest.len());
        tracing::trace!("< {}", rest[..shown_len].escape_ascii());
    }
}
