"""`manage.py export_scan`: a stored scan as a file, for cron and for whoever has no browser at hand."""

import os
import sys
import tempfile
from argparse import ArgumentParser
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError

from scanner.exports.formats import BY_NAME, EXPORTS
from scanner.exports.interface import Export
from scanner.exports.loading import StoredScan
from scanner.models import Host, Scan

PARTS = tuple(dict.fromkeys(part for export in EXPORTS for part in export.parts))


class Command(BaseCommand):
    help = (
        "Write a stored scan as CSV, JSON, CycloneDX SBOM or PDF report: the one with this number, or a host's newest "
        "that came to a result. Exit status: 0 written, 1 it could not be written, 2 wrong usage."
    )
    requires_system_checks = ()  # they would load all pages first

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("scan", metavar="SCAN", nargs="?", type=int, help="The scan's number")
        parser.add_argument("--host", default="", help=f"The newest scan of this host (default: {settings.SCAN_HOST})")
        parser.add_argument("--format", choices=tuple(BY_NAME), required=True)
        parser.add_argument("--part", choices=PARTS, default="", help=f"Of CSV: which list (default: {PARTS[0]})")
        parser.add_argument("--output", metavar="FILE", default="", help="Instead of standard output")

    def handle(self, *args: Any, **options: Any) -> None:
        export = BY_NAME[options["format"]]
        if options["scan"] is not None and options["host"]:
            raise CommandError("Name a scan or a host, not both.", returncode=2)
        if options["part"] and options["part"] not in export.parts:
            raise CommandError(f"--part is for CSV: {export.label} is always about the whole scan.", returncode=2)
        if not options["output"] and not export.is_text and sys.stdout.isatty():
            raise CommandError(f"A terminal cannot show {export.label}: name a file with --output.", returncode=2)
        part = options["part"] or (export.parts[0] if export.parts else "")
        try:
            pieces = self.pieces(export, part, options)
            if options["output"]:
                write_file(Path(options["output"]), pieces)
            else:
                write_out(pieces)
        except DatabaseError as error:
            raise CommandError(f"The database cannot be used ({error}). `manage.py migrate` prepares it.") from error

    def pieces(self, export: Export, part: str, options: dict[str, Any]) -> Iterator[bytes]:
        scan = self.chosen(options["scan"], options["host"] or settings.SCAN_HOST)
        return export.scan(StoredScan(scan, located=part == "vulnerabilities"), part)

    def chosen(self, number: int | None, name: str) -> Scan:
        scans = Scan.objects.select_related("host", "snapshot__package_set")
        if number is not None:
            scan = scans.filter(pk=number).first()
            if scan is None:
                raise CommandError(f"There is no scan {number}.")
            if not scan.has_counts:
                raise CommandError(f"Scan {number} came to no result (it is {scan.state}): there is nothing to export.")
            return scan
        host = Host.objects.filter(name=name).first()
        if host is None:
            raise CommandError(f"There is no host {name!r}.")
        scan = scans.filter(pk=host.current_id or 0).first()
        if scan is None:
            raise CommandError(f"No scan of {host} has come to a result yet: there is nothing to export.")
        return scan


def write_file(path: Path, pieces: Iterator[bytes]) -> None:
    """Under its name only once it is whole: who reads it at the same time sees the file before, or all of this one."""
    try:
        if path.exists() and not path.is_file():  # /dev/stdout, a pipe
            with path.open("wb") as device:
                device.writelines(pieces)
            return
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}-", delete=False) as file:
            new = Path(file.name)
            try:
                file.writelines(pieces)
                file.flush()
                new.chmod(path.stat().st_mode if path.exists() else 0o666 & ~umask())
                new.replace(path)
            except BaseException:
                new.unlink(missing_ok=True)
                raise
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror}.") from error


def umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_out(pieces: Iterator[bytes]) -> None:
    try:
        for piece in pieces:
            sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()
    except BrokenPipeError:  # `| head` has seen enough
        sys.stderr.close()
