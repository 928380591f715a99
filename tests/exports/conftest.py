"""What the formats are tried on."""

from pathlib import Path
from typing import Any

import pytest

from scanner.models import Scan
from tests.exports.scans import scan_of_everything


@pytest.fixture
def scan(tmp_path: Path, settings: Any) -> Scan:
    settings.SCANNER_DATA = tmp_path
    return scan_of_everything(tmp_path)
