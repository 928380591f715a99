"""Pages that are written from top to bottom: paragraphs, tables, lines and dots.

The font is installed with the requirements, so that nothing is fetched; a character that it lacks is written as its
number.
"""

import io
from collections.abc import Collection, Iterable, Sequence
from functools import cache, lru_cache
from importlib.resources import files
from typing import Any, NamedTuple

from reportlab.lib.colors import HexColor
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.pdfgen.canvas import Canvas

FONTS = files("font_source_sans_pro") / "files"
REGULAR, BOLD = "SourceSansPro-Regular", "SourceSansPro-Bold"
WIDTH, HEIGHT = 595.28, 841.89  # A4, in points
MARGIN = 48
INNER = WIDTH - 2 * MARGIN
FOOT = 28
TEXT, MUTED, HAIRLINE, PAPER = "#1b2130", "#565d6b", "#d5d9e0", "#ffffff"
LEADING = 1.4  # the height of a line, by the size of its text
CELL, CELL_LEADING = 8, 10.5  # of tables

Point = tuple[float, float]


class Face(NamedTuple):
    """A font: which characters it has, and how wide they are, in thousandths of its size."""

    glyphs: dict[int, Any]
    widths: dict[int, float]


@cache
def face(name: str) -> Face:
    font = TTFont(name, str(FONTS / f"{name}.ttf"))
    pdfmetrics.registerFont(font)
    return Face(font.face.charToGlyph, font.face.charWidths)


def drawable(text: str, font: str = REGULAR) -> str:
    """In one line, with [U+4E2D] for a character that the font lacks: nothing vanishes."""
    if text.isascii() and text.isprintable():
        return text
    glyphs = face(font).glyphs
    return "".join(each if has(glyphs, ord(each)) else f"[U+{ord(each):04X}]" for each in " ".join(text.split()))


def has(glyphs: Collection[int], number: int) -> bool:
    """ReportLab writes numbers of more than 16 bits so that nobody can copy or search them."""
    return number < 0x10000 and number in glyphs


@lru_cache(maxsize=20_000)
def width_of(text: str, font: str) -> float:
    """Of text of size 1."""
    widths = face(font).widths
    return sum(widths.get(ord(each), 0) for each in text) / 1000


def wrapped(text: str, width: float, size: float, font: str = REGULAR) -> list[str]:
    """Lines that fit. What has no space in the right place is cut: versions can be long."""
    room = width / size
    space = width_of(" ", font)
    lines: list[str] = []
    line, used = "", 0.0
    for word in parts(drawable(text, font), room, font):
        wide = width_of(word, font)
        if line and used + space + wide <= room:
            line, used = f"{line} {word}", used + space + wide
        else:
            lines += [line] if line else []
            line, used = word, wide
    return [*lines, line]


def parts(text: str, room: float, font: str) -> Iterable[str]:
    """Words, and pieces of those that are wider than a line."""
    for word in text.split(" "):
        rest = word
        while len(rest) > 1 and width_of(rest, font) > room:
            fits = next((end for end in range(len(rest) - 1, 1, -1) if width_of(rest[:end], font) <= room), 1)
            yield rest[:fits]
            rest = rest[fits:]
        yield rest


class NumberedCanvas(Canvas):
    """Keeps the pages until it is known how many there are, for their last line."""

    def __init__(self, *args: Any, foot: str, **options: Any) -> None:
        super().__init__(*args, **options)
        self.foot = foot
        self.kept: list[dict[str, Any]] = []

    def showPage(self) -> None:
        self.kept.append(dict(self.__dict__))
        self._startPage()

    def save(self) -> None:
        for number, kept in enumerate(self.kept, 1):
            self.__dict__.update(kept)
            self.setFont(REGULAR, 8)
            self.setFillColor(HexColor(MUTED))
            self.drawString(MARGIN, FOOT, self.foot)
            self.drawRightString(WIDTH - MARGIN, FOOT, f"page {number} of {len(self.kept)}")
            super().showPage()
        super().save()


