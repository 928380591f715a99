"""Ubuntu Pro cannot be had here: it speaks through documented samples, with an answer that a person worked out."""

import json
import os
import time
from pathlib import Path

import pytest

from scanner.package_managers.command import Runner
from scanner.package_managers.interface import Findings, Installed, Report, Update
from scanner.package_managers.ubuntu_pro import (
    ESM_LISTS,
    ProStatus,
    ProUnknown,
    parse_security_status,
    pro_status,
    updates_that_need_pro,
)

SAMPLES = Path(__file__).parents[1] / "recorded/ubuntu_pro"
ANSWERS = json.loads((SAMPLES / "answer.json").read_text())
LTS = 'ID=ubuntu\nVERSION="22.04.5 LTS (Jammy Jellyfish)"\n'


def sample(name: str) -> str:
    return (SAMPLES / f"{name}.json").read_text()


def changed(**fields: object) -> str:
    return json.dumps({**json.loads(sample("attached")), **fields})


def ask(folder: Path, script: str, name: str = "pro", os_release: str = "ID=debian\n", seconds: float = 60):
    """Ask a program of this name, the only one on PATH besides the shell's."""
    programs = folder / "bin"
    programs.mkdir(exist_ok=True)
    (programs / name).write_text(f"#!/bin/sh\n{script}\n")
    (programs / name).chmod(0o755)
    (folder / "etc").mkdir(exist_ok=True)
    (folder / "etc/os-release").write_text(os_release)
    environment = {"PATH": f"{programs}{os.pathsep}{os.defpath}"}
    return pro_status(Runner(time.monotonic() + seconds, environment=environment), host=folder)


def inventory(answer: dict) -> list[Installed]:
    return [Installed(name, architecture, version) for name, architecture, version in answer["installed"]]


def offered(answer: dict) -> list[Update]:
    return [Update(name, arch, "", version, name, False, "") for name, arch, version in answer["offered"]]


@pytest.mark.parametrize("name", ANSWERS)
def test_the_documented_answers_are_read_as_a_person_reads_them(name):
    answer = ANSWERS[name]
    status = parse_security_status(sample(name))
    updates = updates_that_need_pro(status, inventory(answer), "amd64", offered(answer))
    assert status.attached is answer["attached"]
    assert [[u.name, u.architecture, u.available_version, u.origins[0], u.reason] for u in updates] == answer[
        "needs_pro"
    ]
    assert all(update.security is True for update in updates)


def test_a_fix_that_needs_pro_is_listed_and_counted_apart():
    answer = ANSWERS["unattached"]
    updates = updates_that_need_pro(parse_security_status(sample("unattached")), inventory(answer), "amd64")
    report = Report("apt", tuple(inventory(answer)), Findings(updates, None))
    assert (report.total_updates, report.security_updates) == (0, 0)
    assert report.pinned_security_updates == len(updates) == 4  # tar's too, as nothing else is offered here


def test_a_fix_that_only_a_pin_keeps_away_does_not_hide_the_one_in_pro():
    pinned = Update("ansible", "all", "2.0.0.2-2ubuntu1.3", "9", "ansible", True, "", blocked="pinned")
    status = parse_security_status(sample("attached"))
    assert [u.name for u in updates_that_need_pro(status, inventory(ANSWERS["attached"]), "amd64", [pinned])] == [
        "ansible"
    ]


def test_a_held_package_stays_held():
    status = parse_security_status(sample("attached"))
    (update,) = updates_that_need_pro(status, [Installed("ansible", "all", "2.0.0.2-2ubuntu1.3", held=True)], "amd64")
    assert update.held


@pytest.mark.parametrize("program", ["pro", "ua"])
def test_the_program_is_asked_under_its_new_and_its_old_name(tmp_path, program):
    script = f'[ "$*" = "security-status --format json" ] && cat {SAMPLES}/unattached.json'
    status = ask(tmp_path, script, program)
    assert isinstance(status, ProStatus)
    assert len(status.fixes) == 8
    assert sum(fix.needs_pro for fix in status.fixes) == 7


