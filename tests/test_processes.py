"""`manage.py up`, as a person meets it: real processes in a data folder of their own."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest
from django.conf import settings

from project import processes
from project.management.commands.up import hash_of_static_files
from tests import real_services

CHECKOUT = Path(__file__).resolve().parent.parent
PATIENCE = 90  # seconds for anything that is on its way
LINK = re.compile(
    r"^Open (http://127\.0\.0\.1:\d+)(/sign-in/\S+)  \(signs you in once, within the hour\)$", re.MULTILINE
)

pytestmark = pytest.mark.end_to_end


def wait_until(true: Callable[[], Any], what: str) -> Any:
    deadline = time.monotonic() + PATIENCE
    while not (answer := true()):
        assert time.monotonic() < deadline, f"waited in vain: {what}"
        time.sleep(0.05)
    return answer


class Up:
    """One data folder, and what `manage.py up` does in it."""

    def __init__(self, folder: Path) -> None:
        self.data = folder / "data"
        self.output = folder / "output"
        self.temporary = folder / "tmp"
        self.temporary.mkdir()
        ours = {name: value for name, value in os.environ.items() if name not in {"DATABASE_URL", "REDIS_URL"}}
        self.environment = {**ours, "SCANNER_DATA": str(self.data), "PORT": "0", "TMPDIR": str(self.temporary)}

    def prepare(self, database: Path) -> None:
        """What its first start makes, where a test is about something else."""
        self.data.mkdir(mode=0o700)
        shutil.copy(database, self.data)
        shutil.copytree(settings.STATIC_ROOT, self.data / "static")
        (self.data / "static.sha256").write_text(hash_of_static_files())

    def start(self) -> str:
        """Start it and answer what it has said by the time that it is ready."""
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "manage.py", "up"], cwd=CHECKOUT, env=self.environment, stdout=output, stderr=output
            )
        return wait_until(self.ready, "the line to open")

    def ready(self) -> str:
        assert self.process.poll() is None, self.said()
        return self.said() if "Ctrl-C stops" in self.said() else ""

    def said(self) -> str:
        return self.output.read_text()

    def address(self) -> str:
        match = LINK.search(self.said())
        assert match, self.said()
        return match[1]

    def manage(self, *words: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "manage.py", *words],
            cwd=CHECKOUT,
            env={**self.environment, **environment},
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )

    def alive(self) -> dict[str, list[psutil.Process]]:
        """Every process of this data folder, whoever its parent is now, by the name of what it does."""
        found: dict[str, list[psutil.Process]] = {}
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                words = process.cmdline()
                # Valkey writes its title over its environment, but names its socket there
                if process.environ().get("SCANNER_DATA") == str(self.data) or str(self.temporary) in " ".join(words):
                    name = next(
                        (word for word in ("up", "webhooks", "worker", "beat", "uvicorn") if word in words),
                        process.name(),
                    )
                    found.setdefault(name, []).append(process)
        return found

    def workers(self) -> set[psutil.Process]:
        """The worker and its pool of two, once they are all there."""
        return set(wait_until(lambda: len(found := self.alive().get("worker", [])) == 3 and found, "three processes"))

    def kill(self) -> None:
        for each in self.alive().values():
            for process in each:
                process.kill()


@pytest.fixture
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    up = Up(tmp_path_factory.mktemp("up"))
    yield up
    up.kill()


def test_one_command_starts_everything_and_ctrl_c_ends_all_of_it(up: Up) -> None:
    assert "Preparing the database" in up.start()
    assert set(up.alive()) == {"up", "valkey-server", "worker", "webhooks", "beat", "uvicorn"}
    with urllib.request.urlopen(up.address() + "/healthz") as answer:  # noqa: S310
        assert answer.status == 200

    second = up.manage("up")
    assert second.returncode == 1
    assert f"The scanner is already running at {up.address()} (process {up.process.pid})." in second.stderr
    assert "manage.py sign_in_link" in second.stderr
    assert up.manage("sign_in_link").stdout.startswith(up.address() + "/sign-in/"), "it knows the port"

    assert [folder.stat().st_mode & 0o777 for folder in up.temporary.iterdir()] == [0o700]
    up.process.send_signal(signal.SIGINT)
    assert up.process.wait(PATIENCE) == 0
    assert up.alive() == {}
    assert list(up.temporary.iterdir()) == []
    assert {path.name for path in (up.data / "run").iterdir()} == {"up.lock", "valkey.lock"}
    assert "Traceback" not in "".join(log.read_text() for log in (up.data / "logs").iterdir())

    assert "Preparing" not in up.start()
    assert "Collecting" not in up.said()
    up.process.terminate()
    assert up.process.wait(PATIENCE) == 0


def test_a_killed_worker_is_started_again_and_a_killed_supervisor_leaves_nothing(up: Up, migrated: Path) -> None:
    up.prepare(migrated)
    up.start()
    before = up.workers()
    next(process for process in before if process.ppid() == up.process.pid).kill()
    wait_until(lambda: "The worker was ended by SIGKILL and is started again." in up.said(), "a word about it")
    assert not before & up.workers()

    up.process.kill()
    wait_until(lambda: not up.alive(), "the end of all processes")
    up.start()
    assert up.manage("up").returncode == 1
    up.process.terminate()
    assert up.process.wait(PATIENCE) == 0
    assert list(up.temporary.iterdir()) == [], "neither this run's nor the killed one's"


def test_with_addresses_in_the_environment_no_embedded_server_is_started(up: Up, migrated: Path) -> None:
    up.prepare(migrated)
    (up.data / migrated.name).unlink()
    name = f"up_{os.getpid()}"
    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as postgres:
        postgres.execute(f"CREATE DATABASE {name}")
        try:
            up.environment |= {"DATABASE_URL": real_services.environment(name)["DATABASE_URL"]}
            up.environment |= {"REDIS_URL": os.environ["REDIS_URL"]}
            up.start()
            assert set(up.alive()) == {"up", "worker", "webhooks", "beat", "uvicorn"}
            assert not (up.data / "db.sqlite3").exists()
            up.process.send_signal(signal.SIGINT)
            assert up.process.wait(PATIENCE) == 0
        finally:
            up.kill()
            postgres.execute(f"DROP DATABASE {name} WITH (FORCE)")


def test_a_port_in_use_is_named_with_the_way_out(up: Up) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        second = up.manage("up", PORT=str(port))
    assert second.returncode == 1
    assert second.stderr == (
        f"Port {port} on 127.0.0.1 is in use by another program. Choose another: PORT={port + 1} make run\n"
    )


def test_a_valkey_that_does_not_start_is_quoted(up: Up, migrated: Path) -> None:
    up.prepare(migrated)
    damaged = up.data / "valkey/appendonlydir/appendonly.aof.manifest"
    damaged.parent.mkdir(parents=True)
    damaged.write_text("damaged\n")
    first = up.manage("up")
    assert first.returncode == 1
    assert "The embedded Valkey does not start." in first.stderr
    assert "AOF manifest file" in first.stderr, "Valkey's own words"
    assert "Traceback" not in first.stderr
    assert up.alive() == {}


@pytest.fixture
def data(tmp_path: Path, settings: Any) -> Path:
    settings.SCANNER_DATA, settings.RUN_DIR = tmp_path, tmp_path / "run"
    return tmp_path


def test_what_ends_six_times_quickly_is_given_up_with_its_last_words(data: Path) -> None:
    process = processes.Process("complainer", [sys.executable, "-c", "raise SystemExit('no such table: socks')"])
    said: list[str] = []
    with pytest.raises(processes.CannotRun, match=r"The complainer ended 6 times in a row") as error:
        while True:
            process.due = 0
            process.keep_running(said.append)
            if process.running:
                process.running.wait()
    assert len(said) == 5
    assert "no such table: socks" in str(error.value)
    assert str(data / "logs/complainer.log") in str(error.value)


def test_what_a_dead_process_leaves_in_its_session_is_killed_before_the_next(data: Path) -> None:
    process = processes.Process("parent", ["sh", "-c", "sleep 1000 & echo $!"])
    process.start()
    assert process.running
    process.running.wait()
    orphan = psutil.Process(int((data / "logs/parent.log").read_text()))
    process.keep_running(lambda _: None)
    wait_until(lambda: not orphan.is_running() or orphan.status() == psutil.STATUS_ZOMBIE, "the orphan's end")


LATE = """
import os, time
from project.processes import die_with_parent
parent = os.getpid()
if os.fork():
    os._exit(0)
