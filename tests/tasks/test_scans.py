"""The queue's side of a scan."""

from importlib import import_module
from typing import Any

import pytest
from django.apps import apps
from django_celery_beat.models import CrontabSchedule, PeriodicTask
from kombu.exceptions import OperationalError as BrokerAway
from kombu.utils import functional

from scanner.audit import Actor, How
from scanner.models import AuditEntry, Scan
from tasks import scans as tasks
from tests.make import make_host, make_scan

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_started_scan_waits_in_its_hosts_own_queue() -> None:
    scan, new = tasks.start(make_host("db-1"), trigger="api")
    with tasks.run_scan.app.connection_for_read() as connection:
        message = connection.SimpleQueue("host.db-1").get(timeout=5)
        message.ack()
    assert new
    assert (message.payload[0], scan.state) == ([scan.pk], "queued")


def test_nobody_waits_for_a_broker_that_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(functional, "sleep", lambda seconds: pytest.fail("It waits, to try again."))
    with tasks.run_scan.app.connection_for_write("redis+socket:///nonexistent") as connection:
        with pytest.raises(BrokerAway):
            tasks.run_scan.apply_async((1,), connection=connection)


def test_a_scan_of_a_host_under_way_is_not_queued_again() -> None:
    active = make_scan(state="running")
    scan, new = tasks.start(active.host, trigger="api")
    assert (scan, new) == (active, False)


def test_periodic_scans_leave_out_hosts_that_are_not_scheduled() -> None:
    make_host("a")
    image = make_host("an-image")
    image.scheduled = False
    image.save()
    assert tasks.scan_hosts() == {"started": 1, "under way already": 0}
    assert [(scan.host.name, scan.trigger) for scan in Scan.objects.all()] == [("a", "schedule")]


def test_a_daily_scan_at_two_exists_after_the_first_migrate() -> None:
    import_module("scanner.migrations.0002_daily_scan").add_daily_scan(apps, None)  # other tests empty the tables
    task = PeriodicTask.objects.get(task="tasks.scans.scan_hosts")
    assert (task.enabled, task.crontab.hour, task.crontab.minute, str(task.crontab.timezone)) == (True, "2", "0", "UTC")


def test_a_run_of_a_schedule_is_one_entry_with_what_came_of_it() -> None:
    make_host("a")
    make_scan(make_host("b"), state="running")
    tasks.scan_hosts()
    (entry,) = AuditEntry.objects.all()
    assert (entry.actor, entry.how, entry.action) == ("schedule tasks.scans.scan_hosts", "beat", "schedule.ran")
    assert entry.after == {"started": 1, "under way already": 1}


def test_a_run_that_somebody_asks_for_goes_to_the_worker_with_their_name() -> None:
    make_host("a").set_tags(["prod"])
    make_host("b")
    crontab = CrontabSchedule.objects.create(hour="3")
    task = PeriodicTask.objects.create(
        name="Prod", task=tasks.SCAN_HOSTS, crontab=crontab, kwargs='{"tags": ["prod"]}', enabled=False
    )
    tasks.run_schedule(task, Actor("boss", How.PAGE))
    with tasks.scan_hosts.app.connection_for_read() as connection:
        message = connection.SimpleQueue("central").get(timeout=5)
        message.ack()
    assert message.headers["periodic_task_name"] == "Prod"
    _, wishes, _ = message.payload
    tasks.scan_hosts(**wishes)
    assert [(scan.host.name, scan.requested_by) for scan in Scan.objects.all()] == [("a", "boss")]
    told = AuditEntry.objects.order_by("pk").values_list("actor", "how", "action")
    assert list(told) == [("boss", "page", "schedule.run"), ("boss", "page", "schedule.ran")]


def test_without_a_queue_nothing_is_told_and_a_half_done_run_says_how_far_it_came(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def away(*args: Any, **options: Any) -> None:
        raise BrokerAway

    task = PeriodicTask.objects.create(name="x", task=tasks.SCAN_HOSTS, crontab=CrontabSchedule.objects.create())
    monkeypatch.setattr(tasks.scan_hosts, "apply_async", away)
    with pytest.raises(tasks.QueueUnreachable):
        tasks.run_schedule(task, Actor("boss", How.PAGE))
    assert not AuditEntry.objects.exists()
    make_host("a")
    monkeypatch.setattr(tasks.run_scan, "apply_async", away)
    with pytest.raises(tasks.QueueUnreachable):
        tasks.scan_hosts()
    assert AuditEntry.objects.get().after["started"] == 0 and "queue" in AuditEntry.objects.get().after["error"]
