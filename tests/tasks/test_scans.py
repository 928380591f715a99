"""The queue's side of a scan."""

from importlib import import_module

import pytest
from django.apps import apps
from django_celery_beat.models import PeriodicTask
from kombu.exceptions import OperationalError
from kombu.utils import functional

from scanner.models import Scan
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
        with pytest.raises(OperationalError):
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
