"""unattended-upgrades: what the host's own nightly upgrade did, and what it left, by its log.

The log speaks the language of the host, its times are the host's local ones without a zone, and most runs in it only
download: those, and dry runs, are passed over for the last one that says what it did.
"""

import gettext
import grp
import gzip
import io
import os
import pwd
import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from zoneinfo import ZoneInfo

LOG = "var/log/unattended-upgrades/unattended-upgrades.log"
CATALOGUES = "usr/share/locale/*/LC_MESSAGES/unattended-upgrades.mo"
TAIL = 1 << 20  # bytes of a log that are read, from its end; a run writes some kilobytes
UNPACKED_LIMIT = 64 << 20  # bytes of a rotated log that are unpacked to get to its end
NAMES_SHOWN = 10


@dataclass(frozen=True, slots=True)
class UnattendedUpgrades:
    """The last run that says what it did. `unfinished`: what it set out to install without saying that it has."""

    last_run: datetime | None
    installed: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    errors: tuple[str, ...] = ()
    unfinished: tuple[str, ...] = ()


@dataclass(slots=True)
class Run:
    start: datetime
    planned: tuple[str, ...] | None = None
    done: bool = False  # it said so: all installed, or nothing found
    ended: bool = False  # what is left is listed after the installation
    dry: bool = False
    left: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    @property
    def telling(self) -> bool:
        """Not so a run that only downloads, or that installs at the shutdown: it logs how it starts, nothing else."""
        return not self.dry and bool(self.done or self.planned is not None or self.left or self.errors)


def notes(root: Path | None = None, *, log: Path | None = None, now: datetime | None = None) -> tuple[str, ...]:
    """Sentences for a person; none where the program never was. `log`: another place than the usual one."""
    host = root or Path("/")
    path = log or host / LOG
    try:
        text = newest_text(path, host)
        if text is None:
            return ()
        return sentences(parse(text, zone_of(host), language_of(text, host)), path, now or datetime.now(UTC))
    except PermissionError:
        return (f"The log of unattended-upgrades ({path}) may not be read by this user. {permission(path)}",)
    except (OSError, EOFError, zlib.error) as error:  # the last two: a rotated log that was cut off or is damaged
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        return (f"The log of unattended-upgrades ({path}) could not be read: {reason}.",)


# --- reading the file -----------------------------------------------------------------------------


def newest_text(path: Path, host: Path) -> str | None:
    """The end of the log; of a rotated one where it tells of no run (the day after logrotate). None: there is none."""
    newest = None
    for candidate in (path, path.with_name(path.name + ".1"), path.with_name(path.name + ".1.gz")):
        try:
            text = tail(candidate)
        except (FileNotFoundError, NotADirectoryError):
            continue
        newest = text if newest is None else newest
        if parse(text, UTC, language_of(text, host)).last_run:
            return text
    return newest


def tail(path: Path) -> str:
    with path.open("rb") as file:
        if path.suffix == ".gz":
            data = unpacked_tail(file)
        else:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - TAIL))
            data = file.read(TAIL)
    return data.decode(errors="replace")