class Sheet:
    def __init__(self, title: str, foot: str) -> None:
        for name in (REGULAR, BOLD):
            face(name)
        self.file = io.BytesIO()
        self.canvas = NumberedCanvas(self.file, pagesize=(WIDTH, HEIGHT), lang="en", foot=drawable(foot))
        self.canvas.setTitle(title)
        self.canvas.setCreator("Package scanner")
        self.y = HEIGHT - MARGIN
        self.sections = 0

    def save(self) -> bytes:
        self.canvas.showPage()
        self.canvas.save()
        return self.file.getvalue()

    @property
    def left(self) -> float:
        """The height that is left on this page."""
        return self.y - MARGIN - 6

    def new_page(self) -> None:
        self.canvas.showPage()
        self.y = HEIGHT - MARGIN

    def take(self, height: float) -> float:
        """Room of this height, on the next page if need be; the y of its lower edge."""
        if height > self.left:
            self.new_page()
        self.y -= height
        return self.y

    # --- marks ------------------------------------------------------------------------------------

    def put(
        self, text: str, at: Point, size: float, *, font: str = REGULAR, colour: str = TEXT, align: str = "left"
    ) -> None:
        self.canvas.setFont(font, size)
        self.canvas.setFillColor(HexColor(colour))
        draw = {
            "left": self.canvas.drawString,
            "right": self.canvas.drawRightString,
            "centre": self.canvas.drawCentredString,
        }
        draw[align](*at, drawable(text, font))

    def line(
        self, start: Point, end: Point, *, colour: str = HAIRLINE, width: float = 0.5, dashed: bool = False
    ) -> None:
        self.canvas.setStrokeColor(HexColor(colour))
        self.canvas.setLineWidth(width)
        self.canvas.setDash([3, 2] if dashed else [])
        self.canvas.line(*start, *end)

    def dot(self, at: Point, colour: str, *, hollow: bool) -> None:
        self.canvas.setDash([])
        self.canvas.setLineWidth(1)
        self.canvas.setStrokeColor(HexColor(colour))
        self.canvas.setFillColor(HexColor(PAPER if hollow else colour))
        self.canvas.circle(*at, 1.8, stroke=1, fill=1)

    def bar(self, corner: Point, width: float, height: float, colour: str) -> None:
        self.canvas.setFillColor(HexColor(colour))
        self.canvas.rect(*corner, width, height, stroke=0, fill=1)

    # --- blocks -----------------------------------------------------------------------------------

    def text(
        self,
        text: str,
        size: float = 9,
        font: str = REGULAR,
        *,
        colour: str = TEXT,
        indent: float = 0,
        above: float = 0,
        gap: float = 4,
    ) -> None:
        """A paragraph, with `above` it and a `gap` below it."""
        self.y -= above
        for line in wrapped(text, INNER - indent, size, font):
            bottom = self.take(size * LEADING)
            self.put(line, (MARGIN + indent, bottom + size * 0.35), size, font=font, colour=colour)
        self.y -= gap

    def aside(self, text: str) -> None:
        self.text(text, 8.5, colour=MUTED)

    def keep(self, height: float) -> None:
        """What follows is on one page, if it takes no more than this."""
        if height > self.left:
            self.new_page()

    def heading(self, text: str) -> None:
        self.keep(80)
        self.y -= 14
        self.sections += 1
        name = f"section-{self.sections}"
        self.canvas.bookmarkHorizontal(name, 0, self.y)
        self.canvas.addOutlineEntry(text, name)
        self.text(text, 12.5, BOLD)

    def bullets(self, texts: Iterable[str]) -> None:
        for text in texts:
            self.keep(CELL_LEADING * 1.5)
            self.put("•", (MARGIN + 2, self.y - 9.5), 9, colour=MUTED)
            self.text(text, indent=12, gap=2)

    def box(self, label: str, words: str, colours: tuple[str, str, str]) -> None:
        """`colours` of the label, of the ground and of the edge."""
        colour, ground, edge = colours
        lines = wrapped(words, INNER - 32, 10)
        height = 34 + 14 * len(lines)
        bottom = self.take(height)
        self.bar((MARGIN, bottom), INNER, height, ground)
        self.bar((MARGIN, bottom), 4, height, edge)
        self.put(label, (MARGIN + 16, bottom + height - 20), 14, font=BOLD, colour=colour)
        for number, line in enumerate(reversed(lines)):
            self.put(line, (MARGIN + 16, bottom + 10 + 14 * number), 10)

    def numbers(self, *pairs: tuple[str, str]) -> None:
        bottom = self.take(52)
        for number, (label, value) in enumerate(pairs):
            x = MARGIN + number * INNER / len(pairs)
            self.put(value, (x, bottom + 18), 16, font=BOLD)
            self.put(label, (x, bottom + 6), 8, colour=MUTED)

    # --- tables -----------------------------------------------------------------------------------

    def table(self, columns: Sequence[tuple[str, float]], rows: Iterable[Sequence[str]]) -> None:
        """Each column's heading and width. The heading comes again on each page; a row that is taller than a page goes
        on there."""
        edges = [MARGIN + sum(wide for _, wide in columns[:number]) for number in range(len(columns))]
        begun = False
        for row in rows:
            cells = [wrapped(text, wide - 8, CELL) for text, (_, wide) in zip(row, columns, strict=True)]
            while any(cells):
                height = max(map(len, cells)) * CELL_LEADING + 5
                if begun and height > self.left and self.y < HEIGHT - MARGIN - 40:
                    self.new_page()
                    begun = False
                if not begun:
                    self.keep(16 + min(height, 60))
                    self.table_heading(columns, edges)
                    begun = True
                lines = max(1, min(max(map(len, cells)), int((self.left - 5) // CELL_LEADING)))
                self.table_row(edges, [cell[:lines] for cell in cells], lines * CELL_LEADING + 5)
                cells = [cell[lines:] for cell in cells]
        self.y -= 4 if begun else 0

    def table_heading(self, columns: Sequence[tuple[str, float]], edges: Sequence[float]) -> None:
        bottom = self.take(15)
        for x, (text, _) in zip(edges, columns, strict=True):
            self.put(text, (x, bottom + 4), CELL, font=BOLD, colour=MUTED)
        self.line((MARGIN, bottom), (MARGIN + INNER, bottom), colour=MUTED)

    def table_row(self, edges: Sequence[float], cells: Sequence[Sequence[str]], height: float) -> None:
        bottom = self.take(height)
        for x, lines in zip(edges, cells, strict=True):
            for number, line in enumerate(lines, 1):
                self.put(line, (x, bottom + height - CELL_LEADING * number), CELL)
        self.line((MARGIN, bottom), (MARGIN + INNER, bottom))
