//! The rows of the table: what is measured, by name.

use crate::draws::Popularity::{self, New, OneKey, Uniform, Zipf};
use crate::process::Outcome;
use crate::wire::Read;

/// A row of the table, which every server gets.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) kind: Kind,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    Load(Shape),
    /// Many connections that do nothing.
    IdleConnections,
    /// A server that nobody speaks to.
    Idle,
}

/// What the connections of a load do.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) read: Read,
    pub(crate) set_percent: u32,
    pub(crate) popularity: Popularity,
    pub(crate) connections: usize,
    /// Requests of a connection that are sent together.
    pub(crate) depth: usize,
    pub(crate) value_len: usize,
    /// `-m 64`, which is less than is stored: keys may miss.
    pub(crate) evicts: bool,
    pub(crate) reconnect_every: Option<usize>,
    /// At half of memcached's peak, whether or not the server keeps up.
    pub(crate) is_open_loop: bool,
    /// `-t`, where it is not the number of the server's processors.
    pub(crate) workers: Option<usize>,
    /// `-R`, where it is not the default.
    pub(crate) requests_per_turn: Option<u32>,
}

const GET: Shape = Shape {
    read: Read::Get(1),
    set_percent: 0,
    popularity: Zipf,
    connections: 50,
    depth: 1,
    value_len: 100,
    evicts: false,
    reconnect_every: None,
    is_open_loop: false,
    workers: None,
    requests_per_turn: None,
};
const SET: Shape = Shape { set_percent: 100, ..GET };
const MIX: Shape = Shape { set_percent: 10, ..GET };
/// Of many bytes: keys are few, and which it is does not matter.
const GET_LARGE: Shape = Shape { popularity: Uniform, ..GET };
const SET_LARGE: Shape = Shape { popularity: Uniform, ..SET };

/// Whose processor time over whose says what batches are worth, and what a second worker on the same key costs.
pub(crate) const COMPARED: [(&str, &str, &str); 3] = [
    ("pipelined by 32, in turns of one request over whole turns", "get-50x32-turns-1", "get-50x32"),
    ("one request at a time over pipelined by 32", "get-50", "get-50x32"),
    ("all on one key, two workers over one", "one-key-2-workers", "one-key"),
];

