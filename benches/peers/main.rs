//! Larder, memcached and a bare tokio server under the same load.
//!
//! ```text
//! cargo bench --bench peers
//! cargo bench --bench peers -- get-50 set-50x32 idle --rounds 3 --seconds 1 --only larder,memcached
//! cargo bench --bench peers -- --json peers.json --chart peers.svg
//! ```
//!
//! `-- --help` lists the options, `-- --list` the rows. All rows by default take about 40 minutes and 1 GB of memory.
//! Linux only.
//!
//! For each row, round and server, a fresh server is started on the processors of `--server-cpus` with one worker for
//! each, filled with `--keys` keys of 20 bytes and values of 100 (where a row does not say otherwise), and asked
//! from the other processors, one thread each. A quarter of the time before the measurement is warm-up. Servers
//! alternate within a round, and rounds in their order. Keys are drawn by Zipf's law (0.99) unless `all keys alike`
//! is said. A row without a word about pipelining has one request of each connection at a time. The columns, medians
//! over the rounds:
//!
//! * `requests/s`, `keys/s`: answered; they differ where a request has many keys;
//! * `p50`, `p99`, `p99.9`: time from sending to the answer; of a pipelined batch, for every request from when the
//!   batch was sent; where connections are opened anew, that is a part of it; in an open loop, from when it was due;
//! * `CPU`, `user`, `system`: processor time of the server's process by key, from the system's accounting;
//! * `busy`: how much of its processors the server used. Well below 100 (but in open loops), the load was the
//!   limit: then requests/s say nothing, and CPU per key only nearly the same as under full load;
//! * `others`: how much of these processors other programs used, or the host of a virtual machine took. It should be
//!   near 0: nothing else is to run;
//! * `miss`: of the keys that were asked for, where a server must evict; elsewhere a miss ends the run;
//! * `RSS`: memory of the process at the end of the run;
//! * `spread`: between the lowest and highest CPU per key of the rounds, by the median.
//!
//! Ratios are medians of those of each round. Below the table stands what rows say next to each other.
//!
//! What it does not tell: the load and the server are one machine, so there is no network, and what the kernel does
//! for the one may be booked to the other. With two processors, the second of two workers shares that of the
//! load. memcached has threads besides its workers, which use the same processors here, as they do on a server.

#![expect(clippy::cast_precision_loss, reason = "counts and times are far below 2^52")]

mod bare;
mod chart;
mod connection;
mod cpus;
mod draws;
mod idle;
mod load;
mod measure;
mod open;
#[path = "../servers/process.rs"]
mod process;
mod report;
mod results;
mod rows;
mod servers;
mod window;
mod wire;

use std::cell::RefCell;
use std::collections::HashMap;
use std::env;
use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use clap::Parser;
use measure::{Bench, Round};
use process::Outcome;
use results::{Results, RowResult, Runs};
use rows::Row;
use servers::{ServerOptions, Servers};
use tokio::signal::unix::{SignalKind, signal};

/// Measures Larder, memcached and a bare tokio server under the same load.
#[derive(Debug, Parser)]
struct Options {
    /// Names of rows, or what names begin with; all when there is none
    #[arg(value_name = "ROW")]
    rows: Vec<String>,

    /// List the rows, and measure nothing
    #[arg(long)]
    list: bool,

    /// How often each row is measured on each server
    #[arg(long, value_name = "COUNT", default_value_t = 5)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=99))]
    rounds: u32,

    /// How long a measurement takes, in seconds
    #[arg(long, value_name = "S", default_value_t = 2.0, value_parser = parse_seconds)]
    seconds: f64,

    /// How many keys are stored, where values are small
    #[arg(long, value_name = "COUNT", default_value_t = 1_000_000)]
    #[arg(value_parser = clap::value_parser!(u32).range(1000..=50_000_000))]
    keys: u32,

    /// How many connections wait in the row idle-connections
    #[arg(long, value_name = "COUNT", default_value_t = 9000)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=25_000))]
    idle_connections: u32,

    /// Requests a second in open loops, instead of half of memcached's peak
    #[arg(long, value_name = "COUNT", value_parser = parse_seconds)]
    rate: Option<f64>,

    /// Write the results to a file, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,

    /// Draw a chart of them, as SVG
    #[arg(long, value_name = "FILE")]
    chart: Option<PathBuf>,

    /// Measure nothing: show, and draw, what --json wrote
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,

    #[command(flatten)]
    servers: ServerOptions,

    /// Be the bare server, with values of this length.
    #[arg(long, hide = true)]
    bare_value_len: Option<usize>,

    #[arg(long, hide = true, default_value_t = 1)]
    bare_workers: usize,

