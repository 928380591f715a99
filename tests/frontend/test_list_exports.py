"""Lists as files: all that a page lists by its filters is in the file, and nobody gets what they may not see."""

import csv
import io
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from frontend import list_exports, risk_pages, vulnerability_pages, webhook_pages
from scanner.models import AcceptedRisk, ApiToken, Delivery, Event, Host, HostLimit, Scan, Tag
from scanner.package_managers.interface import Installed
from scanner.webhooks.events import SCAN_COMPLETED
from tests.exports.scans import EXPLOITED, PACKAGES, UPDATES, scan_of_everything, scanned
from tests.make import make_host, make_report, make_scan, make_update, make_user, make_webhook

pytestmark = pytest.mark.django_db

BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
SCANNER = "/security/package-scanner/"
LOG = "/security/webhooks/deliveries/"
RISKS = "/security/risks/"
OPENSSL = f"{SCANNER}package/openssl/"


@pytest.fixture
def staff(client: Client) -> Client:
    client.force_login(make_user())
    return client


@pytest.fixture
def manager(client: Client) -> Client:
    client.force_login(make_user(webhooks=True))
    return client


@pytest.fixture
def scan(tmp_path: Path, settings: Any) -> Scan:
    settings.SCANNER_DATA = tmp_path
    return scan_of_everything(tmp_path)


def bearer(scope: str = "read", *tags: str) -> dict[str, Any]:
    return {"headers": {"Authorization": f"Bearer {ApiToken.objects.issue('grafana', scope, tags)}"}}


def body(client: Client, address: str, **more: Any) -> bytes:
    answer = client.get(address, **more)
    assert answer.status_code == 200 and answer.streaming, address
    return b"".join(answer)


def as_json(client: Client, address: str, **more: Any) -> Any:
    return json.loads(body(client, address, **more))


def as_csv(client: Client, address: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(body(client, address).decode("utf-8-sig"), newline="")))


def files_of(client: Client, export: str, query: str, name: str) -> tuple[list[dict[str, str]], list[Any]]:
    """The rows of both files, which are as many."""
    cells, told = as_csv(client, f"{export}csv/{query}"), as_json(client, f"{export}json/{query}")
    assert len(cells) == len(told[name])
    assert all(row["filter"] == told["filter"] for row in cells)
    return cells, told[name]


def links(page: str, export: str, query: str) -> bool:
    """Whether a page offers both files of the very list that it shows."""
    shown = f"?{query.replace('&', '&amp;')}" if query else ""
    return all(f'href="{export}{name}/{shown}"' in page for name in ("csv", "json"))


# --- hosts and their scans --------------------------------------------------------------------------


def test_the_list_of_hosts_is_exported_as_it_is_shown(staff: Client) -> None:
    for number in range(3):
        make_scan(make_host(f"web-{number}"), report=make_report(*(make_update(f"lib{n}") for n in range(number))))
    make_host("=cmd|'/c calc'!A0")
    make_host("db-1").set_tags(["prod", "berlin"])
    for query in ("", "?q=web&sort=name", "?status=unknown&tag=prod", "?q=cmd", "?q=nowhere"):
        page = [row["name"] for row in staff.get(f"/security/{query}").context["rows"]]
        told = as_json(staff, f"/security/hosts/export/json/{query}", **bearer())
        assert [row["name"] for row in told["hosts"]] == page, query
        assert bool(told["filter"]) == bool(query)
        cells = [row["name"] for row in as_csv(staff, f"/security/hosts/export/csv/{query}")]
        assert cells == [f"'{name}" if name.startswith("=") else name for name in page]
    told = as_json(staff, "/security/hosts/export/json/?q=db")
    row = told["hosts"][0]
    assert (row["tags"], row["security_updates"], row["late_security_updates"]) == (["berlin", "prod"], None, None)


@pytest.mark.parametrize("query", ["status=odd", "sort=odd", "exploited=0", "late=yes", "archived=true"])
def test_of_hosts_what_a_filter_does_not_know_is_refused(staff: Client, query: str) -> None:
    answer = staff.get(f"/security/hosts/export/csv/?{query}", **bearer())
    assert answer.status_code == 400 and "Known are" in answer.json()["message"]
    led_back = staff.get(f"/security/hosts/export/csv/?{query}", headers={"Accept": "text/html"})
    assert led_back["Location"] == f"/security/?{query}"


