"""Pages of schedules: which scans run when, what came of the last run, and making, changing and pausing them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_POST, require_safe
from django_celery_beat.models import PeriodicTask

from frontend.access import actor, all_hosts_only, may_manage_schedules, runners_only, schedulers_only
from frontend.forms import ScheduleForm, schedule_values
from frontend.risk_pages import CHECK
from scanner import periodic
from scanner.models import AuditEntry, Host
from scanner.webhooks.editing import Refused
from tasks import scans as tasks


@dataclass(frozen=True)
class Line:
    """A schedule in the list."""

    task: PeriodicTask
    wishes: dict[str, Any]
    runs: list[datetime]
    hosts: int  # that it would scan now
    ran: AuditEntry | None  # its last run that a worker has told of
    now: datetime

    @property
    def words(self) -> str:
        return periodic.in_words(self.wishes)

    @property
    def due(self) -> bool:
        return bool(self.runs) and self.runs[0] <= self.now

    @property
    def unheard(self) -> bool:
        """Beat has sent it, and no worker has told what came of it."""
        sent = self.task.last_run_at
        return sent is not None and (self.ran is None or self.ran.at < sent)

    @property
    def came(self) -> str:
        """What came of the last run."""
        after = self.ran.after if self.ran else {}
        under_way = after.get("under way already", 0)
        words = [f"{after.get('started', 0)} started"]
        words += [f"{under_way} under way already"] if under_way else []
        return ", ".join([*words, *([after["error"]] if "error" in after else [])])


def lines_of(rows: Sequence[PeriodicTask]) -> list[Line]:
    now = timezone.now()
    ran = AuditEntry.objects.last_of_each("schedule.ran", [str(task.pk) for task in rows])
    return [
        Line(
            task,
            wishes := periodic.wishes_of(task),
            periodic.upcoming(task, now),
            periodic.hosts_of(wishes["tags"]).count(),
            ran.get(str(task.pk)),
            now,
        )
        for task in rows
    ]


@require_safe
@all_hosts_only
def schedules(request: HttpRequest) -> HttpResponse:
    lines = lines_of(list(periodic.schedules()))
    context = {
        "lines": lines,
        "running": sum(line.task.enabled for line in lines),
        "beat": periodic.beat(),
        "others": periodic.others(),
        "left_out": Host.objects.active().filter(scheduled=False).count(),
        "may_change": may_manage_schedules(request.user),
    }
    return render(request, "frontend/schedules/list.html", context)


# --- making and changing ----------------------------------------------------------------------------


@require_http_methods(["GET", "HEAD", "POST"])
@schedulers_only
def new(request: HttpRequest) -> HttpResponse:
    return edit_form(request, PeriodicTask())


@require_http_methods(["GET", "HEAD", "POST"])
@schedulers_only
def edit(request: HttpRequest, pk: int) -> HttpResponse:
    return edit_form(request, schedule_of(pk))


def schedule_of(pk: int) -> PeriodicTask:
    task: PeriodicTask = get_object_or_404(periodic.schedules(), pk=pk)
    return task


def edit_form(request: HttpRequest, task: PeriodicTask) -> HttpResponse:
    """Posted with `check`, it only says when it would run."""
    checked = CHECK in request.POST
    form = ScheduleForm(request.POST if request.method == "POST" else None, initial=schedule_values(task))
    if request.method == "POST" and not checked:
        form.full_clean()
        form.show(periodic.problems_of(task, form.wishes))
        if not form.errors:
            periodic.save(task, form.wishes, actor(request))
            messages.success(request, f"{task.name} has been saved.")
            return redirect("schedules")
    context = {"form": form, "task": task, "checked": checked, "zones": periodic.zones(), **effect_of(form)}
    status = 422 if form.errors and not checked else 200
    return render(request, "frontend/schedules/edit.html", context, status=status)


def effect_of(form: ScheduleForm) -> dict[str, Any]:
    """When it would run and how many hosts that is about, as far as the form says it; else what is wrong."""
    filled = form if form.is_bound else ScheduleForm(form.initial)
    wrong = {name: str(errors[0]) for name, errors in filled.errors.items()}
    wishes = filled.wishes
    found: dict[str, Any] = {"hosts": None, "runs": [], "run_zone": wishes.get("time_zone"), "problems": []}
    if wishes.get("where") and "tags" not in wrong:
        found["hosts"] = periodic.hosts_of(wishes["tags"]).count()
    try:
        crontab = periodic.crontab_of(wishes)
        found["runs"] = periodic.next_runs(crontab.schedule, timezone.now(), periodic.SHOWN_RUNS)
    except Refused as error:
        found["problems"] = [wrong.get(each.field, each.message) for each in error.problems]
    return found


# --- acting -----------------------------------------------------------------------------------------


@require_http_methods(["GET", "HEAD", "POST"])
@schedulers_only
def delete(request: HttpRequest, pk: int) -> HttpResponse:
    task = schedule_of(pk)
    if request.method != "POST":
        return render(request, "frontend/schedules/delete.html", {"line": lines_of([task])[0]})
    periodic.delete(task, actor(request))
    messages.success(request, f"{task.name} has been deleted. Its runs stay in the audit log.")
    return redirect("schedules")


@require_POST
@schedulers_only
def switch(request: HttpRequest, pk: int) -> HttpResponse:
    """Pause or resume it."""
    task = schedule_of(pk)
    if task.enabled:
        periodic.pause(task, actor(request))
        messages.success(request, f"{task.name} is paused: it starts nothing until it is resumed.")
    else:
        periodic.resume(task, actor(request))
        messages.success(request, f"{task.name} runs again, at its next time.")
    return redirect("schedules")


@require_POST
@all_hosts_only
@runners_only
def run(request: HttpRequest, pk: int) -> HttpResponse:
    task = schedule_of(pk)
    try:
        tasks.run_schedule(task, actor(request))
    except tasks.QueueUnreachable as error:
        return render(request, "503.html", {"message": f"{error} Is Redis running?"}, status=503)
    messages.success(request, f"{task.name} is being run: a worker starts its scans.")
    return redirect("schedules")
