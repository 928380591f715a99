"""What changed between two scans: by the package manager's own order, as sets where there are several versions."""

import time
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scanner.diff import (
    ABSENT,
    BELOW,
    PACKAGE_CHANGES,
    THERE,
    UPDATE_CHANGES,
    Diff,
    PackageChange,
    Side,
    UpdateChange,
    compare,
    package_row,
    update_row,
)
from scanner.package_managers.interface import Installed, Update
from tests.make import make_update

VERSIONS = ("1.0~rc1-1", "1.0-1", "1.0-1+b1", "1.0-2", "1.10-1", "1:0.9-1")
"""In dpkg's order, which is neither that of the alphabet nor rpm's."""


def installed(name: str = "openssl", version: str = "1.0-1", **fields: Any) -> Installed:
    return Installed(name, fields.pop("architecture", "amd64"), version, **fields)


def side(*rows: Installed | Update, manager: str = "apt") -> Side:
    packages = tuple(row for row in rows if isinstance(row, Installed))
    return Side(packages, tuple(row for row in rows if isinstance(row, Update)), manager)


def package(before: Side, after: Side) -> PackageChange:
    (change,) = compare(before, after).packages
    return change


def update(before: Side, after: Side) -> UpdateChange:
    (change,) = compare(before, after).updates
    return change


# --- packages ---------------------------------------------------------------------------------------


def test_what_came_and_what_went() -> None:
    found = compare(side(installed("vim")), side(installed("nano")))
    assert [(row.change, row.name, row.before, row.after) for row in found.packages] == [
        ("came", "nano", (), ("1.0-1",)),
        ("went", "vim", ("1.0-1",), ()),
    ]
    assert (found.counts["came"], found.counts["went"], found.counts["upgraded"]) == (1, 1, 0)


@pytest.mark.parametrize(
    ("manager", "older", "newer"),
    [
        ("apt", "1.0~rc1-1", "1.0-1"),
        ("apt", "9.9-1", "1:0.1-1"),
        ("dnf", "1.9-1.el9", "1.10-1.el9"),
        ("yum", "1.0~rc1-1", "1.0-1"),
        ("pacman", "1.0rc1-1", "1.0-1"),
    ],
)
def test_up_and_down_go_by_the_package_managers_own_order(manager: str, older: str, newer: str) -> None:
    old, new = side(installed(version=older), manager=manager), side(installed(version=newer), manager=manager)
    assert (package(old, new).change, package(new, old).change) == ("upgraded", "downgraded")


def test_the_same_name_on_another_architecture_is_another_package() -> None:
    found = compare(side(installed()), side(installed(), installed(architecture="i386")))
    assert [(row.change, row.architecture) for row in found.packages] == [("came", "i386")]


def test_several_kernels_are_compared_as_sets() -> None:
    old = side(*(installed("kernel", f"5.14.0-{n}.el9") for n in (70, 162, 284)), manager="dnf")
    new = side(*(installed("kernel", f"5.14.0-{n}.el9") for n in (427, 284, 162)), manager="dnf")
    change = package(old, new)
    assert (change.change, change.before, change.after) == ("upgraded", ("5.14.0-70.el9",), ("5.14.0-427.el9",))
    assert change.both == ("5.14.0-162.el9", "5.14.0-284.el9"), "in rpm's order"
    assert package(side(*old.packages[1:], manager="dnf"), old).change == "came"
    assert package(old, side(*old.packages[1:], manager="dnf")).change == "went"


def test_versions_of_two_package_managers_are_only_different() -> None:
    change = package(side(installed(version="1.0")), side(installed(version="2.0"), manager="dnf"))
    assert change.change == "changed"


def test_a_version_that_no_package_manager_would_take_is_only_different() -> None:
    assert package(side(installed(version="1.0")), side(installed(version="Ω"))).change == "changed"


def test_a_version_that_is_only_written_otherwise_is_neither_up_nor_down() -> None:
    assert package(side(installed(version="1.0-1")), side(installed(version="0:1.0-1"))).change == "changed"


def test_a_hold_is_told_though_the_version_is_the_same() -> None:
    change = package(side(installed()), side(installed(held=True)))
    assert (change.change, change.both) == ("remarked", ("1.0-1",))
    assert [(each.about, each.before, each.after) for each in change.details] == [("held", False, True)]
    change = package(side(installed(held=True)), side(installed(version="1.0-2")))
    assert (change.change, change.details[0].after) == ("upgraded", False)


# --- updates ----------------------------------------------------------------------------------------


def test_an_update_became_security_without_a_new_version() -> None:
    before, after = make_update(security=False, reason="No version is."), make_update(reason="1.0-2 is in Security.")
    change = update(side(before), side(after))
    assert (change.change, change.is_security) == ("became_security", True)
    assert update(side(after), side(before)).change == "ceased_security"
    assert update(side(replace(before, security=None)), side(after)).change == "became_security"
    assert update(side(replace(before, security=None)), side(before)).change == "restated"


def test_an_update_with_a_new_target_is_not_said_to_have_become_security() -> None:
    change = update(side(make_update(security=False)), side(make_update(available_version="1.0-3")))
    assert (change.change, [detail.about for detail in change.details]) == ("retargeted", ["security"])


@pytest.mark.parametrize(
    ("now", "other"), [(("1.0-2",), THERE), (("1.0-3",), THERE), (("1.0-1",), BELOW), ((), ABSENT)]
)
def test_why_an_update_is_gone(now: tuple[str, ...], other: str) -> None:
    before = side(installed(), make_update())
    change = update(before, side(*(installed(version=version) for version in now)))
    assert (change.change, change.other) == ("disappeared", other)
    assert update(side(*(installed(version=version) for version in now)), before).other == other