    /// Cargo says it to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

fn parse_seconds(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(number) if (0.01..=1e9).contains(&number) => Ok(number),
        Ok(_) | Err(_) => Err("not a number from 0.01 up".to_owned()),
    }
}

fn main() -> ExitCode {
    match run(Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("peers: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: Options) -> Outcome<()> {
    if let Some(value_len) = options.bare_value_len {
        return bare::serve(value_len, options.bare_workers);
    }
    if options.list {
        for row in rows::ROWS {
            println!("{:<20} {}", row.name, row.about);
        }
        return Ok(());
    }
    let (json, chart) = (options.json.clone(), options.chart.clone());
    let results = match &options.from {
        Some(path) => {
            let results = Results::read(path)?;
            print_start(&results);
            results.rows.iter().for_each(report::print_row);
            results
        }
        None => measure(options)?,
    };
    report::print_comparisons(&results);
    if let Some(path) = json {
        results.write(&path)?;
    }
    if let Some(path) = chart {
        chart::write(&results, &path)?;
    }
    Ok(())
}

fn measure(options: Options) -> Outcome<Results> {
    let rows = rows::chosen(&options.rows)?;
    catch_signals()?;
    let wanted = usize::try_from(options.idle_connections)?;
    let idle_connections = idle::connections_possible(wanted)?;
    if idle_connections < wanted {
        eprintln!(
            "only {idle_connections} idle connections: the limit on open files allows no more"
        );
    }
    let bench = Bench {
        servers: Servers::new(options.servers)?,
        keys: options.keys,
        time: Duration::from_secs_f64(options.seconds),
        idle_connections,
        rate: options.rate,
        rates: RefCell::new(HashMap::new()),
    };
    let (server_cpus, load_cpus) = bench.servers.cpus(None);
    if server_cpus == load_cpus {
        eprintln!(
            "there is one processor for servers and load: nothing here says how fast a server is"
        );
    }
    let mut results = Results {
        date: results::today()?,
        machine: cpus::machine(),
        command: env::args().skip(1).filter(|arg| arg != "--bench").collect::<Vec<_>>().join(" "),
        versions: bench.servers.versions()?,
        keys: options.keys,
        rounds: options.rounds,
        seconds: options.seconds,
        rows: Vec::new(),
    };
    print_start(&results);
    println!("servers on processors {server_cpus}, load on {load_cpus}");
    report::print_head();
    for (index, row) in rows.iter().enumerate() {
        let label = format!("[{}/{}] {}", index + 1, rows.len(), row.name);
        let result = measure_row(&bench, row, options.rounds, &label)
            .map_err(|error| format!("{}: {error}", row.name))?;
        report::print_row(&result);
        results.rows.push(result);
    }
    Ok(results)
}

fn print_start(results: &Results) {
    let Results { date, machine, versions, keys, rounds, seconds, .. } = results;
    let versions = versions.join(" and ");
    println!("{versions}; {machine}; {date}");
    println!("{keys} keys of 20 bytes, {rounds} rounds of {seconds} s");
}

/// All rounds on all servers, every other round in the opposite order.
fn measure_row(bench: &Bench, row: &Row, rounds: u32, label: &str) -> Outcome<RowResult> {
    let draws = bench.draws(row);
    let mut servers: Vec<Runs> = bench
        .servers
        .peers()
        .into_iter()
        .map(|server| Runs { server, rounds: Vec::new(), skipped: None })
        .collect();
    for round in 1..=rounds {
        for runs in &mut servers {
            if runs.skipped.is_some() {
                continue;
            }
            let name = runs.server.name();
            let label = format!("{label}, round {round} of {rounds}, {name}");
            if io::stderr().is_terminal() {
                eprint!("\r\x1b[2K{label} ...\r");
            }
            match bench.round(row, draws.as_ref(), runs.server) {
                Ok(Round::Measured(run)) => runs.rounds.push(run),
                Ok(Round::Skipped(reason)) => {
                    runs.skipped = Some(reason);
                    continue;
                }
                Err(error) => return Err(format!("{name}: {error}").into()),
            }
            let clear_line = if io::stderr().is_terminal() { "\x1b[2K" } else { "" };
            eprintln!("{clear_line}{label}: {}", report::in_short(runs)?);
        }
        servers.reverse();
    }
    servers.sort_by_key(|runs| runs.server);
    Ok(RowResult { row: row.name.to_owned(), about: row.about.to_owned(), servers })
}

/// A signal ends what is measured as an error does, and so the servers.
fn catch_signals() -> Outcome<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut interrupt, mut terminate) = {
        let _entered = runtime.enter();
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
    };
    thread::spawn(move || {
        runtime.block_on(async {
            tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
        });
        window::interrupt();
    });
    Ok(())
}
