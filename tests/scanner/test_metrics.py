"""What Prometheus is told: true numbers, nothing where nothing is known, and no more queries for many hosts."""

import tomllib
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as project
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django_celery_beat.models import PeriodicTask
from django_celery_results.models import TaskResult
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as plain
from redis import Redis

from scanner.metrics import FAMILIES, VERSION, collect
from scanner.models import Attempt, Delivery, Event, Feed, Host, OpenUpdate, PackageSet
from scanner.package_managers.interface import Gap
from scanner.vulnerabilities import importing
from tests.make import make_host, make_report, make_scan, make_update, make_webhook

pytestmark = pytest.mark.django_db

CHECKOUT = Path(__file__).resolve().parents[2]
RUN, SWEEP = "tasks.scans.run_scan", "tasks.vulnerabilities.catch_up"

Told = dict[tuple[str, tuple[str, ...]], float]


def told() -> Told:
    """By name and label values, as a foreign parser reads it."""
    text = collect((RUN, SWEEP)).text()
    return {
        (sample.name, tuple(sample.labels.values())): sample.value for each in plain(text) for sample in each.samples
    }


def of(found: Told, host: str) -> dict[str, Any]:
    """What is said of a host: by name, and where there are more labels, by the others' values."""
    said: dict[str, Any] = {}
    for (name, values), number in found.items():
        if host in values:
            said[" ".join((name, *(value for value in values if value not in (host, "apt"))))] = number
    return said


@pytest.fixture
def redis() -> Iterator[Redis]:
    """The queue, with nothing in it before and after."""
    with Redis.from_url(project.REDIS_URL) as redis:
        redis.delete("central", "webhooks", "host.web-1", "host.web-2")
        yield redis
        redis.delete("central", "webhooks", "host.web-1", "host.web-2")


# --- hosts ------------------------------------------------------------------------------------------


def test_a_scanned_host_is_told_with_all_its_numbers() -> None:
    updates = [*(make_update(f"lib{n}") for n in range(3)), make_update("vim", security=False)]
    pinned = make_update("curl", blocked="pinned")
    scan = make_scan(report=make_report(*updates, pinned, packages=9))
    assert scan.finished_at
    said = of(told(), "web-1")
    expected = {
        "package_host_status": 2,
        "package_host_info ": 1,
        "package_security_updates": 3,
        "package_total_updates": 4,
        "package_pinned_security_updates": 1,
        "package_security_updates_late": 0,
        "package_installed": 9,
        "package_scan_partial": 0,
        "package_last_scan_failed": 0,
        "package_last_scan_timestamp": int(scan.finished_at.timestamp()),
        "apt_upgrades_pending Debian-Security:bookworm-security amd64": 3,
        "apt_upgrades_pending Debian:bookworm amd64": 1,
    }
    assert {name: said[name] for name in expected} == expected
    assert said["package_oldest_security_update_seconds"] < 60
    assert said["package_scan_duration_seconds"] < 60


def test_a_host_without_a_scan_has_no_numbers_and_says_so() -> None:
    make_host()
    said = of(told(), "web-1")
    numbers = ("security_updates", "total_updates", "pinned_security_updates", "reboot_required")
    unknown = {f"package_unknown {what}" for what in (*numbers, "vulnerabilities", "known_exploited_cves")}
    assert said == {"package_host_status": 1, **dict.fromkeys(unknown, 1)}


def test_an_unknown_number_is_no_zero() -> None:
    make_scan(report=make_report(make_update(), gaps=(Gap("A list is missing."),)), security_updates=None)
    said = of(told(), "web-1")
    assert said["package_unknown security_updates"] == 1
    assert said["package_host_status"] == 1
    assert (said["package_total_updates"], said["package_scan_partial"]) == (1, 1)
    names = ("package_security_updates", "package_security_updates_late", "package_oldest_security_update_seconds")
    assert not set(names) & set(said)


def test_the_level_is_the_one_of_now() -> None:
    make_scan(report=make_report(age=timedelta(days=project.METADATA_MAX_AGE_DAYS, minutes=1)))
    make_scan(make_host("web-2"))
    make_scan(make_host("web-3"), report=make_report(*(make_update(f"lib{n}") for n in range(20))))
    found = told()
    assert [of(found, f"web-{n}")["package_host_status"] for n in (1, 2, 3)] == [1, 0, 4]
    by_status = {status: found["package_hosts", (status,)] for status in ("secure", "unknown", "low", "medium", "high")}
    assert by_status == {"secure": 1, "unknown": 1, "low": 0, "medium": 0, "high": 1}


