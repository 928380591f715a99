"""CycloneDX 1.6 as JSON: what is installed, what needs what, what is vulnerable, and what is done about it.

https://cyclonedx.org/docs/1.6/json/ ; vulnerabilities.inventory reads it back.
"""

import re
import uuid
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from scanner.exports.interface import Content, Export, Package, Vulnerability, in_pieces
from scanner.exports.json import encode
from scanner.vulnerabilities.cvss_scores import score
from scanner.vulnerabilities.urgency import SCALE, day, rank

TOOL = "package-security-scanner"
HOST = "host"
"""The bom-ref of the host itself."""

TYPES = {"apt": "deb", "dnf": "rpm", "yum": "rpm", "pacman": "alpm"}
NAMESPACES = {"alma": "almalinux", "rhel": "redhat", "sles": "suse", "leap": "opensuse"}
DISTROS = {"alma": "almalinux", "leap": "opensuse-leap"}  # the names of os-release(5), where feeds have another
PLAIN = re.compile(r"[A-Za-z0-9._~:-]*")  # what a package URL has as it is
NEUTRAL = frozenset(("all", "noarch", "any"))  # architectures that go with every other

ANALYSES: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "fixed": ("exploitable", ("update",)),
    "pro": ("exploitable", ("update",)),
    "open": ("exploitable", ()),
    "undetermined": ("in_triage", ()),
    "unconfirmed": ("in_triage", ()),
    "no_dsa": ("exploitable", ()),
    "postponed": ("exploitable", ()),
    "ignored": ("exploitable", ("will_not_fix",)),
    "eol": ("exploitable", ("will_not_fix",)),
    "unimportant": ("not_affected", ()),  # as the vendor builds and uses it
}
"""What a vendor's status is called there: the state, and the response."""
SEVERITIES = {"negligible": "info"}  # of urgency.SCALE; the others go by the same words


class CycloneDx(Export):
    name = "cyclonedx"
    label = "CycloneDX SBOM"
    holds = "All packages and their vulnerabilities, as CycloneDX 1.6"
    content_type = "application/vnd.cyclonedx+json; version=1.6"
    extension = "cdx.json"

    def scan(self, content: Content, part: str = "") -> Iterator[bytes]:
        return in_pieces(document(content))


def document(content: Content) -> Iterator[str]:
    installed = Refs()
    yield encode(head(content))[:-1]
    yield ',\n"components": ['
    make = Purls(content.scan["package_manager"], content.scan["distribution"] or "")
    for number, package in enumerate(content.packages()):
        yield f"{',' if number else ''}\n{encode(component(package, installed.add(package), make))}"
    yield '],\n"dependencies": ['
    for number, (ref, needs) in enumerate(installed.needs()):
        yield f"{',' if number else ''}\n{encode({'ref': ref, 'dependsOn': needs} if needs else {'ref': ref})}"
    yield '],\n"vulnerabilities": ['
    for number, row in enumerate(content.vulnerabilities()):
        yield f"{',' if number else ''}\n{encode(vulnerability(row, installed.of(row)))}"
    yield "]}\n"


def head(content: Content) -> dict[str, Any]:
    scan = content.scan
    family, _, version = (scan["distribution"] or "").partition(":")
    system = {"type": "operating-system", "name": DISTROS.get(family, family), "version": version}
    about: dict[str, Any] = {"type": "device", "bom-ref": HOST, "name": scan["host"]}
    if family:
        about["components"] = [{key: value for key, value in system.items() if value}]
    said = {
        **{f"scan:{name}": scan[name] for name in ("id", "scan_date", "state", "status_label", "package_manager")},
        **{f"scan:{name}": scan[name] for name in ("metadata_date", "security_updates", "total_updates")},
        "scan:url": content.link,
    }
    unknown = [pair for text in content.unknown() for pair in properties({"unknown": text})]
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid4()}",
        "version": 1,
        "metadata": {
            "timestamp": utc(content.made_at),
            "lifecycles": [{"phase": "operations"}],
            "tools": {"components": [{"type": "application", "name": TOOL}]},
            "component": about,
            "properties": [*properties(said), *unknown],
        },
    }


def properties(said: Mapping[str, Any]) -> list[dict[str, str]]:
    """What the format has no field for. What is not known is left out."""
    return [
        {"name": f"{TOOL}:{name}", "value": str(value).lower() if isinstance(value, bool) else str(value)}
        for name, value in said.items()
        if value not in (None, "")
    ]


# --- components -------------------------------------------------------------------------------------


class Refs:
    """Which component goes by which reference: short and telling, as a purl would be repeated for each dependency."""

    def __init__(self) -> None:
        self.packages: dict[str, Package] = {}
        self.by_name: dict[str, list[str]] = defaultdict(list)
        self.by_version: dict[int, list[str]] = defaultdict(list)

    def add(self, package: Package) -> str:
        ref = f"{package.name}@{package.version}:{package.architecture}"
        while ref in self.packages:
            ref += "'"
        self.packages[ref] = package
        self.by_name[package.name].append(ref)
        if package.package_version is not None:
            self.by_version[package.package_version].append(ref)
        return ref

    def needs(self) -> Iterator[tuple[str, list[str]]]:
        """Of each component what it depends on: of its own architecture, where there are several."""
        for ref, package in self.packages.items():
            found = dict.fromkeys(one for name in package.needs for one in self.for_architecture(name, package))
            yield ref, [one for one in found if one != ref]

    def for_architecture(self, name: str, package: Package) -> Sequence[str]:
        refs = self.by_name.get(name, [])
        if len(refs) < 2 or package.architecture in NEUTRAL:
            return refs
        return [one for one in refs if self.packages[one].architecture in {package.architecture, *NEUTRAL}] or refs

    def of(self, row: Vulnerability) -> list[str]:
        if row.package_versions:
            return [ref for version in row.package_versions for ref in self.by_version.get(version, ())]
        return [ref for name in row.packages for ref in self.by_name.get(name, ())]


