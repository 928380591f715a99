"""Signed requests: what two independent implementations of Standard Webhooks accept, and what they refuse."""

import json
import time
from collections.abc import Mapping
from typing import Any

import pytest
import standardwebhooks
import svix.webhooks
from standardwebhooks.webhooks import EmptyWebhookSecretError

from scanner.webhooks.interface import BadTarget, Request
from scanner.webhooks.standard import Standard, key, new_secret, sign
from tests.webhooks.sample_events import EVENT_ID, event, every_type

STANDARD = Standard()
URL = "https://hooks.example.org/in"
VERIFIERS = (standardwebhooks.Webhook, svix.webhooks.Webhook)

PUBLISHED_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
PUBLISHED_ID = "msg_p5jXN8AQM9LWM0D4loKWxJek"
PUBLISHED_BODY = b'{"test": 2432232314}'
PUBLISHED_SIGNATURE = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def request(*secrets: str, age: int = 0, made: Mapping[str, Any] | None = None) -> Request:
    body = STANDARD.body(made or event())
    return STANDARD.request({"url": URL, "headers": {}}, EVENT_ID, body, secrets, int(time.time()) - age)


def verify(verifier: type[Any], secret: str, body: bytes, headers: Mapping[str, str]) -> None:
    """Raises what the library raises."""
    verifier(secret).verify(body, dict(headers))


# --- signatures -------------------------------------------------------------------------------------


@pytest.mark.parametrize("secret", [PUBLISHED_SECRET, PUBLISHED_SECRET.removeprefix("whsec_"), f"{PUBLISHED_SECRET}=="])
def test_the_published_vector_is_met(secret: str) -> None:
    assert sign(secret, PUBLISHED_ID, 1614265330, PUBLISHED_BODY) == PUBLISHED_SIGNATURE


def test_an_unpadded_secret_signs_as_the_padded_one() -> None:
    secret = new_secret()
    assert secret.endswith("=")
    assert sign(secret.rstrip("="), "evt_1", 1, b"x") == sign(secret, "evt_1", 1, b"x")


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_====", "whsec_!!!!", "whsec_A"])
def test_an_empty_or_broken_secret_signs_nothing(secret: str) -> None:
    with pytest.raises(ValueError, match="a webhook secret"):
        sign(secret, "evt_1", 1, b"x")


def test_new_secrets_are_32_bytes_and_differ() -> None:
    first, second = new_secret(), new_secret()
    assert first.startswith("whsec_")
    assert len(key(first)) == 32
    assert first != second


@pytest.mark.parametrize("verifier", VERIFIERS)
def test_receivers_accept_our_request_under_the_old_and_the_new_secret(verifier: type[Any]) -> None:
    new, old = new_secret(), new_secret()
    sent = request(new, old)
    for secret in (new, old, new.rstrip("=")):
        verify(verifier, secret, sent.body, dict(sent.headers))
    first, second = dict(sent.headers)["webhook-signature"].split(" ")
    at = int(dict(sent.headers)["webhook-timestamp"])
    assert (first, second) == (sign(new, EVENT_ID, at, sent.body), sign(old, EVENT_ID, at, sent.body))


@pytest.mark.parametrize("verifier", VERIFIERS)
@pytest.mark.parametrize("made", every_type(), ids=lambda made: made["type"])
def test_every_type_of_event_arrives_as_it_is(verifier: type[Any], made: dict[str, Any]) -> None:
    secret = new_secret()
    sent = request(secret, made=made)
    verify(verifier, secret, sent.body, dict(sent.headers))
    assert json.loads(sent.body) == made


@pytest.mark.parametrize("verifier", VERIFIERS)
@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"webhook-id": "evt_other"}, id="another id"),
        pytest.param({"webhook-id": None}, id="no id"),
        pytest.param({"webhook-timestamp": None}, id="no timestamp"),
        pytest.param({"webhook-timestamp": "hello"}, id="a timestamp that is no number"),
        pytest.param({"webhook-timestamp": "1614265330"}, id="another timestamp"),
        pytest.param({"webhook-signature": None}, id="no signature"),
        pytest.param({"webhook-signature": "v1,"}, id="an empty signature"),
        pytest.param({"webhook-signature": "v1,Zm9v"}, id="a short signature"),
        pytest.param({"webhook-signature": "v2,Zm9v"}, id="another version"),
    ],
)
def test_receivers_refuse_what_was_changed(verifier: type[Any], change: dict[str, str | None]) -> None:
    secret = new_secret()
    sent = request(secret)
    changed = {name: value for name, value in (dict(sent.headers) | change).items() if value is not None}
    with pytest.raises(standardwebhooks.WebhookVerificationError):
        verify(verifier, secret, sent.body, changed)


@pytest.mark.parametrize("verifier", VERIFIERS)
def test_receivers_refuse_a_changed_body_and_an_altered_signature(verifier: type[Any]) -> None:
    secret = new_secret()
    sent = request(secret)
    headers = dict(sent.headers)
    signature = headers["webhook-signature"]
    altered = "v1," + ("A" if signature[3] != "A" else "B") + signature[4:]  # the last one's low bits mean nothing
    for body, given in (
        (sent.body.replace(b"web-1", b"web-2"), signature),
        (sent.body + b" ", signature),
        (sent.body, altered),
        (sent.body, signature[:-4]),
    ):
        with pytest.raises(standardwebhooks.WebhookVerificationError):
            verify(verifier, secret, body, headers | {"webhook-signature": given})


