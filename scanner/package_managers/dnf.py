"""dnf, versions 4 and 5: Fedora, RHEL, AlmaLinux, Rocky, Oracle, Amazon and their kin.

Commands: rpm(8), dnf(8), dnf5(8). dnf works on a private cache: no root is needed and the host's own state stays
untouched. What is a security update is said by advisories (updateinfo), by their type and never by their name. One
that any version in (installed, available] fixes counts: a security fix is often overtaken by a bug fix.
"""

import json
import os
import re
import shlex
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from scanner.package_managers.command import Command, Result, Runner
from scanner.package_managers.dependencies import rpm_dependencies
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
from scanner.vulnerabilities.version_keys import rpm_key

INVENTORY = r"%{NAME}|%{EPOCHNUM}|%{VERSION}|%{RELEASE}|%{ARCH}|%{SOURCERPM}|%{MODULARITYLABEL}|%{VENDOR}\n"
INVENTORY_WITHOUT_MODULES = INVENTORY.replace("%{MODULARITYLABEL}", "(none)")
# They build the same packages: a host that was moved from one to another keeps some of the former's for long.
REBUILDS = ("almalinux", "centos", "oracle america", "red hat", "rocky")
OWN_VENDORS = {
    "almalinux": REBUILDS,
    "rocky": REBUILDS,
    "rhel": REBUILDS,
    "centos": REBUILDS,
    "ol": REBUILDS,
    "fedora": ("fedora project",),  # not "Fedora Copr - user somebody"
    "amzn": ("amazon",),
}
"""By the ID of os-release: how the vendors of the distribution's own packages begin, in lower case."""
NO_DATE = datetime.fromtimestamp(0, UTC)  # what dnf 4 makes of a date without a time, as Oracle writes them
RPM_DATABASES = tuple(
    f"{folder}/{name}"
    for folder in ("usr/lib/sysimage/rpm", "var/lib/rpm")
    for name in ("rpmdb.sqlite", "Packages", "Packages.db")
)
SEVERITIES = ("critical", "important", "moderate", "medium", "low")  # worst first; Amazon says medium for moderate

# dnf4 puts an --installroot before these paths and later drops it again. With so many ".." both are the same folder.
ANY_ROOT = "/.." * 32


@dataclass(frozen=True, slots=True)
class Repository:
    """An enabled repository. `metadata` is its newest cached repomd.xml; None where it was never fetched."""

    name: str
    metadata: Path | None

    @property
    def publishes_advisories(self) -> bool:
        return self.metadata is not None and b'type="updateinfo' in self.metadata.read_bytes()

    @property
    def date(self) -> datetime | None:
        """Every successful refresh touches the package list; repomd.xml keeps the time of its download."""
        if self.metadata is None:
            return None
        # 5db4828d…-primary.xml.gz (dnf), primary.sqlite.bz2 and cachecookie (yum)
        touched = [path for path in self.metadata.parent.iterdir() if "primary" in path.name or "cookie" in path.name]
        return datetime.fromtimestamp(max(path.stat().st_mtime for path in [self.metadata, *touched]), UTC)


@dataclass(frozen=True, slots=True)
class Offer:
    """A package as dnf prints it: an update, a replacement, or the package that is replaced."""

    name: str
    architecture: str
    version: str
    repository: str

    def __str__(self) -> str:
        return f"{self.name}-{self.version}"


@dataclass(frozen=True, slots=True)
class Offers:
    updates: Mapping[tuple[str, str], Offer]
    replacements: Mapping[tuple[str, str], Offer]  # by the name and architecture of what is replaced


@dataclass(frozen=True, slots=True)
class Advisory:
    """One package of one advisory. dnf tells one date: when it was issued or last changed."""

    id: str
    security: bool
    severity: str
    name: str
    version: str
    architecture: str
    cves: tuple[str, ...] = ()
    issued: datetime | None = None

    @property
    def nevra(self) -> str:
        return f"{self.name}-{self.version}.{self.architecture}"

    @property
    def words(self) -> str:
        return f"{self.id} ({self.severity})" if self.severity else self.id


@dataclass(frozen=True, slots=True)
class Detail:
    """What the plain list of advisories leaves out."""

    cves: tuple[str, ...] = ()
    issued: datetime | None = None


Details = Mapping[str, Detail]
"""By what the program names beside it: the advisory's id, or the package as name-version-release.architecture."""


