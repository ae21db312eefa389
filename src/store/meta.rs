//! What the meta commands ask of a store beside what the classic ones do.

use super::segment::Purse;
use super::{Cas, Deadline, ItemView, Key, Miss, Now, Shard, Store, Stored};

/// What a reader is told of an item beside what a get shows.
#[derive(Debug, Clone, Copy)]
pub struct Inspected<'a> {
    /// The item.
    pub item: ItemView<'a>,
    /// When it was to die, before this touched it.
    pub deadline: Deadline,
    /// Seconds since it was read or written before this.
    pub idle_s: u64,
    /// Whether it was read before this.
    pub is_fetched: bool,
    /// What it was marked with before this.
    pub marked: Marked,
    /// Whether it was made by this, and has no value yet.
    pub is_new: bool,
}

/// What an item is marked with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Marked {
    /// Its value is out of date.
    pub is_stale: bool,
    /// Somebody was told to refill it.
    pub is_won: bool,
    /// Its key came as base64.
    pub is_base64: bool,
}

/// How an item is inspected.
#[derive(Debug, Clone, Copy, Default)]
pub struct Inquiry {
    /// Gives it a new deadline.
    pub touch: Option<Deadline>,
    /// Makes an empty item where there is none.
    pub vivify: Option<Empty>,
    /// Whether the item is to forget that it was read.
    pub is_secret: bool,
}

/// An item without a value.
#[derive(Debug, Clone, Copy)]
pub struct Empty {
    /// When it dies.
    pub deadline: Deadline,
    /// Its unique; `None`: a new one.
    pub cas_unique: Option<u64>,
    /// Whether its key came as base64.
    pub is_base64: bool,
}

/// How an item is made useless without removing it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Spoiling {
    /// Which unique the item must have, and gets; without a new one it keeps its own unless it becomes stale.
    pub cas: Cas,
    /// Its value is out of date, and the next reader is to refill it.
    pub is_stale: bool,
    /// It loses its value and gets these flags.
    pub emptied: Option<u32>,
    /// Its new deadline; an emptied item without one lives on, others keep their own.
    pub deadline: Option<Deadline>,
}

impl Store {
    /// Hands an item and what is known of it to `read`, which runs under the shard's lock, and says whether its client is
    /// to refill the item. That it was read is noted unless it `is_secret`.
    #[inline]
    pub fn inspect<R>(
        &self,
        key: Key<'_>,
        is_secret: bool,
        now: Now,
        read: impl FnOnce(&Inspected<'_>) -> (R, bool),
    ) -> Result<R, Miss> {
        let mut shard = self.shard(self.home(key));
        let (at, pool) = (self.moment(now), &self.pool);
        either!(&mut *shard,
            log => log.inspect(key, is_secret, at, pool, read),
            exact => exact.inspect(key.bytes, is_secret, at, pool, read))
    }

    /// The same with a new deadline for the item, or where there is none, with an empty one.
    pub fn inspect_and_change<R>(
        &self,
        key: Key<'_>,
        inquiry: &Inquiry,
        now: Now,
        read: impl FnOnce(&Inspected<'_>) -> (R, bool),
    ) -> Result<R, Miss> {
        // One for all attempts.
        let cas_unique = match inquiry.vivify {
            Some(Empty { cas_unique, .. }) => cas_unique.unwrap_or_else(|| self.next_cas_unique()),
            None => 0,
        };
        let mut read = Some(read);
        let attempt = |shard: &mut Shard, at, purse: &mut Purse<'_>| {
            either!(shard,
                log => log.inspect_and_change(key, inquiry, cas_unique, &mut read, at, purse),
                exact => exact.inspect_and_change(key.bytes, inquiry, cas_unique, &mut read, at, &self.pool))
        };
        // Without room for its deadline an item is gone: it must not outlive it.
        let give_up = |shard: &mut Shard| {
            shard.remove(key, &self.pool);
            Err(Miss::Absent)
        };
        self.with_room(key, now, attempt, give_up)
    }

    /// Makes a living item useless. Where there is no room for what is left of it, it is removed, and
    /// [`Stored::NoMemory`] the answer.
    pub fn spoil(&self, key: Key<'_>, spoiling: &Spoiling, now: Now) -> Stored {
        let cas_unique =
            spoiling.cas.new.or_else(|| spoiling.is_stale.then(|| self.next_cas_unique()));
        let attempt = |shard: &mut Shard, at, purse: &mut Purse<'_>| {
            either!(shard,
                log => log.spoil(key, spoiling, cas_unique, at, purse),
                exact => exact.spoil(key.bytes, spoiling, cas_unique, at, &self.pool))
        };
        let give_up = |shard: &mut Shard| {
            shard.remove(key, &self.pool);
            Stored::NoMemory
        };
        self.with_room(key, now, attempt, give_up)
    }
}
