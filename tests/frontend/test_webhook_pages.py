"""Pages of webhooks: who may see them, what the form says, what the log shows."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client

from scanner.models import Delivery, Event, Webhook
from scanner.webhooks import delivering, events, fan_out
from tests.make import make_host, make_report, make_scan, make_update, make_user, make_webhook
from tests.webhooks.receivers import LOOPBACK, Receiver, reply

pytestmark = pytest.mark.django_db

LIST = "/security/webhooks/"
NEW = "/security/webhooks/new/"
TRY = "/security/webhooks/test/"
CHECK = "/security/webhooks/filter/"
FORM = {
    "name": "on-call",
    "kind": "standard",
    "events": [events.SCAN_COMPLETED],
    "filter": "security_updates > 10",
    "trigger": "every",
    "digest": "none",
    "rate_per_minute": "60",
}


@pytest.fixture(autouse=True)
def loopback(settings: Any) -> None:
    settings.WEBHOOK_ALLOWED_NETWORKS = LOOPBACK


@pytest.fixture
def manager(client: Client) -> Client:
    client.force_login(make_user(webhooks=True))
    return client


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


def sent(webhook: Webhook) -> Delivery:
    scan = make_scan(report=make_report(make_update()))
    due = fan_out.fan_out(Event.objects.get(scan=scan, type=events.SCAN_COMPLETED).pk)
    delivering.send([pk for pk, _ in due], "task-1")
    return webhook.deliveries.get(event__scan=scan)


def test_only_who_may_manage_webhooks_sees_them(client: Client) -> None:
    webhook = make_webhook()
    make_scan()
    event = Event.objects.get()
    pages = [LIST, NEW, f"{LIST}deliveries/", webhook.get_absolute_url(), event.get_absolute_url()]
    for page in pages:
        assert client.get(page).status_code == 302
    client.force_login(make_user())
    for page in pages:
        assert client.get(page).status_code == 403
    assert "Webhooks" not in client.get("/security/").content.decode()
    client.force_login(make_user("boss", webhooks=True))
    for page in pages:
        assert client.get(page).status_code == 200
    assert "Webhooks" in client.get("/security/").content.decode()


@pytest.mark.parametrize("kind", Webhook.Kind.values)
def test_each_kind_has_a_form(manager: Client, settings: Any, kind: str) -> None:
    settings.EMAIL_URL = "smtp://127.0.0.1"
    assert manager.get(f"{NEW}?kind={kind}").status_code == 200


def test_a_webhook_is_made_and_its_secret_shown_once(manager: Client, receiver: Receiver) -> None:
    page = manager.post(f"{NEW}?kind=standard", FORM | {"url": receiver.url}, follow=True).content.decode()
    webhook = Webhook.objects.get()
    assert webhook.secret in page
    assert (webhook.name, webhook.filter, webhook.created_by) == ("on-call", "security_updates > 10", "ops")
    assert webhook.secret not in manager.get(webhook.get_absolute_url()).content.decode()


def test_a_wrong_form_loses_nothing_and_says_what_is_wrong(manager: Client) -> None:
    wrong = FORM | {"url": "http://10.0.0.1/", "filter": "securty_updates > 10"}
    answer = manager.post(f"{NEW}?kind=standard", wrong)
    page = answer.content.decode()
    assert answer.status_code == 422
    assert "did you mean &#x27;security_updates&#x27;" in page
    assert "private" in page
    assert "http://10.0.0.1/" in page
    assert not Webhook.objects.exists()


def test_an_edit_keeps_the_address_and_never_shows_it(manager: Client) -> None:
    webhook = make_webhook("slack", url="https://hooks.slack.com/services/T0/B0/verysecret")
    page = manager.get(f"{webhook.get_absolute_url()}edit/").content.decode()
    assert "verysecret" not in page
    manager.post(f"{webhook.get_absolute_url()}edit/", FORM | {"kind": "slack", "name": "renamed"})
    webhook.refresh_from_db()
    assert webhook.name == "renamed"
    assert webhook.target["url"] == "https://hooks.slack.com/services/T0/B0/verysecret"


def test_headers_stay_until_they_are_removed(manager: Client) -> None:
    webhook = make_webhook(headers={"Authorization": "Bearer hunter2"})
    edit = f"{webhook.get_absolute_url()}edit/"
    assert "hunter2" not in manager.get(edit).content.decode()
    for typed, kept in (
        ("", {"Authorization": "Bearer hunter2"}),
        ("X-Team: ops", {"X-Team": "ops"}),
        ("-", {}),
    ):
        assert manager.post(edit, FORM | {"headers": typed}).status_code == 302
        webhook.refresh_from_db()
        assert webhook.target["headers"] == kept


def test_after_the_secret_key_has_changed_address_and_secret_can_be_entered_again(
    manager: Client, receiver: Receiver, settings: Any
) -> None:
    webhook = make_webhook()
    settings.SECRET_KEY = "another key"
    manager.force_login(make_user("boss", webhooks=True))
    edit = f"{webhook.get_absolute_url()}edit/"
    assert manager.post(edit, FORM).status_code == 422
    assert manager.post(edit, FORM | {"url": receiver.url}).status_code == 302
    manager.post(f"{webhook.get_absolute_url()}rotate/")
    assert sent(webhook).state == "filtered"
    assert "Delivered." in manager.post(f"{webhook.get_absolute_url()}test/").content.decode()


def test_a_webhook_that_is_none_is_404(manager: Client) -> None:
    make_scan()
    for chosen in ("", "abc", "²", "9" * 30):
        assert manager.post(f"{Event.objects.get().get_absolute_url()}replay/", {"webhook": chosen}).status_code == 404
        assert manager.post(TRY, {"webhook": chosen}).status_code == 404


def test_the_editor_says_what_the_filter_would_have_done(manager: Client) -> None:
    for number in (3, 11, 12):
        make_scan(report=make_report(*(make_update(f"lib{n}") for n in range(number))))
    page = manager.post(CHECK, {"filter": "security_updates > 10", "trigger": "every"}).content.decode()
    assert "fired for 2 of the last 3 scans" in page
    page = manager.post(CHECK, {"filter": "security_updates > 10", "trigger": "start"}).content.decode()
    assert "fired for 1 of the last 3 scans" in page
    page = manager.post(CHECK, {"filter": "max_severity >= high", "trigger": "every"}).content.decode()
    assert "For 3 it could not be decided" in page


def test_the_editor_shows_where_a_filter_is_wrong(manager: Client) -> None:
    page = manager.post(CHECK, {"filter": "total_updates > 1 &&\nsecurty_updates > 10"}).content.decode()
    assert "unknown field" in page
    assert "Line 2, column 1" in page
    assert "<mark>s</mark>ecurty_updates" in page


def test_the_form_shows_the_fields_with_their_values_in_the_last_scan(manager: Client) -> None:
    make_host().set_tags(["prod"])
    make_scan(report=make_report(make_update()))
    page = manager.get(f"{NEW}?kind=slack").content.decode()
    assert "[&quot;prod&quot;]" in page
    assert "host.tags" in page


def test_a_test_before_saving_is_a_real_delivery_shown_whole(manager: Client, receiver: Receiver) -> None:
    receiver.behaviour = reply(200, b"thank you", {"X-Receiver": "yes"})
    make_scan(report=make_report(make_update("openssl")))
    page = manager.post(TRY, FORM | {"url": receiver.url, "name": ""}).content.decode()
    assert len(receiver.requests) == 1
    for text in ("Delivered.", "HTTP 200", "thank you", "X-Receiver", "webhook-signature", "openssl"):
        assert text in page
    assert not Webhook.objects.exists()


def test_a_test_with_a_wrong_form_sends_nothing(manager: Client, receiver: Receiver) -> None:
    page = manager.post(TRY, FORM | {"url": receiver.url, "filter": "nonsense >"}).content.decode()
    assert "Nothing was sent" in page
    assert receiver.requests == []


def test_a_test_while_editing_uses_what_the_form_says_and_saves_nothing(manager: Client, receiver: Receiver) -> None:
    webhook = make_webhook(url="http://127.0.0.1:9/dead")
    form = FORM | {"webhook": webhook.pk, "url": receiver.url, "name": "changed"}
    assert "Delivered." in manager.post(TRY, form).content.decode()
    webhook.refresh_from_db()
    assert (webhook.name, webhook.target["url"]) == ("ops", "http://127.0.0.1:9/dead")
    assert webhook.deliveries.get().trigger == "test"


def test_the_log_shows_each_attempt_and_can_be_searched(manager: Client, receiver: Receiver) -> None:
    receiver.behaviour = reply(503, b"busy")
    webhook = make_webhook(url=receiver.url)
    delivery = sent(webhook)
    assert "503 Service Unavailable" in manager.get(webhook.get_absolute_url()).content.decode()
    page = manager.get(delivery.get_absolute_url()).content.decode()
    for text in ("Attempt 1", "busy", "webhook-id", delivery.event_id, "127.0.0.1"):
        assert text in page
    for query, found in (("state=pending", 1), ("state=succeeded", 0), ("q=web-1", 1), ("q=nowhere", 0)):
        rows = manager.get(f"{webhook.get_absolute_url()}?{query}").context["deliveries"]
        assert rows.paginator.count == found, query
    assert manager.get(f"{LIST}deliveries/?type={events.SCAN_FAILED}").context["deliveries"].paginator.count == 0


def test_redeliver_and_replay_write_new_deliveries(manager: Client, receiver: Receiver) -> None:
    webhook = make_webhook(url=receiver.url)
    delivery = sent(webhook)
    answer = manager.post(f"{delivery.get_absolute_url()}redeliver/")
    again = webhook.deliveries.get(replay=1)
    assert answer["Location"] == again.get_absolute_url()
    other = make_webhook("slack", url=receiver.url, name="other")
    manager.post(f"{delivery.event.get_absolute_url()}replay/", {"webhook": other.pk})
    assert other.deliveries.get().trigger == "manual"


def test_what_is_on_its_way_is_not_redelivered(manager: Client, receiver: Receiver) -> None:
    receiver.behaviour = reply(503)
    delivery = sent(make_webhook(url=receiver.url))
    page = manager.post(f"{delivery.get_absolute_url()}redeliver/", follow=True).content.decode()
    assert "still on its way" in page
    assert Delivery.objects.count() == 1


def test_pause_resume_rotate_and_delete(manager: Client) -> None:
    webhook = make_webhook()
    address = webhook.get_absolute_url()
    manager.post(f"{address}switch/")
    webhook.refresh_from_db()
    assert (webhook.state, webhook.reason) == ("paused", "Paused by ops.")
    manager.post(f"{address}switch/")
    old = webhook.secret
    page = manager.post(f"{address}rotate/", follow=True).content.decode()
    webhook.refresh_from_db()
    assert webhook.state == "active"
    assert webhook.secret != old
    assert webhook.secret in page
    assert manager.get(f"{address}delete/").status_code == 200
    assert Webhook.objects.exists()
    manager.post(f"{address}delete/")
    assert not Webhook.objects.exists()


def test_a_webhook_in_trouble_is_seen_from_every_page(manager: Client) -> None:
    assert "needs a look" not in manager.get("/security/").content.decode()
    webhook = make_webhook(state="disabled", reason="Every attempt has failed since yesterday.")
    assert "needs a look" in manager.get("/security/").content.decode()
    assert "Every attempt has failed" in manager.get(webhook.get_absolute_url()).content.decode()


def test_hostile_names_are_escaped_everywhere(manager: Client, receiver: Receiver) -> None:
    evil = "<script>alert(1)</script>"
    receiver.behaviour = reply(500, evil.encode(), {"X-Evil": evil})
    webhook = make_webhook(url=receiver.url, name=evil)
    delivery = sent(webhook)
    for page in (LIST, webhook.get_absolute_url(), delivery.get_absolute_url(), f"{webhook.get_absolute_url()}edit/"):
        assert evil not in manager.get(page).content.decode()


def test_the_admin_shows_webhooks_and_redelivers(client: Client, receiver: Receiver) -> None:
    webhook = make_webhook(url=receiver.url)
    delivery = sent(webhook)
    client.force_login(make_user())
    assert client.get("/admin/scanner/webhook/").status_code == 403
    client.force_login(make_user("boss", webhooks=True))
    for page in ("webhook", "delivery", "event", f"webhook/{webhook.pk}/change", f"delivery/{delivery.pk}/change"):
        answer = client.get(f"/admin/scanner/{page}/")
        assert answer.status_code == 200, page
        assert webhook.secret not in answer.content.decode()
    act = {"_selected_action": [delivery.pk], "action": "redeliver", "confirmed": "yes"}
    client.post("/admin/scanner/delivery/", act)
    assert webhook.deliveries.filter(trigger="manual").count() == 1
    for action, state in (("disable", "paused"), ("resume", "active")):
        client.post("/admin/scanner/webhook/", {"_selected_action": [webhook.pk], "action": action, "confirmed": "yes"})
        webhook.refresh_from_db()
        assert webhook.state == state
    act = {"_selected_action": [webhook.pk], "action": "rotate", "confirmed": "yes"}
    page = client.post("/admin/scanner/webhook/", act, follow=True).content.decode()
    webhook.refresh_from_db()
    assert webhook.secret.rstrip("=") in page