def test_all_scans_of_a_host_are_exported(staff: Client) -> None:
    good = make_scan(report=make_report(make_update()))
    Scan.objects.bulk_create(
        Scan(host=good.host, state="failed", trigger="api", error="E: it broke") for _ in range(25)
    )
    make_scan(make_host("web-2"))
    pages = [staff.get(f"{SCANNER}?host=web-1&page={number}") for number in (1, 2)]
    pks = [scan.pk for page in pages for scan in page.context["history"]]
    assert len(pks) == 26
    cells, told = files_of(staff, f"{SCANNER}scans/export/", "?host=web-1", "scans")
    assert [int(row["id"]) for row in cells] == [row["id"] for row in told] == pks
    assert told == [row | {"progress": None} for row in told] == staff.get("/api/v1/scans?host=web-1").json()["items"]
    first, last = cells[0], cells[-1]
    assert (first["host"], first["state"], first["security_updates"], first["error"]) == (
        *("web-1", "failed", "", "E: it broke"),
    )
    assert (last["state"], last["security_updates"]) == ("completed", "1")
    assert links(pages[0].content.decode(), f"{SCANNER}scans/export/", "host=web-1")
    assert staff.get(f"{SCANNER}scans/export/csv/?host=nobody").status_code == 404


@pytest.mark.parametrize(
    "query",
    ["", "?state=update", "?q=SSL&sort=-name", "?q=nothing", "?package=libssl3", "?package=g%2B%2B&side=needs&q=v"],
)
def test_the_dependencies_are_exported_as_they_are_shown(staff: Client, scan: Scan, query: str) -> None:
    graph = f"{SCANNER}scan/{scan.pk}/graph/"
    page = staff.get(f"{graph}{query}")
    shown = [(row.name, row.state, row.needed_by, row.needs, row.versions) for row in page.context["table"].page]
    cells, told = files_of(staff, f"{graph}export/", query, "packages")
    assert [tuple(row[key] for key in list_exports.DEPENDENCY_COLUMNS) for row in told] == shown
    assert [row["name"] for row in cells] == [name for name, *_ in shown]
    assert links(page.content.decode(), f"{graph}export/", page.context["query"]) == bool(shown)


def test_dependencies_that_cannot_be_exported(staff: Client, scan: Scan) -> None:
    export = f"{SCANNER}scan/{scan.pk}/graph/export/json/"
    for query, status in (("?state=odd", 400), ("?side=left", 400), ("?package=nothing", 404)):
        assert staff.get(f"{export}{query}").status_code == status, query
    failed = make_scan(make_host("web-2"), state="failed")
    assert staff.get(f"{SCANNER}scan/{failed.pk}/graph/export/csv/").status_code == 409


# --- vulnerabilities --------------------------------------------------------------------------------


def test_where_a_cve_is_is_exported_as_it_is_shown(staff: Client, scan: Scan) -> None:
    path = f"/security/package-scanner/cve/{EXPLOITED}/"
    found = as_json(staff, f"{path}export/json/")
    assert found["cve"] == EXPLOITED
    assert [row["host"] for row in found["places"]] == [scan.host.name]
    assert found["places"][0]["commands"]
    rows = as_csv(staff, f"{path}export/csv/?state=now")
    assert [(row["host"], row["source"], row["filter"]) for row in rows] == [(scan.host.name, "openssl", "state=now")]
    assert "; " in rows[0]["commands"]
    assert as_json(staff, f"{path}export/json/?q=nowhere")["places"] == []
    assert f"{path}export/csv/" in staff.get(path).content.decode()
    assert staff.get(f"{path}export/csv/?state=strange").status_code == 400
    unknown = "/security/package-scanner/cve/CVE-1999-0001/export/csv/"
    for wrong in (f"{path}export/pdf/", unknown, "/security/hosts/export/pdf/"):
        assert staff.get(wrong).status_code == 404, wrong


