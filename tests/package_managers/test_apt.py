"""apt's traps, against the machine's own apt on hosts built in a folder."""

import functools
import http.server
import os
import shutil
import threading
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest

from scanner.package_managers.apt import Apt
from scanner.package_managers.command import CommandError, Runner
from scanner.package_managers.interface import PackageManagerError, Report, Update
from tests.hosts.apt import BACKPORTS, DEBIAN, SECURITY, UBUNTU, UBUNTU_SECURITY, AptHost, Archive, Deb, random_host
from tests.package_managers.test_command import gone

BOTH = ("amd64", "i386")
PIN = """\
Package: openssl
Pin: release l=Debian-Security
Pin-Priority: -1
"""


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder without the test's name: an archive whose address says "security" is taken for a security archive."""
    return tmp_path_factory.mktemp("one")


def apt(
    host: AptHost, environment: Mapping[str, str] | None = None, root: Path | None = None, seconds: float = 60
) -> Apt:
    private = host.root.parent / "private"
    private.mkdir(exist_ok=True)
    runner = Runner(time.monotonic() + seconds, environment=host.environment if environment is None else environment)
    return Apt(runner, private, root)


def report(manager: Apt, refresh: bool = False) -> Report:
    """What a scan does with a package manager."""
    gaps = manager.refresh(lambda percent, words: None) if refresh else ()
    packages = manager.installed()
    findings = manager.updates(packages)
    return Report("apt", tuple(packages), findings, (*gaps, *findings.gaps), findings.notes)


def look(host: AptHost, refresh: bool = False) -> Report:
    return report(apt(host), refresh)


def updates(host: AptHost) -> list[tuple[str, str, bool | None, str | None]]:
    return [(u.name, u.available_version, u.security, u.blocked) for u in look(host).findings.updates]


def only_update(host: AptHost) -> Update:
    (update,) = look(host).findings.updates
    return update


def gaps(found: Report) -> str:
    return "\n".join(gap.text for gap in found.gaps)


def names(found: Report) -> set[str]:
    return {package.name for package in found.packages}


# --- what is a security update --------------------------------------------------------------------


def test_a_security_update_says_which_archive_it_is_from(folder: Path) -> None:
    host = AptHost(folder, [Deb("openssl", "3.0.1")], {SECURITY: [Deb("openssl", "3.0.2")]})
    update = only_update(host)
    assert (update.installed_version, update.available_version, update.security) == ("3.0.1", "3.0.2", True)
    assert update.reason == "3.0.2 is in Debian-Security (bookworm-security)."
    assert update.origins == ("Debian-Security:bookworm-security",)
    assert look(host).security_updates == 1


def test_a_security_fix_overtaken_by_a_point_release_is_still_a_security_update(folder: Path) -> None:
    host = AptHost(
        folder,
        [Deb("openssh-client", "1:9.2p1-2+deb12u6")],
        {
            DEBIAN: [Deb("openssh-client", "1:9.2p1-2+deb12u10")],
            SECURITY: [Deb("openssh-client", "1:9.2p1-2+deb12u9")],
        },
    )
    update = only_update(host)
    assert (update.available_version, update.security) == ("1:9.2p1-2+deb12u10", True)
    assert update.reason == (
        "1:9.2p1-2+deb12u9, between the installed and the available version, is in Debian-Security (bookworm-security)."
    )
    assert update.origins == ("Debian:bookworm", "Debian-Security:bookworm-security")


def test_an_ordinary_update_is_none_and_says_why(folder: Path) -> None:
    update = only_update(AptHost(folder, [Deb("nano", "7.2")], {DEBIAN: [Deb("nano", "7.3")]}))
    assert update.security is False
    assert update.reason == "No version after 7.2 comes from a security archive."


def test_a_security_fix_that_is_installed_already_does_not_make_the_next_update_one(folder: Path) -> None:
    host = AptHost(folder, [Deb("nano", "2")], {DEBIAN: [Deb("nano", "3")], SECURITY: [Deb("nano", "2")]})
    assert updates(host) == [("nano", "3", False, None)]


def test_ubuntu_security_is_known_by_the_end_of_its_name(folder: Path) -> None:
    host = AptHost(
        folder,
        [Deb("openssl", "1"), Deb("nano", "1")],
        {UBUNTU: [Deb("nano", "2")], UBUNTU_SECURITY: [Deb("openssl", "2")]},
        sources=(),
    )
    assert updates(host) == [("nano", "2", False, None), ("openssl", "2", True, None)]


def test_debian_10_security_is_known_by_its_label(folder: Path) -> None:
    buster = Archive("buster/updates", "Debian-Security", "oldoldstable", "buster", mirror="debian-security")
    host = AptHost(folder, [Deb("openssl", "1")], {buster: [Deb("openssl", "2")]}, sources=())
    assert updates(host) == [("openssl", "2", True, None)]


def test_the_word_security_in_other_names_means_nothing(folder: Path) -> None:
    tools = Archive("network-security-tools", "Network-Security", "security-tools", "security-x", "Tools", "security")
    host = AptHost(
        folder,
        [Deb("libapache2-mod-security2", "1"), Deb("scanner", "1")],
        {DEBIAN: [Deb("libapache2-mod-security2", "2")], tools: [Deb("scanner", "2")]},
    )
    assert updates(host) == [("libapache2-mod-security2", "2", False, None), ("scanner", "2", False, None)]


def test_an_archive_without_a_label_is_named_by_its_address(folder: Path) -> None:
    host = AptHost(folder, [Deb("tool", "1")], {Archive("stable", origin="", mirror="vendor"): [Deb("tool", "2")]})
    assert only_update(host).origins == (f"copy:{host.mirrors}/vendor:stable",)


def test_without_a_security_archive_nothing_can_be_told(folder: Path) -> None:
    found = look(AptHost(folder, [Deb("nano", "1")], {DEBIAN: [Deb("nano", "2")]}, sources=()))
    assert [update.security for update in found.findings.updates] == [None]
    assert "No security archive is among the package sources" in gaps(found)
    assert (found.total_updates, found.security_updates) == (1, None)


