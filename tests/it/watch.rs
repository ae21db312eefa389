//! What `watch` shows, to whom, and that nobody waits for who reads it slowly.

use crate::client::Client;
use crate::process::Server;
use crate::{larder, wait_until};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// As much may wait for a watcher: a buffer, and one that is being sent.
const HELD_LEN: u64 = 2 * 256 * 1024;

/// Says that it is over when it is dropped, also by a test that fails.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

fn watch(server: &Server, streams: &str) -> Client {
    let mut watcher = Client::connect(server);
    watcher.ask(format!("watch {streams}\r\n"), "OK\r\n");
    watcher
}

/// The next line behind its time, number and the name of its kind: these must be there and right.
#[track_caller]
fn shown(watcher: &mut Client, kind: &str) -> String {
    let line = watcher.raw_line();
    let mut words = line.strip_suffix('\n').expect("a line end").splitn(4, ' ');
    let time = words.next().and_then(|word| word.strip_prefix("ts=")).expect("a time");
    let (seconds, micros) = time.split_once('.').expect("a fraction");
    assert!(seconds.parse::<u64>().expect("a number") > 1_700_000_000, "{line}");
    assert!(micros.parse::<u64>().expect("a number") < 1_000_000, "{line}");
    let gid = words.next().and_then(|word| word.strip_prefix("gid=")).expect("a number");
    assert!(gid.parse::<u64>().expect("a number") > 0, "{line}");
    assert_eq!(words.next(), Some(format!("type={kind}").as_str()), "{line}");
    words.next().expect("fields").to_owned()
}

/// The number of a client's socket, as the server has it.
fn cfd(client: &mut Client) -> String {
    let port = client.stream().local_addr().expect("an address").port();
    let lines = client.stat_lines(" conns");
    let found = lines.iter().find(|(_, value)| value.ends_with(&format!(":{port}")));
    let (name, _) = found.expect("it is connected");
    name.split(':').next().expect("a number").to_owned()
}

#[test]
fn reads_are_shown_to_those_who_watch_fetchers() {
    let server = larder(&["-t", "2"]);
    let mut client = Client::connect(&server);
    let cfd = cfd(&mut client);
    let (mut watcher, mut other) = (watch(&server, ""), watch(&server, "mutations"));
    client.ask("set a%b 5 0 3\r\nabc\r\n", "STORED\r\n");
    client.ask("get none a%b\r\n", "VALUE a%b 5 3\r\nabc\r\nEND\r\n");
    client.ask("gat -1 a%b\r\n", "VALUE a%b 5 3\r\nabc\r\nEND\r\n");
    client.ask("get a%b\r\n", "END\r\n");
    client.ask("set k 0 0 1\r\na\r\ntouch k 0\r\nflush_all\r\n", "STORED\r\nTOUCHED\r\nOK\r\n");
    client.ask("get k\r\n", "END\r\n");
    client.ask("mg k v\r\n", "EN\r\n");
    for line in [
        "key=none status=not_found clsid=0 cfd=CFD size=0",
        "key=a%25b status=found clsid=1 cfd=CFD size=3",
        "key=a%25b status=found clsid=1 cfd=CFD size=3",
        "key=a%25b status=expired clsid=0 cfd=CFD size=0",
        "key=k status=found clsid=1 cfd=CFD size=1",
        "key=k status=flushed clsid=0 cfd=CFD size=0",
        "key=k status=not_found clsid=0 cfd=CFD size=0",
    ] {
        assert_eq!(shown(&mut watcher, "item_get"), line.replace("CFD", &cfd));
    }
    let stored = "key=a%25b status=stored cmd=set ttl=0 clsid=1 cfd=CFD size=3";
    assert_eq!(shown(&mut other, "item_store"), stored.replace("CFD", &cfd));
    let stats = client.stats();
    assert_eq!((&*stats["log_watchers"], &*stats["log_worker_written"]), ("2", "9"));
    assert_eq!((&*stats["log_watcher_sent"], &*stats["log_watcher_skipped"]), ("9", "0"));
    drop((watcher, other));
    wait_until("they are gone", || client.stat("log_watchers") == 0);
    client.ask("get k\r\n", "END\r\n");
    assert_eq!(client.stat("log_worker_written"), 9);
}

