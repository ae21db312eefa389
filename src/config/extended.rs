//! `-o`: the sub-options.
//!
//! Owns the few that matter here and the table of those that are memcached's own affair: its
//! slabs, its LRU lists and its hash table. The latter are read, checked lightly, so that a slip
//! is noticed, and reported as being without effect. A refusal is a whole sentence.

use super::Eviction;
use super::value::{decimal, digits, size};
use std::ops::RangeInclusive;

/// The largest number of seconds that `idle_timeout` takes.
const IDLE_TIMEOUT_MAX_S: u32 = 2_147_483_647;
/// The largest number of seconds that `drain_timeout` takes: an hour.
const DRAIN_TIMEOUT_MAX_S: u32 = 3600;
/// The bytes that `connection_memory` takes: 1 MiB to 1 PiB.
const CONNECTION_MEMORY_BYTES: RangeInclusive<u64> = 1 << 20..=1 << 50;
/// The largest number of connections that `maxconns_per_ip` takes.
const MAXCONNS_PER_IP_MAX: u32 = 2_147_483_647;

/// The kilobytes that `watcher_logbuf_size` takes: any line that is shown has room in one of them.
const WATCHER_LOGBUF_KB: RangeInclusive<usize> = 1..=1 << 20;

/// One sub-option.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Extended {
    /// `connection_memory`, in bytes.
    ConnectionMemory(u64),
    /// `eviction`: who goes first.
    Eviction(Eviction),
    /// `drain_timeout`, in seconds.
    DrainTimeout(u32),
    /// `idle_timeout`, in seconds; 0 is for ever.
    IdleTimeout(u32),
    /// `maxconns_fast` or `no_maxconns_fast`.
    MaxconnsFast(bool),
    /// `maxconns_per_ip`; 0 is any number.
    MaxconnsPerIp(u32),
    /// `watcher_logbuf_size`, in KB.
    WatcherLogbufSize(usize),
    /// `track_sizes`.
    TrackSizes,
    /// Any of [`WITHOUT_EFFECT`], as written.
    WithoutEffect(String),
}

/// The value of one `-o`; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ExtendedList(pub(super) Vec<Extended>);