@pytest.mark.parametrize("verifier", VERIFIERS)
@pytest.mark.parametrize("age", [5 * 60 + 1, -(5 * 60 + 2)])
def test_receivers_refuse_a_message_from_another_time(verifier: type[Any], age: int) -> None:
    secret = new_secret()
    sent = request(secret, age=age)
    with pytest.raises(standardwebhooks.WebhookVerificationError):
        verify(verifier, secret, sent.body, dict(sent.headers))


@pytest.mark.parametrize("verifier", VERIFIERS)
def test_receivers_refuse_another_secret_and_an_empty_one(verifier: type[Any]) -> None:
    sent = request(new_secret())
    with pytest.raises(standardwebhooks.WebhookVerificationError):
        verify(verifier, new_secret(), sent.body, dict(sent.headers))
    with pytest.raises(EmptyWebhookSecretError):
        verify(verifier, "", sent.body, dict(sent.headers))


# --- the request ------------------------------------------------------------------------------------


def test_the_body_is_the_event_compact_and_in_utf8() -> None:
    sent = request(new_secret(), made=event(host={"name": "wëb-→"}))
    assert "wëb-→".encode() in sent.body
    assert b'","' in sent.body
    assert b'": ' not in sent.body


def test_the_request_has_the_headers_of_the_standard_and_keeps_the_users_apart() -> None:
    target = STANDARD.clean({"url": URL, "headers": {"Authorization": "Bearer x"}}, ())
    sent = STANDARD.request(target, EVENT_ID, "{}", [new_secret()], 1614265330)
    assert sent.url == URL
    assert sent.secret_headers == (("Authorization", "Bearer x"),)
    headers = dict(sent.headers)
    assert headers["Content-Type"] == "application/json"
    assert headers["webhook-id"] == EVENT_ID
    assert headers["webhook-timestamp"] == "1614265330"
    assert "." not in headers["webhook-id"]


def test_nothing_is_sent_without_a_secret() -> None:
    with pytest.raises(ValueError, match="needs a secret"):
        request()


# --- what is taken, and what is shown ---------------------------------------------------------------


def test_good_headers_are_kept() -> None:
    headers = {"Authorization": "Bearer abc.def", "X-Team": " Größe ", "Cookie": "a=b"}
    assert STANDARD.clean({"url": URL, "headers": headers}, ())["headers"] == headers | {"X-Team": "Größe"}
    assert STANDARD.clean({"url": URL}, ()) == {"url": URL, "headers": {}}


@pytest.mark.parametrize(
    ("headers", "words"),
    [
        ({f"X-{number}": "v" for number in range(11)}, "At most 10"),
        ({"Host": "x"}, "Host is set by us"),
        ({"content-type": "x"}, "is set by us"),
        ({"Content-Length": "1"}, "is set by us"),
        ({"Transfer-Encoding": "chunked"}, "is set by us"),
        ({"Connection": "close"}, "is set by us"),
        ({"Webhook-Signature": "v1,x"}, "is set by us"),
        ({"User-Agent": "x"}, "is set by us"),
        ({"Proxy-Authorization": "x"}, "is set by us"),
        ({"Expect": "100-continue"}, "is set by us"),
        ({"X Team": "v"}, "is no name of a header"),
        ({"X-Team:": "v"}, "is no name of a header"),
        ({"X-Té": "v"}, "is no name of a header"),
        ({"": "v"}, "is no name of a header"),
        ({"X\r\nHost": "v"}, "is no name of a header"),
        ({"X" * 101: "v"}, "is no name of a header"),
        ({"X-Team": "v\r\nHost: evil"}, "a line break"),
        ({"X-Team": "v\nx"}, "a line break"),
        ({"X-Team": "v\0"}, "a line break"),
        ({"X-Team": "v\x85x"}, "a line break"),
        ({"X-Team": "→"}, "no header can carry"),
        ({"X-Team": "v" * 1025}, "more than 1,024"),
        ({"X-Team": " "}, "has no value"),
        ({"X-Team": 7}, "has no value"),
        ({"X-Team": "a", "x-team": "b"}, "twice"),
        (["X-Team"], "a name and a value"),
    ],
)
def test_bad_headers_are_refused_in_words(headers: Any, words: str) -> None:
    with pytest.raises(BadTarget, match=words) as caught:
        STANDARD.clean({"url": URL, "headers": headers}, ())
    assert caught.value.field == "headers"


def test_a_bad_url_is_refused() -> None:
    for url in ("", None, "ftp://example.org/", "https://127.0.0.1/"):
        with pytest.raises(BadTarget) as caught:
            STANDARD.clean({"url": url}, ())
        assert caught.value.field == "url"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://example.org/hooks/in", "https://example.org/hooks/in"),
        ("https://example.org:8443/in?token=s3cret&a=b", "https://example.org:8443/in?…"),
        ("https://example.org/hooks/9f8e7d6c5b4a39281706/in", "https://example.org/hooks/…/in"),
        ("https://user:pw@example.org/", "https://example.org/"),
    ],
)
def test_what_is_shown_has_no_secrets(url: str, shown: str) -> None:
    assert STANDARD.shown({"url": url, "headers": {"Authorization": "Bearer s3cret"}}) == shown
