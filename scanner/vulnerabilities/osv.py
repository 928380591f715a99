"""OSV, the format in which most vendors publish: one JSON document an advisory, thousands of them in an archive.

The schema is at https://ossf.github.io/osv-schema/; how each vendor bends it stands with the vendor's class below.
"""

import lzma
import re
import tarfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import IO, Any, ClassVar

import msgspec

from scanner.vulnerabilities.cvss_scores import score
from scanner.vulnerabilities.interface import Affected, Details, Entry, Feed, FeedError, Status

BUCKET = "https://storage.googleapis.com/osv-vulnerabilities"
DOCUMENT_LIMIT = 64 * 1024 * 1024  # bytes; most advisories have some 10,000
SUMMARY_LIMIT = 1000  # characters of a CVE's text that are kept
UNREADABLE = (OSError, EOFError, zipfile.BadZipFile, tarfile.TarError, lzma.LZMAError, zlib.error)
"""What the archive formats raise."""

DISTRIBUTIONS = tuple(
    (re.compile(pattern), form)
    for pattern, form in (
        # AlmaLinux:9   Rocky Linux:9   Debian:12   Ubuntu:22.04:LTS   Ubuntu:25.10   openSUSE:Leap 15.5
        (r"AlmaLinux:(\d+)", "alma:{}"),
        (r"Rocky Linux:(\d+)", "rocky:{}"),
        (r"Debian:(\d+)", "debian:{}"),
        (r"Ubuntu:(\d+\.\d+)(?::LTS)?", "ubuntu:{}"),
        (r"openSUSE:Leap (\d+\.\d+)(?: NonFree)?", "leap:{}"),
        # Ubuntu:Pro:18.04:LTS, but neither Ubuntu:Pro:FIPS:18.04:LTS nor Ubuntu:Pro:22.04:LTS:Realtime:Kernel
        (r"Ubuntu:Pro:(\d+\.\d+)(?::LTS)?", "ubuntu-pro:{}"),
        # Red Hat:enterprise_linux:9::baseos   Red Hat:enterprise_linux:10.2, but not Red Hat:rhel_eus:9.2::appstream
        (r"Red Hat:enterprise_linux:(\d+)(?:\.\d+)?(?:::\w+)?", "rhel:{}"),
        # SUSE:Linux Enterprise Server 15 SP5   …Server 15 SP5-LTSS   …Module for Basesystem 15 SP5   …Server 16.0
        (
            r"SUSE:Linux Enterprise (?:Server(?: for SAP [Aa]pplications| LTSS Extended Security)?|Module for .+?)"
            r" (\d+)(?:(?: SP|\.)(\d+))?(?:-LTSS.*)?",
            "sles:{}.{}",
        ),
    )
)
"""The vendors' names of their releases, and ours. What fits none is another product, with versions of its own."""

REBUILDS = ("alma", "rocky", "rhel")  # where a version ends in the release that it was built for
# 1:3.0.7-16.el9_2   4:5.32.1-473.module_el8.10.0+3779+d5938d28   0:3.3.1-2.module+el9.4.0+20787+4c237fd3
DIST_TAG = re.compile(r"[._+]el(\d+)")
MODULAR = re.compile(r"module[_+]el\d")
# "virt-devel:rhel" stands where a version should be in some Red Hat advisories (ossf/osv-schema #422)
VERSION = re.compile(r"(?:\d{1,9}:)?[!-9;-~]+")

# Moderate: perl:5.32 security update   Important: httpd:2.4/mod_http2 security update
# ALSA-2022:5468: php:8.0 security update (Important)
SEVERITY = re.compile(r"^(Critical|Important|Moderate|Low): |\((Critical|Important|Moderate|Low)\)$")
STREAM = re.compile(r"(?<![\w:.+-])(?![A-Z]{4}-\d{4}:)([A-Za-z0-9][\w.+-]*:[\w.+-]*\w)(?=[\s,/]|$)")
# https://access.redhat.com/security/updates/classification/#important
CLASSIFICATION = re.compile(r"/security/updates/classification/?#(\w+)$")
# RHBA-2024:1, ALEA-2024:1: bug fixes and enhancements; SUSE-RU-2024:1-1: recommended; FU, OU: features, optional ones
NO_SECURITY = re.compile(r"(?:RH|AL|RL)[BE]A(?=-)|(?:SUSE|openSUSE)-[RFO]U(?=-)")
# CVE-2021-3782   UBUNTU-CVE-2021-3782   DEBIAN-CVE-2021-3782
CVE = re.compile(r"(?:[A-Z]+-)?(CVE-\d{4}-\d{4,})")

