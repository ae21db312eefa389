//! What one operation costs on one thread, without sockets: the parser, the store, and a whole burst.
//!
//! `cargo bench` runs it; `cargo bench -- burst` a part. Times mean something next to each other only.

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use larder::command::Context;
use larder::config::Config;
use larder::connection::burst::{Next, Session};
use larder::instance::Instance;
use larder::log::Log;
use larder::replies::Replies;
use larder::store::{Cas, Deadline, ItemSize, Now, Store, StoreConfig, StoreMode, Write};
use larder_protocol::{Limits, Streams, parse};
use std::hint::black_box;

const LIMITS: Limits = Limits { item_size_max: 1 << 20, cas: true };
const NOW: Now = Now { ms: 1, unix_ms: 1_800_000_000_000 };
const KEYS: u64 = 100_000;

fn key(number: u64) -> String {
    format!("key:{number:016}")
}

/// A walk over all keys that no cache line prefetcher can follow.
fn next(number: &mut u64) -> u64 {
    *number = (*number * 1_103_515_245 + 12_345) % (1 << 31);
    *number % KEYS
}

fn parser(c: &mut Criterion) {
    let mut group = c.benchmark_group("parse");
    for (name, request) in [
        ("get", "get key:0000000000000001\r\n".to_owned()),
        ("set 100 B", format!("set key:0000000000000001 0 60 100\r\n{}\r\n", "v".repeat(100))),
        ("incr", "incr key:0000000000000001 1\r\n".to_owned()),
    ] {
        group.bench_function(name, |b| b.iter(|| parse(black_box(request.as_bytes()), LIMITS)));
    }
    group.finish();
}

fn write<'a>(store: &Store, key: &'a str, value: &'a [u8]) -> Write<'a> {
    Write {
        mode: StoreMode::Set,
        key: store.key(key.as_bytes()),
        flags: 0,
        deadline: Deadline::NEVER,
        value,
        cas: Cas::default(),
        is_base64: false,
    }
}

fn full_store(limit_bytes: u64) -> (Store, Vec<String>) {
    let item_size = ItemSize { header_len: 59, flags_len: 4, max: 1 << 20 };
    let store = Store::new(&StoreConfig::for_limit(limit_bytes, item_size));
    let keys: Vec<String> = (0..KEYS).map(key).collect();
    for key in &keys {
        store.store(&write(&store, key, &[b'v'; 100]), NOW);
    }
    (store, keys)
}

fn store(c: &mut Criterion) {
    let mut group = c.benchmark_group("store");
    let (store, keys) = full_store(1 << 30);
    let mut number = 1;
    let mut out = Vec::with_capacity(256);
    group.bench_function("get hit", |b| {
        b.iter(|| {
            out.clear();
            let key = &keys[usize::try_from(next(&mut number)).expect("a small number")];
            store.get(store.key(key.as_bytes()), NOW, |item| item.value.copy_to(&mut out))
        });
    });
    group.bench_function("get miss", |b| {
        b.iter(|| store.get(store.key(black_box(b"no such key")), NOW, |item| item.flags));
    });
    group.bench_function("set, same size", |b| {
        b.iter(|| {
            let key = &keys[usize::try_from(next(&mut number)).expect("a small number")];
            store.store(&write(&store, key, &[b'w'; 100]), NOW)
        });
    });
    drop(store);
    // Room for about a third of the keys: every new one throws an old one out.
    let (store, _) = full_store(12 << 20);
    let mut fresh = KEYS;
    group.bench_function("set, with eviction", |b| {
        b.iter_batched(
            || {
                fresh += 1;
                key(fresh)
            },
            |key| store.store(&write(&store, &key, &[b'v'; 100]), NOW),
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

fn burst(c: &mut Criterion) {
    let config =
        Config { memory_limit_bytes: 1 << 30, requests_per_event: 1000, ..Config::default() };
    let instance = Instance::new(config, Log::default(), Vec::new());
    let cx = Context {
        instance: &instance,
        counters: &instance.counters[0],
        now: NOW,
        watched: Streams::default(),
        cfd: 0,
    };
    let keys: Vec<String> = (0..KEYS).map(key).collect();
    for key in &keys {
        instance.store.store(&write(&instance.store, key, &[b'v'; 100]), NOW);
    }
    let mut group = c.benchmark_group("burst");
    let mut session = Session::new(instance.config.protocol);
    let mut out = Replies::default();
    for count in [1_usize, 32] {
        let bursts: Vec<String> = keys
            .chunks_exact(count)
            .map(|keys| format!("get {}\r\n", keys.join("\r\nget ")))
            .collect();
        group.throughput(Throughput::Elements(count as u64));
        let mut number = 1;
        group.bench_function(format!("{count} get"), |b| {
            b.iter(|| {
                out.clear();
                let index = usize::try_from(next(&mut number)).expect("a small number");
                let input = bursts[index % bursts.len()].as_bytes();
                let progress = session.run(&cx, input, &mut out);
                assert!(matches!(progress.next, Next::Read { .. }));
            });
        });
    }
    group.finish();
}

criterion_group!(benches, parser, store, burst);
criterion_main!(benches);
