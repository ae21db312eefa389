//! How many items fit: Larder and memcached filled past the same memory limit.
//!
//! ```text
//! cargo bench --bench density
//! cargo bench --bench density -- --memory-mb 100 --values 8,100,1000 --only larder
//! ```
//!
//! `-- --help` lists the options. All by default take some minutes and up to 1.2 GB of memory. Linux only.
//!
//! For each limit (`-m`), length of values and server, a fresh server gets `set`s of new keys of 20 bytes until
//! it has evicted for long: half as many again as it ever held. Then the columns are
//!
//! * `items`: `curr_items`, what the server says it holds;
//! * `sampled`: what it does hold, from a `get` of up to 65,536 keys spread over all that were set, as a
//!   part of `items`; every value that comes back is checked. More than 2 % off 100 is said;
//! * `RSS`, `empty`: memory of the process when full, and after its start;
//! * `lost`: bytes that an item costs besides its key and value, (RSS - empty - items x (key + value)) / items;
//! * `of memcached`: items held, as a multiple of memcached's.
//!
//! What it does not tell: there is one size of value at a time, no key is overwritten, no item expires or has flags.
//! A mix of sizes, or one that drifts, costs memcached more. RSS includes the buffers of one connection
//! and all that an allocator keeps; `lost` says nothing where a server leaves a part of its limit unused.

#[path = "servers/mod.rs"]
mod servers;

use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use clap::Parser;
use servers::{
    Client, Object, Outcome, Peer, PeerOptions, Progress, Server, mib, push_get, push_set, ratio,
};

const KEY_LEN: usize = 20;
const WRITE_LEN: usize = 256 << 10;
/// The statistics are asked for this often while one memory limit's worth of bytes is sent.
const STEPS_PER_LIMIT: u64 = 64;
const SAMPLES: u32 = 65_536;
const KEYS_PER_GET: usize = 64;
/// RSS has settled when it stays within this many bytes ...
const RSS_CALM_BYTES: u64 = 64 << 10;
/// ... for so many readings; after `RSS_READINGS` it is taken as it is.
const RSS_CALM_READINGS: u32 = 10;
const RSS_READINGS: u32 = 100;
const RSS_INTERVAL: Duration = Duration::from_millis(100);

/// Fills Larder and memcached past the same memory limit and shows how many items each holds, and what one costs.
#[derive(Debug, Parser)]
struct Options {
    /// Memory limits in MB, as -m takes them
    #[arg(short, long, value_name = "MB", value_delimiter = ',', default_values_t = [100, 1024])]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=1 << 20))]
    memory_mb: Vec<u64>,

    /// Lengths of values in bytes
    #[arg(long, value_name = "BYTES", value_delimiter = ',')]
    #[arg(default_values_t = [8, 40, 100, 400, 1000, 4000])]
    values: Vec<u32>,

    #[command(flatten)]
    peers: PeerOptions,
}

