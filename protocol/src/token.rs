//! Words of a line, and the numbers among them.
//!
//! Only the byte 0x20 separates words, and any number of them in a row; tabs, control bytes and bytes
//! from 0x80 up belong to the word that they stand in.

/// As many words as memcached's tokenizer sees; what comes after them does not exist for it.
const WORDS_MAX: usize = 23;
/// As many words as any command looks at by position.
const WORDS_KEPT: usize = 7;

/// As many digits has a number that fits anywhere, at most.
const PLAIN_DIGITS_MAX: usize = 9;

/// The words of one line.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Words<'a> {
    kept: [&'a [u8]; WORDS_KEPT],
    last: &'a [u8],
    count: usize,
}

impl<'a> Words<'a> {
    /// Splits a line (without its line end).
    pub(crate) fn split(line: &'a [u8]) -> Self {
        let mut words = Self { kept: [b""; WORDS_KEPT], last: b"", count: 0 };
        let mut rest = line;
        while !rest.is_empty() && words.count < WORDS_MAX {
            let (word, behind) = rest.split_at(space_at(rest));
            rest = behind.get(1..).unwrap_or_default();
            if word.is_empty() {
                continue;
            }
            if let Some(slot) = words.kept.get_mut(words.count) {
                *slot = word;
            }
            words.last = word;
            words.count += 1;
        }
        words
    }

    /// All words of a line, which are more than those that are kept.
    pub(crate) fn all(line: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        line.split(|byte| *byte == b' ').filter(|word| !word.is_empty()).take(WORDS_MAX)
    }

    /// How many words there are, 23 at most.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// The word at a position; empty where there is none. The command is at 0.
    pub(crate) fn at(&self, index: usize) -> &'a [u8] {
        self.kept.get(index).copied().unwrap_or_default()
    }

    /// Whether the line ends in `noreply`.
    pub(crate) fn noreply(&self) -> bool {
        self.count > 1 && self.last == b"noreply"
    }

    /// Whether the line looks like the first of an HTTP request.
    pub(crate) fn is_http(&self) -> bool {
        self.last.starts_with(b"HTTP/")
    }
}

/// Where the first space is, or the end.
#[inline]
pub(crate) fn space_at(bytes: &[u8]) -> usize {
    let zeros = |word: u64| {
        let spaces_are_zero = word ^ (ONES * u64::from(b' '));
        spaces_are_zero.wrapping_sub(ONES) & !spaces_are_zero
    };
    first_at(bytes, zeros, |byte| byte == b' ')
}

/// Where the first byte is that ends a word of the plain sort, a space or a control character; or the end.
#[inline]
pub(crate) fn plain_end_at(bytes: &[u8]) -> usize {
    const PRINTABLE_MIN: u8 = b' ' + 1;
    let below = |word: u64| word.wrapping_sub(ONES * u64::from(PRINTABLE_MIN)) & !word;
    first_at(bytes, below, |byte| byte < PRINTABLE_MIN)
}

/// A 1 in each byte.
const ONES: u64 = u64::MAX / 0xff;
/// The highest bit of each byte.
const HIGHS: u64 = ONES << 7;

/// Where the first byte is that is looked for, or the end. Words are short: eight bytes at once in a register are found
/// sooner than the call of a routine for long ones would take.
///
/// In `found` the lowest of the [`HIGHS`] that are set must be that of the first such byte; the others may be anything
/// (H. S. Warren, Hacker's Delight, 6-1, and S. E. Anderson, Bit Twiddling Hacks, "hasless").
#[inline]
fn first_at(bytes: &[u8], found: impl Fn(u64) -> u64, is_it: impl Fn(u8) -> bool) -> usize {
    let (chunks, rest) = bytes.as_chunks::<8>();
    for (index, chunk) in chunks.iter().enumerate() {
        let highs = found(u64::from_le_bytes(*chunk)) & HIGHS;
        if highs != 0 {
            return index * 8 + highs.trailing_zeros() as usize / 8;
        }
    }
    let at = rest.iter().position(|byte| is_it(*byte)).unwrap_or(rest.len());
    chunks.len() * 8 + at
}

/// The digits at the front, so few that their number fits anywhere, and what comes behind them.
#[inline]
pub(crate) fn plain_number(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (mut number, mut len) = (0, 0);
    while let Some(byte) = bytes.get(len) {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            break;
        }
        if len == PLAIN_DIGITS_MAX {
            return None;
        }
        number = number * 10 + u32::from(digit);
        len += 1;
    }
    (len > 0).then(|| (number, &bytes[len..]))
}

