//! What a store promises of its memory: while what lives leaves room, nothing is evicted and nothing refused,
//! whatever sizes come and however they drift.
#![expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "lengths are small"
)]

use super::*;
use std::collections::VecDeque;

/// With less than this living, in percent of the limit, there is room.
const ROOM_PERCENT: u64 = 90;
/// The largest value, in bytes.
const VALUE_LEN_MAX: usize = (1 << 20) - 100;
/// What an item takes besides its value, in bytes: key, head and so much that index and ghosts may grow for it.
const ITEM_OVERHEAD: u64 = 48 + 3 * 256 * 64;

/// What lives, and what it takes to find it, in bytes.
fn living_len(store: &Store) -> u64 {
    let stats = store.stats(at(0));
    stats.live_bytes + stats.large_bytes + stats.index_bytes + stats.ghost_bytes
}

fn living_percent(store: &Store) -> u64 {
    living_len(store) * 100 / store.limit_bytes()
}

/// Random numbers below an end; the same for the same seed.
fn numbers_from(seed: u64) -> impl FnMut(u64) -> u64 {
    let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    move |end| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % end
    }
}

/// How sizes come.
#[derive(Debug, Clone, Copy)]
struct Mix {
    limit_bytes: u64,
    shard_count: usize,
    /// The lengths of values that a drift goes between, in bytes.
    ends: (f64, f64),
    /// As much is written from one end to the other and back, in multiples of the limit.
    period: u64,
    /// Of a hundred writes, so many go to a key that is there.
    overwrites: u64,
    /// What is deleted to make room: the oldest keys, else any.
    oldest_first: bool,
    seed: u64,
}

impl Mix {
    /// One of 72.
    fn new(limit_mib: u64, seed: u64) -> Self {
        let config = StoreConfig::for_limit(limit_mib << 20, ITEM_SIZE);
        let ends = [(1.0, 1e6), (64.0, 262_144.0), (16.0, 4096.0), (512.0, 1e6)];
        Self {
            limit_bytes: config.limit_bytes,
            shard_count: config.shard_count,
            ends: ends[(seed % 4) as usize],
            period: [1, 3, 6][(seed / 4 % 3) as usize],
            overwrites: [0, 30, 80][(seed / 12 % 3) as usize],
            oldest_first: (seed / 36).is_multiple_of(2),
            seed: seed + 1,
        }
    }

    /// The middle of the lengths that come when so much was written: as much is written at each doubling of it.
    fn middle(self, written_len: u64) -> f64 {
        let turn = (written_len as f64 / (self.period * self.limit_bytes) as f64).fract();
        let (from, to) = (self.ends.0.log2(), self.ends.1.log2());
        (from + (to - from) * (1.0 - (2.0 * turn - 1.0).abs())).exp2()
    }

    /// Writes twelve times the limit, and deletes so that there always is room.
    fn run(self) {
        let config = StoreConfig::for_limit(self.limit_bytes, ITEM_SIZE);
        let store = Store::new(&StoreConfig { shard_count: self.shard_count, ..config });
        let room = self.limit_bytes * ROOM_PERCENT / 100;
        let bytes = vec![b'v'; VALUE_LEN_MAX];
        let mut below = numbers_from(self.seed);
        let mut living: VecDeque<(u64, usize)> = VecDeque::new();
        let (mut written_len, mut validated, mut number) = (0, 0, 0_u64);
        while written_len < 12 * self.limit_bytes {
            let spread = (below(2001) as f64 / 1000.0 - 1.0).exp2();
            let len = ((self.middle(written_len) * spread) as usize).min(VALUE_LEN_MAX);
            let needed = len as u64 + ITEM_OVERHEAD;
            written_len += needed;
            while living_len(&store) + needed >= room {
                let place = if self.oldest_first { 0 } else { below(living.len() as u64) };
                let (key, _) = living.swap_remove_front(place as usize).expect("something lives");
                assert_eq!(
                    store.delete(store.key(&key.to_le_bytes()), None, at(0)),
                    Deleted::Deleted,
                    "{key} of {self:?}"
                );
            }
            let place = below(living.len() as u64 + 1) as usize;
            let key = match living.get_mut(place) {
                Some((key, old_len)) if below(100) < self.overwrites => {
                    *old_len = len;
                    *key
                }
                _ => {
                    number += 1;
                    living.push_back((number, len));
                    number
                }
            };
            let percent = living_percent(&store);
            let stored = set(&store, &key.to_le_bytes(), &bytes[..len], at(0));
            let stats = store.stats(at(0));
            assert_eq!(
                (stored, stats.evictions),
                (Stored::Stored, 0),
                "{len} bytes to {percent} % that live, {written_len} were written: {self:?} {stats:?}"
            );
            if written_len > validated + self.limit_bytes {
                validated = written_len;
                store.validate();
            }
        }
        for (key, len) in living {
            let held = store.get(store.key(&key.to_le_bytes()), at(0), |item| item.value.len());
            assert_eq!(held, Ok(len), "{key} of {self:?}");
        }
        store.validate();
    }
}

