"""The page of the audit log: who did what, filtered and paged by the server."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from typing import Any

from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import render
from django.utils import timezone
from django.utils.http import urlencode
from django.views.decorators.http import require_safe

from frontend import export_pages
from frontend.access import all_hosts_only
from frontend.pages import page_of
from frontend.templatetags.words import audit_value
from scanner import audit
from scanner.exports.csv import lines
from scanner.exports.formats import BY_NAME
from scanner.exports.interface import in_pieces
from scanner.models import AuditEntry

ROWS = 100
NAMES = ("actor", "action", "target", "since", "until")
COLUMNS = ("at", "actor", "how", "action", "target", "target_id", "before", "after")


@dataclass
class Wishes:
    """What the address asks for."""

    actor: str = ""
    action: str = ""  # one, or all about a kind of target: schedule
    target: str = ""
    since: str = ""  # days, in TIME_ZONE; both belong to it
    until: str = ""
    problems: list[str] = field(default_factory=list, init=False)

    @classmethod
    def of(cls, asked: Mapping[str, str]) -> "Wishes":
        return cls(*(asked.get(name, "").replace("\0", "").strip() for name in NAMES))

    @property
    def query(self) -> str:
        return urlencode({name: getattr(self, name) for name in NAMES if getattr(self, name)})

    def entries(self) -> QuerySet[AuditEntry]:
        rows = entries_like(self.actor, self.action, self.target)
        since, until = self.day("since"), self.day("until")
        if since:
            rows = rows.filter(at__gte=midnight(since))
        if until:
            rows = rows.filter(at__lt=midnight(until + timedelta(days=1)))
        return rows

    def day(self, name: str) -> date | None:
        text = getattr(self, name)
        try:
            day = date.fromisoformat(text) if text else None
            if day and not 1970 <= day.year < 9999:
                raise ValueError
        except ValueError:
            self.problems.append(f"{text!r} is not a day like {timezone.localdate()}, so it is left out.")
            return None
        return day


def entries_like(actor: str, action: str, target: str) -> QuerySet[AuditEntry]:
    """`action`: one, or a kind of target."""
    rows = AuditEntry.objects.all()
    if actor:
        rows = rows.filter(actor__icontains=actor)
    if action:
        rows = rows.filter(action=action) if "." in action else rows.filter(action__startswith=f"{action}.")
    if target:
        rows = rows.filter(target__icontains=target)
    return rows


def midnight(day: date) -> datetime:
    return timezone.make_aware(datetime.combine(day, time()))


def kinds() -> dict[str, list[str]]:
    """By kind of target: what can be done with it."""
    found: dict[str, list[str]] = {}
    for action in audit.ACTIONS:
        found.setdefault(action.partition(".")[0], []).append(action)
    return dict(sorted(found.items()))


@require_safe
@all_hosts_only
def entries(request: HttpRequest) -> HttpResponse:
    wishes = Wishes.of(request.GET)
    rows = page_of(wishes.entries(), request, ROWS)
    context = {"wishes": wishes, "entries": rows, "kinds": kinds().items(), "problems": wishes.problems}
    return render(request, "frontend/schedules/audit.html", context)


@require_safe
@all_hosts_only
def export(request: HttpRequest) -> HttpResponseBase:
    """What the page lists, whole, as CSV."""
    wishes = Wishes.of(request.GET)
    found = wishes.entries()
    what = ["audit", f"{timezone.localdate()}", "filtered" if wishes.query else ""]
    return export_pages.answer(request, BY_NAME["csv"], in_pieces(lines(COLUMNS, rows_of(found))), what)


def rows_of(found: QuerySet[AuditEntry]) -> Iterator[list[Any]]:
    for row in found.iterator(2000):
        before, after = (in_words(values) for values in (row.before, row.after))
        yield [row.at, row.actor, row.how, row.action, row.target, row.target_id, before, after]


def in_words(values: Mapping[str, Any]) -> str:
    """ "when: Daily at 02:00; hosts: all" """
    return "; ".join(f"{name}: {audit_value(value)}" for name, value in values.items())
