"""What needs what on a host: all packages on a canvas, one with its neighbours as SVG, and lists that say the same."""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property, lru_cache
from typing import Any
from urllib.parse import urlencode

from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.utils.cache import get_conditional_response, patch_cache_control
from django.views.decorators.http import require_safe

from frontend.access import staff_only, visible_scans
from frontend.graph_drawing import Neighbour, Side, drawing
from frontend.pages import Table, page_of, size_asked_for
from frontend.vulnerability_pages import query_of
from scanner.dependency_graph import Graph, Origins, Place, layout
from scanner.models import Package, PackageSet, Scan
from scanner.vulnerabilities.package_states import STATES, states_of

DRAWN = 40  # neighbours on each side
OFFERED = 40  # names that are like one that is not installed
KEPT = 8  # graphs in memory
SIDES = {"needed_by": "Needed by", "needs": "Needs"}
COLUMNS = (("name", "Package"), ("state", "Security"), ("needed_by", "Needed by"), ("needs", "Needs"))
RANKS = {state: rank for rank, state in enumerate(STATES)}


@lru_cache(KEPT)
def graph_of(package_set: int) -> Graph:
    """A set never changes, and a page asks twice."""
    return PackageSet.objects.get(pk=package_set).graph()


@lru_cache(KEPT)
def places_of(package_set: int) -> Mapping[str, Place]:
    return layout(graph_of(package_set))


@dataclass
class Row:
    """A package of a list."""

    name: str
    state: str
    needed_by: int
    needs: int
    versions: Sequence[str] = ()


@dataclass
class Shown:
    """The packages of a scan, which has counts: which needs which, and how each stands as to security."""

    scan: Scan
    graph: Graph
    states: Mapping[str, str]

    @classmethod
    def of(cls, scan: Scan) -> "Shown":
        assert scan.snapshot  # noqa: S101 - a scan with counts has one
        return cls(scan, graph_of(scan.snapshot.package_set_id), states_of(scan))

    def row(self, name: str) -> Row:
        return Row(name, self.states[name], len(self.graph.needed_by[name]), len(self.graph.needs[name]))

    def circle(self, name: str) -> list[str]:
        """The others that need it and that it needs, straight or by way of others."""
        return sorted(set(self.graph.circle_of[name]) - {name})

    def neighbours(self, name: str, side: str) -> Sequence[str]:
        return self.graph.needs[name] if side == "needs" else self.graph.needed_by[name]

    def drawn(self, name: str, side: str) -> list[Neighbour]:
        """The neighbours that there is room for: those that matter most."""
        names = sorted(self.neighbours(name, side), key=lambda each: (RANKS[self.states[each]], each))
        others = self.neighbours(name, "needs" if side == "needed_by" else "needed_by")
        return [Neighbour(each, self.states[each], each in others) for each in names[:DRAWN]]


@dataclass
class Picked:
    """All that is said of one package."""

    name: str
    shown: Shown
    packages: Sequence[Package]

    @property
    def state(self) -> str:
        return self.shown.states[self.name]

    @property
    def means(self) -> str:
        return STATES[self.state].means

    @property
    def skipped(self) -> list[str]:
        """Why nobody looks up its vulnerabilities."""
        return sorted({package.skipped for package in self.packages if package.skipped})

    @property
    def needed_by(self) -> int:
        return len(self.shown.graph.needed_by[self.name])

    @property
    def needs(self) -> int:
        return len(self.shown.graph.needs[self.name])

    @property
    def circle(self) -> list[str]:
        return self.shown.circle(self.name)

    @cached_property
    def origins(self) -> Origins:
        return self.shown.graph.origins(self.name)


def picked(shown: Shown, name: str) -> Picked | None:
    if name not in shown.graph.needs:
        return None
    packages = shown.scan.packages.filter(name=name).order_by("version", "architecture")
    return Picked(name, shown, list(packages.defer("needs")))


# --- pages ------------------------------------------------------------------------------------------


@require_safe
@staff_only
def graph(request: HttpRequest, pk: int) -> HttpResponse:
    """?package=NAME: that one and its neighbours; else all, and ?node=NAME is the one that was clicked."""
    scan = get_object_or_404(visible_scans(request).select_related("host", "snapshot"), pk=pk)
    context: dict[str, Any] = {"scan": scan, "host": scan.host}
    if not scan.has_counts:
        return render(request, "frontend/graph/nothing.html", context)
    shown = Shown.of(scan)
    context["graph"] = shown.graph
    name = asked_for(request, "package")
    if name:
        return package_page(request, shown, name, context)
    if not shown.graph.edges:
        return render(request, "frontend/graph/nothing.html", context)
    node = asked_for(request, "node")
    context |= listed(request, shown, shown.graph.needs)
    context |= {"node": node, "picked": picked(shown, node), "tops": sum(map(shown.graph.is_top, shown.graph.needs))}
    return render(request, "frontend/graph/whole.html", context)


def package_page(request: HttpRequest, shown: Shown, name: str, context: dict[str, Any]) -> HttpResponse:
    package = picked(shown, name)
    if package is None:
        context |= {"name": name, "alike": alike(name, shown.graph.needs)}
        return render(request, "frontend/graph/unknown.html", context, status=404)
    side = side_asked_for(request, shown, name)
    needed_by, needs = (side_of(shown, name, key) for key in SIDES)
    context |= listed(request, shown, shown.neighbours(name, side), package=name, side=side)
    context |= {
        "package": package,
        "side": side,
        "sides": [("needed_by", needed_by), ("needs", needs)],
        "drawing": drawing(
            Neighbour(name, package.state, False), needed_by, needs, lambda other: address(shown.scan, other)
        ),
        "all_drawn": max(needed_by.total, needs.total) <= DRAWN,
        "drawn": DRAWN,
    }
    return render(request, "frontend/graph/package.html", context)


