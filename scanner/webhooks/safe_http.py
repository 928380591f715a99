"""Sends HTTP requests to wherever users said, and is harmed neither by where that leads nor by what answers there.

Each address is judged just before the connect, so a name that changes its mind gains nothing. The time and the size of
an answer are bounded. Redirects, proxies, cookies and compression are not taken part in.
"""

import os
import re
import select
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from http import HTTPStatus
from io import BytesIO
from pathlib import Path
from typing import IO, Any

import certifi
import pycurl

from scanner.webhooks.addresses import SETTING, Network, allowed, check_url, listed
from scanner.webhooks.interface import Answer, BadTarget, Request

NAMES_AT_ONCE = 9  # curl looks up names in 20 threads, two for each name: with ten that hang, the eleventh would wait
TICK = 0.1  # seconds; curl does not show us files above 1,023, and those are looked at this often
HELD_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGALRM, signal.SIGUSR1, signal.SIGUSR2)
DAY = 24 * 3600.0  # seconds
HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
HEADER_VALUE = re.compile(r"[\t\x20-\x7e\xa0-\ud7ff\ue000-\U0010ffff]*")
OURS = {"connection", "content-length", "expect", "host", "te", "trailer", "transfer-encoding", "upgrade"}
TOO_LARGE = 100  # curl's code for a header line that is too long; pycurl has no name for it

FAILURES: Mapping[int, tuple[str, str]] = {
    pycurl.E_COULDNT_RESOLVE_HOST: ("dns", "The name of the receiver could not be found."),
    pycurl.E_COULDNT_CONNECT: ("connect", "No connection to the receiver could be made."),
    pycurl.E_SSL_CONNECT_ERROR: ("tls", "No TLS connection could be agreed on with the receiver"),
    pycurl.E_PEER_FAILED_VERIFICATION: ("tls", "The receiver's certificate is not trusted"),
    pycurl.E_SSL_INVALIDCERTSTATUS: ("tls", "The receiver's certificate is not trusted"),
    pycurl.E_GOT_NOTHING: ("reset", "The receiver closed the connection without an answer."),
    pycurl.E_PARTIAL_FILE: ("reset", "The receiver closed the connection in the middle of its answer."),
    pycurl.E_RECV_ERROR: ("reset", "The receiver broke the connection off."),
    pycurl.E_SEND_ERROR: ("reset", "The receiver broke the connection off."),
    pycurl.E_UNSUPPORTED_PROTOCOL: ("http", "What the receiver answered is not HTTP."),  # no status line
    pycurl.E_FTP_WEIRD_SERVER_REPLY: ("http", "What the receiver answered is not HTTP."),
    pycurl.E_BAD_CONTENT_ENCODING: ("http", "The receiver answered in an encoding that it was not asked for."),
}
"""By curl's code: the word for programs, and the sentence for people."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one request, in seconds and bytes. `total` is a true deadline, however slowly the bytes come."""

    connect: float = 5.0  # for name, TCP and TLS
    total: float = 15.0
    answer: int = 64 * 1024  # headers and body; what comes after is not read
    body: int = 16 * 1024  # what is kept of the body


LIMITS = Limits()

Ended = Sequence[tuple[int, Answer]]
"""The place of each request among the others, and its answer."""


def post(request: Request, networks: Sequence[Network] = (), *, ca_file: str = "", limits: Limits = LIMITS) -> Answer:
    """Send one request, and wait; see post_all()."""
    return post_all([request], networks, ca_file=ca_file, limits=limits)[0]


