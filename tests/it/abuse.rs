//! What an enemy, or a broken client, may do without harm to anyone but itself.

use crate::client::Client;
use crate::process::Server;
use crate::{larder, wait_until};
use std::io::Read;
use std::time::Duration;

/// What the process may take beside its `-m 64`: code, threads, buffers of a few clients.
const RSS_BESIDE_ITEMS_KIB_MAX: u64 = 24 * 1024;

/// Resident memory of the server, in KiB.
fn rss_kib(server: &Server) -> u64 {
    vm_kib(server, "VmRSS")
}

/// A size of the server's memory by its name in `/proc`, in KiB.
fn vm_kib(server: &Server, name: &str) -> u64 {
    let status =
        std::fs::read_to_string(format!("/proc/{}/status", server.pid())).expect("it runs");
    let line = status.lines().find(|line| line.starts_with(name)).expect("a size of that name");
    line.split_whitespace().nth(1).expect("a number").parse().expect("a number")
}

/// Another client is served as if nothing were.
#[track_caller]
fn assert_others_are_served(server: &Server) {
    let mut other = Client::connect(server);
    other.ask(
        "set other 0 0 2\r\nok\r\nget other\r\n",
        "STORED\r\nVALUE other 0 2\r\nok\r\nEND\r\n",
    );
}

#[test]
fn a_line_without_end_is_cut_off() {
    let server = larder(&[]);
    let mut client = Client::connect(&server);
    // A gigabyte, if it were let.
    let chunk = vec![b'a'; 1 << 20];
    let sent = (0..1024).take_while(|_| client.try_send(&chunk).is_ok()).count();
    assert!(sent < 100, "cut off after {sent} MiB");
    client.assert_closed();
    assert!(rss_kib(&server) < RSS_BESIDE_ITEMS_KIB_MAX);
    assert_others_are_served(&server);
}

#[test]
fn a_key_without_end_is_refused_and_skipped() {
    let server = larder(&[]);
    let mut client = Client::connect(&server);
    client.send("get ");
    for _ in 0..200 {
        client.send(vec![b'k'; 1 << 20]);
    }
    client.ask("\r\nversion\r\n", "CLIENT_ERROR bad command line format\r\nVERSION 1.6.45\r\n");
    assert!(rss_kib(&server) < RSS_BESIDE_ITEMS_KIB_MAX);
}

#[test]
fn a_get_without_end_costs_no_memory() {
    let server = larder(&[]);
    let mut client = Client::connect(&server);
    client.send("get");
    let keys = format!(" {}", "k".repeat(250)).repeat(4000);
    for _ in 0..50 {
        client.send(&keys);
        assert!(rss_kib(&server) < RSS_BESIDE_ITEMS_KIB_MAX);
    }
    client.ask("\r\n", "END\r\n");
    assert_eq!(client.stat("get_misses"), 200_000);
}

#[test]
fn a_declared_length_costs_no_memory() {
    let server = larder(&["-m", "2048", "-I", "1g"]);
    let mut clients: Vec<Client> = (0..20).map(|_| Client::connect(&server)).collect();
    for client in &mut clients {
        client.send("set k 0 0 1073741000\r\n");
    }
    assert_others_are_served(&server);
    assert!(rss_kib(&server) < RSS_BESIDE_ITEMS_KIB_MAX);
    for length in
        ["9223372036854775808", "9223372036854775807", "18446744073709551615", "2147483646", "-1"]
    {
        let mut client = Client::connect(&server);
        client.ask(format!("set k 0 0 {length}\r\n"), "CLIENT_ERROR bad command line format\r\n");
        client.assert_closed();
    }
}

#[test]
fn half_a_request_waits_alone() {
    let server = larder(&["-t", "1"]);
    let halves =
        ["g", "get", "get k", "set k 0 0 5", "set k 0 0 5\r\nab", "set k 0 0 5\r\nabcde\r"];
    let mut waiting: Vec<Client> = halves.iter().map(|_| Client::connect(&server)).collect();
    for (client, half) in waiting.iter_mut().zip(halves) {
        client.send(half);
    }
    assert_others_are_served(&server);
    for (client, rest) in waiting[3..].iter_mut().zip(["\r\nabcde\r\n", "cde\r\n", "\n"]) {
        client.ask(rest, "STORED\r\n");
    }
}

