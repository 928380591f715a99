"""Who sees only some hosts: what is seen, and what may be done there. tests/frontend/test_every_address.py proves the
rest: that nothing is told of the others."""

from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.core.management import CommandError, call_command
from django.db import IntegrityError, connection, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from scanner.models import AcceptedRisk, ApiToken, Host, HostLimit, Sight, Tag
from tests.make import make_host, make_report, make_scan, make_update, make_user

pytestmark = pytest.mark.django_db

HOSTS, ACT = "/security/", "/security/hosts/act/"
RISK, TAGS, RUN = "/security/risks/new/", "/security/package-scanner/tags/", "/security/package-scanner/run/"


def make_limited(*tags: str, name: str = "limited") -> User:
    """Who has every permission, and sees only what has one of these tags."""
    user = make_user(name)
    user.user_permissions.set(Permission.objects.all())
    limit(user=user).tags.set(Tag.objects.all_named(tags))
    return user


def limit(**who: Any) -> HostLimit:
    return HostLimit.objects.create(**who)


def seen_by(user: User) -> list[str]:
    fresh = User.objects.get(pk=user.pk)
    return list(Host.objects.seen_by(HostLimit.objects.sight_of(fresh)).values_list("name", flat=True))


@pytest.fixture
def hosts() -> None:
    for name, *tags in (("web-1", "prod", "own"), ("web-2", "prod", "berlin"), ("db-1", "test"), ("bare",)):
        make_host(name).set_tags(tags)


@pytest.fixture
def limited(client: Client, hosts: None) -> Client:
    client.force_login(make_limited("prod"))
    return client


def page(client: Client, address: str, status: int = 200) -> str:
    answer = client.get(address)
    assert answer.status_code == status
    return " ".join(answer.content.decode().split())


def said(answer: Any) -> str:
    return " ".join(answer.content.decode().split())


# --- what is seen -----------------------------------------------------------------------------------


def test_limits_of_a_user_and_of_groups_add_up_and_superusers_have_none(hosts: None) -> None:
    user = make_user()
    assert seen_by(user) == ["bare", "db-1", "web-1", "web-2"]
    testers, idle = Group.objects.create(name="testers"), Group.objects.create(name="idle")
    user.groups.add(testers, idle)
    limit(group=testers).tags.set(Tag.objects.filter(name="test"))
    assert seen_by(user) == ["db-1"]
    limit(user=user).tags.set(Tag.objects.filter(name__in=["berlin", "prod"]))
    assert seen_by(user) == ["db-1", "web-1", "web-2"]
    User.objects.update(is_superuser=True)
    assert len(seen_by(user)) == 4


def test_a_limit_without_tags_shows_no_host_and_the_list_says_why(client: Client, hosts: None) -> None:
    client.force_login(make_limited())
    text = page(client, HOSTS)
    assert "There is no host that you see." in text and "no tag is named yet" in text
    assert "No host is known yet" not in text
    assert client.get("/security/package-scanner/")["Location"] == HOSTS
    assert Host.objects.count() == 4  # nobody made one to have something to show


def test_a_limit_is_of_exactly_one() -> None:
    user, group = make_user(), Group.objects.create(name="ops")
    for who in ({}, {"user": user, "group": group}):
        with pytest.raises(IntegrityError), transaction.atomic():
            limit(**who)


def test_the_list_says_which_hosts_it_is_about(limited: Client) -> None:
    text = page(limited, HOSTS)
    assert "You see the hosts tagged prod." in text and "web-2" in text and "db-1" not in text
    assert page(limited, HOSTS + "?q=db").count("No host matches") == 1
    limited.force_login(make_user("all"))
    assert "You see the hosts" not in page(limited, HOSTS)


