"""The page of all hosts: filtered, sorted and paged by the server; and what is done with many of them at once."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.core.exceptions import ValidationError
from django.core.paginator import Paginator
from django.db import transaction
from django.db.models import BigIntegerField, Count, Exists, ExpressionWrapper, F, OuterRef, Q
from django.db.models.functions import Coalesce, Lower
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.http import urlencode
from django.views.decorators.http import require_POST, require_safe

from frontend.access import actor, check_tags, sight, staff_only, visible_hosts
from frontend.host_rows import LEVELS, HostRow, host_rows, standing_on
from frontend.templatetags.words import known, level_badge, state_badge
from scanner import audit, run_time
from scanner.audit import Actor
from scanner.models import Host, OpenUpdate, PackageSet, Scan, Tag
from scanner.models.host import HostQuerySet, by_level
from scanner.vulnerabilities import exposure
from tasks import scans as tasks

SIZES = (100, 50, 250, 1000)  # rows a page; the first is the default
MOST_TICKS = 250  # boxes that a form sends one by one: Django takes at most 1,000 fields
MOST_SCANS = 500  # that one request starts; it takes a few seconds
NAMED = 20  # hosts that the question before archiving names at once
STEP = 10**10  # between the ranks of levels: more than a number of updates can be
RUN, CHANGE = "scanner.run_scan", "scanner.change_host"

SORTS = {  # by which expressions; where nothing is known it is as bad as can be
    "worst": (F("worst"),),
    "name": (Lower("name"),),
    "-name": (Lower("name").desc(),),
    "security": (F("current_security_updates").asc(nulls_first=True),),
    "-security": (F("current_security_updates").desc(nulls_last=True),),
    "age": (F("current_finished_at").desc(nulls_last=True),),
    "-age": (F("current_finished_at").asc(nulls_first=True),),
}
HEADINGS = (  # name of the sort, what a first click asks for, label, class
    ("name", "name", "Host", ""),
    ("worst", "worst", "Status", ""),
    ("security", "-security", "Security", "num"),
    ("", "", "All updates", "num"),
    ("", "", "Oldest open", ""),
    ("age", "-age", "Last result", ""),
    ("", "", "Manager", ""),
)


# --- what is asked for ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Wishes:
    """Everything that the address says of the list."""

    q: str = ""
    status: str = ""
    tag: str = ""
    manager: str = ""
    distribution: str = ""
    exploited: str = ""
    late: str = ""
    archived: str = ""
    sort: str = "worst"
    size: int = SIZES[0]
    page: str = ""

    @classmethod
    def of(cls, asked: QueryDict) -> "Wishes":
        texts = {name: asked.get(name, "").replace("\0", "").strip() for name in asdict(cls())}
        for name in ("exploited", "late", "archived"):
            texts[name] = "1" if texts[name] == "1" else ""
        texts["status"] = texts["status"] if texts["status"] in LEVELS else ""
        texts["sort"] = texts["sort"] if texts["sort"] in SORTS else "worst"
        size = texts.pop("size")
        rows = int(size) if size.isascii() and size.isdecimal() and int(size[:6]) in SIZES else SIZES[0]
        return cls(**texts, size=rows)

    @property
    def query(self) -> str:
        """As an address has it, without what goes without saying."""
        usual = asdict(Wishes())
        return urlencode({name: value for name, value in asdict(self).items() if value != usual[name]})

    def address(self, **more: str) -> str:
        parts = [part for part in (self.query, urlencode({k: v for k, v in more.items() if v})) if part]
        return f"{reverse('overview')}{'?' if parts else ''}{'&'.join(parts)}"

    @property
    def narrowed(self) -> bool:
        """Whether it leaves out any of the hosts, by more than their status."""
        return any((self.q, self.tag, self.manager, self.distribution, self.exploited, self.late))

    def of_view(self, hosts: HostQuerySet) -> HostQuerySet:
        """Those that are in use; or those that are archived."""
        return hosts.exclude(archived_at=None) if self.archived else hosts.active()

    def hosts_of_any_status(self, seen: HostQuerySet, now: datetime) -> Any:
        hosts: Any = self.of_view(seen).with_severity(now).order_by()
        if self.q:
            tagged = Host.objects.filter(tags__name__icontains=self.q).order_by().values("pk")
            hosts = hosts.filter(Q(name__icontains=self.q) | Q(pk__in=tagged))
        if self.tag:
            hosts = hosts.filter(tags__name=self.tag)
        if self.manager:
            hosts = hosts.filter(current_package_manager=self.manager)
        if self.distribution:
            hosts = hosts.filter(current_distribution=self.distribution)
        if self.exploited:
            hosts = standing_on(hosts, PackageSet.objects.filter(tally__exploited__gt=0))
        if self.late:
            late = OpenUpdate.objects.order_by().filter(since__lt=now - exposure.target())
            hosts = hosts.filter(Exists(late.filter(host=OuterRef("pk"))))
        return hosts

    def hosts(self, seen: HostQuerySet, now: datetime) -> Any:
        hosts = self.hosts_of_any_status(seen, now)
        return hosts.filter(severity=self.status) if self.status else hosts

    def ordered(self, seen: HostQuerySet, now: datetime) -> Any:
        """With a name at the end of every order, so that no row is on two pages."""
        return self.hosts(seen, now).annotate(worst=worst(now)).order_by(*SORTS[self.sort], "name")


def worst(now: datetime) -> Any:
    """One number to sort by: the level, and within it those with the most security updates first."""
    ranks = {name: number * STEP for number, name in enumerate(LEVELS)}
    updates = Coalesce(F("current_security_updates"), 0)
    return ExpressionWrapper(by_level(now, ranks) - updates, output_field=BigIntegerField())


# --- the list ---------------------------------------------------------------------------------------


@require_safe
@staff_only
def hosts(request: HttpRequest) -> HttpResponse:
    """All its state is in the address, also what is ticked: ?select=page or all; ?tick= and ?typed= after an error."""
    wishes, now, seen = Wishes.of(request.GET), timezone.now(), visible_hosts(request)
    of_view = wishes.of_view(seen)
    facets = facets_of(of_view, now)
    found, counts = found_by(wishes, seen, now, facets)
    pages = Paginator(found, wishes.size)
    pages.count = counts[wishes.status] if wishes.status else counts.total()  # saves a query
    page = pages.get_page(wishes.page)
    select = request.GET.get("select", "")
    select = select if select in ("page", "all") else ""
    rows = shown(host_rows(list(page.object_list), now))  # chosen by their ids, which sorts 10,000 small rows
    ticked = set(ids(request.GET.getlist("tick"))) if not select else {row["pk"] for row in rows}
    whole = select == "all" or (select == "page" and len(rows) > MOST_TICKS)
    fleet = facets.statuses
    context = {
        "wishes": wishes,
        "rows": rows,
        "page": page,
        "found": pages.count,
        "fleet": fleet.total(),
        "unknown": fleet["unknown"],
        "at_risk": fleet.total() - fleet["unknown"] - fleet["secure"],
        "chips": [(level, counts[name]) for name, level in LEVELS.items() if counts[name] or name == wishes.status],
        "any_status": counts.total(),
        "managers": facets.managers,
        "distributions": facets.distributions,
        "tags": Tag.objects.filter(Exists(of_view.order_by().filter(tags=OuterRef("pk")))),
        "archived": len(page.object_list) if wishes.archived else seen.exclude(archived_at=None).count(),
        "headings": headings(wishes.sort),
        "sizes": sorted(SIZES),
        "may_change": request.user.has_perm(CHANGE),
        "may_act": request.user.has_perm(CHANGE) or request.user.has_perm(RUN),
        "select": select,
        "ticked": ticked,
        "whole": whole,
        "ids": ",".join(str(row["pk"]) for row in rows) if whole else "",
        "typed": request.GET.get("typed", "").replace("\0", ""),
        "target_hours": run_time.value("SECURITY_TARGET_HOURS"),
    }
    return render(request, "frontend/hosts/list.html", context)


def found_by(wishes: Wishes, seen: HostQuerySet, now: datetime, facets: "Facets") -> tuple[Any, Counter[str]]:
    """The ids of the hosts in their order, and how many there are of each status, whichever is asked for."""
    if not wishes.narrowed:
        return wishes.ordered(seen, now).values_list("pk", flat=True), facets.statuses
    # to look once and keep all is cheaper than to count them and look again
    found = list(replace(wishes, status="").ordered(seen, now).values_list("pk", "severity"))
    chosen = [pk for pk, severity in found if wishes.status in ("", severity)]
    return chosen, Counter(severity for _, severity in found)


@dataclass(frozen=True)
class Facets:
    """What there is to choose from, with one look at all hosts."""

    statuses: Counter[str]
    managers: list[str]
    distributions: list[str]


def facets_of(hosts: Any, now: datetime) -> Facets:
    told = ("severity", "current_package_manager", "current_distribution")
    found = hosts.with_severity(now).order_by().values_list(*told).annotate(number=Count("pk"))
    statuses: Counter[str] = Counter()
    managers, distributions = set(), set()
    for severity, manager, distribution, number in found:
        statuses[severity] += number
        managers.add(manager)
        distributions.add(distribution)
    return Facets(statuses, sorted(filter(None, managers)), sorted(filter(None, distributions)))


def shown(rows: Sequence[HostRow]) -> list[dict[str, Any]]:
    """As the table has them: flat, since a template looks up what is nested, and makes addresses, slowly."""
    dashboard = reverse("dashboard")
    levels = {name: level_badge(level) for name, level in LEVELS.items()}
    return [
        {
            "pk": row.pk,
            "name": row.name,
            "tags": row.tags,
            "page": f"{dashboard}?host={row.name}",
            "level": levels[row.severity],
            **latest(row),
            "scan": reverse("scan", args=[row.scan]) if row.scan else "",
            "date": row.date,
            "manager": row.package_manager,
            "release": row.distribution,
            "security": row.security_updates,
            "total": row.total_updates,
            "exploited": row.known_exploited,
            "late": row.waiting.late if row.waiting else 0,
            "oldest": row.waiting.oldest if row.waiting else None,
        }
        for row in rows
    ]


def latest(row: HostRow) -> dict[str, str]:
    """What its level does not tell: a scan that is under way, one that came to nothing since, or one with gaps.

    Both keys are always there: where a template looks for one in vain, Django searches for an attribute.
    """
    if row.active_state:
        return {"state": state_badge(row.active_state), "ended": ""}
    if row.last and row.last_state and row.last != row.scan:
        return {"state": state_badge(row.last_state), "ended": reverse("scan", args=[row.last])}
    return {"state": state_badge(row.state) if row.state == Scan.State.PARTIAL else "", "ended": ""}


def headings(sort: str) -> list[dict[str, str]]:
    """As those of Table, but a first click shows what is worst: most updates, the oldest result."""
    return [
        {
            "name": name,
            "label": label,
            "class": style,
            "next": opposite(first) if sort == first else first,
            "aria": aria(name, sort),
        }
        for name, first, label, style in HEADINGS
    ]


def opposite(sort: str) -> str:
    other = sort[1:] if sort.startswith("-") else f"-{sort}"
    return other if other in SORTS else sort


def aria(name: str, sort: str) -> str:
    if name == "worst" == sort:
        return "descending"
    return {name: "ascending", f"-{name}": "descending"}.get(sort, "") if name else ""


# --- what is done with many ---------------------------------------------------------------------------


@require_POST
@staff_only
def act(request: HttpRequest) -> HttpResponse:
    """`do` it with the hosts that are ticked (`host`), or with all that match `query` (where `select` is all)."""
    wishes = Wishes.of(QueryDict(request.POST.get("query", "")))
    permission, work = ACTIONS.get(request.POST.get("do", ""), ("", nothing))
    if permission and not request.user.has_perm(permission):
        words = "Your account may not start scans." if permission == RUN else "Your account may not change hosts."
        return render(request, "403.html", {"message": words}, status=403)
    chosen = Chosen(request, wishes)
    if not chosen.hosts.exists():
        messages.error(request, "No host is selected. Nothing was changed: tick some first.")
        return chosen.back_as_it_was()
    return work(request, chosen)


class Chosen:
    """The hosts of a request, and the way back to where they were ticked."""

    def __init__(self, request: HttpRequest, wishes: Wishes) -> None:
        self.wishes = wishes
        seen = visible_hosts(request)
        self.select = request.POST.get("select", "")
        self.typed = request.POST.get("tag", "").replace("\0", "").strip()
        self.ids = ids(request.POST.getlist("host"))
        # the ids of a shown question stand: all that match may be others by now
        if self.select == "all" and "confirmed" not in request.POST:
            self.hosts = wishes.ordered(seen, timezone.now())
        else:
            self.hosts = seen.filter(pk__in=self.ids)

    def back(self) -> HttpResponse:
        return redirect(self.wishes.address())

    def back_as_it_was(self) -> HttpResponse:
        """Nothing that was ticked or typed is lost."""
        kept = {"select": self.select} if self.select else {"tick": ",".join(map(str, self.ids[:MOST_TICKS]))}
        return redirect(self.wishes.address(**kept, typed=self.typed))


def ids(texts: Iterable[str]) -> list[int]:
    """Of "3" and "4,5": a whole page is sent as one field."""
    numbers = (part for text in texts for part in text.split(","))
    return [int(part) for part in numbers if part.isascii() and part.isdecimal() and len(part) < 19]


def nothing(request: HttpRequest, chosen: Chosen) -> HttpResponse:
    messages.error(request, "Nothing was changed: choose what to do.")
    return chosen.back_as_it_was()


def run(request: HttpRequest, chosen: Chosen) -> HttpResponse:
    pks = list(chosen.hosts.values_list("pk", flat=True))
    busy = set(Scan.objects.active().filter(host__in=pks).values_list("host", flat=True))
    idle = [pk for pk in pks if pk not in busy]
    started, under_way = 0, len(busy)
    found = Host.objects.in_bulk(idle[:MOST_SCANS])
    for host in (found[pk] for pk in idle[:MOST_SCANS] if pk in found):
        try:
            _, new = tasks.start(
                host,
                trigger=Scan.Trigger.DASHBOARD,
                requested_by=request.user.get_username(),
                refresh=settings.SCAN_REFRESH,
            )
        except tasks.QueueUnreachable as error:
            so_far = f"{told(started, 'scan')} started before that. " if started else ""
            messages.error(request, f"{error} {so_far}Is Redis running? Try again when it is.")
            return chosen.back_as_it_was()
        started += new
        under_way += not new
    words = [f"{told(started, 'scan')} started." if started else "No scan was started."]
    if under_way:
        words.append(f"{told(under_way, 'host', 'is', 'are')} being scanned already.")
    if left := len(idle[MOST_SCANS:]):
        words.append(f"{told(left, 'host', 'is', 'are')} left: {MOST_SCANS} are started at once. Press again for more.")
    messages.add_message(request, messages.SUCCESS if started else messages.INFO, " ".join(words))
    return chosen.back()


def add_tag(request: HttpRequest, chosen: Chosen) -> HttpResponse:
    names = tag_names(chosen.typed)
    number = chosen.hosts.count()
    try:
        if not names:
            raise ValidationError("Write the tag into the field first.")
        check_tags(sight(request), names)
        with transaction.atomic():
            before = tags_of(chosen.hosts)
            Host.objects.filter(pk__in=list(before)).add_tags(names)
            record_tags(actor(request), before)
    except ValidationError as error:
        messages.error(request, f"No tag was added. {' '.join(error.messages)}")
        return chosen.back_as_it_was()
    messages.success(request, f"{told(number, 'host', 'has', 'have')} the tag{tags_in_words(names)} now.")
    return chosen.back()


def remove_tag(request: HttpRequest, chosen: Chosen) -> HttpResponse:
    names = tag_names(chosen.typed)
    had = chosen.hosts.filter(pk__in=Host.objects.filter(tags__name__in=names).values("pk")).count()
    if not had:
        why = "None of these hosts has it." if names else "Write the tag into the field first."
        messages.error(request, f"No tag was removed. {why}")
        return chosen.back_as_it_was()
    try:
        check_tags(sight(request), names)
    except ValidationError as error:
        messages.error(request, f"No tag was removed. {' '.join(error.messages)}")
        return chosen.back_as_it_was()
    with transaction.atomic():
        before = tags_of(chosen.hosts)
        Host.objects.filter(pk__in=list(before)).remove_tags(names)
        record_tags(actor(request), before)
    messages.success(request, f"{told(had, 'host', 'has', 'have')} the tag{tags_in_words(names)} no longer.")
    return chosen.back()


def tags_of(hosts: Any) -> dict[int, list[str]]:
    """The tags of each of these hosts."""
    chosen = Host.objects.filter(pk__in=hosts.order_by().values("pk"))
    found: dict[int, list[str]] = {}
    for pk, name in chosen.order_by("tags__name").values_list("pk", "tags__name"):
        found.setdefault(pk, []).extend([name] if name else [])
    return found


def record_tags(by: Actor, before: Mapping[int, list[str]]) -> None:
    """Of those whose tags are others now."""
    hosts = Host.objects.in_bulk(list(before))
    after = tags_of(Host.objects.filter(pk__in=list(before)))
    others = (pk for pk, names in before.items() if after[pk] != names)
    audit.store(audit.entry(by, "host.tagged", hosts[pk], {"tags": before[pk]}, {"tags": after[pk]}) for pk in others)


def archive(request: HttpRequest, chosen: Chosen) -> HttpResponse:
    hosts = chosen.hosts.filter(archived_at=None)
    if "confirmed" not in request.POST:
        return question(request, chosen, hosts, "archive")
    with transaction.atomic():
        audit.record_all(actor(request), "host.archived", hosts)
        number = hosts.archive()
    messages.success(request, f"{told(number, 'host')} archived. What is known of them is kept.")
    return chosen.back()


def bring_back(request: HttpRequest, chosen: Chosen) -> HttpResponse:
    hosts = chosen.hosts.exclude(archived_at=None)
    if "confirmed" not in request.POST:
        return question(request, chosen, hosts, "bring-back")
    with transaction.atomic():
        audit.record_all(actor(request), "host.brought_back", hosts)
        number = hosts.bring_back()
    messages.success(request, f"{told(number, 'host')} brought back.")
    return chosen.back()


def question(request: HttpRequest, chosen: Chosen, hosts: Any, do: str) -> HttpResponse:
    """What will happen, and to which hosts; saying yes sends exactly these."""
    found = sorted(hosts.order_by().values_list("name", "pk"))
    if not found:
        messages.info(request, f"None of these hosts {'is archived' if do == 'bring-back' else 'is left to archive'}.")
        return chosen.back()
    names = [name for name, _ in found]
    context = {
        "do": do,
        "number": len(found),
        "some": names[:NAMED],
        "rest": names[NAMED:],
        "ids": ",".join(str(pk) for _, pk in found),
        "query": chosen.wishes.query,
        "back": chosen.wishes.address(),
        "busy": Scan.objects.active().filter(host__in=[pk for _, pk in found]).count(),
        "unscheduled": sum(not scheduled for scheduled in hosts.order_by().values_list("scheduled", flat=True)),
    }
    return render(request, "frontend/hosts/confirm.html", context)


ACTIONS: Mapping[str, tuple[str, Callable[[HttpRequest, Chosen], HttpResponse]]] = {
    "run": (RUN, run),
    "add-tag": (CHANGE, add_tag),
    "remove-tag": (CHANGE, remove_tag),
    "archive": (CHANGE, archive),
    "bring-back": (CHANGE, bring_back),
}


def tag_names(text: str) -> list[str]:
    return list(dict.fromkeys(text.replace(",", " ").split()))


def tags_in_words(names: list[str]) -> str:
    return f"{'s' if len(names) > 1 else ''} {', '.join(names)}"


def told(number: int, noun: str, one: str = "was", many: str = "were") -> str:
    """ "1 host was", "3 hosts were"."""
    return f"{known(number)} {noun}{'' if number == 1 else 's'} {one if number == 1 else many}"
