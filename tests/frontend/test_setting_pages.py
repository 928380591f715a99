"""Settings that are changed while it runs: what holds, who may, and that everything goes by it."""

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from scanner import run_time
from scanner.models import AuditEntry, Host, OpenUpdate
from tests.make import make_report, make_scan, make_update, make_user

pytestmark = pytest.mark.django_db

PAGE = "/security/settings/"
TARGET = "SECURITY_TARGET_HOURS"


@pytest.fixture
def boss(client: Client) -> Client:
    client.force_login(make_user("boss", change_settings=True))
    return client


@pytest.fixture(autouse=True)
def committed(django_capture_on_commit_callbacks: Any) -> Any:
    """As after each request of a browser."""
    with django_capture_on_commit_callbacks(execute=True):
        yield


def choose(client: Client, value: str, name: str = TARGET) -> Any:
    answer = client.post(PAGE, {"name": name, "value": value})
    run_time.forget()
    return answer


def test_staff_see_them_and_only_who_may_changes_them(client: Client) -> None:
    assert client.get(PAGE).status_code == 302
    client.force_login(make_user())
    page = client.get(PAGE).content.decode()
    assert "Your account may not change them" in page and ">Save<" not in page
    assert choose(client, "72").status_code == 403
    assert run_time.value(TARGET) == 48


def test_a_choice_holds_until_it_is_taken_back_and_both_are_told(boss: Client) -> None:
    choose(boss, "72")
    choose(boss, "72")
    assert run_time.value(TARGET) == 72
    assert "Chosen here by boss" in boss.get(PAGE).content.decode()
    boss.post(PAGE, {"name": TARGET, "default": "1"})
    run_time.forget()
    assert run_time.value(TARGET) == 48
    told = [(entry.target, entry.before["value"], entry.after["value"]) for entry in AuditEntry.objects.order_by("pk")]
    assert told == [(TARGET, 48, 72), (TARGET, 72, 48)]


@pytest.mark.parametrize("value", ["", "0", "-1", "1.5", "x", "8761", "9" * 40, "٣"])
def test_what_cannot_be_is_refused_and_stays_in_its_field(boss: Client, value: str) -> None:
    answer = choose(boss, value)
    page = answer.content.decode()
    assert answer.status_code == 422 and "from 1 to 8760" in page and f'value="{value}"' in page
    assert run_time.value(TARGET) == 48


def test_only_what_is_listed_can_be_chosen(boss: Client) -> None:
    assert choose(boss, "1", "SECRET_KEY").status_code == 404


def test_the_environment_is_the_default(boss: Client, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.SECURITY_TARGET_HOURS = 24
    assert run_time.value(TARGET) == 24
    monkeypatch.setenv(TARGET, "24")
    assert "from the environment" in boss.get(PAGE).content.decode()


def test_what_is_late_and_what_is_unknown_follow_at_once(boss: Client) -> None:
    make_scan(report=make_report(make_update(), age=timedelta(days=3)))
    OpenUpdate.objects.update(since=timezone.now() - timedelta(hours=30))
    assert (Host.objects.get().level().severity, late(boss)) == ("low", 0)
    choose(boss, "24")
    assert late(boss) == 1
    choose(boss, "2", "METADATA_MAX_AGE_DAYS")
    assert Host.objects.get().level().severity == "unknown"
    assert boss.get("/security/").context["unknown"] == 1


def late(client: Client) -> int:
    return int(client.get("/security/package-scanner/?host=web-1").context["late"])


def test_it_is_read_once_in_a_while(django_assert_num_queries: Any) -> None:
    run_time.forget()
    with django_assert_num_queries(1):
        for name in run_time.SETTINGS:
            run_time.value(name)
            run_time.value(name)
