"""Schedules, the audit log and settings in a real browser, with a real worker."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from django_celery_beat.models import PeriodicTask
from playwright.sync_api import Page, expect

from scanner import audit, periodic
from scanner.models import AuditEntry, Host, Scan
from tests.end_to_end.conftest import Looks, expect_accessible, sign_in
from tests.end_to_end.stack import Stack, wait_until

LIST, NEW, AUDIT, SETTINGS = (f"/security/{path}/" for path in ("schedules", "schedules/new", "audit", "settings"))
BOSS = audit.Actor("boss", audit.How.PAGE)


def make_schedule(name: str = "Production", **fields: Any) -> PeriodicTask:
    task = PeriodicTask()
    wishes = {"name": name, "kind": "daily", "time": "02:00", "time_zone": "Europe/Berlin", "tags": []}
    periodic.save(task, wishes | fields, BOSS)
    return task


def test_a_weekly_schedule_is_made_with_the_keyboard_run_now_and_found_in_the_audit_log(
    page: Page, stack: Stack
) -> None:
    PeriodicTask.objects.all().delete()  # the first test of all finds the daily scan
    sign_in(page, stack, manage_schedules=True)
    page.goto(stack.address(LIST))
    expect(page.locator("main")).to_contain_text("No scan is scheduled")
    page.get_by_role("link", name="New schedule").press("Enter")
    press = page.keyboard.press
    page.get_by_label("Name").focus()
    page.keyboard.type("Every Monday and Friday")
    press("Tab")
    press("ArrowDown")  # from daily to weekly
    expect(page.get_by_role("radio", name="Weekly")).to_be_checked()
    for _ in range(5):  # Monday is ticked; on to Friday
        press("Tab")
    press("Space")
    expect(page.get_by_role("checkbox", name="Fri")).to_be_checked()
    page.get_by_label("At:", exact=True).fill("04:30")
    runs = page.locator("#effect li")
    expect(runs).to_have_count(3)
    expect(runs.first).to_contain_text("04:30 UTC")
    expect(page.locator("#effect")).to_contain_text("It would scan 1 host that is there now")
    page.get_by_role("button", name="Save").press("Enter")
    row = page.locator("table.schedules tbody tr")
    expect(row).to_contain_text("Mon, Fri at 04:30")
    page.get_by_role("button", name="Run Every Monday and Friday now").press("Enter")
    expect(page.locator("main")).to_contain_text("a worker starts its scans")
    wait_until(lambda: AuditEntry.objects.filter(action="schedule.ran").exists(), "the worker's word")
    page.reload()
    expect(row).to_contain_text("1 started, asked for by ops")
    assert (Scan.objects.get().trigger, Scan.objects.get().requested_by) == ("schedule", "ops")
    page.goto(stack.address(AUDIT))
    page.get_by_label("What", exact=True).select_option("schedule")
    expect(page).to_have_url(stack.address(f"{AUDIT}?actor=&target=&action=schedule&since=&until="))
    rows = page.locator("#found tbody tr")
    expect(rows).to_have_count(3)
    expect(rows.last).to_contain_text("schedule: created Every Monday and Friday")
    expect(rows.last).to_contain_text("when: Mon, Fri at 04:30")


@pytest.mark.parametrize("looks", [(("light", 1280), ("dark", 320))])
def test_axe_finds_nothing_and_no_page_scrolls_sideways(page: Page, stack: Stack, looks: Looks) -> None:
    sign_in(page, stack, manage_schedules=True, change_settings=True)
    Host.objects.named("web-1").set_tags(["prod"])
    task = make_schedule("Production databases, nightly", tags=["prod"])
    periodic.pause(make_schedule("Paused", kind="cron", cron="*/20 8-18 1,15 * mon-fri"), BOSS)
    audit.record(BOSS, "schedule.ran", task, after={"started": 12, "under way already": 1})
    for path in (LIST, NEW, f"{LIST}{task.pk}/edit/", f"{LIST}{task.pk}/delete/", AUDIT, SETTINGS):
        page.goto(stack.address(path))
        expect_accessible(page, looks)


def test_what_was_due_while_beat_was_away_is_made_up_for_once(page: Page, stack: Stack) -> None:
    PeriodicTask.objects.all().delete()
    now = timezone.now()
    make_schedule(
        time=f"{now - timedelta(hours=12):%H}:00", time_zone="UTC"
    )  # half a day from here, whenever this runs
    PeriodicTask.objects.update(last_run_at=now - timedelta(days=2))
    sign_in(page, stack, manage_schedules=True)
    page.goto(stack.address(LIST))
    row = page.locator("table.schedules tbody tr")
    expect(row).to_contain_text("due now")
    beat = stack.new_beat()
    try:
        wait_until(lambda: AuditEntry.objects.filter(action="schedule.ran").exists(), "Beat's and the worker's word")
        wait_until(lambda: not Scan.objects.active().exists(), "the scan's end")
    finally:
        beat.stop()
    assert [(scan.trigger, scan.state) for scan in Scan.objects.all()] == [("schedule", "completed")]
    page.reload()
    expect(row).to_contain_text("1 started")
    expect(row).not_to_contain_text("due now")
