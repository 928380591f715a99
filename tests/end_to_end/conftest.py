"""Fixtures for tests on the whole stack. Each worker of pytest-xdist that runs some of them has one."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.base import AXE_SCRIPT, AxeResults
from django.conf import settings
from django.contrib.auth.hashers import make_password
from django.db import connection
from django.test import Client
from playwright.sync_api import Browser, ConsoleMessage, Page, Playwright, Request, expect, sync_playwright

from scanner.models import ApiToken, Host
from tests.end_to_end.stack import Stack, free_port
from tests.hosts.apt import DEBIAN, SECURITY, AptHost, Deb
from tests.make import make_user
from tests.real_services import Valkey

os.environ.setdefault("DJANGO_ALLOW_ASYNC_UNSAFE", "true")  # playwright runs an event loop in this very thread
expect.set_options(timeout=15_000)  # milliseconds; what is there sooner costs no more

CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
AXE_RULES = {
    "runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]},
    "resultTypes": ["violations"],  # of the rest it tells one example: less to carry over
}

YIELD_LAST = """
SELECT set_config('deadlock_timeout', '1min', false) FROM pg_roles WHERE rolname = current_user AND rolsuper
"""

SLOW_APT = """\
#!/bin/sh
# The real apt-get, behind a gate: while the file `slow` is there, it waits.
while [ -e {folder}/slow ]; do sleep 0.1; done
exec {apt_get} "$@"
"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.end_to_end)
            item.add_marker(pytest.mark.django_db(transaction=True))


def start_chromium(playwright: Playwright) -> Browser:
    """Debian's, without the windows around its pages, which cost as much again as the pages."""
    return playwright.chromium.launch(executable_path=shutil.which("chromium-headless-shell"), args=CHROMIUM_FLAGS)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Not for the whole session: while playwright runs, no other test may use an event loop."""
    with sync_playwright() as playwright:
        browser = start_chromium(playwright)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page on which a CSP violation, an error in a script, a 404 or a request to another site fails the test."""
    context = browser.new_context()
    page = context.new_page()
    bad: list[str] = []
    page.expected_troubles = ()  # type: ignore[attr-defined] - what a test that pulls the plug allows

    def console(message: ConsoleMessage) -> None:
        if message.type == "error" and not any(word in message.text for word in page.expected_troubles):  # type: ignore[attr-defined]
            bad.append(message.text)

    def request(request: Request) -> None:
        if not request.url.startswith(("http://127.0.0.1", "ws://127.0.0.1", "data:", "blob:")):
            bad.append(request.url)

    page.on("console", console)
    page.on("pageerror", lambda error: bad.append(str(error)))
    page.on("request", request)
    yield page
    context.close()
    assert not bad, bad


@pytest.fixture(scope="session")
def apt_host(tmp_path_factory: pytest.TempPathFactory) -> AptHost:
    """40 packages; 6 have a security update waiting, 3 another one."""
    return AptHost(
        tmp_path_factory.mktemp("apt-host"),
        [Deb(f"package-{number}", "1.0") for number in range(40)],
        {
            SECURITY: [Deb(f"package-{number}", "1.1") for number in range(6)],
            DEBIAN: [Deb(f"package-{number}", "1.1") for number in range(6, 9)],
        },
    )


