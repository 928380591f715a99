"""What changed between two scans, or differs between two hosts: packages, updates, security verdicts. Pure.

Rows are taken as they come: frozen values of a package manager, rows of the database, anything with these names.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from operator import attrgetter
from typing import Any, Protocol

from scanner.vulnerabilities.version_keys import alpm_key, dpkg_key, rpm_key

Key = Callable[[str], bytes]

ORDERS: Mapping[str, Key] = {"apt": dpkg_key, "dnf": rpm_key, "yum": rpm_key, "pacman": alpm_key}
"""By package manager: its own order of versions."""

UPDATE_CHANGES = ("became_security", "ceased_security", "appeared", "disappeared", "retargeted", "restated")
"""In the order in which they matter: a verdict that changed though the version did not surprises most."""
PACKAGE_CHANGES = ("upgraded", "downgraded", "came", "went", "changed", "remarked")
"""`changed`: another version, of which no order says whether it is newer."""

MARKS = ("held", "module", "third_party")  # of a package, apart from its version
STATEMENTS = ("security", "severity", "held", "blocked", "advisories", "cves")  # of an update, apart from its target

THERE, BELOW, ABSENT = "there", "below", "absent"
"""How the other side has the package of an update that it lacks: at that version or above, below it, not at all."""


class Package(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def architecture(self) -> str: ...
    @property
    def version(self) -> str: ...
    @property
    def held(self) -> bool: ...
    @property
    def module(self) -> str: ...
    @property
    def third_party(self) -> str: ...


class Update(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def architecture(self) -> str: ...
    @property
    def installed_version(self) -> str: ...
    @property
    def available_version(self) -> str: ...
    @property
    def security(self) -> bool | None: ...
    @property
    def reason(self) -> str: ...
    @property
    def severity(self) -> str: ...
    @property
    def held(self) -> bool: ...
    @property
    def blocked(self) -> str | None: ...
    @property
    def advisories(self) -> Collection[str]: ...
    @property
    def cves(self) -> Collection[str]: ...


@dataclass(frozen=True, slots=True)
class Side:
    """What one of the two scans found. Two sides that share their very list of packages differ in updates only."""

    packages: Sequence[Package]
    updates: Sequence[Update]
    package_manager: str


@dataclass(frozen=True, slots=True)
class Detail:
    """A thing that is said otherwise than before."""

    about: str  # one of MARKS or STATEMENTS
    before: Any
    after: Any


@dataclass(frozen=True, slots=True)
class PackageChange:
    """Of one name and architecture: the versions of one side only, and those of both (several kernels), in order."""

    change: str  # of PACKAGE_CHANGES
    name: str
    architecture: str
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    both: tuple[str, ...] = ()
    details: tuple[Detail, ...] = ()


@dataclass(frozen=True, slots=True)
class UpdateChange:
    """`other`, of an update that one side lacks: how that side has the package (THERE, BELOW, ABSENT); "": unknown."""

    change: str  # of UPDATE_CHANGES
    name: str
    architecture: str
    before: Update | None
    after: Update | None
    other: str = ""
    details: tuple[Detail, ...] = ()

    @property
    def is_security(self) -> bool:
        return any(update is not None and update.security is True for update in (self.before, self.after))


@dataclass(frozen=True)
class Diff:
    """Both in the order of the tables above, then by name; of updates the security updates first."""

    packages: tuple[PackageChange, ...] = ()
    updates: tuple[UpdateChange, ...] = ()

    @property
    def is_empty(self) -> bool:
        return not self.packages and not self.updates

    @cached_property
    def counts(self) -> dict[str, int]:
        """How many there are of each kind, of updates first; none of a kind is 0."""
        numbers = dict.fromkeys((*UPDATE_CHANGES, *PACKAGE_CHANGES), 0)
        for change in (*(row.change for row in self.updates), *(row.change for row in self.packages)):
            numbers[change] += 1
        return numbers


def compare(before: Side, after: Side) -> Diff:
    """Versions are ordered only where both sides have the same package manager."""
    order = ORDERS.get(before.package_manager) if before.package_manager == after.package_manager else None
    packages = () if before.packages is after.packages else package_changes(before.packages, after.packages, order)
    return Diff(
        tuple(sorted(packages, key=lambda row: (PACKAGE_CHANGES.index(row.change), row.name, row.architecture))),
        tuple(
            sorted(
                update_changes(before, after, order),
                key=lambda row: (UPDATE_CHANGES.index(row.change), not row.is_security, row.name, row.architecture),
            )
        ),
    )


# --- packages ---------------------------------------------------------------------------------------

Fact = tuple[str, str, str, bool, str, str]
FACTS: Callable[[Package], Fact] = attrgetter("name", "architecture", "version", *MARKS)
Name = tuple[str, str]
Versions = dict[str, tuple[Any, ...]]
"""By version: the marks."""


def package_changes(before: Iterable[Package], after: Iterable[Package], order: Key | None) -> Iterator[PackageChange]:
    then, now = set(map(FACTS, before)), set(map(FACTS, after))
    touched = {(fact[0], fact[1]) for fact in then ^ now}
    old, new = by_name(then, touched), by_name(now, touched)
    for name in touched:
        yield package_change(name, old.get(name, {}), new.get(name, {}), order)


def by_name(facts: Iterable[Fact], wanted: Collection[Name]) -> dict[Name, Versions]:
    found: dict[Name, Versions] = {}
    for name, architecture, version, *marks in facts:
        if (name, architecture) in wanted:
            found.setdefault((name, architecture), {})[version] = tuple(marks)
    return found


def package_change(name: Name, old: Versions, new: Versions, order: Key | None) -> PackageChange:
    gone = in_order(old.keys() - new.keys(), order)
    come = in_order(new.keys() - old.keys(), order)
    both = in_order(old.keys() & new.keys(), order)
    pairs = [(old[version], new[version]) for version in both]
    if len(gone) == len(come) == 1:  # one in place of the other: what was said of it is said of its successor, or not
        pairs.append((old[gone[0]], new[come[0]]))
    details = tuple(
        Detail(about, was, is_now)
        for marks in pairs
        for about, was, is_now in zip(MARKS, *marks, strict=True)
        if was != is_now
    )
    return PackageChange(what_happened(gone, come, order), *name, gone, come, both, details)


def what_happened(gone: Sequence[str], come: Sequence[str], order: Key | None) -> str:
    if not gone:
        return "came" if come else "remarked"
    if not come:
        return "went"
    was, is_now = key_of(gone[-1], order), key_of(come[-1], order)
    if was is None or is_now is None or was == is_now:
        return "changed"
    return "upgraded" if is_now > was else "downgraded"


def in_order(versions: Collection[str], order: Key | None) -> tuple[str, ...]:
    if len(versions) < 2:  # nearly always
        return tuple(versions)
    return tuple(sorted(versions, key=lambda version: (key_of(version, order) or b"", version)))


def key_of(version: str, order: Key | None) -> bytes | None:
    """None where nothing can be said: no order, or no version that the package manager would take."""
    try:
        return order(version) if order else None
    except ValueError:
        return None


# --- updates ----------------------------------------------------------------------------------------


def update_changes(before: Side, after: Side, order: Key | None) -> Iterator[UpdateChange]:
    then, now = updates_by_name(before.updates), updates_by_name(after.updates)
    gone: list[Update] = []
    come: list[Update] = []
    for name in then.keys() | now.keys():
        old, new = then.get(name, {}), now.get(name, {})
        for version in old.keys() & new.keys():
            yield from same_target(old[version], new[version])
        left = [old[version] for version in in_order(old.keys() - new.keys(), order)]
        right = [new[version] for version in in_order(new.keys() - old.keys(), order)]
        for pinned in (False, True):  # a package may have two: what it would install, and what a pin keeps away
            lower, upper = ([each for each in some if is_pinned(each) == pinned] for some in (left, right))
            while lower and upper:
                was, is_now = lower.pop(), upper.pop()
                yield UpdateChange("retargeted", *name, was, is_now, details=details_of(was, is_now))
            gone += lower
            come += upper
    shared = before.packages is after.packages
    has = HowItHas(() if shared else after.packages, gone, order)
    for update in gone:
        other = BELOW if shared else has.of(update)
        yield UpdateChange("disappeared", update.name, update.architecture, update, None, other)
    had = HowItHas(() if shared else before.packages, come, order)
    for update in come:
        other = BELOW if shared else had.of(update)
        yield UpdateChange("appeared", update.name, update.architecture, None, update, other)


def is_pinned(update: Update) -> bool:
    return update.blocked == "pinned"


def updates_by_name(updates: Iterable[Update]) -> dict[Name, dict[str, Update]]:
    """By name and architecture, and by the version that they lead to."""
    found: dict[Name, dict[str, Update]] = {}
    for update in updates:
        found.setdefault((update.name, update.architecture), {})[update.available_version] = update
    return found


def same_target(was: Update, is_now: Update) -> Iterator[UpdateChange]:
    details = details_of(was, is_now)
    if not details:
        return
    change = "restated"
    if (was.security is True) != (is_now.security is True):
        change = "became_security" if is_now.security is True else "ceased_security"
    yield UpdateChange(change, was.name, was.architecture, was, is_now, details=details)


STATED: Callable[[Update], tuple[Any, ...]] = attrgetter(*STATEMENTS)


def details_of(was: Update, is_now: Update) -> tuple[Detail, ...]:
    return tuple(
        Detail(about, old, new)
        for about, old, new in zip(STATEMENTS, STATED(was), STATED(is_now), strict=True)
        if (sorted(old) != sorted(new) if isinstance(old, (list, tuple)) else old != new)
    )


class HowItHas:
    """How a side, which lacks these updates, has their packages."""

    def __init__(self, packages: Iterable[Package], updates: Iterable[Update], order: Key | None) -> None:
        self.order = order
        self.versions: dict[Name, list[str]] = {(update.name, update.architecture): [] for update in updates}
        for package in packages if self.versions else ():
            if (package.name, package.architecture) in self.versions:
                self.versions[package.name, package.architecture].append(package.version)

    def of(self, update: Update) -> str:
        versions, wanted = self.versions[update.name, update.architecture], update.available_version
        if not versions:
            return ABSENT
        if wanted in versions:
            return THERE
        least, keys = key_of(wanted, self.order), [key_of(version, self.order) for version in versions]
        if least is None or None in keys:
            return ""
        return THERE if any(key is not None and key >= least for key in keys) else BELOW


# --- in words ---------------------------------------------------------------------------------------

TITLES: Mapping[str, tuple[str, str]] = {
    "became_security": ("Became security updates", "Security updates only on {after}"),
    "ceased_security": ("No longer security updates", "Security updates only on {before}"),
    "appeared": ("New updates", "Updates waiting only on {after}"),
    "disappeared": ("Updates gone", "Updates waiting only on {before}"),
    "retargeted": ("Updates with another target", "Updates with another target"),
    "restated": ("Updates said otherwise", "Updates said otherwise"),
    "upgraded": ("Upgraded", "Newer on {after}"),
    "downgraded": ("Downgraded", "Older on {after}"),
    "came": ("Installed", "Only on {after}"),
    "went": ("Removed", "Only on {before}"),
    "changed": ("Another version", "Another version"),
    "remarked": ("Hold, module or origin changed", "Hold, module or origin differs"),
}
"""Of a host's two scans, and of two hosts."""
MEANINGS: Mapping[str, str] = {
    "became_security": "The version that they lead to is the same: what is said of it has changed.",
    "ceased_security": "The version that they lead to is the same: what is said of it has changed.",
    "restated": "The version that they lead to is the same, but not all that is said of it.",
    "changed": "No order tells which of the two is newer.",
    "remarked": "The version is the same.",
}
OTHER_SIDE: Mapping[tuple[str, str], tuple[str, str]] = {
    ("disappeared", THERE): ("It was installed.", "{after} has this version."),
    ("disappeared", BELOW): ("It is no longer offered.", "{after} is not offered it."),
    ("disappeared", ABSENT): ("The package was removed.", "{after} does not have the package."),
    ("appeared", THERE): ("It had been installed before.", "{before} has this version."),
    ("appeared", BELOW): ("", "{before} is not offered it."),
    ("appeared", ABSENT): ("It came with the package.", "{before} does not have the package."),
}
ABOUT = {"security": "security update", "cves": "CVEs", "third_party": "comes from"}


