"""Other services, through the real apprise in its own process, to a real receiver on loopback."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from scanner.webhooks.interface import Answer, BadTarget
from scanner.webhooks.other import CHECKOUT, ENVIRONMENT, Other
from tests.webhooks.receivers import (
    LOOPBACK,
    Authority,
    Behaviour,
    Receiver,
    close_unanswered,
    endless_body,
    never,
    ok,
    redirect,
    reply,
)
from tests.webhooks.sample_events import EVENT_ID, event, every_type, monstrous_event

OTHER = Other()
TOKEN = "AbCdEf123456789"


def gotify(receiver: Receiver, query: str = "") -> str:
    return f"gotify://127.0.0.1:{receiver.port}/{TOKEN}{query}"


def send(url: str, networks: Sequence[Any] = LOOPBACK, made: dict[str, Any] | None = None, limit: float = 30) -> Answer:
    return Other(limit).send({"url": url}, EVENT_ID, OTHER.body(made or event()), networks)


def sent_to(behaviour: Behaviour, query: str = "", networks: Sequence[Any] = LOOPBACK) -> tuple[Answer, Receiver]:
    with Receiver(behaviour) as receiver:
        return send(gotify(receiver, query), networks), receiver


def in_the_child(program: str) -> str:
    """What a program prints that is run as the child is, after apprise_process has put up its fence."""
    head = "from scanner.webhooks.apprise_process import *\nfence = put_up_fence(networks_of(['127.0.0.0/8']))\n"
    done = subprocess.run(
        [sys.executable, "-B", "-c", head + program],
        cwd=CHECKOUT,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.stdout + done.stderr


# --- what arrives -----------------------------------------------------------------------------------


def test_a_message_arrives_at_a_service_in_a_listed_network() -> None:
    answer, receiver = sent_to(ok)
    assert (answer.ok, answer.error, answer.status) == (True, "", 200)
    (request,) = receiver.requests
    assert request.path == "/message"
    assert request.headers["x-gotify-key"] == TOKEN
    told = json.loads(request.body)
    assert told["title"] == "web-1: 3 new security updates"
    assert "curl 3.0.1 → 3.0.2 (critical, CVE-2026-1111)" in told["message"]


def test_another_service_gets_it_in_its_own_form() -> None:
    with Receiver(reply(200, b'{"id": "x"}')) as receiver:
        answer = send(f"ntfy://127.0.0.1:{receiver.port}/alerts")
    assert answer.ok
    (request,) = receiver.requests
    assert json.loads(request.body)["topic"] == "alerts"


def test_mentions_in_names_are_broken() -> None:
    body = json.loads(OTHER.body(monstrous_event()))
    for mention in ("@everyone", "@here", "<!channel>"):
        assert mention not in body["title"] + body["body"]


@pytest.mark.parametrize("made", every_type(), ids=lambda made: made["type"])
def test_every_type_of_event_has_a_title_and_a_text(made: dict[str, Any]) -> None:
    body = json.loads(OTHER.body(made))
    assert body["title"]
    assert body["body"]


def test_a_test_message_opens_an_alert_also_where_all_is_well() -> None:
    assert json.loads(OTHER.body(event(status_label="Secure")))["level"] == "secure"
    assert json.loads(OTHER.body(event(status_label="Secure", test=True)))["level"] == "low"


# --- where it does not go ---------------------------------------------------------------------------


@pytest.mark.parametrize("networks", [(), [ip_network("127.0.0.2/32")]])
def test_a_private_address_is_refused_and_not_named(networks: Sequence[Any]) -> None:
    answer, receiver = sent_to(ok, networks=networks)
    assert (answer.ok, answer.error) == (False, "refused")
    assert "127." not in answer.words
    assert receiver.connections == 0


def test_a_name_is_judged_by_its_addresses() -> None:
    with Receiver(ok) as receiver:
        assert send(f"gotify://localhost:{receiver.port}/{TOKEN}", ()).error == "refused"
        assert receiver.connections == 0
        assert send(f"gotify://localhost:{receiver.port}/{TOKEN}").ok


def test_plain_http_goes_to_listed_networks_only() -> None:
    answer = send(f"gotify://1.1.1.1:9/{TOKEN}", ())
    assert (answer.ok, answer.error) == (False, "refused")


@pytest.mark.parametrize("query", ["", "?redirect=yes", "?%72edirect=yes"])
def test_a_redirect_is_not_followed(query: str) -> None:
    with Receiver(ok) as elsewhere:
        answer, _ = sent_to(redirect(302, elsewhere.url), query)
    assert elsewhere.connections == 0
    assert (answer.ok, answer.status) == (False, 302)


def test_the_environment_s_proxies_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    with Receiver(ok) as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        answer, receiver = sent_to(ok)
    assert answer.ok
    assert (receiver.connections, proxy.connections) == (1, 0)


@pytest.mark.parametrize("query", ["", "?verify=no", "?verify=false&priority=high"])
def test_a_certificate_that_nobody_knows_is_refused(tmp_path: Path, query: str) -> None:
    certificate = Authority(tmp_path).certificate("127.0.0.1")
    with Receiver(ok, certificate=certificate) as receiver:
        answer = send(f"gotifys://127.0.0.1:{receiver.port}/{TOKEN}{query}")
        assert receiver.requests == []
    assert (answer.ok, answer.error) == (False, "tls")


# --- the fence itself -------------------------------------------------------------------------------


OTHER_WAYS = (
    "socket.create_connection(('169.254.169.254', 80), 1)",
    "socket.socket().connect_ex(('10.0.0.1', 80))",
    "socket.socket(socket.AF_UNIX).connect('/run/docker.sock')",
    "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', 9))",
    "socket.create_server(('127.0.0.1', 0))",
    "__import__('subprocess').run(['true'])",
    "os.system('true')",
    "os.fork()",
    "open('/etc/passwd')",
    "open('/proc/self/environ', 'rb')",
    "os.open('/tmp/written', os.O_CREAT | os.O_WRONLY)",
    "open(f'{os.getcwd()}/manage.py')",
)


def test_nothing_gets_out_by_another_way() -> None:
    program = f"""
