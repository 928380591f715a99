"""dnf on real hosts: each trap has its own, and dnf itself answers. dnf5 speaks through recorded texts."""

import json
import os
import random
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from scanner.package_managers.command import CommandError, Runner
from scanner.package_managers.dnf import (
    Dnf,
    parse_check_update,
    parse_json_advisories,
    parse_json_details,
    parse_repositories,
)
from scanner.package_managers.interface import Findings, Gap, Installed, PackageManagerError, Report, Update
from tests.hosts.dnf import Advisory, DnfHost, Package, Repository

RECORDED = Path(__file__).parents[1] / "recorded"


@pytest.fixture
def dnf(tmp_path: Path) -> Callable[..., Dnf]:
    def make(host: DnfHost, seconds: float = 60, **environment: str) -> Dnf:
        runner = Runner(time.monotonic() + seconds, environment={**host.environment, **environment})
        return Dnf(runner, tmp_path / "private", host.root)

    return make


def report(manager: Dnf) -> Report:
    gaps = manager.refresh(lambda percent, words: None)
    installed = manager.installed()
    findings = manager.updates(installed)
    return Report(manager.name, tuple(installed), findings, (*gaps, *findings.gaps))


def by_package(findings: Findings) -> dict[str, Update]:
    names = [update.name for update in findings.updates]
    assert len(names) == len(set(names)), names
    return {update.name: update for update in findings.updates}


def security(id: str, *packages: str, severity: str = "Important", cves: tuple[str, ...] = ()) -> Advisory:
    return Advisory(id, "security", severity, packages, cves)


# --- what is installed -----------------------------------------------------------------------------


def test_installed_packages_have_their_epoch_and_source(tmp_path, dnf):
    host = DnfHost(
        tmp_path / "host", ["bash-5.1-1", Package("openssl-libs-1:3.0.7-24.el9", source="openssl-3.0.7-24.el9")]
    )
    assert set(dnf(host).installed()) == {
        Installed("bash", "noarch", "5.1-1", "bash", "5.1-1"),
        Installed("openssl-libs", "noarch", "1:3.0.7-24.el9", "openssl", "1:3.0.7-24.el9"),
    }


def test_an_empty_rpm_database_is_an_error_not_an_empty_list(tmp_path, dnf):
    with pytest.raises(PackageManagerError, match="no installed package"):
        dnf(DnfHost(tmp_path / "host", [])).installed()


def test_the_signing_keys_in_the_rpm_database_are_no_packages(tmp_path, dnf):
    host = DnfHost(tmp_path / "host", ["bash-5.1-1", "gpg-pubkey-fd431d51-4ae0493b"])
    assert [package.name for package in dnf(host).installed()] == ["bash"]


@pytest.mark.parametrize(
    ("os_release", "vendor", "third_party"),
    [
        ("ID=almalinux", "AlmaLinux", ""),
        ("ID=almalinux", "Fedora Project", "Fedora Project"),  # EPEL
        ("ID=almalinux", "CentOS", ""),  # a host that was CentOS before
        ("ID=almalinux", "", ""),
        ("ID=rocky", "Rocky Enterprise Software Foundation", ""),
        ("ID=rhel", "Red Hat, Inc.", ""),
        (
            "ID=rhel",
            "The ELRepo Project (https://elrepo.org) | mirrors",
            "The ELRepo Project (https://elrepo.org) | mirrors",
        ),
        ("ID=ol", "Oracle America", ""),
        ("ID=fedora", "Fedora Project", ""),
        ("ID=fedora", "Fedora Copr - user somebody", "Fedora Copr - user somebody"),
        ("ID=fedora", "RPM Fusion", "RPM Fusion"),
        ("ID=amzn", "Amazon Linux", ""),
        ("ID=amzn", "Amazon.com, Inc.", ""),
        ("ID=unheard-of\nID_LIKE=rhel", "Fedora Project", ""),
        ("", "Fedora Project", ""),
    ],
)
def test_a_package_of_another_vendor_than_the_distributions_is_third_party(
    tmp_path, dnf, os_release, vendor, third_party
):
    host = DnfHost(tmp_path / "host", [Package("tool-1-1", vendor=vendor)], os_release=os_release)
    (package,) = dnf(host).installed()
    assert (package.name, package.third_party) == ("tool", third_party)


