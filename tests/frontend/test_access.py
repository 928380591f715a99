"""Ways in: one-time links, the sign-in page, and who sees what."""

import gzip
from io import StringIO

import pytest
from django.contrib.auth.models import Permission, User
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import timezone

from frontend.access import new_sign_in_link
from scanner.models import Host, SignInLink
from tests.make import make_host, make_scan, make_user

pytestmark = pytest.mark.django_db

PAGES = ["/security/", "/security/package-scanner/", "/admin/"]


def test_a_link_signs_in_once_as_an_administrator_without_a_password(client: Client) -> None:
    link = new_sign_in_link()
    assert client.get(link, follow=True).status_code == 200
    user = User.objects.get()
    assert (user.is_superuser, user.has_usable_password()) == (True, False)
    stranger = Client()
    assert stranger.get(link).status_code == 403
    assert stranger.get("/security/").status_code == 302


def test_a_link_ends_after_an_hour(client: Client) -> None:
    link = new_sign_in_link()
    SignInLink.objects.update(expires_at=timezone.now())
    assert client.get(link).status_code == 403


def test_a_second_start_makes_no_second_administrator() -> None:
    new_sign_in_link()
    new_sign_in_link()
    assert User.objects.count() == 1


def test_the_command_prints_a_link_for_a_user_and_names_one_that_is_not_there() -> None:
    make_user("ops")
    printed = StringIO()
    call_command("sign_in_link", user="ops", stdout=printed)
    assert "/sign-in/" in printed.getvalue()
    with pytest.raises(CommandError, match="no user 'nobody'"):
        call_command("sign_in_link", user="nobody")


@pytest.mark.parametrize("path", PAGES)
def test_strangers_get_the_sign_in_page(client: Client, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 302
    assert "next=" in answer["Location"]


@pytest.mark.parametrize("path", PAGES[:2])
def test_accounts_without_staff_are_refused(client: Client, path: str) -> None:
    client.force_login(make_user(staff=False))
    assert client.get(path).status_code == 403


def test_every_page_carries_the_strict_policy(client: Client) -> None:
    client.force_login(make_user())
    scan = make_scan()
    for path in ["/security/", "/security/package-scanner/", scan.get_absolute_url(), "/sign-in/", "/nowhere/"]:
        policy = client.get(path)["Content-Security-Policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy


def test_the_admin_shows_what_there_is_and_its_action_runs_a_scan(client: Client) -> None:
    client.get(new_sign_in_link())
    make_scan()
    sections = ["scanner/scan", "scanner/snapshot", "scanner/apitoken", "scanner/host", "scanner/openupdate"]
    sections += ["django_celery_beat/periodictask", "django_celery_results/taskresult"]
    for section in sections:
        assert client.get(f"/admin/{section}/").status_code == 200, section
    assert client.get(f"/admin/scanner/scan/?q={make_host().name}").status_code == 200
    host = make_host("db-1")
    act = {"action": "run_scan", "_selected_action": host.pk}
    asked = client.post("/admin/scanner/host/", act).content.decode()
    assert "1 host selected" in asked and "db-1" in asked and not host.scans.exists()
    answer = client.post("/admin/scanner/host/", act | {"confirmed": "yes"}, follow=True)
    assert answer.status_code == 200
    assert host.scans.get().trigger == "admin"


def test_tags_are_set_by_who_may_change_hosts_and_bad_ones_change_nothing(client: Client) -> None:
    host = make_host()
    address = "/security/package-scanner/tags/"
    client.force_login(make_user())
    assert client.post(address, {"host": "web-1", "tags": "prod"}).status_code == 403
    boss = make_user("boss")
    boss.user_permissions.add(Permission.objects.get(codename="change_host"))
    client.force_login(boss)
    client.post(address, {"host": "web-1", "tags": "prod, database prod"})
    assert host.tag_names == ["database", "prod"]
    page = client.post(address, {"host": "web-1", "tags": "fine <b>"}, follow=True).content.decode()
    assert "Letters, digits and" in page
    assert Host.objects.get().tag_names == ["database", "prod"]


def test_pages_are_compressed_for_who_accepts_that(client: Client) -> None:
    client.force_login(make_user())
    plain = client.get("/security/")
    packed = client.get("/security/", headers={"Accept-Encoding": "gzip"})
    assert packed["Content-Encoding"] == "gzip" and "Accept-Encoding" in packed["Vary"]
    assert b"<h1>Hosts</h1>" in gzip.decompress(packed.content) and b"<h1>Hosts</h1>" in plain.content
    assert len(packed.content) < len(plain.content) / 2
