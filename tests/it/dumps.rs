//! Listings of all items, while others go on using the server.

use crate::client::Client;
use crate::{larder, skipped, wait_until};
use std::collections::HashMap;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

const ITEM_COUNT: u32 = 100_000;
/// So much of a dump may be held for a client that does not take it, in bytes: a piece or two.
const HELD_LEN_MAX: u64 = 128 * 1024;

/// Stores items `k0`, `k1` and so on.
fn fill(client: &mut Client, count: u32) {
    for start in (0..count).step_by(1000) {
        let set = |number| format!("set k{number} 0 0 5\r\nvalue\r\n");
        client.send((start..start + 1000).map(set).collect::<String>());
        for _ in 0..1000 {
            assert_eq!(client.line(), "STORED");
        }
    }
}

fn dump(client: &mut Client) -> HashMap<String, u32> {
    client.send("lru_crawler metadump all\r\n");
    listed(client)
}

/// How often each key comes in a dump that was asked for.
fn listed(client: &mut Client) -> HashMap<String, u32> {
    client.ask("", "OK\r\n");
    let mut counts = HashMap::new();
    loop {
        let line = client.raw_line();
        if line == "END\r\n" {
            return counts;
        }
        let key = line.strip_prefix("key=").and_then(|line| line.split(' ').next());
        let key = key.unwrap_or_else(|| panic!("no item: {line:?}"));
        assert!(line.ends_with(" \n"), "{line:?}");
        *counts.entry(key.to_owned()).or_default() += 1;
    }
}

#[test]
fn what_is_there_all_the_time_is_listed_once() {
    let server = larder(&["-t", "2", "-m", "256"]);
    let mut client = Client::connect(&server);
    fill(&mut client, ITEM_COUNT);
    let is_over = AtomicBool::new(false);
    let counts = std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut writer = Client::connect(&server);
            let mut number = 0;
            while !is_over.load(Relaxed) {
                // New items, items that are deleted again, and longer values for old ones.
                let old = number * 7919 % ITEM_COUNT;
                writer.ask(
                    format!(
                        "set new{number} 0 0 1\r\nn\r\nset gone 0 0 1\r\nn\r\ndelete gone\r\n\
                         append k{old} 0 0 4\r\nlong\r\n"
                    ),
                    "STORED\r\nSTORED\r\nDELETED\r\nSTORED\r\n",
                );
                number += 1;
            }
            number
        });
        let counts: Vec<_> = (0..3).map(|_| dump(&mut client)).collect();
        is_over.store(true, Relaxed);
        assert!(writer.join().expect("the writer has not failed") > 0);
        counts
    });
    for counts in counts {
        for number in 0..ITEM_COUNT {
            assert_eq!(counts.get(&format!("k{number}")), Some(&1), "k{number}");
        }
        assert!(counts.iter().all(|(key, count)| key == "gone" || *count == 1), "nothing twice");
    }
    assert_eq!(client.stat("lru_crawler_starts"), 3);
    client.ask("version\r\n", "VERSION 1.6.45\r\n");
}

/// The items of each size, and how many there are.
fn sizes(client: &mut Client) -> (Vec<u64>, u64) {
    let lines = client.stat_lines(" sizes");
    let number = |text: &str| text.parse::<u64>().expect("a number");
    let count = lines.iter().map(|(_, count)| number(count)).sum();
    (lines.iter().map(|(size, _)| number(size)).collect(), count)
}

#[test]
fn sizes_are_counted_while_others_go_on() {
    let server = larder(&["-t", "1", "-m", "256", "-o", "track_sizes"]);
    let mut client = Client::connect(&server);
    fill(&mut client, ITEM_COUNT);
    // A size each, so that showing them takes more than a piece, too.
    for number in 0..3000 {
        let len = number * 32;
        client.ask(format!("set long{number} 0 0 {len}\r\n{}\r\n", "x".repeat(len)), "STORED\r\n");
    }
    let item_count = u64::from(ITEM_COUNT) + 3000;
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut writer = Client::connect(&server);
            let (mut number, mut turn_count) = (0, 0);
            while !is_over.load(Relaxed) {
                writer.ask(
                    format!("set k{number} 0 0 5\r\nother\r\nget k{number}\r\n"),
                    &format!("STORED\r\nVALUE k{number} 0 5\r\nother\r\nEND\r\n"),
                );
                number = (number + 7919) % ITEM_COUNT;
                turn_count += 1;
            }
            turn_count
        });
        for _ in 0..3 {
            let (all, count) = sizes(&mut client);
            assert_eq!(count, item_count);
            assert!(all.len() > 2900 && all.is_sorted());
        }
        // Whoever goes away meanwhile leaves nothing behind.
        let mut gone = Client::connect(&server);
        gone.send("stats sizes\r\n".repeat(20));
        drop(gone);
        wait_until("it is gone", || client.stat("curr_connections") == 3);
        is_over.store(true, Relaxed);
        assert!(writer.join().expect("the writer has not failed") > 0);
    });
    // It may have been served only now.
    wait_until("nothing is held", || client.stat("response_obj_bytes") == 0);
}