def test_a_host_with_two_of_the_tags_is_counted_once(client: Client, hosts: None) -> None:
    report = make_report(make_update(cves=("CVE-2026-1001",)))
    for host in Host.objects.all():
        make_scan(host, report=report)  # on one snapshot, hidden hosts as well
    client.force_login(make_limited("prod", "own", "berlin"))
    assert "<strong>2 of 2 hosts</strong> are exposed" in page(client, "/security/package-scanner/cve/CVE-2026-1001/")
    found = client.get("/api/v1/vulnerabilities/CVE-2026-1001").json()
    assert (found["exposed_hosts"], found["hosts"]["total"]) == (2, 2)
    assert client.get("/api/v1/hosts").json()["total"] == 2
    assert 'Hosts <span class="count">2</span>' in page(client, "/security/package-scanner/package/openssl/")


def test_without_a_name_the_first_host_that_is_seen_is_shown(client: Client, hosts: None, settings: Any) -> None:
    settings.SCAN_HOST = "bare"
    client.force_login(make_limited("test"))
    assert "<h1>db-1</h1>" in page(client, "/security/package-scanner/")


@pytest.mark.parametrize("address", [HOSTS, "/security/risks/", "/security/package-scanner/cve/CVE-2026-1001/"])
def test_being_limited_costs_no_more_queries(client: Client, hosts: None, address: str) -> None:
    for host in Host.objects.all():
        make_scan(host, report=make_report(make_update(cves=("CVE-2026-1001",))))
    numbers = []
    for user in (make_limited("prod"), make_user("all", accept_risk=True)):
        client.force_login(user)
        with CaptureQueriesContext(
            connection,
        ) as queries:
            page(client, address)
        numbers.append(len(queries))
    assert numbers[0] <= numbers[1] + 1, numbers


# --- what is done -----------------------------------------------------------------------------------


def test_scans_are_started_and_tags_changed_only_where_they_are_seen(limited: Client) -> None:
    prefer = {"headers": {"Prefer": "respond-async"}}
    assert limited.post(RUN, {"host": "web-1"}, **prefer).status_code == 202
    assert limited.post(RUN, {"host": "db-1"}, **prefer).json()["message"] == "There is no host 'db-1'."
    pks = list(Host.objects.values_list("pk", flat=True))
    limited.post(ACT, {"do": "add-tag", "tag": "fine", "host": pks})
    assert list(Host.objects.filter(tags__name="fine").values_list("name", flat=True)) == ["web-1", "web-2"]
    limited.post(ACT, {"do": "archive", "host": pks, "confirmed": "1"})
    assert list(Host.objects.active().values_list("name", flat=True)) == ["bare", "db-1"]


def test_who_is_limited_moves_no_tag_that_decides_what_is_seen(limited: Client) -> None:
    make_limited("test", name="tester")
    ApiToken.objects.issue("berliner", "read", ["berlin"])
    web = Host.objects.get(name="web-1")
    for tag in ("test", "berlin"):
        text = said(limited.post(ACT, {"do": "add-tag", "tag": f"new {tag}", "host": web.pk}, follow=True))
        assert f"is decided by {tag}: only who sees all hosts can change that" in text
    for tags in ("own", "prod own test"):  # takes prod away; adds test
        assert "The tags were not changed" in said(limited.post(TAGS, {"host": "web-1", "tags": tags}, follow=True))
    assert "No tag was removed" in said(
        limited.post(ACT, {"do": "remove-tag", "tag": "prod", "host": web.pk}, follow=True)
    )
    assert Host.objects.get(pk=web.pk).tag_names == ["own", "prod"]
    limited.post(TAGS, {"host": "web-1", "tags": "prod new"})
    assert Host.objects.get(pk=web.pk).tag_names == ["new", "prod"]


def test_what_is_about_all_hosts_is_refused_in_words(limited: Client) -> None:
    about_all = "about all hosts, and your account sees only some"
    for address in ("/security/webhooks/", "/security/webhooks/deliveries/"):
        assert about_all in page(limited, address, 403)
    assert about_all in said(limited.post("/security/feeds/refresh/"))
    assert about_all in limited.get("/api/v1/webhooks").json()["detail"]
    assert "Feeds are about all hosts" in page(limited, "/security/feeds/")
    for section in ("auth/user", "scanner/hostlimit", "scanner/apitoken", "scanner/event", "scanner/snapshot"):
        assert limited.get(f"/admin/{section}/").status_code == 403, section
    assert limited.get("/admin/scanner/host/add/").status_code == 403
    assert "Webhooks" not in page(limited, HOSTS)