#[test]
fn nothing_is_evicted_while_there_is_room() {
    for (limit_mib, step) in [(4, 1), (16, 5), (64, 7)] {
        for seed in (0..72).step_by(step) {
            Mix::new(limit_mib, seed).run();
        }
    }
}

#[test]
fn one_shard_evicts_nothing_while_there_is_room() {
    for (limit_mib, step) in [(4, 1), (16, 5)] {
        for seed in (0..72).step_by(step) {
            Mix { shard_count: 1, ..Mix::new(limit_mib, seed) }.run();
        }
    }
}

/// A store in which one shard has no dead bytes and the others have nothing else; less than a third of it lives.
fn lopsided() -> Store {
    let store = Store::new(&StoreConfig::for_limit(4 << 20, ITEM_SIZE));
    let mut count = 0_u64;
    while living_percent(&store) < 88 {
        count += 1;
        assert_eq!(set(&store, &count.to_le_bytes(), &[b'v'; 100], at(0)), Stored::Stored);
    }
    for key in (1..=count).map(u64::to_le_bytes) {
        if store.home(store.key(&key)) != 0 {
            assert_eq!(store.delete(store.key(&key), None, at(0)), Deleted::Deleted);
        }
    }
    assert_eq!(store.stats(at(0)).evictions, 0);
    store
}

/// New keys of the shard that has no dead bytes.
fn keys_of_the_first(store: &Store) -> impl Iterator<Item = [u8; 8]> {
    let keys = (1_000_000_u64..).map(u64::to_le_bytes);
    keys.filter(|key| store.home(store.key(key)) == 0)
}

#[test]
fn what_is_dead_in_other_shards_goes_before_what_lives() {
    let store = lopsided();
    for key in keys_of_the_first(&store) {
        assert_eq!(set(&store, &key, &[b'v'; 100], at(0)), Stored::Stored);
        let percent = living_percent(&store);
        assert_eq!(store.stats(at(0)).evictions, 0, "{percent} % live");
        if percent > 80 {
            break;
        }
    }
}

#[test]
fn what_is_dead_in_other_shards_makes_room_for_a_large_value() {
    let store = lopsided();
    let key = keys_of_the_first(&store).next().expect("there are many");
    assert_eq!(set(&store, &key, &vec![b'v'; 700_000], at(0)), Stored::Stored);
    assert_eq!(store.stats(at(0)).evictions, 0, "{} % live", living_percent(&store));
}

#[test]
fn overwritten_keys_stay_where_they_just_fit() {
    let limit_bytes = 16 << 20;
    let new = || Store::new(&StoreConfig::for_limit(limit_bytes, ITEM_SIZE));
    let mut below = numbers_from(1);
    let mut write = |store: &Store, key: u64| {
        let value = [b'v'; 120];
        let len = 40 + below(81) as usize;
        assert_eq!(set(store, &key.to_le_bytes(), &value[..len], at(0)), Stored::Stored);
    };
    let store = new();
    let mut key_count = 0;
    while store.stats(at(0)).evictions == 0 {
        write(&store, key_count);
        key_count += 1;
    }
    let store = new();
    (0..key_count).for_each(|key| write(&store, key));
    let mut any = numbers_from(2);
    (0..10 * key_count).for_each(|_| write(&store, any(key_count)));
    store.validate();
    let kept_count = store.stats(at(0)).curr_items;
    let percent = kept_count as f64 * 100.0 / key_count as f64;
    assert!(percent >= 97.0, "{percent:.2} % of {key_count} keys kept");
}

