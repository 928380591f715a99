"""Debian's tracker: what is fixed, what is not, and why not."""

import json
import lzma
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from scanner.vulnerabilities.debian import Debian
from scanner.vulnerabilities.interface import Affected, Details, FeedError
from scanner.vulnerabilities.version_keys import dpkg_key

CHECKOUT = Path(__file__).parents[2]
SAMPLES = CHECKOUT / "tests/recorded/feeds"
FULL = CHECKOUT.parent / "shared/data/debian/tracker-shaped-C-59358rows.json.xz"
"""Real and made rows up to the size of the full feed, where it stands beside the repository."""

MEASURED = """
import collections, pathlib, sys
from scanner.vulnerabilities.debian import Debian
read = collections.Counter(type(entry).__name__ for entry in Debian().parse(pathlib.Path(sys.argv[1])))
[peak] = [line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")]
print(read["Affected"], read["Details"], int(peak) // 1024)
"""
"""Not with resource.getrusage: its peak is that of the process before exec, too, which is the tests' own."""


def rows(file: Path, *releases: str) -> list[Affected]:
    return [entry for entry in Debian(releases or None).parse(file) if isinstance(entry, Affected)]


@pytest.fixture
def one(tmp_path: Path) -> Callable[..., list[Affected]]:
    def read(issue: str = "CVE-2026-10001", codename: str = "bookworm", **state: str) -> list[Affected]:
        """The rows of a file with one issue of one package in one release."""
        path = tmp_path / "debian"
        path.write_text(json.dumps({"made": {issue: {"description": "A text", "releases": {codename: state}}}}))
        return rows(path)

    return read


# --- what is said of a package ---------------------------------------------------------------------


def test_a_fixed_issue_is_read_in_full():
    found = [row for row in rows(SAMPLES / "debian-1.json", "debian:12") if row.name == "sope"]
    assert found == [
        Affected(
            distribution="debian:12",
            name="sope",
            advisory="CVE-2025-53603",
            cves=("CVE-2025-53603",),
            status="fixed",
            fixed_version="5.8.0-1+deb12u1",
            url="https://security-tracker.debian.org/tracker/CVE-2025-53603",
        )
    ]


@pytest.mark.parametrize(
    ("state", "status", "reason"),
    [
        ({"status": "open"}, "open", ""),
        ({"status": "open", "nodsa": "Minor issue", "nodsa_reason": ""}, "no_dsa", "Minor issue"),
        ({"status": "open", "nodsa": "Too intrusive", "nodsa_reason": "ignored"}, "ignored", "Too intrusive"),
        ({"status": "open", "nodsa": "Next time", "nodsa_reason": "postponed"}, "postponed", "Next time"),
        ({"status": "open", "urgency": "unimportant"}, "unimportant", ""),
        ({"status": "open", "urgency": "unimportant", "nodsa": "x", "nodsa_reason": "ignored"}, "unimportant", "x"),
        ({"status": "open", "urgency": "end-of-life"}, "eol", ""),
        ({"status": "undetermined", "urgency": "not yet assigned"}, "undetermined", ""),
    ],
)
def test_an_issue_without_a_fix_is_never_dropped_and_says_why(one, state, status, reason):
    assert [(row.status, row.fixed_version, row.reason) for row in one(**state)] == [(status, "", reason)]


def test_the_real_rows_without_a_dsa_are_told_from_open_ones():
    found = [row for row in rows(SAMPLES / "debian-2.json", "debian:11") if row.advisory == "CVE-2021-37231"]
    assert [(row.status, row.reason) for row in found] == [("no_dsa", "Minor issue")]


@pytest.mark.parametrize(
    ("urgency", "severity"),
    [
        ("high**", "high"),
        ("low*", "low"),
        ("medium", "medium"),
        ("unimportant", "unimportant"),
        ("not yet assigned", ""),
        ("end-of-life", ""),
    ],
)
def test_the_stars_of_an_urgency_are_stripped_and_only_severities_are_kept(one, urgency, severity):
    found = one(status="resolved", fixed_version="1:1.0-1", urgency=urgency)
    assert [(row.status, row.severity) for row in found] == [("fixed", severity)]


def test_the_real_urgency_with_stars_is_read():
    assert {row.severity for row in rows(SAMPLES / "debian-1.json") if row.name == "prototypejs"} == {"high"}


def test_a_fix_in_version_0_means_not_affected():
    assert not [row for row in rows(SAMPLES / "debian-1.json") if row.advisory == "CVE-2007-2383"]


def test_an_epoch_is_kept(one):
    assert one(status="resolved", fixed_version="2:1.20.11-1+deb11u6")[0].fixed_version == "2:1.20.11-1+deb11u6"


def test_an_issue_with_a_temporary_id_is_an_advisory_without_a_cve(one):
    [found] = one("TEMP-0000000-A2EB44", status="open")
    assert (found.advisory, found.cves, found.summary) == ("TEMP-0000000-A2EB44", (), "A text")


def test_a_cve_is_described_once_however_many_packages_it_is_in(tmp_path):
    fields = {"description": "A text", "releases": {"bookworm": {"status": "open"}}}
    (tmp_path / "debian").write_text(json.dumps({name: {"CVE-2026-10001": fields} for name in ("one", "two")}))
    read = list(Debian().parse(tmp_path / "debian"))
    assert [entry for entry in read if isinstance(entry, Details)] == [Details("CVE-2026-10001", "A text")]
    assert [entry.name for entry in read if isinstance(entry, Affected)] == ["one", "two"]


