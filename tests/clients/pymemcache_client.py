"""Proves that pymemcache works with the server: every command it has, its serializers and
flags, the noreply mode that it uses by default, its largest value, its pooled and hashing
clients, and its handling of a server that dies and comes back.
"""

import time
from dataclasses import dataclass

import pymemcache
from pymemcache import serde
from pymemcache.exceptions import (
    MemcacheClientError,
    MemcacheIllegalInputError,
    MemcacheServerError,
    MemcacheUnexpectedCloseError,
)

from checks import concurrently, run
from server import LARGEST_VALUE_LEN, Server, ask, dead_address, read_stats, read_value

TIMEOUTS = {"connect_timeout": 5, "timeout": 5}


@dataclass
class Author:
    name: str


@dataclass
class Book:
    title: str
    authors: list[Author]


def main(check):
    check.client(f"pymemcache {pymemcache.__version__}", "Python", "text",
                 "every command, noreply, pooling, hashing over three servers, a server that dies")
    with Server("-I", "1m") as server:
        client = pymemcache.Client(
            server.address, default_noreply=False, serde=serde.pickle_serde,
            allow_unicode_keys=True, encoding="utf8", **TIMEOUTS,
        )
        reads_and_writes(check, client)
        expiry(check, client)
        arithmetic(check, client)
        check_and_set(check, client, server)
        unicode_text(check, client, server)
        value_types(check, client, server)
        flags(check, server)
        many_keys(check, client)
        largest_value(check, client, server)
        noreply(check, server)
        threads(check, server)
        many_connections(check, server)
        server_commands(check, client)
        client.close()
    several_servers(check)
    server_that_dies(check)
    hashed_server_that_dies(check)


def reads_and_writes(check, client):
    check.equal(client.set("key", "value"), True, "set")
    check.equal(client.get("key"), "value", "get")
    check.equal(client.get("missing"), None, "get of a missing key")
    check.equal(client.get("missing", "default"), "default", "get with a default")

    check.equal(client.add("key", "other"), False, "add of a key that exists")
    check.equal(client.add("added", "new"), True, "add of a key that does not")
    check.equal(client.replace("added", "newer"), True, "replace of a key that exists")
    check.equal(client.replace("missing", "other"), False, "replace of a key that does not")
    check.equal(client.get_many(["key", "added", "missing"]),
                {"key": "value", "added": "newer"}, "add and replace change what they may")

    check.equal(client.append("key", "-end"), True, "append")
    check.equal(client.prepend("key", "start-"), True, "prepend")
    check.equal(client.get("key"), "start-value-end", "append and prepend join")
    check.equal(client.append("missing", "x"), False, "append to a missing key")
    check.equal(client.prepend("missing", "x"), False, "prepend to a missing key")
    check.equal(client.get("missing"), None, "neither made the key")

    check.equal(client.delete("key"), True, "delete")
    check.equal(client.delete("key"), False, "delete of a missing key")
    check.equal(client.get("key"), None, "get after delete")

    check.equal(client.set_many({"one": 1, "two": "2"}), [], "set_many")
    check.equal(client.get_many(["one", "two", "three"]), {"one": 1, "two": "2"}, "get_many")
    check.equal(client.delete_many(["one", "two"]), True, "delete_many")
    check.equal(client.get_many(["one", "two"]), {}, "delete_many deletes")

    client["item"] = "by index"
    check.equal(client["item"], "by index", "item access")
    del client["item"]
    check.raises(KeyError, lambda: client["item"], "item deleted")


