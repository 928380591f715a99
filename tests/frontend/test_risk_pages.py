"""Pages of accepted risks: who may accept one, what the form says before it is saved, what the list shows."""

import json
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from scanner.models import AcceptedRisk, Host, KnownExploited, Tag
from scanner.vulnerabilities import importing
from tests.make import make_host, make_report, make_scan, make_update, make_user

pytestmark = pytest.mark.django_db

LIST = "/security/risks/"
NEW = "/security/risks/new/"
CVE = "CVE-2026-1001"
UNTIL = timedelta(days=30)


@pytest.fixture
def keeper(client: Client) -> Client:
    client.force_login(make_user("keeper", accept_risk=True))
    return client


@pytest.fixture
def hosts(tmp_path: Path, settings: Any) -> list[Host]:
    """web-1, web-2 and db-1 have openssl, in which CVE-2026-1001 is fixed and CVE-2026-1002 is not; mail-1 has not."""
    settings.SCANNER_DATA = tmp_path
    state = {"status": "resolved", "fixed_version": "1.0-2", "urgency": "high"}
    unfixed = {"status": "open", "urgency": "low", "nodsa": "Minor issue", "nodsa_reason": ""}
    issues = {CVE: state, "CVE-2026-1002": unfixed}
    tracker = {"openssl": {cve: {"description": "", "releases": {"bookworm": said}} for cve, said in issues.items()}}
    (tmp_path / "tracker.json").write_text(json.dumps(tracker))
    importing.refresh("debian", str(tmp_path / "tracker.json"))
    for name in ("web-1", "web-2", "db-1"):
        scan_with(name, "openssl")
    scan_with("mail-1", "postfix")
    return list(Host.objects.all())


def scan_with(host: str, package: str) -> None:
    report = make_report(make_update(package), packages=2)
    make_scan(make_host(host), report=replace(report, distribution="debian:12"))


def wishes(**fields: Any) -> dict[str, Any]:
    until = timezone.localdate() + UNTIL
    return {"cve": CVE, "where": "everywhere", "reason": "Not reachable.", "until": until.isoformat(), **fields}


def accept(client: Client, **fields: Any) -> str:
    """As a browser does it: first what it affects is shown, then it is saved."""
    seen = client.post(NEW, wishes(**fields, check="1")).context["effect"]
    answer = client.post(NEW, wishes(**fields, seen=seen.about if seen else ""), follow=True)
    return answer.content.decode()


def make_risk(cve: str = CVE, days: int = 30, **fields: Any) -> AcceptedRisk:
    values = {"everywhere": True, "reason": "Not reachable.", "accepted_by": "boss", **fields}
    return AcceptedRisk.objects.create(cve=cve, until=timezone.localdate() + timedelta(days=days), **values)


def text_of(client: Client, address: str) -> str:
    return client.get(address).content.decode()


def test_staff_see_the_list_and_only_who_may_accept_gets_buttons_and_forms(client: Client) -> None:
    risk = make_risk()
    pages = [LIST, NEW, f"{LIST}{risk.pk}/withdraw/"]
    for page in pages:
        assert client.get(page).status_code == 302
    client.force_login(make_user("guest", staff=False))
    assert client.get(LIST).status_code == 403
    client.force_login(make_user("reader"))
    shown = text_of(client, LIST)
    assert CVE in shown
    assert "Withdraw …" not in shown and "Accept a risk" not in shown
    for page in pages[1:]:
        refused = client.post(page)
        assert refused.status_code == 403
        assert "Your account may not accept risks" in refused.content.decode()
    assert AcceptedRisk.objects.active().exists()
    client.force_login(make_user("keeper", accept_risk=True))
    for page in pages:
        assert client.get(page).status_code == 200
    assert "Withdraw …" in text_of(client, LIST)


