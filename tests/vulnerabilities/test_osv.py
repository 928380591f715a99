"""OSV: what the vendors' advisories say, in spite of how each of them writes it down."""

import io
import json
import tarfile
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from scanner.vulnerabilities.interface import Affected, Details, FeedError
from scanner.vulnerabilities.osv import (
    AlmaLinux,
    DebianOsv,
    Osv,
    RedHat,
    RockyLinux,
    Suse,
    Ubuntu,
    changed_ids,
    distribution,
)

CHECKOUT = Path(__file__).parents[2]
SAMPLES = CHECKOUT / "tests/recorded/feeds"
ALMA = CHECKOUT.parent / "shared/data/alma"
"""The full feed, where it stands beside the repository."""


def rows(feed: Osv, file: Path) -> list[Affected]:
    return [entry for entry in feed.parse(file) if isinstance(entry, Affected)]


def details(feed: Osv, file: Path) -> list[Details]:
    return [entry for entry in feed.parse(file) if isinstance(entry, Details)]


def alma(advisory: str, folder: str = "almalinux8") -> list[Affected]:
    return rows(AlmaLinux(), SAMPLES / "almalinux" / folder / f"{advisory}.json")


def affected(ecosystem: str, name: str, *events: dict[str, str], **more) -> dict:
    return {
        "package": {"ecosystem": ecosystem, "name": name},
        "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, *events]}],
        **more,
    }


def record(advisory: str, *packages: dict, **more) -> dict:
    return {"id": advisory, "modified": "2026-01-01T00:00:00Z", "affected": list(packages), **more}


@pytest.fixture
def file(tmp_path: Path) -> Callable[..., Path]:
    def write(*records: object) -> Path:
        path = tmp_path / "osv.json"
        path.write_text(json.dumps(records))
        return path

    return write


# --- modules ---------------------------------------------------------------------------------------


def test_a_row_for_a_module_says_so_and_never_means_the_base_package():
    """ALSA-2024:3128 is about perl:5.32; the base perl of AlmaLinux 8 is 5.26."""
    found = alma("ALSA-2024-3128")
    assert {row.name for row in found} == {"perl", "perl-libs", "perl-version", "perl-Archive-Tar"}
    assert {row.module for row in found} == {"perl:5.32"}


def test_the_module_that_a_summary_does_not_name_is_unknown_and_not_none():
    assert [(row.name, row.module) for row in alma("ALSA-2023-5989")] == [("varnish", "?")]


def test_a_package_is_of_either_module_where_a_summary_names_two():
    found = {(row.name, row.module) for row in alma("ALSA-2021-1242") if row.name == "mariadb"}
    assert found == {("mariadb", "mariadb:10.3"), ("mariadb", "mariadb-devel:10.3")}


def test_a_version_in_a_summary_is_no_stream_of_a_module():
    """pam:1.5.1: the version in the fix has no module's tag."""
    assert [(row.name, row.module) for row in alma("ALSA-2024-10244", "almalinux9")] == [("pam", "")]


@pytest.mark.parametrize(
    ("summary", "module"),
    [
        ("Moderate: 389-ds:1.4 security update", "389-ds:1.4"),
        ("Important: httpd:2.4/mod_http2 security update", "httpd:2.4"),
        ("pmdk:1_fileformat_v6 bug fix update", "pmdk:1_fileformat_v6"),
        ("ALSA-2022:5468: php:8.0 security update (Important)", "php:8.0"),
        ("Red Hat Security Advisory: nodejs:22 security update", "nodejs:22"),
    ],
)
def test_the_stream_is_found_in_every_kind_of_summary(file, summary, module):
    package = affected("AlmaLinux:8", "made", {"fixed": "1-1.module_el8.6.0+1+abc"})
    assert [row.module for row in rows(AlmaLinux(), file(record("ALSA-1", package, summary=summary)))] == [module]


def test_rocky_writes_its_modules_with_a_plus():
    found = rows(RockyLinux(), SAMPLES / "rocky/RLSA-2024-3671.json")
    assert [(row.name, row.module) for row in found] == [
        ("ruby", "ruby:3.3"),
        ("rubygem-mysql2", "ruby:3.3"),
        ("rubygem-pg", "ruby:3.3"),
    ]


