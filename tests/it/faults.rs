//! Clients that vanish, and what is left of them: nothing.

use crate::client::Client;
use crate::process::Server;
use crate::{larder, wait_until};
use socket2::SockRef;
use std::net::Shutdown;
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

const ITEMS: &str = "set a 7 0 3\r\nxyz\r\nset b 0 0 10\r\n0123456789\r\nset n 0 0 2\r\n10\r\n";
const STORED: &str = "STORED\r\nSTORED\r\nSTORED\r\n";
const ITEMS_SHOWN: &str =
    "VALUE a 7 3\r\nxyz\r\nVALUE b 0 10\r\n0123456789\r\nVALUE n 0 2\r\n10\r\nEND\r\n";

/// What has not come as a whole was never asked.
#[test]
fn who_vanishes_in_a_request_has_asked_for_nothing() {
    let server = larder(&["-c", "8000"]);
    let mut client = Client::connect(&server);
    client.ask(ITEMS, STORED);
    let long = format!("set a 0 0 3000\r\n{}\r\n", "v".repeat(3000));
    let too_large = format!("set c 0 0 2000000\r\n{}", "v".repeat(5000));
    let every_byte = [
        "get a\r\n",
        "gets a b none n a\r\n",
        "set a 5 0 8\r\nab\r\ncdef\r\n",
        "append b 0 0 3 noreply\r\nxyz\r\n",
        "cas a 0 0 1 12345\r\n1\r\n",
        "delete a\r\n",
        "delete b noreply\r\n",
        "incr n 12\r\n",
        "gat 1 a b\r\n",
        "touch n -1\r\n",
        "flush_all\r\n",
        "stats detail on\r\n",
        "no such command\r\n",
    ];
    let requests = every_byte.into_iter().map(|request| (request, 1));
    for (request, step) in requests.chain([(&*long, 37), (&*too_large, 37)]) {
        for cut in (0..request.len()).step_by(step) {
            for ending in ENDINGS {
                // With and without something that was asked before.
                for before in ["", "version\r\nget a b n\r\n"] {
                    let mut gone = Client::connect(&server);
                    gone.send(format!("{before}{}", &request[..cut]));
                    end(gone, ending);
                }
            }
        }
    }
    drop(client);
    assert_all_is_given_back(&server);
    Client::connect(&server).ask("get a b n\r\n", ITEMS_SHOWN);
}

/// A request that has come as a whole is carried out, whoever takes the reply.
#[test]
fn who_vanishes_in_a_reply_has_asked() {
    let server = larder(&["-c", "8000"]);
    let mut client = Client::connect(&server);
    client.ask(ITEMS, STORED);
    let large = "v".repeat(1_000_000);
    client.ask(format!("set large 0 0 1000000\r\n{large}\r\n"), "STORED\r\n");
    let shown_large = format!("VALUE large 0 1000000\r\n{large}\r\nEND\r\n");
    let mut counted = 0;
    for (request, reply, step) in [
        ("get a b n\r\n", ITEMS_SHOWN, 1),
        (
            "get a\r\nget none\r\nget a\r\n",
            "VALUE a 7 3\r\nxyz\r\nEND\r\nEND\r\nVALUE a 7 3\r\nxyz\r\nEND\r\n",
            1,
        ),
        ("set a 7 0 3\r\nxyz\r\n", "STORED\r\n", 1),
        ("delete none\r\n", "NOT_FOUND\r\n", 1),
        ("incr c 1\r\n", "100\r\n", 1),
        ("get large\r\n", &shown_large, 100_003),
    ] {
        client.ask("set c 0 0 3\r\n100\r\n", "STORED\r\n");
        for cut in (0..=reply.len()).step_by(step) {
            for ending in ENDINGS {
                let mut gone = Client::connect(&server);
                gone.send(request);
                let taken = gone.bytes(cut);
                if request.starts_with("incr") {
                    counted += 1;
                } else {
                    assert_eq!(taken, &reply.as_bytes()[..cut]);
                }
                if cut == 0 {
                    // Nothing else shows that it was asked, before its end overtakes it.
                    gone.bytes(1);
                }
                end(gone, ending);
            }
        }
        if request.starts_with("incr") {
            client.ask("incr c 0\r\n", &format!("{}\r\n", 100 + counted));
        }
    }
    drop(client);
    assert_all_is_given_back(&server);
    Client::connect(&server).ask("get a b n\r\n", ITEMS_SHOWN);
}

