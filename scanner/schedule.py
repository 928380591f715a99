"""The schedule: a systemd service and timer of our own, or the line that does the same in a crontab.

What is written is made by plain functions; `Systemd` below them is the thin layer that runs systemctl.
"""

import os
import pwd
import re
import shlex
import shutil
import sys
import tempfile
import time
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import ndiff
from pathlib import Path

from django.conf import settings

from scanner.package_managers.command import CommandError, Result, Runner

SERVICE, TIMER = UNITS = ("package-scanner.service", "package-scanner.timer")
SYSTEM_FOLDER = Path("/etc/systemd/system")
SECRETS_FILE = "package-scanner.env"  # in the data folder
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"  # cron's own has no sbin, where needrestart is
PATIENCE = 60  # seconds for systemctl
SCAN = ("scan_system_packages", "--save")
SETUP = "setup_package_scanner_schedule"

# The settings in .env.example, a test sees to it. Secrets stand in no unit, crontab, process list or terminal.
SECRETS = ("SECRET_KEY", "SECRET_KEY_FALLBACKS", "DATABASE_URL", "DATABASE_PASSWORD", "REDIS_URL", "EMAIL_URL")
SETTINGS = (
    *("SCANNER_DATA", "HOST", "PORT", "PUBLIC_URL", "TRUST_PROXY", "ALLOWED_HOSTS"),
    *("SCAN_HOST", "SCAN_TIME_LIMIT", "SCAN_QUEUE_LIMIT", "SCAN_REFRESH", "METADATA_MAX_AGE_DAYS"),
    *("SECURITY_TARGET_HOURS", "AUDIT_DAYS", "ARCH_TRACKER"),
    *("FEEDS", *(f"FEED_{name}" for name in ("DEBIAN", "UBUNTU", "ALMA", "ROCKY", "REDHAT", "SUSE", "KEV", "EPSS"))),
    *("WEBHOOK_ALLOWED_NETWORKS", "WEBHOOK_CA_FILE", "WEBHOOK_LOG_DAYS", "WEBHOOK_LOG_BODY_DAYS", "EMAIL_FROM"),
    *(f"{name}_FILE" for name in SECRETS),
    *("TIME_ZONE", "LOG_LEVEL", "DEBUG"),
)


class ScheduleError(Exception):
    """What cannot be done, and what to do about it."""


class NoSystemd(ScheduleError):
    """There is no systemd here, or none that we can talk to."""


# --- when -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Interval:
    on_calendar: str
    crontab: str
    words: str
    delay: int  # seconds that systemd spreads the start over: not every host at once


INTERVALS = {
    "hourly": Interval("*-*-* *:{minute:02}:00", "{minute} * * * *", "hourly, at minute {minute}", 300),
    "daily": Interval("*-*-* {time}:00", "{minute} {hour} * * *", "daily at {time}", 1800),
    "weekly": Interval("Mon *-*-* {time}:00", "{minute} {hour} * * 1", "weekly, on Monday at {time}", 1800),
    "monthly": Interval("*-*-01 {time}:00", "{minute} {hour} 1 * *", "monthly, on the 1st at {time}", 1800),
}


@dataclass(frozen=True)
class Schedule:
    interval: str = "daily"
    hour: int = 2
    minute: int = 0

    @property
    def on_calendar(self) -> str:
        return self.filled(INTERVALS[self.interval].on_calendar)

    @property
    def crontab(self) -> str:
        return self.filled(INTERVALS[self.interval].crontab)

    @property
    def words(self) -> str:
        return self.filled(INTERVALS[self.interval].words)

    @property
    def time(self) -> str:
        return f"{self.hour:02}:{self.minute:02}"

    @property
    def delay(self) -> int:
        return INTERVALS[self.interval].delay

    def filled(self, pattern: str) -> str:
        return pattern.format(hour=self.hour, minute=self.minute, time=self.time)


# --- what and where ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Installation:
    """What the scan needs to know: everything that this process was told."""

    python: str
    manage: str
    data: str
    user: str  # who scans
    user_id: int
    settings: Mapping[str, str]
    secrets: Mapping[str, str]
    time_limit: int  # seconds

    @property
    def folder(self) -> str:
        return str(Path(self.manage).parent)

    @property
    def secrets_file(self) -> Path:
        return Path(self.data, SECRETS_FILE)

    def command(self, *words: str) -> list[str]:
        return [self.python, self.manage, *words]


