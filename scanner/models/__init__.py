"""What is kept. One subject a file."""

from scanner.models.access import ApiToken, SignInLink
from scanner.models.delivery import Attempt, Delivery
from scanner.models.event import Event
from scanner.models.host import Host, Tag
from scanner.models.scan import OpenUpdate, Scan
from scanner.models.snapshot import Package, PackageSet, Snapshot, Update
from scanner.models.webhook import Webhook

__all__ = [
    "ApiToken",
    "Attempt",
    "Delivery",
    "Event",
    "Host",
    "OpenUpdate",
    "Package",
    "PackageSet",
    "Scan",
    "SignInLink",
    "Snapshot",
    "Tag",
    "Update",
    "Webhook",
]
