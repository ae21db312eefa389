//! `get gets gat gats`, a key at a time, and `touch`.

use super::Context;
use crate::replies::Replies;
use crate::store::{Deadline, ItemView, Key, Value};
use crate::watch::{self, Fetched};
use larder_protocol::response::write_value_line;
use larder_protocol::{Retrieve, RetrieveVerb, Streams};

/// A value that has so many bytes in whole segments is lent by the store. Copying less than that costs less.
const LENT_LEN_MIN: usize = 16 * 1024;
/// What a value takes in a reply beside itself and its key, in bytes, at most.
const LINES_LEN: usize = 64;

/// Answers one key of a get: its `VALUE` where there is one, else nothing.
#[inline(never)]
pub fn key(cx: &Context<'_>, retrieve: Retrieve, key: Key<'_>, out: &mut Replies) {
    match retrieve.touch() {
        None => read(cx, key, |item| write_item(retrieve.verb(), key, item, out)),
        Some(exptime) => key_and_touch(cx, retrieve.verb(), key, exptime, out),
    };
}

#[inline(never)]
fn key_and_touch(
    cx: &Context<'_>,
    verb: RetrieveVerb,
    key: Key<'_>,
    exptime: i32,
    out: &mut Replies,
) -> bool {
    let deadline = Deadline::new(exptime, cx.now);
    read_and_touch(cx, key, deadline, |item| write_item(verb, key, item, out))
}

#[inline(always)]
#[expect(clippy::inline_always, reason = "a get writes little more than this")]
fn write_item(verb: RetrieveVerb, key: Key<'_>, item: ItemView<'_>, out: &mut Replies) {
    let ItemView { value, flags, cas_unique } = item;
    let key = key.bytes();
    reserve(out, &value, key.len() + LINES_LEN);
    write_value_line(&mut out.text, verb, key, flags, value.len(), cas_unique);
    push_value(out, value);
    out.text.extend_from_slice(b"\r\n");
}

/// Makes room for a value, and so many bytes beside it.
#[inline]
pub(super) fn reserve(out: &mut Replies, value: &Value<'_>, more_len: usize) {
    out.text.reserve(more_len + value.piece().map_or(0, <[u8]>::len));
}

/// Appends a value.
#[inline(always)]
#[expect(clippy::inline_always, reason = "most values are in one piece")]
pub(super) fn push_value(out: &mut Replies, value: Value<'_>) {
    match value.piece() {
        Some(piece) => out.text.extend_from_slice(piece),
        None => push_pieces(out, value),
    }
}

/// Appends a value in several pieces, the front of it lent where that is worth it.
#[cold]
#[inline(never)]
fn push_pieces(out: &mut Replies, value: Value<'_>) {
    if let Some(loan) = value.lend(LENT_LEN_MIN) {
        out.push(loan);
        value.copy_rest_to(&mut out.text);
    } else {
        out.text.reserve(value.len());
        value.copy_to(&mut out.text);
    }
}

/// Hands an item to `write`, and counts that; whether there is one.
#[inline]
pub(super) fn read(cx: &Context<'_>, key: Key<'_>, write: impl FnOnce(ItemView<'_>)) -> bool {
    let found = cx.instance.store.get(key, cx.now, |item| {
        #[cfg(debug_assertions)]
        crate::panics::when_asked(key.bytes());
        let len = item.value.len();
        write(item);
        len
    });
    note(cx, key, found);
    count_get(cx, found.is_ok());
    found.is_ok()
}

/// The same, and gives the item a new deadline.
pub(super) fn read_and_touch(
    cx: &Context<'_>,
    key: Key<'_>,
    deadline: Deadline,
    write: impl FnOnce(ItemView<'_>),
) -> bool {
    let found = cx.instance.store.get_and_touch(key, deadline, cx.now, |item| {
        let len = item.value.len();
        write(item);
        len
    });
    note(cx, key, found);
    count_touch(cx, found.is_ok());
    found.is_ok()
}

/// Tells those who want to know of a read.
#[inline]
pub(super) fn note(cx: &Context<'_>, key: Key<'_>, found: Fetched) {
    if cx.watched.has(Streams::FETCHERS) {
        show(cx, key, found);
    }
    cx.instance.prefixes.record_get(key.bytes(), found.is_ok());
}

/// Counts a get.
#[inline]
pub(super) fn count_get(cx: &Context<'_>, found: bool) {
    cx.counters.cmd_get.increment();
    if found {
        cx.counters.get_hits.increment();
    } else {
        cx.counters.get_misses.increment();
    }
}

/// Gives an item a new deadline; whether there is one.
pub(super) fn touch(cx: &Context<'_>, key: Key<'_>, exptime: i32) -> bool {
    let deadline = Deadline::new(exptime, cx.now);
    let found = cx.instance.store.get_and_touch(key, deadline, cx.now, |item| item.value.len());
    if cx.watched.has(Streams::FETCHERS) {
        show(cx, key, found);
    }
    count_touch(cx, found.is_ok());
    found.is_ok()
}

/// Tells those who watch of a read.
#[cold]
fn show(cx: &Context<'_>, key: Key<'_>, found: Fetched) {
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
