"""Which packages count: the kernel that runs, and what comes from the distribution."""

import pytest

from scanner.package_managers.interface import Installed
from scanner.vulnerabilities.kernels import asks_for_kernel, not_counted

OLD, NEW = "linux-image-6.1.0-18-amd64", "linux-image-6.1.0-22-amd64"


def deb(name: str, version: str = "6.1.76-1", source: str = "linux", **fields: str) -> Installed:
    return Installed(name, "amd64", version, source, version, **fields)


def counted(packages: list[Installed], manager: str, running: str) -> set[tuple[str, str]]:
    reasons = not_counted(packages, manager, running)
    return {(package.name, package.version) for package, why in zip(packages, reasons, strict=True) if not why}


def test_only_the_running_kernel_counts_on_debian() -> None:
    packages = [
        deb(OLD, source="linux-signed-amd64"),
        deb(NEW, "6.1.90-1", "linux-signed-amd64"),
        deb("linux-image-amd64", "6.1.90-1", "linux-signed-amd64"),
        deb("linux-libc-dev", "6.1.90-1"),
        deb("linux-headers-6.1.0-22-amd64", "6.1.90-1"),
        deb("linux-base", "4.9", "linux-base"),
        deb("openssl", "3.0.1-1", "openssl"),
    ]
    assert counted(packages, "apt", "6.1.0-18-amd64") == {
        (OLD, "6.1.76-1"),
        ("linux-base", "4.9"),
        ("openssl", "3.0.1-1"),
    }
    reasons = not_counted(packages, "apt", "6.1.0-18-amd64")
    assert reasons[1] == "This kernel does not run: 6.1.0-18-amd64 does."
    assert reasons[3].startswith("Headers and tools of the kernel")


def test_of_another_root_the_newest_kernel_counts() -> None:
    packages = [deb(OLD, "6.1.9-1", "linux-signed-amd64"), deb(NEW, "6.1.10-1", "linux-signed-amd64")]
    assert counted(packages, "apt", "") == {(NEW, "6.1.10-1")}


def test_in_a_container_no_kernel_counts() -> None:
    assert counted([deb(OLD), deb("bash", "5.2-1", "bash")], "apt", "6.9.1-somebody-elses") == {("bash", "5.2-1")}


def test_only_the_running_kernel_counts_on_rpm_hosts() -> None:
    versions = ("5.14.0-70.el9", "5.14.0-80.el9")
    packages = [
        Installed(name, "x86_64", version, "kernel") for version in versions for name in ("kernel-core", "kernel")
    ]
    packages += [
        Installed("kernel-headers", "x86_64", versions[1], "kernel"),
        Installed("perf", "x86_64", "1", "kernel"),
    ]
    assert counted(packages, "dnf", "5.14.0-70.el9.x86_64") == {("kernel-core", versions[0]), ("kernel", versions[0])}


@pytest.mark.parametrize(
    ("running", "name"),
    [("6.9.1-arch1-1", "linux"), ("6.6.30-1-lts", "linux-lts"), ("6.9.1-zen1-1-zen", "linux-zen")],
)
def test_only_the_running_flavour_counts_on_arch(running: str, name: str) -> None:
    packages = [Installed(each, "x86_64", "6.9.1-1") for each in ("linux", "linux-lts", "linux-zen", "linux-headers")]
    assert {package for package, _ in counted(packages, "pacman", running)} == {name}


def test_what_a_third_party_built_is_not_the_distributions() -> None:
    (reason,) = not_counted([deb("nginx", "1.25-1", "nginx", third_party="nginx")], "apt", "")
    assert reason == "It comes from nginx: the distribution's advisories say nothing of it."


@pytest.mark.parametrize("name", ["linux-image-amd64", "linux-image-cloud-amd64", "linux-generic", "linux-virtual"])
def test_some_packages_only_ask_for_a_kernel(name: str) -> None:
    assert asks_for_kernel(name)


@pytest.mark.parametrize(
    "name", [OLD, "linux-image-unsigned-5.15.0-91-generic", "linux-libc-dev", "linux-base", "linux"]
)
def test_others_do_not(name: str) -> None:
    assert not asks_for_kernel(name)
