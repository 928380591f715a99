"""Webhooks, events and deliveries for programs: /api/v1/webhooks and its neighbours."""

from datetime import datetime, time
from typing import Annotated, Any, Literal

from django.db.models import QuerySet
from django.http import HttpRequest
from django.shortcuts import get_object_or_404
from ninja import Field, Query, Router, Schema, Status
from ninja.errors import HttpError
from pydantic import ConfigDict

from frontend.api_doors import actor
from frontend.paging import Shape
from scanner import audit
from scanner.document import utc
from scanner.models import Attempt, Delivery, Event, Webhook
from scanner.webhooks import delivering, editing
from tasks import webhooks as tasks

PAGE = 100  # rows, at most

router = Router(tags=["webhooks"])

Kind = Literal["standard", "slack", "discord", "teams", "email", "other"]
Trigger = Literal["every", "change", "start"]
Digest = Literal["none", "hourly", "daily", "weekly"]


class Wishes(Schema):
    """What can be said of a webhook. Its address, headers and recipients are write-only."""

    model_config = ConfigDict(extra="forbid")

    name: Annotated[str, Field(max_length=100)]
    url: Annotated[str, Field(max_length=2048)] = ""
    headers: dict[str, str] = {}
    recipients: list[str] = []
    events: list[str] = []
    filter: str = ""
    trigger: Trigger = "every"
    repeat_hours: int | None = None
    quiet_from: time | None = None
    quiet_to: time | None = None
    muted_until: datetime | None = None
    digest: Digest = "none"
    rate_per_minute: int | None = None
    skip_stale: bool | None = None


class NewWebhook(Wishes):
    kind: Kind


class ChangedWebhook(Wishes):
    """Only what is to change. `paused` stops and resumes it."""

    name: Annotated[str, Field(max_length=100)] = ""
    paused: bool | None = None


class WebhookOut(Shape):
    """`url` says where it goes, without what is secret."""

    id: int
    name: str
    kind: Kind
    url: str
    events: list[str]
    filter: str
    trigger: Trigger
    repeat_hours: int | None
    quiet_from: time | None
    quiet_to: time | None
    muted_until: str | None
    digest: Digest
    rate_per_minute: int
    skip_stale: bool
    state: str
    reason: str | None
    consecutive_failures: int
    last_success_at: str | None
    filter_error: str | None
    created_by: str | None
    created_at: str | None


class CreatedWebhook(WebhookOut):
    secret: str | None = Field(None, description="Signs its deliveries (Standard Webhooks); shown only now.")


class Secret(Shape):
    secret: str
    previous_secret_expires_at: str | None


class AttemptOut(Shape):
    number: int
    started_at: str | None
    milliseconds: int
    ok: bool
    error: str | None
    message: str | None
    address: str
    ip: str | None
    status: int | None
    request_headers: dict[str, str]
    response_headers: dict[str, str]
    response_body: str


class DeliveryOut(Shape):
    id: int
    webhook: int
    event: str
    type: str
    host: str | None
    state: str
    reason: str | None
    trigger: str
    attempts: int
    created_at: str | None
    next_attempt_at: str | None
    ended_at: str | None


class WholeDelivery(DeliveryOut):
    request_body: str
    tries: list[AttemptOut]


class TestResult(Shape):
    delivery: int | None
    ok: bool
    message: str
    attempt: AttemptOut
    request_body: str


class LogQuery(Schema):
    state: str = Field("", description="pending, sending, succeeded, failed, dropped, filtered, …")
    event: str = Field("", description="A type of events")
    before: int | None = Field(None, ge=1, description="An id from `next`")
    limit: int = Field(PAGE, ge=1, le=PAGE)


class DeliveryPage(Shape):
    items: list[DeliveryOut]
    next: int | None = Field(description="The next page: ?before=NEXT. Null on the last one.")


# --- webhooks ---------------------------------------------------------------------------------------


