"""The package managers we know, and which one is a host's own."""

from pathlib import Path

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
    words = distribution(root or Path("/"))
    with_database = [manager for manager in PACKAGE_MANAGERS if manager.has_database(root)]
    native = [manager for manager in with_database if manager.distributions & words]
    for manager in native + with_database:
        return manager
    called = ", ".join(sorted(words)) or "?"
    raise PackageManagerError(
        f"No package database was found on {root or 'this host'}, which calls itself {called}.",
        f"Supported are {', '.join(NAMES)}; another root can be named with --root.",
    )


def distribution(root: Path) -> frozenset[str]:
    """ID and ID_LIKE of /etc/os-release, or of /usr/lib/os-release; nothing where there is neither."""
    for place in ("etc/os-release", "usr/lib/os-release"):
        try:
            text = (root / place).read_text(errors="replace")
        except OSError:
            continue
        return parse_os_release(text)
    return frozenset()


def parse_os_release(text: str) -> frozenset[str]:
    # ID_LIKE="rhel centos fedora"
    pairs = (line.split("=", 1) for line in text.splitlines() if "=" in line and not line.lstrip().startswith("#"))
    return frozenset(
        word.strip("\"'").lower()
        for name, value in pairs
        if name.strip() in ("ID", "ID_LIKE")
        for word in value.strip().strip("\"'").split()
    )
