"""Pages of webhooks, their deliveries and events; only for who may manage webhooks."""

from typing import Any

from django.conf import settings
from django.contrib import messages
from django.db.models import Max, Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_POST, require_safe

from frontend.access import actor, managers_only
from frontend.forms import WebhookForm, first_values
from frontend.pages import page_of
from frontend.vulnerability_pages import query_of
from scanner import audit
from scanner.models import Delivery, Event, Webhook
from scanner.webhooks import delivering, editing, filters, preview
from scanner.webhooks.events import DIGEST, EVENT_TYPES
from scanner.webhooks.fields import EXAMPLES
from tasks import webhooks as tasks

ROWS = 50
NEW_SECRET = "new_webhook_secret"  # in the session, until it has been shown once
LOG_TYPES = (*(name for name, _ in EVENT_TYPES), DIGEST)
KINDS = [
    (Webhook.Kind.SLACK, "Slack", "Messages in a channel, or in a Mattermost or other server that takes Slack's form."),
    (Webhook.Kind.TEAMS, "Microsoft Teams", "Cards in a channel or chat, through a workflow."),
    (Webhook.Kind.DISCORD, "Discord", "Messages in a channel."),
    (Webhook.Kind.EMAIL, "Email", "To one or more addresses, through your mail server."),
    (Webhook.Kind.STANDARD, "Signed JSON", "For programs: the whole event, signed by Standard Webhooks."),
    (Webhook.Kind.OTHER, "Other service", "Telegram, Matrix, ntfy, PagerDuty, Opsgenie and more, through Apprise."),
]


# --- webhooks ---------------------------------------------------------------------------------------


@require_safe
@managers_only
def webhooks(request: HttpRequest) -> HttpResponse:
    rows = Webhook.objects.annotate(last_delivery_at=Max("deliveries__ended_at"))
    context = {"webhooks": rows, "kinds": Webhook.Kind.choices, "public_url": settings.PUBLIC_URL}
    return render(request, "frontend/webhooks/list.html", context)


@managers_only
def new(request: HttpRequest) -> HttpResponse:
    kind = request.GET.get("kind", "")
    if kind not in Webhook.Kind.values:
        return render(request, "frontend/webhooks/choose.html", {"kinds": KINDS})
    return edit_form(request, editing.new_webhook(kind))


@managers_only
def edit(request: HttpRequest, pk: int) -> HttpResponse:
    return edit_form(request, get_object_or_404(Webhook, pk=pk))


def edit_form(request: HttpRequest, webhook: Webhook) -> HttpResponse:
    form = WebhookForm(webhook.kind, request.POST or None, initial=first_values(webhook))
    if request.method == "POST" and form.is_valid():
        try:
            return save(request, webhook, form)
        except editing.Refused as error:
            form.show(error.problems)
    status = 422 if form.errors else 200
    return render(request, "frontend/webhooks/edit.html", form_context(webhook, form), status=status)


def save(request: HttpRequest, webhook: Webhook, form: WebhookForm) -> HttpResponse:
    if webhook.pk:
        editing.change(webhook, form.wishes, actor(request))
        messages.success(request, f"{webhook} has been saved.")
        return redirect(webhook)
    webhook, secret = editing.create(webhook.kind, form.wishes, actor(request))
    messages.success(request, f"{webhook} has been saved. From now on it hears of what happens.")
    request.session[NEW_SECRET] = [webhook.pk, secret]
    return redirect(webhook)


def form_context(webhook: Webhook, form: WebhookForm) -> dict[str, Any]:
    source = form["filter"].value() or ""
    return {
        "webhook": webhook,
        "form": form,
        "examples": EXAMPLES,
        "fields": preview.live_values(),
        **checked(source, form["trigger"].value()),
    }