def test_without_a_security_archive_a_host_with_nothing_to_update_is_not_called_secure(folder: Path) -> None:
    found = look(AptHost(folder, [Deb("nano", "1")], {DEBIAN: [Deb("nano", "1")]}, sources=()))
    assert (found.total_updates, found.security_updates) == (0, None)


def test_a_host_with_nothing_to_update_has_zero_updates_and_no_gap(folder: Path) -> None:
    found = look(AptHost(folder, [Deb("nano", "1")], {DEBIAN: [Deb("nano", "1")], SECURITY: [Deb("openssl", "2")]}))
    assert (found.total_updates, found.security_updates, found.gaps, found.notes) == (0, 0, (), ())


# --- which updates there are ----------------------------------------------------------------------


def test_a_held_update_is_listed_and_counted_as_held(folder: Path) -> None:
    host = AptHost(folder, [Deb("openssl", "1", held=True)], {SECURITY: [Deb("openssl", "2")]})
    update = only_update(host)
    assert (update.held, update.security, update.blocked) == (True, True, None)
    assert look(host).packages[0].held
    assert look(host).security_updates == 1


def test_a_phased_update_says_so(folder: Path) -> None:
    host = AptHost(folder, [Deb("nano", "1")], {UBUNTU: [Deb("nano", "2", phased=0)]})
    assert updates(host) == [("nano", "2", False, "phased")]


def test_an_update_that_is_phased_to_everyone_is_an_ordinary_one(folder: Path) -> None:
    host = AptHost(folder, [Deb("nano", "1")], {UBUNTU: [Deb("nano", "2", phased=100)]})
    assert updates(host) == [("nano", "2", False, None)]


def test_an_update_that_needs_a_new_package_is_kept_back(folder: Path) -> None:
    host = AptHost(
        folder,
        [Deb("linux-image-amd64", "1")],
        {SECURITY: [Deb("linux-image-amd64", "2", depends="linux-6.1"), Deb("linux-6.1", "2")]},
    )
    assert updates(host) == [("linux-image-amd64", "2", True, "kept back")]
    assert look(host).security_updates == 1


def test_a_security_fix_that_a_pin_keeps_away_is_listed_but_counted_apart(folder: Path) -> None:
    host = AptHost(folder, [Deb("openssl", "1")], {SECURITY: [Deb("openssl", "2")]}, preferences=PIN)
    assert updates(host) == [("openssl", "2", True, "pinned")]
    found = look(host)
    assert (found.total_updates, found.security_updates, found.pinned_security_updates) == (0, 0, 1)


def test_a_pinned_version_does_not_claim_the_fix_that_comes_anyway(folder: Path) -> None:
    host = AptHost(
        folder,
        [Deb("openssl", "1")],
        {DEBIAN: [Deb("openssl", "3")], SECURITY: [Deb("openssl", "2")]},
        preferences="Package: openssl\nPin: version 3\nPin-Priority: -1\n",
    )
    assert updates(host) == [("openssl", "2", True, None), ("openssl", "3", False, "pinned")]
    assert look(host).findings.updates[1].reason == "No version after 2 comes from a security archive."
    assert look(host).pinned_security_updates == 0


def test_a_package_pinned_to_its_installed_version_shows_what_it_misses(folder: Path) -> None:
    stay = "Package: nano\nPin: version 1\nPin-Priority: 1001\n"
    host = AptHost(folder, [Deb("nano", "1")], {DEBIAN: [Deb("nano", "2")]}, preferences=stay)
    assert updates(host) == [("nano", "2", False, "pinned")]


def test_backports_are_no_updates(folder: Path) -> None:
    host = AptHost(folder, [Deb("nano", "1")], {DEBIAN: [Deb("nano", "1")], BACKPORTS: [Deb("nano", "2")]})
    assert updates(host) == []


def test_a_package_from_backports_is_updated_from_there(folder: Path) -> None:
    host = AptHost(folder, [Deb("nano", "2~bpo1")], {DEBIAN: [Deb("nano", "1")], BACKPORTS: [Deb("nano", "2~bpo2")]})
    assert updates(host) == [("nano", "2~bpo2", False, None)]


def test_an_archive_that_is_pinned_away_as_a_whole_is_not_followed(folder: Path) -> None:
    testing = Archive("testing", "Debian", "testing", "trixie")
    away = "Package: *\nPin: release a=testing\nPin-Priority: -10\n"
    host = AptHost(folder, [Deb("nano", "1")], {testing: [Deb("nano", "2")]}, preferences=away)
    assert updates(host) == []


def test_a_removed_package_whose_configuration_is_left_is_not_installed(folder: Path) -> None:
    removed = Deb("nano", "1", state="config-files")
    host = AptHost(folder, [removed, Deb("bash", "1")], {SECURITY: [Deb("nano", "2")]})
    found = look(host)
    assert (names(found), found.total_updates) == ({"bash"}, 0)


def test_an_unpacked_package_counts_as_installed(folder: Path) -> None:
    host = AptHost(folder, [Deb("nano", "1", state="unpacked")], {SECURITY: [Deb("nano", "2")]})
    assert [(update.name, update.security) for update in look(host).findings.updates] == [("nano", True)]


def test_two_architectures_of_a_package_are_two_updates(folder: Path) -> None:
    both = [Deb("libc6", "1", "amd64", multi_arch="same"), Deb("libc6", "1", "i386", multi_arch="same")]
    newer = [Deb("libc6", "2", "amd64", multi_arch="same"), Deb("libc6", "2", "i386", multi_arch="same")]
    found = look(AptHost(folder, both, {SECURITY: newer}, architectures=BOTH))
    listed = {(update.name, update.architecture, update.security, update.blocked) for update in found.findings.updates}
    assert listed == {("libc6", "amd64", True, None), ("libc6", "i386", True, None)}


