"""A scan with everything in it: a feed that has been read, accepted risks, kernels, holds, a third party's package."""

import json
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from django.utils import timezone

from scanner.models import AcceptedRisk, ExploitScore, KnownExploited, Scan, Vulnerability
from scanner.package_managers.interface import Gap, Installed, Update
from scanner.vulnerabilities import importing
from tests.make import make_host, make_report, make_scan, make_update

EXPLOITED, MINOR, OPEN, IGNORED, UNIMPORTANT, JUDGED_LATER = (f"CVE-2026-100{number}" for number in range(1, 7))
VECTOR = "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"
PACKAGES = (
    Installed("libssl3", "amd64", "3.0.1-1", "openssl", "3.0.1-1"),
    Installed("libssl3", "i386", "3.0.1-1", "openssl", "3.0.1-1"),
    Installed("openssl", "amd64", "3.0.1-1", "openssl", "3.0.1-1"),
    Installed("vim", "amd64", "2:9.0-1+b2", "vim", "2:9.0-1", held=True),
    Installed("g++", "amd64", "4:12.2.0-3", "gcc-defaults", "1.203"),
    Installed("docker-ce", "amd64", "5:24.0~ubuntu", third_party="Docker CE"),
)
NEEDS = {("openssl", "amd64"): ("libssl3",), ("libssl3", "i386"): ("libssl3",), ("g++", "amd64"): ("libssl3", "vim")}
STATES: dict[str, dict[str, Any]] = {
    "openssl": {EXPLOITED: {"status": "resolved", "fixed_version": "3.0.2-1", "urgency": "high"}},
    "vim": {
        MINOR: {"status": "open", "urgency": "low", "nodsa": "Minor issue", "nodsa_reason": ""},
        OPEN: {"status": "open", "urgency": "medium"},
        IGNORED: {"status": "open", "urgency": "low", "nodsa": "Too intrusive", "nodsa_reason": "ignored"},
        UNIMPORTANT: {"status": "open", "urgency": "unimportant"},
    },
    "gcc-defaults": {JUDGED_LATER: {"status": "undetermined", "urgency": "not yet assigned"}},
}
UPDATES = (
    make_update("libssl3", source="openssl", installed_version="3.0.1-1", available_version="3.0.2-1"),
    make_update("openssl", source="openssl", installed_version="3.0.1-1", available_version="3.0.2-1"),
    make_update("vim", False, installed_version="2:9.0-1+b2", available_version="2:9.0-2", held=True),
    make_update("g++", True, installed_version="4:12.2.0-3", available_version="4:13-1", blocked="pinned"),
)


def read_feed(folder: Path, states: dict[str, dict[str, Any]] | None = None) -> None:
    """Reads Debian's tracker: what it says of bookworm."""
    said = {
        name: {
            cve: {"description": f"A flaw in {name}, Ω.", "releases": {"bookworm": state}}
            for cve, state in of_package.items()
        }
        for name, of_package in (states or STATES).items()
    }
    (folder / "tracker.json").write_text(json.dumps(said))
    importing.refresh("debian", str(folder / "tracker.json"))


def scanned(
    *packages: Installed,
    updates: tuple[Update, ...] = (),
    host: str = "web-1",
    gaps: tuple[Gap, ...] = (),
    **fields: Any,
) -> Scan:
    report = replace(make_report(*updates, gaps=gaps), packages=packages, **{"distribution": "debian:12", **fields})
    return make_scan(make_host(host), report=report)


def scan_of_everything(folder: Path) -> Scan:
    read_feed(folder)
    Vulnerability.objects.filter(pk=EXPLOITED).update(cvss_vector=VECTOR, severity="critical")
    KnownExploited.objects.create(cve=EXPLOITED, added=date(2026, 1, 3), due=date(2026, 1, 24), ransomware=True)
    ExploitScore.objects.create(cve=OPEN, epss=0.42, percentile=0.97)
    until = timezone.localdate() + timedelta(days=30)
    AcceptedRisk.objects.create(
        cve=OPEN, everywhere=True, reason="Nobody opens files there, says Jürgen.", accepted_by="alice", until=until
    )
    return scanned(*PACKAGES, updates=UPDATES, dependencies=lambda: NEEDS)


def large_host(folder: Path, packages: int, updates: int, security: int, vulnerable: int) -> Scan:
    """So many packages and updates; each that is vulnerable has three CVEs."""
    names = [f"package-{n:05}" for n in range(packages)]
    fixed = {"status": "resolved", "fixed_version": "1.0-2", "urgency": "high"}
    states = [fixed, {"status": "open", "urgency": "low"}, {"status": "open", "urgency": "low", "nodsa": "Minor"}]
    read_feed(
        folder,
        {
            name: {f"CVE-2026-{10 * n + number}": state for number, state in enumerate(states, 10_000)}
            for n, name in enumerate(names[:vulnerable])
        },
    )
    needs = {(name, "amd64"): tuple(names[n // 2 : n // 2 + 6]) for n, name in enumerate(names)}
    return scanned(
        *(Installed(name, "amd64", "1.0-1", name, "1.0-1") for name in names),
        updates=tuple(make_update(name, n < security) for n, name in enumerate(names[:updates])),
        dependencies=lambda: needs,
    )
