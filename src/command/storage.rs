//! `set add replace append prepend cas`.

use super::{Context, Line};
use crate::store::{Deadline, Key, StoreMode, Stored, Write};
use larder_protocol::{Reject, Reply, StoreVerb};

pub(super) fn store(
    cx: &Context<'_>,
    verb: StoreVerb,
    key: Key<'_>,
    flags: u32,
    exptime: i32,
    value: &[u8],
) -> Line {
    let mode = match verb {
        StoreVerb::Set => StoreMode::Set,
        StoreVerb::Add => StoreMode::Add,
        StoreVerb::Replace => StoreMode::Replace,
        StoreVerb::Append => StoreMode::Append,
        StoreVerb::Prepend => StoreMode::Prepend,
        StoreVerb::Cas(unique) => StoreMode::Cas(unique),
    };
    let deadline = Deadline::new(exptime, cx.now);
    let store = &cx.instance.store;
    let write = Write { mode, key, flags, deadline, value };
    let stored = store.store(&write, cx.now);
    cx.instance.prefixes.record_set(key.bytes());
    cx.counters.cmd_set.increment();
    if matches!(mode, StoreMode::Cas(_)) {
        match stored {
            Stored::Stored => cx.counters.cas_hits.increment(),
            Stored::Exists => cx.counters.cas_badval.increment(),
            Stored::NotFound => cx.counters.cas_misses.increment(),
            Stored::NotStored | Stored::NoMemory => {}
        }
    }
    match stored {
        Stored::Stored => Ok(Reply::Stored),
        Stored::NotStored => Ok(Reply::NotStored),
        Stored::Exists => Ok(Reply::Exists),
        Stored::NotFound => Ok(Reply::NotFound),
        Stored::NoMemory => {
            cx.counters.store_no_memory.increment();
            Err(Reject::OutOfMemory)
        }
    }
}

/// A refused set removes what it was to replace, so that nobody reads a value its owner gave up; the
/// other verbs leave it.
pub(super) fn too_large(cx: &Context<'_>, verb: StoreVerb, key: Key<'_>) -> Line {
    cx.counters.store_too_large.increment();
    cx.instance.prefixes.record_set(key.bytes());
    if verb == StoreVerb::Set {
        cx.instance.store.remove(key);
    }
    Err(Reject::TooLarge)
}
