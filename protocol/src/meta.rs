//! The flags of the meta commands: letters, some with a token behind them, which say what is to be done and what the
//! reply is to show.
//!
//! A request keeps them as they stand on the line, for what is shown is shown in their order; they are checked when the
//! line is parsed.
//!
//! INVARIANT: the text of [`MetaFlags`] has been read without an error, so that reading it again cannot fail.

use crate::reject::Reject;
use crate::request::ArithmeticVerb;
use crate::token::{plain_number, space_at, strict_i32, strict_u32, strict_u64};
use crate::{KEY_LEN_MAX, base64};

/// Most words on a line, the command and the key among them.
const WORDS_MAX: usize = 20;
/// Longest opaque with its letter, in bytes.
const OPAQUE_LEN_MAX: usize = 32;
/// The longest key that base64 of [`KEY_LEN_MAX`] bytes stands for.
pub const DECODED_LEN_MAX: usize = KEY_LEN_MAX / 4 * 3;

/// The verbs that are a line and nothing more, and have a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetaVerb {
    /// `mg`.
    Get,
    /// `md`.
    Delete,
    /// `ma`.
    Arithmetic,
    /// `me`, of which only the flag `b` counts.
    Debug,
}

/// The flags of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MetaFlags<'a> {
    text: &'a [u8],
    /// A bit for each letter.
    seen: u64,
}

/// One flag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MetaFlag<'a> {
    /// Its letter.
    pub letter: u8,
    /// The letter and its token.
    pub text: &'a [u8],
}

/// What a storage command does to what is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MetaMode {
    /// `S`: replaces it.
    #[default]
    Set,
    /// `E`: only stores where there is nothing.
    Add,
    /// `A`: goes behind it.
    Append,
    /// `P`: goes before it.
    Prepend,
    /// `R`: replaces it where there is something.
    Replace,
}

/// The numbers among the flags.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MetaTerms {
    /// `T`: a new exptime.
    pub exptime: Option<i32>,
    /// `N`: the exptime of an item that is made where there is none.
    pub vivify: Option<i32>,
    /// `R`: the time left, as an exptime, under which a client is told to refill.
    pub recache: Option<i32>,
    /// `F`: the client's 32 bits.
    pub client_flags: u32,
    /// `C`: the CAS unique that the item must have.
    pub compare: Option<u64>,
    /// `E`: the CAS unique that the item gets.
    pub cas_unique: Option<u64>,
    /// `J`: the number in an item that is made.
    pub initial: u64,
    /// `D`: by how much to count.
    pub delta: u64,
    /// `M`: the first byte of its token.
    mode: Option<u8>,
}

impl Default for MetaTerms {
    fn default() -> Self {
        Self::NONE
    }
}

impl MetaTerms {
    /// Of flags without numbers.
    pub const NONE: Self = Self {
        exptime: None,
        vivify: None,
        recache: None,
        client_flags: 0,
        compare: None,
        cas_unique: None,
        initial: 0,
        delta: 1,
        mode: None,
    };

    /// Takes the number of a letter.
    #[inline]
    fn take(&mut self, letter: u8, number: u32) {
        match letter {
            b'T' => self.exptime = Some(number.cast_signed()),
            b'N' => self.vivify = Some(number.cast_signed()),
            b'R' => self.recache = Some(number.cast_signed()),
            b'C' => self.compare = Some(number.into()),
            b'E' => self.cas_unique = Some(number.into()),
            b'F' => self.client_flags = number,
            b'J' => self.initial = number.into(),
            b'D' => self.delta = number.into(),
            _ => {}
        }
    }

