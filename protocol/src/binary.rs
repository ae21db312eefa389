//! The memcached binary protocol: bytes to [`Request`]s, responses to bytes.
//!
//! Every frame begins with a header of 24 bytes, numbers big endian:
//!
//! | at | bytes | request | response |
//! |---|---|---|---|
//! | 0 | 1 | [`REQUEST_MAGIC`] | [`RESPONSE_MAGIC`] |
//! | 1 | 1 | opcode | the same |
//! | 2 | 2 | length of the key | the same |
//! | 4 | 1 | length of the extras | the same |
//! | 5 | 1 | data type, which nobody uses | 0 |
//! | 6 | 2 | number of a bucket, which nobody uses | [`Status`] |
//! | 8 | 4 | length of the body: extras, key and value | the same |
//! | 12 | 4 | opaque: any bytes of the client's | the same bytes |
//! | 16 | 8 | CAS unique that the item must have, or 0 | CAS unique of the item, or 0 |
//!
//! Reading order: [`request`] (all that a client can ask), this file (bytes to requests), `opcode` (what belongs
//! to which), [`response`].
//!
//! As in the text protocol, *incomplete is a value, not an error*, and a refusal says how to go on. In some things
//! this is stricter than memcached, so that a body is never read as requests: whatever is surplus in a body is an
//! invalid argument, and what belongs to no opcode is skipped once.
//!
//! INVARIANT: no input makes it panic, and every answer but "need more" consumes at least one byte, or ends the connection.

mod opcode;
pub mod request;
pub mod response;

pub use request::{Action, Origin, Request, Update};
pub use response::Status;

use crate::{DetailMode, KEY_LEN_MAX, Limits, StatsTopic, StoreVerb};
use opcode::Opcode;

/// The first byte of every request, and of no text command.
pub const REQUEST_MAGIC: u8 = 0x80;
/// The first byte of every response.
pub const RESPONSE_MAGIC: u8 = 0x81;
/// Of a header, in bytes.
pub const HEADER_LEN: usize = 24;
/// A longer body, in bytes, is no memcached client's.
pub const BODY_LEN_MAX: usize = 1 << 30;
/// The exptime of a count that makes no item.
const NO_INITIAL: u32 = u32::MAX;

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
    /// Nothing yet.
    NeedMore {
        /// How long the input must be before another call can say more.
        len_min: usize,
    },
    /// A storage command whose value has not come whole. Whoever puts the value elsewhere as it comes need not wait for
    /// all of it.
    NeedValue {
        /// To be repeated in the response.
        origin: Origin,
        /// What is to be stored.
        update: Update<&'a [u8]>,
        /// Of what comes before the value, in bytes.
        head_len: usize,
        /// In bytes.
        value_len: usize,
    },
    /// A mistake.
    Refused {
        /// To be repeated in the response.
        origin: Origin,
        /// The answer.
        status: Status,
        /// Bytes that are done with; may pass the end of the input.
        consumed: usize,
    },
    /// A mistake that makes doubtful where the next request begins: it is to be answered, and the connection closed.
    Fatal {
        /// To be repeated in the response.
        origin: Origin,
        /// The answer.
        status: Status,
    },
    /// No request at all: where the next one begins is not known, and there is nothing to say.
    Garbage,
}

/// The numbers of a header.
#[derive(Debug, Clone, Copy)]
struct Header {
    opcode: u8,
    key_len: usize,
    extras_len: usize,
    body_len: usize,
    opaque: [u8; 4],
    cas_unique: u64,
}

impl Header {
    /// Reads the front of the input; `None` where it is shorter.
    fn read(input: &[u8]) -> Option<Self> {
        let mut fields = Fields(input.get(..HEADER_LEN)?);
        let [_magic, opcode] = fields.take();
        let key_len = u16::from_be_bytes(fields.take()).into();
        let [extras_len, _data_type] = fields.take();
        let _bucket: [u8; 2] = fields.take();
        let body_len = u32::from_be_bytes(fields.take()) as usize;
        let opaque = fields.take();
        let cas_unique = u64::from_be_bytes(fields.take());
        Some(Self { opcode, key_len, extras_len: extras_len.into(), body_len, opaque, cas_unique })
    }
}

/// Fields of fixed lengths, one behind another.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    /// The next field; zeros where there is none.
    fn take<const LEN: usize>(&mut self) -> [u8; LEN] {
        let Some((field, rest)) = self.0.split_first_chunk() else {
            return [0; LEN];
        };
        self.0 = rest;
        *field
    }
}

