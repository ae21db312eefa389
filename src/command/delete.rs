//! `delete`.

use super::Context;
use crate::store::Key;
use larder_protocol::Reply;

pub(super) fn delete(cx: &Context<'_>, key: Key<'_>) -> Reply {
    let store = &cx.instance.store;
    let found = store.delete(key, cx.now);
    cx.instance.prefixes.record_delete(key.bytes());
    if found {
        cx.counters.delete_hits.increment();
        Reply::Deleted
    } else {
        cx.counters.delete_misses.increment();
        Reply::NotFound
    }
}
