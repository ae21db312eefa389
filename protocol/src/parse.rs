//! Bytes to requests.
//!
//! [`parse`] looks at the front of a read buffer. *Incomplete is a value, not an error*: it says how
//! long the buffer must be before it is worth another look, so a large set is not scanned again with
//! every read. A refusal says how many bytes to skip, which keeps the connection in step; the count may
//! pass the end of the buffer, and then the caller swallows the rest as it arrives.
//!
//! Two things are stricter than memcached, so that a payload is never read as commands:
//! a storage command whose length is missing or no number closes the connection after its error, and a
//! get keeps the replies before its error.

use crate::KEY_LEN_MAX;
use crate::admin::{self, Admin};
use crate::meta::{MetaFlags, MetaVerb};
use crate::plain;
use crate::reject::Reject;
use crate::request::{
    ArithmeticVerb, DetailMode, Request, RetrieveVerb, ShutdownMode, StatsTopic, StoreVerb,
};
use crate::retrieve::Retrieve;
use crate::token::{Words, lenient_exptime, lenient_flags, strict_i32, strict_u32, strict_u64};
use memchr::memchr;

mod meta;

/// A line of which more than this has come without its end closes the connection; `get` and `gets`
/// are exempt.
pub const UNFINISHED_LINE_LEN_MAX: usize = 2048;
/// As many spaces may stand before the `get` of such a line.
const LEADING_SPACES_MAX: usize = 100;
/// Shortest line, its line end included.
const LINE_LEN_MIN: usize = 4;
/// Largest data length that is a length at all.
const VALUE_LEN_MAX: u64 = i32::MAX as u64 - 2;
/// What memcached adds to key and value when it compares an item with its size limit.
const ITEM_HEADER_LEN: u64 = 48;

/// The limits that the wire shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Largest item, in bytes, by [`Limits::item_size`].
    pub item_size_max: u32,
    /// Whether items have a CAS unique, which counts 8 bytes.
    pub cas: bool,
}

impl Limits {
    /// The size that memcached compares with its item size limit: 48 bytes of header, the key and a
    /// NUL, 8 bytes of CAS, 4 of flags where they are not 0, the value and its line end.
    pub fn item_size(self, key_len: usize, flags: u32, value_len: u64) -> u64 {
        ITEM_HEADER_LEN
            + key_len as u64
            + 1
            + if self.cas { 8 } else { 0 }
            + if flags == 0 { 0 } else { 4 }
            + value_len
            + 2
    }

    /// Whether an item is too large.
    pub(crate) fn is_over(self, key_len: usize, flags: u32, value_len: usize) -> bool {
        self.item_size(key_len, flags, value_len as u64) > u64::from(self.item_size_max)
    }
}

/// What the front of a read buffer holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parsed<'a> {
    /// A request.
    Request {
        /// What is asked.
        request: Request<'a>,
        /// Bytes that are done with; may pass the end of the input.
        consumed: usize,
    },
    /// A get of one key, which is all of its line: what [`Retrieve::next_key`] would find is found already.
    Get {
        /// The get.
        retrieve: Retrieve,
        /// 1 to 250 bytes.
        key: &'a [u8],
        /// Bytes that are done with.
        consumed: usize,
    },
    /// Nothing yet.
    NeedMore {
        /// How long the input must be before another call can say more.
        len_min: usize,
    },
    /// A storage command whose data block has not come whole. Whoever puts the block elsewhere as it comes need not wait
    /// for all of it.
    NeedBlock(StoreLine<'a>),
    /// The same of `ms`.
    NeedMetaBlock(MetaStoreLine<'a>),
    /// A mistake.
    Refused {
        /// The answer; `None` where the client is to hear nothing.
        reply: Option<Reject>,
        /// Bytes that are done with; may pass the end of the input.
        consumed: usize,
        /// How to go on.
        then: Then,
    },
}

/// The line of a storage command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoreLine<'a> {
    /// Which of the six.
    pub verb: StoreVerb,
    /// 1 to 250 bytes.
    pub key: &'a [u8],
    /// As in [`Request::Store`].
    pub flags: u32,
    /// As in [`Request::Store`].
    pub exptime: i32,
    /// Answer nothing.
    pub noreply: bool,
    /// Of the line itself, its end included, in bytes.
    pub line_len: usize,
    /// Of the data block without its line end, in bytes.
    pub value_len: usize,
}

impl StoreLine<'_> {
    /// Of the line and the block, in bytes: how long the input must be before another call can say more.
    pub fn request_len(&self) -> usize {
        self.line_len + self.value_len + BLOCK_END.len()
    }
}

