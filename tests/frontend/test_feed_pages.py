"""The page of feeds: what it says of each, what is not known at all, and reading them anew."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from kombu.exceptions import OperationalError as BrokerAway

from frontend import feed_pages
from scanner.models import AffectedPackage, Feed
from scanner.vulnerabilities.feeds import FEEDS
from tests.make import make_host, make_report, make_scan, make_user

pytestmark = pytest.mark.django_db

PAGE = "/security/feeds/"
REFRESH = "/security/feeds/refresh/"


@pytest.fixture(autouse=True)
def automatic(settings: Any) -> None:
    settings.FEEDS = ["auto"]


@pytest.fixture
def keeper(client: Client) -> Client:
    client.force_login(make_user("keeper", refresh_feeds=True))
    return client


@pytest.fixture
def queued(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[list[str]]]:
    """The names that workers are told to read, in place of a worker."""
    asked: list[list[str]] = []
    monkeypatch.setattr(feed_pages.refresh_feeds, "delay", asked.append)
    yield asked


def make_feed(name: str = "debian", age: timedelta = timedelta(hours=2), **fields: Any) -> Feed:
    at = timezone.now() - age
    values = {"rows": 35_000, "size": 63 * 1024**2, "imported_at": at, "checked_at": at, **fields}
    return Feed.objects.create(name=name, **values)


def make_host_of(release: str, name: str = "web-1") -> None:
    make_scan(make_host(name), report=replace(make_report(), distribution=release))


def make_row(release: str, feed: Feed | None = None) -> None:
    """Something that a feed says about a release."""
    feed = feed or Feed.objects.first()
    values = {"name": "openssl", "advisory": "DSA-1", "status": "open", "digest": b"1"}
    AffectedPackage.objects.create(feed=feed, distribution=release, **values)


def line(client: Client, name: str) -> feed_pages.Line:
    return next(line for line in client.get(PAGE).context["lines"] if line.name == name)


def text_of(client: Client) -> str:
    return client.get(PAGE).content.decode()


def test_staff_see_feeds_and_only_who_may_change_them_can_refresh(client: Client, queued: list[list[str]]) -> None:
    make_host_of("debian:12")
    assert client.get(PAGE).status_code == 302
    client.force_login(make_user("guest", staff=False))
    assert client.get(PAGE).status_code == 403
    client.force_login(make_user("reader"))
    shown = text_of(client)
    assert "Your account may not refresh feeds." in shown
    assert 'aria-label="Refresh Debian' not in shown
    refused = client.post(REFRESH)
    assert refused.status_code == 403
    assert "may not refresh feeds" in refused.content.decode()
    client.force_login(make_user("keeper", refresh_feeds=True))
    assert 'aria-label="Refresh Debian' in text_of(client)
    assert client.get(REFRESH).status_code == 405
    assert client.post(REFRESH).status_code == 302
    assert queued == [["debian", "kev", "epss"]]


def test_every_feed_is_listed_with_what_it_says_and_who_needs_it(keeper: Client) -> None:
    make_host_of("debian:12")
    make_host_of("debian:11", "web-2")
    make_row("debian:12", make_feed(checked_at=timezone.now(), dropped=7))
    shown = text_of(keeper)
    for listed in FEEDS:
        assert f'data-feed="{listed.name}"' in shown
    for text in (
        "Debian security tracker",
        "35\N{NARROW NO-BREAK SPACE}000",
        "63.0\xa0MB",
        "2 h ago",
        "asked",
        "just now",
    ):
        assert text in shown
    assert "debian:11: 1 host" in shown and "debian:12: 1 host" in shown
    assert "7 left out" in shown
    assert "security-tracker.debian.org" in shown
    assert [each.name for each in keeper.get(PAGE).context["lines"]][:3] == ["debian", "kev", "epss"]
    assert keeper.get(PAGE).context["wanted"] == 3


@pytest.mark.parametrize(
    ("fields", "word", "troubled"),
    [
        ({}, "Fresh", False),
        ({"age": timedelta(days=4)}, "Old", True),
        ({"age": timedelta(days=4), "checked_at": timezone.now()}, "Fresh", False),  # "not changed since"
        ({"error": "It could not be fetched."}, "Failed", True),
        ({"imported_at": None, "error": "It could not be fetched."}, "Failed", True),
        ({"imported_at": None, "checked_at": None}, "Not read yet", True),
        ({"step": "reading", "step_since": timezone.now(), "error": "It broke."}, "Reading", False),
        ({"step": "queued", "step_since": timezone.now()}, "Waiting", False),
        ({"step": "reading", "step_since": timezone.now() - timedelta(minutes=45)}, "Interrupted", True),
    ],
)
def test_a_feed_says_how_it_is(keeper: Client, fields: dict[str, Any], word: str, troubled: bool) -> None:
    make_host_of("debian:12")
    make_feed(**fields)
    shown = line(keeper, "debian")
    assert (shown.state[2], shown.troubled) == (word, troubled)
    assert word in text_of(keeper)


def test_a_feed_that_no_host_needs_is_no_trouble_and_says_so(keeper: Client) -> None:
    make_feed("arch", timedelta(days=40))
    assert line(keeper, "arch").state[2] == "Not kept fresh"
    assert line(keeper, "suse").state[2] == "Not needed"
    assert not any(each.troubled for each in keeper.get(PAGE).context["lines"])


def test_an_error_comes_with_what_to_do(keeper: Client, settings: Any) -> None:
    make_host_of("debian:12")
    make_feed(error="The feed debian could not be fetched: it did not answer in time.")
    shown = text_of(keeper)
    assert "it did not answer in time" in shown
    assert "FEED_DEBIAN can name a mirror or a file instead" in shown
    settings.FEED_SOURCES = {"debian": "/mnt/mirror/debian.json"}
    assert "read from where FEED_DEBIAN says" in text_of(keeper)


def test_a_copy_that_nobody_renews_is_old_although_it_can_be_read(keeper: Client, settings: Any) -> None:
    make_host_of("debian:12")
    settings.FEED_SOURCES = {"debian": "/mnt/mirror/debian.json"}
    make_feed(age=timedelta(days=4), checked_at=timezone.now(), source="/mnt/mirror/debian.json")
    shown = text_of(keeper)
    assert line(keeper, "debian").state[2] == "Old"
    assert "is that copy still renewed?" in shown
    assert "/mnt/mirror/debian.json" in shown and "last read from" not in shown


def test_no_page_shows_the_credentials_of_an_address(keeper: Client, settings: Any) -> None:
    make_host_of("debian:12")
    settings.FEED_SOURCES = {"debian": "https://reader:pass@word@mirror.example/feeds/debian.json?token=hunter2#frag"}
    feed = make_feed(source="https://other:swordfish@old.example/x?key=hunter3")
    admin = make_user("root")
    admin.is_superuser = True
    admin.save()
    keeper.force_login(admin)
    for address in (PAGE, "/admin/scanner/feed/", f"/admin/scanner/feed/{feed.pk}/change/"):
        shown = keeper.get(address).content.decode()
        for secret in ("reader", "pass", "word@", "hunter2", "hunter3", "swordfish"):
            assert secret not in shown.replace("password", ""), (address, secret)
    shown = text_of(keeper)
    assert "https://mirror.example/feeds/debian.json" in shown
    assert "last read from https://old.example/x" in shown
    settings.FEED_SOURCES = {"debian": "http://[reader:secret"}
    assert "reader" not in text_of(keeper)


def test_releases_that_nothing_is_known_of_are_named_with_the_reason(keeper: Client) -> None:
    make_row("debian:12", make_feed(distributions=["debian:12", "debian:9"]))
    for number, release in enumerate(
        ["debian:12", "debian:9", "debian:13", "fedora:40", "fedora:40", "", "ubuntu:22.04"]
    ):
        make_host_of(release, f"host-{number}")
    unknown = {row.release: row for row in keeper.get(PAGE).context["unknown"]}
    assert set(unknown) == {"debian:9", "debian:13", "fedora:40", "", "ubuntu:22.04"}
    assert "has come to its end" in unknown["debian:9"].why
    assert "was last read before there was such a host" in unknown["debian:13"].why
    assert "No feed is about it" in unknown["fedora:40"].why
    assert (unknown["fedora:40"].hosts, unknown["fedora:40"].names) == (2, ["host-3", "host-4"])
    assert "did not tell which release" in unknown[""].why
    assert "has not been read yet" in unknown["ubuntu:22.04"].why
    assert "No data does not mean that there are none" in text_of(keeper)


def test_without_hosts_or_feeds_it_says_why_nothing_is_read(keeper: Client, settings: Any) -> None:
    assert "no host has been scanned yet" in text_of(keeper)
    settings.FEEDS = []
    shown = text_of(keeper)
    assert "is empty, so none is read by itself" in shown
    for text in ("FEEDS=auto", "FEED_DEBIAN=", "manage.py refresh_feeds"):
        assert text in shown
    settings.FEEDS = ["kev", "epss"]
    assert [each.name for each in keeper.get(PAGE).context["lines"] if each.wanted] == ["kev", "epss"]


def test_a_refresh_waits_for_a_worker_in_the_row_and_a_second_click_starts_nothing(
    keeper: Client, queued: list[list[str]]
) -> None:
    make_feed()
    assert (
        "The feed debian is being read anew." in keeper.post(REFRESH, {"feed": "debian"}, follow=True).content.decode()
    )
    assert (Feed.objects.get().step, line(keeper, "debian").running) == ("queued", True)
    again = keeper.post(REFRESH, {"feed": "debian"}, follow=True).content.decode()
    assert "The feed debian is being read already." in again
    assert queued == [["debian"]]


def test_one_that_was_never_read_and_one_that_was_interrupted_are_read_anew(
    keeper: Client, queued: list[list[str]]
) -> None:
    make_host_of("debian:12")
    make_feed("kev", step="reading", step_since=timezone.now() - timedelta(hours=1))
    make_feed("epss", step="reading", step_since=timezone.now())
    shown = keeper.post(REFRESH, follow=True).content.decode()
    assert "2 feeds are being read anew, one after the other." in shown
    assert queued == [["debian", "kev"]]


def test_a_wish_that_no_worker_takes_says_where_to_look(keeper: Client) -> None:
    make_feed(step="queued", step_since=timezone.now() - timedelta(minutes=1))
    assert "Is a worker running that consumes the queue" in text_of(keeper)


def test_a_queue_that_is_away_is_said_in_words_and_leaves_nothing_waiting(
    keeper: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_feed()

    def away(_: list[str]) -> None:
        raise BrokerAway("Connection refused")

    monkeypatch.setattr(feed_pages.refresh_feeds, "delay", away)
    answer = keeper.post(REFRESH, {"feed": "debian"})
    assert answer.status_code == 503
    assert "Is Redis running?" in answer.content.decode()
    assert (Feed.objects.get().step, Feed.objects.get().step_since) == ("", None)


def test_what_cannot_be_refreshed_is_said_in_words(keeper: Client, queued: list[list[str]]) -> None:
    assert keeper.post(REFRESH, {"feed": "fedora"}).status_code == 404
    assert "so there is none to refresh" in keeper.post(REFRESH, follow=True).content.decode()
    assert queued == []


@pytest.mark.django_db(transaction=True)
def test_a_worker_is_told_by_the_queue_central(keeper: Client) -> None:
    keeper.post(REFRESH, {"feed": "kev"})
    with feed_pages.refresh_feeds.app.connection_for_read() as broker:
        message = broker.SimpleQueue("central").get(timeout=5)
        message.ack()
    assert message.payload[0] == [["kev"]]


def test_more_hosts_cost_no_more_queries(keeper: Client) -> None:
    make_row("debian:12", make_feed())

    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            assert keeper.get(PAGE).status_code == 200
        return len(captured)

    releases = ["debian:12", "fedora:40", ""]
    for number in range(3):
        make_host_of(releases[number % 3], f"few-{number}")
    few = queries()
    for number in range(30):
        make_host_of(releases[number % 3], f"many-{number}")
    assert queries() == few


def test_the_admin_lists_feeds_and_refreshes_them_for_who_may(client: Client, queued: list[list[str]]) -> None:
    feed = make_feed()
    make_feed("kev", step="reading", step_since=timezone.now())
    client.force_login(make_user("keeper", refresh_feeds=True))
    listed = client.get("/admin/scanner/feed/").content.decode()
    for text in ("2 h ago", "63.0\xa0MB", "reading"):
        assert text in listed
    chosen = {"action": "refresh_now", "_selected_action": list(Feed.objects.values_list("pk", flat=True))}
    assert "2 feeds selected" in client.post("/admin/scanner/feed/", chosen).content.decode() and queued == []
    chosen["confirmed"] = "yes"
    assert "being read anew" in client.post("/admin/scanner/feed/", chosen, follow=True).content.decode()
    assert queued == [["debian"]]
    assert client.get(f"/admin/scanner/feed/{feed.pk}/change/").status_code == 200