#[test]
fn stores_and_deletes_are_shown() {
    let server = larder(&["-t", "1", "-I", "100k"]);
    let mut client = Client::connect(&server);
    let cfd = cfd(&mut client);
    let mut watcher = watch(&server, "mutations deletions");
    let large = "v".repeat(90 * 1024);
    let too_large = "v".repeat(101 * 1024);
    for (request, reply, line) in [
        ("set k 0 100 1\r\na", "STORED", "status=stored cmd=set ttl=100 clsid=1 cfd=CFD size=1"),
        (
            "add k 0 0 2\r\naa",
            "NOT_STORED",
            "status=not_stored cmd=add ttl=0 clsid=1 cfd=CFD size=2",
        ),
        (
            "replace k 0 0 1\r\na",
            "STORED",
            "status=stored cmd=replace ttl=0 clsid=1 cfd=CFD size=1",
        ),
        ("append k 0 9 1\r\na", "STORED", "status=stored cmd=append ttl=0 clsid=1 cfd=CFD size=2"),
        (
            "prepend k 0 9 1\r\na",
            "STORED",
            "status=stored cmd=prepend ttl=0 clsid=1 cfd=CFD size=3",
        ),
        ("cas k 0 0 1 0\r\na", "EXISTS", "status=exists cmd=cas ttl=0 clsid=1 cfd=CFD size=1"),
    ] {
        client.ask(format!("{request}\r\n"), &format!("{reply}\r\n"));
        assert_eq!(
            shown(&mut watcher, "item_store"),
            format!("key=k {}", line.replace("CFD", &cfd))
        );
    }
    client.ask("cas n 0 0 1 1\r\na\r\n", "NOT_FOUND\r\n");
    let line = format!("key=n status=not_found cmd=cas ttl=0 clsid=1 cfd={cfd} size=1");
    assert_eq!(shown(&mut watcher, "item_store"), line);
    client.ask(format!("set l 0 0 {}\r\n{large}\r\n", large.len()), "STORED\r\n");
    let line = format!("key=l status=stored cmd=set ttl=0 clsid=1 cfd={cfd} size={}", large.len());
    assert_eq!(shown(&mut watcher, "item_store"), line);
    client.ask(
        format!("set l 0 0 {}\r\n{too_large}\r\n", too_large.len()),
        "SERVER_ERROR object too large for cache\r\n",
    );
    let line = format!("key=l status=too_large cmd=set ttl=0 clsid=1 cfd={cfd} size=0");
    assert_eq!(shown(&mut watcher, "item_store"), line);
    client.ask("delete k\r\ndelete k\r\n", "DELETED\r\nNOT_FOUND\r\n");
    assert_eq!(shown(&mut watcher, "deleted"), "key=k cmd=delete clsid=1 size=3");
    client.ask("set k 0 0 1 noreply\r\na\r\nversion\r\n", "VERSION 1.6.45\r\n");
    assert!(shown(&mut watcher, "item_store").starts_with("key=k status=stored"));
    client.ask("ms k 2 T50\r\nab\r\nmd k\r\nmd k\r\n", "HD\r\nHD\r\nNF\r\n");
    let line = format!("key=k status=stored cmd=set ttl=50 clsid=1 cfd={cfd} size=2");
    assert_eq!(shown(&mut watcher, "item_store"), line);
    assert_eq!(shown(&mut watcher, "deleted"), "key=k cmd=md clsid=1 size=2");
}

#[test]
fn what_finds_no_memory_is_shown() {
    let server = larder(&["-t", "1", "-m", "2", "-M"]);
    let mut client = Client::connect(&server);
    let mut watcher = watch(&server, "m");
    let value = "v".repeat(10_000);
    let refused = (0..1000).find(|number| {
        client.send(format!("set k{number} 0 0 10000\r\n{value}\r\n"));
        client.line() != "STORED"
    });
    let refused = refused.expect("two megabytes are soon full");
    for _ in 0..refused {
        assert!(shown(&mut watcher, "item_store").contains(" status=stored "));
    }
    let line = format!("key=k{refused} status=no_memory cmd=set ");
    assert!(shown(&mut watcher, "item_store").starts_with(&line));
}

