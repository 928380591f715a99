"""`manage.py setup_package_scanner_schedule`: the units, the crontab line, and the command around them.

systemd cannot be pid 1 where these tests run. What can be real is: `systemd-analyze` reads the units and the times,
systemd's own test mode says how it understands them, and the crontab line scans a real apt host. `systemctl` and
`loginctl` are stand-ins, found first on PATH: they write down how they were called, and answer from files.
"""

import os
import pwd
import re
import shutil
import sqlite3
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from django.core.management import CommandError, call_command
from django.test import override_settings

from scanner import schedule
from scanner.management.commands import setup_package_scanner_schedule
from scanner.schedule import SERVICE, TIMER, Installation, Schedule
from tests.hosts.apt import DEBIAN, SECURITY, AptHost, Deb
from tests.test_settings import DOCUMENTED

CHECKOUT = Path(__file__).resolve().parents[2]
STRANGE = "we ird %h $HOME 'é' \"q\\b\\\\ a=b 100%"
CRON = {"PATH": "/usr/bin:/bin", "SHELL": "/bin/sh", "LOGNAME": "somebody"}  # with HOME all that cron gives

SYSTEMCTL = """\
#!/bin/sh
echo "systemctl $*" >> {folder}/calls
case " $* " in
    *" --property=Version "*) cat {folder}/version ;;
    *" show package-scanner.timer "*) cat {folder}/timer ;;
    *" show package-scanner.service "*) cat {folder}/service ;;
    *" restart package-scanner.timer "*) cp {folder}/timer.on {folder}/timer ;;
    *" disable --now package-scanner.timer "*) cp {folder}/timer.gone {folder}/timer ;;
esac
"""
TIMER_ON = """\
LoadState=loaded
ActiveState=active
UnitFileState=enabled
NeedDaemonReload=no
Description=Package scan, daily at 02:00
LastTriggerUSec=Mon 2026-11-23 02:11:03 UTC
NextElapseUSecRealtime=Tue 2026-11-24 02:17:44 UTC
FragmentPath=/home/somebody/.config/systemd/user/package-scanner.timer
"""
TIMER_GONE = "LoadState=not-found\nActiveState=inactive\nUnitFileState=\nNeedDaemonReload=no\n"
SERVICE_ENDED = """\
ActiveState=inactive
Result=success
ExecMainStatus=0
ExecMainStartTimestamp=Mon 2026-11-23 02:11:04 UTC
ExecMainExitTimestamp=Mon 2026-11-23 02:11:09 UTC
"""
INSTALL = ["daemon-reload", f"enable {TIMER}", f"restart {TIMER}"]


