"""From a delivery to its attempts, against real receivers on loopback."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from standardwebhooks import Webhook as Verifier

from scanner.models import Attempt, Delivery, Event, Webhook
from scanner.webhooks import delivering, events, fan_out, retrying
from scanner.webhooks.interface import Answer
from tests.make import make_host, make_report, make_scan, make_update, make_webhook
from tests.webhooks.receivers import LOOPBACK, Receiver, each, reply

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def loopback(settings: Any) -> None:
    settings.WEBHOOK_ALLOWED_NETWORKS = LOOPBACK


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


def owe(count: int = 1, host: str = "web-1", **report: Any) -> list[int]:
    """The ids of the deliveries of some scans' completed events."""
    ids: list[int] = []
    for _ in range(count):
        scan = make_scan(make_host(host), report=make_report(make_update()))
        ids += [pk for pk, _ in fan_out.fan_out(Event.objects.get(scan=scan, type=events.SCAN_COMPLETED).pk)]
    return ids


def fail(webhook: Webhook, behaviour: Any = None) -> Delivery:
    """One delivery of the webhook that has just failed."""
    with Receiver(behaviour or reply(500)) as broken:
        webhook.target = {"url": broken.url}
        webhook.save()
        (pk,) = owe()
        delivering.send([pk], "task-1")
    webhook.refresh_from_db()
    return Delivery.objects.get(pk=pk)


def again(delivery: Delivery) -> None:
    """Let it be due at once."""
    Delivery.objects.filter(pk=delivery.pk).update(next_attempt_at=timezone.now())


def test_it_arrives_signed_and_the_log_says_so(receiver: Receiver) -> None:
    webhook = make_webhook(url=receiver.url)
    assert len(delivering.send(owe(), "task-1")) == 1
    (request,) = receiver.requests
    Verifier(webhook.secret).verify(request.body, dict(request.headers))
    delivery = Delivery.objects.get()
    assert (delivery.state, delivery.attempts, delivery.claim) == ("succeeded", 1, "")
    assert request.headers["webhook-id"] == delivery.event_id
    attempt = Attempt.objects.get()
    assert (attempt.ok, attempt.status, attempt.number, attempt.ip) == (True, 200, 1, "127.0.0.1")
    assert attempt.request_headers["webhook-id"] == delivery.event_id
    webhook.refresh_from_db()
    assert webhook.last_success_at is not None


def test_a_failure_is_tried_again_later_with_the_same_id_and_body(receiver: Receiver) -> None:
    webhook = make_webhook(url=receiver.url)
    receiver.behaviour = each(reply(500), reply(200))
    (pk,) = owe()
    delivering.send([pk], "task-1")
    delivery = Delivery.objects.get()
    assert (delivery.state, delivery.attempts) == ("pending", 1)
    assert "500 Internal Server Error" in delivery.reason
    assert delivery.next_attempt_at is not None
    assert 3 < (delivery.next_attempt_at - timezone.now()).total_seconds() < 7
    webhook.refresh_from_db()
    assert (webhook.state, webhook.consecutive_failures) == ("failing", 1)
    assert len(delivering.send([pk], "task-2")) == 0, "not before its time"
    again(delivery)
    delivering.send([pk], "task-2")
    first, second = receiver.requests
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert first.body == second.body
    webhook.refresh_from_db()
    assert (webhook.state, webhook.consecutive_failures, webhook.reason) == ("active", 0, "")


def test_two_tasks_with_the_same_delivery_send_it_once(receiver: Receiver) -> None:
    make_webhook(url=receiver.url)
    ids = owe()
    assert len(delivering.take(ids, "task-1")) == 1
    assert delivering.take(ids, "task-2") == []


def test_what_a_dead_worker_claimed_is_sent_by_the_task_that_comes_again(receiver: Receiver) -> None:
    make_webhook(url=receiver.url)
    ids = owe()
    delivering.take(ids, "task-1")
    assert len(delivering.send(ids, "task-2", again=True)) == 0, "another task's claim stands"
    assert len(delivering.send(ids, "task-1", again=True)) == 1
    assert [request.headers["webhook-id"] for request in receiver.requests] == [Event.objects.last().pk]  # type: ignore[union-attr]


