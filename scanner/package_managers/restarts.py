"""What an update has not reached yet: whether the host needs a reboot and why, which services run on old libraries.

Programs: needrestart(1), dnf-needs-restarting(8) and yum's needs-restarting(1), where they are there. What they do not
say is read from os.uname(2), the installed kernel packages and /proc/*/maps. Unknown is None, with the reason.
"""

import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from scanner.package_managers.command import CommandError, Result, Runner
from scanner.package_managers.interface import Installed, Restarts
from scanner.vulnerabilities.version_keys import dpkg_key, rpm_key

ELSEWHERE = "Another root is scanned: it is not running."
LIMIT = 30.0  # seconds for each of the programs, and for our own look at all processes
SHOWN = 5  # names in a sentence
SYSTEM_FOLDERS = "/usr/sbin:/sbin:/usr/bin:/bin"  # cron's PATH has not all of them


@dataclass(frozen=True, slots=True)
class Kernel:
    """The running one: `uname -r` and `uname -v`."""

    release: str
    version: str


@dataclass(frozen=True, slots=True)
class Hint:
    """What one source says of a reboot. Without a verdict its sentence still counts, for what is said in the end."""

    reboot: bool | None
    sentence: str


@dataclass(frozen=True, slots=True)
class Needrestart:
    """What `needrestart -b` says."""

    reboot: Hint | None
    services: tuple[str, ...]
    elsewhere: int  # sessions of users and containers


def restarts(
    runner: Runner,
    package_manager: str,
    installed: Sequence[Installed],
    root: Path | None,
    *,
    proc: Path = Path("/proc"),
    run: Path = Path("/run"),
    kernel: Kernel | None = None,
) -> Restarts:
    if root is not None:
        return Restarts(None, ELSEWHERE, None, ELSEWHERE)
    limited = Runner(min(runner.deadline, time.monotonic() + LIMIT), runner.watch, runner.environment)
    needrestart = ask_needrestart(limited)
    hints = (
        reboot_required(run),
        kernel_hint(package_manager, installed, kernel or running_kernel()),
        ask_needs_restarting(limited, package_manager),
        needrestart.reboot if needrestart else None,
    )
    reboot, reason = together([hint for hint in hints if hint])
    if needrestart:
        return Restarts(reboot, reason, needrestart.services, needrestart_reason(needrestart))
    found = look_at_processes(proc, runner.watch, min(runner.deadline, time.monotonic() + LIMIT))
    return Restarts(reboot, reason, *services(found, package_manager, as_root=is_root()))


def together(hints: Sequence[Hint]) -> tuple[bool | None, str]:
    """One that sees a need is enough; that there is none takes one that knows the kernel."""
    needed = [hint for hint in hints if hint.reboot]
    verdict = True if needed else False if any(hint.reboot is False for hint in hints) else None
    decided = needed or [hint for hint in hints if verdict is None or hint.reboot is False] or hints
    return verdict, " ".join(dict.fromkeys(hint.sentence for hint in decided if hint.sentence))


def is_root() -> bool:
    return os.geteuid() == 0


def running_kernel() -> Kernel:
    names = os.uname()
    return Kernel(names.release, names.version)


# --- a wish for a reboot --------------------------------------------------------------------------


def reboot_required(run: Path) -> Hint | None:
    """What Debian's and Ubuntu's packages leave behind. Not every host has who writes it: its absence says nothing."""
    if not (run / "reboot-required").exists():
        return None
    try:
        names = sorted(set((run / "reboot-required.pkgs").read_text(errors="replace").split()))
    except OSError:
        names = []
    return Hint(True, f"/run/reboot-required asks for it{', because of ' + some(names, 10) if names else ''}.")


def ask_needs_restarting(runner: Runner, package_manager: str) -> Hint | None:
    """dnf's plugin, or the program of yum-utils. dnf may neither fetch nor write anything of the host's."""
    program = next((path for name in NEEDS_RESTARTING.get(package_manager, ()) if (path := which(runner, name))), None)
    if program is None:
        return None
    with tempfile.TemporaryDirectory() as logs:
        private = ("-C", f"--setopt=logdir={logs}", "--setopt=*.skip_if_unavailable=1", "needs-restarting")
        words = private if package_manager == "dnf" else ()
        try:
            return parse_needs_restarting(runner.run([program, *words, "-r"]))
        except CommandError:
            return None


