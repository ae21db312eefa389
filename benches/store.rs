//! What one operation on the store costs next to other ways to keep keys and values in memory.
//!
//! ```text
//! cargo bench --bench store
//! cargo bench --bench store -- --items 1M --threads 1 --only larder,quick-cache
//! ```
//!
//! `-- --help` lists the options. All by default take some minutes and up to 4 GB of memory.
//!
//! The first table: nanoseconds per operation, medians of the runs, keys of 20 bytes, values of 100. With more
//! threads than one it is the time that each of them sees; under their rows stands the throughput as a
//! multiple of one thread's. `batch` is how many keys are handed over at once; where an implementation has
//! nothing for that, it gets them one by one. The columns:
//!
//! * `get`: of a key that is there, picked at random; the lock and a copy of the value are part of it;
//! * `miss`: a get of a key that is not there;
//! * `overwrite`: a set of a key that is there, picked at random, with a value of the same length;
//! * `delete`: of a key that is there, scattered over all;
//! * `insert`: a set of a key that is not there, with room for it; most of that is memory which was not touched
//!   before, so the kernel's work on it is a part;
//! * `evict`: a set of a key that was never there, with no room: something must go, and none of it was read;
//! * `fill`: a set while the cache fills from empty, its tables growing; one thread, one by one, one run;
//! * `cpu %`: how much of the time the threads had a processor. Well below 100, other programs or waiting for
//!   locks took the rest, and the row is no measure of the operations themselves.
//!
//! The second table: single sets of new keys into a full cache of 64 MiB, each timed on its own; the figures of the
//! row `empty timing` are part of all others. `cold` items are never read; `hot` ones are all read again, untimed,
//! whenever a 32nd of them is new. Where `cpu %` is low, the highest figures are other programs' work.
//!
//! `larder` is the log store and `exact-lru` its exact form. `dashmap` and `quick-cache` are the crates, the keys
//! hashed by ahash, keys and values in allocations of their own. They compare with care: neither counts bytes,
//! and `DashMap` has no limit. `quick-cache` takes a number of items; here it is what fits with 100 bytes
//! of bookkeeping for each.
//!
//! The times include about a nanosecond or two for making a key, which the head of the output tells. Unlike
//! in a server, nothing else wants the processor's caches, and one thread's operations overlap in the processor.

#![expect(clippy::cast_precision_loss, reason = "times and counts are far below 2^52")]

mod caches;

use std::array;
use std::hint::black_box;
use std::iter;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use caches::{Cache, KEY_LEN, Key, Kind};
use clap::{Parser, ValueEnum};
use nix::time::{ClockId, clock_gettime};

const VALUE_LEN: usize = 100;
/// Keys are made so many at a time, and looked at.
const BLOCK_LEN: usize = 32;
const BATCHES: [usize; 2] = [1, BLOCK_LEN];
/// Operations of one timing, over all threads.
const OP_COUNT_MAX: u64 = 1 << 18;
/// So far apart in the order of insertion are keys that are deleted one after another; a prime.
const STRIDE: u64 = 2_654_435_761;
/// Keys from here on are never set.
const ABSENT: u64 = 1 << 40;

const TAIL_LIMIT_BYTES: u64 = 64 << 20;
const TAIL_VALUE_LENS: [usize; 3] = [30, 100, 1000];
const TAIL_SET_COUNT: usize = 1 << 17;
/// Hot items are read once for each so many parts of them that are new.
const TAIL_PASS_PARTS: u64 = 32;

/// Times single operations on Larder's store, and on others.
#[derive(Debug, Parser)]
struct Options {
    /// Numbers of items, as in 500K or 8M
    #[arg(long, value_name = "COUNT", value_delimiter = ',', default_values = ["1M", "8M"])]
    #[arg(value_parser = parse_items)]
    items: Vec<u64>,

    /// Numbers of threads
    #[arg(long, value_name = "COUNT", value_delimiter = ',', default_values_t = [1, 2])]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=64))]
    threads: Vec<u64>,

    /// How often each timing is done
    #[arg(long, value_name = "COUNT", default_value_t = 7)]
    #[arg(value_parser = clap::value_parser!(u8).range(1..=99))]
    runs: u8,

    /// Measure these alone
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    only: Vec<Kind>,

