"""Sending to receivers of every kind. All of them listen on loopback; nothing here leaves the machine."""

import gc
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pycurl
import pytest

from scanner.webhooks.addresses import check_url, networks_of
from scanner.webhooks.interface import Answer, Request
from scanner.webhooks.safe_http import LIMITS, NAMES_AT_ONCE, Limits, Transfer, post, post_all
from tests.webhooks import receivers
from tests.webhooks.receivers import LOOPBACK, Authority, Behaviour, Exchange, Receiver, drip, each, late, ok, reply

SHORT = Limits(connect=0.4, total=0.5)  # for those that would hang
GRACE = 3.0  # seconds that a busy machine may be late
LAN = networks_of(["10.0.0.0/8"])


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


def send(receiver: Receiver, body: bytes = b"{}", limits: Limits = LIMITS, **fields: object) -> Answer:
    return post(Request(receiver.url, body, **fields), LOOPBACK, limits=limits)  # type: ignore[arg-type]


def answer_to(behaviour: Behaviour, limits: Limits = LIMITS) -> Answer:
    with Receiver(behaviour) as receiver:
        return send(receiver, limits=limits)


# --- what is sent ------------------------------------------------------------------------------------


def test_a_request_arrives_as_it_was_given() -> None:
    with Receiver(ok, path="/hook/a%2Fb?c=d") as receiver:
        answer = send(
            receiver,
            b'{"\xc3\xbc": 1}\r\n',
            headers=(("webhook-id", "evt_1"), ("Content-Type", "text/x-test")),
            secret_headers=(("Authorization", "Bearer s3cret"),),
        )
    [received] = receiver.requests
    assert (received.method, received.path, received.body) == ("POST", "/hook/a%2Fb?c=d", b'{"\xc3\xbc": 1}\r\n')
    assert received.headers == {
        "host": f"127.0.0.1:{receiver.port}",
        "user-agent": "package-security-scanner",
        "accept": "*/*",
        "webhook-id": "evt_1",
        "content-type": "text/x-test",
        "authorization": "Bearer s3cret",
        "content-length": "11",
    }
    assert received.lines[0].endswith(" HTTP/1.1")
    assert (answer.ok, answer.error, answer.words, answer.status, answer.ip) == (True, "", "", 200, "127.0.0.1")
    assert answer.body == "ok"
    assert 0 < answer.seconds < GRACE


def test_a_body_is_json_where_nothing_else_is_said() -> None:
    with Receiver() as receiver:
        send(receiver)
    assert receiver.requests[0].headers["content-type"] == "application/json"


@pytest.mark.parametrize("size", [0, 3_000_000])
def test_a_body_of_any_size_is_sent_without_asking_first(size: int) -> None:
    with Receiver() as receiver:
        assert send(receiver, b"x" * size).ok
    assert len(receiver.requests[0].body) == size
    assert "expect" not in receiver.requests[0].headers


def test_an_empty_header_and_one_with_foreign_letters_arrive() -> None:
    with Receiver() as receiver:
        assert send(receiver, headers=(("X-Empty", ""), ("X-Letters", "zażółć\t語"))).ok
    assert receiver.requests[0].headers["x-empty"] == ""
    assert receiver.requests[0].headers["x-letters"].encode("latin-1").decode() == "zażółć\t語"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("X-Name", "a\r\nX-Injected: b"),
        ("X-Name", "a\nX-Injected: b"),
        ("X-Name", "a\rb"),
        ("X-Name", "a\0b"),
        ("X-Name", "a\x7fb"),
        ("X-Name", "a\x85b"),
        ("X-Name", "a\ud800b"),
        ("X-Name\r\nX-Injected", "b"),
        ("X-Name: a\r\nX-Injected", "b"),
        ("X Name", "a"),
        ("X-Name:", "a"),
        ("", "a"),
        ("Ü", "a"),
        ("Host", "internal.example"),
        ("content-length", "3"),
        ("Transfer-Encoding", "chunked"),
        ("Connection", "upgrade"),
    ],
)
@pytest.mark.parametrize("kind", ["headers", "secret_headers"])
def test_a_header_that_would_break_the_request_is_not_sent(name: str, value: str, kind: str) -> None:
    with Receiver() as receiver:
        answer = send(receiver, **{kind: ((name, value),)})  # type: ignore[arg-type]
    assert (answer.ok, answer.error, answer.final) == (False, "internal", True)
    assert receiver.connections == 0
    assert "header" in answer.words
    assert value not in answer.words or len(value) == 1


