"""Slack: its structure, its limits, and that nobody is pinged by a package's name."""

import json
import re
from dataclasses import replace
from typing import Any

import pytest

from scanner.webhooks.interface import Answer, BadTarget
from scanner.webhooks.slack import Slack
from tests.webhooks.sample_events import EVENT_ID, disabled_event, event, every_type, monstrous_event, package
from tests.webhooks.sample_events import changes as changes_of

SLACK = Slack()
URL = "https://hooks.slack.com/services/T000/B000/s3cret"
OK = Answer(True, status=200, body="ok")
LIMITS = {"header": 150, "section": 3000, "context": 2000}


def sent(made: dict[str, Any]) -> dict[str, Any]:
    return dict(json.loads(SLACK.body(made)))


def texts(payload: dict[str, Any]) -> list[dict[str, str]]:
    """Every text object of the blocks."""
    found = []
    for block in payload["blocks"]:
        found += [block["text"]] if "text" in block else []
        found += block.get("fields", []) + block.get("elements", [])
    return found


def test_a_message_has_header_sentence_facts_packages_and_a_link() -> None:
    payload = sent(event())
    header, sentence, facts, packages, link, footer = payload["blocks"]
    assert header == {
        "type": "header",
        "text": {"type": "plain_text", "text": "web-1: 3 new security updates", "emoji": False},
    }
    assert sentence["text"]["text"].startswith("web-1 has 3 new security updates.")
    assert facts["fields"][1] == {
        "type": "mrkdwn",
        "text": "*Security updates*\n23 (3 new, 1 fixed)",
        "verbatim": True,
    }
    assert "curl 3.0.1 → 3.0.2 (critical, CVE-2026-1111)" in packages["text"]["text"].splitlines()
    assert link["text"]["text"] == "<https://scanner.example.org/scans/7/|Open the scan>"
    assert EVENT_ID in footer["elements"][0]["text"]
    assert payload["link_names"] is False


def test_services_without_blocks_find_everything_in_the_text() -> None:
    lines = sent(event())["text"].splitlines()
    assert lines[0] == "*web-1: 3 new security updates*"
    assert "Security updates: 23 (3 new, 1 fixed)" in lines
    assert "Open the scan: https://scanner.example.org/scans/7/" in lines


@pytest.mark.parametrize("made", [*every_type(), monstrous_event()])
def test_no_message_is_too_large_or_has_an_empty_text(made: dict[str, Any]) -> None:
    payload = sent(made)
    assert 1 <= len(payload["blocks"]) <= 50
    assert 1 <= len(payload["text"]) <= 4000
    for block in payload["blocks"]:
        assert len(block.get("fields", [])) <= 10
        if "text" in block:
            assert 1 <= len(block["text"]["text"]) <= LIMITS[block["type"]]
        for text in block.get("fields", []) + block.get("elements", []):
            assert 1 <= len(text["text"]) <= 2000


def test_names_are_escaped_and_ping_nobody() -> None:
    name = "<!channel> @channel <@U012> & <https://evil.example|ok>"
    payload = sent(event(changes=changes_of(appeared=[package(name)])))
    for text in (payload["text"], payload["blocks"][3]["text"]["text"]):
        line = next(line for line in text.splitlines() if "evil" in line)
        assert "<" not in line
        assert "@channel" not in line
        assert "&lt;" in line
        assert "&amp;" in line


def test_only_our_own_link_is_markup() -> None:
    for text in texts(sent(monstrous_event())):
        if text["type"] == "mrkdwn":
            assert not re.search(r"<(?!https://scanner\.example\.org/)", text["text"])
    assert "actions" not in SLACK.body(disabled_event())


def test_any_https_address_is_taken_and_its_path_is_never_shown() -> None:
    assert SLACK.clean({"url": URL}, ()) == {"url": URL}
    assert SLACK.shown({"url": URL}) == "https://hooks.slack.com/…"
    assert SLACK.shown({"url": "https://chat.example.org:8443/hooks/x?y"}) == "https://chat.example.org:8443/…"
    with pytest.raises(BadTarget):
        SLACK.clean({"url": "http://hooks.slack.com/services/x"}, ())


def test_the_request_is_json_to_that_address() -> None:
    request = SLACK.request({"url": URL}, EVENT_ID, "{}", [], 1)
    assert (request.url, request.body) == (URL, b"{}")
    assert request.headers == (("Content-Type", "application/json"),)


@pytest.mark.parametrize("body", ["ok", "ok\n", "", '{"success":true}', '{"ok": true}'])
def test_what_means_yes_is_a_success(body: str) -> None:
    answer = replace(OK, body=body)
    assert SLACK.verdict(answer) is answer


@pytest.mark.parametrize("body", ["<html>Please log in</html>", '{"ok":false}', '{"success":false}', "[]", "no_text"])
def test_a_200_that_is_not_ok_is_a_failure(body: str) -> None:
    answer = SLACK.verdict(replace(OK, body=body))
    assert (answer.ok, answer.error, answer.final) == (False, "service", False)
    assert "instead of “ok”" in answer.words


def test_documented_refusals_are_explained_and_final() -> None:
    answer = SLACK.verdict(Answer(False, "http", "HTTP 404", status=404, body="no_service"))
    assert (answer.ok, answer.error, answer.final, answer.status) == (False, "http", True, 404)
    assert "Create a new one" in answer.words
    other = Answer(False, "http", "HTTP 500", status=500, body="rollup_error")
    assert SLACK.verdict(other) is other
