"""The lock files install everywhere: each package with its hashes, and no address of anybody's registry."""

import re
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parent.parent / "requirements"


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def chosen(name: str) -> set[str]:
    # django-htmx>=1.29,<2          # the next major …
    lines = (FOLDER / f"{name}.in").read_text().splitlines()
    return {canonical(match[0]) for line in lines if (match := re.match(r"[A-Za-z0-9._-]+", line)) and line[0] != "-"}


def locked(name: str) -> set[str]:
    # django==5.2.19 \
    lines = (FOLDER / f"{name}.txt").read_text()
    return {canonical(found) for found in re.findall(r"^([\w.-]+)(?:\[\S*\])?==", lines, re.MULTILINE)}


@pytest.mark.parametrize("name", ["base", "test"])
def test_what_we_chose_is_locked(name: str) -> None:
    assert chosen(name) <= locked(name)


@pytest.mark.parametrize("name", ["base", "test"])
def test_every_locked_package_has_a_hash(name: str) -> None:
    blocks = re.split(r"^(?=\S)", (FOLDER / f"{name}.txt").read_text(), flags=re.MULTILINE)
    packages = [block for block in blocks if "==" in block.partition("\n")[0]]
    assert packages
    assert [block for block in packages if "--hash=sha256:" not in block] == []


@pytest.mark.parametrize("path", sorted(FOLDER.iterdir()), ids=lambda path: path.name)
def test_no_address_of_a_registry_is_named(path: Path) -> None:
    assert re.findall(r"://|--(?:extra-)?index-url|--find-links|--trusted-host", path.read_text()) == []
