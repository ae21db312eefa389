//! Frames that lie about their lengths, or are too many. Each is answered once, or ends its connection; none harms
//! another. Requests are logged meanwhile, since memcached has read past keys when it did that (CVE-2013-0179,
//! CVE-2013-7290, CVE-2013-7291).

use super::{APPEND, GET, NOOP, QUIT, Response, SET, connection_count, frame, raw, set, terms};
use crate::client::Client;
use crate::{larder, wait_until};
use std::io::Read as _;

/// CVE-2016-8704, CVE-2016-8705, CVE-2016-8706, CVE-2017-9951, CVE-2020-10931.
#[test]
fn a_body_shorter_than_its_parts_ends_the_connection() {
    let server = larder(&["-vv"]);
    for opcode in 0..=0xff {
        for (key_len, extras_len, body_len) in
            [(1, 0, 0), (250, 8, 257), (u16::MAX, 0, 1), (0, 0xff, 0xfe), (250, 20, 8), (5, 4, 8)]
        {
            let mut client = Client::connect(&server);
            // Nothing is waited for, and nobody reads on where the body seems to end.
            let behind = frame(NOOP, b"", b"", b"").repeat(12);
            client.send(raw(opcode, key_len, extras_len, body_len, &behind));
            let Response { opcode: answered, status, value, .. } = client.response();
            assert_eq!((answered, status, &value[..]), (opcode, 0x81, &b"Unknown command"[..]));
            client.assert_closed();
        }
    }
    let mut client = Client::connect(&server);
    client.assert_in_step();
    wait_until("all others are gone", || connection_count(&server) <= 4);
    assert_eq!(Client::connect(&server).stat("conn_panics"), 0);
    let log = server.stderr();
    assert!(log.contains(r"< \x80\x00\x00\x01") || log.contains(r"\x80\n"), "requests are logged");
}

/// CVE-2011-4971, and memcached's commit 229cf41be: lengths about 2^31 and 2^32.
#[test]
fn a_body_of_gigabytes_ends_the_connection() {
    let server = larder(&["-vv"]);
    for opcode in 0..=0xff {
        for body_len in [(1 << 30) + 1, i32::MAX as u32 - 1, i32::MAX as u32, 1 << 31, u32::MAX] {
            let mut client = Client::connect(&server);
            client.send(raw(opcode, 1, 8, body_len, b"12345678k"));
            let Response { status, value, .. } = client.response();
            assert_eq!((status, &value[..]), (0x04, &b"Invalid arguments"[..]), "{opcode:#x}");
            client.assert_closed();
        }
    }
    Client::connect(&server).assert_in_step();
}

/// memcached waits for such a body twice.
#[test]
fn what_is_not_known_is_skipped_once() {
    let server = larder(&["-vv"]);
    let mut client = Client::connect(&server);
    for opcode in [0x1b, 0x25, 0x30, 0x3c, 0x77, 0xff] {
        for (extras, key, value) in
            [(&b""[..], &b""[..], &b""[..]), (b"1234", b"key", b"value"), (b"", b"key", b"")]
        {
            assert_eq!(client.status(&frame(opcode, extras, key, value)), 0x81);
            client.assert_in_step();
        }
        // As it comes, whatever it looks like.
        let body = frame(0x08, b"", b"", b"").repeat(20_000);
        let request = frame(opcode, b"", b"", &body);
        for piece in request.chunks(100_001) {
            client.send(piece);
        }
        assert_eq!(client.response().status, 0x81);
        client.assert_in_step();
    }
    assert_eq!(Client::connect(&server).stat("cmd_flush"), 0);
}

/// memcached answers these, and reads what is surplus as the next request.
#[test]
fn what_is_surplus_in_a_body_is_no_request() {
    let server = larder(&["-vv"]);
    let smuggled = frame(0x08, b"", b"", b"");
    for (opcode, extras, key) in [
        (0x1c, &b"\0\0\0\0"[..], &b"k"[..]),
        (0x1d, b"\0\0\0\0", b"k"),
        (0x1e, b"\0\0\0\0", b"k"),
        (0x23, b"\0\0\0\0", b"k"),
        (0x24, b"\0\0\0\0", b"k"),
        (0x10, b"", b"items"),
        (0x10, b"", b""),
    ] {
        let mut client = Client::connect(&server);
        client.send(frame(opcode, extras, key, &smuggled));
        assert_eq!(client.response().status, 0x04);
        client.assert_closed();
    }
    assert_eq!(Client::connect(&server).stat("cmd_flush"), 0);
}

