"""Feeds as tasks."""

import logging
from typing import Any

from celery import shared_task
from django.conf import settings

from scanner.vulnerabilities import importing
from scanner.vulnerabilities.interface import FeedError

logger = logging.getLogger(__name__)


@shared_task
def refresh_feeds() -> dict[str, Any]:
    """Read the feeds that the settings name, where they have changed. One that fails keeps what it said before."""
    return {name: refresh_feed(name) for name in settings.FEEDS}


def refresh_feed(name: str) -> str:
    try:
        return f"{importing.refresh(name).rows} rows"
    except FeedError as error:
        logger.warning("feed %s: %s", name, error)
        return str(error)
