"""A delivery, from top to bottom: claim it, send it, note what came of it, and when to try again."""

import logging
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.db import InterfaceError, OperationalError, close_old_connections, transaction
from django.db.models import Count, F, Q
from django.utils import timezone

from scanner.models import Attempt, Delivery, Event, Scan, Webhook
from scanner.models.delivery import IN_FLIGHT
from scanner.webhooks import events, retrying, safe_http
from scanner.webhooks.interface import Answer, DirectChannel, HttpChannel, Request
from scanner.webhooks.sealing import CannotUnseal

LEASE = timedelta(seconds=60)  # longer than any attempt may take; who does not answer by then has died
NOTE_PATIENCE = 20  # seconds that an answer waits for a database that is away
SLOW = timedelta(seconds=0.5)  # without an answer: a receiver may be dead
RATE_WINDOW = timedelta(minutes=1)
SUCCESS_NOTE = timedelta(seconds=10)  # a webhook's last success is noted no more often
TESTS_A_MINUTE = 10
GONE = 410  # the receiver wants no more
KEPT_BODY = 16 * 1024  # characters of a request or response body that the log keeps
HIDDEN = "[hidden]"
PRIVATE = {"set-cookie"}  # headers of the receiver that are not our business
SHORTEST_SECRET = 8  # characters; a path like /hook is none

State = Delivery.State

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Sent:
    """One attempt, whole: what was sent, and what came of it. `request` is None for channels that are not HTTP."""

    request: Request | None
    body: str
    answer: Answer
    started_at: datetime


Noted = tuple[Delivery, Sent]


def send(ids: Collection[int], claim: str, again: bool = False) -> list[Delivery]:
    """Send those of these deliveries that are due, all at once. Answers which were tried.

    `claim` names the task; `again` says that it was handed out before to a worker that has died.
    """
    deliveries = take(ids, claim, again)
    sendable: list[tuple[Delivery, Request]] = []
    for delivery in deliveries:
        try:
            prepared = prepare(delivery)
        except Exception as error:
            prepared = failure_of_ours(delivery, error)
        if isinstance(prepared, Request):
            sendable.append((delivery, prepared))
        else:
            note_with_patience([(delivery, prepared)], claim)
    send_requests(sendable, claim)
    return deliveries


def send_requests(sendable: Sequence[tuple[Delivery, Request]], claim: str) -> None:
    started = timezone.now()
    left: list[Noted] = []

    def done(ended: safe_http.Ended) -> None:
        noted = [(sendable[index][0], sent_of(*sendable[index], answer, started)) for index, answer in ended]
        try:
            note(noted, claim)
        except (OperationalError, InterfaceError):  # those under way must not wait for the database
            left.extend(noted)

    post([request for _, request in sendable], done)
    note_with_patience(left, claim)


def sent_of(delivery: Delivery, request: Request, answer: Answer, started: datetime) -> Sent:
    return Sent(request, delivery.body, delivery.webhook.channel.verdict(answer), started)


def post(requests: Sequence[Request], done: Callable[[safe_http.Ended], None] | None = None) -> list[Answer]:
    networks, ca_file = settings.WEBHOOK_ALLOWED_NETWORKS, settings.WEBHOOK_CA_FILE
    return safe_http.post_all(requests, networks, ca_file=ca_file, on_done=done) if requests else []


def prepare(delivery: Delivery) -> Request | Sent:
    """The request to send; a channel that sends by itself has done so."""
    webhook, channel = delivery.webhook, delivery.webhook.channel
    now = timezone.now()
    if isinstance(channel, HttpChannel):
        secrets = webhook.secrets(now)
        return channel.request(webhook.target, delivery.event_id, delivery.body, secrets, int(now.timestamp()))
    if isinstance(channel, DirectChannel):
        networks = settings.WEBHOOK_ALLOWED_NETWORKS
        return Sent(None, delivery.body, channel.send(webhook.target, delivery.event_id, delivery.body, networks), now)
    raise TypeError(f"{channel!r} neither makes a request nor sends by itself")