#[test]
fn evictions_are_shown() {
    let server = larder(&["-t", "1", "-m", "2"]);
    let mut client = Client::connect(&server);
    let mut watcher = watch(&server, "evictions");
    let value = "v".repeat(1000);
    for number in 0..5000 {
        client.ask(
            format!("set k{number} 0 {} 1000\r\n{value}\r\n", number % 2 * 1000),
            "STORED\r\n",
        );
    }
    let evictions = client.stat("evictions");
    assert!(evictions > 2000);
    let mut ttls = [0, 0];
    for _ in 0..evictions {
        let line = shown(&mut watcher, "eviction");
        let number = line.strip_prefix("key=k").and_then(|rest| rest.split(' ').next());
        let number: u32 = number.expect("a key").parse().expect("a number");
        let is_mortal = number % 2 == 1;
        assert_eq!(line.contains(" ttl=-1 "), !is_mortal, "{line}");
        assert!(line.contains(" fetch=no ") && line.ends_with(" clsid=1 size=1000"), "{line}");
        ttls[usize::from(is_mortal)] += 1;
    }
    assert!(ttls[0] > 0 && ttls[1] > 0);
    assert_eq!(client.stat("log_watcher_sent"), evictions);
}

#[test]
fn connections_are_shown_as_they_come_and_go() {
    let server = larder(&["-t", "1", "-o", "idle_timeout=1"]);
    let mut watcher = watch(&server, "connevents");
    let mut client = Client::connect(&server);
    let port = client.stream().local_addr().expect("an address").port();
    let line = shown(&mut watcher, "conn_new");
    let front = format!("rip=127.0.0.1 rport={port} transport=tcp ");
    assert!(line.starts_with(&front), "{line}");
    let cfd = line.strip_prefix(&front).expect("as above").to_owned();
    assert_eq!(cfd, format!("cfd={}", self::cfd(&mut client)));
    client.send("quit\r\n");
    assert_eq!(shown(&mut watcher, "conn_close"), format!("{front}reason=normal {cfd}"));
    let mut client = Client::connect(&server);
    assert!(shown(&mut watcher, "conn_new").ends_with(&cfd), "the number is free again");
    client.send("x".repeat(3000));
    client.assert_closed();
    assert!(shown(&mut watcher, "conn_close").contains(" reason=error "));
    let _idle = Client::connect(&server);
    shown(&mut watcher, "conn_new");
    assert!(shown(&mut watcher, "conn_close").contains(" reason=idle_timeout "));
}

#[test]
fn nobody_waits_for_a_watcher_that_does_not_read() {
    let server = larder(&["-t", "1"]);
    let mut client = Client::connect(&server);
    let mut slow: Vec<Client> = (0..3).map(|_| watch(&server, "fetchers mutations")).collect();
    let long = "k".repeat(250);
    wait_until("their buffers are full", || {
        for _ in 0..100 {
            client.ask(format!("get {long} \r\n").repeat(20), &"END\r\n".repeat(20));
        }
        client.stat("log_watcher_skipped") > 10_000
    });
    assert!(client.stat("response_obj_bytes") <= 3 * HELD_LEN);
    // Whoever reads again is told how much it has missed, and is shown what follows.
    let mut reader = slow.pop().expect("there are three");
    let (mut skipped, mut last) = (0, 0);
    client.ask("set last 0 0 1\r\na\r\n", "STORED\r\n");
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _over = Over(&is_over);
        scope.spawn(|| {
            let mut other = Client::connect(&server);
            while !is_over.load(Relaxed) {
                other.ask("get last\r\n", "VALUE last 0 1\r\na\r\nEND\r\n");
            }
        });
        // What is behind a gap has come after it was full.
        loop {
            let line = reader.raw_line();
            if let Some(count) = line.strip_prefix("skipped=") {
                skipped += count.trim().parse::<u64>().expect("a number");
                continue;
            }
            let gid = line.split(' ').nth(1).and_then(|word| word.strip_prefix("gid="));
            let gid: u64 = gid.expect("a number").parse().expect("a number");
            assert!(gid > last, "in order");
            last = gid;
            if skipped > 0 && line.contains("key=last status=found") {
                break;
            }
        }
    });
    let written = client.stat("log_worker_written");
    assert!(last <= written && skipped > 0);
    drop((slow, reader));
    wait_until("they are gone", || client.stat("log_watchers") == 0);
    assert_eq!(client.stat("response_obj_bytes"), 0);
}

