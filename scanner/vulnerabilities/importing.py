"""A feed, from top to bottom: get its file, read it, and put what is new in the place of what is gone.

All that one reading changes is one transaction: whoever matches meanwhile sees the feed as it was, and a file that
cannot be read leaves it so.
"""

import hashlib
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import astuple
from itertools import islice
from typing import Any

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from scanner.models import AffectedPackage, ExploitScore, Feed, KnownExploited, Vulnerability
from scanner.models.snapshot import insert
from scanner.vulnerabilities import feeds
from scanner.vulnerabilities.fetching import Fetched, Kept, check_shrunk, fetch
from scanner.vulnerabilities.interface import Affected, Details, Entry, Exploited, FeedError, Score
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
    wanted = sorted(distributions or ())
    kept = Kept(name, row.source, row.etag, row.last_modified, row.sha256, row.size)
    say = say or (lambda *_: None)
    try:
        fetched = fetch(source, kept, folder(), lambda done, total: say("fetching", done, total))
        if not (fetched.unchanged and row.imported_at and row.distributions == wanted):
            read(row, reader, fetched, wanted, say)
    except FeedError as error:
        Feed.objects.filter(pk=row.pk).update(error=str(error), checked_at=timezone.now())
        raise
    seen = {"etag": fetched.etag, "last_modified": fetched.last_modified, "source": source[:500]}
    Feed.objects.filter(pk=row.pk).update(**seen, error="", checked_at=timezone.now())
    row.refresh_from_db()
    return row


def folder() -> Any:
    place = settings.SCANNER_DATA / "feeds"
    place.mkdir(exist_ok=True)
    return place


def read(row: Feed, reader: Any, fetched: Fetched, wanted: list[str], say: Progress) -> None:
    with transaction.atomic():
        before = Feed.objects.select_for_update().get(pk=row.pk)
        writer = Writer(before)
        entries = reader.parse(fetched.path)
        while batch := list(islice(entries, BATCH)):
            writer.write(batch)
            say("reading", writer.count, None)
        if before.distributions == wanted:
            check_shrunk(before.rows, writer.count)
        writer.finish()
        before.rows, before.dropped = writer.count, reader.dropped + writer.dropped
        before.sha256, before.size = fetched.sha256, fetched.size
        before.distributions, before.imported_at = wanted, timezone.now()
        before.save()


class Writer:
    """Writes what a feed says, and only what it did not say before."""

    def __init__(self, feed: Feed) -> None:
        self.feed = feed
        self.count = self.dropped = 0
        packages = AffectedPackage.objects.filter(feed=feed)
        self.packages = {bytes(digest): pk for pk, digest in packages.values_list("pk", "digest").iterator()}
        self.known: dict[str, bytes] | None = None  # of CVEs, once somebody asks
        self.replaced: set[type[Any]] = set()  # tables that are emptied first

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
        gone = list(self.packages.values())
        for start in range(0, len(gone), BATCH):
            AffectedPackage.objects.filter(pk__in=gone[start : start + BATCH]).delete()

    def new_packages(self, affected: Iterable[Affected]) -> Iterator[dict[str, Any]]:
        for entry in affected:
            digest = hashlib.blake2b(repr(astuple(entry)).encode(), digest_size=16).digest()
            if self.packages.pop(digest, None) is not None:
                continue
            try:
                keys = keys_of(entry)
            except (ValueError, UnknownDistribution):
                self.dropped += 1
                continue
            values = {**fields(entry), **keys, "cves": list(entry.cves), "feed": self.feed.pk, "digest": digest}
            del values["introduced"], values["last_affected"]
            yield values

    def write_details(self, details: Iterable[Details]) -> None:
        if not details:
            return
        if self.known is None:
            self.known = {row[0]: digest_of(row) for row in Vulnerability.objects.values_list(*DETAILS).iterator()}
        new, changed = [], []
        for entry in details:
            digest = digest_of(astuple(entry))
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


DETAILS = ("cve", "summary", "cvss_vector", "severity", "published")


def digest_of(values: Iterable[Any]) -> bytes:
    return hashlib.blake2b(repr(tuple(values)).encode(), digest_size=8).digest()


def fields(entry: Any) -> dict[str, Any]:
    return {name: getattr(entry, name) for name in entry.__dataclass_fields__}


def keys_of(entry: Affected) -> dict[str, bytes | None]:
    """Raises ValueError for what is no version."""
    key, _ = family(entry.distribution.replace("ubuntu-pro:", "ubuntu:", 1))
    versions = {"fixed": entry.fixed_version, "introduced": entry.introduced, "last_affected": entry.last_affected}
    return {f"{name}_key": key(version) if version else None for name, version in versions.items()}
