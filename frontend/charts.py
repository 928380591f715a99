"""Data in, SVG out."""

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from itertools import count, pairwise

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

Point = tuple[datetime, int | None, int]
Dot = tuple[datetime, int]

DAYS = 30
WIDTHS = (("wide", 940), ("narrow", 340))  # one of the two is shown: text keeps its size on every screen
HEIGHT, TOP, BOTTOM, LEFT, RIGHT = 220, 14, 26, 34, 92
LINE_HEIGHT = 16


def trend(points: list[Point], now: datetime) -> str:
    """Security and all updates of the last 30 days. A day without a scan is a gap in the line, not a zero."""
    if not points:
        return ""
    return format_html_join("", "{}", ((drawing(points, now, name, width),) for name, width in WIDTHS))


def drawing(points: list[Point], now: datetime, name: str, width: int) -> SafeString:
    begin = now - timedelta(days=DAYS)
    top = nice_top(max(total for _, _, total in points))

    def x(date: datetime) -> float:
        part = (date - begin) / timedelta(days=DAYS)
        return round(LEFT + min(max(part, 0), 1) * (width - LEFT - RIGHT), 1)

    def y(number: float) -> float:
        return round(TOP + (1 - number / top) * (HEIGHT - TOP - BOTTOM), 1)

    security = [(date, number) for date, number, _ in points if number is not None]
    total = [(date, number) for date, _, number in points]
    return format_html(
        '<svg class="trend {name}" viewBox="0 0 {width} {height}" role="img"'
        ' aria-labelledby="{name}-title {name}-desc">'
        '<title id="{name}-title">Updates of the last {days} days</title><desc id="{name}-desc">{desc}</desc>'
        "{grid}{total}{security}{labels}</svg>",
        name=name,
        width=width,
        height=HEIGHT,
        days=DAYS,
        desc=in_words(points),
        grid=grid(top, width, y) + calendar(begin, now, x, 10 if name == "narrow" else 5),
        total=series("total", total, x, y, "updates"),
        security=series("security", security, x, y, "security updates"),
        labels=end_labels(security, total, width - RIGHT + 8, y),
    )


def in_words(points: list[Point]) -> str:
    known = [security for _, security, _ in points if security is not None]
    words = f"{len(points)} days have a scan. All updates: first {points[0][2]}, last {points[-1][2]}."
    if not known:
        return f"{words} Security updates: unknown."
    return f"{words} Security updates: first {known[0]}, last {known[-1]}, at most {max(known)}."


def nice_top(highest: int) -> int:
    """The least of 4, 8, 20, 40, 80, 200 … that holds every point: four steps in whole, round numbers."""
    steps = (digit * 10**power for power in count() for digit in (1, 2, 5))
    return next(4 * step for step in steps if highest <= 4 * step)


def grid(top: int, width: int, y: Callable[[float], float]) -> SafeString:
    return format_html_join(
        "",
        '<path class="grid" d="M{0} {2}H{1}"/><text class="tick" text-anchor="end" x="{3}" y="{4}">{5}</text>',
        ((LEFT, width - RIGHT, y(number), LEFT - 8, y(number) + 4, number) for number in range(0, top + 1, top // 4)),
    )


def calendar(begin: datetime, now: datetime, x: Callable[[datetime], float], every: int) -> SafeString:
    dates = [now - timedelta(days=days) for days in range(0, DAYS + 1, every)]
    return format_html_join(
        "",
        '<text class="tick" text-anchor="middle" x="{}" y="{}">{}</text>',
        ((x(date), HEIGHT - 6, "today" if date == now else f"{date:%-d %b}") for date in dates if date >= begin),
    )


def series(
    name: str, dots: Sequence[Dot], x: Callable[[datetime], float], y: Callable[[float], float], unit: str
) -> SafeString:
    """One line a run of days, and a dot a day with its number as a tooltip."""
    lines = format_html_join(
        "",
        '<polyline class="{}" points="{}"/>',
        ((name, " ".join(f"{x(date)},{y(number)}" for date, number in run)) for run in runs(dots) if len(run) > 1),
    )
    circles = format_html_join(
        "",
        '<circle class="{}" cx="{}" cy="{}" r="3"><title>{}: {} {}</title></circle>',
        ((name, x(date), y(number), f"{date:%-d %b}", number, unit) for date, number in dots),
    )
    return lines + circles


def runs(dots: Sequence[Dot]) -> Iterator[list[Dot]]:
    """The dots, cut where a day is missing."""
    run = list(dots[:1])
    for before, dot in pairwise(dots):
        if (dot[0].date() - before[0].date()).days > 1:
            yield run
            run = []
        run.append(dot)
    if run:
        yield run


def end_labels(security: Sequence[Dot], total: Sequence[Dot], x: float, y: Callable[[float], float]) -> SafeString:
    """Beside the last dot of each line, pushed apart where they would meet."""
    upper = y(total[-1][1]) + 4
    if not security:
        return label("total", x, upper, total[-1][1], "all")
    lower = max(y(security[-1][1]) + 4, upper + LINE_HEIGHT)
    floor = HEIGHT - BOTTOM + 4
    if lower > floor:
        lower, upper = floor, min(upper, floor - LINE_HEIGHT)
    return label("total", x, upper, total[-1][1], "all") + label("security", x, lower, security[-1][1], "security")


def label(name: str, x: float, y: float, number: int, word: str) -> SafeString:
    return format_html('<text class="label {}" x="{}" y="{}">{} {}</text>', name, x, round(y, 1), number, word)
