"""Webhooks on the whole stack: set up in a real browser, told to real receivers by processes that die and come back."""

import json
import signal
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import psycopg
import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import Envelope, Session
from django.contrib.auth.models import Permission, User
from django.utils import timezone
from django_celery_beat.models import IntervalSchedule, PeriodicTask
from playwright.sync_api import Locator, Page, expect
from redis import Redis

from project import processes
from scanner.models import ApiToken, Attempt, Delivery, Event, Scan, Webhook
from scanner.models.delivery import IN_FLIGHT
from scanner.webhooks.standard import sign
from tests.end_to_end.conftest import LOOKS, Gate, Looks, expect_accessible, run_scan_now, sign_in
from tests.end_to_end.stack import Process, Stack, wait_until
from tests.make import make_report, make_scan, make_update, make_webhook
from tests.real_services import Postgres, Server, Valkey
from tests.webhooks.receivers import Exchange, Received, Receiver, never, ok, reply

LIST = "/security/webhooks/"
RUN = "/security/package-scanner/run/"
COMPLETED = "security.package_scan_completed"
UPDATES = 6  # of security, on the stack's host
HEADER = "X-Key: abc"
TAB_LIMIT = 100  # presses
REFUSED = ("422",)

"""Colour schemes and widths."""


@pytest.fixture(scope="module")
def running_sender(whole_stack: Stack) -> Iterator[Process]:
    sender = whole_stack.new_sender()
    yield sender
    sender.stop()


@pytest.fixture
def sender(stack: Stack, running_sender: Process) -> Iterator[Process]:
    yield running_sender
    stack.wait_idle()  # a scan that still runs has something to tell when it ends
    stack.wait_quiet()


@pytest.fixture
def beat(stack: Stack, sender: Process) -> Iterator[Process]:
    """For tests that need the sweep. It ends before the database is emptied."""
    every = IntervalSchedule.objects.create(every=5, period="seconds")
    long_ago = timezone.now() - timedelta(hours=1)  # so that its first act is a sweep, as after any absence
    PeriodicTask.objects.create(name="send what is owed", task="-", interval=every, last_run_at=long_ago)
    beat = stack.new_beat()
    yield beat
    beat.stop()


@pytest.fixture
def manager(page: Page, stack: Stack) -> Page:
    """A browser in which somebody has signed in who may manage webhooks and tag hosts."""
    sign_in(page, stack, webhooks=True)
    User.objects.get().user_permissions.add(Permission.objects.get(codename="change_host"))
    page.reload()
    return page


def make_past(*counts: int) -> None:
    """A completed scan with so many security updates each, of which everybody has been told."""
    for count in counts:
        make_scan(report=make_report(*(make_update(f"lib{number}") for number in range(count))))
    Event.objects.update(fanned_out_at=timezone.now())


def ids(receiver: Receiver) -> list[str]:
    return [request.headers["webhook-id"] for request in receiver.requests]


def event_ids() -> set[str]:
    return set(Event.objects.values_list("pk", flat=True))


def wait_until_all_delivered() -> None:
    wait_until(lambda: not Event.objects.waiting().exists(), "the fan-out of all events")
    succeeded = Delivery.objects.filter(state=Delivery.State.SUCCEEDED)
    wait_until(lambda: succeeded.count() == Delivery.objects.count(), "the end of all deliveries")


def manage(stack: Stack, *words: str, **environment: str) -> None:
    done = stack.manage(*words, **environment)
    assert done.returncode == 0, done.stderr


# --- in the browser ---------------------------------------------------------------------------------


