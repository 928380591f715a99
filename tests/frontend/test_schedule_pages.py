"""Pages of schedules: what the list says, what the form takes, and who may."""

import re
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from django_celery_beat.models import CrontabSchedule, PeriodicTask
from kombu.exceptions import OperationalError as BrokerAway

from scanner import audit, periodic
from scanner.models import AuditEntry
from tasks import scans as tasks
from tests.make import make_host, make_user

pytestmark = pytest.mark.django_db

LIST = "/security/schedules/"
NEW = f"{LIST}new/"
BOSS = audit.Actor("boss", audit.How.PAGE)


@pytest.fixture(autouse=True)
def nothing_scheduled() -> None:
    PeriodicTask.objects.all().delete()


@pytest.fixture
def keeper(client: Client) -> Client:
    client.force_login(make_user("keeper", manage_schedules=True))
    return client


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    monkeypatch.setattr(tasks.scan_hosts, "apply_async", lambda **options: found.append(options))
    return found


def form(**fields: Any) -> dict[str, Any]:
    return {"name": "Weekly", "kind": "weekly", "days": ["mon", "fri"], "time": "03:30", "where": "all"} | {
        "time_zone": "Europe/Berlin",
        **fields,
    }


def make_schedule(**fields: Any) -> PeriodicTask:
    task = PeriodicTask()
    wishes = {"name": "Nightly", "kind": "daily", "time": "02:00", "time_zone": "UTC", "tags": []}
    periodic.save(task, wishes | fields, BOSS)
    return task


def text_of(client: Client, address: str = LIST) -> str:
    return client.get(address).content.decode()


def test_staff_see_schedules_and_only_who_may_gets_buttons_and_forms(client: Client) -> None:
    task = make_schedule()
    changing = [NEW, f"{LIST}{task.pk}/edit/", f"{LIST}{task.pk}/delete/"]
    for page in (LIST, *changing):
        assert client.get(page).status_code == 302
    client.force_login(make_user("guest", run=False))
    assert "Nightly" in text_of(client) and "New schedule" not in text_of(client) and "Run now" not in text_of(client)
    for page in changing:
        assert "may not change schedules" in text_of(client, page)
    for action in ("switch", "run", "delete"):
        assert client.post(f"{LIST}{task.pk}/{action}/").status_code == 403
    assert client.post(NEW, form()).status_code == 403
    task.refresh_from_db()
    assert task.enabled


def test_a_schedule_is_made_and_stands_in_the_list_with_its_next_runs(keeper: Client) -> None:
    make_host("web-1").set_tags(["prod"])
    make_host("db-1")
    keeper.post(NEW, form(where="tags", tags="prod"))
    task = PeriodicTask.objects.get()
    assert (task.task, task.kwargs, task.enabled) == ("tasks.scans.scan_hosts", '{"tags": ["prod"]}', True)
    page = text_of(keeper)
    assert "Mon, Fri at 03:30" in page and "Europe/Berlin" in page and "1 host now" in page
    assert page.count(", 03:30 CE") == 3
    assert AuditEntry.objects.get().actor == "keeper"


def test_what_is_wrong_is_said_at_its_field_and_nothing_typed_is_lost(keeper: Client) -> None:
    answer = keeper.post(NEW, form(name="", kind="cron", cron="0 25 * * *", where="tags", tags="nowhere"))
    page = answer.content.decode()
    assert answer.status_code == 422 and not PeriodicTask.objects.exists()
    at_the_top = page.partition('role="alert"')[2].partition("</p>")[0]
    for words in ("This field is required", "The hour 25 is not between 0 and 23", "There is no tag nowhere"):
        assert words in at_the_top and f'class="error">{words}' in re.sub(r' id="[^"]*"', "", page)
    assert 'value="0 25 * * *"' in page and 'value="nowhere"' in page
    PeriodicTask.objects.create(name="Weekly", task="any", crontab=CrontabSchedule.objects.create())
    page = keeper.post(NEW, form(kind="cron", cron="0 2 31 2 *")).content.decode()
    assert 'cron">Cron expression</a>: This day never comes' in page and "There is a schedule" in page


def test_what_is_wrong_in_a_field_of_another_kind_does_not_matter(keeper: Client) -> None:
    keeper.post(NEW, form(minute="999", day_of_month="x", cron="nonsense"))
    assert PeriodicTask.objects.get().name == "Weekly"


def test_the_form_says_when_it_would_run_before_it_is_saved(keeper: Client) -> None:
    make_host()
    shown = keeper.post(NEW, form(check="1"))
    assert shown.status_code == 200 and not PeriodicTask.objects.exists()
    assert shown.content.decode().count(", 03:30 CE") == 3 and "1 host that is there now" in shown.content.decode()
    wrong = keeper.post(NEW, form(kind="weekly", days=[], check="1")).content.decode()
    assert "cannot be said yet. Choose at least one day." in wrong
    assert "Its next runs" in text_of(keeper, NEW)


