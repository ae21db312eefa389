//! The heart of the server, without a socket.

use super::*;
use crate::config::Config;
use crate::instance::Instance;
use crate::log::Log;
use crate::rule::{self, Dialogue};
use larder_protocol::Reject;
use proptest::prelude::*;

fn instance() -> Instance {
    Instance::new(Config { threads: 1, ..Config::default() }, Log::default(), Vec::new())
}

/// Sends `input` in pieces that end where `cuts` say; all replies, and whether it closed.
fn talk(instance: &Instance, input: &[u8], cuts: &[usize]) -> (Vec<u8>, bool) {
    let mut dialogue = Dialogue::new(instance);
    let ends = cuts.iter().copied().chain([input.len()]);
    let mut rest = input;
    for end in ends {
        let (piece, behind) = rest.split_at(end.saturating_sub(input.len() - rest.len()));
        dialogue.send(piece);
        rest = behind;
    }
    (dialogue.take(), dialogue.is_closed())
}

fn text(instance: &Instance, input: &str) -> String {
    String::from_utf8(talk(instance, input.as_bytes(), &[]).0).expect("text")
}

#[test]
fn a_burst_is_answered_in_order() {
    let input = "set a 1 0 1\r\nx\r\nget a b a\r\nincr a 1\r\ndelete a\r\nget a\r\nset n 0 0 1\r\n5\r\nincr n 2\r\n";
    assert_eq!(
        text(&instance(), input),
        "STORED\r\nVALUE a 1 1\r\nx\r\nVALUE a 1 1\r\nx\r\nEND\r\n\
         CLIENT_ERROR cannot increment or decrement non-numeric value\r\nDELETED\r\nEND\r\nSTORED\r\n7\r\n"
    );
}

#[test]
fn a_key_too_long_keeps_the_replies_before_it() {
    let instance = instance();
    let long = "k".repeat(251);
    let input = format!("set a 0 0 1\r\nx\r\nget a\r\nget a {long} a\r\nversion\r\n");
    assert_eq!(
        text(&instance, &input),
        "STORED\r\nVALUE a 0 1\r\nx\r\nEND\r\nVALUE a 0 1\r\nx\r\n\
         CLIENT_ERROR bad command line format\r\nVERSION 1.6.45\r\n"
    );
}

#[test]
fn the_first_byte_decides_what_is_spoken() {
    let noop = [&[REQUEST_MAGIC, 0x0a][..], &[0; 22]].concat();
    let done = [&[0x81, 0x0a][..], &[0; 22]].concat();
    let (version, line) = (&b"version\r\n"[..], b"VERSION 1.6.45\r\n".to_vec());
    for (protocol, binary, text) in [
        (Protocol::Auto, (done.clone(), false), (line.clone(), false)),
        // The opcode ends a line.
        (Protocol::Ascii, (Reject::BadLine.line().to_vec(), false), (line, false)),
        (Protocol::Binary, (done.clone(), false), (Vec::new(), true)),
    ] {
        let config = Config { threads: 1, protocol, ..Config::default() };
        let instance = Instance::new(config, Log::default(), Vec::new());
        assert_eq!(talk(&instance, &noop, &[1]), binary);
        assert_eq!(talk(&instance, version, &[1]), text);
    }
    // Later, it is a byte like any other of its protocol.
    let (replies, closed) = talk(&instance(), b"version\r\n\x80\x80\x80\r\n", &[]);
    assert_eq!((&replies[..], closed), (&b"VERSION 1.6.45\r\nERROR\r\n"[..], false));
    assert_eq!(talk(&instance(), &[&noop, version].concat(), &[]), (done, true));
}

#[test]
fn where_only_text_is_spoken_the_first_byte_says_nothing() {
    let config = Config { threads: 1, protocol: Protocol::Ascii, ..Config::default() };
    let instance = Instance::new(config, Log::default(), Vec::new());
    let (replies, closed) = talk(&instance, b"\x80\x0bx\r\nversion\r\n", &[]);
    assert_eq!((&replies[..], closed), (&b"ERROR\r\nVERSION 1.6.45\r\n"[..], false));
}

#[test]
fn a_get_of_any_size_needs_little_memory() {
    let instance = instance();
    let value = "v".repeat(100_000);
    text(&instance, &format!("set k 0 0 {}\r\n{value}\r\n", value.len()));
    let input = format!("get{}\r\n", " k".repeat(200));
    // `talk` checks the bound on the replies of each step.
    let (replies, _) = talk(&instance, input.as_bytes(), &[]);
    assert_eq!(replies.len(), 200 * (value.len() + "VALUE k 0 100000\r\n\r\n".len()) + 5);
}

