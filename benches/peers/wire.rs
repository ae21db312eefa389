//! Requests, and the replies that they must get.
//!
//! Owns the form of keys and values. Must not know sockets or clocks.
//!
//! INVARIANT: every reply is compared with the one that is due: kind, key, length, the value's first bytes, its
//! end, and the order.
//! INVARIANT: it costs a small part of what a server does for the same request: fixed texts with eight digits in
//! them, copied and compared.

use crate::process::Outcome;

/// Keys are lower than this; it is all that eight digits can say.
pub(crate) const KEYS_MAX: u32 = 100_000_000;
const DIGITS_LEN: usize = 8;
const KEY_LEN: usize = 20;
/// Added to a key: it is to be set, not to be read.
pub(crate) const SET: u32 = 1 << 31;
const BLANK_KEY: &str = "key:0000000000000000";
/// To a get of a key that is not there.
const REFUSED: &[u8] = b"SERVER_ERROR out of memory storing object\r\n";
const MISS: &[u8] = b"END\r\n";
/// Values from this length on are sent without being copied, but for their beginnings.
const LARGE_LEN: usize = 16 << 10;
/// What is sent without being copied begins at a page. Where that is in the value is up to the caller, who is to vary it: a
/// copy to a few bytes behind where it comes from, page for page, takes up to twenty times as long on an AMD EPYC 9004
/// (2.8 GB/s, where others have 50).
pub(crate) const PAGE_LEN: usize = 4096;
/// As much of a wrong reply as an error shows.
const SHOWN_LEN: usize = 80;

/// How a key is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Read {
    /// `get` of so many keys.
    Get(usize),
    /// Meta get, which names the key in its reply.
    Meta,
}

/// A text with the number of a key in one or two places.
#[derive(Clone)]
struct Form {
    text: Vec<u8>,
    digits_at: [usize; 2],
}

impl Form {
    /// The key's place is the first [`BLANK_KEY`] in `text`; the value begins at `value_at`, with the same digits.
    fn new(text: String, value_at: Option<usize>) -> Self {
        let key_at = text.find(BLANK_KEY).expect("every form has a key") + KEY_LEN - DIGITS_LEN;
        Self { text: text.into_bytes(), digits_at: [key_at, value_at.unwrap_or(key_at)] }
    }

    fn with(&mut self, digits: [u8; DIGITS_LEN]) -> &[u8] {
        for at in self.digits_at {
            self.text[at..at + DIGITS_LEN].copy_from_slice(&digits);
        }
        &self.text
    }
}

fn digits(key: u32) -> [u8; DIGITS_LEN] {
    static FOURS: [[u8; 4]; 10_000] = {
        let mut fours = [[b'0'; 4]; 10_000];
        let mut index = 0;
        while index < fours.len() {
            let (mut rest, mut place) = (index, 4);
            while place > 0 {
                place -= 1;
                fours[index][place] = b"0123456789"[rest % 10];
                rest /= 10;
            }
            index += 1;
        }
        fours
    };
    let mut digits = [0; DIGITS_LEN];
    digits[..4].copy_from_slice(&FOURS[(key / 10_000) as usize]);
    digits[4..].copy_from_slice(&FOURS[(key % 10_000) as usize]);
    digits
}

/// All requests of a row, and their replies.
#[derive(Clone)]
pub(crate) struct Wire {
    read: Read,
    misses_allowed: bool,
    get: Form,
    /// Up to a page behind the digits of a large value.
    set: Form,
    /// Bytes of a large value behind its digits.
    large_len: usize,
    /// Of a value: all before the bytes that are only counted.
    head: Form,
    /// Of a value, behind the head.
    counted_len: usize,
}

impl Wire {
    /// `value_tells_key`: the server gives back what was stored, and not a constant.
    pub(crate) fn new(
        read: Read,
        value_len: usize,
        misses_allowed: bool,
        value_tells_key: bool,
    ) -> Self {
        assert!(value_len >= DIGITS_LEN, "a value begins with the digits of its key");
        assert!(!misses_allowed || read == Read::Get(1), "a key of several may not miss");
        let set_head = format!("set {BLANK_KEY} 0 0 {value_len}\r\n");
        let value = "v".repeat(value_len);
        let is_large = value_len >= LARGE_LEN;
        let set_value =
            if is_large { &value[..DIGITS_LEN + PAGE_LEN] } else { &format!("{value}\r\n") };
        let (get, mut head) = match read {
            Read::Get(1) => {
                (format!("get {BLANK_KEY}\r\n"), format!("VALUE {BLANK_KEY} 0 {value_len}\r\n"))
            }
            Read::Get(_) => {
                (format!(" {BLANK_KEY}"), format!("VALUE {BLANK_KEY} 0 {value_len}\r\n"))
            }
            Read::Meta => {
                (format!("mg {BLANK_KEY} k v\r\n"), format!("VA {value_len} k{BLANK_KEY}\r\n"))
            }
        };
        let value_at = value_tells_key.then_some(head.len());
        if value_tells_key {
            head.push_str(&value[..DIGITS_LEN]);
        }
        let counted_len = value_len - if value_tells_key { DIGITS_LEN } else { 0 };
        Self {
            read,
            misses_allowed,
            get: Form::new(get, None),
            set: Form::new(format!("{set_head}{set_value}"), Some(set_head.len())),
            large_len: if is_large { value_len - DIGITS_LEN } else { 0 },
            head: Form::new(head, value_at),
            counted_len,
        }
    }

