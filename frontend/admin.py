"""What in the admin needs the queue, and so is here, not in scanner/: hosts, feeds, webhooks, deliveries,
events."""

from datetime import datetime
from typing import Any

from django.contrib import admin, messages
from django.db import transaction
from django.db.models import Count, Exists, Model, OuterRef, Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.defaultfilters import filesizeformat
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django_celery_beat.models import CrontabSchedule, IntervalSchedule, PeriodicTask
from kombu.exceptions import OperationalError as BrokerAway

from frontend import feed_pages
from frontend.access import may_manage_webhooks, may_refresh_feeds, sight
from frontend.templatetags.words import distance
from scanner import audit
from scanner.admin import Audited, OfSeenHosts, ReadOnly, TagFilter, asked_first, audit_too, by
from scanner.models import Attempt, Delivery, Event, Feed, Host, Scan, Tag, Webhook
from scanner.models.host import HostQuerySet
from scanner.webhooks import editing
from tasks import scans as tasks
from tasks.webhooks import send_again


class UseFilter(admin.SimpleListFilter):
    title = "use"
    parameter_name = "use"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("yes", "In use"), ("archived", "Archived")]

    def queryset(self, request: HttpRequest, hosts: QuerySet[Host]) -> QuerySet[Host]:
        wanted = {"yes": hosts.filter(archived_at=None), "archived": hosts.exclude(archived_at=None)}
        return wanted.get(self.value() or "", hosts)


@admin.register(Host)
class HostAdmin(OfSeenHosts, Audited):
    """A host that has been scanned is not deleted, since its history would go with it: it is archived."""

    list_display = ["name", "tagged", "scheduled", "last_result", "archived_at"]
    list_filter = [UseFilter, "scheduled", TagFilter]
    search_fields = ["name", "tags__name"]
    autocomplete_fields = ["tags"]
    actions = ["run_scan", "archive", "bring_back"]

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).prefetch_related("tags")

    def get_readonly_fields(self, request: HttpRequest, obj: Host | None = None) -> list[str]:
        """Who sees only some hosts changes tags on the pages, which know those that decide what is seen."""
        return ["name", "tags"] if sight(request).limited else []

    @admin.display(description="last result", ordering="current_finished_at")
    def last_result(self, host: Host) -> datetime | None:
        return host.current_finished_at

    @admin.display(description="tags")
    def tagged(self, host: Host) -> str:
        return ", ".join(host.tag_names)

    def has_run_scan_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("scanner.run_scan")

    @admin.action(description="Run scan", permissions=["run_scan"])
    @asked_first()
    def run_scan(self, request: HttpRequest, hosts: QuerySet[Host]) -> None:
        for host in hosts:
            try:
                scan, new = tasks.start(host, trigger=Scan.Trigger.ADMIN, requested_by=request.user.get_username())
            except tasks.QueueUnreachable as error:
                messages.error(request, f"{host}: {error} Is Redis running?")
                continue
            words = "A scan has been queued." if new else f"Scan {scan.pk} is under way already."
            messages.success(request, f"{host}: {words}")

    @admin.action(description="Archive: they leave lists and counts", permissions=["change"])
    @asked_first("They are no longer scanned periodically. What is known of them is kept.")
    def archive(self, request: HttpRequest, hosts: HostQuerySet) -> None:
        with transaction.atomic():
            audit.record_all(by(request), "host.archived", hosts.active())
            messages.success(request, f"{hosts.archive()} host(s) archived.")

    @admin.action(description="Bring back from the archive", permissions=["change"])
    @asked_first()
    def bring_back(self, request: HttpRequest, hosts: HostQuerySet) -> None:
        with transaction.atomic():
            audit.record_all(by(request), "host.brought_back", hosts.exclude(archived_at=None))
            messages.success(request, f"{hosts.bring_back()} host(s) brought back.")


@admin.register(Tag)
class TagAdmin(OfSeenHosts, Audited):
    list_display = ["name", "hosts_with_it", "decides"]
    ordering = ["name"]  # which counting would lose
    search_fields = ["name"]

    def get_queryset(self, request: HttpRequest) -> Any:
        seen = Q(hosts__in=Host.objects.order_by().seen_by(sight(request)).values("pk"))
        tags = super().get_queryset(request).annotate(number=Count("hosts", filter=seen, distinct=True))
        return tags.annotate(deciding=Exists(Tag.objects.order_by().deciding().filter(pk=OuterRef("pk"))))

    @admin.display(description="hosts", ordering="number")
    def hosts_with_it(self, tag: Any) -> int:
        return int(tag.number)

    @admin.display(description="decides who sees which hosts", boolean=True)
    def decides(self, tag: Any) -> bool:
        return bool(tag.deciding)


class ForManagers(ReadOnly):
    """Seen by who may manage webhooks, and by nobody else: there may be secrets in what a receiver answers."""

    def has_module_permission(self, request: HttpRequest) -> bool:
        return may_manage_webhooks(request.user)

    def has_view_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return may_manage_webhooks(request.user)