/// The line of `ms`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MetaStoreLine<'a> {
    /// 1 to 250 bytes, as on the line.
    pub key: &'a [u8],
    /// As in [`Request::MetaSet`].
    pub flags: MetaFlags<'a>,
    /// Of the line itself, its end included, in bytes.
    pub line_len: usize,
    /// Of the data block without its line end, in bytes.
    pub value_len: usize,
}

impl MetaStoreLine<'_> {
    /// As [`StoreLine::request_len`].
    pub fn request_len(&self) -> usize {
        self.line_len + self.value_len + BLOCK_END.len()
    }
}

/// The line end of a data block.
pub const BLOCK_END: &[u8] = b"\r\n";

/// How to go on after a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// With the next request.
    Continue,
    /// With what comes behind the next line end: the refused line has not all come yet.
    SkipLine,
    /// Not at all: where the next request begins is not known, or it is no memcached client.
    Close,
}

/// Reads one request from the front of `input`.
///
/// The reply to a `get` needs its keys too: they are left in the stream for
/// [`Retrieve::next_key`].
pub fn parse(input: &[u8], limits: Limits) -> Parsed<'_> {
    if let Some((key, consumed)) = plain::get_line(input) {
        return Parsed::Get { retrieve: Retrieve::new(RetrieveVerb::Get, 0), key, consumed };
    }
    if let Some(line) = plain::set_line(input) {
        return block(line, input, limits);
    }
    if let Some((key, flags, line_len)) = plain::meta_get_line(input) {
        return request(Request::Meta { verb: MetaVerb::Get, key, flags }, line_len);
    }
    if let Some((line, client_flags)) = plain::meta_set_line(input) {
        return meta::block(line, client_flags, input, limits);
    }
    parse_any(input, limits)
}

/// The same, whatever it is.
fn parse_any(input: &[u8], limits: Limits) -> Parsed<'_> {
    let Some(line_end) = memchr(b'\n', input) else {
        return unfinished_line(input);
    };
    let line_len = line_end + 1;
    if line_len < LINE_LEN_MIN {
        return refuse(Reject::BadLine, line_len);
    }
    let line = &input[..line_end];
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.starts_with(b"get ") {
        return retrieve(RetrieveVerb::Get, 3);
    }
    let verb_end = memchr(b' ', line).unwrap_or(line.len());
    match &line[..verb_end] {
        b"get" => retrieve(RetrieveVerb::Get, verb_end),
        b"gets" => retrieve(RetrieveVerb::Gets, verb_end),
        b"gat" => get_and_touch(RetrieveVerb::Gat, line, line_len),
        b"gats" => get_and_touch(RetrieveVerb::Gats, line, line_len),
        b"set" => store(StoreVerb::Set, line, line_len, input, limits),
        b"add" => store(StoreVerb::Add, line, line_len, input, limits),
        b"replace" => store(StoreVerb::Replace, line, line_len, input, limits),
        b"append" => store(StoreVerb::Append, line, line_len, input, limits),
        b"prepend" => store(StoreVerb::Prepend, line, line_len, input, limits),
        // The unique is read with the other words.
        b"cas" => store(StoreVerb::Cas(0), line, line_len, input, limits),
        b"mg" => meta::without_block(MetaVerb::Get, line, line_len),
        b"ms" => meta::set(line, line_len, input, limits),
        b"md" => meta::without_block(MetaVerb::Delete, line, line_len),
        b"ma" => meta::without_block(MetaVerb::Arithmetic, line, line_len),
        b"me" => meta::without_block(MetaVerb::Debug, line, line_len),
        b"mn" => request(Request::MetaNoop, line_len),
        // It may have more words than are kept.
        b"watch" => request(Request::Admin { admin: admin::watch(line), noreply: false }, line_len),
        verb => without_block(verb, &Words::split(line), line_len),
    }
}

fn request(request: Request<'_>, consumed: usize) -> Parsed<'_> {
    Parsed::Request { request, consumed }
}

fn refuse<'a>(reject: Reject, consumed: usize) -> Parsed<'a> {
    Parsed::Refused { reply: Some(reject), consumed, then: Then::Continue }
}

/// A refusal that a `noreply` silences.
fn refuse_unless<'a>(noreply: bool, reject: Reject, consumed: usize) -> Parsed<'a> {
    Parsed::Refused { reply: (!noreply).then_some(reject), consumed, then: Then::Continue }
}

fn is_key(word: &[u8]) -> bool {
    (1..=KEY_LEN_MAX).contains(&word.len())
}

/// No line end yet: wait, begin a long get, or give up.
fn unfinished_line(input: &[u8]) -> Parsed<'_> {
    if input.len() <= UNFINISHED_LINE_LEN_MAX {
        return Parsed::NeedMore { len_min: input.len() + 1 };
    }
    let spaces_len = input.iter().take(LEADING_SPACES_MAX).take_while(|b| **b == b' ').count();
    let verb = match &input[spaces_len..] {
        rest if rest.starts_with(b"get ") => Some((RetrieveVerb::Get, 3)),
        rest if rest.starts_with(b"gets ") => Some((RetrieveVerb::Gets, 4)),
        _ => None,
    };
    match verb {
        Some((verb, verb_len)) if spaces_len == 0 => retrieve(verb, verb_len),
        // A line that begins with a space names no command, however it goes on.
        Some(_) => Parsed::Refused {
            reply: Some(Reject::UnknownCommand),
            consumed: input.len(),
            then: Then::SkipLine,
        },
        None => Parsed::Refused { reply: None, consumed: input.len(), then: Then::Close },
    }
}

