//! Sessions at random: few keys, so that state matters; numbers at their limits; well-formed requests, and the same with
//! a word or two too many, too few or wrong, or with a block that is not as long as announced.

mod binary;
mod meta;

use super::frame::Frame;
use super::unit::{Bytes, UNIQUE_OF};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use binary::frame;
use meta::meta_request;

/// Largest item of both servers, in bytes: as it is without options. memcached 1.6.18 crashes when it is less.
pub(crate) const ITEM_SIZE_MAX: usize = 1024 * 1024;
/// What counts to an item beside its value and a key of one byte: header, NUL, CAS unique, line end.
const ITEM_OVERHEAD_LEN: usize = 48 + 1 + 1 + 8 + 2;
/// How many connections a session has at most, and the first of them that speaks the binary protocol.
pub(crate) const CONNECTION_COUNT: usize = 5;
const BINARY_CONNECTION: usize = 3;

/// Requests that are sent on one connection before another has its turn.
#[derive(Clone, Debug)]
pub(crate) struct Turn {
    pub(crate) connection: usize,
    /// How much of its first request is sent before the turn of another connection, in 256th parts.
    pub(crate) early: u8,
    /// Where its bytes are cut into several writes, in 65536th parts.
    pub(crate) cuts: Vec<u16>,
    pub(crate) requests: Requests,
}

/// What a turn sends.
#[derive(Clone, Debug)]
pub(crate) enum Requests {
    /// Lines and blocks.
    Text(Vec<Bytes>),
    Binary(Vec<Frame>),
}

/// A session.
pub(crate) fn session() -> impl Strategy<Value = Vec<Turn>> {
    // Boxed ones are moved about with less.
    let request = prop_oneof![text_request().boxed(), meta_request().boxed()].boxed();
    let frame = frame().boxed();
    let text = (0..BINARY_CONNECTION, vec(request, 1..16).prop_map(Requests::Text));
    let binary =
        (BINARY_CONNECTION..CONNECTION_COUNT, vec(frame, 1..16).prop_map(Requests::Binary));
    let requests = prop_oneof![2 => text.boxed(), 1 => binary.boxed()];
    let early = prop_oneof![3 => Just(0), 1 => any::<u8>()];
    let cuts = prop_oneof![2 => Just(Vec::new()), 1 => vec(any::<u16>(), 1..6)];
    let turn = (requests, early, cuts).prop_map(|((connection, requests), early, cuts)| Turn {
        connection,
        early,
        cuts,
        requests,
    });
    vec(turn.boxed(), 1..11)
}

type Words = Vec<Vec<u8>>;

/// The words of a line, and the block behind it.
#[derive(Clone, Debug)]
struct Form {
    words: Words,
    block: Option<Vec<u8>>,
}

/// One request of the classic text protocol.
fn text_request() -> impl Strategy<Value = Bytes> {
    let mangles = prop_oneof![7 => Just(Vec::new()), 3 => vec(mangle(), 1..3)];
    let end = prop_oneof![9 => Just("\r\n"), 1 => Just("\n")];
    (form(), mangles, end).prop_map(|(form, mangles, end)| line_of(form, &mangles, end))
}

fn line_of(mut form: Form, mangles: &[Mangle], end: &str) -> Bytes {
    for mangle in mangles {
        mangle.apply(&mut form.words);
    }
    let mut bytes = form.words.join(&b' ');
    bytes.extend_from_slice(end.as_bytes());
    bytes.extend(form.block.unwrap_or_default());
    Bytes(bytes)
}

/// What may be wrong with a line.
#[derive(Clone, Debug)]
enum Mangle {
    Remove(u8),
    Insert(u8, Vec<u8>),
    Replace(u8, Vec<u8>),
    /// Its first words alone.
    Cut(u8),
    /// Such a word at the end.
    Append(Vec<u8>),
}

impl Mangle {
    fn apply(&self, words: &mut Words) {
        let at = |index: u8, len: usize| usize::from(index) % len.max(1);
        let len = words.len();
        match self {
            Self::Remove(index) if len > 0 => drop(words.remove(at(*index, len))),
            Self::Replace(index, word) if len > 0 => words[at(*index, len)].clone_from(word),
            Self::Insert(index, word) => words.insert(at(*index, len + 1), word.clone()),
            Self::Cut(index) => words.truncate(at(*index, len)),
            Self::Append(word) => words.push(word.clone()),
            Self::Remove(_) | Self::Replace(..) => {}
        }
    }
}

fn mangle() -> impl Strategy<Value = Mangle> {
    prop_oneof![
        any::<u8>().prop_map(Mangle::Remove),
        any::<u8>().prop_map(Mangle::Cut),
        (any::<u8>(), any_word()).prop_map(|(index, word)| Mangle::Insert(index, word)),
        (any::<u8>(), any_word()).prop_map(|(index, word)| Mangle::Replace(index, word)),
        any_word().prop_map(Mangle::Append),
    ]
}

