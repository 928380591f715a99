"""The form of a webhook. What it means is checked where the API has it checked, too: scanner.webhooks.editing."""

from collections.abc import Mapping
from typing import Any

from django import forms
from django.utils import timezone

from scanner.models import Webhook
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
