"""Deliveries, end to end: `python -m tests.bench.webhooks`. Prints one JSON object.

Real processes on the suite's Postgres and Valkey: the sender as `manage.py up` starts it, a receiver that answers at
once, both on the same cores. What it has to stand up to is what Celery itself can do here: empty tasks a second.
"""

import json
import os
import statistics
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import django

from project.processes import QUIET_WORKER
from tests.end_to_end.stack import Process, free_port, wait_until

WEBHOOKS, EVENTS = 20, 100  # so many deliveries: their product
RUNS = 200  # of one idle delivery
ENDPOINTS = 100
FILTERS = 10_000
EMPTY_TASKS = 1000


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "data").mkdir()
        os.environ.update(
            SCANNER_DATA=f"{folder}/data",
            WEBHOOK_ALLOWED_NETWORKS="127.0.0.0/8",
            DJANGO_SETTINGS_MODULE="project.settings",
            REMAP_SIGTERM="SIGQUIT",
        )
        django.setup()
        from django.core.management import call_command  # noqa: PLC0415

        call_command("migrate", verbosity=0)
        with processes(folder) as port:
            found = {
                "empty_tasks_per_s": round(empty_tasks()),
                "deliveries_per_s": round(throughput(port)),
                **idle(port),
                "fan_out_s": round(fan_out(port), 3),
            }
    print(json.dumps({**found, "endpoints": ENDPOINTS, "filters": FILTERS, **many_filters()}))


@contextmanager
def processes(folder: Path) -> Iterator[int]:
    port = free_port()
    sender = [sys.executable, "-m", "celery", "-A", "project", "worker", "-Q", "webhooks", "-c", "4", *QUIET_WORKER]
    started = [
        Process("receiver", [sys.executable, "-m", "tests.bench.receiver", str(port)], os.environ, folder),
        Process("sender", [*sender, "-l", "INFO"], os.environ, folder),
    ]
    try:
        wait_until(lambda: "ready." in started[1].log.read_text(), "the sender")
        wait_until(lambda: received(port) == [], "the receiver")
        yield port
    finally:
        for process in started:
            process.stop()


came: list[tuple[str, float]] = []


def received(port: int) -> list[tuple[str, float]] | None:
    """(webhook-id, when) of all that has come; the receiver is asked only for what is new."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/{len(came)}", timeout=5) as answer:
            rows = [line.split(" ") for line in answer.read().decode().splitlines()]
    except OSError:
        return None
    came.extend((row[0], float(row[2])) for row in rows)
    return came


def times(port: int, ids: set[str]) -> list[float]:
    received(port)
    return [at for pk, at in came if pk in ids]


def make_webhooks(port: int, count: int) -> None:
    from scanner.models import Webhook  # noqa: PLC0415
    from tests.make import make_webhook  # noqa: PLC0415

    Webhook.objects.all().delete()
    for number in range(count):
        make_webhook(url=f"http://127.0.0.1:{port}/{number}", name=str(number), rate_per_minute=100_000)


def make_event() -> str:
    """The completed event of a scan that has just been stored."""
    from scanner.models import Event  # noqa: PLC0415
    from tests.make import make_report, make_scan, make_update  # noqa: PLC0415

    scan = make_scan(report=make_report(*(make_update(f"lib{number}") for number in range(5))))
    event = Event.objects.get(scan=scan, type="security.package_scan_completed")
    Event.objects.exclude(pk=event.pk).filter(scan=scan).delete()
    return event.pk


def empty_tasks() -> float:
    """Celery itself: no-op tasks through the same broker and worker, a second."""
    from tasks import webhooks as tasks  # noqa: PLC0415

    began = time.monotonic()
    for _ in range(EMPTY_TASKS):
        tasks.fan_out.apply_async(([],))
    drained()
    return EMPTY_TASKS / (time.monotonic() - began)


def drained() -> None:
    """Until the queue is empty and nobody works on what was in it."""
    from django.conf import settings  # noqa: PLC0415
    from redis import Redis  # noqa: PLC0415

    with Redis.from_url(settings.REDIS_URL) as redis:
        wait_until(lambda: not redis.llen("webhooks") and not redis.hlen("unacked"), "the queue", 120)


def throughput(port: int) -> float:
    """Deliveries a second, from the first hint to the last answer: claim, request, log and state, by the ORM."""
    from scanner.models import Delivery  # noqa: PLC0415
    from tasks import webhooks as tasks  # noqa: PLC0415

    make_webhooks(port, WEBHOOKS)
    ids = [make_event() for _ in range(EVENTS)]
    began = time.monotonic()
    for pk in ids:
        tasks.tell([pk])
    wait_until(lambda: len(times(port, set(ids))) == WEBHOOKS * EVENTS, "all deliveries", 120)
    drained()
    took = max(times(port, set(ids))) - began
    states = set(Delivery.objects.filter(event__in=ids).values_list("state", flat=True))
    assert states == {"succeeded"}, states
    return WEBHOOKS * EVENTS / took


def idle(port: int) -> dict[str, Any]:
    """From an event that is committed to its arrival, one at a time."""
    from tasks import webhooks as tasks  # noqa: PLC0415

    make_webhooks(port, 1)
    took = []
    for run in range(RUNS + 5):
        pk = make_event()
        began = time.monotonic()
        tasks.tell([pk])
        wait_until(lambda pk=pk: times(port, {pk}), "the delivery")
        if run >= 5:
            took.append(1000 * (times(port, {pk})[0] - began))
        time.sleep(0.03)  # until what follows the answer is stored, too
    took.sort()
    p99 = took[int(0.99 * len(took))]
    return {"idle_runs": len(took), "idle_p50_ms": round(statistics.median(took), 1), "idle_p99_ms": round(p99, 1)}


def fan_out(port: int) -> float:
    """One event to many endpoints: until the last has it."""
    from tasks import webhooks as tasks  # noqa: PLC0415

    make_webhooks(port, ENDPOINTS)
    pk = make_event()
    began = time.monotonic()
    tasks.tell([pk])
    wait_until(lambda: len(times(port, {pk})) == ENDPOINTS, "all endpoints")
    return max(times(port, {pk})) - began


def many_filters() -> dict[str, float]:
    """Ten thousand: 100 filters for each of 100 events, and as many that are all new."""
    from scanner.webhooks import filters  # noqa: PLC0415
    from scanner.webhooks.fields import CONSTANTS  # noqa: PLC0415

    data = {"security_updates": 23, "host.tags": ["prod", "web"], "status": "danger", **CONSTANTS}
    new = [f'security_updates > {number} && "prod" in host.tags' for number in range(FILTERS)]
    filters.evaluate(["changed"], {**data, "changed": True})  # starts the evaluator
    began = time.monotonic()
    assert filters.evaluate(new, data).count(True) == 23
    new_ones = time.monotonic() - began
    began = time.monotonic()
    for _ in range(100):
        assert filters.evaluate(new[: FILTERS // 100], data).count(True) == 23
    return {"filters_s": round(time.monotonic() - began, 3), "new_filters_s": round(new_ones, 3)}


if __name__ == "__main__":
    main()
