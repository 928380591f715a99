"""/api/v1/: hosts, scans, vulnerabilities, feeds, risks and diffs, as a program uses them."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from kombu.exceptions import OperationalError as BrokerAway

from frontend import api_limits
from frontend.api_shapes import HostOut, PackageOut, ScanDocument, UpdateOut
from scanner.document import document
from scanner.models import AcceptedRisk, ApiToken, Feed, Host, PackageSet, Scan
from scanner.package_managers.interface import Installed
from scanner.vulnerabilities import importing
from tasks import scans as tasks
from tests.make import make_host, make_report, make_scan, make_update, make_user

pytestmark = pytest.mark.django_db

V1 = "/api/v1"
JSON = "application/json"
CVE = "CVE-2026-1001"


class Api:
    """A program with a token."""

    def __init__(self, client: Client, scope: str = "read") -> None:
        self.client = client
        self.headers = {"Authorization": f"Bearer {ApiToken.objects.issue('program', scope)}"}

    def get(self, path: str, status: int = 200, **headers: str) -> Any:
        answer = self.client.get(V1 + path, headers=self.headers | headers)
        assert answer.status_code == status, answer.content
        return answer.json() if answer.content else answer

    def post(self, path: str, body: Any = "", **headers: str) -> Any:
        text = body if isinstance(body, str) else json.dumps(body)
        return self.client.post(V1 + path, text, JSON, headers=self.headers | headers)


@pytest.fixture
def api(client: Client) -> Api:
    return Api(client)


@pytest.fixture
def queued(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    found: list[int] = []
    monkeypatch.setattr(tasks.run_scan, "apply_async", lambda arguments, queue: found.append(arguments[0]))
    return found


@pytest.fixture
def feed(tmp_path: Path, settings: Any) -> Feed:
    """Debian's tracker knows one CVE."""
    settings.SCANNER_DATA = tmp_path
    state = {"releases": {"bookworm": {"status": "resolved", "fixed_version": "3.0.2-1", "urgency": "high"}}}
    (tmp_path / "tracker.json").write_text(json.dumps({"openssl": {CVE: {"description": "A flaw.", **state}}}))
    return importing.refresh("debian", str(tmp_path / "tracker.json"))


def exposed(name: str) -> Scan:
    update = make_update("libssl3", source="openssl", available_version="3.0.2-1", installed_version="3.0.1-1")
    installed = (Installed("libssl3", "amd64", "3.0.1-1", "openssl", "3.0.1-1"),)
    report = make_report(update)
    report = type(report)(**{**vars_of(report), "packages": installed, "distribution": "debian:12"})
    return make_scan(make_host(name), report=report)


def vars_of(report: Any) -> dict[str, Any]:
    return {name: getattr(report, name) for name in report.__dataclass_fields__}


def names(page: Any) -> list[str]:
    return [row["name"] for row in page["items"]]


# --- hosts ------------------------------------------------------------------------------------------


def test_hosts_are_listed_with_how_they_stand(api: Api) -> None:
    make_scan(make_host("b"), report=make_report(*(make_update(f"lib{n}") for n in range(6))))
    make_scan(make_host("a"))
    make_host("c")
    page = api.get("/hosts")
    assert (names(page), page["total"], page["next"]) == (["a", "b", "c"], 3, None)
    assert [row["status_label"] for row in page["items"]] == ["Secure", "Medium Risk", "Unknown"]
    assert [row["security_updates"] for row in page["items"]] == [0, 6, None]
    assert set(page["items"][0]) == set(HostOut.model_fields)
    assert api.get("/hosts/b") == page["items"][1]


def test_hosts_are_filtered_and_sorted_by_name(api: Api) -> None:
    for name, number, age in (("a", 0, 0), ("b", 6, 0), ("c", 1, 0), ("d", 25, 0), ("e", 3, 30)):
        updates = [make_update(f"lib{n}") for n in range(number)]
        make_scan(make_host(name), report=make_report(*updates, age=timedelta(days=age)))
    make_host("f").set_tags(["prod"])
    Host.objects.filter(name="d").update(archived_at=timezone.now())
    for query, found in {
        "sort=-name": "fecba",
        "sort=-security_updates": "becaf",
        "sort=security_updates": "acebf",
        "sort=-status": "bcefa",
        "status=warning": "bc",
        "status=success": "a",
        "status=unknown": "ef",
        "tag=prod": "f",
        "name=A": "a",
        "package_manager=apt": "abce",
        "package_manager=dnf": "",
        "distribution=debian:12": "",
        "exploited=true": "",
        "exploited=false": "",
        "archived=true": "d",
        "limit=2&page=2": "ce",
        "page=9": "",
    }.items():
        assert "".join(names(api.get(f"/hosts?{query}"))) == found, query
    assert api.get("/hosts?limit=2&page=2")["next"] == 3
    assert api.get("/hosts?limit=2&page=3")["next"] is None


