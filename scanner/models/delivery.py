"""What is sent where, and each attempt to send it: the delivery log."""

from datetime import timedelta
from typing import Any

from django.db import models
from django.db.models import Q, Window
from django.db.models.functions import RowNumber
from django.urls import reverse
from django.utils import timezone

from scanner.models.event import Event
from scanner.models.webhook import Webhook

IN_FLIGHT = 10  # deliveries of one webhook under way at once


class DeliveryQuerySet(models.QuerySet["Delivery"]):
    def due(self) -> "DeliveryQuerySet":
        """What may be sent now: of paused and resting webhooks only what somebody has asked for by hand."""
        now = timezone.now()
        resting = Q(webhook__state=Webhook.State.OPEN, webhook__open_until__gt=now)
        stopped = Q(webhook__state__in=(Webhook.State.PAUSED, Webhook.State.DISABLED))
        waiting = self.filter(state=Delivery.State.PENDING, next_attempt_at__lte=now)
        return waiting.filter(Q(trigger=Delivery.Trigger.MANUAL) | ~(resting | stopped))

    def fairly(self, limit: int) -> list[tuple[int, str]]:
        """The id and the kind of up to `limit` of them, and of each webhook no more than may be under way at once."""
        turn = Window(RowNumber(), partition_by="webhook", order_by=("next_attempt_at", "pk"))
        fair = self.annotate(turn=turn).filter(turn__lte=IN_FLIGHT)
        return list(fair.values_list("pk", "webhook__kind")[:limit])

    def free_expired(self) -> int:
        """What a process claimed that died before it could say what came of it waits again."""
        lost = self.filter(state=Delivery.State.SENDING, lease_until__lt=timezone.now())
        return lost.update(state=Delivery.State.PENDING, claim="", lease_until=None)

    def again(self, event: Event, webhook: Webhook, body: str = "") -> "Delivery":
        """Send an event by hand, whatever the webhook's filter says: a new row, so that those before keep their log."""
        last = self.filter(event=event, webhook=webhook).aggregate(last=models.Max("replay"))["last"]
        replay = 0 if last is None else last + 1
        return self.create(event=event, webhook=webhook, replay=replay, body=body, trigger=Delivery.Trigger.MANUAL)


class Delivery(models.Model):
    """One event for one webhook: sent, waiting, or the reason why it is not sent."""

    class State(models.TextChoices):
        PENDING = "pending", "waiting"
        SENDING = "sending", "being sent"
        SUCCEEDED = "succeeded", "delivered"
        FAILED = "failed", "failed"
        DROPPED = "dropped", "dropped"
        FILTERED = "filtered", "no match"
        FILTER_ERROR = "filter_error", "filter error"
        SUPPRESSED = "suppressed", "suppressed"
        COLLECTED = "collected", "waits for the digest"
        DIGESTED = "digested", "told in a digest"

    class Trigger(models.TextChoices):
        AUTOMATIC = "auto", "an event"
        MANUAL = "manual", "redelivered by hand"
        TEST = "test", "a test"
        DIGEST = "digest", "a digest"

    OPEN = (State.PENDING, State.SENDING, State.COLLECTED)
    SENT = (State.PENDING, State.SENDING, State.SUCCEEDED, State.FAILED, State.COLLECTED, State.DIGESTED)
    """Those that matched and were not held back: what repeat intervals count from."""

    event = models.ForeignKey(Event, on_delete=models.CASCADE, related_name="deliveries")
    webhook = models.ForeignKey(Webhook, on_delete=models.CASCADE, related_name="deliveries")
    replay = models.PositiveIntegerField(default=0)
    trigger = models.CharField(max_length=10, choices=Trigger, default=Trigger.AUTOMATIC)
    state = models.CharField(max_length=12, choices=State, default=State.PENDING)
    reason = models.TextField(blank=True, help_text="Why it is in this state.")
    body = models.TextField(blank=True, help_text="What is sent, at each attempt unchanged.")
    attempts = models.PositiveIntegerField(default=0)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    next_attempt_at = models.DateTimeField(default=timezone.now, null=True)
    lease_until = models.DateTimeField(null=True, editable=False)
    claim = models.CharField(max_length=50, blank=True, editable=False)
    ended_at = models.DateTimeField(null=True, editable=False)

    objects = DeliveryQuerySet.as_manager()

    class Meta:
        ordering = ["-pk"]
        verbose_name_plural = "deliveries"
        constraints = [models.UniqueConstraint(fields=["event", "webhook", "replay"], name="one_delivery_a_replay")]
        indexes = [
            models.Index(
                fields=["next_attempt_at"],
                condition=Q(state__in=["pending", "sending", "collected"]),
                name="deliveries_open",
            ),
            models.Index(fields=["webhook", "-id"]),
            models.Index(fields=["created_at"]),
        ]

    def __str__(self) -> str:
        return f"Delivery {self.pk} of {self.event_id}"

    def get_absolute_url(self) -> str:
        return reverse("delivery", args=[self.pk])

    @property
    def open(self) -> bool:
        return self.state in self.OPEN

    def change(self, only_if: Q, **fields: Any) -> bool:
        """Change the row if it still is as expected. False: somebody else was first, and nothing was changed."""
        return bool(Delivery.objects.filter(only_if, pk=self.pk).update(**fields))

    def is_overtaken(self) -> bool:
        """Whether a newer event of the same type and host has reached this webhook already."""
        newer = Delivery.objects.filter(
            webhook=self.webhook_id,
            state=self.State.SUCCEEDED,
            event__host=self.event.host_id,
            event__type=self.event.type,
            event__id__gt=self.event_id,
        )
        return newer.exclude(trigger=self.Trigger.TEST).exists()


class Attempt(models.Model):
    """One try to send a delivery, and what came of it. What is secret is not kept; long texts are cut."""

    delivery = models.ForeignKey(Delivery, on_delete=models.CASCADE, related_name="tries")
    number = models.PositiveIntegerField()
    started_at = models.DateTimeField()
    milliseconds = models.PositiveIntegerField()
    ok = models.BooleanField()
    error = models.CharField(max_length=20, blank=True)
    words = models.TextField(blank=True)
    address = models.CharField(max_length=500, blank=True, help_text="Without what is secret.")
    ip = models.CharField(max_length=45, blank=True)
    status = models.PositiveSmallIntegerField(null=True, help_text="Of HTTP.")
    request_headers = models.JSONField(default=dict)
    response_headers = models.JSONField(default=dict)
    response_body = models.TextField(blank=True)

    class Meta:
        ordering = ["number", "pk"]
        indexes = [models.Index(fields=["started_at"])]

    def __str__(self) -> str:
        return f"Attempt {self.number} of delivery {self.delivery_id}"

    @classmethod
    def failed_share(cls, webhook: Webhook, window: timedelta) -> tuple[int, int]:
        """(failed, all) attempts of a webhook in the last `window`."""
        since = timezone.now() - window
        counts = cls.objects.filter(delivery__webhook=webhook, started_at__gt=since).aggregate(
            failed=models.Count("pk", filter=Q(ok=False)), total=models.Count("pk")
        )
        return counts["failed"], counts["total"]
