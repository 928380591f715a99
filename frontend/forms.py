"""Forms: of a webhook and a schedule, which are checked where the API has them checked, too (scanner.webhooks.editing,
scanner.periodic); of a risk."""

import re
from collections.abc import Iterable, Mapping
from datetime import date, timedelta
from difflib import get_close_matches
from typing import Any

from django import forms
from django.db.models import QuerySet
from django.utils import timezone
from django_celery_beat.models import PeriodicTask

from scanner import periodic
from scanner.models import AcceptedRisk, Host, Sight, Tag, Webhook
from scanner.models.finding import in_chunks
from scanner.webhooks import editing
from scanner.webhooks.channels import channel
from scanner.webhooks.events import EVENT_TYPES, SCAN_COMPLETED, SCAN_FAILED

ADDRESS_HINTS = {
    "standard": ("Address", "https://example.org/hooks/packages"),
    "slack": ("Incoming webhook's address", "https://hooks.slack.com/services/…"),
    "discord": ("Webhook's address", "https://discord.com/api/webhooks/…"),
    "teams": ("Workflow's address", "https://….logic.azure.com/workflows/…"),
    "other": ("Apprise address", "ntfys://ntfy.example.org/topic"),
}


NO_HEADERS = "-"


class WebhookForm(forms.Form):
    name = forms.CharField(max_length=100, help_text="What it is for, such as: on-call, production.")
    url = forms.CharField(required=False, max_length=2048)
    headers = forms.CharField(
        required=False,
        widget=forms.Textarea({"rows": 2, "placeholder": "Authorization: Bearer …"}),
        label="Headers of your own",
        help_text="One a line. They are never shown again: an empty field keeps them, a single - removes them.",
    )
    recipients = forms.CharField(
        required=False,
        widget=forms.Textarea({"rows": 2, "placeholder": "ops@example.org"}),
        help_text="Separated by commas or lines.",
    )
    events = forms.MultipleChoiceField(
        choices=EVENT_TYPES, required=False, widget=forms.CheckboxSelectMultiple, label="Events"
    )
    filter = forms.CharField(
        required=False,
        strip=True,
        widget=forms.Textarea({"rows": 3, "spellcheck": "false", "autocomplete": "off", "autocapitalize": "off"}),
    )
    trigger = forms.ChoiceField(choices=Webhook.Trigger.choices, widget=forms.RadioSelect, label="Send it")
    repeat_hours = forms.IntegerField(
        required=False, min_value=1, max_value=editing.LONGEST_REPEAT, label="Say it again after so many hours"
    )
    quiet_from = forms.TimeField(required=False, widget=forms.TimeInput({"type": "time"}), label="Quiet from")
    quiet_to = forms.TimeField(required=False, widget=forms.TimeInput({"type": "time"}), label="until")
    muted_until = forms.DateTimeField(
        required=False, widget=forms.DateTimeInput({"type": "datetime-local"}, "%Y-%m-%dT%H:%M"), label="Muted until"
    )
    digest = forms.ChoiceField(choices=Webhook.Digest.choices, label="Collect messages and send them")
    rate_per_minute = forms.IntegerField(
        min_value=1, max_value=editing.MOST_A_MINUTE, label="Deliveries a minute, at most"
    )
    skip_stale = forms.BooleanField(required=False, label="Drop a retry once a newer event of its kind was delivered")

    def __init__(self, kind: str, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.kind = kind
        for name in ("url", "headers", "recipients"):
            if name not in channel(kind).takes:
                del self.fields[name]
        if "url" in self.fields:
            label, example = ADDRESS_HINTS[kind]
            self.fields["url"].label = label
            self.fields["url"].widget.attrs |= {"placeholder": example, "autocomplete": "off", "spellcheck": "false"}
        for name, field in self.fields.items():
            if field.help_text:
                field.widget.attrs["aria-describedby"] = f"id_{name}_helptext"

    @property
    def wishes(self) -> dict[str, Any]:
        """The cleaned values, as editing takes them."""
        wishes = dict(self.cleaned_data)
        if not wishes.get("headers", NO_HEADERS):
            del wishes["headers"]  # those that are kept are not shown: an empty field leaves them as they are
        elif "headers" in wishes:
            wishes["headers"] = read_headers(wishes["headers"])
        if "recipients" in wishes:
            wishes["recipients"] = [each for each in wishes["recipients"].replace(",", " ").split() if each]
        return wishes

    def clean_headers(self) -> str:
        text: str = self.cleaned_data["headers"]
        for line in text.splitlines():
            if line.strip() not in ("", NO_HEADERS) and ":" not in line:
                raise forms.ValidationError("One header a line, with a colon: Authorization: Bearer …")
        return text

    def show(self, problems: list[editing.Problem]) -> None:
        for problem in problems:
            self.add_error(problem.field if problem.field in self.fields else None, problem.message)


def read_headers(text: str) -> dict[str, str]:
    """From lines like "Authorization: Bearer …"."""
    pairs = (line.partition(":") for line in text.splitlines() if line.strip() not in ("", NO_HEADERS))
    return {name.strip(): value.strip() for name, _, value in pairs}


def first_values(webhook: Webhook) -> Mapping[str, Any]:
    """What the form shows at first; what is secret stays empty."""
    if webhook.pk is None:
        people = webhook.channel.for_people
        events = [SCAN_COMPLETED, SCAN_FAILED] if people else [name for name, _ in EVENT_TYPES]
        trigger = Webhook.Trigger.CHANGE if people else Webhook.Trigger.EVERY
        fresh = {"events": events, "trigger": trigger}
    else:
        fresh = {"events": webhook.events or [name for name, _ in EVENT_TYPES]}
        if webhook.kind == Webhook.Kind.EMAIL:
            fresh["recipients"] = webhook.shown_target
    muted = webhook.muted_until if webhook.muted_until and webhook.muted_until > timezone.now() else None
    return {name: getattr(webhook, name) for name in editing.PLAIN} | {"muted_until": muted} | fresh


# --- accepted risks ---------------------------------------------------------------------------------

EVERYWHERE, HOSTS, TAGS = "everywhere", "hosts", "tags"
PLACES = [
    (EVERYWHERE, "Everywhere, also on hosts to come"),
    (HOSTS, "On some hosts"),
    (TAGS, "On all hosts with a tag"),
]
MAY_NAME = "Those that decide what you see may be named, and no others: "
USUAL_DAYS, MOST_DAYS = 30, 365
LONGEST_REASON = 2000  # characters
CVE = re.compile(r"CVE-\d{4}-\d{4,}", re.ASCII | re.IGNORECASE)
# TEMP-0517018-A83CE6, ALSA-2026:1234, openSUSE-SU-2024:0123-1
ADVISORY = re.compile(r"[A-Za-z][\w.:+]*-[\w.:+-]*\d[\w.:+-]*", re.ASCII)
PACKAGE = re.compile(r"[^\s,;<>/]+")
BETWEEN_HOSTS, BETWEEN_TAGS = re.compile(r"[,\n]"), re.compile(r"[,\s]")  # a host's name may have spaces
SOME = 3  # wrong names that are named


class RiskForm(forms.Form):
    cve = forms.CharField(
        required=False,
        max_length=30,
        label="CVE",
        help_text="Or the id of an advisory that names no CVE.",
        widget=forms.TextInput({"placeholder": "CVE-2026-1234", "autocomplete": "off", "spellcheck": "false"}),
    )
    package = forms.CharField(
        required=False,
        max_length=255,
        help_text="With a CVE: only in this package. Alone: all that is open in it, also what is found later.",
        widget=forms.TextInput({"placeholder": "openssl", "autocomplete": "off", "spellcheck": "false"}),
    )
    where = forms.ChoiceField(choices=PLACES, widget=forms.RadioSelect, label="Where")
    hosts = forms.CharField(
        required=False,
        widget=forms.Textarea({"rows": 2, "autocomplete": "off", "spellcheck": "false", "autocapitalize": "off"}),
        help_text="Names, separated by commas or lines.",
    )
    tags = forms.CharField(
        required=False,
        widget=forms.TextInput({"autocomplete": "off", "spellcheck": "false", "autocapitalize": "off"}),
        help_text="Separated by commas or spaces. Hosts that get the tag later are meant, too.",
    )
    reason = forms.CharField(
        widget=forms.Textarea({"rows": 4, "maxlength": LONGEST_REASON}),
        help_text="Why one can live with it for a while. It is shown wherever the risk is.",
    )
    until = forms.DateField(
        widget=forms.DateInput({"type": "date"}, "%Y-%m-%d"),
        label="Until",
        help_text="The last day on which it holds, at most a year ahead.",
        error_messages={"invalid": "A date is like 2026-12-31."},
    )

    def __init__(self, own: Sight, *args: Any, **kwargs: Any) -> None:
        """`own`: what its user sees, and may decide about."""
        super().__init__(*args, **kwargs)
        self.own = own
        if own.tags is not None:
            where = self.fields["where"]
            where.choices = PLACES[1:]  # type: ignore[attr-defined]
            where.error_messages["invalid_choice"] = "You do not see all hosts, so choose some, or a tag."
            self.fields["tags"].help_text = f"{MAY_NAME}{', '.join(own.names) or 'none'}."
        today = timezone.localdate()
        self.fields["until"].widget.attrs |= {"min": today.isoformat(), "max": last_day(today).isoformat()}

    def clean_cve(self) -> str:
        text: str = self.cleaned_data["cve"]
        if CVE.fullmatch(text):
            return text.upper()
        if text and not ADVISORY.fullmatch(text):
            raise forms.ValidationError("An id is like CVE-2026-1234, TEMP-0517018-A83CE6 or ALSA-2026:1234.")
        return text

    def clean_package(self) -> str:
        text: str = self.cleaned_data["package"]
        if text and not PACKAGE.fullmatch(text):
            raise forms.ValidationError("This is the name of one package, such as openssl.")
        return text

    def clean_hosts(self) -> list[Host]:
        if not self.is_for(HOSTS):
            return []
        return chosen(Host.objects.seen_by(self.own), BETWEEN_HOSTS.split(self.cleaned_data["hosts"]))

    def clean_tags(self) -> list[Tag]:
        if not self.is_for(TAGS):
            return []
        names = [name for name in BETWEEN_TAGS.split(self.cleaned_data["tags"]) if name]
        if self.own.limited and not set(names) <= set(self.own.names):
            raise forms.ValidationError(str(self.fields["tags"].help_text))
        return chosen(Tag.objects.all(), names)

    def is_for(self, place: str) -> bool:
        """What is typed for another place is kept, and left alone."""
        return self.cleaned_data.get("where") == place

    def clean_reason(self) -> str:
        text = str(self.cleaned_data["reason"]).replace("\r\n", "\n")  # a browser counts a line's end as one
        if len(text) > LONGEST_REASON:
            raise forms.ValidationError(f"It has {len(text):,} characters; {LONGEST_REASON:,} are the most.")
        return text

    def clean_until(self) -> date:
        day: date = self.cleaned_data["until"]
        today = timezone.localdate()
        if day < today:
            raise forms.ValidationError("This day is over.")
        if day > last_day(today):
            raise forms.ValidationError(f"At most a year ahead: until {last_day(today):%Y-%m-%d}.")
        return day

    def clean(self) -> dict[str, Any]:
        cleaned = self.cleaned_data
        if not any(cleaned.get(name) or name in self.errors for name in ("cve", "package")):
            self.add_error("cve", "Name a CVE, a package, or both.")
        return cleaned


def last_day(today: date) -> date:
    return today + timedelta(days=MOST_DAYS)


def chosen(known: QuerySet[Any], texts: Iterable[str]) -> list[Any]:
    """The rows of these names, in their order. Raises ValidationError, naming those that are not there."""
    names = list(dict.fromkeys(name for name in map(str.strip, texts) if name))
    kind = known.model._meta.verbose_name
    if not names:
        raise forms.ValidationError(f"Name at least one {kind}.")
    found = {row.name: row for some in in_chunks(names) for row in known.filter(name__in=some)}
    if unknown := [name for name in names if name not in found]:
        raise forms.ValidationError(not_there(kind, unknown, list(known.values_list("name", flat=True))))
    return [found[name] for name in names]


def not_there(kind: Any, unknown: list[str], known: list[str]) -> str:
    words = [f"There is no {kind} {name}{hint(name, known)}." for name in unknown[:SOME]]
    if len(unknown) > SOME:
        words.append(f"And {len(unknown) - SOME} more are not there.")
    return " ".join(words)


def hint(name: str, known: list[str]) -> str:
    near = get_close_matches(name, known, 1)
    return f" (is it {near[0]}?)" if near else ""


def risk_values(risk: AcceptedRisk) -> dict[str, Any]:
    """What the form shows at first where a risk is accepted once more; it begins with a new date."""
    hosts, tags = (", ".join(row.name for row in rows.all()) for rows in (risk.hosts, risk.tags))
    where = EVERYWHERE if risk.everywhere else TAGS if tags and not hosts else HOSTS
    return {
        "cve": risk.cve,
        "package": risk.package,
        "where": where,
        "hosts": hosts,
        "tags": tags,
        "reason": risk.reason,
    }


# --- schedules --------------------------------------------------------------------------------------

KIND_LABELS = [
    ("hourly", "Hourly"),
    ("daily", "Daily"),
    ("weekly", "Weekly"),
    ("monthly", "Monthly"),
    ("cron", "By a cron expression"),
]
ALL = "all"


class ScheduleForm(forms.Form):
    name = forms.CharField(max_length=periodic.LONGEST_NAME, help_text="What it is for, such as: production, nightly.")
    kind = forms.ChoiceField(choices=KIND_LABELS, widget=forms.RadioSelect, label="How often")
    minute = forms.IntegerField(required=False, min_value=0, max_value=59, label="At minute")
    time = forms.TimeField(
        required=False,
        input_formats=["%H:%M", "%H:%M:%S"],
        widget=forms.TimeInput({"type": "time"}, "%H:%M"),
        label="At",
        error_messages={"invalid": "A time is like 02:00."},
    )
    days = forms.MultipleChoiceField(
        choices=list(periodic.DAY_NAMES.items()), required=False, widget=forms.CheckboxSelectMultiple, label="On"
    )
    day_of_month = forms.IntegerField(
        required=False,
        min_value=1,
        max_value=31,
        label="On day",
        help_text="A month without that day is left out: the 31st comes seven times a year, the 29th not in every "
        "February.",
    )
    cron = forms.CharField(
        required=False,
        max_length=500,
        label="Cron expression",
        widget=forms.TextInput(
            {"class": "mono", "placeholder": "30 2 * * 1-5", "autocomplete": "off", "spellcheck": "false"}
        ),
        help_text="Minute, hour, day of the month, month, day of the week. If both days are given, both must fit.",
    )
    time_zone = forms.ChoiceField(label="Time zone")
    where = forms.ChoiceField(
        choices=[(ALL, "All hosts that periodic scans include"), (TAGS, "Those with one of some tags")],
        widget=forms.RadioSelect,
        label="Which hosts",
    )
    tags = forms.CharField(
        required=False,
        widget=forms.TextInput({"autocomplete": "off", "spellcheck": "false", "autocapitalize": "off"}),
        help_text="Separated by commas or spaces. Hosts that get the tag later are meant, too.",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["time_zone"].choices = [(zone, zone) for zone in periodic.zones()]  # type: ignore[attr-defined]
        for name, field in self.fields.items():
            if field.help_text:
                field.widget.attrs["aria-describedby"] = f"id_{name}_helptext"

    def clean_tags(self) -> list[str]:
        if self.cleaned_data.get("where") != TAGS:
            return []  # what is typed for another choice is kept, and left alone
        return [tag.name for tag in chosen(Tag.objects.all(), BETWEEN_TAGS.split(self.cleaned_data["tags"]))]

    @property
    def wishes(self) -> dict[str, Any]:
        """The cleaned values, as periodic takes them."""
        said = self.cleaned_data
        time = said.get("time")
        return said | {"time": time and f"{time:%H:%M}", "tags": said.get("tags") or []}

    def is_about(self, name: str) -> bool:
        """Whether a field belongs to the kind that is chosen: what is wrong in another one does not matter."""
        kind = str(self["kind"].value())
        return name not in OF_KINDS or kind in OF_KINDS[name]

    def full_clean(self) -> None:
        super().full_clean()
        for name in [name for name in self.errors if not self.is_about(name)]:
            self.errors.pop(name)

    def show(self, problems: list[editing.Problem]) -> None:
        for problem in problems:
            if problem.field not in self.errors:
                self.add_error(problem.field if problem.field in self.fields else None, problem.message)


OF_KINDS = {
    "minute": ("hourly",),
    "time": ("daily", "weekly", "monthly"),
    "days": ("weekly",),
    "day_of_month": ("monthly",),
    "cron": ("cron",),
}


def schedule_values(task: PeriodicTask) -> dict[str, Any]:
    """What the form shows at first."""
    fresh = {"kind": "daily", "time": "02:00", "minute": 0, "day_of_month": 1, "days": ["mon"]}
    fresh |= {"time_zone": periodic.default_zone(), "where": ALL}
    if task.pk is None:
        return fresh
    wishes = periodic.wishes_of(task)
    said = {name: value for name, value in wishes.items() if value is not None}
    return fresh | said | {"tags": ", ".join(wishes["tags"]), "where": TAGS if wishes["tags"] else ALL}
