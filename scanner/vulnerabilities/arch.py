"""The Arch Linux security tracker: one entry an issue, which may be about several packages and several CVEs."""

from collections.abc import Collection, Iterator
from pathlib import Path

from scanner.package_managers.arch_tracker import Group, parse_groups
from scanner.vulnerabilities.interface import Affected, Entry, Feed, FeedError

PAGE = "https://security.archlinux.org/"


class Arch(Feed):
    name = "arch"
    label = "Arch Linux security tracker"
    address = f"{PAGE}all.json"
    name_kind = "binary"

    def __init__(self, releases: Collection[str] | None = None) -> None:
        """Arch has no releases: `releases` is what every feed is made with."""
        super().__init__()

    def parse(self, file: Path) -> Iterator[Entry]:
        self.dropped = 0
        try:
            groups = parse_groups(file.read_bytes())  # about 1 MB
        except (OSError, ValueError) as error:
            raise FeedError(f"The feed {self.name} could not be read from {file.name}: {error}.") from error
        for group in groups:
            if group.status == "Fixed" and not group.fixed:
                self.dropped += 1
            elif group.status != "Not affected":
                yield from (row(group, package) for package in group.packages)


def row(group: Group, package: str) -> Affected:
    """Without a fix, `last_affected` is the version that the issue was found in: of newer ones nobody has looked."""
    advisory = advisory_of(group)
    fixed = "" if group.status == "Unknown" else group.fixed  # also of "Vulnerable" and "Testing": it is on its way
    return Affected(
        distribution="arch",
        name=package,
        advisory=advisory,
        cves=tuple(issue for issue in group.cves if issue.startswith("CVE-")),
        status="fixed" if fixed else "undetermined" if group.status == "Unknown" else "open",
        fixed_version=fixed,
        last_affected="" if fixed else group.affected,
        severity="" if group.severity == "Unknown" else group.severity.lower(),
        url=PAGE + advisory,
    )


def advisory_of(group: Group) -> str:
    """The tracker does not say which of several advisories is about which package: then the issue stands for them."""
    return group.advisories[0] if len(group.advisories) == 1 else group.name
