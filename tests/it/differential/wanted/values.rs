//! Where Larder and memcached 1.6.18 are to differ by what a value is, or by who holds it: no request shows that, so that
//! none is sent that may bring it about.

use super::{Peer, Wanted};
use crate::differential::unit::number;

/// No value that is shorter makes another one too long for a segment of 32 KiB, as a rule.
const SEGMENT_LEN_NEARLY: usize = 30_000;

/// Whether a value is white space alone.
pub(super) fn is_blank(value: &[u8]) -> bool {
    let is_space = |byte: &u8| byte.is_ascii_whitespace() || *byte == 0x0b;
    !value.is_empty() && value.iter().all(is_space)
}

/// No sum of smaller numbers that a session adds up reaches 2^63.
pub(super) const LARGE_NUMBER: u64 = 1 << 62;

/// Whether a number may make one from 2^63 up.
fn is_large(number: Option<u64>) -> bool {
    number.is_some_and(|number| number >= LARGE_NUMBER)
}

/// Whether a value begins with such a number.
pub(super) fn begins_large(value: &[u8]) -> bool {
    let value = value.trim_ascii_start();
    let value = value.strip_prefix(b"+").unwrap_or(value);
    let digits = value.iter().take_while(|byte| byte.is_ascii_digit()).count();
    is_large(number(&value[..digits]))
}

/// Whether what a value makes by being joined to another, behind or before it, may be longer than a segment, and begin with
/// a number.
pub(super) fn may_begin_number(value: &[u8], is_behind: bool, is_before: bool) -> bool {
    let ends_number = |byte: &u8| byte.is_ascii_whitespace() || matches!(byte, 0 | 0x0b);
    is_behind && value.len() >= SEGMENT_LEN_NEARLY || is_before && value.iter().any(ends_number)
}

pub(super) const WANTED: &[Wanted] = &[
    Wanted {
        reason: "memcached does not count in place while a reply to mg that is not sent yet holds the item",
        applies: |line| {
            let is_held = line.is_held && line.is(&["ma", "incr", "decr"]);
            is_held.then_some(Peer::Nothing)
        },
    },
    Wanted {
        reason: "1.6.18 counts on from what stands behind a value of white space alone, whatever it is",
        applies: |line| is_blank(line.value()?).then_some(Peer::Nothing),
    },
    Wanted {
        reason: "1.6.18 takes a number from 2^63 up for none when a minus stands anywhere behind it in its memory, which may \
            be a byte of an address",
        applies: |line| {
            let is_large = match line.verb() {
                b"incr" => is_large(number(line.word(2))),
                b"ma" => line.count_tokens().any(|token| is_large(number(token))),
                _ => line.value().is_some_and(begins_large),
            };
            is_large.then_some(Peer::Nothing)
        },
    },
    Wanted {
        reason: "Larder counts no value that is longer than a segment; memcached those too that begin with a number and a \
            space, up to 512 KiB, which is what a value can be made by joining",
        applies: |line| {
            let mode = line.words.iter().rfind(|word| word.starts_with(b"M"));
            let mode = mode.filter(|_| line.is(&["ms"])).and_then(|word| word.get(1));
            let is_behind = line.is(&["append"]) || mode == Some(&b'A');
            let is_before = line.is(&["prepend"]) || mode == Some(&b'P');
            let may_differ = may_begin_number(line.value()?, is_behind, is_before);
            may_differ.then_some(Peer::Nothing)
        },
    },
];
