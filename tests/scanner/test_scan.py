"""A scan's row: what may stand in it, who may change it, and what it means."""

from datetime import timedelta
from importlib import import_module

import pytest
from django.apps import apps
from django.db import IntegrityError, transaction
from django.utils import timezone

from scanner import risk, scanning
from scanner.models import Host, OpenUpdate, Package, PackageSet, Scan, Snapshot, Update
from scanner.models.host import OF_CURRENT
from scanner.package_managers.interface import Gap
from tests.make import make_host, make_report, make_scan, make_update

pytestmark = pytest.mark.django_db

WEEK = timedelta(days=7)


@pytest.mark.parametrize(
    ("count", "status", "label"),
    [
        (0, "success", "Secure"),
        (1, "warning", "Low Risk"),
        (4, "warning", "Low Risk"),
        (5, "warning", "Medium Risk"),
        (19, "warning", "Medium Risk"),
        (20, "danger", "High Risk"),
        (5000, "danger", "High Risk"),
        (None, "unknown", "Unknown"),
    ],
)
def test_the_status_levels_are_the_table_of_the_product(count: int | None, status: str, label: str) -> None:
    now = timezone.now()
    level = risk.level(count, True, now, now, WEEK)
    assert (level.status, level.label) == (status, label)


def test_old_or_undated_metadata_makes_any_count_unknown() -> None:
    now = timezone.now()
    assert risk.level(0, True, now - WEEK - timedelta(seconds=1), now, WEEK) == risk.UNKNOWN
    assert risk.level(30, True, None, now, WEEK) == risk.UNKNOWN


def test_a_host_that_was_never_scanned_is_unknown() -> None:
    assert make_host().level() == risk.UNKNOWN


def test_a_partial_scan_is_never_secure_but_says_what_it_knows() -> None:
    gap = (Gap("A list is missing.", security=False),)
    assert make_scan(report=make_report(gaps=gap)).level == risk.UNKNOWN
    assert make_scan(report=make_report(make_update(), gaps=gap)).level.label == "Low Risk"


def test_a_hidden_security_archive_makes_the_count_null_not_zero() -> None:
    scan = make_scan(report=make_report(make_update(security=None), gaps=(Gap("bookworm-security is missing."),)))
    assert (scan.state, scan.security_updates, scan.total_updates) == ("partial", None, 1)


@pytest.mark.parametrize("state", ["failed", "cancelled", "queued", "running"])
def test_a_scan_that_has_not_completed_cannot_have_counts(state: str) -> None:
    scan = make_scan(state=state)
    assert (scan.security_updates, scan.total_updates, scan.total_packages) == (None, None, None)
    assert scan.level == risk.UNKNOWN
    with pytest.raises(IntegrityError), transaction.atomic():
        Scan.objects.filter(pk=scan.pk).update(total_updates=0)


def test_a_completed_scan_cannot_be_without_counts() -> None:
    scan = make_scan(state="running")
    with pytest.raises(IntegrityError), transaction.atomic():
        Scan.objects.filter(pk=scan.pk).update(state="completed")


def test_a_pinned_security_fix_is_counted_apart() -> None:
    scan = make_scan(report=make_report(make_update("pinned-lib", blocked="pinned"), make_update("other")))
    assert (scan.security_updates, scan.total_updates, scan.pinned_security_updates) == (1, 1, 1)
    assert [update.name for update in scan.updates.security()] == ["other"]
    assert [update.name for update in scan.updates.pinned()] == ["pinned-lib"]


def test_a_failed_scan_keeps_the_last_good_one() -> None:
    good = make_scan(report=make_report(make_update()))
    failed = make_scan(state="failed")
    host = Host.objects.get()
    assert (host.last_good_scan(), host.last_scan()) == (good, failed)
    assert host.level().label == "Low Risk"


def test_scanning_an_unchanged_host_adds_one_scan_and_nothing_else() -> None:
    def rows() -> dict[str, int]:
        return {model.__name__: model.objects.count() for model in (PackageSet, Package, Snapshot, Update, OpenUpdate)}

    report = make_report(make_update("a"), make_update("b", security=False))
    make_scan(report=report)
    before = rows()
    shuffled = make_report(make_update("b", security=False), make_update("a"))
    again = make_scan(report=shuffled)
    assert rows() == before
    assert Scan.objects.count() == 2
    assert again.updates.count() == 2 and again.packages.count() == 3


def test_new_updates_for_the_same_packages_store_no_package_twice() -> None:
    make_scan(report=make_report(make_update("a")))
    make_scan(report=make_report(make_update("a", available_version="1.0-3")))
    assert (Snapshot.objects.count(), PackageSet.objects.count(), Package.objects.count()) == (2, 1, 3)


def test_a_second_request_gets_the_first_scan() -> None:
    host = make_host()
    first, new = Scan.objects.request(host, trigger="api")
    second, newer = Scan.objects.request(host, trigger="dashboard")
    assert (new, newer) == (True, False)
    assert first == second
    with pytest.raises(IntegrityError), transaction.atomic():
        Scan.objects.create(host=host, trigger="api")


