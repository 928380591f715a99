"""Files for people and programs: who gets them, what they are called, what is in them, and how they are sent."""

import asyncio
import csv
import io
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import connections
from django.test import AsyncClient, Client
from django.utils import timezone
from pypdf import PdfReader

from frontend.export_pages import file_name
from scanner.exports.formats import EXPORTS
from scanner.models import ApiToken, Scan
from scanner.package_managers.interface import Installed
from tests.exports.scans import EXPLOITED, IGNORED, scan_of_everything
from tests.make import make_host, make_report, make_scan, make_update, make_user

pytestmark = pytest.mark.django_db

BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


@pytest.fixture
def staff(client: Client) -> Client:
    client.force_login(make_user())
    return client


@pytest.fixture
def scan(tmp_path: Path, settings: Any) -> Scan:
    settings.SCANNER_DATA = tmp_path
    return scan_of_everything(tmp_path)


def address(scan: Scan, name: str, query: str = "") -> str:
    return f"/security/package-scanner/scan/{scan.pk}/export/{name}/{query}"


def bearer(scope: str = "read") -> dict[str, Any]:
    return {"headers": {"Authorization": f"Bearer {ApiToken.objects.issue('grafana', scope)}"}}


def body(answer: Any) -> bytes:
    return b"".join(answer) if answer.streaming else bytes(answer.content)


def rows(client: Client, scan: Scan, query: str) -> list[dict[str, str]]:
    text = body(client.get(address(scan, "csv", query))).decode("utf-8-sig")
    return list(csv.DictReader(io.StringIO(text, newline="")))


# --- who gets what ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [each.name for each in EXPORTS])
def test_staff_and_tokens_get_every_format(client: Client, scan: Scan, name: str) -> None:
    answer = client.get(address(scan, name), **bearer())
    assert answer.status_code == 200
    content = body(answer)
    assert len(content) > 100
    assert answer["Cache-Control"].startswith("max-age=0, no-cache")
    client.force_login(make_user())
    assert len(body(client.get(address(scan, name), headers=BROWSER))) > 100


def test_what_is_in_the_files(staff: Client, scan: Scan) -> None:
    types = {name: staff.get(address(scan, name))["Content-Type"] for name in ("csv", "json", "cyclonedx", "pdf")}
    assert types == {
        "csv": "text/csv; charset=utf-8; header=present",
        "json": "application/json",
        "cyclonedx": "application/vnd.cyclonedx+json; version=1.6",
        "pdf": "application/pdf",
    }
    assert json.loads(body(staff.get(address(scan, "json"))))["id"] == scan.pk
    assert json.loads(body(staff.get(address(scan, "cyclonedx"))))["bomFormat"] == "CycloneDX"
    assert "Security report" in PdfReader(io.BytesIO(body(staff.get(address(scan, "pdf"))))).pages[0].extract_text()


def test_strangers_get_nothing(client: Client, scan: Scan) -> None:
    answer = client.get(address(scan, "json"))
    assert (answer.status_code, answer["WWW-Authenticate"]) == (401, "Bearer")
    browser = client.get(address(scan, "json"), headers=BROWSER)
    assert browser["Location"] == f"/sign-in/?next={address(scan, 'json')}"
    client.force_login(make_user(staff=False))
    assert client.get(address(scan, "json")).status_code == 403
    assert client.get(address(scan, "json"), headers=BROWSER).status_code == 403
    assert client.post(address(scan, "json")).status_code == 405


# --- names ------------------------------------------------------------------------------------------


def test_the_name_of_the_file_has_host_date_and_part(staff: Client, scan: Scan) -> None:
    day = f"{scan.date:%Y-%m-%d}"
    expected = {
        ("csv", "?part=security"): f"web-1-{day}-scan-{scan.pk}-security.csv",
        ("csv", "?part=packages&q=vim"): f"web-1-{day}-scan-{scan.pk}-packages-filtered.csv",
        ("cyclonedx", ""): f"web-1-{day}-scan-{scan.pk}.cdx.json",
        ("pdf", ""): f"web-1-{day}-scan-{scan.pk}.pdf",
    }
    for (name, query), file in expected.items():
        assert staff.get(address(scan, name, query))["Content-Disposition"] == f'attachment; filename="{file}"'


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("web-1", "web-1.csv"),
        ("../../etc/passwd", "etc_passwd.csv"),
        (".hidden", "hidden.csv"),
        ('a"b\r\nSet-Cookie: x', "a_b_Set-Cookie_x.csv"),
        ("größe", "größe.csv"),
        ("/", ".csv"),
    ],
)
def test_no_host_name_makes_a_path_or_a_header(host: str, name: str) -> None:
    assert file_name([host], "csv") == name