def this_installation(system: bool) -> Installation:
    """Where this process runs from. A system timer scans as whom the data folder belongs to, not as root."""
    user_id = settings.SCANNER_DATA.stat().st_uid if system else os.getuid()
    given = {name: os.environ[name] for name in (*SETTINGS, *SECRETS) if os.environ.get(name)}
    given["SCANNER_DATA"] = str(settings.SCANNER_DATA)
    check_text(given | {"the path of Python": sys.executable, "the project's path": str(settings.BASE_DIR)})
    return Installation(
        python=sys.executable,
        manage=str(settings.BASE_DIR / "manage.py"),
        data=str(settings.SCANNER_DATA),
        user=user_name(user_id),
        user_id=user_id,
        settings={name: value for name, value in given.items() if name in SETTINGS},
        secrets={name: value for name, value in given.items() if name in SECRETS},
        # a scan may wait for its turn behind another one, and for the database
        time_limit=settings.SCAN_QUEUE_LIMIT + settings.SCAN_TIME_LIMIT + 300,
    )


def check_text(texts: Mapping[str, str]) -> None:
    for name, text in texts.items():
        if any(unicodedata.category(character) in ("Cc", "Cs") for character in text):
            raise ScheduleError(f"{name} has a line break or another character that neither systemd nor cron can take.")


def check_owner(here: Installation) -> None:
    """Root must not run on a timer what somebody else can rewrite, nor leave files in somebody else's folder."""
    data, code = (user_name(Path(path).stat().st_uid) for path in (here.data, here.manage))
    if here.user_id != 0:
        return
    if data != "root":
        raise ScheduleError(
            f"You are root, and the data folder {here.data} belongs to {data}. Run this as {data}, or with --system: "
            f"a timer of the system that scans as {data}."
        )
    if code != "root":
        raise ScheduleError(
            f"The data folder {here.data} belongs to root, so root would scan, with code that {code} can change "
            f"({here.folder}). Give the folder to who shall scan: {shlex.join(['chown', '-R', code, here.data])}"
        )


