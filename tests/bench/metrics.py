"""/metrics of a large fleet: `python -m tests.bench.metrics`. Prints one JSON object.

10,000 hosts with 1,000,000 scans and 500 snapshots are made by the database itself, in statements about sets; a scrape
goes through the whole of Django, but for the socket.
"""

import json
import os
import statistics
import sys
import tempfile
import time
from typing import Any

import django

HOSTS, SCANS, SNAPSHOTS, PACKAGE_SETS = 10_000, 1_000_000, 500, 250
UPDATES = 60  # of a snapshot
OPEN_UPDATES = 20  # of a host
DELIVERIES, WEBHOOKS = 100_000, 20
TASKS = 100_000  # results that are kept
RUNS = 5


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        os.environ.update(SCANNER_DATA=folder, FEEDS="auto", DJANGO_SETTINGS_MODULE="project.settings")
        django.setup()
        from django.core.management import call_command  # noqa: PLC0415

        call_command("migrate", verbosity=0)
        began = time.monotonic()
        fill()
        print(json.dumps({"made_in_s": round(time.monotonic() - began, 1), **scrapes()}))


# --- a fleet ----------------------------------------------------------------------------------------


def fill() -> None:
    from django.db import connection  # noqa: PLC0415

    from scanner import models  # noqa: PLC0415
    from tests.make import make_webhook  # noqa: PLC0415

    for model in (models.Host, models.Scan, models.Snapshot, models.PackageSet, models.Webhook, models.Event):
        assert not model.objects.exists(), "this needs an empty database"
    with connection.cursor() as cursor:
        cursor.execute("SET session_replication_role = replica")  # no look at each foreign key
    hash_of = "md5(n::text) || md5(n::text)"
    rows(models.PackageSet, PACKAGE_SETS, id="n", hash=hash_of, distribution="'debian:12'", tally=TALLY)
    package_set = f"1 + n % {PACKAGE_SETS}"
    rows(models.Snapshot, SNAPSHOTS, id="n", hash=hash_of, package_manager="'apt'", package_set_id=package_set)
    rows(
        models.Update,
        SNAPSHOTS * UPDATES,
        snapshot_id=f"1 + n % {SNAPSHOTS}",
        name="'lib' || n",
        architecture="CASE n % 5 WHEN 0 THEN 'all' ELSE 'amd64' END",
        installed_version="'1.0-1'",
        available_version="'1.0-2'",
        security="n % 3 = 0",
        origins="""CASE n % 3 WHEN 0 THEN '["Debian-Security:bookworm-security"]' ELSE '["Debian:bookworm"]' END""",
    )
    rows(models.Host, HOSTS, id="n", name="'host-' || n || '.example.org'", current_id="NULL")
    at = f"now() - interval '1 day' * ({SCANS} - n) / {HOSTS}"  # one scan a day of each host, the newest just now
    counted = f"n % 50 <> 0 OR n > {SCANS - HOSTS}"
    rows(
        models.Scan,
        SCANS,
        id="n",
        host_id=f"1 + n % {HOSTS}",
        state=f"CASE WHEN {counted} THEN 'completed' ELSE 'failed' END",
        trigger="'schedule'",
        created_at=at,
        started_at=at,
        finished_at=f"{at} + interval '4 seconds'",
        metadata_date=at,
        distribution="'debian:12'",
        package_manager="'apt'",
        security_updates=f"CASE WHEN {counted} THEN n % 30 END",
        total_updates=f"CASE WHEN {counted} THEN 60 END",
        total_packages=f"CASE WHEN {counted} THEN 2000 END",
        pinned_security_updates=f"CASE WHEN {counted} THEN 0 END",
        reboot_required="n % 10 = 0",
        snapshot_id=f"CASE WHEN {counted} THEN 1 + n % {SNAPSHOTS} END",
    )
    rows(
        models.OpenUpdate,
        HOSTS * OPEN_UPDATES,
        host_id=f"1 + n % {HOSTS}",
        name="'lib' || n",
        architecture="'amd64'",
        since="now() - interval '1 hour' * (n % 200)",
    )
    webhooks = [make_webhook(url=f"http://127.0.0.1:9/{number}").pk for number in range(WEBHOOKS)]
    chosen = f"(ARRAY{webhooks})[1 + n % {WEBHOOKS}]"
    at = "now() - interval '1 minute' * (n % 10000)"
    rows(models.Event, DELIVERIES, id="'evt_' || n", type="'x'", payload="'{}'", dedupe_key="n", fanned_out_at="now()")
    states = "(ARRAY['succeeded', 'succeeded', 'filtered', 'failed'])[1 + n % 4]"
    rows(models.Delivery, DELIVERIES, id="n", event_id="'evt_' || n", webhook_id=chosen, state=states, created_at=at)
    rows(models.Attempt, DELIVERIES, delivery_id="n", number="1", started_at=at, milliseconds="20", ok="n % 4 < 2")
    from django_celery_results.models import TaskResult  # noqa: PLC0415

    rows(
        TaskResult,
        TASKS,
        task_id="n",
        task_name="'tasks.scans.run_scan'",
        status="'SUCCESS'",
        date_created=at,
        date_started=at,
        date_done=f"{at} + interval '4 seconds'",
    )
    with connection.cursor() as cursor:
        cursor.execute("SET session_replication_role = DEFAULT")
        cursor.execute(
            "UPDATE scanner_host SET current_id = newest.id FROM (SELECT host_id, max(id) AS id FROM scanner_scan "
            "WHERE state = 'completed' GROUP BY host_id) newest WHERE newest.host_id = scanner_host.id"
        )
        cursor.execute("VACUUM ANALYZE")


