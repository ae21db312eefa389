//! Segments: equal pieces of memory that logs and large values are made of, and the pool that they come from.
//!
//! INVARIANT: the pool's budget is charged for every segment that exists, wherever it is.

use super::block::{BLOCK_LEN, Piece};
use super::budget::Budget;
use super::exptime::Deadline;
use super::lines::{Line, Lines};
use super::witness::Witness;
use memmap2::MmapMut;
use parking_lot::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

/// One piece of a log: records one behind another, written once from the front.
#[derive(Debug)]
#[repr(C, align(32))]
pub(super) struct Segment {
    // First what each get reads: with this alignment it is in one line of the cache, wherever the segment stands.
    /// All of a segment is allocated, used or not.
    pub(super) bytes: Piece,
    /// The flush generation of all its items.
    pub(super) generation: u32,
    /// Which log it belongs to.
    pub(super) log: LogName,
    /// How far it is written.
    pub(super) used_len: usize,
    /// Bytes in it of items that the index still points to.
    pub(super) live_len: usize,
    /// Bytes at the front that belong to the last record of the segment before.
    pub(super) carried_len: usize,
    /// Where its last record begins.
    pub(super) last_at: usize,
    /// The segment whose last record goes on in this one, while that is held.
    pub(super) previous: Link,
    /// The segment in which its last record goes on, while that is held.
    pub(super) next: Link,
    /// When it was begun, in seconds on the server's clock.
    pub(super) begun_s: u32,
    /// When it was begun, on the shard's clock of bytes.
    pub(super) begun: u32,
    /// No item of it dies before, in seconds on the server's clock.
    pub(super) earliest_s: u32,
    /// When its dead items were last looked for, in seconds on the server's clock.
    pub(super) swept_s: u32,
}

impl Segment {
    /// Notes when one of its items dies.
    pub(super) fn note_deadline(&mut self, deadline: Deadline) {
        self.earliest_s = self.earliest_s.min(seconds(deadline.ms()));
    }
}

/// The number of a segment, or none: half as large as an `Option`, and there are many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Link(u32);

impl Link {
    pub(super) const NONE: Self = Self(u32::MAX);

    pub(super) fn to(number: usize) -> Self {
        Self(u32::try_from(number).expect("fewer than 2^32 segments"))
    }

    pub(super) fn get(self) -> Option<usize> {
        (self != Self::NONE).then_some(self.0 as usize)
    }
}

/// A moment on the server's clock in seconds, rounded down; never is the last one.
pub(super) fn seconds(ms: u64) -> u32 {
    u32::try_from(ms / 1000).unwrap_or(u32::MAX)
}

/// The two logs of a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LogName {
    /// New keys, for policies that try them first.
    Small,
    /// What was read again, or is known from before.
    Main,
}

/// What a segment takes besides its bytes: a [`Segment`] and its address.
const OVERHEAD: u64 = size_of::<Segment>() as u64 + 8;

/// What the system must have beside the segments, for small allocations, in bytes.
const RESERVE_LEN: usize = 4 << 20;
/// What is shorter is a small allocation, in bytes.
const SMALL_LEN: usize = 64 << 10;
/// After so many bytes that were asked for, that is looked at again.
const PROBE_LEN: usize = 1 << 20;
/// With more dead bytes than this fraction of the limit, nothing living is evicted.
pub(super) const DEAD_FRACTION: u64 = 50;
/// No more of the limit than this fraction is lent: readers may take their time, and what they read does not come free.
const LENT_FRACTION: u64 = 8;
/// The same for what is received: senders may take their time too.
const UPLOADING_FRACTION: u64 = 4;

/// Memory of the system that is kept for small allocations, which nobody could do without. Where there is none beside
/// it for the store, it is given up, and the store asks the system for nothing any more.
#[derive(Debug)]
struct Reserve {
    /// Never written, so it takes addresses and no memory. Mapped rather than allocated: freeing a long allocation would
    /// make the C library keep others of that length.
    kept: Option<MmapMut>,
    /// Bytes that were asked for since it was last seen that there is as much beside it.
    asked_len: usize,
}

impl Reserve {
    fn new() -> Self {
        Self { kept: MmapMut::map_anon(RESERVE_LEN).ok(), asked_len: 0 }
    }

    fn ask_system<T>(&mut self, len: usize, allocate: impl FnOnce() -> Option<T>) -> Option<T> {
        self.kept.as_ref()?;
        let allocated = allocate();
        self.asked_len += len;
        let is_due = self.asked_len >= PROBE_LEN;
        if allocated.is_none() || is_due && MmapMut::map_anon(RESERVE_LEN).is_err() {
            self.kept = None;
        } else if is_due {
            self.asked_len = 0;
        }
        allocated
    }
}