def test_an_update_that_vanished_while_no_package_changed_is_no_longer_offered() -> None:
    packages = (installed(),)
    change = update(Side(packages, (make_update(),), "apt"), Side(packages, (), "apt"))
    assert (change.change, change.other) == ("disappeared", BELOW)


def test_a_pinned_update_is_no_successor_of_one_that_would_be_installed() -> None:
    pinned = make_update(available_version="1.0-9", blocked="pinned")
    found = compare(side(make_update()), side(make_update(available_version="1.0-3"), pinned))
    assert [(row.change, row.after.available_version) for row in found.updates if row.after] == [
        ("appeared", "1.0-9"),
        ("retargeted", "1.0-3"),
    ]
    freed = update(side(pinned), side(replace(pinned, blocked=None)))
    assert (freed.change, freed.details[0].before, freed.details[0].after) == ("restated", "pinned", None)


def test_rows_of_the_database_have_lists_where_the_package_managers_have_tuples() -> None:
    before, after = make_update(cves=("CVE-2026-1", "CVE-2026-2")), make_update(cves=["CVE-2026-2", "CVE-2026-1"])
    assert compare(side(before), side(after)).is_empty


def test_security_updates_come_first() -> None:
    found = compare(side(), side(make_update("a", security=False), make_update("z"), make_update("b", security=None)))
    assert [row.name for row in found.updates] == ["z", "a", "b"]


def test_as_json_each_row_has_both_sides() -> None:
    found = compare(side(installed(), make_update()), side(installed(version="1.0-2"), make_update("vim")))
    appeared, gone = map(update_row, found.updates)
    assert (appeared["change"], appeared["before"], appeared["after"]["security"]) == ("appeared", None, True)
    assert (gone["other_side"], gone["before"]["available_version"]) == ("there", "1.0-2")
    (row,) = map(package_row, found.packages)
    assert (row["change"], row["before"], row["after"], row["both"]) == ("upgraded", ["1.0-1"], ["1.0-2"], [])


# --- of any content ---------------------------------------------------------------------------------

NAMES = st.sampled_from(("a", "b", "kernel"))
PACKAGES = st.lists(st.builds(installed, NAMES, st.sampled_from(VERSIONS), held=st.booleans()), max_size=6)
UPDATES = st.lists(
    st.builds(make_update, NAMES, st.sampled_from((True, False, None)), available_version=st.sampled_from(VERSIONS)),
    max_size=4,
    unique_by=lambda each: (each.name, each.available_version),
)
OPPOSITE = {
    **{"came": "went", "upgraded": "downgraded", "appeared": "disappeared", "became_security": "ceased_security"},
    **{"went": "came", "downgraded": "upgraded", "disappeared": "appeared", "ceased_security": "became_security"},
}


def one_version_each(packages: list[Installed]) -> tuple[Installed, ...]:
    return tuple({(each.name, each.version): each for each in packages}.values())


@given(PACKAGES, UPDATES, PACKAGES, UPDATES)
def test_backwards_everything_is_the_opposite(
    packages: list[Installed], updates: list[Update], others: list[Installed], more: list[Update]
) -> None:
    one = Side(one_version_each(packages), tuple(updates), "apt")
    two = Side(one_version_each(others), tuple(more), "apt")

    def seen(found: Diff, mirrored: bool = False) -> list[tuple[Any, ...]]:
        rows = [
            (OPPOSITE.get(row.change, row.change), row.name, row.after, row.before)
            if mirrored
            else (row.change, row.name, row.before, row.after)
            for row in (*found.packages, *found.updates)
        ]
        return sorted(rows, key=repr)

    assert seen(compare(one, two)) == seen(compare(two, one), mirrored=True)
    assert compare(one, one).is_empty
    assert compare(one, Side(tuple(one.packages), tuple(one.updates), "apt")).is_empty


@given(PACKAGES, PACKAGES)
def test_what_is_said_leads_from_one_set_of_versions_to_the_other(
    packages: list[Installed], others: list[Installed]
) -> None:
    before, after = one_version_each(packages), one_version_each(others)
    versions = {(each.name, each.version) for each in before}
    for row in compare(Side(before, (), "apt"), Side(after, (), "apt")).packages:
        assert row.change in PACKAGE_CHANGES
        versions -= {(row.name, version) for version in row.before}
        versions |= {(row.name, version) for version in row.after}
    assert versions == {(each.name, each.version) for each in after}


def test_every_kind_of_change_is_counted_even_if_there_is_none() -> None:
    assert Diff().counts == dict.fromkeys((*UPDATE_CHANGES, *PACKAGE_CHANGES), 0)


def test_5000_packages_take_milliseconds() -> None:
    packages = [installed(f"package-{n}", f"1.{n}-1", source=f"source-{n}") for n in range(5_000)]
    newer = [
        replace(each, version=f"{each.version}+deb12u1") if n % 10 == 0 else each for n, each in enumerate(packages)
    ]
    updates = [make_update(f"package-{n}", n % 3 == 0) for n in range(1_000)]
    one, two = Side(packages, updates, "apt"), Side(newer, updates[500:], "apt")
    best = min(timed(one, two) for _ in range(3))
    assert best < 0.2, f"{1000 * best:.0f} ms"


def timed(one: Side, two: Side) -> float:
    begin = time.perf_counter()
    assert compare(one, two).counts["upgraded"] == 500
    return time.perf_counter() - begin