#[test]
fn maintenance_evicts_nothing() {
    let store = Store::new(&StoreConfig::for_limit(4 << 20, ITEM_SIZE));
    for number in 0..20_000_u64 {
        set(&store, &number.to_le_bytes(), &[b'v'; 60], at(0));
    }
    let percent = living_percent(&store);
    // Some segments in a row are all but dead, which is little of the whole.
    for number in 10_000..10_400_u64 {
        store.delete(store.key(&number.to_le_bytes()), None, at(0));
    }
    store.maintain(at(0), false);
    assert_eq!(store.stats(at(0)).evictions, 0, "{percent} % live");
    assert_eq!(store.stats(at(0)).curr_items, 19_600);
}

/// As much is read under one hold of the lock, in bytes, before what was begun is ended.
const HOLD_LEN: u64 = 64 * 1024;

#[test]
fn dead_items_are_searched_for_a_little_at_a_time() {
    let config = StoreConfig { evictions: false, ..log(4 << 20, 1) };
    let store = Store::new(&config);
    let soon = Deadline::new(1, at(0));
    // So little dies that no segment is worth compacting.
    for number in 0_u64.. {
        let key = number.to_le_bytes();
        let (deadline, len) =
            if number.is_multiple_of(64) { (soon, 1) } else { (Deadline::NEVER, 100) };
        let write = Write { deadline, ..write(&store, StoreMode::Set, &key, &[b'v'; 100][..len]) };
        if store.store(&write, at(0)) != Stored::Stored {
            break;
        }
    }
    let before = store.stats(at(0));
    let segment_count = before.segment_bytes / config.segment_len as u64;
    let (mut hold_count, mut swept_count) = (0, 0);
    loop {
        let Shard::Log(log) = &mut *store.shard(0) else { unreachable!("it is of logs") };
        let reclaimed = log.free(false, store.moment(at(2_000)), &store.pool);
        let sweeps = log.stats(at(2_000), &store.pool).sweeps;
        assert!((sweeps - swept_count) * config.segment_len as u64 <= 2 * HOLD_LEN);
        (hold_count, swept_count) = (hold_count + 1, sweeps);
        match reclaimed {
            Reclaimed::Paused => {}
            Reclaimed::Nothing => break,
            Reclaimed::Segment(_) => unreachable!("nothing can come free"),
        }
    }
    assert!(hold_count * HOLD_LEN > 1 << 20, "{hold_count} holds");
    assert!(swept_count <= segment_count, "{swept_count} sweeps of {segment_count} segments");
    let after = store.stats(at(2_000));
    assert!(after.reclaimed > 300, "{after:?}");
    assert_eq!((after.curr_items + after.reclaimed, after.evictions), (before.curr_items, 0));
    store.validate();
}