#[test]
fn a_get_without_end_is_answered_as_it_comes() {
    let instance = instance();
    text(&instance, "set k 0 0 1\r\nx\r\n");
    let mut input = b"get".to_vec();
    for _ in 0..100_000 {
        input.extend_from_slice(b" k");
    }
    let (replies, closed) = talk(&instance, &input, &[4096, 8192, 100_000]);
    assert!(!closed);
    // The last key may have more to it.
    assert_eq!(replies.len(), 99_999 * "VALUE k 0 1\r\nx\r\n".len());
}

#[test]
fn every_65th_request_of_a_burst_lets_others_go_first() {
    let instance = instance();
    text(&instance, &"version\r\n".repeat(64));
    assert_eq!(instance.totals().conn_yields, 0);
    text(&instance, &"version\r\n".repeat(64 * 3 + 1));
    assert_eq!(instance.totals().conn_yields, 3);
}

#[test]
fn what_is_asked_behind_a_quit_is_not_done() {
    let instance = instance();
    let input = b"set a 0 0 1\r\nx\r\nquit\r\ndelete a\r\nget a\r\n";
    assert_eq!(talk(&instance, input, &[]), (b"STORED\r\n".to_vec(), true));
    assert_eq!(text(&instance, "get a\r\n"), "VALUE a 0 1\r\nx\r\nEND\r\n");
}

#[test]
fn a_refused_block_is_skipped_whole() {
    let refused = format!("set {} 0 0 12\r\nflush_all\r\nx\r\n", "k".repeat(251));
    let large = format!("set k 0 0 1100000\r\n{}\r\n", "flush_all\r\n".repeat(100_000));
    let instance = instance();
    assert_eq!(
        text(&instance, &format!("{refused}version\r\n{large}version\r\n")),
        "CLIENT_ERROR bad command line format\r\nVERSION 1.6.45\r\n\
         SERVER_ERROR object too large for cache\r\nVERSION 1.6.45\r\n"
    );
    assert_eq!(instance.totals().cmd_flush, 0);
}

/// Sessions that are mostly well formed, on few keys.
fn session() -> impl Strategy<Value = Vec<u8>> {
    let line = prop_oneof![
        "(get|gets) [abc]( [abc]){0,3}\r?\n",
        "gat -?[0-9]{1,3} [abc]\r\n",
        "(set|add|replace|append|prepend) [abc] [0-9]{1,3} 0 3( noreply)?\r\n[0-9a-z]{3}\r\n",
        "set [abc] 0 0 [0-9]{1,4}\r\n",
        "cas [abc] 0 0 1 [0-9]{1,2}\r\nx\r\n",
        "(incr|decr) [abc] [0-9]{1,3}\r\n",
        "(delete|touch) [abc]( [0-9])?\r\n",
        "(version|verbosity 1|flush_all|stats r|bogus|)\r\n",
        "[ -~]{0,20}\r\n",
        // Two of these are more than is answered before the replies are sent. Read as requests, they are short ones.
        Just(format!("set b 0 0 40000\r\n{}\r\n", "vvvvvvv\n".repeat(5_000))),
        "gets b a b b c b b( b)?\r\n",
    ];
    (proptest::collection::vec(line, 0..12), proptest::collection::vec(any::<u8>(), 0..6))
        .prop_map(|(lines, tail)| [lines.concat().as_bytes(), &tail].concat())
}

/// Frames that are mostly right, on few keys.
fn frames() -> impl Strategy<Value = Vec<u8>> {
    let opcode = prop_oneof![12 => 0..0x25_u8, 1 => any::<u8>()];
    let value = prop_oneof![
        8 => "[0-9a]{0,3}",
        // Two of these are more than is answered before the replies are sent; this one is received where it will stay.
        1 => Just("v".repeat(40_000)),
        1 => Just("w".repeat(65_536)),
    ];
    let exptime = proptest::sample::select(vec![0, 100, u32::MAX]);
    let cas_unique = prop_oneof![3 => Just(0_u64), 1 => 1..8_u64];
    let spoiled = prop_oneof![20 => Just(None), 1 => (0..16_usize, any::<u8>()).prop_map(Some)];
    let frame = (opcode, "[abc]", value, exptime, cas_unique, spoiled).prop_map(
        |(opcode, key, value, exptime, cas_unique, spoiled)| {
            let exptime = exptime.to_be_bytes();
            let extras = match opcode {
                0x01..=0x03 | 0x11..=0x13 => [&[0; 4][..], &exptime].concat(),
                0x05 | 0x06 | 0x15 | 0x16 => {
                    [&[0, 0, 0, 0, 0, 0, 0, 3].repeat(2)[..], &exptime].concat()
                }
                0x1c..=0x1e | 0x23 | 0x24 => exptime.to_vec(),
                _ => Vec::new(),
            };
            let key = match opcode {
                0x07 | 0x08 | 0x0a | 0x0b | 0x17 | 0x18 | 0x20 => "",
                _ => &key,
            };
            let value = match opcode {
                0x01..=0x03 | 0x11..=0x13 | 0x0e | 0x0f | 0x19..=0x1b | 0x21 | 0x22 | 0x25.. => {
                    &value
                }
                _ => "",
            };
            let body = [&extras, key.as_bytes(), value.as_bytes()].concat();
            let body_len = u32::try_from(body.len()).expect("it is short");
            let lens = [
                u8::try_from(key.len()).expect("one byte"),
                u8::try_from(extras.len()).expect("20 at most"),
            ];
            let mut frame = vec![REQUEST_MAGIC, opcode, 0, lens[0], lens[1], 0, 0, 0];
            frame.extend(body_len.to_be_bytes());
            frame.extend(*b"opaq");
            frame.extend(cas_unique.to_be_bytes());
            if let Some((at, byte)) = spoiled {
                frame[at] = byte;
            }
            [frame, body].concat()
        },
    );
    (proptest::collection::vec(frame, 1..12), proptest::collection::vec(any::<u8>(), 0..30))
        .prop_map(|(frames, tail)| [frames.concat(), tail].concat())
}

