"""The page of feeds: how fresh what is known of vulnerabilities is, what went wrong, and reading them anew."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from urllib.parse import urlsplit

from django.conf import settings
from django.contrib import messages
from django.db import transaction
from django.db.models import Count, Q
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.http import require_POST, require_safe
from kombu.exceptions import OperationalError as BrokerAway

from frontend.access import actor, may_refresh_feeds, refreshers_only, staff_only, visible_hosts
from scanner import audit
from scanner.audit import Actor
from scanner.models import Feed
from scanner.models.host import HostQuerySet
from scanner.vulnerabilities import feeds as known_feeds
from scanner.vulnerabilities import fetching, importing
from scanner.vulnerabilities.findings import has_data
from tasks.vulnerabilities import refresh_feeds

OLD = timedelta(days=3)
LOST = timedelta(minutes=30)  # a step that is older was interrupted
UNTAKEN = timedelta(seconds=20)  # after which somebody should look for the worker
QUEUED = "queued"  # the step of a feed that waits for a worker
STEPS = {QUEUED: "Waiting", "fetching": "Fetching", "reading": "Reading", "matching": "Matching"}
FAMILIES = {
    "debian": "Debian",
    "ubuntu": "Ubuntu",
    "alma": "AlmaLinux",
    "rocky": "Rocky Linux",
    "rhel": "RHEL",
    "sles": "SLES",
    "leap": "openSUSE Leap",
    "arch": "Arch Linux",
}
NAMED = 5  # hosts that are named, where there are more
NO_QUEUE = "The queue could not be reached, so no worker was told. Is Redis running?"


@require_safe
@staff_only
def feeds(request: HttpRequest) -> HttpResponse:
    seen = visible_hosts(request)
    hosts = hosts_by_release(seen)
    lines = lines_of(hosts)
    wanted, others = ([line for line in lines if line.wanted is kept] for kept in (True, False))
    context = {
        "lines": lines,
        "wanted": len(wanted),
        "troubled": sum(line.troubled for line in wanted),
        "others": len(others),
        "others_open": any(line.running or line.troubled for line in others),
        "running": sum(line.running for line in lines),
        "unknown": unknown_releases(hosts, {line.name: line for line in lines}, seen),
        "hosts": sum(hosts.values()),
        "setting": ",".join(settings.FEEDS),
        "may_refresh": may_refresh_feeds(request.user),
    }
    return render(request, "frontend/feeds/list.html", context)


@require_POST
@refreshers_only
def refresh(request: HttpRequest) -> HttpResponse:
    """Read one feed anew (`feed`), or all that are kept fresh."""
    name = request.POST.get("feed", "")
    if name and name not in names():
        raise Http404(f"There is no feed {name!r}.")
    wanted = [name] if name else importing.wanted_feeds()
    try:
        started = start(wanted, actor(request))
    except (BrokerAway, OSError):
        return render(request, "503.html", {"message": NO_QUEUE}, status=503)
    say_what_started(request, wanted, started)
    return redirect("feeds")


def say_what_started(request: HttpRequest, wanted: Sequence[str], started: Sequence[str]) -> None:
    if not wanted:
        messages.warning(request, "No feed is kept fresh, so there is none to refresh, but for one by itself.")
    elif not started:
        messages.info(request, f"{in_words(wanted)} being read already.")
    else:
        turns = ", one after the other" if len(started) > 1 else ""
        messages.success(request, f"{in_words(started)} being read anew{turns}.")


def in_words(feeds: Sequence[str]) -> str:
    return f"The feed {feeds[0]} is" if len(feeds) == 1 else f"{len(feeds)} feeds are"


def names() -> list[str]:
    return [listed.name for listed in known_feeds.FEEDS]


# --- reading anew -----------------------------------------------------------------------------------


def start(wanted: Collection[str], by: Actor) -> list[str]:
    """Have a worker read those of them that nobody reads now, and answer which. Without a queue nothing is changed."""
    started = claim(wanted)
    try:
        if started:
            refresh_feeds.delay(started)
    except BaseException:
        Feed.objects.filter(name__in=started, step=QUEUED).update(step="", step_since=None)
        raise
    audit.record_all(by, "feed.refreshed", Feed.objects.filter(name__in=started))
    return started


def claim(wanted: Collection[str]) -> list[str]:
    """Mark them as waiting, so that everybody sees it, and a second click starts nothing."""
    there = set(Feed.objects.filter(name__in=wanted).values_list("name", flat=True))
    Feed.objects.bulk_create([Feed(name=name) for name in wanted if name not in there], ignore_conflicts=True)
    now = timezone.now()
    with transaction.atomic():
        rows = Feed.objects.filter(Q(step="") | Q(step_since=None) | Q(step_since__lt=now - LOST), name__in=wanted)
        free = {feed.name for feed in rows.select_for_update(skip_locked=True)}  # locked: it is being read, for long
        Feed.objects.filter(name__in=free).update(step=QUEUED, step_since=now)
    return [name for name in wanted if name in free]


# --- how they are -----------------------------------------------------------------------------------


@dataclass
class Line:
    """One feed of the table."""

    name: str
    label: str
    about: str  # "Debian"; empty: every host
    address: str  # its publisher's
    row: Feed
    wanted: bool
    releases: list[tuple[str, int]] = field(default_factory=list)  # that hosts have, and how many

    @property
    def setting(self) -> str:
        """The one that names another source."""
        return "ARCH_TRACKER" if self.name == "arch" else f"FEED_{self.name.upper()}"

    @property
    def own_source(self) -> str:
        """What that setting names."""
        return str(settings.FEED_SOURCES.get(self.name) or "")

    @property
    def source(self) -> str:
        return shown(self.own_source or self.address)

    @property
    def publisher(self) -> str:
        return urlsplit(self.address).hostname or ""

    @property
    def read_elsewhere(self) -> str:
        """Where its rows are from, if not from where it would be read now."""
        return "" if self.row.source in ("", self.own_source or self.address) else shown(self.row.source)

    # --- how it is --------------------------------------------------------------------------------

    @property
    def under_way(self) -> timedelta | None:
        """For how long its step has been what it is; None when nobody reads it."""
        return timezone.now() - self.row.step_since if self.row.step and self.row.step_since else None

    @property
    def interrupted(self) -> bool:
        return self.under_way is not None and self.under_way > LOST

    @property
    def running(self) -> bool:
        return self.under_way is not None and not self.interrupted

    @property
    def waits_long(self) -> bool:
        return self.row.step == QUEUED and self.under_way is not None and UNTAKEN < self.under_way < LOST

    @property
    def known_at(self) -> datetime | None:
        """As of when it says what it says. A publisher's "unchanged" is news, too; that of a copy may mean that nobody
        renews it."""
        if self.row.error or self.own_source:
            return self.row.imported_at
        return self.row.checked_at if self.row.imported_at else None

    @property
    def old(self) -> bool:
        return self.wanted and self.known_at is not None and timezone.now() - self.known_at > OLD

    @property
    def troubled(self) -> bool:
        return not self.running and (
            self.interrupted or bool(self.row.error) or self.old or (self.wanted and not self.row.imported_at)
        )

    @property
    def state(self) -> tuple[str, str, str]:
        """Colour, shape, word."""
        row = self.row
        if self.running:
            return "info", "queued" if row.step == QUEUED else "running", STEPS.get(row.step, row.step.capitalize())
        if row.error:
            return "high", "failed", "Failed"
        if self.interrupted:
            return "medium", "medium", "Interrupted"
        if row.imported_at is None:
            unread = "Not needed" if settings.FEEDS == ["auto"] else "Not named"
            return ("low", "low", "Not read yet") if self.wanted else ("unknown", "cancelled", unread)
        if self.old:
            return "medium", "medium", "Old"
        return ("secure", "secure", "Fresh") if self.wanted else ("unknown", "cancelled", "Not kept fresh")

    @property
    def advice(self) -> str:
        """What to do about it."""
        if self.row.error:
            if self.own_source:
                return f"It is read from where {self.setting} says: put that right, then refresh it."
            return f"May this machine not reach its publisher? {self.setting} can name a mirror or a file instead."
        if self.interrupted:
            return "Somebody began to read it, and nothing has been heard of it since. Refresh it once more."
        if self.old and self.own_source:
            return f"Nothing new has come from where {self.setting} says: is that copy still renewed?"
        if self.old:
            return "Nobody has asked its publisher since. Is beat running, and a worker for the queue central?"
        return ""


def lines_of(hosts: dict[str, int]) -> list[Line]:
    """Every feed; first those that are kept fresh."""
    rows = {row.name: row for row in Feed.objects.all()}
    wanted = set(importing.wanted_feeds())
    lines = []
    for listed in known_feeds.FEEDS:
        reader = known_feeds.make(listed.name)
        own = [(release, number) for release, number in hosts.items() if known_feeds.serving(release) == listed.name]
        about = ", ".join(FAMILIES[name] for name in listed.serves if name in FAMILIES)
        row = rows.get(listed.name) or Feed(name=listed.name)
        lines.append(Line(listed.name, reader.label, about, reader.address, row, listed.name in wanted, own))
    return sorted(lines, key=lambda line: not line.wanted)


def shown(source: str) -> str:
    """An address without a password or a token that may be in it; the path of a file as it is."""
    return fetching.shown(source) if "://" in source else source


# --- hosts that no feed tells of --------------------------------------------------------------------


@dataclass(frozen=True)
class Unknown:
    """A release of which nothing is known: that is not the same as no vulnerabilities."""

    release: str
    hosts: int
    names: list[str]
    why: str

    @property
    def more(self) -> int:
        return self.hosts - len(self.names)


def hosts_by_release(hosts: HostQuerySet) -> dict[str, int]:
    """How many of them have which release, by their newest scan with counts; "" is one that no scan could tell."""
    scanned = hosts.active().exclude(current=None).order_by("current_distribution")
    return dict(scanned.values_list("current_distribution").annotate(number=Count("pk")))


def unknown_releases(hosts: dict[str, int], lines: dict[str, Line], seen: HostQuerySet) -> list[Unknown]:
    without = {release: why for release in hosts if (why := why_unknown(release, lines))}
    named: dict[str, list[str]] = {release: [] for release in without}
    there = seen.active().exclude(current=None).filter(current_distribution__in=without).order_by("name")
    for release, name in there.values_list("current_distribution", "name"):
        if len(named[release]) < NAMED:
            named[release].append(name)
    return [Unknown(release, hosts[release], named[release], why) for release, why in without.items()]


def why_unknown(release: str, lines: dict[str, Line]) -> str:
    """Empty where a feed says something about it."""
    if not release:
        return "Their scans did not tell which release it is. Scan them once more."
    serving = known_feeds.serving(release)
    if not serving:
        return "No feed is about it. What its package manager itself calls a security update is shown, and no more."
    if has_data(release):
        return ""
    row, label = lines[serving].row, lines[serving].label
    if row.imported_at is None:
        return f"Its feed, {label}, has not been read yet."
    if row.distributions and release not in row.distributions:
        return f"Its feed, {label}, was last read before there was such a host. Refresh it."
    return f"Its feed, {label}, says nothing about it: the release has come to its end, or is too new."
