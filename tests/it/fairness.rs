//! Who asks for much, and who asks for little at the same time.

use crate::client::Client;
use crate::{larder, wait_until};
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// Small requests that must be answered while the large ones go on.
const SMALL_COUNT: usize = 300;

/// Says that it is over when it is dropped, also by a test that fails.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

/// As much at most is sent to one client between two turns of another, in bytes: a few turns of 256 KiB.
const SENT_LEN_MAX: u64 = 2 << 20;

fn sent_len(stats: &[String]) -> u64 {
    let line = stats.iter().find_map(|line| line.strip_prefix("STAT bytes_written "));
    line.expect("a counter").parse().expect("a number")
}

#[test]
fn small_gets_come_in_between_those_of_ten_thousand_keys() {
    const KEY_COUNT: usize = 10_000;
    let server = larder(&["-t", "1", "-R", "1"]);
    let mut small = Client::connect(&server);
    let (mut get, mut reply) = ("get".to_owned(), String::new());
    for number in 0..KEY_COUNT {
        let value = format!("{number:01000}");
        small.ask(format!("set k{number} 0 0 1000\r\n{value}\r\n"), "STORED\r\n");
        get.extend([" k", &number.to_string()]);
        reply.extend(["VALUE k", &number.to_string(), " 0 1000\r\n", &value, "\r\n"]);
    }
    // A turn ends after so many bytes or, behind the get, after so many requests.
    get += "\r\nversion\r\nversion\r\n";
    reply += "END\r\nVERSION 1.6.45\r\nVERSION 1.6.45\r\n";
    let yields = small.stat("conn_yields");
    let mut large = Client::connect(&server);
    let mut writer = large.stream().try_clone().expect("a socket");
    let is_over = AtomicBool::new(false);
    let round_count = std::thread::scope(|scope| {
        let over = Over(&is_over);
        // So much is always asked in advance that there is never a pause.
        let asked = scope.spawn(|| {
            let mut count = 0;
            // Once at least, also where the small ones are over before this begins.
            while count == 0 || !is_over.load(Relaxed) {
                writer.write_all(get.as_bytes()).expect("the server takes what is sent");
                count += 1;
            }
            writer.shutdown(std::net::Shutdown::Write).expect("it is open");
            count
        });
        let answered = scope.spawn(|| {
            large.ask("", &reply);
            let mut count = 1;
            while large.is_more() {
                large.ask("", &reply);
                count += 1;
            }
            count
        });
        for number in (0..KEY_COUNT).step_by(KEY_COUNT / SMALL_COUNT) {
            small.ask(
                format!("get k{number}\r\n"),
                &format!("VALUE k{number} 0 1000\r\n{number:01000}\r\nEND\r\n"),
            );
        }
        wait_until("both are in the middle of their requests", || {
            // A turn each, by the server's own account: what it has sent between two of them went to the other.
            small.send("stats\r\n".repeat(10));
            let sent: Vec<u64> = (0..10).map(|_| sent_len(&small.lines(""))).collect();
            let turns: Vec<u64> = sent.windows(2).map(|pair| pair[1] - pair[0]).collect();
            assert!(turns.iter().all(|len| *len < SENT_LEN_MAX), "{turns:?}");
            turns.iter().filter(|len| **len > SENT_LEN_MAX / 16).count() > 1
        });
        drop(over);
        let asked: usize = asked.join().expect("all was taken");
        assert_eq!(asked, answered.join().expect("all was answered"));
        asked
    });
    assert!(small.stat("conn_yields") > yields, "in {round_count} rounds");
}

/// Bytes that tell where they stand, and in which value.
fn large_value(seed: u64, len: usize) -> Vec<u8> {
    let words = (0..len.div_ceil(8) as u64)
        .map(|index| (index << 8 | seed).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    let mut value: Vec<u8> = words.flat_map(u64::to_le_bytes).collect();
    value.truncate(len);
    value
}

#[test]
fn sixty_four_megabytes_and_small_gets_do_not_mix() {
    const LEN: usize = 64 << 20;
    let server = larder(&["-t", "1", "-I", "128m", "-m", "1024"]);
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let _over = Over(&is_over);
            let mut large = Client::connect(&server);
            for round in 0..3 {
                let value = large_value(round, LEN);
                large.send(format!("set large 0 0 {LEN}\r\n"));
                large.send(&value);
                large.ask("\r\nget large\r\n", &format!("STORED\r\nVALUE large 0 {LEN}\r\n"));
                assert!(large.bytes(LEN) == value, "other bytes in round {round}");
                large.ask("", "\r\nEND\r\n");
            }
        });
        let mut small = Client::connect(&server);
        let mut count = 0;
        while count < SMALL_COUNT || !is_over.load(Relaxed) {
            let value = format!("value-{count:08}");
            small.ask(
                format!("set small 0 0 14\r\n{value}\r\nget small\r\n"),
                &format!("STORED\r\nVALUE small 0 14\r\n{value}\r\nEND\r\n"),
            );
            count += 1;
        }
    });
}