def test_webhooks_you_can_trust_slack_only_when_production_gets_more_than_ten_security_updates(
    manager: Page, stack: Stack, sender: Process
) -> None:
    page = manager
    page.get_by_text("Add tags").click()
    page.get_by_label("Tags, separated by spaces").fill("prod")
    page.get_by_role("button", name="Save tags").click()
    expect(page.locator("header .tag")).to_have_text("prod")
    make_past(3, 11, 12)
    with Receiver(path="/services/T0/B0/verysecret1234567") as slack:
        fill_slack_form(page, slack)
        page.get_by_role("button", name="Production with more than ten").click()
        check = page.locator("#filter-check")
        expect(check).to_contain_text("It would have fired for 2 of the last 3 scans.")
        page.get_by_role("button", name="Send a test").click()
        expect(page.locator("#test-result")).to_contain_text("Delivered.")
        (test,) = slack.requests
        assert json.loads(test.body)["blocks"]
        assert not Webhook.objects.exists()

        # the real host has only a few
        field = page.get_by_label("Only if (filter)")
        field.fill("")
        field.press_sequentially('"prod" in host.tags && securty_updates > 5')
        expect(check).to_contain_text("did you mean 'security_updates'")
        expect(check).to_contain_text("Line 1, column 24")
        field.fill('"prod" in host.tags && security_updates > 5')
        expect(check).to_contain_text("It would have fired for 2 of the last 3 scans.")
        page.get_by_role("button", name="Save", exact=True).click()
        expect(page.get_by_role("heading", level=1)).to_have_text("on-call")
        webhook = page.url
        page.get_by_role("button", name="Send a test").click()
        expect(page.locator("#test-result")).to_contain_text("Delivered.")

        page.goto(stack.address("/security/package-scanner/"))
        run_scan_now(page)
        wait_until(lambda: len(slack.requests) == 3, "the message of the scan")
        wait_until_all_delivered()
    assert f"{UPDATES} security updates" in json.loads(slack.requests[-1].body)["text"]
    expect_in_the_log(page, webhook)


def fill_slack_form(page: Page, slack: Receiver) -> None:
    page.get_by_role("link", name="Webhooks").click()
    page.get_by_role("link", name="New webhook").click()
    page.get_by_role("link", name="Slack").click()
    page.get_by_label("Name").fill("on-call")
    page.get_by_label("Incoming webhook's address").fill(slack.url)


def expect_in_the_log(page: Page, webhook: str) -> None:
    page.goto(webhook)
    rows = page.locator("#log tbody tr")
    expect(rows).to_have_count(2)
    expect(rows.nth(1)).to_contain_text("a test")
    expect(rows.nth(0)).to_contain_text("web-1")
    expect(rows.nth(0)).to_contain_text("delivered")
    assert "verysecret" not in page.content()
    rows.nth(0).get_by_role("link").click()
    attempt = page.get_by_role("article")
    expect(attempt).to_have_count(1)
    for words in ("HTTP 200", "ms", "127.0.0.1"):
        expect(attempt).to_contain_text(words)
    attempt.get_by_text("Request headers").click()
    expect(attempt.locator("pre").first).to_contain_text("Content-Type: application/json")
    attempt.get_by_text("Response").click()
    expect(attempt.locator("pre").last).to_contain_text("ok")
    page.get_by_text("What was sent").click()
    expect(page.get_by_label("About it").locator("pre")).to_contain_text(f"{UPDATES} security updates")
    assert "verysecret" not in page.content()


