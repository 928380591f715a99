"""For all tests: the static files, collected once, since pages name them by their hash; quick passwords; settings that
are read anew.
"""

from collections.abc import Generator
from importlib import import_module
from typing import Any

import pytest
from django.apps import apps
from django.conf import settings
from django.core.management import call_command

from scanner import run_time

BLOCKER = pytest.StashKey[Any]()
daily_scan = import_module("scanner.migrations.0002_daily_scan")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes long comes first: no worker of pytest-xdist is left with it at the end, and one has the browser."""
    items.sort(key=lambda item: item.get_closest_marker("end_to_end") is None)


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
    settings.SERVESTATIC_USE_MANIFEST = False


@pytest.fixture(autouse=True)
def quick_passwords(settings: Any) -> None:
    """Accounts of tests have no secret worth a third of a second of hashing."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher", *settings.PASSWORD_HASHERS]


@pytest.fixture(autouse=True)
def chosen_settings() -> None:
    """What a test chooses does not outlive it, and what it has read does not end in the middle of it."""
    run_time.KEPT = 10**6
    run_time.forget()
