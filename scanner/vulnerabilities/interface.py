"""What a feed is to us: a file that somebody publishes, read into frozen values, one at a time.

Releases are named as `distribution` everywhere: "debian:12", "ubuntu:22.04", "ubuntu-pro:22.04", "alma:9", "rocky:9",
"rhel:9", "sles:15.5", "arch".
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Literal

Status = Literal["fixed", "open", "no_dsa", "ignored", "postponed", "unimportant", "eol", "undetermined", "unconfirmed"]
"""What the vendor says of a package: a fix is there, there is none yet, or there will be none, and why not."""

NameKind = Literal["source", "binary"]


@dataclass(frozen=True, slots=True)
class Affected:
    """A package of one release that an advisory is about. Versions from `introduced` on, and before `fixed_version`."""

    distribution: str
    name: str  # of the source or of the binary package, as the feed's `name_kind` says
    advisory: str  # "DSA-5532-1", "ALSA-2024:3128", or the CVE's own id where a feed goes by CVEs
    cves: tuple[str, ...]  # may be empty: not every advisory has one
    status: Status
    fixed_version: str = ""  # empty unless the status is "fixed"
    introduced: str = ""  # empty: all before the fix
    last_affected: str = ""  # the newest version known to be affected, where a feed names that instead of a fix
    module: str = ""  # "perl:5.32": a modular package; it has nothing to do with the base package of that name
    architecture: str = ""  # empty: all
    severity: str = ""  # in the vendor's words, lower case
    reason: str = ""  # in the vendor's words: why there is no fix
    summary: str = ""
    published: datetime | None = None
    url: str = ""


@dataclass(frozen=True, slots=True)
class Details:
    """What is known of a CVE apart from any package."""

    cve: str
    summary: str = ""
    cvss_vector: str = ""  # the newest version of CVSS that the feed has
    severity: str = ""  # low, medium, high, critical: the vendor's for the CVE
    published: datetime | None = None


@dataclass(frozen=True, slots=True)
class Score:
    """EPSS: the probability that a CVE is exploited in the next 30 days, and the share of CVEs that it exceeds."""

    cve: str
    epss: float
    percentile: float


@dataclass(frozen=True, slots=True)
class Exploited:
    """A CVE that is known to be exploited, by CISA's catalog."""

    cve: str
    added: date
    due: date | None = None  # by which US agencies have to act
    ransomware: bool = False
    name: str = ""


Entry = Affected | Details | Score | Exploited


class FeedError(Exception):
    """A feed that cannot be read, in words for an administrator; what was read before stays."""


class Feed(ABC):
    """One feed. `parse` reads a whole file within bounded memory, whatever its size."""

    name: str
    label: str
    address: str  # where it is published; settings may name another, or a file
    name_kind: NameKind = "source"

    @abstractmethod
    def parse(self, file: Path) -> Iterator[Entry]:
        """Raises FeedError. Entries that are nonsense in themselves are left out and counted in `dropped`."""

    def __init__(self) -> None:
        self.dropped = 0
