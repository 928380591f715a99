"""CycloneDX: valid by the official schema, and the same packages when it is read back."""

import json
from dataclasses import replace
from datetime import timedelta
from functools import cache
from typing import Any

import pytest
from django.utils import timezone
from hypothesis import assume, given
from hypothesis import strategies as st
from packageurl import PackageURL

from scanner.exports.cyclonedx import ANALYSES, CycloneDx, Purls
from scanner.exports.interface import Package
from scanner.exports.loading import StoredScan
from scanner.models import AcceptedRisk, Scan
from scanner.package_managers.interface import Gap, Installed
from scanner.vulnerabilities import inventory
from scanner.vulnerabilities.cvss_scores import score
from scanner.vulnerabilities.matching import Item
from scanner.vulnerabilities.places import STATUSES
from tests.exports.scans import EXPLOITED, IGNORED, JUDGED_LATER, OPEN, PACKAGES, UNIMPORTANT, VECTOR, scanned
from tests.make import make_update

pytestmark = pytest.mark.django_db

DEBIAN = PACKAGES
RPMS = (
    Installed("openssl-libs", "x86_64", "1:3.0.7-6.el9", "openssl", "1:3.0.7-6.el9"),
    Installed("perl-DBI", "x86_64", "1.641-4.module_el8.6.0+2766+8bf0b7ce", "perl-DBI", "", module="perl-DBI:1.641"),
    Installed("kernel", "x86_64", "5.14.0-70.el9", "kernel", "5.14.0-70.el9"),
    Installed("kernel", "x86_64", "5.14.0-162.el9", "kernel", "5.14.0-162.el9"),
    Installed("local", "noarch", "1.0~rc1^git+x-1"),
)
ARCH = (
    Installed("linux", "x86_64", "6.9.1.arch1-1", "linux", "6.9.1.arch1-1"),
    Installed("libstdc++", "x86_64", "1:14.1.1+r58-1", "gcc", "1:14.1.1+r58-1"),
)


@cache
def validator() -> Any:
    # this takes seconds, which every worker would need to collect the tests
    from cyclonedx.schema import SchemaVersion  # noqa: PLC0415
    from cyclonedx.validation.json import JsonStrictValidator  # noqa: PLC0415

    return JsonStrictValidator(SchemaVersion.V1_6)


def written(scan: Scan) -> dict[str, Any]:
    text = b"".join(CycloneDx().scan(StoredScan(scan))).decode()
    assert validator().validate_str(text) is None
    refs = [component["bom-ref"] for component in json.loads(text)["components"]]
    assert len(set(refs)) == len(refs)
    return json.loads(text)


def vulnerability(found: dict[str, Any], name: str) -> dict[str, Any]:
    (row,) = (row for row in found["vulnerabilities"] if row["id"] == name)
    return row


def said(row: dict[str, Any]) -> dict[str, str]:
    return {pair["name"].partition(":")[2]: pair["value"] for pair in row["properties"]}


def unknown(found: dict[str, Any]) -> list[str]:
    return [pair["value"] for pair in found["metadata"]["properties"] if pair["name"].endswith(":unknown")]


def items(packages: tuple[Installed, ...]) -> list[Item]:
    found = [Item(p.name, p.version, p.architecture, p.source, p.source_version, p.module) for p in packages]
    return sorted(found, key=lambda item: (item.name, item.architecture, item.version))


# --- round trip -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("packages", "manager", "distribution"),
    [
        (DEBIAN, "apt", "debian:12"),
        (DEBIAN, "apt", "debian:sid"),
        (DEBIAN, "apt", "ubuntu:22.04"),
        (RPMS, "dnf", "alma:9"),
        (RPMS, "dnf", "rocky:9"),
        (RPMS, "yum", "rhel:7"),
        (RPMS, "dnf", "fedora:41"),
        (RPMS, "dnf", "leap:15.6"),
        (RPMS, "dnf", "sles:15.5"),
        (ARCH, "pacman", "arch"),
    ],
)
def test_what_is_written_is_read_back_the_same(
    packages: tuple[Installed, ...], manager: str, distribution: str
) -> None:
    found = written(scanned(*packages, package_manager=manager, distribution=distribution))
    read = inventory.read(json.dumps(found))
    assert sorted(read.items, key=lambda item: (item.name, item.architecture, item.version)) == items(packages)
    assert (read.distribution, read.skipped) == (distribution, 0)


