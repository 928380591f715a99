"""The report: its words are in it, whatever script they are in, and what is not known is said."""

import io
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from pypdf import PdfReader

from scanner.exports.loading import StoredScan
from scanner.exports.pdf import Pdf, nice_top
from scanner.exports.sheet import BOLD, REGULAR, Sheet, drawable, width_of, wrapped
from scanner.models import Scan
from scanner.package_managers.interface import Gap, Installed
from tests.exports.scans import EXPLOITED, PACKAGES, scanned
from tests.make import make_history, make_host, make_report, make_scan, make_update

pytestmark = pytest.mark.django_db


def read(scan: Scan) -> PdfReader:
    return PdfReader(io.BytesIO(b"".join(Pdf().scan(StoredScan(scan)))))


def words(pdf: PdfReader) -> str:
    return " ".join(" ".join(page.extract_text() for page in pdf.pages).split())


def test_it_says_how_the_host_stands_and_what_to_fix_first(scan: Scan) -> None:
    pdf = read(scan)
    text = words(pdf)
    assert pdf.metadata is not None and pdf.metadata.title == "Security report of web-1"
    assert f"Scan of {scan.date.astimezone(tz=None):%-d %b %Y}"[:12] in text
    assert "Low Risk 2 security updates are waiting. 2 of them fix what is known to be exploited." in text
    assert (
        f"1. libssl3 3.0.2-1 {EXPLOITED} is known to be exploited, also by ransomware (CISA, since 3 Jan 2026)" in text
    )
    assert "apt-get install --only-upgrade libssl3" in text
    assert "No other update is waiting" not in text and "1 other update is waiting. 6 packages are installed." in text
    assert "Out of reach (1)" in text and "4:13-1" in text
    assert "No fix yet 1 It is vulnerable, and the vendor has not published a fix yet." in text
    assert "Known to be exploited (1)" in text
    assert f"/security/package-scanner/scan/{scan.pk}/" in text
    assert "page 1 of " in text


def test_its_sections_are_in_the_outline(scan: Scan) -> None:
    titles = [entry.title for entry in read(scan).outline]  # type: ignore[union-attr]
    assert titles[:3] == ["The 30 days up to this scan", "Fix first", "Security updates (2)"]


def test_what_is_not_known_is_said() -> None:
    gap = Gap("The list of security.debian.org could not be fetched.")
    text = words(read(scanned(Installed("a", "amd64", "1"), gaps=(gap,), distribution="fedora:41")))
    assert "Unknown How many security updates are waiting is not known" in text
    assert "Security updates (?)" in text
    assert "None was found, but not everything could be read." in text
    assert "Could not be read: The list of security.debian.org could not be fetched." in text
    assert "No feed is about fedora:41" in text
    assert "Whether a reboot is needed is not known." in text
    assert "That is no all-clear." in text


def test_a_package_of_somebody_else_is_said_not_to_be_looked_up(scan: Scan) -> None:
    assert "Not looked up for vulnerabilities (1): It comes from Docker CE" in words(read(scan))


def test_names_of_every_script_are_in_it() -> None:
    name = "Ω-größe-Ščepa-Київ"
    scan = scanned(updates=(make_update(name, reason="Grüße, 漢字 \N{GRINNING FACE} and \x07."),), host="Grüße-Ω")
    text = words(read(scan))
    assert name in text
    assert "Grüße-Ω" in text
    assert "[U+6F22][U+5B57] [U+1F600] and [U+0007]." in text


def test_a_version_without_end_stays_on_the_page() -> None:
    version = "1.0+git" + "20260101abcdef" * 17
    pdf = read(scanned(updates=(make_update("a", available_version=version, reason="word " * 3000),)))
    assert version in words(pdf).replace(" ", "")
    assert "".join(words(pdf).split()).count("word") >= 3000
    assert len(pdf.pages) > 1


def test_400_security_updates_are_all_in_it_with_a_heading_on_each_page() -> None:
    pdf = read(scanned(updates=tuple(make_update(f"package-{n:03}") for n in range(400))))
    pages = [page.extract_text() for page in pdf.pages]
    assert all(f"package-{n:03} amd64" in " ".join(pages) for n in range(400))
    assert sum("Waiting since" in page for page in pages) >= len(pages) - 2
    assert f"page {len(pages)} of {len(pages)}" in pages[-1]


def test_the_trend_ends_with_the_scan_that_the_report_is_about() -> None:
    scans = make_history(make_host(), 40, [n % 25 for n in range(40)])
    days = StoredScan(scans[-1]).report().days
    assert len(days) == 30 or len(days) == 31
    assert days[-1][1] == scans[-1].security_updates
    earlier = StoredScan(scans[20]).report().days
    assert earlier[-1][1] == scans[20].security_updates
    assert "24 security" in words(read(scans[24]))


def test_a_failed_scan_between_is_a_gap_and_not_a_zero() -> None:
    host = make_host()
    make_history(host, 3, [5, 5, 5])
    make_scan(host, state="failed", created_at=timezone.now() - timedelta(days=1))
    scan = make_scan(host, report=make_report(make_update()))
    assert [security for _, security, _ in StoredScan(scan).report().days] == [5, 5, 1]


@pytest.mark.parametrize(("highest", "top"), [(0, 4), (4, 4), (5, 8), (21, 40), (81, 200), (4001, 8000)])
def test_the_axis_ends_with_a_round_number(highest: int, top: int) -> None:
    assert nice_top(highest) == top


@pytest.mark.parametrize("font", [REGULAR, BOLD])
def test_lines_are_no_wider_than_they_may_be(font: str) -> None:
    texts: list[Any] = ["", "a", "word " * 40, "x" * 500, f"{'y' * 80} z {'w' * 90}", "Ω" * 200]
    for text in texts:
        lines = wrapped(text, 120, 8, font)
        assert all(width_of(line, font) * 8 <= 120.001 for line in lines)
        assert "".join("".join(lines).split()) == "".join(text.split())


def test_a_character_that_the_font_lacks_is_named() -> None:
    Sheet("", "")
    assert drawable("ü Ω → 漢") == "ü Ω → [U+6F22]"
    assert drawable("a\tb\nc") == "a b c"


def test_an_empty_host_makes_a_report() -> None:
    text = words(read(scanned(distribution="")))
    assert "Security updates (0) None is waiting." in text
    assert PACKAGES[0].name not in text
