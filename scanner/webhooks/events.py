"""What is told of a scan: its events, written in the transaction that ends it. docs/webhooks.md has their form."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import Exists, OuterRef, Subquery
from django.urls import reverse
from django.utils import timezone

from scanner import risk, run_time
from scanner.document import first_fix, shape, summary, utc
from scanner.models import Event, Host, OpenUpdate, Scan, Webhook
from scanner.models.event import TEST_PREFIX, new_event_id
from scanner.models.scan import Changes
from scanner.vulnerabilities import exposure
from scanner.vulnerabilities.exposure import Fix
from scanner.vulnerabilities.urgency import rank

VERSION = 1  # of the payload; it changes when a key goes or means something else
LISTED = 20  # packages in a payload; the event's own address lists them all
TEXT_LIMIT = 1000  # characters of one text from outside, such as a package manager's error

SCAN_COMPLETED = "security.package_scan_completed"
SCAN_FAILED = "security.package_scan_failed"
SCAN_STALE = "security.package_scan_stale"
STATUS_CHANGED = "security.status_changed"
UPDATE_APPEARED = "security.update_appeared"
UPDATE_RESOLVED = "security.update_resolved"
UPDATE_LATE = "security.update_late"
REBOOT_REQUIRED = "security.reboot_required"
WEBHOOK_DISABLED = "security.webhook_disabled"
DIGEST = "security.digest"
EVENT_TYPES = (  # what a webhook can listen to
    (SCAN_COMPLETED, "A scan has completed, wholly or in part"),
    (SCAN_FAILED, "A scan has failed"),
    (SCAN_STALE, "A host's last result has become too old for a verdict"),
    (STATUS_CHANGED, "A host's status level went up or down"),
    (UPDATE_APPEARED, "New security updates are waiting"),
    (UPDATE_RESOLVED, "Security updates are waiting no longer"),
    (UPDATE_LATE, "Security updates have waited for longer than the target"),
    (REBOOT_REQUIRED, "A host needs a reboot"),
    (WEBHOOK_DISABLED, "A webhook has been switched off, since it kept failing"),
)

FoundUpdates = Mapping[tuple[str, str], Fix]
"""The security updates of a scan by (name, architecture)."""


def owe_for_result(scan: Scan, changes: Changes, updates: Iterable[Any]) -> None:
    """The events of a scan that has counts. Call it in the transaction that stores them."""
    before = scan.host.scans.with_counts().exclude(pk=scan.pk).first()
    ranked = exposure.fixes(scan, updates)
    found = {(row.update.name, row.update.architecture): row for row in ranked}
    lists = {
        "appeared": worst_first(described(row, found) for row in changes.appeared),
        "resolved": [shape(row, ("name", "architecture")) | {"since": utc(row.since)} for row in changes.resolved],
    }
    level, level_before = scan.level, before.level_at(scan.date) if before else None
    types = [SCAN_COMPLETED]
    if level_before and level_before != level:
        types.append(STATUS_CHANGED)
    if changes.appeared:
        types.append(UPDATE_APPEARED)
    if changes.resolved:
        types.append(UPDATE_RESOLVED)
    if scan.reboot_required and not (before and before.reboot_required):
        types.append(REBOOT_REQUIRED)
    changed = before is None or before.snapshot_id != scan.snapshot_id or level_before != level
    write(types, scan, level, compared(before, level_before, changed, lists), full_lists=cut_off(lists), ranked=ranked)


def owe_for_failure(scan: Scan) -> None:
    """The event of a scan that has failed. Call it in the transaction that marks it."""
    last = scan.host.scans.ended().exclude(pk=scan.pk).first()
    changed = last is None or (last.state, last.error) != (scan.state, scan.error)
    before = scan.host.last_good_scan()
    level_before = before.level_at(scan.date) if before else None
    write([SCAN_FAILED], scan, scan.level, compared(before, level_before, changed))


def owe_for_stale() -> list[str]:
    """Tell once of each host whose last good scan has become too old for a verdict. Answers the events' ids."""
    now = timezone.now()
    last_good = Scan.objects.with_counts().filter(host=OuterRef("pk")).values("pk")[:1]
    last_ones = Host.objects.active().annotate(good=Subquery(last_good)).exclude(good=None).values("good")
    told = Event.objects.filter(scan=OuterRef("pk"), type=SCAN_STALE)
    outdated = Scan.objects.outdated(now).filter(~Exists(told), pk__in=last_ones).select_related("host")
    ids = []
    for scan in outdated:
        comparison = compared(scan, scan.level, True)
        types = [SCAN_STALE, *([STATUS_CHANGED] if scan.level != risk.UNKNOWN else [])]
        ids += write(types, scan, risk.UNKNOWN, comparison, key="stale")
    return ids


