//! What can be asked of a store, and what it answers.

use super::exptime::Deadline;
use super::index::SlotAt;
use super::value::Value;

/// A key and its hash, made by [`super::Store::key`].
#[derive(Debug, Clone, Copy)]
pub struct Key<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) hash: u64,
    /// Where the index had it when [`super::Store::prefetch`] looked.
    pub(super) slot: SlotAt,
}

impl<'a> Key<'a> {
    /// As the client sent it.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }
}

/// memcached's longest piece of memory for an item (`slab_chunk_max`), in bytes.
const PIECE_LEN_MAX: u64 = 512 * 1024;

/// memcached's measure of an item, which clients see as a size limit and as the `bytes` counter.
#[derive(Debug, Clone, Copy)]
pub struct ItemSize {
    /// Counted for every item besides key and value, in bytes.
    pub header_len: u64,
    /// Counted for an item whose flags are not 0, in bytes.
    pub flags_len: u64,
    /// Largest item, in bytes.
    pub max: u64,
}

impl ItemSize {
    pub(super) fn of(&self, key_len: usize, flags: u32, value_len: usize) -> u64 {
        let flags_len = if flags == 0 { 0 } else { self.flags_len };
        self.header_len + flags_len + key_len as u64 + value_len as u64
    }

    pub(super) fn is_over(&self, key_len: usize, flags: u32, value_len: usize) -> bool {
        self.of(key_len, flags, value_len) > self.max
    }

    /// Whether a value is no number, and nobody looks into it: it is empty, or of an item that memcached keeps in pieces.
    pub(super) fn is_no_number(&self, key_len: usize, flags: u32, value_len: usize) -> bool {
        value_len == 0 || self.of(key_len, flags, value_len) > PIECE_LEN_MAX
    }
}

/// An item as a reader sees it, under its shard's lock.
#[derive(Debug, Clone, Copy)]
pub struct ItemView<'a> {
    /// The client's bytes.
    pub value: Value<'a>,
    /// The client's 32 bits.
    pub flags: u32,
    /// 0 where the store keeps none.
    pub cas_unique: u64,
}

/// An item as a dump lists it, under its shard's lock.
#[derive(Debug, Clone, Copy)]
pub struct Listed<'a> {
    /// As the client sent it.
    pub key: &'a [u8],
    /// Whether it came as base64.
    pub is_base64: bool,
    /// Of its value, in bytes.
    pub value_len: usize,
    /// By [`ItemSize`].
    pub size: u64,
    /// The client's 32 bits.
    pub flags: u32,
    /// Dead from here on.
    pub deadline: Deadline,
    /// Seconds since it was read or written.
    pub idle_s: u64,
    /// Whether it was read since it was stored.
    pub is_fetched: bool,
    /// 0 where the store keeps none.
    pub cas_unique: u64,
}

/// Why there is no item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Miss {
    /// Never stored, deleted, evicted, or removed when its death was seen before.
    Absent,
    /// There, but past its exptime; removed now.
    Expired,
    /// There, but stored before a flush; removed now.
    Flushed,
}

/// One storage command.
#[derive(Debug, Clone, Copy)]
pub struct Write<'a> {
    /// On which condition, and what becomes of the old value.
    pub mode: StoreMode,
    /// 1 to 250 bytes.
    pub key: Key<'a>,
    /// Ignored when a value is joined to an old one, which keeps its own.
    pub flags: u32,
    /// Ignored when a value is joined to an old one, which keeps its own.
    pub deadline: Deadline,
    /// Any bytes.
    pub value: &'a [u8],
    /// Which unique the item must have, and gets.
    pub cas: Cas,
    /// Whether the key came as base64, which the item remembers.
    pub is_base64: bool,
}

/// What a change has to do with CAS uniques.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cas {
    /// The item must have this one, where there is an item. 0 is the unique of no item.
    pub expected: Option<u64>,
    /// The item gets this one, which [`super::Store::next_cas_unique`] has given out; `None`: a new one.
    pub new: Option<u64>,
}

/// When to store, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreMode {
    /// Always.
    Set,
    /// If absent.
    Add,
    /// If present.
    Replace,
    /// If present, behind the old value.
    Append,
    /// If present, before the old value.
    Prepend,
    /// If present and its CAS unique is this one.
    Cas(u64),
    /// As [`Self::Cas`]; a value that comes too late, with a lower unique than the item has, is stored as one that is
    /// out of date, and keeps the item's deadline and who is to refill it.
    CasOrStale(u64),
}

/// What became of a [`Write`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stored {
    /// Stored.
    Stored,
    /// Stored behind or before the old value; as long is it now, in bytes.
    Joined(usize),
    /// The condition of add, replace, append or prepend did not hold, or the joined item is too large.
    NotStored,
    /// The item has another CAS unique than it must have.
    Exists,
    /// No item to compare with.
    NotFound,
    /// No room. The old item is kept, save for [`StoreMode::Set`]: a stale value must not outlive the
    /// attempt to replace it.
    NoMemory,
}

/// What to count by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delta {
    /// Up, wrapping at 2^64.
    Incr(u64),
    /// Down, stopping at 0.
    Decr(u64),
}

impl Delta {
    /// The number that comes of another.
    pub(super) fn apply(self, number: u64) -> u64 {
        match self {
            Self::Incr(delta) => number.wrapping_add(delta),
            Self::Decr(delta) => number.saturating_sub(delta),
        }
    }
}

/// How to count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Count {
    /// By how much.
    pub delta: Delta,
    /// Which unique the item must have, and gets.
    pub cas: Cas,
    /// What becomes the item where there is none.
    pub initial: Option<Initial>,
    /// Gives an item that is there a new deadline.
    pub touch: Option<Deadline>,
    /// Whether the key came as base64, which an item that is made remembers.
    pub is_base64: bool,
}

impl From<Delta> for Count {
    fn from(delta: Delta) -> Self {
        Self { delta, cas: Cas::default(), initial: None, touch: None, is_base64: false }
    }
}

/// An item that a count makes where there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Initial {
    /// Its value, as digits.
    pub number: u64,
    /// When it dies.
    pub deadline: Deadline,
}

/// What became of a count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arithmetic {
    /// The new number.
    Number(u64),
    /// There was no item; now there is one of the initial number.
    Created,
    /// The item has another CAS unique than it must have.
    Exists,
    /// No item.
    Miss(Miss),
    /// The value is no number.
    NonNumeric,
    /// No room for the longer number; the old one is kept.
    NoMemory,
}

/// What became of a delete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deleted {
    /// There was an item; it is gone.
    Deleted,
    /// The item has another CAS unique than it must have.
    Exists,
    /// No item.
    NotFound,
}