def test_after_a_failed_scan_the_numbers_are_those_of_the_one_before() -> None:
    good = make_scan(report=make_report(make_update()))
    assert good.finished_at
    make_scan(state="failed")
    make_scan(state="cancelled")
    said = of(told(), "web-1")
    assert (said["package_last_scan_failed"], said["package_security_updates"]) == (1, 1)
    assert said["package_last_scan_timestamp"] == int(good.finished_at.timestamp())
    make_scan()
    assert of(told(), "web-1")["package_last_scan_failed"] == 0


def test_a_host_that_is_archived_or_gone_is_not_mentioned() -> None:
    make_scan(report=make_report(make_update()))
    Host.objects.all().archive()
    found = told()
    assert of(found, "web-1") == {}
    assert sum(number for (name, _), number in found.items() if name == "package_hosts") == 0
    Host.objects.all().delete()
    assert of(told(), "web-1") == {}


def test_late_is_what_has_waited_for_longer_than_the_target() -> None:
    make_scan(report=make_report(make_update("openssl"), make_update("curl"), make_update("zlib")))
    since = timezone.now() - timedelta(hours=project.SECURITY_TARGET_HOURS + 2)
    OpenUpdate.objects.exclude(name="zlib").update(since=since)
    found = told()
    said = of(found, "web-1")
    assert said["package_security_updates_late"] == 2
    target = found["package_security_update_target_seconds", ()]
    assert target == project.SECURITY_TARGET_HOURS * 3600
    assert said["package_oldest_security_update_seconds"] == pytest.approx(target + 2 * 3600, abs=60)


def test_a_host_without_security_updates_has_waited_for_none() -> None:
    make_scan()
    said = of(told(), "web-1")
    assert (said["package_oldest_security_update_seconds"], said["package_security_updates_late"]) == (0, 0)


@pytest.mark.parametrize(("needed", "value"), [(True, 1), (False, 0), (None, None)])
def test_whether_a_reboot_is_required(needed: bool | None, value: int | None) -> None:
    make_scan(reboot_required=needed)
    said = of(told(), "web-1")
    assert said.get("node_reboot_required") == value
    assert said.get("package_unknown reboot_required") == (1 if value is None else None)


def test_vulnerabilities_are_told_by_status_where_they_are_known() -> None:
    make_scan()
    make_scan(make_host("web-2"), report=make_report(packages=4))
    make_scan(make_host("web-3"), report=make_report(packages=5))
    Feed.objects.create(name="kev", imported_at=timezone.now(), checked_at=timezone.now())
    sets = dict(PackageSet.objects.order_by("pk").values_list("snapshots__scans__host__name", "pk"))
    PackageSet.objects.filter(pk=sets["web-1"]).update(tally={"fixed": 3, "no_dsa": 7, "exploited": 1})
    PackageSet.objects.filter(pk=sets["web-2"]).update(tally={})
    found = told()
    known = {"package_vulnerabilities fixed": 3, "package_vulnerabilities no_dsa": 7, "package_known_exploited_cves": 1}
    assert known.items() <= of(found, "web-1").items()
    nothing = {"package_vulnerabilities fixed": 0, "package_known_exploited_cves": 0}
    assert nothing.items() <= of(found, "web-2").items()
    unknown = of(found, "web-3")
    assert not any(name.startswith(("package_vulnerabilities", "package_known")) for name in unknown)
    assert unknown["package_unknown vulnerabilities"] == unknown["package_unknown known_exploited_cves"] == 1


def test_without_the_catalog_nobody_knows_what_is_exploited() -> None:
    make_scan()
    PackageSet.objects.update(tally={"fixed": 3})
    said = of(told(), "web-1")
    assert said["package_vulnerabilities fixed"] == 3
    assert "package_known_exploited_cves" not in said
    assert said["package_unknown known_exploited_cves"] == 1


def test_pending_is_what_the_package_manager_itself_would_list() -> None:
    blocked = [make_update(name, blocked=name) for name in ("pinned", "phased", "excluded")]
    kept_back = make_update("kernel", security=False, blocked="kept back", architecture="all")
    make_scan(report=make_report(make_update(), kept_back, *blocked))
    pending = {name: number for name, number in of(told(), "web-1").items() if name.startswith("apt_upgrades_pending")}
    assert pending == {
        "apt_upgrades_pending Debian-Security:bookworm-security amd64": 1,
        "apt_upgrades_pending Debian:bookworm all": 1,
    }


def test_nothing_pending_is_a_zero_as_the_textfile_collectors_say_it() -> None:
    make_scan()
    assert of(told(), "web-1")["apt_upgrades_pending  "] == 0


