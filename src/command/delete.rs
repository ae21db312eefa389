//! `delete`.

use super::Context;
use crate::store::{Deleted, Key};

/// Removes an item, which must have the `expected` CAS unique where one is given.
pub(super) fn delete(cx: &Context<'_>, key: Key<'_>, expected: Option<u64>) -> Deleted {
    let deleted = cx.instance.store.delete(key, expected, cx.now);
    cx.instance.prefixes.record_delete(key.bytes());
    match deleted {
        Deleted::Deleted => cx.counters.delete_hits.increment(),
        // memcached counts these nowhere.
        Deleted::Exists => {}
        Deleted::NotFound => cx.counters.delete_misses.increment(),
    }
    deleted
}
