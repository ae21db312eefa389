//! Sequences of requests that are answered by memcached 1.6.18 and by Larder with the same bytes, CAS uniques aside.

use super::{count, frame, raw, set, terms, with_cas};
use crate::process::Server;
use crate::{larder, skipped};
use std::io::{Read, Write};
use std::net::Shutdown;
use std::path::Path;
use std::process::Command;

/// A name, and what is sent on a connection of its own.
fn sequences() -> Vec<(&'static str, Vec<Vec<u8>>)> {
    let exptime = |exptime: u32| exptime.to_be_bytes();
    let key = |opcode: u8, key: &[u8]| frame(opcode, b"", key, b"");
    let touch = |opcode: u8, at: u32, key: &[u8]| frame(opcode, &exptime(at), key, b"");
    let store = |opcode: u8, key: &[u8], value: &[u8]| frame(opcode, &terms(0, 0), key, value);
    let join = |opcode: u8, key: &[u8], value: &[u8]| frame(opcode, b"", key, value);
    let calc = |opcode: u8, extras: Vec<u8>, key: &[u8]| frame(opcode, &extras, key, b"");
    let mut all = vec![
        (
            "get",
            vec![
                frame(0x01, &terms(0xdead_beef, 0), b"k", b"value"),
                set(b"empty", b""),
                key(0x00, b"k"),
                key(0x09, b"k"),
                key(0x0c, b"k"),
                key(0x0d, b"k"),
                key(0x0c, b"empty"),
                key(0x00, b"no"),
                key(0x09, b"no"),
                key(0x0c, b"no"),
                key(0x0d, b"no"),
                set(&[b'k'; 250], b"v"),
                key(0x0c, &[b'k'; 250]),
            ],
        ),
        (
            "touch",
            vec![
                frame(0x01, &terms(5, 0), b"k", b"v"),
                touch(0x1c, 100, b"k"),
                touch(0x1d, 100, b"k"),
                touch(0x1e, 100, b"k"),
                touch(0x23, 100, b"k"),
                touch(0x24, 0, b"k"),
                touch(0x1c, 0, b"no"),
                touch(0x1d, 0, b"no"),
                touch(0x1e, 0, b"no"),
                touch(0x23, 0, b"no"),
                touch(0x24, 0, b"no"),
                // Long ago.
                touch(0x1c, 2_592_001, b"k"),
                key(0x00, b"k"),
            ],
        ),
        (
            "store",
            vec![
                store(0x02, b"a", b"1"),
                store(0x02, b"a", b"1"),
                store(0x12, b"a", b"1"),
                store(0x12, b"b", b"1"),
                store(0x03, b"no", b"1"),
                store(0x13, b"no", b"1"),
                store(0x03, b"a", b"2"),
                store(0x13, b"a", b"3"),
                store(0x11, b"a", b"4"),
                join(0x0e, b"a", b"5"),
                join(0x0f, b"a", b"6"),
                join(0x19, b"a", b"7"),
                join(0x1a, b"a", b"8"),
                join(0x0e, b"a", b""),
                join(0x0e, b"no", b"9"),
                join(0x0f, b"no", b"9"),
                join(0x19, b"no", b"9"),
                join(0x1a, b"no", b"9"),
                key(0x00, b"a"),
            ],
        ),
        (
            "cas",
            vec![
                set(b"a", b"1"),
                with_cas(set(b"a", b"x"), 1 << 60),
                with_cas(store(0x02, b"a", b"x"), 1 << 60),
                with_cas(store(0x03, b"a", b"x"), 1 << 60),
                with_cas(store(0x11, b"a", b"x"), 1 << 60),
                with_cas(set(b"no", b"x"), 1 << 60),
                with_cas(store(0x02, b"no", b"x"), 1 << 60),
                with_cas(store(0x03, b"no", b"x"), 1 << 60),
                with_cas(store(0x12, b"no", b"x"), 1 << 60),
                with_cas(join(0x0e, b"a", b"x"), 1 << 60),
                with_cas(join(0x1a, b"a", b"x"), 1 << 60),
                with_cas(join(0x0e, b"no", b"x"), 1 << 60),
                with_cas(calc(0x05, count(1, 1, 0), b"a"), 1 << 60),
                with_cas(calc(0x15, count(1, 1, 0), b"a"), 1 << 60),
                with_cas(calc(0x05, count(1, 1, 0), b"made"), 1 << 60),
                with_cas(key(0x04, b"a"), 1 << 60),
                with_cas(key(0x14, b"a"), 1 << 60),
                with_cas(key(0x04, b"no"), 1 << 60),
                with_cas(key(0x00, b"a"), 1 << 60),
            ],
        ),
        (
            "count",
            vec![
                calc(0x05, count(1, 10, u32::MAX), b"n"),
                calc(0x15, count(1, 10, u32::MAX), b"n"),
                calc(0x05, count(1, 10, 0), b"n"),
                calc(0x05, count(1, 10, 0), b"n"),
                calc(0x06, count(2, 10, 0), b"n"),
                key(0x00, b"n"),
                calc(0x06, count(100, 10, 0), b"n"),
                calc(0x15, count(7, 10, 0), b"n"),
                calc(0x16, count(1, u64::MAX, 0), b"m"),
                // While an item is sent, memcached counts in another one, which has another width.
                calc(0x05, count(2, 0, 0), b"m"),
                key(0x00, b"m"),
                // Made dead.
                calc(0x05, count(1, 10, 2_592_001), b"dead"),
                key(0x00, b"dead"),
                set(b"t", b"text"),
                calc(0x05, count(1, 1, 0), b"t"),
                calc(0x16, count(1, 1, 0), b"t"),
            ],
        ),
        (
            "delete",
            vec![
                set(b"d", b"1"),
                key(0x04, b"d"),
                key(0x04, b"d"),
                key(0x14, b"d"),
                set(b"d", b"1"),
                key(0x14, b"d"),
                key(0x00, b"d"),
            ],
        ),
        (
            "exptimes without a sign",
            vec![
                frame(0x01, &terms(0, u32::MAX), b"e", b"1"),
                key(0x00, b"e"),
                frame(0x01, &terms(0, 1 << 31), b"e", b"2"),
                key(0x00, b"e"),
                frame(0x01, &terms(0, 2_592_001), b"e", b"3"),
                key(0x00, b"e"),
            ],
        ),
        (
            "flush",
            vec![
                set(b"k", b"1"),
                key(0x18, b""),
                key(0x00, b"k"),
                key(0x08, b""),
                touch(0x08, 0, b""),
                touch(0x18, 1000, b""),
                touch(0x08, 1000, b""),
                key(0x08, b""),
            ],
        ),
        (
            "what is not offered",
            vec![
                key(0x1b, b""),
                key(0x20, b""),
                frame(0x21, b"", b"PLAIN", b"\0a\0b"),
                frame(0x22, b"", b"PLAIN", b"x"),
                key(0x30, b""),
                frame(0x77, b"", b"", b"body"),
            ],
        ),
        (
            "statistics",
            vec![
                key(0x10, b"sizes"),
                key(0x10, b"detail on"),
                key(0x00, b"user:1"),
                key(0x10, b"detail dump"),
                key(0x10, b"detail off"),
                key(0x10, b"detail"),
                key(0x10, b"reset"),
                key(0x10, b"resetting"),
                key(0x10, b"bogus"),
            ],
        ),
        (
            "too large",
            vec![
                set(b"k", b"v"),
                join(0x0e, b"k", &vec![b'v'; 1_100_000]),
                store(0x02, b"k", &vec![b'v'; 1_100_000]),
                key(0x00, b"k"),
                store(0x11, b"k", &vec![b'v'; 1_100_000]),
                key(0x00, b"k"),
                set(b"k", b"v"),
                // Whatever CAS unique comes with it.
                with_cas(store(0x03, b"k", &vec![b'v'; 1_100_000]), 1),
                key(0x00, b"k"),
                with_cas(set(b"k", &vec![b'v'; 1_100_000]), 1),
                key(0x00, b"k"),
                set(b"k", &vec![b'v'; 1_048_516]),
                set(b"k", &vec![b'v'; 1_048_517]),
                key(0x00, b"k"),
            ],
        ),
        ("quit", vec![key(0x07, b"")]),
        ("quitq", vec![key(0x0a, b""), key(0x17, b"")]),
    ];
    for (name, bad) in [
        ("get with extras", raw(0x00, 1, 4, 5, b"12345")),
        ("get with a value", raw(0x00, 1, 0, 3, b"abc")),
        ("get without a key", raw(0x00, 0, 0, 0, b"")),
        ("getkq without a key", raw(0x0d, 0, 0, 0, b"")),
        ("set without extras", raw(0x01, 1, 0, 3, b"abc")),
        ("set without a key", raw(0x01, 0, 8, 10, b"12345678ab")),
        ("append with extras", raw(0x0e, 1, 4, 5, b"12345")),
        ("delete with extras", raw(0x04, 1, 4, 5, b"12345")),
        ("increment without extras", raw(0x05, 1, 0, 1, b"k")),
        ("touch without extras", raw(0x1c, 1, 0, 1, b"k")),
        ("touch without a key", raw(0x1c, 0, 4, 4, b"1234")),
        ("flush with three bytes", raw(0x08, 0, 3, 3, b"123")),
        ("flush with a key", raw(0x08, 1, 0, 1, b"k")),
        ("noop with a body", raw(0x0a, 0, 0, 1, b"x")),
        ("quitq with a body", raw(0x17, 0, 0, 1, b"x")),
        ("version with a key", raw(0x0b, 1, 0, 1, b"k")),
        ("statistics with extras", raw(0x10, 1, 4, 5, b"12345")),
        ("list of mechanisms with a body", raw(0x20, 0, 0, 1, b"x")),
        ("authentication without a mechanism", raw(0x21, 0, 0, 4, b"abcd")),
        ("a key of 251 bytes", raw(0x00, 251, 0, 251, &[b'k'; 251])),
        ("a key of 251 bytes that nobody knows", raw(0x77, 251, 0, 251, &[b'k'; 251])),
        ("a key longer than the body", raw(0x00, 5, 0, 3, b"kkkkk")),
        ("extras longer than the body", raw(0x01, 1, 8, 3, b"12345678k")),
        ("something else than a request", [&frame(0x0a, b"", b"", b"")[..], &[0x81; 24]].concat()),
    ] {
        all.push((name, vec![set(b"k", b"v"), bad]));
    }
    all
}

