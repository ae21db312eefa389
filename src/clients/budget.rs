//! What all connections together may hold of requests that have not come whole, and of replies that are not taken.
//!
//! INVARIANT: what is held never passes the limit.
//! INVARIANT: who grows by plan, before it reads more, leaves an eighth free: that is for what has been read already,
//! and for replies that the kernel does not take, of connections that could not know it before.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed, Ordering::SeqCst};
use tokio::sync::Notify;

/// The part of the limit that nobody plans with.
const RESERVE_PART: usize = 8;

/// Bytes allowed, bytes in use, and who waits for some.
#[derive(Debug)]
pub struct Budget {
    limit: usize,
    used: AtomicUsize,
    /// Connections that are not read until there is room.
    waiting: AtomicUsize,
    /// All that came free while it was short.
    freed: AtomicUsize,
    /// Some came free.
    room: Notify,
    /// Somebody began to wait, or the reserve is touched.
    pressed: Notify,
}

impl Budget {
    /// Nothing is held yet.
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            used: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            freed: AtomicUsize::new(0),
            room: Notify::new(),
            pressed: Notify::new(),
        }
    }

    /// All that may be held.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// All that may be planned with.
    pub fn plannable(&self) -> usize {
        self.limit - self.limit / RESERVE_PART
    }

    /// All that is held.
    pub fn used(&self) -> usize {
        self.used.load(SeqCst)
    }

    /// Whether the reserve is whole.
    pub fn has_room(&self) -> bool {
        self.used() <= self.plannable()
    }

    /// Holds `to` bytes in place of `from`; false, and nothing changed, where that would pass `max`.
    pub fn change(&self, from: usize, to: usize, max: usize) -> bool {
        if to <= from {
            self.release(from - to);
            return true;
        }
        let grown = |used: usize| used.checked_add(to - from).filter(|used| *used <= max);
        let is_taken = self.used.fetch_update(SeqCst, SeqCst, grown).is_ok();
        if !self.has_room() {
            self.pressed.notify_one();
        }
        is_taken
    }

    fn release(&self, len: usize) {
        if len == 0 {
            return;
        }
        let before = self.used.fetch_sub(len, SeqCst);
        debug_assert!(before >= len, "more given back than taken");
        let is_waited_for = self.waiting.load(SeqCst) > 0;
        if is_waited_for || before > self.plannable() {
            self.freed.fetch_add(len, Relaxed);
        }
        if is_waited_for {
            self.room.notify_one();
        }
    }

    /// All that ever came free while it was short.
    pub fn freed(&self) -> usize {
        self.freed.load(Relaxed)
    }

    /// Waits until `is_over` says that it is, asking again when something came free.
    pub async fn wait(&self, mut is_over: impl FnMut() -> bool) {
        let _waiter = Waiter::new(self);
        loop {
            let mut came_free = std::pin::pin!(self.room.notified());
            // From here on, nothing that comes free is missed.
            came_free.as_mut().enable();
            if is_over() {
                return;
            }
            came_free.await;
        }
    }

    /// Waits until somebody waits, or the reserve is touched.
    pub async fn pressed(&self) {
        while !self.is_pressed() {
            self.pressed.notified().await;
        }
    }

    /// Whether somebody waits, or the reserve is touched.
    pub fn is_pressed(&self) -> bool {
        self.waiting.load(SeqCst) > 0 || !self.has_room()
    }

    /// Has all who wait ask again.
    pub fn wake_all(&self) {
        self.room.notify_waiters();
    }
}

/// One that waits. When it has what it wanted, the next one may have come into room too.
struct Waiter<'a>(&'a Budget);

impl<'a> Waiter<'a> {
    fn new(budget: &'a Budget) -> Self {
        budget.waiting.fetch_add(1, SeqCst);
        budget.pressed.notify_one();
        Self(budget)
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        if self.0.waiting.fetch_sub(1, SeqCst) > 1 {
            self.0.room.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn it_is_never_passed() {
        let budget = Budget::new(800);
        assert_eq!((budget.limit(), budget.plannable()), (800, 700));
        assert!(budget.change(0, 700, budget.plannable()));
        assert!(budget.has_room() && !budget.is_pressed());
        assert!(!budget.change(0, 1, budget.plannable()));
        assert!(budget.change(0, 100, budget.limit()));
        assert!(!budget.has_room() && budget.is_pressed());
        assert!(!budget.change(100, 101, budget.limit()));
        assert!(!budget.change(0, usize::MAX, budget.limit()));
        assert_eq!(budget.used(), 800);
        assert_eq!(budget.freed(), 0);
        assert!(budget.change(700, 0, budget.plannable()) && budget.change(100, 0, 0));
        assert_eq!((budget.used(), budget.freed()), (0, 700));
    }

    #[tokio::test]
    async fn who_waits_goes_on_when_there_is_room() {
        let budget = Arc::new(Budget::new(800));
        assert!(budget.change(0, 700, budget.plannable()));
        let waiters: Vec<_> = (0..7)
            .map(|_| {
                let budget = Arc::clone(&budget);
                tokio::spawn(async move {
                    budget.wait(|| budget.change(0, 100, budget.plannable())).await;
                })
            })
            .collect();
        budget.pressed().await;
        tokio::task::yield_now().await;
        assert!(waiters.iter().all(|waiter| !waiter.is_finished()));
        // At once, so that each must wake the next.
        budget.change(700, 0, 0);
        for waiter in waiters {
            waiter.await.expect("it ends");
        }
        assert!(!budget.is_pressed());
        assert_eq!(budget.used(), 700);
    }
}
