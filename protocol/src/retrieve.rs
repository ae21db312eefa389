//! The keys of `get gets gat gats`, taken from the stream one at a time.
//!
//! A get may name any number of keys, so its line is never held as a whole: the caller asks for the
//! next key, answers it, and may stop in between to send what it has. That bounds the memory of a get
//! by its longest key and its largest value, whatever the number of keys.

use crate::{KEY_LEN_MAX, Reject, RetrieveVerb, plain};
use memchr::memchr2;

/// A get whose keys are being read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retrieve {
    verb: RetrieveVerb,
    exptime: i32,
    has_key: bool,
}

/// What comes next on the line of a get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NextKey<'a> {
    /// A key.
    Key {
        /// 1 to 250 bytes.
        key: &'a [u8],
        /// Whether the line ends with it, and is done with too: answer `END` behind it.
        is_last: bool,
        /// Bytes of the input that are done with.
        consumed: usize,
    },
    /// The line is over: answer `END`.
    End {
        /// Bytes of the input that are done with.
        consumed: usize,
    },
    /// The key that begins here is not complete yet.
    NeedMore {
        /// Bytes of the input that are done with.
        consumed: usize,
    },
    /// No key at all, or one over 250 bytes: answer this, then skip to the end of the line.
    Reject {
        /// The answer.
        reject: Reject,
        /// Bytes of the input that are done with; the line end is not among them.
        consumed: usize,
    },
}

impl Retrieve {
    /// A get of which the verb (and exptime, for `gat` and `gats`) has been read.
    pub(crate) fn new(verb: RetrieveVerb, exptime: i32) -> Self {
        Self { verb, exptime, has_key: false }
    }

    /// Which of the four.
    pub fn verb(&self) -> RetrieveVerb {
        self.verb
    }

    /// The exptime to set on each hit, for `gat` and `gats`.
    pub fn touch(&self) -> Option<i32> {
        match self.verb {
            RetrieveVerb::Get | RetrieveVerb::Gets => None,
            RetrieveVerb::Gat | RetrieveVerb::Gats => Some(self.exptime),
        }
    }

    /// Reads the next key from the front of `input`, which begins where the last call's `consumed` ended.
    #[inline]
    pub fn next_key<'a>(&mut self, input: &'a [u8]) -> NextKey<'a> {
        let (key, is_last, end_len) = match plain::key(input) {
            Some((key, [b' ', ..])) => (key, false, 1),
            Some((key, [b'\r', b'\n', ..])) => (key, true, 2),
            _ => return self.next_word(input),
        };
        self.has_key = true;
        NextKey::Key { key, is_last, consumed: key.len() + end_len }
    }

    /// The same where what comes next is not as plain as that.
    #[inline(never)]
    fn next_word<'a>(&mut self, input: &'a [u8]) -> NextKey<'a> {
        let start = input.iter().take_while(|byte| **byte == b' ').count();
        let rest = &input[start..];
        let word_end = memchr2(b' ', b'\n', rest);
        let is_last = word_end.is_some_and(|end| rest[end] == b'\n');
        let word = &rest[..word_end.unwrap_or(rest.len())];
        let word = if is_last { word.strip_suffix(b"\r").unwrap_or(word) } else { word };
        let consumed = start + word_end.map_or(0, |end| end + 1);
        if word.is_empty() && is_last {
            return if self.has_key {
                NextKey::End { consumed }
            } else {
                NextKey::Reject { reject: Reject::BadLine, consumed: start }
            };
        }
        // One byte more than a key: the carriage return of the line end may be the last one here.
        if word.len() > KEY_LEN_MAX + usize::from(word_end.is_none()) {
            return NextKey::Reject { reject: Reject::BadLine, consumed: start };
        }
        if word_end.is_none() {
            return NextKey::NeedMore { consumed: start };
        }
        self.has_key = true;
        NextKey::Key { key: word, is_last, consumed }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All keys of a line and what ended it, the input handed over `step` bytes at a time.
    fn keys(line: &[u8], step: usize) -> (Vec<Vec<u8>>, String) {
        let mut retrieve = Retrieve::new(RetrieveVerb::Get, 0);
        let (mut keys, mut start, mut end) = (Vec::new(), 0, 0);
        loop {
            match retrieve.next_key(&line[start..end]) {
                NextKey::Key { key, is_last, consumed } => {
                    keys.push(key.to_vec());
                    start += consumed;
                    if is_last {
                        return (keys, format!("end, {} left", line.len() - start));
                    }
                }
                NextKey::NeedMore { consumed } => {
                    start += consumed;
                    assert!(end < line.len(), "asks for more than the line");
                    end = (end + step).min(line.len());
                }
                NextKey::End { consumed } => {
                    return (keys, format!("end, {} left", line.len() - start - consumed));
                }
                NextKey::Reject { reject, .. } => return (keys, format!("{reject:?}")),
            }
        }
    }

    #[test]
    fn every_split_gives_the_same_keys() {
        let longest = "k".repeat(250);
        let cases = [
            (" a  b\r\n".to_owned(), vec!["a", "b"], "end, 0 left"),
            (" a \n".to_owned(), vec!["a"], "end, 0 left"),
            (" a\tb \r x\r\r\n".to_owned(), vec!["a\tb", "\r", "x\r"], "end, 0 left"),
            (format!(" {longest}\r\nget"), vec![&longest], "end, 3 left"),
            (format!(" a {longest}k\r\n"), vec!["a"], "BadLine"),
            ("   \r\n".to_owned(), vec![], "BadLine"),
            ("\n".to_owned(), vec![], "BadLine"),
        ];
        for (line, expected, end) in cases {
            for step in 1..=line.len() {
                let (keys, got) = keys(line.as_bytes(), step);
                assert_eq!(keys, expected.iter().map(|key| key.as_bytes()).collect::<Vec<_>>());
                assert_eq!(got, end, "{line:?} in steps of {step}");
            }
        }
    }

    #[test]
    fn an_endless_key_is_refused_before_its_end() {
        let mut retrieve = Retrieve::new(RetrieveVerb::Get, 0);
        assert!(matches!(retrieve.next_key(&[b'k'; 251]), NextKey::NeedMore { .. }));
        assert!(matches!(retrieve.next_key(&[b'k'; 252]), NextKey::Reject { .. }));
    }
}
