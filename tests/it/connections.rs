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
    for round in 0..10 {
        let flood: Vec<TcpStream> = (0..150).map(|_| server.connect()).collect();
        drop(flood);
        let mut client = Client::connect(&server);
        wait_until("they are gone", || client.stat("curr_connections") == 2);
        assert_eq!(client.stat("rejected_connections"), 0, "round {round}");
    }
}
