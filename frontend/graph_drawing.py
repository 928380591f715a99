"""A package between what needs it and what it needs: data in, SVG with links out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe

from frontend.templatetags.words import PACKAGE_STATE_COLOURS, SHAPES, known
from scanner.vulnerabilities.package_states import STATES

WIDE, NARROW = 940, 340  # one of the two is shown: text keeps its size on every screen
SIDE, BOX = 330, 200  # widths of a column of neighbours, and of the package between them
ROW, HEAD, BOX_HEIGHT = 26, 30, 40
LETTERS = 34  # of a name that have room


class Neighbour(NamedTuple):
    name: str
    state: str
    mutual: bool  # whether it needs the package and is needed by it


@dataclass(frozen=True)
class Side:
    """Neighbours on one side. `total` counts those that are not drawn as well; `rest` is where they are listed."""

    title: str
    neighbours: Sequence[Neighbour]
    total: int
    rest: str

    @property
    def rows(self) -> int:
        return max(len(self.neighbours) + (self.total > len(self.neighbours)), 1)


Address = Callable[[str], str]
"""Of a package's own graph."""


def drawing(package: Neighbour, needed_by: Side, needs: Side, address: Address) -> SafeString:
    return wide(package, needed_by, needs, address) + narrow(package, needed_by, needs, address)


def wide(package: Neighbour, needed_by: Side, needs: Side, address: Address) -> SafeString:
    """From left to right."""
    height = HEAD + max(needed_by.rows, needs.rows, 2) * ROW
    middle = (HEAD + height) / 2
    left, right = (WIDE - BOX) / 2, (WIDE + BOX) / 2
    tops = [HEAD + (height - HEAD - side.rows * ROW) / 2 for side in (needed_by, needs)]
    parts = [
        format_html('<text class="heading" text-anchor="end" x="{}" y="16">{}</text>', SIDE, heading(needed_by)),
        format_html('<text class="heading" x="{}" y="16">{}</text>', WIDE - SIDE, heading(needs)),
        *(curve(SIDE, tops[0] + (row + 0.5) * ROW, left - 7, middle) for row in range(lines(needed_by))),
        *(curve(right, middle, WIDE - SIDE - 7, tops[1] + (row + 0.5) * ROW) for row in range(lines(needs))),
        arrow(left, middle) if needed_by.total else SafeString(),
        *(arrow(WIDE - SIDE, tops[1] + (row + 0.5) * ROW) for row in range(lines(needs))),
        column(needed_by, 0, tops[0], address, mirrored=True),
        box(package, left, middle - BOX_HEIGHT / 2, BOX),
        column(needs, WIDE - SIDE, tops[1], address),
    ]
    return svg("wide", WIDE, height, package.name, parts)


def narrow(package: Neighbour, needed_by: Side, needs: Side, address: Address) -> SafeString:
    """From top to bottom, along a line at the left edge."""
    first = HEAD
    top = first + needed_by.rows * ROW + 14
    second = top + BOX_HEIGHT + 14 + HEAD
    height = second + needs.rows * ROW
    parts = [
        format_html('<text class="heading" x="24" y="16">{}</text>', heading(needed_by)),
        format_html('<text class="heading" x="24" y="{}">{}</text>', second - 12, heading(needs)),
        *(rung(first + (row + 0.5) * ROW, top - 7) for row in range(lines(needed_by))),
        *(rung(second + (row + 0.5) * ROW, top + BOX_HEIGHT) for row in range(lines(needs))),
        arrow(10, top, down=True) if needed_by.total else SafeString(),
        *(arrow(24, second + (row + 0.5) * ROW) for row in range(lines(needs))),
        column(needed_by, 24, first, address),
        box(package, 0, top, NARROW),
        column(needs, 24, second, address),
    ]
    return svg("narrow", NARROW, height, package.name, parts)


def svg(kind: str, width: int, height: float, name: str, parts: Sequence[SafeString]) -> SafeString:
    return format_html(
        '<svg class="neighbours {0}" viewBox="0 0 {1} {2}" role="group" aria-labelledby="{0}-title">'
        '<title id="{0}-title">What needs {3}, and what it needs</title>{4}</svg>',
        kind,
        width,
        height,
        name,
        joined(parts),
    )


