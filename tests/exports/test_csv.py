"""CSV: every row of the list, every cell as it is, and no cell that a spreadsheet would calculate."""

import csv
import io
from pathlib import Path
from typing import Any

import pytest

from scanner.exports.csv import Csv, cell
from scanner.exports.loading import StoredScan
from scanner.models import Scan
from scanner.package_managers.interface import Installed
from scanner.vulnerabilities import inventory
from tests.exports.scans import EXPLOITED, IGNORED, OPEN, PACKAGES, read_feed, scanned
from tests.make import make_update

pytestmark = pytest.mark.django_db


def written(scan: Scan, part: str, **wishes: Any) -> str:
    return b"".join(Csv().scan(StoredScan(scan, **wishes), part)).decode()


def rows(scan: Scan, part: str, **wishes: Any) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(written(scan, part, **wishes).removeprefix("\ufeff"), newline="")))


def test_it_is_by_the_rfc_and_begins_with_a_byte_order_mark(scan: Scan) -> None:
    text = written(scan, "packages")
    assert text.startswith("\ufeffname,version,")
    assert text.endswith("\r\n")
    assert text.count("\r\n") == text.count("\n") == len(PACKAGES) + 1


def test_all_packages_are_in_it(scan: Scan) -> None:
    found = rows(scan, "packages")
    assert [(row["name"], row["architecture"], row["version"]) for row in found] == sorted(
        (each.name, each.architecture, each.version) for each in PACKAGES
    )
    vim = next(row for row in found if row["name"] == "vim")
    assert (vim["held"], vim["source_version"], vim["host"], vim["distribution"]) == (
        "true",
        "2:9.0-1",
        "web-1",
        "debian:12",
    )
    docker = next(row for row in found if row["name"] == "docker-ce")
    assert docker["third_party"] == "Docker CE" and "advisories say nothing of it" in docker["skipped"]


def test_a_list_of_packages_can_be_checked_elsewhere(scan: Scan) -> None:
    found = inventory.read(written(scan, "packages"))
    assert [(item.name, item.version, item.source, item.source_version) for item in found.items] == [
        (row["name"], row["version"], row["source"], row["source_version"]) for row in rows(scan, "packages")
    ]


def test_updates_tell_what_they_fix_and_what_is_blocked(scan: Scan) -> None:
    found = {row["name"]: row for row in rows(scan, "updates")}
    assert list(found) == ["g++", "libssl3", "openssl", "vim"]
    assert (found["libssl3"]["security"], found["libssl3"]["cves"]) == ("true", EXPLOITED)
    assert f"{EXPLOITED} is known to be exploited" in found["libssl3"]["why"]
    assert (found["g++"]["blocked"], found["vim"]["security"], found["vim"]["held"]) == ("pinned", "false", "true")


def test_each_part_has_the_rows_of_its_page(scan: Scan) -> None:
    assert [row["name"] for row in rows(scan, "security")] == ["g++", "libssl3", "openssl"]
    assert [row["name"] for row in rows(scan, "others")] == ["vim"]
    assert [row["name"] for row in rows(scan, "updates", q="SSL")] == ["libssl3", "openssl"]
    assert [row["name"] for row in rows(scan, "packages", q="gcc")] == ["g++"]


def test_an_update_of_which_nobody_knows_whether_it_is_security_is_among_the_others() -> None:
    scan = scanned(updates=(make_update("pkg", None),))
    (row,) = rows(scan, "others")
    assert (row["security"], row["epss"]) == ("", ""), "what is not known is empty, and neither false nor 0"


def test_vulnerabilities_have_state_urgency_and_accepted_risk(scan: Scan) -> None:
    found = {row["id"]: row for row in rows(scan, "vulnerabilities", located=True)}
    assert next(iter(found)) == EXPLOITED, "the most urgent first"
    first = found[EXPLOITED]
    assert (first["source"], first["packages"], first["fixed_version"]) == ("openssl", "libssl3 openssl", "3.0.2-1")
    assert (first["status"], first["state"], first["severity"]) == ("fixed", "Update waits", "high")
    assert (first["exploited_since"], first["used_by_ransomware"]) == ("2026-01-03", "true")
    assert first["urls"].startswith("https://security-tracker.debian.org/")
    accepted = found[OPEN]
    assert (accepted["risk_accepted_by"], accepted["epss"]) == ("alice", "0.42")
    assert accepted["risk_accepted_reason"] == "Nobody opens files there, says Jürgen."
    assert found[IGNORED]["status"] == "ignored"
    assert [row["id"] for row in rows(scan, "vulnerabilities", statuses=("ignored",))] == [IGNORED]
    assert [row["id"] for row in rows(scan, "vulnerabilities", q="openssl")] == [EXPLOITED]


def test_a_fixed_kernel_that_does_not_run_yet_asks_for_a_reboot(tmp_path: Path, settings: Any) -> None:
    settings.SCANNER_DATA = tmp_path
    read_feed(
        tmp_path, {"linux": {"CVE-2026-8": {"status": "resolved", "fixed_version": "6.1.80-1", "urgency": "high"}}}
    )
    kernels = {"6.1.0-18": "6.1.76-1", "6.1.0-21": "6.1.90-1"}
    images = (Installed(f"linux-image-{abi}-amd64", "amd64", at, "linux", at) for abi, at in kernels.items())
    (row,) = rows(scanned(*images, kernel="6.1.0-18-amd64"), "vulnerabilities", located=True)
    assert (row["state"], row["installed_versions"]) == ("Reboot needed", "6.1.76-1")
    assert "linux-image-6.1.0-21-amd64 6.1.90-1 is installed and has the fix" in row["means"]


def test_without_a_feed_it_lists_what_the_package_manager_names() -> None:
    update = make_update("vim", cves=("CVE-2026-7",), advisories=("FEDORA-2026-1",), severity="Important")
    scan = scanned(PACKAGES[3], updates=(update,), distribution="fedora:41", package_manager="dnf")
    (row,) = rows(scan, "vulnerabilities", located=True)
    assert (row["id"], row["packages"], row["status"], row["state"]) == ("CVE-2026-7", "vim", "fixed", "Update waits")
    assert (row["severity"], row["advisories"], row["found_by"]) == ("important", "FEDORA-2026-1", "dnf")


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\rx", "\nx", "＝1"])  # noqa: RUF001
def test_no_cell_is_a_formula(text: str) -> None:
    assert cell(text) == f"'{text}"
    assert cell([text, "x"]) == f"'{text} x"


@pytest.mark.parametrize("text", ["1.0-2", "g++", 'a"b,c;d', "über", ""])
def test_other_cells_stay_as_they_are(text: str) -> None:
    assert cell(text) == text


def test_commas_quotes_and_lines_in_a_cell_stay_in_it() -> None:
    reason = 'It says "no", =1+1,\r\nand a line.'
    scan = scanned(updates=(make_update("a", reason=reason), make_update("b", reason="=cmd|' /C calc'!A0")))
    found = rows(scan, "security")
    assert [row["reason"] for row in found] == [reason, "'=cmd|' /C calc'!A0"]