def expiry(check, client):
    day_s = 24 * 60 * 60
    check.true(client.set("ttl-1", "v", expire=1), "set for a second")
    check.true(client.set("ttl-3", "v", expire=3), "set for three")
    check.true(client.set("until", "v", expire=int(time.time()) + 4), "set until a time")
    check.true(client.set("shortened", "v", expire=1000), "set, to be shortened")
    check.true(client.set("lengthened", "v", expire=3), "set, to be lengthened")
    check.true(client.set("for-ever", "v"), "set without expiry")
    check.true(client.set("30-days", "v", expire=30 * day_s), "set for the longest relative time")
    check.equal(client.touch("shortened", 3), True, "touch that shortens")
    check.equal(client.touch("lengthened", 1000), True, "touch that lengthens")
    check.equal(client.touch("missing", 3), False, "touch of a missing key")
    dying = ["ttl-3", "until", "shortened"]
    lasting = ["lengthened", "for-ever", "30-days"]
    check.equal(sorted(client.get_many(dying + lasting)), sorted(dying + lasting),
                "none expires early")

    check.true(client.set("past", "v", expire=-1), "set with a negative time")
    check.equal(client.get("past"), None, "a negative time is over at once")
    check.true(client.set("past", "v", expire=30 * day_s + 1), "set until a day in 1970")
    check.equal(client.get("past"), None, "over 30 days is a date, and this one is past")

    check.within(6, lambda: not client.get_many(["ttl-1", *dying]), "all expire in time")
    check.equal(sorted(client.get_many(lasting)), sorted(lasting), "the others last")


def arithmetic(check, client):
    client.set("count", 10)
    check.equal(client.incr("count", 1), 11, "incr")
    check.equal(client.incr("count", 30), 41, "incr by 30")
    check.equal(client.decr("count", 36), 5, "decr to fewer digits")
    check.equal(client.get("count"), 5, "the value is still an int")
    check.equal(client.decr("count", 100), 0, "decr stops at 0")
    check.equal(client.incr("missing", 1), None, "incr of a missing key")
    check.equal(client.decr("missing", 1), None, "decr of a missing key")
    check.equal(client.get("missing"), None, "incr did not make the key")
    client.set("count", 2**64 - 1)
    check.equal(client.incr("count", 1), 0, "incr wraps at 64 bits")
    client.set("text", "many")
    error = check.raises(MemcacheClientError, lambda: client.incr("text", 1), "incr of a text")
    check.equal(error.args, (b"cannot increment or decrement non-numeric value",), "its words")
    error = check.raises(MemcacheClientError, lambda: client.incr("count", -1), "incr by -1")
    check.equal(error.args, (b"invalid numeric delta argument",), "its words")
    check.equal(client.get("text"), "many", "the text is unchanged")


def check_and_set(check, client, server):
    other = pymemcache.Client(server.address, default_noreply=False, **TIMEOUTS)
    client.set("shared", "first")
    value, unique = client.gets("shared")
    check.equal(value, "first", "gets")
    check.equal(client.cas("shared", "second", unique), True, "cas with nothing in between")
    check.equal(client.get("shared"), "second", "cas stores")
    check.equal(client.cas("shared", "third", unique), False, "cas again with the same unique")

    _value, unique = client.gets("shared")
    other.set("shared", "by another client")
    check.equal(client.cas("shared", "third", unique), False, "cas after another client's set")
    check.equal(other.get("shared"), b"by another client", "the other's value stands")

    _value, unique = client.gets("shared")
    other.touch("shared", 1000)
    check.equal(client.cas("shared", "third", unique), True, "touch does not change the unique")
    _value, unique = client.gets("shared")
    other.delete("shared")
    check.equal(client.cas("shared", "fourth", unique), None, "cas of a deleted key")
    check.equal(client.get("shared"), None, "cas does not bring it back")
    check.equal(client.gets("shared"), (None, None), "gets of a missing key")

    client.set_many({"one": 1, "two": 2})
    both = client.gets_many(["one", "two", "missing"])
    check.equal({key: value for key, (value, _unique) in both.items()}, {"one": 1, "two": 2},
                "gets_many")
    check.true(both["one"][1] != both["two"][1], "every store has a unique of its own")
    other.close()


