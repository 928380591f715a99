"""Where a CVE, or a package, is on the fleet, and what can be done about it there.

Judged once for each distinct snapshot, however many hosts stand on it, with a constant number of queries; the hosts
themselves are paged by the database.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

from django.db.models import (
    Case,
    Count,
    Exists,
    OuterRef,
    Q,
    QuerySet,
    Value,
    When,
    prefetch_related_objects,
)

from scanner.models import (
    AcceptedRisk,
    AffectedPackage,
    Finding,
    Host,
    Package,
    PackageSet,
    PackageVersion,
    Scan,
    Snapshot,
    Update,
)
from scanner.models.finding import STATED
from scanner.models.host import HostQuerySet
from scanner.vulnerabilities import exposure, urgency
from scanner.vulnerabilities.exposure import FIXED, is_fixed_by, version_key
from scanner.vulnerabilities.kernels import NOT_RUNNING, asks_for_kernel, release_of
from scanner.vulnerabilities.matching import PRO, Item, UnknownDistribution, asked_for, releases
from scanner.vulnerabilities.urgency import Cve

CVE = re.compile(r"CVE-\d{4}-\d{4,}")
ESM = "esm-"  # the origins of Ubuntu Pro begin so
ANOTHER_RUNS = NOT_RUNNING.partition("{")[0]


class Word(NamedTuple):
    label: str
    means: str  # and what to do, in whole sentences


WORDS: Mapping[str, Word] = {
    # what can be done at a place, in the order in which it is looked at
    "now": Word("Update waits", "An update that fixes it waits on the host: install it."),
    "reboot": Word("Reboot needed", "A kernel with the fix is installed, but another one runs: reboot."),
    "pro": Word("Only with Ubuntu Pro", "Only a subscription of Ubuntu Pro gives this fix: attach the host to one."),
    "pinned": Word(
        "Blocked by a pin",
        "A pin makes the host prefer another version. Look into /etc/apt/preferences.d, or install the fixed version by"
        " name.",
    ),
    "not-offered": Word(
        "Not offered",
        "There is a fix, but none of the host's package sources offers it. Refresh the package lists and scan again;"
        " see whether the security archive is among the sources, and whether the release is still supported.",
    ),
    # what the vendor says of what has no fix
    "open": Word("No fix yet", "It is vulnerable, and the vendor has not published a fix yet."),
    "undetermined": Word("Not judged yet", "The vendor has not said yet whether it is vulnerable."),
    "unconfirmed": Word(
        "Unconfirmed",
        "It is newer than the last version known to be vulnerable; whether that is fixed, nobody has said.",
    ),
    "no_dsa": Word(
        "No advisory planned", "Too minor for an advisory, says the vendor; a fix may come with a point release."
    ),
    "postponed": Word("Fix postponed", "The vendor will fix it later, together with something graver."),
    "ignored": Word("Will not be fixed", "The vendor has decided against a fix."),
    "unimportant": Word("Unimportant", "The vendor sees no danger in it as the package is built and used."),
    "eol": Word("Out of support", "The vendor no longer supports this package or release: no fix will come."),
    # where nothing can be said
    "third-party": Word(
        "From elsewhere",
        "A package of that name is installed, but not from the distribution, whose feed says nothing of it.",
    ),
    "no-data": Word("No data", "No feed about the host's release has been read, so it may well be exposed."),
    "unscanned": Word("Never scanned", "No scan of the host has come to a result, so what it has is not known."),
    # what only a feed says; a place says how the host gets it
    "fixed": Word("Fix published", "The vendor has published a fix."),
}
"""For every page: the states of places, and the statuses of findings."""

STATES = tuple(WORDS)[:13]
UNJUDGED = ("third-party", "no-data", "unscanned")
COUNTED = ("fixed", "pro", "open", "undetermined", "unconfirmed")
"""The statuses that a list shows unless it is asked for others, and that its count counts."""
STATUSES = (*COUNTED, "no_dsa", "postponed", "ignored", "unimportant", "eol")

WAITS = {
    "phased": "It is being rolled out in phases and has not reached this host.",
    "kept back": "A plain upgrade keeps it back: it would install or remove other packages.",
    "excluded": "The package manager's configuration leaves it out.",
}
"""Why a plain upgrade would not install an update that the host could have."""
UNKNOWN_RELEASE = "Which release it is could not be read."
HELD = "An administrator holds the package at its version."


# --- the fleet --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Standing:
    """A snapshot that hosts stand on now, and how many do; without one: those that no scan knows anything of."""

    snapshot: int | None
    package_set: int | None
    distribution: str
    kernel: str
    package_manager: str
    hosts: int


def fleet(hosts: HostQuerySet) -> list[Standing]:
    numbers = dict(hosts.order_by().values_list("current_snapshot").annotate(hosts=Count("pk")))
    never = numbers.pop(None, 0)
    columns = ("pk", "package_set", "package_set__distribution", "package_set__kernel", "package_manager")
    rows = Snapshot.objects.order_by().filter(pk__one_of=numbers).values_list(*columns)
    known = [
        Standing(snapshot, package_set, distribution, kernel, manager, numbers[snapshot])
        for snapshot, package_set, distribution, kernel, manager in rows
    ]
    return [*known, Standing(None, None, "", "", "", never)] if never else known


def with_data(standings: Iterable[Standing]) -> set[str]:
    """The releases of these that a feed says anything about."""
    one_of_each = {standing.distribution: standing.package_set for standing in standings if standing.distribution}
    told = Exists(AffectedPackage.objects.filter(distribution=OuterRef("distribution")))
    sets = PackageSet.objects.filter(pk__in=[pk for pk in one_of_each.values() if pk is not None]).filter(told)
    return set(sets.values_list("distribution", flat=True))


class Installed(NamedTuple):
    """What lists need of an installed package."""

    package_set: int
    name: str
    architecture: str
    version: str
    source: str
    source_version: str
    module: str
    third_party: str
    package_version: int | None
    skipped: str


def installed_in(packages: QuerySet[Package]) -> list[Installed]:
    return [Installed(*values) for values in packages.values_list(*Installed._fields)]


def by_set(packages: Iterable[Installed]) -> dict[int, list[Installed]]:
    found: dict[int, list[Installed]] = defaultdict(list)
    for package in packages:
        found[package.package_set].append(package)
    return found


# --- a CVE ------------------------------------------------------------------------------------------


@dataclass
class Place:
    """A source package of a snapshot in which a CVE is, or may be; `state` is a key of WORDS."""

    state: str
    source: str
    names: list[str] = field(default_factory=list)  # of its binary packages
    versions: list[str] = field(default_factory=list)  # installed
    fixed_version: str = ""
    note: str = ""  # what is particular here
    findings: list[Finding] = field(default_factory=list)
    updates: list[Update] = field(default_factory=list)  # that fix it

    @property
    def word(self) -> Word:
        return WORDS[self.state]

    @property
    def installable(self) -> list[Update]:
        return [update for update in self.updates if update.command]

    def add(self, other: "Place") -> None:
        """What is so of another package of the same source, too."""
        self.names += [name for name in other.names if name not in self.names]
        self.versions += [version for version in other.versions if version not in self.versions]
        self.findings += other.findings
        known = {update.pk for update in self.updates}
        self.updates += [update for update in other.updates if update.pk not in known]


@dataclass
class Places:
    """Where a CVE is, by snapshot."""

    cve: str
    fleet: HostQuerySet  # the hosts that it is about
    standings: Sequence[Standing]
    of: Mapping[int, Sequence[Place]]
    said: Sequence[AffectedPackage]  # by the feeds about the fleet's releases, vulnerable hosts or not
    is_known: bool  # to a feed about packages, or to a package manager; whether a host is exposed or not

    @property
    def exposed(self) -> int:
        return self.number("")

    @property
    def unjudged(self) -> int:
        """Hosts of which it cannot be said, and that are not exposed by another package."""
        return self.counts["unjudged"]

    @property
    def names(self) -> set[str]:
        """Of the packages that it is in, binary and source."""
        return {name for places in self.of.values() for place in places for name in (*place.names, place.source)}

    def numbers(self, keys: Iterable[str]) -> list[tuple[str, int]]:
        """How many hosts are in these states; those without a host are left out."""
        return [(key, number) for key in keys if (number := self.number(key))]

    def number(self, state: str) -> int:
        return self.counts[state]

    @cached_property
    def counts(self) -> Counter[str]:
        """How many hosts are in each state, are exposed (""), and are only "unjudged"."""
        found: Counter[str] = Counter()
        for standing in self.standings:
            snapshot = standing.snapshot
            states = {"unscanned"} if snapshot is None else {place.state for place in self.of.get(snapshot, ())}
            if not states.isdisjoint(STATES):
                states.add("")
            elif not states.isdisjoint(UNJUDGED):
                states.add("unjudged")
            for state in states:
                found[state] += standing.hosts
        return found

    def shown(self, snapshot: int | None, state: str) -> list[Place]:
        """The places of a snapshot in this state; without one, those that are exposed."""
        if snapshot is None:
            return [Place("unscanned", "")] if state == "unscanned" else []
        wanted = (state,) if state else STATES
        return [place for place in self.of.get(snapshot, ()) if place.state in wanted]

    def hosts(self, state: str = "", q: str = "") -> QuerySet[Host]:
        """The hosts that have places in this state, those with most to do first. `q`: part of a host, tag or package.

        `number` counts exactly these.
        """
        ranks: dict[int, list[int]] = defaultdict(list)
        searched = []
        for snapshot in (standing.snapshot for standing in self.standings if standing.snapshot):
            if places := self.shown(snapshot, state):
                ranks[min(STATES.index(each.state) if each.state in STATES else 0 for each in places)].append(snapshot)
                if q and any(q.lower() in name.lower() for each in places for name in (*each.names, each.source)):
                    searched.append(snapshot)
        found = Q(current_snapshot__one_of=[snapshot for some in ranks.values() for snapshot in some])
        hosts = self.fleet.filter(Q(current_snapshot=None) if state == "unscanned" else found)
        if q:
            tagged = Host.objects.filter(tags__name__icontains=q).values("pk")
            hosts = hosts.filter(Q(name__icontains=q) | Q(pk__in=tagged) | Q(current_snapshot__one_of=searched))
        cases = [When(current_snapshot__one_of=some, then=Value(rank)) for rank, some in ranks.items()]
        hosts = hosts.annotate(rank=Case(*cases, default=Value(0))) if cases else hosts.annotate(rank=Value(0))
        return hosts.order_by("rank", "name")


def of_cve(cve: str, hosts: HostQuerySet | None = None) -> Places:
    """Where it is on these hosts, or else on all that are in use. An advisory that names no CVE goes by its own id."""
    hosts = Host.objects.active() if hosts is None else hosts
    standings = fleet(hosts)
    stand = {standing.package_set: standing for standing in standings if standing.package_set}
    findings = list(stated(cve).select_related("package_version"))
    said = list(said_of(cve, {standing.distribution for standing in standings}))
    by_version: dict[int, list[Finding]] = defaultdict(list)
    for finding in findings:
        by_version[finding.package_version_id].append(finding)
    with_it = Package.objects.filter(package_set__one_of=stand, package_version__one_of=by_version)
    installed = by_set(installed_in(with_it))
    updates = updates_about(cve, standings, [package for packages in installed.values() for package in packages])
    kernels = idle_kernels(
        {key for key, packages in installed.items() if any(is_kernel(each, stand[key]) for each in packages)}
    )
    told = with_data(standings)
    elsewhere = from_elsewhere(names_of(findings, said), stand)
    of: dict[int, list[Place]] = {}
    for standing in standings:
        if standing.snapshot is None or standing.package_set is None:
            continue
        packages = installed.get(standing.package_set, [])
        waiting = updates.get(standing.snapshot, [])
        idle = kernels.get(standing.package_set, ())
        places = judged(standing, packages, by_version, waiting, idle) if packages else []
        places += only_named(cve, places, waiting)
        if standing.distribution in told:
            places += elsewhere.get(standing.package_set, [])
        elif not places:
            places.append(Place("no-data", "", note=standing.distribution or UNKNOWN_RELEASE))
        if places:
            of[standing.snapshot] = places
    named = any(place.updates for places in of.values() for place in places)
    return Places(cve, hosts, standings, of, said, bool(installed or said or named))


def stated(cve: str) -> QuerySet[Finding]:
    return Finding.objects.filter(cve=cve) if CVE.fullmatch(cve) else Finding.objects.filter(cve="", advisory=cve)


def said_of(cve: str, distributions: Iterable[str]) -> QuerySet[AffectedPackage]:
    """What the feeds say of it in these releases, whoever has the packages."""
    wanted = {release for distribution in distributions if distribution for release in releases(distribution)}
    rows = AffectedPackage.objects.filter(distribution__in=sorted(wanted))
    rows = rows.filter(cves__lists=cve) if CVE.fullmatch(cve) else rows.filter(advisory=cve)
    return rows.order_by("distribution", "name", "fixed_key", "pk")


def names_of(findings: Iterable[Finding], said: Iterable[AffectedPackage]) -> set[str]:
    """Under which the feeds know the packages that it is in."""
    versions = {finding.package_version for finding in findings}
    found = {name for version in versions for name in (version.name, version.source) if name}
    return found.union(row.name for row in said)


def updates_about(cve: str, standings: Iterable[Standing], packages: Iterable[Installed]) -> dict[int, list[Update]]:
    """By snapshot: the updates of these packages, of what asks for a kernel, and those that name the CVE."""
    wanted = Q(name__in=sorted({package.name for package in packages})) | Q(cves__lists=cve)
    if any(package.name.startswith("linux-image-") for package in packages):
        wanted |= Q(name__startswith="linux-")
    of_snapshot: dict[int, list[Update]] = defaultdict(list)
    current = Update.objects.filter(snapshot__one_of=[each.snapshot for each in standings if each.snapshot])
    for update in current.filter(wanted):
        of_snapshot[update.snapshot_id].append(update)
    return of_snapshot


def idle_kernels(package_sets: Collection[int]) -> dict[int, list[Installed]]:
    """By package set: the kernels that are installed there but do not run."""
    idle = Package.objects.filter(package_set__one_of=package_sets, skipped__startswith=ANOTHER_RUNS)
    return by_set(installed_in(idle))


def from_elsewhere(names: Collection[str], package_sets: Collection[int]) -> dict[int, list[Place]]:
    """By package set: packages of these names that do not come from the distribution."""
    found: dict[int, dict[str, Place]] = defaultdict(dict)
    if not names:
        return {}
    called = Q(name__in=sorted(names)) | Q(source__in=sorted(names))
    for package in installed_in(
        Package.objects.filter(called, package_set__one_of=package_sets).exclude(third_party="")
    ):
        source = package.source or package.name
        note = f"It comes from {package.third_party}."
        place = Place("third-party", source, [package.name], [package.version], note=note)
        found[package.package_set].setdefault(source, place).add(place)
    return {package_set: list(places.values()) for package_set, places in found.items()}


# --- what can be done at a place --------------------------------------------------------------------


def judged(
    standing: Standing,
    packages: Iterable[Installed],
    findings: Mapping[int, Sequence[Finding]],
    updates: Sequence[Update],
    kernels: Sequence[Installed],
) -> list[Place]:
    """The places of a snapshot, by its packages and the findings of their versions."""
    by_version: dict[int, list[Installed]] = defaultdict(list)
    for package in packages:
        if package.package_version is not None:
            by_version[package.package_version].append(package)
    places: dict[tuple[str, str, str, str], Place] = {}
    for version, of_version in by_version.items():
        for finding in findings.get(version, ()):
            place = judge(standing, finding, of_version, updates, kernels)
            key = place.source, place.state, place.fixed_version, place.note
            if key in places:
                places[key].add(place)
            else:
                places[key] = place
    return sorted(places.values(), key=lambda place: (STATES.index(place.state), place.source))


def judge(
    standing: Standing,
    finding: Finding,
    packages: Sequence[Installed],
    updates: Sequence[Update],
    kernels: Sequence[Installed],
) -> Place:
    """What can be done about a finding, with the packages of its version that are installed."""
    key = version_key(standing.distribution)
    called = {(package.name, package.architecture) for package in packages}
    runs = any(is_kernel(package, standing) for package in packages)
    reaching = [
        update
        for update in updates
        if ((update.name, update.architecture) in called or (runs and asks_for_kernel(update.name)))
        and (names(update, finding) or is_fixed_by(update, finding, key))
    ]
    place = Place(
        finding.status,
        packages[0].source or packages[0].name,
        sorted({package.name for package in packages}),
        sorted({package.version for package in packages}),
        finding.fixed_version,
        findings=[finding],
    )
    waiting = [update for update in reaching if update.blocked != "pinned"]
    idle = next((each for each in kernels if runs and has_fix(each, finding, standing.distribution)), None)
    if waiting:
        place.state, place.updates, place.note = "now", waiting, why_not_plain(waiting)
    elif idle:
        place.state = "reboot"
        place.note = f"{idle.name} {idle.version} is installed and has the fix, but {standing.kernel} runs."
    elif reaching or finding.status in (FIXED, PRO):
        only_pro = all(is_of_pro(update) for update in reaching) if reaching else finding.status == PRO
        place.state = "pro" if only_pro or finding.status == PRO else "pinned" if reaching else "not-offered"
        place.updates = reaching
    else:
        place.note = finding.reason
    return place


def only_named(cve: str, places: Sequence[Place], updates: Sequence[Update]) -> list[Place]:
    """The places of which no feed tells, but an update that names the CVE: that is how Fedora has them."""
    covered = {update.pk for place in places for update in place.updates}
    found: dict[tuple[str, str, str], Place] = {}
    for update in updates:
        if cve not in update.cves or update.pk in covered:
            continue
        state = "now" if update.blocked != "pinned" else "pro" if is_of_pro(update) else "pinned"
        source, version = update.source or update.name, update.available_version
        place = Place(state, source, [update.name], [update.installed_version], version, updates=[update])
        if state == "now":
            place.note = why_not_plain([update])
        found.setdefault((source, state, version), place).add(place)
    return list(found.values())


def names(update: Update, finding: Finding) -> bool:
    """Whether the package manager itself says that the update is about what was found."""
    return finding.cve in update.cves if finding.cve else finding.advisory in update.advisories


def why_not_plain(updates: Iterable[Update]) -> str:
    """Why a plain upgrade would leave these out; empty if it would not."""
    held = [HELD] if any(update.held for update in updates) else []
    return " ".join(dict.fromkeys([*held, *(WAITS[each.blocked] for each in updates if each.blocked in WAITS)]))


def is_of_pro(update: Update) -> bool:
    return bool(update.origins) and str(update.origins[0]).startswith(ESM)


def is_kernel(package: Installed, standing: Standing) -> bool:
    return release_of(package, standing.package_manager) is not None


def has_fix(package: Installed, finding: Finding, distribution: str) -> bool:
    """Whether an installed package, of another version than the finding's, is one that it is fixed in."""
    key = version_key(distribution)
    if key is None or finding.fixed_key is None:
        return False
    try:
        item = asked_for(item_of(package), distribution)
        of_finding = finding.package_version
        return item.name == of_finding.name and key(item.version) >= bytes(finding.fixed_key)
    except (UnknownDistribution, ValueError):
        return False