NEEDS_RESTARTING: Mapping[str, Sequence[str]] = {"dnf": ("dnf", "dnf5"), "yum": ("needs-restarting",)}


def parse_needs_restarting(result: Result) -> Hint | None:
    """Code 1 alone is no answer: without the plugin, or where it cannot write its log, dnf ends with 1, too."""
    # Core libraries or services have been updated since boot-up:
    #   * glibc
    #   kernel -> 3.10.0-1160.119.1.el7                                       (yum 3)
    #
    # Reboot is required to fully utilize these updates.
    if result.code == 1 and "Reboot is required" in result.out:
        names = re.findall(r"^  (?:\* )?(\S+)", result.out, re.MULTILINE)
        return Hint(True, f"Updated since the host was started: {some(names, 10)}." if names else "dnf asks for it.")
    # No core libraries or services have been updated since boot-up.
    # Reboot should not be necessary.                                         (yum 3: Reboot is probably not necessary.)
    if result.code == 0 and "No core libraries or services have been updated" in result.out:
        return Hint(None, "No core library or service has been updated since the host was started.")
    return None


# --- needrestart ----------------------------------------------------------------------------------


def ask_needrestart(runner: Runner) -> Needrestart | None:
    """It lists only (-r l). As another user it would see that user's processes alone, as we do."""
    program = which(runner, "needrestart")
    if program is None or not is_root():
        return None
    try:
        result = runner.run([program, "-b", "-r", "l"])
    except CommandError:
        return None
    return parse_needrestart(result.out) if result.code == 0 else None


def parse_needrestart(text: str) -> Needrestart | None:
    # NEEDRESTART-VER: 3.6
    # NEEDRESTART-KCUR: 6.1.0-35-amd64
    # NEEDRESTART-KEXP: 6.1.0-37-amd64                                        (not where it is unknown)
    # NEEDRESTART-KSTA: 3
    # NEEDRESTART-SVC: ssh.service
    # NEEDRESTART-SESS: someone @ session #1
    rows = re.findall(r"^NEEDRESTART-([A-Z]+): *(.*)$", text, re.MULTILINE)
    fields = dict(rows)
    if "VER" not in fields:
        return None
    hint = needrestart_kernel(fields.get("KSTA", ""), fields.get("KCUR", ""), fields.get("KEXP", ""))
    services = tuple(sorted({value for name, value in rows if name == "SVC"}))
    return Needrestart(hint, services, sum(name in ("SESS", "CONT") for name, _ in rows))


def needrestart_kernel(status: str, running: str, expected: str) -> Hint | None:
    """Its KSTA: 0 unknown, 1 current, 2 the same release built anew, 3 another release."""
    match status:
        case "1":
            return Hint(False, f"needrestart finds no newer kernel than the running {running}.")
        case "2":
            return Hint(True, f"needrestart finds a newer build of the running kernel {running}.")
        case "3":
            return Hint(True, f"needrestart finds the kernel {expected} in place of the running {running}.")
    return None


def needrestart_reason(found: Needrestart) -> str:
    what = "these services run" if found.services else "no service runs"
    more = f" So do {found.elsewhere} user sessions or containers." if found.elsewhere else ""
    return f"By needrestart, {what} on replaced libraries.{more}"


# --- the running kernel beside the installed ones -------------------------------------------------


def kernel_hint(package_manager: str, installed: Sequence[Installed], kernel: Kernel) -> Hint:
    family = KERNELS.get(package_manager)
    return (family(installed, kernel) if family else None) or Hint(
        None,
        f"The running kernel {kernel.release} belongs to no installed package, as in a container, in some virtual "
        "machines, or with a kernel built by hand: whether it is the newest cannot be told.",
    )


def current(kernel: Kernel) -> Hint:
    return Hint(False, f"The running kernel {kernel.release} is the newest installed one.")


