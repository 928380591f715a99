"""Each family's real host, through the whole product: the command line's document and the stored scan."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scanner import scanning
from scanner.document import PACKAGE_FIELDS, UPDATE_FIELDS, document
from scanner.models import Package, Scan
from tests.hosts.apt import DEBIAN, SECURITY, AptHost, Deb
from tests.hosts.dnf import Advisory, DnfHost, Repository
from tests.hosts.dnf import Package as Rpm
from tests.hosts.pacman import Package as ArchPackage
from tests.hosts.pacman import PacmanHost
from tests.hosts.pacman import Repository as ArchRepository
from tests.make import make_host

CHECKOUT = Path(__file__).resolve().parents[2]
TRACKER = [
    {
        "name": "AVG-1",
        "packages": ["openssl"],
        "status": "Fixed",
        "severity": "High",
        "type": "multiple issues",
        "affected": "3.0.1-1",
        "fixed": "3.0.2-1",
        "issues": ["CVE-2026-1"],
        "advisories": ["ASA-1"],
    }
]


def apt(folder: Path) -> dict[str, str]:
    installed = [Deb("openssl", "3.0.1", depends="libc6"), Deb("libc6", "2.36"), Deb("vim", "9.0")]
    host = AptHost(folder, installed, {SECURITY: [Deb("openssl", "3.0.2")], DEBIAN: [Deb("vim", "9.1")]})
    return host.environment


def dnf(folder: Path) -> dict[str, str]:
    fix = Advisory("RHSA-2026:1", "security", "Important", ["openssl-3.0.2-1"], cves=["CVE-2026-1"])
    installed = [Rpm("openssl-3.0.1-1", requires="libc6"), "libc6-2.36-1", "vim-9.0-1"]
    repository = Repository("baseos", ["openssl-3.0.2-1", "vim-9.1-1"], [fix])
    return DnfHost(folder, installed, repository).environment


def pacman(folder: Path) -> dict[str, str]:
    installed = [ArchPackage("openssl 3.0.1-1", depends=["libc6"]), "libc6 2.36-1", "vim 9.0-1"]
    host = PacmanHost(folder, installed, ArchRepository("core", ["openssl 3.0.2-1", "libc6 2.36-1", "vim 9.1-1"]))
    (folder / "tracker.json").write_text(json.dumps(TRACKER))
    return {**host.environment, "ARCH_TRACKER": str(folder / "tracker.json")}


FAMILIES = pytest.mark.parametrize("family", [apt, dnf, pacman])


@FAMILIES
def test_the_command_line_gives_the_same_document_for_each(
    family: Callable[[Path], dict[str, str]], tmp_path: Path
) -> None:
    name = family.__name__
    done = subprocess.run(
        [sys.executable, CHECKOUT / "manage.py", "scan_system_packages", "--json", "--package-manager", name],
        env={**family(tmp_path), "SCANNER_DATA": str(tmp_path / "data"), "SCAN_HOST": "web-1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    found = json.loads(done.stdout)
    assert (done.returncode, found["state"], found["package_manager"], found["error"]) == (0, "completed", name, None)
    assert (found["security_updates"], found["total_updates"], found["total_packages"]) == (1, 2, 3)
    assert found["status_label"] == "Low Risk"
    openssl, vim = found["updates"]
    assert (openssl["name"], openssl["security"], vim["name"], vim["security"]) == ("openssl", True, "vim", False)
    assert all(
        tuple(update)[: len(UPDATE_FIELDS)] == UPDATE_FIELDS and update["reason"] and update["command"]
        for update in found["updates"]
    )
    assert all(tuple(package) == PACKAGE_FIELDS for package in found["packages"])


@FAMILIES
@pytest.mark.django_db
def test_a_stored_scan_keeps_the_same_and_what_each_package_needs(
    family: Callable[[Path], dict[str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    settings.SCANNER_DATA = tmp_path / "data"
    for name, value in family(tmp_path).items():
        if os.environ.get(name) != value:
            monkeypatch.setenv(name, value)
    scan = Scan.objects.create(host=make_host(), trigger="api", wanted_package_manager=family.__name__)
    scanning.run(scan)
    found = document(Scan.objects.get(pk=scan.pk))
    assert (found["state"], found["security_updates"], found["total_updates"]) == ("completed", 1, 2)
    assert found["reboot_reason"] and found["services_reason"], "known or not, it says why"
    assert Package.objects.get(name="openssl").needs == ["libc6"]
    assert Package.objects.get(name="libc6").needs == []
