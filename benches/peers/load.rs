//! The load: threads, one for each of its processors, and what each does with its connections.
//!
//! A closed loop sends the next batch of a connection when all replies to the last one are there. An open loop
//! sends each request at its time, whether or not the server keeps up; see [`crate::open`].

use std::thread;
use std::time::{Duration, Instant};

use crate::connection::{Connection, Route, Tools, no_events};
use crate::cpus::Cpus;
use crate::draws::{Draws, Walk};
use crate::open;
use crate::process::Outcome;
use crate::servers::Pinned;
use crate::window::{Follower, Leader, Phase, Tally, Window};
use crate::wire::Wire;

/// The longest that a thread does not look at the time.
const WAIT_MS: u16 = 20;

/// What is sent, and how.
pub(crate) struct Load<'a> {
    pub(crate) wire: &'a Wire,
    pub(crate) draws: &'a Draws,
    pub(crate) connections: usize,
    pub(crate) pace: Pace,
}

/// When a request is sent.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Pace {
    /// All keys once, in batches of `depth`.
    Once { depth: usize },
    /// `depth` requests when the last ones are answered.
    Closed { depth: usize, reconnect_every: Option<usize> },
    /// So many a second, whatever the server does.
    Open { requests_per_s: f64 },
}

/// What a run came to.
pub(crate) struct Measured {
    pub(crate) tally: Tally,
    pub(crate) window: Window,
}

impl Load<'_> {
    /// Sends all keys once.
    pub(crate) fn run_once(&self, server: &Pinned) -> Outcome<()> {
        self.run(server, None).map(|_| ())
    }

    /// Counts for so long, after a warm-up.
    pub(crate) fn measure(
        &self,
        server: &Pinned,
        warm_up: Duration,
        time: Duration,
    ) -> Outcome<Measured> {
        let (tally, window) = self.run(server, Some(Leader::new(server, warm_up, time)))?;
        let window = window.ok_or("the load ended before its time")?;
        Ok(Measured { tally, window })
    }

    fn run<'a>(
        &self,
        server: &'a Pinned,
        leader: Option<Leader<'a>>,
    ) -> Outcome<(Tally, Option<Window>)> {
        let count = server.load_cpus.0.len().min(self.connections);
        let phase = Phase::default();
        let worker = |index: usize, leader: Option<Leader<'_>>| {
            let outcome = self.run_thread(server, index, count, Follower::new(&phase, leader));
            if outcome.is_err() {
                phase.end();
            }
            // An error must become text to leave its thread.
            outcome.map_err(|error| error.to_string())
        };
        let outcomes: Vec<_> = thread::scope(|scope| {
            let (worker, mut leader) = (&worker, leader);
            let threads: Vec<_> = (0..count)
                .map(|index| {
                    let leader = leader.take();
                    scope.spawn(move || worker(index, leader))
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
        });
        let (mut sum, mut window) = (Tally::new(), None);
        for outcome in outcomes {
            let (tally, of_leader) = outcome?;
            sum.add(&tally);
            window = window.or(of_leader);
        }
        Ok((sum, window))
    }

    /// Thread `index` of `count` has every `count`th connection.
    fn run_thread(
        &self,
        server: &Pinned,
        index: usize,
        count: usize,
        mut follower: Follower<'_>,
    ) -> Outcome<(Tally, Option<Window>)> {
        Cpus(vec![server.load_cpus.0[index]]).pin()?;
        let mut tools = Tools::new(self.wire)?;
        let mut connections = Vec::new();
        for number in (index..self.connections).step_by(count) {
            let walk = match self.pace {
                Pace::Once { .. } => Walk::part(self.draws, number, self.connections),
                Pace::Closed { .. } | Pace::Open { .. } => {
                    Walk::endless(self.draws, number, self.connections)
                }
            };
            let route = Route::new(number, server.server.port());
            connections.push(Connection::open(&tools, route, connections.len(), walk)?);
        }
        let mut tally = Tally::new();
        let (depth, reconnect_every) = match self.pace {
            Pace::Once { depth } => (depth, None),
            Pace::Closed { depth, reconnect_every } => (depth, reconnect_every),
            Pace::Open { requests_per_s } => {
                let rate = requests_per_s / count as f64;
                open::run(&mut tools, &mut connections, rate, &mut follower, &mut tally)?;
                return Ok((tally, follower.leader.and_then(|leader| leader.window)));
            }
        };
        let (tools, connections) = (&mut tools, &mut connections);
        closed(tools, connections, depth, reconnect_every, &mut follower, &mut tally)?;
        Ok((tally, follower.leader.and_then(|leader| leader.window)))
    }
}

/// Until it is over, or no connection has anything left to send.
fn closed(
    tools: &mut Tools,
    connections: &mut [Connection<'_>],
    depth: usize,
    reconnect_every: Option<usize>,
    follower: &mut Follower<'_>,
    tally: &mut Tally,
) -> Outcome<()> {
    let mut events = no_events();
    let mut busy_count = 0;
    for connection in &mut *connections {
        connection.since = Instant::now();
        busy_count += usize::from(connection.send(tools, depth)?);
    }
    while busy_count > 0 && follower.turn(tally)? {
        for index in tools.wait(&mut events, WAIT_MS.into())? {
            let connection = &mut connections[index];
            if !connection.advance(tools, tally)? {
                continue;
            }
            if reconnect_every.is_some_and(|every| connection.sent_count >= every) {
                connection.reopen(tools)?;
            }
            busy_count -= usize::from(!connection.send(tools, depth)?);
        }
    }
    Ok(())
}
