"""One ASGI application: pages and API by Django, the socket by Channels."""

import os

from channels.auth import AuthMiddlewareStack
from channels.routing import ProtocolTypeRouter, URLRouter
from channels.security.websocket import AllowedHostsOriginValidator
from django.core.asgi import get_asgi_application
from django.urls import path

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
pages = get_asgi_application()

from frontend.live import LiveScans  # noqa: E402 - its models need Django to be set up

application = ProtocolTypeRouter(
    {
        "http": pages,
        # Without the origin check any web page could open our socket with the user's cookie.
        "websocket": AllowedHostsOriginValidator(
            AuthMiddlewareStack(URLRouter([path("ws/security/package-scanner/", LiveScans.as_asgi())]))
        ),
    }
)
