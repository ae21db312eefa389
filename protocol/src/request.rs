//! All that a client can ask, borrowed from the read buffer.

use crate::admin::{Admin, Cachedump};
use crate::meta::{MetaFlags, MetaVerb};
use crate::reject::Reject;
use crate::retrieve::Retrieve;

/// One request, its keys and values still in the buffer they came in. Keys may be of another form than bytes: see
/// [`Request::with_key`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request<'a, K = &'a [u8]> {
    /// `get gets gat gats`: the keys follow in the stream and are taken from it one at a time.
    Retrieve(Retrieve),
    /// `set add replace append prepend cas`, with the whole data block at hand.
    Store {
        /// Which of the six.
        verb: StoreVerb,
        /// 1 to 250 bytes.
        key: K,
        /// Opaque to the server.
        flags: u32,
        /// As sent: 0 never, negative at once, up to 30 days relative, above that Unix time.
        exptime: i32,
        /// The data block without its line end.
        value: &'a [u8],
        /// Answer nothing.
        noreply: bool,
    },
    /// A store whose item would pass [`crate::Limits::item_size_max`]; its block is skipped.
    StoreTooLarge {
        /// Which of the six.
        verb: StoreVerb,
        /// 1 to 250 bytes.
        key: K,
        /// Answer nothing.
        noreply: bool,
    },
    /// A store whose data block does not end where its length said.
    StoreBadBlock {
        /// 1 to 250 bytes.
        key: K,
        /// Answer nothing.
        noreply: bool,
    },
    /// `delete key`.
    Delete {
        /// 1 to 250 bytes.
        key: K,
        /// Answer nothing.
        noreply: bool,
    },
    /// `incr key delta`, `decr key delta`.
    Arithmetic {
        /// Up or down.
        verb: ArithmeticVerb,
        /// 1 to 250 bytes.
        key: K,
        /// By how much.
        delta: u64,
        /// Answer nothing.
        noreply: bool,
    },
    /// `touch key exptime`.
    Touch {
        /// 1 to 250 bytes.
        key: K,
        /// As in [`Request::Store`].
        exptime: i32,
        /// Answer nothing.
        noreply: bool,
    },
    /// `mg md ma me`.
    Meta {
        /// Which of the four.
        verb: MetaVerb,
        /// 1 to 250 bytes, as on the line: see [`MetaFlags::key`].
        key: K,
        /// How, and what to show.
        flags: MetaFlags<'a>,
    },
    /// `ms`, with the whole data block at hand.
    MetaSet {
        /// As in [`Request::Meta`].
        key: K,
        /// How, and what to show.
        flags: MetaFlags<'a>,
        /// The data block without its line end.
        value: &'a [u8],
    },
    /// A `ms` whose item would pass [`crate::Limits::item_size_max`]; its block is skipped.
    MetaSetTooLarge {
        /// As in [`Request::Meta`].
        key: K,
        /// What it should have done.
        flags: MetaFlags<'a>,
    },
    /// A `ms` whose data block does not end where its length said.
    MetaSetBadBlock,
    /// `mn`, whose answer shows that all before it is done.
    MetaNoop,
    /// `flush_all [delay]`. The delay is checked only when the command is allowed at all, so a bad one
    /// travels as `None`.
    FlushAll {
        /// As an exptime; 0 where none was sent.
        delay: Option<i32>,
        /// Answer nothing.
        noreply: bool,
    },
    /// `version`.
    Version,
    /// `verbosity level`.
    Verbosity {
        /// As sent, any size.
        level: u32,
        /// Answer nothing.
        noreply: bool,
    },
    /// `stats [topic]`.
    Stats(StatsTopic),
    /// What operators ask for beside `stats`.
    Admin {
        /// What it is.
        admin: Admin,
        /// Answer nothing.
        noreply: bool,
    },
    /// `shutdown [graceful]`; `None` is a word that is no mode.
    Shutdown(Option<ShutdownMode>),
    /// `quit`.
    Quit,
}