class Dnf(PackageManager):
    name = "dnf"
    distributions = frozenset(("fedora", "rhel", "centos", "almalinux", "rocky", "ol", "amzn"))

    def __init__(self, runner: Runner, private: Path, root: Path | None = None) -> None:
        # dnf prints dates in the local time, and does not say so.
        in_utc = Runner(runner.deadline, runner.watch, {**runner.environment, "TZ": "UTC"})
        super().__init__(in_utc, private.resolve(), root.resolve() if root else None)
        self.own_cache = False
        for name in ("cache", "log", "state"):
            (self.private / name).mkdir(parents=True, exist_ok=True)

    @classmethod
    def has_database(cls, root: Path | None) -> bool:
        return has_rpm_database(root) and not is_yum_only(root)

    # --- the steps --------------------------------------------------------------------------------

    def refresh(self, progress: Progress) -> tuple[Gap, ...]:
        """`makecache` into our own cache. It begins as a copy of the host's: then only what is new is fetched."""
        progress(0, "Fetching the repositories' metadata")
        self.copy_host_cache()
        self.own_cache = True
        # Not quiet: that would also hide which repositories could not be reached. All of them are tried.
        words = ("--refresh", "--setopt=*.skip_if_unavailable=1", "makecache")
        result = self.runner.run(self.dnf(*words, cache=self.private / "cache"))
        progress(100, "Metadata fetched")
        return parse_refresh(result)

    def database(self) -> list[str]:
        return [] if self.root is None else [f"--root={self.root}", f"--dbpath=/{rpm_folder(self.root)}"]

    def dependencies(self) -> Dependencies:
        return rpm_dependencies(self.runner, self.database())

    def installed(self) -> list[Installed]:
        result = self.inventory(INVENTORY)
        if "unknown tag" in result.err:  # rpm before 4.14, as of EL 7, lists nothing at all then, and ends well
            result = self.inventory(INVENTORY_WITHOUT_MODULES)
        if result.code != 0:
            raise problem("rpm could not read the installed packages", result)
        packages = parse_inventory(result.out, OWN_VENDORS.get(identity(read(self.root or Path("/"))), ()))
        if not packages:
            raise PackageManagerError(
                f"rpm lists no installed package. {result.err.strip()}".strip(), "Is this the right root?"
            )
        return packages

    def inventory(self, form: str) -> Result:
        return self.runner.run(["rpm", *self.database(), "-qa", "--qf", form])

    def updates(self, installed: Sequence[Installed]) -> Findings:
        cache = self.cache()
        listed, *answers = self.ask([["-q", "repolist"], *self.questions([])], cache)
        repositories = self.repositories(listed, cache)
        missing = [repository.name for repository in repositories if repository.metadata is None]
        if missing:  # dnf refuses every answer, or leaves one of them out in silence: ask again without them
            answers = self.ask(self.questions(missing), cache)
        offers, gaps = read_offers(answers[0])
        unrestricted, more = read_offers(answers[1])
        advisories, unread = self.read_advisories(answers[2])
        fixes = any(advisory.security for advisory in advisories)
        details, without_details = self.details(missing, cache) if fixes else ({}, [])
        gaps = list(dict.fromkeys([*map(missing_metadata, missing), *gaps, *more, *unread, *without_details]))
        judge = Judge(
            newest_installed(installed),
            by_name(with_details(advisories, details)),
            frozenset(repository.name for repository in repositories if not repository.publishes_advisories),
            self.security_replacements(offers.replacements.values(), missing, cache),
            [gap for gap in gaps if gap.security],
            self.program,
            "--advisories" if self.is_dnf5 else "--advisory",
            shlex.join(self.nothing_excluded()),
        )
        updates = tuple(judge.updates(offers, unrestricted))
        dates = [date for repository in repositories if (date := repository.date)]
        return Findings(
            updates,
            min(dates, default=None),
            (*gaps, *judge.unknown_packages(offers), *judge.fixes_out_of_reach(updates)),
            tuple(silence(name, updates) for name in sorted(judge.silent & {u.origins[0] for u in updates})),
        )

    # --- repositories -----------------------------------------------------------------------------

    def repositories(self, listed: Result, cache: Path) -> list[Repository]:
        if listed.code != 0:
            raise problem(f"{self.program} could not list its repositories", listed)
        found = [Repository(name, self.metadata(cache, name)) for name in parse_repositories(listed.out)]
        if not found:
            raise PackageManagerError(
                f"{self.program} has no enabled repository.", "Enable one in /etc/yum.repos.d on the host."
            )
        if not any(repository.metadata for repository in found):
            raise PackageManagerError(
                f"{self.program} has no metadata of any of its {len(found)} repositories, "
                "so nothing is known about updates.",
                f"Run `{self.program} makecache` on the host, or scan with refreshing switched on.",
            )
        return found

    def metadata(self, cache: Path, repository: str) -> Path | None:
        # baseos-0b04f116ae2dce1f/repodata/repomd.xml: the number changes with the repository's address
        folder = re.compile(re.escape(repository) + "-[0-9a-f]{16}")
        found = [path for path in cache.glob("*/repodata/repomd.xml") if folder.fullmatch(path.parts[-3])]
        return max(found, key=lambda path: path.stat().st_mtime, default=None)

    def cache(self) -> Path:
        return self.private / "cache" if self.own_cache else self.host_cache()

    def host_cache(self) -> Path:
        if self.is_dnf5:
            # system_cachedir = /var/cache/libdnf5
            result = self.runner.run([self.program, "--dump-main-config"])
            found = re.search(r"^system_cachedir\s*=\s*(\S+)$", result.out, re.MULTILINE)
            return Path(found[1] if found else f"/{self.usual_cache}")
        # cachedir: /var/cache/dnf
        result = self.runner.run(self.dnf("-v", "-C", "--disablerepo=*", "repolist"))
        found = re.search(r"^cachedir: (.+)$", result.out + result.err, re.MULTILINE)
        return Path(found[1] if found else f"/{self.usual_cache}")

    def copy_host_cache(self) -> None:
        """From its usual place: to ask where it really is would take longer than this saves."""
        cache = self.private / "cache"
        if any(cache.glob("*/repodata")):
            return
        for folder in ((self.root or Path("/")) / self.usual_cache).glob("*/repodata"):
            if os.access(folder, os.R_OK | os.X_OK):
                shutil.copytree(folder, cache / folder.parent.name / "repodata", dirs_exist_ok=True)

    @property
    def usual_cache(self) -> str:
        return "var/cache/libdnf5" if self.is_dnf5 else "var/cache/dnf"

    # --- how dnf is called ------------------------------------------------------------------------

    @property
    def program(self) -> str:
        return "dnf" if self.which("dnf") or not self.which("dnf5") else "dnf5"

    @property
    def is_dnf5(self) -> bool:
        """Where dnf 5 is the system's own, /usr/bin/dnf is a link to it."""
        path = self.which(self.program)
        return path is not None and Path(path).resolve().name == "dnf5"

    def which(self, program: str) -> str | None:
        return shutil.which(program, path=self.runner.environment.get("PATH"))

    def dnf(self, *words: str, cache: Path | None = None, state: str = "state") -> list[str]:
        options = [f"--setopt=logdir={ANY_ROOT}{self.private}/log"]
        if cache is not None:
            options.append(f"--setopt=cachedir={ANY_ROOT}{cache}")
        if not self.is_dnf5:  # would refuse to know these
            options += [f"--setopt=persistdir={self.private}/{state}", "--setopt=exit_on_lock=1"]
        if self.root is not None:
            options.append(f"--installroot={self.root}")
        return [self.program, *options, *words]

    def ask(self, questions: Sequence[Sequence[str]], cache: Path) -> list[Result]:
        """Ask side by side what the cache says. dnf locks the folder that it reads: each question gets its own view."""
        views = [self.view(number, cache) for number in range(len(questions))]
        return self.runner.run_together(
            *(
                Command(self.dnf("-C", *words, cache=view, state=view.name))
                for words, view in zip(questions, views, strict=True)
            )
        )

    def view(self, number: int, cache: Path) -> Path:
        """A folder of links to all that is in a cache. What dnf writes stays in it, and the host's cache as it is."""
        view = self.private / f"view-{number}"
        shutil.rmtree(view, ignore_errors=True)
        view.mkdir()
        for path in cache.iterdir() if cache.is_dir() else ():
            (view / path.name).symlink_to(path)
        return view

    def questions(self, missing: Sequence[str]) -> list[list[str]]:
        """What would be updated, what would be if nothing were excluded, and which advisories there are."""
        without, everything = self.without(missing), self.nothing_excluded()
        return [
            [*without, "check-update"],  # not quiet: it would also hide that repositories are ignored
            [*without, *everything, "check-update"],
            ["-q", *without, *everything, *self.advisory_list()],
        ]

    def without(self, repositories: Iterable[str]) -> list[str]:
        return [f"--disablerepo={name}" for name in repositories]

    def nothing_excluded(self) -> list[str]:
        return (
            ["--setopt=disable_excludes=*"]
            if self.is_dnf5
            else ["--disableexcludes=all", "--disableplugin=versionlock"]
        )

    def advisory_list(self) -> list[str]:
        return ["advisory", "list", "--json"] if self.is_dnf5 else ["updateinfo", "list"]

    def read_advisories(self, result: Result) -> tuple[list[Advisory], list[Gap]]:
        if result.code != 0:
            words = f"{result.last_words} {advice(result.last_words)}".strip()
            return [], [Gap(f"The advisories could not be read: {words}")]
        return parse_json_advisories(result.out) if self.is_dnf5 else parse_advisories(result.out)

    def details(self, missing: Sequence[str], cache: Path) -> tuple[Details, list[Gap]]:
        """The CVEs that security advisories name, and when they were issued."""
        words = [*self.without(missing), *self.nothing_excluded(), *self.detail_list()]
        (result,) = self.ask([[self.loudness, *words]], cache)
        if result.code != 0:
            return {}, [Gap(f"The CVEs of the advisories could not be read: {result.last_words}", security=False)]
        return self.parse_details(result.out), []

    @property
    def loudness(self) -> str:
        """dnf 4 prints dates in verbose mode only; `updateinfo info` prints them, too, but crashes on an advisory that
        names no files. dnf 5 has told them already."""
        return "-q" if self.is_dnf5 else "-v"

    def detail_list(self) -> list[str]:
        """A row for each reference."""
        more = ["--with-cve"] if self.is_dnf5 else ["--security", "--with-cve", "--with-bz"]
        return [*self.advisory_list(), *more]

    def parse_details(self, text: str) -> Details:
        return parse_json_details(text) if self.is_dnf5 else parse_details(text)

    def security_replacements(
        self, replacements: Iterable[Offer], missing: Sequence[str], cache: Path
    ) -> frozenset[str] | None:
        """Which of the packages that replace others come with a security advisory: the list says nothing of them."""
        names = sorted({offer.name for offer in replacements})
        if not names:
            return frozenset()
        words = ["repoquery", "--security", "--qf", r"%{name}-%{evr}\n", "--", *names]
        return frozenset(self.ask([["-q", *self.without(missing), *words]], cache)[0].out.split())


