"""Proves that pylibmc, and so libmemcached, works with the server over the text protocol:
every command it has, its value types and flags, its noreply mode, its largest value, its
thread pools, and its handling of a server that dies and comes back.

The wheel brings a libmemcached of its own; built from source, pylibmc uses the system's.
The version in use is printed; 1.0.16 and 1.1.4 both pass.
"""

import time
from dataclasses import dataclass

import pylibmc

from checks import concurrently, run
from server import LARGEST_VALUE_LEN, Server, ask, dead_address, read_stats, read_value


@dataclass
class Author:
    name: str


@dataclass
class Book:
    title: str
    authors: list[Author]


def connect(address, kind=pylibmc.Client, **behaviors):
    """A client of the text protocol, with cas, which the library leaves out unless asked."""
    return kind([address], binary=False, behaviors={"cas": True, "tcp_nodelay": True, **behaviors})


def main(check):
    check.client(
        f"pylibmc {pylibmc.__version__}, libmemcached {pylibmc.libmemcached_version}", "Python",
        "text", "every command, pickled values, threads, a server that dies",
    )
    with Server("-I", "1m") as server:
        client = connect(server.address)
        reads_and_writes(check, client)
        expiry(check, client)
        arithmetic(check, client)
        check_and_set(check, client, server)
        unicode_text(check, client)
        value_types(check, client, server)
        flags(check, client, server)
        many_keys(check, client)
        largest_value(check, client, server)
        noreply(check, server)
        threads(check, client, server)
        many_connections(check, client, server)
        server_commands(check, client, server)
        client.disconnect_all()
    two_servers(check)
    server_that_dies(check)


