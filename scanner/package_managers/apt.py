"""apt and dpkg: Debian, Ubuntu and their kin.

Commands: dpkg-query(1), apt-cache(8), apt-get(8), apt-helper. apt works on a private cache and, once refreshed, on
private lists: no root is needed and the host's own state stays untouched. A package has a security update if *any*
version in (installed, candidate] stands in a security archive: a fix is often overtaken by a point release.
"""

import os
import re
import shutil
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from scanner.package_managers.command import Command, Result, Runner
from scanner.package_managers.dependencies import dpkg_dependencies
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
from scanner.package_managers.ubuntu_pro import ProUnknown, pro_status, updates_that_need_pro
from scanner.package_managers.unattended_upgrades import notes as unattended_notes
from scanner.vulnerabilities.matching import BINARY_REBUILD

INVENTORY = (
    r"${db:Status-Want}\t${db:Status-Status}\t${Package}\t${Architecture}\t${Version}"
    r"\t${source:Package}\t${source:Version}\n"
)
INSTALLED_STATES = frozenset(("installed", "unpacked", "half-configured", "triggers-awaited", "triggers-pending"))
TARGET_FIELDS = "\t".join(
    f"$({name})"
    for name in (
        "DESCRIPTION",
        "LABEL",
        "ORIGIN",
        "SUITE",
        "CODENAME",
        "SITE",
        "RELEASE",
        "COMPONENT",
        "FILENAME",
        "METAKEY",
    )
)
OWN_ORIGINS = {
    "debian": re.compile(r"Debian( Backports)?"),
    "ubuntu": re.compile(r"Ubuntu((ESM|FIPS)\w*)?"),  # not those that only begin so
    "raspbian": re.compile(r"Raspbian"),
}
"""By the ID of os-release: how the distribution's own archives call themselves in the Origin of their Release files."""
FOLLOWED = 500  # apt_preferences(5): the priority of an archive that is neither NotAutomatic nor pinned
COMPRESSED = frozenset((".lz4", ".gz", ".xz", ".bz2", ".zst"))

# Read after the host's own configuration. Its hooks must not run for us: docker-clean deletes the host's archives,
# others call desktop services.
CONFIGURATION = """\
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
Dir::Cache "{cache}/";
Dir::Cache::archives "archives/";
Dir::Cache::pkgcache "pkgcache.bin";
Dir::Cache::srcpkgcache "srcpkgcache.bin";
Debug::NoLocking "true";
APT::Sandbox::User "";
APT::Get::Assume-Yes "false";
APT::Update::Error-Mode "any";
"""
# Read before everything, through APT_CONFIG, so that the other root's own configuration is the one that counts.
OTHER_ROOT = """\
{include}Dir "{root}/";
Dir::State::status "{root}/var/lib/dpkg/status";
APT::Architecture "{native}";
APT::Architectures {{ {all} }};
"""


@dataclass(frozen=True, slots=True)
class Target:
    """One loaded package list, in the words of `apt-get indextargets`."""

    description: str
    label: str
    origin: str
    suite: str
    codename: str
    site: str
    release: str
    component: str
    filename: str
    metakey: str

    @property
    def security(self) -> bool:
        """Debian-Security by its label (up to Debian 10 only that tells), all others by an archive named …-security."""
        return self.label == "Debian-Security" or any(
            name.endswith("-security") for name in (self.suite, self.codename, self.release)
        )

    @property
    def archive(self) -> str:
        return f"{self.label or self.site}:{self.release}"

    @property
    def source(self) -> tuple[str, str, str]:
        return self.site, self.release, self.component

    def __str__(self) -> str:
        return " ".join(self.source)


@dataclass(frozen=True, slots=True)
class Lists:
    """The package lists of the configured sources: apt does not store one that its archive says is empty."""

    loaded: list[Target]
    empty: list[Target]
    missing: list[Gap]


