//! Every name that `stats` shows, in memcached's order, and for each that counts: what moves it.

use crate::client::Client;
use crate::{larder, wait_until};

/// Section "stats" of memcached 1.6.45, less the features that are not here.
const GENERAL: &str = "pid uptime time version libevent pointer_size rusage_user rusage_system \
    max_connections curr_connections total_connections rejected_connections connection_structures \
    response_obj_oom response_obj_count response_obj_bytes \
    read_buf_count read_buf_bytes read_buf_bytes_free read_buf_oom reserved_fds \
    cmd_get cmd_set cmd_flush cmd_touch cmd_meta get_hits get_misses get_expired get_flushed \
    delete_misses delete_hits incr_misses incr_hits decr_misses decr_hits \
    cas_misses cas_hits cas_badval touch_hits touch_misses store_too_large store_no_memory \
    auth_cmds auth_errors bytes_read bytes_written \
    limit_maxbytes accepting_conns listen_disabled_num time_in_listen_disabled_us threads conn_yields \
    hash_power_level hash_bytes hash_is_expanding \
    slab_reassign_rescues slab_reassign_chunk_rescues slab_reassign_inline_reclaim \
    slab_reassign_busy_items slab_reassign_busy_deletes slab_reassign_busy_nomem \
    slab_reassign_last_busy_status slab_reassign_running slabs_moved \
    lru_crawler_running lru_crawler_starts lru_maintainer_juggles malloc_fails \
    log_worker_dropped log_worker_written log_watcher_skipped log_watcher_sent log_watchers \
    unexpected_napi_ids round_robin_fallback bytes curr_items total_items slab_global_page_pool \
    expired_unfetched evicted_unfetched evicted_active evictions reclaimed \
    crawler_reclaimed crawler_items_checked lrutail_reflocked \
    moves_to_cold moves_to_warm moves_within_lru direct_reclaims lru_bumps_dropped conn_panics larder_version";

/// Section "stats settings" of memcached 1.6.45, less flash, TLS and proxy.
const SETTINGS: &str = "maxbytes maxconns tcpport udpport inter verbosity oldest evictions domain_socket \
    umask shutdown_command growth_factor chunk_size num_threads num_threads_per_udp stat_key_prefix \
    detail_enabled reqs_per_event cas_enabled tcp_backlog binding_protocol auth_enabled_sasl \
    auth_enabled_ascii item_size_max maxconns_fast hashpower_init slab_reassign slab_automove \
    slab_automove_ratio slab_automove_window slab_chunk_max lru_crawler lru_crawler_sleep \
    lru_crawler_tocrawl tail_repair_time flush_enabled dump_enabled hash_algorithm \
    lru_maintainer_thread lru_segmented hot_lru_pct warm_lru_pct hot_max_factor warm_max_factor \
    temp_lru temporary_ttl idle_timeout watcher_logbuf_size worker_logbuf_size read_buf_mem_limit \
    track_sizes inline_ascii_response num_napi_ids memory_file client_flags_size \
    connection_memory maxconns_per_ip";

fn names(lines: &[(String, String)]) -> String {
    lines.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(" ")
}

/// Asks, and compares what each named counter gained by it.
#[track_caller]
fn moves(client: &mut Client, request: &str, reply: &str, gains: &[(&str, i64)]) {
    let before = client.stats();
    client.ask(request, reply);
    let after = client.stats();
    for (name, value) in &after {
        let (Ok(after), Ok(before)) = (value.parse::<i64>(), before[name].parse::<i64>()) else {
            continue;
        };
        // These go by the time, and by the asking itself.
        if ["uptime", "time", "bytes_read", "bytes_written"].contains(&name.as_str())
            || name.starts_with("response_obj")
            || name.starts_with("read_buf")
        {
            continue;
        }
        let expected = gains.iter().find(|(gaining, _)| gaining == name).map_or(0, |gain| gain.1);
        assert_eq!(after - before, expected, "{name} after {request:?}");
    }
}

