//! A mistake in the server itself costs one client its connection, and nobody anything else.

use crate::client::Client;
use crate::process::Server;
use crate::{LARDER, wait_until};
use std::process::Command;

const ROUND_COUNT: usize = 10;

/// A server that panics when it finds this key, in the middle of a burst and under its shard's lock.
fn panicking_at(key: &str, args: &[&str]) -> Command {
    let mut command = Command::new(LARDER);
    command.args(["-p", "-1", "-t", "1"]).args(args);
    command.env("LARDER_TEST_PANIC_KEY", key).env_remove("RUST_BACKTRACE");
    command
}

#[test]
#[cfg_attr(not(debug_assertions), ignore = "a release panics for nobody")]
fn a_panic_ends_its_connection_alone() {
    // Were a seat lost each time, the next ones would be refused.
    let server = Server::start_command(panicking_at("boom", &["-c", "3"]));
    let mut client = Client::connect(&server);
    client.ask("set boom 0 0 1\r\nx\r\nset k 0 0 1\r\nx\r\n", "STORED\r\nSTORED\r\n");
    let mut addrs = Vec::new();
    for _ in 0..ROUND_COUNT {
        let mut victim = Client::connect(&server);
        addrs.push(victim.stream().local_addr().expect("ours"));
        victim.send("get k\r\nget boom\r\nget k\r\n");
        victim.assert_closed();
        // Not a word of what the other was to hear.
        client.ask("get k\r\n", "VALUE k 0 1\r\nx\r\nEND\r\n");
        wait_until("its seat is free", || client.stat("curr_connections") == 2);
    }
    client.ask("delete boom\r\nset boom 0 0 1\r\ny\r\n", "DELETED\r\nSTORED\r\n");
    assert_eq!(client.stat("conn_panics"), ROUND_COUNT as u64);
    let stderr = server.stderr();
    let lines: Vec<&str> = stderr.lines().filter(|line| !line.contains("listens on")).collect();
    assert_eq!(lines.len(), ROUND_COUNT, "{stderr}");
    for (line, addr) in lines.iter().zip(addrs) {
        let said = "panicked: as a test asked,\\nin two lines, at src/";
        assert!(line.contains("ERROR closed: serving it ") && line.contains(said), "{line}");
        assert!(line.contains(&format!("client={addr}")), "{line}");
    }
    assert!(server.stop().success());
}

#[test]
#[cfg_attr(not(debug_assertions), ignore = "a release panics for nobody")]
fn a_panic_over_the_memory_of_connections_is_counted_and_they_are_looked_after_again() {
    let args = ["-I", "512k", "-o", "connection_memory=1m"];
    let server = Server::start_command(panicking_at("-o connection_memory", &args));
    let mut client = Client::connect(&server);
    // Nearly all of it, for requests that do not go on.
    let mut stuck: Vec<Client> = (0..3).map(|_| Client::connect(&server)).collect();
    for stuck in &mut stuck {
        stuck.send(format!("append k 0 0 500000\r\n{}", "x".repeat(400_000)));
    }
    wait_until("it has begun anew", || client.stat("conn_panics") >= 2);
    assert!(server.stderr().contains("ERROR looking after the memory of connections panicked: as"));
    client.ask("set k 0 0 1\r\nx\r\nget k\r\n", "STORED\r\nVALUE k 0 1\r\nx\r\nEND\r\n");
    assert_eq!(client.stat("read_buf_oom"), 0);
    drop(stuck);
    assert!(server.stop().success());
}

#[test]
#[cfg_attr(not(debug_assertions), ignore = "a release panics for nobody")]
fn a_panic_over_the_items_is_counted_and_they_are_looked_after_again() {
    let server = Server::start_command(panicking_at("lru_crawler", &[]));
    let mut client = Client::connect(&server);
    for round in 1..4 {
        wait_until("it has begun anew", || {
            client.send("lru_crawler crawl all\r\n");
            client.line() == "OK"
        });
        wait_until("it panics", || client.stat("conn_panics") >= round);
    }
    assert!(server.stderr().contains("ERROR looking after the items panicked: as a test asked"));
    assert!(server.stop().success());
}

#[test]
#[cfg_attr(not(debug_assertions), ignore = "a release panics for nobody")]
fn who_asks_gets_a_backtrace_too() {
    let mut command = panicking_at("boom", &[]);
    command.env("RUST_BACKTRACE", "1");
    let server = Server::start_command(command);
    let mut client = Client::connect(&server);
    client.ask("set boom 0 0 1\r\nx\r\n", "STORED\r\n");
    client.send("get boom\r\n");
    client.assert_closed();
    wait_until("both are there", || {
        let stderr = server.stderr();
        stderr.contains("stack backtrace:") && stderr.contains("ERROR closed: serving it panicked")
    });
}
