"""Who may come in by which door: staff by session, tools by token, and one link that signs in once.

And which hosts they see there: `visible_hosts(request)` is what every page and door begins with.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import wraps
from typing import Any, Protocol

from django.contrib.auth import get_user_model, login
from django.contrib.auth.backends import ModelBackend
from django.contrib.auth.decorators import login_required
from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
from django.contrib.contenttypes.views import shortcut
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.middleware.csrf import CsrfViewMiddleware
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone

from scanner import audit
from scanner.audit import Actor, How
from scanner.models import ApiToken, Host, HostLimit, Scan, Sight, SignInLink, Tag
from scanner.models.host import HostQuerySet
from scanner.models.scan import ScanQuerySet

FIRST_USER = "admin"
OF_HOSTS = frozenset(
    f"scanner.{codename}"
    for codename in (
        *("view_host", "change_host", "run_scan", "view_scan", "view_openupdate"),
        *("accept_risk", "view_acceptedrisk", "view_tag", "view_feed"),
    )
)
"""What somebody who sees only some hosts may be permitted: it ends with these hosts. All else is about all hosts."""
ABOUT_ALL = "That is about all hosts, and your account sees only some of them."
USED_NOTE_INTERVAL = 60  # seconds; a token's last use is noted no more often


class CsrfCheck(CsrfViewMiddleware):
    """Django's own check, for a door that answers JSON: the reason comes back instead of a page."""

    def _reject(self, request: HttpRequest, reason: str) -> str:
        return reason


def empty(_: HttpRequest) -> HttpResponse:
    return HttpResponse()


