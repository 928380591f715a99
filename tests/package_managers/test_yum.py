"""yum 3 cannot run here: it speaks through recorded texts, with an answer that a person worked out."""

import json
import os
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from scanner.package_managers.command import Runner
from scanner.package_managers.dnf import Detail, Dnf, parse_advisories
from scanner.package_managers.interface import PackageManagerError
from scanner.package_managers.yum import Yum, parse_info

TEXTS = Path(__file__).parents[1] / "recorded/yum3"
INSTALLED = [line.split("|")[0] for line in (TEXTS / "installed").read_text().splitlines()]
YUM = """
case "$*" in
    *makecache*) {refresh} ;;
    *repolist*) cat {texts}/repolist ;;
    *check-update*) cat {texts}/check-update; exit 100 ;;
    *"updateinfo list updates"*) cat {texts}/updateinfo ;;
    *"updateinfo info updates security"*) cat {texts}/updateinfo-info ;;
    *) exit 1 ;;
esac
"""
OLD_RPM = """
case "$*" in
    *MODULARITYLABEL*) echo 'error: incorrect format: unknown tag' >&2 ;;
    *) cat {texts}/installed ;;
esac
"""
UNREACHABLE = "echo 'Cannot find a valid baseurl for repo: base' >&2; exit 1"


def yum(folder: Path, refresh: str = "exit 0", root: Path | None = None) -> Yum:
    programs = folder / "bin"
    programs.mkdir()
    for name, text in {"yum": YUM.format(texts=TEXTS, refresh=refresh), "rpm": OLD_RPM.format(texts=TEXTS)}.items():
        (programs / name).write_text(f"#!/bin/sh\n{text}\n")
        (programs / name).chmod(0o755)
    environment = {"PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"}
    return Yum(Runner(time.monotonic() + 60, environment=environment), folder / "private", root)


def cache(folder: Path, *names: str) -> None:
    for name in names:
        repository = folder / "private/cache/x86_64/2" / name
        repository.mkdir(parents=True)
        kind = "updateinfo" if name == "amzn2-core" else "primary"
        (repository / "repomd.xml").write_text(f'<repomd><data type="{kind}"/></repomd>')


def test_the_recorded_words_of_yum_are_read_as_a_person_reads_them(tmp_path):
    manager = yum(tmp_path)
    cache(tmp_path, "amzn2-core", "corretto")
    assert manager.refresh(lambda percent, words: None) == ()
    found = manager.updates(manager.installed())
    rows = [
        [
            u.name,
            u.installed_version,
            u.available_version,
            u.origins[0],
            u.security,
            u.severity,
            list(u.cves),
            u.blocked,
            u.published.isoformat() if u.published else None,
        ]
        for u in found.updates
    ]
    assert found.gaps == ()
    assert sorted(rows) == sorted(json.loads((TEXTS / "answer.json").read_text()))
    assert "corretto publishes no advisories" in found.notes[0]


def test_the_vendor_tells_on_el_7_too_what_is_third_party(tmp_path):
    (tmp_path / "root/etc").mkdir(parents=True)
    (tmp_path / "root/etc/os-release").write_text('ID="centos"\nID_LIKE="rhel fedora"\nVERSION_ID="7"\n')
    manager = yum(tmp_path, root=tmp_path / "root")
    assert {package.name: package.third_party for package in manager.installed() if package.third_party} == {
        name: "Amazon Linux" for name in INSTALLED if name != "old-tool"
    }
    (tmp_path / "root/etc/os-release").write_text('ID="amzn"\nID_LIKE="centos rhel fedora"\nVERSION_ID="2"\n')
    assert {package.third_party for package in manager.installed()} == {""}


def test_yum_writes_dates_in_several_ways_and_cves_behind_one():
    rhel = (
        "  Update ID : RHSA-2019:0163\n     Issued : 2019-01-29 15:21:23 UTC\n"
        "    Updated : 2019-01-29 15:23:47 UTC       Bugs : 1641548 - CVE-2018-18397 kernel: a bug\n"
        "            : 1641878 - CVE-2018-1 another\n       CVEs : CVE-2018-18397\n\t    : CVE-2018-18559\n"
        "Description : fixes CVE-2018-2\n"
    )
    oracle = "  Update ID : ELSA-2019-1\n     Issued : 2019-02-01\n   Severity : Low\n"
    nothing = "  Update ID : X-1\n     Issued : soon\nDescription : Issued : 2019-02-01\n"
    assert parse_info(rhel + "\n" + oracle + "\n" + nothing) == {
        "RHSA-2019:0163": Detail(("CVE-2018-18397", "CVE-2018-18559"), datetime(2019, 1, 29, 15, 21, 23, tzinfo=UTC)),
        "ELSA-2019-1": Detail((), datetime(2019, 2, 1, tzinfo=UTC)),
        "X-1": Detail(),
    }


def test_a_failed_refresh_is_a_gap_and_without_metadata_nothing_is_known(tmp_path):
    manager = yum(tmp_path, UNREACHABLE)
    (gap,) = manager.refresh(lambda percent, words: None)
    assert "Cannot find a valid baseurl for repo: base" in gap.text
    with pytest.raises(PackageManagerError, match="no metadata of any of its 2 repositories"):
        manager.updates([])


def test_a_repository_without_metadata_is_a_gap(tmp_path):
    manager = yum(tmp_path)
    cache(tmp_path, "amzn2-core")
    manager.refresh(lambda percent, words: None)
    found = manager.updates(manager.installed())
    assert [gap.text for gap in found.gaps] == ["The metadata of repository corretto is missing."]
    assert {update.security for update in found.updates} == {True, None}


def test_the_frame_around_an_empty_list_is_no_advisory():
    assert parse_advisories("Loaded plugins: fastestmirror\nupdateinfo list done\n") == ([], [])


@pytest.mark.parametrize(
    ("files", "manager"),
    [
        (("usr/share/yum-cli/yummain.py", "usr/bin/yum"), Yum),
        (("usr/bin/yum", "usr/bin/dnf-3"), Dnf),
        (("usr/share/yum-cli/yummain.py", "usr/bin/yum", "usr/bin/dnf"), Dnf),
    ],
)
def test_yum_is_the_manager_only_where_there_is_no_dnf(tmp_path, files, manager):
    for name in ("var/lib/rpm/Packages", *files):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    assert [kind for kind in (Dnf, Yum) if kind.has_database(tmp_path)] == [manager]
