//! Where the meta commands of Larder and of memcached 1.6.18 are to differ.

use super::{LONG_AGO, Line, Peer, Wanted, bad_line, is_key, is_wide_number};
use crate::differential::base64;
use crate::differential::generate::ITEM_SIZE_MAX;
use crate::differential::unit::{number, signed};

/// The letters that are flags.
const LETTERS: &[u8] = b"vkfstchluqxIPLbOTNRFCEJDM";
/// So many words 1.6.18 takes.
const WORDS_MAX: usize = 18;
const OPAQUE_LEN_MAX: usize = 32;

impl<'unit> Line<'unit> {
    /// Where its flags begin.
    fn flags_at(&self) -> usize {
        if self.is(&["ms"]) { 3 } else { 2 }
    }

    /// The flags of a meta command.
    fn flags(&self) -> &[&'unit [u8]] {
        self.words.get(self.flags_at()..).filter(|_| self.unit.is_meta()).unwrap_or_default()
    }

    /// The token of a flag.
    fn token(&self, letter: u8) -> Option<&'unit [u8]> {
        let flag = self.flags().iter().find(|flag| flag.first() == Some(&letter))?;
        Some(&flag[1..])
    }

    /// By how much a `ma` counts, and what it begins with.
    pub(super) fn count_tokens(&self) -> impl Iterator<Item = &'unit [u8]> {
        self.token(b'D').into_iter().chain(self.token(b'J'))
    }

    /// Whether its key is in base64.
    fn is_encoded(&self) -> bool {
        self.token(b'b').is_some()
    }

    /// The flag at which reading ends, because it is none or is there twice.
    fn stop(&self) -> Option<&'unit [u8]> {
        let flags = self.flags();
        flags.iter().enumerate().find_map(|(index, flag)| {
            let is_twice = flags[..index].iter().any(|other| other[0] == flag[0]);
            (is_twice || !LETTERS.contains(&flag[0])).then_some(*flag)
        })
    }

    /// The same with other flags.
    fn with_flags(&self, flag: impl Fn(&'unit [u8]) -> Option<Vec<u8>>) -> Option<Peer> {
        let (before, flags) = self.words.split_at(self.flags_at().min(self.words.len()));
        let mut is_other = false;
        let words = before.iter().map(|word| word.to_vec()).chain(flags.iter().map(|word| {
            let other = flag(word);
            is_other |= other.is_some();
            other.unwrap_or_else(|| word.to_vec())
        }));
        let words: Vec<Vec<u8>> = words.collect();
        let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
        is_other.then(|| Peer::Instead(self.unit.with_words(&words).bytes()))
    }

    /// Whether its flags are none, or numbers among them.
    fn has_bad_flags(&self) -> bool {
        let is_undecodable = self.is_encoded() && base64::decoded(self.word(1)).is_none();
        let is_bad = |flag: &&[u8]| is_number(flag) == Some(false);
        self.stop().is_some() || is_undecodable || self.flags().iter().any(is_bad)
    }

    /// The same with `x` for numbers that 1.6.18 alone takes.
    fn strictly(&self) -> Option<Peer> {
        self.with_flags(|flag| {
            let (letter, token) = flag.split_first()?;
            match letter {
                b'M' if token.is_empty() => Some(b"Mx".to_vec()),
                b'M' => (token.len() > 1).then(|| vec![b'M', token[0]]),
                _ => {
                    let is_lax = is_number(flag) == Some(false) && is_wide_number(token);
                    is_lax.then(|| vec![*letter, b'x'])
                }
            }
        })
    }

    fn has_meta_key(&self) -> bool {
        self.unit.is_meta() && is_key(self.word(1))
    }
}

/// Whether a flag has the number that it must have; `None` where it needs none.
fn is_number(flag: &[u8]) -> Option<bool> {
    let (letter, token) = flag.split_first()?;
    Some(match letter {
        b'T' | b'N' | b'R' => signed(token).is_some(),
        b'C' | b'D' | b'J' => number(token).is_some(),
        b'F' => number(token).is_some_and(|number| u32::try_from(number).is_ok()),
        _ => return None,
    })
}