def test_the_form_is_filled_by_its_address_and_ends_in_thirty_days(keeper: Client) -> None:
    make_host("web-1")
    shown = text_of(keeper, f"{NEW}?cve={CVE}&package=openssl&host=web-1")
    for text in (f'value="{CVE}"', 'value="openssl"', ">\nweb-1</textarea>"):
        assert text in shown
    assert f'value="{timezone.localdate() + UNTIL}"' in shown
    assert keeper.get(f"{NEW}?host=web-1").context["form"]["where"].value() == "hosts"
    assert keeper.get(NEW).context["form"]["where"].value() == "everywhere"


def test_before_anything_is_saved_it_says_which_hosts_have_it(keeper: Client, hosts: list[Host]) -> None:
    shown = text_of(keeper, f"{NEW}?cve={CVE}")
    assert f"3 hosts have {CVE} now" in shown
    assert "on all of them: db-1, web-1, web-2" in shown
    assert "On 3 of these an update against it waits" in shown
    shown = text_of(keeper, f"{NEW}?cve={CVE}&host=web-2")
    assert "on 1 of them: web-2" in shown
    shown = text_of(keeper, f"{NEW}?cve={CVE}&host=mail-1")
    assert "On none of those that are chosen" in shown
    shown = text_of(keeper, f"{NEW}?package=openssl")
    assert "3 hosts have openssl now, with 1 CVE open in it" in shown
    assert "No host is known to have CVE-1999-0001 now" in text_of(keeper, f"{NEW}?cve=CVE-1999-0001")
    assert f"No host is known to have {CVE} in postfix now" in text_of(keeper, f"{NEW}?cve={CVE}&package=postfix")


def test_without_a_script_the_page_is_shown_once_more_before_it_is_saved(keeper: Client, hosts: list[Host]) -> None:
    unseen = keeper.post(NEW, wishes())
    assert not AcceptedRisk.objects.exists()
    assert "Not saved yet" in unseen.content.decode()
    assert "3 hosts have" in unseen.content.decode()
    seen = {"seen": unseen.context["effect"].about}
    keeper.post(NEW, wishes(where="hosts", hosts="web-1", **seen))
    assert not AcceptedRisk.objects.exists()  # what was seen was about something else
    keeper.post(NEW, wishes(**seen))
    assert AcceptedRisk.objects.get().everywhere


def test_only_to_look_asks_for_no_reason_but_names_hosts_that_are_not_there(keeper: Client, hosts: list[Host]) -> None:
    answer = keeper.post(NEW, wishes(where="hosts", hosts="web-9", reason="", check="1"))
    shown = answer.content.decode()
    assert answer.status_code == 200
    assert "There is no host web-9" in shown
    assert "Where it will be accepted is not said yet" in shown
    assert "This field is required" not in shown and "Not saved yet" not in shown
    assert not AcceptedRisk.objects.exists()


def test_the_pages_of_a_cve_and_of_a_package_lead_to_the_form_who_may_accept(client: Client, hosts: list[Host]) -> None:
    risk, over = make_risk(), make_risk(days=-1)
    pages = {
        f"/security/package-scanner/cve/{CVE}/": f"cve={CVE}",
        "/security/package-scanner/package/openssl/": "package=openssl",
    }
    client.force_login(make_user("reader"))
    for page in pages:
        assert "In the list of accepted risks" in text_of(client, page)
        assert NEW not in text_of(client, page)
    client.force_login(make_user("keeper", accept_risk=True))
    for page, filled in pages.items():
        assert f"{NEW}?" in text_of(client, page) and filled in text_of(client, page)
    shown = text_of(client, f"/security/package-scanner/cve/{CVE}/")
    for address in (f"{LIST}{risk.pk}/withdraw/", f"{NEW}?renew={over.pk}"):
        assert address in shown


def test_known_exploitation_is_a_clear_warning(keeper: Client, hosts: list[Host]) -> None:
    KnownExploited.objects.create(cve=CVE, added=date(2026, 1, 3), due=date(2026, 1, 24), ransomware=True)
    for address in (f"{NEW}?cve={CVE}", f"{NEW}?package=openssl"):
        shown = text_of(keeper, address)
        assert f"{CVE} is known to be exploited, also by ransomware (CISA, since 3 Jan 2026)" in shown
        assert "24 Jan 2026" in shown
    assert "known to be exploited" not in text_of(keeper, f"{NEW}?cve=CVE-2026-1002")


