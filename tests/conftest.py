"""For all tests: the order; the static files, collected once, since pages name them by their hash; a database for
commands that are processes of their own; quick passwords; settings that are read anew.
"""

import gc
import os
import subprocess
import sys
from collections.abc import Generator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.conf import settings
from django.core.management import call_command

from scanner import run_time

CHECKOUT = Path(__file__).resolve().parent.parent
BLOCKER = pytest.StashKey[Any]()
daily_scan = import_module("scanner.migrations.0002_daily_scan")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What takes long comes first, so that nobody is left with it at the end: for one worker all that needs the stack,
    which is started once; for the next, what starts processes of its own."""
    on_stack, starting, others = [], [], []
    for item in items:
        is_long = item.get_closest_marker("end_to_end") is not None
        (others if not is_long else on_stack if item.path.parent.name == "end_to_end" else starting).append(item)
    share = len(items) // getattr(config, "workerinput", {}).get("workercount", 1)
    rest_of_first = max(0, share - len(on_stack))
    items[:] = [*on_stack, *others[:rest_of_first], *starting, *others[rest_of_first:]]


def pytest_collection_finish() -> None:
    """Thousands of collected tests are not looked through again and again for garbage: a fifth of all computing."""
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> Generator[None, Any, Any]:
    """A test with transactions of its own empties every table: let the next one find what migrations leave."""
    answer = yield
    mark = item.get_closest_marker("django_db")
    if nextitem and mark and mark.kwargs.get("transaction"):
        with item.config.stash[BLOCKER].unblock():
            daily_scan.add_daily_scan(apps, None)
    return answer


@pytest.fixture(scope="session", autouse=True)
def static_files(request: pytest.FixtureRequest, django_db_blocker: Any) -> None:
    request.config.stash[BLOCKER] = django_db_blocker
    call_command("collectstatic", verbosity=0, interactive=False)
    # a test's client would look at all 700 of them, and none asks for one; web processes read settings of their own
    settings.SERVESTATIC_USE_MANIFEST = settings.SERVESTATIC_USE_STATIC_ROOT = False


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file as `manage.py migrate` leaves it, to copy: making it takes seconds."""
    data = tmp_path_factory.mktemp("migrated")
    argv = [sys.executable, str(CHECKOUT / "manage.py"), "migrate", "-v0", "--skip-checks"]
    subprocess.run(argv, env={"PATH": os.environ["PATH"], "SCANNER_DATA": str(data)}, check=True)
    return data / "db.sqlite3"


@pytest.fixture(autouse=True)
def quick_passwords(settings: Any) -> None:
    """Accounts of tests have no secret worth a third of a second of hashing."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher", *settings.PASSWORD_HASHERS]


@pytest.fixture(autouse=True)
def chosen_settings() -> None:
    """What a test chooses does not outlive it, and what it has read does not end in the middle of it."""
    run_time.KEPT = 10**6
    run_time.forget()