def failure_of_ours(delivery: Delivery, error: Exception) -> Sent:
    """What nobody foresaw ends this attempt, and no other delivery."""
    if isinstance(error, CannotUnseal):
        return Sent(None, delivery.body, Answer(False, "internal", str(error)), timezone.now())
    logger.error("%s could not be prepared", delivery, exc_info=error)
    words = f"It could not be prepared: {type(error).__name__}. The log of the worker has the details."
    return Sent(None, delivery.body, Answer(False, "internal", words), timezone.now())


# --- claim ------------------------------------------------------------------------------------------


def take(ids: Collection[int], claim: str, again: bool = False) -> list[Delivery]:
    """Claim what is due, as far as each webhook's limits allow; the rest stays for the sweep."""
    with transaction.atomic():
        rows = Delivery.objects.filter(pk__in=ids)
        # with their webhooks, in one order, so that two processes do not wait for each other
        locked = rows.select_related("webhook").select_for_update(of=("self", "webhook"))
        candidates = list(locked.due().order_by("webhook", "next_attempt_at", "pk"))
        if again:
            candidates += locked.filter(state=State.SENDING, claim=claim)
        chosen = [row for row in within_limits(candidates) if not given_up(row)]
        claimed = {"state": State.SENDING, "claim": claim, "lease_until": timezone.now() + LEASE, "reason": ""}
        Delivery.objects.filter(pk__in=[row.pk for row in chosen]).update(**claimed, attempts=F("attempts") + 1)
        for row in chosen:
            row.attempts += 1
            if not row.body:  # a digest, or an event that is sent again
                row.body = row.webhook.channel.body(row.event.payload)
                row.save(update_fields=["body"])
    return chosen


def within_limits(candidates: Sequence[Delivery]) -> list[Delivery]:
    """Those that fit: so many in flight, so many a minute. A webhook that keeps failing gets one at a time, and one
    that lets us wait gets no more until it answers: else it would hold up every process, and so all the others."""
    hooks = {row.webhook_id: row.webhook for row in candidates}
    since = timezone.now() - RATE_WINDOW
    flying = Delivery.objects.filter(state=State.SENDING, webhook__in=hooks).exclude(
        pk__in=[row.pk for row in candidates]
    )
    in_flight = counted(flying, "webhook")
    slow = flying.filter(lease_until__lt=timezone.now() + LEASE - SLOW)
    hanging = counted(slow, "webhook") if in_flight else {}
    lately = counted(Attempt.objects.filter(delivery__webhook__in=hooks, started_at__gt=since), "delivery__webhook")
    room = {}
    for pk, hook in hooks.items():
        at_once = IN_FLIGHT if hook.state == Webhook.State.ACTIVE and pk not in hanging else 1
        flying_now = in_flight.get(pk, 0)
        room[pk] = min(at_once - flying_now, hook.rate_per_minute - lately.get(pk, 0) - flying_now)
    chosen = []
    for row in candidates:
        if room[row.webhook_id] > 0:
            room[row.webhook_id] -= 1
            chosen.append(row)
    return chosen


def counted(rows: Any, by: str) -> dict[int, int]:
    return dict(rows.order_by().values_list(by).annotate(n=Count("pk")))


def given_up(delivery: Delivery) -> bool:
    """Drop what nobody needs any more: overtaken by a newer event, or too old to be tried for the first time."""
    webhook = delivery.webhook
    manual = delivery.trigger in (Delivery.Trigger.MANUAL, Delivery.Trigger.TEST)
    waited = delivery.attempts > 0 or timezone.now() - delivery.created_at > LEASE
    if manual or not waited:
        return False
    if webhook.skip_stale and delivery.event.host_id and delivery.is_overtaken():
        reason = "Superseded: a newer event of this kind was delivered meanwhile."
    elif timezone.now() - delivery.created_at > retrying.oldest(webhook.channel.for_people):
        reason = "It waited for too long, and would be stale."
    else:
        return False
    ended = {"state": State.DROPPED, "reason": reason, "ended_at": timezone.now(), "next_attempt_at": None}
    delivery.change(Q(state__in=(State.PENDING, State.SENDING)), **ended, claim="", lease_until=None)
    return True


