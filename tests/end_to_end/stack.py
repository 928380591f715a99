"""The whole product as real processes, against the suite's Postgres: web, worker; more of them if asked."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import psutil
from redis import Redis

from project import processes

CHECKOUT = Path(__file__).resolve().parents[2]
PATIENCE = 40  # seconds for anything that is on its way


def wait_until(true: Callable[[], Any], what: str, seconds: float = PATIENCE) -> Any:
    deadline = time.monotonic() + seconds
    while not (answer := true()):
        assert time.monotonic() < deadline, f"waited {seconds} s in vain: {what}"
        time.sleep(0.05)
    return answer


def busy_with_the_database() -> int:
    """The processes that are in a transaction of our database, or were a moment ago."""
    from django.db import connection  # noqa: PLC0415

    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
            " AND (state <> 'idle' OR state_change > clock_timestamp() - interval '0.3 s')"
        )
        return int(cursor.fetchone()[0])


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Process:
    """One process of the product; its output is in a file that a failed test can show."""

    def __init__(self, name: str, argv: list[str], environment: Mapping[str, str], folder: Path) -> None:
        self.name = name
        self.argv = argv
        self.environment = dict(environment)
        self.log = folder / f"{name}.log"
        self.start()

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.argv, cwd=CHECKOUT, env=self.environment, stdout=log, stderr=log, start_new_session=True
            )

    def kill(self) -> None:
        """The whole session at once, as a power cut would."""
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.kill()


def wait_until_ready(worker: Process) -> Process:
    wait_until(lambda: "ready." in worker.log.read_text(), f"the {worker.name}")
    return worker


class Stack:
    """A web process, a worker, and how to talk to them."""

    valkey: Any  # the tests' own, where there is one that may be stopped

    def __init__(self, environment: Mapping[str, str], folder: Path) -> None:
        self.folder = folder
        self.environment = {**environment, "REMAP_SIGTERM": "SIGQUIT", "LOG_LEVEL": "INFO"}
        self.processes: list[Process] = []
        self.web = self.new_web()
        self.worker = self.new("worker", self.worker_argv())
        self.wait_for_answer(self.web)
        wait_until_ready(self.worker)

    @cached_property
    def other_web(self) -> Process:
        return self.wait_for_answer(self.new_web())

    def worker_argv(self) -> list[str]:
        queues = f"central,host.{self.environment['SCAN_HOST']}"
        return [sys.executable, "-m", "celery", "-A", "project", "worker", "-Q", queues, "-c", "2", "-l", "INFO"]

    def new(self, name: str, argv: list[str], **environment: str) -> Process:
        process = Process(name, argv, {**self.environment, **environment}, self.folder)
        self.processes.append(process)
        return process

    def new_web(self, **environment: str) -> Process:
        port = free_port()
        argv = [sys.executable, "-m", "uvicorn", "project.asgi:application", "--port", str(port), "--lifespan", "off"]
        web = self.new(f"web-{port}", [*argv, "--timeout-graceful-shutdown", "3"], **environment)
        web.port = port  # type: ignore[attr-defined]
        return web

    def address(self, path: str = "", web: Process | None = None) -> str:
        return f"http://127.0.0.1:{(web or self.web).port}{path}"  # type: ignore[attr-defined]

    def answers(self, web: Process) -> bool:
        try:
            with urllib.request.urlopen(self.address("/healthz", web), timeout=5) as answer:  # noqa: S310
                return bool(answer.status == 200)
        except OSError:
            assert web.process.poll() is None, web.log.read_text()
            return False

    def wait_for_answer(self, web: Process) -> Process:
        wait_until(lambda: self.answers(web), "the web process")
        return web

    def post(self, path: str, token: str, body: str = "", **headers: str) -> tuple[int, dict[str, Any]]:
        """POST a form with a bearer token: the status and the JSON that came back."""
        headers = {"Authorization": f"Bearer {token}", **headers}
        request = urllib.request.Request(self.address(path), body.encode(), headers)  # noqa: S310
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    def manage(self, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "manage.py", *words],
            cwd=CHECKOUT,
            env={**self.environment, **environment},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def new_sender(self) -> Process:
        """It sends deliveries, and nothing else."""
        return wait_until_ready(self.new("sender", processes.sender().argv))

    def new_beat(self) -> Process:
        """It takes some seconds to start, and its first sweep comes 5 s later: nobody waits for it here."""
        return self.new("beat", processes.beat().argv)

    def restart_worker(self) -> None:
        self.restart(self.worker)

    def restart(self, worker: Process) -> None:
        worker.log.write_text("")
        worker.start()
        wait_until_ready(worker)

    def kill_pool_process_of_the_scan(self) -> None:
        """The child of the worker that has a package manager running; kill -9, as the kernel's memory killer does."""
        pool = psutil.Process(self.worker.process.pid).children
        wait_until(lambda: [child for child in pool() if child.children()], "a program of the scan")[0].kill()

    def queued_deliveries(self) -> int:
        """Tasks that the sender has not taken yet."""
        with Redis.from_url(self.valkey.address) as client:
            return int(client.llen("webhooks"))

    def wait_idle(self) -> None:
        """Let what a test has started come to its end, so that the next one begins clean."""
        from scanner.models import Scan  # noqa: PLC0415 - the benchmark imports this file before Django is set up

        wait_until(lambda: not Scan.objects.active().exists(), "the last scan's end")

    def wait_quiet(self) -> None:
        """Until nothing is queued or being sent, and nobody is at work in the database: the next step empties it."""
        from scanner.models import Delivery  # noqa: PLC0415

        sending = Delivery.objects.filter(state=Delivery.State.SENDING)
        wait_until(
            lambda: not (self.queued_deliveries() or sending.exists() or busy_with_the_database()), "the sender's rest"
        )

    def stop(self) -> None:
        for process in self.processes:
            process.process.terminate()
        for process in self.processes:
            process.stop()
