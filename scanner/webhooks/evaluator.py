"""Compiles and evaluates webhook filters, in a process of its own: `python -m scanner.webhooks.evaluator`.

What users write can hang, bloat or crash this process only; scanner.webhooks.filters starts it, asks it, and starts
another one when it has ended. One JSON value a line:

    it says   "ready"
    it reads  {"task": "check", "sources": ["status == danger"], "sample": false}
    it says   null                                  it has read that, and begins
              true | {"message", "line", "column"}  for each source: fine, or what is wrong
    it reads  {"task": "evaluate", "sources": ["security_updates > 10", …], "data": {"security_updates": 23, …}}
    it says   null
              true | false | "words"                for each source, as soon as it is known; words: why it cannot be

It ends with code 0 at the end of its input, or between two sources when it has grown; after anything else that ends
it, the source that it has not answered is to blame.
"""

import ctypes
import json
import math
import os
import resource
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from functools import cache, lru_cache
from typing import Any

from cel_expr_python import cel

from scanner.webhooks.fields import CONSTANTS, FIELDS, PACKAGE_FIELDS
from scanner.webhooks.filter_messages import (
    TOO_EXPENSIVE,
    Problem,
    compile_problem,
    run_error,
    sample_problem,
    type_problem,
)

MIB = 1024 * 1024
MEMORY = 512 * MIB  # that it may grow by, all in all
GROWN = 256 * MIB  # having grown by that much, it makes room for a fresh one
RENEWED = 64 * MIB  # CEL keeps what evaluations make with the data: after that much the data is converted anew
TRIMMED = 16 * MIB  # having taken that much for a request, it gives back what is free: most of the time it is idle
SAMPLE_MEMORY = (MEMORY - GROWN) // 2  # half of what an evaluation may take: what was saved does not fail later
SECONDS = 1.0  # of CPU time for one source; rounded up to the kernel's whole seconds
SAMPLE_SECONDS = SECONDS / 2
READING_SECONDS = 60  # of CPU time to read a request, which is not what a user wrote
SAMPLE_PACKAGES, SAMPLE_CVES = 500, 2000
PROGRAMS = 20_000  # compiled ones that are kept; a simple one takes 5 KB
PAGE = resource.getpagesize()
LIBC = ctypes.CDLL(None)
STATM = os.open("/proc/self/statm", os.O_RDONLY)

T = cel.Type
TYPES = {
    "int": T.INT,
    "double": T.DOUBLE,
    "bool": T.BOOL,
    "string": T.STRING,
    "timestamp": T.TIMESTAMP,
    "list of string": T.List(T.STRING),
    "list of package": T.List(T.Map(T.STRING, T.DYN)),
}
TIMESTAMPS = [field.name for field in FIELDS if field.type == "timestamp"]

# No map: eight of them in a chain fill any memory. No matches: it compiles its pattern for every call.
CONFIG = """
name: webhook-filter
stdlib:
  include_macros: [has, all, exists, exists_one, filter]
  exclude_functions: [{name: matches}, {name: "_<_"}, {name: "_<=_"}, {name: "_>_"}, {name: "_>=_"}]
"""
# CEL compares an int with a double, but its checker refuses that until it is declared. Not for text: "high" < "low".
COMPARISONS = {"_<_": "less", "_<=_": "less_equals", "_>_": "greater", "_>=_": "greater_equals"}
KINDS = {"int64": T.INT, "double": T.DOUBLE, "timestamp": T.TIMESTAMP, "duration": T.DURATION}
COMPARED = (*((kind, kind) for kind in KINDS), ("int64", "double"), ("double", "int64"))


class Refused(Exception):
    """A source that cannot be used, with its Problem."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem


# --- the language -----------------------------------------------------------------------------------


def comparison(operator: str, name: str) -> cel.FunctionDecl:
    """The overloads need no implementation: the runtime has them, under these names."""
    return cel.FunctionDecl(operator, [overload(name, left, right) for left, right in COMPARED])


def overload(name: str, left: str, right: str) -> cel.Overload:
    kinds = left if left == right else f"{left}_{right}"
    return cel.Overload(f"{name}_{kinds}", T.BOOL, [KINDS[left], KINDS[right]])


def environment() -> cel.Env:
    return cel.NewEnv(
        config=cel.NewEnvConfigFromYaml(CONFIG),
        variables={field.name: TYPES[field.type] for field in FIELDS} | dict.fromkeys(CONSTANTS, T.INT),
        functions=[comparison(operator, name) for operator, name in COMPARISONS.items()],
    )


ENVIRONMENT = environment()


@lru_cache(PROGRAMS)
def program(source: str) -> cel.Expression:
    """Raises Refused."""
    try:
        compiled = ENVIRONMENT.compile(source)
    except RuntimeError as error:
        raise Refused(compile_problem(str(error), source)) from error
    if compiled.return_type() != T.BOOL:
        raise Refused(type_problem(compiled.return_type().name()))
    return compiled


class Data:
    """What is known of an event, as CEL has it."""

    def __init__(self, data: Mapping[str, Any]) -> None:
        self.values = {**data, **CONSTANTS} | {name: moment(data[name]) for name in TIMESTAMPS if name in data}
        self.size = size()
        self.renew()

    def renew(self) -> None:
        self.activation = None  # frees the old one first
        self.activation = ENVIRONMENT.Activation(self.values)

    def run(self, compiled: cel.Expression) -> bool | str:
        """The answer, or CEL's text of what went wrong. Raises MemoryError."""
        try:
            result = compiled.eval(self.activation)
        except RuntimeError as error:
            return str(error)
        if result.type() == T.BOOL:
            return bool(result.value())
        # .value() of a null would drop a reference to None, which ends CPython before 3.12 after some thousand times
        return str(result.value()) if result.type() == T.ERROR else f"a result of type {result.type().name()}"