# --- note -------------------------------------------------------------------------------------------


def note(noted: Sequence[Noted], claim: str) -> None:
    """Attempts, deliveries and webhooks in one transaction: who sees one sees all of it."""
    now = timezone.now()
    still_ours = Q(state=State.SENDING, claim=claim)
    with transaction.atomic():
        Attempt.objects.bulk_create(attempt_of(delivery, sent) for delivery, sent in noted)
        arrived = [delivery for delivery, sent in noted if sent.answer.ok]
        ended = {"state": State.SUCCEEDED, "next_attempt_at": None, "ended_at": now}
        rows = Delivery.objects.filter(still_ours, pk__in=[delivery.pk for delivery in arrived])
        rows.update(**ended, reason="", claim="", lease_until=None)
        for webhook in {delivery.webhook_id: delivery.webhook for delivery in arrived}.values():
            note_success(webhook, now)
        for delivery, sent in noted:
            if not sent.answer.ok:
                reason, fields = after_failure(delivery, sent.answer, now)
                delivery.change(still_ours, **fields, reason=reason, claim="", lease_until=None)
                note_failure(delivery.webhook, sent.answer, now)


def note_with_patience(noted: Sequence[Noted], claim: str) -> None:
    """A database that is restarted must not make us send again what has arrived."""
    deadline = time.monotonic() + NOTE_PATIENCE
    while noted:
        try:
            note(noted, claim)
            return
        except (OperationalError, InterfaceError):
            if time.monotonic() > deadline:
                raise
            close_old_connections()
            time.sleep(0.5)


def after_failure(delivery: Delivery, answer: Answer, now: datetime) -> tuple[str, dict[str, Any]]:
    following = retrying.after_failure(answer, delivery.attempts, delivery.webhook.channel.for_people)
    if following.seconds is None or delivery.trigger == Delivery.Trigger.TEST:
        return following.reason, {"state": State.FAILED, "next_attempt_at": None, "ended_at": now}
    return following.reason, {
        "state": State.PENDING,
        "next_attempt_at": now + timedelta(seconds=following.seconds),
    }


def note_success(webhook: Webhook, now: datetime) -> None:
    """Close the breaker. A webhook that fares well is not written at each delivery."""
    lately = webhook.last_success_at and now - webhook.last_success_at < SUCCESS_NOTE
    if lately and not webhook.consecutive_failures and webhook.state == Webhook.State.ACTIVE:
        return
    rows = Webhook.objects.filter(pk=webhook.pk)
    rows.update(last_success_at=now, consecutive_failures=0, first_failure_at=None, open_until=None)
    rows.filter(state__in=(Webhook.State.FAILING, Webhook.State.OPEN)).update(state=Webhook.State.ACTIVE, reason="")


def note_failure(webhook: Webhook, answer: Answer, now: datetime) -> None:
    """Count it, rest after too many, switch off after days of nothing else, or at once when the receiver is gone."""
    webhook = Webhook.objects.select_for_update().get(pk=webhook.pk)
    webhook.consecutive_failures += 1
    webhook.first_failure_at = webhook.first_failure_at or now
    if webhook.state in Webhook.LISTENING:
        if answer.status == GONE or now - webhook.first_failure_at >= retrying.DISABLE_AFTER:
            disable(webhook, answer, now)
        elif breaks(webhook):
            webhook.state, webhook.open_until = Webhook.State.OPEN, now + retrying.BREAKER_REST
            webhook.reason = f"{webhook.consecutive_failures} failures in a row; tried every 5 minutes. {answer.words}"
        else:
            webhook.state, webhook.reason = Webhook.State.FAILING, answer.words
    webhook.save(
        update_fields=["state", "reason", "open_until", "consecutive_failures", "first_failure_at", "updated_at"]
    )


