"""The admin: history is read-only, schedules and task results come from their own packages. What is changed here
stands in the audit log.

Who sees only some hosts sees the rows of these, and of what is about all hosts nothing: frontend.access.Backend.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.auth.admin import GroupAdmin, UserAdmin
from django.contrib.auth.models import Group, User
from django.db import transaction
from django.db.models import Model, QuerySet
from django.forms import ModelChoiceField, ModelMultipleChoiceField
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.template.response import TemplateResponse
from django.utils import timezone

from scanner import audit
from scanner.audit import CHANGED, Actor, How
from scanner.models import (
    AcceptedRisk,
    ApiToken,
    AuditEntry,
    Host,
    HostLimit,
    OpenUpdate,
    Scan,
    Sight,
    Snapshot,
    Tag,
)
from scanner.package_managers import NAMES

NAMED = 20  # rows that are named, where there are more
MOST_TAGS = 100  # that a filter offers

NOUNS = {"periodictask": "schedule", "crontabschedule": "crontab", "intervalschedule": "interval", "apitoken": "token"}
NOUNS |= {"openupdate": "update"}
SECRET = ("password",)

Action = Callable[[Any, HttpRequest, Any], HttpResponse | None]


def asked_first(warning: str = "") -> Callable[[Action], Action]:
    """An action that is done once its question has been answered: which rows it is about, and what will happen."""

    def guard(action: Action) -> Action:
        @wraps(action)
        def asked(self: admin.ModelAdmin, request: HttpRequest, rows: QuerySet[Any]) -> HttpResponse | None:
            if "confirmed" in request.POST:
                return action(self, request, rows)
            number = rows.count()
            context = {
                **self.admin_site.each_context(request),
                "title": dict(self.get_action_choices(request))[request.POST["action"]],
                "opts": self.opts,
                "media": self.media,
                "warning": warning,
                "number": number,
                "rows": rows[:NAMED],
                "more": max(0, number - NAMED),
                "action": request.POST["action"],
                "across": request.POST.get("select_across", "0"),
                "checkbox": ACTION_CHECKBOX_NAME,
                "ticked": request.POST.getlist(ACTION_CHECKBOX_NAME),
            }
            return TemplateResponse(request, "scanner/ask_first.html", context)

        return asked

    return guard


def own(request: HttpRequest) -> Sight:
    return HostLimit.objects.sight_of(request.user)


class OfSeenHosts(admin.ModelAdmin):
    """Hosts, or rows about hosts: those that the user sees."""

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).seen_by(own(request))  # type: ignore[attr-defined]

    def view_on_site(self, row: Any) -> str | None:
        """At once, not by the admin's own way, which is closed to who sees only some hosts."""
        return row.get_absolute_url() if hasattr(row, "get_absolute_url") else None


class TagFilter(admin.SimpleListFilter):
    """By a tag of the host: hosts themselves may be 10,000, which are found by the search."""

    title = "tag of the host"
    parameter_name = "tag"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        tags = Tag.objects.seen_by(own(request)).exclude(hosts=None).distinct()
        return [(name, name) for name in tags.values_list("name", flat=True)[:MOST_TAGS]]

    def queryset(self, request: HttpRequest, rows: QuerySet[Any]) -> QuerySet[Any]:
        if not self.value():
            return rows
        return rows.filter(**{"tags__name" if rows.model is Host else "host__tags__name": self.value()})


# --- the audit log ----------------------------------------------------------------------------------


def by(request: HttpRequest) -> Actor:
    return Actor(request.user.get_username(), How.ADMIN)


def verb(model: type[Model], done: str) -> str:
    """The action's name: schedule.changed"""
    name = str(model._meta.model_name)
    wanted = f"{NOUNS.get(name, name)}.{done}"
    return wanted if wanted in audit.ACTIONS else f"record.{done}"


