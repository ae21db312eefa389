//! Values too long for a segment, each in an allocation of its own.
//!
//! INVARIANT: each is charged to the pool for as long as it is here.

use super::exact_item::allocated_len;
use super::segment::Pool;

/// The large values of a shard, by number.
#[derive(Debug, Default)]
pub(super) struct LargeValues {
    values: Vec<Option<Box<[u8]>>>,
    vacant: Vec<u32>,
    charged: u64,
}

impl LargeValues {
    /// Bytes that a value of this length takes out of the limit.
    pub(super) fn charge(len: usize) -> u64 {
        allocated_len(len)
    }

    /// Keeps a value for which [`Self::charge`] was reserved.
    pub(super) fn insert(&mut self, value: Box<[u8]>) -> u32 {
        self.charged += Self::charge(value.len());
        let number = self.vacant.pop().unwrap_or_else(|| {
            self.values.push(None);
            u32::try_from(self.values.len() - 1).expect("fewer than 2^32 large values")
        });
        self.values[number as usize] = Some(value);
        number
    }

    /// The value of a number.
    pub(super) fn get(&self, number: usize) -> &[u8] {
        self.values[number].as_deref().expect("an item has this number")
    }

    /// The value of a number, to be written over.
    pub(super) fn get_mut(&mut self, number: usize) -> &mut [u8] {
        self.values[number].as_deref_mut().expect("an item has this number")
    }

    /// Drops a value and gives its memory back; how much that was.
    pub(super) fn remove(&mut self, number: usize, pool: &Pool) -> u64 {
        let value = self.values[number].take().expect("an item has this number");
        self.vacant.push(u32::try_from(number).expect("it was given out as one"));
        let charge = Self::charge(value.len());
        drop(value);
        self.charged -= charge;
        pool.release(charge);
        charge
    }

    /// Bytes that all of them take out of the limit.
    pub(super) fn charged(&self) -> u64 {
        self.charged
    }
}
