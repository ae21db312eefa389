//! Random operations (`op`) on the store and on a naive model of it (`pair`).

use super::*;
use proptest::prelude::*;

mod meta;
mod op;
mod pair;
mod pieces;
mod write;

use op::{Op, any_len, op, short_len};
use pair::Pair;

/// Runs operations, and looks at everything after every so many.
fn run(config: StoreConfig, ops: &[Op], look_every: usize) -> Result<StoreStats, TestCaseError> {
    let mut pair = Pair::new(config);
    for (index, op) in ops.iter().enumerate() {
        pair.apply(op)?;
        if index % look_every == 0 {
            pair.forget_dead();
            pair.look_at_all()?;
        }
    }
    pair.end_loans()?;
    pair.forget_dead();
    pair.look_at_all()?;
    Ok(pair.before)
}

fn shards() -> impl Strategy<Value = usize> {
    proptest::sample::select(vec![1_usize, 4])
}

/// Stores of logs of all kinds, small enough to be filled.
fn log_config() -> impl Strategy<Value = StoreConfig> {
    let policies = vec![Eviction::S3Fifo, Eviction::Lru, Eviction::Lfu];
    let sizes = prop_oneof![
        (1_u64 << 20..4 << 20).prop_map(|limit| StoreConfig::for_limit(limit, ITEM_SIZE)),
        (150_000..400_000_u64, proptest::sample::select(vec![1_usize, 2, 4]))
            .prop_map(|(limit, shards)| log(limit * shards as u64, shards)),
        // Lengths of records up to the last that two bytes can say.
        (2_u64 << 20..4 << 20)
            .prop_map(|limit| StoreConfig { segment_len: 65_536, ..log(limit, 1) }),
    ];
    let evictions = prop_oneof![3 => Just(true), 1 => Just(false)];
    (sizes, proptest::sample::select(policies), evictions, any::<bool>()).prop_map(
        |(sizes, eviction, evictions, cas)| StoreConfig { eviction, evictions, cas, ..sizes },
    )
}

/// Of the usual number of cases, since each of these is long.
fn cases(fraction: u32) -> ProptestConfig {
    let usual = ProptestConfig::default();
    ProptestConfig { failure_persistence: None, cases: usual.cases.div_ceil(fraction), ..usual }
}

proptest! {
    #![proptest_config(cases(1))]

    /// With room for all: the store answers as the model does. Without: it may have forgotten, but
    /// never remembers what the model does not, and never passes the limit.
    #[test]
    fn random_operations_agree_with_a_naive_model(
        ops in proptest::collection::vec(op(12, short_len().boxed()), 1..120),
        (roomy, config) in prop_oneof![
            (0..2_usize, shards()).prop_map(|(form, shards)| (true, both(3 << 20, shards)[form])),
            (4_000..12_000_u64, shards()).prop_map(|(limit, shards)| (false, exact(limit, shards))),
            // A chunk of the index and one of the ghosts a shard, and little for items.
            (60_000..140_000_u64, shards()).prop_map(|(limit, shards)| (false, log(limit * shards as u64, shards))),
        ],
    ) {
        let stats = run(config, &ops, 1)?;
        prop_assert!(!roomy || stats.evictions == 0);
    }
}

proptest! {
    #![proptest_config(cases(4))]

    /// The same with values of all lengths under all policies, in stores that fill up.
    #[test]
    fn long_values_and_full_stores_agree_with_a_naive_model(
        config in log_config(),
        ops in (1..600_u16).prop_flat_map(|key_count| proptest::collection::vec(op(key_count, any_len().boxed()), 1..300)),
    ) {
        run(config, &ops, 40)?;
    }
}