def test_a_risk_is_accepted_on_hosts_tags_or_everywhere(keeper: Client) -> None:
    for name in ("web-1", "web-2", "db 1"):
        make_host(name)
    make_host("web-1").set_tags(["prod", "web"])
    shown = accept(keeper, where="hosts", hosts="web-1,\n db 1", tags="nonsense")
    assert f"The risk of {CVE} is accepted until" in shown
    accept(keeper, cve="", package="openssl", where="tags", tags="prod web")
    accept(keeper, cve="temp-0517018-A83CE6", package="openssl")
    everywhere, tagged, on_hosts = AcceptedRisk.objects.all()
    assert [host.name for host in on_hosts.hosts.all()] == ["db 1", "web-1"]
    assert not on_hosts.tags.exists()
    assert ([tag.name for tag in tagged.tags.all()], str(tagged)) == (["prod", "web"], "openssl")
    assert (everywhere.everywhere, str(everywhere)) == (True, "temp-0517018-A83CE6 in openssl")
    assert (on_hosts.accepted_by, on_hosts.until) == ("keeper", timezone.localdate() + UNTIL)
    assert on_hosts in AcceptedRisk.objects.about(make_host("web-1"))
    assert on_hosts not in AcceptedRisk.objects.about(make_host("web-2"))


def test_a_cve_is_written_as_feeds_write_it(keeper: Client) -> None:
    accept(keeper, cve=" cve-2026-1001 ")
    assert AcceptedRisk.objects.get().cve == CVE


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"cve": "", "package": ""}, "Name a CVE, a package, or both"),
        ({"cve": "openssl"}, "An id is like CVE-2026-1234"),
        ({"cve": "CVE-2026-<b>"}, "An id is like"),
        ({"package": "openssl, curl"}, "the name of one package"),
        ({"where": "hosts", "hosts": " ,\n"}, "Name at least one host"),
        ({"where": "tags", "tags": " , "}, "Name at least one tag"),
        ({"where": "hosts", "hosts": "web-1, web-11"}, "There is no host web-11 (is it web-1?)."),
        ({"where": "hosts", "hosts": "a, b, c, d, e"}, "There is no host c. And 2 more are not there."),
        ({"where": "tags", "tags": "prud"}, "There is no tag prud (is it prod?)"),
        ({"where": "nowhere"}, "Select a valid choice"),
        ({"reason": "  "}, "This field is required"),
        ({"reason": "x" * 2001}, "It has 2,001 characters"),
        ({"until": ""}, "This field is required"),
        ({"until": "tomorrow"}, "A date is like"),
    ],
)
def test_a_wrong_form_says_what_is_wrong_and_loses_nothing(keeper: Client, wrong: dict[str, str], words: str) -> None:
    make_host("web-1").set_tags(["prod"])
    typed = {"package": "libkept", "hosts": "web-kept", "tags": "kept", "reason": "because of the kept words"}
    answer = keeper.post(NEW, wishes(**{**typed, **wrong}))
    shown = answer.content.decode()
    assert answer.status_code == 422
    assert words in shown
    for name in typed.keys() - wrong.keys():
        assert typed[name] in shown
    assert not AcceptedRisk.objects.exists()


def test_it_holds_until_today_at_least_and_for_a_year_at_most(keeper: Client) -> None:
    for days, words in (
        (-1, "This day is over"),
        (366, "At most a year ahead"),
        (0, "is accepted"),
        (365, "is accepted"),
    ):
        assert words in accept(keeper, until=str(timezone.localdate() + timedelta(days=days)))
    assert AcceptedRisk.objects.active().count() == 2


def test_a_reason_may_have_two_thousand_characters_whatever_its_lines_end_with(keeper: Client) -> None:
    accept(keeper, reason="x" * 1998 + "\r\n" + "y")
    assert len(AcceptedRisk.objects.get().reason) == 2000