def test_only_the_architecture_that_has_an_update_gets_one(folder: Path) -> None:
    both = [Deb("gcc", "1", "amd64"), Deb("wine", "1", "i386"), Deb("docs", "1", "all")]
    host = AptHost(folder, both, {DEBIAN: [Deb("wine", "2", "i386"), Deb("docs", "2", "all")]}, architectures=BOTH)
    listed = {(update.name, update.architecture) for update in look(host).findings.updates}
    assert listed == {("wine", "i386"), ("docs", "all")}


def test_the_same_version_built_again_is_no_update(folder: Path) -> None:
    host = AptHost(folder, [Deb("nano", "1")], {DEBIAN: [Deb("nano", "1", depends="bash"), Deb("bash", "1")]})
    assert host.run("apt-cache", "policy", "nano").count(" 1 ") == 2
    assert updates(host) == []


def test_a_version_from_nowhere_that_is_newer_than_all_is_no_update(folder: Path) -> None:
    host = AptHost(folder, [Deb("nano", "9")], {DEBIAN: [Deb("nano", "2")]})
    assert updates(host) == []


def test_sources_are_named_as_advisories_name_them(folder: Path) -> None:
    installed = [Deb("libssl3", "3.0.1-1+b1", source="openssl (3.0.1-1)"), Deb("bash", "5")]
    host = AptHost(folder, installed, {SECURITY: [Deb("libssl3", "3.0.2-1", source="openssl")]})
    by_name = {package.name: package for package in look(host).packages}
    assert (by_name["libssl3"].source, by_name["libssl3"].source_version) == ("openssl", "3.0.1-1")
    assert (by_name["bash"].source, by_name["bash"].source_version) == ("bash", "5")
    assert only_update(host).source == "openssl"


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_updates_are_those_that_apt_itself_names(folder: Path, seed: int) -> None:
    host = random_host(folder, 300, seed)
    found = look(host)
    listed = {(update.name, update.available_version) for update in found.findings.updates}
    # package-12/oldstable,oldstable-security 2.1-1 amd64 [upgradable from: 1.3-1]
    upgradable = [line.split() for line in host.run("apt", "list", "--upgradable").splitlines() if "/" in line]
    assert listed == {(words[0].split("/")[0], words[1]) for words in upgradable}
    # Inst package-12 [1.3-1] (2.1-1 Debian:oldstable [amd64])
    plan = host.run("apt-get", "-s", "dist-upgrade").splitlines()
    inst = {(line.split()[1], line.split("(")[1].split()[0]) for line in plan if line.startswith("Inst ")}
    assert {(u.name, u.available_version) for u in found.findings.updates if not u.held and not u.blocked} == inst
    fixes = {(deb.name, deb.version) for deb in host.archives[SECURITY]}
    fixed = {name for name, version in fixes if not host.run("dpkg-query", "-W", name).split()[1].startswith("2")}
    assert {update.name for update in found.findings.updates if update.security} == fixed
    assert len(listed) > 20


@pytest.mark.parametrize(("language", "locale"), [("de", "de_DE.UTF-8"), ("fr:es", "fr_FR.UTF-8"), ("ja", "C.UTF-8")])
def test_the_language_of_the_host_changes_nothing(folder: Path, language: str, locale: str) -> None:
    host = AptHost(
        folder, [Deb("openssl", "1"), Deb("nano", "1")], {SECURITY: [Deb("openssl", "2")], DEBIAN: [Deb("nano", "2")]}
    )
    spoken = {**host.environment, "LANGUAGE": language, "LANG": locale, "LC_ALL": locale, "LC_MESSAGES": locale}
    assert report(apt(host, spoken), refresh=True).findings.updates == look(host).findings.updates
    assert look(host).security_updates == 1


# --- the version of the source package -----------------------------------------------------------------


def source_versions(host: AptHost) -> dict[str, str]:
    return {update.name: update.available_source_version for update in look(host).findings.updates}


def test_a_package_that_was_only_built_again_has_the_version_of_its_source(folder: Path) -> None:
    host = AptHost(
        folder,
        [Deb("bash", "5.2-2+b1", source="bash (5.2-2)"), Deb("nano", "7.2-1"), Deb("curl", "1-1+b3", source="x (1-1)")],
        {
            DEBIAN: [
                Deb("bash", "5.2-3+b8", source="bash (5.2-3)"),
                Deb("nano", "7.2-2"),
                Deb("curl", "2-1", source="x"),
            ]
        },
    )
    count_shows(host)
    assert source_versions(host) == {"bash": "5.2-3", "nano": "", "curl": ""}
    assert not (folder / "shows").exists()


def test_a_package_with_a_version_of_its_own_is_asked_for_its_source(folder: Path) -> None:
    """All of them at once."""

    def ldb(architecture: str, update: int) -> Deb:
        version = f"4.17.12+dfsg-0+deb12u{update}"
        return Deb("libldb2", f"2:2.6.2+samba{version}", architecture, f"samba (2:{version})", multi_arch="same")

    host = AptHost(
        folder,
        [
            Deb("linux-image-amd64", "6.1.119-1", source="linux-signed-amd64 (6.1.119+1)"),
            ldb("amd64", 1),
            ldb("i386", 1),
            Deb("own-now", "2-1", "all", source="other (1-1)"),
            Deb("nano", "7.2-1"),
        ],
        {
            SECURITY: [
                Deb("linux-image-amd64", "6.1.128-1", source="linux-signed-amd64 (6.1.128+1)"),
                Deb("linux-image-amd64", "6.1.124-1", source="linux-signed-amd64 (6.1.124+1)"),
                ldb("amd64", 2),
                ldb("i386", 3),
                Deb("own-now", "3-1", "all", source="other"),
                Deb("nano", "7.2-2"),
            ]
        },
        architectures=BOTH,
    )
    count_shows(host)
    found = {(u.name, u.architecture): u.available_source_version for u in look(host).findings.updates}
    assert found == {
        ("linux-image-amd64", "amd64"): "6.1.128+1",
        ("libldb2", "amd64"): "2:4.17.12+dfsg-0+deb12u2",
        ("libldb2", "i386"): "2:4.17.12+dfsg-0+deb12u3",
        ("own-now", "all"): "",  # the source has the package's own version now
        ("nano", "amd64"): "",
    }
    assert (folder / "shows").read_text() == "show\n"


