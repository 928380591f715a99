"""Side by side with debsecan, Debian's own judge of a list of packages: by the same data it finds what we find."""

import json
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from scanner.package_managers.os_release import DEBIAN_CODENAMES
from scanner.vulnerabilities import inventory
from scanner.vulnerabilities.debian import Debian
from scanner.vulnerabilities.interface import Affected
from scanner.vulnerabilities.matching import Finding, Item, Row, match
from scanner.vulnerabilities.version_keys import dpkg_key
from tests.vulnerabilities.debsecan_feed import Package, Tracker, each_issue, fix_of, known, made, status_of, written

SAMPLES = Path(__file__).parents[1] / "recorded/feeds"
DPKG_QUERY = r"${Package}\t${Version}\t${Architecture}\t${source:Package}\t${source:Version}\n"
"""As docs/vulnerabilities.md has it."""


URGENCIES = ("low", "medium", "high")  # that debsecan tells


class Found(NamedTuple):
    issue: str
    package: str
    has_fix: bool
    urgency: str


class Sides(NamedTuple):
    """What is found by both, and what only by one of them, in words."""

    both: set[Found]
    only_ours: list[str]
    only_debsecan: list[str]


def ours(file: Path, codename: str, packages: Iterable[Package]) -> list[Finding]:
    release = DEBIAN_CODENAMES[codename]
    rows = [row_of(entry) for entry in Debian({release}).parse(file) if isinstance(entry, Affected)]
    return list(match((Item(*package) for package in packages), rows, release))


def row_of(entry: Affected) -> Row:
    key = dpkg_key(entry.fixed_version) if entry.fixed_version else None
    about = (entry.distribution, entry.name, entry.advisory, entry.cves, entry.status, entry.fixed_version)
    return Row(*about, fixed_key=key, severity=entry.severity)


def debsecans(command: Sequence[str]) -> set[Found]:
    words = [*command, "--format", "summary"]
    lines = subprocess.run(words, capture_output=True, text=True, check=True).stdout.splitlines()
    return {found_in(line) for line in lines}


def found_in(line: str) -> Found:
    # CVE-2010-10456 libvizo2.0-0 (fixed, remotely exploitable, high urgency)
    issue, package, *notes = line.split(" ", 2)
    said = notes[0].strip("()").split(", ") if notes else []
    urgency = next((urgency for urgency in URGENCIES if f"{urgency} urgency" in said), "")
    return Found(issue, package, "fixed" in said, urgency)


@pytest.fixture
def compare(tmp_path: Path) -> Callable[..., Sides]:
    def compared(
        tracker: Tracker,
        packages: Sequence[Package],
        codename: str = "bullseye",
        *,
        as_published: bool = False,
        told: Callable[[Finding], bool] = lambda _: True,
    ) -> Sides:
        """`told`: which of our findings debsecan's feed says anything of."""
        (tmp_path / "tracker").write_text(json.dumps(tracker))
        host = written(tmp_path, tracker, codename, packages, as_published=as_published)
        own = {
            Found(
                finding.cve or finding.advisory,
                finding.package,
                finding.status == "fixed",
                finding.severity if finding.severity in URGENCIES else "",
            )
            for finding in ours(tmp_path / "tracker", codename, packages)
            if told(finding)
        }
        theirs = debsecans(host.command)
        by_name = {package.name: package for package in packages}
        words = [[line(found, by_name) for found in sorted(some)] for some in (own - theirs, theirs - own)]
        return Sides(own & theirs, *words)

    return compared


def line(found: Found, packages: Mapping[str, Package]) -> str:
    fix = "with a fix" if found.has_fix else "without a fix"
    return f"{found.issue}, {fix}, urgency {found.urgency or 'unknown'}: {' '.join(packages[found.package])}"


# --- the same ---------------------------------------------------------------------------------------


def test_debsecan_finds_the_same_in_5000_packages(compare: Callable[..., Sides]) -> None:
    tracker, packages = made(rows=20_000, packages=5000)
    both, only_ours, only_debsecan = compare(tracker, packages)
    assert (only_ours, only_debsecan) == ([], [])
    assert len(both) > 2000
    assert {found.has_fix for found in both} == {True, False}
    assert {found.urgency for found in both} == {*URGENCIES, ""}
    assert any(found.issue.startswith("TEMP-") for found in both)
    assert len({found.package for found in both}) < len({package.name for package in packages}) / 2


def test_debsecan_finds_the_same_where_its_feed_is_written_as_debian_writes_it(compare: Callable[..., Sides]) -> None:
    """It names the versions that are not vulnerable one by one, so only packages in one of them can be compared."""
    tracker, packages = made(rows=20_000, packages=5000)
    versions = {source: known(issues)["bullseye"] for source, issues in tracker.items()}
    named = [package for package in packages if package.source_version in versions.get(package.source, ())]
    assert len(named) > 1500
    both, only_ours, only_debsecan = compare(
        tracker,
        named,
        as_published=True,
        told=lambda finding: finding.severity != "unimportant" and finding.status != "eol",
    )
    assert (only_ours, only_debsecan) == ([], [])
    assert len(both) > 1500


