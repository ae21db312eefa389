//! The lines that nearly all clients send, each read in one pass: about half of what it takes to split any line into
//! words and look at them. Whatever is not as plain as that is left to [`crate::parse`].

use crate::KEY_LEN_MAX;
use crate::meta::MetaFlags;
use crate::parse::{MetaStoreLine, StoreLine};
use crate::request::StoreVerb;
use crate::token::{plain_end_at, plain_number};

const NOREPLY: &[u8] = b" noreply";
const LINE_END: &[u8] = b"\r\n";

/// The key of `get key` at the front of `input`, and how long the line is.
#[inline]
pub(crate) fn get_line(input: &[u8]) -> Option<(&[u8], usize)> {
    let (key, rest) = key(input.strip_prefix(b"get ")?)?;
    let rest = rest.strip_prefix(LINE_END)?;
    Some((key, input.len() - rest.len()))
}

/// `set key flags exptime bytes [noreply]` at the front of `input`, one space between the words and numbers of 9 digits
/// at most; `None` where it is anything else, or has not come whole.
#[inline]
pub(crate) fn set_line(input: &[u8]) -> Option<StoreLine<'_>> {
    let (key, rest) = key(input.strip_prefix(b"set ")?)?;
    let (flags, rest) = number(rest)?;
    let (exptime, rest) = number(rest)?;
    let (value_len, rest) = number(rest)?;
    let (noreply, rest) = match rest.strip_prefix(NOREPLY) {
        Some(rest) => (true, rest),
        None => (false, rest),
    };
    let rest = rest.strip_prefix(LINE_END)?;
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

/// Key and flags of `mg key [flags]` at the front of `input`, and how long the line is.
#[inline]
pub(crate) fn meta_get_line(input: &[u8]) -> Option<(&[u8], MetaFlags<'_>, usize)> {
    let (key, rest) = key(input.strip_prefix(b"mg ")?)?;
    let (flags, _, rest) = MetaFlags::plain(rest)?;
    let rest = rest.strip_prefix(LINE_END)?;
    Some((key, flags, input.len() - rest.len()))
}

/// `ms key bytes [flags]` at the front of `input`, and the client flags among these.
#[inline]
pub(crate) fn meta_set_line(input: &[u8]) -> Option<(MetaStoreLine<'_>, u32)> {
    let (key, rest) = key(input.strip_prefix(b"ms ")?)?;
    let (value_len, rest) = number(rest)?;
    let (flags, client_flags, rest) = MetaFlags::plain(rest)?;
    let rest = rest.strip_prefix(LINE_END)?;
    let (line_len, value_len) = (input.len() - rest.len(), value_len as usize);
    Some((MetaStoreLine { key, flags, line_len, value_len }, client_flags))
}

/// A key, and what comes behind it.
#[inline]
pub(crate) fn key(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let key_len = plain_end_at(bytes);
    (1..=KEY_LEN_MAX).contains(&key_len).then(|| bytes.split_at(key_len))
}

/// A space and a number, and what comes behind them.
#[inline]
fn number(bytes: &[u8]) -> Option<(u32, &[u8])> {
    plain_number(bytes.strip_prefix(b" ")?)
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

    #[test]
    fn what_is_plain_of_the_others() {
        assert_eq!(get_line(b"get k\r\nget"), Some((&b"k"[..], 7)));
        for other in [&b"get k \r\n"[..], b"get k l\r\n", b"get  k\r\n", b"get k\n", b"gets k\r\n"]
        {
            assert_eq!(get_line(other), None, "{}", other.escape_ascii());
        }
        let text = |line: &'static str| {
            let (key, flags, len) = meta_get_line(line.as_bytes())?;
            assert_eq!((key, len), (&b"k"[..], line.len()));
            Some(flags.text())
        };
        assert_eq!(text("mg k\r\n"), Some(&b""[..]));
        assert_eq!(text("mg k v t T30 k\r\n"), Some(&b" v t T30 k"[..]));
        assert_eq!(text("mg k T999999999\r\n"), Some(&b" T999999999"[..]));
        for other in [
            "mg k  v\r\n",
            "mg k v \r\n",
            "mg k vk\r\n",
            "mg k v v\r\n",
            "mg k T\r\n",
            "mg k T-1\r\n",
            "mg k T1000000000\r\n",
            "mg k O1\r\n",
            "mg k b\r\n",
            "mg k v\n",
            "md k v\r\n",
        ] {
            assert_eq!(text(other), None, "{other:?}");
        }
        let line = |text: &'static str| {
            let (line, client_flags) = meta_set_line(text.as_bytes())?;
            Some((line.key, line.value_len, line.line_len, client_flags))
        };
        assert_eq!(line("ms k 2\r\nxy\r\n"), Some((&b"k"[..], 2, 8, 0)));
        assert_eq!(line("ms k 2 T0 F5 I\r\n"), Some((&b"k"[..], 2, 16, 5)));
        for other in ["ms k\r\n", "ms k 2 MA\r\n", "ms k +2\r\n", "ms k 2 F+5\r\n"] {
            assert_eq!(line(other), None, "{other:?}");
        }
    }
}