# --- reading what they print ----------------------------------------------------------------------


def parse_inventory(text: str, own_vendors: tuple[str, ...] = ()) -> list[Installed]:
    # openssl|1|3.0.7|24.el9|x86_64|openssl-3.0.7-24.el9.src.rpm|(none)|AlmaLinux
    # perl|4|5.26.3|416.module_el8|x86_64|perl-5.26.3-416.module_el8.src.rpm|perl:5.26:8030020200924:10e2|AlmaLinux
    # gpg-pubkey|0|fd431d51|4ae0493b|(none)|(none)|(none)|(none)         a key, no package
    rows = (line.split("|", 7) for line in text.splitlines() if line.count("|") >= 7)
    return [
        replace(
            installed_package(name, epoch, f"{version}-{release}", architecture, source),
            module=stream(label),
            third_party=third_party(vendor, own_vendors),
        )
        for name, epoch, version, release, architecture, source, label, vendor in rows
        if name != "gpg-pubkey"
    ]


def installed_package(name: str, epoch: str, version: str, architecture: str, source_rpm: str) -> Installed:
    full = version if epoch == "0" else f"{epoch}:{version}"
    if source_rpm == "(none)":
        return Installed(name, architecture, full)
    source, number, release = source_rpm.removesuffix(".src.rpm").removesuffix(".nosrc.rpm").rsplit("-", 2)
    source_version = f"{number}-{release}"
    # The name of a source package has no epoch. Where all else is the same, it is the binary package's.
    return Installed(name, architecture, full, source, full if source_version == version else source_version)


