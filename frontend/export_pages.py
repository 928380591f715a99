"""Scans and diffs as files: for staff, and for programs with a token."""

import json
import re
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

from asgiref.sync import sync_to_async
from django.contrib import messages
from django.contrib.auth.views import redirect_to_login
from django.core.handlers.asgi import ASGIRequest
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, JsonResponse, StreamingHttpResponse
from django.shortcuts import redirect
from django.utils.cache import add_never_cache_headers
from django.utils.http import content_disposition_header
from django.views.decorators.http import require_safe

from frontend.access import Caller, visible_hosts
from frontend.api import door, refusal, refusal_page
from frontend.diff_pages import CannotCompare, Wish, chosen, document
from frontend.fleet_api import scan_of
from frontend.vulnerability_pages import statuses
from scanner.exports.formats import BY_NAME, EXPORTS
from scanner.exports.interface import Export
from scanner.exports.loading import StoredScan
from scanner.vulnerabilities.places import STATUSES

UNSAFE = re.compile(r"[^\w.-]+")  # in names of files
ONLY_PARTS = ("part", "q", "status")


# --- doors ------------------------------------------------------------------------------------------


@require_safe
def export_scan(request: HttpRequest, pk: int, name: str) -> HttpResponseBase:
    """A scan as a file. CSV is one of its lists, ?part=, filtered as the page of the scan is: ?q=, ?status=."""
    return for_people(request, scan_file(request, pk, name), lambda: redirect("scan", pk))


@require_safe
def export_diff(request: HttpRequest, name: str) -> HttpResponseBase:
    """A diff as a file, filtered as its page is."""
    back = f"?{request.META.get('QUERY_STRING', '')}"
    return for_people(request, diff_file(request, name), lambda: redirect(f"../../{back}"))


@door("read")
def scan_file(request: HttpRequest, caller: Caller, pk: int, name: str) -> HttpResponseBase:
    export = known_export(name)
    scan = scan_of(caller, pk)
    if not scan.has_counts:
        return refusal(409, f"Scan {pk} came to no result: there is nothing in it that could be exported.")
    part, q, status = (request.GET.get(key, "").strip().replace("\0", "") for key in ONLY_PARTS)
    if trouble := misfit(export, part, q, status):
        return refusal(400, trouble)
    part = part or (export.parts[0] if export.parts else "")
    located = part == "vulnerabilities"
    content = StoredScan(scan, q, statuses(status) if located else STATUSES, located=located)
    what = [str(scan.host), f"{scan.date:%Y-%m-%d}", f"scan-{pk}", part, "filtered" if q or status else ""]
    return answer(request, export, export.scan(content, part), what)


@door("read")
def diff_file(request: HttpRequest, caller: Caller, name: str) -> HttpResponseBase:
    export = known_export(name)
    if not export.takes_diffs:
        raise Http404(f"There is no diff as {export.label}.")
    wishes = request.GET.dict()
    try:
        before, after = chosen(wishes, visible_hosts(caller))
    except CannotCompare as trouble:
        return refusal(409, str(trouble))
    wish = Wish.of(wishes)
    found = document(before, after, wish)
    names = dict.fromkeys((str(before.host), str(after.host)))
    what = [
        *names,
        f"{after.date:%Y-%m-%d}",
        f"scans-{before.pk}-{after.pk}",
        "filtered" if wish.show or wish.q else "",
    ]
    return answer(request, export, export.diff(found), what)


def known_export(name: str) -> Export:
    if name not in BY_NAME:
        raise Http404(f"There is no export {name!r}. Known are {', '.join(each.name for each in EXPORTS)}.")
    return BY_NAME[name]


def misfit(export: Export, part: str, q: str, status: str) -> str:
    """Why these wishes cannot be fulfilled; "" if they can. A wish that is silently left out would be a lie."""
    if (part or q or status) and not export.parts:
        return f"{export.label} is always about the whole scan: ?part=, ?q= and ?status= are for CSV."
    if part and part not in export.parts:
        return f"There is no part {part!r}. Known are {', '.join(export.parts)}."
    if status and part != "vulnerabilities":
        return "?status= is of vulnerabilities: it needs ?part=vulnerabilities."
    return ""


def for_people(request: HttpRequest, found: HttpResponseBase, back: Callable[[], HttpResponse]) -> HttpResponseBase:
    """What a program is refused in JSON, a person is told on a page."""
    if (
        not isinstance(found, JsonResponse)
        or "text/html" not in request.headers.get("Accept", "")
        or "Authorization" in request.headers
    ):
        return found
    if found.status_code == 401:
        return redirect_to_login(request.get_full_path())
    if found.status_code in (400, 409):
        messages.error(request, json.loads(found.content)["message"])
        return back()
    return refusal_page(request, found)


# --- answers ----------------------------------------------------------------------------------------


def answer(request: HttpRequest, export: Export, pieces: Iterator[bytes], what: list[str]) -> HttpResponseBase:
    """The file, sent while it is written. One that has no text is whole before anything is sent."""
    response: Any
    if export.is_text:
        response = StreamingHttpResponse(streamed(request, pieces), content_type=export.content_type)
    else:
        response = HttpResponse(b"".join(pieces), content_type=export.content_type)
    response["Content-Disposition"] = content_disposition_header(True, file_name(what, export.extension))
    add_never_cache_headers(response)
    return response


def streamed(request: HttpRequest, pieces: Iterator[bytes]) -> Iterator[bytes] | AsyncIterator[bytes]:
    """Of the kind that the server at hand sends piece by piece; it would gather the other kind whole."""
    return one_by_one(pieces) if isinstance(request, ASGIRequest) else pieces


async def one_by_one(pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
    """Each is made in the request's own thread, that of its database connection."""
    following = sync_to_async(lambda: next(pieces, b""))
    while piece := await following():
        yield piece


def file_name(what: list[str], extension: str) -> str:
    """ "web-1-2026-11-20-scan-17-security.csv": no path, nothing hidden, whatever a host is called."""
    words = [UNSAFE.sub("_", word).strip("._-") for word in what]
    return f"{'-'.join(word for word in words if word)[:150]}.{extension}"
