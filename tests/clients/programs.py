"""Starts a program that a test needs beside the server under test, and ends it again."""

import os
import shutil
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path

START_LIMIT_S = 60
STOP_LIMIT_S = 30
POLL_S = 0.02


def find(name):
    """The path of an installed program."""
    # Debian keeps servers where an ordinary user's PATH does not look.
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    assert found, f"{name} is not installed"
    return found


@contextmanager
def running(command, is_ready, log, env=None):
    """Run a program for as long as the block takes, which begins when the program is ready."""
    name = Path(command[0]).name
    with open(log, "ab") as output:
        process = subprocess.Popen(
            command, env=env, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
    try:
        deadline = time.monotonic() + START_LIMIT_S
        while not is_ready():
            status = process.poll()
            assert status is None, f"{name} ended by itself: {status}\n{tail(log)}"
            assert time.monotonic() < deadline, f"{name} is not ready\n{tail(log)}"
            time.sleep(POLL_S)
        yield
    finally:
        process.terminate()
        try:
            process.wait(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def tail(log):
    """The end of what a program has told."""
    return Path(log).read_text(errors="replace")[-4000:]
