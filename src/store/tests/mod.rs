//! The store against a naive model (`model`), its rules one by one (`rules`), what it promises of
//! its memory (`room`), and under threads (`threads`).

use super::*;

const ITEM_SIZE: ItemSize = ItemSize { header_len: 59, flags_len: 4, max: 1 << 20 };

/// The exact form: its charge is known to the byte.
fn exact(limit_bytes: u64, shard_count: usize) -> StoreConfig {
    StoreConfig {
        limit_bytes,
        shard_count,
        segment_len: 4096,
        eviction: Eviction::ExactLru,
        evictions: true,
        cas: true,
        item_size: ITEM_SIZE,
    }
}

/// The log form, with segments so small that a test fills many.
fn log(limit_bytes: u64, shard_count: usize) -> StoreConfig {
    StoreConfig { eviction: Eviction::S3Fifo, ..exact(limit_bytes, shard_count) }
}

/// Both forms.
fn both(limit_bytes: u64, shard_count: usize) -> [StoreConfig; 2] {
    [exact(limit_bytes, shard_count), log(limit_bytes, shard_count)]
}

fn at(ms: u64) -> Now {
    Now { ms, unix_ms: 1_800_000_000_000 + ms }
}

fn write<'a>(store: &Store, mode: StoreMode, key: &'a [u8], value: &'a [u8]) -> Write<'a> {
    Write {
        mode,
        key: store.key(key),
        flags: 0,
        deadline: Deadline::NEVER,
        value,
        cas: Cas::default(),
        is_base64: false,
    }
}

fn set(store: &Store, key: &[u8], value: &[u8], now: Now) -> Stored {
    store.store(&write(store, StoreMode::Set, key, value), now)
}

fn value(store: &Store, key: &[u8], now: Now) -> Option<Vec<u8>> {
    store.get(store.key(key), now, |item| item.value.to_vec()).ok()
}

fn cas_unique(store: &Store, key: &[u8], now: Now) -> Option<u64> {
    store.get(store.key(key), now, |item| item.cas_unique).ok()
}

fn arithmetic(store: &Store, key: Key<'_>, count: impl Into<Count>, now: Now) -> Arithmetic {
    store.count(key, &count.into(), now).0
}

/// A generator of numbers that are the same in every run.
fn numbers() -> impl FnMut() -> u64 {
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    move || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random
    }
}

/// How a form is configured, from a limit and a number of shards.
type Form = fn(u64, usize) -> StoreConfig;

/// Makes a test of each form out of a function that takes one.
macro_rules! in_both_forms {
    ($($name:ident,)+) => {
        mod exact_form {
            $(#[test] fn $name() { super::$name(super::exact); })+
        }
        mod log_form {
            $(#[test] fn $name() { super::$name(super::log); })+
        }
    };
}

mod dump;
mod limit;
mod model;
mod room;
mod rules;
mod threads;
