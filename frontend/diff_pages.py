"""What changed between two scans, or differs between two hosts: as a page, and the same as JSON."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, NamedTuple
from urllib.parse import urlencode

from django.conf import settings
from django.core.paginator import Paginator
from django.db.models import Q, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.cache import patch_vary_headers
from django.views.decorators.http import require_safe

from frontend.access import Caller, staff_only, visible_hosts
from frontend.api import chosen_host, door, refusal
from scanner import diff
from scanner.diff import PACKAGE_CHANGES, UPDATE_CHANGES, Diff, PackageChange, Side, UpdateChange
from scanner.document import summary
from scanner.exports.formats import EXPORTS
from scanner.models import Host, Package, Scan, Update
from scanner.models.host import HostQuerySet

ROWS = 100  # a page
OFFERED = 50  # scans, or hosts, that a form offers; any other can be named in the address
CHANGES = (*UPDATE_CHANGES, *PACKAGE_CHANGES)
SIDE = (
    *("id", "host", "url", "scan_date", "state", "status", "status_label", "distribution", "package_manager"),
    *("security_updates", "total_updates", "total_packages"),
)
"""What is said of each of the two scans: keys of a scan's document."""

OVERLOOKED_THEN = "What is said to be new may only have been overlooked then:"
OVERLOOKED_NOW = "What is said to be gone may only have been overlooked:"

Change = UpdateChange | PackageChange


class CannotCompare(Exception):
    """There are not two scans to compare, in words for a person; `scan` is the one that there is."""

    def __init__(self, words: str, scan: Scan | None = None, host: Host | None = None) -> None:
        super().__init__(words)
        self.scan = scan
        self.host = host or (scan.host if scan else None)


# --- which two scans --------------------------------------------------------------------------------


def chosen(wishes: Mapping[str, str], hosts: HostQuerySet) -> tuple[Scan, Scan]:
    """?from=SCAN&to=SCAN, one of which may be left out; or ?host=A&with=B: how B differs from A. Of these hosts.

    Raises CannotCompare, and Http404 for what is not there.
    """
    if wishes.get("with"):
        one, other = current(wishes.get("host", ""), hosts), current(wishes["with"], hosts)
        return one, other
    before, after = (scan_of(wishes.get(name, ""), hosts) for name in ("from", "to"))
    if after is None:
        after = current(before.host.name if before else wishes.get("host", ""), hosts)
    return before or before_it(after), after


def known_scans() -> QuerySet[Scan]:
    return Scan.objects.select_related("host", "snapshot__package_set")


def scan_of(text: str, hosts: HostQuerySet) -> Scan | None:
    """The scan of that number of one of these hosts, which must have counts; None for no number."""
    if not text:
        return None
    number = int(text) if text.isascii() and text.isdecimal() and len(text) < 19 else 0
    scan = known_scans().filter(pk=number, host__in=hosts.order_by().values("pk")).first()
    if scan is None:
        raise Http404(f"There is no scan {text!r}.")
    if not scan.has_counts:
        state = "is not over yet" if scan.active else {"failed": "failed"}.get(scan.state, f"was {scan.state}")
        raise CannotCompare(
            f"Scan {scan.pk} of {scan.host} {state}. What was on the host then is not known, so nothing can be said to"
            " have come or gone.",
            scan,
        )
    return scan


def current(name: str, hosts: HostQuerySet) -> Scan:
    """The newest scan with counts of one of these hosts."""
    host = chosen_host(name, hosts)
    if host is None:
        raise CannotCompare("There is no host yet, or none that you see, so there is nothing to compare.")
    scan = known_scans().filter(pk=host.current_id).first() if host.current_id else None
    if scan is None:
        raise CannotCompare(f"No scan of {host} has come to a result yet, so what is on it is not known.", host=host)
    return scan


def before_it(scan: Scan) -> Scan:
    found = neighbours(scan, older=True).first()
    if found is None:
        raise CannotCompare(
            f"Scan {scan.pk} is the first of {scan.host} that came to a result: there is none before it.", scan
        )
    return found


