"""From the button to the live dashboard, in a real browser, on the whole stack."""

import re
import sys
from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.utils import timezone
from playwright.sync_api import Browser, Page, Route, expect

from scanner.models import Host, Scan
from scanner.models.scan import HEARTBEAT_LIMIT
from tests.end_to_end.conftest import (
    LOOKS,
    Gate,
    Looks,
    expect_accessible,
    fill_in_sign_in_form,
    run_scan_now,
    violations,
)
from tests.end_to_end.stack import Stack, wait_until

DASHBOARD = "/security/package-scanner/"


def only_scan() -> Scan:
    return Scan.objects.get()


def only_host() -> Host:
    return Host.objects.get()


def test_progress_you_can_leave_and_the_result(page: Page, stack: Stack, gate: Gate) -> None:
    fill_in_sign_in_form(page, stack)
    expect(page.locator("main")).to_contain_text("never been scanned")
    gate.close()
    run_scan_now(page)
    expect(page.locator("#progress")).to_contain_text("Refreshing package lists")
    expect(page.get_by_role("button", name="Run Scan Now")).to_be_disabled()
    page.reload()
    expect(page.locator("#progress")).to_contain_text("Refreshing package lists")
    gate.open()
    expect(page.locator(".status")).to_contain_text("Medium Risk", timeout=20_000)
    expect(page.locator("[data-progress]")).to_have_count(0)
    assert only_scan().state == "completed"
    assert only_scan().requested_by == "ops"


def test_every_number_links_to_exactly_its_list(signed_in: Page, stack: Stack, token: str) -> None:
    stack.post("/security/package-scanner/run/", token)
    signed_in.reload()
    for heading, count in (("Security updates", 6), ("All updates", 9), ("Installed packages", 40)):
        card = signed_in.locator(".cards").get_by_role("link").filter(has_text=heading)
        expect(card).to_contain_text(str(count))
    signed_in.locator(".cards").get_by_role("link").filter(has_text="Security updates").click()
    expect(signed_in.locator("tbody tr")).to_have_count(6)
    expect(signed_in.locator("main")).to_contain_text("Debian-Security")


def test_state_in_the_address_which_back_brings_back(signed_in: Page, stack: Stack, token: str) -> None:
    _, found = stack.post("/security/package-scanner/run/", token)
    signed_in.goto(stack.address(f"{found['scan_data']['url']}?tab=packages"))
    expect(signed_in.locator("tbody tr")).to_have_count(40)
    signed_in.get_by_role("searchbox").fill("package-1")
    expect(signed_in.locator("tbody tr")).to_have_count(11)
    expect(signed_in).to_have_url(re.compile("q=package-1"))
    signed_in.get_by_role("link", name="Version").click()
    expect(signed_in).to_have_url(re.compile("sort=version"))
    expect(signed_in.locator("th[aria-sort=ascending]")).to_contain_text("Version")
    signed_in.go_back()
    expect(signed_in.get_by_role("searchbox")).to_have_value("package-1")


def test_two_browsers_on_two_web_processes_see_a_scan_started_from_the_command_line(
    signed_in: Page, browser: Browser, stack: Stack, gate: Gate
) -> None:
    context = browser.new_context()
    other = context.new_page()
    other.goto(stack.address(DASHBOARD, stack.other_web))
    context.add_cookies([{**cookie, "url": stack.address("", stack.other_web)} for cookie in cookies(signed_in)])
    other.goto(stack.address(DASHBOARD, stack.other_web))
    for each in (signed_in, other):
        expect(each.locator("#live")).to_contain_text("Live")
    gate.close()
    scan = stack.new("command-line", [sys.executable, "manage.py", "scan_system_packages", "--save"])
    for each in (signed_in, other):
        expect(each.locator("#progress")).to_contain_text("Refreshing package lists", timeout=15_000)
    gate.open()
    for each in (signed_in, other):
        expect(each.locator(".status")).to_contain_text("Medium Risk", timeout=20_000)
    assert scan.process.wait(20) == 0
    context.close()


def cookies(page: Page) -> list[dict[str, Any]]:
    return [{"name": cookie["name"], "value": cookie["value"]} for cookie in page.context.cookies()]


def test_an_answer_that_is_late_does_not_turn_the_progress_back(signed_in: Page, stack: Stack, gate: Gate) -> None:
    """The answer to Run is read at the first step, and here arrives after the socket has told of the second."""
    gate.close()

    def held_back(route: Route) -> None:
        answer = route.fetch()
        expect(signed_in.locator("#progress")).to_contain_text("Refreshing package lists")
        body = answer.json()
        body["scan_data"] |= {"state": "running"}
        body["scan_data"]["progress"] = {
            "step": "Finding the package manager",
            "percent": 0,
            "detail": "",
            "attempt": 1,
        }
        route.fulfill(response=answer, json=body)

    signed_in.route("**/run/", held_back)
    run_scan_now(signed_in)
    expect(signed_in.get_by_role("button", name="Run Scan Now")).to_be_visible()  # the answer is there: no "Starting…"
    expect(signed_in.locator("#progress")).to_contain_text("Refreshing package lists")