#[test]
fn a_client_that_never_reads_is_not_read() {
    let server = larder(&["-t", "1"]);
    let value = "v".repeat(1_000_000);
    Client::connect(&server).ask(format!("set k 0 0 1000000\r\n{value}\r\n"), "STORED\r\n");
    let mut deaf = Vec::new();
    for _ in 0..20 {
        let mut client = Client::connect(&server);
        client.stream().set_write_timeout(Some(Duration::from_millis(200))).expect("a timeout");
        // Goes on until the server stops taking more.
        let requests = "get k k k k k k k k k k\r\n".repeat(1000);
        let stuck = (0..1000).any(|_| client.try_send(&requests).is_err());
        assert!(stuck, "the server reads on while its replies are not taken");
        deaf.push(client);
    }
    let rss = rss_kib(&server);
    assert!(rss < RSS_BESIDE_ITEMS_KIB_MAX + 20 * 2048, "{rss} KiB");
    assert_others_are_served(&server);
}

#[test]
fn vanishing_clients_leave_the_server_whole() {
    let server = larder(&[]);
    let request = format!("set k 0 0 3000\r\n{}\r\nget k\r\n", "v".repeat(3000));
    for cut in (0..request.len()).step_by(37) {
        Client::connect(&server).send(&request[..cut]);
    }
    assert_others_are_served(&server);
    let mut client = Client::connect(&server);
    wait_until("they are gone", || client.stat("curr_connections") == 2);
}

/// Resets a connection, with all that is on its way to it.
fn reset(client: &Client) {
    let linger = socket2::SockRef::from(client.stream());
    linger.set_linger(Some(Duration::ZERO)).expect("a socket option");
}

#[test]
fn replies_that_cannot_be_sent_reach_nobody_else() {
    let server = larder(&["-t", "1", "-R", "1"]);
    let value = "v".repeat(20_000);
    Client::connect(&server).ask(format!("set k 0 0 20000\r\n{value}\r\n"), "STORED\r\n");
    for round in 0..100 {
        let mut gone = Client::connect(&server);
        gone.send("get k\r\n".repeat(5000));
        // It is being answered.
        gone.bytes(1000 * (round + 1));
        reset(&gone);
        drop(gone);
        let mut other = Client::connect(&server);
        other.ask("version\r\n", "VERSION 1.6.45\r\n");
    }
}

#[test]
fn what_a_request_needed_is_given_back_after_it() {
    let server = larder(&[]);
    let mut clients = Vec::new();
    for value_len in [100_000, 500_000, 700_000, 1_000_000, 1_048_000] {
        let set = format!("set k 0 0 {value_len}\r\n{}\r\n", "v".repeat(value_len));
        for _ in 0..40 {
            let mut client = Client::connect(&server);
            client.ask(&set, "STORED\r\n");
            clients.push(client);
        }
    }
    let held = clients[0].stat("read_buf_bytes");
    assert!(held < 200 * 65_536, "{held} bytes for 200 idle connections");
    let rss = rss_kib(&server);
    assert!(rss < RSS_BESIDE_ITEMS_KIB_MAX + 200 * 64, "{rss} KiB");
}

#[test]
fn a_dump_of_many_prefixes_costs_no_memory() {
    let server = larder(&["-D", ":"]);
    let mut client = Client::connect(&server);
    let prefix = "p".repeat(240);
    for chunk in 0..66 {
        let get = |number| format!("get {prefix}{number}:x\r\n");
        let burst: String = (0..1000).map(|number| get(chunk * 1000 + number)).collect();
        client.send(burst);
        for _ in 0..1000 {
            assert_eq!(client.line(), "END");
        }
    }
    let before = rss_kib(&server);
    let deaf: Vec<Client> = (0..50).map(|_| Client::connect(&server)).collect();
    for mut client in deaf.iter().map(Client::stream) {
        std::io::Write::write_all(&mut client, b"stats detail dump\r\n").expect("it is read");
    }
    assert_eq!(client.lines("stats detail dump\r\n").len(), 65_536);
    let after = rss_kib(&server);
    assert!(after < before + 50 * 256, "{before} KiB before, {after} after");
}