def test_hosts_are_filtered_by_what_is_known_to_be_exploited(api: Api) -> None:
    for name, tally in (("a", {"exploited": 2}), ("b", {"exploited": 0}), ("c", {"open": 3}), ("d", None)):
        scan = make_scan(make_host(name), report=make_report(make_update(name)))
        assert scan.snapshot
        PackageSet.objects.filter(pk=scan.snapshot.package_set_id).update(tally=tally)
    make_host("unscanned")
    assert names(api.get("/hosts?exploited=true")) == ["a"]
    assert names(api.get("/hosts?exploited=false")) == ["b", "c"]
    assert [row["known_exploited"] for row in api.get("/hosts")["items"]] == [2, 0, 0, None, None]


def test_a_filters_status_is_the_one_that_is_shown(api: Api) -> None:
    for name, number, age in (("a", 0, 0), ("b", 5, 0), ("c", 20, 0), ("d", 0, 8), ("e", 1, 8)):
        report = make_report(*(make_update(f"lib{n}") for n in range(number)), age=timedelta(days=age))
        make_scan(make_host(name), report=report)
    make_scan(make_host("f"), state=Scan.State.PARTIAL)
    for row in api.get("/hosts")["items"]:
        assert row["name"] in names(api.get(f"/hosts?status={row['status']}"))


def test_what_is_misspelled_is_refused_by_name(api: Api) -> None:
    for query, field in {
        "stauts=danger": "stauts",
        "sort=colour": "sort",
        "status=purple": "status",
        "limit=1001": "limit",
        "limit=0": "limit",
        "page=x": "page",
        "name=%00": "name",
        "exploited=maybe": "exploited",
    }.items():
        found = api.get(f"/hosts?{query}", 422)
        assert [each["field"] for each in found["errors"]] == [field]
    assert "stauts" in api.get("/hosts/x?stauts=1", 422)["detail"]
    api.get("/scans?since=yesterday", 422)
    api.get("/scans?since=2026-01-01T00:00:00", 422)


def test_errors_are_problem_details(client: Client, api: Api) -> None:
    make_host()
    for status, answer in (
        (401, client.get(f"{V1}/hosts")),
        (403, api.post("/scans", {"host": "web-1"})),
        (404, client.get(f"{V1}/hosts/nobody", headers=api.headers)),
        (404, client.get(f"{V1}/nothing/here", headers=api.headers)),
        (404, client.get(f"{V1}/hosts/a%2Fb", headers=api.headers)),
        (404, client.get(f"{V1}/hosts/a%00b", headers=api.headers)),
        (405, client.delete(f"{V1}/hosts", headers=api.headers)),
        (409, client.get(f"{V1}/hosts/web-1/updates", headers=api.headers)),
        (422, client.get(f"{V1}/scans/abc", headers=api.headers)),
        (422, client.get(f"{V1}/scans/99999999999999999999", headers=api.headers)),
    ):
        assert (answer.status_code, answer["Content-Type"].split(";")[0]) == (status, "application/problem+json")
        assert answer.json()["status"] == status
    assert client.delete(f"{V1}/hosts", headers=api.headers)["Allow"] == "GET"


def test_a_session_reads_and_writes_with_its_csrf_token_only(client: Client, queued: list[int]) -> None:
    make_host()
    client.force_login(make_user(run=False))
    assert client.get(f"{V1}/hosts").status_code == 200
    assert client.post(f"{V1}/scans", '{"host": "web-1"}', JSON).status_code == 403
    client.force_login(make_user("nobody", staff=False))
    assert client.get(f"{V1}/hosts").status_code == 403
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(make_user("boss"))
    assert strict.post(f"{V1}/scans", '{"host": "web-1"}', JSON).status_code == 403
    assert not Scan.objects.exists()


def test_lists_of_a_host_are_those_of_its_newest_scan_with_counts(api: Api) -> None:
    make_scan(report=make_report(make_update("old")))
    good = make_scan(report=make_report(make_update("new"), make_update("plain", security=False)))
    make_scan(state=Scan.State.FAILED)
    assert names(api.get("/hosts/web-1/updates")) == ["new", "plain"]
    assert api.get("/hosts/web-1/packages") == api.get(f"/scans/{good.pk}/packages")
    found = api.get("/hosts/web-1/vulnerabilities")
    assert (found["items"], found["total"]) == ([], None)
    assert "no feed can be asked" in found["unknown"]