def unicode_text(check, client, server):
    check.true(client.set("书:三体", "刘慈欣 – “three” 🌞"), "unicode key and value")
    check.equal(client.get("书:三体"), "刘慈欣 – “three” 🌞", "get of it")
    names = {"ключ": "значение", "clé": "valeur", "鍵": ""}
    check.equal(client.set_many(names), [], "set_many with unicode keys")
    check.equal(client.get_many(names), names, "get_many with unicode keys")
    longest = "é" * 125
    check.true(client.set(longest, "250 bytes"), "the longest key")
    check.equal(client.get(longest), "250 bytes", "get of the longest key")
    check.raises(MemcacheIllegalInputError, lambda: client.get(longest + "x"),
                 "the client refuses 251 bytes")
    check.raises(MemcacheIllegalInputError, lambda: client.get("a b"),
                 "the client refuses a space")
    prefixed = pymemcache.Client(server.address, key_prefix=b"prefix:", **TIMEOUTS)
    prefixed.set("key", "prefixed", noreply=False)
    check.equal(prefixed.get_many(["key"]), {"key": b"prefixed"}, "key_prefix")
    check.equal(client.raw_command("get prefix:key", "END\r\n"),
                b"VALUE prefix:key 0 8\r\nprefixed\r\n", "raw_command sees the prefix")
    prefixed.close()


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
    check.equal(client.get("none", "default"), None, "None is not a miss")

    packing = pymemcache.Client(server.address, serde=serde.compressed_serde, **TIMEOUTS)
    packing.set("packed", "x" * 100_000, noreply=False)
    check.equal(packing.get("packed"), "x" * 100_000, "compressed value")
    check.true(len(read_value(server.address, "packed")[1]) < 1000, "it was stored compressed")
    packing.close()


class FlagsSerde:
    """Gives flags back with the value, as `(flags, value)`."""

    def serialize(self, _key, value):
        return value, 0

    def deserialize(self, _key, value, flags):
        return flags, value


def flags(check, server):
    client = pymemcache.Client(server.address, serde=FlagsSerde(), default_noreply=False,
                               **TIMEOUTS)
    for number in (0, 1, 0xFFFF, 0x10000, 0x80000000, 0xFFFFFFFF):
        check.true(client.set("flagged", b"v", flags=number), f"set with flags {number:#x}")
        check.equal(client.get("flagged"), (number, b"v"), f"flags {number:#x} come back")
        check.equal(read_value(server.address, "flagged"), (number, b"v"), "seen by others too")
    client.append("flagged", b"w", flags=5)
    check.equal(client.get("flagged"), (0xFFFFFFFF, b"vw"), "append keeps the flags")
    client.set("flagged", b"9", flags=7)
    client.incr("flagged", 1)
    check.equal(client.get("flagged"), (7, b"10"), "incr keeps the flags")
    client.close()


def many_keys(check, client):
    # 200 KB of keys in one request line.
    values = {f"{number:04}-{'k' * 195}": number for number in range(1000)}
    check.equal(client.set_many(values), [], "set_many of 1,000 keys")
    check.equal(client.get_many(values), values, "get_many of 1,000 keys")
    check.equal(len(client.gets_many(values)), 1000, "gets_many of 1,000 keys")
    half = list(values)[::2]
    client.delete_many(half)
    check.equal(len(client.get_many(values)), 500, "get_many of 500 hits, 500 misses")