@pytest.fixture
def fleet(scan: Scan, monkeypatch: Any) -> None:
    """Five hosts with openssl, and pages and pieces of two rows."""
    scan.host.set_tags(["prod"])
    for number in (2, 3, 4):
        scanned(*PACKAGES, updates=UPDATES, host=f"web-{number}")
    other = Installed("libssl3", "amd64", "3.0.1-1+docker", "openssl", "3.0.1-1", third_party="Docker CE")
    scanned(other, host="db-1")
    for room in (vulnerability_pages, list_exports):
        monkeypatch.setattr(room, "ROWS", 2)


@pytest.mark.parametrize(
    "query",
    [
        "",
        "?state=security",
        "?q=prod",
        "?q=web&state=update",
        "?q=nowhere",
        "?version=3.0.1-1&release=debian:12&third_party=",
    ],
)
def test_the_hosts_with_a_package_are_exported_as_they_are_shown(staff: Client, fleet: None, query: str) -> None:
    page = staff.get(f"{OPENSSL}{query}")
    numbers = page.context["page"].paginator.page_range
    pages = [staff.get(f"{OPENSSL}{query}{'&' if query else '?'}page={number}") for number in numbers]
    shown = [(row["host"], row["version"]) for each in pages for row in each.context["rows"]]
    cells, told = files_of(staff, f"{OPENSSL}hosts/export/", query, "hosts")
    assert [(row["host"], row["installed_version"]) for row in told] == shown
    assert [(row["host"], row["installed_version"]) for row in cells] == shown
    assert links(page.content.decode(), f"{OPENSSL}hosts/export/", page.context["query"]) == bool(shown)


def test_a_host_with_a_package_is_told_as_its_row_shows_it(staff: Client, fleet: None) -> None:
    rows = as_json(staff, f"{OPENSSL}hosts/export/json/")["hosts"]
    db, web, without = (
        next(row for row in rows if row["host"] == name and row["packages"] == of)
        for name, of in (("db-1", ["libssl3"]), ("web-1", ["libssl3", "openssl"]), ("web-1", ["libssl3"]))
    )
    assert (web["tags"], web["available_version"], web["security"]) == (["prod"], "3.0.2-1", True)
    assert len(web["commands"]) == 2 and web["available_since"] and web["distribution"] == "debian:12"
    for row in (db, without):  # that of i386, which no update is for
        assert (row["available_version"], row["security"], row["commands"]) == (None, None, [])


@pytest.mark.parametrize("query", ["", "?status=fixed", "?status=all&q=cve", "?q=nothing"])
def test_the_vulnerabilities_of_a_package_are_exported_as_they_are_shown(
    staff: Client, fleet: None, query: str
) -> None:
    path = f"{SCANNER}package/vim/"
    page = staff.get(f"{path}?tab=vulnerabilities{query.replace('?', '&')}")
    numbers = page.context["found"]["page"].paginator.page_range
    shown = [row for number in numbers for row in page.context["found"]["page"].paginator.page(number)]
    export = f"{path}vulnerabilities/export/"
    cells, told = files_of(staff, export, query, "vulnerabilities")
    assert [(row["cve"], row["release"], row["status"]) for row in told] == [
        (row.cve.id, row.release, row.status) for row in shown
    ]
    assert [row["cve"] for row in cells] == [row.cve.id for row in shown]
    assert links(page.content.decode(), export, page.context["found"]["query"]) == bool(shown)


def test_of_a_package_what_is_not_known_is_refused(staff: Client, fleet: None) -> None:
    scanned(Installed("left-pad", "amd64", "1.0-1"), host="odd-1", distribution="strange:1")
    for path, status, words in (
        ("openssl/hosts/export/csv/?state=odd", 400, "Known are security, update."),
        ("openssl/vulnerabilities/export/csv/?status=odd", 400, "Known are all, fixed,"),
        ("left-pad/vulnerabilities/export/csv/", 409, "what is vulnerable is not known"),
        ("nothing/hosts/export/csv/", 404, "No host has a package 'nothing'"),
        ("a%00b/hosts/export/csv/", 404, "NUL"),
        ("openssl/hosts/export/pdf/", 404, "There is no list as PDF"),
    ):
        answer = staff.get(f"{SCANNER}package/{path}")
        assert answer.status_code == status and words in answer.json()["message"], path


