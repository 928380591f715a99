"""Dependencies of installed packages, on real databases, beside what the managers' own programs and libraries say."""

import json
import os
import random
import re
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from scanner.package_managers.command import Runner
from scanner.package_managers.dependencies import (
    dpkg_dependencies,
    pacman_dependencies,
    rpm_dependencies,
)
from scanner.package_managers.interface import Dependencies, PackageManagerError
from tests.bench.dependency_graph import Rpm, install
from tests.hosts.apt import AptHost, Deb
from tests.hosts.dnf import DnfHost
from tests.hosts.pacman import Package as ArchPackage
from tests.hosts.pacman import PacmanHost

# --- dpkg -----------------------------------------------------------------------------------------


def deb(name: str, version: str = "1", architecture: str = "amd64", state: str = "installed", **fields: str) -> str:
    """A stanza of dpkg's status file; `Pre_Depends` is written with a hyphen there."""
    depends, multi_arch = fields.pop("Depends", ""), fields.pop("Multi_Arch", "")
    more = {field.replace("_", "-"): value for field, value in fields.items()}
    package = Deb(name, version, architecture, depends=depends, multi_arch=multi_arch)
    return package.stanza(Status=f"install ok {state}", **more)


def apt_host(folder: Path, *stanzas: str) -> AptHost:
    host = AptHost(folder, [], architectures=("amd64", "i386"), update=False)
    host.status.write_text(deb("dpkg", "1.21") + "".join(stanzas))
    return host


def dpkg(host: AptHost) -> Dependencies:
    return dpkg_dependencies(runner(host.environment), None)


def runner(environment: Mapping[str, str] | None = None) -> Runner:
    return Runner(time.monotonic() + 60, environment=None if environment is None else {**os.environ, **environment})


def test_depends_and_pre_depends_count_and_recommends_do_not(tmp_path):
    host = apt_host(
        tmp_path,
        deb("curl", Depends="libcurl4 (= 7.88.1-10), zlib1g", Pre_Depends="libc6 (>= 2.36)", Recommends="ca-certs"),
        deb("libcurl4", "7.88.1-10"),
        deb("zlib1g"),
        deb("libc6", "2.36-9"),
        deb("ca-certs"),
    )
    assert dpkg(host)["curl", "amd64"] == ("libc6", "libcurl4", "zlib1g")
    assert dpkg(host)["zlib1g", "amd64"] == ()


def test_of_alternatives_the_first_that_is_met_counts(tmp_path):
    host = apt_host(
        tmp_path,
        deb("a", Depends="exim4 | postfix | nullmailer"),
        deb("b", Depends="postfix (>= 3) | nullmailer"),
        deb("postfix", "2.1"),
        deb("nullmailer"),
    )
    assert dpkg(host)["a", "amd64"] == ("postfix",)
    assert dpkg(host)["b", "amd64"] == ("nullmailer",)


def test_a_virtual_package_leads_to_all_that_provide_it(tmp_path):
    host = apt_host(
        tmp_path,
        deb("a", Depends="default-mta | mail-transport-agent"),
        deb("postfix", Provides="mail-transport-agent"),
        deb("nullmailer", Provides="mail-transport-agent, sendmail"),
    )
    assert dpkg(host)["a", "amd64"] == ("nullmailer", "postfix")


def test_a_provided_name_meets_a_wish_for_a_version_only_with_a_version_of_its_own(tmp_path):
    host = apt_host(
        tmp_path,
        deb("a", Depends="perl-json (>= 4) | other"),
        deb("b", Depends="perl-yaml (>= 4) | other"),
        deb("perl", "5.36", Provides="perl-json (= 4.10), perl-yaml"),
        deb("other"),
    )
    assert dpkg(host)["a", "amd64"] == ("perl",)
    assert dpkg(host)["b", "amd64"] == ("other",)


def test_a_dependency_that_is_there_in_too_low_a_version_is_named_all_the_same(tmp_path):
    host = apt_host(tmp_path, deb("a", Depends="b (>= 2), missing"), deb("b", "1"))
    assert dpkg(host)["a", "amd64"] == ("b",)


def test_what_a_package_provides_itself_makes_it_depend_on_nothing(tmp_path):
    host = apt_host(tmp_path, deb("a", Depends="virtual", Provides="virtual"), deb("b", Provides="virtual"))
    assert dpkg(host)["a", "amd64"] == ()


