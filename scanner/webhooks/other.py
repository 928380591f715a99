"""Other services, through apprise (https://github.com/caronc/apprise), which runs in a process of its own.

It would follow redirects, connect to any address, obey the environment's proxies and read files that a URL names.
What keeps it from that is in apprise_process.py.
"""

import json
import re
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scanner.webhooks.harmless import plain, without_mentions
from scanner.webhooks.interface import Answer, BadTarget, DirectChannel, Event, Target
from scanner.webhooks.wording import as_text, message

CHECKOUT = Path(__file__).resolve().parents[2]
PROGRAM = (sys.executable, "-B", "-m", "scanner.webhooks.apprise_process")
ENVIRONMENT = {"HOME": "/nonexistent", "LANG": "C.UTF-8"}  # neither proxies nor .netrc nor our own secrets
LIMIT = 30.0  # seconds for one message, start and end of the process included
URL_LIMIT = 2048  # characters
SCHEME = re.compile(r"([a-z][a-z0-9]*)://.", re.IGNORECASE)


class Other(DirectChannel):
    kind = "other"
    label = "Other service"

    def __init__(self, limit: float = LIMIT) -> None:
        self.limit = limit

    def clean(self, target: Target, networks: Sequence[Any]) -> dict[str, Any]:
        """Whether apprise understands it, and the same without what would weaken it; nothing is sent."""
        url = str(target.get("url") or "").strip()
        check_text(url)
        answer = run({"url": url}, networks, self.limit)
        if not answer.get("ok"):
            raise BadTarget("url", str(answer["words"]))
        return {"url": str(answer["url"])}

    def shown(self, target: Target) -> str:
        """ "tgram://…": all the rest may be a secret"""
        found = SCHEME.match(str(target.get("url") or ""))
        return f"{found[1].lower() if found else ''}://…"

    def body(self, event: Event) -> str:
        told = message(event)
        return json.dumps(
            {
                "title": without_mentions(told.title),
                "body": without_mentions(as_text(told)),
                # to services that keep alerts, "secure" would close one, and a test is to be seen
                "level": "low" if (event.get("data") or {}).get("test") else told.level,
            },
            ensure_ascii=False,
        )

    def send(self, target: Target, event_id: str, body: str, networks: Sequence[Any] = ()) -> Answer:
        """`networks` are the private ones that may be reached: without them, only public services."""
        started = time.monotonic()
        answer = run({"url": str(target["url"]), "message": json.loads(body)}, networks, self.limit)
        return Answer(
            ok=bool(answer.get("ok")),
            error=str(answer.get("error") or ""),
            words=plain(answer.get("words")),
            final=bool(answer.get("final")),
            status=answer.get("status"),
            retry_after=answer.get("retry_after"),
            seconds=time.monotonic() - started,
        )


def check_text(url: str) -> None:
    if not SCHEME.match(url):
        raise BadTarget("url", "Write the address of the service as apprise has it, such as tgram://token/chat.")
    if len(url) > URL_LIMIT:
        raise BadTarget("url", f"The address is longer than {URL_LIMIT:,} characters.")
    if any(character.isspace() or not character.isprintable() for character in url):
        raise BadTarget("url", "The address has a space or an invisible character in it.")


def run(order: Mapping[str, Any], networks: Sequence[Any], limit: float) -> dict[str, Any]:
    """What the process answers. Whatever becomes of it, it has ended when this returns or raises."""
    full = {**order, "networks": [str(network) for network in networks], "seconds": limit}
    try:
        done = subprocess.run(
            PROGRAM,
            input=json.dumps(full),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            timeout=limit,
            cwd=CHECKOUT,
            env=ENVIRONMENT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return failure("timeout", f"The service did not take the message within {limit:g} seconds.")
    try:
        return dict(json.loads(done.stdout))
    except ValueError:
        return failure("internal", f"apprise ended early, with code {done.returncode}.")


def failure(error: str, words: str) -> dict[str, Any]:
    return {"ok": False, "error": error, "words": words}
