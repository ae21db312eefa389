//! The store under several threads.

use super::*;
use std::sync::atomic::AtomicBool;

in_both_forms! {
    what_is_set_after_a_flush_is_there_whoever_else_is_busy,
    threads_never_pass_the_limit_nor_mix_values,
}

fn what_is_set_after_a_flush_is_there_whoever_else_is_busy(form: Form) {
    let store = Store::new(&form(1 << 20, 1));
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !stop.load(Relaxed) {
                    arithmetic(&store, store.key(b"k"), Delta::Incr(1), at(0));
                }
            });
        }
        for round in 0..20_000 {
            store.flush_all(Deadline::new(-1, at(0)), at(0));
            assert_eq!(set(&store, b"k", b"1", at(0)), Stored::Stored);
            assert!(value(&store, b"k", at(0)).is_some(), "round {round}");
        }
        stop.store(true, Relaxed);
    });
}

fn threads_never_pass_the_limit_nor_mix_values(form: Form) {
    let limit_bytes = 1_000_000;
    let store = Store::new(&form(limit_bytes, 8));
    std::thread::scope(|scope| {
        for thread in 0..4_u64 {
            let store = &store;
            scope.spawn(move || {
                let mut random = thread + 1;
                for round in 0..30_000_u64 {
                    random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    let key = (random >> 33) % 10_000;
                    let value = [key.to_le_bytes(); 40].concat();
                    let now = at(round / 100);
                    match random >> 61 {
                        0..4 => assert_eq!(
                            set(store, &key.to_le_bytes(), &value[..8 * (1 + (random >> 40) as usize % 40)], now),
                            Stored::Stored
                        ),
                        4 => drop(store.delete(store.key(&key.to_le_bytes()), None, now)),
                        _ => {
                            let read = self::value(store, &key.to_le_bytes(), now);
                            assert!(read.is_none_or(|read| value.starts_with(&read) && !read.is_empty()));
                        }
                    }
                    assert!(store.pool.budget.used() <= limit_bytes);
                }
            });
        }
    });
    store.validate();
    assert!(store.stats(at(300)).evictions > 0, "the limit was met");
}

/// Operations of each client, under each policy.
const ROUND_COUNT: u64 = 4_000;
/// Bytes of key and version before the rest of a value, which follows from both.
const SEAL_LEN: usize = 16;
/// Keys up to this one have values of one letter of their own, to which others may be joined.
const JOINED_MAX: u64 = 40;

/// A value that says whose it is. One that is too short for that is bytes of its key.
fn sealed(key: u64, version: u64, len: usize) -> Vec<u8> {
    let letter = b'a' + (key % 26) as u8;
    if key <= JOINED_MAX || len < SEAL_LEN {
        return vec![letter; len];
    }
    let mut word = (key << 32 | version).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut value = [key.to_le_bytes(), version.to_le_bytes()].concat();
    while value.len() < len {
        word = word.rotate_left(23).wrapping_add(0x2545_f491_4f6c_dd1d);
        value.extend_from_slice(&word.to_le_bytes());
        // In long values every word but one of 32 is the one before it: a test that only makes values is slow.
        let end = (value.len() + 248).min(len);
        value.resize(end.max(value.len()), word.to_le_bytes()[0]);
    }
    value.truncate(len);
    value
}

/// Whether a value is one that was stored under a key, whole.
fn is_of(key: u64, value: &[u8]) -> bool {
    let version = match value.get(8..SEAL_LEN) {
        Some(bytes) if key > JOINED_MAX => u64::from_le_bytes(bytes.try_into().expect("8 bytes")),
        Some(_) | None => 0,
    };
    value == sealed(key, version, value.len())
}

