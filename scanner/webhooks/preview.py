"""What a filter would have done: its fields' values in the last scan, and which of the last scans would have fired."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from scanner.models import Event, Scan, Webhook
from scanner.webhooks import filters
from scanner.webhooks.events import SCAN_COMPLETED
from scanner.webhooks.fan_out import changed
from scanner.webhooks.fields import FIELDS, Field
from scanner.webhooks.values import values

SCANS = 20


@dataclass(frozen=True)
class Past:
    """A scan of the past: whether it would have fired, and if not, why not."""

    event: Event
    fires: bool
    reason: str = ""
    error: bool = False

    @property
    def scan(self) -> Scan | None:
        return self.event.scan


def last_events() -> list[Event]:
    """Of the last scans with counts, the newest first."""
    events = Event.objects.real().filter(type=SCAN_COMPLETED).select_related("scan__host")
    return list(events.order_by("-created_at")[:SCANS])


def past_of(source: str, trigger: str) -> list[Past]:
    """What each of the last scans would have done, the newest first. `source` must compile."""
    events = last_events()
    wanted = filters.needs([source])
    verdicts = [filters.evaluate([source], values(event, wanted))[0] for event in events]
    return list(reversed(list(judged(list(reversed(events)), list(reversed(verdicts)), trigger))))


def judged(events: list[Event], verdicts: list[Any], trigger: str) -> Iterator[Past]:
    """Oldest first: whether something starts to match depends on the host's scan before."""
    matched_before: dict[int | None, bool] = {}
    for event, verdict in zip(events, verdicts, strict=True):
        if isinstance(verdict, filters.FilterError):
            yield Past(event, False, verdict.message, error=True)
            matched_before[event.host_id] = False
            continue
        before = matched_before.get(event.host_id, False)
        matched_before[event.host_id] = verdict
        if not verdict:
            yield Past(event, False, "It does not match.")
        elif trigger == Webhook.Trigger.CHANGE and not changed(event):
            yield Past(event, False, "It matches, but nothing has changed since the scan before.")
        elif trigger == Webhook.Trigger.START and before:
            yield Past(event, False, "It matches, but so did the scan before.")
        else:
            yield Past(event, True)


def live_values() -> list[tuple[Field, Any]]:
    """Each field with its value in the last scan; None where it is not known, or there is no scan."""
    event = next(iter(last_events()), None)
    names = {field.name for field in FIELDS}
    found = values(event, names) if event else {}
    return [(field, found.get(field.name)) for field in FIELDS]
