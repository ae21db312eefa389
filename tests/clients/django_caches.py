"""Proves that Django's two memcached backends work with the server: the whole of its cache
interface, sessions in the cache, a view that is cached, and a Unix socket.
"""

import datetime

import django
import pylibmc
import pymemcache
from django.conf import settings

from checks import run
from server import Server, read_stats

BACKENDS = {
    "PyMemcacheCache": f"pymemcache {pymemcache.__version__}",
    "PyLibMCCache": f"pylibmc {pylibmc.__version__}",
}


def main(check):
    for backend, library in BACKENDS.items():
        check.client(f"Django {django.__version__}, `{backend}` on {library}", "Python", "text",
                     "its whole cache interface, sessions, a cached view, two servers, a Unix socket")
    with Server() as first, Server() as second, Server(unix=True) as local:
        caches = {"default": cache("PyMemcacheCache", first.address, second.address)}
        for backend in BACKENDS:
            caches[backend] = cache(backend, first.address, second.address)
            caches[f"{backend}-unix"] = cache(backend, f"unix:{local.path}")
        settings.configure(CACHES=caches, SECRET_KEY="of a test", ROOT_URLCONF=__name__,
                           ALLOWED_HOSTS=["*"], USE_TZ=True,
                           SESSION_ENGINE="django.contrib.sessions.backends.cache")
        django.setup()
        for alias in caches:
            if alias != "default":
                interface(check, alias)
        counts = [int(read_stats(server.address)["total_items"]) for server in (first, second)]
        check.true(min(counts) > 10, "both servers were used")
        for backend in BACKENDS:
            sessions(check, backend)
            view(check, backend)


def cache(backend, *locations):
    return {"BACKEND": f"django.core.cache.backends.memcached.{backend}",
            "LOCATION": list(locations), "KEY_PREFIX": backend}


def interface(check, alias):
    from django.core.cache import caches
    from django.core.cache.backends.base import InvalidCacheKey

    cache = caches[alias]
    cache.clear()
    for value in ("text", "ünïcode ✓", 7, -1, 2.5, None, True, [1, {"a": (2, 3)}], b"\0\xff\r\n",
                  datetime.datetime(2026, 11, 21, tzinfo=datetime.UTC), "x" * 100_000):
        cache.set("value", value)
        check.equal(cache.get("value", "missing"), value, f"{alias}: a {type(value).__name__}")
    check.equal(cache.get("missing"), None, "get of a missing key")
    check.equal(cache.get("missing", 5), 5, "get with a default")
    check.equal((cache.add("added", 1), cache.add("added", 2)), (True, False), "add, twice")
    check.equal(cache.get("added"), 1, "the first has stored")
    check.equal(cache.get_or_set("made", lambda: "made now"), "made now", "get_or_set")
    check.equal("made" in cache, True, "a key that is there")
    check.equal(cache.has_key("missing"), False, "a key that is not")
    check.equal((cache.incr("added"), cache.incr("added", 10), cache.decr("added", 5)), (2, 12, 7),
                "incr and decr")
    check.raises(ValueError, lambda: cache.incr("missing"), "incr of a missing key")
    check.equal(cache.set_many({f"many {n}".replace(" ", "-"): n for n in range(50)}), [],
                "set_many fails for none")
    names = [f"many-{n}" for n in range(60)]
    check.equal(cache.get_many(names), {f"many-{n}": n for n in range(50)}, "get_many")
    cache.delete_many(names[:25])
    check.equal(len(cache.get_many(names)), 25, "delete_many")
    check.equal((cache.delete("many-30"), cache.delete("many-30")), (True, False), "delete, twice")
    cache.set("versioned", "one")
    cache.set("versioned", "two", version=2)
    check.equal((cache.get("versioned"), cache.get("versioned", version=2)), ("one", "two"),
                "versions are keys of their own")
    check.equal(cache.incr_version("versioned", version=2), 3, "incr_version")
    check.equal(cache.get("versioned", version=3), "two", "it has moved")
    check.raises(InvalidCacheKey, lambda: cache.set("k" * 250, 1), "a key that is too long")

    cache.set("brief", "v", timeout=1)
    cache.set("over", "v", timeout=0)
    cache.set("long", "v", timeout=40 * 24 * 60 * 60)
    cache.set("for ever".replace(" ", "-"), "v", timeout=None)
    check.equal(cache.get("over"), None, "a timeout of 0 is over at once")
    check.equal(cache.touch("long", 1), True, "touch")
    check.equal(cache.touch("missing", 1), False, "touch of a missing key")
    check.within(5, lambda: cache.get_many(["brief", "long"]) == {}, "timeouts end")
    check.equal(cache.get("for-ever"), "v", "and None is for ever")
    cache.clear()
    check.equal(cache.get("for-ever"), None, "clear")


def sessions(check, alias):
    from django.contrib.sessions.backends.cache import SessionStore
    from django.core.cache import caches

    class Store(SessionStore):
        def __init__(self, session_key=None):
            super().__init__(session_key)
            self._cache = caches[alias]

    session = Store()
    session["user"] = {"id": 42, "name": "Ada"}
    session.save()
    check.equal(Store(session.session_key)["user"], {"id": 42, "name": "Ada"}, "a session is read")
    session.cycle_key()
    check.equal(Store(session.session_key)["user"]["id"], 42, "under a new key too")
    session.delete()
    check.equal(Store(session.session_key).get("user"), None, "a session that was deleted")


def view(check, alias):
    from django.http import HttpResponse
    from django.test import RequestFactory
    from django.views.decorators.cache import cache_page

    calls = []

    @cache_page(60, cache=alias)
    def page(request):
        calls.append(request.path)
        return HttpResponse(f"page {len(calls)} of {request.path}")

    texts = [page(RequestFactory().get(path)).content for path in ("/a", "/a", "/b", "/a")]
    check.equal(texts, [b"page 1 of /a", b"page 1 of /a", b"page 2 of /b", b"page 1 of /a"],
                "a page is made once")


urlpatterns = []

if __name__ == "__main__":
    run(__file__, main)