def neighbours(scan: Scan, *, older: bool) -> QuerySet[Scan]:
    """The scans with counts of the same host, from this one on into the past, or into the future."""
    rows = known_scans().filter(host=scan.host_id, state__in=Scan.COUNTED)
    if older:
        past = Q(created_at__lt=scan.created_at) | Q(created_at=scan.created_at, pk__lt=scan.pk)
        return rows.filter(past).order_by("-created_at", "-pk")
    future = Q(created_at__gt=scan.created_at) | Q(created_at=scan.created_at, pk__gt=scan.pk)
    return rows.filter(future).order_by("created_at", "pk")


# --- comparing them ---------------------------------------------------------------------------------


class PackageRow(NamedTuple):
    name: str
    architecture: str
    version: str
    held: bool
    module: str
    third_party: str


class UpdateRow(NamedTuple):
    name: str
    architecture: str
    installed_version: str
    available_version: str
    security: bool | None
    reason: str
    severity: str
    held: bool
    blocked: str | None
    advisories: list[str]
    cves: list[str]


def compared(before: Scan, after: Scan) -> Diff:
    """Both have counts. What the two share is not read."""
    if before.snapshot is None or after.snapshot is None or before.snapshot_id == after.snapshot_id:
        return Diff()
    sets = before.snapshot.package_set_id, after.snapshot.package_set_id
    one, other = ((), ()) if sets[0] == sets[1] else map(packages_of, sets)
    return diff.compare(
        Side(one, updates_of(before.snapshot_id), before.package_manager),
        Side(other, updates_of(after.snapshot_id), after.package_manager),
    )


def packages_of(package_set: int) -> Sequence[PackageRow]:
    rows = Package.objects.filter(package_set=package_set).order_by()
    return [PackageRow(*values) for values in rows.values_list(*PackageRow._fields)]


def updates_of(snapshot: int | None) -> Sequence[UpdateRow]:
    rows = Update.objects.filter(snapshot=snapshot).order_by()
    return [UpdateRow(*values) for values in rows.values_list(*UpdateRow._fields)]


def notes(before: Scan, after: Scan) -> list[str]:
    """What one has to know to read the lists rightly."""
    same_host = before.host_id == after.host_id
    said = []
    if same_host and before.date > after.date:
        said.append("This looks back: what is called new is what was there before.")
    for scan, effect in ((before, OVERLOOKED_THEN), (after, OVERLOOKED_NOW)):
        said += [f"Scan {scan.pk} could not read everything. {effect} {gap}" for gap in scan.gaps]
    for what, one, other in (
        ("package manager", before.package_manager, after.package_manager),
        ("release", before.distribution, after.distribution),
        ("running kernel", before.kernel, after.kernel),
    ):
        names = one or "not known", other or "not known"
        if one != other and same_host:
            said.append(f"The {what} has changed: {names[0]} \N{RIGHTWARDS ARROW} {names[1]}.")
        elif one != other:
            said.append(f"The {what} differs. {before.host}: {names[0]}; {after.host}: {names[1]}.")
    if before.package_manager != after.package_manager:
        said.append("Versions of two package managers have no common order: they are only told to be different.")
    return said


def matching(rows: Iterable[Change], q: str) -> list[Change]:
    return [row for row in rows if not q or any(q.lower() in text.lower() for text in words_of(row))]


def words_of(row: Change) -> list[str]:
    """What a search looks into."""
    if isinstance(row, PackageChange):
        return [row.name]
    return [row.name, *(text for side in (row.before, row.after) if side for text in (*side.cves, *side.advisories))]


