//! `ma`.

use super::{Asked, answer, echo, write_seconds_left};
use crate::command::Context;
use crate::command::arithmetic::{counted, delta_of};
use crate::store::{Arithmetic, Cas, Count, Deadline, Initial};
use larder_protocol::Reject;
use larder_protocol::response::{MetaCode, write_meta_number, write_meta_value_len};

pub(super) fn arithmetic(cx: &Context<'_>, asked: &Asked<'_>, out: &mut Vec<u8>) {
    let Asked { key, flags, terms } = *asked;
    let shown_unique = || flags.has(b'c').then(|| cx.instance.store.next_cas_unique());
    let cas_unique = asked.cas_unique(cx).or_else(shown_unique);
    let touch = terms.exptime.map(|exptime| Deadline::new(exptime, cx.now));
    let vivified = terms.vivify.map(|exptime| Deadline::new(exptime, cx.now));
    let how = Count {
        delta: delta_of(terms.direction(), terms.delta),
        // 0 is no condition here.
        cas: Cas { expected: terms.compare.filter(|unique| *unique != 0), new: cas_unique },
        initial: vivified.map(|vivified| Initial {
            number: terms.initial,
            deadline: asked.vivified_deadline(vivified, touch),
        }),
        touch,
        is_base64: asked.is_base64(),
    };
    let (outcome, mut deadline) = counted(cx, key, &how);
    let (number, is_new) = match outcome {
        Arithmetic::Number(number) => (number, false),
        Arithmetic::Created => (terms.initial, true),
        Arithmetic::Exists => return answer(asked, MetaCode::Exists, false, out),
        Arithmetic::Miss(_) => return answer(asked, MetaCode::NotFound, false, out),
        Arithmetic::NonNumeric => return out.extend_from_slice(Reject::NonNumeric.line()),
        Arithmetic::NoMemory => {
            return out.extend_from_slice(Reject::OutOfMemoryArithmetic.line());
        }
    };
    if flags.has(b'q') {
        return;
    }
    let digits = number.to_string();
    if flags.has(b'v') {
        write_meta_value_len(out, digits.len());
    } else {
        out.extend_from_slice(MetaCode::Header.text());
    }
    for flag in flags.iter() {
        match flag.letter {
            b'c' => write_meta_number(out, b'c', cas_unique.unwrap_or_default()),
            b't' => write_seconds_left(out, deadline, cx.now),
            b'T' => deadline = touch.unwrap_or(deadline),
            b'N' if is_new => deadline = vivified.unwrap_or(deadline),
            _ => echo(asked, flag, asked.is_base64(), out),
        }
    }
    out.extend_from_slice(b"\r\n");
    if flags.has(b'v') {
        out.extend_from_slice(digits.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
}
