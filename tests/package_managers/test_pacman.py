"""pacman on real hosts: each trap has its own, and pacman itself answers."""

import json
import os
import random
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from scanner.package_managers.command import CommandError, Runner
from scanner.package_managers.interface import Gap, Installed, PackageManagerError, Report, Update
from scanner.package_managers.pacman import Pacman, rooted
from tests.hosts.pacman import DATE, Package, PacmanHost, Repository

NOTHING_KNOWN = "[]"


@pytest.fixture
def pacman(tmp_path: Path) -> Callable[..., Pacman]:
    def make(host: PacmanHost, *groups: dict, tracker: str | None = None, seconds: float = 60, **environment) -> Pacman:
        """With the tracker's groups in a file; `tracker` names another place."""
        path = tmp_path / "tracker.json"
        path.write_text(json.dumps(groups or [group("AVG-1", "nothing-of-ours", fixed="1-1")]))
        runner = Runner(time.monotonic() + seconds, environment={**host.environment, **environment})
        return Pacman(runner, tmp_path / "private", tracker=str(path) if tracker is None else tracker)

    return make


def group(name: str, *packages: str, affected: str = "1-1", fixed: str | None = None, **more) -> dict:
    return {
        "name": name,
        "packages": list(packages),
        "status": "Fixed" if fixed else "Vulnerable",
        "severity": "High",
        "type": "multiple issues",
        "affected": affected,
        "fixed": fixed,
        "issues": [],
        "advisories": [],
        **more,
    }


def report(manager: Pacman) -> Report:
    gaps = manager.refresh(lambda percent, words: None)
    installed = manager.installed()
    findings = manager.updates(installed)
    return Report(manager.name, tuple(installed), findings, (*gaps, *findings.gaps), findings.notes)


# --- what is installed, what is offered ------------------------------------------------------------


def test_installed_packages_have_their_source_and_architecture(tmp_path, pacman):
    host = PacmanHost(tmp_path / "host", ["bash 5.2.26-1", Package("python-pip 2:24.0-1", "pip", architecture="any")])
    assert pacman(host).installed() == [
        Installed("bash", "x86_64", "5.2.26-1", "bash", "5.2.26-1"),
        Installed("python-pip", "any", "2:24.0-1", "pip", "2:24.0-1"),
    ]


def test_an_empty_database_is_an_error_not_an_empty_list(tmp_path, pacman):
    with pytest.raises(PackageManagerError, match="no installed package"):
        pacman(PacmanHost(tmp_path / "host", [])).installed()


def test_an_update_tells_its_advisories_cves_severity_repository_and_reason(tmp_path, pacman):
    host = PacmanHost(tmp_path / "host", ["curl 8.8.0-1"], Repository("core", ["curl 8.9.1-1"]))
    fix = group(
        "AVG-7", "curl", "lib32-curl", affected="8.8.0-1", fixed="8.9.0-1", issues=["CVE-2026-1"], advisories=["ASA-1"]
    )
    found = report(pacman(host, fix))
    assert found.findings.updates == (
        Update(
            "curl",
            "x86_64",
            "8.8.0-1",
            "8.9.1-1",
            "curl",
            True,
            "AVG-7 (High): fixed in 8.9.0-1.",
            ("core",),
            ("ASA-1",),
            ("CVE-2026-1",),
            "High",
            command="pacman -Syu",
        ),
    )
    assert (found.security_updates, found.gaps) == (1, ())


def test_no_updates_is_a_fact_although_pacman_then_ends_with_1(tmp_path, pacman):
    host = PacmanHost(tmp_path / "host", ["bash 5.2.26-1"], Repository("core", ["bash 5.2.26-1"]))
    found = report(pacman(host))
    assert (found.total_updates, found.security_updates, found.gaps) == (0, 0, ())


def test_an_ignored_package_is_shown_as_excluded_with_its_verdict_and_repository(tmp_path, pacman):
    host = PacmanHost(
        tmp_path / "host",
        ["linux 6.9-1", "curl 1-1"],
        Repository("core", ["linux 6.10-1", "curl 2-1"]),
        configuration="IgnorePkg = linux",
    )
    found = report(pacman(host, group("AVG-1", "linux", affected="6.9-1", fixed="6.10-1")))
    assert [(u.name, u.blocked, u.security, u.origins) for u in found.findings.updates] == [
        ("curl", None, False, ("core",)),
        ("linux", "excluded", True, ("core",)),
    ]


