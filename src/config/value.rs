//! The values of single options: strict numbers, sizes and characters.
//!
//! Every reader returns the value or the rest of a sentence whose subject is the option, such as
//! `takes 1 to 10, not '11'`. Knows no option's name.

use std::ops::RangeInclusive;
use std::str::FromStr;

use super::Protocol;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// Digits only: no sign, no blank, no fraction, no overflow.
pub(super) fn digits<T: FromStr>(text: &str) -> Option<T> {
    let strict = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    strict.then(|| text.parse().ok()).flatten()
}

/// Digits with at most one decimal point: no sign, no exponent, and finite.
pub(super) fn decimal(text: &str) -> Option<f64> {
    let strict = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    strict.then(|| text.parse().ok()).flatten().filter(|number: &f64| number.is_finite())
}

/// A reader of whole numbers within `range`; `what` is what they count.
pub(super) fn number<T>(
    what: &'static str,
    range: RangeInclusive<u64>,
) -> impl Fn(&str) -> Result<T, String> + Clone + Send + Sync + 'static
where
    T: TryFrom<u64>,
{
    move |text| {
        digits::<u64>(text)
            .filter(|number| range.contains(number))
            .and_then(|number| T::try_from(number).ok())
            .ok_or_else(|| {
                let (low, high) = (range.start(), range.end());
                format!("takes a number of {what} from {low} to {high}, not '{text}'")
            })
    }
}

/// `-p`: memcached's `-1` and its `0` both become 0, any free port.
pub(super) fn port(text: &str) -> Result<u16, String> {
    if text == "-1" {
        return Ok(0);
    }
    digits(text).ok_or_else(|| {
        format!("takes a port from 0 to 65535, or -1 for any free one, not '{text}'")
    })
}

/// `-a`: permission bits, in octal as `chmod` takes them.
pub(super) fn permissions(text: &str) -> Result<u32, String> {
    digits::<u64>(text)
        .and_then(|_| u32::from_str_radix(text, 8).ok())
        .filter(|bits| *bits <= 0o777)
        .ok_or_else(|| format!("takes permissions in octal from 0 to 777, not '{text}'"))
}

/// `-U`: there is only the 0 that turns UDP off.
pub(super) fn udp_port(text: &str) -> Result<u16, String> {
    digits(text).filter(|port| *port == 0).ok_or_else(|| {
        format!(
            "takes only 0, not '{text}': UDP is not offered, because a forged sender address \
             turns a UDP cache into a traffic amplifier"
        )
    })
}

/// Bytes within `range`, or k, m or g of them.
pub(super) fn size(text: &str, range: RangeInclusive<u64>) -> Option<u64> {
    let (number, unit) = match text.as_bytes().last() {
        Some(b'k' | b'K') => (&text[..text.len() - 1], KIB),
        Some(b'm' | b'M') => (&text[..text.len() - 1], MIB),
        Some(b'g' | b'G') => (&text[..text.len() - 1], GIB),
        _ => (text, 1),
    };
    digits::<u64>(number)
        .and_then(|number| number.checked_mul(unit))
        .filter(|bytes| range.contains(bytes))
}

/// `-I`.
pub(super) fn item_size(text: &str) -> Result<u32, String> {
    size(text, KIB..=GIB).and_then(|bytes| u32::try_from(bytes).ok()).ok_or_else(|| {
        format!(
            "takes a size from 1k to 1g, in bytes or with one of k, m and g behind it, not \
                 '{text}'"
        )
    })
}

/// `-D`: one byte, so that a key is split without decoding it.
pub(super) fn delimiter(text: &str) -> Result<u8, String> {
    match text.as_bytes() {
        [byte] => Ok(*byte),
        _ => Err(format!("takes exactly one character, and one of a single byte, not '{text}'")),
    }
}

/// `-u`: any name; whether there is such a user is the system's to say.
pub(super) fn user(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Err("takes the name of a user, not ''".to_owned());
    }
    Ok(text.to_owned())
}

/// `-B`.
pub(super) fn protocol(text: &str) -> Result<Protocol, String> {
    match text {
        "auto" => Ok(Protocol::Auto),
        "ascii" => Ok(Protocol::Ascii),
        "binary" => Ok(Protocol::Binary),
        _ => Err(format!("takes auto, ascii or binary, not '{text}'")),
    }
}

