"""What findings mean for a host: which CVEs an update fixes, and what to install first and why."""

import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import cache
from typing import Any, Protocol

from django.utils import timezone

from scanner import run_time
from scanner.models import (
    AcceptedRisk,
    ExploitScore,
    Finding,
    KnownExploited,
    Package,
    Scan,
    Vulnerability,
)
from scanner.vulnerabilities import urgency
from scanner.vulnerabilities.kernels import asks_for_kernel
from scanner.vulnerabilities.matching import BINARY_REBUILD, KERNEL_PARTS, PRO, UnknownDistribution, family
from scanner.vulnerabilities.urgency import Cve

# linux-generic 5.15.0.105.102 asks for linux 5.15.0-105.115: of the kernel's version it knows the ABI's number only
UBUNTU_META = re.compile(r"^(\d+\.\d+\.\d+)\.(\d+)\.\d+")
FIXED = "fixed"


@dataclass
class Fix:
    """A waiting update, and what it is good for."""

    update: Any  # Update, or what a package manager has just found
    cves: list[Cve] = field(default_factory=list)  # that it fixes, the most urgent first
    accepted: dict[str, AcceptedRisk] = field(default_factory=dict)  # by CVE, or by "" for all that the package has
    since: datetime | None = None  # when it first became available to this host
    published: datetime | None = None  # when the fix was published, where that is known
    advisories: list[tuple[str, str]] = field(default_factory=list)  # id and address
    catalog: Callable[[], bool] = bool  # answers whether CISA's catalog of exploited CVEs has been read

    @property
    def pressing(self) -> Cve | None:
        """The most urgent CVE whose risk nobody has accepted; of an update without one, what its vendor rates."""
        open_ones = [cve for cve in self.cves if cve.id not in self.accepted]
        if open_ones:
            return urgency.most_urgent(open_ones)
        severity = self.update.severity.lower()
        if not self.cves and severity:
            return Cve(self.update.advisories[0] if self.update.advisories else "It", severity, "the vendor")
        return None

    @property
    def rank(self) -> int | None:
        """The worst severity, as a number of urgency.SCALE: the vendor's for the update, or of a CVE that it fixes."""
        ranks = [urgency.rank(word) for word in (self.update.severity, *(cve.severity for cve in self.cves))]
        return max((number for number in ranks if number is not None), default=None)

    @property
    def known_exploited(self) -> bool | None:
        """Whether a CVE that it fixes is, whose risk nobody has accepted; None where nobody would have told."""
        if any(cve.exploited for cve in self.cves if cve.id not in self.accepted) and not self.is_accepted:
            return True
        return False if self.cves and self.catalog() else None

    @property
    def epss(self) -> float | None:
        return max((cve.epss for cve in self.cves if cve.epss is not None), default=None)

    @property
    def is_accepted(self) -> bool:
        """Whether somebody has accepted the risk of all that it fixes."""
        return "" in self.accepted or (bool(self.cves) and all(cve.id in self.accepted for cve in self.cves))

    @property
    def acceptance(self) -> AcceptedRisk | None:
        return next(iter(self.accepted.values()), None)

    @property
    def late(self) -> bool:
        return not self.is_accepted and is_late(self.since)

    @property
    def why(self) -> str:
        """In one sentence: what makes it as urgent as it is."""
        if self.is_accepted and self.acceptance:
            return f"{self.acceptance.accepted_by} has accepted the risk until {urgency.day(self.acceptance.until)}."
        if self.pressing is None:
            return self.update.reason
        more = len(self.cves) - 1
        others = f", and {more} more CVE{'s' if more > 1 else ''}" if more > 0 else ""
        return f"{urgency.why(self.pressing)}{others}."

    @property
    def order(self) -> tuple[Any, ...]:
        """Sorts what to install first to the front."""
        return self.is_accepted, *urgency.order(self.pressing), self.since or timezone.now(), self.update.name


