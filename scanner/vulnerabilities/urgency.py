"""What to fix first, and why: known exploited, then likely to be, then severe. Pure; the rules are data."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date

LIKELY = 0.1  # EPSS from which a CVE counts as likely to be exploited; about 3 in 100 of all CVEs reach it
SEVERITY_RANK = {
    "none": 0,
    "negligible": 1,
    "unimportant": 1,
    "low": 2,
    "minor": 2,
    "medium": 3,
    "moderate": 3,
    "high": 4,
    "important": 4,
    "critical": 5,
    "urgent": 5,
}
"""The vendors' words, in small letters."""
SCALE = ("none", "negligible", "low", "medium", "high", "critical")
"""The words for those numbers."""


@dataclass(frozen=True, slots=True)
class Cve:
    """What is known of a CVE, and of the package that it is about. What nobody has said is empty or None.

    `id` is the advisory's where it names no CVE. `severity` is the vendor's for the package, else the CVE's by CVSS.
    """

    id: str
    severity: str = ""
    by: str = ""  # who says so: "the vendor" or "CVSS"
    exploited: date | None = None  # since when it is in CISA's catalog
    due: date | None = None
    ransomware: bool = False
    epss: float | None = None
    percentile: float | None = None

    @property
    def rank(self) -> int:
        return rank(self.severity) or 0


def rank(severity: str) -> int | None:
    """The number of a vendor's word; None where it says nothing or something unknown."""
    return SEVERITY_RANK.get(severity.strip().lower())


def order(cve: Cve | None) -> tuple[bool, bool, int, float]:
    """Sorts the most urgent first. EPSS decides only where it says something: most CVEs differ in its third digit."""
    if cve is None:
        return True, True, 0, 0.0
    return cve.exploited is None, (cve.epss or 0.0) < LIKELY, -cve.rank, -(cve.epss or 0.0)


def most_urgent(cves: Iterable[Cve]) -> Cve | None:
    return min(cves, key=lambda cve: (order(cve), cve.id), default=None)


def why(cve: Cve) -> str:
    """In words that end no sentence: "CVE-2026-1 is known to be exploited (CISA, since 3 Jan 2026)"."""
    if cve.exploited:
        ransomware = ", also by ransomware" if cve.ransomware else ""
        return f"{cve.id} is known to be exploited{ransomware} (CISA, since {day(cve.exploited)})"
    if cve.epss is not None and cve.epss >= LIKELY:
        return f"{cve.id} is likely to be exploited (EPSS {percent(cve.epss)})"
    if cve.severity:
        return f"{cve.id} is rated {cve.severity} by {cve.by}"
    return f"{cve.id}, which nobody has rated"


def day(at: date) -> str:
    return f"{at:%-d %b %Y}"


def percent(share: float) -> str:
    return f"{100 * share:.{0 if share >= LIKELY else 1}f}\N{NARROW NO-BREAK SPACE}%"
