"""Who wants to be told of what, and where: a webhook."""

import json
from datetime import datetime, time, timedelta
from typing import Any

from django.db import models
from django.db.models import Q
from django.urls import reverse
from django.utils import timezone

from scanner.webhooks.channels import channel
from scanner.webhooks.interface import Channel
from scanner.webhooks.sealing import CannotUnseal, seal, unseal

ROTATION_OVERLAP = timedelta(hours=24)  # for which the secret before still signs, too
DIGEST_TIME = time(8)  # when daily and weekly digests are sent, in TIME_ZONE; weekly ones on a Monday
RATE_FOR_PEOPLE, RATE_FOR_PROGRAMS = 60, 600  # deliveries a minute, unless the webhook says otherwise


class WebhookQuerySet(models.QuerySet["Webhook"]):
    def listening(self) -> "WebhookQuerySet":
        """Those that events are turned into deliveries for."""
        return self.filter(state__in=Webhook.LISTENING)

    def troubled(self) -> "WebhookQuerySet":
        """Those that an administrator should look at."""
        return self.filter(Q(state__in=(Webhook.State.OPEN, Webhook.State.DISABLED)) | Q(filter_errors__gt=4))


class Webhook(models.Model):
    """A place that events are sent to, what it wants to hear, and how it has fared."""

    class Kind(models.TextChoices):
        STANDARD = "standard", "Signed JSON"
        SLACK = "slack", "Slack"
        DISCORD = "discord", "Discord"
        TEAMS = "teams", "Microsoft Teams"
        EMAIL = "email", "Email"
        OTHER = "other", "Other service"

    class State(models.TextChoices):
        ACTIVE = "active", "active"
        FAILING = "failing", "failing"
        OPEN = "open", "resting"  # the circuit breaker's word: nothing flows but a probe
        PAUSED = "paused", "paused"
        DISABLED = "disabled", "disabled"

    class Trigger(models.TextChoices):
        EVERY = "every", "every time"
        CHANGE = "change", "only when something has changed"
        START = "start", "only when it starts to match"

    class Digest(models.TextChoices):
        NONE = "none", "at once"
        HOURLY = "hourly", "once an hour"
        DAILY = "daily", "once a day"
        WEEKLY = "weekly", "once a week"

    LISTENING = (State.ACTIVE, State.FAILING, State.OPEN)

    name = models.CharField(max_length=100)
    kind = models.CharField(max_length=10, choices=Kind)
    sealed_target = models.TextField(editable=False, help_text="Where it goes, with what is secret in it; encrypted.")
    shown_target = models.CharField(max_length=500, editable=False, help_text="The same without what is secret.")
    sealed_secret = models.TextField(blank=True, editable=False)
    sealed_previous_secret = models.TextField(blank=True, editable=False)
    previous_secret_expires_at = models.DateTimeField(null=True, editable=False)

    # what it wants to hear, and when
    events = models.JSONField(default=list, help_text="Types of events; none means all.")
    filter = models.TextField(blank=True, help_text="A CEL expression; none means that everything matches.")
    trigger = models.CharField(max_length=10, choices=Trigger, default=Trigger.EVERY)
    repeat_hours = models.PositiveSmallIntegerField(null=True, blank=True)
    quiet_from = models.TimeField(null=True, blank=True)
    quiet_to = models.TimeField(null=True, blank=True)
    muted_until = models.DateTimeField(null=True, blank=True)
    digest = models.CharField(max_length=10, choices=Digest, default=Digest.NONE)
    rate_per_minute = models.PositiveIntegerField()
    skip_stale = models.BooleanField(help_text="A retry is dropped once a newer event of its kind was delivered.")

    # how it has fared
    state = models.CharField(max_length=10, choices=State, default=State.ACTIVE)
    reason = models.TextField(blank=True, help_text="Why it is in this state.")
    consecutive_failures = models.PositiveIntegerField(default=0, editable=False)
    first_failure_at = models.DateTimeField(null=True, editable=False)
    open_until = models.DateTimeField(null=True, editable=False)
    last_success_at = models.DateTimeField(null=True, editable=False)
    filter_errors = models.PositiveIntegerField(default=0, editable=False, help_text="In a row.")
    last_filter_error = models.TextField(blank=True, editable=False)

    created_by = models.CharField(max_length=150, blank=True, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    updated_at = models.DateTimeField(auto_now=True)

    objects = WebhookQuerySet.as_manager()

    class Meta:
        ordering = ["name", "pk"]
        permissions = [("manage_webhooks", "Can see and manage webhooks, events and deliveries")]

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        return reverse("webhook", args=[self.pk])

    # --- what is secret ---------------------------------------------------------------------------

    @property
    def channel(self) -> Channel:
        return channel(self.kind)

    @property
    def target(self) -> dict[str, Any]:
        """Where it goes. Raises CannotUnseal."""
        return json.loads(unseal(self.sealed_target) or "{}")

    @target.setter
    def target(self, value: dict[str, Any]) -> None:
        self.sealed_target = seal(json.dumps(value))
        self.shown_target = self.channel.shown(value)[:500]

    @property
    def secret(self) -> str:
        return unseal(self.sealed_secret)

    @secret.setter
    def secret(self, value: str) -> None:
        self.sealed_secret = seal(value)

    def secrets(self, at: datetime) -> list[str]:
        """What signs at that time, the newest first: two of them while a rotation overlaps."""
        sealed = [self.sealed_secret]
        if self.previous_secret_expires_at and at < self.previous_secret_expires_at:
            sealed.append(self.sealed_previous_secret)
        return [unseal(text) for text in sealed if text]

    def rotate_secret(self, secret: str) -> None:
        """Take a new secret; the one before signs as well for 24 h, so that the receiver can change in its own time."""
        try:
            self.sealed_previous_secret = seal(self.secret)
        except CannotUnseal:  # SECRET_KEY has changed: nothing can be signed with the one before
            self.sealed_previous_secret = ""
        self.previous_secret_expires_at = timezone.now() + ROTATION_OVERLAP
        self.secret = secret
        self.save(update_fields=["sealed_secret", "sealed_previous_secret", "previous_secret_expires_at", "updated_at"])

    # --- when it is told --------------------------------------------------------------------------

    def hears(self, event_type: str) -> bool:
        return not self.events or event_type in self.events

    def quiet_until(self, at: datetime) -> datetime | None:
        """The end of the quiet hours that `at` falls into, in TIME_ZONE; None outside of them."""
        if self.quiet_from is None or self.quiet_to is None or self.quiet_from == self.quiet_to:
            return None
        local = timezone.localtime(at)
        over_midnight = self.quiet_from > self.quiet_to
        after, before = local.time() >= self.quiet_from, local.time() < self.quiet_to
        if not (after or before if over_midnight else after and before):
            return None
        day = local.date() + timedelta(days=1) if over_midnight and after else local.date()
        return timezone.make_aware(datetime.combine(day, self.quiet_to))

    def next_digest(self, at: datetime) -> datetime | None:
        """When what happens at `at` is told, if it is told in a digest."""
        local = timezone.localtime(at)
        if self.digest == self.Digest.NONE:
            return None
        if self.digest == self.Digest.HOURLY:
            return (local + timedelta(hours=1)).replace(minute=0, second=0, microsecond=0)
        day = local.date() if local.time() < DIGEST_TIME else local.date() + timedelta(days=1)
        if self.digest == self.Digest.WEEKLY:
            day += timedelta(days=-day.weekday() % 7)
        return timezone.make_aware(datetime.combine(day, DIGEST_TIME))

    # --- what an administrator does to it ---------------------------------------------------------

    def pause(self, reason: str) -> None:
        self.state, self.reason = self.State.PAUSED, reason
        self.save(update_fields=["state", "reason", "updated_at"])

    def resume(self) -> None:
        """Start anew, whatever stopped it; what waits is sent unless it has become too old."""
        self.state, self.reason = self.State.ACTIVE, ""
        self.consecutive_failures, self.first_failure_at, self.open_until = 0, None, None
        self.filter_errors, self.last_filter_error = 0, ""
        self.save()