def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    with Receiver() as receiver, Receiver() as proxy:
        for name in ("http_proxy", "https_proxy", "all_proxy", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        assert send(receiver).ok
    assert (len(receiver.requests), proxy.connections) == (1, 0)


# --- where it goes -----------------------------------------------------------------------------------

HOSTILE = """
    SCHEME://127.0.0.1:PORT/ SCHEME://localhost:PORT/ SCHEME://LOCALHOST:PORT/ SCHEME://localhost.:PORT/
    SCHEME://hook.localhost:PORT/ SCHEME://127.0.0.1.:PORT/ SCHEME://127.1:PORT/ SCHEME://127.0.1:PORT/
    SCHEME://2130706433:PORT/ SCHEME://0x7f.1:PORT/ SCHEME://0x7f000001:PORT/ SCHEME://0X7F.0.0.1:PORT/
    SCHEME://0177.0.0.1:PORT/ SCHEME://017700000001:PORT/ SCHEME://127.0.0.01:PORT/ SCHEME://0:PORT/
    SCHEME://0.0.0.0:PORT/ SCHEME://127.127.127.127:PORT/ SCHEME://[::1]:PORT/ SCHEME://[::]:PORT/
    SCHEME://[::ffff:127.0.0.1]:PORT/ SCHEME://[::ffff:7f00:1]:PORT/ SCHEME://[0:0:0:0:0:ffff:7f00:1]:PORT/
    SCHEME://[::127.0.0.1]:PORT/ SCHEME://[::ffff:0:127.0.0.1]:PORT/ SCHEME://[64:ff9b::127.0.0.1]:PORT/
    SCHEME://[2002:7f00:1::]:PORT/ SCHEME://[::1%lo]:PORT/ SCHEME://[::1%25lo]:PORT/
    SCHEME://①②⑦.⓪.⓪.①:PORT/ SCHEME://127。0。0。1:PORT/ SCHEME://ⓛⓞⓒⓐⓛⓗⓞⓢⓣ:PORT/
    SCHEME://%31%32%37.0.0.1:PORT/ SCHEME://127.0.0.1%00.example.com:PORT/ SCHEME://user@127.0.0.1:PORT/
    SCHEME://8.8.8.8@127.0.0.1:PORT/ SCHEME://8.8.8.8:80@127.0.0.1:PORT/ SCHEME://127.0.0.1:PORT\\@8.8.8.8/
    SCHEME://127.0.0.1:PORT#@8.8.8.8/ SCHEME://127.0.0.1:PORT?@8.8.8.8/ SCHEME:\\\\127.0.0.1:PORT/
    SCHEME:/127.0.0.1:PORT/ SCHEME:127.0.0.1:PORT SCHEME:///127.0.0.1:PORT/ //127.0.0.1:PORT/ 127.0.0.1:PORT
    gopher://127.0.0.1:PORT/_x ftp://127.0.0.1:PORT/ file:///etc/hostname dict://127.0.0.1:PORT/ telnet://127.0.0.1:PORT
"""


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_no_spelling_of_a_private_address_is_connected_to(scheme: str) -> None:
    with Receiver() as receiver:
        urls = [url.replace("SCHEME", scheme).replace("PORT", str(receiver.port)) for url in HOSTILE.split()]
        answers = post_all([Request(url, b"") for url in urls], LAN)  # with a network, http is not refused as such
    assert receiver.connections == 0
    wrong = {
        url: answer for url, answer in zip(urls, answers, strict=True) if answer.error not in ("address", "refused")
    }
    assert wrong == {}


def test_a_url_that_is_refused_is_final_and_says_why() -> None:
    answer = post(Request("https://10.0.0.1/", b""))
    assert (answer.ok, answer.error, answer.final, answer.ip) == (False, "address", True, "")
    assert "WEBHOOK_ALLOWED_NETWORKS" in answer.words


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_name_is_judged_by_the_address_that_it_has_at_the_connect(scheme: str) -> None:
    """As after a rebinding: the name was taken when it was saved, and leads to loopback now."""
    with Receiver() as receiver:
        url = check_url(f"{scheme}://localhost:{receiver.port}/", LAN)
        answer = post(Request(url, b""), LAN)
    assert (answer.ok, answer.error, answer.ip, receiver.connections) == (False, "refused", "", 0)
    assert "WEBHOOK_ALLOWED_NETWORKS" in answer.words
    assert "127.0.0.1" not in answer.words
    assert "::1" not in answer.words


def test_each_address_of_a_name_is_judged_by_itself() -> None:
    """localhost is ::1 and 127.0.0.1."""
    with Receiver() as receiver:
        request = Request(receiver.url_at("localhost"), b"")
        reached = post(request, networks_of(["127.0.0.0/8"]))
        missed = post(request, networks_of(["::1"]))  # there, nobody listens
    assert (reached.ok, reached.ip) == (True, "127.0.0.1")
    assert (missed.ok, missed.ip) == (False, "")
    assert receiver.connections == 1


@pytest.mark.parametrize(
    ("url", "address", "opens"),
    [
        ("https://receiver.example/", ("8.8.8.8", 443), True),
        ("https://receiver.example/", ("10.1.2.3", 443), True),
        ("https://receiver.example/", ("192.168.1.1", 443), False),
        ("http://receiver.example/", ("10.1.2.3", 80), True),
        ("http://receiver.example/", ("8.8.8.8", 80), False),  # plain http does not leave the listed networks
        ("http://receiver.example/", ("2606:4700::1", 80, 0, 0), False),
        ("https://receiver.example/", ("2606:4700::1", 443, 0, 2), False),  # has a scope
    ],
)
def test_curl_gets_a_socket_only_for_an_address_that_may_be_reached(
    url: str, address: tuple[object, ...], opens: bool
) -> None:
    """Our side of the question that curl asks before each connect. The sockets are not connected here."""
    transfer = Transfer(0, Request(url, b""), LAN, "", LIMITS)
    family = socket.AF_INET6 if len(address) == 4 else socket.AF_INET
    opened = transfer.open_socket(pycurl.SOCKTYPE_IPCXN, (family, socket.SOCK_STREAM, socket.IPPROTO_TCP, address))
    transfer.curl.close()
    assert isinstance(opened, socket.socket) == opens
    assert opens or opened == pycurl.SOCKET_BAD
    if opens:
        opened.close()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(status: int) -> None:
    with Receiver() as inside, Receiver(receivers.redirect(status, inside.url)) as receiver:
        answer = send(receiver)
    assert (answer.ok, answer.error, answer.status, answer.final) == (False, "http", status, False)
    assert "redirects are not followed" in answer.words
    assert ("Location", inside.url) in answer.headers
    assert inside.connections == 0


# --- what is answered --------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_every_status_of_the_two_hundreds_is_success(status: int) -> None:
    answer = answer_to(reply(status))
    assert (answer.ok, answer.error, answer.status) == (True, "", status)


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (304, "The receiver answered 304 Not Modified; redirects are not followed."),
        (400, "The receiver answered 400 Bad Request."),
        (404, "The receiver answered 404 Not Found."),
        (429, "The receiver answered 429 Too Many Requests."),
        (503, "The receiver answered 503 Service Unavailable."),
        (599, "The receiver answered 599."),
        (799, "The receiver answered 799."),
    ],
)
def test_every_other_status_is_an_error_that_may_pass(status: int, words: str) -> None:
    answer = answer_to(reply(status, b"sorry" if status != 304 else b""))
    assert (answer.ok, answer.error, answer.status, answer.final, answer.words) == (False, "http", status, False, words)