SEVERITIES = {
    "negligible": "low",
    "low": "low",
    "medium": "medium",
    "moderate": "medium",
    "high": "high",
    "important": "high",
    "critical": "critical",
}
"""The vendors' words for a CVE, and those that `Details` knows."""
NO_SEVERITY = ("not yet assigned", "end-of-life")  # what Debian's urgency may be as well
UNFIXED: dict[str, Status] = {"unimportant": "unimportant", "end-of-life": "eol"}


# --- the format ------------------------------------------------------------------------------------
# Only what is read here; msgspec skips the rest. Any list may be null or missing.


class Severity(msgspec.Struct):
    # {"type": "CVSS_V3", "score": "CVSS:3.1/AV:L/…"}   {"type": "Ubuntu", "score": "medium"}
    type: str = ""
    score: str = ""


class Specific(msgspec.Struct):
    """The vendor's own fields, of a record or of a package in it."""

    severity: Any = None  # a word; elsewhere whatever the vendor likes
    urgency: Any = None  # Debian's


class Package(msgspec.Struct):
    ecosystem: str = ""
    name: str = ""


class Range(msgspec.Struct):
    type: str = ""
    events: list[dict[str, str]] | None = None


class AffectedPackage(msgspec.Struct):
    package: Package | None = None
    ranges: list[Range] | None = None
    severity: list[Severity] | None = None
    ecosystem_specific: Specific | None = None
    database_specific: Specific | None = None


class Reference(msgspec.Struct):
    type: str = ""
    url: str = ""


class Record(msgspec.Struct):
    id: str
    summary: str | None = None
    details: str | None = None
    published: str | None = None
    withdrawn: str | None = None
    aliases: list[str] | None = None
    upstream: list[str] | None = None
    related: list[str] | None = None
    severity: list[Severity] | None = None
    affected: list[AffectedPackage] | None = None
    references: list[Reference] | None = None
    database_specific: Specific | None = None


DECODER = msgspec.json.Decoder(Record)


@dataclass(frozen=True, slots=True)
class Span:
    """Versions that are affected: from `introduced` on, before `fixed` or up to `last_affected`, where there is one."""

    introduced: str = ""
    fixed: str = ""
    last_affected: str = ""


@dataclass(frozen=True, slots=True)
class Advisory:
    """What all rows of a record have in common."""

    name: str
    cves: tuple[str, ...]
    severity: str
    summary: str
    published: datetime | None
    url: str


# --- the feeds -------------------------------------------------------------------------------------


class Osv(Feed):
    """A vendor's advisories: a .zip, a .tar in any compression, a folder of .json files, or one .json file."""

    families: ClassVar[tuple[str, ...]]  # whose rows are read: "alma" of "alma:9"
    unserved: ClassVar[tuple[str, ...]] = ()  # how the ids of advisories begin that are about something else

    def __init__(self, releases: Collection[str] | None = None) -> None:
        """`releases`, such as {"alma:9"}: only their rows are read; None means all."""
        super().__init__()
        self.releases = releases
        self.left_out: Counter[str] = Counter()
        """Rows of other products, and of what is no vulnerability, by what the vendor calls them: no nonsense, and so
        not in `dropped`."""

    def parse(self, file: Path) -> Iterator[Entry]:
        self.dropped = 0
        self.left_out.clear()
        records = 0
        try:
            for record in self.records(file):
                records += 1
                yield from self.entries(record)
        except UNREADABLE as error:
            raise FeedError(f"The feed {self.name} could not be read from {file.name}: {error}.") from error
        if not records:
            raise FeedError(f"There is no advisory in {file.name}: is it the file of the feed {self.name}?")

    def records(self, file: Path) -> Iterator[Record]:
        """Every document once: AlmaLinux's own archive has an advisory of two releases in the folders of both."""
        seen: set[int] = set()
        for data in documents(file):
            if (digest := hash(data)) in seen:
                continue
            seen.add(digest)
            for document in self.listed(data):
                try:
                    record = DECODER.decode(document)
                except msgspec.MsgspecError:
                    self.dropped += 1
                else:
                    yield record

    def listed(self, data: bytes) -> Sequence[bytes | msgspec.Raw]:
        """A document holds one record, or many in a list."""
        if data[:1] != b"[" and len(data) <= DOCUMENT_LIMIT:
            return [data]
        try:
            return msgspec.json.decode(data, type=list[msgspec.Raw])
        except msgspec.MsgspecError:  # cut off at the limit, too
            self.dropped += 1
            return []

    def entries(self, record: Record) -> Iterator[Entry]:
        """What an advisory says. A package that several of a release's repositories have is one row."""
        if record.withdrawn or not record.affected:
            return
        if record.id.startswith(self.unserved):
            self.left_out[record.id.partition("-")[0]] += len(record.affected)
            return
        advisory = advisory_of(record)
        if not advisory.cves and (kind := NO_SECURITY.match(record.id)):
            self.left_out[kind[0]] += len(record.affected)
            return
        rows = dict.fromkeys(row for affected in record.affected for row in self.rows(advisory, affected))
        yield from rows
        if rows:
            yield from details(record)

    def rows(self, advisory: Advisory, affected: AffectedPackage) -> Iterator[Affected]:
        package = affected.package or Package()
        release = distribution(package.ecosystem)
        if release.partition(":")[0] not in self.families:
            self.left_out[package.ecosystem] += 1
        elif not package.name or not affected.ranges:
            self.dropped += 1
        elif self.releases is None or release in self.releases:
            for span in (span for each in affected.ranges for span in spans(each)):
                if not sensible(span) or contradicts(release, span.fixed):
                    self.dropped += 1
                elif span.fixed != "0":  # Debian's "not affected"
                    yield from rows_of(advisory, affected, release, span)


