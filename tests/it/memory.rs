//! The memory promise, over sockets: the process keeps to `-m` and a little, whatever sizes come, however
//! they drift; and while what lives leaves room, nothing is evicted.

use crate::client::Client;
use crate::larder;
use crate::process::Server;
use std::collections::{HashMap, VecDeque};

const LIMIT_MIB: u64 = 64;
/// What the process may take beside its `-m`, in MiB: code, threads, buffers of a few clients.
const BESIDE_MIB_MAX: u64 = 16;
/// The sizes of values that a drift goes between, in bytes.
const LEN_MIN: f64 = 64.0;
const LEN_MAX: f64 = 262_144.0;
/// A value just under the item size limit, for 59 bytes of header and the longest key.
const LEN_LARGE: usize = (1 << 20) - 80;
/// As much is written between two looks at the memory, in bytes.
const LOOK_LEN: usize = 8 << 20;
/// Sent at once, in bytes.
const BURST_LEN: usize = 1 << 18;
/// At the small end of a drift, as much is written while sizes double, in bytes: more and more as they grow.
const DOUBLING_LEN: f64 = (8 << 20) as f64;

/// Random numbers, the same in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}

/// Lengths of values: log-uniform around a middle that goes up from [`LEN_MIN`] to [`LEN_MAX`] and down again.
struct Drift {
    random: Random,
    middle: f64,
    is_rising: bool,
    cycle_count: u32,
}

impl Drift {
    fn new() -> Self {
        let random = Random(0x2545_f491_4f6c_dd1d);
        Self { random, middle: LEN_MIN, is_rising: true, cycle_count: 0 }
    }

    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "lengths are small"
    )]
    fn next_len(&mut self) -> usize {
        if self.random.below(50_000_000) < self.middle as u64 {
            return LEN_LARGE;
        }
        // From half the middle to twice that.
        let len = self.middle * (self.random.below(2001) as f64 / 1000.0 - 1.0).exp2();
        // Without the root, nearly all values would be small or nearly all bytes in large ones.
        let doublings = (len + 60.0) / (DOUBLING_LEN * (self.middle / LEN_MIN).sqrt());
        self.middle *= if self.is_rising { doublings } else { -doublings }.exp2();
        if self.middle >= LEN_MAX {
            self.is_rising = false;
        } else if self.middle <= LEN_MIN && !self.is_rising {
            self.is_rising = true;
            self.cycle_count += 1;
        }
        len as usize
    }
}

/// Bytes of which each value is a part, which its key and its length choose.
struct Pattern(Vec<u8>);

impl Pattern {
    fn new() -> Self {
        let mut random = Random(7);
        Self((0..1 << 18).flat_map(|_| random.next().to_le_bytes()).collect())
    }

    fn value(&self, key: usize, len: usize) -> &[u8] {
        let at = (key * 7919 + len * 104_729) % (self.0.len() - LEN_LARGE);
        &self.0[at..at + len]
    }
}

/// A server, what was stored in it, and the connection that does so.
struct Soak {
    server: Server,
    client: Client,
    drift: Drift,
    pattern: Pattern,
    burst: Vec<u8>,
    /// The length of the value that each key was given last; `None` where it was deleted.
    lens: Vec<Option<usize>>,
    written_len: usize,
}

impl Soak {
    fn new() -> Self {
        let server = larder(&["-m", &LIMIT_MIB.to_string()]);
        let client = Client::connect(&server);
        Self {
            server,
            client,
            drift: Drift::new(),
            pattern: Pattern::new(),
            burst: Vec::new(),
            lens: Vec::new(),
            written_len: 0,
        }
    }

    fn set(&mut self, key: usize, len: usize) {
        if key == self.lens.len() {
            self.lens.push(None);
        }
        self.lens[key] = Some(len);
        self.burst.extend_from_slice(format!("set {key} 0 0 {len} noreply\r\n").as_bytes());
        self.burst.extend_from_slice(self.pattern.value(key, len));
        self.burst.extend_from_slice(b"\r\n");
        self.written_len += len;
        self.send_if_much();
    }

    fn delete(&mut self, key: usize) {
        self.lens[key] = None;
        self.burst.extend_from_slice(format!("delete {key} noreply\r\n").as_bytes());
        self.send_if_much();
    }

    fn send_if_much(&mut self) {
        if self.burst.len() > BURST_LEN {
            self.client.send(&self.burst);
            self.burst.clear();
        }
    }

    /// All that was sent has been carried out.
    fn catch_up(&mut self) {
        self.burst.extend_from_slice(b"version\r\n");
        let burst = std::mem::take(&mut self.burst);
        self.client.ask(&burst, "VERSION 1.6.45\r\n");
    }

    /// What `/proc` says of the server's memory, in KiB.
    fn status_kib(&self, name: &str) -> u64 {
        let path = format!("/proc/{}/status", self.server.pid());
        let status = std::fs::read_to_string(path).expect("it runs");
        let line = status.lines().find(|line| line.starts_with(name)).expect("a size");
        line.split_whitespace().nth(1).expect("a number").parse().expect("a number")
    }

