"""Findings, kept in step with the feeds: of new versions when a scan brings them, of the others when a feed changes.

Each distinct version of a package is compared once with each generation of its feed, whatever the number of hosts that
have it: by one join over the sortable keys, whose few rows the pure rules of matching.py then judge.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import UTC
from typing import Any

from django.db import connection, transaction
from django.db.models import QuerySet
from django.utils.dateparse import parse_datetime

from scanner.models import AffectedPackage, Feed, Finding, KnownExploited, Package, PackageSet, PackageVersion
from scanner.models.finding import in_chunks
from scanner.models.inserting import insert
from scanner.models.snapshot import LookedUp
from scanner.models.vulnerability import ROW_FIELDS, row_of
from scanner.package_managers.interface import Installed, Report
from scanner.vulnerabilities import feeds
from scanner.vulnerabilities.kernels import not_counted
from scanner.vulnerabilities.matching import Item, Row, UnknownDistribution, family, judge, releases

# What one version is vulnerable to, and all rows of an advisory with several about one package: one of its fixes may
# be in. {name} and {key} are the columns of the lookup.
JOIN = """
    SELECT v.id, v.{key}, {columns}
    FROM scanner_packageversion v JOIN scanner_affectedpackage a ON a.name = v.{name}
    WHERE v.id IN ({ids}) AND a.distribution IN ({releases}) AND v.{key} IS NOT NULL AND (
        a.several
        OR (a.fixed_key IS NULL OR a.fixed_key > v.{key}) AND (a.introduced_key IS NULL OR a.introduced_key <= v.{key})
    )
"""
BY_NAME, BY_SOURCE = ("name", "key"), ("source", "source_key")

Progress = Callable[[int, int], None]
"""How many versions are done, of how many."""


def look_up(report: Report) -> list[LookedUp]:
    """For each package of a report, with the findings of all versions that nobody had before."""
    reasons = not_counted(report.packages, report.package_manager, report.kernel)
    counted = [item_of(package) for package, reason in zip(report.packages, reasons, strict=True) if not reason]
    try:
        ids: Sequence[int | None] = PackageVersion.objects.keep(report.distribution, counted)
    except UnknownDistribution:
        ids = [None] * len(counted)
    else:
        match(report.distribution, [pk for pk in ids if pk is not None])
    found = iter(ids)
    return [LookedUp(None if reason else next(found), reason) for reason in reasons]


def item_of(package: Installed) -> Item:
    return Item(
        package.name, package.version, package.architecture, package.source, package.source_version, package.module
    )


def has_data(distribution: str) -> bool:
    """Whether a feed says anything about this release: without, nothing is known of its vulnerabilities."""
    return AffectedPackage.objects.filter(distribution=distribution).exists()


def what_is_missing(distribution: str) -> str:
    """Why the vulnerabilities of a release are not known, in one sentence; "" where they are."""
    if not distribution:
        return "The scan did not tell which release this host has, so no feed can be asked about it."
    name = feeds.serving(distribution)
    if not name:
        return f"No feed is about {distribution}: what is known of CVEs is what its package manager says."
    feed = Feed.objects.filter(name=name).exclude(imported_at=None).first()
    if feed is None:
        return f"The feed about {distribution} has not been read yet, so what its vulnerabilities are is not known."
    if not has_data(distribution):
        return f"The feed {name} says nothing about {distribution}: it may be too old. That is no all-clear."
    return ""


def generation_of(distribution: str) -> int:
    feed = Feed.objects.filter(name=feeds.serving(distribution)).first()
    return feed.generation if feed else 0


# --- matching ---------------------------------------------------------------------------------------


def match(distribution: str, ids: Collection[int], progress: Progress | None = None) -> None:
    """Bring the findings of these versions up to the feed's generation; those that are there stay as they are."""
    generation = generation_of(distribution)  # read first: rows that come later are looked at again
    done = 0
    for some in in_chunks(sorted(set(ids))):
        with transaction.atomic():
            locked = PackageVersion.objects.select_for_update().filter(pk__in=some).order_by("pk")
            behind = {version.pk: version for version in locked.exclude(generation=generation)}
            rematch(distribution, behind, generation)
        done += len(some)
        if progress:
            progress(done, len(ids))


def rematch(distribution: str, versions: Mapping[int, PackageVersion], generation: int) -> None:
    if not versions:
        return
    Finding.objects.filter(package_version__in=list(versions)).delete()
    insert(Finding, list(findings_of(distribution, versions)))  # a list: while rows are copied nothing can be read
    PackageVersion.objects.filter(pk__in=list(versions)).update(generation=generation)


def findings_of(distribution: str, versions: Mapping[int, PackageVersion]) -> Iterator[dict[str, Any]]:
    """Rows of Finding."""
    for pk, rows in candidates(distribution, list(versions)).items():
        seen = set()
        for finding in judge(versions[pk].as_item(), rows, distribution):
            if (finding.cve, finding.advisory) in seen:  # of two lookups that say the same
                continue
            seen.add((finding.cve, finding.advisory))
            yield {
                "package_version": pk,
                "cve": finding.cve,
                "advisory": finding.advisory,
                "status": finding.status,
                "fixed_version": finding.fixed_version,
                "fixed_key": finding.fixed_key,
                "severity": finding.severity,
                "reason": finding.reason,
                "url": finding.url,
                "published": finding.published,
            }


