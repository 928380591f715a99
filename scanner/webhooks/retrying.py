"""When to try again, and when to give up: the documented schedules, as data."""

import random
from dataclasses import dataclass
from datetime import timedelta

from scanner.webhooks.interface import Answer

MINUTE, HOUR = 60, 3600
FOR_PROGRAMS = (5, 5 * MINUTE, 30 * MINUTE, *(hours * HOUR for hours in (2, 5, 10, 14, 20, 24)))
FOR_PEOPLE = (10, MINUTE, 5 * MINUTE, 30 * MINUTE, 2 * HOUR, 6 * HOUR)  # later the news would be stale
JITTER = 0.2  # of a wait, up or down: what failed together does not come back together
SLOW_DOWN = {429, 502, 504}  # the receiver is overloaded
SLOW_DOWN_WAIT = MINUTE
REFUSALS = {400, 401, 403, 404}  # from a chat: it will not change its mind
REFUSALS_LIMIT = 3  # attempts

BREAKER_FAILURES = 10  # in a row
BREAKER_SHARE, BREAKER_LEAST, BREAKER_WINDOW = 0.7, 10, timedelta(minutes=5)
BREAKER_REST = timedelta(minutes=5)  # then one probe, and another rest if it fails
DISABLE_AFTER = timedelta(days=5)  # during which every attempt failed


@dataclass(frozen=True, slots=True)
class Next:
    """Another attempt in `seconds`, or, if that is None, the end and why."""

    seconds: float | None
    reason: str


def schedule(for_people: bool) -> tuple[int, ...]:
    """The waits after the first, second, … failed attempt, in seconds."""
    return FOR_PEOPLE if for_people else FOR_PROGRAMS


def oldest(for_people: bool) -> timedelta:
    """The age at which a delivery is given up that could not even be tried."""
    return timedelta(seconds=2 * sum(schedule(for_people)))


def after_failure(answer: Answer, attempts: int, for_people: bool) -> Next:
    """What follows a failed attempt, the first of which is number 1."""
    waits = schedule(for_people)
    if answer.final:
        return Next(None, answer.words)
    if for_people and answer.status in REFUSALS and attempts >= REFUSALS_LIMIT:
        return Next(None, f"{answer.words} It said so {attempts} times.")
    if attempts > len(waits):
        return Next(None, f"{answer.words} Given up after {attempts} attempts.")
    base = float(waits[attempts - 1])
    if answer.status in SLOW_DOWN:
        base = max(base, SLOW_DOWN_WAIT)
    wait = base * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311 - no secret
    if answer.retry_after is not None:
        wait = min(max(answer.retry_after, base), 2 * base)
    return Next(wait, answer.words)
