"""The queue's side of events and deliveries."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone
from kombu.exceptions import OperationalError

from scanner.models import Delivery, Event, Scan
from scanner.webhooks import events
from scanner.webhooks import fan_out as fanning_out
from tasks import scans
from tasks import webhooks as tasks
from tests.make import make_host, make_report, make_scan, make_update, make_webhook
from tests.webhooks.receivers import LOOPBACK, Receiver

pytestmark = pytest.mark.django_db(transaction=True)


def queued() -> list[tuple[str, Any]]:
    """What waits in the queue `webhooks`: each task's name and its ids, None for a sweep. They are taken out."""
    found = []
    with tasks.send.app.connection_for_read() as connection:
        queue = connection.SimpleQueue("webhooks")
        while (message := next_of(queue)) is not None:
            message.ack()
            arguments = message.payload[0]
            found.append((message.headers["task"].removeprefix("tasks.webhooks."), arguments[0] if arguments else None))
    return found


def next_of(queue: Any) -> Any:
    try:
        return queue.get(block=False)
    except queue.Empty:
        return None


@pytest.fixture(autouse=True)
def empty_queue() -> None:
    queued()


def test_a_scan_hands_on_its_events(tmp_path: Path) -> None:
    scan = Scan.objects.create(host=make_host(), trigger="api", root=str(tmp_path))
    scans.run_scan.apply((scan.pk,))
    ((name, (pk,)),) = queued()
    assert (name, Event.objects.get(pk=pk).type) == ("fan_out", events.SCAN_FAILED)


def test_fan_out_sends_the_first_and_queues_the_rest_what_blocks_alone(settings: Any) -> None:
    settings.EMAIL_URL = "smtp://127.0.0.1"
    settings.WEBHOOK_ALLOWED_NETWORKS = LOOPBACK
    with Receiver() as receiver:
        for number in range(30):
            make_webhook(name=str(number), url=receiver.url)
        mail = make_webhook("email", recipients=["ops@example.org"])
        make_scan()
        tasks.fan_out.apply(([Event.objects.get().pk],))
        assert len(receiver.requests) == 25
    found = queued()
    assert [name for name, _ in found] == ["send"] * 2
    assert sorted(len(ids) for _, ids in found) == [1, 5]
    assert Delivery.objects.get(pk=min(found, key=lambda each: len(each[1]))[1][0]).webhook == mail


def test_the_sweep_finds_what_a_scan_without_a_queue_left_behind() -> None:
    make_webhook()
    make_scan(report=make_report(make_update()))
    tasks.send_pending()
    assert queued() == [], "who wrote it may be about to hand it on"
    Event.objects.update(created_at=timezone.now() - timedelta(seconds=3))
    tasks.send_pending()
    ((name, ids),) = queued()
    assert (name, len(ids)) == ("fan_out", 2)


def test_the_sweep_finds_retries_expired_leases_and_digests() -> None:
    make_webhook(digest="daily")
    make_scan()
    fanning_out.fan_out(Event.objects.get().pk)
    assert queued() == []
    Delivery.objects.update(next_attempt_at=timezone.now())
    tasks.send_pending()
    ((name, (pk,)),) = queued()
    assert (name, Delivery.objects.get(pk=pk).trigger) == ("send", "digest")
    Delivery.objects.filter(pk=pk).update(state="sending", lease_until=timezone.now() - timedelta(seconds=1))
    tasks.send_pending()
    assert queued() == [("send", [pk])]


def test_without_a_broker_nothing_is_lost_and_nothing_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: object, **__: object) -> None:
        raise OperationalError("Connection refused")

    make_webhook()
    scan = make_scan()
    monkeypatch.setattr(tasks.fan_out, "apply_async", away)
    tasks.tell_of_scan(scan.pk)
    assert Event.objects.waiting().count() == 1


def test_a_stale_result_is_handed_on() -> None:
    make_scan(metadata_date=timezone.now() - timedelta(days=8))
    queued()
    tasks.tell_stale()
    ((name, (pk,)),) = queued()
    assert (name, Event.objects.get(pk=pk).type) == ("fan_out", events.SCAN_STALE)


def test_old_rows_go_and_what_still_waits_stays(settings: Any) -> None:
    make_webhook()
    for _ in range(3):
        make_scan()
    for event in Event.objects.all():
        fanning_out.fan_out(event.pk)
    old, middle, waiting = Delivery.objects.order_by("pk")
    for row, days, state in ((old, 100, "succeeded"), (middle, 40, "failed"), (waiting, 100, "pending")):
        at = timezone.now() - timedelta(days=days)
        Delivery.objects.filter(pk=row.pk).update(state=state, created_at=at, body="{}")
        row.tries.create(
            number=1, started_at=at, milliseconds=1, ok=False, response_body="secret", request_headers={"a": "b"}
        )
        Event.objects.filter(pk=row.event_id).update(created_at=at)
    assert tasks.prune_log() == {"deliveries": 1, "events": 1, "audit entries": 0}
    middle.refresh_from_db()
    waiting.refresh_from_db()
    assert (middle.body, middle.tries.get().response_body, middle.tries.get().request_headers) == ("", "", {})
    assert waiting.body == "{}"
    assert Delivery.objects.count() == Event.objects.count() == 2
