"""Which feeds are read: those that some host needs, and no other."""

import pytest

from scanner.vulnerabilities.feeds import FEEDS, make, needed
from scanner.vulnerabilities.interface import Feed


@pytest.mark.parametrize(
    ("distributions", "names"),
    [
        ([], []),
        (["debian:12"], ["debian", "kev", "epss"]),
        (["ubuntu:22.04"], ["ubuntu", "kev", "epss"]),
        (["ubuntu-pro:18.04"], ["ubuntu", "kev", "epss"]),
        (["rhel:9", "rhel:8"], ["redhat", "kev", "epss"]),
        (["sles:15.5"], ["suse", "kev", "epss"]),
        (["leap:15.6"], ["suse", "kev", "epss"]),
        (["arch"], ["arch", "kev", "epss"]),
        (["fedora:42"], ["kev", "epss"]),  # the host's own updateinfo has to do
        (["rocky:9", "alma:9", "debian:12"], ["debian", "alma", "rocky", "kev", "epss"]),
    ],
)
def test_only_the_feeds_that_some_host_needs_are_read(distributions, names):
    assert needed(distributions) == names


def test_the_names_are_the_feeds_own_and_each_says_what_it_is_and_where_it_is_published():
    assert [feed.name for feed in FEEDS] == [
        "debian", "ubuntu", "alma", "rocky", "redhat", "suse", "arch", "kev", "epss",
    ]  # fmt: skip
    for listed in FEEDS:
        feed = make(listed.name)
        assert isinstance(feed, Feed)
        assert feed.name == listed.name
        assert feed.label
        assert feed.address.startswith("https://")


def test_a_feed_is_made_for_the_releases_of_the_hosts():
    assert make("debian", {"debian:12", "rhel:9"}).releases == {"debian:12", "rhel:9"}
    for release in ("ubuntu:22.04", "ubuntu-pro:22.04"):  # either host needs both kinds of rows
        assert make("ubuntu", {release, "debian:12"}).releases == {"ubuntu:22.04", "ubuntu-pro:22.04"}
