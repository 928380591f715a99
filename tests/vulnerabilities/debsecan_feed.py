"""Data that debsecan and we can both read: a feed, the packages of a host, and both in the forms that debsecan takes.

debsecan is Debian's own; it judges by a feed in a form of its own (release/1/<codename>), which Debian's tracker writes
beside its data/json. Here that form is made of a file in the shape of data/json, so that both judge by the same data.
"""

import functools
import json
import random
import subprocess
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

Tracker = Mapping[str, Mapping[str, Mapping[str, Any]]]
"""{"openssl": {"CVE-2024-0727": {"description": "…", "scope": "remote", "releases": {"bullseye": {…}, …}}, …}, …}"""

NOT_AFFECTED = "0"
URGENCIES = {"low": "L", "medium": "M", "high": "H"}
SCOPES = {"remote": "R", "local": " "}


class Package(NamedTuple):
    """What `dpkg-query` says of an installed package."""

    name: str
    version: str
    architecture: str
    source: str
    source_version: str


# --- what debsecan reads ----------------------------------------------------------------------------


def feed_of(tracker: Tracker, codename: str, packages: Iterable[Package] = (), *, as_published: bool = False) -> bytes:
    """The file release/1/<codename>. `packages` say which binaries a source has: what is missing there is "obsolete".

    A version is vulnerable below the first one of its line, unless it is one of those that follow; without a first one
    always. Debian's own file has the fix of unstable there, and behind it all versions of the releases that have the
    fix (`as_published`). That says nothing of a version between those, so the other way is to put the fix of this
    release there, as data/json has it: then debsecan can judge any version.
    """
    # VERSION 1
    # CVE-2024-0727,,PKCS12 Decoding crashes                  all issues; by their places they are named below
    #
    # openssl,0,S RF,3.1.5-1,1.1.1w-0+deb11u2 3.0.13-1~deb12u1        S: a source package. R: remote. F: has a fix
    #
    # openssl,libssl1.1 openssl                               the binaries of a source
    #
    lines = (published if as_published else by_release)(tracker, codename)
    places: dict[str, int] = {}
    descriptions, vulnerabilities = [], []
    for source, issue, flags, versions in lines:
        if issue not in places:
            places[issue] = len(places)
            descriptions.append(f"{issue},,{' '.join(tracker[source][issue].get('description', '').split())}")
        vulnerabilities.append(f"{source},{places[issue]},{flags},{versions}")
    binaries: dict[str, set[str]] = defaultdict(set)
    for package in packages:
        binaries[package.source].add(package.name)
    sources = [f"{source},{' '.join(sorted(names))}" for source, names in sorted(binaries.items()) if names != {source}]
    text = "\n".join(["VERSION 1", *descriptions, "", *vulnerabilities, "", *sources, "", ""])
    return zlib.compress(text.encode())


Line = tuple[str, str, str, str]
"""Source package, issue, flags, and the versions behind them."""


def by_release(tracker: Tracker, codename: str) -> Iterator[Line]:
    """Every issue of the release; Debian's own file leaves out those that are unimportant."""
    for source, issue, fields in each_issue(tracker):
        state = fields["releases"].get(codename)
        if state and (fixed := fix_of(state)) != NOT_AFFECTED:
            yield source, issue, flags(fields, state), f"{fixed},"


def published(tracker: Tracker, codename: str) -> Iterator[Line]:
    """As the tracker does it: calculateDebsecan1 in its security_db.py."""
    order = ranks({version for _, _, fields in each_issue(tracker) for version in all_versions(fields)})
    with_fixes = {(source, release): found for source in tracker for release, found in known(tracker[source]).items()}
    for source, issue, fields in each_issue(tracker):
        states = fields["releases"]
        unstable = fix_of(states.get("sid", {}))
        if unstable == NOT_AFFECTED or all(
            urgency(state) in ("unimportant", "end-of-life") for state in states.values()
        ):
            continue
        others = {
            version
            for release, state in states.items()
            if release != "sid" and (fixed := fix_of(state))
            for version in with_fixes[source, release]
            if order[version] >= order[fixed]
        }
        state = states.get(codename, {})
        yield source, issue, flags(fields, state), f"{unstable},{' '.join(sorted(others))}"


