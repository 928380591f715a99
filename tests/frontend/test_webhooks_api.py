"""/api/v1/webhooks and its neighbours, as a program uses them."""

import json
from collections.abc import Iterator
from datetime import time
from typing import Any

import pytest
from django.test import Client
from standardwebhooks import Webhook as Verifier

from scanner.models import ApiToken, Delivery, Event, Webhook
from scanner.webhooks import delivering, events, fan_out
from tests.make import make_host, make_report, make_scan, make_update, make_user, make_webhook
from tests.webhooks.receivers import LOOPBACK, Receiver, reply

pytestmark = pytest.mark.django_db

HOOKS = "/api/v1/webhooks"
WISHES = {
    "name": "siem",
    "kind": "standard",
    "url": "http://127.0.0.1:9/hook",
    "events": [events.SCAN_COMPLETED],
    "filter": "security_updates > 10",
}


JSON = "application/json"


class Api:
    """A program with a token."""

    def __init__(self, client: Client, scope: str = "admin") -> None:
        self.client = client
        self.headers = {"Authorization": f"Bearer {ApiToken.objects.issue('program', scope)}"}

    def __call__(self, method: str, path: str, body: Any = "") -> Any:
        return self.client.generic(
            method, path, body if isinstance(body, str) else json.dumps(body), JSON, headers=self.headers
        )


@pytest.fixture(autouse=True)
def loopback(settings: Any) -> None:
    settings.WEBHOOK_ALLOWED_NETWORKS = LOOPBACK


@pytest.fixture
def api(client: Client) -> Api:
    return Api(client)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


def deliver() -> None:
    scan = make_scan(report=make_report(*(make_update(f"lib{n}") for n in range(11))))
    due = fan_out.fan_out(Event.objects.get(scan=scan, type=events.SCAN_COMPLETED).pk)
    delivering.send([pk for pk, _ in due], "task-1")


def test_a_webhook_is_made_and_its_secret_told_once(api: Api, receiver: Receiver) -> None:
    answer = api("POST", HOOKS, WISHES | {"url": receiver.url})
    made = answer.json()
    assert answer.status_code == 201
    assert made["secret"].startswith("whsec_")
    assert made["created_by"] == "token program"
    listed = api("GET", HOOKS).json()
    assert [hook["id"] for hook in listed] == [made["id"]]
    assert "secret" not in listed[0]
    assert "secret" not in api("GET", f"{HOOKS}/{made['id']}").json()
    deliver()
    (request,) = receiver.requests
    assert Verifier(made["secret"]).verify(request.body, dict(request.headers))["type"] == events.SCAN_COMPLETED


