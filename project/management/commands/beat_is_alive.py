"""`manage.py beat_is_alive`: a health check. A beat that hangs looks like one that has nothing to do."""

import sys
from typing import Any

from django.core.management.base import BaseCommand

from scanner import periodic
from scanner.periodic import SILENCE


class Command(BaseCommand):
    help = "Exit with 0 if beat has sent a periodic task within the last two minutes, else with 1."
    requires_system_checks: list[str] = []

    def handle(self, *args: Any, **options: Any) -> None:
        beat = periodic.beat()
        if beat.away:
            sys.exit(f"Beat has sent nothing for {SILENCE.seconds} seconds; the last time was: {beat.last or 'never'}")
