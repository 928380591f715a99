"""Teams: its structure, its limits, and errors that come with a 200."""

import json
import re
from typing import Any

import pytest

from scanner.webhooks.interface import Answer
from scanner.webhooks.teams import Teams
from tests.webhooks.sample_events import changes as changes_of
from tests.webhooks.sample_events import digest_event, disabled_event, event, every_type, monstrous_event, package

TEAMS = Teams()
URL = "https://prod-1.westeurope.logic.azure.com/workflows/x/triggers/manual/paths/invoke?sig=s3cret"
HIDDEN_429 = (
    "Webhook message delivery failed with error: Microsoft Teams endpoint returned HTTP error 429 with ContextId "
    "tcid=0,server=msgapi,cv=x.."
)


def card(made: dict[str, Any]) -> dict[str, Any]:
    return dict(json.loads(TEAMS.body(made))["attachments"][0]["content"])


def texts(found: dict[str, Any]) -> list[str]:
    facts = [fact["value"] for element in found["body"] for fact in element.get("facts", [])]
    return [element["text"] for element in found["body"] if "text" in element] + facts


def test_a_message_is_an_adaptive_card_in_the_envelope_that_workflows_read() -> None:
    payload = json.loads(TEAMS.body(event()))
    assert payload["type"] == "message"
    (attachment,) = payload["attachments"]
    assert attachment["contentType"] == "application/vnd.microsoft.card.adaptive"
    content = attachment["content"]
    assert (content["type"], content["version"]) == ("AdaptiveCard", "1.4")
    title, sentence, facts, first, *_ = content["body"]
    assert (title["text"], title["color"]) == ("web-1: 3 new security updates", "Attention")
    assert sentence["text"].startswith("web-1 has 3 new security updates.")
    assert {"title": "Security updates", "value": "23 \\(3 new, 1 fixed\\)"} in facts["facts"]
    assert first["text"] == "openssl 3.0.1 → 3.0.2 \\(critical, CVE-2026-1111\\)"
    assert content["actions"] == [
        {"type": "Action.OpenUrl", "title": "Open the scan", "url": "https://scanner.example.org/scans/7/"}
    ]
    assert all(element["wrap"] for element in content["body"] if element["type"] == "TextBlock")


def test_a_message_without_an_address_has_no_button() -> None:
    made = disabled_event()
    del made["data"]["webhook"]["url"]
    assert card(made)["actions"] == []


@pytest.mark.parametrize("made", [*every_type(), monstrous_event(), digest_event(50, 9)])
def test_no_message_is_too_large_or_has_an_empty_text(made: dict[str, Any]) -> None:
    assert len(TEAMS.body(made).encode()) <= 28_000
    assert all(texts(card(made)))


def test_markdown_is_escaped() -> None:
    name = "*a* _b_ ~c~ `d` [e](https://evil.example) # f"
    found = card(event(changes=changes_of(appeared=[package(name)])))
    line = next(text for text in texts(found) if "evil" in text)
    for character in "*_~`[]()#":
        assert not re.search(rf"(?<!\\){re.escape(character)}", line)


@pytest.mark.parametrize("error", ["- no list", "+ no list", "1. no list", "12) no list"])
def test_a_text_does_not_become_a_list(error: str) -> None:
    made = event("package_scan_failed", scan={"state": "failed", "error": error})
    (value,) = (text for text in texts(card(made)) if text.endswith("no list"))
    assert value.startswith("\u200b")


def test_what_is_shown_has_no_signature() -> None:
    assert TEAMS.clean({"url": URL}, ()) == {"url": URL}
    assert TEAMS.shown({"url": URL}) == "https://prod-1.westeurope.logic.azure.com/…"


@pytest.mark.parametrize(("status", "body"), [(202, ""), (200, "1")])
def test_what_workflows_and_connectors_say_on_success_is_a_success(status: int, body: str) -> None:
    answer = Answer(True, status=status, body=body)
    assert TEAMS.verdict(answer) is answer


@pytest.mark.parametrize(
    ("body", "final"),
    [(HIDDEN_429, False), (HIDDEN_429.replace("429", "413"), True), (HIDDEN_429.replace("429", "503"), False)],
)
def test_an_error_within_a_200_is_a_failure(body: str, final: bool) -> None:
    answer = TEAMS.verdict(Answer(True, status=200, body=body))
    assert (answer.ok, answer.error, answer.final) == (False, "service", final)
    assert "delivery failed" in answer.words


def test_a_failure_stays_one() -> None:
    answer = Answer(False, "http", "HTTP 500", status=500, body=HIDDEN_429)
    assert TEAMS.verdict(answer) is answer
