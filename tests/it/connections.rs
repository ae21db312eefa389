//! The connection limit, both ways to meet it, and what a full process does.

use crate::client::Client;
use crate::{larder, wait_until};
use std::net::TcpStream;

#[test]
fn over_the_limit_a_client_is_told_and_closed() {
    let server = larder(&["-c", "3"]);
    let mut clients: Vec<Client> = (0..3).map(|_| Client::connect(&server)).collect();
    for client in &mut clients {
        client.ask("version\r\n", "VERSION 1.6.45\r\n");
    }
    let mut fourth = Client::connect(&server);
    assert_eq!(fourth.line(), "ERROR Too many open connections");
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
        assert_eq!(refused.line(), "ERROR Too many open connections");
    }
}
