"""Webhook filters: is an expression fine, and which of many hold for an event? Ask here; CEL runs elsewhere.

Whatever a user wrote is compiled and evaluated in one long-lived process of each of our processes (evaluator.py). It
is started when it is first needed, killed when it does not answer, and started again when it has ended.
"""

import atexit
import json
import os
import re
import select
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, Any

from scanner.webhooks.fields import FIELDS
from scanner.webhooks.filter_messages import TOO_EXPENSIVE, Place, Problem, character

LENGTH_LIMIT = 1000  # characters of a source
ANSWER_LIMIT = 10.0  # seconds that one source may take; its CPU time is limited to less
START_LIMIT = 30.0  # seconds
ROOT = Path(__file__).resolve().parent.parent.parent  # where the package scanner is
ARGV = [sys.executable, "-s", "-P", "-m", "scanner.webhooks.evaluator"]
KEPT = ("PYTHONHOME", "LD_LIBRARY_PATH")  # of our environment: an interpreter may not start without them
RETIRED = 0  # the evaluator's exit code when it has grown and ended between two sources
UNUSABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")  # control characters, halves of surrogates


@dataclass(frozen=True, slots=True)
class FilterError:
    """Why a filter could not answer for an event, in words for its owner. Never the same as False."""

    message: str


class CannotEvaluate(Exception):
    """The evaluator does not start: an error of the installation, not of a filter."""


class Ended(Exception):
    """The evaluator has ended, or did not answer in time."""


# --- what others ask --------------------------------------------------------------------------------


def check(source: str, *, sample: bool = False) -> Problem | None:
    """What is wrong with a filter; an empty one is fine. `sample`: also run it once with an event of full size."""
    if not source.strip():
        return None
    if problem := unusable(source):
        return problem
    answer = EVALUATOR.answers({"task": "check", "sample": sample}, [source])[0]
    if answer is True:
        return None
    return Problem(answer) if isinstance(answer, str) else Problem(**answer)


def evaluate(sources: Sequence[str], data: Mapping[str, Any]) -> list[bool | FilterError]:
    """Which filters hold, in their order; an empty one does. In `data` None means the same as a missing field."""
    results: dict[str, bool | FilterError] = {}
    usable = []
    for source in dict.fromkeys(sources):
        if not source.strip():
            results[source] = True
        elif problem := unusable(source):
            results[source] = FilterError(problem.message)
        else:
            usable.append(source)
    request = {"task": "evaluate", "data": known(data, needs(usable))}
    for source, answer in zip(usable, EVALUATOR.answers(request, usable), strict=True):
        results[source] = answer if isinstance(answer, bool) else FilterError(answer)
    return [results[source] for source in sources]


def needs(sources: Iterable[str]) -> set[str]:
    """The fields that the filters may use: those whose name they mention somewhere."""
    words = set(re.findall(r"\w+", "\n".join(sources), re.ASCII))
    return {field.name for field in FIELDS if field.name.partition(".")[0] in words}


def unusable(source: str) -> Problem | None:
    """What the evaluator need not be asked for."""
    if len(source) > LENGTH_LIMIT:
        return Problem(f"longer than {LENGTH_LIMIT:,} characters")
    if match := UNUSABLE.search(source):
        return Place(source, match.start()).problem(f"{character(match[0])} cannot be used")
    return None


