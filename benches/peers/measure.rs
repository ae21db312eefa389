//! One round of one row on one server: a fresh process, its data, a warm-up, the run.

use std::cell::RefCell;
use std::collections::HashMap;
use std::time::Duration;

use crate::draws::{Draws, Popularity};
use crate::idle;
use crate::load::{Load, Measured, Pace};
use crate::process::Outcome;
use crate::results::{Measure, Run};
use crate::rows::{Kind, Row, Shape};
use crate::servers::{Peer, Pinned, Servers, Setup};
use crate::wire::{Read, Wire};

/// No row stores more bytes of values than this, except where it must evict.
pub(crate) const VALUES_BYTES_MAX: usize = 256 << 20;
const MEMORY_MB: u64 = 1024;
const EVICTING_MEMORY_MB: u64 = 64;
const FILL_CONNECTIONS: usize = 8;
const MB: f64 = (1 << 20) as f64;

/// What all measurements share.
pub(crate) struct Bench {
    pub(crate) servers: Servers,
    pub(crate) keys: u32,
    pub(crate) time: Duration,
    pub(crate) idle_connections: usize,
    /// For open loops, instead of half of memcached's peak.
    pub(crate) rate: Option<f64>,
    /// Half of memcached's peak, by row.
    pub(crate) rates: RefCell<HashMap<&'static str, f64>>,
}

/// What one round came to.
pub(crate) enum Round {
    Measured(Run),
    /// The server cannot do it, for this reason.
    Skipped(String),
}

impl Bench {
    /// The keys of a row, which all rounds share.
    pub(crate) fn draws(&self, row: &Row) -> Option<Draws> {
        match row.kind {
            Kind::Load(shape) => {
                Some(Draws::new(shape.popularity, self.key_count(&shape), shape.set_percent))
            }
            Kind::IdleConnections | Kind::Idle => None,
        }
    }

    /// One round; `draws` are those of the row.
    pub(crate) fn round(&self, row: &Row, draws: Option<&Draws>, peer: Peer) -> Outcome<Round> {
        match (row.kind, draws) {
            (Kind::Load(shape), Some(draws)) => self.load_round(row, &shape, draws, peer),
            (Kind::IdleConnections, _) => {
                idle::connections(&self.servers, self.idle_connections, peer).map(Round::Measured)
            }
            (Kind::Idle | Kind::Load(_), _) => {
                idle::server(&self.servers, self.time, peer).map(Round::Measured)
            }
        }
    }

    fn load_round(&self, row: &Row, shape: &Shape, draws: &Draws, peer: Peer) -> Outcome<Round> {
        let mut pace = Pace::Closed { depth: shape.depth, reconnect_every: shape.reconnect_every };
        if shape.is_open_loop {
            match self.open_rate(row, shape, draws)? {
                Some(requests_per_s) => pace = Pace::Open { requests_per_s },
                None => {
                    return Ok(Round::Skipped(
                        "half of memcached's peak is not known without memcached: say --rate"
                            .to_owned(),
                    ));
                }
            }
        }
        let server = self.start(shape, peer)?;
        if shape.read == Read::Meta {
            let answer = server.ask("mn\r\n")?;
            if answer != "MN" {
                return Ok(Round::Skipped(format!("it answers mn with {answer:?}")));
            }
        }
        let measured = self.load(shape, draws, &server, pace)?;
        let mut run = figures(&measured, &server)?;
        if let Pace::Open { requests_per_s } = pace {
            run.insert(Measure::OfferedPerS, requests_per_s);
        }
        Ok(Round::Measured(run))
    }

    /// Half of what memcached reaches with the same load when it is closed.
    fn open_rate(&self, row: &Row, shape: &Shape, draws: &Draws) -> Outcome<Option<f64>> {
        if self.rate.is_some() {
            return Ok(self.rate);
        }
        if let Some(rate) = self.rates.borrow().get(row.name) {
            return Ok(Some(*rate));
        }
        if !self.servers.peers().contains(&Peer::Memcached) {
            return Ok(None);
        }
        let server = self.start(shape, Peer::Memcached)?;
        let pace = Pace::Closed { depth: shape.depth, reconnect_every: None };
        let peak = self.load(shape, draws, &server, pace)?;
        let rate = peak.tally.requests as f64 / peak.window.elapsed_s / 2.0;
        self.rates.borrow_mut().insert(row.name, rate);
        Ok(Some(rate))
    }

    fn start(&self, shape: &Shape, peer: Peer) -> Outcome<Pinned> {
        // With what an item costs at most besides its value, and room beyond, so that nothing is evicted.
        let needed_mb = (u64::from(self.key_count(shape)) * (shape.value_len as u64 + 200)) >> 19;
        let setup = Setup {
            memory_mb: if shape.evicts { EVICTING_MEMORY_MB } else { MEMORY_MB.max(needed_mb) },
            workers: shape.workers,
            connections_max: None,
            requests_per_turn: shape.requests_per_turn,
            value_len: shape.value_len,
        };
        self.servers.start(peer, &setup)
    }

    /// Fills the server, and measures.
    fn load(&self, shape: &Shape, draws: &Draws, server: &Pinned, pace: Pace) -> Outcome<Measured> {
        let keeps_values = server.peer != Peer::Bare;
        let wire = Wire::new(shape.read, shape.value_len, shape.evicts, keeps_values);
        if keeps_values {
            let depth = if shape.value_len > 8 << 10 { 1 } else { 32 };
            let draws = &Draws::fill(self.key_count(shape));
            let pace = Pace::Once { depth };
            let wire = Wire::new(Read::Get(1), shape.value_len, false, true);
            Load { wire: &wire, draws, connections: FILL_CONNECTIONS, pace }.run_once(server)?;
        }
        let load = Load { wire: &wire, draws, connections: shape.connections, pace };
        load.measure(server, self.time / 4, self.time)
    }

    fn key_count(&self, shape: &Shape) -> u32 {
        let most = u32::try_from(VALUES_BYTES_MAX / shape.value_len).unwrap_or(u32::MAX);
        match shape.popularity {
            Popularity::OneKey => 1,
            Popularity::New => self.keys,
            Popularity::Zipf | Popularity::Uniform => self.keys.min(most),
        }
    }
}

fn figures(measured: &Measured, server: &Pinned) -> Outcome<Run> {
    let Measured { tally, window } = measured;
    if tally.requests == 0 {
        return Err("no request was answered in the whole run".into());
    }
    let (keys, cpu_s) = (tally.keys as f64, window.used.total_s());
    let of_cpus = |time_s| 100.0 * time_s / window.elapsed_s / server.cpus.0.len() as f64;
    let quantile_us = |quantile| tally.latency.value_at_quantile(quantile) as f64 / 1000.0;
    Ok(Run::from([
        (Measure::RequestsPerS, tally.requests as f64 / window.elapsed_s),
        (Measure::KeysPerS, keys / window.elapsed_s),
        (Measure::P50Us, quantile_us(0.5)),
        (Measure::P99Us, quantile_us(0.99)),
        (Measure::P999Us, quantile_us(0.999)),
        (Measure::CpuUsPerKey, cpu_s * 1e6 / keys),
        (Measure::UserUsPerKey, window.used.user * 1e6 / keys),
        (Measure::SystemUsPerKey, window.used.system * 1e6 / keys),
        (Measure::BusyPercent, of_cpus(cpu_s)),
        (Measure::OthersPercent, of_cpus(window.used.others)),
        (Measure::MissPercent, 100.0 * tally.misses as f64 / keys),
        (Measure::RssMb, server.server.rss_bytes()? as f64 / MB),
    ]))
}