# --- versions and ranges ---------------------------------------------------------------------------


def test_an_epoch_is_kept_also_where_it_is_zero():
    assert alma("ALSA-2024-3128")[0].fixed_version == "4:5.32.1-473.module_el8.10.0+3779+d5938d28"
    found = rows(RockyLinux(), SAMPLES / "rocky/RLSA-2024-3671.json")
    assert found[0].fixed_version == "0:3.3.1-2.module+el9.4.0+20787+4c237fd3"


def test_all_fixes_of_a_package_in_one_advisory_are_kept():
    assert [row.fixed_version for row in alma("ALSA-2024-3128") if row.name == "perl-version"] == [
        "7:0.99.29-1.module_el8.6.0+3181+91434291",
        "7:0.99.29-1.module_el8.6.0+2766+8bf0b7ce",
    ]


def test_a_range_that_is_closed_and_opened_again_is_two_rows(file):
    package = affected("Debian:12", "made", {"fixed": "1.0-1"}, {"introduced": "2.0-1"}, {"fixed": "2.1-1"})
    assert [(row.introduced, row.fixed_version) for row in rows(DebianOsv(), file(record("DSA-1", package)))] == [
        ("", "1.0-1"),
        ("2.0-1", "2.1-1"),
    ]


def test_the_events_of_a_range_may_stand_in_any_order(file):
    package = affected("Debian:12", "made")
    package["ranges"][0]["events"].insert(0, {"fixed": "1.0-1"})
    found = rows(DebianOsv(), file(record("DSA-1", package)))
    assert [(row.introduced, row.fixed_version, row.status) for row in found] == [("", "1.0-1", "fixed")]


def test_without_a_fix_a_row_is_open_and_may_name_the_last_affected_version(file):
    packages = (affected("Ubuntu:24.04:LTS", "one"), affected("Ubuntu:24.04:LTS", "two", {"last_affected": "1.0-1"}))
    found = rows(Ubuntu(), file(record("UBUNTU-CVE-2026-10000", *packages)))
    assert [(row.status, row.fixed_version, row.last_affected) for row in found] == [
        ("open", "", ""),
        ("open", "", "1.0-1"),
    ]


def test_one_row_for_a_package_that_several_repositories_of_a_release_have(file):
    packages = [
        affected(f"Red Hat:enterprise_linux:9::{repository}", "openssl", {"fixed": "1:3.0.7-27.el9"})
        for repository in ("baseos", "appstream", "crb")
    ]
    assert [row.distribution for row in rows(RedHat(), file(record("RHSA-2026:1", *packages)))] == ["rhel:9"]


# --- whose rows they are ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ecosystem", "name"),
    [
        ("AlmaLinux:9", "alma:9"),
        ("AlmaLinux:10", "alma:10"),
        ("Rocky Linux:9", "rocky:9"),
        ("Debian:12", "debian:12"),
        ("Ubuntu:22.04:LTS", "ubuntu:22.04"),
        ("Ubuntu:25.10", "ubuntu:25.10"),
        ("Ubuntu:Pro:18.04:LTS", "ubuntu-pro:18.04"),
        ("Red Hat:enterprise_linux:9::baseos", "rhel:9"),
        ("Red Hat:enterprise_linux:8::appstream", "rhel:8"),
        ("Red Hat:enterprise_linux:10.2", "rhel:10"),
        ("SUSE:Linux Enterprise Server 15 SP5", "sles:15.5"),
        ("SUSE:Linux Enterprise Server 15 SP4-LTSS", "sles:15.4"),
        ("SUSE:Linux Enterprise Server for SAP Applications 15 SP5", "sles:15.5"),
        ("SUSE:Linux Enterprise Module for Basesystem 15 SP7", "sles:15.7"),
        ("SUSE:Linux Enterprise Server LTSS Extended Security 12 SP5", "sles:12.5"),
        ("SUSE:Linux Enterprise Server 15", "sles:15"),
        ("SUSE:Linux Enterprise Server 16.0", "sles:16.0"),
        ("openSUSE:Leap 15.5", "leap:15.5"),
        ("Ubuntu:Pro:FIPS:18.04:LTS", ""),
        ("Ubuntu:Pro:FIPS-updates:20.04:LTS", ""),
        ("Ubuntu:Pro:22.04:LTS:Realtime:Kernel", ""),
        ("Red Hat:rhel_eus:9.2::appstream", ""),
        ("Red Hat:ocp_tools:4.15::el9", ""),
        ("SUSE:Linux Enterprise Micro 5.5", ""),
        ("SUSE:Linux Enterprise High Performance Computing 15 SP5-ESPOS", ""),
        ("SUSE:Package Hub 12", ""),
        ("openSUSE:Tumbleweed", ""),
        ("AlmaLinux", ""),
    ],
)
def test_every_vendors_name_of_a_release_is_known_and_other_products_are_none(ecosystem, name):
    assert distribution(ecosystem) == name