/// Well-formed requests in text, also of the meta commands.
fn requests() -> impl Strategy<Value = Vec<u8>> {
    let request = prop_oneof![
        "(get|gets) [abc]( [abc]){0,3}\r\n",
        "(gat|gats) [0-9] [abc]( [abc])?\r\n",
        "(set|add|replace|append|prepend) [abc] [0-9]{1,3} 0 3( noreply)?\r\n[0-9a-z]{3}\r\n",
        "cas [abc] 0 0 3 [0-9]( noreply)?\r\nxyz\r\n",
        "(incr|decr|touch) [abc] [0-9]{1,3}( noreply)?\r\n",
        "(delete [abc]( noreply)?|mn|version|flush_all)\r\n",
        "(mg|md|ma|me) [abc]( [vtfcskbqIhlTNRDJMEFCSO][0-9a-z]{0,3}){0,5}\r\n",
        "(mg|md|ma) YWI= b( [vtfcskbqIhlTNRDJMEFCSO][0-9a-z]{0,3}){0,5}\r\n",
        "ms [abc] 3( [vtfcskbqIhlTNRDJMEFCSO][0-9a-z]{0,3}){0,5}\r\n[0-9a-z]{3}\r\n",
    ];
    proptest::collection::vec(request, 1..12).prop_map(|requests| requests.concat().into_bytes())
}

/// What happens to a request on its way.
#[derive(Clone, Debug)]
enum Mutation {
    Flip(u8),
    Cut(usize),
    Repeat(usize),
    Insert(Vec<u8>),
}

impl Mutation {
    fn apply(&self, at: usize, bytes: &mut Vec<u8>) {
        let until = |len: &usize| (at + len).min(bytes.len());
        match self {
            Self::Flip(mask) => bytes[at] ^= mask,
            Self::Cut(len) => drop(bytes.drain(at..until(len))),
            Self::Repeat(len) => {
                let part = bytes[at..until(len)].to_vec();
                bytes.splice(at..at, part);
            }
            Self::Insert(part) => drop(bytes.splice(at..at, part.iter().copied())),
        }
    }
}

/// The same, damaged in a few places.
fn mutated(requests: impl Strategy<Value = Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    const TELLING: &[&str] =
        &["\r\n", "\n", "\r", " ", "\0", "-1", "4294967296", " q", " k", " b", " noreply"];
    let mutation = prop_oneof![
        (1..=u8::MAX).prop_map(Mutation::Flip),
        (1..40_usize).prop_map(Mutation::Cut),
        (1..40_usize).prop_map(Mutation::Repeat),
        proptest::sample::select(TELLING)
            .prop_map(|part| Mutation::Insert(part.as_bytes().to_vec())),
        proptest::collection::vec(any::<u8>(), 1..12).prop_map(Mutation::Insert),
        Just(Mutation::Insert(vec![b'k'; 251])),
    ];
    let mutations = proptest::collection::vec((any::<proptest::sample::Index>(), mutation), 0..6);
    (requests, mutations).prop_map(|(mut bytes, mutations)| {
        for (at, mutation) in &mutations {
            if !bytes.is_empty() {
                mutation.apply(at.index(bytes.len()), &mut bytes);
            }
        }
        bytes
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn sessions_keep_the_rule(input in session()) {
        rule::text(&input);
    }

    #[test]
    fn frames_keep_the_rule(input in frames()) {
        rule::binary(&input);
    }

    #[test]
    fn damaged_requests_keep_the_rule(input in mutated(requests())) {
        rule::text(&input);
        rule::meta(&input);
    }

    #[test]
    fn damaged_frames_keep_the_rule(input in mutated(frames())) {
        rule::binary(&input);
    }

    #[test]
    fn arbitrary_bytes_keep_the_rule(input in proptest::collection::vec(any::<u8>(), 0..600)) {
        rule::text(&input);
        rule::binary(&input);
        rule::binary(&[&[REQUEST_MAGIC], &input[..]].concat());
    }
}
