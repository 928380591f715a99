"""Scans as tasks: load, call the scanner, hand on."""

from collections.abc import Sequence
from typing import Any

from celery import Task, shared_task
from django.db import OperationalError as DatabaseAway
from django.db import transaction
from django_celery_beat.models import PeriodicTask
from kombu.exceptions import OperationalError as BrokerAway

from scanner import audit, periodic, scanning
from scanner.announcing import announce
from scanner.audit import Actor, How
from scanner.models import Host, Scan
from scanner.periodic import SCAN_HOSTS
from tasks.vulnerabilities import read_missing_feeds
from tasks.webhooks import tell_of_scan


class QueueUnreachable(Exception):
    """The broker does not answer, so no worker can be told. Nothing is left waiting."""


@shared_task(bind=True, autoretry_for=(DatabaseAway,), retry_backoff=2, max_retries=8)
def run_scan(self: Task, scan_id: int) -> dict[str, Any]:
    """Run one scan. Delivered again when its worker died, it takes the scan over."""
    scan = Scan.objects.select_related("host").get(pk=scan_id)
    scanning.run(scan, redelivered=bool(self.request.delivery_info.get("redelivered")))
    tell_of_scan(scan.pk)
    read_missing_feeds(scan)
    return {"scan": scan.pk, "state": scan.state}


@shared_task(bind=True)
def scan_hosts(self: Task, tags: Sequence[str] = (), by: Sequence[str] = ()) -> dict[str, Any]:
    """Start a scan of every host that periodic scans include, or of those with one of the tags; one that is being
    scanned already is left alone. `by`: name and way in of who has asked for this run, if not Beat.
    """
    schedule = getattr(self.request, "periodic_task_name", None) or SCAN_HOSTS
    actor = Actor(*by) if by else Actor(f"schedule {schedule}", How.BEAT)
    came: dict[str, Any] = {"started": 0, "under way already": 0}
    try:
        for host in periodic.hosts_of(tags):
            new = start(host, trigger=Scan.Trigger.SCHEDULE, requested_by=by[0] if by else "")[1]
            came["started" if new else "under way already"] += 1
    except QueueUnreachable as error:
        came["error"] = str(error)
        raise
    finally:
        audit.record(actor, "schedule.ran", PeriodicTask.objects.filter(name=schedule).first() or schedule, after=came)
    return came


@transaction.atomic
def run_schedule(task: PeriodicTask, by: Actor) -> None:
    """Have a worker run it now, whether it is paused or not. Raises QueueUnreachable."""
    audit.record(by, "schedule.run", task)
    wishes = {"tags": periodic.tags_of(task), "by": [by.name, str(by.how)]}
    try:
        scan_hosts.apply_async(kwargs=wishes, headers={"periodic_task_name": task.name})
    except (BrokerAway, OSError) as error:
        raise QueueUnreachable("The queue could not be reached, so no worker was told.") from error


@shared_task(ignore_result=True)
def fail_lost_scans() -> None:
    """Mark scans as failed whose worker vanished or that no worker took."""
    scanning.fail_lost()


def start(host: Host, **fields: Any) -> tuple[Scan, bool]:
    """Ask for a scan of a host: the new one, or the one under way. The host's own worker runs it.

    Raises QueueUnreachable if the broker is down; the scan is then marked as failed, not left queued.
    """
    scanning.fail_lost()  # else a scan whose worker is gone would stand in the way
    with transaction.atomic():
        scan, new = Scan.objects.request(host, **fields)
        if new:
            if by := asked_by(scan):
                audit.record(by, "scan.started", scan)
            transaction.on_commit(lambda: enqueue(scan))
    return scan, new


def asked_by(scan: Scan) -> Actor | None:
    """None for a scan by a schedule, whose run is one entry for all of its scans."""
    ways = {Scan.Trigger.DASHBOARD: How.PAGE, Scan.Trigger.API: How.API, Scan.Trigger.ADMIN: How.ADMIN}
    return Actor(scan.requested_by, ways[Scan.Trigger(scan.trigger)]) if scan.trigger in ways else None


@transaction.atomic
def cancel(scan: Scan, by: Actor) -> bool:
    """False: it has ended already."""
    done = scan.cancel()
    if done:
        audit.record(by, "scan.cancelled", scan)
    transaction.on_commit(lambda: announce(scan))
    return done


def enqueue(scan: Scan) -> None:
    announce(scan)
    try:
        run_scan.apply_async((scan.pk,), queue=scan.host.queue)
    except (BrokerAway, OSError) as error:
        scanning.give_up(
            scan, "The queue could not be reached, so no worker was told of this scan.", "Is Redis running?"
        )
        raise QueueUnreachable(scan.error) from error