    /// How many keys a request has.
    pub(crate) fn keys_per_request(&self) -> usize {
        match self.read {
            Read::Get(count) => count,
            Read::Meta => 1,
        }
    }

    /// Bytes of a large value behind its digits.
    pub(crate) fn large_len(&self) -> usize {
        self.large_len
    }

    /// Requests of all these keys. `scratch` may hold them, but a single one is not copied. A set of a large value ends
    /// `page_at` bytes behind its digits: as many as are returned beside it are to follow, and the line end.
    pub(crate) fn requests<'a>(
        &'a mut self,
        scratch: &'a mut Vec<u8>,
        keys: &[u32],
        page_at: usize,
    ) -> (&'a [u8], usize) {
        scratch.clear();
        if let Read::Get(count @ 2..) = self.read {
            debug_assert!(keys.iter().all(|key| key & SET == 0), "sets have one key");
            for keys in keys.chunks(count) {
                scratch.extend_from_slice(b"get");
                for &key in keys {
                    scratch.extend_from_slice(self.get.with(digits(key)));
                }
                scratch.extend_from_slice(b"\r\n");
            }
            return (scratch, 0);
        }
        if let [key] = *keys {
            let large_len = if key & SET == 0 { 0 } else { self.large_len };
            let text = self.form(key).with(digits(key & !SET));
            return match large_len {
                0 => (text, 0),
                _ => (&text[..text.len() - PAGE_LEN + page_at], large_len - page_at),
            };
        }
        debug_assert!(self.large_len == 0, "large values are sent one by one");
        for &key in keys {
            scratch.extend_from_slice(self.form(key).with(digits(key & !SET)));
        }
        (scratch, 0)
    }

    fn form(&mut self, key: u32) -> &mut Form {
        if key & SET == 0 { &mut self.get } else { &mut self.set }
    }
}

/// Where in the replies to a batch of requests a connection is.
#[derive(Debug, Default)]
pub(crate) struct Replies {
    /// The keys of the batch.
    pub(crate) keys: Vec<u32>,
    /// So many of them are answered.
    pub(crate) answered_count: usize,
    /// So many of those were not there.
    pub(crate) miss_count: u64,
    /// In a value: bytes that are still to come before its end.
    value_left_len: Option<usize>,
}

impl Replies {
    /// Nothing is waited for.
    pub(crate) fn is_complete(&self) -> bool {
        self.answered_count == self.keys.len()
    }

    /// Bytes that come next and are only counted.
    pub(crate) fn counted_len(&self) -> usize {
        self.value_left_len.unwrap_or(0)
    }

    /// Such bytes came.
    pub(crate) fn count(&mut self, len: usize) {
        self.value_left_len = self.value_left_len.map(|left_len| left_len - len);
    }

    /// Forgets the batch before.
    pub(crate) fn restart(&mut self) {
        self.keys.clear();
        (self.answered_count, self.miss_count, self.value_left_len) = (0, 0, None);
    }

    /// Takes all that is complete from the front of `input`, and says how many bytes that was.
    pub(crate) fn take(&mut self, wire: &mut Wire, input: &[u8]) -> Outcome<usize> {
        let mut taken = 0;
        while let Some(&key) = self.keys.get(self.answered_count) {
            let rest = &input[taken..];
            if let Some(left_len) = self.value_left_len {
                let len = left_len.min(rest.len());
                taken += len;
                self.value_left_len = Some(left_len - len);
                if len < left_len {
                    return Ok(taken);
                }
                let is_last = (self.answered_count + 1).is_multiple_of(wire.keys_per_request());
                let end: &[u8] = match wire.read {
                    Read::Get(_) if is_last => b"\r\nEND\r\n",
                    Read::Get(_) | Read::Meta => b"\r\n",
                };
                if !starts_with(&input[taken..], end, key)? {
                    return Ok(taken);
                }
                taken += end.len();
                self.value_left_len = None;
            } else if key & SET != 0 {
                // A memcached whose LRU threads do not keep up refuses some: counted as misses.
                if rest.starts_with(REFUSED) {
                    self.miss_count += 1;
                    taken += REFUSED.len();
                } else if REFUSED.starts_with(rest) || !starts_with(rest, b"STORED\r\n", key)? {
                    return Ok(taken);
                } else {
                    taken += b"STORED\r\n".len();
                }
            } else {
                let head = wire.head.with(digits(key));
                if wire.misses_allowed && rest.starts_with(MISS) {
                    self.miss_count += 1;
                    taken += MISS.len();
                } else if wire.misses_allowed && MISS.starts_with(rest) {
                    return Ok(taken);
                } else if starts_with(rest, head, key)? {
                    taken += head.len();
                    self.value_left_len = Some(wire.counted_len);
                    continue;
                } else {
                    return Ok(taken);
                }
            }
            self.answered_count += 1;
        }
        if taken < input.len() {
            return Err(format!("more than was asked for: {}", shown(&input[taken..])).into());
        }
        Ok(taken)
    }
}

/// False when more must come before that can be said; an error when it is something else.
fn starts_with(rest: &[u8], expected: &[u8], key: u32) -> Outcome<bool> {
    if rest.starts_with(expected) {
        return Ok(true);
    }
    if expected.starts_with(rest) {
        return Ok(false);
    }
    let verb = if key & SET == 0 { "get" } else { "set" };
    let expected = shown(expected);
    Err(format!("to a {verb} of key {}: {}, not {expected}", key & !SET, shown(rest)).into())
}

fn shown(bytes: &[u8]) -> String {
    bytes[..bytes.len().min(SHOWN_LEN)].escape_ascii().to_string()
}
