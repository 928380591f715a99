"""An event in the words that people read. Pure: the channels put them into the shape that their service wants."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from scanner.risk import RISK_LEVELS, UNKNOWN, Level
from scanner.webhooks.harmless import is_web_address, plain
from scanner.webhooks.interface import Event

PACKAGES = 10  # lines; the rest is counted
HOSTS = 20  # lines of a digest
NAME, VERSION, TEXT, ERROR = 100, 60, 300, 500  # characters of what comes from outside

LEVELS = (*(level for _, level in RISK_LEVELS), UNKNOWN)  # the worst first
BY_LABEL = {level.label: level for level in LEVELS}

Words = tuple[str, str]
"""A title and a sentence."""


@dataclass(frozen=True, slots=True)
class Message:
    """What a person is told: plain text without control characters, each part capped; nothing in it is escaped."""

    title: str
    level: str  # high, medium, low, secure or unknown, for a colour
    sentence: str
    facts: tuple[tuple[str, str], ...]  # label and value
    lines: tuple[str, ...]  # packages, or in a digest hosts; the last may say how many more there are
    link: str  # empty: there is none
    link_label: str
    footer: str


def message(event: Event) -> Message:
    """What to say of an event. It never fails: what is missing in the event is unknown."""
    story = Story(str(event.get("type") or ""), event.get("data") or {})
    title, sentence = TOLD_BY.get(story.type, anything)(story)
    if story.data.get("test"):
        title, sentence = f"[Test] {title}", f"This is a test, nothing has happened. {sentence}"
    link, link_label = story.link()
    return Message(
        title=title,
        level=story.level.severity,
        sentence=sentence,
        facts=tuple((label, value) for label, value in facts(story) if value),
        lines=tuple(host_lines(story) if story.type.endswith(".digest") else package_lines(story)),
        link=link,
        link_label=link_label,
        footer=" · ".join(part for part in (plain(event.get("id")), moment(event.get("timestamp"))) if part),
    )


def as_text(message: Message) -> str:
    """The whole message but for its title, with what matters most at the top: some services cut it off."""
    head = [message.sentence, *([f"{message.link_label}: {message.link}"] if message.link else [])]
    rows = [f"{label}: {value}" for label, value in message.facts]
    blocks = (head, rows, message.lines, [message.footer] if message.footer else [])
    return "\n\n".join("\n".join(block) for block in blocks if block)


# --- what an event tells ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Story:
    """An event's data, read with care: the names are the host's own, and a number may be unknown."""

    type: str
    data: Mapping[str, Any]

    @property
    def host(self) -> str:
        return plain((self.data.get("host") or {}).get("name"), NAME) or "a host"

    @property
    def scan(self) -> Mapping[str, Any]:
        return self.data.get("scan") or {}

    @property
    def changes(self) -> Mapping[str, Any]:
        return self.data.get("changes") or {}

    @property
    def level(self) -> Level:
        if self.digest:
            return min((level_of(host) for host in self.hosts), key=LEVELS.index, default=UNKNOWN)
        return level_of(self.data)

    @property
    def level_before(self) -> Level | None:
        label = self.changes.get("previous_status_label")
        return BY_LABEL.get(label, UNKNOWN) if label else None

    @property
    def waiting(self) -> int | None:
        """The security updates that are known to wait."""
        return waiting_of(self.scan, self.level)

    @property
    def digest(self) -> Mapping[str, Any]:
        return self.data.get("digest") or {}

    @property
    def hosts(self) -> Sequence[Mapping[str, Any]]:
        return self.digest.get("hosts") or ()

    def number(self, list_name: str, count_name: str) -> int | None:
        """How many updates appeared or were resolved: as counted, else as listed; None if nothing tells."""
        listed = len(self.changes.get(list_name) or ()) + ((self.changes.get("more") or {}).get(list_name) or 0)
        return self.changes.get(count_name) or listed or None

    def link(self) -> tuple[str, str]:
        webhook, host = self.data.get("webhook") or {}, self.data.get("host") or {}
        for url, label in (
            (webhook.get("url"), "Open the webhook"),
            (self.scan.get("url"), "Open the scan"),
            (host.get("url"), "Open the host"),
        ):
            if is_web_address(url):
                return str(url), label
        return "", ""


def level_of(data: Mapping[str, Any]) -> Level:
    return BY_LABEL.get(data.get("status_label") or "", UNKNOWN)


def waiting_of(data: Mapping[str, Any], level: Level) -> int | None:
    """Where none was found and the status is unknown all the same, half a scan was read: that is no zero."""
    number = data.get("security_updates")
    return None if number == 0 and level == UNKNOWN else number


# --- title and sentence, by type --------------------------------------------------------------------


def completed(story: Story) -> Words:
    new = story.changes.get("new_security_updates")
    if story.waiting is None:
        title = f"{story.host}: security updates unknown"
    elif new:
        title = f"{story.host}: {counted(new, 'new security update')}"
    else:
        title = f"{story.host}: {story.level.label}, {counted(story.waiting, 'security update')}"
    return title, f"{standing(story)}: {waits(story)}."


def failed(story: Story) -> Words:
    return f"{story.host}: the scan failed", f"The scan of {story.host} failed, so its status is unknown."


def stale(story: Story) -> Words:
    return (
        f"{story.host}: the last scan is too old",
        f"The last scan of {story.host}, or what it knew of updates, is too old: its status is unknown.",
    )


def status_changed(story: Story) -> Words:
    before = story.level_before
    was, came = (f", was {before.label}", f" from {before.label}") if before else ("", "")
    title = f"{story.host}: {story.level.label}{was}"
    return title, f"{story.host} went{came} to {story.level.label}: {waits(story)}."


def update_appeared(story: Story) -> Words:
    new = counted(story.number("appeared", "new_security_updates"), "new security update")
    return f"{story.host}: {new}", f"{story.host} has {new}. {standing(story, pronoun=True)}: {waits(story)}."


def update_resolved(story: Story) -> Words:
    number = story.number("resolved", "fixed_security_updates")
    fixed = counted(number, "security update")
    gone = f"{fixed} of {story.host} {'waits' if number == 1 else 'wait'} no longer"
    return f"{story.host}: {fixed} fixed", f"{gone}. {standing(story, pronoun=True)}: {waits(story)}."


def update_late(story: Story) -> Words:
    number = len(story.data.get("late") or ()) + (story.data.get("late_more") or 0)
    late = counted(number or None, "security update")
    has, hours = "has" if number == 1 else "have", story.data.get("target_hours")
    target = f"for more than {hours} h" if hours else "for longer than the target"
    has_waited = f"{late} of {story.host} {has} waited {target}"
    return f"{story.host}: {late} late", f"{has_waited}. {standing(story, pronoun=True)}: {waits(story)}."


def reboot_required(story: Story) -> Words:
    return (
        f"{story.host} needs a reboot",
        f"{story.host} needs a reboot before its updates protect it. {standing(story, pronoun=True)}: {waits(story)}.",
    )


def webhook_disabled(story: Story) -> Words:
    name = plain((story.data.get("webhook") or {}).get("name"), NAME) or "a webhook"
    return (
        f"Webhook switched off: {name}",
        f"The webhook “{name}” was switched off. Nobody hears of anything through it until it is switched on again.",
    )


def digest(story: Story) -> Words:
    period = f"{plain(story.digest.get('period'), NAME).capitalize()} digest".strip()
    events, since = counted(story.digest.get("events"), "event"), moment(story.digest.get("since"))
    when = f" since {since}" if since else ""
    if not story.hosts:  # of switched-off webhooks, say
        return f"{period}: {events}", f"{events}{when}, none of them about a host."
    more = story.digest.get("more") or 0
    hosts = counted(len(story.hosts) + more, "host")
    by_level = [(level.label, sum(level_of(host) == level for host in story.hosts)) for level in LEVELS]
    levels = ("at least " if more else "") + ", ".join(f"{number} {label}" for label, number in by_level if number)
    return f"{period}: {hosts}, {levels}", f"{events} on {hosts}{when}: {levels}."


def anything(story: Story) -> Words:
    """A type that is newer than this table."""
    name = plain(story.type, NAME)
    return f"{story.host}: {name}", f"{name} on {story.host}. {standing(story, pronoun=True)}: {waits(story)}."


TOLD_BY = {
    "security.package_scan_completed": completed,
    "security.package_scan_failed": failed,
    "security.package_scan_stale": stale,
    "security.status_changed": status_changed,
    "security.update_appeared": update_appeared,
    "security.update_resolved": update_resolved,
    "security.update_late": update_late,
    "security.reboot_required": reboot_required,
    "security.webhook_disabled": webhook_disabled,
    "security.digest": digest,
}


def standing(story: Story, pronoun: bool = False) -> str:
    """ "web-1 is at High Risk", or "It is at High Risk" """
    if story.level == UNKNOWN:
        return "Its status is unknown" if pronoun else f"The status of {story.host} is unknown"
    subject = "It" if pronoun else story.host
    return f"{subject} is {'' if story.level.severity == 'secure' else 'at '}{story.level.label}"


def waits(story: Story) -> str:
    """ "3 security updates are waiting" """
    number = story.waiting
    if number is None:
        return "the number of security updates is unknown"
    if number == 0:
        return "no security update is waiting"
    updates, one = counted(number, "security update"), number == 1
    if story.level == UNKNOWN:
        return f"{updates} {'was' if one else 'were'} waiting at the last scan"
    return f"{updates} {'is' if one else 'are'} waiting"


# --- facts ------------------------------------------------------------------------------------------


def facts(story: Story) -> Iterable[tuple[str, str]]:
    """Every row that could be shown; those without a value are left out."""
    if story.data.get("webhook"):
        return (("Reason", plain(story.data["webhook"].get("reason"), ERROR)),)
    if story.digest or not (story.scan or story.changes or story.data.get("host")):
        return ()
    return (
        ("Status", story.level.label),
        ("Security updates", security_updates(story)),
        ("Fix first", fix_first(story)),
        ("Error", plain(story.scan.get("error"), ERROR)),
        ("Next step", plain(story.scan.get("next_step"), TEXT)),
        ("Before", before(story) if story.scan.get("state") == "failed" else ""),
        ("Not read", several(story.scan.get("gaps") or (), 3, "; ", TEXT)),
        ("Oldest", oldest(story)),
        ("Reboot", reboot(story)),
        ("Scanned", scanned(story) if story.type.endswith("_stale") else ""),
        ("Tags", several((story.data.get("host") or {}).get("tags") or (), 10, ", ")),
    )


def fix_first(story: Story) -> str:
    """ "openssl: CVE-2026-1111 is known to be exploited (CISA, since 3 Nov 2026)." """
    first = story.data.get("fix_first") or {}
    parts = (plain(first.get("name"), NAME), plain(first.get("reason"), TEXT))
    return ": ".join(part for part in parts if part)


def security_updates(story: Story) -> str:
    """ "23 (3 new, 1 fixed)" """
    if story.waiting is None:
        return "unknown"
    if story.level == UNKNOWN:
        return f"{story.waiting} at the last scan"
    return f"{story.waiting}{difference(story.changes)}"


def difference(changes: Mapping[str, Any]) -> str:
    if not changes:
        return ""
    numbers = ((changes.get("new_security_updates"), "new"), (changes.get("fixed_security_updates"), "fixed"))
    if all(number is None for number, _ in numbers):
        return " (changes unknown)"
    parts = [f"{'unknown' if number is None else number} {word}" for number, word in numbers if number != 0]
    return f" ({', '.join(parts)})" if parts else ""


def before(story: Story) -> str:
    """What was known before a scan that failed: how bad it may be now."""
    previous, level = story.changes.get("previous_scan"), story.level_before
    if not previous or not level:
        return ""
    updates = counted(story.changes.get("previous_security_updates"), "security update")
    return f"{level.label}, {updates}, {moment(previous.get('scan_date')) or 'date unknown'}"


def oldest(story: Story) -> str:
    """ "openssl, waiting since 22 Nov 2026, 14:03 UTC" """
    row = story.data.get("oldest_security_update")
    return f"{plain(row.get('name'), NAME)}, waiting since {moment(row.get('since')) or 'unknown'}" if row else ""


def reboot(story: Story) -> str:
    """Silence means that none is needed; of a scan that says nothing, it is unknown."""
    if story.scan.get("state") not in ("completed", "partial") or story.scan.get("reboot_required") is False:
        return ""
    if story.scan.get("reboot_required") is None:
        return "unknown"
    reason = plain(story.scan.get("reboot_reason"), TEXT)
    return f"required: {reason}" if reason else "required"


def scanned(story: Story) -> str:
    date, metadata = moment(story.scan.get("scan_date")), moment(story.scan.get("metadata_date"))
    return f"{date or 'unknown'}, with package lists of {metadata or 'an unknown date'}"


# --- lines ------------------------------------------------------------------------------------------


def package_lines(story: Story) -> list[str]:
    """What appeared, the worst first, then what is fixed."""
    if late := story.data.get("late"):
        return capped([package_line(row, repeated(late)) for row in late], PACKAGES, story.data.get("late_more") or 0)
    appeared, resolved = (story.changes.get(name) or () for name in ("appeared", "resolved"))
    if story.type.endswith("_resolved"):
        appeared = ()
    elif story.type.endswith(("_appeared", "_failed", "_stale")):
        resolved = ()
    ambiguous = repeated([*appeared, *resolved])
    lines = [package_line(row, ambiguous) for row in appeared]
    lines += [f"{package_name(row, ambiguous)}: fixed" for row in resolved]
    more = story.changes.get("more") or {}
    unlisted = (more.get("appeared") or 0 if appeared else 0) + (more.get("resolved") or 0 if resolved else 0)
    return capped(lines, PACKAGES, unlisted)


def package_line(row: Mapping[str, Any], ambiguous: set[str]) -> str:
    """ "openssl 3.0.1 → 3.0.2 (critical, CVE-2026-1111 and 2 more)" """
    installed, available = (plain(row.get(f"{word}_version"), VERSION) for word in ("installed", "available"))
    versions = " → ".join(version for version in (installed, available) if version)
    cves = several(row.get("cves") or (), 1, "")
    why = ", ".join(part for part in (plain(row.get("severity"), VERSION).lower(), cves) if part)
    return " ".join(part for part in (package_name(row, ambiguous), versions, f"({why})" if why else "") if part)


def package_name(row: Mapping[str, Any], ambiguous: set[str]) -> str:
    name, architecture = plain(row.get("name"), NAME), plain(row.get("architecture"), VERSION)
    return f"{name} [{architecture}]" if name in ambiguous and architecture else name


def repeated(rows: Iterable[Mapping[str, Any]]) -> set[str]:
    """Names that are there for more than one architecture."""
    names = [plain(row.get("name"), NAME) for row in rows]
    return {name for name in names if names.count(name) > 1}


def host_lines(story: Story) -> list[str]:
    worst_first = sorted(story.hosts, key=lambda host: LEVELS.index(level_of(host)))
    return capped([host_line(host) for host in worst_first], HOSTS, story.digest.get("more") or 0)


def host_line(host: Mapping[str, Any]) -> str:
    """ "web-1: High Risk, 23 security updates (3 new, 1 fixed)" """
    level = level_of(host)
    updates = counted(waiting_of(host, level), "security update")
    return f"{plain(host.get('name'), NAME)}: {level.label}, {updates}{difference(host)}"


# --- small words ------------------------------------------------------------------------------------


def counted(number: int | None, thing: str) -> str:
    """ "1 host", "2 hosts", "no hosts"; unknown is never zero: "unknown hosts"."""
    if number is None:
        return f"unknown {thing}s"
    return f"{number or 'no'} {thing}{'' if number == 1 else 's'}"


def several(values: Iterable[Any], limit: int, separator: str, longest: int = NAME) -> str:
    """ "a, b and 3 more" """
    texts = [plain(value, longest) for value in values]
    more = f" and {len(texts) - limit} more" if len(texts) > limit else ""
    return separator.join(texts[:limit]) + more


def capped(lines: Sequence[str], limit: int, unlisted: int) -> list[str]:
    more = len(lines) - limit + unlisted if len(lines) > limit else unlisted
    return [*lines[:limit], *([f"and {more} more"] if more else [])]


def moment(text: Any) -> str:
    """ "22 Nov 2026, 14:03 UTC" of "2026-11-22T14:03:00Z"; empty if it is no date."""
    try:
        date = datetime.fromisoformat(str(text)).astimezone(UTC)
    except (ValueError, OverflowError):
        return ""
    return f"{date.day} {date:%b %Y, %H:%M} UTC"