/// The memory limit, and the segments that nobody uses at the moment.
#[derive(Debug)]
pub(super) struct Pool {
    pub(super) budget: Budget,
    segment_len: usize,
    free: Mutex<Vec<Piece>>,
    /// How many there are in `free`, to be read without its lock.
    free_count: AtomicU64,
    /// What is left of the last block: nobody has touched it, and it is charged for when it is cut into segments.
    fresh: Mutex<Piece>,
    reserve: Mutex<Reserve>,
    /// Is told of evictions.
    pub(super) witness: OnceLock<Arc<dyn Witness>>,
    /// Bytes of dead items in each shard, in a line each, so that its threads do not wait for one another.
    dead: Box<[Line]>,
    /// Segments of the bodies of large values, those among them that only a reader has any more.
    body_count: AtomicU64,
    /// Of those, in bodies that are lent.
    lent_count: AtomicU64,
    /// Segments that bodies have or will have which have not come whole.
    uploading_count: AtomicU64,
}

impl Pool {
    pub(super) fn new(limit: u64, segment_len: usize, shard_count: usize) -> Self {
        Self {
            budget: Budget::new(limit),
            segment_len,
            free: Mutex::default(),
            free_count: AtomicU64::new(0),
            fresh: Mutex::default(),
            reserve: Mutex::new(Reserve::new()),
            witness: OnceLock::new(),
            dead: (0..shard_count).map(|_| Line::default()).collect(),
            body_count: AtomicU64::new(0),
            lent_count: AtomicU64::new(0),
            uploading_count: AtomicU64::new(0),
        }
    }

    /// Who wants to be told of an eviction.
    pub(super) fn eviction_witness(&self) -> Option<&dyn Witness> {
        self.witness.get().map(|witness| &**witness).filter(|witness| witness.wants_evicted())
    }

    pub(super) fn segment_len(&self) -> usize {
        self.segment_len
    }

    /// What so many segments take out of the limit.
    pub(super) fn charge(&self, count: u64) -> u64 {
        count * (self.segment_len as u64 + OVERHEAD)
    }

    fn pop(&self) -> Option<Piece> {
        if self.free_count.load(Relaxed) == 0 {
            return None;
        }
        let mut free = self.free.lock();
        let bytes = free.pop();
        self.free_count.store(free.len() as u64, Relaxed);
        bytes
    }

    /// A segment, where there is one free or room for another.
    pub(super) fn take(&self) -> Option<Piece> {
        if let Some(bytes) = self.pop() {
            return Some(bytes);
        }
        if !self.budget.reserve(self.charge(1)) {
            return None;
        }
        let bytes = self.cut();
        if bytes.is_none() {
            self.budget.release(self.charge(1));
        }
        bytes
    }

    /// A segment of a block that is not all in use, or of a new one, which is no longer than what the limit leaves.
    fn cut(&self) -> Option<Piece> {
        let mut fresh = self.fresh.lock();
        if fresh.is_empty() {
            let more_count = self.budget.left() / self.charge(1);
            let more_len = usize::try_from(more_count).unwrap_or(usize::MAX);
            let len_max = more_len.saturating_add(1).saturating_mul(self.segment_len);
            *fresh = self.ask_system(len_max.min(BLOCK_LEN), || Piece::block(len_max))?;
        }
        Some(fresh.split_front(self.segment_len))
    }

    /// Makes a line of a table be there, where the system has memory for it.
    pub(super) fn ensure_line(&self, lines: &Lines, index: usize) -> bool {
        let len = lines.missing_len(index);
        if len < SMALL_LEN {
            return lines.ensure(index);
        }
        self.ask_system(len, || lines.ensure(index).then_some(())).is_some()
    }

    /// Lets `allocate` ask the system for so many bytes, unless it has none beside what small allocations need.
    fn ask_system<T>(&self, len: usize, allocate: impl FnOnce() -> Option<T>) -> Option<T> {
        self.reserve.lock().ask_system(len, allocate)
    }

    /// Gives a segment back, for any shard to take.
    pub(super) fn give(&self, bytes: Piece) {
        debug_assert_eq!(bytes.len(), self.segment_len);
        if self.is_over() {
            drop(bytes);
            self.budget.release(self.charge(1));
            return;
        }
        let mut free = self.free.lock();
        free.push(bytes);
        self.free_count.store(free.len() as u64, Relaxed);
    }

    /// Gives back several.
    pub(super) fn give_all(&self, segments: &mut Vec<Piece>) {
        while self.is_over()
            && let Some(bytes) = segments.pop()
        {
            self.give(bytes);
        }
        let mut free = self.free.lock();
        free.append(segments);
        self.free_count.store(free.len() as u64, Relaxed);
    }

    /// Whether more is in use than is allowed, since that was changed.
    pub(super) fn is_over(&self) -> bool {
        self.budget.used() > self.budget.limit()
    }

