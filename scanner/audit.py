"""Who did what: one entry for each change and each run, in the transaction of what it tells of."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db.models import Model
from django.utils import timezone

from scanner.models.audit import AuditEntry

How = AuditEntry.How
Values = Mapping[str, Any]

ACTIONS = (
    *("scan.started", "scan.cancelled", "scan.deleted"),
    *("schedule.created", "schedule.changed", "schedule.deleted", "schedule.paused", "schedule.resumed"),
    *("schedule.run", "schedule.ran"),  # somebody asked for it; what came of it
    *("crontab.created", "crontab.changed", "crontab.deleted"),
    *("interval.created", "interval.changed", "interval.deleted"),
    *("host.created", "host.changed", "host.deleted", "host.archived", "host.brought_back", "host.tagged"),
    *("tag.created", "tag.changed", "tag.deleted"),
    *("risk.accepted", "risk.withdrawn"),
    *("webhook.created", "webhook.changed", "webhook.deleted", "webhook.paused", "webhook.resumed"),
    *("webhook.tested", "webhook.secret_rotated", "delivery.redelivered", "event.replayed"),
    *("feed.refreshed", "feed.deleted"),
    *("token.created", "token.revoked", "token.deleted", "link.created"),
    *("user.created", "user.changed", "user.deleted", "user.password_changed"),
    *("user.signed_in", "user.signed_out", "user.sign_in_refused"),
    *("group.created", "group.changed", "group.deleted"),
    "setting.changed",
    *("snapshot.deleted", "update.deleted", "record.created", "record.changed", "record.deleted"),
)
CHANGED = "changed"
"""Stands for what is secret: that it is another one now, and nothing of it."""
BATCH = 1000  # rows a statement


@dataclass(frozen=True)
class Actor:
    """Who does something, and by which way in."""

    name: str
    how: str


COMMAND_LINE = Actor("command line", How.COMMAND)


def record(
    by: Actor, action: str, target: Model | str, before: Values | None = None, after: Values | None = None
) -> None:
    """Call it in the transaction of the change. Of `before` and `after` only what differs is kept.

    Nothing secret may be in them: say CHANGED. `target`: the row, or the name of what has none.
    """
    entry(by, action, target, before, after).save(force_insert=True)


def record_all(
    by: Actor, action: str, targets: Iterable[Model], before: Values | None = None, after: Values | None = None
) -> None:
    """The same of many."""
    store(entry(by, action, each, before, after) for each in targets)


def store(entries: Iterable[AuditEntry]) -> None:
    AuditEntry.objects.bulk_create(entries, batch_size=BATCH)


def entry(by: Actor, action: str, target: Model | str, before: Values | None, after: Values | None) -> AuditEntry:
    if action not in ACTIONS:
        raise ValueError(f"there is no action {action!r}: add it to audit.ACTIONS")
    before, after = before or {}, after or {}
    differ = [name for name in {**before, **after} if before.get(name) != after.get(name)]
    return AuditEntry(
        actor=by.name,
        how=by.how,
        action=action,
        target_id="" if isinstance(target, str) else str(target.pk or ""),
        target=str(getattr(target, "name", target))[:250],
        before={name: before[name] for name in differ if name in before},
        after={name: after[name] for name in differ if name in after},
    )


def too_old() -> Any:
    """Entries that need not be kept any longer."""
    return AuditEntry.objects.filter(at__lt=timezone.now() - timedelta(days=settings.AUDIT_DAYS))