@dataclass(frozen=True, slots=True)
class Version:
    version: str
    priority: int
    phased: bool
    targets: tuple[Target, ...] = ()
    archive_priority: int = -32768

    @property
    def pinned(self) -> bool:
        """Whether the administrator gave this very version a priority, whatever its archives have."""
        return self.priority != self.archive_priority

    @property
    def security(self) -> Target | None:
        return next((target for target in self.targets if target.security), None)


@dataclass(slots=True)
class Policy:
    """What `apt-cache policy` says of one package: its versions, newest first."""

    header: str
    installed: str = ""
    candidate: str = ""
    versions: list[Version] = field(default_factory=list)

    def newer_than_installed(self) -> list[Version]:
        """The versions above the installed one. The same version with another stanza (X -> X) is not newer."""
        names = [version.version for version in self.versions]
        above = names.index(self.installed) if self.installed in names else 0
        return [version for version in self.versions[:above] if version.version != self.installed]

    def of_installed(self) -> list[Target]:
        """The lists that have the installed version."""
        return [target for version in self.versions if version.version == self.installed for target in version.targets]

    def of_any(self) -> list[Target]:
        return [target for version in self.versions for target in version.targets]


class Apt(PackageManager):
    name = "apt"
    distributions = frozenset(("debian", "ubuntu"))

    def __init__(self, runner: Runner, private: Path, root: Path | None = None) -> None:
        super().__init__(runner, private, root)
        for path in (private, *([root] if root else [])):
            if set(str(path)) & set('"\\'):  # apt.conf has no way to write them
                raise PackageManagerError(f"apt cannot work in the folder {path}.", "Choose one without quotes.")
        self.configuration = private / "apt.conf"
        self.own_lists = False
        if root is not None:
            self.look_into(root)
        self.configure()

    @classmethod
    def has_database(cls, root: Path | None) -> bool:
        try:
            return (database(root) / "status").stat().st_size > 0
        except OSError:
            return False

    # --- the steps --------------------------------------------------------------------------------

    def refresh(self, progress: Progress) -> tuple[Gap, ...]:
        """`apt-get update` into our own lists. They begin as a copy of the host's: then most answers are "Hit"."""
        (self.private / "lists/partial").mkdir(parents=True, exist_ok=True)
        self.copy_host_lists()
        self.own_lists = True
        self.configure()

        def status(line: str) -> None:
            # dlstatus:1:20.0000:Retrieving file 1 of 5 (3s remaining)
            kind, _, rest = line.partition(":")
            parts = rest.split(":", 2)
            if kind == "dlstatus" and len(parts) == 3:
                progress(float(parts[1]), parts[2])

        result = self.runner.run(self.apt_get("-o", "APT::Status-Fd={status_fd}", "update"), status)
        fetched, gaps = parse_update(result)
        if fetched:
            self.refreshed.touch()
            self.damaged.unlink(missing_ok=True)
        return gaps

    def installed(self) -> list[Installed]:
        result = self.runner.run(["dpkg-query", *self.admindir(), "-W", "-f", INVENTORY])
        if result.code != 0:
            raise problem("dpkg-query could not read the installed packages", result)
        try:
            packages = parse_inventory(result.out)
        except ValueError:
            raise problem("dpkg-query did not answer in its own words", result) from None
        if not packages:
            raise PackageManagerError(
                "dpkg-query lists no installed package.", f"Is this the right root? See {database(self.root)}/status."
            )
        return packages

    def updates(self, installed: Sequence[Installed]) -> Findings:
        date = self.metadata_date()
        lists = self.package_lists()
        compressed = [target for target in lists.loaded if Path(target.filename).suffix in COMPRESSED]
        policy, plan, *unpacked = self.runner.run_together(
            Command(["apt-cache", "-c", str(self.configuration), "policy", *map(query, installed)]),
            # Without -s: to simulate the order of installation, too, would take twice as long.
            Command(self.apt_get("-qq", "--print-uris", "--download-only", "upgrade")),
            *(Command([apt_helper(), "cat-file", target.filename]) for target in compressed),
        )
        if policy.code != 0:
            raise problem("apt-cache could not read the package lists", policy)
        sizes = {target.filename: result.out_size for target, result in zip(compressed, unpacked, strict=True)}
        damaged = [Gap(text, target.security) for target in lists.loaded if (text := size_problem(target, sizes))]
        if damaged:
            self.forget_lists()
        native = native_architecture(installed)
        inventory = inventory_by_header(installed, native)
        entries = list(parse_policy(policy.out, {target.description: target for target in lists.loaded}))
        unknown = inventory.keys() - {entry.header for entry in entries}
        if unknown == inventory.keys():
            raise problem("apt-cache did not answer in its own words", policy)
        gaps = lists.missing + damaged
        if unknown:
            gaps.append(Gap(f"apt knows nothing of {len(unknown)} installed packages, as of {min(unknown)}."))
        no_archive = Gap("No security archive is among the package sources: what is a security update cannot be told.")
        security = any(target.security for target in lists.loaded + lists.empty)
        blind = [gap for gap in gaps if gap.security] or ([] if security else [no_archive])
        notes = []
        if plan.code != 0:  # broken dependencies touch no verdict, only the words "kept back" and "phased"
            notes.append(f"apt cannot work out an upgrade: {plan.last_words} {advice(plan.last_words)}".strip())
        plain = parse_plan(plan.out) if plan.code == 0 else None
        judge = Judge(inventory, native, plain, blind)
        updates = tuple(update for entry in entries for update in judge.updates(entry))
        if no_archive in blind:  # without an update, too: nobody would have told
            gaps.append(no_archive)
        with_pro, pro_notes = self.needing_pro(installed, native, updates)
        notes += [*pro_notes, *unattended_notes(self.root)]
        return Findings(
            (*self.with_source_versions(updates, inventory.values(), native), *with_pro),
            date,
            tuple(gaps),
            tuple(notes),
            third_party(entries, inventory, lists, whole=not lists.missing and not damaged, own=self.own_origins()),
        )

    def own_origins(self) -> re.Pattern[str] | None:
        return OWN_ORIGINS.get(identity(read(self.root or Path("/"))))

    def with_source_versions(
        self, updates: Iterable[Update], installed: Iterable[Installed], native: str
    ) -> tuple[Update, ...]:
        """The updates, with the versions of their source packages. They are known where the installed package has its
        source's own version; of others, as linux-image-amd64, apt tells."""
        packages = {(package.name, package.architecture): package for package in installed}
        pairs = [(update, packages[update.name, update.architecture]) for update in updates]
        others = [update for update, package in pairs if not has_version_of_source(package)]
        told = self.source_versions(others, native) if others else {}
        return tuple(
            replace(
                update,
                available_source_version=different(
                    without_rebuild(update.available_version)
                    if has_version_of_source(package)
                    else told.get((update.name, update.available_version), ""),
                    update.available_version,
                ),
            )
            for update, package in pairs
        )

    def source_versions(self, updates: Iterable[Update], native: str) -> dict[tuple[str, str], str]:
        """By name and version."""
        versions = [f"{name_for_apt(update, native)}={update.available_version}" for update in updates]
        return parse_sources(self.runner.run(["apt-cache", "-c", str(self.configuration), "show", "--", *versions]).out)

    def needing_pro(
        self, installed: Sequence[Installed], native: str, updates: Sequence[Update]
    ) -> tuple[tuple[Update, ...], tuple[str, ...]]:
        """Ubuntu's security fixes that only a subscription gives."""
        status = pro_status(self.runner, self.root)
        if isinstance(status, ProUnknown):
            return (), (status.note,)
        return (updates_that_need_pro(status, installed, native, updates) if status else ()), ()

    def dependencies(self) -> Dependencies:
        return dpkg_dependencies(self.runner, database(self.root) if self.root else None)

    # --- package lists ----------------------------------------------------------------------------

    def package_lists(self) -> Lists:
        """The lists there are, and a gap for each that should be and is not; the cache over them is made whole."""
        cached = self.cache / "whole"
        if not cached.exists():  # apt saves a cache of half the lists when one is damaged, and then trusts it
            for path in self.cache.glob("*pkgcache.bin"):
                path.unlink()
        cached.unlink(missing_ok=True)
        loaded, configured, made = self.runner.run_together(
            Command(self.apt_get("indextargets", "--format", TARGET_FIELDS, "Created-By: Packages")),
            # Without --no-release-info a list that is missing is left out in silence.
            Command(
                self.apt_get("indextargets", "--no-release-info", "--format", TARGET_FIELDS, "Created-By: Packages")
            ),
            Command(["apt-cache", "-c", str(self.configuration), "gencaches"]),
        )
        for result in (configured, loaded, made):
            if result.code != 0:
                self.forget_lists()
                raise problem("apt could not read the package lists", result)
        cached.touch()
        lists = compare(parse_targets(loaded), parse_targets(configured))
        if not configured.out.strip():
            raise PackageManagerError(
                "apt has no package sources.", "Add one to /etc/apt/sources.list or to a file in sources.list.d."
            )
        if not lists.loaded and not lists.empty:
            raise PackageManagerError(
                "apt has no package list of any of its sources, so nothing is known about updates.",
                "Run `apt-get update` on the host, or scan with refreshing switched on.",
            )
        return lists

    def copy_host_lists(self) -> None:
        if any((self.private / "lists").glob("*Release")) or self.damaged.exists():
            return
        host_lists = self.host_lists()
        for path in host_lists.iterdir() if host_lists.is_dir() else ():
            if path.is_file() and path.name != "lock" and os.access(path, os.R_OK):
                shutil.copy2(path, self.private / "lists" / path.name)
        if date := modified(host_lists / "partial"):
            self.refreshed.touch()
            os.utime(self.refreshed, (date.timestamp(), date.timestamp()))

    def forget_lists(self) -> None:
        """A damaged list of ours must not live on: the next refresh begins anew, and without a copy of the host's,
        where the damage may have come from (apt does not look again at a list that has not changed on the server)."""
        if self.own_lists:
            shutil.rmtree(self.private / "lists")
            self.refreshed.unlink(missing_ok=True)
            self.damaged.touch()

    def metadata_date(self) -> datetime | None:
        """When the lists were last fetched: ours by our own note; the host's by its folder `partial`, which every
        `apt-get update` touches (the lists themselves carry the server's time)."""
        return modified(self.refreshed) if self.own_lists else modified(self.host_lists() / "partial")

    def host_lists(self) -> Path:
        # LISTS='/var/lib/apt/lists/'
        result = self.runner.run(["apt-config", "shell", "LISTS", "Dir::State::lists/d"])
        return Path(result.out.strip().removeprefix("LISTS=").strip("'") or "/var/lib/apt/lists")

    @property
    def refreshed(self) -> Path:
        return self.private / "refreshed"

    @property
    def damaged(self) -> Path:
        return self.private / "damaged"

    # --- how apt is called ------------------------------------------------------------------------

    @property
    def cache(self) -> Path:
        return self.private / ("cache" if self.own_lists else "cache-of-host-lists")

    def apt_get(self, *words: str) -> list[str]:
        return ["apt-get", "-c", str(self.configuration), *words]

    def admindir(self) -> list[str]:
        return [f"--admindir={database(self.root)}"] if self.root else []

    def configure(self) -> None:
        (self.cache / "archives/partial").mkdir(parents=True, exist_ok=True)
        lists = f'Dir::State::lists "{self.private}/lists/";\n' if self.own_lists else ""
        self.configuration.write_text(CONFIGURATION.format(cache=self.cache) + lists)

    def look_into(self, root: Path) -> None:
        """Let apt and dpkg read the other root's configuration, status and architectures instead of this host's."""
        own = self.runner.run(["dpkg-query", *self.admindir(), "-W", "-f", r"${Architecture}\n", "dpkg"]).out.split()
        native = own[0] if own else self.runner.run(["dpkg", "--print-architecture"]).out.strip()
        try:
            all_of_them = dict.fromkeys([native, *(database(root) / "arch").read_text().split()])
        except OSError:
            all_of_them = dict.fromkeys([native])
        given = self.runner.environment.get("APT_CONFIG", "")
        settings = OTHER_ROOT.format(
            include=f'#include "{given}";\n' if given else "",
            root=root,
            native=native,
            all=" ".join(f'"{name}";' for name in all_of_them),
        )
        path = self.private / "root.conf"
        path.write_text(settings)
        self.runner = Runner(
            self.runner.deadline, self.runner.watch, {**self.runner.environment, "APT_CONFIG": str(path)}
        )


