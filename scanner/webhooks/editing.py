"""What may be said of a webhook, by whichever door: checked here, so that pages, API and admin agree."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.db import transaction

from scanner import audit
from scanner.audit import CHANGED, Actor
from scanner.models import Webhook
from scanner.models.webhook import RATE_FOR_PEOPLE, RATE_FOR_PROGRAMS
from scanner.webhooks import filters
from scanner.webhooks.channels import channel
from scanner.webhooks.events import EVENT_TYPES
from scanner.webhooks.interface import BadTarget
from scanner.webhooks.sealing import CannotUnseal
from scanner.webhooks.standard import new_secret

PER_USER = 50  # webhooks
MOST_A_MINUTE = 6000
LONGEST_REPEAT = 24 * 31  # hours
PLAIN = (
    "name",
    "events",
    "filter",
    "trigger",
    "repeat_hours",
    "quiet_from",
    "quiet_to",
    "muted_until",
    "digest",
    "rate_per_minute",
    "skip_stale",
)


@dataclass(frozen=True)
class Problem:
    """What is wrong with one field; a filter's problem has a place, counted from 1."""

    field: str
    message: str
    line: int | None = None
    column: int | None = None


class Refused(Exception):
    """Nothing was changed."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__(" ".join(problem.message for problem in problems))
        self.problems = problems


def new_webhook(kind: str, created_by: str = "") -> Webhook:
    """One with the defaults of its kind, not stored yet."""
    people = channel(kind).for_people
    webhook = Webhook(
        kind=kind,
        rate_per_minute=RATE_FOR_PEOPLE if people else RATE_FOR_PROGRAMS,
        skip_stale=people,
        created_by=created_by,
    )
    if kind == Webhook.Kind.STANDARD:
        webhook.secret = new_secret()
    return webhook


@transaction.atomic
def create(kind: str, wishes: Mapping[str, Any], by: Actor) -> tuple[Webhook, str]:
    """A new webhook and its secret, which is shown this once. Raises Refused."""
    if Webhook.objects.filter(created_by=by.name).count() >= PER_USER:
        raise Refused([Problem("name", f"You have {PER_USER} webhooks already: delete one first.")])
    webhook = new_webhook(kind, by.name)
    apply(webhook, wishes)
    webhook.save()
    audit.record(by, "webhook.created", webhook, after={"kind": kind, **plain(webhook)})
    return webhook, webhook.secret


@transaction.atomic
def change(webhook: Webhook, wishes: Mapping[str, Any], by: Actor) -> None:
    """Raises Refused."""
    before, address = plain(webhook), address_of(webhook)
    apply(webhook, wishes)
    webhook.save()
    after = plain(webhook) | ({} if address_of(webhook) == address else {"address": CHANGED})
    if after != before:
        audit.record(by, "webhook.changed", webhook, before, after)


@transaction.atomic
def pause(webhook: Webhook, by: Actor, reason: str = "") -> None:
    webhook.pause(reason or f"Paused by {by.name}.")
    audit.record(by, "webhook.paused", webhook)


@transaction.atomic
def resume(webhook: Webhook, by: Actor) -> None:
    before = {"state": webhook.state, "reason": webhook.reason}
    webhook.resume()
    audit.record(by, "webhook.resumed", webhook, before, {"state": webhook.state, "reason": webhook.reason})


@transaction.atomic
def delete(webhook: Webhook, by: Actor) -> None:
    """With its log."""
    audit.record(by, "webhook.deleted", webhook, before={"kind": webhook.kind, **plain(webhook)})
    webhook.delete()


def plain(webhook: Webhook) -> dict[str, Any]:
    """What may be told of it: it has no secret."""
    return {name: getattr(webhook, name) for name in PLAIN}


@transaction.atomic
def rotate_secret(webhook: Webhook, by: Actor) -> str:
    """The new secret, shown this once. Raises Refused for a kind that signs nothing."""
    if webhook.kind != Webhook.Kind.STANDARD:
        raise Refused([Problem("kind", f"{webhook.get_kind_display()} messages are not signed: there is no secret.")])
    secret = new_secret()
    webhook.rotate_secret(secret)
    audit.record(by, "webhook.secret_rotated", webhook, after={"secret": CHANGED})
    return secret


def apply(webhook: Webhook, wishes: Mapping[str, Any]) -> None:
    """Check the wishes, and put them into the row; it is not saved. What is not wished for stays. Raises Refused."""
    problems = [*plain_problems(webhook, wishes), *filter_problems(wishes.get("filter", ""))]
    target = wished_target(webhook, wishes)
    try:
        clean = webhook.channel.clean(target, settings.WEBHOOK_ALLOWED_NETWORKS)
    except BadTarget as error:
        problems.append(Problem(error.field, error.message))
    if problems:
        raise Refused(problems)
    for name in PLAIN:
        if name in wishes:
            setattr(webhook, name, wishes[name])
    webhook.filter = webhook.filter.strip()
    webhook.target = clean


def wished_target(webhook: Webhook, wishes: Mapping[str, Any]) -> dict[str, Any]:
    """What was there, with what is wished for; an address that is left empty stays as it is."""
    before = address_of(webhook)
    wished = {name: wishes[name] for name in webhook.channel.takes if wishes.get(name) not in (None, "", [])}
    return {**before, **wished}


def address_of(webhook: Webhook) -> dict[str, Any]:
    try:
        return webhook.target
    except CannotUnseal:  # SECRET_KEY has changed: it has to be entered again
        return {}


def plain_problems(webhook: Webhook, wishes: Mapping[str, Any]) -> list[Problem]:
    problems = []
    if not str(wishes.get("name", "")).isprintable():
        problems.append(Problem("name", "The name has a character that cannot be shown: take it out."))
    if "name" in wishes and not str(wishes["name"]).strip():
        problems.append(Problem("name", "Give it a name that tells you what it is for."))
    if unknown := [name for name in wishes.get("events", ()) if name not in dict(EVENT_TYPES)]:
        known = ", ".join(dict(EVENT_TYPES))
        problems.append(Problem("events", f"There is no event {unknown[0]!r}. Known are {known}."))
    quiet = [wishes.get(name, getattr(webhook, name)) for name in ("quiet_from", "quiet_to")]
    if quiet.count(None) == 1:
        problems.append(Problem("quiet_to", "Quiet hours need a beginning and an end."))
    repeat, rate = wishes.get("repeat_hours"), wishes.get("rate_per_minute", 1)
    if repeat is not None and not 1 <= repeat <= LONGEST_REPEAT:
        problems.append(Problem("repeat_hours", f"Between 1 and {LONGEST_REPEAT} hours, or nothing."))
    if rate is None or not 1 <= rate <= MOST_A_MINUTE:
        problems.append(Problem("rate_per_minute", f"Between 1 and {MOST_A_MINUTE} deliveries a minute."))
    return problems


def filter_problems(source: str) -> list[Problem]:
    found = filters.check(source, sample=True)
    return [Problem("filter", found.message, found.line, found.column)] if found else []