def test_where_apt_does_not_tell_the_source_the_update_stays(folder: Path) -> None:
    host = AptHost(
        folder,
        [Deb("linux-image-amd64", "1-1", source="linux-signed-amd64 (1+1)")],
        {SECURITY: [Deb("linux-image-amd64", "2-1", source="linux-signed-amd64 (2+1)")]},
    )
    real = shutil.which("apt-cache")
    host.replace_program("apt-cache", f'#!/bin/sh\ncase "$*" in *show*) exit 100;; esac\nexec {real} "$@"\n')
    assert source_versions(host) == {"linux-image-amd64": ""}


def count_shows(host: AptHost) -> None:
    """Let each call of `apt-cache show` leave a line in the file `shows`."""
    shows = host.root.parent / "shows"
    write = f'case "$*" in *show*) echo show >> {shows};; esac'
    host.replace_program("apt-cache", f'#!/bin/sh\n{write}\nexec {shutil.which("apt-cache")} "$@"\n')


# --- what is not the distribution's own ---------------------------------------------------------------

VENDOR = Archive("stable", "Docker CE", "stable", "bookworm", "Docker", "docker")
NAMELESS = Archive("stable", origin="", mirror="nameless")
UBUNTU_RELEASE = 'ID=ubuntu\nID_LIKE=debian\nVERSION_ID="22.04"\n'


def origins(host: AptHost) -> dict[tuple[str, str], str]:
    """By the os-release of the host, not of this machine."""
    return dict(report(apt(host, root=host.root)).findings.third_party)


def test_a_package_whose_version_only_another_archive_has_is_third_party(folder: Path) -> None:
    host = AptHost(
        folder,
        [Deb("dpkg", "1"), Deb("nodejs", "20-1nodesource1"), Deb("docker-ce", "2"), Deb("tool", "1", "all")],
        {
            DEBIAN: [Deb("dpkg", "1"), Deb("nodejs", "18-1")],
            VENDOR: [Deb("nodejs", "20-1nodesource1"), Deb("docker-ce", "2")],
            NAMELESS: [Deb("tool", "1", "all")],
        },
    )
    assert origins(host) == {
        ("nodejs", "amd64"): "Docker",
        ("docker-ce", "amd64"): "Docker",
        ("tool", "all"): f"copy:{host.mirrors}/nameless",
    }


def test_a_version_that_both_have_is_the_distributions(folder: Path) -> None:
    both = [Deb("dpkg", "1"), Deb("curl", "1")]
    assert origins(AptHost(folder, both, {DEBIAN: both, VENDOR: both})) == {}


def test_an_outdated_package_is_whose_who_still_has_it(folder: Path) -> None:
    host = AptHost(
        folder,
        [Deb("dpkg", "1"), Deb("docker-ce", "1"), Deb("curl", "1"), Deb("by-hand", "1")],
        {DEBIAN: [Deb("dpkg", "2"), Deb("curl", "2")], VENDOR: [Deb("docker-ce", "3"), Deb("curl", "3")]},
    )
    assert origins(host) == {("docker-ce", "amd64"): "Docker"}


def test_security_backports_and_ubuntus_esm_are_the_distributions_own(folder: Path) -> None:
    backports = Archive("bookworm-backports", "Debian Backports", origin="Debian Backports", not_automatic=True)
    debian = AptHost(
        folder / "debian",
        [Deb("dpkg", "1"), Deb("curl", "2~bpo"), Deb("openssl", "2")],
        {DEBIAN: [Deb("dpkg", "1")], backports: [Deb("curl", "2~bpo")], SECURITY: [Deb("openssl", "2")]},
    )
    assert origins(debian) == {}
    esm = Archive("jammy-apps-security", "UbuntuESMApps", "jammy-apps-security", "jammy", "UbuntuESMApps", "esm")
    ppa = Archive("jammy", "Ubuntu PPA", "jammy", "jammy", "LP-PPA-somebody", "ppa")
    ubuntu = AptHost(
        folder / "ubuntu",
        [Deb("dpkg", "1"), Deb("curl", "1+esm1"), Deb("php", "8")],
        {UBUNTU: [Deb("dpkg", "1")], esm: [Deb("curl", "1+esm1")], ppa: [Deb("php", "8")]},
        sources=(),
        os_release=UBUNTU_RELEASE,
    )
    assert origins(ubuntu) == {("php", "amd64"): "LP-PPA-somebody"}


def test_the_same_package_of_another_architecture_may_be_third_party(folder: Path) -> None:
    host = AptHost(
        folder,
        [Deb("dpkg", "1"), Deb("wine", "1", multi_arch="same"), Deb("wine", "1", "i386", multi_arch="same")],
        {DEBIAN: [Deb("dpkg", "1"), Deb("wine", "1")], VENDOR: [Deb("wine", "1", "i386")]},
        architectures=BOTH,
    )
    assert origins(host) == {("wine", "i386"): "Docker"}


def test_of_an_unknown_distribution_nothing_is_third_party(folder: Path) -> None:
    for number, name in enumerate(("ID=linuxmint\nID_LIKE=debian\n", "")):
        installed = [Deb("dpkg", "1"), Deb("docker-ce", "2")]
        published = {DEBIAN: [Deb("dpkg", "1")], VENDOR: [Deb("docker-ce", "2")]}
        assert origins(AptHost(folder / str(number), installed, published, os_release=name)) == {}


