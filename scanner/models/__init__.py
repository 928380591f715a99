"""What is kept. One subject a file."""

from scanner.models.access import ApiToken, SignInLink
from scanner.models.host import Host
from scanner.models.scan import OpenUpdate, Scan
from scanner.models.snapshot import Package, PackageSet, Snapshot, Update

__all__ = ["ApiToken", "Host", "OpenUpdate", "Package", "PackageSet", "Scan", "SignInLink", "Snapshot", "Update"]
