"""`manage.py scan_system_packages` as a user, cron or a script runs it: a process of its own."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from scanner.document import UPDATE_FIELDS
from tests.hosts.apt import DEBIAN, SECURITY, AptHost, Deb

CHECKOUT = Path(__file__).resolve().parents[2]


@pytest.fixture
def host(tmp_path: Path) -> AptHost:
    published = {SECURITY: [Deb("openssl", "3.0.2")], DEBIAN: [Deb("vim", "9.1")]}
    return AptHost(tmp_path, [Deb("openssl", "3.0.1"), Deb("vim", "9.0", held=True)], published)


@pytest.fixture
def database(host: AptHost, migrated: Path) -> Path:
    data = host.root.parent / "data"
    data.mkdir(mode=0o700)
    return Path(shutil.copy(migrated, data))


def command(host: AptHost, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Cron's minimal environment, plus what leads apt to the test's host; the database is a fresh SQLite file."""
    return subprocess.run(
        [sys.executable, str(CHECKOUT / "manage.py"), *words],
        env={**host.environment, "SCANNER_DATA": str(host.root.parent / "data"), "SCAN_HOST": "web-1", **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        stdin=subprocess.DEVNULL,
    )


def scan(host: AptHost, *words: str, **environment: str) -> tuple[int, dict[str, Any]]:
    done = command(host, "scan_system_packages", "--json", *words, **environment)
    return done.returncode, json.loads(done.stdout)


def test_json_is_one_document_on_stdout_and_needs_no_database(host: AptHost) -> None:
    code, found = scan(host)
    assert (code, found["id"], found["host"], found["state"], found["error"]) == (0, None, "web-1", "completed", None)
    assert (found["security_updates"], found["total_updates"], found["total_packages"]) == (1, 2, 2)
    assert (found["status"], found["status_label"], found["package_manager"]) == ("warning", "Low Risk", "apt")
    openssl, vim = found["updates"]
    assert (openssl["name"], openssl["security"], openssl["origins"]) == (
        "openssl",
        True,
        ["Debian-Security:bookworm-security"],
    )
    assert (vim["security"], vim["held"], vim["blocked"]) == (False, True, None)
    assert found["packages"][0] == {
        "name": "openssl",
        "architecture": "amd64",
        "version": "3.0.1",
        "source": "openssl",
        "source_version": "3.0.1",
        "module": "",
        "third_party": "",
    }
    assert not (host.root.parent / "data/db.sqlite3").exists()


def test_a_failed_scan_exits_1_with_the_document_all_the_same(host: AptHost) -> None:
    host.replace_program("apt-cache", "#!/bin/sh\necho 'E: it is broken' >&2\nexit 100\n")
    code, found = scan(host, "--no-refresh")
    assert (code, found["state"], found["status"], found["security_updates"]) == (1, "failed", "unknown", None)
    assert "it is broken" in found["error"]


@pytest.mark.parametrize(
    "words",
    [("--frobnicate",), ("--root", "/nonexistent"), ("--root", "/", "--save"), ("--package-manager", "portage")],
)
def test_wrong_usage_exits_2_and_prints_nothing_on_stdout(host: AptHost, words: tuple[str, ...]) -> None:
    done = command(host, "scan_system_packages", "--json", *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr and "Traceback" not in done.stderr


def test_the_table_says_what_matters_first(host: AptHost) -> None:
    done = command(host, "scan_system_packages")
    lines = done.stdout.splitlines()
    assert lines[0].startswith("web-1: Low Risk. 1 security update, 2 updates, 2 packages (apt")
    assert lines[3].split() == ["security", "openssl:amd64", "3.0.1", "3.0.2"]
    assert lines[4].split() == ["vim:amd64", "9.0", "9.1", "held"]


def test_a_saved_scan_needs_a_database_and_says_so(host: AptHost) -> None:
    done = command(host, "scan_system_packages", "--save")
    assert done.returncode == 1
    assert "manage.py migrate" in done.stderr and "Traceback" not in done.stderr


def test_a_saved_scan_is_stored_without_broker_or_worker(host: AptHost, database: Path) -> None:
    code, found = scan(host, "--save")
    assert (code, found["id"], found["state"], found["security_updates"]) == (0, 1, "completed", 1)
    passing = scan(host, "--no-refresh")[1]
    assert found == {**passing, **{key: found[key] for key in (*PER_SCAN, *ONLY_STORED)}}
    assert found["fix_first"]["name"] == "openssl" and all(passing[key] is None for key in EXPOSED)
    assert [shape(update) for update in found["updates"]] == [shape(update) for update in passing["updates"]]


def shape(update: dict[str, Any]) -> dict[str, Any]:
    return {name: update[name] for name in UPDATE_FIELDS}


EXPOSED = ("cves", "oldest_security_update_hours", "late_security_updates", "fix_first")
ONLY_STORED = ("updates", *EXPOSED)  # what takes a look into the database
PER_SCAN = ("id", "url", "scan_date", "metadata_date", "duration_seconds", "services_to_restart", "services_reason")


def test_another_root_is_scanned_with_no_environment_of_its_own(host: AptHost) -> None:
    environment = {"APT_CONFIG": "", "DPKG_ADMINDIR": "", "HOME": str(host.home)}
    code, found = scan(host, "--root", str(host.root), "--host", "image", **environment)
    assert (code, found["host"], found["security_updates"], found["total_packages"]) == (0, "image", 1, 2)


def test_tokens_are_printed_once_and_stored_as_a_hash(host: AptHost, database: Path) -> None:
    done = command(host, "create_api_token", "grafana", "--scope", "read")
    assert done.returncode == 0 and done.stdout.startswith("scanner_")
    assert done.stdout.strip().encode() not in database.read_bytes()
