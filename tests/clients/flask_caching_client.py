"""Proves that Flask-Caching works with the server: cached views, memoized functions and the
cache itself.
"""

from importlib.metadata import version

import pylibmc
from flask import Flask, request
from flask_caching import Cache

from checks import run
from server import Server, read_stats


def main(check):
    check.client(f"Flask-Caching {version('Flask-Caching')}, on pylibmc {pylibmc.__version__}",
                 "Python", "text", "cached views, memoized functions, many keys, expiry")
    with Server() as server:
        app = Flask(__name__)
        cache = Cache(app, config={
            "CACHE_TYPE": "MemcachedCache", "CACHE_KEY_PREFIX": "shop:",
            "CACHE_MEMCACHED_SERVERS": [server.address], "CACHE_DEFAULT_TIMEOUT": 60,
        })
        views(check, app, cache)
        with app.app_context():
            functions(check, cache)
            values(check, cache)
        check.true(int(read_stats(server.address)["get_hits"]) > 5, "all that was in the server")


def views(check, app, cache):
    calls = []

    @app.route("/books")
    @cache.cached(query_string=True)
    def books():
        calls.append(request.args.get("page"))
        return f"page {request.args.get('page')}, made {len(calls)}"

    client = app.test_client()
    texts = [client.get(f"/books?page={page}").text for page in (1, 1, 2, 1)]
    check.equal(texts, ["page 1, made 1"] * 2 + ["page 2, made 2", "page 1, made 1"],
                "a view is made once for each query")
    with app.app_context():
        cache.clear()
    check.equal(client.get("/books?page=1").text, "page 1, made 3", "and again when it is cleared")


def functions(check, cache):
    calls = []

    @cache.memoize()
    def price(book, currency="EUR"):
        calls.append((book, currency))
        return {"book": book, "currency": currency, "price": len(calls)}

    check.equal([price(1)["price"], price(1)["price"], price(2)["price"]], [1, 1, 2], "memoized")
    check.equal(price(1, currency="USD")["price"], 3, "by all arguments")
    cache.delete_memoized(price, 1)
    check.equal([price(1)["price"], price(2)["price"]], [4, 2], "one is forgotten")
    cache.delete_memoized(price)
    check.equal([price(1)["price"], price(2)["price"]], [5, 6], "all are forgotten")


def values(check, cache):
    check.true(cache.set("key", {"list": [1, 2.5, "ü"]}), "set")
    check.equal(cache.get("key"), {"list": [1, 2.5, "ü"]}, "get")
    check.equal((cache.add("key", 1), cache.add("new", 1)), (False, True), "add")
    cache.set_many({f"many-{n}": n for n in range(100)})
    check.equal(cache.get_many(*(f"many-{n}" for n in range(100))), list(range(100)), "get_many")
    check.true(cache.delete_many("many-1", "many-2"), "delete_many")
    check.equal(cache.get_many("many-1", "many-3"), [None, 3], "of just those")
    cache.set("brief", "v", timeout=1)
    check.within(5, lambda: cache.get("brief") is None, "it expires")
    check.true(cache.has("key") and not cache.has("brief"), "has")


if __name__ == "__main__":
    run(__file__, main)
