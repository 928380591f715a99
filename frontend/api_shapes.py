"""What programs are told of hosts and scans: the shapes of /api/v1/, and what their fields mean.

The document of a scan and its rows are made by scanner.document; these say the same, field by field.
"""

from typing import Any, Literal

from ninja import Field

from frontend.paging import Page, Shape

State = Literal["queued", "running", "completed", "partial", "failed", "cancelled"]
Trigger = Literal["dashboard", "api", "schedule", "command line", "admin"]
Status = Literal["success", "warning", "danger", "unknown"]
Manager = Literal["apt", "dnf", "yum", "pacman"]
PackageState = Literal["update", "open", "unknown", "clear"]
Severity = Literal["none", "negligible", "low", "medium", "high", "critical"]

DATE = ["2026-11-24T06:00:00Z"]


class FieldProblem(Shape):
    field: str = Field(examples=["limit"])
    message: str
    line: int | None
    column: int | None


class ProblemOut(Shape):
    """What went wrong, as RFC 9457 has it."""

    type: str = Field(examples=["about:blank"])
    title: str = Field(examples=["Not valid"])
    status: int = Field(examples=[422])
    detail: str = Field(description="What is wrong and, where that helps, what to do.")
    message: str = Field(description="The same as `detail`.")
    errors: list[FieldProblem] = Field([], description="Of a 422: each thing that is wrong.")


class Progress(Shape):
    """Of two, the one with the higher (attempt, percent) is the newer."""

    step: str
    percent: int
    detail: str
    attempt: int


class ScanOut(Shape):
    """A scan without its lists."""

    id: int
    host: str
    state: State
    error: str | None = Field(description="Why it failed.")
    next_step: str | None = Field(description="What to do about that.")
    gaps: list[str] = Field(description="What could not be read: the scan is then partial.")
    notes: list[str]
    package_manager: str | None
    distribution: str | None = Field(description="As feeds name it.", examples=["debian:12"])
    scan_date: str = Field(description="When it ended, else began, else was asked for.", examples=DATE)
    metadata_date: str | None = Field(description="How old the package lists were.", examples=DATE)
    duration_seconds: float | None
    status: Status = Field(description="At the time of the scan.")
    status_label: str = Field(examples=["Low Risk"])
    security_updates: int | None = Field(description="Null where it cannot be known; that is not 0.")
    total_updates: int | None
    total_packages: int | None
    pinned_security_updates: int | None
    reboot_required: bool | None
    reboot_reason: str | None
    services_to_restart: list[str] | None
    services_reason: str | None
    trigger: Trigger
    requested_by: str | None
    progress: Progress | None = Field(description="While it is queued or running.")
    url: str | None = Field(description="Its page.")


class UpdateOut(Shape):
    name: str = Field(examples=["openssl"])
    architecture: str
    installed_version: str
    available_version: str
    source: str
    security: bool | None = Field(description="Null: the package manager does not tell.")
    reason: str = Field(description="Why that is so.")
    origins: list[str]
    advisories: list[str]
    cves: list[str]
    severity: str = Field(description="In the vendor's word; empty: none.")
    held: bool
    blocked: str | None = Field(description="phased, pinned, kept back or excluded.")
    command: str = Field(description="Installs it, as root on the host.")
    published: str | None
    why: str | None = Field(description="What makes it urgent; of security updates, as the next five.")
    known_exploited: bool | None
    epss: float | None
    available_since: str | None
    late: bool | None
    risk_accepted_until: str | None = Field(examples=["2026-12-31"])


class PackageOut(Shape):
    name: str = Field(examples=["openssl"])
    architecture: str
    version: str
    source: str
    source_version: str
    module: str
    third_party: str = Field(description="Where it comes from, if not from the distribution.")


class FirstFix(Shape):
    name: str
    architecture: str
    installed_version: str
    available_version: str
    command: str
    reason: str
    cves: list[str]
    severity: Severity | None
    known_exploited: bool | None
    epss: float | None


class ScanDocument(ScanOut):
    """A scan, its lists, and what feeds say of them today."""

    cves: list[str] | None = Field(description="That the waiting security updates fix; null: not known.")
    max_severity: Severity | None
    max_epss: float | None
    known_exploited: bool | None
    oldest_security_update_hours: float | None
    late_security_updates: int | None
    target_hours: int
    fix_first: FirstFix | None
    updates: list[UpdateOut]
    packages: list[PackageOut]


class HostOut(Shape):
    """How a host stands now, by its newest scan with counts."""

    name: str = Field(examples=["web-1"])
    tags: list[str]
    scheduled: bool = Field(description="Whether periodic scans include it.")
    archived: bool = Field(description="Then it is listed only where archived hosts are asked for.")
    status: Status
    status_label: str
    scan: int | None = Field(description="The newest scan with counts. Null: none, and the counts are not known.")
    scan_date: str | None = Field(examples=DATE)
    package_manager: str | None
    distribution: str | None = Field(examples=["debian:12"])
    security_updates: int | None
    late_security_updates: int | None = Field(description="Those that have waited for longer than the target.")
    oldest_security_update: str | None = Field(description="Since when the oldest waits; null: none does, or unknown.")
    total_updates: int | None
    total_packages: int | None
    reboot_required: bool | None
    known_exploited: int | None = Field(
        description="CVEs of what is installed that are known to be exploited; null: no feed tells."
    )
    last_scan: int | None = Field(description="The scan that ended last, whatever came of it.")
    last_state: State | None
    active_scan: int | None = Field(description="The scan that is under way.")


class FoundOut(Shape):
    """A CVE in a source package."""

    cve: str = Field(description="Its id, or that of an advisory that names none.", examples=["CVE-2026-1234"])
    source: str
    packages: list[str]
    versions: list[str] = Field(description="Installed.")
    status: str = Field(description="By the feed: fixed, pro, open, …")
    state: str = Field(description="What can be done on this host: now, reboot, not-offered, …", examples=["now"])
    means: str = Field(description="The same in words.")
    fixed_version: str | None
    severity: str | None
    known_exploited: bool
    epss: float | None
    risk_accepted_until: str | None


class NeighbourOut(Shape):
    name: str
    security: PackageState


class DependenciesOut(Shape):
    """An installed package among the others; of several architectures it is one."""

    name: str
    security: PackageState = Field(
        description="update: a security update waits; open: the feeds name vulnerabilities; clear: neither; unknown."
    )
    needs: list[NeighbourOut]
    needed_by: list[NeighbourOut]
    circle: list[str] = Field(description="Those that it needs, straight or by way of others, and that need it.")
    origins: int = Field(description="Packages that lead to it and that nothing needs; 0: it is such a one itself.")
    chains: list[list[str]] = Field(
        description="The shortest way from each of the nearest ten of these: each package needs the next."
    )


class HostPage(Page):
    items: list[HostOut]


class UpdatePage(Page):
    items: list[UpdateOut]


class PackagePage(Page):
    items: list[PackageOut]


class FoundPage(Page):
    items: list[FoundOut]
    unknown: str | None = Field(
        description="Why nothing is known of vulnerabilities here: then `total` is null, and the list says nothing."
    )


class ScanPage(Shape):
    items: list[ScanOut]
    next: int | None = Field(description="The next page: ?before=NEXT. Null on the last one.", examples=[4711, None])


Shown = dict[str, Any]
