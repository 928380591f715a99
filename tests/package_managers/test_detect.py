"""Which package manager is a root's own."""

from pathlib import Path

import pytest

from scanner.package_managers import NAMES, PACKAGE_MANAGERS, detect
from scanner.package_managers.apt import Apt
from scanner.package_managers.interface import PackageManagerError
from tests.hosts.apt import AptHost, Deb

UBUNTU = 'NAME="Ubuntu"\nID=ubuntu\nID_LIKE=debian\n'
MINT = '# ID=fedora\nNAME="Linux Mint"\nID=linuxmint\nID_LIKE="ubuntu debian"\n'
UNHEARD_OF = "NAME=Unheard-of\nID='unheard-of'\n"


@pytest.mark.parametrize("os_release", [UBUNTU, MINT, "ID='debian'\n", 'ID="DEBIAN"\n'])
def test_a_distribution_is_known_by_its_name_or_what_it_is_like(tmp_path: Path, os_release: str) -> None:
    assert detect(AptHost(tmp_path, [Deb("bash", "1")], os_release=os_release, update=False).root) is Apt


def test_os_release_is_found_in_its_other_place_too(tmp_path: Path) -> None:
    root = AptHost(tmp_path, [Deb("bash", "1")], update=False).root
    (root / "usr/lib").mkdir(parents=True)
    (root / "etc/os-release").rename(root / "usr/lib/os-release")
    assert detect(root) is Apt


@pytest.mark.parametrize("os_release", [UNHEARD_OF, ""])
def test_an_unknown_distribution_is_judged_by_its_database(tmp_path: Path, os_release: str) -> None:
    assert detect(AptHost(tmp_path, [Deb("bash", "1")], os_release=os_release, update=False).root) is Apt


def test_an_empty_database_is_no_sign_of_a_package_manager(tmp_path: Path) -> None:
    root = AptHost(tmp_path, [], update=False).root
    with pytest.raises(PackageManagerError) as caught:
        detect(root)
    assert str(root) in caught.value.message
    assert "debian" in caught.value.message
    assert "--root" in caught.value.next_step


def test_an_empty_folder_has_none(tmp_path: Path) -> None:
    with pytest.raises(PackageManagerError, match="No package database"):
        detect(tmp_path)


@pytest.mark.parametrize("manager", PACKAGE_MANAGERS, ids=NAMES)
def test_a_wish_is_granted_whatever_is_there(tmp_path: Path, manager: type) -> None:
    assert detect(tmp_path, manager.name) is manager  # type: ignore[attr-defined]


def test_a_wish_for_something_unknown_names_the_choices(tmp_path: Path) -> None:
    with pytest.raises(PackageManagerError) as caught:
        detect(tmp_path, "brew")
    assert "brew" in caught.value.message
    assert all(name in caught.value.next_step for name in NAMES)


def test_the_hosts_own_database_is_looked_for_where_the_environment_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = AptHost(tmp_path, [Deb("bash", "1")], update=False)
    monkeypatch.setenv("DPKG_ADMINDIR", host.environment["DPKG_ADMINDIR"])
    assert Apt.has_database(None)
    host.status.write_text("")
    assert not Apt.has_database(None)