def test_what_is_of_another_product_is_left_out_and_counted_by_product(file):
    feed = RedHat()
    packages = (
        affected("Red Hat:rhel_eus:9.2::appstream", "podman", {"fixed": "2:4.4.1-21.el9_2"}),
        affected("Red Hat:rhel_eus:9.2::appstream", "podman-docker", {"fixed": "2:4.4.1-21.el9_2"}),
        affected("Rocky Linux:9", "podman", {"fixed": "2:4.4.1-21.el9_2"}),
    )
    assert rows(feed, file(record("RHSA-2024:8709", *packages))) == []
    assert feed.left_out == {"Red Hat:rhel_eus:9.2::appstream": 2, "Rocky Linux:9": 1}
    assert feed.dropped == 0


def test_the_folder_in_which_an_advisory_lies_says_nothing_of_its_release():
    found = Counter(row.distribution for row in alma("ALSA-2024-8127", "almalinux9"))
    assert found == {"alma:8": 2, "alma:9": 2}


def test_an_advisory_that_lies_in_two_folders_is_read_once():
    found = [row for row in rows(AlmaLinux(), SAMPLES / "almalinux") if row.advisory == "ALSA-2024:8127"]
    assert len(found) == len(set(found)) == 4


def test_a_version_built_for_another_release_than_its_row_names_is_dropped_and_counted(file):
    feed = AlmaLinux()
    packages = (
        affected("AlmaLinux:8", "wrong", {"fixed": "1.0-1.el9_2"}),
        affected("AlmaLinux:8", "wrong-module", {"fixed": "1.0-1.module_el9.2.0+1+abc"}),
        affected("AlmaLinux:8", "right", {"fixed": "1.0-1.el8_10"}),
        affected("AlmaLinux:10", "right", {"fixed": "1.0-1.el10"}),
        affected("AlmaLinux:8", "untagged", {"fixed": "2.0.51-1"}),
    )
    found = rows(feed, file(record("ALSA-1", *packages)))
    assert [(row.distribution, row.name) for row in found] == [
        ("alma:8", "right"),
        ("alma:10", "right"),
        ("alma:8", "untagged"),
    ]
    assert feed.dropped == 2


def test_only_the_rows_of_the_releases_asked_for_are_read():
    path = SAMPLES / "almalinux/almalinux9/ALSA-2024-8127.json"
    assert {row.distribution for row in rows(AlmaLinux({"alma:9"}), path)} == {"alma:9"}


def test_ubuntu_pro_has_rows_of_its_own_also_for_a_host_without_it():
    path = SAMPLES / "ubuntu/UBUNTU-CVE-2022-24823.json"
    found = {(row.distribution, row.status, row.fixed_version) for row in rows(Ubuntu({"ubuntu:18.04"}), path)}
    assert found == {("ubuntu-pro:18.04", "fixed", "1:4.1.7-4ubuntu0.1+esm3")}


def test_packages_of_rockys_special_interest_groups_are_not_compared_with_its_own(file):
    package = affected("Rocky Linux:8", "kernel", {"fixed": "0:4.18.0-425.10.1.el8_7.cloud"})
    feed = RockyLinux()
    assert rows(feed, file(record("RXSA-2023:0101", package))) == []
    assert feed.left_out == {"RXSA": 1}


