"""The package managers we know, and which one is a host's own."""

from pathlib import Path

from scanner.package_managers import os_release
from scanner.package_managers.apt import Apt
from scanner.package_managers.dnf import Dnf
from scanner.package_managers.interface import PackageManager, PackageManagerError
from scanner.package_managers.pacman import Pacman
from scanner.package_managers.yum import Yum

PACKAGE_MANAGERS: tuple[type[PackageManager], ...] = (Apt, Dnf, Yum, Pacman)
NAMES = tuple(manager.name for manager in PACKAGE_MANAGERS)


def detect(root: Path | None = None, wanted: str = "") -> type[PackageManager]:
    """The native package manager of a root: by os-release(5) and a database that is not empty. A wish wins."""
    if wanted:
        found = next((manager for manager in PACKAGE_MANAGERS if manager.name == wanted), None)
        if found is None:
            raise PackageManagerError(
                f"There is no package manager {wanted!r} here.", f"Choose from: {', '.join(NAMES)}."
            )
        return found
    words = os_release.words(os_release.read(root or Path("/")))
    with_database = [manager for manager in PACKAGE_MANAGERS if manager.has_database(root)]
    native = [manager for manager in with_database if manager.distributions & words]
    for manager in native + with_database:
        return manager
    called = ", ".join(sorted(words)) or "?"
    raise PackageManagerError(
        f"No package database was found on {root or 'this host'}, which calls itself {called}.",
        f"Supported are {', '.join(NAMES)}; another root can be named with --root.",
    )


def release_of(root: Path | None = None) -> str:
    """The release of a root as feeds name it, such as "debian:12"; "" where it is not known."""
    return os_release.release(os_release.read(root or Path("/")))
