"""Debian's security tracker: what is fixed, and of what is not, why not. By source packages.

The file is one JSON object of about 70 MB; a package such as linux has 10,000 CVEs, so not even one package is held.
"""

import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import IO, Any

import ijson

from scanner.package_managers.os_release import DEBIAN_CODENAMES
from scanner.vulnerabilities.interface import Affected, Details, Entry, Feed, FeedError, Status

PAGE = "https://security-tracker.debian.org/tracker/"
CVE = re.compile(r"CVE-\d{4}-\d{4,}")
NOT_AFFECTED = "0"  # as a fixed version
VERSION = re.compile(r"(?:\d{1,9}:)?[0-9A-Za-z.+~:-]+")
NO_SEVERITY = ("not yet assigned", "end-of-life")  # what the urgency may be as well
UNFIXED: dict[str, Status] = {"unimportant": "unimportant", "end-of-life": "eol"}
"""By urgency."""
WITHOUT_DSA: dict[str, Status] = {"ignored": "ignored", "postponed": "postponed"}
"""By nodsa_reason, which is empty where `nodsa` says it all."""


class Debian(Feed):
    name = "debian"
    label = "Debian security tracker"
    address = "https://security-tracker.debian.org/tracker/data/json"

    def __init__(self, releases: Collection[str] | None = None) -> None:
        """`releases`, such as {"debian:12"}: only their rows are read; None means all."""
        super().__init__()
        self.releases = releases

    def parse(self, file: Path) -> Iterator[Entry]:
        self.dropped = 0
        described: set[str] = set()
        issues = 0
        try:
            with file.open("rb") as opened:
                for source, issue, fields in each_issue(opened):
                    issues += 1
                    rows = list(self.rows(source, issue, fields))
                    yield from rows
                    if rows and CVE.fullmatch(issue) and issue not in described:
                        described.add(issue)  # it is told again for each package
                        yield Details(issue, text_of(fields, "description"))
        except (OSError, ijson.JSONError) as error:
            words = error if isinstance(error, OSError) else in_words(error)
            raise FeedError(f"The feed {self.name} could not be read from {file.name}: {words}.") from error
        if not issues:
            raise FeedError(f"There is no issue in {file.name}: is it the file of the feed {self.name}?")

    def rows(self, source: str, issue: str, fields: Any) -> Iterator[Affected]:
        """One issue of one package, in each release."""
        releases = fields.get("releases") if isinstance(fields, dict) else None
        if not isinstance(releases, dict):
            self.dropped += 1
            return
        description = text_of(fields, "description")
        for codename, state in releases.items():
            release, status = DEBIAN_CODENAMES.get(codename), status_of(state)
            if release is None or status is None:
                self.dropped += 1
            elif (self.releases is None or release in self.releases) and text_of(
                state, "fixed_version"
            ) != NOT_AFFECTED:
                yield row(release, source, issue, state=state, status=status, description=description)


def in_words(error: ijson.JSONError) -> str:
    """What is wrong, without the drawing of where below it; bytes, where a file is not even text."""
    words = error.args[0] if error.args else ""
    text = words.decode(errors="replace") if isinstance(words, bytes) else str(words)
    return f"it is no whole JSON: {text.partition(chr(10))[0].rstrip('.')}"


def each_issue(opened: IO[bytes]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Source package, CVE or TEMP- id, and its fields, one at a time. Nothing in it is a list."""
    # {"openssl": {"CVE-2024-0727": {"description": "…", "scope": "remote", "releases": {"bookworm": {…}, …}}, …}, …}
    source = issue = key = ""
    depth = 0
    maps: list[dict[str, Any]] = []  # that have begun: the issue's own, and those within
    for event, value in ijson.basic_parse(opened, use_float=True):
        if event == "map_key":
            key = value
            if depth == 1:
                source = value
            elif depth == 2:
                issue = value
        elif event == "start_map":
            depth += 1
            begun: dict[str, Any] = {}
            if maps:
                maps[-1][key] = begun
            if maps or depth == 3:
                maps.append(begun)
        elif event == "end_map":
            depth -= 1
            ended = maps.pop() if maps else {}
            if depth == 2:
                yield source, issue, ended
        elif maps:
            maps[-1][key] = value


def row(release: str, source: str, issue: str, *, state: Any, status: Status, description: str) -> Affected:
    """A TEMP- id stands for an issue that has no CVE yet, and so has no `Details` to say what it is."""
    is_cve = CVE.fullmatch(issue) is not None
    return Affected(
        distribution=release,
        name=source,
        advisory=issue,
        cves=(issue,) if is_cve else (),
        status=status,
        fixed_version=text_of(state, "fixed_version") if status == "fixed" else "",
        severity=severity_of(state),
        reason=text_of(state, "nodsa") if status != "fixed" else "",
        summary="" if is_cve else description,
        url=PAGE + issue,
    )


def status_of(state: Any) -> Status | None:
    """None for what makes no sense."""
    # {"status": "resolved", "fixed_version": "1.6.0.2-1", "urgency": "high**", "repositories": {…}}
    # {"status": "open", "urgency": "low", "nodsa": "Minor issue", "nodsa_reason": "postponed", "repositories": {…}}
    word = text_of(state, "status")
    if word == "resolved":
        return "fixed" if VERSION.fullmatch(text_of(state, "fixed_version")) else None
    if word == "open":
        without = WITHOUT_DSA.get(text_of(state, "nodsa_reason"), "no_dsa" if "nodsa" in state else "open")
        return UNFIXED.get(urgency_of(state), without)
    return "undetermined" if word == "undetermined" else None


def severity_of(state: Any) -> str:
    urgency = urgency_of(state)
    return "" if urgency in NO_SEVERITY else urgency


def urgency_of(state: Any) -> str:
    # "high**": the stars say that it was not Debian who chose it
    return text_of(state, "urgency").rstrip("*").lower()


def text_of(fields: Any, key: str) -> str:
    value = fields.get(key) if isinstance(fields, dict) else None
    return value.strip() if isinstance(value, str) else ""