/// Who says that nothing more will come may still be waiting for replies.
#[test]
fn who_closes_one_side_hears_all_on_the_other() {
    let server = larder(&["-t", "1"]);
    let large = "v".repeat(500_000);
    let mut client = Client::connect(&server);
    client.ask(ITEMS, STORED);
    client.ask(format!("set large 0 0 500000\r\n{large}\r\n"), "STORED\r\n");
    let shown_large = format!("VALUE large 0 500000\r\n{large}\r\nEND\r\n");
    for (requests, replies) in [
        ("", String::new()),
        ("get a b n\r\n", ITEMS_SHOWN.to_owned()),
        // More than the sockets hold, and more requests than one turn answers.
        (&*"get large\r\n".repeat(60), shown_large.repeat(60)),
        (&*"get a b n\r\n".repeat(1000), ITEMS_SHOWN.repeat(1000)),
        // The last one never comes.
        ("get a b n\r\nset a 0 0 10\r\nxyz", ITEMS_SHOWN.to_owned()),
        ("set a 0 0 2000000\r\nxyz", "SERVER_ERROR object too large for cache\r\n".to_owned()),
    ] {
        let mut half = Client::connect(&server);
        half.send(requests);
        half.stream().shutdown(Shutdown::Write).expect("it is open");
        half.ask("", &replies);
        half.assert_closed();
        client.ask("set a 7 0 3\r\nxyz\r\n", "STORED\r\n");
    }
    drop(client);
    assert_all_is_given_back(&server);
}

/// Who will not read any more, without saying so.
#[test]
fn who_stops_reading_stops_nobody_else() {
    let server = larder(&["-t", "1"]);
    let mut client = Client::connect(&server);
    client.ask(format!("set large 0 0 500000\r\n{}\r\n", "v".repeat(500_000)), "STORED\r\n");
    let deaf: Vec<Client> = (0..20)
        .map(|_| {
            let mut deaf = Client::connect(&server);
            deaf.stream().shutdown(Shutdown::Read).expect("it is open");
            deaf.send("get large\r\n".repeat(60));
            deaf
        })
        .collect();
    wait_until("all of them are stuck", || client.stat("response_obj_count") == 20);
    client.ask("set k 0 0 1\r\nx\r\nget k\r\n", "STORED\r\nVALUE k 0 1\r\nx\r\nEND\r\n");
    for (deaf, ending) in deaf.into_iter().zip(ENDINGS.into_iter().cycle()) {
        end(deaf, ending);
    }
    drop(client);
    assert_all_is_given_back(&server);
}

const STORM_THREAD_COUNT: usize = 4;
const STORM_ROUND_COUNT: usize = 200;

#[test]
fn a_storm_of_connections_passes() {
    let server = larder(&["-c", "8000"]);
    Client::connect(&server).ask(ITEMS, STORED);
    std::thread::scope(|scope| {
        for _ in 0..STORM_THREAD_COUNT {
            scope.spawn(|| {
                for _ in 0..STORM_ROUND_COUNT {
                    for request in ["", "set a 0 0 5\r\nx"] {
                        Client::connect(&server).send(request);
                    }
                    let mut heard = Client::connect(&server);
                    heard.ask("get a b n\r\n", ITEMS_SHOWN);
                    end(heard, Ending::Reset);
                    // Perhaps before it was accepted.
                    let mut gone = Client::connect(&server);
                    gone.send("get a b n\r\nget ");
                    end(gone, Ending::Reset);
                }
            });
        }
    });
    assert_all_is_given_back(&server);
    let mut client = Client::connect(&server);
    client.ask("get a b n\r\n", ITEMS_SHOWN);
    let stats = client.stats();
    let number = |name: &str| stats[name].parse::<usize>().expect("a number");
    // The listener, the first, and the last two.
    let rounds = STORM_THREAD_COUNT * STORM_ROUND_COUNT;
    let certain = 4 + 3 * rounds;
    let came = number("total_connections");
    assert!((certain..=certain + rounds).contains(&came), "{came} of {certain} and {rounds}");
    assert_eq!(number("rejected_connections"), 0);
    // Keys of those who were served, and of some of those who did not wait for it.
    let asked = number("cmd_get") - 3;
    assert!((3 * rounds..=6 * rounds).contains(&asked), "{asked} in {rounds} rounds");
    assert_eq!(number("get_hits"), asked + 3);
}
