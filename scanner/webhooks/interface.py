"""What a channel is to us: it checks where a webhook goes, and makes what is sent there of an event.

An event is the public JSON object that docs/webhooks.md describes. The values that cross between the rooms are frozen.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

Event = Mapping[str, Any]
"""{"id", "type", "version", "timestamp", "data": {"host", "scan", "status", "status_label", "changes", …}}"""

Target = Mapping[str, Any]
"""Where a webhook goes, as JSON: {"url", "headers"} or {"recipients"}. Kept encrypted; it may hold secrets."""


@dataclass
class BadTarget(Exception):
    """A target that cannot be used: which of its fields, and why, in words for the person who typed it."""

    field: str
    message: str

    def __str__(self) -> str:
        return self.message


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP POST. `secret_headers` are sent, too; the delivery log shows their names only."""

    url: str
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()
    secret_headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of one attempt.

    `error` is a word for programs, empty on success: address, refused, dns, connect, tls, timeout, too large, reset,
    http (an HTTP status that is no success), mail, service, internal. `words` say the same to a person; they never
    name an address that was refused. `final`: trying again cannot help.
    """

    ok: bool
    error: str = ""
    words: str = ""
    final: bool = False
    status: int | None = None  # of HTTP
    retry_after: float | None = None  # seconds, as the receiver asked
    ip: str = ""  # that we talked to
    seconds: float = 0.0
    headers: tuple[tuple[str, str], ...] = ()
    body: str = ""  # capped


class Channel(ABC):
    """One kind of place that a webhook goes to."""

    kind: ClassVar[str]
    label: ClassVar[str]
    takes: ClassVar[Sequence[str]] = ("url",)
    """The fields of its target: url, headers, recipients."""
    for_people: ClassVar[bool] = True
    """Messages that people read. Programs (False) are retried for days, and get every event."""

    @abstractmethod
    def clean(self, target: Target, networks: Sequence[Any]) -> dict[str, Any]:
        """The target as it is kept. `networks` are the private ones that may be reached. Raises BadTarget."""

    @abstractmethod
    def shown(self, target: Target) -> str:
        """Where it goes, without what is secret: for pages, the API and the log."""

    @abstractmethod
    def body(self, event: Event) -> str:
        """What is sent, as text. It is made when the event happens, kept, and sent at each attempt unchanged."""

    def verdict(self, answer: Answer) -> Answer:
        """The answer as this service means it: some say with a 200 that they did not take the message."""
        return answer


class HttpChannel(Channel):
    """One POST for each event."""

    @abstractmethod
    def request(self, target: Target, event_id: str, body: str, secrets: Sequence[str], at: int) -> Request:
        """The request at a Unix time. `secrets` sign it, the newest first; some channels need none."""


class DirectChannel(Channel):
    """Sends by itself, and blocks until it is done or its time is up."""

    @abstractmethod
    def send(self, target: Target, event_id: str, body: str, networks: Sequence[Any] = ()) -> Answer:
        """`networks` are the private ones that may be reached."""
