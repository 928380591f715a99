"""What an export is to us: a file format that a scan, or a diff, is written in, piece by piece.

The formats are pure. They get a `Content`, which reads from wherever it is kept when it is asked, and give bytes; no
format leaves anything out without saying so in the file.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, ClassVar, NamedTuple

Row = Mapping[str, Any]

PIECE = 32 * 1024  # characters that are sent at once


class Package(NamedTuple):
    """One installed package; the fields of models.Package."""

    name: str
    architecture: str
    version: str
    source: str
    source_version: str
    module: str
    third_party: str
    held: bool
    needs: Sequence[str]
    skipped: str
    package_version: int | None


@dataclass(frozen=True, slots=True)
class Acceptance:
    """Somebody lives with it: who, why, and until which day."""

    by: str
    reason: str
    until: date


@dataclass(frozen=True, slots=True)
class Vulnerability:
    """A CVE, or an advisory that names none, in a source package that is installed. What nobody has said is empty."""

    id: str
    source: str
    packages: tuple[str, ...]  # the binary ones
    versions: tuple[str, ...]  # of those, as installed
    status: str  # of the vendor: fixed, open, …
    state: str  # on the host, in words: "Update waits"
    means: str  # what status and state mean, in whole sentences
    found_by: str  # the feed that tells it, or the package manager
    fixed_version: str = ""
    severity: str = ""
    rated_by: str = ""
    cvss_vector: str = ""
    epss: float | None = None
    percentile: float | None = None
    exploited: date | None = None  # since when it is in CISA's catalog
    due: date | None = None
    ransomware: bool = False
    advisories: tuple[tuple[str, str], ...] = ()  # id and address
    reason: str = ""  # in the vendor's words: why there is no fix
    published: datetime | None = None
    summary: str = ""
    accepted: Acceptance | None = None
    package_versions: tuple[int, ...] = ()  # that it is in; none: it is in the packages of these names


@dataclass(frozen=True, slots=True)
class Report:
    """What a short report says besides the scan itself."""

    days: Sequence[tuple[datetime, int | None, int]]  # security and all updates of each day that has a scan
    security: Sequence[Row]  # the waiting security updates, what to install first in front; `worst`: the gravest word
    pinned: Sequence[Row]  # those that a pin keeps away
    tally: Sequence[tuple[str, str, int]] | None  # label, meaning and number of CVEs of each status; None: not known
    exploited: Sequence[Vulnerability]  # those that are known to be exploited, fix or no fix


class Content(ABC):
    """All there is to write of a scan."""

    scan: Row
    """The document of the scan, without its two lists."""
    package_fields: Sequence[str]
    """The fields that its list of packages shows."""
    made_at: datetime
    link: str
    """The address of the scan's page."""

    @abstractmethod
    def updates(self, part: str = "updates") -> Iterator[Row]:
        """The updates as the document shows them: all, or those of the part "security" or "others"."""

    @abstractmethod
    def packages(self) -> Iterator[Package]: ...

    @abstractmethod
    def vulnerabilities(self) -> Iterator[Vulnerability]:
        """The most urgent first."""

    @abstractmethod
    def unknown(self) -> Sequence[str]:
        """What the scan does not know, in sentences."""

    @abstractmethod
    def report(self) -> Report: ...


class Export(ABC):
    """One file format."""

    name: ClassVar[str]
    """In addresses, and for --format."""
    label: ClassVar[str]
    holds: ClassVar[str]
    """What is in a file, in a few words."""
    content_type: ClassVar[str]
    extension: ClassVar[str]
    is_text: ClassVar[bool] = True
    parts: ClassVar[Sequence[str]] = ()
    """What it gives of a scan, one at a time; the first is the default. None: a file is about the whole scan."""
    takes_diffs: ClassVar[bool] = False
    takes_lists: ClassVar[bool] = False

    @abstractmethod
    def scan(self, content: Content, part: str = "") -> Iterator[bytes]:
        """A scan that has counts; `part` is one of `parts`."""

    def diff(self, found: Row) -> Iterator[bytes]:
        """A diff as its JSON document; of those formats that take them."""
        raise NotImplementedError(f"There is no diff as {self.label}.")

    def listed(self, head: Row, name: str, columns: Sequence[str], rows: Iterable[Row]) -> Iterator[bytes]:
        """A list called so, all rows of which have these columns; `head` says what it is about."""
        raise NotImplementedError(f"There is no list as {self.label}.")


def in_pieces(texts: Iterable[str]) -> Iterator[bytes]:
    """Few large pieces of many small ones: each one sent costs a hop between threads."""
    waiting: list[str] = []
    size = 0
    for text in texts:
        waiting.append(text)
        size += len(text)
        if size >= PIECE:
            yield "".join(waiting).encode()
            waiting, size = [], 0
    if waiting:
        yield "".join(waiting).encode()