TALLY = """json_build_object('fixed', n % 40, 'open', n % 300, 'no_dsa', 80, 'exploited', n % 3)"""


def rows(model: Any, count: int, **columns: str) -> None:
    """So many rows, n = 1, 2, …; columns that are not named get what the model gives them."""
    from django.db import connection, models  # noqa: PLC0415

    automatic = [field for field in model._meta.concrete_fields if isinstance(field, models.AutoField)]
    fields = [field for field in model._meta.concrete_fields if field.column in columns or field not in automatic]
    assert set(columns) <= {field.column for field in fields}
    expressions, parameters = [], []
    for field in fields:
        if field.column in columns:
            expression = columns[field.column].replace("%", "%%")
        elif getattr(field, "auto_now", False) or getattr(field, "auto_now_add", False):
            expression = "now()"
        else:
            expression = "%s"
            parameters.append(field.get_db_prep_save(field.get_default(), connection))
        expressions.append(f"({expression})::{field.cast_db_type(connection)}")
    names = ", ".join(f'"{field.column}"' for field in fields)
    statement = f'INSERT INTO "{model._meta.db_table}" ({names}) SELECT {", ".join(expressions)}'
    with connection.cursor() as cursor:
        cursor.execute(f"{statement} FROM generate_series(1, {count}) AS n", parameters)


# --- scrapes ----------------------------------------------------------------------------------------


def scrapes() -> dict[str, Any]:
    from django.db import connection  # noqa: PLC0415
    from django.test import Client  # noqa: PLC0415
    from django.test.utils import CaptureQueriesContext  # noqa: PLC0415

    from scanner.models import ApiToken  # noqa: PLC0415

    client = Client(SERVER_NAME="localhost")
    headers = {"Authorization": f"Bearer {ApiToken.objects.issue('prometheus', 'read')}"}
    took = []
    for _ in range(RUNS):
        began = time.monotonic()
        answer = client.get("/metrics", headers=headers)
        took.append(time.monotonic() - began)
        assert answer.status_code == 200, answer.content
    with CaptureQueriesContext(connection) as queries:
        client.get("/metrics", headers=headers)
    if "--queries" in sys.argv:
        for query in sorted(queries.captured_queries, key=lambda each: float(each["time"])):
            print(query["time"], query["sql"][:3000], file=sys.stderr)
    return {
        "hosts": HOSTS,
        "scans": SCANS,
        "snapshots": SNAPSHOTS,
        "scrape_s": round(statistics.median(took), 3),
        "slowest_scrape_s": round(max(took), 3),
        "queries": len(queries),
        "samples": sum(not line.startswith(b"#") for line in answer.content.splitlines()),
        "megabytes": round(len(answer.content) / 1e6, 1),
    }


if __name__ == "__main__":
    main()
