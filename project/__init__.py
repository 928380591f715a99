"""Wiring: settings, Celery, ASGI, addresses and the processes of `manage.py up`."""

from project.celery import app as celery_app

__all__ = ["celery_app"]
