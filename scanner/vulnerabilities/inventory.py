"""Reads a list of packages that somebody brings: our own JSON document, a CycloneDX SBOM, or a plain list. Pure."""

import csv
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from packageurl import PackageURL

from scanner.package_managers.os_release import CODENAMES, release_name
from scanner.vulnerabilities.matching import Item

COLUMNS = ("name", "version", "architecture", "source", "source_version")
PURL_TYPES = ("deb", "rpm", "alpm")
DISTRO = re.compile(r"([a-z][a-z-]*?)-(\d[\d.]*)")  # debian-12, almalinux-9.4
SOURCE_RPM = re.compile(r"(.+)-([^-]+-[^-]+)\.src(?:\.rpm)?")  # perl-5.26.3-422.el8.src.rpm
HEADER = {"name", "package"}


class CannotRead(ValueError):
    """The list is none that we know, in words for whoever brought it."""


@dataclass(frozen=True)
class Inventory:
    """`distribution` is empty where the list does not tell."""

    items: tuple[Item, ...]
    distribution: str = ""
    skipped: int = 0  # entries that are no packages of a distribution, such as libraries of a language


def read(text: str) -> Inventory:
    """Raises CannotRead."""
    stripped = text.lstrip("\ufeff \t\r\n")
    if stripped.startswith(("{", "[")):
        try:
            found = json.loads(stripped)
        except ValueError as error:
            raise CannotRead(f"This begins like JSON, but is none: {error}.") from error
        inventory = read_json(found)
    else:
        inventory = Inventory(tuple(plain(stripped)))
    if not inventory.items:
        raise CannotRead("There is no package in it.")
    return inventory


def read_json(found: Any) -> Inventory:
    if isinstance(found, list):  # a plain list, in JSON
        return Inventory(tuple(item_of(row) for row in found))
    if found.get("bomFormat") == "CycloneDX":
        return read_cyclonedx(found)
    if isinstance(found.get("packages"), list):
        distribution = found.get("distribution") or ""
        return Inventory(tuple(item_of(row) for row in found["packages"]), str(distribution))
    raise CannotRead("This JSON is neither a scan of ours (with `packages`) nor CycloneDX (with `bomFormat`).")


def item_of(row: Any) -> Item:
    """From {"name": …, "version": …} or ["bash", "5.2-1", "amd64", …]."""
    if isinstance(row, Mapping):
        values = [row.get(column) or "" for column in (*COLUMNS, "module")]
    elif isinstance(row, Sequence) and not isinstance(row, str):
        values = [*row]
    else:
        values = []
    if len(values) < 2 or not all(isinstance(value, str) for value in values) or not (values[0] and values[1]):
        raise CannotRead(f"A package needs a name and a version, and this has not: {json.dumps(row)[:100]}")
    return item(values)


def item(values: Sequence[str]) -> Item:
    """From the columns' values, as far as they go; a sixth is the module's label, such as perl:5.32:8060."""
    *known, label = ("" if value == "(none)" else value for value in (*values, *[""] * 6)[: len(COLUMNS) + 1])
    return Item(*(*known, ":".join(label.split(":")[:2])))


# --- a plain list -----------------------------------------------------------------------------------


def plain(text: str) -> Iterator[Item]:
    """Lines with name, version, architecture, source and source version, by tabs, commas or spaces; # comments."""
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        values = split(line)
        if number == 1 and values[0].lower() in HEADER:
            continue
        if len(values) < 2 or not (values[0] and values[1]):
            raise CannotRead(f"Line {number} has no version: {line.strip()[:80]!r}.")
        yield item(values)


def split(line: str) -> list[str]:
    if "\t" in line:
        return [value.strip() for value in line.split("\t")]
    if "," in line:
        return [value.strip() for value in next(csv.reader([line]))]
    return line.split()


# --- CycloneDX --------------------------------------------------------------------------------------


def read_cyclonedx(document: Mapping[str, Any]) -> Inventory:
    """https://cyclonedx.org/docs/1.6/json/ : components, by their package URL."""
    items, distributions, skipped = [], [], 0
    for component in components(document.get("components") or ()):
        try:
            purl = PackageURL.from_string(component.get("purl") or "")
        except ValueError:
            skipped += 1
            continue
        if purl.type not in PURL_TYPES or not purl.version:
            skipped += 1
            continue
        items.append(of_purl(purl))
        distributions.append(distribution_of(purl))
    known = [name for name in distributions if name]
    return Inventory(tuple(items), max(set(known), key=known.count) if known else "", skipped)


def components(found: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    for component in found:
        yield component
        yield from components(component.get("components") or ())


def of_purl(purl: PackageURL) -> Item:
    """pkg:deb/debian/libssl3@3.0.9-1?arch=amd64&distro=debian-12&upstream=openssl"""
    qualifiers: Mapping[str, str] = purl.qualifiers if isinstance(purl.qualifiers, dict) else {}
    version = str(purl.version)
    if qualifiers.get("epoch", "0") != "0" and ":" not in version:
        version = f"{qualifiers['epoch']}:{version}"
    source, source_version = source_of(qualifiers.get("upstream", ""))
    module = ":".join(qualifiers.get("modularitylabel", "").split(":")[:2])
    return Item(purl.name, version, qualifiers.get("arch", ""), source, source_version, module)


def source_of(upstream: str) -> tuple[str, str]:
    """ "openssl@3.0.9-1", or for rpm "openssl-3.0.7-6.el9.src.rpm", which has no epoch and so gives no version"""
    if match := SOURCE_RPM.fullmatch(upstream):
        return match[1], ""
    source, _, version = upstream.partition("@")
    return source, version


def distribution_of(purl: PackageURL) -> str:
    qualifiers: Mapping[str, str] = purl.qualifiers if isinstance(purl.qualifiers, dict) else {}
    distro = qualifiers.get("distro", "").lower()
    if purl.type == "alpm":
        return "arch"
    if distro in CODENAMES:
        return CODENAMES[distro]
    match = DISTRO.fullmatch(distro)
    return release_name(match[1], match[2]) if match else ""