def test_a_filter_that_does_not_compile_says_where(api: Api) -> None:
    answer = api("POST", HOOKS, WISHES | {"filter": "total_updates > 1 && securty_updates > 10"})
    found = answer.json()
    assert answer.status_code == 422
    assert answer["Content-Type"].startswith("application/problem+json")
    assert "did you mean 'security_updates'" in found["message"]
    assert (found["line"], found["column"]) == (1, 22)
    assert found["errors"][0]["field"] == "filter"
    assert not Webhook.objects.exists()


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"url": "http://10.0.0.1/"}, "url"),
        ({"url": "http://169.254.169.254/latest"}, "url"),
        ({"url": "ftp://example.org/"}, "url"),
        ({"url": ""}, "url"),
        ({"name": ""}, "name"),
        ({"name": "n" * 101}, "name"),
        ({"name": "null\0"}, "name"),
        ({"kind": "pigeon"}, "kind"),
        ({"events": ["security.nonsense"]}, "events"),
        ({"headers": {"webhook-signature": "v1,forged"}}, "headers"),
        ({"headers": {"X-Split": "a\r\nHost: b"}}, "headers"),
        ({"repeat_hours": 0}, "repeat_hours"),
        ({"rate_per_minute": 100000}, "rate_per_minute"),
        ({"quiet_from": "22:00"}, "quiet_to"),
        ({"trigger": "sometimes"}, "trigger"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_what_is_wrong_is_named(api: Api, change: dict[str, Any], field: str) -> None:
    answer = api("POST", HOOKS, WISHES | change)
    assert answer.status_code == 422
    assert [each["field"] for each in answer.json()["errors"]] == [field]
    assert not Webhook.objects.exists()


@pytest.mark.parametrize("body", ["", "nonsense", "[]", "null", '{"name": 1}'])
def test_a_body_that_is_none_is_refused_in_words(api: Api, body: str) -> None:
    answer = api("POST", HOOKS, body)
    assert answer.status_code in (400, 422)
    assert answer.json()["message"]


@pytest.mark.parametrize("scope", ["read", "scan"])
def test_only_admin_tokens_get_in(client: Client, scope: str) -> None:
    webhook = make_webhook()
    api = Api(client, scope)
    for method, path in (("GET", HOOKS), ("POST", HOOKS), ("DELETE", f"{HOOKS}/{webhook.pk}")):
        answer = api(method, path, WISHES)
        assert (answer.status_code, "admin is needed" in answer.json()["detail"]) == (403, True)
    assert client.get(HOOKS).status_code == 401
    assert client.get(HOOKS)["WWW-Authenticate"] == "Bearer"
    assert Webhook.objects.exists()


def test_a_session_needs_the_permission_and_its_csrf_token(client: Client) -> None:
    client.force_login(make_user())
    assert client.get(HOOKS).status_code == 403
    client.force_login(make_user("boss", webhooks=True))
    assert client.get(HOOKS).status_code == 200
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(make_user("chief", webhooks=True))
    assert strict.post(HOOKS, json.dumps(WISHES), JSON).status_code == 403


def test_a_change_touches_what_it_names_and_the_address_stays(api: Api) -> None:
    webhook = make_webhook("slack", url="https://hooks.slack.com/services/T0/B0/verysecret", filter="changed")
    answer = api("PATCH", f"{HOOKS}/{webhook.pk}", {"repeat_hours": 6, "trigger": "start"})
    assert answer.status_code == 200
    assert "verysecret" not in answer.content.decode()
    webhook.refresh_from_db()
    assert (webhook.repeat_hours, webhook.trigger, webhook.filter) == (6, "start", "changed")
    assert webhook.target["url"].endswith("verysecret")
    assert api("PATCH", f"{HOOKS}/{webhook.pk}", {"repeat_hours": None}).json()["repeat_hours"] is None
    assert api("PATCH", f"{HOOKS}/{webhook.pk}", {"filter": "nonsense"}).status_code == 422
    assert api("PATCH", f"{HOOKS}/{webhook.pk}", {"paused": True}).json()["state"] == "paused"
    assert api("PATCH", f"{HOOKS}/{webhook.pk}", {"paused": False}).json()["state"] == "active"
    replaced = api("PUT", f"{HOOKS}/{webhook.pk}", {"name": "anew"}).json()
    assert (replaced["name"], replaced["filter"], replaced["trigger"]) == ("anew", "", "every")
    webhook.refresh_from_db()
    assert webhook.target["url"].endswith("verysecret")


def test_quiet_hours_are_judged_with_what_is_there(api: Api) -> None:
    webhook = make_webhook(quiet_from=time(22), quiet_to=time(7))
    address = f"{HOOKS}/{webhook.pk}"
    assert api("PATCH", address, {"quiet_from": "23:00"}).json()["quiet_to"] == "07:00:00"
    assert api("PATCH", address, {"quiet_from": None}).status_code == 422
    assert api("PATCH", address, {"quiet_from": None, "quiet_to": None}).json()["quiet_from"] is None


def test_a_test_answers_what_came_of_it(api: Api, receiver: Receiver) -> None:
    receiver.behaviour = reply(418, b"teapot")
    webhook = make_webhook(url=receiver.url)
    found = api("POST", f"{HOOKS}/{webhook.pk}/test").json()
    assert found["ok"] is False
    assert "418" in found["message"]
    assert (found["attempt"]["status"], found["attempt"]["response_body"]) == (418, "teapot")
    assert api("GET", f"/api/v1/deliveries/{found['delivery']}").json()["trigger"] == "test"
    for _ in range(9):
        api("POST", f"{HOOKS}/{webhook.pk}/test")
    assert api("POST", f"{HOOKS}/{webhook.pk}/test").status_code == 429


def test_deliveries_are_listed_filtered_and_paged(api: Api, receiver: Receiver) -> None:
    webhook = make_webhook(url=receiver.url)
    for _ in range(3):
        deliver()
    page = api("GET", f"{HOOKS}/{webhook.pk}/deliveries?limit=2").json()
    assert [row["state"] for row in page["items"]] == ["succeeded"] * 2
    rest = api("GET", f"{HOOKS}/{webhook.pk}/deliveries?before={page['next']}").json()
    assert (len(rest["items"]), rest["next"]) == (1, None)
    assert api("GET", f"{HOOKS}/{webhook.pk}/deliveries?state=failed").json()["items"] == []
    assert api("GET", f"{HOOKS}/{webhook.pk}/deliveries?limit=0").status_code == 422
    whole = api("GET", f"/api/v1/deliveries/{page['items'][0]['id']}").json()
    assert (whole["tries"][0]["status"], whole["host"]) == (200, "web-1")
    assert whole["request_body"].encode() == receiver.requests[-1].body


def test_redeliver_keeps_the_event_id(api: Api, receiver: Receiver) -> None:
    webhook = make_webhook(url=receiver.url)
    deliver()
    first = Delivery.objects.get()
    answer = api("POST", f"/api/v1/deliveries/{first.pk}/redeliver")
    assert answer.status_code == 202
    assert (answer.json()["event"], answer.json()["trigger"]) == (first.event_id, "manual")
    other = make_webhook("slack", url=receiver.url)
    answer = api("POST", f"/api/v1/events/{first.event_id}/replay?webhook={other.pk}")
    assert (answer.status_code, answer.json()["webhook"]) == (202, other.pk)
    assert webhook.deliveries.count() == 2


def test_rotation_tells_the_new_secret_once(api: Api) -> None:
    webhook = make_webhook()
    found = api("POST", f"{HOOKS}/{webhook.pk}/rotate-secret").json()
    webhook.refresh_from_db()
    assert found["secret"] == webhook.secret
    assert found["previous_secret_expires_at"]
    assert api("POST", f"{HOOKS}/{make_webhook('slack').pk}/rotate-secret").status_code == 422


def test_an_event_has_its_lists_whole(api: Api) -> None:
    make_host().set_tags(["prod"])
    make_scan(report=make_report(*(make_update(f"lib{n:03}") for n in range(30)), packages=30))
    event = Event.objects.get(type=events.UPDATE_APPEARED)
    changes = api("GET", f"/api/v1/events/{event.pk}").json()["data"]["changes"]
    assert (len(changes["appeared"]), changes["more"]) == (30, {"appeared": 0, "resolved": 0})
    assert event.payload["data"]["changes"]["url"].endswith(f"/api/v1/events/{event.pk}")


def test_what_is_not_there_is_404(api: Api) -> None:
    for method, path in (
        ("GET", f"{HOOKS}/999"),
        ("PATCH", f"{HOOKS}/999"),
        ("POST", f"{HOOKS}/999/test"),
        ("GET", "/api/v1/deliveries/999"),
        ("GET", "/api/v1/events/evt_nothing"),
    ):
        assert api(method, path, {}).status_code == 404, path


def test_delete(api: Api) -> None:
    webhook = make_webhook()
    assert api("DELETE", f"{HOOKS}/{webhook.pk}").status_code == 204
    assert not Webhook.objects.exists()


def test_a_user_may_have_fifty(api: Api) -> None:
    Webhook.objects.bulk_create(
        Webhook(name=str(n), kind="slack", created_by="token program", rate_per_minute=1, skip_stale=True)
        for n in range(50)
    )
    assert api("POST", HOOKS, WISHES).status_code == 422


def test_the_openapi_document_is_there_and_names_the_doors(client: Client) -> None:
    document = client.get("/api/v1/openapi.json").json()
    assert {"/api/v1/webhooks", "/api/v1/webhooks/{pk}/test", "/api/v1/deliveries/{pk}/redeliver"} <= set(
        document["paths"]
    )
