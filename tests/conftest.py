"""For all tests: the static files, collected once, since pages name them by their hash."""

import pytest
from django.conf import settings
from django.core.management import call_command


@pytest.fixture(scope="session", autouse=True)
def static_files() -> None:
    call_command("collectstatic", verbosity=0, interactive=False)
    # a test's client would look at all 700 of them, and none asks for one; web processes read settings of their own
    settings.SERVESTATIC_USE_MANIFEST = False
