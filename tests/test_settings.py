"""Settings come from the environment: all of them are documented, and a wrong one stops the start and is named."""

import gc
import json
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path
from unittest.mock import patch

import pytest
from django.core.exceptions import ImproperlyConfigured

CHECKOUT = Path(__file__).resolve().parent.parent
EXAMPLE = (CHECKOUT / ".env.example").read_text()
DOCUMENTED = dict(re.findall(r"^#([A-Z_]+)=(.*)$", EXAMPLE, re.MULTILINE))


def read_by_settings() -> set[str]:
    source = (CHECKOUT / "project/settings.py").read_text()
    plain = set(re.findall(r'\benv\.\w+\(\s*"([A-Z_]+)"', source))
    secret = set(re.findall(r'one_file_or_value\("([A-Z_]+)"\)', source))
    return plain | secret | {f"{name}_FILE" for name in secret}


def python(words: list[str], data: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run Python with these settings and no others."""
    others = {name: value for name, value in os.environ.items() if name not in DOCUMENTED}
    return subprocess.run(
        [sys.executable, *words],
        cwd=CHECKOUT,
        env={**others, "DJANGO_SETTINGS_MODULE": "project.settings", "SCANNER_DATA": str(data), **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_every_setting_is_in_the_example_and_nothing_else_is() -> None:
    assert set(DOCUMENTED) == read_by_settings()


def test_the_example_says_the_true_defaults(tmp_path: Path) -> None:
    names = [name for name, value in DOCUMENTED.items() if value and name != "SCANNER_DATA"]
    program = (
        "import json; from django.conf import settings; "
        f"print(json.dumps({{name: str(getattr(settings, name)) for name in {names}}}))"
    )
    unset = python(["-c", program], tmp_path)
    assert unset.returncode == 0, unset.stderr
    told = python(["-c", program], tmp_path, **{name: DOCUMENTED[name] for name in names})
    assert json.loads(told.stdout) == json.loads(unset.stdout)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "abc"),
        ("PORT", "70000"),
        ("PUBLIC_URL", "scanner.example.org"),
        ("TRUST_PROXY", "perhaps"),
        ("SCAN_HOST", "two words"),
        ("SCAN_TIME_LIMIT", "x"),
        ("SCAN_TIME_LIMIT", "0"),
        ("METADATA_MAX_AGE_DAYS", "-1"),
        ("TIME_ZONE", "Mars"),
        ("LOG_LEVEL", "LOUD"),
        ("DATABASE_URL", "foo://user:pa55word@host/name"),
        ("REDIS_URL", "http://:pa55word@host"),
        ("REDIS_URL", "redis://:pa55word@host:port"),
        ("SECRET_KEY_FILE", "/nonexistent"),
        ("SCANNER_DATA", "/dev/null"),
    ],
)
def test_a_wrong_value_is_named(name: str, value: str, tmp_path: Path) -> None:
    given = {"PATH": os.environ["PATH"], "SCANNER_DATA": str(tmp_path), name: value}
    with patch.dict(os.environ, given, clear=True), pytest.raises(ImproperlyConfigured) as error:
        runpy.run_path(str(CHECKOUT / "project/settings.py"))
    assert len(str(error.value).splitlines()) == 1
    assert name in str(error.value)
    assert "pa55word" not in str(error.value)


def test_a_wrong_value_stops_the_start(tmp_path: Path) -> None:
    start = python(["manage.py", "check"], tmp_path, PORT="70000")
    assert (start.returncode, start.stdout) == (1, "")
    assert len(start.stderr.splitlines()) == 1 and start.stderr.startswith("manage.py: "), start.stderr
    assert "PORT" in start.stderr


def test_a_secret_may_be_in_a_file(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("from the file\n")
    program = "from django.conf import settings; print(settings.SECRET_KEY)"
    start = python(["-c", program], tmp_path, SECRET_KEY_FILE=str(secret), SECRET_KEY="other")
    assert start.stdout == "from the file\n"


def test_the_secret_key_is_made_once_and_readable_by_its_owner_only(tmp_path: Path) -> None:
    program = "from django.conf import settings; print(settings.SECRET_KEY)"
    key = python(["-c", program], tmp_path).stdout.strip()
    assert python(["-c", program], tmp_path).stdout.strip() == key
    assert (tmp_path / "secret_key").read_text() == key
    assert len(key) >= 50
    assert (tmp_path / "secret_key").stat().st_mode & 0o077 == 0


def test_garbage_is_collected_but_not_among_what_was_imported() -> None:
    assert gc.isenabled()
    assert gc.get_freeze_count() > 10_000