def post_all(
    requests: Sequence[Request],
    networks: Sequence[Network] = (),
    *,
    ca_file: str = "",
    on_done: Callable[[Ended], None] | None = None,
    limits: Limits = LIMITS,
) -> list[Answer]:
    """Send all at once, in this thread, and answer in their order when the last has ended.

    `networks` are the private ones that may be reached; plain http goes nowhere else. Certificates are verified against
    certifi's authorities and those in `ca_file` (PEM) in addition. `on_done` gets indices and answers at once, those
    together that ended together; it should be quick, for the time limits run on.

    Nothing that a receiver does raises. OSError: `ca_file` cannot be read. What `on_done` and signals raise comes out,
    and what was under way is then cut off.
    """
    answers: dict[int, Answer] = {}

    def done(ended: Ended) -> None:
        answers.update(ended)
        if ended and on_done is not None:
            on_done(ended)

    joined = authorities(ca_file, Path(ca_file).stat().st_mtime_ns) if ca_file else None
    trusted = f"/proc/self/fd/{joined.fileno()}" if joined else certifi.where()
    transfers: list[Transfer] = []
    unsent: list[tuple[int, Answer]] = []
    for index, request in enumerate(requests):
        try:
            transfers.append(Transfer(index, request, networks, trusted, limits))
        except BadTarget as problem:
            error = "address" if problem.field == "url" else "internal"
            unsent.append((index, Answer(False, error, str(problem), final=True)))
    done(unsent)
    with ExitStack() as cleanup:
        groups = [cleanup.enter_context(Group(some)) for some in in_groups(transfers)]
        while groups:
            done([ended for group in groups for ended in group.step()])
            groups = [group for group in groups if group.transfers]
            wait(groups)
    return [answers[index] for index in range(len(requests))]


def in_groups(transfers: "Sequence[Transfer]") -> "Iterator[Sequence[Transfer]]":
    for start in range(0, len(transfers), NAMES_AT_ONCE):
        yield transfers[start : start + NAMES_AT_ONCE]


@lru_cache(maxsize=1)
def authorities(ca_file: str, _changed: int) -> IO[bytes]:
    """certifi's, and those in `ca_file`. curl reads a file once for many connections, but memory for each anew."""
    joined = os.fdopen(os.memfd_create("authorities"), "wb")
    joined.write(Path(certifi.where()).read_bytes() + b"\n" + Path(ca_file).read_bytes())
    joined.flush()
    return joined


class Group:
    """Requests that are driven, and whose names are looked up, together."""

    def __init__(self, transfers: "Sequence[Transfer]") -> None:
        self.multi: Any = pycurl.CurlMulti()
        self.transfers = {transfer.curl: transfer for transfer in transfers}
        for curl in self.transfers:
            self.multi.add_handle(curl)

    def __enter__(self) -> "Group":
        return self

    def __exit__(self, *_: object) -> None:
        for curl in list(self.transfers):
            self.release(curl)
        with signals_held():
            # It waits for lookups that hang, ten seconds and longer; nobody need wait for it.
            threading.Thread(target=self.multi.close, daemon=True).start()

    def release(self, curl: Any) -> None:
        del self.transfers[curl]  # first: a signal may come in between, and then this must not be done twice
        self.multi.remove_handle(curl)
        curl.close()

    def step(self) -> list[tuple[int, Answer]]:
        """Do what can be done without waiting; answers what has ended."""
        with signals_held():
            self.multi.perform()
        ended = self.read_ends()
        ended |= {curl: (pycurl.E_OK, "") for curl, transfer in self.transfers.items() if transfer.is_full}
        return [self.end(curl, code, message) for curl, (code, message) in ended.items()]

    def read_ends(self) -> dict[Any, tuple[int, str]]:
        ended: dict[Any, tuple[int, str]] = {}
        more = 1
        while more:
            more, succeeded, failed = self.multi.info_read()
            ended |= dict.fromkeys(succeeded, (pycurl.E_OK, ""))
            ended |= {curl: (code, message) for curl, code, message in failed}
        return ended

    def end(self, curl: Any, code: int, message: str) -> tuple[int, Answer]:
        transfer = self.transfers[curl]
        answer = transfer.answer(code, message)
        self.release(curl)
        return transfer.index, answer


@contextmanager
def signals_held() -> Iterator[None]:
    """What a signal raises in a callback of curl would be printed and lost: a time limit of Celery's, for one.

    curl's threads inherit this, and take no signals from us later either.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, HELD_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def wait(groups: Sequence[Group]) -> None:
    """Until one of curl's files is ready, or its time has come."""
    reading: list[int] = []
    writing: list[int] = []
    seconds = TICK if groups else 0
    for group in groups:
        read, write, _ = group.multi.fdset()
        reading += read
        writing += write
        milliseconds = group.multi.timeout()
        if milliseconds >= 0:  # -1: there is none
            seconds = min(seconds, milliseconds / 1000)
    select.select(reading, writing, [], seconds)


