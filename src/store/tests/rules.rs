//! The rules of the store, one by one.

use super::*;

in_both_forms! {
    numbers_stay_in_their_width_until_they_outgrow_it,
    a_change_may_ask_for_a_cas_unique,
    a_count_may_begin_with_a_number,
    a_value_that_can_be_no_number_has_no_unique_to_differ,
    a_flush_keeps_apart_what_one_tick_joins,
    without_cas_no_cas_matches,
    a_join_may_not_pass_the_item_size,
    joining_nothing_needs_no_room,
    without_evictions_the_dead_make_room_for_the_living,
}

#[test]
fn the_least_recently_used_goes_first() {
    let one = exact_item::charge(1, 1);
    let store = Store::new(&exact(3 * one, 1));
    for key in [b"a", b"b", b"c"] {
        set(&store, key, b"1", at(0));
    }
    assert!(value(&store, b"a", at(0)).is_some());
    set(&store, b"d", b"1", at(0));
    let held: Vec<_> =
        [b"a", b"b", b"c", b"d"].iter().map(|key| value(&store, *key, at(0)).is_some()).collect();
    assert_eq!(held, [true, false, true, true]);
    let stats = store.stats(at(0));
    assert_eq!((stats.evictions, stats.evicted_unfetched, stats.curr_items), (1, 1, 3));
    store.validate();
}

#[test]
fn a_full_store_takes_room_from_other_shards() {
    // Room for one large value: whatever shard it meets, the others must give theirs.
    let limit = exact_item::charge(1, 500_000) + 10_000;
    let store = Store::new(&exact(limit, 8));
    for number in 0..10_000_u32 {
        assert_eq!(set(&store, &number.to_le_bytes(), b"small", at(0)), Stored::Stored);
    }
    for key in [b"a", b"b", b"c", b"d"] {
        assert_eq!(set(&store, key, &vec![7; 500_000], at(0)), Stored::Stored);
        assert_eq!(value(&store, key, at(0)).map(|value| value.len()), Some(500_000));
        store.validate();
    }
}

#[test]
fn one_large_value_is_not_stored_item_by_item() {
    let item_size = ItemSize { max: 32 << 20, ..ITEM_SIZE };
    let store = Store::new(&StoreConfig { item_size, ..exact(40 << 20, 16) });
    for number in 0..300_000_u32 {
        set(&store, &number.to_le_bytes(), b"s", at(0));
    }
    let before = store.stats(at(0)).curr_items;
    // In turns of one victim and one attempt this would copy 30 MB some ten thousand times.
    assert_eq!(set(&store, b"large", &vec![7; 30 << 20], at(0)), Stored::Stored);
    assert!(before > 150_000 && store.stats(at(0)).curr_items < before / 2);
    store.validate();
}

#[test]
fn without_evictions_a_full_store_refuses_and_set_removes() {
    let one = exact_item::charge(1, 1);
    let store = Store::new(&StoreConfig { evictions: false, ..exact(2 * one, 1) });
    set(&store, b"a", b"1", at(0));
    set(&store, b"b", b"1", at(0));
    assert_eq!(set(&store, b"c", b"1", at(0)), Stored::NoMemory);
    let wide = [b'1'; 1000];
    assert_eq!(
        store.store(&write(&store, StoreMode::Append, b"a", &wide), at(0)),
        Stored::NotStored
    );
    assert_eq!(
        store.store(&write(&store, StoreMode::Replace, b"a", &wide), at(0)),
        Stored::NoMemory
    );
    assert_eq!(value(&store, b"a", at(0)).as_deref(), Some(&b"1"[..]));
    assert_eq!(set(&store, b"a", b"2", at(0)), Stored::Stored, "the same size fits");
    assert_eq!(set(&store, b"a", &wide, at(0)), Stored::NoMemory);
    assert_eq!(value(&store, b"a", at(0)), None, "a stale value must not outlive its set");
    assert_eq!(store.stats(at(0)).evictions, 0);
    store.validate();
}

