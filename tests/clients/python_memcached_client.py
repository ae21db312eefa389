"""Proves that python-memcached works with the server: every command it has, values of
every type it stores, its noreply mode, its largest value, and its handling of a server
that dies and comes back.

The version that is installed is the one tested: 1.59 and 1.62 both pass.
"""

import time
from dataclasses import dataclass

import memcache

from checks import concurrently, run
from server import LARGEST_VALUE_LEN, Server, ask, dead_address, read_stats, read_value


@dataclass
class Author:
    name: str


@dataclass
class Book:
    title: str
    authors: list[Author]


def main(check):
    check.client(f"python-memcached {memcache.__version__}", "Python", "text",
                 "every command, pickled values, several servers, a server that dies")
    with Server("-I", "1m") as server:
        client = memcache.Client([server.address])
        reads_and_writes(check, client)
        expiry(check, client)
        arithmetic(check, client)
        check_and_set(check, client, server)
        unicode_text(check, client)
        value_types(check, client, server)
        flags(check, client, server)
        many_keys(check, client)
        largest_value(check, client)
        noreply(check, client, server)
        threads(check, client, server)
        server_commands(check, client, server)
    two_servers(check)
    server_that_dies(check)


def reads_and_writes(check, client):
    check.true(client.set("key", "value"), "set")
    check.equal(client.get("key"), "value", "get")
    check.equal(client.get("missing"), None, "get of a missing key")

    check.true(not client.add("key", "other"), "add of a key that exists")
    check.true(client.add("added", "new"), "add of a key that does not")
    check.true(client.replace("added", "newer"), "replace of a key that exists")
    check.true(not client.replace("missing", "other"), "replace of a key that does not")
    check.equal(client.get_multi(["key", "added", "missing"]),
                {"key": "value", "added": "newer"}, "add and replace change what they may")

    check.true(client.append("key", "-end"), "append")
    check.true(client.prepend("key", "start-"), "prepend")
    check.equal(client.get("key"), "start-value-end", "append and prepend join")
    check.true(not client.append("missing", "x"), "append to a missing key")
    check.true(not client.prepend("missing", "x"), "prepend to a missing key")
    check.equal(client.get("missing"), None, "neither made the key")

    check.true(client.delete("key"), "delete")
    check.equal(client.get("key"), None, "get after delete")
    check.equal(client.delete("key"), 1 if memcache.__version__ == "1.59" else 0,
                "delete of a missing key (1.59 calls that success)")
    if memcache.__version__ == "1.59":
        client.set("key", "value")
        check.equal(client.delete("key", time=0), 1, "delete with the old time argument")
        check.equal(client.get("key"), None, "which deletes too")

    check.equal(client.set_multi({"one": 1, "two": "2"}, key_prefix="many-"), [], "set_multi")
    check.equal(client.get_multi(["one", "two", "three"], key_prefix="many-"),
                {"one": 1, "two": "2"}, "get_multi")
    check.equal(client.get("many-one"), 1, "the prefix is part of the key")
    check.equal(client.delete_multi(["one", "two"], key_prefix="many-"), 1, "delete_multi")
    check.equal(client.get_multi(["many-one", "many-two"]), {}, "delete_multi deletes")


def expiry(check, client):
    day_s = 24 * 60 * 60
    check.true(client.set("ttl-1", "v", time=1), "set for a second")
    check.true(client.set("ttl-3", "v", time=3), "set for three")
    check.true(client.set("until", "v", time=int(time.time()) + 4), "set until a time")
    check.true(client.set("shortened", "v", time=1000), "set, to be shortened")
    check.true(client.set("lengthened", "v", time=3), "set, to be lengthened")
    check.true(client.set("for-ever", "v"), "set without expiry")
    check.true(client.set("30-days", "v", time=30 * day_s), "set for the longest relative time")
    check.true(client.touch("shortened", 3), "touch that shortens")
    check.true(client.touch("lengthened", 1000), "touch that lengthens")
    check.true(not client.touch("missing", 3), "touch of a missing key")
    dying = ["ttl-3", "until", "shortened"]
    lasting = ["lengthened", "for-ever", "30-days"]
    check.equal(sorted(client.get_multi(dying + lasting)), sorted(dying + lasting),
                "none expires early")

    check.true(client.set("past", "v", time=-1), "set with a negative time")
    check.equal(client.get("past"), None, "a negative time is over at once")
    check.true(client.set("past", "v", time=30 * day_s + 1), "set until a day in 1970")
    check.equal(client.get("past"), None, "over 30 days is a date, and this one is past")

    check.within(6, lambda: not client.get_multi(["ttl-1", *dying]), "all expire in time")
    check.equal(sorted(client.get_multi(lasting)), sorted(lasting), "the others last")