def stream(label: str) -> str:
    """ "perl:5.26:8030020200924:10e2" -> "perl:5.26" """
    name, _, rest = label.partition(":")
    return f"{name}:{rest.partition(':')[0]}" if rest else ""


def third_party(vendor: str, own_vendors: tuple[str, ...]) -> str:
    """The vendor, where it is known that it is not the distribution."""
    unknown = not own_vendors or vendor in ("", "(none)")
    return "" if unknown or vendor.lower().startswith(own_vendors) else vendor


def parse_repositories(text: str) -> list[str]:
    # Loading mirror speeds from cached hostfile                             (yum, even where it should be quiet)
    # repo id                  repo name
    # baseos                   AlmaLinux 9 - BaseOS
    # !base/7/x86_64           CentOS-7 - Base                 10,072        (yum)
    # repolist: 10,072
    rows = [line.split() for line in text.splitlines() if line.strip()]
    header = next((number for number, words in enumerate(rows) if words[:2] == ["repo", "id"]), len(rows))
    return [words[0].lstrip("!*").split("/")[0] for words in rows[header + 1 :] if words[0] != "repolist:"]


# "openssl.x86_64   1:3.0.7-28.el9   baseos", below "Obsoleting Packages" also "    old.noarch   1-1   @System"
OFFER_ROW = re.compile(
    r"(?P<indented>\s*)(?P<name>\S+)\.(?P<architecture>[^\s.]+)\s+(?P<version>(?:\d+:)?[^\s-]+-[^\s-]+)\s+(?P<repository>\S+)\s*"
)


