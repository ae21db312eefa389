//! The connection limit, both ways to meet it, and what a full process does.

use crate::client::Client;
use crate::{larder, wait_until};
use socket2::{Domain, Socket, Type};
use std::net::{SocketAddr, TcpStream};

const TOO_MANY: &str = "ERROR Too many open connections";

#[test]
fn over_the_limit_a_client_is_told_and_closed() {
    let server = larder(&["-c", "3"]);
    let mut clients: Vec<Client> = (0..3).map(|_| Client::connect(&server)).collect();
    for client in &mut clients {
        client.ask("version\r\n", "VERSION 1.6.45\r\n");
    }
    let mut fourth = Client::connect(&server);
    assert_eq!(fourth.line(), TOO_MANY);
    fourth.assert_closed();
    let stats = clients[0].stats();
    assert_eq!((&*stats["rejected_connections"], &*stats["curr_connections"]), ("1", "4"));
    assert_eq!(stats["max_connections"], "3");
    assert_eq!(stats["total_connections"], "4", "three clients and the listener");
    drop(clients.pop());
    wait_until("there is room again", || {
        let mut client = Client::connect(&server);
        client.try_send("version\r\n").is_ok() && client.line() == "VERSION 1.6.45"
    });
}

#[test]
fn or_it_waits_until_another_leaves() {
    let server = larder(&["-c", "2", "-o", "no_maxconns_fast"]);
    let mut first = Client::connect(&server);
    let mut second = Client::connect(&server);
    first.ask("version\r\n", "VERSION 1.6.45\r\n");
    second.ask("version\r\n", "VERSION 1.6.45\r\n");
    let mut third = Client::connect(&server);
    third.send("version\r\n");
    wait_until("accepting has stopped", || first.stat("accepting_conns") == 0);
    assert_eq!(first.stat("rejected_connections"), 0);
    drop(second);
    third.ask("", "VERSION 1.6.45\r\n");
    let stats = third.stats();
    assert_ne!(stats["listen_disabled_num"], "0");
    assert!(stats["time_in_listen_disabled_us"].parse::<u64>().expect("a number") > 0);
}

/// What comes of `stats`: served, or not.
fn asks_for_stats(client: &mut Client) -> bool {
    let first = client.line();
    let is_served = first.starts_with("STAT ");
    assert!(is_served || first == TOO_MANY, "{first}");
    while is_served && client.line() != "END" {}
    is_served
}

#[test]
fn who_looks_at_the_counters_gets_in_when_it_is_full() {
    let server = larder(&["-c", "1"]);
    let mut first = Client::connect(&server);
    first.ask("version\r\n", "VERSION 1.6.45\r\n");
    let knock = |request: &str| {
        let mut client = Client::connect(&server);
        client.send(request);
        client
    };
    let mut operators: Vec<Client> = (0..4)
        .map(|_| {
            let mut operator = knock("stats\r\n");
            assert!(asks_for_stats(&mut operator));
            operator
        })
        .collect();
    assert!(!asks_for_stats(&mut knock("stats\r\n")), "the reserve is for so many");
    drop(operators.pop());
    wait_until("one has left", || asks_for_stats(&mut knock("stats settings\r\nstats\r\n")));
    for other in ["stat\r\n", "statsX\r\n", "get stats\r\n", "\r\n", "version\r\nstats\r\n"] {
        assert_eq!(knock(other).line(), TOO_MANY, "{other}");
    }
    // It stays for as long as it likes.
    operators[0].ask("get a\r\nversion\r\n", "END\r\nVERSION 1.6.45\r\n");
}

#[test]
fn those_that_say_nothing_keep_nobody_from_it() {
    for waiting in ["maxconns_fast", "maxconns_per_ip=1,maxconns_fast"] {
        let server = larder(&["-c", "1", "-o", waiting]);
        let mut first = Client::connect(&server);
        first.ask("version\r\n", "VERSION 1.6.45\r\n");
        let mut silent: Vec<Client> = (0..100).map(|_| Client::connect(&server)).collect();
        let mut operator = Client::connect(&server);
        operator.send("stats\r\n");
        assert!(asks_for_stats(&mut operator));
        for client in &mut silent {
            assert_eq!(client.line(), TOO_MANY);
        }
        assert_eq!(operator.stat("rejected_connections"), 100);
    }
}