class Transfer:
    """One request under way. Raises BadTarget where it cannot be sent."""

    def __init__(self, index: int, request: Request, networks: Sequence[Network], trusted: str, limits: Limits) -> None:
        self.index = index
        self.networks = networks
        self.limits = limits
        self.url = check_url(request.url, networks)
        self.opened = self.refused = 0  # addresses
        self.head = BytesIO()
        self.body = BytesIO()
        self.curl: Any = pycurl.Curl()
        for option, value in self.options(request, trusted):
            self.curl.setopt(option, value)

    def options(self, request: Request, trusted: str) -> Sequence[tuple[int, Any]]:
        return (
            (pycurl.URL, self.url),
            (pycurl.PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS),
            (pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_1_1),
            (pycurl.USERAGENT, "package-security-scanner"),
            (pycurl.HTTPHEADER, header_lines(request)),
            (pycurl.POSTFIELDS, request.body),
            (pycurl.FOLLOWLOCATION, 0),
            (pycurl.PROXY, ""),
            (pycurl.NOPROXY, "*"),  # the environment's proxies, too
            (pycurl.HTTP_CONTENT_DECODING, 0),
            (pycurl.CAINFO, trusted),
            (pycurl.SSL_VERIFYPEER, 1),
            (pycurl.SSL_VERIFYHOST, 2),
            (pycurl.SSLVERSION, pycurl.SSLVERSION_TLSv1_2),  # or newer
            (pycurl.OPENSOCKETFUNCTION, self.open_socket),
            (pycurl.FORBID_REUSE, 1),
            (pycurl.NOSIGNAL, 1),
            (pycurl.CONNECTTIMEOUT_MS, round(self.limits.connect * 1000)),
            (pycurl.TIMEOUT_MS, round(self.limits.total * 1000)),
            (pycurl.HEADERFUNCTION, self.head.write),
            (pycurl.WRITEFUNCTION, self.body.write),
        )

    def open_socket(self, _purpose: int, address: tuple[int, int, int, tuple[Any, ...]]) -> Any:
        """curl asks for each address that it is about to connect to."""
        try:
            family, kind, protocol, (ip, _port, *flow_and_scope) = address
            scope = flow_and_scope[1] if flow_and_scope else 0
            if not self.may_reach(f"{ip}%{scope}" if scope else ip):
                self.refused += 1
                return pycurl.SOCKET_BAD
            opened = socket.socket(family, kind, protocol)  # curl takes a duplicate
            self.opened += 1
            return opened
        except OSError:  # too many files, or no IPv6 here
            return pycurl.SOCKET_BAD

    def may_reach(self, ip: str) -> bool:
        return (listed if self.url.startswith("http:") else allowed)(ip, self.networks)

    @property
    def is_full(self) -> bool:
        """curl reads some ten buffers before we look, so more than the limit may have come, but not much more."""
        return self.head.tell() + self.body.tell() > self.limits.answer

    @property
    def status(self) -> int | None:
        status: int = self.curl.getinfo(pycurl.RESPONSE_CODE)
        return status if status >= 200 else None  # 100 Continue: the answer is still to come

    def answer(self, code: int, message: str) -> Answer:
        """What came of it, by the code and words of curl."""
        error, words = self.verdict(code, message)
        headers = headers_of(self.head.getvalue())
        after = next((value for name, value in headers if name.lower() == "retry-after"), "")
        return Answer(
            ok=not error,
            error=error,
            words=words,
            final=error == "http" and self.status == HTTPStatus.GONE,
            status=self.status,
            retry_after=seconds_of(after),
            ip=self.curl.getinfo(pycurl.PRIMARY_IP) if self.curl.getinfo(pycurl.CONNECT_TIME) else "",
            seconds=self.curl.getinfo(pycurl.TOTAL_TIME),
            headers=headers,
            body=text_of(self.body.getvalue(), self.limits.body),
        )

    def verdict(self, code: int, message: str) -> tuple[str, str]:
        """The error, empty on success, and the words for it."""
        if code == TOO_LARGE or (self.is_full and not self.body.tell()):
            return "too large", "The receiver answered with far too many headers."
        if code == pycurl.E_OK or self.is_full:
            return verdict_on(self.status)
        if code == pycurl.E_OPERATION_TIMEDOUT:
            return "timeout", self.words_for_timeout()
        if code == pycurl.E_COULDNT_CONNECT and self.refused and not self.opened:
            return "refused", self.words_for_refusal()
        error, words = FAILURES.get(code, ("internal", f"The request could not be sent (curl's error {code})."))
        return error, f"{words}: {message.split(': ', 1)[-1].rstrip('.')}." if error == "tls" else words

    def words_for_timeout(self) -> str:
        if not self.curl.getinfo(pycurl.NAMELOOKUP_TIME):
            return f"The name of the receiver could not be looked up within {self.limits.connect:g} seconds."
        if not self.curl.getinfo(pycurl.REQUEST_SIZE):  # nothing was sent yet
            return f"No connection to the receiver could be made within {self.limits.connect:g} seconds."
        return f"The receiver's answer was not complete within {self.limits.total:g} seconds."

    def words_for_refusal(self) -> str:
        """Without the address: whoever made up a name does not learn what it means in here."""
        if self.url.startswith("http:"):
            return f"Plain http goes only to private networks that are listed in {SETTING}. Use https."
        return (
            "The receiver's name leads to a private or reserved address, and webhooks may not reach it. "
            f"An administrator can list its network in {SETTING}."
        )


