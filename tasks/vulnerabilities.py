"""Feeds, and what follows from them, as tasks."""

import logging
from typing import Any

from celery import shared_task

from scanner.announcing import announce_feed
from scanner.models import Feed, Scan
from scanner.vulnerabilities import feeds, findings, importing
from scanner.vulnerabilities.interface import FeedError
from tasks.webhooks import hint

logger = logging.getLogger(__name__)


@shared_task
def refresh_feeds(names: list[str] | None = None) -> dict[str, Any]:
    """Read feeds where they have changed: those named, or those to be kept fresh. One that fails keeps what it said."""
    return {name: refresh_feed(name) for name in (importing.wanted_feeds() if names is None else names)}


def refresh_feed(name: str) -> str:
    try:
        row = importing.refresh(
            name,
            distributions=importing.wanted_releases(name),
            say=lambda step, done, total: announce_feed(name, step, done, total),
        )
        return f"{row.rows} rows"
    except FeedError as error:
        logger.warning("feed %s: %s", name, error)
        return str(error)
    finally:
        announce_feed(name, "", 0, None)


@shared_task
def catch_up() -> int:
    """Compare what a scan matched while its feed was being replaced."""
    return findings.catch_up()


def read_missing_feeds(scan: Scan) -> None:
    """After a scan: the feeds that its host needs and that nobody has asked yet are read now, not in six hours."""
    wanted = set(importing.wanted_feeds()).intersection(feeds.needed([scan.distribution] if scan.distribution else []))
    if missing := sorted(wanted.difference(Feed.objects.exclude(checked_at=None).values_list("name", flat=True))):
        hint(refresh_feeds, missing)
