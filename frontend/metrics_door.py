"""The door for Prometheus: every number at once, as text."""

from django.http import HttpRequest, HttpResponse
from django.utils.cache import patch_vary_headers
from django.views.decorators.http import require_safe

from frontend import access
from frontend.api import door
from scanner.metrics import collect
from tasks import scans, vulnerabilities, webhooks

PLAIN = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
TASKS = (  # those whose results are kept
    scans.run_scan.name,
    scans.scan_hosts.name,
    vulnerabilities.refresh_feeds.name,
    vulnerabilities.catch_up.name,
    webhooks.prune_log.name,
)


@require_safe
@door("read")
def metrics(request: HttpRequest, caller: access.Caller) -> HttpResponse:
    """In the format that is asked for: OpenMetrics, or the text format of Prometheus.

    Who sees only some hosts is told of these, and not of what is about all: feeds, webhooks, queues and tasks.
    """
    openmetrics = "application/openmetrics-text" in request.headers.get("Accept", "")
    only = access.visible_hosts(caller) if caller.sight.limited else None
    text = collect(TASKS, only).text(openmetrics)
    response = HttpResponse(text, content_type=OPENMETRICS if openmetrics else PLAIN)
    patch_vary_headers(response, ("Accept", "Authorization", "Cookie"))
    return response