def heading(side: Side) -> str:
    return f"{side.title} {known(side.total)}"


def lines(side: Side) -> int:
    """Neighbours to draw a line to; the last one may stand for those that are not drawn."""
    return side.rows if side.total else 0


def column(side: Side, x: float, top: float, address: Address, *, mirrored: bool = False) -> SafeString:
    items = [item(each, x, top + row * ROW, address(each.name), mirrored) for row, each in enumerate(side.neighbours)]
    place = format_html('class="note" text-anchor="{}"', "end" if mirrored else "start")
    at = x + SIDE - 28 if mirrored else x + 28, top + len(side.neighbours) * ROW
    if side.total > len(side.neighbours):
        more = f"and {known(side.total - len(side.neighbours))} more, in the list"
        items.append(
            format_html(
                '<a href="{}"><rect x="{}" y="{}" width="{}" height="{}"/><text {} x="{}" y="{}">{}</text></a>',
                *(side.rest, x, at[1], column_width(x), ROW, place, at[0], at[1] + 18, more),
            )
        )
    elif not side.total:
        items.append(format_html('<text {} x="{}" y="{}">no installed package</text>', place, at[0], at[1] + 18))
    return joined(items)


def item(neighbour: Neighbour, x: float, y: float, address: str, mirrored: bool) -> SafeString:
    name = short(neighbour.name) + (" \N{LEFT RIGHT ARROW}" if neighbour.mutual else "")
    width = column_width(x)
    return format_html(
        '<a href="{}" class="is-{}"><title>{}</title><rect x="{}" y="{}" width="{}" height="{}"/>{}'
        '<text text-anchor="{}" x="{}" y="{}">{}</text></a>',
        *(address, PACKAGE_STATE_COLOURS[neighbour.state], in_words(neighbour), x, y, width, ROW),
        mark(neighbour.state, x + width - 20 if mirrored else x + 4, y + 5),
        *("end" if mirrored else "start", x + width - 28 if mirrored else x + 28, y + 18, name),
    )


def column_width(x: float) -> float:
    return min(SIDE, NARROW - x) if 0 < x < NARROW else SIDE


def box(package: Neighbour, x: float, y: float, width: float) -> SafeString:
    return format_html(
        '<g class="self is-{}"><title>{}</title><rect x="{}" y="{}" width="{}" height="{}" rx="8"/>{}'
        '<text x="{}" y="{}">{}</text></g>',
        *(PACKAGE_STATE_COLOURS[package.state], in_words(package), x + 0.5, y + 0.5, width - 1, BOX_HEIGHT - 1),
        mark(package.state, x + 12, y + 12),
        *(x + 36, y + 25, short(package.name, int((width - 44) / 8))),
    )


def mark(state: str, x: float, y: float) -> SafeString:
    outline = mark_safe(SHAPES[PACKAGE_STATE_COLOURS[state]])  # noqa: S308 - ours
    return format_html('<g class="shape" transform="translate({} {})">{}</g>', x, y, outline)


def in_words(neighbour: Neighbour) -> str:
    circle = "; each needs the other" if neighbour.mutual else ""
    return f"{neighbour.name}: {STATES[neighbour.state].label}{circle}"


def short(name: str, letters: int = LETTERS) -> str:
    return name if len(name) <= letters else f"{name[: letters - 1]}\N{HORIZONTAL ELLIPSIS}"


def curve(x: float, y: float, to_x: float, to_y: float) -> SafeString:
    half = (x + to_x) / 2
    return format_html('<path class="edge" d="M{0} {1}C{2} {1} {2} {4} {3} {4}"/>', x, y, half, to_x, to_y)


def rung(y: float, to_y: float) -> SafeString:
    return format_html('<path class="edge" d="M22 {0}H10V{1}"/>', y, to_y)


def arrow(x: float, y: float, *, down: bool = False) -> SafeString:
    """Its tip is there."""
    points = f"M{x} {y}l-4 -8h8Z" if down else f"M{x} {y}l-8 -4v8Z"
    return format_html('<path class="arrow" d="{}"/>', points)


def joined(parts: Sequence[SafeString]) -> SafeString:
    return format_html_join("", "{}", ((part,) for part in parts))