def arithmetic(check, client):
    client.set("count", 10)
    check.equal(client.incr("count"), 11, "incr")
    check.equal(client.incr("count", 30), 41, "incr by 30")
    check.equal(client.decr("count"), 40, "decr")
    check.equal(client.decr("count", 35), 5, "decr to fewer digits")
    check.equal(client.get("count"), 5, "the value is still an int")
    check.equal(client.decr("count", 100), 0, "decr stops at 0")
    check.equal(client.incr("missing"), None, "incr of a missing key")
    check.equal(client.decr("missing"), None, "decr of a missing key")
    check.equal(client.get("missing"), None, "incr did not make the key")
    client.set("count", 2**64 - 1)
    check.equal(client.incr("count"), 0, "incr wraps at 64 bits")
    client.set("text", "many")
    # The client takes the error line for a number, which is how its caller learns of it.
    check.raises(ValueError, lambda: client.incr("text"), "incr of a text")
    check.equal(client.get("text"), "many", "the text is unchanged, the replies in step")


def check_and_set(check, client, server):
    careful = memcache.Client([server.address], cache_cas=True)
    client.set("shared", "first")
    check.equal(careful.gets("shared"), "first", "gets")
    check.true(careful.cas("shared", "second"), "cas with nothing in between")
    check.equal(client.get("shared"), "second", "cas stores")
    check.true(not careful.cas("shared", "third"), "cas again with the same unique")

    careful.gets("shared")
    client.set("shared", "by another client")
    check.true(not careful.cas("shared", "third"), "cas after another client's set")
    check.equal(client.get("shared"), "by another client", "the other's value stands")

    careful.gets("shared")
    client.touch("shared", 1000)
    check.true(careful.cas("shared", "third"), "touch does not change the unique")
    careful.gets("shared")
    client.delete("shared")
    check.true(not careful.cas("shared", "fourth"), "cas of a deleted key")
    check.equal(client.get("shared"), None, "cas does not bring it back")
    careful.disconnect_all()


def unicode_text(check, client):
    check.true(client.set("书:三体", "刘慈欣 – “three” 🌞"), "unicode key and value")
    check.equal(client.get("书:三体"), "刘慈欣 – “three” 🌞", "get of it")
    names = {"ключ": "значение", "clé": "valeur", "鍵": ""}
    check.equal(client.set_multi(names), [], "set_multi with unicode keys")
    check.equal(client.get_multi(names), names, "get_multi with unicode keys")
    longest = "é" * 125
    check.true(client.set(longest, "250 bytes"), "the longest key")
    check.equal(client.get(longest), "250 bytes", "get of the longest key")
    check.raises(memcache.Client.MemcachedKeyLengthError, lambda: client.get(longest + "x"),
                 "the client refuses 251 bytes")
    check.raises(memcache.Client.MemcachedKeyCharacterError, lambda: client.get("a b"),
                 "the client refuses a space")


def value_types(check, client, server):
    for name, value in {
        "text": "text", "empty": "", "bytes": b"\r\n\0\xff END\r\n", "no-bytes": b"",
        "int": -5, "long": 2**80, "float": 2.5, "true": True, "false": False,
        "dict": {"title": "活着", "tags": ["a", ("b", None)], 1: {2: {3}}},
        "object": Book("红楼梦", [Author("曹雪芹"), Author("高鹗")]),
    }.items():
        check.true(client.set(name, value), f"set {name}")
        back = client.get(name)
        check.equal((back, type(back)), (value, type(value)), f"{name} comes back as it was")
    check.true(client.set("none", None), "set None")
    check.equal(client.get_multi(["none", "missing"]), {"none": None}, "None is not a miss")

    check.true(client.set("packed", "x" * 100_000, min_compress_len=1000), "compressed set")
    check.equal(client.get("packed"), "x" * 100_000, "compressed value")
    check.true(len(read_value(server.address, "packed")[1]) < 1000, "it was stored compressed")


