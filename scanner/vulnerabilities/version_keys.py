"""Version order as bytes: each version becomes a key whose plain byte order is the package manager's own order.

SQL can then compare, index and sort versions (PostgreSQL's bytea and SQLite's BLOB compare bytewise). How it works:
the end of a part is byte 2, and what a manager sorts below the end ("~") gets a smaller byte, what it sorts above a
greater one; a number is written as its length and its digits, so that a longer number is a greater one.
"""

import re

END = b"\x02"

DPKG_RUN = re.compile(r"([^0-9]*)0*([0-9]*)")
DPKG_ALPHABET = bytes(
    1 if character == "~" else ord(character) if character.isalpha() else ord(character) + 128
    for character in map(chr, range(128))
)

RPM_TOKEN = re.compile(r"0*([0-9]+)|([a-zA-Z]+)|(~)|\^")

ALPM_TOKEN = re.compile(r"([^0-9a-zA-Z]*)(?:0*([0-9]+)|([a-zA-Z]+))")


def dpkg_key(version: str) -> bytes:
    """deb-version(7): epoch:upstream-revision. A missing epoch or revision is 0."""
    ascii_only(version)
    epoch, rest = split_epoch(version)
    upstream, _, revision = rest.rpartition("-") if "-" in rest else (rest, "", "0")
    return epoch_bytes(epoch) + dpkg_part(upstream or "0") + dpkg_part(revision or "0")


def dpkg_part(text: str) -> bytes:
    """Characters up to a digit and a number, in turns. "~" sorts below the end, letters below other characters."""
    key = bytearray()
    for characters, digits in DPKG_RUN.findall(text)[:-1]:  # the last match is always empty
        key += characters.encode("ascii").translate(DPKG_ALPHABET + bytes(128)) + END
        length = len(digits)
        key += bytes((16 + length,)) if length < 200 else b"\xff" + length.to_bytes(4)
        key += digits.encode("ascii")
    return bytes(key) + END


def rpm_key(version: str) -> bytes:
    """rpm-version(7): epoch:version-release. A missing epoch is 0, a missing release sorts below every other.

    As rpm itself, this accepts any text: what is neither number nor word only separates.
    """
    epoch, rest = split_epoch(version)
    number, dash, release = rest.rpartition("-") if "-" in rest else (rest, "", "")
    return rpm_part(epoch) + rpm_part(number) + (rpm_part(release) if dash else b"\x00")


def rpm_part(text: str) -> bytes:
    """Numbers and words; "~" sorts below the end, "^" just above it, a word below a number. The rest only separates."""
    key = bytearray()
    for match in RPM_TOKEN.finditer(text):
        digits, letters, tilde = match.groups()
        if digits is not None:
            key += b"\x05" + length_and_digits(digits)
        elif letters is not None:
            key += b"\x04" + letters.encode("ascii") + b"\x00"
        else:
            key += b"\x01" if tilde else b"\x03"
    return bytes(key) + END


def alpm_key(version: str) -> bytes:
    """vercmp(8): epoch:pkgver-pkgrel.

    alpm leaves pkgrel out of account where one of two versions has none. That is no order that a key could have:
    then compare the keys of both versions without pkgrel.
    """
    ascii_only(version)
    epoch, rest = split_epoch(version)
    pkgver, _, pkgrel = rest.rpartition("-") if "-" in rest else (rest, "", "")
    return epoch_bytes(epoch) + alpm_part(pkgver) + alpm_part(pkgrel)


def alpm_part(text: str) -> bytes:
    """Numbers and words, each after so many separators: "1.0rc" sorts below "1.0", "1.0.rc" and "1.0.1" above it."""
    key = bytearray()
    for separators, digits, letters in ALPM_TOKEN.findall(text):
        marker = 2 + 2 * len(separators) if separators else 1
        if letters:
            key += bytes((min(marker, 254),)) + letters.encode("ascii") + b"\x00"
        else:
            key += bytes((min(marker + 1, 255) if separators else 3,)) + length_and_digits(digits)
    return bytes(key) + END


def split_epoch(version: str) -> tuple[str, str]:
    """The epoch and the rest. Only a number before the first colon is one: "m+e2:1" has none."""
    epoch, colon, rest = version.partition(":")
    if colon and epoch.isascii() and (epoch.isdecimal() or not epoch):
        return epoch or "0", rest
    return "0", version


def epoch_bytes(epoch: str) -> bytes:
    if len(epoch) > 10 or int(epoch) >= 2**32:
        raise ValueError(f"the epoch {epoch!r} does not fit")
    return int(epoch).to_bytes(4)


def ascii_only(version: str) -> None:
    if not version.isascii():
        raise ValueError(f"version {version!r} has characters that no package manager allows")


def length_and_digits(digits: str) -> bytes:
    if len(digits) >= 2**16:
        raise ValueError("a version with a number of so many digits is not sensible")
    return len(digits).to_bytes(2) + digits.encode("ascii")
