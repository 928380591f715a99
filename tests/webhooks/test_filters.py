"""Webhook filters: the real CEL in the real evaluator process, what it says of mistakes, and what cannot hurt us."""

import itertools
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scanner.vulnerabilities.urgency import rank
from scanner.webhooks import filters
from scanner.webhooks.fields import CONSTANTS, EXAMPLES, FIELDS, PACKAGE_FIELDS
from scanner.webhooks.filter_messages import TOO_EXPENSIVE
from scanner.webhooks.filters import EVALUATOR, CannotEvaluate, FilterError, Problem, check, evaluate, needs

OPENSSL = {
    "name": "openssl",
    "architecture": "amd64",
    "installed_version": "3.0.15-1",
    "available_version": "3.0.16-1",
    "source": "openssl",
    "severity": 4,
    "cves": ["CVE-2026-1111", "CVE-2026-2222"],
    "advisories": ["DSA-6000-1"],
    "held": False,
    "blocked": "",
}
EVENT: dict[str, Any] = {
    "event": "security.package_scan_completed",
    "status": "danger",
    "status_label": "High Risk",
    "level": "high",
    "state": "completed",
    "security_updates": 23,
    "total_updates": 40,
    "total_packages": 900,
    "pinned_security_updates": 1,
    "new_security_updates": 2,
    "fixed_security_updates": 0,
    "previous_security_updates": 21,
    "previous_status": "danger",
    "changed": True,
    "reboot_required": True,
    "package_manager": "apt",
    "trigger": "schedule",
    "scan_date": "2026-01-31T06:00:00Z",
    "now": datetime(2026, 2, 2, 6, 30, tzinfo=UTC),
    "oldest_security_update_hours": 50.5,
    "late_security_updates": 1,
    "max_epss": 0.87,
    "known_exploited": True,
    "critical_updates": 0,
    "high_updates": 3,
    "max_severity": 4,
    "cves": ["CVE-2026-1111", "CVE-2026-2222"],
    "host.name": "web-1",
    "host.tags": ["prod", "web"],
    "packages": [OPENSSL, {**OPENSSL, "name": "bash", "severity": 2, "held": True, "blocked": "pinned"}],
    "packages_truncated": False,
}
CVES = [f"CVE-2026-{number}" for number in range(2000)]
LARGE_EVENT = {**EVENT, "cves": CVES, "packages": [{**OPENSSL, "cves": CVES[:40]} for _ in range(500)]}


def answer(source: str, **changes: Any) -> bool | FilterError:
    """`changes`: other values than EVENT's; None takes a field away."""
    return evaluate([source], {**EVENT, **changes})[0]


def without(name: str) -> dict[str, Any]:
    return {field: value for field, value in EVENT.items() if field != name}


def evaluator_pid() -> int:
    assert EVALUATOR.process is not None
    return EVALUATOR.process.running.pid