def test_a_name_that_is_not_ascii_is_sent_by_the_rfc(staff: Client) -> None:
    scan = make_scan(make_host("größe"))
    assert "filename*=utf-8''gr%C3%B6%C3%9Fe-" in staff.get(address(scan, "csv"))["Content-Disposition"]


# --- what you see is what you get -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tab", "part"), [("security", "security"), ("updates", "others"), ("all", "updates"), ("packages", "packages")]
)
@pytest.mark.parametrize("q", ["", "ssl", "G++", "zzz"])
def test_a_list_of_the_page_is_the_file(staff: Client, scan: Scan, tab: str, part: str, q: str) -> None:
    shown = staff.get(f"{scan.get_absolute_url()}?tab={tab}&q={q}")
    names = [row.name for row in shown.context["table"].page]
    pinned = [row.name for row in shown.context.get("pinned") or () if q.lower() in row.name.lower()]
    assert sorted(row["name"] for row in rows(staff, scan, f"?part={part}&q={q}")) == sorted([*names, *pinned])


@pytest.mark.parametrize("query", ["", "&status=all", "&status=ignored", "&q=openssl", "&status=all&q=vim"])
def test_the_vulnerabilities_of_the_page_are_the_file(staff: Client, scan: Scan, query: str) -> None:
    shown = staff.get(f"{scan.get_absolute_url()}?tab=vulnerabilities{query}").context["found"]["page"]
    found = rows(staff, scan, f"?part=vulnerabilities{query}")
    assert [(row["id"], row["source"]) for row in found] == [(row.cve.id, row.source) for row in shown]
    assert [row["state"] for row in found] == [row.word.label for row in shown]


def test_the_page_links_to_the_very_list_that_it_shows(staff: Client, scan: Scan) -> None:
    page = staff.get(f"{scan.get_absolute_url()}?tab=security&q=libssl").content.decode()
    assert f'href="{address(scan, "csv")}?part=security&amp;q=libssl"' in page
    page = staff.get(f"{scan.get_absolute_url()}?tab=vulnerabilities&status=ignored").content.decode()
    assert f'href="{address(scan, "csv")}?part=vulnerabilities&amp;status=ignored"' in page
    assert [row["id"] for row in rows(staff, scan, "?part=vulnerabilities&status=ignored")] == [IGNORED]
    page = staff.get(scan.get_absolute_url()).content.decode()
    for name in ("json", "cyclonedx", "pdf"):
        assert f'href="{address(scan, name)}"' in page
    assert f'href="{address(scan, "csv")}?part=updates"' in page


def test_search_swaps_the_link_as_well(staff: Client, scan: Scan) -> None:
    for tab in ("security", "vulnerabilities"):
        page = staff.get(f"{scan.get_absolute_url()}?tab={tab}").content.decode()
        assert 'hx-select-oob="#found,#export"' in page and 'id="export"' in page


def test_a_wish_that_cannot_be_fulfilled_is_no_silent_one(staff: Client, scan: Scan) -> None:
    for name, query, words in (
        ("json", "?q=vim", "always about the whole scan"),
        ("pdf", "?part=packages", "always about the whole scan"),
        ("csv", "?part=everything", "Known are updates, security, others, packages, vulnerabilities"),
        ("csv", "?part=packages&status=fixed", "needs ?part=vulnerabilities"),
    ):
        answer = staff.get(address(scan, name, query))
        assert answer.status_code == 400 and words in answer.json()["message"]
    told = staff.get(address(scan, "csv", "?part=everything"), headers=BROWSER, follow=True)
    assert "There is no part &#x27;everything&#x27;" in told.content.decode()


def test_a_scan_without_a_result_cannot_be_exported(staff: Client) -> None:
    failed = make_scan(state="failed")
    for export in EXPORTS:
        answer = staff.get(address(failed, export.name))
        assert answer.status_code == 409 and "came to no result" in answer.json()["message"]
    told = staff.get(address(failed, "csv"), headers=BROWSER, follow=True)
    assert told.redirect_chain[0][0] == failed.get_absolute_url()
    assert "came to no result" in told.content.decode()
    assert "/export/" not in told.content.decode()


def test_what_is_not_there_is_404(staff: Client, scan: Scan) -> None:
    assert (
        staff.get(address(scan, "xlsx")).json()["message"].startswith("There is no export 'xlsx'. Known are csv, json")
    )
    assert staff.get("/security/package-scanner/scan/999999/export/csv/").status_code == 404
    page = staff.get(address(scan, "xlsx"), headers=BROWSER)
    assert page.status_code == 404 and "There is no export" in page.content.decode()