# --- scans ------------------------------------------------------------------------------------------


def test_scans_are_filtered_and_paged_newest_first(api: Api) -> None:
    scans = [make_scan(make_host(f"host-{n % 2}")) for n in range(5)]
    failed = make_scan(make_host("host-0"), state=Scan.State.FAILED, trigger=Scan.Trigger.SCHEDULE)
    Scan.objects.filter(pk=scans[0].pk).update(created_at=timezone.now() - timedelta(days=9))
    pks = [scan.pk for scan in (failed, *reversed(scans))]
    first = api.get("/scans?limit=4")
    rest = api.get(f"/scans?limit=4&before={first['next']}")
    assert [row["id"] for row in first["items"] + rest["items"]] == pks
    assert rest["next"] is None
    assert [row["id"] for row in api.get("/scans?state=failed")["items"]] == [failed.pk]
    assert [row["id"] for row in api.get("/scans?trigger=schedule")["items"]] == [failed.pk]
    assert len(api.get("/scans?host=host-1")["items"]) == 2
    assert len(api.get(f"/scans?since={timezone.localdate() - timedelta(days=2)}T00:00:00Z")["items"]) == 5
    for since in ("0001-01-01T00:00:00%2B14:00", "2001-01-01T00:00:00-19:32"):
        assert len(api.get(f"/scans?since={since}")["items"]) == 6
    assert api.get("/scans?since=9999-12-31T23:59:59-12:00")["items"] == []


def test_the_document_of_a_scan_is_sent_once(client: Client, api: Api) -> None:
    scan = make_scan(report=make_report(make_update(), packages=3))
    answer = client.get(f"{V1}/scans/{scan.pk}", headers=api.headers)
    again = client.get(f"{V1}/scans/{scan.pk}", headers=api.headers | {"If-None-Match": answer["ETag"]})
    assert (again.status_code, again.content, again["ETag"]) == (304, b"", answer["ETag"])
    said = document(Scan.objects.get(pk=scan.pk))
    assert answer.json() == said
    assert set(said) == set(ScanDocument.model_fields)
    assert set(said["updates"][0]) == set(UpdateOut.model_fields)
    assert set(said["packages"][0]) == set(PackageOut.model_fields)
    AcceptedRisk.objects.create(
        package="openssl", everywhere=True, reason="why", until=timezone.localdate(), accepted_by="me"
    )
    stale = client.get(f"{V1}/scans/{scan.pk}", headers=api.headers | {"If-None-Match": answer["ETag"]})
    assert stale.status_code == 200, "what feeds and people say of it has changed"


def test_a_pinned_update_is_told_as_in_the_document(api: Api) -> None:
    updates = make_update("c"), make_update("c", blocked="pinned", available_version="9.0-1")
    scan = make_scan(report=make_report(*updates))
    listed = api.get(f"/scans/{scan.pk}/updates")["items"]
    assert len(listed) == 2 and listed[0]["why"] and not listed[1]["why"]
    assert listed == api.get(f"/scans/{scan.pk}")["updates"]


def test_updates_and_packages_are_searched_sorted_and_paged(api: Api) -> None:
    updates = [make_update("a"), make_update("b", security=False), make_update("c", blocked="pinned"), make_update("d")]
    address = f"/scans/{make_scan(report=make_report(*updates, packages=6)).pk}"
    for query, found in {
        "": "abcd",
        "show=security": "ad",
        "show=others": "b",
        "show=pinned": "c",
        "q=Debian": "acd",
    }.items():
        assert "".join(names(api.get(f"{address}/updates?{query}"))) == found, query
    assert names(api.get(f"{address}/updates?sort=-name&limit=2&page=2")) == ["b", "a"]
    assert names(api.get(f"{address}/updates?sort=-name&limit=3&page=2")) == ["a"]
    assert api.get(f"{address}/updates")["items"] == api.get(address)["updates"]
    assert names(api.get(f"{address}/packages?q=package&sort=-name")) == ["package-1", "package-0"]
    failed = make_scan(state=Scan.State.FAILED)
    assert "does not mean that they are empty" in api.get(f"/scans/{failed.pk}/updates", 409)["detail"]


