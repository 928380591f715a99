"""Schedules of scans: what may be said of one, when it runs, and what its changes leave in the audit log."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.utils import timezone
from django_celery_beat.models import CrontabSchedule, IntervalSchedule, PeriodicTask, PeriodicTasks

from scanner import audit, periodic
from scanner.models import AuditEntry, Host
from scanner.webhooks.editing import Refused
from tests.make import make_host

pytestmark = pytest.mark.django_db

BOSS = audit.Actor("boss", audit.How.PAGE)
BERLIN = ZoneInfo("Europe/Berlin")


@pytest.fixture(autouse=True)
def nothing_scheduled() -> None:
    PeriodicTask.objects.all().delete()


def wishes(**fields: Any) -> dict[str, Any]:
    return {"name": "Nightly", "kind": "daily", "time": "02:00", "time_zone": "Europe/Berlin", "tags": [], **fields}


def make_schedule(**fields: Any) -> PeriodicTask:
    task = PeriodicTask()
    periodic.save(task, wishes(**fields), BOSS)
    return PeriodicTask.objects.select_related("crontab").get(pk=task.pk)


def refused(**fields: Any) -> dict[str, str]:
    with pytest.raises(Refused) as error:
        make_schedule(**fields)
    assert not PeriodicTask.objects.filter(name="Nightly").exists()
    return {problem.field: problem.message for problem in error.value.problems}


def runs(since: datetime, zone: ZoneInfo = BERLIN, **fields: Any) -> list[str]:
    crontab = periodic.crontab_of(wishes(**fields, time_zone=zone.key))
    found = periodic.next_runs(crontab.schedule, since, 4)
    return [f"{run.astimezone(zone):%a %d.%m. %H:%M %Z}" for run in found]


# --- when -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "words", "cron"),
    [
        ({"kind": "hourly", "minute": 0}, "Every hour at minute 0", "0 * * * *"),
        ({"kind": "daily"}, "Daily at 02:00", "0 2 * * *"),
        ({"kind": "weekly", "days": ["sun", "mon"]}, "Mon, Sun at 02:00", "0 2 * * 0,1"),
        ({"kind": "monthly", "day_of_month": 31}, "Monthly on day 31 at 02:00", "0 2 31 * *"),
        ({"kind": "cron", "cron": "*/20 8-18 * * mon-fri"}, "Cron: */20 8-18 * * 1-5", None),
        ({"kind": "cron", "cron": "0 2 * * *"}, "Daily at 02:00", "0 2 * * *"),
    ],
)
def test_what_is_asked_for_is_what_is_stored_and_read_again(fields: Any, words: str, cron: str | None) -> None:
    task = make_schedule(**fields)
    found = periodic.wishes_of(task)
    assert periodic.in_words(found) == words
    assert (task.task, str(task.crontab.timezone)) == ("tasks.scans.scan_hosts", "Europe/Berlin")
    if cron:
        assert found["cron"] == cron
    periodic.save(task, found, BOSS)  # the same again changes nothing
    assert AuditEntry.objects.count() == 1


@pytest.mark.parametrize(
    ("fields", "field", "says"),
    [
        ({"kind": "yearly"}, "kind", "one of hourly, daily"),
        ({"kind": "hourly"}, "minute", "at which minute"),
        ({"time": ""}, "time", "such as 02:00"),
        ({"kind": "weekly", "days": []}, "days", "at least one day"),
        ({"kind": "monthly"}, "day_of_month", "from 1 to 31"),
        ({"kind": "cron"}, "cron", "five fields"),
        ({"kind": "cron", "cron": "0 2 31 2 *"}, "cron", "never comes"),
        ({"kind": "cron", "cron": "61 2 * * *"}, "cron", "minute 61"),
        ({"time_zone": "Mars/Olympus"}, "time_zone", "no time zone 'Mars/Olympus'"),
        ({"name": " "}, "name", "Give it a name"),
        ({"tags": ["nowhere"]}, "tags", "no tag 'nowhere'"),
    ],
)
def test_what_cannot_be_is_refused_field_by_field(fields: Any, field: str, says: str) -> None:
    assert says in refused(**fields)[field]


def test_everything_that_is_wrong_is_told_at_once() -> None:
    assert set(refused(time="", time_zone="x", tags=["y"])) == {"time", "time_zone", "tags"}


def test_a_name_belongs_to_one_schedule() -> None:
    make_schedule()
    with pytest.raises(Refused, match="already"):
        make_schedule()


# --- next runs --------------------------------------------------------------------------------------


def test_a_day_that_a_month_does_not_have_is_left_out() -> None:
    found = runs(since=datetime(2027, 1, 31, 12, tzinfo=UTC), kind="monthly", day_of_month=31)
    assert [run[4:10] for run in found] == ["31.03.", "31.05.", "31.07.", "31.08."]


def test_two_days_in_a_cron_expression_must_both_fit() -> None:
    found = runs(since=datetime(2026, 11, 1, tzinfo=UTC), kind="cron", cron="0 2 13 * fri")
    assert [run[:10] for run in found[:2]] == ["Fri 13.11.", "Fri 13.08."]


def test_a_time_that_spring_leaves_out_comes_an_hour_later() -> None:
    found = runs(since=datetime(2027, 3, 27, tzinfo=UTC), time="02:30")
    assert [run[4:] for run in found[:3]] == ["27.03. 02:30 CET", "28.03. 03:30 CEST", "29.03. 02:30 CEST"]


def test_a_time_that_comes_twice_in_autumn_is_taken_once() -> None:
    found = runs(since=datetime(2026, 10, 24, 12, tzinfo=UTC), time="02:30")
    assert [run[4:] for run in found[:2]] == ["25.10. 02:30 CEST", "26.10. 02:30 CET"]


def test_runs_are_reckoned_in_the_schedules_own_zone() -> None:
    found = runs(since=datetime(2026, 11, 24, tzinfo=UTC), zone=ZoneInfo("Asia/Kolkata"), kind="hourly", minute=10)
    assert found[0] == "Tue 24.11. 06:10 IST"  # 05:30 there


def test_beats_own_check_agrees_with_the_next_run() -> None:
    task = make_schedule(kind="weekly", days=["mon", "thu"], time="23:45")
    now = timezone.now()
    first = periodic.upcoming(task, now)[0]
    waits = task.schedule.is_due(task.date_changed).next
    assert abs((now + timedelta(seconds=waits) - first).total_seconds()) < 60


def test_what_beat_has_missed_is_due_now_and_a_paused_one_never() -> None:
    task = make_schedule()
    now = timezone.now()
    task.last_run_at = now - timedelta(days=3)
    found = periodic.upcoming(task, now)
    assert found[0] == now and now < found[1] < found[2]
    periodic.pause(task, BOSS)
    assert periodic.upcoming(task, now) == []
    periodic.resume(task, BOSS)
    assert periodic.upcoming(task, now)[0] > now


def test_a_new_time_that_is_past_today_is_not_made_up_for_at_once() -> None:
    task = make_schedule(time_zone="UTC")
    task.last_run_at = timezone.now() - timedelta(hours=20)
    task.save()
    past = timezone.now() - timedelta(minutes=5)
    periodic.save(task, wishes(time_zone="UTC", time=f"{past:%H:%M}"), BOSS)
    now = timezone.now()
    assert periodic.upcoming(task, now)[0] > now + timedelta(hours=23)


def test_a_schedule_that_only_the_admin_can_make_is_told_as_far_as_it_goes() -> None:
    interval = IntervalSchedule.objects.create(every=2, period="hours")
    task = PeriodicTask.objects.create(name="Odd", task=periodic.SCAN_HOSTS, interval=interval, kwargs="[]")
    assert periodic.wishes_of(task)["kind"] is None
    assert len(periodic.upcoming(task, timezone.now())) == 1


# --- which hosts ------------------------------------------------------------------------------------


def test_tags_choose_hosts_and_archived_and_unscheduled_ones_are_left_out() -> None:
    for name, tags in (("a", ["prod"]), ("b", ["db", "prod"]), ("c", []), ("gone", ["prod"]), ("image", ["prod"])):
        make_host(name).set_tags(tags)
    Host.objects.filter(name="gone").archive()
    Host.objects.filter(name="image").update(scheduled=False)
    assert [host.name for host in periodic.hosts_of([])] == ["a", "b", "c"]
    assert [host.name for host in periodic.hosts_of(["prod", "db"])] == ["a", "b"]


def test_a_hosts_next_scan_is_by_the_first_schedule_that_is_about_it() -> None:
    host, other = make_host("web"), make_host("db")
    host.set_tags(["prod"])
    now = timezone.now()
    monthly = make_schedule(name="Monthly", kind="monthly", day_of_month=1, time="00:00")
    hourly = make_schedule(name="Hourly", kind="hourly", minute=0, tags=["prod"])
    assert periodic.next_scan(host, now) == periodic.upcoming(hourly, now)[0]
    assert periodic.next_scan(other, now) == periodic.upcoming(monthly, now)[0]
    Host.objects.filter(pk=host.pk).archive()
    assert periodic.next_scan(Host.objects.get(pk=host.pk), now) is None


# --- what is left behind ----------------------------------------------------------------------------


def test_each_change_is_told_with_what_was_before_and_beat_hears_of_it() -> None:
    make_host().set_tags(["prod"])
    task = make_schedule()
    heard = PeriodicTasks.last_change()
    periodic.save(task, wishes(time="03:00", tags=["prod"]), BOSS)
    assert PeriodicTasks.last_change() > heard
    assert json.loads(task.kwargs) == {"tags": ["prod"]}
    changed = AuditEntry.objects.all()[0]
    assert (changed.action, changed.target) == ("schedule.changed", "Nightly")
    assert changed.before == {"when": "Daily at 02:00", "hosts": "all"}
    assert changed.after == {"when": "Daily at 03:00", "hosts": ["tag prod"]}
    for act in (periodic.pause, periodic.pause, periodic.resume, periodic.delete):
        act(task, BOSS)
    verbs = [entry.action.partition(".")[2] for entry in AuditEntry.objects.order_by("pk")]
    assert verbs == ["created", "changed", "paused", "resumed", "deleted"]


def test_schedules_that_run_at_the_same_time_share_a_row_and_changing_one_leaves_the_other() -> None:
    first, second = make_schedule(), make_schedule(name="Other")
    assert first.crontab == second.crontab
    periodic.save(first, wishes(time="05:00"), BOSS)
    second.refresh_from_db()
    assert (second.crontab.hour, CrontabSchedule.objects.filter(hour="2").exists()) == ("2", True)


def test_beat_that_has_sent_nothing_for_two_minutes_is_away() -> None:
    assert periodic.beat().away
    task = make_schedule()
    for age, away in ((timedelta(seconds=10), False), (timedelta(minutes=3), True)):
        PeriodicTask.objects.filter(pk=task.pk).update(last_run_at=timezone.now() - age)
        assert periodic.beat().away is away
