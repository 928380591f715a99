"""The OpenAPI document of /api/v1/ is true: whatever it allows, and what it does not, is answered as it says."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from django.core.signals import request_finished, request_started
from django.core.wsgi import get_wsgi_application
from django.db import close_old_connections
from django.test import Client
from django.utils import timezone
from django_celery_beat.models import PeriodicTask
from hypothesis import HealthCheck, given, settings
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi import checks

from frontend import api_limits
from frontend.api_document import each
from frontend.api_v1 import api as api_v1
from scanner import audit, periodic
from scanner.models import AcceptedRisk, ApiToken, Event, ExploitScore, KnownExploited, Scan
from tasks import scans as tasks
from tests.make import make_host, make_report, make_scan, make_update, make_user, make_webhook

pytestmark = pytest.mark.django_db

CVE = "CVE-2026-1001"
CHECKS = [
    schemathesis.checks.not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
]
EXAMPLES = 5  # of each operation and manner
REAL = "of what there is"
EXPECTED = {"as it says": {200, 404}, REAL: {200, 202, 409}, "otherwise": {400, 404, 422}}
"""What must be among the answers, or the questions are not worth asking."""
SENDS = "/test"  # a webhook's test goes out into the network


@pytest.fixture
def fleet() -> dict[str, Any]:
    """Of everything something: what is known, what is not, and what went wrong. By subject: what is there to name."""
    report = make_report(make_update(cves=(CVE,), severity="high"), make_update("vim", None), make_update("x", False))
    scan = make_scan(report=report, requested_by="somebody", services_to_restart=["sshd"], reboot_required=True)
    make_scan(make_host("broken"), state=Scan.State.FAILED)
    make_scan(make_host("queued"), state=Scan.State.QUEUED)
    make_scan(make_host("running"), state=Scan.State.RUNNING)
    make_scan(make_host("stale"), report=make_report(age=timedelta(days=99)))
    make_host("never").set_tags(["prod"])
    today = timezone.localdate()
    KnownExploited.objects.create(cve=CVE, added=today, due=today)
    ExploitScore.objects.create(cve=CVE, epss=0.5, percentile=0.97)
    risk = AcceptedRisk.objects.create(cve=CVE, reason="why", until=today, accepted_by="me")
    risk.hosts.add(scan.host)
    ids = {"scans": scan.pk, "webhooks": make_webhook().pk, "events": Event.objects.all()[0].pk}
    schedule = PeriodicTask()
    wishes = {"name": "Hourly", "kind": "hourly", "minute": 5, "time_zone": "UTC", "tags": ["prod"]}
    periodic.save(schedule, wishes, audit.COMMAND_LINE)
    ids["schedules"] = schedule.pk
    return ids | {"hosts": scan.host.name, "vulnerabilities": CVE, "deliveries": 1}


@pytest.fixture
def asked(fleet: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The document, and who may ask: with the application in this process and this transaction."""
    monkeypatch.setattr(api_limits, "RATE", 10**9)
    monkeypatch.setattr(tasks.scan_hosts, "apply_async", lambda **options: None)  # other tests look into its queue
    signals = request_started, request_finished
    for signal in signals:
        signal.disconnect(close_old_connections)
    yield schemathesis.openapi.from_wsgi("/api/v1/openapi.json", get_wsgi_application())
    for signal in signals:
        signal.connect(close_old_connections)


@pytest.mark.parametrize("manner", EXPECTED)
def test_what_is_asked_is_answered_as_the_document_says(asked: Any, fleet: dict[str, Any], manner: str) -> None:
    headers = {"Authorization": f"Bearer {ApiToken.objects.issue('fuzz', 'admin')}", "Accept-Encoding": "identity"}
    mode = GenerationMode.NEGATIVE if manner == "otherwise" else GenerationMode.POSITIVE
    seen = set()
    for found in asked.get_all_operations():
        operation = found.ok()
        if operation.path.endswith(SENDS) or (operation.method == "delete" and manner == REAL):
            continue

        @given(case=operation.as_strategy(generation_mode=mode))
        @settings(
            max_examples=EXAMPLES,
            deadline=None,
            database=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        )
        def ask(case: Any) -> None:
            if manner == REAL:
                subject = case.operation.path.split("/")[3]
                case.path_parameters = dict.fromkeys(case.path_parameters or (), fleet.get(subject))
                if isinstance(case.body, dict) and "host" in case.body:
                    case.body["host"] = fleet["hosts"]
            response = case.call(headers=headers)
            seen.add(response.status_code)
            case.validate_response(response, checks=CHECKS)

        ask()
    assert EXPECTED[manner] <= seen


def test_every_operation_says_who_may_and_what_can_go_wrong(client: Client) -> None:
    document = client.get("/api/v1/openapi.json").json()
    assert set(document["components"]["securitySchemes"]) == {"Token", "Session"}
    for path, method, operation in each(document):
        where = f"{method} {path}"
        assert operation["security"] == [{"Token": []}, {"Session": []}], where
        assert {"401", "403", "422", "429"} <= set(operation["responses"]), where
        assert ("404" in operation["responses"]) >= ("{" in path), where
        for status, answer in operation["responses"].items():
            kinds = list(answer.get("content", {}))
            assert kinds in ([], ["application/json"] if status < "400" else ["application/problem+json"]), where


def test_every_operation_has_its_line_in_the_documentation() -> None:
    text = Path("docs/api.md").read_text()
    fleet = ("hosts", "scans", "vulnerabilities", "feeds", "risks", "diff")
    for path in (*fleet, "schedules", "audit", "webhooks", "deliveries"):
        assert f"/api/v1/{path}" in text, path


def test_the_page_names_every_operation_and_fetches_nothing(client: Client) -> None:
    assert client.get("/api/v1/docs").status_code == 302
    client.force_login(make_user())
    page = client.get("/api/v1/docs").content.decode()
    for path, _, operation in each(api_v1.get_openapi_schema()):
        assert path in page and f'id="{operation["operationId"]}"' in page
    assert "https://" not in page and "cdn" not in page
