"""Who may come in by which door: staff by session, tools by token, and one link that signs in once."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any, Protocol

from django.contrib.auth import get_user_model, login
from django.contrib.auth.decorators import login_required
from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.middleware.csrf import CsrfViewMiddleware
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone

from scanner.models import ApiToken, Scan, SignInLink

FIRST_USER = "admin"
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


def may_see(user: AbstractBaseUser | AnonymousUser) -> bool:
    return bool(user.is_active and getattr(user, "is_staff", False))


def may_run(user: AbstractBaseUser | AnonymousUser) -> bool:
    return may_see(user) and user.has_perm("scanner.run_scan")  # type: ignore[union-attr]


def may_manage_webhooks(user: AbstractBaseUser | AnonymousUser) -> bool:
    return may_see(user) and user.has_perm("scanner.manage_webhooks")  # type: ignore[union-attr]


def may_accept_risk(user: AbstractBaseUser | AnonymousUser) -> bool:
    return may_see(user) and user.has_perm("scanner.accept_risk")  # type: ignore[union-attr]


def may_refresh_feeds(user: AbstractBaseUser | AnonymousUser) -> bool:
    return may_see(user) and user.has_perm("scanner.change_feed")  # type: ignore[union-attr]


RIGHTS = {ApiToken.Scope.READ: may_see, ApiToken.Scope.SCAN: may_run, ApiToken.Scope.ADMIN: may_manage_webhooks}
"""What a session must be allowed at a door for programs that asks tokens for this scope."""


def pages_for(allowed: Callable[[AbstractBaseUser | AnonymousUser], bool], words: str = "") -> Callable[[View], View]:
    """A page: the sign-in page for strangers, 403 for who is signed in but may not see it. `words`: what staff lack."""

    def guard(view: View) -> View:
        @login_required
        @wraps(view)
        def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            if not allowed(request.user):
                if words and may_see(request.user):
                    return render(request, "403.html", {"message": words}, status=403)
                raise PermissionDenied
            return view(request, *args, **kwargs)

        return guarded

    return guard


staff_only = pages_for(may_see)
managers_only = pages_for(may_manage_webhooks)
accepters_only = pages_for(may_accept_risk, "Your account may not accept risks, nor withdraw that.")
refreshers_only = pages_for(may_refresh_feeds, "Your account may not refresh feeds.")


def caller(request: HttpRequest, scope: str) -> Caller:
    """Who asks at a door for programs: a bearer token of that scope, or a session with its CSRF token.

    Raises NotSignedIn or PermissionDenied. The view must be csrf_exempt: a token needs no CSRF token.
    """
    kind, _, text = request.headers.get("Authorization", "").partition(" ")
    if kind.lower() == "bearer":
        return token_caller(text.strip(), scope)
    if not request.user.is_authenticated:
        raise NotSignedIn
    if reason := CsrfCheck(empty).process_view(request, empty, (), {}):
        raise PermissionDenied(f"{reason} Reload the page.")
    if not RIGHTS[ApiToken.Scope(scope)](request.user):
        raise PermissionDenied("Your account may not do this.")
    return Caller(request.user.get_username(), Scan.Trigger.DASHBOARD)


def token_caller(text: str, scope: str) -> Caller:
    token = ApiToken.objects.valid(text)
    if token is None:
        raise NotSignedIn
    if not token.allows(scope):
        raise PermissionDenied(f"This token's scope is {token.scope}; {scope} is needed.")
    now = timezone.now()
    if token.last_used_at is None or (now - token.last_used_at).total_seconds() > USED_NOTE_INTERVAL:
        ApiToken.objects.filter(pk=token.pk).update(last_used_at=now)
    return Caller(f"token {token.name}", Scan.Trigger.API)


def new_sign_in_link(username: str = "") -> str:
    """The path of a link that signs in once, within the hour: as the named user, or as the first administrator.

    There is no default password: the administrator that is made here has none until somebody sets one.
    Raises User.DoesNotExist for a name that is not there.
    """
    users = get_user_model()._default_manager
    if username:
        user = users.get_by_natural_key(username)
    else:
        user = users.filter(is_superuser=True, is_active=True).order_by("pk").first() or users.create_superuser(
            FIRST_USER
        )
    return reverse("sign-in-link", args=[SignInLink.objects.issue(user)])


def use_sign_in_link(request: HttpRequest, text: str) -> HttpResponse:
    link = SignInLink.objects.use(text)
    if link is None:
        return render(request, "frontend/link_used.html", status=403)
    login(request, link.user, backend="django.contrib.auth.backends.ModelBackend")
    return redirect("dashboard")
