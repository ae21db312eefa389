//! Where Larder and memcached 1.6.18 are to differ: each row says why, and what 1.6.18 is sent in the place of such a
//! request, so that it answers as Larder has to. All replies are then compared byte for byte.
//!
//! Where 1.6.18 cannot be brought to that by any request, neither server is sent it ([`Peer::Nothing`]), and the scripts
//! say what Larder does. The generator also keeps away from data lengths over 2 MiB, tabs in numbers, frames that say that
//! more of them comes than does, and `verbosity` above 0, which makes the log grow.

mod binary;
mod meta;
mod values;

use super::frame::Frame;
use super::unit::{Unit, number, signed};
use std::ops::RangeInclusive;

pub(crate) use binary::Sight;

/// What memcached is sent.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Peer<Request = Vec<u8>> {
    /// This.
    Instead(Request),
    /// This, and Larder is to close the connection too.
    Ends(Request),
    /// Neither server is sent anything.
    Nothing,
}

/// One wanted difference.
struct Wanted<Applies = fn(&Line) -> Option<Peer>> {
    /// What it is and why it is wanted.
    reason: &'static str,
    /// What memcached is sent where it applies.
    applies: Applies,
}

/// A request, and what most rows look at.
pub(crate) struct Line<'unit> {
    unit: &'unit Unit,
    words: Vec<&'unit [u8]>,
    noreply: bool,
    /// A `mg` of its key was sent in the same turn.
    is_held: bool,
}

impl<'unit> Line<'unit> {
    /// A request, and those that were sent before it in one turn.
    pub(crate) fn new(unit: &'unit Unit, before: &[Unit]) -> Self {
        let words = unit.words();
        let count = words.iter().filter(|word| !word.is_empty()).count();
        let is_held = before.iter().any(|other| {
            let other = other.words();
            other.first() == Some(&&b"mg"[..]) && may_be_one(other.get(1), words.get(1))
        });
        let mut line = Self { unit, words, noreply: false, is_held };
        line.noreply = count > 1
            && line.words.last() == Some(&&b"noreply"[..])
            && !line.is(GETS)
            && !unit.is_meta();
        line
    }

    fn verb(&self) -> &'unit [u8] {
        self.word(0)
    }

    fn word(&self, index: usize) -> &'unit [u8] {
        self.words.get(index).copied().unwrap_or_default()
    }

    fn is(&self, verbs: &[&str]) -> bool {
        verbs.iter().any(|verb| verb.as_bytes() == self.verb())
    }

    fn is_known(&self) -> bool {
        self.unit.is_storage() || self.is(LINES) || self.unit.is_meta()
    }

    /// What its data block is to store.
    fn value(&self) -> Option<&'unit [u8]> {
        let block = &self.unit.block.as_ref()?.0;
        block.get(..block.len() - 2)
    }

    /// How many words a command has at least.
    fn words_min(&self) -> usize {
        match self.verb() {
            b"get" | b"gets" | b"delete" | b"verbosity" | b"mg" | b"md" | b"ma" | b"me" => 2,
            b"gat" | b"gats" | b"touch" | b"incr" | b"decr" => 3,
            b"cas" => 6,
            _ if self.unit.is_storage() => 5,
            _ => 1,
        }
    }

    /// The keys of a get.
    fn keys(&self) -> impl Iterator<Item = &'unit [u8]> {
        let first = if self.is(&["gat", "gats"]) { 2 } else { 1 };
        let words = self.unit.line.0.split(|byte| *byte == b' ').filter(|word| !word.is_empty());
        words.skip(first)
    }

    /// Where 1.6.18 would answer otherwise, the same request without its surplus words.
    fn without_surplus(&self) -> Peer {
        let len = match self.verb() {
            b"flush_all" => 2,
            _ => self.words_min(),
        };
        let mut words = self.words[..len].to_vec();
        // One surplus word at least stays: the last but one must not become a noreply, or end in the line end.
        words.push(if self.noreply { b"noreply" } else { b"0" });
        Peer::Instead(self.unit.with_words(&words).bytes())
    }

    fn bad_line(&self) -> Peer {
        Peer::Instead(if self.noreply { Vec::new() } else { bad_line() })
    }
}

