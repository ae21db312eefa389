//! The line of a `set` as nearly all clients send it, read in one pass: about half of what it takes to split any line
//! into words and look at them. Whatever is not as plain as that is left to [`crate::parse`].

use crate::KEY_LEN_MAX;
use crate::parse::StoreLine;
use crate::request::StoreVerb;

const VERB: &[u8] = b"set ";
const NOREPLY: &[u8] = b" noreply";
/// With so many digits a number fits anywhere.
const DIGITS_MAX: usize = 9;
/// What is below ends a plain word, or makes it none.
const PRINTABLE_MIN: u8 = b' ' + 1;

/// `set key flags exptime bytes [noreply]` at the front of `input`, one space between the words and numbers of 9 digits
/// at most; `None` where it is anything else, or has not come whole.
#[inline]
pub(crate) fn set_line(input: &[u8]) -> Option<StoreLine<'_>> {
    let rest = input.strip_prefix(VERB)?;
    let key_len = word_len(rest);
    if !(1..=KEY_LEN_MAX).contains(&key_len) {
        return None;
    }
    let (key, rest) = rest.split_at(key_len);
    let (flags, rest) = number(rest)?;
    let (exptime, rest) = number(rest)?;
    let (value_len, rest) = number(rest)?;
    let (noreply, rest) = match rest.strip_prefix(NOREPLY) {
        Some(rest) => (true, rest),
        None => (false, rest),
    };
    let rest = rest.strip_prefix(b"\r\n")?;
    Some(StoreLine {
        verb: StoreVerb::Set,
        key,
        flags,
        exptime: exptime.cast_signed(),
        noreply,
        line_len: input.len() - rest.len(),
        value_len: value_len as usize,
    })
}

/// A space and a number, and what comes behind them.
#[inline]
fn number(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let digits = bytes.strip_prefix(b" ")?;
    let (mut number, mut len) = (0, 0);
    while let Some(byte) = digits.get(len) {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            break;
        }
        if len == DIGITS_MAX {
            return None;
        }
        number = number * 10 + u32::from(digit);
        len += 1;
    }
    (len > 0).then(|| (number, &digits[len..]))
}

/// How many bytes there are before the first space or control character, or in all.
#[inline]
fn word_len(bytes: &[u8]) -> usize {
    const ONES: u64 = u64::MAX / 0xff;
    const HIGHS: u64 = ONES << 7;
    let (chunks, rest) = bytes.as_chunks::<8>();
    for (index, chunk) in chunks.iter().enumerate() {
        let word = u64::from_le_bytes(*chunk);
        // The lowest of these bits is that of the first such byte (S. E. Anderson, Bit Twiddling Hacks, "hasless").
        let ends = word.wrapping_sub(ONES * u64::from(PRINTABLE_MIN)) & !word & HIGHS;
        if ends != 0 {
            return index * 8 + ends.trailing_zeros() as usize / 8;
        }
    }
    let is_end = |byte: &u8| *byte < PRINTABLE_MIN;
    chunks.len() * 8 + rest.iter().position(is_end).unwrap_or(rest.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_word_ends_where_looking_at_each_byte_says(
            bytes in proptest::collection::vec(prop_oneof![4 => 0x1e..0x24_u8, 20 => 0x21..0xff_u8], 0..40),
        ) {
            let end = bytes.iter().position(|byte| *byte <= b' ').unwrap_or(bytes.len());
            prop_assert_eq!(word_len(&bytes), end);
        }
    }

    #[test]
    fn what_is_plain() {
        let line = |text: &'static str| {
            set_line(text.as_bytes())
                .map(|line| (line.key, line.flags, line.exptime, line.value_len, line.line_len))
        };
        assert_eq!(line("set k 1 2 3\r\nxyz"), Some((&b"k"[..], 1, 2, 3, 13)));
        assert_eq!(line("set k 999999999 0 0\r\n"), Some((&b"k"[..], 999_999_999, 0, 0, 21)));
        assert_eq!(line("set k 1 2 3 noreply\r\n"), Some((&b"k"[..], 1, 2, 3, 21)));
        for other in [
            "set  k 1 2 3\r\n",
            "set k\t 1 2 3\r\n",
            "set \r 1 2 3\r\n",
            "set k 1  2 3\r\n",
            "set k 1 2 3 \r\n",
            "set k 1 2 3\n",
            "set k 1 2 3",
            "set k 1 2 \r\n",
            "set k 1 -2 3\r\n",
            "set k +1 2 3\r\n",
            "set k 1000000000 2 3\r\n",
            "set k 1 2 3 4\r\n",
            "set k 1 2 3 noreply \r\n",
            "add k 1 2 3\r\n",
        ] {
            assert_eq!(line(other), None, "{other:?}");
        }
    }
}
