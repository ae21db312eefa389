"""Counts checks and runs one program of them.

A check that fails ends the program with a message that says what was seen and what was
expected, so the count on the last line is the number of checks that passed.
"""

import reprlib
import signal
import sys
import threading
import time
from pathlib import Path

POLL_S = 0.02

_short = reprlib.Repr()
_short.maxstring = _short.maxother = 200


class Checks:
    """Every method makes one check, and raises AssertionError when it does not hold."""

    def __init__(self):
        self.count = 0

    def client(self, name, language, protocol, what):
        """Name what is proven: a row of the README's table of clients."""
        print("CLIENT", name, language, protocol, what, sep=" | ")

    def true(self, condition, what):
        """`condition` holds. (`assert` would be dropped by `python -O`.)"""
        if not condition:
            raise AssertionError(f"{what}: it is not so")
        self.count += 1

    def equal(self, actual, expected, what):
        """`actual` equals `expected`."""
        if actual != expected:
            raise AssertionError(
                f"{what}: got {_short.repr(actual)}, expected {_short.repr(expected)}"
            )
        self.count += 1

    def raises(self, expected, action, what):
        """`action()` raises one of the exception types `expected`; returns it."""
        try:
            result = action()
        except expected as error:
            self.count += 1
            return error
        raise AssertionError(f"{what}: raised nothing, returned {_short.repr(result)}")

    def within(self, limit_s, condition, what):
        """`condition()` becomes true in at most `limit_s` seconds."""
        deadline = time.monotonic() + limit_s
        while not (result := condition()):
            if time.monotonic() > deadline:
                raise AssertionError(f"{what}: not in {limit_s} s, last {_short.repr(result)}")
            time.sleep(POLL_S)
        self.count += 1


def concurrently(thread_count, work):
    """Run `work(index)` in that many threads at once; the first error is raised here."""
    errors = []

    def guarded(index):
        try:
            work(index)
        except BaseException as error:  # reported by the main thread, whatever it is
            errors.append(error)

    # Daemons, so that a thread that hangs cannot keep a failed program alive.
    threads = [
        threading.Thread(target=guarded, args=(index,), daemon=True)
        for index in range(thread_count)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def run(file, body, limit_s=60):
    """Call `body(checks)`, then print the last line of the program `file`.

    A program that hangs, or that is told to end, is ended by an exception, so that it
    still stops the servers it started.
    """

    def stop(number, _frame):
        name = signal.Signals(number).name
        raise SystemExit(f"{Path(file).stem}: ended by {name} (limit {limit_s} s)")

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGALRM, stop)
    signal.alarm(limit_s)
    checks = Checks()
    body(checks)
    signal.alarm(0)
    print(f"{Path(file).stem}: {checks.count} checks passed")
    sys.stdout.flush()