    /// Looks at the memory of the process, and at the store's own books; what those say.
    fn look(&mut self) -> HashMap<String, u64> {
        self.catch_up();
        // The most that it ever was: between two looks nothing stays unseen.
        let rss_kib = self.status_kib("VmHWM:").max(self.status_kib("VmRSS:"));
        assert!(
            rss_kib <= (LIMIT_MIB + BESIDE_MIB_MAX) << 10,
            "{rss_kib} KiB after {} bytes, values of about {:.0} bytes",
            self.written_len,
            self.drift.middle,
        );
        // The name of the policy is no number.
        let number = |(name, value): (String, String)| Some((name, value.parse().ok()?));
        let store: HashMap<String, u64> =
            self.client.stat_lines(" store").into_iter().filter_map(number).collect();
        assert!(store["store_bytes"] <= store["limit_bytes"], "{store:?}");
        let parts = ["segment_bytes", "index_bytes", "ghost_bytes", "large_bytes"];
        let sum: u64 = parts.iter().map(|part| store[*part]).sum();
        assert_eq!(sum, store["store_bytes"], "{store:?}");
        store
    }

    /// Reads some keys; how many of them were there. What is there is what was stored last.
    fn read(&mut self, keys: impl Iterator<Item = usize>) -> usize {
        let mut hit_count = 0;
        for key in keys {
            self.client.send(format!("get {key}\r\n"));
            let head = self.client.line();
            if head == "END" {
                continue;
            }
            let len = self.lens[key].unwrap_or_else(|| panic!("key {key} was deleted: {head}"));
            assert_eq!(head, format!("VALUE {key} 0 {len}"));
            let value = self.client.bytes(len + 2);
            assert!(value[..len] == *self.pattern.value(key, len), "the value of key {key}");
            assert_eq!(self.client.line(), "END");
            hit_count += 1;
        }
        hit_count
    }
}

#[test]
fn the_process_keeps_to_its_memory_when_sizes_drift() {
    let mut soak = Soak::new();
    let (mut looked, mut hit_count) = (0, 0);
    while soak.written_len < 10_000_000_000 {
        let len = soak.drift.next_len();
        let recent = soak.lens.len().min(100_000) as u64 + 1;
        let back = usize::try_from(soak.drift.random.below(recent)).expect("a position");
        let key = soak.lens.len() - back;
        match soak.drift.random.below(8) {
            0 if key < soak.lens.len() => soak.delete(key),
            1 | 2 => soak.set(key, len),
            _ => soak.set(soak.lens.len(), len),
        }
        if soak.written_len >= looked + LOOK_LEN {
            looked = soak.written_len;
            soak.look();
            let end = soak.lens.len();
            let keys: Vec<usize> = (0..16)
                .map(|_| soak.drift.random.below(end.min(1000) as u64))
                .map(|back| end - 1 - usize::try_from(back).expect("a position"))
                .collect();
            hit_count += soak.read(keys.into_iter());
        }
    }
    let evictions = soak.client.stat("evictions");
    assert!(soak.drift.cycle_count >= 3 && hit_count > 1000 && evictions > 100_000);
}

/// What an item takes besides key and value, in bytes; the index comes on top.
const HEADER_LEN: usize = 32;

#[test]
fn nothing_is_evicted_while_there_is_room() {
    let mut soak = Soak::new();
    // What the books say between two looks may grow by a percent: of index and ghosts.
    let room = (LIMIT_MIB << 20) * 88 / 100;
    let mut living = VecDeque::new();
    let (mut living_len, mut looked, mut found_len) = (0, 0, 0);
    while soak.written_len < 2_000_000_000 {
        let len = soak.drift.next_len();
        let cost = |len: usize, key: usize| (len + HEADER_LEN + key.to_string().len()) as u64;
        while living_len + found_len + cost(len, soak.lens.len()) > room {
            let oldest_first = soak.drift.cycle_count.is_multiple_of(2);
            let any = soak.drift.random.below(living.len() as u64);
            let place = if oldest_first { 0 } else { usize::try_from(any).expect("a position") };
            let key: usize = living.swap_remove_front(place).expect("something lives");
            living_len -= cost(soak.lens[key].expect("it lives"), key);
            soak.delete(key);
        }
        let any = soak.drift.random.below(living.len() as u64 * 4 + 1);
        let place = usize::try_from(any).expect("a position");
        let key = living.get(place).copied().unwrap_or(soak.lens.len());
        match soak.lens.get(key) {
            Some(old_len) => living_len -= cost(old_len.expect("it lives"), key),
            None => living.push_back(key),
        }
        living_len += cost(len, key);
        soak.set(key, len);
        if soak.written_len >= looked + LOOK_LEN / 2 {
            looked = soak.written_len;
            let store = soak.look();
            found_len = store["index_bytes"] + store["ghost_bytes"];
            let held = store["segment_live_bytes"] + store["large_bytes"] + found_len;
            let percent = held * 100 / store["limit_bytes"];
            assert!(percent < 90, "{percent} % live: {store:?}");
            let (evictions, count) =
                (soak.client.stat("evictions"), soak.client.stat("curr_items"));
            assert_eq!(
                (evictions, count),
                (0, living.len() as u64),
                "evictions and items when {looked} bytes were written, values of about {:.0}, {percent} % live: {store:?}",
                soak.drift.middle,
            );
        }
    }
    // What was gathered for the next burst belongs to what lives, too.
    soak.catch_up();
    assert_eq!(soak.client.stat("evictions"), 0);
    assert_eq!(soak.read(living.iter().copied()), living.len());
}