def test_another_architecture_does_only_where_the_packages_say_so(tmp_path):
    host = apt_host(
        tmp_path,
        deb("app", architecture="i386", Depends="lib | lib-i386, tool, python3:any | no-python, gcc:amd64 | no-gcc"),
        deb("lib", Multi_Arch="same"),
        deb("lib-i386", architecture="i386"),
        deb("tool", Multi_Arch="foreign"),
        deb("python3", Multi_Arch="allowed"),
        deb("no-python", architecture="i386"),
        deb("gcc"),
        deb("no-gcc", architecture="i386"),
        deb("data", architecture="all", Depends="lib | lib-i386"),
    )
    assert dpkg(host)["app", "i386"] == ("gcc", "lib-i386", "python3", "tool")
    assert dpkg(host)["data", "all"] == ("lib",)


def test_the_same_package_of_two_architectures_has_its_own_dependencies_each(tmp_path):
    host = apt_host(
        tmp_path,
        deb("lib", Depends="a", Multi_Arch="same"),
        deb("lib", architecture="i386", Depends="b:i386", Multi_Arch="same"),
        deb("a"),
        deb("b", architecture="i386"),
    )
    assert (dpkg(host)["lib", "amd64"], dpkg(host)["lib", "i386"]) == (("a",), ("b",))


def test_a_removed_package_provides_nothing(tmp_path):
    host = apt_host(tmp_path, deb("a", Depends="b"), deb("b", state="config-files"))
    assert dpkg(host) == {("dpkg", "amd64"): (), ("a", "amd64"): ()}


def test_dpkgs_database_of_another_root_is_read(tmp_path):
    host = apt_host(tmp_path, deb("a", Depends="b"), deb("b"))
    found = dpkg_dependencies(runner(), host.root / "var/lib/dpkg")
    assert found["a", "amd64"] == ("b",)


def test_a_damaged_database_is_an_error_with_dpkgs_own_words(tmp_path):
    host = apt_host(tmp_path, "Package a\n")
    with pytest.raises(PackageManagerError, match=r"dpkg-query could not read the dependencies: .*status"):
        dpkg(host)


APT_ORACLE = """
import apt, json
found = {}
for package in apt.Cache():
    if version := package.installed:
        names, met = set(), True
        for group in version.get_dependencies("PreDepends", "Depends"):
            fitting = next((wish for wish in group if wish.installed_target_versions), None)
            if fitting is None:
                met = False
                continue
            here = {target.package.shortname for target in fitting.installed_target_versions}
            if package.shortname not in here:
                names |= {fitting.name} if fitting.name in here else here
        if met:
            found[package.shortname + ":" + version.architecture] = sorted(names)
print(json.dumps(found))
"""


def assert_as_apt_resolves(found: Dependencies, environment: Mapping[str, str]) -> int:
    """python3-apt resolves as apt does; it stays silent about what is not met."""
    oracle = subprocess.run(
        ["/usr/bin/python3", "-c", APT_ORACLE], env=environment, capture_output=True, text=True, check=True
    )
    expected = json.loads(oracle.stdout)
    ours = {f"{name}:{architecture}": list(names) for (name, architecture), names in found.items()}
    assert {key: ours[key] for key in expected} == expected
    return len(expected)


def test_a_generated_host_is_resolved_as_apt_resolves_it(tmp_path):
    chance = random.Random(20260822)
    names = [f"package-{number}" for number in range(300)]
    versions = ("1.0-1", "1:0.9", "1.0~rc1", "2.10", "2.9+b1")

    def wish() -> str:
        qualifier = chance.choice(("", "", "", ":any"))
        version = chance.choice(("", f" ({chance.choice(('>=', '<<', '='))} {chance.choice(versions)})"))
        virtual = f"virtual-{chance.randrange(20)}"
        return chance.choice((chance.choice(names) + qualifier + version, virtual + version * chance.randrange(2)))

    def depends() -> str:
        return ", ".join(" | ".join(wish() for _ in range(chance.randint(1, 4))) for _ in range(chance.randrange(3)))

    def provides() -> str:
        version = chance.choice(("", "", f" (= {chance.choice(versions)})"))
        return chance.choice(("", "", f"virtual-{chance.randrange(20)}{version}"))

    host = apt_host(
        tmp_path,
        *(
            deb(
                name,
                chance.choice(versions),
                chance.choice(("amd64", "amd64", "all", "i386")),
                Depends=depends(),
                Provides=provides(),
                Multi_Arch=chance.choice(("", "", "foreign", "allowed")),
            )
            for name in names
        ),
    )
    assert assert_as_apt_resolves(dpkg(host), host.environment) > 100


def test_this_machine_is_resolved_as_apt_resolves_it():
    assert assert_as_apt_resolves(dpkg_dependencies(runner(), None), dict(os.environ)) > 100


# --- rpm ------------------------------------------------------------------------------------------


def rpm_host(folder: Path, *packages: Rpm) -> DnfHost:
    host = DnfHost(folder, [])
    install(host, packages)
    return host