# --- accepted risks ---------------------------------------------------------------------------------


def accept(cve: str, days: int = 9, *hosts: Host, **fields: Any) -> AcceptedRisk:
    until = timezone.localdate() + timedelta(days=days)
    risk = AcceptedRisk.objects.create(
        cve=cve, until=until, everywhere=not hosts, **{"reason": "fine", "accepted_by": "boss", **fields}
    )
    risk.hosts.set(hosts)
    return risk


@pytest.mark.parametrize(
    "query", ["", "?show=expired", "?q=web-1", "?show=withdrawn&q=fine", "?risk={risk}", "?q=none"]
)
def test_accepted_risks_are_exported_as_they_are_shown(staff: Client, monkeypatch: Any, query: str) -> None:
    monkeypatch.setattr(risk_pages, "ROWS", 2)
    for number in range(4):
        accept(f"CVE-2026-100{number}", 9, make_host(f"web-{number}"))
    accept("CVE-2025-1001", -1)
    accept("CVE-2025-1002").withdraw("boss")
    query = query.format(risk=accept("CVE-2025-1003", reason="=1+1").pk)
    page = staff.get(f"{RISKS}{query}")
    shown = [risk.pk for number in page.context["risks"].paginator.page_range for risk in page_of(page, number)]
    cells, told = files_of(staff, f"{RISKS}export/", query, "risks")
    assert [row["id"] for row in told] == [int(row["id"]) for row in cells] == shown
    assert links(page.content.decode(), f"{RISKS}export/", page.context["query"]) == bool(shown)
    everything = staff.get("/api/v1/risks?show=all&limit=1000").json()["items"]
    assert all(row in everything for row in told)


def page_of(page: Any, number: int) -> Any:
    return page.context["risks"].paginator.page(number)


def test_who_sees_some_hosts_gets_the_risks_of_these(client: Client) -> None:
    web, db = make_host("web-1"), make_host("db-1")
    web.set_tags(["prod"])
    accept("CVE-2026-1001", 9, web, db)
    accept("CVE-2026-1002", 9, db)
    told = as_json(client, f"{RISKS}export/json/", **bearer("read", "prod"))
    assert [(row["cve"], row["hosts"]) for row in told["risks"]] == [("CVE-2026-1001", ["web-1"])]
    assert as_json(client, f"{RISKS}export/json/?q=db-1", **bearer("read", "prod"))["risks"] == []


# --- deliveries -------------------------------------------------------------------------------------


@pytest.fixture
def log() -> list[Delivery]:
    """More than a page has: sixty of one webhook, half of them failed, and one of another."""
    ops = make_webhook(url="http://127.0.0.1:9/verysecret", headers={"Authorization": "Bearer hunter2"})
    event = Event.objects.get(scan=make_scan(), type=SCAN_COMPLETED)
    failed = {"state": "failed", "reason": "=gone"}
    Delivery.objects.bulk_create(
        Delivery(event=event, webhook=ops, replay=number, body="hunter2", **(failed if number % 2 else {}))
        for number in range(60)
    )
    other = make_host("db-1")
    apart = Event.objects.get(scan=make_scan(other), type=SCAN_COMPLETED)
    Delivery.objects.create(event=apart, webhook=make_webhook(name="other"), state="filtered")
    return list(Delivery.objects.all())


@pytest.mark.parametrize("query", ["", "?state=failed", f"?type={SCAN_COMPLETED}&q=web-1", "?q=db-1", "?q=%00nothing"])
def test_deliveries_are_exported_as_they_are_shown(manager: Client, log: list[Delivery], query: str) -> None:
    for path in (LOG, f"{log[-1].webhook.get_absolute_url()}deliveries/"):
        page = manager.get(f"{path.removesuffix('deliveries/') if path != LOG else LOG}{query}")
        every = page.context["deliveries"].paginator
        shown = [row.pk for number in every.page_range for row in every.page(number)]
        cells, told = files_of(manager, f"{path}export/", query, "deliveries")
        assert [row["id"] for row in told] == [int(row["id"]) for row in cells] == shown
        assert links(page.content.decode(), f"{path}export/", page.context["query"]) == bool(shown)


