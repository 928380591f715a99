"""Vulnerabilities, feeds, accepted risks and diffs for programs: /api/v1/vulnerabilities and its neighbours."""

import re
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from django.http import Http404, HttpRequest
from ninja import Field, Query, Router, Schema
from ninja.errors import HttpError

from frontend import api_shapes as shapes
from frontend import diff_pages, feed_pages, risk_pages
from frontend.access import sight, visible_hosts
from frontend.paging import LAST_ID, Name, Page, Shape, Text, Wanted, nothing_unknown, page_of
from frontend.vulnerability_pages import accepted as accepted_at
from frontend.vulnerability_pages import links, published, ratings_of, risks_about
from scanner.document import utc
from scanner.models import AcceptedRisk, Host, Vulnerability
from scanner.vulnerabilities import exposure
from scanner.vulnerabilities.cvss_scores import score
from scanner.vulnerabilities.places import CVE, STATES, UNJUDGED, WORDS, Place, Places, of_cve

CREDENTIALS = re.compile(r"//[^/@\s]+@")

router = Router(tags=["vulnerabilities"])
router.add_decorator(nothing_unknown)


class PlacesWanted(Wanted):
    state: Literal[(*STATES, *UNJUDGED)] | None = Field(  # type: ignore[valid-type]
        None, description="Only hosts with it in this state; without: all that are exposed."
    )
    q: Text = Field("", description="Part of a host, tag or package.")


class StateCount(Shape):
    state: str = Field(examples=["now"])
    means: str
    hosts: int


class PlaceOut(Shape):
    """A source package of a host in which the CVE is, or may be."""

    state: str = Field(examples=["now"])
    means: str = Field(description="The same in words, and what to do.")
    note: str | None = Field(description="What is particular here.")
    source: str | None
    packages: list[str]
    versions: list[str] = Field(description="Installed.")
    fixed_version: str | None
    commands: list[str] = Field(description="That install the fix, as root on the host.")
    risk_accepted_until: str | None


class HostPlaces(Shape):
    host: str
    places: list[PlaceOut]


class PlacesPage(Page):
    items: list[HostPlaces]


class Link(Shape):
    url: str
    label: str


class VulnerabilityOut(Shape):
    """What is known of a CVE, and where it is. What nobody has said is null."""

    id: str = Field(examples=["CVE-2026-1234"])
    summary: str | None
    severity: str | None = Field(description="The gravest that a vendor says, else by CVSS.")
    severity_by: str | None
    cvss_vector: str | None
    cvss_score: float | None
    published: str | None
    epss: float | None = Field(description="The probability that it is exploited in the next 30 days.")
    epss_percentile: float | None
    known_exploited_since: str | None = Field(description="In CISA's catalog.", examples=["2026-11-01"])
    known_exploited_due: str | None
    ransomware: bool
    links: list[Link]
    exposed_hosts: int
    unjudged_hosts: int = Field(description="Of which it cannot be said.")
    states: list[StateCount] = Field(description="Hosts by what can be done there; one host may be in several.")
    hosts: PlacesPage = Field(description="Those with most to do first; page and limit are about these.")


class FeedOut(Shape):
    name: str = Field(examples=["debian"])
    label: str
    about: str | None = Field(description="Of which distributions; null: every host.")
    source: str = Field(description="Where it is read from, without what may be secret.")
    wanted: bool = Field(description="Whether it is kept fresh.")
    state: str = Field(examples=["Fresh"])
    known_at: str | None = Field(description="As of when it says what it says.", examples=shapes.DATE)
    checked_at: str | None = Field(description="When its source was last asked, whatever came of it.")
    rows: int
    error: str | None
    advice: str | None = Field(description="What to do about it.")


class FeedPage(Page):
    items: list[FeedOut]


class RisksWanted(Wanted):
    show: Literal["all", "holding", "expired", "withdrawn"] = "holding"
    q: Text = Field("", description="Part of a CVE, package, host, tag, reason or name.")