@pytest.mark.django_db(transaction=True)
def test_a_scan_is_started_once(client: Client, queued: list[int]) -> None:
    api = Api(client, "scan")
    make_host()
    answer = api.post("/scans", {"host": "web-1", "package_manager": "apt"})
    scan = Scan.objects.get()
    assert (answer.status_code, answer["Location"]) == (202, f"{V1}/scans/{scan.pk}")
    assert (answer.json()["id"], answer.json()["state"], queued) == (scan.pk, "queued", [scan.pk])
    assert (scan.wanted_package_manager, scan.requested_by, scan.trigger) == ("apt", "token program", "api")
    again = api.post("/scans", {"host": "web-1"})
    assert (again.status_code, again.json()["id"]) == (200, scan.pk)
    assert api.post("/scans", {"host": "nobody"}).status_code == 404
    assert not Host.objects.filter(name="nobody").exists()
    for body in ("", "nonsense", "[]", {"host": ""}, {"host": "web-1", "root": "/"}, {"host": "\ud800"}):
        assert api.post("/scans", body).status_code in (400, 422), body


@pytest.mark.django_db(transaction=True)
def test_an_idempotency_key_answers_the_same_scan_again(client: Client, queued: list[int]) -> None:
    api = Api(client, "scan")
    make_host()
    make_host("web-2")
    first = api.post("/scans", {"host": "web-1"}, **{"Idempotency-Key": "monday"})
    Scan.objects.get().cancel()
    again = api.post("/scans", {"host": "web-1"}, **{"Idempotency-Key": "monday"})
    assert (again.status_code, again.json()["id"], again.json()["state"]) == (200, first.json()["id"], "cancelled")
    assert again["Location"] == first["Location"]
    assert api.post("/scans", {"host": "web-2"}, **{"Idempotency-Key": "monday"}).status_code == 422
    assert api.post("/scans", {"host": "web-1"}, **{"Idempotency-Key": "x" * 101}).status_code == 422
    assert api.post("/scans", {"host": "web-1"}, **{"Idempotency-Key": "tuesday"}).json()["id"] != first.json()["id"]
    assert len(queued) == 2


@pytest.mark.django_db(transaction=True)
def test_without_a_queue_nothing_is_left_waiting(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: Any, **__: Any) -> None:
        raise BrokerAway

    make_host()
    monkeypatch.setattr(tasks.run_scan, "apply_async", away)
    answer = Api(client, "scan").post("/scans", {"host": "web-1"})
    assert (answer.status_code, answer.json()["status"]) == (503, 503)
    assert Scan.objects.get().state == Scan.State.FAILED


def test_a_scan_is_cancelled(client: Client) -> None:
    api = Api(client, "scan")
    scan = make_scan(state=Scan.State.QUEUED)
    assert Api(client).post(f"/scans/{scan.pk}/cancel").status_code == 403
    answer = api.post(f"/scans/{scan.pk}/cancel")
    assert (answer.status_code, answer.json()["state"]) == (202, "cancelled")
    assert api.post(f"/scans/{scan.pk}/cancel").status_code == 409
    assert api.post("/scans/999/cancel").status_code == 404


# --- vulnerabilities, feeds, risks, diff ------------------------------------------------------------


def test_a_cve_says_where_it_is_and_what_to_run_there(api: Api, feed: Feed) -> None:
    for name in ("web-1", "web-2"):
        exposed(name)
    make_host("web-3")
    found = api.get(f"/vulnerabilities/{CVE.lower()}?limit=1")
    assert (found["id"], found["severity"], found["exposed_hosts"], found["unjudged_hosts"]) == (CVE, "high", 2, 1)
    assert [(row["state"], row["hosts"]) for row in found["states"]] == [("now", 2), ("unscanned", 1)]
    assert (found["hosts"]["total"], found["hosts"]["next"]) == (2, 2)
    (place,) = found["hosts"]["items"][0]["places"]
    assert (place["state"], place["packages"], place["commands"]) == (
        "now",
        ["libssl3"],
        ["apt-get install --only-upgrade libssl3"],
    )
    unscanned = api.get(f"/vulnerabilities/{CVE}?state=unscanned")["hosts"]["items"]
    assert [row["host"] for row in unscanned] == ["web-3"]
    api.get("/vulnerabilities/CVE-2026-9999", 404)
    row = api.get("/hosts/web-1/vulnerabilities")["items"][0]
    assert (row["cve"], row["state"], row["severity"]) == (CVE, "now", "high")
    assert api.get("/hosts/web-1/vulnerabilities?q=vim")["total"] == 0
    assert api.get("/hosts/web-1/vulnerabilities?status=open")["total"] == 0