def test_a_schedule_is_changed_and_its_form_shows_what_it_says(keeper: Client) -> None:
    task = make_schedule(kind="monthly", day_of_month=31)
    page = keeper.get(f"{LIST}{task.pk}/edit/")
    values = {name: page.context["form"][name].value() for name in ("kind", "day_of_month", "time", "time_zone")}
    assert values == {"kind": "monthly", "day_of_month": 31, "time": "02:00", "time_zone": "UTC"}
    keeper.post(f"{LIST}{task.pk}/edit/", form(name="Renamed", kind="hourly", minute="5"))
    task = PeriodicTask.objects.get()
    assert (task.name, str(task.crontab)[:9]) == ("Renamed", "5 * * * *")


def test_it_is_paused_in_words_and_resumed(keeper: Client) -> None:
    task = make_schedule()
    keeper.post(f"{LIST}{task.pk}/switch/")
    assert "none while it is paused" in text_of(keeper) and "All schedules of scans are paused" in text_of(keeper)
    keeper.post(f"{LIST}{task.pk}/switch/")
    assert "paused" not in text_of(keeper).split("<main")[1]


def test_deleting_asks_first(keeper: Client) -> None:
    task = make_schedule()
    assert "Delete Nightly?" in text_of(keeper, f"{LIST}{task.pk}/delete/")
    assert PeriodicTask.objects.exists()
    keeper.post(f"{LIST}{task.pk}/delete/")
    assert not PeriodicTask.objects.exists()
    assert "No scan is scheduled" in text_of(keeper)


def test_run_now_tells_a_worker_who_asked(keeper: Client, asked: list[dict[str, Any]]) -> None:
    task = make_schedule()
    keeper.post(f"{LIST}{task.pk}/run/")
    assert asked[0]["kwargs"] == {"tags": [], "by": ["keeper", "page"]}
    assert AuditEntry.objects.all()[0].action == "schedule.run"


def test_without_a_queue_run_now_says_so(keeper: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(**options: Any) -> None:
        raise BrokerAway

    monkeypatch.setattr(tasks.scan_hosts, "apply_async", away)
    answer = keeper.post(f"{LIST}{make_schedule().pk}/run/")
    assert answer.status_code == 503 and "Is Redis running?" in answer.content.decode()


def test_the_last_run_says_what_came_of_it(keeper: Client) -> None:
    task = make_schedule()
    assert "none yet" in text_of(keeper)
    PeriodicTask.objects.filter(pk=task.pk).update(last_run_at=timezone.now() - timedelta(minutes=1))
    assert "no worker has told what came of it" in text_of(keeper)
    audit.record(BOSS, "schedule.ran", task, after={"started": 3, "under way already": 1})
    assert "3 started, 1 under way already, asked for by boss" in text_of(keeper)


def test_a_beat_that_is_away_is_said_and_what_is_due_waits_for_it(keeper: Client) -> None:
    task = make_schedule()
    assert "it has never given a sign of life" in text_of(keeper)
    PeriodicTask.objects.filter(pk=task.pk).update(last_run_at=timezone.now() - timedelta(days=2))
    page = text_of(keeper)
    assert "No schedule runs while Beat is away" in page and "due now, once Beat is back" in page
    PeriodicTask.objects.filter(pk=task.pk).update(last_run_at=timezone.now())
    assert "Beat is away" not in text_of(keeper)


def test_other_tasks_of_beat_are_shown_and_cannot_be_changed_here(keeper: Client) -> None:
    task = make_schedule()
    PeriodicTask.objects.filter(pk=task.pk).update(task="tasks.webhooks.send_pending", name="send what is owed")
    assert "send what is owed" in text_of(keeper)
    for action in ("edit", "delete"):
        assert keeper.get(f"{LIST}{task.pk}/{action}/").status_code == 404
    for action in ("switch", "run"):
        assert keeper.post(f"{LIST}{task.pk}/{action}/").status_code == 404


def test_the_dashboard_says_when_a_host_is_scanned_next(keeper: Client) -> None:
    make_host("web-1")
    dashboard = "/security/package-scanner/?host=web-1"
    assert "No scan is planned" in text_of(keeper, dashboard)
    task = make_schedule()
    assert "Next scan " in text_of(keeper, dashboard)
    PeriodicTask.objects.filter(pk=task.pk).update(last_run_at=timezone.now() - timedelta(days=2))
    assert "A scan is due" in text_of(keeper, dashboard)
