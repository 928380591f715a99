"""Who may use the doors of /api/v1/, and how often."""

from typing import Any

from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest

from frontend import access, api_limits
from scanner.audit import Actor
from scanner.webhooks.editing import Problem, Refused


class Token:
    """A token of a scope, or the session of who may do the same, for writes with its CSRF token."""

    openapi_security_schema = {
        "type": "http",
        "scheme": "bearer",
        "description": "`manage.py create_api_token NAME --scope read|scan|admin`; a scope includes those before it."
        " One that was made with `--tag TAG` is answered about the hosts with that tag, as if there were no others.",
    }

    def __init__(self, scope: str, right: access.Right | None, about_all: bool) -> None:
        self.scope = scope
        self.right = right
        self.about_all = about_all

    def __call__(self, request: HttpRequest) -> access.Caller:
        caller = access.caller(request, self.scope, self.right)
        if self.about_all and caller.sight.limited:
            raise PermissionDenied(access.ABOUT_ALL)
        kind, _, text = request.headers.get("Authorization", "").partition(" ")
        if kind.lower() == "bearer":
            api_limits.count(text.strip())
        if "\0" in request.path:
            raise Http404("There is nothing with a NUL in its name.")
        if wrong := [name for name, value in request.GET.items() if "\0" in f"{name}{value}"]:
            raise Refused([Problem(name.replace("\0", ""), "It has a NUL in it.") for name in wrong])
        return caller


class Session:
    """For the document: `Token` lets sessions in as well, so nobody asks this."""

    openapi_security_schema = {
        "type": "apiKey",
        "in": "cookie",
        "name": settings.SESSION_COOKIE_NAME,
        "description": "Of a staff member. Writes need the header `X-CSRFToken`, too.",
    }

    def __call__(self, request: HttpRequest) -> None:
        return None


def actor(request: HttpRequest) -> Actor:
    """Who has come in by one of these doors."""
    return request.auth.actor  # type: ignore[attr-defined]


def door_for(scope: str, right: access.Right | None = None, *, about_all: bool = False) -> list[Any]:
    """`right`: what a session must be allowed, where that is not what goes with the scope.

    `about_all`: closed to who sees only some hosts.
    """
    return [Token(scope, right, about_all), Session()]
