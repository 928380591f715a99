"""docs/webhooks.md says what is true."""

import re
from pathlib import Path

from scanner.models import Webhook
from scanner.webhooks import retrying
from scanner.webhooks.channels import CHANNELS
from scanner.webhooks.events import DIGEST, EVENT_TYPES
from scanner.webhooks.fields import CONSTANTS, FIELDS, PACKAGE_FIELDS

PAGE = (Path(__file__).resolve().parents[2] / "docs/webhooks.md").read_text()


def test_every_event_is_documented() -> None:
    documented = re.findall(r"^\| `(security\.\w+)` \|", PAGE, re.MULTILINE)
    assert documented == [*(name for name, _ in EVENT_TYPES), DIGEST]


def test_every_field_of_a_filter_is_documented_with_its_type() -> None:
    section = PAGE.partition("## Filters")[2].partition("\n## ")[0]
    documented = re.findall(r"^\| `([\w.]+)` \| ([a-z ]+) \| (.+) \|$", section, re.MULTILINE)
    assert documented == [(field.name, field.type, field.words) for field in FIELDS]
    for name in (*CONSTANTS, *PACKAGE_FIELDS):
        assert f"`{name}`" in PAGE


def test_every_kind_is_a_channel_and_documented() -> None:
    assert {channel.kind for channel in CHANNELS} == set(Webhook.Kind.values)
    for kind in Webhook.Kind.values:
        assert f"| `{kind}` |" in PAGE


def test_the_documented_retries_are_the_true_ones() -> None:
    assert "after 5 s, 5 min, 30 min, 2, 5, 10, 14, 20 and 24 h" in PAGE
    assert retrying.FOR_PROGRAMS == (5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400)
    assert retrying.FOR_PEOPLE == (10, 60, 300, 1800, 7200, 21600)
