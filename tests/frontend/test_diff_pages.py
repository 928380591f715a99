"""What changed: which two scans are compared, what the page and the API say of them, and what cannot be compared."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from scanner.models import ApiToken, Scan
from scanner.package_managers.interface import Gap, Installed, Update
from tests.make import make_host, make_report, make_scan, make_update, make_user

pytestmark = pytest.mark.django_db

DIFF = "/security/package-scanner/diff/"
API = "/api/security/package-scanner/diff/"


@pytest.fixture
def staff(client: Client) -> Client:
    client.force_login(make_user())
    return client


@pytest.fixture
def two_days() -> tuple[Scan, Scan]:
    """vim was upgraded, nano came, emacs went; the update of openssl was installed, that of bash became security."""
    before = scanned(
        *versions(openssl="1.0-1", vim="9.0-1", emacs="28-1", bash="5.2-1"),
        make_update("openssl"),
        make_update("bash", False, reason="No version is."),
    )
    after = scanned(
        *versions(openssl="1.0-2", vim="9.1-1", nano="7.2-1", bash="5.2-1"),
        make_update("bash", reason="1.0-2 is in Debian-Security.", cves=("CVE-2026-7",)),
    )
    return before, after


def versions(**of: str) -> list[Installed]:
    return [Installed(name, "amd64", version, name, version) for name, version in of.items()]


def scanned(*rows: Installed | Update, host: str = "web-1", gaps: tuple[Gap, ...] = (), **fields: Any) -> Scan:
    packages = tuple(row for row in rows if isinstance(row, Installed))
    updates = tuple(row for row in rows if isinstance(row, Update))
    report = replace(make_report(*updates, gaps=gaps), packages=packages, **{"distribution": "debian:12", **fields})
    return make_scan(make_host(host), report=report)


def page(client: Client, query: str = "", status: int = 200) -> str:
    answer = client.get(f"{DIFF}{query}")
    assert answer.status_code == status, answer.content.decode()[:300]
    return " ".join(answer.content.decode().split())


def bearer(scope: str = "read") -> dict[str, Any]:
    return {"headers": {"Authorization": f"Bearer {ApiToken.objects.issue('grafana', scope)}"}}


# --- the page ---------------------------------------------------------------------------------------


def test_the_page_says_what_changed(staff: Client, two_days: tuple[Scan, Scan]) -> None:
    text = page(staff, f"?from={two_days[0].pk}&to={two_days[1].pk}")
    assert "<h1>What changed on web-1</h1>" in text
    for heading in ("Became security updates", "Updates gone", "Upgraded", "Installed", "Removed"):
        assert f'">{heading} <span class="count">' in text
    assert 'Upgraded <span class="count">2</span>' in text
    assert "It was installed." in text
    assert "1.0-2 is in Debian-Security." in text
    assert "CVE-2026-7" in text
    assert text.index("Became security updates") < text.index("Upgraded")


def test_without_a_first_scan_it_is_the_one_before_with_counts(staff: Client, two_days: tuple[Scan, Scan]) -> None:
    make_scan(state="failed")
    third = scanned(*versions(vim="9.2-1"))
    assert f'name="from" value="{two_days[1].pk}"' in page(staff, f"?to={third.pk}")
    assert f'name="from" value="{two_days[0].pk}"' in page(staff, f"?to={two_days[1].pk}")
    assert f'name="to" value="{third.pk}"' in page(staff, f"?from={two_days[0].pk}")
    assert f'name="to" value="{third.pk}"' in page(staff, "?host=web-1")


def test_a_click_in_the_history_and_on_a_scan_leads_there(staff: Client, two_days: tuple[Scan, Scan]) -> None:
    failed = make_scan(state="failed")
    history = staff.get("/security/package-scanner/?host=web-1").content.decode()
    assert f'href="{DIFF}?to={two_days[1].pk}"' in history
    assert f"{DIFF}?to={failed.pk}" not in history
    assert f'href="{DIFF}?to={two_days[1].pk}"' in staff.get(two_days[1].get_absolute_url()).content.decode()
    assert DIFF not in staff.get(failed.get_absolute_url()).content.decode()


def test_changes_are_filtered_by_kind_and_searched(staff: Client, two_days: tuple[Scan, Scan]) -> None:
    both = f"?from={two_days[0].pk}&to={two_days[1].pk}"
    text = page(staff, f"{both}&show=came")
    assert ">nano</a>" in text and ">vim</a>" not in text
    assert '<span id="found">1 of 6 changes</span>' in text
    text = page(staff, f"{both}&q=VIM")
    assert ">vim</a>" in text and ">nano</a>" not in text
    assert ">bash</a>" in page(staff, f"{both}&q=cve-2026-7")
    assert "Nothing matches “zzz”." in page(staff, f"{both}&q=zzz")
    assert "None of this kind." in page(staff, f"{both}&show=downgraded")
    assert ">vim</a>" in page(staff, f"{both}&show=nonsense")


def test_each_number_is_that_of_its_list(staff: Client, two_days: tuple[Scan, Scan]) -> None:
    both = f"?from={two_days[0].pk}&to={two_days[1].pk}"
    answer = staff.get(f"{DIFF}{both}&q=s")
    for key, _, number in answer.context["filters"]:
        shown = staff.get(f"{DIFF}{both}&q=s&show={key}").context["page"]
        assert shown.paginator.count == number
    assert sum(number for key, _, number in answer.context["filters"] if key) == answer.context["filters"][0][2]


def test_many_changes_are_paged(staff: Client) -> None:
    before = scanned(*(Installed(f"package-{n:03}", "amd64", "1") for n in range(250)))
    after = scanned(*(Installed(f"package-{n:03}", "amd64", "2") for n in range(250)))
    both = f"?from={before.pk}&to={after.pk}"
    text = page(staff, both)
    assert text.count('<tr role="row">') == 101
    assert "100 of them are on this page" in text
    assert 'Upgraded <span class="count">250</span>' in text
    assert ">package-249</a>" in page(staff, f"{both}&page=3")


def test_the_same_snapshot_says_at_once_that_nothing_changed(staff: Client) -> None:
    before, after = (scanned(*versions(vim="9.0-1")) for _ in range(2))
    assert before.snapshot_id == after.snapshot_id
    with CaptureQueriesContext(connection) as captured:
        text = page(staff, f"?from={before.pk}&to={after.pk}")
    assert "<strong>Nothing changed.</strong>" in text
    assert not [
        query for query in captured if '"scanner_package"' in query["sql"] or '"scanner_update"' in query["sql"]
    ]
    assert "one and the same scan" in page(staff, f"?from={after.pk}&to={after.pk}")


def test_two_hosts_are_compared_as_they_are_now(staff: Client) -> None:
    scanned(*versions(vim="8.0-1"), host="web-1")
    scanned(*versions(vim="9.0-1", nano="7-1"), make_update("vim", installed_version="9.0-1"), host="web-1")
    scanned(*versions(vim="9.1-1"), host="db-1")
    make_scan(make_host("db-1"), state="failed")
    text = page(staff, "?host=web-1&with=db-1")
    assert "<h1>db-1 compared with web-1</h1>" in text
    assert 'Newer on db-1 <span class="count">1</span>' in text
    assert 'Only on web-1 <span class="count">1</span>' in text
    assert 'Updates waiting only on web-1 <span class="count">1</span>' in text
    assert "8.0-1" not in text


def test_other_releases_and_package_managers_are_said(staff: Client) -> None:
    scanned(*versions(bash="5.2-1"), host="web-1", kernel="6.1.0-18-amd64")
    scanned(*versions(bash="5.1-1"), host="rpm-1", package_manager="dnf", distribution="alma:9", kernel="5.14.0")
    text = page(staff, "?host=web-1&with=rpm-1")
    assert "The package manager differs. web-1: apt; rpm-1: dnf." in text
    assert "The release differs. web-1: debian:12; rpm-1: alma:9." in text
    assert "The running kernel differs." in text
    assert "have no common order" in text
    assert 'Another version <span class="count">1</span>' in text


def test_an_upgrade_of_the_release_is_said(staff: Client) -> None:
    scanned(*versions(bash="5.1-1"), distribution="debian:11")
    assert "The release has changed: debian:11 → debian:12." in page(
        staff, f"?to={scanned(*versions(bash='5.2-1')).pk}"
    )


def test_a_partial_scan_is_not_trusted_with_what_is_gone(staff: Client, two_days: tuple[Scan, Scan]) -> None:
    partial = scanned(*versions(vim="9.1-1"), gaps=(Gap("The list of example.org is missing."),))
    text = page(staff, f"?to={partial.pk}")
    assert "What is said to be gone may only have been overlooked: The list of example.org is missing." in text


def test_a_failed_scan_is_explained_and_nothing_is_said_to_be_gone(staff: Client, two_days: tuple[Scan, Scan]) -> None:
    failed = make_scan(state="failed")
    text = page(staff, f"?to={failed.pk}", 409)
    assert f"Scan {failed.pk} of web-1 failed. What was on the host then is not known" in text
    assert f"{DIFF}?host=web-1" in text
    assert "Removed" not in text
    assert "was cancelled" in page(staff, f"?from={make_scan(state='cancelled').pk}", 409)
    assert "is not over yet" in page(staff, f"?to={make_scan(state='queued').pk}", 409)


def test_the_first_scan_and_a_host_without_one_are_explained(staff: Client) -> None:
    first = scanned(*versions(vim="9.0-1"))
    assert f"Scan {first.pk} is the first of web-1" in page(staff, f"?to={first.pk}", 409)
    make_host("new")
    assert "No scan of new has come to a result yet" in page(staff, "?host=new", 409)
    assert "No scan of new has come to a result yet" in page(staff, "?host=web-1&with=new", 409)


def test_without_any_host_there_is_a_page(staff: Client) -> None:
    assert "There is no host yet, or none that you see" in page(staff, status=409)


@pytest.mark.parametrize("query", ["?to=999999", "?to=x", "?from=-1", "?to=9999999999999999999999", "?host=nobody"])
def test_what_is_not_there_is_404(staff: Client, query: str) -> None:
    scanned(*versions(vim="9.0-1"))
    assert "There is no " in page(staff, query, 404)


def test_backwards_it_says_so(staff: Client, two_days: tuple[Scan, Scan]) -> None:
    Scan.objects.filter(pk=two_days[0].pk).update(finished_at=timezone.now() - timedelta(days=1))
    text = page(staff, f"?from={two_days[1].pk}&to={two_days[0].pk}")
    assert "This looks back" in text
    assert 'Downgraded <span class="count">2</span>' in text


def test_what_a_feed_or_a_host_brings_is_escaped(staff: Client) -> None:
    scanned(*versions(vim="9.0-1"))
    scanned(*versions(vim="9.0-1"), make_update("vim", reason="<script>alert(1)</script>"))
    assert "<script>alert" not in page(staff)


def test_only_staff_sees_it(client: Client, two_days: tuple[Scan, Scan]) -> None:
    assert client.get(DIFF).headers["Location"].startswith("/sign-in/")
    client.force_login(make_user(staff=False))
    assert client.get(DIFF).status_code == 403


def test_the_number_of_queries_does_not_grow(staff: Client) -> None:
    def queries(number: int) -> int:
        packages = [f"package-{number}-{n}" for n in range(number)]
        scanned(*(Installed(name, "amd64", "1") for name in packages))
        scanned(*(Installed(name, "amd64", "2") for name in packages), *(make_update(name) for name in packages))
        with CaptureQueriesContext(connection) as captured:
            page(staff, "?host=web-1")
        return len(captured)

    few = queries(2)
    for name in range(30):
        scanned(*versions(vim="1"), host=f"host-{name}")
    assert queries(120) == few
    assert few <= 16


# --- as JSON ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("address", [API, f"{DIFF}?format=json", DIFF])
def test_programs_get_the_same_as_json(client: Client, two_days: tuple[Scan, Scan], address: str) -> None:
    found = client.get(address, **bearer()).json()
    assert (found["from"]["id"], found["to"]["id"], found["identical"]) == (*(scan.pk for scan in two_days), False)
    assert (found["to"]["host"], found["to"]["security_updates"], found["to"]["distribution"]) == (
        "web-1",
        1,
        "debian:12",
    )
    assert found["counts"] | {"upgraded": 2, "came": 1, "went": 1, "became_security": 1} == found["counts"]
    assert [row["change"] for row in found["updates"]] == ["became_security", "disappeared"]
    assert found["updates"][1]["other_side"] == "there"
    assert [(row["name"], row["change"]) for row in found["packages"]] == [
        ("openssl", "upgraded"),
        ("vim", "upgraded"),
        ("nano", "came"),
        ("emacs", "went"),
    ]
    assert found["packages"][0]["before"] == ["1.0-1"]


def test_json_is_filtered_as_the_page_is_and_says_so(client: Client, two_days: tuple[Scan, Scan]) -> None:
    found = client.get(f"{API}?show=upgraded&q=vim", **bearer()).json()
    assert ([row["name"] for row in found["packages"]], found["updates"]) == (["vim"], [])
    assert found["filter"] == "Upgraded, like “vim”"
    assert found["counts"]["came"] == 1, "the counts are of all"
    assert found["url"].endswith(f"{DIFF}?from={two_days[0].pk}&to={two_days[1].pk}&show=upgraded&q=vim")


def test_a_browser_that_asks_for_json_gets_it(staff: Client, two_days: tuple[Scan, Scan]) -> None:
    answer = staff.get(DIFF, headers={"Accept": "application/json"})
    assert answer.json()["to"]["id"] == two_days[1].pk
    assert "Accept" in answer["Vary"]
    browser = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
    assert b"<h1>What changed" in staff.get(DIFF, headers=browser).content


def test_programs_are_told_what_is_wrong(client: Client) -> None:
    assert client.get(API).status_code == 401
    assert client.get(f"{DIFF}?format=json").status_code == 401
    assert client.get(f"{API}?to=99", **bearer()).status_code == 404
    answer = client.get(f"{API}?to={make_scan(state='failed').pk}", **bearer())
    assert (answer.status_code, answer.json()["success"]) == (409, False)
    assert "is not known" in answer.json()["message"]
    assert client.post(API, **bearer()).status_code == 405


def test_its_address_has_a_name() -> None:
    assert (reverse("diff"), reverse("api-diff")) == (DIFF, API)
