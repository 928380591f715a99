"""Schedules of scans for programs: /api/v1/schedules."""

from typing import Annotated, Any, Literal

from django.db import transaction
from django.http import Http404, HttpRequest
from django.urls import reverse
from django_celery_beat.models import PeriodicTask
from ninja import Field, Router, Schema, Status
from ninja.errors import HttpError
from pydantic import ConfigDict

from frontend import api_shapes as shapes
from frontend.access import may_manage_schedules
from frontend.api_doors import actor, door_for
from frontend.paging import Id, Shape, nothing_unknown
from frontend.schedule_pages import Line, lines_of
from scanner import periodic
from scanner.document import utc
from scanner.models import ApiToken
from tasks import scans as tasks

router = Router(tags=["schedules"])
router.add_decorator(nothing_unknown)
MAY_MANAGE = door_for(ApiToken.Scope.ADMIN, may_manage_schedules)
MAY_RUN = door_for(ApiToken.Scope.SCAN, about_all=True)

Kind = Literal["hourly", "daily", "weekly", "monthly", "cron"]
Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
Words = Annotated[str, Field(pattern=r"^[^\x00]*$")]
Time = Annotated[str, Field(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$", examples=["02:00"])]


Name = Annotated[Words, Field(min_length=1, max_length=periodic.LONGEST_NAME, examples=["Nightly"])]
Zone = Annotated[Words, Field(max_length=100, examples=["Europe/Berlin"])]
Tags = Annotated[
    list[Annotated[Words, Field(max_length=50)]],
    Field(max_length=100, description="Hosts with one of them; none: all hosts that periodic scans include."),
]


class When(Schema):
    """Each kind needs a field or two of its own; the others are left alone."""

    model_config = ConfigDict(extra="forbid")

    minute: int | None = Field(None, ge=0, le=59, description="Of an hourly one.")
    time: Time | None = Field(None, description="Of a daily, weekly or monthly one.")
    days: list[Day] | None = Field(None, max_length=7, description="Of a weekly one.")
    day_of_month: int | None = Field(
        None, ge=1, le=31, description="Of a monthly one. A month without that day is left out."
    )
    cron: Annotated[Words, Field(max_length=500)] | None = Field(
        None,
        description="Minute, hour, day of the month, month, day of the week. Both days must fit.",
        examples=["30 2 * * 1-5"],
    )


class NewSchedule(When):
    name: Name
    kind: Kind
    time_zone: Zone = Field(default_factory=periodic.default_zone, description="Else the configured one.")
    tags: Tags = []


class ChangedSchedule(When):
    """Only what is to change. `paused` stops and resumes it."""

    name: Name | None = None
    kind: Kind | None = None
    time_zone: Zone | None = None
    tags: Tags | None = None
    paused: bool | None = None


class LastRun(Shape):
    at: str = Field(examples=shapes.DATE)
    started: int | None = Field(description="Scans.")
    under_way_already: int | None = Field(description="Hosts that were left alone.")
    error: str | None
    asked_for_by: str | None = Field(description="Null: Beat sent it.")


class ScheduleOut(Shape):
    id: int
    name: str
    kind: Kind | None = Field(description="Null: only the admin can say when it runs.")
    minute: int | None
    time: str | None = Field(examples=["02:00"])
    days: list[Day] | None
    day_of_month: int | None
    cron: str | None = Field(description="The same in five fields.")
    time_zone: str | None
    tags: list[str] = Field(description="None: all hosts that periodic scans include.")
    hosts: int = Field(description="That it would scan now.")
    paused: bool
    next_runs: list[str] = Field(
        description="Up to three. One in the past or now is due, and waits for Beat. None while it is paused.",
        examples=[shapes.DATE],
    )
    last_sent: str | None = Field(description="When Beat sent it last, since it was last changed.")
    last_run: LastRun | None = Field(description="That a worker has told of.")
    url: str


class SchedulesOut(Shape):
    items: list[ScheduleOut]
    beat_last_seen: str | None = Field(description="When Beat last sent anything.", examples=shapes.DATE)
    beat_running: bool = Field(description="Without it no schedule runs.")


@router.get("/schedules", response=SchedulesOut)
def list_schedules(request: HttpRequest) -> Any:
    """All schedules of scans, by name."""
    beat = periodic.beat()
    items = [shown(line) for line in lines_of(list(periodic.schedules()))]
    return {"items": items, "beat_last_seen": utc(beat.last), "beat_running": not beat.away}


@router.post("/schedules", response={201: ScheduleOut}, auth=MAY_MANAGE)
def create_schedule(request: HttpRequest, wishes: NewSchedule) -> Any:
    task = PeriodicTask()
    periodic.save(task, wishes.dict(), actor(request))
    return Status(201, answer(task))


@router.get("/schedules/{pk}", response=ScheduleOut)
def get_schedule(request: HttpRequest, pk: Id) -> Any:
    return answer(schedule_of(pk))


@router.patch("/schedules/{pk}", response=ScheduleOut, auth=MAY_MANAGE)
def change_schedule(request: HttpRequest, pk: Id, wishes: ChangedSchedule) -> Any:
    """Change what is named, and nothing else."""
    said = {name: value for name, value in wishes.dict(exclude_unset=True).items() if value is not None}
    paused = said.pop("paused", None)
    with transaction.atomic():
        task = schedule_of(pk)
        if said:
            periodic.save(task, periodic.wishes_of(task) | said, actor(request))
        if paused is not None:
            (periodic.pause if paused else periodic.resume)(task, actor(request))
    return answer(task)


@router.delete("/schedules/{pk}", response={204: None}, auth=MAY_MANAGE)
def delete_schedule(request: HttpRequest, pk: Id) -> Any:
    periodic.delete(schedule_of(pk), actor(request))
    return Status(204, None)


@router.post("/schedules/{pk}/run", response={202: ScheduleOut, 503: shapes.ProblemOut}, auth=MAY_RUN)
def run_schedule(request: HttpRequest, pk: Id) -> Any:
    """Have a worker start its scans now, whether it is paused or not. 503: nobody could be told."""
    task = schedule_of(pk)
    try:
        tasks.run_schedule(task, actor(request))
    except tasks.QueueUnreachable as error:
        raise HttpError(503, f"{error} Is Redis running?") from error
    return Status(202, answer(task))


def schedule_of(pk: int) -> PeriodicTask:
    task: PeriodicTask | None = periodic.schedules().filter(pk=pk).first()
    if task is None:
        raise Http404(f"There is no schedule {pk}.")
    return task


def answer(task: PeriodicTask) -> shapes.Shown:
    return shown(lines_of([task])[0])


def shown(line: Line) -> shapes.Shown:
    ran = line.ran
    return line.wishes | {
        "id": line.task.pk,
        "hosts": line.hosts,
        "paused": not line.task.enabled,
        "next_runs": [utc(run) for run in line.runs],
        "last_sent": utc(line.task.last_run_at),
        "last_run": {
            "at": utc(ran.at),
            "started": ran.after.get("started"),
            "under_way_already": ran.after.get("under way already"),
            "error": ran.after.get("error"),
            "asked_for_by": None if ran.how == "beat" else ran.actor,
        }
        if ran
        else None,
        "url": f"{reverse('schedules')}#schedule-{line.task.pk}",
    }
