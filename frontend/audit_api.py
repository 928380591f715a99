"""The audit log for programs: /api/v1/audit."""

from datetime import UTC
from typing import Annotated, Any, Literal

from django.http import HttpRequest
from ninja import Field, Query, Router, Schema
from pydantic import AwareDatetime

from frontend import api_shapes as shapes
from frontend.audit_pages import entries_like
from frontend.fleet_api import EARLIEST, LATEST
from frontend.paging import LAST_ID, LIMIT, MOST, Shape, Text, nothing_unknown
from scanner.document import utc
from scanner.models import AuditEntry

router = Router(tags=["audit log"])
router.add_decorator(nothing_unknown)


class AuditWanted(Schema):
    actor: Text = Field("", description="Part of a name.")
    how: Literal["page", "api", "admin", "command", "beat"] | None = None
    action: Text = Field(
        "", description="One, or a kind of target for all that is done with it.", examples=["schedule.changed", "host"]
    )
    target: Text = Field("", description="Part of its name.")
    since: AwareDatetime | None = Field(None, description="At that time or later.", examples=shapes.DATE)
    until: AwareDatetime | None = Field(None, description="Before that time.", examples=shapes.DATE)
    before: int | None = Field(None, ge=1, le=LAST_ID, description="An id from `next`.")
    limit: int = Field(LIMIT, ge=1, le=MOST, description="Rows a page.")


class Target(Shape):
    kind: str = Field(examples=["schedule"])
    id: str | None
    name: str = Field(description="As it was then.")


class AuditOut(Shape):
    """A change or a run. What is secret is said as "changed"."""

    id: int
    at: str = Field(examples=shapes.DATE)
    actor: str = Field(examples=["alice", "token grafana", "schedule Daily scan", "command line"])
    how: Literal["page", "api", "admin", "command", "beat"]
    action: str = Field(examples=["schedule.changed"])
    target: Target
    before: dict[str, Any] = Field(description="Of what differs.")
    after: dict[str, Any]


class AuditPage(Shape):
    items: list[AuditOut]
    next: int | None = Field(description="The next page: ?before=NEXT. Null on the last one.", examples=[4711, None])


@router.get("/audit", response=AuditPage)
def list_audit(request: HttpRequest, wanted: Annotated[AuditWanted, Query()]) -> Any:
    """Who did what, newest first."""
    rows = entries_like(wanted.actor, wanted.action, wanted.target)
    if wanted.how:
        rows = rows.filter(how=wanted.how)
    if wanted.since:
        rows = rows.filter(at__gte=min(max(wanted.since, EARLIEST), LATEST).astimezone(UTC))
    if wanted.until:
        rows = rows.filter(at__lt=min(max(wanted.until, EARLIEST), LATEST).astimezone(UTC))
    if wanted.before:
        rows = rows.filter(pk__lt=wanted.before)
    some = list(rows[: wanted.limit + 1])
    page = some[: wanted.limit]
    return {"items": [shown(entry) for entry in page], "next": page[-1].pk if len(some) > wanted.limit else None}


def shown(entry: AuditEntry) -> shapes.Shown:
    same = ("id", "actor", "how", "action", "before", "after")
    return {name: getattr(entry, name) for name in same} | {
        "at": utc(entry.at),
        "target": {"kind": entry.kind, "id": entry.target_id or None, "name": entry.target},
    }