def test_a_live_patch_is_no_version_of_a_package(file):
    package = affected("Ubuntu:22.04:LTS", "linux", {"fixed": "5.15.0-1.1"})
    feed = Ubuntu()
    assert rows(feed, file(record("LSN-0108-1", package))) == []
    assert feed.left_out == {"LSN": 1}


@pytest.mark.parametrize(
    ("feed", "kind"),
    [(AlmaLinux, "binary"), (RedHat, "binary"), (RockyLinux, "source"), (Suse, "source"), (Ubuntu, "source")],
)
def test_each_feed_says_whether_it_names_sources_or_binaries(feed, kind):
    assert feed.name_kind == kind


# --- advisories, CVEs, severity --------------------------------------------------------------------


def test_an_almalinux_advisory_is_read_in_full():
    found = alma("ALSA-2024-10244", "almalinux9")
    assert found == [
        Affected(
            distribution="alma:9",
            name="pam",
            advisory="ALSA-2024:10244",
            cves=("CVE-2024-10963",),  # it stands in `related`
            status="fixed",
            fixed_version="1.5.1-22.el9_5",
            severity="important",
            summary="Important: pam:1.5.1 security update",
            published=found[0].published,
            url="https://errata.almalinux.org/9/ALSA-2024-10244.html",  # and not Red Hat's, which comes first
        )
    ]
    assert found[0].published == datetime(2024, 11, 25, tzinfo=UTC)


def test_a_security_advisory_may_name_no_cve(file):
    package = affected("AlmaLinux:9", "toolbox", {"fixed": "0.0.99.4-5.el9"})
    found = rows(AlmaLinux(), file(record("ALSA-2023:6077", package, summary="Moderate: toolbox security update")))
    assert [(row.name, row.cves, row.severity) for row in found] == [("toolbox", (), "moderate")]


def test_a_bug_fix_without_a_cve_is_left_out_and_is_no_nonsense():
    feed = AlmaLinux()
    assert rows(feed, SAMPLES / "almalinux/almalinux8/ALBA-2020-1849.json") == []
    assert (feed.left_out, feed.dropped) == ({"ALBA": 1}, 0)


@pytest.mark.parametrize(
    ("feed", "ecosystem", "advisory"),
    [
        (AlmaLinux, "AlmaLinux:9", "ALBA-2026:1"),
        (AlmaLinux, "AlmaLinux:9", "ALEA-2026:1"),
        (RedHat, "Red Hat:enterprise_linux:9::baseos", "RHBA-2026:1"),
        (RedHat, "Red Hat:enterprise_linux:9::baseos", "RHEA-2026:1"),
        (RockyLinux, "Rocky Linux:9", "RLBA-2026:1"),
        (RockyLinux, "Rocky Linux:9", "RLEA-2026:1"),
        (Suse, "SUSE:Linux Enterprise Server 15 SP5", "SUSE-RU-2026:1-1"),
        (Suse, "SUSE:Linux Enterprise Server 15 SP5", "SUSE-FU-2026:1-1"),
        (Suse, "openSUSE:Leap 15.5", "openSUSE-RU-2026:1-1"),
    ],
)
def test_what_is_no_security_advisory_is_read_only_where_it_names_a_cve(file, feed, ecosystem, advisory):
    package = affected(ecosystem, "made", {"fixed": "1.0-1"})
    without = record(advisory, package, summary="made bug fix update", related=["RHBA-2026:1"])
    assert list(feed().parse(file(without))) == []
    found = rows(feed(), file(without, record(f"{advisory}0", package, related=["CVE-2026-10001"])))
    assert [(row.advisory, row.cves) for row in found] == [(f"{advisory}0", ("CVE-2026-10001",))]


@pytest.mark.parametrize(
    ("feed", "ecosystem", "advisory"),
    [
        (AlmaLinux, "AlmaLinux:9", "ALSA-2026:1"),
        (RedHat, "Red Hat:enterprise_linux:9::baseos", "RHSA-2026:1"),
        (RockyLinux, "Rocky Linux:9", "RLSA-2026:1"),
        (Suse, "SUSE:Linux Enterprise Server 15 SP5", "SUSE-SU-2026:1-1"),
        (Suse, "openSUSE:Leap 15.5", "openSUSE-SU-2026:1-1"),
        (Ubuntu, "Ubuntu:24.04:LTS", "USN-7000-1"),
        (DebianOsv, "Debian:12", "DSA-5000-1"),
    ],
)
def test_a_security_advisory_of_any_vendor_is_read_without_a_cve(file, feed, ecosystem, advisory):
    package = affected(ecosystem, "made", {"fixed": "1.0-1"})
    assert [row.cves for row in rows(feed(), file(record(advisory, package)))] == [()]


