"""`manage.py beat_is_alive`: a health check. A beat that hangs looks like one that has nothing to do."""

import sys
from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand
from django.db.models import Max
from django.utils import timezone
from django_celery_beat.models import PeriodicTask

SILENCE = timedelta(minutes=2)  # lost scans are looked for every 15 seconds


class Command(BaseCommand):
    help = "Exit with 0 if beat has sent a periodic task within the last two minutes, else with 1."
    requires_system_checks: list[str] = []

    def handle(self, *args: Any, **options: Any) -> None:
        last = PeriodicTask.objects.aggregate(last=Max("last_run_at"))["last"]
        if last is None or timezone.now() - last > SILENCE:
            sys.exit(f"Beat has sent nothing for {SILENCE.seconds} seconds; the last time was: {last or 'never'}")
