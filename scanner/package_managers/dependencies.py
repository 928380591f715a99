"""Which installed packages an installed package depends on: names, resolved as the package manager would.

Commands: dpkg-query(1), rpm(8); pacman's database is read as it stands. Every answer is by (name, architecture), as
the list of installed packages names them. What no installed package provides has no name here, and a package does
not depend on itself.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

from scanner.package_managers.command import CommandError, Runner
from scanner.package_managers.interface import Dependencies, PackageManagerError
from scanner.vulnerabilities.version_keys import alpm_key, dpkg_key

Order = Callable[[str, str], int]
"""Below, equal or above: a negative number, 0 or a positive one."""
REMEMBERED = 1 << 15  # relations and versions, from scan to scan: they hardly change

HOLDS: Mapping[str, Callable[[int], bool]] = {
    "<<": lambda order: order < 0,
    "<": lambda order: order < 0,
    "<=": lambda order: order <= 0,
    "=": lambda order: order == 0,
    ">=": lambda order: order >= 0,
    ">": lambda order: order > 0,
    ">>": lambda order: order > 0,
}


@dataclass(frozen=True, slots=True)
class Package:
    """One installed package; `multi_arch` is dpkg's field."""

    name: str
    architecture: str
    version: str = ""
    multi_arch: str = ""


@dataclass(frozen=True, slots=True)
class Relation:
    """One wish or one provision: a name, and where they are given an operator with a version and an architecture."""

    name: str
    operator: str = ""
    version: str = ""
    qualifier: str = ""


@dataclass(frozen=True, slots=True)
class Provider:
    """A package under one of its names. `version` is that of the name, "" where a virtual name has none."""

    package: Package
    version: str
    virtual: bool = True


# --- dpkg -----------------------------------------------------------------------------------------

DPKG_ROW = "\t".join(
    f"${{{name}}}"
    for name in (
        "db:Status-Status",
        "Package",
        "Architecture",
        "Version",
        "Multi-Arch",
        "Pre-Depends",
        "Depends",
        "Provides",
    )
)
NOT_THERE = frozenset(("not-installed", "config-files", "half-installed"))


def dpkg_dependencies(runner: Runner, admindir: Path | None) -> Dependencies:
    database = [] if admindir is None else [f"--admindir={admindir}"]
    return parse_dpkg(listing(runner, ["dpkg-query", *database, "-W", "-f", f"{DPKG_ROW}\n"]))


def parse_dpkg(text: str) -> Dependencies:
    # installed  bash  amd64  5.2.15-2+b8  foreign  libc6 (>= 2.36), libtinfo6 (>= 6)  base-files, debianutils  sh
    rows = [row for line in text.splitlines() if len(row := line.split("\t")) == 8 and row[0] not in NOT_THERE]
    providers: dict[str, list[Provider]] = defaultdict(list)
    wishes: list[tuple[Package, str, str]] = []
    for _, name, architecture, version, multi_arch, before, depends, provides in rows:
        package = Package(name, architecture, version, multi_arch)
        providers[name].append(Provider(package, version, virtual=False))
        wishes.append((package, before, depends))
        for provision in map(dpkg_relation, provides.split(", ") if provides else ()):
            providers[provision.name].append(Provider(package, provision.version))
    resolve = cache(Dpkg(providers, native(rows)).resolve)
    return {
        (package.name, package.architecture): named(
            package.name,
            (resolve(clause, package.architecture) for text in wanted if text for clause in text.split(", ")),
        )
        for package, *wanted in wishes
    }


def native(rows: Sequence[Sequence[str]]) -> str:
    """The architecture that "all" stands for: dpkg's own."""
    return next((architecture for _, name, architecture, *_ in rows if name == "dpkg"), "all")


# libc6 (>= 2.36), python3:any (>= 3.2~), gcc:amd64
DPKG_RELATION = re.compile(
    r"(?P<name>[^\s:(]+)(?::(?P<qualifier>\S+))?(?: *\((?P<operator>[<>=]+) *(?P<version>[^)]+)\))?"
)


@lru_cache(REMEMBERED)
def dpkg_relation(text: str) -> Relation:
    match = DPKG_RELATION.match(text)
    if match is None:
        return Relation(text)
    return Relation(match["name"], match["operator"] or "", match["version"] or "", match["qualifier"] or "")


@lru_cache(REMEMBERED)
def dpkg_version_key(version: str) -> bytes:
    return dpkg_key(version)


def dpkg_order(left: str, right: str) -> int:
    first, second = dpkg_version_key(left), dpkg_version_key(right)
    return (first > second) - (first < second)


