"""Every address of the project, asked by who sees only one of two hosts: of the other one nothing is said or done."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.contrib.contenttypes.models import ContentType
from django.test import Client
from django.urls import URLResolver, get_resolver
from django.utils import timezone
from django_celery_beat.models import PeriodicTask

from scanner.models import (
    AcceptedRisk,
    ApiToken,
    Delivery,
    Event,
    Feed,
    Finding,
    Host,
    HostLimit,
    Package,
    PackageVersion,
    Scan,
    Tag,
)
from tests.make import make_host, make_report, make_scan, make_update, make_user, make_webhook

pytestmark = pytest.mark.django_db

HIDDEN = {
    "host": "zebra-host",
    "tag": "zebra-tag",
    "package": "zebra-package",
    "cve": "CVE-2099-6666",
    "reason": "zebra-reason",
    "release": "zebra:1",
}
"""What may be read nowhere. An address that takes one of them in says at most that there is no such thing."""
SECRET = {"host", "host_pk", "scan", "risk", "cve", "package", "open_update", "tag_pk"}
NOTHING = {  # the same kinds: what does not exist
    **{kind: word.replace("zebra", "quaga").replace("6666", "7777") for kind, word in HIDDEN.items()},
    **dict.fromkeys(("host_pk", "scan", "risk", "open_update", "tag_pk"), 987654321),
}
CHANGING = re.compile(r'(csrfmiddlewaretoken|seen)" value="[^"]*"|[T ]\d\d:\d\d:\d\d|just now|1 min( ago)?')
MISSING = """
There is a new address, {route!r}, and nobody has said how it is asked. Add it to ADDRESSES (or its model to MODELS) in
tests/frontend/test_every_address.py: the kinds of its arguments, queries that would show what is hidden, and what one
would send to change it. The hosts that it is about are those of frontend.access.visible_hosts(request)."""


@dataclass(frozen=True)
class Address:
    args: str = ""  # the kind of each argument
    asks: tuple[str, ...] = ()  # queries about what is hidden; each kind is to be named in braces
    sends: tuple[dict[str, str], ...] = ()  # what would change it


PLAIN, SCAN, LIST, WEBHOOK = Address(), Address("scan"), Address(asks=("q=zebr",)), Address("webhook")
DIFF = Address(asks=("from={scan}", "host={host}", "host=web-1&with={host}", "to={scan}"))
RISKS = Address(asks=("q=zebr", "show=withdrawn", "risk={risk}"))
TICKED = {"host": "{host_pk}", "confirmed": "1"}
RISK = {"cve": "{cve}", "where": "hosts", "hosts": "{host}", "reason": "x", "until": f"{timezone.localdate()}"}
ADDRESSES = {
    "": PLAIN,
    "healthz": PLAIN,
    "metrics": PLAIN,
    "sign-in/": PLAIN,
    "sign-in/<str:text>/": Address("nothing"),
    "sign-out/": PLAIN,
    "theme/": PLAIN,
    "keys/": PLAIN,
    "security/": Address(
        asks=("q=zebr", "tag={tag}", "archived=1", "distribution={release}", "select=all&size=1000", "tick={host_pk}")
    ),
    "security/hosts/export/<str:name>/": Address(
        "csv", asks=("q=zebr", "tag={tag}", "archived=1", "distribution={release}")
    ),
    "security/hosts/act/": Address(
        sends=(
            *(TICKED | {"do": do, "tag": "own"} for do in ("run", "add-tag", "remove-tag", "archive", "bring-back")),
            {"do": "archive", "select": "all", "query": "q=zebr", "confirmed": "1"},
            {"do": "archive", "select": "all", "query": "q=zebr"},
        )
    ),
    "security/package-scanner/": Address(asks=("host={host}",)),
    "security/package-scanner/tags/": Address(sends=({"host": "{host}", "tags": "prod"},)),
    "security/package-scanner/scans/export/<str:name>/": Address("csv", asks=("host={host}",)),
    "security/package-scanner/run/": Address(sends=({"host": "{host}"},)),
    "security/package-scanner/scan/<int:pk>/": SCAN,
    "security/package-scanner/scan/<int:pk>/cancel/": SCAN,
    "security/package-scanner/scan/<int:pk>/export/<str:name>/": Address("scan csv"),
    "security/package-scanner/scan/<int:pk>/graph/": SCAN,
    "security/package-scanner/scan/<int:pk>/graph/data/": SCAN,
    "security/package-scanner/scan/<int:pk>/graph/export/<str:name>/": Address("scan csv"),
    "security/package-scanner/diff/": DIFF,
    "security/package-scanner/diff/export/<str:name>/": replace(DIFF, args="csv"),
    "security/feeds/": PLAIN,
    "security/feeds/refresh/": Address(sends=({"feed": ""},)),
    "security/risks/": RISKS,
    "security/risks/export/<str:name>/": replace(RISKS, args="csv"),
    "security/risks/new/": Address(
        asks=("renew={risk}", "host={host}&cve=CVE-2026-1001", "package={package}"),
        sends=(RISK, RISK | {"where": "everywhere"}, RISK | {"where": "tags", "tags": "{tag}"}),
    ),
    "security/risks/<int:pk>/withdraw/": Address("risk"),
    "security/package-scanner/cve/<str:name>/": Address("cve"),
    "security/package-scanner/cve/<str:cve>/export/<str:name>/": Address("cve csv", asks=("q=zebr", "state=now")),
    "security/package-scanner/package/<str:name>/": Address("package"),
    **{
        f"security/package-scanner/package/<str:package>/{what}/export/<str:name>/": Address("package csv", asks=asks)
        for what, asks in (("hosts", ("q=zebr", "release={release}")), ("vulnerabilities", ("q=zebr", "status=all")))
    },
    "security/webhooks/": PLAIN,
    "security/webhooks/new/": PLAIN,
    "security/webhooks/filter/": PLAIN,
    "security/webhooks/test/": PLAIN,
    **{
        f"security/webhooks/<int:pk>/{what}": WEBHOOK
        for what in ("", "edit/", "delete/", "switch/", "rotate/", "test/")
    },
    **{
        f"security/webhooks/{of}deliveries/export/<str:name>/": Address(args, asks=("q=zebr",))
        for of, args in (("", "csv"), ("<int:pk>/", "webhook csv"))
    },
    "security/webhooks/deliveries/": PLAIN,
    "security/webhooks/deliveries/<int:pk>/": Address("delivery"),
    "security/webhooks/deliveries/<int:pk>/redeliver/": Address("delivery"),
    "security/webhooks/events/<str:pk>/": Address("event"),
    "security/webhooks/events/<str:pk>/replay/": Address("event"),
    "security/schedules/": PLAIN,
    "security/schedules/new/": PLAIN,
    **{f"security/schedules/<int:pk>/{what}/": Address("schedule") for what in ("edit", "delete", "switch", "run")},
    "security/audit/": LIST,
    "security/audit/export/csv/": LIST,
    "security/settings/": PLAIN,
    "api/v1/audit": PLAIN,
    "api/v1/schedules": PLAIN,
    **{f"api/v1/schedules/<pk>{what}": Address("schedule") for what in ("", "/run")},
    "api/v1/docs": PLAIN,
    "api/v1/openapi.json": PLAIN,
    "api/v1/hosts": Address(asks=("name=zebr", "tag={tag}", "archived=true", "distribution={release}")),
    **{f"api/v1/hosts/<name>{what}": Address("host") for what in ("", "/updates", "/packages", "/vulnerabilities")},
    "api/v1/scans": Address(asks=("host={host}",), sends=({"host": "{host}"},)),
    **{f"api/v1/scans/<pk>{what}": SCAN for what in ("", "/cancel", "/updates", "/packages", "/vulnerabilities")},
    "api/v1/scans/<pk>/packages/<name>/dependencies": Address("scan package"),
    "api/v1/vulnerabilities/<cve>": Address("cve"),
    "api/v1/feeds": PLAIN,
    "api/v1/risks": Address(asks=("q=zebr", "show=all")),
    "api/v1/diff": Address(asks=("from={scan}", "to={scan}")),
    "api/v1/webhooks": PLAIN,
    **{f"api/v1/webhooks/<pk>{what}": WEBHOOK for what in ("", "/test", "/rotate-secret", "/deliveries")},
    "api/v1/deliveries/<pk>": Address("delivery"),
    "api/v1/deliveries/<pk>/redeliver": Address("delivery"),
    "api/v1/events/<pk>": Address("event"),
    "api/v1/events/<pk>/replay": Address("event"),
    "api/v1/": PLAIN,
    "^api/v1/": PLAIN,
    "api/security/package-scanner/widget/": Address(asks=("host={host}",)),
    "api/security/package-scanner/state/": Address(asks=("host={host}",)),
    "api/security/package-scanner/scan/<int:pk>/": SCAN,
    "api/security/package-scanner/diff/": DIFF,
    "admin/": PLAIN,
    "admin/login/": PLAIN,
    "admin/logout/": PLAIN,
    "admin/password_change/": PLAIN,
    "admin/password_change/done/": PLAIN,
    "admin/autocomplete/": Address(
        asks=tuple(f"app_label=scanner&model_name={model}&field_name=tags&term=zebr" for model in ("host", "hostlimit"))
    ),
    "admin/jsi18n/": PLAIN,
    "admin/r/<path:content_type_id>/<path:object_id>/": Address("host_type host_pk"),
    "admin/auth/user/<id>/password/": Address("user_pk"),
    "admin/^(?P<app_label>django_celery_beat|django_celery_results|scanner|auth)/$": PLAIN,
    "admin/(?P<url>.*)$": PLAIN,
}
MODELS = {  # what of a model who is limited may see, and which actions there are; "" is nothing of it
    "scanner/host": "host_pk run_scan archive delete_selected",
    "scanner/scan": "scan",
    "scanner/openupdate": "open_update",
    "scanner/acceptedrisk": "risk withdraw",
    "scanner/tag": "tag_pk",
    "scanner/feed": "feed",
    **dict.fromkeys(("scanner/snapshot", "scanner/apitoken", "scanner/hostlimit", "auth/user", "auth/group"), ""),
    **dict.fromkeys(("scanner/auditentry", "scanner/setting"), ""),
    **dict.fromkeys(("scanner/webhook", "scanner/delivery", "scanner/event"), ""),
    **dict.fromkeys((f"django_celery_results/{name}" for name in ("taskresult", "groupresult")), ""),
    **dict.fromkeys((f"django_celery_beat/{name}schedule" for name in ("clocked", "crontab", "solar", "interval")), ""),
    "django_celery_beat/periodictask": "",
}
OF_MODEL = re.compile(r"admin/(\w+/\w+)/(add/|<path:object_id>/(?:history/|delete/|change/|)|)")


def routes(resolver: Any, before: str = "") -> Iterator[str]:
    for pattern in resolver.url_patterns:
        route = before + str(pattern.pattern)
        yield from routes(pattern, route) if isinstance(pattern, URLResolver) else [route]


def address_of(route: str) -> Address:
    if route in ADDRESSES:
        return ADDRESSES[route]
    of_model = OF_MODEL.fullmatch(route)
    assert of_model and of_model[1] in MODELS, MISSING.format(route=route)
    kind, *actions = MODELS[of_model[1]].split() or ["nothing"]
    if of_model[2] == "" and kind != "nothing":
        ticked = {"_selected_action": f"{{{kind}}}", "confirmed": "yes", "post": "yes"}
        return Address(asks=("q=zebr", "tag={tag}"), sends=tuple(ticked | {"action": action} for action in actions))
    return Address(kind) if "<" in of_model[2] else PLAIN


def path_of(route: str, values: dict[str, Any], args: str) -> str:
    path = route.replace("^", "").partition("(?P")[0]
    for kind in args.split():
        path = re.sub(r"<[^>]+>", str(values.get(kind, kind)), path, count=1)
    return f"/{path}"


@pytest.fixture
def values() -> tuple[dict[str, Any], dict[str, Any]]:
    """By kind: what belongs to the host that is seen, and to the one that is not."""
    seen, hidden = make_host("web-1"), make_host(HIDDEN["host"])
    seen.set_tags(["prod", "own"])
    hidden.set_tags([HIDDEN["tag"]])
    same = make_report(make_update(cves=("CVE-2026-1001",)))
    make_scan(seen, report=same)
    make_scan(make_host("zebra-host-twin"), report=same)  # stands on the same snapshot, and is hidden
    secret = make_report(make_update(HIDDEN["package"], cves=(HIDDEN["cve"],)))
    make_scan(hidden, report=replace(secret, distribution=HIDDEN["release"]))
    version = PackageVersion.objects.create(id=1, distribution="debian:11", name=HIDDEN["package"], version="1.0-1")
    Finding.objects.create(package_version=version, cve=HIDDEN["cve"], status="open")
    Package.objects.filter(name=HIDDEN["package"]).update(package_version=version)
    make_scan(hidden, state=Scan.State.RUNNING)
    make_host("zebra-host-archived").set_tags([HIDDEN["tag"]])
    Host.objects.filter(name="zebra-host-archived").archive()
    until, webhook = timezone.localdate(), make_webhook()
    both, secret_risk = (
        AcceptedRisk.objects.create(cve=cve, reason=reason, until=until, accepted_by="boss")
        for cve, reason in (("CVE-2026-1001", "fine"), (HIDDEN["cve"], HIDDEN["reason"]))
    )
    both.hosts.add(seen, hidden)
    both.tags.add(*hidden.tags.all())
    secret_risk.hosts.add(hidden)
    feed = Feed.objects.create(name="debian")

    def of(host: Host, risk: AcceptedRisk) -> dict[str, Any]:
        event = Event.objects.filter(host=host)[0]
        delivery = Delivery.objects.create(event=event, webhook=webhook, state=Delivery.State.SUCCEEDED)
        found = {"scan": host.scans.with_counts()[0].pk, "host": host.name, "host_pk": host.pk, "risk": risk.pk}
        found |= {"webhook": webhook.pk, "event": event.pk, "delivery": delivery.pk, "feed": feed.pk, "nothing": 1}
        found |= {"schedule": PeriodicTask.objects.filter(task="tasks.scans.scan_hosts")[0].pk}
        return found | {"open_update": host.open_updates.get().pk, "tag_pk": host.tags.all()[0].pk, "user_pk": 1}

    types = {"host_type": ContentType.objects.get_for_model(Host).pk}
    return (
        of(seen, both) | types | {"cve": "CVE-2026-1001", "package": "openssl"},
        of(hidden, secret_risk) | types | HIDDEN,
    )


def limited_user() -> Client:
    """Who may do everything, but see only what is tagged prod."""
    user = make_user("limited")
    user.user_permissions.set(Permission.objects.all())
    HostLimit.objects.create(user=user).tags.set(Tag.objects.filter(name="prod"))
    client = Client(headers={"Prefer": "respond-async"})
    client.force_login(user)
    return client


def limited_token() -> Client:
    text = ApiToken.objects.issue("limited", "scan", ["prod"])
    return Client(headers={"Authorization": f"Bearer {text}", "Prefer": "respond-async"})


def text_of(answer: Any) -> str:
    if answer.streaming and not hasattr(answer, "whole"):
        answer.whole = b"".join(answer.streaming_content)  # which gives it only once
    content = answer.whole if answer.streaming else answer.content
    return CHANGING.sub("", content.decode(errors="replace"))


def told(answer: Any) -> set[str]:
    text = f"{answer.headers}{text_of(answer)}"
    return {marker for marker in HIDDEN.values() if marker in text}


def is_as_of_nothing(client: Client, path: str, other: str, names: dict[str, str]) -> bool:
    """Whether the answer is the same as at an address that names what does not exist, but for these names."""
    hidden, nothing = client.get(path), client.get(other)
    assert hidden.status_code < 500 and all(value in path for value in told(hidden)), (path, told(hidden))
    text = text_of(nothing)
    for name, invented in names.items():
        text = text.replace(invented, name)
    return (hidden.status_code, text_of(hidden)) == (nothing.status_code, text)


def state_of(host: str) -> Any:
    """All that somebody could have changed."""
    found = Host.objects.get(name=host)
    scans = list(found.scans.values_list("state", "cancel_requested_at"))
    risks = list(AcceptedRisk.objects.values_list("cve", "withdrawn_at"))
    return scans, found.tag_names, found.archived_at, risks, Delivery.objects.count(), HostLimit.objects.count()


@pytest.mark.parametrize("door", [limited_user, limited_token])
def test_of_a_hidden_host_nothing_is_said_or_done_at_any_address(door: Any, values: Any) -> None:
    seen, hidden = values
    client = door()
    before = state_of(HIDDEN["host"])
    for route in routes(get_resolver()):
        if door is limited_token and route.startswith("admin/"):
            continue  # there a token opens nothing
        address = address_of(route)
        answer = client.get(path_of(route, seen, address.args))
        assert answer.status_code < 500 and not told(answer), route
        path = path_of(route, hidden, address.args)
        if SECRET.intersection(address.args.split()):
            names = {str(hidden[kind]): str(NOTHING[kind]) for kind in SECRET.intersection(address.args.split())}
            assert is_as_of_nothing(client, path, path_of(route, hidden | NOTHING, address.args), names), path
            for method in ("post", "put", "patch", "delete") if route.startswith("api/") else ("post",):
                answer = getattr(client, method)(path)
                assert answer.status_code in (302, 403, 404, 405), (method, path)
                assert all(f"{value}" in path for value in told(answer)), (method, path, told(answer))
        for query in address.asks:
            asked = query.format(**hidden)
            kinds = [kind for kind in NOTHING if f"{{{kind}}}" in query]
            names = {str(hidden[kind]): str(NOTHING[kind]) for kind in kinds} | {"zebr": "quag"}
            other = query.format(**hidden | NOTHING).replace("zebr", "quag")
            assert is_as_of_nothing(client, f"{path}?{asked}", f"{path}?{other}", names), (path, asked)
        for fields in address.sends:
            sent = {name: value.format(**hidden) for name, value in fields.items()}
            kind = "application/json" if route.startswith("api/") else None
            answer = client.post(path, sent, **({"content_type": kind} if kind else {}))
            assert answer.status_code in (200, 302, 403, 404, 422), (path, sent)
            assert all(value in sent.values() for value in told(answer)), (path, sent)
    assert state_of(HIDDEN["host"]) == before


def test_who_sees_everything_is_told_all_of_it(values: Any) -> None:
    """Else the walk above would prove nothing."""
    seen, _ = values
    client = Client()
    boss = make_user("boss")
    boss.is_superuser = True
    boss.save()
    client.force_login(boss)
    where: dict[str, set[str]] = {marker: set() for marker in HIDDEN.values()}
    routes = {
        *("security/", "security/feeds/", "security/risks/", "api/v1/hosts", "api/v1/risks", "metrics"),
        *("security/webhooks/deliveries/export/csv/", "security/risks/export/csv/"),
        "security/package-scanner/package/openssl/hosts/export/csv/",
        f"security/package-scanner/scans/export/csv/?host={HIDDEN['host']}",
    }
    for route in routes:
        for marker in told(client.get(path_of(route, seen, ""))):
            where[marker].add(route)
    assert where[HIDDEN["host"]] == routes
    assert where[HIDDEN["release"]] and where[HIDDEN["reason"]] and where[HIDDEN["cve"]] and where[HIDDEN["tag"]]


def test_an_address_that_nobody_has_listed_fails_with_what_to_do() -> None:
    with pytest.raises(AssertionError, match="ADDRESSES"):
        address_of("security/new-page/")
