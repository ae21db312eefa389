//! `cache_memlimit`: less and more memory, while the server is in use.

use crate::client::Client;
use crate::process::Server;
use crate::{larder, wait_until};

const MIB: u64 = 1 << 20;
/// What the process may take beside items: code, threads, buffers, and a block that is not all in use.
const RSS_BESIDE_MAX: u64 = 40 * MIB;

fn rss(server: &Server) -> u64 {
    let path = format!("/proc/{}/status", server.pid());
    let status = std::fs::read_to_string(path).expect("it runs");
    let line = status.lines().find(|line| line.starts_with("VmRSS")).expect("a size");
    let kib = line.split_whitespace().nth(1).expect("a number");
    kib.parse::<u64>().expect("a number") * 1024
}

/// Stores as many items with values of this length, under keys that begin with a name.
fn fill(client: &mut Client, name: &str, count: usize, value_len: usize) {
    let value = "v".repeat(value_len);
    for start in (0..count).step_by(100) {
        let set = |number| format!("set {name}{number} 0 0 {value_len} noreply\r\n{value}\r\n");
        client.send((start..start + 100).map(set).collect::<String>());
    }
    client.ask("version\r\n", "VERSION 1.6.45\r\n");
}

fn store_bytes(client: &mut Client) -> u64 {
    let lines = client.stat_lines(" store");
    let (_, value) = lines.iter().find(|(name, _)| name == "store_bytes").expect("a gauge");
    value.parse().expect("a number")
}

#[test]
fn memory_goes_back_to_the_system_and_may_be_taken_again() {
    for value_len in [100, 2_000, 200_000] {
        let server = larder(&["-t", "2", "-m", "200"]);
        let mut client = Client::connect(&server);
        fill(&mut client, "k", 300 * (1 << 20) / (value_len + 60) / 100 * 100, value_len);
        let full = rss(&server);
        assert!(full > 190 * MIB, "{value_len}: {full} bytes when it is full");
        client.ask("cache_memlimit 24\r\n", "OK\r\n");
        assert_eq!(client.stat("limit_maxbytes"), 24 * MIB);
        wait_until("what is stored is within the limit", || {
            // Meanwhile it answers, and stores.
            fill(&mut client, "n", 100, value_len);
            client.ask("get none\r\n", "END\r\n");
            store_bytes(&mut client) <= 24 * MIB
        });
        wait_until("the system has the memory", || rss(&server) < 24 * MIB + RSS_BESIDE_MAX);
        assert!(client.stat("curr_items") > 10 && client.stat("bytes") > 12 * MIB);
        fill(&mut client, "n", 60 * (1 << 20) / value_len / 100 * 100, value_len);
        assert!(store_bytes(&mut client) <= 24 * MIB);
        client.ask("cache_memlimit 100\r\n", "OK\r\n");
        fill(&mut client, "m", 150 * (1 << 20) / (value_len + 60) / 100 * 100, value_len);
        let stored = store_bytes(&mut client);
        assert!((90 * MIB..=100 * MIB).contains(&stored), "{value_len}: {stored}");
    }
}

#[test]
fn where_nothing_is_evicted_what_is_there_stays() {
    let server = larder(&["-t", "1", "-m", "64", "-M"]);
    let mut client = Client::connect(&server);
    fill(&mut client, "k", 20_000, 1000);
    client.ask("cache_memlimit 8\r\n", "OK\r\n");
    client.send(format!("set n 0 0 100000\r\n{}\r\n", "v".repeat(100_000)));
    assert_eq!(client.line(), "SERVER_ERROR out of memory storing object");
    assert_eq!(client.stat("curr_items"), 20_000);
    client.ask("flush_all\r\n", "OK\r\n");
    wait_until("what is flushed is given up", || store_bytes(&mut client) <= 8 * MIB);
    client.ask("set n 0 0 1\r\nv\r\n", "STORED\r\n");
}