def item_of(package: Installed) -> Item:
    return Item(
        package.name, package.version, package.architecture, package.source, package.source_version, package.module
    )


# --- all that is found in some packages -------------------------------------------------------------


@dataclass
class Found:
    """A CVE in a source package of a release."""

    cve: Cve
    source: str
    release: str
    status: str
    fixed_version: str
    pks: list[int] = field(default_factory=list)  # of its findings
    names: list[str] = field(default_factory=list)  # of the binary packages
    versions: list[str] = field(default_factory=list)  # installed
    place: Place | None = None  # what can be done on the host, where it is about one
    accepted: AcceptedRisk | None = None  # that holds there

    @property
    def word(self) -> Word:
        return self.place.word if self.place else WORDS[self.status]

    @property
    def state(self) -> str:
        return self.place.state if self.place else self.status

    @property
    def order(self) -> tuple[Any, ...]:
        exploited, likely, severity, epss = urgency.order(self.cve)
        return exploited, likely, severity, STATUSES.index(self.status), epss, self.cve.id, self.source, self.release


def status_counts(findings: QuerySet[Finding]) -> dict[str, int]:
    """How many CVEs have which status. One that has two, in two packages, counts in both."""
    grouped = findings.order_by().values("status").annotate(number=Count(STATED, distinct=True))
    numbers = {row["status"]: row["number"] for row in grouped}
    return {status: numbers[status] for status in STATUSES if status in numbers}