    /// Reads the token of a letter; false where it carries nothing.
    fn read(&mut self, letter: u8, token: &[u8]) -> Result<bool, Reject> {
        let exptime = || strict_i32(token).ok_or(Reject::BadToken);
        let cas_unique = || strict_u64(token).ok_or(Reject::BadToken);
        match letter {
            b'T' => self.exptime = Some(exptime()?),
            b'N' => self.vivify = Some(exptime()?),
            b'R' => self.recache = Some(exptime()?),
            b'C' => self.compare = Some(cas_unique()?),
            b'E' => self.cas_unique = Some(cas_unique()?),
            b'F' => self.client_flags = strict_u32(token).ok_or(Reject::BadLine)?,
            b'J' => self.initial = strict_u64(token).ok_or(Reject::InvalidInitial)?,
            b'D' => self.delta = strict_u64(token).ok_or(Reject::InvalidMetaDelta)?,
            // A space is no mode.
            b'M' => self.mode = Some(token.first().copied().unwrap_or(b' ')),
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// `M` of `ms`; `None` where there is no such mode.
    fn try_mode(&self) -> Option<MetaMode> {
        match self.mode {
            None | Some(b'S') => Some(MetaMode::Set),
            Some(b'E') => Some(MetaMode::Add),
            Some(b'A') => Some(MetaMode::Append),
            Some(b'P') => Some(MetaMode::Prepend),
            Some(b'R') => Some(MetaMode::Replace),
            Some(_) => None,
        }
    }

    /// `M` of `ma`; `None` where there is no such mode.
    fn try_direction(&self) -> Option<ArithmeticVerb> {
        match self.mode {
            None | Some(b'I' | b'+') => Some(ArithmeticVerb::Incr),
            Some(b'D' | b'-') => Some(ArithmeticVerb::Decr),
            Some(_) => None,
        }
    }

    /// What a `ms` does to what is there.
    pub fn mode(&self) -> MetaMode {
        self.try_mode().unwrap_or_default()
    }

    /// Which way a `ma` counts.
    pub fn direction(&self) -> ArithmeticVerb {
        self.try_direction().unwrap_or(ArithmeticVerb::Incr)
    }
}

/// The bit of a letter.
const fn bit(letter: u8) -> u64 {
    1 << (letter - b'A')
}

/// The bits of some letters.
const fn bits(letters: &[u8]) -> u64 {
    let (mut bits, mut index) = (0, 0);
    while index < letters.len() {
        bits |= bit(letters[index]);
        index += 1;
    }
    bits
}

/// The letters that carry something in [`MetaTerms`].
const TERMS: u64 = bits(b"TNRFCEJDM");
/// Those of them whose token is a number.
const NUMBERS: u64 = TERMS & !bit(b'M');
/// The letters whose token, if there is one, says nothing.
const PLAIN: u64 = bits(b"vkfstchluqxIPL");

/// Flags that take no more than this, in bytes, are not too many: each takes two at least.
const PLAIN_LEN_MAX: usize = 2 * (WORDS_MAX - 3);

/// The next word of a line, empty where there is none, and what is behind it.
#[inline]
pub(crate) fn next_word(line: &[u8]) -> (&[u8], &[u8]) {
    let line = without_spaces(line);
    line.split_at(space_at(line))
}

/// What comes behind the spaces at the front, of which there are few.
#[inline]
fn without_spaces(mut line: &[u8]) -> &[u8] {
    while let [b' ', rest @ ..] = line {
        line = rest;
    }
    line
}

/// Reads flags of the plain sort, one space before each: a letter that says nothing but itself, or one with a short
/// number, which is handed to `take`. Their bits, and what comes behind them; `None` where it is anything else.
#[inline]
fn plain_flags(bytes: &[u8], mut take: impl FnMut(u8, u32)) -> Option<(u64, &[u8])> {
    let (mut seen, mut rest) = (0, bytes);
    while let [b' ', letter, behind @ ..] = rest {
        let bit = 1_u64.checked_shl(u32::from(letter.wrapping_sub(b'A')))? & !seen;
        if bit & (PLAIN | NUMBERS) == 0 {
            return None;
        }
        seen |= bit;
        rest = behind;
        if bit & NUMBERS != 0 {
            let number;
            (number, rest) = plain_number(rest)?;
            take(*letter, number);
        }
    }
    Some((seen, rest))
}

/// What differs between the verbs where flags are checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `mg`.
    Get,
    /// `ms`.
    Set,
    /// `md`.
    Delete,
    /// `ma`.
    Arithmetic,
}

/// What was read of flags.
#[derive(Debug, Default)]
struct Read {
    seen: u64,
    opaque_len: usize,
    terms: MetaTerms,
}

impl<'a> MetaFlags<'a> {
    /// Checks the flags behind a key, and how long that is.
    pub(crate) fn new(kind: Kind, key: &[u8], text: &'a [u8]) -> Result<Self, Reject> {
        // The verb, the key, and the length of a data block.
        let words_before = if kind == Kind::Set { 3 } else { 2 };
        let flags = Self { text, seen: 0 };
        let is_too_long = || words_before + flags.iter().count() > WORDS_MAX;
        let read = match flags.read(key) {
            _ if key.len() > KEY_LEN_MAX => Err(Reject::BadLine),
            _ if text.len() >= WORDS_MAX && is_too_long() => Err(Reject::TooManyFlags),
            read => read,
        };
        let read = read.map_err(|reject| match kind {
            _ if !flags.are_like_flags() => Reject::BadLine,
            Kind::Get | Kind::Set | Kind::Delete => reject,
            // It has one answer to all mistakes.
            Kind::Arithmetic => Reject::InvalidOrDuplicateFlag,
        })?;
        if kind == Kind::Set && read.terms.try_mode().is_none() {
            return Err(Reject::InvalidSetMode);
        }
        if kind == Kind::Arithmetic && read.terms.try_direction().is_none() {
            return Err(Reject::InvalidCountMode);
        }
        if read.opaque_len > OPAQUE_LEN_MAX {
            return Err(Reject::OpaqueTooLong);
        }
        Ok(Self { text, seen: read.seen })
    }

    /// The same for `me`, which takes whatever looks like flags.
    pub(crate) fn for_debug(key: &[u8], text: &'a [u8]) -> Result<Self, Reject> {
        let flags = Self { text, seen: 0 };
        let is_base64 = flags.iter().any(|flag| flag.text == b"b");
        let has_no_key = is_base64 && base64::decoded_len(key).is_none();
        if has_no_key || key.len() > KEY_LEN_MAX || !flags.are_like_flags() {
            return Err(Reject::BadLine);
        }
        Ok(Self { seen: if is_base64 { bit(b'b') } else { 0 }, ..flags })
    }

