//! Random operations on the store and on a naive model of it.

use super::*;
use proptest::prelude::*;
use std::collections::HashMap;

fn shards() -> impl Strategy<Value = usize> {
    proptest::sample::select(vec![1_usize, 4])
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