/// CVE-2019-11923, in a proxy.
#[test]
fn a_length_that_is_only_declared_costs_nothing() {
    const COUNT: u64 = 60;
    let server = larder(&["-m", "2048", "-I", "1g", "-vv"]);
    let mut other = Client::connect(&server);
    let held_len = |other: &mut Client| other.stat("read_buf_bytes");
    // Some of the former are received where they would stay; the latter are too long for that.
    for len in [20_000_000, 1_000_000_000] {
        let before = other.stat("bytes_read");
        let head = raw(SET, 1, 8, len, b"12345678kvalue");
        let mut clients: Vec<Client> = (0..COUNT).map(|_| Client::connect(&server)).collect();
        for client in &mut clients {
            client.send(&head);
        }
        let came_len = before + COUNT * head.len() as u64;
        wait_until("all of it is read", || other.stat("bytes_read") >= came_len);
        let counted = COUNT * head.len() as u64;
        wait_until("what came is counted", || held_len(&mut other) >= counted);
        assert!(held_len(&mut other) <= COUNT * 1024);
        for client in &mut clients {
            client.send(vec![b'v'; 500_000]);
        }
        wait_until("it is read", || held_len(&mut other) >= COUNT * 500_000);
        assert!(held_len(&mut other) <= COUNT * 2_100_000);
        drop(clients);
        wait_until("nothing is held any more", || held_len(&mut other) == 0);
        let store = other.stat_lines(" store");
        assert!(store.contains(&("large_bytes".to_owned(), "0".to_owned())), "{store:?}");
    }
}

/// What is too large is answered at once, before its body has come, and the body skipped as it comes.
#[test]
fn what_is_too_large_is_answered_first_and_skipped() {
    let server = larder(&["-vv"]);
    let mut client = Client::connect(&server);
    for opcode in [SET, 0x02, 0x11] {
        client.send(raw(opcode, 1, 8, 200_000_009, &[&terms(0, 0)[..], b"k"].concat()));
        assert_eq!(client.response().status, 0x03);
        for _ in 0..200 {
            client.send(vec![0x80; 1_000_000]);
        }
        client.assert_in_step();
    }
    assert_eq!(Client::connect(&server).stat("store_too_large"), 3);
}

/// What is joined to a value is not received where it will stay, but into memory of the connections. Where that is short,
/// a connection is closed; a line of text would be no response.
#[test]
fn without_memory_for_its_request_a_client_hears_nothing() {
    const COUNT: usize = 6;
    let server = larder(&["-o", "connection_memory=4m"]);
    let mut other = Client::connect(&server);
    let append = frame(APPEND, b"", b"none", &[b'v'; 1000].repeat(1000));
    let mut clients: Vec<Client> = (0..COUNT).map(|_| Client::connect(&server)).collect();
    for client in &mut clients {
        // It may be closed amid any of this.
        let _ = client.try_send(&append[..800_000]);
    }
    wait_until("some are closed", || other.stat("read_buf_oom") > 0);
    let mut silent_count = 0;
    for mut client in clients {
        let _ = client.try_send(&append[800_000..]);
        let _ = client.try_send(frame(QUIT, b"", b"", b""));
        let mut heard = Vec::new();
        let _ = client.stream().read_to_end(&mut heard);
        let expected = [raw(APPEND, 0, 0, 11, b"Not stored."), frame(QUIT, b"", b"", b"")];
        let mut expected = expected.map(|response| [&[0x81], &response[1..]].concat());
        expected[0][7] = 5;
        assert!(heard.is_empty() || heard == expected.concat(), "{}", heard.escape_ascii());
        silent_count += u64::from(heard.is_empty());
    }
    assert_eq!(other.stat("read_buf_oom"), silent_count);
    assert!(silent_count < COUNT as u64);
}

/// CVE-2018-1000127, and memcached's commit e3b7d33ce: more readers of one item than a counter of 16 bits counts.
#[test]
fn one_item_is_read_more_often_than_a_small_counter_counts() {
    const COUNT: usize = 70_000;
    let server = larder(&[]);
    let mut client = Client::connect(&server);
    let large = vec![b'v'; 20_000];
    assert_eq!(client.status(&set(b"k", &large)), 0);
    assert_eq!(client.status(&set(b"s", b"v")), 0);
    // Large values are lent to their readers; these do not read, and are gone then.
    let mut deaf: Vec<Client> = (0..20).map(|_| Client::connect(&server)).collect();
    for client in &mut deaf {
        let gets = frame(GET, b"", b"k", b"").repeat(COUNT / 20);
        // A server that waits for its replies to be taken reads no more.
        client.stream().set_nonblocking(true).expect("a mode");
        let _ = client.try_send(&gets);
    }
    client.send([frame(GET, b"", b"s", b"").repeat(COUNT), frame(NOOP, b"", b"", b"")].concat());
    for _ in 0..COUNT {
        assert_eq!(client.response().value, b"v");
    }
    assert_eq!(client.response().opcode, NOOP);
    drop(deaf);
    assert_eq!(client.call(&frame(GET, b"", b"k", b"")).value, large);
    wait_until("nothing is held", || Client::connect(&server).stat("response_obj_bytes") == 0);
}
