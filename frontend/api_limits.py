"""How often a token may ask, and which scan an idempotency key has started: kept in Redis, for all web processes."""

import hashlib
import json
import time
from functools import cache

from django.conf import settings
from redis import Redis, RedisError
from redis.backoff import NoBackoff
from redis.retry import Retry

RATE, WINDOW = 600, 60  # requests of a token in so many seconds
KEY_LIFETIME = 24 * 3600  # seconds
PATIENCE = 1  # seconds


class TooMany(Exception):
    """A token has asked too often."""

    def __init__(self, seconds: int) -> None:
        super().__init__(f"This token has sent its {RATE} requests of this minute. Wait {seconds} s.")
        self.seconds = seconds


class OtherRequest(Exception):
    """The idempotency key was used for another request."""


class CannotRemember(Exception):
    """Redis is away."""


@cache
def server() -> Redis:
    return Redis.from_url(
        settings.REDIS_URL,
        socket_timeout=PATIENCE,
        socket_connect_timeout=PATIENCE,
        retry=Retry(NoBackoff(), 0),
        decode_responses=True,
    )


def key(*parts: str) -> str:
    digest = hashlib.sha256("\n".join(parts).encode()).hexdigest()
    return f"scanner:{parts[0]}:{digest}"


def count(token: str) -> None:
    """Count a request in its window of a minute. Raises TooMany. Without Redis nobody is held up."""
    now = time.time()
    name = key("rate", token, str(int(now // WINDOW)))
    try:
        with server().pipeline() as pipe:
            pipe.incr(name)
            pipe.expire(name, 2 * WINDOW)
            number = pipe.execute()[0]
    except RedisError:
        return
    if number > RATE:
        raise TooMany(int(WINDOW - now % WINDOW) + 1)


def scan_of(caller: str, idempotency_key: str, wishes: dict[str, str]) -> int | None:
    """The scan that this request with this key has started within the last 24 h. Raises OtherRequest."""
    try:
        text = server().get(key("idempotency", caller, idempotency_key))
    except RedisError as error:
        raise CannotRemember from error
    if not text:
        return None
    known = json.loads(str(text))
    if known["wishes"] != wishes:
        raise OtherRequest
    return int(known["scan"])


def remember(caller: str, idempotency_key: str, wishes: dict[str, str], scan: int) -> None:
    """Of two requests at once the first is remembered; both have the same scan, since a host has one at a time."""
    value = json.dumps({"wishes": wishes, "scan": scan})
    try:
        server().set(key("idempotency", caller, idempotency_key), value, nx=True, ex=KEY_LIFETIME)
    except RedisError:
        pass  # the scan has started, which is what was asked for
