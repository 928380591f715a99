"""What has happened, as it is told to the outside world. An outbox: written in the transaction of what it tells."""

import secrets
import time
from datetime import datetime, timedelta

from django.db import models
from django.urls import reverse
from django.utils import timezone

from scanner.models.host import Host
from scanner.models.scan import Scan

TEST_PREFIX = "evt_test_"
LEFT_BEHIND = timedelta(seconds=2)  # who wrote an event hands it on at once, unless it could not


def new_event_id(prefix: str = "evt_") -> str:
    """A UUID of version 7 (RFC 9562) in hex: ids sort by their time, and no two are the same."""
    random = secrets.randbits(74)
    number = time.time_ns() // 1_000_000 << 80 | 7 << 76 | random >> 62 << 64 | 2 << 62 | random & (1 << 62) - 1
    return f"{prefix}{number:032x}"


class EventQuerySet(models.QuerySet["Event"]):
    def real(self) -> "EventQuerySet":
        """Without those of tests."""
        return self.exclude(pk__startswith=TEST_PREFIX)

    def tested_since(self, at: datetime) -> int:
        return self.filter(pk__startswith=TEST_PREFIX, created_at__gt=at).count()

    def waiting(self) -> "EventQuerySet":
        """Those that nobody has turned into deliveries yet."""
        return self.filter(fanned_out_at=None)

    def left_behind(self) -> "EventQuerySet":
        """What a scan from the command line wrote, or a process that died: the sweep's work."""
        return self.waiting().filter(created_at__lt=timezone.now() - LEFT_BEHIND)


class Event(models.Model):
    """One event. `payload` is the public JSON object; docs/webhooks.md describes it."""

    id = models.CharField(primary_key=True, max_length=50, default=new_event_id, editable=False)
    type = models.CharField(max_length=60)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    host = models.ForeignKey(Host, on_delete=models.CASCADE, null=True, related_name="events")
    scan = models.ForeignKey(Scan, on_delete=models.CASCADE, null=True, related_name="events")
    payload = models.JSONField()
    full_lists = models.JSONField(default=dict, help_text="The lists that were too long for the payload, whole.")
    dedupe_key = models.CharField(max_length=100, unique=True)
    fanned_out_at = models.DateTimeField(null=True, editable=False)

    objects = EventQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        indexes = [
            models.Index(fields=["type", "-created_at"]),
            models.Index(fields=["created_at"], condition=models.Q(fanned_out_at=None), name="events_waiting"),
        ]

    def __str__(self) -> str:
        return f"{self.type} {self.id}"

    def get_absolute_url(self) -> str:
        return reverse("event", args=[self.pk])

    @property
    def is_test(self) -> bool:
        return self.pk.startswith(TEST_PREFIX)
