"""The page of settings that may be changed while the scanner runs."""

import os
from typing import Any

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods

from frontend.access import actor, all_hosts_only, may_change_settings
from scanner import run_time
from scanner.models import Setting


@require_http_methods(["GET", "HEAD", "POST"])
@all_hosts_only
def settings(request: HttpRequest) -> HttpResponse:
    """Posted: `name` and its `value`, or `default` to go back to that."""
    if request.method != "POST":
        return page(request)
    if not may_change_settings(request.user):
        return render(request, "403.html", {"message": "Your account may not change settings."}, status=403)
    setting = run_time.SETTINGS.get(request.POST.get("name", ""))
    if setting is None:
        raise Http404("There is no such setting.")
    if "default" in request.POST:
        run_time.back_to_default(setting, actor(request))
        messages.success(request, f"{setting.label}: {setting.default} {setting.unit} again, as the environment says.")
        return redirect("settings")
    typed = request.POST.get("value", "")
    try:
        number = run_time.read(setting, typed)
    except run_time.NotPossible as error:
        return page(request, {setting.name: (typed, str(error))}, 422)
    run_time.choose(setting, number, actor(request))
    messages.success(request, f"{setting.label}: {number} {setting.unit} from now on.")
    return redirect("settings")


def page(request: HttpRequest, wrong: dict[str, tuple[str, str]] | None = None, status: int = 200) -> HttpResponse:
    """`wrong`: what was typed, and why it cannot be."""
    rows = Setting.objects.in_bulk()
    lines: list[dict[str, Any]] = []
    for setting in run_time.SETTINGS.values():
        row = rows.get(setting.name)
        typed, error = (wrong or {}).get(setting.name, (row.value if row else setting.default, ""))
        source = "the environment" if setting.name in os.environ else "the scanner itself"
        lines.append({"setting": setting, "row": row, "typed": typed, "error": error, "source": source})
    context = {"lines": lines, "may_change": may_change_settings(request.user), "seconds": int(run_time.KEPT)}
    return render(request, "frontend/schedules/settings.html", context, status=status)