class Stated(NamedTuple):
    """What lists need of a finding."""

    pk: int
    package_version: int
    cve: str
    advisory: str
    status: str
    severity: str
    fixed_version: str


def found(findings: QuerySet[Finding], packages: Iterable[Installed]) -> list[Found]:
    """What is found in these packages, a row for each CVE and source package, the most urgent first."""
    columns = (*Stated._fields, "package_version__distribution")
    rows = [(Stated(*values), release) for *values, release in findings.values_list(*columns)]
    details = exposure.known({finding.cve for finding, _ in rows})
    installed: dict[int | None, set[tuple[str, str, str]]] = defaultdict(set)  # each once, however many hosts have it
    for package in packages:
        installed[package.package_version].add((package.source or package.name, package.name, package.version))
    grouped: dict[tuple[str, ...], Found] = {}
    for finding, release in rows:
        cve = exposure.rated(finding, details)
        for source, name, version in sorted(installed[finding.package_version]):
            key = cve.id, source, release, finding.status, finding.fixed_version
            row = grouped.get(key)
            if row is None:
                row = grouped[key] = Found(cve, *key[1:])
            elif row.cve != cve:
                row.cve = urgency.most_urgent([row.cve, cve]) or cve
            add_new(row.pks, finding.pk)
            add_new(row.names, name)
            add_new(row.versions, version)
    return sorted(grouped.values(), key=lambda row: row.order)


