//! `get gets gat gats`, a key at a time, and `touch`.

use super::Context;
use crate::replies::Replies;
use crate::store::{Deadline, ItemView, Key, Loan, Value};
use crate::watch::{self, Fetched};
use larder_protocol::response::write_value_line;
use larder_protocol::{Retrieve, Streams};

/// A value that has so many bytes in whole segments is lent by the store. Copying less than that costs less.
const LENT_LEN_MIN: usize = 16 * 1024;
/// What a value takes in a reply beside itself and its key, in bytes, at most.
const LINES_LEN: usize = 64;

/// Answers one key of a get: its `VALUE` where there is one, else nothing.
pub fn key(cx: &Context<'_>, retrieve: &Retrieve, key: Key<'_>, out: &mut Replies) {
    let deadline = retrieve.touch().map(|exptime| Deadline::new(exptime, cx.now));
    read(cx, key, deadline, |ItemView { value, flags, cas_unique }| {
        let (len, head_len) = (value.len(), key.bytes().len() + LINES_LEN);
        push_value(out, value, head_len, |out| {
            write_value_line(out, retrieve.verb(), key.bytes(), flags, len, cas_unique);
        });
        out.text.extend_from_slice(b"\r\n");
    });
}

/// Appends a value, and before it a `head` of so many bytes at most.
#[inline]
pub(super) fn push_value(
    out: &mut Replies,
    value: Value<'_>,
    head_len: usize,
    head: impl FnOnce(&mut Vec<u8>),
) {
    if let Some(piece) = value.piece() {
        out.text.reserve(head_len + piece.len());
        head(&mut out.text);
        out.text.extend_from_slice(piece);
    } else {
        let loan = value.lend(LENT_LEN_MIN);
        out.text.reserve(head_len + if loan.is_none() { value.len() } else { 0 });
        head(&mut out.text);
        push_pieces(value, loan, out);
    }
}

/// Appends a value that is in several pieces, the front of it lent or not.
#[inline(never)]
fn push_pieces(value: Value<'_>, loan: Option<Loan>, out: &mut Replies) {
    if let Some(loan) = loan {
        out.push(loan);
        value.copy_rest_to(&mut out.text);
    } else {
        value.copy_to(&mut out.text);
    }
}

/// Hands an item to `write`, with a new deadline where one is given, and counts that; whether there is one.
#[inline]
pub(super) fn read(
    cx: &Context<'_>,
    key: Key<'_>,
    deadline: Option<Deadline>,
    write: impl FnOnce(ItemView<'_>),
) -> bool {
    let mut len = 0;
    let found = cx.instance.store.get(key, deadline, cx.now, |item| {
        #[cfg(debug_assertions)]
        crate::panics::when_asked(key.bytes());
        len = item.value.len();
        write(item);
    });
    if cx.watched.has(Streams::FETCHERS) {
        show(cx, key, found.map(|()| len));
    }
    cx.instance.prefixes.record_get(key.bytes(), found.is_ok());
    let counters = cx.counters;
    if deadline.is_some() {
        count_touch(cx, found.is_ok());
        return found.is_ok();
    }
    counters.cmd_get.increment();
    if found.is_ok() {
        counters.get_hits.increment();
    } else {
        counters.get_misses.increment();
    }
    found.is_ok()
}

/// Gives an item a new deadline; whether there is one.
pub(super) fn touch(cx: &Context<'_>, key: Key<'_>, exptime: i32) -> bool {
    let deadline = Deadline::new(exptime, cx.now);
    let found = cx.instance.store.get(key, Some(deadline), cx.now, |item| item.value.len());
    if cx.watched.has(Streams::FETCHERS) {
        show(cx, key, found);
    }
    count_touch(cx, found.is_ok());
    found.is_ok()
}

/// Tells those who watch of a read.
#[cold]
pub(super) fn show(cx: &Context<'_>, key: Key<'_>, found: Fetched) {
    let line = |line: &mut Vec<u8>| watch::fetched(line, key.bytes(), found, cx.cfd);
    cx.instance.watchers.log(Streams::FETCHERS, line);
}

pub(super) fn count_touch(cx: &Context<'_>, found: bool) {
    cx.counters.cmd_touch.increment();
    if found {
        cx.counters.touch_hits.increment();
    } else {
        cx.counters.touch_misses.increment();
    }
}
