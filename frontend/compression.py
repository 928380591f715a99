"""What is sent to who accepts gzip is compressed, unless it is sent while it is made."""

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.middleware.gzip import GZipMiddleware


class Compressed(GZipMiddleware):
    """Django's own, which adds a random length against BREACH.

    Under ASGI that compresses each piece of a streamed answer as a file of its own, of which browsers and curl read the
    first: half a file. So these stay as they are.
    """

    def process_response(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        return response if response.streaming else super().process_response(request, response)
