"""Text and addresses from outside, made harmless: a package's name or an error may be written to fool somebody."""

import re
import unicodedata
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

ELLIPSIS = "…"
INVISIBLE = "\u200b"  # zero-width space
LONGEST = 300  # characters, unless told


def is_web_address(url: Any) -> bool:
    if not isinstance(url, str) or " " in url or url != plain(url, 2048):
        return False
    try:
        return urlsplit(url).scheme in ("http", "https")
    except ValueError:  # unbalanced brackets
        return False


def plain(text: Any, limit: int = LONGEST) -> str:
    """One line of visible characters, at most so many: also of a package name that means to fool somebody."""
    if text is None:
        return ""
    return cut(" ".join("".join(map(visible, str(text)[: 4 * limit])).split()), limit)


def visible(character: str) -> str:
    """Line breaks become spaces; what has no shape, or turns the order of others around, goes."""
    category = unicodedata.category(character)
    return " " if category in ("Cc", "Zl", "Zp") else "" if category.startswith("C") else character


def cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1].rstrip() + ELLIPSIS


def fitted(text: str, limit: int, escapes: Mapping[int, str]) -> str:
    """Escaped with a table of str.maketrans, and no longer than `limit`: never cut within an escape."""
    pieces = [character.translate(escapes) for character in text]
    if sum(map(len, pieces)) <= limit:
        return "".join(pieces)
    kept, room = [], limit - len(ELLIPSIS)
    for piece in pieces:
        room -= len(piece)
        if room < 0:
            break
        kept.append(piece)
    return "".join(kept) + ELLIPSIS


MENTION = re.compile(r"@(?=\S)|<(?=[!@#/A-Za-z])")  # @everyone, @**all**, <!channel>, <users/all>, <at id=all>


def without_mentions(text: str) -> str:
    """Text that calls nobody: an invisible character keeps services from seeing "@all" or "<!channel>" in it."""
    return MENTION.sub(lambda found: found[0] + INVISIBLE, text)