    /// Cargo says it to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

fn parse_items(text: &str) -> Result<u64, String> {
    let (digits, unit) = match text.as_bytes().last() {
        Some(b'K') => (&text[..text.len() - 1], 1000),
        Some(b'M') => (&text[..text.len() - 1], 1_000_000),
        Some(_) | None => (text, 1),
    };
    let count: u64 = digits.parse().map_err(|_| "not a number".to_owned())?;
    match count.checked_mul(unit) {
        Some(items @ 10_000..=1_000_000_000) => Ok(items.next_multiple_of(BLOCK_LEN as u64)),
        Some(_) | None => Err("from 10K to 1000M".to_owned()),
    }
}

fn key(id: u64) -> Key {
    let mut key = *b"key:................";
    key[4..12].copy_from_slice(&id.to_le_bytes());
    key[12..].copy_from_slice(&id.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
    key
}

/// A value that tells its key from most others; nothing is written for it.
fn value(id: u64, len: usize) -> &'static [u8] {
    static BYTES: [u8; 2048] = {
        let mut bytes = [0; 2048];
        let mut state: u32 = 1;
        let mut at = 0;
        while at < bytes.len() {
            state = state.wrapping_mul(1_103_515_245).wrapping_add(12_345);
            bytes[at] = state.to_be_bytes()[0];
            at += 1;
        }
        bytes
    };
    let at = usize::from(id.to_le_bytes()[0]);
    &BYTES[at..at + len]
}

/// The columns of the first table, in the order in which they are measured: each leaves what the next one needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Op {
    Get,
    Miss,
    Overwrite,
    Delete,
    Insert,
    Evict,
}

const OPS: [Op; 6] = [Op::Get, Op::Miss, Op::Overwrite, Op::Delete, Op::Insert, Op::Evict];

/// Which keys an operation is given.
struct Ids {
    op: Op,
    items: u64,
    state: u64,
}

impl Ids {
    /// Those from the `first` on; for the same one, an insert gets what a delete got.
    fn new(op: Op, items: u64, first: u64) -> Self {
        let state = match op {
            Op::Get | Op::Miss | Op::Overwrite | Op::Evict => first,
            Op::Delete | Op::Insert => first * STRIDE % items,
        };
        Self { op, items, state }
    }

    /// Any of the items (`SplitMix64`).
    fn random(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed >> 32) * self.items) >> 32
    }

    fn next(&mut self) -> u64 {
        let id = self.state;
        match self.op {
            Op::Get | Op::Overwrite => return self.random(),
            Op::Miss => return ABSENT + self.random(),
            Op::Delete | Op::Insert => self.state = (id + STRIDE) % self.items,
            Op::Evict => self.state += 1,
        }
        id
    }
}

fn work(cache: &dyn Cache, ids: &mut Ids, count: u64, batch: usize) {
    let mut out = Vec::with_capacity(BLOCK_LEN * VALUE_LEN);
    let (mut found, mut right) = (0, 0);
    for _ in 0..count / BLOCK_LEN as u64 {
        let block: [u64; BLOCK_LEN] = array::from_fn(|_| ids.next());
        let (keys, values) = (block.map(key), block.map(|id| value(id, VALUE_LEN)));
        out.clear();
        for (keys, values) in iter::zip(keys.chunks(batch), values.chunks(batch)) {
            match (ids.op, keys) {
                (Op::Get | Op::Miss, [key]) => found += usize::from(cache.get(key, &mut out)),
                (Op::Get | Op::Miss, keys) => found += cache.get_batch(keys, &mut out),
                (Op::Overwrite | Op::Insert | Op::Evict, [key]) => cache.set(key, values[0]),
                (Op::Overwrite | Op::Insert | Op::Evict, keys) => cache.set_batch(keys, values),
                (Op::Delete, [key]) => found += usize::from(cache.delete(key)),
                (Op::Delete, keys) => found += cache.delete_batch(keys),
            }
        }
        let read = iter::zip(out.chunks_exact(VALUE_LEN), values);
        right += read.filter(|(read, value)| read[..8] == value[..8]).count();
    }
    let (found, right) = (found as u64, right as u64);
    match ids.op {
        Op::Get => assert_eq!((found, right), (count, count), "all are there, with their values"),
        Op::Delete => assert_eq!(found, count, "all are there"),
        Op::Miss => assert_eq!(found, 0, "none is there"),
        Op::Overwrite | Op::Insert | Op::Evict => {}
    }
}

/// What something took.
struct Clock {
    wall_s: f64,
    cpu_s: f64,
}

impl Clock {
    fn cpu_percent(&self) -> f64 {
        100.0 * self.cpu_s / self.wall_s
    }
}

fn clocked(work: impl FnOnce()) -> Clock {
    let cpu = || {
        let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).expect("a thread has a clock");
        Duration::from(time).as_secs_f64()
    };
    let (start, cpu_start) = (Instant::now(), cpu());
    work();
    let (cpu_end, wall_s) = (cpu(), start.elapsed().as_secs_f64());
    Clock { wall_s, cpu_s: cpu_end - cpu_start }
}

