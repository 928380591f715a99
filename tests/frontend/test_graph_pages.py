"""What needs what on a host: the page of one package, that of all, their list, and the data of the picture."""

import gzip
import json
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from frontend.graph_drawing import Neighbour, Side, drawing
from scanner.models import AffectedPackage, ApiToken, Scan
from scanner.package_managers.interface import Installed, Update
from scanner.vulnerabilities.package_states import STATES, states_of
from tests.exports.scans import read_feed
from tests.make import make_host, make_report, make_scan, make_update, make_user

pytestmark = pytest.mark.django_db

NEEDS = {
    "web": ["nginx"],
    "backup": ["curl", "web"],
    "nginx": ["libc6", "libssl3"],
    "curl": ["libc6", "libssl3"],
    "libssl3": ["libc6"],
    "libc6": ["libgcc-s1"],
    "libgcc-s1": ["libc6"],
    "font": [],
}
STANDING = {"libssl3": "update", "libc6": "open", "nginx": "unknown", "libgcc-s1": "unknown"}
"""As `host` has it; the others have nothing open."""


@pytest.fixture
def staff(client: Client) -> Client:
    client.force_login(make_user())
    return client


@pytest.fixture
def host(tmp_path: Path, settings: Any) -> Scan:
    """A security update of libssl3 waits, a CVE is open in libc6, libgcc-s1 comes from elsewhere, and of nginx an
    update waits that may be one for security."""
    settings.SCANNER_DATA = tmp_path
    read_feed(
        tmp_path,
        {
            "libc6": {"CVE-2026-1001": {"status": "open", "urgency": "low"}},
            "libssl3": {"CVE-2026-1002": {"status": "resolved", "fixed_version": "1.0-2", "urgency": "high"}},
            "curl": {"CVE-2026-1003": {"status": "open", "urgency": "low", "nodsa": "Minor"}},
        },
    )
    return scanned(NEEDS, make_update("libssl3"), make_update("nginx", None), make_update("curl", False))


def scanned(needs: dict[str, list[str]], *updates: Update, name: str = "web-1", **fields: Any) -> Scan:
    packages = tuple(
        Installed(each, "amd64", "1.0-1", each, "1.0-1", third_party="Docker CE" if each == "libgcc-s1" else "")
        for each in needs
    )
    report = replace(
        make_report(*updates),
        packages=packages,
        dependencies=lambda: {(each, "amd64"): tuple(others) for each, others in needs.items()},
        distribution="debian:12",
    )
    return make_scan(make_host(name), report=replace(report, **fields))


def address(scan: Scan, query: str = "") -> str:
    return reverse("graph", args=[scan.pk]) + query


def page(client: Client, scan: Scan, query: str = "", status: int = 200) -> str:
    answer = client.get(address(scan, query))
    assert answer.status_code == status, answer.content.decode()[:300]
    return " ".join(answer.content.decode().split())


def rows(client: Client, scan: Scan, query: str = "") -> list[str]:
    return [row.name for row in client.get(address(scan, query)).context["table"].page]


# --- who --------------------------------------------------------------------------------------------


def test_only_staff_sees_them(client: Client, host: Scan) -> None:
    addresses = [address(host), address(host, "?package=libc6"), reverse("graph-data", args=[host.pk])]
    for each in addresses:
        assert client.get(each).status_code == 302
    client.force_login(make_user(staff=False))
    for each in addresses:
        assert client.get(each).status_code == 403


# --- how each package stands ------------------------------------------------------------------------


def test_each_package_stands_as_its_gravest_trouble(host: Scan) -> None:
    assert states_of(host) == {name: STANDING.get(name, "clear") for name in NEEDS}


def test_without_a_feed_nothing_is_called_clear(host: Scan) -> None:
    AffectedPackage.objects.all().delete()
    assert {name for name, state in states_of(host).items() if state != "update"} == {*NEEDS} - {"libssl3"}
    assert set(states_of(scanned({"a": ["b"], "b": []}, distribution="")).values()) == {"unknown"}


def test_a_pinned_security_update_does_not_wait(host: Scan) -> None:
    scan = scanned(NEEDS, make_update("libssl3", blocked="pinned"))
    assert states_of(scan)["libssl3"] == "open"


# --- one package ------------------------------------------------------------------------------------


