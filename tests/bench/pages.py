"""Every page, list of the API and /metrics, of a large fleet: `python -m tests.bench.pages [PART OF A NAME]`.

10,000 hosts with 1,000,000 scans and 500 snapshots are made by the database itself, in statements about sets; a request
goes through the whole of Django, but for the socket. Prints one JSON object; with --queries also the SQL of each.
"""

import json
import os
import statistics
import sys
import tempfile
import time
from functools import partial
from typing import Any

import django

HOSTS, SCANS, SNAPSHOTS, PACKAGE_SETS = 10_000, 1_000_000, 500, 250
PACKAGES = 2_000  # of a package set
VERSIONS = 6_000  # of packages, that a feed knows
FINDINGS = 5  # of each tenth of them
ROWS = 300_000  # of the feed
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
        call_command("collectstatic", interactive=False, verbosity=0)
        began = time.monotonic()
        fill()
        print(json.dumps({"made_in_s": round(time.monotonic() - began, 1), **figures()}))


# --- a fleet ----------------------------------------------------------------------------------------


def fill() -> None:
    from django.db import connection  # noqa: PLC0415
    from django.utils import timezone  # noqa: PLC0415

    from scanner import models  # noqa: PLC0415
    from tests.make import make_webhook  # noqa: PLC0415

    for model in (models.Host, models.Scan, models.Snapshot, models.PackageSet, models.Webhook, models.Event):
        assert not model.objects.exists(), "this needs an empty database"
    with connection.cursor() as cursor:
        cursor.execute("SET session_replication_role = replica")  # no look at each foreign key
    hash_of = "md5(n::text) || md5(n::text)"
    rows(models.PackageSet, PACKAGE_SETS, id="n", hash=hash_of, distribution="'debian:12'", tally=TALLY)
    package_set = f"1 + n % {PACKAGE_SETS}"
    feed = models.Feed.objects.create(
        name="debian", distributions=["debian:12"], generation=1, rows=ROWS, imported_at=timezone.now()
    )
    rows(models.PackageVersion, VERSIONS, id="n", distribution="'debian:12'", name=SOURCE, version=VERSION, **KNOWN)
    rows(
        models.Package,
        PACKAGE_SETS * PACKAGES,
        package_set_id=f"1 + n % {PACKAGE_SETS}",
        name=f"'lib' || n / {PACKAGE_SETS}",
        architecture="'amd64'",
        version="'1.0-1'",
        source=f"'source-' || n / {PACKAGE_SETS}",
        package_version_id=f"1 + (n / {PACKAGE_SETS} * 3 + n % 3) % {VERSIONS}",
        needs=f"""json_build_array('lib' || (n / {PACKAGE_SETS}) / 2, 'lib' || (n / {PACKAGE_SETS}) / 3)""",
    )
    rows(
        models.Finding,
        VERSIONS // 10 * FINDINGS,
        package_version_id=f"1 + n * 10 % {VERSIONS}",
        cve="'CVE-2026-' || 10000 + n % 2000",
        advisory="'ADVISORY-' || n",
        status="(ARRAY['fixed', 'open', 'no_dsa'])[1 + n % 3]",
        fixed_version="CASE n % 3 WHEN 0 THEN '1.0-2' ELSE '' END",
        severity="'high'",
    )
    rows(
        models.AffectedPackage,
        ROWS,
        feed_id=str(feed.pk),
        distribution="'debian:12'",
        name="'source-' || n % 3000",
        advisory="'CVE-2026-' || 10000 + n",
        cves="json_build_array('CVE-2026-' || 10000 + n)",
        status="'open'",
        digest=r"'\x00'",
    )
    rows(models.ExploitScore, ROWS, cve="'CVE-2026-' || 10000 + n", epss="(n % 100) / 100.0", percentile="0.5")
    rows(models.KnownExploited, 1500, cve="'CVE-2026-' || 10000 + n", added="'2026-11-01'")
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
        copies = ", ".join(f"current_{name} = newest.{name}" for name in COPIES)
        cursor.execute(
            f"UPDATE scanner_host SET current_id = newest.id, {copies} FROM (SELECT DISTINCT ON (host_id) * FROM "  # noqa: S608
            "scanner_scan WHERE state = 'completed' ORDER BY host_id, id DESC) newest "
            "WHERE newest.host_id = scanner_host.id"
        )
        cursor.execute("VACUUM ANALYZE")


COPIES = (
    *("snapshot_id", "state", "package_manager", "distribution", "security_updates", "total_updates"),
    *("metadata_date", "finished_at"),
)  # as in scanner.models.host.OF_CURRENT
SOURCE, VERSION = "'source-' || n / 3", "'1.0-' || n"
KNOWN = {"key": "convert_to('1.0-' || lpad(n::text, 5, '0'), 'UTF8')", "generation": "1"}
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


# --- requests ---------------------------------------------------------------------------------------