def owe_for_late() -> list[str]:
    """Tell once of each security update that has waited for longer than the target. Answers the events' ids."""
    overdue = OpenUpdate.objects.overdue(exposure.target())
    hosts = Host.objects.active().filter(pk__in=overdue.values("host")).exclude(current=None)
    return [pk for host in hosts.select_related("current__snapshot") for pk in owe_for_late_on(host)]


def owe_for_late_on(host: Host) -> list[str]:
    """Of a risk that somebody has accepted nothing is said until that has ended."""
    scan = host.current
    if scan is None:
        return []
    scan.host = host
    ranked = exposure.fixes(scan)
    late = {(row.update.name, row.update.architecture): row for row in ranked if row.late}
    with transaction.atomic():
        overdue = OpenUpdate.objects.overdue(exposure.target()).filter(host=host)
        rows = [row for row in overdue.select_for_update() if (row.name, row.architecture) in late]
        if not rows:
            return []
        OpenUpdate.objects.filter(pk__in=[row.pk for row in rows]).update(told_late_at=timezone.now())
        told = worst_first(described(row, late) for row in rows)
        level = host.level()
        return write(
            [UPDATE_LATE],
            scan,
            level,
            compared(scan, level, True),
            full_lists=cut_off({"late": told}),
            key=f"late-{min(row.pk for row in rows)}",
            ranked=ranked,
            late=told,
        )


def write(
    types: Sequence[str],
    scan: Scan,
    level: risk.Level,
    comparison: Mapping[str, Any],
    *,
    full_lists: Mapping[str, Any] | None = None,
    key: str = "ended",
    ranked: Sequence[Fix] | None = None,
    late: Sequence[Mapping[str, Any]] | None = None,
) -> list[str]:
    """One row a type; those that are there already, since a task was delivered twice, stay as they are."""
    oldest = scan.host.open_updates.oldest()
    ids = sorted(new_event_id() for _ in types)  # within a millisecond they are in no order
    now = timezone.now()
    data = scan_data(scan, level, comparison, oldest, ranked)
    if late is not None:
        data |= {"late": late[:LISTED], "late_more": max(0, len(late) - LISTED)}
    Event.objects.bulk_create(
        (
            Event(
                id=pk,
                type=event_type,
                created_at=now,
                host=scan.host,
                scan=scan,
                payload=envelope(pk, event_type, now, with_address(data, pk)),
                full_lists=full_lists or {},
                dedupe_key=f"scan:{scan.pk}:{key}:{event_type}",
            )
            for pk, event_type in zip(ids, types, strict=True)
        ),
        ignore_conflicts=True,
    )
    return ids


# --- the payload ------------------------------------------------------------------------------------


def envelope(pk: str, event_type: str, at: datetime, data: Mapping[str, Any]) -> dict[str, Any]:
    return {"id": pk, "type": event_type, "version": VERSION, "timestamp": utc(at), "data": dict(data)}


def scan_data(
    scan: Scan,
    level: risk.Level,
    comparison: Mapping[str, Any],
    oldest: OpenUpdate | None,
    ranked: Sequence[Fix] | None,
) -> dict[str, Any]:
    """`ranked`: the scan's security updates; None where they are not known."""
    amounts = exposure.UNKNOWN if ranked is None else exposure.standing(scan, ranked)
    return {
        "host": host_data(scan.host),
        "status": level.status,
        "status_label": level.label,
        "scan": scan_with_addresses(scan),
        "changes": dict(comparison),
        "oldest_security_update": {"name": oldest.name, "since": utc(oldest.since)} if oldest else None,
        "late_security_updates": amounts.late,
        "target_hours": run_time.value("SECURITY_TARGET_HOURS"),
        "known_exploited": amounts.known_exploited,
        "fix_first": first_fix(amounts.first),
    }


def host_data(host: Host) -> dict[str, Any]:
    return {"name": host.name, "tags": host.tag_names, "url": absolute(host.get_absolute_url())}


def scan_with_addresses(scan: Scan) -> dict[str, Any]:
    data = {name: cut(value) for name, value in summary(scan).items() if name != "progress"}
    if scan.pk:
        data |= {"url": absolute(data["url"]), "api_url": absolute(reverse("api-scan", args=[scan.pk]))}
    return data


