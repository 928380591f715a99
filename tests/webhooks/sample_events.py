"""Events as docs/webhooks.md describes them, for the tests of the channels."""

from typing import Any

EVENT_ID = "evt_0193f5a3c0de70008000000000000001"
PACKAGE_COUNTS = {"total_updates": 40, "total_packages": 812, "pinned_security_updates": 0}
TYPES = (
    "security.package_scan_completed",
    "security.package_scan_failed",
    "security.package_scan_stale",
    "security.status_changed",
    "security.update_appeared",
    "security.update_resolved",
    "security.update_late",
    "security.reboot_required",
    "security.webhook_disabled",
    "security.digest",
)


def event(kind: str = "update_appeared", **data: Any) -> dict[str, Any]:
    """Of a host at High Risk with 23 security updates, 3 of them new; `data` replaces what is in there."""
    everything = {
        "host": {"name": "web-1", "tags": ["prod", "eu"], "url": "https://scanner.example.org/?host=web-1"},
        "status": "danger",
        "status_label": "High Risk",
        "scan": scan(),
        "changes": changes(),
        "oldest_security_update": {"name": "openssl", "since": "2026-11-22T14:03:00Z"},
    }
    return {
        "id": EVENT_ID,
        "type": f"security.{kind}",
        "version": 1,
        "timestamp": "2026-11-24T10:00:00Z",
        "data": {**everything, **data},
    }


def scan(**fields: Any) -> dict[str, Any]:
    return {
        "id": 7,
        "host": "web-1",
        "state": "completed",
        "error": None,
        "next_step": None,
        "gaps": [],
        "notes": [],
        "package_manager": "apt",
        "scan_date": "2026-11-24T09:59:58Z",
        "metadata_date": "2026-11-24T09:59:30Z",
        "status": "danger",
        "status_label": "High Risk",
        "security_updates": 23,
        **PACKAGE_COUNTS,
        "reboot_required": False,
        "reboot_reason": None,
        "services_to_restart": [],
        "url": "https://scanner.example.org/scans/7/",
        "api_url": "https://scanner.example.org/api/v1/scans/7/",
        **fields,
    }


def changes(**fields: Any) -> dict[str, Any]:
    return {
        "previous_scan": {
            "id": 6,
            "url": "https://scanner.example.org/scans/6/",
            "scan_date": "2026-11-23T10:00:00Z",
        },
        "changed": True,
        "previous_status": "warning",
        "previous_status_label": "Low Risk",
        "previous_security_updates": 21,
        "new_security_updates": 3,
        "fixed_security_updates": 1,
        "appeared": [package(name) for name in ("openssl", "curl", "sudo")],
        "resolved": [{"name": "zlib1g", "architecture": "amd64", "since": "2026-11-20T10:00:00Z"}],
        "more": {"appeared": 0, "resolved": 0},
        "url": "https://scanner.example.org/api/v1/events/x/",
        **fields,
    }


def package(name: str, **fields: Any) -> dict[str, Any]:
    return {
        "name": name,
        "architecture": "amd64",
        "installed_version": "3.0.1",
        "available_version": "3.0.2",
        "severity": "critical",
        "cves": ["CVE-2026-1111"],
        "advisories": [],
        "since": "2026-11-24T09:59:58Z",
        **fields,
    }


def failed_scan(**fields: Any) -> dict[str, Any]:
    """What belongs to a failed scan, for event(**…)."""
    no_changes = {"new_security_updates": None, "fixed_security_updates": None, "appeared": [], "resolved": []}
    unknown = dict.fromkeys((*PACKAGE_COUNTS, "security_updates", "reboot_required", "scan_date"))
    failed = scan(state="failed", error="apt could not be read.", next_step="Run `apt update`.", **unknown)
    return {
        "status": "unknown",
        "status_label": "Unknown",
        "scan": failed | fields,
        "changes": changes(previous_status_label="High Risk", **no_changes),
    }


def digest_event(hosts: int = 3, more: int = 0) -> dict[str, Any]:
    labels = ("Low Risk", "High Risk", "Secure")
    rows = [
        {
            "name": f"host-{number}",
            "url": f"https://scanner.example.org/?host=host-{number}",
            "status_label": labels[number % 3],
            "security_updates": (2, 23, 0)[number % 3],
            "new_security_updates": (0, 3, 0)[number % 3],
            "fixed_security_updates": (0, 1, 2)[number % 3],
            "events": ["security.update_appeared"],
        }
        for number in range(hosts)
    ]
    told = {"period": "daily", "since": "2026-11-23T10:00:00Z", "events": 12, "hosts": rows, "more": more}
    return event("digest", host=None, scan=None, changes=None, oldest_security_update=None, digest=told)


def disabled_event() -> dict[str, Any]:
    """It has nothing about a scan, not even a status."""
    made = event("webhook_disabled")
    told = {"name": "ops", "reason": "Every attempt has failed for 5 days.", "url": "https://scanner.example.org/w/1/"}
    return {**made, "data": {"host": None, "scan": None, "webhook": told}}


def every_type() -> list[dict[str, Any]]:
    special = {
        "package_scan_failed": event("package_scan_failed", **failed_scan()),
        "package_scan_stale": event("package_scan_stale", status="unknown", status_label="Unknown"),
        "update_late": event("update_late", late=[package("curl")], target_hours=48),
        "webhook_disabled": disabled_event(),
        "digest": digest_event(),
    }
    names = [name.removeprefix("security.") for name in TYPES]
    return [special.get(name) or event(name) for name in names]


def monstrous_event() -> dict[str, Any]:
    """500 packages, long errors, and names that want to be markup, mentions, or another line."""
    name = "@everyone <!channel> *a* _b_ `c` [d](https://evil.example) <b>&amp;\r\nX-Evil: 1 \u202e" + "n" * 200
    packages = [package(f"{name}{number}", cves=["CVE-2026-1111"] * 30) for number in range(500)]
    fields = {"error": "@here *error* <b> " * 600, "next_step": "_next_ " * 1500, "gaps": ["gap " * 2500] * 20}
    return event(
        "update_appeared",
        host={"name": name, "tags": [name] * 50, "url": "https://scanner.example.org/"},
        scan=scan(state="partial", reboot_required=True, reboot_reason="reason " * 1500, **fields),
        changes=changes(appeared=packages, resolved=packages, new_security_updates=500),
        oldest_security_update={"name": name, "since": "2026-11-22T14:03:00Z"},
    )
