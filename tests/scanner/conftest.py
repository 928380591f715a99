"""A real apt host that the scans of this process see."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.hosts.apt import DEBIAN, SECURITY, AptHost, Deb


@pytest.fixture
def apt_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: Any) -> Callable[..., AptHost]:
    """Makes a host (by default: one security update, one other) and lets every program of this process see it."""
    settings.SCANNER_DATA = tmp_path / "data"

    def make(*installed: Deb, **description: Any) -> AptHost:
        host = AptHost(
            tmp_path,
            installed or (Deb("openssl", "3.0.1"), Deb("vim", "9.0")),
            description.pop("published", {SECURITY: [Deb("openssl", "3.0.2")], DEBIAN: [Deb("vim", "9.1")]}),
            **description,
        )
        for name, value in host.environment.items():
            monkeypatch.setenv(name, value)
        return host

    return make
