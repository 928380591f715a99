"""The audit log: who did what, by every way in, and nothing secret."""

import json
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.core.management import call_command
from django.test import Client
from django.utils import timezone
from django_celery_beat.models import CrontabSchedule, PeriodicTask

from frontend.access import new_sign_in_link
from scanner import audit
from scanner.models import AcceptedRisk, ApiToken, AuditEntry, Delivery, Event, Host, Scan
from scanner.webhooks import log
from scanner.webhooks.addresses import networks_of
from tasks import scans as tasks
from tests.make import make_host, make_scan, make_user, make_webhook

pytestmark = pytest.mark.django_db

BOSS = audit.Actor("boss", audit.How.PAGE)
HOOKS = "/security/webhooks/"


@pytest.fixture
def boss(client: Client) -> Client:
    user = make_user("boss", webhooks=True, accept_risk=True, refresh_feeds=True)
    user.user_permissions.add(Permission.objects.get(codename="change_host"))
    client.force_login(user)
    return client


@pytest.fixture
def admin(client: Client) -> Client:
    client.force_login(User.objects.create_superuser("root", password="correct horse battery"))
    return client


@pytest.fixture(autouse=True)
def no_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks.run_scan, "apply_async", lambda *args, **options: None)


def told() -> list[tuple[str, str, str, str]]:
    return list(AuditEntry.objects.order_by("pk").values_list("actor", "how", "action", "target"))


def last() -> AuditEntry:
    return AuditEntry.objects.all()[0]


def test_only_what_differs_is_kept() -> None:
    audit.record(BOSS, "host.changed", make_host(), {"a": 1, "b": 2}, {"a": 1, "b": 3, "c": None})
    entry = last()
    assert (entry.before, entry.after) == ({"b": 2}, {"b": 3})
    assert list(entry.differences) == [("b", 2, 3)]
    assert (entry.kind, entry.target, entry.target_id) == ("host", "web-1", str(make_host().pk))


def test_an_action_with_a_slip_in_its_name_is_an_error_of_the_program() -> None:
    with pytest.raises(ValueError, match=r"no action 'host\.chnged'"):
        audit.record(BOSS, "host.chnged", "x")


def test_scans_are_told_by_every_way_in(client: Client, boss: Client, admin: Client) -> None:
    boss.force_login(User.objects.get(username="boss"))
    boss.post("/security/hosts/act/", {"do": "run", "host": make_host().pk})
    scan = Scan.objects.get()
    boss.post(f"/security/package-scanner/scan/{scan.pk}/cancel/")
    headers = {"Authorization": f"Bearer {ApiToken.objects.issue('robot', 'scan')}"}
    client.logout()
    client.post("/api/v1/scans", json.dumps({"host": "web-1"}), "application/json", headers=headers)
    again = Scan.objects.first()
    assert again
    client.post(f"/api/v1/scans/{again.pk}/cancel", headers=headers)
    client.post(f"/api/v1/scans/{again.pk}/cancel", headers=headers)  # it has ended: nothing is done
    client.force_login(User.objects.get(username="root"))
    client.post("/admin/scanner/host/", {"action": "run_scan", "_selected_action": make_host().pk, "confirmed": "1"})
    third = Scan.objects.first()
    assert told() == [
        ("boss", "page", "scan.started", str(scan)),
        ("boss", "page", "scan.cancelled", str(scan)),
        ("token robot", "api", "scan.started", str(again)),
        ("token robot", "api", "scan.cancelled", str(again)),
        ("root", "admin", "scan.started", str(third)),
    ]


def test_a_scan_that_was_under_way_is_nothing_that_somebody_did(boss: Client) -> None:
    boss.post("/security/hosts/act/", {"do": "run", "host": make_scan(state="running").host.pk})
    assert told() == []


def test_tags_and_archiving_are_told_of_the_hosts_that_they_changed(boss: Client) -> None:
    web, db = make_host("web-1"), make_host("db-1")
    db.set_tags(["prod"])
    act, both = "/security/hosts/act/", {"host": f"{web.pk},{db.pk}"}
    boss.post(act, {"do": "add-tag", "tag": "prod", **both})
    boss.post("/security/package-scanner/tags/", {"host": "db-1", "tags": "prod db"})
    boss.post("/security/package-scanner/tags/", {"host": "db-1", "tags": "db prod"})
    boss.post("/security/package-scanner/tags/", {"host": "db-1", "tags": "<b>"})
    boss.post(act, {"do": "archive", "confirmed": "1", **both})
    boss.post(act, {"do": "archive", "confirmed": "1", **both})
    boss.post(act, {"do": "bring-back", "confirmed": "1", "host": web.pk})
    assert [row[2:] for row in told()[:2]] == [("host.tagged", "web-1"), ("host.tagged", "db-1")]
    assert {row[2:] for row in told()[2:4]} == {("host.archived", "web-1"), ("host.archived", "db-1")}
    assert [row[2:] for row in told()[4:]] == [("host.brought_back", "web-1")]
    tagged = AuditEntry.objects.filter(action="host.tagged", target="db-1").get()
    assert (tagged.before, tagged.after) == ({"tags": ["prod"]}, {"tags": ["db", "prod"]})


