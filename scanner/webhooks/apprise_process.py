"""One message through apprise, fenced in: python -m scanner.webhooks.apprise_process

Reads one JSON object: {"url", "networks", "seconds", "message": {"title", "body", "level"}}; without a message, the URL
is only checked. Writes one: {"ok", "error", "words", "final", "status", "retry_after", "url"}, of which `ok` is always
there. No Django, so it starts quickly.

Names and behaviour are those of apprise 2.2, requests 2.34 and urllib3 2.8.
"""

import errno
import importlib
import json
import math
import os
import re
import resource
import signal
import socket
import sys
import sysconfig
from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from typing import Any, ClassVar
from urllib.parse import unquote, unquote_plus

import apprise
import requests
import urllib3.exceptions
import urllib3.util.connection
from requests.adapters import HTTPAdapter

from scanner.webhooks.addresses import SETTING, Network, allowed, listed, networks_of
from scanner.webhooks.harmless import plain

SERVICES = {
    "bark": "bark.NotifyBark",
    "barks": "bark.NotifyBark",
    "dingtalk": "dingtalk.NotifyDingTalk",
    "feishu": "feishu.NotifyFeishu",
    "gchat": "google_chat.NotifyGoogleChat",
    "gotify": "gotify.NotifyGotify",
    "gotifys": "gotify.NotifyGotify",
    "hassio": "home_assistant.NotifyHomeAssistant",
    "hassios": "home_assistant.NotifyHomeAssistant",
    "ilert": "ilert.NotifyILert",
    "incidentio": "incidentio.NotifyIncidentIO",
    "jira": "jira.NotifyJira",
    "lark": "lark.NotifyLark",
    "line": "line.NotifyLine",
    "matrix": "matrix.NotifyMatrix",
    "matrixs": "matrix.NotifyMatrix",
    "mmost": "mattermost.NotifyMattermost",
    "mmosts": "mattermost.NotifyMattermost",
    "nctalk": "nextcloudtalk.NotifyNextcloudTalk",
    "nctalks": "nextcloudtalk.NotifyNextcloudTalk",
    "nexmo": "vonage.NotifyVonage",
    "ntfy": "ntfy.NotifyNtfy",
    "ntfys": "ntfy.NotifyNtfy",
    "opsgenie": "opsgenie.NotifyOpsgenie",
    "pagerduty": "pagerduty.NotifyPagerDuty",
    "pbul": "pushbullet.NotifyPushBullet",
    "pover": "pushover.NotifyPushover",
    "prowl": "prowl.NotifyProwl",
    "rocket": "rocketchat.NotifyRocketChat",
    "rockets": "rocketchat.NotifyRocketChat",
    "signal": "signal_api.NotifySignalAPI",
    "signals": "signal_api.NotifySignalAPI",
    "signl4": "signl4.NotifySIGNL4",
    "splunk": "splunk.NotifySplunk",
    "squadcast": "squadcast.NotifySquadcast",
    "tgram": "telegram.NotifyTelegram",
    "threema": "threema.NotifyThreema",
    "twilio": "twilio.NotifyTwilio",
    "victorops": "splunk.NotifySplunk",
    "vonage": "vonage.NotifyVonage",
    "webex": "webexteams.NotifyWebexTeams",
    "wecombot": "wecombot.NotifyWeComBot",
    "wxteams": "webexteams.NotifyWebexTeams",
    "xmatters": "xmatters.NotifyXMatters",
    "zoom": "zoom.NotifyZoom",
    "zulip": "zulip.NotifyZulip",
}
"""What may be used: pagers, chats and telephones that people are on call with, all of them HTTP by way of requests.

Left out: json, xml and form, which send to any URL (a signed request does that better); mailto and its kin (the mail
channel); slack, discord, msteams and workflows (channels of their own; in apprise they read files that a URL names);
irc, amqp, mqtt, xmpp, smpp, rsyslog, growl and whatever else opens sockets of its own; syslog, dbus and whatever else
stays on this machine; vapid and fcm, whose URLs name files with keys; social networks.
"""

WEAKENING = frozenset(("verify", "redirect", "cto", "rto", "retry", "wait", "optional", "store", "template"))
"""Parameters of a URL that are taken out: optional=yes calls a failure a success, template= reads a local file."""