#[test]
fn a_dump_that_nobody_reads_is_in_nobodys_way() {
    let server = larder(&["-t", "1", "-m", "256"]);
    let mut client = Client::connect(&server);
    fill(&mut client, ITEM_COUNT);
    let mut silent: Vec<Client> = (0..20).map(|_| Client::connect(&server)).collect();
    for silent in &mut silent {
        silent.send("lru_crawler metadump all\r\n".repeat(10));
    }
    wait_until("none of them can be sent more", || {
        let stats = client.stats();
        stats["response_obj_count"] == "20"
    });
    assert!(client.stat("response_obj_bytes") <= 20 * HELD_LEN_MAX);
    for number in 0..1000 {
        client.ask(
            format!("get k{number}\r\nset k{number} 0 0 5\r\nvalue\r\n"),
            &format!("VALUE k{number} 0 5\r\nvalue\r\nEND\r\nSTORED\r\n"),
        );
    }
    // One may still read all of it, others go away in the middle.
    let mut late = silent.pop().expect("there are many");
    drop(silent);
    for _ in 0..10 {
        assert_eq!(listed(&mut late).len(), ITEM_COUNT as usize);
    }
    late.ask("version\r\n", "VERSION 1.6.45\r\n");
    drop(late);
    wait_until("those that went away are gone", || client.stat("curr_connections") == 2);
    assert_eq!(client.stat("response_obj_oom"), 0);
}

#[test]
fn gets_come_in_between_the_pieces_of_dumps() {
    let server = larder(&["-t", "1", "-m", "256"]);
    let mut client = Client::connect(&server);
    fill(&mut client, ITEM_COUNT);
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut dumper = Client::connect(&server);
            // Once at least.
            while dump(&mut dumper).len() == ITEM_COUNT as usize && !is_over.load(Relaxed) {}
        });
        wait_until("it dumps", || client.stat("lru_crawler_starts") > 0);
        // What is sent between two of these goes to the dump.
        let mut turns = Vec::new();
        for _ in 0..50 {
            let before = client.stat("bytes_written");
            turns.push(client.stat("bytes_written") - before);
        }
        is_over.store(true, Relaxed);
        turns.sort_unstable();
        assert!(turns[25] < 2 << 20, "{turns:?}");
    });
}

#[test]
fn a_crawl_finds_what_has_just_died() {
    let server = larder(&["-t", "1"]);
    let mut client = Client::connect(&server);
    client.ask("set k 0 1 1\r\na\r\nset l 0 0 1\r\na\r\n", "STORED\r\nSTORED\r\n");
    wait_until("it has died and a crawl has found it", || {
        client.send("lru_crawler crawl all\r\n");
        let line = client.line();
        assert!(line == "OK" || line == "BUSY currently processing crawler request", "{line}");
        client.stat("curr_items") == 1
    });
    wait_until("the crawl is over", || client.stat("lru_crawler_running") == 0);
}

#[test]
fn memcdump_lists_all_keys() {
    if Command::new("memcdump").arg("--version").output().is_err() {
        return skipped("memcdump_lists_all_keys needs libmemcached-tools");
    }
    let server = larder(&["-t", "1"]);
    let mut client = Client::connect(&server);
    fill(&mut client, 2000);
    assert_eq!(client.lines("stats cachedump 1 10\r\n").len(), 10);
    assert_eq!(client.lines("stats cachedump 1 0\r\n").len(), 2000);
    let servers = format!("--servers={}", server.address());
    let output = Command::new("memcdump").arg(servers).output().expect("it is there");
    assert!(output.status.success(), "{output:?}");
    let mut keys: Vec<_> =
        output.stdout.split(|byte| *byte == b'\n').filter(|key| !key.is_empty()).collect();
    keys.sort_unstable();
    let mut expected: Vec<_> = (0..2000).map(|number| format!("k{number}").into_bytes()).collect();
    expected.sort_unstable();
    assert_eq!(keys, expected);
}
