"""Standard Webhooks 1.0.0: the event itself as JSON, signed, for programs. https://www.standardwebhooks.com"""

import base64
import binascii
import hashlib
import hmac
import json
import re
from collections.abc import Mapping, Sequence
from secrets import token_bytes
from typing import Any
from urllib.parse import urlsplit

from scanner.webhooks.addresses import check_url
from scanner.webhooks.interface import BadTarget, Event, HttpChannel, Request, Target

PREFIX = "whsec_"
SECRET_BYTES = 32
HEADERS = 10  # that a user may add
HEADER_NAME, HEADER_VALUE = 100, 1024  # characters

TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")  # RFC 9110, 5.6.2
OURS = re.compile(  # what the request, its connection or its signature is made of
    r"host|content-.*|transfer-encoding|connection|keep-alive|te|trailer|upgrade|expect|accept-encoding"
    r"|proxy-.*|webhook-.*|user-agent",
    re.IGNORECASE,
)
# A part of a path that looks made by a machine: 16 characters or more, a digit among them
SECRET_LOOKING = re.compile(r"(?<=/)(?=[^/]*\d)[^/]{16,}")


class Standard(HttpChannel):
    kind = "standard"
    label = "Signed HTTP request"
    takes = ("url", "headers")
    for_people = False

    def clean(self, target: Target, networks: Sequence[Any]) -> dict[str, Any]:
        url = check_url(str(target.get("url") or ""), networks)
        return {"url": url, "headers": clean_headers(target.get("headers") or {})}

    def shown(self, target: Target) -> str:
        """ "https://example.org/hooks/…?…": paths and queries hold secrets, too"""
        url = urlsplit(str(target.get("url") or ""))
        path = SECRET_LOOKING.sub("…", url.path)
        return f"{url.scheme}://{url.netloc.rpartition('@')[2]}{path}{'?…' if url.query else ''}"

    def body(self, event: Event) -> str:
        return json.dumps(event, ensure_ascii=False, separators=(",", ":"))

    def request(self, target: Target, event_id: str, body: str, secrets: Sequence[str], at: int) -> Request:
        """Signed with every secret: while one takes over from another, receivers may know either."""
        if not secrets:
            raise ValueError("a signed request needs a secret")
        data = body.encode()
        signed = (
            ("Content-Type", "application/json"),
            ("webhook-id", event_id),
            ("webhook-timestamp", str(at)),
            ("webhook-signature", " ".join(sign(secret, event_id, at, data) for secret in secrets)),
        )
        return Request(str(target["url"]), data, signed, tuple((target.get("headers") or {}).items()))


def sign(secret: str, event_id: str, at: int, body: bytes) -> str:
    """ "v1,<base64 of HMAC-SHA256>" over the id, the Unix time and the exact bytes that are sent"""
    signed = b".".join((event_id.encode(), str(at).encode(), body))
    return f"v1,{base64.b64encode(hmac.digest(key(secret), signed, hashlib.sha256)).decode()}"


def key(secret: str) -> bytes:
    """The bytes of a secret; its base64 may lack the padding. Raises ValueError."""
    text = secret.removeprefix(PREFIX).rstrip("=")
    try:
        found = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except binascii.Error as error:
        raise ValueError("a webhook secret is whsec_ and base64") from error
    if not found:
        raise ValueError("a webhook secret must not be empty")
    return found


def new_secret() -> str:
    return PREFIX + base64.b64encode(token_bytes(SECRET_BYTES)).decode()


# --- custom headers ---------------------------------------------------------------------------------


def clean_headers(headers: Any) -> dict[str, str]:
    """Raises BadTarget: nothing that is typed in may become a second header, or one of ours."""
    if not isinstance(headers, Mapping):
        raise bad("Write each header as a name and a value.")
    if len(headers) > HEADERS:
        raise bad(f"At most {HEADERS} headers, please: these are {len(headers)}.")
    cleaned = dict(clean_header(name, value) for name, value in headers.items())
    if len({name.lower() for name in cleaned}) < len(headers):
        raise bad("The same header is there twice.")
    return cleaned


def clean_header(name: Any, value: Any) -> tuple[str, str]:
    if not isinstance(name, str) or not TOKEN.fullmatch(name) or len(name) > HEADER_NAME:
        raise bad(f"{str(name)[:HEADER_NAME]!r} is no name of a header: letters, digits and dashes, please.")
    if OURS.fullmatch(name):
        raise bad(f"{name} is set by us.")
    if not isinstance(value, str) or not value.strip():
        raise bad(f"{name} has no value.")
    if len(value) > HEADER_VALUE:
        raise bad(f"The value of {name} has more than {HEADER_VALUE:,} characters.")
    if any(ord(character) < 0x20 or 0x7F <= ord(character) < 0xA0 or ord(character) > 0xFF for character in value):
        raise bad(f"The value of {name} has a line break, or a character that no header can carry.")
    return name, value.strip(" ")


def bad(words: str) -> BadTarget:
    return BadTarget("headers", words)