@dataclass(frozen=True, slots=True)
class Dpkg:
    providers: Mapping[str, Sequence[Provider]]
    native: str

    def resolve(self, clause: str, architecture: str) -> frozenset[str]:
        """The first alternative that is met; where none is (the host is broken), the first that is there at all."""
        # default-mta | mail-transport-agent
        wanted = [dpkg_relation(text) for text in clause.split(" | ")]
        there = [(relation, found) for relation in wanted if (found := self.providers.get(relation.name))]
        for relation, found in there:
            if met := [provider for provider in found if self.meets(provider, relation, architecture)]:
                return names(met)
        return names(there[0][1]) if there else frozenset()

    def meets(self, provider: Provider, wish: Relation, architecture: str) -> bool:
        return self.fits(provider.package, wish.qualifier, architecture) and within(provider.version, wish, dpkg_order)

    def fits(self, package: Package, qualifier: str, architecture: str) -> bool:
        """deb-multiarch: another architecture does only where the package, or both of them, say so."""
        if qualifier == "any":
            return package.multi_arch == "allowed"
        if not qualifier and package.multi_arch == "foreign":
            return True
        wanted = qualifier or architecture
        wanted = self.native if wanted in ("all", "native") else wanted
        own = self.native if package.architecture == "all" else package.architecture
        return own == wanted


# --- rpm ------------------------------------------------------------------------------------------

RPM_ROWS = r"N%{NAME}\t%{ARCH}\n[P%{PROVIDENAME}\n][R%{REQUIRENAME}\n][F%{FILENAMES}\n]"


def rpm_dependencies(runner: Runner, database: Sequence[str] = ()) -> Dependencies:
    """`database`: rpm's options for another root, as --root=/mnt."""
    return parse_rpm(listing(runner, ["rpm", *database, "-qa", "--qf", RPM_ROWS]))


def parse_rpm(text: str) -> Dependencies:
    # Nbash    x86_64
    # Pbash
    # P/bin/sh
    # Rlibc.so.6(GLIBC_2.34)(64bit)
    # R(glibc-gconv-extra if redhat-rpm-config)
    # F/usr/bin/bash
    providers: dict[str, set[str]] = defaultdict(set)
    wishes: dict[tuple[str, str], set[str]] = {}
    owned: list[tuple[str, str]] = []
    for block in text.removeprefix("N").split("\nN"):
        relations, _, files = block.removesuffix("\n").partition("\nF")
        package, *rows = relations.split("\n")
        name, _, architecture = package.partition("\t")
        owned.append((name, files))
        for row in rows:
            if row.startswith("P"):
                providers[row[1:]].add(name)
        wishes.setdefault((name, architecture), set()).update(row[1:] for row in rows if row.startswith("R"))
    paths = asked_paths(wish for wanted in wishes.values() for wish in wanted)
    for name, files in owned:
        for path in paths.intersection(files.split("\nF")):
            providers[path].add(name)
    resolve = cache(Rpm(providers).resolve)
    return {
        key: named(key[0], (resolve(wish) for wish in wanted if not wish.startswith("rpmlib(")))
        for key, wanted in wishes.items()
        if key[0] not in ("", "gpg-pubkey")  # a key, no package
    }


def asked_paths(wishes: Iterable[str]) -> set[str]:
    """The files that somebody asks for, under all names that they may have: few of the many that there are."""
    words = (word.strip("()") for wish in wishes if "/" in wish for word in wish.split())
    return {place for word in words if word.startswith("/") for place in places(word)}


def places(path: str) -> tuple[str, ...]:
    """A file may be asked for by a name from before /bin and /sbin became links into /usr."""
    if path.startswith(("/bin/", "/sbin/", "/lib/", "/lib64/")):
        merged = f"/usr{path}"
        return path, merged, merged.replace("/sbin/", "/bin/", 1)
    return path, path.replace("/usr/sbin/", "/usr/bin/", 1)


@dataclass(frozen=True, slots=True)
class Rpm:
    providers: Mapping[str, set[str]]

    def resolve(self, wish: str) -> frozenset[str]:
        if wish.startswith("("):
            return self.evaluate(*rich(wish))
        for place in places(wish) if wish.startswith("/") else (wish,):
            if found := self.providers.get(place):
                return frozenset(found)
        return frozenset()

    def evaluate(self, operators: Sequence[str], operands: Sequence[str]) -> frozenset[str]:
        """rpm's boolean dependencies. `with` and `without` speak of one package, all others of several."""
        # (a if b), (a if b else c), (a unless b), (a or b or c), (a and b), (a with b), (a without b)
        operator = operators[0] if operators else "and"
        if operator in ("if", "unless"):
            condition = bool(self.resolve(operands[1]))
            if condition == (operator == "if"):
                return self.resolve(operands[0])
            return self.resolve(operands[2]) if len(operands) > 2 else frozenset()
        found = [self.resolve(operand) for operand in operands]
        if operator == "or":
            return next((packages for packages in found if packages), frozenset())
        if operator == "with":
            return frozenset.intersection(*found)
        if operator == "without":
            return found[0].difference(*found[1:])
        return frozenset().union(*found)


RICH_OPERATORS = frozenset(("and", "or", "if", "else", "unless", "with", "without"))