def moment(text: str) -> datetime:
    date = datetime.fromisoformat(text)
    return date if date.tzinfo else date.replace(tzinfo=UTC)


@cache
def sample() -> dict[str, Any]:
    """An event as large as they get, in which everything is known."""
    cves = [f"CVE-2026-{number}" for number in range(SAMPLE_CVES)]
    values: dict[str, Any] = {"int": 100, "double": 100.0, "bool": True, "timestamp": "2026-01-31T00:00:00Z"}
    values |= {"string": "danger", "list of string": cves}
    data = {field.name: values.get(field.type) for field in FIELDS}
    packages = [sample_package(number) for number in range(SAMPLE_PACKAGES)]
    return data | {"host.tags": ["prod", "web"], "packages": packages}


def sample_package(number: int) -> dict[str, Any]:
    package: dict[str, Any] = dict.fromkeys(PACKAGE_FIELDS, f"package-{number}")
    cves = [f"CVE-2026-{number + each}" for each in range(40)]
    return package | {"severity": number % 6, "cves": cves, "advisories": [f"DSA-{number}-1"], "held": False}


# --- the two tasks ----------------------------------------------------------------------------------


def check(source: str, with_sample: bool) -> Problem | None:
    try:
        compiled = program(source)
    except Refused as refused:
        return refused.problem
    return try_sample(source, compiled) if with_sample else None


def try_sample(source: str, compiled: cel.Expression) -> Problem | None:
    data = Data(sample())
    before = time.process_time()
    answer = data.run(compiled)
    if time.process_time() - before > SAMPLE_SECONDS or size() - data.size > SAMPLE_MEMORY:
        return Problem(TOO_EXPENSIVE)
    return sample_problem(answer, source) if isinstance(answer, str) else None


def evaluate(source: str, data: Data) -> bool | str:
    try:
        answer = data.run(program(source))
    except Refused as refused:
        return refused.problem.message
    return run_error(answer) if isinstance(answer, str) else answer


def answers(request: Mapping[str, Any]) -> Iterator[Any]:
    """One for each source; each source has CPU time of its own."""
    data = Data(request["data"]) if request["task"] == "evaluate" else None
    for source in request["sources"]:
        allow(SECONDS)
        if data is None:
            problem = check(source, request["sample"])
            yield asdict(problem) if problem else True
        else:
            yield evaluate(source, data)
            if size() - data.size > RENEWED:
                data.renew()


# --- the process ------------------------------------------------------------------------------------


def main() -> None:
    signal.signal(signal.SIGXCPU, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    first_size = size()
    limit(resource.RLIMIT_AS, first_size + MEMORY)
    say("ready")
    for line in sys.stdin.buffer:  # it ends with who asks: nobody else has the other end of the pipe
        request, before = json.loads(line), resident()
        say(None)
        for answer in answers(request):
            say(answer)
            if size() - first_size > GROWN:
                return
        allow(READING_SECONDS)
        if resident() - before > TRIMMED:
            LIBC.malloc_trim(0)


def say(answer: Any) -> None:
    sys.stdout.buffer.write(json.dumps(answer).encode() + b"\n")
    sys.stdout.buffer.flush()


def size() -> int:
    """Bytes of address space, which is what RLIMIT_AS counts."""
    return int(os.pread(STATM, 64, 0).split(maxsplit=1)[0]) * PAGE


def resident() -> int:
    """Bytes of memory."""
    return int(os.pread(STATM, 64, 0).split(maxsplit=2)[1]) * PAGE


def allow(seconds: float) -> None:
    """So much more CPU time from now on; at its end the kernel ends us, in the middle of whatever CEL does."""
    limit(resource.RLIMIT_CPU, math.ceil(time.process_time() + seconds))


def limit(kind: int, wanted: int) -> None:
    _, hard = resource.getrlimit(kind)
    resource.setrlimit(kind, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard))


if __name__ == "__main__":
    code = 0
    try:
        main()
    except MemoryError:
        code = 1
    except BrokenPipeError:  # nobody wants the answer any more
        pass
    os._exit(code)  # freeing what CEL holds would take time, and memory