class RiskOut(Shape):
    id: int
    cve: str | None
    package: str | None = Field(description="With a CVE: only in this package; without: all that is open in it.")
    everywhere: bool
    hosts: list[str]
    tags: list[str]
    reason: str
    until: str = Field(description="The last day on which it holds.", examples=["2026-12-31"])
    holds: bool
    accepted_by: str
    accepted_at: str
    withdrawn_by: str | None
    withdrawn_at: str | None
    url: str


class RiskPage(Page):
    items: list[RiskOut]


class DiffWanted(Schema):
    after: int | None = Field(
        None, alias="to", ge=1, le=LAST_ID, description="A scan; without, the newest with counts of the same host."
    )
    before: int | None = Field(
        None, alias="from", ge=1, le=LAST_ID, description="A scan; without, the one with counts before `to`."
    )
    show: Literal[diff_pages.CHANGES] | None = Field(None, description="Only changes of this kind.")  # type: ignore[valid-type]
    q: Text = Field("", description="Part of a package, CVE or advisory.")


class Side(Shape):
    id: int
    host: str
    url: str
    scan_date: str
    state: shapes.State
    status: shapes.Status
    status_label: str
    distribution: str | None
    package_manager: str | None
    security_updates: int | None
    total_updates: int | None
    total_packages: int | None


class DiffOut(Shape):
    """What changed between two scans, whole."""

    before: Side = Field(serialization_alias="from", validation_alias="from")
    after: Side = Field(serialization_alias="to", validation_alias="to")
    url: str
    identical: bool
    notes: list[str] = Field(description="What one has to know to read the lists rightly.")
    filter: str
    counts: dict[str, int] = Field(description="Of each kind, whatever the filter.")
    updates: list[dict[str, Any]]
    packages: list[dict[str, Any]]


# --- a CVE ------------------------------------------------------------------------------------------


@router.get("/vulnerabilities/{cve}", response=VulnerabilityOut)
def get_vulnerability(request: HttpRequest, cve: Name, wanted: Annotated[PlacesWanted, Query()]) -> Any:
    """What is known of a CVE, or of an advisory that names none, and which hosts have it. 404: nobody knows it."""
    name = cve.upper() if CVE.fullmatch(cve.upper()) else cve
    places = of_cve(name, visible_hosts(request).active())
    details = Vulnerability.objects.filter(pk=name).first()
    cvss = score(details.cvss_vector) if details else None
    scores = exposure.known([name])[name]
    if not (places.is_known or details or scores.exploited or scores.epss is not None):
        raise Http404(f"No feed that has been read knows {name!r}.")
    ratings = ratings_of(places)
    rated = ratings[0][0] if ratings else scores
    risks = risks_about(name, places.names, sight(request))
    state = wanted.state or ""
    hosts = places.hosts(state, wanted.q).prefetch_related("tags")
    return {
        "id": name,
        "summary": (details and details.summary) or None,
        "severity": rated.severity or None,
        "severity_by": rated.by or None,
        "cvss_vector": (details and details.cvss_vector) or None,
        "cvss_score": cvss.number if cvss else None,
        "published": utc(published(details, places.said)),
        "epss": scores.epss,
        "epss_percentile": scores.percentile,
        "known_exploited_since": scores.exploited.isoformat() if scores.exploited else None,
        "known_exploited_due": scores.due.isoformat() if scores.due else None,
        "ransomware": scores.ransomware,
        "links": [{"url": url, "label": label} for url, label in links(name, places)],
        "exposed_hosts": places.exposed,
        "unjudged_hosts": places.unjudged,
        "states": [
            {"state": key, "means": WORDS[key].means, "hosts": number}
            for key, number in places.numbers((*STATES, *UNJUDGED))
        ],
        "hosts": page_of(hosts, wanted, lambda some: [on_host(host, places, state, risks) for host in some]),
    }


