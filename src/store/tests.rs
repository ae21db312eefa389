//! The store against a naive model, and its rules one by one.

mod room;

use super::*;
use proptest::prelude::*;
use std::collections::HashMap;

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

in_both_forms! {
    numbers_stay_in_their_width_until_they_outgrow_it,
    a_flush_keeps_apart_what_one_tick_joins,
    without_cas_no_cas_matches,
    a_join_may_not_pass_the_item_size,
    without_evictions_the_dead_make_room_for_the_living,
    what_is_set_after_a_flush_is_there_whoever_else_is_busy,
    threads_never_pass_the_limit_nor_mix_values,
}

fn at(ms: u64) -> Now {
    Now { ms, unix_ms: 1_800_000_000_000 + ms }
}

fn write<'a>(store: &Store, mode: StoreMode, key: &'a [u8], value: &'a [u8]) -> Write<'a> {
    Write { mode, key: store.key(key), flags: 0, deadline: Deadline::NEVER, value }
}

fn set(store: &Store, key: &[u8], value: &[u8], now: Now) -> Stored {
    store.store(&write(store, StoreMode::Set, key, value), now)
}

fn value(store: &Store, key: &[u8], now: Now) -> Option<Vec<u8>> {
    store.get(store.key(key), None, now, |item| item.value.to_vec()).ok()
}

fn cas_unique(store: &Store, key: &[u8], now: Now) -> Option<u64> {
    store.get(store.key(key), None, now, |item| item.cas_unique).ok()
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
    assert_eq!(store.arithmetic(store.key(b"n"), Delta::Decr(1), at(0)), Arithmetic::Number(9));
    assert_eq!(value(&store, b"n", at(0)).as_deref(), Some(&b"9 "[..]));
    assert!(cas_unique(&store, b"n", at(0)) > first);
    assert_eq!(store.arithmetic(store.key(b"n"), Delta::Incr(91), at(0)), Arithmetic::Number(100));
    assert_eq!(value(&store, b"n", at(0)).as_deref(), Some(&b"100"[..]));
    assert_eq!(store.arithmetic(store.key(b"n"), Delta::Decr(101), at(0)), Arithmetic::Number(0));
    set(&store, b"n", b"18446744073709551615", at(0));
    assert_eq!(store.arithmetic(store.key(b"n"), Delta::Incr(2), at(0)), Arithmetic::Number(1));
    set(&store, b"n", b"x", at(0));
    assert_eq!(store.arithmetic(store.key(b"n"), Delta::Incr(2), at(0)), Arithmetic::NonNumeric);
    assert_eq!(
        store.arithmetic(store.key(b"m"), Delta::Incr(2), at(0)),
        Arithmetic::Miss(Miss::Absent)
    );
    store.validate();
}

fn a_flush_keeps_apart_what_one_tick_joins(form: Form) {
    let store = Store::new(&form(1 << 20, 4));
    set(&store, b"old", b"1", at(5));
    store.flush_all(Deadline::new(-1, at(5)), at(5));
    set(&store, b"new", b"1", at(5));
    assert_eq!(store.get(store.key(b"old"), None, at(5), |_| ()), Err(Miss::Flushed));
    assert_eq!(store.get(store.key(b"old"), None, at(5), |_| ()), Err(Miss::Absent));
    assert!(value(&store, b"new", at(5)).is_some());

    store.flush_all(Deadline::new(10, at(5)), at(5));
    store.flush_all(Deadline::new(20, at(5)), at(5));
    assert!(
        value(&store, b"new", at(20_004)).is_some(),
        "the later flush replaced the earlier one"
    );
    set(&store, b"late", b"1", at(20_004));
    assert_eq!(store.get(store.key(b"late"), None, at(20_005), |_| ()), Err(Miss::Flushed));
    set(&store, b"after", b"1", at(20_005));
    assert!(value(&store, b"after", at(20_005)).is_some());
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
        (Stored::NotStored, Stored::Stored, Stored::NotStored)
    );
    assert_eq!(value(&store, b"k", at(0)).map(|value| value.len()), Some(40));
}

