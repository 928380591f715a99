"""`manage.py refresh_feeds [NAME…] [--file PATH]`: read vulnerability feeds anew, with their progress."""

import sys
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError

from scanner import audit
from scanner.management.commands.scan_system_packages import Bar
from scanner.vulnerabilities import feeds, importing
from scanner.vulnerabilities.interface import FeedError

NAMES = [feed.name for feed in feeds.FEEDS]


class Command(BaseCommand):
    help = (
        "Read vulnerability feeds: those named, or those that the settings name (FEEDS, FEED_…). A feed that cannot be "
        "read keeps what it said before. Exit status: 0 all were read, 1 one was not, 2 wrong usage."
    )
    requires_system_checks = ()  # they would load all pages first

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("names", nargs="*", metavar="NAME", help=f"Of {', '.join(NAMES)}")
        parser.add_argument("--file", default="", help="Read the one feed that is named from this file, or address")

    def handle(self, *args: Any, names: list[str], file: str, **options: Any) -> None:
        if unknown := [name for name in names if name not in NAMES]:
            raise CommandError(f"There is no feed {unknown[0]!r}. Known are {', '.join(NAMES)}.", returncode=2)
        if file and len(names) != 1:
            raise CommandError("--file needs the name of one feed.", returncode=2)
        try:
            wanted = names or importing.wanted_feeds()
        except DatabaseError as error:
            raise CommandError(f"The database cannot be used ({error}). `manage.py migrate` prepares it.") from error
        if not wanted:
            words = "no host has been scanned yet that needs one" if settings.FEEDS else "FEEDS is empty"
            raise CommandError(f"Name feeds: {words}.", returncode=2)
        self.bar = Bar(self.stderr, sys.stderr.isatty())
        failed = [name for name in wanted if not self.refresh(name, file, all_releases=bool(names))]
        if failed:
            raise SystemExit(1)

    def refresh(self, name: str, file: str, all_releases: bool) -> bool:
        """One that somebody names is read for all releases: they may want to check the inventory of another host."""
        try:
            releases = None if all_releases else importing.wanted_releases(name)
            row = importing.refresh(name, file, releases, say=lambda *news: self.show(name, *news))
            audit.record(audit.COMMAND_LINE, "feed.refreshed", row)
        except FeedError as error:
            self.bar.clear()
            self.stderr.write(f"{name}: {error}")
            return False
        except DatabaseError as error:
            raise CommandError(f"The database cannot be used ({error}). `manage.py migrate` prepares it.") from error
        self.bar.clear()
        dropped = f", {row.dropped:,} left out that make no sense" if row.dropped else ""
        self.stdout.write(f"{name}: {row.rows:,} rows{dropped}, read {row.imported_at:%Y-%m-%d %H:%M} UTC")
        return True

    def show(self, name: str, step: str, done: int, total: int | None) -> None:
        """A percentage where the end is known; else how far it is."""
        units = {"fetching": f"{done / 1024**2:.1f} MB", "matching": f"{done:,} package versions of hosts"}
        amount = units.get(step, f"{done:,} rows")
        self.bar.show(round(100 * done / total) if total else 0, f"{name}: {step}, {amount}")
