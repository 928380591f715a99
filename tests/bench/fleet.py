"""What is kept of many hosts, after their feed has been read: matching stored package versions, and a feed's update."""

import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from django.db import connection
from django.utils import timezone

from scanner.models import Finding, Host, Package, PackageSet, PackageVersion, Scan, Snapshot
from scanner.models.inserting import insert
from scanner.vulnerabilities import findings, importing
from scanner.vulnerabilities.matching import Item

RELEASE = "debian:11"
HOSTS, SETS = 10_000, 500
VARIANTS = 10  # other versions of each package, of which every set has some
RUNS = 5
COLUMNS = "name, architecture, version, source, source_version, held, module, third_party, needs, skipped"


def figures(packages: Sequence[Sequence[str]], next_edition: Path) -> dict[str, Any]:
    """`packages`: binary name, version, architecture, source, source version."""
    return {**matching(packages), **fleet(packages, next_edition)}


def matching(packages: Sequence[Sequence[str]]) -> dict[str, Any]:
    """Of versions that the database has: with a new connection, and with the same one again."""
    items = [Item(*package) for package in packages]
    ids = sorted(set(PackageVersion.objects.keep(RELEASE, items)))
    versions = PackageVersion.objects.in_bulk(ids)
    cold = []
    for _ in range(RUNS):
        connection.close()
        cold.append(timed(lambda: list(findings.findings_of(RELEASE, versions))))
    warm = [timed(lambda: findings.candidates(RELEASE, ids)) for _ in range(RUNS)]
    return {
        "distinct_versions": len(ids),
        "match_cold_ms": round(1000 * statistics.median(cold)),
        "match_warm_ms": round(1000 * statistics.median(warm)),
    }


def fleet(packages: Sequence[Sequence[str]], next_edition: Path) -> dict[str, Any]:
    made = timed(lambda: make_fleet(packages))
    before = Finding.objects.count()
    took = timed(lambda: importing.refresh("debian", str(next_edition)))
    tallied = PackageSet.objects.exclude(tally=None).count()
    assert (tallied, Host.objects.exclude(current=None).count()) == (SETS, HOSTS)
    return {
        "hosts": HOSTS,
        "package_sets": SETS,
        "stored_packages": Package.objects.count(),
        "package_versions": PackageVersion.objects.count(),
        "stored_findings": before,
        "made_fleet_s": round(made, 1),
        "feed_update_of_fleet_s": round(took, 1),
    }


def make_fleet(packages: Sequence[Sequence[str]]) -> None:
    first = PackageSet.objects.create(hash="set 0", distribution=RELEASE)
    items = [Item(*package) for package in packages]
    ids = PackageVersion.objects.keep(RELEASE, items)
    empty = {"held": False, "module": "", "third_party": "", "needs": [], "skipped": ""}
    insert(
        Package,
        (
            {
                **dict(zip(("name", "version", "architecture", "source", "source_version"), package, strict=True)),
                **empty,
                "package_set": first.pk,
                "package_version": pk,
            }
            for package, pk in zip(packages, ids, strict=True)
        ),
    )
    with connection.cursor() as cursor:
        cursor.execute("CREATE TEMPORARY TABLE variants (base bigint, number int, variant bigint)")
        for number in range(VARIANTS):
            others = [Item(*package[:4], f"{package[4]}+{number}") for package in packages]
            pairs = zip(ids, PackageVersion.objects.keep(RELEASE, others), strict=True)
            rows = [(base, number, variant) for base, variant in dict(pairs).items()]
            cursor.executemany("INSERT INTO variants VALUES (%s, %s, %s)", rows)
        cursor.execute("CREATE INDEX ON variants (base, number)")
        sets = [first, *(PackageSet.objects.create(hash=f"set {n}", distribution=RELEASE) for n in range(1, SETS))]
        for number, package_set in enumerate(sets[1:]):
            cursor.execute(
                f"INSERT INTO scanner_package (package_set_id, package_version_id, {COLUMNS}) "  # noqa: S608 - ours
                f"SELECT %s, COALESCE(v.variant, p.package_version_id), {COLUMNS} FROM scanner_package p "
                "LEFT JOIN variants v ON v.base = p.package_version_id AND v.number = (p.id * 7919 + %s) %% 40 "
                "WHERE p.package_set_id = %s",
                [package_set.pk, number, first.pk],
            )
        cursor.execute("ANALYZE")
    findings.match(RELEASE, list(PackageVersion.objects.values_list("pk", flat=True)))
    snapshots = Snapshot.objects.bulk_create(
        Snapshot(hash=each.hash, package_manager="apt", package_set=each) for each in sets
    )
    hosts = Host.objects.bulk_create(Host(name=f"host-{number}") for number in range(HOSTS))
    known = {"state": "completed", "total_updates": 0, "security_updates": 0, "total_packages": len(packages)}
    scans = Scan.objects.bulk_create(
        Scan(host=host, trigger="api", snapshot=snapshots[number % SETS], finished_at=timezone.now(), **known)
        for number, host in enumerate(hosts)
    )
    for host, scan in zip(hosts, scans, strict=True):
        host.current = scan
    Host.objects.bulk_update(hosts, ["current"], batch_size=1000)


def timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