while os.getppid() == parent:
    time.sleep(0.01)
die_with_parent(parent)
print("lives on")
"""


def test_who_asks_to_die_with_a_parent_that_has_died_already_dies() -> None:
    done = subprocess.run([sys.executable, "-c", LATE], cwd=CHECKOUT, capture_output=True, text=True, check=True)
    assert done.stdout == done.stderr == ""


def test_a_log_that_has_grown_large_is_put_aside_while_its_process_writes_on(data: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(processes, "LOG_LIMIT", 3)
    os.mkfifo(data / "fifo")
    process = processes.Process("writer", ["sh", "-c", f"echo first; read never < {data}/fifo; echo second"])
    process.start()
    wait_until(lambda: process.log.read_text() == "first\n", "the first line")
    process.keep_log_small()
    (data / "fifo").write_text("go on\n")
    wait_until(lambda: process.log.read_text() == "second\n", "the second line")
    assert process.log.with_name("writer.log.1").read_text() == "first\n"
    process.end()


def test_a_data_folder_of_somebody_else_is_refused(data: Path, settings: Any) -> None:
    if os.geteuid() == 0:
        os.chown(data, 65534, -1)
    else:
        settings.SCANNER_DATA = Path("/")
    with pytest.raises(processes.CannotRun, match="belongs to user"):
        with processes.only_one():
            pass