@router.get("/webhooks", response=list[WebhookOut], url_name="webhooks")
def list_webhooks(request: HttpRequest) -> Any:
    return [shown(webhook) for webhook in Webhook.objects.all()]


@router.post("/webhooks", response={201: CreatedWebhook})
def create_webhook(request: HttpRequest, wishes: NewWebhook) -> Any:
    """Make a webhook. The `secret` of a standard one is shown only in this answer."""
    values = wanted(wishes) | {"name": wishes.name}
    webhook, secret = editing.create(values.pop("kind"), values, actor(request))
    return Status(201, shown(webhook) | {"secret": secret or None})


@router.get("/webhooks/{pk}", response=WebhookOut, url_name="webhook")
def get_webhook(request: HttpRequest, pk: int) -> Any:
    return shown(get_object_or_404(Webhook, pk=pk))


@router.patch("/webhooks/{pk}", response=WebhookOut)
def change_webhook(request: HttpRequest, pk: int, wishes: ChangedWebhook) -> Any:
    """Change what is named, and nothing else."""
    webhook = get_object_or_404(Webhook, pk=pk)
    values = wanted(wishes)
    paused = values.pop("paused", None)
    editing.change(webhook, values, actor(request))
    if paused is True:
        editing.pause(webhook, actor(request))
    elif paused is False:
        editing.resume(webhook, actor(request))
    return shown(webhook)


@router.put("/webhooks/{pk}", response=WebhookOut)
def replace_webhook(request: HttpRequest, pk: int, wishes: Wishes) -> Any:
    """Say anew what it is to hear; an address that is left out stays."""
    webhook = get_object_or_404(Webhook, pk=pk)
    values = {name: value for name, value in wishes.dict().items() if value is not None or name in NULLABLE}
    editing.change(webhook, values, actor(request))
    return shown(webhook)


@router.delete("/webhooks/{pk}", response={204: None})
def delete_webhook(request: HttpRequest, pk: int) -> Any:
    """Delete it, and its delivery log."""
    editing.delete(get_object_or_404(Webhook, pk=pk), actor(request))
    return Status(204, None)


@router.post("/webhooks/{pk}/test", response=TestResult)
def test_webhook(request: HttpRequest, pk: int) -> Any:
    """Send it the last scan's event now, and wait for the answer. It stands in the delivery log, too."""
    webhook = get_object_or_404(Webhook, pk=pk)
    try:
        delivery, sent = delivering.test(webhook)
    except delivering.TooManyTests as error:
        raise HttpError(429, str(error)) from error
    audit.record(actor(request), "webhook.tested", webhook, after={"delivered": sent.answer.ok})
    return {
        "delivery": delivery.pk,
        "ok": sent.answer.ok,
        "message": sent.answer.words or "Delivered.",
        "attempt": attempt(delivering.attempt_of(delivery, sent)),
        "request_body": delivery.body,
    }


@router.post("/webhooks/{pk}/rotate-secret", response=Secret)
def rotate_secret(request: HttpRequest, pk: int) -> Any:
    """A new secret, shown only now. For 24 h deliveries are signed with both."""
    webhook = get_object_or_404(Webhook, pk=pk)
    secret = editing.rotate_secret(webhook, actor(request))
    return {"secret": secret, "previous_secret_expires_at": utc(webhook.previous_secret_expires_at)}


@router.get("/webhooks/{pk}/deliveries", response=DeliveryPage, url_name="webhook-deliveries")
def list_deliveries(
    request: HttpRequest,
    pk: int,
    wanted: Annotated[LogQuery, Query()],
) -> Any:
    """Newest first."""
    rows: QuerySet[Delivery] = get_object_or_404(Webhook, pk=pk).deliveries.select_related("event__host")
    if wanted.state:
        rows = rows.filter(state=wanted.state)
    if wanted.event:
        rows = rows.filter(event__type=wanted.event)
    if wanted.before:
        rows = rows.filter(pk__lt=wanted.before)
    found = list(rows[: wanted.limit + 1])
    shown_rows = found[: wanted.limit]
    return {
        "items": [outline(row) for row in shown_rows],
        "next": shown_rows[-1].pk if len(found) > wanted.limit else None,
    }


