"""What people expect of every page, one test for each; test_scan_live, test_vulnerabilities and test_webhooks have the
others: every_number_links_to_exactly_its_list, state_in_the_address, honest_live_state, progress_you_can_leave,
fix_first_and_accept_risk, webhooks_you_can_trust.
"""

import csv
import re
from datetime import timedelta
from typing import Any

from django.utils import timezone
from playwright.sync_api import Page, expect

from scanner.models import Host, Scan
from tests.end_to_end.conftest import violations
from tests.end_to_end.stack import Stack
from tests.make import change_scan, make_host, make_report, make_scan, make_update

LIST, DASHBOARD = "/security/", "/security/package-scanner/"
WITHIN = "(tables) => tables.every((table) => table.getBoundingClientRect().right <= innerWidth)"  # the page
LARGE = 150_000  # bytes of a page on the wire, compressed


def row(page: Page, host: str) -> Any:
    return page.locator("tbody tr").filter(has=page.get_by_role("link", name=host, exact=True))


def test_no_data_is_never_safe(signed_in: Page, stack: Stack) -> None:
    make_host("never")
    make_scan(make_host("failed"), Scan.State.FAILED)
    change_scan(make_scan(make_host("stale")), metadata_date=timezone.now() - timedelta(days=30))
    make_scan(make_host("fine"))
    signed_in.goto(stack.address(LIST))
    for name in ("never", "failed", "stale"):
        expect(row(signed_in, name)).to_contain_text("Unknown")
        expect(row(signed_in, name)).not_to_contain_text("Secure")
    expect(row(signed_in, "fine")).to_contain_text("Secure")
    expect(signed_in.locator("#status-secure .count")).to_have_text("1")
    for name in ("never", "failed", "stale"):
        signed_in.goto(stack.address(f"{DASHBOARD}?host={name}"))
        expect(signed_in.locator(".status")).to_contain_text("Unknown")


def test_lists_show_rows_before_filtering_and_say_why_they_are_empty(signed_in: Page, stack: Stack) -> None:
    make_scan(make_host("web-2"), report=make_report(make_update("bash")))
    signed_in.goto(stack.address(LIST))
    expect(row(signed_in, "web-2")).to_be_visible()
    expect(signed_in.locator("#live")).to_contain_text("Live")  # the scripts are there
    signed_in.get_by_role("searchbox").fill("nowhere")
    expect(signed_in.locator("#results")).to_contain_text("No host matches “nowhere”")
    signed_in.get_by_role("link", name="Show them all").click()
    expect(row(signed_in, "web-2")).to_be_visible()
    for path in ("/security/risks/", "/security/feeds/"):
        signed_in.goto(stack.address(path))
        expect(signed_in.locator(".empty, table").first).to_be_visible()


def test_fast_at_size(signed_in: Page, stack: Stack) -> None:
    """What has to be small for it: a page. How long one takes, `make bench` measures."""
    updates = [make_update(f"package-{number:04}") for number in range(1_000)]
    scan = make_scan(make_host("large"), report=make_report(*updates, packages=5_000))
    Host.objects.bulk_create(Host(name=f"host-{number:04}") for number in range(1_000))
    for path in (
        LIST,
        f"{DASHBOARD}?host=large",
        *(f"{scan.get_absolute_url()}?tab={tab}" for tab in ("all", "packages")),
    ):
        sent = signed_in.goto(stack.address(path))
        assert sent
        assert sent.request.sizes()["responseBodySize"] < LARGE, path
        assert signed_in.locator("tbody tr").count() <= 160, path


def test_times_are_relative_and_say_the_exact_time_and_the_zone(signed_in: Page, stack: Stack) -> None:
    change_scan(make_scan(make_host("web-1")), finished_at=timezone.now() - timedelta(hours=3))
    signed_in.goto(stack.address(LIST))
    told = row(signed_in, "web-1").locator("time").first
    expect(told).to_have_text("3 h ago")
    expect(told).to_have_attribute("title", re.compile(r"^\d{1,2} \w+ \d{4}.* \d\d:\d\d.*(UTC|GMT)"))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT.*(Z|\+00:00)", told.get_attribute("datetime") or "")
    expect(signed_in.locator("[data-time-zone]")).to_have_text("UTC")


def test_nothing_is_said_by_colour_alone(signed_in: Page, stack: Stack) -> None:
    for name, number in (("fine", 0), ("few", 2), ("some", 7), ("many", 25)):
        make_scan(make_host(name), report=make_report(*(make_update(f"lib{n}") for n in range(number))))
    signed_in.emulate_media(forced_colors="active")
    signed_in.goto(stack.address(LIST))
    shapes = set()
    for name, word in (("fine", "Secure"), ("few", "Low Risk"), ("some", "Medium Risk"), ("many", "High Risk")):
        badge = row(signed_in, name).locator(".badge").first
        expect(badge).to_contain_text(word)
        shapes.add(badge.locator("svg").inner_html())
    assert len(shapes) == 4
    signed_in.goto(stack.address(f"{DASHBOARD}?host=many"))
    expect(signed_in.get_by_text("Show as table")).to_be_visible()


def test_the_fix_command_is_copied(signed_in: Page, stack: Stack) -> None:
    signed_in.context.grant_permissions(["clipboard-read", "clipboard-write"])
    make_scan(
        make_host("web-1"), report=make_report(make_update("bash", command="apt-get install --only-upgrade bash"))
    )
    signed_in.goto(stack.address(DASHBOARD))
    signed_in.get_by_role("button", name="Copy what installs it").click()
    expect(signed_in.locator("#announce")).to_have_text("Copied")
    assert signed_in.evaluate("navigator.clipboard.readText()") == "apt-get install --only-upgrade bash"


