//! `delete`.

use super::Context;
use crate::store::{Deleted, Inspected, Key};
use crate::watch;
use larder_protocol::Streams;

/// Removes an item, which must have the `expected` CAS unique where one is given.
pub(super) fn delete(cx: &Context<'_>, key: Key<'_>, expected: Option<u64>) -> Deleted {
    let len = watched_len(cx, key);
    let deleted = cx.instance.store.delete(key, expected, cx.now);
    if let (Deleted::Deleted, Some(len)) = (deleted, len) {
        show(cx, key, "delete", len);
    }
    cx.instance.prefixes.record_delete(key.bytes());
    match deleted {
        Deleted::Deleted => cx.counters.delete_hits.increment(),
        // memcached counts these nowhere.
        Deleted::Exists => {}
        Deleted::NotFound => cx.counters.delete_misses.increment(),
    }
    deleted
}

/// How long the value of an item is that may be deleted, where anybody watches that.
pub(super) fn watched_len(cx: &Context<'_>, key: Key<'_>) -> Option<usize> {
    if !cx.watched.has(Streams::DELETIONS) {
        return None;
    }
    let len = |inspected: &Inspected<'_>| (inspected.item.value.len(), false);
    // Where there is none, one that comes in between is shown as empty.
    Some(cx.instance.store.inspect(key, true, cx.now, len).unwrap_or(0))
}

/// Tells those who watch of a delete.
#[cold]
pub(super) fn show(cx: &Context<'_>, key: Key<'_>, cmd: &str, len: usize) {
    let line = |line: &mut Vec<u8>| watch::deleted(line, key.bytes(), cmd, len);
    cx.instance.watchers.log(Streams::DELETIONS, line);
}
