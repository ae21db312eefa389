"""Proves that libmemcached's command line tools, and the script that comes with memcached,
work with the server: each is run, and what it did or said is looked at.
"""

import re
import subprocess
import tempfile
from pathlib import Path

from checks import run
from server import Server, ask, read_stats, read_value

SCRIPT = "/usr/share/memcached/scripts/memcached-tool"
LIMIT_S = 60


def main(check):
    with Server() as server, tempfile.TemporaryDirectory() as directory:
        version = re.search(r"libmemcached v([\d.]+)", told("memcping", "--version"))[1]
        check.client(f"libmemcached {version}, its tools", "C", "text",
                     "`memcping memccp memccat memcexist memctouch memcrm memcstat memcdump memcflush "
                     "memcslap`")
        tools(check, server, Path(directory))
    with Server() as server:
        check.client("memcached, its `memcached-tool`", "Perl", "text",
                     "`display stats settings sizes dump keys`")
        script(check, server)


def told(*command):
    """What a program prints; it must succeed."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S)
    if done.returncode != 0:
        raise AssertionError(f"{command}: {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def fails(*command):
    return subprocess.run(command, capture_output=True, timeout=LIMIT_S).returncode != 0


def tools(check, server, directory):
    at = f"--servers={server.address}"
    told("memcping", at)
    check.true(fails("memcping", "--servers=127.0.0.1:1"), "memcping knows who is not there")
    files = {"page.html": b"<h1>hello</h1>\n", "bytes": bytes(range(256)) * 100}
    for name, body in files.items():
        (directory / name).write_bytes(body)
        told("memccp", at, "--flag=5", str(directory / name))
        check.equal(read_value(server.address, name), (5, body), f"memccp of {name}")
    check.equal(told("memccat", at, "page.html"), "<h1>hello</h1>\n\n", "memccat")
    told("memcexist", at, "page.html")
    check.true(fails("memcexist", at, "missing"), "memcexist of a missing key")
    told("memctouch", at, "--expire=1000", "page.html")
    check.equal(sorted(told("memcdump", at).split()), sorted(files), "memcdump lists the keys")
    told("memcrm", at, "bytes")
    check.equal(read_value(server.address, "bytes"), None, "memcrm")
    stats = told("memcstat", at)
    check.true("version: 1.6.45" in stats, "memcstat")
    check.true(f"cmd_touch: {read_stats(server.address)['cmd_touch']}\n" in stats, "its counters")
    told("memcflush", at)
    check.equal(read_value(server.address, "page.html"), None, "memcflush")
    sets = int(read_stats(server.address)["cmd_set"])
    told("memcslap", at, "--concurrency=4", "--execute-number=500", "--test=set")
    check.equal(int(read_stats(server.address)["cmd_set"]), sets + 2000, "memcslap, its sets")
    told("memcslap", at, "--concurrency=4", "--execute-number=500", "--test=get",
         "--initial-load=1000")
    check.true(int(read_stats(server.address)["get_hits"]) >= 2000, "memcslap, its gets")


def script(check, server):
    for number in range(20):
        ask(server.address, f"set key-{number} 3 0 5\r\nvalue\r\n".encode())

    def tool(*mode):
        return told("perl", SCRIPT, server.address, *mode)

    stats = dict(line.split()[:2] for line in tool("stats").splitlines()[1:])
    check.equal((stats["curr_items"], stats["version"]), ("20", "1.6.45"), "stats")
    settings = dict(line.split()[:2] for line in tool("settings").splitlines()[1:])
    check.equal(settings["maxbytes"], "67108864", "settings")
    header, row = tool("display").splitlines()[:2]
    check.equal(header.split()[:4], ["#", "Item_Size", "Max_age", "Pages"], "display, its head")
    check.equal(row.split()[0], "1", "display, the one class that there is")
    check.true("20" in row.split(), "display, its items")
    check.true("disabled" in tool("sizes"), "sizes")
    dump = tool("dump")
    check.equal(len(re.findall(r"^add key-\d+ 3 \d+ 5\r?\nvalue\r?$", dump, re.MULTILINE)), 20,
                "dump has every item as a command")
    check.equal(len(set(re.findall(r"key=(key-\d+) ", tool("keys")))), 20, "keys")


if __name__ == "__main__":
    run(__file__, main)
