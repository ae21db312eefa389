//! The lines that list items.

use crate::base64;
use std::io::Write;

/// How items are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ItemsForm {
    /// `lru_crawler metadump`: all that is known of each.
    Metadump,
    /// `lru_crawler mgdump`: a command that reads it.
    Mgdump,
    /// `stats cachedump`: its key, length and exptime.
    Cachedump,
}

/// An item that is listed.
#[derive(Debug, Clone, Copy)]
pub struct ItemLine<'a> {
    /// 1 to 250 bytes.
    pub key: &'a [u8],
    /// Whether it came as base64.
    pub is_base64: bool,
    /// When it dies, in Unix seconds; `None` for never.
    pub exptime_unix_s: Option<u64>,
    /// When it was last read or written, in Unix seconds.
    pub accessed_unix_s: u64,
    /// 0 where there are none.
    pub cas_unique: u64,
    /// Whether it was read since it was stored.
    pub is_fetched: bool,
    /// Its class.
    pub class: u32,
    /// By [`crate::Limits::item_size`], in bytes.
    pub size: u64,
    /// Of its value, in bytes.
    pub value_len: usize,
    /// The client's 32 bits.
    pub flags: u32,
}

impl ItemLine<'_> {
    /// Whether its key stands on a line as it is.
    fn is_word(&self) -> bool {
        !self.is_base64 && base64::is_word(self.key)
    }
}

impl ItemsForm {
    /// What the items come behind.
    pub fn first_line(self) -> &'static [u8] {
        match self {
            Self::Metadump | Self::Mgdump => b"OK\r\n",
            Self::Cachedump => b"",
        }
    }

    /// What comes behind the items.
    pub fn last_line(self) -> &'static [u8] {
        match self {
            Self::Metadump | Self::Cachedump => b"END\r\n",
            Self::Mgdump => b"EN\r\n",
        }
    }

    /// Appends the line of an item; not where this form has none for its key.
    pub fn write(self, out: &mut Vec<u8>, item: &ItemLine<'_>) -> bool {
        match self {
            Self::Metadump => write_metadump(out, item),
            Self::Mgdump => write_mgdump(out, item),
            Self::Cachedump if item.is_word() => write_cachedump(out, item),
            Self::Cachedump => return false,
        }
        true
    }
}

/// The blank and the bare newline at its end are memcached's.
fn write_metadump(out: &mut Vec<u8>, item: &ItemLine<'_>) {
    out.extend_from_slice(b"key=");
    write_uri_encoded(out, item.key);
    let mut digits = itoa::Buffer::new();
    let exptime = item.exptime_unix_s.map_or("-1", |unix_s| digits.format(unix_s));
    let ItemLine { accessed_unix_s, cas_unique, class, size, flags, .. } = *item;
    let fetched = if item.is_fetched { "yes" } else { "no" };
    let written = writeln!(
        out,
        " exp={exptime} la={accessed_unix_s} cas={cas_unique} fetch={fetched} cls={class} size={size} flags={flags} "
    );
    written.expect("a vector takes every write");
}

fn write_mgdump(out: &mut Vec<u8>, item: &ItemLine<'_>) {
    out.extend_from_slice(b"mg ");
    if item.is_word() {
        out.extend_from_slice(item.key);
    } else {
        base64::encode(item.key, out);
        out.extend_from_slice(b" b");
    }
    out.extend_from_slice(b"\r\n");
}

fn write_cachedump(out: &mut Vec<u8>, item: &ItemLine<'_>) {
    out.extend_from_slice(b"ITEM ");
    out.extend_from_slice(item.key);
    let written =
        write!(out, " [{} b; {} s]\r\n", item.value_len, item.exptime_unix_s.unwrap_or(0));
    written.expect("a vector takes every write");
}

/// Appends a key with all but letters, digits and `-._~` as `%` and two hexadecimal digits (RFC 3986, 2.3).
pub fn write_uri_encoded(out: &mut Vec<u8>, key: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for byte in key {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(byte) {
            out.push(*byte);
        } else {
            let (high, low) = (usize::from(byte >> 4), usize::from(byte & 0xf));
            out.extend_from_slice(&[b'%', DIGITS[high], DIGITS[low]]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(form: ItemsForm, item: &ItemLine<'_>) -> String {
        let mut out = Vec::new();
        assert_eq!(form.write(&mut out, item), !out.is_empty());
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn an_item_in_each_form() {
        let mut item = ItemLine {
            key: b"a%b\x01~",
            is_base64: false,
            exptime_unix_s: Some(1_800_000_000),
            accessed_unix_s: 1_700_000_000,
            cas_unique: 7,
            is_fetched: true,
            class: 1,
            size: 68,
            value_len: 2,
            flags: 5,
        };
        let fields = "la=1700000000 cas=7 fetch=yes cls=1 size=68 flags=5 \n";
        let metadump = format!("key=a%25b%01~ exp=1800000000 {fields}");
        assert_eq!(line(ItemsForm::Metadump, &item), metadump);
        assert_eq!(line(ItemsForm::Mgdump, &item), "mg a%b\x01~\r\n");
        assert_eq!(line(ItemsForm::Cachedump, &item), "ITEM a%b\x01~ [2 b; 1800000000 s]\r\n");
        item.exptime_unix_s = None;
        item.is_fetched = false;
        assert!(line(ItemsForm::Metadump, &item).contains(" exp=-1 la=1700000000 cas=7 fetch=no "));
        assert_eq!(line(ItemsForm::Cachedump, &item), "ITEM a%b\x01~ [2 b; 0 s]\r\n");
    }

    #[test]
    fn a_key_that_is_no_word_is_in_base64_or_left_out() {
        let mut item = ItemLine {
            key: b"a b",
            is_base64: false,
            exptime_unix_s: None,
            accessed_unix_s: 0,
            cas_unique: 0,
            is_fetched: false,
            class: 1,
            size: 0,
            value_len: 0,
            flags: 0,
        };
        assert_eq!(line(ItemsForm::Mgdump, &item), "mg YSBi b\r\n");
        assert_eq!(line(ItemsForm::Cachedump, &item), "");
        assert!(line(ItemsForm::Metadump, &item).starts_with("key=a%20b exp="));
        item.key = b"ab";
        item.is_base64 = true;
        assert_eq!(line(ItemsForm::Mgdump, &item), "mg YWI= b\r\n");
        assert_eq!(line(ItemsForm::Cachedump, &item), "");
    }
}
