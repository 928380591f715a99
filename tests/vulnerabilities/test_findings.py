"""Findings of hosts, in step with the feeds."""

import json
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from scanner import scanning
from scanner.models import (
    AffectedPackage,
    ExploitScore,
    Feed,
    Finding,
    KnownExploited,
    PackageSet,
    PackageVersion,
    Scan,
)
from scanner.package_managers.interface import Installed, Report
from scanner.vulnerabilities import findings, importing, matching
from scanner.vulnerabilities.interface import FeedError
from scanner.vulnerabilities.matching import Item
from scanner.vulnerabilities.version_keys import alpm_key
from tests.make import make_host, make_report, make_scan

pytestmark = pytest.mark.django_db

States = dict[str, dict[str, str]]


@pytest.fixture
def tracker(tmp_path: Path, settings: Any) -> Callable[[dict[str, dict[str, States]]], Feed]:
    """Reads Debian's tracker with this content: {source: {CVE: {codename: {…}}}}."""
    settings.SCANNER_DATA = tmp_path

    def read(content: dict[str, dict[str, States]]) -> Feed:
        file = tmp_path / "tracker.json"
        issues = {
            source: {cve: {"releases": releases} for cve, releases in cves.items()} for source, cves in content.items()
        }
        file.write_text(json.dumps(issues))
        return importing.refresh("debian", str(file))

    return read


def fixed(version: str, urgency: str = "high") -> States:
    return {"bookworm": {"status": "resolved", "fixed_version": version, "urgency": urgency}}


def unfixed(**fields: str) -> States:
    return {"bookworm": {"status": "open", "urgency": "low", **fields}}


def report(*packages: Installed, distribution: str = "debian:12", **fields: Any) -> Report:
    return replace(make_report(), packages=packages, distribution=distribution, **fields)


LIBSSL = Installed("libssl3", "amd64", "3.0.1-1+b2", "openssl", "3.0.1-1")
OPENSSL = Installed("openssl", "amd64", "3.0.1-1", "openssl", "3.0.1-1")
VIM = Installed("vim", "amd64", "9.0-1", "vim", "9.0-1")


def of(scan: Scan) -> dict[tuple[str, str], str]:
    """CVE and package: status, of all that the scan's packages are vulnerable to."""
    packages = scan.packages.exclude(package_version=None)
    rows = packages.values_list("package_version__findings__cve", "name", "package_version__findings__status")
    return {(cve, name): status for cve, name, status in rows if cve}


def test_a_scan_knows_what_its_packages_are_vulnerable_to(tracker: Callable[..., Feed]) -> None:
    tracker({"openssl": {"CVE-2026-1001": fixed("3.0.2-1")}, "vim": {"CVE-2026-1002": unfixed(nodsa="Minor")}})
    scan = make_scan(report=report(LIBSSL, OPENSSL, VIM))
    assert of(scan) == {
        ("CVE-2026-1001", "libssl3"): "fixed",
        ("CVE-2026-1001", "openssl"): "fixed",
        ("CVE-2026-1002", "vim"): "no_dsa",
    }
    assert Finding.objects.count() == 2, "all binaries of a source are one"
    assert scan.snapshot and scan.snapshot.package_set.tally == {"fixed": 1, "no_dsa": 1}


def test_an_unchanged_host_costs_nothing_and_a_second_one_with_the_same_packages_as_little(
    tracker: Callable[..., Feed],
) -> None:
    tracker({"openssl": {"CVE-2026-1001": fixed("3.0.2-1")}})
    first = make_scan(report=report(OPENSSL))
    rows = list(Finding.objects.values_list("pk"))
    with CaptureQueriesContext(connection) as queries:
        second = make_scan(make_host("web-2"), report=report(OPENSSL))
    assert first.snapshot == second.snapshot
    assert not any("affectedpackage a ON" in query["sql"] for query in queries)
    assert list(Finding.objects.values_list("pk")) == rows


def test_a_feed_that_changes_compares_only_what_it_is_about(tracker: Callable[..., Feed]) -> None:
    tracker({"openssl": {"CVE-2026-1001": fixed("3.0.2-1")}, "vim": {"CVE-2026-1002": fixed("9.0-2")}})
    scan = make_scan(report=report(OPENSSL, VIM))
    untouched = Finding.objects.get(cve="CVE-2026-1002").pk
    tracker({"openssl": {"CVE-2026-1003": fixed("3.0.3-1")}, "vim": {"CVE-2026-1002": fixed("9.0-2")}})
    assert of(scan) == {("CVE-2026-1003", "openssl"): "fixed", ("CVE-2026-1002", "vim"): "fixed"}
    assert Finding.objects.get(cve="CVE-2026-1002").pk == untouched
    assert set(PackageVersion.objects.values_list("generation", flat=True)) == {2}


