//! A limit that changes while the store is in use.

use super::*;
use std::collections::HashMap;

in_both_forms!(less_is_given_up_and_more_is_used,);

fn shrink_all(store: &Store, now: Now) -> Shrunk {
    loop {
        let shrunk = store.shrink(now);
        if shrunk != Shrunk::Unfinished {
            return shrunk;
        }
    }
}

fn key(number: u32) -> Vec<u8> {
    format!("key{number}").into_bytes()
}

fn fill(store: &Store, numbers: std::ops::Range<u32>, len: usize) {
    for number in numbers {
        assert_eq!(set(store, &key(number), &vec![b'v'; len], at(0)), Stored::Stored);
    }
}

fn less_is_given_up_and_more_is_used(form: Form) {
    for len in [10, 1000, 20_000] {
        let store = Store::new(&form(16 << 20, 4));
        let count = u32::try_from((32 << 20) / (len + 50)).expect("few");
        fill(&store, 0..count, len);
        assert_eq!(store.shrink(at(0)), Shrunk::Enough);
        store.set_limit(2 << 20);
        assert_eq!(store.limit_bytes(), 2 << 20);
        assert_eq!(shrink_all(&store, at(0)), Shrunk::Enough);
        store.validate();
        let small = store.stats(at(0));
        assert!((3 << 19..=2 << 20).contains(&small.charged_bytes), "{len}: {small:?}");
        fill(&store, 0..1000, len);
        store.validate();
        assert!(store.stats(at(0)).charged_bytes <= 2 << 20);
        store.set_limit(24 << 20);
        fill(&store, 0..count, len);
        store.validate();
        let large = store.stats(at(0));
        assert!(large.charged_bytes > 20 << 20 && large.charged_bytes <= 24 << 20, "{large:?}");
    }
}

#[test]
fn tables_shrink_with_the_items() {
    let store = Store::new(&log(32 << 20, 4));
    fill(&store, 0..600_000, 0);
    let before = store.stats(at(0));
    assert!(before.index_bytes + before.ghost_bytes > 4 << 20, "{before:?}");
    store.set_limit(2 << 20);
    assert_eq!(shrink_all(&store, at(0)), Shrunk::Enough);
    store.validate();
    let after = store.stats(at(0));
    assert!(after.index_bytes + after.ghost_bytes < 1 << 20, "{after:?}");
    assert!(after.curr_items > 10_000, "{after:?}");
    fill(&store, 0..600_000, 0);
    store.validate();
}

#[test]
fn where_nothing_may_be_evicted_only_the_dead_are_given_up() {
    let store = Store::new(&StoreConfig { evictions: false, ..log(16 << 20, 2) });
    fill(&store, 0..10_000, 1000);
    store.set_limit(4 << 20);
    assert_eq!(shrink_all(&store, at(0)), Shrunk::Stuck);
    assert_eq!(store.stats(at(0)).curr_items, 10_000);
    assert_eq!(set(&store, b"new", &vec![b'v'; 100_000], at(0)), Stored::NoMemory);
    for number in 0..9_000 {
        assert_eq!(store.delete(store.key(&key(number)), None, at(0)), Deleted::Deleted);
    }
    assert_eq!(shrink_all(&store, at(0)), Shrunk::Enough);
    store.validate();
    assert_eq!(store.stats(at(0)).curr_items, 1_000);
    assert_eq!(set(&store, b"new", &vec![b'v'; 100_000], at(0)), Stored::Stored);
}

/// What is there from the first step to the last is listed once, also where the index shrinks in between.
#[test]
fn dumps_go_on_while_it_shrinks() {
    let store = Store::new(&log(16 << 20, 2));
    fill(&store, 0..150_000, 20);
    store.set_limit(2 << 20);
    let buckets = store.stats(at(0)).hash_buckets;
    let mut counts = HashMap::<Vec<u8>, u32>::new();
    let mut next = Some(Cursor::default());
    while let Some(cursor) = next {
        store.shrink(at(0));
        next = store.dump(cursor, at(0), |item| *counts.entry(item.key.to_vec()).or_default() += 1);
    }
    assert_eq!(store.shrink(at(0)), Shrunk::Enough);
    assert!(store.stats(at(0)).hash_buckets < buckets / 2, "it has shrunk");
    let left = (0..150_000).filter(|number| value(&store, &key(*number), at(0)).is_some());
    let left: Vec<u32> = left.collect();
    assert!(left.len() > 10_000);
    assert!(left.iter().all(|number| counts.get(&key(*number)) == Some(&1)));
    assert!(counts.values().all(|count| *count == 1));
}

#[test]
fn threads_may_go_on_while_it_shrinks_and_grows() {
    let store = Store::new(&log(16 << 20, 4));
    std::thread::scope(|scope| {
        for thread in 0..2 {
            let store = &store;
            scope.spawn(move || {
                for number in 0..100_000 {
                    let key = key(number * 2 + thread);
                    set(store, &key, &vec![b'v'; number as usize % 300], at(0));
                    if let Some(value) = value(store, &key, at(0)) {
                        assert_eq!(value.len(), number as usize % 300);
                    }
                }
            });
        }
        for round in 0..40_u64 {
            store.set_limit((2 + round % 3 * 7) << 20);
            shrink_all(&store, at(0));
        }
    });
    store.set_limit(3 << 20);
    assert_eq!(shrink_all(&store, at(0)), Shrunk::Enough);
    store.validate();
}
