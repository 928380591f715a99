"""pacman: Arch Linux and its kin.

Commands: pacman(8), pacman-conf(8), fakeroot(1). The host's own databases are never refreshed (that would make the
next installation a partial upgrade): as checkupdates does, pacman works on a private copy. What is a security update
is said by the Arch security tracker.
"""

import os
import re
import shutil
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

from scanner.package_managers.arch_tracker import SETTING, ArchTracker, Group, TrackerData, newer, urgency
from scanner.package_managers.command import Command, CommandError, Result, Runner
from scanner.package_managers.dependencies import pacman_dependencies
from scanner.package_managers.interface import (
    Dependencies,
    Findings,
    Gap,
    Installed,
    PackageManager,
    PackageManagerError,
    Progress,
    Update,
)
from scanner.package_managers.next_steps import advice, problem
from scanner.package_managers.os_release import identity, read

TARGETS = "%r|%n|%v"
ARCH = "arch"  # the ID of os-release
OFFICIAL = re.compile(r"(core|extra|community|multilib)(-testing|-staging)?|testing|staging|(gnome|kde)-unstable")
FOREIGN = "built by hand or from the AUR"


@dataclass(frozen=True, slots=True)
class Offer:
    """One line of `pacman -Qu`."""

    name: str
    installed_version: str
    available_version: str
    ignored: bool


