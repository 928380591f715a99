"""The files of feeds, got from a real server on this machine, or from where an administrator has put them."""

import gzip
import hashlib
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from scanner.vulnerabilities.fetching import Fetched, Kept, Limits, check_shrunk, fetch
from scanner.vulnerabilities.interface import FeedError

DATA = b"advisory " * 40_000  # more than one piece
MODIFIED = "Fri, 21 Aug 2026 10:00:00 GMT"

NOTHING = Kept("debian")

Answer = Callable[[BaseHTTPRequestHandler], None]


class Server:
    """Answers each path with what a test has put there, and remembers what it was asked."""

    def __init__(self) -> None:
        self.answers: dict[str, Answer] = {}
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), self.handler())
        self.http.daemon_threads = True
        self.address = f"http://127.0.0.1:{self.http.server_port}"
        self.thread = threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.02})
        self.thread.start()

    def handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.asked.append((self.path, dict(self.headers)))
                server.answers.get(self.path, missing)(self)

            def log_message(self, *_: object) -> None:
                pass

        return Handler

    def stop(self) -> None:
        self.http.shutdown()
        self.http.server_close()
        self.thread.join()


def say(handler: BaseHTTPRequestHandler, status: int, body: bytes = b"", **headers: str) -> None:
    handler.send_response(status)
    for name, value in {"Content_Length": str(len(body)), **headers}.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(body)


def missing(handler: BaseHTTPRequestHandler) -> None:
    say(handler, 404)


def feed(handler: BaseHTTPRequestHandler) -> None:
    if handler.headers.get("If-None-Match") == '"1"' or handler.headers.get("If-Modified-Since") == MODIFIED:
        say(handler, 304)
    else:
        say(handler, 200, DATA, ETag='"1"', Last_Modified=MODIFIED)


def redirect(target: str) -> Answer:
    return lambda handler: say(handler, 302, Location=target)


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    running.answers["/feed"] = feed
    yield running
    running.stop()


