"""From a real host of each family and local feed files to the dashboard: what to fix first, and why."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from django.test import Client
from django.utils.html import strip_tags

from scanner import scanning
from scanner.models import Scan
from scanner.vulnerabilities import importing
from tests.hosts.apt import DEBIAN, SECURITY, AptHost, Deb
from tests.hosts.dnf import Advisory, DnfHost, Repository
from tests.hosts.dnf import Package as Rpm
from tests.hosts.pacman import PacmanHost
from tests.hosts.pacman import Repository as ArchRepository
from tests.make import make_host, make_user

LIBRARY, EXPLOITED, CRITICAL, UNFIXED = (f"CVE-2026-100{number}" for number in range(1, 5))
FIXES = {"zlib": (LIBRARY, "low"), "sudo": (EXPLOITED, "medium"), "openssl": (CRITICAL, "critical")}
"""The package, the CVE that its update fixes, and how bad the vendor says that it is."""


class Built(NamedTuple):
    root: Path
    environment: dict[str, str]
    feed: str
    file: Path


def apt(folder: Path) -> Built:
    installed = [Deb(name, "1.0-1") for name in FIXES] + [Deb("vim", "9.0-1")]
    fixes = [Deb(name, "1.0-2") for name in FIXES]
    host = AptHost(folder, installed, {SECURITY: fixes, DEBIAN: [Deb("vim", "9.1-1")]})
    releases = {
        name: {"status": "resolved", "fixed_version": "1.0-2", "urgency": word} for name, (_, word) in FIXES.items()
    }
    tracker = {name: {cve: {"releases": {"bookworm": releases[name]}}} for name, (cve, _) in FIXES.items()}
    tracker["vim"] = {UNFIXED: {"releases": {"bookworm": {"status": "open", "urgency": "low", "nodsa": "Minor"}}}}
    return Built(host.root, host.environment, "debian", written(folder, tracker))


def dnf(folder: Path) -> Built:
    words = {"low": "Low", "medium": "Moderate", "critical": "Critical"}
    advisories = [
        Advisory(f"ALSA-2026:{number}", "security", words[severity], [f"{name}-1.0-2"])
        for number, (name, (_, severity)) in enumerate(FIXES.items())
    ]
    repository = Repository("baseos", [*(f"{name}-1.0-2" for name in FIXES), "vim-9.1-1"], advisories)
    host = DnfHost(folder, [*(f"{name}-1.0-1" for name in FIXES), Rpm("vim-9.0-1")], repository)
    records = [
        {
            "id": f"ALSA-2026:{number}",
            "modified": "2026-01-01T00:00:00Z",
            "published": "2026-01-01T00:00:00Z",
            "summary": f"{words[severity]}: {name} security update",
            "related": [cve],
            "affected": [
                {
                    "package": {"ecosystem": "AlmaLinux:9", "name": name},
                    "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "1.0-2"}]}],
                }
            ],
        }
        for number, (name, (cve, severity)) in enumerate(FIXES.items())
    ]
    place = folder / "osv"
    place.mkdir()
    for record in records:
        (place / f"{record['id']}.json").write_text(json.dumps(record))
    return Built(host.root, host.environment, "alma", place)


def pacman(folder: Path) -> Built:
    groups = [
        {
            "name": f"AVG-{number}",
            "packages": [name],
            "status": "Fixed",
            "severity": severity.capitalize(),
            "type": "multiple issues",
            "affected": "1.0-1",
            "fixed": "1.0-2",
            "issues": [cve],
            "advisories": [f"ASA-{number}"],
        }
        for number, (name, (cve, severity)) in enumerate(FIXES.items())
    ]
    file = written(folder, groups)
    offered = ArchRepository("core", [*(f"{name} 1.0-2" for name in FIXES), "vim 9.1-1"])
    host = PacmanHost(folder, [*(f"{name} 1.0-1" for name in FIXES), "vim 9.0-1"], offered)
    return Built(host.root, {**host.environment, "ARCH_TRACKER": str(file)}, "arch", file)


def written(folder: Path, content: Any) -> Path:
    file = folder / "feed.json"
    file.write_text(json.dumps(content))
    return file


@pytest.mark.django_db
@pytest.mark.parametrize("family", [apt, dnf, pacman])
def test_the_dashboard_names_the_right_package_with_the_right_reason(
    family: Callable[[Path], Built], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: Any, client: Client
) -> None:
    settings.SCANNER_DATA = tmp_path / "data"
    settings.SCANNER_DATA.mkdir()
    built = family(tmp_path)
    for name, value in built.environment.items():
        if os.environ.get(name) != value:
            monkeypatch.setenv(name, value)
    kev = tmp_path / "kev.json"
    kev.write_text(json.dumps({"vulnerabilities": [{"cveID": EXPLOITED, "dateAdded": "2026-01-03"}]}))
    importing.refresh("kev", str(kev))
    importing.refresh(built.feed, str(built.file))
    scan = Scan.objects.create(
        host=make_host(), trigger="api", wanted_package_manager=family.__name__, root=str(built.root)
    )
    scanning.run(scan)
    scan.refresh_from_db()
    assert (scan.error, scan.security_updates) == ("", 3)
    client.force_login(make_user())
    page = client.get("/security/package-scanner/?host=web-1").content.decode()
    section = page.partition('id="security-heading"')[2].partition("</section>")[0]
    words = " ".join(strip_tags(section).split())
    first = f"sudo : {EXPLOITED} is known to be exploited (CISA, since 3 Jan 2026)."
    assert first.replace("sudo :", "sudo:") in words.replace("sudo :", "sudo:")
    assert words.index(EXPLOITED) < words.index(CRITICAL) < words.index(LIBRARY)
    widget = client.get("/api/security/package-scanner/widget/?host=web-1").json()
    assert (widget["known_exploited"], widget["max_severity"], widget["fix_first"]["name"]) == (
        True,
        "critical",
        "sudo",
    )
    assert widget["fix_first"]["command"]
    where = " ".join(strip_tags(client.get(f"/security/package-scanner/cve/{EXPLOITED}/").content.decode()).split())
    assert "web-1" in where and widget["fix_first"]["command"] in where


@pytest.mark.django_db
def test_a_pacman_host_takes_the_list_that_the_feeds_refresh_has_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    settings.SCANNER_DATA = tmp_path / "data"
    built = pacman(tmp_path)
    for name, value in built.environment.items():
        if name != "ARCH_TRACKER" and os.environ.get(name) != value:
            monkeypatch.setenv(name, value)
    monkeypatch.delenv("ARCH_TRACKER", raising=False)
    settings.ARCH_TRACKER = ""
    wishes = {"trigger": "api", "wanted_package_manager": "pacman", "root": str(built.root)}
    without = Scan.objects.create(host=make_host(), **wishes)
    scanning.run(without)
    without.refresh_from_db()
    assert without.security_updates is None, "without any list it is not known"
    (settings.SCANNER_DATA / "feeds").mkdir()
    shutil.copy(built.file, settings.SCANNER_DATA / "feeds/arch")
    scan = Scan.objects.create(host=make_host(), **wishes)
    scanning.run(scan)
    scan.refresh_from_db()
    assert (scan.state, scan.security_updates) == ("completed", 3)