def test_a_package_of_epel_is_third_party_on_almalinux_and_of_a_module_with_its_stream(tmp_path, dnf):
    host = DnfHost(
        tmp_path / "host",
        [
            Package("htop-3.2.1-1.el8", vendor="Fedora Project"),
            Package("perl-4:5.26.3-416.module_el8", module="perl:5.26:8030020200924:10e2"),
            "bash-5.1-1",
        ],
    )
    assert {(package.name, package.module, package.third_party) for package in dnf(host).installed()} == {
        ("htop", "", "Fedora Project"),
        ("perl", "perl:5.26", ""),
        ("bash", "", ""),
    }


def test_an_rpm_that_knows_no_modules_lists_packages_all_the_same(tmp_path, dnf):
    """As rpm 4.11 of EL 7: asked for a tag that it does not know, it says so, prints nothing and ends with 0."""
    host = DnfHost(tmp_path / "host", [Package("htop-3-1", vendor="Fedora Project"), "bash-5.1-1"])
    real = shutil.which("rpm")
    words = 'for word; do shift; set -- "$@" "$(printf %s "$word" | sed s/MODULARITYLABEL/NOSUCHTAG/)"; done\n'
    script(host.bin / "rpm", f'{words}exec {real} --root={host.root} "$@"')
    assert {(package.name, package.third_party) for package in dnf(host).installed()} == {
        ("htop", "Fedora Project"),
        ("bash", ""),
    }


# --- what is a security update ---------------------------------------------------------------------


def test_an_update_tells_its_advisories_cves_severity_repository_and_reason(tmp_path, dnf):
    fix = security("ALSA-2026:7", "openssl-1:3.0.7-27.el9", severity="Critical", cves=("CVE-2026-1", "CVE-2026-2"))
    host = DnfHost(
        tmp_path / "host", ["openssl-1:3.0.7-24.el9"], Repository("baseos", ["openssl-1:3.0.7-27.el9"], [fix])
    )
    found = report(dnf(host))
    assert found.findings.updates == (
        Update(
            "openssl",
            "noarch",
            "1:3.0.7-24.el9",
            "1:3.0.7-27.el9",
            "openssl",
            True,
            "ALSA-2026:7 (Critical): fixed in 1:3.0.7-27.el9.",
            ("baseos",),
            ("ALSA-2026:7",),
            ("CVE-2026-1", "CVE-2026-2"),
            "Critical",
            command="dnf upgrade --advisory ALSA-2026:7",
            published=datetime(2026, 8, 1, tzinfo=UTC),
        ),
    )
    assert (found.security_updates, found.gaps) == (1, ())


def test_a_security_fix_overtaken_by_a_bug_fix_is_still_a_security_update(tmp_path, dnf):
    advisories = [security("RHSA-2026:2", "openssl-2-1"), Advisory("RHBA-2026:3", "bugfix", "None", ["openssl-3-1"])]
    host = DnfHost(tmp_path / "host", ["openssl-1-1"], Repository("baseos", ["openssl-2-1", "openssl-3-1"], advisories))
    (update,) = report(dnf(host)).findings.updates
    assert (update.available_version, update.security) == ("3-1", True)
    assert update.reason == "RHSA-2026:2 (Important): fixed in 2-1, between the installed and the available version."
    assert update.advisories == ("RHSA-2026:2", "RHBA-2026:3")


def test_several_advisories_for_one_package_count_once_and_the_worst_severity_wins(tmp_path, dnf):
    advisories = [
        security("RHSA-2026:1", "curl-2-1", severity="Low", cves=("CVE-2026-1",)),
        security("RHSA-2026:2", "curl-3-1", severity="Critical", cves=("CVE-2026-2",)),
        security("RHSA-2026:3", "curl-3-1", severity="Moderate", cves=("CVE-2026-1", "CVE-2026-3")),
    ]
    host = DnfHost(tmp_path / "host", ["curl-1-1"], Repository("baseos", ["curl-2-1", "curl-3-1"], advisories))
    found = report(dnf(host))
    (update,) = found.findings.updates
    assert (found.total_updates, found.security_updates, update.severity) == (1, 1, "Critical")
    assert set(update.advisories) == {"RHSA-2026:1", "RHSA-2026:2", "RHSA-2026:3"}
    assert set(update.cves) == {"CVE-2026-1", "CVE-2026-2", "CVE-2026-3"}