def test_ten_thousand_hosts_can_be_named_at_once(keeper: Client) -> None:
    Host.objects.bulk_create(Host(name=f"node-{number}") for number in range(10_000))
    names = "\n".join(Host.objects.values_list("name", flat=True))
    accept(keeper, where="hosts", hosts=names)
    risk = AcceptedRisk.objects.get()
    assert risk.hosts.count() == 10_000
    shown = text_of(keeper, LIST)
    assert "and 9\N{NARROW NO-BREAK SPACE}992 more" in shown
    assert len(shown) < 30_000


def test_an_address_that_makes_no_sense_fills_in_what_it_says_and_breaks_nothing(keeper: Client) -> None:
    for nonsense in ("\0", "<b>", "x" * 5000, "CVE-2026-1001\n"):
        for name in ("cve", "package", "host", "renew"):
            assert keeper.get(NEW, {name: nonsense}).status_code == 200
        assert (
            keeper.post(NEW, wishes(cve=nonsense, package=nonsense, hosts=nonsense, where="hosts")).status_code == 422
        )


def test_the_form_says_that_somebody_has_accepted_it_already(keeper: Client) -> None:
    make_risk()
    assert "boss has accepted it already" in text_of(keeper, f"{NEW}?cve={CVE}")


def test_the_list_has_what_holds_what_has_expired_and_what_was_withdrawn(keeper: Client) -> None:
    make_risk("CVE-2026-1", days=0)
    make_risk("CVE-2026-2", days=1)
    make_risk("CVE-2026-3", days=-1)
    make_risk("CVE-2026-4").withdraw("chief")
    shown = text_of(keeper, LIST)
    for there in ("CVE-2026-1", "CVE-2026-2", "Not reachable.", "boss", "ends today", "in 1 day", "everywhere"):
        assert there in shown
    assert "CVE-2026-3" not in shown and "CVE-2026-4" not in shown
    shown = text_of(keeper, f"{LIST}?show=expired")
    assert "CVE-2026-3" in shown and "Renew" in shown and "CVE-2026-1" not in shown
    shown = text_of(keeper, f"{LIST}?show=withdrawn")
    assert "CVE-2026-4" in shown and "withdrawn by chief" in shown and "Withdraw …" not in shown
    assert [number for _, _, number in keeper.get(LIST).context["parts"]] == [2, 1, 1]


def test_the_list_tells_where_and_what_is_exploited_by_now(keeper: Client) -> None:
    risk = make_risk(everywhere=False)
    risk.hosts.set([make_host("web-1")])
    risk.tags.set([Tag.objects.create(name="prod")])
    lost = make_risk("CVE-2026-7777", everywhere=False)
    KnownExploited.objects.create(cve=lost.cve, added=date(2026, 1, 3))
    shown = text_of(keeper, LIST)
    for there in ("web-1", "hosts tagged prod", "nowhere any more", "known exploited"):
        assert there in shown


def test_the_list_is_searched_by_what_where_who_and_why(keeper: Client) -> None:
    risk = make_risk(package="openssl", everywhere=False, reason="Behind the firewall.")
    risk.hosts.set([make_host("web-1"), make_host("web-2")])
    risk.tags.set([Tag.objects.create(name="prod")])
    make_risk("CVE-2026-9999")
    for q in ("cve-2026-1001", "OPENSSL", "web-", "prod", "firewall"):
        assert [row.pk for row in keeper.get(LIST, {"q": q}).context["risks"]] == [risk.pk], q
    assert len(keeper.get(LIST, {"q": "boss"}).context["risks"]) == 2
    for q in ("nothing like it", "\0", "%"):
        assert keeper.get(LIST, {"q": q}).status_code == 200


def test_its_address_shows_one_risk_whatever_became_of_it(keeper: Client) -> None:
    for number in range(60):
        make_risk(f"CVE-2026-{1000 + number}")
    first = AcceptedRisk.objects.order_by("pk").first()
    assert first is not None
    assert f'id="risk-{first.pk}"' not in text_of(keeper, LIST)
    assert f'id="risk-{first.pk}"' in text_of(keeper, f"{LIST}?page=2")
    first.withdraw("chief")
    assert f'id="risk-{first.pk}"' in text_of(keeper, first.get_absolute_url().partition("#")[0])
    for nonsense in ("0", "x", "²", "9" * 30):
        assert "There is no such risk" in text_of(keeper, f"{LIST}?risk={nonsense}")


