//! The implementations that `store` measures, behind one trait.

use std::iter;
use std::sync::Arc;

use ahash::RandomState;
use clap::ValueEnum;
use dashmap::DashMap;
use larder::store::{
    Deadline, Eviction, ItemSize, Now, Store, StoreConfig, StoreMode, Stored, Write,
};
use quick_cache::UnitWeighter;
use quick_cache::sync::{Cache as QuickCache, DefaultLifecycle};

pub(crate) const KEY_LEN: usize = 20;
pub(crate) type Key = [u8; KEY_LEN];

const NOW: Now = Now { ms: 1, unix_ms: 1_800_000_000_000 };

/// Operations on one key, and on some at once. Times are not its business.
pub(crate) trait Cache: Sync {
    /// Appends the value to `out`; whether there is one.
    fn get(&self, key: &[u8], out: &mut Vec<u8>) -> bool;
    fn set(&self, key: &[u8], value: &[u8]);
    /// Whether there was one.
    fn delete(&self, key: &[u8]) -> bool;

    /// Appends the values in the order of the keys; how many there are.
    fn get_batch(&self, keys: &[Key], out: &mut Vec<u8>) -> usize {
        keys.iter().filter(|key| self.get(&key[..], out)).count()
    }

    fn set_batch(&self, keys: &[Key], values: &[&[u8]]) {
        for (key, value) in iter::zip(keys, values) {
            self.set(key, value);
        }
    }

    /// How many there were.
    fn delete_batch(&self, keys: &[Key]) -> usize {
        keys.iter().filter(|key| self.delete(&key[..])).count()
    }
}

impl Cache for Store {
    fn get(&self, key: &[u8], out: &mut Vec<u8>) -> bool {
        Store::get(self, key, None, NOW, |item| out.extend_from_slice(item.value)).is_ok()
    }

    fn set(&self, key: &[u8], value: &[u8]) {
        let write = Write { mode: StoreMode::Set, key, flags: 0, deadline: Deadline::NEVER, value };
        assert_eq!(self.store(&write, NOW), Stored::Stored);
    }

    fn delete(&self, key: &[u8]) -> bool {
        Store::delete(self, key, NOW)
    }
}

impl Cache for DashMap<Box<[u8]>, Box<[u8]>, RandomState> {
    fn get(&self, key: &[u8], out: &mut Vec<u8>) -> bool {
        DashMap::get(self, key).map(|value| out.extend_from_slice(&value)).is_some()
    }

    fn set(&self, key: &[u8], value: &[u8]) {
        self.insert(key.into(), value.into());
    }

    fn delete(&self, key: &[u8]) -> bool {
        self.remove(key).is_some()
    }
}

impl Cache for QuickCache<Box<[u8]>, Arc<[u8]>, UnitWeighter, RandomState> {
    fn get(&self, key: &[u8], out: &mut Vec<u8>) -> bool {
        QuickCache::get(self, key).map(|value| out.extend_from_slice(&value)).is_some()
    }

    fn set(&self, key: &[u8], value: &[u8]) {
        self.insert(key.into(), value.into());
    }

    fn delete(&self, key: &[u8]) -> bool {
        self.remove(key).is_some()
    }
}

/// The implementations, by the names that `--only` takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    Larder,
    ExactLru,
    Dashmap,
    QuickCache,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Larder => "larder",
            Self::ExactLru => "exact-lru",
            Self::Dashmap => "dashmap",
            Self::QuickCache => "quick-cache",
        }
    }

    pub(crate) fn has_limit(self) -> bool {
        self != Self::Dashmap
    }

    /// Bytes of the limit that an item takes, about.
    pub(crate) fn item_bytes(self, value_len: usize) -> u64 {
        let bookkeeping_len = match self {
            Self::Larder => 34,
            Self::ExactLru => 160,
            Self::Dashmap | Self::QuickCache => 100,
        };
        bookkeeping_len + (KEY_LEN + value_len) as u64
    }

    /// An empty cache with room for so many items.
    pub(crate) fn open(self, items: u64, value_len: usize) -> Box<dyn Cache> {
        let capacity = usize::try_from(items).expect("no more than fit into memory");
        let item_size = ItemSize { header_len: 59, flags_len: 4, max: 1 << 20 };
        let config = StoreConfig::for_limit(items * self.item_bytes(value_len), item_size);
        match self {
            Self::Larder => Box::new(Store::new(&config)),
            Self::ExactLru => {
                Box::new(Store::new(&StoreConfig { eviction: Eviction::ExactLru, ..config }))
            }
            Self::Dashmap => {
                Box::new(DashMap::<Box<[u8]>, Box<[u8]>, _>::with_hasher(RandomState::new()))
            }
            Self::QuickCache => Box::new(QuickCache::<Box<[u8]>, Arc<[u8]>, _, _>::with(
                capacity,
                items,
                UnitWeighter,
                RandomState::new(),
                DefaultLifecycle::default(),
            )),
        }
    }
}