def read_offers(result: Result) -> tuple[Offers, list[Gap]]:
    if result.code not in (0, 100):
        raise problem(f"{result.argv[0]} could not list the available updates", result)
    offers = parse_check_update(result.out)
    gaps = parse_warnings(result.err)
    if result.code == 100 and not offers.updates and not offers.replacements:
        raise problem(f"{result.argv[0]} says that there are updates, but not which", result)
    unread = [line for line in result.out.splitlines() if line.strip() and not line.startswith("Last metadata ")]
    if unread and not offers.updates and not offers.replacements:
        gaps.append(Gap(f"{result.argv[0]} answered something that is no list of updates: {unread[-1].strip()[:200]}"))
    return offers, gaps


def parse_check_update(text: str) -> Offers:
    # bash.noarch                 5.2-1              baseos
    # a-long-name-that-is-wrapped.x86_64                           (by yum)
    #                             2:1.0-1.el7        updates
    # Obsoleting Packages
    # new.noarch                  2-1                baseos
    #     old.noarch              1-1                @System
    # Security: kernel-core-5.14.0-70.el9.x86_64 is the currently running version
    updates: dict[tuple[str, str], Offer] = {}
    replacements: dict[tuple[str, str], Offer] = {}
    replacing: Offer | None = None
    obsoleting = False
    for line in unwrapped(text):
        if line.strip().lower() == "obsoleting packages":
            obsoleting = True
        elif row := OFFER_ROW.fullmatch(line):
            offer = Offer(row["name"], row["architecture"], row["version"], row["repository"])
            if not obsoleting:
                updates[offer.name, offer.architecture] = offer
            elif not row["indented"]:
                replacing = offer
            elif replacing and replacing.name != offer.name:  # a package may obsolete itself
                replacements.setdefault((offer.name, offer.architecture), replacing)
    return Offers(updates, replacements)


def unwrapped(text: str) -> Iterator[str]:
    """The lines, with a row of three columns that yum has wrapped put together again."""
    row = ""
    for line in text.splitlines():
        if row and line[:1].isspace() and len(row.split()) < 3 and len((row + line).split()) <= 3:
            row += line
            continue
        if row:
            yield row
        row = line
    if row:
        yield row


# "RHSA-2026:1234 Important/Sec. openssl-1:3.0.7-27.el9.x86_64", "RHBA-2026:1 bugfix kernel-5.14.0-70.el9.x86_64"
ADVISORY_ROW = re.compile(
    r"\s*(?P<id>\S+)\s+(?P<label>\S+)\s+(?P<nevra>(?P<name>\S+)-(?P<version>(?:\d+:)?[^\s-]+-[^\s-]+)\.(?P<architecture>[^\s.]+))"
    r"(?:\s+(?P<date>\d{4}-\d\d-\d\d \d\d:\d\d:\d\d))?\s*"  # in verbose mode
)


def parse_advisories(text: str) -> tuple[list[Advisory], list[Gap]]:
    rows = [row for line in unwrapped(text) if (row := ADVISORY_ROW.fullmatch(line))]
    advisories = [
        Advisory(
            row["id"],
            row["label"].endswith("/Sec."),
            severity(row["label"].removesuffix("/Sec.")) if row["label"].endswith("/Sec.") else "",
            row["name"],
            row["version"],
            row["architecture"],
        )
        for row in rows
    ]
    words = [
        line for line in text.splitlines() if line.strip() and not line.startswith(("Loaded plugins", "updateinfo "))
    ]
    nonsense = (
        [Gap(f"The list of advisories could not be read: {words[-1].strip()[:200]}")] if words and not rows else []
    )
    return advisories, nonsense