#[test]
fn a_dead_item_gives_its_room_without_an_eviction() {
    let one = exact_item::charge(1, 1);
    let store = Store::new(&StoreConfig { evictions: false, ..exact(2 * one, 1) });
    // One that lives stands before it.
    set(&store, b"z", b"1", at(0));
    let soon = Deadline::new(1, at(0));
    store.store(&Write { deadline: soon, ..write(&store, StoreMode::Set, b"a", b"1") }, at(0));
    assert_eq!(set(&store, b"b", b"1", at(999)), Stored::NoMemory);
    assert_eq!(set(&store, b"b", b"1", at(1998)), Stored::NoMemory, "looked a moment ago");
    assert_eq!(set(&store, b"b", b"1", at(1999)), Stored::Stored);
    let stats = store.stats(at(1999));
    assert_eq!((stats.reclaimed, stats.expired_unfetched, stats.evictions), (1, 1, 0));
}

fn numbers_stay_in_their_width_until_they_outgrow_it(form: Form) {
    let store = Store::new(&form(1 << 20, 1));
    set(&store, b"n", b"10", at(0));
    let first = cas_unique(&store, b"n", at(0));
    assert_eq!(arithmetic(&store, store.key(b"n"), Delta::Decr(1), at(0)), Arithmetic::Number(9));
    assert_eq!(value(&store, b"n", at(0)).as_deref(), Some(&b"9 "[..]));
    assert!(cas_unique(&store, b"n", at(0)) > first);
    assert_eq!(
        arithmetic(&store, store.key(b"n"), Delta::Incr(91), at(0)),
        Arithmetic::Number(100)
    );
    assert_eq!(value(&store, b"n", at(0)).as_deref(), Some(&b"100"[..]));
    assert_eq!(arithmetic(&store, store.key(b"n"), Delta::Decr(101), at(0)), Arithmetic::Number(0));
    set(&store, b"n", b"18446744073709551615", at(0));
    assert_eq!(arithmetic(&store, store.key(b"n"), Delta::Incr(2), at(0)), Arithmetic::Number(1));
    set(&store, b"n", b"x", at(0));
    assert_eq!(arithmetic(&store, store.key(b"n"), Delta::Incr(2), at(0)), Arithmetic::NonNumeric);
    assert_eq!(
        arithmetic(&store, store.key(b"m"), Delta::Incr(2), at(0)),
        Arithmetic::Miss(Miss::Absent)
    );
    store.validate();
}

fn a_value_that_can_be_no_number_has_no_unique_to_differ(form: Form) {
    let store = Store::new(&form(4 << 20, 1));
    let count = Count { cas: Cas { expected: Some(u64::MAX), new: None }, ..Delta::Incr(1).into() };
    let longest = 512 * 1024 - usize::try_from(ITEM_SIZE.header_len).expect("small") - 1;
    for (len, outcome) in [
        (0, Arithmetic::NonNumeric),
        (1, Arithmetic::Exists),
        (longest, Arithmetic::Exists),
        (longest + 1, Arithmetic::NonNumeric),
    ] {
        set(&store, b"n", &vec![b'7'; len], at(0));
        assert_eq!(arithmetic(&store, store.key(b"n"), count, at(0)), outcome, "{len}");
    }
    store.validate();
}

fn a_change_may_ask_for_a_cas_unique(form: Form) {
    let store = Store::new(&form(1 << 20, 1));
    set(&store, b"k", b"5", at(0));
    let key = store.key(b"k");
    let unique = || cas_unique(&store, b"k", at(0)).expect("it is there");
    let asking = |expected| Cas { expected: Some(expected), new: None };
    for wrong in [0, unique() + 1] {
        let cas = asking(wrong);
        for mode in [StoreMode::Append, StoreMode::Prepend, StoreMode::Set, StoreMode::Replace] {
            let outcome = store.store(&Write { cas, ..write(&store, mode, b"k", b"1") }, at(0));
            assert_eq!(outcome, Stored::Exists);
        }
        let count = Count { cas, ..Delta::Incr(1).into() };
        assert_eq!(arithmetic(&store, key, count, at(0)), Arithmetic::Exists);
        assert_eq!(store.delete(key, Some(wrong), at(0)), Deleted::Exists);
    }
    assert_eq!(value(&store, b"k", at(0)).as_deref(), Some(&b"5"[..]));
    let new = store.next_cas_unique();
    let cas = Cas { expected: Some(unique()), new: Some(new) };
    let joined = store.store(&Write { cas, ..write(&store, StoreMode::Append, b"k", b"1") }, at(0));
    assert_eq!((joined, unique()), (Stored::Joined(2), new));
    let cas = Cas { expected: Some(new), new: Some(store.next_cas_unique()) };
    let count = Count { cas, ..Delta::Incr(1).into() };
    assert_eq!(arithmetic(&store, key, count, at(0)), Arithmetic::Number(52));
    assert_eq!(Some(unique()), cas.new);
    assert_eq!(store.delete(key, cas.new, at(0)), Deleted::Deleted);
    assert_eq!(store.delete(key, cas.new, at(0)), Deleted::NotFound);
    store.validate();
}