pub(super) const WANTED: &[Wanted] = &[
    Wanted {
        reason: "1.6.18 reads the block behind a key of ms that is too long as commands; it is swallowed",
        applies: |line| {
            (line.is(&["ms"]) && !is_key(line.word(1))).then(|| Peer::Instead(bad_line()))
        },
    },
    Wanted {
        reason: "1.6.18 takes fewer words",
        applies: |line| {
            let is_long = line.unit.is_meta() && line.words.len() > WORDS_MAX;
            is_long.then_some(Peer::Nothing)
        },
    },
    Wanted {
        reason: "1.6.18 has no flag E and no flag x (it says invalid flag)",
        applies: |line| {
            let is_new = line.token(b'E').is_some() || line.token(b'x').is_some();
            (is_new && !line.is(&["me", "mn"])).then_some(Peer::Nothing)
        },
    },
    Wanted {
        reason: "1.6.18 has other words for what begins with no letter or digit, and me takes it; that makes a bad line \
            before anything else does",
        applies: |line| {
            let looks_wrong = |flag: &&[u8]| !matches!(flag[0], b'0'..=b'9' | b'A'..=b'z');
            let is_bad = line.flags().iter().any(looks_wrong) && !line.is(&["mn"]);
            is_bad.then(|| Peer::Instead(bad_line()))
        },
    },
    Wanted {
        reason: "1.6.18 says of a key of ma that it is too long; it is a mistake like any other of ma",
        applies: |line| {
            let is_long = line.is(&["ma"]) && !is_key(line.word(1));
            is_long.then(|| Peer::Instead(b"ma k z\r\n".to_vec()))
        },
    },
    Wanted {
        reason: "1.6.18 reads no base64 in me",
        applies: |line| (line.is(&["me"]) && line.is_encoded()).then_some(Peer::Nothing),
    },
    Wanted {
        reason: "1.6.18 skips in base64 what is none, and stops at padding; that is an error",
        applies: |line| {
            let is_encoded = line.is_encoded() && !line.is(&["mn"]);
            let is_bad =
                is_encoded && line.has_meta_key() && base64::decoded(line.word(1)).is_none();
            is_bad.then_some(Peer::Nothing).filter(|_| base64::is_nearly(line.word(1)))
        },
    },
    Wanted {
        reason: "1.6.18 does first what an opaque that is too long comes with",
        applies: |line| {
            let is_long = line.token(b'O').is_some_and(|token| token.len() >= OPAQUE_LEN_MAX);
            (is_long && !line.is(&["me", "mn"])).then_some(Peer::Nothing)
        },
    },
    Wanted {
        reason: "1.6.18 ignores C of mg, where a value is asked for",
        applies: |line| {
            let is_conditional = line.token(b'C').is_some() && line.token(b'v').is_some();
            (line.is(&["mg"]) && is_conditional).then_some(Peer::Nothing)
        },
    },
    Wanted {
        reason: "memcached shows the seconds up to a time in the past as a number that is too large",
        applies: |line| {
            let is_past = |letter| {
                let seconds = signed(line.token(letter)?)?;
                Some(seconds < 0 || LONG_AGO.contains(&seconds))
            };
            let is_shown = line.token(b't').is_some() && line.is(&["mg", "ma"]);
            let is_past = is_past(b'T') == Some(true) || is_past(b'N') == Some(true);
            (is_shown && is_past).then_some(Peer::Nothing)
        },
    },
    Wanted {
        reason: "1.6.18 ignores s of ms",
        applies: |line| (line.is(&["ms"]) && line.token(b's').is_some()).then_some(Peer::Nothing),
    },
    Wanted {
        reason: "1.6.18 ignores N of ms, where it joins",
        applies: |line| {
            let joins =
                line.token(b'M').is_some_and(|mode| matches!(mode.first(), Some(b'A' | b'P')));
            (line.is(&["ms"]) && line.token(b'N').is_some() && joins).then_some(Peer::Nothing)
        },
    },
    Wanted {
        reason: "memcached removes the old item in any mode when a value of ms is too large",
        applies: |line| {
            let block = &line.unit.block.as_ref().filter(|_| line.is(&["ms"]))?.0;
            let is_kept = line.token(b'M').is_some() || line.token(b'C').is_some();
            (is_kept && block.len() > ITEM_SIZE_MAX / 2).then_some(Peer::Nothing)
        },
    },
    Wanted {
        reason: "1.6.18 says HD for what ma makes though it is quiet, and nothing where there was a number: which, no request shows",
        applies: |line| {
            let is_quiet = line.token(b'q').is_some() && line.token(b'N').is_some();
            (line.is(&["ma"]) && is_quiet).then_some(Peer::Nothing)
        },
    },
    Wanted {
        reason: "1.6.18 gives the new exptime of a number that outgrows its width to the one that was",
        applies: |line| {
            let is_smaller = line.token(b'M').is_some_and(|token| matches!(token, b"D" | b"-"));
            let is_other = line.is(&["ma"]) && line.token(b'T').is_some() && !is_smaller;
            is_other.then_some(Peer::Nothing)
        },
    },
    Wanted {
        reason: "1.6.18 has the same words for all mistakes among the flags of md; they are those of mg",
        applies: |line| {
            if !line.is(&["md"]) || !line.has_meta_key() || !line.has_bad_flags() {
                return None;
            }
            let sent = match line.strictly() {
                Some(Peer::Instead(sent)) => sent,
                _ => line.unit.bytes(),
            };
            Some(Peer::Instead([b"mg", &sent[2..]].concat()))
        },
    },
    Wanted {
        reason: "1.6.18 takes a sign before the numbers of flags, cuts exptimes to 32 bits, and takes one letter behind M \
            alone; numbers are strict, more of a mode's name is ignored, and none is no mode",
        applies: |line| line.strictly().filter(|_| line.unit.is_meta() && !line.is(&["me", "mn"])),
    },
];