fn retrieve<'a>(verb: RetrieveVerb, consumed: usize) -> Parsed<'a> {
    request(Request::Retrieve(Retrieve::new(verb, 0)), consumed)
}

/// `gat exptime key…`: the exptime is read here, the keys are left in the stream.
fn get_and_touch(verb: RetrieveVerb, line: &[u8], line_len: usize) -> Parsed<'_> {
    let words = Words::split(line);
    if words.count() < 3 {
        return refuse(Reject::BadLine, line_len);
    }
    let exptime_word = words.at(1);
    let Some(exptime) = strict_i32(exptime_word) else {
        return refuse(Reject::InvalidExptime, line_len);
    };
    // The word borrows from the line, so its end is a position in it.
    let consumed = exptime_word.as_ptr().addr() - line.as_ptr().addr() + exptime_word.len();
    request(Request::Retrieve(Retrieve::new(verb, exptime)), consumed)
}

/// `verb key flags exptime bytes [unique] [noreply]` and the data block.
fn store<'a>(
    verb: StoreVerb,
    line: &'a [u8],
    line_len: usize,
    input: &'a [u8],
    limits: Limits,
) -> Parsed<'a> {
    let words = Words::split(line);
    let Some(value_len) = value_len(words.at(4)) else {
        return refuse_unknown_block(line_len);
    };
    let noreply = words.noreply();
    let consumed = line_len + value_len + BLOCK_END.len();
    let key = words.at(1);
    let verb = match verb {
        StoreVerb::Cas(_) => strict_u64(words.at(5)).map(StoreVerb::Cas),
        StoreVerb::Set
        | StoreVerb::Add
        | StoreVerb::Replace
        | StoreVerb::Append
        | StoreVerb::Prepend => Some(verb),
    };
    let (Some(verb), true, Some(flags), Some(exptime)) =
        (verb, is_key(key), lenient_flags(words.at(2)), lenient_exptime(words.at(3)))
    else {
        return refuse_unless(noreply, Reject::BadLine, consumed);
    };
    block(StoreLine { verb, key, flags, exptime, noreply, line_len, value_len }, input, limits)
}

/// The length of a data block, as its line has it.
fn value_len(word: &[u8]) -> Option<usize> {
    strict_u64(word).filter(|len| *len <= VALUE_LEN_MAX)?.try_into().ok()
}

/// Without a length, where the next request begins is not known.
fn refuse_unknown_block<'a>(line_len: usize) -> Parsed<'a> {
    Parsed::Refused { reply: Some(Reject::BadLine), consumed: line_len, then: Then::Close }
}

/// The data block behind the line of a storage command.
fn block<'a>(line: StoreLine<'a>, input: &'a [u8], limits: Limits) -> Parsed<'a> {
    let StoreLine { verb, key, flags, exptime, noreply, line_len, value_len } = line;
    let consumed = line.request_len();
    if limits.is_over(key.len(), flags, value_len) {
        return request(Request::StoreTooLarge { verb, key, noreply }, consumed);
    }
    match input.get(line_len..consumed).map(|block| block.strip_suffix(BLOCK_END)) {
        None => Parsed::NeedBlock(line),
        Some(Some(value)) => {
            request(Request::Store { verb, key, flags, exptime, value, noreply }, consumed)
        }
        Some(None) => request(Request::StoreBadBlock { key, noreply }, consumed),
    }
}

