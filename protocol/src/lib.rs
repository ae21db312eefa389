//! The memcached protocols: bytes to [`Request`]s, replies to bytes.
//!
//! Reading order: [`request`] (all that a client can ask), [`parse()`] (bytes to requests),
//! [`retrieve`] (the keys of a `get`, one at a time), [`meta`] (the flags of the meta commands), [`base64`] (their
//! keys), [`admin`] (what operators ask for), [`response`], [`dump`] and [`reject`] (every line that a server can
//! answer), `token` (words and numbers), `plain` (what most requests look like). [`binary`] is the same for
//! the binary protocol.
//!
//! The crate owns the wire format and nothing else: it does no input or output, reads no clock,
//! keeps no counters and knows no store. It borrows from the caller's buffer and allocates nothing.
//!
//! INVARIANT: no input makes it panic, and every answer but "need more" consumes at least one byte.
//! INVARIANT: one request yields one reply: what is wrong in it never spills into the next one.

pub mod admin;
pub mod base64;
pub mod binary;
pub mod dump;
pub mod meta;
pub mod parse;
mod plain;
pub mod reject;
pub mod request;
pub mod response;
pub mod retrieve;
mod token;
pub mod watch;

pub use admin::{Admin, AdminReject, Cachedump, Classes, LruCrawler};
pub use dump::{ItemLine, ItemsForm};
pub use meta::{DECODED_LEN_MAX, MetaFlag, MetaFlags, MetaMode, MetaTerms, MetaVerb};
pub use parse::{BLOCK_END, Limits, MetaStoreLine, Parsed, StoreLine, Then, parse};
pub use reject::Reject;
pub use request::{
    ArithmeticVerb, DetailMode, Request, RetrieveVerb, ShutdownMode, StatsTopic, StoreVerb,
};
pub use response::Reply;
pub use retrieve::{NextKey, Retrieve};
pub use watch::Streams;

/// Longest key, in bytes.
pub const KEY_LEN_MAX: usize = 250;