def test_a_lease_that_ran_out_frees_the_delivery(receiver: Receiver) -> None:
    make_webhook(url=receiver.url)
    ids = owe()
    delivering.take(ids, "task-1")
    assert Delivery.objects.free_expired() == 0
    Delivery.objects.update(lease_until=timezone.now() - timedelta(seconds=1))
    assert Delivery.objects.free_expired() == 1
    assert len(delivering.send(ids, "task-2")) == 1


def test_gone_switches_the_webhook_off_and_that_is_an_event() -> None:
    webhook = make_webhook()
    delivery = fail(webhook, reply(410))
    assert (delivery.state, webhook.state) == ("failed", "disabled")
    assert "410" in webhook.reason
    event = Event.objects.get(type=events.WEBHOOK_DISABLED)
    assert event.payload["data"]["webhook"]["name"] == "ops"


def test_a_chat_that_refuses_three_times_is_not_asked_a_fourth() -> None:
    with Receiver(reply(404)) as chat:
        make_webhook("slack", url=chat.url)
        (pk,) = owe()
        for _ in range(4):
            delivering.send([pk], "task-1")
            again(Delivery(pk=pk))
        delivery = Delivery.objects.get(pk=pk)
        assert (delivery.state, len(chat.requests)) == ("failed", 3)


def test_ten_failures_in_a_row_open_the_breaker_and_a_probe_closes_it(receiver: Receiver) -> None:
    webhook = make_webhook()
    delivery = fail(webhook)
    with Receiver(reply(500)) as broken:
        webhook.target = {"url": broken.url}
        webhook.save()
        for _ in range(9):
            again(delivery)
            delivering.send([delivery.pk], "task-1")
    webhook.refresh_from_db()
    assert (webhook.state, webhook.consecutive_failures) == ("open", 10)
    assert not Delivery.objects.due().exists()
    assert delivering.send(owe(3), "task-1") == [], "what comes meanwhile waits"
    webhook.target = {"url": receiver.url}
    webhook.open_until = timezone.now()
    webhook.save()
    due = [pk for pk, _ in Delivery.objects.due().fairly(100)]
    assert len(due) == 3
    assert len(delivering.send(due, "task-2")) == 1, "one probe"
    webhook.refresh_from_db()
    assert (webhook.state, webhook.open_until) == ("active", None)
    assert len(delivering.send(due, "task-3")) == 2


def test_days_of_failures_switch_it_off() -> None:
    webhook = make_webhook(first_failure_at=timezone.now() - timedelta(days=5, minutes=1))
    fail(webhook)
    assert webhook.state == "disabled"
    assert "Every attempt has failed since" in webhook.reason
    webhook.resume()
    assert (webhook.state, webhook.reason, webhook.consecutive_failures) == ("active", "", 0)


def test_no_more_than_the_rate_are_sent_in_a_minute(receiver: Receiver) -> None:
    make_webhook(url=receiver.url, rate_per_minute=3)
    ids = owe(5)
    assert len(delivering.send(ids, "task-1")) == 3
    assert len(delivering.send(ids, "task-2")) == 0
    Attempt.objects.update(started_at=timezone.now() - timedelta(minutes=2))
    assert len(delivering.send(ids, "task-3")) == 2


def test_no_more_than_ten_are_in_flight_and_one_while_it_fails() -> None:
    webhook = make_webhook()
    ids = owe(12)
    assert len(delivering.take(ids, "task-1")) == 10
    assert delivering.take(ids, "task-2") == []
    Delivery.objects.update(state="pending")
    webhook.state = "failing"
    webhook.save()
    assert len(delivering.take(ids, "task-1")) == 1


def test_a_receiver_that_lets_us_wait_gets_no_more_until_it_answers() -> None:
    make_webhook()
    first, second, third = owe(3)
    assert len(delivering.take([first], "task-1")) == 1
    assert len(delivering.take([second], "task-2")) == 1
    Delivery.objects.filter(pk=first).update(lease_until=timezone.now() + delivering.LEASE - timedelta(seconds=2))
    assert delivering.take([third], "task-3") == []
    Delivery.objects.filter(pk__in=[first, second]).update(state="succeeded")
    assert len(delivering.take([third], "task-3")) == 1


def test_a_retry_is_dropped_once_a_newer_event_was_delivered(receiver: Receiver) -> None:
    webhook = make_webhook("slack")
    old = fail(webhook)
    webhook.target = {"url": receiver.url}
    webhook.save()
    delivering.send(owe(host="another"), "task-2")
    again(old)
    delivering.send(owe(), "task-3")
    assert len(delivering.send([old.pk], "task-4")) == 0
    old.refresh_from_db()
    assert (old.state, old.reason.split(":")[0]) == ("dropped", "Superseded")