/// A longer line than this must not come in pieces.
pub(crate) const LINE_LEN_MAX: usize = 2048;
/// No session takes longer, in seconds.
const SESSION_S_MAX: u64 = 60;
/// Unix times that no server was started before.
const LONG_AGO: RangeInclusive<i32> = 2_592_001..=1_700_000_000;
/// The commands without a data block.
const LINES: &[&str] = &[
    "get",
    "gets",
    "gat",
    "gats",
    "delete",
    "incr",
    "decr",
    "touch",
    "flush_all",
    "version",
    "verbosity",
    "stats",
    "shutdown",
    "quit",
];

/// Those of them that know no noreply.
const GETS: &[&str] = &["get", "gets", "gat", "gats"];

/// What has no effect and is answered `CLIENT_ERROR bad command line format`.
fn bad_line() -> Vec<u8> {
    format!("incr {} 1\r\n", "k".repeat(251)).into_bytes()
}

/// Whether two words may name one key: they are one, or one of them may be base64.
fn may_be_one(word: Option<&&[u8]>, other: Option<&&[u8]>) -> bool {
    word == other || [word, other].iter().flatten().any(|word| word.len() == 4)
}

fn is_key(word: &[u8]) -> bool {
    (1..=250).contains(&word.len())
}

/// What `set` takes as flags, and as exptime: a plus is allowed.
fn is_flags(word: &[u8]) -> bool {
    number(word.strip_prefix(b"+").unwrap_or(word)).is_some()
}

fn is_exptime(word: &[u8]) -> bool {
    let digits = word.strip_prefix(b"+").unwrap_or(word);
    number(digits).is_some_and(|number| u32::try_from(number).is_ok()) || signed(word).is_some()
}

fn is_wide_number(word: &[u8]) -> bool {
    let digits = word.strip_prefix(b"-").or(word.strip_prefix(b"+")).unwrap_or(word);
    !digits.is_empty() && digits.iter().all(u8::is_ascii_digit)
}

/// All rows for lines; the first one that applies counts.
fn for_lines() -> impl Iterator<Item = &'static Wanted> {
    values::WANTED.iter().chain(WANTED).chain(meta::WANTED)
}

/// Why each row is there.
pub(crate) fn reasons() -> impl Iterator<Item = &'static str> {
    for_lines().map(|row| row.reason).chain(binary::WANTED.iter().map(|row| row.reason))
}

/// The row that applies to a line, as its number among the reasons, and what memcached is sent.
pub(crate) fn wanted_of_line(line: &Line) -> Option<(usize, Peer)> {
    for_lines().enumerate().find_map(|(row, wanted)| Some((row, (wanted.applies)(line)?)))
}

/// The same for a frame.
pub(crate) fn wanted_of_frame(sight: &Sight) -> Option<(usize, Peer<Frame>)> {
    let mut rows = (for_lines().count()..).zip(binary::WANTED);
    rows.find_map(|(row, wanted)| Some((row, (wanted.applies)(sight)?)))
}