def test_cves_are_found_wherever_a_vendor_puts_them_and_nothing_else_is_taken_for_one(file):
    package = affected("Red Hat:enterprise_linux:9::baseos", "made", {"fixed": "1-1.el9"})
    found = rows(
        RedHat(),
        file(
            record(
                "RHSA-2026:1",
                package,
                aliases=["CVE-2026-10001", "GHSA-aaaa-bbbb-cccc"],
                upstream=["CVE-2026-10002", "https://example.com/CVE-2026-10009"],
                related=["CVE-2026-10001", "CVE-2026-10003", "ALSA-2026:1", "CVE-2026"],
            )
        ),
    )
    assert found[0].cves == ("CVE-2026-10001", "CVE-2026-10002", "CVE-2026-10003")


def test_a_notice_of_ubuntu_names_its_cves_with_a_prefix():
    found = rows(Ubuntu(), SAMPLES / "ubuntu/USN-5614-1.json")
    assert {(row.advisory, row.cves) for row in found} == {("USN-5614-1", ("CVE-2021-3782",))}


def test_ubuntus_record_of_a_cve_goes_by_the_cve_and_has_its_priority():
    found = rows(Ubuntu(), SAMPLES / "ubuntu/UBUNTU-CVE-2014-9913.json")
    assert [(row.distribution, row.advisory, row.cves, row.severity) for row in found] == [
        ("ubuntu-pro:14.04", "CVE-2014-9913", ("CVE-2014-9913",), "negligible"),
        ("ubuntu:16.04", "CVE-2014-9913", ("CVE-2014-9913",), "negligible"),
    ]
    assert {row.url for row in found} == {"https://ubuntu.com/security/CVE-2014-9913"}


def test_a_record_of_a_cve_describes_it():
    assert details(Ubuntu(), SAMPLES / "ubuntu/UBUNTU-CVE-2022-24823.json") == [
        Details(
            "CVE-2022-24823",
            json.loads((SAMPLES / "ubuntu/UBUNTU-CVE-2022-24823.json").read_text())["details"],
            "CVSS:3.1/AV:L/AC:L/PR:L/UI:N/S:U/C:H/I:N/A:N",
            "low",
            datetime(2022, 5, 6, 12, 15, tzinfo=UTC),
        )
    ]


def test_an_advisorys_vector_is_that_of_its_cve_only_if_it_has_but_one(file):
    package = affected("Rocky Linux:9", "made", {"fixed": "1-1.el9"})
    vector = [{"type": "CVSS_V3", "score": "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"}]
    one = record("RLSA-1", package, related=["CVE-2026-10001"], severity=vector)
    two = record("RLSA-2", package, related=["CVE-2026-10002", "CVE-2026-10003"], severity=vector)
    assert details(RockyLinux(), file(one, two)) == [
        Details("CVE-2026-10001", cvss_vector="CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H", severity="critical")
    ]


@pytest.mark.parametrize(
    ("more", "severity"),
    [
        ({"summary": "Important: bcel security update"}, "important"),
        ({"summary": "ALSA-2022:5468: php:8.0 security update (Important)"}, "important"),
        ({"summary": "None: made bug fix"}, ""),
        ({"severity": [{"type": "Ubuntu", "score": "medium"}], "summary": "Low: made"}, "medium"),
        ({"references": [{"url": "https://access.redhat.com/security/updates/classification/#moderate"}]}, "moderate"),
        ({"database_specific": {"severity": "HIGH"}}, "high"),
        ({"severity": [{"type": "CVSS_V3", "score": "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"}]}, "critical"),
        ({"severity": [{"type": "CVSS_V2", "score": "AV:N/AC:L/Au:N/C:P/I:N/A:N"}]}, "medium"),
        ({"severity": [{"type": "CVSS_V3", "score": "CVSS:3.1/nonsense"}]}, ""),
        ({"aliases": None, "severity": None, "summary": None, "references": None}, ""),
        ({}, ""),
    ],
)
def test_the_severity_is_the_vendors_word_wherever_it_stands_and_else_what_the_vector_says(file, more, severity):
    package = affected("AlmaLinux:9", "made", {"fixed": "1-1.el9"})
    assert [row.severity for row in rows(AlmaLinux(), file(record("ALSA-1", package, **more)))] == [severity]


