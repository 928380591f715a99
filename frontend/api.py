"""Doors for programs: JSON in, JSON out."""

import asyncio
import json
import time
from collections.abc import Callable
from functools import wraps
from typing import Any

from asgiref.sync import sync_to_async
from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.cache import add_never_cache_headers
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST, require_safe

from frontend import access, live
from scanner.document import document, exposed, summary, utc
from scanner.models import Host, Scan
from scanner.models.host import HostQuerySet
from scanner.package_managers import NAMES
from scanner.vulnerabilities.exposure import fixes
from tasks import scans as tasks

WIDGET_EXTRAS = (
    *("known_exploited", "max_severity", "max_epss", "oldest_security_update_hours"),
    *("late_security_updates", "target_hours", "fix_first"),
)
WAIT = 30  # seconds that a request waits for its scan
LOOK = 0.25  # seconds between two looks at it


def refusal(status: int, message: str) -> JsonResponse:
    response = JsonResponse({"success": False, "message": message}, status=status)
    if status == 401:
        response["WWW-Authenticate"] = "Bearer"
    return response


def door(scope: str) -> Callable[[Callable[..., Any]], Callable[..., HttpResponseBase]]:
    """A view that gets its caller, and answers JSON whatever goes wrong."""

    def guard(view: Callable[..., Any]) -> Callable[..., HttpResponseBase]:
        @csrf_exempt
        @wraps(view)
        def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            try:
                answer = view(request, access.caller(request, scope), *args, **kwargs)
                if isinstance(answer, HttpResponse):
                    add_never_cache_headers(answer)
                return answer
            except access.NotSignedIn:
                return refusal(401, "Sign in, or send a valid token as `Authorization: Bearer …`.")
            except PermissionDenied as error:
                return refusal(403, str(error))
            except Http404 as error:
                return refusal(404, str(error))

        return guarded

    return guard


def chosen_host(name: str, hosts: HostQuerySet) -> Host | None:
    """The named one of these hosts (404 if there is none); without a name this process's own, or else the first."""
    if name:
        host = hosts.filter(name=name).first()
        if host is None:
            raise Http404(f"There is no host {name!r}.")
        return host
    return hosts.filter(name=settings.SCAN_HOST).first() or hosts.first()


@require_safe
@door("read")
def widget(request: HttpRequest, caller: access.Caller) -> JsonResponse:
    """How a host stands (`?host=`): its last scan with counts, and the level that this still means now."""
    host = chosen_host(request.GET.get("host", ""), access.visible_hosts(caller))
    scan = host.last_good_scan() if host else None
    level = host.level() if host else None
    more = exposed(scan, fixes(scan)) if scan else {}
    return JsonResponse(
        {
            "status": level.status if level else "unknown",
            "status_label": level.label if level else "Unknown",
            "security_updates": scan.security_updates if scan else None,
            "total_updates": scan.total_updates if scan else None,
            "total_packages": scan.total_packages if scan else None,
            "scan_date": utc(scan.date) if scan else None,
            "package_manager": scan.package_manager if scan else None,
            **{name: more.get(name) for name in WIDGET_EXTRAS},
        }
    )


@require_safe
@door("read")
def scan_document(request: HttpRequest, caller: access.Caller, pk: int) -> JsonResponse:
    scans = access.visible_scans(caller).select_related("host", "snapshot")
    return JsonResponse(document(get_object_or_404(scans, pk=pk)))


@require_safe
@door("read")
def state(request: HttpRequest, caller: access.Caller) -> JsonResponse:
    """What the socket's snapshot says, for a page that has no socket."""
    return JsonResponse(live.snapshot(request.GET.get("host", ""), caller.sight))


@csrf_exempt
@require_POST
async def run(request: HttpRequest) -> HttpResponseBase:
    """Start a scan and wait for it up to 30 s, or, with `Prefer: respond-async` (RFC 7240), answer at once."""
    asked = await sync_to_async(ask)(request)
    by_form = "text/html" in request.headers.get("Accept", "")  # sent by a browser without JavaScript
    if by_form and isinstance(asked, JsonResponse):
        return await sync_to_async(refusal_page)(request, asked)
    if not isinstance(asked, Scan):
        return asked
    if by_form:
        return redirect(asked.host)
    patient = "respond-async" not in request.headers.get("Prefer", "").lower()
    scan = await ended(asked.pk, WAIT) if patient else None
    if scan is None:
        return await sync_to_async(accepted)(asked.pk, patient)
    return await sync_to_async(outcome)(scan)


