"""Pages: read, decide, answer."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from operator import attrgetter
from typing import Any

from django.conf import settings
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.core.paginator import Paginator
from django.db import transaction
from django.db.models import Q, QuerySet, prefetch_related_objects
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_POST, require_safe

from frontend import charts
from frontend.access import (
    actor,
    check_tags,
    may_manage_webhooks,
    may_run,
    sight,
    staff_only,
    visible_hosts,
    visible_scans,
)
from frontend.api import chosen_host
from frontend.vulnerability_pages import counted, counts_in, found_in_scan, query_of
from scanner import audit, periodic, risk, run_time, scanning
from scanner.audit import CHANGED, Actor, How
from scanner.models import Host, Scan, Webhook
from scanner.vulnerabilities.exposure import fixes
from scanner.vulnerabilities.findings import what_is_missing

THEMES = ("light", "dark", "system")
TREND_DAYS = 30
HISTORY_ROWS = 20
OFFERED = 50  # other hosts that the field for a host offers; any can be typed
LATEST_ROWS = 100
SIZES = (100, 50, 250, 1000)  # rows a page; the first is the default
STEPS = [name for name, _ in scanning.STEPS]
UPDATE_COLUMNS = (
    ("name", "Package"),
    ("installed_version", "Installed"),
    ("available_version", "Available"),
    ("source", "Source"),
    ("reason", "Why"),
)
PACKAGE_COLUMNS = (("name", "Package"), ("version", "Version"), ("architecture", "Architecture"), ("source", "Source"))


def everywhere(request: HttpRequest) -> dict[str, Any]:
    """What every template may use."""
    theme = request.COOKIES.get("theme", "system")
    user = getattr(request, "user", None)
    manages = bool(user and may_manage_webhooks(user))
    return {
        "theme": theme if theme in THEMES else "system",
        "keys_wanted": request.COOKIES.get("keys") != "off",
        "may_run": bool(user and may_run(user)),
        "may_manage_webhooks": manages,
        "sight": sight(request) if user and user.is_authenticated else "",
        "troubled_webhooks": Webhook.objects.troubled().exists if manages else False,
    }


@require_safe
def healthz(request: HttpRequest) -> HttpResponse:
    """200 when the web process answers and reaches its database; for health checks, without sign-in."""
    Host.objects.exists()
    return HttpResponse("ok\n", content_type="text/plain")


@require_POST
def theme(request: HttpRequest) -> HttpResponse:
    back = request.POST.get("next", "")
    response = redirect(back if url_has_allowed_host_and_scheme(back, {request.get_host()}) else "dashboard")
    if (chosen := request.POST.get("theme")) in THEMES:
        keep(response, "theme", chosen)
    return response


@require_POST
def keys(request: HttpRequest) -> HttpResponse:
    """Posted: `keys`, where this browser is to hear keyboard shortcuts."""
    response = HttpResponse(status=204)
    keep(response, "keys", "on" if "keys" in request.POST else "off")
    return response


def keep(response: HttpResponse, name: str, chosen: str) -> None:
    response.set_cookie(name, chosen, max_age=365 * 24 * 3600, samesite="Lax", secure=settings.HTTPS)


@admin.site.admin_view
def own_password(request: HttpRequest) -> HttpResponseBase:
    """The admin's page on which one changes it."""
    user: Any = request.user
    with transaction.atomic():
        answer: HttpResponseBase = admin.site.password_change(request)
        if request.method == "POST" and answer.status_code == 302:
            by = Actor(user.get_username(), How.ADMIN)
            audit.record(by, "user.password_changed", user, after={"password": CHANGED})
    return answer


@require_safe
@staff_only
def dashboard(request: HttpRequest) -> HttpResponse:
    scanning.fail_lost()
    seen = visible_hosts(request)
    host = chosen_host(request.GET.get("host", ""), seen)
    if host is None and sight(request).limited:
        return redirect("overview")  # which says why there is none
    host = host or Host.objects.local()
    prefetch_related_objects([host], "tags", "open_updates")
    now = timezone.now()
    history = page_of(host.scans.all(), request, HISTORY_ROWS)
    newest = list(host.scans.all()[:HISTORY_ROWS]) if history.number > 1 else list(history)
    last = next((scan for scan in newest if not scan.active), None)
    active = next((scan for scan in newest if scan.active), None)  # there is one at most, and none is newer
    good, before = [*host.scans.with_counts().select_related("snapshot__package_set")[:2], None, None][:2]
    level = good.level_at(now) if good else risk.UNKNOWN
    days = daily_counts(host, now)
    next_scan = periodic.next_scan(host, now)
    ranked = fixes(good) if good else []
    context = {
        "host": host,
        "others": seen.active().exclude(pk=host.pk).values_list("name", flat=True)[:OFFERED],
        "level": level,
        "good": good,
        "last": last,
        "active": active,
        "trouble": last if last and last != good else None,  # the last scan, where it has no counts
        "stale": bool(good and metadata_too_old(good, now)),
        "before": before,
        "oldest": min(host.open_updates.all(), key=attrgetter("since", "name"), default=None),
        "late": sum(fix.late for fix in ranked),
        "target_hours": run_time.value("SECURITY_TARGET_HOURS"),
        "security": ranked[:LATEST_ROWS],
        "security_commands": [fix.update for fix in ranked[:LATEST_ROWS] if not fix.is_accepted],
        "unknown_cves": what_is_missing(good.distribution) if good else "",
        "trend": charts.trend(days, now),
        "days": days,
        "history": history,
        "history_query": query_of(host=host.name),
        "next_scan": next_scan,
        "scan_is_due": next_scan is not None and next_scan <= now,
        "metadata_max_age_days": run_time.value("METADATA_MAX_AGE_DAYS"),
        "steps": STEPS,
    }
    template = "frontend/hosts/archived.html" if host.archived_at else "frontend/dashboard.html"
    return render(request, template, context)


