"""`manage.py scan_system_packages`: a scan here and now, without broker or worker."""

import json
import sys
import time
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError, transaction
from django.utils import timezone

from scanner import audit, run_time, scanning
from scanner.document import document
from scanner.models import Host, Scan
from scanner.package_managers import NAMES

FAILED = 1
BAR_WIDTH = 24


class Command(BaseCommand):
    help = (
        "Scan this host's packages, or another root's, and print what updates are waiting. "
        "Exit status: 0 scanned, 1 the scan failed, 2 wrong usage."
    )
    requires_system_checks = ()  # it must work where there is no database yet

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--host", default="", help=f"The host's name (default: {settings.SCAN_HOST})")
        parser.add_argument("--package-manager", choices=NAMES, default="", help="Instead of the host's native one")
        parser.add_argument("--root", default="", help="Scan this root instead of /: a chroot, a mounted image")
        parser.add_argument("--no-refresh", action="store_true", help="Use the host's own package lists as they are")
        parser.add_argument("--save", action="store_true", help="Store the scan; dashboards show it while it runs")
        parser.add_argument("--json", action="store_true", help="Print one JSON document and nothing else on stdout")

    def handle(self, *args: Any, **options: Any) -> None:
        self.bar = Bar(self.stderr, sys.stderr.isatty())
        self.check_usage(options)
        wishes = {
            "trigger": Scan.Trigger.COMMAND_LINE,
            "wanted_package_manager": options["package_manager"],
            "root": options["root"],
            "refresh": not options["no_refresh"],
        }
        name = options["host"] or settings.SCAN_HOST
        try:
            found = self.saved_scan(name, wishes) if options["save"] else self.passing_scan(name, wishes)
        except DatabaseError as error:
            raise CommandError(f"The database cannot be used ({error}). `manage.py migrate` prepares it.") from error
        self.bar.clear()
        self.stdout.write(json.dumps(found, indent=2) if options["json"] else table(found))
        if found["state"] not in Scan.COUNTED:
            raise SystemExit(FAILED)

    def check_usage(self, options: dict[str, Any]) -> None:
        root = options["root"]
        if root and not Path(root).is_dir():
            raise CommandError(f"--root {root}: there is no such folder.", returncode=2)
        if root and options["save"] and not options["host"]:
            raise CommandError("--root with --save needs --host NAME: it is not this host's scan.", returncode=2)

    def passing_scan(self, name: str, wishes: dict[str, Any]) -> dict[str, Any]:
        """A scan that leaves nothing behind; it needs no database."""
        run_time.ask_no_database()
        scan = Scan(host=Host(name=name), started_at=timezone.now(), **wishes)
        try:
            report = scanning.examine(scan, self.bar.step, lambda: None)
        except Exception as error:
            scan.state, scan.finished_at = Scan.State.FAILED, timezone.now()
            scan.error, scan.next_step = scanning.in_words(error)
            return document(scan, (), ())
        for field, value in scanning.counts(report).items():
            setattr(scan, field, value)
        return document(scan, report.findings.updates, report.packages)

    def saved_scan(self, name: str, wishes: dict[str, Any]) -> dict[str, Any]:
        host = Host.objects.named(name, scheduled=not wishes["root"])
        scanning.fail_lost()
        with transaction.atomic():
            scan, new = Scan.objects.request(host, **wishes)
            if new:
                audit.record(audit.COMMAND_LINE, "scan.started", scan)
        if new:
            scanning.run(scan, watcher=self.bar.step)
        else:
            self.stderr.write(f"Scan {scan.pk} of {host} is under way already: waiting for it.")
            while scan.active:
                time.sleep(0.5)
                scanning.fail_lost()
                scan.refresh_from_db()
                self.bar.show(scan.percent, scan.step)
        return document(scan)


class Bar:
    """A progress bar on a terminal, nothing elsewhere."""

    def __init__(self, stream: Any, visible: bool) -> None:
        self.stream = stream
        self.visible = visible

    def step(self, number: int, percent: float, detail: str) -> None:
        name, _ = scanning.STEPS[number]
        self.show(scanning.overall(number, percent), f"{name} {detail}")

    def show(self, percent: int, words: str) -> None:
        if self.visible:
            filled = round(BAR_WIDTH * percent / 100)
            line = f"{'#' * filled}{'.' * (BAR_WIDTH - filled)} {percent:3d} % {words}"
            self.stream.write(f"\r\x1b[K{line[:110]}", ending="")
            self.stream.flush()

    def clear(self) -> None:
        if self.visible:
            self.stream.write("\r\x1b[K", ending="")


def table(found: dict[str, Any]) -> str:
    """The document for a person: what matters first."""
    if found["state"] not in Scan.COUNTED:
        return f"{found['host']}: the scan {found['state']}. {found['error'] or ''} {found['next_step'] or ''}".rstrip()
    lines = [
        f"{found['host']}: {found['status_label']}. {counted(found['security_updates'], 'security update')}, "
        f"{counted(found['total_updates'], 'update')}, {counted(found['total_packages'], 'package')} "
        f"({found['package_manager']}, "
        f"package lists of {found['metadata_date'] or 'unknown date'}).",
        *(f"! {text}" for text in (*found["gaps"], *found["notes"])),
    ]
    updates = sorted(found["updates"], key=lambda update: (update["security"] is not True, update["name"]))
    rows = [("", "PACKAGE", "INSTALLED", "AVAILABLE", "")] + [
        (mark(update), full_name(update), update["installed_version"], update["available_version"], states(update))
        for update in updates
    ]
    if updates:
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        lines += ["", *("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)]
    return "\n".join(lines)


def counted(number: int | None, thing: str) -> str:
    return f"An unknown number of {thing}s" if number is None else f"{number} {thing}{'' if number == 1 else 's'}"


def mark(update: dict[str, Any]) -> str:
    return {True: "security", False: "", None: "unknown"}[update["security"]]


def full_name(update: dict[str, Any]) -> str:
    return f"{update['name']}:{update['architecture']}"


def states(update: dict[str, Any]) -> str:
    return ", ".join([*(["held"] if update["held"] else []), *([update["blocked"]] if update["blocked"] else [])])