def test_a_delivery_is_told_as_the_api_does_and_nothing_secret(manager: Client, log: list[Delivery]) -> None:
    ops = log[-1].webhook
    export = f"/security/webhooks/{ops.pk}/deliveries/export"
    told = as_json(manager, f"{export}/json/")["deliveries"]
    assert len(told) == 60 > webhook_pages.ROWS
    items = manager.get(f"/api/v1/webhooks/{ops.pk}/deliveries").json()["items"]
    assert told == [row | {"webhook_name": "ops"} for row in items]
    text = body(manager, f"{export}/csv/?state=failed").decode()
    assert text.count("'=gone") == 30
    for secret in ("verysecret", "hunter2", ops.secret):
        assert secret not in text and secret not in json.dumps(told)


def test_the_log_is_read_with_few_queries(manager: Client, log: list[Delivery]) -> None:
    with CaptureQueriesContext(connection) as captured:
        assert len(as_csv(manager, f"{LOG}export/csv/")) == 61
    assert len(captured) < 10
    assert not any('"payload"' in each["sql"] or '"body"' in each["sql"] for each in captured)


def test_deliveries_are_for_those_who_manage_webhooks(client: Client, log: list[Delivery]) -> None:
    boss, some = make_user("boss", webhooks=True), make_user("some", webhooks=True)
    HostLimit.objects.create(user=some).tags.set([Tag.objects.create(name="prod")])
    for export in (f"{LOG}export/csv/", f"/security/webhooks/{log[0].webhook_id}/deliveries/export/csv/"):
        assert Client().get(export).status_code == 401
        for scope, status in (("read", 403), ("scan", 403), ("admin", 200)):
            assert client.get(export, **bearer(scope)).status_code == status
        for user, status in ((make_user(f"staff-{len(export)}"), 403), (some, 403), (boss, 200)):
            client.force_login(user)
            assert client.get(export, headers=BROWSER).status_code == status


def test_a_state_that_there_is_not_is_no_silent_one(manager: Client, log: list[Delivery]) -> None:
    for query in ("?state=gone", "?type=gone"):
        answer = manager.get(f"{LOG}export/csv/{query}")
        assert answer.status_code == 400 and "Known are" in answer.json()["message"]
    told = manager.get(f"{LOG}export/csv/?state=gone&q=web", headers=BROWSER, follow=True)
    assert told.redirect_chain[0][0] == f"{LOG}?state=gone&q=web"
    assert "There is no state &#x27;gone&#x27;" in told.content.decode()
    assert manager.get("/security/webhooks/999/deliveries/export/csv/").status_code == 404


# --- names ------------------------------------------------------------------------------------------


def test_the_name_of_the_file_says_what_is_in_it(manager: Client, scan: Scan) -> None:
    webhook, day = make_webhook(), f"{timezone.now():%Y-%m-%d}"
    graph = f"{SCANNER}scan/{scan.pk}/graph/export/csv/"
    for address, name in (
        ("/security/hosts/export/csv/", f"hosts-{day}"),
        (f"{SCANNER}scans/export/csv/", f"web-1-scans-{day}"),
        (graph, f"web-1-scan-{scan.pk}-dependencies-{day}"),
        (f"{graph}?package=libssl3&side=needs", f"web-1-scan-{scan.pk}-libssl3-needs-{day}-filtered"),
        (f"{OPENSSL}hosts/export/csv/?q=web", f"openssl-hosts-{day}-filtered"),
        (f"{OPENSSL}vulnerabilities/export/csv/", f"openssl-vulnerabilities-{day}"),
        (f"{RISKS}export/csv/", f"accepted-risks-holding-{day}"),
        (f"{RISKS}export/csv/?show=expired&q=x", f"accepted-risks-expired-{day}-filtered"),
        (f"{LOG}export/csv/?state=failed", f"deliveries-{day}-filtered"),
        (f"/security/webhooks/{webhook.pk}/deliveries/export/csv/", f"ops-deliveries-{day}"),
    ):
        answer = manager.get(address)
        assert answer["Content-Disposition"] == f'attachment; filename="{name}.csv"', address