def test_a_replacement_is_the_update_of_what_it_replaces(tmp_path, pacman):
    """`pacman -Qu` says nothing of it. A dependency that is missing must not hide it either."""
    host = PacmanHost(
        tmp_path / "host",
        ["old 1-1", "older 1-1", "risky 1-1"],
        Repository(
            "extra",
            [
                Package("new 3-1", replaces=["old<2", "older"], depends=["not-there"]),
                Package("safe 3-1", replaces=["risky"]),
            ],
        ),
    )
    found = report(pacman(host, group("AVG-1", "risky", affected="1-1")))
    assert [(u.name, u.available_version, u.security, u.reason) for u in found.findings.updates] == [
        ("old", "3-1", False, "new 3-1 replaces it."),
        ("older", "3-1", False, "new 3-1 replaces it."),
        ("risky", "3-1", None, "safe 3-1 replaces it. It cannot be told whether that fixes AVG-1 (High)."),
    ]


def test_a_foreign_package_has_no_update(tmp_path, pacman):
    host = PacmanHost(tmp_path / "host", ["from-the-aur 1-1"], Repository("core", ["bash 1-1"]))
    assert report(pacman(host)).findings.updates == ()


# --- what is not Arch's own ----------------------------------------------------------------------------


def origins(host: PacmanHost, folder: Path) -> dict[str, str]:
    host.refresh()
    manager = Pacman(Runner(time.monotonic() + 60, environment=host.environment), folder / "private", host.root)
    found = manager.updates(manager.installed()).third_party
    assert all(architecture == "x86_64" for _, architecture in found)
    return {name: origin for (name, _), origin in found.items()}


def test_what_no_repository_has_is_built_by_hand_or_from_the_aur(tmp_path):
    host = PacmanHost(
        tmp_path / "host", ["bash 1-1", "curl 1-1", "paru 2-1"], Repository("core", ["bash 1-1", "curl 2-1"])
    )
    assert origins(host, tmp_path) == {"paru": "built by hand or from the AUR"}


def test_what_only_a_repository_of_others_has_is_third_party(tmp_path):
    host = PacmanHost(
        tmp_path / "host",
        ["bash 1-1", "tool 1-1", "both 1-1", "newer 2-1", "paru 2-1"],
        Repository("core", ["bash 1-1"]),
        Repository("chaotic-aur", ["tool 2-1", "both 1-1", "newer 1-1", "not-installed 1-1"]),
        Repository("extra", ["both 1-1"]),
    )
    assert origins(host, tmp_path) == {
        "tool": "chaotic-aur",
        "newer": "chaotic-aur",
        "paru": "built by hand or from the AUR",
    }


def test_testing_and_staging_are_arch_too(tmp_path):
    names = ["core-testing", "extra-staging", "testing", "multilib", "kde-unstable", "community"]
    repositories = [Repository(name, [f"in-{name} 1-1"]) for name in names]
    host = PacmanHost(tmp_path / "host", [f"in-{name} 1-1" for name in names], *repositories)
    assert origins(host, tmp_path) == {}


def test_what_is_replaced_was_a_package_of_arch(tmp_path):
    host = PacmanHost(
        tmp_path / "host",
        ["old 1-1", "bash 1-1"],
        Repository("core", ["bash 1-1", Package("new 1-1", replaces=["old"])]),
    )
    assert origins(host, tmp_path) == {}


def test_on_another_distribution_than_arch_nothing_is_third_party(tmp_path):
    installed = ["bash 1-1", "paru 2-1"]
    repository = Repository("core", ["bash 1-1"])
    host = PacmanHost(tmp_path / "host", installed, repository, os_release="ID=manjaro\nID_LIKE=arch\n")
    assert origins(host, tmp_path) == {}


def test_where_every_repository_has_another_name_they_are_taken_for_mirrors(tmp_path):
    host = PacmanHost(tmp_path / "host", ["bash 1-1"], Repository("our-core", ["bash 1-1"]))
    assert origins(host, tmp_path) == {}


def test_without_one_of_the_databases_nothing_is_third_party(tmp_path):
    host = PacmanHost(
        tmp_path / "host", ["bash 1-1", "vim 1-1"], Repository("core", ["bash 1-1"]), Repository("extra", ["vim 1-1"])
    )
    host.refresh()
    (host.sync / "extra.db").unlink()
    manager = Pacman(Runner(time.monotonic() + 60, environment=host.environment), tmp_path / "private", host.root)
    assert manager.updates(manager.installed()).third_party == {}


# --- what is a security update ---------------------------------------------------------------------