#[test]
fn names_and_order_are_memcacheds() {
    let server = larder(&[]);
    let mut client = Client::connect(&server);
    let general = client.stat_lines("");
    assert_eq!(names(&general), GENERAL);
    assert_eq!(names(&client.stat_lines(" settings")), SETTINGS);
    let stats = client.stats();
    assert_eq!(stats["pid"], server.pid().to_string());
    assert_eq!(stats["version"], "1.6.45");
    assert_eq!(stats["larder_version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(stats["pointer_size"], "64");
    let timeout = larder(&["-o", "idle_timeout=60"]);
    let with_timeout = Client::connect(&timeout).stat_lines("");
    assert_eq!(names(&with_timeout), GENERAL.replace("auth_errors", "auth_errors idle_kicks"));
}

#[test]
fn each_command_moves_its_counters_and_no_others() {
    let server = larder(&[]);
    let c = &mut Client::connect(&server);
    let size = |value_len: i64| 59 + 1 + value_len;
    moves(
        c,
        "set k 0 0 1\r\n5\r\n",
        "STORED\r\n",
        &[("cmd_set", 1), ("curr_items", 1), ("total_items", 1), ("bytes", size(1))],
    );
    moves(c, "add k 0 0 1\r\n5\r\n", "NOT_STORED\r\n", &[("cmd_set", 1)]);
    moves(
        c,
        "get k x k\r\n",
        "VALUE k 0 1\r\n5\r\nVALUE k 0 1\r\n5\r\nEND\r\n",
        &[("cmd_get", 3), ("get_hits", 2), ("get_misses", 1)],
    );
    moves(
        c,
        "gat 100 k x\r\n",
        "VALUE k 0 1\r\n5\r\nEND\r\n",
        &[("cmd_touch", 2), ("touch_hits", 1), ("touch_misses", 1)],
    );
    moves(c, "touch k 0\r\n", "TOUCHED\r\n", &[("cmd_touch", 1), ("touch_hits", 1)]);
    moves(c, "touch x 0\r\n", "NOT_FOUND\r\n", &[("cmd_touch", 1), ("touch_misses", 1)]);
    moves(c, "incr k 1\r\n", "6\r\n", &[("incr_hits", 1)]);
    moves(c, "incr k 10\r\n", "16\r\n", &[("incr_hits", 1), ("total_items", 1), ("bytes", 1)]);
    moves(c, "incr x 1\r\n", "NOT_FOUND\r\n", &[("incr_misses", 1)]);
    moves(c, "decr k 1\r\n", "15\r\n", &[("decr_hits", 1)]);
    moves(c, "decr x 1\r\n", "NOT_FOUND\r\n", &[("decr_misses", 1)]);
    moves(c, "cas x 0 0 1 9\r\n5\r\n", "NOT_FOUND\r\n", &[("cmd_set", 1), ("cas_misses", 1)]);
    moves(c, "cas k 0 0 1 999\r\n5\r\n", "EXISTS\r\n", &[("cmd_set", 1), ("cas_badval", 1)]);
    let unique = c.lines("gets k\r\n")[0].rsplit(' ').next().expect("a unique").to_owned();
    moves(
        c,
        &format!("cas k 7 0 2 {unique}\r\n15\r\n"),
        "STORED\r\n",
        &[("cmd_set", 1), ("cas_hits", 1), ("total_items", 1), ("bytes", 4)],
    );
    moves(
        c,
        "append k 0 0 2\r\n00\r\n",
        "STORED\r\n",
        &[("cmd_set", 1), ("total_items", 1), ("bytes", 2)],
    );
    let too_large = format!("set k 0 0 1048577\r\n{}\r\n", "x".repeat(1_048_577));
    moves(
        c,
        &too_large,
        "SERVER_ERROR object too large for cache\r\n",
        &[("store_too_large", 1), ("curr_items", -1), ("bytes", -size(4) - 4)],
    );
    moves(c, "delete k\r\n", "NOT_FOUND\r\n", &[("delete_misses", 1)]);
    c.ask("set k 0 -1 1\r\n5\r\n", "STORED\r\n");
    moves(
        c,
        "get k\r\n",
        "END\r\n",
        &[
            ("cmd_get", 1),
            ("get_misses", 1),
            ("get_expired", 1),
            ("curr_items", -1),
            ("bytes", -size(1)),
        ],
    );
    // Whatever finds it expired, as in memcached.
    let gone: &[(&str, i64)] = &[("get_expired", 1), ("curr_items", -1), ("bytes", -size(1))];
    let stored: &[(&str, i64)] = &[("get_expired", 1), ("cmd_set", 1), ("total_items", 1)];
    for (request, reply, gains) in [
        ("gat 9 k", "END", [gone, &[("cmd_touch", 1), ("touch_misses", 1)]].concat()),
        ("touch k 9", "NOT_FOUND", [gone, &[("cmd_touch", 1), ("touch_misses", 1)]].concat()),
        ("incr k 1", "NOT_FOUND", [gone, &[("incr_misses", 1)]].concat()),
        ("decr k 1", "NOT_FOUND", [gone, &[("decr_misses", 1)]].concat()),
        ("delete k", "NOT_FOUND", [gone, &[("delete_misses", 1)]].concat()),
        ("mg k v", "EN", [gone, &[("cmd_get", 1), ("get_misses", 1)]].concat()),
        ("md k", "NF", [gone, &[("delete_misses", 1)]].concat()),
        ("ma k", "NF", [gone, &[("incr_misses", 1)]].concat()),
        ("me k", "EN", [gone, &[("cmd_meta", 1)]].concat()),
        ("replace k 0 0 1\r\n6", "NOT_STORED", [gone, &[("cmd_set", 1)]].concat()),
        ("set k 0 0 1\r\n6", "STORED", stored.to_vec()),
        ("add k 0 0 1\r\n6", "STORED", stored.to_vec()),
    ] {
        c.ask("set k 0 -1 1\r\n5\r\n", "STORED\r\n");
        moves(c, &format!("{request}\r\n"), &format!("{reply}\r\n"), &gains);
    }
    c.ask("set k 0 0 1\r\n5\r\n", "STORED\r\n");
    moves(c, "flush_all\r\n", "OK\r\n", &[("cmd_flush", 1)]);
    moves(
        c,
        "get k\r\n",
        "END\r\n",
        &[
            ("cmd_get", 1),
            ("get_misses", 1),
            ("get_flushed", 1),
            ("curr_items", -1),
            ("bytes", -size(1)),
        ],
    );
    c.ask("set k 0 0 1\r\n5\r\n", "STORED\r\n");
    moves(
        c,
        "delete k\r\n",
        "DELETED\r\n",
        &[("delete_hits", 1), ("curr_items", -1), ("bytes", -size(1))],
    );
    moves(c, &"version\r\n".repeat(65), &"VERSION 1.6.45\r\n".repeat(65), &[("conn_yields", 1)]);
}

#[test]
fn bytes_are_counted_as_they_cross_the_wire() {
    let server = larder(&[]);
    let mut client = Client::connect(&server);
    client.ask("version\r\n", "VERSION 1.6.45\r\n");
    let stats = client.stats();
    assert_eq!((&*stats["bytes_read"], &*stats["bytes_written"]), ("16", "16"));
}

#[test]
fn evictions_are_counted() {
    let server = larder(&["-m", "1"]);
    let mut client = Client::connect(&server);
    // Fills the memory with items that are dead at once, so that the first victims are no evictions.
    let fill = |client: &mut Client, prefix: &str, exptime: i32| {
        for number in 0..1200 {
            let set = format!("set {prefix}{number} 0 {exptime} 800\r\n{}\r\n", "x".repeat(800));
            client.ask(set, "STORED\r\n");
        }
    };
    fill(&mut client, "dead", -1);
    let reclaimed = client.stat("reclaimed");
    assert!(reclaimed > 0, "the memory is full");
    assert_eq!((client.stat("expired_unfetched"), client.stat("evictions")), (reclaimed, 0));
    fill(&mut client, "read", 0);
    assert!(client.stat("curr_items") < 1200);
    // Read once, an item is kept for a while, and then goes as one that was read.
    let keys: Vec<String> = (0..1200).map(|number| format!("read{number}")).collect();
    let hits = client.lines(&format!("get {}\r\n", keys.join(" "))).len() as u64 / 2;
    for prefix in ["a", "b", "c", "d", "e", "f"] {
        fill(&mut client, prefix, 0);
    }
    let stats = client.stats();
    let number = |name: &str| stats[name].parse::<u64>().expect("a number");
    assert!(number("evictions") > 5000);
    let fetched = number("evictions") - number("evicted_unfetched");
    assert!((1..=hits).contains(&fetched), "{fetched} of {hits} that were read");
    assert_eq!(number("total_items"), 9600);
    assert!(number("bytes") < number("limit_maxbytes"));
    assert_eq!(
        number("total_items") - number("curr_items"),
        number("evictions") + number("reclaimed"),
        "every item is held, evicted or reclaimed"
    );
    assert!(number("hash_power_level") >= 7 && number("hash_bytes") >= 64 << 7);
    let items: std::collections::HashMap<_, _> = client.stat_lines(" items").into_iter().collect();
    assert_eq!(items["items:1:evicted"], stats["evictions"]);
    assert_eq!(items["items:1:number"], stats["curr_items"]);
    assert_eq!(items["items:1:mem_requested"], stats["bytes"]);
    assert_eq!(items["items:1:hits_to_cold"], hits.to_string());
    let slabs: std::collections::HashMap<_, _> = client.stat_lines(" slabs").into_iter().collect();
    let slab = |name: &str| slabs[name].parse::<u64>().expect("a number");
    assert_eq!(slab("1:used_chunks") + slab("1:free_chunks"), slab("1:total_chunks"));
    assert_eq!(slab("1:total_chunks") * slab("1:chunk_size"), slab("total_malloced"));
    assert!(slab("1:used_chunks") <= 1 << 20);
}

#[test]
fn victims_are_counted_by_what_they_were() {
    let server = larder(&["-m", "1"]);
    let mut client = Client::connect(&server);
    let age_of = |client: &mut Client, name: &str| {
        let items: std::collections::HashMap<_, _> =
            client.stat_lines(" items").into_iter().collect();
        items[name].parse::<u64>().expect("a number")
    };
    for number in 0..200 {
        client
            .ask(format!("set first{number} 0 1000 800\r\n{}\r\n", "x".repeat(800)), "STORED\r\n");
    }
    wait_until("they have aged", || age_of(&mut client, "items:1:age") >= 1);
    for number in 0..2400 {
        client.ask(format!("set more{number} 0 0 800\r\n{}\r\n", "x".repeat(800)), "STORED\r\n");
    }
    assert_eq!(age_of(&mut client, "items:1:evicted_nonzero"), 200);
    assert!(age_of(&mut client, "items:1:evicted") > 1000);
    client.ask("stats reset\r\n", "RESET\r\n");
    assert_eq!(age_of(&mut client, "items:1:evicted_nonzero"), 0);
}

#[test]
fn classes_count_what_all_items_do() {
    let server = larder(&[]);
    let mut client = Client::connect(&server);
    client.ask(
        "set k 0 0 1\r\n5\r\nget k\r\nincr k 1\r\ndecr k 1\r\ntouch k 0\r\ncas k 0 0 1 999\r\n5\r\n",
        "STORED\r\nVALUE k 0 1\r\n5\r\nEND\r\n6\r\n5\r\nTOUCHED\r\nEXISTS\r\n",
    );
    let unique = client.lines("gets k\r\n")[0].rsplit(' ').next().expect("a unique").to_owned();
    client.ask(
        format!("cas k 0 0 1 {unique}\r\n5\r\ndelete k\r\nset k 0 0 1\r\n5\r\n"),
        "STORED\r\nDELETED\r\nSTORED\r\n",
    );
    let slabs: std::collections::HashMap<_, _> = client.stat_lines(" slabs").into_iter().collect();
    for (name, value) in [
        ("get_hits", "2"),
        ("cmd_set", "4"),
        ("delete_hits", "1"),
        ("incr_hits", "1"),
        ("decr_hits", "1"),
        ("cas_hits", "1"),
        ("cas_badval", "1"),
        ("touch_hits", "1"),
    ] {
        assert_eq!(slabs[&format!("1:{name}")], value, "{name}");
    }
    client.ask("stats sizes\r\n", "STAT sizes_status disabled\r\nEND\r\n");
}

#[test]
fn refusals_for_want_of_memory_are_counted() {
    let server = larder(&["-m", "1", "-M"]);
    let mut client = Client::connect(&server);
    let mut refused = 0;
    for number in 0..1200 {
        client.send(format!("set k{number} 0 0 1000\r\n{}\r\n", "x".repeat(1000)));
        match client.line().as_str() {
            "STORED" => assert_eq!(refused, 0, "full is full"),
            line => {
                assert_eq!(line, "SERVER_ERROR out of memory storing object");
                refused += 1;
            }
        }
    }
    assert!(refused > 100);
    let stats = client.stats();
    assert_eq!((&stats["store_no_memory"], &*stats["evictions"]), (&refused.to_string(), "0"));
    let items: std::collections::HashMap<_, _> = client.stat_lines(" items").into_iter().collect();
    assert_eq!(items["items:1:outofmemory"], refused.to_string());
}

#[test]
fn reset_zeroes_totals_and_keeps_the_rest() {
    let server = larder(&[]);
    let mut client = Client::connect(&server);
    client.ask("set k 0 0 1\r\n5\r\nget k x\r\n", "STORED\r\nVALUE k 0 1\r\n5\r\nEND\r\n");
    client.ask("stats reset\r\n", "RESET\r\n");
    let stats = client.stats();
    for name in ["cmd_get", "cmd_set", "get_hits", "get_misses", "total_items", "total_connections"]
    {
        assert_eq!(stats[name], "0", "{name}");
    }
    for name in ["curr_items", "accepting_conns"] {
        assert_eq!(stats[name], "1", "{name}");
    }
    assert_eq!(stats["curr_connections"], "2");
}

#[test]
fn idle_connections_are_closed_and_counted() {
    let server = larder(&["-o", "idle_timeout=1"]);
    let mut idle = Client::connect(&server);
    let mut half = Client::connect(&server);
    half.send("set k 0 0 10\r\nx");
    idle.assert_closed();
    half.assert_closed();
    assert_eq!(Client::connect(&server).stat("idle_kicks"), 2);
}

#[test]
fn connections_are_listed_with_what_they_do() {
    let server = larder(&[]);
    let mut client = Client::connect(&server);
    let mut waiting = Client::connect(&server);
    waiting.send("set k 0 0 10\r\nx");
    let mut swallowing = Client::connect(&server);
    swallowing.ask("set k 0 0 2000000\r\n", "SERVER_ERROR object too large for cache\r\n");
    let own = client.stream().local_addr().expect("our address");
    let state_of = |lines: &[(String, String)], addr: &str| {
        let is_it = |(name, value): &&(String, String)| name.ends_with(":addr") && value == addr;
        let (name, _) = lines.iter().find(is_it)?;
        let state = name.replace(":addr", ":state");
        lines.iter().find(|(name, _)| *name == state).map(|(_, value)| value.clone())
    };
    let address = |client: &Client| format!("tcp:{}", client.stream().local_addr().expect("ours"));
    let (waiting, swallowing) = (address(&waiting), address(&swallowing));
    wait_until("both wait", || {
        let lines = client.stat_lines(" conns");
        assert_eq!(state_of(&lines, &format!("tcp:{own}")).as_deref(), Some("conn_parse_cmd"));
        assert_eq!(
            state_of(&lines, &format!("tcp:{}", server.address())).as_deref(),
            Some("conn_listening")
        );
        state_of(&lines, &waiting).as_deref() == Some("conn_nread")
            && state_of(&lines, &swallowing).as_deref() == Some("conn_swallow")
    });
    assert_eq!(client.stat("curr_connections"), 4);
    assert_eq!(client.stat("connection_structures"), 4);
    // Only who has sent a part of a request holds a buffer.
    assert_eq!(client.stat("read_buf_count"), 1);
    assert!((1..=1024).contains(&client.stat("read_buf_bytes")));
}

#[test]
fn unsent_replies_show_as_response_objects() {
    let server = larder(&[]);
    let mut client = Client::connect(&server);
    client.ask(format!("set k 0 0 100000\r\n{}\r\n", "x".repeat(100_000)), "STORED\r\n");
    let mut deaf = Client::connect(&server);
    deaf.send(format!("get{}\r\n", " k".repeat(400)));
    wait_until("its replies are stuck", || client.stat("response_obj_bytes") > 0);
    let waits = |(name, value): &(String, String)| name.ends_with(":resps_waiting") && value == "1";
    assert!(client.stat_lines(" conns").iter().any(waits));
    assert!(client.stat("response_obj_count") >= 1);
}

#[test]
fn prefixes_are_counted_on_request() {
    let server = larder(&[]);
    let mut client = Client::connect(&server);
    client.ask("get a:1\r\nstats detail dump\r\n", "END\r\nEND\r\n");
    client.ask("stats detail on\r\n", "OK\r\n");
    client.ask(
        "set a:1 0 0 1\r\nx\r\nget a:1 a:2 b:1 c\r\ndelete b:1\r\n",
        "STORED\r\nVALUE a:1 0 1\r\nx\r\nEND\r\nNOT_FOUND\r\n",
    );
    client.ask("stats detail off\r\nget a:1\r\n", "OK\r\nVALUE a:1 0 1\r\nx\r\nEND\r\n");
    client.ask(
        "stats detail dump\r\n",
        "PREFIX a get 2 hit 1 set 1 del 0\r\nPREFIX b get 1 hit 0 set 0 del 1\r\nEND\r\n",
    );
    client.ask("stats reset\r\nstats detail dump\r\n", "RESET\r\nEND\r\n");

    let server = larder(&["-D", "/"]);
    let mut client = Client::connect(&server);
    client.ask(
        "get a/1\r\nstats detail dump\r\n",
        "END\r\nPREFIX a get 1 hit 0 set 0 del 0\r\nEND\r\n",
    );
}

#[test]
fn settings_show_what_was_asked_for() {
    let server = larder(&[
        "-m",
        "100",
        "-c",
        "77",
        "-I",
        "2m",
        "-t",
        "3",
        "-M",
        "-F",
        "-X",
        "-C",
        "-A",
        "-R",
        "5",
        "-b",
        "9",
        "-D",
        "/",
        "-v",
        "-o",
        "idle_timeout=9,no_maxconns_fast,connection_memory=4m,maxconns_per_ip=7",
    ]);
    let mut client = Client::connect(&server);
    let settings: std::collections::HashMap<_, _> =
        client.stat_lines(" settings").into_iter().collect();
    for (name, value) in [
        ("maxbytes", "104857600"),
        ("maxconns", "77"),
        ("item_size_max", "2097152"),
        ("num_threads", "3"),
        ("evictions", "off"),
        ("flush_enabled", "no"),
        ("dump_enabled", "no"),
        ("cas_enabled", "no"),
        ("shutdown_command", "yes"),
        ("reqs_per_event", "5"),
        ("tcp_backlog", "9"),
        ("stat_key_prefix", "/"),
        ("detail_enabled", "yes"),
        ("verbosity", "1"),
        ("idle_timeout", "9"),
        ("maxconns_fast", "no"),
        ("connection_memory", "4194304"),
        ("maxconns_per_ip", "7"),
        ("inter", "127.0.0.1"),
        ("tcpport", &server.address().port().to_string()),
    ] {
        assert_eq!(settings[name], value, "{name}");
    }
    client.ask("verbosity 2\r\n", "OK\r\n");
    let settings: std::collections::HashMap<_, _> =
        client.stat_lines(" settings").into_iter().collect();
    assert_eq!(settings["verbosity"], "2");
}

#[test]
fn time_passes() {
    let server = larder(&[]);
    let mut client = Client::connect(&server);
    let before = client.stats();
    assert!(before["rusage_user"].split('.').nth(1).is_some_and(|micros| micros.len() == 6));
    for name in ["uptime", "time"] {
        let since = before[name].parse::<u64>().expect("a number");
        wait_until(name, || client.stat(name) > since);
    }
    let idle = Client::connect(&server);
    let address = format!("tcp:{}", idle.stream().local_addr().expect("ours"));
    wait_until("it has been silent for a second", || {
        let lines = client.stat_lines(" conns");
        let Some((name, _)) = lines.iter().find(|(_, value)| *value == address) else {
            return false;
        };
        let name = name.replace(":addr", ":secs_since_last_cmd");
        lines.iter().any(|(other, value)| *other == name && value != "0")
    });
}
