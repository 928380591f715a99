"""Lists as files: all rows that a page has by its filters, in its order, on however many pages it shows them."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import wraps
from itertools import islice
from typing import Any, TypeVar

from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponseBase
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_safe

from frontend import graph_pages, risk_pages
from frontend.access import Caller, visible_hosts
from frontend.api import chosen_host, door, refusal
from frontend.api_shapes import HostOut, ScanOut, Shown
from frontend.export_pages import answer, for_people, known_export
from frontend.fleet_api import found_row, host_out, scan_of
from frontend.host_pages import SORTS, Wishes
from frontend.host_rows import LEVELS, host_rows
from frontend.vulnerabilities_api import PlaceOut, RiskOut, on_host, risk_row
from frontend.vulnerability_pages import (
    ASKED,
    WAITING,
    HostsWish,
    Row,
    matches,
    query_of,
    risks_about,
    rows_on,
    searched,
    statuses,
)
from frontend.webhook_pages import LOG_TYPES, log_of
from frontend.webhooks_api import DeliveryOut, outline
from scanner.document import summary, utc
from scanner.exports.interface import Export
from scanner.models import Delivery, Finding, Host, Webhook
from scanner.vulnerabilities.package_states import STATES as PACKAGE_STATES
from scanner.vulnerabilities.places import CVE, STATES, UNJUDGED, Found, PackagePlaces, found, of_cve, of_package

ROWS = 500  # that are read at once
RISKS = 50  # the same of accepted risks, each of which may name every host
HOST_COLUMNS = tuple(HostOut.model_fields)
SCAN_COLUMNS = tuple(name for name in ScanOut.model_fields if name not in ("host", "progress"))
PLACE_COLUMNS = ("host", "tags", *PlaceOut.model_fields)
INSTALLED_COLUMNS = (
    *("host", "tags", "scan", "scan_date", "distribution", "packages", "installed_version", "available_version"),
    *("security", "held", "blocked", "reason", "available_since", "commands"),
)
FOUND_COLUMNS = (
    *("cve", "source", "release", "packages", "versions", "status", "means", "fixed_version"),
    *("severity", "known_exploited", "epss"),
)
DEPENDENCY_COLUMNS = ("name", "security", "needed_by", "needs", "versions")
RISK_COLUMNS = tuple(RiskOut.model_fields)
DELIVERY_COLUMNS = (*DeliveryOut.model_fields, "webhook_name")
DELIVERY_FIELDS = (  # payloads and bodies are long
    *("event__type", "event__host__name", "webhook__name", "state", "reason", "trigger", "attempts"),
    *("created_at", "next_attempt_at", "ended_at"),
)
OF_HOSTS = {"status": LEVELS, "sort": SORTS, **dict.fromkeys(("exploited", "late", "archived"), ("1",))}
OF_LOG = {"state": Delivery.State.values, "type": LOG_TYPES}

Some = TypeVar("Some")


def list_door(
    page: str, known: Mapping[str, Collection[str]] | None = None, scope: str = "read"
) -> Callable[[Callable[..., HttpResponseBase]], Callable[..., HttpResponseBase]]:
    """A list as a file, for programs and for people, whom a refusal leads back to its page with what they asked for.

    `known`: the values that filters may have. One that is silently left out would be a lie.
    """

    def guard(view: Callable[..., HttpResponseBase]) -> Callable[..., HttpResponseBase]:
        @door(scope)
        def opened(request: HttpRequest, caller: Caller, name: str, **about: Any) -> HttpResponseBase:
            export = list_export(name)
            if "\0" in request.path:
                raise Http404("There is nothing with a NUL in its name.")
            for key, values in (known or {}).items():
                value = request.GET.get(key, "")
                if value and value not in values:
                    return refusal(400, f"There is no {key} {value!r}. Known are {', '.join(values)}.")
            return view(request, caller, export, **about)

        @require_safe
        @wraps(view)
        def guarded(request: HttpRequest, name: str, **about: Any) -> HttpResponseBase:
            query = request.META.get("QUERY_STRING", "")
            back = f"{reverse(page, args=list(about.values()))}{'?' if query else ''}{query}"
            return for_people(request, opened(request, name=name, **about), lambda: redirect(back))

        return guarded

    return guard


def list_export(name: str) -> Export:
    export = known_export(name)
    if not export.takes_lists:
        raise Http404(f"There is no list as {export.label}.")
    return export


def listed(
    request: HttpRequest,
    export: Export,
    name: str,
    columns: Sequence[str],
    rows: Iterable[Shown],
    *,
    what: Sequence[str],
    query: str = "",
    **about: Any,
) -> HttpResponseBase:
    """`query`: what narrows the list, as an address has it; `about`: what else the head says; `what`: for its name."""
    now = timezone.now()
    head = about | {"listed_at": utc(now), "filter": query}
    pieces = export.listed(head, name, columns, rows)
    return answer(request, export, pieces, [*what, f"{now:%Y-%m-%d}", "filtered" if query else ""])


def in_parts(rows: Iterable[Some]) -> Iterator[list[Some]]:
    """ROWS at a time, so that things can be looked up for all of these."""
    following = iter(rows)
    while some := list(islice(following, ROWS)):
        yield some


# --- hosts and their scans --------------------------------------------------------------------------


@list_door("overview", OF_HOSTS)
def export_hosts(request: HttpRequest, caller: Caller, export: Export) -> HttpResponseBase:
    """The list of hosts, filtered and sorted as its page is."""
    wishes = Wishes.of(request.GET)
    now = timezone.now()
    pks = list(wishes.ordered(visible_hosts(caller), now).values_list("pk", flat=True))
    rows = (host_out(row) for some in in_parts(pks) for row in host_rows(some, now))
    return listed(request, export, "hosts", HOST_COLUMNS, rows, what=["hosts"], query=wishes.query)


@list_door("dashboard")
def export_scans(request: HttpRequest, caller: Caller, export: Export) -> HttpResponseBase:
    """All scans of a host, the newest first: ?host=."""
    host = chosen_host(request.GET.get("host", "").replace("\0", ""), visible_hosts(caller))
    if host is None:
        raise Http404("There is no host.")
    scans = (summary(scan) for scan in host.scans.select_related("host").iterator(ROWS))
    return listed(request, export, "scans", SCAN_COLUMNS, scans, what=[host.name, "scans"], host=host.name)


@list_door("graph", {"state": PACKAGE_STATES, "side": graph_pages.SIDES})
def export_dependencies(request: HttpRequest, caller: Caller, export: Export, pk: int) -> HttpResponseBase:
    """The packages of a scan, or with ?package= those on one ?side= of it; filtered and sorted as on the page."""
    scan = scan_of(caller, pk)
    if not scan.has_counts:
        return refusal(409, f"Scan {pk} came to no result: there is nothing in it that could be exported.")
    shown, wish = graph_pages.Shown.of(scan), graph_pages.Wish.of(request)
    package = graph_pages.asked_for(request, "package")
    if package and package not in shown.graph.needs:
        raise Http404(f"Scan {pk} found no package {package!r}.")
    of = {"package": package, "side": graph_pages.side_asked_for(request, shown, package)} if package else {}
    names = shown.neighbours(package, of["side"]) if package else list(shown.graph.needs)
    rows = dependency_rows(shown, wish.rows(map(shown.row, names)))
    host, query = scan.host.name, wish.query(**of)
    what = [host, f"scan-{pk}", *(of.values() or ["dependencies"])]
    return listed(request, export, "packages", DEPENDENCY_COLUMNS, rows, what=what, query=query, host=host, scan=pk)


def dependency_rows(shown: graph_pages.Shown, rows: Iterable[graph_pages.Row]) -> Iterator[Shown]:
    for some in in_parts(rows):
        graph_pages.add_versions(shown.scan, some)
        for row in some:
            yield {"security": row.state} | {key: getattr(row, key) for key in DEPENDENCY_COLUMNS if key != "security"}


# --- vulnerabilities --------------------------------------------------------------------------------


@list_door("cve", {"state": (*STATES, *UNJUDGED)})
def export_places(request: HttpRequest, caller: Caller, export: Export, cve: str) -> HttpResponseBase:
    """Where a CVE is, a row for each package of a host, filtered as its page is: ?state=, ?q=."""
    state, q = request.GET.get("state", ""), searched(request)
    places = of_cve(cve.upper() if CVE.fullmatch(cve.upper()) else cve, visible_hosts(caller).active())
    if not places.is_known:
        raise Http404(f"No feed that has been read knows {cve!r}.")
    risks = risks_about(places.cve, places.names, caller.sight)
    rows = (
        {"host": host.name, "tags": host.tag_names} | dict(row)
        for host in places.hosts(state, q).prefetch_related("tags").iterator(ROWS)
        for row in on_host(host, places, state, risks)["places"]
    )
    cve, query = places.cve, query_of(state=state, q=q)
    return listed(request, export, "places", PLACE_COLUMNS, rows, what=[cve, "hosts"], query=query, cve=cve)


@list_door("package", {"state": WAITING})
def export_package_hosts(request: HttpRequest, caller: Caller, export: Export, package: str) -> HttpResponseBase:
    """Who has a package, a row for each of its versions on a host, filtered as its page is."""
    places, wish = places_of(package, caller), HostsWish.of(request.GET)
    hosts = wish.hosts(places).prefetch_related("current", "tags").iterator(ROWS)
    rows = (installed_row(host, row) for some in in_parts(hosts) for host, row in rows_on(some, places, wish))
    what, query = [package, "hosts"], wish.query
    return listed(request, export, "hosts", INSTALLED_COLUMNS, rows, what=what, query=query, package=package)


def installed_row(host: Host, row: Row) -> Shown:
    scan, update = host.current, row.update
    return {
        "host": host.name,
        "tags": host.tag_names,
        "scan": scan.pk if scan else None,
        "scan_date": utc(scan.date) if scan else None,
        "distribution": (scan and scan.distribution) or None,
        "packages": row.names,
        "installed_version": row.version,
        "available_version": update.available_version if update else None,
        "security": update.security if update else None,
        "held": update.held if update else None,
        "blocked": (update and update.blocked) or None,
        "reason": update.reason if update else None,
        "available_since": utc(row.since),
        "commands": [each.command for each in row.installable],
    }


@list_door("package", {"status": ASKED})
def export_package_vulnerabilities(
    request: HttpRequest, caller: Caller, export: Export, package: str
) -> HttpResponseBase:
    """What is found in the versions of a package that hosts have, filtered as its page is: ?status=, ?q=."""
    places = places_of(package, caller)
    if not places.is_told:
        return refusal(409, f"No feed about a release with {package} has been read: what is vulnerable is not known.")
    status, q = request.GET.get("status", ""), searched(request)
    findings = Finding.objects.filter(package_version__in=places.package_versions, status__in=statuses(status))
    rows = (release_row(row) for row in found(findings, places.packages) if matches(row, q.lower()))
    what, query = [package, "vulnerabilities"], query_of(status=status, q=q)
    return listed(request, export, "vulnerabilities", FOUND_COLUMNS, rows, what=what, query=query, package=package)


def release_row(row: Found) -> Shown:
    """It is about a release: what can be done on a host, or is accepted there, is another list."""
    shown = found_row(row) | {"release": row.release}
    return {key: shown[key] for key in FOUND_COLUMNS}


def places_of(package: str, caller: Caller) -> PackagePlaces:
    places = of_package(package, visible_hosts(caller).active())
    if not places.packages:
        raise Http404(f"No host has a package {package!r}.")
    return places


@list_door("accepted-risks", {"show": risk_pages.PARTS})
def export_risks(request: HttpRequest, caller: Caller, export: Export) -> HttpResponseBase:
    """Accepted risks, as their page lists them: ?show=, ?q=, ?risk=."""
    wish = risk_pages.Wish.of(request.GET)
    risks = wish.rows(caller.sight).with_places_of(caller.sight).iterator(RISKS)
    rows, what, query = map(risk_row, risks), ["accepted-risks", wish.show], wish.narrowing
    return listed(request, export, "risks", RISK_COLUMNS, rows, what=what, query=query, show=wish.show)


# --- deliveries -------------------------------------------------------------------------------------


@list_door("deliveries", OF_LOG, scope="admin")
def export_deliveries(request: HttpRequest, caller: Caller, export: Export) -> HttpResponseBase:
    """The log of all webhooks, filtered as its page is: ?state=, ?type=, ?q=."""
    return log_file(request, export, Delivery.objects.all(), ["deliveries"])


@list_door("webhook", OF_LOG, scope="admin")
def export_deliveries_of(request: HttpRequest, caller: Caller, export: Export, pk: int) -> HttpResponseBase:
    """The log of one webhook, filtered as on its page."""
    webhook = Webhook.objects.filter(pk=pk).first()
    if webhook is None:
        raise Http404(f"There is no webhook {pk}.")
    return log_file(request, export, webhook.deliveries.all(), [webhook.name, "deliveries"])


def log_file(request: HttpRequest, export: Export, log: QuerySet[Delivery], what: list[str]) -> HttpResponseBase:
    """What the API says of each delivery, and its webhook's name; nothing of what was sent, or where to."""
    deliveries, wish = log_of(request, log)
    rows = (
        outline(row) | {"webhook_name": row.webhook.name} for row in deliveries.only(*DELIVERY_FIELDS).iterator(ROWS)
    )
    return listed(request, export, "deliveries", DELIVERY_COLUMNS, rows, what=what, query=wish["query"])