fn shards() -> impl Strategy<Value = usize> {
    proptest::sample::select(vec![1_usize, 4])
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

/// What a client could do, on few keys so that state matters.
#[derive(Debug, Clone)]
enum Op {
    Store(StoreMode, u8, u16, i32),
    /// A cas with the unique that the model knows, or one beside it.
    Cas(u8, bool, u16),
    Get(u8),
    Touch(u8, i32),
    Delete(u8),
    Count(u8, Delta),
    Flush(i32),
    Wait(u16),
}

fn op() -> impl Strategy<Value = Op> {
    let key = 0..12_u8;
    let len = prop_oneof![0..40_u16, 0..3000_u16];
    let exptime = prop_oneof![Just(0), Just(-1), 1..4_i32];
    let mode = proptest::sample::select(vec![
        StoreMode::Set,
        StoreMode::Set,
        StoreMode::Add,
        StoreMode::Replace,
        StoreMode::Append,
        StoreMode::Prepend,
    ]);
    let delta = prop_oneof![(0..200_u64).prop_map(Delta::Incr), (0..200_u64).prop_map(Delta::Decr)];
    prop_oneof![
        6 => (mode, key.clone(), len.clone(), exptime.clone()).prop_map(|(m, k, l, e)| Op::Store(m, k, l, e)),
        2 => (key.clone(), any::<bool>(), len).prop_map(|(k, right, l)| Op::Cas(k, right, l)),
        4 => key.clone().prop_map(Op::Get),
        1 => (key.clone(), exptime).prop_map(|(k, e)| Op::Touch(k, e)),
        2 => key.clone().prop_map(Op::Delete),
        2 => (key, delta).prop_map(|(k, d)| Op::Count(k, d)),
        1 => (-1..3_i32).prop_map(Op::Flush),
        2 => (0..1500_u16).prop_map(Op::Wait),
    ]
}

/// What the model keeps for a key.
#[derive(Debug, Clone, PartialEq)]
struct Known {
    value: Vec<u8>,
    deadline: Deadline,
    cas_unique: u64,
}

/// The first word, where it is a number.
fn number_of(value: &[u8]) -> Option<u64> {
    std::str::from_utf8(value).expect("text").split_whitespace().next()?.parse().ok()
}

/// Digits where a length is short, so that counting has something to count.
fn value_of(len: u16) -> Vec<u8> {
    if len < 5 { vec![b'7'; usize::from(len)] } else { vec![b'x'; usize::from(len)] }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// With room for all: the store answers as the model does. Without: it may have forgotten, but
    /// never remembers what the model does not, and never passes the limit.
    #[test]
    fn random_operations_agree_with_a_naive_model(
        ops in proptest::collection::vec(op(), 1..120),
        (roomy, config) in prop_oneof![
            (0..2_usize, shards()).prop_map(|(form, shards)| (true, both(2 << 20, shards)[form])),
            (4_000..12_000_u64, shards()).prop_map(|(limit, shards)| (false, exact(limit, shards))),
            // A chunk of the index and one of the ghosts a shard, and little for items.
            (60_000..140_000_u64, shards()).prop_map(|(limit, shards)| (false, log(limit * shards as u64, shards))),
        ],
    ) {
        let limit_bytes = config.limit_bytes;
        let store = Store::new(&config);
        let mut model: HashMap<u8, Known> = HashMap::new();
        let mut pending_flush = Deadline::NEVER;
        let mut now = at(1);
        for op in ops {
            if pending_flush.is_due(now) {
                model.clear();
                pending_flush = Deadline::NEVER;
            }
            model.retain(|_, known| !known.deadline.is_due(now));
            // A store that evicted is asked what it still has; what it has must be right.
            let seen: Vec<u8> = model.keys().copied().collect();
            for key in seen {
                let read = store.get(store.key(&[key]), None, now, |item| (item.value.to_vec(), item.cas_unique));
                if let Ok(read) = read {
                    let known = &model[&key];
                    prop_assert_eq!(&read, &(known.value.clone(), known.cas_unique));
                } else {
                    prop_assert!(!roomy, "lost {}", key);
                    model.remove(&key);
                }
            }
            match op {
                Op::Wait(ms) => now = at(now.ms + u64::from(ms)),
                Op::Get(key) => {
                    prop_assert_eq!(value(&store, &[key], now), model.get(&key).map(|known| known.value.clone()));
                }
                Op::Touch(key, exptime) => {
                    let deadline = Deadline::new(exptime, now);
                    let hit = store.get(store.key(&[key]), Some(deadline), now, |_| ()).is_ok();
                    prop_assert_eq!(hit, model.contains_key(&key));
                    if let Some(known) = model.get_mut(&key) {
                        known.deadline = deadline;
                    }
                }
                Op::Delete(key) => prop_assert_eq!(store.delete(store.key(&[key]), now), model.remove(&key).is_some()),
                Op::Flush(delay) => {
                    let moment = Deadline::new(if delay == 0 { -1 } else { delay }, now);
                    store.flush_all(moment, now);
                    if moment.is_due(now) {
                        model.clear();
                        pending_flush = Deadline::NEVER;
                    } else {
                        pending_flush = moment;
                    }
                }
                Op::Count(key, delta) => {
                    let outcome = store.arithmetic(store.key(&[key]), delta, now);
                    match model.get_mut(&key) {
                        None => prop_assert!(matches!(outcome, Arithmetic::Miss(_))),
                        Some(known) => match number_of(&known.value) {
                            None => prop_assert_eq!(outcome, Arithmetic::NonNumeric),
                            Some(old) => {
                                let number = match delta {
                                    Delta::Incr(delta) => old.wrapping_add(delta),
                                    Delta::Decr(delta) => old.saturating_sub(delta),
                                };
                                prop_assert_eq!(outcome, Arithmetic::Number(number));
                                let width = known.value.len();
                                known.value = format!("{number:<width$}").into_bytes();
                                let unique = cas_unique(&store, &[key], now);
                                prop_assert!(unique > Some(known.cas_unique));
                                known.cas_unique = unique.expect("just counted");
                            }
                        },
                    }
                }
                Op::Store(mode, key, len, exptime) => {
                    check_write(&store, &mut model, mode, key, &value_of(len), exptime, now)?;
                }
                Op::Cas(key, right, len) => {
                    let unique = model.get(&key).map_or(1, |known| known.cas_unique + u64::from(!right));
                    check_write(&store, &mut model, StoreMode::Cas(unique), key, &value_of(len), 0, now)?;
                }
            }
            store.validate();
        }
        let stats = store.stats(now);
        prop_assert!(stats.charged_bytes <= limit_bytes);
        prop_assert!(!roomy || stats.evictions == 0);
    }
}

/// One storage command on the store and on the model.
fn check_write(
    store: &Store,
    model: &mut HashMap<u8, Known>,
    mode: StoreMode,
    key: u8,
    value: &[u8],
    exptime: i32,
    now: Now,
) -> Result<(), TestCaseError> {
    let deadline = Deadline::new(exptime, now);
    let key_bytes = [key];
    let outcome = store.store(&Write { deadline, ..write(store, mode, &key_bytes, value) }, now);
    let old = model.get(&key).cloned();
    let expected = match (mode, &old) {
        (StoreMode::Set, _) | (StoreMode::Add, None) | (StoreMode::Replace, Some(_)) => {
            Ok((value.to_vec(), deadline))
        }
        (StoreMode::Append, Some(old)) => Ok(([&old.value, value].concat(), old.deadline)),
        (StoreMode::Prepend, Some(old)) => Ok(([value, &old.value].concat(), old.deadline)),
        (StoreMode::Cas(unique), Some(old)) if unique == old.cas_unique => {
            Ok((value.to_vec(), deadline))
        }
        (StoreMode::Cas(_), Some(_)) => Err(Stored::Exists),
        (StoreMode::Cas(_), None) => Err(Stored::NotFound),
        (_, _) => Err(Stored::NotStored),
    };
    match expected {
        Err(refusal) => prop_assert_eq!(outcome, refusal),
        // Values that grew too long for a small store.
        Ok(_) if outcome == Stored::NoMemory && mode == StoreMode::Set => {
            model.remove(&key);
        }
        Ok((joined, _)) if outcome != Stored::Stored => {
            // A value that takes more than the limit, or so much of it that nothing else fits.
            let len = joined.len() as u64;
            prop_assert!(
                len * 2 > store.limit_bytes(),
                "refused {} of {}",
                len,
                store.limit_bytes()
            );
        }
        Ok((value, deadline)) => {
            if deadline.is_due(now) {
                model.remove(&key);
            } else {
                let unique = cas_unique(store, &key_bytes, now).expect("just stored");
                prop_assert!(old.is_none_or(|old| unique != old.cas_unique));
                model.insert(key, Known { value, deadline, cas_unique: unique });
            }
        }
    }
    Ok(())
}

fn what_is_set_after_a_flush_is_there_whoever_else_is_busy(form: Form) {
    let store = Store::new(&form(1 << 20, 1));
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !stop.load(Relaxed) {
                    store.arithmetic(store.key(b"k"), Delta::Incr(1), at(0));
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
                    let key = (random >> 33) % 5_000;
                    let value = [key.to_le_bytes(); 40].concat();
                    let now = at(round / 100);
                    match random >> 61 {
                        0..4 => assert_eq!(
                            set(store, &key.to_le_bytes(), &value[..8 * (1 + (random >> 40) as usize % 40)], now),
                            Stored::Stored
                        ),
                        4 => drop(store.delete(store.key(&key.to_le_bytes()), now)),
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
