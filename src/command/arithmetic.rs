//! `incr` and `decr`.

use super::{Context, answer};
use crate::store::{Arithmetic, Count, Deadline, Delta, Key};
use larder_protocol::response::write_number;
use larder_protocol::{ArithmeticVerb, Reject, Reply};

pub(super) fn arithmetic(
    cx: &Context<'_>,
    verb: ArithmeticVerb,
    key: Key<'_>,
    delta: u64,
    noreply: bool,
    out: &mut Vec<u8>,
) {
    let line = match count(cx, key, delta_of(verb, delta)) {
        Arithmetic::Number(number) => {
            if !noreply {
                write_number(out, number);
            }
            return;
        }
        Arithmetic::Exists => Ok(Reply::Exists),
        Arithmetic::Created | Arithmetic::Miss(_) => Ok(Reply::NotFound),
        Arithmetic::NonNumeric => Err(Reject::NonNumeric),
        Arithmetic::NoMemory => Err(Reject::OutOfMemoryArithmetic),
    };
    answer(noreply, line, out);
}

/// What a verb does with a number.
pub(super) fn delta_of(verb: ArithmeticVerb, number: u64) -> Delta {
    match verb {
        ArithmeticVerb::Incr => Delta::Incr(number),
        ArithmeticVerb::Decr => Delta::Decr(number),
    }
}

/// Counts, and counts that.
pub(super) fn count(cx: &Context<'_>, key: Key<'_>, count: impl Into<Count>) -> Arithmetic {
    counted(cx, key, &count.into()).0
}

/// The same; with it comes the deadline that the item had before.
pub(super) fn counted(cx: &Context<'_>, key: Key<'_>, count: &Count) -> (Arithmetic, Deadline) {
    let counters = cx.counters;
    let (hits, misses) = match count.delta {
        Delta::Incr(_) => (&counters.incr_hits, &counters.incr_misses),
        Delta::Decr(_) => (&counters.decr_hits, &counters.decr_misses),
    };
    let (outcome, before) = cx.instance.store.count(key, count, cx.now);
    match outcome {
        Arithmetic::Number(_) => hits.increment(),
        Arithmetic::Miss(_) => misses.increment(),
        Arithmetic::NoMemory => counters.store_no_memory.increment(),
        Arithmetic::Created | Arithmetic::Exists | Arithmetic::NonNumeric => {}
    }
    (outcome, before)
}