/// What a sub-option without effect may have behind its `=`.
enum Takes {
    Nothing,
    /// The wording of a refusal, and what refuses.
    Value(&'static str, fn(&str) -> bool),
    /// The same, and it may also be left away.
    MaybeValue(&'static str, fn(&str) -> bool),
}

const NUMBER: Takes = Takes::Value("a number", |text| digits::<u32>(text).is_some());
const COUNT: Takes = Takes::Value("a number from 1", |text| at_least(text, 1));
const PERCENTAGE: Takes = Takes::Value("1 to 80", |text| within(text, 1, 80));
const RATIO: Takes =
    Takes::Value("a number from 0 to 1", |text| decimal(text).is_some_and(|ratio| ratio <= 1.0));
const FACTOR: Takes = Takes::Value("a number greater than 0", |text| {
    decimal(text).is_some_and(|factor| factor > 0.0)
});

const WITHOUT_EFFECT: &[(&str, Takes)] = &[
    ("hash_algorithm", Takes::Value("jenkins, murmur3 or xxh3", is_hash_algorithm)),
    ("hashpower", Takes::Value("12 to 32", |text| within(text, 12, 32))),
    ("hot_lru_pct", PERCENTAGE),
    ("hot_max_factor", FACTOR),
    ("inline_ascii_resp", Takes::Nothing),
    ("lru_crawler", Takes::Nothing),
    ("lru_crawler_sleep", Takes::Value("0 to 1000000", |text| within(text, 0, 1_000_000))),
    ("lru_crawler_tocrawl", NUMBER),
    ("lru_maintainer", Takes::Nothing),
    ("modern", Takes::Nothing),
    ("no_chunked_items", Takes::Nothing),
    ("no_drop_privileges", Takes::Nothing),
    ("no_hashexpand", Takes::Nothing),
    ("no_inline_ascii_resp", Takes::Nothing),
    ("no_lru_crawler", Takes::Nothing),
    ("no_lru_maintainer", Takes::Nothing),
    ("no_modern", Takes::Nothing),
    ("no_slab_automove", Takes::Nothing),
    ("no_slab_reassign", Takes::Nothing),
    ("read_buf_mem_limit", NUMBER),
    ("resp_obj_mem_limit", NUMBER),
    ("slab_automove", Takes::MaybeValue("0, 1 or 2", |text| within(text, 0, 2))),
    ("slab_automove_freeratio", RATIO),
    ("slab_automove_ratio", RATIO),
    ("slab_automove_window", COUNT),
    ("slab_chunk_max", COUNT),
    ("slab_reassign", Takes::Nothing),
    ("slab_sizes", Takes::Value("numbers with hyphens between them", is_size_list)),
    ("tail_repair_time", Takes::Value("a number from 10", |text| at_least(text, 10))),
    ("temporary_ttl", NUMBER),
    ("warm_lru_pct", PERCENTAGE),
    ("warm_max_factor", FACTOR),
    ("worker_logbuf_size", NUMBER),
];

/// Reads a list whose items stand between commas. An empty item is skipped; a list of nothing
/// else is refused.
pub(super) fn list(text: &str) -> Result<ExtendedList, String> {
    let items: Vec<Extended> = text
        .split(',')
        .map(str::trim)
        .filter(|item| !item.is_empty())
        .map(extended)
        .collect::<Result<_, _>>()?;
    if items.is_empty() {
        return Err(format!(
            "-o/--extended takes a list of options with commas between them, not '{text}'"
        ));
    }
    Ok(ExtendedList(items))
}

/// A number from 0; `what` is what it counts.
fn number(name: &str, what: &str, value: Option<&str>, max: u32) -> Result<u32, String> {
    value
        .and_then(digits)
        .filter(|number| *number <= max)
        .ok_or_else(|| wrong_value(name, &format!("a number of {what} from 0 to {max}"), value))
}

fn seconds(name: &str, value: Option<&str>, max: u32) -> Result<u32, String> {
    number(name, "seconds", value, max)
}

fn extended(item: &str) -> Result<Extended, String> {
    let (name, value) = match item.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (item, None),
    };
    match name {
        "connection_memory" => value
            .and_then(|text| size(text, CONNECTION_MEMORY_BYTES))
            .map(Extended::ConnectionMemory)
            .ok_or_else(|| {
                let sizes =
                    "a size from 1m to 1048576g, in bytes or with one of k, m and g behind it";
                wrong_value(name, sizes, value)
            }),
        "eviction" => value
            .and_then(|name| Eviction::ALL.into_iter().find(|eviction| eviction.name() == name))
            .map(Extended::Eviction)
            .ok_or_else(|| wrong_value(name, "s3fifo, lru or lfu", value)),
        "drain_timeout" => seconds(name, value, DRAIN_TIMEOUT_MAX_S).map(Extended::DrainTimeout),
        "idle_timeout" => seconds(name, value, IDLE_TIMEOUT_MAX_S).map(Extended::IdleTimeout),
        "maxconns_fast" | "no_maxconns_fast" => match value {
            None => Ok(Extended::MaxconnsFast(name == "maxconns_fast")),
            Some(value) => Err(needless_value(name, value)),
        },
        "watcher_logbuf_size" => value
            .and_then(digits)
            .filter(|kb| WATCHER_LOGBUF_KB.contains(kb))
            .map(Extended::WatcherLogbufSize)
            .ok_or_else(|| wrong_value(name, "a number of kilobytes from 1 to 1048576", value)),
        "track_sizes" => match value {
            None => Ok(Extended::TrackSizes),
            Some(value) => Err(needless_value(name, value)),
        },
        "maxconns_per_ip" => {
            number(name, "connections", value, MAXCONNS_PER_IP_MAX).map(Extended::MaxconnsPerIp)
        }
        _ => without_effect(item, name, value),
    }
}

fn without_effect(item: &str, name: &str, value: Option<&str>) -> Result<Extended, String> {
    let (_, takes) = WITHOUT_EFFECT
        .iter()
        .find(|(known, _)| *known == name)
        .ok_or_else(|| format!("unknown -o option '{name}'"))?;
    match (takes, value) {
        (Takes::Nothing, Some(value)) => return Err(needless_value(name, value)),
        (Takes::Nothing | Takes::MaybeValue(..), None) => {}
        (Takes::Value(expected, holds) | Takes::MaybeValue(expected, holds), _) => {
            if !value.is_some_and(holds) {
                return Err(wrong_value(name, expected, value));
            }
        }
    }
    Ok(Extended::WithoutEffect(item.to_owned()))
}

fn needless_value(name: &str, value: &str) -> String {
    format!("-o {name} takes no value, but has '{value}'")
}

fn wrong_value(name: &str, expected: &str, value: Option<&str>) -> String {
    match value {
        Some(value) => format!("-o {name} takes {expected}, not '{value}'"),
        None => format!("-o {name} takes {expected} behind a '=', not nothing"),
    }
}

fn within(text: &str, low: u32, high: u32) -> bool {
    digits(text).is_some_and(|number| (low..=high).contains(&number))
}

fn at_least(text: &str, low: u32) -> bool {
    within(text, low, u32::MAX)
}

fn is_hash_algorithm(text: &str) -> bool {
    matches!(text, "jenkins" | "murmur3" | "xxh3")
}

fn is_size_list(text: &str) -> bool {
    text.split('-').all(|size| at_least(size, 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> Extended {
        let ExtendedList(mut items) = list(text).unwrap_or_else(|e| panic!("{text}: {e}"));
        assert_eq!(items.len(), 1);
        items.remove(0)
    }

    #[test]
    fn with_effect() {
        assert_eq!(one("connection_memory=1m"), Extended::ConnectionMemory(1 << 20));
        assert_eq!(one("connection_memory=1048576"), Extended::ConnectionMemory(1 << 20));
        assert_eq!(one("connection_memory=1048576g"), Extended::ConnectionMemory(1 << 50));
        assert_eq!(one("eviction=s3fifo"), Extended::Eviction(Eviction::S3Fifo));
        assert_eq!(one("eviction=lru"), Extended::Eviction(Eviction::Lru));
        assert_eq!(one("eviction=lfu"), Extended::Eviction(Eviction::Lfu));
        assert_eq!(one("drain_timeout=0"), Extended::DrainTimeout(0));
        assert_eq!(one("drain_timeout=3600"), Extended::DrainTimeout(3600));
        assert_eq!(one("idle_timeout=0"), Extended::IdleTimeout(0));
        assert_eq!(one("idle_timeout=2147483647"), Extended::IdleTimeout(2_147_483_647));
        assert_eq!(one("maxconns_fast"), Extended::MaxconnsFast(true));
        assert_eq!(one("no_maxconns_fast"), Extended::MaxconnsFast(false));
        assert_eq!(one("watcher_logbuf_size=1"), Extended::WatcherLogbufSize(1));
        assert_eq!(one("watcher_logbuf_size=1048576"), Extended::WatcherLogbufSize(1 << 20));
        assert_eq!(one("track_sizes"), Extended::TrackSizes);
        assert_eq!(one("maxconns_per_ip=0"), Extended::MaxconnsPerIp(0));
        assert_eq!(one("maxconns_per_ip=2147483647"), Extended::MaxconnsPerIp(2_147_483_647));
    }

    #[test]
    fn lists_keep_their_order() {
        let ExtendedList(items) = list(" modern, idle_timeout=5,,slab_automove=1,").unwrap();
        assert_eq!(
            items,
            [
                Extended::WithoutEffect("modern".to_owned()),
                Extended::IdleTimeout(5),
                Extended::WithoutEffect("slab_automove=1".to_owned()),
            ]
        );
    }

    /// For each sub-option: values at both ends of what it takes, and values beyond.
    #[test]
    fn without_effect_but_checked() {
        let rows: &[(&str, &[&str], &[&str])] = &[
            ("hash_algorithm", &["=jenkins", "=murmur3", "=xxh3"], &["", "=md5"]),
            ("hashpower", &["=12", "=32"], &["", "=11", "=33", "=x"]),
            ("hot_lru_pct", &["=1", "=80"], &["", "=0", "=81"]),
            ("hot_max_factor", &["=0.2", "=5"], &["", "=0", "=-1", "=x"]),
            ("inline_ascii_resp", &[""], &["=1"]),
            ("lru_crawler", &[""], &["=1"]),
            ("lru_crawler_sleep", &["=0", "=1000000"], &["", "=1000001"]),
            ("lru_crawler_tocrawl", &["=0", "=4294967295"], &["", "=4294967296"]),
            ("lru_maintainer", &[""], &["=1"]),
            ("modern", &[""], &["=1", "="]),
            ("no_chunked_items", &[""], &["=1"]),
            ("no_drop_privileges", &[""], &["=1"]),
            ("no_hashexpand", &[""], &["=1"]),
            ("no_inline_ascii_resp", &[""], &["=1"]),
            ("no_lru_crawler", &[""], &["=1"]),
            ("no_lru_maintainer", &[""], &["=1"]),
            ("no_modern", &[""], &["=1"]),
            ("no_slab_automove", &[""], &["=1"]),
            ("no_slab_reassign", &[""], &["=1"]),
            ("read_buf_mem_limit", &["=0", "=64"], &["", "=x"]),
            ("resp_obj_mem_limit", &["=0", "=64"], &["", "=x"]),
            ("slab_automove", &["", "=0", "=2"], &["=3", "="]),
            ("slab_automove_freeratio", &["=0", "=0.01", "=1"], &["", "=1.1", "=x"]),
            ("slab_automove_ratio", &["=0.8"], &["", "=1.1"]),
            ("slab_automove_window", &["=1"], &["", "=0"]),
            ("slab_chunk_max", &["=1", "=512"], &["", "=0"]),
            ("slab_reassign", &[""], &["=1"]),
            ("slab_sizes", &["=8", "=100-200-300"], &["", "=", "=8--9", "=x", "=0-1"]),
            ("tail_repair_time", &["=10"], &["", "=9"]),
            ("temporary_ttl", &["=0", "=61"], &["", "=x"]),
            ("warm_lru_pct", &["=1", "=80"], &["", "=0", "=81"]),
            ("warm_max_factor", &["=2.0"], &["", "=0"]),
            ("worker_logbuf_size", &["=64"], &["", "=x"]),
        ];
        let tested: Vec<&str> = rows.iter().map(|row| row.0).collect();
        let known: Vec<&str> = WITHOUT_EFFECT.iter().map(|row| row.0).collect();
        assert_eq!(tested, known);
        for (name, accepted, refused) in rows {
            for value in *accepted {
                let item = format!("{name}{value}");
                assert_eq!(one(&item), Extended::WithoutEffect(item));
            }
            for value in *refused {
                let refusal = list(&format!("{name}{value}")).unwrap_err();
                assert!(refusal.starts_with(&format!("-o {name} takes ")), "{refusal}");
            }
        }
    }

    #[test]
    fn refusals() {
        for (text, refusal) in [
            ("", "-o/--extended takes a list of options with commas between them, not ''"),
            (",", "-o/--extended takes a list of options with commas between them, not ','"),
            ("eviction=LRU", "-o eviction takes s3fifo, lru or lfu, not 'LRU'"),
            ("eviction", "-o eviction takes s3fifo, lru or lfu behind a '=', not nothing"),
            (
                "drain_timeout=3601",
                "-o drain_timeout takes a number of seconds from 0 to 3600, not '3601'",
            ),
            (
                "idle_timeout=2147483648",
                "-o idle_timeout takes a number of seconds from 0 to 2147483647, not '2147483648'",
            ),
            (
                "idle_timeout",
                "-o idle_timeout takes a number of seconds from 0 to 2147483647 behind a '=', not \
                 nothing",
            ),
            (
                "connection_memory=1023k",
                "-o connection_memory takes a size from 1m to 1048576g, in bytes or with one of k, \
                 m and g behind it, not '1023k'",
            ),
            (
                "connection_memory=0",
                "-o connection_memory takes a size from 1m to 1048576g, in bytes or with one of k, \
                 m and g behind it, not '0'",
            ),
            (
                "connection_memory=1048577g",
                "-o connection_memory takes a size from 1m to 1048576g, in bytes or with one of k, \
                 m and g behind it, not '1048577g'",
            ),
            (
                "maxconns_per_ip=2147483648",
                "-o maxconns_per_ip takes a number of connections from 0 to 2147483647, not \
                 '2147483648'",
            ),
            ("maxconns_fast=1", "-o maxconns_fast takes no value, but has '1'"),
            ("no_maxconns_fast=", "-o no_maxconns_fast takes no value, but has ''"),
            (
                "watcher_logbuf_size=0",
                "-o watcher_logbuf_size takes a number of kilobytes from 1 to 1048576, not '0'",
            ),
            (
                "watcher_logbuf_size=1048577",
                "-o watcher_logbuf_size takes a number of kilobytes from 1 to 1048576, not \
                 '1048577'",
            ),
            (
                "watcher_logbuf_size",
                "-o watcher_logbuf_size takes a number of kilobytes from 1 to 1048576 behind a \
                 '=', not nothing",
            ),
            ("track_sizes=1", "-o track_sizes takes no value, but has '1'"),
            ("modern=1", "-o modern takes no value, but has '1'"),
            ("hashpower=11", "-o hashpower takes 12 to 32, not '11'"),
            ("hashpower", "-o hashpower takes 12 to 32 behind a '=', not nothing"),
            ("modern,ext_path=/x:1G", "unknown -o option 'ext_path'"),
            ("slab_foo", "unknown -o option 'slab_foo'"),
            ("=", "unknown -o option ''"),
        ] {
            assert_eq!(list(text).unwrap_err(), refusal, "{text}");
        }
    }
}
