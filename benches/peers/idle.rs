//! What nothing costs: connections that wait, and a server that nobody speaks to.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::process::Outcome;
use crate::results::{Measure, Run};
use crate::servers::{Peer, Pinned, Servers, Setup};
use crate::window::{check_interrupt, sleep};

/// Of this program's files, those that are no connections.
const OTHER_FILES: u64 = 200;
/// Until a server has done what it does after a request.
const SETTLE_TIME: Duration = Duration::from_secs(1);
const START_COUNT: usize = 5;
const SETUP: Setup = Setup {
    memory_mb: 64,
    workers: None,
    connections_max: None,
    requests_per_turn: None,
    value_len: 100,
};

/// Raises the limit on files as far as it goes, and says for how many connections that is enough.
pub(crate) fn connections_possible(wanted: usize) -> Outcome<usize> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    let possible = usize::try_from(hard.saturating_sub(OTHER_FILES)).unwrap_or(usize::MAX);
    Ok(wanted.min(possible))
}

/// Memory of the process by connection, each of which has asked once.
pub(crate) fn connections(servers: &Servers, count: usize, peer: Peer) -> Outcome<Run> {
    let setup = Setup { connections_max: Some(count + 100), ..SETUP };
    let server = servers.start(peer, &setup)?;
    let first = asking(&server)?;
    sleep(SETTLE_TIME)?;
    let before = server.server.rss_bytes()?;
    let mut waiting = Vec::with_capacity(count);
    for _ in 0..count {
        check_interrupt()?;
        waiting.push(asking(&server)?);
    }
    sleep(SETTLE_TIME)?;
    let added = server.server.rss_bytes()?.saturating_sub(before);
    drop((first, waiting));
    Ok(Run::from([
        (Measure::IdleConnections, count as f64),
        (Measure::ConnectionBytes, added as f64 / count as f64),
    ]))
}

/// A connection that got an answer.
fn asking(server: &Pinned) -> Outcome<TcpStream> {
    let mut stream = server.connect()?;
    stream.write_all(b"get key:0000000000000001\r\n")?;
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    while line != "END\r\n" {
        line.clear();
        if reader.read_line(&mut line)? == 0 {
            return Err("the server closed a connection".into());
        }
    }
    Ok(reader.into_inner())
}

/// Time from the start of a process to its first answer, and what it uses when left alone.
pub(crate) fn server(servers: &Servers, time: Duration, peer: Peer) -> Outcome<Run> {
    let mut ready_ms = Vec::new();
    let mut last = None;
    for _ in 0..START_COUNT {
        check_interrupt()?;
        drop(last.take());
        let start = Instant::now();
        let server = servers.start(peer, &SETUP)?;
        drop(asking(&server)?);
        ready_ms.push(start.elapsed().as_secs_f64() * 1e3);
        last = Some(server);
    }
    ready_ms.sort_by(f64::total_cmp);
    let server = last.ok_or("no server was started")?;
    sleep(SETTLE_TIME)?;
    let (start, before) = (Instant::now(), server.cpu_time()?);
    // What it does, it does now and then.
    sleep(time.max(Duration::from_secs(5)))?;
    let used = server.cpu_time()?.since(&before);
    let percent = 100.0 * used.total_s() / start.elapsed().as_secs_f64();
    Ok(Run::from([
        (Measure::ReadyMs, ready_ms[ready_ms.len() / 2]),
        (Measure::IdleCpuPercent, percent),
        (Measure::RssMb, server.server.rss_bytes()? as f64 / f64::from(1 << 20)),
    ]))
}
