//! When a run counts: after the warm-up, for the same time on all threads of the load.
//!
//! INVARIANT: what is counted and the processor time of the server are of the same window, up to one turn of the
//! event loop.

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::process::Outcome;
use crate::servers::{CpuTime, CpuUse, Pinned};

static INTERRUPTED: AtomicBool = AtomicBool::new(false);
const SLEEP: Duration = Duration::from_millis(50);

/// Ends all that is being measured.
pub(crate) fn interrupt() {
    INTERRUPTED.store(true, Ordering::Relaxed);
}

/// An error once somebody wants the program to end.
pub(crate) fn check_interrupt() -> Outcome<()> {
    if INTERRUPTED.load(Ordering::Relaxed) { Err("interrupted".into()) } else { Ok(()) }
}

/// Waits, unless it is interrupted.
pub(crate) fn sleep(time: Duration) -> Outcome<()> {
    let end = Instant::now() + time;
    while Instant::now() < end {
        check_interrupt()?;
        thread::sleep(SLEEP.min(end.saturating_duration_since(Instant::now())));
    }
    check_interrupt()
}

/// What a thread of the load has counted.
pub(crate) struct Tally {
    pub(crate) requests: u64,
    pub(crate) keys: u64,
    pub(crate) misses: u64,
    /// In ns.
    pub(crate) latency: Histogram<u64>,
}

impl Tally {
    pub(crate) fn new() -> Self {
        let latency = Histogram::new_with_bounds(100, 100_000_000_000, 3)
            .expect("bounds that a histogram can have");
        Self { requests: 0, keys: 0, misses: 0, latency }
    }

    fn clear(&mut self) {
        (self.requests, self.keys, self.misses) = (0, 0, 0);
        self.latency.reset();
    }

    /// Counts requests that were answered after so long.
    pub(crate) fn record(&mut self, requests: u64, latency: Duration) {
        if requests > 0 {
            self.requests += requests;
            self.record_latency(requests, latency);
        }
    }

    /// Of requests, answered or not.
    pub(crate) fn record_latency(&mut self, requests: u64, latency: Duration) {
        let ns = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        self.latency.saturating_record_n(ns, requests);
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        self.keys += other.keys;
        self.misses += other.misses;
        self.latency.add(&other.latency).expect("all histograms have the same bounds");
    }
}

/// What happens to what the threads count.
const WARM_UP: u8 = 0;
const COUNT: u8 = 1;
const OVER: u8 = 2;

/// The phase of a run, which all its threads see.
#[derive(Default)]
pub(crate) struct Phase(AtomicU8);

impl Phase {
    pub(crate) fn end(&self) {
        self.0.store(OVER, Ordering::Relaxed);
    }
}

/// The window of time that counts, and what the server used in it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window {
    pub(crate) elapsed_s: f64,
    pub(crate) used: CpuUse,
}

/// The thread that says when the phase changes.
pub(crate) struct Leader<'a> {
    server: &'a Pinned,
    warm_up_end: Instant,
    time: Duration,
    start: Option<(Instant, CpuTime)>,
    pub(crate) window: Option<Window>,
}

impl<'a> Leader<'a> {
    pub(crate) fn new(server: &'a Pinned, warm_up: Duration, time: Duration) -> Self {
        Self { server, warm_up_end: Instant::now() + warm_up, time, start: None, window: None }
    }

    fn turn(&mut self, phase: &Phase) -> Outcome<()> {
        let now = Instant::now();
        match self.start {
            None if now >= self.warm_up_end => {
                self.start = Some((now, self.server.cpu_time()?));
                phase.0.store(COUNT, Ordering::Relaxed);
            }
            Some((start, before)) if now >= start + self.time => {
                let used = self.server.cpu_time()?.since(&before);
                let elapsed_s = (now - start).as_secs_f64();
                self.window = Some(Window { elapsed_s, used });
                phase.end();
            }
            None | Some(_) => {}
        }
        Ok(())
    }
}

/// A thread's view of the phase.
pub(crate) struct Follower<'a> {
    phase: &'a Phase,
    seen: u8,
    pub(crate) leader: Option<Leader<'a>>,
}

impl<'a> Follower<'a> {
    pub(crate) fn new(phase: &'a Phase, leader: Option<Leader<'a>>) -> Self {
        Self { phase, seen: WARM_UP, leader }
    }

    /// Once in every turn of the event loop; false when it is over.
    pub(crate) fn turn(&mut self, tally: &mut Tally) -> Outcome<bool> {
        check_interrupt()?;
        if let Some(leader) = &mut self.leader {
            leader.turn(self.phase)?;
        }
        let phase = self.phase.0.load(Ordering::Relaxed);
        if phase != self.seen {
            self.seen = phase;
            if phase == COUNT {
                tally.clear();
            }
        }
        Ok(phase != OVER)
    }
}