def rpm(host: DnfHost) -> dict[str, tuple[str, ...]]:
    return {name: found for (name, _), found in rpm_dependencies(runner(host.environment)).items()}


def test_rpm_requirements_name_capabilities_and_files(tmp_path):
    host = rpm_host(
        tmp_path,
        Rpm("curl-7.76-1.x86_64", requires=("libcurl.so.4()(64bit)", "/usr/bin/env", "glibc", "rpmlib(RichDeps)")),
        Rpm("libcurl-7.76-1.x86_64", provides=("libcurl.so.4()(64bit)",)),
        Rpm("libcurl-compat-7.76-1.x86_64", provides=("libcurl.so.4",)),
        Rpm("coreutils-8.32-1.x86_64", files=("/usr/bin/cat", "/usr/bin/env")),
        Rpm("glibc-2.34-1.x86_64", provides=("rtld(GNU_HASH)",)),
        Rpm("unrelated-1-1.noarch"),
    )
    assert rpm(host)["curl"] == ("coreutils", "glibc", "libcurl")
    assert rpm(host)["unrelated"] == ()


def test_a_file_is_found_by_its_name_from_before_bin_was_a_link(tmp_path):
    host = rpm_host(
        tmp_path,
        Rpm("scripts-1-1.noarch", requires=("/bin/sh", "/sbin/ldconfig", "/usr/sbin/useradd")),
        Rpm("bash-5.1-1.x86_64", files=("/usr/bin/sh",)),
        Rpm("glibc-2.34-1.x86_64", files=("/usr/sbin/ldconfig",)),
        Rpm("shadow-utils-4.9-1.x86_64", files=("/usr/bin/useradd",)),
    )
    assert rpm(host)["scripts"] == ("bash", "glibc", "shadow-utils")


@pytest.mark.parametrize(
    ("wish", "expected"),
    [
        ("(a if b)", ("a",)),
        ("(a if missing)", ()),
        ("(a if missing else b)", ("b",)),
        ("(a unless b)", ()),
        ("(a unless missing)", ("a",)),
        ("(missing or b or c)", ("b",)),
        ("(a and b)", ("a", "b")),
        ("(a = 1-1 and (missing or (c >= 1 if b)))", ("a", "c")),
        ("(cap with cap(x86-64))", ("c",)),
        ("(cap without cap(x86-64))", ("b",)),
        ("(cap(x86-64) = 2.34-100.el9 if b)", ("c",)),
        ("(/usr/bin/tool or a)", ("b",)),
    ],
)
def test_boolean_requirements_are_worked_out(tmp_path, wish, expected):
    host = rpm_host(
        tmp_path,
        Rpm("wishes-1-1.noarch", requires=(wish,)),
        Rpm("a-1-1.noarch"),
        Rpm("b-1-1.noarch", provides=("cap",), files=("/usr/bin/tool",)),
        Rpm("c-1-1.noarch", provides=("cap", "cap(x86-64)")),
    )
    assert rpm(host)["wishes"] == expected


def test_several_installed_kernels_are_one_package_with_the_dependencies_of_all(tmp_path):
    host = rpm_host(
        tmp_path,
        Rpm("kernel-core-5.14.0-1.x86_64", requires=("dracut",)),
        Rpm("kernel-core-5.14.0-2.x86_64", requires=("systemd",)),
        Rpm("dracut-1-1.noarch"),
        Rpm("systemd-1-1.noarch"),
    )
    assert rpm_dependencies(runner(host.environment))["kernel-core", "x86_64"] == ("dracut", "systemd")


def test_keys_in_the_rpm_database_are_no_packages(tmp_path):
    host = rpm_host(tmp_path, Rpm("gpg-pubkey-fd431d51-4ae0493b"), Rpm("bash-5.1-1.x86_64"))
    assert rpm(host) == {"bash": ()}


def test_every_requirement_leads_where_rpm_itself_finds_it(tmp_path):
    chance = random.Random(20260823)
    packages = []
    for number in range(40):
        wishes = tuple(f"cap({chance.randrange(60)})" for _ in range(3))
        files = (f"/opt/{chance.randrange(60)}/file",)
        packages.append(Rpm(f"package{number}-1-1.noarch", (f"cap({chance.randrange(60)})",), wishes, files))
    packages.append(Rpm("files-1-1.noarch", requires=tuple(f"/opt/{number}/file" for number in range(60))))
    host = rpm_host(tmp_path, *packages)
    found = rpm(host)
    for package in packages:
        own = package.nevra.split("-")[0]
        expected: set[str] = set()
        for wish in package.requires:
            told = subprocess.run(
                ["rpm", "-q", "--whatprovides", "--qf", "%{NAME}\n", wish],
                env=host.environment,
                capture_output=True,
                text=True,
                check=False,
            )
            names = set(told.stdout.split()) if told.returncode == 0 else set()
            expected |= set() if own in names else names
        assert set(found[own]) == expected
    assert len(found["files"]) > 10


