//! A request of the binary protocol. Owns what its header says and which requests end their connection; written from
//! the reference alone, as [`super::unit`] is.

use super::unit::Bytes;
use std::fmt;

/// Of a header, in bytes.
pub(crate) const HEADER_LEN: usize = 24;
/// Where its CAS unique begins, in bytes.
pub(crate) const UNIQUE_AT: usize = 16;
const REQUEST_MAGIC: u8 = 0x80;
const KEY_LEN_MAX: usize = 250;
/// A body that is said to be longer, in bytes, is no client's.
const BODY_LEN_MAX: u32 = 1 << 30;

pub(crate) const FLUSH: u8 = 0x08;
pub(crate) const NOOP: u8 = 0x0a;
pub(crate) const VERSION: u8 = 0x0b;
pub(crate) const STAT: u8 = 0x10;
pub(crate) const QUITQ: u8 = 0x17;
pub(crate) const FLUSHQ: u8 = 0x18;
/// Get and its quiet form, with and without a key.
pub(crate) const GETS: &[u8] = &[0x00, 0x09, 0x0c, 0x0d];
/// The same with a new exptime.
pub(crate) const GATS: &[u8] = &[0x1d, 0x1e, 0x23, 0x24];
pub(crate) const TOUCH: u8 = 0x1c;
/// Set, add, replace and their quiet forms.
pub(crate) const STORES: &[u8] = &[0x01, 0x02, 0x03, 0x11, 0x12, 0x13];
pub(crate) const APPENDS: &[u8] = &[0x0e, 0x19];
pub(crate) const PREPENDS: &[u8] = &[0x0f, 0x1a];
pub(crate) const DELETES: &[u8] = &[0x04, 0x14];
/// Increment, decrement and their quiet forms.
pub(crate) const COUNTS: &[u8] = &[0x05, 0x06, 0x15, 0x16];
pub(crate) const QUITS: &[u8] = &[0x07, QUITQ];
const SASL_LIST: u8 = 0x20;
const SASL: &[u8] = &[0x21, 0x22];

/// Which CAS unique the item must have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Unique {
    Number(u64),
    /// The one that was last seen of its key.
    Seen,
}

/// A number of a header that is not what it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lie {
    Magic(u8),
    KeyLen(u16),
    ExtrasLen(u8),
    BodyLen(u32),
}

/// One request.
#[derive(Clone)]
pub(crate) struct Frame {
    pub(crate) opcode: u8,
    pub(crate) unique: Unique,
    pub(crate) extras: Bytes,
    pub(crate) key: Bytes,
    pub(crate) value: Bytes,
    /// The data type and the number of a bucket, which nobody uses.
    pub(crate) unused: [u8; 3],
    pub(crate) lie: Option<Lie>,
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { opcode, unique, extras, key, value, unused, lie } = self;
        write!(f, "{opcode:#04x} {unique:?} {extras:?} {key:?} {value:?} {unused:?} {lie:?}")
    }
}

impl Frame {
    pub(crate) fn new(opcode: u8, extras: &[u8], key: &[u8], value: &[u8]) -> Self {
        let bytes = |bytes: &[u8]| Bytes(bytes.to_vec());
        Self {
            opcode,
            unique: Unique::Number(0),
            extras: bytes(extras),
            key: bytes(key),
            value: bytes(value),
            unused: [0; 3],
            lie: None,
        }
    }

    /// As a server sees it: what a header says of the parts of a body is so, where the body is long enough for it. Behind
    /// a longer body than it has, there would be no end to wait for.
    pub(crate) fn settled(mut self) -> Self {
        let body = [&self.extras.0[..], &self.key.0, &self.value.0].concat();
        let (extras_len, key_len) = self.parts_lens();
        match self.lie {
            Some(Lie::KeyLen(_) | Lie::ExtrasLen(_)) if extras_len + key_len <= body.len() => {
                let (extras, rest) = body.split_at(extras_len);
                let (key, value) = rest.split_at(key_len);
                Self {
                    lie: None,
                    ..Self {
                        unique: self.unique,
                        unused: self.unused,
                        ..Self::new(self.opcode, extras, key, value)
                    }
                }
            }
            Some(Lie::BodyLen(len))
                if len <= BODY_LEN_MAX && len as usize >= extras_len + key_len =>
            {
                self.lie = None;
                self
            }
            Some(_) | None => self,
        }
    }

    /// Lengths of extras and key, as its header says.
    fn parts_lens(&self) -> (usize, usize) {
        let (extras_len, key_len) = (self.extras.0.len(), self.key.0.len());
        match self.lie {
            Some(Lie::KeyLen(len)) => (extras_len, len.into()),
            Some(Lie::ExtrasLen(len)) => (len.into(), key_len),
            Some(Lie::Magic(_) | Lie::BodyLen(_)) | None => (extras_len, key_len),
        }
    }

