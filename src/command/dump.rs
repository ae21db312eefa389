//! Replies of any length, a piece at a time: `stats detail dump`, `lru_crawler metadump` and `mgdump`, `stats cachedump`.
//!
//! Between two pieces nothing is held but how far it came, so whoever reads slowly, or goes away, is in nobody's way.
//! Any number of dumps may be on their way.
//!
//! INVARIANT: a piece is little more than [`PIECE_LEN`].

use super::crawler::CLASS;
use super::{Context, Flow};
use crate::store::{Cursor, Listed};
use larder_protocol::{ItemLine, ItemsForm, Reply};

/// A piece ends when it has so many bytes.
const PIECE_LEN: usize = 16 * 1024;
/// Or when so many steps were made.
const STEP_COUNT_MAX: usize = 64;

/// How far a dump has come.
#[derive(Debug, Clone, Copy)]
pub enum Dump {
    /// Before the prefix of this number.
    Prefixes {
        /// Counted from 0.
        next: usize,
    },
    /// Before the items that a cursor points to.
    Items {
        /// How they are listed.
        form: ItemsForm,
        /// So many may come.
        left: u32,
        /// Where they are.
        cursor: Cursor,
    },
}

impl Dump {
    /// Begins to list items, up to a `limit` that 0 is none of.
    pub(super) fn begin(form: ItemsForm, has_any: bool, limit: u32, out: &mut Vec<u8>) -> Flow {
        out.extend_from_slice(form.first_line());
        if !has_any {
            out.extend_from_slice(form.last_line());
            return Flow::Continue;
        }
        let left = if limit == 0 { u32::MAX } else { limit };
        Flow::Dump(Self::Items { form, left, cursor: Cursor::default() })
    }

    /// Appends the next piece; what is left then.
    pub fn write_piece(self, cx: &Context<'_>, out: &mut Vec<u8>) -> Option<Self> {
        let len_max = out.len() + PIECE_LEN;
        match self {
            Self::Prefixes { next } => {
                let next = cx.instance.prefixes.dump(next, out, len_max);
                if next.is_none() {
                    out.extend_from_slice(Reply::End.line());
                }
                next.map(|next| Self::Prefixes { next })
            }
            Self::Items { form, mut left, mut cursor } => {
                for _ in 0..STEP_COUNT_MAX {
                    let visit = |item: Listed<'_>| {
                        if left > 0 && form.write(out, &line(cx, &item)) {
                            left -= 1;
                        }
                    };
                    let next = cx.instance.store.dump(cursor, cx.now, visit);
                    let Some(next) = next.filter(|_| left > 0) else {
                        out.extend_from_slice(form.last_line());
                        return None;
                    };
                    cursor = next;
                    if out.len() >= len_max {
                        break;
                    }
                }
                Some(Self::Items { form, left, cursor })
            }
        }
    }
}

fn line<'a>(cx: &Context<'_>, item: &Listed<'a>) -> ItemLine<'a> {
    ItemLine {
        key: item.key,
        is_base64: item.is_base64,
        exptime_unix_s: item.deadline.unix_s(cx.now),
        accessed_unix_s: (cx.now.unix_ms / 1000).saturating_sub(item.idle_s),
        cas_unique: item.cas_unique,
        is_fetched: item.is_fetched,
        class: CLASS,
        size: item.size,
        value_len: item.value_len,
        flags: item.flags,
    }
}
