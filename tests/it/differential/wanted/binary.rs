//! Where Larder and memcached 1.6.18 are to differ in the binary protocol. memcached counts no refused stores there, either
//! (`side.rs`).

use super::values::{LARGE_NUMBER, begins_large, is_blank, may_begin_number};
use super::{LONG_AGO, Peer, SESSION_S_MAX, Wanted};
use crate::differential::frame::{
    APPENDS, COUNTS, FLUSH, FLUSHQ, Frame, GATS, GETS, Lie, NOOP, PREPENDS, QUITQ, STAT, STORES,
    TOUCH, VERSION,
};

/// As much 1.6.18 takes at once, or twice as much, in bytes.
const READ_LEN_MAX: u16 = 8192;
/// The upper half of a number that may make one from 2^63 up.
const LARGE_HALF: u32 = (LARGE_NUMBER >> 32) as u32;

/// A request, and what was sent before it in one turn.
pub(crate) struct Sight<'frame> {
    pub(crate) frame: &'frame Frame,
    pub(crate) before: &'frame [&'frame Frame],
}

impl Sight<'_> {
    /// Its exptime, or its delay.
    fn exptime(&self) -> Option<u32> {
        const AT: [(&[u8], usize); 4] =
            [(GATS, 0), (&[TOUCH, FLUSH, FLUSHQ], 0), (STORES, 4), (COUNTS, 16)];
        let (_, at) = AT.iter().find(|(opcodes, _)| self.frame.is(opcodes))?;
        self.frame.number_at(*at)
    }

    /// Whether a reply may hold its item that memcached has not sent yet.
    fn is_held(&self) -> bool {
        let since = self.before.iter().rev().take_while(|other| !other.is(&[NOOP]));
        let mut same = since.filter(|other| other.key == self.frame.key);
        same.any(|other| other.is(GETS) || other.is(GATS) || other.is(&[TOUCH]))
    }

    /// What is answered that its arguments are invalid, and ends the connection.
    fn invalid(&self) -> Peer<Frame> {
        Peer::Ends(Frame::new(self.frame.opcode, b"", &[b'k'; 251], b""))
    }
}

