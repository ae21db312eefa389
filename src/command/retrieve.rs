//! `get gets gat gats`, a key at a time, and `touch`.

use super::Context;
use crate::replies::Replies;
use crate::store::{Deadline, ItemView, Key, Miss};
use larder_protocol::response::write_value_line;
use larder_protocol::{Reply, Retrieve};

/// A value that has so many bytes in whole segments is lent by the store. Copying less than that costs less.
const LENT_LEN_MIN: usize = 16 * 1024;
/// What a value takes in a reply beside itself and its key, in bytes, at most.
const LINES_LEN: usize = 64;

/// Answers one key of a get: its `VALUE` where there is one, else nothing.
pub fn key(cx: &Context<'_>, retrieve: &Retrieve, key: Key<'_>, out: &mut Replies) {
    let deadline = retrieve.touch().map(|exptime| Deadline::new(exptime, cx.now));
    let store = &cx.instance.store;
    let found = store.get(key, deadline, cx.now, |item| {
        #[cfg(debug_assertions)]
        crate::panics::when_asked(key.bytes());
        let ItemView { value, flags, cas_unique } = item;
        let loan = value.lend(LENT_LEN_MIN);
        let len = value.len();
        out.text.reserve(key.bytes().len() + if loan.is_none() { len } else { 0 } + LINES_LEN);
        write_value_line(&mut out.text, retrieve.verb(), key.bytes(), flags, len, cas_unique);
        if let Some(loan) = loan {
            out.push(loan);
            value.copy_rest_to(&mut out.text);
        } else {
            value.copy_to(&mut out.text);
        }
        out.text.extend_from_slice(b"\r\n");
    });
    cx.instance.prefixes.record_get(key.bytes(), found.is_ok());
    let counters = cx.counters;
    if retrieve.touch().is_some() {
        count_touch(cx, found.is_ok());
        return;
    }
    counters.cmd_get.increment();
    match found {
        Ok(()) => counters.get_hits.increment(),
        Err(miss) => {
            counters.get_misses.increment();
            match miss {
                Miss::Absent => {}
                Miss::Expired => counters.get_expired.increment(),
                Miss::Flushed => counters.get_flushed.increment(),
            }
        }
    }
}

pub(super) fn touch(cx: &Context<'_>, key: Key<'_>, exptime: i32) -> Reply {
    let deadline = Deadline::new(exptime, cx.now);
    let store = &cx.instance.store;
    let found = store.get(key, Some(deadline), cx.now, |_| ()).is_ok();
    count_touch(cx, found);
    if found { Reply::Touched } else { Reply::NotFound }
}

fn count_touch(cx: &Context<'_>, found: bool) {
    cx.counters.cmd_touch.increment();
    if found {
        cx.counters.touch_hits.increment();
    } else {
        cx.counters.touch_misses.increment();
    }
}