class Fetcher:
    """Fetches into a folder, and keeps count of what it was told."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.told: list[tuple[int, int | None]] = []

    def __call__(self, source: str, kept: Kept = NOTHING, **limits: float) -> Fetched:
        return fetch(source, kept, self.folder, lambda done, total: self.told.append((done, total)), Limits(**limits))

    def files(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in self.folder.iterdir()} if self.folder.exists() else {}


@pytest.fixture
def get(tmp_path: Path) -> Fetcher:
    return Fetcher(tmp_path / "feeds")


def kept(fetched: Fetched, source: str) -> Kept:
    return Kept("debian", source, fetched.etag, fetched.last_modified, fetched.sha256, fetched.size)


# --- from an address -------------------------------------------------------------------------------


def test_a_file_is_fetched_whole_and_described(server, get):
    fetched = get(f"{server.address}/feed")
    assert fetched == Fetched(
        path=get.folder / "debian",
        etag='"1"',
        last_modified=MODIFIED,
        sha256=hashlib.sha256(DATA).hexdigest(),
        size=len(DATA),
        unchanged=False,
    )
    assert get.files() == {"debian": DATA}
    assert get.told[-1] == (len(DATA), len(DATA))
    assert [done for done, _ in get.told] == sorted({done for done, _ in get.told})


def test_a_file_that_has_not_changed_is_not_fetched_again(server, get):
    source = f"{server.address}/feed"
    first = get(source)
    second = get(source, kept(first, source))
    assert second.unchanged
    assert (second.path, second.etag, second.sha256, second.size) == (
        first.path,
        first.etag,
        first.sha256,
        first.size,
    )
    assert [headers.get("If-None-Match") for _, headers in server.asked] == [None, '"1"']
    assert [headers.get("If-Modified-Since") for _, headers in server.asked] == [None, MODIFIED]


def test_the_time_alone_is_enough_to_ask_by(server, get):
    source = f"{server.address}/feed"
    first = get(source)
    assert get(source, Kept("debian", source, "", MODIFIED, first.sha256, first.size)).unchanged


def test_the_same_content_is_unchanged_also_where_a_server_cannot_tell(server, get):
    source = f"{server.address}/plain"
    server.answers["/plain"] = lambda handler: say(handler, 200, DATA)
    first = get(source)
    assert (first.etag, first.last_modified, first.unchanged) == ("", "", False)
    assert get(source, kept(first, source)).unchanged


def test_a_file_that_was_lost_or_came_from_elsewhere_is_fetched_whatever_is_remembered(server, get):
    source = f"{server.address}/feed"
    remembered = kept(get(source), source)
    (get.folder / "debian").write_bytes(DATA[:100])
    assert not any(name.startswith("If-") for name in headers_of_next(server, get, source, remembered))
    (get.folder / "debian").unlink()
    assert not any(name.startswith("If-") for name in headers_of_next(server, get, source, remembered))
    other = f"{server.address}/other"
    server.answers["/other"] = feed
    assert not any(name.startswith("If-") for name in headers_of_next(server, get, other, remembered))
    assert get.files() == {"debian": DATA}


def headers_of_next(server: Server, get: Fetcher, source: str, remembered: Kept) -> dict[str, str]:
    get(source, remembered)
    return server.asked[-1][1]


def test_what_is_packed_on_the_way_is_unpacked_and_its_length_is_not_foretold(server, get):
    server.answers["/packed"] = lambda handler: say(handler, 200, gzip.compress(DATA), Content_Encoding="gzip")
    fetched = get(f"{server.address}/packed")
    assert (fetched.size, get.files()) == (len(DATA), {"debian": DATA})
    assert {total for _, total in get.told} == {None}


def test_a_file_in_chunks_of_unknown_length_is_fetched(server, get):
    def chunked(handler: BaseHTTPRequestHandler) -> None:
        handler.protocol_version = "HTTP/1.1"
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.send_header("Connection", "close")
        handler.end_headers()
        for piece in (DATA[:1000], DATA[1000:]):
            handler.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        handler.wfile.write(b"0\r\n\r\n")

    server.answers["/chunked"] = chunked
    get(f"{server.address}/chunked")
    assert get.files() == {"debian": DATA}


def test_a_few_redirects_are_followed(server, get):
    server.answers |= {"/1": redirect("/2"), "/2": redirect(f"{server.address}/3"), "/3": redirect("feed")}
    get(f"{server.address}/1")
    assert [path for path, _ in server.asked] == ["/1", "/2", "/3", "/feed"]
    assert get.files() == {"debian": DATA}


# --- what goes wrong -------------------------------------------------------------------------------


@pytest.fixture
def remembered(server: Server, get: Fetcher) -> Kept:
    """A file that was fetched before."""
    source = f"{server.address}/feed"
    return kept(get(source), source)


def refused(get: Fetcher, source: str, remembered: Kept, **limits: float) -> str:
    """The words of the error, after which the file that was there is there still, and nothing else."""
    with pytest.raises(FeedError) as error:
        get(source, remembered, **limits)
    assert get.files() == {"debian": DATA}
    return str(error.value)


@pytest.mark.parametrize(("status", "words"), [(404, "404 Not Found"), (403, "403 Forbidden"), (503, "503 Service")])
def test_an_answer_that_is_no_file_is_named_with_what_to_do(server, get, remembered, status, words):
    server.answers["/broken"] = lambda handler: say(handler, status, b"a page")
    message = refused(get, f"{server.address}/broken", remembered)
    assert message.startswith(f"The feed debian could not be fetched from {server.address}/broken: it answered {words}")
    assert "Check its address" in message


def test_a_304_that_was_not_asked_for_is_no_file(server, get, remembered):
    server.answers["/broken"] = lambda handler: say(handler, 304)
    assert "304" in refused(get, f"{server.address}/broken", remembered)


def test_a_connection_that_closes_early_leaves_the_kept_file(server, get, remembered):
    server.answers["/broken"] = lambda handler: say(handler, 200, DATA[:70_000], Content_Length=str(len(DATA)))
    assert "broke off" in refused(get, f"{server.address}/broken", remembered)


def test_an_answer_with_two_lengths_is_no_answer(server, get, remembered):
    server.answers["/broken"] = lambda handler: say(handler, 200, DATA, content_length="5")
    assert "not HTTP" in refused(get, f"{server.address}/broken", remembered)


def test_what_cannot_be_unpacked_leaves_the_kept_file(server, get, remembered):
    server.answers["/broken"] = lambda handler: say(handler, 200, DATA, Content_Encoding="gzip")
    assert "damaged" in refused(get, f"{server.address}/broken", remembered)


def test_a_file_that_is_too_large_is_not_read_to_its_end(server, get, remembered):
    server.answers["/large"] = lambda handler: say(handler, 200, DATA)
    assert "larger than 100,000 bytes" in refused(get, f"{server.address}/large", remembered, size=100_000)


def test_a_small_packed_file_may_be_too_large_unpacked(server, get, remembered):
    server.answers["/bomb"] = lambda handler: say(handler, 200, gzip.compress(DATA), Content_Encoding="gzip")
    assert "larger than" in refused(get, f"{server.address}/bomb", remembered, size=100_000)


def test_a_server_that_drips_does_not_hold_us_forever(server, get, remembered):
    def drip(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        for _ in range(100):
            try:
                handler.wfile.write(b"x")
            except OSError:
                break
            time.sleep(0.05)

    server.answers["/slow"] = drip
    began = time.monotonic()
    assert "within 0.3 seconds" in refused(get, f"{server.address}/slow", remembered, total=0.3)
    assert time.monotonic() - began < 2


def test_a_server_that_falls_silent_is_given_up(server, get, remembered):
    server.answers["/silent"] = lambda handler: time.sleep(1)
    assert "did not answer in time" in refused(get, f"{server.address}/silent", remembered, silence=0.2)

    def half(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "10")
        handler.end_headers()
        handler.wfile.write(b"half")
        time.sleep(1)

    server.answers["/half"] = half
    assert "did not answer in time" in refused(get, f"{server.address}/half", remembered, silence=0.2)


def test_an_empty_file_is_refused(server, get, remembered):
    server.answers["/empty"] = lambda handler: say(handler, 200)
    assert "it is empty" in refused(get, f"{server.address}/empty", remembered)


def test_redirects_end(server, get, remembered):
    server.answers["/round"] = redirect("/round")
    assert "redirects more than 3 times" in refused(get, f"{server.address}/round", remembered)
    assert len([path for path, _ in server.asked if path == "/round"]) == 4


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://127.0.0.1/feed", "http://[", "//[", "gopher:x"])
def test_a_redirect_leads_to_the_web_or_nowhere(server, get, remembered, target):
    server.answers["/away"] = redirect(target)
    refused(get, f"{server.address}/away", remembered)


@pytest.mark.parametrize("source", ["ftp://127.0.0.1/feed", "file:///etc/passwd", "http://", "http://[", "https://:x/"])
def test_what_is_no_address_is_said_to_be_none(get, remembered, source):
    assert "The feed debian could not be fetched from" in refused(get, source, remembered)


def test_nobody_at_the_address_is_an_error(get, remembered):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    assert "no connection could be made" in refused(get, f"http://127.0.0.1:{port}/feed", remembered)


def test_an_address_that_speaks_no_tls_is_not_trusted(server, get, remembered):
    message = refused(get, f"{server.address}/feed".replace("http:", "https:"), remembered)
    assert "no TLS connection could be agreed on" in message


def test_a_password_in_an_address_is_not_told(server, get, remembered):
    source = f"{server.address}/gone?token=hunter2".replace("http://", "http://me:hunter2@")
    assert "hunter2" not in refused(get, source, remembered)


def test_a_folder_that_cannot_be_written_is_named(server, tmp_path):
    (tmp_path / "feeds").write_text("a file where the folder should be")
    with pytest.raises(FeedError, match="could not be written"):
        Fetcher(tmp_path / "feeds")(f"{server.address}/feed")


# --- from a file -----------------------------------------------------------------------------------


def test_a_file_is_read_where_it_is_and_known_by_its_time_and_size(tmp_path, get):
    path = tmp_path / "copy.json"
    path.write_bytes(DATA)
    first = get(str(path))
    assert (first.path, first.size, first.sha256) == (path, len(DATA), hashlib.sha256(DATA).hexdigest())
    assert not first.unchanged
    assert get(str(path), kept(first, str(path))).unchanged
    assert get.files() == {}

    os.utime(path, (1, 1))
    touched = get(str(path), kept(first, str(path)))
    assert not touched.unchanged
    assert touched.last_modified == "Thu, 01 Jan 1970 00:00:01 GMT"


def test_a_folder_of_files_changes_with_any_of_them(tmp_path, get):
    folder = tmp_path / "osv"
    (folder / "almalinux9").mkdir(parents=True)
    (folder / "almalinux9/1.json").write_text("{}")
    first = get(str(folder))
    assert get(str(folder), kept(first, str(folder))).unchanged
    (folder / "almalinux9/2.json").write_text("{}")
    second = get(str(folder), kept(first, str(folder)))
    assert not second.unchanged
    assert second.size == 4


def test_a_file_that_is_not_there_is_named_with_what_to_do(tmp_path, get):
    with pytest.raises(FeedError, match=r"feed debian, .*gone\.json, cannot be read: No such file.*readable for"):
        get(str(tmp_path / "gone.json"))


# --- size of a feed --------------------------------------------------------------------------------


@pytest.mark.parametrize(("before", "now"), [(0, 0), (100, 0), (1000, 800), (1000, 5000), (101, 81)])
def test_a_feed_may_grow_and_shrink_a_little(before, now):
    check_shrunk(before, now)


@pytest.mark.parametrize(("before", "now"), [(1000, 799), (101, 80), (60000, 0)])
def test_a_feed_that_lost_more_than_a_fifth_is_refused(before, now):
    with pytest.raises(FeedError, match=f"only {now:,} rows, and had {before:,}"):
        check_shrunk(before, now)
