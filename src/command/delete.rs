//! `delete`.

use super::Context;
use larder_protocol::Reply;

pub(super) fn delete(cx: &Context<'_>, key: &[u8]) -> Reply {
    let store = &cx.instance.store;
    let found = store.delete(store.key(key), cx.now);
    cx.instance.prefixes.record_delete(key);
    if found {
        cx.counters.delete_hits.increment();
        Reply::Deleted
    } else {
        cx.counters.delete_misses.increment();
        Reply::NotFound
    }
}