    /// Gives what nobody uses back to the system, where more is in use than is allowed.
    pub(super) fn shed(&self) {
        // Uncharged, and as much as a block.
        drop(std::mem::take(&mut *self.fresh.lock()));
        while self.is_over()
            && let Some(bytes) = self.pop()
        {
            self.give(bytes);
        }
    }

    /// The part of the limit that each shard may have when memory is short, in bytes.
    pub(super) fn fair_share(&self) -> u64 {
        self.budget.limit() / self.dead.len() as u64
    }

    /// Notes that so many segments belong to a body from now on.
    pub(super) fn count_in_bodies(&self, count: usize) {
        self.body_count.fetch_add(count as u64, Relaxed);
    }

    /// Notes that so many belong to none any more.
    pub(super) fn count_out_of_bodies(&self, count: usize) {
        self.body_count.fetch_sub(count as u64, Relaxed);
    }

    /// Segments of all bodies.
    pub(super) fn body_count(&self) -> u64 {
        self.body_count.load(Relaxed)
    }

    /// Lends a body of so many segments; false where too much would be lent.
    pub(super) fn lend(&self, count: u64) -> bool {
        self.add_within(&self.lent_count, count, LENT_FRACTION)
    }

    /// Adds to a number of segments; false, and nothing added, where they would take more than a fraction of the limit.
    fn add_within(&self, number: &AtomicU64, count: u64, fraction: u64) -> bool {
        let max = self.budget.limit() / fraction / self.charge(1);
        let sum = |number: u64| Some(number + count).filter(|sum| *sum <= max);
        number.fetch_update(Relaxed, Relaxed, sum).is_ok()
    }

    /// Nobody reads that body any more.
    pub(super) fn end_loan(&self, count: u64) {
        self.lent_count.fetch_sub(count, Relaxed);
    }

    /// Segments of bodies that are lent.
    pub(super) fn lent_count(&self) -> u64 {
        self.lent_count.load(Relaxed)
    }

    /// Lets a body come that will have so many segments; false where too much is on its way.
    pub(super) fn begin_upload(&self, count: u64) -> bool {
        self.add_within(&self.uploading_count, count, UPLOADING_FRACTION)
    }

    /// That body is not on its way any more.
    pub(super) fn end_upload(&self, count: u64) {
        self.uploading_count.fetch_sub(count, Relaxed);
    }

    /// Segments that bodies have or will have which have not come whole.
    pub(super) fn uploading_count(&self) -> u64 {
        self.uploading_count.load(Relaxed)
    }

    /// Takes bytes out of the limit for something that is no segment, turning free segments back into
    /// memory where that helps.
    pub(super) fn reserve(&self, len: u64) -> bool {
        loop {
            if self.budget.reserve(len) {
                return true;
            }
            let Some(bytes) = self.pop() else {
                return false;
            };
            drop(bytes);
            self.budget.release(self.charge(1));
        }
    }

    /// Whether [`Self::reserve`] would find so much.
    pub(super) fn has(&self, len: u64) -> bool {
        self.free() >= len
    }

    /// Bytes that nobody uses, in segments or not yet allocated.
    pub(super) fn free(&self) -> u64 {
        self.budget.left() + self.free_len()
    }

    /// Notes how many bytes are dead in a shard. Small changes are left out: whoever reads it would have to fetch it
    /// anew each time.
    pub(super) fn set_dead(&self, shard: usize, len: u64) {
        let noted = &self.dead[shard][0];
        if noted.load(Relaxed).abs_diff(len) >= self.segment_len as u64 / 8 {
            noted.store(len, Relaxed);
        }
    }

    /// Whether so much is dead that nothing living may be evicted: memory can be had by moving together what lives.
    pub(super) fn is_loose(&self) -> bool {
        let dead_len: u64 = self.dead.iter().map(|len| len[0].load(Relaxed)).sum();
        dead_len * DEAD_FRACTION > self.budget.limit()
    }

    /// Gives back what [`Self::reserve`] took.
    pub(super) fn release(&self, len: u64) {
        self.budget.release(len);
    }

    /// What the segments that nobody uses take out of the limit.
    pub(super) fn free_len(&self) -> u64 {
        self.charge(self.free_count.load(Relaxed))
    }
}

/// Segments that were collected for one operation; what it does not use goes back to the pool.
#[derive(Debug)]
pub(super) struct Purse<'a> {
    pub(super) pool: &'a Arc<Pool>,
    pub(super) segments: Vec<Piece>,
}

impl<'a> Purse<'a> {
    pub(super) fn new(pool: &'a Arc<Pool>) -> Self {
        Self { pool, segments: Vec::new() }
    }
}

impl Drop for Purse<'_> {
    fn drop(&mut self) {
        if !self.segments.is_empty() {
            self.pool.give_all(&mut self.segments);
        }
    }
}