def test_the_keyboard_alone_fills_in_the_form_which_loses_nothing_when_it_is_refused(
    manager: Page, stack: Stack
) -> None:
    page = manager
    page.expected_troubles = REFUSED  # type: ignore[attr-defined]
    page.goto(stack.address(LIST))
    go_to(page.get_by_role("link", name="New webhook")).press("Enter")
    go_to(page.get_by_role("link", name="Signed JSON")).press("Enter")
    with Receiver() as receiver:
        write(page.get_by_label("Name"), "on-call")
        write(page.get_by_label("Address"), "http://10.0.0.1/hook")
        go_to(page.locator("summary", has_text="Headers of your own")).press("Enter")
        write(page.locator("#id_headers"), HEADER)
        go_to(page.get_by_label("A scan has failed")).press("Space")
        write(page.get_by_label("Only if (filter)"), 'host.name == "web-1"')
        go_to(page.get_by_label("every time")).press("ArrowDown")
        go_to(page.get_by_text("Reminders, quiet hours, digest, limits")).press("Enter")
        write(page.get_by_label("Say it again"), "24")
        write(page.get_by_label("Quiet from"), "1000PM")
        write(page.locator("#id_quiet_to"), "0600AM")
        go_to(page.get_by_label("Collect messages")).press("o")  # once an hour
        go_to(page.get_by_role("button", name="Save", exact=True)).press("Enter")

        expect(page.get_by_role("alert")).to_contain_text("private")
        expect_as_written(page, "http://10.0.0.1/hook")
        go_to(page.get_by_role("alert").get_by_role("link", name="Address")).press("Enter")
        expect(page.get_by_label("Address")).to_be_focused()
        page.keyboard.press("ControlOrMeta+a")
        page.keyboard.type(receiver.url)
        go_to(page.get_by_role("button", name="Save", exact=True)).press("Enter")
        expect(page.get_by_role("heading", level=1)).to_have_text("on-call")
        webhook = Webhook.objects.get()
        assert webhook.target == {"url": receiver.url, "headers": {"X-Key": "abc"}}
    assert (webhook.trigger, webhook.repeat_hours, webhook.digest) == ("change", 24, "hourly")
    assert (webhook.filter, webhook.created_by) == ('host.name == "web-1"', "ops")
    assert (str(webhook.quiet_from), str(webhook.quiet_to)) == ("22:00:00", "06:00:00")
    assert COMPLETED in webhook.events
    assert "security.package_scan_failed" not in webhook.events


def go_to(element: Locator) -> Locator:
    """With the Tab key, from wherever the focus is."""
    expect(element).to_be_attached()
    for _ in range(TAB_LIMIT):
        if element.evaluate("element => element === document.activeElement"):
            return element
        element.page.keyboard.press("Tab")
    raise AssertionError(f"{element} is out of the keyboard's reach")


def write(element: Locator, text: str) -> None:
    go_to(element).page.keyboard.type(text)


def expect_as_written(page: Page, address: str) -> None:
    expect(page.get_by_label("Name")).to_have_value("on-call")
    expect(page.get_by_label("Address")).to_have_value(address)
    expect(page.locator("#id_headers")).to_have_value(HEADER)
    expect(page.get_by_label("A scan has failed")).not_to_be_checked()
    expect(page.get_by_label("A scan has completed")).to_be_checked()
    expect(page.get_by_label("Only if (filter)")).to_have_value('host.name == "web-1"')
    expect(page.get_by_label("only when something has changed")).to_be_checked()
    expect(page.locator("#id_repeat_hours")).to_have_value("24")
    expect(page.locator("#id_quiet_from")).to_have_value("22:00")
    expect(page.locator("#id_quiet_to")).to_have_value("06:00")
    expect(page.locator("#id_digest")).to_have_value("hourly")


