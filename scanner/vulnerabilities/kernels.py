"""Which installed packages a vendor's advisories are about, and why not the others. Pure.

Of kernels only the one that runs can be attacked. Its headers and tools come from the same source package, so that a
feed that goes by sources names them with each of the kernel's thousands of CVEs.
"""

import re
from collections.abc import Sequence
from typing import Protocol

from scanner.vulnerabilities.matching import KERNEL_PARTS
from scanner.vulnerabilities.version_keys import dpkg_key, rpm_key

# linux-image-6.1.0-18-amd64, linux-image-unsigned-5.15.0-91-generic; not linux-image-amd64, which only asks for one
DEB_IMAGE = re.compile(r"linux-image-(?:unsigned-)?(\d.*)")
DEB_ASKS_FOR_IMAGE = re.compile(r"linux-(image-|generic|virtual|cloud)(?!unsigned|\d).*|linux-(generic|virtual)")
DEB_SOURCE = re.compile(r"linux(-(?!base|firmware|atm)[a-z].*)?")
RPM_IMAGES = frozenset(
    f"kernel{flavour}{part}"
    for flavour in ("", "-uek", "-rt", "-64k", "-default", "-lt", "-ml")
    for part in ("", "-core", "-modules", "-modules-core", "-modules-extra")
)
RPM_SOURCE = re.compile(r"kernel(-uek|-rt|-64k|-default|-source|-lt|-ml)?")
ARCH_IMAGES = {"linux": "arch", "linux-lts": "lts", "linux-zen": "zen", "linux-hardened": "hardened"}
"""By the package's name: what uname(1) says somewhere in the release."""

THIRD_PARTY = "It comes from {}: the distribution's advisories say nothing of it."
COMPANION = "Headers and tools of the kernel: what can be attacked is the kernel that runs."
NOT_RUNNING = "This kernel does not run: {} does."
NOT_NEWEST = "Which kernel runs is not known; the newest one installed counts."


class Named(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def version(self) -> str: ...
    @property
    def architecture(self) -> str: ...
    @property
    def source(self) -> str: ...
    @property
    def third_party(self) -> str: ...


def not_counted(packages: Sequence[Named], package_manager: str, running: str) -> list[str]:
    """For each package why its vulnerabilities are not looked up, or "". `running` as `uname -r` prints it."""
    images = {
        number: release
        for number, package in enumerate(packages)
        if (release := release_of(package, package_manager)) is not None
    }
    newest = max(images, key=lambda number: image_key(packages[number], package_manager), default=None)
    reasons = []
    for number, package in enumerate(packages):
        if package.third_party:
            reasons.append(THIRD_PARTY.format(package.third_party))
        elif number in images:
            counts = runs(images[number], running) if running else same_version(packages, number, newest)
            reasons.append("" if counts else NOT_RUNNING.format(running) if running else NOT_NEWEST)
        else:
            reasons.append(COMPANION if is_companion(package, package_manager) else "")
    return reasons


def release_of(package: Named, package_manager: str) -> str | None:
    """What uname(1) prints when this kernel runs, or for Arch a part of it; None for what is no kernel."""
    if package_manager == "apt":
        match = DEB_IMAGE.fullmatch(package.name)
        return match[1] if match else None
    if package_manager == "pacman":
        return ARCH_IMAGES.get(package.name)
    if package.name in RPM_IMAGES:
        return f"{package.version.rpartition(':')[2]}.{package.architecture}"
    return None


def runs(release: str, running: str) -> bool:
    if release in ARCH_IMAGES.values():  # 6.9.1-arch1-1, 6.6.30-1-lts, 6.9.1-zen1-1-zen
        return re.search(rf"-{release}(\d|$)", running) is not None
    return running == release or running.startswith(f"{release}+")  # 5.14.0-70.el9.x86_64+rt


def same_version(packages: Sequence[Named], number: int, newest: int | None) -> bool:
    return newest is not None and packages[number].version == packages[newest].version


def image_key(package: Named, package_manager: str) -> bytes:
    key = dpkg_key if package_manager == "apt" else rpm_key
    try:
        return key(package.version)
    except ValueError:
        return b""


def is_companion(package: Named, package_manager: str) -> bool:
    if package_manager == "apt":
        source = KERNEL_PARTS.sub("linux", package.source)
        return bool(DEB_SOURCE.fullmatch(source)) and package.name.startswith(("linux-", "bpftool", "libcpupower"))
    if package_manager == "pacman":
        return package.name in ("linux-api-headers", *(f"{name}-headers" for name in ARCH_IMAGES))
    return bool(RPM_SOURCE.fullmatch(package.source)) or package.name == "kernel-headers"


def asks_for_kernel(name: str) -> bool:
    """Whether an update of this package brings a new kernel: linux-image-amd64, linux-generic."""
    return DEB_ASKS_FOR_IMAGE.fullmatch(name) is not None
