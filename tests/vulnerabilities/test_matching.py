"""Every trap that made others count wrongly, one test each."""

from dataclasses import replace
from typing import Any

import pytest

from scanner.vulnerabilities.matching import Finding, Item, Row, UnknownDistribution, family, match, names
from scanner.vulnerabilities.version_keys import dpkg_key

DEBIAN, UBUNTU, ALMA, ARCH = "debian:12", "ubuntu:22.04", "alma:8", "arch"


def row(name: str, fixed: str = "", distribution: str = DEBIAN, **fields: Any) -> Row:
    key, _ = family(distribution.replace("ubuntu-pro:", "ubuntu:"))
    keys = {f"{field}_key": key(fields.pop(field)) for field in ("introduced", "last_affected") if field in fields}
    values = {"advisory": "A-1", "cves": ("CVE-2026-1",), "status": "fixed" if fixed else "open", **fields, **keys}
    return Row(distribution, name, fixed_version=fixed, fixed_key=key(fixed) if fixed else None, **values)


def found(item: Item, *rows: Row, distribution: str = DEBIAN) -> list[Finding]:
    return list(match([item], rows, distribution))


def test_a_version_before_the_fix_is_vulnerable_and_the_fix_is_not() -> None:
    (finding,) = found(Item("openssl", "3.0.1-1", "amd64"), row("openssl", "3.0.2-1", severity="high"))
    wanted = Finding("CVE-2026-1", "openssl", "amd64", "3.0.1-1", "3.0.2-1", "fixed", "high", "A-1")
    assert finding == replace(wanted, fixed_key=dpkg_key("3.0.2-1"))
    assert found(Item("openssl", "3.0.2-1"), row("openssl", "3.0.2-1")) == []


@pytest.mark.parametrize(
    ("installed", "module", "rows_module", "vulnerable"),
    [
        ("1:18.9.0-1.module_el9+1", "", "nodejs:18", True),  # one number tells the streams of nodejs apart
        ("1:16.9.0-1.module_el9+1", "", "nodejs:18", False),
        ("1:18.9.0-1.module_el9+1", "nodejs:18", "?", True),  # the row does not say which, the version does
        ("1:16.9.0-1.module_el9+1", "nodejs:16", "?", False),
        ("1:18.9.0-1.el9", "", "?", False),
    ],
)
def test_a_stream_that_nobody_named_is_told_by_the_first_numbers(
    installed: str, module: str, rows_module: str, vulnerable: bool
) -> None:
    item = Item("nodejs", installed, "x86_64", module=module)
    fix = row("nodejs", "1:18.12.1-1.module_el9+2", distribution="alma:9", module=rows_module)
    assert bool(found(item, fix, distribution="alma:9")) is vulnerable


def test_debian_goes_by_the_source_package_and_its_own_version() -> None:
    """libldb2 2:2.6.2+samba4.17.12 comes from samba 2:4.17.12: its own version says nothing."""
    library = Item("libldb2", "2:2.6.2+samba4.17.12", "amd64", "samba", "2:4.17.12+dfsg-0+deb12u1")
    assert found(library, row("samba", "2:4.17.12+dfsg-0+deb12u1")) == []
    assert [each.package for each in found(library, row("samba", "2:4.17.13"))] == ["libldb2"]


def test_a_binary_rebuild_is_still_the_same_source() -> None:
    assert found(Item("bash", "5.2-3+b1"), row("bash", "5.2-3")) == []


@pytest.mark.parametrize("fixed", ["1:1.0-1", "0:3.0-1"])
def test_epochs_count_on_both_sides(fixed: str) -> None:
    assert found(Item("vim", "2.0-1"), row("vim", fixed)) != []
    assert found(Item("vim", "2:0.1-1"), row("vim", fixed)) == []


def test_what_is_not_fixed_is_a_finding_with_the_vendors_status() -> None:
    for status in ("open", "no_dsa", "ignored", "postponed", "unimportant", "eol", "undetermined"):
        (finding,) = found(Item("vim", "9.0-1"), row("vim", status=status))
        assert (finding.status, finding.fixed_version) == (status, "")


def test_what_was_introduced_later_does_not_concern_older_versions() -> None:
    assert found(Item("vim", "8.0-1"), row("vim", "9.1-1", introduced="9.0-1")) == []
    assert found(Item("vim", "9.0-1"), row("vim", "9.1-1", introduced="9.0-1")) != []


