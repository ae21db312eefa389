"""Proves that aiomcache works with the server: every command it has, many tasks over its
pool, and FastAPI answering out of the cache through it.
"""

import asyncio
from contextlib import asynccontextmanager
from importlib.metadata import version

import aiomcache
import fastapi
import httpx
from aiomcache import ClientException

from checks import run
from server import LARGEST_VALUE_LEN, Server, read_stats, read_value


def main(check):
    check.client(f"aiomcache {version('aiomcache')}", "Python", "text",
                 "every command, 100 tasks over a pool")
    check.client(f"FastAPI {version('fastapi')}, through aiomcache", "Python", "text",
                 "an endpoint that is computed once, refreshed, and computed again when it expired")
    with Server("-I", "1m") as server:
        asyncio.run(commands(check, server))
        asyncio.run(many_tasks(check, server))
        asyncio.run(fastapi_endpoint(check, server))


async def commands(check, server):
    client = aiomcache.Client(server.host, server.port)
    check.equal(await client.version(), b"1.6.45", "version")
    check.equal(await client.set(b"key", b"value"), True, "set")
    check.equal(await client.get(b"key"), b"value", "get")
    check.equal(await client.get(b"missing", b"default"), b"default", "get with a default")
    check.equal(await client.multi_get(b"key", b"missing", b"key2"), (b"value", None, None),
                "multi_get keeps the order")
    check.equal(await client.add(b"key", b"other"), False, "add of a key that exists")
    check.equal(await client.add(b"added", b"new"), True, "add of a key that does not")
    check.equal(await client.replace(b"missing", b"other"), False, "replace of a missing key")
    check.equal(await client.append(b"key", b"-end"), True, "append")
    check.equal(await client.prepend(b"key", b"start-"), True, "prepend")
    value, unique = await client.gets(b"key")
    check.equal(value, b"start-value-end", "gets")
    check.equal(await client.cas(b"key", b"second", unique), True, "cas with nothing in between")
    check.equal(await client.cas(b"key", b"third", unique), False, "cas again")
    check.equal(await client.get(b"key"), b"second", "only the first has stored")
    await client.set(b"count", b"10")
    check.equal(await client.incr(b"count", 5), 15, "incr")
    check.equal(await client.decr(b"count", 20), 0, "decr stops at 0")
    for key, reply in ((b"missing", "NOT_FOUND"), (b"key", "CLIENT_ERROR cannot increment")):
        try:
            result = await client.incr(key)
        except ClientException as error:
            result = str(error)
        check.true(reply in str(result), f"incr of the key {key} says {reply}")
    check.equal(await client.touch(b"key", 1000), True, "touch")
    check.equal(await client.delete(b"key"), True, "delete")
    check.equal(await client.delete(b"key"), False, "delete of a missing key")
    large = bytes(range(256)) * (LARGEST_VALUE_LEN // 256)
    await client.set(b"large", large)
    check.equal(await client.get(b"large"), large, "every byte of a large value comes back")
    stats = await client.stats()
    check.equal(stats[b"version"], b"1.6.45", "stats")
    await client.set(b"brief", b"v", exptime=1)
    for _ in range(300):
        if await client.get(b"brief") is None:
            break
        await asyncio.sleep(0.02)
    check.equal(await client.get(b"brief"), None, "it expires")
    await client.flush_all()
    check.equal(await client.get(b"large"), None, "flush_all")
    await client.close()


async def many_tasks(check, server):
    client = aiomcache.Client(server.host, server.port, pool_size=10)

    async def work(task):
        key = b"task-%d" % task
        for turn in range(20):
            value = key + b":%d" % turn
            await client.set(key, value)
            check.equal(await client.get(key), value, "a task reads what it wrote")
            await client.incr(b"turns")

    await client.set(b"turns", b"0")
    await asyncio.gather(*map(work, range(100)))
    check.equal(await client.get(b"turns"), b"2000", "no turn of any task is lost")
    await client.close()


async def fastapi_endpoint(check, server):
    computed = []

    @asynccontextmanager
    async def lifespan(app):
        app.state.cache = aiomcache.Client(server.host, server.port)
        yield
        await app.state.cache.close()

    app = fastapi.FastAPI(lifespan=lifespan)

    @app.get("/square/{number}")
    async def square(number: int):
        cache, key = app.state.cache, b"square:%d" % number
        cached = await cache.get(key)
        if cached is None:
            computed.append(number)
            cached = b"%d" % (number * number)
            await cache.set(key, cached, exptime=60)
        return {"square": int(cached)}

    transport = httpx.ASGITransport(app=app)
    async with lifespan(app), httpx.AsyncClient(transport=transport, base_url="http://app") as web:
        hits = int(read_stats(server.address)["get_hits"])
        answers = [(await web.get("/square/12")).json() for _ in range(5)]
        check.equal(answers, [{"square": 144}] * 5, "every answer is right")
        check.equal(computed, [12], "it was computed once")
        check.equal(int(read_stats(server.address)["get_hits"]), hits + 4, "and found four times")
        check.equal(read_value(server.address, "square:12"), (0, b"144"), "it is in the server")
        await app.state.cache.delete(b"square:12")
        await web.get("/square/12")
        check.equal(computed, [12, 12], "without it, it is computed again")


if __name__ == "__main__":
    run(__file__, main)