def largest_value(check, client, server):
    largest = bytes(range(251)) * (LARGEST_VALUE_LEN // 251 + 1)
    largest = largest[:LARGEST_VALUE_LEN]
    check.true(client.set("b", largest), "set of the largest value")
    check.true(client.get("b") == largest, "the largest value comes back equal")
    error = check.raises(MemcacheServerError, lambda: client.set("b", largest + b"x"),
                         "one byte more is refused")
    check.equal(error.args, (b"object too large for cache",), "its words")
    check.equal(client.get("b"), None, "and the old value is gone")
    client.set("b", "small")
    check.raises(MemcacheServerError, lambda: client.replace("b", largest + b"x"),
                 "replace refuses it too")
    check.equal(client.get("b"), "small", "but keeps the old value")
    # This client closes its connection on every error, so a raw one shows that the server
    # does not.
    request = b"set b 0 0 %d\r\n%s\r\nget b\r\n" % (len(largest) + 1, largest + b"x")
    check.equal(ask(server.address, request, b"END\r\n"),
                b"SERVER_ERROR object too large for cache\r\nEND\r\n",
                "the next command on the same connection is answered")


def noreply(check, server):
    before = read_stats(server.address)["total_connections"]
    client = pymemcache.Client(server.address, serde=serde.pickle_serde, **TIMEOUTS)
    check.true(client.default_noreply, "noreply is this client's default")
    for number in range(1000):
        client.set(f"quiet-{number}", number)
    client.add("quiet-0", "exists")
    client.replace("quiet-missing", "does not")
    client.set("quiet-text", "b")
    client.append("quiet-text", "c")
    client.prepend("quiet-text", "a")
    client.incr("quiet-text", 1, noreply=True)  # an error, which is silent too
    client.incr("quiet-1", 9, noreply=True)
    client.decr("quiet-2", 1, noreply=True)
    client.touch("quiet-3", -1)
    client.delete("quiet-4")
    client.delete_many(["quiet-5", "quiet-6"])
    client.set_many({"quiet-7": "seven", "quiet-8": "eight"})
    client.cas("quiet-9", "not this", 0, noreply=True)
    keys = ["quiet-text", "quiet-missing", *(f"quiet-{number}" for number in range(10))]
    check.equal(client.get_many(keys),
                {"quiet-text": "abc", "quiet-0": 0, "quiet-1": 10, "quiet-2": 1,
                 "quiet-7": "seven", "quiet-8": "eight", "quiet-9": 9},
                "after a burst of noreply the first get is in step")
    check.equal(client.get("quiet-999"), 999, "the last of the burst was stored")
    client.set("b", "small")
    client.set("b", b"x" * (LARGEST_VALUE_LEN + 1))
    check.equal(client.get("b"), None, "a silent refusal of a value too large, in step")
    client.set("b", "small")
    client.flush_all()
    check.equal(client.get("b"), None, "flush_all without reply")
    after = read_stats(server.address)["total_connections"]
    check.equal(int(after) - int(before), 2, "one connection for all that, and one for the stats")
    client.close()


def threads(check, server):
    pool = pymemcache.PooledClient(server.address, max_pool_size=8, default_noreply=False,
                                   serde=serde.pickle_serde, **TIMEOUTS)
    before = int(read_stats(server.address)["total_connections"])
    pool.set_many({"turns": 0, "list": []})

    def work(thread):
        for turn in range(200):
            value = f"{thread}/{turn}"
            assert pool.set(f"thread-{thread}", value), "set in a thread"
            assert pool.get(f"thread-{thread}") == value, "get in a thread"
            assert pool.incr("turns", 1) is not None, "incr in a thread"
        for turn in range(20):
            while True:
                entries, unique = pool.gets("list")
                if pool.cas("list", [*entries, (thread, turn)], unique):
                    break

    concurrently(8, work)
    check.equal(pool.get("turns"), 8 * 200, "no incr of 8 threads is lost")
    check.equal(sorted(pool.get("list")),
                [(thread, turn) for thread in range(8) for turn in range(20)],
                "no cas of 8 threads is lost or done twice")
    check.equal(pool.get_many([f"thread-{thread}" for thread in range(8)]),
                {f"thread-{thread}": f"{thread}/199" for thread in range(8)},
                "every thread's last value stands")
    after = int(read_stats(server.address)["total_connections"])
    check.true(after - before <= 8 + 1, "at most 8 connections for 8 threads, 1 for the stats")
    pool.close()


def many_connections(check, server):
    clients = [
        pymemcache.Client(server.address, default_noreply=False, **TIMEOUTS) for _ in range(200)
    ]
    for number, client in enumerate(clients):
        client.set(f"client-{number}", str(number))
    check.true(int(read_stats(server.address)["curr_connections"]) > 200,
               "200 connections at once, besides the listener's and the asker's")
    answers = [client.get(f"client-{199 - number}") for number, client in enumerate(clients)]
    check.equal(answers, [str(199 - number).encode() for number in range(200)],
                "every connection answers, and sees what the others stored")
    for client in clients:
        client.quit()
    check.within(5, lambda: int(read_stats(server.address)["curr_connections"]) < 20,
                 "after quit the server has closed them all")


def server_commands(check, client):
    version = client.version()
    check.true(version, "version")
    stats = client.stats()
    check.equal(stats[b"version"], version, "stats tell the same version")
    check.equal(stats[b"limit_maxbytes"], 64 * 2**20, "stats tell the -m option")
    check.true(stats[b"curr_items"] > 0, "stats count items")
    hits, misses = stats[b"get_hits"], stats[b"get_misses"]
    client.get_many(["turns", "list", "missing"])
    stats = client.stats()
    check.equal((stats[b"get_hits"], stats[b"get_misses"]), (hits + 2, misses + 1),
                "stats count hits and misses by key")
    settings = client.stats("settings")
    check.equal((settings[b"maxbytes"], settings[b"item_size_max"]), (64 * 2**20, 2**20),
                "stats settings")
    check.equal(client.raw_command("version"), b"VERSION " + version, "raw_command")

    check.equal(client.flush_all(), True, "flush_all")
    check.equal(client.get("turns"), None, "flush_all empties the cache")
    check.true(client.set("text", "new"), "set after flush_all")
    check.equal(client.get("text"), "new", "what is set after a flush stays")
    # The server's clock ticks once a second, and the flush comes up to two ticks early.
    check.equal(client.flush_all(delay=3), True, "flush_all with a delay")
    check.equal(client.get("text"), "new", "does nothing yet")
    check.within(5, lambda: client.get("text") is None, "but then")
    client.quit()
    check.true(client.set("text", "again"), "after quit the client connects anew")


def several_servers(check):
    values = {f"key-{number}": f"{number}" for number in range(100)}
    with Server() as first, Server() as second, Server() as third:
        servers = [first, second, third]
        client = pymemcache.HashClient([server.address for server in servers], use_pooling=True,
                                       max_pool_size=4, encoding="utf8",
                                       serde=serde.pickle_serde, **TIMEOUTS)
        check.equal(client.set_many(values, noreply=False), [], "set_many over three servers")
        check.equal(client.get_many(values), values, "get_many over three servers")
        counts = [int(read_stats(server.address)["curr_items"]) for server in servers]
        check.equal(sum(counts), 100, "every key is on one server")
        check.true(min(counts) > 0, "each server has some")
        client.close()


def server_that_dies(check):
    with dead_address() as nobody:
        client = pymemcache.Client(nobody, **TIMEOUTS)
        check.raises(ConnectionRefusedError, lambda: client.get("key"), "get from nobody")
        client = pymemcache.Client(nobody, ignore_exc=True, **TIMEOUTS)
        check.equal(client.get("key", "default"), "default", "ignore_exc makes that a miss")
        check.equal(client.get_many(["key"]), {}, "get_many too")
        check.raises(ConnectionRefusedError, lambda: client.set("key", "value"),
                     "but a set still fails")
    with Server() as server:
        client = pymemcache.Client(server.address, default_noreply=False, **TIMEOUTS)
        client.set("key", "value")
        server.kill()
        check.raises((MemcacheUnexpectedCloseError, OSError), lambda: client.get("key"),
                     "get when the server is killed")
        check.raises(ConnectionRefusedError, lambda: client.set("key", "value"), "then set")
        server.restart()
        check.equal(client.get("key"), None, "the restarted server works at once, and is empty")
        check.equal(client.set("key", "again"), True, "set")
        check.equal(client.get("key"), b"again", "get")
        client.close()


def hashed_server_that_dies(check):
    with Server() as server:
        client = pymemcache.HashClient([server.address], ignore_exc=True, retry_timeout=0.1,
                                       dead_timeout=0.5, default_noreply=False, **TIMEOUTS)
        check.equal(client.set("key", "value"), True, "set")
        server.kill()
        check.equal(client.get("key", "default"), "default", "get gives the default")
        check.equal(client.set("key", "value"), False, "set fails quietly")
        check.equal(client.get_many(["key"]), {}, "get_many finds nothing")
        check.equal(list(client.set_many({"key": "value"})), ["key"], "set_many names the key")
        check.equal(client.delete("key"), False, "delete fails quietly")
        server.restart()
        check.within(10, lambda: client.set("key", "again"), "it finds the restarted server")
        check.equal(client.get("key"), b"again", "get")
        client.close()


if __name__ == "__main__":
    run(__file__, main)