def test_a_scan_is_taken_once() -> None:
    scan = make_scan(state="queued")
    same = Scan.objects.get(pk=scan.pk)
    assert scan.take()
    assert not same.take()


def test_a_redelivered_scan_is_taken_over_and_the_first_worker_stores_nothing() -> None:
    first = make_scan(state="running")
    second = Scan.objects.get(pk=first.pk)
    assert second.take(redelivered=True)
    with pytest.raises(scanning.ClaimLost):
        scanning.store(first, make_report(make_update()))
    assert Snapshot.objects.count() == 0, "the lost scan's transaction was rolled back"
    scanning.store(second, make_report())
    assert Scan.objects.get().state == "completed"


def test_a_scan_that_kills_its_worker_again_and_again_ends() -> None:
    scan = make_scan(state="running")
    for _ in range(2):
        assert Scan.objects.get(pk=scan.pk).take(redelivered=True)
    scanning.run(Scan.objects.get(pk=scan.pk), redelivered=True)
    scan.refresh_from_db()
    assert scan.state == "failed"
    assert "died 3 times" in scan.error


def test_a_scan_whose_worker_vanished_fails_with_the_reason_and_may_be_started_again() -> None:
    scan = make_scan(state="running", heartbeat_at=timezone.now() - timedelta(seconds=31))
    scanning.fail_lost()
    scan.refresh_from_db()
    assert scan.state == "failed"
    assert "vanished" in scan.error and scan.next_step
    assert Scan.objects.request(scan.host, trigger="api")[1]


def test_a_scan_with_a_sign_of_life_is_left_alone() -> None:
    scan = make_scan(state="running", started_at=timezone.now() - timedelta(hours=1))
    scanning.fail_lost()
    scan.refresh_from_db()
    assert scan.state == "running"


def test_a_scan_that_no_worker_takes_is_not_queued_for_ever() -> None:
    scan = make_scan(state="queued", created_at=timezone.now() - timedelta(seconds=901))
    scanning.fail_lost()
    scan.refresh_from_db()
    assert scan.state == "failed"
    assert "host.web-1" in scan.next_step


def test_a_late_worker_does_not_take_a_scan_that_was_given_up() -> None:
    scan = make_scan(state="failed")
    scanning.run(Scan.objects.get(pk=scan.pk), redelivered=True)
    scan.refresh_from_db()
    assert (scan.state, scan.attempts) == ("failed", 1)


def test_a_queued_scan_is_cancelled_at_once_and_an_ended_one_not_at_all() -> None:
    scan = make_scan(state="queued")
    assert scan.cancel()
    assert scan.state == "cancelled"
    assert not scan.take()
    assert not make_scan().cancel()


def test_an_open_security_update_keeps_its_first_date() -> None:
    first = make_scan(report=make_report(make_update("a")))
    make_scan(report=make_report(make_update("a"), make_update("b")))
    host = Host.objects.get()
    oldest = host.open_updates.oldest()
    assert oldest and (oldest.name, oldest.since, oldest.first_scan) == ("a", first.started_at, first)
    make_scan(report=make_report(make_update("b")))
    assert [row.name for row in host.open_updates.all()] == ["b"]


def test_a_partial_or_failed_scan_closes_no_open_update() -> None:
    make_scan(report=make_report(make_update("a")))
    make_scan(report=make_report(gaps=(Gap("A list is missing."),)))
    make_scan(state="failed")
    assert [row.name for row in OpenUpdate.objects.all()] == ["a"]


def test_a_host_keeps_what_lists_say_of_its_current_scan() -> None:
    host = make_host()
    earlier, newest = (
        make_scan(host),
        make_scan(host, report=make_report(make_update("bash")), distribution="debian:12"),
    )
    make_scan(host, Scan.State.FAILED)
    host.refresh_from_db()
    assert host.current == newest != earlier
    for name in OF_CURRENT:
        assert getattr(host, f"current_{name}") == getattr(newest, name), name


def test_when_its_current_scan_is_deleted_nothing_is_known_of_a_host() -> None:
    scan = make_scan(report=make_report(make_update("bash")))
    scan.delete()
    host = Host.objects.with_severity(timezone.now()).get()
    assert (host.current, host.severity) == (None, "unknown")
    assert not any(getattr(host, f"current_{name}") for name in OF_CURRENT)


def test_hosts_of_before_get_what_they_did_not_keep_then() -> None:
    make_scan(report=make_report(make_update("bash")))
    wanted = Host.objects.values().get()
    Host.objects.update(**{f"current_{name}": None if name == "snapshot" else "" for name in ("snapshot", "state")})
    assert Host.objects.values().get() != wanted
    import_module("scanner.migrations.0007_hosts_keep_counts").copy_from_scans(apps, None)
    assert Host.objects.values().get() == wanted
