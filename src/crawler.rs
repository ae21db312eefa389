//! The thread that forgets dead items, as memcached's `lru_crawler` shows and steers it.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use tokio::sync::Notify;

/// As memcached has it, in microseconds.
const SLEEP_US: u32 = 100;

/// What clients say to the crawler, and what they hear of it.
#[derive(Debug)]
pub struct Crawler {
    is_enabled: AtomicBool,
    /// Somebody asked for a crawl that is not over.
    is_running: AtomicBool,
    asked: Notify,
    /// `lru_crawler sleep` and `tocrawl`, which change nothing here but what is shown.
    sleep_us: AtomicU32,
    tocrawl: AtomicU32,
}

impl Default for Crawler {
    fn default() -> Self {
        Self {
            is_enabled: AtomicBool::new(true),
            is_running: AtomicBool::new(false),
            asked: Notify::new(),
            sleep_us: AtomicU32::new(SLEEP_US),
            tocrawl: AtomicU32::new(0),
        }
    }
}

impl Crawler {
    /// Whether dead items are looked for, and items may be listed.
    pub fn is_enabled(&self) -> bool {
        self.is_enabled.load(Relaxed)
    }

    /// Switches it on or off; false where it was on already.
    pub fn enable(&self, is_enabled: bool) -> bool {
        let was_enabled = self.is_enabled.swap(is_enabled, Relaxed);
        !(is_enabled && was_enabled)
    }

    /// Asks for a crawl; false where somebody has.
    pub fn start(&self) -> bool {
        let is_first = !self.is_running.swap(true, Relaxed);
        if is_first {
            self.asked.notify_one();
        }
        is_first
    }

    /// Waits until somebody asks for a crawl.
    pub async fn asked(&self) {
        self.asked.notified().await;
    }

    /// Says that the crawl that was asked for is over.
    pub fn end(&self) {
        self.is_running.store(false, Relaxed);
    }

    /// Whether a crawl was asked for that is not over.
    pub fn is_running(&self) -> bool {
        self.is_running.load(Relaxed)
    }

    /// In microseconds.
    pub fn sleep_us(&self) -> u32 {
        self.sleep_us.load(Relaxed)
    }

    /// In microseconds.
    pub fn set_sleep_us(&self, sleep_us: u32) {
        self.sleep_us.store(sleep_us, Relaxed);
    }

    /// Items a class; 0 is all.
    pub fn tocrawl(&self) -> u32 {
        self.tocrawl.load(Relaxed)
    }

    /// Items a class; 0 is all.
    pub fn set_tocrawl(&self, tocrawl: u32) {
        self.tocrawl.store(tocrawl, Relaxed);
    }
}
