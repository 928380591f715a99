"""Which CVEs are exploited, and how likely the others are to be."""

import gzip
import json
import lzma
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from scanner.vulnerabilities.epss import Epss
from scanner.vulnerabilities.interface import Exploited, FeedError, Score
from scanner.vulnerabilities.kev import Kev

CHECKOUT = Path(__file__).parents[2]
SAMPLES = CHECKOUT / "tests/recorded/feeds"
FULL = CHECKOUT.parent / "shared/data/kev/known_exploited_vulnerabilities-2025-08-25.json.xz"

# --- KEV -------------------------------------------------------------------------------------------


def test_an_exploited_cve_has_its_dates_and_its_name():
    assert next(Kev().parse(SAMPLES / "kev.json")) == Exploited(
        "CVE-2025-0108",
        date(2025, 2, 18),
        date(2025, 3, 11),
        ransomware=False,
        name="Palo Alto Networks PAN-OS Authentication Bypass Vulnerability",
    )


def test_only_a_known_use_by_ransomware_counts(tmp_path):
    catalog = json.loads((SAMPLES / "kev.json").read_text())
    catalog["vulnerabilities"][1]["knownRansomwareCampaignUse"] = "Known"
    (tmp_path / "kev").write_text(json.dumps(catalog))
    assert [entry.ransomware for entry in Kev().parse(tmp_path / "kev")] == [False, True, False]


def test_an_entry_that_makes_no_sense_is_dropped_and_counted(tmp_path):
    catalog = json.loads((SAMPLES / "kev.json").read_text())
    catalog["vulnerabilities"][0]["dateAdded"] = "soon"
    del catalog["vulnerabilities"][1]["dueDate"]  # that is allowed
    (tmp_path / "kev").write_text(json.dumps(catalog))
    feed = Kev()
    assert [entry.due for entry in feed.parse(tmp_path / "kev")] == [None, date(2025, 3, 6)]
    assert feed.dropped == 1


@pytest.mark.parametrize("text", ["", "{}", "[]", "<html>Sign in</html>", '{"vulnerabilities": [{"cveID": "CVE'])
def test_a_file_that_is_no_catalog_is_an_error(tmp_path, text):
    (tmp_path / "kev").write_text(text)
    with pytest.raises(FeedError, match="kev"):
        list(Kev().parse(tmp_path / "kev"))


@pytest.mark.slow
def test_the_whole_catalog_is_read(tmp_path):
    for file in [FULL] if FULL.exists() else []:
        (tmp_path / "kev").write_bytes(lzma.decompress(file.read_bytes()))
        feed = Kev()
        found = list(feed.parse(tmp_path / "kev"))
        assert (len(found), len({entry.cve for entry in found}), feed.dropped) == (1404, 1404, 0)
        assert any(entry.ransomware for entry in found)


# --- EPSS ------------------------------------------------------------------------------------------


def test_scores_are_read_with_the_model_and_the_date_that_they_are_of():
    feed = Epss()
    found = list(feed.parse(SAMPLES / "epss-2.csv"))
    assert found[0] == Score("CVE-1999-0001", 0.01151, 0.7802)
    assert Score("CVE-2025-9970", 7e-05, 0.00428) in found
    assert (len(found), feed.dropped) == (27, 0)
    assert (feed.model, feed.scored) == ("v2025.03.14", datetime(2025, 12, 26, 12, 55, tzinfo=UTC))


def test_the_date_of_older_files_is_read_too():
    feed = Epss()
    assert len(list(feed.parse(SAMPLES / "epss-1.csv"))) == 5
    assert (feed.model, feed.scored) == ("v2023.03.01", datetime(2025, 2, 20, tzinfo=UTC))


def test_a_compressed_file_is_known_by_its_content_and_not_by_its_name(tmp_path):
    (tmp_path / "epss").write_bytes(gzip.compress((SAMPLES / "epss-2.csv").read_bytes()))
    (tmp_path / "epss.gz").write_bytes((SAMPLES / "epss-2.csv").read_bytes())
    expected = list(Epss().parse(SAMPLES / "epss-2.csv"))
    assert list(Epss().parse(tmp_path / "epss")) == list(Epss().parse(tmp_path / "epss.gz")) == expected


def test_a_file_without_the_comment_is_read_as_well(tmp_path):
    (tmp_path / "epss").write_text("cve,epss,percentile\nCVE-1999-0001,0.5,1\n")
    assert list(Epss().parse(tmp_path / "epss")) == [Score("CVE-1999-0001", 0.5, 1)]


@pytest.mark.parametrize("line", ["CVE-1999-0002,nan,0.5", "CVE-1999-0002,2,0.5", "CVE-1999-0002", "x,0.1,0.1", ",,"])
def test_a_line_that_makes_no_sense_is_dropped_and_counted(tmp_path, line):
    (tmp_path / "epss").write_text(f"cve,epss,percentile\n{line}\nCVE-1999-0001,0.5,1\n")
    feed = Epss()
    assert [score.cve for score in feed.parse(tmp_path / "epss")] == ["CVE-1999-0001"]
    assert feed.dropped == 1


def test_a_file_that_has_no_scores_or_is_cut_off_is_an_error(tmp_path):
    packed = gzip.compress((SAMPLES / "epss-2.csv").read_bytes())
    for data in (b"", b"<html>Sign in</html>", packed[:-20], packed[:20], b"\x1f\x8b nothing packed", b"\xff\xfe"):
        (tmp_path / "epss").write_bytes(data)
        with pytest.raises(FeedError, match="epss"):
            list(Epss().parse(tmp_path / "epss"))
