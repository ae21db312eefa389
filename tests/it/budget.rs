//! The memory of all connections together: `-o connection_memory`.

use crate::client::Client;
use crate::process::Server;
use crate::{larder, wait_until};
use socket2::{Domain, Socket, Type};
use std::sync::{Barrier, RwLock};

const MIB: u64 = 1 << 20;
const NO_MEMORY: &str = "SERVER_ERROR out of memory reading request";
/// What the process may take beside items and connections: code, threads, buffers of the threads.
const RSS_BESIDE_KIB_MAX: u64 = 24 * 1024;

/// Both kinds of memory that connections hold, which is within the budget whenever somebody looks.
#[track_caller]
fn held(client: &mut Client, max: u64) -> u64 {
    let stats = client.stats();
    let of = |name: &str| stats[name].parse::<u64>().expect("a number");
    let held = of("read_buf_bytes") + of("response_obj_bytes");
    assert!(held <= max, "{held} bytes are held");
    held
}

fn rss_kib(server: &Server) -> u64 {
    let path = format!("/proc/{}/status", server.pid());
    let status = std::fs::read_to_string(path).expect("it runs");
    let line = status.lines().find(|line| line.starts_with("VmRSS")).expect("a size");
    line.split_whitespace().nth(1).expect("a number").parse().expect("a number")
}

/// A client for which the system takes next to nothing: what it does not read stays with the server.
fn deaf(server: &Server) -> Client {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.set_recv_buffer_size(4096).expect("a size");
    socket.connect(&server.address().into()).expect("it listens");
    socket.set_read_timeout(Some(crate::DEADLINE)).expect("a timeout above zero");
    Client::over(socket.into())
}

/// Nobody was refused at once: the log tells of all.
#[track_caller]
fn assert_all_closed_after_waiting(server: &Server, observer: &mut Client) {
    let refused = observer.stat("read_buf_oom");
    let log = server.stderr();
    let said = log.lines().filter(|line| line.ends_with("-o connection_memory is short"));
    let count = |line: &str| line.split("closed ").nth(1)?.split(' ').next()?.parse::<u64>().ok();
    assert_eq!(said.filter_map(count).sum::<u64>(), refused, "{log}");
}

#[test]
fn the_largest_request_gets_through_alone() {
    // The least that is allowed.
    for (options, key_and_value_len) in [
        (["-m", "1", "-I", "512k", "-o", "connection_memory=1m"], (512 << 10) - 59),
        (["-m", "64", "-I", "1m", "-o", "connection_memory=2m"], (1 << 20) - 59),
        (["-m", "64", "-I", "8m", "-o", "connection_memory=16m"], (8 << 20) - 59),
    ] {
        let server = larder(&options);
        let mut client = Client::connect(&server);
        let value = "v".repeat(key_and_value_len - 1);
        let set = format!("set k 0 0 {}\r\n{value}\r\n", value.len());
        for _ in 0..3 {
            client.ask(&set, "STORED\r\n");
            client.ask("get k\r\n", &format!("VALUE k 0 {}\r\n{value}\r\nEND\r\n", value.len()));
        }
        client.ask(
            format!("set k 0 0 {}\r\n{value}v\r\n", value.len() + 1),
            "SERVER_ERROR object too large for cache\r\n",
        );
        assert_eq!((client.stat("read_buf_oom"), client.stat("response_obj_oom")), (0, 0));
        assert_eq!(held(&mut client, 0), 0);
    }
}

#[test]
fn who_holds_most_goes_when_all_wait_for_each_other() {
    const COUNT: usize = 6;
    let server = larder(&["-o", "connection_memory=4m"]);
    let mut observer = Client::connect(&server);
    let gate = RwLock::new(());
    let (head, tail) = (vec![b'v'; 800_000], [vec![b'v'; 200_000], b"\r\n".to_vec()].concat());
    let upload = |number: usize| {
        let mut client = Client::connect(&server);
        // It may be closed amid either.
        let set = format!("set k{number} 0 0 1000000\r\n");
        let _ = client.try_send(set).and_then(|()| client.try_send(&head));
        drop(gate.read());
        let _ = client.try_send(&tail);
        let line = client.line();
        if line == NO_MEMORY {
            client.assert_closed();
        }
        line
    };
    let lines: Vec<String> = std::thread::scope(|scope| {
        let closed = gate.write();
        let uploads: Vec<_> =
            (0..COUNT).map(|number| scope.spawn(move || upload(number))).collect();
        // Together they want more than there is, and nobody can end before all have come so far.
        wait_until("so many are closed that the others have room", || {
            held(&mut observer, 4 * MIB);
            // Others are served all the while.
            observer.ask("set o 0 0 1\r\nx\r\nget o\r\n", "STORED\r\nVALUE o 0 1\r\nx\r\nEND\r\n");
            observer.stat("read_buf_oom") >= COUNT as u64 - 4
        });
        drop(closed);
        uploads.into_iter().map(|upload| upload.join().expect("a line")).collect()
    });
    let count = |of: &str| lines.iter().filter(|line| *line == of).count();
    let (stored, refused) = (count("STORED"), count(NO_MEMORY));
    assert!(stored > 0 && stored + refused == COUNT, "{lines:?}");
    assert!(observer.stat("read_buf_oom") >= refused as u64);
    assert_all_closed_after_waiting(&server, &mut observer);
    wait_until("all is free", || held(&mut observer, 4 * MIB) == 0);
}

