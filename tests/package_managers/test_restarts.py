"""Reboots and outdated services: real processes and this machine's /proc; texts only for what cannot run here."""

import _ctypes
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from scanner.package_managers import restarts as room
from scanner.package_managers.command import Runner
from scanner.package_managers.interface import Installed, Restarts
from scanner.package_managers.restarts import (
    NO_LIBRARY,
    Kernel,
    look_at_processes,
    parse_needrestart,
    replaced_files,
    restarts,
    unit_of,
)
from tests.hosts.dnf import DnfHost

KERNEL = Kernel("6.1.0-35-amd64", "#1 SMP PREEMPT_DYNAMIC Debian 6.1.137-1 (2025-05-07)")
KERNEL_PACKAGE = Installed("linux-image-6.1.0-35-amd64", "amd64", "6.1.137-1")


@dataclass
class Machine:
    """What is looked at instead of this machine, with a /proc of no process but the first, and an empty /run."""

    folder: Path

    def __post_init__(self) -> None:
        for path in (self.proc, self.run, self.programs):
            path.mkdir()
        self.process(1)

    @property
    def proc(self) -> Path:
        return self.folder / "proc"

    @property
    def run(self) -> Path:
        return self.folder / "run"

    @property
    def programs(self) -> Path:
        return self.folder / "programs"

    def process(self, number: int, name: str = "init", cgroup: str = "/init.scope", maps: str = "") -> None:
        folder = self.proc / str(number)
        folder.mkdir()
        (folder / "comm").write_text(f"{name}\n")
        (folder / "cgroup").write_text(f"0::{cgroup}\n")
        (folder / "maps").write_text(maps)

    def forbidden_process(self, number: int) -> None:
        """Reading its maps fails: root may read every file, but no folder as if it were one."""
        (self.proc / str(number) / "maps").mkdir(parents=True)

    def real_process(self, number: int, pid: int) -> None:
        (self.proc / str(number)).symlink_to(f"/proc/{pid}")

    def program(self, name: str, script: str) -> None:
        path = self.programs / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def look(
        self,
        package_manager: str = "apt",
        installed: tuple[Installed, ...] = (KERNEL_PACKAGE,),
        kernel: Kernel = KERNEL,
        environment: Mapping[str, str] | None = None,
    ) -> Restarts:
        path = f"{self.programs}{os.pathsep}{os.environ['PATH']}"
        runner = Runner(time.monotonic() + 60, environment=environment or {**os.environ, "PATH": path})
        return restarts(runner, package_manager, installed, None, proc=self.proc, run=self.run, kernel=kernel)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Without what this machine itself may have of such programs."""
    as_user(monkeypatch, root=False)
    machine = Machine(tmp_path)
    machine.program("needs-restarting", "exit 1")
    return machine


def as_user(monkeypatch: pytest.MonkeyPatch, root: bool) -> None:
    monkeypatch.setattr(room, "is_root", lambda: root)


def mapped(path: str, permissions: str = "r-xp", inode: int = 260131) -> str:
    return f"7f12a4e00000-7f12a4e26000 {permissions} 00026000 fe:00 {inode}                     {path}\n"


# --- what is there at all -------------------------------------------------------------------------


def test_of_another_root_nothing_is_known_since_it_is_not_running(tmp_path):
    found = restarts(Runner(time.monotonic() + 60), "apt", [KERNEL_PACKAGE], tmp_path)
    said = "Another root is scanned: it is not running."
    assert found == Restarts(None, said, None, said)


def test_this_machine_is_looked_at_as_it_is():
    found = restarts(Runner(time.monotonic() + 60), "apt", [], None)
    assert found.reboot_reason
    assert found.services_reason
    if found.services is None:
        assert found.services_reason.startswith("Unknown: ")


# --- a reboot -------------------------------------------------------------------------------------


def test_a_wish_for_a_reboot_counts_and_names_its_packages(machine):
    (machine.run / "reboot-required").write_text("*** System restart required ***\n")
    (machine.run / "reboot-required.pkgs").write_text("linux-base\nlibc6\nlinux-base\n")
    found = machine.look()
    assert found.reboot is True
    assert found.reboot_reason == "/run/reboot-required asks for it, because of libc6, linux-base."


def test_a_wish_for_a_reboot_counts_without_a_list_of_packages(machine):
    (machine.run / "reboot-required").touch()
    assert machine.look().reboot_reason == "/run/reboot-required asks for it."


def test_no_wish_for_a_reboot_proves_nothing(machine):
    assert machine.look(installed=()).reboot is None


def test_a_kernel_of_no_package_leaves_the_reboot_unknown(machine):
    found = machine.look(kernel=Kernel("6.18.44-fc", "#1 SMP"))
    assert found.reboot is None
    assert found.reboot_reason.startswith("The running kernel 6.18.44-fc belongs to no installed package")


@pytest.mark.parametrize(
    ("release", "version", "images", "expected"),
    [
        ("6.1.0-35-amd64", "", {"6.1.0-35-amd64": "6.1.137-1"}, False),
        ("6.1.0-35-amd64", "", {"6.1.0-35-amd64": "6.1.137-1", "6.1.0-9-amd64": "6.1.27-1"}, False),
        ("6.1.0-9-amd64", "", {"6.1.0-35-amd64": "6.1.137-1", "6.1.0-9-amd64": "6.1.27-1"}, True),
        # Another flavour is no newer kernel of this one.
        ("6.1.0-9-cloud-amd64", "", {"6.1.0-35-amd64": "6.1.137-1", "6.1.0-9-cloud-amd64": "6.1.27-1"}, False),
        ("6.1.0-35-amd64", "", {"6.12.38+deb13-amd64": "6.12.38-1", "6.1.0-35-amd64": "6.1.137-1"}, True),
        # The same release in another build, as Debian's security updates sometimes come.
        ("6.1.0-35-amd64", "#1 SMP Debian 6.1.137-1 (2025-05-07)", {"6.1.0-35-amd64": "6.1.139-1"}, True),
        ("6.1.0-35-amd64", "#1 SMP Debian 6.1.137-1 (2025-05-07)", {"6.1.0-35-amd64": "6.1.137-1+b1"}, False),
        ("6.12.9+bpo-amd64", "#1 SMP Debian 6.12.9-1~bpo12+1 (x)", {"6.12.9+bpo-amd64": "6.12.9-1~bpo12+1"}, False),
        ("6.8.0-45-generic", "#45-Ubuntu SMP x", {"6.8.0-45-generic": "6.8.0-45.45"}, False),
        ("6.8.0-45-generic", "#45-Ubuntu SMP x", {"6.8.0-45-generic": "6.8.0-45.45+1"}, False),
        ("6.8.0-45-generic", "#45-Ubuntu SMP x", {"6.8.0-45-generic": "6.8.0-45.46"}, True),
        ("6.8.0-45-generic", "#45~22.04.1-Ubuntu SMP x", {"6.8.0-45-generic": "6.8.0-45.45~22.04.1"}, False),
        ("6.8.0-45-generic", "#45-Ubuntu SMP x", {"unsigned-6.8.0-45-generic": "6.8.0-45.45"}, False),
        ("6.8.0-45-generic", "", {"6.8.0-45-generic": "6.8.0-45.45", "6.8.0-100-generic": "6.8.0-100.100"}, True),
        ("6.10.0-custom", "#3 SMP x", {"6.10.0-custom": "6.10.0-3"}, False),
        # The package of the running kernel is gone: it may as well be a container's host's.
        ("6.1.0-9-amd64", "", {"6.1.0-35-amd64": "6.1.137-1"}, None),
        ("6.1.0-9-amd64", "", {"amd64": "6.1.137-1"}, None),
    ],
)
def test_the_running_kernel_beside_the_installed_ones_of_debian_and_ubuntu(machine, release, version, images, expected):
    installed = tuple(Installed(f"linux-image-{name}", "amd64", version) for name, version in images.items())
    assert machine.look("apt", installed, Kernel(release, version)).reboot is expected


@pytest.mark.parametrize(
    ("release", "packages", "expected"),
    [
        ("5.14.0-427.13.1.el9_4.x86_64", ("kernel-core 5.14.0-427.13.1.el9_4",), False),
        ("5.14.0-362.8.1.el9.x86_64", ("kernel-core 5.14.0-362.8.1.el9", "kernel-core 5.14.0-427.13.1.el9_4"), True),
        ("5.14.0-427.13.1.el9.x86_64", ("kernel-core 5.14.0-362.8.1.el9", "kernel-core 5.14.0-427.13.1.el9"), False),
        ("3.10.0-1160.el7.x86_64", ("kernel 3.10.0-1160.el7", "kernel 3.10.0-1160.119.1.el7"), True),
        ("5.14.0-1.el9.x86_64", ("kernel-core 5.14.0-1.el9", "kernel-devel 5.14.0-2.el9", "kernel-tools 6-1"), False),
        # Beside the plain kernel, the debug kernel of the same version.
        ("5.14.0-1.el9.x86_64+debug", ("kernel-core 5.14.0-2.el9", "kernel-debug-core 5.14.0-1.el9"), False),
        ("5.14.0-1.el9.x86_64", ("kernel-core 5.14.0-1.el9", "kernel-debug-core 5.14.0-2.el9"), False),
        ("5.14.0-1.el9.x86_64+rt", ("kernel-rt-core 5.14.0-1.el9", "kernel-rt-core 5.14.0-2.el9"), True),
        ("5.15.0-1.el9uek.x86_64", ("kernel-uek-core 5.15.0-1.el9uek", "kernel-core 5.16.0-1.el9"), False),
        ("6.12.1-1.amzn2023.x86_64", ("kernel6.12 6.12.1-1.amzn2023", "kernel 6.1.5-1.amzn2023"), False),
        ("5.14.0-1.el9.x86_64", ("kernel-core 5.14.0-2.el9",), None),
        ("6.1.0-35-amd64", (), None),
    ],
)
def test_the_running_kernel_beside_the_installed_ones_of_rpm(machine, release, packages, expected):
    installed = tuple(Installed(name, "x86_64", version) for name, version in map(str.split, packages))
    assert machine.look("yum", installed, Kernel(release, "#1 SMP PREEMPT_DYNAMIC")).reboot is expected


@pytest.mark.parametrize(
    ("release", "packages", "expected"),
    [
        ("6.10.2-arch1-1", ("linux 6.10.2.arch1-1",), False),
        ("6.10.0-arch1-1", ("linux 6.10.arch1-1",), False),
        ("6.10.2-arch1-1", ("linux 6.10.3.arch1-2", "linux-headers 6.10.3.arch1-2"), True),
        ("6.10.2-arch1-1", ("linux 6.10.2.arch1-2",), True),
        ("6.6.43-1-lts", ("linux-lts 6.6.43-1", "linux 6.10.3.arch1-2"), False),
        ("6.12.0-1-lts", ("linux-lts 6.12-1",), False),
        ("6.10.2-zen1-1-zen", ("linux-zen 6.10.2.zen1-1",), False),
        ("6.10.2-zen1-1-zen", ("linux-zen 6.10.2.zen2-1",), True),
        ("6.12.1-2-aarch64-ARCH", ("linux-aarch64 6.12.1-2",), False),
        ("6.10.2-3-MANJARO", ("linux610 6.10.6-1",), True),
        ("6.10.2-arch1-1", ("linux-lts 6.6.43-1",), None),
        ("6.18.44-fc-v669", ("linux 6.10.2.arch1-1",), None),
    ],
)
def test_the_running_kernel_beside_the_installed_ones_of_arch(machine, release, packages, expected):
    installed = tuple(Installed(name, "x86_64", version) for name, version in map(str.split, packages))
    assert machine.look("pacman", installed, Kernel(release, "#1 SMP PREEMPT_DYNAMIC")).reboot is expected


def test_the_reason_names_both_kernels(machine):
    newer = Installed("linux-image-6.1.0-37-amd64", "amd64", "6.1.140-1")
    found = machine.look(installed=(KERNEL_PACKAGE, newer))
    assert found.reboot_reason == "The running kernel is 6.1.0-35-amd64, the newest installed one is 6.1.0-37-amd64."


# --- dnf needs-restarting -------------------------------------------------------------------------

CORE = (Installed("kernel-core", "x86_64", "5.14.0-1.el9"),)
EL9 = Kernel("5.14.0-1.el9.x86_64", "#1 SMP PREEMPT_DYNAMIC")
NEEDED = """\
cat << END
Core libraries or services have been updated since boot-up:
  * glibc
  * systemd