@door("scan")
def ask(request: HttpRequest, caller: access.Caller) -> Any:
    """The scan, or the response that says why there is none."""
    wishes = request.POST
    if request.content_type == "application/json":
        try:
            wishes = json.loads(request.body or b"{}")
        except ValueError:
            return refusal(400, "The body is not JSON.")
        if not isinstance(wishes, dict):
            return refusal(400, "The body is not a JSON object.")
    unknown = set(wishes) - {"host", "package_manager", "csrfmiddlewaretoken"}
    if unknown:
        return refusal(400, f"Unknown: {', '.join(sorted(unknown))}. Known are host and package_manager.")
    manager = str(wishes.get("package_manager", ""))
    if manager and manager not in NAMES:
        return refusal(400, f"There is no package manager {manager!r}. Known are {', '.join(NAMES)}.")
    host = chosen_host(str(wishes.get("host", "")), access.visible_hosts(caller))
    if host is None and caller.sight.limited:
        raise Http404("There is no host that you may see.")
    try:
        scan, _ = tasks.start(
            host or Host.objects.local(),
            trigger=caller.trigger,
            requested_by=caller.name,
            wanted_package_manager=manager,
            refresh=settings.SCAN_REFRESH,
        )
    except tasks.QueueUnreachable as error:
        return refusal(503, f"{error} Is Redis running?")
    return scan


def refusal_page(request: HttpRequest, refused: JsonResponse) -> HttpResponse:
    """The same words and status, for people."""
    if refused.status_code == 401:
        return redirect("sign-in")
    known = {403: "403.html", 404: "404.html"}
    words = {"message": json.loads(refused.content)["message"]}
    return render(request, known.get(refused.status_code, "503.html"), words, status=refused.status_code)


async def ended(pk: int, seconds: float) -> Scan | None:
    """The scan when it has ended; None if it has not in that time. Holds no thread while it waits."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        scan = await Scan.objects.select_related("host", "snapshot").aget(pk=pk)
        if not scan.active:
            return scan
        await asyncio.sleep(LOOK)
    return None


def accepted(pk: int, patient: bool) -> JsonResponse:
    scan = Scan.objects.select_related("host").get(pk=pk)
    address = reverse("api-scan", args=[pk])
    body = {"success": True, "message": f"The scan is {scan.state}.", "state": scan.state, "url": address}
    response = JsonResponse({**body, "scan_data": summary(scan)}, status=202, headers={"Location": address})
    if not patient:
        response["Preference-Applied"] = "respond-async"
    return response


def outcome(scan: Scan) -> JsonResponse:
    body = {"success": scan.has_counts, "message": outcome_in_words(scan), "scan_data": document(scan)}
    return JsonResponse(body, status=200 if scan.has_counts else 500)


def outcome_in_words(scan: Scan) -> str:
    words = {
        Scan.State.COMPLETED: "Scan completed successfully",
        Scan.State.PARTIAL: f"Scan completed in part: {' '.join(scan.gaps)}",
        Scan.State.CANCELLED: "The scan was cancelled.",
        Scan.State.FAILED: f"{scan.error} {scan.next_step}".strip(),
    }
    return words[Scan.State(scan.state)]


@require_POST
@door("scan")
def cancel(request: HttpRequest, caller: access.Caller, pk: int) -> HttpResponse:
    scan = get_object_or_404(access.visible_scans(caller).select_related("host"), pk=pk)
    done = tasks.cancel(scan, caller.actor)
    if "text/html" in request.headers.get("Accept", ""):
        return redirect(scan.host)
    if not done:
        return refusal(409, f"This scan has ended already: it is {scan.state}.")
    return JsonResponse(
        {"success": True, "message": "The scan is being cancelled.", "scan_data": summary(scan)}, status=202
    )
