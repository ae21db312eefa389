//! Bursts of the text protocol, classic and meta: a session steps through the input, and what it finds is collected until
//! it may be carried out together.

use super::{
    LOGGED_LEN_MAX, Next, PREFETCHED_MIN, Position, REPLY_LEN_MAX, Session, TASK_COUNT_MAX,
    TASK_COUNT_MIN, in_u32,
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
    /// One key of a get; the last one brings the `END`.
    Key { retrieve: Retrieve, key: Key<'a>, is_last: bool },
    /// All of a request.
    Request(Request<'a, Key<'a>>),
    /// This is the answer.
    Line(&'static [u8]),
}

impl<'a> Todo<'a> {
    fn key(&self) -> Option<Key<'a>> {
        match self {
            Self::Key { key, .. } => Some(*key),
            Self::Request(request) => request.key(),
            Self::Line(_) => None,
        }
    }
}

/// Something to be done, and where in the input it stands.
#[derive(Debug)]
struct Task<'a> {
    todo: Todo<'a>,
    start: usize,
    /// What the session was at before it.
    position: Position,
}

/// What is carried out together.
#[derive(Debug)]
struct Group<'a> {
    tasks: ArrayVec<Task<'a>, { TASK_COUNT_MAX as usize }>,
    /// How far the input is parsed.
    end: usize,
    /// What must happen when all is carried out.
    next: Option<Next>,
}

/// What one step through the input found.
#[derive(Debug)]
struct Step<'a> {
    todo: Option<Todo<'a>>,
    consumed: usize,
    /// `None`: there is more to parse.
    next: Option<Next>,
}

impl<'a> Step<'a> {
    fn on(consumed: usize) -> Self {
        Self { todo: None, consumed, next: None }
    }

    fn to_do(consumed: usize, todo: Todo<'a>) -> Self {
        Self { todo: Some(todo), consumed, next: None }
    }

    fn stop(next: Next) -> Self {
        Self { todo: None, consumed: 0, next: Some(next) }
    }

