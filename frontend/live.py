"""The one WebSocket: a snapshot on connect, then each change. What it says is what a reload would show."""

import asyncio
import logging
import time
from contextlib import suppress
from typing import Any
from urllib.parse import parse_qs

from asgiref.sync import sync_to_async
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from django.contrib.auth import get_user_model
from django.utils import timezone
from redis.exceptions import RedisError

from frontend.access import may_see, sight_of
from scanner import scanning
from scanner.announcing import GROUP
from scanner.document import summary, utc
from scanner.models import Host, Scan, Sight

LOOK = 60.0  # seconds, after which it is looked up anew what the user may see
BEAT = 5.0  # seconds; a beat goes through the broker and back, so "Live" is true of the whole way
NOT_SIGNED_IN = 4401
TRY_AGAIN_LATER = 1013  # the broker is away; the page polls meanwhile

logger = logging.getLogger(__name__)


class LiveScans(AsyncJsonWebsocketConsumer):
    """Server to client: {"type": "snapshot", "at", "scans"}, {"type": "scan", "scan"}, {"type": "feed", "feed"},
    {"type": "beat"}."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            await super().__call__(scope, receive, send)
        except (RedisError, OSError) as error:
            if hasattr(self, "channel_name"):
                raise
            self.base_send = send  # Channels has asked for a channel before it set that
            await self.turn_away(error)

    async def turn_away(self, error: Exception) -> None:
        logger.warning("a page is told to try again later, the broker is away: %s", error)
        await self.accept()  # a browser is told no code of a socket that was never open
        await self.close(TRY_AGAIN_LATER)

    async def connect(self) -> None:
        user = self.scope.get("user")
        if user is None or not await sync_to_async(may_see)(user):
            await self.close(NOT_SIGNED_IN)
            return
        self.sight, self.last_look = await sync_to_async(sight_of)(user), time.monotonic()
        self.host = parse_qs(self.scope["query_string"].decode()).get("host", [""])[0]
        self.last_beat = time.monotonic()
        try:
            await self.channel_layer.group_add(GROUP, self.channel_name)  # first join, then read: nothing falls between
        except (RedisError, OSError) as error:
            await self.turn_away(error)
            return
        await self.accept()
        await self.send_snapshot()
        self.beating = asyncio.create_task(self.keep_beating())

    async def disconnect(self, code: int) -> None:
        if hasattr(self, "beating"):
            self.beating.cancel()
            with suppress(RedisError, OSError):
                await self.channel_layer.group_discard(GROUP, self.channel_name)

    async def send_snapshot(self) -> None:
        await self.send_json({"type": "snapshot", **await sync_to_async(snapshot)(self.host, self.sight)})

    async def scan_changed(self, event: dict[str, Any]) -> None:
        if self.sight.shows_host_with(event.get("tags", ())):
            await self.send_json({"type": "scan", "scan": event["scan"]})

    async def feed_changed(self, event: dict[str, Any]) -> None:
        await self.send_json({"type": "feed", "feed": event["feed"]})

    async def keep_beating(self) -> None:
        while True:
            await asyncio.sleep(BEAT)
            try:
                await self.channel_layer.send(self.channel_name, {"type": "beat"})
            except Exception:  # the broker is away: the page hears it now, not after a silence
                await self.close(TRY_AGAIN_LATER)
                return

    async def beat(self, _: dict[str, Any]) -> None:
        silence, self.last_beat = time.monotonic() - self.last_beat, time.monotonic()
        if silence > 2 * BEAT:  # the broker was away, and what was said meanwhile is lost
            await self.send_snapshot()
        await self.send_json({"type": "beat"})
        if time.monotonic() - self.last_look > LOOK:
            await self.look_anew()

    async def look_anew(self) -> None:
        """Rights may have been taken away since the socket was opened."""
        self.last_look = time.monotonic()
        found = await sync_to_async(sight_now)(self.scope["user"].pk)
        if found is None:
            await self.close(NOT_SIGNED_IN)
        else:
            self.sight = found


def sight_now(pk: int) -> Sight | None:
    """None where the user may see nothing any more."""
    user = get_user_model()._default_manager.filter(pk=pk).first()
    return sight_of(user) if user and may_see(user) else None


def snapshot(host_name: str, sight: Sight) -> dict[str, Any]:
    """Every scan under way, and the named host's last one: the page sees whether it is behind."""
    scanning.fail_lost()
    scans = list(Scan.objects.seen_by(sight).active().select_related("host"))
    host = Host.objects.seen_by(sight).filter(name=host_name).first()
    last = host.last_scan() if host else None
    return {"at": utc(timezone.now()), "scans": [summary(scan) for scan in [*scans, *([last] if last else [])]]}