def test_a_fix_counts_if_it_lies_between_the_installed_and_the_available_version(tmp_path, pacman):
    names = ["at-available", "between", "already", "other-release", "not-affected", "epoch"]
    host = PacmanHost(tmp_path / "host", [f"{n} 2-1" for n in names], Repository("core", [f"{n} 4-1" for n in names]))
    found = report(
        pacman(
            host,
            group("AVG-1", "at-available", fixed="4-1"),
            group("AVG-2", "between", fixed="3-1"),
            group("AVG-3", "already", fixed="2-1"),
            group("AVG-4", "other-release", fixed="2"),
            group("AVG-5", "not-affected", affected="2-1", fixed="3-1", status="Not affected"),
            group("AVG-6", "epoch", affected="1-1", fixed="1:1-1"),
        )
    )
    assert {update.name: update.security for update in found.findings.updates} == {
        "at-available": True,
        "between": True,
        "already": False,
        "other-release": False,
        "not-affected": False,
        "epoch": False,
    }
    (gap,) = found.gaps
    assert gap.text == "Vulnerable, and no repository carries the fix: epoch 2-1 (AVG-6 (High), fixed in 1:1-1)."


def test_several_issues_of_one_package_count_once_and_the_worst_severity_wins(tmp_path, pacman):
    host = PacmanHost(tmp_path / "host", ["curl 1-1"], Repository("core", ["curl 3-1"]))
    groups = [
        group("AVG-1", "curl", fixed="2-1", severity="Low", issues=["CVE-2026-1"]),
        group("AVG-2", "curl", fixed="3-1", severity="Critical", issues=["CVE-2026-1", "CVE-2026-2"]),
    ]
    found = report(pacman(host, *groups))
    (update,) = found.findings.updates
    assert (found.security_updates, update.severity, update.cves) == (1, "Critical", ("CVE-2026-1", "CVE-2026-2"))
    assert update.advisories == ("AVG-2", "AVG-1")


def test_an_issue_without_a_fix_is_unconfirmed_above_the_version_it_was_found_in(tmp_path, pacman):
    host = PacmanHost(
        tmp_path / "host", ["above 3-1", "below 1-1", "alone 1-1"], Repository("core", ["above 4-1", "below 4-1"])
    )
    groups = [group(f"AVG-{name}", name, affected="2-1") for name in ("above", "below", "alone")]
    found = report(pacman(host, *groups))
    updates = {update.name: update for update in found.findings.updates}
    assert (updates["above"].security, updates["below"].security) == (False, None)
    assert "AVG-above (High) is unconfirmed for 3-1" in updates["above"].reason
    assert "the tracker does not say whether 4-1 fixes it" in updates["below"].reason
    assert found.notes == (
        "Vulnerable, and no fix is known: alone 1-1 (AVG-alone (High)), below 1-1 (AVG-below (High)).",
    )
    assert found.gaps == ()


def test_without_data_of_the_tracker_security_is_unknown_and_it_is_said_how_to_get_it(tmp_path, pacman):
    host = PacmanHost(tmp_path / "host", ["curl 1-1"], Repository("core", ["curl 2-1"]))
    found = report(pacman(host, tracker=""))
    assert (found.findings.updates[0].security, found.security_updates, found.total_updates) == (None, None, 1)
    assert "Set ARCH_TRACKER to https://security.archlinux.org/all.json" in found.gaps[0].text


@pytest.mark.parametrize(
    "text", ["", "<html>", "[]", '{"error": 1}', '[{"name": "AVG-1"}]', '[{"packages": 3}]', "[3]"]
)
def test_a_tracker_file_with_nonsense_leaves_security_unknown(tmp_path, pacman, text):
    host = PacmanHost(tmp_path / "host", ["curl 1-1"], Repository("core", ["curl 2-1"]))
    (tmp_path / "broken.json").write_text(text)
    found = report(pacman(host, tracker=str(tmp_path / "broken.json")))
    assert found.security_updates is None
    assert "could not be read" in found.gaps[0].text


def test_a_tracker_file_that_does_not_exist_is_named(tmp_path, pacman):
    host = PacmanHost(tmp_path / "host", ["curl 1-1"], Repository("core", ["curl 2-1"]))
    found = report(pacman(host, tracker=str(tmp_path / "no.json")))
    assert (found.security_updates, "no.json) does not exist" in found.gaps[0].text) == (None, True)


# --- the tracker's list at an address --------------------------------------------------------------