def test_a_package_stands_between_what_needs_it_and_what_it_needs(staff: Client, host: Scan) -> None:
    text = page(staff, host, "?package=libssl3")
    assert "<h1>libssl3</h1>" in text
    assert '<svg class="neighbours wide"' in text and '<svg class="neighbours narrow"' in text
    for name in ("curl", "nginx", "libc6"):
        assert f'<a href="{address(host)}?package={name}" class="is-' in text
    assert 'Needed by <span class="count">2</span>' in text and 'Needs <span class="count">1</span>' in text
    assert rows(staff, host, "?package=libssl3") == ["nginx", "curl"]
    assert rows(staff, host, "?package=libssl3&side=needs") == ["libc6"]
    assert f'href="{address(host)}?node=libssl3"' in text
    assert f'href="{reverse("package", args=["libssl3"])}"' in text


def test_what_pulls_it_in_is_told_as_chains_of_links(staff: Client, host: Scan) -> None:
    text = page(staff, host, "?package=libssl3")
    assert "1 package that nothing needs leads to it. The shortest way from it:" in text
    assert chains(text) == ["backup → needs curl → needs libssl3"]
    text = page(staff, host, "?package=backup")
    assert "No installed package needs it. Somebody asked for it by name, or it is left over" in text
    assert rows(staff, host, "?package=backup") == ["curl", "web"], "nothing needs it, so the other side shows"


def chains(text: str) -> list[str]:
    listed = text.partition('<ol class="chains">')[2].partition("</ol>")[0]
    items = ElementTree.fromstring(f"<ol>{listed}</ol>")  # noqa: S314 - our own markup
    return [" ".join("".join(item.itertext()).split()) for item in items]


def test_of_many_the_nearest_are_told_and_the_number_is_honest(staff: Client) -> None:
    scan = scanned({"libc6": [], **{f"app-{n:02}": ["libc6"] for n in range(60)}})
    text = page(staff, scan, "?package=libc6")
    assert "60 packages that nothing needs lead to it. The nearest 10, each by its shortest way:" in text
    assert len(chains(text)) == 10
    assert text.count(f'<a href="{address(scan)}?package=app-') >= 80
    assert text.count("and 20 more, in the list") == 2, "40 are drawn, in each of the two drawings"
    assert f'<a href="{address(scan)}?package=libc6&amp;side=needed_by#list">' in text
    assert "40 on each side are drawn" in text
    assert len(rows(staff, scan, "?package=libc6")) == 60


def test_a_circle_is_named_and_not_walked_for_ever(staff: Client, host: Scan) -> None:
    text = page(staff, host, "?package=libgcc-s1")
    assert "It is part of a circle: it and" in text
    assert "libgcc-s1: Not known" in text and "libc6: Vulnerabilities open; each needs the other" in text
    assert chains(text) == ["backup → needs curl → needs libc6 → needs libgcc-s1"]
    assert "Docker CE" in text
    alone = scanned({"a": ["b"], "b": ["a"]})
    assert "Nothing outside the circle needs it." in page(staff, alone, "?package=a")


def test_a_name_that_is_not_there_offers_those_that_are_like_it(staff: Client, host: Scan) -> None:
    text = page(staff, host, "?package=ssl", 404)
    assert "<h1>web-1 has no ssl</h1>" in text
    assert f'href="{address(host)}?package=libssl3"' in text
    assert 'name="package" value="ssl"' in text
    assert "?package=nginx" in page(staff, host, "?package=ngnix", 404)
    text = page(staff, host, "?package=<script>%00", 404)
    assert "No name is like it, either." in text and "&lt;script&gt;" in text


def test_names_go_into_addresses_and_markup_as_they_are(staff: Client) -> None:
    scan = scanned({"g++": ["lib<b>&c"], "lib<b>&c": []})
    assert "?package=g%2B%2B" in page(staff, scan)
    text = page(staff, scan, "?package=g%2B%2B")
    assert "<h1>g++</h1>" in text and "lib&lt;b&gt;&amp;c" in text and "lib<b>" not in text
    assert "?package=lib%3Cb%3E%26c" in text


