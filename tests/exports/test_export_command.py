"""`manage.py export_scan`: which scan, where to, and what it says where it cannot."""

import csv
import io
import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from scanner.exports.csv import Csv
from scanner.exports.formats import EXPORTS
from scanner.models import Scan
from tests.exports.scans import EXPLOITED, IGNORED, PACKAGES, scanned
from tests.make import make_host, make_scan

pytestmark = pytest.mark.django_db

CHECKOUT = Path(__file__).resolve().parents[2]


def export(*words: str) -> None:
    call_command("export_scan", *words)


def refused(*words: str) -> tuple[int, str]:
    with pytest.raises(CommandError) as caught:
        export(*words)
    return caught.value.returncode, str(caught.value)


def test_text_goes_to_standard_output_and_nothing_else_does(scan: Scan, capfdbinary: Any) -> None:
    export(str(scan.pk), "--format", "json")
    out, err = capfdbinary.readouterr()
    assert (json.loads(out)["id"], err) == (scan.pk, b"")


def test_a_part_is_one_of_the_lists(scan: Scan, capfdbinary: Any) -> None:
    export(str(scan.pk), "--format", "csv", "--part", "packages")
    text = capfdbinary.readouterr().out.decode("utf-8-sig")
    assert len(list(csv.DictReader(io.StringIO(text, newline="")))) == len(PACKAGES)
    export(str(scan.pk), "--format", "csv", "--part", "vulnerabilities")
    rows = list(csv.DictReader(io.StringIO(capfdbinary.readouterr().out.decode("utf-8-sig"), newline="")))
    assert {EXPLOITED, IGNORED} < {row["id"] for row in rows}, "whatever the vendor thinks of it"
    assert rows[0]["state"] == "Update waits"


def test_a_host_means_its_newest_scan_with_counts(scan: Scan, settings: Any, capfdbinary: Any) -> None:
    make_scan(scan.host, state="failed")
    export("--host", "web-1", "--format", "json")
    assert json.loads(capfdbinary.readouterr().out)["id"] == scan.pk
    settings.SCAN_HOST = "web-1"
    export("--format", "json")
    assert json.loads(capfdbinary.readouterr().out)["id"] == scan.pk


@pytest.mark.parametrize("name", [each.name for each in EXPORTS])
def test_every_format_can_be_written_to_a_file(scan: Scan, name: str, tmp_path: Path) -> None:
    file = tmp_path / "out"
    export(str(scan.pk), "--format", name, "--output", str(file))
    assert file.stat().st_size > 100
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE(file.stat().st_mode) == 0o666 & ~mask


def test_a_file_keeps_its_mode_and_is_never_half_written(
    scan: Scan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "out.csv"
    file.write_text("the one before")
    file.chmod(0o640)

    def breaks_off(*_: Any) -> Any:
        yield b"half"
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Csv, "scan", breaks_off)
    assert refused(str(scan.pk), "--format", "csv", "--output", str(file)) == (1, f"{file}: No space left on device.")
    assert (file.read_text(), [path.name for path in tmp_path.glob("*out*")]) == ("the one before", ["out.csv"])
    monkeypatch.undo()
    export(str(scan.pk), "--format", "csv", "--output", str(file))
    assert stat.S_IMODE(file.stat().st_mode) == 0o640


def test_a_device_is_written_to_and_not_replaced(scan: Scan) -> None:
    export(str(scan.pk), "--format", "csv", "--output", "/dev/null")
    assert Path("/dev/null").is_char_device()


def test_what_cannot_be_exported_exits_1_and_says_why(tmp_path: Path) -> None:
    failed = make_scan(state="failed")
    make_host("new")
    assert refused("999", "--format", "csv") == (1, "There is no scan 999.")
    code, words = refused(str(failed.pk), "--format", "csv")
    assert (code, "came to no result" in words) == (1, True)
    assert refused("--host", "nobody", "--format", "csv") == (1, "There is no host 'nobody'.")
    code, words = refused("--host", "new", "--format", "csv")
    assert (code, "No scan of new has come to a result yet" in words) == (1, True)
    file = tmp_path / "missing" / "out.csv"
    scan = scanned()
    assert refused(str(scan.pk), "--format", "csv", "--output", str(file))[0] == 1


def test_wrong_usage_exits_2(scan: Scan, monkeypatch: pytest.MonkeyPatch) -> None:
    assert refused(str(scan.pk), "--host", "web-1", "--format", "csv") == (2, "Name a scan or a host, not both.")
    code, words = refused(str(scan.pk), "--format", "json", "--part", "packages")
    assert (code, "--part is for CSV" in words) == (2, True)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    code, words = refused(str(scan.pk), "--format", "pdf")
    assert (code, "--output" in words) == (2, True)


# --- as a process of its own ------------------------------------------------------------------------


def process(folder: Path, *words: str, stdout: Any = subprocess.PIPE) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, str(CHECKOUT / "manage.py"), *words],
        env={"PATH": os.environ["PATH"], "SCANNER_DATA": str(folder / "data"), "SCAN_HOST": "web-1"},
        stdout=stdout,
        stderr=subprocess.PIPE,
        timeout=60,
        check=False,
        stdin=subprocess.DEVNULL,
    )


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--format", "csv"), 1, b"manage.py migrate"),
        (("--format", "xlsx"), 2, b"invalid choice"),
        (("one", "--format", "csv"), 2, b"invalid int value"),
        ((), 2, b"--format"),
    ],
)
def test_exit_status(tmp_path: Path, words: tuple[str, ...], code: int, said: bytes) -> None:
    done = process(tmp_path, "export_scan", *words)
    assert (done.returncode, done.stdout) == (code, b"")
    assert said in done.stderr and b"Traceback" not in done.stderr


def test_a_terminal_is_spared_the_bytes_of_a_pdf(tmp_path: Path) -> None:
    leader, terminal = os.openpty()
    try:
        done = process(tmp_path, "export_scan", "--format", "pdf", stdout=terminal)
    finally:
        os.close(terminal)
        os.close(leader)
    assert done.returncode == 2
    assert b"name a file with --output" in done.stderr