class Pacman(PackageManager):
    name = "pacman"
    distributions = frozenset(("arch", "archarm", "manjaro", "endeavouros", "cachyos", "artix"))

    def __init__(self, runner: Runner, private: Path, root: Path | None = None, tracker: str | None = None) -> None:
        """`tracker`: the address or path of the Arch tracker's all.json; else the environment's ARCH_TRACKER."""
        super().__init__(runner, private.resolve(), root.resolve() if root else None)
        source = self.runner.environment.get(SETTING, "") if tracker is None else tracker
        self.tracker = ArchTracker(runner, source, self.private)
        self.own_databases = False
        self.options: list[str] = []
        self.copy = self.private / "databases"
        self.copy.mkdir(parents=True, exist_ok=True)
        if self.root is not None:
            self.look_into(self.root)

    @classmethod
    def has_database(cls, root: Path | None) -> bool:
        local = (root or Path("/")) / "var/lib/pacman/local"
        return any(local.glob("*/desc"))

    # --- the steps --------------------------------------------------------------------------------

    def refresh(self, progress: Progress) -> tuple[Gap, ...]:
        """`pacman -Sy` into our own databases. They begin as a copy of the host's: what has not changed stays."""
        progress(0, "Fetching the package databases")
        self.own_databases = True
        self.make_copy()
        (self.copy / "db.lck").unlink(missing_ok=True)  # ours alone: left behind by a scan that was stopped
        gaps = self.synchronise()
        progress(90, "Fetching the list of the Arch security tracker")
        return (*gaps, *self.tracker.refresh())

    def installed(self) -> list[Installed]:
        result = self.runner.run(self.pacman("-Q"))
        if result.code not in (0, 1) or complaints(result.err):  # 1: there is none
            raise problem("pacman could not read the installed packages", result)
        packages = parse_installed(result.out)
        if not packages:
            raise PackageManagerError("pacman lists no installed package.", "Is this the right root?")
        local = self.database / "local"
        return [self.with_details(name, version, local) for name, version in packages]

    def dependencies(self) -> Dependencies:
        return pacman_dependencies(self.database)

    def updates(self, installed: Sequence[Installed]) -> Findings:
        self.make_copy()
        repositories = self.repositories()
        listed, targets, *carried = self.runner.run_together(
            Command(self.query("-Qu")),
            Command(self.query("-Sup", "-dd", "--noconfirm", "--print-format", TARGETS)),
            *self.origin_question(repositories),
        )
        offers, unread = read_offers(listed)
        gaps = [*missing_databases(repositories, self.copy / "sync"), *unread]
        if gaps:  # a package may well be in the database that is not there
            carried = []
        wanted = parse_targets(targets.out)
        if targets.code != 0 and not gaps:
            gaps.append(Gap(f"pacman cannot work out an upgrade: {targets.last_words}", security=False))
        origins = {**self.origins_of_ignored(offers), **{name: repository for repository, name, _ in wanted}}
        updating = {offer.name for offer in offers}
        replacements = [target for target in wanted if target[1] not in updating]
        tracker = self.tracker.read()
        judge = Judge({package.name: package for package in installed}, by_package(tracker), origins)
        replaced = self.replaced(replacements)
        updates = (*judge.updates(offers), *judge.replacements(replaced))
        notes = judge.unfixed()
        if updates:
            gaps += tracker.gaps
        else:  # nothing that it could judge
            notes += [gap.text for gap in tracker.gaps]
        date = self.metadata_date()
        if unread:
            self.forget_databases()
        return Findings(
            updates,
            date,
            (*gaps, *judge.fixes_out_of_reach(updates)),
            tuple(notes),
            third_party([package for package in installed if package.name not in replaced], *carried),
        )

    # --- databases --------------------------------------------------------------------------------

    def repositories(self) -> list[str]:
        names = self.configured("--repo-list")
        if not names:
            raise PackageManagerError(
                "pacman has no repository.", "Add one to /etc/pacman.conf on the host, with a server."
            )
        if not any((self.copy / f"sync/{name}.db").exists() for name in names):
            raise PackageManagerError(
                f"pacman has no database of any of its {len(names)} repositories, so nothing is known about updates.",
                "Scan with refreshing switched on. (Not `pacman -Sy` alone: that leads to partial upgrades.)",
            )
        return names

    @cached_property
    def database(self) -> Path:
        found = self.configured("DBPath")
        return Path(found[0] if found else "/var/lib/pacman")

    def configured(self, word: str) -> list[str]:
        result = self.runner.run(["pacman-conf", *self.options, word])
        if result.code != 0:
            raise problem("pacman's configuration could not be read", result)
        return result.out.split()

    def make_copy(self) -> None:
        """A database folder of our own: the installed packages linked, the repositories' databases copied or linked."""
        host, sync = self.database, self.copy / "sync"
        relink(self.copy / "local", host / "local")
        if not self.own_databases:
            if not sync.is_dir() or sync.is_symlink():
                relink(sync, host / "sync")
            return
        if sync.is_symlink():
            sync.unlink()
        sync.mkdir(exist_ok=True)
        for path in (host / "sync").glob("*.db"):
            own = sync / path.name
            if not own.exists() or own.stat().st_mtime < path.stat().st_mtime:
                shutil.copy2(path, own)  # with its date: pacman fetches what is newer
        if not self.refreshed.exists() and (date := modified(host / "sync")):
            self.refreshed.touch()
            os.utime(self.refreshed, (date.timestamp(), date.timestamp()))

    def synchronise(self) -> tuple[Gap, ...]:
        try:
            sandbox = ["--disable-sandbox"] if "--disable-sandbox" in self.runner.run(["pacman", "-Sh"]).out else []
            result = self.runner.run([*as_root(), *self.query("-Sy", *sandbox)])
        except CommandError as error:
            if "fakeroot" not in str(error):
                raise
            return (Gap(f"The package databases could not be refreshed: {error} Install fakeroot on the host."),)
        if result.code != 0:
            words = f"{result.last_words} {advice(result.err)}".strip()
            return (Gap(f"The package databases could not be refreshed: {words}"),)
        self.refreshed.touch()
        return ()

    def forget_databases(self) -> None:
        """A damaged copy of ours must not live on: the next refresh begins anew. The host's are not ours to mend."""
        if self.own_databases:
            shutil.rmtree(self.copy / "sync")
            self.refreshed.unlink(missing_ok=True)

    def metadata_date(self) -> datetime | None:
        """When the databases were last fetched: ours by our own note; the host's by the folder, which every -Sy
        touches (the databases themselves carry the server's time)."""
        return modified(self.refreshed) if self.own_databases else modified(self.database / "sync")

    @property
    def refreshed(self) -> Path:
        return self.private / "refreshed"

    # --- how pacman is called ---------------------------------------------------------------------

    def pacman(self, *words: str) -> list[str]:
        root = [f"--root={self.root}"] if self.root else []
        return ["pacman", *self.options, *root, *words]

    def query(self, *words: str) -> list[str]:
        return self.pacman(words[0], "--dbpath", str(self.copy), "--logfile", "/dev/null", *words[1:])

    def look_into(self, root: Path) -> None:
        """Let pacman read the other root's configuration: its own --sysroot is for the administrator only."""
        host = root / "etc/pacman.conf"
        try:
            text = host.read_text(errors="replace")
        except OSError as error:
            raise PackageManagerError(
                f"{host} could not be read: {error.strerror}.", "Is this the right root?"
            ) from error
        path = self.private / "pacman.conf"
        path.write_text(rooted(text, root))
        self.options = ["--config", str(path)]

    def with_details(self, name: str, version: str, local: Path) -> Installed:
        """Architecture and source from the package's own file: to ask `pacman -Qi` would take seconds."""
        try:
            fields = parse_desc((local / f"{name}-{version}/desc").read_text(errors="replace"))
        except OSError:
            fields = {}
        base = fields.get("BASE", name)
        return Installed(name, fields.get("ARCH", ""), version, base, version)

    def origins_of_ignored(self, offers: Iterable[Offer]) -> dict[str, str]:
        """The repositories of packages that an upgrade would leave out."""
        names = [offer.name for offer in offers if offer.ignored]
        if not names:
            return {}
        words = ("-Sp", "-dd", "--noconfirm", "--print-format", TARGETS, "--", *names)
        return {name: repository for repository, name, _ in parse_targets(self.runner.run(self.query(*words)).out)}

    def origin_question(self, repositories: Iterable[str]) -> list[Command]:
        """What is not from a repository of Arch's, asked on Arch itself alone."""
        if identity(read(self.root or Path("/"))) != ARCH:
            return []
        # -Qm: what no repository has. Which of them has what takes twice as long to tell.
        return [Command(self.query("-Qm" if all(map(OFFICIAL.fullmatch, repositories)) else "-Sl"))]

    def replaced(self, targets: Sequence[tuple[str, str, str]]) -> dict[str, tuple[str, str, str]]:
        """Which package each of these new packages replaces."""
        if not targets:
            return {}
        words = ("-Si", "--", *(f"{repository}/{name}" for repository, name, _ in targets))
        names = parse_replaces(self.runner.run(self.query(*words)).out)
        return {old: target for target in targets for old in names.get(target[1], ())}


