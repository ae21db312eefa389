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

/// A set of a value, whole.
fn set_request(key: &str, value: &[u8]) -> Vec<u8> {
    let line = format!("set {key} 0 0 {}\r\n", value.len());
    [line.as_bytes(), value, b"\r\n"].concat()
}

/// Returns once the server has read so many bytes more than `before`; those of our asking do not count.
#[track_caller]
fn wait_until_read(other: &mut Client, before: u64, len: usize) {
    let mut asked_len = 0;
    wait_until("it is read", || {
        asked_len += b"stats\r\n".len();
        other.stat("bytes_read") >= before + (len + asked_len) as u64
    });
}

#[track_caller]
fn assert_value(client: &mut Client, key: &str, value: &[u8]) {
    client.send(format!("get {key}\r\n"));
    assert_eq!(client.line(), format!("VALUE {key} 0 {}", value.len()));
    assert!(client.bytes(value.len()) == value, "another value of {key}");
    assert_eq!((client.line(), client.line()), (String::new(), "END".to_owned()));
}

#[test]
fn a_large_value_may_come_in_any_pieces() {
    // Segments of 32 KiB.
    let server = larder(&["-m", &LIMIT_MIB.to_string()]);
    let (mut client, mut other) = (Client::connect(&server), Client::connect(&server));
    for (number, len) in
        [32_768, 32_769, 65_536, 65_535, 98_304, 100_000, LEN].into_iter().enumerate()
    {
        let value = value(u8::try_from(number).expect("a small number"), len);
        let request = set_request("k", &value);
        let line_len = request.len() - len - 2;
        let mut cuts = vec![
            line_len - 1,
            line_len,
            line_len + 1,
            line_len + 4095,
            line_len + 4096,
            line_len + 8192,
            line_len + 32_767,
            line_len + len - len % 32_768,
            request.len() - 3,
            request.len() - 2,
            request.len() - 1,
        ];
        cuts.push(len / 2);
        for cut in cuts {
            let before = other.stat("bytes_read");
            client.send(&request[..cut]);
            // What came is taken before there is more.
            wait_until_read(&mut other, before, cut);
            client.send(&request[cut..]);
            assert_eq!(client.line(), "STORED", "{len} bytes cut at {cut}");
            assert_value(&mut other, "k", &value);
        }
        // Others behind it, in the same write.
        let behind = [&request[..], b"get none\r\n", &request, b"version\r\n", &request].concat();
        client.ask(behind, "STORED\r\nEND\r\nSTORED\r\nVERSION 1.6.45\r\nSTORED\r\n");
        assert_value(&mut other, "k", &value);
    }
    wait_until("it holds nothing", || other.stat("read_buf_bytes") == 0);
    assert_eq!(other.stat("read_buf_oom"), 0);
}

#[test]
fn a_large_value_is_judged_at_its_end() {
    let server = larder(&["-m", &LIMIT_MIB.to_string()]);
    let (mut client, mut other) = (Client::connect(&server), Client::connect(&server));
    let value = value(1, 300_000);
    let (head, tail) = value.split_at(200_000);
    let begin = |verb: &str, unique: &str, other: &mut Client, client: &mut Client| {
        let before = other.stat("bytes_read");
        let line = format!("{verb} k 0 0 300000{unique}\r\n");
        client.send(&line);
        client.send(head);
        wait_until_read(other, before, line.len() + head.len());
    };
    let end = |client: &mut Client, reply: &str| {
        client.send(tail);
        client.ask("\r\n", &format!("{reply}\r\n"));
    };
    begin("add", "", &mut other, &mut client);
    other.ask("set k 0 0 1\r\nx\r\n", "STORED\r\n");
    end(&mut client, "NOT_STORED");
    begin("replace", "", &mut other, &mut client);
    other.ask("get k\r\ndelete k\r\n", "VALUE k 0 1\r\nx\r\nEND\r\nDELETED\r\n");
    end(&mut client, "NOT_STORED");
    begin("replace", "", &mut other, &mut client);
    end(&mut client, "NOT_STORED");
    begin("set", "", &mut other, &mut client);
    other.ask("get k\r\nflush_all\r\n", "END\r\nOK\r\n");
    end(&mut client, "STORED");
    assert_value(&mut other, "k", &value);
    other.send("gets k\r\n");
    let line = other.line();
    let unique = line.rsplit(' ').next().expect("a unique").to_owned();
    other.bytes(value.len() + 2);
    other.line();
    begin("cas", &format!(" {unique}"), &mut other, &mut client);
    other.ask("touch k 0\r\n", "TOUCHED\r\n");
    end(&mut client, "STORED");
    begin("cas", &format!(" {unique}"), &mut other, &mut client);
    end(&mut client, "EXISTS");
    for verb in ["append", "prepend"] {
        begin(verb, "", &mut other, &mut client);
        end(&mut client, "STORED");
    }
    assert_value(&mut other, "k", &[&value[..], &value, &value].concat());
    // A line end that is none leaves what was there, and the connection in step.
    begin("set", "", &mut other, &mut client);
    client.send(tail);
    client.ask("xxversion\r\n", "CLIENT_ERROR bad data chunk\r\nVERSION 1.6.45\r\n");
    begin("set", " noreply", &mut other, &mut client);
    client.send(tail);
    client.ask("xxversion\r\n", "VERSION 1.6.45\r\n");
    assert_value(&mut other, "k", &[&value[..], &value, &value].concat());
    begin("set", " noreply", &mut other, &mut client);
    client.send(tail);
    client.ask("\r\nversion\r\n", "VERSION 1.6.45\r\n");
    assert_value(&mut other, "k", &value);
    client.ask("delete k\r\n", "DELETED\r\n");
    assert_eq!(stats_store(&mut other)["large_bytes"], 0);
}

