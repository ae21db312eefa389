"""Starts a private MariaDB for a test, and ends it again.

It has a data directory and a socket in a temporary directory, no network port, and one
account, `root`, without a password; nobody else can reach the socket. A database that
runs on the machine already is neither used nor touched.
"""

import os
import shutil
import subprocess
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import pymysql

START_LIMIT_S = 20
STOP_LIMIT_S = 20
POLL_S = 0.05
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
                [_program("mariadb-install-db"), *common, "--skip-test-db",
                 "--auth-root-authentication-method=normal"],
                stdin=subprocess.DEVNULL, stdout=output, stderr=output, timeout=START_LIMIT_S,
            )
            assert install.returncode == 0, f"mariadb-install-db failed\n{_tail(log)}"
            process = subprocess.Popen(
                [_program("mariadbd"), *common, f"--socket={socket}", "--skip-networking",
                 f"--pid-file={directory}/pid", "--skip-log-bin", "--performance-schema=OFF"],
                stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            )
        try:
            _wait_until_ready(process, socket, log)
            yield str(socket)
        finally:
            process.terminate()
            try:
                process.wait(STOP_LIMIT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait_until_ready(process, socket, log):
    deadline = time.monotonic() + START_LIMIT_S
    while True:
        assert process.poll() is None, f"mariadbd ended by itself\n{_tail(log)}"
        try:
            pymysql.connect(unix_socket=str(socket), user=USER).close()
            return
        except pymysql.err.OperationalError:
            assert time.monotonic() < deadline, f"mariadbd is not ready\n{_tail(log)}"
            time.sleep(POLL_S)


def _program(name):
    # Debian keeps the server where an ordinary user's PATH does not look.
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    assert found, f"{name} is not installed"
    return found


def _tail(log):
    return log.read_text(errors="replace")[-4000:]
