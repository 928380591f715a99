"""Every export of a large host: `python -m tests.bench.exports`. Prints one JSON object, in seconds."""

import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import django

PACKAGES, UPDATES, SECURITY, VULNERABLE = 10_000, 1_500, 400, 2_000
RUNS = 3


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        os.environ.update(SCANNER_DATA=folder, DJANGO_SETTINGS_MODULE="project.settings")
        django.setup()
        from django.core.management import call_command  # noqa: PLC0415

        call_command("migrate", verbosity=0)
        print(json.dumps({"packages": PACKAGES, "findings": 3 * VULNERABLE, "seconds": figures(Path(folder))}))


def figures(folder: Path) -> dict[str, Any]:
    from scanner.exports.formats import EXPORTS  # noqa: PLC0415
    from scanner.exports.loading import StoredScan  # noqa: PLC0415
    from tests.exports.scans import large_host  # noqa: PLC0415

    scan = large_host(folder, PACKAGES, UPDATES, SECURITY, VULNERABLE)
    taken: dict[str, list[float]] = {}
    for _ in range(RUNS):
        for export in EXPORTS:
            for part in export.parts or ("",):
                begin = time.perf_counter()
                for _piece in export.scan(StoredScan(scan, located=part == "vulnerabilities"), part):
                    pass
                taken.setdefault(f"{export.name} {part}".strip(), []).append(time.perf_counter() - begin)
    return {name: round(min(times), 2) for name, times in taken.items()}


if __name__ == "__main__":
    main()
