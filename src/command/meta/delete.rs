//! `md`.

use super::{Asked, answer};
use crate::command::Context;
use crate::command::delete::{show, watched_len};
use crate::store::{Cas, Deadline, Deleted, Spoiling, Stored};
use larder_protocol::Reject;
use larder_protocol::response::MetaCode;

pub(super) fn delete(cx: &Context<'_>, asked: &Asked<'_>, out: &mut Vec<u8>) {
    let Asked { key, flags, terms } = *asked;
    let expected = asked.expected(cx);
    let len = watched_len(cx, key);
    let (is_stale, is_emptied) = (flags.has(b'I'), flags.has(b'x'));
    let deleted = if is_stale || is_emptied {
        let spoiling = Spoiling {
            cas: Cas { expected, new: asked.cas_unique(cx) },
            is_stale,
            emptied: is_emptied.then_some(terms.client_flags),
            deadline: terms.exptime.map(|exptime| Deadline::new(exptime, cx.now)),
        };
        match cx.instance.store.spoil(key, &spoiling, cx.now) {
            Stored::Stored | Stored::Joined(_) => Deleted::Deleted,
            Stored::Exists => Deleted::Exists,
            Stored::NotFound => Deleted::NotFound,
            Stored::NotStored | Stored::NoMemory => {
                out.extend_from_slice(Reject::OutOfMemoryArithmetic.line());
                return;
            }
        }
    } else {
        cx.instance.store.delete(key, expected, cx.now)
    };
    cx.instance.prefixes.record_delete(key.bytes());
    let (code, is_quiet) = match deleted {
        Deleted::Deleted => {
            if let Some(len) = len {
                show(cx, key, "md", len);
            }
            // An item that is only stale is not deleted.
            if !is_stale {
                cx.counters.delete_hits.increment();
            }
            (MetaCode::Header, true)
        }
        Deleted::Exists => {
            cx.counters.delete_misses.increment();
            (MetaCode::Exists, false)
        }
        Deleted::NotFound => {
            cx.counters.delete_misses.increment();
            (MetaCode::NotFound, false)
        }
    };
    answer(asked, code, is_quiet, out);
}