    fn wait(consumed: usize, len_min: usize) -> Self {
        Self { todo: None, consumed, next: Some(Next::Read { len_min }) }
    }
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
        let mut group = Group { tasks: ArrayVec::new(), end: start, next: None };
        self.look_ahead(cx, input, &mut group, requests_left);
        self.logged_len = in_u32(group.end);
        self.carry_out(cx, &group, out)
    }

    /// Parses what comes next, as much of it as can be carried out together, and asks the memory for all that it will
    /// read.
    fn look_ahead<'a>(
        &mut self,
        cx: &Context<'_>,
        input: &'a [u8],
        group: &mut Group<'a>,
        requests_left: &mut u32,
    ) {
        let mut keys = ArrayVec::<_, { TASK_COUNT_MAX as usize }>::new();
        let mut is_complete = false;
        while group.next.is_none()
            && !is_complete
            && group.tasks.len() < usize::from(self.task_count_max)
        {
            let rest = &input[group.end..];
            let (start, position) = (group.end, self.position);
            let step = match position {
                Position::Block { left_len } => {
                    let (consumed, next) = self.skip_block(left_len, rest.len());
                    Step { todo: None, consumed, next }
                }
                Position::Line => self.skip_line(rest),
                Position::Keys(retrieve) => self.next_key(cx, retrieve, rest),
                Position::Request if *requests_left == 0 && !rest.is_empty() => {
                    Step::stop(Next::Yield)
                }
                Position::Request => {
                    *requests_left = requests_left.saturating_sub(1);
                    let step = self.next_request(cx, rest);
                    if start >= self.logged_len as usize
                        && (step.consumed > 0 || step.todo.is_some())
                    {
                        log_request(rest);
                    }
                    step
                }
                Position::Dump(_) => break,
            };
            group.end += step.consumed;
            group.next = step.next;
            if let Some(todo) = step.todo {
                keys.extend(todo.key());
                // A request without a key may change how the rest is to be read, or end the connection.
                is_complete = matches!(todo, Todo::Request(request) if request.key().is_none());
                group.tasks.push(Task { todo, start, position });
            }
        }
        if keys.len() >= PREFETCHED_MIN {
            cx.instance.store.prefetch(&keys);
        }
    }

    /// Carries out what was parsed, in order; how far it came, and what must happen now.
    fn carry_out(
        &mut self,
        cx: &Context<'_>,
        group: &Group<'_>,
        out: &mut Replies,
    ) -> (usize, Option<Next>) {
        for task in &group.tasks {
            // A line is no reason to send what is before it alone.
            if out.len() >= REPLY_LEN_MAX && !matches!(task.todo, Todo::Line(_)) {
                self.position = task.position;
                self.task_count_max = TASK_COUNT_MIN;
                return (task.start, Some(Next::Flush));
            }
            match &task.todo {
                Todo::Key { retrieve, key, is_last } => {
                    command::retrieve::key(cx, retrieve, *key, out);
                    if *is_last {
                        out.text.extend_from_slice(Reply::End.line());
                    }
                }
                Todo::Line(line) => out.text.extend_from_slice(line),
                Todo::Request(request) => match command::execute(cx, *request, out) {
                    Flow::Continue => {}
                    Flow::Close => return (group.end, Some(Next::Quit)),
                    Flow::Watch(streams) => return (group.end, Some(Next::Watch(streams))),
                    Flow::Dump(dump) => {
                        self.position = Position::Dump(dump);
                        return (group.end, None);
                    }
                },
            }
        }
        self.task_count_max = (self.task_count_max * 2).min(TASK_COUNT_MAX);
        (group.end, group.next)
    }

    fn next_request<'a>(&mut self, cx: &Context<'_>, rest: &'a [u8]) -> Step<'a> {
        if rest.is_empty() {
            return Step::wait(0, 1);
        }
        match larder_protocol::parse(rest, cx.instance.limits) {
            Parsed::NeedMore { len_min } => Step::wait(0, len_min),
            Parsed::NeedBlock(line) => Step::wait(0, line.request_len()),
            Parsed::NeedMetaBlock(line) => Step::wait(0, line.request_len()),
            Parsed::Request { request: Request::Retrieve(retrieve), consumed } => {
                self.position = Position::Keys(retrieve);
                Step::on(consumed)
            }
            Parsed::Request { request, consumed } => {
                let request = request.with_key(|key| cx.instance.store.key(key));
                let step = Step::on(self.skip(consumed, rest.len()));
                Step { todo: Some(Todo::Request(request)), ..step }
            }
            Parsed::Refused { reply, consumed, then } => {
                let step = match then {
                    Then::Continue => Step::on(self.skip(consumed, rest.len())),
                    Then::SkipLine => {
                        self.position = Position::Line;
                        Step::on(consumed)
                    }
                    Then::Close => {
                        let consumed = consumed.min(rest.len());
                        Step { consumed, ..Step::stop(Next::Close) }
                    }
                };
                Step { todo: reply.map(|reply| Todo::Line(reply.line())), ..step }
            }
        }
    }

    fn next_key<'a>(
        &mut self,
        cx: &Context<'_>,
        mut retrieve: Retrieve,
        rest: &'a [u8],
    ) -> Step<'a> {
        match retrieve.next_key(rest) {
            NextKey::Key { key, is_last, consumed } => {
                self.position = if is_last { Position::Request } else { Position::Keys(retrieve) };
                let key = cx.instance.store.key(key);
                Step::to_do(consumed, Todo::Key { retrieve, key, is_last })
            }
            NextKey::NeedMore { consumed } => Step::wait(consumed, rest.len() - consumed + 1),
            NextKey::End { consumed } => {
                self.position = Position::Request;
                Step::to_do(consumed, Todo::Line(Reply::End.line()))
            }
            NextKey::Reject { reject, consumed } => {
                self.position = Position::Line;
                Step::to_do(consumed, Todo::Line(reject.line()))
            }
        }
    }

    fn skip_line<'a>(&mut self, rest: &'a [u8]) -> Step<'a> {
        let Some(line_end) = memchr(b'\n', rest) else {
            return Step::wait(rest.len(), 1);
        };
        self.position = Position::Request;
        Step::on(line_end + 1)
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