@dataclass(frozen=True)
class Standing:
    """What the waiting security updates of a host amount to. None is unknown, and never zero."""

    cves: tuple[str, ...] | None
    max_severity: int | None  # a number of urgency.SCALE
    max_epss: float | None
    known_exploited: bool | None  # leaves out accepted risks, and so do `late` and `first`
    oldest_hours: float | None
    late: int | None
    first: Fix | None


UNKNOWN = Standing(None, None, None, None, None, None, None)


def standing(scan: Scan, ranked: Sequence[Fix]) -> Standing:
    """`ranked`: all of the scan's fixes."""
    if scan.security_updates is None:
        return UNKNOWN
    if not ranked:
        return Standing((), 0, 0.0, False, 0.0, 0, None)
    severities = [row.rank for row in ranked if row.rank is not None]
    scores = [row.epss for row in ranked if row.epss is not None]
    ages = [(timezone.now() - row.since).total_seconds() / 3600 for row in ranked if row.since]
    return Standing(
        tuple(dict.fromkeys(cve.id for row in ranked for cve in row.cves)),
        max(severities, default=None),
        max(scores, default=None),
        any_of(row.known_exploited for row in ranked),
        max(ages, default=None),
        sum(row.late for row in ranked),
        None if ranked[0].is_accepted else ranked[0],
    )


def any_of(answers: Iterable[bool | None]) -> bool | None:
    """Unknown where no answer is yes, and one is not known."""
    given = set(answers)
    return True if True in given else None if None in given else False


def is_late(since: datetime | None) -> bool:
    return since is not None and timezone.now() - since > target()


def target() -> timedelta:
    """Within which a security update should be installed."""
    return timedelta(hours=run_time.value("SECURITY_TARGET_HOURS"))


# --- what is known of CVEs --------------------------------------------------------------------------


def known(cves: Collection[str]) -> dict[str, Cve]:
    """What KEV, EPSS and the feeds say of these CVEs; every one of them is in the answer."""
    found: dict[str, dict[str, Any]] = {cve: {"id": cve} for cve in dict.fromkeys(cves) if cve}
    rated = Vulnerability.objects.filter(pk__one_of=found).exclude(severity="")
    for cve, severity, vector in rated.values_list("cve", "severity", "cvss_vector"):
        found[cve] |= {"severity": severity, "by": "CVSS" if vector else "a feed"}
    scored = ExploitScore.objects.filter(pk__one_of=found)
    for cve, epss, percentile in scored.values_list("cve", "epss", "percentile"):
        found[cve] |= {"epss": epss, "percentile": percentile}
    exploited = KnownExploited.objects.filter(pk__one_of=found)
    for cve, added, due, ransomware in exploited.values_list("cve", "added", "due", "ransomware"):
        found[cve] |= {"exploited": added, "due": due, "ransomware": ransomware}
    return {cve: Cve(**fields) for cve, fields in found.items()}


class Rated(Protocol):
    """A finding, of whatever kind."""

    @property
    def cve(self) -> str: ...
    @property
    def advisory(self) -> str: ...
    @property
    def severity(self) -> str: ...


def rated(finding: Rated, details: Mapping[str, Cve]) -> Cve:
    """A finding's CVE, by the vendor's word for this package where there is one."""
    cve = details.get(finding.cve) or Cve(finding.cve or finding.advisory)
    return replace(cve, severity=finding.severity, by="the vendor") if finding.severity else cve


# --- what updates fix -------------------------------------------------------------------------------


def fixes(scan: Scan, updates: Iterable[Any] | None = None) -> list[Fix]:
    """The security updates of a scan that the host would install, what to install first in front.

    `updates`: those of a scan that is just being stored, else the stored ones.
    """
    chosen = list(scan.updates.security() if updates is None else (update for update in updates if update.security))
    found = findings_by_package(scan, chosen)
    cves = {finding.cve for rows in found.values() for finding in rows} | {cve for each in chosen for cve in each.cves}
    details = known(cves)
    since = {(row.name, row.architecture): row.since for row in scan.host.open_updates.all()} if scan.host.pk else {}
    risks = AcceptedRisk.objects.about(scan.host) if scan.host.pk else []
    key = version_key(scan.distribution)
    catalog = cache(KnownExploited.objects.exists)  # asked once, if anybody wants to know
    rows = [
        fix(update, found.get((update.name, update.architecture), ()), details, key, since=since, risks=risks)
        for update in chosen
    ]
    return sorted((replace(row, catalog=catalog) for row in rows), key=lambda row: row.order)


