"""Schedules of scans: what may be said of one, by whichever door, and when it will run.

A schedule is a PeriodicTask of django-celery-beat that runs SCAN_HOSTS; Beat reads the same row.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Max, QuerySet
from django.utils import timezone
from django_celery_beat.models import CrontabSchedule, PeriodicTask

from scanner import audit, cron
from scanner.audit import Actor
from scanner.cron import DAYS
from scanner.models import Host, Tag
from scanner.webhooks.editing import Problem, Refused

SCAN_HOSTS = "tasks.scans.scan_hosts"
KINDS = ("hourly", "daily", "weekly", "monthly", "cron")
SHOWN_RUNS = 3
SILENCE = timedelta(minutes=2)  # lost scans are looked for every 15 seconds
DAY_NAMES = dict(zip(DAYS, ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"), strict=True))
ANY = "*"
NEVER = "This day never comes: no such month has it, or never on that day of the week."
LONGEST_NAME = 200


def schedules() -> QuerySet[PeriodicTask]:
    rows = PeriodicTask.objects.filter(task=SCAN_HOSTS).order_by("name")
    found: QuerySet[PeriodicTask] = rows.select_related("crontab", "interval", "solar", "clocked")
    return found


def others() -> QuerySet[PeriodicTask]:
    """What else Beat sends: the scanner's own sweeps."""
    rows: QuerySet[PeriodicTask] = PeriodicTask.objects.exclude(task=SCAN_HOSTS).order_by("name")
    return rows.select_related("crontab", "interval", "solar", "clocked")


# --- what one says ----------------------------------------------------------------------------------


def wishes_of(task: PeriodicTask) -> dict[str, Any]:
    """A schedule as one would ask for it. The kind is None for one that only the admin could make."""
    return {"name": task.name, **timing(task.crontab), "tags": tags_of(task)}


def timing(crontab: CrontabSchedule | None) -> dict[str, Any]:
    found: dict[str, Any] = dict.fromkeys(("kind", "minute", "time", "days", "day_of_month", "cron", "time_zone"))
    if crontab is None:
        return found
    minute, hour, day = crontab.minute, crontab.hour, crontab.day_of_month
    week, year = crontab.day_of_week, crontab.month_of_year
    found |= {"kind": "cron", "cron": f"{minute} {hour} {day} {year} {week}", "time_zone": str(crontab.timezone)}
    at = f"{int(hour):02}:{int(minute):02}" if hour.isdecimal() and minute.isdecimal() else ""
    if year != ANY:
        return found
    if minute.isdecimal() and (hour, day, week) == (ANY, ANY, ANY):
        found |= {"kind": "hourly", "minute": int(minute)}
    elif at and (day, week) == (ANY, ANY):
        found |= {"kind": "daily", "time": at}
    elif at and day == ANY and all(number.isdecimal() for number in week.split(",")):
        numbers = {int(number) % 7 for number in week.split(",")}
        days = [name for number, name in enumerate(DAYS, 1) if number % 7 in numbers]
        found |= {"kind": "weekly", "time": at, "days": days}
    elif at and week == ANY and day.isdecimal():
        found |= {"kind": "monthly", "time": at, "day_of_month": int(day)}
    return found


def tags_of(task: PeriodicTask) -> list[str]:
    """None: all hosts that periodic scans include."""
    try:
        return list(json.loads(task.kwargs or "{}").get("tags") or [])
    except (ValueError, AttributeError):  # the admin takes any text
        return []


def hosts_of(tags: Sequence[str]) -> QuerySet[Host]:
    """Who is scanned: hosts in use that periodic scans include; with tags those that have one of them."""
    hosts = Host.objects.active().filter(scheduled=True)
    return hosts.filter(pk__in=Host.objects.filter(tags__name__in=tags).values("pk")) if tags else hosts


def in_words(wishes: Mapping[str, Any]) -> str:
    """When it runs, without its zone."""
    if wishes["kind"] == "hourly":
        return f"Every hour at minute {wishes['minute']}"
    if wishes["kind"] == "daily":
        return f"Daily at {wishes['time']}"
    if wishes["kind"] == "weekly":
        return f"{', '.join(DAY_NAMES[day] for day in wishes['days'])} at {wishes['time']}"
    if wishes["kind"] == "monthly":
        return f"Monthly on day {wishes['day_of_month']} at {wishes['time']}"
    return f"Cron: {wishes['cron']}" if wishes["cron"] else "As the admin says"


