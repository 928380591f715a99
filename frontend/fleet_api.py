"""Hosts and scans for programs: /api/v1/hosts, /api/v1/scans."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from django.conf import settings
from django.db.models import Case, Q, QuerySet, Value, When
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import reverse
from django.utils import timezone
from ninja import Field, Header, Query, Router, Schema, Status
from ninja.errors import HttpError
from pydantic import AwareDatetime, ConfigDict

from frontend import api_limits
from frontend import api_shapes as shapes
from frontend.access import Caller, visible_hosts, visible_scans
from frontend.api_doors import actor, door_for
from frontend.graph_pages import Shown
from frontend.host_rows import HostRow, host_rows, standing_on
from frontend.paging import LAST_ID, LIMIT, MOST, Id, Name, Text, Wanted, nothing_unknown, ordered, page_of
from scanner.document import PACKAGE_FIELDS, document, summary, update_shape, utc
from scanner.models import ApiToken, Host, PackageSet, Scan
from scanner.vulnerabilities.exposure import fixes, identity
from scanner.vulnerabilities.findings import what_is_missing
from scanner.vulnerabilities.places import STATUSES, Found, Installed, findings_of, found, installed_in, locate
from tasks import scans as tasks

STARTED = {202: shapes.ScanOut, 200: shapes.ScanOut}
NOT_STARTED = {404: shapes.ProblemOut, 503: shapes.ProblemOut}
RESULT = {409: shapes.ProblemOut}  # there are no counts to list
HOST_COLUMNS = {
    "name": "name",
    "status": "rank",
    "security_updates": "current_security_updates",
    "total_updates": "current_total_updates",
    "scan_date": "current_finished_at",
}
SEVERITIES: Mapping[str, tuple[str, ...]] = {
    "success": ("secure",),
    "warning": ("low", "medium"),
    "danger": ("high",),
    "unknown": ("unknown",),
}
WORST_LAST = ("secure", "unknown", "low", "medium", "high")
RANKS = [When(severity=word, then=Value(rank)) for rank, word in enumerate(WORST_LAST)]
EARLIEST, LATEST = datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC)

router = Router(tags=["hosts and scans"])
router.add_decorator(nothing_unknown)
MAY_SCAN = door_for(ApiToken.Scope.SCAN)


class HostsWanted(Wanted):
    name: Text = Field("", description="Part of a name.")
    tag: Text = Field("", description="A tag, whole.")
    status: shapes.Status | None = None
    package_manager: shapes.Manager | None = None
    distribution: Text = Field("", description="As feeds name it.", examples=["debian:12"])
    exploited: bool | None = Field(
        None, description="Whether a CVE of what is installed is known to be exploited. Unknown is neither."
    )
    archived: bool = Field(False, description="Those that are archived, in place of the others.")
    sort: Literal[
        "name",
        "-name",
        "status",
        "-status",
        "security_updates",
        "-security_updates",
        "total_updates",
        "-total_updates",
        "scan_date",
        "-scan_date",
    ] = Field("name", description="-status: the worst first.")


class ScansWanted(Schema):
    host: Text = Field("", description="Its name, whole.")
    state: shapes.State | None = None
    trigger: shapes.Trigger | None = None
    since: AwareDatetime | None = Field(
        None, description="Asked for at that time or later; with Z or an offset.", examples=shapes.DATE
    )
    before: int | None = Field(None, ge=1, le=LAST_ID, description="An id from `next`.")
    limit: int = Field(LIMIT, ge=1, le=MOST, description="Rows a page.")


class UpdatesWanted(Wanted):
    q: Text = Field("", description="Part of a name, source or reason.")
    show: Literal["all", "security", "others", "pinned"] = Field(
        "all", description="security: what `security_updates` counts; pinned: what no count includes."
    )
    sort: Literal["name", "-name", "source", "-source"] = "name"


class PackagesWanted(Wanted):
    q: Text = Field("", description="Part of a name or source.")
    sort: Literal["name", "-name", "source", "-source", "architecture", "-architecture"] = "name"


class FoundWanted(Wanted):
    q: Text = Field("", description="Part of a CVE, package or source.")
    status: Literal[STATUSES] | None = Field(None, description="What the feed says.")  # type: ignore[valid-type]
    sort: Literal["urgency", "cve", "-cve", "source", "-source"] = Field(
        "urgency", description="urgency: what to fix first."
    )


class NewScan(Schema):
    model_config = ConfigDict(extra="forbid")

    host: Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00]+$", examples=["web-1"])]
    package_manager: shapes.Manager | None = Field(None, description="Null: the one that the host has.")


# --- hosts ------------------------------------------------------------------------------------------


@router.get("/hosts", response=shapes.HostPage)
def list_hosts(request: HttpRequest, wanted: Annotated[HostsWanted, Query()]) -> Any:
    """All hosts that the caller sees, and how each of them stands now."""
    seen = visible_hosts(request)
    rows = seen.exclude(archived_at=None) if wanted.archived else seen.active()
    rows = rows.with_severity(timezone.now()).annotate(rank=Case(*RANKS, default=Value(0)))
    if wanted.name:
        rows = rows.filter(name__icontains=wanted.name)
    if wanted.tag:
        rows = rows.filter(pk__in=Host.objects.filter(tags__name=wanted.tag).values("pk"))
    if wanted.status:
        rows = rows.filter(Q(severity__in=SEVERITIES[wanted.status]))
    if wanted.package_manager:
        rows = rows.filter(current_package_manager=wanted.package_manager)
    if wanted.distribution:
        rows = rows.filter(current_distribution=wanted.distribution)
    if wanted.exploited is not None:
        known = PackageSet.objects.filter(tally__isnull=False)
        exploited = known.filter(tally__exploited__gt=0)
        rows = standing_on(rows, exploited if wanted.exploited else known.exclude(pk__in=exploited))
    return page_of(ordered(rows, wanted.sort, HOST_COLUMNS), wanted, hosts_out)


@router.get("/hosts/{name}", response=shapes.HostOut)
def get_host(request: HttpRequest, name: Name) -> Any:
    return hosts_out([host_named(request, name)])[0]


@router.get("/hosts/{name}/updates", response={200: shapes.UpdatePage, **RESULT})
def list_host_updates(request: HttpRequest, name: Name, wanted: Annotated[UpdatesWanted, Query()]) -> Any:
    """The updates that wait, by its newest scan with counts."""
    return updates_page(current(request, name), wanted)


@router.get("/hosts/{name}/packages", response={200: shapes.PackagePage, **RESULT})
def list_host_packages(request: HttpRequest, name: Name, wanted: Annotated[PackagesWanted, Query()]) -> Any:
    """What is installed, by its newest scan with counts."""
    return packages_page(current(request, name), wanted)


@router.get("/hosts/{name}/vulnerabilities", response={200: shapes.FoundPage, **RESULT})
def list_host_vulnerabilities(request: HttpRequest, name: Name, wanted: Annotated[FoundWanted, Query()]) -> Any:
    """What feeds say today of what is installed."""
    return found_page(current(request, name), wanted)


def hosts_out(hosts: Sequence[Host]) -> list[shapes.Shown]:
    return [host_out(row) for row in host_rows([host.pk for host in hosts], timezone.now())]


def host_out(row: HostRow) -> shapes.Shown:
    told = row.security_updates is not None
    return {
        "name": row.name,
        "tags": row.tags,
        "scheduled": row.scheduled,
        "archived": row.archived_at is not None,
        "status": row.level.status,
        "status_label": row.level.label,
        "scan": row.scan,
        "scan_date": utc(row.date) if row.date else None,
        "package_manager": row.package_manager or None,
        "distribution": row.distribution or None,
        "security_updates": row.security_updates,
        "late_security_updates": (row.waiting.late if row.waiting else 0) if told else None,
        "oldest_security_update": utc(row.waiting.oldest) if row.waiting and told else None,
        "total_updates": row.total_updates,
        "total_packages": row.total_packages,
        "reboot_required": row.reboot_required,
        "known_exploited": row.known_exploited,
        "last_scan": row.last,
        "last_state": row.last_state,
        "active_scan": row.active,
    }


def host_named(request: HttpRequest, name: str) -> Host:
    host = visible_hosts(request).filter(name=name).first()
    if host is None:
        raise Http404(f"There is no host {name!r}.")
    return host


def current(request: HttpRequest, name: str) -> Scan:
    """The newest scan with counts of a host."""
    host = host_named(request, name)
    if host.current_id is None:
        raise HttpError(409, f"No scan of {host} has come to a result yet, so what is on it is not known.")
    return scan_of(request, host.current_id)


# --- scans ------------------------------------------------------------------------------------------


@router.get("/scans", response=shapes.ScanPage)
def list_scans(request: HttpRequest, wanted: Annotated[ScansWanted, Query()]) -> Any:
    """Newest first."""
    rows = visible_scans(request).select_related("host").order_by("-pk")
    if wanted.host:
        rows = rows.filter(host__name=wanted.host)
    if wanted.state:
        rows = rows.filter(state=wanted.state)
    if wanted.trigger:
        rows = rows.filter(trigger=wanted.trigger)
    if wanted.since:
        since = min(max(wanted.since, EARLIEST), LATEST)  # what every database takes, and whatever the offset
        rows = rows.filter(created_at__gte=since.astimezone(UTC))
    if wanted.before:
        rows = rows.filter(pk__lt=wanted.before)
    some = list(rows[: wanted.limit + 1])
    page = some[: wanted.limit]
    return {"items": [summary(scan) for scan in page], "next": page[-1].pk if len(some) > wanted.limit else None}


@router.post("/scans", response={**STARTED, **NOT_STARTED}, auth=MAY_SCAN)
def start_scan(
    request: HttpRequest,
    response: HttpResponse,
    wishes: NewScan,
    idempotency_key: Annotated[
        str | None,
        Header(
            alias="Idempotency-Key",
            min_length=1,
            max_length=100,
            pattern=r"^[!-~]+$",
            description="Of your own making. The same key with the same body answers the same scan again for 24 h.",
        ),
    ] = None,
) -> Any:
    """202 with a new scan, which its worker takes up; 200 with the one under way, or that the key has started."""
    caller = request.auth  # type: ignore[attr-defined]
    asked = {"host": wishes.host, "package_manager": wishes.package_manager or ""}
    owner = request.headers.get("Authorization") or caller.name
    before = started_before(owner, idempotency_key, asked) if idempotency_key else None
    known = visible_scans(request).select_related("host").filter(pk=before).first() if before else None
    scan, new = (known, False) if known else start(host_named(request, wishes.host), wishes, caller)
    if idempotency_key and not known:
        api_limits.remember(owner, idempotency_key, asked, scan.pk)
    response["Location"] = reverse("api-v1:get_scan", args=[scan.pk])
    return Status(202 if new else 200, summary(scan))


def start(host: Host, wishes: NewScan, caller: Any) -> tuple[Scan, bool]:
    try:
        return tasks.start(
            host,
            trigger=caller.trigger,
            requested_by=caller.name,
            wanted_package_manager=wishes.package_manager or "",
            refresh=settings.SCAN_REFRESH,
        )
    except tasks.QueueUnreachable as error:
        raise HttpError(503, f"{error} Is Redis running?") from error


def started_before(caller: str, key: str, wishes: dict[str, str]) -> int | None:
    try:
        return api_limits.scan_of(caller, key, wishes)
    except api_limits.OtherRequest as error:
        raise HttpError(422, "This Idempotency-Key was used for another request within the last 24 h.") from error
    except api_limits.CannotRemember as error:
        raise HttpError(503, "Redis could not be reached, so nobody can tell whether this was asked before.") from error


@router.get("/scans/{pk}", response=shapes.ScanDocument, url_name="get_scan")
def get_scan(request: HttpRequest, pk: Id) -> Any:
    """The scan with its lists, whole. See its `ETag`: what has not changed is not sent again."""
    return document(scan_of(request, pk))


@router.post("/scans/{pk}/cancel", response={202: shapes.ScanOut, **RESULT}, auth=MAY_SCAN)
def cancel_scan(request: HttpRequest, pk: Id) -> Any:
    """A queued scan ends at once, a running one within a second or two. 409: it has ended already."""
    scan = scan_of(request, pk)
    done = tasks.cancel(scan, actor(request))
    if not done:
        scan.refresh_from_db()
        raise HttpError(409, f"This scan has ended already: it is {scan.state}.")
    return Status(202, summary(scan))


@router.get("/scans/{pk}/updates", response={200: shapes.UpdatePage, **RESULT})
def list_scan_updates(request: HttpRequest, pk: Id, wanted: Annotated[UpdatesWanted, Query()]) -> Any:
    """The updates that waited then, and what feeds say of them today."""
    return updates_page(with_counts(request, pk), wanted)


@router.get("/scans/{pk}/packages", response={200: shapes.PackagePage, **RESULT})
def list_scan_packages(request: HttpRequest, pk: Id, wanted: Annotated[PackagesWanted, Query()]) -> Any:
    """What was installed then."""
    return packages_page(with_counts(request, pk), wanted)


@router.get(
    "/scans/{pk}/packages/{name}/dependencies", response={200: shapes.DependenciesOut, 404: shapes.ProblemOut, **RESULT}
)
def get_dependencies(request: HttpRequest, pk: Id, name: Name) -> Any:
    """What an installed package needs, what needs it, and what pulls it in."""
    scan = with_counts(request, pk)
    shown = Shown.of(scan)
    if name not in shown.graph.needs:
        raise Http404(f"Scan {pk} found no package {name!r}.")
    origins = shown.graph.origins(name)
    return {
        "name": name,
        "security": shown.states[name],
        "needs": [{"name": each, "security": shown.states[each]} for each in shown.graph.needs[name]],
        "needed_by": [{"name": each, "security": shown.states[each]} for each in shown.graph.needed_by[name]],
        "circle": shown.circle(name),
        "origins": origins.total,
        "chains": origins.chains,
    }


@router.get("/scans/{pk}/vulnerabilities", response={200: shapes.FoundPage, **RESULT})
def list_scan_vulnerabilities(request: HttpRequest, pk: Id, wanted: Annotated[FoundWanted, Query()]) -> Any:
    """What feeds say today of what was installed then."""
    return found_page(with_counts(request, pk), wanted)


def scan_of(asking: HttpRequest | Caller, pk: int) -> Scan:
    scan = visible_scans(asking).select_related("host", "snapshot__package_set").filter(pk=pk).first()
    if scan is None:
        raise Http404(f"There is no scan {pk}.")
    return scan


def with_counts(request: HttpRequest, pk: int) -> Scan:
    scan = scan_of(request, pk)
    if not scan.has_counts:
        raise HttpError(409, f"This scan is {scan.state}: it has no lists, and that does not mean that they are empty.")
    return scan


# --- lists of a scan --------------------------------------------------------------------------------


def updates_page(scan: Scan, wanted: UpdatesWanted) -> Any:
    updates = scan.updates
    shown = {"all": updates, "security": updates.security(), "others": updates.others(), "pinned": updates.pinned()}
    rows: QuerySet[Any] = shown[wanted.show]
    if wanted.q:
        q = wanted.q
        rows = rows.filter(Q(name__icontains=q) | Q(source__icontains=q) | Q(reason__icontains=q))
    rows = ordered(rows, wanted.sort, {"name": "name", "source": "source"})
    return page_of(rows, wanted, lambda some: update_rows(scan, some))


def update_rows(scan: Scan, updates: Sequence[Any]) -> list[shapes.Shown]:
    """As in the scan's document: there a pinned update has no fix."""
    counted = [update for update in updates if update.security and update.blocked != "pinned"]
    by_update = {identity(fix.update): fix for fix in fixes(scan, counted)}
    return [update_shape(row, by_update.get(identity(row))) for row in updates]