def test_feeds_tell_no_password(api: Api, feed: Feed, settings: Any) -> None:
    address = "https://me:hunter2@mirror.example.org/tracker?token=hunter3"
    settings.FEED_SOURCES = settings.FEED_SOURCES | {"debian": address}
    Feed.objects.filter(name="debian").update(error=f"{address} answers 503; https://you:hunter4@example.org/ too")
    page = api.get("/feeds?limit=1000")
    assert "hunter" not in json.dumps(page)
    row = next(row for row in page["items"] if row["name"] == "debian")
    assert (row["source"], row["rows"]) == ("https://mirror.example.org/tracker", 1)
    assert "answers 503" in row["error"]


def test_accepted_risks_are_listed(api: Api) -> None:
    risk = AcceptedRisk.objects.create(cve=CVE, reason="why", until=timezone.localdate(), accepted_by="me")
    risk.hosts.add(make_host())
    past = timezone.localdate() - timedelta(days=1)
    AcceptedRisk.objects.create(package="vim", everywhere=True, reason="why", until=past, accepted_by="me")
    (row,) = api.get("/risks")["items"]
    assert (row["cve"], row["package"], row["hosts"], row["holds"]) == (CVE, None, ["web-1"], True)
    assert [row["package"] for row in api.get("/risks?show=expired")["items"]] == ["vim"]
    assert api.get("/risks?show=all&q=vim")["total"] == 1


def test_two_scans_are_compared(api: Api) -> None:
    first = make_scan(report=make_report(make_update("old")))
    second = make_scan(report=make_report(make_update("new")))
    found = api.get(f"/diff?from={first.pk}&to={second.pk}")
    assert (found["from"]["id"], found["to"]["id"]) == (first.pk, second.pk)
    assert {row["name"] for row in found["updates"]} == {"old", "new"}
    assert api.get(f"/diff?to={second.pk}")["from"]["id"] == first.pk
    assert names({"items": api.get(f"/diff?to={second.pk}&q=new")["updates"]}) == ["new"]
    api.get("/diff", 422)
    api.get("/diff?from=999", 404)
    api.get(f"/diff?to={first.pk}", 409)
    api.get(f"/diff?form={first.pk}", 422)


# --- limits -----------------------------------------------------------------------------------------


def test_a_longer_list_asks_the_database_no_more_often(api: Api, feed: Feed) -> None:
    paths = ("/hosts", "/scans", "/risks", "/feeds", f"/vulnerabilities/{CVE}")
    numbers: list[dict[str, int]] = []
    for size in (3, 30):
        for n in range(Host.objects.count(), size):
            host = exposed(f"web-{n}").host
            host.set_tags(["prod", f"tag-{n}"])
            risk = AcceptedRisk.objects.create(cve=CVE, reason="why", until=timezone.localdate(), accepted_by="me")
            risk.hosts.add(host)
        api.get("/scans")  # the use of the token is noted
        numbers.append({path: queries(api, f"{path}?limit=1000") for path in paths})
    assert numbers[0] == numbers[1]
    assert max(numbers[0].values()) <= 20


def queries(api: Api, path: str) -> int:
    with CaptureQueriesContext(connection) as captured:
        api.get(path)
    return len(captured)


@pytest.mark.parametrize("tab", ["updates", "packages", "vulnerabilities"])
def test_a_longer_scan_asks_the_database_no_more_often(api: Api, feed: Feed, tab: str) -> None:
    exposed("web-1")
    numbers = []
    for size in (3, 30):
        scan = make_scan(report=make_report(*(make_update(f"lib{n}") for n in range(size))))
        api.get("/scans")  # the use of the token is noted
        with CaptureQueriesContext(connection) as queries:
            api.get(f"/scans/{scan.pk}/{tab}?limit=1000")
        numbers.append(len(queries))
    assert numbers[0] == numbers[1] <= 20


def test_a_token_may_ask_so_often_a_minute(api: Api, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api_limits, "RATE", 3)
    monkeypatch.setattr(api_limits.time, "time", lambda: 1_000_000_010.0)
    for _ in range(3):
        api.get("/hosts")
    answer = client.get(f"{V1}/hosts", headers=api.headers)
    assert (answer.status_code, answer["Retry-After"]) == (429, "11")
    assert answer.json()["status"] == 429
    Api(client).get("/hosts")
    monkeypatch.setattr(api_limits.time, "time", lambda: 1_000_000_021.0)
    api.get("/hosts")


def test_without_redis_nobody_is_held_up(api: Api, settings: Any) -> None:
    settings.REDIS_URL = "unix:///nobody/is/here.sock"
    api_limits.server.cache_clear()
    try:
        api.get("/hosts")
        answer = Api(api.client, "scan").post("/scans", {"host": "x"}, **{"Idempotency-Key": "monday"})
        assert answer.status_code == 503
    finally:
        api_limits.server.cache_clear()