# --- checked ----------------------------------------------------------------------------------------


@cache
def zones() -> list[str]:
    return sorted(available_timezones() - {"Factory", "localtime"})


def crontab_of(wishes: Mapping[str, Any]) -> CrontabSchedule:
    """When it would run; not stored. Raises Refused."""
    problems = timing_problems(wishes)
    fields = {}
    if wishes.get("kind") == "cron" and wishes.get("cron"):
        try:
            fields = cron.parse(str(wishes["cron"]))
        except cron.BadCron as error:
            problems.append(Problem("cron", str(error)))
    if problems:
        raise Refused(problems)
    crontab = CrontabSchedule(**(fields or fields_of(wishes)), timezone=ZoneInfo(wishes["time_zone"]))
    try:
        crontab.clean_fields()
        next_runs(crontab.schedule, timezone.now(), 1)
    except ValidationError as error:
        raise Refused([Problem("cron", " ".join(error.messages))]) from error
    except RuntimeError as error:  # Celery has tried 2,000 months
        raise Refused([Problem("cron", NEVER)]) from error
    return crontab


def timing_problems(wishes: Mapping[str, Any]) -> list[Problem]:
    kind, zone = wishes.get("kind"), wishes.get("time_zone")
    needs = {
        "hourly": ("minute", "Say at which minute, from 0 to 59."),
        "daily": ("time", "Say at what time, such as 02:00."),
        "weekly": ("days", "Choose at least one day."),
        "monthly": ("day_of_month", "Say on which day of the month, from 1 to 31."),
        "cron": ("cron", "Write five fields, such as 30 2 * * 1-5."),
    }
    if kind not in needs:
        return [Problem("kind", f"It is one of {', '.join(KINDS)}.")]
    field, words = needs[kind]
    problems = [Problem(field, words)] if wishes.get(field) in (None, "", []) else []
    if kind in ("weekly", "monthly") and not wishes.get("time"):
        problems.append(Problem("time", needs["daily"][1]))
    if zone not in zones():
        problems.append(Problem("time_zone", f"There is no time zone {zone!r}; an example: Europe/Berlin."))
    return problems


def fields_of(wishes: Mapping[str, Any]) -> dict[str, str]:
    """As crontab has it."""
    every = dict.fromkeys((field.name for field in cron.FIELDS), ANY)
    if wishes["kind"] == "hourly":
        return every | {"minute": str(wishes["minute"])}
    hour, minute = (str(int(part)) for part in wishes["time"].split(":"))
    every |= {"hour": hour, "minute": minute}
    if wishes["kind"] == "weekly":
        numbers = sorted((DAYS.index(day) + 1) % 7 for day in set(wishes["days"]))
        every["day_of_week"] = ",".join(map(str, numbers))
    if wishes["kind"] == "monthly":
        every["day_of_month"] = str(wishes["day_of_month"])
    return every


def problems_of(task: PeriodicTask, wishes: Mapping[str, Any]) -> list[Problem]:
    """All that would be refused."""
    problems = other_problems(task, wishes)
    try:
        crontab_of(wishes)
    except Refused as error:
        problems += error.problems
    return problems


def other_problems(task: PeriodicTask, wishes: Mapping[str, Any]) -> list[Problem]:
    name, tags = str(wishes.get("name", "")).strip(), wishes.get("tags") or []
    problems = []
    if not name or not name.isprintable() or len(name) > LONGEST_NAME:
        problems.append(Problem("name", f"Give it a name of up to {LONGEST_NAME} characters that can be shown."))
    elif PeriodicTask.objects.filter(name=name).exclude(pk=task.pk).exists():
        problems.append(Problem("name", f"There is a schedule {name!r} already."))
    known = set(Tag.objects.filter(name__in=tags).values_list("name", flat=True))
    if unknown := [tag for tag in tags if tag not in known]:
        problems.append(Problem("tags", f"There is no tag {unknown[0]!r}."))
    return problems


# --- changed ----------------------------------------------------------------------------------------


