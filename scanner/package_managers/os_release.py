"""os-release(5): what a root calls itself, and what security feeds call that."""

import re
from collections.abc import Mapping
from pathlib import Path

PLACES = ("etc/os-release", "usr/lib/os-release")
# VERSION_ID="12", ID=debian, NAME='Debian GNU/Linux'
LINE = re.compile(r"[ \t]*([A-Z][A-Z0-9_]*)=(.*)")
ESCAPED = re.compile(r"\\(.)")  # by a shell's rules: \$ \" \\ \`

FEED_NAMES = {
    "almalinux": "alma",
    "rockylinux": "rocky",
    "redhat": "rhel",
    "opensuse-leap": "leap",
    "archlinux": "arch",
}
MAJOR_ONLY = frozenset(("debian", "alma", "rocky", "rhel"))  # their feeds go by the first number of a release
ROLLING = frozenset(("arch",))  # they have no releases; Arch's images for containers yet write a VERSION_ID
DEBIAN_CODENAMES = {
    "sid": "debian:sid",
    "duke": "debian:15",
    "forky": "debian:14",
    "trixie": "debian:13",
    "bookworm": "debian:12",
    "bullseye": "debian:11",
    "buster": "debian:10",
    "stretch": "debian:9",
    "jessie": "debian:8",
    "wheezy": "debian:7",
    "squeeze": "debian:6",
    "lenny": "debian:5",
    "etch": "debian:4",
    "sarge": "debian:3.1",
}
CODENAMES = {
    **DEBIAN_CODENAMES,
    "bionic": "ubuntu:18.04",
    "focal": "ubuntu:20.04",
    "jammy": "ubuntu:22.04",
    "noble": "ubuntu:24.04",
}


def read(root: Path) -> Mapping[str, str]:
    """The fields of a root's os-release; none where there is no such file."""
    for path in (root / place for place in PLACES):
        if not path.resolve().is_relative_to(root.resolve()):  # a link to /usr/lib/os-release, which is this host's own
            continue
        try:
            text = path.read_text(errors="replace")
        except OSError:
            continue
        return parse(text)
    return {}


def parse(text: str) -> dict[str, str]:
    # # a comment
    # ID_LIKE="rhel centos fedora"
    lines = (LINE.fullmatch(line) for line in text.splitlines())
    return {line[1]: unquoted(line[2].strip()) for line in lines if line}


def unquoted(value: str) -> str:
    if len(value) > 1 and value[0] == value[-1] == "'":
        return value[1:-1]
    if len(value) > 1 and value[0] == value[-1] == '"':
        value = value[1:-1]
    return ESCAPED.sub(r"\1", value)


def words(fields: Mapping[str, str]) -> frozenset[str]:
    """What it is, and what it is like."""
    return frozenset(f"{fields.get('ID', '')} {fields.get('ID_LIKE', '')}".lower().split())


def identity(fields: Mapping[str, str]) -> str:
    """What it is: "almalinux"; "" where it does not tell."""
    return fields.get("ID", "").lower()


def release(fields: Mapping[str, str]) -> str:
    """The release as feeds name it, such as "debian:12" or "arch"; "" where it is not known. A derivative keeps its own
    name, which no feed is about: its versions are not those of what it is like."""
    name = identity(fields)
    if version := fields.get("VERSION_ID", ""):
        return release_name(name, version) if name else ""
    # Debian's testing and unstable have only VERSION_CODENAME=trixie
    known = CODENAMES.get(fields.get("VERSION_CODENAME", "").lower(), "")
    if known.partition(":")[0] == name:
        return known
    return release_name(name, "") if FEED_NAMES.get(name, name) in ROLLING else ""


def release_name(name: str, version: str) -> str:
    """ "debian", "12.4" -> "debian:12" """
    known = FEED_NAMES.get(name, name)
    if known in ROLLING:
        return known
    return f"{known}:{version.partition('.')[0] if known in MAJOR_ONLY else version}"
