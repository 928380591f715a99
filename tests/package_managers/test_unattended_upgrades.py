"""Logs of unattended-upgrades: documented samples, with an answer that a person worked out, and real files."""

import gzip
import json
import os
import pwd
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from scanner.package_managers.unattended_upgrades import LOG, TAIL, language_of, notes, parse

SAMPLES = Path(__file__).parents[1] / "recorded/unattended_upgrades"
ANSWERS = json.loads((SAMPLES / "answer.json").read_text())
BERLIN = ZoneInfo("Europe/Berlin")
NOW = datetime(2026, 11, 23, 7, 0, tzinfo=UTC)
GERMAN = {
    "": "Content-Type: text/plain; charset=UTF-8\n",
    "Starting unattended upgrades script": "Skript für automatische Systemaktualisierung wird gestartet",
    "Packages that will be upgraded: %s": "Pakete, welche aktualisiert werden: %s",
    "All upgrades installed": "Alle Systemaktualisierungen installiert",
}
NOTHING_FOUND = """\
2026-11-22 06:00:00,001 INFO Starting unattended upgrades script
2026-11-22 06:00:09,001 INFO No packages found that can be upgraded unattended and no pending auto-removals
"""
DOWNLOAD = """\
2026-11-23 02:00:00,001 INFO Starting unattended upgrades script
2026-11-23 02:00:00,002 INFO Allowed origins are: o=Ubuntu,a=noble-security
2026-11-23 02:00:00,002 INFO Initial blacklist: docker
"""


def sample(name: str) -> str:
    return (SAMPLES / f"{name}.log").read_text()


def host(folder: Path, log: str = "", zone: str = "Europe/Berlin") -> Path:
    """A host in this zone that keeps this log."""
    path = folder / LOG
    path.parent.mkdir(parents=True)
    path.write_text(log)
    (folder / "etc").mkdir()
    (folder / "etc/localtime").symlink_to(f"/usr/share/zoneinfo/{zone}")
    return folder


def install_catalogue(root: Path, language: str, sentences: dict[str, str]) -> None:
    """gettext's own format: a header, two tables of (length, offset), the texts."""
    pairs = sorted((key.encode(), value.encode()) for key, value in sentences.items())
    offset, tables, texts = 28 + 16 * len(pairs), b"", b""
    for text in (*(key for key, _ in pairs), *(value for _, value in pairs)):
        tables += struct.pack("<II", len(text), offset + len(texts))
        texts += text + b"\0"
    header = struct.pack("<7I", 0x950412DE, 0, len(pairs), 28, 28 + 8 * len(pairs), 0, 0)
    path = root / f"usr/share/locale/{language}/LC_MESSAGES/unattended-upgrades.mo"
    path.parent.mkdir(parents=True)
    path.write_bytes(header + tables + texts)


@pytest.mark.parametrize("name", ANSWERS)
def test_the_documented_logs_are_read_as_a_person_reads_them(tmp_path, name):
    install_catalogue(tmp_path, "de", GERMAN)
    text = sample(name)
    found = parse(text, BERLIN, language_of(text, tmp_path))
    start, installed, left, errors, unfinished = ANSWERS[name]
    assert found.last_run and found.last_run.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S") == start
    assert list(found.installed) == installed
    assert list(found.left) == left
    assert len(found.errors) == errors
    assert list(found.unfinished) == unfinished


def test_a_person_is_told_when_it_ran_and_what_it_left(tmp_path):
    assert notes(host(tmp_path, sample("kept")), now=NOW) == (
        "unattended-upgrades last ran 2 days ago (2026-11-21 06:12) and left 3 packages "
        "(initramfs-tools-core, docker.io, postgresql-15).",
    )


def test_a_failed_run_is_told_with_its_own_words(tmp_path):
    ran, errors = notes(host(tmp_path, sample("failed")), now=NOW)
    assert "set out to install 2 packages (libssl3, openssl) and left 2 packages" in ran
    assert errors.startswith("unattended-upgrades reported in that run: Installing the upgrades failed!; error message")


def test_a_log_that_ends_in_the_middle_of_a_run_says_so(tmp_path):
    ran, middle = notes(host(tmp_path, sample("interrupted")), now=NOW)
    assert "set out to install 2 packages (curl, libcurl4)." in ran
    assert "ends in the middle of that run" in middle