def each_issue(tracker: Tracker) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    for source, issues in tracker.items():
        for issue, fields in issues.items():
            if fields["releases"]:  # a list, if empty: {"releases": []}
                yield source, issue, fields


def known(issues: Mapping[str, Mapping[str, Any]]) -> dict[str, set[str]]:
    """By release: the versions of a source that are, or were, in its archive, as far as its issues tell."""
    found: dict[str, set[str]] = defaultdict(set)
    for fields in issues.values():
        for release, state in dict(fields["releases"]).items():
            found[release] |= {fix_of(state), *state.get("repositories", {}).values()} - {""}
    return found


def all_versions(fields: Mapping[str, Any]) -> Iterator[str]:
    for state in fields["releases"].values():
        yield from filter(None, (fix_of(state), *state.get("repositories", {}).values()))


def fix_of(state: Mapping[str, Any]) -> str:
    return str(state["fixed_version"]) if state.get("status") == "resolved" else ""


def urgency(state: Mapping[str, Any]) -> str:
    return str(state.get("urgency", "")).rstrip("*")


def flags(fields: Mapping[str, Any], state: Mapping[str, Any]) -> str:
    remote = SCOPES.get(fields.get("scope", ""), "?")
    return f"S{URGENCIES.get(urgency(state), ' ')}{remote}{'F' if fix_of(state) else ' '}"


APT_ORDER = """
import functools, json, sys, apt_pkg
apt_pkg.init_system()
versions = sorted(json.load(sys.stdin), key=functools.cmp_to_key(apt_pkg.version_compare))
ranks, rank = {}, 0
for before, version in zip([versions[0], *versions], versions):
    rank += apt_pkg.version_compare(before, version) != 0
    ranks[version] = rank
print(json.dumps(ranks))
"""


def ranks(versions: Iterable[str]) -> dict[str, int]:
    """The places of versions in apt's order, which is not ours; equal ones share one."""
    asked = json.dumps(sorted(versions))
    program = ["/usr/bin/python3", "-c", APT_ORDER]
    found: dict[str, int] = json.loads(
        subprocess.run(program, input=asked, stdout=subprocess.PIPE, text=True, check=True).stdout
    )
    return found


def status_of(packages: Sequence[Package]) -> str:
    """A host's /var/lib/dpkg/status. A name that is there twice is installed for two architectures."""
    times = Counter(package.name for package in packages)
    return "".join(stanza(package, several=times[package.name] > 1) for package in packages)


def stanza(package: Package, *, several: bool) -> str:
    lines = [
        f"Package: {package.name}",
        "Status: install ok installed",
        "Maintainer: Nobody <nobody@example.com>",
        f"Architecture: {package.architecture}",
        *(["Multi-Arch: same"] if several else []),
        *source_line(package),
        f"Version: {package.version}",
        "Description: made for a test",
    ]
    return "\n".join([*lines, "", ""])


def source_line(package: Package) -> list[str]:
    """As dpkg writes it: the source where its name differs, and its version where that differs."""
    if package.source_version != package.version:
        return [f"Source: {package.source} ({package.source_version})"]
    return [f"Source: {package.source}"] if package.source != package.name else []


class Host(NamedTuple):
    """Files for debsecan, and the words to ask it with."""

    command: tuple[str, ...]
    status: Path


def written(
    folder: Path, tracker: Tracker, codename: str, packages: Sequence[Package], *, as_published: bool = False
) -> Host:
    """A feed and a host, as files in a folder. Nothing of this machine's own debsecan is read."""
    (folder / codename).write_bytes(feed_of(tracker, codename, packages, as_published=as_published))
    (folder / "status").write_text(status_of(packages))
    own = {"source": folder.as_uri(), "suite": codename, "status": folder / "status", "config": folder / "no-config"}
    words = [word for name, value in own.items() for word in (f"--{name}", str(value))]
    return Host(("debsecan", *words, "--whitelist", str(folder / "no-whitelist")), folder / "status")


