"""The Arch Linux security tracker: which version of a package fixes what. pacman itself knows nothing of security.

The tracker's list (all.json) is read from a file, or fetched from an address and kept with its age.
"""

import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import formatdate
from pathlib import Path

from scanner.package_managers.command import Runner
from scanner.package_managers.interface import Gap
from scanner.vulnerabilities.version_keys import alpm_key

SETTING = "ARCH_TRACKER"
FETCH_TIME = 60  # seconds for the whole file, however slowly it comes
SIZE_LIMIT = 64 * 1024 * 1024  # bytes; the real file has about 1 MB
SEVERITIES = ("critical", "high", "medium", "low", "unknown")  # worst first

NO_DATA = (
    f"Without data of the Arch security tracker it cannot be told what is a security update. Set {SETTING} to "
    "https://security.archlinux.org/all.json, or to a file with a copy of it."
)


@dataclass(frozen=True, slots=True)
class Group:
    """One issue of the tracker: `affected` is the version that it was found in, `fixed` may long be missing."""

    name: str
    packages: tuple[str, ...]
    status: str
    severity: str
    affected: str
    fixed: str
    cves: tuple[str, ...]
    advisories: tuple[str, ...]

    @property
    def words(self) -> str:
        return f"{self.name} ({self.severity})"


@dataclass(frozen=True, slots=True)
class TrackerData:
    """`groups` is None where there is nothing to read."""

    groups: Sequence[Group] | None
    date: datetime | None = None
    gaps: tuple[Gap, ...] = ()


class ArchTracker:
    def __init__(self, runner: Runner, source: str, private: Path) -> None:
        """`source` is an address, or the path of a file; what is fetched is kept in `private`."""
        self.runner = runner
        self.source = source
        self.kept = private / "arch-tracker.json"

    @property
    def is_address(self) -> bool:
        return self.source.startswith(("https://", "http://"))

    def refresh(self) -> tuple[Gap, ...]:
        """Fetch the list anew if it has changed. After a failure the kept one goes on, with its age."""
        if not self.is_address:
            return ()
        try:
            data = self.fetch()
            if data is not None:
                parse_groups(data)  # nonsense must not replace what we have
                part = self.kept.with_suffix(".part")
                part.write_bytes(data)
                part.replace(self.kept)
            os.utime(self.kept)
        except (OSError, ValueError) as error:
            age = f" Its copy of {modified(self.kept):%Y-%m-%d} is used." if self.kept.exists() else ""
            reason = getattr(error, "reason", error)
            return (Gap(f"The Arch security tracker could not be fetched from {self.source}: {reason}.{age}"),)
        return ()

    def fetch(self) -> bytes | None:
        """The file, or None where it has not changed since we last asked."""
        request = urllib.request.Request(self.source)  # noqa: S310  # http and https only, see is_address
        if self.kept.exists():
            request.add_header("If-Modified-Since", formatdate(self.kept.stat().st_mtime, usegmt=True))
        end = min(time.monotonic() + FETCH_TIME, self.runner.deadline)
        chunks: list[bytes] = []
        try:
            with urllib.request.urlopen(request, timeout=max(0.1, min(10, end - time.monotonic()))) as answer:  # noqa: S310
                while chunk := answer.read1(65536):
                    chunks.append(chunk)
                    self.runner.watch()
                    if time.monotonic() > end:
                        raise TimeoutError("it did not come within the time limit")
                    if sum(map(len, chunks)) > SIZE_LIMIT:
                        raise ValueError("it is far too long")
        except urllib.error.HTTPError as error:
            if error.code == 304:
                return None
            raise
        return b"".join(chunks)

    def read(self) -> TrackerData:
        if not self.source:
            return TrackerData(None, None, (Gap(NO_DATA),))
        path = self.kept if self.is_address else Path(self.source)
        try:
            return TrackerData(parse_groups(path.read_bytes()), modified(path))
        except FileNotFoundError:
            missing = "was not fetched yet" if self.is_address else "does not exist"
            return TrackerData(None, None, (Gap(f"The list of the Arch security tracker ({self.source}) {missing}."),))
        except (OSError, ValueError) as error:
            gap = Gap(f"The list of the Arch security tracker ({self.source}) could not be read: {error}.")
            return TrackerData(None, None, (gap,))


def parse_groups(data: bytes) -> list[Group]:
    # {"name": "AVG-1234", "packages": ["curl"], "status": "Fixed", "severity": "High", "affected": "8.4.0-1",
    #  "fixed": "8.5.0-1" or null, "issues": ["CVE-2024-1234"], "advisories": ["ASA-202401-01"], …}
    entries = json.loads(data)
    if not isinstance(entries, list) or not entries:
        raise ValueError("it is not a list of issues")
    try:
        return [
            Group(
                entry["name"],
                tuple(entry["packages"]),
                entry["status"],
                entry["severity"],
                comparable(entry["affected"]),
                comparable(entry["fixed"] or ""),
                tuple(entry["issues"]),
                tuple(entry["advisories"]),
            )
            for entry in entries
        ]
    except (KeyError, TypeError) as error:
        raise ValueError(f"an issue in it is not as expected ({error})") from error


def comparable(version: str) -> str:
    alpm_key(version)
    return version


def modified(path: Path) -> datetime:
    return datetime.fromtimestamp(path.stat().st_mtime, UTC)


def newer(version: str, than: str) -> bool:
    """vercmp's order: the release counts only where both versions have one."""
    if "-" not in version or "-" not in than:
        version, than = version.partition("-")[0], than.partition("-")[0]
    return alpm_key(version) > alpm_key(than)


def urgency(group: Group) -> int:
    word = group.severity.lower()
    return SEVERITIES.index(word) if word in SEVERITIES else len(SEVERITIES)
