"""Receivers of webhooks on loopback, good ones and bad ones: real sockets, real TLS, one thread a connection.

    with Receiver(reply(503, headers={"Retry-After": "7"})) as receiver:
        post(Request(receiver.url, b"{}"), LOOPBACK)
    assert receiver.requests[0].body == b"{}"

A behaviour is a function of the Exchange that has just been accepted. It may read() the request, or not, and sends what
it likes; when it ends, the connection is closed. `each` plays several, one a connection.
"""

import gzip
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from http import HTTPStatus
from ipaddress import ip_address, ip_network
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

LOOPBACK = (ip_network("127.0.0.0/8"), ip_network("::1/128"))
BOMB_SIZE = 32 * 1024 * 1024  # bytes when unpacked; packed it is 32 KB


@dataclass(frozen=True, slots=True)
class Received:
    """One request as it came. `lines`: the header as it was sent, first line included."""

    method: str
    path: str
    headers: Mapping[str, str]  # names in lower case
    body: bytes
    lines: tuple[str, ...]


class Stopped(Exception):
    """The test is over, or the other side has gone."""


class Exchange:
    """One accepted connection."""

    def __init__(self, receiver: "Receiver", connection: socket.socket) -> None:
        self.receiver = receiver
        self.connection = connection

    def read(self) -> Received:
        """Read the request, and note it in receiver.requests."""
        with self.connection.makefile("rb") as file:
            lines = []
            while line := file.readline().decode("latin-1").rstrip("\r\n"):
                lines.append(line)
            if not lines:
                raise Stopped  # it was only a connect
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
            body = file.read(int(headers.get("content-length", 0)))
        method, path, _ = lines[0].split(" ")
        received = Received(method, path, headers, body, tuple(lines))
        self.receiver.requests.append(received)
        return received

    def send(self, data: bytes) -> None:
        self.connection.sendall(data)

    def wait(self, seconds: float | None = None) -> None:
        """For ever where no time is given; raises Stopped when the test ends."""
        if self.receiver.stopping.wait(seconds):
            raise Stopped

    def reply(self, status: int, body: bytes = b"", headers: Mapping[str, str] | None = None) -> None:
        phrase = HTTPStatus(status).phrase if status in list(HTTPStatus) else "Whatever"
        fields = {"Content-Length": str(len(body)), "Connection": "close", **(headers or {})}
        head = [f"HTTP/1.1 {status} {phrase}", *(f"{name}: {value}" for name, value in fields.items()), "", ""]
        self.send("\r\n".join(head).encode("latin-1") + body)


Behaviour = Callable[[Exchange], None]


# --- behaviours --------------------------------------------------------------------------------------


def reply(status: int = 200, body: bytes = b"", headers: Mapping[str, str] | None = None) -> Behaviour:
    def behave(exchange: Exchange) -> None:
        exchange.read()
        exchange.reply(status, body, headers)

    return behave


ok = reply(200, b"ok")


def each(*behaviours: Behaviour) -> Behaviour:
    """The first connection gets the first behaviour, and so on; the last one stays."""
    waiting = list(behaviours)

    def behave(exchange: Exchange) -> None:
        (waiting.pop(0) if len(waiting) > 1 else waiting[0])(exchange)

    return behave


def raw(data: bytes) -> Behaviour:
    """These bytes, and the end."""

    def behave(exchange: Exchange) -> None:
        exchange.read()
        exchange.send(data)

    return behave


def flood(start: bytes, rest: bytes) -> Behaviour:
    """`start`, and then `rest` until the other side has had enough."""

    def behave(exchange: Exchange) -> None:
        exchange.read()
        exchange.send(start)
        while True:
            exchange.send(rest)

    return behave


def drip(start: bytes = b"HTTP/1.1 200 OK\r\n\r\n", every: float = 0.3) -> Behaviour:
    """`start`, and then a byte again and again, for ever."""

    def behave(exchange: Exchange) -> None:
        exchange.read()
        exchange.send(start)
        while True:
            exchange.wait(every)
            exchange.send(b"x")

    return behave


def late(seconds: float, then: Behaviour = ok) -> Behaviour:
    """Nothing is read or said for so long."""

    def behave(exchange: Exchange) -> None:
        exchange.wait(seconds)
        then(exchange)

    return behave


def never(exchange: Exchange) -> None:
    """The request is read, and that is all."""
    exchange.read()
    exchange.wait()


def close_at_once(exchange: Exchange) -> None:
    """Not even the request is read."""


def close_unanswered(exchange: Exchange) -> None:
    exchange.read()


def reset(exchange: Exchange) -> None:
    """The request is read; then comes an RST instead of an answer."""
    exchange.read()
    exchange.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def redirect(status: int, location: str) -> Behaviour:
    return reply(status, headers={"Location": location})


