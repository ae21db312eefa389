//! What each request of the binary protocol means: what the text commands do, with their counters, and answered in
//! frames.

use super::storage::{self, Terms};
use super::{Context, Dump, admin, arithmetic, delete, retrieve};
use crate::config::COMPATIBLE_VERSION;
use crate::replies::Replies;
use crate::stats::Block;
use crate::store::{Arithmetic, Cas, Count, Deadline, Deleted, Initial, ItemView, Key, Stored};
use larder_protocol::binary::response::{
    HIT_LEN, write_done, write_hit, write_miss, write_number, write_stat, write_status,
    write_version,
};
use larder_protocol::binary::{Action, Origin, Request, Status, Update};
use larder_protocol::{Reject, Reply, StatsTopic, StoreVerb};
use std::ops::ControlFlow;

/// Carries out a request and appends its response to `out`; breaks where more of that is to come, or the connection is to
/// end.
pub fn execute<'a>(
    cx: &Context<'_>,
    request: Request<'a, Key<'a>>,
    out: &mut Replies,
) -> ControlFlow<Option<Dump>> {
    let Request { origin, action } = request;
    let text = &mut out.text;
    match action {
        Action::Get { key, with_key, exptime } => get(cx, origin, key, with_key, exptime, out),
        Action::Touch { key, exptime } => touch(cx, origin, key, exptime, text),
        Action::Store { update, value } => {
            let terms = with_unique(cx, terms(update));
            write_stored(origin, &terms, storage::store(cx, terms, value), text);
        }
        Action::StoreTooLarge { verb, key } => {
            storage::too_large(cx, verb, key);
            write_status(text, origin, Status::TooLarge);
        }
        Action::Delete { key, expected } => match delete::delete(cx, key, expected) {
            Deleted::Deleted => write_success(text, origin, 0),
            Deleted::Exists => write_status(text, origin, Status::Exists),
            Deleted::NotFound => write_status(text, origin, Status::NotFound),
        },
        Action::Arithmetic { verb, key, delta, initial, expected } => {
            let new = Some(cx.instance.store.next_cas_unique());
            let initial = initial.map(|(number, exptime)| Initial {
                number,
                deadline: Deadline::new(exptime, cx.now),
            });
            let count = arithmetic::delta_of(verb, delta).into();
            let count = Count { cas: Cas { expected, new }, initial, ..count };
            answer_count(cx, origin, key, count, text);
        }
        Action::Flush { delay } => match admin::flush_all(cx, Some(delay.into())) {
            Ok(_) => write_success(text, origin, 0),
            Err(_) => write_status(text, origin, Status::NotAllowed),
        },
        Action::Stat(topic) => {
            if let Some(dump) = stat(cx, origin, topic, text) {
                return ControlFlow::Break(Some(dump));
            }
        }
        Action::Noop => write_done(text, origin, 0),
        Action::Version => write_version(text, origin, COMPATIBLE_VERSION),
        Action::Quit => {
            write_success(text, origin, 0);
            return ControlFlow::Break(None);
        }
    }
    ControlFlow::Continue(())
}