def unpacked_tail(file: io.BufferedReader) -> bytes:
    data = b""
    with gzip.open(file) as unpacked:
        for _ in range(UNPACKED_LIMIT // TAIL):
            chunk = unpacked.read(TAIL)
            if not chunk:
                break
            data = (data + chunk)[-TAIL:]
    return data


def zone_of(host: Path) -> tzinfo:
    """The host's own zone. Not this process's: Django sets that to its own, and another root may have another."""
    try:
        with (host / "etc/localtime").open("rb") as file:
            return ZoneInfo.from_file(file)
    except (OSError, ValueError):
        return UTC  # as the C library has it


def permission(path: Path) -> str:
    """How to let this user read it: by the group that may, else by an entry of its own."""
    try:
        user = pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        user = str(os.geteuid())
    blocked = path if os.access(path.parent, os.X_OK) else path.parent
    try:
        status = blocked.stat()
        group, readable = grp.getgrgid(status.st_gid).gr_name, status.st_mode & 0o040
    except (OSError, KeyError):
        group, readable = "adm", 0o040
    # drwxr-x--- root adm /var/log/unattended-upgrades
    if readable and group != "root":
        return f"Run `sudo usermod -aG {group} {user}` and start the scanner again."
    return f"Run `sudo setfacl -m u:{user}:{'rx' if blocked == path.parent else 'r'} {blocked}`."


# --- reading the text -----------------------------------------------------------------------------

STARTING = "Starting unattended upgrades script"
PLANNED = "Packages that will be upgraded: %s"
DONE = (
    "All upgrades installed",
    "No packages found that can be upgraded unattended and no pending auto-removals",
    "No packages found that can be upgraded unattended",  # up to 0.9x
)
LEFT = (
    "Package %s is kept back because a related package is kept back or due to local apt_preferences(5).",
    "Package %s is marked to be held back.",
    "Package %s is blacklisted.",
    "Package %s is not on the strict whitelist.",
    "Package %s is not whitelisted and it is not a dependency of a whitelisted package.",
    "Package %s's origin is not trusted.",
    "Package %s has conffile prompt and needs to be upgraded manually",
    "package %s upgradable but fails to be marked for upgrade (%s)",
    "package %s not upgraded",
)
# These are never translated.
DRY_RUN = "Option --dry-run given"
STOPPED = ("SIGNAL received, stopping", "System is on battery power, stopping")
OF_ANOTHER_RUN = "Lock file is already taken, exiting"  # of one that came while this one was at work

# 2026-11-21 06:12:09,529 INFO Packages that will be upgraded: libssl3 openssl
LINE = re.compile(r"(?P<time>\d{4}-\d\d-\d\d \d\d:\d\d:\d\d),\d{3} (?P<level>[A-Z]+) (?P<message>.*)")

ENGLISH = gettext.NullTranslations()


def language_of(text: str, host: Path) -> gettext.NullTranslations:
    """The host's system language is the log's: 'INFO Skript für automatische Systemaktualisierung wird gestartet'.

    The program's own catalogues, installed with it, tell what it says in that language. The one that it spoke last.
    """
    catalogues = [ENGLISH, *catalogues_of(host)]
    return max(catalogues, key=lambda catalogue: text.rfind(f" INFO {catalogue.gettext(STARTING)}"))


def catalogues_of(host: Path) -> Iterator[gettext.NullTranslations]:
    for path in sorted(host.glob(CATALOGUES)):
        try:
            with path.open("rb") as file:
                yield gettext.GNUTranslations(file)
        except (OSError, ValueError):  # a damaged catalogue is a language that is not understood
            continue


def parse(text: str, zone: tzinfo, language: gettext.NullTranslations = ENGLISH) -> UnattendedUpgrades:
    """`last_run` is None where no run says what it did."""
    last = next((run for run in reversed(runs(text, zone, Words(language))) if run.telling), None)
    if last is None:
        return UnattendedUpgrades(None)
    planned = last.planned or ()
    if last.ended and not last.errors:  # in minimal steps it does not always say that all is installed
        planned = tuple(name for name in planned if name not in last.left)
    through = last.done or (last.ended and not last.errors)
    return UnattendedUpgrades(
        last.start,
        installed=planned if through else (),
        left=tuple(dict.fromkeys(last.left)),
        errors=tuple(dict.fromkeys(last.errors)),
        unfinished=() if through else planned,
    )


class Words:
    """What the program says in one language, as patterns."""

    def __init__(self, language: gettext.NullTranslations) -> None:
        self.starting = pattern(language, STARTING)
        self.planned = pattern(language, PLANNED)
        self.done = [pattern(language, sentence) for sentence in DONE]
        self.left = [pattern(language, sentence) for sentence in LEFT]


def pattern(language: gettext.NullTranslations, sentence: str) -> re.Pattern[str]:
    # Package 'linux-base' has conffile prompt …       up to 1.0 names stood in quotes
    return re.compile(re.escape(language.gettext(sentence)).replace("%s", "'?(.*?)'?") + r"\s*")


def runs(text: str, zone: tzinfo, words: Words) -> list[Run]:
    found: list[Run] = []
    for time, level, message in entries(text, zone):
        stopped = message.startswith(STOPPED)
        if words.starting.fullmatch(message) or (stopped and (not found or found[-1].done)):
            found.append(Run(time))  # on battery it stops before it says that it starts
        if found and not message.startswith(OF_ANOTHER_RUN):
            take(found[-1], level, message, words)
    return found


def take(run: Run, level: str, message: str, words: Words) -> None:
    if planned := words.planned.fullmatch(message):
        run.planned = tuple(planned[1].split())
    elif message.startswith(DRY_RUN):
        run.dry = True
    elif any(sentence.fullmatch(message) for sentence in words.done):
        run.done = True
    elif left := next((match for sentence in words.left if (match := sentence.fullmatch(message))), None):
        run.left.append(left[1])
        run.ended = run.planned is not None
    elif level in ("ERROR", "CRITICAL") or message.startswith(STOPPED):  # levels are the same in every language
        run.errors.append(message.strip())


def entries(text: str, zone: tzinfo) -> Iterator[tuple[datetime, str, str]]:
    for line in text.splitlines():  # lines without a time go on with what dpkg or a traceback said
        if match := LINE.fullmatch(line):
            try:
                time = datetime.strptime(match["time"], "%Y-%m-%d %H:%M:%S").replace(tzinfo=zone)
            except ValueError:
                continue
            yield time, match["level"], match["message"]


# --- saying it ------------------------------------------------------------------------------------


def sentences(found: UnattendedUpgrades, path: Path, now: datetime) -> tuple[str, ...]:
    if found.last_run is None:
        return (f"The log of unattended-upgrades ({path}) tells of no run that installed or looked for updates.",)
    when = f"{ago(now - found.last_run)} ({found.last_run:%Y-%m-%d %H:%M})"
    told = [f"unattended-upgrades last ran {when} and {' and '.join(outcome(found))}."]
    if found.unfinished and not found.errors:
        told.append("The log of unattended-upgrades ends in the middle of that run: it is at work or was interrupted.")
    if found.errors:
        told.append(f"unattended-upgrades reported in that run: {'; '.join(found.errors[:4])}")
    return tuple(told)


def outcome(found: UnattendedUpgrades) -> list[str]:
    said = [
        *([f"installed {counted(found.installed)}"] if found.installed else []),
        *([f"set out to install {counted(found.unfinished)}"] if found.unfinished else []),
        *([f"left {counted(found.left)}"] if found.left else []),
    ]
    return said or ["did not come to its end" if found.errors else "found nothing to install"]


def counted(names: Sequence[str]) -> str:
    shown = ", ".join(names[:NAMES_SHOWN])
    more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
    return f"{len(names)} package{'' if len(names) == 1 else 's'} ({shown}{more})"


def ago(age: timedelta) -> str:
    for unit, length in (("day", timedelta(days=1)), ("hour", timedelta(hours=1)), ("minute", timedelta(minutes=1))):
        if number := max(age, timedelta()) // length:
            return f"{number} {unit}{'' if number == 1 else 's'} ago"
    return "just now"
