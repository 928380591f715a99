"""AlmaLinux' real advisories, judged a second time: read again in the plainest way, and compared by rpm itself."""

import json
import re
import subprocess
import zipfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

from scanner.vulnerabilities.interface import Affected
from scanner.vulnerabilities.matching import Item, Row, match
from scanner.vulnerabilities.osv import AlmaLinux
from scanner.vulnerabilities.version_keys import rpm_key

FEED = Path(__file__).parents[1] / "recorded/feeds/almalinux-osv.zip"
BASE = ""  # instead of the stream of a module


class Said(NamedTuple):
    """What an advisory says of a package: fixed in this version, if the package is of one of these streams."""

    advisory: str
    issues: tuple[str, ...]  # the CVEs, or the advisory itself where it names none
    release: str
    name: str
    fixed: str
    streams: tuple[str, ...]


class Installed(NamedTuple):
    release: str
    name: str
    version: str
    stream: str = BASE


Vulnerable = tuple[Installed, str]
"""With the CVE, or an advisory that names none."""


# --- the second reading -----------------------------------------------------------------------------


def said(feed: Path) -> list[Said]:
    with zipfile.ZipFile(feed) as archive:
        records = [json.loads(archive.read(name)) for name in archive.namelist() if name.endswith(".json")]
    return [row for record in {record["id"]: record for record in records}.values() for row in rows(record)]


def rows(record: dict) -> Iterator[Said]:
    cves = tuple(issue for issue in record["related"] if issue.startswith("CVE-"))
    if not cves and not record["id"].startswith("ALSA-"):
        return  # a bug fix
    for affected in record["affected"]:
        ecosystem, name = affected["package"]["ecosystem"], affected["package"]["name"]
        [begin, end] = affected["ranges"][0]["events"]
        assert begin == {"introduced": "0"}
        streams = streams_in(record["summary"]) if "module" in end["fixed"] else (BASE,)
        yield Said(record["id"], cves or (record["id"],), ecosystem, name, end["fixed"], streams)


def streams_in(summary: str) -> tuple[str, ...]:
    # Moderate: virt:rhel and virt-devel:rhel security update      ALSA-2022:5468: php:8.0 security update (Important)
    words = (word.strip(",").partition("/")[0] for word in summary.split())
    return tuple(word for word in words if ":" in word and not word.endswith(":"))


# --- the host ---------------------------------------------------------------------------------------


def host(every: Iterable[Said]) -> set[Installed]:
    """Every package in the version that fixes it, in one before and in one after; and base packages of those names."""
    found: set[Installed] = set()
    for row in every:
        for stream in row.streams:
            for version in (below(row.fixed), row.fixed, above(row.fixed)):
                found.add(Installed(row.release, row.name, version, stream))
            if stream != BASE:
                base = re.sub(r"\.module.*", f".el{row.release.partition(':')[2]}", row.fixed)
                found.update(Installed(row.release, row.name, version) for version in (below(base), base, "0-0"))
    return found


def below(version: str) -> str:
    """4:5.32.1-473.el8 -> 4:5.32.1-472.el8; 1.0-0.1.el9 -> 1.0~-0.1.el9"""
    front, _, release = version.rpartition("-")
    number = re.match(r"\d+", release)
    if number and int(number[0]):
        return f"{front}-{int(number[0]) - 1}{release[number.end() :]}"
    return f"{front}~-{release}"


def above(version: str) -> str:
    return f"{version}.1"


# --- both judges ------------------------------------------------------------------------------------


