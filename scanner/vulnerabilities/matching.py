"""Which packages are vulnerable, by what feeds say: pure, and the same for a host and for a list that somebody brings.

A package is compared under the name, and in the version, that the feed goes by: Debian's and Ubuntu's name source
packages, the others binary ones. What was never fixed, or will not be, is a finding too, with the vendor's own status.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from scanner.vulnerabilities.interface import NameKind
from scanner.vulnerabilities.version_keys import alpm_key, dpkg_key, rpm_key

Key = Callable[[str], bytes]

FAMILIES: Mapping[str, tuple[Key, tuple[NameKind, ...]]] = {
    "debian": (dpkg_key, ("source",)),
    "ubuntu": (dpkg_key, ("source",)),
    "alma": (rpm_key, ("binary",)),
    "rocky": (rpm_key, ("source",)),
    "rhel": (rpm_key, ("binary", "source")),
    "sles": (rpm_key, ("binary", "source")),
    "leap": (rpm_key, ("binary", "source")),
    "arch": (alpm_key, ("binary",)),
}
"""By the first half of a distribution's name: the order of its versions, and whose names its feeds use."""

PRO = "pro"  # the status of what only a subscription of Ubuntu Pro fixes
BINARY_REBUILD = re.compile(r"\+b\d+$")  # 1.2-3+b1: the source is still 1.2-3
# linux-signed-amd64 (Debian) and linux-signed-hwe-5.15 (Ubuntu) are linux and linux-hwe-5.15 to the feeds
KERNEL_PARTS = re.compile(r"^linux-(signed|meta)(-(amd64|arm64|i386))?(?=-|$)")
MODULAR = re.compile(r"[.+]module[_+]el|\+el\d+\.\d+\.\d+\+\d+")  # 5.32.1-471.module_el8.6.0+2766+8bf0b7ce
NUMBERS = re.compile(r"\d+")
STREAM_OF_NUMBERS = re.compile(r"\d+(\.\d+)*")
UNSAID = "?"  # of a row: it is about a module, and does not say which


@dataclass(frozen=True, slots=True)
class Item:
    """One installed package. `module` is "perl:5.32" for a package from a module stream."""

    name: str
    version: str
    architecture: str = ""
    source: str = ""
    source_version: str = ""
    module: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """What a feed says of a package, with its versions as sortable keys; None where it names none."""

    distribution: str
    name: str
    advisory: str
    cves: tuple[str, ...]
    status: str
    fixed_version: str = ""
    fixed_key: bytes | None = None
    introduced_key: bytes | None = None
    last_affected_key: bytes | None = None
    module: str = ""
    architecture: str = ""
    severity: str = ""
    reason: str = ""
    url: str = ""
    published: datetime | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """A vulnerable package. `cve` is empty for an advisory that names none; `fixed_version`: where it is fixed, if so.

    `status`: fixed (there is a fix to install), pro, or why there is none: open, no_dsa, ignored, postponed,
    unimportant, eol, undetermined, unconfirmed.
    """

    cve: str
    package: str
    architecture: str
    installed_version: str
    fixed_version: str
    status: str
    severity: str
    advisory: str
    reason: str = ""
    url: str = ""
    published: datetime | None = None
    fixed_key: bytes | None = None


class UnknownDistribution(ValueError):
    """No feed is about it."""


def family(distribution: str) -> tuple[Key, tuple[NameKind, ...]]:
    """Raises UnknownDistribution."""
    try:
        return FAMILIES[distribution.partition(":")[0]]
    except KeyError:
        raise UnknownDistribution(
            f"No feed is about {distribution!r}. Known are {', '.join(FAMILIES)}, with a release, like debian:12."
        ) from None


def asked_for(item: Item, distribution: str) -> Item:
    """What the feeds of a distribution are asked about: where they go by source packages, all binaries of one are one.

    `name` and `version` are one lookup; `source` and `source_version`, where there are any, another.
    """
    _, kinds = family(distribution)
    (name, version), *more = looked_up(item, kinds)
    architecture = item.architecture if "binary" in kinds else ""
    source, source_version = more[0] if more else ("", "")
    return Item(name, version, architecture, source, source_version, item.module)


def releases(distribution: str) -> list[str]:
    """Whose rows are about a distribution: for Ubuntu those of Pro as well."""
    if distribution.startswith("ubuntu:"):
        return [distribution, distribution.replace("ubuntu:", "ubuntu-pro:", 1)]
    return [distribution]


def names(items: Iterable[Item], distribution: str) -> set[str]:
    """Under which the feeds may know these packages."""
    _, kinds = family(distribution)
    return {name for item in items for name, _ in looked_up(item, kinds)}


