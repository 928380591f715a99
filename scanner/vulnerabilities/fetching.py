"""Gets the file of a feed: from an address, and only if it has changed, or from where an administrator has put it.

What was fetched before stays until the new file is there in full.
"""

import hashlib
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import formatdate
from http import HTTPStatus
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import requests
import urllib3

from scanner.vulnerabilities.interface import FeedError

CHUNK = 64 * 1024  # bytes
REDIRECTS = 3
USER_AGENT = "package-security-scanner"
WHAT_TO_DO = "Check its address, or name a file with a copy of it instead. What was read before stays in use."

Progress = Callable[[int, int | None], None]
"""Told the bytes so far, and how many there will be where the server says so."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one file, in seconds and bytes. `total` is for all of it, however slowly it comes."""

    connect: float = 10.0
    silence: float = 30.0  # without a single byte
    total: float = 900.0
    size: int = 2 * 1024**3  # unpacked, if the server packs it on the way


LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class Kept:
    """What is remembered of the file that was read last. Only `name`, the feed's, is known before the first time."""

    name: str
    source: str = ""
    etag: str = ""
    last_modified: str = ""
    sha256: str = ""
    size: int = 0  # bytes


@dataclass(frozen=True, slots=True)
class Fetched:
    """A file to read, if it is not `unchanged`; the rest is to be remembered as the next time's `Kept`."""

    path: Path
    etag: str
    last_modified: str  # as HTTP writes it
    sha256: str
    size: int  # bytes
    unchanged: bool


def fetch(source: str, kept: Kept, folder: Path, progress: Progress, limits: Limits = LIMITS) -> Fetched:
    """`source` is an address (http, https) or the path of a file or folder, which is read where it is.

    What comes from an address is kept in `folder`, under the feed's name. Raises FeedError.
    """
    if "://" not in source:
        return in_place(Path(source), source, kept)
    path = folder / kept.name
    with failures(kept.name, source), requests.Session() as session:
        session.headers["User-Agent"] = USER_AGENT
        unless_same = conditions(source, kept, path)
        with asked(session, source, unless_same, limits) as answer:
            if unless_same and answer.status_code == HTTPStatus.NOT_MODIFIED:
                return Fetched(path, kept.etag, kept.last_modified, kept.sha256, kept.size, True)
            if answer.status_code != HTTPStatus.OK:
                raise Refused(f"it answered {answer.status_code} {answer.reason}".rstrip())
            sha256, size = received(answer, path, progress, limits)
            unchanged = kept.source == source and kept.sha256 == sha256
            etag, modified = answer.headers.get("ETag", ""), answer.headers.get("Last-Modified", "")
            return Fetched(path, etag, modified, sha256, size, unchanged)


def check_shrunk(rows_before: int, rows_now: int) -> None:
    """Raises FeedError if more than a fifth of the rows is gone. Compare only what was read for the same releases.

    Publishers lose parts of a feed by mistake: Debian's DLAs once were missing from OSV (google/osv.dev #2708).
    """
    if rows_before > 100 and rows_now * 5 < rows_before * 4:
        raise FeedError(
            f"It has only {rows_now:,} rows, and had {rows_before:,} the last time: that looks like a mistake of its "
            "publisher. What was read before stays in use."
        )


# --- from an address -------------------------------------------------------------------------------


class Refused(Exception):
    """Why an answer is of no use, as the end of a sentence."""


REASONS: tuple[tuple[type[Exception] | tuple[type[Exception], ...], str], ...] = (
    (
        (requests.exceptions.SSLError, urllib3.exceptions.SSLError),
        "its certificate is not trusted, or no TLS connection could be agreed on",
    ),
    ((requests.Timeout, urllib3.exceptions.TimeoutError), "it did not answer in time"),
    (requests.ConnectionError, "no connection could be made"),
    (requests.RequestException, "what came is not HTTP"),
    (urllib3.exceptions.HTTPError, "the connection broke off, or what came is damaged"),
    (OSError, "the file could not be written ({})"),
)
"""The first that fits; requests' own are OSErrors, too. A Refused says it itself."""


@contextmanager
def failures(name: str, address: str) -> Iterator[None]:
    """Turns whatever may go wrong into words for an administrator."""
    try:
        yield
    except (Refused, urllib3.exceptions.HTTPError, OSError) as error:  # requests' own are OSErrors
        raise FeedError(
            f"The feed {name} could not be fetched from {shown(address)}: {reason(error)}. {WHAT_TO_DO}"
        ) from error


