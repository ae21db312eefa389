//! An open loop: requests come at times of their own, as from many users, and not when the server is ready.
//!
//! INVARIANT: a latency is counted from the moment at which the request was due, also when it could not be sent
//! then because every connection was waiting: a server that stops for 100 ms delays all that came due in that time,
//! and a load that waits with it would see one slow request (coordinated omission).

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use nix::sys::epoll::EpollTimeout;

use crate::connection::{Connection, Tools, no_events};
use crate::draws::unit;
use crate::process::Outcome;
use crate::window::{Follower, Tally};

/// The times at which requests are due: independent of each other, so that the pauses are exponential.
struct Schedule {
    next: Instant,
    number: u64,
    pause_s: f64,
}

impl Schedule {
    fn advance(&mut self) {
        self.number += 1;
        self.next += Duration::from_secs_f64(-(1.0 - unit(self.number)).ln() * self.pause_s);
    }
}

/// Until it is over. The thread never sleeps: it would wake up too late.
pub(crate) fn run(
    tools: &mut Tools,
    connections: &mut [Connection<'_>],
    requests_per_s: f64,
    follower: &mut Follower<'_>,
    tally: &mut Tally,
) -> Outcome<()> {
    let mut events = no_events();
    let mut schedule = Schedule { next: Instant::now(), number: 0, pause_s: 1.0 / requests_per_s };
    let mut due: VecDeque<Instant> = VecDeque::new();
    let mut free: VecDeque<usize> = (0..connections.len()).collect();
    while follower.turn(tally)? {
        let now = Instant::now();
        while schedule.next <= now {
            due.push_back(schedule.next);
            schedule.advance();
        }
        while !free.is_empty()
            && let Some(since) = due.pop_front()
            && let Some(index) = free.pop_front()
        {
            let connection = &mut connections[index];
            connection.since = since;
            connection.send(tools, 1)?;
        }
        for index in tools.wait(&mut events, EpollTimeout::ZERO)? {
            if connections[index].advance(tools, tally)? {
                free.push_back(index);
            }
        }
    }
    // What waits when it is over has waited at least so long.
    let waiting = connections.iter().filter(|connection| connection.is_waiting());
    for since in waiting.map(|connection| connection.since).chain(due) {
        tally.record_latency(1, since.elapsed());
    }
    Ok(())
}
