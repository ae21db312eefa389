//! Replies of any length, a piece at a time: `stats detail dump`, `lru_crawler metadump` and `mgdump`, `stats cachedump`,
//! `stats sizes`.
//!
//! Between two pieces nothing is held but how far it came and what was counted, so whoever reads slowly, or goes away, is in
//! nobody's way. Any number of dumps may be on their way.
//!
//! INVARIANT: a piece is little more than [`PIECE_LEN`].

use super::crawler::CLASS;
use super::{Context, Flow};
use crate::stats::{Block, Sizes};
use crate::store::{Cursor, Listed};
use larder_protocol::binary::Origin;
use larder_protocol::{ItemLine, ItemsForm, Reply};

/// A piece ends when it has so many bytes.
const PIECE_LEN: usize = 16 * 1024;
/// Or when so many steps were made.
const STEP_COUNT_MAX: usize = 64;
/// Or when so many were made in which every item is counted: a thousand items, nearly.
const COUNTING_STEP_COUNT: usize = 8;

/// How far a dump has come.
#[derive(Debug)]
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
    /// Amid counting items by their sizes, or showing that.
    Sizes {
        /// What was counted.
        sizes: Sizes,
        /// Where the items are that are not; `None` when all are.
        cursor: Option<Cursor>,
        /// Of the request, where that was a frame of the binary protocol.
        origin: Option<Origin>,
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

    /// Begins to count items by their sizes.
    pub(super) fn sizes(cx: &Context<'_>, origin: Option<Origin>) -> Self {
        let sizes = Sizes::new(cx.instance.limits.item_size_max);
        Self::Sizes { sizes, cursor: Some(Cursor::default()), origin }
    }

    /// Memory that it takes, in bytes.
    pub fn held_len(&self) -> usize {
        let counted_len = match self {
            Self::Prefixes { .. } | Self::Items { .. } => 0,
            Self::Sizes { sizes, .. } => sizes.held_len(),
        };
        size_of::<Self>() + counted_len
    }

    /// Appends the next piece; whether that was the last one.
    pub fn write_piece(&mut self, cx: &Context<'_>, out: &mut Vec<u8>) -> bool {
        let len_max = out.len() + PIECE_LEN;
        match self {
            Self::Prefixes { next } => {
                let Some(following) = cx.instance.prefixes.dump(*next, out, len_max) else {
                    out.extend_from_slice(Reply::End.line());
                    return true;
                };
                *next = following;
            }
            Self::Items { form, left, cursor } => {
                for _ in 0..STEP_COUNT_MAX {
                    let visit = |item: Listed<'_>| {
                        if *left > 0 && form.write(out, &line(cx, &item)) {
                            *left -= 1;
                        }
                    };
                    let next = cx.instance.store.dump(*cursor, cx.now, visit);
                    let Some(next) = next.filter(|_| *left > 0) else {
                        out.extend_from_slice(form.last_line());
                        return true;
                    };
                    *cursor = next;
                    if out.len() >= len_max {
                        break;
                    }
                }
            }
            Self::Sizes { sizes, cursor, origin } => {
                for _ in 0..COUNTING_STEP_COUNT {
                    let Some(from) = *cursor else { break };
                    *cursor = cx.instance.store.dump(from, cx.now, |item| sizes.count(item.size));
                }
                if cursor.is_none() {
                    let mut block = match *origin {
                        None => Block::lines(out),
                        Some(origin) => Block::frames(origin, out),
                    };
                    let is_all = sizes.write_piece(&mut block, len_max);
                    if is_all {
                        block.end();
                    }
                    return is_all;
                }
            }
        }
        false
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