def test_a_mirror_of_the_distribution_by_another_name_makes_nothing_third_party(folder: Path) -> None:
    mirror = Archive("bookworm", "our mirror", "bookworm", "bookworm", "Our Company", "mirror")
    host = AptHost(folder, [Deb("dpkg", "1"), Deb("curl", "1")], {mirror: [Deb("dpkg", "1")]}, sources=())
    assert origins(host) == {}


def test_while_a_list_is_missing_only_what_another_has_in_this_version_is_third_party(folder: Path) -> None:
    host = AptHost(
        folder,
        [Deb("dpkg", "1"), Deb("curl", "1"), Deb("docker-ce", "2")],
        {DEBIAN: [Deb("curl", "2")], SECURITY: [Deb("dpkg", "1")], VENDOR: [Deb("curl", "3"), Deb("docker-ce", "2")]},
    )
    host.list_of(DEBIAN).unlink()
    assert origins(host) == {("docker-ce", "amd64"): "Docker"}


# --- package lists that are missing or damaged ----------------------------------------------------


def test_a_missing_security_list_is_a_gap_and_never_zero_security_updates(folder: Path) -> None:
    published = {DEBIAN: [Deb("nano", "2")], SECURITY: [Deb("openssl", "2")]}
    host = AptHost(folder, [Deb("openssl", "1"), Deb("nano", "1")], published)
    host.list_of(SECURITY).unlink()
    found = look(host)
    assert f"{host.mirrors}/debian-security bookworm-security main is missing" in gaps(found)
    assert [(update.name, update.security) for update in found.findings.updates] == [("nano", None)]
    assert found.security_updates is None


def test_a_missing_security_list_without_its_release_file_is_a_gap(folder: Path) -> None:
    host = AptHost(folder, [Deb("nano", "1")], {DEBIAN: [Deb("nano", "1")]}, update=True)
    host.set_sources(DEBIAN, SECURITY, UBUNTU_SECURITY)
    found = look(host)
    assert "jammy-security main is missing" in gaps(found)
    assert found.security_updates is None


def test_a_missing_ordinary_list_is_a_gap_that_hides_no_security_update(folder: Path) -> None:
    host = AptHost(folder, [Deb("nano", "1")], {DEBIAN: [Deb("nano", "2")], SECURITY: [Deb("openssl", "2")]})
    host.list_of(DEBIAN).unlink()
    found = look(host)
    assert "bookworm main is missing" in gaps(found)
    assert found.security_updates == 0


def test_a_missing_list_of_one_architecture_is_a_gap(folder: Path) -> None:
    published = {SECURITY: [Deb("wine", "2", "i386"), Deb("nano", "2")]}
    host = AptHost(folder, [Deb("wine", "1", "i386"), Deb("bash", "1")], published, architectures=BOTH)
    host.list_of(SECURITY, "i386").unlink()
    found = look(host)
    assert "bookworm-security main is missing" in gaps(found)
    assert found.security_updates is None


def test_a_list_of_packages_for_all_architectures_is_missed_where_the_archive_has_one(folder: Path) -> None:
    vendor = Archive("stable", "Vendor", mirror="vendor", lists_all_apart=True)
    host = AptHost(folder, [Deb("docs", "1", "all")], {vendor: [Deb("docs", "2", "all"), Deb("tool", "2")]})
    assert updates(host) == [("docs", "2", False, None)]
    host.list_of(vendor, "all").unlink()
    assert "vendor stable main is missing" in gaps(look(host))


def test_an_archive_without_packages_of_a_foreign_architecture_has_no_gap(folder: Path) -> None:
    host = AptHost(folder, [Deb("nano", "1")], {SECURITY: [Deb("nano", "2")]})
    (host.root / "etc/apt/apt.conf.d/90foreign").write_text('APT::Architectures { "amd64"; "i386"; };')
    host.apt_conf.write_text(host.apt_conf.read_text().replace('APT::Architectures { "amd64"; };', ""))
    assert "i386" in host.run("apt-config", "dump", "APT::Architectures")
    found = look(host, refresh=True)
    assert (found.gaps, found.security_updates) == ((), 1)


def test_an_archive_without_packages_is_no_gap(folder: Path) -> None:
    host = AptHost(folder, [Deb("nano", "1")], {DEBIAN: [Deb("nano", "2")], SECURITY: []})
    found = look(host)
    assert (found.gaps, found.security_updates) == ((), 0)


def test_without_any_list_the_scan_fails_and_says_what_to_do(folder: Path) -> None:
    host = AptHost(folder, [Deb("nano", "1")], {DEBIAN: [Deb("nano", "2")]}, update=False)
    with pytest.raises(PackageManagerError) as caught:
        look(host)
    assert "no package list" in caught.value.message
    assert "apt-get update" in caught.value.next_step


def test_without_any_source_the_scan_fails_and_says_what_to_do(folder: Path) -> None:
    host = AptHost(folder, [Deb("nano", "1")], sources=())
    with pytest.raises(PackageManagerError) as caught:
        look(host)
    assert "no package sources" in caught.value.message
    assert "sources.list" in caught.value.next_step


def test_a_damaged_list_fails_with_the_words_of_apt_and_does_so_again(folder: Path) -> None:
    host = AptHost(folder, [Deb("nano", "1")], {DEBIAN: [Deb("nano", "2")], SECURITY: [Deb("nano", "3")]})
    host.list_of(SECURITY).write_bytes(b"Package nano\n\0\1 this is no package list\n\n" * 9)
    for _ in range(2):
        with pytest.raises(PackageManagerError) as caught:
            look(host)
        assert "E: " in caught.value.message
        assert str(host.list_of(SECURITY)) in caught.value.message
        assert "apt-get update" in caught.value.next_step


