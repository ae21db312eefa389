//! `stats settings`: memcached's names in memcached's order, then two of our own.
//!
//! What configures memcached's slabs, LRU threads, flash and TLS shows as off or 0: it has no effect here.

use super::{Block, stat, yes};
use crate::address::Address;
use crate::config::Protocol;
use crate::instance::Instance;

/// Appends the block.
pub fn settings(instance: &Instance, out: &mut Block<'_>) {
    let config = &instance.config;
    stat(out, "maxbytes", instance.store.limit_bytes());
    stat(out, "maxconns", config.max_connections);
    let first = instance.listeners.iter().find_map(|(_, addr)| addr.ip());
    stat(out, "tcpport", first.map_or(config.port, |addr| addr.port()));
    stat(out, "udpport", 0);
    let hosts: Vec<&str> = config.listen.iter().map(|listen| listen.host.as_str()).collect();
    stat(out, "inter", hosts.join(","));
    stat(out, "verbosity", instance.log.verbosity());
    stat(out, "oldest", 0);
    stat(out, "evictions", if config.evictions { "on" } else { "off" });
    match &config.unix_socket {
        Some(path) => stat(out, "domain_socket", Address::Unix(path.clone())),
        None => stat(out, "domain_socket", "NULL"),
    }
    stat(out, "umask", format_args!("{:o}", config.unix_mask));
    stat(out, "shutdown_command", yes(config.shutdown_command));
    stat(out, "growth_factor", "0.00");
    stat(out, "chunk_size", 0);
    stat(out, "num_threads", config.threads);
    stat(out, "num_threads_per_udp", 0);
    stat(out, "stat_key_prefix", char::from(config.prefix_delimiter));
    stat(out, "detail_enabled", yes(instance.prefixes.is_enabled()));
    stat(out, "reqs_per_event", config.requests_per_event);
    stat(out, "cas_enabled", yes(config.cas_enabled));
    stat(out, "tcp_backlog", config.backlog);
    let protocol = match config.protocol {
        Protocol::Auto => "auto-negotiate",
        Protocol::Ascii => "ascii",
        Protocol::Binary => "binary",
    };
    stat(out, "binding_protocol", protocol);
    stat(out, "auth_enabled_sasl", "no");
    stat(out, "auth_enabled_ascii", "no");
    stat(out, "item_size_max", config.item_size_max_bytes);
    stat(out, "maxconns_fast", yes(config.maxconns_fast));
    for (name, value) in [
        ("hashpower_init", "0"),
        ("slab_reassign", "no"),
        ("slab_automove", "0"),
        ("slab_automove_ratio", "0.00"),
        ("slab_automove_window", "0"),
        ("slab_chunk_max", "0"),
    ] {
        stat(out, name, value);
    }
    stat(out, "lru_crawler", yes(instance.crawler.is_enabled()));
    stat(out, "lru_crawler_sleep", instance.crawler.sleep_us());
    stat(out, "lru_crawler_tocrawl", instance.crawler.tocrawl());
    stat(out, "tail_repair_time", 0);
    stat(out, "flush_enabled", yes(config.flush_enabled));
    stat(out, "dump_enabled", yes(config.dump_enabled));
    stat(out, "hash_algorithm", "ahash");
    for (name, value) in [
        ("lru_maintainer_thread", "no"),
        ("lru_segmented", "no"),
        ("hot_lru_pct", "0"),
        ("warm_lru_pct", "0"),
        ("hot_max_factor", "0.00"),
        ("warm_max_factor", "0.00"),
        ("temp_lru", "no"),
        ("temporary_ttl", "0"),
    ] {
        stat(out, name, value);
    }
    stat(out, "idle_timeout", config.idle_timeout_s);
    stat(out, "watcher_logbuf_size", config.watcher_logbuf_bytes);
    for (name, value) in [("worker_logbuf_size", "0"), ("read_buf_mem_limit", "0")] {
        stat(out, name, value);
    }
    stat(out, "track_sizes", yes(config.track_sizes));
    for (name, value) in [
        ("inline_ascii_response", "no"),
        ("num_napi_ids", "0"),
        ("memory_file", "(null)"),
        ("client_flags_size", "4"),
    ] {
        stat(out, name, value);
    }
    // Ours, behind all of memcached's.
    stat(out, "connection_memory", config.connection_memory_bytes);
    stat(out, "maxconns_per_ip", config.max_connections_per_ip);
}