def wishes(**fields: Any) -> dict[str, Any]:
    until = timezone.localdate() + timedelta(days=3)
    return {"cve": "CVE-2026-1001", "reason": "Not reachable.", "until": until.isoformat(), **fields}


def accept(client: Client, **fields: Any) -> str:
    """As a browser does it: first what it affects is shown, then it is saved."""
    first = said(client.post(RISK, wishes(**fields)))
    if 'name="seen" value="' not in first:
        return first
    seen = first.partition('name="seen" value="')[2].partition('"')[0]
    return said(client.post(RISK, wishes(**fields, seen=seen), follow=True))


def test_a_risk_is_accepted_only_for_what_is_seen(limited: Client) -> None:
    assert "You do not see all hosts, so choose some" in accept(limited, where="everywhere")
    assert "There is no host db-1" in accept(limited, where="hosts", hosts="web-1, db-1")
    assert "may be named, and no others: prod." in accept(limited, where="tags", tags="own")  # others may have it, too
    assert not AcceptedRisk.objects.exists()
    assert "is accepted until" in accept(limited, where="tags", tags="prod")
    assert "is accepted until" in accept(limited, where="hosts", hosts="web-1", cve="CVE-2026-1002")
    assert AcceptedRisk.objects.count() == 2


def test_a_risk_that_reaches_further_is_shown_in_part_and_not_withdrawn(limited: Client) -> None:
    until = timezone.localdate()
    fields = {"reason": "fine", "until": until, "accepted_by": "boss"}
    wide = AcceptedRisk.objects.create(cve="CVE-2026-1001", **fields)
    wide.hosts.set(Host.objects.filter(name__in=["web-1", "db-1"]))
    own = AcceptedRisk.objects.create(cve="CVE-2026-1002", **fields)
    own.hosts.set(Host.objects.filter(name="web-1"))
    everywhere = AcceptedRisk.objects.create(cve="CVE-2026-1003", everywhere=True, **fields)
    text = page(limited, "/security/risks/")
    assert all(str(risk) in text for risk in (wide, own, everywhere)) and "db-1" not in text
    assert text.count("Withdraw …") == 1
    for risk in (wide, everywhere):
        assert "where you may not look" in page(limited, f"/security/risks/{risk.pk}/withdraw/", 403)
    chosen = {"action": "withdraw", "_selected_action": [wide.pk, own.pk, everywhere.pk], "confirmed": "yes"}
    assert "1 accepted risk(s) withdrawn" in said(limited.post("/admin/scanner/acceptedrisk/", chosen, follow=True))
    assert list(AcceptedRisk.objects.withdrawn()) == [own]


# --- tokens -----------------------------------------------------------------------------------------


def test_a_token_is_limited_by_tags_for_good(client: Client, hosts: None) -> None:
    printed = StringIO()
    call_command("create_api_token", "grafana", "--tag", "own", "--tag", "test", stdout=printed, stderr=StringIO())
    headers = {"Authorization": f"Bearer {printed.getvalue().strip()}"}

    def names() -> list[str]:
        return [row["name"] for row in client.get("/api/v1/hosts", headers=headers).json()["items"]]

    assert names() == ["db-1", "web-1"]
    metrics = client.get("/metrics", headers=headers).content.decode()
    assert 'host="db-1"' in metrics and 'host="web-2"' not in metrics and "package_feed" not in metrics
    Tag.objects.filter(name__in=["own", "test"]).delete()
    assert names() == []  # and not all hosts


def test_a_limited_token_has_no_scope_that_is_about_all() -> None:
    with pytest.raises(CommandError, match="Scope admin is about all hosts"):
        call_command("create_api_token", "x", "--scope", "admin", "--tag", "prod")
    with pytest.raises(CommandError, match="Letters, digits and"):
        call_command("create_api_token", "x", "--tag", "two words")
    assert not ApiToken.objects.exists() and not Tag.objects.exists()