# --- deliveries and events --------------------------------------------------------------------------


@router.get("/deliveries/{pk}", response=WholeDelivery, url_name="delivery")
def get_delivery(request: HttpRequest, pk: int) -> Any:
    row = get_object_or_404(Delivery.objects.select_related("event__host"), pk=pk)
    return outline(row) | {"request_body": row.body, "tries": [attempt(each) for each in row.tries.all()]}


@router.post("/deliveries/{pk}/redeliver", response={202: DeliveryOut})
def redeliver(request: HttpRequest, pk: int) -> Any:
    """Send it once more, with the same event id, as a new delivery."""
    row = get_object_or_404(Delivery.objects.select_related("event__host", "webhook"), pk=pk)
    return Status(202, outline(tasks.send_again(row.event, row.webhook, actor(request), row.body)))


@router.get("/events/{pk}", url_name="event")
def get_event(request: HttpRequest, pk: str) -> Any:
    """The event as it is delivered, with its lists of packages whole."""
    event = get_object_or_404(Event, pk=pk)
    changes = event.payload["data"].get("changes") or {}
    whole = {**changes, **event.full_lists}
    if event.full_lists:
        whole["more"] = dict.fromkeys(changes["more"], 0)
    return {**event.payload, "data": {**event.payload["data"], **({"changes": whole} if whole else {})}}


@router.post("/events/{pk}/replay", response={202: DeliveryOut})
def replay_event(request: HttpRequest, pk: str, webhook: Annotated[int, Query(description="Its id")]) -> Any:
    """Send an event to a webhook by hand, whatever its filter says."""
    event = get_object_or_404(Event.objects.select_related("host"), pk=pk)
    again = tasks.send_again(event, get_object_or_404(Webhook, pk=webhook), actor(request))
    return Status(202, outline(again))


NULLABLE = {"repeat_hours", "quiet_from", "quiet_to", "muted_until"}


def wanted(wishes: Wishes) -> dict[str, Any]:
    """What was said, and not more. Null means a value only where a webhook can be without one."""
    said = wishes.dict(exclude_unset=True)
    return {name: value for name, value in said.items() if value is not None or name in NULLABLE}


def shown(webhook: Webhook) -> dict[str, Any]:
    same = (*editing.PLAIN, "kind", "state", "consecutive_failures")
    return {name: getattr(webhook, name) for name in same} | {
        "id": webhook.pk,
        "url": webhook.shown_target,
        "muted_until": utc(webhook.muted_until),
        "reason": webhook.reason or None,
        "last_success_at": utc(webhook.last_success_at),
        "filter_error": webhook.last_filter_error or None,
        "created_by": webhook.created_by or None,
        "created_at": utc(webhook.created_at),
    }


def outline(row: Delivery) -> dict[str, Any]:
    return {
        "id": row.pk,
        "webhook": row.webhook_id,
        "event": row.event_id,
        "type": row.event.type,
        "host": row.event.host.name if row.event.host else None,
        "state": row.state,
        "reason": row.reason or None,
        "trigger": row.trigger,
        "attempts": row.attempts,
        "created_at": utc(row.created_at),
        "next_attempt_at": utc(row.next_attempt_at),
        "ended_at": utc(row.ended_at),
    }


def attempt(row: Attempt) -> dict[str, Any]:
    same = ("number", "milliseconds", "ok", "address", "status", "request_headers", "response_headers", "response_body")
    return {name: getattr(row, name) for name in same} | {
        "started_at": utc(row.started_at),
        "error": row.error or None,
        "message": row.words or None,
        "ip": row.ip or None,
    }