@require_POST
@staff_only
def tags(request: HttpRequest) -> HttpResponse:
    """Give a host exactly these tags: words with spaces or commas between them."""
    if not request.user.has_perm("scanner.change_host"):
        raise PermissionDenied
    host = get_object_or_404(visible_hosts(request), name=request.POST.get("host", ""))
    names = request.POST.get("tags", "").replace(",", " ").split()
    try:
        check_tags(sight(request), {*names}.symmetric_difference(host.tag_names))
        with transaction.atomic():
            before = host.tag_names
            host.set_tags(names)
            if host.tag_names != before:
                audit.record(actor(request), "host.tagged", host, {"tags": before}, {"tags": host.tag_names})
    except ValidationError as error:
        messages.error(request, f"The tags were not changed. {' '.join(error.messages)}")
    return redirect(host)


@require_safe
@staff_only
def scan(request: HttpRequest, pk: int) -> HttpResponse:
    shown = get_object_or_404(visible_scans(request).select_related("host", "snapshot__package_set"), pk=pk)
    found = counts_in(shown)
    tabs = tabs_of(shown, None if found is None else counted(found))
    tab = request.GET.get("tab", "overview")
    tab = tab if tab in {key for key, _, _ in tabs} else "overview"
    context: dict[str, Any] = {"scan": shown, "host": shown.host, "level": shown.level, "tab": tab, "tabs": tabs}
    context["steps"] = STEPS
    if tab == "packages":
        context["table"] = Table.asked_for(request, shown.packages, PACKAGE_COLUMNS, ("name", "source", "skipped"))
    elif tab == "vulnerabilities":
        context |= found_in_scan(request, shown, found)
    elif tab != "overview":
        updates = shown.updates
        rows, pinned = {
            "security": (updates.security(), updates.pinned().filter(security=True)),
            "updates": (updates.others(), updates.pinned().exclude(security=True)),
            "all": (updates.counted(), updates.pinned()),
        }[tab]
        context["table"] = Table.asked_for(request, rows, UPDATE_COLUMNS, ("name", "source", "reason"))
        context["pinned"] = pinned
        add_fixes(shown, [*context["table"].page, *pinned])
    return render(request, "frontend/scan.html", context)


def add_fixes(scan: Scan, updates: Sequence[Any]) -> None:
    """Let each security update know what it fixes."""
    found = {fix.update.pk: fix for fix in fixes(scan, updates)}
    for update in updates:
        update.fix = found.get(update.pk)


def tabs_of(scan: Scan, vulnerabilities: int | None) -> list[tuple[str, str, int | None]]:
    """Each tab's key, label and count: for every number there is a tab that lists exactly its rows."""
    others = scan.updates.others().count() if scan.has_counts else None
    return [
        ("overview", "Overview", None),
        ("security", "Security updates", scan.security_updates),
        ("updates", "Other updates", others),
        ("all", "All updates", scan.total_updates),
        ("vulnerabilities", "Vulnerabilities", vulnerabilities),
        ("packages", "Packages", scan.total_packages),
    ]


@dataclass
class Table:
    """A list of one page, searched and sorted by the server; all its state is in the address."""

    page: Any
    columns: Sequence[tuple[str, str]]
    q: str
    sort: str
    size: int
    total: int  # before the search

    @classmethod
    def asked_for(
        cls, request: HttpRequest, rows: QuerySet[Any], columns: Sequence[tuple[str, str]], searched: Sequence[str]
    ) -> "Table":
        q = request.GET.get("q", "").strip()
        sort = request.GET.get("sort", "name")
        if sort.removeprefix("-") not in dict(columns):
            sort = "name"
        size = size_asked_for(request)
        total = rows.count()
        if q:
            wanted = Q()
            for name in searched:
                wanted |= Q(**{f"{name}__icontains": q})
            rows = rows.filter(wanted)
        return cls(page_of(rows.order_by(sort, "pk"), request, size), columns, q, sort, size, total)

    @property
    def sizes(self) -> Sequence[int]:
        return sorted(SIZES)

    @property
    def headings(self) -> list[dict[str, str]]:
        """Each column's name, label, what `sort` a click asks for, and its aria-sort."""
        return [
            {
                "name": name,
                "label": label,
                "next": f"-{name}" if self.sort == name else name,
                "aria": {name: "ascending", f"-{name}": "descending"}.get(self.sort, ""),
            }
            for name, label in self.columns
        ]


def size_asked_for(request: HttpRequest) -> int:
    size = request.GET.get("size", "")
    return int(size) if size.isdecimal() and int(size) in SIZES else SIZES[0]


def page_of(rows: QuerySet[Any] | Sequence[Any], request: HttpRequest, size: int) -> Any:
    return Paginator(rows, size).get_page(request.GET.get("page"))


def metadata_too_old(good: Scan, now: datetime) -> bool:
    limit = timedelta(days=run_time.value("METADATA_MAX_AGE_DAYS"))
    return good.metadata_date is None or now - good.metadata_date > limit


def daily_counts(host: Host, now: datetime) -> list[tuple[datetime, int | None, int]]:
    """(date, security updates, all updates) of the last scan with counts of each day; days without one are left out."""
    scans = host.scans.with_counts().filter(finished_at__gte=now - timedelta(days=TREND_DAYS)).order_by("finished_at")
    days = {}
    for date, security, total in scans.values_list("finished_at", "security_updates", "total_updates"):
        if date and total is not None:  # always so, by the table's constraint
            local = timezone.localtime(date)
            days[local.date()] = (local, security, total)
    return list(days.values())
