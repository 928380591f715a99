"""A stored scan as the exports want it: read from the database as they ask, in pieces."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import cached_property
from typing import Any

from django.conf import settings
from django.db.models import Q, QuerySet
from django.utils import timezone

from scanner import run_time
from scanner.document import PACKAGE_FIELDS, exposed, summary, update_shape
from scanner.exports.interface import Acceptance, Content, Package, Report, Row, Vulnerability
from scanner.models import AcceptedRisk, ExploitScore, Finding, KnownExploited, Scan
from scanner.models import Vulnerability as KnownCve
from scanner.vulnerabilities import feeds
from scanner.vulnerabilities.exposure import fixes, identity
from scanner.vulnerabilities.findings import what_is_missing
from scanner.vulnerabilities.places import (
    STATUSES,
    WORDS,
    Found,
    Locator,
    Place,
    findings_of,
    found,
    installed_in,
    only_in_updates,
    only_named,
    status_counts,
)
from scanner.vulnerabilities.urgency import SCALE, Cve

TREND = timedelta(days=30)
ROWS = 2_000  # that are fetched at once
DETAILS = ("package_version", "advisory", "url", "reason", "published")  # of findings, without their place


class StoredScan(Content):
    """A scan that has counts, with its host and snapshot at hand; a search keeps what a page with this search shows.

    `statuses`: of vulnerabilities; `located`: say what can be done about each on the host, which takes a closer look.
    """

    package_fields = PACKAGE_FIELDS

    def __init__(self, scan: Scan, q: str = "", statuses: Sequence[str] = STATUSES, *, located: bool = False) -> None:
        self.row = scan
        self.q = q
        self.statuses = statuses
        self.located = located
        self.ranked = fixes(scan)
        self.scan: Row = {**summary(scan), **exposed(scan, self.ranked)}
        self.made_at = timezone.now()
        self.link = f"{settings.BASE_URL}{scan.get_absolute_url()}"

    @cached_property
    def missing(self) -> str:
        """Why its vulnerabilities are not known; "" where they are."""
        return what_is_missing(self.row.distribution)

    # --- lists ------------------------------------------------------------------------------------

    def updates(self, part: str = "updates") -> Iterator[Row]:
        by_update = {identity(fix.update): fix for fix in self.ranked}
        rows = self.searched(self.row.updates, "name", "source", "reason")
        wanted = {"security": Q(security=True), "others": ~Q(security=True)}.get(part, Q())
        for update in rows.filter(wanted).iterator(chunk_size=ROWS):
            yield update_shape(update, by_update.get(identity(update)))

    def packages(self) -> Iterator[Package]:
        rows = self.searched(self.row.packages, "name", "source", "skipped")
        for values in rows.values_list(*Package._fields).iterator(chunk_size=ROWS):
            yield Package(*values)

    def searched(self, rows: Any, *names: str) -> Any:
        wanted = Q()
        for name in names if self.q else ():
            wanted |= Q(**{f"{name}__icontains": self.q})
        return rows.filter(wanted)

    def vulnerabilities(self) -> Iterator[Vulnerability]:
        yield from self.told(findings_of(self.row).filter(status__in=self.statuses))
        yield from self.named()

    def told(self, findings: QuerySet[Finding]) -> Iterator[Vulnerability]:
        """What the feed tells of what is installed. A fixed number of queries, however many there are."""
        if self.missing:
            return
        label = feeds.make(feeds.serving(self.row.distribution)).label
        installed = installed_in(self.row.packages.order_by())
        rows = found(findings, installed)
        details = {each.pk: each for each in (findings if self.located else findings.only(*DETAILS))}
        about = KnownCve.objects.filter(pk__in=findings.exclude(cve="").values("cve"))
        known = {cve: (vector, text) for cve, vector, text in about.values_list("cve", "cvss_vector", "summary")}
        locator = Locator(self.row, list(details.values()), installed) if self.located else None
        for row in rows:
            if self.matches(row):
                of_row = [details[pk] for pk in row.pks if pk in details]
                row.place = locator.place(row, of_row) if locator else None
                yield self.of_feed(row, of_row, *known.get(row.cve.id, ("", "")), label)

    def matches(self, row: Found) -> bool:
        return any(self.q.lower() in text.lower() for text in (row.cve.id, row.source, *row.names))

    def of_feed(self, row: Found, findings: Sequence[Finding], vector: str, text: str, label: str) -> Vulnerability:
        note = row.place.note if row.place else ""
        return Vulnerability(
            **self.rated(row.cve, (*row.names, row.source)),
            source=row.source,
            packages=tuple(row.names),
            versions=tuple(row.versions),
            status=row.status,
            state=row.word.label,
            means=f"{row.word.means} {note}".strip(),
            found_by=label,
            fixed_version=row.fixed_version,
            cvss_vector=vector,
            summary=text,
            advisories=tuple(dict.fromkeys((each.advisory, each.url) for each in findings)),
            reason=next((each.reason for each in findings if each.reason and each.reason != note), ""),
            published=min((each.published for each in findings if each.published), default=None),
            package_versions=tuple(dict.fromkeys(each.package_version_id for each in findings)),
        )

    def named(self) -> Iterator[Vulnerability]:
        """What only waiting updates tell: without a feed, that is all there is."""
        updates = list(self.row.updates.counted())
        for cve in only_in_updates(updates, findings_of(self.row)):
            for place in only_named(cve.id, (), updates):
                vulnerability = self.of_updates(cve, place)
                if vulnerability.status in self.statuses and any(
                    self.q.lower() in text.lower() for text in (cve.id, place.source, *place.names)
                ):
                    yield vulnerability

    def of_updates(self, cve: Cve, place: Place) -> Vulnerability:
        severity = next((update.severity for update in place.updates if update.severity), "")
        rated = replace(cve, severity=severity.lower(), by="the vendor") if severity else cve
        return Vulnerability(
            **self.rated(rated, (*place.names, place.source)),
            source=place.source,
            packages=tuple(place.names),
            versions=tuple(place.versions),
            status="fixed",
            state=place.word.label,
            means=f"{place.word.means} {place.note}".strip(),
            found_by=self.row.package_manager,
            fixed_version=place.fixed_version,
            advisories=tuple(dict.fromkeys((each, "") for update in place.updates for each in update.advisories)),
        )

    def rated(self, cve: Cve, names: Sequence[str]) -> dict[str, Any]:
        """What a vulnerability in packages of these names has of its CVE, whoever found it."""
        risk = next((risk for risk in self.risks if risk.covers(cve.id, names)), None)
        return {
            "id": cve.id,
            "severity": cve.severity,
            "rated_by": cve.by,
            "epss": cve.epss,
            "percentile": cve.percentile,
            "exploited": cve.exploited,
            "due": cve.due,
            "ransomware": cve.ransomware,
            "accepted": Acceptance(risk.accepted_by, risk.reason, risk.until) if risk else None,
        }

    @cached_property
    def risks(self) -> list[AcceptedRisk]:
        return AcceptedRisk.objects.about(self.row.host)

    # --- what a report says -----------------------------------------------------------------------

    def unknown(self) -> list[str]:
        scan, limit = self.row, timedelta(days=run_time.value("METADATA_MAX_AGE_DAYS"))
        unjudged = scan.updates.counted().filter(security=None).count()
        skipped = Counter(scan.packages.exclude(skipped="").order_by().values_list("skipped", flat=True))
        said = [
            *(f"Could not be read: {gap}" for gap in scan.gaps),
            "" if scan.security_updates is not None else "How many security updates are waiting is not known.",
            f"Whether it is a security update is not known of {unjudged} of the waiting updates." if unjudged else "",
            "" if scan.metadata_date else "How old the package lists were is not known, so there may be newer updates.",
            self.missing,
        ]
        if scan.metadata_date and scan.date - scan.metadata_date > limit:
            age = (scan.date - scan.metadata_date).days
            said.append(f"The package lists were {age} days old at the time of the scan: there may be newer updates.")
        said += [f"Not looked up for vulnerabilities ({number}): {why}" for why, number in skipped.most_common()]
        if not KnownExploited.objects.exists():
            said.append("CISA's catalog has not been read, so which vulnerabilities are exploited is not known.")
        if not ExploitScore.objects.exists():
            said.append("The EPSS scores have not been read, so how likely an exploit is, is not known.")
        if scan.reboot_required is None:
            said.append(f"Whether a reboot is needed is not known. {scan.reboot_reason}".strip())
        if scan.services_to_restart is None:
            said.append(f"Which services run on replaced libraries is not known. {scan.services_reason}".strip())
        return [text for text in said if text]

    def report(self) -> Report:
        pinned = self.row.updates.pinned().filter(security=True)
        exploited = KnownExploited.objects.values("pk")
        return Report(
            self.days(),
            [
                update_shape(fix.update, fix) | {"worst": None if fix.rank is None else SCALE[fix.rank]}
                for fix in self.ranked
            ],
            [update_shape(update, None) | {"worst": update.severity} for update in pinned],
            None if self.missing else self.tally(),
            [
                *self.told(findings_of(self.row).filter(cve__in=exploited)),
                *(row for row in self.named() if row.exploited),
            ],
        )

    def days(self) -> list[tuple[Any, int | None, int]]:
        """The last scan with counts of each day, of the 30 days up to this scan; days without one are left out."""
        end = self.row.date
        scans = self.row.host.scans.with_counts().filter(finished_at__gt=end - TREND, finished_at__lte=end)
        days: dict[Any, tuple[Any, int | None, int]] = {}
        rows = scans.order_by("finished_at").values_list("finished_at", "security_updates", "total_updates")
        for date, security, total in rows:
            if date and total is not None:  # always so, by the table's constraint
                local = timezone.localtime(date)
                days[local.date()] = (local, security, total)
        return list(days.values())

    def tally(self) -> list[tuple[str, str, int]]:
        numbers = status_counts(findings_of(self.row))
        return [(WORDS[status].label, WORDS[status].means, number) for status, number in numbers.items()]