def test_an_update_is_dated_by_the_newest_of_its_security_advisories(tmp_path, dnf):
    advisories = [
        replace(security("RHSA-2026:1", "curl-2-1", cves=("CVE-2026-1",)), issued="2026-07-01 06:30:00"),
        replace(security("RHSA-2026:2", "curl-3-1"), issued="2026-07-09 23:59:59"),  # names no CVE
        Advisory("RHBA-2026:3", "bugfix", "None", ["curl-4-1"], issued="2026-08-20 00:00:00"),
        Advisory("RHBA-2026:4", "bugfix", "None", ["nano-2-1"], ["CVE-2026-2"], issued="2026-08-20 00:00:00"),
        replace(security("RHSA-2026:5", "bash-2-1"), bugs=["2214567"], issued="2026-07-02 08:00:00"),
        replace(security("RHSA-2026:6", "vim-2-1"), issued="2026-07-02"),  # a date alone dnf 4 cannot read
    ]
    packages = ["curl-2-1", "curl-3-1", "curl-4-1", "nano-2-1", "bash-2-1", "vim-2-1"]
    installed = ["curl-1-1", "nano-1-1", "bash-1-1", "vim-1-1"]
    host = DnfHost(tmp_path / "host", installed, Repository("baseos", packages, advisories))
    found = by_package(report(dnf(host, TZ="Asia/Tokyo")).findings)
    assert {name: (update.security, update.published) for name, update in found.items()} == {
        "curl": (True, datetime(2026, 7, 9, 23, 59, 59, tzinfo=UTC)),
        "nano": (False, None),
        "bash": (True, datetime(2026, 7, 2, 8, tzinfo=UTC)),
        "vim": (True, None),
    }
    assert (found["curl"].cves, found["bash"].cves) == (("CVE-2026-1",), ())


def test_an_advisory_that_was_changed_is_dated_by_its_change(tmp_path, dnf):
    """dnf tells but one date, the later."""
    fix = replace(security("RHSA-2026:1", "curl-2-1"), issued="2026-07-01 00:00:00", updated="2026-07-03 00:00:00")
    host = DnfHost(tmp_path / "host", ["curl-1-1"], Repository("baseos", ["curl-2-1"], [fix]))
    (update,) = report(dnf(host)).findings.updates
    assert update.published == datetime(2026, 7, 3, tzinfo=UTC)


def test_where_the_cves_cannot_be_read_the_verdict_stays_and_the_gap_says_so(tmp_path, dnf):
    fix = security("RHSA-2026:1", "curl-2-1", cves=("CVE-2026-1",))
    host = DnfHost(tmp_path / "host", ["curl-1-1"], Repository("baseos", ["curl-2-1"], [fix]))
    real = shutil.which("dnf")
    refuse = 'case "$*" in *--with-cve*) echo "Error: no idea" >&2; exit 1;; esac'
    script(host.bin / "dnf", f'{refuse}\nexec {real} --installroot={host.root} "$@"')
    found = report(dnf(host))
    (update,) = found.findings.updates
    assert (update.security, update.cves, update.published, found.security_updates) == (True, (), None, 1)
    assert [(gap.security, "no idea" in gap.text) for gap in found.gaps] == [(False, True)]


def test_the_type_of_an_advisory_counts_and_not_its_name_or_its_cves(tmp_path, dnf):
    advisories = [
        Advisory("RHSA-2026:1", "bugfix", "None", ["mod_security-2-1"], ["CVE-2026-1"]),
        Advisory("RHSA-2026:2", "enhancement", "None", ["security-tools-2-1"]),
        Advisory("FEDORA-2026-abc", "security", "Moderate", ["bash-2-1"]),
        Advisory("RLBA-2026:4", "security", "", ["curl-2-1"]),
    ]
    packages = ["mod_security-2-1", "security-tools-2-1", "bash-2-1", "curl-2-1"]
    installed = [name.replace("-2-1", "-1-1") for name in packages]
    found = by_package(
        report(dnf(DnfHost(tmp_path / "host", installed, Repository("baseos", packages, advisories)))).findings
    )
    assert {name: update.security for name, update in found.items()} == {
        "mod_security": False,
        "security-tools": False,
        "bash": True,
        "curl": True,
    }
    assert (found["mod_security"].cves, found["curl"].severity) == ((), "")


def test_an_advisory_that_is_already_installed_or_beyond_the_update_does_not_count(tmp_path, dnf):
    advisories = [security("RHSA-2026:1", "bash-1-1"), security("RHSA-2026:9", "bash-9-1")]
    host = DnfHost(tmp_path / "host", ["bash-1-1"], Repository("baseos", ["bash-2-1"], advisories))
    found = report(dnf(host))
    (update,) = found.findings.updates
    assert (update.available_version, update.security) == ("2-1", False)
    # vulnerable, and no enabled repository carries the fix: that is not "nothing to do"
    (gap,) = found.gaps
    assert gap.security
    assert gap.text == (
        "Vulnerable, and no enabled repository carries the fix: bash 1-1 (RHSA-2026:9 (Important), fixed in 9-1)."
    )
    assert found.security_updates is None


