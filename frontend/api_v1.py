"""/api/v1/: JSON in, JSON out, errors as problem details (RFC 9457). The OpenAPI document is made from this code."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import wraps
from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.cache import get_conditional_response, patch_cache_control, patch_vary_headers
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_safe
from ninja import NinjaAPI
from ninja.errors import HttpError, ValidationError

from frontend import access, api_limits, audit_api, fleet_api, schedules_api, vulnerabilities_api, webhooks_api
from frontend.api_document import completed, operations
from frontend.api_doors import door_for
from scanner.models import ApiToken
from scanner.webhooks.editing import Problem, Refused

SIGN_IN = "Sign in, or send a valid token as `Authorization: Bearer …`."


class Problems(Exception):
    """Several things are wrong with what was sent."""


class Api(NinjaAPI):
    """Ninja's, with its document completed and whatever it answers in one manner."""

    document: Any = None  # made when it is first asked for, which takes longer than most pages

    def get_openapi_schema(self, **kwargs: Any) -> Any:
        if self.document is None:
            self.document = completed(super().get_openapi_schema(**kwargs))
        return self.document

    def _get_urls(self) -> list[Any]:
        found = super()._get_urls()
        for pattern in found:
            pattern.callback = politely(pattern.callback)  # type: ignore[arg-type]
        return found


def politely(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """A wrong method is told as a problem, too; what has not changed is not sent again; nobody else keeps it."""

    @wraps(view)
    def answered(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        response = view(request, *args, **kwargs)
        if response.status_code == 405:
            allowed = response["Allow"]
            response = problem(request, 405, "Method not allowed", f"Allowed here: {allowed}.")
            response["Allow"] = allowed
        patch_cache_control(response, private=True, no_cache=True)
        patch_vary_headers(response, ("Authorization", "Cookie"))
        if request.method == "GET" and response.status_code == 200:
            etag = f'"{hashlib.sha256(response.content).hexdigest()[:32]}"'
            response["ETag"] = etag
            return get_conditional_response(request, etag=etag, response=response) or response
        return response

    return answered


api = Api(title="Package security scanner", version="1", urls_namespace="api-v1", docs_url=None)
api.add_router("", fleet_api.router, auth=door_for(ApiToken.Scope.READ))
api.add_router("", vulnerabilities_api.router, auth=door_for(ApiToken.Scope.READ))
api.add_router("", schedules_api.router, auth=door_for(ApiToken.Scope.READ, about_all=True))
api.add_router("", webhooks_api.router, auth=door_for(ApiToken.Scope.ADMIN))
api.add_router("", audit_api.router, auth=door_for(ApiToken.Scope.ADMIN, access.may_see_all))


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
    said = str(error) if str(error).startswith(("There is no", "No feed")) else "There is nothing with this id."
    return problem(request, 404, "Not found", said)


@api.exception_handler(api_limits.TooMany)
def too_many(request: HttpRequest, error: api_limits.TooMany) -> HttpResponse:
    response = problem(request, 429, "Too many requests", str(error))
    response["Retry-After"] = str(error.seconds)
    return response


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


@csrf_exempt
def no_such_address(request: HttpRequest) -> HttpResponse:
    """Whatever else begins with /api/v1/."""
    return problem(request, 404, "Not found", "There is nothing at this address. /api/v1/openapi.json has them all.")


@require_safe
@access.staff_only
def docs(request: HttpRequest) -> HttpResponse:
    """The OpenAPI document as a page, made here: nothing is fetched from elsewhere."""
    document = api.get_openapi_schema()
    return render(request, "frontend/api_docs.html", {"info": document["info"], "tags": operations(document)})
