//! `set add replace append prepend cas`.

use super::{Context, Line};
use crate::store::{Deadline, Key, Now, StoreMode, Stored, Upload, Write};
use larder_protocol::{Reject, Reply, StoreVerb};

/// A storage command but its value.
#[derive(Debug, Clone, Copy)]
pub struct Terms<'a> {
    /// Which of the six.
    pub verb: StoreVerb,
    /// What under.
    pub key: Key<'a>,
    /// As sent.
    pub flags: u32,
    /// As sent.
    pub exptime: i32,
}

impl<'a> Terms<'a> {
    fn write(self, value: &'a [u8], now: Now) -> Write<'a> {
        let Self { verb, key, flags, exptime } = self;
        let mode = match verb {
            StoreVerb::Set => StoreMode::Set,
            StoreVerb::Add => StoreMode::Add,
            StoreVerb::Replace => StoreMode::Replace,
            StoreVerb::Append => StoreMode::Append,
            StoreVerb::Prepend => StoreMode::Prepend,
            StoreVerb::Cas(unique) => StoreMode::Cas(unique),
        };
        Write { mode, key, flags, deadline: Deadline::new(exptime, now), value }
    }
}

pub(super) fn store(cx: &Context<'_>, terms: Terms<'_>, value: &[u8]) -> Line {
    let write = terms.write(value, cx.now);
    outcome(cx, &write, cx.instance.store.store(&write, cx.now))
}

/// Begins a command whose value has not come whole; `None` where it must.
pub fn begin(cx: &Context<'_>, terms: Terms<'_>, value_len: usize) -> Option<Upload> {
    cx.instance.store.begin_upload(&terms.write(&[], cx.now), value_len, cx.now)
}

/// Carries out a command of whose value the `rest` is here, and the front was received; not where there was no memory
/// for that.
pub fn finish(cx: &Context<'_>, terms: Terms<'_>, front: Option<Upload>, rest: &[u8]) -> Line {
    let (store, write) = (&cx.instance.store, terms.write(rest, cx.now));
    let stored = match front {
        Some(upload) => store.finish_upload(upload, &write, cx.now),
        None => store.refuse(&write, cx.now),
    };
    outcome(cx, &write, stored)
}

/// Counts what became of a command; its answer.
fn outcome(cx: &Context<'_>, write: &Write<'_>, stored: Stored) -> Line {
    let Write { mode, key, .. } = *write;
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
