"""What Slack, Discord and Teams have in common: JSON to one URL, and whoever knows the URL may write there."""

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from scanner.webhooks.addresses import check_url
from scanner.webhooks.harmless import plain
from scanner.webhooks.interface import Answer, HttpChannel, Request, Target

JSON = ("Content-Type", "application/json")
SHOWN_ANSWER = 100  # characters


class ChatChannel(HttpChannel):
    """Takes any HTTPS address: Mattermost, Rocket.Chat and others accept the same messages."""

    def clean(self, target: Target, networks: Sequence[Any]) -> dict[str, Any]:
        return {"url": check_url(str(target.get("url") or ""), networks)}

    def shown(self, target: Target) -> str:
        """ "https://hooks.slack.com/…": the rest is the secret"""
        url = urlsplit(str(target.get("url") or ""))
        return f"{url.scheme}://{url.netloc.rpartition('@')[2]}/…"

    def request(self, target: Target, event_id: str, body: str, secrets: Sequence[str], at: int) -> Request:
        return Request(str(target["url"]), body.encode(), (JSON,))


def compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def refused(answer: Answer, words: str, final: bool) -> Answer:
    """The answer as a failure that the service has explained. An HTTP error stays one."""
    return replace(answer, ok=False, error=answer.error or "service", words=words, final=answer.final or final)


def said(answer: Answer) -> str:
    return plain(answer.body, SHOWN_ANSWER) or "nothing"