def test_from_a_package_to_its_hosts_and_from_a_scan_to_what_has_changed(signed_in: Page, stack: Stack) -> None:
    for name in ("web-1", "web-2"):
        make_scan(make_host(name))
        make_scan(make_host(name), report=make_report(make_update("bash")))
    signed_in.goto(stack.address(DASHBOARD))
    signed_in.get_by_role("link", name="bash", exact=True).first.click()
    for name in ("web-1", "web-2"):
        expect(signed_in.get_by_role("link", name=name, exact=True)).to_be_visible()
    signed_in.goto(stack.address(DASHBOARD))
    signed_in.get_by_role("link", name=re.compile("What changed|Compare")).first.click()
    expect(signed_in.locator("main")).to_contain_text("bash")


def test_what_is_seen_is_exported_without_a_limit(signed_in: Page, stack: Stack) -> None:
    updates = [make_update(f"lib{number}") for number in range(150)] + [make_update("bash"), make_update("zlib")]
    scan = make_scan(make_host("web-1"), report=make_report(*updates))
    for query, number in (("tab=all", 152), ("tab=all&q=lib1", 61)):
        signed_in.goto(stack.address(f"{scan.get_absolute_url()}?{query}"))
        with signed_in.expect_download() as download:
            signed_in.get_by_role("link", name="CSV").first.click()
        text = download.value.path().read_text(encoding="utf-8-sig")
        assert sum("lib" in line[0] or "bash" in line[0] for line in csv.reader(text.splitlines()) if line) == number


def test_what_is_printed_is_light_whole_and_says_of_what_and_when(signed_in: Page, stack: Stack) -> None:
    version = "1:1.2.3-4+deb12u1~bpo11+1"
    update = make_update("libcurl4-openssl-dev-and-more", installed_version=version, available_version=f"{version}.2")
    for report in (make_report(), make_report(update)):
        scan = make_scan(make_host("database-server.of-a-long-name.example.org"), report=report)
    signed_in.emulate_media(media="print", color_scheme="dark")
    signed_in.set_viewport_size({"width": 680, "height": 1000})  # A4 between usual margins
    for path in (
        f"{DASHBOARD}?host={scan.host}",
        f"{scan.get_absolute_url()}?tab=all",
        f"/security/package-scanner/diff/?to={scan.pk}",
        f"{LIST}?q=long-name",
    ):
        signed_in.goto(stack.address(path))
        expect(signed_in.locator("tbody tr").first).to_be_visible()
        for hidden in (".nav", "main button", "main input", "main select"):
            expect(signed_in.locator(f"{hidden}:visible"), path).to_have_count(0)
        assert signed_in.locator("table").evaluate_all(WITHIN), path
        signed_in.evaluate("dispatchEvent(new Event('beforeprint'))")
        said = re.compile(r"^\d+ \w+ \d{4}, \d\d:\d\d UTC .*" + re.escape(path))
        expect(signed_in.locator(".printed")).to_have_text(said)
    expect(signed_in.locator(".printed")).to_contain_text("Host or tag: long-name")
    assert signed_in.evaluate("getComputedStyle(document.body).color") == "oklch(0.25 0.02 260)"


def test_the_keyboard_leads_through_the_pages_until_it_is_switched_off(
    signed_in: Page, stack: Stack, token: str
) -> None:
    for name in ("web-1", "web-2"):
        make_scan(make_host(name), report=make_report(make_update("bash")))
    signed_in.goto(stack.address(LIST))
    press, focused, dialog = signed_in.keyboard.press, signed_in.locator(":focus"), signed_in.locator("#keys")
    press("j")
    press("j")
    expect(focused).to_have_text("web-2")
    press("x")
    expect(signed_in.get_by_role("checkbox", name="web-2")).to_be_checked()
    press("k")
    expect(focused).to_have_text("web-1")
    expect(signed_in.locator("#live")).to_contain_text("Live")
    stack.post("/security/package-scanner/run/", token, "host=web-1", Prefer="respond-async")
    expect(row(signed_in, "web-1")).to_contain_text("6 security updates")  # the results have been drawn anew
    expect(focused).to_have_text("web-1")
    press("/")
    signed_in.keyboard.type("gd web-2/?")
    expect(signed_in.get_by_role("searchbox")).to_have_value("gd web-2/?")
    signed_in.get_by_role("searchbox").fill("web-2")
    expect(row(signed_in, "web-1")).to_have_count(0)
    focused.blur()
    press("j")
    press("Enter")
    expect(signed_in).to_have_url(re.compile("host=web-2"))
    expect(signed_in.locator("#show-keys")).to_be_visible()  # from here on keys.js listens
    press("/")
    expect(focused).to_have_attribute("id", "host")
    focused.blur()
    press("g")
    press("v")
    expect(signed_in.get_by_role("heading", level=1)).to_have_text("Feeds")
    expect(signed_in.locator("#show-keys")).to_be_visible()
    press("?")
    expect(dialog).to_be_visible()
    expect(dialog).to_contain_text("Vulnerabilities")
    expect(dialog).not_to_contain_text("Webhooks")  # which this account may not manage
    assert not violations(signed_in), violations(signed_in)
    press("g")
    press("h")
    with signed_in.expect_response("**/keys/"):
        dialog.get_by_label("Use these shortcuts").uncheck()
    press("Escape")
    expect(dialog).to_be_hidden()
    signed_in.reload()
    expect(signed_in.get_by_role("heading", level=1)).to_have_text("Feeds")
    expect(signed_in.locator("#show-keys")).to_be_visible()
    press("?")
    signed_in.get_by_role("button", name="Keyboard shortcuts").click()
    expect(dialog.get_by_label("Use these shortcuts")).not_to_be_checked()