def test_programs_get_every_event_unless_they_choose_otherwise(receiver: Receiver) -> None:
    webhook = make_webhook()
    old = fail(webhook)
    webhook.target = {"url": receiver.url}
    webhook.save()
    delivering.send(owe(), "task-3")
    again(old)
    assert len(delivering.send([old.pk], "task-4")) == 1


def test_what_waited_for_too_long_is_dropped() -> None:
    make_webhook("slack")
    ids = owe()
    Delivery.objects.update(created_at=timezone.now() - timedelta(days=2))
    assert len(delivering.send(ids, "task-1")) == 0
    assert "stale" in Delivery.objects.get().reason


def test_by_hand_it_goes_out_even_while_the_webhook_is_paused(receiver: Receiver) -> None:
    webhook = make_webhook(url=receiver.url)
    delivering.send(owe(), "task-1")
    webhook.pause("Paused by ops.")
    first = Delivery.objects.get()
    second = Delivery.objects.again(first.event, webhook, first.body)
    assert (second.replay, second.trigger) == (1, "manual")
    assert len(delivering.send([second.pk], "task-2")) == 1
    assert receiver.requests[0].body == receiver.requests[1].body
    assert receiver.requests[0].headers["webhook-id"] == receiver.requests[1].headers["webhook-id"]


def test_secrets_are_in_neither_the_database_nor_the_log(receiver: Receiver) -> None:
    def echo(exchange: Any) -> None:
        request = exchange.read()
        exchange.reply(200, "\n".join(request.lines).encode(), {"X-Echo": request.headers["authorization"]})

    receiver.behaviour = echo
    webhook = make_webhook(
        url=f"{receiver.url}?token=topsecrettoken", headers={"Authorization": "Bearer hunter2hunter2"}
    )
    delivering.send(owe(), "task-1")
    assert "Bearer hunter2hunter2" in receiver.requests[0].headers["authorization"]
    rows = [*Webhook.objects.all(), *Delivery.objects.all(), *Attempt.objects.all()]
    kept = str([vars(row) for row in rows])
    for secret in ("hunter2", "topsecrettoken", webhook.secret):
        assert secret not in kept
    assert Attempt.objects.get().request_headers["Authorization"] == "[hidden]"


def test_a_changed_secret_key_is_said_and_the_old_one_still_reads(receiver: Receiver, settings: Any) -> None:
    make_webhook(url=receiver.url)
    (pk,) = owe()
    old, settings.SECRET_KEY = settings.SECRET_KEY, "another key"
    delivering.send([pk], "task-1")
    delivery = Delivery.objects.get()
    assert delivery.state == "pending"
    assert "SECRET_KEY has changed" in delivery.reason
    settings.SECRET_KEY_FALLBACKS = [old]
    again(delivery)
    delivering.send([pk], "task-2")
    assert len(receiver.requests) == 1


def test_during_a_rotation_both_secrets_verify_and_later_only_the_new_one(receiver: Receiver) -> None:
    webhook = make_webhook(url=receiver.url)
    old = webhook.secret
    webhook.rotate_secret("whsec_" + "QUJD" * 8)
    delivering.send(owe(), "task-1")
    Webhook.objects.update(previous_secret_expires_at=timezone.now())
    delivering.send(owe(), "task-2")
    during, after = receiver.requests
    for secret in (old, webhook.secret):
        Verifier(secret).verify(during.body, dict(during.headers))
    Verifier(webhook.secret).verify(after.body, dict(after.headers))
    with pytest.raises(Exception, match="signature"):
        Verifier(old).verify(after.body, dict(after.headers))


