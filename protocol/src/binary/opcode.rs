//! The opcodes, and which parts each of them has.

use crate::{ArithmeticVerb, StoreVerb};

/// What an opcode asks, be it quiet or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Opcode {
    Get {
        with_key: bool,
    },
    Gat {
        with_key: bool,
    },
    Touch,
    /// Set, add or replace.
    Store(StoreVerb),
    /// Append or prepend.
    Join(StoreVerb),
    Delete,
    Arithmetic(ArithmeticVerb),
    Flush,
    Stat,
    Noop,
    Version,
    Quit,
    SaslList,
    /// Authentication, its beginning or a step of it.
    Sasl,
}

impl Opcode {
    /// What a byte means, and whether it is quiet; `None` where it is nothing that memcached knows.
    pub(super) fn of(byte: u8) -> Option<(Self, bool)> {
        let (loud, is_quiet) = match byte {
            0x09 => (0x00, true),
            0x0d => (0x0c, true),
            0x11..=0x18 => (byte - 0x10, true),
            0x19..=0x1a => (byte - 0x0b, true),
            0x1e => (0x1d, true),
            0x24 => (0x23, true),
            _ => (byte, false),
        };
        let opcode = match loud {
            0x00 => Self::Get { with_key: false },
            0x01 => Self::Store(StoreVerb::Set),
            0x02 => Self::Store(StoreVerb::Add),
            0x03 => Self::Store(StoreVerb::Replace),
            0x04 => Self::Delete,
            0x05 => Self::Arithmetic(ArithmeticVerb::Incr),
            0x06 => Self::Arithmetic(ArithmeticVerb::Decr),
            0x07 => Self::Quit,
            0x08 => Self::Flush,
            0x0a => Self::Noop,
            0x0b => Self::Version,
            0x0c => Self::Get { with_key: true },
            0x0e => Self::Join(StoreVerb::Append),
            0x0f => Self::Join(StoreVerb::Prepend),
            0x10 => Self::Stat,
            0x1c => Self::Touch,
            0x1d => Self::Gat { with_key: false },
            0x20 => Self::SaslList,
            0x21 | 0x22 => Self::Sasl,
            0x23 => Self::Gat { with_key: true },
            _ => return None,
        };
        Some((opcode, is_quiet))
    }

    /// Whether the parts of a body have lengths that it may have.
    pub(super) fn has_form(self, extras_len: usize, key_len: usize, value_len: usize) -> bool {
        let (has_key, has_value) = (key_len > 0, value_len > 0);
        match self {
            Self::Get { .. } | Self::Delete => extras_len == 0 && has_key && !has_value,
            Self::Gat { .. } | Self::Touch => extras_len == 4 && has_key && !has_value,
            Self::Store(_) => extras_len == 8 && has_key,
            Self::Join(_) | Self::Sasl => extras_len == 0 && has_key,
            Self::Arithmetic(_) => extras_len == 20 && has_key && !has_value,
            Self::Flush => matches!(extras_len, 0 | 4) && !has_key && !has_value,
            Self::Stat => extras_len == 0 && !has_value,
            Self::Noop | Self::Version | Self::Quit | Self::SaslList => {
                extras_len == 0 && !has_key && !has_value
            }
        }
    }
}
