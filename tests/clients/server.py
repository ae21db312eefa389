"""Starts the server under test, and ends it again.

The binary is named by the environment variable LARDER_BIN. It may be a memcached too:
both take the same options, and that is how these programs are themselves checked.
"""

import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

HOST = "127.0.0.1"
START_LIMIT_S = 10
STOP_LIMIT_S = 10
POLL_S = 0.01

# The longest value under a 1-byte key, with flags 0, in a server with `-I 1m`: 1 MiB less
# 48 bytes of header, 2 of key, 8 of cas unique and 2 of line end.
LARGEST_VALUE_LEN = 1_048_516


class Server:
    """A context manager around one server process on a free port of the loopback, or with
    `unix` on a Unix socket of its own, whose `path` then stands in place of the port.

    Leaving it stops the process, and fails when the server does not stop as it should or
    had ended by itself. Only the process started here is ever signalled.
    """

    def __init__(self, *args, unix=False):
        binary = os.environ.get("LARDER_BIN")
        if not binary:
            raise SystemExit("LARDER_BIN is not set: name the server binary to test")
        found = shutil.which(binary)
        if not found:
            raise SystemExit(f"LARDER_BIN: no such program: {binary}")
        self._binary = os.path.abspath(found)
        self._args = args
        self._process = None
        self._reserved = None
        self._unix = unix
        self.host = HOST
        self.port = None
        self.path = None

    @property
    def address(self):
        """`host:port`, the form that most clients take."""
        return f"{self.host}:{self.port}"

    def __enter__(self):
        self._directory = tempfile.TemporaryDirectory(prefix="larder-test-")
        try:
            self._start("-1")
        except BaseException:
            self._clean_up()
            raise
        return self

    def __exit__(self, exception_type, _exception, _traceback):
        try:
            # After a failure that failure is the news; how the server stops is not.
            if exception_type is None and self._process is not None:
                self.stop()
        finally:
            self._clean_up()

    def kill(self):
        """End the server with SIGKILL, as a crash would. Its port stays refused."""
        self._require_alive()
        self._process.kill()
        self._process.wait()
        self._process = None
        # Bound but not listening: connections are refused, and until `restart` nobody
        # else, not even a client by chance, can be given the port.
        self._reserved = bound_socket(self.port)

    def restart(self):
        """Start again, on the same port, after `kill` or `stop`."""
        assert self._process is None, "restart: the server still runs"
        self._start(str(self.port))

    def stop(self):
        """End the server with SIGTERM; it must exit, cleanly and in time."""
        self._require_alive()
        self._process.terminate()
        try:
            status = self._process.wait(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            raise AssertionError(
                f"the server did not exit in {STOP_LIMIT_S} s after SIGTERM\n{self.log()[-4000:]}"
            ) from None
        self._process = None
        if status not in (0, -signal.SIGTERM):
            raise AssertionError(f"the server exited with status {status}\n{self.log()[-4000:]}")

    def _start(self, port):
        port_file = Path(self._directory.name, "port")
        port_file.unlink(missing_ok=True)
        command = [self._binary, "-l", HOST, "-p", port, "-m", "64", *self._args]
        if self._unix:
            self.path = str(Path(self._directory.name, "socket"))
            command += ["-s", self.path]
        if os.geteuid() == 0:
            command += ["-u", "root"]  # memcached does not run as root unless told so
        with open(Path(self._directory.name, "log"), "ab") as log:
            self._process = subprocess.Popen(
                command,
                cwd=self._directory.name,
                env={**os.environ, "MEMCACHED_PORT_FILENAME": str(port_file)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        deadline = time.monotonic() + START_LIMIT_S
        if self._unix:
            while not accepts(self.path):
                self._require_alive()
                if time.monotonic() > deadline:
                    raise AssertionError(f"no socket in {START_LIMIT_S} s\n{self.log()[-4000:]}")
                time.sleep(POLL_S)
            return
        while not (match := re.search(r"^TCP INET: (\d+)\n", _text(port_file), re.MULTILINE)):
            self._require_alive()
            if time.monotonic() > deadline:
                raise AssertionError(f"no port file in {START_LIMIT_S} s\n{self.log()[-4000:]}")
            time.sleep(POLL_S)
        self.port = int(match[1])
        self._release_port()

    def _require_alive(self):
        status = self._process.poll()
        if status is not None:
            self._process = None
            raise AssertionError(f"the server ended by itself: {status}\n{self.log()[-4000:]}")

    def log(self):
        """What the server has logged so far."""
        return _text(Path(self._directory.name, "log"))

    def _release_port(self):
        if self._reserved is not None:
            self._reserved.close()
            self._reserved = None

    def _clean_up(self):
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        self._release_port()
        self._directory.cleanup()


@contextmanager
def dead_address():
    """Give a `host:port` where nothing listens, and where nothing can start to."""
    with bound_socket(0) as holder:
        yield f"{HOST}:{holder.getsockname()[1]}"


def ask(address, request, end=b"\r\n"):
    """Send `request` over a connection of its own; return the reply up to `end`."""
    host, port = address.split(":")
    with socket.create_connection((host, int(port)), timeout=5) as connection:
        connection.sendall(request)
        reply = b""
        while not reply.endswith(end):
            received = connection.recv(65536)
            if not received:
                raise AssertionError(f"closed after {reply[-200:]!r}, expected {end!r}")
            reply += received
    return reply


def read_stats(address, what=""):
    """The answer to `stats [what]`, as a dict of strings."""
    lines = ask(address, f"stats {what}".strip().encode() + b"\r\n", b"END\r\n")
    fields = (line.split(" ", 2) for line in lines.decode().splitlines()[:-1])
    return {name: value for _stat, name, value in fields}


def read_value(address, key):
    """The flags and the bytes stored under `key`, past any client; None for a miss."""
    reply = ask(address, f"get {key}\r\n".encode(), b"END\r\n")
    if reply == b"END\r\n":
        return None
    header, rest = reply.split(b"\r\n", 1)
    _value, _key, flags, length = header.split()
    return int(flags), rest[: int(length)]


def accepts(place):
    """Whether somebody listens on a port of this machine, or on the path of a Unix socket."""
    is_path = isinstance(place, str)
    with socket.socket(socket.AF_UNIX if is_path else socket.AF_INET) as probe:
        return probe.connect_ex(place if is_path else (HOST, place)) == 0


def bound_socket(port, host=HOST):
    """A socket that keeps a port from all but a server, for as long as it never listens."""
    holder = socket.socket()
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    holder.bind((host, port))
    return holder


def _text(path):
    try:
        return path.read_text(errors="replace")
    except FileNotFoundError:
        return ""
