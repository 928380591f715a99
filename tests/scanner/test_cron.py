"""Cron's five fields: what is understood, and in which words the rest is refused."""

import pytest

from scanner.cron import BadCron, parse


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("30 2 * * 1-5", ["30", "2", "*", "*", "1-5"]),
        ("*/15  9-17/2 1,15 * *", ["*/15", "9-17/2", "1,15", "*", "*"]),
        ("0 4 * JAN,jul sun", ["0", "4", "*", "1,7", "0"]),
        ("0 4 * * sun-Tue", ["0", "4", "*", "*", "0-2"]),
        ("0 4 * * 7", ["0", "4", "*", "*", "0"]),
        ("0 4 * * fri-sun", ["0", "4", "*", "*", "0,5,6"]),
        ("0 4 * * 5-7/2", ["0", "4", "*", "*", "0,5"]),
    ],
)
def test_fields_are_read_and_words_become_numbers(text: str, fields: list[str]) -> None:
    assert list(parse(text).values()) == fields


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("0 2 * *", "there are 4"),
        ("@daily", "Five fields"),
        ("60 2 * * *", "The minute 60 is not between 0 and 59."),
        ("0 2 0 * *", "The day of the month 0 is not between 1 and 31."),
        ("0 2 * 13 *", "The month 13 is not"),
        ("0 2 * * 8", "The day of the week 8 is not"),
        ("x 2 * * *", "The minute 'x' is not understood"),
        ("0 2 * * noday", "names like mon"),
        ("1-5x 2 * * *", "'5x' is not understood"),
        ("0 22-2 * * *", "runs backwards"),
        ("5/10 * * * *", "needs a range"),
        ("*/0 * * * *", "The step '0' of the minute"),
        ("*/5/2 * * * *", "'*/5/2' is not understood"),
        ("1,,2 * * * *", "'' is not understood"),
        ("٣ * * * *", "is not understood"),
        ("0 0 L * *", "'l' is not understood"),
    ],
)
def test_what_is_wrong_is_named_by_its_field(text: str, says: str) -> None:
    with pytest.raises(BadCron) as error:
        parse(text)
    assert says in str(error.value)


def test_all_that_is_wrong_is_named_at_once() -> None:
    with pytest.raises(BadCron, match=r"minute 99.*hour 99"):
        parse("99 99 * * *")
