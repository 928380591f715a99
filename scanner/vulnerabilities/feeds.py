"""Which feeds there are, and which of them the hosts need."""

from collections.abc import Callable, Collection
from typing import NamedTuple

from scanner.vulnerabilities.arch import Arch
from scanner.vulnerabilities.debian import Debian
from scanner.vulnerabilities.epss import Epss
from scanner.vulnerabilities.interface import Feed
from scanner.vulnerabilities.kev import Kev
from scanner.vulnerabilities.osv import AlmaLinux, RedHat, RockyLinux, Suse, Ubuntu


class Listed(NamedTuple):
    name: str
    make: Callable[[Collection[str] | None], Feed]  # with the releases whose rows are wanted
    serves: tuple[str, ...]  # "alma" of "alma:9"; none: every host


FEEDS = (
    Listed("debian", Debian, ("debian",)),
    Listed("ubuntu", Ubuntu, ("ubuntu", "ubuntu-pro")),
    Listed("alma", AlmaLinux, ("alma",)),
    Listed("rocky", RockyLinux, ("rocky",)),
    Listed("redhat", RedHat, ("rhel",)),
    Listed("suse", Suse, ("sles", "leap")),
    Listed("arch", Arch, ("arch",)),
    Listed("kev", Kev, ()),
    Listed("epss", Epss, ()),
)


def needed(distributions: Collection[str]) -> list[str]:
    """The names of the feeds that serve these releases, one for each host. No host needs no feed."""
    families = {distribution.partition(":")[0] for distribution in distributions}
    return [feed.name for feed in FEEDS if distributions and (not feed.serves or families.intersection(feed.serves))]


def serving(distribution: str) -> str:
    """The name of the feed that is about a release; "" where there is none."""
    family = distribution.partition(":")[0]
    return next((feed.name for feed in FEEDS if family in feed.serves), "")


def make(name: str, distributions: Collection[str] | None = None) -> Feed:
    """The feed of that name, to read the rows of these releases; None means all. Raises KeyError."""
    makers = {feed.name: feed.make for feed in FEEDS}
    return makers[name](distributions)