for attempt in {OTHER_WAYS!r}:
    try:
        eval(attempt)
    except PermissionError:
        print("refused", attempt)
"""
    assert in_the_child(program).splitlines() == [f"refused {attempt}" for attempt in OTHER_WAYS]


def test_a_template_that_names_a_file_is_not_read() -> None:
    cleaned = OTHER.clean({"url": "tgram://123456789:abcdefghijkl/123/?template=/etc/passwd&silent=yes"}, ())
    assert cleaned == {"url": "tgram://123456789:abcdefghijkl/123/?silent=yes"}


def test_every_service_of_the_list_exists_and_answers_to_its_scheme() -> None:
    program = """
import json
from scanner.webhooks.apprise_process import SERVICES, plugin_for
found = {scheme: plugin_for(f"{scheme}://x") for scheme in SERVICES}
print(json.dumps([scheme for scheme, plugin in found.items() if scheme not in plugin.schemas(plugin)]))
"""
    done = subprocess.run(
        [sys.executable, "-B", "-c", program], cwd=CHECKOUT, capture_output=True, text=True, timeout=60, check=True
    )
    assert json.loads(done.stdout) == []


def test_it_gets_along_with_neither_django_nor_our_environment() -> None:
    assert set(ENVIRONMENT) == {"HOME", "LANG"}
    assert in_the_child("print(any(name.split('.')[0] == 'django' for name in sys.modules))").strip() == "False"


# --- what goes wrong --------------------------------------------------------------------------------


def test_what_the_service_says_is_told_without_the_token() -> None:
    answer, _ = sent_to(reply(401, b'{"error": "Unauthorized"}'))
    assert (answer.ok, answer.error, answer.status, answer.final) == (False, "service", 401, False)
    assert "401" in answer.words
    assert TOKEN not in answer.words


def test_a_service_that_is_busy_says_when_to_come_back() -> None:
    answer, _ = sent_to(reply(429, headers={"Retry-After": "120"}))
    assert (answer.ok, answer.status, answer.retry_after) == (False, 429, 120.0)


@pytest.mark.parametrize("query", ["", "?optional=yes", "?retry=5&wait=0.1"])
def test_a_failure_is_a_failure_and_tried_once(query: str) -> None:
    answer, receiver = sent_to(reply(500), query)
    assert (answer.ok, answer.error, answer.status) == (False, "service", 500)
    assert len(receiver.requests) == 1


def test_a_service_that_hangs_up_or_is_not_there_is_told_apart_from_one_that_refuses() -> None:
    answer, receiver = sent_to(close_unanswered)
    assert (answer.ok, answer.error) == (False, "connect")
    assert send(gotify(receiver)).error == "connect"


def test_a_hanging_service_is_given_up_in_time() -> None:
    with Receiver(never) as receiver:
        answer = send(gotify(receiver), limit=3)
    assert (answer.ok, answer.error, answer.final) == (False, "timeout", False)
    assert answer.seconds < 15


def test_a_process_that_does_not_end_is_killed() -> None:
    with Receiver(never) as receiver:
        answer = send(gotify(receiver), limit=0.2)
    assert (answer.ok, answer.error) == (False, "timeout")
    assert answer.words == "The service did not take the message within 0.2 seconds."
    assert children() == []


def test_of_an_endless_answer_only_the_beginning_is_read() -> None:
    answer, _ = sent_to(endless_body)
    assert (answer.ok, answer.status) == (True, 200)


def children() -> list[str]:
    """The processes of apprise that are still there."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text().rpartition(")")[2].split()[1])
            words = path.with_name("cmdline").read_text()
        except OSError:
            continue
        if parent == os.getpid() and "apprise_process" in words:
            found.append(words)
    return found


