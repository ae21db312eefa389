//! Script text -> cases. The format is described in `script.rs`. Must not know sockets or servers.

use std::iter;
use std::time::Duration;

/// How the `>` lines of a case reach the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// One write for each run of `>` lines, then the answers are read.
    Step,
    /// As `Step`, but byte by byte.
    Byte,
    /// Everything up to the next pause in one write.
    Burst,
}

impl Mode {
    pub(crate) const ALL: [Self; 3] = [Self::Step, Self::Byte, Self::Burst];
}

/// Part of a `>` or `<` text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    Bytes(Vec<u8>),
    /// Unix time in seconds plus this.
    Now(i64),
    /// A number that the server chose. The first time it is learnt, later it must be the same.
    Number {
        name: String,
        /// The number of this name must be another one.
        unlike: Option<String>,
    },
}

#[derive(Clone, Debug)]
pub(crate) enum Action {
    Send(Vec<Piece>),
    Expect(Vec<Piece>),
    /// One line of a reply that ends with `END`; `*` stands for any bytes.
    Line(Vec<u8>),
    /// `version` is answered, hence nothing else was.
    Alive,
    Closed,
    /// Our side leaves, and nothing more is checked.
    Drop,
    Wait(Duration),
    /// This many connections that stay idle.
    Crowd(usize),
    /// The process ends by itself with status 0.
    Exits,
}

#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) line_number: usize,
    pub(crate) connection: char,
    pub(crate) action: Action,
}

/// What happens when the case runs on one kind of server.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// Options of the server.
    pub(crate) args: Vec<String>,
    /// Wants a server of its own, whatever the options.
    fresh: bool,
    pub(crate) modes: Vec<Mode>,
    pub(crate) steps: Vec<Step>,
}

#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) file: String,
    pub(crate) name: String,
    pub(crate) larder: Plan,
    pub(crate) memcached: Plan,
}

impl Plan {
    /// Whether no other case may use the same server.
    pub(crate) fn is_alone(&self) -> bool {
        self.fresh || !self.args.is_empty()
    }
}

/// A case while its lines are read.
struct Draft {
    case: Case,
    line_number: usize,
    has_reason: bool,
    needs_reason: bool,
    /// The line before was a `1.6.18:` step, so the common step is replaced already.
    replaced: bool,
}

/// All cases of one file, or `file:line: what is wrong`.
pub(crate) fn cases(file: &str, text: &str) -> Result<Vec<Case>, String> {
    let mut cases = Vec::new();
    let mut draft: Option<Draft> = None;
    for (line_number, line) in iter::zip(1.., text.lines()) {
        let place = |error: String| format!("{file}:{line_number}: {error}");
        if let Some(name) = line.strip_prefix("== ") {
            cases.extend(draft.take().map(Draft::finish).transpose()?);
            draft = Some(Draft::new(file, line_number, name));
        } else if let Some(draft) = &mut draft {
            draft.line(line_number, line).map_err(place)?;
        } else if !line.is_empty() && !line.starts_with('#') {
            return Err(place("a line before the first case".to_owned()));
        }
    }
    cases.extend(draft.map(Draft::finish).transpose()?);
    Ok(cases)
}

impl Draft {
    fn new(file: &str, line_number: usize, name: &str) -> Self {
        let plan =
            Plan { args: Vec::new(), fresh: false, modes: Mode::ALL.to_vec(), steps: Vec::new() };
        Self {
            case: Case {
                file: file.to_owned(),
                name: name.to_owned(),
                larder: plan.clone(),
                memcached: plan,
            },
            line_number,
            has_reason: false,
            needs_reason: false,
            replaced: false,
        }
    }