/// What one server was found to hold.
struct Cell {
    items: u64,
    sampled_items: f64,
    rss_bytes: u64,
    empty_rss_bytes: u64,
    lost_bytes: f64,
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("density: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Outcome<()> {
    println!("{}, keys of {KEY_LEN} bytes", options.peers.versions()?);
    println!(
        "{:>6} {:>6}  {:<9} {:>10} {:>9} {:>8} {:>7} {:>7} {:>13}",
        "-m", "value", "server", "items", "sampled", "RSS", "empty", "lost", "of memcached"
    );
    println!(
        "{:>6} {:>6}  {:<9} {:>10} {:>9} {:>8} {:>7} {:>7}",
        "MB", "bytes", "", "", "", "MiB", "MiB", "bytes"
    );
    let mut results = Vec::new();
    for &memory_mb in &options.memory_mb {
        for &value_len in &options.values {
            let mut memcached_items = None;
            for peer in options.peers.peers() {
                let cell = measure(options, peer, memory_mb, value_len)?;
                let of_memcached = match peer {
                    Peer::Memcached => {
                        memcached_items = Some(cell.items);
                        String::new()
                    }
                    Peer::Larder => memcached_items.map_or_else(String::new, |items| {
                        format!("{:.2}", ratio(cell.items, items))
                    }),
                };
                print(&cell, peer, memory_mb, value_len, &of_memcached);
                results.push(json(&cell, peer, memory_mb, value_len));
            }
        }
    }
    options.peers.write_json(&results)
}

fn print(cell: &Cell, peer: Peer, memory_mb: u64, value_len: u32, of_memcached: &str) {
    let sampled_percent = 100.0 * cell.sampled_items / ratio(cell.items, 1);
    println!(
        "{memory_mb:>6} {value_len:>6}  {:<9} {:>10} {sampled_percent:>7.1} % {:>8.1} {:>7.1} {:>7.1} {of_memcached:>13}",
        peer.name(),
        cell.items,
        mib(cell.rss_bytes),
        mib(cell.empty_rss_bytes),
        cell.lost_bytes,
    );
    if (sampled_percent - 100.0).abs() > 2.0 {
        println!(
            "        a sample of the keys says that {} holds {:.0} items",
            peer.name(),
            cell.sampled_items
        );
    }
}

fn json(cell: &Cell, peer: Peer, memory_mb: u64, value_len: u32) -> String {
    format!(
        r#"{{"server": "{}", "memory_mb": {memory_mb}, "value_bytes": {value_len}, "items": {}, "sampled_items": {:.0}, "rss_bytes": {}, "empty_rss_bytes": {}, "lost_bytes_per_item": {:.2}}}"#,
        peer.name(),
        cell.items,
        cell.sampled_items,
        cell.rss_bytes,
        cell.empty_rss_bytes,
        cell.lost_bytes,
    )
}

fn measure(options: &Options, peer: Peer, memory_mb: u64, value_len: u32) -> Outcome<Cell> {
    let label = format!("{} -m {memory_mb}, values of {value_len} bytes", peer.name());
    let mut progress = Progress::new(label.clone());
    let start = Instant::now();
    let server = options.peers.start(peer, memory_mb)?;
    let mut client = Client::connect(&server)?;
    client.stats()?;
    let empty_rss_bytes = settled_rss(&server)?;
    let set_count = fill(&mut client, memory_mb << 20, value_len, &mut progress)
        .map_err(|error| format!("{label}: {error}"))?;
    let rss_bytes = settled_rss(&server)?;
    let items = stat(&mut client, "curr_items")?;
    let sampled_items =
        sample(&mut client, set_count, value_len).map_err(|error| format!("{label}: {error}"))?;
    let own_bytes = ratio(KEY_LEN as u64 + u64::from(value_len), 1);
    let lost_bytes = ratio(rss_bytes.saturating_sub(empty_rss_bytes), items) - own_bytes;
    progress.finish(format!("{set_count} sets, {:.1} s", start.elapsed().as_secs_f64()));
    Ok(Cell { items, sampled_items, rss_bytes, empty_rss_bytes, lost_bytes })
}

/// Sets keys 0, 1, 2, … until the server has evicted for long; how many that were.
fn fill(
    client: &mut Client,
    limit_bytes: u64,
    value_len: u32,
    progress: &mut Progress,
) -> Outcome<u32> {
    let own_bytes = KEY_LEN as u64 + u64::from(value_len);
    let step = u32::try_from(limit_bytes / STEPS_PER_LIMIT / own_bytes)?.max(1);
    let mut out = Vec::with_capacity(2 * WRITE_LEN);
    let mut number: u32 = 0;
    let mut items_max = 0;
    loop {
        let step_end = number.checked_add(step).ok_or("more keys than have numbers")?;
        while number < step_end {
            push_set(&mut out, KEY_LEN, Object { number, value_len }, " noreply");
            number += 1;
            if out.len() >= WRITE_LEN || number == step_end {
                client.send(&out)?;
                out.clear();
            }
        }
        let stats = client.stats()?;
        let items = stats.get("curr_items").copied().unwrap_or(0);
        items_max = items_max.max(items);
        progress.tell(|| format!("{number} sets, {items} items"));
        let evictions = stats.get("evictions").copied().unwrap_or(0);
        if evictions > 0 && 2 * u64::from(number) >= 3 * items_max {
            return Ok(number);
        }
        if u64::from(number) * own_bytes > 4 * limit_bytes {
            return Err(
                format!("{evictions} evictions when four times its memory limit was sent").into()
            );
        }
    }
}

/// How many of the keys below `set_count` are there, reckoned from some of them.
fn sample(client: &mut Client, set_count: u32, value_len: u32) -> Outcome<f64> {
    let stride = set_count.div_ceil(SAMPLES) as usize;
    let objects: Vec<Object> =
        (0..set_count).step_by(stride).map(|number| Object { number, value_len }).collect();
    let mut missed = Vec::new();
    for asked in objects.chunks(KEYS_PER_GET) {
        let mut out = Vec::new();
        push_get(&mut out, KEY_LEN, asked);
        client.send(&out)?;
        client.read_values(asked, &mut missed)?;
    }
    let found = objects.len() - missed.len();
    Ok(f64::from(set_count) * ratio(found as u64, objects.len() as u64))
}

/// RSS once the server has tidied up, which memcached does in threads of its own.
fn settled_rss(server: &Server) -> Outcome<u64> {
    let mut settled = server.rss_bytes()?;
    let mut calm_readings = 0;
    for _ in 0..RSS_READINGS {
        thread::sleep(RSS_INTERVAL);
        let now = server.rss_bytes()?;
        if now.abs_diff(settled) > RSS_CALM_BYTES {
            calm_readings = 0;
            settled = now;
        } else {
            calm_readings += 1;
        }
        if calm_readings == RSS_CALM_READINGS {
            break;
        }
    }
    server.rss_bytes()
}

fn stat(client: &mut Client, name: &str) -> Outcome<u64> {
    client.stats()?.get(name).copied().ok_or_else(|| format!("no {name} in stats").into())
}
