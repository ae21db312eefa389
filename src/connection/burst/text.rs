//! Bursts of the text protocol, classic and meta: a session steps through the input, and what it finds is collected until
//! it may be carried out together.

use super::{
    LOGGED_LEN_MAX, Next, Position, REPLY_LEN_MAX, Session, TASK_COUNT_MAX, TASK_COUNT_MIN, in_u32,
    prefetch,
};
use crate::command::{self, Context, Flow};
use crate::replies::Replies;
use crate::store::Key;
use arrayvec::ArrayVec;
use larder_protocol::{NextKey, Parsed, Reply, Request, Retrieve, Then};
use memchr::memchr;

/// What is to be done for a client, in the order in which it asked.
#[derive(Debug, Clone, Copy)]
enum Todo<'a> {
    /// One key of a get; the last one brings the `END`. `is_whole`: it is all of the line, which it begins.
    Key { retrieve: Retrieve, key: Key<'a>, is_last: bool, is_whole: bool },
    /// All of a request.
    Request(Request<'a, Key<'a>>),
    /// This is the answer.
    Line(&'static [u8]),
}

/// Something to be done, and where in the input it stands.
#[derive(Debug)]
struct Task<'a> {
    todo: Todo<'a>,
    start: usize,
}

/// What is carried out together.
#[derive(Debug)]
struct Group<'a> {
    tasks: ArrayVec<Task<'a>, { TASK_COUNT_MAX as usize }>,
    /// How far the input is parsed.
    end: usize,
    /// Whether the last task may change how the rest is to be read, or end the connection.
    is_complete: bool,
}

impl<'a> Group<'a> {
    /// Adds what stands at the end of what is parsed.
    #[inline]
    fn add(&mut self, todo: Todo<'a>) {
        self.tasks.push(Task { todo, start: self.end });
    }

    /// Asks the memory for all that will be read.
    fn prefetch(&mut self, cx: &Context<'_>) {
        let keys = self.tasks.iter_mut().filter_map(|task| match &mut task.todo {
            Todo::Key { key, .. } => Some(key),
            Todo::Request(request) => request.key_mut(),
            Todo::Line(_) => None,
        });
        prefetch(cx, keys);
    }
}

/// What one step through the input came to: bytes that are done with, and what must happen; `None`: there is more to
/// parse.
type Step = (usize, Option<Next>);

/// A step that needs more input.
fn wait(consumed: usize, len_min: usize) -> Step {
    (consumed, Some(Next::Read { len_min }))
}

impl Session {
    /// Parses what comes behind `start`, and carries it out in order; how far it came, and what must happen now.
    pub(super) fn answer_lines(
        &mut self,
        cx: &Context<'_>,
        input: &[u8],
        start: usize,
        requests_left: &mut u32,
        out: &mut Replies,
    ) -> (usize, Option<Next>) {
        let mut group = Group { tasks: ArrayVec::new(), end: start, is_complete: false };
        let next = self.look_ahead(cx, input, &mut group, requests_left);
        self.logged_len = in_u32(group.end);
        self.carry_out(cx, &group, next, out)
    }