    /// As it is sent. Behind parts that are said to be longer than the body, memcached waits for them.
    pub(crate) fn bytes(&self, unique: u64, opaque: u32) -> Vec<u8> {
        let mut body = [&self.extras.0[..], &self.key.0, &self.value.0].concat();
        let (extras_len, key_len) = self.parts_lens();
        let magic = if let Some(Lie::Magic(magic)) = self.lie { magic } else { REQUEST_MAGIC };
        let body_len = match self.lie {
            Some(Lie::BodyLen(len)) => len,
            _ => u32::try_from(body.len()).expect("values of some MiB at most"),
        };
        body.resize(body.len().max(extras_len + key_len), 0);
        let mut frame = vec![magic, self.opcode];
        frame.extend(u16::try_from(key_len).expect("keys of some bytes").to_be_bytes());
        frame.push(u8::try_from(extras_len).expect("extras of some bytes"));
        frame.extend(self.unused);
        frame.extend(body_len.to_be_bytes());
        frame.extend(opaque.to_be_bytes());
        frame.extend(unique.to_be_bytes());
        frame.append(&mut body);
        frame
    }

    /// Length of all that comes before its value.
    pub(crate) fn head_len(&self) -> usize {
        HEADER_LEN + self.extras.0.len() + self.key.0.len()
    }

    pub(crate) fn is(&self, opcodes: &[u8]) -> bool {
        opcodes.contains(&self.opcode)
    }

    /// Whether its value is to be stored.
    pub(crate) fn is_storage(&self) -> bool {
        [STORES, APPENDS, PREPENDS].iter().any(|opcodes| self.is(opcodes))
    }

    fn form(&self) -> Option<&'static Form> {
        FORMS.iter().find(|form| self.is(form.opcodes))
    }

    /// Whether memcached has a name for its opcode.
    pub(crate) fn is_known(&self) -> bool {
        self.form().is_some()
    }

    /// Whether its extras and its key are as they should be.
    pub(crate) fn has_parts(&self) -> bool {
        let (extras_len, has_key) = (self.extras.0.len(), !self.key.0.is_empty());
        self.lie.is_none()
            && self.key.0.len() <= KEY_LEN_MAX
            && self.form().is_none_or(|form| {
                form.extras_lens.contains(&extras_len) && form.key.is_none_or(|key| key == has_key)
            })
    }

    /// Whether it is refused for its form, which ends its connection.
    pub(crate) fn is_refused(&self) -> bool {
        let may_have_value = self.form().is_none_or(|form| form.value);
        !self.has_parts() || !may_have_value && !self.value.0.is_empty()
    }

    /// Whether it ends its connection.
    pub(crate) fn is_last(&self) -> bool {
        self.is_refused() || self.is(QUITS)
    }

    /// A number in its extras, big endian, that begins there.
    pub(crate) fn number_at(&self, at: usize) -> Option<u32> {
        self.extras.0.get(at..)?.first_chunk().map(|bytes| u32::from_be_bytes(*bytes))
    }
}

/// What some opcodes have.
struct Form {
    opcodes: &'static [u8],
    /// Of one of these lengths, in bytes.
    extras_lens: &'static [usize],
    /// Whether there is a key; `None`: as one likes.
    key: Option<bool>,
    /// Whether there may be a value.
    value: bool,
}

const FORMS: &[Form] = &[
    Form { opcodes: GETS, extras_lens: &[0], key: Some(true), value: false },
    Form { opcodes: DELETES, extras_lens: &[0], key: Some(true), value: false },
    Form { opcodes: GATS, extras_lens: &[4], key: Some(true), value: false },
    Form { opcodes: &[TOUCH], extras_lens: &[4], key: Some(true), value: false },
    Form { opcodes: COUNTS, extras_lens: &[20], key: Some(true), value: false },
    Form { opcodes: STORES, extras_lens: &[8], key: Some(true), value: true },
    Form { opcodes: APPENDS, extras_lens: &[0], key: Some(true), value: true },
    Form { opcodes: PREPENDS, extras_lens: &[0], key: Some(true), value: true },
    Form { opcodes: &[FLUSH, FLUSHQ], extras_lens: &[0, 4], key: Some(false), value: false },
    Form { opcodes: &[STAT], extras_lens: &[0], key: None, value: false },
    Form {
        opcodes: &[NOOP, VERSION, SASL_LIST],
        extras_lens: &[0],
        key: Some(false),
        value: false,
    },
    Form { opcodes: QUITS, extras_lens: &[0], key: Some(false), value: false },
    Form { opcodes: SASL, extras_lens: &[0], key: Some(true), value: true },
];