# --- reading what it prints -----------------------------------------------------------------------


def parse_installed(text: str) -> list[tuple[str, str]]:
    # bash 5.2.26-1
    rows = (line.split() for line in text.splitlines())
    return [(words[0], words[1]) for words in rows if len(words) == 2]


def parse_desc(text: str) -> dict[str, str]:
    # %NAME%
    # bash
    #                      (a blank line after each)
    # %BASE%
    # bash
    return dict(re.findall(r"^%([A-Z]+)%\n(.+)$", text, re.MULTILINE))


# "curl 8.8.0-1 -> 8.9.1-1", "linux 6.9-1 -> 6.10-1 [ignored]"
OFFER_ROW = re.compile(r"(?P<name>\S+) (?P<installed>\S+) -> (?P<available>\S+)(?P<ignored> \[ignored\])?")


def read_offers(result: Result) -> tuple[list[Offer], list[Gap]]:
    """It ends with 1 where there is no update, and also where there is no database: only its complaints tell."""
    gaps = [Gap(f"pacman could not read a database: {line}.") for line in complaints(result.err)]
    lines = [line for line in result.out.splitlines() if line.strip()]
    rows = [OFFER_ROW.fullmatch(line) for line in lines]
    nonsense = [line for line, row in zip(lines, rows, strict=True) if row is None]
    if result.code not in (0, 1) or (result.code == 1 and lines):
        raise problem("pacman could not list the available updates", result)
    if nonsense:
        gaps.append(Gap(f"pacman answered something that is no list of updates: {nonsense[-1].strip()[:200]}"))
    offers = [Offer(row["name"], row["installed"], row["available"], bool(row["ignored"])) for row in rows if row]
    return offers, gaps


def complaints(text: str) -> list[str]:
    # error: could not open file /var/lib/pacman/sync/extra.db: Unrecognized archive format
    # warning: database file for 'core' does not exist (use '-Sy' to download)          seen by missing_databases
    return [line.removeprefix("error: ") for line in text.splitlines() if line.startswith("error: ")]


def parse_targets(text: str) -> list[tuple[str, str, str]]:
    # core|curl|8.9.1-1
    rows = (line.split("|") for line in text.splitlines())
    return [(row[0], row[1], row[2]) for row in rows if len(row) == 3]


