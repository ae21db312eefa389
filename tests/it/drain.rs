//! A server that is asked to end answers what is on its way first.

use crate::client::Client;
use crate::process::Server;
use crate::{LARDER, larder, wait_until};
use nix::sys::signal::Signal;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::time::Duration;

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

/// One that is asked to end under load is to end within that, and as much more for a busy machine.
const LOADED_DRAIN_TIMEOUT_S: u64 = 20;
const LOAD_CLIENT_COUNT: u64 = 6;

/// Numbers that look random, the same ones for the same seed.
struct Random(u64);

impl Random {
    fn from(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15))
    }

    fn below(&mut self, limit: u32) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 32) as u32 % limit
    }
}

/// Sends bursts, each when the one before was answered, until the server closes. What comes of the last one is whole
/// replies. So many were answered.
fn ask_until_closed(stream: &TcpStream, mut random: Random, large: &str) -> usize {
    stream
        .set_read_timeout(Some(Duration::from_secs(2 * LOADED_DRAIN_TIMEOUT_S)))
        .expect("an option");
    let kinds = [
        ("get k\r\n", "VALUE k 0 1\r\nx\r\nEND\r\n"),
        ("get large k none\r\n", large),
        ("set k 0 0 1\r\nx\r\n", "STORED\r\n"),
        ("incr none 1\r\n", "NOT_FOUND\r\n"),
    ];
    let mut answered = 0;
    loop {
        let burst: Vec<_> =
            (0..=random.below(40)).map(|_| kinds[random.below(4) as usize]).collect();
        let requests: String = burst.iter().map(|(request, _)| *request).collect();
        let mut stream = stream;
        if stream.write_all(requests.as_bytes()).is_err() {
            return answered;
        }
        for (_, reply) in burst {
            let mut got = Vec::new();
            // It may close with an error when a burst had come too late.
            let _ = stream.take(reply.len() as u64).read_to_end(&mut got);
            if got.is_empty() {
                return answered;
            }
            assert!(got == reply.as_bytes(), "{} of {} bytes of a reply", got.len(), reply.len());
            answered += 1;
        }
    }
}

/// Ends servers at random moments; more of them when the environment says so.
#[test]
fn whenever_it_is_asked_it_ends_in_order() {
    let round_count =
        std::env::var("LARDER_TEST_STOPS").map_or(60, |count| count.parse().expect("a number"));
    // Where no other test connects from or listens.
    let [_, _, high, low] = std::process::id().to_be_bytes();
    let host = format!("127.77.{high}.{low}");
    let mut port = "-1".to_owned();
    let value = "v".repeat(20_000);
    let large = format!("VALUE large 0 20000\r\n{value}\r\nVALUE k 0 1\r\nx\r\nEND\r\n");
    let mut answered = 0;
    for round in 1..=round_count {
        let drain_timeout = format!("drain_timeout={LOADED_DRAIN_TIMEOUT_S}");
        let mut command = Command::new(LARDER);
        command.args(["-t", "2", "-l", &host, "-p", &port, "-o", &drain_timeout]);
        let mut server = Server::start_command(command);
        port = server.address().port().to_string();
        let addr = (host.as_str(), server.address().port());
        let connect = || TcpStream::connect(addr).expect("it listens");
        Client::over(connect()).ask(
            format!("set k 0 0 1\r\nx\r\nset large 0 0 20000\r\n{value}\r\n"),
            "STORED\r\nSTORED\r\n",
        );
        let streams: Vec<_> = (0..LOAD_CLIENT_COUNT).map(|_| connect()).collect();
        std::thread::scope(|scope| {
            let clients: Vec<_> = streams
                .iter()
                .zip(1..)
                .map(|(stream, number)| {
                    let random = Random::from(round << 8 | number);
                    scope.spawn(|| ask_until_closed(stream, random, &large))
                })
                .collect();
            // The moment, not a wait for something.
            std::thread::sleep(Duration::from_micros(Random::from(round).below(15_000).into()));
            server.signal(Signal::SIGTERM);
            let status = server.wait_for(Duration::from_secs(2 * LOADED_DRAIN_TIMEOUT_S));
            assert_eq!(status.code(), Some(0), "{status}, round {round}: {}", server.stderr());
            assert!(!server.stderr().contains("WARN"), "round {round}: {}", server.stderr());
            for client in clients {
                answered += client.join().unwrap_or_else(|_| panic!("in round {round}"));
            }
        });
        drop(TcpListener::bind(addr).expect("the port is free again"));
    }
    assert!(answered > 0, "there was a load");
}