def test_gone_is_final() -> None:
    answer = answer_to(reply(410))
    assert (answer.ok, answer.error, answer.status, answer.final) == (False, "http", 410, True)
    assert answer.words == "The receiver says that it is gone (410)."


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("120", 120),
        ("0", 0),
        ("86401", 86400),
        ("9" * 5000, 86400),
        ("-5", None),
        ("1.5", None),
        ("soon", None),
        ("", None),
        ("१२", None),
        ("Wed, 21 Oct 2015 07:28:00 GMT", None),
        ("Wed, 21 Oct 9999 07:28:00 GMT", 86400),
        ("Fri, 31 Dec 9999 23:59:59 -2359", 86400),
        ("Wed, 99 Oct 2030 07:28:00 GMT", None),
        ("Wed, 21 Oct 99999999999 07:28:00 +99999999", None),
    ],
)
def test_how_long_to_wait_is_read_and_nonsense_ignored(header: str, seconds: float | None) -> None:
    raw = receivers.raw(f"HTTP/1.1 429 X\r\nRetry-After: {header}\r\nContent-Length: 0\r\n\r\n".encode())
    assert answer_to(raw).retry_after == seconds


@pytest.mark.parametrize("zone", ["GMT", "-0000", "+0000"])
def test_how_long_to_wait_may_be_a_date(zone: str) -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=90)).replace("+0000", zone)
    wait = answer_to(reply(503, headers={"retry-after": date})).retry_after
    assert wait is not None
    assert 80 < wait <= 90


