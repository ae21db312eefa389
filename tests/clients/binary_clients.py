"""Proves that clients of the binary protocol work with the server: python-binary-memcached, which
speaks nothing else, and pylibmc, so libmemcached, when it is told to.

Both share one server, and read what the other has stored.
"""

from importlib.metadata import version

import bmemcached
import pylibmc
from bmemcached.exceptions import MemcachedException

from checks import concurrently, run
from server import LARGEST_VALUE_LEN, Server, ask, read_stats, read_value


def main(check):
    check.client(f"python-binary-memcached {version('python-binary-memcached')}", "Python", "binary",
                 "every command, compare and set, quiet batches, threads, a server that dies")
    check.client(f"pylibmc {pylibmc.__version__}, libmemcached {pylibmc.libmemcached_version}, "
                 "`binary=True`", "Python", "binary", "every command, batches of 500 keys, values of the other client")
    with Server("-I", "1m") as server:
        client = bmemcached.Client([server.address], socket_timeout=5)
        reads_and_writes(check, client, server)
        check_and_set(check, client, server)
        arithmetic(check, client)
        expiry(check, client)
        many_keys(check, client)
        largest_value(check, client, server)
        statistics(check, client)
        threads(check, server)
        libmemcached(check, client, server)
        check.equal(client.flush_all(), True, "flush_all")
        check.equal(client.get("key"), None, "nothing is left")
        client.disconnect_all()
    server_that_dies(check)


def reads_and_writes(check, client, server):
    check.equal(client.set("key", "value"), True, "set")
    check.equal(client.get("key"), "value", "get")
    check.equal(client.get("missing"), None, "get of a missing key")
    check.equal(client.add("key", "other"), False, "add of a key that exists")
    check.equal(client.add("added", "new"), True, "add of a key that does not")
    check.equal(client.replace("added", "newer"), True, "replace of a key that exists")
    check.equal(client.replace("missing", "other"), False, "replace of a key that does not")
    check.equal(client.get_multi(["key", "added", "missing"]), {"key": "value", "added": "newer"},
                "add and replace change what they may")
    for name, value in {
        "empty": "", "bytes": b"\r\n\0\xff\x80\x81", "int": -5, "书:三体": "刘慈欣 🌞",
        "object": {"title": "活着", "tags": ["a", ("b", None)]}, "long": "x" * 100_000,
    }.items():
        check.equal(client.set(name, value), True, f"set {name}")
        check.equal(client.get(name), value, f"{name} comes back as it was")
    # What was written in one protocol is read in the other.
    check.equal(read_value(server.address, "int"), (2, b"-5"), "a number, as text sees it")
    ask(server.address, b"set plain 0 0 4\r\ntext\r\n")
    check.equal(client.get("plain"), "text", "a text, as text has written it")
    check.equal(client.delete("key"), True, "delete")
    check.equal(client.get("key"), None, "get after delete")
    client.delete("key")
    check.equal(client.get("added"), "newer", "in step after the delete of a missing key")


def check_and_set(check, client, server):
    other = bmemcached.Client([server.address], socket_timeout=5)
    client.set("shared", "first")
    value, unique = client.gets("shared")
    check.equal(value, "first", "gets")
    check.equal(client.cas("shared", "second", unique), True, "cas with nothing in between")
    check.equal(client.cas("shared", "third", unique), False, "cas again with the same unique")
    _value, unique = client.gets("shared")
    other.set("shared", "by another client")
    check.equal(client.cas("shared", "third", unique), False, "cas after another client's set")
    check.equal(client.delete("shared", cas=unique), False, "delete after another client's set")
    check.equal(client.get("shared"), "by another client", "the other's value stands")
    _stored, unique = client.set("shared", "mine", get_cas=True)
    check.equal(client.gets("shared"), ("mine", unique), "a set tells the unique that a get shows")
    check.equal(client.delete("shared", cas=unique), True, "delete with the right unique")
    other.disconnect_all()


def arithmetic(check, client):
    check.equal(client.incr("count", 5, default=10), 10, "incr makes what is missing")
    check.equal(client.incr("count", 5), 15, "incr")
    check.equal(client.decr("count", 8), 7, "decr to fewer digits")
    check.equal(client.get("count"), "7 ", "as wide as it was")
    check.equal(client.decr("count", 100), 0, "decr stops at 0")
    client.set("text", "many")
    check.raises(MemcachedException, lambda: client.incr("text", 1), "incr of a text")
    check.equal(client.get("text"), "many", "the text is unchanged, the replies in step")


def expiry(check, client):
    client.set("dying", "v", time=1)
    client.set("lasting", "v", time=1000)
    client.set("until 2106", "v", time=2**32 - 1)
    check.within(5, lambda: client.get("dying") is None, "what lives for a second expires")
    check.equal(sorted(client.get_multi(["lasting", "until 2106"])), ["lasting", "until 2106"],
                "the others last")


