"""A scan, from top to bottom."""

import fcntl
import hashlib
import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO, TypeVar

from django.conf import settings
from django.db import InterfaceError, OperationalError, close_old_connections, transaction
from django.utils import timezone

from scanner.announcing import announce
from scanner.models import Host, OpenUpdate, Scan, Snapshot
from scanner.package_managers import detect, release_of
from scanner.package_managers.command import TICK, CommandError, Runner
from scanner.package_managers.interface import Findings, Gap, Installed, PackageManagerError, Report
from scanner.package_managers.restarts import restarts
from scanner.vulnerabilities.findings import look_up, tally
from scanner.webhooks import events

STEPS = (  # what is being done, and the percentage at which it begins
    ("Finding the package manager", 0),
    ("Refreshing package lists", 5),
    ("Reading installed packages", 60),
    ("Reading available updates", 65),
    ("Storing the result", 95),
)
HEARTBEAT = 1.0  # seconds between two signs of life, and two looks whether somebody wants to cancel
NEWS = 0.25  # seconds between two messages about one and the same step
STORE_PATIENCE = 60  # seconds that a finished scan waits for a database that is away

StepTaken = Callable[[int, float, str], None]
"""Called with the step's number in STEPS, the percentage of that step, and a detail in words."""

Result = TypeVar("Result")

logger = logging.getLogger(__name__)


class Cancelled(Exception):
    """Somebody asked for an end."""


class ClaimLost(Exception):
    """The scan is not ours any more: it was marked as lost, or another worker has taken it over."""


def run(scan: Scan, redelivered: bool = False, watcher: StepTaken | None = None) -> None:
    """Run a stored scan to its end, whatever that is. Does nothing if another process has it."""
    if scan.killed_its_workers:
        give_up(scan, f"The worker died {scan.attempts} times in this scan.", "See the worker's log for the cause.")
        return
    if not scan.take(redelivered):
        return
    log = Log(scan, watcher)
    try:
        report = examine(scan, log.step, log.watch)
        log.step(4)
        store_with_patience(scan, report)
    except ClaimLost:
        logger.warning("%s was taken over or given up while it ran here", scan)
        return
    except Cancelled:
        end(scan, state=Scan.State.CANCELLED)
    except Exception as error:
        words, next_step = in_words(error)
        end(scan, state=Scan.State.FAILED, error=words, next_step=next_step)
    announce(scan)


def fail_lost() -> None:
    """Mark scans as failed whose worker vanished or that no worker took, and tell who watches."""
    for scan in Scan.objects.silent().select_related("host"):
        give_up(scan, "The worker that ran this scan has vanished.", "Start the scan again.", unless_alive=True)
    for scan in Scan.objects.untaken().select_related("host"):
        words = f"No worker took this scan within {settings.SCAN_QUEUE_LIMIT} seconds."
        give_up(scan, words, f"Is a worker running that consumes the queue {scan.host.queue}?")


def give_up(scan: Scan, error: str, next_step: str, unless_alive: bool = False) -> None:
    """Mark a scan as failed that is not ours, unless it has gone on meanwhile."""
    with transaction.atomic():
        failed = scan.fail(error, next_step, unless_alive)
        if failed:
            events.owe_for_failure(scan)
    if failed:
        announce(scan)


def examine(scan: Scan, step: StepTaken, watch: Callable[[], None]) -> Report:
    """Ask the package manager, and decide. Reads nothing from the database and writes nothing to it."""
    runner = Runner(time.monotonic() + settings.SCAN_TIME_LIMIT, watch, environment())
    root = Path(scan.root).resolve() if scan.root else None
    step(0, 0, "")
    found = detect(root, scan.wanted_package_manager)
    with private_folder(found.name, root, runner) as private:
        manager = found(runner, private, root)
        refresh_gaps: tuple[Gap, ...] = ()
        if scan.refresh:
            step(1, 0, found.name)
            refresh_gaps = manager.refresh(lambda percent, detail: step(1, percent, detail))
        step(2, 0, found.name)
        packages = manager.installed()
        step(3, 0, f"of {len(packages)} packages")
        with beside(runner, lambda own: restarts(own, found.name, packages, root)) as restarting:
            try:
                findings = manager.updates(packages)
            except PackageManagerError as error:  # a refresh that failed is likely why
                raise replace(error, message=" ".join([*(gap.text for gap in refresh_gaps), error.message])) from error
    return Report(
        found.name,
        tuple(with_origins(packages, findings)),
        findings,
        (*refresh_gaps, *findings.gaps),
        findings.notes,
        restarting.result(),
        manager.dependencies,
        release_of(root)[:40],
        "" if root else os.uname().release,
    )


def environment() -> dict[str, str]:
    """What package managers run with. pacman itself knows nothing of security: where nobody has named a list for it,
    it reads the one that a refresh of the feed has left on this machine."""
    kept = settings.SCANNER_DATA / "feeds/arch"
    if settings.ARCH_TRACKER or not kept.is_file():
        return dict(os.environ)
    return {**os.environ, "ARCH_TRACKER": str(kept)}


def with_origins(packages: Iterable[Installed], findings: Findings) -> Iterator[Installed]:
    """The packages, with what only the package lists tell of where they come from."""
    for package in packages:
        origin = findings.third_party.get((package.name, package.architecture))
        yield replace(package, third_party=origin) if origin else package