def only_in_updates(updates: Iterable[Update], findings: QuerySet[Finding]) -> list[Cve]:
    """The CVEs that these updates name and no finding does, the most urgent first."""
    named = {cve for update in updates for cve in update.cves}
    known = set(findings.filter(cve__one_of=named).values_list("cve", flat=True))
    return sorted(exposure.known(named - known).values(), key=lambda cve: (urgency.order(cve), cve.id))


def add_new(values: list[Any], value: Any) -> None:
    if value not in values:
        values.append(value)


def findings_of(scan: Scan) -> QuerySet[Finding]:
    """What the feeds say today of what a scan found installed."""
    versions = scan.packages.order_by().exclude(package_version=None).values("package_version")
    return Finding.objects.filter(package_version__in=versions)


class Locator:
    """What can be done on the host of a scan about what was found there. A fixed number of queries."""

    def __init__(self, scan: Scan, findings: Collection[Finding], installed: Iterable[Installed]) -> None:
        """`installed`: all packages of the scan."""
        assert scan.snapshot  # noqa: S101 - a scan with counts has one
        of = scan.snapshot.package_set
        self.standing = Standing(scan.snapshot.pk, of.pk, of.distribution, of.kernel, scan.package_manager, 1)
        self.packages: dict[int | None, list[Installed]] = defaultdict(list)
        self.kernels: list[Installed] = []  # that are installed but do not run
        versions = {finding.package_version_id for finding in findings}
        wanted = [each for each in installed if each.package_version in versions or each.skipped]
        for package in sorted(wanted, key=lambda each: (each.name, each.architecture, each.version)):
            if package.package_version in versions:
                self.packages[package.package_version].append(package)
            elif package.skipped.startswith(ANOTHER_RUNS):
                self.kernels.append(package)
        self.updates: dict[str, list[Update]] = defaultdict(list)
        for update in scan.updates:
            self.updates[update.name].append(update)
        self.of_kernels = [name for name in self.updates if name.startswith("linux-")]
        if self.kernels:  # whose versions are compared with what was found in the one that runs
            prefetch_related_objects(list(findings), "package_version")

    def place(self, row: Found, findings: Iterable[Finding]) -> Place | None:
        """`findings`: those of the row."""
        by_version: dict[int, list[Finding]] = defaultdict(list)
        for finding in findings:
            by_version[finding.package_version_id].append(finding)
        packages = [package for version in by_version for package in self.packages[version]]
        runs = any(is_kernel(package, self.standing) for package in packages)
        names = {package.name for package in packages}.union(self.of_kernels if runs else ())
        updates = [update for name in sorted(names & self.updates.keys()) for update in self.updates[name]]
        places = judged(self.standing, packages, by_version, updates, self.kernels if runs else ())
        return next((place for place in places if place.source == row.source), None)


