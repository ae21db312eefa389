//! One stored item, what it costs, and the number it may hold.

use super::exptime::{Deadline, Now};

/// Bytes that an item costs besides key and value: its list node (96 as allocated) and its share of a
/// hash table that is at worst 7/16 full (17 bytes a slot).
const NODE_CHARGE: u64 = 96 + 39;
/// Allocations from this size on are mapped by themselves, in whole pages.
const MAPPED_LEN_MIN: usize = 128 * 1024;
const PAGE_LEN: usize = 4096;

/// What the store keeps for a key.
#[derive(Debug)]
pub(super) struct Item {
    /// The client's bytes.
    pub(super) value: Box<[u8]>,
    /// The client's 32 bits.
    pub(super) flags: u32,
    /// Changes with every change of the value, and with nothing else.
    pub(super) cas_unique: u64,
    /// Dead from here on.
    pub(super) deadline: Deadline,
    /// The flush generation in which the value was stored; dead once there is a later one.
    pub(super) generation: u32,
    /// Last read or write, in [`Now::ms`].
    pub(super) accessed_ms: u64,
    /// Whether it was ever read since it was stored.
    pub(super) fetched: bool,
}

/// Why an item that is there does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Death {
    /// Its exptime has passed.
    Expired,
    /// It was stored before a `flush_all`.
    Flushed,
}

impl Item {
    pub(super) fn death(&self, now: Now, generation: u32) -> Option<Death> {
        if self.generation < generation {
            Some(Death::Flushed)
        } else if self.deadline.is_due(now) {
            Some(Death::Expired)
        } else {
            None
        }
    }
}

/// Bytes that an item takes out of the memory limit, as the allocator hands them out.
pub(super) fn charge(key_len: usize, value_len: usize) -> u64 {
    NODE_CHARGE + allocated_len(key_len) + allocated_len(value_len)
}

/// What an allocation of this length takes: 8 bytes of header, steps of 16, whole pages when large.
fn allocated_len(len: usize) -> u64 {
    let rounded = match len {
        0 => 0,
        1..MAPPED_LEN_MIN => (len + 8).next_multiple_of(16).max(32),
        _ => (len + 16).next_multiple_of(PAGE_LEN),
    };
    rounded as u64
}

/// The number in a value, as leniently as memcached reads it (strtoull): white space before it, a
/// plus, and anything after a white space behind it.
pub(super) fn number_in(value: &[u8]) -> Option<u64> {
    // C's isspace; Rust's ASCII white space lacks the vertical tab.
    let is_space = |byte: &u8| byte.is_ascii_whitespace() || *byte == 0x0b;
    let start = value.iter().take_while(|byte| is_space(byte)).count();
    let rest = &value[start..];
    let rest = rest.strip_prefix(b"+").unwrap_or(rest);
    let digits = &rest[..rest.iter().take_while(|byte| byte.is_ascii_digit()).count()];
    if digits.is_empty() || rest.get(digits.len()).is_some_and(|byte| !is_space(byte)) {
        return None;
    }
    digits.iter().try_fold(0_u64, |number, digit| {
        number.checked_mul(10)?.checked_add(u64::from(digit - b'0'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_leniently() {
        for (value, number) in [
            ("12", Some(12)),
            ("12 ab", Some(12)),
            ("+5 ", Some(5)),
            (" \t7\x0b", Some(7)),
            ("007", Some(7)),
            ("18446744073709551615", Some(u64::MAX)),
            ("18446744073709551616", None),
            ("-5", None),
            ("", None),
            (" ", None),
            ("+", None),
            ("12ab", None),
            ("0x10", None),
        ] {
            assert_eq!(number_in(value.as_bytes()), number, "{value:?}");
        }
    }

    #[test]
    fn the_charge_follows_the_allocator() {
        assert_eq!(charge(1, 0), NODE_CHARGE + 32);
        assert_eq!(charge(24, 25), NODE_CHARGE + 32 + 48);
        assert_eq!(charge(1, 128 * 1024), NODE_CHARGE + 32 + 132 * 1024);
        assert!(std::mem::size_of::<Item>() + 16 + 16 + 8 <= 96, "the node outgrew its charge");
    }
}
