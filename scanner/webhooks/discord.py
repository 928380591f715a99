"""Discord: a webhook with an embed. https://docs.discord.com/developers/resources/webhook#execute-webhook

The limits: https://docs.discord.com/developers/resources/message#embed-object-embed-limits
"""

import json
from collections.abc import Sequence
from typing import Any

from scanner.webhooks.chat import ChatChannel, compact, refused
from scanner.webhooks.harmless import fitted, without_mentions
from scanner.webhooks.interface import Answer, Event
from scanner.webhooks.wording import Message, message

TITLE, NAME, VALUE, FOOTER = 256, 256, 1024, 2048  # characters
FIELDS = 25
EMBED = 6000  # characters, all its texts together
DESCRIPTION = 3000  # characters; it could have 4,096, but then the fields would have no room

COLOURS = {"high": 0xB91319, "medium": 0xED9235, "low": 0xC9A90C, "secure": 0x1B763A, "unknown": 0x5E646C}
ESCAPES = str.maketrans({character: f"\\{character}" for character in r"\*_~`|[]()<>#"})

KNOWN = {  # JSON error codes: https://docs.discord.com/developers/topics/opcodes-and-status-codes
    10015: "Discord does not know this webhook: it was deleted. Create a new one there.",
    50027: "Discord does not accept the token of this webhook. Copy its address anew.",
}


class Discord(ChatChannel):
    kind = "discord"
    label = "Discord"

    def body(self, event: Event) -> str:
        return compact({"embeds": [embed(message(event))], "allowed_mentions": {"parse": []}})

    def verdict(self, answer: Answer) -> Answer:
        words = KNOWN.get(code_in(answer.body))
        return answer if answer.ok or words is None else refused(answer, words, final=True)


def code_in(body: str) -> int:
    # {"message": "Unknown Webhook", "code": 10015}
    try:
        return int(json.loads(body)["code"])
    except (ValueError, TypeError, KeyError):
        return 0


def embed(told: Message) -> dict[str, Any]:
    """Texts in the order of their worth; what would make it too long in all is left out."""
    texts: dict[str, Any] = {
        "title": escaped(told.title, TITLE),
        "description": escaped("\n".join((told.sentence, *told.lines)), DESCRIPTION),
        "footer": {"text": told.footer[:FOOTER]},
    }
    spent = len(texts["title"]) + len(texts["description"]) + len(told.footer)
    fields = fitting([field(label, value) for label, value in told.facts[:FIELDS]], EMBED - spent)
    link = {"url": told.link} if told.link else {}
    return {**texts, "fields": fields, "color": COLOURS[told.level], **link}


def field(label: str, value: str) -> dict[str, Any]:
    return {"name": escaped(label, NAME), "value": escaped(value, VALUE), "inline": len(value) < 40}


def fitting(fields: Sequence[dict[str, Any]], room: int) -> list[dict[str, Any]]:
    kept = []
    for each in fields:
        room -= len(each["name"]) + len(each["value"])
        if room >= 0:
            kept.append(each)
    return kept


def escaped(text: str, limit: int) -> str:
    return fitted(without_mentions(text), limit, ESCAPES)
