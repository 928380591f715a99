"""/api/v1/: JSON in, JSON out, errors as problem details (RFC 9457). The OpenAPI document is made from this code."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from ninja import NinjaAPI
from ninja.errors import HttpError, ValidationError

from frontend import access, webhooks_api
from scanner.models import ApiToken
from scanner.webhooks.editing import Problem, Refused

SIGN_IN = "Sign in, or send a valid token as `Authorization: Bearer …`."


class Problems(Exception):
    """Several things are wrong with what was sent."""


def admin_only(request: HttpRequest) -> access.Caller:
    """A token of scope admin, or the session of who may manage webhooks, with its CSRF token."""
    return access.caller(request, ApiToken.Scope.ADMIN)


api = NinjaAPI(title="Package security scanner", version="1", urls_namespace="api-v1", docs_url=None)
api.add_router("", webhooks_api.router, auth=admin_only)


def problem(
    request: HttpRequest, status: int, title: str, detail: str, problems: Sequence[Problem] = (), **more: Any
) -> HttpResponse:
    """`message` repeats the detail, as our older doors name it; where a filter is wrong stands on top, too."""
    body = {"type": "about:blank", "title": title, "status": status, "detail": detail, "message": detail, **more}
    if problems:
        body["errors"] = [asdict(each) for each in problems]
    if placed := next((each for each in problems if each.column is not None), None):
        body |= {"line": placed.line, "column": placed.column}
    response = api.create_response(request, body, status=status)
    response["Content-Type"] = "application/problem+json"
    if status == 401:
        response["WWW-Authenticate"] = "Bearer"
    return response


@api.exception_handler(access.NotSignedIn)
def not_signed_in(request: HttpRequest, error: Exception) -> HttpResponse:
    return problem(request, 401, "Not signed in", SIGN_IN)


@api.exception_handler(PermissionDenied)
def not_allowed(request: HttpRequest, error: Exception) -> HttpResponse:
    return problem(request, 403, "Not allowed", str(error))


@api.exception_handler(Http404)
def not_there(request: HttpRequest, error: Exception) -> HttpResponse:
    return problem(request, 404, "Not found", "There is nothing with this id.")


@api.exception_handler(HttpError)
def http_error(request: HttpRequest, error: HttpError) -> HttpResponse:
    return problem(request, error.status_code, "Cannot be done", str(error))


@api.exception_handler(Refused)
def refused(request: HttpRequest, error: Refused) -> HttpResponse:
    return problem(request, 422, "Not valid", str(error), error.problems)


@api.exception_handler(ValidationError)
def not_valid(request: HttpRequest, error: ValidationError) -> HttpResponse:
    """What the schema refuses: {"loc": ["body", "wishes", "name"], "msg": "Field required"}."""
    problems = [
        Problem(".".join(str(part) for part in each["loc"][2:]) or str(each["loc"][-1]), str(each["msg"]))
        for each in error.errors
    ]
    detail = " ".join(f"{each.field}: {each.message}." for each in problems)
    return problem(request, 422, "Not valid", detail, problems)