def rich(text: str) -> tuple[list[str], list[str]]:
    """The operators and operands of one pair of parentheses; an operand may be another such pair."""
    # (glibc-gconv-extra(x86-32) = 2.34-100.el9 if redhat-rpm-config)
    # ((a and b) or c)
    operators: list[str] = []
    operands: list[list[str]] = [[]]
    depth = 0
    for word in text[1:-1].split():
        if depth == 0 and word in RICH_OPERATORS:
            operators.append(word)
            operands.append([])
            continue
        depth += word.count("(") - word.count(")")
        operands[-1].append(word)
    # Without its version: that what is installed fits was made sure when it was installed.
    return operators, [" ".join(words) if words[0].startswith("(") else words[0] for words in operands if words]


# --- pacman ---------------------------------------------------------------------------------------


def pacman_dependencies(database: Path) -> Dependencies:
    """`database`: pacman's DBPath. A package that is being removed in this moment is left out."""
    return parse_pacman(descriptions(database / "local"))


def descriptions(local: Path) -> Iterator[str]:
    try:
        folders = sorted(local.iterdir())
    except OSError as error:
        raise PackageManagerError(f"{local} could not be read: {error.strerror}.", "Is this the right root?") from error
    for folder in folders:
        try:
            yield (folder / "desc").read_text(errors="replace")
        except (FileNotFoundError, NotADirectoryError):  # ALPM_DB_VERSION
            continue


def parse_pacman(texts: Iterable[str]) -> Dependencies:
    providers: dict[str, list[Provider]] = defaultdict(list)
    wishes: list[tuple[Package, list[str]]] = []
    for text in texts:
        fields = alpm_fields(text)
        package = Package(*(first(fields, name) for name in ("NAME", "ARCH", "VERSION")))
        providers[package.name].append(Provider(package, package.version, virtual=False))
        wishes.append((package, fields.get("DEPENDS", [])))
        for provision in map(alpm_relation, fields.get("PROVIDES", ())):
            providers[provision.name].append(Provider(package, provision.version))
    resolve = cache(Alpm(providers).resolve)
    return {
        (package.name, package.architecture): named(package.name, map(resolve, wanted)) for package, wanted in wishes
    }


def alpm_fields(text: str) -> dict[str, list[str]]:
    # %DEPENDS%
    # glibc>=2.39
    # libcurl.so=4-64
    #                      (a blank line after each field)
    blocks = (block.split("\n") for block in text.split("\n\n"))
    return {lines[0].strip("%"): lines[1:] for lines in blocks if lines[0].startswith("%")}


def first(fields: Mapping[str, Sequence[str]], name: str) -> str:
    return next(iter(fields.get(name, ())), "")


# bash, glibc>=2.39, libssl.so=3-64
ALPM_RELATION = re.compile(r"(?P<name>[^<>=]+)(?:(?P<operator>[<>=]+)(?P<version>.+))?")


@lru_cache(REMEMBERED)
def alpm_relation(text: str) -> Relation:
    match = ALPM_RELATION.fullmatch(text)
    return Relation(match["name"], match["operator"] or "", match["version"] or "") if match else Relation(text)


def alpm_order(left: str, right: str) -> int:
    if ("-" in left) != ("-" in right):  # then vercmp leaves the release out of account
        left, right = left.rpartition("-")[0] or left, right.rpartition("-")[0] or right
    first, second = alpm_key(left), alpm_key(right)
    return (first > second) - (first < second)


@dataclass(frozen=True, slots=True)
class Alpm:
    providers: Mapping[str, Sequence[Provider]]

    def resolve(self, text: str) -> frozenset[str]:
        """The package of that name, or all that provide it; where no version fits, whoever is there."""
        wish = alpm_relation(text)
        found = self.providers.get(wish.name, ())
        own = [provider for provider in found if not provider.virtual] or found
        if len(own) < 2:
            return names(own)
        return names([provider for provider in own if within(provider.version, wish, alpm_order)] or own)


# --- common to them -------------------------------------------------------------------------------


def within(version: str, wish: Relation, order: Order) -> bool:
    if not wish.operator:
        return True
    if not version:  # a virtual name without a version meets no wish for one
        return False
    try:
        return HOLDS[wish.operator](order(version, wish.version))
    except (KeyError, ValueError):
        return False


def names(providers: Iterable[Provider]) -> frozenset[str]:
    """Of a real package and others that provide its name, the real one."""
    providers = list(providers)
    real = [provider for provider in providers if not provider.virtual]
    return frozenset(provider.package.name for provider in real or providers)


def named(own: str, found: Iterable[frozenset[str]]) -> tuple[str, ...]:
    """All that was found; what the package provides itself needs no other."""
    return tuple(sorted(set().union(*(packages for packages in found if own not in packages))))


def listing(runner: Runner, argv: Sequence[str]) -> str:
    try:
        result = runner.run(argv)
    except CommandError as error:
        raise PackageManagerError(f"The dependencies could not be read: {error}") from error
    if result.code != 0:
        raise PackageManagerError(f"{argv[0]} could not read the dependencies: {result.last_words}")
    return result.out
