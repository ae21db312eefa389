//! The meta commands.

use super::{
    BLOCK_END, Limits, MetaStoreLine, Parsed, refuse, refuse_unknown_block, request, value_len,
};
use crate::meta::{Kind, MetaFlags, MetaVerb, next_word};
use crate::reject::Reject;
use crate::request::Request;

/// Bytes of a verb.
const VERB_LEN: usize = 2;

/// `verb key flags`.
#[inline]
pub(super) fn without_block(verb: MetaVerb, line: &[u8], line_len: usize) -> Parsed<'_> {
    let (key, rest) = next_word(&line[VERB_LEN..]);
    if key.is_empty() {
        return refuse(Reject::BadLine, line_len);
    }
    let flags = match verb {
        MetaVerb::Get => MetaFlags::new(Kind::Get, key, rest),
        MetaVerb::Delete => MetaFlags::new(Kind::Delete, key, rest),
        MetaVerb::Arithmetic => MetaFlags::new(Kind::Arithmetic, key, rest),
        MetaVerb::Debug => MetaFlags::for_debug(key, rest),
    };
    match flags {
        Ok(flags) => request(Request::Meta { verb, key, flags }, line_len),
        Err(reject) => refuse(reject, line_len),
    }
}

/// `ms key bytes flags` and the data block.
pub(super) fn set<'a>(
    line: &'a [u8],
    line_len: usize,
    input: &'a [u8],
    limits: Limits,
) -> Parsed<'a> {
    let (key, rest) = next_word(&line[VERB_LEN..]);
    let (len_word, rest) = next_word(rest);
    let Some(value_len) = value_len(len_word) else {
        return refuse_unknown_block(line_len);
    };
    let consumed = line_len + value_len + BLOCK_END.len();
    let flags = match MetaFlags::new(Kind::Set, key, rest) {
        Ok(flags) => flags,
        Err(reject) => return refuse(reject, consumed),
    };
    let client_flags = if flags.has_terms() { flags.terms().client_flags } else { 0 };
    block(MetaStoreLine { key, flags, line_len, value_len }, client_flags, input, limits)
}

/// The data block behind the line of a `ms`.
pub(super) fn block<'a>(
    line: MetaStoreLine<'a>,
    client_flags: u32,
    input: &'a [u8],
    limits: Limits,
) -> Parsed<'a> {
    let MetaStoreLine { key, flags, line_len, value_len } = line;
    let consumed = line.request_len();
    if limits.is_over(flags.key_len(key), client_flags, value_len) {
        return request(Request::MetaSetTooLarge { key, flags }, consumed);
    }
    match input.get(line_len..consumed).map(|block| block.strip_suffix(BLOCK_END)) {
        None => Parsed::NeedMetaBlock(line),
        Some(Some(value)) => request(Request::MetaSet { key, flags, value }, consumed),
        Some(None) => request(Request::MetaSetBadBlock, consumed),
    }
}
