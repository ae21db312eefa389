//! Items with what is known of them, made where there were none, and made useless.

use super::super::exptime::Deadline;
use super::super::item::{self, Tags};
use super::super::meta::{Empty, Inquiry, Inspected, Marked, Spoiling};
use super::super::segment::{Pool, Purse};
use super::super::{ItemView, Key, Miss, Moment, NoRoom, Stored};
use super::write::Put;
use super::{Found, Shard};

/// What was known of an item before an operation changed it.
#[derive(Debug, Clone, Copy)]
struct Past {
    deadline: Deadline,
    idle_s: u64,
    is_fetched: bool,
    is_new: bool,
}

impl Shard {
    /// Hands a living item to `read`.
    #[inline]
    pub(in crate::store) fn inspect<R>(
        &mut self,
        key: Key<'_>,
        is_secret: bool,
        at: Moment,
        pool: &Pool,
        read: impl FnOnce(&Inspected<'_>) -> (R, bool),
    ) -> Result<R, Miss> {
        let found = self.find_living(key, at, pool)?;
        Ok(self.show(found, self.past(found, at), is_secret, at, read))
    }

    /// The same with a new deadline for it, or where there is none, with an empty one; `read` is taken then.
    pub(in crate::store) fn inspect_and_change<R>(
        &mut self,
        key: Key<'_>,
        inquiry: &Inquiry,
        cas_unique: u64,
        read: &mut Option<impl FnOnce(&Inspected<'_>) -> (R, bool)>,
        at: Moment,
        purse: &mut Purse<'_>,
    ) -> Result<Result<R, Miss>, NoRoom> {
        let (found, past) = match (self.find_living(key, at, purse.pool), inquiry.vivify) {
            (Ok(found), _) => {
                let past = self.past(found, at);
                let touched = match inquiry.touch {
                    Some(deadline) => self.touch(key, found, deadline, at, purse)?,
                    None => Some(found),
                };
                (touched, past)
            }
            (Err(_), Some(Empty { deadline, is_base64, .. })) => {
                let (value, flags, tags) = (&b""[..], 0, Tags::BASE64.when(is_base64));
                let put = Put { key, found: None, value, flags, deadline, cas_unique, tags };
                self.put(put, &mut None, at, purse)?;
                self.stats.total_items += 1;
                let deadline = Deadline::NEVER;
                (self.find(key), Past { deadline, idle_s: 0, is_fetched: false, is_new: true })
            }
            (Err(miss), None) => return Ok(Err(miss)),
        };
        let Some(found) = found else {
            return Ok(Err(Miss::Absent));
        };
        let read = read.take().expect("an operation succeeds once");
        Ok(Ok(self.show(found, past, inquiry.is_secret, at, read)))
    }

    #[inline(always)]
    #[expect(clippy::inline_always, reason = "what nobody asks for is not looked up then")]
    fn past(&self, found: Found, at: Moment) -> Past {
        let (layout, bytes) = (found.layout, self.bytes(found.place));
        Past {
            deadline: layout.deadline(bytes),
            idle_s: item::idle_s(bytes, at.now.ms),
            is_fetched: layout.is_fetched(),
            is_new: false,
        }
    }

    #[inline(always)]
    #[expect(clippy::inline_always, reason = "as above")]
    fn show<R>(
        &mut self,
        found: Found,
        past: Past,
        is_secret: bool,
        at: Moment,
        read: impl FnOnce(&Inspected<'_>) -> (R, bool),
    ) -> R {
        let Past { deadline, idle_s, is_fetched, is_new } = past;
        let (layout, bytes) = (found.layout, self.bytes(found.place));
        let tags = layout.tags();
        let item = ItemView {
            value: self.value(found.place, layout),
            flags: layout.flags(bytes),
            cas_unique: self.format.cas_unique(bytes),
        };
        let (result, wins) = read(&Inspected {
            item,
            deadline,
            idle_s,
            is_fetched,
            marked: Marked {
                is_stale: tags.has(Tags::STALE),
                is_won: tags.has(Tags::WON),
                is_base64: tags.has(Tags::BASE64),
            },
            is_new,
        });
        if wins {
            item::set_tags(self.bytes_mut(found.place), tags.with(Tags::WON));
        }
        if !is_secret {
            self.count_use(found);
            item::set_fetched(self.bytes_mut(found.place), at.now.ms);
        }
        result
    }

    /// Makes a living item useless.
    pub(in crate::store) fn spoil(
        &mut self,
        key: Key<'_>,
        spoiling: &Spoiling,
        cas_unique: Option<u64>,
        at: Moment,
        purse: &mut Purse<'_>,
    ) -> Result<Stored, NoRoom> {
        let Ok(found) = self.find_living(key, at, purse.pool) else {
            return Ok(Stored::NotFound);
        };
        if !self.has_expected(found, spoiling.cas.expected) {
            return Ok(Stored::Exists);
        }
        let layout = found.layout;
        let bytes = self.bytes(found.place);
        let cas_unique = cas_unique.unwrap_or_else(|| self.format.cas_unique(bytes));
        if let Some(flags) = spoiling.emptied {
            let tags = layout.tags().and(Tags::BASE64).with(Tags::STALE.when(spoiling.is_stale));
            let (found, value) = (Some(found), &b""[..]);
            let deadline = spoiling.deadline.unwrap_or(Deadline::NEVER);
            let put = Put { key, found, value, flags, deadline, cas_unique, tags };
            self.put(put, &mut None, at, purse)?;
            self.stats.total_items += 1;
            return Ok(Stored::Stored);
        }
        let found = match spoiling.deadline {
            Some(deadline) => self.touch(key, found, deadline, at, purse)?,
            None => Some(found),
        };
        // Making room for its deadline may have evicted it.
        if let Some(Found { place, layout, .. }) = found {
            let format = self.format;
            let bytes = self.bytes_mut(place);
            format.set_cas_unique(bytes, cas_unique);
            item::set_tags(
                bytes,
                layout.tags().without(Tags::WON).with(Tags::STALE.when(spoiling.is_stale)),
            );
        }
        Ok(Stored::Stored)
    }
}