def parse_carried(text: str) -> dict[str, list[str]]:
    """By the name of an installed package: the repositories that have it."""
    # core bash 5.2.26-1 [installed]
    # core curl 8.9.1-1 [installed: 8.8.0-1]
    # extra vim 9.1-1
    carried: dict[str, list[str]] = {}
    for repository, name in re.findall(r"^(\S+) (\S+) \S+ \[installed\b", text, re.MULTILINE):
        carried.setdefault(name, []).append(repository)
    return carried


def parse_replaces(text: str) -> dict[str, list[str]]:
    # Name            : new
    # Replaces        : old<2  older              (or None)
    names: dict[str, list[str]] = {}
    name = ""
    for line in text.splitlines():
        key, _, value = line.partition(" : ")
        if key.strip() == "Name":
            name = value.strip()
        elif key.strip() == "Replaces" and value.strip() != "None":
            names[name] = [re.split("[<>=]", word)[0] for word in value.split()]
    return names


def missing_databases(repositories: Sequence[str], sync: Path) -> list[Gap]:
    return [
        Gap(f"The database of repository {name} is missing.")
        for name in repositories
        if not (sync / f"{name}.db").exists()
    ]


def rooted(text: str, root: Path) -> str:
    """The configuration with its paths put below the root."""

    # Include = /etc/pacman.d/mirrorlist
    def below(found: re.Match[str]) -> str:
        path = Path(found["path"])
        return found["directive"] + str(path if path.is_relative_to(root) else root / found["path"].lstrip("/"))

    pattern = re.compile(
        r"^(?P<directive>\s*(?:Include|DBPath|GPGDir|CacheDir|HookDir|LogFile)\s*=\s*)(?P<path>/.*)$", re.M
    )
    return re.sub(r"^\s*RootDir\s*=.*$", "", pattern.sub(below, text), flags=re.MULTILINE)


# --- deciding -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Judge:
    """Turns what pacman says of a package, and what the tracker knows of it, into updates with a verdict."""

    inventory: Mapping[str, Installed]
    groups: Mapping[str, Sequence[Group]] | None  # None: no data of the tracker
    origins: Mapping[str, str]

    def updates(self, offers: Iterable[Offer]) -> Iterator[Update]:
        for offer in offers:
            package = self.inventory.get(offer.name) or Installed(offer.name, "", offer.installed_version, offer.name)
            fixes = self.fixes(package, offer.available_version)
            security, reason = self.verdict(package, offer.available_version, fixes)
            origin = self.origins.get(offer.name)
            yield Update(
                package.name,
                package.architecture,
                offer.installed_version,
                offer.available_version,
                package.source,
                security,
                reason,
                (origin,) if origin else (),
                tuple(dict.fromkeys(name for fix in fixes for name in (fix.advisories or (fix.name,)))),
                tuple(dict.fromkeys(cve for fix in fixes for cve in fix.cves)),
                fixes[0].severity if fixes else "",
                blocked="excluded" if offer.ignored else None,
                command=f"pacman -Syu {package.name}" if offer.ignored else "pacman -Syu",
            )

    def replacements(self, replaced: Mapping[str, tuple[str, str, str]]) -> Iterator[Update]:
        for old, (repository, name, version) in sorted(replaced.items()):
            if package := self.inventory.get(old):
                open_ones = [group for group in self.of(old) if affects(group, package.version)]
                words = ", ".join(group.words for group in open_ones)
                unknown = self.groups is None or open_ones
                reason = f"{name} {version} replaces it."
                if open_ones:
                    reason += f" It cannot be told whether that fixes {words}."
                yield Update(
                    old,
                    package.architecture,
                    package.version,
                    version,
                    package.source,
                    None if unknown else False,
                    reason,
                    (repository,),
                    command="pacman -Syu",
                )

    def of(self, name: str) -> Sequence[Group]:
        return (self.groups or {}).get(name, ())

    def fixes(self, package: Installed, until: str) -> list[Group]:
        """The issues that are fixed in a version in (installed, until]."""
        found = [
            group
            for group in self.of(package.name)
            if group.fixed and newer(group.fixed, package.version) and not newer(group.fixed, until)
        ]
        return sorted(found, key=urgency)

    def verdict(self, package: Installed, available: str, fixes: Sequence[Group]) -> tuple[bool | None, str]:
        if self.groups is None:
            return (
                None,
                "It cannot be told whether this is a security update without data of the Arch security tracker.",
            )
        if fixes:
            return True, f"{', '.join(fix.words for fix in fixes)}: fixed in {fixes[0].fixed}."
        open_ones = [group for group in self.of(package.name) if affects(group, package.version) and not group.fixed]
        if open_ones:
            words = ", ".join(group.words for group in open_ones)
            return None, f"{words} affects {package.version}; the tracker does not say whether {available} fixes it."
        if unconfirmed := [group for group in self.of(package.name) if is_unconfirmed(group, package.version)]:
            return False, f"{unconfirmed[0].words} is unconfirmed for {package.version}, and no fix is known."
        return False, f"The Arch security tracker knows of no issue that is fixed after {package.version}."

    def fixes_out_of_reach(self, updates: Sequence[Update]) -> list[Gap]:
        """Fixes that the tracker names and no repository carries: vulnerable, and no update to show."""
        reach = {update.name: update.available_version for update in updates}
        found = []
        for package in self.known():
            until = reach.get(package.name, package.version)
            if beyond := [group for group in self.of(package.name) if group.fixed and newer(group.fixed, until)]:
                worst = min(beyond, key=urgency)
                found.append(f"{package.name} {package.version} ({worst.words}, fixed in {worst.fixed})")
        return [Gap(f"Vulnerable, and no repository carries the fix: {some_of(found)}.")] if found else []

    def unfixed(self) -> list[str]:
        """What is known to be vulnerable and has no fix anywhere."""
        found = [
            f"{package.name} {package.version} ({group.words})"
            for package in self.known()
            for group in self.of(package.name)
            if affects(group, package.version) and not group.fixed
        ]
        return [f"Vulnerable, and no fix is known: {some_of(found)}."] if found else []

    def known(self) -> list[Installed]:
        """The installed packages that the tracker names."""
        return [package for package in self.inventory.values() if package.name in (self.groups or {})]