class Desk:
    """Somebody's command line: a home, a data folder, and stand-ins for systemd's programs."""

    def __init__(self, folder: Path, data: str = "data") -> None:
        self.folder = folder
        self.programs = folder / "stand-ins"
        self.data = folder / data
        self.units = folder / "home/.config/systemd/user"
        self.programs.mkdir()
        self.program("systemctl", SYSTEMCTL.format(folder=folder))
        self.program("loginctl", f'#!/bin/sh\necho "loginctl $*" >> {folder}/calls\ncat {folder}/linger\n')
        self.program("sudo", f'#!/bin/sh\necho "sudo $*" >> {folder}/calls\nexit 1\n')
        self.answer("version", "Version=252.38\n")
        self.answer("timer", TIMER_GONE)
        self.answer("timer.gone", TIMER_GONE)
        self.answer("timer.on", TIMER_ON)
        self.answer("service", SERVICE_ENDED)
        self.answer("linger", "Linger=yes\n")

    def program(self, name: str, script: str) -> None:
        (self.programs / name).write_text(script)
        (self.programs / name).chmod(0o755)

    def answer(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text)

    def break_bus(self) -> None:
        self.program("systemctl", "#!/bin/sh\necho 'Failed to connect to bus: No medium found' >&2\nexit 1\n")

    @property
    def environment(self) -> dict[str, str]:
        path = f"{self.programs}:{CRON['PATH']}"
        return {**CRON, "PATH": path, "HOME": str(self.folder / "home"), "SCANNER_DATA": str(self.data)}

    def setup(self, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """The command in this process: nearly all that it takes as a process of its own is Django's start."""
        self.data.mkdir(mode=0o700, exist_ok=True)
        code, output, errors = 0, StringIO(), StringIO()
        with (
            patch.dict(os.environ, self.environment | environment, clear=True),
            override_settings(SCANNER_DATA=self.data),
            redirect_stdout(output),
            redirect_stderr(errors),
        ):
            try:
                setup_package_scanner_schedule.Command().run_from_argv(["manage.py", schedule.SETUP, *words])
            except SystemExit as end:
                code = int(end.code or 0)
        return subprocess.CompletedProcess(words, code, output.getvalue(), errors.getvalue())

    def setup_as_process(
        self, *words: str, manage: Path = CHECKOUT / "manage.py", **environment: str
    ) -> subprocess.CompletedProcess[str]:
        return self.run([sys.executable, str(manage), schedule.SETUP, *words], **environment)

    def run(self, argv: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
        """As from cron: no terminal, and stdin is not there at all."""
        return subprocess.run(
            ["/bin/sh", "-c", 'exec "$@" <&-', "sh", *argv],
            env=self.environment | environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def calls(self) -> list[str]:
        """What was asked of systemd that changes something, since the last look."""
        log = self.folder / "calls"
        calls = log.read_text().splitlines() if log.exists() else []
        log.unlink(missing_ok=True)
        assert all(call.startswith(("systemctl --user --no-ask-password ", "loginctl ")) for call in calls), calls
        return [call.removeprefix("systemctl --user --no-ask-password ") for call in calls if " show" not in call]


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


@pytest.fixture
def here(tmp_path: Path) -> Installation:
    return Installation(
        python="/srv/scanner/.venv/bin/python",
        manage="/srv/scanner/manage.py",
        data=str(tmp_path),
        user="alice",
        user_id=1000,
        settings={"SCANNER_DATA": str(tmp_path), "SCAN_HOST": "web-1"},
        secrets={},
        time_limit=3000,
    )


def strange(here: Installation) -> Installation:
    """An installation whose every path and value holds what means something to systemd, cron or a shell."""
    return replace(
        here,
        python=f"/srv/{STRANGE}/python",
        manage=f"/srv/{STRANGE}/manage.py",
        data=f"/srv/{STRANGE} [x]*?",
        settings={"SCANNER_DATA": f"/srv/{STRANGE}", "LOG_LEVEL": STRANGE},
        secrets={"DATABASE_URL": STRANGE},
    )


# --- when -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("when", "on_calendar", "next_run", "crontab"),
    [
        (Schedule(), "*-*-* 02:00:00", "Tue 2026-11-24 02:00:00 UTC", "0 2 * * *"),
        (Schedule("hourly", 2, 5), "*-*-* *:05:00", "Mon 2026-11-23 13:05:00 UTC", "5 * * * *"),
        (Schedule("daily", 23, 59), "*-*-* 23:59:00", "Mon 2026-11-23 23:59:00 UTC", "59 23 * * *"),
        (Schedule("weekly", 4, 30), "Mon *-*-* 04:30:00", "Mon 2026-11-30 04:30:00 UTC", "30 4 * * 1"),
        (Schedule("monthly", 0, 0), "*-*-01 00:00:00", "Tue 2026-12-01 00:00:00 UTC", "0 0 1 * *"),
    ],
)
def test_systemd_reads_each_schedule_as_it_is_meant(
    when: Schedule, on_calendar: str, next_run: str, crontab: str
) -> None:
    assert (when.on_calendar, when.crontab) == (on_calendar, crontab)
    argv = ["systemd-analyze", "calendar", "--base-time=2026-11-23 12:30:00 UTC", when.on_calendar]
    environment = {**os.environ, "TZ": "UTC", "LC_ALL": "C"}
    said = subprocess.run(argv, env=environment, capture_output=True, text=True, check=True).stdout
    assert f"Next elapse: {next_run}" in said


@pytest.mark.parametrize(
    "words",
    [
        ("--at", "25:00"),
        ("--at", "12:60"),
        ("--at", "2"),
        ("--at", "\N{ARABIC-INDIC DIGIT ZERO}2:00"),
        ("--at", "02:00\n"),
        ("--interval", "yearly"),
        ("--status", "--disable"),
        ("--status", "--interval", "weekly"),
        ("--disable", "--at", "02:00"),
    ],
)
def test_wrong_usage_exits_2_and_changes_nothing(
    system: Path, desk: Desk, words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        setup_package_scanner_schedule.Command().run_from_argv(["manage.py", schedule.SETUP, "--system", *words])
    said = capsys.readouterr()
    assert (ended.value.code, said.out) == (2, "") and said.err
    assert not (desk.folder / "calls").exists() and not system.exists()


# --- the units --------------------------------------------------------------------------------------


def test_every_setting_is_known_as_plain_or_secret() -> None:
    assert {*schedule.SETTINGS, *schedule.SECRETS} == set(DOCUMENTED)
    assert not {*schedule.SETTINGS} & {*schedule.SECRETS}
    assert not [name for name in schedule.SETTINGS if re.search("KEY|PASSWORD|TOKEN|SECRET|DATABASE|REDIS", name)
                and not name.endswith("_FILE")]  # fmt: skip


@pytest.mark.parametrize("system", [False, True])
@pytest.mark.parametrize("interval", schedule.INTERVALS)
def test_systemd_has_nothing_to_say_against_the_units(here: Installation, interval: str, system: bool) -> None:
    for installation in (here, strange(here)):
        units = schedule.unit_files(installation, Schedule(interval), system)
        assert schedule.Systemd(system).verify(units) == []


@pytest.fixture
def shared_folder() -> Iterator[Path]:
    """A folder that any user may read, which pytest's own is not."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


def understood(service: str, folder: Path) -> dict[str, list[str]]:
    """How systemd itself reads a service: its test mode, which it refuses to root."""
    (folder / SERVICE).write_text(service)
    runtime = folder / "run"
    runtime.mkdir(mode=0o700)
    user: dict[str, Any] = {}
    if os.getuid() == 0:
        nobody = pwd.getpwnam("nobody")
        os.chown(runtime, nobody.pw_uid, nobody.pw_gid)
        user = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
    environment = {
        "HOME": str(runtime),
        "XDG_RUNTIME_DIR": str(runtime),
        "SYSTEMD_UNIT_PATH": f"{folder}:/usr/lib/systemd/user",
    }
    argv = ["/lib/systemd/systemd", "--user", "--test", "--no-pager", f"--unit={SERVICE}"]
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=60, check=True, **user)
    ours = done.stdout.partition(f"-> Unit {SERVICE}:")[2].partition("-> Unit ")[0]
    found: dict[str, list[str]] = {}
    for line in ours.splitlines():
        name, _, value = line.strip("\t").partition(": ")
        found.setdefault(name, []).append(value)
    return found


def shell_words(text: str) -> list[str]:
    done = subprocess.run(["sh", "-c", f"printf '%s\\0' {text}"], capture_output=True, text=True, check=True)
    return done.stdout.split("\0")[:-1]


def test_systemd_reads_strange_paths_and_values_as_they_are(here: Installation, shared_folder: Path) -> None:
    installation = strange(here)
    found = understood(schedule.service_text(installation, False), shared_folder)
    assert found["WorkingDirectory"] == [f"/srv/{STRANGE}"]
    assert found["Environment"] == [f"PATH={schedule.PATH}", f"SCANNER_DATA=/srv/{STRANGE}", f"LOG_LEVEL={STRANGE}"]
    # a pattern for glob(): what it would take as special is escaped
    assert found["EnvironmentFile"] == [re.sub(r"([\\*?\[])", r"\\\1", str(installation.secrets_file))]
    # a $$ becomes $ when it is started, after this
    words = [word.replace("$$", "$") for word in shell_words(found["Command Line"][0])]
    assert words == ["/bin/sh", "-c", 'exec "$@"', "sh", *installation.command(*schedule.SCAN)]


def test_a_path_that_ends_in_a_backslash_does_not_swallow_the_next_line(
    here: Installation, shared_folder: Path
) -> None:
    text = schedule.service_text(replace(here, manage="/srv/a\\/manage.py"), False)
    found = understood(text, shared_folder)
    assert found["WorkingDirectory"][0].rstrip("/") == "/srv/a\\"
    assert "SCAN_HOST=web-1" in found["Environment"]


def test_a_system_service_runs_as_the_owner_of_the_data(here: Installation) -> None:
    assert "\nUser=alice\n" in schedule.service_text(here, True)
    assert "User=" not in schedule.service_text(here, False)
    assert "User=" not in schedule.service_text(replace(here, user="root", user_id=0), True)


def test_a_shell_reads_the_secrets_file_as_it_is_meant(here: Installation, tmp_path: Path) -> None:
    secret = STRANGE + " `id` $(id) ; # !"
    file = tmp_path / "secrets"
    file.write_text(schedule.secrets_text({"DATABASE_URL": secret}))
    argv = ["sh", "-c", 'set -a && . "$1" && set +a && exec printenv DATABASE_URL', "sh", str(file)]
    assert subprocess.run(argv, capture_output=True, text=True, check=True).stdout == f"{secret}\n"


# --- install, change, show, remove ------------------------------------------------------------------


def test_it_installs_a_daily_timer_for_this_very_place(desk: Desk) -> None:
    done = desk.setup_as_process(SCAN_HOST="web-1")
    assert done.returncode == 0, done.stderr
    assert desk.calls() == INSTALL
    service, timer = (desk.units / SERVICE).read_text(), (desk.units / TIMER).read_text()
    assert f"{sys.executable} {CHECKOUT}/manage.py scan_system_packages --save\n" in service
    assert f"\nWorkingDirectory={CHECKOUT}\n" in service
    assert f"\nEnvironment=SCANNER_DATA={desk.data}\nEnvironment=SCAN_HOST=web-1\n" in service
    assert "\nOnCalendar=*-*-* 02:00:00\nRandomizedDelaySec=1800\nPersistent=true\n" in timer
    assert done.stdout.startswith("Scheduled: daily at 02:00")
    assert "Next run: Tue 2026-11-24 02:17:44 UTC" in done.stdout
    assert "inger" not in done.stdout


def test_again_changes_nothing_and_says_so(desk: Desk) -> None:
    desk.setup()
    desk.calls()
    done = desk.setup()
    assert (done.returncode, desk.calls()) == (0, [])
    assert "Nothing changed." in done.stdout


def test_another_interval_replaces_the_schedule_and_says_what_changed(desk: Desk) -> None:
    desk.setup()
    desk.calls()
    done = desk.setup("--interval", "weekly", "--at", "4:30")
    assert (done.returncode, desk.calls()) == (0, INSTALL)
    assert "- OnCalendar=*-*-* 02:00:00\n  + OnCalendar=Mon *-*-* 04:30:00" in done.stdout
    assert f"Changed: {desk.units / SERVICE}" not in done.stdout


def test_a_timer_that_was_switched_off_is_switched_on_again(desk: Desk) -> None:
    desk.setup()
    desk.answer("timer", TIMER_ON.replace("ActiveState=active", "ActiveState=inactive"))
    desk.calls()
    done = desk.setup()
    assert (done.returncode, desk.calls()) == (0, INSTALL)
    assert "it is on again" in done.stdout


def test_lingering_is_explained_where_it_is_off(desk: Desk) -> None:
    desk.answer("linger", "Linger=no\n")
    done = desk.setup()
    assert done.returncode == 0
    assert "only while" in done.stdout and "loginctl enable-linger" in done.stdout


def test_a_refusal_by_systemd_is_shown(desk: Desk) -> None:
    script = (desk.programs / "systemctl").read_text()
    refusal = '*" enable "*) echo "Failed to enable unit: it is masked" >&2; exit 1 ;;\nesac'
    desk.program("systemctl", script.replace("esac", refusal))
    done = desk.setup()
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "enable package-scanner.timer" in done.stderr and "it is masked" in done.stderr


def test_a_complaint_of_systemd_analyze_stops_before_anything_is_written(
    here: Installation, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setattr(schedule, "TIMER_TEXT", schedule.TIMER_TEXT.replace("{on_calendar}", "25 o'clock"))
    with pytest.raises(schedule.ScheduleError, match=r"Failed to parse calendar specification.*25 o'clock"):
        schedule.install(here, Schedule(), schedule.Systemd(False))
    assert not (tmp_path / "config").exists()


def test_what_an_older_systemd_does_not_know_is_only_mentioned(
    here: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schedule, "SERVICE_TEXT", schedule.SERVICE_TEXT.replace("Nice=10", "Nicest=10"))
    (said,) = schedule.Systemd(False).verify(schedule.unit_files(here, Schedule(), False))
    assert "Nicest" in said


def test_status_tells_the_last_run_the_next_run_and_the_last_exit(desk: Desk) -> None:
    desk.answer("timer", TIMER_ON)
    done = desk.setup("--status")
    assert (done.returncode, desk.calls()) == (0, [])
    assert done.stdout.splitlines() == [
        "Schedule:  Package scan, daily at 02:00 (/home/somebody/.config/systemd/user/package-scanner.timer)",
        "Last run:  Mon 2026-11-23 02:11:04 UTC",
        "Next run:  Tue 2026-11-24 02:17:44 UTC",
        "Last exit: well, Mon 2026-11-23 02:11:09 UTC",
    ]


@pytest.mark.usefixtures("system")
@pytest.mark.parametrize(
    ("result", "code", "words"),
    [
        ("exit-code", "1", "with exit status 1: the scan failed"),
        ("exit-code", "127", "has the project moved?"),
        ("exit-code", "200", "has the project moved?"),
        ("exit-code", "5", "with exit status 5"),
        ("timeout", "15", "it took too long"),
        ("oom-kill", "9", "memory ran out"),
        ("start-limit-hit", "0", "start-limit-hit"),
    ],
)
def test_status_says_how_a_run_went_wrong(desk: Desk, here: Installation, result: str, code: str, words: str) -> None:
    desk.answer("timer", TIMER_ON)
    desk.answer("service", SERVICE_ENDED.replace("=success", f"={result}").replace("Status=0", f"Status={code}"))
    said = schedule.status(here, schedule.Systemd(False))
    assert words in said[3]
    assert said[-1] == f"What it said: journalctl --user -u {SERVICE} -n 50"


def test_status_of_a_timer_that_has_never_run_or_is_off(desk: Desk) -> None:
    never = TIMER_ON.replace("LastTriggerUSec=Mon 2026-11-23 02:11:03 UTC", "LastTriggerUSec=n/a")
    desk.answer("timer", never.replace("ActiveState=active", "ActiveState=inactive"))
    desk.answer("service", "ActiveState=inactive\nResult=success\nExecMainStatus=0\nExecMainExitTimestamp=\n")
    said = desk.setup("--status").stdout
    assert "Last run:  none yet" in said and "Last exit: none since the machine" in said
    assert "Next run:  none, the timer is switched off" in said
    assert f"{sys.executable} {CHECKOUT}/manage.py {schedule.SETUP}" in said


def test_being_set_up_is_not_taken_for_a_run(desk: Desk) -> None:
    desk.answer("timer", TIMER_ON)
    desk.answer("service", "ActiveState=inactive\nResult=success\nExecMainStatus=0\n")
    said = desk.setup("--status").stdout
    assert "Last run:  none since the machine or the session started; run or set up before: Mon 2026-11-23" in said


def test_status_of_nothing_says_so_with_the_next_step(desk: Desk) -> None:
    done = desk.setup("--status")
    assert done.returncode == 0
    assert "Nothing is scheduled" in done.stdout
    assert f"{sys.executable} {CHECKOUT}/manage.py {schedule.SETUP}" in done.stdout


def test_disable_stops_and_removes_all_that_was_written(desk: Desk) -> None:
    desk.setup(SECRET_KEY="a secret")
    desk.calls()
    done = desk.setup("--disable")
    assert done.returncode == 0, done.stderr
    assert desk.calls()[:3] == [f"disable --now {TIMER}", f"stop {SERVICE}", "daemon-reload"]
    assert list(desk.units.iterdir()) == [] and not (desk.data / schedule.SECRETS_FILE).exists()
    again = desk.setup("--disable")
    assert (again.returncode, desk.calls()) == (0, []) and "Nothing to remove" in again.stdout


def test_a_dry_run_shows_files_and_commands_and_writes_nothing(desk: Desk) -> None:
    done = desk.setup("--interval", "monthly", "--dry-run", DATABASE_URL="postgresql://user:pa55word@db/scanner")
    assert done.returncode == 0
    assert "OnCalendar=*-*-01 02:00:00" in done.stdout and "ExecStart=" in done.stdout
    assert f"systemctl --user --no-ask-password restart {TIMER}" in done.stdout
    assert "DATABASE_URL=(not shown)" in done.stdout and "pa55word" not in done.stdout + done.stderr
    assert desk.calls() == [] and not desk.units.exists() and not (desk.data / schedule.SECRETS_FILE).exists()


def test_a_dry_run_of_disable_removes_nothing(desk: Desk) -> None:
    desk.setup()
    desk.calls()
    done = desk.setup("--disable", "--dry-run")
    assert f"disable --now {TIMER}" in done.stdout and f"would remove {desk.units / TIMER}" in done.stdout
    assert desk.calls() == [] and (desk.units / TIMER).exists()


# --- secrets ----------------------------------------------------------------------------------------


def test_secrets_are_in_a_file_of_the_users_own_and_nowhere_else(desk: Desk) -> None:
    secrets = {"SECRET_KEY": "pa55-one", "REDIS_URL": "redis://:pa55-two@cache/0"}
    done = desk.setup(**secrets)
    assert done.returncode == 0, done.stderr
    file = desk.data / schedule.SECRETS_FILE
    assert file.read_text() == 'SECRET_KEY="pa55-one"\nREDIS_URL="redis://:pa55-two@cache/0"\n'
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert "pa55" not in done.stdout + done.stderr + (desk.units / SERVICE).read_text()
    assert f"\nEnvironmentFile={file}\n" in (desk.units / SERVICE).read_text()


def test_a_secret_that_is_no_longer_set_is_removed(desk: Desk) -> None:
    desk.setup(SECRET_KEY="pa55-one")
    done = desk.setup()
    assert f"Removed: {desk.data / schedule.SECRETS_FILE}" in done.stdout
    assert not (desk.data / schedule.SECRETS_FILE).exists()
    assert "EnvironmentFile" not in (desk.units / SERVICE).read_text()


def test_a_changed_secret_is_written_without_being_shown(desk: Desk) -> None:
    desk.setup(SECRET_KEY="pa55-one")
    done = desk.setup(SECRET_KEY="pa55-two")
    assert f"Changed: {desk.data / schedule.SECRETS_FILE}\n" in done.stdout and "pa55" not in done.stdout
    assert "pa55-two" in (desk.data / schedule.SECRETS_FILE).read_text()


def test_a_link_in_the_place_of_the_secrets_is_replaced_and_not_followed(desk: Desk) -> None:
    desk.data.mkdir()
    elsewhere = desk.folder / "elsewhere"
    elsewhere.write_text("mine")
    (desk.data / schedule.SECRETS_FILE).symlink_to(elsewhere)
    assert desk.setup(SECRET_KEY="pa55-one").returncode == 0
    assert elsewhere.read_text() == "mine" and not (desk.data / schedule.SECRETS_FILE).is_symlink()


def test_a_value_with_a_line_break_is_refused_and_named(desk: Desk) -> None:
    done = desk.setup(SECRET_KEY="pa55\nword")
    assert done.returncode == 1
    assert done.stderr.startswith("CommandError: SECRET_KEY") and "pa55" not in done.stderr


# --- a timer of the system --------------------------------------------------------------------------


@pytest.fixture
def system(desk: Desk, monkeypatch: pytest.MonkeyPatch, settings: Any) -> Path:
    """This process at the desk, and a folder in the place of /etc/systemd/system."""
    for name in (*schedule.SETTINGS, *schedule.SECRETS):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", desk.environment["PATH"])
    monkeypatch.setattr(schedule, "SYSTEM_FOLDER", desk.folder / "etc")
    desk.data.mkdir()
    settings.SCANNER_DATA = desk.data
    return desk.folder / "etc"


def test_a_system_timer_without_root_says_what_to_run(
    system: Path, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("DATABASE_URL", "postgresql://user:pa55word@db/scanner")
    with pytest.raises(CommandError) as error:
        call_command(schedule.SETUP, "--system", "--interval", "weekly")
    expected = f"sudo --preserve-env=DATABASE_URL {sys.executable} {CHECKOUT}/manage.py {schedule.SETUP} --system"
    assert f"{expected} --interval weekly --at 02:00\n" in str(error.value)
    assert not system.exists()


def test_a_system_timer_is_installed_and_removed(
    system: Path, desk: Desk, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    call_command(schedule.SETUP, "--system")
    service = (system / SERVICE).read_text()
    assert "ProtectSystem=full" in service and "network-online.target" in service
    assert "inger" not in capsys.readouterr().out
    call_command(schedule.SETUP, "--system", "--disable")
    assert list(system.iterdir()) == []
    calls = (desk.folder / "calls").read_text().splitlines()
    assert all(call.startswith("systemctl --no-ask-password ") for call in calls), calls


def test_root_does_not_scan_with_somebodys_code_or_into_somebodys_folder(here: Installation, tmp_path: Path) -> None:
    manage = tmp_path / "manage.py"
    manage.touch()
    if os.getuid() == 0:
        os.chown(manage, 65534, -1)
        os.chown(tmp_path, 65534, -1)
    root = replace(here, user="root", user_id=0, manage=str(manage))
    with pytest.raises(schedule.ScheduleError, match="root would scan, with code that"):
        schedule.check_owner(replace(root, data="/"))
    with pytest.raises(schedule.ScheduleError, match="or with --system"):
        schedule.check_owner(root)
    schedule.check_owner(replace(root, user_id=1000))


# --- cron -------------------------------------------------------------------------------------------


def as_cron_runs_it(line: str, fields: int = 5) -> list[str]:
    """The command in a line, in both ways that crons have: with the backslash before a % dropped, or left."""
    assert "\n" not in line
    command = line.split(" ", fields)[fields]
    assert not re.search(r"(?<!\\)%", command)
    dropped = re.sub(r"\\([%\\])", r"\1", command)
    return [dropped, command]


def test_cron_starts_strange_paths_and_values_as_they_are(here: Installation, tmp_path: Path) -> None:
    installation = strange(replace(here, data=str(tmp_path)))
    installation = replace(
        installation,
        python=str(tmp_path / STRANGE / "python"),
        manage=str(tmp_path / STRANGE / "manage.py"),
        data=str(tmp_path / STRANGE),
    )
    (tmp_path / STRANGE).mkdir()
    Path(installation.python).write_text(
        '#!/bin/sh\nprintf "%s\\n" "$PWD" "$LOG_LEVEL" "$DATABASE_URL" "$@" >&2; exit 1\n'
    )
    Path(installation.python).chmod(0o755)
    installation.secrets_file.write_text(schedule.secrets_text(installation.secrets))
    for command in as_cron_runs_it(schedule.crontab_line(installation, Schedule(), False)):
        done = subprocess.run(["bash", "-c", command], env=CRON, capture_output=True, text=True, check=False)
        expected = [str(tmp_path / STRANGE), STRANGE, STRANGE, installation.manage, *schedule.SCAN]
        assert (done.returncode, done.stdout.splitlines()) == (1, expected)


def test_without_systemd_the_line_for_cron_is_all_that_is_on_stdout(desk: Desk) -> None:
    for path in (str(desk.folder / "nothing"), desk.environment["PATH"]):  # no systemctl; one without a bus
        done = desk.setup("--interval", "weekly", "--at", "04:30", PATH=path)
        assert (done.returncode, len(done.stdout.splitlines())) == (3, 1)
        assert done.stdout.startswith("30 4 * * 1 out=$(cd ")
        assert "systemd" in done.stderr and "crontab -e" in done.stderr
        assert not desk.units.exists()
        desk.break_bus()


def test_without_systemd_status_and_disable_say_so_too(desk: Desk) -> None:
    desk.break_bus()
    for word in ("--status", "--disable"):
        done = desk.setup(word)
        assert done.returncode == 3 and "Failed to connect to bus: No medium found" in done.stderr


def test_a_dry_run_without_systemd_shows_the_units_and_the_line(desk: Desk) -> None:
    desk.break_bus()
    done = desk.setup("--dry-run", SECRET_KEY="pa55word")
    assert done.returncode == 0 and "OnCalendar=" in done.stdout and "\n0 2 * * * out=" in done.stderr
    assert "pa55word" not in done.stdout + done.stderr
    assert not (desk.data / schedule.SECRETS_FILE).exists()


def test_the_line_for_the_systems_crontab_names_the_user(here: Installation) -> None:
    assert schedule.crontab_line(here, Schedule(), True).startswith("0 2 * * * alice out=$(cd /srv/scanner && ")


@pytest.mark.parametrize("given", ["nothing else", "an address of the database"])
def test_cron_scans_with_that_line_and_prints_only_what_failed(tmp_path: Path, given: str, migrated: Path) -> None:
    """The whole project in a folder with a strange name, a real apt host, and cron's minimal environment."""
    desk = Desk(tmp_path, data="da ta %h $HOME 'é' 100%")  # no quote or backslash: apt could not write them down
    project = tmp_path / STRANGE
    for name in ("project", "scanner", "tasks", "frontend"):
        shutil.copytree(CHECKOUT / name, project / name)
    shutil.copy(CHECKOUT / "manage.py", project)
    host = AptHost(tmp_path, [Deb("openssl", "3.0.1")], {SECURITY: [Deb("openssl", "3.0.2")], DEBIAN: []})
    database = desk.data / "db.sqlite3" if given == "nothing else" else tmp_path / "other.sqlite3"
    told = {} if given == "nothing else" else {"DATABASE_URL": f"sqlite:///{database}"}
    told["SCAN_HOST"] = "web-1"
    manage = project / "manage.py"
    desk.data.mkdir(mode=0o700)
    shutil.copy(migrated, database)
    desk.break_bus()
    line = desk.setup_as_process(manage=manage, **told).stdout.removesuffix("\n")

    environment = {**CRON, "HOME": str(host.home), "SCANNER_DATA": "", "SCAN_HOST": ""}
    led = {name: value for name, value in host.environment.items() if name in ("APT_CONFIG", "DPKG_ADMINDIR")}
    for command in as_cron_runs_it(line):
        done = desk.run(["sh", "-c", command], **environment, **led)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    with sqlite3.connect(database) as connection:
        rows = connection.execute("SELECT state, security_updates FROM scanner_scan").fetchall()
    assert rows == [("completed", 1), ("completed", 1)]

    host.status.unlink()
    done = desk.run(["sh", "-c", command], **environment, **led)
    assert done.returncode == 1
    assert "web-1: the scan failed." in done.stdout
