//! `incr` and `decr`.

use super::{Context, answer};
use crate::store::{Arithmetic, Delta, Key};
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
    let counters = cx.counters;
    let (delta, hits, misses) = match verb {
        ArithmeticVerb::Incr => (Delta::Incr(delta), &counters.incr_hits, &counters.incr_misses),
        ArithmeticVerb::Decr => (Delta::Decr(delta), &counters.decr_hits, &counters.decr_misses),
    };
    let store = &cx.instance.store;
    match store.arithmetic(key, delta, cx.now) {
        Arithmetic::Number(number) => {
            hits.increment();
            if !noreply {
                write_number(out, number);
            }
        }
        Arithmetic::Miss(_) => {
            misses.increment();
            answer(noreply, Ok(Reply::NotFound), out);
        }
        Arithmetic::NonNumeric => answer(noreply, Err(Reject::NonNumeric), out),
        Arithmetic::NoMemory => {
            counters.store_no_memory.increment();
            answer(noreply, Err(Reject::OutOfMemoryArithmetic), out);
        }
    }
}
