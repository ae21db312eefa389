"""Proves that a person with `telnet` or `nc` can use the server: each program runs on a
terminal of its own, is typed at in lines, and is read from what it puts on the screen.

Enter is not the same key in each. telnet and `nc -C` send CR LF for it, plain `nc` sends
LF alone; that is the first thing checked, with nobody's server. A command line may end in
LF alone, but a data block must end in CR LF, so a `set` typed into plain `nc` is refused.
"""

import os
import pty
import re
import select
import shutil
import socket
import subprocess
import time

from checks import run
from server import HOST, Server, read_value

READ_LIMIT_S = 5


class Terminal:
    """A context manager around one program on a pseudo-terminal."""

    def __init__(self, *command):
        self._command = command
        self._screen = ""

    def __enter__(self):
        self._keyboard, terminal = pty.openpty()
        try:
            self._process = subprocess.Popen(
                self._command, stdin=terminal, stdout=terminal, stderr=terminal,
                start_new_session=True, env={**os.environ, "LC_ALL": "C", "TERM": "dumb"},
            )
        finally:
            os.close(terminal)
        return self

    def __exit__(self, *_exception):
        self._process.kill()
        self._process.wait()
        os.close(self._keyboard)

    def type(self, *lines):
        """Type every line, and Enter after it."""
        for line in lines:
            os.write(self._keyboard, f"{line}\n".encode())

    def end_input(self):
        """Press Ctrl-D."""
        os.write(self._keyboard, b"\x04")

    def shows(self, pattern):
        """Whether `pattern` comes up in time, in whole lines after what was last looked for.

        What is typed is shown as well, by the terminal, among the replies.
        """
        deadline = time.monotonic() + READ_LIMIT_S
        lines = re.compile(rf"^(?:{pattern})\r*\n", re.MULTILINE)
        while not (match := lines.search(self._screen)):
            if not self._read(deadline):
                raise AssertionError(f"{self._command[0]}: no {pattern!r} in {self._screen!r}")
        self._screen = self._screen[match.end():]
        return True

    def ends(self):
        """Whether the program ends in time, by itself."""
        deadline = time.monotonic() + READ_LIMIT_S
        while self._read(deadline):
            pass
        try:
            self._process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self._command[0]} still runs: {self._screen!r}") from None
        return True

    def _read(self, deadline):
        ready, _, _ = select.select([self._keyboard], [], [], max(0, deadline - time.monotonic()))
        try:
            received = os.read(self._keyboard, 65536) if ready else b""
        except OSError:  # how a pseudo-terminal tells that the program is gone
            received = b""
        self._screen += received.decode(errors="replace")
        return bool(received)


def main(check):
    check.client("telnet, netcat", "by hand", "text",
                 "what a person types and sees, with both kinds of line ends")
    for program in ("telnet", "nc"):
        if not shutil.which(program):
            raise SystemExit(f"{program} is not installed")
    for command, line_end in (("telnet", b"\r\n"), ("nc", b"\n"), ("nc -C", b"\r\n")):
        what_enter_sends(check, command.split(), line_end)
    with Server() as server:
        for command in (["telnet"], ["nc", "-C"]):
            with Terminal(*command, server.host, str(server.port)) as terminal:
                session_with_crlf(check, terminal, command, server)
        with Terminal("nc", server.host, str(server.port)) as terminal:
            session_with_lf(check, terminal, server)


def wait_for_telnet(check, terminal):
    # telnet sets the terminal up only after connecting; what is typed before may be lost.
    check.true(terminal.shows("Connected to .*"), "telnet connects")
    check.true(terminal.shows("Escape character is .*"), "telnet is ready")


def what_enter_sends(check, command, line_end):
    with socket.create_server((HOST, 0)) as listener:
        listener.settimeout(READ_LIMIT_S)
        with Terminal(*command, HOST, str(listener.getsockname()[1])) as terminal:
            connection, _ = listener.accept()
            with connection, connection.makefile("rb") as stream:
                connection.settimeout(READ_LIMIT_S)
                if command == ["telnet"]:
                    wait_for_telnet(check, terminal)
                terminal.type("line")
                check.equal(stream.readline(), b"line" + line_end, f"Enter in {command}")