def header_lines(request: Request) -> list[bytes]:
    """As curl wants them. Raises BadTarget for those that would break the request, or are ours to set."""
    lines = [b"Expect:"]  # without a value: not sent
    names = set()
    for name, value in (*request.headers, *request.secret_headers):
        if not HEADER_NAME.fullmatch(name) or not HEADER_VALUE.fullmatch(value) or name.lower() in OURS:
            raise BadTarget("headers", f"The header {name[:100]!r} cannot be sent.")
        names.add(name.lower())
        lines.append(f"{name}: {value}".encode() if value.strip() else f"{name};".encode())
    if "content-type" not in names:  # curl would say that it is a form
        lines.append(b"Content-Type: application/json")
    return lines


# --- reading an answer -------------------------------------------------------------------------------


def verdict_on(status: int | None) -> tuple[str, str]:
    if status is None:
        return "http", "What the receiver answered is not HTTP."
    if 200 <= status < 300:
        return "", ""
    if status == HTTPStatus.GONE:
        return "http", "The receiver says that it is gone (410)."
    said = f"{status} {HTTPStatus(status).phrase}" if status in list(HTTPStatus) else str(status)
    return "http", f"The receiver answered {said}{'; redirects are not followed' if status < 400 else ''}."


def headers_of(head: bytes) -> tuple[tuple[str, str], ...]:
    """Of the last answer: "100 Continue" may come before it, and trailers after the body."""
    headers: list[tuple[str, str]] = []
    is_open = False
    for line in head.replace(b"\0", b"").decode("latin-1").split("\n"):
        name, colon, value = line.partition(":")
        if line.startswith("HTTP/"):
            headers, is_open = [], True
        elif not line.strip():
            is_open = False
        elif is_open and colon and not line[0].isspace():
            headers.append((name.strip(), value.strip()))
    return tuple(headers)


def seconds_of(retry_after: str) -> float | None:
    """How long a receiver asks to wait, a day at most. None: it does not say, or says nonsense."""
    if retry_after.isascii() and retry_after.isdigit():
        return min(float(retry_after), DAY)
    try:
        at = parsedate_to_datetime(retry_after)  # Wed, 21 Oct 2026 07:28:00 GMT
        seconds = (at.replace(tzinfo=at.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
    except (ValueError, OverflowError):
        return None
    return min(seconds, DAY) if seconds >= 0 else None


def text_of(body: bytes, limit: int) -> str:
    """The first `limit` bytes. A database takes no NUL."""
    return body[:limit].decode(errors="replace").replace("\0", "")