def test_the_newest_vector_is_kept(file):
    vectors = [
        "CVSS:3.1/AV:L/AC:L/PR:L/UI:R/S:U/C:H/I:H/A:H",
        "CVSS:4.0/AV:N/AC:L/AT:N/PR:N/UI:N/VC:H/VI:H/VA:H/SC:N/SI:N/SA:N",
        "AV:N/AC:L/Au:N/C:P/I:N/A:N",
    ]
    severity = [{"type": "CVSS_V", "score": vector} for vector in vectors]
    made = record("UBUNTU-CVE-2026-10001", affected("Ubuntu:24.04:LTS", "made"), severity=severity)
    assert [(entry.cvss_vector, entry.severity) for entry in details(Ubuntu(), file(made))] == [
        (vectors[1], "critical")
    ]


@pytest.mark.parametrize(
    ("urgency", "status", "severity"),
    [
        ("unimportant", "unimportant", "unimportant"),
        ("end-of-life", "eol", ""),
        ("not yet assigned", "open", ""),
        ("low", "open", "low"),
    ],
)
def test_debians_urgency_says_why_there_is_no_fix_or_how_severe_it_is(file, urgency, status, severity):
    package = affected("Debian:12", "made", ecosystem_specific={"urgency": urgency})
    found = rows(DebianOsv(), file(record("DEBIAN-CVE-2026-10001", package)))
    assert [(row.advisory, row.status, row.severity) for row in found] == [("CVE-2026-10001", status, severity)]


def test_a_withdrawn_advisory_is_left_out(file):
    package = affected("AlmaLinux:9", "made", {"fixed": "1-1.el9"})
    assert rows(AlmaLinux(), file(record("ALSA-1", package, withdrawn="2026-01-01T00:00:00Z"))) == []


def test_a_version_of_0_means_not_affected(file):
    assert rows(DebianOsv(), file(record("DSA-1", affected("Debian:12", "made", {"fixed": "0"})))) == []


def test_rows_that_make_no_sense_are_dropped_and_counted_and_the_others_are_read(file):
    feed = RedHat()
    baseos = "Red Hat:enterprise_linux:8::crb"
    packages = (
        affected(baseos, "SLOF", {"fixed": "virt-devel:rhel"}),  # as in RHSA-2024:4420
        affected(baseos, "", {"fixed": "1-1.el8"}),
        {"package": {"ecosystem": baseos, "name": "only-versions"}, "versions": ["1-1.el8"]},
        affected(baseos, "right", {"fixed": "1-1.el8"}),
    )
    found = rows(feed, file({"summary": "no id"}, "no record", record("RHSA-2024:4420", *packages)))
    assert [row.name for row in found] == ["right"]
    assert feed.dropped == 5


# --- files -----------------------------------------------------------------------------------------


def documents() -> Iterable[tuple[str, bytes]]:
    for path in sorted((SAMPLES / "almalinux").rglob("*")):
        if path.is_file():  # the licence, too: what is no .json is not read
            yield str(path.relative_to(SAMPLES)), path.read_bytes()


def zipped(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in documents():
            archive.writestr(name, data)


def tarred(path: Path) -> None:
    with tarfile.open(path, f"w:{path.suffix[1:]}") as archive:
        for name, data in documents():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))


@pytest.mark.parametrize(("name", "write"), [("all.zip", zipped), ("osv.tar.xz", tarred), ("osv.tar.bz2", tarred)])
def test_an_archive_says_the_same_as_the_folder_whatever_it_is_called(tmp_path, name, write):
    write(tmp_path / name)
    (tmp_path / name).rename(tmp_path / "alma")
    found = list(AlmaLinux().parse(tmp_path / "alma"))
    assert len(found) > 20
    assert set(found) == set(AlmaLinux().parse(SAMPLES / "almalinux"))