#[test]
fn searches_for_dead_items_are_shown() {
    let server = larder(&["-t", "1"]);
    let mut watcher = watch(&server, "sysevents rawcmds");
    let mut client = Client::connect(&server);
    client.ask("set k 0 -1 1\r\na\r\nset l 0 0 1\r\na\r\n", "STORED\r\nSTORED\r\n");
    // It may be found out before anybody asks.
    client.ask("lru_crawler crawl all\r\n", "OK\r\n");
    let line = shown(&mut watcher, "lru_crawler");
    let front = "crawler=1 lru=cold low_mark=0 next_reclaims=0 since_run=";
    assert!(line.starts_with(front) && line.contains(" next_run=5 elapsed="), "{line}");
    assert!(line.ends_with(" examined=2 reclaimed=1"), "{line}");
    wait_until("it is over", || client.stat("lru_crawler_running") == 0);
    client.ask("lru_crawler crawl all\r\n", "OK\r\n");
    assert!(shown(&mut watcher, "lru_crawler").ends_with(" examined=1 reclaimed=0"));
}

#[test]
fn as_much_waits_for_a_watcher_as_it_is_told() {
    let server = larder(&["-t", "1", "-o", "watcher_logbuf_size=1,connection_memory=4m"]);
    let mut client = Client::connect(&server);
    let settings = client.stat_lines(" settings");
    assert!(settings.contains(&("watcher_logbuf_size".to_owned(), "1024".to_owned())));
    let mut watcher = watch(&server, "fetchers");
    // The longest line there is fits; in a burst there is no time to send it before the next one.
    let long = "%".repeat(250);
    client.ask(format!("get {long}\r\nget {long}\r\n"), "END\r\nEND\r\n");
    assert!(shown(&mut watcher, "item_get").starts_with("key=%25%25"));
    assert_eq!(client.stat("log_watcher_skipped"), 1);
    let server = larder(&["-o", "watcher_logbuf_size=2048,connection_memory=4m"]);
    let failed = "WATCHER_FAILED failed to add log watcher\r\nVERSION 1.6.45\r\n";
    Client::connect(&server).ask("watch\r\nversion\r\n", failed);
}

#[test]
fn twenty_may_watch() {
    let server = larder(&["-t", "1"]);
    let mut client = Client::connect(&server);
    let mut watchers: Vec<Client> = (0..20).map(|_| watch(&server, "fetchers")).collect();
    assert_eq!(client.stat("log_watchers"), 20);
    // It may go on, and try again.
    let too_many = "WATCHER_TOO_MANY log watcher limit reached\r\n";
    client.ask("watch\r\nversion\r\n", &format!("{too_many}VERSION 1.6.45\r\n"));
    watchers.pop();
    wait_until("one is gone", || client.stat("log_watchers") == 19);
    client.ask("watch\r\n", "OK\r\n");
    let mut other = Client::connect(&server);
    other.ask("get k\r\n", "END\r\n");
    for watcher in watchers.iter_mut().chain([&mut client]) {
        assert!(shown(watcher, "item_get").starts_with("key=k "));
    }
}

#[test]
fn a_server_that_ends_does_not_wait_for_watchers() {
    let server = larder(&["-t", "1", "-o", "drain_timeout=3600"]);
    let mut watcher = watch(&server, "fetchers");
    assert!(server.stop().success());
    watcher.assert_closed();
}
