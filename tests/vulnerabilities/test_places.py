"""Where a CVE or a package is on the fleet, and what can be done there."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from scanner.models import Feed, Finding, Scan
from scanner.package_managers.interface import Installed, Update
from scanner.vulnerabilities import importing
from scanner.vulnerabilities.places import (
    STATES,
    STATUSES,
    UNJUDGED,
    WORDS,
    Place,
    findings_of,
    found,
    installed_in,
    locate,
    of_cve,
    of_package,
    only_in_updates,
    status_counts,
)
from tests.make import make_host, make_report, make_scan, make_update

pytestmark = pytest.mark.django_db

CVE = "CVE-2026-1001"
LIBSSL = Installed("libssl3", "amd64", "3.0.1-1+b2", "openssl", "3.0.1-1")
OPENSSL = Installed("openssl", "amd64", "3.0.1-1", "openssl", "3.0.1-1")
VIM = Installed("vim", "amd64", "9.0-1", "vim", "9.0-1")
FIXED = {"status": "resolved", "fixed_version": "3.0.2-1", "urgency": "high"}
OPEN = {"status": "open", "urgency": "low"}


@pytest.fixture
def tracker(tmp_path: Path, settings: Any) -> Callable[..., Feed]:
    """Reads Debian's tracker: source=state of CVE-2026-1001 in bookworm."""
    settings.SCANNER_DATA = tmp_path

    def read(**states: dict[str, str]) -> Feed:
        file = tmp_path / "tracker.json"
        file.write_text(json.dumps({name: {CVE: {"releases": {"bookworm": state}}} for name, state in states.items()}))
        return importing.refresh("debian", str(file))

    return read


def scanned(name: str, *packages: Installed, updates: tuple[Update, ...] = (), **fields: Any) -> Scan:
    fields = {"distribution": "debian:12", **fields}
    report = replace(make_report(*updates), packages=packages, **fields)
    return make_scan(make_host(name), report=report)


def fix(name: str = "libssl3", version: str = "3.0.2-1", **fields: Any) -> Update:
    values = {"source": "openssl", "installed_version": "3.0.1-1", "available_version": version}
    return make_update(name, **{**values, **fields})


def places(cve: str = CVE) -> dict[str, list[Place]]:
    """By host."""
    found_places = of_cve(cve)
    shown = {}
    for state in ("", *UNJUDGED):
        for host in found_places.hosts(state).select_related("current"):
            snapshot = host.current.snapshot_id if host.current else None
            shown.setdefault(host.name, []).extend(found_places.shown(snapshot, state))
    return shown


def states(cve: str = CVE) -> dict[str, list[str]]:
    return {host: [place.state for place in of_host] for host, of_host in places(cve).items()}


# --- states -----------------------------------------------------------------------------------------


def test_an_update_that_reaches_the_fix_waits(tracker: Callable[..., Feed]) -> None:
    tracker(openssl=FIXED)
    scanned("web-1", LIBSSL, OPENSSL, updates=(fix(), fix("openssl")))
    (place,) = places()["web-1"]
    assert (place.state, place.source, place.names) == ("now", "openssl", ["libssl3", "openssl"])
    assert place.versions == ["3.0.1-1", "3.0.1-1+b2"]
    assert place.fixed_version == "3.0.2-1"
    assert [update.command for update in place.installable] == [
        "apt-get install --only-upgrade libssl3",
        "apt-get install --only-upgrade openssl",
    ]


def test_an_update_that_does_not_reach_the_fix_is_not_offered(tracker: Callable[..., Feed]) -> None:
    tracker(openssl=FIXED)
    scanned("web-1", LIBSSL, updates=(fix(version="3.0.1-9"),))
    scanned("web-2", LIBSSL)
    assert states() == {"web-1": ["not-offered"], "web-2": ["not-offered"]}


