"""A pacman host in a folder: a real database of installed packages, real repositories, and wrappers that use them.

    host = PacmanHost(folder, ["curl 8.8.0-1"], Repository("core", ["curl 8.9.1-1"]))

Packages are written as pacman prints them: name version. Nothing is built: the databases are written as pacman and
repo-add write them.
"""

import gzip
import io
import os
import shutil
import subprocess
import tarfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

DATE = 1_780_000_000

CONFIGURATION = """\
[options]
RootDir = {root}
DBPath = {root}/var/lib/pacman/
CacheDir = {root}/var/cache/pacman/pkg/
LogFile = {root}/var/log/pacman.log
GPGDir = {root}/etc/pacman.d/gnupg/
HookDir = {root}/etc/pacman.d/hooks/
Architecture = auto
SigLevel = Never
{configuration}
{repositories}
"""
WRAPPER = """\
#!/bin/sh
exec {program} --config {root}/etc/pacman.conf "$@"
"""


@dataclass(frozen=True)
class Package:
    """One package. `replaces` and `depends` are written as in a PKGBUILD: "old<2"."""

    written: str
    base: str = ""
    architecture: str = "x86_64"
    replaces: Sequence[str] = ()
    depends: Sequence[str] = ()

    @property
    def name(self) -> str:
        return self.written.split()[0]

    @property
    def version(self) -> str:
        return self.written.split()[1]


@dataclass(frozen=True)
class Repository:
    name: str
    packages: Sequence[str | Package] = ()


class PacmanHost:
    def __init__(
        self,
        folder: Path,
        installed: Iterable[str | Package],
        *repositories: Repository,
        configuration: str = "",
        os_release: str = "ID=arch\n",
    ) -> None:
        """`configuration`: further lines of pacman.conf, as "IgnorePkg = curl"."""
        self.root = folder / "root"
        self.servers = folder / "servers"
        self.bin = folder / "bin"
        self.local = self.root / "var/lib/pacman/local"
        self.sync = self.root / "var/lib/pacman/sync"
        for path in (self.local, self.sync, self.root / "etc/pacman.d/gnupg", self.root / "var/log", self.bin):
            path.mkdir(parents=True)
        (self.local / "ALPM_DB_VERSION").write_text("9\n")
        (self.root / "etc/os-release").write_text(os_release)
        self.configuration = configuration
        self.installed: dict[str, str] = {}
        self.repositories: dict[str, Repository] = {}
        self.wrap("pacman")
        self.wrap("pacman-conf")
        self.install(*installed)
        for repository in repositories:
            self.publish(repository)
        self.configure()

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "PATH": f"{self.bin}{os.pathsep}{os.environ['PATH']}"}

    def install(self, *packages: str | Package) -> None:
        """Write packages into the database of installed packages, as if they had been installed."""
        for package in map(package_of, packages):
            if old := self.installed.get(package.name):
                shutil.rmtree(self.local / f"{package.name}-{old}")
            self.installed[package.name] = package.version
            folder = self.local / f"{package.name}-{package.version}"
            folder.mkdir()
            (folder / "desc").write_text(desc(package, ("INSTALLDATE", str(DATE)), ("VALIDATION", "none")))
            (folder / "files").write_text("%FILES%\n\n")

    def publish(self, repository: Repository, date: int = DATE) -> None:
        """Write a repository's database to its server, or a newer one: pacman compares dates, in whole seconds."""
        self.repositories[repository.name] = repository
        self.configure()
        server = self.servers / repository.name
        server.mkdir(parents=True, exist_ok=True)
        path = server / f"{repository.name}.db"
        path.write_bytes(database(repository))
        os.utime(path, (date, date))

    def refresh(self) -> None:
        """The host's own databases, as `pacman -Sy` fetches them."""
        for name in self.repositories:
            shutil.copy2(self.servers / name / f"{name}.db", self.sync)

    def take_down(self, name: str) -> None:
        """The repository's server is gone; what was fetched from it stays."""
        (self.servers / name).rename(self.servers / f"{name} is down")

    def run(self, *words: str) -> str:
        """Run one of the host's programs, as an administrator would. pacman ends with 1 where it lists nothing."""
        result = subprocess.run(words, env=self.environment, capture_output=True, text=True, check=False)
        assert not result.stderr, result.stderr
        return result.stdout

    def configure(self) -> None:
        sections = [f"[{name}]\nServer = {(self.servers / name).as_uri()}" for name in self.repositories]
        text = CONFIGURATION.format(root=self.root, configuration=self.configuration, repositories="\n".join(sections))
        (self.root / "etc/pacman.conf").write_text(text)

    def wrap(self, program: str) -> None:
        real = shutil.which(program)
        assert real, f"{program} is not installed: apt-get install pacman-package-manager fakeroot"
        script = self.bin / program
        script.write_text(WRAPPER.format(program=real, root=self.root))
        script.chmod(0o755)


def package_of(package: str | Package) -> Package:
    return Package(package) if isinstance(package, str) else package


def desc(package: Package, *more: tuple[str, str]) -> str:
    """%NAME% and its value, a blank line, and so on."""
    fields = [
        ("NAME", package.name),
        ("VERSION", package.version),
        ("BASE", package.base or package.name),
        ("DESC", "test"),
        ("ARCH", package.architecture),
        ("BUILDDATE", str(DATE)),
        ("PACKAGER", "test"),
        ("REPLACES", "\n".join(package.replaces)),
        ("DEPENDS", "\n".join(package.depends)),
        *more,
    ]
    return "".join(f"%{name}%\n{value}\n\n" for name, value in fields if value)


def database(repository: Repository) -> bytes:
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb", compresslevel=1, mtime=0) as zipped:
        with tarfile.open(fileobj=zipped, mode="w") as archive:
            for package in map(package_of, repository.packages):
                folder = f"{package.name}-{package.version}"
                file = ("FILENAME", f"{folder}-{package.architecture}.pkg.tar.zst")
                text = desc(package, file, ("CSIZE", "1"), ("ISIZE", "1"), ("SHA256SUM", "0" * 64)).encode()
                entry = tarfile.TarInfo(f"{folder}/desc")
                entry.size = len(text)
                archive.addfile(entry, io.BytesIO(text))
    return packed.getvalue()