def many_keys(check, client):
    values = {f"{number:04}-{'k' * 195}": str(number) for number in range(1000)}
    check.equal(client.set_multi(values), [], "set_multi of 1,000 keys, quietly")
    check.equal(client.get_multi(list(values)), values, "get_multi of 1,000 keys, quietly")
    half = list(values)[::2]
    check.equal(client.delete_multi(half), True, "delete_multi of 500 keys")
    check.equal(len(client.get_multi(list(values))), 500, "get_multi of 500 hits, 500 misses")


def largest_value(check, client, server):
    # With flags, which take four bytes.
    largest = (bytes(range(251)) * (LARGEST_VALUE_LEN // 251 + 1))[:LARGEST_VALUE_LEN - 4]
    before = int(read_stats(server.address)["total_connections"])
    check.equal(client.set("b", largest, compress_level=0), True, "set of the largest value")
    check.true(client.get("b") == largest, "the largest value comes back equal")
    check.raises(MemcachedException, lambda: client.set("b", largest + b"x", compress_level=0),
                 "one byte more is refused")
    check.equal(client.get("b"), None, "and the old value is gone")
    after = int(read_stats(server.address)["total_connections"])
    check.equal(after - before, 1, "all that on one connection, and one for the stats")


def statistics(check, client):
    [stats] = client.stats().values()
    check.true(stats["version"].startswith(b"1.6."), "the version in the statistics")
    check.true(int(stats["get_hits"]) > 1000, "hits are counted")
    [settings] = client.stats("settings").values()
    check.equal(settings["binding_protocol"], b"auto-negotiate", "the protocol in the settings")


def threads(check, server):
    def work(thread):
        own = bmemcached.Client([server.address], socket_timeout=5)
        for turn in range(100):
            value = f"{thread}/{turn}"
            assert own.set(f"thread-{thread}", value), "set in a thread"
            assert own.get(f"thread-{thread}") == value, "get in a thread"
            own.incr("turns", 1, default=1)
        own.disconnect_all()

    concurrently(8, work)
    check.equal(ask(server.address, b"get turns\r\n", b"END\r\n"),
                b"VALUE turns 0 3\r\n800\r\nEND\r\n", "no incr of 8 threads is lost")


def libmemcached(check, client, server):
    binary = pylibmc.Client([server.address], binary=True, behaviors={"cas": True})
    check.equal(binary.set("lib", "text"), True, "set")
    check.equal(ask(server.address, b"append lib 0 0 1\r\n!\r\n"), b"STORED\r\n", "append")
    check.equal(binary.get("lib"), "text!", "get")
    check.equal(binary.append("lib", "?"), True, "append")
    check.equal(binary.prepend("lib", "a "), True, "prepend")
    check.equal(binary.append("missing", "?"), False, "append to a missing key")
    value, unique = binary.gets("lib")
    check.equal(value, "a text!?", "gets")
    check.equal(binary.cas("lib", "new", unique), True, "cas")
    check.equal(binary.cas("lib", "newer", unique), False, "cas again with the same unique")
    check.equal(binary.touch("lib", 1000), True, "touch")
    check.equal(binary.touch("missing", 1000), False, "touch of a missing key")
    check.equal(binary.add("lib", "x"), False, "add of a key that exists")
    binary.set("n", 5)
    check.equal((binary.incr("n", 3), binary.decr("n")), (8, 7), "incr and decr")
    check.raises(pylibmc.NotFound, lambda: binary.incr("missing"), "incr of a missing key")
    values = {f"lib-{number}": "v" * number for number in range(500)}
    check.equal(binary.set_multi(values), [], "set_multi of 500 keys")
    check.equal(binary.get_multi([*values, "missing"]), values, "get_multi of 500 keys")
    check.equal(client.get("lib-7"), b"v" * 7, "read by the other client, to which the flags mean bytes")
    large = b"\x80\x81" * 450_000
    check.true(binary.set("large", large) and binary.get("large") == large, "a large value")
    check.equal(binary.delete("lib"), True, "delete")
    check.equal(binary.delete("lib"), False, "delete of a missing key")
    [(_server, stats)] = binary.get_stats()
    check.true(int(stats["curr_items"]) > 500, "statistics")
    binary.disconnect_all()


def server_that_dies(check):
    with Server() as server:
        client = bmemcached.Client([server.address], socket_timeout=5)
        client.enable_retry_delay(False)
        check.equal(client.set("key", "value"), True, "set")
        server.kill()
        check.equal(client.get("key"), None, "a dead server is a miss")
        server.restart()
        check.within(10, lambda: client.set("key", "again"), "set after the restart")
        check.equal(client.get("key"), "again", "get after the restart")
        client.disconnect_all()


if __name__ == "__main__":
    run(__file__, main)