def test_a_bug_of_ours_ends_one_delivery_and_no_other(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    broken, well = make_webhook(url=receiver.url, name="broken"), make_webhook(url=receiver.url)
    Webhook.objects.filter(pk=broken.pk).update(sealed_secret="")
    delivering.send(owe(), "task-1")
    assert len(receiver.requests) == 1
    assert Delivery.objects.get(webhook=well).state == "succeeded"
    assert "could not be prepared" in Delivery.objects.get(webhook=broken).reason


def test_many_receivers_are_served_at_once_and_a_dead_one_delays_none(receiver: Receiver) -> None:
    for n in range(30):
        make_webhook(url=receiver.url, name=f"hook {n}")
    make_webhook(url="http://127.0.0.1:9/nobody", name="dead")
    assert len(delivering.send(owe(), "task-1")) == 31
    assert Delivery.objects.filter(state="succeeded").count() == len(receiver.requests) == 30
    assert Delivery.objects.get(webhook__name="dead").state == "pending"


# --- tests by hand ----------------------------------------------------------------------------------


def test_a_test_sends_the_true_last_scan_and_stands_in_the_log(receiver: Receiver) -> None:
    webhook = make_webhook(url=receiver.url)
    scan = make_scan(report=make_report(make_update("openssl")))
    delivery, sent = delivering.test(webhook)
    assert sent.answer.ok
    (request,) = receiver.requests
    assert request.headers["webhook-id"].startswith("evt_test_")
    told = Verifier(webhook.secret).verify(request.body, dict(request.headers))
    assert (told["data"]["test"], told["data"]["scan"]["id"]) == (True, scan.pk)
    assert told["data"]["changes"]["appeared"][0]["name"] == "openssl"
    assert list(webhook.deliveries.values_list("pk", "state", "trigger")) == [(delivery.pk, "succeeded", "test")]
    assert delivery.tries.count() == 1


def test_a_test_works_before_there_is_a_scan_and_before_the_webhook_is_saved(receiver: Receiver) -> None:
    webhook = Webhook(kind="slack", rate_per_minute=1, skip_stale=True)
    webhook.target = {"url": receiver.url}
    delivery, sent = delivering.test(webhook)
    assert sent.answer.ok
    assert delivery.pk is None
    assert b"example-host" in receiver.requests[0].body


def test_a_failed_test_is_not_tried_again(receiver: Receiver) -> None:
    receiver.behaviour = reply(500)
    webhook = make_webhook(url=receiver.url)
    delivering.test(webhook)
    assert webhook.deliveries.get().state == "failed"
    assert not Delivery.objects.due().exists()
    webhook.refresh_from_db()
    assert webhook.state == "active", "a test is no news of how it fares"


def test_tests_are_limited(receiver: Receiver) -> None:
    webhook = make_webhook(url=receiver.url)
    for _ in range(10):
        delivering.test(webhook)
    with pytest.raises(delivering.TooManyTests):
        delivering.test(webhook)
    assert len(receiver.requests) == 10


def test_a_test_is_no_event_of_the_past(receiver: Receiver) -> None:
    make_scan()
    delivering.test(make_webhook(url=receiver.url))
    assert Event.objects.count() == 2
    assert Event.objects.real().count() == 1


# --- the schedule -----------------------------------------------------------------------------------

FAILED = Answer(False, "http", "It failed.", status=500)


def test_programs_are_tried_for_three_days_and_people_for_a_morning() -> None:
    assert sum(retrying.FOR_PROGRAMS) / 3600 == pytest.approx(75.6, abs=0.1)
    assert len(retrying.FOR_PROGRAMS) == 9
    assert retrying.after_failure(FAILED, 10, for_people=False).seconds is None
    assert retrying.after_failure(FAILED, 7, for_people=True).seconds is None
    assert "Given up after 7 attempts" in retrying.after_failure(FAILED, 7, for_people=True).reason


def test_every_wait_has_its_jitter() -> None:
    for attempt, base in enumerate(retrying.FOR_PROGRAMS, 1):
        waits = {retrying.after_failure(FAILED, attempt, for_people=False).seconds for _ in range(50)}
        assert all(wait is not None and 0.8 * base <= wait <= 1.2 * base for wait in waits)
        assert len(waits) > 40


@pytest.mark.parametrize(
    ("status", "asked", "least", "most"),
    [(503, 7, 7, 7), (503, 1, 5, 5), (503, 3600, 10, 10), (429, None, 48, 72), (429, 90, 90, 90), (502, None, 48, 72)],
)
def test_the_receiver_may_ask_for_more_time(status: int, asked: float | None, least: float, most: float) -> None:
    answer = Answer(False, "http", "Busy.", status=status, retry_after=asked)
    wait = retrying.after_failure(answer, 1, for_people=False).seconds
    assert wait is not None
    assert least <= wait <= most


def test_what_is_final_is_not_tried_again() -> None:
    assert retrying.after_failure(Answer(False, "mail", "No such box.", final=True), 1, True).seconds is None
