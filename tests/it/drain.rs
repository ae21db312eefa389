//! A server that is asked to end answers what is on its way first.

use crate::client::Client;
use crate::process::Server;
use crate::{larder, wait_until};
use nix::sys::signal::Signal;
use std::net::TcpStream;

/// Asks it to end, and returns once it takes no connections any more.
fn begin_to_end(server: &Server) {
    server.signal(Signal::SIGTERM);
    wait_until("it does not listen", || TcpStream::connect(server.address()).is_err());
}

#[test]
fn a_request_on_its_way_is_answered() {
    let mut server = larder(&[]);
    let mut client = Client::connect(&server);
    client.ask("version\r\nset k 0 0 3\r\nx", "VERSION 1.6.45\r\n");
    wait_until("it has come", || Client::connect(&server).stat("read_buf_count") == 1);
    begin_to_end(&server);
    client.ask("yz\r\nget k\r\n", "STORED\r\nVALUE k 0 3\r\nxyz\r\nEND\r\n");
    client.assert_closed();
    assert!(server.wait().success());
}

#[test]
fn all_that_was_sent_before_is_answered() {
    for round in 0..20 {
        let mut server = larder(&["-R", "1"]);
        let mut client = Client::connect(&server);
        client.ask("set k 0 0 1\r\nx\r\n", "STORED\r\n");
        let count = 1000;
        client.send("get k\r\n".repeat(count));
        server.signal(Signal::SIGTERM);
        for number in 0..count {
            assert_eq!(client.line(), "VALUE k 0 1", "request {number}, round {round}");
            assert_eq!((client.line(), client.line()), ("x".to_owned(), "END".to_owned()));
        }
        client.assert_closed();
        assert!(server.wait().success());
    }
}

#[test]
fn who_takes_no_replies_does_not_hold_it_up_for_ever() {
    let mut server = larder(&["-o", "drain_timeout=1"]);
    let mut client = Client::connect(&server);
    client.ask(format!("set k 0 0 100000\r\n{}\r\n", "x".repeat(100_000)), "STORED\r\n");
    client.send(format!("get{}\r\n", " k".repeat(1000)));
    let mut other = Client::connect(&server);
    wait_until("its replies are stuck", || other.stat("response_obj_bytes") > 0);
    server.signal(Signal::SIGTERM);
    assert!(server.wait().success());
    assert!(server.stderr().contains("not all clients took their replies in 1 s"));
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let mut server = larder(&["-o", "drain_timeout=3600"]);
    let mut client = Client::connect(&server);
    client.ask("version\r\nset k 0 0 3\r\nx", "VERSION 1.6.45\r\n");
    wait_until("it has come", || Client::connect(&server).stat("read_buf_count") == 1);
    begin_to_end(&server);
    server.signal(Signal::SIGTERM);
    assert!(server.wait().success());
    client.assert_closed();
}
