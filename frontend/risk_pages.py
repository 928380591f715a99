"""Pages of accepted risks: what is accepted where, by whom, why and until when; accepting, and withdrawing that."""

import hashlib
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from django.contrib import messages
from django.db import transaction
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_safe

from frontend.access import accepters_only, actor, sight, staff_only
from frontend.forms import EVERYWHERE, HOSTS, TAGS, USUAL_DAYS, RiskForm, risk_values
from frontend.pages import page_of
from frontend.templatetags.words import distance
from frontend.vulnerability_pages import counted, query_of
from scanner import audit
from scanner.audit import Actor
from scanner.models import AcceptedRisk, Finding, Host, KnownExploited, Sight, Tag
from scanner.models.accepted_risk import AcceptedRiskQuerySet
from scanner.models.host import HostQuerySet
from scanner.vulnerabilities.exposure import known
from scanner.vulnerabilities.places import of_cve, of_package, status_counts
from scanner.vulnerabilities.urgency import LIKELY, Cve, day, why

ROWS = 50
PARTS = {"holding": "Holding now", "expired": "Expired", "withdrawn": "Withdrawn"}
NAMED = 8  # hosts that are named, where there are more; templates count on it
SOON = 7  # days before the end, from which on the list says so
CHECK = "check"  # posted in place of a wish to save


# --- the list ---------------------------------------------------------------------------------------


@require_safe
@staff_only
def risks(request: HttpRequest) -> HttpResponse:
    """?show=holding, expired or withdrawn; ?q= searches in it; ?risk= shows that one alone, whatever became of it."""
    own, wish = sight(request), Wish.of(request.GET)
    page = page_of(wish.rows(own).with_some_places_of(own, NAMED), request, ROWS)
    add_news(page.object_list)
    context = {
        "risks": page,
        "parts": [(name, label, part_of(name, own).count()) for name, label in PARTS.items()],
        "show": wish.show,
        "q": wish.q,
        "only": wish.only,
        "query": wish.query,
        "soon": SOON,
    }
    return render(request, "frontend/risks/list.html", context)


@dataclass(frozen=True)
class Wish:
    """Which risks the address asks for."""

    show: str
    q: str
    only: str

    @classmethod
    def of(cls, asked: QueryDict) -> "Wish":
        show, q, only = (asked.get(name, "").strip().replace("\0", "") for name in ("show", "q", "risk"))
        if only:
            return cls("", "", only)
        return cls(show if show in PARTS else next(iter(PARTS)), q, "")

    @property
    def narrowing(self) -> str:
        return query_of(risk=self.only, q=self.q)

    @property
    def query(self) -> str:
        return query_of(show=self.show, risk=self.only, q=self.q)

    def rows(self, own: Sight) -> AcceptedRiskQuerySet:
        if self.only:
            number = int(self.only) if self.only.isascii() and self.only.isdecimal() else 0
            rows = AcceptedRisk.objects.seen_by(own).filter(pk=number)
        else:
            rows = found(part_of(self.show, own), self.q, own)
        return rows.order_by("-accepted_at", "-pk")


def part_of(name: str, own: Sight) -> AcceptedRiskQuerySet:
    every = AcceptedRisk.objects.seen_by(own)
    return {"holding": every.active, "expired": every.expired, "withdrawn": every.withdrawn}[name]()


def found(rows: AcceptedRiskQuerySet, q: str, own: Sight) -> AcceptedRiskQuerySet:
    """Those in which it is written, and of hosts and tags only in those that are seen."""
    if not q:
        return rows
    hosts = Host.objects.order_by().seen_by(own).filter(name__icontains=q)
    tags = Tag.objects.order_by().seen_by(own).filter(name__icontains=q)
    words = [Q(**{f"{name}__icontains": q}) for name in ("cve", "package", "reason", "accepted_by", "withdrawn_by")]
    wanted = Q(pk__in=AcceptedRisk.objects.filter(hosts__in=hosts).order_by().values("pk"))
    wanted |= Q(pk__in=AcceptedRisk.objects.filter(tags__in=tags).order_by().values("pk"))
    for word in words:
        wanted |= word
    return rows.filter(wanted)