def reads_and_writes(check, client):
    check.equal(client.set("key", "value"), True, "set")
    check.equal(client.get("key"), "value", "get")
    check.equal(client.get("missing"), None, "get of a missing key")
    check.equal(client.get("missing", "default"), "default", "get with a default")

    check.equal(client.add("key", "other"), False, "add of a key that exists")
    check.equal(client.add("added", "new"), True, "add of a key that does not")
    check.equal(client.replace("added", "newer"), True, "replace of a key that exists")
    check.equal(client.replace("missing", "other"), False, "replace of a key that does not")
    check.equal(client.get_multi(["key", "added", "missing"]),
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

    check.equal(client.set_multi({"one": 1, "two": "2"}, key_prefix="many-"), [], "set_multi")
    check.equal(client.get_multi(["one", "two", "three"], key_prefix="many-"),
                {"one": 1, "two": "2"}, "get_multi")
    check.equal(client.get("many-one"), 1, "the prefix is part of the key")
    check.equal(client.add_multi({"many-one": 9, "many-new": 3}), ["many-one"],
                "add_multi names the key that exists")
    check.equal(client.delete_multi(["one", "two", "new"], key_prefix="many-"), True,
                "delete_multi")
    check.equal(client.delete_multi(["many-one"]), False, "delete_multi of a missing key")

    client["item"] = "by index"
    check.equal(client["item"], "by index", "item access")
    check.true("item" in client, "membership")
    del client["item"]
    check.true("item" not in client, "item deleted")


def expiry(check, client):
    day_s = 24 * 60 * 60
    check.true(client.set("ttl-1", "v", time=1), "set for a second")
    check.true(client.set("ttl-3", "v", time=3), "set for three")
    check.true(client.set("until", "v", time=int(time.time()) + 4), "set until a time")
    check.true(client.set("shortened", "v", time=1000), "set, to be shortened")
    check.true(client.set("lengthened", "v", time=3), "set, to be lengthened")
    check.true(client.set("for-ever", "v"), "set without expiry")
    check.true(client.set("30-days", "v", time=30 * day_s), "set for the longest relative time")
    check.equal(client.touch("shortened", 3), True, "touch that shortens")
    check.equal(client.touch("lengthened", 1000), True, "touch that lengthens")
    check.equal(client.touch("missing", 3), False, "touch of a missing key")
    dying = ["ttl-3", "until", "shortened"]
    lasting = ["lengthened", "for-ever", "30-days"]
    check.equal(sorted(client.get_multi(dying + lasting)), sorted(dying + lasting),
                "none expires early")

    # The library sends -1 as 4294967295, which the server has to cut to 32 bits with a sign.
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
    check.equal(client.decr("count", 36), 5, "decr to fewer digits")
    check.equal(client.get("count"), 5, "the value is still an int")
    check.equal(client.decr("count", 100), 0, "decr stops at 0")
    check.raises(pylibmc.NotFound, lambda: client.incr("missing"), "incr of a missing key")
    check.raises(pylibmc.NotFound, lambda: client.decr("missing"), "decr of a missing key")
    check.equal(client.get("missing"), None, "incr did not make the key")
    client.set("count", 2**64 - 1)
    check.equal(client.incr("count"), 0, "incr wraps at 64 bits")
    client.set_multi({"one": 1, "two": 2})
    client.incr_multi(["one", "two"], delta=5)
    check.equal(client.get_multi(["one", "two"]), {"one": 6, "two": 7}, "incr_multi")
    client.set("text", "many")
    check.raises(pylibmc.ClientError, lambda: client.incr("text"), "incr of a text")
    check.equal(client.get("text"), "many", "the text is unchanged, the replies in step")


def check_and_set(check, client, server):
    other = connect(server.address)
    client.set("shared", "first")
    value, unique = client.gets("shared")
    check.equal(value, "first", "gets")
    check.equal(client.cas("shared", "second", unique), True, "cas with nothing in between")
    check.equal(client.get("shared"), "second", "cas stores")
    check.equal(client.cas("shared", "third", unique), False, "cas again with the same unique")

    _value, unique = client.gets("shared")
    other.set("shared", "by another client")
    check.equal(client.cas("shared", "third", unique), False, "cas after another client's set")
    check.equal(client.get("shared"), "by another client", "the other's value stands")

    _value, unique = client.gets("shared")
    other.touch("shared", 1000)
    check.equal(client.cas("shared", "third", unique), True, "touch does not change the unique")
    _value, unique = client.gets("shared")
    other.delete("shared")
    check.raises(pylibmc.NotFound, lambda: client.cas("shared", "fourth", unique),
                 "cas of a deleted key")
    check.equal(client.get("shared"), None, "cas does not bring it back")
    check.equal(client.gets("shared"), (None, None), "gets of a missing key")
    other.disconnect_all()


def unicode_text(check, client):
    check.true(client.set("书:三体", "刘慈欣 – “three” 🌞"), "unicode key and value")
    check.equal(client.get("书:三体"), "刘慈欣 – “three” 🌞", "get of it")
    names = {"ключ": "значение", "clé": "valeur", "鍵": ""}
    check.equal(client.set_multi(names), [], "set_multi with unicode keys")
    check.equal(client.get_multi(list(names)), names, "get_multi with unicode keys")
    longest = "é" * 125
    check.true(client.set(longest, "250 bytes"), "the longest key")
    check.equal(client.get(longest), "250 bytes", "get of the longest key")
    check.raises(ValueError, lambda: client.set(longest + "x", "v"),
                 "the client refuses 251 bytes")


def value_types(check, client, server):
    for name, value in {
        "text": "text", "empty": "", "bytes": b"\r\n\0\xff END\r\n", "no-bytes": b"",
        "int": -5, "long": 2**80, "float": 2.5,
        "dict": {"title": "活着", "tags": ["a", ("b", None)], 1: {2: {3}}},
        "object": Book("红楼梦", [Author("曹雪芹"), Author("高鹗")]),
    }.items():
        check.true(client.set(name, value), f"set {name}")
        back = client.get(name)
        check.equal((back, type(back)), (value, type(value)), f"{name} comes back as it was")
    check.equal(client.set_multi({"true": True, "false": False}), [], "set of bools")
    check.equal(client.get_multi(["true", "false"]), {"true": True, "false": False},
                "bools come back equal, as the ints that this library makes of them")
    check.true(client.set("none", None), "set None")
    check.equal(client.get("none", "default"), None, "None is not a miss")

    check.true(client.set("packed", "x" * 100_000, min_compress_len=1000), "compressed set")
    check.equal(client.get("packed"), "x" * 100_000, "compressed value")
    check.true(len(read_value(server.address, "packed")[1]) < 1000, "it was stored compressed")


class FlagsClient(pylibmc.Client):
    """Stores and gives back `(bytes, flags)`."""

    def serialize(self, value):
        return value

    def deserialize(self, stored, flags):
        return stored, flags


def flags(check, client, server):
    flagged = connect(server.address, FlagsClient)
    # Bit 3 is left alone: the library reads it as "compressed" before any subclass.
    for number in (0, 1, 0xFFF7, 0x10000, 0x80000000, 0xFFFFFFF7):
        check.true(flagged.set("flagged", (b"v", number)), f"set with flags {number:#x}")
        check.equal(flagged.get("flagged"), (b"v", number), f"flags {number:#x} come back")
        check.equal(read_value(server.address, "flagged"), (number, b"v"), "seen by others too")
    flagged.disconnect_all()
    ask(server.address, b"set flagged %d 0 1\r\nt\r\n" % 0x80000010)
    check.equal(client.get("flagged"), "t", "the text flag is seen among higher ones")


def many_keys(check, client):
    # 200 KB of keys in one request line.
    values = {f"{number:04}-{'k' * 195}": number for number in range(1000)}
    check.equal(client.set_multi(values), [], "set_multi of 1,000 keys")
    check.equal(client.get_multi(list(values)), values, "get_multi of 1,000 keys")
    half = list(values)[::2]
    check.equal(client.delete_multi(half), True, "delete_multi of 500 keys")
    check.equal(len(client.get_multi(list(values))), 500, "get_multi of 500 hits, 500 misses")


def largest_value(check, client, server):
    largest = bytes(range(251)) * (LARGEST_VALUE_LEN // 251 + 1)
    largest = largest[:LARGEST_VALUE_LEN]
    client.set("after", "in step")
    check.true(client.set("b", largest), "set of the largest value")
    check.true(client.get("b") == largest, "the largest value comes back equal")
    before = int(read_stats(server.address)["total_connections"])
    check.raises(pylibmc.TooBig, lambda: client.set("b", largest + b"x"),
                 "one byte more is refused")
    check.equal(client.get("b"), None, "and the old value is gone")
    check.equal(client.get("after"), "in step", "the connection goes on")
    client.set("b", "small")
    check.raises(pylibmc.TooBig, lambda: client.replace("b", largest + b"x"),
                 "replace refuses it too")
    check.equal(client.get("b"), "small", "but keeps the old value")
    after = int(read_stats(server.address)["total_connections"])
    check.equal(after - before, 1, "all that on one connection, and one for the stats")


def noreply(check, server):
    # Without touch: libmemcached sends that without the word noreply, yet reads no reply.
    before = read_stats(server.address)["total_connections"]
    client = connect(server.address, _noreply=True)
    for number in range(1000):
        client.set(f"quiet-{number}", number)
    client.add("quiet-0", "exists")
    client.replace("quiet-missing", "does not")
    client.set("quiet-text", "b")
    client.append("quiet-text", "c")
    client.prepend("quiet-text", "a")
    client.incr("quiet-text")  # an error, which is silent too
    client.incr("quiet-1", 9)
    client.decr("quiet-2", 1)
    client.delete("quiet-4")
    client.delete_multi(["quiet-5", "quiet-6"])
    client.set_multi({"quiet-7": "seven", "quiet-8": "eight"})
    unique = client.gets("quiet-9")[1]
    client.cas("quiet-9", "nine", unique)
    client.cas("quiet-9", "not this", unique)
    keys = ["quiet-text", "quiet-missing", *(f"quiet-{number}" for number in range(10))]
    check.equal(client.get_multi(keys),
                {"quiet-text": "abc", "quiet-0": 0, "quiet-1": 10, "quiet-2": 1, "quiet-3": 3,
                 "quiet-7": "seven", "quiet-8": "eight", "quiet-9": "nine"},
                "after a burst of noreply the first get is in step")
    check.equal(client.get("quiet-999"), 999, "the last of the burst was stored")
    client.set("b", "small")
    client.set("b", b"x" * (LARGEST_VALUE_LEN + 1))
    check.equal(client.get("b"), None, "a silent refusal of a value too large, in step")
    after = read_stats(server.address)["total_connections"]
    check.equal(int(after) - int(before), 2, "one connection for all that, and one for the stats")
    client.disconnect_all()


def threads(check, client, server):
    pool = pylibmc.ThreadMappedPool(client)
    before = int(read_stats(server.address)["total_connections"])
    client.set_multi({"turns": 0, "list": []})

    def work(thread):
        with pool.reserve() as own:
            for turn in range(200):
                value = f"{thread}/{turn}"
                assert own.set(f"thread-{thread}", value), "set in a thread"
                assert own.get(f"thread-{thread}") == value, "get in a thread"
                assert own.incr("turns") is not None, "incr in a thread"
            for turn in range(20):
                while True:
                    # As bytes: pylibmc 1.6.3 frees the bytes that it makes of a str before
                    # it sends them, and another thread may then overwrite them.
                    entries, unique = own.gets(b"list")
                    if own.cas("list", [*entries, (thread, turn)], unique):
                        break
        pool.relinquish().disconnect_all()

    concurrently(8, work)
    check.equal(client.get("turns"), 8 * 200, "no incr of 8 threads is lost")
    check.equal(sorted(client.get("list")),
                [(thread, turn) for thread in range(8) for turn in range(20)],
                "no cas of 8 threads is lost or done twice")
    check.equal(client.get_multi([f"thread-{thread}" for thread in range(8)]),
                {f"thread-{thread}": f"{thread}/199" for thread in range(8)},
                "every thread's last value stands")
    after = int(read_stats(server.address)["total_connections"])
    check.equal(after - before, 8 + 1, "8 connections for 8 threads, 1 for the stats")


def many_connections(check, client, server):
    clones = [client.clone() for _ in range(200)]
    for number, clone in enumerate(clones):
        clone.set(f"client-{number}", number)
    check.true(int(read_stats(server.address)["curr_connections"]) > 200,
               "200 connections at once, besides the listener's and the asker's")
    answers = [clone.get(f"client-{199 - number}") for number, clone in enumerate(clones)]
    check.equal(answers, [199 - number for number in range(200)],
                "every connection answers, and sees what the others stored")
    for clone in clones:
        clone.disconnect_all()
    check.within(5, lambda: int(read_stats(server.address)["curr_connections"]) < 20,
                 "the server notices that they are closed")


def server_commands(check, client, server):
    (name, stats), = client.get_stats()
    check.true(name.startswith(server.address.encode()), "stats name the server")
    check.true(stats["version"], "stats tell a version")
    version = ask(server.address, b"version\r\n").split()[1]
    check.equal(version, stats["version"], "the version command tells the same")
    check.true(int(stats["curr_items"]) > 0, "stats count items")
    check.equal(int(stats["limit_maxbytes"]), 64 * 2**20, "stats tell the -m option")
    hits, misses = int(stats["get_hits"]), int(stats["get_misses"])
    client.get_multi(["turns", "list", "missing"])
    stats = client.get_stats()[0][1]
    check.equal((int(stats["get_hits"]), int(stats["get_misses"])), (hits + 2, misses + 1),
                "stats count hits and misses by key")

    check.equal(client.flush_all(), True, "flush_all")
    check.equal(client.get("turns"), None, "flush_all empties the cache")
    check.true(client.set("text", "new"), "set after flush_all")
    check.equal(client.get("text"), "new", "what is set after a flush stays")


def two_servers(check):
    values = {f"key-{number}": number for number in range(100)}
    with Server() as first, Server() as second:
        for behaviors in ({}, {"ketama": True}):
            client = pylibmc.Client([first.address, second.address], behaviors=behaviors)
            check.equal(client.set_multi(values), [], f"set_multi over two servers {behaviors}")
            check.equal(client.get_multi(list(values)), values, "get_multi over two servers")
            counts = [int(stats["curr_items"]) for _name, stats in client.get_stats()]
            check.equal(sum(counts), 100, "every key is on one server")
            check.true(min(counts) > 0, "both servers have some")
            check.equal(client.flush_all(), True, "flush_all over two servers")
            check.equal(client.get_multi(list(values)), {}, "empties both")
            client.disconnect_all()


def server_that_dies(check):
    with dead_address() as nobody:
        client = connect(nobody)
        check.raises(pylibmc.ConnectionError, lambda: client.get("key"), "get from nobody")
        check.raises(pylibmc.ServerDown, lambda: client.set("key", "value"), "then set")
    with Server() as server:
        client = connect(server.address, retry_timeout=1)
        client.set("key", "value")
        server.kill()

        def get_fails():
            try:
                client.get("key")
            except pylibmc.Error:
                return True
            return False

        # libmemcached 1.0.16 makes a miss of the first get on the broken connection.
        check.within(5, get_fails, "get raises when the server is killed")
        check.raises(pylibmc.Error, lambda: client.set("key", "value"), "set raises")
        check.raises(pylibmc.Error, lambda: client.delete("key"), "delete raises")
        check.raises(pylibmc.Error, lambda: client.incr("key"), "incr raises")
        check.raises(pylibmc.Error, lambda: client.get_multi(["key"]), "get_multi raises")
        check.raises(pylibmc.Error, lambda: client.set_multi({"key": 1}), "set_multi raises")

        server.restart()
        check.within(10, lambda: not get_fails(), "after retry_timeout it is found again")
        check.equal(client.get("key"), None, "the restarted server is empty")
        check.equal(client.set("key", "again"), True, "set")
        check.equal(client.get("key"), "again", "get")
        client.disconnect_all()


if __name__ == "__main__":
    run(__file__, main)
