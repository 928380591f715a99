"""For all tests: the static files, collected once, since pages name them by their hash; quick passwords; settings that
are read anew.
"""

from typing import Any

import pytest
from django.conf import settings
from django.core.management import call_command

from scanner import run_time


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes long comes first: no worker of pytest-xdist is left with it at the end, and one has the browser."""
    items.sort(key=lambda item: item.get_closest_marker("end_to_end") is None)


@pytest.fixture(scope="session", autouse=True)
def static_files() -> None:
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
