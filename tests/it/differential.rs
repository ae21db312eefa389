//! Larder and Debian's memcached 1.6.18 side by side, on sessions at random: the same requests, the same replies, byte
//! for byte, and the same counters. Classic and meta commands share connections, and these and the binary protocol keys.
//! What may differ is listed in `differential/wanted.rs` and `differential/wanted/`, and nothing else may.
//!
//! The seed is fixed. `LARDER_DIFFERENTIAL=COMMANDS[,SEED]` plays so many commands of another one; best with `--release`.

mod base64;
mod frame;
mod generate;
mod pair;
mod reply;
mod side;
mod unit;
mod wanted;

use crate::{LARDER, skipped};
use generate::session;
use pair::Pair;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};
use std::cell::RefCell;
use std::path::Path;
use std::process::Command;
use std::time::Instant;
use wanted::reasons;

/// Commands that a plain run plays.
const COMMAND_COUNT: u64 = 60_000;
const SEED: u64 = 20_261_121;
/// So many sessions are one run of the generator, between looks at how many commands that were.
const SESSION_COUNT: u32 = 100;
const SHRINK_COUNT_MAX: u32 = 2048;

/// memcached, where it is of the release that the differences are known of.
fn memcached() -> Option<&'static Path> {
    let path = Path::new("memcached");
    let output = Command::new(path).arg("-V").output().ok()?;
    (output.stdout == b"memcached 1.6.18\n").then_some(path)
}

/// How many commands, and the seed.
fn wanted_run() -> (u64, u64) {
    let Ok(wanted) = std::env::var("LARDER_DIFFERENTIAL") else {
        return (COMMAND_COUNT, SEED);
    };
    let mut numbers = wanted
        .split(',')
        .map(|number| number.parse().expect("LARDER_DIFFERENTIAL=COMMANDS[,SEED]"));
    (numbers.next().unwrap_or(COMMAND_COUNT), numbers.next().unwrap_or(SEED))
}

#[test]
fn sessions_are_answered_as_by_memcached() {
    let Some(memcached) = memcached() else {
        return skipped("the differential test needs memcached 1.6.18 on the PATH");
    };
    let (command_count, seed) = wanted_run();
    let config = Config {
        cases: SESSION_COUNT,
        failure_persistence: None,
        max_shrink_iters: SHRINK_COUNT_MAX,
        ..Config::default()
    };
    let pair = RefCell::new(Pair::start(Path::new(LARDER), memcached));
    let sessions = session();
    let started = Instant::now();
    for run in 0_u64.. {
        if pair.borrow().request_count >= command_count {
            break;
        }
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        bytes[8..16].copy_from_slice(&run.to_le_bytes());
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
        let mut runner = TestRunner::new_with_rng(config.clone(), rng);
        let outcome = runner
            .run(&sessions, |turns| pair.borrow_mut().play(&turns).map_err(TestCaseError::fail));
        if let Err(TestError::Fail(reason, turns)) = &outcome {
            panic!("{}\n{turns:#?}", reason.message());
        }
        outcome.expect("sessions are not given up");
    }
    let pair = pair.borrow();
    println!(
        "{} commands, {} of them binary, seed {seed}, {:.1} s",
        pair.request_count,
        pair.frame_count,
        started.elapsed().as_secs_f64()
    );
    for (reason, count) in reasons().zip(&pair.wanted_counts) {
        println!("{count:9}  {reason}");
        assert!(*count > 0, "a difference that never shows: {reason}");
    }
}
