//! Requests and replies in text, as a naive reader sees them: where they end, and which of them may be silent.

/// As many words as there are on a line, but for keys of a get; more do not exist.
const WORDS_MAX: usize = 23;
/// A larger number is no length.
const VALUE_LEN_MAX: usize = i32::MAX as usize - 2;
/// A shorter line, with its end, is always answered.
const LINE_LEN_MIN: usize = 4;
/// A line of which more comes without its end may close the connection.
const UNFINISHED_LEN_MAX: usize = 2048;

/// One request.
#[derive(Debug)]
pub struct Request<'a> {
    /// Without its end.
    line: &'a [u8],
    line_len: usize,
    /// The data block and its end.
    block_len: usize,
}

/// Whether a request has no reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Silence {
    Never,
    Perhaps,
    Always,
}

impl<'a> Request<'a> {
    /// The one at the front; `None` where its line has not come whole.
    pub fn read(input: &'a [u8]) -> Option<Self> {
        let line_end = input.iter().position(|byte| *byte == b'\n')?;
        let line = &input[..line_end];
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let request = Self { line, line_len: line_end + 1, block_len: 0 };
        let len_at = match request.verb() {
            b"set" | b"add" | b"replace" | b"append" | b"prepend" | b"cas" => 4,
            b"ms" => 2,
            _ => return Some(request),
        };
        let value_len = words(line).nth(len_at).and_then(value_len);
        Some(Self { block_len: value_len.map_or(0, |len| len + 2), ..request })
    }

    /// Of line and block, which need not have come, in bytes.
    pub fn len(&self) -> usize {
        self.line_len + self.block_len
    }

    /// Up to the first space: a line that begins with one has none.
    fn verb(&self) -> &'a [u8] {
        self.line.split(|byte| *byte == b' ').next().unwrap_or_default()
    }

    fn words(&self) -> impl Iterator<Item = &'a [u8]> {
        words(self.line)
    }

    fn silence(&self) -> Silence {
        if self.line_len < LINE_LEN_MIN {
            return Silence::Never;
        }
        let is_noreply = self.words().skip(1).last() == Some(b"noreply");
        match self.verb() {
            b"get" | b"gets" | b"gat" | b"gats" | b"mn" => Silence::Never,
            b"mg" | b"ms" | b"md" | b"ma" | b"me" => {
                let is_quiet = self.words().skip(2).any(|word| word.starts_with(b"q"));
                if is_quiet { Silence::Perhaps } else { Silence::Never }
            }
            _ if !is_noreply => Silence::Never,
            // It stands where another word is missing.
            b"incr" | b"decr" | b"touch" if self.words().count() < 3 => Silence::Never,
            b"set" | b"add" | b"replace" | b"append" | b"prepend" | b"cas" | b"delete"
            | b"incr" | b"decr" | b"touch" | b"flush_all" | b"verbosity" => Silence::Always,
            _ => Silence::Perhaps,
        }
    }

    /// Panics unless that is what it is answered: one reply, or none where it may be silent, or where that closed.
    pub fn check_answer(&self, answer: &[u8], is_closed: bool) {
        let shown = || {
            format!(
                "{} is answered {:?}",
                self.line.escape_ascii(),
                answer.escape_ascii().to_string()
            )
        };
        let silence = self.silence();
        if answer.is_empty() {
            assert!(is_closed || silence != Silence::Never, "{}", shown());
            return;
        }
        assert!(is_closed || silence != Silence::Always, "{}", shown());
        assert_eq!(self.reply_len(answer), Some(answer.len()), "{}", shown());
        if let b"mg" | b"ms" | b"md" | b"ma" = self.verb()
            && let Some(opaque) = self.words().skip(2).find(|word| word.starts_with(b"O"))
            && let Some(line) = first_line(answer).and_then(|(line, _)| line.strip_suffix(b"\r"))
            && let Some(b"VA" | b"HD" | b"EN" | b"NF" | b"NS" | b"EX") = words(line).next()
        {
            assert!(words(line).any(|word| word == opaque), "{}", shown());
        }
    }

    /// How long the reply at the front of `replies` is; `None` where there is none to this.
    fn reply_len(&self, replies: &[u8]) -> Option<usize> {
        let (line, rest) = first_line(replies)?;
        let rest_len = match self.verb() {
            b"get" | b"gets" => after_values(replies, all_words(self.line).skip(1))?,
            b"gat" | b"gats" => after_values(replies, all_words(self.line).skip(2))?,
            b"stats"
                if [&b"STAT "[..], b"ITEM ", b"PREFIX "]
                    .iter()
                    .any(|word| line.starts_with(word)) =>
            {
                after_list(rest, b"END\r")?
            }
            b"lru_crawler" if line == b"OK\r" && self.words().nth(1) == Some(b"metadump") => {
                after_list(rest, b"END\r")?
            }
            b"lru_crawler" if line == b"OK\r" && self.words().nth(1) == Some(b"mgdump") => {
                after_list(rest, b"EN\r")?
            }
            b"mg" | b"ma" if line.starts_with(b"VA ") => after_value(line, 1, rest)?.len(),
            _ if is_last_line(line) => rest.len(),
            _ => return None,
        };
        Some(replies.len() - rest_len)
    }
}

