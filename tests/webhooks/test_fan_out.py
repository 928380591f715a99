"""Who hears of an event, when, and if not, why not."""

from datetime import datetime, time, timedelta
from typing import Any

import pytest
from django.utils import timezone

from scanner.models import Delivery, Event, Scan, Webhook
from scanner.webhooks import digests, events, fan_out
from tests.make import make_host, make_report, make_scan, make_update, make_webhook

pytestmark = pytest.mark.django_db


def report(number: int, prefix: str = "lib") -> Any:
    return make_report(*(make_update(f"{prefix}{n}") for n in range(number)))


def completed(scan: Scan) -> Event:
    return Event.objects.get(scan=scan, type=events.SCAN_COMPLETED)


def told(scan: Scan) -> list[tuple[str, str]]:
    """(state, reason) of the deliveries of a scan's completed event."""
    fan_out.fan_out(completed(scan).pk)
    return list(Delivery.objects.filter(event=completed(scan)).order_by("webhook").values_list("state", "reason"))


def test_a_matching_event_waits_to_be_sent_and_another_says_why_not() -> None:
    make_webhook(filter="security_updates > 10")
    make_webhook(filter="security_updates > 2")
    scan = make_scan(report=report(3))
    assert told(scan) == [("filtered", "The filter does not match."), ("pending", "")]


def test_production_only(settings: Any) -> None:
    make_webhook(filter='security_updates > 10 && host.tags.exists(t, t == "prod")')
    production, other = make_host("db-1"), make_host("db-2")
    production.set_tags(["prod", "database"])
    states = [told(make_scan(host, report=report(11)))[0][0] for host in (production, other)]
    assert states == ["pending", "filtered"]


def test_fields_that_only_the_updates_tell() -> None:
    make_webhook(filter='"CVE-2026-1111" in cves && max_severity >= high && packages.exists(p, p.name == "openssl")')
    update = make_update("openssl", cves=("CVE-2026-1111",), severity="Important")
    assert told(make_scan(report=make_report(update)))[0][0] == "pending"
    assert told(make_scan(report=make_report(make_update("vim", severity="Low"))))[0][0] == "filtered"


def test_an_unknown_value_is_a_filter_error_and_never_no_match() -> None:
    webhook = make_webhook(filter="security_updates > 10")
    scan = make_scan(state="failed")
    event = Event.objects.get(scan=scan)
    fan_out.fan_out(event.pk)
    row = Delivery.objects.get()
    assert row.state == "filter_error"
    assert "security_updates" in row.reason
    webhook.refresh_from_db()
    assert webhook.filter_errors == 1
    assert told(make_scan(report=report(11)))[0][0] == "pending"
    webhook.refresh_from_db()
    assert (webhook.filter_errors, webhook.last_filter_error) == (0, "")


def test_only_the_chosen_types_are_heard() -> None:
    make_webhook(events=[events.SCAN_FAILED])
    assert told(make_scan()) == []


@pytest.mark.parametrize("state", ["paused", "disabled"])
def test_a_webhook_that_is_off_hears_nothing(state: str) -> None:
    make_webhook(state=state)
    assert told(make_scan()) == []


def test_an_event_is_fanned_out_once() -> None:
    make_webhook()
    event = completed(make_scan())
    assert len(fan_out.fan_out(event.pk)) == 1
    assert fan_out.fan_out(event.pk) == []
    assert Delivery.objects.count() == 1


def test_only_on_change_leaves_out_an_unchanged_host() -> None:
    make_webhook(trigger="change")
    host = make_host()
    assert told(make_scan(host, report=report(3)))[0][0] == "pending"
    assert told(make_scan(host, report=report(3))) == [("suppressed", "Nothing has changed since the scan before.")]
    assert told(make_scan(host, report=report(4)))[0][0] == "pending"


def test_starts_to_match_is_told_once_until_it_stops() -> None:
    make_webhook(trigger="start", filter="security_updates > 2")
    host = make_host()
    states = [told(make_scan(host, report=report(number)))[0][0] for number in (3, 4, 1, 5)]
    assert states == ["pending", "suppressed", "filtered", "pending"]
    assert told(make_scan(make_host("another"), report=report(3)))[0][0] == "pending", "each host by itself"