def parse_details(text: str) -> Details:
    # CVE-2026-1111  Important/Sec. openssl-1:3.0.7-27.el9.x86_64 2026-08-01 06:30:00
    # RHSA-2026:1234 Important/Sec. openssl-1:3.0.7-27.el9.x86_64 2026-08-01 06:30:00      a reference, but no CVE
    # 2214567        Important/Sec. openssl-1:3.0.7-27.el9.x86_64 2026-08-01 06:30:00      one to a bug
    # CVE-2026-9     bugfix         bash-5.2-1.el9.x86_64         2026-07-01 10:00:00      named by a bug fix
    cves: dict[str, list[str]] = {}
    dates: dict[str, list[datetime]] = {}
    for line in text.splitlines():
        row = ADVISORY_ROW.fullmatch(line)
        if row and row["label"].endswith("/Sec."):
            named = cves.setdefault(row["nevra"], [])
            if row["id"].startswith("CVE-"):
                named.append(row["id"])
            if date := date_of(row["date"]):
                dates.setdefault(row["nevra"], []).append(date)
    return {nevra: Detail(tuple(named), max(dates.get(nevra, ()), default=None)) for nevra, named in cves.items()}


def date_of(text: str | None) -> datetime | None:
    """ "2026-08-01 06:30:00", by yum also "2026-08-01 06:30" or "2026-08-01" """
    try:
        date = datetime.fromisoformat(text or "").replace(tzinfo=UTC)
    except ValueError:
        return None
    return date if date > NO_DATE else None


def with_details(advisories: Iterable[Advisory], details: Details) -> list[Advisory]:
    return [
        replace(advisory, cves=detail.cves, issued=detail.issued or advisory.issued)
        if advisory.security and (detail := details.get(advisory.nevra) or details.get(advisory.id))
        else advisory
        for advisory in advisories
    ]


def parse_json_advisories(text: str) -> tuple[list[Advisory], list[Gap]]:
    # {"name":"FEDORA-2026-1", "type":"security", "severity":"Important", "nevra":"curl-8.9.1-2.fc44.x86_64",
    #  "buildtime":"2026-08-02 01:14:07"}
    try:
        entries = json.loads(text or "[]")
        rows = [(entry, NEVRA.fullmatch(entry["nevra"])) for entry in entries]
        advisories = [
            Advisory(
                entry["name"],
                entry["type"] == "security",
                severity(entry["severity"]),
                nevra["name"],
                nevra["version"],
                nevra["architecture"],
                issued=date_of(entry.get("buildtime")),
            )
            for entry, nevra in rows
            if nevra
        ]
    except (ValueError, KeyError, TypeError):
        return [], [unreadable_advisories(text)]
    return advisories, []


# "openssl-1:3.0.7-27.el9.x86_64"
NEVRA = re.compile(r"(?P<name>\S+)-(?P<version>(?:\d+:)?[^\s-]+-[^\s-]+)\.(?P<architecture>[^\s.]+)")


def parse_json_details(text: str) -> Details:
    # {"advisory_name":"FEDORA-2026-1", "advisory_type":"security", "advisory_severity":"security" (not the severity),
    #  "nevra":"curl-8.9.1-2.fc44.x86_64", "references":[{"reference_id":"CVE-2026-1", "reference_type":"cve"}]}
    try:
        return {
            entry["nevra"]: Detail(tuple(reference["reference_id"] for reference in entry["references"]))
            for entry in json.loads(text or "[]")
            if entry["advisory_type"] == "security"
        }
    except (ValueError, KeyError, TypeError):
        return {}


def unreadable_advisories(text: str) -> Gap:
    return Gap(f"The list of advisories could not be read: {text.strip()[:200]}")


def severity(word: str) -> str:
    return word.capitalize() if word.lower() in SEVERITIES else ""


def parse_refresh(result: Result) -> tuple[Gap, ...]:
    # Error: Failed to download metadata for repo 'epel': Cannot download repomd.xml: All mirrors were tried
    # Ignoring repositories: epel, extras
    ignored = ignored_repositories(result.err)
    if result.code == 0 and not ignored:
        return tuple(parse_warnings(result.err))
    if not ignored:
        words = f"{result.last_words} {advice(result.last_words)}".strip()
        return (Gap(f"The repositories' metadata could not be refreshed: {words}"),)
    lines = result.err.splitlines()
    gaps = []
    for name in ignored:
        words = next((line for line in lines if line.startswith("Error: ") and f"'{name}'" in line), "")
        gaps.append(Gap(f"Repository {name} could not be refreshed. {words} {advice(result.err)}".strip()))
    return tuple(gaps)


def ignored_repositories(text: str) -> list[str]:
    lines = re.findall(r"^Ignoring repositories: (.+)$", text, re.MULTILINE)
    # dnf5 names them one by one, in sentences; they stand in quotation marks
    sentences = re.findall(r"^.*(?:skipped|unavailable|[Ff]ailed).* repository ['\"]([^'\"]+)['\"]", text, re.MULTILINE)
    return list(dict.fromkeys([*(name for line in lines for name in line.split(", ")), *sentences]))