/// A storage command in the words of those of the text protocol.
pub fn terms(update: Update<Key<'_>>) -> Terms<'_> {
    let Update { verb, key, flags, exptime, expected } = update;
    Terms { verb, key, flags, exptime: exptime.into(), cas: Cas { expected, new: None } }
}

/// The same with a CAS unique for the item, so that it can be told to the client.
pub fn with_unique<'a>(cx: &Context<'_>, terms: Terms<'a>) -> Terms<'a> {
    let new = Some(cx.instance.store.next_cas_unique());
    Terms { cas: Cas { new, ..terms.cas }, ..terms }
}

/// Appends what became of a storage command.
pub fn write_stored(origin: Origin, terms: &Terms<'_>, stored: Stored, out: &mut Vec<u8>) {
    let status = match (stored, terms.verb) {
        (Stored::Stored | Stored::Joined(_), _) => {
            return write_success(out, origin, terms.cas.new.unwrap_or_default());
        }
        (Stored::Exists, _) | (Stored::NotStored, StoreVerb::Add) => Status::Exists,
        (Stored::NotFound, _) | (Stored::NotStored, StoreVerb::Replace) => Status::NotFound,
        (
            Stored::NotStored,
            StoreVerb::Set | StoreVerb::Append | StoreVerb::Prepend | StoreVerb::Cas(_),
        ) => Status::NotStored,
        (Stored::NoMemory, _) => Status::OutOfMemory,
    };
    write_status(out, origin, status);
}

/// Appends a success, unless the client does not want to hear it.
fn write_success(out: &mut Vec<u8>, origin: Origin, cas_unique: u64) {
    if !origin.is_quiet {
        write_done(out, origin, cas_unique);
    }
}

fn get(
    cx: &Context<'_>,
    origin: Origin,
    key: Key<'_>,
    with_key: bool,
    exptime: Option<u32>,
    out: &mut Replies,
) {
    let shown_key = if with_key { key.bytes() } else { b"" };
    let write = |ItemView { value, flags, cas_unique }: ItemView<'_>| {
        retrieve::reserve(out, &value, HIT_LEN + shown_key.len());
        write_hit(&mut out.text, origin, shown_key, flags, value.len(), cas_unique);
        retrieve::push_value(out, value);
    };
    let found = match exptime.map(|exptime| Deadline::new(exptime, cx.now)) {
        None => retrieve::read(cx, key, write),
        Some(deadline) => retrieve::read_and_touch(cx, key, deadline, write),
    };
    if !found && !origin.is_quiet {
        write_not_found(&mut out.text, origin, shown_key);
    }
}

fn write_not_found(out: &mut Vec<u8>, origin: Origin, shown_key: &[u8]) {
    match shown_key {
        [] => write_status(out, origin, Status::NotFound),
        key => write_miss(out, origin, key),
    }
}

fn touch(cx: &Context<'_>, origin: Origin, key: Key<'_>, exptime: u32, out: &mut Vec<u8>) {
    let deadline = Deadline::new(exptime, cx.now);
    let found =
        retrieve::read_and_touch(cx, key, deadline, |ItemView { flags, cas_unique, .. }| {
            write_hit(out, origin, b"", flags, 0, cas_unique);
        });
    if !found {
        write_status(out, origin, Status::NotFound);
    }
}

fn answer_count(cx: &Context<'_>, origin: Origin, key: Key<'_>, count: Count, out: &mut Vec<u8>) {
    let outcome = match arithmetic::count(cx, key, count) {
        Arithmetic::Number(number) => Ok(number),
        Arithmetic::Created => Ok(count.initial.map_or(0, |initial| initial.number)),
        Arithmetic::Exists => Err(Status::Exists),
        Arithmetic::Miss(_) => Err(Status::NotFound),
        Arithmetic::NonNumeric => Err(Status::NonNumeric),
        Arithmetic::NoMemory => Err(Status::OutOfMemoryCounting),
    };
    match outcome {
        Ok(_) if origin.is_quiet => {}
        Ok(number) => write_number(out, origin, number, count.cas.new.unwrap_or_default()),
        Err(status) => write_status(out, origin, status),
    }
}

/// Appends a response for each of the statistics, and one without a name as their end; or what is to append them.
fn stat(cx: &Context<'_>, origin: Origin, topic: StatsTopic, out: &mut Vec<u8>) -> Option<Dump> {
    match admin::stats(cx, topic, &mut Block::frames(origin, out)) {
        Ok(admin::Shown::All(_)) => {}
        Ok(admin::Shown::Prefixes) => {
            let mut lines = Vec::new();
            cx.instance.prefixes.dump(0, &mut lines, usize::MAX);
            lines.extend_from_slice(Reply::End.line());
            write_stat(out, origin, "detailed", &lines);
        }
        Ok(admin::Shown::Sizes) => return Some(Dump::sizes(cx, Some(origin))),
        Err(Reject::DetailNotAllowed) => {
            write_status(out, origin, Status::NotAllowed);
            return None;
        }
        // Items are listed in text alone.
        Ok(admin::Shown::Items(_)) | Err(_) => {
            write_status(out, origin, Status::NotFound);
            return None;
        }
    }
    Block::frames(origin, out).end();
    None
}
