//! `mg ms md ma me mn`: what their flags ask for, and replies that show what was asked for, in that order.
//!
//! A key may come as base64. Here it is decoded; an item remembers how its key came, and is shown with the key in the
//! same form.

mod arithmetic;
mod delete;
mod get;
pub mod set;

use super::Context;
use crate::replies::Replies;
use crate::store::{Deadline, Key, Now};
use larder_protocol::response::{MetaCode, write_meta_key, write_meta_number};
use larder_protocol::{DECODED_LEN_MAX, MetaFlag, MetaFlags, MetaTerms, MetaVerb, base64};

/// A meta command but its verb.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// As the store knows it.
    pub key: Key<'a>,
    /// What to do, and what to show.
    pub flags: MetaFlags<'a>,
    /// The numbers among the flags.
    pub terms: &'a MetaTerms,
}

impl Asked<'_> {
    fn is_base64(&self) -> bool {
        self.flags.has(b'b')
    }

    /// Whether the key is one that could not stand on a line. Only base64 can name it.
    fn has_key_beyond_words(&self) -> bool {
        self.is_base64() && !base64::is_word(self.key.bytes())
    }

    /// The deadline of an item that is made: the last one of `N` and `T` counts.
    fn vivified_deadline(&self, vivified: Deadline, touched: Option<Deadline>) -> Deadline {
        let last = self.flags.iter().filter(|flag| matches!(flag.letter, b'N' | b'T')).last();
        match (last, touched) {
            (Some(flag), Some(touched)) if flag.letter == b'T' => touched,
            _ => vivified,
        }
    }

    /// The CAS unique that an item must have. Without uniques each item has 0, which elsewhere none has.
    fn expected(&self, cx: &Context<'_>) -> Option<u64> {
        self.terms.compare.filter(|unique| *unique != 0 || cx.instance.config.cas_enabled)
    }

    /// The CAS unique that an item is to get; `None`: a new one.
    fn cas_unique(&self, cx: &Context<'_>) -> Option<u64> {
        self.terms.cas_unique.filter(|_| cx.instance.config.cas_enabled)
    }
}

/// Hands a command to `carry_out`, with its key decoded where that is base64.
#[inline]
pub fn with_key<R>(
    cx: &Context<'_>,
    key: Key<'_>,
    flags: MetaFlags<'_>,
    carry_out: impl FnOnce(&Asked<'_>) -> R,
) -> R {
    let read;
    let terms = if flags.has_terms() {
        read = flags.terms();
        &read
    } else {
        &MetaTerms::NONE
    };
    if !flags.has(b'b') {
        return carry_out(&Asked { key, flags, terms });
    }
    let mut room = [0; DECODED_LEN_MAX];
    let key = cx.instance.store.key(flags.key(key.bytes(), &mut room));
    carry_out(&Asked { key, flags, terms })
}

/// The commands that are a line and nothing more.
#[inline]
pub(super) fn execute(
    cx: &Context<'_>,
    verb: MetaVerb,
    key: Key<'_>,
    flags: MetaFlags<'_>,
    out: &mut Replies,
) {
    with_key(cx, key, flags, |asked| match verb {
        MetaVerb::Get => get::get(cx, asked, out),
        MetaVerb::Delete => delete::delete(cx, asked, &mut out.text),
        MetaVerb::Arithmetic => arithmetic::arithmetic(cx, asked, &mut out.text),
        MetaVerb::Debug => get::debug(cx, asked, &mut out.text),
    });
}

/// Appends a reply that shows nothing but what the client sent, unless it `is_quiet`.
fn answer(asked: &Asked<'_>, code: MetaCode, is_quiet: bool, out: &mut Vec<u8>) {
    if is_quiet && asked.flags.has(b'q') {
        return;
    }
    out.extend_from_slice(code.text());
    for flag in asked.flags.iter() {
        echo(asked, flag, asked.is_base64(), out);
    }
    out.extend_from_slice(b"\r\n");
}

/// Appends what a flag shows of what the client sent.
#[inline]
fn echo(asked: &Asked<'_>, flag: MetaFlag<'_>, is_base64: bool, out: &mut Vec<u8>) {
    match flag.letter {
        b'O' => {
            out.push(b' ');
            out.extend_from_slice(flag.text);
        }
        b'k' => write_meta_key(out, asked.key.bytes(), is_base64),
        _ => {}
    }
}

/// Appends the seconds until a deadline, -1 where there is none. A part of one is one.
fn write_seconds_left(out: &mut Vec<u8>, deadline: Deadline, now: Now) {
    if deadline == Deadline::NEVER {
        out.extend_from_slice(b" t-1");
    } else {
        write_meta_number(out, b't', seconds_left(deadline, now));
    }
}

/// A second is over a millisecond before a deadline that is full seconds away.
fn seconds_left(deadline: Deadline, now: Now) -> u64 {
    deadline.ms().saturating_sub(now.ms + 1).div_ceil(1000)
}