TIMEOUT = (5.0, 15.0)  # seconds, to connect and to wait for the next bytes
ANSWER = 64 * 1024  # bytes of a service's answer; the rest is not read
MEMORY = 512 * 1024**2  # bytes
LOG = 8192  # bytes of what apprise says
KINDS = {
    "high": apprise.NotifyType.FAILURE,
    "medium": apprise.NotifyType.WARNING,
    "low": apprise.NotifyType.WARNING,
    "secure": apprise.NotifyType.SUCCESS,
}
TROUBLES = {
    "refused": "The address of the service is private or reserved, or it is reached by plain http. "
    f"An administrator can list its network in {SETTING}.",
    "dns": "The name of the service could not be found.",
    "connect": "No connection to the service could be made.",
    "tls": "The service's certificate is not trusted, or no TLS connection could be agreed on.",
    "timeout": "The service did not answer in time.",
}
LIBRARIES = ("stdlib", "platstdlib", "purelib", "platlib")
WARNING = re.compile("WARNING|ERROR|CRITICAL")
STARTS_PROGRAMS = ("subprocess.", "os.system", "os.exec", "os.fork", "os.posix_spawn", "os.spawn", "pty.spawn")
TALKS_OTHERWISE = ("socket.bind", "socket.sendto", "socket.sendmsg")


def main() -> None:
    order = json.loads(sys.stdin.read())
    signal.alarm(math.ceil(order["seconds"]) + 5)  # should whoever started us have died
    answer, sys.stdout = sys.stdout, sys.stderr  # whatever else is printed is no answer
    limit_resources(order["seconds"])
    result = carry_out(order)
    answer.write(json.dumps(result))
    answer.flush()
    os._exit(0)  # a thread that still waits for the service must not hold us up


def carry_out(order: Mapping[str, Any]) -> dict[str, Any]:
    url = without_weakening(order["url"])
    asset = asset_for(order["seconds"])
    try:
        plugin = plugin_for(url)
        fence = put_up_fence(networks_of(order["networks"]))
        service = service_for(plugin, url, asset)
    except ValueError as error:
        return {"ok": False, "error": "address", "words": str(error), "final": True}
    if "message" not in order:
        return {"ok": True, "url": url}
    return send(service, order["message"], asset, fence, url) | {
        "status": fence.status,
        "retry_after": fence.retry_after,
    }


def limit_resources(seconds: float) -> None:
    """Memory, computing time and files; the process is killed, or runs into an error, beyond them."""
    for kind, limit in (
        (resource.RLIMIT_AS, MEMORY),
        (resource.RLIMIT_CPU, math.ceil(seconds)),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(kind, (limit, limit))


# --- the service ------------------------------------------------------------------------------------


def without_weakening(url: str) -> str:
    """The URL without the parameters that would undo what is guarded here, however they are written."""
    head, mark, query = url.partition("?")
    kept = [part for part in query.split("&") if unquote_plus(part.partition("=")[0]).strip().lower() not in WEAKENING]
    return head + (mark + "&".join(kept) if any(kept) else "")


def plugin_for(url: str) -> Any:
    """The class of the service, by itself: apprise alone would load all of them. Raises ValueError."""
    scheme = url.partition("://")[0].lower()
    if scheme not in SERVICES:
        raise ValueError(f"{plain(scheme, 30)}:// is not one of these services: {', '.join(sorted(SERVICES))}.")
    module, _, name = SERVICES[scheme].partition(".")
    return getattr(importlib.import_module(f"apprise.plugins.{module}"), name)


def service_for(plugin: Any, url: str, asset: apprise.AppriseAsset) -> Any:
    """Raises ValueError."""
    parts = plugin.parse_url(url.replace("/#", "/%23"))  # rockets://…/#channel
    wanted = {name: value for name, value in (parts or {}).items() if name not in WEAKENING}
    try:
        service = plugin(**wanted, asset=asset) if wanted else None
    except Exception:  # AppriseImproperlyConfigured, or whatever the plugin stumbles over
        service = None
    if service is None or not service.enabled:
        raise ValueError(f"This is no complete address of {plugin.service_name}: {plugin.setup_url} has its form.")
    service.persistent_storage = False
    if "overflow" not in wanted:
        service.overflow_mode = apprise.OverflowMode.TRUNCATE  # else some services refuse a long message
    return service


def asset_for(seconds: float) -> apprise.AppriseAsset:
    return apprise.AppriseAsset(
        app_id="Package Security Scanner",
        http_redirects=False,
        service_timeout=max(1.0, seconds - 2),
        storage_mode=apprise.PersistentStoreMode.MEMORY,
        result_log_memory_size=LOG,
        result_log_disk_size=0,
        allow_templates=False,
        async_mode=False,
        pgp_autogen=False,
        pem_autogen=False,
    )


def send(
    service: Any, message: Mapping[str, str], asset: apprise.AppriseAsset, fence: "Fence", url: str
) -> dict[str, Any]:
    sender = apprise.Apprise(asset=asset)
    sender.add(service)
    kind = KINDS.get(message["level"], apprise.NotifyType.WARNING)
    result = sender.notify(
        title=message["title"], body=message["body"], notify_type=kind, body_format=apprise.NotifyFormat.TEXT
    )
    if result:
        return {"ok": True}
    if result.status == apprise.AppriseResultStatus.TIMEOUT:
        fence.trouble = fence.trouble or "timeout"
    if fence.trouble:
        return {"ok": False, "error": fence.trouble, "words": TROUBLES[fence.trouble]}
    logged = [entry.message for entry in result.logs() if WARNING.match(str(entry.level))]
    words = without_secrets(logged[-1] if logged else "The service did not take the message.", url)
    return {"ok": False, "error": "service", "words": words}


def without_secrets(words: str, url: str) -> str:
    """What apprise logged, without the parts of the URL: any may be a token, even where a host would be."""
    for part in sorted(re.split(r"[/:@?&=,#]", url.partition("://")[2]), key=len, reverse=True):
        if len(part) > 3:
            words = words.replace(part, "…").replace(unquote(part), "…")
    return plain(words)


# --- the fence --------------------------------------------------------------------------------------


class Fence:
    """Judges where the process connects to, and notes what went wrong."""

    def __init__(self, networks: Sequence[Network]) -> None:
        self.networks = networks
        self.judge: Callable[[str, Sequence[Network]], bool] = listed
        self.trouble = ""
        self.status: int | None = None  # of the last answer
        self.retry_after: float | None = None  # seconds
        self.connect_to = urllib3.util.connection.create_connection
        libraries = {os.path.realpath(sysconfig.get_path(name)) for name in LIBRARIES}
        self.readable = tuple(f"{path}/" for path in (*libraries, "/usr/share/zoneinfo"))

    def create_connection(self, address: tuple[str, int], *args: Any, **options: Any) -> socket.socket:
        """Instead of urllib3's: connects to the very address that was judged. One bad address spoils the name."""
        host, port = address
        try:
            found = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)
        except OSError:
            self.trouble = "dns"
            raise
        ips = list(dict.fromkeys(str(row[4][0]) for row in found))
        if not all(self.judge(ip, self.networks) for ip in ips):
            self.refuse(f"connection to {host}")
        for ip in ips[:-1]:
            try:
                return self.connect_to((ip, port), *args, **options)
            except OSError:
                continue
        return self.connect_to((ips[-1], port), *args, **options)

    def watch(self, event: str, arguments: tuple[Any, ...]) -> None:
        """An audit hook (PEP 578), which Python calls before it does these things and nobody can take off again.

        It stands behind the other guards: a plugin that went another way than requests would meet it.
        """
        if event.startswith(STARTS_PROGRAMS) or event in TALKS_OTHERWISE:
            self.refuse(event)
        elif event == "socket.connect":
            address = arguments[1]
            if not isinstance(address, tuple) or not allowed(str(address[0]), self.networks):
                self.refuse("connection")
        elif event == "open" and not isinstance(arguments[0], int):
            path = os.path.realpath(os.fsdecode(arguments[0]))
            if not path.startswith(self.readable):
                raise PermissionError(errno.EACCES, "this file is not for apprise")

    def refuse(self, what: str) -> None:
        self.trouble = "refused"
        raise PermissionError(errno.EACCES, f"refused: {what}")


