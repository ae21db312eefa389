//! `mg` and `me`.

use super::{Asked, answer, echo, seconds_left, write_seconds_left};
use crate::command::Context;
use crate::command::retrieve::{count_get, count_touch, note, push_value, reserve};
use crate::replies::Replies;
use crate::store::{Deadline, Empty, Inquiry, Inspected, Marked, Miss};
use larder_protocol::base64;
use larder_protocol::response::{MetaCode, write_meta_number, write_meta_value_len};
use std::io::Write;

/// What a reply takes beside a value, a key and an opaque, in bytes, at most.
const LINES_LEN: usize = 160;
const SECOND_MS: u64 = 1000;

#[inline]
pub(super) fn get(cx: &Context<'_>, asked: &Asked<'_>, out: &mut Replies) {
    let Asked { key, flags, terms } = *asked;
    let is_secret = flags.has(b'u');
    let found = if terms.exptime.is_none() && terms.vivify.is_none() {
        let read = |inspected: &Inspected<'_>| {
            (inspected.item.value.len(), reply(cx, asked, inspected, None, out))
        };
        cx.instance.store.inspect(key, is_secret, cx.now, read)
    } else {
        get_and_change(cx, asked, is_secret, out)
    };
    note(cx, key, found);
    match found {
        Ok(_) if terms.exptime.is_some() => count_touch(cx, true),
        Ok(_) => count_get(cx, true),
        Err(_) => {
            // A touch that finds nothing counts as a get, too.
            count_get(cx, false);
            answer(asked, MetaCode::Miss, true, &mut out.text);
        }
    }
}

/// The same with a new exptime, or for an item that is made where there is none.
#[inline(never)]
fn get_and_change(
    cx: &Context<'_>,
    asked: &Asked<'_>,
    is_secret: bool,
    out: &mut Replies,
) -> Result<usize, Miss> {
    let touch = asked.terms.exptime.map(|exptime| Deadline::new(exptime, cx.now));
    let vivify = asked.terms.vivify.map(|exptime| Empty {
        deadline: asked.vivified_deadline(Deadline::new(exptime, cx.now), touch),
        cas_unique: asked.cas_unique(cx),
        is_base64: asked.is_base64(),
    });
    let inquiry = Inquiry { touch, vivify, is_secret };
    cx.instance.store.inspect_and_change(asked.key, &inquiry, cx.now, |inspected| {
        (inspected.item.value.len(), reply(cx, asked, inspected, touch, out))
    })
}

/// Appends what was asked for of an item; whether the client is to refill it.
#[inline]
fn reply(
    cx: &Context<'_>,
    asked: &Asked<'_>,
    inspected: &Inspected<'_>,
    touch: Option<Deadline>,
    out: &mut Replies,
) -> bool {
    let Asked { key, flags, terms } = asked;
    let value = inspected.item.value;
    let has_same = terms.compare.is_some() && {
        let unique = inspected.item.cas_unique;
        asked.expected(cx).is_none_or(|expected| expected != 0 && expected == unique)
    };
    if !flags.has(b'v') || has_same {
        out.text.extend_from_slice(MetaCode::Header.text());
        return write_shown(cx, asked, inspected, touch, &mut out.text);
    }
    // Twice the key: it may be shown as base64.
    reserve(out, &value, 2 * key.bytes().len() + LINES_LEN);
    write_meta_value_len(&mut out.text, value.len());
    let wins = write_shown(cx, asked, inspected, touch, &mut out.text);
    push_value(out, value);
    out.text.extend_from_slice(b"\r\n");
    wins
}

/// Appends what the flags ask for, and the line end; whether the client is to refill the item.
#[inline]
fn write_shown(
    cx: &Context<'_>,
    asked: &Asked<'_>,
    inspected: &Inspected<'_>,
    touch: Option<Deadline>,
    out: &mut Vec<u8>,
) -> bool {
    let Inspected { item, idle_s, is_fetched, marked, is_new, .. } = *inspected;
    let Marked { is_stale, is_won, is_base64 } = marked;
    let mut deadline = inspected.deadline;
    let mut wins = is_new;
    for flag in asked.flags.iter() {
        match flag.letter {
            b's' => write_meta_number(out, b's', item.value.len() as u64),
            b'f' => write_meta_number(out, b'f', item.flags.into()),
            b'c' => write_meta_number(out, b'c', item.cas_unique),
            b'h' => write_meta_number(out, b'h', is_fetched.into()),
            b'l' => write_meta_number(out, b'l', idle_s),
            b't' => write_seconds_left(out, deadline, cx.now),
            b'T' => deadline = touch.unwrap_or(deadline),
            b'N' if is_new => {
                let exptime = asked.terms.vivify.unwrap_or_default();
                deadline = Deadline::new(exptime, cx.now);
            }
            b'R' => {
                let seconds = asked.terms.recache.filter(|seconds| *seconds != 0);
                let threshold = seconds.map(|seconds| Deadline::new(seconds, cx.now));
                // In seconds, as `t` shows them: an item is not nearly over as soon as it is there.
                let is_near =
                    |threshold: Deadline| deadline.ms().saturating_add(SECOND_MS) <= threshold.ms();
                let is_near = threshold.is_some_and(is_near);
                wins |= is_near && !is_won;
            }
            b'k' | b'O' => {
                echo(asked, flag, is_base64 || asked.has_key_beyond_words(), out);
            }
            _ => {}
        }
    }
    wins |= is_stale && !is_won;
    for (is, text) in [(is_won, b" Z"), (is_stale, b" X"), (wins, b" W")] {
        if is {
            out.extend_from_slice(text);
        }
    }
    out.extend_from_slice(b"\r\n");
    wins
}

/// `me`: what is known of an item, which does not count as reading it.
pub(super) fn debug(cx: &Context<'_>, asked: &Asked<'_>, out: &mut Vec<u8>) {
    cx.counters.cmd_meta.increment();
    let found = cx.instance.store.inspect(asked.key, true, cx.now, |inspected| {
        let Inspected { item, deadline, idle_s, is_fetched, .. } = *inspected;
        let key = asked.key.bytes();
        let size = cx.instance.limits.item_size(key.len(), item.flags, item.value.len() as u64);
        out.extend_from_slice(b"ME ");
        if inspected.marked.is_base64 || asked.has_key_beyond_words() {
            base64::encode(key, out);
        } else {
            out.extend_from_slice(key);
        }
        let seconds = if deadline == Deadline::NEVER {
            -1
        } else {
            seconds_left(deadline, cx.now).cast_signed()
        };
        let fetch = if is_fetched { "yes" } else { "no" };
        let cas = item.cas_unique;
        // All items are of one class, as in `stats items`.
        write!(out, " exp={seconds} la={idle_s} cas={cas} fetch={fetch} cls=1 size={size}\r\n")
            .expect("a vector takes every write");
        ((), false)
    });
    if found.is_err() {
        out.extend_from_slice(b"EN\r\n");
    }
}