def test_what_is_ticked_and_typed_stays_while_a_scan_goes_on(
    signed_in: Page, stack: Stack, gate: Gate, token: str
) -> None:
    user = get_user_model().objects.get()
    user.user_permissions.add(Permission.objects.get(codename="change_host"))
    signed_in.goto(stack.address("/security/"))
    expect(signed_in.locator("#live")).to_contain_text("Live")
    signed_in.get_by_role("checkbox", name=only_host().name).check()
    signed_in.get_by_label("Tag to add or remove").fill("pro")
    gate.close()
    stack.post("/security/package-scanner/run/", token, Prefer="respond-async")
    expect(signed_in.locator("tbody")).to_contain_text("Running")
    gate.open()
    expect(signed_in.locator("tbody")).to_contain_text("Medium Risk", timeout=20_000)
    expect(signed_in.get_by_role("checkbox", name=only_host().name)).to_be_checked()
    expect(signed_in.get_by_label("Tag to add or remove")).to_have_value("pro")


def test_cancel_ends_a_running_scan(signed_in: Page, gate: Gate) -> None:
    gate.close()
    run_scan_now(signed_in)
    expect(signed_in.locator("#progress")).to_contain_text("Refreshing package lists")
    signed_in.get_by_role("button", name="Cancel").click()
    expect(signed_in.locator("main")).to_contain_text("cancelled", ignore_case=True, timeout=15_000)
    assert only_scan().state == "cancelled"


def test_a_worker_killed_in_mid_scan_fails_the_scan_with_the_reason(signed_in: Page, stack: Stack, gate: Gate) -> None:
    gate.close()
    run_scan_now(signed_in)
    expect(signed_in.locator("#progress")).to_contain_text("Refreshing package lists")
    stack.worker.kill()
    Scan.objects.update(heartbeat_at=timezone.now() - HEARTBEAT_LIMIT)  # as if so much time had passed
    try:
        expect(signed_in.locator("main")).to_contain_text("vanished", timeout=60_000)
        assert (only_scan().state, only_scan().security_updates) == ("failed", None)
        expect(signed_in.locator(".status")).not_to_contain_text("Secure")
    finally:
        gate.open()
        stack.restart_worker()
    run_scan_now(signed_in)
    expect(signed_in.locator(".status")).to_contain_text("Medium Risk", timeout=30_000)


def test_a_pool_process_killed_in_mid_scan_costs_only_a_retry(stack: Stack, gate: Gate, token: str) -> None:
    gate.close()
    stack.post("/security/package-scanner/run/", token, Prefer="respond-async")
    wait_until(lambda: only_scan().state == "running" and only_scan().percent >= 5, "the scan to run")
    stack.kill_pool_process_of_the_scan()
    wait_until(lambda: only_scan().attempts == 2, "the second attempt")
    gate.open()
    wait_until(lambda: only_scan().state == "completed", "the second attempt's end")
    assert only_scan().security_updates == 6


def test_honest_live_state_while_the_web_server_is_restarted(signed_in: Page, stack: Stack) -> None:
    signed_in.expected_troubles = ("WebSocket", "ERR_CONNECTION_REFUSED", "Failed to load resource")  # type: ignore[attr-defined]
    expect(signed_in.locator("#live")).to_contain_text("Live")
    stack.web.stop()
    expect(signed_in.locator("#live")).to_contain_text(re.compile("Reconnecting|Stale"), timeout=20_000)
    stack.web.start()
    expect(signed_in.locator("#live")).to_contain_text("Live", timeout=30_000)


def test_redis_may_go_away_and_come_back_in_mid_scan(signed_in: Page, stack: Stack, gate: Gate, token: str) -> None:
    signed_in.expected_troubles = ("503",)  # type: ignore[attr-defined]
    gate.close()
    run_scan_now(signed_in)
    expect(signed_in.locator("#progress")).to_contain_text("Refreshing package lists")
    said = len(stack.web.log.read_text())
    stack.valkey.stop()
    try:
        expect(signed_in.locator("#live")).not_to_contain_text("Live", timeout=30_000)
        wait_until(lambda: "try again later" in stack.web.log.read_text()[said:], "an attempt to connect")
        status, found = stack.post("/security/package-scanner/run/", token, f"host={Host.objects.named('other')}")
        assert (status, found["success"]) == (503, False)
        assert "Redis" in found["message"]
        assert [scan.state for scan in Scan.objects.filter(host__name="other")] == ["failed"]
        gate.open()
        assert "Traceback" not in stack.web.log.read_text()[said:]
        # the running scan needs no broker to end, and the page finds out without one
        expect(signed_in.locator(".status")).to_contain_text("Medium Risk", timeout=30_000)
    finally:
        stack.valkey.start()
    expect(signed_in.locator("#live")).to_contain_text("Live", timeout=30_000)
    run_scan_now(signed_in)
    expect(signed_in.locator("tbody tr").filter(has_text="completed")).to_have_count(2, timeout=60_000)


@LOOKS
def test_axe_finds_nothing_and_no_page_scrolls_sideways(
    signed_in: Page, stack: Stack, token: str, looks: Looks
) -> None:
    _, found = stack.post("/security/package-scanner/run/", token)
    page = signed_in.context.new_page()
    scan = found["scan_data"]["url"]
    tabs = [f"{scan}?tab={tab}" for tab in ("overview", "security", "updates", "packages")]
    for path in ("/security/", DASHBOARD, *tabs, "/nowhere/"):
        page.goto(stack.address(path))
        expect_accessible(page, looks)


def test_the_sign_in_page_is_accessible_too(page: Page, stack: Stack) -> None:
    page.goto(stack.address("/sign-in/"))
    assert not violations(page)


def test_staff_without_the_permission_see_but_cannot_run(page: Page, stack: Stack) -> None:
    Host.objects.named("web-1")
    fill_in_sign_in_form(page, stack, "reader", run=False)
    expect(page.get_by_role("button", name="Run Scan Now")).to_be_disabled()