def outdated(kernel: Kernel, newest: str) -> Hint:
    return Hint(True, f"The running kernel is {kernel.release}, the newest installed one is {newest}.")


# linux-image-6.1.0-35-cloud-amd64, linux-image-unsigned-6.8.0-45-generic, linux-image-6.1.0-35-amd64-unsigned
DEBIAN_KERNEL = re.compile(r"linux-image-(?:unsigned-)?(?P<release>\d.*?)(?:-unsigned)?")
# 6.1.0-35-cloud-amd64, 6.12.38+deb13-amd64, 6.12.25+rpt-rpi-v8: the flavour comes after the numbers
DEBIAN_RELEASE = re.compile(r"\d[^-]*(?:-\d[^-]*)*-(?P<flavour>[a-z].*)")


def debian_kernel(installed: Sequence[Installed], kernel: Kernel) -> Hint | None:
    found = ((DEBIAN_KERNEL.fullmatch(package.name), package) for package in installed)
    images = {match["release"]: package.version for match, package in found if match}
    if kernel.release not in images:
        return None
    own = [release for release in images if flavour(release) == flavour(kernel.release)]
    newest = max(own, key=lambda release: (dpkg_key(images[release]), release == kernel.release))
    if newest != kernel.release:
        return outdated(kernel, newest)
    built, now = running_build(kernel), images[newest]
    if built and built != build_of(now, built):
        return Hint(True, f"The running kernel {kernel.release} is the build {built}, installed is {now}.")
    return current(kernel)


def flavour(release: str) -> str:
    match = DEBIAN_RELEASE.fullmatch(release)
    return match["flavour"] if match else ""


def running_build(kernel: Kernel) -> str:
    """Which build of its release is running, or "" where it does not tell."""
    # #1 SMP PREEMPT_DYNAMIC Debian 6.1.137-1 (2025-05-07)
    # #45~22.04.1-Ubuntu SMP PREEMPT_DYNAMIC Wed Sep 11 15:25:05 UTC 2024
    match = re.search(r" Debian (\S+) \(|^#(\S+)-Ubuntu ", kernel.version)
    return (match[1] or match[2]) if match else ""


def build_of(version: str, like: str) -> str:
    # 6.1.137-1, 6.1.137-1+b1                  Debian names the whole version; "+b1" is only built again
    # 6.8.0-45.45~22.04.1, 6.8.0-45.45+1       Ubuntu what follows the ABI's number; "+1" is only signed again
    if "-" in like:
        return re.sub(r"\+b\d+$", "", version)
    return re.sub(r"\+\d+$", "", version).rpartition("-")[2].partition(".")[2]


NO_KERNELS = "devel|headers|modules|tools|doc|debuginfo|srpm|abi|livepatch|selftests|rpm|cross|uki|internal|partner"
# kernel, kernel-core, kernel-rt-core, kernel-uek, kernel6.12
RPM_KERNEL = re.compile(rf"kernel(?:\d+\.\d+)?(?:-(?!{NO_KERNELS})\w+)*")


def rpm_kernel(installed: Sequence[Installed], kernel: Kernel) -> Hint | None:
    # 5.14.0-427.13.1.el9_4.x86_64, 5.14.0-427.13.1.el9_4.x86_64+rt
    release, _, flavour = kernel.release.partition("+")
    kernels = [package for package in installed if RPM_KERNEL.fullmatch(package.name)]
    names = {package.name for package in kernels if f"{package.version}.{package.architecture}" == release}
    wanted = {part for part in flavour.split("-") if part}
    own = min((name for name in names if wanted <= parts(name)), key=plainness, default=None)
    if own is None:
        return None
    newest = max((package for package in kernels if package.name == own), key=lambda package: rpm_key(package.version))
    shown = f"{newest.version}.{newest.architecture}"
    return current(kernel) if shown == release else outdated(kernel, shown)


def parts(name: str) -> set[str]:
    return set(name.split("-"))


