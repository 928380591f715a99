"""Values in words: times, ages, durations, changes, levels and states."""

import json
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from django import template
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.http import urlencode
from django.utils.safestring import SafeString, mark_safe

from scanner.models import AuditEntry, Delivery, Scan, Webhook
from scanner.risk import Level
from scanner.vulnerabilities.package_states import STATES as PACKAGE_STATES
from scanner.vulnerabilities.places import WORDS
from scanner.vulnerabilities.urgency import LIKELY, Cve, percent

register = template.Library()

# Drawn on a square of 16 in the text's own colour; each has an outline of its own, for who cannot tell the colours.
SHAPES = {
    "secure": '<circle cx="8" cy="8" r="7"/><path class="cut" d="M4.5 8.3l2.4 2.4 4.6-5"/>',
    "low": '<path d="M8 1.2 15.2 14.4H.8Z"/><path class="cut" d="M8 6v4M8 12.2v.1"/>',
    "medium": '<path d="M8 .5 15.5 8 8 15.5.5 8Z"/><path class="cut" d="M8 4.5v4.2M8 11.2v.1"/>',
    "high": '<path d="M5 .8h6L15.2 5v6L11 15.2H5L.8 11V5Z"/><path class="cut" d="M8 4v5M8 11.8v.1"/>',
    "unknown": '<circle class="line dash" cx="8" cy="8" r="6.8"/>'
    '<path class="line" d="M6 6.2a2 2 0 1 1 2.8 1.9c-.6.3-.8.6-.8 1.4M8 11.8v.1"/>',
    "info": '<circle cx="8" cy="8" r="7"/><path class="cut" d="M8 7.4v4M8 4.7v.1"/>',
    "queued": '<circle class="line dash" cx="8" cy="8" r="6.5"/><path class="line" d="M8 4.5V8l2.4 1.6"/>',
    "running": '<circle class="line" cx="8" cy="8" r="6.5"/><path d="M8 3.5a4.5 4.5 0 0 1 0 9Z"/>',
    "failed": '<circle cx="8" cy="8" r="7"/><path class="cut" d="M5.4 5.4l5.2 5.2M10.6 5.4l-5.2 5.2"/>',
    "cancelled": '<circle class="line" cx="8" cy="8" r="6.5"/><path class="line" d="M3.6 12.4l8.8-8.8"/>',
    "overview": '<path class="line" d="M2 2.5h5v5H2zM9.5 2.5H14v3H9.5zM9.5 8.5H14v5H9.5zM2 10.5h5v3H2z"/>',
    "package": '<path class="line" d="M8 1.5 14 4.7v6.6L8 14.5l-6-3.2V4.7ZM2 4.7l6 3.2 6-3.2M8 7.9v6.6"/>',
    "gear": '<circle class="line" cx="8" cy="8" r="2.3"/><path class="line" d="M8 1.5v2.2M8 12.3v2.2M1.5 8h2.2'
    'M12.3 8h2.2M3.4 3.4 5 5M11 11l1.6 1.6M3.4 12.6 5 11M11 5l1.6-1.6"/>',
    "bell": '<path class="line" d="M3.5 11.5h9C11.5 10.3 11.3 9.2 11.3 6.9 11.3 4.7 10 3 8 3S4.7 4.7 4.7 6.9'
    'c0 2.3-.2 3.4-1.2 4.6ZM6.5 13.8h3M8 3V1.6"/>',
    "bug": '<path class="line" d="M4.6 7h6.8v3a3.4 3.4 0 0 1-6.8 0ZM5.6 7a2.4 2.4 0 0 1 4.8 0M8 7v6.4M4.6 9.2H1.8'
    'M11.4 9.2h2.8M4.8 11.4 2.6 13M11.2 11.4l2.2 1.6M5.6 6.2 3.2 4.4M10.4 6.2l2.4-1.8"/>',
    "person": '<circle class="line" cx="8" cy="5" r="3"/><path class="line" d="M2 14.5c.4-3.3 2.6-5 6-5s5.6 1.7 6 5"/>',
    "shield": '<path d="M8 .8 14.3 3v4.6c0 3.6-2.4 6.2-6.3 7.6-3.9-1.4-6.3-4-6.3-7.6V3Z"/>'
    '<path class="cut" d="M5 8l2.2 2.2L11 6"/>',
}
ADVISORY_OPTIONS = ("--advisory", "--advisories")  # dnf takes several with commas between them
STATE_COLOURS = {
    "queued": "info",
    "running": "info",
    "completed": "secure",
    "partial": "medium",
    "failed": "high",
    "cancelled": "unknown",
}
WEBHOOK_COLOURS = {"active": "secure", "failing": "medium", "open": "high", "paused": "unknown", "disabled": "high"}
WEBHOOK_SHAPES = {**WEBHOOK_COLOURS, "open": "failed", "paused": "cancelled", "disabled": "failed"}
DELIVERY_COLOURS = {
    "pending": "info",
    "sending": "info",
    "collected": "info",
    "succeeded": "secure",
    "digested": "secure",
    "failed": "high",
    "filter_error": "high",
}
DELIVERY_SHAPES = {
    "pending": "queued",
    "sending": "running",
    "collected": "queued",
    "succeeded": "secure",
    "digested": "secure",
    "failed": "failed",
    "filter_error": "failed",
}
SEVERITY_COLOURS = {5: "high", 4: "high", 3: "medium", 2: "low"}  # by urgency.SEVERITY_RANK
PLACE_COLOURS = {
    "now": "high",
    "reboot": "high",
    "pro": "medium",
    "pinned": "medium",
    "not-offered": "medium",
    "eol": "medium",
    "open": "low",
    "fixed": "info",
}
PLACE_SHAPES = {**PLACE_COLOURS, "undetermined": "unknown", "unconfirmed": "unknown"} | dict.fromkeys(
    ("third-party", "no-data", "unscanned"), "unknown"
)
PACKAGE_STATE_COLOURS = {"update": "high", "open": "medium", "unknown": "unknown", "clear": "secure"}  # and shapes
STATE_SHAPES = {"completed": "secure", "partial": "medium"}  # the others have one of their own


