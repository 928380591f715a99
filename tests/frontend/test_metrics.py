"""The door for Prometheus, and what docs/monitoring makes of what it tells."""

import json
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.db import connection
from django.test import Client
from django.utils import timezone
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as plain

from frontend.feed_pages import lines_of
from frontend.metrics_door import TASKS
from project.celery import app
from scanner.metrics import FAMILIES, known_at
from scanner.models import ApiToken, Feed
from tests.make import make_report, make_scan, make_update, make_user

MONITORING = Path(__file__).resolve().parents[2] / "docs/monitoring"
README = (MONITORING / "README.md").read_text()
ALERTS = yaml.safe_load((MONITORING / "alerts.yml").read_text())
RULES = [rule for group in ALERTS["groups"] for rule in group["rules"]]
DASHBOARD = json.loads((MONITORING / "grafana-dashboard.json").read_text())
PROMETHEUS = (
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)


def bearer(scope: str = "read", **more: str) -> dict[str, Any]:
    return {"headers": {"Authorization": f"Bearer {ApiToken.objects.issue('prometheus', scope)}", **more}}


# --- who gets in, and what they get -----------------------------------------------------------------


@pytest.mark.django_db
def test_a_token_of_the_least_scope_and_a_staff_session_open_it(client: Client) -> None:
    assert client.get("/metrics", **bearer("read")).status_code == 200
    client.force_login(make_user(run=False))
    assert client.get("/metrics").status_code == 200


@pytest.mark.django_db
def test_strangers_get_401_and_accounts_without_staff_403(client: Client) -> None:
    answer = client.get("/metrics")
    assert (answer.status_code, answer["WWW-Authenticate"]) == (401, "Bearer")
    assert client.get("/metrics", headers={"Authorization": "Bearer nonsense"}).status_code == 401
    client.force_login(make_user(staff=False))
    assert client.get("/metrics").status_code == 403


@pytest.mark.django_db
def test_it_only_answers_questions(client: Client) -> None:
    assert client.post("/metrics", **bearer("admin")).status_code == 405


@pytest.mark.django_db
def test_prometheus_gets_openmetrics_and_others_the_text_format(client: Client) -> None:
    make_scan(report=make_report(make_update()))
    asked, other = client.get("/metrics", **bearer(Accept=PROMETHEUS)), client.get("/metrics", **bearer())
    assert asked["Content-Type"] == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    assert other["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert "no-store" in other["Cache-Control"]
    for families in (openmetrics(asked.content.decode()), plain(other.content.decode())):
        found = {each.name: each.samples for each in families}
        (sample,) = found["package_security_updates"]
        assert (sample.labels, sample.value) == ({"host": "web-1", "package_manager": "apt"}, 1)


@pytest.mark.django_db(transaction=True)
def test_without_its_database_it_says_503_in_words(client: Client) -> None:
    header = bearer()
    options = connection.settings_dict["OPTIONS"]
    connection.close()
    connection.settings_dict["OPTIONS"] = {**options, "host": "/nonexistent"}
    try:
        answer = client.get("/metrics", **header)
    finally:
        connection.close()
        connection.settings_dict["OPTIONS"] = options
    assert (answer.status_code, answer.json()["message"]) == (503, "The database does not answer.")


@pytest.mark.django_db
def test_the_age_of_a_feed_is_the_one_on_its_page(settings: Any) -> None:
    settings.FEED_SOURCES = {**settings.FEED_SOURCES, "ubuntu": "/mnt/mirror/ubuntu.zip"}
    now = timezone.now()
    read = {"imported_at": now - timedelta(days=9), "checked_at": now - timedelta(hours=5)}
    Feed.objects.create(name="debian", **read)
    Feed.objects.create(name="ubuntu", **read)
    Feed.objects.create(name="kev", **read, error="It does not answer.")
    Feed.objects.create(name="epss", checked_at=now)
    shown = {line.name: line.known_at for line in lines_of({})}
    assert {feed.name: known_at(feed) for feed in Feed.objects.all()}.items() <= shown.items()


def test_the_tasks_are_those_whose_results_are_kept() -> None:
    ours = {name for name, task in app.tasks.items() if name.startswith("tasks.") and not task.ignore_result}
    assert set(TASKS) == ours


# --- what docs/monitoring says ----------------------------------------------------------------------


def test_every_family_is_documented_with_its_labels() -> None:
    documented = re.findall(r"^\| `(\w+)` \| (.*) \| (.+) \|$", README, re.MULTILINE)
    assert documented == [
        (family.name, ", ".join(f"`{label}`" for label in family.labels), family.help) for family in FAMILIES
    ]


def test_every_alert_is_documented_and_tested() -> None:
    names = [rule["alert"] for rule in RULES]
    assert re.findall(r"^\| `(Package\w+)` \| ", README, re.MULTILINE) == names
    tests = yaml.safe_load((MONITORING / "alerts.test.yml").read_text())["tests"]
    assert {each["alertname"] for test in tests for each in test["alert_rule_test"]} == set(names)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alert_says_how_bad_it_is_and_what_it_means(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in ("warning", "critical")
    assert set(rule["annotations"]) == {"summary", "description"}


def queries() -> Iterator[tuple[str, str]]:
    for rule in RULES:
        yield rule["alert"], rule["expr"]
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", ()):
            yield f"{panel['title']} {target['refId']}", target["expr"]


LABELS = {family.name: {*family.labels, "job", "instance"} for family in FAMILIES}


@pytest.mark.parametrize(("name", "query"), list(queries()), ids=lambda text: text[:30])
def test_every_query_is_about_something_that_is_told(name: str, query: str) -> None:
    bare = re.sub(r'"[^"]*"|\[\w+\]', "", query)
    used = set(re.findall(r"\b(?:package|node|apt|yum|pacman)_\w+\b", bare)) - {"package_manager"}
    assert used, "a query without a family"
    assert used <= set(LABELS)
    labels = set().union(*(LABELS[each] for each in used))
    for inside in re.findall(r"\{([^}]*)\}|\b(?:by|on|without|ignoring) \(([^)]*)\)", bare):
        assert set(re.findall(r"\w+", " ".join(inside))) <= labels


def test_the_dashboard_can_be_imported_anywhere() -> None:
    variables = {each["name"]: each for each in DASHBOARD["templating"]["list"]}
    assert variables["datasource"]["type"] == "datasource"
    assert variables["host"]["definition"] == "label_values(package_host_status, host)"
    panels = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
    sources = [panel["datasource"] for panel in panels] + [each["datasource"] for p in panels for each in p["targets"]]
    assert {source["uid"] for source in sources} == {"${datasource}"}
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    assert "id" not in DASHBOARD, "Grafana gives it one"


def test_no_panel_lies_upon_another() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not taken & cells, panel["title"]
        taken |= cells
