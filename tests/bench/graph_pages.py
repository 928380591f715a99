"""The dependency graph of a large host in a real browser: `python -m tests.bench.graph_pages`. Prints one JSON object.

2,000 packages and 12,000 dependencies with circles, updates and a feed. `…_cpu_ms` is the processor's time of a request
through all of Django, the database's apart; `first_paint_ms` is from the beginning of the navigation, in a browser that
has cached nothing, to the frame that shows the graph, and `drawing_ms` the part of it after the data has arrived;
`plain_page_ms` is what the overview of the same scan takes in the same way until it is loaded, to know how busy the
machine is: on one with much else to do, `…_best_ms` say more. A pan is a mouse that drags without a rest.
"""

import gzip
import json
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import django

from tests.bench.vulnerabilities import services
from tests.end_to_end.stack import Stack

PACKAGES, EDGES, UPDATES, VULNERABLE = 2_000, 12_000, 60, 300
RUNS = 7
MOVES = 240  # of the mouse, in one pan
PATIENCE = 30_000  # milliseconds

WATCH_FIRST_PAINT = """
addEventListener("DOMContentLoaded", () => {
  const says = document.querySelector("[data-says]");
  new MutationObserver(() => {
    if (!says.hidden) return;
    const data = performance.getEntriesByType("resource").find(({ name }) => name.endsWith("/data/"));
    requestAnimationFrame(() => setTimeout(() => {
      document.body.dataset.drawing = performance.now() - data.responseEnd;
      document.body.dataset.painted = performance.now();
    }));
  }).observe(says, { attributes: true });
});
"""
RECORD_FRAMES = """() => {
  window.frames_at = [];
  const frame = (at) => { window.frames_at.push(at); if (window.frames_at) requestAnimationFrame(frame); };
  requestAnimationFrame(frame);
}"""


def main() -> None:
    started = services()
    try:
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(figures(Path(folder))))
    finally:
        if started:
            started.pytest_unconfigure(None)


def figures(folder: Path) -> dict[str, Any]:
    os.environ.update(SCANNER_DATA=f"{folder}/data", SCAN_HOST="web-1", DJANGO_SETTINGS_MODULE="project.settings")
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"  # playwright runs an event loop in this very thread
    (folder / "data").mkdir(mode=0o700)
    django.setup()
    from django.core.management import call_command  # noqa: PLC0415
    from django.test import Client  # noqa: PLC0415
    from django.urls import reverse  # noqa: PLC0415

    from tests.make import make_user  # noqa: PLC0415

    call_command("migrate", verbosity=0)
    call_command("collectstatic", verbosity=0, interactive=False)
    scan = large_scan(folder)
    client = Client(headers={"Host": "127.0.0.1"})
    client.force_login(make_user())
    whole, data = reverse("graph", args=[scan.pk]), reverse("graph-data", args=[scan.pk])
    needed = f"{whole}?package={max(*needs_of(scan), key=lambda pair: pair[1])[0]}"
    found = {
        "packages": PACKAGES,
        "edges": EDGES,
        **server("page", client, whole),
        **server("data", client, data),
        **server("package_page", client, needed),
        "data_bytes": len(client.get(data).content),
        "data_gzip_bytes": len(client.get(data, headers={"Accept-Encoding": "gzip"}).content),
        "page_gzip_bytes": len(gzip.compress(client.get(whole).content)),
    }
    stack = Stack(os.environ, folder)
    try:
        return found | in_browser(stack.address(), scan.get_absolute_url(), whole, client.cookies["sessionid"].value)
    finally:
        stack.stop()


def needs_of(scan: Any) -> list[tuple[str, int]]:
    graph = scan.snapshot.package_set.graph()
    assert graph.edges == EDGES
    return [(name, len(names)) for name, names in graph.needed_by.items()]


def server(name: str, client: Any, address: str) -> dict[str, float]:
    """Of a scan that nobody has looked at yet, and again."""
    from frontend.graph_pages import graph_of, places_of  # noqa: PLC0415

    def ask() -> None:
        assert client.get(address).status_code == 200

    def ask_first() -> None:
        graph_of.cache_clear()
        places_of.cache_clear()
        ask()

    ask()
    return {
        f"{name}_first_cpu_ms": median(timed(ask_first, time.process_time) for _ in range(RUNS)),
        f"{name}_cpu_ms": median(timed(ask, time.process_time) for _ in range(RUNS)),
        f"{name}_ms": median(timed(ask, time.perf_counter) for _ in range(RUNS)),
    }


def timed(work: Callable[[], None], clock: Callable[[], float]) -> float:
    began = clock()
    work()
    return 1000 * (clock() - began)


def median(times: Iterable[float]) -> float:
    return round(statistics.median(times), 1)


# --- the host ---------------------------------------------------------------------------------------