fn one_of(words: &'static [&'static str]) -> impl Strategy<Value = Vec<u8>> {
    select(words).prop_map(|word| word.as_bytes().to_vec())
}

fn any_word() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        3 => number(),
        2 => key(),
        2 => one_of(&["", "", "noreply", "x", "noreplyx", "\r", "HTTP/1.1", "a\tb", "END"]),
        1 => one_of(VERBS),
    ]
}

const VERBS: &[&str] = &[
    "get",
    "gets",
    "gat",
    "gats",
    "set",
    "add",
    "replace",
    "append",
    "prepend",
    "cas",
    "delete",
    "incr",
    "decr",
    "touch",
    "flush_all",
    "verbosity",
    "stats",
    "quit",
    "GET",
    "Set",
    "version",
    "shutdown",
    "mop",
    "gett",
    "unknown",
    "bget",
];

/// Few keys, and the shortest and the longest, and one byte more.
fn key() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        40 => one_of(&["a", "b", "c", "n"]),
        4 => one_of(&["noreply", "0", "get", "p:x", "p:y", "x\t\x7f", "\u{e9}", "k\r"]),
        2 => Just(vec![b'k'; 250]),
        1 => Just(vec![b'k'; 251]),
        1 => Just(b"\x80\xff".to_vec()),
    ]
}

/// Numbers at the limits of what fits somewhere, and what is nearly a number.
fn number() -> impl Strategy<Value = Vec<u8>> {
    one_of(&[
        "0",
        "1",
        "2",
        "9",
        "10",
        "99",
        "007",
        "00",
        "+1",
        "-1",
        "-0",
        "+",
        "-",
        "x",
        "1x",
        "0x10",
        "1.5",
        "127",
        "128",
        "255",
        "256",
        "32767",
        "32768",
        "65535",
        "65536",
        "2147483645",
        "2147483646",
        "2147483647",
        "2147483648",
        "4294967295",
        "4294967296",
        "4294967297",
        "9223372036854775807",
        "9223372036854775808",
        "18446744073709551614",
        "18446744073709551615",
        "18446744073709551616",
        "99999999999999999999",
        "-2147483648",
        "-2147483649",
        "+4294967295",
        "+18446744073709551615",
        "000000000000000000000000001",
        "--1",
        "+-1",
    ])
}

/// None of them passes while a session runs.
fn exptime() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        6 => Just(b"0".to_vec()),
        4 => one_of(&["-1", "100", "3600", "2592000", "2592001", "+100", "00100"]),
        1 => one_of(&[
            "2147483647", "2147483648", "4294967295", "4294967296", "-2147483648", "-2147483649", "x", "100x", "",
            "9223372036854775807", "9223372036854775808", "18446744073709551616", "-100",
        ]),
    ]
}

fn flags() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        3 => Just(b"0".to_vec()),
        2 => one_of(&["1", "5", "65535", "65536", "2147483647", "2147483648", "4294967295"]),
        1 => any::<u32>().prop_map(|flags| flags.to_string().into_bytes()),
        1 => number(),
    ]
}

fn delta() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![2 => one_of(&["0", "1", "2", "9", "90", "1000"]), 1 => number()]
}

/// Numbers in decimal and what is nearly one, text, line ends, lengths around what an item may have.
fn value() -> impl Strategy<Value = Vec<u8>> {
    let largest = ITEM_SIZE_MAX - ITEM_OVERHEAD_LEN;
    prop_oneof![
        320 => one_of(&[
            "0", "1", "9", "10", "99", "100", "18446744073709551615", "18446744073709551616", "18446744073709551614",
            "007", "5 ", " 5", "+5", "-5", "12 ab", "x", "", "99999999999999999999", "5\r\n", "00000000000000000000000",
        ]),
        160 => (0..40_usize, any::<u64>()).prop_map(|(len, seed)| bytes_of(len, seed)),
        40 => one_of(&["\r\n", "END\r\n", "get a\r\n", "x\r\nset a 0 0 1\r\ny", "\0"]),
        1 => (largest - 6..largest + 3).prop_map(|len| vec![b'v'; len]),
        40 => (1000_usize..5000).prop_map(|len| vec![b'w'; len]),
        // Larder keeps them in segments of their own.
        20 => (30_000_usize..100_000).prop_map(|len| vec![b'z'; len]),
    ]
}

/// Any bytes, which cost less than if each of them could shrink.
fn bytes_of(len: usize, mut seed: u64) -> Vec<u8> {
    let next = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (seed >> 56) as u8
    };
    std::iter::repeat_with(next).take(len).collect()
}