#[test]
fn unfinished_uploads_take_a_quarter_at_most_and_go_with_their_clients() {
    let limit = LIMIT_MIB << 20;
    let server = larder(&["-m", &LIMIT_MIB.to_string(), "-o", "connection_memory=1g"]);
    let mut other = Client::connect(&server);
    let value = value(1, LEN);
    let request = set_request("k", &value);
    let mut stuck: Vec<Client> = (0..40).map(|_| Client::connect(&server)).collect();
    for client in &mut stuck {
        let before = other.stat("bytes_read");
        client.send(&request[..900_000]);
        wait_until_read(&mut other, before, 900_000);
        let pinned = stats_store(&mut other)["large_bytes"];
        assert!(pinned <= limit / 4, "{pinned} bytes");
    }
    let pinned = stats_store(&mut other)["large_bytes"];
    assert!(pinned > limit / 8, "{pinned} bytes");
    // Those that found no room there are no worse off.
    for client in &mut stuck[20..] {
        client.send(&request[900_000..]);
        assert_eq!(client.line(), "STORED");
    }
    assert_value(&mut other, "k", &value);
    stuck.truncate(20);
    assert_eq!(other.stat("evictions"), 0);
    drop(stuck);
    other.ask("delete k\r\n", "DELETED\r\n");
    wait_until("their memory is free", || stats_store(&mut other)["large_bytes"] == 0);
    wait_until("they hold nothing", || other.stat("read_buf_bytes") == 0);
}

#[test]
fn an_upload_without_memory_is_swallowed_whole() {
    let server = larder(&["-m", &LIMIT_MIB.to_string(), "-M"]);
    let mut client = Client::connect(&server);
    let value = value(1, LEN);
    let mut count = 0;
    // Those that found no memory are skipped to their end.
    loop {
        client.send(set_request(&format!("k{count}"), &value));
        client.send("version\r\n");
        let line = client.line();
        assert_eq!(client.line(), "VERSION 1.6.45");
        if line != "STORED" {
            assert_eq!(line, "SERVER_ERROR out of memory storing object");
            break;
        }
        count += 1;
    }
    assert!(count > 50, "{count} stored");
    stats_store(&mut client);
    // Conditions come first; and a value whose owner gave it up is gone.
    let as_verb = |verb: &str, key: &str| {
        let line = format!("{verb} {key} 0 0 {LEN}\r\n");
        [line.as_bytes(), &value, b"\r\n"].concat()
    };
    client.ask(as_verb("add", "k0"), "NOT_STORED\r\n");
    client.ask(as_verb("replace", "none"), "NOT_STORED\r\n");
    client.ask(as_verb("add", "none"), "SERVER_ERROR out of memory storing object\r\n");
    client.ask(as_verb("replace", "k0"), "SERVER_ERROR out of memory storing object\r\n");
    assert_value(&mut client, "k0", &value);
    client.ask(as_verb("set", "k0"), "SERVER_ERROR out of memory storing object\r\n");
    client.ask("get k0\r\n", "END\r\n");
    assert_eq!(client.stat("store_no_memory"), 4);
    client.ask(as_verb("set", "k1"), "STORED\r\n");
}

#[test]
fn who_stops_amid_an_upload_is_closed_for_being_idle_or_awaited_at_the_end() {
    let server = larder(&["-o", "idle_timeout=1"]);
    let request = set_request("k", &value(1, LEN));
    let mut client = Client::connect(&server);
    client.send(&request[..500_000]);
    client.assert_closed();
    wait_until("its memory is free", || {
        stats_store(&mut Client::connect(&server))["large_bytes"] == 0
    });

    let mut server = larder(&["-o", "drain_timeout=3600"]);
    let (mut client, mut other) = (Client::connect(&server), Client::connect(&server));
    let before = other.stat("bytes_read");
    client.send(&request[..500_000]);
    wait_until_read(&mut other, before, 500_000);
    server.signal(nix::sys::signal::Signal::SIGTERM);
    wait_until("it does not listen", || std::net::TcpStream::connect(server.address()).is_err());
    client.send(&request[500_000..]);
    assert_eq!(client.line(), "STORED");
    client.assert_closed();
    assert!(server.wait().success());
}