fn a_count_may_begin_with_a_number(form: Form) {
    let store = Store::new(&form(1 << 20, 1));
    let key = store.key(b"n");
    let deadline = Deadline::new(2, at(0));
    let initial = Some(Initial { number: 7, deadline });
    let cas = Cas { expected: Some(1), new: Some(store.next_cas_unique()) };
    let count = Count { cas, initial, ..Delta::Incr(3).into() };
    assert_eq!(arithmetic(&store, key, count, at(0)), Arithmetic::Created);
    assert_eq!(value(&store, b"n", at(0)).as_deref(), Some(&b"7"[..]));
    assert_eq!(cas_unique(&store, b"n", at(0)), cas.new);
    let count = Count { cas: Cas::default(), ..count };
    assert_eq!(arithmetic(&store, key, count, at(0)), Arithmetic::Number(10));
    assert_eq!(arithmetic(&store, key, count, at(2001)), Arithmetic::Created);
    assert_eq!(store.stats(at(2001)).curr_items, 1);
    store.validate();
}

fn a_flush_keeps_apart_what_one_tick_joins(form: Form) {
    let store = Store::new(&form(1 << 20, 4));
    set(&store, b"old", b"1", at(5));
    store.flush_all(Deadline::new(-1, at(5)), at(5));
    set(&store, b"new", b"1", at(5));
    assert_eq!(store.get(store.key(b"old"), at(5), |_| ()), Err(Miss::Flushed));
    assert_eq!(store.get(store.key(b"old"), at(5), |_| ()), Err(Miss::Absent));
    assert!(value(&store, b"new", at(5)).is_some());

    store.flush_all(Deadline::new(10, at(5)), at(5));
    store.flush_all(Deadline::new(20, at(5)), at(5));
    assert!(
        value(&store, b"new", at(20_005)).is_some(),
        "the later flush replaced the earlier one"
    );
    set(&store, b"late", b"1", at(20_005));
    assert_eq!(store.get(store.key(b"late"), at(20_006), |_| ()), Err(Miss::Flushed));
    set(&store, b"after", b"1", at(20_006));
    assert!(value(&store, b"after", at(20_006)).is_some());
}

fn without_cas_no_cas_matches(form: Form) {
    let store = Store::new(&StoreConfig { cas: false, ..form(1 << 20, 1) });
    set(&store, b"k", b"1", at(0));
    assert_eq!(cas_unique(&store, b"k", at(0)), Some(0));
    for unique in [0, 1] {
        let outcome = store.store(&write(&store, StoreMode::Cas(unique), b"k", b"2"), at(0));
        assert_eq!(outcome, Stored::Exists);
    }
    assert_eq!(store.store(&write(&store, StoreMode::Cas(1), b"x", b"2"), at(0)), Stored::NotFound);
}

fn a_join_may_not_pass_the_item_size(form: Form) {
    let item_size = ItemSize { max: 100, ..ITEM_SIZE };
    let store = Store::new(&StoreConfig { item_size, ..form(1 << 20, 1) });
    set(&store, b"k", &[b'x'; 20], at(0));
    // 59 + 1 + 20 + 20 = 100.
    let join = |len| store.store(&write(&store, StoreMode::Append, b"k", &vec![b'y'; len]), at(0));
    assert_eq!(
        (join(21), join(20), join(1)),
        (Stored::NotStored, Stored::Joined(40), Stored::NotStored)
    );
    assert_eq!(value(&store, b"k", at(0)).map(|value| value.len()), Some(40));
}

