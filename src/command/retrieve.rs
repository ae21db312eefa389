//! `get gets gat gats`, a key at a time, and `touch`.

use super::Context;
use crate::store::{Deadline, Key, Miss};
use larder_protocol::response::write_value;
use larder_protocol::{Reply, Retrieve};

/// Answers one key of a get: its `VALUE` where there is one, else nothing.
pub fn key(cx: &Context<'_>, retrieve: &Retrieve, key: Key<'_>, out: &mut Vec<u8>) {
    let deadline = retrieve.touch().map(|exptime| Deadline::new(exptime, cx.now));
    let store = &cx.instance.store;
    let found = store.get(key, deadline, cx.now, |item| {
        #[cfg(debug_assertions)]
        crate::panics::when_asked(key.bytes());
        let value = (item.value.len(), item.value.parts());
        write_value(out, retrieve.verb(), key.bytes(), item.flags, value, item.cas_unique);
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