def user_name(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:  # a container's user that nobody gave a name
        return str(number)


# --- the files --------------------------------------------------------------------------------------

SERVICE_TEXT = """\
# Written by manage.py setup_package_scanner_schedule: run that again rather than edit this.
[Unit]
Description=Scan the packages of this host for security updates
{network}
[Service]
Type=oneshot
{user}WorkingDirectory={folder}
{environment}ExecStart=/bin/sh -c 'exec "$$@"' sh {command}
TimeoutStartSec={time_limit}
Nice=10
IOSchedulingClass=best-effort
IOSchedulingPriority=7
UMask=0077
NoNewPrivileges=yes
LockPersonality=yes
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
{protection}"""
TIMER_TEXT = """\
# Written by manage.py setup_package_scanner_schedule: run that again rather than edit this.
[Unit]
Description=Package scan, {words}

[Timer]
OnCalendar={on_calendar}
RandomizedDelaySec={delay}
Persistent=true

[Install]
WantedBy=timers.target
"""
NETWORK = "Wants=network-online.target\nAfter=network-online.target\n"
# These need mounts of the service's own, which a user's systemd may not make. Package lists and locks are below /var.
PROTECTION = """\
ProtectSystem=full
ReadWritePaths={data}
ProtectControlGroups=yes
ProtectKernelTunables=yes
"""


def service_text(here: Installation, system: bool) -> str:
    """The service. A shell starts Python: systemd cannot have a $ in a program's own path, and under SELinux it may
    not start a program that lies in somebody's home."""
    environment = [f"Environment={unit_word(f'{name}={value}')}" for name, value in path_and_settings(here).items()]
    if here.secrets:
        environment.append(f"EnvironmentFile={unit_path(glob_escaped(str(here.secrets_file)))}")
    return SERVICE_TEXT.format(
        network=NETWORK if system else "",
        user=f"User={here.user}\n" if system and here.user_id else "",
        folder=unit_path(here.folder),
        environment="".join(f"{line}\n" for line in environment),
        command=" ".join(unit_word(word).replace("$", "$$") for word in here.command(*SCAN)),
        time_limit=here.time_limit,
        protection=PROTECTION.format(data=unit_word(here.data)) if system else "",
    )


def timer_text(schedule: Schedule) -> str:
    return TIMER_TEXT.format(words=schedule.words, on_calendar=schedule.on_calendar, delay=schedule.delay)


def secrets_text(secrets: Mapping[str, str]) -> str:
    """NAME="value" lines that systemd and a shell read alike."""
    escaped = {name: re.sub(r'(["\\$`])', r"\\\1", value) for name, value in secrets.items()}
    return "".join(f'{name}="{value}"\n' for name, value in escaped.items())


def path_and_settings(here: Installation) -> dict[str, str]:
    return {"PATH": PATH, **here.settings}


def unit_word(text: str) -> str:
    """A word in a list of words in a unit."""
    text = text.replace("%", "%%")
    if re.fullmatch(r"[\w@%+=:,./$-]+", text, re.ASCII):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def unit_path(path: str) -> str:
    """A path that is a whole line of a unit: nothing is quoted there, but a backslash at the end would go on."""
    return path.replace("%", "%%") + ("/" if path.endswith(("\\", " ")) else "")


def glob_escaped(path: str) -> str:
    return re.sub(r"([\\*?\[])", r"\\\1", path)


# --- the crontab ------------------------------------------------------------------------------------


def crontab_line(here: Installation, schedule: Schedule, system: bool) -> str:
    """One line. Cron mails what a command prints, so this prints something only when the scan failed."""
    words = [f"{name}={cron_word(value)}" for name, value in path_and_settings(here).items()]
    scan = " ".join([*words, *map(cron_word, here.command(*SCAN))])
    secrets = f"set -a && . {cron_word(str(here.secrets_file))} && set +a && " if here.secrets else ""
    user = [here.user] if system else []
    command = f'out=$(cd {cron_word(here.folder)} && {secrets}{scan} 2>&1) || {{ echo "$out"; exit 1; }}'
    return " ".join([schedule.crontab, *user, command])


def cron_word(text: str) -> str:
    """A word for a shell that cron starts. Some crons drop the backslash before a % and one of two backslashes, some
    leave that to the shell. With the % outside of quotes and each backslash in its own, both come out right."""
    pieces = re.split(r"([%\\])", text)
    return "".join("\\%" if piece == "%" else shlex.quote(piece) for piece in pieces if piece) or "''"


# --- files on the disk ------------------------------------------------------------------------------


@dataclass(frozen=True)
class File:
    path: Path
    text: str
    secret: bool = False
    owner: int = -1  # nobody else than who writes it

    @property
    def mode(self) -> int:
        return 0o600 if self.secret else 0o644

    def shown(self) -> str:
        """For a terminal: of secrets the names."""
        return re.sub(r'(?m)="(.*)"$', "=(not shown)", self.text) if self.secret else self.text

    def changes(self) -> list[str]:
        """What writing it would change, in words."""
        try:
            old = self.path.read_text("utf-8")
        except FileNotFoundError:
            return [f"Written: {self.path}"]
        if old == self.text and not (self.secret and self.path.stat().st_mode & 0o077):
            return []
        if self.secret:
            return [f"Changed: {self.path}"]
        lines = ndiff(old.splitlines(), self.text.splitlines())
        return [f"Changed: {self.path}", *(f"  {line}" for line in lines if line.startswith(("- ", "+ ")))]

    def write(self) -> None:
        """Whole or not at all; a link that somebody put there is replaced, not followed."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        number, draft = tempfile.mkstemp(prefix=f".{self.path.name}.", dir=self.path.parent)
        try:
            with os.fdopen(number, "w", encoding="utf-8") as file:
                file.write(self.text)
                os.fchmod(file.fileno(), self.mode)
                os.fchown(file.fileno(), self.owner, -1)
            Path(draft).replace(self.path)
        except BaseException:
            Path(draft).unlink(missing_ok=True)
            raise


def secrets_files(here: Installation) -> list[File]:
    return [File(here.secrets_file, secrets_text(here.secrets), True, here.user_id)] if here.secrets else []


def unit_files(here: Installation, schedule: Schedule, system: bool) -> list[File]:
    folder = unit_folder(system)
    return [File(folder / SERVICE, service_text(here, system)), File(folder / TIMER, timer_text(schedule))]


def unit_folder(system: bool) -> Path:
    if system:
        return SYSTEM_FOLDER
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "systemd/user"


# --- systemd ----------------------------------------------------------------------------------------


class Systemd:
    """The system's manager, or the one of this user."""

    def __init__(self, system: bool) -> None:
        self.system = system
        self.environment = dict(os.environ)
        mine = Path(f"/run/user/{os.getuid()}")
        if not system and "XDG_RUNTIME_DIR" not in os.environ and mine.is_dir():  # cron and sudo do not set it
            self.environment["XDG_RUNTIME_DIR"] = str(mine)

    @property
    def scope(self) -> list[str]:
        return [] if self.system else ["--user"]

    def argv(self, *words: str) -> list[str]:
        return ["systemctl", *self.scope, "--no-ask-password", *words]

    def tell(self, *words: str) -> None:
        done = self.run(*self.argv(*words))
        if done.code:
            raise ScheduleError(f"`{shlex.join(self.argv(*words))}` failed: {done.last_words}")

    def show(self, unit: str, *properties: str) -> dict[str, str]:
        """The unit's properties; a unit that does not exist has some as well."""
        done = self.run(*self.argv("show", unit, f"--property={','.join(properties)}"))
        if done.code:
            raise ScheduleError(f"systemd says nothing about {unit}: {done.last_words}")
        pairs = (line.partition("=") for line in done.out.splitlines())
        found = {name: value for name, _, value in pairs}
        return {name: "" if found.get(name) == "n/a" else found.get(name, "") for name in properties}

    def check(self) -> None:
        """Stop, with a reason, where there is no systemd to talk to."""
        whose = "system's systemd" if self.system else f"systemd of the user {user_name(os.getuid())}"
        try:
            done = self.run(*self.argv("show", "--property=Version"))
        except CommandError as error:
            raise NoSystemd(f"There is no systemd here: {error}") from error
        if done.code or not done.out.startswith("Version="):
            raise NoSystemd(f"The {whose} cannot be reached: {done.last_words}.{self.advice()}")

    def advice(self) -> str:
        booted = Path("/run/systemd/system").is_dir()
        if self.system or not booted:
            return ""
        return (
            f" This machine does run systemd: sign in as that user directly (not through su or sudo), or have it run "
            f"always with `sudo loginctl enable-linger {shlex.quote(user_name(os.getuid()))}`, or use --system."
        )

    def verify(self, files: Iterable[File]) -> list[str]:
        """Let systemd-analyze read the units; a complaint about ours stops here. Answers what is only remarkable."""
        if shutil.which("systemd-analyze", path=self.environment.get("PATH")) is None:
            return []
        with tempfile.TemporaryDirectory() as folder:
            drafts = [File(Path(folder, file.path.name), file.text) for file in files]
            for draft in drafts:
                draft.write()
            environment = {"XDG_RUNTIME_DIR": folder, **self.environment}  # it needs one, and writes nothing there
            scope = "--system" if self.system else "--user"
            done = self.run("systemd-analyze", scope, "verify", *(str(draft.path) for draft in drafts), env=environment)
            said = [line.replace(f"{folder}/", "") for line in (done.err + done.out).splitlines()]
        ours = [line for line in said if "package-scanner" in line]
        unknown = [line for line in ours if re.search(r": Unknown (key|lvalue) ", line)]  # an old systemd ignores it
        if wrong := [line for line in ours if line not in unknown]:
            raise ScheduleError("systemd would not take these units; nothing was changed:\n  " + "\n  ".join(wrong))
        if done.code and not unknown:
            return [f"systemd-analyze could not check the units: {done.last_words}"]
        return unknown

    def lingers(self, user: str) -> bool:
        """Whether the user's timers run while the user is signed out."""
        try:
            return "Linger=yes" in self.run("loginctl", "show-user", user, "--property=Linger").out.splitlines()
        except CommandError:
            return False

    def run(self, *argv: str, env: Mapping[str, str] | None = None) -> Result:
        return Runner(time.monotonic() + PATIENCE, environment=env or self.environment).run(argv)


# --- install, show, remove --------------------------------------------------------------------------


def install(here: Installation, schedule: Schedule, systemd: Systemd) -> list[str]:
    """Write the units and switch the timer on; answers in words what changed."""
    units = unit_files(here, schedule, systemd.system)
    notes = systemd.verify(units)
    changes = write(here, units)
    timer = systemd.show(TIMER, "ActiveState", "UnitFileState", "NeedDaemonReload")
    on = timer["ActiveState"] == "active" and timer["UnitFileState"] == "enabled" and timer["NeedDaemonReload"] != "yes"
    if changes or not on:
        for words in INSTALLING:
            systemd.tell(*words)
    said = changes or ["Nothing changed." if on else "The timer had been switched off; it is on again."]
    next_run = systemd.show(TIMER, NEXT)[NEXT] or "not known"
    return [f"Scheduled: {in_words(schedule)}, as {here.user}.", *said, *notes, f"Next run: {next_run}"]


NEXT = "NextElapseUSecRealtime"
START, END = "ExecMainStartTimestamp", "ExecMainExitTimestamp"
INSTALLING = (("daemon-reload",), ("enable", TIMER), ("restart", TIMER))
REMOVING = (("disable", "--now", TIMER), ("stop", SERVICE))


def write(here: Installation, units: list[File]) -> list[str]:
    """Write what differs, the secrets first; answers in words what that was."""
    files = [*secrets_files(here), *units]
    changes = [line for file in files for line in file.changes()]
    if not here.secrets and names_secrets(units[0].path):
        changes.append(f"Removed: {here.secrets_file}; none of {', '.join(SECRETS)} is set now")
        here.secrets_file.unlink(missing_ok=True)
    for file in files:
        if file.changes():
            file.write()
    return changes


def names_secrets(service: Path) -> bool:
    try:
        return SECRETS_FILE in service.read_text("utf-8")
    except FileNotFoundError:
        return False


def remove(here: Installation, systemd: Systemd) -> list[str]:
    """Stop and remove both units; answers in words what was there."""
    folder = unit_folder(systemd.system)
    found = [folder / unit for unit in UNITS if (folder / unit).exists()]
    if not found:
        return [f"Nothing to remove: there is no {TIMER} in {folder}."]
    if folder / TIMER in found:
        systemd.tell(*REMOVING[0])
    if folder / SERVICE in found:
        systemd.tell(*REMOVING[1])
    if names_secrets(folder / SERVICE) and here.secrets_file.exists():
        found.append(here.secrets_file)
    for path in found:
        path.unlink()
    systemd.tell("daemon-reload")
    systemd.run(*systemd.argv("reset-failed", *UNITS))  # it complains where nothing had failed
    return ["The schedule is gone.", *(f"Removed: {path}" for path in found)]


def status(here: Installation, systemd: Systemd) -> list[str]:
    """Last run, next run and the last exit, in words."""
    timer = systemd.show(TIMER, "LoadState", "ActiveState", "Description", "LastTriggerUSec", NEXT, "FragmentPath")
    setup = shlex.join(here.command(SETUP, *(["--system"] if systemd.system else [])))
    if timer["LoadState"] != "loaded":
        return [f"Nothing is scheduled with systemd for {whose(systemd, here)}.", f"To schedule a daily scan: {setup}"]
    service = systemd.show(SERVICE, "ActiveState", "Result", "ExecMainStatus", START, END)
    off = timer["ActiveState"] != "active"
    lines = [
        f"Schedule:  {timer['Description']} ({timer['FragmentPath']})",
        f"Last run:  {last_run(timer, service)}",
        f"Next run:  {'none, the timer is switched off' if off else timer[NEXT] or 'not known'}",
        f"Last exit: {last_exit(service)}",
    ]
    if service["ActiveState"] == "activating":
        lines.append("A scan is running now.")
    if off:
        lines.append(f"To switch it on again: {setup}")
    if service[END] and service["Result"] != "success":
        lines.append(f"What it said: {shlex.join(['journalctl', *systemd.scope, '-u', SERVICE, '-n', '50'])}")
    return lines


SO_FAR = "none since the machine or the session started"


def last_run(timer: Mapping[str, str], service: Mapping[str, str]) -> str:
    """The timer remembers longer than the service does, but takes being set up for having run."""
    before = timer["LastTriggerUSec"]
    return service[START] or (f"{SO_FAR}; run or set up before: {before}" if before else "none yet")


RESULTS = {
    "timeout": "it took too long and was stopped",
    "signal": "it was killed by a signal",
    "core-dump": "it crashed",
    "oom-kill": "it was killed because memory ran out",
    "resources": "systemd lacked the resources to start it",
}
EXIT_STATUSES = {
    "1": "the scan failed",
    "127": "Python was not found: has the project moved? Then set the schedule up again",
    "200": "the folder was not found: has the project moved? Then set the schedule up again",
}


def last_exit(service: Mapping[str, str]) -> str:
    """How the service ended last, as far as systemd remembers."""
    ended, result, code = service[END], service["Result"], service["ExecMainStatus"]
    if result == "success":
        return f"well, {ended}" if ended else SO_FAR
    if result == "exit-code":
        return f"with exit status {code}: {EXIT_STATUSES.get(code, 'it could not scan')}{f', {ended}' if ended else ''}"
    return f"{RESULTS.get(result, result)}{f', {ended}' if ended else ''}"


def whose(systemd: Systemd, here: Installation) -> str:
    return "the system" if systemd.system else f"the user {here.user}"


def in_words(schedule: Schedule) -> str:
    return f"{schedule.words} ({time.strftime('%Z')}, up to {schedule.delay // 60} minutes later)"


def lingering(user: str) -> str:
    return (
        f"Lingering is off for {user}: the timer runs only while {user} is signed in; what is missed is made up for at "
        f"the next sign-in. To let it run always: loginctl enable-linger (where that is not allowed: sudo loginctl "
        f"enable-linger {shlex.quote(user)}), or a system timer with --system."
    )
