//! The counters, and the blocks that `stats` answers.
//!
//! A counter's field is its STAT name. To add one: a row in the table below, and its increment.

mod general;
mod items;
mod settings;
mod sizes;

pub use general::general;
pub use items::{items, slabs};
pub use settings::settings;
pub use sizes::Sizes;

use crate::clients::State;
use crate::instance::Instance;
use larder_protocol::Reply;
use larder_protocol::binary::{self, Origin};
use larder_protocol::response::write_stat;
use std::fmt::Display;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A number that only goes up.
///
/// INVARIANT: one thread writes it, any may read it; so an increment needs no locked instruction.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds 1.
    pub fn increment(&self) {
        self.add(1);
    }

    /// Adds a number.
    pub fn add(&self, number: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(number), Relaxed);
    }
}

macro_rules! counters {
    ($($(#[$doc:meta])+ $name:ident,)+) => {
        /// What one thread has counted since the start.
        #[derive(Debug, Default)]
        pub struct Counters {
            $($(#[$doc])+ pub $name: Counter,)+
        }

        /// The sum over all threads.
        #[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
        pub struct Totals {
            $($(#[$doc])+ pub $name: u64,)+
        }

        impl Totals {
            /// Sums what the threads have counted.
            pub fn sum(threads: &[Counters]) -> Self {
                let mut sum = Self::default();
                for thread in threads {
                    $(sum.$name += thread.$name.0.load(Relaxed);)+
                }
                sum
            }

            /// What was counted since an earlier sum.
            #[must_use]
            pub fn since(&self, earlier: &Self) -> Self {
                Self { $($name: self.$name - earlier.$name,)+ }
            }
        }
    };
}

counters! {
    /// Connections served, our own listeners among them.
    total_connections,
    /// Connections refused for being over the limit, or over that of their address.
    rejected_connections,
    /// Connections closed for replies that there was no memory for, as `-o connection_memory` says.
    response_obj_oom,
    /// The same for requests that had not come whole.
    read_buf_oom,
    /// Keys asked for by `get` and `gets`.
    cmd_get,
    /// Storage commands carried out, whatever came of them.
    cmd_set,
    /// `flush_all` commands, refused ones among them.
    cmd_flush,
    /// Keys named by `touch`, `gat` and `gats`.
    cmd_touch,
    /// `me` commands.
    cmd_meta,
    /// Of [`Self::cmd_get`], found.
    get_hits,
    /// Of [`Self::cmd_get`], not found.
    get_misses,
    /// `delete` of no item.
    delete_misses,
    /// `delete` of an item.
    delete_hits,
    /// `incr` of no item.
    incr_misses,
    /// `incr` of an item.
    incr_hits,
    /// `decr` of no item.
    decr_misses,
    /// `decr` of an item.
    decr_hits,
    /// `cas` of no item.
    cas_misses,
    /// `cas` that stored.
    cas_hits,
    /// `cas` of an item that changed since.
    cas_badval,
    /// Of [`Self::cmd_touch`], found.
    touch_hits,
    /// Of [`Self::cmd_touch`], not found.
    touch_misses,
    /// Storage commands refused for the size of the item.
    store_too_large,
    /// Storage commands refused for want of memory.
    store_no_memory,
    /// Connections closed for being idle.
    idle_kicks,
    /// Bytes that came from clients.
    bytes_read,
    /// Bytes that went to clients.
    bytes_written,
    /// Times that accepting stopped because the connection limit was met, or file descriptors or memory were short.
    listen_disabled_num,
    /// Microseconds that accepting has been stopped for.
    time_in_listen_disabled_us,
    /// Times that a connection let others go first after `-R` requests.
    conn_yields,
    /// Searches for dead items that clients asked for, and listings of items.
    lru_crawler_starts,
    /// Panics: each has closed the connection that was served, if one was.
    conn_panics,
}

/// Where a block goes, less its end.
#[derive(Debug)]
pub struct Block<'a> {
    out: &'a mut Vec<u8>,
    /// Of the request, where that was a frame of the binary protocol.
    origin: Option<Origin>,
}

impl<'a> Block<'a> {
    /// As lines of text.
    pub fn lines(out: &'a mut Vec<u8>) -> Self {
        Self { out, origin: None }
    }

    /// As frames of the binary protocol.
    pub fn frames(origin: Origin, out: &'a mut Vec<u8>) -> Self {
        Self { out, origin: Some(origin) }
    }

    /// Appends the end.
    pub fn end(self) {
        match self.origin {
            None => self.out.extend_from_slice(Reply::End.line()),
            Some(origin) => binary::response::write_done(self.out, origin, 0),
        }
    }
}

/// Appends one of the statistics, which may be anything that can be shown.
fn stat(Block { out, origin }: &mut Block<'_>, name: &str, value: impl Display) {
    let value = value.to_string();
    match *origin {
        None => write_stat(out, name, &value),
        Some(origin) => binary::response::write_stat(out, origin, name, value.as_bytes()),
    }
}

/// `yes` or `no`.
fn yes(is: bool) -> &'static str {
    if is { "yes" } else { "no" }
}

/// `stats store`: what the memory limit is spent on. The parts add up to `store_bytes`.
pub fn store(instance: &Instance, out: &mut Block<'_>) {
    let store = instance.store_stats(instance.clock.now());
    stat(out, "eviction", instance.config.eviction.name());
    for (name, value) in [
        ("limit_bytes", instance.store.limit_bytes()),
        ("store_bytes", store.charged_bytes),
        ("segment_bytes", store.segment_bytes),
        ("index_bytes", store.index_bytes),
        ("ghost_bytes", store.ghost_bytes),
        ("large_bytes", store.large_bytes),
        // Of the segments: not in use, written, and of that, what still counts.
        ("segment_free_bytes", store.segment_free_bytes),
        ("segment_used_bytes", store.used_bytes),
        ("segment_live_bytes", store.live_bytes),
        ("segment_dead_bytes", store.used_bytes - store.live_bytes),
        ("moved_bytes", store.moved_bytes),
        ("sweeps", store.sweeps),
    ] {
        stat(out, name, value);
    }
}

/// `stats sizes` without `-o track_sizes`.
pub fn no_sizes(out: &mut Block<'_>) {
    stat(out, "sizes_status", "disabled");
}

/// `stats conns`: every open connection, then every listener.
pub fn conns(instance: &Instance, out: &mut Block<'_>) {
    let now_ms = instance.clock.now().ms;
    for client in instance.clients.all() {
        let fd = client.fd;
        stat(out, &format!("{fd}:addr"), client.peer().stat());
        if let Some(addr) = instance.clients.listen_addr(fd) {
            stat(out, &format!("{fd}:listen_addr"), addr.stat());
        }
        stat(out, &format!("{fd}:state"), client.state().name());
        stat(out, &format!("{fd}:resps_waiting"), u8::from(client.state() == State::Write));
        let idle_ms = now_ms.saturating_sub(client.last_cmd_ms());
        stat(out, &format!("{fd}:secs_since_last_cmd"), idle_ms / 1000);
    }
    for (fd, addr) in &instance.listeners {
        stat(out, &format!("{fd}:addr"), addr.stat());
        stat(out, &format!("{fd}:state"), "conn_listening");
        stat(out, &format!("{fd}:secs_since_last_cmd"), now_ms / 1000);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_sum_threads_and_forget_what_was_before() {
        let threads = [Counters::default(), Counters::default()];
        threads[0].cmd_get.add(3);
        let before = Totals::sum(&threads);
        threads[0].cmd_get.increment();
        threads[1].cmd_get.increment();
        let after = Totals::sum(&threads);
        assert_eq!((after.cmd_get, after.since(&before).cmd_get), (5, 2));
    }
}
