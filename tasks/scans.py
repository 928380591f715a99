"""Scans as tasks: load, call the scanner, hand on."""

from typing import Any

from celery import Task, shared_task
from django.db import OperationalError as DatabaseAway
from django.db import transaction
from kombu.exceptions import OperationalError as BrokerAway

from scanner import scanning
from scanner.announcing import announce
from scanner.models import Host, Scan
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


@shared_task
def scan_hosts() -> dict[str, int]:
    """Start a scan of every host that periodic scans include; one that is being scanned already is left alone."""
    hosts = Host.objects.active().filter(scheduled=True)
    started = [start(host, trigger=Scan.Trigger.SCHEDULE)[1] for host in hosts]
    return {"started": sum(started), "under way already": len(started) - sum(started)}


@shared_task(ignore_result=True)
def fail_lost_scans() -> None:
    """Mark scans as failed whose worker vanished or that no worker took."""
    scanning.fail_lost()


def start(host: Host, **fields: Any) -> tuple[Scan, bool]:
    """Ask for a scan of a host: the new one, or the one under way. The host's own worker runs it.

    Raises QueueUnreachable if the broker is down; the scan is then marked as failed, not left queued.
    """
    scanning.fail_lost()  # else a scan whose worker is gone would stand in the way
    scan, new = Scan.objects.request(host, **fields)
    if new:
        transaction.on_commit(lambda: enqueue(scan))
    return scan, new


def enqueue(scan: Scan) -> None:
    announce(scan)
    try:
        run_scan.apply_async((scan.pk,), queue=scan.host.queue)
    except (BrokerAway, OSError) as error:
        scanning.give_up(
            scan, "The queue could not be reached, so no worker was told of this scan.", "Is Redis running?"
        )
        raise QueueUnreachable(scan.error) from error