# --- reading what they print ----------------------------------------------------------------------


def parse_inventory(text: str) -> list[Installed]:
    # install installed openssh-client amd64 1:9.2p1-2+deb12u6 openssh 1:9.2p1-2+deb12u6       (tabs between)
    # hold    installed bash           amd64 5.2.15-2+b8       bash    5.2.15-2                held, but installed
    # deinstall config-files nano      amd64 7.2-1             nano    7.2-1                   removed
    rows = (line.split("\t") for line in text.splitlines())
    return [
        Installed(name, architecture, version, source, source_version, held=want == "hold")
        for want, state, name, architecture, version, source, source_version in rows
        if state in INSTALLED_STATES
    ]


def parse_targets(result: Result) -> list[Target]:
    # http://deb.example.org/debian bookworm/main amd64 Packages  Debian  oldstable  bookworm  …       (tabs between)
    # file:/srv/packages ./ Packages                              $(LABEL)  $(SUITE)  …    not in the Release file
    rows = [re.sub(r"\$\([A-Z]+\)", "", line).split("\t") for line in result.out.splitlines() if line.strip()]
    try:
        return [Target(*row) for row in rows]
    except TypeError:
        raise problem("apt-get did not answer in its own words", result) from None


def compare(loaded: list[Target], configured: list[Target]) -> Lists:
    """Only `configured` names a list that is missing, one for each of dpkg's architectures. Which of them an archive
    has, its Release file tells; a component of which no list at all is known is missing, too."""
    present = {(target.source, target.metakey) for target in loaded}
    absent = [target for target in configured if (target.source, target.metakey) not in present and offered(target)]
    sizes = {target: expected_size(target) for target in absent}
    empty = [target for target, size in sizes.items() if size == 0]
    known = {target.source for target in loaded + empty}
    missing = dict.fromkeys(target.source for target, size in sizes.items() if size or target.source not in known)
    return Lists(
        loaded,
        empty,
        [Gap(f"The package list of {' '.join(source)} is missing.", may_be_security(*source)) for source in missing],
    )