def locate(scan: Scan, rows: Sequence[Found], installed: Iterable[Installed]) -> None:
    """Say of each row what can be done about it on the scan's host, and whether somebody has accepted it there."""
    risks = AcceptedRisk.objects.about(scan.host)
    wanted = Finding.objects.filter(pk__one_of=[pk for row in rows for pk in row.pks])
    findings = {finding.pk: finding for finding in wanted}
    locator = Locator(scan, list(findings.values()), installed) if findings else None
    for row in rows:
        row.accepted = next((risk for risk in risks if risk.covers(row.cve.id, (*row.names, row.source))), None)
        row.place = locator.place(row, [findings[pk] for pk in row.pks if pk in findings]) if locator else None


# --- a package --------------------------------------------------------------------------------------


@dataclass
class Version:
    """A version of a package, in a release and from one origin, and who has it."""

    release: str
    third_party: str  # where it comes from, if not the distribution
    version: str
    names: list[str] = field(default_factory=list)  # of the binary packages
    modules: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)  # why its vulnerabilities are not looked up
    package_sets: set[int] = field(default_factory=set)
    hosts: int = 0


@dataclass
class PackagePlaces:
    """Where a package is: a binary one, or all those of a source package."""

    name: str
    fleet: HostQuerySet  # the hosts that it is about
    standings: Sequence[Standing]
    packages: Sequence[Installed]
    versions: Sequence[Version]
    updates: Mapping[int, Sequence[Update]]  # by snapshot
    told: Collection[str]  # the releases that a feed says anything about

    @property
    def names(self) -> list[str]:
        return sorted({package.name for package in self.packages})

    @property
    def sources(self) -> list[str]:
        """The source packages that it is built from, or that it is."""
        return sorted({package.source or package.name for package in self.packages})

    @property
    def package_versions(self) -> list[int]:
        return sorted({each.package_version for each in self.packages if each.package_version is not None})

    @property
    def is_told(self) -> bool:
        return any(version.release in self.told for version in self.versions)

    @property
    def untold(self) -> list[str]:
        """The releases that it is installed on, and that no feed says anything about."""
        return sorted({version.release for version in self.versions}.difference(self.told))

    @property
    def unscanned(self) -> int:
        return sum(standing.hosts for standing in self.standings if standing.snapshot is None)

    @property
    def everywhere(self) -> int:
        """How many hosts have it."""
        sets = {package.package_set for package in self.packages}
        return sum(standing.hosts for standing in self.standings if standing.package_set in sets)

    @cached_property
    def by_snapshot(self) -> Mapping[int, Sequence[Installed]]:
        of_set = by_set(self.packages)
        pairs = [(each.snapshot, of_set.get(each.package_set or 0, [])) for each in self.standings]
        return {snapshot: packages for snapshot, packages in pairs if snapshot is not None}

    def hosts(self, versions: Iterable[Version], state: str = "", q: str = "") -> QuerySet[Host]:
        """Who has one of these; with `state`: for whom a "security" update of the package waits, or any "update"."""
        sets = {package_set for version in versions for package_set in version.package_sets}
        snapshots = [standing.snapshot for standing in self.standings if standing.package_set in sets]
        if state:
            waiting = self.waiting(state)
            snapshots = [each for each in snapshots if each in waiting]
        hosts = self.fleet.filter(current_snapshot__one_of=snapshots)
        if q:
            tagged = Host.objects.filter(tags__name__icontains=q).values("pk")
            hosts = hosts.filter(Q(name__icontains=q) | Q(pk__in=tagged))
        return hosts.order_by("name")

    def waiting(self, state: str) -> set[int]:
        """The snapshots where such an update waits, as the counts of a scan count it."""
        return {
            snapshot
            for snapshot, updates in self.updates.items()
            if any(each.blocked != "pinned" and (state == "update" or each.security) for each in updates)
        }

    def number(self, state: str) -> int:
        waiting = self.waiting(state)
        return sum(standing.hosts for standing in self.standings if standing.snapshot in waiting)


