//! The line of a `set` as nearly all clients send it, read in one pass: about half of what it takes to split any line
//! into words and look at them. Whatever is not as plain as that is left to [`crate::parse`].

use crate::KEY_LEN_MAX;
use crate::parse::StoreLine;
use crate::request::StoreVerb;
use crate::token::plain_end_at;

const VERB: &[u8] = b"set ";
const NOREPLY: &[u8] = b" noreply";
/// With so many digits a number fits anywhere.
const DIGITS_MAX: usize = 9;

/// `set key flags exptime bytes [noreply]` at the front of `input`, one space between the words and numbers of 9 digits
/// at most; `None` where it is anything else, or has not come whole.
#[inline]
pub(crate) fn set_line(input: &[u8]) -> Option<StoreLine<'_>> {
    let rest = input.strip_prefix(VERB)?;
    let key_len = plain_end_at(rest);
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

#[cfg(test)]
mod tests {
    use super::*;

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
