"""A feed, from top to bottom: get its file, read it, put what is new in the place of what is gone, and match the hosts.

All that one reading changes is one transaction: whoever matches meanwhile sees the feed as it was, and a file that
cannot be read leaves it so.
"""

import fcntl
import hashlib
import os
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from itertools import islice
from operator import attrgetter
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import connection, transaction
from django.db.models import Count
from django.utils import timezone

from scanner.models import AffectedPackage, ExploitScore, Feed, Host, KnownExploited, Vulnerability
from scanner.models.finding import in_chunks
from scanner.models.inserting import insert
from scanner.vulnerabilities import delta, feeds, matching
from scanner.vulnerabilities.fetching import Fetched, Kept, check_shrunk, fetch
from scanner.vulnerabilities.findings import follow
from scanner.vulnerabilities.interface import Affected, Details, Entry, Exploited, FeedError, Score
from scanner.vulnerabilities.interface import Feed as Reader
from scanner.vulnerabilities.matching import UnknownDistribution, family

BATCH = 5000  # entries between two writes

Progress = Callable[[str, int, int | None], None]
"""Told what is being done, how far it is, and how much there is where that is known."""


def refresh(
    name: str, source: str = "", distributions: Collection[str] | None = None, say: Progress | None = None
) -> Feed:
    """Read a feed anew if it has changed. `distributions`: the releases to keep; None means all. Raises FeedError."""
    reader = feeds.make(name, distributions)
    source = source or settings.FEED_SOURCES.get(name) or reader.address
    row, _ = Feed.objects.get_or_create(name=name)
    progress = Steps(row, say or (lambda *_: None))
    with alone(name):
        return refresh_alone(row, reader, source, distributions, progress)


