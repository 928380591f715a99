"""The Celery application. Its settings are the CELERY_* names of settings.py."""

import os
from typing import Any

from billiard.process import current_process
from celery import Celery
from celery.signals import worker_process_init, worker_ready
from django.apps import apps
from django.conf import settings

from project.processes import die_with_parent

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
# The checks load every page, a third of a worker's start; what they check is the code, which `make lint` does.
os.environ.setdefault("CELERY_SKIP_CHECKS", "1")

app = Celery("project", include=["tasks.scans", "tasks.vulnerabilities", "tasks.webhooks"])
app.config_from_object("django.conf:settings", namespace="CELERY")


@worker_ready.connect
def register_host(**_: Any) -> None:
    """A worker makes its host known: more hosts are only more workers."""
    apps.get_model("scanner", "Host").objects.named(settings.SCAN_HOST)


@worker_process_init.connect
def end_with_worker(**_: Any) -> None:
    """A pool process that outlives its worker would go on scanning beside the worker that takes the scan over."""
    die_with_parent(current_process()._parent_pid)
