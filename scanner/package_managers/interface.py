"""What a package manager is to us: refresh, list what is installed, list what could be.

The rooms behind this interface are pure: text in, frozen values out. They know nothing of Django or the database.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import ClassVar

from scanner.package_managers.command import Runner

Progress = Callable[[float, str], None]
"""Called with a percentage (0 to 100) and what is being done, in words."""


@dataclass(frozen=True, slots=True)
class Installed:
    """One installed package. `source` is the source package's name, as security feeds use it.

    `module` is the stream that it comes from, such as "perl:5.32". `third_party` names where it comes from, where that
    is known not to be the distribution: the vendor's advisories say nothing of it.
    """

    name: str
    architecture: str
    version: str
    source: str = ""
    source_version: str = ""
    held: bool = False
    module: str = ""
    third_party: str = ""


@dataclass(frozen=True, slots=True)
class Update:
    """One package that a newer version is available for.

    `security` is None where it cannot be known; `reason` says in one sentence why it is what it is.
    `blocked` says why a plain upgrade would not install it: phased, pinned, kept back, excluded.
    `command` is the command that installs it, as root on the host. `available_source_version` is the version of the
    source package that `available_version` was built from, where that is known and another. `published` is when the
    newest security advisory about it was issued, where that is known.
    """

    name: str
    architecture: str
    installed_version: str
    available_version: str
    source: str
    security: bool | None
    reason: str
    origins: tuple[str, ...] = ()
    advisories: tuple[str, ...] = ()
    cves: tuple[str, ...] = ()
    severity: str = ""
    held: bool = False
    blocked: str | None = None
    command: str = ""
    available_source_version: str = ""
    published: datetime | None = None


Dependencies = Mapping[tuple[str, str], tuple[str, ...]]
"""By name and architecture: the names of the installed packages that a package needs."""


@dataclass(frozen=True, slots=True)
class Restarts:
    """None is unknown; `reboot_reason` and `services_reason` are sentences for a person, in every case."""

    reboot: bool | None
    reboot_reason: str
    services: tuple[str, ...] | None
    services_reason: str


@dataclass(frozen=True, slots=True)
class Gap:
    """Something that could not be read. A scan with a gap is partial; `security` = it may hide security updates."""

    text: str
    security: bool = True


@dataclass(frozen=True, slots=True)
class Findings:
    """What a manager says of available updates, and how far it can be trusted.

    `third_party`: by name and architecture, what only the package lists tell of where installed packages come from.
    """

    updates: tuple[Update, ...]
    metadata_date: datetime | None
    gaps: tuple[Gap, ...] = ()
    notes: tuple[str, ...] = ()
    third_party: Mapping[tuple[str, str], str] = field(default_factory=dict)


@dataclass
class PackageManagerError(Exception):
    """The scan cannot go on. `message` holds the manager's own last words, `next_step` what to do about it."""

    message: str
    next_step: str = ""

    def __str__(self) -> str:
        return f"{self.message} {self.next_step}".strip()


class PackageManager(ABC):
    """One package manager on one root. `private` is a folder of this scan's own; the host's state stays untouched."""

    name: ClassVar[str]
    distributions: ClassVar[frozenset[str]]
    """The ID and ID_LIKE values of os-release(5) on which this manager is the native one."""

    def __init__(self, runner: Runner, private: Path, root: Path | None = None) -> None:
        self.runner = runner
        self.private = private
        self.root = root

    @classmethod
    @abstractmethod
    def has_database(cls, root: Path | None) -> bool:
        """Whether this manager's database of installed packages is there and not empty."""

    @abstractmethod
    def refresh(self, progress: Progress) -> tuple[Gap, ...]:
        """Fetch the available packages' metadata into `private`; what could not be fetched comes back as gaps."""

    @abstractmethod
    def installed(self) -> list[Installed]:
        """Every installed package. Never an empty list: that is an error."""

    @abstractmethod
    def updates(self, installed: Sequence[Installed]) -> Findings:
        """Every available update, with its security verdict and reason."""

    @abstractmethod
    def dependencies(self) -> Dependencies:
        """What each installed package needs."""


@dataclass(frozen=True)
class Report:
    """All that one scan found, before anything is stored.

    `distribution` is the release as feeds name it, such as "debian:12", or empty; `kernel` the running one as uname(1)
    prints it, empty for another root.
    """

    package_manager: str
    packages: tuple[Installed, ...]
    findings: Findings
    gaps: tuple[Gap, ...] = ()
    notes: tuple[str, ...] = ()
    restarts: Restarts = Restarts(None, "", None, "")
    dependencies: Callable[[], Dependencies] = dict  # asked only for packages that are not stored yet
    distribution: str = ""
    kernel: str = ""

    @property
    def installable(self) -> list[Update]:
        """The updates that count: a pinned version lies above what the host would install, and is counted apart."""
        return [update for update in self.findings.updates if update.blocked != "pinned"]

    @property
    def total_updates(self) -> int:
        return len(self.installable)

    @property
    def security_updates(self) -> int | None:
        """How many are known to be security updates; None where there is none, but some could be hidden."""
        known = sum(update.security is True for update in self.installable)
        hidden = any(gap.security for gap in self.gaps) or any(update.security is None for update in self.installable)
        return None if hidden and not known else known

    @property
    def pinned_security_updates(self) -> int:
        return sum(update.security is True and update.blocked == "pinned" for update in self.findings.updates)