fn noreply() -> impl Strategy<Value = Option<Vec<u8>>> {
    prop_oneof![4 => Just(None), 1 => Just(Some(b"noreply".to_vec()))]
}

/// Mostly as long as announced, and ending as it must.
fn block() -> impl Strategy<Value = (Vec<u8>, Vec<u8>)> {
    let lie = prop_oneof![14 => Just(0), 1 => -3_isize..4, 1 => Just(100)];
    let end = prop_oneof![14 => Just("\r\n"), 1 => select(&["\n", "", "\r", "\r\r\n", "\r\n\r\n", "xx"][..])];
    (value(), lie, end).prop_map(|(value, lie, end)| {
        let len = value.len().saturating_add_signed(lie).to_string().into_bytes();
        (len, [&value[..], end.as_bytes()].concat())
    })
}

fn form() -> impl Strategy<Value = Form> {
    let verb = |verbs| one_of(verbs);
    let line = |words: Words| Form { words, block: None };
    let plain_store =
        (verb(&["set", "set", "set", "add", "replace", "append", "prepend"]), storage_words())
            .prop_map(|(verb, (mut words, noreply, block))| {
                words.insert(0, verb);
                words.extend(noreply);
                Form { words, block: Some(block) }
            });
    let cas = (key(), storage_words(), prop_oneof![1 => number(), 5 => Just(vec![UNIQUE_OF])])
        .prop_map(|(key, (mut words, noreply, block), mut unique)| {
            if unique[0] == UNIQUE_OF {
                unique.extend_from_slice(&key);
            }
            words[0] = key;
            words.insert(0, b"cas".to_vec());
            words.push(unique);
            words.extend(noreply);
            Form { words, block: Some(block) }
        });
    let get = (verb(&["get", "gets"]), vec(key(), 1..6))
        .prop_map(|(verb, keys)| [vec![verb], keys].concat());
    let long_get = (verb(&["get", "gets"]), key(), 20_usize..40)
        .prop_map(|(verb, key, count)| [vec![verb], vec![key; count]].concat());
    let gat = (verb(&["gat", "gats"]), exptime(), vec(key(), 1..4))
        .prop_map(|(verb, exptime, keys)| [vec![verb, exptime], keys].concat());
    let arithmetic = (verb(&["incr", "decr"]), key(), delta(), noreply())
        .prop_map(|(verb, key, delta, noreply)| words([verb, key, delta], noreply));
    let delete =
        (key(), noreply()).prop_map(|(key, noreply)| words([b"delete".to_vec(), key], noreply));
    let touch = (key(), exptime(), noreply())
        .prop_map(|(key, exptime, noreply)| words([b"touch".to_vec(), key, exptime], noreply));
    let flush = (prop_oneof![1 => Just(None), 1 => exptime().prop_map(Some)], noreply()).prop_map(
        |(delay, noreply)| words([b"flush_all".to_vec()].into_iter().chain(delay), noreply),
    );
    let verbosity = (prop_oneof![5 => Just(b"0".to_vec()), 1 => one_of(&["00", "x", "", "-1", "4294967296", "+0"])], noreply())
        .prop_map(|(level, noreply)| words([b"verbosity".to_vec(), level], noreply));
    let stats = one_of(&[
        "reset",
        "detail on",
        "detail off",
        "detail x",
        "detail",
        "sizes",
        "bogus",
        "r",
        "de off",
        "noreply",
    ])
    .prop_map(|topic| vec![b"stats".to_vec(), topic]);
    let unknown = vec(any_word(), 1..4);
    let quit = Just(vec![b"quit".to_vec()]);
    prop_oneof![
        300 => plain_store,
        80 => cas,
        200 => get.prop_map(line),
        4 => long_get.prop_map(line),
        80 => gat.prop_map(line),
        120 => arithmetic.prop_map(line),
        80 => delete.prop_map(line),
        60 => touch.prop_map(line),
        8 => flush.prop_map(line),
        4 => verbosity.prop_map(line),
        6 => stats.prop_map(line),
        30 => unknown.prop_map(line),
        2 => quit.prop_map(line),
    ]
}

fn words(words: impl IntoIterator<Item = Vec<u8>>, noreply: Option<Vec<u8>>) -> Words {
    words.into_iter().chain(noreply).collect()
}

/// `key flags exptime bytes`, a `noreply`, a block.
fn storage_words() -> impl Strategy<Value = (Words, Option<Vec<u8>>, Vec<u8>)> {
    (key(), flags(), exptime(), noreply(), block()).prop_map(
        |(key, flags, exptime, noreply, (len, block))| {
            (vec![key, flags, exptime, len], noreply, block)
        },
    )
}
