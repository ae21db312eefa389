//! The store under several threads.

use super::*;

in_both_forms! {
    what_is_set_after_a_flush_is_there_whoever_else_is_busy,
    threads_never_pass_the_limit_nor_mix_values,
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