#[test]
fn a_crowd_that_wants_more_than_there_is_takes_turns() {
    let server = larder(&["-o", "connection_memory=8m"]);
    let set = format!("set k 0 0 1000000\r\n{}\r\n", "v".repeat(1_000_000));
    let all_are_there = Barrier::new(60);
    std::thread::scope(|scope| {
        for _ in 0..60 {
            scope.spawn(|| {
                let mut client = Client::connect(&server);
                all_are_there.wait();
                let mut stored_count = 0;
                while stored_count < 3 {
                    // It may be closed amid it, where the machine is so busy that nothing goes on for a second.
                    let _ = client.try_send(&set);
                    match client.line().as_str() {
                        "STORED" => stored_count += 1,
                        NO_MEMORY => client = Client::connect(&server),
                        line => panic!("{line}"),
                    }
                }
            });
        }
    });
    let mut observer = Client::connect(&server);
    assert_eq!(observer.stat("cmd_set"), 180);
    assert_all_closed_after_waiting(&server, &mut observer);
    wait_until("all is free", || held(&mut observer, 8 * MIB) == 0);
}

#[test]
fn a_crowd_that_sends_half_a_request_each_stays_within_it() {
    let server = larder(&["-o", "connection_memory=2m"]);
    let before = rss_kib(&server);
    let mut observer = Client::connect(&server);
    // Each less than a read; together five times what there is.
    let half = format!("set k 0 0 60000\r\n{}", "v".repeat(50_000));
    let mut crowd: Vec<Client> = (0..200).map(|_| Client::connect(&server)).collect();
    for client in &mut crowd {
        let _ = client.try_send(&half);
        observer.ask("version\r\n", "VERSION 1.6.45\r\n");
        held(&mut observer, 2 * MIB);
    }
    wait_until("some are closed", || observer.stat("read_buf_oom") > 0);
    let after = rss_kib(&server);
    assert!(after < before + 2 * 1024 + 4096, "{before} KiB before, {after} after");
    // Who is closed hears why, and who is not can go on.
    let rest = format!("{}\r\n", "v".repeat(10_000));
    for client in &mut crowd {
        let _ = client.try_send(&rest);
    }
    let lines: Vec<String> = crowd.iter_mut().map(Client::line).collect();
    let count = |of: &str| lines.iter().filter(|line| *line == of).count();
    let (stored, refused) = (count("STORED"), count(NO_MEMORY));
    assert!(stored > 0 && stored + refused == 200, "{stored} and {refused}");
    assert_all_closed_after_waiting(&server, &mut observer);
}

#[test]
fn those_that_never_read_stay_within_it() {
    let server = larder(&["-o", "connection_memory=8m"]);
    let mut observer = Client::connect(&server);
    // Too short to be sent from where it is stored: what is not taken is a copy.
    let value = "v".repeat(30_000);
    observer.ask(format!("set k 0 0 30000\r\n{value}\r\n"), "STORED\r\n");
    let requests = "get k k k k k k k k k k\r\n".repeat(1000);
    let mut clients = Vec::new();
    for number in 0..200 {
        let mut client = deaf(&server);
        client.send(&requests);
        clients.push(client);
        if number % 10 == 0 {
            held(&mut observer, 8 * MIB);
            observer.ask("version\r\n", "VERSION 1.6.45\r\n");
        }
    }
    wait_until("some are closed", || {
        held(&mut observer, 8 * MIB);
        observer.stat("response_obj_oom") > 0
    });
    let rss = rss_kib(&server);
    assert!(rss < RSS_BESIDE_KIB_MAX + 8 * 1024, "{rss} KiB");
    // Who wants little is served, and when the others are gone, who wants much.
    observer.ask("set s 0 0 1\r\nx\r\nget s\r\n", "STORED\r\nVALUE s 0 1\r\nx\r\nEND\r\n");
    drop(clients);
    wait_until("all is free", || held(&mut observer, 8 * MIB) == 0);
    observer.ask("get k\r\n", &format!("VALUE k 0 30000\r\n{value}\r\nEND\r\n"));
}

#[test]
fn a_declared_length_holds_nothing() {
    let server = larder(&["-m", "2048", "-I", "1g", "-o", "connection_memory=2g"]);
    let mut clients: Vec<Client> = (0..20).map(|_| Client::connect(&server)).collect();
    for client in &mut clients {
        client.send("set k 0 0 1073741000\r\n");
    }
    let mut observer = Client::connect(&server);
    wait_until("they are read", || observer.stat("read_buf_count") == 20);
    assert!(held(&mut observer, 2 * 1024 * MIB) <= 20 * 64);
    // Growing by what comes: at most four times that, or a mebibyte.
    for client in &mut clients {
        client.send(vec![b'v'; 100_000]);
    }
    let came_min = 20 * 100_000;
    wait_until("it has come", || observer.stat("bytes_read") >= came_min);
    wait_until("it is kept", || held(&mut observer, 20 * MIB) >= came_min);
}