    fn line(&mut self, line_number: usize, line: &str) -> Result<(), String> {
        if let Some(comment) = line.strip_prefix('#') {
            self.has_reason |= comment.trim_start().starts_with("why: ");
        } else if let Some(other) = line.strip_prefix("1.6.18: ") {
            self.needs_reason = true;
            self.memcached_line(line_number, other)?;
        } else if let Some(list) = line.strip_prefix("args: ") {
            self.case.larder.args = args(list);
            self.case.memcached.args = args(list);
        } else if let Some(names) = line.strip_prefix("modes: ") {
            self.needs_reason = true;
            self.case.larder.modes = modes(names)?;
            self.case.memcached.modes.clone_from(&self.case.larder.modes);
        } else if line == "fresh" {
            self.case.larder.fresh = true;
            self.case.memcached.fresh = true;
        } else if !line.is_empty() {
            let step = step(line_number, line)?;
            let alone = matches!(step.action, Action::Wait(_) | Action::Crowd(_) | Action::Exits);
            self.case.larder.fresh |= alone;
            self.case.memcached.fresh |= alone;
            self.case.larder.steps.push(step.clone());
            self.case.memcached.steps.push(step);
            self.replaced = false;
        }
        Ok(())
    }

    fn memcached_line(&mut self, line_number: usize, line: &str) -> Result<(), String> {
        let plan = &mut self.case.memcached;
        if line == "skip" {
            plan.modes.clear();
            return Ok(());
        }
        if let Some(names) = line.strip_prefix("modes: ") {
            plan.modes = modes(names)?;
            return Ok(());
        }
        if let Some(list) = line.strip_prefix("args: ") {
            plan.args = args(list);
            return Ok(());
        }
        if !self.replaced {
            plan.steps.pop().ok_or("no step to replace")?;
            self.replaced = true;
        }
        if line != "nothing" {
            plan.steps.push(step(line_number, line)?);
        }
        Ok(())
    }

    fn finish(self) -> Result<Case, String> {
        let Self { case, line_number, .. } = self;
        let fail =
            |error: &str| Err(format!("{}:{line_number}: {}: {error}", case.file, case.name));
        if case.larder.steps.is_empty() {
            return fail("the case has no steps");
        }
        if self.needs_reason && !self.has_reason {
            return fail("a difference or a limit needs a line `# why: …`");
        }
        Ok(case)
    }
}

fn args(list: &str) -> Vec<String> {
    list.split_whitespace().map(str::to_owned).collect()
}

fn modes(names: &str) -> Result<Vec<Mode>, String> {
    names
        .split_whitespace()
        .map(|name| match name {
            "step" => Ok(Mode::Step),
            "byte" => Ok(Mode::Byte),
            "burst" => Ok(Mode::Burst),
            other => Err(format!("no such mode: {other}")),
        })
        .collect()
}

fn step(line_number: usize, line: &str) -> Result<Step, String> {
    let (connection, rest) = match line.chars().next() {
        Some(letter) if letter.is_ascii_uppercase() => (letter, line[1..].trim_start()),
        _ => ('A', line),
    };
    let (verb, text) = rest.split_once(' ').unwrap_or((rest, ""));
    let action = match verb {
        ">" => Action::Send(pieces(text)?),
        "<" => Action::Expect(pieces(text)?),
        "<~" => match pieces(text)?.as_slice() {
            [Piece::Bytes(bytes)] => Action::Line(bytes.clone()),
            _ => return Err("a `<~` line is plain bytes".to_owned()),
        },
        "alive" => Action::Alive,
        "closed" => Action::Closed,
        "drop" => Action::Drop,
        "exits" => Action::Exits,
        "crowd" => Action::Crowd(text.parse().map_err(|_| "crowd wants a number")?),
        "wait" => {
            let seconds = text.strip_suffix('s').and_then(|number| number.parse().ok());
            Action::Wait(Duration::from_secs_f64(seconds.ok_or("wait wants a time like 1.5s")?))
        }
        _ => return Err(format!("no such step: {line}")),
    };
    Ok(Step { line_number, connection, action })
}

