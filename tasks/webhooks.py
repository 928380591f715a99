"""Events and deliveries as tasks: fan out, send, and sweep up what was left behind. On the queue `webhooks`."""

import logging
from collections.abc import Collection, Iterable
from typing import Any

from celery import Task, shared_task
from django.db import InterfaceError, transaction
from django.db import OperationalError as DatabaseAway
from kombu.exceptions import OperationalError as BrokerAway

from scanner import audit
from scanner.audit import Actor
from scanner.models import Delivery, Event, Webhook
from scanner.webhooks import delivering, digests, events, log
from scanner.webhooks import fan_out as fanning_out
from scanner.webhooks.channels import channel
from scanner.webhooks.interface import DirectChannel

BATCH = 25  # deliveries that one task sends at once
SWEEP_LIMIT = 500  # deliveries that one sweep hands on

logger = logging.getLogger(__name__)


@shared_task(bind=True, ignore_result=True, soft_time_limit=150, time_limit=180)
def fan_out(self: Task, event_ids: list[str]) -> None:
    """Turn events into deliveries, hand on those that are due, and send the first of them here."""
    due = [row for event_id in event_ids for row in fanning_out.fan_out(event_id)]
    first, *others = in_batches(due) or [[]]
    for batch in others:
        hint(send, batch)
    deliver(self, first)


@shared_task(bind=True, ignore_result=True, soft_time_limit=45, time_limit=55)
def send(self: Task, delivery_ids: list[int]) -> None:
    """Send some deliveries."""
    deliver(self, delivery_ids)


def deliver(task: Task, delivery_ids: list[int]) -> None:
    """Send them, and hand on what more their webhooks have waiting. A task that comes again, since its worker died,
    takes over what it had claimed."""
    again, claim = bool(task.request.delivery_info.get("redelivered")), str(task.request.id)
    if again:
        delivery_ids = delivery_ids + list(Delivery.objects.filter(claim=claim).values_list("pk", flat=True))
    tried = delivering.send(delivery_ids, claim, again) if delivery_ids else []
    more = Delivery.objects.due().filter(webhook__in={delivery.webhook_id for delivery in tried})
    if tried and more.exists():
        hand_on(more.fairly(BATCH))


@shared_task(ignore_result=True)
def send_pending() -> None:
    """The sweep: what a scan from the command line, a broker that was away or a process that died left behind."""
    Delivery.objects.free_expired()
    left = Event.objects.left_behind().order_by("pk").values_list("pk", flat=True)[:SWEEP_LIMIT]
    tell(list(left))
    digests.write_due()
    hand_on(Delivery.objects.due().fairly(SWEEP_LIMIT))


@shared_task(ignore_result=True)
def tell_stale() -> None:
    """Tell of hosts whose last result has become too old, and of security updates that are late now."""
    tell(events.owe_for_stale())
    tell(events.owe_for_late())


@shared_task
def prune_log() -> dict[str, int]:
    """Drop what the delivery log need not keep any longer."""
    return log.prune()


@transaction.atomic
def send_again(event: Event, webhook: Webhook, by: Actor, body: str = "") -> Delivery:
    """Send an event by hand, with the same id, as a new delivery. `body`: exactly what was sent before."""
    delivery = Delivery.objects.again(event, webhook, body)
    about = {"event": event.pk, "webhook": str(webhook)}
    if body:
        audit.record(by, "delivery.redelivered", delivery, after=about)
    else:
        audit.record(by, "event.replayed", event, after=about)
    transaction.on_commit(lambda: hand_on([(delivery.pk, webhook.kind)]))
    return delivery


def tell_of_scan(scan_id: int) -> None:
    """Hand on what a scan owes. Without a broker it waits for the sweep."""
    try:
        tell(list(Event.objects.waiting().filter(scan=scan_id).order_by("pk").values_list("pk", flat=True)))
    except (DatabaseAway, InterfaceError) as error:
        logger.warning("the events of scan %s wait for the sweep: %s", scan_id, error)


def tell(event_ids: list[str]) -> None:
    if event_ids:
        hint(fan_out, event_ids)


def hand_on(deliveries: Iterable[tuple[int, str]]) -> None:
    for batch in in_batches(deliveries):
        hint(send, batch)


def in_batches(deliveries: Iterable[tuple[int, str]]) -> list[list[int]]:
    """What one task sends, of ids and kinds: those that wait for nobody together, and each that blocks alone."""
    together: list[int] = []
    alone: list[list[int]] = []
    for pk, kind in deliveries:
        if isinstance(channel(kind), DirectChannel):
            alone.append([pk])
        else:
            together.append(pk)
    return [*(together[at : at + BATCH] for at in range(0, len(together), BATCH)), *alone]


def hint(task: Any, ids: Collection[Any]) -> None:
    """The rows are the truth: if the queue cannot be reached, the next sweep finds them."""
    try:
        task.apply_async((list(ids),))
    except (BrokerAway, OSError) as error:
        logger.warning("%s waits for the sweep: %s", task.name, error)