def test_of_a_repository_without_advisories_security_is_unknown_and_never_zero(tmp_path, dnf):
    host = DnfHost(
        tmp_path / "host",
        ["bash-1-1", "docker-1-1"],
        Repository("baseos", ["bash-2-1"], []),
        Repository("docker", ["docker-2-1"]),
    )
    found = report(dnf(host))
    updates = by_package(found.findings)
    assert (updates["bash"].security, updates["docker"].security) == (False, None)
    assert "publishes no advisories" in updates["docker"].reason
    assert found.security_updates is None
    assert found.gaps == ()
    assert "docker" in found.findings.notes[0]


def test_a_host_with_nothing_to_update_is_a_fact_and_has_no_gap(tmp_path, dnf):
    host = DnfHost(
        tmp_path / "host", ["bash-1-1"], Repository("baseos", ["bash-1-1"], [security("RHSA-2026:1", "bash-1-1")])
    )
    found = report(dnf(host))
    assert (found.total_updates, found.security_updates, found.gaps) == (0, 0, ())


# --- what would not be installed, or otherwise -----------------------------------------------------


def test_an_excluded_package_is_shown_as_excluded_with_its_security_verdict(tmp_path, dnf):
    host = DnfHost(
        tmp_path / "host",
        ["bash-1-1", "curl-1-1"],
        Repository("baseos", ["bash-2-1"], [security("RHSA-2026:1", "bash-2-1")]),
        Repository("extras", ["curl-2-1"], [], options={"excludepkgs": "curl"}),
        configuration="excludepkgs=bash",
    )
    updates = by_package(report(dnf(host)).findings)
    assert {name: (update.blocked, update.security) for name, update in updates.items()} == {
        "bash": ("excluded", True),
        "curl": ("excluded", False),
    }


VERSIONLOCK = """
import dnf

class VersionLock(dnf.Plugin):
    name = "versionlock"
    def sack(self):
        self.base.sack.add_excludes(self.base.sack.query().available().filter(name="bash", version="3"))
"""


def test_a_locked_version_is_excluded_beyond_the_lock_and_the_fix_beyond_it_is_shown(tmp_path, dnf):
    """The plugin here does what the real one does, under its name: it excludes what the lock does not allow."""
    plugins = tmp_path / "plugins"
    plugins.mkdir()
    (plugins / "versionlock.py").write_text(VERSIONLOCK)
    host = DnfHost(
        tmp_path / "host",
        ["bash-1-1"],
        Repository("baseos", ["bash-2-1", "bash-3-1"], [security("RHSA-2026:1", "bash-3-1")]),
        configuration=f"plugins=1\npluginpath={plugins}",
    )
    found = report(dnf(host)).findings.updates
    assert [(update.available_version, update.blocked, update.security) for update in found] == [
        ("2-1", None, False),
        ("3-1", "excluded", True),
    ]


def test_a_package_that_obsoletes_an_installed_one_is_its_update(tmp_path, dnf):
    host = DnfHost(
        tmp_path / "host",
        ["old-tool-1-1", "old-fix-1-1", "kernel-headers-1-1"],
        Repository(
            "baseos",
            [
                Package("new-tool-3-1", obsoletes="old-tool < 2"),
                Package("new-fix-3-1", obsoletes="old-fix < 2"),
                Package("kernel-headers-2-1", obsoletes="kernel-headers < 2"),
            ],
            [security("RHSA-2026:1", "new-fix-3-1")],
        ),
    )
    updates = by_package(report(dnf(host)).findings)
    assert {name: (update.available_version, update.security) for name, update in updates.items()} == {
        "old-tool": ("3-1", False),
        "old-fix": ("3-1", True),
        "kernel-headers": ("2-1", False),
    }
    assert updates["old-tool"].reason == "new-tool-3-1 replaces it."