#[test]
fn nor_do_those_that_wait() {
    let server = larder(&["-c", "1", "-o", "no_maxconns_fast"]);
    let mut first = Client::connect(&server);
    first.ask("version\r\n", "VERSION 1.6.45\r\n");
    let mut waiting: Vec<Client> = (0..20).map(|_| Client::connect(&server)).collect();
    for client in &mut waiting[..10] {
        client.send("version\r\n");
    }
    let mut operator = Client::connect(&server);
    operator.send("stats\r\n");
    assert!(asks_for_stats(&mut operator));
    assert_eq!((operator.stat("rejected_connections"), operator.stat("accepting_conns")), (0, 0));
    drop(first);
    // In the order in which they came, each when the one before it has left.
    for mut client in waiting {
        assert!(operator.stat("curr_connections") <= 3);
        client.ask("get a\r\nquit\r\n", "");
        while client.line() != "END" {}
    }
    wait_until("nobody waits", || operator.stat("accepting_conns") == 1);
    assert_eq!(operator.stat("listen_disabled_num"), 1);
}

#[test]
fn a_panic_free_flood_of_connections_leaves_nothing_behind() {
    let server = larder(&["-c", "200"]);
    for round in 1..=10 {
        let flood: Vec<TcpStream> = (0..150).map(|_| server.connect()).collect();
        drop(flood);
        let mut client = Client::connect(&server);
        // The listener, and who came, some of whom may still wait to be accepted.
        let came = 1 + round * 151;
        wait_until("they are gone", || {
            client.stat("total_connections") == came && client.stat("curr_connections") == 2
        });
        assert_eq!(client.stat("rejected_connections"), 0, "round {round}");
    }
}

#[test]
fn waiting_counts_the_connections_of_all_listeners() {
    let directory = tempfile::tempdir().expect("a directory");
    let ports = directory.path().join("ports");
    let mut child = std::process::Command::new(crate::LARDER)
        .args(["-c", "2", "-o", "no_maxconns_fast", "-l", "127.0.0.1:0,127.0.0.2:0"])
        .env("MEMCACHED_PORT_FILENAME", &ports)
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("the program starts");
    wait_until("the port file", || ports.exists());
    let text = std::fs::read_to_string(&ports).expect("the port file");
    let port = |line: &str| line.rsplit(' ').next().and_then(|port| port.parse().ok());
    let ports: Vec<u16> = text.lines().filter_map(port).collect();
    let connect = |host: &str, port| {
        let stream = TcpStream::connect((host, port)).expect("it listens there");
        stream.set_read_timeout(Some(crate::DEADLINE)).expect("a timeout above zero");
        Client::over(stream)
    };
    let mut first = connect("127.0.0.1", ports[0]);
    first.ask("version\r\n", "VERSION 1.6.45\r\n");
    assert_eq!(first.stat("accepting_conns"), 1, "there is room for one more");
    let mut second = connect("127.0.0.1", ports[0]);
    second.ask("version\r\n", "VERSION 1.6.45\r\n");
    let mut third = connect("127.0.0.2", ports[1]);
    third.send("version\r\n");
    wait_until("accepting has stopped", || first.stat("accepting_conns") == 0);
    drop(second);
    third.ask("", "VERSION 1.6.45\r\n");
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(child.id().cast_signed()),
        nix::sys::signal::Signal::SIGTERM,
    )
    .expect("it runs");
    assert!(child.wait().expect("our own child").success());
}

#[test]
fn who_quits_makes_room_without_closing() {
    let server = larder(&["-c", "1"]);
    let mut quitters = Vec::new();
    for _ in 0..20 {
        wait_until("there is room", || {
            let mut client = Client::connect(&server);
            client.send("version\r\nquit\r\n");
            let is_served = client.line() == "VERSION 1.6.45";
            if is_served {
                client.assert_closed();
                // Kept open on this side: what counts is that the server has let go.
                quitters.push(client);
            }
            is_served
        });
    }
    assert_eq!(quitters.len(), 20);
}

#[test]
fn the_refused_hear_why_though_they_have_sent_something() {
    let server = larder(&["-c", "1"]);
    let mut first = Client::connect(&server);
    first.ask("version\r\n", "VERSION 1.6.45\r\n");
    for _ in 0..50 {
        let mut refused = Client::connect(&server);
        refused.send("get a\r\n");
        assert_eq!(refused.line(), TOO_MANY);
    }
}

