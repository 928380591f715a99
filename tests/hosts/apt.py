"""A real apt host in a folder: a dpkg database, archives and package lists, made in a tenth of a second.

    host = AptHost(
        folder,
        installed=[Deb("openssl", "3.0.1"), Deb("bash", "5.2", held=True)],
        published={DEBIAN: [Deb("openssl", "3.0.3")], SECURITY: [Deb("openssl", "3.0.2")]},
    )
    Runner(…, environment=host.environment)     or     Apt(Runner(…), private, root=host.root)

    host.publish(SECURITY, Deb("bash", "5.2.1"))   later: the archive has it, the host's lists do not know of it yet
    host.update()                                  `apt-get update` on the host
    host.install(Deb("openssl", "3.0.3"))          as if it had been upgraded

Nothing here needs root, a network or a .deb file, and nothing outside `folder` is read or written.
"""

import hashlib
import os
import random
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path

APT_CONF = """\
Dir "{root}";
Dir::State::status "{root}/var/lib/dpkg/status";
Dir::Bin::methods "/usr/lib/apt/methods";
Dir::Bin::dpkg "/usr/bin/dpkg";
DPkg::Options {{ "--root={root}"; "--force-not-root"; "--force-script-chrootless"; "--log={root}/dpkg.log"; }};
APT::Architecture "{native}";
APT::Architectures {{ {architectures} }};
"""
# The host's own settings: these count for a scan of the folder as another root, too.
HOST_CONF = """\
APT::Sandbox::User "";
APT::Machine-ID "0123456789abcdef0123456789abcdef";
Acquire::Languages "none";
Acquire::Retries "0";
Debug::NoLocking "true";
"""
DEBIAN_RELEASE = """\
PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"
NAME="Debian GNU/Linux"
VERSION_ID="12"
VERSION_CODENAME=bookworm
ID=debian
"""


@dataclass(frozen=True)
class Deb:
    """One package, as installed or as published. `phased` is the percentage of hosts that get it already."""

    name: str
    version: str
    architecture: str = "amd64"
    source: str = ""  # "openssl", or "openssl (3.0.1)" where the source's version differs
    depends: str = ""
    multi_arch: str = ""
    phased: int | None = None
    held: bool = False
    state: str = "installed"  # or "config-files": removed, but not purged

    @property
    def key(self) -> tuple[str, str]:
        return self.name, self.architecture

    def stanza(self, **fields: object) -> str:
        known = {
            "Package": self.name,
            **fields,
            "Priority": "optional",
            "Section": "misc",
            "Maintainer": "Somebody <somebody@example.org>",
            "Architecture": self.architecture,
            "Multi-Arch": self.multi_arch,
            "Source": self.source,
            "Version": self.version,
            "Depends": self.depends,
            "Phased-Update-Percentage": "" if self.phased is None else self.phased,
            "Description": f"the package {self.name}",
        }
        return "".join(f"{name}: {value}\n" for name, value in known.items() if value != "") + "\n"

    def as_installed(self) -> str:
        want = "hold" if self.held else "install" if self.state == "installed" else "deinstall"
        return self.stanza(Status=f"{want} ok {self.state}")

    def as_published(self) -> str:
        file = f"pool/{self.name}_{self.version.replace(':', '%3a')}_{self.architecture}.deb"
        return self.stanza(Filename=file, Size=1000, SHA256=hashlib.sha256(file.encode()).hexdigest())


@dataclass(frozen=True)
class Archive:
    """One line of sources.list: `dist` is the word there, the rest stands in the Release file where it is not empty."""

    dist: str
    label: str = ""
    suite: str = ""
    codename: str = ""
    origin: str = "Debian"
    mirror: str = "debian"
    not_automatic: bool = False
    lists_all_apart: bool = False  # whether packages of the architecture "all" stand in a list of their own only