def known(data: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """What is sent of the data. Raises ValueError where a timestamp is none."""
    types = {field.name: field.type for field in FIELDS}
    values = {name: data[name] for name in names if data.get(name) is not None}
    return {name: iso(value) if types[name] == "timestamp" else value for name, value in values.items()}


def iso(value: str | datetime) -> str:
    return (datetime.fromisoformat(value) if isinstance(value, str) else value).isoformat()


# --- the evaluator ----------------------------------------------------------------------------------


class Process:
    """A running evaluator. Whoever waits for it gets Ended when it has ended or when the time is up."""

    def __init__(self) -> None:
        environment = {name: os.environ[name] for name in KEPT if name in os.environ} | {"PYTHONPATH": str(ROOT)}
        self.running = subprocess.Popen(
            ARGV,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            cwd="/",
            env=environment,
            start_new_session=True,  # a Ctrl-C is not for it
        )
        assert self.running.stdin and self.running.stdout  # noqa: S101
        self.theirs: IO[bytes] = self.running.stdin
        self.ours: IO[bytes] = self.running.stdout
        self.fresh = True  # it has taken no request yet
        self.lines: deque[bytes] = deque()
        self.rest = b""
        for pipe in (self.theirs, self.ours):
            os.set_blocking(pipe.fileno(), False)

    def ask(self, request: Mapping[str, Any]) -> None:
        """Send a request and wait until it is taken."""
        left = memoryview(json.dumps(request).encode() + b"\n")
        deadline = time.monotonic() + ANSWER_LIMIT
        try:
            while left:
                wait(self.theirs, select.POLLOUT, deadline)
                with suppress(BlockingIOError):
                    left = left[os.write(self.theirs.fileno(), left) :]
        except BrokenPipeError as error:
            raise Ended from error
        self.answer(ANSWER_LIMIT)
        self.fresh = False

    def answer(self, limit: float) -> Any:
        """The next line that it says, in so many seconds."""
        deadline = time.monotonic() + limit
        while not self.lines:
            wait(self.ours, select.POLLIN, deadline)
            data = os.read(self.ours.fileno(), 65536)
            if not data:
                raise Ended
            *lines, self.rest = (self.rest + data).split(b"\n")
            self.lines.extend(lines)
        return json.loads(self.lines.popleft())

    def end(self) -> int:
        """Kill it, if it still runs; answers its exit code."""
        self.close_pipes()
        self.running.kill()
        return self.running.wait()

    def close_pipes(self) -> None:
        self.theirs.close()
        self.ours.close()


def wait(pipe: IO[bytes], event: int, deadline: float) -> None:
    """Until there is something to read, or room to write. poll, since select cannot do with more than 1,024 files."""
    poll = select.poll()
    poll.register(pipe, event)
    if not poll.poll(max(deadline - time.monotonic(), 0) * 1000):
        raise Ended


class Evaluator:
    """The process that answers this process's questions, whichever it is at the moment."""

    def __init__(self) -> None:
        self.process: Process | None = None
        self.lock = threading.Lock()

    def answers(self, request: Mapping[str, Any], sources: Sequence[str]) -> list[Any]:
        """One for each source; TOO_EXPENSIVE for one that the evaluator did not survive. Raises CannotEvaluate."""
        with self.lock:
            try:
                return self.answers_of_all(request, sources)
            except BaseException:  # a task's time limit, too: the next question must not get this one's answers
                self.stop()
                raise

    def answers_of_all(self, request: Mapping[str, Any], sources: Sequence[str]) -> list[Any]:
        answers: list[Any] = []
        while left := sources[len(answers) :]:
            process, taken, before = self.alive(), False, len(answers)
            try:
                process.ask({**request, "sources": left})
                taken = True
                for _ in left:
                    answers.append(process.answer(ANSWER_LIMIT))
            except Ended:
                code = process.end()
                if taken and (code != RETIRED or len(answers) == before):
                    answers.append(TOO_EXPENSIVE)
                elif not taken and process.fresh:
                    raise CannotEvaluate(f"The evaluator of webhook filters takes no request: code {code}.") from None
        return answers

    def alive(self) -> Process:
        if self.process is None or self.process.running.poll() is not None:
            self.stop()
            self.process = Process()
            try:
                self.process.answer(START_LIMIT)  # "ready"
            except Ended:
                code = self.process.end()
                raise CannotEvaluate(f"The evaluator of webhook filters does not start: code {code}.") from None
        return self.process

    def stop(self) -> None:
        if self.process is not None:
            self.process.end()
            self.process = None

    def forget(self) -> None:
        """In a forked process: the evaluator and its pipes are the parent's, and so is whoever holds the lock."""
        if self.process is not None:
            self.process.close_pipes()
            self.process.running.returncode = RETIRED  # so that nobody here waits for it
        self.process = None
        self.lock = threading.Lock()


EVALUATOR = Evaluator()
os.register_at_fork(after_in_child=EVALUATOR.forget)
atexit.register(EVALUATOR.stop)