@transaction.atomic
def save(task: PeriodicTask, wishes: Mapping[str, Any], by: Actor) -> None:
    """Make it, or change all of it. Raises Refused, and then nothing is changed."""
    new = task.pk is None
    before = {} if new else told(task)
    if problems := problems_of(task, wishes):
        raise Refused(problems)
    crontab = crontab_of(wishes)
    if task.crontab is None or timing(task.crontab) != timing(crontab):
        task.crontab = stored(crontab)
        task.interval = task.solar = task.clocked = None
        task.last_run_at = None  # else Beat would make up at once for a time that has just become one of the past
    task.task, task.name = SCAN_HOSTS, str(wishes["name"]).strip()
    task.kwargs = json.dumps({"tags": list(wishes["tags"])} if wishes.get("tags") else {})
    task.save()
    after = told(task)
    if after != before:
        audit.record(by, "schedule.created" if new else "schedule.changed", task, before, after)


def stored(crontab: CrontabSchedule) -> CrontabSchedule:
    """The row that says the same; several schedules may share one."""
    same = {field.name: getattr(crontab, field.name) for field in cron.FIELDS} | {"timezone": crontab.timezone}
    found = CrontabSchedule.objects.filter(**same).first()
    if found is None:
        crontab.save()
    return found or crontab


def told(task: PeriodicTask) -> dict[str, Any]:
    """For the audit log."""
    wishes = wishes_of(task)
    about = {"name": task.name, "when": in_words(wishes), "time_zone": wishes["time_zone"]}
    return about | {"hosts": [f"tag {tag}" for tag in wishes["tags"]] or "all"}


@transaction.atomic
def pause(task: PeriodicTask, by: Actor) -> None:
    if task.enabled:
        task.enabled = False
        task.save()
        audit.record(by, "schedule.paused", task)


@transaction.atomic
def resume(task: PeriodicTask, by: Actor) -> None:
    """It runs at its next time; what was missed meanwhile is not made up for."""
    if not task.enabled:
        task.enabled = True
        task.save()
        audit.record(by, "schedule.resumed", task)


@transaction.atomic
def delete(task: PeriodicTask, by: Actor) -> None:
    audit.record(by, "schedule.deleted", task, before=told(task))
    task.delete()


# --- when it runs -----------------------------------------------------------------------------------


def next_runs(schedule: Any, since: datetime, count: int) -> list[datetime]:
    """When Beat will send a crontab that it has sent last at `since`, by Celery's own reckoning.

    A time that a change of the clock leaves out comes an hour later; one that comes twice is taken once, and an
    hourly schedule leaves that hour out. Raises RuntimeError for a day that never comes.
    """
    runs, at = [], since
    for _ in range(count):
        at = at.astimezone(schedule.tz)
        schedule.nowfun = lambda at=at: at
        start, wait, _ = schedule.remaining_delta(at)
        at = (start + wait).astimezone(UTC)
        runs.append(at)
    return runs


def upcoming(task: PeriodicTask, now: datetime, count: int = SHOWN_RUNS) -> list[datetime]:
    """The next times, none for one that is paused. The first is `now` where its time has come and Beat has not."""
    if not task.enabled:
        return []
    since = task.last_run_at or task.date_changed or now
    if task.start_time:
        since = max(since, task.start_time)
    if not task.crontab:  # only the admin makes these
        due = task.schedule.is_due(since)
        return [now if due.is_due else now + timedelta(seconds=due.next)]
    schedule = task.crontab.schedule
    try:
        runs = next_runs(schedule, since, count)
        return [now, *next_runs(schedule, now, count - 1)] if runs[0] <= now else runs
    except RuntimeError:
        return []


def next_scan(host: Host, now: datetime) -> datetime | None:
    """When the next schedule scans this host; None where none does."""
    if host.archived_at or not host.scheduled:
        return None
    own = set(host.tag_names)
    tasks = [task for task in schedules().filter(enabled=True) if not tags_of(task) or own & set(tags_of(task))]
    return min((run for task in tasks for run in upcoming(task, now, 1)), default=None)


# --- Beat -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Beat:
    """Whether anybody sends what is due."""

    last: datetime | None  # when it sent something

    @property
    def away(self) -> bool:
        return self.last is None or timezone.now() - self.last > SILENCE


def beat() -> Beat:
    return Beat(PeriodicTask.objects.aggregate(last=Max("last_run_at"))["last"])


def default_zone() -> str:
    return str(settings.TIME_ZONE)