def parse_warnings(text: str) -> list[Gap]:
    # Ignoring repositories: extras
    # Warning: failed loading '/etc/yum.repos.d/broken.repo', skipping.
    broken = re.findall(r"failed loading '(.+)', skipping", text)
    return [
        *(missing_metadata(name) for name in ignored_repositories(text)),
        *(
            Gap(f"The repository file {path} could not be read; the repositories in it are left out.")
            for path in broken
        ),
    ]


def missing_metadata(name: str) -> Gap:
    return Gap(f"The metadata of repository {name} is missing.")


# --- deciding -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Judge:
    """Turns what dnf says of a package into updates: which version, security or not and why, and what blocks it."""

    newest: Mapping[str, Sequence[Installed]]  # by name, one for each architecture
    advisories: Mapping[str, Sequence[Advisory]]
    silent: frozenset[str]  # repositories that publish no advisories
    secure_replacements: frozenset[str] | None  # None: not known
    blind: Sequence[Gap]  # what may hide a repository or its advisories
    program: str
    advisory_option: str
    without_excludes: str  # the options that lift excludes and locks, as a shell takes them

    def updates(self, offers: Offers, unrestricted: Offers) -> Iterator[Update]:
        chosen = self.one_for_each_package({**offers.updates, **unrestricted.updates})
        for key, package in chosen:
            offer, best = offers.updates.get(key), unrestricted.updates.get(key)
            if offer:
                yield self.update(package, offer, None)
            # Once for each package, unless a security fix lies beyond what would be installed.
            if best and (offer is None or self.fixes(package, offer.version, best.version)):
                yield self.update(package, best, "excluded")
        updated = {(package.name, package.architecture) for _, package in chosen}
        for key, offer in sorted(offers.replacements.items()):
            if key not in updated and (replaced := self.package(key)):
                yield self.replacement(replaced, offer)

    def one_for_each_package(self, keys: Iterable[tuple[str, str]]) -> list[tuple[tuple[str, str], Installed]]:
        """What is offered, and what it updates. One that was noarch may be offered for each architecture."""
        chosen: dict[tuple[str, str], tuple[tuple[str, str], Installed]] = {}
        for key in sorted(keys):
            if package := self.package(key):
                own = (package.name, package.architecture)
                if own not in chosen or key == own:
                    chosen[own] = (key, package)
        return list(chosen.values())

    def package(self, key: tuple[str, str]) -> Installed | None:
        """The newest installed version."""
        name, architecture = key
        installed = self.newest.get(name, ())
        exact = [package for package in installed if package.architecture == architecture]
        return next(iter(exact or [package for package in installed if fits(architecture, package.architecture)]), None)

    def unknown_packages(self, offers: Offers) -> Iterator[Gap]:
        for key, offer in offers.updates.items():
            if self.package(key) is None:
                yield Gap(f"{offer} is offered as an update, but rpm does not list {offer.name} as installed.")

    def fixes(self, package: Installed, above: str, until: str) -> list[Advisory]:
        """The security advisories for versions in (above, until]."""
        return [advisory for advisory in self.between(package, above, until) if advisory.security]

    def between(self, package: Installed, above: str, until: str) -> list[Advisory]:
        named = self.advisories.get(package.name)
        if not named:
            return []
        low, high = rpm_key(above), rpm_key(until)
        return [
            advisory
            for advisory in named
            if low < rpm_key(advisory.version) <= high and fits(advisory.architecture, package.architecture)
        ]

    def update(self, package: Installed, offer: Offer, blocked: str | None) -> Update:
        named = self.between(package, package.version, offer.version)
        fixes = sorted((advisory for advisory in named if advisory.security), key=urgency)
        security, reason = self.verdict(package, offer, fixes)
        return Update(
            package.name,
            package.architecture,
            package.version,
            offer.version,
            package.source,
            security,
            reason,
            (offer.repository,),
            tuple(dict.fromkeys(advisory.id for advisory in [*fixes, *named])),
            tuple(dict.fromkeys(cve for fix in fixes for cve in fix.cves)),
            fixes[0].severity if fixes else "",
            blocked=blocked,
            command=self.command(package.name, fixes, blocked),
            published=max((fix.issued for fix in fixes if fix.issued), default=None),
        )

    def command(self, name: str, fixes: Sequence[Advisory], blocked: str | None) -> str:
        if blocked == "excluded":
            return f"{self.program} upgrade {self.without_excludes} {name}"
        if fixes and fixes[0].version == fixes[-1].version:
            return f"{self.program} upgrade {self.advisory_option} {fixes[0].id}"
        return f"{self.program} upgrade {name}"

    def verdict(self, package: Installed, offer: Offer, fixes: Sequence[Advisory]) -> tuple[bool | None, str]:
        if fixes:
            overtaken = all(fix.version != offer.version for fix in fixes)
            between = ", between the installed and the available version" if overtaken else ""
            words = ", ".join(dict.fromkeys(fix.words for fix in fixes))
            return True, f"{words}: fixed in {fixes[0].version}{between}."
        return self.no_fix(offer, f"No security advisory names a version after {package.version}.")

    def no_fix(self, offer: Offer, reason: str) -> tuple[bool | None, str]:
        if self.blind:
            return None, f"It cannot be told whether this is a security update. {self.blind[0].text}"
        if offer.repository in self.silent:
            return None, f"Repository {offer.repository} publishes no advisories: it cannot be told what it fixes."
        return False, reason

    def replacement(self, package: Installed, offer: Offer) -> Update:
        security: bool | None
        if self.secure_replacements is None:
            security, reason = None, f"{offer} replaces it. It cannot be told whether that is a security update."
        elif str(offer) in self.secure_replacements:
            security, reason = True, f"{offer} replaces it and comes with a security advisory."
        else:
            security, why = self.no_fix(offer, "")
            reason = f"{offer} replaces it. {why}".strip()
        return Update(
            package.name,
            package.architecture,
            package.version,
            offer.version,
            package.source,
            security,
            reason,
            (offer.repository,),
            command=f"{self.program} upgrade {offer.name}",
        )

    def fixes_out_of_reach(self, updates: Sequence[Update]) -> list[Gap]:
        """Fixes that advisories name and no enabled repository carries: vulnerable, and no update to show."""
        reach = {(update.name, update.architecture): update.available_version for update in updates}
        found = []
        for name, advisories in sorted(self.advisories.items()):
            for package in self.newest.get(name, ()):
                known = rpm_key(reach.get((name, package.architecture), package.version))
                beyond = [
                    advisory
                    for advisory in advisories
                    if advisory.security
                    and advisory.architecture == package.architecture
                    and rpm_key(advisory.version) > known
                ]
                if beyond:
                    worst = min(beyond, key=urgency)
                    found.append(f"{name} {package.version} ({worst.words}, fixed in {worst.version})")
        return [out_of_reach(found)] if found else []


