"""From what is worst to what to run, or to a risk that somebody accepts, in a real browser on the whole stack."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from scanner.models import AcceptedRisk
from scanner.vulnerabilities import importing
from tests.end_to_end.conftest import LOOKS, Looks, expect_accessible, sign_in
from tests.end_to_end.stack import Stack

DASHBOARD = "/security/package-scanner/"
EXPLOITED, HIGH, OPEN = "CVE-2026-1001", "CVE-2026-1002", "CVE-2026-1003"


@pytest.fixture
def feeds(stack: Stack, tmp_path: Path, settings: Any) -> None:
    """What Debian's tracker and CISA say of three of the host's packages."""
    settings.SCANNER_DATA = tmp_path
    fixed = {"status": "resolved", "fixed_version": "1.1", "urgency": "high"}
    states = {
        "package-3": {EXPLOITED: {**fixed, "urgency": "low"}},
        "package-1": {HIGH: fixed},
        "package-30": {OPEN: {"status": "open", "urgency": "medium"}},
    }
    issues = {
        name: {cve: {"description": f"About {name}", "releases": {"bookworm": state}} for cve, state in cves.items()}
        for name, cves in states.items()
    }
    catalog = {"vulnerabilities": [{"cveID": EXPLOITED, "dateAdded": "2026-01-03"}]}
    for name, content in (("debian", issues), ("kev", catalog)):
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
        importing.refresh(name, str(tmp_path / f"{name}.json"))


@pytest.mark.usefixtures("feeds")
def test_fix_first_and_accept_risk_what_is_worst_why_what_to_run_and_how_to_live_with_it(
    page: Page, stack: Stack, token: str
) -> None:
    sign_in(page, stack, accept_risk=True)
    stack.post("/security/package-scanner/run/", token)
    page.goto(stack.address(DASHBOARD))
    first = page.locator("section").filter(has=page.get_by_role("heading", name="Fix first"))
    expect(first).to_contain_text(f"package-3: {EXPLOITED} is known to be exploited")
    expect(first.locator("tbody tr").first).to_contain_text("package-3")
    first.get_by_role("link", name=EXPLOITED).first.click()
    expect(page.locator("main")).to_contain_text("1 of 1 host is exposed")
    expect(page.locator("main")).to_contain_text("apt-get install --only-upgrade package-3")
    page.get_by_role("link", name="Accept this risk").click()
    page.get_by_label("Everywhere").check()
    page.get_by_label("Reason").fill("Not reachable from outside")
    expect(page.locator("#effect")).to_contain_text("exploited")
    page.get_by_role("button", name="Accept the risk").click()
    page.goto(stack.address(DASHBOARD))
    expect(first).to_contain_text(f"package-1: {HIGH} is rated high")
    expect(first.locator("tbody tr").last).to_contain_text("ops has accepted the risk until")
    page.goto(stack.address("/security/risks/"))
    page.get_by_role("link", name=f"Withdraw: {EXPLOITED}").click()
    page.get_by_role("button", name=re.compile("Withdraw")).click()
    page.goto(stack.address(DASHBOARD))
    expect(first).to_contain_text(f"package-3: {EXPLOITED} is known to be exploited")
    assert AcceptedRisk.objects.withdrawn().get().withdrawn_by == "ops"


@pytest.mark.usefixtures("feeds")
@LOOKS
def test_axe_finds_nothing_and_no_page_scrolls_sideways(page: Page, stack: Stack, token: str, looks: Looks) -> None:
    sign_in(page, stack, accept_risk=True)
    _, found = stack.post("/security/package-scanner/run/", token)
    of_scan = f"{found['scan_data']['url']}?tab=vulnerabilities"
    known = (f"{DASHBOARD}cve/{EXPLOITED}/", f"{DASHBOARD}package/package-3/")
    lists = ("/security/feeds/", "/security/risks/", f"/security/risks/new/?cve={EXPLOITED}")
    for path in (DASHBOARD, of_scan, *known, *lists):
        page.goto(stack.address(path))
        expect_accessible(page, looks)