def test_a_list_damaged_between_two_scans_is_noticed_by_the_second(folder: Path) -> None:
    host = AptHost(folder, [Deb("nano", "1")], {SECURITY: [Deb("nano", "2")]})
    assert look(host).security_updates == 1
    host.list_of(SECURITY).write_bytes(b"Package nano\nno\n\n")
    for _ in range(2):
        with pytest.raises(PackageManagerError):
            look(host)


def test_a_damaged_list_of_the_host_is_fetched_anew_by_the_second_refresh(folder: Path) -> None:
    host = AptHost(folder, [Deb("nano", "1")], {SECURITY: [Deb("nano", "2")]})
    host.list_of(SECURITY).write_bytes(b"Package nano\nno\n\n")
    with pytest.raises(PackageManagerError):  # the server says "unchanged", so apt keeps what was copied from the host
        look(host, refresh=True)
    assert look(host, refresh=True).security_updates == 1


def test_a_truncated_list_is_a_gap(folder: Path) -> None:
    host = AptHost(folder, [Deb("openssl", "1"), Deb("nano", "1")], {SECURITY: [Deb("nano", "2"), Deb("openssl", "2")]})
    whole = host.list_of(SECURITY).read_bytes()
    stanzas = whole.split(b"\n\n")
    host.list_of(SECURITY).write_bytes(stanzas[0] + b"\n\n")
    found = look(host)
    assert f"is damaged: {len(stanzas[0]) + 2} bytes instead of {len(whole)}" in gaps(found)
    assert [(update.name, update.security) for update in found.findings.updates] == [("nano", True)]
    assert any(gap.security for gap in found.gaps)


def test_a_security_list_of_nothing_is_a_gap_and_never_zero_security_updates(folder: Path) -> None:
    host = AptHost(folder, [Deb("nano", "1")], {DEBIAN: [Deb("nano", "2")], SECURITY: [Deb("nano", "3")]})
    host.list_of(SECURITY).write_bytes(b"")
    found = look(host)
    assert found.gaps
    assert found.security_updates is None


def test_a_truncated_list_of_a_scan_is_fetched_anew_by_the_next(folder: Path) -> None:
    host = AptHost(folder, [Deb("nano", "1")], {SECURITY: [Deb("nano", "2")]})
    manager = apt(host)
    manager.refresh(lambda percent, words: None)
    (own,) = (manager.private / "lists").glob("*bookworm-security*Packages")
    own.write_bytes(b"")
    found = report(manager)
    assert (found.security_updates, bool(found.gaps)) == (None, True)
    again = report(manager, refresh=True)
    assert (again.security_updates, again.gaps) == (1, ())


def test_compressed_lists_are_read_and_their_sizes_checked(folder: Path) -> None:
    host = AptHost(folder, [Deb("nano", "1")], {SECURITY: [Deb("nano", "2"), Deb("openssl", "2")]})
    plain = host.list_of(SECURITY)
    whole = plain.read_bytes()
    for data, gap in ((whole, False), (whole.split(b"\n\n")[0] + b"\n\n", True)):
        plain.write_bytes(data)
        host.run("sh", "-c", f"gzip -c {plain} > {plain}.gz")
        plain.unlink()
        found = look(host)
        assert found.security_updates == 1
        assert bool(found.gaps) is gap


# --- refreshing -----------------------------------------------------------------------------------


def test_refreshing_sees_what_was_published_since(folder: Path) -> None:
    host = AptHost(folder, [Deb("nano", "1")], {DEBIAN: [Deb("nano", "1")]})
    host.publish(SECURITY, Deb("nano", "2"))
    assert look(host).total_updates == 0
    before = datetime.now(UTC)
    found = look(host, refresh=True)
    assert (found.security_updates, found.gaps) == (1, ())
    assert found.findings.metadata_date is not None
    assert found.findings.metadata_date.timestamp() >= before.timestamp() - 1


def test_without_refreshing_the_date_is_that_of_the_hosts_last_update(folder: Path) -> None:
    host = AptHost(folder, [Deb("nano", "1")])
    host.set_update_date(datetime(2024, 3, 1, 12, tzinfo=UTC))
    assert look(host).findings.metadata_date == datetime(2024, 3, 1, 12, tzinfo=UTC)


def test_a_scan_leaves_the_host_untouched(folder: Path) -> None:
    host = AptHost(folder, [Deb("nano", "1")], {DEBIAN: [Deb("nano", "1")]})
    host.publish(SECURITY, Deb("nano", "2"))
    before = state_of(host.root)
    look(host, refresh=True)
    look(host)
    assert state_of(host.root) == before


def state_of(folder: Path) -> dict[str, tuple[int, int]]:
    return {str(path): (path.stat().st_mtime_ns, path.stat().st_size) for path in [folder, *folder.rglob("*")]}


def test_refreshing_runs_no_hook_of_the_host(folder: Path) -> None:
    host = AptHost(folder, [Deb("nano", "1")])
    trace = folder / "hook-was-here"
    hooks = ("Pre-Invoke", "Post-Invoke", "Post-Invoke-Success")
    lines = [f'APT::Update::{hook} {{ "echo {hook} >> {trace}"; }};\n' for hook in hooks]
    (host.root / "etc/apt/apt.conf.d/90hooks").write_text("".join(lines))
    host.update()
    assert set(trace.read_text().split()) == set(hooks)
    trace.unlink()
    look(host, refresh=True)
    assert not trace.exists()


def test_refreshing_reports_percentages_that_rise_to_a_hundred(folder: Path) -> None:
    host = AptHost(folder, [Deb("nano", "1")], {DEBIAN: [Deb("nano", "2")], SECURITY: [Deb("nano", "3")]})
    steps: list[tuple[float, str]] = []
    apt(host).refresh(lambda percent, words: steps.append((percent, words)))
    percentages = [percent for percent, _ in steps]
    assert percentages == sorted(percentages)
    assert (percentages[0], percentages[-1]) == (0, 100)
    assert all("Retrieving file" in words for _, words in steps)


