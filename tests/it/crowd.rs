//! Many connections at once, and one of them that never reads.

use crate::abuse::rss_kib;
use crate::client::Client;
use crate::process::{DEADLINE, Server};
use crate::{larder, say_skipped, wait_until};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use socket2::{Domain, Socket, Type};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::time::{Duration, Instant};

/// For the other tests of this process, which may run at the same time.
const OTHER_FDS: u64 = 3000;

/// Whether this process may have so many connections, and a server as well.
fn may_have_connections(count: u64) -> bool {
    let needed = count + OTHER_FDS;
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("our own limit");
    // Root may raise the hard limit too.
    soft >= needed || setrlimit(Resource::RLIMIT_NOFILE, needed, hard.max(needed)).is_ok()
}

fn connect_all(server: &Server, count: usize) -> Vec<Client> {
    (0..count).map(|_| Client::connect(server)).collect()
}

/// Each stores a value of its own and reads it again, `round_count` times; how long the slowest hundredth of the rounds
/// of two requests took at least.
fn serve_all(clients: &mut [Client], round_count: usize) -> Duration {
    let mut took = Vec::new();
    for round in 0..round_count {
        for (number, client) in clients.iter_mut().enumerate() {
            let value = format!("{number:07}-{round:02}");
            let since = Instant::now();
            client.ask(
                format!("set own{number} 0 0 10\r\n{value}\r\nget own{number}\r\n"),
                &format!("STORED\r\nVALUE own{number} 0 10\r\n{value}\r\nEND\r\n"),
            );
            took.push(since.elapsed());
        }
    }
    took.sort_unstable();
    took[took.len() * 99 / 100]
}

#[test]
fn who_never_reads_is_alone_with_that() {
    const COUNT: usize = 1000;
    if !may_have_connections(COUNT as u64 * 2) {
        return say_skipped("1,000 connections at once need more open files than are allowed");
    }
    let server = larder(&["-t", "1", "-c", "2000"]);
    let mut clients = connect_all(&server, COUNT);
    let before = serve_all(&mut clients, 3);
    let value = "v".repeat(1_000_000);
    clients[0].ask(format!("set large 0 0 1000000\r\n{value}\r\n"), "STORED\r\n");
    let mut deaf = Client::connect(&server);
    deaf.send("get large\r\n".repeat(1000));
    wait_until("its replies are stuck", || clients[0].stat("response_obj_count") == 1);
    let with = serve_all(&mut clients, 3);
    println!("p99 of {COUNT} connections: {before:?}, with one that never reads {with:?}");
    assert_eq!(clients[0].stat("response_obj_count"), 1, "it still waits");
    // All at once, as they come.
    for client in &mut clients {
        client.send("get own1 large\r\n");
    }
    for client in &mut clients {
        client.ask(
            "",
            &format!(
                "VALUE own1 0 10\r\n0000001-02\r\nVALUE large 0 1000000\r\n{value}\r\nEND\r\n"
            ),
        );
    }
}

/// Connects from one of these addresses: each has ports of its own.
fn connect_from(source: Ipv4Addr, server: &Server) -> Client {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.bind(&SocketAddr::from(SocketAddrV4::new(source, 0)).into()).expect("a free port");
    socket.connect(&server.address().into()).expect("it listens");
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(DEADLINE)).expect("a timeout above zero");
    Client::over(stream)
}

#[test]
fn fifteen_thousand_are_served_and_forgotten() {
    const SOURCE_COUNT: usize = 5;
    const BATCH_LEN: usize = 250;
    const COUNT: usize = 15_000;
    /// What they may cost together. The allocator may keep it for the next ones, but then it must do for those.
    const CROWD_KIB_MAX: u64 = COUNT as u64 * 5 / 2;
    const MORE_KIB_MAX: u64 = 6 * 1024;
    if !may_have_connections(COUNT as u64) {
        return say_skipped("15,000 connections at once need more open files than are allowed");
    }
    let server = larder(&["-c", "16000", "-b", "4096"]);
    let mut client = Client::connect(&server);
    serve_all(std::slice::from_mut(&mut client), 10);
    let base = rss_kib(&server);
    let mut after_first = None;
    for _ in 0..2 {
        client.ask("stats reset\r\n", "RESET\r\n");
        let mut crowd = Vec::with_capacity(COUNT);
        while crowd.len() < COUNT {
            let from = crowd.len();
            crowd.extend((from..from + BATCH_LEN).map(|number| {
                let last = u8::try_from(2 + number % SOURCE_COUNT).expect("a few");
                connect_from(Ipv4Addr::new(127, 0, 0, last), &server)
            }));
            serve_all(&mut crowd[from..], 1);
        }
        let stats = client.stats();
        let number = |name: &str| stats[name].parse::<usize>().expect("a number");
        assert_eq!(number("curr_connections"), COUNT + 2);
        assert_eq!((number("total_connections"), number("rejected_connections")), (COUNT, 0));
        assert_eq!((number("cmd_get"), number("get_hits")), (COUNT, COUNT));
        assert_eq!(number("cmd_set"), COUNT);
        // They are all still there.
        serve_all(&mut crowd, 1);
        let with = rss_kib(&server);
        drop(crowd);
        wait_until("they are gone", || client.stat("curr_connections") == 2);
        let after = rss_kib(&server);
        println!("{base} KiB before, {with} with {COUNT} connections, {after} after");
        assert!(
            with.max(after) < base + CROWD_KIB_MAX,
            "{base} KiB before, {with} with, {after} after"
        );
        let first = *after_first.get_or_insert(after);
        assert!(
            after < first + MORE_KIB_MAX,
            "{first} KiB after the first, {after} after the second"
        );
    }
}