class Gate:
    """Makes the next scans wait inside apt-get, until it is opened."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "slow"

    def close(self) -> None:
        self.file.touch()

    def open(self) -> None:
        self.file.unlink(missing_ok=True)


@pytest.fixture(scope="session")
def whole_stack(
    django_db_setup: None, django_db_blocker: Any, apt_host: AptHost, tmp_path_factory: Any
) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("stack")
    apt_host.replace_program("apt-get", SLOW_APT.format(folder=folder, apt_get=shutil.which("apt-get")))
    data = folder / "data"
    valkey = Valkey(folder / "valkey")  # not the suite's: a test stops it
    valkey.start()
    environment = {
        **os.environ,
        **apt_host.environment,
        "DATABASE_URL": test_database_address(),
        "REDIS_URL": valkey.address,
        "SCANNER_DATA": str(data),
        "SCAN_HOST": "web-1",
        "WEBHOOK_ALLOWED_NETWORKS": "127.0.0.0/8,::1/128",
        "EMAIL_URL": f"smtp://127.0.0.1:{free_port()}",  # nobody listens there, until a test does
        "SECRET_KEY": settings.SECRET_KEY,
        "DJANGO_ALLOW_ASYNC_UNSAFE": "",
    }
    data.mkdir(mode=0o700)
    shutil.copytree(settings.STATIC_ROOT, data / "static")
    stack = Stack(environment, folder)
    stack.valkey = valkey
    yield stack
    stack.stop()
    valkey.stop()


@pytest.fixture
def stack(whole_stack: Stack, transactional_db: None) -> Iterator[Stack]:
    Host.objects.named("web-1")
    yield whole_stack
    Gate(whole_stack.folder).open()
    whole_stack.wait_idle()
    with connection.cursor() as cursor:  # the tables are emptied next: who is in the way then, as a retry, gives way
        cursor.execute(YIELD_LAST)


@pytest.fixture
def gate(stack: Stack) -> Gate:
    return Gate(stack.folder)


@pytest.fixture
def token(stack: Stack) -> str:
    return ApiToken.objects.issue("test", "scan")


@pytest.fixture
def signed_in(page: Page, stack: Stack) -> Page:
    """A browser in which a member of staff who may run scans has signed in."""
    sign_in(page, stack)
    return page


def sign_in(page: Page, stack: Stack, name: str = "ops", **rights: bool) -> None:
    """With a session as the form makes it, but without the form's hashing and pages."""
    client = Client()
    client.force_login(make_user(name, **rights))
    session = client.cookies[settings.SESSION_COOKIE_NAME]
    page.context.add_cookies([{"name": session.key, "value": session.value, "url": stack.address()}])
    page.goto(stack.address("/security/package-scanner/"))


def fill_in_sign_in_form(page: Page, stack: Stack, name: str = "ops", **rights: bool) -> None:
    user = make_user(name, **rights)
    user.password = make_password("correct horse battery", hasher="pbkdf2_sha256")  # what the web process can check
    user.save()
    page.goto(stack.address("/security/package-scanner/"))
    page.get_by_label("User name").fill(name)
    page.get_by_label("Password").fill("correct horse battery")
    page.get_by_role("button", name="Sign in").click()


def run_scan_now(page: Page) -> None:
    """Press the button. Before live.js has taken it over, the form would be sent as without a script."""
    expect(page.locator("#live")).to_contain_text("Live")
    page.get_by_role("button", name="Run Scan Now").click()


def test_database_address() -> str:
    """The address of the database that pytest-django has made for this worker."""
    values = connection.settings_dict
    host = values["OPTIONS"].get("host") or values["HOST"]
    password = f":{values['PASSWORD']}" if values["PASSWORD"] else ""
    port = f"&port={values['PORT']}" if values["PORT"] else ""
    return f"postgresql://{values['USER']}{password}@/{values['NAME']}?host={host}{port}"


def violations(page: Page) -> str:
    """What axe finds wrong, in words; empty when nothing is."""
    if page.evaluate("!window.axe"):
        page.evaluate(AXE_SCRIPT)
    found = AxeResults(page.evaluate("(rules) => axe.run(rules).then(({ violations }) => ({ violations }))", AXE_RULES))
    return found.generate_report() if found.violations_count else ""


Looks = tuple[tuple[Any, int], ...]  # colour scheme and width
LOOKS = pytest.mark.parametrize(
    "looks",
    [
        (("light", 1280), ("dark", 390)),
        pytest.param((("dark", 1280), ("light", 390)), marks=pytest.mark.slow),
        pytest.param((("light", 320), ("dark", 320)), marks=pytest.mark.slow),
    ],
    ids=("light-1280-dark-390", "dark-1280-light-390", "320"),
)


def expect_accessible(page: Page, looks: Looks) -> None:
    page.evaluate("for (const each of document.querySelectorAll('details')) each.open = true")
    for scheme, width in looks:
        page.set_viewport_size({"width": width, "height": 900})
        page.emulate_media(color_scheme=scheme)
        where = f"{page.url} at {width}, {scheme}"
        assert not violations(page), f"{where}: {violations(page)}"
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{where} scrolls sideways"
