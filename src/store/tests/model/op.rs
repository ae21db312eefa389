//! What a client could do, at random.

use super::*;
use proptest::option::of;

/// A length in bytes, counted from so many whole segments: what is split is split there.
#[derive(Debug, Clone, Copy)]
pub(super) struct Len {
    segments: usize,
    rest: i32,
}

impl Len {
    pub(super) fn resolve(self, segment_len: usize) -> usize {
        let len = (self.segments * segment_len).checked_add_signed(self.rest as isize);
        len.unwrap_or(0).min(200_000)
    }
}

/// What a client could do.
#[derive(Debug, Clone)]
pub(super) enum Op {
    Store {
        mode: StoreMode,
        key: u16,
        len: Len,
        flags: u32,
        exptime: i32,
    },
    /// Sets so many keys, from one on.
    Fill {
        key: u16,
        count: u16,
        len: Len,
    },
    /// So many times the same piece, behind or before.
    Join {
        key: u16,
        mode: StoreMode,
        count: u16,
        len: usize,
    },
    /// A cas with the unique that the model knows, or one beside it.
    Cas {
        key: u16,
        is_right: bool,
        len: Len,
    },
    /// A value with a unique that is so much older than what the model knows.
    CasOrStale {
        key: u16,
        before: i64,
        len: Len,
    },
    Get(u16),
    Touch(u16, i32),
    Inspect {
        key: u16,
        touch: Option<i32>,
        vivify: Option<i32>,
        wins: bool,
    },
    Spoil {
        key: u16,
        is_stale: bool,
        emptied: Option<u32>,
        exptime: Option<i32>,
    },
    Delete(u16),
    Count(u16, Delta),
    Flush(i32),
    /// A reader begins to send a value without a copy of it.
    Borrow(u16),
    /// One of those has sent it.
    Return(u8),
    /// A client begins to send a value, of which so many percent come.
    Begin {
        key: u16,
        len: Len,
        percent: usize,
    },
    /// One of those is gone.
    Vanish(u8),
    Wait(u16),
    Maintain,
}

/// Lengths of values in small segments.
pub(super) fn short_len() -> impl Strategy<Value = Len> {
    prop_oneof![0..40, 0..3000].prop_map(|rest| Len { segments: 0, rest })
}

/// Lengths up to several segments, most of them near to whole ones.
pub(super) fn any_len() -> impl Strategy<Value = Len> {
    prop_oneof![
        2 => short_len(),
        3 => (1..4_usize, -300..300).prop_map(|(segments, rest)| Len { segments, rest }),
        1 => (4..17_usize, -300..300).prop_map(|(segments, rest)| Len { segments, rest }),
        1 => (0..65_600).prop_map(|rest| Len { segments: 0, rest }),
    ]
}

pub(super) fn op(key_count: u16, len: BoxedStrategy<Len>) -> impl Strategy<Value = Op> {
    let key = 0..key_count;
    let (begun_len, late_len) = (len.clone(), len.clone());
    let exptime = prop_oneof![Just(0), Just(-1), 1..4_i32, 20..60_i32];
    let flags = prop_oneof![Just(0), any::<u32>()];
    let mode = proptest::sample::select(vec![
        StoreMode::Set,
        StoreMode::Set,
        StoreMode::Add,
        StoreMode::Replace,
        StoreMode::Append,
        StoreMode::Prepend,
    ]);
    let joining = proptest::sample::select(vec![StoreMode::Append, StoreMode::Prepend]);
    let delta = prop_oneof![(0..200_u64).prop_map(Delta::Incr), (0..200_u64).prop_map(Delta::Decr)];
    prop_oneof![
        6 => (mode, key.clone(), len.clone(), flags.clone(), exptime.clone())
            .prop_map(|(mode, key, len, flags, exptime)| Op::Store { mode, key, len, flags, exptime }),
        1 => (key.clone(), 0..key_count, len.clone()).prop_map(|(key, count, len)| Op::Fill { key, count, len }),
        1 => (key.clone(), joining, 1..40_u16, prop_oneof![1..20_usize, 1..1500_usize])
            .prop_map(|(key, mode, count, len)| Op::Join { key, mode, count, len }),
        2 => (key.clone(), any::<bool>(), len).prop_map(|(key, is_right, len)| Op::Cas { key, is_right, len }),
        1 => (key.clone(), -1..4_i64, late_len)
            .prop_map(|(key, before, len)| Op::CasOrStale { key, before, len }),
        2 => (key.clone(), of(exptime.clone()), of(exptime.clone()), any::<bool>())
            .prop_map(|(key, touch, vivify, wins)| Op::Inspect { key, touch, vivify, wins }),
        2 => (key.clone(), of(flags.clone()), of(exptime.clone()), any::<bool>()).prop_map(
            |(key, emptied, exptime, is_stale)| {
                let is_stale = is_stale || emptied.is_none();
                Op::Spoil { key, is_stale, emptied, exptime }
            },
        ),
        4 => key.clone().prop_map(Op::Get),
        2 => (key.clone(), exptime).prop_map(|(key, exptime)| Op::Touch(key, exptime)),
        2 => key.clone().prop_map(Op::Delete),
        2 => (key.clone(), delta).prop_map(|(key, delta)| Op::Count(key, delta)),
        1 => (-1..3_i32).prop_map(Op::Flush),
        2 => key.prop_map(Op::Borrow),
        1 => any::<u8>().prop_map(Op::Return),
        1 => (0..key_count, begun_len, 0..100_usize)
            .prop_map(|(key, len, percent)| Op::Begin { key, len, percent }),
        1 => any::<u8>().prop_map(Op::Vanish),
        2 => prop_oneof![0..1500_u16, 20_000..30_000_u16].prop_map(Op::Wait),
        1 => Just(Op::Maintain),
    ]
}
