//! Every reply line that is no error, and the lines that carry something.

use crate::{RetrieveVerb, base64};

/// A reply that is always the same line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reply {
    /// Stored.
    Stored,
    /// `add` of a key that exists; `replace`, `append` or `prepend` of one that does not.
    NotStored,
    /// `cas` of an item that changed since.
    Exists,
    /// No such key.
    NotFound,
    /// Deleted.
    Deleted,
    /// Has a new exptime.
    Touched,
    /// Done.
    Ok,
    /// The counters were reset.
    Reset,
    /// No more lines.
    End,
}

impl Reply {
    /// The reply line, with its line end.
    pub fn line(self) -> &'static [u8] {
        match self {
            Self::Stored => b"STORED\r\n",
            Self::NotStored => b"NOT_STORED\r\n",
            Self::Exists => b"EXISTS\r\n",
            Self::NotFound => b"NOT_FOUND\r\n",
            Self::Deleted => b"DELETED\r\n",
            Self::Touched => b"TOUCHED\r\n",
            Self::Ok => b"OK\r\n",
            Self::Reset => b"RESET\r\n",
            Self::End => b"END\r\n",
        }
    }
}

/// Appends `VALUE key flags bytes [cas]` and a line end; the value and another one come behind it.
///
/// The CAS unique is shown for the verbs that ask for it.
#[inline(always)]
#[expect(
    clippy::inline_always,
    reason = "it is a few bytes, unless it is called with all it needs handed over"
)]
pub fn write_value_line(
    out: &mut Vec<u8>,
    verb: RetrieveVerb,
    key: &[u8],
    flags: u32,
    value_len: usize,
    cas_unique: u64,
) {
    out.extend_from_slice(b"VALUE ");
    out.extend_from_slice(key);
    if flags <= Tail::FLAGS_MAX && value_len <= Tail::VALUE_LEN_MAX && !verb.with_cas() {
        return Tail::NEW.before(value_len).before(flags as usize).write(out);
    }
    push_number(out, flags.into());
    push_number(out, value_len as u64);
    if verb.with_cas() {
        push_number(out, cas_unique);
    }
    out.extend_from_slice(b"\r\n");
}

/// The end of a line: small numbers, a space before each, and a line end. Put together in a register, which takes half as
/// long as appending one after another.
#[derive(Clone, Copy)]
struct Tail {
    /// The first byte is the lowest.
    bytes: u128,
    len: usize,
}

impl Tail {
    /// With a value of 7 digits, 16 bytes.
    const FLAGS_MAX: u32 = 99_999;
    const VALUE_LEN_MAX: usize = 9_999_999;
    const NEW: Self = Self { bytes: u16::from_le_bytes(*b"\r\n") as u128, len: 2 };

    /// With a space and a number before it.
    #[inline]
    fn before(self, mut number: usize) -> Self {
        let Self { mut bytes, mut len } = self;
        loop {
            bytes = bytes << 8 | (b'0' as usize + number % 10) as u128;
            len += 1;
            number /= 10;
            if number == 0 {
                return Self { bytes: bytes << 8 | u128::from(b' '), len: len + 1 };
            }
        }
    }

    /// Appends it.
    #[inline]
    fn write(self, out: &mut Vec<u8>) {
        let end = out.len() + self.len;
        out.extend_from_slice(&self.bytes.to_le_bytes());
        out.truncate(end);
    }
}

/// Appends a space and a number.
#[inline(never)]
fn push_number(out: &mut Vec<u8>, number: u64) {
    out.push(b' ');
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// Appends the number that `incr` and `decr` answer, and a line end.
pub fn write_number(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// Appends `VERSION version` and a line end.
pub fn write_version(out: &mut Vec<u8>, version: &str) {
    out.extend_from_slice(b"VERSION ");
    out.extend_from_slice(version.as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// Appends `STAT name value` and a line end.
pub fn write_stat(out: &mut Vec<u8>, name: &str, value: &str) {
    out.extend_from_slice(b"STAT ");
    out.extend_from_slice(name.as_bytes());
    out.push(b' ');
    out.extend_from_slice(value.as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// The two letters that a meta reply begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetaCode {
    /// Done, or found; no value comes with it.
    Header,
    /// `mg` of no item.
    Miss,
    /// No item.
    NotFound,
    /// Not stored.
    NotStored,
    /// The item has another CAS unique.
    Exists,
}

impl MetaCode {
    /// Without a line end, since flags follow.
    #[inline]
    pub fn text(self) -> &'static [u8] {
        match self {
            Self::Header => b"HD",
            Self::Miss => b"EN",
            Self::NotFound => b"NF",
            Self::NotStored => b"NS",
            Self::Exists => b"EX",
        }
    }
}

/// The answer to `mn`.
pub const META_NOOP: &[u8] = b"MN\r\n";

/// Appends the code of a meta reply with a value, and how long that is.
#[inline]
pub fn write_meta_value_len(out: &mut Vec<u8>, value_len: usize) {
    out.extend_from_slice(b"VA ");
    out.extend_from_slice(itoa::Buffer::new().format(value_len).as_bytes());
}

/// Appends a flag of a meta reply and its number.
#[inline]
pub fn write_meta_number(out: &mut Vec<u8>, letter: u8, number: u64) {
    out.extend_from_slice(&[b' ', letter]);
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// Appends the key to a meta reply, as base64 where it came so.
#[inline]
pub fn write_meta_key(out: &mut Vec<u8>, key: &[u8], is_base64: bool) {
    out.extend_from_slice(b" k");
    if is_base64 {
        base64::encode(key, out);
        out.extend_from_slice(b" b");
    } else {
        out.extend_from_slice(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_line_has_numbers_of_any_length() {
        for flags in [0, 7, 99_999, 100_000, u32::MAX] {
            for value_len in [0, 9, 10, 9_999_999, 10_000_000, 1 << 30] {
                let line = |verb| {
                    let mut out = b"before".to_vec();
                    write_value_line(&mut out, verb, b"key", flags, value_len, u64::MAX);
                    String::from_utf8(out).expect("text")
                };
                let start = format!("beforeVALUE key {flags} {value_len}");
                assert_eq!(line(RetrieveVerb::Get), format!("{start}\r\n"));
                assert_eq!(line(RetrieveVerb::Gats), format!("{start} {}\r\n", u64::MAX));
            }
        }
    }
}