def plainness(name: str) -> tuple[int, bool, str]:
    """kernel-core, kernel, kernel-rt-core: the first is the kernel itself, the second only asks for it."""
    return len(parts(name) - {"kernel", "core"}), "core" not in parts(name), name


def arch_kernel(installed: Sequence[Installed], kernel: Kernel) -> Hint | None:
    """There is one version of each kernel package: an upgrade takes the running kernel's files away."""
    words, suffix = arch_words(kernel.release)
    names = (f"linux-{suffix}", "linux" + "".join(words[:2])) if suffix else ("linux",)  # Manjaro: linux610
    versions = {package.name: package.version for package in installed}
    own = next((name for name in names if name in versions), None)
    if own is None:
        return None
    if arch_words(versions[own])[0] == words:
        return current(kernel)
    return Hint(True, f"The running kernel is {kernel.release}, installed is {own} {versions[own]}.")


def arch_words(text: str) -> tuple[list[str], str]:
    """The words up to the last number, and the rest, which names the kernel."""
    # 6.10.2-arch1-1           6.10.2.arch1-1        (uname, package)
    # 6.10.0-arch1-1           6.10.arch1-1
    # 6.10.2-zen1-1-zen        6.10.2.zen1-1
    # 6.12.0-1-lts             6.12-1
    # 6.12.1-2-aarch64-ARCH    6.12.1-2
    first, *rest = text.removesuffix("-ARCH").split("-")
    words = first.split(".")
    if len(words) < 3 or not words[2].isdecimal():
        words.insert(2, "0")
    words += [word for part in rest for word in part.split(".")]
    end = max((place for place, word in enumerate(words, 1) if word.isdecimal()), default=0)
    return words[:end], "-".join(words[end:])


KERNELS: Mapping[str, Callable[[Sequence[Installed], Kernel], Hint | None]] = {
    "apt": debian_kernel,
    "dnf": rpm_kernel,
    "yum": rpm_kernel,
    "pacman": arch_kernel,
}


# --- processes on replaced libraries --------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Process:
    """One that runs on files that are gone. `unit` is what systemd runs it as, "" where it does not."""

    pid: int
    name: str
    unit: str
    files: frozenset[str]


@dataclass(slots=True)
class Processes:
    """All that was seen: how many there are, how many could not be read, and which run on replaced files."""

    total: int = 0
    unread: int = 0
    hidden: bool = False  # whether the kernel shows only some of the processes at all
    outdated: list[Process] = field(default_factory=list)