def identity(update: Any) -> tuple[str, str, str]:
    """Of an update within a scan: a package may have two, one of which a pin keeps away."""
    return update.name, update.architecture, update.available_version


def fix(
    update: Any,
    findings: Iterable[Finding],
    details: Mapping[str, Cve],
    key: Any,
    *,
    since: Mapping[tuple[str, str], datetime],
    risks: Sequence[AcceptedRisk],
) -> Fix:
    fixed = [finding for finding in findings if is_fixed_by(update, finding, key)]
    by_id = {cve.id: cve for cve in (rated(finding, details) for finding in fixed)}
    for cve in update.cves:
        vendors = replace(details[cve], severity=update.severity.lower(), by="the vendor") if update.severity else None
        by_id.setdefault(cve, vendors or details[cve])
    cves = sorted(by_id.values(), key=lambda cve: (urgency.order(cve), cve.id))
    names = (update.name, update.source, KERNEL_PARTS.sub("linux", update.source))
    accepted = {cve.id: risk for cve in cves for risk in risks if risk.covers(cve.id, names)}
    for risk in risks:
        if not risk.cve and risk.package in names:
            accepted[""] = risk
    advisories = {finding.advisory: finding.url for finding in fixed}
    dates = [finding.published for finding in fixed if finding.published]
    return Fix(
        update,
        cves,
        accepted,
        since.get((update.name, update.architecture)),
        update.published or min(dates, default=None),
        [*((advisory, "") for advisory in update.advisories if advisory not in advisories), *advisories.items()],
    )


def findings_by_package(scan: Scan, updates: Sequence[Any]) -> dict[tuple[str, str], list[Finding]]:
    """By name and architecture of the updates: what there is a fix for in what is installed now.

    What asks for a kernel, such as linux-image-amd64, has the findings of the kernel that runs.
    """
    if scan.snapshot is None or not updates:
        return {}
    packages = Package.objects.filter(package_set=scan.snapshot.package_set_id).exclude(package_version=None)
    names = {update.name for update in updates}
    versions: dict[tuple[str, str], list[int]] = defaultdict(list)
    named = packages.filter(name__one_of=names)
    for name, architecture, pk in named.values_list("name", "architecture", "package_version"):
        versions[name, architecture].append(pk)
    kernels = [update for update in updates if asks_for_kernel(update.name)]
    if kernels:
        running = list(packages.filter(name__startswith="linux-image-").values_list("package_version", flat=True))
        for update in kernels:
            versions[update.name, update.architecture] += running
    wanted = {pk for pks in versions.values() for pk in pks}
    of_version: dict[int, list[Finding]] = defaultdict(list)
    for finding in Finding.objects.filter(package_version__one_of=wanted, status__in=(FIXED, PRO)):
        of_version[finding.package_version_id].append(finding)
    return {package: [finding for pk in pks for finding in of_version[pk]] for package, pks in versions.items()}


def version_key(distribution: str) -> Any:
    try:
        return family(distribution)[0]
    except UnknownDistribution:
        return None


def is_fixed_by(update: Any, finding: Finding, key: Any) -> bool:
    if key is None or finding.fixed_key is None:
        return False
    available = update.available_source_version or BINARY_REBUILD.sub("", update.available_version)
    if asks_for_kernel(update.name):
        available = UBUNTU_META.sub(r"\1-\2.9999", available)
    try:
        return bytes(finding.fixed_key) <= key(available)
    except ValueError:
        return False