/// Reads one request from the front of `input`.
pub fn parse(input: &[u8], limits: Limits) -> Parsed<'_> {
    if input.first().is_some_and(|magic| *magic != REQUEST_MAGIC) {
        return Parsed::Garbage;
    }
    let Some(header) = Header::read(input) else {
        return Parsed::NeedMore { len_min: HEADER_LEN };
    };
    let Header { key_len, extras_len, body_len, .. } = header;
    let known = Opcode::of(header.opcode);
    let is_quiet = known.is_some_and(|(_, is_quiet)| is_quiet);
    let origin = Origin { opcode: header.opcode, opaque: header.opaque, is_quiet };
    let head_len = HEADER_LEN + extras_len + key_len;
    let request_len = HEADER_LEN + body_len;
    let refused = |status| Parsed::Refused { origin, status, consumed: request_len };
    let fatal = |status| Parsed::Fatal { origin, status };
    let Some(value_len) = request_len.checked_sub(head_len) else {
        return fatal(Status::UnknownCommand);
    };
    if key_len > KEY_LEN_MAX || body_len > BODY_LEN_MAX {
        return fatal(Status::InvalidArguments);
    }
    let Some((opcode, _)) = known else {
        return refused(Status::UnknownCommand);
    };
    if !opcode.has_form(extras_len, key_len, value_len) {
        return fatal(Status::InvalidArguments);
    }
    let Some(head) = input.get(HEADER_LEN..head_len) else {
        return Parsed::NeedMore { len_min: head_len };
    };
    let (extras, key) = head.split_at(extras_len);
    let action = match read(opcode, extras, key, header.cas_unique) {
        Read::Action(action) => action,
        Read::Update { update, verb } => {
            let Update { key, flags, .. } = update;
            if limits.is_over(key.len(), flags, value_len) {
                Action::StoreTooLarge { verb, key }
            } else if let Some(value) = input.get(head_len..request_len) {
                Action::Store { update, value }
            } else {
                return Parsed::NeedValue { origin, update, head_len, value_len };
            }
        }
        Read::NotOffered => return refused(Status::UnknownCommand),
    };
    Parsed::Request { request: Request { origin, action }, consumed: request_len }
}

/// What a request says in front of its value.
enum Read<'a> {
    /// All.
    Action(Action<'a>),
    /// What is to be done with the value, and what the opcode alone says of that.
    Update { update: Update<&'a [u8]>, verb: StoreVerb },
    /// Something that this server does not do.
    NotOffered,
}

/// Reads extras and key, whose lengths are the opcode's.
fn read<'a>(opcode: Opcode, extras: &[u8], key: &'a [u8], cas_unique: u64) -> Read<'a> {
    let expected = (cas_unique != 0).then_some(cas_unique);
    let mut extras = Fields(extras);
    Read::Action(match opcode {
        Opcode::Get { with_key } => Action::Get { key, with_key, exptime: None },
        Opcode::Gat { with_key } => {
            Action::Get { key, with_key, exptime: Some(u32::from_be_bytes(extras.take())) }
        }
        Opcode::Touch => Action::Touch { key, exptime: u32::from_be_bytes(extras.take()) },
        Opcode::Store(verb) => {
            let flags = u32::from_be_bytes(extras.take());
            let exptime = u32::from_be_bytes(extras.take());
            let with_unique = expected.map_or(verb, StoreVerb::Cas);
            let update = Update { verb: with_unique, key, flags, exptime, expected: None };
            return Read::Update { update, verb };
        }
        Opcode::Join(verb) => {
            let update = Update { verb, key, flags: 0, exptime: 0, expected };
            return Read::Update { update, verb };
        }
        Opcode::Delete => Action::Delete { key, expected },
        Opcode::Arithmetic(verb) => {
            let delta = u64::from_be_bytes(extras.take());
            let number = u64::from_be_bytes(extras.take());
            let exptime = u32::from_be_bytes(extras.take());
            let initial = (exptime != NO_INITIAL).then_some((number, exptime));
            Action::Arithmetic { verb, key, delta, initial, expected }
        }
        // Without a delay there are zeros to be read.
        Opcode::Flush => Action::Flush { delay: u32::from_be_bytes(extras.take()) },
        Opcode::Stat => Action::Stat(stats_topic(key)),
        Opcode::Noop => Action::Noop,
        Opcode::Version => Action::Version,
        Opcode::Quit => Action::Quit,
        Opcode::SaslList | Opcode::Sasl => return Read::NotOffered,
    })
}

/// The topics, of which some may have anything behind them, in the order in which memcached tries them.
fn stats_topic(topic: &[u8]) -> StatsTopic {
    if let Some(mode) = topic.strip_prefix(b"detail") {
        return StatsTopic::Detail(match mode {
            _ if mode.starts_with(b" dump") => Some(DetailMode::Dump),
            _ if mode.starts_with(b" on") => Some(DetailMode::On),
            _ if mode.starts_with(b" off") => Some(DetailMode::Off),
            _ => None,
        });
    }
    match topic {
        b"" => StatsTopic::General,
        _ if topic.starts_with(b"reset") => StatsTopic::Reset,
        _ if topic.starts_with(b"settings") => StatsTopic::Settings,
        b"items" => StatsTopic::Items,
        b"slabs" => StatsTopic::Slabs,
        b"sizes" => StatsTopic::Sizes,
        b"conns" => StatsTopic::Conns,
        b"store" => StatsTopic::Store,
        _ => StatsTopic::Unknown,
    }
}

#[cfg(test)]
mod tests;
