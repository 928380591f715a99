"""What a scan found, stored once per distinct content and found by its hash."""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from django.db import models
from django.utils import timezone

from scanner import dependency_graph
from scanner.dependency_graph import Graph
from scanner.models.finding import PackageVersion
from scanner.models.host import Host
from scanner.models.inserting import insert
from scanner.package_managers.interface import Installed, Report
from scanner.package_managers.interface import Update as FoundUpdate


class LookedUp(NamedTuple):
    """What is known of a package of a new set: the version that feeds know it by, or why nobody looks it up."""

    package_version: int | None
    skipped: str


LookUp = Callable[[Report], Sequence[LookedUp]]
"""For each package of a report; vulnerabilities.findings.look_up does it."""


class PackageSetQuerySet(models.QuerySet["PackageSet"]):
    def current(self) -> "PackageSetQuerySet":
        """Those that a host's newest scan with counts has found."""
        return self.filter(pk__in=Host.objects.exclude(current_snapshot=None).values("current_snapshot__package_set"))

    def keep(self, report: Report, look_up: LookUp) -> "PackageSet":
        package_set, new = self.get_or_create(
            hash=content_hash(report.distribution, report.kernel, report.packages),
            defaults={"distribution": report.distribution, "kernel": report.kernel},
        )
        if new:
            needs = report.dependencies()
            insert(
                Package,
                (
                    {
                        "package_set": package_set.pk,
                        "needs": needs.get((package.name, package.architecture), ()),
                        "package_version": found.package_version,
                        "skipped": found.skipped,
                        **fields(package),
                        "module": package.module[:100],  # these two are somebody else's words, of any length
                        "third_party": package.third_party[:255],
                    }
                    for package, found in zip(report.packages, look_up(report), strict=True)
                ),
            )
        return package_set


class PackageSet(models.Model):
    """The installed packages of a snapshot, apart from it: updates come daily, what is installed changes seldom.

    The release and the running kernel belong to it, since the vulnerabilities depend on them.
    """

    hash = models.CharField(max_length=64, unique=True)
    distribution = models.CharField(max_length=40, blank=True, help_text="As feeds name it: debian:12")
    kernel = models.CharField(max_length=100, blank=True, help_text="That runs; empty: unknown.")
    tally = models.JSONField(
        null=True, help_text="How many CVEs have which status, and are exploited; null: no feed tells."
    )
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    objects = PackageSetQuerySet.as_manager()

    def graph(self) -> Graph:
        """Which of its packages needs which."""
        return dependency_graph.build(self.packages.order_by().values_list("name", "architecture", "needs"))

    def __str__(self) -> str:
        return self.hash[:12]


class Package(models.Model):
    """One installed package."""

    package_set = models.ForeignKey(PackageSet, on_delete=models.CASCADE, related_name="packages")
    name = models.CharField(max_length=255)
    architecture = models.CharField(max_length=32)
    version = models.CharField(max_length=255)
    source = models.CharField(max_length=255, blank=True)
    source_version = models.CharField(max_length=255, blank=True)
    held = models.BooleanField(default=False)
    module = models.CharField(max_length=100, blank=True, help_text="Its module stream: perl:5.32")
    third_party = models.CharField(max_length=255, blank=True, help_text="Where it comes from, if not the distribution")
    needs = models.JSONField(default=list, help_text="The installed packages that it depends on.")
    package_version = models.ForeignKey(
        PackageVersion, on_delete=models.SET_NULL, null=True, related_name="packages", help_text="As feeds know it."
    )
    skipped = models.CharField(max_length=400, blank=True, help_text="Why its vulnerabilities are not looked up.")

    class Meta:
        ordering = ["name", "architecture", "version"]
        indexes = [
            models.Index(fields=["package_set", "name"]),
            models.Index(fields=["name"]),
            models.Index(fields=["source"]),
        ]

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


class SnapshotQuerySet(models.QuerySet["Snapshot"]):
    def keep(self, report: Report, look_up: LookUp) -> "Snapshot":
        """The snapshot of this content: the one there is, or a new one. Call it in a transaction."""
        package_set = PackageSet.objects.keep(report, look_up)
        updates = report.findings.updates
        snapshot, new = self.get_or_create(
            hash=content_hash(report.package_manager, package_set.hash, updates),
            defaults={"package_manager": report.package_manager, "package_set": package_set},
        )
        if new:
            insert(Update, ({"snapshot": snapshot.pk, **fields(update)} for update in updates))
        return snapshot


class Snapshot(models.Model):
    """Installed packages and available updates, exactly as one or many scans found them."""

    hash = models.CharField(max_length=64, unique=True)
    package_manager = models.CharField(max_length=20)
    package_set = models.ForeignKey(PackageSet, on_delete=models.PROTECT, related_name="snapshots")
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    objects = SnapshotQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at"]

    def __str__(self) -> str:
        return self.hash[:12]


class UpdateQuerySet(models.QuerySet["Update"]):
    def counted(self) -> "UpdateQuerySet":
        """What the totals count: a pinned version lies above what the host would install."""
        return self.exclude(blocked="pinned")

    def security(self) -> "UpdateQuerySet":
        """Known security updates that the host would install: what `security_updates` counts."""
        return self.counted().filter(security=True)

    def others(self) -> "UpdateQuerySet":
        return self.counted().exclude(security=True)

    def pinned(self) -> "UpdateQuerySet":
        return self.filter(blocked="pinned")


class Update(models.Model):
    """One available update of a snapshot; the fields of package_managers.interface.Update."""

    snapshot = models.ForeignKey(Snapshot, on_delete=models.CASCADE, related_name="updates")
    name = models.CharField(max_length=255)
    architecture = models.CharField(max_length=32)
    installed_version = models.CharField(max_length=255)
    available_version = models.CharField(max_length=255)
    source = models.CharField(max_length=255, blank=True)
    security = models.BooleanField(null=True)
    reason = models.TextField()
    origins = models.JSONField(default=list)
    advisories = models.JSONField(default=list)
    cves = models.JSONField(default=list)
    severity = models.CharField(max_length=32, blank=True)
    held = models.BooleanField(default=False)
    blocked = models.CharField(max_length=20, null=True, blank=True)
    command = models.TextField(blank=True)
    available_source_version = models.CharField(max_length=255, blank=True)
    published = models.DateTimeField(null=True, help_text="When its newest security advisory was issued.")

    objects = UpdateQuerySet.as_manager()

    class Meta:
        ordering = ["name", "architecture", "available_version"]
        indexes = [models.Index(fields=["snapshot", "name"])]

    def __str__(self) -> str:
        return f"{self.name} {self.installed_version} -> {self.available_version}"


def fields(value: Installed | FoundUpdate) -> dict[str, Any]:
    return {name: getattr(value, name) for name in value.__dataclass_fields__}


def content_hash(*parts: str | Iterable[Installed | FoundUpdate]) -> str:
    """SHA-256 of the content, whatever the order in which the package manager listed it."""
    digest = hashlib.sha256()
    for part in parts:
        lines = [part] if isinstance(part, str) else sorted(repr(tuple(fields(value).values())) for value in part)
        digest.update("\n".join([*lines, ""]).encode())
    return digest.hexdigest()
