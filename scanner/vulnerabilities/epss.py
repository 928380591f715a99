"""EPSS: for every CVE the probability that it is exploited in the next 30 days. By FIRST, once a day."""

import csv
import gzip
import re
import zlib
from collections.abc import Collection, Iterator
from datetime import datetime
from pathlib import Path
from typing import IO

from scanner.vulnerabilities.interface import Entry, Feed, FeedError, Score

# #model_version:v2025.03.14,score_date:2025-12-26T12:55:00Z
HEADING = re.compile(r"#model_version:([^,]+),score_date:(\S+)")
COLUMNS = ["cve", "epss", "percentile"]
GZIP = b"\x1f\x8b"


class Epss(Feed):
    """`model` and `scored` are known once the first score was read."""

    name = "epss"
    label = "EPSS"
    address = "https://epss.cyentia.com/epss_scores-current.csv.gz"

    def __init__(self, releases: Collection[str] | None = None) -> None:
        """It is the same for all: `releases` is what every feed is made with."""
        super().__init__()
        self.model = ""
        self.scored: datetime | None = None

    def parse(self, file: Path) -> Iterator[Entry]:
        self.dropped = 0
        try:
            with opened(file) as lines:
                yield from self.scores(lines)
        except (OSError, EOFError, zlib.error, ValueError, csv.Error) as error:
            raise FeedError(f"The feed {self.name} could not be read from {file.name}: {error}.") from error

    def scores(self, lines: IO[str]) -> Iterator[Score]:
        heading = lines.readline()
        if match := HEADING.match(heading):
            self.model = match[1]
            self.scored = datetime.fromisoformat(match[2])
            heading = lines.readline()
        if heading.strip().split(",") != COLUMNS:
            raise ValueError("it does not begin with the columns cve, epss and percentile")
        for fields in csv.reader(lines):
            score = score_of(fields)
            if score is None:
                self.dropped += 1
            else:
                yield score


def opened(file: Path) -> IO[str]:
    """Compressed or not: a server may have unpacked it on the way, whatever its name says."""
    with file.open("rb") as start:
        compressed = start.read(2) == GZIP
    return gzip.open(file, "rt", encoding="utf-8") if compressed else file.open(encoding="utf-8")


def score_of(fields: list[str]) -> Score | None:
    # CVE-1999-0001,0.01151,0.7802
    try:
        cve, epss, percentile = fields
        score = Score(cve, float(epss), float(percentile))
    except ValueError:
        return None
    sensible = cve.startswith("CVE-") and 0 <= score.epss <= 1 and 0 <= score.percentile <= 1  # "nan" is not
    return score if sensible else None