def test_a_host_without_the_program_says_nothing_of_pro(tmp_path):
    assert pro_status(Runner(time.monotonic() + 60, environment={"PATH": str(tmp_path)})) is None


def test_another_root_is_not_asked_of_this_hosts_pro(tmp_path):
    (tmp_path / "pro").write_text("#!/bin/sh\ntouch asked\n")
    (tmp_path / "pro").chmod(0o755)
    runner = Runner(time.monotonic() + 60, environment={"PATH": str(tmp_path)})
    assert pro_status(runner, root=tmp_path) is None


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("echo 'Unexpected error(s) occurred.' >&2; exit 1", "Unexpected error(s) occurred."),
        ("echo 'pro security-status: error: argument --format: invalid choice' >&2; exit 2", "invalid choice"),
        ("exit 0", "did not answer in its own words"),
        ("echo This machine is NOT attached", "did not answer in its own words"),
        ("printf '\\377\\376{'", "did not answer in its own words"),
        ("echo null", "schema version"),
        ("""echo '{"_schema_version": "0.2", "packages": []}'""", "'0.2'"),
        (f"head -c 900 {SAMPLES}/unattached.json", "did not answer in its own words"),
    ],
)
def test_an_answer_that_cannot_be_read_is_not_an_answer_of_no_fixes(tmp_path, script, words):
    status = ask(tmp_path, script)
    assert isinstance(status, ProUnknown)
    assert status.note.startswith("Whether there are security fixes that need Ubuntu Pro is not known. ")
    assert words in status.note


def test_a_program_that_hangs_is_not_an_answer_of_no_fixes(tmp_path):
    status = ask(tmp_path, "sleep 30", seconds=0.3)
    assert isinstance(status, ProUnknown)
    assert "time limit" in status.note


@pytest.mark.parametrize(
    "text",
    [
        changed(_schema_version=None),
        changed(_schema_version=0.1),
        changed(summary={}),
        changed(summary={"ua": {"attached": "no", "enabled_services": [], "entitled_services": []}}),
        changed(summary={"ua": None}),
        changed(packages=None),
        changed(packages=["zlib1g"]),
        changed(packages=[{"package": "zlib1g", "version": "1"}]),
        sample("attached").replace("pending_enable", "pending_something_new"),
        sample("attached").replace("2.0.0.2-2ubuntu1.3+esm5", "2.ö"),
        "[]",
        "",
    ],
)
def test_only_a_whole_answer_of_a_known_kind_is_read(text):
    with pytest.raises(ValueError):
        parse_security_status(text)


def test_a_version_that_apt_knows_but_does_not_prefer_needs_no_pro():
    text = sample("attached").replace("upgrade_available", "upgrade_available_not_preferred")
    assert [fix.needs_pro for fix in parse_security_status(text).fixes] == [False, True]


NOTHING = changed(packages=[], summary={"ua": {"attached": False, "enabled_services": [], "entitled_services": []}})


@pytest.mark.parametrize(
    ("os_release", "lists", "known"),
    [(LTS, False, False), (LTS, True, True), ('ID=ubuntu\nVERSION="25.10 (Questing Quokka)"\n', False, True)],
    ids=["LTS without ESM's lists", "LTS with them", "no LTS: there is no ESM"],
)
def test_no_fix_without_esm_lists_is_unknown_and_not_none(tmp_path, os_release, lists, known):
    (tmp_path / "answer").write_text(NOTHING)
    if lists:
        (tmp_path / ESM_LISTS).mkdir(parents=True)
        name = "esm.ubuntu.com_apps_ubuntu_dists_jammy-apps-security_main_binary-amd64_Packages"
        (tmp_path / ESM_LISTS / name).touch()
    status = ask(tmp_path, f"cat {tmp_path}/answer", os_release=os_release)
    assert isinstance(status, ProStatus) is known
    if isinstance(status, ProUnknown):
        assert "sudo apt-get update" in status.note