    /// Parses what comes next, as much of it as can be carried out together, and asks the memory for all that it will
    /// read; what must happen when that is carried out.
    fn look_ahead<'a>(
        &mut self,
        cx: &Context<'_>,
        input: &'a [u8],
        group: &mut Group<'a>,
        requests_left: &mut u32,
    ) -> Option<Next> {
        let is_logged = tracing::enabled!(tracing::Level::TRACE);
        let mut next = None;
        while next.is_none()
            && !group.is_complete
            && group.tasks.len() < usize::from(self.task_count_max)
        {
            let rest = &input[group.end..];
            let consumed;
            (consumed, next) = match self.position {
                Position::Block { left_len } => self.skip_block(left_len, rest.len()),
                Position::Line => self.skip_line(rest),
                Position::Keys(retrieve) => self.next_keys(cx, retrieve, input, group),
                Position::Request if rest.is_empty() => wait(0, 1),
                Position::Request if *requests_left == 0 => (0, Some(Next::Yield)),
                Position::Request => {
                    *requests_left -= 1;
                    let step = self.next_request(cx, rest, group);
                    if is_logged && group.end >= self.logged_len as usize && step.0 > 0 {
                        log_request(rest);
                    }
                    step
                }
                Position::Dump(_) => break,
            };
            group.end += consumed;
        }
        group.prefetch(cx);
        next
    }

    /// Carries out what was parsed, in order; how far it came, and what must happen now.
    fn carry_out(
        &mut self,
        cx: &Context<'_>,
        group: &Group<'_>,
        next: Option<Next>,
        out: &mut Replies,
    ) -> (usize, Option<Next>) {
        for Task { todo, start } in &group.tasks {
            // A line is no reason to send what is before it alone.
            if out.len() >= REPLY_LEN_MAX && !matches!(todo, Todo::Line(_)) {
                self.position = match todo {
                    Todo::Key { retrieve, is_whole: false, .. } => Position::Keys(*retrieve),
                    Todo::Key { .. } | Todo::Request(_) | Todo::Line(_) => Position::Request,
                };
                self.task_count_max = TASK_COUNT_MIN;
                return (*start, Some(Next::Flush));
            }
            match todo {
                Todo::Key { retrieve, key, is_last, .. } => {
                    command::retrieve::key(cx, *retrieve, *key, out);
                    if *is_last {
                        out.text.extend_from_slice(Reply::End.line());
                    }
                }
                Todo::Line(line) => out.text.extend_from_slice(line),
                Todo::Request(request) => match command::execute(cx, request, out) {
                    Flow::Continue => {}
                    Flow::Close => return (group.end, Some(Next::Quit)),
                    Flow::Watch(streams) => return (group.end, Some(Next::Watch(streams))),
                    Flow::Dump(dump) => {
                        self.position = Position::Dump(Box::new(dump));
                        return (group.end, None);
                    }
                },
            }
        }
        self.task_count_max = (self.task_count_max * 2).min(TASK_COUNT_MAX);
        (group.end, next)
    }

    fn next_request<'a>(
        &mut self,
        cx: &Context<'_>,
        rest: &'a [u8],
        group: &mut Group<'a>,
    ) -> Step {
        match larder_protocol::parse(rest, cx.instance.limits) {
            Parsed::NeedMore { len_min } => wait(0, len_min),
            Parsed::NeedBlock(line) => wait(0, line.request_len()),
            Parsed::NeedMetaBlock(line) => wait(0, line.request_len()),
            Parsed::Get { retrieve, key, consumed } => {
                let key = cx.instance.store.key(key);
                group.add(Todo::Key { retrieve, key, is_last: true, is_whole: true });
                (consumed, None)
            }
            Parsed::Request { request: Request::Retrieve(retrieve), consumed } => {
                self.position = Position::Keys(retrieve);
                (consumed, None)
            }
            Parsed::Request { request, consumed } => {
                let mut request = request.with_key(|key| cx.instance.store.key(key));
                group.is_complete = request.key_mut().is_none();
                group.add(Todo::Request(request));
                (self.skip(consumed, rest.len()), None)
            }
            Parsed::Refused { reply, consumed, then } => {
                if let Some(reply) = reply {
                    group.add(Todo::Line(reply.line()));
                }
                match then {
                    Then::Continue => (self.skip(consumed, rest.len()), None),
                    Then::SkipLine => {
                        self.position = Position::Line;
                        (consumed, None)
                    }
                    Then::Close => (consumed.min(rest.len()), Some(Next::Close)),
                }
            }
        }
    }

    /// Parses keys of a get, as many as there is room for.
    fn next_keys<'a>(
        &mut self,
        cx: &Context<'_>,
        mut retrieve: Retrieve,
        input: &'a [u8],
        group: &mut Group<'a>,
    ) -> Step {
        loop {
            let rest = &input[group.end..];
            let (position, step) = match retrieve.next_key(rest) {
                NextKey::Key { key, is_last, consumed } => {
                    let key = cx.instance.store.key(key);
                    group.add(Todo::Key { retrieve, key, is_last, is_whole: false });
                    if !is_last && group.tasks.len() < usize::from(self.task_count_max) {
                        group.end += consumed;
                        continue;
                    }
                    let position =
                        if is_last { Position::Request } else { Position::Keys(retrieve) };
                    (position, (consumed, None))
                }
                NextKey::NeedMore { consumed } => {
                    (Position::Keys(retrieve), wait(consumed, rest.len() - consumed + 1))
                }
                NextKey::End { consumed } => {
                    group.add(Todo::Line(Reply::End.line()));
                    (Position::Request, (consumed, None))
                }
                NextKey::Reject { reject, consumed } => {
                    group.add(Todo::Line(reject.line()));
                    (Position::Line, (consumed, None))
                }
            };
            self.position = position;
            return step;
        }
    }

    fn skip_line(&mut self, rest: &[u8]) -> Step {
        let Some(line_end) = memchr(b'\n', rest) else {
            return wait(rest.len(), 1);
        };
        self.position = Position::Request;
        (line_end + 1, None)
    }
}

/// Shows the line of a request, with what is no printable ASCII escaped.
pub(super) fn log_request(rest: &[u8]) {
    if tracing::enabled!(tracing::Level::TRACE) {
        let shown = &rest[..rest.len().min(LOGGED_LEN_MAX)];
        let line = shown.split(|byte| *byte == b'\n').next().unwrap_or_default();
        tracing::trace!("< {}", line.escape_ascii());
    }
}