class Server:
    """The tracker, on this machine: what it answers, and what it was asked."""

    def __init__(self) -> None:
        self.body = json.dumps([group("AVG-1", "curl", fixed="2-1")]).encode()
        self.status = 200
        self.pause = 0.0
        self.asked: list[str | None] = []


@pytest.fixture
def server() -> Iterator[tuple[Server, str]]:
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.asked.append(self.headers["If-Modified-Since"])
            status = 304 if state.status == 200 and state.asked[-1] else state.status
            self.send_response(status)
            self.send_header("Content-Length", str(len(state.body) if status == 200 else 0))
            self.end_headers()
            for byte in state.body if status == 200 else b"":
                self.wfile.write(bytes((byte,)))
                if state.pause:
                    time.sleep(state.pause)

        def log_message(self, *_: object) -> None:
            pass

    listening = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=listening.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield state, f"http://127.0.0.1:{listening.server_port}/all.json"
    listening.shutdown()
    listening.server_close()


def test_the_list_is_fetched_kept_and_fetched_again_only_if_it_has_changed(tmp_path, pacman, server):
    state, address = server
    host = PacmanHost(tmp_path / "host", ["curl 1-1"], Repository("core", ["curl 2-1"]))
    manager = pacman(host, tracker=address)
    assert report(manager).security_updates == 1
    assert report(manager).security_updates == 1
    assert [word is None for word in state.asked] == [True, False]


def test_after_a_failed_fetch_the_kept_list_is_used_and_its_age_is_said(tmp_path, pacman, server):
    state, address = server
    host = PacmanHost(tmp_path / "host", ["curl 1-1"], Repository("core", ["curl 2-1"]))
    manager = pacman(host, tracker=address)
    report(manager)
    os.utime(tmp_path / "private/arch-tracker.json", (DATE, DATE))
    state.status = 500
    found = report(manager)
    assert (found.security_updates, len(found.gaps)) == (1, 1)
    assert "Its copy of 2026-05-28 is used." in found.gaps[0].text


def test_a_list_that_was_never_fetched_leaves_security_unknown(tmp_path, pacman):
    host = PacmanHost(tmp_path / "host", ["curl 1-1"], Repository("core", ["curl 2-1"]))
    found = report(pacman(host, tracker="http://127.0.0.1:9/all.json"))
    assert found.security_updates is None
    assert [gap.text.split(" (")[0][:44] for gap in found.gaps] == [
        "The Arch security tracker could not be fetch",
        "The list of the Arch security tracker",
    ]


def test_a_server_that_sends_byte_by_byte_is_left_at_the_time_limit(tmp_path, pacman, server):
    state, address = server
    state.pause = 0.05
    host = PacmanHost(tmp_path / "host", ["curl 1-1"], Repository("core", ["curl 2-1"]))
    manager = pacman(host, tracker=address, seconds=1)
    (gap,) = manager.refresh(lambda percent, words: None)
    assert "did not come within the time limit" in gap.text


# --- what cannot be known --------------------------------------------------------------------------


def test_without_any_database_nothing_is_known_and_that_is_an_error(tmp_path, pacman):
    host = PacmanHost(tmp_path / "host", ["bash 1-1"], Repository("core", ["bash 2-1"]))
    with pytest.raises(PackageManagerError, match="no database of any of its 1 repositories"):
        pacman(host).updates([])


def test_a_host_without_any_repository_is_an_error_not_secure(tmp_path, pacman):
    with pytest.raises(PackageManagerError, match="pacman has no repository"):
        pacman(PacmanHost(tmp_path / "host", ["bash 1-1"])).updates([])


def test_a_missing_database_is_a_gap(tmp_path, pacman):
    host = PacmanHost(
        tmp_path / "host", ["bash 1-1"], Repository("core", ["bash 1-1"]), Repository("extra", ["curl 2-1"])
    )
    host.refresh()
    (host.sync / "extra.db").unlink()
    manager = pacman(host)
    found = manager.updates(manager.installed())
    assert found.gaps == (Gap("The database of repository extra is missing."),)


