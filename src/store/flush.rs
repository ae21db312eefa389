//! `flush_all` as a mark in time: nothing is touched, what was stored before the mark is dead.

use super::exptime::{Deadline, Now};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::SeqCst};

/// The generation that stores are made in, and when the next one begins.
///
/// An item is dead when its generation is not the current one. A counter instead of a time keeps apart
/// what was stored before and after a flush within one tick of the clock.
#[derive(Debug)]
pub(super) struct Flush {
    generation: AtomicU32,
    due_ms: AtomicU64,
}

impl Flush {
    pub(super) fn new() -> Self {
        Self { generation: AtomicU32::new(0), due_ms: AtomicU64::new(u64::MAX) }
    }

    /// The generation now. The first caller after a pending flush's moment begins the new one.
    pub(super) fn generation(&self, now: Now) -> u32 {
        let due_ms = self.due_ms.load(SeqCst);
        if now.ms >= due_ms
            && self.due_ms.compare_exchange(due_ms, u64::MAX, SeqCst, SeqCst).is_ok()
        {
            self.generation.fetch_add(1, SeqCst);
        }
        self.generation.load(SeqCst)
    }

    /// Begins a new generation at a moment, or now where that has passed. There is one pending flush at
    /// most: this one replaces it.
    pub(super) fn schedule(&self, at: Deadline, now: Now) {
        // A pending one whose moment has passed unseen must not be lost.
        self.generation(now);
        if at.is_due(now) {
            self.due_ms.store(u64::MAX, SeqCst);
            self.generation.fetch_add(1, SeqCst);
        } else {
            self.due_ms.store(at.ms(), SeqCst);
        }
    }
}
