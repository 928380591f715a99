"""Which installed packages are vulnerable, derived from what feeds say: once per distinct version, not per host."""

import hashlib
from collections.abc import Iterator, Sequence
from typing import TypeVar

from django.db import IntegrityError, models, transaction
from django.db.models import F, Value
from django.db.models.functions import Coalesce, NullIf

from scanner.models.inserting import insert
from scanner.vulnerabilities.matching import Item, Key, asked_for, family


class PackageVersionQuerySet(models.QuerySet["PackageVersion"]):
    def keep(self, distribution: str, items: Sequence[Item]) -> list[int]:
        """The id of each item's version; what is new is written. Raises UnknownDistribution."""
        key, _ = family(distribution)
        asked = [asked_for(item, distribution) for item in items]
        ids = [id_of(distribution, item) for item in asked]
        wanted = dict(zip(ids, asked, strict=True))
        known = {pk for some in in_chunks(list(wanted)) for pk in self.filter(pk__in=some).values_list("pk", flat=True)}
        new = [
            {
                "id": pk,
                "distribution": distribution,
                "name": item.name,
                "version": item.version,
                "architecture": item.architecture,
                "module": item.module,
                "source": item.source,
                "source_version": item.source_version,
                "key": key_of(key, item.version),
                "source_key": key_of(key, item.source_version) if item.source else None,
                "generation": None,
            }
            for pk, item in sorted(wanted.items())  # in one order, so that two scans do not wait for each other
            if pk not in known
        ]
        try:
            with transaction.atomic():
                insert(PackageVersion, new)
        except IntegrityError:  # another scan has brought some of them meanwhile
            PackageVersion.objects.bulk_create([PackageVersion(**values) for values in new], ignore_conflicts=True)
        return ids


class PackageVersion(models.Model):
    """A version of a package as the feeds of its distribution name it: for Debian's and Ubuntu's a source package.

    Its id is a hash of what it is, so that nobody has to look it up.
    """

    id = models.BigIntegerField(primary_key=True)
    distribution = models.CharField(max_length=40)
    name = models.CharField(max_length=255)
    version = models.CharField(max_length=255)
    architecture = models.CharField(max_length=32, blank=True)
    module = models.CharField(max_length=100, blank=True)
    source = models.CharField(max_length=255, blank=True, help_text="Where feeds may name either: the other name.")
    source_version = models.CharField(max_length=255, blank=True)
    key = models.BinaryField(null=True, help_text="Sorts as the version does; null: no version of that manager.")
    source_key = models.BinaryField(null=True)
    generation = models.PositiveIntegerField(null=True, help_text="Of the feed that the findings are by; null: none.")

    objects = PackageVersionQuerySet.as_manager()

    class Meta:
        indexes = [
            models.Index(fields=["distribution", "name"]),
            models.Index(fields=["distribution", "source"], condition=~models.Q(source=""), name="versions_by_source"),
            models.Index(fields=["distribution", "generation"]),
        ]

    def __str__(self) -> str:
        return f"{self.name} {self.version} of {self.distribution}"

    def as_item(self) -> Item:
        return Item(self.name, self.version, self.architecture, self.source, self.source_version, self.module)


class Finding(models.Model):
    """A CVE, or an advisory that names none, that a version of a package is vulnerable to.

    vulnerabilities.matching.Finding tells what the fields mean.
    """

    package_version = models.ForeignKey(PackageVersion, on_delete=models.CASCADE, related_name="findings")
    cve = models.CharField(max_length=30, blank=True)
    advisory = models.CharField(max_length=100)
    status = models.CharField(max_length=20)
    fixed_version = models.CharField(max_length=255, blank=True)
    fixed_key = models.BinaryField(null=True)
    severity = models.CharField(max_length=40, blank=True)
    reason = models.TextField(blank=True, help_text="In the vendor's words: why there is no fix.")
    url = models.CharField(max_length=500, blank=True)
    published = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["package_version", "cve", "advisory"], name="one_finding_a_cve"),
        ]
        indexes = [models.Index(fields=["cve"])]

    def __str__(self) -> str:
        return f"{self.cve or self.advisory} in {self.package_version_id}"


Each = TypeVar("Each")
CHUNK = 10_000  # values in one statement; SQLite takes 32,766


def in_chunks(values: Sequence[Each]) -> Iterator[Sequence[Each]]:
    for start in range(0, len(values), CHUNK):
        yield values[start : start + CHUNK]


STATED = Coalesce(NullIf("cve", Value("")), F("advisory"))
"""What a finding is counted by: its CVE, or the advisory that names none."""


def id_of(distribution: str, item: Item) -> int:
    """63 bits of a hash: among a million versions the chance that two share one is 1 to 10 million."""
    text = "\n".join(
        (distribution, item.name, item.version, item.architecture, item.module, item.source, item.source_version)
    )
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest()) >> 1


def key_of(key: Key, version: str) -> bytes | None:
    try:
        return key(version)
    except ValueError:
        return None