# "     1:9.2p1-2+deb12u9 500", " *** 1.1 100", "     1.1 500 (phased 10%)"
VERSION_LINE = re.compile(r"(?: \*\*\*|    ) (?P<version>\S+) (?P<priority>-?\d+)(?: \(phased (?P<phased>\d+)%\))?$")
# "        500 http://deb.example.org/debian bookworm/main amd64 Packages"
ORIGIN_LINE = re.compile(r" {6,}(?P<priority>-?\d+) (?P<description>.+)$")


def parse_policy(text: str, targets: Mapping[str, Target]) -> Iterator[Policy]:
    # openssh-client:
    #   Installed: 1:9.2p1-2+deb12u6
    #   Candidate: 1:9.2p1-2+deb12u10
    #   Version table:
    #      1:9.2p1-2+deb12u10 500
    #         500 http://deb.example.org/debian bookworm/main amd64 Packages
    #  *** 1:9.2p1-2+deb12u6 100
    #         100 /var/lib/dpkg/status
    for block in re.split(r"\n(?=\S)", text):
        header, *lines = block.splitlines() or [""]
        entry = Policy(header.rstrip(":"))
        for line in lines:
            name, _, value = line.strip().partition(": ")
            if origin := ORIGIN_LINE.match(line):
                last = entry.versions[-1]
                target = targets.get(origin["description"])
                entry.versions[-1] = replace(
                    last,
                    targets=(*last.targets, target) if target else last.targets,
                    archive_priority=max(last.archive_priority, int(origin["priority"])),
                )
            elif version := VERSION_LINE.match(line):
                phased = version["phased"] is not None and int(version["phased"]) < 100
                entry.versions.append(Version(version["version"], int(version["priority"]), phased))
            elif name == "Installed":
                entry.installed = value
            elif name == "Candidate":
                entry.candidate = value
        if entry.versions:
            yield entry