@pytest.mark.parametrize(
    ("manager", "expected"),
    [
        ("dnf", {"yum_upgrades_pending baseos": 2, "yum_upgrades_pending epel": 1}),
        ("yum", {"yum_upgrades_pending baseos": 2, "yum_upgrades_pending epel": 1}),
        ("pacman", {"pacman_updates_pending": 3}),
    ],
)
def test_other_package_managers_have_conventions_of_their_own(manager: str, expected: dict[str, int]) -> None:
    updates = (
        make_update("openssl", origins=("baseos",)),
        make_update("openssl", architecture="i686", origins=("baseos",)),
        make_update("htop", security=False, origins=("epel",)),
    )
    report = make_report(*updates)
    make_scan(report=type(report)(manager, report.packages, report.findings))
    assert {name: n for name, n in of(told(), "web-1").items() if "s_pending" in name} == expected


def test_names_with_quotes_backslashes_and_line_ends_are_read_as_they_are() -> None:
    name = 'a "b" \\ c\nd'
    make_scan(Host.objects.create(name=name))
    assert told()["package_security_updates", (name, "apt")] == 0
    assert any(
        name in sample.labels.values() for each in openmetrics(collect(()).text(True)) for sample in each.samples
    )


def test_many_hosts_take_no_more_queries_than_few(redis: Redis) -> None:
    def queries(hosts: int) -> int:
        for number in range(hosts):
            make_scan(make_host(f"web-{number}"), report=make_report(make_update(f"lib{number}")))
        with CaptureQueriesContext(connection) as captured:
            collect((RUN,))
        return len(captured)

    few = queries(3)
    assert queries(30) == few <= 16


# --- feeds, and what is sent ------------------------------------------------------------------------


def test_feeds_have_an_age_once_they_were_read(settings: Any) -> None:
    settings.FEEDS = ["auto"]
    make_scan(distribution="debian:12")
    now = timezone.now()
    read = {"imported_at": now - timedelta(days=9), "checked_at": now - timedelta(hours=5), "rows": 12}
    Feed.objects.create(name="debian", **read)
    Feed.objects.create(name="kev", **read, error="It does not answer.")
    Feed.objects.create(name="epss", checked_at=now, error="It does not answer.")
    found = told()
    assert found["package_feed_age_seconds", ("debian",)] == pytest.approx(5 * 3600, abs=60)
    assert found["package_feed_age_seconds", ("kev",)] == pytest.approx(9 * 86400, abs=60)
    assert ("package_feed_age_seconds", ("epss",)) not in found
    assert ("package_feed_rows", ("epss",)) not in found
    assert [found["package_feed_error", (name,)] for name in ("debian", "kev", "epss")] == [0, 1, 1]
    assert found["package_feed_rows", ("debian",)] == 12
    wanted = [name[0] for (family, name), value in found.items() if family == "package_feed_wanted" and value]
    assert wanted == importing.wanted_feeds() == ["debian", "kev", "epss"]
    settings.FEEDS = ["arch"]
    assert told()["package_feed_wanted", ("arch",)] == 1


def test_deliveries_are_counted_by_kind_and_state() -> None:
    webhook = make_webhook()
    make_scan(report=make_report(make_update()))
    now = timezone.now()
    late = now - timedelta(minutes=20)
    first, second = Event.objects.order_by("pk")[:2]
    Event.objects.filter(pk=first.pk).update(created_at=late)
    Event.objects.filter(pk=second.pk).update(fanned_out_at=now)
    sent = Delivery.objects.create(event=first, webhook=webhook, state=Delivery.State.SUCCEEDED)
    Delivery.objects.create(event=second, webhook=webhook, next_attempt_at=late)
    Attempt.objects.create(delivery=sent, number=1, started_at=now, milliseconds=3, ok=True)
    found = told()
    assert found["package_webhooks", ("standard", "active")] == 1
    assert found["package_webhook_deliveries_last_day", ("standard", "succeeded")] == 1
    assert found["package_webhook_deliveries_last_day", ("standard", "failed")] == 0
    assert found["package_webhook_deliveries_waiting", ("standard", "pending")] == 1
    assert found["package_webhook_deliveries_overdue_seconds", ("standard",)] == pytest.approx(1200, abs=60)
    assert found["package_webhook_attempts_last_hour", ("standard", "succeeded")] == 1
    assert found["package_webhook_attempts_last_hour", ("standard", "failed")] == 0
    assert found["package_events_waiting", ()] == Event.objects.waiting().count() > 0
    assert found["package_events_waiting_seconds", ()] == pytest.approx(1200, abs=60)
    webhook.pause("Too loud.")
    assert told()["package_webhook_deliveries_overdue_seconds", ("standard",)] == 0, (
        "nobody is late with what is paused"
    )


# --- the scanner itself -----------------------------------------------------------------------------


def test_scans_are_counted_for_a_day() -> None:
    make_scan(created_at=timezone.now() - timedelta(hours=25))
    make_scan()
    make_scan(state="failed")
    make_scan(state="running")
    found = told()
    states = ("queued", "running", "completed", "partial", "failed", "cancelled")
    assert [found["package_scans_last_day", (state,)] for state in states] == [0, 1, 1, 0, 1, 0]


