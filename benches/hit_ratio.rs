//! How often a cache has what is asked for: recorded requests replayed on Larder and memcached.
//!
//! ```text
//! LARDER_TRACES=traces cargo bench --bench hit_ratio
//! cargo bench --bench hit_ratio -- --workload requests.bin.zst:sizes.txt:3 --workload other.bin:sizes.txt
//! cargo bench --bench hit_ratio -- --memory-mb 256 --sizes sizes.txt requests.bin
//! ```
//!
//! `-- --help` lists the options. Files may be named as they are in the folder `LARDER_TRACES`, without `.bin.zst`
//! and without `sizes/….txt`; when that is set and no trace is named, three standard workloads run.
//!
//! A trace is 8 bytes a request, little endian: `u32` key, `u32` length of its value, 0 where that is not known;
//! plain or, named `.zst`, compressed. The length is then drawn from a file of sizes (quantiles of a distribution,
//! a number a line): the line at hash(key), times the factor; the same for both servers.
//!
//! The client does what an application does beside its database: `get`, and what is not there is counted as
//! a miss and `set`. Keys are 40 bytes long; every value that comes back is checked. The trace runs twice
//! on a fresh server with `-m 64`; the second pass, on a full cache, is the one that counts:
//!
//! * `pass 1`, `pass 2`: misses; `miss ratio`: misses of pass 2 by requests;
//! * `items`, `RSS`: what the server holds at the end, and the memory of its process;
//! * `of memcached`: misses of pass 2, by memcached's. Below, the geometric mean over the workloads.
//!
//! Limits. There is one connection, and up to 64 requests are in flight: they are one `get` of many keys; what was not
//! there is set together with the next one. A batch ends before a key that it has already, so no key is missed
//! twice for being asked for too soon. This order alone moves memcached's misses by 0.1 %, but a run with
//! `--window 1` takes five times as long, and time does count: **the hours of a trace pass in seconds here**, so what
//! memcached's mover of slab pages does depends on how long a replay takes. One trace had 4 to 12 % more misses with
//! `--window 1`, and none with the mover off, `--memcached-args='-o slab_automove=0'`. No item expires.
//!
//! Nor do two runs agree to the last miss: memcached evicts in a thread of its own, Larder spreads keys by
//! a hash that is seeded anew. `--runs 5` shows the run that is the median, and the others on stderr.

#[path = "servers/mod.rs"]
mod servers;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Instant;

use clap::Parser;
use servers::{
    Client, Object, Outcome, Peer, PeerOptions, Progress, mib, mix, push_get, push_set, ratio,
};

const KEY_LEN: usize = 40;
/// A batch ends after this many bytes of values, however few they are.
const BATCH_BYTES: usize = 4 << 20;
const TRACES: &str = "LARDER_TRACES";
const STANDARD: [&str; 3] = ["orm_busy:4k", "scarab_recs:meta-kvcache:3", "arc_P2:meta-kvcache"];

/// Replays recorded requests on Larder and memcached and compares how often each had to miss.
#[derive(Debug, Parser)]
struct Options {
    /// Traces to replay with --sizes and --size-factor: files, or names in the folder of the standard ones
    #[arg(value_name = "TRACE")]
    traces: Vec<String>,

    /// File of sizes, for traces that have none
    #[arg(long, value_name = "FILE")]
    sizes: Option<String>,

    /// By what these sizes are multiplied
    #[arg(long, value_name = "N", default_value_t = 1)]
    size_factor: u32,

    /// A trace with its file of sizes and factor; as many as wanted
    #[arg(long = "workload", value_name = "TRACE:SIZES[:FACTOR]")]
    workloads: Vec<Workload>,

    /// Memory limit in MB, as -m takes it
    #[arg(short, long, value_name = "MB", default_value_t = 64)]
    memory_mb: u64,

    /// Requests in flight, at most
    #[arg(long, value_name = "COUNT", default_value_t = 64)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=1024))]
    window: u16,

    /// Measure each workload as often, and show the run with the median of pass 2
    #[arg(long, value_name = "COUNT", default_value_t = 1)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..))]
    runs: u16,

    #[command(flatten)]
    peers: PeerOptions,
}

/// A trace and where the lengths of its values come from.
#[derive(Debug, Clone)]
struct Workload {
    trace: String,
    sizes: Option<String>,
    factor: u32,
}

impl FromStr for Workload {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.split(':');
        let (Some(trace), Some(sizes), factor, None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err("expected TRACE:SIZES or TRACE:SIZES:FACTOR".to_owned());
        };
        let factor = factor
            .map_or(Ok(1), str::parse)
            .map_err(|error| format!("the factor is no number: {error}"))?;
        Ok(Self { trace: trace.to_owned(), sizes: Some(sizes.to_owned()), factor })
    }
}