def test_of_a_webhook_everything_is_told_but_what_is_secret(boss: Client, settings: Any) -> None:
    settings.WEBHOOK_ALLOWED_NETWORKS = networks_of(["127.0.0.0/8"])
    secret = "http://127.0.0.1:9/verysecret1234567"
    form = {"name": "ops", "url": secret, "headers": "X-Key: hush", "trigger": "every", "digest": "none"}
    form |= {"rate_per_minute": "60"}
    boss.post(f"{HOOKS}new/?kind=standard", form)
    pk = AuditEntry.objects.get().target_id
    boss.post(f"{HOOKS}{pk}/edit/", {**form, "name": "on-call", "url": f"{secret}8", "headers": ""})
    assert (last().before, last().after) == ({"name": "ops"}, {"name": "on-call", "address": "changed"})
    boss.post(f"{HOOKS}{pk}/edit/", {**form, "name": "on-call", "url": "", "headers": ""})  # nothing is another
    boss.post(f"{HOOKS}{pk}/switch/")
    boss.post(f"{HOOKS}{pk}/switch/")
    boss.post(f"{HOOKS}{pk}/rotate/")
    assert last().after == {"secret": "changed"}
    boss.post(f"{HOOKS}{pk}/test/")
    boss.post(f"{HOOKS}{pk}/delete/")
    made = ["created", "changed", "paused", "resumed", "secret_rotated", "tested", "deleted"]
    assert [row[2] for row in told()] == [f"webhook.{verb}" for verb in made]
    everything = json.dumps(list(AuditEntry.objects.values("before", "after")))
    assert "hush" not in everything and "verysecret" not in everything and "whsec" not in everything


def test_what_is_sent_again_is_told(boss: Client) -> None:
    webhook = make_webhook()
    make_scan()
    event = Event.objects.all()[0]
    boss.post(f"{HOOKS}events/{event.pk}/replay/", {"webhook": webhook.pk})
    sent = Delivery.objects.get()
    Delivery.objects.update(state="failed", body="{}")
    boss.post(f"{HOOKS}deliveries/{sent.pk}/redeliver/")
    again = Delivery.objects.latest("pk")
    assert [(row.action, row.target_id) for row in AuditEntry.objects.all()] == [
        ("delivery.redelivered", str(again.pk)),
        ("event.replayed", event.pk),
    ]


def test_a_risk_that_is_accepted_and_withdrawn(boss: Client) -> None:
    make_host().set_tags(["prod"])
    until = timezone.localdate() + timedelta(days=9)
    wishes = {"cve": "CVE-2026-1001", "where": "tags", "tags": "prod", "reason": "Why.", "until": until.isoformat()}
    seen = boss.post("/security/risks/new/", {**wishes, "check": "1"}).context["effect"].about
    boss.post("/security/risks/new/", {**wishes, "seen": seen})
    assert last().after["tags"] == ["prod"] and last().after["until"] == until.isoformat()
    for _ in range(2):
        boss.post(f"/security/risks/{AcceptedRisk.objects.get().pk}/withdraw/")
    assert [row[2] for row in told()] == ["risk.accepted", "risk.withdrawn"]


def test_commands_are_told_and_no_token_is() -> None:
    printed = StringIO()
    call_command("create_api_token", "grafana", scope="read", stdout=printed, stderr=StringIO())
    new_sign_in_link()
    assert told() == [
        ("command line", "command", "token.created", "grafana"),
        ("command line", "command", "user.created", "admin"),
        ("command line", "command", "link.created", "admin"),
    ]
    assert printed.getvalue().strip()[:20] not in json.dumps(list(AuditEntry.objects.values()), default=str)


def test_what_the_admin_changes_is_told_with_what_was_before(admin: Client) -> None:
    host = make_host()
    host.set_tags(["prod"])
    admin.post(f"/admin/scanner/host/{host.pk}/change/", {"name": "web-1", "tags": []})
    assert (last().action, last().how) == ("host.changed", "admin")
    assert last().before == {"scheduled": True, "tags": ["prod"]} and last().after == {"scheduled": False, "tags": []}
    admin.post(f"/admin/scanner/host/{host.pk}/delete/", {"post": "yes"})
    assert (last().action, Host.objects.count()) == ("host.deleted", 0)
    ApiToken.objects.issue("old", "read")
    revoke = {"action": "revoke", "_selected_action": ApiToken.objects.get().pk, "confirmed": "1"}
    admin.post("/admin/scanner/apitoken/", revoke)
    admin.post("/admin/scanner/apitoken/", revoke)
    assert [row[2:] for row in told()[2:]] == [("token.revoked", "old")]