endless_body = flood(b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 65536)
endless_chunks = flood(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n" * 4096)
endless_headers = flood(b"HTTP/1.1 200 OK\r\n", b"X-Flood: " + b"x" * 1000 + b"\r\n")
endless_header = flood(b"HTTP/1.1 200 OK\r\nX-Flood: ", b"x" * 65536)
endless_interims = flood(b"", b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" * 100)
endless_trailers = flood(
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n", b"X-Flood: " + b"x" * 1000 + b"\r\n"
)
garbage = raw(b"\x16\x03\x01\x02 SSH-2.0-OpenSSH_9.2\r\n" * 20)
cut_short = raw(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this")


def gzip_bomb(exchange: Exchange) -> None:
    exchange.read()
    exchange.reply(200, bomb(), {"Content-Encoding": "gzip"})


def gzip_bomb_in_transfer(exchange: Exchange) -> None:
    """Packed by Transfer-Encoding, which programs unpack more readily."""
    exchange.read()
    chunk = f"{len(bomb()):x}\r\n".encode() + bomb() + b"\r\n0\r\n\r\n"
    exchange.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n" + chunk)


@cache
def bomb() -> bytes:
    return gzip.compress(b"\0" * BOMB_SIZE)


# --- the receiver ------------------------------------------------------------------------------------


class Receiver:
    """Listens while the `with` block runs. With a certificate (of an Authority) it speaks TLS.

    `path` is what `url` ends in. `full`: its queue is full, so that no connection is ever made.
    """

    def __init__(
        self,
        behaviour: Behaviour = ok,
        *,
        certificate: Path | None = None,
        address: str = "127.0.0.1",
        path: str = "/hook",
        full: bool = False,
    ) -> None:
        self.behaviour = behaviour
        self.address = address
        self.path = path
        self.full = full
        self.requests: list[Received] = []
        self.connections = 0  # accepted
        self.stopping = threading.Event()
        self.threads: list[threading.Thread] = []
        self.cleanup = ExitStack()
        self.tls: ssl.SSLContext | None = None
        if certificate is not None:
            self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.tls.load_cert_chain(certificate)

    @property
    def url(self) -> str:
        return self.url_at(f"[{self.address}]" if ":" in self.address else self.address)

    def url_at(self, host: str) -> str:
        """The same place by another name."""
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}{self.path}"

    def __enter__(self) -> "Receiver":
        family = socket.AF_INET6 if ":" in self.address else socket.AF_INET
        self.listener = self.cleanup.enter_context(socket.socket(family))
        self.listener.bind((self.address, 0))
        self.port: int = self.listener.getsockname()[1]
        self.listener.listen(0 if self.full else 256)
        if self.full:
            self.fill()
        else:
            self.start(self.accept)
        return self

    def __exit__(self, *_: object) -> None:
        self.stopping.set()
        with suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)  # wakes accept()
        self.cleanup.close()
        for thread in self.threads:
            thread.join(10)

    def fill(self) -> None:
        """Connections that nobody accepts, until the kernel takes no more."""
        for _ in range(20):
            client = self.cleanup.enter_context(socket.socket())
            client.settimeout(0.2)
            try:
                client.connect((self.address, self.port))
            except TimeoutError:
                return
        raise AssertionError("The queue is never full.")

    def start(self, work: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=work, args=args, daemon=True)
        self.threads.append(thread)
        thread.start()

    def accept(self) -> None:
        with suppress(OSError):  # it was closed
            while True:
                connection, _ = self.listener.accept()
                self.connections += 1
                self.start(self.serve, connection)

    def serve(self, connection: socket.socket) -> None:
        connection.settimeout(10)  # no thread outlives its test for long
        with connection, suppress(Stopped, OSError):  # the other side may leave whenever it likes
            if self.tls is None:
                self.behaviour(Exchange(self, connection))
            else:
                with self.tls.wrap_socket(connection, server_side=True) as encrypted:
                    self.behaviour(Exchange(self, encrypted))


# --- certificates ------------------------------------------------------------------------------------


class Authority:
    """Signs certificates. `file` is what a client that trusts it must know."""

    def __init__(self, folder: Path, name: str = "Test Authority") -> None:
        self.folder = folder
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.key = ec.generate_private_key(ec.SECP256R1())
        own = signed(
            self.name, self.name, self.key.public_key(), self.key, x509.BasicConstraints(ca=True, path_length=0)
        )
        self.file = folder / f"{name}.pem"
        self.file.write_bytes(own.public_bytes(serialization.Encoding.PEM))

    def certificate(self, *hosts: str, expired: bool = False) -> Path:
        """A file with a certificate for these names and addresses, and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, hosts[0])])
        names = x509.SubjectAlternativeName([alternative(host) for host in hosts])
        own = signed(subject, self.name, key.public_key(), self.key, names, expired=expired)
        return with_key(self.folder / f"{hosts[0]}-{expired}.pem", own, key)


def self_signed(folder: Path, host: str) -> Path:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    own = signed(name, name, key.public_key(), key, x509.SubjectAlternativeName([alternative(host)]))
    return with_key(folder / f"self-signed-{host}.pem", own, key)


def signed(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    by: ec.EllipticCurvePrivateKey,
    extension: x509.ExtensionType,
    *,
    expired: bool = False,
) -> x509.Certificate:
    start = datetime.now(UTC) - timedelta(days=30)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=10 if expired else 60))
        .add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
        .sign(by, hashes.SHA256())
    )


def alternative(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def with_key(file: Path, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> Path:
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    file.write_bytes(certificate.public_bytes(pem) + key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
    return file