Reboot is required to fully utilize these updates.
More information: https://access.redhat.com/solutions/27943
END
exit 1"""
NOT_NEEDED = """\
echo "No core libraries or services have been updated since boot-up."
echo "Reboot should not be necessary."
"""
YUM = """\
cat << END
Core libraries or services have been updated:
  kernel -> 3.10.0-1160.119.1.el7

Reboot is required to ensure that your system benefits from these updates.
END
exit 1"""


def test_what_dnf_says_has_been_updated_asks_for_a_reboot(machine):
    machine.program("dnf", NEEDED)
    found = machine.look("dnf", CORE, EL9)
    assert found.reboot is True
    assert found.reboot_reason == "Updated since the host was started: glibc, systemd."


def test_yums_own_program_is_understood(machine):
    machine.program("needs-restarting", YUM)
    assert machine.look("yum", CORE, EL9).reboot_reason == "Updated since the host was started: kernel."


def test_a_quiet_dnf_says_nothing_of_a_kernel_that_no_package_knows(machine):
    machine.program("dnf", NOT_NEEDED)
    assert machine.look("dnf", CORE, EL9).reboot is False
    assert machine.look("dnf", (), EL9).reboot is None


@pytest.mark.parametrize("script", ["exit 1", "echo Error: >&2; exit 1", "echo Error: nothing is known", "exit 0"])
def test_a_dnf_that_cannot_answer_asks_for_no_reboot(machine, script):
    machine.program("dnf", script)
    assert machine.look("dnf", CORE, EL9).reboot is False
    assert machine.look("dnf", (), EL9).reboot is None


def test_the_real_dnf_without_its_plugin_asks_for_no_reboot(machine, tmp_path):
    host = DnfHost(tmp_path / "host", ["bash-5.1-1.el9"])
    command = [host.bin / "dnf", "-C", "needs-restarting", "-r"]
    assert subprocess.run(command, env=host.environment, capture_output=True, check=False).returncode == 1
    assert machine.look("dnf", (), EL9, host.environment).reboot is None


# --- needrestart ----------------------------------------------------------------------------------

NEEDRESTART = """\
NEEDRESTART-VER: 3.6
NEEDRESTART-KCUR: 6.1.0-35-amd64
NEEDRESTART-KEXP: 6.1.0-37-amd64
NEEDRESTART-KSTA: {status}
NEEDRESTART-UCSTA: 1
NEEDRESTART-UCCUR: 0x1000065
NEEDRESTART-UCEXP: 
NEEDRESTART-SVC: ssh.service
NEEDRESTART-SVC: cron.service
NEEDRESTART-SESS: someone @ session #3
"""  # noqa: W291


def test_root_hears_from_needrestart(machine, monkeypatch):
    as_user(monkeypatch, root=True)
    machine.program("needrestart", f'test "$*" = "-b -r l" || exit 1\ncat << END\n{NEEDRESTART.format(status=3)}END')
    machine.process(2, "nginx", "/system.slice/nginx.service", mapped("/usr/lib/libssl.so.3 (deleted)"))
    assert machine.look() == Restarts(
        True,
        "needrestart finds the kernel 6.1.0-37-amd64 in place of the running 6.1.0-35-amd64.",
        ("cron.service", "ssh.service"),
        "By needrestart, these services run on replaced libraries. So do 1 user sessions or containers.",
    )


def test_another_user_would_hear_only_of_their_own_from_needrestart(machine):
    machine.program("needrestart", f"cat << END\n{NEEDRESTART.format(status=3)}END")
    assert machine.look().services == ()


@pytest.mark.parametrize("script", ["exit 1", "echo nonsense", "echo NEEDRESTART-VER: 3.6; exit 2"])
def test_where_needrestart_fails_we_look_ourselves(machine, monkeypatch, script):
    as_user(monkeypatch, root=True)
    machine.program("needrestart", script)
    machine.process(2, "nginx", "/system.slice/nginx.service", mapped("/usr/lib/libssl.so.3 (deleted)"))
    assert machine.look().services == ("nginx.service",)


@pytest.mark.parametrize(("status", "expected"), [("0", None), ("1", False), ("2", True), ("3", True)])
def test_needrestart_says_what_it_knows_of_the_kernel(status, expected):
    found = parse_needrestart(NEEDRESTART.format(status=status))
    assert found
    assert (found.reboot.reboot if found.reboot else None) is expected


def test_needrestart_in_a_container_says_nothing_of_the_kernel():
    found = parse_needrestart("NEEDRESTART-VER: 3.6\n")
    assert found
    assert (found.reboot, found.services, found.elsewhere) == (None, (), 0)


# --- processes ------------------------------------------------------------------------------------

RUN = "import ctypes, sys, time; ctypes.CDLL(sys.argv[1]); print('ready', flush=True); time.sleep(100)"


@pytest.fixture
def replaced() -> Iterator[tuple[int, Path]]:
    """A running process, and the shared library that was replaced under it as package managers do it."""
    places = (Path("/var/lib"), Path.home(), Path.cwd())
    parent = next(place for place in places if os.access(place, os.W_OK) and not NO_LIBRARY.match(f"{place}/file"))
    with tempfile.TemporaryDirectory(dir=parent) as folder:
        library = Path(folder) / "libreplaced.so.1"
        shutil.copy(_ctypes.__file__, library)
        with subprocess.Popen([sys.executable, "-c", RUN, library], stdout=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout
                assert process.stdout.readline() == "ready\n"
                shutil.copy(_ctypes.__file__, library.with_suffix(".new"))
                library.with_suffix(".new").rename(library)
                yield process.pid, library
            finally:
                process.kill()


def test_a_running_process_whose_library_was_replaced_is_found(replaced):
    pid, library = replaced
    found = look_at_processes(Path("/proc"), lambda: None, time.monotonic() + 60)
    (process,) = [process for process in found.outdated if process.pid == pid]
    assert process.files == {str(library)}
    assert "python" in process.name
    assert found.total > 1


def test_a_running_process_counts_until_it_ends(machine, replaced):
    pid, library = replaced
    machine.real_process(2, pid)
    found = machine.look()
    assert found.services is not None
    assert len(found.services) == 1
    assert found.services_reason.startswith(f"Replaced while in use: {library.name}.")
    os.kill(pid, 9)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert machine.look().services == ()


def test_a_process_that_ends_while_we_look_is_no_error(machine):
    (machine.proc / "2").mkdir()
    assert machine.look().services == ()


def test_services_are_named_by_their_units(machine):
    machine.process(2, "sshd", "/system.slice/ssh.service", mapped("/usr/lib/libcrypto.so.3 (deleted)"))
    machine.process(3, "sshd", "/system.slice/ssh.service", mapped("/usr/lib/libcrypto.so.3 (deleted)"))
    machine.process(4, "cron", "/system.slice/cron.service", mapped("/usr/lib/libc.so.6"))
    machine.process(5, "bash", "/user.slice/user-0.slice/session-3.scope", mapped("/usr/lib/libc.so.6 (deleted)"))
    machine.process(6, "postgres", "/", mapped("/usr/lib/libpq.so.5 (deleted)"))
    found = machine.look()
    assert found.services == ("postgres", "ssh.service")
    assert found.services_reason == (
        "Replaced while in use: libc.so.6, libcrypto.so.3, libpq.so.5. Used outside of services, too: bash (5)."
    )


def test_without_an_outdated_process_the_list_is_empty_and_says_so(machine):
    found = machine.look()
    assert (found.services, found.services_reason) == ((), "No process runs on replaced libraries.")


@pytest.mark.parametrize(
    ("package_manager", "command"),
    [("apt", "sudo needrestart -r l"), ("dnf", "sudo dnf needs-restarting -s"), ("pacman", "sudo grep -lE")],
)
def test_processes_that_may_not_be_read_leave_the_services_unknown(machine, package_manager, command):
    machine.process(2, "nginx", "/system.slice/nginx.service", mapped("/usr/lib/libssl.so.3 (deleted)"))
    machine.forbidden_process(3)
    machine.program("dnf", "exit 1")
    found = machine.look(package_manager)
    assert found.services is None
    assert found.services_reason.startswith("Unknown: 1 of 3 processes could not be read. Only root may read all of")
    assert command in found.services_reason
    assert found.services_reason.endswith("Among those that could be read: nginx.service.")


def test_root_who_may_not_read_a_process_is_not_told_to_be_root(machine, monkeypatch):
    as_user(monkeypatch, root=True)
    machine.program("needrestart", "exit 1")
    machine.forbidden_process(2)
    found = machine.look("pacman")
    assert (found.services, found.services_reason) == (None, "Unknown: 1 of 2 processes could not be read.")


def test_where_only_ones_own_processes_show_up_the_services_are_unknown(machine):
    (machine.proc / "1").rename(machine.proc / "2")
    found = machine.look()
    assert found.services is None
    assert found.services_reason.startswith("Unknown: this host shows a user only their own processes.")


def test_without_proc_the_services_are_unknown(machine):
    shutil.rmtree(machine.proc)
    assert machine.look().services is None


def test_looking_takes_no_longer_than_it_may(machine):
    found = look_at_processes(machine.proc, lambda: None, time.monotonic() - 1)
    assert (found.total, found.unread) == (1, 1)


def test_looking_stops_where_the_scan_is_cancelled(machine):
    class CancelledError(Exception):
        pass

    def watch() -> None:
        raise CancelledError

    with pytest.raises(CancelledError):
        look_at_processes(machine.proc, watch, time.monotonic() + 60)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (mapped("/usr/lib/x86_64-linux-gnu/libssl.so.3 (deleted)"), {"/usr/lib/x86_64-linux-gnu/libssl.so.3"}),
        (mapped("/usr/lib64/libssl.so.3;66b1f2c0 (deleted)"), {"/usr/lib64/libssl.so.3"}),
        (mapped("/usr/lib/libc.so.6.dpkg-tmp (deleted)"), {"/usr/lib/libc.so.6"}),
        (mapped("/usr/sbin/a program (deleted)"), {"/usr/sbin/a program"}),
        (mapped("/usr/lib/libssl.so.3"), set()),
        (mapped("/usr/share/fonts/cache (deleted)", "r--p"), set()),
        (mapped("/memfd:sealed-91173221a7ea (deleted)"), set()),
        (mapped("/dev/zero (deleted)", "rwxs"), set()),
        (mapped("/SYSV00210045 (deleted)", "rwxs"), set()),
        (mapped("/[aio] (deleted)", "rwxs"), set()),
        (mapped("/tmp/ffi4711 (deleted)"), set()),
        (mapped("/var/tmp/module.so (deleted)"), set()),
        (mapped("/run/user/1000/orcexec.Xu1a2b (deleted)"), set()),
        (mapped("/home/someone/orcexec.Xu1a2b (deleted)"), set()),
        (mapped("/home/someone/#4711 (deleted)"), set()),
        (mapped("/usr/lib/none.so (deleted)", inode=0), set()),
        ("7ffd1c5f2000-7ffd1c5f4000 r-xp 00000000 00:00 0                          [vdso]\n", set()),
        ("", set()),
    ],
)
def test_only_files_of_packages_that_are_executed_count_as_replaced(line, expected):
    assert replaced_files((mapped("/usr/bin/program") + line).encode()) == expected


@pytest.mark.parametrize(
    ("cgroup", "expected"),
    [
        ("0::/system.slice/ssh.service\n", "ssh.service"),
        ("0::/system.slice/system-postgresql.slice/postgresql@15-main.service\n", "postgresql@15-main.service"),
        ("0::/system.slice/systemd-udevd.service/udev\n", "systemd-udevd.service"),
        ("9:name=systemd:/system.slice/cron.service\n8:pids:/system.slice/cron.service\n0::/\n", "cron.service"),
        ("0::/system.slice/ssh.service (deleted)\n", "ssh.service"),
        ("0::/init.scope\n", "systemd-manager"),
        ("0::/user.slice/user-1000.slice/session-3.scope\n", "session-3.scope"),
        (
            "0::/user.slice/user-1000.slice/user@1000.service/session.slice/pipewire.service\n",
            "pipewire.service (user 1000)",
        ),
        ("0::/user.slice/user-1000.slice/user@1000.service/init.scope\n", "user@1000.service"),
        ("0::/system.slice/docker-0123abcd.scope/system.slice/nginx.service\n", "docker-0123abcd.scope"),
        ("0::/docker/0123abcd\n", ""),
        ("9:name=systemd:/\n4:memory:/something\n0::/\n", ""),
        ("", ""),
    ],
)
def test_the_unit_is_the_one_that_systemd_itself_would_name(cgroup, expected):
    assert unit_of(cgroup) == expected
