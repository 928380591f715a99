"""A large host: 10,000 packages, 1,500 updates, 6,000 findings. Each format takes 2 s at most."""

import time
from pathlib import Path
from typing import Any

import pytest

from scanner.exports.formats import EXPORTS
from scanner.exports.interface import Export
from scanner.exports.loading import StoredScan
from scanner.models import Scan
from scanner.package_managers.interface import Installed
from tests.exports.scans import read_feed, scanned
from tests.make import make_update

pytestmark = [pytest.mark.django_db, pytest.mark.slow]

PACKAGES, UPDATES, SECURITY, VULNERABLE, BUDGET = 10_000, 1_500, 400, 2_000, 2.0


def test_every_format_of_a_large_host_is_written_in_time(tmp_path: Path, settings: Any) -> None:
    settings.SCANNER_DATA = tmp_path
    names = [f"package-{n:05}" for n in range(PACKAGES)]
    fixed = {"status": "resolved", "fixed_version": "1.0-2", "urgency": "high"}
    states = [fixed, {"status": "open", "urgency": "low"}, {"status": "open", "urgency": "low", "nodsa": "Minor"}]
    read_feed(
        tmp_path,
        {
            name: {f"CVE-2026-{10 * n + number}": state for number, state in enumerate(states, 10_000)}
            for n, name in enumerate(names[:VULNERABLE])
        },
    )
    needs = {(name, "amd64"): tuple(names[n // 2 : n // 2 + 6]) for n, name in enumerate(names)}
    scan = scanned(
        *(Installed(name, "amd64", "1.0-1", name, "1.0-1") for name in names),
        updates=tuple(make_update(name, n < SECURITY) for n, name in enumerate(names[:UPDATES])),
        dependencies=lambda: needs,
    )
    taken = {}
    for export in EXPORTS:
        for part in export.parts or ("",):
            taken[f"{export.name} {part}".strip()] = min(seconds(export, scan, part) for _ in range(2))
    print({name: f"{took:.2f} s" for name, took in taken.items()})
    assert all(took <= BUDGET for took in taken.values()), taken


def seconds(export: Export, scan: Scan, part: str) -> float:
    begin = time.perf_counter()
    content = StoredScan(scan, located=part == "vulnerabilities")
    assert sum(len(piece) for piece in export.scan(content, part)) > 10_000
    return time.perf_counter() - begin
