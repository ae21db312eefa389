//! Large values, which are sent from where they are stored: slow readers get what was there when they asked, and pin
//! little of the memory.

use crate::client::Client;
use crate::{larder, wait_until};
use std::collections::HashMap;

const LIMIT_MIB: u64 = 64;
const LEN: usize = 1_000_000;
/// More replies than a socket takes while nobody reads.
const REPLY_COUNT: usize = 40;

/// Different bytes everywhere, so that a piece in the wrong place is seen.
fn value(version: u8, len: usize) -> Vec<u8> {
    let mut word = u64::from(version) + 1;
    let mut value = Vec::with_capacity(len + 8);
    while value.len() < len {
        word = word.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        value.extend_from_slice(&word.to_be_bytes());
    }
    value.truncate(len);
    value
}

fn set(client: &mut Client, key: &str, value: &[u8]) {
    client.send(format!("set {key} 0 0 {}\r\n", value.len()));
    client.send(value);
    client.ask("\r\n", "STORED\r\n");
}

/// `stats store`, of which the parts add up and the whole is within the limit.
#[track_caller]
fn stats_store(client: &mut Client) -> HashMap<String, u64> {
    let number = |(name, value): (String, String)| Some((name, value.parse().ok()?));
    let store: HashMap<String, u64> =
        client.stat_lines(" store").into_iter().filter_map(number).collect();
    let parts = ["segment_bytes", "index_bytes", "ghost_bytes", "large_bytes"];
    let sum: u64 = parts.iter().map(|part| store[*part]).sum();
    assert!(sum == store["store_bytes"] && sum <= store["limit_bytes"], "{store:?}");
    store
}

/// A client that has asked for a key many times and has read nothing yet.
fn slow_reader(server: &crate::process::Server, other: &mut Client, key: &str) -> Client {
    let (before, mut reader) = (other.stat("response_obj_count"), Client::connect(server));
    reader.send(format!("get {key}\r\n").repeat(REPLY_COUNT));
    wait_until("its replies are stuck", || other.stat("response_obj_count") > before);
    reader
}

/// What another client does to a value that is being sent.
type Change<'a> = &'a dyn Fn(&mut Client);

#[test]
fn a_slow_reader_gets_what_it_asked_for() {
    let (old, new) = (value(1, LEN), value(2, LEN));
    let changes: [(&str, Change); 5] = [
        ("overwritten", &|client| set(client, "k", &value(2, LEN))),
        ("joined", &|client| {
            client.ask("append k 0 0 4\r\nmore\r\n", "STORED\r\n");
            set(client, "k", &value(2, LEN));
        }),
        ("deleted", &|client| client.ask("delete k\r\n", "DELETED\r\n")),
        ("flushed", &|client| client.ask("flush_all\r\nget k\r\n", "OK\r\nEND\r\n")),
        ("evicted", &|client| {
            let mut number = 0;
            wait_until("it is gone", || {
                for _ in 0..200 {
                    number += 1;
                    set(client, &format!("other{number}"), &value(3, LEN));
                }
                stats_store(client);
                client.send("touch k 0\r\n");
                client.line() == "NOT_FOUND"
            });
        }),
    ];
    for (what, change) in changes {
        let server = larder(&["-m", &LIMIT_MIB.to_string()]);
        let mut other = Client::connect(&server);
        set(&mut other, "k", &old);
        let mut reader = slow_reader(&server, &mut other, "k");
        change(&mut other);
        // What comes free is written over at once, as far as it can.
        for number in 0..40 {
            set(&mut other, &format!("filler{number}"), &value(4, LEN));
        }
        stats_store(&mut other);
        let (mut old_count, mut new_count) = (0, 0);
        for _ in 0..REPLY_COUNT {
            let line = reader.line();
            if line == "END" {
                continue;
            }
            assert_eq!(line, format!("VALUE k 0 {LEN}"), "{what}");
            let got = reader.bytes(LEN);
            if got == old && new_count == 0 {
                old_count += 1;
            } else {
                assert!(got == new, "neither the old value nor the new one: {what}");
                new_count += 1;
            }
            assert_eq!((reader.line(), reader.line()), (String::new(), "END".to_owned()));
        }
        // That which was stuck among them.
        assert!(old_count > 1 && old_count < REPLY_COUNT, "{old_count} before it was {what}");
        reader.ask("version\r\n", "VERSION 1.6.45\r\n");
    }
}

#[test]
fn who_leaves_amid_a_large_value_keeps_nothing() {
    let server = larder(&["-m", &LIMIT_MIB.to_string()]);
    let mut other = Client::connect(&server);
    set(&mut other, "k", &value(1, LEN));
    let reader = slow_reader(&server, &mut other, "k");
    other.ask("delete k\r\n", "DELETED\r\n");
    assert!(stats_store(&mut other)["large_bytes"] >= LEN as u64 * 9 / 10, "it is still read");
    drop(reader);
    wait_until("its memory is free", || stats_store(&mut other)["large_bytes"] == 0);
}

#[test]
fn those_that_do_not_read_pin_little() {
    const COUNT: usize = 40;
    let limit = LIMIT_MIB << 20;
    let server = larder(&["-m", &LIMIT_MIB.to_string(), "-o", "connection_memory=1g"]);
    let mut other = Client::connect(&server);
    let mut deaf = Vec::new();
    for number in 0..COUNT {
        let key = format!("k{number}");
        set(&mut other, &key, &value(1, LEN));
        deaf.push(slow_reader(&server, &mut other, &key));
    }
    for number in 0..COUNT {
        other.send(format!("delete k{number}\r\n"));
        other.line();
    }
    let pinned = stats_store(&mut other)["large_bytes"];
    assert!((LEN as u64..=limit / 8).contains(&pinned), "{pinned} bytes are pinned");
    // All that is not is there for others, and what they store does not go at once.
    for number in 0..45 {
        set(&mut other, &format!("n{number}"), &value(2, LEN));
        stats_store(&mut other);
    }
    assert_eq!(other.stat("evictions"), 0);
}