# --- what is taken, and what is shown ---------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "json://127.0.0.1/",
        "mailto://user:pass@example.org",
        "file:///etc/passwd",
        "https://example.org/hook",
        "discord://1/token",
        "syslog://x",
    ],
)
def test_a_service_that_is_not_on_the_list_is_refused(url: str) -> None:
    with pytest.raises(BadTarget, match="is not one of these services: bark, barks, ") as caught:
        OTHER.clean({"url": url}, LOOPBACK)
    assert caught.value.field == "url"


def test_a_service_that_is_on_the_list_no_more_is_a_final_failure() -> None:
    answer = send("json://127.0.0.1/")
    assert (answer.ok, answer.error, answer.final) == (False, "address", True)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("", "as apprise has it"),
        (None, "as apprise has it"),
        ("hello", "as apprise has it"),
        ("gotify://", "as apprise has it"),
        ("gotify://host", "no complete address of Gotify"),
        ("tgram://nonsense/", "no complete address of Telegram"),
        (f"gotify://host/{'x' * 2048}", "longer than 2,048"),
        ("gotify://host/a b", "a space or an invisible character"),
        ("gotify://host/a\nfile:///etc/passwd", "a space or an invisible character"),
    ],
)
def test_a_bad_address_is_refused_in_words(url: Any, words: str) -> None:
    with pytest.raises(BadTarget, match=words) as caught:
        OTHER.clean({"url": url}, ())
    assert caught.value.field == "url"


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        (f"gotify://host/{TOKEN}?verify=no", f"gotify://host/{TOKEN}"),
        (f"gotify://host/{TOKEN}?VERIFY=no&priority=high", f"gotify://host/{TOKEN}?priority=high"),
        (f"gotify://host/{TOKEN}?%76erify=no&cto=99&rto=99&redirect=yes", f"gotify://host/{TOKEN}"),
        ("  GOTIFYS://host/abc  ", "GOTIFYS://host/abc"),
        ("rockets://user:pass@host/#channel", "rockets://user:pass@host/#channel"),
    ],
)
def test_what_is_kept_has_nothing_that_weakens_it(url: str, kept: str) -> None:
    assert OTHER.clean({"url": url}, ()) == {"url": kept}


def test_only_the_service_is_shown() -> None:
    assert OTHER.shown({"url": "TGRAM://123456:secret/chat"}) == "tgram://…"
    assert OTHER.shown({}) == "://…"