def test_the_version_of_the_source_package_decides(tracker: Callable[..., Feed]) -> None:
    tracker(openssl=FIXED)
    scanned("web-1", LIBSSL, updates=(fix(version="1:1.0", available_source_version="3.0.1-1"),))
    scanned("web-2", LIBSSL, updates=(fix(version="0.1", available_source_version="3.0.2-1"),))
    assert states() == {"web-2": ["now"], "web-1": ["not-offered"]}


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"held": True}, "holds the package"),
        ({"blocked": "phased"}, "in phases"),
        ({"blocked": "kept back"}, "keeps it back"),
        ({"blocked": "excluded"}, "leaves it out"),
    ],
)
def test_an_update_that_a_plain_upgrade_leaves_out_waits_and_says_so(
    tracker: Callable[..., Feed], fields: dict[str, Any], words: str
) -> None:
    tracker(openssl=FIXED)
    scanned("web-1", LIBSSL, updates=(fix(**fields),))
    (place,) = places()["web-1"]
    assert place.state == "now"
    assert words in place.note


def test_a_pin_blocks_it_and_only_a_subscription_has_it(tracker: Callable[..., Feed]) -> None:
    tracker(openssl=FIXED)
    scanned("web-1", LIBSSL, updates=(fix(blocked="pinned"),))
    scanned("web-2", LIBSSL, updates=(fix(blocked="pinned", origins=("esm-infra:jammy",), command=""),))
    assert states() == {"web-2": ["pro"], "web-1": ["pinned"]}


def test_a_finding_that_only_pro_fixes_is_so_where_nothing_waits(tracker: Callable[..., Feed]) -> None:
    tracker(openssl=FIXED)
    scanned("web-1", LIBSSL)
    scanned("web-2", LIBSSL, updates=(fix(),))
    Finding.objects.update(status="pro")
    assert states() == {"web-2": ["now"], "web-1": ["pro"]}


def test_an_unfixed_one_has_the_vendors_status_and_reason(tracker: Callable[..., Feed]) -> None:
    tracker(openssl=OPEN, vim=OPEN | {"nodsa": "Minor issue", "nodsa_reason": ""})
    scanned("web-1", LIBSSL, VIM)
    by_source = {place.source: place for place in places()["web-1"]}
    assert {source: place.state for source, place in by_source.items()} == {"openssl": "open", "vim": "no_dsa"}
    assert by_source["vim"].note == "Minor issue"


def test_a_host_with_the_fixed_version_is_not_exposed(tracker: Callable[..., Feed]) -> None:
    tracker(openssl=FIXED)
    scanned("web-1", replace(LIBSSL, version="3.0.2-1", source_version="3.0.2-1"))
    found_places = of_cve(CVE)
    assert (found_places.exposed, found_places.unjudged, found_places.is_known) == (0, 0, True)


# --- kernels ----------------------------------------------------------------------------------------


def image(release: str, version: str) -> Installed:
    return Installed(f"linux-image-{release}-amd64", "amd64", version, "linux-signed-amd64", version.replace("-", "+"))


def test_a_kernel_with_the_fix_that_does_not_run_needs_a_reboot(tracker: Callable[..., Feed]) -> None:
    tracker(linux={"status": "resolved", "fixed_version": "6.1.90-1", "urgency": "high"})
    old, new, between = image("6.1.0-18", "6.1.76-1"), image("6.1.0-21", "6.1.90-1"), image("6.1.0-20", "6.1.85-1")
    scanned("web-1", old, new, kernel="6.1.0-18-amd64")
    scanned("web-2", old, between, kernel="6.1.0-18-amd64")
    scanned("web-3", old, new, kernel="6.1.0-21-amd64")
    shown = places()
    assert {host: [place.state for place in of_host] for host, of_host in shown.items()} == {
        "web-1": ["reboot"],
        "web-2": ["not-offered"],
    }
    assert shown["web-1"][0].note == (
        "linux-image-6.1.0-21-amd64 6.1.90-1 is installed and has the fix, but 6.1.0-18-amd64 runs."
    )


