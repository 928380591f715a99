"""CISA's catalog of CVEs that are known to be exploited."""

from collections.abc import Collection, Iterator
from datetime import date
from pathlib import Path

import msgspec

from scanner.vulnerabilities.interface import Entry, Exploited, Feed, FeedError


class Vulnerability(msgspec.Struct):
    # {"cveID": "CVE-2025-0108", "vulnerabilityName": "Palo Alto Networks PAN-OS Authentication Bypass Vulnerability",
    #  "dateAdded": "2025-02-18", "dueDate": "2025-03-11", "knownRansomwareCampaignUse": "Known" or "Unknown", …}
    cve: str = msgspec.field(name="cveID")
    added: date = msgspec.field(name="dateAdded")
    due: date | None = msgspec.field(name="dueDate", default=None)
    ransomware: str = msgspec.field(name="knownRansomwareCampaignUse", default="")
    name: str = msgspec.field(name="vulnerabilityName", default="")


class Catalog(msgspec.Struct):
    vulnerabilities: list[msgspec.Raw]


class Kev(Feed):
    name = "kev"
    label = "CISA, known exploited vulnerabilities"
    address = "https://www.cisa.gov/sites/default/files/feeds/known_exploited_vulnerabilities.json"

    def __init__(self, releases: Collection[str] | None = None) -> None:
        """It is the same for all: `releases` is what every feed is made with."""
        super().__init__()

    def parse(self, file: Path) -> Iterator[Entry]:
        self.dropped = 0
        try:
            catalog = msgspec.json.decode(file.read_bytes(), type=Catalog)  # about 1.3 MB
        except (OSError, msgspec.MsgspecError) as error:
            raise FeedError(f"The feed {self.name} could not be read from {file.name}: {error}.") from error
        for raw in catalog.vulnerabilities:
            try:
                yield exploited(msgspec.json.decode(raw, type=Vulnerability))
            except msgspec.MsgspecError:
                self.dropped += 1


def exploited(entry: Vulnerability) -> Exploited:
    return Exploited(entry.cve, entry.added, entry.due, entry.ransomware == "Known", entry.name.strip())
