"""Lists that somebody brings."""

import json

import pytest

from scanner.vulnerabilities.inventory import CannotRead, read
from scanner.vulnerabilities.matching import Item

OPENSSL = Item("libssl3", "3.0.9-1", "amd64", "openssl", "3.0.9-1")


def test_a_plain_list_may_name_the_module_as_rpm_prints_it() -> None:
    rows = (
        ("perl", "4:5.32.1-471", "x86_64", "", "", "perl:5.32:8060020220505:9edba152"),
        ("bash", "5.1-1", "x86_64", "", "", "(none)"),
    )
    assert read("\n".join("\t".join(row) for row in rows)).items == (
        Item("perl", "4:5.32.1-471", "x86_64", module="perl:5.32"),
        Item("bash", "5.1-1", "x86_64"),
    )


@pytest.mark.parametrize(
    "text",
    [
        "libssl3 3.0.9-1 amd64 openssl 3.0.9-1\n",
        "libssl3\t3.0.9-1\tamd64\topenssl\t3.0.9-1",
        "# from dpkg-query\n\nlibssl3, 3.0.9-1, amd64, openssl, 3.0.9-1",
        "name,version,architecture,source,source_version\nlibssl3,3.0.9-1,amd64,openssl,3.0.9-1",
        '[["libssl3", "3.0.9-1", "amd64", "openssl", "3.0.9-1"]]',
        '{"packages": [{"name": "libssl3", "version": "3.0.9-1", "architecture": "amd64", "source": "openssl", '
        '"source_version": "3.0.9-1"}]}',
    ],
)
def test_a_plain_list_and_our_own_document(text: str) -> None:
    assert read(text).items == (OPENSSL,)


def test_name_and_version_are_enough() -> None:
    assert read("bash 5.2-1\nvim 9.0-1").items == (Item("bash", "5.2-1"), Item("vim", "9.0-1"))


def bom(*purls: str) -> str:
    return json.dumps(
        {"bomFormat": "CycloneDX", "specVersion": "1.6", "components": [{"purl": each} for each in purls]}
    )


def test_a_cyclonedx_document_tells_packages_source_and_release() -> None:
    found = read(
        bom(
            "pkg:deb/debian/libssl3@3.0.9-1?arch=amd64&distro=debian-12&upstream=openssl%403.0.9-1",
            "pkg:npm/left-pad@1.3.0",
            "",
        )
    )
    assert (found.items, found.distribution, found.skipped) == ((OPENSSL,), "debian:12", 2)


@pytest.mark.parametrize(
    ("purl", "item", "distribution"),
    [
        (
            "pkg:rpm/almalinux/perl@5.32.1-471.module_el8?arch=x86_64&distro=almalinux-8.10&epoch=4"
            "&modularitylabel=perl:5.32:8060020220505:9edba152&upstream=perl-5.32.1-471.module_el8.src.rpm",
            Item("perl", "4:5.32.1-471.module_el8", "x86_64", "perl", "", "perl:5.32"),
            "alma:8",
        ),
        ("pkg:alpm/arch/bash@5.2.26-2?arch=x86_64", Item("bash", "5.2.26-2", "x86_64"), "arch"),
        ("pkg:deb/ubuntu/bash@5.1-6?distro=jammy", Item("bash", "5.1-6"), "ubuntu:22.04"),
        ("pkg:deb/ubuntu/bash@5.1-6?distro=ubuntu-22.04", Item("bash", "5.1-6"), "ubuntu:22.04"),
    ],
)
def test_each_familys_package_urls(purl: str, item: Item, distribution: str) -> None:
    found = read(bom(purl))
    assert (found.items, found.distribution) == ((item,), distribution)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no package"),
        ("{", "none"),
        ("{}", "neither"),
        ("bash\n", "Line 1 has no version"),
        ('[["bash"]]', "name and a version"),
        ('[{"name": "bash"}]', "name and a version"),
        ("[7]", "name and a version"),
        (bom("pkg:npm/left-pad@1.3.0"), "no package"),
    ],
)
def test_what_cannot_be_read_is_said(text: str, words: str) -> None:
    with pytest.raises(CannotRead, match=words):
        read(text)