/// What one server did with one trace.
struct Replay {
    misses: [u64; 2],
    /// Sets that the server did not take, in both passes.
    refused_count: u64,
    items: u64,
    rss_bytes: u64,
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("hit_ratio: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Outcome<()> {
    let workloads = workloads(options)?;
    println!("{}, -m {}, keys of {KEY_LEN} bytes", options.peers.versions()?, options.memory_mb);
    println!(
        "{:<28} {:<9} {:>9} {:>9} {:>9} {:>10} {:>8} {:>7} {:>12}",
        "workload",
        "server",
        "requests",
        "pass 1",
        "pass 2",
        "miss ratio",
        "items",
        "RSS MiB",
        "of memcached"
    );
    let mut results = Vec::new();
    let mut ratios: Vec<f64> = Vec::new();
    for workload in &workloads {
        let name = workload.name();
        let requests = workload.requests().map_err(|error| format!("{name}: {error}"))?;
        let mut memcached_misses = None;
        for peer in options.peers.peers() {
            let replay = median_replay(options, peer, &name, &requests)
                .map_err(|error| format!("{name}, {}: {error}", peer.name()))?;
            let misses = replay.misses[1];
            let times = match peer {
                Peer::Memcached => {
                    memcached_misses = Some(misses).filter(|misses| *misses > 0);
                    None
                }
                Peer::Larder => memcached_misses.map(|memcached| ratio(misses, memcached)),
            };
            ratios.extend(times);
            print(&replay, peer, &name, requests.len(), times);
            results.push(json(&replay, peer, &name, requests.len()));
        }
    }
    if let Some(count) = u32::try_from(ratios.len()).ok().filter(|count| *count > 1) {
        let mean = (ratios.iter().map(|times| times.ln()).sum::<f64>() / f64::from(count)).exp();
        println!("geometric mean over {count} workloads: {mean:.3} of memcached's misses");
    }
    options.peers.write_json(&results)
}

fn print(replay: &Replay, peer: Peer, workload: &str, request_count: usize, times: Option<f64>) {
    let Replay { misses, refused_count, items, rss_bytes } = replay;
    println!(
        "{workload:<28} {:<9} {request_count:>9} {:>9} {:>9} {:>10.4} {items:>8} {:>7.1} {:>12}",
        peer.name(),
        misses[0],
        misses[1],
        ratio(misses[1], request_count as u64),
        mib(*rss_bytes),
        times.map_or_else(String::new, |times| format!("{times:.3}")),
    );
    if *refused_count > 0 {
        println!("{:<28} {} refused {refused_count} sets", "", peer.name());
    }
}

fn json(replay: &Replay, peer: Peer, workload: &str, request_count: usize) -> String {
    let Replay { misses, refused_count, items, rss_bytes } = replay;
    format!(
        r#"{{"workload": {workload:?}, "server": "{}", "requests": {request_count}, "misses": {misses:?}, "refused_sets": {refused_count}, "items": {items}, "rss_bytes": {rss_bytes}}}"#,
        peer.name(),
    )
}

/// What to replay: what the options say, else the standard workloads.
fn workloads(options: &Options) -> Outcome<Vec<Workload>> {
    let mut workloads = options.workloads.clone();
    for trace in &options.traces {
        let (sizes, factor) = (options.sizes.clone(), options.size_factor);
        workloads.push(Workload { trace: trace.clone(), sizes, factor });
    }
    if workloads.is_empty() {
        if env::var_os(TRACES).is_none() {
            return Err(format!(
                "nothing to replay: name traces, as in --workload requests.bin.zst:sizes.txt, or set {TRACES} to the \
                 folder of the standard ones ({})",
                STANDARD.join(", ")
            )
            .into());
        }
        workloads = STANDARD.iter().map(|text| text.parse()).collect::<Result<_, _>>()?;
    }
    Ok(workloads)
}

impl Workload {
    fn name(&self) -> String {
        let stem = |path: &str| {
            let name = Path::new(path).file_name().unwrap_or_default().to_string_lossy();
            name.split('.').next().unwrap_or_default().to_owned()
        };
        let mut name = stem(&self.trace);
        if let Some(sizes) = &self.sizes {
            name = format!("{name}:{}", stem(sizes));
        }
        if self.factor != 1 {
            name = format!("{name}:{}", self.factor);
        }
        name
    }

    /// The requests in their order, with the length that each value has.
    fn requests(&self) -> Outcome<Vec<Object>> {
        let quantiles = match &self.sizes {
            Some(sizes) => read_sizes(sizes)?,
            None => Vec::new(),
        };
        let trace = read_trace(&self.trace)?;
        let (requests, rest) = trace.as_chunks::<8>();
        if requests.is_empty() || !rest.is_empty() {
            return Err(format!("{} bytes are no trace", trace.len()).into());
        }
        let mut objects = Vec::with_capacity(requests.len());
        for &[k0, k1, k2, k3, l0, l1, l2, l3] in requests {
            let number = u32::from_le_bytes([k0, k1, k2, k3]);
            let value_len = match u32::from_le_bytes([l0, l1, l2, l3]) {
                0 => self.drawn_len(number, &quantiles)?,
                own => own,
            };
            objects.push(Object { number, value_len });
        }
        Ok(objects)
    }

