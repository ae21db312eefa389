"""Starts a private RabbitMQ for a test, and ends it again.

It has a directory of its own for all that it writes, and takes connections of this machine
alone, on free ports: its own, that of its node, and that of the Erlang port mapper, which
is started here too, since RabbitMQ would leave one behind.
"""

import os
import shutil
import socket
import subprocess
import tempfile
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path

HOST = "127.0.0.1"
START_LIMIT_S = 60
STOP_LIMIT_S = 30
POLL_S = 0.05


def program():
    """The server itself: the one on the PATH of Debian becomes another user first."""
    found = sorted(Path("/usr/lib/rabbitmq/lib").glob("rabbitmq_server-*/sbin/rabbitmq-server"))
    return found[-1]


@contextmanager
def rabbitmq():
    """Give the `host:port` of a RabbitMQ that is ready, with its user guest."""
    with tempfile.TemporaryDirectory(prefix="rabbitmq-") as directory, ExitStack() as held:
        port, node_port, mapper_port = (held.enter_context(_held_port()) for _ in range(3))
        mapper = subprocess.Popen(
            [shutil.which("epmd"), "-address", HOST, "-port", str(mapper_port)],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        log = Path(directory, "log")
        try:
            _wait_until_ready(mapper, mapper_port, log)
            with open(log, "ab") as output:
                server = subprocess.Popen(
                    [program()], stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                    env=_environment(directory, port, node_port, mapper_port),
                )
            try:
                _wait_until_ready(server, port, log)
                yield f"{HOST}:{port}"
            finally:
                server.terminate()
                try:
                    server.wait(STOP_LIMIT_S)
                except subprocess.TimeoutExpired:
                    server.kill()
                    server.wait()
        finally:
            mapper.terminate()
            mapper.wait()


def _environment(directory, port, node_port, mapper_port):
    config = Path(directory, "rabbitmq.conf")
    config.write_text(f"listeners.tcp.local = {HOST}:{port}\nlog.console = true\n")
    return {
        **os.environ, "HOME": directory, "ERL_EPMD_PORT": str(mapper_port),
        "ERL_CRASH_DUMP": f"{directory}/crash",
        "RABBITMQ_NODENAME": f"larder-test-{os.getpid()}@localhost",
        "RABBITMQ_DIST_PORT": str(node_port),
        "RABBITMQ_CONFIG_FILE": str(config), "RABBITMQ_MNESIA_BASE": directory,
        "RABBITMQ_LOG_BASE": directory, "RABBITMQ_PID_FILE": f"{directory}/pid",
        "RABBITMQ_ENABLED_PLUGINS_FILE": f"{directory}/plugins",
        "RABBITMQ_GENERATED_CONFIG_DIR": directory,
        "RABBITMQ_CONF_ENV_FILE": f"{directory}/none",
    }


def _wait_until_ready(process, port, log):
    deadline = time.monotonic() + START_LIMIT_S
    while True:
        try:
            return socket.create_connection((HOST, port), timeout=1).close()
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                told = log.read_text(errors="replace")[-4000:] if log.exists() else ""
                status = process.returncode
                raise AssertionError(f"RabbitMQ does not start: {status}\n{told}") from None
            time.sleep(POLL_S)


@contextmanager
def _held_port():
    """A port that nobody else is given: bound here, where nobody listens, and free to be bound again.

    On all addresses: RabbitMQ looks whether it could have its node's port everywhere, and another test
    may have a crowd that comes from other addresses of the loopback network.
    """
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("", 0))
        yield holder.getsockname()[1]