def test_no_word_on_waiting_is_no_wait() -> None:
    assert answer_to(reply(503)).retry_after is None


def test_the_headers_are_those_of_the_last_answer() -> None:
    answer = answer_to(
        receivers.raw(
            b"HTTP/1.1 103 Early Hints\r\nX-Early: no\r\n\r\n"
            b"HTTP/1.1 200 OK\r\nX-One: 1\r\nX-Two:  \xe9 : 2 \r\nX-One: 3\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"2\r\nok\r\n0\r\nX-Trailer: no\r\n\r\n"
        )
    )
    assert (answer.ok, answer.status, answer.body) == (True, 200, "ok")
    assert answer.headers == (("X-One", "1"), ("X-Two", "é : 2"), ("X-One", "3"), ("Transfer-Encoding", "chunked"))


def test_a_body_can_be_stored_whatever_is_in_it() -> None:
    answer = answer_to(reply(400, b"a\0b \xff\xfe \xc3\xa4 \xed\xa0\x80"))
    assert answer.body == "ab \ufffd\ufffd ä \ufffd\ufffd\ufffd"


def test_of_a_long_body_the_beginning_is_kept() -> None:
    answer = answer_to(reply(500, b"start" + b"x" * 50_000))
    assert answer.status == 500
    assert answer.body == "start" + "x" * (16 * 1024 - 5)


