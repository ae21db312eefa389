//! The binary protocol in raw frames: side by side with memcached (`peer`), frames whose lengths lie (`hostile`), and
//! what is Larder's own.
#![expect(clippy::cast_possible_truncation, reason = "lengths are made up, or those of fields")]

use crate::client::Client;
use crate::process::Server;
use crate::{larder, wait_until};

mod hostile;
mod peer;

const GET: u8 = 0x00;
const SET: u8 = 0x01;
const INCREMENT: u8 = 0x05;
const QUIT: u8 = 0x07;
const FLUSH: u8 = 0x08;
const NOOP: u8 = 0x0a;
const GETK: u8 = 0x0c;
const GETKQ: u8 = 0x0d;
const APPEND: u8 = 0x0e;
const STAT: u8 = 0x10;
const SETQ: u8 = 0x11;
const DELETE: u8 = 0x04;

const OPAQUE: u32 = 0x0102_0304;

/// A header with any lengths, and a body that need not have them.
fn raw(opcode: u8, key_len: u16, extras_len: u8, body_len: u32, body: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x80, opcode];
    frame.extend(key_len.to_be_bytes());
    frame.extend([extras_len, 0, 0, 0]);
    frame.extend(body_len.to_be_bytes());
    frame.extend(OPAQUE.to_be_bytes());
    frame.extend([0; 8]);
    frame.extend(body);
    frame
}

/// A request as it should be.
fn frame(opcode: u8, extras: &[u8], key: &[u8], value: &[u8]) -> Vec<u8> {
    let body = [extras, key, value].concat();
    let (key_len, extras_len) = (key.len() as u16, extras.len() as u8);
    raw(opcode, key_len, extras_len, body.len() as u32, &body)
}

/// The same for an item that must have this CAS unique.
fn with_cas(mut frame: Vec<u8>, unique: u64) -> Vec<u8> {
    frame[16..24].copy_from_slice(&unique.to_be_bytes());
    frame
}

/// Flags and exptime of a set.
fn terms(flags: u32, exptime: u32) -> [u8; 8] {
    (u64::from(flags) << 32 | u64::from(exptime)).to_be_bytes()
}

fn set(key: &[u8], value: &[u8]) -> Vec<u8> {
    frame(SET, &terms(0, 0), key, value)
}

/// The extras of an increment or a decrement.
fn count(delta: u64, initial: u64, exptime: u32) -> Vec<u8> {
    [&delta.to_be_bytes()[..], &initial.to_be_bytes(), &exptime.to_be_bytes()].concat()
}

/// A response, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Response {
    opcode: u8,
    status: u16,
    cas_unique: u64,
    extras: Vec<u8>,
    key: Vec<u8>,
    value: Vec<u8>,
}

impl Client {
    /// The next response, which must be one to a request of ours.
    #[track_caller]
    fn response(&mut self) -> Response {
        let header = self.bytes(24);
        let number = |at: usize, len: usize| {
            header[at..at + len].iter().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte))
        };
        assert_eq!(
            (header[0], header[5], number(12, 4)),
            (0x81, 0, u64::from(OPAQUE)),
            "{header:x?}"
        );
        let mut extras = self.bytes(number(8, 4) as usize);
        let mut key = extras.split_off(header[4].into());
        let value = key.split_off(number(2, 2) as usize);
        let (opcode, status) = (header[1], number(6, 2) as u16);
        Response { opcode, status, cas_unique: number(16, 8), extras, key, value }
    }

    /// What one request is answered.
    #[track_caller]
    fn call(&mut self, request: &[u8]) -> Response {
        self.send(request);
        let response = self.response();
        assert_eq!(response.opcode, request[1]);
        response
    }

    /// The status of it.
    #[track_caller]
    fn status(&mut self, request: &[u8]) -> u16 {
        self.call(request).status
    }

    /// The next response is that to a noop, so nothing else has been said before.
    #[track_caller]
    fn assert_in_step(&mut self) {
        let done = self.call(&frame(NOOP, b"", b"", b""));
        assert_eq!((done.status, done.cas_unique, done.value.len()), (0, 0, 0));
    }

    /// Names and values of a block of statistics.
    fn stat_frames(&mut self, topic: &str) -> Vec<(String, String)> {
        self.send(frame(STAT, b"", topic.as_bytes(), b""));
        let text = |bytes| String::from_utf8(bytes).expect("text");
        std::iter::from_fn(|| {
            let Response { opcode, status, key, value, .. } = self.response();
            assert_eq!((opcode, status), (STAT, 0));
            (!key.is_empty()).then(|| (text(key), text(value)))
        })
        .collect()
    }
}

