"""A saved scan beside the package manager's own commands, on a generated host.

`python -m tests.bench.scan_speed apt|dnf|pacman N` prints one JSON object. A process of its own for each, so that its
peak memory is its own.
"""

import json
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import django

from tests.hosts import apt, dnf, pacman

RUNS = 5
ARCHIVE = 60_000  # packages in apt's archive, as many as Debian's main has
INDEXES = "$(DESCRIPTION)\t$(LABEL)\t$(ORIGIN)\t$(SUITE)\t$(CODENAME)"

# What an administrator would run to know the same, one after the other.
Commands = Sequence[Sequence[str]]


def main(family: str, packages: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        environment, commands = {"apt": apt_host, "dnf": dnf_host, "pacman": pacman_host}[family](
            Path(folder), packages
        )
        os.environ.update(environment, SCANNER_DATA=f"{folder}/data", DJANGO_SETTINGS_MODULE="project.settings")
        django.setup()
        from django.core.management import call_command  # noqa: PLC0415

        call_command("migrate", verbosity=0)
        own, first, again = [], [], []
        for _ in range(RUNS + 1):
            own.append(timed(lambda: run(commands)))
            forget_content()
            first.append(timed(lambda: saved_scan(family)))
            again.append(timed(lambda: saved_scan(family)))
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    own_median, first_median, again_median = (statistics.median(times[1:]) for times in (own, first, again))
    print(
        json.dumps(
            {
                "family": family,
                "packages": packages,
                "own_commands_s": round(own_median, 3),
                "saved_scan_s": round(first_median, 3),
                "saved_scan_of_unchanged_host_s": round(again_median, 3),
                "ratio": round(first_median / own_median, 2),
                "ratio_unchanged": round(again_median / own_median, 2),
                "peak_memory_MB": round(memory),
            }
        )
    )


def apt_host(folder: Path, packages: int) -> tuple[dict[str, str], Commands]:
    host = apt.random_host(folder, packages)
    host.publish(apt.DEBIAN, *(apt.Deb(f"other-{number}", "1.0") for number in range(ARCHIVE)))
    host.update()
    return host.environment, (
        ("dpkg-query", "-W", "-f", "${Package} ${Version}\n"),
        ("apt-get", "indextargets", "--format", INDEXES, "Created-By: Packages"),
        ("apt-get", "indextargets", "--no-release-info", "--format", "$(SITE)", "Created-By: Packages"),
        ("apt-cache", "policy", *(deb.name for deb in host.packages.values())),
        ("apt-get", "-s", "upgrade"),
    )


def dnf_host(folder: Path, packages: int) -> tuple[dict[str, str], Commands]:
    """Every tenth package has an update, half of those by a security advisory."""
    newer = [f"package{number}-2-1" for number in range(0, packages, 10)]
    advisories = [
        dnf.Advisory(f"RHSA-2026:{number}", "security", "Low", [nevra], cves=[f"CVE-2026-{number}"])
        for number, nevra in enumerate(newer[::2])
    ]
    host = dnf.DnfHost(
        folder,
        [f"package{number}-1-1" for number in range(packages)],
        dnf.Repository("baseos", [f"package{number}-1-1" for number in range(packages)] + newer, advisories),
    )
    host.make_cache()
    quiet = ("dnf", "-qC", f"--setopt=cachedir={host.cache}")
    return host.environment, (
        ("rpm", "-qa", "--qf", "%{NAME} %{VERSION}\n"),
        (*quiet, "repolist"),
        (*quiet, "check-update"),
        (*quiet, "updateinfo", "list"),
        (*quiet, "updateinfo", "list", "--with-cve"),
    )


def pacman_host(folder: Path, packages: int) -> tuple[dict[str, str], Commands]:
    names = [f"package{number}" for number in range(packages)]
    newer = {name: "2-1" if random.Random(name).random() < 0.1 else "1-1" for name in names}
    repository = pacman.Repository("core", [f"{name} {version}" for name, version in newer.items()])
    host = pacman.PacmanHost(folder, [f"{name} 1-1" for name in names], repository)
    host.refresh()
    tracker = folder / "tracker.json"
    group = {"name": "AVG-1", "packages": ["package1"], "status": "Fixed", "severity": "High", "type": "x"}
    tracker.write_text(json.dumps([{**group, "affected": "1-1", "fixed": "2-1", "issues": [], "advisories": []}]))
    return {**host.environment, "ARCH_TRACKER": str(tracker)}, (
        ("pacman", "-Q"),
        ("pacman", "-Qu"),
        ("pacman", "-Sup", "-dd", "--noconfirm", "--print-format", "%r|%n|%v"),
    )


def run(commands: Commands) -> None:
    for argv in commands:
        environment = {**os.environ, "LC_ALL": "C"}
        subprocess.run(argv, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)


def forget_content() -> None:
    """So that the next scan has to write every row."""
    from scanner.models import PackageSet, Scan, Snapshot  # noqa: PLC0415

    for model in (Scan, Snapshot, PackageSet):
        model.objects.all().delete()


def saved_scan(family: str) -> None:
    from scanner import scanning  # noqa: PLC0415
    from scanner.models import Host, Scan  # noqa: PLC0415

    scan = Scan.objects.create(host=Host.objects.local(), trigger="api", refresh=False, wanted_package_manager=family)
    scanning.run(scan)
    assert scan.has_counts, scan.error


def timed(work: Callable[[], None]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
