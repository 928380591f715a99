"""Feeds into the database, and what is answered from there."""

import json
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from scanner.models import AffectedPackage, ExploitScore, Feed, KnownExploited, Vulnerability
from scanner.vulnerabilities import importing
from scanner.vulnerabilities.feeds import FEEDS
from scanner.vulnerabilities.interface import FeedError

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def own_data(tmp_path: Path, settings: Any) -> None:
    settings.SCANNER_DATA = tmp_path


def tracker(**fixes: str) -> dict[str, Any]:
    """The Debian tracker's shape: package=fixed version, or "" where nothing is fixed."""
    return {
        name: {
            f"CVE-2026-{number}": {
                "description": f"About {name}",
                "releases": {
                    "bookworm": {"status": "resolved", "fixed_version": fixed, "urgency": "high"}
                    if fixed
                    else {"status": "open", "urgency": "low", "nodsa": "Minor issue", "nodsa_reason": ""}
                },
            }
        }
        for number, (name, fixed) in enumerate(fixes.items(), 1001)
    }


@pytest.fixture
def debian(tmp_path: Path) -> Callable[..., Feed]:
    """Reads a tracker with these fixes."""

    def read(**fixes: str) -> Feed:
        file = tmp_path / "tracker.json"
        file.write_text(json.dumps(tracker(**fixes)))
        return importing.refresh("debian", str(file))

    return read


def versions() -> dict[str, str]:
    return dict(AffectedPackage.objects.values_list("name", "fixed_version"))


def run(command: str, *words: str) -> str:
    out = StringIO()
    call_command(command, *words, stdout=out, stderr=StringIO())
    return out.getvalue()


def test_a_feed_is_read_and_what_has_not_changed_is_not_written_again(debian: Callable[..., Feed]) -> None:
    row = debian(openssl="3.0.2-1", vim="9.0-2", bash="")
    assert (row.rows, row.error) == (3, "")
    assert versions() == {"openssl": "3.0.2-1", "vim": "9.0-2", "bash": ""}
    kept = AffectedPackage.objects.get(name="vim").pk
    debian(openssl="3.0.3-1", vim="9.0-2")
    assert versions() == {"openssl": "3.0.3-1", "vim": "9.0-2"}
    assert AffectedPackage.objects.get(name="vim").pk == kept
    assert Vulnerability.objects.get(cve="CVE-2026-1001").summary == "About openssl"


def test_the_keys_sort_as_versions_do_in_the_database(debian: Callable[..., Feed]) -> None:
    debian(a="1.10-1", b="1.9-1", c="1:0.1-1", d="1.9~rc1-1")
    assert list(AffectedPackage.objects.order_by("fixed_key").values_list("name", flat=True)) == ["d", "b", "a", "c"]


def test_a_feed_that_cannot_be_read_leaves_what_was_there_and_says_so(
    debian: Callable[..., Feed], tmp_path: Path
) -> None:
    debian(openssl="3.0.2-1")
    (tmp_path / "tracker.json").write_text('{"openssl": {"CVE-2026-1":')
    with pytest.raises(FeedError):
        importing.refresh("debian", str(tmp_path / "tracker.json"))
    assert versions() == {"openssl": "3.0.2-1"}
    assert Feed.objects.get().error != ""
    assert debian(openssl="3.0.2-1").error == ""


def test_a_feed_that_has_shrunk_by_more_than_a_fifth_is_refused(debian: Callable[..., Feed]) -> None:
    many = {f"package{number}": "1.0-1" for number in range(200)}
    debian(**many)
    with pytest.raises(FeedError, match="only 150 rows"):
        debian(**dict(list(many.items())[:150]))
    assert AffectedPackage.objects.count() == 200
    debian(**dict(list(many.items())[:170]))
    assert AffectedPackage.objects.count() == 170