@pytest.fixture
def server(folder: Path) -> Iterator[http.server.ThreadingHTTPServer]:
    """Serves the archives of a host in `folder`, until it is closed."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Quiet, directory=folder / "mirrors")
    ) as it:
        threading.Thread(target=it.serve_forever, args=(0.01,)).start()
        yield it
        it.shutdown()


def test_a_server_that_cannot_be_reached_leaves_the_last_numbers_and_their_date(
    folder: Path, server: http.server.ThreadingHTTPServer
) -> None:
    host = AptHost(folder, [Deb("nano", "1")], {SECURITY: [Deb("nano", "2")]}, update=False)
    host.set_sources(DEBIAN, SECURITY, uri=f"http://127.0.0.1:{server.server_port}")
    host.update()
    host.set_update_date(datetime(2024, 3, 1, 12, tzinfo=UTC))
    server.shutdown()
    server.server_close()
    found = look(host, refresh=True)
    assert f"http://127.0.0.1:{server.server_port}/debian-security bookworm-security could not be refreshed" in gaps(
        found
    )
    assert "Connection refused" in gaps(found)
    assert "Check that the host can reach its package servers." in gaps(found)
    assert found.security_updates == 1
    assert found.findings.metadata_date == datetime(2024, 3, 1, 12, tzinfo=UTC)


def test_a_server_that_cannot_be_reached_after_a_good_refresh_leaves_that_ones_date(folder: Path) -> None:
    host = AptHost(folder, [Deb("nano", "1")], {SECURITY: [Deb("nano", "2")]})
    good = look(host, refresh=True)
    shutil.rmtree(host.mirrors)
    bad = look(host, refresh=True)
    assert (good.gaps, bool(bad.gaps)) == ((), True)
    assert bad.findings.metadata_date == good.findings.metadata_date
    assert (bad.security_updates, bad.findings.updates) == (1, good.findings.updates)


def test_what_was_begun_and_not_finished_is_no_refresh(folder: Path) -> None:
    buster = Archive("buster/updates", "Debian-Security", "oldoldstable", "buster", mirror="archive")
    host = AptHost(folder, [Deb("nano", "1")], {buster: [Deb("nano", "2")]}, sources=())
    host.set_update_date(datetime(2024, 3, 1, 12, tzinfo=UTC))
    host.publish(buster, Deb("nano", "3"))
    shutil.rmtree(host.mirrors / "archive/dists/buster/updates/main")  # its Release file is there, its list is not
    found = look(host, refresh=True)
    assert [gap.security for gap in found.gaps] == [True]
    assert "/archive buster/updates could not be refreshed: E: Failed to fetch" in gaps(found)
    assert found.findings.metadata_date == datetime(2024, 3, 1, 12, tzinfo=UTC)
    assert [update.available_version for update in found.findings.updates] == ["2"]


def test_when_only_the_security_archive_is_away_no_one_can_say_zero(folder: Path) -> None:
    host = AptHost(folder, [Deb("nano", "1")], {DEBIAN: [Deb("nano", "2")], SECURITY: [Deb("bash", "1")]})
    shutil.rmtree(host.mirrors / "debian-security")
    found = look(host, refresh=True)
    assert "bookworm-security could not be refreshed: E: Failed to fetch" in gaps(found)
    assert (found.total_updates, found.security_updates) == (1, None)


def test_a_refresh_that_apt_refuses_is_a_gap_with_its_words(folder: Path) -> None:
    host = AptHost(folder, [Deb("nano", "1")], {SECURITY: [Deb("nano", "2")]})
    manager = apt(host)
    host.replace_program("apt-get", "#!/bin/sh\necho 'E: No space left on device' >&2\nexit 100\n")
    (gap,) = manager.refresh(lambda percent, words: None)
    assert "E: No space left on device" in gap.text
    assert "Free some disk space" in gap.text
    assert gap.security


# --- a broken host --------------------------------------------------------------------------------


def test_a_broken_dpkg_database_fails_with_the_words_of_dpkg(folder: Path) -> None:
    host = AptHost(folder, [Deb("nano", "1")])
    host.status.write_text("Package: nano\nthis is no dpkg database\n")
    with pytest.raises(PackageManagerError, match=r"dpkg-query could not read the installed packages.*status"):
        look(host)


def test_an_empty_dpkg_database_is_an_error_and_not_an_empty_host(folder: Path) -> None:
    host = AptHost(folder, [])
    assert not Apt.has_database(host.root)
    with pytest.raises(PackageManagerError, match="lists no installed package"):
        look(host)


@pytest.mark.parametrize("missing", ["apt-get", "apt-cache", "dpkg-query"])
def test_a_program_that_is_not_there_is_named(folder: Path, missing: str) -> None:
    host = AptHost(folder, [Deb("nano", "1")])
    for name in {"apt-get", "apt-cache", "apt-config", "dpkg-query"} - {missing}:
        (host.programs / name).symlink_to(shutil.which(name) or "")
    with pytest.raises(CommandError, match=f"{missing} is not installed"):
        report(apt(host, {**host.environment, "PATH": str(host.programs)}))


@pytest.mark.parametrize("broken", ["apt-get", "apt-cache", "dpkg-query"])
@pytest.mark.parametrize("code", [0, 1, 127])
def test_a_program_that_talks_nonsense_fails_the_scan_whatever_its_exit_code(
    folder: Path, broken: str, code: int
) -> None:
    host = AptHost(folder, [Deb("nano", "1")], {DEBIAN: [Deb("nano", "2")]})
    host.replace_program(broken, f"#!/bin/sh\necho what do you want of me\nexit {code}\n")
    with pytest.raises(PackageManagerError, match="what do you want of me"):
        look(host)


@pytest.mark.parametrize("silent", ["apt-get", "apt-cache", "dpkg-query"])
def test_a_program_that_says_nothing_does_not_make_a_host_secure(folder: Path, silent: str) -> None:
    host = AptHost(folder, [Deb("nano", "1")], {SECURITY: [Deb("nano", "2")]})
    host.replace_program(silent, "#!/bin/sh\nexit 0\n")
    with pytest.raises(PackageManagerError):
        look(host)


def test_an_answer_that_ends_early_is_a_gap_and_never_zero_security_updates(folder: Path) -> None:
    host = AptHost(folder, [Deb("bash", "1"), Deb("nano", "1")], {SECURITY: [Deb("nano", "2")]})
    host.replace_program("apt-cache", f"#!/bin/sh\n{shutil.which('apt-cache')} \"$@\" | sed '/^nano:/,$d'\n")
    found = look(host)
    assert "apt knows nothing of 1 installed packages, as of nano" in gaps(found)
    assert (found.total_updates, found.security_updates) == (0, None)


def test_a_hung_apt_is_stopped_with_all_its_children(folder: Path) -> None:
    host = AptHost(folder, [Deb("nano", "1")])
    host.replace_program(
        "apt-get", f"#!/bin/sh\necho $$ > {folder}/pids\nsleep 600 &\necho $! >> {folder}/pids\nwait\n"
    )
    with pytest.raises(CommandError, match="time limit"):
        apt(host, seconds=0.5).refresh(lambda percent, words: None)
    pids = [int(pid) for pid in (folder / "pids").read_text().split()]
    assert len(pids) == 2
    assert all(gone(pid) for pid in pids)


def test_broken_dependencies_touch_no_verdict_and_are_noted(folder: Path) -> None:
    host = AptHost(
        folder,
        [Deb("app", "1", depends="library-that-is-not-there"), Deb("openssl", "1"), Deb("nano", "1")],
        {SECURITY: [Deb("openssl", "2")], DEBIAN: [Deb("nano", "2")]},
    )
    found = look(host)
    assert {(u.name, u.security, u.blocked) for u in found.findings.updates} == {
        ("openssl", True, None),
        ("nano", False, None),
    }
    assert "Unmet dependencies" in found.notes[0]
    assert "apt-get --fix-broken install" in found.notes[0]
    assert found.gaps == ()


# --- another root ---------------------------------------------------------------------------------


@pytest.mark.parametrize("refresh", [False, True])
def test_another_root_is_scanned_by_its_folder_alone(folder: Path, refresh: bool) -> None:
    host = AptHost(
        folder,
        [Deb("dpkg", "1"), Deb("openssl", "1", held=True), Deb("wine", "1", "i386")],
        {SECURITY: [Deb("openssl", "2"), Deb("wine", "2", "i386")]},
        architectures=BOTH,
    )
    before = state_of(host.root)
    found = report(apt(host, {"PATH": os.environ["PATH"]}, root=host.root), refresh)
    listed = {(u.name, u.architecture, u.security, u.held) for u in found.findings.updates}
    assert listed == {("openssl", "amd64", True, True), ("wine", "i386", True, False)}
    assert found.gaps == ()
    assert names(found) == {"dpkg", "openssl", "wine"}
    assert state_of(host.root) == before


def test_another_root_is_not_the_host_that_the_environment_names(folder: Path) -> None:
    (folder / "here").mkdir()
    (folder / "there").mkdir()
    here = AptHost(folder / "here", [Deb("bash", "1")], {SECURITY: [Deb("bash", "2")]})
    there = AptHost(folder / "there", [Deb("dpkg", "1"), Deb("nano", "1")], {SECURITY: [Deb("nano", "2")]})
    found = report(apt(there, here.environment, root=there.root))
    assert [(update.name, update.available_version) for update in found.findings.updates] == [("nano", "2")]
    assert (names(found), found.gaps) == ({"dpkg", "nano"}, ())


def test_the_same_runner_can_look_into_the_same_root_twice(folder: Path) -> None:
    host = AptHost(folder, [Deb("dpkg", "1"), Deb("nano", "1")], {SECURITY: [Deb("nano", "2")]})
    runner = Runner(time.monotonic() + 60, environment={"PATH": os.environ["PATH"]})
    for _ in range(2):
        assert report(Apt(runner, folder, host.root)).security_updates == 1


def test_a_folder_that_apt_cannot_name_is_refused_in_words(tmp_path):
    folder = tmp_path / 'a "quoted" folder'
    with pytest.raises(PackageManagerError, match="apt cannot work in the folder"):
        Apt(Runner(time.monotonic() + 5), folder)


# Read-only, and by apt's own library: what it would install, and whether any version on the way is a security fix.
ORACLE = """
import apt_pkg
apt_pkg.init()
cache = apt_pkg.Cache(None)
policy = apt_pkg.DepCache(cache).policy
for package in cache.packages:
    current, candidate = package.current_ver, policy.get_candidate_ver(package)
    if not current or not candidate or apt_pkg.version_compare(candidate.ver_str, current.ver_str) <= 0:
        continue
    way = [
        version
        for version in package.version_list
        if apt_pkg.version_compare(current.ver_str, version.ver_str) < 0
        and apt_pkg.version_compare(version.ver_str, candidate.ver_str) <= 0
    ]
    files = [file for version in way for file, _ in version.file_list]
    security = any(file.label == "Debian-Security" or file.archive.endswith("-security") for file in files)
    print(package.name, candidate.ver_str, security)
"""


@pytest.mark.parametrize("seed", range(4))
def test_a_generated_host_has_the_same_updates_and_verdicts_as_apts_own_library_tells(tmp_path, seed):
    host = random_host(tmp_path, 300, seed)
    told = host.run("/usr/bin/python3", "-c", ORACLE)
    apt = Apt(Runner(time.monotonic() + 60, environment=host.environment), tmp_path / "private")
    updates = [update for update in apt.updates(apt.installed()).updates if update.blocked != "pinned"]
    assert {(u.name, u.available_version, str(u.security)) for u in updates} == {
        tuple(line.split()) for line in told.splitlines()
    }
    assert {update.security for update in updates} == {True, False}
