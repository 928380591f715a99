"""The public shape of a scan: the one that the API, the socket, webhooks and the command line all use."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from scanner.models import Package, Scan, Update
from scanner.package_managers.interface import Installed
from scanner.package_managers.interface import Update as FoundUpdate

UPDATE_FIELDS = (
    "name",
    "architecture",
    "installed_version",
    "available_version",
    "source",
    "security",
    "reason",
    "origins",
    "advisories",
    "cves",
    "severity",
    "held",
    "blocked",
    "command",
)
PACKAGE_FIELDS = ("name", "architecture", "version", "source", "source_version")


def summary(scan: Scan) -> dict[str, Any]:
    """A scan without its lists, and how far it is."""
    level = scan.level
    return {
        "id": scan.pk,
        "host": scan.host.name,
        "state": str(scan.state),
        "error": scan.error or None,
        "next_step": scan.next_step or None,
        "gaps": scan.gaps,
        "notes": scan.notes,
        "package_manager": scan.package_manager or None,
        "scan_date": utc(scan.date),
        "metadata_date": utc(scan.metadata_date),
        "duration_seconds": round(scan.duration.total_seconds(), 3) if scan.duration else None,
        "status": level.status,
        "status_label": level.label,
        "security_updates": scan.security_updates,
        "total_updates": scan.total_updates,
        "total_packages": scan.total_packages,
        "pinned_security_updates": scan.pinned_security_updates,
        "reboot_required": scan.reboot_required,
        "reboot_reason": scan.reboot_reason or None,
        "services_to_restart": scan.services_to_restart,
        "services_reason": scan.services_reason or None,
        "trigger": str(scan.trigger),
        "requested_by": scan.requested_by or None,
        "progress": progress(scan) if scan.active else None,
        "url": scan.get_absolute_url() if scan.pk else None,
    }


def progress(scan: Scan) -> dict[str, Any]:
    """How far an active scan is. Of two, the one with the higher (attempt, percent) is the newer."""
    return {"step": scan.step, "percent": scan.percent, "detail": scan.detail, "attempt": scan.attempts}


def document(
    scan: Scan,
    updates: Iterable[Update | FoundUpdate] | None = None,
    packages: Iterable[Package | Installed] | None = None,
) -> dict[str, Any]:
    """A scan with its updates and packages: the stored ones, or, for a scan that is not stored, those given."""
    return {
        **summary(scan),
        "updates": [shape(row, UPDATE_FIELDS) for row in (scan.updates if updates is None else updates)],
        "packages": [shape(row, PACKAGE_FIELDS) for row in (scan.packages if packages is None else packages)],
    }


def shape(row: object, names: Iterable[str]) -> dict[str, Any]:
    return {name: getattr(row, name) for name in names}


def utc(date: datetime | None) -> str | None:
    """ISO 8601 in UTC with a Z, whole seconds."""
    return date.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if date else None