def test_a_document_that_is_nonsense_does_not_hide_the_others(tmp_path):
    package = affected("AlmaLinux:9", "made", {"fixed": "1-1.el9"})
    (tmp_path / "1.json").write_text("{")
    (tmp_path / "2.json").write_text('{"id": 5}')
    (tmp_path / "3.json").write_text(json.dumps(record("ALSA-1", package)))
    feed = AlmaLinux()
    assert [row.name for row in rows(feed, tmp_path)] == ["made"]
    assert feed.dropped == 2


@pytest.mark.parametrize("data", [b"", b"<html>Sign in</html>", b"PK\x03\x04 and nothing of a zip", b"[]", b"{}"])
def test_a_file_without_advisories_is_an_error_and_not_an_empty_feed(tmp_path, data):
    path = tmp_path / "alma"
    path.write_bytes(data)
    with pytest.raises(FeedError, match="alma"):
        list(AlmaLinux().parse(path))


def test_an_archive_that_was_cut_off_is_an_error(tmp_path):
    for name, write in (("all.zip", zipped), ("osv.tar.xz", tarred)):
        path = tmp_path / name
        write(path)
        path.write_bytes(path.read_bytes()[:-2000])
        with pytest.raises(FeedError, match=name):
            list(AlmaLinux().parse(path))


def test_a_file_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(FeedError, match=r"gone\.zip"):
        list(AlmaLinux().parse(tmp_path / "gone.zip"))


# --- what has changed ------------------------------------------------------------------------------

MODIFIED = """2026-08-21T10:00:00.123456Z,ALSA-2026:3
2026-08-20T10:00:00Z,ALSA-2026:2
2026-08-19T10:00:00Z,ALSA-2026:1
"""


def test_the_changed_ids_end_at_the_first_time_that_is_known():
    lines = MODIFIED.splitlines()
    assert changed_ids(lines, datetime(2026, 8, 19, 10, tzinfo=UTC)) == ["ALSA-2026:3", "ALSA-2026:2"]
    assert changed_ids(lines, datetime(2026, 8, 22, tzinfo=UTC)) == []
    assert changed_ids(lines, None) == ["ALSA-2026:3", "ALSA-2026:2", "ALSA-2026:1"]


def test_no_line_is_read_beyond_the_first_that_is_known():
    def lines():
        yield from MODIFIED.splitlines()
        raise AssertionError("read on")

    assert changed_ids(lines(), datetime(2026, 8, 20, 10, tzinfo=UTC)) == ["ALSA-2026:3"]


# --- the full feed ---------------------------------------------------------------------------------


def existing(name: str) -> list[Path]:
    return [ALMA / name] if (ALMA / name).exists() else []


@pytest.mark.slow
def test_the_whole_feed_of_almalinux_9_is_read():
    for archive in existing("AlmaLinux-9-osv-all.zip"):
        feed = AlmaLinux()
        found = rows(feed, archive)
        assert Counter(row.distribution for row in found) == {"alma:9": 22969, "alma:8": 745, "alma:10": 216}
        assert sum(bool(row.module) for row in found) == 1668
        assert len({row.advisory for row in found}) == 1780
        assert len({cve for row in found for cve in row.cves}) == 4145
        assert (feed.dropped, feed.left_out) == (0, {"ALBA": 82})


@pytest.mark.slow
def test_the_whole_feed_of_almalinux_is_read():
    for archive in existing("almalinux-osv-2026-08-21.tar.xz"):
        feed = AlmaLinux()
        found = rows(feed, archive)
        once = {(row.distribution, row.name, row.advisory, row.fixed_version): row for row in found}  # or per module
        assert len(once) == 59899
        assert sum(bool(row.module) for row in once.values()) == 16764
        assert len({row.advisory for row in found if row.module}) == 593
        assert len({row.advisory for row in found if row.module == "?"}) == 7
        assert len({cve for row in found for cve in row.cves}) == 6592
        assert {row.advisory[:4] for row in found if not row.cves} == {"ALSA"}
        assert (feed.dropped, feed.left_out) == (0, {"ALBA": 7065, "ALEA": 2196})
