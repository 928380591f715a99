"""What a scan found, stored once per distinct content and found by its hash."""

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from django.db import connection, models
from django.utils import timezone

from scanner.package_managers.interface import Dependencies, Installed, Report
from scanner.package_managers.interface import Update as FoundUpdate


class PackageSet(models.Model):
    """The installed packages of a snapshot, apart from it: updates come daily, what is installed changes seldom."""

    hash = models.CharField(max_length=64, unique=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

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
    needs = models.JSONField(default=list, help_text="The installed packages that it depends on.")

    class Meta:
        ordering = ["name", "architecture", "version"]
        indexes = [models.Index(fields=["package_set", "name"])]

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


class SnapshotQuerySet(models.QuerySet["Snapshot"]):
    def keep(self, report: Report) -> "Snapshot":
        """The snapshot of this content: the one there is, or a new one. Call it in a transaction."""
        package_set = keep_packages(report.packages, report.dependencies)
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

    objects = UpdateQuerySet.as_manager()

    class Meta:
        ordering = ["name", "architecture", "available_version"]
        indexes = [models.Index(fields=["snapshot", "name"])]

    def __str__(self) -> str:
        return f"{self.name} {self.installed_version} -> {self.available_version}"


def keep_packages(packages: Sequence[Installed], dependencies: Callable[[], Dependencies]) -> PackageSet:
    package_set, new = PackageSet.objects.get_or_create(hash=content_hash(packages))
    if new:
        needs = dependencies()
        insert(
            Package,
            (
                {
                    "package_set": package_set.pk,
                    "needs": needs.get((package.name, package.architecture), ()),
                    **fields(package),
                }
                for package in packages
            ),
        )
    return package_set


def insert(model: type[models.Model], rows: Iterable[dict[str, Any]]) -> None:
    """Many rows with a value for every column: by COPY, or one prepared statement, nine times as fast as by the ORM."""
    columns = {field.name: field for field in model._meta.concrete_fields if not isinstance(field, models.AutoField)}
    quoted = connection.ops.quote_name
    table, names = quoted(model._meta.db_table), ", ".join(quoted(str(field.column)) for field in columns.values())
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            with cursor.copy(f"COPY {table} ({names}) FROM STDIN") as copy:
                for row in rows:
                    copy.write_row(
                        [
                            json.dumps(row[name]) if isinstance(field, models.JSONField) else row[name]
                            for name, field in columns.items()
                        ]
                    )
            return
        prepared = [(name, field.get_db_prep_save) for name, field in columns.items()]
        values = ", ".join(["%s"] * len(columns))
        cursor.executemany(
            f"INSERT INTO {table} ({names}) VALUES ({values})",  # noqa: S608 - names of our own models
            [[prepare(row[name], connection) for name, prepare in prepared] for row in rows],
        )


def fields(value: Installed | FoundUpdate) -> dict[str, Any]:
    return {name: getattr(value, name) for name in value.__dataclass_fields__}


def content_hash(*parts: str | Iterable[Installed | FoundUpdate]) -> str:
    """SHA-256 of the content, whatever the order in which the package manager listed it."""
    digest = hashlib.sha256()
    for part in parts:
        lines = [part] if isinstance(part, str) else sorted(repr(tuple(fields(value).values())) for value in part)
        digest.update("\n".join([*lines, ""]).encode())
    return digest.hexdigest()