def flags(check, client, server):
    client.set("pickled", {})
    client.set("number", 7)
    client.set("text", "t")
    client.set("bytes", b"b")
    stored = [read_value(server.address, key)[0] for key in ("pickled", "number", "text", "bytes")]
    check.equal(stored, [1, 2, 16, 0], "the client's flags are stored")
    # The library cannot set other flags, so another client does, and this one reads them.
    high = 0x80000000
    check.equal(ask(server.address, b"set high %d 0 1\r\nh\r\n" % (high | 16)), b"STORED\r\n",
                "set with flags that need 32 bits")
    check.equal(client.get("high"), "h", "the text flag is seen among them")
    ask(server.address, b"set high %d 0 1\r\nh\r\n" % high)
    error = check.raises(ValueError, lambda: client.get("high"), "flags the client cannot know")
    check.equal(str(error), "Unknown flags on get: 80000000", "it was sent the top bit")
    check.equal(client.get("text"), "t", "in step after that")


def many_keys(check, client):
    # 200 KB of keys in one request line.
    values = {f"{number:04}-{'k' * 195}": number for number in range(1000)}
    check.equal(client.set_multi(values), [], "set_multi of 1,000 keys")
    check.equal(client.get_multi(values), values, "get_multi of 1,000 keys")
    half = list(values)[::2]
    client.delete_multi(half)
    check.equal(len(client.get_multi(values)), 500, "get_multi of 500 hits, 500 misses")