def match(items: Iterable[Item], rows: Iterable[Row], distribution: str) -> Iterator[Finding]:
    """The findings, in the items' order. `rows` are those of the distribution, and for Ubuntu those of Pro as well."""
    key, kinds = family(distribution)
    by_name: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        by_name[row.name].append(row)
    for item in items:
        found: list[tuple[Row, bytes]] = []
        for name, version in looked_up(item, kinds):
            try:
                version_key = key(version)
            except ValueError:  # no version that this package manager would take
                continue
            found += [(row, version_key) for row in by_name.get(name, ())]
        yield from judge(item, found, distribution)


def judge(item: Item, rows: Iterable[tuple[Row, bytes]], distribution: str) -> Iterator[Finding]:
    """The findings of one item, by the rows of its name, each with the key of the version that it is compared with."""
    modular = bool(item.module or MODULAR.search(item.version))
    yield from findings_of(item, [pair for pair in rows if concerns(pair[0], item, modular)], distribution)


def looked_up(item: Item, kinds: Sequence[NameKind]) -> Iterator[tuple[str, str]]:
    """The names and versions to compare: of a source package, its own version, which may differ from the binary's."""
    if "binary" in kinds:
        yield item.name, item.version
    if "source" in kinds:
        source = KERNEL_PARTS.sub("linux", item.source or item.name)
        if "binary" not in kinds or source != item.name:
            yield source, item.source_version or BINARY_REBUILD.sub("", item.version)


def concerns(row: Row, item: Item, modular: bool) -> bool:
    """Whether they can be about the same package: architecture, and module stream or none on both sides."""
    if row.architecture and item.architecture and row.architecture != item.architecture:
        return False
    if not row.module:
        return not modular
    if item.module and row.module != UNSAID:
        return row.module == item.module
    return modular and same_stream(row.fixed_version, item.version, item.module or row.module)


def same_stream(fixed: str, installed: str, module: str) -> bool:
    """Where nobody labelled the package, or the row: streams of a module differ in the first numbers of their version,
    nodejs:18 in one, perl:5.32 in two. What is called otherwise, as container-tools:rhel8, is taken for the latter.
    """
    stream = module.rpartition(":")[2]
    count = len(NUMBERS.findall(stream)) if STREAM_OF_NUMBERS.fullmatch(stream) else 2
    return NUMBERS.findall(fixed.rpartition(":")[2])[:count] == NUMBERS.findall(installed.rpartition(":")[2])[:count]


def findings_of(item: Item, rows: Sequence[tuple[Row, bytes]], distribution: str) -> Iterator[Finding]:
    """One for each CVE: what the worst of its rows says, fixed by the last of their fixes."""
    by_advisory: dict[tuple[str, str], list[tuple[Row, bytes]]] = defaultdict(list)
    vulnerable = {(row.advisory, row.distribution) for row, key in rows if is_vulnerable(row, key)}
    if not vulnerable:
        return
    for row, key in rows:
        if (row.advisory, row.distribution) in vulnerable:
            by_advisory[row.advisory, row.distribution].append((row, key))
    by_cve: dict[str, Finding] = {}
    newest: dict[str, bytes] = {}
    for several in by_advisory.values():
        judged = verdict(item, several, distribution)
        if judged is None:
            continue
        for cve in judged.cves or ("",):
            about = cve or judged.advisory
            fixed_key = judged.fixed_key or b""
            if about not in by_cve or (judged.status == "fixed" and fixed_key > newest[about]):
                by_cve[about] = finding(item, judged, cve)
                newest[about] = fixed_key
    yield from by_cve.values()


def verdict(item: Item, rows: Sequence[tuple[Row, bytes]], distribution: str) -> Row | None:
    """One for all rows of an advisory about a package: None if it is not vulnerable, else the row that says why."""
    vulnerable = [row for row, key in rows if is_vulnerable(row, key)]
    if not vulnerable:
        return None
    if any(row.status == "fixed" and not row.introduced_key and row not in vulnerable for row, _ in rows):
        return None  # an advisory with several fixes, for branches that it does not tell apart: one of them is in
    row = vulnerable[0]
    if row.last_affected_key is not None and any(key > row.last_affected_key for _, key in rows):
        return replace(row, status="unconfirmed")
    if row.distribution != distribution and "esm" not in item.version:
        return replace(row, status=PRO)
    return row


def is_vulnerable(row: Row, key: bytes) -> bool:
    if row.introduced_key is not None and key < row.introduced_key:
        return False
    return row.fixed_key is None or key < row.fixed_key


def finding(item: Item, row: Row, cve: str) -> Finding:
    return Finding(
        cve,
        item.name,
        item.architecture,
        item.version,
        row.fixed_version,
        row.status,
        row.severity,
        row.advisory,
        row.reason,
        row.url,
        row.published,
        row.fixed_key if row.fixed_version else None,
    )
