"""What is kept. One subject a file."""

from scanner.models.accepted_risk import AcceptedRisk
from scanner.models.access import ApiToken, HostLimit, Sight, SignInLink
from scanner.models.audit import AuditEntry
from scanner.models.delivery import Attempt, Delivery
from scanner.models.event import Event
from scanner.models.finding import Finding, PackageVersion
from scanner.models.host import Host, Tag
from scanner.models.lookups import Lists, OneOf
from scanner.models.scan import OpenUpdate, Scan
from scanner.models.setting import Setting
from scanner.models.snapshot import Package, PackageSet, Snapshot, Update
from scanner.models.vulnerability import AffectedPackage, ExploitScore, Feed, KnownExploited, Vulnerability
from scanner.models.webhook import Webhook

__all__ = [
    "AcceptedRisk",
    "AffectedPackage",
    "ApiToken",
    "Attempt",
    "AuditEntry",
    "Delivery",
    "Event",
    "ExploitScore",
    "Feed",
    "Finding",
    "Host",
    "HostLimit",
    "KnownExploited",
    "Lists",
    "OneOf",
    "OpenUpdate",
    "Package",
    "PackageSet",
    "PackageVersion",
    "Scan",
    "Setting",
    "Sight",
    "SignInLink",
    "Snapshot",
    "Tag",
    "Update",
    "Vulnerability",
    "Webhook",
]