def of_package(name: str, hosts: HostQuerySet | None = None) -> PackagePlaces:
    """Where it is on these hosts, or else on all that are in use."""
    hosts = Host.objects.active() if hosts is None else hosts
    standings = fleet(hosts)
    stand: dict[int, list[Standing]] = defaultdict(list)
    for standing in standings:
        if standing.package_set is not None:
            stand[standing.package_set].append(standing)
    rows = installed_as(name, {standing.distribution for standing in standings})
    packages = installed_in(rows.filter(package_set__one_of=stand))
    grouped: dict[tuple[str, str, str], Version] = {}
    for package in packages:
        key = stand[package.package_set][0].distribution, package.third_party, package.version
        version = grouped.setdefault(key, Version(*key))
        add_new(version.names, package.name)
        for values, value in ((version.modules, package.module), (version.skipped, package.skipped)):
            if value:
                add_new(values, value)
        version.package_sets.add(package.package_set)
    for version in grouped.values():
        version.hosts = sum(standing.hosts for pk in version.package_sets for standing in stand[pk])
    versions = sorted(grouped.values(), key=lambda each: sort_key(each.release, each.version), reverse=True)
    versions.sort(key=lambda each: (each.release, each.third_party))
    with_it = {package.package_set for package in packages}
    snapshots = [each.snapshot for each in standings if each.package_set in with_it and each.snapshot]
    updates: dict[int, list[Update]] = defaultdict(list)
    called = sorted({package.name for package in packages})
    for update in Update.objects.filter(snapshot__one_of=snapshots, name__in=called):
        updates[update.snapshot_id].append(update)
    told = with_data(standings) if packages else set()
    return PackagePlaces(name, hosts, standings, packages, versions, updates, told)


def installed_as(name: str, distributions: Iterable[str]) -> QuerySet[Package]:
    """The packages of that name, and those built from the source package of that name, by the feeds' name as well:
    linux-signed-amd64 is linux to them."""
    versions = PackageVersion.objects.filter(distribution__in=sorted(distributions), name=name)
    known_as = Q(package_version__in=list(versions.values_list("pk", flat=True)))
    return Package.objects.filter(Q(name=name) | Q(source=name) | known_as).order_by(
        "name", "architecture", "version", "pk"
    )


def sort_key(release: str, version: str) -> tuple[bytes, str]:
    key = version_key(release)
    try:
        return (key(version) if key else b"", version)
    except ValueError:
        return b"", version
