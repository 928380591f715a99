"""The values of the filter's fields (fields.py) in one event. What is not known is left out: unknown is not zero."""

from collections.abc import Collection
from typing import Any

from django.utils import timezone
from django.utils.dateparse import parse_datetime

from scanner.models import Event, Scan
from scanner.risk import RISK_LEVELS, UNKNOWN
from scanner.vulnerabilities.exposure import Fix, fixes, standing
from scanner.webhooks.fields import CONSTANTS

PACKAGES = 500  # CEL's `filter` takes memory by their square
FROM_UPDATES = {
    *("critical_updates", "high_updates", "max_severity", "max_epss", "known_exploited", "late_security_updates"),
    *("cves", "packages", "packages_truncated"),
}
LEVELS = {level.label: level.severity for level in (*(level for _, level in RISK_LEVELS), UNKNOWN)}


def values(event: Event, wanted: Collection[str]) -> dict[str, Any]:
    """By the fields' names; what only a look at every update tells is there if it is `wanted`."""
    data = event.payload["data"]
    found = {"event": event.type, "now": timezone.now().isoformat(), **CONSTANTS}
    if data["host"]:
        found |= {"host.name": data["host"]["name"], "host.tags": data["host"]["tags"]}
    if data["scan"]:
        found |= of_scan(data) | of_changes(data["changes"]) | of_age(data)
        if FROM_UPDATES & set(wanted) and event.scan and event.scan.security_updates is not None:
            found |= of_updates(event.scan, fixes(event.scan))
    return {name: value for name, value in found.items() if value is not None}


def of_scan(data: dict[str, Any]) -> dict[str, Any]:
    scan = data["scan"]
    counts = ("security_updates", "total_updates", "total_packages", "pinned_security_updates")
    same = ("state", *counts, "reboot_required", "package_manager", "trigger", "scan_date")
    words = {"status": data["status"], "status_label": data["status_label"], "level": LEVELS[data["status_label"]]}
    return {name: scan[name] for name in same} | words


def of_changes(changes: dict[str, Any]) -> dict[str, Any]:
    names = ("new_security_updates", "fixed_security_updates", "previous_security_updates", "previous_status")
    return {name: changes[name] for name in (*names, "changed")}


def of_age(data: dict[str, Any]) -> dict[str, Any]:
    """How long the oldest security update has been waiting; 0 where it is known that none is."""
    oldest = data["oldest_security_update"]
    since = parse_datetime(oldest["since"]) if oldest else None
    if since:
        return {"oldest_security_update_hours": (timezone.now() - since).total_seconds() / 3600}
    return {"oldest_security_update_hours": 0.0 if data["scan"]["security_updates"] == 0 else None}


def of_updates(scan: Scan, ranked: list[Fix]) -> dict[str, Any]:
    """From the security updates that a scan found, and what feeds say of them now."""
    known = [row.rank for row in ranked if row.rank is not None]
    found: dict[str, Any] = {}
    if known or not ranked:
        numbers = {"critical_updates": CONSTANTS["critical"], "high_updates": CONSTANTS["high"]}
        found = {name: known.count(number) for name, number in numbers.items()}
    amounts = standing(scan, ranked)
    worst_first = sorted(ranked, key=lambda row: (-(row.rank or 0), row.update.name))
    return found | {
        "max_severity": amounts.max_severity,
        "max_epss": amounts.max_epss,
        "known_exploited": amounts.known_exploited,
        "late_security_updates": amounts.late,
        "cves": list(amounts.cves or ()),
        "packages": [package(row) for row in worst_first[:PACKAGES]],
        "packages_truncated": len(ranked) > PACKAGES,
    }


def package(row: Fix) -> dict[str, Any]:
    names = ("name", "architecture", "installed_version", "available_version", "source", "advisories", "held")
    found = {name: getattr(row.update, name) for name in names}
    found |= {"blocked": row.update.blocked or "", "severity": row.rank, "cves": [cve.id for cve in row.cves]}
    return {name: value for name, value in found.items() if value is not None}
