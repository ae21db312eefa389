//! `set add replace append prepend cas`.

use super::{Context, Line};
use crate::store::{Cas, Deadline, Key, Now, StoreMode, Stored, Upload, Write};
use crate::watch::{self, StoreLog};
use larder_protocol::{Reject, Reply, StoreVerb, Streams};

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
    pub exptime: i64,
    /// Beside that of [`StoreVerb::Cas`].
    pub cas: Cas,
}

impl<'a> Terms<'a> {
    fn write(self, value: &'a [u8], now: Now) -> Write<'a> {
        let Self { verb, key, flags, exptime, cas } = self;
        let mode = match verb {
            StoreVerb::Set => StoreMode::Set,
            StoreVerb::Add => StoreMode::Add,
            StoreVerb::Replace => StoreMode::Replace,
            StoreVerb::Append => StoreMode::Append,
            StoreVerb::Prepend => StoreMode::Prepend,
            StoreVerb::Cas(unique) => StoreMode::Cas(unique),
        };
        let deadline = Deadline::new(exptime, now);
        Write { mode, key, flags, deadline, value, cas, is_base64: false }
    }
}

pub(super) fn store(cx: &Context<'_>, terms: Terms<'_>, value: &[u8]) -> Stored {
    let write = terms.write(value, cx.now);
    counted(cx, &write, value.len(), cx.instance.store.store(&write, cx.now))
}

/// Begins a command whose value has not come whole; `None` where it must.
pub fn begin(cx: &Context<'_>, terms: Terms<'_>, value_len: usize) -> Option<Upload> {
    cx.instance.store.begin_upload(&terms.write(&[], cx.now), value_len, cx.now)
}

/// Carries out a command of whose value the `rest` is here, and the front was received; not where there was no memory
/// for that.
pub fn finish(cx: &Context<'_>, terms: Terms<'_>, front: Option<Upload>, rest: &[u8]) -> Stored {
    finish_write(cx, &terms.write(rest, cx.now), front)
}

/// The same.
pub(super) fn finish_write(cx: &Context<'_>, write: &Write<'_>, front: Option<Upload>) -> Stored {
    let value_len = front.as_ref().map_or(0, Upload::len) + write.value.len();
    let stored = match front {
        Some(upload) => cx.instance.store.finish_upload(upload, write, cx.now),
        None => cx.instance.store.refuse(write, cx.now),
    };
    counted(cx, write, value_len, stored)
}

/// Counts what became of a command with a value of so many bytes, and tells those who watch.
pub(super) fn counted(
    cx: &Context<'_>,
    write: &Write<'_>,
    value_len: usize,
    stored: Stored,
) -> Stored {
    let Write { mode, key, .. } = *write;
    cx.instance.prefixes.record_set(key.bytes());
    cx.counters.cmd_set.increment();
    if matches!(mode, StoreMode::Cas(_) | StoreMode::CasOrStale(_)) {
        match stored {
            Stored::Stored => cx.counters.cas_hits.increment(),
            Stored::Exists => cx.counters.cas_badval.increment(),
            Stored::NotFound => cx.counters.cas_misses.increment(),
            Stored::Joined(_) | Stored::NotStored | Stored::NoMemory => {}
        }
    }
    if cx.watched.has(Streams::MUTATIONS) {
        let value_len = if let Stored::Joined(len) = stored { len } else { value_len };
        show(cx, write, value_len, status(stored));
    }
    if stored == Stored::NoMemory {
        cx.counters.store_no_memory.increment();
    }
    stored
}

/// In memcached's log.
fn status(stored: Stored) -> &'static str {
    match stored {
        Stored::Stored | Stored::Joined(_) => "stored",
        Stored::NotStored => "not_stored",
        Stored::Exists => "exists",
        Stored::NotFound => "not_found",
        Stored::NoMemory => "no_memory",
    }
}

/// Tells those who watch what became of a command.
#[cold]
fn show(cx: &Context<'_>, write: &Write<'_>, value_len: usize, status: &'static str) {
    let Write { mode, key, deadline, .. } = *write;
    // What is joined to an item keeps its deadline, whatever was sent.
    let keeps = matches!(mode, StoreMode::Append | StoreMode::Prepend);
    let deadline = if keeps { Deadline::NEVER } else { deadline };
    let log = StoreLog { key: key.bytes(), status, mode, deadline, value_len };
    let line = |line: &mut Vec<u8>| watch::stored(line, &log, cx.cfd, cx.now);
    cx.instance.watchers.log(Streams::MUTATIONS, line);
}

/// The answer in the text protocol.
pub fn line(stored: Stored) -> Line {
    match stored {
        Stored::Stored | Stored::Joined(_) => Ok(Reply::Stored),
        Stored::NotStored => Ok(Reply::NotStored),
        Stored::Exists => Ok(Reply::Exists),
        Stored::NotFound => Ok(Reply::NotFound),
        Stored::NoMemory => Err(Reject::OutOfMemory),
    }
}

/// Counts a command of which only the block was wrong, as memcached does: it was tried. So was its key, but of a `ms`.
pub fn bad_block(cx: &Context<'_>, key: Option<Key<'_>>) -> Reject {
    if let Some(key) = key {
        cx.instance.prefixes.record_set(key.bytes());
    }
    cx.counters.cmd_set.increment();
    Reject::BadDataChunk
}

/// An item that is too large: nothing is stored.
pub(super) fn too_large(cx: &Context<'_>, verb: StoreVerb, key: Key<'_>) {
    let terms = Terms { verb, key, flags: 0, exptime: 0, cas: Cas::default() };
    refuse_too_large(cx, &terms.write(&[], cx.now));
}

/// Counts a command with a value that is too large, and tells those who watch. A refused set removes what it was to
/// replace, so that nobody reads a value its owner gave up; the other modes leave it.
pub(super) fn refuse_too_large(cx: &Context<'_>, write: &Write<'_>) {
    cx.counters.store_too_large.increment();
    cx.instance.prefixes.record_set(write.key.bytes());
    if cx.watched.has(Streams::MUTATIONS) {
        show(cx, write, 0, "too_large");
    }
    if write.mode == StoreMode::Set {
        cx.instance.store.remove(write.key);
    }
}
