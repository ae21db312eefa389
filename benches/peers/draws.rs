//! Which keys are asked for, and how often which.
//!
//! INVARIANT: the same for every server and every round: nothing here is seeded by chance.

use crate::wire::{KEYS_MAX, SET};

/// So many keys are drawn ahead and used again and again: enough that nearly all of a million come up.
const DRAW_COUNT: u64 = 1 << 21;
/// Keys that are asked for often are to be spread over all; a prime.
const STRIDE: u64 = 2_654_435_761;

/// How popular keys are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Popularity {
    /// As Zipf's law says, the second by 0.99 powers of 2 rarer than the first.
    Zipf,
    Uniform,
    /// One key is all.
    OneKey,
    /// Each comes once, and none was there before.
    New,
}

/// Scatters numbers over all 64 bits: the finalizer of `SplitMix64`.
pub(crate) fn mix(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

/// A number from 0 up to 1.
pub(crate) fn unit(number: u64) -> f64 {
    (mix(number) >> 11) as f64 / (1u64 << 53) as f64
}

/// Keys in the order in which they are asked for.
#[derive(Debug, Clone)]
pub(crate) enum Draws {
    /// Drawn ahead.
    Drawn(Vec<u32>),
    /// From this one upwards.
    New { first: u32 },
}

impl Draws {
    /// Of `keys` keys, `set_percent` of the requests being sets.
    pub(crate) fn new(popularity: Popularity, keys: u32, set_percent: u32) -> Self {
        let scaled = |number: u64, to: u32| {
            let product = u128::from(mix(number)) * u128::from(to);
            u32::try_from(product >> 64).expect("less than `to`")
        };
        let zipf = if popularity == Popularity::Zipf { zipf_sums(keys) } else { Vec::new() };
        let draw = |number: u64| match popularity {
            Popularity::Zipf => {
                let at = unit(number) * zipf.last().expect("there are keys");
                let rank = zipf.partition_point(|sum| *sum <= at) as u64;
                u32::try_from(rank * STRIDE % u64::from(keys)).expect("less than `keys`")
            }
            Popularity::Uniform => scaled(number, keys),
            Popularity::OneKey | Popularity::New => 0,
        };
        if popularity == Popularity::New {
            return Self::New { first: keys };
        }
        let is_set = |number: u64| scaled(!number, 100) < set_percent;
        Self::Drawn(
            (0..DRAW_COUNT)
                .map(|number| draw(number) | if is_set(number) { SET } else { 0 })
                .collect(),
        )
    }

    /// Sets of all keys, each once.
    pub(crate) fn fill(keys: u32) -> Self {
        let key = |number| u32::try_from(number * STRIDE % u64::from(keys)).expect("a key");
        Self::Drawn((0..u64::from(keys)).map(|number| key(number) | SET).collect())
    }
}

/// Of the weights of all keys up to each.
fn zipf_sums(keys: u32) -> Vec<f64> {
    let mut sum = 0.0;
    let weight = |rank: u32| f64::from(rank).powf(-0.99);
    (1..=keys)
        .map(|rank| {
            sum += weight(rank);
            sum
        })
        .collect()
}

/// One connection's way through the keys.
#[derive(Debug, Clone)]
pub(crate) struct Walk<'a> {
    draws: &'a Draws,
    next: usize,
    step: usize,
    /// So many more; `None`: for ever.
    left_count: Option<usize>,
}

impl<'a> Walk<'a> {
    /// For ever, connection `index` of `count` starting in a place of its own.
    pub(crate) fn endless(draws: &'a Draws, index: usize, count: usize) -> Self {
        let (next, step) = match draws {
            Draws::Drawn(keys) => (keys.len() / count * index, 1),
            Draws::New { first } => (*first as usize + index, count),
        };
        Self { draws, next, step, left_count: None }
    }

    /// Connection `index` of `count` takes its part of the keys, once.
    pub(crate) fn part(keys: &'a Draws, index: usize, count: usize) -> Self {
        let walk = Self::endless(keys, index, count);
        let Draws::Drawn(keys) = keys else { return walk };
        let part_len = keys.len() / count;
        let left_len = if index + 1 == count { keys.len() - index * part_len } else { part_len };
        Self { left_count: Some(left_len), ..walk }
    }

    /// Appends the next `count` keys, or fewer at the end.
    pub(crate) fn take(&mut self, out: &mut Vec<u32>, mut count: usize) {
        if let Some(left_count) = &mut self.left_count {
            count = count.min(*left_count);
            *left_count -= count;
        }
        match self.draws {
            Draws::Drawn(keys) => {
                for _ in 0..count {
                    out.push(keys[self.next]);
                    self.next += self.step;
                    if self.next == keys.len() {
                        self.next = 0;
                    }
                }
            }
            Draws::New { .. } => {
                for _ in 0..count {
                    let key = u32::try_from(self.next % KEYS_MAX as usize).expect("less than that");
                    out.push(key | SET);
                    self.next += self.step;
                }
            }
        }
    }
}
