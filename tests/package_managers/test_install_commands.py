"""The command that installs an update, as an administrator would type it; apt itself is asked whether it works."""

import time
from pathlib import Path

import pytest

from scanner.package_managers.apt import Apt
from scanner.package_managers.command import Runner
from scanner.package_managers.interface import Update
from tests.hosts.apt import DEBIAN, SECURITY, AptHost, Deb

PIN = "Package: pinned\nPin: version 1.0\nPin-Priority: 1001\n"


@pytest.fixture
def host(tmp_path: Path) -> AptHost:
    installed = [Deb("plain", "1.0"), Deb("held", "1.0", held=True), Deb("pinned", "1.0"), Deb("data", "1.0", "all")]
    installed += [Deb("lib", "1.0", multi_arch="same"), Deb("lib", "1.0", "i386", multi_arch="same")]
    newer = [Deb(deb.name, "2.0", deb.architecture, multi_arch=deb.multi_arch) for deb in installed]
    return AptHost(tmp_path, installed, {SECURITY: newer, DEBIAN: []}, architectures=("amd64", "i386"), preferences=PIN)


def commands(host: AptHost) -> dict[str, str]:
    apt = Apt(Runner(time.monotonic() + 60, environment=host.environment), host.root.parent / "private")
    updates: tuple[Update, ...] = apt.updates(apt.installed()).updates
    return {f"{update.name}:{update.architecture}": update.command for update in updates}


def test_apt_commands_name_what_stands_in_the_way(host: AptHost) -> None:
    assert commands(host) == {
        "plain:amd64": "apt-get install --only-upgrade plain",
        "held:amd64": "apt-mark unhold held && apt-get install --only-upgrade held",
        "pinned:amd64": "apt-get install pinned=2.0",
        "data:all": "apt-get install --only-upgrade data",
        "lib:amd64": "apt-get install --only-upgrade lib",
        "lib:i386": "apt-get install --only-upgrade lib:i386",
    }


def test_apt_itself_would_install_that_version(host: AptHost) -> None:
    found = commands(host)
    for key in ("plain:amd64", "pinned:amd64", "data:all"):
        program, *words = found[key].split()
        name = key.partition(":")[0]
        assert f"Inst {name} [1.0] (2.0" in host.run(program, "-s", *words)