def compared(
    before: Scan | None,
    level_before: risk.Level | None,
    changed: bool,
    lists: Mapping[str, Sequence[Any]] | None = None,
) -> dict[str, Any]:
    """What has changed since the scan before. Without lists there is nothing to compare: unknown, not zero."""
    shown = lists or {"appeared": [], "resolved": []}
    return {
        "previous_scan": before
        and {"id": before.pk, "url": absolute(before.get_absolute_url()), "scan_date": utc(before.date)},
        "changed": changed,
        "previous_status": level_before and level_before.status,
        "previous_status_label": level_before and level_before.label,
        "previous_security_updates": before and before.security_updates,
        "new_security_updates": len(lists["appeared"]) if lists else None,
        "fixed_security_updates": len(lists["resolved"]) if lists else None,
        "appeared": shown["appeared"][:LISTED],
        "resolved": shown["resolved"][:LISTED],
        "more": {name: max(0, len(rows) - LISTED) for name, rows in shown.items()},
    }


def described(row: OpenUpdate, found: FoundUpdates) -> dict[str, Any]:
    fix = found[row.name, row.architecture]
    names = ("name", "architecture", "installed_version", "available_version", "severity")
    lists = {"cves": [cve.id for cve in fix.cves[:10]], "advisories": list(fix.update.advisories[:10])}
    return shape(fix.update, names) | lists | {"since": utc(row.since)}


def worst_first(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(rows, key=lambda row: (-(rank(row["severity"]) or 0), row["name"]))


def cut_off(lists: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
    """The whole lists, where the payload has only their beginning."""
    return {name: rows for name, rows in lists.items() if len(rows) > LISTED}


def with_address(data: Mapping[str, Any], pk: str) -> dict[str, Any]:
    """Where the whole lists are."""
    address = absolute(reverse("api-v1:event", args=[pk]))
    return {**data, "changes": {**data["changes"], "url": address}}


def cut(value: Any) -> Any:
    if isinstance(value, str):
        return value if len(value) <= TEXT_LIMIT else f"{value[:TEXT_LIMIT]}…"
    return [cut(each) for each in value[:LISTED]] if isinstance(value, list) else value


def absolute(path: str) -> str:
    return f"{settings.BASE_URL}{path}"


# --- events that are not about a scan ---------------------------------------------------------------


def owe_for_disabled(webhook: Webhook) -> None:
    """A webhook has been switched off: others can listen to that."""
    pk, now = new_event_id(), timezone.now()
    told = {"name": webhook.name, "reason": cut(webhook.reason), "url": absolute(webhook.get_absolute_url())}
    Event.objects.create(
        id=pk,
        type=WEBHOOK_DISABLED,
        created_at=now,
        payload=envelope(pk, WEBHOOK_DISABLED, now, {"host": None, "scan": None, "webhook": told}),
        dedupe_key=f"webhook:{webhook.pk}:disabled:{pk}",
    )


def event_for_test(scan: Scan | None) -> Event:
    """What a test sends: the event of that scan, or of an invented one where none has completed. Not stored here."""
    scan = scan or invented_scan()
    pk, now = new_event_id(TEST_PREFIX), timezone.now()
    told = Event.objects.real().filter(scan=scan.pk, type=SCAN_COMPLETED).first() if scan.pk else None
    comparison = told.payload["data"]["changes"] if told else compared(None, None, True)
    oldest = scan.host.open_updates.oldest() if scan.pk else None
    data = scan_data(scan, scan.level, comparison, oldest, exposure.fixes(scan) if scan.pk else None)
    data = (with_address(data, told.pk) if told else data) | {"test": True}
    payload = envelope(pk, SCAN_COMPLETED, now, data)
    return Event(
        id=pk,
        type=SCAN_COMPLETED,
        created_at=now,
        host=scan.host if scan.pk else None,
        scan=scan if scan.pk else None,
        payload=payload,
        dedupe_key=pk,
        fanned_out_at=now,
    )


def invented_scan() -> Scan:
    now = timezone.now()
    return Scan(
        host=Host(pk=0, name="example-host"),
        state=Scan.State.COMPLETED,
        trigger=Scan.Trigger.API,
        package_manager="apt",
        started_at=now,
        finished_at=now,
        metadata_date=now,
        security_updates=12,
        total_updates=30,
        total_packages=800,
        pinned_security_updates=0,
    )