#[test]
fn random_bytes_do_no_harm() {
    let server = larder(&["-vv"]);
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random
    };
    let words: [&[u8]; 20] = [
        b"get ",
        b"set ",
        b"k ",
        b"0 ",
        b"-1 ",
        b"1 ",
        b"5",
        b"\r\n",
        b"\n",
        b"\r",
        b"gat ",
        b"cas ",
        b"noreply",
        b"incr ",
        b"99999999999999999999 ",
        b"stats ",
        b"detail ",
        b" ",
        b"\0",
        b"\xff\x80",
    ];
    for _ in 0..300 {
        let mut session = Vec::new();
        for _ in 0..next() % 60 {
            match next() % 8 {
                0 => session.extend_from_slice(&next().to_le_bytes()),
                _ => session.extend_from_slice(words[(next() % 20) as usize]),
            }
        }
        let mut client = Client::connect(&server);
        // The server may close before it has taken all.
        let _ = client.try_send(&session);
        let _ = client.stream().shutdown(std::net::Shutdown::Write);
        let _ = client.stream().take(1 << 20).read_to_end(&mut Vec::new());
    }
    assert_others_are_served(&server);
    assert!(!server.stderr().contains("panicked"), "{}", server.stderr());
}

/// Lets the system give a server 16 MiB more and no more than that, when its threads have begun.
fn limit_address_space(server: &Server) {
    let mut before = 0;
    wait_until("it has begun", || {
        std::thread::sleep(Duration::from_millis(300));
        std::mem::replace(&mut before, vm_kib(server, "VmSize")) == before
    });
    let address_space = (before + 16 * 1024) * 1024;
    let pid = server.pid().to_string();
    let limited = std::process::Command::new("prlimit")
        .args(["--pid", &pid, &format!("--as={address_space}")])
        .status();
    assert!(limited.is_ok_and(|status| status.success()), "prlimit");
}

/// The index cannot grow without the system: then a key is refused, and nothing is evicted for it in vain.
#[test]
fn without_memory_of_the_system_for_the_index_the_others_stay() {
    let server = larder(&["-m", "1024", "-t", "1"]);
    let mut client = Client::connect(&server);
    let mut number = 0;
    // Sets so many keys; whether one was refused.
    let mut set = |client: &mut Client, count: u32, value: &str| {
        let keys = number..number + count;
        number += count;
        let set = |key| format!("set k{key} 0 0 {}\r\n{value}\r\n", value.len());
        client.send(keys.clone().map(set).collect::<String>());
        let refused = keys.filter(|_| match client.line().as_str() {
            "STORED" => false,
            "SERVER_ERROR out of memory storing object" => true,
            line => panic!("{line}"),
        });
        refused.count() > 0
    };
    // Its buffers are there before memory is short, and all segments that there will be before the index is large.
    let value = "v".repeat(1000);
    set(&mut client, 500, &value);
    limit_address_space(&server);
    while client.stat("evictions") == 0 {
        set(&mut client, 500, &value);
    }
    while !set(&mut client, 500, "v") {}
    let (evictions, item_count) = (client.stat("evictions"), client.stat("curr_items"));
    for _ in 0..10 {
        set(&mut client, 500, "v");
    }
    assert!(client.stat("evictions") - evictions < item_count / 10);
    assert!(client.stat("curr_items") > item_count);
}

/// The system may have less memory than `-m` allows. Then old items make room, or a store is refused.
#[test]
fn without_memory_of_the_system_the_server_goes_on() {
    for (value_len, options) in [
        (3_000, &["-m", "1024"][..]),
        (3_000, &["-m", "1024", "-M"]),
        (60_000, &["-m", "1024"]),
        (60_000, &["-m", "1024", "-M"]),
        (300_000, &["-m", "1024"]),
    ] {
        let server = larder(options);
        let mut client = Client::connect(&server);
        let value = "v".repeat(value_len);
        let set = |number| format!("set k{number} 0 0 {value_len}\r\n{value}\r\n");
        // Its buffers are there before memory is short.
        client.ask(set(0), "STORED\r\n");
        limit_address_space(&server);
        // The allocator has address space of its own beside that.
        let count = 120_000_000 / value_len;
        let mut refused = 0;
        for number in 1..=count {
            client.send(set(number));
            match client.line().as_str() {
                "STORED" => {}
                "SERVER_ERROR out of memory storing object" => refused += 1,
                line => panic!("{line}"),
            }
        }
        let may_evict = !options.contains(&"-M");
        assert_eq!(client.stat("evictions") > 0, may_evict, "values of {value_len}");
        assert_eq!(refused > 0, !may_evict, "{refused} of {count} values of {value_len}");
        let kept = if may_evict { count } else { 1 };
        client.ask(
            format!("get k{kept}\r\n"),
            &format!("VALUE k{kept} 0 {value_len}\r\n{value}\r\nEND\r\n"),
        );
    }
}
