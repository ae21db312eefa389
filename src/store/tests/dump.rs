//! Dumps: what they list, and how often, while the store changes.

use super::*;
use std::collections::HashMap;

in_both_forms!(each_item_is_listed_as_it_is, the_dead_are_not_listed,);

/// All steps of a dump; how often each key came. Calls `between` before each.
fn counts(store: &Store, now: Now, mut between: impl FnMut(u64)) -> HashMap<Vec<u8>, u32> {
    let mut counts = HashMap::new();
    let mut next = Some(Cursor::default());
    for step in 0.. {
        let Some(cursor) = next else { break };
        between(step);
        next = store.dump(cursor, now, |item| *counts.entry(item.key.to_vec()).or_default() += 1);
    }
    counts
}

fn each_item_is_listed_as_it_is(form: Form) {
    let store = Store::new(&form(1 << 20, 2));
    let written = Write {
        flags: 5,
        deadline: Deadline::new(100, at(1000)),
        ..write(&store, StoreMode::Set, b"a", b"value")
    };
    assert_eq!(store.store(&written, at(1000)), Stored::Stored);
    assert_eq!(set(&store, b"b", b"", at(2000)), Stored::Stored);
    let unique = cas_unique(&store, b"b", at(3000)).expect("it is there");
    let mut listed = Vec::new();
    let mut next = Some(Cursor::default());
    while let Some(cursor) = next {
        next = store.dump(cursor, at(9000), |item| {
            listed.push((
                (item.key.to_vec(), item.flags, item.deadline.unix_s(at(9000))),
                (item.value_len, item.size, item.idle_s, item.is_fetched),
                item.cas_unique,
            ));
        });
    }
    listed.sort();
    let a = (b"a".to_vec(), 5, Some(1_800_000_101));
    assert_eq!(listed[0], (a, (5, 59 + 4 + 1 + 5, 8, false), unique - 1));
    assert_eq!(listed[1], ((b"b".to_vec(), 0, None), (0, 59 + 1, 6, true), unique));
    assert_eq!(listed.len(), 2);
}

fn the_dead_are_not_listed(form: Form) {
    let store = Store::new(&form(1 << 20, 2));
    let short = Deadline::new(1, at(0));
    let short = Write { deadline: short, ..write(&store, StoreMode::Set, b"short", b"v") };
    store.store(&short, at(0));
    set(&store, b"long", b"v", at(0));
    assert_eq!(counts(&store, at(1000), |_| ()).len(), 2);
    assert_eq!(counts(&store, at(1001), |_| ()).into_keys().collect::<Vec<_>>(), [b"long"]);
    store.flush_all(Deadline::new(-1, at(1001)), at(1001));
    assert!(counts(&store, at(1001), |_| ()).is_empty());
}

/// Items that stay are listed once each, while others come and go, all are overwritten and the index grows by far.
#[test]
fn what_stays_is_listed_once() {
    const STAYING: u32 = 5_000;
    let store = Store::new(&log(64 << 20, 4));
    let key = |number: u32| format!("key{number}").into_bytes();
    for number in 0..STAYING {
        assert_eq!(set(&store, &key(number), b"value", at(0)), Stored::Stored);
    }
    let buckets = store.stats(at(0)).hash_buckets;
    let mut random = numbers();
    let mut random = |below: u64| u32::try_from(random() % below).expect("few");
    let mut last = STAYING;
    let counts = counts(&store, at(0), |_| {
        for _ in 0..400 {
            // New ones, some of them deleted again, and longer values for old ones.
            assert_eq!(set(&store, &key(last), b"v", at(0)), Stored::Stored);
            last += 1;
            if last.is_multiple_of(3) {
                store.delete(store.key(&key(last - 1)), None, at(0));
            }
            let value = vec![b'v'; random(300) as usize];
            assert_eq!(set(&store, &key(random(STAYING.into())), &value, at(0)), Stored::Stored);
        }
    });
    assert!(store.stats(at(0)).hash_buckets > 3 * buckets, "the index has grown");
    for number in 0..STAYING {
        assert_eq!(counts.get(&key(number)), Some(&1), "key{number}");
    }
    assert!(counts.values().all(|count| *count == 1), "nothing twice");
    store.validate();
}