def add_news(rows: list[Any]) -> None:
    """What one would want to know today: how long it still holds, and whether its CVE is exploited by now."""
    today = timezone.localdate()
    exploited = set(KnownExploited.objects.filter(pk__in={row.cve for row in rows}).values_list("pk", flat=True))
    for row in rows:
        row.days = (row.until - today).days
        row.exploited = row.cve in exploited


# --- accepting --------------------------------------------------------------------------------------


@require_http_methods(["GET", "HEAD", "POST"])
@accepters_only
def accept(request: HttpRequest) -> HttpResponse:
    """The form: first filled by ?cve=, ?package= and ?host=, or by ?renew= with all of an earlier one.

    It is saved only after it has been shown what it affects. Posted with `check`, it is only shown.
    """
    own = sight(request)
    form = RiskForm(own, request.POST) if request.method == "POST" else RiskForm(own, initial=first_values(request))
    effect = effect_of(form)
    unseen = False
    if request.method == "POST" and form.is_valid() and effect and CHECK not in request.POST:
        if request.POST.get("seen") == effect.about:
            risk = save(form.cleaned_data, actor(request))
            messages.success(request, f"The risk of {risk} is accepted until {day(risk.until)}.")
            return redirect(f"{reverse('accepted-risks')}#risk-{risk.pk}")
        unseen = True
    if CHECK in request.POST:
        form.errors.pop("reason", None)  # nobody has been asked for it yet
    context = {"form": form, "effect": effect, "unseen": unseen, "checked": CHECK in request.POST}
    status = 422 if form.errors and CHECK not in request.POST else 200
    return render(request, "frontend/risks/new.html", context, status=status)


def first_values(request: HttpRequest) -> dict[str, Any]:
    until = timezone.localdate() + timedelta(days=USUAL_DAYS)
    earlier = request.GET.get("renew", "")
    if earlier.isascii() and earlier.isdecimal():
        known = AcceptedRisk.objects.seen_by(sight(request)).with_places_of(sight(request))
        return {**risk_values(get_object_or_404(known, pk=int(earlier))), "until": until}
    host = request.GET.get("host", "")
    asked = {name: request.GET.get(name, "") for name in ("cve", "package")}
    where = HOSTS if host or sight(request).limited else EVERYWHERE
    return {**asked, "hosts": host, "where": where, "until": until}


def save(wishes: dict[str, Any], by: Actor) -> AcceptedRisk:
    own = {name: wishes[name] for name in ("cve", "package", "reason", "until")}
    with transaction.atomic():
        risk = AcceptedRisk.objects.create(**own, everywhere=wishes["where"] == EVERYWHERE, accepted_by=by.name)
        risk.hosts.set(wishes["hosts"])
        risk.tags.set(wishes["tags"])
        where = {place: [str(row) for row in wishes[place]] for place in (HOSTS, TAGS)}
        audit.record(by, "risk.accepted", risk, after=own | {"everywhere": risk.everywhere} | where)
    return risk


@dataclass(frozen=True)
class Effect:
    """What accepting it would mean now. The numbers are those of the pages of its CVE and its package."""

    about: str  # what was chosen, as a hash: who saves it has seen this page about it
    what: str
    have: int  # hosts that have it now
    covered: int | None  # of those, where it would be accepted; None before the form says where
    names: list[str]  # of some of those
    waiting: int  # of those, where an update against it waits
    open: int | None  # where it is about all of a package: how many CVEs are open in it on any host
    unjudged: int  # hosts of which it is not known
    pressing: list[Cve]  # that are exploited, or likely to be
    already: list[AcceptedRisk]  # that hold for the same

    @property
    def more(self) -> int:
        return (self.covered or 0) - len(self.names)

    @property
    def warnings(self) -> list[tuple[Cve, str]]:
        return [(cve, why(cve)) for cve in self.pressing]


