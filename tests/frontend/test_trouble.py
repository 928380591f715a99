"""What a visitor is told while the database is away."""

from typing import Any

import pytest
from django.conf import settings
from django.db import connection
from django.test import Client

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def no_database() -> Any:
    """The real answer of the real driver: the server's socket is not where we look for it."""
    connection.close()
    options = connection.settings_dict["OPTIONS"]
    connection.settings_dict["OPTIONS"] = {**options, "host": "/nonexistent"}
    yield
    connection.close()
    connection.settings_dict["OPTIONS"] = options


def test_a_page_says_503_in_words(client: Client, no_database: None) -> None:
    client.cookies[settings.SESSION_COOKIE_NAME] = "a" * 32
    answer = client.get("/security/package-scanner/", headers={"Accept": "text/html"})
    assert answer.status_code == 503
    assert "database does not answer" in answer.content.decode()


@pytest.mark.parametrize("path", ["/api/security/package-scanner/widget/", "/security/package-scanner/run/"])
def test_the_doors_for_programs_say_it_in_json(client: Client, no_database: None, path: str) -> None:
    headers = {"Authorization": "Bearer scanner_x", "Accept": "application/json"}
    answer = client.get(path, headers=headers) if path.startswith("/api/") else client.post(path, headers=headers)
    assert (answer.status_code, answer.json()["success"]) == (503, False)