/// The words of a line.
fn words(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    all_words(line).take(WORDS_MAX)
}

/// The same, where they are keys of a get.
fn all_words(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(|byte| *byte == b' ').filter(|word| !word.is_empty())
}

fn value_len(word: &[u8]) -> Option<usize> {
    let text = str::from_utf8(word).ok().filter(|_| word.iter().all(u8::is_ascii_digit))?;
    text.parse().ok().filter(|len| *len <= VALUE_LEN_MAX)
}

/// The first line up to its newline, and what is behind that.
fn first_line(replies: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = replies.iter().position(|byte| *byte == b'\n')?;
    Some((&replies[..end], &replies[end + 1..]))
}

/// Whether nothing comes behind a line.
fn is_last_line(line: &[u8]) -> bool {
    let begins_more = [&b"VALUE "[..], b"VA ", b"STAT ", b"ITEM ", b"PREFIX "];
    line.len() > 1
        && line.ends_with(b"\r")
        && !begins_more.iter().any(|word| line.starts_with(word))
}

/// What is behind a value whose length is one of the words of the line before it.
fn after_value<'a>(line: &[u8], len_at: usize, rest: &'a [u8]) -> Option<&'a [u8]> {
    let line = line.strip_suffix(b"\r")?;
    let value_len = words(line).nth(len_at).and_then(value_len)?;
    rest.get(value_len..)?.strip_prefix(b"\r\n")
}

/// How much is behind the values of keys that were asked for, in that order, and the line that ends them.
fn after_values<'a>(mut replies: &[u8], mut keys: impl Iterator<Item = &'a [u8]>) -> Option<usize> {
    loop {
        let (line, rest) = first_line(replies)?;
        if !line.starts_with(b"VALUE ") {
            return is_last_line(line).then_some(rest.len());
        }
        let found = words(line).nth(1);
        keys.find(|key| Some(*key) == found)?;
        replies = after_value(line, 3, rest)?;
    }
}

/// How much is behind the last line of a list.
fn after_list(mut replies: &[u8], last: &[u8]) -> Option<usize> {
    loop {
        let (line, rest) = first_line(replies)?;
        if line == last {
            return Some(rest.len());
        }
        replies = rest;
    }
}

/// Replies as lines, less what is counted, and less which items those are that a limit lets be listed; what is listed is in
/// order.
pub fn normal(replies: &[u8]) -> Vec<Vec<u8>> {
    let is_listed =
        |line: &[u8]| [&b"key="[..], b"mg ", b"PREFIX "].iter().any(|word| line.starts_with(word));
    let mut lines: Vec<Vec<u8>> = replies
        .split(|byte| *byte == b'\n')
        .map(|line| match line.strip_prefix(b"STAT ") {
            Some(stat) => words(stat).next().unwrap_or_default().to_vec(),
            None if line.starts_with(b"ITEM ") => b"ITEM".to_vec(),
            None => line.to_vec(),
        })
        .collect();
    for run in lines.chunk_by_mut(|one, other| is_listed(one) && is_listed(other)) {
        run.sort_unstable();
    }
    lines
}

/// Whether so long a line is in there that it may close the connection where it comes in parts.
pub fn has_long_line(input: &[u8]) -> bool {
    input.split_inclusive(|byte| *byte == b'\n').any(|line| line.len() > UNFINISHED_LEN_MAX)
}
