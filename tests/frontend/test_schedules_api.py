"""/api/v1/schedules and /api/v1/audit, as a program uses them."""

import json
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from django_celery_beat.models import PeriodicTask
from kombu.exceptions import OperationalError as BrokerAway

from frontend.schedules_api import ScheduleOut
from scanner import audit
from scanner.models import ApiToken, AuditEntry
from tasks import scans as tasks
from tests.make import make_host, make_user

pytestmark = pytest.mark.django_db

V1 = "/api/v1"
DAILY = {"name": "Nightly", "kind": "daily", "time": "02:00", "time_zone": "Europe/Berlin"}


class Api:
    """A program with a token."""

    def __init__(self, client: Client, scope: str = "admin") -> None:
        self.client = client
        self.headers = {"Authorization": f"Bearer {ApiToken.objects.issue(f'{scope} robot', scope)}"}

    def ask(self, method: str, path: str, body: Any = None, status: int = 200) -> Any:
        text = "" if body is None else json.dumps(body)
        answer = self.client.generic(method, V1 + path, text, "application/json", headers=self.headers)
        assert answer.status_code == status, answer.content
        return answer.json() if answer.content else None


@pytest.fixture(autouse=True)
def nothing_scheduled() -> None:
    PeriodicTask.objects.all().delete()


@pytest.fixture
def api(client: Client) -> Api:
    return Api(client)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    monkeypatch.setattr(tasks.scan_hosts, "apply_async", lambda **options: found.append(options))
    return found


def test_a_schedule_is_made_read_changed_and_deleted(api: Api) -> None:
    make_host().set_tags(["prod"])
    made = api.ask("POST", "/schedules", DAILY, 201)
    assert set(made) == set(ScheduleOut.model_fields)
    assert (made["cron"], made["hosts"], made["paused"], len(made["next_runs"])) == ("0 2 * * *", 1, False, 3)
    address = f"/schedules/{made['id']}"
    assert api.ask("GET", address) == made
    changed = api.ask("PATCH", address, {"kind": "weekly", "days": ["sun", "mon"], "tags": ["prod"]})
    assert (changed["kind"], changed["time"], changed["days"]) == ("weekly", "02:00", ["mon", "sun"])
    assert (changed["name"], changed["tags"]) == ("Nightly", ["prod"])
    paused = api.ask("PATCH", address, {"paused": True})
    assert (paused["paused"], paused["next_runs"]) == (True, [])
    assert api.ask("PATCH", address, {"paused": False})["next_runs"]
    assert [row["id"] for row in api.ask("GET", "/schedules")["items"]] == [made["id"]]
    api.ask("DELETE", address, status=204)
    api.ask("GET", address, status=404)
    verbs = [entry.action for entry in AuditEntry.objects.order_by("pk")]
    assert verbs == [f"schedule.{verb}" for verb in ("created", "changed", "paused", "resumed", "deleted")]
    assert {entry.actor for entry in AuditEntry.objects.all()} == {"token admin robot"}


def test_what_cannot_be_is_refused_field_by_field(api: Api) -> None:
    wrong = {**DAILY, "kind": "cron", "cron": "0 25 * * *", "tags": ["nowhere"]}
    errors = api.ask("POST", "/schedules", wrong, 422)["errors"]
    assert {each["field"]: each["message"] for each in errors} == {
        "tags": "There is no tag 'nowhere'.",
        "cron": "The hour 25 is not between 0 and 23.",
    }
    api.ask("POST", "/schedules", {**DAILY, "time": "25:00"}, 422)
    api.ask("POST", "/schedules", {**DAILY, "oops": 1}, 422)
    made = api.ask("POST", "/schedules", DAILY, 201)
    api.ask("PATCH", f"/schedules/{made['id']}", {"kind": "weekly"}, 422)
    assert api.ask("GET", f"/schedules/{made['id']}") == made


def test_the_time_zone_is_the_configured_one_unless_it_is_said(api: Api) -> None:
    assert api.ask("POST", "/schedules", {"name": "x", "kind": "hourly", "minute": 0}, 201)["time_zone"] == "UTC"


