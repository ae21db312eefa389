//! Exptimes, while the wall clock of the machine is set to another day and back.

use crate::client::Client;
use crate::process::Server;
use crate::{LARDER, larder, skipped, wait_until};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

const DAY_S: u64 = 86_400;
/// Longer than any test takes, in seconds.
const LONG_S: u64 = 1_000;

/// What lies to a program about the wall clock, and about no other.
fn false_clock() -> Option<PathBuf> {
    let folders = fs::read_dir("/usr/lib").ok()?.filter_map(Result::ok);
    folders
        .map(|folder| folder.path().join("faketime/libfaketime.so.1"))
        .find(|library| library.exists())
}

/// A server whose wall clock goes wrong by what the `offset` file says.
fn server_with(library: &Path, offset: &Path) -> Server {
    let mut command = Command::new(LARDER);
    command.args(["-p", "-1", "-t", "1"]);
    command.env("LD_PRELOAD", library).env("FAKETIME_TIMESTAMP_FILE", offset);
    command.env("FAKETIME_NO_CACHE", "1").env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    Server::start_command(command)
}

/// Asserts that these items have nearly [`LONG_S`] seconds left.
#[track_caller]
fn assert_alive(client: &mut Client, keys: &[&str]) {
    for key in keys {
        client.send(format!("mg {key} t\r\n"));
        let line = client.line();
        let left: Option<u64> = line.strip_prefix("HD t").and_then(|left| left.parse().ok());
        assert!(left.is_some_and(|left| (LONG_S - 200..=LONG_S).contains(&left)), "{key}: {line}");
    }
}

#[test]
fn items_live_as_long_as_they_were_to_whatever_becomes_of_the_wall_clock() {
    let Some(library) = false_clock() else {
        return skipped("clocks needs libfaketime");
    };
    let directory = tempfile::tempdir().expect("a directory");
    let offset = directory.path().join("offset");
    fs::write(&offset, "+0").expect("a file");
    let server = server_with(&library, &offset);
    let mut client = Client::connect(&server);
    let start = client.stat("time");
    let until = |client: &mut Client, key: &str, exptime: u64| {
        client.ask(format!("set {key} 0 {exptime} 1\r\nx\r\n"), "STORED\r\n");
    };
    until(&mut client, "relative", LONG_S);
    until(&mut client, "absolute", start + LONG_S);
    client.ask(format!("flush_all {LONG_S}\r\n"), "OK\r\n");
    assert_alive(&mut client, &["relative", "absolute"]);

    // A day later, but not for those that were there before.
    fs::write(&offset, "+1d").expect("a file");
    wait_until("the clock was set", || client.stat("time") >= start + DAY_S);
    assert!(client.stat("uptime") < LONG_S);
    assert_alive(&mut client, &["relative", "absolute"]);
    until(&mut client, "relative2", LONG_S);
    until(&mut client, "absolute2", start + DAY_S + LONG_S);
    until(&mut client, "past", start + LONG_S);
    client.ask("get past\r\n", "END\r\n");

    // And a day before.
    fs::write(&offset, "-1d").expect("a file");
    wait_until("the clock was set back", || client.stat("time") < start);
    let all = ["relative", "absolute", "relative2", "absolute2"];
    assert_alive(&mut client, &all);
    until(&mut client, "short", 1);
    wait_until("a second is no longer than that", || client.lines("get short\r\n").is_empty());
    assert_alive(&mut client, &all);
}

#[test]
fn nothing_expires_early() {
    let server = larder(&["-t", "1"]);
    let mut client = Client::connect(&server);
    for number in 0..3 {
        let stored = Instant::now();
        client.ask(format!("set k{number} 0 1 1\r\nx\r\n"), "STORED\r\n");
        wait_until("it expires", || client.lines(&format!("get k{number}\r\n")).is_empty());
        assert!(stored.elapsed() >= Duration::from_secs(1), "{:?}", stored.elapsed());
    }
}