def test_what_a_feed_no_longer_says_is_no_finding_any_more(tracker: Callable[..., Feed]) -> None:
    tracker({"openssl": {f"CVE-2026-100{number}": fixed("3.0.2-1") for number in range(9)}})
    scan = make_scan(report=report(OPENSSL))
    tracker({"openssl": {f"CVE-2026-100{number}": fixed("3.0.2-1") for number in range(8)}})
    assert len(of(scan)) == 8
    assert scan.snapshot and PackageSet.objects.get().tally == {"fixed": 8}


def test_a_feed_that_cannot_be_read_changes_no_finding(tracker: Callable[..., Feed], tmp_path: Path) -> None:
    tracker({"openssl": {"CVE-2026-1001": fixed("3.0.2-1")}})
    scan = make_scan(report=report(OPENSSL))
    (tmp_path / "broken.json").write_text('{"openssl": {')
    with pytest.raises(FeedError):
        importing.refresh("debian", str(tmp_path / "broken.json"))
    assert of(scan) and Feed.objects.get().step == ""


def test_a_feed_that_is_read_after_the_scan_is_matched_with_its_packages(tracker: Callable[..., Feed]) -> None:
    scan = make_scan(report=report(OPENSSL))
    assert of(scan) == {} and PackageSet.objects.get().tally is None, "unknown, not none"
    tracker({"openssl": {"CVE-2026-1001": fixed("3.0.2-1")}})
    assert of(scan) == {("CVE-2026-1001", "openssl"): "fixed"}
    assert PackageSet.objects.get().tally == {"fixed": 1}


def test_what_an_interrupted_run_left_behind_is_compared_later(tracker: Callable[..., Feed]) -> None:
    tracker({"openssl": {"CVE-2026-1001": fixed("3.0.2-1")}})
    scan = make_scan(report=report(OPENSSL))
    Finding.objects.all().delete()
    PackageVersion.objects.update(generation=None)
    assert findings.catch_up() == 1
    assert of(scan) == {("CVE-2026-1001", "openssl"): "fixed"}
    assert findings.catch_up() == 0


def test_known_exploited_cves_are_counted_apart(tracker: Callable[..., Feed], tmp_path: Path) -> None:
    tracker({"openssl": {"CVE-2026-1001": fixed("3.0.2-1"), "CVE-2026-1002": fixed("3.0.2-1")}})
    make_scan(report=report(OPENSSL))
    catalog = {"vulnerabilities": [{"cveID": "CVE-2026-1002", "dateAdded": "2026-01-03"}]}
    (tmp_path / "kev.json").write_text(json.dumps(catalog))
    importing.refresh("kev", str(tmp_path / "kev.json"))
    assert PackageSet.objects.get().tally == {"fixed": 2, "exploited": 1}


def test_what_comes_from_elsewhere_is_skipped_and_said(tracker: Callable[..., Feed]) -> None:
    tracker({"openssl": {"CVE-2026-1001": fixed("3.0.2-1")}})
    scan = make_scan(report=report(replace(OPENSSL, third_party="Example Corp")))
    assert of(scan) == {}
    assert scan.packages.get().skipped.startswith("It comes from Example Corp")


def test_a_fixed_kernel_that_does_not_run_fixes_nothing(tracker: Callable[..., Feed]) -> None:
    tracker({"linux": {"CVE-2026-1001": fixed("6.1.90-1")}})
    old = Installed("linux-image-6.1.0-18-amd64", "amd64", "6.1.76-1", "linux-signed-amd64", "6.1.76+1")
    new = Installed("linux-image-6.1.0-22-amd64", "amd64", "6.1.90-1", "linux-signed-amd64", "6.1.90+1")
    headers = Installed("linux-libc-dev", "amd64", "6.1.76-1", "linux", "6.1.76-1")
    scan = make_scan(report=report(old, new, headers, kernel="6.1.0-18-amd64"))
    assert of(scan) == {("CVE-2026-1001", old.name): "fixed"}
    scan = make_scan(report=report(old, new, headers, kernel="6.1.0-22-amd64"))
    assert of(scan) == {}


@pytest.mark.parametrize("distribution", ["", "fedora:40"])
def test_without_a_feed_nothing_is_known(distribution: str) -> None:
    scan = make_scan(report=report(OPENSSL, distribution=distribution))
    assert scan.snapshot and scan.snapshot.package_set.tally is None
    assert findings.what_is_missing(distribution)


def test_a_release_that_the_feed_is_silent_about_is_no_all_clear(tracker: Callable[..., Feed]) -> None:
    assert "has not been read" in findings.what_is_missing("debian:8")
    tracker({"openssl": {"CVE-2026-1001": fixed("3.0.2-1")}})
    assert findings.what_is_missing("debian:12") == ""
    assert "no all-clear" in findings.what_is_missing("debian:8")
    scan = make_scan(report=report(OPENSSL, distribution="debian:8"))
    assert scan.snapshot and scan.snapshot.package_set.tally is None


