"""For all tests: the static files, collected once, since pages name them by their hash."""

import pytest
from django.core.management import call_command


@pytest.fixture(scope="session", autouse=True)
def static_files() -> None:
    call_command("collectstatic", verbosity=0, interactive=False)
