"""Whole scans of real apt hosts, into the real database."""

import threading
import time
from collections.abc import Callable
from typing import Any

import psutil
import pytest
from django.db import connection

from scanner import scanning
from scanner.models import Scan
from tests.hosts.apt import SECURITY, AptHost, Deb
from tests.make import make_host

pytestmark = pytest.mark.django_db

HANG = "#!/bin/sh\nsleep 600 & sleep 600\n"


def scanned(**fields: Any) -> Scan:
    scan = Scan.objects.create(host=make_host(), trigger="api", **fields)
    scanning.run(scan)
    return Scan.objects.get(pk=scan.pk)


def test_a_scan_counts_and_keeps_what_it_found(apt_host: Callable[..., AptHost]) -> None:
    apt_host()
    scan = scanned()
    assert (scan.state, scan.error, scan.gaps) == ("completed", "", [])
    assert (scan.security_updates, scan.total_updates, scan.total_packages) == (1, 2, 2)
    assert scan.level.label == "Low Risk"
    found = {update.name: (update.security, update.available_version) for update in scan.updates}
    assert found == {"openssl": (True, "3.0.2"), "vim": (False, "9.1")}
    assert "Debian-Security" in scan.updates.get(name="openssl").reason
    assert scan.duration and scan.metadata_date and scan.percent == 100


def test_a_refresh_sees_what_the_hosts_own_lists_do_not_know_yet(apt_host: Callable[..., AptHost]) -> None:
    host = apt_host()
    host.publish(SECURITY, Deb("vim", "9.2"))
    before = sorted((path.name, path.stat().st_mtime_ns) for path in host.lists.rglob("*"))
    assert scanned(refresh=False).security_updates == 1
    assert scanned().security_updates == 2
    assert sorted((path.name, path.stat().st_mtime_ns) for path in host.lists.rglob("*")) == before


def test_every_step_shows_and_percentages_only_rise(apt_host: Callable[..., AptHost]) -> None:
    apt_host()
    seen: list[tuple[int, int]] = []
    scan = Scan.objects.create(host=make_host(), trigger="api")
    scanning.run(scan, watcher=lambda number, percent, _: seen.append((number, scanning.overall(number, percent))))
    assert {number for number, _ in seen} == set(range(len(scanning.STEPS)))
    assert [percent for _, percent in seen] == sorted(percent for _, percent in seen)


def test_a_german_host_has_the_same_updates(apt_host: Callable[..., AptHost], monkeypatch: pytest.MonkeyPatch) -> None:
    apt_host()
    for name, value in {"LANG": "de_DE.UTF-8", "LANGUAGE": "de", "LC_ALL": "de_DE.UTF-8"}.items():
        monkeypatch.setenv(name, value)
    assert scanned().security_updates == 1


def test_missing_lists_fail_the_scan_with_the_next_step(apt_host: Callable[..., AptHost]) -> None:
    apt_host(update=False)
    scan = scanned(refresh=False)
    assert (scan.state, scan.security_updates, scan.level.label) == ("failed", None, "Unknown")
    assert "apt-get update" in scan.next_step


def test_a_missing_security_list_is_never_secure(apt_host: Callable[..., AptHost]) -> None:
    host = apt_host()
    host.list_of(SECURITY).unlink()
    scan = scanned(refresh=False)
    assert (scan.state, scan.security_updates, scan.total_updates, scan.level.label) == ("partial", None, 1, "Unknown")
    assert "bookworm-security" in scan.gaps[0]


def test_a_damaged_list_fails_the_scan_in_apts_own_words(apt_host: Callable[..., AptHost]) -> None:
    host = apt_host()
    host.list_of(SECURITY).write_text("Package: openssl\nthis is no list\n")
    for _ in range(2):  # apt itself trusts its half cache the second time
        scan = scanned(refresh=False)
        assert (scan.state, scan.total_updates) == ("failed", None)
        assert "E:" in scan.error and scan.next_step


def test_apt_that_cannot_be_run_fails_the_scan(
    apt_host: Callable[..., AptHost], monkeypatch: pytest.MonkeyPatch
) -> None:
    host = apt_host()
    monkeypatch.setenv("PATH", str(host.programs))
    scan = scanned()
    assert (scan.state, scan.level.label) == ("failed", "Unknown")
    assert "not on PATH" in scan.error


def test_a_hung_apt_is_stopped_with_all_its_children(apt_host: Callable[..., AptHost], settings: Any) -> None:
    host = apt_host()
    host.replace_program("apt-get", HANG)
    settings.SCAN_TIME_LIMIT = 1
    scan = scanned()
    assert (scan.state, scan.total_updates) == ("failed", None)
    assert "time limit" in scan.error
    assert not sleepers(host)


@pytest.mark.django_db(transaction=True)
def test_cancel_stops_a_running_scan_and_its_programs(apt_host: Callable[..., AptHost]) -> None:
    host = apt_host()
    host.replace_program("apt-get", HANG)
    scan = Scan.objects.create(host=make_host(), trigger="api")

    def cancel() -> None:
        while not sleepers(host):
            time.sleep(0.05)
        Scan.objects.get(pk=scan.pk).cancel()
        connection.close()

    thread = threading.Thread(target=cancel)
    thread.start()
    scanning.run(scan)
    thread.join()
    assert Scan.objects.get().state == "cancelled"
    assert not sleepers(host)


def test_nothing_unforeseen_leaves_a_scan_running(apt_host: Callable[..., AptHost], settings: Any) -> None:
    apt_host()
    settings.SCANNER_DATA = settings.SCANNER_DATA / "a-file"
    settings.SCANNER_DATA.parent.mkdir()
    settings.SCANNER_DATA.write_text("no folder")
    scan = scanned()
    assert scan.state == "failed"
    assert "NotADirectoryError" in scan.error and scan.next_step


def sleepers(host: AptHost) -> list[psutil.Process]:
    """The processes that our hung apt-get has started: they know this host."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        try:
            if (process.info["cmdline"] or [""])[0] == "sleep" and process.environ().get("APT_CONFIG") == str(
                host.apt_conf
            ):
                found.append(process)
        except psutil.Error:
            continue
    return found
