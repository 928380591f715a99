"""The doors for programs: who gets in, and what they are told."""

import json
import re
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from frontend.api import WIDGET_EXTRAS
from scanner.document import utc
from scanner.models import ApiToken, Scan
from tests.make import make_host, make_report, make_scan, make_update, make_user

pytestmark = pytest.mark.django_db

WIDGET = "/api/security/package-scanner/widget/"
RUN = "/security/package-scanner/run/"
KEYS = [
    "status",
    "status_label",
    "security_updates",
    "total_updates",
    "total_packages",
    "scan_date",
    "package_manager",
]


def bearer(scope: str) -> dict[str, Any]:
    return {"headers": {"Authorization": f"Bearer {ApiToken.objects.issue('grafana', scope)}"}}


def test_the_widget_of_a_scanned_host(client: Client) -> None:
    make_scan(report=make_report(*(make_update(f"lib{n}") for n in range(23)), make_update("vim", security=False)))
    found = client.get(WIDGET, **bearer("read")).json()
    assert list(found)[: len(KEYS)] == KEYS
    assert (found["status"], found["status_label"]) == ("danger", "High Risk")
    assert (found["security_updates"], found["total_updates"], found["total_packages"]) == (23, 24, 24)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", found["scan_date"])
    assert found["package_manager"] == "apt"


def test_the_widget_without_any_scan_says_unknown_and_null(client: Client) -> None:
    found = client.get(WIDGET, **bearer("read")).json()
    assert found == dict.fromkeys((*KEYS, *WIDGET_EXTRAS)) | {"status": "unknown", "status_label": "Unknown"}


def test_the_widget_keeps_the_last_good_scan_after_a_failed_one(client: Client) -> None:
    make_scan(report=make_report(make_update()))
    make_scan(state="failed")
    assert client.get(WIDGET, **bearer("read")).json()["security_updates"] == 1


def test_the_widget_of_a_host_that_is_not_there_is_404(client: Client) -> None:
    assert client.get(f"{WIDGET}?host=nowhere", **bearer("read")).status_code == 404


@pytest.mark.parametrize("address", [WIDGET, "/api/security/package-scanner/state/"])
def test_strangers_get_401_and_accounts_without_staff_403(client: Client, address: str) -> None:
    answer = client.get(address)
    assert (answer.status_code, answer["WWW-Authenticate"]) == (401, "Bearer")
    client.force_login(make_user(staff=False))
    assert client.get(address).status_code == 403
    assert client.get(address, headers={"Authorization": "Bearer nonsense"}).status_code == 401


def test_a_revoked_token_opens_nothing(client: Client) -> None:
    header = bearer("admin")
    ApiToken.objects.update(revoked_at=timezone.now())
    assert client.get(WIDGET, **header).status_code == 401


def test_only_a_tokens_hash_is_stored(client: Client) -> None:
    text = ApiToken.objects.issue("grafana", "read")
    row = ApiToken.objects.get()
    assert text not in json.dumps({field.name: str(getattr(row, field.name)) for field in row._meta.fields})
    assert client.get(WIDGET, headers={"Authorization": f"Bearer {text}"}).status_code == 200
    row.refresh_from_db()
    assert row.last_used_at is not None


def test_a_read_token_may_not_run_a_scan(client: Client) -> None:
    answer = client.post(RUN, **bearer("read"))
    assert answer.status_code == 403
    assert "scan is needed" in answer.json()["message"]
    assert not Scan.objects.exists()


def test_a_session_needs_its_csrf_token_and_the_permission() -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(make_user())
    assert client.post(RUN).status_code == 403
    unprivileged = Client()
    unprivileged.force_login(make_user("reader", run=False))
    assert unprivileged.post(RUN).status_code == 403
    assert Client().post(RUN).status_code == 401
    assert not Scan.objects.exists()


def test_a_get_does_not_start_a_scan(client: Client) -> None:
    assert client.get(RUN, **bearer("scan")).status_code == 405


@pytest.mark.django_db(transaction=True)
def test_respond_async_answers_202_with_state_and_address(client: Client) -> None:
    header = bearer("scan")
    header["headers"]["Prefer"] = "respond-async"
    answer = client.post(RUN, {"host": make_host().name}, **header)
    found = answer.json()
    assert (answer.status_code, found["state"], answer["Preference-Applied"]) == (202, "queued", "respond-async")
    assert answer["Location"] == found["url"] == f"/api/security/package-scanner/scan/{Scan.objects.get().pk}/"
    assert client.get(found["url"], **header).json()["host"] == "web-1"
    again = client.post(RUN, {"host": "web-1"}, **header)
    assert again.json()["scan_data"]["id"] == found["scan_data"]["id"], "the second request gets the first scan"


@pytest.mark.parametrize(
    ("body", "kind", "status", "words"),
    [
        ("{", "application/json", 400, "not JSON"),
        ("[]", "application/json", 400, "not a JSON object"),
        ('{"hots": "web-1"}', "application/json", 400, "hots"),
        ('{"package_manager": "portage"}', "application/json", 400, "portage"),
        ('{"host": "nowhere"}', "application/json", 404, "nowhere"),
    ],
)
def test_bad_wishes_are_named(client: Client, body: str, kind: str, status: int, words: str) -> None:
    answer = client.post(RUN, body, content_type=kind, **bearer("scan"))
    assert answer.status_code == status
    assert words in answer.json()["message"]
    assert not Scan.objects.exists()


def test_a_scans_document_has_the_public_shape(client: Client) -> None:
    scan = make_scan(report=make_report(make_update()))
    found = client.get(f"/api/security/package-scanner/scan/{scan.pk}/", **bearer("read")).json()
    assert found["updates"][0] == {
        "name": "openssl",
        "architecture": "amd64",
        "installed_version": "1.0-1",
        "available_version": "1.0-2",
        "source": "openssl",
        "security": True,
        "reason": "1.0-2 is in Debian-Security (bookworm-security).",
        "origins": ["Debian-Security:bookworm-security"],
        "advisories": [],
        "cves": [],
        "severity": "",
        "held": False,
        "blocked": None,
        "command": "apt-get install --only-upgrade openssl",
        "published": None,
        "why": "1.0-2 is in Debian-Security (bookworm-security).",
        "known_exploited": None,
        "epss": None,
        "available_since": utc(scan.started_at),
        "late": False,
        "risk_accepted_until": None,
    }
    assert found["packages"][0] == {
        "name": "openssl",
        "architecture": "amd64",
        "version": "1.0-1",
        "source": "openssl",
        "source_version": "1.0-1",
        "module": "",
        "third_party": "",
    }


def test_a_failed_scans_document_has_nulls_and_the_reason(client: Client) -> None:
    scan = make_scan(state="failed", error="E: no")
    found = client.get(f"/api/security/package-scanner/scan/{scan.pk}/", **bearer("read")).json()
    assert (found["state"], found["error"], found["status"]) == ("failed", "E: no", "unknown")
    assert (found["security_updates"], found["total_updates"], found["total_packages"]) == (None, None, None)
    assert (found["updates"], found["packages"]) == ([], [])


def test_cancel_ends_a_queued_scan_and_refuses_an_ended_one(client: Client) -> None:
    scan = make_scan(state="queued")
    address = f"/security/package-scanner/scan/{scan.pk}/cancel/"
    assert client.post(address, **bearer("read")).status_code == 403
    assert client.post(address, **bearer("scan")).json()["scan_data"]["state"] == "cancelled"
    answer = client.post(address, **bearer("scan"))
    assert (answer.status_code, "cancelled" in answer.json()["message"]) == (409, True)