SCAN = SCANS - 5
HOST = f"host-{1 + SCAN % HOSTS}.example.org"
PACKAGE, CVE = "lib100", "CVE-2026-10042"
PAGE = "/security/package-scanner"
ADDRESSES = (
    "/metrics",
    "/security/",
    "/security/?status=unknown",
    "/security/?status=high&sort=age&page=20",
    "/security/?q=host-77",
    "/security/?manager=apt&late=1&exploited=1",
    "/security/?size=1000",
    f"{PAGE}/?host={HOST}",
    f"{PAGE}/scan/{SCAN}/",
    *(f"{PAGE}/scan/{SCAN}/?tab={tab}" for tab in ("security", "all", "packages", "vulnerabilities")),
    f"{PAGE}/scan/{SCAN}/?tab=packages&q=lib19&sort=-version",
    f"{PAGE}/scan/{SCAN}/graph/",
    f"{PAGE}/scan/{SCAN}/graph/data/",
    f"{PAGE}/scan/{SCAN}/graph/?package={PACKAGE}",
    f"{PAGE}/diff/?to={SCAN}",
    f"{PAGE}/diff/?host={HOST}&with=host-7.example.org",
    f"{PAGE}/cve/{CVE}/",
    f"{PAGE}/package/{PACKAGE}/",
    "/security/feeds/",
    "/security/risks/",
    "/security/risks/new/?cve=" + CVE,
    "/security/schedules/",
    "/security/audit/",
    "/security/settings/",
    "/security/webhooks/",
    "/security/webhooks/deliveries/",
    "/security/webhooks/deliveries/?state=failed",
    "/security/webhooks/1/",
    "/security/webhooks/new/",
    f"/api/security/package-scanner/widget/?host={HOST}",
    f"/api/security/package-scanner/state/?host={HOST}",
    f"/api/security/package-scanner/diff/?to={SCAN}",
    "/api/v1/hosts",
    "/api/v1/hosts?sort=-status&limit=100",
    "/api/v1/hosts?exploited=true&status=danger",
    f"/api/v1/hosts/{HOST}",
    *(f"/api/v1/hosts/{HOST}/{part}" for part in ("updates", "packages", "vulnerabilities")),
    "/api/v1/scans",
    f"/api/v1/scans?host={HOST}",
    "/api/v1/scans?state=failed&since=2026-01-01T00:00:00Z",
    f"/api/v1/scans/{SCAN}",
    f"/api/v1/vulnerabilities/{CVE}",
    "/api/v1/feeds",
    "/api/v1/risks",
    f"/api/v1/diff?to={SCAN}",
    "/api/v1/schedules",
    "/api/v1/audit",
    "/api/v1/webhooks",
    "/api/v1/webhooks/1/deliveries",
    "/api/v1/deliveries/1",
    "/admin/scanner/scan/",
    "/admin/scanner/host/",
)


def figures() -> dict[str, Any]:
    """Of each address: the median in ms, the slowest, queries, and KB on the wire."""
    from django.db import connection  # noqa: PLC0415
    from django.test import Client  # noqa: PLC0415
    from django.test.utils import CaptureQueriesContext  # noqa: PLC0415

    from frontend import api_limits  # noqa: PLC0415
    from scanner.models import ApiToken  # noqa: PLC0415
    from tests.make import make_user  # noqa: PLC0415

    api_limits.RATE = 10**6
    browser, program = (Client(SERVER_NAME="localhost", headers={"Accept-Encoding": "gzip"}) for _ in range(2))
    user = make_user("root")
    user.is_superuser = True
    user.save()
    browser.force_login(user)
    headers = {"Authorization": f"Bearer {ApiToken.objects.issue('bench', 'admin')}"}
    wanted = [word for word in sys.argv[1:] if not word.startswith("--")]
    found = {}
    for address in ADDRESSES:
        if wanted and not any(word in address for word in wanted):
            continue
        is_page = address.startswith(("/security", "/admin"))
        ask = partial(browser.get, address) if is_page else partial(program.get, address, headers=headers)
        took = []
        for _ in range(RUNS):
            began = time.monotonic()
            answer = ask()
            took.append((time.monotonic() - began) * 1000)
            assert answer.status_code == 200, (address, answer.status_code, answer.content[:500])
        with CaptureQueriesContext(connection) as queries:
            ask()
        if "--queries" in sys.argv:
            for query in sorted(queries.captured_queries, key=lambda each: float(each["time"])):
                print(query["time"], query["sql"][:3000], file=sys.stderr)
        kilobytes = round(len(answer.content) / 1000)
        found[address] = [round(statistics.median(took)), round(max(took)), len(queries), kilobytes]
        print(*found[address], address, file=sys.stderr, flush=True)
    return {
        "addresses": found,
        "median_ms": max(numbers[0] for address, numbers in found.items() if address != "/metrics"),
        "queries": max(numbers[2] for numbers in found.values()),
    }


if __name__ == "__main__":
    main()