def largest_value(check, client):
    largest = bytes(range(251)) * (LARGEST_VALUE_LEN // 251 + 1)
    largest = largest[:LARGEST_VALUE_LEN]
    client.set("after", "in step")
    connection = client.servers[0].socket
    check.true(client.set("b", largest), "set of the largest value")
    check.true(client.get("b") == largest, "the largest value comes back equal")
    check.true(not client.set("b", largest + b"x"), "one byte more is refused")
    check.equal(client.get("b"), None, "and the old value is gone")
    check.equal(client.get("after"), "in step", "the connection goes on")
    client.set("b", "small")
    check.true(not client.replace("b", largest + b"x"), "replace refuses it too")
    check.equal(client.get("b"), "small", "but keeps the old value")
    check.true(client.servers[0].socket is connection, "all that on one connection")


def noreply(check, client, server):
    before = read_stats(server.address)["total_connections"]
    for number in range(1000):
        client.set(f"quiet-{number}", number, noreply=True)
    client.add("quiet-0", "exists", noreply=True)
    client.replace("quiet-missing", "does not", noreply=True)
    client.set("quiet-text", "b", noreply=True)
    client.append("quiet-text", "c", noreply=True)
    client.prepend("quiet-text", "a", noreply=True)
    client.incr("quiet-text", 1, noreply=True)  # an error, which is silent too
    client.incr("quiet-1", 9, noreply=True)
    client.decr("quiet-2", 1, noreply=True)
    client.touch("quiet-3", -1, noreply=True)
    client.delete("quiet-4", noreply=True)
    client.delete_multi(["quiet-5", "quiet-6"], noreply=True)
    client.set_multi({"quiet-7": "seven", "quiet-8": "eight"}, noreply=True)
    # A get, because get_multi skips replies that it did not ask for.
    check.equal(client.get("quiet-999"), 999, "after a burst of noreply a get is in step")
    keys = ["quiet-text", "quiet-missing", *(f"quiet-{number}" for number in range(10))]
    check.equal(client.get_multi(keys),
                {"quiet-text": "abc", "quiet-0": 0, "quiet-1": 10, "quiet-2": 1,
                 "quiet-7": "seven", "quiet-8": "eight", "quiet-9": 9},
                "what the burst did, and did not")
    client.set("b", "small")
    client.set("b", b"x" * (LARGEST_VALUE_LEN + 1), noreply=True)
    check.equal(client.get("b"), None, "a value too large is refused, silently")
    check.equal(client.get("quiet-999"), 999, "still in step")
    after = read_stats(server.address)["total_connections"]
    check.equal(int(after) - int(before), 1, "no reconnection but that of the stats")


def threads(check, client, server):
    # One client object has one connection for every thread that uses it.
    before = int(read_stats(server.address)["total_connections"])
    client.set("turns", 0)

    def work(thread):
        for turn in range(200):
            value = f"{thread}/{turn}"
            assert client.set(f"thread-{thread}", value), "set in a thread"
            assert client.get(f"thread-{thread}") == value, "get in a thread"
            assert client.incr("turns") is not None, "incr in a thread"
        client.disconnect_all()

    concurrently(8, work)
    check.equal(client.get("turns"), 8 * 200, "no incr of 8 threads is lost")
    check.equal(client.get_multi([f"thread-{thread}" for thread in range(8)]),
                {f"thread-{thread}": f"{thread}/199" for thread in range(8)},
                "every thread's last value stands")
    after = int(read_stats(server.address)["total_connections"])
    check.equal(after - before, 8 + 1, "8 connections for 8 threads, 1 for the stats")


def server_commands(check, client, server):
    (name, stats), = client.get_stats()
    check.equal(name, f"{server.address} (1)", "stats name the server")
    check.true(stats["version"], "stats tell a version")
    check.equal(ask(server.address, b"version\r\n").decode().split()[1], stats["version"],
                "the version command tells the same")
    check.true(int(stats["curr_items"]) > 0, "stats count items")
    check.true(int(stats["get_hits"]) > 0, "stats count hits")
    hits = int(stats["get_hits"])
    client.get("text")
    client.get("missing")
    stats = client.get_stats()[0][1]
    check.equal(int(stats["get_hits"]), hits + 1, "one hit more, the miss apart")
    check.equal(client.get_stats("settings")[0][1]["item_size_max"], str(2**20),
                "stats settings")

    client.flush_all()
    check.equal(client.get("text"), None, "flush_all empties the cache")
    check.true(client.set("text", "new"), "set after flush_all")
    check.equal(client.get("text"), "new", "what is set after a flush stays")
    client.disconnect_all()


def two_servers(check):
    values = {f"key-{number}": number for number in range(100)}
    with Server() as first, Server() as second:
        client = memcache.Client([first.address, second.address])
        check.equal(client.set_multi(values), [], "set_multi over two servers")
        check.equal(client.get_multi(values), values, "get_multi over two servers")
        counts = [int(stats["curr_items"]) for _name, stats in client.get_stats()]
        check.equal(sum(counts), 100, "every key is on one server")
        check.true(min(counts) > 0, "both servers have some")
        client.disconnect_all()
    with dead_address() as dead, Server() as live:
        client = memcache.Client([dead, live.address])
        stored = [client.set(key, value) for key, value in values.items()]
        check.true(all(stored), "with one server dead the other takes its keys")
        check.equal(len(client.get_multi(values)), 100, "and gives them back")
        client.disconnect_all()


def server_that_dies(check):
    with Server() as server:
        patient = memcache.Client([server.address])  # tries a dead server after 30 s
        eager = memcache.Client([server.address], dead_retry=1)
        patient.set("key", "value")
        check.equal(eager.get("key"), "value", "before")

        server.kill()
        check.equal(patient.get("key"), None, "get is a miss when the server is killed")
        check.true(patient.servers[0].deaduntil > time.time(), "the server is marked dead")
        check.true(not patient.set("key", "value"), "set fails")
        check.true(not patient.delete("key"), "delete fails")
        check.true(not patient.touch("key", 9), "touch fails")
        check.equal(patient.incr("key"), None, "incr gives None")
        check.equal(patient.get_multi(["key"]), {}, "get_multi finds nothing")
        check.equal(patient.set_multi({"key": "value"}), ["key"], "set_multi names the key")
        check.equal(patient.get_stats(), [], "no stats")
        check.equal(eager.get("key"), None, "the other client has a miss")

        server.restart()
        check.true(not patient.set("key", "value"), "a dead server is not tried for 30 s")
        patient.forget_dead_hosts()
        check.equal(patient.get("key"), None, "the restarted server is empty")
        check.true(patient.set("key", "again"), "and works, after forget_dead_hosts")
        check.within(5, lambda: eager.get("key") == "again", "or when dead_retry is over")
        patient.disconnect_all()
        eager.disconnect_all()


if __name__ == "__main__":
    run(__file__, main)