def by_rpm(every: Iterable[Said], installed: Iterable[Installed]) -> set[Vulnerable]:
    """Vulnerable is what is older than every fix that an advisory has for its stream."""
    installed = list(installed)
    fixes: dict[tuple[str, str, str], dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    issues: dict[str, tuple[str, ...]] = {}
    for row in every:
        issues[row.advisory] = row.issues
        for stream in row.streams:
            fixes[row.release, row.name, stream][row.advisory].add(row.fixed)
    known = {fix for advisories in fixes.values() for several in advisories.values() for fix in several}
    place = rpms_order(known | {package.version for package in installed})
    return {
        (package, issue)
        for package in installed
        for advisory, several in fixes[package.release, package.name, package.stream].items()
        if all(place[package.version] < place[fix] for fix in several)
        for issue in issues[advisory]
    }


def rpms_order(versions: Iterable[str]) -> dict[str, int]:
    """Each version's place in rpm's own order; equal ones share one."""
    script = """
        local versions, out, place = {}, {}, 0
        for version in io.lines() do versions[#versions + 1] = version end
        table.sort(versions, function(a, b) return rpm.vercmp(a, b) < 0 end)
        for number, version in ipairs(versions) do
            if number > 1 and rpm.vercmp(versions[number - 1], version) < 0 then place = place + 1 end
            io.stderr:write(place, " ", version, "\\n")
        end"""  # not print: rpm dies of so long a macro
    done = subprocess.run(
        ["rpm", "--eval", "%{lua: " + script + "}"],
        input="\n".join(sorted(set(versions))),
        capture_output=True,
        text=True,
        check=True,
    )
    places = (line.split(" ", 1) for line in done.stderr.splitlines())
    return {version: int(place) for place, version in places}


def by_us(feed: Path, installed: Iterable[Installed]) -> set[Vulnerable]:
    by_release: dict[str, list[Row]] = defaultdict(list)
    for entry in AlmaLinux().parse(feed):
        if isinstance(entry, Affected):
            by_release[entry.distribution].append(row_of(entry))
    found: set[Vulnerable] = set()
    alike: dict[tuple[str, str], list[Installed]] = defaultdict(list)
    for package in installed:
        alike[package.release, package.stream].append(package)
    for (ecosystem, stream), packages in alike.items():
        release = ecosystem.replace("AlmaLinux:", "alma:")
        items = [Item(package.name, package.version, "x86_64", module=stream) for package in packages]
        for finding in match(items, by_release[release], release):
            package = Installed(ecosystem, finding.package, finding.installed_version, stream)
            found.add((package, finding.cve or finding.advisory))
    return found


def row_of(entry: Affected) -> Row:
    about = (entry.distribution, entry.name, entry.advisory, entry.cves, entry.status, entry.fixed_version)
    return Row(*about, rpm_key(entry.fixed_version), module=entry.module)


def differences(ours: set[Vulnerable], rpms: set[Vulnerable]) -> dict[str, list[str]]:
    return {
        "only ours": sorted(f"{issue}: {' '.join(package)}" for package, issue in ours - rpms),
        "only rpm's": sorted(f"{issue}: {' '.join(package)}" for package, issue in rpms - ours),
    }


@cache
def judged(feed: Path) -> tuple[set[Installed], set[Vulnerable], set[Vulnerable]]:
    """The host, and what is vulnerable of it by us and by rpm."""
    every = said(feed)
    installed = host(every)
    return installed, by_us(feed, installed), by_rpm(every, installed)


def test_rpm_comes_to_the_same_for_every_package_around_every_fix() -> None:
    installed, ours, rpms = judged(FEED)
    assert differences(ours, rpms) == {"only ours": [], "only rpm's": []}
    assert len(installed) > 8000


def test_a_package_that_has_every_fix_is_vulnerable_to_nothing() -> None:
    installed, ours, _ = judged(FEED)
    newest: dict[tuple[str, str, str], Installed] = {}
    place = rpms_order(package.version for package in installed)
    for package in installed:
        key = (package.release, package.name, package.stream)
        if key not in newest or place[newest[key].version] < place[package.version]:
            newest[key] = package
    patched = set(newest.values())
    assert [(package, issue) for package, issue in ours if package in patched] == []


def test_no_advisory_about_a_module_is_about_a_base_package() -> None:
    """What a base package of a module's name has, however old it is, comes from advisories about that base package."""
    every = said(FEED)
    _, ours, _ = judged(FEED)
    of_base = {(row.release, row.name, issue) for row in every if BASE in row.streams for issue in row.issues}
    with_base = {(package.release, package.name, issue) for package, issue in ours if package.stream == BASE}
    assert with_base - of_base == set()
    modular = {(row.release, row.name) for row in every if BASE not in row.streams}
    assert len({name for _, name, _ in with_base} & {name for _, name in modular}) > 50  # both kinds there are


def test_the_base_perl_of_almalinux_8_has_nothing_of_perl_5_32() -> None:
    """ALSA-2024:3128: other scanners report it for 5.26."""
    base = Installed("AlmaLinux:8", "perl", "4:5.26.3-421.el8")
    older = Installed("AlmaLinux:8", "perl", "4:5.32.1-471.module_el8.6.0+2766+8bf0b7ce", "perl:5.32")
    found = by_us(FEED, [base, older])
    assert (older, "CVE-2023-47038") in found
    assert (base, "CVE-2023-47038") not in found


def test_what_names_no_cve_is_found_by_its_own_id_and_only_if_it_is_about_security() -> None:
    with zipfile.ZipFile(FEED) as archive:
        ids = {Path(name).stem for name in archive.namelist()}
    assert {"ALBA-2022:8256", "ALBA-2026:39332", "ALEA-2022:1869"} <= ids
    _, ours, _ = judged(FEED)
    assert {issue for _, issue in ours if not issue.startswith("CVE-")} == {
        "ALSA-2023:6077",
        "ALSA-2024:3823",
        "ALSA-2024:9470",
        "ALSA-2026:19367",
    }


def test_the_sample_has_what_makes_judging_hard() -> None:
    every = said(FEED)
    streams = {stream for row in every for stream in row.streams if stream != BASE}
    assert {"perl:5.32", "php:8.1", "php:8.2", "nodejs:18", "nodejs:20", "httpd:2.4", "virt-devel:rhel"} <= streams
    assert {row.release for row in every} == {"AlmaLinux:8", "AlmaLinux:9", "AlmaLinux:10"}
    openssl = {row.advisory for row in every if (row.release, row.name) == ("AlmaLinux:9", "openssl")}
    assert len(openssl) > 3
    fixes = Counter((row.advisory, row.release, row.name) for row in every)
    assert max(fixes.values()) > 1
    assert any(row.fixed.startswith("1:") for row in every)
