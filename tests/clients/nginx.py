"""Proves that nginx serves pages straight out of the server, over TCP and over a Unix socket:
each is there with its type and its length, and what is not there comes from elsewhere.
"""

import http.client
import os
import re
import socket
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pymemcache

from checks import run
from programs import find, running
from server import LARGEST_VALUE_LEN, Server, accepts, read_stats

CONFIG = """
daemon off;
pid {directory}/pid;
error_log stderr;
worker_processes 1;
events {{ worker_connections 64; }}
http {{
    access_log off;
    {scratch}
    upstream kept {{ server {address}; keepalive 4; }}
    server {{
        listen unix:{directory}/socket;
        set $memcached_key $uri;
        default_type text/html;
        location /tcp/ {{ memcached_pass kept; error_page 404 502 = @elsewhere; }}
        location /unix/ {{ memcached_pass unix:{unix}; error_page 404 502 = @elsewhere; }}
        location @elsewhere {{ return 200 "from elsewhere"; }}
    }}
}}
"""
SCRATCH = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]


class OverUnix(http.client.HTTPConnection):
    """HTTP over a Unix socket, so that nginx needs no port."""

    def __init__(self, path):
        super().__init__("nginx")
        self._path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(5)
        self.sock.connect(self._path)

    def page(self, uri):
        self.request("GET", uri)
        response = self.getresponse()
        return response.status, response.getheader("Content-Type"), response.read()


@contextmanager
def nginx(address, unix):
    """Give the path of the socket of an nginx that runs in front of two servers."""
    with tempfile.TemporaryDirectory(prefix="nginx-") as directory:
        os.chmod(directory, 0o755)  # the workers are another user's
        config, log = Path(directory, "config"), Path(directory, "log")
        scratch = "\n    ".join(f"{name}_temp_path {directory}/{name};" for name in SCRATCH)
        config.write_text(
            CONFIG.format(directory=directory, address=address, unix=unix, scratch=scratch)
        )
        path = f"{directory}/socket"
        command = [find("nginx"), "-p", directory, "-c", str(config)]
        with running(command, lambda: accepts(path), log):
            yield path


def main(check):
    told = subprocess.run([find("nginx"), "-v"], capture_output=True, text=True, check=True).stderr
    version = re.search(r"nginx/([\d.]+)", told)[1]
    check.client(f"nginx {version}, `memcached_pass`", "C", "text",
                 "pages of every size over TCP and a Unix socket, kept connections, misses")
    with Server() as tcp, Server("-a", "777", unix=True) as unix:
        os.chmod(os.path.dirname(unix.path), 0o755)
        fill = {"tcp": pymemcache.Client(tcp.address, default_noreply=False),
                "unix": pymemcache.Client(unix.path, default_noreply=False)}
        with nginx(tcp.address, unix.path) as path:
            web = OverUnix(path)
            for kind, client in fill.items():
                pages(check, web, kind, client)
            stats = read_stats(tcp.address)
            check.true(int(stats["total_connections"]) < 12, "connections are kept")
        with nginx(tcp.address, unix.path) as path:
            web = OverUnix(path)
            tcp.kill()
            check.equal(web.page("/tcp/page")[2], b"from elsewhere", "a server that is down")
            tcp.restart()
            check.within(30, lambda: set_page(tcp, web) == b"back", "and back")


def pages(check, web, kind, client):
    for name, body in (("page", b"<h1>hello</h1>"), ("empty", b""), ("bytes", bytes(range(256))),
                       ("large", b"l" * (LARGEST_VALUE_LEN - 100)), ("ends", b"\r\nEND\r\n" * 99)):
        client.set(f"/{kind}/{name}", body)
        for _ in range(3):
            check.equal(web.page(f"/{kind}/{name}"), (200, "text/html", body), f"{kind}: {name}")
        client.delete(f"/{kind}/{name}")
        check.equal(web.page(f"/{kind}/{name}")[2], b"from elsewhere", f"{kind}: no {name}")


def set_page(server, web):
    client = pymemcache.Client(server.address, default_noreply=False)
    client.set("/tcp/page", b"back")
    client.close()
    return web.page("/tcp/page")[2]


if __name__ == "__main__":
    run(__file__, main)