/// What one of several clients does, `round` by round, by numbers at random.
fn use_at_random(store: &Store, round: u64, mut next: impl FnMut() -> u64) {
    const LEN_MAX: [u64; 8] = [0, 20, 300, 300, 5_000, 5_000, 30_000, 200_000];
    let now = at(round);
    let number = if next().is_multiple_of(4) { next() % JOINED_MAX } else { next() % 2_000 };
    let key = number.to_le_bytes();
    let len = next() % (LEN_MAX[(next() % 8) as usize] + 1);
    let exptime = [0_i32, 0, 1, -1][(next() % 4) as usize];
    let check = |item: ItemView<'_>| {
        assert!(
            is_of(number, &item.value.to_vec()),
            "a value that was never stored under {number}"
        );
    };
    let modes = [StoreMode::Set, StoreMode::Set, StoreMode::Add, StoreMode::Replace];
    let joins = [StoreMode::Append, StoreMode::Prepend];
    let store_as = |mode, len: u64| {
        let value = sealed(number, round, usize::try_from(len).expect("64 bits"));
        let deadline = Deadline::new(exptime, now);
        store.store(
            &Write {
                mode,
                key: store.key(&key),
                flags: exptime.unsigned_abs(),
                deadline,
                value: &value,
                cas: Cas::default(),
                is_base64: false,
            },
            now,
        )
    };
    match next() % 16 {
        0..5 => {
            let outcome = store_as(modes[(next() % 4) as usize], len);
            assert!(
                matches!(outcome, Stored::Stored | Stored::Joined(_) | Stored::NotStored),
                "{outcome:?}"
            );
        }
        5 if number <= JOINED_MAX => drop(store_as(joins[(next() % 2) as usize], len)),
        5..7 => drop(store.delete(store.key(&key), None, now)),
        7 => drop(store.get_and_touch(store.key(&key), Deadline::new(exptime, now), now, check)),
        8 => drop(arithmetic(store, store.key(&key), Delta::Incr(1), now)),
        9 => {
            if let Ok(unique) = store.get(store.key(&key), now, |item| item.cas_unique) {
                store_as(StoreMode::Cas(unique), len);
            }
        }
        10 => {
            let read = store
                .get(store.key(&key), now, |item| Some((item.value.to_vec(), item.value.lend(1)?)));
            if let Ok(Some((value, loan))) = read {
                store_as(StoreMode::Set, len);
                if number <= JOINED_MAX {
                    store_as(joins[(next() % 2) as usize], next() % 5_000);
                }
                assert!(value.starts_with(&loan.parts().collect::<Vec<_>>().concat()));
            }
        }
        _ => {
            let burst: Vec<[u8; 8]> = (0..8).map(|step| (number + step).to_le_bytes()).collect();
            let mut keys: Vec<Key<'_>> = burst.iter().map(|key| store.key(key)).collect();
            store.prefetch(&mut keys.iter_mut().collect::<Vec<_>>());
            let _ = store.get(keys[0], now, check);
        }
    }
}

#[test]
fn nothing_is_read_that_was_not_stored_whatever_others_do() {
    for eviction in [Eviction::S3Fifo, Eviction::Lru, Eviction::Lfu] {
        let limit_bytes = 3_000_000;
        let store = Store::new(&StoreConfig { eviction, ..log(limit_bytes, 4) });
        let stop = AtomicBool::new(false);
        let round_count = AtomicU64::new(0);
        std::thread::scope(|scope| {
            let clients: Vec<_> = (1..5_u64)
                .map(|client| {
                    let (store, round_count) = (&store, &round_count);
                    scope.spawn(move || {
                        let mut next = numbers();
                        (0..client * 1000).for_each(|_| {
                            next();
                        });
                        for round in 0..ROUND_COUNT {
                            use_at_random(store, round, &mut next);
                            round_count.fetch_add(1, Relaxed);
                            assert!(store.pool.budget.used() <= limit_bytes);
                        }
                    })
                })
                .collect();
            let (store, stop, round_count) = (&store, &stop, &round_count);
            scope.spawn(move || {
                let mut flushed_at = 0;
                for step in 0.. {
                    // Ahead of the clients' clocks, so that sweeps find much to do.
                    store.maintain(at(step * 1000), false);
                    // Not so often that the clients cannot fill it in between.
                    if round_count.load(Relaxed) > flushed_at + 2 * ROUND_COUNT {
                        flushed_at = round_count.load(Relaxed);
                        store.flush_all(Deadline::new(-1, at(step)), at(step));
                    }
                    if stop.load(Relaxed) {
                        break;
                    }
                    std::thread::yield_now();
                }
            });
            let ends: Vec<_> =
                clients.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
            stop.store(true, Relaxed);
            assert!(ends.iter().all(Result::is_ok), "a client has failed");
        });
        store.validate();
        assert!(store.stats(at(0)).evictions > 0, "the limit was met");
    }
}
