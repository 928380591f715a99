"""What has changed at OSV since the last reading.

Beside each vendor's archive, all.zip, lies modified_id.csv, which names every advisory with the time of its last
change, the newest first: a few are fetched one by one, for more the archive is quicker. https://google.github.io/osv.dev/data/
"""

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from itertools import chain
from pathlib import Path
from urllib.parse import quote

import requests

from scanner.vulnerabilities.fetching import LIMITS, USER_AGENT, Limits, asked, chunks, failures
from scanner.vulnerabilities.osv import changed_ids, moment

ARCHIVE, LIST = "all.zip", "modified_id.csv"
MOST = 300  # advisories that are fetched one by one
WHOLE = timedelta(days=7)  # after which the archive is read again, whatever the list says


@dataclass(frozen=True, slots=True)
class Changes:
    """`newest`: the time of the last change, to be remembered once it was read; "" where no list is there. `ids`: what
    has changed, whose documents lie in `folder`; None where the archive has to be read."""

    newest: str = ""
    ids: tuple[str, ...] | None = None
    folder: Path = Path()


class Unusable(Exception):
    """The archive has to be read: there is no list, or it names what is not there, or too much."""


def applies(source: str) -> bool:
    return source.startswith(("http://", "https://")) and source.endswith(f"/{ARCHIVE}")


def fetch(name: str, source: str, folder: Path, since: datetime | None, limits: Limits = LIMITS) -> Changes:
    """What has changed since then, as `remembered`. Raises FeedError if the server cannot be reached."""
    last = ""
    with failures(name, source), requests.Session() as session:
        session.headers["User-Agent"] = USER_AGENT
        try:
            lines = listed(session, source, limits)
            first = next((line for line in lines if moment(line.partition(",")[0])), "")
            last = first.partition(",")[0]
            ids = changed_ids(chain([first], lines), since) if since else None
            if ids is None or len(ids) > MOST:
                return Changes(last)
            place = folder / f"{name}.changed"
            shutil.rmtree(place, ignore_errors=True)
            place.mkdir()
            for number, changed in enumerate(ids):
                address = f"{source.removesuffix(ARCHIVE)}{quote(changed)}.json"
                (place / f"{number}.json").write_bytes(content(session, address, limits))
        except Unusable:
            return Changes(last)
    return Changes(last, tuple(ids), place)


# --- what was read last -----------------------------------------------------------------------------


def remember(name: str, source: str, folder: Path, last_change: str, whole: bool) -> None:
    """`whole`: the archive was read, and not only what had changed."""
    file = folder / f"{name}.read"
    if not last_change:
        file.unlink(missing_ok=True)
        return
    before = json.loads(file.read_text()) if file.exists() and not whole else {}
    read_whole = before.get("whole") or datetime.now(UTC).isoformat()
    file.write_text(json.dumps({"source": source, "newest": last_change, "whole": read_whole}))


def remembered(name: str, source: str, folder: Path) -> datetime | None:
    """The time of the last change that was read; None where the archive was not, or too long ago."""
    try:
        known = json.loads((folder / f"{name}.read").read_text())
        too_old = datetime.now(UTC) - datetime.fromisoformat(known["whole"]) > WHOLE
    except (OSError, ValueError, KeyError):
        return None
    return None if too_old or known.get("source") != source else moment(known["newest"])


# --- asking -----------------------------------------------------------------------------------------


def listed(session: requests.Session, source: str, limits: Limits) -> Iterator[str]:
    """The list's lines, as far as they are wanted: the whole may have a million."""
    rest = b""
    with asked(session, source.removesuffix(ARCHIVE) + LIST, {}, limits) as answer:
        if answer.status_code != HTTPStatus.OK:
            raise Unusable
        for chunk in chunks(answer, limits):
            *lines, rest = (rest + chunk).split(b"\n")
            yield from (line.decode("utf-8", "replace") for line in lines)
    yield rest.decode("utf-8", "replace")


def content(session: requests.Session, address: str, limits: Limits) -> bytes:
    with asked(session, address, {}, limits) as answer:
        if answer.status_code != HTTPStatus.OK:
            raise Unusable
        return b"".join(chunks(answer, limits))
