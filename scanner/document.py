"""The public shape of a scan: the one that the API, the socket, webhooks and the command line all use."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from scanner import run_time
from scanner.models import Package, Scan, Update
from scanner.package_managers.interface import Installed
from scanner.package_managers.interface import Update as FoundUpdate
from scanner.vulnerabilities.exposure import UNKNOWN, Fix, fixes, identity, standing
from scanner.vulnerabilities.urgency import SCALE

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
PACKAGE_FIELDS = ("name", "architecture", "version", "source", "source_version", "module", "third_party")


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
        "distribution": scan.distribution or None,
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
    ranked = fixes(scan) if scan.pk else None
    by_update = {identity(row.update): row for row in ranked or ()}
    return {
        **summary(scan),
        **exposed(scan, ranked),
        "updates": [
            update_shape(row, by_update.get(identity(row))) for row in (scan.updates if updates is None else updates)
        ],
        "packages": list(scan.packages.values(*PACKAGE_FIELDS))
        if packages is None
        else [shape(row, PACKAGE_FIELDS) for row in packages],
    }


def exposed(scan: Scan, ranked: Sequence[Fix] | None) -> dict[str, Any]:
    """What the waiting security updates amount to, by what feeds say today; null is unknown."""
    amounts = UNKNOWN if ranked is None else standing(scan, ranked)
    return {
        "cves": None if amounts.cves is None else list(amounts.cves),
        "max_severity": None if amounts.max_severity is None else SCALE[amounts.max_severity],
        "max_epss": amounts.max_epss,
        "known_exploited": amounts.known_exploited,
        "oldest_security_update_hours": None if amounts.oldest_hours is None else round(amounts.oldest_hours, 1),
        "late_security_updates": amounts.late,
        "target_hours": run_time.value("SECURITY_TARGET_HOURS"),
        "fix_first": first_fix(amounts.first),
    }


def first_fix(fix: Fix | None) -> dict[str, Any] | None:
    """What to install first, and why."""
    if fix is None:
        return None
    names = ("name", "architecture", "installed_version", "available_version", "command")
    return shape(fix.update, names) | {
        "reason": fix.why,
        "cves": [cve.id for cve in fix.cves[:10]],
        "severity": None if fix.rank is None else SCALE[fix.rank],
        "known_exploited": fix.known_exploited,
        "epss": fix.epss,
    }


def update_shape(update: Update | FoundUpdate, fix: Fix | None) -> dict[str, Any]:
    """An update, and of a security update of a stored scan what feeds say of it; null is unknown."""
    found = shape(update, UPDATE_FIELDS) | {"published": utc(update.published)}
    found |= dict.fromkeys(("why", "known_exploited", "epss", "available_since", "late", "risk_accepted_until"))
    if fix:
        found |= {
            "cves": [cve.id for cve in fix.cves],
            "advisories": [advisory for advisory, _ in fix.advisories],
            "published": utc(fix.published),
            "why": fix.why,
            "known_exploited": fix.known_exploited,
            "epss": fix.epss,
            "available_since": utc(fix.since),
            "late": fix.late,
            "risk_accepted_until": fix.acceptance.until.isoformat() if fix.is_accepted and fix.acceptance else None,
        }
    return found


def shape(row: object, names: Iterable[str]) -> dict[str, Any]:
    return {name: getattr(row, name) for name in names}


def utc(date: datetime | None) -> str | None:
    """ISO 8601 in UTC with a Z, whole seconds."""
    return date.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if date else None