def test_of_several_installed_kernels_the_newest_one_counts(tmp_path, dnf):
    fixes = [security("RHSA-2026:2", "kernel-5.14-2"), security("RHSA-2026:4", "kernel-5.14-4", severity="Low")]
    packages = [f"kernel-5.14-{release}" for release in range(1, 5)]
    host = DnfHost(tmp_path / "host", ["kernel-5.14-1", "kernel-5.14-3"], Repository("baseos", packages, fixes))
    (update,) = report(dnf(host)).findings.updates
    assert (update.installed_version, update.available_version, update.severity) == ("5.14-3", "5.14-4", "Low")
    assert update.advisories == ("RHSA-2026:4",)


MODULES = """
---
document: modulemd
version: 2
data:
  name: nodejs
  stream: "{stream}"
  version: {version}
  context: c0ffee00
  arch: noarch
  summary: Node
  description: Node
  license: {{module: [MIT]}}
  artifacts:
    rpms:
    - nodejs-0:{package}.noarch
"""


def test_only_the_enabled_stream_of_a_module_is_offered_and_its_advisories_count(tmp_path, dnf):
    eighteen, twenty = "18.20-1.module_el9", "20.15-1.module_el9"
    modules = MODULES.format(stream="18", version=2, package=eighteen) + MODULES.format(
        stream="20", version=2, package=twenty
    )
    advisories = [
        replace(security("RHSA-2026:18", f"nodejs-{eighteen}"), module="nodejs:18:2:c0ffee00:noarch"),
        replace(security("RHSA-2026:20", f"nodejs-{twenty}"), module="nodejs:20:2:c0ffee00:noarch"),
    ]
    packages = [
        Package(f"nodejs-{version}", module=f"nodejs:{version[:2]}:2:c0ffee00") for version in (eighteen, twenty)
    ]
    host = DnfHost(
        tmp_path / "host",
        [Package("nodejs-18.1-1.module_el9", module="nodejs:18:1:c0ffee00")],
        Repository("appstream", packages, advisories, modules=modules),
        modules={"nodejs": "18"},
    )
    found = report(dnf(host)).findings
    (update,) = found.updates
    assert (update.available_version, update.advisories, found.gaps) == (eighteen, ("RHSA-2026:18",), ())


def test_the_source_and_repository_of_a_long_name_are_read_whole(tmp_path, dnf):
    name = "a-very-long-package-name-that-does-not-fit-into-any-column-of-any-terminal-in-the-world"
    version = "12:2.0.0.20260101.git0123456789abcdef0123456789-100.module_el9.7.0+12345+abcdef12"
    repository = "copr:copr.example.org:a-group:a-project-with-a-very-long-name-indeed"
    host = DnfHost(tmp_path / "host", [f"{name}-1-1"], Repository(repository, [f"{name}-{version}"], []))
    (update,) = report(dnf(host)).findings.updates
    assert (update.name, update.available_version, update.origins) == (name, version, (repository,))


# --- what cannot be known --------------------------------------------------------------------------


def test_without_any_metadata_nothing_is_known_and_that_is_an_error(tmp_path, dnf):
    host = DnfHost(tmp_path / "host", ["bash-1-1"], Repository("baseos", ["bash-2-1"], []))
    manager = dnf(host)
    with pytest.raises(PackageManagerError, match="no metadata of any of its 1 repositories"):
        manager.updates(manager.installed())


def test_a_host_without_any_repository_is_an_error_not_secure(tmp_path, dnf):
    manager = dnf(DnfHost(tmp_path / "host", ["bash-1-1"]))
    with pytest.raises(PackageManagerError, match="no enabled repository"):
        manager.updates(manager.installed())


@pytest.mark.parametrize("options", [{}, {"skip_if_unavailable": "1"}])
def test_a_repository_whose_server_is_down_is_a_gap_and_leaves_security_unknown(tmp_path, dnf, options):
    host = DnfHost(
        tmp_path / "host",
        ["bash-1-1", "curl-1-1"],
        Repository("baseos", ["bash-2-1"], []),
        Repository("updates", ["curl-2-1"], [security("RHSA-2026:1", "curl-2-1")], options=options),
    )
    host.take_down("updates")
    found = report(dnf(host))
    gap, missing = found.gaps
    assert "Repository updates could not be refreshed" in gap.text
    assert "Check that the host can reach its package servers" in gap.text
    assert missing == Gap("The metadata of repository updates is missing.")
    assert {update.name: update.security for update in found.findings.updates} == {"bash": None}
    assert found.security_updates is None