def affected(rows: Iterable[tuple[str, str, str, dict[str, Any]]]) -> None:
    """Rows of a feed: distribution, name, fixed version, other fields."""
    feed, _ = Feed.objects.get_or_create(name="any", defaults={"generation": 1})
    for number, (distribution, name, version, fields) in enumerate(rows):
        key, _ = matching.family(distribution.replace("-pro", ""))
        AffectedPackage.objects.create(
            feed=feed,
            distribution=distribution,
            name=name,
            status="fixed" if version else "open",
            fixed_version=version,
            fixed_key=key(version) if version else None,
            digest=bytes([number]),
            **{"advisory": f"A-{number}", "cves": [f"CVE-2026-{1000 + number}"], **fields},
        )


@pytest.mark.parametrize(
    ("distribution", "items", "rows"),
    [
        (
            "alma:8",
            [
                Item("perl", "4:5.26.3-422.el8", "x86_64"),
                Item("perl", "4:5.32.1-471.module_el8+1", "x86_64", module="perl:5.32"),
                Item("glibc", "2.28-1.el8", "x86_64"),
                Item("glibc", "2.28-1.el8", "i686"),
                Item("a~b", "not a version\u00e4", "x86_64"),
            ],
            [
                ("alma:8", "perl", "4:5.32.1-473.module_el8+2", {"module": "perl:5.32"}),
                ("alma:8", "perl", "4:5.26.3-423.el8", {}),
                ("alma:8", "glibc", "2.28-2.el8", {"architecture": "x86_64"}),
                ("alma:8", "glibc", "2.28-0.9.el8", {"several": True, "advisory": "A-9"}),
                ("alma:8", "glibc", "2.28-3.el8", {"several": True, "advisory": "A-9"}),
            ],
        ),
        (
            "ubuntu:22.04",
            [Item("libssl3", "3.0.2-1", "amd64", "openssl", "3.0.2-1"), Item("vim", "8.2-1+esm1", "amd64")],
            [
                ("ubuntu:22.04", "openssl", "3.0.2-2", {}),
                ("ubuntu-pro:22.04", "openssl", "3.0.2-3", {}),
                ("ubuntu-pro:22.04", "vim", "8.2-1+esm2", {}),
            ],
        ),
        (
            "sles:15.5",
            [
                Item("libopenssl3", "3.0.8-1", "x86_64", "openssl-3", "3.0.8-1"),
                Item("bash", "5-1", "x86_64", "bash", "5-1"),
            ],
            [
                ("sles:15.5", "openssl-3", "3.0.8-2", {}),
                ("sles:15.5", "libopenssl3", "3.0.8-3", {}),
                ("sles:15.5", "bash", "", {}),
            ],
        ),
        (
            "arch",
            [Item("linux", "6.9.1.arch1-1", "x86_64"), Item("xz", "5.6.1-1", "x86_64")],
            [
                ("arch", "xz", "5.6.1-2", {}),
                ("arch", "linux", "", {"last_affected_key": alpm_key("6.9-1")}),
            ],
        ),
    ],
)
def test_the_database_finds_what_the_pure_rules_find(
    distribution: str, items: list[Item], rows: list[tuple[str, str, str, dict[str, Any]]]
) -> None:
    affected(rows)
    ids = PackageVersion.objects.keep(distribution, items)
    findings.match(distribution, ids)
    about = list(AffectedPackage.objects.about(distribution, matching.names(items, distribution)))
    by_rules = {
        (number, each.cve, each.status, each.fixed_version)
        for number, item in enumerate(items)
        for each in matching.match([item], about, distribution)
    }
    stored = Finding.objects.values_list("package_version", "cve", "status", "fixed_version")
    by_database = {(number, *rest) for number, own in enumerate(ids) for pk, *rest in stored if pk == own}
    assert by_database == by_rules and by_rules


def test_two_scans_that_bring_the_same_versions_at_once_both_succeed() -> None:
    known = PackageVersion.objects.filter(pk__in=())
    ids = known.keep("debian:12", [Item("openssl", "3.0.1-1")])
    assert ids == known.keep("debian:12", [Item("openssl", "3.0.1-1")]), "although it does not see the first one's"


def test_storing_a_scan_with_its_findings_is_one_transaction(tracker: Callable[..., Feed]) -> None:
    tracker({"openssl": {"CVE-2026-1001": fixed("3.0.2-1")}})
    scan = Scan.objects.create(host=make_host(), trigger="api")
    scan.take()
    Scan.objects.filter(pk=scan.pk).update(claim=None)
    with pytest.raises(scanning.ClaimLost):
        scanning.store(scan, report(OPENSSL))
    assert not PackageVersion.objects.exists() and not PackageSet.objects.exists()


def test_epss_and_kev_touch_no_finding(tracker: Callable[..., Feed]) -> None:
    tracker({"openssl": {"CVE-2026-1001": fixed("3.0.2-1")}})
    make_scan(report=report(OPENSSL))
    before = list(Finding.objects.values())
    ExploitScore.objects.create(cve="CVE-2026-1001", epss=0.5, percentile=0.9)
    KnownExploited.objects.create(cve="CVE-2026-1001", added="2026-01-03")
    assert findings.catch_up() == 0 and list(Finding.objects.values()) == before