def test_an_rpm_database_that_cannot_be_read_is_an_error(tmp_path):
    host = rpm_host(tmp_path, Rpm("bash-5.1-1.x86_64"))
    (database,) = host.root.glob("**/rpmdb.sqlite")
    database.write_bytes(b"nonsense" * 1000)
    with pytest.raises(PackageManagerError, match="rpm could not read the dependencies"):
        rpm(host)


# --- pacman ---------------------------------------------------------------------------------------


def arch_host(folder: Path, *packages: tuple[str, str, str]) -> PacmanHost:
    """Each package as "name version", what it depends on, and what it provides."""
    host = PacmanHost(folder, (ArchPackage(written, depends=depends.split()) for written, depends, _ in packages))
    for written, _, provides in packages:
        if provides:
            path = host.local / written.replace(" ", "-") / "desc"
            lines = "\n".join(("%PROVIDES%", *provides.split(), "", ""))
            path.write_text(path.read_text() + lines)
    return host


def pacman(host: PacmanHost) -> dict[str, tuple[str, ...]]:
    return {name: found for (name, _), found in pacman_dependencies(host.local.parent).items()}


def required_by(host: PacmanHost) -> set[tuple[str, str]]:
    """The edges as libalpm itself sees them, by `pacman -Qi`."""
    # Name            : curl
    # Required By     : git  pacman                     (or None)
    text = re.sub(r"\n +", " ", host.run("pacman", "-Qi"))
    rows = re.findall(r"^Name +: (\S+)\n(?:.+\n)*?Required By +: (.*)$", text, re.MULTILINE)
    return {(user, name) for name, users in rows for user in users.split() if user != "None"}


def test_pacmans_dependencies_are_names_and_what_others_provide(tmp_path):
    host = arch_host(
        tmp_path,
        ("git 2.46-1", "curl>=7 sh libcrypto.so=3-64 missing", ""),
        ("curl 8.9.1-1", "glibc", "libcurl.so=4-64"),
        ("bash 5.2-1", "glibc", "sh"),
        ("openssl 3.3.1-1", "glibc", "libcrypto.so=3-64"),
        ("openssl-1.1 1.1.1-1", "glibc", "libcrypto.so=1.1-64"),
        ("glibc 2.40-1", "", ""),
    )
    assert pacman(host)["git"] == ("bash", "curl", "openssl")
    assert {(user, name) for user, found in pacman(host).items() for name in found} == required_by(host)


def test_a_generated_arch_host_is_resolved_as_libalpm_resolves_it(tmp_path):
    chance = random.Random(20260824)
    names = [f"package{number}" for number in range(120)]
    versions = {name: f"{chance.choice(('', '1:'))}{chance.randint(1, 3)}.{chance.randint(0, 11)}-1" for name in names}

    def wish() -> str:
        name = chance.choice(names)
        library = f"lib{chance.randrange(40)}.so={chance.randint(1, 2)}-64"
        return chance.choice((name, f"{name}>={versions[name]}", f"{name}={versions[name][:-2]}", library))

    host = arch_host(
        tmp_path,
        *(
            # Each library in one version of one package: of several, we name those that fit the wish best.
            (f"{name} {versions[name]}", " ".join(wish() for _ in range(3)), f"lib{number}.so=1-64" * (number < 40))
            for number, name in enumerate(names)
        ),
    )
    found = {(user, name) for user, others in pacman(host).items() for name in others}
    met = required_by(host)
    assert met - {(name, name) for name in names} <= found
    assert len(met) > 200
    unmet = found - met  # a library that is there in another version only
    assert all(int(name.removeprefix("package")) < 40 for _, name in unmet)


def test_versions_with_and_without_a_release_compare_as_vercmp_compares_them(tmp_path):
    host = arch_host(
        tmp_path, ("app 1-1", "lib=2.0", ""), ("lib-a 9-1", "", "lib=2.0-3"), ("lib-b 9-1", "", "lib=3.0-1")
    )
    assert pacman(host)["app"] == ("lib-a",)


def test_pacmans_folders_that_hold_no_package_are_passed_over(tmp_path):
    host = arch_host(tmp_path, ("bash 5.2-1", "", ""))
    (host.local / "half-removed-1-1").mkdir()
    assert pacman(host) == {"bash": ()}


def test_a_pacman_database_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(PackageManagerError, match="local could not be read: No such file"):
        pacman_dependencies(tmp_path)