def parse_sources(text: str) -> dict[tuple[str, str], str]:
    """By name and version: the version of the source package, where it is another."""
    # Package: linux-image-amd64
    # Source: linux-signed-amd64 (6.1.128+1)
    # Version: 6.1.128-1
    sources = {}
    for stanza in text.split("\n\n"):
        fields = dict(re.findall(r"^(Package|Source|Version): *(.*)$", stanza, re.MULTILINE))
        if version := re.search(r"\((.+)\)$", fields.get("Source", "").rstrip()):
            sources[fields.get("Package", ""), fields.get("Version", "")] = version[1]
    return sources


def parse_plan(text: str) -> frozenset[tuple[str, str]]:
    """(name, architecture) of each package that a plain `apt-get upgrade` would install."""
    # 'http://deb.example.org/…/openssl_3.0.22-1%7edeb12u2_amd64.deb' openssl_3.0.22-1~deb12u2_amd64.deb 1437360 …
    files = (line.rsplit("' ", 1)[1].split()[0] for line in text.splitlines() if line.startswith("'") and "' " in line)
    parts = (file.removesuffix(".deb").split("_") for file in files)
    return frozenset((part[0], part[-1]) for part in parts)


def parse_update(result: Result) -> tuple[bool, tuple[Gap, ...]]:
    """Whether anything was fetched, and a gap for each source that could not be."""
    # Hit:1 http://deb.example.org/debian bookworm InRelease
    # Get:3 http://deb.example.org/debian bookworm/main amd64 Packages [8788 kB]
    # Err:2 http://deb.example.org/debian-security bookworm-security InRelease
    if result.code == 0:
        return True, ()
    rows = [(row[0][:4], *source_of(row)) for line in result.out.splitlines() if len(row := line.split()) >= 4]
    failed = dict.fromkeys((site, release) for outcome, site, release in rows if outcome == "Err:")
    answered = {(site, release) for outcome, site, release in rows if outcome in ("Hit:", "Get:")}
    words = f"{result.last_words} {advice(result.last_words)}".strip()
    if not failed:
        return False, (Gap(f"The package lists could not be refreshed: {words}"),)
    return bool(answered - failed.keys()), tuple(
        Gap(f"{site} {release} could not be refreshed: {words}", may_be_security(site, release))
        for site, release in failed
    )


