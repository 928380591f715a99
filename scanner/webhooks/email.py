"""Mail, through the server of EMAIL_URL: one message for each recipient, as text and as HTML."""

import json
import re
import smtplib
import socket
import ssl
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from email.utils import parseaddr
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.mail import EmailMultiAlternatives, get_connection
from django.core.validators import validate_email
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from scanner.webhooks.harmless import plain
from scanner.webhooks.interface import Answer, BadTarget, DirectChannel, Event, Target
from scanner.webhooks.wording import Message, as_text, message

RECIPIENTS = 20
SUBJECT = 200  # characters
SHOWN = 3  # recipients
PATIENCE = 30  # seconds for all recipients together; EMAIL_TIMEOUT is for one step with the server
NO_SERVER = "No mail server is configured: set EMAIL_URL."
NOT_IN_AN_ID = re.compile(r"[^A-Za-z0-9_.-]")

COLOURS = {"high": "#b91319", "medium": "#b85f00", "low": "#8a7300", "secure": "#1b763a", "unknown": "#5e646c"}

BREAKDOWNS: tuple[tuple[type[Exception], str, str], ...] = (
    (TimeoutError, "timeout", "The mail server did not answer in time."),
    (socket.gaierror, "dns", "The name of the mail server could not be found."),
    (ssl.SSLError, "tls", "No TLS connection with the mail server could be made."),
    (ConnectionResetError, "reset", "The mail server broke the connection off."),
    (smtplib.SMTPServerDisconnected, "reset", "The mail server broke the connection off."),
)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a recipient got nothing. After an `ended` one, there is no server to talk to for the others."""

    error: str
    words: str
    final: bool = False
    ended: bool = False


class Email(DirectChannel):
    kind = "email"
    label = "Email"
    takes = ("recipients",)

    def clean(self, target: Target, networks: Sequence[Any]) -> dict[str, Any]:
        if not settings.EMAIL_URL:
            raise bad(NO_SERVER)
        given = target.get("recipients") or []
        if not isinstance(given, (list, tuple)) or not all(isinstance(address, str) for address in given):
            raise bad("Write the recipients as a list of mail addresses.")
        addresses = list({address.strip().lower(): address.strip() for address in given}.values())
        if not 1 <= len(addresses) <= RECIPIENTS:
            raise bad(f"Write 1 to {RECIPIENTS} recipients: these are {len(addresses)}.")
        for address in addresses:
            check_address(address)
        return {"recipients": addresses}

    def shown(self, target: Target) -> str:
        addresses = [str(address) for address in target.get("recipients") or ()]
        more = f" and {len(addresses) - SHOWN} more" if len(addresses) > SHOWN else ""
        return ", ".join(addresses[:SHOWN]) + more

    def body(self, event: Event) -> str:
        told = message(event)
        parts = {"subject": plain(told.title, SUBJECT), "text": f"{as_text(told)}\n", "html": as_html(told)}
        return json.dumps(parts, ensure_ascii=False)

    def send(self, target: Target, event_id: str, body: str, networks: Sequence[Any] = ()) -> Answer:
        """`networks` do not matter: an administrator chose the mail server, not the webhook's owner."""
        if not settings.EMAIL_URL:
            return Answer(False, "mail", NO_SERVER)
        started = time.monotonic()
        recipients = list(target["recipients"])
        refusals = post(recipients, event_id, json.loads(body), started + PATIENCE)
        return outcome(recipients, refusals, time.monotonic() - started)


def check_address(address: str) -> None:
    try:
        validate_email(address)
    except ValidationError:
        raise bad(f"{plain(address, 100)!r} is no mail address.") from None


def bad(words: str) -> BadTarget:
    return BadTarget("recipients", words)


# --- sending ----------------------------------------------------------------------------------------


def post(recipients: Iterable[str], event_id: str, parts: Mapping[str, str], deadline: float) -> dict[str, Refusal]:
    """Each recipient by itself, over one connection: else a server's refusal of one in several goes unnoticed."""
    refusals: dict[str, Refusal] = {}
    connection = get_connection()
    broken: Refusal | None = None
    try:
        for address in recipients:
            if time.monotonic() > deadline:
                broken = broken or Refusal("timeout", f"The mail server took more than {PATIENCE} seconds.")
            refusal = broken or attempt(connection, letter(address, event_id, parts))
            if refusal:
                refusals[address] = refusal
                broken = refusal if refusal.ended else broken
    finally:
        close(connection)
    return refusals


def attempt(connection: Any, mail: EmailMultiAlternatives) -> Refusal | None:
    try:
        connection.open()
        connection.send_messages([mail])
    except (smtplib.SMTPException, OSError) as error:
        return refusal_of(error)
    return None


def close(connection: Any) -> None:
    try:
        connection.close()
    except (smtplib.SMTPException, OSError):
        pass  # what was to be said has been said