impl<'a, K> Request<'a, K> {
    /// Its key, where it has one; the keys of a get are still in the stream.
    pub fn key_mut(&mut self) -> Option<&mut K> {
        match self {
            Self::Store { key, .. }
            | Self::StoreTooLarge { key, .. }
            | Self::StoreBadBlock { key, .. }
            | Self::Delete { key, .. }
            | Self::Arithmetic { key, .. }
            | Self::Touch { key, .. }
            | Self::Meta { key, .. }
            | Self::MetaSet { key, .. }
            | Self::MetaSetTooLarge { key, .. } => Some(key),
            Self::Retrieve(_)
            | Self::MetaSetBadBlock
            | Self::MetaNoop
            | Self::FlushAll { .. }
            | Self::Version
            | Self::Verbosity { .. }
            | Self::Stats(_)
            | Self::Admin { .. }
            | Self::Shutdown(_)
            | Self::Quit => None,
        }
    }

    /// The same request with its key in another form.
    pub fn with_key<L>(self, form: impl FnOnce(K) -> L) -> Request<'a, L> {
        match self {
            Self::Retrieve(retrieve) => Request::Retrieve(retrieve),
            Self::Store { verb, key, flags, exptime, value, noreply } => {
                Request::Store { verb, key: form(key), flags, exptime, value, noreply }
            }
            Self::StoreTooLarge { verb, key, noreply } => {
                Request::StoreTooLarge { verb, key: form(key), noreply }
            }
            Self::StoreBadBlock { key, noreply } => {
                Request::StoreBadBlock { key: form(key), noreply }
            }
            Self::Delete { key, noreply } => Request::Delete { key: form(key), noreply },
            Self::Arithmetic { verb, key, delta, noreply } => {
                Request::Arithmetic { verb, key: form(key), delta, noreply }
            }
            Self::Touch { key, exptime, noreply } => {
                Request::Touch { key: form(key), exptime, noreply }
            }
            Self::Meta { verb, key, flags } => Request::Meta { verb, key: form(key), flags },
            Self::MetaSet { key, flags, value } => {
                Request::MetaSet { key: form(key), flags, value }
            }
            Self::MetaSetTooLarge { key, flags } => {
                Request::MetaSetTooLarge { key: form(key), flags }
            }
            Self::MetaSetBadBlock => Request::MetaSetBadBlock,
            Self::MetaNoop => Request::MetaNoop,
            Self::FlushAll { delay, noreply } => Request::FlushAll { delay, noreply },
            Self::Version => Request::Version,
            Self::Verbosity { level, noreply } => Request::Verbosity { level, noreply },
            Self::Stats(topic) => Request::Stats(topic),
            Self::Admin { admin, noreply } => Request::Admin { admin, noreply },
            Self::Shutdown(mode) => Request::Shutdown(mode),
            Self::Quit => Request::Quit,
        }
    }
}

/// The verbs that read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetrieveVerb {
    /// Values.
    Get,
    /// Values with their CAS unique.
    Gets,
    /// Values, and a new exptime.
    Gat,
    /// Values with their CAS unique, and a new exptime.
    Gats,
}

impl RetrieveVerb {
    /// Whether the reply carries the CAS unique.
    pub fn with_cas(self) -> bool {
        matches!(self, Self::Gets | Self::Gats)
    }
}

/// The verbs that carry a data block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreVerb {
    /// Store, whatever is there.
    Set,
    /// Store if absent.
    Add,
    /// Store if present.
    Replace,
    /// Put behind the present value.
    Append,
    /// Put before the present value.
    Prepend,
    /// Store if the item's CAS unique is still this one.
    Cas(u64),
}

/// The verbs that count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ArithmeticVerb {
    /// Add, wrapping at 2^64.
    Incr,
    /// Subtract, stopping at 0.
    Decr,
}

/// What `stats` is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StatsTopic {
    /// `stats`: the block of general counters.
    General,
    /// `stats reset`.
    Reset,
    /// `stats settings`.
    Settings,
    /// `stats items`.
    Items,
    /// `stats slabs`.
    Slabs,
    /// `stats conns`.
    Conns,
    /// `stats cachedump class limit`, which is read to the end only where it is allowed.
    Cachedump(Result<Cachedump, Reject>),
    /// `stats extstore`.
    Extstore,
    /// `stats sizes`.
    Sizes,
    /// `stats store`, which memcached does not have.
    Store,
    /// `stats detail on|off|dump`; `None` is another word, or none.
    Detail(Option<DetailMode>),
    /// A word that names no topic.
    Unknown,
}

/// What `stats detail` is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DetailMode {
    /// Start counting by prefix.
    On,
    /// Stop counting by prefix.
    Off,
    /// Show the counts.
    Dump,
}

/// How to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShutdownMode {
    /// As SIGINT would.
    Now,
    /// As SIGUSR1 would.
    Graceful,
}
