"""The page of the audit log, and its file."""

import csv
import io
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from scanner import audit
from scanner.models import AuditEntry
from tests.make import make_host, make_scan, make_user

pytestmark = pytest.mark.django_db

LOG = "/security/audit/"
BOSS = audit.Actor("boss", audit.How.PAGE)
ROBOT = audit.Actor("token robot", audit.How.API)


@pytest.fixture
def staff(client: Client) -> Client:
    client.force_login(make_user())
    return client


@pytest.fixture
def entries() -> None:
    audit.record(BOSS, "host.tagged", make_host("web-1"), {"tags": ["prod"]}, {"tags": []})
    audit.record(ROBOT, "scan.started", make_scan(make_host("db-1")))
    audit.record(BOSS, "webhook.changed", "on-call", {"filter": "<b>"}, {"filter": "x > 1", "address": "changed"})
    AuditEntry.objects.filter(action="host.tagged").update(at=timezone.now() - timedelta(days=3))


def listed(client: Client, query: str = "") -> list[str]:
    return [entry.action for entry in client.get(f"{LOG}{query}").context["entries"]]


def test_only_staff_see_it(client: Client) -> None:
    for page in (LOG, f"{LOG}export/csv/"):
        assert client.get(page).status_code == 302
        assert client.post(page).status_code == 405
    client.force_login(make_user(staff=False))
    for page in (LOG, f"{LOG}export/csv/"):
        assert client.get(page).status_code == 403


def test_an_empty_log_says_what_will_be_there(staff: Client) -> None:
    assert "Nothing has been done yet" in staff.get(LOG).content.decode()


def test_the_newest_stands_first_with_what_was_before_and_after(staff: Client, entries: None) -> None:
    assert listed(staff) == ["webhook.changed", "scan.started", "host.tagged"]
    page = staff.get(LOG).content.decode()
    assert "<del>prod</del> → <ins>none</ins>" in page and "&lt;b&gt;" in page and "<b>" not in page
    assert '<a href="/security/package-scanner/?host=web-1">web-1</a>' in page


@pytest.mark.parametrize(
    ("query", "actions"),
    [
        ("?actor=BOSS", ["webhook.changed", "host.tagged"]),
        ("?action=scan.started", ["scan.started"]),
        ("?action=webhook", ["webhook.changed"]),
        ("?target=b-1", ["scan.started", "host.tagged"]),
        ("?actor=boss&target=web", ["host.tagged"]),
        ("?actor=nobody%00", []),
    ],
)
def test_filters_stand_in_the_address(staff: Client, entries: None, query: str, actions: list[str]) -> None:
    assert listed(staff, query) == actions


def test_days_are_whole_and_both_belong_to_it(staff: Client, entries: None) -> None:
    today = timezone.localdate()
    then = today - timedelta(days=3)
    assert listed(staff, f"?since={then}&until={then}") == ["host.tagged"]
    assert len(listed(staff, f"?since={today - timedelta(days=2)}")) == 2
    assert len(listed(staff, f"?until={today}")) == 3


@pytest.mark.parametrize("day", ["yesterday", "2026-13-01", "9999-12-31", "0001-01-01"])
def test_a_day_that_is_none_is_named_and_left_out(staff: Client, entries: None, day: str) -> None:
    answer = staff.get(LOG, {"since": day})
    assert len(answer.context["entries"]) == 3
    assert f"{day}&#x27; is not a day like" in answer.content.decode()


def test_pages_are_of_a_hundred(staff: Client) -> None:
    for number in range(101):
        audit.record(BOSS, "host.changed", f"host-{number}")
    assert [entry.target for entry in staff.get(f"{LOG}?page=2").context["entries"]] == ["host-0"]


def test_the_file_has_what_the_page_lists(staff: Client, entries: None) -> None:
    audit.record(BOSS, "host.changed", "=1+1")
    answer: Any = staff.get(f"{LOG}export/csv/?actor=boss")
    assert "audit-" in answer["Content-Disposition"] and "filtered.csv" in answer["Content-Disposition"]
    rows = list(csv.DictReader(io.StringIO(b"".join(answer.streaming_content).decode("utf-8-sig"))))
    assert [row["action"] for row in rows] == ["host.changed", "webhook.changed", "host.tagged"]
    assert rows[0]["target"] == "'=1+1"
    assert (rows[2]["before"], rows[2]["after"]) == ("tags: prod", "tags: none")
