"""Proves that `cache_aside.py`, the example of the README, does what it says, with a real
MariaDB behind it and the server as its cache: a second read does not reach the database, a
read after expiry or an update does, and without the cache every read does.

Whether the database was reached is counted by the database itself.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import memcache
import pymysql

from checks import run
from mariadb import USER, mariadb
from server import Server

EXAMPLE = Path(__file__).with_name("cache_aside.py")


class Example:
    """Runs the example, and counts the queries that the database saw of it."""

    def __init__(self, mysql_socket, cache_address):
        self._command = [sys.executable, EXAMPLE, "--mysql-socket", mysql_socket,
                         "--mysql-user", USER, "--cache", cache_address]
        self._database = pymysql.connect(unix_socket=mysql_socket, user=USER, autocommit=True,
                                         charset="utf8mb4")
        self.selects = 0
        self.updates = 0

    def __call__(self, *args):
        """The lines that it prints; `selects` and `updates` then tell what that run made."""
        before = self._counters()
        done = subprocess.run(
            [*self._command, *args], capture_output=True, encoding="utf-8", timeout=20,
            env={**os.environ, "PYTHONUTF8": "1", "PYTHONDONTWRITEBYTECODE": "1"},
        )
        if done.returncode != 0 or done.stderr:
            raise AssertionError(f"{args}: status {done.returncode}\n{done.stderr}")
        after = self._counters()
        self.selects, self.updates = (after[name] - before[name] for name in before)
        return done.stdout.splitlines()

    def change_behind_its_back(self, statement, *values):
        with self._database.cursor() as cursor:
            cursor.execute(statement, values)

    def _counters(self):
        # SHOW is not a SELECT, so asking does not count.
        with self._database.cursor() as cursor:
            cursor.execute("SHOW GLOBAL STATUS WHERE Variable_name IN"
                           " ('Com_select', 'Com_update')")
            return {name: int(value) for name, value in sorted(cursor.fetchall())}

    def close(self):
        self._database.close()


def main(check):
    check.client(f"python-memcached {memcache.__version__} in front of MariaDB", "Python", "text",
                 "the example above: misses, hits, updates, expiry, a cache that is down")
    with mariadb() as mysql_socket, Server("-vv") as server:
        example = Example(mysql_socket, server.address)
        first_read_then_cached(check, example, server)
        missing_book(check, example)
        update(check, example)
        expiry(check, example)
        cache_that_dies(check, example, server)
        example.close()


def first_read_then_cached(check, example, server):
    check.equal(example("--create"), ["doubandb.books is ready"], "--create")
    example("--create")
    check.equal(example("1"), ["book 1: from the database (三体, 刘慈欣, 8.9)"], "first read")
    check.equal(example.selects, 1, "the database counts one query")
    check.equal(example("1"), ["book 1: from the cache (三体, 刘慈欣, 8.9)"], "second read")
    check.equal(example.selects, 0, "the database counts none")

    check.equal(example("1", "2", "4"),
                ["book 1: from the cache (三体, 刘慈欣, 8.9)",
                 "book 2: from the database (红楼梦, 曹雪芹, 9.6)",
                 "book 4: from the database (The Hobbit, J. R. R. Tolkien, 9.0)"],
                "three books, one of them cached")
    check.equal(example.selects, 2, "two queries")
    check.equal([line.split(" (")[0] for line in example("1", "2", "4")],
                [f"book {number}: from the cache" for number in (1, 2, 4)], "all three cached")
    check.equal(example.selects, 0, "no query")

    check.true(re.search(r" set book:4 \d+ 60 \d+", server.log()),
               "the time to live is 60 s unless told otherwise")


def missing_book(check, example):
    for _ in range(2):
        check.equal(example("99"), ["book 99: no such book"], "a book that is not there")
        check.equal(example.selects, 1, "is looked for")
    check.equal(example("--update", "99", "--rating", "5"), ["book 99: no such book"],
                "update of a book that is not there")
    example.change_behind_its_back("INSERT INTO doubandb.books VALUES (99, %s, %s, 7.5)",
                                   "围城", "钱锺书")
    check.equal(example("99"), ["book 99: from the database (围城, 钱锺书, 7.5)"],
                "and found once it is there")


def update(check, example):
    example.change_behind_its_back("UPDATE doubandb.books SET rating = 1 WHERE id = 1")
    check.equal(example("1"), ["book 1: from the cache (三体, 刘慈欣, 8.9)"],
                "a change past the example is not seen: the value comes from the cache")
    check.equal(example.selects, 0, "no query")

    check.equal(example("--update", "1", "--rating", "9.5"), ["book 1: updated"], "--update")
    check.equal((example.selects, example.updates), (0, 1), "one update, no query")
    check.equal(example("1"), ["book 1: from the database (三体, 刘慈欣, 9.5)"],
                "the read after it sees the new value")
    check.equal(example.selects, 1, "one query")
    check.equal(example("1"), ["book 1: from the cache (三体, 刘慈欣, 9.5)"], "then cached")
    check.equal(example("--update", "1", "--rating", "9.5"), ["book 1: updated"],
                "an update to the same value finds the book")


def expiry(check, example):
    fresh = "book 3: from the database (活着, 余华, 9.4)"
    check.equal(example("--ttl", "5", "3"), [fresh], "a read that may be cached for 5 s")
    check.equal(example("--ttl", "5", "3"), ["book 3: from the cache (活着, 余华, 9.4)"],
                "read again at once")
    check.equal(example.selects, 0, "no query")
    check.within(8, lambda: example("--ttl", "5", "3") == [fresh],
                 "the copy expires, and the book comes from the database again")
    check.equal(example.selects, 1, "one query")


def cache_that_dies(check, example, server):
    example("1", "2")
    server.kill()
    down = f"the cache {server.address} is down, using only the database"
    for _ in range(2):
        check.equal(example("1", "2"),
                    [down,
                     "book 1: from the database (三体, 刘慈欣, 9.5)",
                     "book 2: from the database (红楼梦, 曹雪芹, 9.6)"],
                    "without the cache every read goes to the database, and it says so")
        check.equal(example.selects, 2, "two queries")
    check.equal(example("99", "1000"),
                [down, "book 99: from the database (围城, 钱锺书, 7.5)",
                 "book 1000: no such book"], "missing books without the cache")
    check.equal(example("--update", "2", "--rating", "9.7"), [down, "book 2: updated"],
                "an update without the cache")
    server.restart()
    check.equal(example("2"), ["book 2: from the database (红楼梦, 曹雪芹, 9.7)"],
                "with the cache back, and empty")
    check.equal(example("2"), ["book 2: from the cache (红楼梦, 曹雪芹, 9.7)"], "cached again")
    check.equal(example.selects, 0, "no query")


if __name__ == "__main__":
    run(__file__, main)