def test_scores_and_the_catalog_of_exploited_cves_replace_those_before(tmp_path: Path) -> None:
    scores, catalog = tmp_path / "epss.csv", tmp_path / "kev.json"
    for cve in ("CVE-2026-1", "CVE-2026-2"):
        scores.write_text(
            f"#model_version:v1,score_date:2026-11-24T00:00:00+0000\ncve,epss,percentile\n{cve},0.5,0.9\n"
        )
        importing.refresh("epss", str(scores))
        known = {"cveID": cve, "dateAdded": "2026-01-02", "dueDate": "2026-02-02", "vulnerabilityName": "Bad"}
        catalog.write_text(json.dumps({"title": "", "catalogVersion": cve, "count": 1, "vulnerabilities": [known]}))
        importing.refresh("kev", str(catalog))
    assert list(ExploitScore.objects.values_list("cve", "epss")) == [("CVE-2026-2", 0.5)]
    assert [(row.cve, str(row.added)) for row in KnownExploited.objects.all()] == [("CVE-2026-2", "2026-01-02")]


def test_every_feed_has_a_setting_for_its_source(settings: Any) -> None:
    assert set(settings.FEED_SOURCES) == {feed.name for feed in FEEDS}


# --- the commands -----------------------------------------------------------------------------------


def test_an_inventory_is_answered_from_the_feeds_the_most_urgent_first(
    debian: Callable[..., Feed], tmp_path: Path
) -> None:
    debian(openssl="3.0.2-1", vim="9.0-2", bash="")
    KnownExploited.objects.create(cve="CVE-2026-1002", added="2026-01-02")
    packages = tmp_path / "packages"
    packages.write_text("libssl3 3.0.1-1 amd64 openssl 3.0.1-1\nvim 9.0-1 amd64\nbash 5.2-1 amd64\ncurl 8.0-1 amd64\n")
    answer = json.loads(run("check_inventory", str(packages), "--distribution", "debian:12", "--json"))
    assert [(each["cve"], each["package"], each["status"]) for each in answer["findings"]] == [
        ("CVE-2026-1002", "vim", "fixed"),
        ("CVE-2026-1001", "libssl3", "fixed"),
        ("CVE-2026-1003", "bash", "no_dsa"),
    ]
    first, _, last = answer["findings"]
    assert (first["installed_version"], first["fixed_version"], first["known_exploited"]) == ("9.0-1", "9.0-2", True)
    assert (last["fixed_version"], last["architecture"]) == (None, "amd64")
    assert "3 findings, 2 with a fix, 1 known to be exploited" in run(
        "check_inventory", str(packages), "--distribution", "debian:12"
    )


def test_no_data_is_not_no_vulnerabilities(debian: Callable[..., Feed], tmp_path: Path) -> None:
    debian(openssl="3.0.2-1")
    packages = tmp_path / "packages"
    packages.write_text("openssl 1.0-1\n")
    with pytest.raises(CommandError, match="says anything about debian:7"):
        run("check_inventory", str(packages), "--distribution", "debian:7")


@pytest.mark.parametrize(
    ("text", "words", "message"),
    [
        ("openssl 1.0-1", [], "--distribution"),
        ("openssl", ["--distribution", "debian:12"], "no version"),
        ("openssl 1.0-1", ["--distribution", "slackware:15"], "slackware:15"),
    ],
)
def test_wrong_usage_is_explained(tmp_path: Path, text: str, words: list[str], message: str) -> None:
    file = tmp_path / "packages"
    file.write_text(text)
    with pytest.raises(CommandError, match=message) as error:
        run("check_inventory", str(file), *words)
    assert error.value.returncode == 2


def test_refresh_feeds_says_what_it_read_and_what_it_could_not(tmp_path: Path) -> None:
    file = tmp_path / "tracker.json"
    file.write_text(json.dumps(tracker(openssl="3.0.2-1")))
    assert run("refresh_feeds", "debian", "--file", str(file)).startswith("debian: 1 rows, read ")
    with pytest.raises(SystemExit):
        run("refresh_feeds", "debian", "--file", str(tmp_path / "nothing"))
    for words in (["nonsense"], ["--file", "x"], ["debian", "kev", "--file", "x"], []):
        with pytest.raises(CommandError):
            run("refresh_feeds", *words)