def source_of(row: Sequence[str]) -> tuple[str, str]:
    # Err:2 http://deb.example.org/debian-security buster/updates InRelease
    # Err:6 http://deb.example.org/debian-security buster/updates/main amd64 Packages
    return row[1], row[2] if "Release" in row[3] else row[2].rpartition("/")[0]


def size_problem(target: Target, unpacked: Mapping[str, int]) -> str:
    """What is wrong with the list's size, or "": apt reads a list that was cut off without a word."""
    expected = expected_size(target)
    actual = unpacked[target.filename] if target.filename in unpacked else Path(target.filename).stat().st_size
    if expected in (None, actual):
        return ""
    return f"The package list of {target} is damaged: {actual} bytes instead of {expected}."


def expected_size(target: Target) -> int | None:
    """The list's unpacked size by its Release file; None where there is none (a [trusted=yes] source may have none)."""
    #  9f…e1  1234 main/binary-amd64/Packages
    line = re.search(rf"^ [0-9a-f]{{32,}} +(\d+) {re.escape(target.metakey)}$", release_file(target), re.MULTILINE)
    return int(line[1]) if line else None


def offered(target: Target) -> bool:
    """Whether the archive has such a list for apt: not of an architecture that it does not name, nor of "all" where
    those packages stand in the lists of the others, too. An archive that says nothing has it."""
    # Architectures: all amd64 arm64 i386
    # No-Support-for-Architecture-all: Packages
    architecture = re.search(r"binary-([^/]+)/Packages$", target.metakey)
    fields = dict(re.findall(r"^(Architectures|No-Support-for-Architecture-all): *(.*)$", release_file(target), re.M))
    if architecture is None or "Architectures" not in fields:
        return True
    elsewhere = architecture[1] == "all" and "Packages" in fields.get("No-Support-for-Architecture-all", "")
    return architecture[1] in fields["Architectures"].split() and not elsewhere


