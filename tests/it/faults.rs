//! Clients that vanish, and what is left of them: nothing.

use crate::client::Client;
use crate::process::Server;
use crate::{larder, wait_until};
use socket2::SockRef;
use std::time::Duration;

/// How a client ends its connection.
#[derive(Debug, Clone, Copy)]
enum Ending {
    /// In order: what it sent arrives.
    Close,
    /// As a process does that is killed with something left to read: the other side learns it in the middle of what it
    /// does.
    Reset,
}

const ENDINGS: [Ending; 2] = [Ending::Close, Ending::Reset];

fn end(client: Client, ending: Ending) {
    if let Ending::Reset = ending {
        let socket = SockRef::from(client.stream());
        socket.set_linger(Some(Duration::ZERO)).expect("a TCP option");
    }
    drop(client);
}

/// Nothing is left of those who came before: no connection, no memory, and no reply for somebody else.
#[track_caller]
fn assert_all_is_given_back(server: &Server) {
    let mut client = Client::connect(server);
    client.ask("version\r\n", "VERSION 1.6.45\r\n");
    wait_until("all is given back", || {
        let stats = client.stats();
        let is = |name: &str, number: &str| stats[name] == number;
        is("curr_connections", "2")
            && is("read_buf_count", "0")
            && is("read_buf_bytes", "0")
            && is("response_obj_count", "0")
            && is("response_obj_bytes", "0")
    });
}

/// A burst is answered over several turns, and its client is gone after the first: its other replies are for
/// nobody.
#[test]
fn replies_to_who_is_gone_go_to_nobody_else() {
    let server = larder(&["-t", "1"]);
    let value = "v".repeat(1000);
    Client::connect(&server).ask(format!("set k 0 0 1000\r\n{value}\r\n"), "STORED\r\n");
    for round in 0..50 {
        let mut gone = Client::connect(&server);
        gone.send("get k\r\n".repeat(2000));
        gone.bytes(1 + 1000 * round);
        end(gone, Ending::Reset);
        // Their turns come between those of the one that is gone.
        for _ in 0..5 {
            Client::connect(&server).ask("version\r\n", "VERSION 1.6.45\r\n");
        }
    }
    assert_all_is_given_back(&server);
}