def test_a_run_that_found_nothing_is_told(tmp_path):
    (note,) = notes(host(tmp_path, NOTHING_FOUND), now=NOW)
    assert note == "unattended-upgrades last ran 1 day ago (2026-11-22 06:00) and found nothing to install."


def test_a_run_on_battery_is_told_and_is_not_the_run_before(tmp_path):
    log = NOTHING_FOUND + "2026-11-23 06:00:00,001 WARNING System is on battery power, stopping\n"
    ran, why = notes(host(tmp_path, log), now=NOW)
    assert ran == "unattended-upgrades last ran 2 hours ago (2026-11-23 06:00) and did not come to its end."
    assert why.endswith("System is on battery power, stopping")


def test_a_run_in_minimal_steps_that_left_one_has_installed_the_others():
    log = """\
2026-11-22 06:00:00,001 INFO Starting unattended upgrades script
2026-11-22 06:00:01,001 INFO Packages that will be upgraded: curl openssl
2026-11-22 06:00:02,001 INFO While building minimal partition: cache has not allowed changes
2026-11-22 06:00:09,001 INFO Package openssl is marked to be held back.
"""
    found = parse(log, UTC)
    assert (found.installed, found.left, found.unfinished) == (("curl",), ("openssl",), ())


def test_a_german_log_without_the_german_catalogue_is_not_called_a_run_that_did_nothing(tmp_path):
    (note,) = notes(host(tmp_path, sample("german")), now=NOW)
    assert note.endswith("tells of no run that installed or looked for updates.")


def test_a_damaged_catalogue_does_not_stop_the_scan(tmp_path):
    root = host(tmp_path, NOTHING_FOUND)
    install_catalogue(root, "de", GERMAN)
    next(root.glob("usr/share/locale/de/LC_MESSAGES/*")).write_bytes(b"no catalogue")
    assert "found nothing" in notes(root, now=NOW)[0]


def test_many_names_are_cut_short(tmp_path):
    names = " ".join(f"package-{number}" for number in range(25))
    log = f"""\
2026-11-22 06:00:00,001 INFO Starting unattended upgrades script
2026-11-22 06:00:01,001 INFO Packages that will be upgraded: {names}
2026-11-22 06:00:09,001 INFO All upgrades installed
"""
    (note,) = notes(host(tmp_path, log), now=NOW)
    assert "installed 25 packages (package-0, " in note
    assert "package-9 and 15 more)" in note


def test_a_time_is_the_hosts_local_one_and_not_this_programs(tmp_path, monkeypatch):
    monkeypatch.setenv("TZ", "Pacific/Auckland")  # as Django sets it for its own process
    (note,) = notes(host(tmp_path, NOTHING_FOUND, "America/New_York"), now=NOW)
    assert "20 hours ago (2026-11-22 06:00)" in note


def test_a_host_without_a_zone_lives_in_utc(tmp_path):
    root = host(tmp_path, NOTHING_FOUND)
    (root / "etc/localtime").unlink()
    assert "1 day ago (2026-11-22 06:00)" in notes(root, now=NOW)[0]


@pytest.mark.parametrize(
    ("age", "words"),
    [
        (timedelta(seconds=20), "just now"),
        (timedelta(hours=-1), "just now"),  # a clock that was set back
        (timedelta(minutes=1), "1 minute ago"),
        (timedelta(hours=23, minutes=59), "23 hours ago"),
        (timedelta(days=40), "40 days ago"),
    ],
)
def test_the_age_of_a_run_is_said_in_words(tmp_path, age, words):
    start = datetime(2026, 11, 22, 6, 0, tzinfo=BERLIN)
    assert f"last ran {words} (" in notes(host(tmp_path, NOTHING_FOUND), now=start + age)[0]


# --- files ----------------------------------------------------------------------------------------


def test_without_a_log_there_is_no_note(tmp_path):
    assert notes(tmp_path) == ()
    (tmp_path / LOG).parent.mkdir(parents=True)
    assert notes(tmp_path) == ()


def test_an_empty_log_without_an_older_one_is_a_log_of_no_run(tmp_path):
    (note,) = notes(host(tmp_path), now=NOW)
    assert note.endswith("tells of no run that installed or looked for updates.")


