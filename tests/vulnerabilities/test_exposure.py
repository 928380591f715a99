"""What an update is for, what to install first, and why."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import pytest
from django.utils import timezone

from scanner.document import document
from scanner.models import (
    AcceptedRisk,
    ExploitScore,
    Finding,
    KnownExploited,
    OpenUpdate,
    PackageVersion,
    Scan,
    Tag,
    Vulnerability,
)
from scanner.package_managers.interface import Installed, Update
from scanner.vulnerabilities.exposure import fixes, standing
from scanner.vulnerabilities.version_keys import dpkg_key
from tests.make import make_host, make_report, make_scan, make_update

pytestmark = pytest.mark.django_db

KEV, EPSS, HIGH, LOW, NEXT = (f"CVE-2026-100{number}" for number in range(1, 6))


@pytest.fixture
def catalogs() -> None:
    KnownExploited.objects.create(cve=KEV, added=date(2026, 1, 3), ransomware=True)
    ExploitScore.objects.create(cve=EPSS, epss=0.43, percentile=0.97)
    ExploitScore.objects.create(cve=HIGH, epss=0.002, percentile=0.4)
    Vulnerability.objects.create(cve=LOW, severity="low", cvss_vector="CVSS:3.1/AV:L/AC:H/PR:H/UI:R/S:U/C:L/I:N/A:N")


def scan_of(*updates: Update, host: str = "web-1", **fields: Any) -> Scan:
    packages = tuple(Installed(each.name, "amd64", each.installed_version, each.source, "") for each in updates)
    report = replace(make_report(*updates), packages=packages, distribution="debian:12", **fields)
    return make_scan(make_host(host), report=report)


def find(source: str, cve: str, fixed: str = "1.0-2", **fields: Any) -> Finding:
    """A finding of the version of a source package that the scan has."""
    version = PackageVersion.objects.get(name=source)
    key = dpkg_key(fixed) if fixed else None
    values = {"status": "fixed", "advisory": cve, "fixed_version": fixed, "fixed_key": key, **fields}
    return Finding.objects.create(package_version=version, cve=cve, **values)


def in_order(scan: Scan) -> list[str]:
    return [fix.update.name for fix in fixes(scan)]


@pytest.mark.usefixtures("catalogs")
def test_fix_first_what_is_exploited_then_what_is_likely_then_what_is_severe() -> None:
    scan = scan_of(*(make_update(name) for name in ("a-low", "b-high", "c-likely", "d-exploited", "e-unknown")))
    find("a-low", LOW)
    find("b-high", HIGH, severity="high")
    find("c-likely", EPSS)
    find("d-exploited", KEV, severity="low")
    find("d-exploited", NEXT, severity="critical")
    assert in_order(scan) == ["d-exploited", "c-likely", "b-high", "a-low", "e-unknown"]
    exploited, likely, high, low, unknown = fixes(scan)
    assert exploited.why == (
        f"{KEV} is known to be exploited, also by ransomware (CISA, since 3 Jan 2026), and 1 more CVE."
    )
    assert likely.why == f"{EPSS} is likely to be exploited (EPSS 43\N{NARROW NO-BREAK SPACE}%)."
    assert (high.why, low.why) == (f"{HIGH} is rated high by the vendor.", f"{LOW} is rated low by CVSS.")
    assert unknown.why == "1.0-2 is in Debian-Security (bookworm-security).", "nothing is made up"


@pytest.mark.usefixtures("catalogs")
def test_an_update_fixes_only_what_its_version_reaches() -> None:
    scan = scan_of(make_update("openssl"))
    find("openssl", HIGH, "1.0-2")
    find("openssl", KEV, "1.0-3")
    find("openssl", NEXT, "", status="open")
    (fix,) = fixes(scan)
    assert [cve.id for cve in fix.cves] == [HIGH]


def test_the_version_of_the_source_decides_where_the_binarys_is_another() -> None:
    update = make_update("libldb2", source="samba", available_version="2:2.6+smb", available_source_version="4.17-2")
    scan = scan_of(update)
    find("samba", HIGH, "4.17-2")
    find("samba", KEV, "4.17-3")
    assert [cve.id for cve in fixes(scan)[0].cves] == [HIGH]


def test_a_package_that_asks_for_a_kernel_fixes_what_the_running_one_has() -> None:
    update = make_update(
        "linux-image-amd64", source="linux-signed-amd64", installed_version="6.1.76-1", available_version="6.1.90-1"
    )
    running = Installed("linux-image-6.1.0-18-amd64", "amd64", "6.1.76-1", "linux-signed-amd64", "6.1.76+1")
    asking = Installed("linux-image-amd64", "amd64", "6.1.76-1", "linux-signed-amd64", "6.1.76+1")
    report = replace(make_report(update), packages=(running, asking), distribution="debian:12", kernel="6.1.0-18-amd64")
    scan = make_scan(report=report)
    find("linux", HIGH, "6.1.85-1")
    find("linux", KEV, "6.1.99-1")
    assert [cve.id for cve in fixes(scan)[0].cves] == [HIGH]


@pytest.mark.parametrize(("fixed", "reached"), [("5.15.0-105.115", True), ("5.15.0-106.116", False)])
def test_ubuntus_meta_package_knows_only_the_abi_of_its_kernel(fixed: str, reached: bool) -> None:
    update = make_update(
        "linux-generic",
        source="linux-meta",
        installed_version="5.15.0.91.88",
        available_version="5.15.0.105.102",
    )
    running = Installed("linux-image-5.15.0-91-generic", "amd64", "5.15.0-91.101", "linux-signed", "5.15.0-91.101")
    asking = Installed("linux-generic", "amd64", "5.15.0.91.88", "linux-meta", "5.15.0.91.88")
    report = make_report(update)
    report = replace(report, packages=(running, asking), distribution="ubuntu:22.04", kernel="5.15.0-91-generic")
    scan = make_scan(report=report)
    find("linux", HIGH, fixed)
    assert [cve.id for cve in fixes(scan)[0].cves] == ([HIGH] if reached else [])


@pytest.mark.usefixtures("catalogs")
def test_cves_that_the_package_manager_names_count_without_any_feed() -> None:
    scan = scan_of(make_update("bash", cves=(KEV,), severity="Important", advisories=("FEDORA-2026-1",)), kernel="x")
    Scan.objects.update(distribution="fedora:40")
    (fix,) = fixes(Scan.objects.get(pk=scan.pk))
    assert (fix.cves[0].id, fix.cves[0].severity, fix.known_exploited) == (KEV, "important", True)


@pytest.mark.usefixtures("catalogs")
def test_an_accepted_risk_is_shown_and_no_longer_presses() -> None:
    scan = scan_of(make_update("openssl"), make_update("vim"))
    find("openssl", KEV)
    find("vim", HIGH, severity="high")
    today = timezone.localdate()
    risk = AcceptedRisk.objects.create(cve=KEV, everywhere=True, until=today, reason="No network", accepted_by="ann")
    vim, openssl = fixes(scan)
    assert (vim.update.name, openssl.is_accepted, openssl.late) == ("vim", True, False)
    assert openssl.why.startswith("ann has accepted the risk until ")
    assert [cve.id for cve in openssl.cves] == [KEV], "it is still told"
    assert standing(scan, [vim, openssl]).known_exploited is False
    AcceptedRisk.objects.filter(pk=risk.pk).update(until=today - timedelta(days=1))
    assert in_order(scan) == ["openssl", "vim"], "it expires by itself"
    AcceptedRisk.objects.filter(pk=risk.pk).update(until=today)
    assert risk.withdraw("bob") and not risk.withdraw("eve")
    assert in_order(scan) == ["openssl", "vim"]


@pytest.fixture(params=["host", "tag", "other host", "package", "other package"])
def scope(request: pytest.FixtureRequest) -> Iterator[tuple[AcceptedRisk, bool]]:
    """An acceptance, and whether it holds for web-1's openssl."""
    package = {"package": "openssl", "other package": "vim"}.get(request.param, "")
    risk = AcceptedRisk.objects.create(
        cve="" if package else HIGH,
        package=package,
        everywhere="package" in request.param,
        until=timezone.localdate(),
        accepted_by="ann",
    )
    if "host" in request.param:
        risk.hosts.add(make_host("web-2" if "other" in request.param else "web-1"))
    if request.param == "tag":
        risk.tags.add(Tag.objects.create(name="prod"))
    yield risk, "other" not in request.param


