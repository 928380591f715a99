"""The admin: history is read-only, schedules and task results come from their own packages."""

from typing import Any

from django.contrib import admin, messages
from django.db.models import Count, Model, QuerySet
from django.http import HttpRequest
from django.utils import timezone

from scanner.models import AcceptedRisk, ApiToken, OpenUpdate, Scan, Snapshot


class ReadOnly(admin.ModelAdmin):
    """What has happened is not edited."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


@admin.register(Scan)
class ScanAdmin(ReadOnly):
    list_display = ["id", "host", "state", "trigger", "requested_by", "created_at", "security_updates", "total_updates"]
    list_filter = ["state", "trigger", "package_manager", "host"]
    search_fields = ["host__name", "requested_by", "error"]
    date_hierarchy = "created_at"
    list_select_related = ["host"]


@admin.register(Snapshot)
class SnapshotAdmin(ReadOnly):
    list_display = ["__str__", "package_manager", "created_at", "package_set"]
    list_filter = ["package_manager"]
    search_fields = ["hash"]
    list_select_related = ["package_set"]


@admin.register(OpenUpdate)
class OpenUpdateAdmin(ReadOnly):
    list_display = ["name", "architecture", "host", "since"]
    list_filter = ["host"]
    search_fields = ["name", "host__name"]
    list_select_related = ["host"]


@admin.register(AcceptedRisk)
class AcceptedRiskAdmin(ReadOnly):
    """Risks are accepted on a page of their own, which shows what that affects."""

    list_display = ["__str__", "where", "until", "accepted_by", "how_it_is"]
    list_filter = ["until", "everywhere"]
    search_fields = ["cve", "package", "reason", "accepted_by", "hosts__name", "tags__name"]
    actions = ["withdraw"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[AcceptedRisk]:
        return super().get_queryset(request).annotate(host_count=Count("hosts", distinct=True)).prefetch_related("tags")

    @admin.display(description="where")
    def where(self, risk: Any) -> str:
        hosts = [f"{risk.host_count} host{'s' if risk.host_count > 1 else ''}"] if risk.host_count else []
        return "everywhere" if risk.everywhere else ", ".join([*hosts, *(f"tag {tag}" for tag in risk.tags.all())])

    @admin.display(description="state")
    def how_it_is(self, risk: AcceptedRisk) -> str:
        if risk.withdrawn_at:
            return f"withdrawn by {risk.withdrawn_by}"
        return "holds" if risk.holds else "expired"

    def has_accept_risk_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("scanner.accept_risk")

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    @admin.action(description="Withdraw: they are open again from now on", permissions=["accept_risk"])
    def withdraw(self, request: HttpRequest, risks: QuerySet[AcceptedRisk]) -> None:
        done = sum(risk.holds and risk.withdraw(request.user.get_username()) for risk in risks)
        messages.success(request, f"{done} accepted risk(s) withdrawn; those that held no more are left alone.")


@admin.register(ApiToken)
class ApiTokenAdmin(ReadOnly):
    """Tokens are made by `manage.py create_api_token`, which shows the text once; here they are seen and revoked."""

    list_display = ["name", "scope", "beginning", "created_at", "last_used_at", "revoked_at"]
    list_filter = ["scope", "revoked_at"]
    search_fields = ["name", "beginning"]
    actions = ["revoke"]

    @admin.action(description="Revoke the selected tokens", permissions=["delete"])
    def revoke(self, request: HttpRequest, tokens: QuerySet[ApiToken]) -> None:
        revoked = tokens.filter(revoked_at=None).update(revoked_at=timezone.now())
        messages.success(request, f"{revoked} token(s) revoked.")