DEBIAN = Archive("bookworm", "Debian", "oldstable", "bookworm")
SECURITY = Archive(
    "bookworm-security", "Debian-Security", "oldstable-security", "bookworm-security", mirror="debian-security"
)
BACKPORTS = Archive(
    "bookworm-backports", "Debian Backports", "oldstable-backports", "bookworm-backports", not_automatic=True
)
UBUNTU = Archive("jammy", "Ubuntu", "jammy", "jammy", "Ubuntu", "ubuntu")
UBUNTU_SECURITY = Archive("jammy-security", "Ubuntu", "jammy-security", "jammy", "Ubuntu", "ubuntu")


class AptHost:
    """`root` is the host, `environment` lets the machine's own apt and dpkg work on it."""

    def __init__(
        self,
        folder: Path,
        installed: Iterable[Deb],
        published: Mapping[Archive, Iterable[Deb]] | None = None,
        *,
        sources: Iterable[Archive] = (DEBIAN, SECURITY),
        architectures: Iterable[str] = ("amd64",),
        preferences: str = "",
        os_release: str = DEBIAN_RELEASE,
        update: bool = True,
    ) -> None:
        self.root = folder / "host"
        self.mirrors = folder / "mirrors"
        self.home = folder / "home"
        self.programs = folder / "programs"
        self.apt_conf = folder / "apt.conf"
        self.architectures = tuple(architectures)
        self.packages: dict[tuple[str, str], Deb] = {}
        self.archives: dict[Archive, list[Deb]] = {}
        self.make_folders()
        self.configure(preferences, os_release)
        self.install(*installed)
        self.set_sources(*dict.fromkeys((*sources, *(published or ()))))
        for archive, debs in (published or {}).items():
            self.publish(archive, *debs)
        if update:
            self.update()

    @property
    def environment(self) -> dict[str, str]:
        """What the programs need to know: they see this host, and a program of `replace_program` first."""
        return {
            "APT_CONFIG": str(self.apt_conf),
            "DPKG_ADMINDIR": str(self.root / "var/lib/dpkg"),
            "PATH": f"{self.programs}:{os.environ.get('PATH', os.defpath)}",
            "HOME": str(self.home),
        }

    @property
    def status(self) -> Path:
        return self.root / "var/lib/dpkg/status"

    @property
    def lists(self) -> Path:
        return self.root / "var/lib/apt/lists"

    def list_of(self, archive: Archive, architecture: str = "amd64") -> Path:
        """The host's own copy of an archive's package list."""
        (path,) = self.lists.glob(f"*_{archive.mirror}_dists_{archive.dist}_main_binary-{architecture}_Packages")
        return path

    # --- changes over time ------------------------------------------------------------------------

    def publish(self, archive: Archive, *debs: Deb) -> None:
        """Add packages to an archive: the host learns of them with its next update."""
        published = self.archives.setdefault(archive, [])
        published += debs
        dist = self.mirrors / archive.mirror / "dists" / archive.dist
        sums = []
        for architecture in ("all", *self.architectures):
            fitting = (architecture,) if archive.lists_all_apart else (architecture, "all")
            here = [deb.as_published() for deb in published if deb.architecture in fitting]
            data = "".join(here).encode()
            name = f"main/binary-{architecture}/Packages"
            write(dist / name, data)
            sums.append(f" {hashlib.sha256(data).hexdigest()} {len(data)} {name}")
        write(dist / "Release", self.release(archive, sums).encode())

    def install(self, *debs: Deb) -> None:
        """Put packages into dpkg's database, in place of other versions of theirs."""
        self.packages |= {deb.key: deb for deb in debs}
        write(self.status, "".join(deb.as_installed() for deb in self.packages.values()).encode())

    def update(self) -> None:
        self.run("apt-get", "-qq", "-o", "APT::Update::Error-Mode=any", "update")

    def set_sources(self, *archives: Archive, uri: str = "") -> None:
        """Follow these archives, each in its folder below `uri`; without one straight from the disk."""
        uri = uri or f"copy:{self.mirrors}"
        for archive in archives:
            self.publish(archive)
        lines = [f"deb [trusted=yes] {uri}/{archive.mirror} {archive.dist} main\n" for archive in archives]
        write(self.root / "etc/apt/sources.list", "".join(lines).encode())

    def set_update_date(self, date: datetime) -> None:
        """As if the last `apt-get update` had been then."""
        os.utime(self.lists / "partial", (date.timestamp(), date.timestamp()))

    def replace_program(self, name: str, script: str) -> None:
        """Let a program of this name, found first, do something else."""
        write(self.programs / name, script.encode())
        (self.programs / name).chmod(0o755)

    def run(self, *argv: str) -> str:
        """Run a program as on the host; what it printed."""
        environment = {**self.environment, "LC_ALL": "C"}
        done = subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, f"{' '.join(argv)} ended with {done.returncode}: {done.stderr or done.stdout}"
        return done.stdout

    # --- how it is made ---------------------------------------------------------------------------

    def make_folders(self) -> None:
        for name in (
            "etc/apt/apt.conf.d",
            "etc/apt/preferences.d",
            "var/lib/apt/lists/partial",
            "var/cache/apt/archives/partial",
            "var/lib/dpkg/info",
            "var/lib/dpkg/updates",
        ):
            (self.root / name).mkdir(parents=True)
        for folder in (self.mirrors, self.home, self.programs):
            folder.mkdir()

    def configure(self, preferences: str, os_release: str) -> None:
        architectures = " ".join(f'"{name}";' for name in self.architectures)
        native = self.architectures[0]
        self.apt_conf.write_text(APT_CONF.format(root=self.root, native=native, architectures=architectures))
        (self.root / "etc/apt/apt.conf.d/10host").write_text(HOST_CONF)
        (self.root / "etc/apt/preferences.d/pins").write_text(preferences)
        (self.root / "etc/os-release").write_text(os_release)
        (self.root / "var/lib/dpkg/arch").write_text("".join(f"{name}\n" for name in self.architectures))

    def release(self, archive: Archive, sums: Iterable[str]) -> str:
        fields = {
            "Origin": archive.origin,
            "Label": archive.label,
            "Suite": archive.suite,
            "Codename": archive.codename,
            "Date": format_datetime(datetime.now(UTC), usegmt=True),
            "NotAutomatic": "yes" if archive.not_automatic else "",
            "ButAutomaticUpgrades": "yes" if archive.not_automatic else "",
            "Architectures": " ".join(("all", *self.architectures)),
            "No-Support-for-Architecture-all": "" if archive.lists_all_apart else "Packages",
            "Components": "main",
        }
        return "\n".join([*(f"{name}: {value}" for name, value in fields.items() if value), "SHA256:", *sums, ""])


def random_host(folder: Path, packages: int, seed: int = 1) -> AptHost:
    """A host of so many packages, every seventh or so with an update: from the point release, from the security
    archive, or from both, with either of them the newer. A few are held. The same for the same seed."""
    dice = random.Random(seed)
    installed: list[Deb] = []
    debian: list[Deb] = []
    security: list[Deb] = []
    for number in range(packages):
        earlier = [deb.name for deb in installed[-20:]]
        here = Deb(
            f"package-{number}",
            f"1.{dice.randrange(9)}-1",
            dice.choice(("amd64", "amd64", "all")),
            source=f"source-{number // 3}",
            depends=", ".join(dice.sample(earlier, min(len(earlier), dice.randrange(5)))),
        )
        installed.append(replace(here, held=dice.random() < 0.02))
        debian.append(here)
        for archive, chance in ((debian, 0.09), (security, 0.06)):
            if dice.random() < chance:
                archive.append(replace(here, version=f"2.{dice.randrange(9)}-1"))
    return AptHost(folder, installed, {DEBIAN: debian, SECURITY: security})


def write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