@pytest.mark.parametrize("damage", [lambda data: b"no database", lambda data: data[: len(data) // 2]])
def test_a_damaged_database_is_a_gap_although_pacman_ends_well(tmp_path, pacman, damage):
    host = PacmanHost(
        tmp_path / "host", ["bash 1-1", "curl 1-1"], Repository("core", ["bash 2-1"]), Repository("extra", ["curl 2-1"])
    )
    host.refresh()
    (host.sync / "extra.db").write_bytes(damage((host.sync / "extra.db").read_bytes()))
    manager = pacman(host)
    found = manager.updates(manager.installed())
    assert [update.name for update in found.updates] == ["bash"]
    (gap,) = found.gaps
    assert gap.security
    assert "extra.db" in gap.text


def test_a_server_that_is_down_is_a_gap_and_the_last_databases_are_used_with_their_age(tmp_path, pacman):
    host = PacmanHost(tmp_path / "host", ["bash 1-1"], Repository("core", ["bash 2-1"]))
    host.refresh()
    os.utime(host.sync, (DATE, DATE))
    host.take_down("core")
    found = report(pacman(host))
    (gap,) = found.gaps
    assert "failed retrieving file 'core.db'" in gap.text
    assert "Check that the host can reach its mirrors" in gap.text
    assert [update.name for update in found.findings.updates] == ["bash"]
    assert found.findings.metadata_date is not None
    assert found.findings.metadata_date.timestamp() == DATE


def test_a_refresh_leaves_the_hosts_own_databases_as_they_are(tmp_path, pacman):
    host = PacmanHost(tmp_path / "host", ["bash 1-1"], Repository("core", ["bash 2-1"]))
    host.refresh()
    host.publish(Repository("core", ["bash 3-1"]), DATE + 60)
    before = state_of(host)
    found = report(pacman(host))
    assert [update.available_version for update in found.findings.updates] == ["3-1"]
    assert state_of(host) == before


def state_of(host: PacmanHost) -> dict[Path, tuple[int, int]]:
    return {path: (path.stat().st_size, path.stat().st_mtime_ns) for path in host.root.rglob("*")}


def test_a_second_refresh_sees_what_was_published_since(tmp_path, pacman):
    host = PacmanHost(tmp_path / "host", ["bash 1-1"], Repository("core", ["bash 1-1"]))
    manager = pacman(host)
    assert report(manager).total_updates == 0
    host.publish(Repository("core", ["bash 2-1"]), DATE + 60)
    assert report(manager).total_updates == 1
    host.install("bash 2-1")
    assert report(manager).total_updates == 0


def test_a_damaged_copy_of_ours_does_not_outlive_the_next_refresh(tmp_path, pacman):
    host = PacmanHost(tmp_path / "host", ["bash 1-1"], Repository("core", ["bash 2-1"]))
    manager = pacman(host)
    report(manager)
    own = tmp_path / "private/databases/sync/core.db"
    own.write_bytes(b"no database")
    os.utime(own, (DATE, DATE))  # pacman would take it for what the server has
    assert report(manager).gaps
    found = report(manager)
    assert (found.total_updates, found.gaps) == (1, ())


def test_a_pacman_at_work_on_the_host_or_a_stopped_scan_of_ours_does_not_lock_us_out(tmp_path, pacman):
    host = PacmanHost(tmp_path / "host", ["bash 1-1"], Repository("core", ["bash 2-1"]))
    manager = pacman(host)
    for folder in (host.sync.parent, tmp_path / "private/databases"):
        (folder / "db.lck").touch()
    found = report(manager)
    assert (found.total_updates, found.gaps) == (1, ())


def test_anyone_may_refresh_by_believing_to_be_root(tmp_path, pacman, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    host = PacmanHost(tmp_path / "host", ["bash 1-1"], Repository("core", ["bash 2-1"]))
    assert report(pacman(host)).total_updates == 1


def test_pacman_7_is_told_not_to_drop_the_rights_that_fakeroot_only_pretends(tmp_path, pacman):
    """pacman 7 is not here: a program that answers as its documentation says."""
    host = PacmanHost(tmp_path / "host", ["bash 1-1"], Repository("core", ["bash 2-1"]))
    program(host, "pacman", f'case "$1" in -Sh) echo "  --disable-sandbox";; *) echo "$@" >> {tmp_path}/asked;; esac')
    pacman(host).refresh(lambda percent, words: None)
    assert "--disable-sandbox" in (tmp_path / "asked").read_text().split()


def test_without_fakeroot_the_gap_says_what_to_install(tmp_path, pacman, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    host = PacmanHost(tmp_path / "host", ["bash 1-1"], Repository("core", ["bash 2-1"]))
    (gap,) = pacman(host, PATH=str(host.bin)).refresh(lambda percent, words: None)
    assert "Install fakeroot" in gap.text


def test_a_german_administrator_sees_the_same_numbers(tmp_path, pacman):
    host = PacmanHost(
        tmp_path / "host",
        ["bash 1-1", "curl 1-1", "old 1-1"],
        Repository("core", ["bash 2-1", "curl 2-1", Package("new 1-1", replaces=["old"])]),
        configuration="IgnorePkg = curl",
    )
    found = report(pacman(host, LANG="de_DE.UTF-8", LC_ALL="de_DE.UTF-8", LANGUAGE="de"))
    assert [(u.name, u.blocked) for u in found.findings.updates] == [
        ("bash", None),
        ("curl", "excluded"),
        ("old", None),
    ]


def test_another_root_is_scanned_by_its_own_configuration(tmp_path):
    host = PacmanHost(tmp_path / "host", ["bash 1-1"], Repository("core", ["bash 2-1"]))
    manager = Pacman(Runner(time.monotonic() + 60), tmp_path / "private", host.root, tracker="")
    assert Pacman.has_database(host.root)
    assert not Pacman.has_database(tmp_path)
    assert report(manager).total_updates == 1


def test_the_paths_of_another_roots_configuration_lie_below_that_root():
    text = (
        "[options]\nRootDir = /\nDBPath = /var/lib/pacman/\n#LogFile = /x\n[core]\nInclude = /etc/pacman.d/mirrorlist\n"
    )
    assert rooted(text, Path("/srv/arch")) == (
        "[options]\n\nDBPath = /srv/arch/var/lib/pacman\n#LogFile = /x\n[core]\n"
        "Include = /srv/arch/etc/pacman.d/mirrorlist\n"
    )


# --- broken programs -------------------------------------------------------------------------------


def program(host: PacmanHost, name: str, script: str) -> None:
    (host.bin / name).write_text(f"#!/bin/sh\n{script}\n")


def test_a_missing_program_is_named(tmp_path, pacman):
    host = PacmanHost(tmp_path / "host", ["bash 1-1"])
    with pytest.raises(CommandError, match="pacman is not installed"):
        pacman(host, PATH=str(tmp_path)).installed()


def test_a_hanging_program_is_stopped(tmp_path, pacman):
    host = PacmanHost(tmp_path / "host", ["bash 1-1"])
    program(host, "pacman", "sleep 600")
    with pytest.raises(CommandError, match="time limit"):
        pacman(host, seconds=0.5).installed()


def test_a_program_that_answers_nonsense_is_a_gap(tmp_path, pacman):
    host = PacmanHost(tmp_path / "host", ["bash 1-1"], Repository("core", ["bash 2-1"]))
    host.refresh()
    program(host, "pacman", "echo lorem ipsum dolor")
    found = pacman(host).updates([])
    assert any("lorem ipsum dolor" in gap.text and gap.security for gap in found.gaps)


def test_a_failure_is_told_in_pacmans_own_last_words_with_the_next_step(tmp_path, pacman):
    host = PacmanHost(tmp_path / "host", ["bash 1-1"], Repository("core", ["bash 2-1"]))
    shutil.rmtree(host.root / "var/lib/pacman")
    with pytest.raises(PackageManagerError) as caught:
        pacman(host).installed()
    assert "failed to initialize alpm library" in caught.value.message
    assert "Is this the right root?" in caught.value.next_step


# --- against pacman itself -------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_a_generated_host_has_the_same_updates_as_pacman_itself_tells(tmp_path, pacman, seed):
    chance = random.Random(seed)

    def version() -> str:
        number = ".".join(str(chance.choice((0, 1, 2, 9, 10))) for _ in range(chance.randint(1, 3)))
        epoch, suffix = chance.choice(("", "", "1:")), chance.choice(("", "rc1", ".r5.gabc", "+2"))
        return f"{epoch}{number}{suffix}-{chance.randint(1, 11)}"

    names = [f"package{number}" for number in range(200)]
    host = PacmanHost(
        tmp_path / "host",
        [f"{name} {version()}" for name in names],
        Repository("core", [f"{name} {version()}" for name in names[:150] if chance.random() < 0.8]),
        Repository("extra", [f"{name} {version()}" for name in names[100:] if chance.random() < 0.8]),
        configuration="IgnorePkg = package1*",
    )
    host.refresh()
    lines = [line.split() for line in host.run("pacman", "-Qu").splitlines()]
    found = report(pacman(host)).findings
    assert {(u.name, u.installed_version, u.available_version, u.blocked) for u in found.updates} == {
        (words[0], words[1], words[3], "excluded" if words[4:] else None) for words in lines
    }
    assert len(lines) > 30
    assert all(len(update.origins) == 1 for update in found.updates)