class AlmaLinux(Osv):
    """CVEs stand in `related`, severity and module only in the summary. ALBA and ALEA are no security advisories; the
    few that name a CVE are read."""

    name = "alma"
    label = "AlmaLinux"
    address = f"{BUCKET}/AlmaLinux/all.zip"
    name_kind = "binary"
    families = ("alma",)


class RockyLinux(Osv):
    """As AlmaLinux, but by source packages."""

    name = "rocky"
    label = "Rocky Linux"
    address = f"{BUCKET}/Rocky%20Linux/all.zip"
    families = ("rocky",)
    unserved = ("RXSA-",)  # packages of special interest groups, whose versions are above those of the same release


class RedHat(Osv):
    """A CVSS vector for the whole advisory, the vendor's word only in a reference. RHBA and RHEA are mixed in."""

    name = "redhat"
    label = "Red Hat Enterprise Linux"
    address = f"{BUCKET}/Red%20Hat/all.zip"
    name_kind = "binary"
    families = ("rhel",)


class Suse(Osv):
    """By source packages. A release is spread over its modules; after its general support, over LTSS."""

    name = "suse"
    label = "SUSE Linux Enterprise and openSUSE Leap"
    address = "https://ftp.suse.com/pub/projects/security/osv.tar.bz2"
    families = ("sles", "leap")


class Ubuntu(Osv):
    """UBUNTU-CVE- says what is affected, fixed or not; USN- what was announced. Ubuntu Pro has rows of its own."""

    name = "ubuntu"
    label = "Ubuntu"
    address = "https://security-metadata.canonical.com/osv/osv-all.tar.xz"
    families = ("ubuntu", "ubuntu-pro")
    unserved = ("LSN-",)  # live patches, which no package has

    def __init__(self, releases: Collection[str] | None = None) -> None:
        """A host needs both kinds of rows. Without Ubuntu Pro, the other kind says that there is a fix; with it, most
        fixes are still the ordinary ones."""
        numbers = {release.partition(":")[2] for release in releases or () if release.startswith("ubuntu")}
        both = {f"{family}:{number}" for family in self.families for number in numbers}
        super().__init__(None if releases is None else both)


class DebianOsv(Osv):
    """Only where the tracker (debian.py) cannot be had: OSV has lost why there is no fix."""

    name = "debian-osv"
    label = "Debian, from OSV"
    address = f"{BUCKET}/Debian/all.zip"
    families = ("debian",)


# --- archives --------------------------------------------------------------------------------------


