"""Where a webhook can go: the explicit list, in the order in which a form offers it."""

from scanner.webhooks.discord import Discord
from scanner.webhooks.email import Email
from scanner.webhooks.interface import Channel
from scanner.webhooks.other import Other
from scanner.webhooks.slack import Slack
from scanner.webhooks.standard import Standard
from scanner.webhooks.teams import Teams

CHANNELS: tuple[Channel, ...] = (Standard(), Slack(), Discord(), Teams(), Email(), Other())
BY_KIND = {each.kind: each for each in CHANNELS}


def channel(kind: str) -> Channel:
    """Raises KeyError."""
    return BY_KIND[kind]