def test_it_is_withdrawn_after_a_question_and_the_second_click_hears_who_was_first(keeper: Client) -> None:
    risk = make_risk()
    address = f"{LIST}{risk.pk}/withdraw/"
    assert "Not reachable." in text_of(keeper, address)
    assert AcceptedRisk.objects.active().exists()
    assert "is no longer accepted" in keeper.post(address, follow=True).content.decode()
    risk.refresh_from_db()
    assert (risk.withdrawn_by, risk.holds) == ("keeper", False)
    keeper.force_login(make_user("other", accept_risk=True))
    for again in (keeper.post, keeper.get):
        assert "keeper was first: it was withdrawn just now" in again(address, follow=True).content.decode()
    risk.refresh_from_db()
    assert risk.withdrawn_by == "keeper"
    assert keeper.get(f"{LIST}999/withdraw/").status_code == 404


def test_what_has_expired_is_not_withdrawn_but_can_be_renewed(keeper: Client) -> None:
    risk = make_risk(days=-1, package="openssl", everywhere=False, reason="Behind the firewall.")
    risk.hosts.set([make_host("web-1")])
    assert "expired by itself" in keeper.post(f"{LIST}{risk.pk}/withdraw/", follow=True).content.decode()
    risk.refresh_from_db()
    assert risk.withdrawn_at is None
    shown = keeper.get(f"{NEW}?renew={risk.pk}")
    form = shown.context["form"]
    filled = {name: form[name].value() for name in ("cve", "package", "where", "hosts", "tags", "reason")}
    assert filled == {
        "cve": CVE,
        "package": "openssl",
        "where": "hosts",
        "hosts": "web-1",
        "tags": "",
        "reason": "Behind the firewall.",
    }
    assert str(timezone.localdate() + UNTIL) in shown.content.decode()
    assert keeper.get(f"{NEW}?renew=999").status_code == 404


def test_more_risks_and_hosts_cost_no_more_queries(keeper: Client, hosts: list[Host]) -> None:
    def grow(number: int) -> None:
        for each in range(number):
            scan_with(f"more-{number}-{each}", "openssl")
            risk = make_risk(f"CVE-2026-{1000 + each}", everywhere=False)
            risk.hosts.set(Host.objects.filter(name__startswith="more"))
            risk.tags.set([Tag.objects.get_or_create(name=f"tag-{each}")[0]])

    def queries(address: str) -> int:
        with CaptureQueriesContext(connection) as captured:
            assert keeper.get(address).status_code == 200
        return len(captured)

    addresses = (LIST, f"{LIST}?q=more", f"{NEW}?cve={CVE}", f"{NEW}?package=openssl")
    grow(3)
    few = [queries(address) for address in addresses]
    grow(30)
    assert [queries(address) for address in addresses] == few


def test_the_admin_lists_risks_and_withdraws_them_for_who_may(client: Client) -> None:
    risk = make_risk(everywhere=False)
    risk.hosts.set([make_host("web-1")])
    over = make_risk("CVE-2026-3", days=-1)
    admin = make_user("root", accept_risk=True)
    admin.is_superuser = True
    admin.save()
    client.force_login(admin)
    listed = text_of(client, "/admin/scanner/acceptedrisk/?q=web")
    assert CVE in listed and "web-1" in listed
    assert client.get(f"/admin/scanner/acceptedrisk/{risk.pk}/change/").status_code == 200
    chosen = {"action": "withdraw", "_selected_action": [risk.pk, over.pk], "confirmed": "yes"}
    assert (
        "1 accepted risk(s) withdrawn"
        in client.post("/admin/scanner/acceptedrisk/", chosen, follow=True).content.decode()
    )
    risk.refresh_from_db()
    assert risk.withdrawn_by == "root"