def title(change: str, before: str, after: str) -> str:
    """What a list of these changes is called. `before` and `after` are the hosts' names."""
    return TITLES[change][before != after].format(before=before, after=after)


def other_side(change: str, other: str, before: str, after: str) -> str:
    """Why one side lacks an update, in a sentence; "" where that is not known, or goes without saying."""
    words = OTHER_SIDE.get((change, other), ("", ""))
    return words[before != after].format(before=before, after=after)


def detail(about: str, before: Any, after: Any) -> str:
    """ "held: no → yes"; of lists what is in one of them only: "CVEs: + CVE-2026-1, - CVE-2026-2" """
    if isinstance(before, (list, tuple)):
        more = [f"+ {each}" for each in after if each not in before]
        fewer = [f"\N{MINUS SIGN} {each}" for each in before if each not in after]
        return f"{ABOUT.get(about, about)}: {', '.join([*more, *fewer])}"
    return f"{ABOUT.get(about, about)}: {value(about, before)} \N{RIGHTWARDS ARROW} {value(about, after)}"


def value(about: str, of: Any) -> str:
    if of is None and about == "security":
        return "not known"
    if isinstance(of, bool):
        return "yes" if of else "no"
    return str(of or "none")


# --- as JSON ----------------------------------------------------------------------------------------

SHOWN = ("installed_version", "available_version", "security", "reason", *STATEMENTS[1:])


def package_row(row: PackageChange) -> dict[str, Any]:
    return {
        "change": row.change,
        "name": row.name,
        "architecture": row.architecture,
        "before": list(row.before),
        "after": list(row.after),
        "both": list(row.both),
        "details": [detail_row(detail) for detail in row.details],
    }


def update_row(row: UpdateChange) -> dict[str, Any]:
    """`other_side`: null unless one side lacks the update."""
    return {
        "change": row.change,
        "name": row.name,
        "architecture": row.architecture,
        "before": shown(row.before),
        "after": shown(row.after),
        "other_side": row.other or None,
        "details": [detail_row(detail) for detail in row.details],
    }


def shown(update: Update | None) -> dict[str, Any] | None:
    return None if update is None else {name: plain(getattr(update, name)) for name in SHOWN}


def detail_row(detail: Detail) -> dict[str, Any]:
    return {"about": detail.about, "before": plain(detail.before), "after": plain(detail.after)}


def plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
