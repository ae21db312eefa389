//! One item of the exact LRU form, and what it costs.

use super::exptime::{Deadline, Now};
use super::value::Value;
use super::{ItemView, Marked, Moment};

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
    /// As the meta commands left it.
    pub(super) marked: Marked,
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
    /// One that nobody has read.
    pub(super) fn new(value: Box<[u8]>, cas_unique: u64, deadline: Deadline, at: Moment) -> Self {
        Self {
            value,
            flags: 0,
            cas_unique,
            deadline,
            generation: at.generation,
            accessed_ms: at.now.ms,
            fetched: false,
            marked: Marked::default(),
        }
    }

    /// What a reader sees; notes that it was read.
    pub(super) fn read(&mut self, at: Moment) -> ItemView<'_> {
        self.fetched = true;
        self.accessed_ms = at.now.ms;
        let value = Value::whole(&self.value);
        ItemView { value, flags: self.flags, cas_unique: self.cas_unique }
    }

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_charge_follows_the_allocator() {
        assert_eq!(charge(1, 0), NODE_CHARGE + 32);
        assert_eq!(charge(24, 25), NODE_CHARGE + 32 + 48);
        assert_eq!(charge(1, 128 * 1024), NODE_CHARGE + 32 + 132 * 1024);
        assert!(std::mem::size_of::<Item>() + 16 + 16 + 8 <= 96, "the node outgrew its charge");
    }
}