def test_only_the_releases_asked_for_are_read_and_only_their_cves_described():
    read = list(Debian({"debian:13"}).parse(SAMPLES / "debian-1.json"))
    assert [entry.distribution for entry in read if isinstance(entry, Affected)] == ["debian:13"]
    assert [entry.cve for entry in read if isinstance(entry, Details)] == ["CVE-2025-53603"]


def test_every_release_is_known_by_its_number():
    found = Counter(row.distribution for row in rows(SAMPLES / "debian-1.json"))
    assert set(found) == {f"debian:{release}" for release in (8, 9, 10, 11, 12, 13, "sid")}


def test_all_versions_that_are_read_can_be_compared():
    for name in ("debian-1.json", "debian-2.json"):
        assert all(dpkg_key(row.fixed_version) for row in rows(SAMPLES / name))


# --- nonsense --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "issues",
    [
        {"CVE-2026-10001": {"releases": []}},  # as in a sample
        {"CVE-2026-10001": {"releases": {"bookworm": {"status": "resolved"}}}},
        {"CVE-2026-10001": {"releases": {"bookworm": {"status": "resolved", "fixed_version": "no version"}}}},
        {"CVE-2026-10001": {"releases": {"bookworm": {"status": "resolved", "fixed_version": 5}}}},
        {"CVE-2026-10001": {"releases": {"bookworm": {"status": "unheard of"}}}},
        {"CVE-2026-10001": {"releases": {"bookworm": ["open"]}}},
        {"CVE-2026-10001": {"releases": [{"status": "open"}, {"status": "open"}]}},
        {"CVE-2026-10001": {"releases": {"nobody": {"status": "open"}}}},
        {"CVE-2026-10001": {}},
    ],
)
def test_nonsense_is_dropped_and_counted_and_what_follows_is_read(tmp_path, issues):
    (tmp_path / "debian").write_text(
        json.dumps({"made": issues, "right": {"CVE-2026-10002": {"releases": {"bookworm": {"status": "open"}}}}})
    )
    feed = Debian()
    assert [entry.name for entry in feed.parse(tmp_path / "debian") if isinstance(entry, Affected)] == ["right"]
    assert feed.dropped == 1


@pytest.mark.parametrize("text", ["", "{}", "[]", "<html>Sign in</html>", '{"made": {"CVE-2026-10001": {"relea'])
def test_a_file_that_is_not_the_trackers_is_an_error(tmp_path, text):
    (tmp_path / "debian").write_text(text)
    with pytest.raises(FeedError, match="debian"):
        list(Debian().parse(tmp_path / "debian"))


def test_a_file_that_is_packed_still_is_an_error_in_one_line(tmp_path):
    (tmp_path / "debian.json.xz").write_bytes(lzma.compress((SAMPLES / "debian-1.json").read_bytes()))
    with pytest.raises(FeedError) as failed:
        list(Debian().parse(tmp_path / "debian.json.xz"))
    assert str(failed.value) == (
        "The feed debian could not be read from debian.json.xz: "
        "it is no whole JSON: lexical error: invalid char in json text."
    )


def test_a_file_that_is_cut_off_is_an_error_after_what_was_read(tmp_path):
    text = (SAMPLES / "debian-1.json").read_text()
    (tmp_path / "debian").write_text(text[: len(text) // 2])
    with pytest.raises(FeedError, match="debian"):
        list(Debian().parse(tmp_path / "debian"))


# --- the full size ---------------------------------------------------------------------------------


def measured(file: Path) -> tuple[int, int, int]:
    """Rows, descriptions and the peak of memory in MB, of a process that reads the file and nothing else."""
    program = [sys.executable, "-c", MEASURED, str(file)]
    printed = subprocess.run(program, capture_output=True, text=True, check=True, cwd=CHECKOUT).stdout
    affected, described, peak = map(int, printed.split())
    return affected, described, peak


@pytest.mark.slow
def test_a_feed_of_full_size_is_read_in_bounded_memory(tmp_path):
    for file in [FULL] if FULL.exists() else []:
        with lzma.open(file) as packed, (tmp_path / "debian").open("wb") as unpacked:
            shutil.copyfileobj(packed, unpacked)
        affected, described, peak = measured(tmp_path / "debian")
        assert (affected, described) == (59358, 40324)
        assert peak < 150


def pieces(source: str, issues: int) -> Iterator[str]:
    """A package with so many issues in five releases, 1,000 bytes each."""
    state = {"status": "open", "urgency": "not yet assigned", "nodsa": "Minor issue", "nodsa_reason": "postponed"}
    releases = {name: {**state, "repositories": {name: "6.1.1-1"}} for name in ("bullseye", "bookworm", "trixie")}
    yield f'{{"{source}": {{'
    for number in range(issues):
        fields = {"description": f"{number} " + "text " * 60, "scope": "local", "releases": releases}
        yield f'{", " if number else ""}"CVE-2026-{number + 10000}": {json.dumps(fields)}'
    yield "}}"


@pytest.mark.slow
def test_memory_is_bounded_also_where_one_package_has_all_issues(tmp_path):
    """linux has 10,000 and more: to hold a package would be to hold most of the file."""
    with (tmp_path / "debian").open("w") as file:
        file.writelines(pieces("linux", 80000))
    assert (tmp_path / "debian").stat().st_size > 60_000_000
    affected, described, peak = measured(tmp_path / "debian")
    assert (affected, described) == (240000, 80000)
    assert peak < 100