def test_run_now_needs_the_scope_scan_and_tells_what_came_of_it(
    api: Api, client: Client, asked: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    address = f"/schedules/{api.ask('POST', '/schedules', DAILY, 201)['id']}"
    scanner = Api(client, "scan")
    scanner.ask("POST", f"{address}/run", status=202)
    assert asked[0]["kwargs"] == {"tags": [], "by": ["token scan robot", "api"]}
    by = audit.Actor("token scan robot", audit.How.API)
    audit.record(by, "schedule.ran", PeriodicTask.objects.get(), after={"started": 2, "under way already": 0})
    last = api.ask("GET", address)["last_run"]
    assert (last["started"], last["under_way_already"], last["asked_for_by"]) == (2, 0, "token scan robot")

    def away(**options: Any) -> None:
        raise BrokerAway

    monkeypatch.setattr(tasks.scan_hosts, "apply_async", away)
    assert "Is Redis running?" in scanner.ask("POST", f"{address}/run", status=503)["detail"]


def test_scopes_and_sessions_reach_as_far_as_their_pages(api: Api, client: Client) -> None:
    address = f"/schedules/{api.ask('POST', '/schedules', DAILY, 201)['id']}"
    reader = Api(client, "read")
    assert reader.ask("GET", "/schedules")["items"]
    reader.ask("POST", f"{address}/run", status=403)
    for scope in ("read", "scan"):
        program = Api(client, scope)
        program.ask("POST", "/schedules", DAILY, 403)
        program.ask("PATCH", address, {"paused": True}, 403)
        program.ask("DELETE", address, status=403)
        program.ask("GET", "/audit", status=403)
    client.force_login(make_user("ops", webhooks=True))
    assert client.delete(V1 + address).status_code == 403
    assert client.get(f"{V1}/audit").status_code == 200
    client.force_login(make_user("keeper", manage_schedules=True))
    assert client.delete(V1 + address).status_code == 204


def test_beat_is_told_of(api: Api) -> None:
    assert api.ask("GET", "/schedules")["beat_running"] is False
    api.ask("POST", "/schedules", DAILY, 201)
    PeriodicTask.objects.update(last_run_at=timezone.now())
    found = api.ask("GET", "/schedules")
    assert (found["beat_running"], found["items"][0]["last_sent"]) == (True, found["beat_last_seen"])


def test_other_tasks_of_beat_are_none_of_its_schedules(api: Api) -> None:
    made = api.ask("POST", "/schedules", DAILY, 201)
    PeriodicTask.objects.update(task="tasks.webhooks.send_pending")
    assert api.ask("GET", "/schedules")["items"] == []
    api.ask("PATCH", f"/schedules/{made['id']}", {"paused": True}, 404)


def test_the_audit_log_is_listed_newest_first_page_by_page_and_filtered(api: Api) -> None:
    boss = audit.Actor("boss", audit.How.PAGE)
    for name in ("a", "b", "c"):
        audit.record(boss, "host.tagged", make_host(name), {"tags": []}, {"tags": [name]})
    audit.record(audit.COMMAND_LINE, "token.created", "grafana", after={"scope": "read"})
    first = api.ask("GET", "/audit?limit=2")
    assert [row["target"]["name"] for row in first["items"]] == ["grafana", "c"]
    rest = api.ask("GET", f"/audit?limit=2&before={first['next']}")
    assert ([row["target"]["name"] for row in rest["items"]], rest["next"]) == (["b", "a"], None)
    entry = rest["items"][0]
    assert (entry["actor"], entry["how"], entry["action"]) == ("boss", "page", "host.tagged")
    assert (entry["target"]["kind"], entry["before"], entry["after"]) == ("host", {"tags": []}, {"tags": ["b"]})
    for query, number in (
        ("actor=oss", 3),
        ("action=token", 1),
        ("action=host.tagged", 3),
        ("target=graf", 1),
        ("how=command", 1),
        ("until=2020-01-01T00:00:00Z", 0),
        ("since=2020-01-01T00:00:00%2B05:00", 4),
    ):
        assert len(api.ask("GET", f"/audit?{query}")["items"]) == number, query
    api.ask("GET", "/audit?actr=x", status=422)