class Audited(admin.ModelAdmin):
    """What is made, changed and deleted is told, in the transaction in which the admin does it."""

    list_per_page = 50  # 100 rows are not there in 0.1 s

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        super().save_related(request, form, formsets, change)
        fields = {field.name for field in self.model._meta.get_fields()}
        changed = [name for name in form.changed_data if name in fields and name not in SECRET]
        before = {name: told(first_value(form, name)) for name in changed} if change else {}
        after = {name: told(form.cleaned_data[name]) for name in changed}
        if not change or before != after:
            audit.record(
                by(request), verb(self.model, "changed" if change else "created"), form.instance, before, after
            )

    def delete_model(self, request: HttpRequest, obj: Model) -> None:
        audit.record(by(request), verb(self.model, "deleted"), obj)
        super().delete_model(request, obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        with transaction.atomic():
            audit.record_all(by(request), verb(self.model, "deleted"), queryset)
            super().delete_queryset(request, queryset)


def first_value(form: Any, name: str) -> Any:
    """A row, where the form knows its id."""
    value, field = form.initial.get(name), form.fields[name]
    alone = isinstance(field, ModelChoiceField) and not isinstance(field, ModelMultipleChoiceField)
    return field.to_python(value) if alone else value


def told(value: Any) -> Any:
    """Of a field of a form: rows by their names."""
    if isinstance(value, (list, QuerySet)):
        return sorted(map(str, value))
    return value if value is None or isinstance(value, (bool, int)) else str(value)


def audit_too(model: type[Model], more: type[admin.ModelAdmin] = Audited) -> None:
    """Let a package's own admin of a model tell of what is done there."""
    own = type(admin.site.get_model_admin(model))
    admin.site.unregister(model)
    admin.site.register(model, type(own.__name__, (more, own), {}))


class AuditedUsers(Audited):
    def user_change_password(self, request: HttpRequest, id: str, form_url: str = "") -> HttpResponseBase:
        with transaction.atomic():
            answer: HttpResponseBase = super().user_change_password(request, id, form_url)  # type: ignore[misc]
            if request.method == "POST" and answer.status_code == 302:
                user = User.objects.get(pk=id)
                audit.record(by(request), "user.password_changed", user, after={"password": CHANGED})
        return answer


class ManagerFilter(admin.SimpleListFilter):
    """By what there can be: to look for what there is, a million scans would be read."""

    title = "package manager"
    parameter_name = "package_manager"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(name, name) for name in NAMES]

    def queryset(self, request: HttpRequest, scans: QuerySet[Scan]) -> QuerySet[Scan]:
        return scans.filter(package_manager=self.value()) if self.value() else scans


class ReadOnly(Audited):
    """What has happened is neither edited nor deleted."""

    show_full_result_count = False  # of a search: history is long

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


# --- history ----------------------------------------------------------------------------------------


@admin.register(Scan)
class ScanAdmin(OfSeenHosts, ReadOnly):
    list_display = ["id", "host", "state", "trigger", "requested_by", "created_at", "security_updates", "total_updates"]
    list_filter = ["created_at", "state", "trigger", ManagerFilter, TagFilter]
    search_fields = ["host__name", "requested_by", "error"]
    list_select_related = ["host"]


@admin.register(Snapshot)
class SnapshotAdmin(ReadOnly):
    list_display = ["__str__", "package_manager", "created_at", "package_set"]
    list_filter = ["package_manager"]
    search_fields = ["hash"]
    list_select_related = ["package_set"]


@admin.register(OpenUpdate)
class OpenUpdateAdmin(OfSeenHosts, ReadOnly):
    list_display = ["name", "architecture", "host", "since", "told_late_at"]
    list_filter = ["since", TagFilter]
    search_fields = ["name", "host__name"]
    list_select_related = ["host"]


