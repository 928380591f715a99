"""Slack: an incoming webhook, with Block Kit. Also for Mattermost and Rocket.Chat, which show the plain `text`.

https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks
https://docs.slack.dev/reference/block-kit/blocks (the limits), https://docs.slack.dev/messaging/formatting-message-text
"""

import json
import re
from collections.abc import Iterator
from typing import Any

from scanner.webhooks.chat import ChatChannel, compact, refused, said
from scanner.webhooks.harmless import fitted, without_mentions
from scanner.webhooks.interface import Answer, Event
from scanner.webhooks.wording import Message, as_text, message

HEADER, SECTION, FIELD = 150, 3000, 2000  # characters
FIELDS = 10  # a section
FALLBACK = 3500  # characters: Slack advises 4,000, and Mattermost breaks a longer one up

ESCAPES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})  # the only three there are
URL_ESCAPES = str.maketrans({"&": "&amp;", "<": "%3C", ">": "%3E", "|": "%7C"})

KNOWN = {  # what it answers with a 4xx to somebody who sends again in vain
    "invalid_token": "Slack does not know this webhook. Create a new one there.",
    "no_service": "This webhook was removed or switched off in Slack. Create a new one there.",
    "no_team": "Slack does not know the workspace of this webhook.",
    "team_disabled": "The workspace of this webhook is no longer active.",
    "channel_not_found": "The channel of this webhook does not exist any more.",
    "channel_is_archived": "The channel of this webhook is archived.",
    "action_prohibited": "An administrator of the Slack workspace does not let this webhook post.",
    "posting_to_general_channel_denied": "This webhook may not post to the #general channel.",
    "invalid_payload": "Slack does not understand the message. Is this the address of an incoming webhook?",
}


class Slack(ChatChannel):
    kind = "slack"
    label = "Slack"

    def body(self, event: Event) -> str:
        told = message(event)
        return compact(
            {
                "text": fallback(told),
                "blocks": list(blocks(told)),
                "link_names": False,  # "@channel" stays text
                "unfurl_links": False,
                "unfurl_media": False,
            }
        )

    def verdict(self, answer: Answer) -> Answer:
        """A 200 with anything but "ok" comes from something that is no incoming webhook: a login page, say."""
        if not answer.ok:
            words = next((words for code, words in KNOWN.items() if code in answer.body), None)
            return refused(answer, words, final=True) if words else answer
        if accepted(answer.body):
            return answer
        return refused(answer, f"It answered “{said(answer)}” instead of “ok”: nobody may have seen it.", final=False)


def accepted(body: str) -> bool:
    """Slack and Mattermost: ok; Rocket.Chat: {"success": true}; some gateways: nothing."""
    if body.strip() in ("", "ok"):
        return True
    try:
        answer = json.loads(body)
    except ValueError:
        return False
    return isinstance(answer, dict) and (answer.get("ok") is True or answer.get("success") is True)


def blocks(told: Message) -> Iterator[dict[str, Any]]:
    """Text from outside goes into plain_text where it can: nothing in there is formatted, linked or a mention."""
    yield {"type": "header", "text": plain_text(told.title, HEADER)}
    yield {"type": "section", "text": plain_text(told.sentence, SECTION)}
    if told.facts:
        yield {"type": "section", "fields": [field(label, value) for label, value in told.facts[:FIELDS]]}
    if told.lines:
        yield {"type": "section", "text": plain_text("\n".join(told.lines), SECTION)}
    if told.link:
        yield {"type": "section", "text": {"type": "mrkdwn", "text": link(told)}}
    if told.footer:
        yield {"type": "context", "elements": [plain_text(told.footer, FIELD)]}


def plain_text(text: str, limit: int) -> dict[str, Any]:
    return {"type": "plain_text", "text": escaped(text, limit), "emoji": False}


def field(label: str, value: str) -> dict[str, Any]:
    text = f"*{label}*\n{escaped(value, FIELD - len(label) - 3)}"
    return {"type": "mrkdwn", "text": text, "verbatim": True}  # verbatim: finds no links and no names in it


def link(told: Message) -> str:
    return f"<{told.link.translate(URL_ESCAPES)}|{escaped(told.link_label, HEADER)}>"


def fallback(told: Message) -> str:
    """For notifications, and for the services that know no blocks."""
    text = escaped(f"{told.title}\n{as_text(told)}", FALLBACK)
    return re.sub(r"^.*\n", lambda first: f"*{first[0].rstrip()}*\n", text, count=1)


def escaped(text: str, limit: int) -> str:
    return fitted(without_mentions(text), limit, ESCAPES)