def test_debsecan_finds_the_same_by_real_advisories_in_real_packages(compare: Callable[..., Sides]) -> None:
    tracker = json.loads((SAMPLES / "debian-bullseye-dsa.json").read_text())
    packages = [Package(*values) for values in json.loads((SAMPLES / "debian-bullseye-packages.json").read_text())]
    both, only_ours, only_debsecan = compare(tracker, packages)
    assert (only_ours, only_debsecan) == ([], [])
    assert len(both) > 300


@pytest.mark.parametrize("codename", ["jessie", "stretch", "buster", "bullseye", "bookworm", "trixie", "sid"])
@pytest.mark.parametrize("name", ["debian-1.json", "debian-2.json"])
def test_debsecan_finds_the_same_by_the_trackers_own_file_around_every_version_in_it(
    compare: Callable[..., Sides], name: str, codename: str
) -> None:
    tracker = json.loads((SAMPLES / name).read_text())
    _, only_ours, only_debsecan = compare(tracker, around(tracker), codename)
    assert (only_ours, only_debsecan) == ([], [])


def around(tracker: Tracker) -> list[Package]:
    """Of each source a binary in every version that is named, and in those just before and just after it."""
    sources: dict[str, set[str]] = {}
    for source, _, fields in each_issue(tracker):
        for state in fields["releases"].values():
            sources.setdefault(source, set()).update(filter(None, (fix_of(state), *state["repositories"].values())))
    return [
        Package(f"{source}-{number}-{place}", f"{version}{end}", "amd64", source, f"{version}{end}")
        for source, versions in sources.items()
        for number, version in enumerate(sorted(versions))
        for place, end in enumerate(("~", "", "+"))
    ]


# --- the hosts are what they should be --------------------------------------------------------------


def test_dpkg_says_the_same_of_the_host_that_debsecan_reads(tmp_path: Path) -> None:
    packages = made(rows=20_000, packages=5000).packages
    (tmp_path / "status").write_text(status_of(packages))
    query = ["dpkg-query", f"--admindir={tmp_path}", "-Wf", DPKG_QUERY]
    listed = subprocess.run(query, capture_output=True, text=True, check=True).stdout
    assert set(inventory.read(listed).items) == {Item(*package) for package in packages}


def test_the_made_host_has_what_makes_a_comparison_hard() -> None:
    tracker, packages = made(rows=20_000, packages=5000)
    names = [package.name for package in packages]
    assert len(packages) == 5000
    assert 1700 < len({package.source for package in packages}) < 2300
    for rare in (
        [package for package in packages if package.version == f"{package.source_version}+b10"],
        [package for package in packages if package.version.partition("+")[0] not in package.source_version],
        [package for package in packages if "~" in package.source_version],
        [package for package in packages if package.source_version.startswith("1:")],
        [package for package in packages if package.source not in tracker],
        [package for package in packages if package.name != package.source and package.name in tracker],
        [name for name in set(names) if names.count(name) == 2],
    ):
        assert len(rare) >= 20


# --- where we differ, and why -----------------------------------------------------------------------


def one(fixed: str, *, source: str = "made", **releases: str) -> dict[str, dict[str, dict[str, object]]]:
    """An issue that is fixed in bullseye in this version, and in other releases in these."""
    states = {
        codename: {"status": "resolved", "fixed_version": version, "urgency": "low"}
        for codename, version in {"bullseye": fixed, **releases}.items()
    }
    return {source: {"CVE-2026-10001": {"description": "A text", "releases": states}}}


def test_only_we_know_that_a_signed_kernel_is_the_kernel(compare: Callable[..., Sides]) -> None:
    """The feed speaks of linux. linux-signed-amd64 has the same versions, with a revision of its own behind."""
    image = Package("linux-image-5.10.0-8-amd64", "5.10.46-4", "amd64", "linux-signed-amd64", "5.10.46+4")
    both, only_ours, only_debsecan = compare(one("5.10.70-1", source="linux"), [image])
    assert (both, len(only_ours), only_debsecan) == (set(), 1, [])


def test_only_debsecan_takes_a_fixed_version_for_vulnerable_that_the_archive_no_longer_has(
    compare: Callable[..., Sides],
) -> None:
    """As Debian writes its feed. Between the fix and what is in the archive now there may have been others."""
    package = Package("made", "1.0-1+deb11u2", "amd64", "made", "1.0-1+deb11u2")
    tracker = one("1.0-1+deb11u1", sid="2.0-1")
    assert compare(tracker, [package]) == (set(), [], [])
    both, only_ours, only_debsecan = compare(tracker, [package], as_published=True)
    assert (both, only_ours, len(only_debsecan)) == (set(), [], 1)