def packages_page(scan: Scan, wanted: PackagesWanted) -> Any:
    rows: QuerySet[Any] = scan.packages.values(*PACKAGE_FIELDS)
    if wanted.q:
        rows = rows.filter(Q(name__icontains=wanted.q) | Q(source__icontains=wanted.q))
    rows = ordered(rows, wanted.sort, {"name": "name", "source": "source", "architecture": "architecture"})
    return page_of(rows, wanted, list)


def found_page(scan: Scan, wanted: FoundWanted) -> Any:
    if unknown := what_is_missing(scan.distribution):
        return {"items": [], "next": None, "total": None, "unknown": unknown}
    findings = findings_of(scan)
    if wanted.status:
        findings = findings.filter(status=wanted.status)
    installed = installed_in(scan.packages.order_by())
    rows = found(findings, installed)
    q = wanted.q.lower()
    rows = [row for row in rows if any(q in text.lower() for text in (row.cve.id, row.source, *row.names))]
    if wanted.sort != "urgency":
        keys = {"cve": lambda row: (row.cve.id, row.source), "source": lambda row: (row.source, row.cve.id)}
        rows.sort(key=keys[wanted.sort.removeprefix("-")], reverse=wanted.sort.startswith("-"))
    return page_of(rows, wanted, lambda some: found_rows(scan, some, installed)) | {"unknown": None}


def found_rows(scan: Scan, rows: Sequence[Found], installed: Sequence[Installed]) -> list[shapes.Shown]:
    locate(scan, rows, installed)
    return [found_row(row) for row in rows]


def found_row(row: Found) -> shapes.Shown:
    return {
        "cve": row.cve.id,
        "source": row.source,
        "packages": row.names,
        "versions": row.versions,
        "status": row.status,
        "state": row.state,
        "means": row.word.means,
        "fixed_version": row.fixed_version or None,
        "severity": row.cve.severity or None,
        "known_exploited": row.cve.exploited is not None,
        "epss": row.cve.epss,
        "risk_accepted_until": row.accepted.until.isoformat() if row.accepted else None,
    }
