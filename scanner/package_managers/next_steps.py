"""What to do about a package manager's complaint: rules as data. The first pattern that stands in its words counts."""

from scanner.package_managers.command import Result
from scanner.package_managers.interface import PackageManagerError

SERVERS = "Check that the host can reach its package servers."
NEXT_STEPS = (
    ("No space left on device", "Free some disk space and scan again."),
    ("not enough free", "Free some disk space and scan again."),
    # apt
    ("Could not get lock", "Another program is using apt: scan again when it has ended."),
    ("dpkg was interrupted", "Run `dpkg --configure -a` on the host."),
    ("nmet dependencies", "Run `apt-get --fix-broken install` on the host."),
    ("NO_PUBKEY", "Install the archive's signing key on the host."),
    ("Unable to parse package file", "Run `apt-get update` on the host to fetch the lists again."),
    ("MergeList", "Run `apt-get update` on the host to fetch the lists again."),
    ("status file could not be parsed", "Run `apt-get update` on the host to fetch the lists again."),
    # pacman
    ("unable to lock database", "Another program is using pacman: scan again when it has ended."),
    ("failed retrieving file", "Check that the host can reach its mirrors."),
    ("no usable package repositories", "Add a repository with a server to /etc/pacman.conf on the host."),
    ("failed to initialize alpm", "Is this the right root? Its database is DBPath in pacman.conf."),
    ("Unrecognized archive format", "Scan with refreshing switched on to fetch the databases again."),
    # dnf, yum, rpm
    ("no enabled repositories", "Enable a repository in /etc/yum.repos.d on the host."),
    ("no cache for", "Run `dnf makecache` on the host, or scan with refreshing switched on."),
    ("--json", "This dnf5 is too old to list advisories as JSON: update it to 5.2.4 or later."),
    ("rpmdb", "Run `rpm --rebuilddb` on the host as root."),
    ("Waiting for process", "Another program is using dnf or rpm: scan again when it has ended."),
    ("lock", "Another program is using dnf or rpm: scan again when it has ended."),
    # all of them
    ("resolve host", "Check the host's network and name resolution."),
    ("resolving", "Check the host's network and name resolution."),
    ("All mirrors were tried", SERVERS),
    ("Failed to download metadata", SERVERS),
    ("connect", SERVERS),
    ("not installed", "Install it, or choose another package manager."),
)


def advice(words: str) -> str:
    """The next step, or "" where none is known."""
    return next((step for pattern, step in NEXT_STEPS if pattern in words), "")


def problem(what: str, result: Result) -> PackageManagerError:
    """`what` went wrong, in the program's own last words, with the next step."""
    return PackageManagerError(f"{what}: {result.last_words}", advice(f"{result.last_words}\n{result.err}"))