def breaks(webhook: Webhook) -> bool:
    if webhook.state == Webhook.State.OPEN or webhook.consecutive_failures >= retrying.BREAKER_FAILURES:
        return True
    failed, total = Attempt.failed_share(webhook, retrying.BREAKER_WINDOW)
    return total >= retrying.BREAKER_LEAST and failed >= retrying.BREAKER_SHARE * total


def disable(webhook: Webhook, answer: Answer, now: datetime) -> None:
    since = timezone.localtime(webhook.first_failure_at)
    webhook.state, webhook.open_until = Webhook.State.DISABLED, None
    webhook.reason = (
        "The receiver says that it is gone (410), and wants nothing more."
        if answer.status == GONE
        else f"Every attempt has failed since {since:%-d %b %Y, %H:%M %Z}. {answer.words}"
    )
    events.owe_for_disabled(webhook)


def attempt_of(delivery: Delivery, sent: Sent) -> Attempt:
    answer = sent.answer
    secrets = secrets_of(sent.request)
    return Attempt(
        delivery=delivery,
        number=delivery.attempts,
        started_at=sent.started_at,
        milliseconds=round(answer.seconds * 1000),
        ok=answer.ok,
        error=answer.error,
        words=answer.words,
        address=delivery.webhook.shown_target,
        ip=answer.ip,
        status=answer.status,
        request_headers=shown_headers(sent.request),
        response_headers={
            name: hidden(value, secrets) for name, value in answer.headers if name.lower() != "set-cookie"
        },
        response_body=hidden(answer.body[:KEPT_BODY], secrets),
    )


def shown_headers(request: Request | None) -> dict[str, str]:
    if request is None:
        return {}
    return {**dict(request.headers), **{name: HIDDEN for name, _ in request.secret_headers}}


def secrets_of(request: Request | None) -> list[str]:
    """What a receiver that echoes the request would bring into the log."""
    if request is None:
        return []
    path = urlsplit(request.url)
    texts = [value for _, value in request.secret_headers] + [path.path, path.query]
    return [text for text in texts if len(text) >= SHORTEST_SECRET]


def hidden(text: str, secrets: Sequence[str]) -> str:
    for secret in secrets:
        text = text.replace(secret, HIDDEN)
    return text


# --- tests ------------------------------------------------------------------------------------------


class TooManyTests(Exception):
    """A test sends at once and for real; so it is limited, whoever asks."""

    def __init__(self) -> None:
        super().__init__(f"No more than {TESTS_A_MINUTE} tests a minute: try again in a moment.")


def test(webhook: Webhook) -> tuple[Delivery, Sent]:
    """Send a webhook that may not be stored yet the last scan's event, now. A stored one finds it in its log.

    Raises TooManyTests.
    """
    if Event.objects.tested_since(timezone.now() - timedelta(minutes=1)) >= TESTS_A_MINUTE:
        raise TooManyTests
    scan = Scan.objects.with_counts().select_related("host").first()
    event = events.event_for_test(scan)
    event.save(force_insert=True)
    delivery = Delivery(webhook=webhook, event=event, trigger=Delivery.Trigger.TEST, attempts=1, next_attempt_at=None)
    sent = try_out(delivery)
    delivery.state = State.SUCCEEDED if sent.answer.ok else State.FAILED
    delivery.reason, delivery.ended_at = sent.answer.words, timezone.now()
    if webhook.pk:
        with transaction.atomic():
            delivery.save()
            attempt_of(delivery, sent).save()
    return delivery, sent


def try_out(delivery: Delivery) -> Sent:
    """Send it here and now; nothing is noted."""
    channel = delivery.webhook.channel
    try:
        delivery.body = channel.body(delivery.event.payload)
        prepared = prepare(delivery)
    except Exception as error:
        return failure_of_ours(delivery, error)
    if isinstance(prepared, Sent):
        return prepared
    started = timezone.now()
    return Sent(prepared, delivery.body, channel.verdict(post([prepared])[0]), started)
