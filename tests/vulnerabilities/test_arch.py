"""Arch's tracker: what is fixed, and what nobody has looked at for long."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from scanner.vulnerabilities.arch import Arch
from scanner.vulnerabilities.interface import Affected, FeedError

SAMPLES = Path(__file__).parents[1] / "recorded/feeds"


def rows(file: Path) -> list[Affected]:
    return list(Arch().parse(file))


@pytest.fixture
def one(tmp_path: Path) -> Callable[..., list[Affected]]:
    def read(**more: object) -> list[Affected]:
        """The rows of a file with one group."""
        group = {
            "name": "AVG-1",
            "packages": ["curl"],
            "status": "Fixed",
            "severity": "High",
            "affected": "1:8.4.0-1",
            "fixed": "1:8.5.0-1",
            "issues": ["CVE-2026-10001"],
            "advisories": [],
        }
        (tmp_path / "arch").write_text(json.dumps([group | more]))
        return rows(tmp_path / "arch")

    return read


def test_a_fixed_group_is_read_in_full():
    assert rows(SAMPLES / "arch-1.json")[0] == Affected(
        distribution="arch",
        name="curl",
        advisory="ASA-202401-01",
        cves=("CVE-2024-1234",),
        status="fixed",
        fixed_version="8.5.0-1",
        severity="high",
        url="https://security.archlinux.org/ASA-202401-01",
    )


def test_each_package_of_a_group_is_a_row():
    found = [row.name for row in rows(SAMPLES / "arch-1.json") if row.cves == ("CVE-2023-4911",)]
    assert found == ["glibc", "lib32-glibc"]


def test_a_vulnerable_package_without_a_fix_is_open_up_to_the_version_it_was_found_in():
    [found] = [row for row in rows(SAMPLES / "arch-1.json") if row.name == "pam"]
    assert (found.status, found.fixed_version, found.last_affected) == ("open", "", "1.7.0-2")
    assert found.advisory == "AVG-9999"  # there is no ASA


def test_a_fix_that_is_on_its_way_is_a_fix(one):
    for status in ("Vulnerable", "Testing"):
        assert [(row.status, row.fixed_version) for row in one(status=status)] == [("fixed", "1:8.5.0-1")]


def test_what_is_unknown_is_undetermined_even_with_a_version_that_would_fix_it():
    found = [row for row in rows(SAMPLES / "arch-2.json") if row.name == "python-pyjwt"]
    assert [(row.status, row.fixed_version, row.severity) for row in found] == [("undetermined", "", "")]


def test_a_package_that_is_not_affected_is_left_out(one):
    assert one(status="Not affected") == []


def test_a_group_may_have_no_cve():
    assert [row.cves for row in rows(SAMPLES / "arch-1.json") if row.name == "test-pkg"] == [()]


def test_of_several_advisories_none_is_guessed(one):
    found = one(packages=["glibc", "lib32-glibc"], advisories=["ASA-1", "ASA-2"])
    assert {row.advisory for row in found} == {"AVG-1"}


def test_a_fixed_group_without_a_fixed_version_is_dropped_and_counted(tmp_path):
    groups = json.loads((SAMPLES / "arch-1.json").read_text())
    groups[0]["fixed"] = None
    (tmp_path / "arch").write_text(json.dumps(groups))
    feed = Arch()
    assert "curl" not in {row.name for row in feed.parse(tmp_path / "arch")}
    assert feed.dropped == 1


@pytest.mark.parametrize("text", ["", "[]", "{}", "<html>Sign in</html>", '[{"name": "AVG-1"}]'])
def test_a_file_that_is_not_the_trackers_is_an_error(tmp_path, text):
    (tmp_path / "arch").write_text(text)
    with pytest.raises(FeedError, match="arch"):
        rows(tmp_path / "arch")