def look_at_processes(proc: Path, watch: Callable[[], None], deadline: float) -> Processes:
    try:
        numbers = sorted(int(path.name) for path in proc.iterdir() if path.name.isdecimal())
    except OSError:  # not mounted, as in some chroots
        numbers = []
    seen = Processes(len(numbers), hidden=1 not in numbers)  # mounted with hidepid, /proc shows one's own only
    for place, number in enumerate(numbers):
        if place % 64 == 0:
            watch()
            if time.monotonic() > deadline:
                seen.unread += len(numbers) - place
                break
        folder = proc / str(number)
        try:
            if files := replaced_files((folder / "maps").read_bytes()):
                seen.outdated.append(Process(number, read(folder / "comm"), unit_of(read(folder / "cgroup")), files))
        except (FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
            continue
        except OSError:
            seen.unread += 1
    return seen


def read(path: Path) -> str:
    return path.read_text(errors="replace").strip()


# 7f1934614000-7f19346e7000 r-xp 0000a000 fe:00 260131            /usr/lib/x86_64-linux-gnu/libssl.so.3 (deleted)
REPLACED = re.compile(rb"^\S+ ..x. \S+ \S+ [1-9]\d* +(/.+) \(deleted\)$", re.MULTILINE)
# /memfd:sealed, /dev/zero, /SYSV00210045, /[aio], /drm mm object, /#4711                     no files
# /tmp/jna4711.tmp, /run/user/1000/orcexec.aBc123                                             made by the program itself
NO_LIBRARY = re.compile(
    r"/(memfd:|dev/|SYSV|\[aio\]|drm\b|i915\b|anon_hugepage|tmp/|var/tmp/|run/|var/run/)"
    r"|.*/(#\d+|orcexec\.\w+|jna\d+\.tmp)$"
)


def replaced_files(maps: bytes) -> frozenset[str]:
    """The files, as they were called, that a process executes from and that are no longer there under their name."""
    if b" (deleted)" not in maps:
        return frozenset()
    paths = {found.decode(errors="replace") for found in REPLACED.findall(maps)}
    return frozenset(usual_name(path) for path in paths if not NO_LIBRARY.match(path))


def usual_name(path: str) -> str:
    # /usr/lib64/libssl.so.3;66b1f2c0, /usr/lib/x86_64-linux-gnu/libc.so.6.dpkg-tmp       as rpm and dpkg put it aside
    return re.sub(r";[0-9a-f]{8,}$|\.dpkg-(new|tmp)$", "", path)


def unit_of(cgroup: str) -> str:
    """The unit by the process's control group: the first part that is no slice, as systemd itself reads it."""
    # 0::/system.slice/ssh.service
    # 1:name=systemd:/system.slice/udev.service/udev                             (version 1; both on a hybrid)
    # 0::/user.slice/user-1000.slice/user@1000.service/session.slice/pipewire.service
    # 0::/system.slice/docker-0123abcd.scope/system.slice/nginx.service          a container's own affair
    paths = re.findall(r"^(?:0:|\d+:name=systemd):(/.+?)(?: \(deleted\))?$", cgroup, re.MULTILINE)
    units = [part for part in (paths[0].split("/") if paths else []) if part and not part.endswith(".slice")]
    if not units or not units[0].endswith((".service", ".scope")):
        return ""
    user = re.fullmatch(r"user@(\d+)\.service", units[0])
    if user and len(units) > 1 and units[1].endswith(".service"):
        return f"{units[1]} (user {user[1]})"
    return "systemd-manager" if units[0] == "init.scope" else units[0]


def services(found: Processes, package_manager: str, *, as_root: bool) -> tuple[tuple[str, ...] | None, str]:
    # What runs without a unit, as in a container, goes by its own name. A scope holds a session or a container.
    names = sorted({process.unit or process.name for process in found.outdated if not process.unit.endswith(".scope")})
    sentences = list(about_files(found.outdated))
    if not found.unread and not found.hidden:
        return tuple(names), " ".join(sentences) or "No process runs on replaced libraries."
    if names:
        sentences.append(f"Among those that could be read: {some(names)}.")
    return None, " ".join((*unreadable(found, package_manager, as_root), *sentences))


def about_files(outdated: Sequence[Process]) -> Iterator[str]:
    if names := {Path(file).name for process in outdated for file in process.files}:
        yield f"Replaced while in use: {some(sorted(names))}."
    apart = [f"{process.name} ({process.pid})" for process in outdated if process.unit.endswith(".scope")]
    if apart:
        yield f"Used outside of services, too: {some(apart)}."


def unreadable(found: Processes, package_manager: str, as_root: bool) -> Iterator[str]:
    if found.hidden:
        yield "Unknown: this host shows a user only their own processes."
    else:
        yield f"Unknown: {found.unread} of {found.total} processes could not be read."
    if not as_root:
        yield f"Only root may read all of them: {AS_ROOT.get(package_manager, READ_MAPS)}"


READ_MAPS = "sudo grep -lE ' r-xp .*[(]deleted[)]$' /proc/[0-9]*/maps"
AS_ROOT: Mapping[str, str] = {
    "apt": "sudo needrestart -r l",
    "dnf": "sudo dnf needs-restarting -s",
    "yum": "sudo needs-restarting -s",
}


# --- words ----------------------------------------------------------------------------------------


def some(names: Iterable[str], shown: int = SHOWN) -> str:
    names = list(names)
    more = len(names) - shown
    return ", ".join(names[:shown]) + (f" and {more} more" if more > 0 else "")


def which(runner: Runner, program: str) -> str | None:
    folders = [runner.environment.get("PATH"), SYSTEM_FOLDERS]
    return shutil.which(program, path=os.pathsep.join(folder for folder in folders if folder))
