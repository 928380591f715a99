"""From an event to its deliveries: who hears of it, when, and if not, why not."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import F, Max
from django.utils import timezone

from scanner.models import Delivery, Event, Webhook
from scanner.webhooks import filters
from scanner.webhooks.events import WEBHOOK_DISABLED
from scanner.webhooks.values import values

State = Delivery.State


@dataclass
class Past:
    """What each webhook made of earlier events of the same type and host, by its id."""

    last_state: dict[int, str] = field(default_factory=dict)
    last_sent: dict[int, datetime] = field(default_factory=dict)


def fan_out(event_id: str) -> list[tuple[int, str]]:
    """Write an event's deliveries, once. Answers those that are due now: the id, and the kind of the webhook."""
    event = Event.objects.waiting().filter(pk=event_id).first()
    if event is None:
        return []
    deliveries = decide_all(event)  # before the transaction: an expensive filter must not hold a lock
    with transaction.atomic():
        if not Event.objects.waiting().filter(pk=event_id).update(fanned_out_at=timezone.now()):
            return []  # another process was faster
        Delivery.objects.bulk_create(deliveries)
    now = timezone.now()
    return [(row.pk, row.webhook.kind) for row in deliveries if row.next_attempt_at and row.next_attempt_at <= now]


def decide_all(event: Event) -> list[Delivery]:
    webhooks = [webhook for webhook in Webhook.objects.listening() if webhook.hears(event.type)]
    if not webhooks:
        return []
    sources = [webhook.filter for webhook in webhooks]
    answers = filters.evaluate(sources, values(event, filters.needs(sources)))
    note_filter_errors(webhooks, answers)
    past, now = past_of(webhooks, event), timezone.now()
    rows = [decide(webhook, event, matches, past, now) for webhook, matches in zip(webhooks, answers, strict=True)]
    write_bodies(rows, event)
    return rows


def write_bodies(rows: Sequence[Delivery], event: Event) -> None:
    """What will be sent, made once for all webhooks of a kind."""
    bodies: dict[str, str] = {}
    for row in rows:
        if row.state == State.PENDING:
            kind = row.webhook.kind
            bodies[kind] = bodies.get(kind) or row.webhook.channel.body(event.payload)
            row.body = bodies[kind]


def decide(
    webhook: Webhook, event: Event, matches: "bool | filters.FilterError", past: Past, now: datetime
) -> Delivery:
    """One webhook's delivery of an event, as a row that is not stored yet."""

    def row(state: str, reason: str = "", due: datetime | None = None) -> Delivery:
        ended = None if due else now
        fields = {"state": state, "reason": reason, "next_attempt_at": due, "ended_at": ended, "created_at": now}
        return Delivery(event=event, webhook=webhook, **fields)

    if isinstance(matches, filters.FilterError):
        return row(State.FILTER_ERROR, matches.message)
    if not matches:
        return row(State.FILTERED, "The filter does not match.")
    if reason := held_back(webhook, event, past, now):
        return row(State.SUPPRESSED, reason)
    if digest := webhook.next_digest(now):
        return row(State.COLLECTED, f"For the digest of {at(digest)}.", digest)
    if quiet := webhook.quiet_until(now):
        return row(State.PENDING, f"Quiet hours until {at(quiet)}.", quiet)
    return row(State.PENDING, due=now)


def held_back(webhook: Webhook, event: Event, past: Past, now: datetime) -> str:
    """Why a matching event is not sent, if so: mute, or the trigger, unless it is time to say it again."""
    if webhook.muted_until and now < webhook.muted_until:
        return f"Muted until {at(webhook.muted_until)}."
    last = past.last_sent.get(webhook.pk)
    repeat = timedelta(hours=webhook.repeat_hours) if webhook.repeat_hours else None
    if repeat and last and now - last >= repeat:
        return ""
    if webhook.trigger == Webhook.Trigger.CHANGE and not changed(event):
        return "Nothing has changed since the scan before."
    if webhook.trigger == Webhook.Trigger.START and past.last_state.get(webhook.pk) not in (
        None,
        State.FILTERED,
        State.FILTER_ERROR,
    ):
        return "It matched before, too."
    if webhook.trigger == Webhook.Trigger.EVERY and repeat and last:
        return f"Told at {at(last)} already; again after {webhook.repeat_hours} h."
    return ""


def changed(event: Event) -> bool:
    return (event.payload["data"].get("changes") or {}).get("changed") is not False


def past_of(webhooks: Sequence[Webhook], event: Event) -> Past:
    """Asked only for webhooks whose trigger or repeat interval looks back."""
    looking = [hook for hook in webhooks if hook.repeat_hours or hook.trigger == Webhook.Trigger.START]
    if not looking or event.type == WEBHOOK_DISABLED:
        return Past()
    earlier = Delivery.objects.filter(webhook__in=looking, event__host=event.host_id, event__type=event.type)
    earlier = earlier.filter(trigger=Delivery.Trigger.AUTOMATIC)
    last = earlier.values("webhook").annotate(last=Max("pk")).values("last")
    sent = earlier.filter(state__in=Delivery.SENT).values("webhook").annotate(at=Max("created_at"))
    return Past(
        dict(Delivery.objects.filter(pk__in=last).values_list("webhook", "state")),
        {row["webhook"]: row["at"] for row in sent},
    )


def note_filter_errors(webhooks: Sequence[Webhook], answers: Sequence[Any]) -> None:
    """A webhook shows that its filter fails, and since how many events; the first that works ends that."""
    for webhook, answer in zip(webhooks, answers, strict=True):
        row = Webhook.objects.filter(pk=webhook.pk)
        if isinstance(answer, filters.FilterError):
            row.update(filter_errors=F("filter_errors") + 1, last_filter_error=answer.message)
        elif webhook.filter_errors:
            row.update(filter_errors=0, last_filter_error="")


def at(date: datetime) -> str:
    return f"{timezone.localtime(date):%-d %b %Y, %H:%M %Z}"