def release_file(target: Target) -> str:
    """The text of the Release file that a list belongs to; "" where there is none."""
    name = target.filename
    for suffix in COMPRESSED:
        name = name.removesuffix(suffix)
    beginning = name.removesuffix(target.metakey.replace("/", "_"))
    for path in (Path(beginning + "InRelease"), Path(beginning + "Release")):
        if path.exists():
            return path.read_text(errors="replace")
    return ""


# --- deciding -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Judge:
    """Turns what apt says of a package into updates: which version, security or not and why, and what blocks it."""

    inventory: Mapping[str, Installed]
    native: str
    plain: frozenset[tuple[str, str]] | None  # what a plain upgrade would install; None = not known
    blind: Sequence[Gap]  # what may hide a security archive

    def updates(self, entry: Policy) -> Iterator[Update]:
        package = self.inventory.get(entry.header)
        newer = entry.newer_than_installed()
        if package is None or not newer:
            return
        names = [version.version for version in newer]
        above = newer[: names.index(entry.candidate)] if entry.candidate in names else newer
        offered = newer[len(above) :]
        if offered:
            yield self.update(package, package.version, offered, self.blocked(package, offered[0]))
        if pinned := self.pinned(entry, above):  # what is offered anyway is no reason to ask for more
            reached = offered[0].version if offered else package.version
            yield self.update(package, reached, above[above.index(pinned) :], "pinned")

    def pinned(self, entry: Policy, above: Sequence[Version]) -> Version | None:
        """The version above the candidate that only a pin keeps away. One from an archive that the administrator
        never asked to follow, as backports, is no update; a security fix always is."""
        a_pin = any(version.pinned for version in entry.versions)
        return next(
            (
                version
                for version in above
                if version.security or version.pinned or (a_pin and version.priority >= FOLLOWED)
            ),
            None,
        )

    def blocked(self, package: Installed, version: Version) -> str | None:
        if package.held or self.plain is None:
            return None
        if {(package.name, package.architecture), (package.name, "all"), (package.name, self.native)} & self.plain:
            return None  # "all" and native: a package may change between the two
        return "phased" if version.phased else "kept back"

    def update(self, package: Installed, reached: str, versions: Sequence[Version], blocked: str | None) -> Update:
        """`versions`: the available one first, then those between it and the one reached without it."""
        available = versions[0]
        fixes = [(version, target) for version in versions if (target := version.security)]
        security, reason = self.verdict(reached, available, fixes)
        origins = [target.archive for target in (*available.targets, *(target for _, target in fixes))]
        return Update(
            package.name,
            package.architecture,
            package.version,
            available.version,
            package.source,
            security,
            reason,
            tuple(dict.fromkeys(origins)),
            held=package.held,
            blocked=blocked,
            command=self.command(package, available.version, blocked),
        )

    def command(self, package: Installed, version: str, blocked: str | None) -> str:
        name = name_for_apt(package, self.native)
        if blocked == "pinned":
            return f"apt-get install {name}={version}"
        upgrade = f"apt-get install --only-upgrade {name}"
        return f"apt-mark unhold {name} && {upgrade}" if package.held else upgrade

    def verdict(
        self, reached: str, available: Version, fixes: Sequence[tuple[Version, Target]]
    ) -> tuple[bool | None, str]:
        if fixes:
            fix, target = fixes[0]
            between = "" if fix is available else ", between the installed and the available version,"
            return True, f"{fix.version}{between} is in {target.label or target.site} ({target.release})."
        if self.blind:
            return None, f"It cannot be told whether this is a security update. {self.blind[0].text}"
        return False, f"No version after {reached} comes from a security archive."


