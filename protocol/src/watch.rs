//! What `watch` may be asked to show.

use std::ops::BitOr;

/// Kinds of events.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Streams(u16);

impl Streams {
    /// Requests as they came; nothing of memcached's shows them.
    pub const RAWCMDS: Self = Self(1);
    /// Items that are evicted.
    pub const EVICTIONS: Self = Self(1 << 1);
    /// Reads.
    pub const FETCHERS: Self = Self(1 << 2);
    /// Storage commands.
    pub const MUTATIONS: Self = Self(1 << 3);
    /// What the server does by itself: searches for dead items.
    pub const SYSEVENTS: Self = Self(1 << 4);
    /// Connections that come and go.
    pub const CONNEVENTS: Self = Self(1 << 5);
    /// Requests to a proxy.
    pub const PROXYREQS: Self = Self(1 << 6);
    /// What happens to a proxy.
    pub const PROXYEVENTS: Self = Self(1 << 7);
    /// What users of a proxy say.
    pub const PROXYUSER: Self = Self(1 << 8);
    /// Deletes.
    pub const DELETIONS: Self = Self(1 << 9);

    /// In the order in which memcached tries them.
    const NAMES: [(&'static [u8], Self); 10] = [
        (b"rawcmds", Self::RAWCMDS),
        (b"evictions", Self::EVICTIONS),
        (b"fetchers", Self::FETCHERS),
        (b"mutations", Self::MUTATIONS),
        (b"sysevents", Self::SYSEVENTS),
        (b"connevents", Self::CONNEVENTS),
        (b"proxyreqs", Self::PROXYREQS),
        (b"proxyevents", Self::PROXYEVENTS),
        (b"proxyuser", Self::PROXYUSER),
        (b"deletions", Self::DELETIONS),
    ];

    /// What the words behind `watch` name, which may be cut short; `None` where one names nothing. No words are
    /// fetchers.
    pub(crate) fn read<'a>(words: impl Iterator<Item = &'a [u8]>) -> Option<Self> {
        let named = words.map(|word| {
            let found = Self::NAMES.into_iter().find(|(name, _)| name.starts_with(word));
            found.map(|(_, stream)| stream)
        });
        let all = named.reduce(|all, stream| Some(all? | stream?));
        all.unwrap_or(Some(Self::FETCHERS))
    }

    /// Those whose bits these are.
    pub const fn of_bits(bits: u16) -> Self {
        Self(bits)
    }

    /// A bit each.
    pub const fn bits(self) -> u16 {
        self.0
    }

    /// Whether any of the others is among these.
    #[inline]
    pub const fn has(self, others: Self) -> bool {
        self.0 & others.0 != 0
    }
}

impl BitOr for Streams {
    type Output = Self;

    fn bitor(self, others: Self) -> Self {
        Self(self.0 | others.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_may_be_cut_short_and_repeated() {
        let read = |line: &str| Streams::read(line.split_whitespace().map(str::as_bytes));
        for (name, stream) in Streams::NAMES {
            assert_eq!(Streams::read([name].into_iter()), Some(stream));
            assert_eq!(Streams::of_bits(stream.bits()), stream);
        }
        assert_eq!(read(""), Some(Streams::FETCHERS));
        assert_eq!(read("f m f"), Some(Streams::FETCHERS | Streams::MUTATIONS));
        assert_eq!(read("prox"), Some(Streams::PROXYREQS));
        assert_eq!(read("proxyu d"), Some(Streams::PROXYUSER | Streams::DELETIONS));
        for line in ["x", "fetchers x", "fetcherss", "F"] {
            assert_eq!(read(line), None, "{line}");
        }
        assert!(Streams::FETCHERS.has(Streams::FETCHERS | Streams::MUTATIONS));
        assert!(!Streams::FETCHERS.has(Streams::MUTATIONS));
    }
}