def session_with_crlf(check, terminal, command, server):
    name = " ".join(command)
    if name == "telnet":
        wait_for_telnet(check, terminal)
    terminal.type("version")
    check.true(terminal.shows(r"VERSION \S+"), f"{name}: version")
    terminal.type("stats")
    check.true(terminal.shows(r"STAT pid \d+"), f"{name}: stats")
    check.true(terminal.shows(r"STAT curr_items \d+"), f"{name}: stats go on")
    check.true(terminal.shows("END"), f"{name}: stats end")

    terminal.type("set typed 5 0 11", "by a person")
    check.true(terminal.shows("STORED"), f"{name}: set")
    check.equal(read_value(server.address, "typed"), (5, b"by a person"), f"{name}: as typed")
    terminal.type("get typed")
    check.true(terminal.shows("VALUE typed 5 11"), f"{name}: get")
    check.true(terminal.shows("by a person"), f"{name}: its value")
    check.true(terminal.shows("END"), f"{name}: its end")
    terminal.type("set empty 0 0 0", "")
    check.true(terminal.shows("STORED"), f"{name}: set of an empty value")
    terminal.type("set two-lines 0 0 8", "one", "two")
    check.true(terminal.shows("STORED"), f"{name}: set of two lines")
    check.equal(read_value(server.address, "two-lines")[1], b"one\r\ntwo", f"{name}: as typed")

    terminal.type("set typed 0 0 3", "more than three")
    check.true(terminal.shows("CLIENT_ERROR bad data chunk"), f"{name}: a wrong length")
    check.equal(read_value(server.address, "typed"), (5, b"by a person"), f"{name}: no change")
    terminal.type("hello")
    check.true(terminal.shows("ERROR"), f"{name}: an unknown command")
    terminal.type("")
    check.true(terminal.shows("ERROR|CLIENT_ERROR .*"), f"{name}: an empty line")
    terminal.type("set count 0 0 2", "41", "incr count 1", "delete count", "get count")
    for reply in ("STORED", "42", "DELETED", "END"):
        check.true(terminal.shows(reply), f"{name}: {reply} in a session typed ahead")

    quit_ends(check, terminal, name)


def session_with_lf(check, terminal, server):
    terminal.type("version")
    check.true(terminal.shows(r"VERSION \S+"), "nc: version")
    terminal.type("get typed")
    check.true(terminal.shows("VALUE typed 5 11"), "nc: get")
    check.true(terminal.shows("by a person"), "nc: its value")
    check.true(terminal.shows("END"), "nc: its end")

    # The server wants 7 bytes, "hello" and CR LF. It has six after the second line, so it
    # waits, and refuses the block when one more Enter makes seven.
    terminal.type("set typed 0 0 5", "hello", "")
    check.true(terminal.shows("CLIENT_ERROR bad data chunk"), "nc: a set is refused")
    check.equal(read_value(server.address, "typed"), (5, b"by a person"), "nc: no change")
    # Without that Enter, the first byte of the next command is taken for the seventh.
    terminal.type("set typed 0 0 5", "hello", "get typed")
    check.true(terminal.shows("CLIENT_ERROR bad data chunk"), "nc: refused again")
    check.true(terminal.shows("ERROR"), 'nc: and "et typed" is no command')

    terminal.type("touch typed 100", "incr typed 1", "delete typed")
    check.true(terminal.shows("TOUCHED"), "nc: commands without data work")
    check.true(terminal.shows("CLIENT_ERROR cannot increment .*"), "nc: errors are told")
    check.true(terminal.shows("DELETED"), "nc: delete")
    quit_ends(check, terminal, "nc")


def quit_ends(check, terminal, name):
    terminal.type("quit")
    if name == "telnet":
        check.true(terminal.shows(r"Connection closed by foreign host\."), "telnet tells of quit")
    else:
        # nc goes on until both sides are closed: the server's, by quit, and the keyboard's.
        terminal.end_input()
    check.true(terminal.ends(), f"{name}: quit closes the connection")


if __name__ == "__main__":
    run(__file__, main)
