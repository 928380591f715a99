"""The dependencies of all installed packages, on generated hosts of each family.

`python -m tests.bench.dependency_graph` prints one JSON object: the seconds by family and number of packages, the
median of some runs (aim: 5,000 packages in half a second), and how many edges there were.
"""

import json
import os
import random
import statistics
import struct
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from scanner.package_managers.command import Runner
from scanner.package_managers.dependencies import (
    dpkg_dependencies,
    dpkg_relation,
    dpkg_version_key,
    pacman_dependencies,
    rpm_dependencies,
)
from scanner.package_managers.interface import Dependencies
from tests.hosts import apt, dnf, pacman

SIZES = (800, 2_000, 5_000)
RUNS = 5
FILES = 80  # of each rpm package, about as many as real ones have


def main() -> None:
    found: dict[str, dict[str, float]] = {}
    edges: dict[str, dict[str, int]] = {}
    for family, build in (("dpkg", dpkg_host), ("rpm", rpm_host), ("pacman", pacman_host)):
        for size in SIZES:
            with tempfile.TemporaryDirectory() as folder:
                read = build(Path(folder), size)
                found.setdefault(family, {})[str(size)] = round(statistics.median(timed(read) for _ in range(RUNS)), 3)
                edges.setdefault(family, {})[str(size)] = sum(map(len, read().values()))
    print(json.dumps({"seconds": found, "edges": edges}))


def timed(read: Callable[[], Dependencies]) -> float:
    for remembered in (dpkg_relation, dpkg_version_key):
        remembered.cache_clear()
    started = time.perf_counter()
    read()
    return time.perf_counter() - started


def dpkg_host(folder: Path, packages: int) -> Callable[[], Dependencies]:
    installed = (
        apt.Deb(
            f"package-{number}",
            f"1.{number % 9}-1",
            depends=", ".join(f"package-{other} (>= 1.{other % 9})" for other in earlier),
        )
        for number, earlier in generated(packages)
    )
    host = apt.AptHost(folder, installed, update=False)
    admindir = host.root / "var/lib/dpkg"
    return lambda: dpkg_dependencies(runner(host.environment), admindir)


def rpm_host(folder: Path, packages: int) -> Callable[[], Dependencies]:
    host = dnf.DnfHost(folder, [])
    install(host, (rpm_package(number, earlier) for number, earlier in generated(packages)))
    return lambda: rpm_dependencies(runner(host.environment))


def rpm_package(number: int, earlier: Sequence[int]) -> "Rpm":
    name = f"package-{number}"
    return Rpm(
        f"{name}-1.{number % 9}-1.el9.x86_64",
        provides=(f"lib{name}.so.1()(64bit)", f"lib{name}.so.1(V_1)(64bit)"),
        requires=(*(f"libpackage-{other}.so.1()(64bit)" for other in earlier), "rpmlib(CompressedFileNames)"),
        files=tuple(f"/usr/share/{name}/file-{file}" for file in range(FILES)),
    )


def pacman_host(folder: Path, packages: int) -> Callable[[], Dependencies]:
    host = pacman.PacmanHost(
        folder,
        (
            pacman.Package(f"package-{number} 1.{number % 9}-1", depends=[f"package-{other}>=1.0" for other in earlier])
            for number, earlier in generated(packages)
        ),
    )
    return lambda: pacman_dependencies(host.local.parent)


def generated(packages: int) -> Iterable[tuple[int, Sequence[int]]]:
    """Each package with some of those before it, four on average."""
    dice = random.Random(1)
    for number in range(packages):
        earlier = range(max(0, number - 20), number)
        yield number, dice.sample(earlier, min(len(earlier), dice.randrange(9)))


def runner(environment: dict[str, str]) -> Runner:
    return Runner(time.monotonic() + 60, environment={**os.environ, **environment})


# --- rpm headers with what packages want and give -------------------------------------------------


@dataclass(frozen=True)
class Rpm:
    """`provides` goes beyond the package's own name; `requires` may hold what no header of tests.hosts.dnf has."""

    nevra: str
    provides: Sequence[str] = ()
    requires: Sequence[str] = ()
    files: Sequence[str] = ()


PROVIDENAME, REQUIREFLAGS, REQUIRENAME, REQUIREVERSION, PROVIDEFLAGS, PROVIDEVERSION = (
    1047,
    1048,
    1049,
    1050,
    1112,
    1113,
)
DIRINDEXES, BASENAMES, DIRNAMES = 1116, 1117, 1118


def install(host: dnf.DnfHost, packages: Iterable[Rpm]) -> None:
    """Write packages into the host's database, as `DnfHost.install` does."""
    done = dnf.subprocess.run(
        ["rpmdb", "--root", host.root, "--importdb"],
        input=b"".join(map(header, packages)),
        env=host.environment,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()


def header(package: Rpm) -> bytes:
    """The header of tests.hosts.dnf with more entries."""
    plain = dnf.header(dnf.Package(package.nevra))
    count, _ = struct.unpack(">II", plain[8:16])
    data = plain[16 + 16 * count :]
    entries = [struct.unpack(">IIII", plain[16 + 16 * place : 32 + 16 * place]) for place in range(count)]
    ends = [entry[2] for entry in entries[1:]] + [len(data)]
    values = {tag: (kind, size, data[at:end]) for (tag, kind, at, size), end in zip(entries, ends, strict=True)}
    own = dnf.Package(package.nevra).parts["name"]
    version = values[PROVIDEVERSION][2].split(b"\0")[0].decode()
    values[PROVIDENAME] = strings([own, *package.provides])
    values[PROVIDEFLAGS] = numbers([8] + [0] * len(package.provides))
    values[PROVIDEVERSION] = strings([version] + [""] * len(package.provides))
    if package.requires:
        values[REQUIRENAME] = strings(package.requires)
        values[REQUIREFLAGS] = numbers([0] * len(package.requires))
        values[REQUIREVERSION] = strings([""] * len(package.requires))
    if package.files:
        folders = sorted({f"{Path(file).parent}/" for file in package.files})
        values[DIRINDEXES] = numbers([folders.index(f"{Path(file).parent}/") for file in package.files])
        values[BASENAMES] = strings([Path(file).name for file in package.files])
        values[DIRNAMES] = strings(folders)
    return packed(values)


def packed(values: dict[int, tuple[int, int, bytes]]) -> bytes:
    index, data = b"", b""
    for tag, (kind, count, value) in sorted(values.items()):
        if kind == dnf.INT32:
            data += b"\0" * (-len(data) % 4)
        index += struct.pack(">IIII", tag, kind, len(data), count)
        data += value
    return b"\x8e\xad\xe8\x01\0\0\0\0" + struct.pack(">II", len(values), len(data)) + index + data


def strings(values: Sequence[str]) -> tuple[int, int, bytes]:
    return dnf.STRINGS, len(values), b"".join(value.encode() + b"\0" for value in values)


def numbers(values: Sequence[int]) -> tuple[int, int, bytes]:
    return dnf.INT32, len(values), struct.pack(f">{len(values)}I", *values)


if __name__ == "__main__":
    main()
