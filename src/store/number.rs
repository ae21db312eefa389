//! The number that a value may hold, for `incr` and `decr`.

/// The number in a value, as leniently as memcached reads it (strtoull): white space before it, a
/// plus, and anything after a white space or a NUL behind it.
pub(super) fn number_in(value: &[u8]) -> Option<u64> {
    // C's isspace; Rust's ASCII white space lacks the vertical tab.
    let is_space = |byte: &u8| byte.is_ascii_whitespace() || *byte == 0x0b;
    let start = value.iter().take_while(|byte| is_space(byte)).count();
    let rest = &value[start..];
    let rest = rest.strip_prefix(b"+").unwrap_or(rest);
    let digits = &rest[..rest.iter().take_while(|byte| byte.is_ascii_digit()).count()];
    let behind = rest.get(digits.len());
    if digits.is_empty() || behind.is_some_and(|byte| !is_space(byte) && *byte != 0) {
        return None;
    }
    digits.iter().try_fold(0_u64, |number, digit| {
        number.checked_mul(10)?.checked_add(u64::from(digit - b'0'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_leniently() {
        for (value, number) in [
            ("12", Some(12)),
            ("12 ab", Some(12)),
            ("+5 ", Some(5)),
            (" \t7\x0b", Some(7)),
            ("7\0x", Some(7)),
            ("\x007", None),
            ("007", Some(7)),
            ("18446744073709551615", Some(u64::MAX)),
            ("18446744073709551616", None),
            ("-5", None),
            ("", None),
            (" ", None),
            ("+", None),
            ("12ab", None),
            ("0x10", None),
        ] {
            assert_eq!(number_in(value.as_bytes()), number, "{value:?}");
        }
    }
}
