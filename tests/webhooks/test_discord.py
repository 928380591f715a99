"""Discord: its structure, its limits, and that nobody is pinged by a package's name."""

import json
import re
from typing import Any

import pytest

from scanner.webhooks.discord import Discord
from scanner.webhooks.interface import Answer
from tests.webhooks.sample_events import changes as changes_of
from tests.webhooks.sample_events import digest_event, disabled_event, event, every_type, monstrous_event, package

DISCORD = Discord()
URL = "https://discord.com/api/webhooks/1/s3cret"


def embed(made: dict[str, Any]) -> dict[str, Any]:
    return dict(json.loads(DISCORD.body(made))["embeds"][0])


def test_a_message_is_one_embed_with_a_colour_and_pings_nobody() -> None:
    payload = json.loads(DISCORD.body(event()))
    assert payload["allowed_mentions"] == {"parse": []}
    assert len(payload["embeds"]) == 1
    found = payload["embeds"][0]
    assert found["title"] == "web-1: 3 new security updates"
    assert found["url"] == "https://scanner.example.org/scans/7/"
    assert found["color"] == 0xB91319
    assert {"name": "Status", "value": "High Risk", "inline": True} in found["fields"]
    assert "curl 3.0.1 → 3.0.2 \\(critical, CVE-2026-1111\\)" in found["description"].splitlines()


def test_the_colour_follows_the_level() -> None:
    labels = ("High Risk", "Medium Risk", "Low Risk", "Secure", "Unknown")
    assert len({embed(event(status_label=label))["color"] for label in labels}) == len(labels)


def test_a_message_without_an_address_has_no_link() -> None:
    made = disabled_event()
    del made["data"]["webhook"]["url"]
    assert "url" not in embed(made)


@pytest.mark.parametrize("made", [*every_type(), monstrous_event(), digest_event(50, 9)])
def test_no_message_is_too_large_or_has_an_empty_text(made: dict[str, Any]) -> None:
    found = embed(made)
    sizes = [
        (1, len(found["title"]), 256),
        (1, len(found["description"]), 4096),
        (1, len(found["footer"]["text"]), 2048),
    ]
    sizes += [(1, len(field["name"]), 256) for field in found["fields"]]
    sizes += [(1, len(field["value"]), 1024) for field in found["fields"]]
    assert all(least <= size <= most for least, size, most in sizes)
    assert len(found["fields"]) <= 25
    assert sum(size for _, size, _ in sizes) <= 6000


def test_markdown_is_escaped_and_mentions_are_broken() -> None:
    name = "@everyone *a* _b_ ~c~ `d` ||e|| [f](https://evil.example) <@1>"
    line = embed(event(changes=changes_of(appeared=[package(name)])))["description"].splitlines()[1]
    assert "@everyone" not in line
    for character in "*_~`|[]<>":
        assert not re.search(rf"(?<!\\){re.escape(character)}", line)


def test_what_is_shown_has_no_token() -> None:
    assert DISCORD.clean({"url": URL}, ()) == {"url": URL}
    assert DISCORD.shown({"url": URL}) == "https://discord.com/…"


def test_a_deleted_webhook_is_explained_and_final() -> None:
    body = '{"message": "Unknown Webhook", "code": 10015}'
    answer = DISCORD.verdict(Answer(False, "http", "HTTP 404", status=404, body=body))
    assert (answer.ok, answer.error, answer.final) == (False, "http", True)
    assert "deleted" in answer.words


@pytest.mark.parametrize("body", ["", "[]", "<html>", '{"code": "x"}', '{"message": "x", "code": 50035}'])
def test_other_failures_stay_as_they_are(body: str) -> None:
    answer = Answer(False, "http", "HTTP 400", status=400, body=body)
    assert DISCORD.verdict(answer) is answer


def test_a_success_needs_no_text() -> None:
    answer = Answer(True, status=204)
    assert DISCORD.verdict(answer) is answer