    fn drawn_len(&self, number: u32, quantiles: &[u32]) -> Outcome<u32> {
        // The high half of the product scales a hash from 64 bits down to an index.
        let scaled = (u128::from(mix(u64::from(number))) * quantiles.len() as u128) >> 64;
        let quantile = quantiles
            .get(usize::try_from(scaled)?)
            .ok_or("the trace has no sizes of its own: name a file of sizes")?;
        Ok(quantile.checked_mul(self.factor).ok_or("a size times the factor is too large")?)
    }
}

fn read_trace(name: &str) -> Outcome<Vec<u8>> {
    let path = find(name, &format!("{name}.bin.zst"));
    let bytes = read(&path)?;
    if path.extension().is_some_and(|extension| extension == "zst") {
        Ok(zstd::decode_all(bytes.as_slice())?)
    } else {
        Ok(bytes)
    }
}

fn read_sizes(name: &str) -> Outcome<Vec<u32>> {
    let path = find(name, &format!("sizes/{name}.txt"));
    let text = String::from_utf8(read(&path)?)?;
    let sizes: Result<Vec<u32>, _> = text.lines().map(|line| line.trim().parse()).collect();
    Ok(sizes.map_err(|error| format!("{}: {error}", path.display()))?)
}

/// `name` itself where there is such a file, else what it stands for in the folder of the traces.
fn find(name: &str, in_folder: &str) -> PathBuf {
    match env::var_os(TRACES) {
        Some(folder) if !Path::new(name).is_file() => Path::new(&folder).join(in_folder),
        Some(_) | None => PathBuf::from(name),
    }
}

fn read(path: &Path) -> Outcome<Vec<u8>> {
    Ok(fs::read(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?)
}

/// The run with the median of the misses that count; of two in the middle, the one with more.
fn median_replay(
    options: &Options,
    peer: Peer,
    workload: &str,
    requests: &[Object],
) -> Outcome<Replay> {
    let mut replays: Vec<Replay> = (0..options.runs)
        .map(|_| replay(options, peer, workload, requests))
        .collect::<Outcome<_>>()?;
    replays.sort_by_key(|replay| replay.misses[1]);
    Ok(replays.swap_remove(replays.len() / 2))
}

/// Two passes on a fresh server.
fn replay(options: &Options, peer: Peer, workload: &str, requests: &[Object]) -> Outcome<Replay> {
    let server = options.peers.start(peer, options.memory_mb)?;
    let mut client = Client::connect(&server)?;
    let mut misses = [0; 2];
    let mut refused_count = 0;
    for (index, misses) in misses.iter_mut().enumerate() {
        let label = format!("{workload}, {}, pass {}", peer.name(), index + 1);
        let mut progress = Progress::new(label);
        let start = Instant::now();
        let (missed_count, refused) =
            pass(&mut client, requests, options.window.into(), &mut progress)?;
        *misses = missed_count;
        refused_count += refused;
        progress.finish(format!("{missed_count} misses, {:.1} s", start.elapsed().as_secs_f64()));
    }
    let stats = client.stats()?;
    let stat = |name| stats.get(name).copied().unwrap_or(0);
    // What the client counted and what the server counted are the same thing.
    let expected = (2 * requests.len() as u64, misses[0] + misses[1]);
    let counted = (stat("cmd_get"), stat("get_misses"));
    if counted != expected {
        return Err(format!("cmd_get and get_misses are {counted:?}, not {expected:?}").into());
    }
    Ok(Replay { misses, refused_count, items: stat("curr_items"), rss_bytes: server.rss_bytes()? })
}

/// Replays all requests once; how many missed, and how many sets were refused.
fn pass(
    client: &mut Client,
    requests: &[Object],
    window: usize,
    progress: &mut Progress,
) -> Outcome<(u64, u64)> {
    let mut missed_count = 0;
    let mut refused_count = 0;
    let mut missed: Vec<Object> = Vec::new();
    let mut out = Vec::new();
    let mut position = 0;
    while position < requests.len() || !missed.is_empty() {
        let batch = batch(&requests[position..], window);
        out.clear();
        for &object in &missed {
            push_set(&mut out, KEY_LEN, object, "");
        }
        if !batch.is_empty() {
            push_get(&mut out, KEY_LEN, batch);
        }
        client.send(&out)?;
        for object in missed.drain(..) {
            match client.line()? {
                "STORED" => {}
                line if line.starts_with("SERVER_ERROR ") => refused_count += 1,
                line => return Err(format!("{line:?} for {object:?}").into()),
            }
        }
        if !batch.is_empty() {
            client.read_values(batch, &mut missed)?;
        }
        missed_count += missed.len() as u64;
        position += batch.len();
        progress.tell(|| {
            let percent = 100.0 * ratio(position as u64, requests.len() as u64);
            format!("{percent:.0} %, {missed_count} misses")
        });
    }
    Ok((missed_count, refused_count))
}

/// As many of the next requests as go together: each for another key.
fn batch(requests: &[Object], window: usize) -> &[Object] {
    let mut values_len = 0;
    let mut len = 0;
    for object in requests.iter().take(window) {
        let seen = requests[..len].iter().any(|earlier| earlier.number == object.number);
        if seen || values_len > BATCH_BYTES {
            break;
        }
        values_len += object.value_len as usize;
        len += 1;
    }
    &requests[..len]
}
