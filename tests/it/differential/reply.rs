//! Replies as they can be compared: what each server says in its own way, CAS uniques and moments, in words for both.

mod frames;

use super::base64;
use super::unit::{UNIQUE_OF, Unit};
use std::collections::HashMap;

pub(crate) use frames::opaque_of_end;

/// Seconds left are shown in steps of so many, as they pass between the two servers' replies.
const LEFT_STEP_S: u64 = 100;
/// More seconds than these are those up to a time that was named.
const LEFT_S_MAX: u64 = 60 * 60 * 24 * 30;

/// What is known of the CAS uniques of one server.
#[derive(Default)]
pub(crate) struct Uniques {
    /// In the order in which they were seen.
    numbers: HashMap<Vec<u8>, usize>,
    /// The last one of each key.
    last: HashMap<Vec<u8>, Vec<u8>>,
}

impl Uniques {
    /// The unique that this server gave an item; 1 where it is not known.
    fn last(&self, key: &[u8]) -> &[u8] {
        self.last.get(key).map_or(b"1", Vec::as_slice)
    }

    /// A request with the unique that this server gave the item.
    pub(crate) fn rendered(&self, unit: &Unit) -> Unit {
        let mut words: Vec<Vec<u8>> = unit.words().into_iter().map(<[u8]>::to_vec).collect();
        if unit.is_storage() {
            if let Some([UNIQUE_OF, key @ ..]) = words.get(5).map(Vec::as_slice) {
                words[5] = self.last(key).to_vec();
            }
        } else if unit.is_meta() {
            // Not of a key, which may be shown.
            for word in words.iter_mut().skip(2) {
                if let [b'C', UNIQUE_OF, key @ ..] = &word[..] {
                    *word = [b"C", self.last(key)].concat();
                }
            }
        }
        let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
        if words == unit.words() { unit.clone() } else { unit.with_words(&words) }
    }

    /// A unique as its number in the order in which this server showed them, whatever it is.
    fn number(&mut self, unique: &[u8]) -> String {
        let next = self.numbers.len();
        format!("(unique {})", self.numbers.entry(unique.to_vec()).or_insert(next))
    }

    /// Replies as they can be compared.
    pub(crate) fn normal(&mut self, mut replies: &[u8]) -> Result<Vec<u8>, String> {
        let mut normal = Vec::with_capacity(replies.len());
        while !replies.is_empty() {
            let line_end = replies.windows(2).position(|end| end == b"\r\n");
            let line_end = line_end
                .ok_or_else(|| format!("a line without end: {}", replies.escape_ascii()))?;
            let (line, rest) = replies.split_at(line_end);
            let words: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
            let value_len = match &words[..] {
                [b"VALUE", _, _, len, ..] | [b"VA", len, ..] => Some(*len),
                _ => None,
            };
            let mut len = 2;
            if let Some(value_len) = value_len {
                let text = String::from_utf8_lossy(value_len);
                len += text.parse::<usize>().map_err(|_| format!("no length: {text}"))? + 2;
            }
            match &words[..] {
                [b"VALUE", key, _, _, unique] => {
                    self.last.insert(key.to_vec(), unique.to_vec());
                    normal.extend_from_slice(&line[..line.len() - unique.len()]);
                    normal.extend_from_slice(self.number(unique).as_bytes());
                }
                [b"VA" | b"HD" | b"EN" | b"NF" | b"NS" | b"EX", ..] => {
                    normal.extend(self.flags(&words));
                }
                [b"ME", ..] => normal.extend(self.debug(&words)),
                _ => normal.extend_from_slice(line),
            }
            let part = rest.get(..len).ok_or("a value without end")?;
            normal.extend_from_slice(part);
            replies = &rest[len..];
        }
        Ok(normal)
    }

    /// The line of a meta reply. A key in base64 is shown as it is, since 1.6.18 forgets that it came so when its item is
    /// made anew from another, or by a get.
    fn flags(&mut self, words: &[&[u8]]) -> Vec<u8> {
        let mut shown: Vec<Vec<u8>> = Vec::new();
        let mut words = words.iter().peekable();
        let (mut key, mut unique) = (None, None);
        while let Some(word) = words.next() {
            shown.push(match word {
                [b'c', digits @ ..] if digits != b"0" => {
                    unique = Some(digits.to_vec());
                    format!("c{}", self.number(digits)).into_bytes()
                }
                [b't', seconds @ ..] => left(seconds),
                [b'l', ..] => b"l".to_vec(),
                [b'k', name @ ..] => {
                    let is_encoded = words.next_if(|next| **next == b"b").is_some();
                    let name = if is_encoded { plain(name) } else { name.to_vec() };
                    key = Some(name.clone());
                    [b"k", &name[..]].concat()
                }
                word => word.to_vec(),
            });
        }
        if let (Some(key), Some(unique)) = (key, unique) {
            self.last.insert(key, unique);
        }
        shown.join(&b' ')
    }

    /// The line of `me`, less what each server has its own of.
    fn debug(&mut self, words: &[&[u8]]) -> Vec<u8> {
        let mut shown: Vec<Vec<u8>> = Vec::new();
        for (index, word) in words.iter().enumerate() {
            let is = |name: &str| word.starts_with(name.as_bytes());
            shown.push(match *word {
                key if index == 1 => plain(key),
                word if is("cas=") => self.number(&word[4..]).into_bytes(),
                // 1.6.18 shows seconds that are left as a negative number.
                word if is("exp=") && word != b"exp=-1" => b"exp=".to_vec(),
                _ if is("la=") || is("cls=") => continue,
                word => word.to_vec(),
            });
        }
        shown.join(&b' ')
    }
}

/// `t` with seconds that are left.
fn left(seconds: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(seconds);
    let shown = match text.parse::<u64>() {
        Ok(seconds @ ..=LEFT_S_MAX) => seconds.next_multiple_of(LEFT_STEP_S).to_string(),
        Ok(_) => "far".to_owned(),
        Err(_) => text.into_owned(),
    };
    format!("t{shown}").into_bytes()
}

/// A key that comes in base64; as it is where it does not.
fn plain(name: &[u8]) -> Vec<u8> {
    base64::decoded(name).unwrap_or_else(|| name.to_vec())
}
