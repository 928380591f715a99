"""A saved scan beside the package manager's own commands, on a generated host: `python -m tests.bench.scan_speed N`.

Prints one JSON object. A process of its own for each size, so that its peak memory is its own.
"""

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import django

from tests.hosts.apt import DEBIAN, Deb, random_host

RUNS = 5
ARCHIVE = 60_000  # packages in the archive, as many as Debian's main has


def main(packages: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        host = random_host(Path(folder), packages)
        host.publish(DEBIAN, *(Deb(f"other-{number}", "1.0") for number in range(ARCHIVE)))
        host.update()
        os.environ.update(host.environment, SCANNER_DATA=f"{folder}/data", DJANGO_SETTINGS_MODULE="project.settings")
        django.setup()
        from django.core.management import call_command  # noqa: PLC0415

        call_command("migrate", verbosity=0)
        names = [package.name for package in host.packages.values()]
        own, first, again = [], [], []
        for _ in range(RUNS + 1):
            own.append(timed(lambda: own_commands(names)))
            forget_content()
            first.append(timed(saved_scan))
            again.append(timed(saved_scan))
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        own_median, first_median, again_median = (statistics.median(times[1:]) for times in (own, first, again))
        print(
            json.dumps(
                {
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


def own_commands(names: list[str]) -> None:
    """What an administrator would run to know the same, one after the other."""
    indexes = "$(DESCRIPTION)\t$(LABEL)\t$(ORIGIN)\t$(SUITE)\t$(CODENAME)"
    for argv in (
        ["dpkg-query", "-W", "-f", "${Package} ${Version}\n"],
        ["apt-get", "indextargets", "--format", indexes, "Created-By: Packages"],
        ["apt-get", "indextargets", "--no-release-info", "--format", "$(SITE)", "Created-By: Packages"],
        ["apt-cache", "policy", *names],
        ["apt-get", "-s", "upgrade"],
    ):
        subprocess.run(
            argv,
            env={**os.environ, "LC_ALL": "C"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=True,
        )


def forget_content() -> None:
    """So that the next scan has to write every row."""
    from scanner.models import PackageSet, Scan, Snapshot  # noqa: PLC0415

    for model in (Scan, Snapshot, PackageSet):
        model.objects.all().delete()


def saved_scan() -> None:
    from scanner import scanning  # noqa: PLC0415
    from scanner.models import Host, Scan  # noqa: PLC0415

    scan = Scan.objects.create(host=Host.objects.local(), trigger="api", refresh=False)
    scanning.run(scan)
    assert scan.state == "completed", scan.error


def timed(work: Callable[[], None]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


if __name__ == "__main__":
    main(int(sys.argv[1]))
