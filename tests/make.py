"""Rows and reports for tests, in plain functions."""

from datetime import timedelta
from typing import Any

from django.contrib.auth.models import Permission, User
from django.db import transaction
from django.utils import timezone

from scanner import scanning
from scanner.models import Host, OpenUpdate, Scan, Snapshot, Webhook
from scanner.package_managers.interface import Findings, Gap, Installed, Report, Update
from scanner.webhooks import editing


def make_host(name: str = "web-1") -> Host:
    return Host.objects.named(name)


def make_update(name: str = "openssl", security: bool | None = True, **fields: Any) -> Update:
    values = {
        "name": name,
        "architecture": "amd64",
        "installed_version": "1.0-1",
        "available_version": "1.0-2",
        "source": name,
        "security": security,
        "reason": "1.0-2 is in Debian-Security (bookworm-security)." if security else "No version is.",
        "command": f"apt-get install --only-upgrade {name}",
        "origins": ("Debian-Security:bookworm-security",) if security else ("Debian:bookworm",),
    }
    return Update(**{**values, **fields})


def make_report(
    *updates: Update, packages: int = 3, gaps: tuple[Gap, ...] = (), age: timedelta = timedelta(0)
) -> Report:
    names = [*dict.fromkeys(update.name for update in updates), *(f"package-{n}" for n in range(packages))]
    installed = tuple(Installed(name, "amd64", "1.0-1", name, "1.0-1") for name in names[: max(packages, len(updates))])
    return Report("apt", installed, Findings(updates, timezone.now() - age, gaps), gaps)


def make_scan(
    host: Host | None = None, state: str = Scan.State.COMPLETED, report: Report | None = None, **fields: Any
) -> Scan:
    """A scan as the scanner itself would have left it."""
    trigger = fields.pop("trigger", Scan.Trigger.API)
    scan = Scan.objects.create(host=host or make_host(), trigger=trigger)
    if state != Scan.State.QUEUED:
        scan.take()
    if state in Scan.COUNTED:
        scanning.store(scan, report or make_report())
    elif state not in Scan.ACTIVE:
        scanning.end(scan, state=state, error=fields.pop("error", "E: it broke" if state == Scan.State.FAILED else ""))
    if fields:
        change_scan(scan, **fields)
    scan.refresh_from_db()
    return scan


def change_scan(scan: Scan, **fields: Any) -> None:
    """As if it had been so from the start."""
    Scan.objects.filter(pk=scan.pk).update(**fields)
    if Host.objects.filter(current=scan).exists():
        Host.objects.stand_on(Scan.objects.get(pk=scan.pk))


def make_history(host: Host, days: int, securities: list[int]) -> list[Scan]:
    """One completed scan a day, the oldest first, ending today, with so many security updates each."""
    scans = []
    for day, count in zip(range(days, 0, -1), securities, strict=True):
        at = timezone.now() - timedelta(days=day - 1)
        report = make_report(*(make_update(f"lib{n}") for n in range(count)))
        with transaction.atomic():
            fields = {"created_at": at, "started_at": at, "finished_at": at + timedelta(seconds=2), "metadata_date": at}
            scans.append(make_scan(host, report=report, **fields))
    return scans


def make_webhook(kind: str = "standard", url: str = "http://127.0.0.1:9/hook", **fields: Any) -> Webhook:
    """A webhook to a loopback address, which the settings must allow; for mail, `recipients` in place of a url."""
    webhook = editing.new_webhook(kind, "ops")
    target = {"recipients": fields.pop("recipients")} if "recipients" in fields else {"url": url}
    target |= {"headers": fields.pop("headers")} if "headers" in fields else {}
    webhook.target = target
    for name, value in {"name": "ops", **fields}.items():
        setattr(webhook, name, value)
    webhook.save()
    return webhook


def make_user(
    name: str = "ops",
    staff: bool = True,
    run: bool = True,
    *,
    webhooks: bool = False,
    accept_risk: bool = False,
    refresh_feeds: bool = False,
    manage_schedules: bool = False,
    change_settings: bool = False,
) -> User:
    user = User.objects.create_user(name, password="correct horse battery", is_staff=staff)
    rights = {
        "run_scan": run,
        "manage_webhooks": webhooks,
        "accept_risk": accept_risk,
        "change_feed": refresh_feeds,
        "manage_schedules": manage_schedules,
        "change_setting": change_settings,
    }
    wanted = [codename for codename, has in rights.items() if has]
    user.user_permissions.set(Permission.objects.filter(codename__in=wanted, content_type__app_label="scanner"))
    return user


__all__ = [
    "OpenUpdate",
    "Snapshot",
    "make_history",
    "make_host",
    "make_report",
    "make_scan",
    "make_update",
    "make_user",
    "make_webhook",
]