#[test]
fn a_cas_unique_is_told_and_asked_for() {
    let server = larder(&[]);
    let mut client = Client::connect(&server);
    let unique = client.call(&set(b"k", b"1")).cas_unique;
    assert_eq!(client.call(&frame(GET, b"", b"k", b"")).cas_unique, unique);
    assert_eq!(client.status(&with_cas(set(b"k", b"2"), unique + 1)), 2);
    let unique = {
        let stored = client.call(&with_cas(set(b"k", b"2"), unique));
        assert!(stored.status == 0 && stored.cas_unique > unique);
        stored.cas_unique
    };
    let increment = frame(INCREMENT, &count(1, 0, 0), b"k", b"");
    assert_eq!(client.status(&with_cas(increment.clone(), unique + 1)), 2);
    let unique = client.call(&with_cas(increment, unique)).cas_unique;
    let append = frame(APPEND, b"", b"k", b"0");
    assert_eq!(client.status(&with_cas(append.clone(), unique + 1)), 2);
    let unique = client.call(&with_cas(append, unique)).cas_unique;
    let got = client.call(&frame(GET, b"", b"k", b""));
    assert_eq!((got.cas_unique, &got.value[..]), (unique, &b"30"[..]));
    // An item that a count made tells its own too.
    let made = client.call(&frame(INCREMENT, &count(1, 7, 0), b"n", b""));
    assert_eq!(made.value, 7_u64.to_be_bytes());
    assert_eq!(client.call(&frame(GET, b"", b"n", b"")).cas_unique, made.cas_unique);
    let delete = frame(DELETE, b"", b"k", b"");
    assert_eq!(client.status(&with_cas(delete.clone(), unique + 1)), 2);
    assert_eq!(client.status(&with_cas(delete, unique)), 0);
    let stats = Client::connect(&server).stats();
    assert_eq!(
        (&*stats["cas_hits"], &*stats["cas_badval"], &*stats["delete_hits"]),
        ("1", "1", "1")
    );
}

#[test]
fn sizes_are_counted_amid_other_requests() {
    let server = larder(&["-o", "track_sizes"]);
    let mut client = Client::connect(&server);
    for (key, value_len) in [("a", 4), ("b", 5), ("c", 0), ("d", 70_000)] {
        assert_eq!(client.status(&set(key.as_bytes(), &vec![b'v'; value_len])), 0);
    }
    let shown = [("64", "2"), ("96", "1"), ("70080", "1")];
    let shown = shown.map(|(size, count)| (size.to_owned(), count.to_owned()));
    assert_eq!(client.stat_frames("sizes"), shown);
    // In one write, with some that are parsed together with it, the last of them in part.
    let stat = frame(STAT, b"", b"sizes", b"");
    let get = frame(GET, b"", b"a", b"");
    let (front, rest) = get.split_at(20);
    client.send([&get[..], &stat, &get, &stat, front].concat());
    let assert_got = |client: &mut Client| {
        let got = client.response();
        assert_eq!((got.opcode, got.value.len()), (GET, 4));
    };
    let assert_sizes = |client: &mut Client| {
        for (size, count) in &shown {
            let Response { opcode, key, value, .. } = client.response();
            assert_eq!((opcode, key, value), (STAT, size.clone().into(), count.clone().into()));
        }
        let end = client.response();
        assert_eq!((end.opcode, end.key.len(), end.value.len()), (STAT, 0, 0));
    };
    assert_got(&mut client);
    assert_sizes(&mut client);
    assert_got(&mut client);
    assert_sizes(&mut client);
    client.send(rest);
    assert_got(&mut client);
    client.assert_in_step();
}

#[test]
fn quiet_gets_are_ended_by_a_noop() {
    const COUNT: u32 = 1000;
    let server = larder(&[]);
    let mut client = Client::connect(&server);
    let mut sets = Vec::new();
    for number in (0..COUNT).step_by(2) {
        sets.extend(frame(SETQ, &terms(number, 0), format!("k{number}").as_bytes(), b"value"));
    }
    client.send(sets);
    client.assert_in_step();
    let mut gets = Vec::new();
    for number in 0..COUNT {
        gets.extend(frame(GETKQ, b"", format!("k{number}").as_bytes(), b""));
    }
    client.send(gets);
    client.send(frame(NOOP, b"", b"", b""));
    for number in (0..COUNT).step_by(2) {
        let hit = client.response();
        assert_eq!((hit.opcode, hit.status, hit.value), (GETKQ, 0, b"value".to_vec()));
        assert_eq!(
            (hit.extras, hit.key),
            (number.to_be_bytes().to_vec(), format!("k{number}").into())
        );
    }
    assert_eq!(client.response().opcode, NOOP);
    assert_eq!(Client::connect(&server).stat("get_misses"), u64::from(COUNT) / 2);
}