def test_a_cve_that_was_fixed_twice_is_fixed_by_the_last() -> None:
    rows = (row("vim", "9.0-2", advisory="DSA-1"), row("vim", "9.0-3", advisory="DSA-2"))
    assert [each.fixed_version for each in found(Item("vim", "9.0-1"), *rows)] == ["9.0-3"]
    assert [each.fixed_version for each in found(Item("vim", "9.0-2"), *rows)] == ["9.0-3"]
    assert found(Item("vim", "9.0-3"), *rows) == []


def test_several_fixes_in_one_advisory_are_one_verdict() -> None:
    rows = [row("kernel", version, ALMA, advisory="ALSA-1") for version in ("4.18.0-5.el8", "4.18.0-9.el8_2")]
    assert found(Item("kernel", "4.18.0-5.el8"), *rows, distribution=ALMA) == []
    assert len(found(Item("kernel", "4.18.0-4.el8"), *rows, distribution=ALMA)) == 1


def test_modules_and_base_packages_of_one_name_have_nothing_to_do_with_each_other() -> None:
    """ALSA-2024:3128 is about the stream perl:5.32, and must not touch the base perl 5.26."""
    modular = row("perl", "4:5.32.1-473.module_el8.10.0+3844+c3c6ed6e", ALMA, module="perl:5.32")
    base = row("perl", "4:5.26.3-423.el8", ALMA)
    assert found(Item("perl", "4:5.26.3-422.el8"), modular, distribution=ALMA) == []
    labelled = Item("perl", "4:5.32.1-471.module_el8.6.0+2766+8bf0b7ce", module="perl:5.32")
    assert len(found(labelled, modular, distribution=ALMA)) == 1
    assert found(labelled, base, distribution=ALMA) == []
    other = Item("perl", "4:5.30.1-452.module_el8.4.0+2179+a40fb165", module="perl:5.30")
    assert found(other, modular, distribution=ALMA) == []
    unlabelled = Item("perl", "4:5.30.1-452.module_el8.4.0+2179+a40fb165")
    assert found(unlabelled, modular, distribution=ALMA) == []
    unlabelled = Item("perl", "4:5.32.1-471.module_el8.6.0+2766+8bf0b7ce")
    assert len(found(unlabelled, modular, distribution=ALMA)) == 1


def test_what_only_pro_fixes_says_so_until_pro_is_there() -> None:
    pro = row("vim", "2:8.2.3995-1ubuntu2.1+esm1", "ubuntu-pro:22.04")
    (finding,) = found(Item("vim", "2:8.2.3995-1ubuntu2"), pro, distribution=UBUNTU)
    assert finding.status == "pro"
    (finding,) = found(Item("vim", "2:8.2.3995-1ubuntu2.1+esm0"), pro, distribution=UBUNTU)
    assert finding.status == "fixed"
    assert found(Item("vim", "2:8.2.3995-1ubuntu2.1+esm1"), pro, distribution=UBUNTU) == []


def test_arch_does_not_confirm_what_is_newer_than_the_version_it_was_found_in() -> None:
    known = row("vim", "", ARCH, last_affected="9.0-1", advisory="AVG-1")
    assert [each.status for each in found(Item("vim", "9.0-1"), known, distribution=ARCH)] == ["open"]
    assert [each.status for each in found(Item("vim", "9.1-1"), known, distribution=ARCH)] == ["unconfirmed"]


@pytest.mark.parametrize(
    ("source", "known"),
    [("linux-signed-amd64", "linux"), ("linux-signed-hwe-5.15", "linux-hwe-5.15"), ("linux-meta", "linux")],
)
def test_signed_kernels_are_looked_up_as_the_feeds_know_them(source: str, known: str) -> None:
    assert names([Item("linux-image-6.1.0-18-amd64", "6.1.76-1", "amd64", source, "6.1.76+1")], DEBIAN) == {known}


def test_an_advisory_without_a_cve_is_a_finding_of_its_own() -> None:
    (finding,) = found(Item("vim", "9.0-1"), row("vim", "9.0-2", cves=(), advisory="TEMP-0000001-ABCDEF"))
    assert (finding.cve, finding.advisory) == ("", "TEMP-0000001-ABCDEF")


def test_another_architectures_row_does_not_count() -> None:
    assert found(Item("vim", "9.0-1", "amd64"), row("vim", "9.0-2", architecture="arm64")) == []


def test_a_version_that_is_none_is_no_finding_and_no_crash() -> None:
    assert found(Item("vim", "9.0-é"), row("vim", "9.0-2")) == []


def test_a_distribution_that_no_feed_knows_is_named() -> None:
    with pytest.raises(UnknownDistribution, match="slackware:15"):
        list(match([], [], "slackware:15"))
