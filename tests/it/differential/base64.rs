//! Keys in base64 (RFC 4648, section 4), read once more for the tests alone, so that Larder's decoder is not its own
//! judge.

/// The bytes that a text stands for; `None` where it is not groups of four with padding at its end alone.
pub(crate) fn decoded(text: &[u8]) -> Option<Vec<u8>> {
    let cut = text.strip_suffix(b"=").unwrap_or(text);
    let digits = cut.strip_suffix(b"=").unwrap_or(cut);
    if text.is_empty() || !text.len().is_multiple_of(4) {
        return None;
    }
    let (mut bytes, mut bits, mut bit_count) = (Vec::new(), 0_u32, 0);
    for byte in digits {
        bits = bits << 6 | digit(*byte)?;
        bit_count += 6;
        if bit_count >= 8 {
            bit_count -= 8;
            bytes.extend((bits >> bit_count).to_be_bytes().last());
        }
    }
    Some(bytes)
}

/// Whether a text is groups of four when that is left out which is none of it.
pub(crate) fn is_nearly(text: &[u8]) -> bool {
    let count = text.iter().filter(|byte| **byte == b'=' || digit(**byte).is_some()).count();
    count > 0 && count.is_multiple_of(4)
}

fn digit(byte: u8) -> Option<u32> {
    let (first, value) = match byte {
        b'A'..=b'Z' => (b'A', 0),
        b'a'..=b'z' => (b'a', 26),
        b'0'..=b'9' => (b'0', 52),
        b'+' => (b'+', 62),
        b'/' => (b'/', 63),
        _ => return None,
    };
    Some(u32::from(byte - first) + value)
}
