"""Ubuntu Pro: security updates that Ubuntu publishes only to hosts with a subscription (ESM).

Commands: pro(1), called ua in older releases. `pro security-status --format json` works as any user and needs no
network. Of an archive that the host is not subscribed to, apt knows nothing: only this program tells of such a fix.
"""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from scanner.package_managers.command import CommandError, Runner
from scanner.package_managers.interface import Installed, Update
from scanner.vulnerabilities.version_keys import dpkg_key

PROGRAMS = ("pro", "ua")
SCHEMA = "0.1"  # the only one there has been since the command left its beta
ESM = frozenset(("esm-infra", "esm-apps"))
ESM_LISTS = "var/lib/ubuntu-advantage/apt-esm/var/lib/apt/lists"
BLOCKED = "pinned"  # as with a pin: the fix is known, lies above what this host would install, and is counted apart
WITHOUT_PRO = {
    "pending_attach": "which this host is not attached to: the fix needs Ubuntu Pro",
    "pending_enable": "which is not enabled on this host: `pro enable {service}` makes the fix available",
    "upgrade_unavailable": "which this host's Ubuntu Pro subscription does not include: the fix needs another one",
}
WITH_PRO = frozenset(("upgrade_available", "upgrade_available_not_preferred"))  # apt knows of these, pinned or not


@dataclass(frozen=True, slots=True)
class ProFix:
    """One version with a security fix, and what stands between it and this host. `origin` is the server's name."""

    name: str
    architecture: str  # "" = the native one or "all"
    version: str
    service: str
    origin: str
    state: str

    @property
    def needs_pro(self) -> bool:
        return self.state in WITHOUT_PRO

    @property
    def reason(self) -> str:
        return f"{self.version} is in Ubuntu's {self.service}, {WITHOUT_PRO[self.state].format(service=self.service)}."


@dataclass(frozen=True, slots=True)
class ProStatus:
    attached: bool
    enabled: tuple[str, ...]
    fixes: tuple[ProFix, ...]


@dataclass(frozen=True, slots=True)
class ProUnknown:
    """Ubuntu Pro is there, but what it would fix could not be learned. This is not the same as nothing."""

    note: str


def pro_status(runner: Runner, root: Path | None = None, host: Path = Path("/")) -> ProStatus | ProUnknown | None:
    """What `pro` says of this host. None: it has no such program, or another root is scanned: of that it knows nothing.

    `host` is where this host's own files are looked for.
    """
    if root is not None:
        return None
    path = runner.environment.get("PATH")
    program = next((program for program in PROGRAMS if shutil.which(program, path=path)), None)
    if program is None:
        return None
    try:
        result = runner.run([program, "security-status", "--format", "json"])
        if result.code != 0:
            return unknown(f"`{program} security-status` says: {result.last_words}")
        status = parse_security_status(result.out)
    except CommandError as error:
        return unknown(str(error))
    except ValueError as error:
        return unknown(f"`{program} security-status` did not answer in its own words: {error}.")
    return unknown(NO_LISTS) if lists_are_missing(status, host) else status


NO_LISTS = "The package lists of Ubuntu's ESM are not on this host. Run `sudo apt-get update` and scan again."


def unknown(why: str) -> ProUnknown:
    return ProUnknown(f"Whether there are security fixes that need Ubuntu Pro is not known. {why}")


def lists_are_missing(status: ProStatus, host: Path) -> bool:
    """Without ESM's own lists, which `apt-get update` fetches on every LTS, `pro` counts no fix and says nothing."""
    if set(status.enabled) >= ESM or any(fix.service in ESM for fix in status.fixes) or not is_lts(host):
        return False
    return not any((host / ESM_LISTS).glob("*_Packages*"))


def is_lts(host: Path) -> bool:
    # VERSION="22.04.5 LTS (Jammy Jellyfish)"
    try:
        lines = (host / "etc/os-release").read_text(errors="replace").splitlines()
    except OSError:
        return False
    return any(line.startswith("VERSION=") and " LTS" in line for line in lines) and "ID=ubuntu" in lines


# --- reading what it prints -----------------------------------------------------------------------


def parse_security_status(text: str) -> ProStatus:
    """ValueError for everything that is not a whole answer of a known kind."""
    # {"_schema_version": "0.1", "summary": {"ua": {"attached": false, "enabled_services": [], …}, …}, "packages": […]}
    document = json.loads(text)
    if not isinstance(document, dict) or document.get("_schema_version") != SCHEMA:
        version = document.get("_schema_version") if isinstance(document, dict) else None
        raise ValueError(f"its schema version is {version!r}, not {SCHEMA!r}")
    try:
        pro = document["summary"]["ua"]
        status = ProStatus(pro["attached"], tuple(pro["enabled_services"]), tuple(map(fix, document["packages"])))
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"its answer is incomplete ({type(error).__name__}: {error})") from None
    if not isinstance(status.attached, bool):
        raise ValueError(f"attached is {status.attached!r}")
    return status


def fix(row: Mapping[str, str]) -> ProFix:
    # {"package": "libssl1.1", "version": "1.1.1-1ubuntu2.1~18.04.23+esm5", "service_name": "esm-infra",
    #  "status": "pending_attach", "origin": "esm.ubuntu.com", "download_size": 1301976}
    # "package": "libssl1.1:i386" where it is not the native architecture, as apt.Package.name has it
    name, _, architecture = row["package"].partition(":")
    state = row["status"]
    if state not in WITHOUT_PRO and state not in WITH_PRO:
        raise ValueError(f"the status {state!r} of {name} is not a known one")
    dpkg_key(row["version"])  # ValueError where it is none
    return ProFix(name, architecture, row["version"], row["service_name"], row["origin"], state)


# --- deciding -------------------------------------------------------------------------------------


def updates_that_need_pro(
    status: ProStatus, installed: Sequence[Installed], native: str, updates: Sequence[Update] = ()
) -> tuple[Update, ...]:
    """For each installed package the newest fix that only Ubuntu Pro has. `updates`: what apt itself offers; a fix
    that this reaches needs no Pro. One that is enabled needs none either: then apt itself knows its archive."""
    inventory = {(package.name, package.architecture): package for package in installed}
    reached = {(package.name, package.architecture): package.version for package in installed}
    for update in updates:
        if update.blocked != "pinned":
            reached[update.name, update.architecture] = update.available_version
    newest: dict[tuple[str, str], ProFix] = {}
    for fix in sorted(status.fixes, key=lambda fix: dpkg_key(fix.version)):
        for architecture in (fix.architecture,) if fix.architecture else (native, "all"):
            key = fix.name, architecture
            if fix.needs_pro and key in reached and dpkg_key(fix.version) > dpkg_key(reached[key]):
                newest[key] = fix
    return tuple(needing_pro(inventory[key], newest[key]) for key in inventory if key in newest)


def needing_pro(package: Installed, fix: ProFix) -> Update:
    return Update(
        package.name,
        package.architecture,
        package.version,
        fix.version,
        package.source,
        True,
        fix.reason,
        (f"{fix.service}:{fix.origin}",),
        held=package.held,
        blocked=BLOCKED,
    )