def test_after_a_failed_refresh_the_last_metadata_is_used_with_its_true_age(tmp_path, dnf):
    host = DnfHost(
        tmp_path / "host", ["bash-1-1"], Repository("baseos", ["bash-2-1"], [security("RHSA-2026:1", "bash-2-1")])
    )
    host.make_cache()
    for path in host.cache.rglob("repodata/*"):
        os.utime(path, (1_780_000_000, 1_780_000_000))
    host.take_down("baseos")
    found = report(dnf(host))
    assert (found.security_updates, len(found.gaps)) == (1, 1)
    assert found.findings.metadata_date is not None
    assert found.findings.metadata_date.timestamp() == 1_780_000_000


def test_without_refreshing_the_hosts_own_cache_is_read_and_left_as_it_is(tmp_path, dnf):
    host = DnfHost(tmp_path / "host", ["bash-1-1"], Repository("baseos", ["bash-2-1"], []))
    host.make_cache()
    before = files_of(host)
    manager = dnf(host)
    assert [update.available_version for update in manager.updates(manager.installed()).updates] == ["2-1"]
    assert files_of(host) == before


def test_a_refresh_leaves_the_hosts_own_state_as_it_is(tmp_path, dnf):
    host = DnfHost(tmp_path / "host", ["bash-1-1"], Repository("baseos", ["bash-2-1"], []))
    host.make_cache()
    before = files_of(host)
    host.publish(Repository("baseos", ["bash-3-1"], []))
    assert [update.available_version for update in report(dnf(host)).findings.updates] == ["3-1"]
    assert {path: state for path, state in files_of(host).items() if path.suffix != ".repo"} == {
        path: state for path, state in before.items() if path.suffix != ".repo"
    }


def test_a_refresh_that_finds_nothing_new_still_makes_the_metadata_young(tmp_path, dnf):
    host = DnfHost(tmp_path / "host", ["bash-1-1"], Repository("baseos", ["bash-1-1"], []))
    host.make_cache()
    for path in host.cache.rglob("repodata/*"):
        os.utime(path, (1_780_000_000, 1_780_000_000))
    date = report(dnf(host)).findings.metadata_date
    assert date is not None
    assert date.timestamp() > 1_780_000_000


def files_of(host: DnfHost) -> dict[Path, tuple[int, int]]:
    """Every file with its size and time, but for what rpm itself locks with and dnf's index of a cache."""
    ignored = (".lock", "-shm", "-wal", ".solv", ".solvx", "expired_repos.json")
    return {
        path: (path.stat().st_size, path.stat().st_mtime_ns)
        for path in host.root.rglob("*")
        if path.is_file() and not path.name.endswith(ignored)
    }


def test_a_repository_file_that_cannot_be_read_is_a_gap(tmp_path, dnf):
    host = DnfHost(tmp_path / "host", ["bash-1-1"], Repository("baseos", ["bash-2-1"], []))
    (host.root / "etc/yum.repos.d/broken.repo").write_text("[broken\nbaseurl")
    found = report(dnf(host))
    assert any("broken.repo could not be read" in gap.text for gap in found.gaps)
    assert found.security_updates is None


def test_a_german_administrator_sees_the_same_numbers(tmp_path, dnf):
    advisories = [security("RHSA-2026:1", "bash-2-1", severity="Moderate")]
    host = DnfHost(tmp_path / "host", ["bash-1-1"], Repository("baseos", ["bash-2-1"], advisories))
    found = report(dnf(host, LANG="de_DE.UTF-8", LC_ALL="de_DE.UTF-8", LANGUAGE="de"))
    assert (found.total_updates, found.security_updates, found.findings.updates[0].severity) == (1, 1, "Moderate")


def test_a_host_is_scanned_by_the_programs_that_stand_first_on_its_path(tmp_path):
    """All other tests name the host's root, as --root does. Here dnf and rpm know it, and the scan knows of none."""
    host = DnfHost(
        tmp_path / "host", ["bash-1-1"], Repository("baseos", ["bash-2-1"], [security("RHSA-2026:1", "bash-2-1")])
    )
    manager = Dnf(Runner(time.monotonic() + 60, environment=host.environment), tmp_path / "private")
    host.make_cache()
    assert len(manager.updates(manager.installed()).updates) == 1
    host.publish(Repository("baseos", ["bash-3-1"], [security("RHSA-2026:2", "bash-3-1")]))
    found = report(manager)
    assert [update.advisories for update in found.findings.updates] == [("RHSA-2026:2",)]


def test_a_root_with_an_rpm_database_is_known_by_it(tmp_path):
    assert Dnf.has_database(DnfHost(tmp_path / "host", ["bash-1-1"]).root)
    assert not Dnf.has_database(tmp_path)


