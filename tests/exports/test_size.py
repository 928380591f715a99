"""A large host: what is exported is all of it. `python -m tests.bench.exports` measures how fast."""

import csv
import io
from pathlib import Path
from typing import Any

import pytest

from scanner.exports.formats import EXPORTS
from scanner.exports.loading import StoredScan
from tests.exports.scans import large_host

pytestmark = [pytest.mark.django_db, pytest.mark.slow]


def test_the_lists_of_a_large_host_have_no_limit(tmp_path: Path, settings: Any) -> None:
    settings.SCANNER_DATA = tmp_path
    scan = large_host(tmp_path, packages=10_000, updates=1_500, security=400, vulnerable=2_000)
    export = next(each for each in EXPORTS if each.name == "csv")
    numbers = {}
    for part in export.parts:
        text = b"".join(export.scan(StoredScan(scan), part)).decode("utf-8-sig")
        rows = [row for row in csv.reader(io.StringIO(text)) if row]
        header = max(rows, key=len)
        numbers[part] = len([row for row in rows if len(row) == len(header)]) - 1
    assert numbers == {
        "updates": 1_500,
        "security": 400,
        "others": 1_100,
        "packages": 10_000,
        "vulnerabilities": 6_000,
    }