# --- a feed and a host that are made up -------------------------------------------------------------

SYLLABLES = "ba cor di en fu gra he ix jo ka lu mo ne or py qu ri sta tex um vi zo"
PREFIXES = (*[""] * 12, "lib", "lib", "python-", "golang-", "ruby-", "node-", "r-cran-", "g++-")
WORDS = "a buffer, overflow in the parser of crafted files allows remote attackers to read memory via naïve input"
FORMS = ("{}", "{}-common", "lib{}1", "lib{}2.0-0", "lib{}-dev", "{}-doc", "python3-{}", "{}-bin", "gir1.2-{}-1.0")
FOR_ALL = ("-common", "-doc")


class Source(NamedTuple):
    name: str
    versions: Sequence[str]  # that the release has had
    unstable: str


class Made(NamedTuple):
    tracker: dict[str, dict[str, dict[str, Any]]]
    packages: list[Package]


@functools.cache
def made(*, rows: int, packages: int, sources: int = 3600, codenames: Sequence[str] = ("bullseye", "sid")) -> Made:
    """The same at every call: `rows` of bullseye, apart from what does not affect it, and a host with `packages`.

    As in Debian, most sources have few issues and some have hundreds, most packages of a host are up to date, some
    sources are of no issue, and binaries have names, and some of them versions, of their own.
    """
    chance = random.Random(20260821)
    every = made_sources(chance, sources * 3 // 2)
    in_feed = every[:sources]
    return Made(made_tracker(chance, in_feed, rows, codenames), made_host(chance, every, packages))


def made_sources(chance: random.Random, count: int) -> list[Source]:
    names: dict[str, None] = {}
    syllables = SYLLABLES.split()
    while len(names) < count:
        names[chance.choice(PREFIXES) + "".join(chance.choices(syllables, k=chance.choice((2, 3))))] = None
    return [made_source(chance, name) for name in names]


def made_source(chance: random.Random, name: str) -> Source:
    """1:1.9~rc1+dfsg-1, 1:1.9+dfsg-1, 1:1.10+dfsg-1~deb11u1, 1:1.10+dfsg-1, 1:1.10+dfsg-1+deb11u1, …u9, …u10"""
    epoch = chance.choice((*[""] * 7, "1:", "1:", "3:"))
    repack = chance.choice((*[""] * 7, "+dfsg", "+ds1", "~dfsg", "+git20201213.1"))
    major, minor = chance.randrange(4), chance.choice((0, 3, 9, 99))
    if native := chance.random() < 0.05:
        numbers = sorted(chance.sample(range(2000), 8))
        versions = [f"{epoch}{major}.{number}{repack}" for number in numbers]
    else:
        before, release = f"{epoch}{major}.{minor}", f"{epoch}{major}.{minor + 1}"
        revision = chance.choice(("1", "1.1", "2", "10", "0+really1.4"))
        updates = sorted(chance.sample(range(1, 15), chance.randrange(1, 9)))
        versions = [f"{before}~rc1{repack}-1", f"{before}{repack}-1", f"{before}{repack}-1+deb10u3"]
        versions += [f"{release}{repack}-{revision}~deb11u1", f"{release}{repack}-{revision}"]
        versions += [f"{release}{repack}-{revision}+deb11u{number}" for number in updates]
    if epoch == "1:" and chance.random() < 0.3:
        versions.insert(0, f"2020{major}1213-1")  # a date, before the epoch made it older than 1:0.1
    return Source(name, versions, f"{epoch}{major + 1}.0{repack}" + ("" if native else "-1"))


def made_tracker(
    chance: random.Random, sources: Sequence[Source], rows: int, codenames: Sequence[str]
) -> dict[str, dict[str, dict[str, Any]]]:
    tracker: dict[str, dict[str, dict[str, Any]]] = {source.name: {} for source in sources}
    weights = list(accumulate(min(chance.paretovariate(0.9), 120) for _ in sources))
    words = WORDS.split()
    number = 10000
    while rows:
        [source] = chance.choices(sources, cum_weights=weights)
        number += chance.random() < 0.9  # else the issue of the package before is of this one as well
        issue = f"CVE-{2004 + number % 22}-{number}"
        if number % 100 == 7:
            issue = f"TEMP-{number:07}-{number * 7919 % 2**24:06X}"
        if issue in tracker[source.name]:
            continue
        states = made_states(chance, source)
        rows -= fix_of(states["bullseye"]) != NOT_AFFECTED
        tracker[source.name][issue] = {
            "description": " ".join(chance.choices(words, k=chance.randrange(4, 30))).replace("memory", "\nmemory"),
            "scope": chance.choice(("remote", "remote", "local", "")),
            "releases": {codename: states[codename] for codename in codenames},
        }
    return {name: issues for name, issues in tracker.items() if issues}


def made_states(chance: random.Random, source: Source) -> dict[str, dict[str, Any]]:
    """What is said of an issue in stable and in unstable. An urgency that says why there is no fix holds for both."""
    level = chance.choice((*["not yet assigned"] * 6, "low", "low**", "medium", "medium**", "high**", "high*"))
    resolved = {"status": "resolved", "fixed_version": chance.choice(source.versions), "urgency": level}
    unaffected = {**resolved, "fixed_version": NOT_AFFECTED}
    unfixed = {"status": "open", "urgency": level}
    minor = {**unfixed, "nodsa": "Minor issue"}
    [stable] = chance.choices(
        [
            resolved,
            unaffected,
            unfixed,
            {**minor, "nodsa_reason": ""},
            {**minor, "nodsa_reason": "ignored"},
            {**minor, "nodsa_reason": "postponed"},
            {**unfixed, "urgency": "unimportant"},
            {**resolved, "urgency": "unimportant"},
            {**unfixed, "urgency": "end-of-life"},
            {"status": "undetermined", "urgency": level},
        ],
        [880, 50, 15, 20, 6, 10, 15, 10, 3, 1],
    )
    unstable = {**resolved, "fixed_version": source.unstable, "urgency": stable["urgency"]}
    if chance.random() < 0.05:
        unstable = {"status": "open", "urgency": stable["urgency"]}
    elif stable is unaffected and chance.random() < 0.5:
        unstable = unaffected
    archive = {"bullseye": source.versions[-2], "bullseye-security": source.versions[-1]}
    return {
        "bullseye": {"repositories": archive, **stable},
        "sid": {"repositories": {"sid": source.unstable}, **unstable},
    }


def made_host(chance: random.Random, sources: Sequence[Source], count: int) -> list[Package]:
    """Up to nine binaries of a source. Some have the name of another source, which is where a lookup can go wrong."""
    packages: dict[tuple[str, str], Package] = {}
    names: set[str] = set()
    for source in chance.sample(sources, len(sources)):
        version = source.versions[-1] if chance.random() < 0.7 else chance.choice(source.versions)
        chosen = chance.sample(FORMS, min(len(FORMS), 1 + int(chance.expovariate(0.55))))
        forms = [form.format(source.name.removeprefix("lib")) for form in chosen]
        if chance.random() < 0.03:
            forms.append(chance.choice(sources).name)
        for name in forms:
            if name in names:
                continue
            names.add(name)
            package = Package(name, own_version(chance, version), "amd64", source.name, version)
            if name.endswith(FOR_ALL):
                package = package._replace(architecture="all", version=version)
            packages[name, package.architecture] = package
            if package.architecture == "amd64" and chance.random() < 0.05:
                packages[name, "i386"] = package._replace(architecture="i386")
            if len(packages) >= count:
                return list(packages.values())
    raise ValueError(f"{len(sources)} sources have not {count} packages")


def own_version(chance: random.Random, version: str) -> str:
    """Of a binary: its source's, or that of a rebuild, or, as libldb2 from samba has it, one of its own."""
    roll = chance.random()
    if roll < 0.12:
        return f"{version}+b{chance.choice((1, 2, 10))}"
    if roll < 0.17:
        return f"2:{chance.randrange(4)}.{chance.randrange(30)}+{version.rpartition(':')[2].replace('-', '.')}-1"
    return version