@pytest.mark.parametrize(
    ("package", "manager", "distribution", "purl"),
    [
        (DEBIAN[0], "apt", "debian:12", "pkg:deb/debian/libssl3@3.0.1-1?arch=amd64&distro=debian-12&upstream=openssl"),
        (RPMS[0], "dnf", "alma:9", "pkg:rpm/almalinux/openssl-libs@3.0.7-6.el9?arch=x86_64&distro=almalinux-9&epoch=1"),
        (RPMS[0], "dnf", "rhel:9", "pkg:rpm/redhat/openssl-libs@3.0.7-6.el9?arch=x86_64&distro=rhel-9&epoch=1"),
        (ARCH[0], "pacman", "arch", "pkg:alpm/arch/linux@6.9.1.arch1-1?arch=x86_64&upstream=linux%406.9.1.arch1-1"),
    ],
)  # fmt: skip
def test_package_urls_are_those_that_other_tools_know(
    package: Installed, manager: str, distribution: str, purl: str
) -> None:
    (component,) = written(scanned(package, package_manager=manager, distribution=distribution))["components"]
    assert component["purl"].startswith(purl)
    assert PackageURL.from_string(component["purl"]).to_string() == component["purl"]


TEXT = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), min_size=1, max_size=12)


@given(TEXT, TEXT, st.sampled_from(("deb", "rpm", "alpm")), st.sampled_from(("", "perl:5.32")), TEXT)
def test_package_urls_are_those_of_packageurl(name: str, version: str, kind: str, module: str, source: str) -> None:
    assume("/" not in name and (kind != "rpm" or not version.startswith(":")))
    manager, distribution = {"deb": ("apt", "debian:12"), "rpm": ("dnf", "alma:9"), "alpm": ("pacman", "arch")}[kind]
    package = Package(name, "noarch", version, source, version, module, "", False, (), "", None)
    epoch, colon, rest = version.partition(":")
    apart = kind == "rpm" and bool(colon)
    assume(not apart or rest)
    expected = PackageURL(
        kind,
        {"deb": "debian", "rpm": "almalinux", "alpm": "arch"}[kind],
        name,
        rest if apart else version,
        {
            "arch": "noarch",
            "distro": {"deb": "debian-12", "rpm": "almalinux-9"}.get(kind, ""),
            "epoch": epoch if apart else "",
            "modularitylabel": module,
            "upstream": f"{source}@{version}".rstrip("@"),
        },
    )
    assert PackageURL.from_string(Purls(manager, distribution).of(package)) == PackageURL.from_string(str(expected))


def test_a_release_that_is_not_known_is_left_out() -> None:
    found = written(scanned(DEBIAN[0], distribution=""))
    assert found["components"][0]["purl"].startswith("pkg:deb/libssl3@3.0.1-1?arch=amd64&upstream=")
    assert "components" not in found["metadata"]["component"]
    assert any("which release this host has" in text for text in unknown(found))


# --- components -------------------------------------------------------------------------------------


def test_the_host_and_its_system_are_what_it_is_about(scan: Scan) -> None:
    about = written(scan)["metadata"]["component"]
    assert (about["type"], about["name"]) == ("device", "web-1")
    assert about["components"] == [{"type": "operating-system", "name": "debian", "version": "12"}]


def test_what_needs_what_goes_by_architecture(scan: Scan) -> None:
    needs = {row["ref"]: row.get("dependsOn", []) for row in written(scan)["dependencies"]}
    assert needs["openssl@3.0.1-1:amd64"] == ["libssl3@3.0.1-1:amd64"]
    assert needs["libssl3@3.0.1-1:i386"] == [], "not itself"
    assert needs["g++@4:12.2.0-3:amd64"] == ["libssl3@3.0.1-1:amd64", "vim@2:9.0-1+b2:amd64"]
    assert len(needs) == len(PACKAGES)


def test_what_is_not_looked_up_is_not_passed_off_as_safe(scan: Scan) -> None:
    found = {component["name"]: component for component in written(scan)["components"]}
    assert found["docker-ce"]["publisher"] == "Docker CE"
    assert "advisories say nothing of it" in said(found["docker-ce"])["vulnerabilities_not_looked_up"]
    assert said(found["vim"]) == {"held": "true"}


# --- vulnerabilities --------------------------------------------------------------------------------