def reason(error: Exception) -> str:
    words = next((words for kinds, words in REASONS if isinstance(error, kinds)), str(error))
    return words.format(error.strerror or error) if isinstance(error, OSError) else words


def shown(address: str) -> str:
    """Without a password or a token that may be in it: https://reader:pass@word@mirror.example/feed?token=…"""
    try:
        parts = urlsplit(address)
    except ValueError:
        return "an address that makes no sense"
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def conditions(source: str, kept: Kept, path: Path) -> dict[str, str]:
    """Headers that ask for the file only if it has changed: since we fetched it from there, if we have it still."""
    if kept.source != source or not path.is_file() or path.stat().st_size != kept.size:
        return {}
    headers = {"If-None-Match": kept.etag, "If-Modified-Since": kept.last_modified}
    return {name: value for name, value in headers.items() if value}


def asked(session: requests.Session, address: str, headers: dict[str, str], limits: Limits) -> requests.Response:
    """The answer, after few redirects, and none from https back to http."""
    schemes = ("https",) if address.lower().startswith("https:") else ("http", "https")
    for _ in range(REDIRECTS + 1):
        if address.partition(":")[0].lower() not in schemes:
            raise Refused(f"{shown(address)} is not an address of {' or '.join(schemes)}")
        timeout = (limits.connect, limits.silence)
        try:
            answer = session.get(address, headers=headers, timeout=timeout, stream=True, allow_redirects=False)
            target = session.get_redirect_target(answer)
            if target is None:
                return answer
            address = urljoin(address, target)
        except requests.exceptions.InvalidHeader:  # a ValueError, but not about the address
            raise
        except ValueError as error:  # "http://[", also where a redirect leads there, which requests looks at by itself
            raise Refused("that is no address, or it redirects to what is none") from error
        answer.close()
    raise Refused(f"it redirects more than {REDIRECTS} times")


def received(answer: requests.Response, path: Path, progress: Progress, limits: Limits) -> tuple[str, int]:
    """Writes a .part beside the file and puts it in its place when it is complete. Its SHA-256, and its bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    digest, size = hashlib.sha256(), 0
    try:
        with part.open("wb") as opened:
            for chunk in chunks(answer, limits):
                opened.write(chunk)
                digest.update(chunk)
                size += len(chunk)
                progress(size, length(answer))
            os.fsync(opened.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return digest.hexdigest(), size


def chunks(answer: requests.Response, limits: Limits) -> Iterator[bytes]:
    """What comes, as it comes: requests' own iteration waits for full chunks, and so for a slow server forever."""
    end, size = time.monotonic() + limits.total, 0
    while chunk := answer.raw.read1(CHUNK, decode_content=True):
        size += len(chunk)
        if size > limits.size:
            raise Refused(f"it is larger than {limits.size:,} bytes")
        if time.monotonic() > end:
            raise Refused(f"it did not come within {limits.total:g} seconds")
        yield chunk
    if not size:
        raise Refused("it is empty")


def length(answer: requests.Response) -> int | None:
    """In bytes, as they will be written; unknown where they are packed on the way."""
    text = answer.headers.get("Content-Length", "")
    return int(text) if text.isdecimal() and "Content-Encoding" not in answer.headers else None


# --- from a file -----------------------------------------------------------------------------------


def in_place(path: Path, source: str, kept: Kept) -> Fetched:
    """Times and sizes stand for an ETag, so that a large file is not read to find that it is the same."""
    try:
        files = [path] if not path.is_dir() else sorted(each for each in path.rglob("*") if each.is_file())
        states = [(each, each.stat()) for each in files]
        size = sum(state.st_size for _, state in states)
        newest = max((state.st_mtime_ns for _, state in states), default=0)
        etag = f"{newest}-{size}-{len(files)}"
        unchanged = kept.source == source and kept.etag == etag
        sha256 = kept.sha256 if unchanged else digest_of(files)
    except OSError as error:
        raise FeedError(
            f"The file of the feed {kept.name}, {path}, cannot be read: {error.strerror or error}. It has to be there, "
            "and readable for the user that the scanner runs as. What was read before stays in use."
        ) from error
    return Fetched(path, etag, formatdate(newest / 1e9, usegmt=True), sha256, size, unchanged)


def digest_of(files: list[Path]) -> str:
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as opened:
            while chunk := opened.read(CHUNK):
                digest.update(chunk)
    return digest.hexdigest()