@require_safe
@managers_only
def webhook(request: HttpRequest, pk: int) -> HttpResponse:
    shown = get_object_or_404(Webhook, pk=pk)
    owner, secret = request.session.pop(NEW_SECRET, (None, ""))
    rows, searched = log_of(request, shown.deliveries.all())
    context = {
        "webhook": shown,
        "new_secret": secret if owner == shown.pk else "",
        "event_words": [words for name, words in EVENT_TYPES if name in shown.events],
        "deliveries": page_of(rows, request, ROWS),
        "waiting": shown.deliveries.filter(state__in=Delivery.OPEN).count(),
        "states": Delivery.State.choices,
        "types": LOG_TYPES,
        **searched,
    }
    return render(request, "frontend/webhooks/webhook.html", context)


def log_of(request: HttpRequest, rows: QuerySet[Delivery]) -> tuple[QuerySet[Delivery], dict[str, Any]]:
    """The delivery log as the address asks for it: ?state=, ?type=, ?q= in host, reason and event id."""
    state, kind, q = (request.GET.get(name, "").strip().replace("\0", "") for name in ("state", "type", "q"))
    state = state if state in Delivery.State.values else ""
    kind = kind if kind in LOG_TYPES else ""
    if state:
        rows = rows.filter(state=state)
    if kind:
        rows = rows.filter(event__type=kind)
    if q:
        rows = rows.filter(Q(event__host__name__icontains=q) | Q(reason__icontains=q) | Q(event__id__startswith=q))
    searched = {"state": state, "type": kind, "q": q}
    searched["query"] = query_of(**searched)
    return rows.select_related("event__host", "webhook"), searched


@managers_only
def delete(request: HttpRequest, pk: int) -> HttpResponse:
    doomed = get_object_or_404(Webhook, pk=pk)
    if request.method != "POST":
        return render(request, "frontend/webhooks/delete.html", {"webhook": doomed, "log": doomed.deliveries.count()})
    editing.delete(doomed, actor(request))
    messages.success(request, f"{doomed} has been deleted, with its log.")
    return redirect("webhooks")


@require_POST
@managers_only
def switch(request: HttpRequest, pk: int) -> HttpResponse:
    """Pause or resume it."""
    shown = get_object_or_404(Webhook, pk=pk)
    if shown.state in (Webhook.State.PAUSED, Webhook.State.DISABLED):
        editing.resume(shown, actor(request))
        messages.success(request, f"{shown} is active again.")
    else:
        editing.pause(shown, actor(request))
        messages.success(request, f"{shown} is paused: it hears of nothing until it is resumed.")
    return redirect(shown)


@require_POST
@managers_only
def rotate(request: HttpRequest, pk: int) -> HttpResponse:
    shown = get_object_or_404(Webhook, pk=pk)
    try:
        request.session[NEW_SECRET] = [shown.pk, editing.rotate_secret(shown, actor(request))]
    except editing.Refused as error:
        messages.error(request, str(error))
    return redirect(shown)


# --- while it is edited -----------------------------------------------------------------------------


@require_POST
@managers_only
def check_filter(request: HttpRequest) -> HttpResponse:
    """What the editor shows while somebody types."""
    context = checked(request.POST.get("filter", ""), request.POST.get("trigger", ""))
    return render(request, "frontend/webhooks/parts/filter_check.html", context)


def checked(source: str, trigger: str) -> dict[str, Any]:
    problem = filters.check(source)
    if problem:
        return {"problem": problem, "pointer": pointer(source, problem)}
    past = preview.past_of(source, trigger)
    return {"past": past, "fired": sum(each.fires for each in past), "errors": sum(each.error for each in past)}


def pointer(source: str, problem: filters.Problem) -> tuple[str, str, str]:
    """The line with the problem: what stands before it, the first character of it, the rest."""
    lines = source.splitlines() or [""]
    line = lines[min(problem.line, len(lines)) - 1]
    at = problem.column - 1
    return line[:at], line[at : at + 1], line[at + 1 :]


