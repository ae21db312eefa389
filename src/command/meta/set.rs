//! `ms`.

use super::{Asked, echo};
use crate::command::{Context, storage};
use crate::store::{Cas, Deadline, StoreMode, Stored, Upload, Write};
use larder_protocol::response::{MetaCode, write_meta_number};
use larder_protocol::{MetaMode, Reject};

impl<'a> Asked<'a> {
    /// What to store; `cas_unique` is what the item gets.
    fn write(&self, cx: &Context<'_>, value: &'a [u8], cas_unique: Option<u64>) -> Write<'a> {
        let expected = self.terms.compare;
        // With 0 nothing is joined under a condition.
        let joined_to = expected.filter(|unique| *unique != 0);
        let (mode, expected) = match (self.terms.mode(), expected) {
            (MetaMode::Set | MetaMode::Replace, Some(unique)) if self.flags.has(b'I') => {
                (StoreMode::CasOrStale(unique), None)
            }
            (MetaMode::Set | MetaMode::Replace, Some(unique)) => (StoreMode::Cas(unique), None),
            (MetaMode::Set, None) => (StoreMode::Set, None),
            (MetaMode::Replace, None) => (StoreMode::Replace, None),
            (MetaMode::Add, _) => (StoreMode::Add, None),
            (MetaMode::Append, _) => (StoreMode::Append, joined_to),
            (MetaMode::Prepend, _) => (StoreMode::Prepend, joined_to),
        };
        Write {
            mode,
            key: self.key,
            flags: self.terms.client_flags,
            deadline: Deadline::new(self.terms.exptime.unwrap_or_default(), cx.now),
            value,
            cas: Cas { expected, new: cas_unique },
            is_base64: self.is_base64(),
        }
    }

    /// The unique that the item gets, where that must be known. Here, and with no other verb, 0 is as good as none.
    fn drawn_unique(&self, cx: &Context<'_>) -> Option<u64> {
        let drawn = || self.flags.has(b'c').then(|| cx.instance.store.next_cas_unique());
        self.cas_unique(cx).filter(|unique| *unique != 0).or_else(drawn)
    }
}

/// Stores a value that has come whole.
pub fn store(cx: &Context<'_>, asked: &Asked<'_>, value: &[u8], out: &mut Vec<u8>) {
    let cas_unique = asked.drawn_unique(cx);
    let write = asked.write(cx, value, cas_unique);
    let stored = match (write.mode, asked.terms.vivify) {
        (StoreMode::Append | StoreMode::Prepend, Some(exptime)) => {
            join_or_add(cx, &write, Deadline::new(exptime, cx.now))
        }
        _ => cx.instance.store.store(&write, cx.now),
    };
    storage::counted(cx, &write, value.len(), stored);
    reply(asked, stored, value.len(), cas_unique, out);
}

/// Joins a value to that of an item; where there is none, makes one. Whichever of the two is done, is done at once.
fn join_or_add(cx: &Context<'_>, write: &Write<'_>, deadline: Deadline) -> Stored {
    let store = &cx.instance.store;
    let add = Write {
        mode: StoreMode::Add,
        deadline,
        cas: Cas { expected: None, ..write.cas },
        ..*write
    };
    for write in [write, &add] {
        let stored = store.store(write, cx.now);
        if stored != Stored::NotStored {
            return stored;
        }
    }
    // Somebody else has made one in the meantime, or what is there cannot be joined to.
    store.store(write, cx.now)
}

/// Begins a command whose value has not come whole; `None` where it must.
pub fn begin(cx: &Context<'_>, asked: &Asked<'_>, value_len: usize) -> Option<Upload> {
    cx.instance.store.begin_upload(&asked.write(cx, &[], None), value_len, cx.now)
}

/// Carries out a command of whose value the `rest` is here, and the front was received; not where there was no memory
/// for that.
pub fn finish(
    cx: &Context<'_>,
    asked: &Asked<'_>,
    front: Option<Upload>,
    rest: &[u8],
    value_len: usize,
    out: &mut Vec<u8>,
) {
    let cas_unique = asked.drawn_unique(cx);
    let write = asked.write(cx, rest, cas_unique);
    let stored = storage::finish_write(cx, &write, front);
    reply(asked, stored, value_len, cas_unique, out);
}

/// An item that is too large: nothing is stored.
pub(in crate::command) fn too_large(cx: &Context<'_>, asked: &Asked<'_>, out: &mut Vec<u8>) {
    storage::refuse_too_large(cx, &asked.write(cx, &[], None));
    out.extend_from_slice(Reject::TooLarge.line());
}

fn reply(
    asked: &Asked<'_>,
    stored: Stored,
    value_len: usize,
    cas_unique: Option<u64>,
    out: &mut Vec<u8>,
) {
    let (code, cas_unique, value_len) = match stored {
        Stored::Stored => (MetaCode::Header, cas_unique.unwrap_or_default(), value_len),
        Stored::Joined(len) => (MetaCode::Header, cas_unique.unwrap_or_default(), len),
        Stored::NotStored => (MetaCode::NotStored, 0, value_len),
        Stored::Exists => (MetaCode::Exists, 0, value_len),
        Stored::NotFound => (MetaCode::NotFound, 0, value_len),
        Stored::NoMemory => {
            out.extend_from_slice(Reject::OutOfMemory.line());
            return;
        }
    };
    if code == MetaCode::Header && asked.flags.has(b'q') {
        return;
    }
    if code == MetaCode::Header && !asked.flags.has_any(b"cskO") {
        out.extend_from_slice(b"HD\r\n");
        return;
    }
    out.extend_from_slice(code.text());
    for flag in asked.flags.iter() {
        match flag.letter {
            b'c' => write_meta_number(out, b'c', cas_unique),
            b's' => write_meta_number(out, b's', value_len as u64),
            _ => echo(asked, flag, asked.is_base64(), out),
        }
    }
    out.extend_from_slice(b"\r\n");
}