# --- receivers that misbehave ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("behaviour", "status"),
    [
        (drip(), 200),
        (drip(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5"), 200),
        (drip(b"HTTP/1.1 200 OK\r\nX-Slow: "), 200),
        (drip(b"HTTP/1.1 "), None),
        (receivers.never, None),
        (late(30), None),
    ],
    ids=["body", "chunk size", "header", "status line", "silent", "late"],
)
def test_a_slow_receiver_is_cut_at_the_deadline(behaviour: Behaviour, status: int | None) -> None:
    started = time.monotonic()
    answer = answer_to(behaviour, SHORT)
    assert SHORT.total <= time.monotonic() - started < SHORT.total + GRACE
    assert (answer.ok, answer.error, answer.status, answer.final) == (False, "timeout", status, False)
    assert answer.words == "The receiver's answer was not complete within 0.5 seconds."


def test_a_receiver_that_does_not_accept_is_given_up_soon() -> None:
    with Receiver(full=True) as receiver:
        answer = send(receiver, limits=Limits(connect=0.5, total=30))
    assert (answer.ok, answer.error, answer.ip) == (False, "timeout", "")
    assert answer.words == "No connection to the receiver could be made within 0.5 seconds."
    assert 0.5 <= answer.seconds < GRACE


def test_a_receiver_that_is_only_late_is_waited_for() -> None:
    assert answer_to(late(0.2), Limits(total=10)).ok


@pytest.mark.parametrize(
    ("behaviour", "error", "words"),
    [
        (receivers.close_at_once, "reset", "The receiver "),
        (receivers.close_unanswered, "reset", "The receiver closed the connection without an answer."),
        (receivers.cut_short, "reset", "The receiver closed the connection in the middle of its answer."),
        (receivers.reset, "reset", "The receiver broke the connection off."),
        (receivers.garbage, "http", "What the receiver answered is not HTTP."),
        (receivers.raw(b"SSH-2.0-OpenSSH_9.2\r\n"), "http", "What the receiver answered is not HTTP."),
        (receivers.raw(b"HTTP/1.1 abc\r\n\r\n"), "http", "What the receiver answered is not HTTP."),
        (receivers.raw(b"HTTP/1.1 100 Continue\r\n\r\n"), "reset", "The receiver "),
        (receivers.endless_headers, "too large", "The receiver answered with far too many headers."),
        (receivers.endless_header, "too large", "The receiver answered with far too many headers."),
        (receivers.endless_interims, "too large", "The receiver answered with far too many headers."),
    ],
)
def test_a_receiver_that_does_not_answer_properly_is_an_error(behaviour: Behaviour, error: str, words: str) -> None:
    answer = answer_to(behaviour, Limits(total=10))
    assert (answer.ok, answer.error, answer.final) == (False, error, False)
    assert answer.words.startswith(words)
    assert answer.seconds < 10


@pytest.mark.parametrize("status", [200, 500])
@pytest.mark.parametrize("framing", ["Connection: close", "Transfer-Encoding: chunked", "Content-Length: 999999999999"])
def test_an_endless_body_is_cut_and_its_status_counts(status: int, framing: str) -> None:
    rest = b"1\r\nx\r\n" * 5000 if "chunked" in framing else b"x" * 65536
    answer = answer_to(receivers.flood(f"HTTP/1.1 {status} X\r\n{framing}\r\n\r\n".encode(), rest))
    assert (answer.ok, answer.status) == (status == 200, status)
    assert answer.body == "x" * (16 * 1024)
    assert answer.seconds < LIMITS.total / 2


def test_endless_trailers_are_cut_and_the_status_counts() -> None:
    answer = answer_to(receivers.endless_trailers)
    assert (answer.ok, answer.status, answer.body) == (True, 200, "ok")
    assert answer.seconds < LIMITS.total / 2


def test_a_packed_body_is_not_unpacked() -> None:
    answer = answer_to(receivers.gzip_bomb)
    assert (answer.ok, answer.status) == (True, 200)
    assert answer.body.startswith("\x1f\ufffd\x08")


def test_a_body_packed_for_the_transfer_is_an_error() -> None:
    answer = answer_to(receivers.gzip_bomb_in_transfer)
    assert (answer.ok, answer.error, answer.status, answer.body) == (False, "http", 200, "")


def test_a_port_where_nobody_listens_is_an_error() -> None:
    with Receiver() as receiver:
        url = receiver.url
    answer = post(Request(url, b""), LOOPBACK)
    assert (answer.ok, answer.error, answer.ip) == (False, "connect", "")
    assert answer.words == "No connection to the receiver could be made."


def test_a_name_that_does_not_exist_is_an_error() -> None:
    answer = post(Request("https://receiver.onion/", b""))  # curl asks nobody for these
    assert (answer.ok, answer.error, answer.final) == (False, "dns", False)
    assert answer.words == "The name of the receiver could not be found."


# --- TLS ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_certificate_of_the_given_authority_is_trusted(authority: Authority, host: str) -> None:
    with Receiver(certificate=authority.certificate("localhost", "127.0.0.1")) as receiver:
        answer = post(Request(receiver.url_at(host), b"{}"), LOOPBACK, ca_file=str(authority.file))
    assert (answer.ok, answer.ip, len(receiver.requests)) == (True, "127.0.0.1", 1)


def test_a_changed_authority_file_is_read_anew(authority: Authority, tmp_path: Path) -> None:
    file = tmp_path / "authorities.pem"
    with Receiver(certificate=authority.certificate("127.0.0.1")) as receiver:
        request = Request(receiver.url, b"{}")
        file.write_bytes(Authority(tmp_path, "Another").file.read_bytes())
        os.utime(file, (0, 0))
        assert post(request, LOOPBACK, ca_file=str(file)).error == "tls"
        file.write_bytes(authority.file.read_bytes())
        assert post(request, LOOPBACK, ca_file=str(file)).ok


def test_an_authority_file_that_is_missing_is_our_own_fault() -> None:
    with pytest.raises(FileNotFoundError):
        post(Request("https://receiver.onion/", b""), ca_file="/nonexistent/authorities.pem")


@pytest.mark.parametrize(
    ("certificate", "words"),
    [
        (lambda authority: receivers.self_signed(authority.folder, "127.0.0.1"), "self-signed certificate"),
        (lambda authority: Authority(authority.folder, "Stranger").certificate("127.0.0.1"), "issuer certificate"),
        (lambda authority: authority.certificate("other.example"), "subject name"),
        (lambda authority: authority.certificate("127.0.0.1", expired=True), "expired"),
    ],
    ids=["self-signed", "stranger", "other name", "expired"],
)
def test_a_wrong_certificate_is_an_error_and_nothing_is_sent(
    authority: Authority, certificate: Callable[[Authority], Path], words: str
) -> None:
    with Receiver(certificate=certificate(authority)) as receiver:
        answer = post(Request(receiver.url, b"{}"), LOOPBACK, ca_file=str(authority.file))
    assert (answer.ok, answer.error, answer.final) == (False, "tls", False)
    assert answer.words.startswith("The receiver's certificate is not trusted: ")
    assert words in answer.words
    assert receiver.requests == []


def test_without_a_file_only_the_public_authorities_are_trusted(authority: Authority) -> None:
    with Receiver(certificate=authority.certificate("127.0.0.1")) as receiver:
        assert send(receiver).error == "tls"
    assert receiver.requests == []


def slow_handshake(exchange: Exchange) -> None:
    exchange.send(b"\x16\x03\x03\x40\x00")  # 16 KB of handshake are to follow
    while True:
        exchange.wait(0.1)
        exchange.send(b"\x02")


@pytest.mark.parametrize("behaviour", [late(30), slow_handshake], ids=["silent", "slow"])
def test_a_receiver_that_never_finishes_the_handshake_is_given_up(behaviour: Behaviour) -> None:
    with Receiver(behaviour) as receiver:
        answer = post(Request(f"https://127.0.0.1:{receiver.port}/", b""), LOOPBACK, limits=Limits(0.5, 30))
    assert (answer.ok, answer.error) == (False, "timeout")
    assert answer.words == "No connection to the receiver could be made within 0.5 seconds."
    assert answer.seconds < GRACE


def test_a_receiver_that_speaks_no_tls_is_an_error() -> None:
    with Receiver(lambda exchange: exchange.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as receiver:
        answer = post(Request(f"https://127.0.0.1:{receiver.port}/", b""), LOOPBACK)
    assert (answer.ok, answer.error) == (False, "tls")


# --- many at once ------------------------------------------------------------------------------------


def its_path(exchange: Exchange) -> None:
    exchange.reply(200, exchange.read().path.encode())


def test_the_answers_have_the_order_of_the_requests() -> None:
    count = NAMES_AT_ONCE * 3 + 1
    with Receiver(its_path) as receiver:
        answers = post_all([Request(f"{receiver.url}/{number}", b"") for number in range(count)], LOOPBACK)
    assert [answer.body for answer in answers] == [f"/hook/{number}" for number in range(count)]


def test_no_requests_have_no_answers() -> None:
    assert post_all([], LOOPBACK) == []


def test_each_answer_is_handed_over_as_it_comes() -> None:
    handed: list[tuple[int, str]] = []
    with Receiver(late(0.6)) as slow, Receiver(late(0.3)) as middle, Receiver() as quick:
        urls = [slow.url, "https://10.0.0.1/", middle.url, quick.url]
        answers = post_all(
            [Request(url, b"") for url in urls],
            LOOPBACK,
            on_done=lambda ended: handed.extend((index, answer.error) for index, answer in ended),
        )
    assert handed == [(1, "address"), (3, ""), (2, ""), (0, "")]
    assert [answer.error for answer in answers] == ["", "address", "", ""]


def test_one_that_hangs_does_not_delay_the_others() -> None:
    handed: list[int] = []
    with Receiver(receivers.never) as slow, Receiver(late(0.1)) as receiver:
        urls = [slow.url, *[receiver.url] * 40, slow.url]
        answers = post_all(
            [Request(url, b"") for url in urls],
            LOOPBACK,
            limits=Limits(total=2),
            on_done=lambda ended: handed.extend(index for index, _answer in ended),
        )
    assert [answer.error for answer in answers] == ["timeout", *[""] * 40, "timeout"]
    assert set(handed[-2:]) == {0, 41}
    assert max(answer.seconds for answer in answers[1:-1]) < 2


def test_a_flood_does_not_delay_the_others() -> None:
    with Receiver(receivers.endless_body) as flood, Receiver() as receiver:
        answers = post_all([Request(url, b"") for url in [flood.url, receiver.url] * 10], LOOPBACK)
    assert all(answer.ok for answer in answers)


# --- interruptions -----------------------------------------------------------------------------------


class SoftLimit(Exception):
    """Like Celery's: raised by a signal, wherever the program is."""


@pytest.fixture
def soft_limit() -> Iterator[None]:
    def interrupt(*_: object) -> None:
        raise SoftLimit

    before = signal.signal(signal.SIGUSR1, interrupt)
    yield
    signal.signal(signal.SIGUSR1, before)


@contextmanager
def no_garbage_collection() -> Iterator[None]:
    """Hypothesis has Python call it back at each; what a signal raises in there is lost."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def interrupt_main_thread() -> None:
    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def comes_true(condition: Callable[[], bool]) -> bool:
    """Within seconds."""
    deadline = time.monotonic() + 5
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return condition()


@pytest.mark.usefixtures("soft_limit")
def test_a_time_limit_ends_the_waiting() -> None:
    def behave(exchange: Exchange) -> None:
        exchange.read()
        interrupt_main_thread()
        exchange.wait()

    started = time.monotonic()
    with Receiver(behave) as receiver, pytest.raises(SoftLimit):
        send(receiver)
    assert time.monotonic() - started < GRACE


@pytest.mark.usefixtures("soft_limit")
def test_a_time_limit_is_not_lost_while_curl_is_at_work() -> None:
    """In a callback of curl it would only be printed: most callbacks come with the first connects."""
    with Receiver(receivers.never) as receiver, no_garbage_collection():
        for milliseconds in range(1, 25):
            timer = threading.Timer(milliseconds / 1000, interrupt_main_thread)
            with pytest.raises(SoftLimit):
                timer.start()
                post_all([Request(receiver.url, b"")] * 30, LOOPBACK, limits=Limits(total=2))


def test_what_the_caller_raises_comes_out_and_nothing_is_left_open() -> None:
    def stop(_ended: object) -> None:
        raise SoftLimit

    with Receiver(each(ok, receivers.never)) as receiver:
        before = open_files()
        with pytest.raises(SoftLimit):
            post_all([Request(receiver.url, b"")] * 5, LOOPBACK, on_done=stop)
        assert comes_true(lambda: open_files() <= before + 4)  # the receiver's own, still waiting
    assert comes_true(lambda: open_files() <= before - 1)


def test_nothing_is_left_open_by_any_end() -> None:
    before = open_files()
    threads = threading.active_count()
    for behaviour in (ok, receivers.reset, receivers.endless_body, receivers.endless_headers, receivers.close_at_once):
        with Receiver(behaviour) as receiver:
            for _ in range(10):
                post_all([Request(receiver.url, b""), Request("https://receiver.onion/", b"")], LOOPBACK)
    assert comes_true(lambda: open_files() <= before)
    assert comes_true(lambda: threading.active_count() <= threads)
