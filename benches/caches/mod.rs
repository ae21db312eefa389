//! The implementations that `store` measures, behind one trait.

use std::iter;
use std::sync::Arc;

use ahash::RandomState;
use arrayvec::ArrayVec;
use clap::ValueEnum;
use dashmap::DashMap;
use larder::store::{
    Cas, Deadline, Deleted, Eviction, ItemSize, Key as StoreKey, Now, Store, StoreConfig,
    StoreMode, Stored, Write,
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

/// As many keys as a burst has at once.
const GROUP_LEN: usize = 32;

/// Hands the keys of a batch to `each`, when all that it needs of memory is asked for.
fn in_groups(store: &Store, keys: &[Key], mut each: impl FnMut(usize, StoreKey<'_>)) {
    for (number, group) in keys.chunks(GROUP_LEN).enumerate() {
        let mut hashed: ArrayVec<_, GROUP_LEN> = group.iter().map(|key| store.key(key)).collect();
        store.prefetch(&mut hashed.iter_mut().collect::<ArrayVec<_, GROUP_LEN>>());
        for (place, key) in hashed.iter().enumerate() {
            each(number * GROUP_LEN + place, *key);
        }
    }
}

fn get(store: &Store, key: StoreKey<'_>, out: &mut Vec<u8>) -> bool {
    store.get(key, NOW, |item| item.value.copy_to(out)).is_ok()
}

fn set(store: &Store, key: StoreKey<'_>, value: &[u8]) {
    let write = Write {
        mode: StoreMode::Set,
        key,
        flags: 0,
        deadline: Deadline::NEVER,
        value,
        cas: Cas::default(),
        is_base64: false,
    };
    assert_eq!(store.store(&write, NOW), Stored::Stored);
}

impl Cache for Store {
    fn get(&self, key: &[u8], out: &mut Vec<u8>) -> bool {
        get(self, self.key(key), out)
    }

    fn set(&self, key: &[u8], value: &[u8]) {
        set(self, self.key(key), value);
    }

    fn delete(&self, key: &[u8]) -> bool {
        Store::delete(self, self.key(key), None, NOW) == Deleted::Deleted
    }

    fn get_batch(&self, keys: &[Key], out: &mut Vec<u8>) -> usize {
        let mut hits = 0;
        in_groups(self, keys, |_, key| hits += usize::from(get(self, key, out)));
        hits
    }

    fn set_batch(&self, keys: &[Key], values: &[&[u8]]) {
        in_groups(self, keys, |at, key| set(self, key, values[at]));
    }

    fn delete_batch(&self, keys: &[Key]) -> usize {
        let mut hits = 0;
        in_groups(self, keys, |_, key| {
            hits += usize::from(Store::delete(self, key, None, NOW) == Deleted::Deleted);
        });
        hits
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
