"""The page of all hosts: what it lists and counts, what can be done with many hosts, and who may."""

import itertools
import re
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from frontend import host_pages
from scanner import risk
from scanner.models import Host, OpenUpdate, PackageSet, Scan, Tag
from tasks import scans as tasks
from tests.make import change_scan, make_host, make_report, make_scan, make_update, make_user

pytestmark = pytest.mark.django_db

LIST = "/security/"
ACT = "/security/hosts/act/"
DAY = timedelta(days=1)


@pytest.fixture
def keeper(client: Client) -> Client:
    """May do everything: scan, tag, archive."""
    client.force_login(account("keeper", run=True, change=True))
    return client


def account(name: str, run: bool = False, change: bool = False) -> Any:
    from django.contrib.auth.models import Permission  # noqa: PLC0415

    user = make_user(name, run=run)
    if change:
        user.user_permissions.add(Permission.objects.get(codename="change_host", content_type__app_label="scanner"))
    return user


@pytest.fixture
def hosts() -> None:
    """One of each level, named after it."""
    for name, number in (("high", 20), ("medium", 5), ("low", 1), ("secure", 0)):
        make_scan(make_host(name), report=make_report(*(make_update(f"lib{n}") for n in range(number))))
    make_host("unknown")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the hosts for which a worker was told of a scan."""
    names: list[str] = []

    def start(host: Host, **fields: Any) -> tuple[Scan, bool]:
        scan, new = Scan.objects.request(host, **fields)
        names.extend([host.name] if new else [])
        return scan, new

    monkeypatch.setattr(tasks, "start", start)
    return names


def names(client: Client, query: str = "") -> list[str]:
    return [row["name"] for row in client.get(f"{LIST}{query}").context["rows"]]


def text_of(client: Client, query: str = "") -> str:
    return client.get(f"{LIST}{query}").content.decode()


def post(client: Client, do: str, *chosen: str, query: str = "", **fields: str) -> Any:
    pks = list(Host.objects.filter(name__in=chosen).values_list("pk", flat=True))
    return client.post(ACT, {"do": do, "host": pks, "query": query, **fields})


def said(client: Client, answer: Any) -> str:
    return client.get(answer["Location"]).content.decode()


# --- the list -----------------------------------------------------------------------------------------


def test_the_worst_come_first_and_each_says_how_it_stands(keeper: Client, hosts: None) -> None:
    assert names(keeper) == ["high", "medium", "low", "unknown", "secure"]
    shown = text_of(keeper)
    assert "3 of 5 hosts have security updates waiting; 1 is unknown." in shown
    for label in ("High Risk", "Medium Risk", "Low Risk", "Unknown", "Secure"):
        assert label in shown


def test_the_rule_in_sql_is_the_rule_in_python(settings: Any) -> None:
    now, limit = timezone.now(), timedelta(days=settings.METADATA_MAX_AGE_DAYS)
    dates = (None, now, now - limit, now - limit - timedelta(seconds=1), now + DAY)
    numbers = (None, 0, 1, 4, 5, 19, 20, 500)
    for index, (number, state, at) in enumerate(itertools.product(numbers, ("completed", "partial"), dates)):
        host = Host.objects.create(name=f"host-{index}")
        values = {"security_updates": number, "total_updates": 0, "metadata_date": at, "finished_at": now}
        Host.objects.stand_on(Scan.objects.create(host=host, state=state, trigger="api", **values))
    make_host("never-scanned")
    found = list(Host.objects.with_severity(now).select_related("current"))
    assert len(found) == 81
    for host in found:
        level = host.current.level_at(now) if host.current else risk.UNKNOWN
        assert host.severity == level.severity, host.current and vars(host.current)
    assert {host.severity for host in found} == set(host_pages.LEVELS)


def test_every_number_is_that_of_the_list_behind_it(keeper: Client, hosts: None) -> None:
    make_scan(make_host("high-2"), report=make_report(*(make_update(f"lib{n}") for n in range(30))))
    for query in ("?", "?q=h&", "?q=low&"):
        shown = keeper.get(f"{LIST}{query}")
        links = re.findall(
            r'href="(\?[^"]*status=\w+[^"]*)"[^>]*>.*?<span class="count">(\d+)</span>', shown.content.decode()
        )
        assert links or query != "?"
        for link, number in links:
            assert len(names(keeper, link.replace("&amp;", "&"))) == int(number)
        assert shown.context["any_status"] == len(shown.context["rows"])


def test_it_is_filtered_by_name_tag_status_manager_and_release(keeper: Client, hosts: None) -> None:
    make_host("low").set_tags(["prod", "berlin"])
    make_host("secure").set_tags(["prod"])
    change_scan(Scan.objects.get(host__name="low"), package_manager="dnf", distribution="almalinux:9")
    for query, wanted in {
        "?q=LOW": ["low"],
        "?q=berl": ["low"],
        "?tag=prod": ["low", "secure"],
        "?tag=prod&status=secure": ["secure"],
        "?status=unknown": ["unknown"],
        "?manager=dnf": ["low"],
        "?distribution=almalinux:9": ["low"],
        "?manager=apt&tag=prod": ["secure"],
        "?tag=pro": [],
        "?status=nonsense&sort=nonsense&size=3&page=x": ["high", "medium", "low", "unknown", "secure"],
    }.items():
        assert names(keeper, query) == wanted, query
    assert keeper.get(f"{LIST}?q=%00&size=9999999999999&tick=%00,x,99999999999999999999").status_code == 200


def test_it_is_filtered_by_what_is_exploited_and_what_is_late(keeper: Client, hosts: None, settings: Any) -> None:
    make_scan(make_host("new"), report=make_report(make_update("late"), packages=7))
    exploited = Host.objects.get(name="new").current.snapshot.package_set_id
    PackageSet.objects.filter(pk=exploited).update(tally={"exploited": 2, "open": 3})
    settings.SECURITY_TARGET_HOURS = 24
    OpenUpdate.objects.filter(host__name="medium", name="lib1").update(since=timezone.now() - DAY - timedelta(hours=1))
    assert names(keeper, "?exploited=1") == ["new"]
    assert "2 exploited" in text_of(keeper, "?exploited=1")
    assert names(keeper, "?late=1") == ["medium"]
    shown = text_of(keeper, "?late=1")
    assert "1 late" in shown and "25 h" in shown


def test_it_is_sorted_by_name_number_and_age_with_unknown_where_it_is_worst(keeper: Client, hosts: None) -> None:
    change_scan(Scan.objects.get(host__name="low"), finished_at=timezone.now() - DAY)
    assert names(keeper, "?sort=name") == ["high", "low", "medium", "secure", "unknown"]
    assert names(keeper, "?sort=-name")[0] == "unknown"
    assert names(keeper, "?sort=-security") == ["high", "medium", "low", "secure", "unknown"]
    assert names(keeper, "?sort=-age")[:2] == ["unknown", "low"]
    assert names(keeper, "?sort=age")[-2:] == ["low", "unknown"]
    assert 'aria-sort="ascending"' in text_of(keeper, "?sort=name")


def test_pages_hold_a_hundred_rows_or_as_many_as_are_asked_for(keeper: Client) -> None:
    Host.objects.bulk_create(Host(name=f"host-{number:03}") for number in range(120))
    assert len(names(keeper)) == 100
    assert names(keeper, "?page=2&status=unknown")[0] == "host-100"
    assert len(names(keeper, "?size=50")) == 50
    assert len(names(keeper, "?size=250")) == 120
    assert "sort=-name" in text_of(keeper, "?size=50&sort=name&q=host")
    assert 'name="size" value="50"' in text_of(keeper, "?size=50")


def test_nothing_that_matches_and_no_host_at_all_say_what_to_do(keeper: Client) -> None:
    assert "No host is known yet" in text_of(keeper)
    assert "No host is archived" in text_of(keeper, "?archived=1")
    make_host("web-1")
    shown = text_of(keeper, "?q=nowhere&late=1")
    assert "No host matches “nowhere” and the chosen filters" in shown
    assert "Show them all" in shown and 'value="nowhere"' in shown


def test_names_are_text(keeper: Client) -> None:
    evil = '"><script>alert(1)</script>'
    make_host(evil).tags.add(Tag.objects.create(name="<b>bold</b>"))
    for query in ("", f"?q={evil}", f"?tag={evil}&manager={evil}&typed={evil}"):
        shown = text_of(keeper, query)
        assert "<script>alert" not in shown and "<b>bold" not in shown
    assert "<script>alert" not in post(keeper, "archive", evil).content.decode()


def test_the_number_of_queries_does_not_grow_with_the_hosts(keeper: Client) -> None:
    def queries(query: str) -> int:
        with CaptureQueriesContext(connection) as captured:
            assert keeper.get(f"{LIST}{query}").status_code == 200
        return len(captured)

    for number in range(3):
        make_scan(make_host(f"host-{number}"), report=make_report(make_update()))
    make_host("host-0").set_tags(["prod"])
    make_scan(make_host("host-0"), "failed")
    everything = "?q=host&late=1&exploited=1&manager=apt&status=low&tag=prod&sort=-age"
    few = [queries(""), queries(everything)]
    for number in range(3, 30):
        host = make_host(f"host-{number}")
        host.set_tags(["prod"])
        make_scan(host, report=make_report(make_update()))
        make_scan(host, "queued" if number % 2 else "failed")
    assert [queries(""), queries(everything)] <= few
    assert max(few) <= 20


def test_live_updates_find_what_they_read(keeper: Client, hosts: None) -> None:
    shown = text_of(keeper)
    for needed in ('data-live="all"', 'id="results"', 'data-active="0"', 'id="live"', 'id="lost"', "data-poll="):
        assert needed in shown
    assert "style=" not in shown and "<script>" not in shown


# --- what is done with many ---------------------------------------------------------------------------


def test_who_may_not_act_sees_the_list_without_boxes_and_is_refused(client: Client, hosts: None) -> None:
    client.force_login(account("reader"))
    assert 'id="act"' in text_of(client) and 'type="checkbox" id="tick-' not in text_of(client)
    for do in ("run", "add-tag", "remove-tag", "archive", "bring-back"):
        refused = post(client, do, "low", tag="prod", confirmed="1")
        assert (refused.status_code, "Your account may not" in refused.content.decode()) == (403, True)
    client.force_login(account("runner", run=True))
    assert "Run scan" in text_of(client) and "Archive …" not in text_of(client)
    assert post(client, "archive", "low").status_code == 403
    client.force_login(account("tagger", change=True))
    assert "Run scan" not in text_of(client) and "Archive …" in text_of(client)
    assert post(client, "run", "low").status_code == 403
    assert not Scan.objects.active().exists() and not Tag.objects.exists()


def test_strangers_and_other_methods_and_forged_forms_come_nowhere(client: Client, hosts: None) -> None:
    assert post(client, "archive", "low", confirmed="1").status_code == 302
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(account("keeper", run=True, change=True))
    assert post(strict, "archive", "low", confirmed="1").status_code == 403
    assert strict.get(ACT).status_code == 405
    assert Host.objects.active().count() == 5


def test_ticked_hosts_are_scanned_and_those_under_way_are_left_alone(
    keeper: Client, hosts: None, asked: list[str]
) -> None:
    make_scan(make_host("high"), "queued")
    answer = post(keeper, "run", "high", "low", query="status=low&sort=name")
    assert answer["Location"] == f"{LIST}?status=low&sort=name"
    shown = said(keeper, answer)
    assert "1 scan was started. 1 host is being scanned already." in shown
    assert asked == ["low"]
    assert Scan.objects.active().get(host__name="low").requested_by == "keeper"
    assert "No scan was started. 2 hosts are being scanned already." in said(keeper, post(keeper, "run", "high", "low"))


def test_a_queue_that_is_away_is_named_and_the_ticks_are_kept(
    keeper: Client, hosts: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(host: Host, **_: Any) -> None:
        raise tasks.QueueUnreachable("The queue could not be reached, so no worker was told of this scan.")

    monkeypatch.setattr(tasks, "start", start)
    answer = post(keeper, "run", "low", query="q=low")
    shown = said(keeper, answer)
    assert "The queue could not be reached" in shown and "Is Redis running?" in shown
    assert re.search(r'id="tick-\d+" name="host" value="\d+" checked', shown)


def test_of_very_many_so_many_are_started_and_the_rest_is_named(
    keeper: Client, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host_pages, "MOST_SCANS", 3)
    Host.objects.bulk_create(Host(name=f"host-{number}") for number in range(5))
    shown = said(keeper, keeper.post(ACT, {"do": "run", "select": "all"}))
    assert "3 scans were started. 2 hosts are left: 3 are started at once." in shown
    shown = said(keeper, keeper.post(ACT, {"do": "run", "select": "all"}))
    assert "2 scans were started. 3 hosts are being scanned already." in shown
    assert len(asked) == 5


def test_tags_are_added_to_and_removed_from_all_that_match(keeper: Client, hosts: None) -> None:
    make_host("low").set_tags(["prod"])
    answer = keeper.post(ACT, {"do": "add-tag", "select": "all", "query": "q=l", "tag": "prod, edge"})
    assert "1 host has the tags prod, edge now." in said(keeper, answer)
    assert make_host("low").tag_names == ["edge", "prod"]
    post(keeper, "add-tag", "high", "medium", tag="edge")
    assert names(keeper, "?tag=edge") == ["high", "medium", "low"]
    assert "2 hosts have the tag edge no longer." in said(keeper, post(keeper, "remove-tag", "high", "low", tag="edge"))
    assert (make_host("low").tag_names, make_host("medium").tag_names) == (["prod"], ["edge"])


@pytest.mark.parametrize(
    ("typed", "words"), [("fine b@d", "Letters, digits and"), ("", "Write the tag"), ("x" * 51, "50")]
)
def test_a_wrong_tag_changes_nothing_and_loses_nothing(keeper: Client, hosts: None, typed: str, words: str) -> None:
    answer = post(keeper, "add-tag", "low", query="q=low", tag=typed)
    shown = said(keeper, answer)
    assert words in shown and f'value="{typed}"' in shown
    assert re.search(r'id="tick-\d+" name="host" value="\d+" checked', shown)
    assert names(keeper, answer["Location"].removeprefix(LIST)) == ["low"]
    assert not Tag.objects.exists()


def test_without_ticks_nothing_happens_and_it_says_so(keeper: Client, hosts: None) -> None:
    answer = post(keeper, "archive", query="tag=x", tag="kept")
    assert answer["Location"] == f"{LIST}?tag=x&typed=kept"
    assert "No host is selected" in said(keeper, answer)
    assert "choose what to do" in said(keeper, post(keeper, "nonsense", "low"))


def test_a_whole_page_is_ticked_and_all_that_match_are_a_second_step(keeper: Client) -> None:
    Host.objects.bulk_create(Host(name=f"host-{number:03}") for number in range(300))
    shown = text_of(keeper, "?select=page&size=50")
    assert len(re.findall(r'name="host" value="\d+" checked', shown)) == 50
    assert "Select all 300 that match" in shown
    assert "All 300 that match are selected" in text_of(keeper, "?select=all")
    page = text_of(keeper, "?select=page&size=1000")  # more than a form may send one by one
    whole = re.search(r'type="hidden" name="host" value="([\d,]+)"', page)
    assert whole and page.count("disabled") >= 300
    keeper.post(ACT, {"do": "add-tag", "host": whole[1], "tag": "all", "select": "page"})
    assert Tag.objects.get(name="all").hosts.count() == 300


# --- archived -----------------------------------------------------------------------------------------


def test_archiving_is_asked_for_first_and_concerns_exactly_what_was_shown(keeper: Client, hosts: None) -> None:
    question = keeper.post(ACT, {"do": "archive", "select": "all", "query": "q=l"})
    shown = question.content.decode()
    assert "Archive low?" in shown and "Nothing is deleted" in shown
    assert Host.objects.active().count() == 5
    make_host("later-too")  # it matches as well, and nobody was asked
    field = re.search(r'name="host" value="([\d,]+)"', shown)
    assert field
    answer = keeper.post(ACT, {"do": "archive", "host": field[1], "query": "q=l", "confirmed": "1", "select": "all"})
    assert answer["Location"] == f"{LIST}?q=l"
    assert "1 host was archived" in said(keeper, answer)
    assert list(Host.objects.exclude(archived_at=None).values_list("name", flat=True)) == ["low"]


def test_an_archived_host_is_in_no_count_and_can_be_brought_back(keeper: Client, hosts: None) -> None:
    post(keeper, "archive", "high", confirmed="1")
    assert "high" not in names(keeper)
    shown = text_of(keeper)
    assert "2 of 4 hosts have security updates waiting" in shown and "High Risk" not in shown
    assert "1 archived" in shown
    assert names(keeper, "?archived=1") == ["high"]
    assert "Bring back high?" in post(keeper, "bring-back", "high").content.decode()
    post(keeper, "bring-back", "high", confirmed="1")
    assert names(keeper)[0] == "high"
    assert "No host is archived" in text_of(keeper, "?archived=1")


def test_an_archived_host_keeps_its_page_which_says_so_and_can_still_be_scanned_by_hand(
    keeper: Client, hosts: None, asked: list[str]
) -> None:
    Host.objects.filter(name="low").archive()
    shown = keeper.get("/security/package-scanner/?host=low").content.decode()
    assert "low is archived" in shown and "Low Risk" in shown and "No scan is planned" in shown
    assert "is archived" not in keeper.get("/security/package-scanner/?host=high").content.decode()
    post(keeper, "run", "low")
    assert asked == ["low"]


def test_periodic_scans_leave_archived_hosts_out(hosts: None, asked: list[str]) -> None:
    Host.objects.filter(name="low").archive()
    assert tasks.scan_hosts() == {"started": 4, "under way already": 0}
    assert "low" not in asked