def large_scan(folder: Path) -> Any:
    from scanner.package_managers.interface import Installed  # noqa: PLC0415
    from tests.exports.scans import read_feed  # noqa: PLC0415
    from tests.make import make_host, make_report, make_scan, make_update  # noqa: PLC0415

    dice = random.Random(1)
    names = generated_names(dice)
    needs = generated_needs(dice, names)
    states = [{"status": "open", "urgency": "low"}, {"status": "resolved", "fixed_version": "9", "urgency": "high"}]
    vulnerable = dice.sample(names, VULNERABLE)
    read_feed(folder, {name: {f"CVE-2026-{1000 + n}": states[n % 2]} for n, name in enumerate(vulnerable)})
    versions = {name: f"{dice.randrange(20)}.{dice.randrange(40)}-{dice.randrange(9)}" for name in names}
    report = replace(
        make_report(*(make_update(name, n % 3 > 0) for n, name in enumerate(dice.sample(names, UPDATES)))),
        packages=tuple(Installed(name, "amd64", versions[name], name, versions[name]) for name in names),
        dependencies=lambda: {(name, "amd64"): tuple(others) for name, others in needs.items()},
        distribution="debian:12",
    )
    return make_scan(make_host("web-1"), report=report)


def generated_names(dice: random.Random) -> list[str]:
    syllables = [f"{one}{two}" for one in "bcdfghklmnprstvx" for two in "aeiou"]
    names: dict[str, None] = {}
    while len(names) < PACKAGES:
        word = "".join(dice.choices(syllables, k=dice.randrange(2, 5)))
        names[dice.choice((word, f"lib{word}{dice.randrange(9)}", f"python3-{word}", f"{word}-common"))] = None
    return list(names)


def generated_needs(dice: random.Random, names: list[str]) -> dict[str, list[str]]:
    """Most need some of the first, as on real hosts nearly all need libc6; a few circles."""
    edges: set[tuple[int, int]] = {(number, number + 1) for number in range(0, 100, 20)}
    while len(edges) < EDGES:
        number = dice.randrange(1, PACKAGES)
        edges.add((number, int(number * dice.random() ** 3)))
    needs: dict[str, list[str]] = {name: [] for name in names}
    for number, other in sorted(edges):
        needs[names[number]].append(names[other])
    return needs


# --- in the browser ---------------------------------------------------------------------------------


def in_browser(base: str, plain: str, path: str, session: str) -> dict[str, Any]:
    from playwright.sync_api import sync_playwright  # noqa: PLC0415

    from tests.end_to_end.conftest import start_chromium  # noqa: PLC0415

    loads, paints, drawings, frames = [], [], [], []
    with sync_playwright() as playwright:
        browser = start_chromium(playwright)
        for _ in range(RUNS):
            with fresh_page(browser, base, session) as page:
                page.goto(f"{base}{plain}")
                loads.append(page.evaluate("performance.getEntriesByType('navigation')[0].loadEventStart"))
            with fresh_page(browser, base, session) as page:
                page.add_init_script(WATCH_FIRST_PAINT)
                page.goto(f"{base}{path}")
                page.locator("body[data-painted]").wait_for(timeout=PATIENCE)
                paints.append(float(page.locator("body").get_attribute("data-painted")))
                drawings.append(float(page.locator("body").get_attribute("data-drawing")))
                frames.append(list(panned(page)))
        browser.close()
    gaps = sorted(gap for some in frames for gap in some)
    return {
        "plain_page_ms": round(statistics.median(loads[1:])),
        "plain_page_best_ms": round(min(loads)),
        "first_paint_ms": round(statistics.median(paints[1:])),  # the first one finds browser and server cold
        "first_paint_best_ms": round(min(paints)),
        "drawing_ms": round(statistics.median(drawings[1:])),
        "pan_frames_per_s": round(1000 * len(gaps) / sum(gaps), 1),
        "pan_frame_p95_ms": round(gaps[int(0.95 * len(gaps))], 1),
    }


@contextmanager
def fresh_page(browser: Any, base: str, session: str) -> Iterator[Any]:
    """With nothing cached."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.add_cookies([{"name": "sessionid", "value": session, "url": base}])
    yield context.new_page()
    context.close()


def panned(page: Any) -> Iterator[float]:
    """Milliseconds between frames while the graph, at a scale that shows names, is dragged about."""
    for _ in range(5):
        page.get_by_role("button", name="Zoom in").click()
    box = page.locator("#graph canvas").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 10, y)
    page.evaluate(RECORD_FRAMES)
    page.mouse.move(x - 300, y + 100, steps=MOVES // 2)
    page.mouse.move(x + 300, y - 100, steps=MOVES // 2)
    at = page.evaluate("() => { const at = window.frames_at; window.frames_at = null; return at; }")
    page.mouse.up()
    for before, after in pairwise(at):
        yield after - before


if __name__ == "__main__":
    main()