@admin.register(Webhook)
class WebhookAdmin(ForManagers):
    """Webhooks are made and edited on their own pages, where the filter is checked and a test can be sent."""

    list_display = ["name", "kind", "state", "shown_target", "filter", "consecutive_failures", "last_success_at"]
    list_filter = ["kind", "state", "trigger", "digest"]
    search_fields = ["name", "shown_target", "filter"]
    readonly_fields = ["page"]
    actions = ["disable", "resume", "rotate"]

    @admin.display(description="its page")
    def page(self, webhook: Webhook) -> SafeString:
        return format_html('<a href="{}">Edit, test, delete</a>', webhook.get_absolute_url())

    @admin.action(description="Disable: it hears of nothing until it is resumed", permissions=["view"])
    @asked_first()
    def disable(self, request: HttpRequest, webhooks: QuerySet[Webhook]) -> None:
        for webhook in webhooks:
            editing.pause(webhook, by(request), f"Disabled in the admin by {request.user.get_username()}.")
        messages.success(request, f"{len(webhooks)} webhook(s) disabled.")

    @admin.action(description="Resume", permissions=["view"])
    @asked_first()
    def resume(self, request: HttpRequest, webhooks: QuerySet[Webhook]) -> None:
        for webhook in webhooks:
            editing.resume(webhook, by(request))
        messages.success(request, f"{len(webhooks)} webhook(s) resumed.")

    @admin.action(description="New secret: for 24 hours both sign", permissions=["view"])
    @asked_first("Whoever receives them has to know the new secret by then.")
    def rotate(self, request: HttpRequest, webhooks: QuerySet[Webhook]) -> None:
        for webhook in webhooks:
            try:
                secret = editing.rotate_secret(webhook, by(request))
            except editing.Refused as error:
                messages.error(request, f"{webhook}: {error}")
            else:
                messages.success(request, f"{webhook}: {secret} (shown only now).")


class AttemptInline(admin.TabularInline):
    model = Attempt
    fields = readonly_fields = ("number", "started_at", "milliseconds", "ok", "status", "words", "address", "ip")
    extra = 0
    can_delete = False

    def has_add_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_view_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return may_manage_webhooks(request.user)


@admin.register(Delivery)
class DeliveryAdmin(ForManagers):
    list_display = ["id", "webhook", "event", "state", "trigger", "attempts", "created_at", "next_attempt_at", "reason"]
    list_filter = ["state", "trigger", "webhook", "event__type"]
    search_fields = ["event__id", "event__host__name", "reason"]
    date_hierarchy = "created_at"
    list_select_related = ["webhook", "event"]
    inlines = [AttemptInline]
    actions = ["redeliver"]

    @admin.action(description="Redeliver: send once more, with the same event id", permissions=["view"])
    @asked_first()
    def redeliver(self, request: HttpRequest, deliveries: QuerySet[Delivery]) -> None:
        rows = [row for row in deliveries.select_related("event", "webhook") if not row.open]
        for row in rows:
            send_again(row.event, row.webhook, by(request), row.body)
        messages.success(request, f"{len(rows)} delivery(s) sent once more; those still on their way are left alone.")


@admin.register(Event)
class EventAdmin(ForManagers):
    list_display = ["id", "type", "host", "created_at", "fanned_out_at"]
    list_filter = ["type", TagFilter]
    search_fields = ["id", "host__name"]
    date_hierarchy = "created_at"
    list_select_related = ["host"]


@admin.register(Feed)
class FeedAdmin(ReadOnly):
    list_display = ["name", "age", "rows", "megabytes", "dropped", "step", "checked_at", "error"]
    search_fields = ["name", "error"]
    exclude = ["source", "size"]
    readonly_fields = ["read_from", "megabytes"]
    actions = ["refresh_now"]

    @admin.display(description="age", ordering="imported_at")
    def age(self, feed: Feed) -> str:
        return distance(feed.imported_at, timezone.now()) if feed.imported_at else "never read"

    @admin.display(description="size", ordering="size")
    def megabytes(self, feed: Feed) -> str:
        return filesizeformat(feed.size)

    @admin.display(description="read from")
    def read_from(self, feed: Feed) -> str:
        return feed_pages.shown(feed.source)

    def has_refresh_permission(self, request: HttpRequest) -> bool:
        return may_refresh_feeds(request.user)

    @admin.action(description="Refresh now", permissions=["refresh"])
    @asked_first()
    def refresh_now(self, request: HttpRequest, feeds: QuerySet[Feed]) -> None:
        wanted = [feed.name for feed in feeds if feed.name in feed_pages.names()]
        try:
            started = feed_pages.start(wanted, by(request))
        except (BrokerAway, OSError):
            messages.error(request, feed_pages.NO_QUEUE)
        else:
            feed_pages.say_what_started(request, wanted, started)


class Schedules(Audited):
    """The actions of the package: they switch schedules on and off, and run them."""

    def response_action(self, request: HttpRequest, queryset: QuerySet[Any], *where: Any) -> HttpResponse | None:
        with transaction.atomic():
            chosen = list(queryset.filter(pk__in=request.POST.getlist("_selected_action")))
            answer = super().response_action(request, queryset, *where)
            now = PeriodicTask.objects.in_bulk([task.pk for task in chosen])
            for task in chosen:
                if task.pk in now and now[task.pk].enabled != task.enabled:
                    audit.record(by(request), "schedule.paused" if task.enabled else "schedule.resumed", task)
            if request.POST.get("action") == "run_tasks":
                audit.record_all(by(request), "schedule.run", chosen)
        return answer


audit_too(PeriodicTask, Schedules)
audit_too(CrontabSchedule)
audit_too(IntervalSchedule)