def letter(address: str, event_id: str, parts: Mapping[str, str]) -> EmailMultiAlternatives:
    """A retry has the same Message-ID, so that a mailbox can tell that it is the same message."""
    domain = parseaddr(settings.DEFAULT_FROM_EMAIL)[1].rpartition("@")[2] or "localhost"
    headers = {
        "Message-ID": f"<{NOT_IN_AN_ID.sub('', event_id)}@{domain}>",
        "Auto-Submitted": "auto-generated",  # RFC 3834: no out-of-office replies, please
        "X-Auto-Response-Suppress": "All",  # the same for Exchange
        "List-ID": f"<package-security-scanner.{domain}>",  # for filters in mail programs
    }
    subject = plain(parts["subject"], SUBJECT)
    mail = EmailMultiAlternatives(subject, parts["text"], to=[address], headers=headers)
    mail.attach_alternative(parts["html"], "text/html")
    return mail


def refusal_of(error: Exception) -> Refusal:
    """A code of 500 and above will be the same tomorrow (RFC 5321, 4.2.1), but for one that greets us with it."""
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        address, (code, text) = next(iter(error.recipients.items()))
        return Refusal("mail", f"The mail server refused {address}: {reply(code, text)}", final=code >= 500)
    if isinstance(error, smtplib.SMTPConnectError):
        return Refusal("connect", f"The mail server does not serve us: {reply(*error.args)}", ended=True)
    if isinstance(error, smtplib.SMTPAuthenticationError):
        words = f"The mail server refused the user name or password of EMAIL_URL: {reply(*error.args)}"
        return Refusal("mail", words, final=error.smtp_code >= 500, ended=True)
    if isinstance(error, smtplib.SMTPResponseException):
        words = f"The mail server refused the message: {reply(error.smtp_code, error.smtp_error)}"
        return Refusal("mail", words, final=error.smtp_code >= 500)
    return breakdown_of(error)


def breakdown_of(error: Exception) -> Refusal:
    """What keeps us from talking to the server at all."""
    cause = error.__context__ if isinstance(error.__context__, OSError) else error  # a timeout becomes a disconnection
    for kind, word, words in BREAKDOWNS:
        if isinstance(cause, kind):
            return Refusal(word, words, ended=True)
    if isinstance(error, smtplib.SMTPException):
        words = f"The mail server does not offer what EMAIL_URL asks for: {plain(error)}"
        return Refusal("mail", words, ended=True)
    return Refusal("connect", "No connection to the mail server could be made.", ended=True)


def reply(code: int, text: bytes | str) -> str:
    return f"{code} {plain(text.decode(errors='replace') if isinstance(text, bytes) else text)}"


def outcome(recipients: Sequence[str], refusals: Mapping[str, Refusal], seconds: float) -> Answer:
    """A message that anybody got is delivered: to send it again would send it twice to them."""
    if not refusals:
        return Answer(True, seconds=seconds)
    words = plain(" ".join(dict.fromkeys(refusal.words for refusal in refusals.values())), 1000)
    if len(refusals) < len(recipients):
        reached = len(recipients) - len(refusals)
        return Answer(True, words=f"Sent to {reached} of {len(recipients)} recipients. {words}", seconds=seconds)
    first = next((refusal for refusal in refusals.values() if not refusal.final), next(iter(refusals.values())))
    return Answer(False, first.error, words, final=first.final, seconds=seconds)


# --- HTML -------------------------------------------------------------------------------------------

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta name="color-scheme" content="light dark">
<meta name="supported-color-schemes" content="light dark">
<title>{title}</title>
</head>
<body style="margin:0;padding:16px;font:16px/1.5 -apple-system,'Segoe UI',Roboto,Helvetica,Arial,sans-serif">
<div style="max-width:600px;margin:0 auto">
<div style="border-top:6px solid {colour};padding-top:16px">
<h1 style="margin:0 0 8px;font-size:20px;line-height:1.3">{title}</h1>
<p style="margin:0 0 16px">{sentence}</p>
</div>
{facts}{lines}{link}
<p style="margin:24px 0 0;font-size:13px;opacity:0.7">{footer}</p>
</div>
</body>
</html>
"""
FACTS = '<table role="presentation" style="border-collapse:collapse;margin:0 0 16px">\n{}</table>\n'
FACT = """<tr><th scope="row" style="text-align:left;vertical-align:top;font-weight:normal;opacity:0.7;\
padding:4px 16px 4px 0;white-space:nowrap">{}</th><td style="padding:4px 0;overflow-wrap:anywhere">{}</td></tr>
"""
LINES = '<ul style="margin:0 0 16px;padding:0 0 0 20px">\n{}</ul>\n'
LINE = '<li style="margin:2px 0;overflow-wrap:anywhere">{}</li>\n'
LINK = """<p style="margin:0 0 16px"><a href="{}" style="display:inline-block;padding:8px 16px;border-radius:6px;\
background-color:#2459a8;color:#ffffff;text-decoration:none">{}</a></p>"""


def as_html(told: Message) -> SafeString:
    """Inline styles only, since mail programs drop the others; no colours but the level's, so dark ones can choose."""
    facts, lines = format_html_join("", FACT, told.facts), format_html_join("", LINE, ([line] for line in told.lines))
    return format_html(
        PAGE,
        title=told.title,
        colour=COLOURS[told.level],
        sentence=told.sentence,
        facts=format_html(FACTS, facts) if facts else "",
        lines=format_html(LINES, lines) if lines else "",
        link=format_html(LINK, told.link, told.link_label) if told.link else "",
        footer=told.footer,
    )
