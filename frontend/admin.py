"""Hosts in the admin. Here, not in scanner/, because the action "Run scan" needs the queue."""

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest

from scanner.models import Host, Scan
from tasks import scans as tasks


@admin.register(Host)
class HostAdmin(admin.ModelAdmin):
    list_display = ["name", "scheduled", "created_at"]
    list_filter = ["scheduled"]
    search_fields = ["name"]
    actions = ["run_scan"]

    def has_run_scan_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("scanner.run_scan")

    @admin.action(description="Run scan", permissions=["run_scan"])
    def run_scan(self, request: HttpRequest, hosts: QuerySet[Host]) -> None:
        for host in hosts:
            try:
                scan, new = tasks.start(host, trigger=Scan.Trigger.ADMIN, requested_by=request.user.get_username())
            except tasks.QueueUnreachable as error:
                messages.error(request, f"{host}: {error} Is Redis running?")
                continue
            words = "A scan has been queued." if new else f"Scan {scan.pk} is under way already."
            messages.success(request, f"{host}: {words}")