fn joining_nothing_needs_no_room(form: Form) {
    for value_len in [100, 100_000] {
        let store = Store::new(&StoreConfig { evictions: false, ..form(1 << 20, 2) });
        let keys = (0_u64..).map(u64::to_le_bytes);
        let bytes = vec![b'v'; value_len];
        let is_stored = |key: &[u8; 8]| set(&store, key, &bytes, at(0)) == Stored::Stored;
        for key in keys.take_while(is_stored).collect::<Vec<_>>() {
            for mode in [StoreMode::Append, StoreMode::Prepend] {
                let before = cas_unique(&store, &key, at(0));
                let joined = store.store(&write(&store, mode, &key, b""), at(0));
                assert_eq!(joined, Stored::Joined(value_len));
                assert!(cas_unique(&store, &key, at(0)) > before);
            }
            assert_eq!(value(&store, &key, at(0)).as_deref(), Some(&bytes[..]));
        }
        store.validate();
    }
}

fn without_evictions_the_dead_make_room_for_the_living(form: Form) {
    let store = Store::new(&StoreConfig { evictions: false, ..form(1 << 20, 2) });
    let value = [b'v'; 100];
    // Some that live stand before those that die.
    for number in 0..200_u64 {
        set(&store, &number.to_le_bytes(), &value, at(0));
    }
    let soon = Deadline::new(1, at(0));
    let mut number = 1000_u64;
    let refused = loop {
        number += 1;
        let key = number.to_le_bytes();
        let dying = Write { deadline: soon, ..write(&store, StoreMode::Set, &key, &value) };
        if store.store(&dying, at(0)) != Stored::Stored {
            break number;
        }
    };
    assert_eq!(store.stats(at(0)).evictions, 0);
    for number in 0..refused - 1200 {
        let key = (1_000_000 + number).to_le_bytes();
        assert_eq!(set(&store, &key, &value, at(2000)), Stored::Stored, "{number}");
    }
    for number in 0..200_u64 {
        assert!(self::value(&store, &number.to_le_bytes(), at(2000)).is_some(), "{number}");
    }
    assert_eq!(store.stats(at(2000)).evictions, 0);
    store.validate();
}

#[test]
fn overwritten_keys_stay_while_there_is_room_for_what_lives() {
    // A log fills with dead versions; living items must not be thrown out for them.
    let item_size = ITEM_SIZE;
    let store = Store::new(&StoreConfig::for_limit(8 << 20, item_size));
    let mut next = numbers();
    let key_count = 45_000_u64;
    for round in 0..10 * key_count {
        let key = if round < key_count { round } else { next() % key_count };
        let value = vec![b'v'; 40 + (next() % 81) as usize];
        assert_eq!(set(&store, &key.to_le_bytes(), &value, at(0)), Stored::Stored);
    }
    let stats = store.stats(at(0));
    let live_percent = (stats.live_bytes + stats.index_bytes) * 100 / (8 << 20);
    assert!((60..76).contains(&live_percent), "{live_percent} % of the limit lives");
    assert_eq!((stats.curr_items, stats.evictions), (key_count, 0));
    store.validate();
}

#[test]
fn sizes_that_drift_leave_no_memory_behind() {
    let store = Store::new(&StoreConfig::for_limit(16 << 20, ITEM_SIZE));
    let mut next = numbers();
    let mut number = 0_u64;
    for value_len in [64, 1_000, 16_000, 250_000, 16_000, 64] {
        // Three times what fits.
        for _ in 0..3 * (16 << 20) / (value_len + 100) {
            number += 1;
            let len = value_len / 2 + usize::try_from(next()).expect("64 bits") % value_len;
            assert_eq!(set(&store, &number.to_le_bytes(), &vec![b'v'; len], at(0)), Stored::Stored);
        }
        let stats = store.stats(at(0));
        let held = stats.live_bytes + stats.large_bytes + stats.index_bytes + stats.ghost_bytes;
        let percent = held * 100 / (16 << 20);
        assert!(percent >= 80, "{percent} % in use with values of {value_len}: {stats:?}");
        store.validate();
    }
}