def test_queues_are_as_long_as_the_broker_says(redis: Redis) -> None:
    hosts = [make_host("web-1"), make_host("web-2"), make_host("web-3")]
    redis.rpush("central", "a")
    redis.rpush(hosts[0].queue, "a", "b")
    redis.rpush(hosts[1].queue, "c")
    found = told()
    assert [found["package_queue_length", (queue,)] for queue in ("central", "webhooks", "hosts")] == [1, 0, 3]
    assert found["package_broker_up", ()] == 1


def test_without_a_broker_nothing_is_said_of_queues(settings: Any) -> None:
    settings.REDIS_URL = "unix:///nonexistent/socket"
    found = told()
    assert found["package_broker_up", ()] == 0
    assert not any(name == "package_queue_length" for name, _ in found)


def test_tasks_are_counted_for_an_hour_and_only_known_ones() -> None:
    now = timezone.now()
    for number, (task, status, minutes) in enumerate(
        (
            *((RUN, "SUCCESS", 5), (RUN, "SUCCESS", 10), (RUN, "FAILURE", 5), (RUN, "STARTED", 5)),
            *((RUN, "SUCCESS", 90), ("tasks.of.somebody", "SUCCESS", 5)),
        )
    ):
        done = now - timedelta(minutes=minutes)
        TaskResult.objects.create(task_id=str(number), task_name=task, status=status)
        TaskResult.objects.filter(task_id=str(number)).update(date_done=done, date_started=done - timedelta(seconds=4))
    found = told()
    tasks = {values: number for (name, values), number in found.items() if name == "package_tasks_last_hour"}
    assert tasks == {(RUN, "succeeded"): 2, (RUN, "failed"): 1, (SWEEP, "succeeded"): 0, (SWEEP, "failed"): 0}
    assert found["package_tasks_last_hour_seconds", (RUN,)] == 12


def test_when_beat_was_last_heard_of() -> None:
    PeriodicTask.objects.update(last_run_at=None)
    assert not any(name.startswith("package_beat") for name, _ in told())
    now = timezone.now()
    task = PeriodicTask.objects.first()
    assert task is not None
    PeriodicTask.objects.filter(pk=task.pk).update(last_run_at=now)
    assert told()["package_beat_last_run_timestamp_seconds", ()] == int(now.timestamp())


def test_the_version_is_the_products() -> None:
    assert tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]["version"] == VERSION


# --- the format -------------------------------------------------------------------------------------


def everything() -> str:
    """A page on which every family has something to say."""
    for number, manager in enumerate(("apt", "dnf", "pacman")):
        report = make_report(make_update(), packages=number + 2)
        report = type(report)(manager, report.packages, report.findings)
        make_scan(make_host(f"web-{number}"), report=report, reboot_required=False)
    make_host("web-9")
    PackageSet.objects.update(tally={"fixed": 1})
    Feed.objects.create(name="kev", imported_at=timezone.now(), checked_at=timezone.now())
    PeriodicTask.objects.update(last_run_at=timezone.now())
    make_webhook()
    return collect((RUN,)).text(openmetrics=True)


def test_both_formats_are_read_alike_and_every_family_is_there() -> None:
    text = everything()
    strict = {each.name: each for each in openmetrics(text)}
    assert list(strict) == [family.name for family in FAMILIES]
    lenient = {each.name: each for each in plain(text.removesuffix("# EOF\n"))}
    for family in FAMILIES:
        told_strictly, told_plainly = strict[family.name], lenient[family.name]
        assert (told_strictly.type, told_plainly.type) == ("gauge", "gauge")
        assert told_strictly.documentation == told_plainly.documentation == family.help
        assert [s.value for s in told_strictly.samples] == [s.value for s in told_plainly.samples]
        assert {tuple(sample.labels) for sample in told_strictly.samples} == {family.labels}


def test_no_series_is_told_twice() -> None:
    lines = [line.rpartition(" ")[0] for line in everything().splitlines() if not line.startswith("#")]
    assert len(lines) == len(set(lines))


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_names_keep_to_the_conventions(family: Any) -> None:
    reserved = ("_total", "_count", "_sum", "_bucket", "_created")  # of counters and histograms, which we have none of
    assert not family.name.endswith(reserved)
    assert not any(unit in family.name.split("_") for unit in ("hours", "days", "minutes", "milliseconds", "ms"))
    assert family.help[0].isupper() or family.help[0].isdigit()
    assert family.help.endswith(".") or not family.name.startswith("package_")
    assert not set('\\\n"') & set(family.help), "would have to be escaped"