def test_it_is_said_again_after_the_repeat_interval() -> None:
    make_webhook(trigger="change", repeat_hours=24)
    host = make_host()
    told(make_scan(host, report=report(3)))
    assert told(make_scan(host, report=report(3)))[0][0] == "suppressed"
    Delivery.objects.update(created_at=timezone.now() - timedelta(hours=25))
    assert told(make_scan(host, report=report(3)))[0][0] == "pending"


def test_every_time_with_an_interval_is_at_most_once_in_it() -> None:
    make_webhook(repeat_hours=24)
    host = make_host()
    assert [told(make_scan(host, report=report(n)))[0][0] for n in (3, 4)] == ["pending", "suppressed"]


def test_a_muted_webhook_says_until_when() -> None:
    make_webhook(muted_until=timezone.now() + timedelta(hours=1))
    state, reason = told(make_scan())[0]
    assert state == "suppressed"
    assert reason.startswith("Muted until")


def test_quiet_hours_hold_back_until_their_end() -> None:
    now = timezone.localtime()
    begin, end = (now - timedelta(hours=1)).time(), (now + timedelta(hours=1)).time().replace(microsecond=0)
    make_webhook(quiet_from=begin, quiet_to=end)
    assert fan_out.fan_out(completed(make_scan()).pk) == []
    row = Delivery.objects.get()
    assert row.next_attempt_at is not None
    assert row.state == "pending"
    assert timezone.localtime(row.next_attempt_at).time() == end
    assert "Quiet hours until" in row.reason


@pytest.mark.parametrize(
    ("at", "until"),
    [
        ("2026-11-24T21:59", None),
        ("2026-11-24T22:00", "2026-11-25T07:00"),
        ("2026-11-25T06:59", "2026-11-25T07:00"),
        ("2026-11-25T07:00", None),
    ],
)
def test_quiet_hours_over_midnight(settings: Any, at: str, until: str | None) -> None:
    with timezone.override("Europe/Berlin"):
        webhook = Webhook(quiet_from=time(22), quiet_to=time(7))
        found = webhook.quiet_until(timezone.make_aware(datetime.fromisoformat(at)))
        assert found == (timezone.make_aware(datetime.fromisoformat(until)) if until else None)


@pytest.mark.parametrize(
    ("digest", "due"),
    [("hourly", "2026-11-24T11:00"), ("daily", "2026-11-25T08:00"), ("weekly", "2026-11-30T08:00"), ("none", None)],
)
def test_when_a_digest_is_due(digest: str, due: str | None) -> None:
    tuesday = timezone.make_aware(datetime.fromisoformat("2026-11-24T10:20"))
    found = Webhook(digest=digest).next_digest(tuesday)
    assert found == (timezone.make_aware(datetime.fromisoformat(due)) if due else None)


def test_a_digest_tells_of_all_that_was_collected_in_one_message() -> None:
    webhook = make_webhook(digest="daily", events=[events.SCAN_COMPLETED, events.UPDATE_APPEARED])
    web, database = make_host("web-1"), make_host("db-1")
    for host, number in ((web, 3), (database, 1), (web, 5)):
        for event in Event.objects.filter(scan=make_scan(host, report=report(number))):
            fan_out.fan_out(event.pk)
    assert set(Delivery.objects.values_list("state", flat=True)) == {"collected"}
    assert digests.write_due() == []
    Delivery.objects.update(next_attempt_at=timezone.now() - timedelta(seconds=1))
    (pk,) = digests.write_due()
    assert digests.write_due() == []
    delivery = Delivery.objects.get(pk=pk)
    assert (delivery.state, delivery.trigger, delivery.webhook) == ("pending", "digest", webhook)
    digest = delivery.event.payload["data"]["digest"]
    assert digest["events"] == 6
    about = {host["name"]: host for host in digest["hosts"]}
    assert (about["web-1"]["security_updates"], about["web-1"]["new_security_updates"]) == (5, 5)
    assert about["db-1"]["security_updates"] == 1
    others = Delivery.objects.exclude(pk=pk)
    assert {(row.state, row.reason) for row in others} == {("digested", f"Told in the digest {delivery.event_id}.")}