/// Resolves escapes, repeats and names of a `>` or `<` text.
pub(crate) fn pieces(text: &str) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    let mut bytes = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        if let Some((piece, tail)) = placeholder(rest) {
            if !bytes.is_empty() {
                pieces.push(Piece::Bytes(std::mem::take(&mut bytes)));
            }
            pieces.push(piece);
            rest = tail;
        } else {
            rest = literal(rest, &mut bytes)?;
        }
    }
    if !bytes.is_empty() {
        pieces.push(Piece::Bytes(bytes));
    }
    Ok(pieces)
}

/// `{now+5}`, `{name}` or `{name!=other}` at the start of `text`.
fn placeholder(text: &str) -> Option<(Piece, &str)> {
    let (inside, tail) = text.strip_prefix('{')?.split_once('}')?;
    let is_name = |text: &str| {
        !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
    };
    let offset = inside.strip_prefix("now").and_then(|offset| offset.parse().ok());
    let piece = if let Some(seconds) = offset {
        Piece::Now(seconds)
    } else {
        let (name, unlike) = match inside.split_once("!=") {
            Some((name, unlike)) => (name, Some(unlike)),
            None => (inside, None),
        };
        if !is_name(name) || !unlike.is_none_or(is_name) {
            return None;
        }
        Piece::Number { name: name.to_owned(), unlike: unlike.map(str::to_owned) }
    };
    Some((piece, tail))
}

/// Appends the first character, escape or repeat of `text` and returns what follows it.
fn literal<'text>(text: &'text str, bytes: &mut Vec<u8>) -> Result<&'text str, String> {
    if let Some(unit) = text.strip_prefix('{') {
        return repeat(unit, bytes);
    }
    let Some(escape) = text.strip_prefix('\\') else {
        let length = text.chars().next().map_or(0, char::len_utf8);
        bytes.extend_from_slice(&text.as_bytes()[..length]);
        return Ok(&text[length..]);
    };
    let mut rest = escape.chars();
    let byte = match rest.next() {
        Some('r') => b'\r',
        Some('n') => b'\n',
        Some('t') => b'\t',
        Some('0') => 0,
        Some(plain @ ('\\' | '{' | '}' | '*')) => plain as u8,
        Some('x') => {
            let digits = escape.get(1..3).ok_or("\\x wants two digits")?;
            rest = escape[3..].chars();
            u8::from_str_radix(digits, 16).map_err(|_| "\\x wants two hexadecimal digits")?
        }
        _ => return Err(format!("no such escape: {text}")),
    };
    bytes.push(byte);
    Ok(rest.as_str())
}

/// The rest of a `{unit*count}` after its brace; `%i` in the unit is the number of the repetition, from 1.
fn repeat<'text>(text: &'text str, bytes: &mut Vec<u8>) -> Result<&'text str, String> {
    let mut unit = Vec::new();
    let mut rest = text;
    loop {
        if let Some((count, tail)) = rest.strip_prefix('*').and_then(|rest| rest.split_once('}'))
            && let Ok(count) = count.parse::<usize>()
        {
            let parts: Vec<&[u8]> = split(&unit, b"%i");
            if parts.len() == 1 {
                bytes.extend(unit.repeat(count));
            } else {
                let numbers = (1..=count).map(|number| number.to_string());
                bytes.extend(numbers.flat_map(|number| parts.join(number.as_bytes())));
            }
            return Ok(tail);
        }
        if rest.is_empty() || rest.starts_with('}') {
            return Err(format!("no repeat, number or name: {{{text}"));
        }
        rest = literal(rest, &mut unit)?;
    }
}

fn split<'bytes>(bytes: &'bytes [u8], separator: &[u8]) -> Vec<&'bytes [u8]> {
    let mut parts = Vec::new();
    let mut start = 0;
    for (index, window) in bytes.windows(separator.len()).enumerate() {
        if window == separator {
            parts.push(&bytes[start..index]);
            start = index + separator.len();
        }
    }
    parts.push(&bytes[start..]);
    parts
}