def documents(file: Path) -> Iterator[bytes]:
    """The JSON documents in a file, archive or folder, one at a time. Where they lie in it says nothing: see 80 of
    AlmaLinux's."""
    if file.is_dir():
        for path in sorted(file.rglob("*.json")):
            with path.open("rb") as document:
                yield document.read(DOCUMENT_LIMIT + 1).lstrip()
        return
    with file.open("rb") as opened:
        start = opened.read(512).lstrip()
        opened.seek(0)
        if start[:2] == b"PK":
            yield from zipped(opened)
        elif start[:1] in (b"{", b"["):
            yield opened.read(DOCUMENT_LIMIT + 1).lstrip()
        else:
            yield from tarred(opened)


def zipped(opened: IO[bytes]) -> Iterator[bytes]:
    with zipfile.ZipFile(opened) as archive:
        for name in archive.namelist():
            if name.endswith(".json"):
                yield unzipped(archive, name).lstrip()


def unzipped(archive: zipfile.ZipFile, name: str) -> bytes:
    try:
        with archive.open(name) as member:
            return member.read(DOCUMENT_LIMIT + 1)
    except RuntimeError as error:  # it is encrypted, or packed in a way that zipfile does not know
        raise zipfile.BadZipFile(str(error)) from error


def tarred(opened: IO[bytes]) -> Iterator[bytes]:
    with tarfile.open(fileobj=opened, mode="r|*") as archive:
        while (info := archive.next()) is not None:
            archive.members = []  # type: ignore[attr-defined]  # it keeps them all, and Ubuntu has 70,000
            member = archive.extractfile(info) if info.isfile() and info.name.endswith(".json") else None
            if member is not None:
                yield member.read(DOCUMENT_LIMIT + 1).lstrip()


# --- an advisory -----------------------------------------------------------------------------------


def advisory_of(record: Record) -> Advisory:
    name = cve_of(record) or record.id
    summary = (record.summary or "").strip()
    return Advisory(name, cves(record), severity(record), summary, moment(record.published), url(record, name))


def rows_of(advisory: Advisory, affected: AffectedPackage, release: str, span: Span) -> Iterator[Affected]:
    """One row, or one for each module that the version may be of."""
    word = severity_of(affected)
    for module in modules(advisory.summary, span.fixed):
        yield Affected(
            distribution=release,
            name=affected.package.name if affected.package else "",
            advisory=advisory.name,
            cves=advisory.cves,
            status="fixed" if span.fixed else UNFIXED.get(word, "open"),
            fixed_version=span.fixed,
            introduced=span.introduced,
            last_affected=span.last_affected,
            module=module,
            severity="" if word in NO_SEVERITY else word or advisory.severity,
            summary=advisory.summary,
            published=advisory.published,
            url=advisory.url,
        )


def details(record: Record) -> Iterator[Details]:
    """What a record says of a CVE itself: only one that is about a CVE, or an advisory's vector if it has but one."""
    cve, vector = cve_of(record), newest_vector(record.severity)
    if cve:
        text = (record.details or record.summary or "").strip()
        summary = text if len(text) <= SUMMARY_LIMIT else text[: SUMMARY_LIMIT - 1] + "…"
        level = SEVERITIES.get(vendors_word(record.severity)) or vector_word(vector)
        yield Details(cve, summary, vector, level, moment(record.published))
    elif vector and len(named := cves(record)) == 1:
        yield Details(named[0], cvss_vector=vector, severity=vector_word(vector))


def cve_of(record: Record) -> str:
    """The CVE that the record is about, if it goes by one and not by an advisory."""
    match = CVE.fullmatch(record.id)
    return match[1] if match else ""


def cves(record: Record) -> tuple[str, ...]:
    """What a CVE's own record calls related is another CVE; an advisory calls its own ones so."""
    if own := cve_of(record):
        return (own,)
    named = (*(record.aliases or ()), *(record.upstream or ()), *(record.related or ()))
    return tuple(dict.fromkeys(match[1] for text in named if (match := CVE.fullmatch(text))))


def url(record: Record, advisory: str) -> str:
    """The advisory's own page. AlmaLinux names Red Hat's first, and writes its own ids with dashes."""
    references = record.references or ()
    for reference in references:
        if advisory in reference.url or advisory.replace(":", "-") in reference.url:
            return reference.url
    return next((reference.url for reference in references if reference.type == "ADVISORY"), "")


@lru_cache(maxsize=4096)
def distribution(ecosystem: str) -> str:
    """The release's name in this house; empty for a product that is none of the releases."""
    for pattern, form in DISTRIBUTIONS:
        if match := pattern.fullmatch(ecosystem):
            return form.format(*(part or "" for part in match.groups())).rstrip(".")  # SLES 15 has no service pack
    return ""