/// Talks to a server until it closes; all that it answered, without CAS uniques.
fn talk(server: &Server, requests: &[Vec<u8>], piece_len: usize) -> Vec<u8> {
    let mut stream = server.connect();
    let sender = stream.try_clone().expect("a second handle");
    let mut input = requests.concat();
    // Ends the connection where nothing before did.
    input.extend(frame(0x0a, b"", b"", b""));
    input.extend(frame(0x07, b"", b"", b""));
    let mut replies = Vec::new();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let mut sender = sender;
            sender.set_nodelay(true).expect("a TCP option");
            for piece in input.chunks(piece_len) {
                // Who has closed takes no more.
                if sender.write_all(piece).is_err() {
                    break;
                }
            }
            let _ = sender.shutdown(Shutdown::Write);
        });
        let mut piece = [0; 16_384];
        // A server that closes with something unread resets the connection.
        while let Ok(len) = stream.read(&mut piece)
            && len > 0
        {
            replies.extend_from_slice(&piece[..len]);
        }
    });
    let mut at = 0;
    while let Some(header) = replies.get_mut(at..at + 24) {
        assert_eq!(header[0], 0x81, "at {at}");
        let has_cas_unique = header[16..24].iter().any(|byte| *byte != 0);
        header[16..24].copy_from_slice(&[0; 8]);
        header[23] = has_cas_unique.into();
        let body_len = u32::from_be_bytes(header[8..12].try_into().expect("four bytes"));
        at += 24 + body_len as usize;
    }
    assert_eq!(at, replies.len(), "the last response is whole");
    replies
}

