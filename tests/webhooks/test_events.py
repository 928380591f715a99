"""What a scan owes the outside world: written with its result, or not at all."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from scanner import scanning
from scanner.models import AcceptedRisk, Event, OpenUpdate, Scan
from scanner.package_managers.interface import Gap, Restarts
from scanner.webhooks import events
from tests.make import make_host, make_report, make_scan, make_update

pytestmark = pytest.mark.django_db


def types() -> list[str]:
    """Of the events of the last scan, in the order in which they were written."""
    scan = Scan.objects.order_by("-pk").first()
    assert scan is not None
    return [event.type.removeprefix("security.") for event in Event.objects.filter(scan=scan).order_by("pk")]


def data(event_type: str) -> dict[str, Any]:
    event = Event.objects.filter(type=f"security.{event_type}").order_by("-pk").first()
    assert event is not None
    return dict(event.payload["data"])


def test_the_first_scan_of_a_host_completes_and_its_security_updates_appear() -> None:
    make_scan(report=make_report(make_update("openssl"), make_update("vim", security=False)))
    assert types() == ["package_scan_completed", "update_appeared"]
    told = data("update_appeared")
    assert [each["name"] for each in told["changes"]["appeared"]] == ["openssl"]
    assert told["changes"]["previous_scan"] is None
    assert (told["status"], told["changes"]["previous_status"]) == ("warning", None)
    assert told["scan"]["url"].startswith("http://127.0.0.1:")
    assert told["host"]["name"] == "web-1"


def test_an_unchanged_host_completes_and_nothing_else() -> None:
    make_scan(report=make_report(make_update()))
    make_scan(report=make_report(make_update()))
    assert types() == ["package_scan_completed"]
    assert data("package_scan_completed")["changes"]["changed"] is False


def test_what_came_went_and_changed_the_level_has_an_event_each() -> None:
    make_scan(report=make_report(make_update("a")))
    make_scan(report=make_report(*(make_update(f"lib{n}") for n in range(6))))
    assert types() == ["package_scan_completed", "status_changed", "update_appeared", "update_resolved"]
    changes = data("status_changed")["changes"]
    assert (changes["previous_status_label"], data("status_changed")["status_label"]) == ("Low Risk", "Medium Risk")
    assert (changes["new_security_updates"], changes["fixed_security_updates"]) == (6, 1)
    assert changes["previous_security_updates"] == 1


def test_long_lists_are_cut_and_are_whole_at_the_events_own_address() -> None:
    make_scan(report=make_report(*(make_update(f"lib{n:03}", severity="Low") for n in range(30)), packages=30))
    event = Event.objects.get(type=events.UPDATE_APPEARED)
    changes = event.payload["data"]["changes"]
    assert (len(changes["appeared"]), changes["more"], changes["new_security_updates"]) == (
        20,
        {"appeared": 10, "resolved": 0},
        30,
    )
    assert len(event.full_lists["appeared"]) == 30
    assert changes["url"].endswith(f"/api/v1/events/{event.pk}")


def test_the_worst_come_first() -> None:
    make_scan(
        report=make_report(make_update("a", severity="Low"), make_update("b", severity="Critical"), make_update("c"))
    )
    assert [each["name"] for each in data("update_appeared")["changes"]["appeared"]] == ["b", "a", "c"]


def test_a_failed_scan_is_told_and_is_never_secure() -> None:
    make_scan(report=make_report())
    make_scan(state="failed", error="E: it broke")
    assert types() == ["package_scan_failed"]
    told = data("package_scan_failed")
    assert (told["status"], told["scan"]["security_updates"]) == ("unknown", None)
    assert told["changes"]["new_security_updates"] is None
    assert told["scan"]["error"] == "E: it broke"


def test_the_same_failure_again_has_not_changed() -> None:
    make_scan(state="failed")
    assert data("package_scan_failed")["changes"]["changed"] is True
    make_scan(state="failed")
    assert data("package_scan_failed")["changes"]["changed"] is False


def test_a_scan_that_no_worker_took_fails_with_its_event() -> None:
    make_scan(state="queued", created_at=timezone.now() - timedelta(hours=2))
    scanning.fail_lost()
    assert types() == ["package_scan_failed"]
    assert "No worker took" in data("package_scan_failed")["scan"]["error"]


def test_a_cancelled_scan_tells_nothing() -> None:
    make_scan(state="cancelled")
    assert types() == []


def test_a_reboot_is_told_once() -> None:
    def report(needed: bool) -> Any:
        found = make_report()
        return type(found)(**{**vars(found), "restarts": Restarts(needed, "Because.", (), "")})

    for needed, told in ((False, False), (True, True), (True, False), (False, False), (True, True)):
        make_scan(report=report(needed))
        assert ("reboot_required" in types()) is told


def test_a_partial_scan_resolves_nothing() -> None:
    make_scan(report=make_report(make_update("a")))
    make_scan(report=make_report(gaps=(Gap("A list is missing."),)))
    assert "update_resolved" not in types()
    assert "status_changed" in types(), "Low Risk has become Unknown"


def test_a_result_that_becomes_too_old_is_told_once() -> None:
    host = make_host()
    good = make_scan(host, report=make_report(make_update()))
    assert events.owe_for_stale() == []
    Scan.objects.update(metadata_date=timezone.now() - timedelta(days=8))
    assert len(events.owe_for_stale()) == 1
    assert events.owe_for_stale() == []
    told = data("package_scan_stale")
    assert (told["status"], told["changes"]["previous_scan"]["id"]) == ("unknown", good.pk)


def test_an_update_that_has_waited_too_long_is_told_once_and_each_later_one_as_well() -> None:
    make_scan(report=make_report(make_update("openssl"), make_update("vim"), make_update("bash", security=False)))
    assert events.owe_for_late() == []
    OpenUpdate.objects.filter(name="openssl").update(since=timezone.now() - timedelta(hours=49))
    assert len(events.owe_for_late()) == 1
    assert events.owe_for_late() == []
    told = data("update_late")
    assert ([row["name"] for row in told["late"]], told["late_more"], told["target_hours"]) == (["openssl"], 0, 48)
    assert (told["late_security_updates"], told["fix_first"]["name"]) == (1, "openssl")
    OpenUpdate.objects.update(since=timezone.now() - timedelta(hours=50))
    assert len(events.owe_for_late()) == 1
    assert [row["name"] for row in data("update_late")["late"]] == ["vim"]


def test_of_an_accepted_risk_nothing_is_late_until_it_ends() -> None:
    make_scan(report=make_report(make_update("openssl")))
    OpenUpdate.objects.update(since=timezone.now() - timedelta(hours=49))
    risk = AcceptedRisk.objects.create(
        package="openssl", everywhere=True, until=timezone.localdate(), accepted_by="ann", reason="Not reachable"
    )
    assert events.owe_for_late() == []
    risk.withdraw("bob")
    assert len(events.owe_for_late()) == 1


def test_a_host_that_was_scanned_again_is_not_stale() -> None:
    make_scan(metadata_date=timezone.now() - timedelta(days=8))
    make_scan()
    assert events.owe_for_stale() == []


def test_only_what_becomes_unknown_by_age_changes_its_level() -> None:
    make_scan(report=make_report(make_update()))
    long_ago = timezone.now() - timedelta(days=8)
    Scan.objects.update(metadata_date=long_ago, finished_at=long_ago)
    events.owe_for_stale()
    assert types()[-2:] == ["package_scan_stale", "status_changed"]


def test_a_transaction_that_fails_leaves_neither_result_nor_events(monkeypatch: pytest.MonkeyPatch) -> None:
    scan = make_scan(state="running")

    def broken(*_: object) -> None:
        raise RuntimeError("the power went")

    monkeypatch.setattr(events, "cut_off", broken)
    with pytest.raises(RuntimeError):
        scanning.store(scan, make_report(make_update()))
    assert not Event.objects.exists()
    assert not OpenUpdate.objects.exists()
    assert Scan.objects.get().state == "running"


def test_an_event_is_written_once_however_often_it_is_owed() -> None:
    scan = make_scan(state="failed")
    events.owe_for_failure(scan)
    assert Event.objects.filter(scan=scan).count() == 1


def test_ids_sort_by_time_and_payloads_stay_small() -> None:
    for n in range(3):
        make_scan(report=make_report(*(make_update(f"lib{n}-{m}", cves=("CVE-2026-1",) * 40) for m in range(60))))
    rows = list(Event.objects.order_by("created_at", "pk"))
    assert [row.pk for row in rows] == sorted(row.pk for row in rows)
    assert max(len(str(row.payload)) for row in rows) < 20_000