def spans(affected: Range) -> Iterator[Span]:
    # [{"introduced": "0"}, {"fixed": "1.0-1"}, {"introduced": "2.0-1"}]: closed, and open again
    if affected.type == "GIT":
        return
    begun = None
    for event in sorted(affected.events or (), key=lambda event: event.get("introduced") != "0"):
        if (introduced := event.get("introduced")) is not None:
            begun = "" if introduced == "0" else introduced
        elif begun is not None and not event.keys().isdisjoint(("fixed", "last_affected")):
            yield Span(begun, event.get("fixed", ""), event.get("last_affected", ""))
            begun = None
    if begun is not None:
        yield Span(begun)


def sensible(span: Span) -> bool:
    return all(VERSION.fullmatch(version) for version in (span.introduced, span.fixed, span.last_affected) if version)


def contradicts(release: str, version: str) -> bool:
    """Whether the version was built for another release than the one that the row names."""
    family, _, number = release.partition(":")
    tags = DIST_TAG.findall(version) if family in REBUILDS else []
    return bool(tags) and number not in tags


def modules(summary: str, fixed: str) -> tuple[str, ...]:
    """The modules, with stream, that a version belongs to; "" if it is of no module, "?" if that is not said.

    Where a summary names two ("virt:rhel and virt-devel:rhel"), which of them a package is of, is not said: both.
    """
    if not MODULAR.search(fixed):
        return ("",)
    return tuple(dict.fromkeys(STREAM.findall(summary))) or ("?",)


# --- severity --------------------------------------------------------------------------------------


def severity(record: Record) -> str:
    """In the vendor's words, wherever the vendor has put them; by a CVSS vector only where there are none."""
    prefix = SEVERITY.search(record.summary or "")
    words = (
        vendors_word(record.severity),
        (prefix[1] or prefix[2]).lower() if prefix else "",
        specific_word(record.database_specific),
        classification(record),
        vector_word(newest_vector(record.severity)),
    )
    return next(filter(None, words), "")


def severity_of(affected: AffectedPackage) -> str:
    """Of one package, where it has one of its own; Debian's urgency, too."""
    words = (
        vendors_word(affected.severity),
        specific_word(affected.ecosystem_specific),
        specific_word(affected.database_specific),
        vector_word(newest_vector(affected.severity)),
    )
    return next(filter(None, words), "")


def vendors_word(entries: list[Severity] | None) -> str:
    return next((lowered(entry.score) for entry in entries or () if not entry.type.startswith("CVSS")), "")


def specific_word(specific: Specific | None) -> str:
    return (lowered(specific.severity) or lowered(specific.urgency)) if specific else ""


def lowered(value: object) -> str:
    return value.strip().lower() if isinstance(value, str) else ""


def classification(record: Record) -> str:
    matches = (CLASSIFICATION.search(reference.url) for reference in record.references or ())
    return next((match[1].lower() for match in matches if match), "")


def newest_vector(entries: list[Severity] | None) -> str:
    # CVSS:4.0/AV:N/…   CVSS:3.1/AV:N/…   AV:N/AC:L/Au:N/… is of version 2
    vectors = [entry.score for entry in entries or () if entry.type.startswith("CVSS")]
    return max(vectors, key=lambda vector: vector[:8] if vector.startswith("CVSS:") else "", default="")


def vector_word(vector: str) -> str:
    """low, medium, high or critical, by the score of a CVSS vector; empty for none, and for nonsense."""
    found = score(vector)
    return SEVERITIES.get(found.word, "") if found else ""


# --- times -----------------------------------------------------------------------------------------


def moment(text: str | None) -> datetime | None:
    # 2024-06-14T14:00:40.182624Z
    try:
        parsed = datetime.fromisoformat(text or "")
    except ValueError:
        return None
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)


def changed_ids(csv_lines: Iterable[str], since: datetime | None) -> list[str]:
    """The ids in OSV's modified_id.csv that changed after `since`, newest first, as the file is sorted."""
    # 2024-08-15T00:05:00.123456Z,ALSA-2024:5258
    ids: list[str] = []
    for line in csv_lines:
        stamp, _, changed = line.strip().partition(",")
        modified = moment(stamp)
        if modified is None:  # a heading, or the empty end
            continue
        if since is not None and modified <= since:
            break
        ids.append(changed)
    return ids