/// One row of the first table.
struct Row {
    threads: u64,
    batch: usize,
    /// Of each run, by [`Op`], in ns.
    times: [Vec<f64>; OPS.len()],
    /// Of each timing.
    cpu_percent: Vec<f64>,
}

impl Row {
    /// Each thread does so many operations.
    fn share(&self, items: u64) -> u64 {
        let block_len = BLOCK_LEN as u64;
        (items / 2).min(OP_COUNT_MAX) / self.threads / block_len * block_len
    }

    fn time(&mut self, cache: &dyn Cache, op: Op, items: u64, first: u64) {
        let (share, batch) = (self.share(items), self.batch);
        let barrier = Barrier::new(usize::try_from(self.threads).expect("64 at most"));
        let worker = &|number: u64| {
            let mut ids = Ids::new(op, items, first + number * share);
            barrier.wait();
            clocked(|| work(cache, &mut ids, share, batch))
        };
        let clocks: Vec<_> = thread::scope(|scope| {
            let spawn = |number| scope.spawn(move || worker(number));
            let workers: Vec<_> = (0..self.threads).map(spawn).collect();
            workers.into_iter().map(|worker| worker.join().expect("no panic")).collect()
        });
        let slowest_s = clocks.iter().map(|clock| clock.wall_s).fold(0.0, f64::max);
        self.cpu_percent.extend(clocks.iter().map(Clock::cpu_percent));
        self.times[op as usize].push(slowest_s * 1e9 / share as f64);
    }
}

