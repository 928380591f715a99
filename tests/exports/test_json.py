"""JSON: exactly the document that the API gives, one row a line."""

import json

import pytest

from scanner.document import document
from scanner.exports.json import Json
from scanner.exports.loading import StoredScan
from scanner.models import Scan
from tests.exports.scans import PACKAGES, UPDATES, scanned

pytestmark = pytest.mark.django_db


def written(scan: Scan) -> str:
    return b"".join(Json().scan(StoredScan(scan))).decode()


def test_it_is_the_document_of_the_api(scan: Scan) -> None:
    expected = json.loads(json.dumps(document(scan)))
    found = json.loads(written(scan))
    ages = "oldest_security_update_hours"
    assert abs(found.pop(ages) - expected.pop(ages)) < 0.2
    assert found == expected
    assert list(found) == [key for key in document(scan) if key != ages]


def test_each_row_has_a_line(scan: Scan) -> None:
    assert written(scan).count("\n") == len(UPDATES) + len(PACKAGES) + 3


def test_empty_lists_are_lists() -> None:
    found = json.loads(written(scanned()))
    assert (found["updates"], found["packages"]) == ([], [])
