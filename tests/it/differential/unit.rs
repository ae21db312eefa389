//! A stream of bytes, cut into requests: lines, and the data blocks behind them. Owns what a request is and nothing of
//! what it means; it is written from the reference alone, so that Larder's parser is not its own judge.

use std::fmt;

/// Words that memcached's tokenizer sees on a line.
const WORDS_MAX: usize = 23;
/// Largest data length that is one.
const VALUE_LEN_MAX: u64 = i32::MAX as u64 - 2;
/// More is too much to send, in bytes; more than the largest item.
const SENT_LEN_MAX: usize = 2 << 20;
/// In a `cas` line, a word that begins with this byte, and in a meta command one with a `C` before it, stands for the unique that was last seen of the key that the rest
/// of it names.
pub(crate) const UNIQUE_OF: u8 = 0x01;

/// Bytes that are shown readably.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Bytes(pub(crate) Vec<u8>);

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.escape_ascii())
    }
}

/// One request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unit {
    /// Without its end.
    pub(crate) line: Bytes,
    /// `\n` or `\r\n`.
    end: &'static [u8],
    /// With the two bytes that should be CRLF; `None` where no length announces one.
    pub(crate) block: Option<Bytes>,
}

impl Unit {
    /// The words of its line, as many as there are for memcached; the first one is empty where the line begins with
    /// a space.
    pub(crate) fn words(&self) -> Vec<&[u8]> {
        let line = &self.line.0[..];
        let lead = line.starts_with(b" ").then_some(&b""[..]);
        let words = line.split(|byte| *byte == b' ').filter(|word| !word.is_empty());
        lead.into_iter().chain(words).take(WORDS_MAX).collect()
    }

    pub(crate) fn is_storage(&self) -> bool {
        const VERBS: [&[u8]; 6] = [b"set", b"add", b"replace", b"append", b"prepend", b"cas"];
        self.words().first().is_some_and(|verb| VERBS.contains(verb))
    }

    /// Whether it is a meta command.
    pub(crate) fn is_meta(&self) -> bool {
        const VERBS: [&[u8]; 6] = [b"mg", b"ms", b"md", b"ma", b"me", b"mn"];
        self.words().first().is_some_and(|verb| VERBS.contains(verb))
    }

    /// Whether a data block should follow its line.
    pub(crate) fn has_block(&self) -> bool {
        self.is_storage() || self.words().first() == Some(&&b"ms"[..])
    }

    /// Length of its line with the end.
    pub(crate) fn line_len(&self) -> usize {
        self.line.0.len() + self.end.len()
    }

    /// As it is sent.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let block = self.block.as_ref().map_or(&[][..], |block| &block.0);
        [&self.line.0, self.end, block].concat()
    }

    /// The same with other words on its line.
    pub(crate) fn with_words(&self, words: &[&[u8]]) -> Self {
        Self { line: Bytes(words.join(&b' ')), ..self.clone() }
    }
}

/// Cuts a stream into requests. The last one is completed where it is cut off, and lines that announce a block that
/// takes long to send are left out.
pub(crate) fn units(mut stream: &[u8]) -> Vec<Unit> {
    let mut units = Vec::new();
    while !stream.is_empty() {
        let line_len = stream.iter().position(|byte| *byte == b'\n').unwrap_or(stream.len());
        let line = &stream[..line_len];
        stream = stream.get(line_len + 1..).unwrap_or_default();
        let (line, end) = match line.strip_suffix(b"\r") {
            Some(line) => (line, &b"\r\n"[..]),
            None => (line, &b"\n"[..]),
        };
        let mut unit = Unit { line: Bytes(line.to_vec()), end, block: None };
        let len_index = if unit.is_storage() { 4 } else { 2 };
        let value_len = unit.words().get(len_index).and_then(|word| length(word));
        if let (true, Some(value_len)) = (unit.has_block(), value_len) {
            if value_len > SENT_LEN_MAX {
                continue;
            }
            let (block, rest) = stream.split_at(stream.len().min(value_len + 2));
            let mut block = block.to_vec();
            block.resize(value_len + 2, b'x');
            unit.block = Some(Bytes(block));
            stream = rest;
        }
        units.push(unit);
    }
    units
}

/// A data length, where the word is one.
fn length(word: &[u8]) -> Option<usize> {
    number(word).filter(|len| *len <= VALUE_LEN_MAX).and_then(|len| usize::try_from(len).ok())
}

/// A number of digits alone, up to 2^64 - 1.
pub(crate) fn number(word: &[u8]) -> Option<u64> {
    let is_digits = !word.is_empty() && word.iter().all(u8::is_ascii_digit);
    let digits = std::str::from_utf8(word).ok().filter(|_| is_digits)?;
    digits.parse().ok()
}

/// A number of digits with an optional minus, of 32 bits.
pub(crate) fn signed(word: &[u8]) -> Option<i32> {
    let digits = word.strip_prefix(b"-").unwrap_or(word);
    number(digits)?;
    std::str::from_utf8(word).ok()?.parse().ok()
}
