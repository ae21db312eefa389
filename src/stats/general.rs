//! `stats`: memcached's names in memcached's order; what tells of its slabs and its LRU threads is 0.

use super::{Block, Totals, stat};
use crate::config::{COMPATIBLE_VERSION, VERSION};
use crate::instance::Instance;
use crate::server::reserved_fds;
use crate::store::StoreStats;
use nix::sys::resource::{UsageWho, getrusage};
use std::sync::atomic::Ordering::Relaxed;

/// Appends the block.
pub fn general(instance: &Instance, out: &mut Block<'_>) {
    let now = instance.clock.now();
    let (totals, store) = (instance.totals(), instance.store_stats(now));
    process(instance, out);
    connections(instance, &totals, out);
    commands(instance, &totals, &store, out);
    stat(out, "bytes_read", totals.bytes_read);
    stat(out, "bytes_written", totals.bytes_written);
    stat(out, "limit_maxbytes", instance.store.limit_bytes());
    stat(out, "accepting_conns", u8::from(instance.accepting.load(Relaxed)));
    stat(out, "listen_disabled_num", totals.listen_disabled_num);
    stat(out, "time_in_listen_disabled_us", totals.time_in_listen_disabled_us);
    stat(out, "threads", instance.config.threads);
    stat(out, "conn_yields", totals.conn_yields);
    stat(out, "hash_power_level", store.hash_buckets.max(1).ilog2());
    stat(out, "hash_bytes", store.index_bytes);
    stat(out, "hash_is_expanding", 0);
    for name in [
        "slab_reassign_rescues",
        "slab_reassign_chunk_rescues",
        "slab_reassign_inline_reclaim",
        "slab_reassign_busy_items",
        "slab_reassign_busy_deletes",
        "slab_reassign_busy_nomem",
        "slab_reassign_last_busy_status",
        "slab_reassign_running",
        "slabs_moved",
    ] {
        stat(out, name, 0);
    }
    stat(out, "lru_crawler_running", u8::from(instance.crawler.is_running()));
    stat(out, "lru_crawler_starts", totals.lru_crawler_starts);
    for name in [
        "lru_maintainer_juggles",
        "malloc_fails",
        // Nothing is between who writes a line and the watchers' buffers.
        "log_worker_dropped",
    ] {
        stat(out, name, 0);
    }
    let log = instance.watchers.counts();
    stat(out, "log_worker_written", log.log_worker_written);
    stat(out, "log_watcher_skipped", log.log_watcher_skipped);
    stat(out, "log_watcher_sent", log.log_watcher_sent);
    stat(out, "log_watchers", log.log_watchers);
    for name in ["unexpected_napi_ids", "round_robin_fallback"] {
        stat(out, name, 0);
    }
    stat(out, "bytes", store.bytes);
    stat(out, "curr_items", store.curr_items);
    stat(out, "total_items", store.total_items);
    stat(out, "slab_global_page_pool", 0);
    stat(out, "expired_unfetched", store.expired_unfetched);
    stat(out, "evicted_unfetched", store.evicted_unfetched);
    stat(out, "evicted_active", 0);
    stat(out, "evictions", store.evictions);
    stat(out, "reclaimed", store.reclaimed);
    for name in [
        "crawler_reclaimed",
        "crawler_items_checked",
        "lrutail_reflocked",
        "moves_to_cold",
        "moves_to_warm",
        "moves_within_lru",
        "direct_reclaims",
        "lru_bumps_dropped",
    ] {
        stat(out, name, 0);
    }
    // Ours, behind all of memcached's, for readers that go by position.
    stat(out, "conn_panics", totals.conn_panics);
    stat(out, "larder_version", VERSION);
}

fn process(instance: &Instance, out: &mut Block<'_>) {
    let now = instance.clock.now();
    stat(out, "pid", std::process::id());
    stat(out, "uptime", now.ms / 1000);
    stat(out, "time", now.unix_ms / 1000);
    stat(out, "version", COMPATIBLE_VERSION);
    // The event library; here it is another one.
    stat(out, "libevent", "tokio");
    stat(out, "pointer_size", usize::BITS);
    let usage = getrusage(UsageWho::RUSAGE_SELF).expect("a process may ask for its own usage");
    let (user, system) = (usage.user_time(), usage.system_time());
    for (name, time) in [("rusage_user", user), ("rusage_system", system)] {
        stat(out, name, format_args!("{}.{:06}", time.tv_sec(), time.tv_usec()));
    }
}

fn connections(instance: &Instance, totals: &Totals, out: &mut Block<'_>) {
    let clients = instance.clients.all();
    // A listener is a connection too, as memcached counts.
    let open = clients.len() + instance.listeners.len();
    stat(out, "max_connections", instance.config.max_connections);
    stat(out, "curr_connections", open);
    stat(out, "total_connections", totals.total_connections);
    stat(out, "rejected_connections", totals.rejected_connections);
    stat(out, "connection_structures", open);
    let held = |bytes: usize| (u64::from(bytes > 0), bytes);
    let (mut responses, mut response_bytes, mut read_bufs, mut read_buf_bytes) = (0, 0, 0, 0);
    for client in clients {
        let (count, bytes) = held(client.response_bytes());
        responses += count;
        response_bytes += bytes;
        let (count, bytes) = held(client.read_buf_bytes());
        read_bufs += count;
        read_buf_bytes += bytes;
    }
    stat(out, "response_obj_oom", totals.response_obj_oom);
    stat(out, "response_obj_count", responses);
    stat(out, "response_obj_bytes", response_bytes);
    stat(out, "read_buf_count", read_bufs);
    stat(out, "read_buf_bytes", read_buf_bytes);
    stat(out, "read_buf_bytes_free", 0);
    stat(out, "read_buf_oom", totals.read_buf_oom);
    let reserved = reserved_fds(instance.config.threads, instance.listeners.len());
    stat(out, "reserved_fds", reserved);
}

fn commands(instance: &Instance, totals: &Totals, store: &StoreStats, out: &mut Block<'_>) {
    stat(out, "cmd_get", totals.cmd_get);
    stat(out, "cmd_set", totals.cmd_set);
    stat(out, "cmd_flush", totals.cmd_flush);
    stat(out, "cmd_touch", totals.cmd_touch);
    stat(out, "cmd_meta", totals.cmd_meta);
    stat(out, "get_hits", totals.get_hits);
    stat(out, "get_misses", totals.get_misses);
    stat(out, "get_expired", store.get_expired);
    stat(out, "get_flushed", store.get_flushed);
    stat(out, "delete_misses", totals.delete_misses);
    stat(out, "delete_hits", totals.delete_hits);
    stat(out, "incr_misses", totals.incr_misses);
    stat(out, "incr_hits", totals.incr_hits);
    stat(out, "decr_misses", totals.decr_misses);
    stat(out, "decr_hits", totals.decr_hits);
    stat(out, "cas_misses", totals.cas_misses);
    stat(out, "cas_hits", totals.cas_hits);
    stat(out, "cas_badval", totals.cas_badval);
    stat(out, "touch_hits", totals.touch_hits);
    stat(out, "touch_misses", totals.touch_misses);
    stat(out, "store_too_large", totals.store_too_large);
    stat(out, "store_no_memory", totals.store_no_memory);
    stat(out, "auth_cmds", 0);
    stat(out, "auth_errors", 0);
    if instance.config.idle_timeout_s > 0 {
        stat(out, "idle_kicks", totals.idle_kicks);
    }
}
