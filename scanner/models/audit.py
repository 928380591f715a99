"""Who did what."""

from collections.abc import Iterator
from typing import Any

from django.core.serializers.json import DjangoJSONEncoder
from django.db import models
from django.utils import timezone


class AuditEntryQuerySet(models.QuerySet["AuditEntry"]):
    def last_of_each(self, action: str, target_ids: list[str]) -> "dict[str, AuditEntry]":
        """By target: the newest entry of this action."""
        some = self.filter(action=action, target_id__in=target_ids).order_by()
        newest = some.values("target_id").annotate(newest=models.Max("pk")).values("newest")
        return {entry.target_id: entry for entry in self.filter(pk__in=newest)}


class AuditEntry(models.Model):
    """A change or a run, as it was told in its own transaction. Names are those of then; nothing is ever changed."""

    class How(models.TextChoices):
        PAGE = "page", "page"
        API = "api", "API"
        ADMIN = "admin", "admin"
        COMMAND = "command", "command line"
        BEAT = "beat", "schedule"

    at = models.DateTimeField(default=timezone.now)
    actor = models.CharField(max_length=250, help_text="A user's name, token NAME, schedule NAME or command line.")
    how = models.CharField(max_length=10, choices=How)
    action = models.CharField(max_length=40)
    target_id = models.CharField(max_length=40, blank=True)
    target = models.CharField(max_length=250, help_text="Its name.")
    before = models.JSONField(default=dict, encoder=DjangoJSONEncoder, help_text="Of what differs, without secrets.")
    after = models.JSONField(default=dict, encoder=DjangoJSONEncoder)

    objects = AuditEntryQuerySet.as_manager()

    class Meta:
        ordering = ["-pk"]
        verbose_name_plural = "audit log"
        indexes = [
            models.Index(fields=["action", "target_id", "-id"]),
            models.Index(fields=["at"]),
        ]

    def __str__(self) -> str:
        return f"{self.actor}: {self.action} {self.target}"

    @property
    def kind(self) -> str:
        """Of its target: host, schedule, …"""
        return self.action.partition(".")[0]

    @property
    def differences(self) -> "Iterator[tuple[str, Any, Any]]":
        """What, before, after; None where there was nothing, or is nothing any more."""
        for name in {**self.before, **self.after}:
            yield name, self.before.get(name), self.after.get(name)