# --- the admin --------------------------------------------------------------------------------------


def test_limits_are_set_on_the_pages_of_users_and_groups(client: Client, hosts: None) -> None:
    boss = make_user("boss")
    User.objects.filter(pk=boss.pk).update(is_superuser=True)
    group, prod = Group.objects.create(name="ops"), Tag.objects.get(name="prod")
    client.force_login(boss)
    inline = {"host_limit-TOTAL_FORMS": 1, "host_limit-INITIAL_FORMS": 0, "host_limit-0-tags": [prod.pk]}
    client.post(f"/admin/auth/group/{group.pk}/change/", {"name": "ops", **inline})
    assert str(group.host_limit) == "ops: prod"
    assert "limit to hosts by tag" in page(client, f"/admin/auth/user/{boss.pk}/change/").lower()
    assert "those tagged prod" in page(client, "/admin/scanner/hostlimit/")
    refused = said(client.post("/admin/scanner/hostlimit/add/", {"tags": [prod.pk]}))
    assert "A limit is of a user or of a group" in refused


def test_the_admin_of_hosts_filters_by_tag_and_keeps_history(client: Client, hosts: None) -> None:
    boss = make_user("boss")
    User.objects.filter(pk=boss.pk).update(is_superuser=True)
    client.force_login(boss)
    make_scan(make_host("web-1"))
    for section in ("host", "scan", "openupdate", "event"):
        text = page(client, f"/admin/scanner/{section}/")
        assert "?tag=prod" in text and "host__id__exact" not in text, section
    listed = page(client, "/admin/scanner/host/?tag=prod&use=yes")
    assert "web-1" in listed and "db-1" not in listed
    assert ">web-1<" not in page(client, "/admin/scanner/host/?use=archived")
    ticked = {"action": "delete_selected", "_selected_action": [Host.objects.get(name="web-1").pk]}
    assert "permission to delete the following types of objects" in said(client.post("/admin/scanner/host/", ticked))
    archive = {**ticked, "action": "archive"}
    assert "What is known of them is kept" in said(client.post("/admin/scanner/host/", archive))
    assert "1 host(s) archived" in said(client.post("/admin/scanner/host/", archive | {"confirmed": "y"}, follow=True))


def test_an_action_on_all_rows_asks_about_all_of_them(client: Client) -> None:
    boss = make_user("boss")
    User.objects.filter(pk=boss.pk).update(is_superuser=True)
    client.force_login(boss)
    for number in range(25):
        make_host(f"web-{number}")
    sent = {"action": "archive", "select_across": "1", "_selected_action": [Host.objects.all()[0].pk]}
    asked = said(client.post("/admin/scanner/host/?q=web", sent))
    assert (
        "25 hosts selected" in asked and "and 5 more" in asked and not Host.objects.exclude(archived_at=None).exists()
    )
    client.post("/admin/scanner/host/?q=web", sent | {"confirmed": "yes"})
    assert not Host.objects.active().exists()


def test_in_the_admin_who_is_limited_changes_a_hosts_schedule_and_no_tag(limited: Client) -> None:
    host, hidden = Host.objects.get(name="web-1"), Host.objects.get(name="db-1")
    limited.post(f"/admin/scanner/host/{host.pk}/change/", {"name": "db-1", "tags": [], "scheduled": ""})
    host.refresh_from_db()
    assert (host.name, host.tag_names, host.scheduled) == ("web-1", ["own", "prod"], False)
    assert limited.post(f"/admin/scanner/host/{hidden.pk}/change/", {"scheduled": ""}).status_code == 302
    hidden.refresh_from_db()
    assert hidden.scheduled


def test_a_sight_says_in_words_what_it_shows() -> None:
    assert str(Sight()) == ""
    assert str(Sight({2: "prod", 1: "berlin"})) == "You see the hosts tagged berlin, prod."
    assert "you see no host" in str(Sight({}))