def test_a_risk_is_accepted_only_where_somebody_said_so(scope: tuple[AcceptedRisk, bool]) -> None:
    _, holds = scope
    scan = scan_of(make_update("openssl"))
    scan.host.tags.set(Tag.objects.all())
    find("openssl", HIGH)
    assert fixes(scan)[0].is_accepted is holds


def test_an_acceptance_whose_host_is_gone_holds_nowhere() -> None:
    risk = AcceptedRisk.objects.create(cve=HIGH, until=timezone.localdate(), accepted_by="ann")
    risk.hosts.add(make_host("web-2"))
    make_host("web-2").delete()
    scan = scan_of(make_update("openssl"))
    find("openssl", HIGH)
    assert not fixes(scan)[0].is_accepted


def test_late_is_what_has_waited_for_longer_than_the_target(settings: Any) -> None:
    settings.SECURITY_TARGET_HOURS = 72
    scan = scan_of(make_update("openssl"), make_update("vim"))
    OpenUpdate.objects.filter(name="vim").update(since=timezone.now() - timedelta(hours=73))
    vim, openssl = sorted(fixes(scan), key=lambda fix: not fix.late)
    assert (vim.update.name, vim.late, openssl.late) == ("vim", True, False)
    found = document(scan)
    assert (found["late_security_updates"], found["target_hours"]) == (1, 72)
    assert found["oldest_security_update_hours"] == 73.0


