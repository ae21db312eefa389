//! Where Larder and memcached 1.6.18 are to differ by what a value is, or by who holds it: no request shows that, so that
//! none is sent that may bring it about.

use super::{Peer, Wanted};

/// No value that is shorter makes another one too long for a segment of 32 KiB, as a rule.
const SEGMENT_LEN_NEARLY: usize = 30_000;

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
        applies: |line| {
            let value = &line.unit.block.as_ref()?.0;
            let is_space = |byte: &u8| byte.is_ascii_whitespace() || *byte == 0x0b;
            let is_blank = value.len() > 2 && value[..value.len() - 2].iter().all(is_space);
            is_blank.then_some(Peer::Nothing)
        },
    },
    Wanted {
        reason: "1.6.18 takes a number from 2^63 up for none when a minus stands anywhere behind it in its memory, where it \
            was left by whatever was stored there before",
        applies: |line| {
            let block = &line.unit.block.as_ref()?.0;
            (block.contains(&b'-') || line.word(1).contains(&b'-')).then_some(Peer::Nothing)
        },
    },
    Wanted {
        reason: "Larder counts no value that is longer than a segment; memcached those too that begin with a number and a \
            space, up to 512 KiB, which is what a value can be made by joining",
        applies: |line| {
            let block = &line.unit.block.as_ref()?.0;
            let value = block.get(..block.len() - 2)?;
            let mode = line.words.iter().rfind(|word| word.starts_with(b"M"));
            let mode = mode.filter(|_| line.is(&["ms"])).and_then(|word| word.get(1));
            let is_behind = line.is(&["append"]) || mode == Some(&b'A');
            let is_before = line.is(&["prepend"]) || mode == Some(&b'P');
            let ends_number = |byte: &u8| byte.is_ascii_whitespace() || matches!(byte, 0 | 0x0b);
            let may_begin = is_behind && value.len() >= SEGMENT_LEN_NEARLY
                || is_before && value.iter().any(ends_number);
            may_begin.then_some(Peer::Nothing)
        },
    },
];
