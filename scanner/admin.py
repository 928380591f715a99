"""The admin: history is read-only, schedules and task results come from their own packages."""

from django.contrib import admin, messages
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from django.utils import timezone

from scanner.models import ApiToken, Feed, OpenUpdate, Scan, Snapshot


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


@admin.register(Feed)
class FeedAdmin(ReadOnly):
    list_display = ["name", "rows", "dropped", "size", "imported_at", "checked_at", "error"]
    search_fields = ["name", "source", "error"]


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
