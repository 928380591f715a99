"""Tells open dashboards that a scan has changed. A hint, best effort: the row is saved before, and stays the truth."""

import asyncio
import logging

from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer

from scanner.document import summary
from scanner.models import Scan

GROUP = "scans"
PATIENCE = 2  # seconds; a broker that is down or frozen must not hold up a scan

logger = logging.getLogger(__name__)


def announce(scan: Scan) -> None:
    try:
        async_to_sync(send)({"type": "scan.changed", "scan": summary(scan)})
    except Exception as error:  # whatever is wrong with the broker, the scan goes on
        logger.debug("nobody was told of %s: %s", scan, error)


async def send(message: dict[str, object]) -> None:
    layer = get_channel_layer()
    if layer is not None:
        await asyncio.wait_for(layer.group_send(GROUP, message), PATIENCE)