def test_users_are_told_and_their_passwords_are_not(admin: Client) -> None:
    password = {"password1": "a long enough one", "password2": "a long enough one", "usable_password": "true"}
    no_limit = {f"host_limit-{name}_FORMS": "0" for name in ("TOTAL", "INITIAL")}
    admin.post("/admin/auth/user/add/", {"username": "eve", **password, **no_limit})
    eve = User.objects.get(username="eve")
    admin.post(f"/admin/auth/user/{eve.pk}/password/", password)
    assert [row[2:] for row in told()] == [("user.created", "eve"), ("user.password_changed", "eve")]
    assert "enough" not in json.dumps(list(AuditEntry.objects.values("before", "after")))


def test_signing_in_and_out_is_told(client: Client) -> None:
    User.objects.create_superuser("root", password="correct horse battery")
    for page in ("/sign-in/", "/admin/login/"):
        client.post(page, {"username": "root", "password": "correct horse battery"})
        client.post("/sign-out/")
    client.get(new_sign_in_link("root"))
    client.post("/admin/logout/")
    client.post("/sign-out/")  # once more: nobody is signed in
    both = [("root", "page", "user.signed_in", "root"), ("root", "page", "user.signed_out", "root")]
    assert [row for row in told() if row[2] != "link.created"] == both * 3


def test_who_tries_passwords_is_told_once_a_minute_and_nothing_of_what_was_typed(client: Client) -> None:
    make_user("root")
    for name in ("root", "hunter2", "root", "letmein"):
        client.post("/sign-in/", {"username": name, "password": "swordfish"})
    refused = [("somebody", "page", "user.sign_in_refused", target) for target in ("root", "unknown account")]
    assert told() == refused
    assert not any(word in str(AuditEntry.objects.values()) for word in ("hunter2", "letmein", "swordfish"))
    AuditEntry.objects.update(at=timezone.now() - timedelta(seconds=61))
    client.post("/sign-in/", {"username": "root", "password": "swordfish"})
    assert told() == [*refused, refused[0]]


def test_who_changes_the_own_password_is_told(admin: Client) -> None:
    fields = {"old_password": "wrong", "new_password1": "battery horse staple", "new_password2": "battery horse staple"}
    admin.post("/admin/password_change/", fields)
    assert not told()
    admin.post("/admin/password_change/", fields | {"old_password": "correct horse battery"})
    assert told() == [("root", "admin", "user.password_changed", "root")]
    assert last().after == {"password": "changed"}


def test_schedules_are_told_when_the_admin_switches_or_edits_them(admin: Client) -> None:
    crontab = CrontabSchedule.objects.create(hour="3", minute="0")
    task = PeriodicTask.objects.create(name="Nightly", task="tasks.scans.scan_hosts", crontab=crontab)
    tasks_page = "/admin/django_celery_beat/periodictask/"
    for action in ("disable_tasks", "toggle_tasks"):
        admin.post(tasks_page, {"action": action, "_selected_action": task.pk})
    admin.post(f"/admin/django_celery_beat/crontabschedule/{crontab.pk}/change/", crontab_form(crontab, hour="4"))
    assert (last().before, last().after) == ({"hour": "3"}, {"hour": "4"})
    assert [row[2:] for row in told()] == [
        ("schedule.paused", "Nightly"),
        ("schedule.resumed", "Nightly"),
        ("crontab.changed", str(CrontabSchedule.objects.get(pk=crontab.pk))),
    ]


def crontab_form(crontab: CrontabSchedule, **fields: str) -> dict[str, str]:
    names = ("minute", "hour", "day_of_month", "month_of_year", "day_of_week")
    form = {name: getattr(crontab, name) for name in names} | {"timezone": "UTC"}
    management = {f"periodictask_set-{name}_FORMS": "0" for name in ("TOTAL", "INITIAL")}
    return form | management | fields


def test_nobody_edits_the_log(admin: Client) -> None:
    audit.record(BOSS, "host.changed", make_host())
    assert admin.get("/admin/scanner/auditentry/").status_code == 200
    assert admin.get("/admin/scanner/auditentry/add/").status_code == 403
    page = f"/admin/scanner/auditentry/{last().pk}"
    assert admin.post(f"{page}/change/", {"actor": "nobody"}).status_code == 403
    assert admin.post(f"{page}/delete/", {"post": "yes"}).status_code == 403


def test_what_is_not_done_is_not_told(boss: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Any, **options: Any) -> None:
        raise RuntimeError("the disk is full")

    monkeypatch.setattr(AuditEntry, "save", full)
    with pytest.raises(RuntimeError):
        boss.post("/security/package-scanner/tags/", {"host": make_host().name, "tags": "prod"})
    assert make_host().tag_names == []


def test_the_sweep_drops_what_is_too_old(settings: Any) -> None:
    settings.AUDIT_DAYS = 30
    for days in (29, 31):
        audit.record(BOSS, "host.changed", f"{days} days old")
        AuditEntry.objects.filter(target=f"{days} days old").update(at=timezone.now() - timedelta(days=days))
    assert log.prune()["audit entries"] == 1
    assert [entry.target for entry in AuditEntry.objects.all()] == ["29 days old"]