type Applies = fn(&Sight<'_>) -> Option<Peer<Frame>>;

pub(super) const WANTED: &[Wanted<Applies>] = &[
    Wanted {
        reason: "as the first byte of a connection this begins the text protocol",
        applies: |sight| {
            let is_text = matches!(sight.frame.lie, Some(Lie::Magic(_)));
            (is_text && sight.before.is_empty()).then_some(Peer::Nothing)
        },
    },
    Wanted {
        reason: "1.6.18 closes without sending what it answered before a frame that is none; that must be sent",
        applies: |sight| {
            let is_none = matches!(sight.frame.lie, Some(Lie::Magic(_)));
            is_none.then(|| Peer::Ends(Frame::new(QUITQ, b"", b"", b"")))
        },
    },
    Wanted {
        reason: "1.6.18 says nothing where key and extras would not fit into its read buffer, and closes",
        applies: |sight| {
            let lie = Some(Lie::KeyLen(1));
            match sight.frame.lie {
                Some(Lie::KeyLen(len)) if len > READ_LEN_MAX => {
                    let shorter = Frame::new(sight.frame.opcode, b"", b"", b"");
                    Some(Peer::Ends(Frame { lie, ..shorter }))
                }
                _ => (sight.frame.key.0.len() > READ_LEN_MAX.into()).then(|| sight.invalid()),
            }
        },
    },
    Wanted {
        reason: "1.6.18 takes a body of more than a gigabyte",
        applies: |sight| {
            let is_long = matches!(sight.frame.lie, Some(Lie::BodyLen(len)) if len > 1 << 30);
            is_long.then(|| sight.invalid())
        },
    },
    Wanted {
        reason: "memcached reads what is surplus in the body of touch, its gets and stat as requests (quirk that is not to be \
            copied, protocol/src/binary.rs)",
        applies: |sight| {
            let has_surplus = sight.frame.has_parts() && !sight.frame.value.0.is_empty();
            let is_open = sight.frame.is(GATS) || sight.frame.is(&[TOUCH, STAT]);
            (has_surplus && is_open).then(|| sight.invalid())
        },
    },
    Wanted {
        reason: "memcached closes with a part of such a frame unread, and the system drops what it had not sent: no reply that \
            may be long comes before it",
        applies: |sight| {
            let may_be_long = |other: &&Frame| other.is(GETS) || other.is(GATS);
            let is_lost = sight.frame.is_refused() && sight.before.iter().any(may_be_long);
            is_lost.then_some(Peer::Nothing)
        },
    },
    Wanted {
        reason: "memcached waits twice for extras and key of what it does not know (quirk that is not to be copied)",
        applies: |sight| {
            let Frame { opcode, extras, key, value, .. } = sight.frame;
            let is_unknown = sight.frame.has_parts() && !sight.frame.is_known();
            let has_parts = !extras.0.is_empty() || !key.0.is_empty();
            let body = [&extras.0[..], &key.0, &value.0].concat();
            let other = || Peer::Instead(Frame::new(*opcode, b"", b"", &body));
            (is_unknown && has_parts).then(other)
        },
    },
    Wanted {
        reason: "each server says its own version in a frame, too",
        applies: |sight| {
            (sight.frame.is(&[VERSION]) && !sight.frame.is_refused()).then_some(Peer::Nothing)
        },
    },
    Wanted {
        reason: "what a frame lets end in so few seconds may end while a session runs, and not for both at once",
        applies: |sight| {
            let exptime = sight.exptime().filter(|_| sight.frame.has_parts())?;
            (1..=SESSION_S_MAX).contains(&exptime.into()).then_some(Peer::Nothing)
        },
    },
    Wanted {
        reason: "a flush to come makes 1.6.18 show again what the flush before it hid, and no other frame is answered as a \
            flush; one at a time long ago, which is now, does so too",
        applies: |sight| {
            let is_flush = sight.frame.is(&[FLUSH, FLUSHQ]) && !sight.frame.is_refused();
            let delay = sight.exptime().filter(|delay| is_flush && *delay > 0)?;
            let is_now = i32::try_from(delay).is_ok_and(|delay| LONG_AGO.contains(&delay));
            let now = || Peer::Instead(Frame::new(sight.frame.opcode, b"", b"", b""));
            Some(if is_now { now() } else { Peer::Nothing })
        },
    },
    Wanted {
        reason: "these topics show in frames what a server is made of, or are in no order",
        applies: |sight| {
            const SHOWN: [&[u8]; 6] =
                [b"", b"settings", b"items", b"slabs", b"conns", b"detail dump"];
            let is_shown = sight.frame.is(&[STAT]) && SHOWN.contains(&&sight.frame.key.0[..]);
            (is_shown && !sight.frame.is_refused()).then_some(Peer::Nothing)
        },
    },
    Wanted {
        reason: "memcached does not count in place while a frame that is not sent yet holds the item",
        applies: |sight| {
            let is_count = sight.frame.is(COUNTS) && !sight.frame.is_refused();
            (is_count && sight.is_held()).then_some(Peer::Nothing)
        },
    },
    Wanted {
        reason: "as in the text protocol, 1.6.18 counts on from what stands behind a value of white space alone, and counts \
            longer values than Larder",
        applies: |sight| {
            let value = &sight.frame.value.0;
            let (is_behind, is_before) = (sight.frame.is(APPENDS), sight.frame.is(PREPENDS));
            let may_differ = is_blank(value) || may_begin_number(value, is_behind, is_before);
            (sight.frame.is_storage() && may_differ).then_some(Peer::Nothing)
        },
    },
    Wanted {
        reason: "as in the text protocol, 1.6.18 takes a number from 2^63 up for none when a minus stands behind it in its \
            memory",
        applies: |sight| {
            // The upper halves of by how much is counted, and of what an item begins with.
            let is_large = |at| sight.frame.number_at(at).is_some_and(|half| half >= LARGE_HALF);
            let is_counted = sight.frame.is(COUNTS) && (is_large(0) || is_large(8));
            let is_stored = sight.frame.is_storage() && begins_large(&sight.frame.value.0);
            (is_stored || is_counted).then_some(Peer::Nothing)
        },
    },
];