@pytest.mark.usefixtures("catalogs")
def test_the_document_says_what_is_known_and_null_for_what_is_not() -> None:
    scan = scan_of(make_update("openssl"), make_update("vim", security=False))
    find("openssl", EPSS, severity="high", published=timezone.now(), advisory="DSA-1", url="https://example.org/DSA-1")
    found = document(scan)
    assert (found["cves"], found["max_severity"], found["max_epss"]) == ([EPSS], "high", 0.43)
    assert (found["known_exploited"], found["fix_first"]["name"], found["fix_first"]["epss"]) == (
        False,
        "openssl",
        0.43,
    )
    openssl, vim = found["updates"]
    assert (openssl["cves"], openssl["advisories"], openssl["late"]) == ([EPSS], ["DSA-1"], False)
    assert openssl["published"] and openssl["available_since"]
    assert (vim["why"], vim["late"], vim["epss"]) == (None, None, None)
    KnownExploited.objects.all().delete()
    assert document(scan)["known_exploited"] is None, "nobody has read the catalog"


def test_of_a_host_without_security_updates_everything_is_known() -> None:
    found = document(scan_of(make_update("vim", security=False)))
    assert (found["cves"], found["max_severity"], found["max_epss"], found["known_exploited"]) == (
        [],
        "none",
        0.0,
        False,
    )
    assert (found["late_security_updates"], found["fix_first"]) == (0, None)


def test_of_a_failed_scan_nothing_is_known() -> None:
    found = document(make_scan(state="failed"))
    assert [found[name] for name in ("cves", "max_severity", "known_exploited", "late_security_updates")] == [None] * 4


def test_the_number_of_queries_does_not_grow(django_assert_max_num_queries: Any) -> None:
    updates = [make_update(f"lib{number}") for number in range(60)]
    scan = scan_of(*updates)
    for number in range(60):
        find(f"lib{number}", f"CVE-2026-{2000 + number}")
    with django_assert_max_num_queries(9):
        assert len(fixes(Scan.objects.select_related("host", "snapshot").get(pk=scan.pk))) == 60


@pytest.mark.usefixtures("catalogs")
def test_nor_do_those_of_the_document(django_assert_max_num_queries: Any) -> None:
    scan = scan_of(*(make_update(f"lib{number}") for number in range(60)))
    for number in range(60):
        find(f"lib{number}", f"CVE-2026-{2000 + number}")
    with django_assert_max_num_queries(14):
        found = document(Scan.objects.select_related("host", "snapshot").get(pk=scan.pk))
    assert {update["known_exploited"] for update in found["updates"]} == {False}


def test_what_a_pin_keeps_away_is_not_what_the_other_update_fixes() -> None:
    scan = scan_of(make_update("openssl"), make_update("openssl", available_version="1.0-3", blocked="pinned"))
    find("openssl", HIGH)
    normal, pinned = document(scan)["updates"]
    assert (normal["cves"], pinned["cves"], pinned["why"]) == ([HIGH], [], None)


@pytest.mark.parametrize("cves", [[], [HIGH]])
def test_that_nothing_is_exploited_is_said_only_of_what_is_known(cves: list[str]) -> None:
    KnownExploited.objects.create(cve=KEV, added=date(2026, 1, 3))
    scan = scan_of(make_update("openssl", cves=tuple(cves)), make_update("vim", cves=(LOW,)))
    assert document(scan)["known_exploited"] is (False if cves else None)
