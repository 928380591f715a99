"""Of an archive at OSV only what has changed is fetched, from a real server on this machine."""

import io
import json
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from scanner.models import AffectedPackage, Feed
from scanner.vulnerabilities import delta, importing
from scanner.vulnerabilities.interface import FeedError
from tests.vulnerabilities.test_fetching import Server, say

pytestmark = pytest.mark.django_db
FIRST = datetime(2026, 11, 1, tzinfo=UTC)


class Publisher:
    """AlmaLinux' part of OSV: an archive, a list of changes, and each advisory on its own."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.source = f"{server.address}/AlmaLinux/all.zip"
        self.records: dict[str, dict[str, Any]] = {}
        self.changes: list[tuple[datetime, str]] = []

    def say(self, number: int, fixed: str, **fields: Any) -> None:
        advisory = f"ALSA-2026:{number}"
        affected = {
            "package": {"ecosystem": "AlmaLinux:9", "name": f"package-{number}"},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": fixed}]}],
        }
        related = [f"CVE-2026-{1000 + number}"]
        self.records[advisory] = {"id": advisory, "affected": [affected], "related": related, **fields}
        self.changes.insert(0, (FIRST + timedelta(hours=len(self.changes)), advisory))
        self.publish()

    def publish(self, listed: bool = True) -> None:
        archive = io.BytesIO()
        with zipfile.ZipFile(archive, "w") as opened:
            for advisory, record in self.records.items():
                opened.writestr(f"{advisory}.json", json.dumps(record))
        lines = "".join(f"{at.isoformat()},{advisory}\n" for at, advisory in self.changes)
        files = {"all.zip": archive.getvalue(), **({"modified_id.csv": lines.encode()} if listed else {})}
        files |= {
            f"{advisory.replace(':', '%3A')}.json": json.dumps(each).encode() for advisory, each in self.records.items()
        }
        self.server.answers = {
            f"/AlmaLinux/{name}": lambda handler, body=body: say(handler, 200, body) for name, body in files.items()
        }

    def refresh(self) -> list[str]:
        """The names of the files that it asks for."""
        self.server.asked.clear()
        importing.refresh("alma", self.source)
        return [path.rpartition("/")[2] for path, _ in self.server.asked]


@pytest.fixture
def publisher(tmp_path: Path, settings: Any) -> Iterator[Publisher]:
    settings.SCANNER_DATA = tmp_path
    server = Server()
    made = Publisher(server)
    for number in range(1, 4):
        made.say(number, "1.0-2.el9")
    yield made
    server.stop()


def fixes() -> dict[str, str]:
    return dict(AffectedPackage.objects.values_list("name", "fixed_version"))


def test_the_first_time_the_archive_is_read_and_then_only_what_has_changed(publisher: Publisher) -> None:
    assert "all.zip" in publisher.refresh()
    assert publisher.refresh() == ["modified_id.csv"]
    publisher.say(2, "1.0-3.el9")
    publisher.say(4, "1.0-2.el9")
    asked = publisher.refresh()
    assert "all.zip" not in asked and set(asked[1:]) == {"ALSA-2026%3A2.json", "ALSA-2026%3A4.json"}
    assert fixes() == {f"package-{number}": f"1.0-{3 if number == 2 else 2}.el9" for number in range(1, 5)}
    feed = Feed.objects.get()
    assert (feed.rows, feed.generation, feed.error) == (4, 2, "")


def test_what_is_withdrawn_goes_and_the_rest_stays(publisher: Publisher) -> None:
    publisher.refresh()
    publisher.say(1, "1.0-2.el9", withdrawn="2026-11-20T00:00:00Z")
    publisher.refresh()
    assert set(fixes()) == {"package-2", "package-3"}


@pytest.mark.parametrize("why", ["no list", "too many", "a week", "another address", "not there"])
def test_sometimes_the_archive_is_read_all_the_same(
    publisher: Publisher, why: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    publisher.refresh()
    publisher.say(2, "1.0-3.el9")
    if why == "no list":
        publisher.publish(listed=False)
    elif why == "too many":
        monkeypatch.setattr(delta, "MOST", 0)
    elif why == "a week":
        monkeypatch.setattr(delta, "WHOLE", timedelta(0))
    elif why == "another address":
        Feed.objects.update(source="")
        (tmp_path / "feeds/alma.read").write_text(json.dumps({"source": "elsewhere"}))
    else:
        del publisher.server.answers["/AlmaLinux/ALSA-2026%3A2.json"]
    assert "all.zip" in publisher.refresh()
    assert fixes()["package-2"] == "1.0-3.el9"


def test_a_server_that_is_away_changes_nothing_and_is_named(publisher: Publisher) -> None:
    publisher.refresh()
    publisher.server.stop()
    with pytest.raises(FeedError, match="no connection could be made"):
        importing.refresh("alma", publisher.source)
    assert len(fixes()) == 3
    publisher.server = Server()


@pytest.mark.parametrize(
    ("source", "applies"), [("https://a/b/all.zip", True), ("https://a/b.zip", False), ("/a/all.zip", False)]
)
def test_it_is_about_archives_at_an_address(source: str, applies: bool) -> None:
    assert delta.applies(source) is applies