class Purls:
    """Package URLs of one release: https://github.com/package-url/purl-spec

    Written here, since packageurl takes four times as long for it; the tests compare the two.
    """

    def __init__(self, package_manager: str, distribution: str) -> None:
        family, _, version = distribution.partition(":")
        self.type = TYPES[package_manager]
        namespace = NAMESPACES.get(family, family)
        self.start = f"pkg:{self.type}/{quoted(namespace)}/" if namespace else f"pkg:{self.type}/"
        self.distro = ""
        if version:  # debian-12, but sid, which has no number
            self.distro = f"{DISTROS.get(family, family)}-{version}" if version[0].isdigit() else version

    def of(self, package: Package) -> str:
        name, version, epoch = package.name, package.version, ""
        if self.type == "rpm" and ":" in version:  # deb and alpm have the epoch in the version
            epoch, _, version = version.partition(":")
        if self.type == "alpm":
            name = name.lower()
        qualifiers = (  # in the order of the alphabet
            ("arch", package.architecture),
            ("distro", self.distro),
            ("epoch", epoch),
            ("modularitylabel", package.module),
            ("upstream", f"{package.source}@{package.source_version}".rstrip("@") if package.source else ""),
        )
        said = "&".join(f"{key}={quoted(value)}" for key, value in qualifiers if value)
        return f"{self.start}{quoted(name)}@{quoted(version)}{f'?{said}' if said else ''}"


def quoted(text: str) -> str:
    return text if PLAIN.fullmatch(text) else quote(text, safe=":")


def component(package: Package, ref: str, make: Purls) -> dict[str, Any]:
    found = {
        "type": "library",
        "bom-ref": ref,
        "name": package.name,
        "version": package.version,
        "purl": make.of(package),
    }
    if package.third_party:
        found["publisher"] = package.third_party
    said = {"held": package.held or None, "vulnerabilities_not_looked_up": package.skipped}
    return {**found, **({"properties": pairs} if (pairs := properties(said)) else {})}


# --- vulnerabilities --------------------------------------------------------------------------------


def vulnerability(row: Vulnerability, refs: Sequence[str]) -> dict[str, Any]:
    found: dict[str, Any] = {"id": row.id, "source": {"name": row.found_by}, "ratings": list(ratings(row))}
    advisories = [
        {"title": name, "url": url} for name, url in row.advisories if url.startswith(("https://", "http://"))
    ]
    if advisories:
        found["source"]["url"] = advisories[0]["url"]
        found["advisories"] = advisories
    if row.summary:
        found["description"] = row.summary
    if row.status == "fixed":
        found["recommendation"] = f"Update {row.source} to {row.fixed_version}, or a later version."
    if row.published:
        found["published"] = utc(row.published)
    found["analysis"] = analysis(row)
    found["affects"] = [{"ref": ref} for ref in dict.fromkeys(refs)]
    said = {
        "source_package": row.source,
        "status": row.status,
        "fixed_version": row.fixed_version,
        "epss": row.epss,
        "epss_percentile": row.percentile,
        "known_exploited_since": row.exploited,
        "known_exploited_due": row.due,
        "used_by_ransomware": row.ransomware if row.exploited else None,
        "risk_accepted_until": row.accepted.until if row.accepted else None,
        "risk_accepted_by": row.accepted.by if row.accepted else None,
    }
    found["properties"] = properties(said)
    return found


def ratings(row: Vulnerability) -> Iterator[dict[str, Any]]:
    """The word that counts here, and the score that says what the flaw is like in general."""
    scored = score(row.cvss_vector)
    if row.severity and not (scored and row.rated_by == "CVSS"):
        by = row.found_by if row.rated_by == "the vendor" else row.rated_by
        yield {"source": {"name": by}, **worded(row.severity)}
    if scored:
        method, number, word = scored
        yield {"score": number, **worded(word), "method": method, "vector": row.cvss_vector}


def worded(severity: str) -> dict[str, str]:
    """The vendor's word in the words of the format."""
    number = rank(severity)
    return {"severity": "unknown" if number is None else SEVERITIES.get(SCALE[number], SCALE[number])}


def analysis(row: Vulnerability) -> dict[str, Any]:
    state, response = ANALYSES[row.status]
    detail = " ".join(filter(None, (row.means, row.reason)))
    if row.accepted:
        response = ("will_not_fix",)
        detail = (
            f"{row.accepted.by} has accepted the risk until {day(row.accepted.until)}: {row.accepted.reason} {detail}"
        ).strip()
    return {"state": state, **({"response": list(response)} if response else {}), "detail": detail}


def utc(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