@dataclass(frozen=True)
class Wish:
    """What of a diff is to be shown."""

    show: str  # one of CHANGES; "" for all
    q: str

    @classmethod
    def of(cls, wishes: Mapping[str, str]) -> "Wish":
        show = wishes.get("show", "")
        return cls(show if show in CHANGES else "", wishes.get("q", "").strip().replace("\0", ""))

    def in_words(self, hosts: tuple[str, str]) -> str:
        words = [diff.title(self.show, *hosts)] if self.show else []
        return ", ".join([*words, *([f"like “{self.q}”"] if self.q else [])])

    def rows(self, found: Diff) -> list[Change]:
        every: list[Change] = [*found.updates, *found.packages]
        return matching((row for row in every if self.show in ("", row.change)), self.q)


def address(before: Scan, after: Scan, wish: Wish = Wish("", ""), name: str = "diff", *args: str) -> str:
    """Of a page, or of a file, with all that it shows."""
    wanted = {"from": before.pk, "to": after.pk, "show": wish.show, "q": wish.q}
    return f"{reverse(name, args=args)}?{urlencode({key: value for key, value in wanted.items() if value})}"


def document(before: Scan, after: Scan, wish: Wish) -> dict[str, Any]:
    """The public shape of a diff."""
    found = compared(before, after)
    rows = wish.rows(found)
    return {
        "from": side_of(before),
        "to": side_of(after),
        "url": f"{settings.BASE_URL}{address(before, after, wish)}",
        "identical": before.snapshot_id == after.snapshot_id,
        "notes": notes(before, after),
        "filter": wish.in_words((before.host.name, after.host.name)),
        "counts": found.counts,
        "updates": [diff.update_row(row) for row in rows if isinstance(row, UpdateChange)],
        "packages": [diff.package_row(row) for row in rows if isinstance(row, PackageChange)],
    }


def side_of(scan: Scan) -> dict[str, Any]:
    said = summary(scan)
    return {name: said[name] for name in SIDE}


# --- doors ------------------------------------------------------------------------------------------


@require_safe
def compare(request: HttpRequest) -> HttpResponseBase:
    """A page for people; JSON for who asks for it, or brings a token."""
    answer = api_compare(request) if wants_json(request) else compare_page(request)
    patch_vary_headers(answer, ("Accept", "Authorization"))
    return answer


def wants_json(request: HttpRequest) -> bool:
    accepted = request.headers.get("Accept", "")
    asked = "application/json" in accepted and "text/html" not in accepted
    return asked or request.GET.get("format") == "json" or "Authorization" in request.headers


@require_safe
@door("read")
def api_compare(request: HttpRequest, caller: Caller) -> JsonResponse:
    try:
        before, after = chosen(request.GET.dict(), visible_hosts(caller))
    except CannotCompare as trouble:
        return refusal(409, str(trouble))
    return JsonResponse(document(before, after, Wish.of(request.GET.dict())))


@staff_only
def compare_page(request: HttpRequest) -> HttpResponse:
    wishes, seen = request.GET.dict(), visible_hosts(request)
    try:
        before, after = chosen(wishes, seen)
    except Http404 as error:
        return render(request, "404.html", {"message": str(error)}, status=404)
    except CannotCompare as trouble:
        host = trouble.host
        to = trouble.scan if trouble.scan and trouble.scan.has_counts else None
        context: dict[str, Any] = {"trouble": str(trouble), "scan": trouble.scan, "host": host, "to": to}
        return render(request, "frontend/diff.html", context | others(host, trouble.scan, seen), status=409)
    found, wish = compared(before, after), Wish.of(wishes)
    rows = wish.rows(found)
    of_search = Wish("", wish.q).rows(found) if wish.q else [*found.updates, *found.packages]
    hosts = before.host.name, after.host.name
    shown = Paginator(rows, ROWS).get_page(request.GET.get("page"))
    numbers = {change: len(list(some)) for change, some in groupby(of_search, key=lambda row: row.change)}
    context = {
        "before": before,
        "after": after,
        "to": after,
        "sides": [("From", before, tallies(before)), ("To", after, tallies(after, before))],
        "host": after.host,
        "same_host": before.host_id == after.host_id,
        "identical": before.snapshot_id == after.snapshot_id,
        "notes": notes(before, after),
        "page": shown,
        "sections": list(sections(shown.object_list, numbers, hosts)),
        "filters": [
            ("", "Everything", len(of_search)),
            *((change, diff.title(change, *hosts), numbers[change]) for change in CHANGES if change in numbers),
        ],
        "show": wish.show,
        "q": wish.q,
        "total": len(found.updates) + len(found.packages),
        "turned": address(after, before, wish),
        "earlier": neighbours(before, older=True).first() if before.host_id == after.host_id else None,
        "later": neighbours(after, older=False).first() if before.host_id == after.host_id else None,
        "exports": [
            (each.label, address(before, after, wish, "export-diff", each.name)) for each in EXPORTS if each.takes_diffs
        ],
        **others(after.host, after, seen),
    }
    return render(request, "frontend/diff.html", context)