@admin.register(AcceptedRisk)
class AcceptedRiskAdmin(OfSeenHosts, ReadOnly):
    """Risks are accepted on a page of their own, which shows what that affects."""

    list_display = ["__str__", "where", "until", "accepted_by", "how_it_is"]
    list_filter = ["until", "everywhere"]
    search_fields = ["cve", "package", "reason", "accepted_by", "hosts__name", "tags__name"]
    fields = readonly_fields = ("cve", "package", "where", "reason", "until", "accepted_by", "accepted_at", "how_it_is")
    actions = ["withdraw"]

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).with_some_places_of(own(request), NAMED)

    def get_search_fields(self, request: HttpRequest) -> list[str]:
        """Not by places that the user may not see."""
        return self.search_fields[: -2 if own(request).limited else None]

    @admin.display(description="where")
    def where(self, risk: Any) -> str:
        if risk.everywhere:
            return "everywhere"
        hosts = [str(host) for host in risk.some_hosts]
        more = [f"{risk.host_count - NAMED} more"] if risk.host_count > NAMED else []
        return ", ".join([*hosts, *more, *(f"tag {tag}" for tag in risk.tags.all())])

    @admin.display(description="state")
    def how_it_is(self, risk: AcceptedRisk) -> str:
        if risk.withdrawn_at:
            return f"withdrawn by {risk.withdrawn_by}"
        return "holds" if risk.holds else "expired"

    def has_accept_risk_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("scanner.accept_risk")

    @admin.action(description="Withdraw: they are open again from now on", permissions=["accept_risk"])
    @asked_first("A risk that has been withdrawn stays so; it can be accepted anew.")
    def withdraw(self, request: HttpRequest, risks: QuerySet[AcceptedRisk]) -> None:
        mine = [risk for risk in risks if not risk.beyond]  # type: ignore[attr-defined]
        with transaction.atomic():
            done = [risk for risk in mine if risk.holds and risk.withdraw(request.user.get_username())]
            audit.record_all(by(request), "risk.withdrawn", done)
        messages.success(request, f"{len(done)} accepted risk(s) withdrawn; those that held no more are left alone.")
        if len(mine) < len(risks):
            messages.warning(request, "Those that hold also where you may not look are left alone, too.")


# --- who may come in, and sees what -----------------------------------------------------------------


@admin.register(ApiToken)
class ApiTokenAdmin(ReadOnly):
    """Tokens are made by `manage.py create_api_token`, which shows the text once; here they are seen and revoked."""

    list_display = ["name", "scope", "sees", "beginning", "created_at", "last_used_at", "revoked_at"]
    list_filter = ["scope", "limited", ("revoked_at", admin.EmptyFieldListFilter)]
    search_fields = ["name", "beginning"]
    actions = ["revoke"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[ApiToken]:
        return super().get_queryset(request).prefetch_related("tags")

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return request.user.has_perm("scanner.delete_apitoken")

    @admin.display(description="sees")
    def sees(self, token: ApiToken) -> str:
        return in_words(token.sight)

    @admin.action(description="Revoke the selected tokens", permissions=["delete"])
    @asked_first("What uses them is refused from then on. That cannot be undone: make a new token instead.")
    def revoke(self, request: HttpRequest, tokens: QuerySet[ApiToken]) -> None:
        with transaction.atomic():
            valid = tokens.filter(revoked_at=None).select_for_update()
            audit.record_all(by(request), "token.revoked", valid)
            revoked = valid.update(revoked_at=timezone.now())
        messages.success(request, f"{revoked} token(s) revoked.")


def in_words(sight: Sight) -> str:
    if not sight.limited:
        return "all hosts"
    return f"those tagged {', '.join(sight.names)}" if sight.names else "none: no tag is named"


class HostLimitInline(admin.StackedInline):
    model = HostLimit
    fields = ["tags"]
    autocomplete_fields = ["tags"]
    extra = 0
    verbose_name_plural = "limit to hosts by tag (without one, all hosts are seen)"


admin.site.unregister([User, Group])


@admin.register(User)
class LimitedUserAdmin(AuditedUsers, UserAdmin):  # type: ignore[misc]
    inlines = (HostLimitInline,)


@admin.register(Group)
class LimitedGroupAdmin(Audited, GroupAdmin):
    inlines = (HostLimitInline,)


@admin.register(HostLimit)
class HostLimitAdmin(Audited):
    """All of them in one list; they stand on the pages of their user or group, too."""

    list_display = ["whose", "kind", "hosts"]
    list_select_related = ["user", "group"]
    search_fields = ["user__username", "group__name", "tags__name"]
    autocomplete_fields = ["user", "group", "tags"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[HostLimit]:
        return super().get_queryset(request).prefetch_related("tags")

    @admin.display(description="of")
    def whose(self, limit: HostLimit) -> str:
        return str(limit.user or limit.group)

    @admin.display(description="who")
    def kind(self, limit: HostLimit) -> str:
        return "user" if limit.user else "group"

    @admin.display(description="sees the hosts")
    def hosts(self, limit: HostLimit) -> str:
        return in_words(Sight({tag.pk: tag.name for tag in limit.tags.all()}))


@admin.register(AuditEntry)
class AuditEntryAdmin(ReadOnly):
    list_display = ["at", "actor", "how", "action", "target"]
    list_filter = ["how", "action"]
    search_fields = ["actor", "target"]
    date_hierarchy = "at"

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False