def test_both_drawings_are_well_formed_and_keep_long_names_short() -> None:
    sides = [
        Side(title, [Neighbour(f"{'x' * 60}-{n}", "open", n == 0) for n in range(3)], 5, "#list")
        for title in ("Needed by", "Needs")
    ]
    drawn = drawing(Neighbour("it", "clear", False), *sides, lambda name: f"?package={name}")
    both = ElementTree.fromstring(f"<both>{drawn}</both>")  # noqa: S314 - our own markup
    for each in both:
        titles = [title.text for title in each.findall("a/title")]
        assert titles.count(f"{'x' * 60}-0: Vulnerabilities open; each needs the other") == 2
        assert max(len(text.text or "") for text in each.iter("text")) < 40
        assert len(each.findall("a")) == 8
        assert len([path for path in each.findall("path") if path.attrib["class"] == "edge"]) == 8


# --- all of them ------------------------------------------------------------------------------------


def test_the_whole_host_says_in_words_what_the_picture_shows(staff: Client, host: Scan) -> None:
    text = page(staff, host)
    assert "8 packages and 10 dependencies between them; nothing needs 2 of them." in text
    assert 'aria-label="8 packages as marks with 10 lines between them' in text
    table = staff.get(address(host)).context["table"]
    listed = {row.name: (row.state, row.needed_by, row.needs, row.versions) for row in table.page}
    assert listed["libc6"] == ("open", 4, 1, ["1.0-1"])
    assert {name: state for name, (state, *_) in listed.items()} == states_of(host)
    assert list(listed) == ["libssl3", "libc6", "libgcc-s1", "nginx", "backup", "curl", "font", "web"]


def test_each_number_is_that_of_its_list(staff: Client, host: Scan) -> None:
    for query in ("", "?q=lib", "?package=libc6"):
        found = staff.get(address(host, query)).context["filters"]
        sign = "&" if query else "?"
        for key, _, number in found:
            assert len(rows(staff, host, f"{query}{sign}state={key}")) == number
        assert sum(number for key, _, number in found if key) == found[0][2]


def test_the_list_is_searched_sorted_and_paged(staff: Client, host: Scan) -> None:
    assert rows(staff, host, "?q=LIB") == ["libssl3", "libc6", "libgcc-s1"]
    assert rows(staff, host, "?sort=-needed_by")[:3] == ["libc6", "libssl3", "curl"]
    assert rows(staff, host, "?sort=-name")[0] == "web"
    assert rows(staff, host, "?sort=nonsense&state=nonsense") == rows(staff, host)
    assert "Nothing matches “zzz”." in page(staff, host, "?q=zzz")
    assert "No package is like that." in page(staff, scanned({"a": ["b"], "b": []}), "?state=update")
    large = scanned({f"package-{n:03}": ["package-000"] if n else [] for n in range(130)})
    assert len(rows(staff, large)) == 100 and len(rows(staff, large, "?page=2")) == 30
    assert len(rows(staff, large, "?size=50")) == 50


def test_a_picked_package_is_in_the_address_and_told_beside_the_picture(staff: Client, host: Scan) -> None:
    text = page(staff, host, "?node=libssl3&q=lib")
    assert 'data-node="libssl3"' in text and 'name="node" value="libssl3"' in text
    assert "Needed by 2, needs 1" in text
    assert chains(text) == ["backup → needs curl → needs libssl3"]
    assert "<strong>No package is picked.</strong>" in page(staff, host)
    assert "<strong>vim is not installed.</strong>" in page(staff, host, "?node=vim")


def test_what_is_not_known_is_said_and_not_drawn(staff: Client) -> None:
    failed = make_scan(state="failed")
    assert "This scan came to no result" in page(staff, failed)
    assert staff.get(reverse("graph-data", args=[failed.pk])).status_code == 404
    queued = make_scan(state="queued")
    assert "The graph can be drawn when the scan has completed." in page(staff, queued)
    queued.cancel()
    alone = scanned({"a": [], "b": []})
    text = page(staff, alone)
    assert "<strong>No dependency is known.</strong>" in text and "The scan found 2 packages" in text
    assert f'href="{address(alone)}"' in page(staff, failed), "the last one that came to a result"
    assert "It needs no installed package." in page(staff, alone, "?package=a")
    assert staff.get(reverse("graph", args=[99_999])).status_code == 404


