"""CSV by RFC 4180, for spreadsheets: UTF-8 with a byte order mark, and no cell that is taken for a formula.

A program that wants the very values reads the JSON.
"""

import csv
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any

from scanner.exports.interface import Content, Export, Row, Vulnerability, in_pieces

BYTE_ORDER_MARK = "\ufeff"  # without it Excel takes UTF-8 for the system's old code page
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")  # noqa: RUF001 - OWASP, "CSV Injection"
OF_SCAN = ("host", "id", "scan_date", "distribution", "package_manager")
"""The last columns of every row, so that the files of many hosts can be put together; the id is headed "scan"."""

UPDATES = (
    *("name", "installed_version", "available_version", "architecture", "source", "security", "severity", "held"),
    *("blocked", "reason", "why", "cves", "advisories", "known_exploited", "epss", "available_since", "late"),
    *("risk_accepted_until", "published", "origins", "command"),
)
# The first ones as a plain list of packages has them: check_inventory reads this file, too.
PACKAGES = ("name", "version", "architecture", "source", "source_version", "module", "third_party", "held", "skipped")
VULNERABILITIES: Mapping[str, Callable[[Vulnerability], Any]] = {
    "id": lambda row: row.id,
    "source": lambda row: row.source,
    "packages": lambda row: row.packages,
    "installed_versions": lambda row: row.versions,
    "fixed_version": lambda row: row.fixed_version,
    "status": lambda row: row.status,
    "state": lambda row: row.state,
    "severity": lambda row: row.severity,
    "rated_by": lambda row: row.rated_by,
    "cvss_vector": lambda row: row.cvss_vector,
    "epss": lambda row: row.epss,
    "epss_percentile": lambda row: row.percentile,
    "exploited_since": lambda row: row.exploited,
    "exploited_due": lambda row: row.due,
    "used_by_ransomware": lambda row: row.ransomware if row.exploited else None,
    "advisories": lambda row: [advisory for advisory, _ in row.advisories],
    "urls": lambda row: [url for _, url in row.advisories if url],
    "published": lambda row: row.published,
    "means": lambda row: row.means,
    "found_by": lambda row: row.found_by,
    "risk_accepted_until": lambda row: row.accepted and row.accepted.until,
    "risk_accepted_by": lambda row: row.accepted and row.accepted.by,
    "risk_accepted_reason": lambda row: row.accepted and row.accepted.reason,
}
DIFF = (
    *("kind", "change", "name", "architecture", "before", "after", "both"),
    *("security_before", "security_after", "reason_before", "reason_after", "other_side", "details"),
)


class Csv(Export):
    name = "csv"
    label = "CSV"
    holds = "One list of the scan, for spreadsheets"
    content_type = "text/csv; charset=utf-8; header=present"
    extension = "csv"
    parts = ("updates", "security", "others", "packages", "vulnerabilities")
    takes_diffs = True
    takes_lists = True

    def scan(self, content: Content, part: str = "") -> Iterator[bytes]:
        scan = [content.scan[name] for name in OF_SCAN]
        return in_pieces(
            lines([*columns(part), *map(heading, OF_SCAN)], ([*row, *scan] for row in rows(content, part)))
        )

    def diff(self, found: Row) -> Iterator[bytes]:
        of_sides = [(side, name) for side in ("from", "to") for name in OF_SCAN]
        sides = [found[side][name] for side, name in of_sides]
        names = [f"{side}_{heading(name)}" for side, name in of_sides]
        return in_pieces(lines([*DIFF, *names], ([*row, *sides] for row in changes(found))))

    def listed(self, head: Row, name: str, columns: Sequence[str], rows: Iterable[Row]) -> Iterator[bytes]:
        """The head is the last columns of every row."""
        return in_pieces(lines([*columns, *head], ([*(row[key] for key in columns), *head.values()] for row in rows)))


def heading(name: str) -> str:
    return "scan" if name == "id" else name


def columns(part: str) -> Sequence[str]:
    return {"packages": PACKAGES, "vulnerabilities": tuple(VULNERABILITIES)}.get(part, UPDATES)


def rows(content: Content, part: str) -> Iterator[Sequence[Any]]:
    if part == "packages":
        return ([getattr(row, name) for name in PACKAGES] for row in content.packages())
    if part == "vulnerabilities":
        return ([value(row) for value in VULNERABILITIES.values()] for row in content.vulnerabilities())
    return ([row[name] for name in UPDATES] for row in content.updates(part or "updates"))


def changes(found: Row) -> Iterator[Sequence[Any]]:
    for row in found["updates"]:
        before, after = row["before"] or {}, row["after"] or {}
        both_sides = [side.get(name) for name in ("security", "reason") for side in (before, after)]
        target = [side.get("available_version") for side in (before, after)]
        yield (
            *("update", row["change"], row["name"], row["architecture"], *target, None),
            *(*both_sides, row["other_side"], details(row)),
        )
    for row in found["packages"]:
        versions = [row[name] for name in ("before", "after", "both")]
        yield "package", row["change"], row["name"], row["architecture"], *versions, *[None] * 5, details(row)


def details(row: Row) -> str:
    return "; ".join(f"{each['about']}: {cell(each['before'])} > {cell(each['after'])}" for each in row["details"])


# --- writing ----------------------------------------------------------------------------------------


class Echo:
    """A file that hands on what is written to it."""

    def write(self, text: str) -> str:
        return text


def lines(header: Sequence[str], found: Iterable[Sequence[Any]]) -> Iterator[str]:
    write = csv.writer(Echo(), lineterminator="\r\n").writerow
    yield BYTE_ORDER_MARK
    yield write(header)
    for row in found:
        yield write([cell(value) for value in row])


def cell(value: Any) -> str:
    """What is not known is an empty cell. A quote in front keeps a spreadsheet from calculating."""
    if value is None:
        return ""
    if isinstance(value, str):
        text = value
    elif isinstance(value, bool):
        text = "true" if value else "false"
    elif isinstance(value, (list, tuple)):
        texts = [str(each) for each in value]
        text = ("; " if any(" " in each for each in texts) else " ").join(texts)
    elif isinstance(value, datetime):
        text = f"{value.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
    else:
        text = value.isoformat() if isinstance(value, date) else str(value)
    return f"'{text}" if text.startswith(FORMULA) else text