/// `-f`, which is checked and then ignored.
pub(super) fn growth_factor(text: &str) -> Result<f64, String> {
    decimal(text)
        .filter(|factor| *factor > 1.0)
        .ok_or_else(|| format!("takes a number greater than 1, not '{text}'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permissions_are_octal() {
        for (text, bits) in [("0", 0), ("700", 0o700), ("0660", 0o660), ("777", 0o777)] {
            assert_eq!(permissions(text), Ok(bits));
        }
        for text in ["", "1000", "8", "-7", "+7", "0o7", "rwx"] {
            assert_eq!(
                permissions(text),
                Err(format!("takes permissions in octal from 0 to 777, not '{text}'"))
            );
        }
    }

    #[test]
    fn numbers_are_strict() {
        let read = number::<u32>("pots", 1..=10);
        assert_eq!(read("1"), Ok(1));
        assert_eq!(read("10"), Ok(10));
        assert_eq!(read("007"), Ok(7));
        for text in
            ["", "0", "11", "-1", "+1", " 1", "1 ", "1.0", "0x1", "1k", "٣", "99999999999999999999"]
        {
            assert_eq!(
                read(text),
                Err(format!("takes a number of pots from 1 to 10, not '{text}'"))
            );
        }
        // A range wider than the type refuses rather than truncates.
        assert!(number::<u8>("pots", 0..=300)("256").is_err());
        assert_eq!(number::<u64>("pots", 0..=u64::MAX)("18446744073709551615"), Ok(u64::MAX));
        assert!(number::<u64>("pots", 0..=u64::MAX)("18446744073709551616").is_err());
    }

    #[test]
    fn decimals_are_strict() {
        assert_eq!(decimal("1.25"), Some(1.25));
        assert_eq!(decimal("2"), Some(2.0));
        for text in ["", ".", "1.2.3", "-1", "+1", "1e3", "inf", "nan", " 1", &"9".repeat(400)] {
            assert_eq!(decimal(text), None, "{text}");
        }
    }

    #[test]
    fn ports() {
        assert_eq!(port("0"), Ok(0));
        assert_eq!(port("-1"), Ok(0));
        assert_eq!(port("65535"), Ok(65535));
        for text in ["65536", "-2", "", "x", "1 "] {
            let refusal = port(text).unwrap_err();
            assert_eq!(
                refusal,
                format!("takes a port from 0 to 65535, or -1 for any free one, not '{text}'")
            );
        }
        assert_eq!(udp_port("0"), Ok(0));
        for text in ["1", "11211", "65536", "-1", ""] {
            let refusal = udp_port(text).unwrap_err();
            assert!(refusal.starts_with(&format!("takes only 0, not '{text}': UDP")), "{refusal}");
        }
    }

    #[test]
    fn item_sizes() {
        for (text, bytes) in [
            ("1024", 1 << 10),
            ("1025", 1025),
            ("1k", 1 << 10),
            ("1K", 1 << 10),
            ("3m", 3 << 20),
            ("3M", 3 << 20),
            ("1g", 1 << 30),
            ("1G", 1 << 30),
            ("1024m", 1 << 30),
            ("1073741824", 1 << 30),
        ] {
            assert_eq!(item_size(text), Ok(bytes), "{text}");
        }
        for text in [
            "",
            "k",
            "0",
            "0k",
            "1023",
            "1073741825",
            "1025m",
            "2g",
            "-1k",
            "1.5m",
            "1kb",
            "1 k",
            "1t",
            "1é",
            "18446744073709551615g",
        ] {
            let refusal = item_size(text).unwrap_err();
            assert_eq!(
                refusal,
                format!(
                    "takes a size from 1k to 1g, in bytes or with one of k, m and g behind it, \
                     not '{text}'"
                )
            );
        }
    }

    #[test]
    fn words() {
        assert_eq!(delimiter("#"), Ok(b'#'));
        for text in ["", "::", "é"] {
            let refusal = delimiter(text).unwrap_err();
            assert_eq!(
                refusal,
                format!("takes exactly one character, and one of a single byte, not '{text}'")
            );
        }
        assert_eq!(user("nobody"), Ok("nobody".to_owned()));
        assert_eq!(user(""), Err("takes the name of a user, not ''".to_owned()));
        assert_eq!(protocol("auto"), Ok(Protocol::Auto));
        assert_eq!(protocol("ascii"), Ok(Protocol::Ascii));
        assert_eq!(protocol("binary"), Ok(Protocol::Binary));
        assert_eq!(protocol("ASCII"), Err("takes auto, ascii or binary, not 'ASCII'".to_owned()));
        assert_eq!(growth_factor("1.01"), Ok(1.01));
        for text in ["1", "1.0", "0.9", "x", ""] {
            let refusal = growth_factor(text).unwrap_err();
            assert_eq!(refusal, format!("takes a number greater than 1, not '{text}'"));
        }
    }
}