@contextmanager
def alone(name: str) -> Iterator[None]:
    """One refresh of a feed at a time on this machine: two would write the same file."""
    with (folder() / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def refresh_alone(
    row: Feed, reader: Reader, source: str, distributions: Collection[str] | None, progress: "Steps"
) -> Feed:
    row.refresh_from_db()
    name, wanted = row.name, sorted(distributions or ())
    kept = Kept(name, row.source, row.etag, row.last_modified, row.sha256, row.size)
    known = bool(row.imported_at) and row.distributions == wanted
    try:
        progress("fetching", 0, None)
        since = delta.remembered(name, source, folder()) if known else None
        changes = delta.fetch(name, source, folder(), since) if delta.applies(source) else delta.Changes()
        if changes.ids is not None:
            changed = read(row, reader, changes.folder, wanted, progress, only=changes.ids) if changes.ids else None
            seen = {}
        else:
            fetched = fetch(source, kept, folder(), lambda done, total: progress("fetching", done, total))
            changed = None if fetched.unchanged and known else read(row, reader, fetched.path, wanted, progress)
            seen = remembered_of(fetched)
        if changed is not None:
            row.refresh_from_db()
            follow(row, changed, lambda done, total: progress("matching", done, total))
        delta.remember(name, source, folder(), changes.newest, whole=changes.ids is None)
    except FeedError as error:
        Feed.objects.filter(pk=row.pk).update(error=str(error), checked_at=timezone.now())
        raise
    finally:
        progress.end()
    Feed.objects.filter(pk=row.pk).update(**seen, source=source[:500], error="", checked_at=timezone.now())
    row.refresh_from_db()
    return row


def remembered_of(fetched: Fetched) -> dict[str, Any]:
    """What the next refresh asks with."""
    if fetched.path.parent == folder():
        os.utime(fetched.path)  # as old as the last time that its publisher confirmed it; pacman's scans go by that
    sums = {"sha256": fetched.sha256, "size": fetched.size}
    return {"etag": fetched.etag, "last_modified": fetched.last_modified, **sums}


class Steps:
    """Tells how far a refresh is: each step in the row, which pages read, and all there is to whoever started it."""

    def __init__(self, feed: Feed, say: Progress) -> None:
        self.feed, self.say, self.step = feed, say, ""

    def __call__(self, step: str, done: int, total: int | None) -> None:
        if step != self.step:
            self.save(step)
        self.say(step, done, total)

    def save(self, step: str) -> None:
        self.step = step
        Feed.objects.filter(pk=self.feed.pk).update(step=step, step_since=timezone.now() if step else None)

    def end(self) -> None:
        self.save("")


def wanted_feeds() -> list[str]:
    """The names of the feeds that are to be kept fresh: those of the settings, or those that some host needs."""
    return feeds.needed(host_releases()) if settings.FEEDS == ["auto"] else list(settings.FEEDS)


def wanted_releases(name: str) -> list[str] | None:
    """The releases whose rows a refresh on its own should keep: those of the hosts, and those that are there already.

    None means all: somebody has read them all, or named the feed in the settings.
    """
    row = Feed.objects.filter(name=name).first()
    if settings.FEEDS != ["auto"] or (row and row.imported_at and not row.distributions):
        return None
    own = {each for release in host_releases() if feeds.serving(release) == name for each in matching.releases(release)}
    return sorted(own.union(row.distributions if row else ())) or None


def host_releases() -> list[str]:
    current = Host.objects.active().exclude(current_distribution="")
    return sorted(set(current.values_list("current_distribution", flat=True)))


def folder() -> Path:
    place = settings.SCANNER_DATA / "feeds"
    place.mkdir(exist_ok=True)
    return place


def read(
    row: Feed, reader: Reader, path: Path, wanted: list[str], progress: Steps, *, only: Collection[str] = ()
) -> set[tuple[str, str]]:
    """Answers the (distribution, name) of all rows that came, or went. `only`: the advisories that `path` is about,
    where it is not all of the feed; what is known of others stays."""
    progress("reading", 0, None)  # saved before the transaction hides it from others
    with transaction.atomic():
        before = Feed.objects.select_for_update().get(pk=row.pk)
        writer = Writer(before, only)
        entries = reader.parse(path)
        while batch := list(islice(entries, BATCH)):
            writer.write(batch)
            progress("reading", writer.count, None)
        if before.distributions == wanted and not only:
            check_shrunk(before.rows, writer.count)
        writer.finish()
        if only:
            before.rows = AffectedPackage.objects.filter(feed=before).count()
        else:
            before.rows, before.dropped = writer.count, reader.dropped + writer.dropped
        before.distributions, before.imported_at = wanted, timezone.now()
        before.generation += bool(writer.changed)
        before.save()
    return writer.changed


class Writer:
    """Writes what a feed says, and only what it did not say before."""

    def __init__(self, feed: Feed, only: Collection[str] = ()) -> None:
        self.feed = feed
        self.count = self.dropped = 0
        packages = AffectedPackage.objects.filter(feed=feed)
        if only:
            packages = packages.filter(advisory__in=only)
        self.packages = {bytes(digest): pk for pk, digest in packages.values_list("pk", "digest").iterator()}
        self.known: dict[str, bytes] | None = None  # of CVEs, once somebody asks
        self.replaced: set[type[Any]] = set()  # tables that are emptied first
        self.changed: set[tuple[str, str]] = set()  # distribution and name of the rows that came or went

    def write(self, entries: Iterable[Entry]) -> None:
        by_type: dict[type[Any], list[Any]] = {}
        for entry in entries:
            by_type.setdefault(type(entry), []).append(entry)
        self.count += sum(len(of_type) for kind, of_type in by_type.items() if kind is not Details)
        insert(AffectedPackage, self.new_packages(by_type.get(Affected, ())))
        self.write_details(by_type.get(Details, ()))
        self.replace(ExploitScore, (fields(score) for score in by_type.get(Score, ())))
        self.replace(KnownExploited, (fields(exploited) for exploited in by_type.get(Exploited, ())))

    def finish(self) -> None:
        """What the feed no longer says goes."""
        for some in in_chunks(list(self.packages.values())):
            gone = AffectedPackage.objects.filter(pk__in=some)
            self.changed.update(gone.values_list("distribution", "name"))
            gone.delete()
        if self.changed:
            mark_several(self.feed)
            analyze(AffectedPackage)

    def new_packages(self, affected: Iterable[Affected]) -> Iterator[dict[str, Any]]:
        for entry in affected:
            digest = hashlib.blake2b(repr(ALL_OF_A_ROW(entry)).encode(), digest_size=16).digest()
            if self.packages.pop(digest, None) is not None:
                continue
            try:
                keys = keys_of(entry)
            except (ValueError, UnknownDistribution):
                self.dropped += 1
                continue
            self.changed.add((entry.distribution, entry.name))
            own = {"cves": list(entry.cves), "feed": self.feed.pk, "several": False, "digest": digest}
            values = {**fields(entry), **keys, **own}
            del values["introduced"], values["last_affected"]
            yield values

    def write_details(self, details: Iterable[Details]) -> None:
        if not details:
            return
        if self.known is None:
            self.known = {row[0]: digest_of(row) for row in Vulnerability.objects.values_list(*DETAILS).iterator()}
        new, changed = [], []
        for entry in details:
            digest = digest_of(ALL_OF_DETAILS(entry))
            if entry.cve not in self.known:
                new.append(fields(entry))
            elif self.known[entry.cve] != digest:
                changed.append(Vulnerability(**fields(entry)))
            self.known[entry.cve] = digest
        insert(Vulnerability, new)
        Vulnerability.objects.bulk_update(changed, DETAILS[1:], batch_size=500)

    def replace(self, model: type[Any], rows: Iterable[dict[str, Any]]) -> None:
        rows = list(rows)
        if rows and model not in self.replaced:
            model.objects.all().delete()
            self.replaced.add(model)
        insert(model, rows)


def mark_several(feed: Feed) -> None:
    """Mark the rows of advisories that have several about one package: matching has to look at them together."""
    rows = AffectedPackage.objects.filter(feed=feed)
    about = ("distribution", "name", "advisory")
    several = rows.values_list(*about).annotate(number=Count("pk")).filter(number__gt=1).order_by()
    rows.filter(several=True).update(several=False)
    for distribution, name, advisory, _ in list(several):
        rows.filter(distribution=distribution, name=name, advisory=advisory).update(several=True)


def analyze(model: type[Any]) -> None:
    """Tell the database's planner what the table holds now, before the hosts are matched with it."""
    with connection.cursor() as cursor:
        cursor.execute(f"ANALYZE {connection.ops.quote_name(model._meta.db_table)}")


ALL_OF_A_ROW = attrgetter(*Affected.__dataclass_fields__)  # a third of the time of dataclasses.astuple
DETAILS = ("cve", "summary", "cvss_vector", "severity", "published")
ALL_OF_DETAILS = attrgetter(*DETAILS)


def digest_of(values: Iterable[Any]) -> bytes:
    return hashlib.blake2b(repr(tuple(values)).encode(), digest_size=8).digest()


def fields(entry: Any) -> dict[str, Any]:
    return {name: getattr(entry, name) for name in entry.__dataclass_fields__}


def keys_of(entry: Affected) -> dict[str, bytes | None]:
    """Raises ValueError for what is no version."""
    release = entry.distribution
    versions = {"fixed": entry.fixed_version, "introduced": entry.introduced, "last_affected": entry.last_affected}
    return {f"{name}_key": key_of(release, version) if version else None for name, version in versions.items()}


@lru_cache(10_000)
def key_of(distribution: str, version: str) -> bytes:
    """One fix is often that of many CVEs, one after the other."""
    key, _ = family(distribution.replace("ubuntu-pro:", "ubuntu:", 1))
    return key(version)
