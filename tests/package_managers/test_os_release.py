"""What a root calls itself, and what feeds call that."""

from pathlib import Path

import pytest

from scanner.package_managers import release_of
from scanner.package_managers.os_release import parse, read, release, words

QUOTED = """\
# ID=fedora
PRETTY_NAME="Sam's \\"own\\" \\$5 Linux"
NAME='Own Linux'
  ID=own
ID_LIKE="Debian  ubuntu"
this is no line of it
EMPTY=
"""


def test_quotes_and_escapes_are_those_of_a_shell_and_comments_are_none() -> None:
    assert parse(QUOTED) == {
        "PRETTY_NAME": 'Sam\'s "own" $5 Linux',
        "NAME": "Own Linux",
        "ID": "own",
        "ID_LIKE": "Debian  ubuntu",
        "EMPTY": "",
    }


def test_what_it_is_and_what_it_is_like_are_words_in_lower_case() -> None:
    assert words(parse(QUOTED)) == {"own", "debian", "ubuntu"}
    assert words({}) == frozenset()


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ('ID=debian\nVERSION_ID="12"\nVERSION_CODENAME=bookworm', "debian:12"),
        ("ID=debian\nVERSION_CODENAME=trixie", "debian:13"),  # testing and unstable
        ("ID=debian\nVERSION_CODENAME=sid", "debian:sid"),
        ("ID=debian\nVERSION_CODENAME=unheard-of", ""),
        ("ID=debian", ""),
        ('ID=ubuntu\nVERSION_ID="22.04"', "ubuntu:22.04"),
        ('ID="almalinux"\nVERSION_ID="9.4"', "alma:9"),
        ('ID="rocky"\nVERSION_ID="9.4"', "rocky:9"),
        ('ID="rhel"\nVERSION_ID="8.10"', "rhel:8"),
        ('ID="centos"\nID_LIKE="rhel fedora"\nVERSION_ID="9"', "centos:9"),  # Stream
        ('ID="sles"\nVERSION_ID="15.5"', "sles:15.5"),
        ('ID="opensuse-leap"\nVERSION_ID="15.5"', "leap:15.5"),
        ("ID=arch\nBUILD_ID=rolling", "arch"),
        ("ID=arch\nVERSION_ID=20240101.0.204074", "arch"),  # its images for containers
        ("ID=fedora\nVERSION_ID=40", "fedora:40"),
        ('ID="amzn"\nVERSION_ID="2023"', "amzn:2023"),
        ('ID=linuxmint\nID_LIKE="ubuntu debian"\nVERSION_ID="21"\nVERSION_CODENAME=vanessa', "linuxmint:21"),
        ("ID=devuan\nID_LIKE=debian\nVERSION_CODENAME=trixie", ""),  # not Debian's
        ("ID=gentoo", ""),
        ('VERSION_ID="12"', ""),
        ("", ""),
    ],
)
def test_a_release_is_named_as_feeds_name_it(text: str, named: str) -> None:
    assert release(parse(text)) == named


def test_the_file_in_etc_counts_before_the_vendors_own(tmp_path: Path) -> None:
    for place, text in (("usr/lib", "ID=debian\nVERSION_ID=11\n"), ("etc", "ID=debian\nVERSION_ID=12\n")):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "os-release").write_text(text)
    assert release_of(tmp_path) == "debian:12"
    (tmp_path / "etc/os-release").unlink()
    assert release_of(tmp_path) == "debian:11"


def test_the_link_of_another_root_does_not_lead_to_this_hosts_own(tmp_path: Path) -> None:
    """Usually it is ../usr/lib/os-release; an absolute one means the file of that name below its root."""
    for place in ("etc", "usr/lib"):
        (tmp_path / "root" / place).mkdir(parents=True)
    (tmp_path / "os-release").write_text("ID=fedora\nVERSION_ID=40\n")
    (tmp_path / "root/usr/lib/os-release").write_text("ID=debian\nVERSION_ID=12\n")
    for target in (tmp_path / "os-release", Path("../usr/lib/os-release"), Path("nowhere")):
        (tmp_path / "root/etc/os-release").unlink(missing_ok=True)
        (tmp_path / "root/etc/os-release").symlink_to(target)
        assert release_of(tmp_path / "root") == "debian:12"


def test_a_root_without_one_is_of_no_known_release(tmp_path: Path) -> None:
    assert (read(tmp_path), release_of(tmp_path)) == ({}, "")