# --- diffs ------------------------------------------------------------------------------------------


@pytest.fixture
def before(scan: Scan) -> Scan:
    earlier = timezone.now() - timedelta(days=1)
    packages = (Installed("vim", "amd64", "2:8.0-1"), Installed("gone", "amd64", "1-1"))
    report = make_report(make_update("vim", False), make_update("Ω", reason="=1+1"), packages=0)
    fields = {"created_at": earlier, "started_at": earlier, "finished_at": earlier}
    return make_scan(
        scan.host, report=type(report)("apt", packages, report.findings, distribution="debian:12"), **fields
    )


def test_a_diff_is_exported_as_it_is_shown(staff: Client, scan: Scan, before: Scan) -> None:
    query = f"?from={before.pk}&to={scan.pk}"
    export = "/security/package-scanner/diff/export"
    found = json.loads(body(staff.get(f"{export}/json/{query}")))
    assert found == staff.get(f"/api/security/package-scanner/diff/{query}").json()
    text = body(staff.get(f"{export}/csv/{query}")).decode("utf-8-sig")
    listed = list(csv.DictReader(io.StringIO(text, newline="")))
    assert len(listed) == len(found["updates"]) + len(found["packages"])
    gone = next(row for row in listed if row["name"] == "gone")
    assert (gone["kind"], gone["change"], gone["before"], gone["after"]) == ("package", "went", "1-1", "")
    assert (gone["from_scan"], gone["to_scan"], gone["to_host"]) == (str(before.pk), str(scan.pk), "web-1")
    assert next(row for row in listed if row["name"] == "Ω")["reason_before"] == "'=1+1"
    pdf = PdfReader(io.BytesIO(body(staff.get(f"{export}/pdf/{query}"))))
    words = " ".join(" ".join(page.extract_text() for page in pdf.pages).split())
    assert "What changed web-1 From: scan" in words
    assert "Removed (1)" in words and "Ω amd64 1.0-2" in words
    page = staff.get(f"/security/package-scanner/diff/{query}&show=went&q=g").content.decode()
    for name in ("csv", "json", "pdf"):
        assert f'href="{export}/{name}/?from={before.pk}&amp;to={scan.pk}&amp;show=went&amp;q=g"' in page
    part = staff.get(f"{export}/csv/{query}&show=went&q=g")
    assert body(part).decode().count("\r\n") == 2
    assert part["Content-Disposition"].endswith(f'scans-{before.pk}-{scan.pk}-filtered.csv"')
    filtered = PdfReader(io.BytesIO(body(staff.get(f"{export}/pdf/{query}&show=went&q=g"))))
    assert "Only what was asked for: Removed, like “g”." in " ".join(filtered.pages[0].extract_text().split())


def test_a_diff_that_cannot_be_made_cannot_be_exported(staff: Client, scan: Scan) -> None:
    export = "/security/package-scanner/diff/export"
    assert staff.get(f"{export}/cyclonedx/").json()["message"] == "There is no diff as CycloneDX SBOM."
    assert staff.get(f"{export}/csv/?to={scan.pk}").status_code == 409
    told = staff.get(f"{export}/csv/?to={scan.pk}", headers=BROWSER)
    assert told["Location"] == f"../../?to={scan.pk}"
    assert Client().get(f"{export}/csv/").status_code == 401


# --- sending ----------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_under_asgi_the_file_is_sent_piece_by_piece(scan: Scan) -> None:
    scan_of_many = make_scan(scan.host, report=make_report(packages=3000))
    token = bearer()["headers"]["Authorization"]

    async def pieces() -> list[bytes]:
        answer = await AsyncClient().get(
            address(scan_of_many, "csv", "?part=packages"), headers={"Authorization": token, "Accept-Encoding": "gzip"}
        )
        assert not answer.has_header("Content-Encoding")  # of pieces compressed each for itself browsers read one
        assert answer.streaming and answer.is_async
        content = answer.streaming_content
        assert isinstance(content, AsyncIterator)
        found = [piece async for piece in content]
        await sync_to_async(connections.close_all)()  # as the server does after a request
        return found

    found = asyncio.run(pieces())
    assert len(found) > 3
    assert b"".join(found).decode().count("\r\n") == 3001


def test_exploited_comes_first(staff: Client, scan: Scan) -> None:
    assert rows(staff, scan, "?part=vulnerabilities")[0]["id"] == EXPLOITED