def candidates(distribution: str, ids: Sequence[int]) -> dict[int, list[tuple[Row, bytes]]]:
    """By version: the rows that may concern it, each with the key that it is to be compared with."""
    about = releases(distribution)
    _, kinds = family(distribution)
    found: dict[int, list[tuple[Row, bytes]]] = defaultdict(list)
    with connection.cursor() as cursor:
        for name, key in (BY_NAME, BY_SOURCE) if len(kinds) > 1 else (BY_NAME,):
            statement = JOIN.format(
                name=name,
                key=key,
                columns=", ".join(f"a.{column}" for column in ROW_FIELDS),
                ids=", ".join(["%s"] * len(ids)),
                releases=", ".join(["%s"] * len(about)),
            )
            cursor.execute(statement, [*ids, *about])
            for pk, key_of_version, *values in cursor:
                found[pk].append((read_row(values), bytes(key_of_version)))
    return found


def read_row(values: list[Any]) -> Row:
    """A row as the database's driver gives it: JSON as text, and SQLite's times as well."""
    cves, published = ROW_FIELDS.index("cves"), ROW_FIELDS.index("published")
    values[cves] = json.loads(values[cves]) if isinstance(values[cves], str) else values[cves]
    if isinstance(values[published], str) and (at := parse_datetime(values[published])):
        values[published] = at if at.tzinfo else at.replace(tzinfo=UTC)
    return row_of(tuple(values))


# --- after a feed has changed -----------------------------------------------------------------------


def follow(feed: Feed, changed: Collection[tuple[str, str]], progress: Progress | None = None) -> int:
    """Bring what hosts have up to a feed whose rows about these (distribution, name) have changed.

    Answers how many versions were compared anew. What an interrupted run left behind is compared whatever its name.
    """
    compared = 0
    for distribution in distributions_of(feed.name):
        versions = PackageVersion.objects.filter(distribution=distribution)
        about = set(releases(distribution))
        names = {name for release, name in changed if release in about}
        mark_changed(versions.filter(generation=feed.generation - 1), names, feed.generation)
        ids = list(versions.exclude(generation=feed.generation).values_list("pk", flat=True))
        match(distribution, ids, progress)
        compared += len(ids)
    if compared or feed.name == "kev":
        tally(PackageSet.objects.current())
    return compared


def catch_up() -> int:
    """Compare what a scan matched while its feed was being replaced. Answers how many versions that were."""
    compared = 0
    for distribution in PackageVersion.objects.values_list("distribution", flat=True).distinct():
        behind = PackageVersion.objects.filter(distribution=distribution)
        ids = list(behind.exclude(generation=generation_of(distribution)).values_list("pk", flat=True))
        match(distribution, ids)
        compared += len(ids)
    if compared:
        tally(PackageSet.objects.current())
    return compared


def distributions_of(feed_name: str) -> list[str]:
    """The releases of hosts that a feed serves."""
    known = PackageVersion.objects.values_list("distribution", flat=True).distinct()
    return [distribution for distribution in known if feeds.serving(distribution) == feed_name]


def mark_changed(versions: QuerySet[PackageVersion], names: Collection[str], generation: int) -> None:
    """Of versions that are one generation behind, only those of these names have to be compared again."""
    touched = [
        pk
        for pk, name, source in versions.values_list("pk", "name", "source").iterator()
        if name in names or source in names
    ]
    for some in in_chunks(touched):
        PackageVersion.objects.filter(pk__in=some).update(generation=None)
    versions.update(generation=generation)


# --- counts of a package set ------------------------------------------------------------------------

SETS = 50  # package sets that are counted at once: some 100,000 pairs of a set and a version


def tally(package_sets: Iterable[PackageSet]) -> None:
    """Count, for each set, the CVEs by status and those that are known to be exploited; None where no feed tells."""
    sets = list(package_sets)
    with_data = {name for name in {each.distribution for each in sets} if name and has_data(name)}
    exploited = frozenset(KnownExploited.objects.values_list("pk", flat=True))
    known: dict[int, list[tuple[str, str]]] = {}
    changed = []
    for start in range(0, len(sets), SETS):
        some = {each.pk: each for each in sets[start : start + SETS]}
        versions = versions_of([pk for pk, each in some.items() if each.distribution in with_data])
        load_findings({pk for pks in versions.values() for pk in pks}, known)
        for pk, package_set in some.items():
            found = {pair for version in versions.get(pk, ()) for pair in known[version]}
            now = counts(found, exploited) if package_set.distribution in with_data else None
            if now != package_set.tally:
                package_set.tally = now
                changed.append(package_set)
    PackageSet.objects.bulk_update(changed, ["tally"], batch_size=500)


def versions_of(package_sets: Collection[int]) -> dict[int, list[int]]:
    """By set: the versions in it that something is known of."""
    found: dict[int, list[int]] = defaultdict(list)
    packages = Package.objects.filter(
        package_set__in=package_sets, package_version__in=Finding.objects.values("package_version")
    )
    for package_set, version in packages.values_list("package_set", "package_version").distinct().order_by():
        found[package_set].append(version)
    return found


def load_findings(versions: Collection[int], known: dict[int, list[tuple[str, str]]]) -> None:
    """Add the status and the CVE, or the advisory that names none, of each finding of these versions."""
    missing = sorted(pk for pk in versions if pk not in known)
    for some in in_chunks(missing):
        known.update((pk, []) for pk in some)
        rows = Finding.objects.filter(package_version__in=some)
        for pk, status, cve, advisory in rows.values_list("package_version", "status", "cve", "advisory"):
            known[pk].append((status, cve or advisory))


def counts(found: Iterable[tuple[str, str]], exploited: Collection[str]) -> dict[str, int]:
    """{"fixed": 12, "open": 3, "exploited": 1}; what is none is left out."""
    found = list(found)
    numbers = Counter(status for status, _ in found)
    numbers["exploited"] = len({cve for _, cve in found if cve in exploited})
    return {name: number for name, number in numbers.items() if number}
