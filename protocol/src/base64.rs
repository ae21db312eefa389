//! Keys as base64 (RFC 4648, section 4, with padding), for those that could not stand on a line as they are.

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Six bits that a byte stands for; [`NONE`] for what stands for nothing.
const DIGITS: [u8; 256] = {
    let mut digits = [NONE; 256];
    let mut digit = 0_u8;
    while digit < NONE {
        digits[ALPHABET[digit as usize] as usize] = digit;
        digit += 1;
    }
    digits
};
const NONE: u8 = 64;

/// Whether a key can stand on a line as it is.
pub fn is_word(key: &[u8]) -> bool {
    !key.iter().any(|byte| matches!(byte, b' ' | b'\r' | b'\n'))
}

/// Splits a text into what stands for bytes, and its padding; `None` where its length or its padding is wrong.
fn without_padding(text: &[u8]) -> Option<&[u8]> {
    if text.is_empty() || !text.len().is_multiple_of(4) {
        return None;
    }
    let digits = text.strip_suffix(b"=").unwrap_or(text);
    Some(digits.strip_suffix(b"=").unwrap_or(digits))
}

/// How many bytes a text stands for; `None` where it is no base64.
pub fn decoded_len(text: &[u8]) -> Option<usize> {
    let digits = without_padding(text)?;
    let is_base64 = digits.iter().all(|byte| DIGITS[usize::from(*byte)] != NONE);
    is_base64.then_some(digits.len() * 3 / 4)
}

/// Decodes a text to the front of `bytes`, which must have room for [`decoded_len`]; what it stands for, or `None` where
/// it is no base64.
pub fn decode<'a>(text: &[u8], bytes: &'a mut [u8]) -> Option<&'a [u8]> {
    let len = decoded_len(text)?;
    let bytes = bytes.get_mut(..len)?;
    for (part, four) in bytes.chunks_mut(3).zip(text.chunks(4)) {
        let bits = four.iter().fold(0, |bits, byte| {
            // Padding stands for bits that nobody reads.
            bits << 6 | u32::from(DIGITS[usize::from(*byte)] % NONE)
        });
        part.copy_from_slice(&bits.to_be_bytes()[1..=part.len()]);
    }
    Some(bytes)
}

/// Appends bytes as base64.
pub fn encode(bytes: &[u8], out: &mut Vec<u8>) {
    for part in bytes.chunks(3) {
        let mut padded = [0; 4];
        padded[1..=part.len()].copy_from_slice(part);
        let bits = u32::from_be_bytes(padded);
        for index in 0..4 {
            let digit = ALPHABET[(bits >> (18 - 6 * index)) as usize % ALPHABET.len()];
            out.push(if index <= part.len() { digit } else { b'=' });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decoded(text: &str) -> Option<Vec<u8>> {
        let mut bytes = [0xaa; 300];
        let decoded = decode(text.as_bytes(), &mut bytes).map(<[u8]>::to_vec);
        assert_eq!(decoded_len(text.as_bytes()), decoded.as_ref().map(Vec::len), "{text:?}");
        decoded
    }

    /// The examples of RFC 4648, section 10.
    #[test]
    fn the_examples_of_the_standard() {
        for (bytes, text) in [
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            let mut out = Vec::new();
            encode(bytes.as_bytes(), &mut out);
            assert_eq!(out, text.as_bytes());
            assert_eq!(decoded(text).as_deref(), Some(bytes.as_bytes()));
        }
    }

    #[test]
    fn what_is_no_base64() {
        for text in
            ["", "Zm9", "Zm9vY", "====", "Z===", "Zm=v", "Zg==Zg==", "Zm9!", "_-9v", "Zm9v\n"]
        {
            assert_eq!(decoded(text), None, "{text:?}");
        }
        // Bits that stand for nothing may be anything, as in memcached.
        assert_eq!(decoded("Zh=="), decoded("Zg=="));
    }

    #[test]
    fn there_must_be_room() {
        assert_eq!(decode(b"Zm9v", &mut [0; 2]), None);
        assert_eq!(decode(b"Zm9v", &mut [0; 3]), Some(&b"foo"[..]));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn what_is_encoded_is_decoded(bytes in proptest::collection::vec(any::<u8>(), 1..200)) {
            let mut text = Vec::new();
            encode(&bytes, &mut text);
            prop_assert_eq!(decoded(std::str::from_utf8(&text).expect("ASCII")), Some(bytes));
        }

        #[test]
        fn whatever_the_text_nothing_panics(text in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut bytes = [0; 300];
            let decoded = decode(&text, &mut bytes).map(<[u8]>::len);
            prop_assert_eq!(decoded, decoded_len(&text));
        }
    }
}
