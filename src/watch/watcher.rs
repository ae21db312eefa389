//! One who watches.

use super::{Slot, WATCHER_COUNT_MAX, Watchers};
use larder_protocol::Streams;
use std::sync::Arc;
use tokio::sync::Notify;

/// A place among the [`Watchers`], which is left when this is dropped.
#[derive(Debug)]
pub struct Watcher<'a> {
    watchers: &'a Watchers,
    number: u64,
    has_text: Arc<Notify>,
}

impl<'a> Watcher<'a> {
    /// Begins to watch; `None` where too many do.
    pub fn enter(watchers: &'a Watchers, streams: Streams) -> Option<Self> {
        let mut desk = watchers.desk.lock();
        if desk.slots.len() >= WATCHER_COUNT_MAX {
            return None;
        }
        desk.number += 1;
        let (number, has_text) = (desk.number, Arc::new(Notify::new()));
        let slot_text = Arc::clone(&has_text);
        let text = Vec::new();
        desk.slots.push(Slot { number, streams, text, skipped: 0, has_text: slot_text });
        watchers.publish(&desk);
        Some(Self { watchers, number, has_text })
    }

    /// Waits for lines, and puts them in place of what is in `text`.
    pub async fn next(&self, text: &mut Vec<u8>) {
        text.clear();
        loop {
            self.swap(text);
            if !text.is_empty() {
                return;
            }
            self.has_text.notified().await;
        }
    }

    fn swap(&self, text: &mut Vec<u8>) {
        let mut desk = self.watchers.desk.lock();
        if let Some(slot) = desk.slots.iter_mut().find(|slot| slot.number == self.number) {
            std::mem::swap(&mut slot.text, text);
        }
    }
}

impl Drop for Watcher<'_> {
    fn drop(&mut self) {
        let mut desk = self.watchers.desk.lock();
        desk.slots.retain(|slot| slot.number != self.number);
        self.watchers.publish(&desk);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUFFER_LEN_MAX: usize = 10_000;

    fn log(watchers: &Watchers, stream: Streams, text: &str) {
        watchers.log(stream, |line| line.extend_from_slice(text.as_bytes()));
    }

    async fn lines(watcher: &Watcher<'_>) -> Vec<String> {
        let mut text = Vec::new();
        watcher.next(&mut text).await;
        String::from_utf8(text).expect("text").lines().map(str::to_owned).collect()
    }

    #[tokio::test]
    async fn each_sees_what_it_asked_for() {
        let watchers = Watchers::new(BUFFER_LEN_MAX);
        assert_eq!(watchers.streams(), Streams::default());
        let gets = Watcher::enter(&watchers, Streams::FETCHERS).expect("there is room");
        let both = Streams::FETCHERS | Streams::MUTATIONS;
        let both = Watcher::enter(&watchers, both).expect("there is room");
        log(&watchers, Streams::MUTATIONS, "set");
        log(&watchers, Streams::FETCHERS, "get");
        log(&watchers, Streams::EVICTIONS, "nobody sees it");
        let (gets_lines, both_lines) = (lines(&gets).await, lines(&both).await);
        assert_eq!((gets_lines.len(), both_lines.len()), (1, 2));
        assert!(gets_lines[0].starts_with("ts=") && gets_lines[0].ends_with(" gid=2 get"));
        assert!(both_lines[0].ends_with(" gid=1 set") && both_lines[1] == gets_lines[0]);
        let counts = watchers.counts();
        assert_eq!((counts.log_worker_written, counts.log_watcher_sent), (2, 3));
        assert_eq!((counts.log_watcher_skipped, counts.log_watchers), (0, 2));
        drop(both);
        assert_eq!(watchers.streams(), Streams::FETCHERS);
        drop(gets);
        assert_eq!(watchers.streams(), Streams::default());
        log(&watchers, Streams::FETCHERS, "nobody is there");
        assert_eq!(watchers.counts().log_worker_written, 2);
    }

    #[tokio::test]
    async fn what_does_not_fit_is_skipped_and_that_is_said() {
        let watchers = Watchers::new(BUFFER_LEN_MAX);
        let watcher = Watcher::enter(&watchers, Streams::FETCHERS).expect("there is room");
        let long = "x".repeat(BUFFER_LEN_MAX / 2 - 200);
        for _ in 0..5 {
            log(&watchers, Streams::FETCHERS, &long);
        }
        let mut text = Vec::new();
        watcher.next(&mut text).await;
        assert!(text.len() <= BUFFER_LEN_MAX);
        assert_eq!(text.split(|byte| *byte == b'\n').count(), 2 + 1);
        log(&watchers, Streams::FETCHERS, "short");
        let after = lines(&watcher).await;
        assert_eq!(after[0], "skipped=3");
        assert!(after[1].ends_with(" gid=6 short"), "{}", after[1]);
        assert_eq!(watchers.counts().log_watcher_skipped, 3);
        watchers.reset_counts();
        assert_eq!(watchers.counts().log_watcher_skipped, 0);
    }

    #[test]
    fn twenty_may_watch() {
        let watchers = Watchers::new(BUFFER_LEN_MAX);
        let enter = || Watcher::enter(&watchers, Streams::FETCHERS);
        let mut all: Vec<_> = (0..WATCHER_COUNT_MAX).map(|_| enter()).collect();
        assert!(all.iter().all(Option::is_some) && enter().is_none());
        all.pop();
        assert!(enter().is_some());
    }
}
