"""The values of the filter's fields (fields.py) in one event. What is not known is left out: unknown is not zero."""

from collections.abc import Collection
from typing import Any

from django.utils import timezone
from django.utils.dateparse import parse_datetime

from scanner.models import Event, Update
from scanner.risk import RISK_LEVELS, UNKNOWN
from scanner.webhooks.fields import CONSTANTS, rank

PACKAGES = 500  # CEL's `filter` takes memory by their square
FROM_UPDATES = {"critical_updates", "high_updates", "max_severity", "cves", "packages", "packages_truncated"}
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
            found |= of_updates(list(event.scan.updates.security()))
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


def of_updates(updates: list[Update]) -> dict[str, Any]:
    """From the security updates that a scan found. Severities are the vendors': unknown where none has given any."""
    rated = [(update, rank(update.severity)) for update in updates]
    known = [number for _, number in rated if number is not None]
    found: dict[str, Any] = {}
    if known or not updates:
        found = {
            "max_severity": max(known, default=CONSTANTS["none"]),
            "critical_updates": known.count(CONSTANTS["critical"]),
            "high_updates": known.count(CONSTANTS["high"]),
        }
    worst_first = sorted(rated, key=lambda pair: (-(pair[1] or 0), pair[0].name))
    return found | {
        "cves": list(dict.fromkeys(cve for update in updates for cve in update.cves)),
        "packages": [package(update, number) for update, number in worst_first[:PACKAGES]],
        "packages_truncated": len(updates) > PACKAGES,
    }


def package(update: Update, severity: int | None) -> dict[str, Any]:
    names = ("name", "architecture", "installed_version", "available_version", "source", "cves", "advisories", "held")
    found = {name: getattr(update, name) for name in names} | {"blocked": update.blocked or "", "severity": severity}
    return {name: value for name, value in found.items() if value is not None}