@require_POST
@managers_only
def test(request: HttpRequest) -> HttpResponse:
    """Send a real message by what the form says now, saved or not, and show it whole."""
    stored = Webhook.objects.filter(pk=chosen_id(request)).first()
    kind = stored.kind if stored else request.POST.get("kind", "")
    if kind not in Webhook.Kind.values:
        return render(request, "404.html", status=404)
    draft = stored or editing.new_webhook(kind)
    form = WebhookForm(kind, request.POST)
    problems = [editing.Problem(name, str(errors[0])) for name, errors in form.errors.items() if name != "name"]
    if not problems:
        try:
            editing.apply(draft, form.wishes | {"name": form.wishes.get("name") or "Test"})
        except editing.Refused as error:
            problems = error.problems
    return test_result(request, draft, problems)


def chosen_id(request: HttpRequest) -> int:
    """The webhook that a form names; 0, which none has, where it names none."""
    text = request.POST.get("webhook", "")
    return int(text) if text.isascii() and text.isdecimal() else 0


@require_POST
@managers_only
def test_saved(request: HttpRequest, pk: int) -> HttpResponse:
    return test_result(request, get_object_or_404(Webhook, pk=pk), [])


def test_result(request: HttpRequest, draft: Webhook, problems: list[editing.Problem]) -> HttpResponse:
    context: dict[str, Any] = {"webhook": draft, "problems": problems}
    if not problems:
        try:
            delivery, sent = delivering.test(draft)
            audit.record(actor(request), "webhook.tested", draft, after={"delivered": sent.answer.ok})
            attempt = delivering.attempt_of(delivery, sent)
            context |= {"delivery": delivery, "attempt": attempt, "ok": sent.answer.ok}
        except delivering.TooManyTests as error:
            context["problems"] = [editing.Problem("", str(error))]
    whole = "parts/test_result" if request.htmx else "tested"  # type: ignore[attr-defined]
    return render(request, f"frontend/webhooks/{whole}.html", context)


# --- deliveries and events --------------------------------------------------------------------------


@require_safe
@managers_only
def deliveries(request: HttpRequest) -> HttpResponse:
    """The log of all webhooks."""
    rows, searched = log_of(request, Delivery.objects.all())
    context = {
        "deliveries": page_of(rows, request, ROWS),
        "states": Delivery.State.choices,
        "types": LOG_TYPES,
        "everything": True,
        **searched,
    }
    return render(request, "frontend/webhooks/deliveries.html", context)


@require_safe
@managers_only
def delivery(request: HttpRequest, pk: int) -> HttpResponse:
    shown = get_object_or_404(Delivery.objects.select_related("event__host", "webhook"), pk=pk)
    context = {"delivery": shown, "webhook": shown.webhook, "event": shown.event, "tries": shown.tries.all()}
    return render(request, "frontend/webhooks/delivery.html", context)


@require_POST
@managers_only
def redeliver(request: HttpRequest, pk: int) -> HttpResponse:
    row = get_object_or_404(Delivery.objects.select_related("event", "webhook"), pk=pk)
    if row.open:
        messages.error(request, "It is still on its way: wait for its end, or pause the webhook.")
        return redirect(row)
    again = tasks.send_again(row.event, row.webhook, actor(request), row.body)
    messages.success(request, "It is being sent once more, with the same event id.")
    return redirect(again)


@require_safe
@managers_only
def event(request: HttpRequest, pk: str) -> HttpResponse:
    shown = get_object_or_404(Event.objects.select_related("host", "scan"), pk=pk)
    context = {
        "event": shown,
        "deliveries": shown.deliveries.select_related("webhook", "event__host"),
        "webhooks": Webhook.objects.all(),
    }
    return render(request, "frontend/webhooks/event.html", context)


@require_POST
@managers_only
def replay(request: HttpRequest, pk: str) -> HttpResponse:
    """Send an event to a webhook by hand, whatever its filter says."""
    shown = get_object_or_404(Event, pk=pk)
    chosen = get_object_or_404(Webhook, pk=chosen_id(request))
    again = tasks.send_again(shown, chosen, actor(request))
    messages.success(request, f"It is being sent to {chosen}.")
    return redirect(again)
