"""Hosts as lists show them: on the page of all hosts, in the API, and in files."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db.models import OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce

from scanner import risk
from scanner.models import Host, OpenUpdate, PackageSet, Scan, Snapshot, Tag
from scanner.models.host import HostQuerySet
from scanner.models.scan import Waiting
from scanner.vulnerabilities import exposure

LEVELS: Mapping[str, risk.Level] = {
    level.severity: level
    for level in (*(level for _, level in risk.RISK_LEVELS[:-1]), risk.UNKNOWN, risk.RISK_LEVELS[-1][1])
}
"""The worst first: what is not known may be bad."""


@dataclass(slots=True)
class HostRow:
    """A host, what its newest scan with counts says, and what came after it.

    Not a host with its scan, snapshot and tags: making these took longer than all that a list does with them.
    """

    pk: int
    name: str
    scheduled: bool
    archived_at: datetime | None
    severity: str  # of its level now
    last: int | None  # the scan that ended last, whatever came of it
    scan: int | None  # the newest with counts; without one all up to `tally` is None or empty
    state: str
    date: datetime | None
    package_manager: str
    distribution: str
    security_updates: int | None
    total_updates: int | None
    total_packages: int | None
    reboot_required: bool | None
    tally: Mapping[str, int] | None
    last_state: str | None = None
    active: int | None = None
    active_state: str | None = None
    tags: Sequence[str] = ()
    waiting: Waiting | None = None

    @property
    def level(self) -> risk.Level:
        return LEVELS[self.severity]

    @property
    def known_exploited(self) -> int | None:
        """How many CVEs in what is installed are known to be exploited; None where no feed tells."""
        return None if self.tally is None else self.tally.get("exploited", 0)


def standing_on(hosts: HostQuerySet, package_sets: QuerySet[PackageSet]) -> HostQuerySet:
    """Those on which this is installed. The tally of a set is looked at once, and not once for each of its hosts."""
    return hosts.filter(current_snapshot__in=Snapshot.objects.filter(package_set__in=package_sets).values("pk"))


def host_rows(pks: Sequence[int], now: datetime) -> list[HostRow]:
    """In this order; hosts that are gone meanwhile are left out. Five queries."""
    ended = Scan.objects.ended().filter(host=OuterRef("pk")).values("pk")[:1]
    date = Coalesce("current__finished_at", "current__started_at", "current__created_at")
    hosts = Host.objects.filter(pk__in=pks).order_by().with_severity(now).annotate(last=Subquery(ended), date=date)
    values = hosts.values_list(
        *("pk", "name", "scheduled", "archived_at", "severity", "last", "current", "current_state", "date"),
        *("current_package_manager", "current_distribution", "current_security_updates", "current_total_updates"),
        *("current__total_packages", "current__reboot_required", "current_snapshot__package_set__tally"),
    )
    rows = {row.pk: row for row in (HostRow(*each) for each in values)}
    for pk, number, state in Scan.objects.active().filter(host__in=pks).values_list("host", "pk", "state"):
        rows[pk].active, rows[pk].active_state = number, state
    ended_later = [row.last for row in rows.values() if row.last and row.last != row.scan]
    states = dict(Scan.objects.filter(pk__in=ended_later).values_list("pk", "state"))
    waiting = OpenUpdate.objects.filter(host__in=pks).of_each_host(now - exposure.target())
    tags: dict[int, list[str]] = defaultdict(list)
    for pk, tag in Tag.objects.filter(hosts__in=pks).order_by("name").values_list("hosts", "name"):
        tags[pk].append(tag)
    for row in rows.values():
        row.last_state = states.get(row.last) if row.last in states else row.state or None
        row.waiting = waiting.get(row.pk)
        row.tags = tags[row.pk]
    return [rows[pk] for pk in pks if pk in rows]
