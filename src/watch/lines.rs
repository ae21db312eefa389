//! The lines, from `type=` on.

use crate::address::Peer;
use crate::store::{Deadline, Listed, Miss, Now, StoreMode};
use larder_protocol::dump::write_uri_encoded;
use std::fmt::Arguments;
use std::io::Write;
use std::os::fd::RawFd;

/// What a read came upon: the length of a value, or none.
pub type Fetched = Result<usize, Miss>;

/// What became of a storage command.
#[derive(Debug, Clone, Copy)]
pub struct StoreLog<'a> {
    /// What under.
    pub key: &'a [u8],
    /// In memcached's words.
    pub status: &'static str,
    /// How it was to be stored.
    pub mode: StoreMode,
    /// When it dies; never, where its old item's is kept.
    pub deadline: Deadline,
    /// Of the value that was sent, or of what it was joined to, in bytes.
    pub value_len: usize,
}

/// What a search for dead items was.
#[derive(Debug, Clone, Copy)]
pub struct Crawl {
    /// Seconds since the one before began.
    pub since_run_s: u64,
    /// Seconds until the next one begins, if nobody asks for one.
    pub next_run_s: u64,
    /// Seconds that it took.
    pub elapsed_s: u64,
    /// Items among which it searched.
    pub examined: u64,
    /// Of these, dead.
    pub reclaimed: u64,
}

/// Why a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closed {
    /// The client closed it, or asked for it to be.
    Normal,
    /// It was silent for too long.
    IdleTimeout,
    /// Anything else.
    Error,
}

/// The class of items, and of none.
const fn class(is_there: bool) -> u8 {
    if is_there { 1 } else { 0 }
}

/// Appends text.
pub(super) fn say(line: &mut Vec<u8>, text: Arguments<'_>) {
    line.write_fmt(text).expect("a vector takes every write");
}

fn key(line: &mut Vec<u8>, kind: &str, key: &[u8]) {
    say(line, format_args!("type={kind} key="));
    write_uri_encoded(line, key);
}

/// Seconds that are left.
fn ttl(deadline: Deadline, now: Now) -> Option<u64> {
    (deadline != Deadline::NEVER).then(|| deadline.ms().saturating_sub(now.ms) / 1000)
}

/// A read of a key.
pub fn fetched(line: &mut Vec<u8>, name: &[u8], found: Fetched, cfd: RawFd) {
    let (status, len) = match found {
        Ok(len) => ("found", len),
        Err(Miss::Absent) => ("not_found", 0),
        Err(Miss::Flushed) => ("flushed", 0),
        Err(Miss::Expired) => ("expired", 0),
    };
    key(line, "item_get", name);
    let class = class(found.is_ok());
    say(line, format_args!(" status={status} clsid={class} cfd={cfd} size={len}"));
}

/// A storage command.
pub fn stored(line: &mut Vec<u8>, log: &StoreLog<'_>, cfd: RawFd, now: Now) {
    let cmd = match log.mode {
        StoreMode::Set => "set",
        StoreMode::Add => "add",
        StoreMode::Replace => "replace",
        StoreMode::Append => "append",
        StoreMode::Prepend => "prepend",
        StoreMode::Cas(_) | StoreMode::CasOrStale(_) => "cas",
    };
    key(line, "item_store", log.key);
    let (status, len, ttl) = (log.status, log.value_len, ttl(log.deadline, now).unwrap_or(0));
    say(line, format_args!(" status={status} cmd={cmd} ttl={ttl} clsid=1 cfd={cfd} size={len}"));
}

/// A delete that removed an item with a value of so many bytes.
pub fn deleted(line: &mut Vec<u8>, name: &[u8], cmd: &str, value_len: usize) {
    key(line, "deleted", name);
    say(line, format_args!(" cmd={cmd} clsid=1 size={value_len}"));
}

/// An item that was evicted.
pub(super) fn evicted(line: &mut Vec<u8>, item: &Listed<'_>, now: Now) {
    key(line, "eviction", item.key);
    let fetch = if item.is_fetched { "yes" } else { "no" };
    say(line, format_args!(" fetch={fetch} ttl="));
    match ttl(item.deadline, now) {
        Some(ttl) => say(line, format_args!("{ttl}")),
        None => line.extend_from_slice(b"-1"),
    }
    say(line, format_args!(" la={} clsid=1 size={}", item.idle_s, item.value_len));
}

fn conn(line: &mut Vec<u8>, kind: &str, peer: Peer) {
    match peer.addr {
        Some(addr) => {
            let (ip, port) = (addr.ip(), addr.port());
            say(line, format_args!("type={kind} rip={ip} rport={port} transport=tcp"));
        }
        None => say(line, format_args!("type={kind} rip=unix rport=0 transport=local")),
    }
}

/// A search for dead items that is over: where memcached has one for each class and each part of its LRU, there is one.
pub fn crawled(line: &mut Vec<u8>, crawl: &Crawl) {
    let Crawl { since_run_s, next_run_s, elapsed_s, examined, reclaimed } = crawl;
    say(
        line,
        format_args!(
            "type=lru_crawler crawler=1 lru=cold low_mark=0 next_reclaims=0 \
             since_run={since_run_s} next_run={next_run_s} elapsed={elapsed_s} \
             examined={examined} reclaimed={reclaimed}"
        ),
    );
}

/// A connection that was accepted.
pub fn conn_new(line: &mut Vec<u8>, peer: Peer, cfd: RawFd) {
    conn(line, "conn_new", peer);
    say(line, format_args!(" cfd={cfd}"));
}

/// A connection that ends.
pub fn conn_close(line: &mut Vec<u8>, peer: Peer, closed: Closed, cfd: RawFd) {
    conn(line, "conn_close", peer);
    let reason = match closed {
        Closed::Normal => "normal",
        Closed::IdleTimeout => "idle_timeout",
        Closed::Error => "error",
    };
    say(line, format_args!(" reason={reason} cfd={cfd}"));
}