@pytest.mark.usefixtures("sender")
@LOOKS
def test_axe_finds_nothing_and_no_page_scrolls_sideways(manager: Page, stack: Stack, token: str, looks: Looks) -> None:
    page = manager
    page.expected_troubles = REFUSED  # type: ignore[attr-defined]
    for path in (LIST, f"{LIST}new/"):
        page.goto(stack.address(path))
        expect_accessible(page, looks)
    long_answer = reply(500, b"no" * 500, {"X-Long": "x" * 500})
    with Receiver() as good, Receiver(long_answer, path="/hook" * 50) as bad:
        make_webhook(url=good.url, name="good", filter='"prod" in host.tags || security_updates > 1')
        make_webhook(url=bad.url, name="a name without an end " * 4)
        stack.post(RUN, token)
        wait_until(lambda: Attempt.objects.count() == 2 * Event.objects.count(), "the deliveries")
        page.goto(stack.address(f"{LIST}new/?kind=standard"))
        page.get_by_label("Address").fill(good.url)
        page.get_by_role("button", name="Send a test").click()
        expect(page.locator("#test-result")).to_contain_text("Delivered.")
        expect_accessible(page, looks)
        page.get_by_label("Only if (filter)").fill("securty_updates > 10")
        expect(page.locator("#filter-check")).to_contain_text("unknown field")
        page.get_by_role("button", name="Save", exact=True).click()
        expect(page.get_by_role("alert")).to_contain_text("Not saved yet")
        expect_accessible(page, looks)
    failing = Webhook.objects.get(state="failing")
    for shown in (failing, failing.deliveries.first(), Event.objects.real().first()):
        page.goto(stack.address(shown.get_absolute_url()))
        expect_accessible(page, looks)
    for path in (LIST, f"{LIST}deliveries/", f"{LIST}new/?kind=email", f"{failing.get_absolute_url()}delete/"):
        page.goto(stack.address(path))
        expect_accessible(page, looks)


# --- processes that die -----------------------------------------------------------------------------


def test_what_a_killed_sender_had_under_way_arrives_with_the_same_ids(
    stack: Stack, sender: Process, beat: Process, token: str
) -> None:
    with Receiver(never) as receiver:
        make_webhook(url=receiver.url)
        stack.post(RUN, token)
        wait_until(lambda: set(ids(receiver)) == event_ids(), "all events under way")
        sender.kill()
        receiver.behaviour = ok
        deliveries = Delivery.objects.all()
        assert {(row.state, row.attempts) for row in deliveries} == {("sending", 1)}
        deliveries.update(lease_until=timezone.now())  # what else takes a minute
        stack.restart(sender)
        wait_until_all_delivered()
    assert sorted(ids(receiver)) == sorted([*event_ids(), *event_ids()])
    for row in deliveries:
        assert (row.attempts, [attempt.number for attempt in row.tries.all()]) == (2, [2])


def test_the_broker_hands_on_what_a_killed_pool_process_had_under_way(
    stack: Stack, sender: Process, token: str
) -> None:
    with Receiver(never) as receiver:
        make_webhook(url=receiver.url, events=[COMPLETED])
        stack.post(RUN, token)
        wait_until(lambda: ids(receiver), "the delivery under way")
        receiver.behaviour = ok
        pool_process_talking_to(sender, receiver).kill()
        wait_until_all_delivered()
    event = Event.objects.get(type=COMPLETED)
    assert ids(receiver) == [event.pk, event.pk]
    assert event.deliveries.get().attempts == 2


def pool_process_talking_to(sender: Process, receiver: Receiver) -> psutil.Process:
    (found,) = [
        child
        for child in psutil.Process(sender.process.pid).children()
        if any(line.raddr and line.raddr.port == receiver.port for line in child.net_connections())
    ]
    return found


@pytest.mark.usefixtures("sender")
@pytest.mark.parametrize("away", [0, pytest.param(60, marks=pytest.mark.slow)], ids=("briefly", "for-a-minute"))
def test_without_redis_the_events_of_a_scan_wait_and_then_all_arrive(
    stack: Stack, beat: Process, gate: Gate, token: str, away: int
) -> None:
    """`away`: for so many seconds, and at least until each process has noticed."""
    for process in (stack.worker, beat):
        process.log.write_text("")
    with Receiver() as receiver:
        make_webhook(url=receiver.url)
        gate.close()
        stack.post(RUN, token, Prefer="respond-async")
        wait_until(lambda: Scan.objects.filter(state="running", percent__gte=5), "the scan to run")
        stack.valkey.stop()
        gone = time.monotonic()
        try:
            gate.open()
            wait_until(lambda: Scan.objects.filter(state="completed"), "the scan's end")
            wait_until(lambda: "waits for the sweep" in stack.worker.log.read_text(), "the worker's vain try")
            wait_until(lambda: " ERROR " in beat.log.read_text(), "the sweep's vain try")
            time.sleep(max(0, gone + away - time.monotonic()))  # the length of the absence is the point
            assert Event.objects.waiting().count() == Event.objects.count() > 1
            assert not receiver.requests
        finally:
            stack.valkey.start()
        wait_until_all_delivered()
    assert sorted(ids(receiver)) == sorted(event_ids())


