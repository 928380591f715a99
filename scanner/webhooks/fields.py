"""What a webhook's filter may use, as data: the fields of an event, the severities as numbers, and examples.

A field that is not known in an event, such as the counts of a failed scan, is not in that event's data at all.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from scanner.vulnerabilities.urgency import SEVERITY_RANK

Type = Literal["int", "double", "bool", "string", "timestamp", "list of string", "list of package"]

STATUSES = ("success", "warning", "danger", "unknown")
LEVELS = ("secure", "low", "medium", "high", "unknown")
STATES = ("completed", "partial", "failed")


@dataclass(frozen=True, slots=True)
class Field:
    """`words` say what it is, in the editor and in the documentation; `values` are all that a text can be, if known."""

    name: str
    type: Type
    words: str
    values: tuple[str, ...] = ()


FIELDS = (
    Field("event", "string", "The event's type, such as security.package_scan_completed"),
    Field("status", "string", "success, warning, danger or unknown", STATUSES),
    Field("status_label", "string", "The status in words, such as High Risk"),
    Field("level", "string", "secure, low, medium, high or unknown", LEVELS),
    Field("state", "string", "How the scan ended: completed, partial or failed", STATES),
    Field("security_updates", "int", "Security updates waiting"),
    Field("total_updates", "int", "All updates waiting"),
    Field("total_packages", "int", "Installed packages"),
    Field("pinned_security_updates", "int", "Security updates above a pinned version; not in security_updates"),
    Field("new_security_updates", "int", "Security updates that the scan before did not have"),
    Field("fixed_security_updates", "int", "Security updates of the scan before that wait no longer"),
    Field("previous_security_updates", "int", "Security updates waiting at the scan before"),
    Field("previous_status", "string", "The status of the scan before", STATUSES),
    Field("changed", "bool", "Whether something differs from the host's scan before"),
    Field("reboot_required", "bool", "Whether the host needs a reboot"),
    Field("package_manager", "string", "apt, dnf, yum or pacman", ("apt", "dnf", "yum", "pacman")),
    Field("trigger", "string", "What started the scan, such as schedule or dashboard", ("schedule", "dashboard")),
    Field("scan_date", "timestamp", "When the scan was made"),
    Field("now", "timestamp", "The time at which the filter is evaluated"),
    Field("oldest_security_update_hours", "double", "For how many hours the oldest security update has been waiting"),
    Field("late_security_updates", "int", "Those that have waited for longer than SECURITY_TARGET_HOURS"),
    Field("critical_updates", "int", "Security updates that are rated critical; not known where none is rated"),
    Field("high_updates", "int", "Security updates that are rated high; not known where none is rated"),
    Field("max_severity", "int", "The worst severity that one is rated, such as high; not known where none is rated"),
    Field("max_epss", "double", "The highest EPSS, from 0 to 1, of a CVE that they fix; not known without that feed"),
    Field("known_exploited", "bool", "Whether a CVE that they fix is known to be exploited, and its risk not accepted"),
    Field("cves", "list of string", "The CVEs that the security updates fix"),
    Field("host.name", "string", "The host's name"),
    Field("host.tags", "list of string", "The host's tags"),
    Field("packages", "list of package", "The security updates waiting, worst first, at most 500"),
    Field("packages_truncated", "bool", "Whether there are more security updates than packages holds"),
)

PACKAGE_FIELDS = (
    *("name", "architecture", "installed_version", "available_version", "source"),
    *("severity", "cves", "advisories", "held", "blocked"),
)
"""`severity` is one of the numbers below and missing where nobody has given any; `blocked` may be empty."""

CONSTANTS: Mapping[str, int] = {
    word: SEVERITY_RANK[word] for word in ("none", "negligible", "low", "medium", "high", "critical")
}

EXAMPLES = (
    ("security_updates > 10", "More than ten security updates"),
    ('"prod" in host.tags', "Only production"),
    ('security_updates > 10 && "prod" in host.tags', "Production with more than ten"),
    ("new_security_updates > 0", "Something new appeared"),
    ('"CVE-2026-1111" in cves', "A certain CVE"),
    ("known_exploited", "Something that is known to be exploited"),
    ("max_severity >= high", "High or critical"),
    ('status == "danger"', "High risk"),
    ("oldest_security_update_hours > 48", "Waiting for more than two days"),
    ("reboot_required", "Reboot needed"),
)
"""An expression, and what it is for."""