def runs(pid: int) -> bool:
    """Whether it is there, and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1][0] != "Z"
    except FileNotFoundError:
        return False


def ends(pid: int) -> bool:
    deadline = time.monotonic() + 10
    while runs(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    return not runs(pid)


# --- what a filter can say --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("", True),
        (" \n ", True),
        ("security_updates > 10", True),
        ("security_updates > 23", False),
        ("security_updates > 10 // many", True),
        ("security_updates >= 22.5 && security_updates < 23.5", True),
        ("oldest_security_update_hours > 48 && 51 > oldest_security_update_hours", True),
        ('status == "danger" && host.tags.exists(t, t == "prod")', True),
        ('"prod" in host.tags', True),
        ('"test" in host.tags', False),
        ('status in ["danger", "warning"]', True),
        ("new_security_updates > 0", True),
        ("security_updates - previous_security_updates == 2", True),
        ('"CVE-2026-1111" in cves', True),
        ('"CVE-2026-3333" in cves', False),
        ("max_severity >= high", True),
        ("max_severity >= critical", False),
        ('packages.exists(p, p.name == "openssl" && p.severity >= high)', True),
        ('packages.exists(p, p.name == "bash" && p.severity >= high)', False),
        ('packages.exists(p, "CVE-2026-2222" in p.cves)', True),
        ("packages.all(p, has(p.severity) && p.severity > none)", True),
        ("packages.exists_one(p, p.held)", True),
        ('packages.filter(p, p.blocked == "pinned").size() == 1', True),
        ("size(packages) == 2 && packages.size() == 2", True),
        ('packages[0].source == "openssl"', True),
        ('host.name.startsWith("web") && host.name.endsWith("1") && host.name.contains("b-")', True),
        ('now - scan_date > duration("24h")', True),
        ('now - scan_date > duration("49h")', False),
        ('scan_date + duration("1h") < now && scan_date > timestamp("2026-01-01T00:00:00Z")', True),
        ("now.getHours() == 6", True),
        ("reboot_required", True),
        ("!reboot_required", False),
        ("reboot_required ? security_updates > 30 : true", False),
        ("event == 'security.package_scan_completed'", True),
        ('host.name == "web-1" && status_label != "日本 😀"', True),
        ('status == "danger"\n  && level == "high"', True),
        (r'status != "a\"b\\c\u00e9"', True),
    ],
)
def test_a_filter_holds_or_does_not(source: str, expected: bool) -> None:
    assert check(source, sample=True) is None
    assert answer(source) is expected


USES = {
    "int": "{} >= 0 && {} < 100000",
    "double": "{} >= 0.5 && {} > 0",
    "bool": "{} == true || !{}",
    "string": '{} != "" && {}.size() > 0',
    "timestamp": '{} > timestamp("2020-01-01T00:00:00Z") && {} == {}',
    "list of string": '{}.exists(x, x != "") && {}.size() > 0',
    "list of package": '{}.exists(x, x.name != "") && {}.size() > 0',
}


@pytest.mark.parametrize("field", FIELDS, ids=lambda field: field.name)
def test_every_documented_field_can_be_used(field: Any) -> None:
    source = USES[field.type].replace("{}", field.name)
    assert check(source, sample=True) is None
    assert answer(source) is True


@pytest.mark.parametrize("name", PACKAGE_FIELDS)
def test_every_documented_field_of_a_package_can_be_used(name: str) -> None:
    source = f"packages.exists(p, has(p.{name}) && p.{name} == p.{name})"
    assert check(source, sample=True) is None
    assert answer(source) is True


def test_every_field_has_a_value_in_these_tests() -> None:
    assert set(EVENT) == {field.name for field in FIELDS}


def test_the_severities_are_always_known_and_in_order() -> None:
    assert evaluate(
        ["none < negligible && negligible < low && low < medium && medium < high && high < critical"], {}
    ) == [True]


@pytest.mark.parametrize(("source", "words"), EXAMPLES)
def test_the_editors_examples_work(source: str, words: str) -> None:
    assert words
    assert check(source, sample=True) is None
    assert answer(source) is True


@pytest.mark.parametrize(
    ("word", "name"),
    [
        ("Critical", "critical"),
        ("Important", "high"),
        ("HIGH", "high"),
        ("Moderate", "medium"),
        ("medium", "medium"),
        ("Low", "low"),
        ("negligible", "negligible"),
        ("unimportant", "negligible"),
        ("None", "none"),
    ],
)
def test_the_vendors_words_become_numbers(word: str, name: str) -> None:
    assert rank(word) == CONSTANTS[name]


@pytest.mark.parametrize("word", ["", "Unknown", "not yet assigned", "very"])
def test_an_unknown_severity_is_no_number(word: str) -> None:
    assert rank(word) is None


def test_many_filters_are_answered_in_their_order_each_text_once() -> None:
    sources = ["security_updates > 30", "", "security_updates > 10", "xyzzy", "security_updates > 10"]
    assert evaluate(sources, EVENT) == [False, True, True, FilterError("unknown field 'xyzzy'"), True]


def test_the_needed_fields_are_those_that_are_mentioned() -> None:
    assert needs(["security_updates > 10", '"x" in host.tags', ""]) == {"security_updates", "host.name", "host.tags"}
    assert needs(["packages.exists(p, p.name == 'x')"]) == {"packages"}
    assert needs([]) == set()


def test_data_that_nobody_asks_for_is_not_even_looked_at() -> None:
    assert evaluate(["security_updates > 10"], {"security_updates": 11, "packages": object()}) == [True]


def test_a_time_may_be_text_or_have_another_offset() -> None:
    same = {"now": "2026-01-31T07:30:00+01:00", "scan_date": datetime(2026, 1, 31, 6, 30, tzinfo=UTC)}
    assert evaluate(["now == scan_date"], same) == [True]
    with pytest.raises(ValueError, match="yesterday"):
        evaluate(["now > scan_date"], {"now": "yesterday"})


# --- what it says of mistakes -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "message", "column"),
    [
        ("securty_updates > 10", "unknown field 'securty_updates' - did you mean 'security_updates'?", 1),
        ("Status == 'danger'", "unknown field 'Status' - did you mean 'status'?", 1),
        ("max_severity >= hgih", "unknown field 'hgih' - did you mean 'high'?", 17),
        ("true && host.tgas == []", "unknown field 'host.tgas' - did you mean 'host.tags'?", 9),
        ("true && host . tgas == []", "unknown field 'host.tgas' - did you mean 'host.tags'?", 9),
        ("severity >= high", "unknown field 'severity' - did you mean 'max_severity'?", 1),
        (
            "p.severity >= high",
            "unknown field 'p.severity' - look at packages with packages.exists(p, p.severity …)",
            1,
        ),
        (
            "packages.severity >= high",
            'packages is a list: write packages.exists(p, p.name == "openssl")',
            9,
        ),
        ("xyzzy > 10", "unknown field 'xyzzy'", 1),
        ("security_updates >", "the expression ends too early", 19),
        ("(security_updates > 1", "the expression ends too early: ')' is missing", 22),
        ('security_updates > "x"', "cannot use '>' with int and string", 18),
        (
            'security_updates > "10"',
            "cannot use '>' with int and string - write security_updates > 10, without quotes",
            18,
        ),
        ("security_updates = 10", "use '==' to compare", 18),
        ('status === "danger"', "use '==' to compare", 10),
        ("security_updates => 10", "use '>=' instead of '=>'", 18),
        ("security_updates <> 10", "use '!=' instead of '<>'", 18),
        ("security_updates ≥ 10", "use '>=' instead of '≥'", 18),
        ("status == “danger”", "use '\"' instead of '“'", 11),
        ("security_updates > 10 and total_updates > 0", "use '&&' instead of 'and'", 23),
        ("security_updates > 10 OR total_updates > 0", "use '||' instead of 'OR'", 23),
        ("security_updates > 10 & changed", "use '&&' instead of '&'", 23),
        ("not reboot_required", "use '!' instead of 'not'", 1),
        ("not (reboot_required)", "use '!' instead of 'not'", 1),
        ("security_updates", "must be true or false, but this is INT", 1),
        ("null", "must be true or false, but this is NULL", 1),
        ("dyn(null)", "must be true or false, but this is DYN: compare it, for instance with == true", 1),
        ("foo(1)", "unknown function 'foo'", 1),
        ("foo(securty)", "unknown function 'foo'", 1),
        ('host.tags.exist(t, t == "x")', "unknown function 'exist' - did you mean 'exists'?", 11),
        (
            "host.tags.exists(t)",
            "'exists' is used like this: host.tags.exists(t, t == \"prod\")",
            11,
        ),
        ("status == danger", "unknown field 'danger' - put text in quotes", 11),
        ("completed != state", "unknown field 'completed' - put text in quotes", 1),
        ("status in [danger, warning]", "unknown field 'danger' - put text in quotes", 12),
        ("prod in host.tags", "unknown field 'prod' - put text in quotes", 1),
        ("host.tags.exists(t, t == prod)", "unknown field 'prod' - put text in quotes", 26),
        ("CVE-2026-1111 in cves", "unknown field 'CVE' - put text in quotes", 1),
        ("status == status_lable", "unknown field 'status_lable' - did you mean 'status_label'?", 11),
        ("level == high", "cannot use '==' with string and int - put text in quotes: \"high\"", 7),
        (
            'max_severity >= "high"',
            "cannot use '>=' with int and string - write max_severity >= high, without quotes",
            14,
        ),
        (
            'level >= "high"',
            "cannot use '>=' with string and string - write max_severity >= high, without quotes",
            7,
        ),
        (
            'packages.exists(p, p.severity >= "High")',
            "cannot use '>=' with any and string - write p.severity >= high, without quotes",
            31,
        ),
        (
            'packages.exists(p, p.available_version > "3.0")',
            "cannot use '>' with any and string - text has no order; use ==, startsWith() or contains()",
            40,
        ),
        (
            '"prod" in host.name',
            "cannot use 'in' with string and string - for text in text use contains()",
            8,
        ),
        (
            'host.tags == "prod"',
            "cannot use '==' with list of string and string - to look for a text in a list write \"prod\" in host.tags",
            11,
        ),
        (
            'now - scan_date > "24h"',
            "cannot use '>' with duration and string - write duration(\"24h\")",
            17,
        ),
        ("now - scan_date > 24h", 'a time span is written as duration("24h")', 21),
        (
            "host.tags.map(t, t)",
            "map is not available: its result could fill the memory; use exists(), all() or filter()",
            11,
        ),
        (
            'host.name.matches("(a+)+$")',
            "matches is not available: one pattern could take minutes; use contains(), startsWith() or endsWith()",
            11,
        ),
        (
            'matches(host.name, "(a+)+$")',
            "matches is not available: one pattern could take minutes; use contains(), startsWith() or endsWith()",
            1,
        ),
        ('status == "danger', "this text has no closing quote, or a '\\' that is not doubled", 11),
        ("status == 'it's'", "an operator such as '&&' is missing before 's'", 15),
        ("security_updates > 1;", "';' cannot be used here", 21),
        ("has(security_updates)", "has() asks a package for a field, such as has(p.severity)", 5),
        ("security_updates > 99999999999999999999", "this number is too large", 20),
    ],
)
def test_a_mistake_is_named_in_plain_words(source: str, message: str, column: int) -> None:
    assert check(source) == Problem(message, 1, column)
    assert answer(source) == FilterError(message)


@pytest.mark.parametrize(
    ("source", "message", "column"),
    [
        ('packages.exists(p, p.nme == "x")', "a package has no 'nme' - did you mean 'name'?", 22),
        ('packages.exists(p, p["nam"] == "x")', "a package has no 'nam' - did you mean 'name'?", 23),
        ("packages.exists(p, p.name > 3)", "cannot use '>' with string and int", 27),
        ("packages.exists(p, p.name)", "what exists(), all(), && and || look at must be true or false", 1),
        ('now - scan_date > duration("1 day")', 'duration() takes a text such as "48h" or "30m"', 19),
    ],
)
def test_a_mistake_that_shows_only_when_it_runs_is_found_with_the_sample(
    source: str, message: str, column: int
) -> None:
    assert check(source) is None
    assert check(source, sample=True) == Problem(message, 1, column)
    assert answer(source) == FilterError(message)


@pytest.mark.parametrize(
    ("source", "line", "column"),
    [
        ("changed &&\n  securty_updates > 10", 2, 3),
        ("changed &&\r\n\tsecurty_updates > 10", 2, 2),
        ('status == "日本 😀" && securty_updates > 10', 1, 21),
        ("\n\nfoo(1)", 3, 1),
    ],
)
def test_a_mistake_is_where_the_name_begins(source: str, line: int, column: int) -> None:
    problem = check(source)
    assert problem
    assert (problem.line, problem.column) == (line, column)


# --- what is not known ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["security_updates", "new_security_updates", "max_severity"])
def test_a_field_that_is_not_known_is_an_error_and_never_false(name: str) -> None:
    for source in (f"{name} > 10", f"{name} <= 10", f"!({name} > 10)", f"{name} == 0 ? true : false"):
        assert evaluate([source], without(name)) == [FilterError(f"{name} is not known in this event")]
    assert answer(f"{name} > 10", **{name: None}) == FilterError(f"{name} is not known in this event")


@pytest.mark.parametrize("name", ["host.name", "host.tags", "cves", "packages"])
def test_unknown_texts_and_lists_are_no_empty_ones(name: str) -> None:
    assert evaluate([f"size({name}) == 0"], without(name)) == [FilterError(f"{name} is not known in this event")]


def test_what_decides_without_an_unknown_field_decides() -> None:
    failed = {"state": "failed", "status": "unknown"}
    assert evaluate(['security_updates > 10 || state == "failed"'], failed) == [True]
    assert evaluate(['state == "failed" || security_updates > 10'], failed) == [True]
    assert evaluate(['security_updates > 10 && state == "completed"'], failed) == [False]
    assert isinstance(evaluate(['security_updates > 10 || state == "partial"'], failed)[0], FilterError)


def test_a_severity_that_nobody_gave_is_an_error_unless_it_is_asked_for() -> None:
    unrated = {name: value for name, value in OPENSSL.items() if name != "severity"}
    assert answer("packages.exists(p, p.severity >= low)", packages=[unrated]) == FilterError(
        "severity is not known for every package; ask has(p.severity) first"
    )
    assert answer("packages.exists(p, has(p.severity) && p.severity >= low)", packages=[unrated]) is False
    assert answer("packages.exists(p, p.severity >= low)", packages=[unrated, OPENSSL]) is True


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("total_updates / fixed_security_updates > 1", "division by zero"),
        ("total_updates % fixed_security_updates > 1", "division by zero"),
        ('host.tags[2] == "x"', "a list of 2 has no [2]; the first is [0]"),
        ("security_updates * 9223372036854775807 > 1", "integer overflow"),
    ],
)
def test_what_may_go_wrong_with_an_event_is_no_reason_to_refuse_the_filter(source: str, message: str) -> None:
    assert check(source, sample=True) is None
    assert answer(source) == FilterError(message)


def test_data_of_a_wrong_type_is_an_error() -> None:
    for wrong in ("23", 23.5, [23], 2**63):
        assert isinstance(answer("security_updates > 10", security_updates=wrong), FilterError)


# --- what users write cannot hurt us ----------------------------------------------------------------


def doubling(times: int, start: str) -> str:
    """An expression in which a list or a text becomes eight times as long, again and again."""
    inner = "size(a) < 0"
    for _ in range(times):
        inner = f"[a + a + a + a + a + a + a + a].exists(a, {inner})"
    return f"[{start}].exists(a, {inner})"


HOSTILE = {
    "cpu: large lists compared in a loop": f"cves.all(a, {' && '.join(['packages == packages'] * 40)})",
    "cpu: membership in loops": f"[1, 2, 3, 4].all(z, cves.all(a, {' && '.join(['!(a + a in cves)'] * 40)}))",
    "cpu: nested all": "packages.all(a, packages.all(b, packages.all(c, packages.all(d, true))))",
    "memory: lists added in a loop": f"cves.all(a, size({' + '.join(['cves'] * 20)}) > 0)",
    "memory: lists that grow": doubling(6, "cves"),
    "memory: texts that grow": doubling(9, '"' + "a" * 300 + '"'),
    "memory: filter in a loop": "packages.all(q, packages.filter(p, true).size() > 0)",
}


@pytest.mark.parametrize("source", HOSTILE.values(), ids=HOSTILE.keys())
def test_an_expensive_filter_is_stopped_and_only_it_fails(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filters, "ANSWER_LIMIT", 100)  # so that only the kernel and CEL can stop it
    assert check(source) is None
    memory, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
    sources = ["security_updates > 10", source, "security_updates > 30", "max_severity >= high"]
    assert evaluate(sources, LARGE_EVENT) == [True, FilterError(TOO_EXPENSIVE), False, True]
    assert time.monotonic() - started < 60
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory < 50 * 1024  # KiB
    assert answer("security_updates > 10") is True


def test_the_kernel_limits_the_evaluator() -> None:
    assert answer("changed") is True
    assert 0 < resource.prlimit(evaluator_pid(), resource.RLIMIT_AS)[0] < 1024**3
    assert 0 < resource.prlimit(evaluator_pid(), resource.RLIMIT_CPU)[0] < 1000
    assert resource.prlimit(evaluator_pid(), resource.RLIMIT_CORE) == (0, 0)


@pytest.mark.parametrize("kind", ["cpu: nested all", "memory: texts that grow"])
def test_an_expensive_filter_cannot_be_saved(kind: str) -> None:
    assert check(HOSTILE[kind], sample=True) == Problem(TOO_EXPENSIVE)
    assert check("security_updates > 10", sample=True) is None


def test_what_may_be_saved_takes_half_of_what_is_allowed_later() -> None:
    assert check(doubling(3, "cves"), sample=True) == Problem(TOO_EXPENSIVE)
    assert evaluate([doubling(3, "cves")], LARGE_EVENT) == [False]


def test_many_filters_that_make_lists_do_not_add_up() -> None:
    numbers = range(1, 100)
    sources = [f"packages.filter(p, p.severity >= {number % 7}).size() == 500 && {number} > 0" for number in numbers]
    EVALUATOR.stop()
    assert answer("changed") is True
    before = evaluator_pid()
    assert evaluate(sources, LARGE_EVENT) == [number % 7 <= OPENSSL["severity"] for number in numbers]
    assert evaluate(sources, LARGE_EVENT) == [number % 7 <= OPENSSL["severity"] for number in numbers]
    assert evaluator_pid() == before
    assert answer("changed") is True
    resident = int(Path(f"/proc/{before}/statm").read_text().split()[1]) * resource.getpagesize()
    assert resident < 60 * 1024**2  # it has given back what it needed


def test_a_chain_of_maps_is_refused() -> None:
    source = '["aaaaaaaaaaaaaaaa"]' + ".map(s, s + s + s + s)" * 8 + ".size() > 0"
    problem = check(source)
    assert problem
    assert problem.message.startswith("map is not available")


def test_no_answer_in_time_counts_as_too_expensive(monkeypatch: pytest.MonkeyPatch) -> None:
    EVALUATOR.stop()
    monkeypatch.setattr(filters, "ANSWER_LIMIT", 1)
    sources = [HOSTILE["cpu: large lists compared in a loop"], "changed"]
    assert evaluate(sources, LARGE_EVENT) == [FilterError(TOO_EXPENSIVE), True]


def test_an_evaluator_that_has_grown_makes_room_and_nobody_is_to_blame() -> None:
    assert answer("changed") is True
    before = evaluator_pid()
    sources = [doubling(3, "cves"), *(f"security_updates > {number}" for number in range(20, 26))]
    assert evaluate(sources, {**EVENT, "cves": CVES * 2}) == [False, True, True, True, False, False, False]
    assert evaluator_pid() != before
    assert not runs(before)


@pytest.mark.parametrize(
    "source",
    [
        "(" * 400 + "true" + ")" * 400,
        "[" * 400 + "]" * 400 + " == []",
        "+".join(["1"] * 400) + " > 1",
        "true" + " ? true" * 60 + " : true" * 60,
        "host" + ".name" * 150 + " == ''",
        "{" * 500,
        "-" * 999,
        "'" * 999,
        "\\" * 999,
    ],
)
def test_deep_nesting_is_a_problem_and_no_crash(source: str) -> None:
    assert EVALUATOR.process
    process = EVALUATOR.process
    problem = check(source)
    assert problem
    assert problem.message != TOO_EXPENSIVE
    assert len(problem.message) < 400
    assert EVALUATOR.process is process
    assert process.running.poll() is None


def test_many_negations_are_fine() -> None:
    assert check("!" * 900 + "true") is None


@pytest.mark.parametrize("source", ["+".join(["1"] * 50_000) + " > 1", "x" * 1001, "(" * 1_000_000])
def test_a_long_text_is_refused_without_a_question(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(EVALUATOR, "answers", lambda _, sources: [pytest.fail("asked") for _ in sources])
    assert check(source, sample=True) == Problem("longer than 1,000 characters")
    assert answer(source) == FilterError("longer than 1,000 characters")


@pytest.mark.parametrize("character", ["\0", "\x1b", "\x7f", "\ud800"])
def test_characters_that_are_no_text_are_refused(character: str) -> None:
    problem = check(f'changed\n&& "{character}" == status')
    assert problem == Problem(f"the character U+{ord(character):04X} cannot be used", 2, 5)
    assert isinstance(answer(f'"{character}" == status'), FilterError)


def test_null_is_a_value_like_any_other_however_often() -> None:
    sources = [f"packages.all(p, p.blocked == null) && dyn(null) == null && {n} >= 0" for n in range(3000)]
    assert evaluate(sources, {"packages": [{"name": "bash", "blocked": None}]}) == [True] * 3000
    assert evaluate(["packages[0].blocked > 1"], {"packages": [{"blocked": None}]}) == [
        FilterError("cannot use '>' with null and int")
    ]


@settings(deadline=None, max_examples=100, database=None)
@given(st.text(st.characters(codec="utf-8", categories=["L", "M", "N", "P", "S", "Z"]), max_size=200))
def test_any_text_is_fine_or_a_problem(source: str) -> None:
    problem = check(source)
    assert problem is None or isinstance(problem, Problem)
    if problem:
        assert problem.message != TOO_EXPENSIVE
        assert 1 <= problem.line <= source.count("\n") + 1
        assert 1 <= problem.column <= len(source) + 1


SIGNS = """
true null danger t p.nme exists( has( map( size( in and not == != < >= = => && || & ! - + * / % ( ) [ ] { } , . : ?
1 10u 1.5 24h "high" 'x' " ' # //
"""
WORDS = [*(field.name for field in FIELDS), *CONSTANTS, *SIGNS.split()]


@settings(deadline=None, max_examples=200, database=None)
@given(st.lists(st.sampled_from(WORDS), max_size=12))
def test_any_row_of_words_is_answered_or_an_error(words: list[str]) -> None:
    source = " ".join(words)
    problem, result = check(source), answer(source)
    assert result != FilterError(TOO_EXPENSIVE)
    if problem:
        assert result == FilterError(problem.message)


# --- the process behind it --------------------------------------------------------------------------


def test_a_killed_evaluator_is_replaced_and_nobody_notices() -> None:
    for _ in range(3):
        assert answer("security_updates > 10") is True
        os.kill(evaluator_pid(), signal.SIGKILL)
        assert answer("security_updates > 30") is False
        os.kill(evaluator_pid(), signal.SIGKILL)
        assert check("security_updates") == Problem("must be true or false, but this is INT")


def test_a_stopped_evaluator_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    assert answer("changed") is True
    before = evaluator_pid()
    monkeypatch.setattr(filters, "ANSWER_LIMIT", 1)
    os.kill(before, signal.SIGSTOP)
    assert answer("changed") is True
    assert not runs(before)


def test_no_zombie_stays() -> None:
    for _ in range(3):
        assert answer("changed") is True
        os.kill(evaluator_pid(), signal.SIGKILL)
    assert answer(HOSTILE["memory: texts that grow"]) == FilterError(TOO_EXPENSIVE)
    assert answer("changed") is True
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    states = [Path(f"/proc/{child}/stat").read_text().rsplit(") ", 1)[1][0] for child in children]
    assert "Z" not in states


def test_a_filter_is_to_blame_even_where_nobody_hears_how_the_evaluator_ended() -> None:
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # ended children vanish, and their exit codes with them
    try:
        sources = [HOSTILE["memory: texts that grow"], "changed"]
        assert evaluate(sources, EVENT) == [FilterError(TOO_EXPENSIVE), True]
    finally:
        signal.signal(signal.SIGCHLD, before)


def test_two_threads_get_their_own_answers() -> None:
    right: list[int] = []

    def ask(number: int) -> None:
        for limit in range(150):
            sources = [f"security_updates > {limit}", f"security_updates == {number}"]
            if evaluate(sources, {"security_updates": number}) == [number > limit, True]:
                right.append(number)

    threads = [threading.Thread(target=ask, args=(number,)) for number in (50, 100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(right) == [50] * 150 + [100] * 150


def test_the_evaluator_outlives_the_thread_that_started_it() -> None:
    EVALUATOR.stop()
    thread = threading.Thread(target=answer, args=("changed",))
    thread.start()
    thread.join()
    before = evaluator_pid()
    time.sleep(0.1)
    assert answer("changed") is True
    assert evaluator_pid() == before


def test_after_a_fork_both_get_right_answers() -> None:
    assert answer("security_updates > 10") is True
    before = evaluator_pid()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            right = all(answer(f"security_updates > {number}") is (number < 23) for number in range(30))
            code = 0 if right and evaluator_pid() != before else 1
            EVALUATOR.stop()
        finally:
            os._exit(code)
    assert all(answer(f"security_updates == {number}") is (number == 23) for number in range(30))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert evaluator_pid() == before
    assert answer("security_updates > 10") is True


def test_a_fork_while_a_thread_asks_does_not_wait_for_its_lock() -> None:
    assert answer("changed") is True
    with EVALUATOR.lock:
        child = os.fork()
        if child == 0:
            code = 1
            try:
                code = 0 if answer("changed") is True else 1
                EVALUATOR.stop()
            finally:
                os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


class Interrupted(BaseException):
    """As a task's time limit comes: out of nowhere."""


@pytest.fixture
def interrupted_soon() -> Iterator[None]:
    def interrupt(_: int, __: FrameType | None) -> None:
        raise Interrupted

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.3)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.usefixtures("interrupted_soon")
def test_an_interrupted_question_leaves_no_answer_for_the_next() -> None:
    slow = " && ".join(['!("" in cves)'] * 30)
    sources = [f"packages.all(p, {slow}) && {number} > 0" for number in range(1, 20)]
    with pytest.raises(Interrupted):
        evaluate(sources, LARGE_EVENT)
    assert evaluate(["!changed", "!changed", "!changed"], EVENT) == [False, False, False]


def test_the_evaluator_has_no_file_little_environment_and_no_terminal_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_KEY", "not for you")
    EVALUATOR.stop()
    with (tmp_path / "ours").open("w") as file:
        os.set_inheritable(file.fileno(), True)
        assert answer("changed") is True
    process = Path(f"/proc/{evaluator_pid()}")
    assert {int(link.name) for link in (process / "fd").iterdir()} <= {0, 1, 2, 3}
    assert (process / "fd/3").readlink().name == "statm"
    assert os.getsid(evaluator_pid()) != os.getsid(0)
    assert b"not for you" not in (process / "environ").read_bytes()


ASK_AND = """
import os, signal, sys
from scanner.webhooks import filters
assert filters.evaluate(["security_updates > 10"], {"security_updates": 11}) == [True]
print(filters.EVALUATOR.process.running.pid, flush=True)
"""
LEAVE_A_CHILD = """
if os.fork() == 0:
    print(os.getpid(), flush=True)
    signal.pause()
os.wait()
"""


def python(script: str) -> "subprocess.Popen[str]":
    return subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, cwd=filters.ROOT)


def test_the_evaluator_ends_with_its_process() -> None:
    with python(ASK_AND) as process:
        assert process.stdout
        pid = int(process.stdout.readline())
        assert process.wait() == 0
    assert ends(pid)


def test_the_evaluator_ends_when_its_process_is_killed_even_if_a_forked_one_lives_on() -> None:
    with python(ASK_AND + LEAVE_A_CHILD) as process:
        assert process.stdout
        pid, child = int(process.stdout.readline()), int(process.stdout.readline())
        process.kill()
        process.wait()
        try:
            assert runs(child)
            assert ends(pid)
        finally:
            os.kill(child, signal.SIGKILL)


def test_an_evaluator_that_does_not_start_is_an_error_of_the_installation(monkeypatch: pytest.MonkeyPatch) -> None:
    EVALUATOR.stop()
    monkeypatch.setattr(filters, "ARGV", [sys.executable, "-c", "raise SystemExit(3)"])
    with pytest.raises(CannotEvaluate, match="code 3"):
        check("changed")
    monkeypatch.setattr(filters, "ARGV", [sys.executable, "-c", "print('\"ready\"', flush=True)"])
    with pytest.raises(CannotEvaluate):
        answer("changed")
    monkeypatch.undo()
    assert answer("changed") is True


@pytest.mark.parametrize(
    ("module", "unwanted"),
    [("scanner.webhooks.filters", "cel_expr_python"), ("scanner.webhooks.evaluator", "django")],
)
def test_cel_stays_out_of_our_processes_and_django_out_of_the_evaluator(module: str, unwanted: str) -> None:
    script = f"import sys, {module}; print({unwanted!r} in sys.modules)"
    with python(script) as process:
        assert process.stdout
        assert process.stdout.read() == "False\n"


def test_many_different_filters_are_answered_at_once() -> None:
    sources = [f"security_updates > {number}" for number in range(10_000)]
    expected = itertools.chain([True] * 23, itertools.repeat(False))
    assert evaluate(sources, EVENT) == list(itertools.islice(expected, 10_000))