def test_the_sweep_tells_of_a_scan_from_the_command_line(stack: Stack, sender: Process, beat: Process) -> None:
    with Receiver() as receiver:
        webhook = make_webhook(url=receiver.url)
        manage(stack, "scan_system_packages", "--save", REDIS_URL="unix:///nonexistent/socket")
        wait_until_all_delivered()
    assert sorted(ids(receiver)) == sorted(event_ids())
    assert all(is_signed(request, webhook.secret) for request in receiver.requests)
    told = [json.loads(request.body)["data"]["scan"] for request in receiver.requests]
    assert {(scan["trigger"], scan["security_updates"]) for scan in told} == {("command line", UPDATES)}


def is_signed(request: Received, secret: str) -> bool:
    headers = request.headers
    at = int(headers["webhook-timestamp"])
    return sign(secret, headers["webhook-id"], at, request.body) == headers["webhook-signature"]


def test_a_receiver_that_never_answers_holds_up_no_other(stack: Stack, sender: Process, token: str) -> None:
    with Receiver(never) as dead, Receiver() as good:
        make_webhook(url=dead.url, name="dead")
        make_webhook(url=good.url, name="good")
        for _ in range(6):
            stack.post(RUN, token)
        wait_until(lambda: ids(dead), "something under way to the dead one")
        delivered = Delivery.objects.filter(webhook__name="good", state=Delivery.State.SUCCEEDED)
        wait_until(lambda: delivered.count() == Event.objects.count(), "the end of the good ones")
        assert not Attempt.objects.filter(delivery__webhook__name="dead").exists()  # it is waited for, still
    assert sorted(ids(good)) == sorted(event_ids())


# --- a Postgres that is restarted -------------------------------------------------------------------

EVENTS = 40
MAKE_EVENTS = """
from scanner.models import Event
from tasks import webhooks
from tests.make import make_scan, make_webhook
for url in {urls}: make_webhook(url=url)
for _ in range({events}): make_scan()
webhooks.tell(list(Event.objects.values_list("pk", flat=True)))
"""


def test_restarts_of_postgres_in_mid_delivery_cost_no_event(stack: Stack) -> None:
    """One while answers come in, one between requests and their answers."""
    allowed, answered = threading.Event(), []

    def when_allowed(exchange: Exchange) -> None:
        exchange.read()
        while not allowed.is_set():
            exchange.wait(0.02)
        exchange.reply(200)
        answered.append(exchange)

    with ExitStack() as cleanup:
        receivers = [cleanup.enter_context(Receiver(when_allowed)) for _ in range(2)]
        postgres, valkey = own_stack(stack, [receiver.url for receiver in receivers], cleanup)
        wait_until(lambda: all(len(receiver.requests) == IN_FLIGHT for receiver in receivers), "the first requests")
        stop(postgres)
        allowed.set()
        wait_until(lambda: len(answered) == 2 * IN_FLIGHT, "the answers, which nobody can write down")
        allowed.clear()
        start_again(postgres)
        wait_until(lambda: all(len(receiver.requests) > IN_FLIGHT for receiver in receivers), "the next requests")
        stop(postgres)
        start_again(postgres)
        allowed.set()
        wait_until(lambda: at_rest(valkey), "the sender's rest")
        query(postgres, "UPDATE scanner_delivery SET lease_until = now() WHERE state = 'sending'")  # else a minute
        left = "SELECT count(*) FROM scanner_delivery WHERE state <> 'succeeded'"
        wait_until(lambda: query(postgres, left) == [(0,)], "the end of all deliveries")
        told = {pk for (pk,) in query(postgres, "SELECT id FROM scanner_event")}
    assert len(told) == EVENTS
    for receiver in receivers:
        times = Counter(ids(receiver))
        assert set(times) == told
        assert max(times.values()) <= 2