def test_an_update_of_what_asks_for_a_kernel_fixes_the_one_that_runs(tracker: Callable[..., Feed]) -> None:
    tracker(linux={"status": "resolved", "fixed_version": "6.1.90-1", "urgency": "high"})
    newer = make_update("linux-image-amd64", available_version="6.1.90-1", source="linux-signed-amd64")
    scanned("web-1", image("6.1.0-18", "6.1.76-1"), updates=(newer,), kernel="6.1.0-18-amd64")
    (place,) = places()["web-1"]
    assert place.state == "now"
    assert [update.name for update in place.updates] == ["linux-image-amd64"]


# --- what no feed tells -----------------------------------------------------------------------------


def test_an_update_that_names_the_cve_tells_where_no_feed_does(tracker: Callable[..., Feed]) -> None:
    scanned("fedora-1", VIM, updates=(make_update("vim", cves=(CVE,)),), distribution="fedora:40")
    scanned("fedora-2", VIM, distribution="fedora:40")
    assert states() == {"fedora-1": ["now"], "fedora-2": ["no-data"]}
    assert places()["fedora-1"][0].fixed_version == "1.0-2"


def test_an_update_that_names_another_cve_that_begins_the_same_tells_nothing() -> None:
    scanned("fedora-1", VIM, updates=(make_update("vim", cves=(f"{CVE}7",)),), distribution="fedora:40")
    assert states() == {"fedora-1": ["no-data"]}


def test_hosts_of_which_nothing_is_known_are_counted_apart(tracker: Callable[..., Feed]) -> None:
    tracker(openssl=FIXED)
    make_host("new")
    scanned("odd", LIBSSL, distribution="")
    scanned("old", LIBSSL, distribution="debian:9")
    scanned("web-1", LIBSSL)
    found_places = of_cve(CVE)
    assert (found_places.exposed, found_places.unjudged) == (1, 3)
    assert found_places.numbers(UNJUDGED) == [("no-data", 2), ("unscanned", 1)]
    assert {host.name for host in found_places.hosts("no-data")} == {"odd", "old"}
    assert [host.name for host in found_places.hosts("unscanned")] == ["new"]


def test_a_package_from_elsewhere_cannot_be_judged(tracker: Callable[..., Feed]) -> None:
    tracker(openssl=FIXED)
    scanned("web-1", replace(LIBSSL, third_party="Example Repository"))
    (place,) = places()["web-1"]
    assert (place.state, place.note) == ("third-party", "It comes from Example Repository.")
    assert (of_cve(CVE).exposed, of_cve(CVE).unjudged) == (0, 1)


def test_an_advisory_without_a_cve_goes_by_its_id(tmp_path: Path, settings: Any) -> None:
    settings.SCANNER_DATA = tmp_path
    file = tmp_path / "tracker.json"
    file.write_text(json.dumps({"openssl": {"TEMP-1-ABC": {"releases": {"bookworm": OPEN}}}}))
    importing.refresh("debian", str(file))
    scanned("web-1", LIBSSL)
    assert states("TEMP-1-ABC") == {"web-1": ["open"]}


# --- hosts ------------------------------------------------------------------------------------------


def test_every_number_is_the_length_of_its_list(tracker: Callable[..., Feed]) -> None:
    tracker(openssl=FIXED, vim=OPEN)
    make_host("new")
    for number in range(3):
        scanned(f"both-{number}", LIBSSL, VIM, updates=(fix(),))
    scanned("vim-only", VIM)
    found_places = of_cve(CVE)
    for state in ("", *STATES, *UNJUDGED):
        assert found_places.number(state) == found_places.hosts(state).count()
    assert found_places.numbers(STATES) == [("now", 3), ("open", 4)]
    assert [host.name for host in found_places.hosts()] == ["both-0", "both-1", "both-2", "vim-only"]


def test_hosts_are_found_by_name_tag_and_package(tracker: Callable[..., Feed]) -> None:
    tracker(openssl=FIXED, vim=OPEN)
    scanned("web-1", LIBSSL).host.set_tags(["prod"])
    scanned("db-1", VIM)
    found_places = of_cve(CVE)
    for q, name in (("WEB", "web-1"), ("pro", "web-1"), ("libssl", "web-1"), ("vim", "db-1")):
        assert [host.name for host in found_places.hosts(q=q)] == [name]
    assert not found_places.hosts(q="nothing").exists()


