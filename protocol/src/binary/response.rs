//! Every response that a server can give.
//!
//! INVARIANT: the length that a header says is that of what is written behind it, less a value that the caller writes.

use super::{HEADER_LEN, Origin, RESPONSE_MAGIC};

/// Why a request was not carried out, or what became of it; success has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// No such item.
    NotFound,
    /// There is an item, or it has another CAS unique.
    Exists,
    /// The item would pass the size limit.
    TooLarge,
    /// Parts missing, surplus or of the wrong length.
    InvalidArguments,
    /// Nothing to join to.
    NotStored,
    /// Increment or decrement of a value that is no number.
    NonNumeric,
    /// What is asked is switched off.
    NotAllowed,
    /// No such opcode.
    UnknownCommand,
    /// No room, and none to be made.
    OutOfMemory,
    /// As [`Status::OutOfMemory`], in the words of increment and decrement.
    OutOfMemoryCounting,
}

impl Status {
    /// As in the header of a response.
    pub fn code(self) -> u16 {
        match self {
            Self::NotFound => 0x01,
            Self::Exists => 0x02,
            Self::TooLarge => 0x03,
            Self::InvalidArguments => 0x04,
            Self::NotStored => 0x05,
            Self::NonNumeric => 0x06,
            Self::NotAllowed => 0x20,
            Self::UnknownCommand => 0x81,
            Self::OutOfMemory | Self::OutOfMemoryCounting => 0x82,
        }
    }

    /// As in the body of a response.
    pub fn text(self) -> &'static str {
        match self {
            Self::NotFound => "Not found",
            Self::Exists => "Data exists for key.",
            Self::TooLarge => "Too large.",
            Self::InvalidArguments => "Invalid arguments",
            Self::NotStored => "Not stored.",
            Self::NonNumeric => "Non-numeric server-side value for incr or decr",
            Self::NotAllowed => "Auth failure.",
            Self::UnknownCommand => "Unknown command",
            Self::OutOfMemory => "Out of memory allocating item",
            Self::OutOfMemoryCounting => "Out of memory incrementing value",
        }
    }
}

/// What a header says beside where it comes from. Lengths are in bytes.
#[derive(Debug, Clone, Copy, Default)]
struct Head {
    status: u16,
    extras_len: u8,
    key_len: usize,
    value_len: usize,
    cas_unique: u64,
}

/// What a hit takes beside key and value, in bytes.
pub const HIT_LEN: usize = HEADER_LEN + FLAGS_LEN as usize;
const FLAGS_LEN: u8 = 4;

/// Appends a header.
#[inline]
fn write_head(out: &mut Vec<u8>, origin: Origin, head: Head) {
    let Head { status, extras_len, key_len, value_len, cas_unique } = head;
    let body_len = usize::from(extras_len) + key_len + value_len;
    let key_len = u16::try_from(key_len).expect("a key or the name of a counter");
    let body_len = u32::try_from(body_len).expect("a value is 1 GiB at most, and statistics less");
    let mut bytes = [0; HEADER_LEN];
    bytes[0] = RESPONSE_MAGIC;
    bytes[1] = origin.opcode;
    bytes[2..4].copy_from_slice(&key_len.to_be_bytes());
    bytes[4] = extras_len;
    bytes[6..8].copy_from_slice(&status.to_be_bytes());
    bytes[8..12].copy_from_slice(&body_len.to_be_bytes());
    bytes[12..16].copy_from_slice(&origin.opaque);
    bytes[16..24].copy_from_slice(&cas_unique.to_be_bytes());
    out.extend_from_slice(&bytes);
}

/// Appends a success that says nothing but the CAS unique of the item, or 0; also the end of statistics.
#[inline]
pub fn write_done(out: &mut Vec<u8>, origin: Origin, cas_unique: u64) {
    write_head(out, origin, Head { cas_unique, ..Head::default() });
}

/// Appends a status other than success, with its text.
pub fn write_status(out: &mut Vec<u8>, origin: Origin, status: Status) {
    let text = status.text();
    let head = Head { status: status.code(), value_len: text.len(), ..Head::default() };
    write_head(out, origin, head);
    out.extend_from_slice(text.as_bytes());
}

/// Appends a miss of a get that wants to hear its key.
pub fn write_miss(out: &mut Vec<u8>, origin: Origin, key: &[u8]) {
    let head = Head { status: Status::NotFound.code(), key_len: key.len(), ..Head::default() };
    write_head(out, origin, head);
    out.extend_from_slice(key);
}

/// Appends a hit, up to the value; the key is empty where it is not wanted, and the value where there is none to show.
#[inline]
pub fn write_hit(
    out: &mut Vec<u8>,
    origin: Origin,
    key: &[u8],
    flags: u32,
    value_len: usize,
    cas_unique: u64,
) {
    let (extras_len, key_len) = (FLAGS_LEN, key.len());
    write_head(out, origin, Head { status: 0, extras_len, key_len, value_len, cas_unique });
    out.extend_from_slice(&flags.to_be_bytes());
    out.extend_from_slice(key);
}

/// Appends the number that increment and decrement answer.
pub fn write_number(out: &mut Vec<u8>, origin: Origin, number: u64, cas_unique: u64) {
    let bytes = number.to_be_bytes();
    write_head(out, origin, Head { value_len: bytes.len(), cas_unique, ..Head::default() });
    out.extend_from_slice(&bytes);
}

/// Appends a version.
pub fn write_version(out: &mut Vec<u8>, origin: Origin, version: &str) {
    write_head(out, origin, Head { value_len: version.len(), ..Head::default() });
    out.extend_from_slice(version.as_bytes());
}

/// Appends one of the statistics.
pub fn write_stat(out: &mut Vec<u8>, origin: Origin, name: &str, value: &[u8]) {
    let head = Head { key_len: name.len(), value_len: value.len(), ..Head::default() };
    write_head(out, origin, head);
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(value);
}
