"""Mail over a real SMTP server on loopback: what arrives, and what is said when it does not."""

import json
import re
import socket
import time
from collections.abc import Iterator
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, Envelope, Session

from scanner.webhooks.email import Email, post
from scanner.webhooks.interface import Answer, BadTarget
from tests.webhooks.sample_events import EVENT_ID, event, every_type, monstrous_event

EMAIL = Email()
OPS = "ops@example.org"


class Mailbox:
    """Takes every message, but for recipients that are to be refused."""

    def __init__(self) -> None:
        self.messages: list[EmailMessage] = []
        self.recipients: list[list[str]] = []
        self.refusals: dict[str, str] = {}

    async def handle_RCPT(
        self, server: object, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if address in self.refusals:
            return self.refusals[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: object, session: Session, envelope: Envelope) -> str:
        assert isinstance(envelope.content, bytes)
        self.messages.append(message_from_bytes(envelope.content, policy=policy.default))  # type: ignore[arg-type]
        self.recipients.append(envelope.rcpt_tos)
        return "250 OK"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def use_server(settings: Any, port: int) -> None:
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_URL = f"smtp://127.0.0.1:{port}"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", port
    settings.EMAIL_HOST_USER = settings.EMAIL_HOST_PASSWORD = ""
    settings.EMAIL_USE_TLS = settings.EMAIL_USE_SSL = False
    settings.EMAIL_TIMEOUT = 10
    settings.DEFAULT_FROM_EMAIL = "Scanner <scanner@example.net>"


@pytest.fixture
def mailbox(settings: Any) -> Iterator[Mailbox]:
    box = Mailbox()
    controller = Controller(box, hostname="127.0.0.1", port=free_port())
    controller.start()
    use_server(settings, controller.port)
    yield box
    controller.stop()


def send(*recipients: str, made: dict[str, Any] | None = None) -> Answer:
    return EMAIL.send({"recipients": list(recipients)}, EVENT_ID, EMAIL.body(made or event()))


def part(message: EmailMessage, kind: str) -> str:
    found = message.get_body((kind,))
    assert found is not None
    return str(found.get_content())


# --- what arrives -----------------------------------------------------------------------------------


def test_a_message_arrives_as_text_and_as_html(mailbox: Mailbox) -> None:
    answer = send(OPS)
    assert (answer.ok, answer.error, answer.words) == (True, "", "")
    (message,) = mailbox.messages
    assert message["Subject"] == "web-1: 3 new security updates"
    assert message["From"] == "Scanner <scanner@example.net>"
    assert message["To"] == OPS
    assert message.get_content_type() == "multipart/alternative"
    for kind in ("plain", "html"):
        text = part(message, kind)
        assert "web-1 has 3 new security updates." in text
        assert "23 (3 new, 1 fixed)" in text
        assert "curl 3.0.1 → 3.0.2 (critical, CVE-2026-1111)" in text
        assert "https://scanner.example.org/scans/7/" in text


def test_it_is_marked_as_automatic_and_a_retry_is_recognisable(mailbox: Mailbox) -> None:
    send(OPS)
    send(OPS)
    first, second = mailbox.messages
    assert first["Message-ID"] == second["Message-ID"] == f"<{EVENT_ID}@example.net>"
    assert first["Auto-Submitted"] == "auto-generated"
    assert first["List-ID"] == "<package-security-scanner.example.net>"


def test_each_recipient_gets_a_message_and_does_not_see_the_others(mailbox: Mailbox) -> None:
    assert send("a@example.org", "b@example.org").ok
    assert mailbox.recipients == [["a@example.org"], ["b@example.org"]]
    assert [message["To"] for message in mailbox.messages] == ["a@example.org", "b@example.org"]
    assert not any(message["Cc"] or message["Bcc"] for message in mailbox.messages)


@pytest.mark.parametrize("made", every_type(), ids=lambda made: made["type"])
def test_every_type_of_event_arrives(mailbox: Mailbox, made: dict[str, Any]) -> None:
    assert send(OPS, made=made).ok
    (message,) = mailbox.messages
    assert message["Subject"]
    assert part(message, "plain").strip()


def test_hostile_names_become_neither_headers_nor_markup(mailbox: Mailbox) -> None:
    assert send(OPS, made=monstrous_event()).ok
    (message,) = mailbox.messages
    assert message["X-Evil"] is None
    html = part(message, "html")
    assert "<b>" not in html
    assert "&lt;b&gt;" in html
    assert set(re.findall(r"(?:href|src)=\"([^\"]*)\"", html)) == {"https://scanner.example.org/scans/7/"}


def test_a_line_break_in_a_stored_subject_injects_nothing(mailbox: Mailbox) -> None:
    parts = {"subject": "hi\r\nBcc: evil@example.org\r\n\r\nbody", "text": "text", "html": "<p>html</p>"}
    assert EMAIL.send({"recipients": [OPS]}, "evt_1>\r\nBcc: evil@example.org", json.dumps(parts)).ok
    (message,) = mailbox.messages
    assert message["Bcc"] is None
    assert message["Subject"] == "hi Bcc: evil@example.org body"
    assert message["Message-ID"] == "<evt_1Bccevilexample.org@example.net>"
    assert mailbox.recipients == [[OPS]]


# --- what goes wrong --------------------------------------------------------------------------------


def test_a_refused_recipient_is_final(mailbox: Mailbox) -> None:
    mailbox.refusals[OPS] = "550 No such user here"
    answer = send(OPS)
    assert (answer.ok, answer.error, answer.final) == (False, "mail", True)
    assert answer.words == "The mail server refused ops@example.org: 550 No such user here"


def test_a_recipient_that_is_busy_is_tried_again(mailbox: Mailbox) -> None:
    mailbox.refusals[OPS] = "450 Mailbox busy"
    answer = send(OPS)
    assert (answer.ok, answer.error, answer.final) == (False, "mail", False)


def test_one_busy_recipient_keeps_a_refused_one_from_being_final(mailbox: Mailbox) -> None:
    mailbox.refusals = {"a@example.org": "550 No such user", "b@example.org": "450 Mailbox busy"}
    assert send("a@example.org", "b@example.org").final is False


def test_one_bad_recipient_does_not_keep_the_others_from_the_message_and_is_named(mailbox: Mailbox) -> None:
    mailbox.refusals["b@example.org"] = "550 No such user"
    answer = send("a@example.org", "b@example.org", "c@example.org")
    assert answer.ok
    assert answer.words.startswith("Sent to 2 of 3 recipients. The mail server refused b@example.org: 550")
    assert mailbox.recipients == [["a@example.org"], ["c@example.org"]]


def test_a_server_that_is_down_is_tried_again(settings: Any) -> None:
    use_server(settings, free_port())
    answer = send(OPS, "b@example.org")
    assert (answer.ok, answer.error, answer.final) == (False, "connect", False)
    assert answer.words == "No connection to the mail server could be made."


def test_a_server_that_says_nothing_is_tried_again(settings: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        use_server(settings, silent.getsockname()[1])
        settings.EMAIL_TIMEOUT = 0.3
        answer = send(OPS, "b@example.org")
    assert (answer.ok, answer.error, answer.final) == (False, "timeout", False)


def test_when_time_is_up_the_rest_is_told_that_it_was_not_reached(mailbox: Mailbox) -> None:
    parts = json.loads(EMAIL.body(event()))
    assert post(["a@example.org"], EVENT_ID, parts, deadline=time.monotonic() + 60) == {}
    late = post(["a@example.org", "b@example.org"], EVENT_ID, parts, deadline=time.monotonic() - 1)
    assert [refusal.error for refusal in late.values()] == ["timeout", "timeout"]
    assert len(mailbox.messages) == 1


def test_a_wrong_password_is_final(settings: Any) -> None:
    controller = Controller(
        Mailbox(),
        hostname="127.0.0.1",
        port=free_port(),
        authenticator=lambda *_: AuthResult(success=False, handled=False, message="535 5.7.8 No"),
        auth_required=True,
        auth_require_tls=False,
    )
    controller.start()
    try:
        use_server(settings, controller.port)
        settings.EMAIL_HOST_USER, settings.EMAIL_HOST_PASSWORD = "scanner", "s3cret"
        answer = send(OPS)
    finally:
        controller.stop()
    assert (answer.ok, answer.error, answer.final) == (False, "mail", True)
    assert "refused the user name or password of EMAIL_URL: 535" in answer.words
    assert "s3cret" not in answer.words


def test_without_a_mail_server_nothing_is_saved_or_sent(settings: Any) -> None:
    settings.EMAIL_URL = ""
    with pytest.raises(BadTarget, match="No mail server is configured: set EMAIL_URL") as caught:
        EMAIL.clean({"recipients": [OPS]}, ())
    assert caught.value.field == "recipients"
    answer = send(OPS)
    assert (answer.ok, answer.error, answer.final) == (False, "mail", False)


# --- recipients -------------------------------------------------------------------------------------


def test_recipients_are_trimmed_and_each_is_kept_once(settings: Any) -> None:
    settings.EMAIL_URL = "smtp://mail.example.org"
    cleaned = EMAIL.clean({"recipients": [" Ops@example.org ", "ops@example.org", "b@example.org"]}, ())
    assert cleaned == {"recipients": ["ops@example.org", "b@example.org"]}


@pytest.mark.parametrize(
    ("recipients", "words"),
    [
        ([], "1 to 20 recipients"),
        (None, "1 to 20 recipients"),
        ([f"user{number}@example.org" for number in range(21)], "these are 21"),
        ("ops@example.org", "as a list"),
        ([7], "as a list"),
        (["nobody"], "no mail address"),
        ([""], "no mail address"),
        (["Ops <ops@example.org>"], "no mail address"),
        (["ops@example.org, b@example.org"], "no mail address"),
        (["ops@example.org\r\nBcc: evil@example.org"], "no mail address"),
    ],
)
def test_bad_recipients_are_refused_in_words(settings: Any, recipients: Any, words: str) -> None:
    settings.EMAIL_URL = "smtp://mail.example.org"
    with pytest.raises(BadTarget, match=words) as caught:
        EMAIL.clean({"recipients": recipients}, ())
    assert caught.value.field == "recipients"


def test_what_is_shown_names_three_recipients_and_counts_the_others() -> None:
    addresses = [f"{name}@example.org" for name in "abcde"]
    assert EMAIL.shown({"recipients": addresses}) == "a@example.org, b@example.org, c@example.org and 2 more"
    assert EMAIL.shown({"recipients": addresses[:1]}) == "a@example.org"
