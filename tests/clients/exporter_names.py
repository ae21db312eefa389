"""Proves that every statistic that Prometheus' memcached exporter reads is there, and is what
it parses: a number, a time of two parts, or yes and no.

The exporter is a Go program that cannot be built from Python's packages, so these are the
names that it asks for (without flash storage and proxy), not the program.
"""

import re

from checks import run
from server import Server, ask, read_stats

COMMANDS = ["get", "delete", "incr", "decr", "cas", "touch"]
HITS = [f"{command}_hits" for command in COMMANDS]
GENERAL = HITS + [f"{command}_misses" for command in COMMANDS] + """
    uptime time cas_badval cmd_flush cmd_set bytes limit_maxbytes curr_items total_items bytes_read
    bytes_written curr_connections total_connections rejected_connections conn_yields
    listen_disabled_num evictions reclaimed store_too_large store_no_memory lru_crawler_starts
    direct_reclaims crawler_items_checked crawler_reclaimed moves_to_cold moves_to_warm
    moves_within_lru accepting_conns round_robin_fallback unexpected_napi_ids
""".split()
TIMES = ["rusage_user", "rusage_system"]
ITEMS = """
    number age hits_to_hot hits_to_warm hits_to_cold hits_to_temp crawler_reclaimed evicted
    evicted_nonzero evicted_time evicted_unfetched expired_unfetched outofmemory reclaimed
    tailrepairs mem_requested moves_to_cold moves_to_warm moves_within_lru number_hot number_warm
    number_cold age_hot age_warm
""".split()
SLABS = HITS + """
    cas_badval cmd_set chunk_size chunks_per_page total_pages total_chunks used_chunks free_chunks
    free_chunks_end
""".split()
SETTINGS = """
    maxconns lru_crawler_sleep lru_crawler_tocrawl hot_lru_pct warm_lru_pct hot_max_factor
    warm_max_factor
""".split()
SWITCHES = ["lru_crawler", "lru_maintainer_thread"]


def main(check):
    check.client("Prometheus' memcached exporter", "Go", "text",
                 "the names that it reads, not the program itself")
    with Server() as server:
        ask(server.address, b"set key 0 0 5\r\nvalue\r\n")
        general, settings = read_stats(server.address), read_stats(server.address, "settings")
        for name in GENERAL:
            check.true(is_number(general.get(name)), f"stats has {name}, a number")
        check.true("total_malloced" in read_stats(server.address, "slabs"), "and total_malloced")
        for name in TIMES:
            check.true(re.fullmatch(r"\d+\.\d{6}", general[name]), f"{name} is a time")
        for name in SETTINGS:
            check.true(is_number(settings.get(name)), f"stats settings has {name}, a number")
        for name in SWITCHES:
            check.true(settings[name] in ("yes", "no"), f"{name} is yes or no")
        items, slabs = read_stats(server.address, "items"), read_stats(server.address, "slabs")
        for name in ITEMS:
            check.true(is_number(items.get(f"items:1:{name}")), f"stats items has {name}")
        for name in SLABS:
            check.true(is_number(slabs.get(f"1:{name}")), f"stats slabs has {name}")
        check.equal(items["items:1:number"], "1", "and they tell what is so")


def is_number(value):
    return value is not None and re.fullmatch(r"\d+(\.\d+)?", value)


if __name__ == "__main__":
    run(__file__, main)
