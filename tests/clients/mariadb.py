"""Starts a private MariaDB for a test, and ends it again.

It has a data directory and a socket in a temporary directory, no network port, and one
account, `root`, without a password; nobody else can reach the socket. A database that
runs on the machine already is neither used nor touched.
"""

import os
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pymysql

from programs import START_LIMIT_S, find, running, tail

USER = "root"

# Small and careless about crashes: the data lives for seconds.
QUICK = [
    "--innodb-buffer-pool-size=8M",
    "--innodb-log-file-size=4M",
    "--innodb-flush-log-at-trx-commit=0",
    "--innodb-doublewrite=0",
    "--innodb-use-native-aio=0",
]


@contextmanager
def mariadb():
    """Give the path of the socket of a MariaDB that is ready."""
    with tempfile.TemporaryDirectory(prefix="mariadb-") as directory:
        data, socket, log = (Path(directory, name) for name in ("data", "socket", "log"))
        common = ["--no-defaults", f"--datadir={data}", f"--tmpdir={directory}", *QUICK]
        if os.geteuid() == 0:
            common.append("--user=root")  # else it would give root's files to another user
        with open(log, "ab") as output:
            install = subprocess.run(
                [find("mariadb-install-db"), *common, "--skip-test-db",
                 "--auth-root-authentication-method=normal"],
                stdin=subprocess.DEVNULL, stdout=output, stderr=output, timeout=START_LIMIT_S,
            )
        assert install.returncode == 0, f"mariadb-install-db failed\n{tail(log)}"
        command = [find("mariadbd"), *common, f"--socket={socket}", "--skip-networking",
                   f"--pid-file={directory}/pid", "--skip-log-bin", "--performance-schema=OFF"]
        with running(command, lambda: _is_ready(socket), log):
            yield str(socket)


def _is_ready(socket):
    try:
        pymysql.connect(unix_socket=str(socket), user=USER).close()
    except pymysql.err.OperationalError:
        return False
    return True
