//! Larder as its clients and its operator meet it: the program itself, over sockets. Only `policies` uses the store
//! without a server, and `fuzz` sessions without a socket.
//!
//! Each test starts the servers that it needs, on free ports. What a test needs beside the program
//! (memcached, clients, a database) is installed by `tests/run`; without it the test says `SKIPPED` and
//! passes, except under `tests/run`, where nothing may be skipped (`LARDER_TEST_ALL=1`) but what nobody can install:
//! recorded requests (`LARDER_TRACES`), and leave to open more files or to make control groups.

mod abuse;
mod binary;
mod budget;
mod client;
mod clients;
mod clocks;
mod connections;
mod cpus;
mod crowd;
mod differential;
mod drain;
mod dumps;
mod fairness;
mod faults;
mod fuzz;
mod large;
mod memlimit;
mod memory;
mod options;
mod panics;
mod policies;
mod process;
mod script;
mod stats;
mod systemd;
mod transports;
mod watch;

use process::{DEADLINE, Server};
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

/// The program under test.
const LARDER: &str = env!("CARGO_BIN_EXE_larder");

/// A running Larder with these options.
fn larder(args: &[&str]) -> Server {
    Server::start(Path::new(LARDER), args)
}

/// Returns once something has become true; fails when it does not.
#[track_caller]
fn wait_until(what: &str, mut is_true: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !is_true() {
        assert!(Instant::now() < deadline, "not within {DEADLINE:?}: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Says loudly that a test cannot run here; fails where none may be skipped.
fn skipped(why: &str) {
    assert!(std::env::var_os("LARDER_TEST_ALL").is_none(), "nothing may be skipped, but: {why}");
    say_skipped(why);
}

/// Written past the test harness, which keeps to itself what a test that passes prints.
fn say_skipped(why: &str) {
    let line = format!("SKIPPED: {why}\n");
    std::io::stderr().write_all(line.as_bytes()).expect("stderr is open");
}