/// Values that fill segments to the last byte, or nearly: of the former nothing is left to wait for.
#[test]
fn large_values_are_received_and_sent_whole() {
    let server = larder(&[]);
    let (mut client, mut text) = (Client::connect(&server), Client::connect(&server));
    for len in [4095, 4097, 32_768, 65_536, 65_537, 131_072, 524_288, 1_000_000] {
        let value: Vec<u8> =
            (0..len).map(|index: u32| (index.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        for piece_len in [7_000, 100_000, usize::MAX] {
            let request = frame(SET, &terms(9, 0), b"large", &value);
            for piece in request.chunks(piece_len) {
                client.send(piece);
            }
            let stored = client.response();
            assert_eq!((stored.opcode, stored.status), (SET, 0), "{len}");
            let got = client.call(&frame(GETK, b"", b"large", b""));
            assert_eq!(
                (got.extras, got.cas_unique),
                (9_u32.to_be_bytes().to_vec(), stored.cas_unique)
            );
            assert!(got.key == b"large" && got.value == value, "{len} in pieces of {piece_len}");
            // What comes behind it in the same write is answered next.
            let quiet = frame(SETQ, &terms(9, 0), b"large", &value);
            let more =
                [quiet, with_cas(set(b"large", &value), u64::MAX), frame(GET, b"", b"none", b"")];
            client.send(more.concat());
            assert_eq!((client.response().status, client.response().status), (2, 1), "{len}");
        }
    }
    wait_until("nothing is held", || text.stat("read_buf_bytes") == 0);
    text.ask("delete large\r\n", "DELETED\r\n");
    let store = text.stat_lines(" store");
    assert!(store.contains(&("large_bytes".to_owned(), "0".to_owned())), "{store:?}");
}

#[test]
fn statistics_are_those_of_the_text_protocol() {
    let server = larder(&[]);
    let (mut client, mut text) = (Client::connect(&server), Client::connect(&server));
    assert_eq!(client.status(&set(b"k", b"v")), 0);
    for topic in ["", "settings", "items", "slabs", "sizes", "conns", "store"] {
        let argument = if topic.is_empty() { String::new() } else { format!(" {topic}") };
        let names = |block: Vec<(String, String)>| {
            block.into_iter().map(|(name, _)| name).collect::<Vec<_>>()
        };
        assert_eq!(names(client.stat_frames(topic)), names(text.stat_lines(&argument)), "{topic}");
    }
    assert_eq!(client.stat_frames("settings"), text.stat_lines(" settings"));
    assert_eq!(client.stat_frames("detail on"), []);
    assert_eq!(client.status(&set(b"user:1", b"v")), 0);
    let dump = "PREFIX user get 0 hit 0 set 1 del 0\r\nEND\r\n".to_owned();
    assert_eq!(client.stat_frames("detail dump"), [("detailed".to_owned(), dump)]);
    assert_eq!(client.stat_frames("reset"), []);
    assert_eq!(text.stat("cmd_set"), 0);
    assert_eq!(client.status(&frame(STAT, b"", b"bogus", b"")), 1);
}

#[test]
fn what_is_switched_off_is_refused() {
    let server = larder(&["-F", "-X"]);
    let mut client = Client::connect(&server);
    for request in [frame(FLUSH, b"", b"", b""), frame(STAT, b"", b"detail on", b"")] {
        let refused = client.call(&request);
        assert_eq!((refused.status, &refused.value[..]), (0x20, &b"Auth failure."[..]));
    }
    client.assert_in_step();
}

#[test]
fn without_room_a_set_is_refused_and_its_value_skipped() {
    let server = larder(&["-m", "4", "-M", "-I", "1m"]);
    let mut client = Client::connect(&server);
    let value = vec![b'v'; 900_000];
    let refused = (0..10)
        .map(|number| client.call(&set(format!("k{number}").as_bytes(), &value)))
        .find(|stored| stored.status != 0)
        .expect("it is full");
    assert_eq!((refused.status, &refused.value[..]), (0x82, &b"Out of memory allocating item"[..]));
    client.assert_in_step();
    assert_eq!(client.status(&frame(APPEND, b"", b"k0", &value)), 5);
    client.assert_in_step();
}

#[test]
fn a_protocol_may_be_the_only_one() {
    for (option, shown, binary, text) in [
        ("auto", "auto-negotiate", true, true),
        ("ascii", "ascii", false, true),
        ("binary", "binary", true, false),
    ] {
        let server = larder(&["-B", option]);
        if binary {
            let mut client = Client::connect(&server);
            client.assert_in_step();
            let settings = client.stat_frames("settings");
            assert!(settings.contains(&("binding_protocol".to_owned(), shown.to_owned())));
            assert_eq!(client.status(&frame(QUIT, b"", b"", b"")), 0);
            client.assert_closed();
        } else {
            Client::connect(&server).ask(b"\x80\x0bx\r\n", "ERROR\r\n");
        }
        let mut client = Client::connect(&server);
        client.send("version\r\n");
        if text {
            client.ask("", "VERSION 1.6.45\r\n");
        } else {
            client.assert_closed();
        }
    }
}

/// How many connections a server has, as one of them sees it.
fn connection_count(server: &Server) -> u64 {
    Client::connect(server).stat("curr_connections")
}