def test_a_vulnerability_has_ratings_advisories_and_affected_components(scan: Scan) -> None:
    row = vulnerability(written(scan), EXPLOITED)
    assert row["source"]["name"] == "Debian security tracker"
    assert row["ratings"] == [
        {"source": {"name": "Debian security tracker"}, "severity": "high"},
        {"score": 9.8, "severity": "critical", "method": "CVSSv31", "vector": VECTOR},
    ]
    assert row["description"] == "A flaw in openssl, Ω."
    assert row["recommendation"] == "Update openssl to 3.0.2-1, or a later version."
    assert row["advisories"][0]["url"].startswith("https://security-tracker.debian.org/")
    assert [each["ref"] for each in row["affects"]] == [
        "libssl3@3.0.1-1:amd64",
        "libssl3@3.0.1-1:i386",
        "openssl@3.0.1-1:amd64",
    ]
    assert said(row)["known_exploited_since"] == "2026-01-03"
    assert row["analysis"]["state"] == "exploitable" and row["analysis"]["response"] == ["update"]


def test_every_status_has_an_analysis() -> None:
    assert set(ANALYSES) == set(STATUSES)


def test_the_analysis_says_what_the_vendor_and_we_have_decided(scan: Scan) -> None:
    found = written(scan)
    analyses = {name: vulnerability(found, name)["analysis"] for name in (OPEN, IGNORED, UNIMPORTANT, JUDGED_LATER)}
    until = timezone.localdate() + timedelta(days=30)
    accepted = analyses[OPEN]
    assert (accepted["state"], accepted["response"]) == ("exploitable", ["will_not_fix"])
    assert accepted["detail"].startswith(
        f"alice has accepted the risk until {until:%-d %b %Y}: Nobody opens files there, says Jürgen."
    )
    assert said(vulnerability(found, OPEN))["risk_accepted_until"] == until.isoformat()
    assert analyses[IGNORED]["response"] == ["will_not_fix"] and "Too intrusive" in analyses[IGNORED]["detail"]
    assert (analyses[UNIMPORTANT]["state"], analyses[JUDGED_LATER]["state"]) == ("not_affected", "in_triage")


def test_a_risk_that_somebody_accepted_changes_no_fact(scan: Scan) -> None:
    AcceptedRisk.objects.create(
        cve=UNIMPORTANT, everywhere=True, reason="x", accepted_by="bob", until=timezone.localdate()
    )
    assert vulnerability(written(scan), UNIMPORTANT)["analysis"]["state"] == "not_affected"


def test_without_a_feed_the_updates_name_vulnerabilities_and_the_rest_is_unknown() -> None:
    update = make_update("openssl-libs", cves=("CVE-2026-7",), advisories=("FEDORA-2026-1",), severity="Important")
    found = written(scanned(*RPMS, updates=(update,), package_manager="dnf", distribution="fedora:41"))
    row = vulnerability(found, "CVE-2026-7")
    assert row["affects"] == [{"ref": "openssl-libs@1:3.0.7-6.el9:x86_64"}]
    assert row["ratings"][0]["severity"] == "high"
    assert any("No feed is about fedora:41" in text for text in unknown(found))


def test_a_partial_scan_says_what_could_not_be_read() -> None:
    gap = Gap("The list of security.debian.org could not be fetched.")
    found = written(scanned(DEBIAN[0], gaps=(gap,)))
    assert f"Could not be read: {gap.text}" in unknown(found)


def test_an_address_of_a_feed_that_is_none_is_left_out(scan: Scan) -> None:
    package = scan.packages.get(name="openssl")
    package.package_version.findings.update(url="javascript:alert(1)")
    assert "advisories" not in vulnerability(written(scan), EXPLOITED)


@pytest.mark.parametrize(
    ("vector", "found"),
    [
        ("CVSS:3.0/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H", ("CVSSv3", 9.8, "critical")),
        ("CVSS:4.0/AV:N/AC:L/AT:N/PR:N/UI:N/VC:H/VI:H/VA:H/SC:N/SI:N/SA:N", ("CVSSv4", 9.3, "critical")),
        ("AV:N/AC:L/Au:N/C:P/I:P/A:P", ("CVSSv2", 7.5, "high")),
        ("nonsense", None),
        ("", None),
    ],
)
def test_each_version_of_cvss_has_its_method(vector: str, found: tuple[str, float, str] | None) -> None:
    assert score(vector) == found


def test_two_packages_of_one_name_version_and_architecture_have_two_references() -> None:
    twice = (DEBIAN[2], replace(DEBIAN[2], source_version="3.0.1-0"))
    assert len(written(scanned(*twice))["components"]) == 2