/// The commands that are a line and nothing more.
fn without_block<'a>(verb: &[u8], words: &Words<'a>, line_len: usize) -> Parsed<'a> {
    let noreply = words.noreply();
    let parsed = match verb {
        b"delete" => delete(words),
        // A word that is missing is missed before the last one is looked at.
        b"incr" | b"decr" | b"touch" if words.count() < 3 => {
            return refuse(Reject::BadLine, line_len);
        }
        b"incr" => arithmetic(ArithmeticVerb::Incr, words),
        b"decr" => arithmetic(ArithmeticVerb::Decr, words),
        b"touch" => touch(words),
        b"flush_all" => Ok(Request::FlushAll {
            delay: match words.at(1) {
                b"" => Some(0),
                b"noreply" if words.count() == 2 => Some(0),
                word => strict_i32(word),
            },
            noreply,
        }),
        b"version" => Ok(Request::Version),
        b"cache_memlimit" => operators(admin::cache_memlimit(words), noreply),
        // For these a noreply is one word too many, and hides that it is.
        b"lru_crawler" | b"shutdown" if noreply => Err(Reject::UnknownCommand),
        b"lru_crawler" => operators(admin::lru_crawler(words), noreply),
        b"slabs" => operators(admin::slabs(words), noreply),
        b"lru" => operators(admin::lru(words), noreply),
        b"extstore" => operators(admin::extstore(words), noreply),
        // It says what became of it in any case.
        b"refresh_certs" => operators(Ok(Admin::RefreshCerts), false),
        b"verbosity" => match strict_u32(words.at(1)) {
            Some(level) => Ok(Request::Verbosity { level, noreply }),
            None => Err(Reject::BadLine),
        },
        b"stats" => Ok(Request::Stats(stats_topic(words))),
        b"shutdown" => Ok(Request::Shutdown(match (words.at(1), words.count()) {
            (_, 1) => Some(ShutdownMode::Now),
            (b"graceful", 2) => Some(ShutdownMode::Graceful),
            _ => None,
        })),
        b"quit" => Ok(Request::Quit),
        _ if words.is_http() => {
            // A browser, or a server tricked into calling us: say nothing that it could use.
            return Parsed::Refused { reply: None, consumed: line_len, then: Then::Close };
        }
        _ => Err(Reject::UnknownCommand),
    };
    match parsed {
        Ok(parsed) => request(parsed, line_len),
        Err(reject) => refuse_unless(noreply, reject, line_len),
    }
}

fn operators<'a>(admin: Result<Admin, Reject>, noreply: bool) -> Result<Request<'a>, Reject> {
    admin.map(|admin| Request::Admin { admin, noreply })
}

/// `delete key [number] [noreply]`: the number is a relic that is accepted and ignored.
fn delete<'a>(words: &Words<'a>) -> Result<Request<'a>, Reject> {
    let noreply = words.noreply();
    let surplus = words.count() - usize::from(noreply);
    let is_form = match surplus {
        // `delete noreply` deletes the key of that name, silently.
        1 => noreply,
        2 => true,
        3 => strict_u64(words.at(2)).is_some(),
        _ => false,
    };
    if !is_form || !is_key(words.at(1)) {
        return Err(Reject::BadLine);
    }
    Ok(Request::Delete { key: words.at(1), noreply })
}

fn arithmetic<'a>(verb: ArithmeticVerb, words: &Words<'a>) -> Result<Request<'a>, Reject> {
    if !is_key(words.at(1)) {
        return Err(Reject::BadLine);
    }
    let delta = strict_u64(words.at(2)).ok_or(Reject::InvalidDelta)?;
    Ok(Request::Arithmetic { verb, key: words.at(1), delta, noreply: words.noreply() })
}

fn touch<'a>(words: &Words<'a>) -> Result<Request<'a>, Reject> {
    if !is_key(words.at(1)) {
        return Err(Reject::BadLine);
    }
    let exptime = strict_i32(words.at(2)).ok_or(Reject::InvalidExptime)?;
    Ok(Request::Touch { key: words.at(1), exptime, noreply: words.noreply() })
}

/// The topics that may be cut short, in the order in which memcached tries them.
fn stats_topic(words: &Words<'_>) -> StatsTopic {
    let topic = words.at(1);
    if topic.is_empty() {
        StatsTopic::General
    } else if b"reset".starts_with(topic) {
        StatsTopic::Reset
    } else if b"detail".starts_with(topic) {
        StatsTopic::Detail(match words.at(2) {
            b"on" => Some(DetailMode::On),
            b"off" => Some(DetailMode::Off),
            b"dump" => Some(DetailMode::Dump),
            _ => None,
        })
    } else if b"settings".starts_with(topic) {
        StatsTopic::Settings
    } else if b"cachedump".starts_with(topic) {
        StatsTopic::Cachedump(admin::cachedump(words))
    } else if b"conns".starts_with(topic) {
        StatsTopic::Conns
    } else if b"extstore".starts_with(topic) {
        StatsTopic::Extstore
    } else if topic == b"items" {
        StatsTopic::Items
    } else if topic == b"slabs" {
        StatsTopic::Slabs
    } else if topic == b"sizes" {
        StatsTopic::Sizes
    } else if topic == b"store" {
        StatsTopic::Store
    } else {
        StatsTopic::Unknown
    }
}

#[cfg(test)]
mod tests;