    /// The flags at the front of `bytes` where they are of the plain sort and no mistakes, the client flags among them,
    /// and what comes behind them.
    #[inline]
    pub(crate) fn plain(bytes: &'a [u8]) -> Option<(Self, u32, &'a [u8])> {
        let mut client_flags = 0;
        let (seen, rest) = plain_flags(bytes, |letter, number| {
            if letter == b'F' {
                client_flags = number;
            }
        })?;
        let text = &bytes[..bytes.len() - rest.len()];
        (text.len() <= PLAIN_LEN_MAX).then_some((Self { text, seen }, client_flags, rest))
    }

    /// Whether each begins with what a flag may begin with. memcached looks at that before it looks at anything else.
    fn are_like_flags(self) -> bool {
        self.iter().all(|flag| matches!(flag.letter, b'0'..=b'9' | b'A'..=b'z'))
    }

    /// Reads all flags. Where several are wrong, the last one says what; behind one that is no flag nothing is read.
    fn read(self, key: &[u8]) -> Result<Read, Reject> {
        let mut read = Read::default();
        let mut wrong = None;
        for MetaFlag { letter, text } in self.iter() {
            if !letter.is_ascii_alphabetic() {
                return Err(Reject::InvalidFlag);
            }
            if read.seen & bit(letter) != 0 {
                return Err(Reject::DuplicateFlag);
            }
            read.seen |= bit(letter);
            if PLAIN & bit(letter) != 0 {
                continue;
            }
            match letter {
                b'O' => read.opaque_len = text.len(),
                b'b' if base64::decoded_len(key).is_some() => {}
                b'b' => wrong = Some(Reject::UndecodableKey),
                _ => match read.terms.read(letter, &text[1..]) {
                    Ok(true) => {}
                    Ok(false) => return Err(Reject::InvalidFlag),
                    // The one mistake that has no words of its own.
                    Err(Reject::BadLine) => wrong = wrong.or(Some(Reject::BadLine)),
                    Err(reject) => wrong = Some(reject),
                },
            }
        }
        wrong.map_or(Ok(read), Err)
    }

    /// Whether a letter is among them.
    #[inline]
    pub fn has(self, letter: u8) -> bool {
        debug_assert!(letter.is_ascii_alphabetic(), "flags are letters");
        self.seen & bit(letter) != 0
    }

    /// The flags, in order.
    #[inline]
    pub fn iter(self) -> impl Iterator<Item = MetaFlag<'a>> {
        let mut rest = self.text;
        std::iter::from_fn(move || {
            let word = without_spaces(rest);
            let letter = *word.first()?;
            // Most are a letter and nothing more.
            let len = if matches!(word, [_] | [_, b' ', ..]) { 1 } else { space_at(word) };
            let (text, behind) = word.split_at(len);
            rest = behind;
            Some(MetaFlag { letter, text })
        })
    }

    /// Whether one of some letters is among them.
    #[inline]
    pub fn has_any(self, letters: &[u8]) -> bool {
        self.seen & bits(letters) != 0
    }

    /// Whether there are numbers among them.
    #[inline]
    pub fn has_terms(self) -> bool {
        self.seen & TERMS != 0
    }

    /// The numbers among them.
    pub fn terms(self) -> MetaTerms {
        let mut terms = MetaTerms::NONE;
        let plain = plain_flags(self.text, |letter, number| terms.take(letter, number));
        if plain.is_some_and(|(_, rest)| rest.is_empty()) { terms } else { self.terms_of_any() }
    }

    /// The same, whatever flags they are.
    pub(crate) fn terms_of_any(self) -> MetaTerms {
        let mut terms = MetaTerms::NONE;
        for MetaFlag { letter, text } in self.iter() {
            // They were read before.
            let _ = terms.read(letter, &text[1..]);
        }
        terms
    }

    /// What stands on the line, to be kept: [`Self::reread`] makes flags of it again.
    pub fn text(self) -> &'a [u8] {
        self.text
    }

    /// The flags that stand in a [`Self::text`].
    #[must_use]
    pub fn reread(self, text: &[u8]) -> MetaFlags<'_> {
        MetaFlags { text, seen: self.seen }
    }

    /// How long the key is that a word stands for, in bytes.
    pub(crate) fn key_len(self, word: &[u8]) -> usize {
        if self.has(b'b') { base64::decoded_len(word).unwrap_or_default() } else { word.len() }
    }

    /// The key that a word stands for. Where it is base64, that is decoded into `room`.
    #[inline]
    pub fn key<'b>(self, word: &'b [u8], room: &'b mut [u8; DECODED_LEN_MAX]) -> &'b [u8] {
        if self.has(b'b') { base64::decode(word, room).unwrap_or_default() } else { word }
    }
}
