"""Feeds and matching beside debsecan: `python -m tests.bench.vulnerabilities`. Prints one JSON object.

debsecan and we read the same data: a feed of the size of Debian's for one release, and 5,000 packages. Every figure of
seconds and memory is that of a whole process, from its start to its end, unless its name says otherwise; `…_cpu_s` is
the processor's time without that of Postgres.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import django

from tests.vulnerabilities import debsecan_feed

CHECKOUT = Path(__file__).parents[2]
ROWS, PACKAGES = 59_358, 5000
RUNS = 5
IMPORTS = 3
CHANGED = 100  # every so manyth row, in the next edition of the feed

# A small process between us and the measured one: the kernel counts the memory of whoever started it as its own.
MEASURE = """
import json, os, sys, time
output, *words = sys.argv[1:]
began = time.monotonic()
to_file = (os.POSIX_SPAWN_OPEN, 1, output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
pid = os.posix_spawnp(words[0], words, os.environ, file_actions=[to_file])
_, status, usage = os.wait4(pid, 0)
print(json.dumps([time.monotonic() - began, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024]))
sys.exit(os.waitstatus_to_exitcode(status))
"""


class Measured(NamedTuple):
    seconds: float
    cpu_seconds: float
    megabytes: float
    printed: str


def medians(name: str, runs: Sequence[Measured]) -> dict[str, float]:
    return {
        f"{name}_s": round(statistics.median(run.seconds for run in runs), 2),
        f"{name}_cpu_s": round(statistics.median(run.cpu_seconds for run in runs), 2),
        f"{name}_MB": round(statistics.median(run.megabytes for run in runs)),
    }


def main() -> None:
    started = services()
    try:
        with tempfile.TemporaryDirectory() as name:
            print(json.dumps(figures(Path(name))))
    finally:
        if started:
            started.pytest_unconfigure(None)


def services() -> Any:
    """The suite's Postgres, unless `make bench` has started it, or somebody has named one."""
    if "DATABASE_URL" in os.environ:
        return None
    from tests import real_services  # noqa: PLC0415 - it puts the addresses of new servers into the environment

    real_services.pytest_configure(None)
    return real_services


def figures(folder: Path) -> dict[str, Any]:
    (folder / "data").mkdir()
    os.environ.update(SCANNER_DATA=f"{folder}/data", DJANGO_SETTINGS_MODULE="project.settings")
    django.setup()
    from django.core.management import call_command  # noqa: PLC0415

    call_command("migrate", verbosity=0)
    tracker, packages = debsecan_feed.made(rows=ROWS, packages=PACKAGES, codenames=("bullseye",))
    feed, listed, host = written(folder, tracker, packages)
    return {
        "rows": ROWS,
        "packages": PACKAGES,
        "sources": len({package.source for package in packages}),
        "feed_MB": round(feed.stat().st_size / 1e6, 1),
        **imports(folder, feed, tracker),
        **side_by_side(folder, host, listed),
        **stored(packages, folder / "next.json"),
    }


def written(
    folder: Path, tracker: debsecan_feed.Tracker, packages: Sequence[debsecan_feed.Package]
) -> tuple[Path, Path, debsecan_feed.Host]:
    """The feed for us, the packages for us, and both for debsecan."""
    (folder / "tracker.json").write_text(json.dumps(tracker))
    (folder / "packages").write_text("".join("\t".join(package) + "\n" for package in packages))
    return (
        folder / "tracker.json",
        folder / "packages",
        debsecan_feed.written(folder, tracker, "bullseye", packages),
    )


# --- reading a feed ---------------------------------------------------------------------------------


def imports(folder: Path, feed: Path, tracker: dict[str, dict[str, dict[str, Any]]]) -> dict[str, Any]:
    """Into an empty database, and the next edition of the same feed."""
    first = []
    for _ in range(IMPORTS):
        forget_feeds()
        first.append(imported(folder, feed))
    second = imported(folder, next_edition(folder, tracker))
    return {
        **medians("import", first),
        "import_refresh_only_s": round(statistics.median(float(run.printed) for run in first), 2),
        **medians("import_of_next_edition", [second]),
    }


def imported(folder: Path, feed: Path) -> Measured:
    return measured(folder, [sys.executable, "-m", "tests.bench.vulnerabilities", "import", str(feed)])


def import_feed(feed: str) -> None:
    """The process that is measured."""
    django.setup()
    from scanner.vulnerabilities import importing  # noqa: PLC0415

    began = time.monotonic()
    row = importing.refresh("debian", source=feed)
    print(time.monotonic() - began)
    assert (row.rows, row.dropped) == (ROWS, 0), (row.rows, row.dropped)


def next_edition(folder: Path, tracker: dict[str, dict[str, dict[str, Any]]]) -> Path:
    """The same feed, where one row in a hundred says something else."""
    every = [fields["releases"] for issues in tracker.values() for fields in issues.values()]
    for releases in every[::CHANGED]:
        state = releases["bullseye"]
        if debsecan_feed.fix_of(state) not in ("", debsecan_feed.NOT_AFFECTED):
            releases["bullseye"] = {**state, "fixed_version": f"{state['fixed_version']}+deb11u99"}
    (folder / "next.json").write_text(json.dumps(tracker))
    return folder / "next.json"


def forget_feeds() -> None:
    from scanner.models import AffectedPackage, Feed, Vulnerability  # noqa: PLC0415

    for model in (AffectedPackage, Vulnerability, Feed):
        model.objects.all().delete()


# --- a list of packages -----------------------------------------------------------------------------


def side_by_side(folder: Path, host: debsecan_feed.Host, listed: Path) -> dict[str, Any]:
    """debsecan and check_inventory in turn, by the same edition, with the same result."""
    forget_feeds()
    imported(folder, folder / "tracker.json")
    ask = [sys.executable, "manage.py", "check_inventory", str(listed), "--distribution", "debian:11", "--json"]
    theirs, ours = [], []
    for _ in range(RUNS):
        theirs.append(measured(folder, [*host.command, "--format", "simple"]))
        ours.append(measured(folder, ask))
    findings = json.loads(ours[0].printed)["findings"]
    pairs = {f"{each['cve'] or each['advisory']} {each['package']}" for each in findings}
    assert pairs == set(theirs[0].printed.splitlines()), "debsecan finds something else"
    return {
        "findings": len(findings),
        **medians("debsecan", theirs),
        **medians("check_inventory", ours),
    }


def stored(packages: Sequence[debsecan_feed.Package], next_edition: Path) -> dict[str, Any]:
    """Of what is kept: matching stored package versions, and many hosts after an update of the feed."""
    from tests.bench import fleet  # noqa: PLC0415 - it needs a Django that is set up

    return fleet.figures(packages, next_edition)


# --- measuring --------------------------------------------------------------------------------------


def measured(folder: Path, command: Sequence[str]) -> Measured:
    output = folder / "output"
    words = [sys.executable, "-S", "-c", MEASURE, str(output), *command]
    done = subprocess.run(words, stdout=subprocess.PIPE, cwd=CHECKOUT, check=True)
    seconds, cpu_seconds, megabytes = json.loads(done.stdout)
    return Measured(seconds, cpu_seconds, megabytes, output.read_text())


if __name__ == "__main__":
    if sys.argv[1:2] == ["import"]:
        import_feed(sys.argv[2])
    else:
        main()