def side_asked_for(request: HttpRequest, shown: Shown, name: str) -> str:
    side = asked_for(request, "side")
    return side if side in SIDES else "needed_by" if shown.graph.needed_by[name] else "needs"


def side_of(shown: Shown, name: str, key: str) -> Side:
    total = len(shown.neighbours(name, key))
    return Side(SIDES[key], shown.drawn(name, key), total, f"{address(shown.scan, name, key)}#list")


def asked_for(request: HttpRequest, key: str) -> str:
    return request.GET.get(key, "").replace("\0", "").strip()


def address(scan: Scan, name: str, side: str = "") -> str:
    """Of the graph of one package."""
    query = {"package": name, "side": side} if side else {"package": name}
    return f"{reverse('graph', args=[scan.pk])}?{urlencode(query)}"


def alike(name: str, names: Collection[str]) -> list[str]:
    """Those that hold the name, else those that are spelled like it."""
    holding = [each for each in names if name.lower() in each.lower()]
    return holding[:OFFERED] or get_close_matches(name, names, OFFERED // 4)


# --- the list ---------------------------------------------------------------------------------------


def listed(request: HttpRequest, shown: Shown, names: Iterable[str], **of: str) -> dict[str, Any]:
    """A page of these packages, searched by ?q=, filtered by ?state=, sorted by ?sort=. `of`: which list it is."""
    wish = Wish.of(request)
    every = [shown.row(name) for name in names]
    found = wish.of_any_state(every)
    numbers = Counter(row.state for row in found)
    size = size_asked_for(request)
    page = page_of(wish.rows(every), request, size)
    add_versions(shown.scan, page)
    return {
        "table": Table(page, COLUMNS, wish.q, wish.sort, size, len(every)),
        "state": wish.state,
        "query": wish.query(**of),
        "filters": [("", "All", len(found)), *((key, word.label, numbers[key]) for key, word in STATES.items())],
    }


@dataclass(frozen=True)
class Wish:
    """Which of some packages the address asks for, and in which order."""

    q: str
    state: str
    sort: str

    @classmethod
    def of(cls, request: HttpRequest) -> "Wish":
        q, state, sort = (asked_for(request, key) for key in ("q", "state", "sort"))
        known = sort.removeprefix("-") in dict(COLUMNS)
        return cls(q, state if state in STATES else "", sort if known else "state")

    def query(self, **of: str) -> str:
        return query_of(**of, q=self.q, state=self.state, sort="" if self.sort == "state" else self.sort)

    def of_any_state(self, rows: Iterable[Row]) -> list[Row]:
        return [row for row in rows if self.q.lower() in row.name.lower()]

    def rows(self, rows: Iterable[Row]) -> list[Row]:
        return in_order((row for row in self.of_any_state(rows) if self.state in ("", row.state)), self.sort)


def in_order(rows: Iterable[Row], sort: str) -> list[Row]:
    """By a column of the list, and by name where that is a tie."""
    keys: Mapping[str, Callable[[Row], Any]] = {
        "name": lambda row: row.name,
        "state": lambda row: RANKS[row.state],
        "needed_by": lambda row: row.needed_by,
        "needs": lambda row: row.needs,
    }
    by_name = sorted(rows, key=keys["name"])
    return sorted(by_name, key=keys[sort.removeprefix("-")], reverse=sort.startswith("-"))


def add_versions(scan: Scan, rows: Iterable[Row]) -> None:
    by_name = {row.name: row for row in rows}
    versions: dict[str, dict[str, None]] = {name: {} for name in by_name}
    installed = scan.packages.filter(name__in=by_name).order_by("name", "version")
    for name, version in installed.values_list("name", "version"):
        versions[name][version] = None
    for name, row in by_name.items():
        row.versions = list(versions[name])


# --- the canvas -------------------------------------------------------------------------------------


@require_safe
@staff_only
def graph_data(request: HttpRequest, pk: int) -> HttpResponseBase:
    """Names, columns, rows times two, states by their place in STATES, and of each package the numbers that it needs.

    What is installed never changes; how it stands does, so the answer is asked for anew and has an ETag.
    """
    scan = get_object_or_404(visible_scans(request).select_related("host", "snapshot"), pk=pk)
    if not scan.has_counts or scan.snapshot is None:
        raise Http404
    states, package_set = states_of(scan), scan.snapshot.package_set_id
    etag = etag_of(package_set, states)
    answer = get_conditional_response(request, etag=etag)
    if answer is None:
        shown = document(graph_of(package_set), places_of(package_set), states)
        body = json.dumps(shown, separators=(",", ":"))
        answer = HttpResponse(body, content_type="application/json", headers={"ETag": etag})
    patch_cache_control(answer, private=True, no_cache=True)
    return answer


def etag_of(package_set: int, states: Mapping[str, str]) -> str:
    text = "\n".join([str(package_set), *(f"{name} {state}" for name, state in sorted(states.items()))])
    return f'"{hashlib.sha256(text.encode()).hexdigest()[:32]}"'


def document(graph: Graph, places: Mapping[str, Place], states: Mapping[str, str]) -> dict[str, Any]:
    number = {name: place for place, name in enumerate(graph.needs)}
    return {
        "names": list(number),
        "columns": [places[name].column for name in number],
        "rows": [int(2 * places[name].row) for name in number],
        "states": "".join(str(RANKS[states[name]]) for name in number),
        "needs": [[number[other] for other in graph.needs[name]] for name in number],
    }
