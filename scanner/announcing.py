"""Tells open pages that a scan or a feed has changed. A hint, best effort: the saved row is the truth."""

import asyncio
import logging
import time

from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer

from scanner.document import summary
from scanner.models import Scan

GROUP = "scans"
PATIENCE = 2  # seconds; a broker that is down or frozen must not hold up a scan
NEWS = 0.5  # seconds between two messages about one and the same step of a feed

told: dict[str, tuple[str, float]] = {}  # by feed: the last step, and when it was told

logger = logging.getLogger(__name__)


def announce(scan: Scan) -> None:
    """With the host's tags, by which who listens knows whether its user may see it."""
    tags = list(scan.host.tags.order_by().values_list("pk", flat=True))
    tell({"type": "scan.changed", "scan": summary(scan), "tags": tags})


def announce_feed(name: str, step: str, done: int, total: int | None) -> None:
    """How far a feed's refresh is; an empty step says that it has ended."""
    now = time.monotonic()
    last_step, last_at = told.get(name, ("", 0.0))
    if step == last_step and now - last_at < NEWS:
        return
    told[name] = (step, now)
    tell({"type": "feed.changed", "feed": {"name": name, "step": step, "done": done, "total": total}})


def tell(message: dict[str, object]) -> None:
    try:
        async_to_sync(send)(message)
    except Exception as error:  # whatever is wrong with the broker, the work goes on
        logger.debug("nobody was told: %s", error)


async def send(message: dict[str, object]) -> None:
    layer = get_channel_layer()
    if layer is not None:
        await asyncio.wait_for(layer.group_send(GROUP, message), PATIENCE)
