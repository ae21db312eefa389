"""Proves that Celery keeps its results in the server, with tasks that come over a RabbitMQ:
values, failures, groups, chords that count in the cache, expiry, and two servers.
"""

import celery
from celery.contrib.testing.worker import start_worker
from celery.result import AsyncResult

from checks import run
from rabbitmq import rabbitmq
from server import Server, read_stats, read_value

WAIT_S = 30


def main(check):
    check.client(f"Celery {celery.__version__}, `cache+memcached://`, with RabbitMQ", "Python", "text",
                 "results, failures, groups, chords, forgetting, expiry")
    with rabbitmq() as broker, Server() as server:
        app = celery.Celery(
            "larder", broker=f"amqp://guest:guest@{broker}//",
            backend=f"cache+memcached://{server.address}/",
        )
        app.conf.update(result_expires=60, broker_connection_retry_on_startup=True,
                        worker_hijack_root_logger=False)
        tasks = declare(app)
        with start_worker(app, pool="solo", perform_ping_check=False, shutdown_timeout=WAIT_S,
                          loglevel="CRITICAL"):
            results(check, app, server, tasks)
            many(check, server, tasks)
        expiry(check, app, tasks)


def declare(app):
    @app.task(name="add")
    def add(left, right):
        return left + right

    @app.task(name="divide")
    def divide(left, right):
        return left / right

    @app.task(name="total")
    def total(numbers):
        return sum(numbers)

    return {"add": add, "divide": divide, "total": total}


def results(check, app, server, tasks):
    result = tasks["add"].delay(2, 3)
    check.equal(result.get(timeout=WAIT_S), 5, "a result")
    flags_and_value = read_value(server.address, f"celery-task-meta-{result.id}")
    check.true(b'"SUCCESS"' in flags_and_value[1], "it is in the server")
    check.equal(AsyncResult(result.id, app=app).state, "SUCCESS", "whoever knows its id finds it")
    check.equal(tasks["add"].delay("ü", "✓").get(timeout=WAIT_S), "ü✓", "a text")
    check.equal(len(tasks["add"].delay("x" * 300_000, "y").get(timeout=WAIT_S)), 300_001, "a long one")
    failed = tasks["divide"].delay(1, 0)
    check.raises(ZeroDivisionError, lambda: failed.get(timeout=WAIT_S), "a task that fails")
    check.equal(failed.state, "FAILURE", "its state")
    result.forget()
    check.equal(read_value(server.address, f"celery-task-meta-{result.id}"), None, "forgotten")


def many(check, server, tasks):
    add, total = tasks["add"], tasks["total"]
    group = celery.group(add.s(number, number) for number in range(50)).delay()
    check.equal(group.get(timeout=WAIT_S), [2 * number for number in range(50)], "a group")
    counted = int(read_stats(server.address)["incr_hits"])
    chord = celery.chord((add.s(number, 1) for number in range(20)), total.s())()
    check.equal(chord.get(timeout=WAIT_S), sum(range(1, 21)), "a chord")
    check.equal(int(read_stats(server.address)["incr_hits"]), counted + 20, "is counted in the cache")
    chain = celery.chain(add.s(1, 2), add.s(10), add.s(100)).delay()
    check.equal(chain.get(timeout=WAIT_S), 113, "a chain")


def expiry(check, app, tasks):
    brief = AsyncResult("brief", app=app)
    app.backend.expires = 1
    app.backend.store_result("brief", 7, "SUCCESS")
    check.equal(brief.state, "SUCCESS", "a result that expires")
    check.within(5, lambda: AsyncResult("brief", app=app).state == "PENDING", "and has expired")


if __name__ == "__main__":
    run(__file__, main, limit_s=150)