@register.simple_tag
def shape(name: str) -> SafeString:
    drawing = mark_safe(SHAPES[name])  # noqa: S308 - ours, from the table above
    return format_html('<svg class="shape" viewBox="0 0 16 16" aria-hidden="true">{}</svg>', drawing)


@register.simple_tag
def level_badge(level: Level) -> SafeString:
    return badge(level.severity, level.severity, level.label)


@register.simple_tag
def state_badge(state: str) -> SafeString:
    """Of a scan."""
    return badge(STATE_COLOURS[state], STATE_SHAPES.get(state, state), Scan.State(state).label)


@register.simple_tag
def webhook_badge(webhook: Webhook) -> SafeString:
    return badge(WEBHOOK_COLOURS[webhook.state], WEBHOOK_SHAPES[webhook.state], webhook.get_state_display())


@register.simple_tag
def delivery_badge(delivery: Delivery) -> SafeString:
    """What was not sent, and need not be, is grey."""
    colour, drawn = DELIVERY_COLOURS.get(delivery.state, "unknown"), DELIVERY_SHAPES.get(delivery.state, "cancelled")
    return badge(colour, drawn, delivery.get_state_display())


def badge(colour: str, shape_name: str, word: str) -> SafeString:
    return format_html('<span class="badge is-{}">{}{}</span>', colour, shape(shape_name), word)


@register.simple_tag
def cve_tags(cve: Cve) -> SafeString:
    """What makes a CVE urgent: exploited, EPSS where it says something, severity."""
    tags = []
    if cve.exploited:
        title = "Known to be exploited, by CISA's catalog" + (", also by ransomware" if cve.ransomware else "")
        tags.append(format_html(' <span class="tag is-high" title="{}">exploited</span>', title))
    if cve.epss is not None and cve.epss >= LIKELY:
        title = "EPSS: how likely it is to be exploited in the next 30 days"
        tags.append(format_html(' <span class="tag is-medium" title="{}">EPSS {}</span>', title, percent(cve.epss)))
    if cve.severity:
        colour = SEVERITY_COLOURS.get(cve.rank, "unknown")
        tags.append(format_html(' <span class="tag is-{}" title="By {}">{}</span>', colour, cve.by, cve.severity))
    return mark_safe("".join(tags))  # noqa: S308 - of escaped parts


@register.simple_tag
def place_badge(state: str) -> SafeString:
    """What can be done about a CVE at a place, or what a feed says of it. What the vendor leaves alone is grey."""
    colour, drawn = PLACE_COLOURS.get(state, "unknown"), PLACE_SHAPES.get(state, "cancelled")
    return badge(colour, drawn, WORDS[state].label)


@register.simple_tag
def package_badge(state: str) -> SafeString:
    """How a package stands as to security."""
    return badge(PACKAGE_STATE_COLOURS[state], PACKAGE_STATE_COLOURS[state], PACKAGE_STATES[state].label)


@register.filter
def package_colour(state: str) -> str:
    return PACKAGE_STATE_COLOURS[state]


@register.simple_tag
def severity_badge(cve: Cve) -> SafeString:
    colour = SEVERITY_COLOURS.get(cve.rank, "unknown")
    return badge(colour, colour, cve.severity)


# --- times ----------------------------------------------------------------------------------------


@register.simple_tag
def ago(date: datetime) -> SafeString:
    """ "3 h ago", the exact time in its title. time.js keeps it true and moves it to the reader's zone."""
    return time_element(date, distance(date, timezone.now()), "ago")


@register.simple_tag
def at(date: datetime) -> SafeString:
    """ "18 Nov 2026, 14:03", with its zone in the title."""
    return time_element(date, exact(timezone.localtime(date)), "at")


@register.simple_tag
def age(since: datetime) -> SafeString:
    """ "52 h": how long something has been so."""
    return time_element(since, span(timezone.now() - since), "age")