/// A connection from this address of the loopback network.
fn connect_from(server: &crate::process::Server, host: [u8; 4]) -> Client {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.bind(&SocketAddr::from((host, 0)).into()).expect("an address of ours");
    socket.connect(&server.address().into()).expect("it listens");
    socket.set_read_timeout(Some(crate::DEADLINE)).expect("a timeout above zero");
    Client::over(socket.into())
}

#[test]
fn one_address_has_no_more_than_its_share() {
    for waiting in ["maxconns_fast", "no_maxconns_fast"] {
        let server = larder(&["-c", "8", "-o", &format!("maxconns_per_ip=2,{waiting}")]);
        let (here, there) = ([127, 0, 0, 1], [127, 0, 0, 2]);
        let mut clients = [here, here, there].map(|host| connect_from(&server, host));
        for client in &mut clients {
            client.ask("version\r\n", "VERSION 1.6.45\r\n");
        }
        for refused_count in 1..=10 {
            let mut third = connect_from(&server, here);
            third.send("get a\r\n");
            assert_eq!(third.line(), TOO_MANY);
            third.assert_closed();
            assert_eq!(clients[0].stat("rejected_connections"), refused_count);
        }
        connect_from(&server, there).ask("version\r\n", "VERSION 1.6.45\r\n");
        let [first, second, _] = &mut clients;
        first.send("quit\r\n");
        first.assert_closed();
        wait_until("there is room again", || second.stat("curr_connections") == 3);
        connect_from(&server, here).ask("version\r\n", "VERSION 1.6.45\r\n");
        assert_eq!(second.stat("listen_disabled_num"), 0);
    }
}

#[test]
fn without_it_an_address_has_all_connections() {
    let server = larder(&["-c", "300"]);
    let mut clients: Vec<Client> = (0..300).map(|_| Client::connect(&server)).collect();
    for client in &mut clients {
        client.ask("version\r\n", "VERSION 1.6.45\r\n");
    }
}

/// Lets the server have so many file descriptors more than it has, or as many as it likes.
fn limit_files(server: &crate::process::Server, more: Option<usize>) {
    let pid = server.pid().to_string();
    let open = std::fs::read_dir(format!("/proc/{pid}/fd")).expect("it runs").count();
    let limit = more.map_or(4096, |more| open + more);
    let limited = std::process::Command::new("prlimit")
        .args(["--pid", &pid, &format!("--nofile={limit}:")])
        .status();
    assert!(limited.is_ok_and(|status| status.success()), "prlimit");
}

#[test]
fn without_file_descriptors_accepting_rests_and_goes_on() {
    let server = larder(&[]);
    let mut first = Client::connect(&server);
    first.ask("version\r\n", "VERSION 1.6.45\r\n");
    for round in 1..=2 {
        limit_files(&server, Some(3));
        let mut crowd: Vec<Client> = (0..10).map(|_| Client::connect(&server)).collect();
        for client in &mut crowd {
            client.send("version\r\n");
        }
        wait_until("accepting rests", || first.stat("accepting_conns") == 0);
        assert!(first.stat("curr_connections") < 12, "not all of them");
        // Who is there is served.
        first.ask("set k 0 0 1\r\nx\r\nget k\r\n", "STORED\r\nVALUE k 0 1\r\nx\r\nEND\r\n");
        // Those that leave make room for the others.
        for mut client in crowd {
            client.ask("", "VERSION 1.6.45\r\n");
        }
        limit_files(&server, None);
        Client::connect(&server).ask("version\r\n", "VERSION 1.6.45\r\n");
        let stats = first.stats();
        assert_eq!(stats["accepting_conns"], "1");
        assert_eq!(stats["rejected_connections"], "0");
        assert!(stats["listen_disabled_num"].parse::<u64>().expect("a number") >= round);
        assert_ne!(stats["time_in_listen_disabled_us"], "0");
    }
    // Once each time that it begins to rest, not each time that it tries.
    let said = server.stderr().matches("cannot accept a connection").count() as u64;
    assert_eq!(said, first.stat("listen_disabled_num"));
}

#[test]
fn more_connections_than_the_system_allows_are_said_at_start() {
    let server = larder(&["-c", "2147483647"]);
    Client::connect(&server).ask("version\r\n", "VERSION 1.6.45\r\n");
    let stderr = server.stderr();
    assert!(stderr.contains("open files are needed and only"), "{stderr}");
}
