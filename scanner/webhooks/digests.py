"""A digest: one message for what a webhook has collected since the one before."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from django.db import transaction
from django.utils import timezone

from scanner.document import utc
from scanner.models import Delivery, Event, Webhook
from scanner.models.event import new_event_id
from scanner.webhooks import events

HOSTS = 50  # in one digest

State = Delivery.State


def write_due() -> list[int]:
    """Write the digests whose time has come. Answers the ids of their deliveries."""
    due = Delivery.objects.filter(state=State.COLLECTED, next_attempt_at__lte=timezone.now())
    written = [write(webhook) for webhook in due.order_by().values_list("webhook", flat=True).distinct()]
    return [pk for pk in written if pk]


def write(webhook_id: int) -> int | None:
    with transaction.atomic():
        webhook = Webhook.objects.select_for_update().get(pk=webhook_id)
        now = timezone.now()
        rows = webhook.deliveries.filter(state=State.COLLECTED, next_attempt_at__lte=now)
        collected = list(rows.select_related("event").order_by("pk"))
        if not collected or webhook.state not in Webhook.LISTENING:
            return None
        event = digest_event(webhook, [row.event for row in collected], now)
        event.save(force_insert=True)
        delivery = Delivery.objects.create(
            event=event,
            webhook=webhook,
            trigger=Delivery.Trigger.DIGEST,
            next_attempt_at=webhook.quiet_until(now) or now,
        )
        told = {"state": State.DIGESTED, "reason": f"Told in the digest {event.pk}.", "ended_at": now}
        Delivery.objects.filter(pk__in=[row.pk for row in collected]).update(**told, next_attempt_at=None)
    return delivery.pk


def digest_event(webhook: Webhook, collected: Sequence[Event], now: datetime) -> Event:
    pk = new_event_id()
    by_host: dict[str, list[Event]] = {}
    for event in collected:
        if event.payload["data"]["host"]:
            by_host.setdefault(event.payload["data"]["host"]["name"], []).append(event)
    hosts = [about(of_host) for of_host in by_host.values()]
    digest = {
        "period": webhook.digest,
        "since": utc(collected[0].created_at),
        "events": len(collected),
        "hosts": hosts[:HOSTS],
        "more": max(0, len(hosts) - HOSTS),
    }
    data = {"host": None, "scan": None, "digest": digest}
    payload = events.envelope(pk, events.DIGEST, now, data)
    return Event(id=pk, type=events.DIGEST, created_at=now, payload=payload, dedupe_key=pk, fanned_out_at=now)


def about(of_host: Sequence[Event]) -> dict[str, Any]:
    """A host's last word, and what came and went in all of them."""
    last = of_host[-1].payload["data"]
    scans = {event.scan_id: event.payload["data"]["changes"] for event in of_host if event.scan_id}
    return {
        "name": last["host"]["name"],
        "url": last["host"]["url"],
        "status": last["status"],
        "status_label": last["status_label"],
        "security_updates": last["scan"]["security_updates"],
        "new_security_updates": total(change["new_security_updates"] for change in scans.values()),
        "fixed_security_updates": total(change["fixed_security_updates"] for change in scans.values()),
        "events": sorted({event.type for event in of_host}),
    }


def total(numbers: Iterable[int | None]) -> int | None:
    """Of those that are known; None where none is."""
    known = [number for number in numbers if number is not None]
    return sum(known) if known else None
