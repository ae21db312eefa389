//! All that a client can ask, borrowed from the read buffer.

use crate::{ArithmeticVerb, StatsTopic, StoreVerb};

/// What a response repeats of its request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    /// As sent.
    pub opcode: u8,
    /// As sent.
    pub opaque: [u8; 4],
    /// Whether the opcode is a quiet one: what the client expects goes unsaid, which is a miss where it reads and
    /// success where it changes something.
    pub is_quiet: bool,
}

/// One request, its key and value still in the buffer they came in. The key may be of another form than bytes: see
/// [`Request::with_key`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request<'a, K = &'a [u8]> {
    /// To be repeated in the response.
    pub origin: Origin,
    /// What is to be done.
    pub action: Action<'a, K>,
}

/// What is to be done. Exptimes are as sent: 0 never, up to 30 days relative, above that Unix time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action<'a, K = &'a [u8]> {
    /// Get, and get and touch.
    Get {
        /// 1 to 250 bytes.
        key: K,
        /// Whether the response shows the key.
        with_key: bool,
        /// A new exptime for the item.
        exptime: Option<u32>,
    },
    /// Touch.
    Touch {
        /// 1 to 250 bytes.
        key: K,
        /// The new one.
        exptime: u32,
    },
    /// Set, add, replace, append, prepend, with the whole value at hand.
    Store {
        /// All but the value.
        update: Update<K>,
        /// Any bytes.
        value: &'a [u8],
    },
    /// A store whose item would pass [`crate::Limits::item_size_max`]; its value is skipped.
    StoreTooLarge {
        /// As the opcode names it, whatever CAS unique came with it.
        verb: StoreVerb,
        /// 1 to 250 bytes.
        key: K,
    },
    /// Delete.
    Delete {
        /// 1 to 250 bytes.
        key: K,
        /// The CAS unique that the item must have.
        expected: Option<u64>,
    },
    /// Increment, decrement.
    Arithmetic {
        /// Up or down.
        verb: ArithmeticVerb,
        /// 1 to 250 bytes.
        key: K,
        /// By how much.
        delta: u64,
        /// The number and the exptime of an item that is made where there is none.
        initial: Option<(u64, u32)>,
        /// The CAS unique that the item must have.
        expected: Option<u64>,
    },
    /// Flush.
    Flush {
        /// As an exptime, but 0 is now.
        delay: u32,
    },
    /// Statistics.
    Stat(StatsTopic),
    /// Nothing, which is answered.
    Noop,
    /// The version of the server.
    Version,
    /// The end of the connection.
    Quit,
}

/// A storage command but its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Update<K> {
    /// Set, add, replace, append or prepend; [`StoreVerb::Cas`] where one of the first three came with a CAS unique.
    pub verb: StoreVerb,
    /// 1 to 250 bytes.
    pub key: K,
    /// Opaque to the server; 0 for append and prepend.
    pub flags: u32,
    /// 0 for append and prepend.
    pub exptime: u32,
    /// The CAS unique that an item must have for append or prepend.
    pub expected: Option<u64>,
}

impl<'a, K: Copy> Request<'a, K> {
    /// Its key, where it has one.
    pub fn key_mut(&mut self) -> Option<&mut K> {
        match &mut self.action {
            Action::Get { key, .. }
            | Action::Touch { key, .. }
            | Action::Store { update: Update { key, .. }, .. }
            | Action::StoreTooLarge { key, .. }
            | Action::Delete { key, .. }
            | Action::Arithmetic { key, .. } => Some(key),
            Action::Flush { .. }
            | Action::Stat(_)
            | Action::Noop
            | Action::Version
            | Action::Quit => None,
        }
    }

    /// The same request with its key in another form.
    pub fn with_key<L>(self, form: impl FnOnce(K) -> L) -> Request<'a, L> {
        let action = match self.action {
            Action::Get { key, with_key, exptime } => {
                Action::Get { key: form(key), with_key, exptime }
            }
            Action::Touch { key, exptime } => Action::Touch { key: form(key), exptime },
            Action::Store { update, value } => {
                Action::Store { update: update.with_key(form), value }
            }
            Action::StoreTooLarge { verb, key } => Action::StoreTooLarge { verb, key: form(key) },
            Action::Delete { key, expected } => Action::Delete { key: form(key), expected },
            Action::Arithmetic { verb, key, delta, initial, expected } => {
                Action::Arithmetic { verb, key: form(key), delta, initial, expected }
            }
            Action::Flush { delay } => Action::Flush { delay },
            Action::Stat(topic) => Action::Stat(topic),
            Action::Noop => Action::Noop,
            Action::Version => Action::Version,
            Action::Quit => Action::Quit,
        };
        Request { origin: self.origin, action }
    }
}

impl<K> Update<K> {
    /// The same with its key in another form.
    pub fn with_key<L>(self, form: impl FnOnce(K) -> L) -> Update<L> {
        let Self { verb, key, flags, exptime, expected } = self;
        Update { verb, key: form(key), flags, exptime, expected }
    }
}
