"""Runs a package manager's programs: no shell, closed stdin, English output, a time limit, and cancellable.

Every program gets a session of its own and is killed with all its children when the scan ends for any reason, the
death of our own process included (a parent-death signal on Linux).
"""

import os
import select
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO

SETPRIV = shutil.which("setpriv")  # util-linux; a preexec_fn would do the same, but makes each start 8 ms slower
DIE_WITH_US = [SETPRIV, "--pdeathsig", "KILL", "--"] if SETPRIV else []
TICK = 0.25  # seconds between two looks at the clock and at the wish to cancel
OUTPUT_LIMIT = 512 * 1024 * 1024  # bytes; a package manager that says more than this is broken


class CommandError(Exception):
    """A program that is missing, may not be run, took too long or never stopped talking."""


class Result:
    """How a program ended, and what it said. Long output is read only by who asks for it."""

    def __init__(self, argv: Sequence[str], code: int, out: IO[bytes], err: IO[bytes]) -> None:
        self.argv = tuple(argv)
        self.code = code
        self.out_file = out
        self.err = text_of(err)

    @cached_property
    def out(self) -> str:
        return text_of(self.out_file)

    @property
    def out_size(self) -> int:
        """Bytes written to stdout."""
        return os.fstat(self.out_file.fileno()).st_size

    @property
    def last_words(self) -> str:
        """The end of what it said in complaint, for a person: warnings and errors before chatter."""
        lines = [line.strip() for line in (self.err.strip() or self.out.strip()).splitlines() if line.strip()]
        complaints = [line for line in lines if line.startswith(("E:", "W:", "error:", "Error:"))]
        return "; ".join((complaints or lines)[-4:])[:1000] or f"{self.argv[0]} ended with code {self.code}"


@dataclass
class Command:
    """One program to run. `status` gets each line that it writes, while it runs, to the descriptor "{status_fd}"."""

    argv: Sequence[str]
    status: Callable[[str], None] | None = None


class Runner:
    """Runs programs until `deadline` (of time.monotonic). `watch` is called several times a second; it may raise."""

    def __init__(
        self, deadline: float, watch: Callable[[], None] = lambda: None, environment: Mapping[str, str] | None = None
    ) -> None:
        self.deadline = deadline
        self.watch = watch
        self.environment = english(os.environ if environment is None else environment)

    def run(self, argv: Sequence[str], status: Callable[[str], None] | None = None) -> Result:
        return self.run_together(Command(argv, status))[0]

    def run_together(self, *commands: Command) -> list[Result]:
        """Run programs side by side and wait for all of them."""
        with ExitStack() as cleanup:
            running = [cleanup.enter_context(Running(command, self.environment)) for command in commands]
            waiting = {program.wakeup: program for program in running}
            statuses = {program.status_pipe: program for program in running if program.status_pipe is not None}
            while waiting:
                ready, _, _ = select.select([*waiting, *statuses], [], [], TICK)
                for fd in ready:
                    if fd in waiting:
                        del waiting[fd]
                    elif not statuses[fd].read_status():
                        del statuses[fd]
                self.watch()
                if waiting:
                    self.check(next(iter(waiting.values())), running)
            return [program.result() for program in running]

    def check(self, slowest: "Running", running: Sequence["Running"]) -> None:
        if time.monotonic() > self.deadline:
            raise CommandError(f"{shown(slowest.argv)} did not end within the time limit and was stopped.")
        for program in running:
            if program.output_size() > OUTPUT_LIMIT:
                raise CommandError(f"{shown(program.argv)} printed more than {OUTPUT_LIMIT >> 20} MiB and was stopped.")


class Running:
    """A started program; leaving the `with` block kills what is left of it."""

    def __init__(self, command: Command, environment: Mapping[str, str]) -> None:
        self.argv = tuple(command.argv)
        self.command = command
        self.environment = environment
        self.status_pipe: int | None = None
        self.status_rest = b""
        self.cleanup = ExitStack()

    def __enter__(self) -> "Running":
        with ExitStack() as opened:
            self.out: IO[bytes] = tempfile.TemporaryFile()  # the result outlives the program
            self.err: IO[bytes] = opened.enter_context(tempfile.TemporaryFile())
            with ExitStack() as handed_on:
                theirs = self.open_status(opened, handed_on)
                self.process = opened.enter_context(start(self.argv, self.environment, self.out, self.err, theirs))
                opened.callback(self.kill)
            self.wakeup = os.pidfd_open(self.process.pid)
            opened.callback(os.close, self.wakeup)
            self.cleanup = opened.pop_all()
        return self

    def open_status(self, opened: ExitStack, handed_on: ExitStack) -> list[int]:
        """Make the pipe for status lines, if they are wanted; answers our copies of the program's end."""
        if self.command.status is None:
            return []
        self.status_pipe, theirs = os.pipe()
        os.set_blocking(self.status_pipe, False)
        opened.callback(os.close, self.status_pipe)
        handed_on.callback(os.close, theirs)
        self.argv = tuple(word.replace("{status_fd}", str(theirs)) for word in self.argv)
        return [theirs]

    def __exit__(self, *_: object) -> None:
        self.cleanup.close()

    def read_status(self) -> bool:
        """Hand on the complete lines that have come; False when there will be no more."""
        if self.status_pipe is None or self.command.status is None:
            return False
        try:
            data = os.read(self.status_pipe, 65536)
        except BlockingIOError:
            return True
        *lines, self.status_rest = (self.status_rest + data).split(b"\n")
        for line in lines:
            self.command.status(line.decode(errors="replace"))
        return bool(data)

    def output_size(self) -> int:
        return os.fstat(self.out.fileno()).st_size + os.fstat(self.err.fileno()).st_size

    def kill(self) -> None:
        """The whole session: what the program itself started too."""
        interrupted = self.process.poll() is None
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        if interrupted:
            kill_session(self.process.pid)
        self.process.wait()

    def result(self) -> Result:
        return Result(self.argv, self.process.wait(), self.out, self.err)


def text_of(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")


def start(
    argv: Sequence[str], environment: Mapping[str, str], out: IO[bytes], err: IO[bytes], passed: Sequence[int]
) -> "subprocess.Popen[bytes]":
    if shutil.which(argv[0], path=environment.get("PATH")) is None:
        raise CommandError(f"{argv[0]} is not installed, may not be run, or is not on PATH.")
    try:
        return subprocess.Popen(
            [*DIE_WITH_US, *argv],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            env=environment,
            start_new_session=True,
            pass_fds=passed,
        )
    except OSError as error:
        raise CommandError(f"{argv[0]} could not be started: {error.strerror}.") from error


def kill_session(session: int) -> None:
    """What leads a process group of its own, as the jobs of a shell do, is still in the session."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            # 4711 (apt-get) S 1 4711 4711 0 …        number (name) state parent group session
            if int(stat.read_text(errors="replace").rsplit(")", 1)[1].split()[3]) == session:
                os.kill(int(stat.parent.name), signal.SIGKILL)
        except OSError:  # it has ended meanwhile
            continue


def english(environment: Mapping[str, str]) -> dict[str, str]:
    """The same environment with the C locale. LANGUAGE must go too: with it apt and dnf still translate."""
    kept = {name: value for name, value in environment.items() if not name.startswith("LC_") and name != "LANG"}
    return {**kept, "LC_ALL": "C", "LANGUAGE": ""}


def shown(argv: Sequence[str]) -> str:
    return " ".join(argv[:6]) + (" …" if len(argv) > 6 else "")
