//! One running server: what its threads share.

use crate::address::Address;
use crate::clients::Clients;
use crate::clock::Clock;
use crate::config::{self, Config};
use crate::crawler::Crawler;
use crate::log::Log;
use crate::prefixes::Prefixes;
use crate::stats::{Counters, Totals};
use crate::store::{self, ItemSize, Now, Store, StoreConfig, StoreStats, Witness};
use crate::watch::Watchers;
use larder_protocol::Limits;
use parking_lot::Mutex;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use tokio::sync::{Notify, watch};

/// How far a server is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// It takes new connections.
    Serving,
    /// It answers what is on its way, and takes no new connections.
    Draining,
    /// All threads end.
    Over,
}

/// What the threads of a server share.
#[derive(Debug)]
pub struct Instance {
    /// As started.
    pub config: Config,
    /// What the parser refuses.
    pub limits: Limits,
    /// The items.
    pub store: Store,
    /// What time it is.
    pub clock: Clock,
    /// Who is connected.
    pub clients: Arc<Clients>,
    /// `stats detail`.
    pub prefixes: Prefixes,
    /// Who looks for dead items.
    pub crawler: Crawler,
    /// Who watches.
    pub watchers: Arc<Watchers>,
    /// The log's level.
    pub log: Log,
    /// One for each worker, then the acceptor's; each written by its thread alone.
    pub counters: Box<[Counters]>,
    /// The sockets that listen, and their addresses.
    pub listeners: Vec<(RawFd, Address)>,
    /// The memory limit was set.
    pub limit_set: Notify,
    /// Whether connections are accepted; written by the acceptor.
    pub accepting: AtomicBool,
    /// Whether the server is to go on.
    pub phase: watch::Sender<Phase>,
    /// The same for who asks often: whether it is not serving any more.
    is_draining: AtomicBool,
    /// The sums at the last `stats reset`.
    reset: Mutex<(Totals, StoreStats)>,
}

impl Instance {
    /// A server that has not begun to serve.
    pub fn new(config: Config, log: Log, listeners: Vec<(RawFd, Address)>) -> Self {
        let limits = Limits { item_size_max: config.item_size_max_bytes, cas: config.cas_enabled };
        let header_len = limits.item_size(0, 0, 0);
        let item_size = ItemSize {
            header_len,
            flags_len: limits.item_size(0, 1, 0) - header_len,
            max: u64::from(limits.item_size_max),
        };
        let store = Store::new(&StoreConfig {
            eviction: match config.eviction {
                config::Eviction::S3Fifo => store::Eviction::S3Fifo,
                config::Eviction::Lru => store::Eviction::Lru,
                config::Eviction::Lfu => store::Eviction::Lfu,
            },
            evictions: config.evictions,
            cas: config.cas_enabled,
            ..StoreConfig::for_limit(config.memory_limit_bytes, item_size)
        });
        let watchers = Arc::new(Watchers::new(config.watcher_logbuf_bytes));
        store.tell(Arc::clone(&watchers) as Arc<dyn Witness>);
        Self {
            limits,
            store,
            clock: Clock::start(),
            clients: Arc::new(Clients::new(
                config.connection_memory_bytes,
                config.max_connections_per_ip,
            )),
            prefixes: Prefixes::new(config.prefix_delimiter, config.detail_enabled),
            crawler: Crawler::default(),
            watchers,
            log,
            counters: (0..=config.threads).map(|_| Counters::default()).collect(),
            listeners,
            limit_set: Notify::new(),
            accepting: AtomicBool::new(true),
            phase: watch::Sender::new(Phase::Serving),
            is_draining: AtomicBool::new(false),
            reset: Mutex::default(),
            config,
        }
    }

    /// The acceptor's counters.
    pub fn acceptor_counters(&self) -> &Counters {
        &self.counters[self.config.threads]
    }

    /// What was counted since the start or the last reset.
    pub fn totals(&self) -> Totals {
        let reset = self.reset.lock().0;
        Totals::sum(&self.counters).since(&reset)
    }

    /// The store's gauges, and its counters since the start or the last reset.
    pub fn store_stats(&self, now: Now) -> StoreStats {
        let reset = self.reset.lock().1;
        self.store.stats(now).since(&reset)
    }

    /// Makes all counters begin again at 0; gauges stay.
    pub fn reset_stats(&self) {
        let store = self.store.stats(self.clock.now());
        *self.reset.lock() = (Totals::sum(&self.counters), store);
        self.prefixes.clear();
        self.watchers.reset_counts();
    }

    /// Sets the memory limit, in bytes. What is above it is given up soon.
    pub fn set_limit(&self, bytes: u64) {
        self.store.set_limit(bytes);
        self.limit_set.notify_one();
    }

    /// Asks for an end: what is on its way is still answered.
    pub fn stop(&self) {
        self.enter(Phase::Draining);
    }

    /// Whether what is on its way is the last that is answered.
    pub fn is_draining(&self) -> bool {
        self.is_draining.load(Relaxed)
    }

    /// Goes on to a later phase.
    pub fn enter(&self, later: Phase) {
        self.is_draining.store(later > Phase::Serving, Relaxed);
        self.phase.send_if_modified(|phase| {
            let is_later = later > *phase;
            *phase = later.max(*phase);
            is_later
        });
    }
}