def third_party(installed: Collection[Installed], carried: Result | None = None) -> dict[tuple[str, str], str]:
    """By name and architecture: where packages come from that are not Arch's. `carried` is what pacman says of that.

    Where not one is Arch's it is rather the repositories that go by other names, as a mirror's: nothing is told then.
    """
    if carried is None:
        return {}
    if "-Qm" in carried.argv:
        origins = {name: FOREIGN for name, _ in parse_installed(carried.out)}
    else:
        repositories = parse_carried(carried.out)
        origins = {package.name: origin_of(repositories.get(package.name, ())) for package in installed}
    found = {
        (package.name, package.architecture): origin
        for package in installed
        if (origin := origins.get(package.name, ""))
    }
    return found if len(found) < len(installed) else {}


def origin_of(repositories: Sequence[str]) -> str:
    """Where a package comes from that these repositories have; "" for Arch itself."""
    if not repositories:
        return FOREIGN
    return "" if any(map(OFFICIAL.fullmatch, repositories)) else repositories[0]


def some_of(found: Sequence[str]) -> str:
    return ", ".join(found[:5]) + (f" and {len(found) - 5} more" if len(found) > 5 else "")


def by_package(tracker: TrackerData) -> dict[str, list[Group]] | None:
    if tracker.groups is None:
        return None
    groups: dict[str, list[Group]] = {}
    for group in tracker.groups:
        for name in group.packages if group.status != "Not affected" else ():
            groups.setdefault(name, []).append(group)
    return groups


def affects(group: Group, version: str) -> bool:
    """Known to be vulnerable: up to the version that it was found in, or up to the one that fixes it."""
    return newer(group.fixed, version) if group.fixed else not newer(version, group.affected)


def is_unconfirmed(group: Group, version: str) -> bool:
    """Above the version that it was found in, with no fix named: nobody looked since."""
    return not group.fixed and newer(version, group.affected)


# --- where things are -----------------------------------------------------------------------------


def as_root() -> list[str]:
    """pacman refreshes only for root; for its private copy, to believe that it is root is enough."""
    return [] if os.geteuid() == 0 else ["fakeroot", "--"]


def relink(link: Path, target: Path) -> None:
    link.unlink(missing_ok=True)
    link.symlink_to(target)


def modified(path: Path) -> datetime | None:
    try:
        return datetime.fromtimestamp(path.stat().st_mtime, UTC)
    except OSError:
        return None