/// Of all commands, and the classic ones.
const WANTED: &[Wanted] = &[
    Wanted {
        reason: "1.6.18 ends its words at a NUL; it is a byte like any other",
        applies: |line| line.unit.line.0.contains(&0).then_some(Peer::Nothing),
    },
    Wanted {
        reason: "what ends in so few seconds may end while a session runs, and not for both at once",
        applies: |line| {
            let index = match line.verb() {
                b"touch" => 2,
                b"gat" | b"gats" | b"flush_all" => 1,
                _ if line.unit.is_storage() => 3,
                _ => return None,
            };
            let word = line.word(index);
            let seconds = number(word.strip_prefix(b"+").unwrap_or(word))?;
            (1..=SESSION_S_MAX).contains(&seconds).then_some(Peer::Nothing)
        },
    },
    Wanted {
        reason: "as the first byte of a connection this begins the binary protocol",
        applies: |line| line.unit.line.0.starts_with(b"\x80").then_some(Peer::Nothing),
    },
    Wanted {
        reason: "what becomes of a line over 2,048 bytes hangs on how it is cut",
        applies: |line| {
            let is_long = line.unit.line_len() > LINE_LEN_MAX && !line.is(&["get", "gets"]);
            is_long.then_some(Peer::Nothing)
        },
    },
    Wanted {
        reason: "each server says its own version",
        applies: |line| line.is(&["version"]).then_some(Peer::Nothing),
    },
    Wanted {
        reason: "1.6.18 has another first word for it, and may not be stopped",
        applies: |line| line.is(&["shutdown"]).then_some(Peer::Nothing),
    },
    Wanted {
        reason: "1.6.18 has no shortest line; it is four bytes with the end",
        applies: |line| (line.unit.line_len() < 4).then(|| Peer::Instead(bad_line())),
    },
    Wanted {
        reason: "1.6.18 closes without sending what it answered before; that must be sent",
        applies: |line| {
            let is_http = !line.is_known() && line.words.last()?.starts_with(b"HTTP/");
            is_http.then(|| Peer::Ends(b"quit\r\n".to_vec()))
        },
    },
    Wanted {
        reason: "1.6.18 skips leading spaces; they are an empty command",
        applies: |line| {
            let is_led = line.unit.line.0.starts_with(b" ");
            let sent = if line.noreply { &b""[..] } else { b"unknown\r\n" };
            is_led.then(|| Peer::Instead(sent.to_vec()))
        },
    },
    Wanted {
        reason: "1.6.18 answers an unknown command with noreply; nobody waits for that",
        applies: |line| (line.noreply && !line.is_known()).then(|| Peer::Instead(Vec::new())),
    },
    Wanted {
        reason: "1.6.18 knows bget, a name of get that no document has; it is an unknown command",
        applies: |line| line.is(&["bget"]).then(|| Peer::Instead(b"unknown\r\n".to_vec())),
    },
    Wanted {
        reason: "memcached reads the payload behind a bad data length as commands; Larder closes after the error (quirk that \
            is not to be copied, protocol/src/parse.rs)",
        applies: |line| {
            let is_lost = line.unit.has_block() && line.unit.block.is_none();
            is_lost.then(|| Peer::Ends([&bad_line()[..], b"quit\r\n"].concat()))
        },
    },
    Wanted {
        reason: "1.6.18 reads the block of a storage line that it refuses as commands; it is swallowed. It also takes a plus \
            before a unique, and cuts an exptime to 32 bits, where Larder refuses",
        applies: |line| {
            let is_good = is_key(line.word(1))
                && is_flags(line.word(2))
                && is_exptime(line.word(3))
                && (!line.is(&["cas"]) || number(line.word(5)).is_some());
            (line.unit.is_storage() && !is_good).then(|| line.bad_line())
        },
    },
    Wanted {
        reason: "1.6.18 says ERROR where words are missing (and END to `gat 0`); it is CLIENT_ERROR",
        applies: |line| {
            let is_short = line.is_known() && line.words.len() < line.words_min();
            is_short.then(|| Peer::Instead(bad_line()))
        },
    },
    Wanted {
        reason: "memcached drops the replies before a get with a key over 250 bytes; Larder keeps them \
            (protocol/src/parse.rs). Only a first key can be compared",
        applies: |line| {
            if !line.is(GETS) || line.keys().all(is_key) {
                return None;
            }
            if line.is(&["gat", "gats"]) && signed(line.word(1)).is_none() {
                return None;
            }
            let is_first = line.keys().next().is_some_and(|key| !is_key(key));
            Some(if is_first { Peer::Instead(bad_line()) } else { Peer::Nothing })
        },
    },
    Wanted {
        reason: "1.6.18 takes a plus before the exptime of touch and gat and the delay of flush_all, and cuts them to 32 bits; \
            they are strict numbers of 32 bits",
        applies: |line| {
            let (index, is_command) = match line.verb() {
                b"touch" => (2, is_key(line.word(1))),
                b"gat" | b"gats" | b"flush_all" => (1, true),
                _ => return None,
            };
            let word = line.word(index);
            let is_other = is_command && signed(word).is_none() && is_wide_number(word);
            let sent = if line.noreply { &b""[..] } else { b"touch k x\r\n" };
            is_other.then(|| Peer::Instead(sent.to_vec()))
        },
    },
    Wanted {
        reason: "1.6.18 takes a plus before a delta; it is a strict number",
        applies: |line| {
            let delta = line.word(2);
            let is_other = line.is(&["incr", "decr"])
                && is_key(line.word(1))
                && number(delta).is_none()
                && is_wide_number(delta);
            let sent = if line.noreply { &b""[..] } else { b"incr k x\r\n" };
            is_other.then(|| Peer::Instead(sent.to_vec()))
        },
    },
    Wanted {
        reason: "1.6.18 takes no number but 0 behind the key of a delete, and says more about other words; any number is \
            ignored, other words are refused as bad lines",
        applies: |line| {
            let surplus = line.words.len() - usize::from(line.noreply);
            if !line.is(&["delete"]) || surplus <= 2 {
                return None;
            }
            let is_good = surplus == 3 && is_key(line.word(1)) && number(line.word(2)).is_some();
            Some(if is_good { line.without_surplus() } else { line.bad_line() })
        },
    },
    Wanted {
        reason: "1.6.18 answers `delete noreply`, which deletes the key of that name silently",
        applies: |line| {
            let is_both = line.is(&["delete"]) && line.words.len() == 2 && line.noreply;
            is_both.then(|| Peer::Instead(b"delete noreply noreply\r\n".to_vec()))
        },
    },
    Wanted {
        reason: "1.6.18 cuts the number of verbosity to 32 bits and takes a sign; it is a strict one",
        applies: |line| {
            let is_other = line.is(&["verbosity"])
                && number(line.word(1)).is_none_or(|level| level > u64::from(u32::MAX));
            is_other.then(|| line.bad_line())
        },
    },
    Wanted {
        reason: "a flush to come makes 1.6.18 show again what the flush before it hid, and so does one at a time long ago, \
            which is now",
        applies: |line| {
            let delay =
                signed(line.word(1)).filter(|delay| line.is(&["flush_all"]) && *delay > 0)?;
            let verb = if LONG_AGO.contains(&delay) { "flush_all" } else { "verbosity 0" };
            let noreply = if line.noreply { " noreply" } else { "" };
            Some(Peer::Instead(format!("{verb}{noreply}\r\n").into_bytes()))
        },
    },
    Wanted {
        reason: "1.6.18 says ERROR to more than one surplus word; they are ignored",
        applies: |line| {
            let max = match line.verb() {
                b"touch" | b"incr" | b"decr" => 4,
                b"verbosity" | b"flush_all" => 3,
                b"cas" => 7,
                _ if line.unit.is_storage() => 6,
                _ => return None,
            };
            (line.words.len() > max).then(|| line.without_surplus())
        },
    },
    Wanted {
        reason: "these topics show what a server is made of, or are in no order",
        applies: |line| {
            const TOPICS: [&[u8]; 6] =
                [b"settings", b"cachedump", b"conns", b"items", b"slabs", b"store"];
            let is_shown = match line.word(1) {
                b"" => true,
                topic if b"detail".starts_with(topic) => line.word(2) == b"dump",
                topic => {
                    !b"reset".starts_with(topic)
                        && TOPICS.iter().any(|name| name.starts_with(topic))
                }
            };
            (line.is(&["stats"]) && is_shown).then_some(Peer::Nothing)
        },
    },
    Wanted {
        reason: "1.6.18 knows no abbreviations of `stats` topics",
        applies: |line| {
            const TOPICS: [&str; 2] = ["reset", "detail"];
            if !line.is(&["stats"]) || line.words.len() < 2 {
                return None;
            }
            let is_cut = |topic: &&str| topic.as_bytes().starts_with(line.word(1));
            let topic = TOPICS.into_iter().find(is_cut)?;
            let mut words = line.words.clone();
            words[1] = topic.as_bytes();
            (topic.as_bytes() != line.word(1))
                .then(|| Peer::Instead(line.unit.with_words(&words).bytes()))
        },
    },
];