/// A decimal number of digits only.
pub(crate) fn strict_u64(word: &[u8]) -> Option<u64> {
    if word.is_empty() {
        return None;
    }
    word.iter().try_fold(0_u64, |number, byte| {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        number.checked_mul(10)?.checked_add(u64::from(digit))
    })
}

/// A decimal number of digits only, up to 2^32 - 1.
pub(crate) fn strict_u32(word: &[u8]) -> Option<u32> {
    strict_u64(word)?.try_into().ok()
}

/// A decimal number of digits with an optional minus.
pub(crate) fn strict_i32(word: &[u8]) -> Option<i32> {
    match word.strip_prefix(b"-") {
        Some(digits) => 0_i64.checked_sub_unsigned(strict_u64(digits)?)?.try_into().ok(),
        None => strict_u64(word)?.try_into().ok(),
    }
}

/// Client flags as the storage commands read them: a plus is allowed, what passes 32 bits is cut.
#[expect(clippy::cast_possible_truncation, reason = "memcached cuts flags to 32 bits")]
pub(crate) fn lenient_flags(word: &[u8]) -> Option<u32> {
    strict_u64(word.strip_prefix(b"+").unwrap_or(word)).map(|flags| flags as u32)
}

/// An exptime as the storage commands read it: a plus is allowed, and so is a negative number in the
/// unsigned form in which libmemcached sends it (4294967295 is -1).
pub(crate) fn lenient_exptime(word: &[u8]) -> Option<i32> {
    let digits = word.strip_prefix(b"+").unwrap_or(word);
    strict_u32(digits).map(u32::cast_signed).or_else(|| strict_i32(word))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn the_first_space_is_found_as_by_looking_at_each_byte(
            bytes in proptest::collection::vec(prop_oneof![Just(b' '), Just(0xa0), any::<u8>()], 0..40),
        ) {
            let at = bytes.iter().position(|byte| *byte == b' ').unwrap_or(bytes.len());
            prop_assert_eq!(space_at(&bytes), at);
        }

        #[test]
        fn a_plain_word_ends_where_looking_at_each_byte_says(
            bytes in proptest::collection::vec(prop_oneof![4 => 0x1e..0x24_u8, 20 => 0x21..0xff_u8], 0..40),
        ) {
            let end = bytes.iter().position(|byte| *byte <= b' ').unwrap_or(bytes.len());
            prop_assert_eq!(plain_end_at(&bytes), end);
        }
    }

    #[test]
    fn words_are_split_at_spaces_alone() {
        let words = Words::split(b"set  a\tb   c ");
        assert_eq!(words.count(), 3);
        assert_eq!((words.at(1), words.at(2), words.at(3)), (&b"a\tb"[..], &b"c"[..], &b""[..]));
    }

    #[test]
    fn words_past_the_23rd_do_not_exist() {
        let line = |surplus: usize| format!("x{} noreply", " w".repeat(surplus));
        assert!(Words::split(line(21).as_bytes()).noreply());
        assert!(!Words::split(line(22).as_bytes()).noreply());
        assert_eq!(Words::split(line(22).as_bytes()).count(), 23);
    }

    #[test]
    fn strict_numbers() {
        assert_eq!(strict_u64(b"18446744073709551615"), Some(u64::MAX));
        assert_eq!(strict_u32(b"4294967295"), Some(u32::MAX));
        assert_eq!(strict_i32(b"-2147483648"), Some(i32::MIN));
        assert_eq!(strict_i32(b"2147483647"), Some(i32::MAX));
        for word in [&b""[..], b"+1", b"1x", b" 1", b"-", b"18446744073709551616"] {
            assert_eq!(strict_u64(word), None, "{}", word.escape_ascii());
        }
        for word in [&b"4294967296"[..], b"-1"] {
            assert_eq!(strict_u32(word), None);
        }
        for word in [&b"2147483648"[..], b"-2147483649", b"--1", b"-", b"-18446744073709551615"] {
            assert_eq!(strict_i32(word), None);
        }
    }

    #[test]
    fn lenient_numbers() {
        assert_eq!(lenient_flags(b"+5"), Some(5));
        assert_eq!(lenient_flags(b"4294967296"), Some(0));
        assert_eq!(lenient_flags(b"-1"), None);
        assert_eq!(lenient_exptime(b"+5"), Some(5));
        assert_eq!(lenient_exptime(b"-5"), Some(-5));
        assert_eq!(lenient_exptime(b"+-5"), None);
        assert_eq!(lenient_exptime(b"2147483648"), Some(i32::MIN));
        assert_eq!(lenient_exptime(b"4294967295"), Some(-1));
        assert_eq!(lenient_exptime(b"4294967296"), None);
        assert_eq!(lenient_exptime(b"-2147483649"), None);
    }
}