/// Forgets what a sequence has stored, and a flush that is to come.
fn forget(server: &Server) {
    talk(server, &[frame(0x08, b"", b"", b""), frame(0x10, b"", b"detail off", b"")], usize::MAX);
}

#[test]
fn answers_are_memcacheds() {
    let version = Command::new("memcached").arg("-V").output();
    if !version.is_ok_and(|output| output.stdout.starts_with(b"memcached 1.6.18")) {
        return skipped("memcached 1.6.18 is not on the PATH");
    }
    let (peer, ours) = (Server::start(Path::new("memcached"), &[]), larder(&[]));
    for (name, requests) in sequences() {
        forget(&peer);
        forget(&ours);
        let expected = talk(&peer, &requests, usize::MAX);
        let got = talk(&ours, &requests, usize::MAX);
        assert!(!expected.is_empty(), "{name}");
        assert_eq!(got.escape_ascii().to_string(), expected.escape_ascii().to_string(), "{name}");
    }
}

/// Where the reads happen to end makes no difference.
#[test]
fn cuts_make_no_difference() {
    let server = larder(&[]);
    for (name, requests) in sequences().into_iter().filter(|(name, _)| *name != "too large") {
        forget(&server);
        let whole = talk(&server, &requests, usize::MAX);
        for piece_len in [1, 23, 25] {
            forget(&server);
            assert_eq!(
                talk(&server, &requests, piece_len),
                whole,
                "{name} in pieces of {piece_len}"
            );
        }
    }
}