def inventory_by_header(installed: Sequence[Installed], native: str) -> dict[str, Installed]:
    """By the names that `apt-cache policy` uses: plain for the native architecture and "all", name:arch for others."""
    return {name_for_apt(package, native): package for package in installed}


def name_for_apt(package: Installed | Update, native: str) -> str:
    return package.name if package.architecture in ("all", native) else f"{package.name}:{package.architecture}"


def native_architecture(installed: Collection[Installed]) -> str:
    """dpkg's own; without dpkg, the one that most packages have."""
    own = [package.architecture for package in installed if package.name == "dpkg"]
    counted = Counter(package.architecture for package in installed if package.architecture != "all")
    return own[0] if own else next((name for name, _ in counted.most_common(1)), "all")


def has_version_of_source(package: Installed) -> bool:
    return without_rebuild(package.version) == package.source_version


def without_rebuild(version: str) -> str:
    return BINARY_REBUILD.sub("", version)


def different(source_version: str, version: str) -> str:
    return "" if source_version == version else source_version


def third_party(
    entries: Iterable[Policy],
    inventory: Mapping[str, Installed],
    lists: Lists,
    whole: bool,
    own: re.Pattern[str] | None,
) -> dict[tuple[str, str], str]:
    """By name and architecture: where installed packages come from that are not the distribution's.

    Nothing can be told of a host that has no list of its distribution's own, as with a mirror that signs with another
    name. `whole`: whether every list was read. Otherwise the one that is missing may have what the others lack.
    """
    if own is None or not any(own.fullmatch(target.origin) for target in lists.loaded):
        return {}
    found = {}
    for entry in entries:
        package = inventory.get(entry.header)
        targets = entry.of_installed() or (entry.of_any() if whole else [])
        if package and targets and not any(own.fullmatch(target.origin) for target in targets):
            found[package.name, package.architecture] = targets[0].origin or targets[0].site
    return found


def query(package: Installed) -> str:
    return package.name if package.architecture == "all" else f"{package.name}:{package.architecture}"


def may_be_security(site: str, release: str, *_: str) -> bool:
    """Whether a source that could not be read may be a security archive, by what is known of it: its address."""
    return release.endswith(("-security", "/updates")) or "security" in site or "esm" in site


# --- where things are -----------------------------------------------------------------------------


def database(root: Path | None) -> Path:
    if root is not None:
        return root / "var/lib/dpkg"
    return Path(os.environ.get("DPKG_ADMINDIR", "/var/lib/dpkg"))


def apt_helper() -> str:
    return shutil.which("/usr/lib/apt/apt-helper") or "apt-helper"


def modified(path: Path) -> datetime | None:
    try:
        return datetime.fromtimestamp(path.stat().st_mtime, UTC)
    except OSError:
        return None
