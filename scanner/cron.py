"""Cron's five fields, checked one by one. What is understood is what Celery and crontab have in common."""

import re
from dataclasses import dataclass

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")

# "*/15"  "1-5"  "9-17/2"  "mon"  "7"
PART = re.compile(r"(?:(?P<star>\*)|(?P<first>\w+)(?:-(?P<last>\w+))?)(?:/(?P<step>\w+))?", re.ASCII)


@dataclass(frozen=True)
class Field:
    name: str
    label: str
    least: int
    most: int
    words: tuple[str, ...] = ()  # the first stands for 1


FIELDS = (
    Field("minute", "minute", 0, 59),
    Field("hour", "hour", 0, 23),
    Field("day_of_month", "day of the month", 1, 31),
    Field("month_of_year", "month", 1, 12, MONTHS),
    Field("day_of_week", "day of the week", 0, 7, DAYS),
)


class BadCron(ValueError):
    """Which field is wrong, and how."""


def parse(text: str) -> dict[str, str]:
    """The five fields by name, without words and without a 7 for Sunday. Raises BadCron for all that are wrong."""
    texts = text.split()
    if len(texts) != len(FIELDS):
        labels = ", ".join(field.label for field in FIELDS)
        raise BadCron(f"Five fields with spaces between them are needed ({labels}); there are {len(texts)}.")
    found, wrong = {}, []
    for field, value in zip(FIELDS, texts, strict=True):
        try:
            found[field.name] = clean(field, value.lower())
        except BadCron as error:
            wrong.append(str(error))
    if wrong:
        raise BadCron(" ".join(wrong))
    return found


def clean(field: Field, text: str) -> str:
    numbers = {number for part in text.split(",") for number in part_of(field, part)}
    if field.words is DAYS and 7 in numbers:
        return ",".join(map(str, sorted({number % 7 for number in numbers})))
    return re.sub("[a-z]+", lambda word: str(number_of(field, word[0])), text)


def part_of(field: Field, text: str) -> range:
    """The numbers of "1-5" or "*/15"."""
    found = PART.fullmatch(text)
    if not found:
        raise BadCron(f"The {field.label} {text!r} is not understood: {example(field)}.")
    if found["star"]:
        first, last = field.least, min(field.most, 6) if field.words is DAYS else field.most
    else:
        first = number_of(field, found["first"])
        last = number_of(field, found["last"], last=True) if found["last"] else first
    if last < first:
        raise BadCron(f"The {field.label} {text!r} runs backwards: write two ranges with a comma.")
    if found["step"] and not (found["star"] or found["last"]):
        raise BadCron(f"The {field.label} {text!r} has a step, which needs a range or a *: {example(field)}.")
    return range(first, last + 1, step_of(field, found["step"]))


def number_of(field: Field, text: str, last: bool = False) -> int:
    if text in field.words:
        number = field.words.index(text) + 1
        return 0 if number == 7 and field.words is DAYS and not last else number
    if not text.isdecimal():
        raise BadCron(f"The {field.label} {text!r} is not understood: {example(field)}.")
    if not field.least <= int(text) <= field.most:
        raise BadCron(f"The {field.label} {text} is not between {field.least} and {field.most}.")
    return int(text)


def step_of(field: Field, text: str | None) -> int:
    if text is None:
        return 1
    if not text.isdecimal() or not 1 <= int(text) <= field.most:
        raise BadCron(f"The step {text!r} of the {field.label} is not between 1 and {field.most}.")
    return int(text)


def example(field: Field) -> str:
    words = f", or names like {field.words[0]}" if field.words else ""
    return f"it takes *, numbers from {field.least} to {field.most}, ranges, lists and steps like */5{words}"
