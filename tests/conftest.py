"""For all tests: the static files, collected once, since pages name them by their hash, and quick passwords."""

from typing import Any

import pytest
from django.conf import settings
from django.core.management import call_command


@pytest.fixture(scope="session", autouse=True)
def static_files() -> None:
    call_command("collectstatic", verbosity=0, interactive=False)
    # a test's client would look at all 700 of them, and none asks for one; web processes read settings of their own
    settings.SERVESTATIC_USE_MANIFEST = False


@pytest.fixture(autouse=True)
def quick_passwords(settings: Any) -> None:
    """Accounts of tests have no secret worth a third of a second of hashing."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher", *settings.PASSWORD_HASHERS]