class View(Protocol):
    def __call__(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase: ...


class NotSignedIn(Exception):
    """Nobody that we know."""


@dataclass(frozen=True)
class Caller:
    """Who asks, by which door."""

    name: str
    trigger: Scan.Trigger
    sight: Sight

    @property
    def actor(self) -> Actor:
        return Actor(self.name, How.API if self.trigger == Scan.Trigger.API else How.PAGE)


class Backend(ModelBackend):
    """Django's own; but who sees only some hosts has no permission that is about all of them, whoever has given it."""

    def has_perm(self, user_obj: Any, perm: str, obj: Any = None) -> bool:
        if perm not in OF_HOSTS and sight_of(user_obj).limited:
            raise PermissionDenied  # no other backend is asked
        return super().has_perm(user_obj, perm, obj)


# --- which hosts ------------------------------------------------------------------------------------


def sight_of(user: AbstractBaseUser | AnonymousUser) -> Sight:
    return HostLimit.objects.sight_of(user)


def sight(asking: HttpRequest | Caller) -> Sight:
    """Of who asks: at doors for programs the caller, who may have brought a token, and on pages the request."""
    if isinstance(asking, Caller):
        return asking.sight
    caller = getattr(asking, "auth", None)  # at /api/v1/
    return caller.sight if isinstance(caller, Caller) else sight_of(asking.user)


def visible_hosts(asking: HttpRequest | Caller) -> HostQuerySet:
    """Those that who asks may see, archived ones as well."""
    return Host.objects.seen_by(sight(asking))


def visible_scans(asking: HttpRequest | Caller) -> ScanQuerySet:
    return Scan.objects.seen_by(sight(asking))


def check_tags(sight: Sight, names: Iterable[str]) -> None:
    """Raises ValidationError if who sees only some hosts is to add or take one by which hosts are seen."""
    if sight.limited:
        deciding = Tag.objects.deciding().filter(name__in=list(names)).values_list("name", flat=True)
        if kept := ", ".join(deciding):
            raise ValidationError(
                f"Who sees which hosts is decided by {kept}: only who sees all hosts can change that."
            )


# --- who may what -----------------------------------------------------------------------------------


def actor(request: HttpRequest) -> Actor:
    """Whoever has signed in, on a page."""
    return Actor(request.user.get_username(), How.PAGE)


def may_see(user: AbstractBaseUser | AnonymousUser) -> bool:
    return bool(user.is_active and getattr(user, "is_staff", False))


def may_see_all(user: AbstractBaseUser | AnonymousUser) -> bool:
    """Every host, and so what is about all of them."""
    return may_see(user) and not sight_of(user).limited


def may_run(user: AbstractBaseUser | AnonymousUser) -> bool:
    return may_see(user) and user.has_perm("scanner.run_scan")  # type: ignore[union-attr]


def may_manage_webhooks(user: AbstractBaseUser | AnonymousUser) -> bool:
    return may_see(user) and user.has_perm("scanner.manage_webhooks")  # type: ignore[union-attr]


def may_accept_risk(user: AbstractBaseUser | AnonymousUser) -> bool:
    return may_see(user) and user.has_perm("scanner.accept_risk")  # type: ignore[union-attr]


def may_manage_schedules(user: AbstractBaseUser | AnonymousUser) -> bool:
    return may_see(user) and user.has_perm("scanner.manage_schedules")  # type: ignore[union-attr]


def may_change_settings(user: AbstractBaseUser | AnonymousUser) -> bool:
    return may_see(user) and user.has_perm("scanner.change_setting")  # type: ignore[union-attr]


def may_refresh_feeds(user: AbstractBaseUser | AnonymousUser) -> bool:
    return may_see(user) and user.has_perm("scanner.change_feed")  # type: ignore[union-attr]


Right = Callable[[AbstractBaseUser | AnonymousUser], bool]
RIGHTS: dict[str, Right] = {
    ApiToken.Scope.READ: may_see,
    ApiToken.Scope.SCAN: may_run,
    ApiToken.Scope.ADMIN: may_manage_webhooks,
}
"""What a session must be allowed at a door for programs that asks tokens for this scope."""


def pages_for(
    allowed: Callable[[AbstractBaseUser | AnonymousUser], bool], words: str = "", *, about_all: bool = False
) -> Callable[[View], View]:
    """A page: the sign-in page for strangers, 403 for who is signed in but may not see it. `words`: what staff lack.

    `about_all`: nobody who sees only some hosts may.
    """

    def guard(view: View) -> View:
        @login_required
        @wraps(view)
        def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            if not allowed(request.user):
                if words and may_see(request.user):
                    message = ABOUT_ALL if about_all and sight(request).limited else words
                    return render(request, "403.html", {"message": message}, status=403)
                raise PermissionDenied
            return view(request, *args, **kwargs)

        return guarded

    return guard


staff_only = pages_for(may_see)
all_hosts_only = pages_for(may_see_all, ABOUT_ALL)
managers_only = pages_for(may_manage_webhooks, "Your account may not manage webhooks.", about_all=True)
accepters_only = pages_for(may_accept_risk, "Your account may not accept risks, nor withdraw that.")
runners_only = pages_for(may_run, "Your account may not start scans.")
schedulers_only = pages_for(may_manage_schedules, "Your account may not change schedules.", about_all=True)
refreshers_only = pages_for(may_refresh_feeds, "Your account may not refresh feeds.", about_all=True)


def caller(request: HttpRequest, scope: str, right: Right | None = None) -> Caller:
    """Who asks at a door for programs: a bearer token of that scope, or a session with its CSRF token, of who has the
    `right`, which is that of the scope unless it is said.

    Raises NotSignedIn or PermissionDenied. The view must be csrf_exempt: a token needs no CSRF token.
    """
    kind, _, text = request.headers.get("Authorization", "").partition(" ")
    if kind.lower() == "bearer":
        return token_caller(text.strip(), scope)
    if not request.user.is_authenticated:
        raise NotSignedIn
    if reason := CsrfCheck(empty).process_view(request, empty, (), {}):
        raise PermissionDenied(f"{reason} Reload the page.")
    own = sight_of(request.user)
    if not (right or RIGHTS[scope])(request.user):
        about_all = scope == ApiToken.Scope.ADMIN and own.limited
        raise PermissionDenied(ABOUT_ALL if about_all else "Your account may not do this.")
    return Caller(request.user.get_username(), Scan.Trigger.DASHBOARD, own)


def token_caller(text: str, scope: str) -> Caller:
    token = ApiToken.objects.valid(text)
    if token is None:
        raise NotSignedIn
    if not token.allows(scope):
        raise PermissionDenied(f"This token's scope is {token.scope}; {scope} is needed.")
    now = timezone.now()
    if token.last_used_at is None or (now - token.last_used_at).total_seconds() > USED_NOTE_INTERVAL:
        ApiToken.objects.filter(pk=token.pk).update(last_used_at=now)
    return Caller(f"token {token.name}", Scan.Trigger.API, token.sight)


@staff_only
def view_on_site(request: HttpRequest, content_type_id: str, object_id: str) -> HttpResponseBase:
    """The admin's way from a row to its page, which does not ask whether the row may be seen."""
    if sight(request).limited:
        raise Http404
    return shortcut(request, content_type_id, object_id)


def new_sign_in_link(username: str = "") -> str:
    """The path of a link that signs in once, within the hour: as the named user, or as the first administrator.

    There is no default password: the administrator that is made here has none until somebody sets one.
    Raises User.DoesNotExist for a name that is not there.
    """
    users = get_user_model()._default_manager
    with transaction.atomic():
        user: Any
        if username:
            user = users.get_by_natural_key(username)
        else:
            user = users.filter(is_superuser=True, is_active=True).order_by("pk").first()
        if user is None:
            user = users.create_superuser(FIRST_USER)
            audit.record(audit.COMMAND_LINE, "user.created", user, after={"is_superuser": True})
        audit.record(audit.COMMAND_LINE, "link.created", user)
        return reverse("sign-in-link", args=[SignInLink.objects.issue(user)])


def use_sign_in_link(request: HttpRequest, text: str) -> HttpResponse:
    link = SignInLink.objects.use(text)
    if link is None:
        return render(request, "frontend/link_used.html", status=403)
    login(request, link.user, backend="frontend.access.Backend")
    return redirect("dashboard")