def test_a_larger_host_asks_the_database_no_more_often(staff: Client, tmp_path: Path, settings: Any) -> None:
    settings.SCANNER_DATA = tmp_path
    read_feed(tmp_path)
    for query in ("", "?package=package-0", "?node=package-0"):
        numbers = []
        for size in (5, 150):
            scan = scanned(
                {f"package-{n}": [f"package-{n + 1}"] for n in range(size)},
                *(make_update(f"package-{n}") for n in range(size)),
            )
            with CaptureQueriesContext(connection) as captured:
                page(staff, scan, query)
            numbers.append(len(captured))
        assert numbers[0] == numbers[1] <= 17


# --- the data of the picture ------------------------------------------------------------------------


def test_the_picture_gets_names_places_states_and_numbers_of_what_is_needed(staff: Client, host: Scan) -> None:
    found = staff.get(reverse("graph-data", args=[host.pk])).json()
    names = found["names"]
    assert names == sorted(NEEDS)
    assert {name: [names[other] for other in found["needs"][at]] for at, name in enumerate(names)} == {
        name: sorted(others) for name, others in NEEDS.items()
    }
    assert {name: list(STATES)[int(found["states"][at])] for at, name in enumerate(names)} == states_of(host)
    columns = dict(zip(names, found["columns"], strict=True))
    assert columns["backup"] < columns["web"] < columns["nginx"] < columns["libssl3"] < columns["libc6"]
    assert len(found["rows"]) == len(names)


def test_the_picture_s_data_is_sent_anew_only_when_something_has_changed(staff: Client, host: Scan) -> None:
    data = reverse("graph-data", args=[host.pk])
    first = staff.get(data)
    assert "private" in first["Cache-Control"] and "no-cache" in first["Cache-Control"]
    again = staff.get(data, headers={"If-None-Match": first["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
    host.updates.filter(name="libssl3").update(security=False)
    changed = staff.get(data, headers={"If-None-Match": first["ETag"]})
    assert changed.status_code == 200 and changed.json()["states"] != first.json()["states"]


def test_the_picture_s_data_is_packed(staff: Client) -> None:
    scan = scanned({f"package-{n}": [f"package-{n // 2}"] for n in range(300)})
    packed = staff.get(reverse("graph-data", args=[scan.pk]), headers={"Accept-Encoding": "gzip"})
    assert packed["Content-Encoding"] == "gzip"
    assert len(json.loads(gzip.decompress(packed.content))["names"]) == 300
    again = {"Accept-Encoding": "gzip", "If-None-Match": packed["ETag"]}
    assert staff.get(reverse("graph-data", args=[scan.pk]), headers=again).status_code == 304


# --- ways there -------------------------------------------------------------------------------------


def test_a_scan_s_packages_and_a_package_s_hosts_lead_there(staff: Client, host: Scan) -> None:
    tab = staff.get(f"{host.get_absolute_url()}?tab=packages").content.decode()
    assert f'href="{address(host)}"' in tab and f'href="{address(host, "?package=libssl3")}"' in tab
    hosts = staff.get(reverse("package", args=["libssl3"])).content.decode()
    assert f'href="{address(host, "?package=libssl3")}"' in hosts


# --- programs ---------------------------------------------------------------------------------------


def test_programs_ask_for_the_neighbours_of_a_package(client: Client, host: Scan) -> None:
    headers = {"Authorization": f"Bearer {ApiToken.objects.issue('grafana', 'read')}"}

    def ask(name: str, scan: Scan = host) -> Any:
        return client.get(f"/api/v1/scans/{scan.pk}/packages/{name}/dependencies", headers=headers)

    assert ask("libssl3").json() == {
        "name": "libssl3",
        "security": "update",
        "needs": [{"name": "libc6", "security": "open"}],
        "needed_by": [{"name": "curl", "security": "clear"}, {"name": "nginx", "security": "unknown"}],
        "circle": [],
        "origins": 1,
        "chains": [["backup", "curl", "libssl3"]],
    }
    assert ask("libc6").json()["circle"] == ["libgcc-s1"]
    assert (ask("backup").json()["origins"], ask("backup").json()["chains"]) == (0, [])
    assert ask("vim").status_code == 404
    assert ask("vim", make_scan(state="failed")).status_code == 409
    assert client.get(f"/api/v1/scans/{host.pk}/packages/libc6/dependencies").status_code == 401