def out_of_reach(found: Sequence[str]) -> Gap:
    more = f" and {len(found) - 5} more" if len(found) > 5 else ""
    return Gap(f"Vulnerable, and no enabled repository carries the fix: {', '.join(found[:5])}{more}.")


def fits(architecture: str, installed: str) -> bool:
    """A package may change between noarch and an architecture; between two architectures it is another package."""
    return architecture == installed or "noarch" in (architecture, installed)


def urgency(advisory: Advisory) -> int:
    word = advisory.severity.lower()
    return SEVERITIES.index(word) if word in SEVERITIES else len(SEVERITIES)


def newest_installed(installed: Sequence[Installed]) -> dict[str, list[Installed]]:
    """Of a package that may be installed in several versions at once, as kernels are, only the newest counts."""
    newest: dict[tuple[str, str], Installed] = {}
    for package in installed:
        key = (package.name, package.architecture)
        if key not in newest or rpm_key(package.version) > rpm_key(newest[key].version):
            newest[key] = package
    named: dict[str, list[Installed]] = {}
    for package in newest.values():
        named.setdefault(package.name, []).append(package)
    return named


def by_name(advisories: Sequence[Advisory]) -> dict[str, list[Advisory]]:
    named: dict[str, list[Advisory]] = {}
    for advisory in advisories:
        named.setdefault(advisory.name, []).append(advisory)
    return named


def silence(repository: str, updates: Sequence[Update]) -> str:
    count = sum(repository in update.origins for update in updates)
    return f"Repository {repository} publishes no advisories: of its {count} updates nothing is known but the version."


# --- where things are -----------------------------------------------------------------------------


def has_rpm_database(root: Path | None) -> bool:
    for name in RPM_DATABASES:
        try:
            if ((root or Path("/")) / name).stat().st_size > 0:
                return True
        except OSError:
            continue
    return False


def rpm_folder(root: Path) -> str:
    return next((str(Path(name).parent) for name in RPM_DATABASES if (root / name).exists()), "var/lib/rpm")


def is_yum_only(root: Path | None) -> bool:
    """Whether yum 3 is the manager here: on newer systems /usr/bin/yum is only another name of dnf."""
    place = root or Path("/")
    has_dnf = any((place / "usr/bin" / name).exists() for name in ("dnf", "dnf5", "dnf-3"))
    return (place / "usr/share/yum-cli").is_dir() and not has_dnf