class Guarded(HTTPAdapter):
    """Every request of every plugin comes through here, whatever the plugin wanted."""

    fence: ClassVar[Fence]

    def send(self, request: requests.PreparedRequest, *args: Any, **options: Any) -> requests.Response:
        self.fence.trouble = ""  # of an earlier request, which the plugin has got over
        self.fence.judge = allowed if str(request.url).lower().startswith("https:") else listed
        try:
            response = super().send(request, stream=True, timeout=TIMEOUT, verify=True, cert=None, proxies={})
            response.raw = beginning(response.raw)
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            self.fence.trouble = self.fence.trouble or trouble_of(error)
            raise requests.ConnectionError(str(error)) from error
        response.headers.pop("Location", None)  # nobody can follow it then
        self.fence.status = response.status_code
        wait = response.headers.get("Retry-After", "")
        self.fence.retry_after = float(wait) if wait.isascii() and wait.isdigit() else None
        return response


def beginning(raw: Any) -> BytesIO:
    """The first bytes of an answer, and the end of its connection."""
    try:
        return BytesIO(raw.read(ANSWER, decode_content=True))
    finally:
        raw.close()


def trouble_of(error: Exception) -> str:
    if isinstance(error, requests.exceptions.SSLError):
        return "tls"
    return "timeout" if isinstance(error, (requests.Timeout, urllib3.exceptions.TimeoutError)) else "connect"


def put_up_fence(networks: Sequence[Network]) -> Fence:
    """From here on; it cannot be taken down. The plugin has been imported before, since that reads files."""
    fence = Guarded.fence = Fence(networks)
    requests.sessions.HTTPAdapter = Guarded  # type: ignore[misc]
    urllib3.util.connection.create_connection = fence.create_connection
    sys.addaudithook(fence.watch)
    return fence


if __name__ == "__main__":
    main()
