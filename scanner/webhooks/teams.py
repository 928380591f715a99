"""Microsoft Teams: an Adaptive Card for a Workflows webhook ("When a Teams webhook request is received").

https://learn.microsoft.com/en-us/microsoftteams/platform/webhooks-and-connectors/how-to/connectors-using
https://learn.microsoft.com/en-us/microsoftteams/platform/task-modules-and-cards/cards/cards-format (its Markdown)
"""

import re
from collections.abc import Iterator
from typing import Any

from scanner.webhooks.chat import ChatChannel, compact, refused, said
from scanner.webhooks.harmless import INVISIBLE, fitted
from scanner.webhooks.interface import Answer, Event
from scanner.webhooks.wording import Message, message

TITLE, TEXT = 500, 2000  # characters; a whole message may have 28 KB
COLOURS = {"high": "Attention", "medium": "Warning", "low": "Warning", "secure": "Good", "unknown": "Default"}
ESCAPES = str.maketrans({character: f"\\{character}" for character in r"\*_~`[]()#"})
LIST_ITEM = re.compile(r"[-+]\s|\d+[.)]\s")  # at the start of a text

# Connectors that have not been retired yet answer 200 with:
# Webhook message delivery failed with error: Microsoft Teams endpoint returned HTTP error 429 with ContextId …
HIDDEN_ERROR = re.compile(r"delivery failed|returned HTTP error (?P<status>\d{3})")


class Teams(ChatChannel):
    kind = "teams"
    label = "Microsoft Teams"

    def body(self, event: Event) -> str:
        content = card(message(event))
        attachment = {
            "contentType": "application/vnd.microsoft.card.adaptive",
            "contentUrl": None,
            "content": content,
        }
        return compact({"type": "message", "attachments": [attachment]})

    def verdict(self, answer: Answer) -> Answer:
        """Workflows answer 202 and nothing. A connector's 200 may hide an error of its own."""
        if not answer.ok or not HIDDEN_ERROR.search(answer.body):
            return answer
        status = re.search(r"HTTP error (4\d\d)", answer.body)
        final = bool(status and status[1] not in ("408", "425", "429"))
        return refused(answer, f"Teams did not take it: {said(answer)}", final)


def card(told: Message) -> dict[str, Any]:
    link = [{"type": "Action.OpenUrl", "title": told.link_label, "url": told.link}] if told.link else []
    return {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "msteams": {"width": "Full"},
        "fallbackText": escaped(told.title, TITLE),
        "body": list(elements(told)),
        "actions": link,
    }


def elements(told: Message) -> Iterator[dict[str, Any]]:
    """One block a line: whether a line break within a block is shown depends on the client."""
    colour = COLOURS[told.level]
    yield block(told.title, TITLE, size="Large", weight="Bolder", color=colour, style="heading")
    yield block(told.sentence, TEXT)
    if told.facts:
        facts = [{"title": label, "value": escaped(value, TEXT)} for label, value in told.facts]
        yield {"type": "FactSet", "facts": facts}
    for number, line in enumerate(told.lines):
        yield block(line, TEXT, spacing="Medium" if number == 0 else "None")
    if told.footer:
        yield block(told.footer, TITLE, size="Small", isSubtle=True)


def block(text: str, limit: int, **look: Any) -> dict[str, Any]:
    return {"type": "TextBlock", "text": escaped(text, limit), "wrap": True, **look}


def escaped(text: str, limit: int) -> str:
    """Markdown is escaped by a backslash. What looks like a list item gets an invisible character before it."""
    return fitted(f"{INVISIBLE}{text}" if LIST_ITEM.match(text) else text, limit, ESCAPES)
