"""Starts a private RabbitMQ for a test, and ends it again.

It has a directory of its own for all that it writes, and takes connections of this machine
alone, on free ports: its own, that of its node, and that of the Erlang port mapper, which
is started here too, since RabbitMQ would leave one behind.
"""

import os
import tempfile
from contextlib import ExitStack, contextmanager
from pathlib import Path

from programs import find, running
from server import HOST, accepts, bound_socket


def program():
    """The server itself: the one on the PATH of Debian becomes another user first."""
    found = sorted(Path("/usr/lib/rabbitmq/lib").glob("rabbitmq_server-*/sbin/rabbitmq-server"))
    return found[-1]


@contextmanager
def rabbitmq():
    """Give the `host:port` of a RabbitMQ that is ready, with its user guest."""
    with tempfile.TemporaryDirectory(prefix="rabbitmq-") as directory, ExitStack() as held:
        # On all addresses: RabbitMQ looks whether it could have its node's port everywhere, and
        # another test may have a crowd that comes from other addresses of the loopback network.
        holders = [held.enter_context(bound_socket(0, "")) for _ in range(3)]
        port, node_port, mapper_port = (holder.getsockname()[1] for holder in holders)
        log = Path(directory, "log")
        mapper = [find("epmd"), "-address", HOST, "-port", str(mapper_port)]
        environment = _environment(directory, port, node_port, mapper_port)
        with (running(mapper, lambda: accepts(mapper_port), log),
              running([program()], lambda: accepts(port), log, environment)):
            yield f"{HOST}:{port}"


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