def test_the_number_of_queries_does_not_grow_with_the_fleet(tracker: Callable[..., Feed]) -> None:
    tracker(openssl=FIXED)
    numbers = []
    for batch in (range(3), range(3, 15)):
        for number in batch:
            package = replace(LIBSSL, version=f"3.0.1-1+b{number}")
            scanned(f"web-{number}", package, updates=(fix(),))
        with CaptureQueriesContext(
            connection,
        ) as queries:
            assert of_cve(CVE).number("now") == batch.stop
        numbers.append(len(queries))
    assert numbers[0] == numbers[1]


def test_every_status_and_state_has_words() -> None:
    assert set(STATES) | set(UNJUDGED) | set(STATUSES) == set(WORDS)
    assert STATES[-1] == "eol"


# --- what is found in a scan ------------------------------------------------------------------------


def test_the_findings_of_a_scan_are_rows_by_cve_and_source_with_what_to_do(tracker: Callable[..., Feed]) -> None:
    tracker(openssl=FIXED, vim=OPEN)
    scan = scanned("web-1", LIBSSL, OPENSSL, VIM, updates=(fix(),))
    rows = found(findings_of(scan), installed_in(scan.packages))
    locate(scan, rows, installed_in(scan.packages))
    assert [(row.cve.id, row.source, row.state, row.cve.severity) for row in rows] == [
        (CVE, "openssl", "now", "high"),
        (CVE, "vim", "open", "low"),
    ]
    assert rows[0].names == ["libssl3", "openssl"]
    assert status_counts(findings_of(scan)) == {"fixed": 1, "open": 1}


def test_what_only_an_update_names_is_told_apart(tracker: Callable[..., Feed]) -> None:
    tracker(openssl=FIXED)
    scan = scanned("web-1", LIBSSL, updates=(fix(cves=(CVE, "CVE-2026-2")),))
    assert [cve.id for cve in only_in_updates(scan.updates, findings_of(scan))] == ["CVE-2026-2"]


# --- packages ---------------------------------------------------------------------------------------


def test_a_package_is_found_by_its_own_and_by_its_sources_name(tracker: Callable[..., Feed]) -> None:
    tracker(openssl=FIXED)
    scanned("web-1", LIBSSL, OPENSSL, updates=(fix(),))
    scanned("web-2", replace(LIBSSL, version="3.0.10-1", source_version="3.0.10-1"))
    scanned("web-3", VIM)
    assert of_package("libssl3").names == ["libssl3"]
    places = of_package("openssl")
    assert (places.names, places.everywhere) == (["libssl3", "openssl"], 2)
    assert [(each.version, each.hosts) for each in places.versions] == [
        ("3.0.10-1", 1),
        ("3.0.1-1+b2", 1),
        ("3.0.1-1", 1),
    ]
    for version in places.versions:
        assert places.hosts([version]).count() == version.hosts
    assert (places.number("security"), places.hosts(places.versions, "security").count()) == (1, 1)
    assert not of_package("opens").packages


def test_a_kernel_is_found_by_the_name_that_feeds_know_it_by(tracker: Callable[..., Feed]) -> None:
    tracker(linux=OPEN)
    scanned("web-1", image("6.1.0-18", "6.1.76-1"), kernel="6.1.0-18-amd64")
    assert of_package("linux").names == ["linux-image-6.1.0-18-amd64"]
    assert of_package("linux-signed-amd64").everywhere == 1


def test_why_a_package_is_not_looked_up_is_told_of_its_version() -> None:
    scanned("web-1", replace(VIM, third_party="Example Repository"))
    (version,) = of_package("vim").versions
    assert version.third_party == "Example Repository"
    assert version.skipped == ["It comes from Example Repository: the distribution's advisories say nothing of it."]