# --- broken programs -------------------------------------------------------------------------------


def test_a_missing_program_is_named(tmp_path, dnf):
    host = DnfHost(tmp_path / "host", ["bash-1-1"])
    manager = dnf(host, PATH=str(tmp_path))
    with pytest.raises(CommandError, match="rpm is not installed"):
        manager.installed()
    with pytest.raises(CommandError, match="dnf is not installed"):
        manager.updates([])


def test_a_hanging_program_is_stopped(tmp_path, dnf):
    host = DnfHost(tmp_path / "host", ["bash-1-1"], Repository("baseos", ["bash-2-1"], []))
    script(host.bin / "dnf", "sleep 600")
    with pytest.raises(CommandError, match="time limit"):
        dnf(host, seconds=0.5).updates([])


def test_a_program_that_answers_nonsense_leaves_security_unknown(tmp_path, dnf):
    host = DnfHost(tmp_path / "host", ["bash-1-1"], Repository("baseos", ["bash-2-1"], []))
    manager = dnf(host)
    manager.refresh(lambda percent, words: None)
    real = shutil.which("dnf")
    script(
        host.bin / "dnf",
        f'case "$*" in *repolist*) exec {real} --installroot={host.root} "$@";; esac; echo lorem ipsum',
    )
    found = manager.updates(manager.installed())
    assert found.updates == ()
    assert {gap.security for gap in found.gaps} == {True}
    assert any("lorem ipsum" in gap.text for gap in found.gaps)
    script(host.bin / "dnf", f'case "$*" in *repolist*) exec {real} --installroot={host.root} "$@";; esac; exit 100')
    with pytest.raises(PackageManagerError, match="but not which"):
        manager.updates(manager.installed())


def test_a_failure_is_told_in_dnfs_own_last_words_with_the_next_step(tmp_path, dnf):
    host = DnfHost(tmp_path / "host", ["bash-1-1"])
    script(host.bin / "dnf", "echo 'Error: Failed to obtain the transaction lock (logged in as: root).' >&2; exit 200")
    with pytest.raises(PackageManagerError) as caught:
        dnf(host).updates([])
    assert "Failed to obtain the transaction lock" in caught.value.message
    assert "Another program is using dnf" in caught.value.next_step


# --- against dnf's own interface -------------------------------------------------------------------

ORACLE = """
import sys, dnf
conf = dnf.conf.Conf()
conf.installroot = sys.argv[1]
base = dnf.Base(conf)  # without one it would open this machine's own database
base.conf.read(sys.argv[1] + "/etc/dnf/dnf.conf")
base.conf.reposdir = [sys.argv[1] + "/etc/yum.repos.d"]
base.conf.cachedir = sys.argv[2]
base.conf.logdir = base.conf.persistdir = sys.argv[2]
base.conf.substitutions["releasever"] = "9"
base.read_all_repos()
base.fill_sack()
for package in base.sack.query().upgrades().latest():
    print(package.name, package.evr)
"""


def test_a_generated_host_has_the_same_updates_as_dnfs_own_interface_tells(tmp_path, dnf):
    chance = random.Random(20260821)

    def version() -> str:
        epoch = chance.choice(("", "", "", "1:", "2:"))
        number = ".".join(str(chance.choice((0, 1, 2, 9, 10))) for _ in range(chance.randint(1, 3)))
        suffix, release = chance.choice(("", "~rc1", "^git2", "a")), chance.choice((".el9", ".el9_2", ""))
        return f"{epoch}{number}{suffix}-{chance.randint(1, 11)}{release}"

    names = [f"package{number}" for number in range(150)]
    carried = {name: [version() for _ in range(chance.randint(0, 4))] for name in names}
    fixes = {name: chance.choice(versions) for name, versions in carried.items() if versions and chance.random() < 0.5}
    advisories = [
        Advisory(f"RHSA-2026:{number}", chance.choice(("security", "bugfix")), "Low", [f"{name}-{fixed}"])
        for number, (name, fixed) in enumerate(fixes.items())
    ]
    host = DnfHost(
        tmp_path / "host",
        [f"{name}-{version()}" for name in names],
        Repository("baseos", [f"{name}-{carried[name][0]}" for name in names if carried[name]], []),
        Repository("updates", [f"{name}-{v}" for name in names for v in dict.fromkeys(carried[name][1:])], advisories),
        configuration="excludepkgs=package1*",
    )
    oracle = subprocess.run(
        ["/usr/bin/python3", "-c", ORACLE, host.root, tmp_path / "oracle"],
        env=host.environment,
        capture_output=True,
        text=True,
        check=True,
    )
    found = report(dnf(host)).findings
    plain = {(update.name, update.available_version) for update in found.updates if update.blocked is None}
    assert plain == {tuple(line.split()) for line in oracle.stdout.splitlines()}
    assert len(plain) > 20
    assert {update.name[:8] for update in found.updates if update.blocked} == {"package1"}