#[test]
fn what_is_read_survives_a_scan() {
    let store = Store::new(&StoreConfig::for_limit(4 << 20, ITEM_SIZE));
    let value = [b'v'; 100];
    let hot: Vec<[u8; 8]> = (0..5_000_u64).map(u64::to_le_bytes).collect();
    for key in &hot {
        set(&store, key, &value, at(0));
    }
    let read =
        |store: &Store| hot.iter().filter(|key| self::value(store, *key, at(0)).is_some()).count();
    assert_eq!(read(&store), hot.len());
    // Five times what fits, each key once: exact LRU would keep none of the others.
    for number in 1_000_000..1_150_000_u64 {
        set(&store, &number.to_le_bytes(), &value, at(0));
    }
    let kept = read(&store);
    assert!(kept > hot.len() * 9 / 10, "{kept} of {}", hot.len());
}

/// Stores so many items more, a few at a time, and reads the newest ones after each few, so that all are read again and
/// again while they are there; how many of the newest ones were.
fn set_and_read_all(store: &Store, stored: &mut u64, more_count: u64) -> usize {
    let (step, newest) = (500, 24_000);
    let mut kept_count = 0;
    for _ in 0..more_count / step {
        for number in *stored..*stored + step {
            set(store, &number.to_le_bytes(), &[b'v'; 100], at(0));
        }
        *stored += step;
        let is_kept = |number: &u64| value(store, &number.to_le_bytes(), at(0)).is_some();
        kept_count = (stored.saturating_sub(newest)..*stored).filter(is_kept).count();
    }
    kept_count
}

#[test]
fn where_all_is_read_again_and_again_the_oldest_go_and_little_is_copied() {
    let store = Store::new(&StoreConfig::for_limit(4 << 20, ITEM_SIZE));
    let mut stored = 0;
    set_and_read_all(&store, &mut stored, 50_000);
    let before = store.stats(at(0));
    let kept_count = set_and_read_all(&store, &mut stored, 50_000);
    let after = store.stats(at(0));
    assert!(after.curr_items > 23_000 && kept_count > 22_000, "{kept_count}: {after:?}");
    let copied_len = (after.moved_bytes - before.moved_bytes) / 50_000;
    assert!(copied_len < 130 / 4, "{copied_len} bytes copied for a set");
}

#[test]
fn what_is_dead_gives_its_memory_back_without_being_read() {
    let store = Store::new(&StoreConfig::for_limit(4 << 20, ITEM_SIZE));
    let soon = Deadline::new(3, at(0));
    for number in 0..20_000_u64 {
        let key = number.to_le_bytes();
        let deadline = if number % 4 == 0 { Deadline::NEVER } else { soon };
        let write = Write { deadline, ..write(&store, StoreMode::Set, &key, &[b'v'; 100]) };
        assert_eq!(store.store(&write, at(0)), Stored::Stored);
    }
    let before = store.stats(at(0));
    store.maintain(at(2_999), false);
    assert_eq!(store.stats(at(2_999)).curr_items, 20_000, "nothing dies early");
    // The first look at a segment is not before 20 s have passed since it was begun.
    store.maintain(at(25_000), false);
    let after = store.stats(at(25_000));
    assert_eq!((after.curr_items, after.reclaimed, after.evictions), (5_000, 15_000, 0));
    assert!(after.sweeps > 0);
    let in_use = |stats: &StoreStats| stats.segment_bytes - stats.segment_free_bytes;
    assert!(in_use(&after) < in_use(&before) / 2, "{after:?}");
    store.validate();

    store.flush_all(Deadline::new(-1, at(26_000)), at(26_000));
    store.maintain(at(50_000), false);
    let flushed = store.stats(at(50_000));
    assert_eq!((flushed.curr_items, flushed.live_bytes), (0, 0));
    store.validate();
}