def on_host(host: Host, places: Places, state: str, risks: Sequence[AcceptedRisk]) -> shapes.Shown:
    shown = places.shown(host.current_snapshot_id, state)
    return {"host": host.name, "places": [place_row(place, places.cve, host, risks) for place in shown]}


def place_row(place: Place, cve: str, host: Host, risks: Sequence[AcceptedRisk]) -> shapes.Shown:
    risk = accepted_at(risks, cve, place, host)
    return {
        "state": place.state,
        "means": place.word.means,
        "note": place.note or None,
        "source": place.source or None,
        "packages": place.names,
        "versions": place.versions,
        "fixed_version": place.fixed_version or None,
        "commands": [update.command for update in place.installable],
        "risk_accepted_until": risk.until.isoformat() if risk else None,
    }


# --- feeds, risks -----------------------------------------------------------------------------------


@router.get("/feeds", response=FeedPage)
def list_feeds(request: HttpRequest, wanted: Annotated[Wanted, Query()]) -> Any:
    """Where what is known of vulnerabilities comes from, and how fresh it is."""
    lines = feed_pages.lines_of(feed_pages.hosts_by_release(visible_hosts(request)))
    return page_of(lines, wanted, lambda some: [feed_row(line) for line in some])


def feed_row(line: feed_pages.Line) -> shapes.Shown:
    error = line.row.error.replace(line.own_source, line.source) if line.own_source else line.row.error
    return {
        "name": line.name,
        "label": line.label,
        "about": line.about or None,
        "source": line.source,
        "wanted": line.wanted,
        "state": line.state[2],
        "known_at": utc(line.known_at),
        "checked_at": utc(line.row.checked_at),
        "rows": line.row.rows,
        "error": CREDENTIALS.sub("//", error) or None,
        "advice": line.advice or None,
    }


@router.get("/risks", response=RiskPage)
def list_risks(request: HttpRequest, wanted: Annotated[RisksWanted, Query()]) -> Any:
    """What somebody has decided to live with: where, why and until when. Newest first."""
    own = sight(request)
    every = AcceptedRisk.objects.seen_by(own)
    parts = {"all": every, "holding": every.active(), "expired": every.expired(), "withdrawn": every.withdrawn()}
    rows = risk_pages.found(parts[wanted.show], wanted.q, own).with_places_of(own)
    return page_of(rows.order_by("-accepted_at", "-pk"), wanted, lambda some: [risk_row(risk) for risk in some])


def risk_row(risk: AcceptedRisk) -> shapes.Shown:
    return {
        "id": risk.pk,
        "cve": risk.cve or None,
        "package": risk.package or None,
        "everywhere": risk.everywhere,
        "hosts": [host.name for host in risk.hosts.all()],
        "tags": [tag.name for tag in risk.tags.all()],
        "reason": risk.reason,
        "until": risk.until.isoformat(),
        "holds": risk.holds,
        "accepted_by": risk.accepted_by,
        "accepted_at": utc(risk.accepted_at),
        "withdrawn_by": risk.withdrawn_by or None,
        "withdrawn_at": utc(risk.withdrawn_at),
        "url": risk.get_absolute_url(),
    }


# --- diff -------------------------------------------------------------------------------------------


@router.get("/diff", response={200: DiffOut, 404: shapes.ProblemOut, 409: shapes.ProblemOut}, by_alias=True)
def get_diff(request: HttpRequest, wanted: Annotated[DiffWanted, Query()]) -> Any:
    """What changed between two scans, or differs between two hosts. 409: one of them has no counts."""
    if wanted.before is None and wanted.after is None:
        raise HttpError(422, "Say `from` or `to`, or both: ids of scans.")
    numbers = {"from": str(wanted.before or ""), "to": str(wanted.after or "")}
    try:
        before, after = diff_pages.chosen(numbers, visible_hosts(request))
    except diff_pages.CannotCompare as trouble:
        raise HttpError(409, str(trouble)) from trouble
    wish = diff_pages.Wish.of({"show": wanted.show or "", "q": wanted.q})
    return diff_pages.document(before, after, wish)