@register.simple_tag
def in_zone(date: datetime, zone: str | None) -> SafeString:
    """ "Thu 26 Nov 2026, 02:00 CET": by the clock of that zone, wherever the reader is."""
    local = date.astimezone(ZoneInfo(zone) if zone else timezone.get_current_timezone())
    return format_html('<time datetime="{}">{}</time>', local.isoformat(), f"{local:%a %-d %b %Y, %H:%M %Z}")


def time_element(date: datetime, text: str, kind: str) -> SafeString:
    local = timezone.localtime(date)
    words = f"{exact(local)} {local.tzname()}"
    return mark_safe(  # noqa: S308 - all of it is ours
        f'<time datetime="{date.isoformat()}" title="{words}" data-time="{kind}">{text}</time>'
    )


def exact(local: datetime) -> str:
    return f"{local:%-d %b %Y, %H:%M}"


def distance(date: datetime, now: datetime) -> str:
    """The same words as `distance` in time.js."""
    seconds = (now - date).total_seconds()
    if abs(seconds) < 45:
        return "just now" if seconds >= 0 else "in a moment"
    words = span(timedelta(seconds=abs(seconds)))
    return f"{words} ago" if seconds > 0 else f"in {words}"


def span(length: timedelta) -> str:
    minutes = int(length.total_seconds() // 60)
    if minutes < 60:
        return f"{max(minutes, 1)} min"
    return f"{minutes // 60} h" if minutes < 72 * 60 else f"{minutes // 1440} days"


@register.filter
def duration(length: timedelta | None) -> str:
    if length is None:
        return "\N{EN DASH}"
    seconds = length.total_seconds()
    if seconds < 60:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    return f"{whole // 60} min {whole % 60} s" if whole < 3600 else f"{whole // 3600} h {whole % 3600 // 60} min"


# --- numbers --------------------------------------------------------------------------------------


@register.filter
def known(number: int | None) -> str:
    """A count, or a question mark: unknown is not zero."""
    return "?" if number is None else f"{number:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")


@register.filter
def percentage(share: float) -> str:
    """ "42 %"; what is hardly anything is not nothing."""
    return percent(share) if share >= 0.0005 else f"<{percent(0.001)}"


@register.simple_tag
def change(scan: Any, before: Any, count: str) -> str:
    """What became of a count since the scan before, if there is one."""
    now, then = getattr(scan, count), getattr(before, count, None)
    if now is None or then is None:
        return "No earlier count to compare with"
    if now == then:
        return "Same as in the scan before"
    return f"{abs(now - then)} {'more' if now > then else 'fewer'} than in the scan before"


@register.filter
def commands(updates: Iterable[Any]) -> str:
    """What installs all of these: one command where it takes several names, else one a line."""
    grouped: dict[str, dict[str, None]] = {}
    for update in updates:
        verb, _, name = update.command.rpartition(" ")
        grouped.setdefault(verb, {})[name] = None
    return "\n".join(
        f"{verb} {(',' if verb.endswith(ADVISORY_OPTIONS) else ' ').join(names)}" for verb, names in grouped.items()
    )


# --- webhooks -------------------------------------------------------------------------------------

SAMPLE_LENGTH = 120  # characters of a value in the filter's list of fields


@register.filter
def event_name(event_type: str) -> str:
    """ "Package scan completed" of security.package_scan_completed"""
    return event_type.removeprefix("security.").replace("_", " ").capitalize()


@register.filter
def sample(value: Any) -> str:
    """A field's value as one would write it in a filter; what is not known says so."""
    if value is None:
        return "not known"
    if isinstance(value, float):
        return f"{value:.1f}"
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= SAMPLE_LENGTH else f"{text[:SAMPLE_LENGTH]}…"


@register.filter
def pretty(value: Any) -> str:
    """JSON, indented; a text that is none as it is."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            return str(value)
    return json.dumps(value, indent=2, ensure_ascii=False)


# --- the audit log --------------------------------------------------------------------------------

TARGET_PAGES = {
    "scan": lambda entry: reverse("scan", args=[entry.target_id]),
    "host": lambda entry: f"{reverse('dashboard')}?{urlencode({'host': entry.target})}",
    "risk": lambda entry: f"{reverse('accepted-risks')}?risk={entry.target_id}",
    "schedule": lambda entry: f"{reverse('schedules')}#schedule-{entry.target_id}",
}


@register.filter
def action_name(action: str) -> str:
    """ "host: brought back" of host.brought_back"""
    return action.replace(".", ": ").replace("_", " ")


@register.filter
def spaced(name: str) -> str:
    return name.replace("_", " ")


@register.filter
def audit_value(value: Any) -> str:
    """A value of an audit entry as people read it."""
    if value is None or value in ([], ""):
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


@register.simple_tag
def target_of(entry: AuditEntry) -> str | SafeString:
    """Its name, with a link where it has a page and has not just been deleted."""
    page = TARGET_PAGES.get(entry.kind)
    if page is None or not entry.target_id or entry.action.endswith(".deleted"):
        return entry.target
    return format_html('<a href="{}">{}</a>', page(entry), entry.target)