/// All rows, in their order.
pub(crate) const ROWS: [Row; 36] = [
    load("get-50", "get, 50 connections", GET),
    load("get-500", "get, 500 connections", of_500(GET)),
    load("set-50", "set, 50 connections", SET),
    load("set-500", "set, 500 connections", of_500(SET)),
    load("mix-50", "90 % get, 10 % set, 50 connections", MIX),
    load("mix-500", "90 % get, 10 % set, 500 connections", of_500(MIX)),
    load("get-50x32", "get, 50 connections, pipelined by 32", by_32(GET)),
    load("get-500x32", "get, 500 connections, pipelined by 32", by_32(of_500(GET))),
    load("get-50x32-uniform", "the same as get-50x32, all keys alike", uniform(by_32(GET))),
    load("set-50x32", "set, 50 connections, pipelined by 32", by_32(SET)),
    load("set-500x32", "set, 500 connections, pipelined by 32", by_32(of_500(SET))),
    load("mix-50x32", "90 % get, 10 % set, 50 connections, pipelined by 32", by_32(MIX)),
    load("mix-500x32", "90 % get, 10 % set, 500 connections, pipelined by 32", by_32(of_500(MIX))),
    load("get-50x32-turns-1", "the same as get-50x32, with -R 1", turns_of_one(by_32(GET))),
    load("mg-50x32", "meta get with the value, 50 connections, pipelined by 32", meta(by_32(GET))),
    load("mg-50x32-uniform", "the same, all keys alike", uniform(meta(by_32(GET)))),
    load("get-of-100", "get of 100 keys, 50 connections", of_100(GET)),
    load("get-of-100-uniform", "the same, all keys alike", uniform(of_100(GET))),
    load("get-100B", "get of values of 100 B, 50 connections, all keys alike", GET_LARGE),
    load("get-4KB", "get of values of 4 KB", sized(GET_LARGE, 4 << 10)),
    load("get-64KB", "get of values of 64 KB", sized(GET_LARGE, 64 << 10)),
    load("get-1MB", "get of values of 1 MB", sized(GET_LARGE, 1 << 20)),
    load("set-100B", "set of values of 100 B, 50 connections, all keys alike", SET_LARGE),
    load("set-4KB", "set of values of 4 KB", sized(SET_LARGE, 4 << 10)),
    load("set-64KB", "set of values of 64 KB", sized(SET_LARGE, 64 << 10)),
    load("set-1MB", "set of values of 1 MB", sized(SET_LARGE, 1 << 20)),
    load(
        "reconnect",
        "get, 50 connections, each opened anew after 10 requests",
        Shape { reconnect_every: Some(10), ..GET },
    ),
    load(
        "evict",
        "set of keys that were never there, -m 64, 50 connections",
        Shape { popularity: New, evicts: true, ..SET },
    ),
    load(
        "evict-x32",
        "the same, pipelined by 32",
        Shape { popularity: New, evicts: true, ..by_32(SET) },
    ),
    load(
        "one-key",
        "get of one key by all, 50 connections, pipelined by 32, one worker",
        Shape { popularity: OneKey, workers: Some(1), ..by_32(GET) },
    ),
    load(
        "one-key-2-workers",
        "the same, two workers",
        Shape { popularity: OneKey, workers: Some(2), ..by_32(GET) },
    ),
    load(
        "open-loop",
        "90 % get, 10 % set, 50 connections, at half of memcached's peak",
        Shape { is_open_loop: true, ..MIX },
    ),
    load(
        "open-loop-evict",
        "the same, -m 64, half of it set",
        Shape { is_open_loop: true, set_percent: 50, evicts: true, ..uniform(MIX) },
    ),
    load(
        "open-loop-500",
        "the same as open-loop, 500 connections",
        Shape { is_open_loop: true, ..of_500(MIX) },
    ),
    Row {
        name: "idle-connections",
        about: "what a connection costs that has asked once and waits",
        kind: Kind::IdleConnections,
    },
    Row {
        name: "idle",
        about: "time until ready, and a server that nobody speaks to",
        kind: Kind::Idle,
    },
];

const fn load(name: &'static str, about: &'static str, shape: Shape) -> Row {
    Row { name, about, kind: Kind::Load(shape) }
}

const fn of_500(shape: Shape) -> Shape {
    Shape { connections: 500, ..shape }
}

const fn by_32(shape: Shape) -> Shape {
    Shape { depth: 32, ..shape }
}

const fn uniform(shape: Shape) -> Shape {
    Shape { popularity: Uniform, ..shape }
}

const fn meta(shape: Shape) -> Shape {
    Shape { read: Read::Meta, ..shape }
}

const fn of_100(shape: Shape) -> Shape {
    Shape { read: Read::Get(100), ..shape }
}

const fn sized(shape: Shape, value_len: usize) -> Shape {
    Shape { value_len, ..shape }
}

const fn turns_of_one(shape: Shape) -> Shape {
    Shape { requests_per_turn: Some(1), ..shape }
}

/// The rows of these names, or that begin with one; all when there is none.
pub(crate) fn chosen(names: &[String]) -> Outcome<Vec<Row>> {
    if names.is_empty() {
        return Ok(ROWS.to_vec());
    }
    for name in names {
        if !ROWS.iter().any(|row| row.name.starts_with(name.as_str())) {
            return Err(format!("there is no row {name:?}; --list shows them").into());
        }
    }
    let is_row = |name: &str| ROWS.iter().any(|row| row.name == name);
    let is_chosen = |row: &Row| {
        names
            .iter()
            .any(|name| row.name == name || (!is_row(name) && row.name.starts_with(name.as_str())))
    };
    Ok(ROWS.into_iter().filter(is_chosen).collect())
}
