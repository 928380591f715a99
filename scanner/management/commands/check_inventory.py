"""`manage.py check_inventory FILE`: what a host that nobody can reach is vulnerable to, by a list of its packages."""

import json
import sys
from argparse import ArgumentParser
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError

from scanner.document import utc
from scanner.models import AffectedPackage, Feed
from scanner.vulnerabilities import feeds, inventory, matching
from scanner.vulnerabilities.exposure import known, rated
from scanner.vulnerabilities.matching import Finding
from scanner.vulnerabilities.places import STATUSES
from scanner.vulnerabilities.urgency import Cve, order

EXAMPLE = "debian:12, ubuntu:22.04, alma:9, rocky:9, rhel:9, sles:15.5, arch"


def by_urgency(findings: Iterable[Finding]) -> list[tuple[Finding, Cve]]:
    """Fix first: what is known to be exploited, then what can be fixed before the rest, each by its urgency."""
    findings = list(findings)
    details = known([finding.cve for finding in findings])
    pairs = [(finding, rated(finding, details)) for finding in findings]
    return sorted(pairs, key=lambda pair: (pair[1].exploited is None, STATUSES.index(pair[0].status), *rank_of(*pair)))


def rank_of(finding: Finding, cve: Cve) -> tuple[Any, ...]:
    return *order(cve), finding.package, cve.id


class Command(BaseCommand):
    help = (
        "Say which CVEs a list of packages is vulnerable to: a scan of ours as JSON, a CycloneDX SBOM, or lines with "
        "name, version, architecture, source and source version. Uses the feeds that have been read (refresh_feeds). "
        "Exit status: 0 checked, 1 it could not be checked, 2 wrong usage."
    )

    requires_system_checks = ()  # they would load all pages first, which takes longer than the answer

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", metavar="FILE", help="The list; - reads standard input")
        parser.add_argument("--distribution", default="", help=f"Where the list does not say it: {EXAMPLE}")
        parser.add_argument("--json", action="store_true", help="Print one JSON document and nothing else on stdout")

    def handle(self, *args: Any, file: str, **options: Any) -> None:
        brought = self.read(file)
        distribution = options["distribution"] or brought.distribution
        if not distribution:
            raise CommandError(f"The list does not say of which release it is: --distribution {EXAMPLE}.", returncode=2)
        try:
            matching.family(distribution)
            used = self.feeds_about(distribution)
            names = matching.names(brought.items, distribution)
            rows = AffectedPackage.objects.about(distribution, names)
            findings = by_urgency(matching.match(brought.items, rows, distribution))
        except matching.UnknownDistribution as error:
            raise CommandError(str(error), returncode=2) from error
        except DatabaseError as error:
            raise CommandError(f"The database cannot be used ({error}). `manage.py migrate` prepares it.") from error
        document = answer(brought, distribution, used, findings)
        self.stdout.write(json.dumps(document, indent=2) if options["json"] else table(document))

    def read(self, file: str) -> inventory.Inventory:
        try:
            text = sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
            return inventory.read(text)
        except OSError as error:
            raise CommandError(f"{file}: {error.strerror}.", returncode=2) from error
        except (UnicodeDecodeError, inventory.CannotRead) as error:
            raise CommandError(f"{file}: {error}", returncode=2) from error

    def feeds_about(self, distribution: str) -> list[Feed]:
        """No data is not "no vulnerabilities": without a row about the release there is no answer."""
        names = feeds.needed([distribution])
        if not AffectedPackage.objects.filter(distribution=distribution).exists():
            raise CommandError(
                f"No feed that has been read says anything about {distribution}, so nothing can be said of these "
                f"packages. `manage.py refresh_feeds {names[0]}` reads its feed, unless the release is too old for it."
            )
        return list(Feed.objects.filter(name__in=names, imported_at__isnull=False))


def answer(
    brought: inventory.Inventory, distribution: str, used: list[Feed], findings: list[tuple[Finding, Cve]]
) -> dict[str, Any]:
    return {
        "distribution": distribution,
        "packages": len(brought.items),
        "skipped": brought.skipped,
        "feeds": [{"name": feed.name, "imported_at": utc(feed.imported_at)} for feed in used],
        "findings": [
            {
                "cve": finding.cve or None,
                "package": finding.package,
                "architecture": finding.architecture or None,
                "installed_version": finding.installed_version,
                "fixed_version": finding.fixed_version or None,
                "status": finding.status,
                "severity": cve.severity or None,
                "advisory": finding.advisory,
                "known_exploited": cve.exploited is not None,
                "epss": cve.epss,
            }
            for finding, cve in findings
        ],
    }


def table(document: dict[str, Any]) -> str:
    findings = document["findings"]
    fixable = sum(finding["status"] == "fixed" for finding in findings)
    exploited = sum(finding["known_exploited"] for finding in findings)
    head = (
        f"{document['packages']:,} packages of {document['distribution']}: {len(findings):,} findings, "
        f"{fixable:,} with a fix, {exploited:,} known to be exploited."
    )
    read = ", ".join(f"{feed['name']} of {feed['imported_at']}" for feed in document["feeds"])
    rows: list[tuple[str, ...]] = [("CVE", "PACKAGE", "INSTALLED", "FIXED IN", "STATUS", "SEVERITY", "EPSS", "")]
    rows += [row_of(finding) for finding in findings]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows] if findings else []
    return "\n".join([head, f"Feeds: {read}.", *([""] if lines else []), *lines])


def row_of(finding: dict[str, Any]) -> tuple[str, ...]:
    return (
        finding["cve"] or finding["advisory"],
        finding["package"],
        finding["installed_version"],
        finding["fixed_version"] or "",
        finding["status"],
        finding["severity"] or "",
        "" if finding["epss"] is None else f"{finding['epss']:.4f}",
        "exploited" if finding["known_exploited"] else "",
    )