# --- recorded texts: dnf5 --------------------------------------------------------------------------

DNF5 = """
case "$*" in
    *--dump-main-config*) echo "system_cachedir = {cache}" ;;
    *repolist*) cat {texts}/repolist ;;
    *disable_excludes*check-update*) cat {texts}/check-upgrade-nothing-excluded; exit 100 ;;
    *check-update*) cat {texts}/check-upgrade; exit 100 ;;
    *--json*--with-cve*) cat {texts}/cves.json ;;
    *--json*) cat {texts}/advisories.json ;;
    *repoquery*) ;;
    *) echo "Unknown argument for command dnf5" >&2; exit 2 ;;
esac
"""


def test_the_recorded_words_of_dnf5_are_read_as_a_person_reads_them(tmp_path):
    texts = RECORDED / "dnf5"
    for name, kinds in {
        "docker-ce-stable": "primary",
        "fedora": "updateinfo",
        "protonvpn-fedora-stable": "updateinfo",
        "terra": "updateinfo",
    }.items():
        repodata = tmp_path / f"cache/{name}-0123456789abcdef/repodata"
        repodata.mkdir(parents=True)
        (repodata / "repomd.xml").write_text(f'<repomd><data type="{kinds}"/></repomd>')
    folder = tmp_path / "bin"
    folder.mkdir()
    script(folder / "dnf5", DNF5.format(texts=texts, cache=tmp_path / "cache"))
    (folder / "dnf").symlink_to("dnf5")
    script(folder / "rpm", f"cat {texts}/installed")
    environment = {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"}
    manager = Dnf(Runner(time.monotonic() + 60, environment=environment), tmp_path / "private")
    found = manager.updates(manager.installed())
    assert found.gaps == ()
    assert sorted(map(summary, found.updates)) == sorted(json.loads((texts / "answer.json").read_text()))


def summary(update: Update) -> list[object]:
    return [
        update.name,
        update.installed_version,
        update.available_version,
        update.origins[0],
        update.security,
        update.severity,
        list(update.cves),
        update.blocked,
        update.published.isoformat() if update.published else None,
    ]


def script(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def test_an_empty_list_of_dnf5_is_a_fact_and_nonsense_a_gap():
    assert parse_json_advisories("[]") == ([], [])
    assert parse_json_advisories("") == ([], [])
    for text in ("lorem", "{}x", '[{"name": 1}]', "[3]", '{"a": 1}'):
        advisories, gaps = parse_json_advisories(text)
        assert (advisories, [gap.security for gap in gaps]) == ([], [True])
    assert parse_json_details("lorem") == {}


def test_repositories_are_read_below_the_header_only():
    chatter = "Loading mirror speeds from cached hostfile\n * base: mirror.example.org\n"
    assert parse_repositories(chatter + "repo id   repo name\nbaseos    AlmaLinux 9 - BaseOS\n") == ["baseos"]
    assert parse_repositories("") == []


def test_what_dnf_says_of_the_running_kernel_is_no_update():
    text = (
        "kernel.x86_64  5.14.0-70.el9  baseos\n"
        "Security: kernel-core-5.14.0-70.el9.x86_64 is an installed security update\n"
        "Security: kernel-core-5.14.0-60.el9.x86_64 is the currently running version\n"
    )
    assert list(parse_check_update(text).updates) == [("kernel", "x86_64")]


def test_the_command_for_an_excluded_update_lifts_excludes_and_locks(tmp_path, dnf):
    repository = Repository("baseos", ["curl-2-1"], [])
    host = DnfHost(tmp_path / "host", ["curl-1-1"], repository, configuration="excludepkgs=curl")
    (update,) = report(dnf(host)).findings.updates
    assert update.blocked == "excluded"
    assert update.command == "dnf upgrade --disableexcludes=all --disableplugin=versionlock curl"
    _, *words = update.command.split()
    done = subprocess.run(
        ["dnf", "--assumeno", *words], env=host.environment, capture_output=True, text=True, check=False
    )
    assert "curl" in done.stdout and "Upgrade  1 Package" in done.stdout