@pytest.mark.parametrize("current", ["", DOWNLOAD], ids=["empty", "only a download"])
@pytest.mark.parametrize("suffix", [".1", ".1.gz"])
def test_the_day_after_logrotate_the_older_log_tells(tmp_path, current, suffix):
    root = host(tmp_path, current)
    older = NOTHING_FOUND.encode()
    (root / f"{LOG}{suffix}").write_bytes(gzip.compress(older) if suffix == ".1.gz" else older)
    assert "2026-11-22 06:00" in notes(root, now=NOW)[0]


def test_the_older_log_is_not_asked_where_the_current_one_tells(tmp_path):
    root = host(tmp_path, NOTHING_FOUND)
    (root / f"{LOG}.1.gz").write_bytes(b"damaged")
    assert "2026-11-22 06:00" in notes(root, now=NOW)[0]


@pytest.mark.parametrize("data", [b"no gzip", gzip.compress(NOTHING_FOUND.encode())[:40]], ids=["damaged", "cut off"])
def test_a_damaged_older_log_could_not_be_read(tmp_path, data):
    root = host(tmp_path)
    (root / f"{LOG}.1.gz").write_bytes(data)
    assert "could not be read" in notes(root, now=NOW)[0]


def test_a_folder_in_place_of_the_log_could_not_be_read(tmp_path):
    (tmp_path / LOG).mkdir(parents=True)
    (note,) = notes(tmp_path)
    assert note.endswith("could not be read: Is a directory.")


def test_of_a_huge_log_only_the_end_is_read(tmp_path):
    root = host(tmp_path)
    with (root / LOG).open("wb") as file:
        file.truncate(20 << 30)  # 20 GiB of nothing, then a run
        file.seek(0, os.SEEK_END)
        file.write(b"\n" + NOTHING_FOUND.encode())
    assert "found nothing" in notes(root, now=NOW)[0]


def test_of_a_huge_older_log_only_the_end_is_read(tmp_path):
    root = host(tmp_path)
    filler = b"2026-01-01 06:00:00,001 DEBUG pkg is on hold\n" * (3 * TAIL // 44)
    (root / f"{LOG}.1.gz").write_bytes(gzip.compress(filler + NOTHING_FOUND.encode(), 1))
    assert "found nothing" in notes(root, now=NOW)[0]


@pytest.mark.parametrize("garbage", ["\0" * 4000, "2026-99-99 06:00:00,001 ERROR x\n", "ü" * 999, "2026-11-22\n\n"])
def test_garbage_is_no_run(tmp_path, garbage):
    (note,) = notes(host(tmp_path, garbage), now=NOW)
    assert note.endswith("tells of no run that installed or looked for updates.")


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user may look into, unlike tmp_path."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def notes_of_nobody(root: Path) -> str:
    """The notes that an unprivileged user gets: root may read everything, whatever the permissions."""
    code = f"""
import sys
sys.path[:] = {sys.path!r}
from pathlib import Path
from scanner.package_managers.unattended_upgrades import notes
import os
os.setgroups([]), os.setgid(65534), os.setuid(65534)
print(*notes(Path({str(root)!r})), sep="\\n")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_who_may_not_read_the_log_is_told_so_with_the_command(open_folder):
    root = host(open_folder, NOTHING_FOUND)
    (root / LOG).chmod(0o600 if os.geteuid() == 0 else 0o000)
    said = notes_of_nobody(root) if os.geteuid() == 0 else notes(root)[0]
    user = pwd.getpwuid(os.geteuid() or 65534).pw_name
    assert "may not be read by this user" in said
    assert f"Run `sudo setfacl -m u:{user}:r {root / LOG}`." in said


def test_who_is_not_in_the_logs_group_is_told_to_join_it(open_folder):
    root = host(open_folder, NOTHING_FOUND)
    folder = (root / LOG).parent
    if os.geteuid() == 0:
        os.chown(folder, 0, 4)  # adm, as the package's postinst does; only root can give a file to another group
    folder.chmod(0o750)
    said = notes_of_nobody(root) if os.geteuid() == 0 else notes(root)[0]
    command = f"Run `sudo usermod -aG adm {pwd.getpwuid(65534).pw_name}` and start the scanner again."
    assert command in said if os.geteuid() == 0 else "may not be read" not in said
