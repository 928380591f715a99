"""The Celery application. Its settings are the CELERY_* names of settings.py."""

import os
from typing import Any

from celery import Celery
from celery.signals import worker_ready
from django.apps import apps
from django.conf import settings

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")

app = Celery("project", include=["tasks.scans"])
app.config_from_object("django.conf:settings", namespace="CELERY")


@worker_ready.connect
def register_host(**_: Any) -> None:
    """A worker makes its host known: more hosts are only more workers."""
    apps.get_model("scanner", "Host").objects.named(settings.SCAN_HOST)
