"""What a visitor is told while the database is away."""

from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.template.loader import render_to_string
from django.utils.deprecation import MiddlewareMixin

WORDS = "The database does not answer."


class DatabaseAway(MiddlewareMixin):
    """503 in place of 500: it is not our fault, and it will pass. JSON at the doors for programs."""

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        if not isinstance(error, (InterfaceError, OperationalError)):
            return None
        program = request.path.startswith("/api/") or "Authorization" in request.headers
        if program or not request.accepts("text/html"):
            return JsonResponse({"success": False, "message": WORDS}, status=503)
        # without the request: who is signed in, only the database could tell
        return HttpResponse(render_to_string("503.html", {"message": WORDS}), status=503)