fn median(values: &[f64]) -> Option<f64> {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

fn print_head(head: &str, columns: &[&str]) {
    print!("{head}");
    for column in columns {
        print!(" {column:>10}");
    }
    println!();
}

fn print_row(head: &str, figures: impl IntoIterator<Item = Option<f64>>, decimals: usize) {
    print!("{head}");
    for figure in figures {
        match figure {
            Some(figure) => print!(" {figure:>10.decimals$}"),
            None => print!(" {:>10}", "-"),
        }
    }
    println!();
}

fn operations(options: &Options, kind: Kind, items: u64) {
    let row =
        |threads, batch| Row { threads, batch, times: Default::default(), cpu_percent: Vec::new() };
    let mut rows: Vec<Row> = BATCHES
        .iter()
        .flat_map(|&batch| options.threads.iter().map(move |&threads| row(threads, batch)))
        .collect();
    let inserted = u64::from(options.runs)
        * rows.iter().map(|row| row.share(items) * row.threads).sum::<u64>();
    let fill = |cache: &dyn Cache, count| {
        let start = Instant::now();
        work(cache, &mut Ids::new(Op::Evict, items, 0), count, 1);
        let ns = start.elapsed().as_secs_f64() * 1e9 / count as f64;
        eprintln!("{}: {count} sets to fill it, {ns:.0} ns each", kind.name());
        ns
    };

    // A log has dead items until it is full, and a shard may be given more than its part of the keys.
    let cache = kind.open(items + items / 4 + inserted, VALUE_LEN);
    let fill_ns = fill(&*cache, items);
    measure(&mut rows, &OPS[..5], &*cache, options.runs, items, 0);
    drop(cache);

    if kind.has_limit() {
        let cache = kind.open(items, VALUE_LEN);
        fill(&*cache, 2 * items);
        measure(&mut rows, &[Op::Evict], &*cache, options.runs, items, 2 * items);
    }
    print_rows(&rows, kind, items, fill_ns);
}

/// The rows take turns in going first: some caches put work off, and it would always meet the same one.
fn measure(rows: &mut [Row], ops: &[Op], cache: &dyn Cache, runs: u8, items: u64, mut first: u64) {
    let row_count = rows.len();
    for run in 0..runs {
        for number in 0..row_count {
            let row = &mut rows[(usize::from(run) + number) % row_count];
            for &op in ops {
                row.time(cache, op, items, first);
            }
            first += row.share(items) * row.threads;
        }
    }
}

fn print_rows(rows: &[Row], kind: Kind, items: u64, fill_ns: f64) {
    let mut one_thread = [None; OPS.len()];
    for Row { threads, batch, times, cpu_percent } in rows {
        let medians = times.each_ref().map(|times| median(times));
        let fill = (*threads == 1 && *batch == 1).then_some(fill_ns);
        let head = format!("{:<12} {items:>10} {threads:>7} {batch:>5}", kind.name());
        print_row(&head, medians.into_iter().chain([fill, median(cpu_percent)]), 1);
        if *threads == 1 {
            one_thread = medians;
            continue;
        }
        let ratio = |(one, many): (Option<f64>, Option<f64>)| Some(*threads as f64 * one? / many?);
        let head = format!("{:>37}", "throughput / 1 thread's");
        print_row(&head, iter::zip(one_thread, medians).map(ratio), 2);
    }
}

/// Mean, 99 %, 99.9 %, 99.99 %, maximum, and `cpu %`.
fn figures(run: impl FnOnce(&mut Vec<u64>)) -> [f64; 6] {
    let mut times_ns = Vec::with_capacity(TAIL_SET_COUNT);
    let clock = clocked(|| run(&mut times_ns));
    times_ns.sort_unstable();
    let count = times_ns.len();
    let mean = times_ns.iter().sum::<u64>() as f64 / count as f64;
    let above = |part: usize| times_ns[count - 1 - count / part] as f64;
    let max = above(usize::MAX);
    [mean, above(100), above(1000), above(10_000), max, clock.cpu_percent()]
}

fn print_medians(head: &str, runs: &[[f64; 6]]) {
    let medians: [_; 6] =
        array::from_fn(|at| median(&runs.iter().map(|run| run[at]).collect::<Vec<_>>()));
    print_row(head, medians, 0);
}

fn timed_ns(op: impl FnOnce()) -> u64 {
    let start = Instant::now();
    op();
    u64::try_from(start.elapsed().as_nanos()).expect("shorter than 500 years")
}

fn tail(options: &Options, kind: Kind, value_len: usize, is_hot: bool) {
    let items = TAIL_LIMIT_BYTES / kind.item_bytes(value_len);
    let cache = kind.open(items, value_len);
    let set = |id| cache.set(&key(id), value(id, value_len));
    let mut ids = 0..;
    ids.by_ref().take(usize::try_from(2 * items).expect("fits in memory")).for_each(set);

    let mut living: Vec<u64> = if is_hot { (0..2 * items).collect() } else { Vec::new() };
    let mut out = Vec::with_capacity(value_len);
    let mut is_there = |id: &u64| {
        out.clear();
        let is_there = cache.get(&key(*id), &mut out);
        assert!(!is_there || out == value(*id, value_len), "it has its value");
        is_there
    };
    let pass_interval = usize::try_from(items / TAIL_PASS_PARTS).expect("fits in memory");
    let mut run = |times_ns: &mut Vec<u64>| {
        for (number, id) in ids.by_ref().take(TAIL_SET_COUNT).enumerate() {
            if is_hot && number % pass_interval == 0 {
                living.retain(&mut is_there);
            }
            let (key, value) = (key(id), value(id, value_len));
            times_ns.push(timed_ns(|| cache.set(&key, value)));
            if is_hot {
                living.push(id);
            }
        }
    };
    // The first makes the items what they will stay, hot or cold.
    run(&mut Vec::new());
    let runs: Vec<_> = (0..options.runs).map(|_| figures(&mut run)).collect();
    let kept = if is_hot { "hot" } else { "cold" };
    print_medians(&format!("{:<12} {value_len:>10} {kept:>5}", kind.name()), &runs);
}

fn main() {
    let options = Options::parse();
    let kinds: Vec<Kind> = Kind::value_variants()
        .iter()
        .copied()
        .filter(|kind| options.only.is_empty() || options.only.contains(kind))
        .collect();

    let start = Instant::now();
    let mut ids = Ids::new(Op::Get, 1 << 20, 0);
    for _ in 0..OP_COUNT_MAX {
        let id = ids.next();
        black_box((key(id), value(id, VALUE_LEN)));
    }
    let key_ns = start.elapsed().as_secs_f64() * 1e9 / OP_COUNT_MAX as f64;
    println!(
        "ns per operation, keys of {KEY_LEN} bytes, values of {VALUE_LEN}; making a key takes {key_ns:.1}"
    );
    print_head(
        &format!("{:<12} {:>10} {:>7} {:>5}", "", "items", "threads", "batch"),
        &["get", "miss", "overwrite", "delete", "insert", "evict", "fill", "cpu %"],
    );
    for &items in &options.items {
        for &kind in &kinds {
            operations(&options, kind, items);
        }
    }

    println!("\nns of single sets of new keys into a full cache of {} MiB", TAIL_LIMIT_BYTES >> 20);
    print_head(
        &format!("{:<12} {:>10} {:>5}", "", "value", "items"),
        &["mean", "99 %", "99.9 %", "99.99 %", "max", "cpu %"],
    );
    let empty = |times_ns: &mut Vec<u64>| {
        times_ns.extend((0..TAIL_SET_COUNT).map(|_| timed_ns(|| ())));
    };
    let runs: Vec<_> = (0..options.runs).map(|_| figures(empty)).collect();
    print_medians(&format!("{:<29}", "empty timing"), &runs);
    for value_len in TAIL_VALUE_LENS {
        for is_hot in [false, true] {
            for &kind in kinds.iter().filter(|kind| kind.has_limit()) {
                tail(&options, kind, value_len, is_hot);
            }
        }
    }
}