def own_stack(stack: Stack, urls: list[str], cleanup: ExitStack) -> tuple[Postgres, Valkey]:
    """A sender and a beat on a Postgres that no other test uses, with events for webhooks to these addresses."""
    folder = Path(cleanup.enter_context(tempfile.TemporaryDirectory()))
    folder.chmod(0o711)  # Postgres may run as another user
    postgres, valkey = Postgres(folder / "postgres"), Valkey(folder / "valkey")
    postgres.start()
    cleanup.callback(stop, postgres)
    valkey.start()
    cleanup.callback(valkey.stop)
    own = {"DATABASE_URL": postgres.address, "REDIS_URL": valkey.address}
    manage(stack, "migrate", **own)
    for name, argv in (("sender", processes.sender().argv), ("beat", processes.beat().argv)):
        cleanup.callback(Process(name, list(argv), {**stack.environment, **own}, folder).stop)
    manage(stack, "shell", "-c", MAKE_EVENTS.format(urls=urls, events=EVENTS), **own)
    return postgres, valkey


def stop(postgres: Postgres) -> None:
    assert postgres.server is not None
    postgres.server.stop()


def start_again(postgres: Postgres) -> None:
    assert postgres.server is not None
    argv = postgres.server.process.args
    postgres.server = Server(argv, postgres.folder / "log", signal.SIGINT, as_nobody=postgres.as_nobody)  # type: ignore[arg-type]
    postgres.wait(postgres.folder / "data/postmaster.pid")


def query(postgres: Postgres, sql: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(postgres.address, autocommit=True) as connection:
        found = connection.execute(sql)
        return found.fetchall() if found.description else []


def at_rest(valkey: Valkey) -> bool:
    """Nothing is queued, and no task is under way."""
    with Redis.from_url(valkey.address) as client:
        return not client.llen("webhooks") and not client.hlen("unacked")


# --- mail -------------------------------------------------------------------------------------------


class Mailbox:
    """Takes every message."""

    def __init__(self) -> None:
        self.messages: list[EmailMessage] = []

    async def handle_DATA(self, server: object, session: Session, envelope: Envelope) -> str:
        self.messages.append(message_from_bytes(envelope.content, policy=policy.default))  # type: ignore[arg-type]
        return "250 OK"


@pytest.fixture
def mailbox(stack: Stack) -> Iterator[Mailbox]:
    mailbox = Mailbox()
    server = urlsplit(stack.environment["EMAIL_URL"])
    controller = Controller(mailbox, hostname=server.hostname, port=server.port)
    controller.start()
    yield mailbox
    controller.stop()


@pytest.mark.usefixtures("sender")
def test_a_webhook_made_over_the_api_sends_mail(stack: Stack, mailbox: Mailbox, token: str) -> None:
    recipients = ["ops@example.org", "night@example.org"]
    wishes = {"kind": "email", "name": "mail", "recipients": recipients, "events": [COMPLETED]}
    admin = ApiToken.objects.issue("set-up", "admin")
    status, made = stack.post("/api/v1/webhooks", admin, json.dumps(wishes), **{"Content-Type": "application/json"})
    assert (status, made["url"]) == (201, ", ".join(recipients))
    stack.post(RUN, token)
    wait_until_all_delivered()
    assert sorted(message["To"] for message in mailbox.messages) == sorted(recipients)
    event = Event.objects.get(type=COMPLETED)
    for message in mailbox.messages:
        assert "web-1" in message["Subject"]
        assert event.pk in message["Message-ID"]
        for kind in ("plain", "html"):
            assert f"{UPDATES} security updates" in message.get_body((kind,)).get_content()