/// Records nearly as long as segments: most segments hold parts of two, and no single one of those is free when one of
/// the two dies.
#[test]
fn room_between_long_records_is_used() {
    let segment_len = 65_536;
    let patterns = [(2, 1), (4, 2), (6, 3), (3, 1), (3, 2)];
    let lens = [65_000, 60_000, 40_000, 20_000];
    for (number, evictions) in
        (0..patterns.len() * lens.len()).zip([true, false].into_iter().cycle())
    {
        let (len, (pattern_len, kept_len)) =
            (lens[number % lens.len()], patterns[number / lens.len()]);
        let config = StoreConfig { segment_len, evictions, ..log(12 << 20, 1) };
        let store = Store::new(&config);
        let value = vec![7; len];
        let mut stored = Vec::new();
        // Until it is three quarters full of what lives.
        while living_percent(&store) < 75 {
            let key = stored.len().to_be_bytes();
            assert_eq!(set(&store, &key, &value, at(0)), Stored::Stored);
            stored.push(key);
        }
        let (kept, dead): (Vec<[u8; 8]>, Vec<[u8; 8]>) = stored
            .iter()
            .copied()
            .partition(|key| usize::from_be_bytes(*key) % pattern_len < kept_len);
        for key in &dead {
            assert_eq!(store.delete(store.key(key), None, at(0)), Deleted::Deleted);
        }
        for number in 0..dead.len() {
            let key = (stored.len() + number).to_be_bytes();
            let outcome = set(&store, &key, &value, at(0));
            assert_eq!(
                outcome,
                Stored::Stored,
                "{len}: {kept_len} of {pattern_len}, number {number} of {}",
                dead.len()
            );
        }
        assert_eq!(store.stats(at(0)).evictions, 0, "{len}: {kept_len} of {pattern_len}");
        assert_eq!(store.stats(at(0)).curr_items, stored.len() as u64);
        assert!(kept.iter().all(|key| self::value(&store, key, at(0)).as_ref() == Some(&value)));
        store.validate();
    }
}

/// In a shard of many segments, where only those at one place have dead items.
#[test]
fn what_is_dead_is_found_wherever_it_is() {
    for (evictions, first_percent) in [(false, 75), (true, 75), (true, 10)] {
        let store = Store::new(&StoreConfig { evictions, ..log(16 << 20, 1) });
        let bytes = [7; 500];
        let mut count = 0_u64;
        while living_percent(&store) < 97
            && set(&store, &count.to_le_bytes(), &bytes, at(0)) == Stored::Stored
        {
            count += 1;
        }
        let before = store.stats(at(0)).evictions;
        for number in count * first_percent / 100..count * (first_percent + 20) / 100 {
            store.delete(store.key(&number.to_le_bytes()), None, at(0));
        }
        for number in count.. {
            if living_percent(&store) >= 88 {
                break;
            }
            assert_eq!(set(&store, &number.to_le_bytes(), &bytes, at(0)), Stored::Stored);
            assert_eq!(store.stats(at(0)).evictions, before, "{} % live", living_percent(&store));
        }
        store.validate();
    }
}

#[test]
fn an_eighth_is_lent_and_what_is_lent_is_no_reason_to_refuse() {
    let store = Store::new(&log(4 << 20, 1));
    let (now, value) = (at(0), vec![7; 10 * 4096]);
    let lend = |number: u64| {
        let key = number.to_le_bytes();
        assert_eq!(set(&store, &key, &value, now), Stored::Stored);
        store.get(store.key(&key), now, |item| item.value.lend(1)).expect("it was stored")
    };
    let mut loans: Vec<Loan> = (0..).map_while(lend).collect();
    let limit_count = store.limit_bytes() / 8 / store.pool.charge(10);
    assert_eq!(loans.len() as u64, limit_count);
    // To how many one is lent makes no difference.
    let key = 0_u64.to_le_bytes();
    loans.extend(store.get(store.key(&key), now, |item| item.value.lend(1)).expect("it is there"));
    assert_eq!(loans.len() as u64, limit_count + 1);
    // All of them are gone, and still there.
    for number in 0..=limit_count {
        assert_eq!(store.delete(store.key(&number.to_le_bytes()), None, now), Deleted::Deleted);
    }
    assert_eq!(store.stats(now).large_bytes, store.pool.charge(limit_count * 10));
    for number in 0..500 {
        assert_eq!(set(&store, format!("k{number}").as_bytes(), &value, now), Stored::Stored);
        store.validate();
    }
    assert!(loans.iter().all(|loan| loan.parts().flatten().all(|byte| *byte == 7)));
    assert!(store.stats(now).curr_items * store.pool.charge(10) > store.limit_bytes() * 3 / 4);
    loans.truncate(1);
    assert_eq!(store.pool.lent_count(), 10);
    assert!(lend(1).is_some());
    loans.clear();
    assert_eq!(store.pool.lent_count(), 0);
    store.validate();
}