def others(host: Host | None, scan: Scan | None, seen: HostQuerySet) -> dict[str, Any]:
    """What else could be compared: the other scans of the host, and other hosts that are seen."""
    if host is None:
        return {}
    scans = host.scans.with_counts().exclude(pk=scan.pk if scan else 0)
    hosts = seen.exclude(pk=host.pk).exclude(current=None)
    return {"scans": scans[:OFFERED], "hosts": hosts.values_list("name", flat=True)[:OFFERED]}


# --- parts of the page -------------------------------------------------------------------------------


TALLIES = (
    ("Security updates", "security", "security_updates"),
    ("All updates", "all", "total_updates"),
    ("Packages", "packages", "total_packages"),
)
"""Each count's label, the tab that lists it, and its name."""


def tallies(scan: Scan, against: Scan | None = None) -> list[tuple[str, str, int | None, str]]:
    return [(label, tab, getattr(scan, name), distance(scan, against, name)) for label, tab, name in TALLIES]


def distance(scan: Scan, against: Scan | None, name: str) -> str:
    """ "3 fewer"; "" where one of the two is not known."""
    now, then = getattr(scan, name), getattr(against, name, None)
    if now is None or then is None:
        return ""
    return "the same" if now == then else f"{abs(now - then)} {'more' if now > then else 'fewer'}"


@dataclass(frozen=True)
class Section:
    """Rows of one kind on this page, of so many in all."""

    change: str
    title: str
    meaning: str
    number: int
    rows: Sequence["Shown"]

    @property
    def is_whole(self) -> bool:
        return len(self.rows) == self.number

    @property
    def has_notes(self) -> bool:
        return any(row.notes or row.cves for row in self.rows)


@dataclass(frozen=True)
class Shown:
    """A row as the table shows it."""

    name: str
    architecture: str
    before: str
    after: str
    security: bool | None
    notes: Sequence[str]
    cves: Sequence[str] = ()


def sections(rows: Iterable[Change], numbers: Mapping[str, int], hosts: tuple[str, str]) -> Iterable[Section]:
    for change, some in groupby(rows, key=lambda row: row.change):
        shown = [shown_row(row, hosts) for row in some]
        yield Section(change, diff.title(change, *hosts), diff.MEANINGS.get(change, ""), numbers[change], shown)


def shown_row(row: Change, hosts: tuple[str, str]) -> Shown:
    told = ("security",) if row.change in ("became_security", "ceased_security") else ()
    details = [f"{diff.detail(each.about, each.before, each.after)}." for each in row.details if each.about not in told]
    if isinstance(row, PackageChange):
        kept = [f"Also {', '.join(row.both)}."] if row.both and (row.before or row.after) else []
        before, after = ", ".join(row.before), ", ".join(row.after)
        return Shown(row.name, row.architecture, before, after, False, [*kept, *details])
    update = row.after or row.before
    said = [diff.other_side(row.change, row.other, *hosts), *details]
    if row.after and row.change in ("became_security", "appeared"):
        said.append(row.after.reason)
    return Shown(
        row.name,
        row.architecture,
        row.before.available_version if row.before else "",
        row.after.available_version if row.after else "",
        update.security if update else None,
        [text for text in said if text],
        list(update.cves) if update else [],
    )