def effect_of(form: RiskForm) -> Effect | None:
    """Of what the form says so far; None before it names a CVE or a package."""
    filled = form if form.is_bound else RiskForm(form.own, form.initial)
    filled.full_clean()
    said = filled.cleaned_data
    cve, package, where = said.get("cve", ""), said.get("package", ""), said.get("where", "")
    if not (cve or package) or "cve" in filled.errors or "package" in filled.errors:
        return None
    chosen = [row.pk for row in said.get(where, ())] if where in (HOSTS, TAGS) else []
    seen = Host.objects.seen_by(form.own).active()
    found = with_cve(cve, package, seen) if cve else with_package(package, seen)
    covered = chosen_of(found.hosts, where, chosen)
    where_is_said = where == EVERYWHERE or where in said  # if it needs hosts or tags, those that are named are there
    return Effect(
        hashlib.blake2b(repr((cve, package, where, sorted(chosen))).encode(), digest_size=12).hexdigest(),
        f"{cve} in {package}" if cve and package else cve or package,
        found.number,
        (found.number if where == EVERYWHERE else covered.count()) if where_is_said else None,
        list(covered.values_list("name", flat=True)[:NAMED]),
        chosen_of(found.waiting, where, chosen).count(),
        found.open,
        found.unjudged,
        [each for each in known(found.cves).values() if each.exploited or (each.epss or 0) >= LIKELY],
        list(AcceptedRisk.objects.seen_by(form.own).active().filter(cve=cve, package=package)),
    )


@dataclass(frozen=True)
class Found:
    """Where it is now."""

    hosts: QuerySet[Host]
    number: int  # of these hosts
    waiting: QuerySet[Host]  # for an update against it
    unjudged: int
    cves: list[str]  # that may speak against accepting
    open: int | None = None


def with_cve(cve: str, package: str, seen: HostQuerySet) -> Found:
    places = of_cve(cve, seen)
    there = places
    if package:  # by its own name, or by its source's: that is how a risk covers it
        of = {pk: [each for each in some if package in (*each.names, each.source)] for pk, some in places.of.items()}
        there = replace(places, of=of)
    return Found(there.hosts(), there.number(""), there.hosts("now"), places.unjudged, [cve])


def with_package(package: str, seen: HostQuerySet) -> Found:
    places = of_package(package, seen)
    findings = Finding.objects.filter(package_version__in=places.package_versions)
    exploited = KnownExploited.objects.filter(pk__in=findings.exclude(cve="").values("cve")).order_by("-added", "pk")
    return Found(
        places.hosts(places.versions),
        places.everywhere,
        places.hosts(places.versions, "security"),
        places.unscanned,
        list(exploited.values_list("pk", flat=True)[:NAMED]),
        counted(status_counts(findings)) if places.is_told else None,
    )


def chosen_of(hosts: QuerySet[Host], where: str, chosen: list[int]) -> QuerySet[Host]:
    return {HOSTS: hosts.filter(pk__in=chosen), TAGS: hosts.filter(tags__in=chosen).distinct()}.get(where, hosts)


# --- withdrawing ------------------------------------------------------------------------------------


@require_http_methods(["GET", "HEAD", "POST"])
@accepters_only
@transaction.atomic
def withdraw(request: HttpRequest, pk: int) -> HttpResponse:
    own = sight(request)
    risk: Any = get_object_or_404(AcceptedRisk.objects.seen_by(own).with_some_places_of(own, NAMED), pk=pk)
    if risk.beyond:
        words = "It holds also where you may not look, so only who sees all of that may withdraw it."
        return render(request, "403.html", {"message": words}, status=403)
    if risk.withdrawn_at is None and not risk.holds:
        messages.info(request, f"It has expired by itself: {day(risk.until)} was its last day.")
        return redirect(risk)
    if risk.holds and request.method != "POST":
        return render(request, "frontend/risks/withdraw.html", {"risk": risk})
    if risk.withdraw(request.user.get_username()):
        audit.record(actor(request), "risk.withdrawn", risk)
        messages.success(request, f"The risk of {risk} is no longer accepted: from now on it is open again.")
        return redirect("accepted-risks")
    risk.refresh_from_db(fields=["withdrawn_by", "withdrawn_at"])
    when = distance(risk.withdrawn_at, timezone.now())
    messages.info(request, f"{risk.withdrawn_by} was first: it was withdrawn {when}.")
    return redirect(risk)
