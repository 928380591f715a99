"""The picture of a whole host in a real browser: searched, picked, moved by mouse, keys and fingers."""

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from scanner.models import Scan
from scanner.package_managers.interface import Installed
from tests.end_to_end.conftest import LOOKS, Looks, expect_accessible, sign_in
from tests.end_to_end.stack import Stack, wait_until
from tests.make import make_host, make_report, make_scan, make_update

NEEDS = {"web": ["nginx"], "nginx": ["libssl3"], "curl": ["libssl3"], "libssl3": ["libc6"], "libc6": []} | {
    f"package-{number}": [f"package-{number // 3}", "libc6"] for number in range(120)
}
STRONG = """() => {
  const canvas = document.querySelector("#graph canvas"), pen = document.createElement("canvas").getContext("2d");
  pen.fillStyle = getComputedStyle(canvas.parentElement).outlineColor;
  pen.fillRect(0, 0, 1, 1);
  const [wanted] = new Uint32Array(pen.getImageData(0, 0, 1, 1).data.buffer);
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  return new Uint32Array(data.buffer).filter((pixel) => pixel === wanted).length;
}"""
"""How many pixels have the colour of what is picked, unmixed."""
SHOWN = "() => document.querySelector('#graph canvas').toDataURL()"


@pytest.fixture
def scan(stack: Stack) -> Scan:
    report = replace(
        make_report(make_update("libssl3")),
        packages=tuple(Installed(name, "amd64", "1.0-1", name, "1.0-1") for name in NEEDS),
        dependencies=lambda: {(name, "amd64"): tuple(needs) for name, needs in NEEDS.items()},
    )
    return make_scan(make_host("web-1"), report=report)


def open_graph(page: Page, stack: Stack, scan: Scan, query: str = "") -> tuple[float, float]:
    """The middle of the picture, when it is drawn."""
    page.goto(stack.address(f"/security/package-scanner/scan/{scan.pk}/graph/{query}"))
    return drawn(page)


def drawn(page: Page) -> tuple[float, float]:
    expect(page.locator("[data-says]")).to_be_hidden()
    box = page.locator("#graph canvas").bounding_box()
    assert box
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def test_a_package_is_searched_picked_and_found_again_by_its_address(page: Page, stack: Stack, scan: Scan) -> None:
    sign_in(page, stack)
    open_graph(page, stack, scan)
    picked = page.locator("#picked")
    page.locator("#q").fill("libss")
    expect(page.locator("#found")).to_have_text("1 of 125 packages")
    expect(page).to_have_url(re.compile("q=libss"))
    page.locator("#q").press("Enter")
    expect(picked.get_by_role("heading", name="libssl3")).to_be_visible()
    expect(picked).to_contain_text("2 packages that nothing needs lead to it")
    expect(page.locator("#announce")).to_have_text("libssl3 is picked: needed by 2, needs 1")
    ring = 200  # pixels at most; the ways are far more
    wait_until(lambda: page.evaluate(STRONG) > 3 * ring, "the ways by which it is pulled in")
    expect(page).to_have_url(re.compile("node=libssl3"))
    page.locator(".graph").press("Escape")
    expect(picked).to_contain_text("No package is picked")
    expect(page).to_have_url(re.compile("q=libss(?!.*node=)"))
    page.mouse.click(*drawn(page))  # where the search has brought it
    expect(picked.get_by_role("heading", name="libssl3")).to_be_visible()
    page.reload()
    drawn(page)
    expect(picked.get_by_role("heading", name="libssl3")).to_be_visible()
    expect(page.locator("#q")).to_have_value("libss")
    page.go_back()
    expect(picked).to_contain_text("No package is picked")
    drawn(page)
    page.go_forward()
    expect(picked.get_by_role("link", name="show its neighbours")).to_be_visible()
    drawn(page)
    picked.get_by_role("link", name="show its neighbours").click()
    page.get_by_role("group", name="What needs libssl3").get_by_role("link", name="nginx").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("nginx")
    open_graph(page, stack, scan, "?node=web")
    assert page.evaluate(STRONG) < ring, "nothing pulls it in"


def test_mouse_keys_buttons_and_fingers_move_the_picture(page: Page, stack: Stack, scan: Scan) -> None:
    sign_in(page, stack)
    x, y = open_graph(page, stack, scan)
    whole = page.evaluate(SHOWN)
    frame = page.locator(".graph")

    def moves(act: Callable[[], Any]) -> None:
        before = page.evaluate(SHOWN)
        act()
        wait_until(lambda: page.evaluate(SHOWN) != before, "another picture")

    def shows_all(act: Callable[[], Any]) -> None:
        act()
        page.mouse.move(0, 0)  # a package under the mouse tells its name
        wait_until(lambda: page.evaluate(SHOWN) == whole, "the whole picture")

    for key in ("+", "ArrowRight", "ArrowDown", "-", "ArrowLeft", "ArrowUp"):
        moves(lambda key=key: frame.press(key))
    shows_all(lambda: frame.press("0"))
    page.mouse.move(x, y)
    moves(lambda: page.mouse.wheel(0, -400))
    page.mouse.down()
    moves(lambda: page.mouse.move(x - 120, y - 40, steps=4))
    page.mouse.up()
    expect(page.locator("#picked")).to_contain_text("No package is picked")  # to drag is not to click
    shows_all(page.get_by_role("button", name="Show all").click)
    moves(page.get_by_role("button", name="Zoom in").click)
    fingers = page.context.new_cdp_session(page)

    def touch(kind: str, *distances: float) -> None:
        box = page.locator("#graph canvas").bounding_box()  # where it is now: to press a button may scroll the page
        assert box
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        points = [{"x": x + side * far, "y": y, "id": at} for far in distances for at, side in enumerate((-1, 1))]
        fingers.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    def pinch() -> None:
        touch("touchStart", 30)
        for far in (40, 60, 90):
            touch("touchMove", far)
        touch("touchEnd")

    before = page.evaluate(SHOWN)
    page.locator("#graph canvas").scroll_into_view_if_needed()
    # again, as a person would: of fingers whose start a busy page takes too late Chromium drops all that they do
    wait_until(lambda: pinch() or page.evaluate(SHOWN) != before, "another picture")
    shows_all(page.get_by_role("button", name="Show all").click)


@LOOKS
def test_axe_finds_nothing_and_no_page_scrolls_sideways(page: Page, stack: Stack, scan: Scan, looks: Looks) -> None:
    sign_in(page, stack)
    open_graph(page, stack, scan, "?node=libssl3&size=50")
    expect_accessible(page, looks)
    page.goto(stack.address(f"/security/package-scanner/scan/{scan.pk}/graph/?package=libc6&size=50"))
    expect_accessible(page, looks)