@contextmanager
def beside(runner: Runner, work: Callable[[Runner], Result]) -> Iterator[Future[Result]]:
    """Do some work in a second thread while the block runs, with a runner of its own: only one may save progress."""
    over = threading.Event()

    def watch() -> None:
        if over.is_set():
            raise CommandError("The scan has ended.")

    with ThreadPoolExecutor(1) as pool:
        try:
            future = pool.submit(work, Runner(runner.deadline, watch, runner.environment))
            yield future
            while not future.done():  # the scan must keep giving signs of life
                runner.watch()
                wait([future], TICK)
        except BaseException:
            over.set()
            raise


def counts(report: Report) -> dict[str, object]:
    """The columns of a scan that say what it found."""
    return {
        "state": Scan.State.PARTIAL if report.gaps else Scan.State.COMPLETED,
        "package_manager": report.package_manager,
        "distribution": report.distribution,
        "kernel": report.kernel,
        "gaps": [gap.text for gap in report.gaps],
        "notes": list(report.notes),
        "metadata_date": report.findings.metadata_date,
        "security_updates": report.security_updates,
        "total_updates": report.total_updates,
        "total_packages": len(report.packages),
        "pinned_security_updates": report.pinned_security_updates,
        "reboot_required": report.restarts.reboot,
        "reboot_reason": report.restarts.reboot_reason,
        "services_to_restart": None if report.restarts.services is None else list(report.restarts.services),
        "services_reason": report.restarts.services_reason,
        "finished_at": timezone.now(),
        "percent": 100,
        "step": "",
        "detail": "",
    }


def store(scan: Scan, report: Report) -> None:
    """Snapshot, counts, state and events in one transaction: who sees the state sees all of it."""
    with transaction.atomic():
        snapshot = Snapshot.objects.keep(report, look_up)
        if not scan.change(scan.still_mine(), snapshot=snapshot, **counts(report)):
            raise ClaimLost
        Host.objects.stand_on(scan)
        if snapshot.package_set.tally is None:
            tally([snapshot.package_set])
        changes = OpenUpdate.objects.follow(scan, report.installable)
        events.owe_for_result(scan, changes, report.installable)


def store_with_patience(scan: Scan, report: Report) -> None:
    """A database that is restarted must not cost the scan."""
    deadline = time.monotonic() + STORE_PATIENCE
    while True:
        try:
            return store(scan, report)
        except (OperationalError, InterfaceError):
            if time.monotonic() > deadline:
                raise
            close_old_connections()
            time.sleep(1)


def in_words(error: Exception) -> tuple[str, str]:
    """What went wrong, and what to do about it. What nobody foresaw is logged with its traceback."""
    if isinstance(error, PackageManagerError):
        return error.message, error.next_step
    if isinstance(error, CommandError):
        return str(error), "Run it on the host by hand to see what it does."
    logger.error("a scan stopped unexpectedly", exc_info=error)
    return f"The scan stopped unexpectedly: {type(error).__name__}: {error}", "The log has the details."


def overall(number: int, percent: float) -> int:
    """The percentage of the whole scan, from a step's number and the percentage of that step."""
    begin, after = STEPS[number][1], STEPS[number + 1][1] if number + 1 < len(STEPS) else 100
    return round(begin + (after - begin) * percent / 100)


def end(scan: Scan, **fields: object) -> None:
    with transaction.atomic():
        if scan.change(scan.still_mine(), finished_at=timezone.now(), **fields) and scan.state == Scan.State.FAILED:
            events.owe_for_failure(scan)


class Log:
    """Keeps the row of a running scan alive and true, and tells who watches."""

    def __init__(self, scan: Scan, watcher: StepTaken | None = None) -> None:
        self.scan = scan
        self.watcher = watcher
        self.last_sign = time.monotonic()
        self.last_news = 0.0
        self.number = -1

    def step(self, number: int, percent: float = 0, detail: str = "") -> None:
        if number == self.number and time.monotonic() - self.last_news < NEWS:
            return
        self.number, self.last_news = number, time.monotonic()
        if self.watcher:
            self.watcher(number, percent, detail)
        self.save(step=STEPS[number][0], percent=overall(number, percent), detail=detail[:200])
        announce(self.scan)

    def watch(self) -> None:
        if time.monotonic() - self.last_sign >= HEARTBEAT:
            self.save()

    def save(self, **fields: object) -> None:
        self.last_sign = time.monotonic()
        try:
            if not self.scan.change(self.scan.still_mine(), heartbeat_at=timezone.now(), **fields):
                raise ClaimLost
            self.scan.refresh_from_db(fields=["cancel_requested_at"])
        except (OperationalError, InterfaceError) as error:  # the database may be back before the scan has ended
            logger.warning("%s could not save its progress: %s", self.scan, error)
            close_old_connections()
        if self.scan.cancel_requested_at:
            raise Cancelled


@contextmanager
def private_folder(package_manager: str, root: Path | None, runner: Runner) -> Iterator[Path]:
    """A folder for one user, root and environment, held by one scan at a time."""
    names = ("APT_CONFIG", "DPKG_ADMINDIR", "HOME", "PATH")  # these may lead a package manager to another root
    place = [str(os.getuid()), str(root or "/"), *(os.environ.get(name, "") for name in names)]
    key = hashlib.sha256("\n".join(place).encode()).hexdigest()[:16]
    folder = settings.SCANNER_DATA / "metadata" / f"{package_manager}-{key}"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        wait_for(lock, runner)
        yield folder


def wait_for(lock: IO[str], runner: Runner) -> None:
    while True:
        try:
            return fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            runner.watch()
            if time.monotonic() > runner.deadline:
                raise CommandError("Another scan of this host did not end within the time limit.") from None
            time.sleep(0.2)
