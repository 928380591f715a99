"""Wiring: settings, Celery, ASGI, addresses and the processes of `manage.py up`."""

import gc

gc.disable()  # while everything is imported, of which nothing is garbage; ScannerConfig.ready enables it

from project.celery import app as celery_app  # noqa: E402

__all__ = ["celery_app"]
