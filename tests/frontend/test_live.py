"""The socket, on the real channel layer: who may join, what it says first, and what it says then."""

import asyncio
import json
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from asgiref.testing import ApplicationCommunicator
from django.contrib.auth.models import AnonymousUser, User
from django.test import Client

from frontend import live
from frontend.live import LiveScans
from project.asgi import application
from scanner import scanning
from scanner.announcing import announce, announce_feed
from scanner.models import HostLimit, Tag
from tests.make import make_host, make_report, make_scan, make_update, make_user

pytestmark = pytest.mark.django_db(transaction=True)

ADDRESS = "/ws/security/package-scanner/?host=web-1"


class Socket(ApplicationCommunicator):
    """A browser's end of the socket, without the wire."""

    def __init__(self, application: Any, headers: list[tuple[bytes, bytes]] | None = None, **scope: Any) -> None:
        path, _, query = ADDRESS.partition("?")
        wire = {"type": "websocket", "path": path, "query_string": query.encode(), "subprotocols": []}
        super().__init__(application, {**wire, "headers": headers or [], **scope})

    async def connect(self) -> int | None:
        """None when the socket is open, or else the code with which it was closed."""
        await self.send_input({"type": "websocket.connect"})
        answer = await self.receive_output(5)
        return None if answer["type"] == "websocket.accept" else int(answer.get("code", 1000))

    async def receive_json_from(self, timeout: float = 5) -> Any:
        return json.loads((await self.receive_output(timeout))["text"])

    async def disconnect(self) -> None:
        await self.send_input({"type": "websocket.disconnect", "code": 1000})
        await self.wait(5)


def socket_of(user: Any) -> Socket:
    return Socket(LiveScans.as_asgi(), user=user)


def conversation(user: Any, talk: Any) -> None:
    async def main() -> None:
        socket = socket_of(user)
        assert await socket.connect() is None
        await talk(socket)
        await socket.disconnect()

    asyncio.run(main())


@pytest.mark.parametrize("who", ["nobody", "not staff"])
def test_the_socket_is_closed_to_who_may_not_see(who: str) -> None:
    user = AnonymousUser() if who == "nobody" else make_user(staff=False)
    assert asyncio.run(socket_of(user).connect()) == 4401


def test_without_a_broker_the_socket_is_closed_until_later_and_one_line_says_so(settings: Any, caplog: Any) -> None:
    layer = settings.CHANNEL_LAYERS["default"]
    settings.CHANNEL_LAYERS = {"default": {**layer, "CONFIG": {"hosts": ["redis://127.0.0.1:9"]}}}

    async def main() -> Any:
        socket = socket_of(AnonymousUser())
        assert await socket.connect() is None
        answer = await socket.receive_output(5)
        await socket.wait(5)
        return answer

    assert asyncio.run(main()) == {"type": "websocket.close", "code": 1013}
    assert ["broker is away" in record.message for record in caplog.records] == [True]


def test_another_sites_page_cannot_open_the_socket() -> None:
    client = Client()
    client.force_login(make_user())
    cookie = f"sessionid={client.cookies['sessionid'].value}".encode()

    async def connects(origin: bytes) -> bool:
        headers = [(b"origin", origin), (b"cookie", cookie), (b"host", b"localhost")]
        return await Socket(application, headers).connect() is None

    assert asyncio.run(connects(b"http://localhost"))
    assert not asyncio.run(connects(b"https://evil.example"))


def test_it_begins_with_a_snapshot_of_what_is_under_way_and_the_last_scan() -> None:
    make_scan(report=make_report(make_update()))
    make_scan(state="running", step="Reading available updates", percent=70)

    async def talk(socket: Socket) -> None:
        found = await socket.receive_json_from()
        assert found["type"] == "snapshot"
        active, last = found["scans"]
        assert active["progress"] == {
            "step": "Reading available updates",
            "percent": 70,
            "detail": "",
            "attempt": 1,
        }
        assert (last["state"], last["security_updates"], "updates" in last) == ("completed", 1, False)

    conversation(make_user(), talk)


def test_every_change_reaches_every_socket() -> None:
    scan = make_scan(state="running")

    async def talk(socket: Socket) -> None:
        other = socket_of(await sync_to_async(User.objects.get)())
        await other.connect()
        for each in (socket, other):
            assert (await each.receive_json_from())["type"] == "snapshot"
        await sync_to_async(scanning.store)(scan, make_report(make_update()))
        await sync_to_async(announce)(scan)
        for each in (socket, other):
            found = await each.receive_json_from()
            assert (found["type"], found["scan"]["state"], found["scan"]["status_label"]) == (
                "scan",
                "completed",
                "Low Risk",
            )
        await other.disconnect()

    conversation(make_user(), talk)


def make_limited() -> User:
    """Who sees what is tagged prod."""
    user = make_user("limited")
    make_host("web-1").set_tags(["prod"])
    HostLimit.objects.create(user=user).tags.set(Tag.objects.filter(name="prod"))
    return user


def test_who_sees_only_some_hosts_hears_of_no_other() -> None:
    user, hidden, seen = make_limited(), make_scan(make_host("db-1"), state="running"), make_scan(state="running")

    async def talk(socket: Socket) -> None:
        assert [each["host"] for each in (await socket.receive_json_from())["scans"]] == ["web-1"]
        for scan in (hidden, seen):
            await sync_to_async(announce)(scan)
        assert (await socket.receive_json_from())["scan"]["host"] == "web-1"

    conversation(user, talk)


def test_what_somebody_may_see_is_looked_up_anew(monkeypatch: Any) -> None:
    user, scan = make_limited(), make_scan(state="running")
    monkeypatch.setattr(live, "LOOK", 0.0)
    monkeypatch.setattr(live, "BEAT", 0.05)

    async def heard_until_feed(socket: Socket) -> list[str]:
        heard: list[str] = []
        while "feed" not in heard:
            heard.append((await socket.receive_json_from())["type"])
        return heard

    async def talk(socket: Socket) -> None:
        assert (await socket.receive_json_from())["type"] == "snapshot"
        await sync_to_async(HostLimit.tags.through.objects.all().delete)()
        for number in range(500):  # until a beat has made it look
            await sync_to_async(announce)(scan)
            await sync_to_async(announce_feed)("debian", f"step {number}", 1, 2)
            if "scan" not in await heard_until_feed(socket):
                break
        else:
            pytest.fail("It goes on hearing of a host that is hidden now.")
        await sync_to_async(lambda: User.objects.update(is_staff=False))()
        while (answer := await socket.receive_output(5))["type"] == "websocket.send":
            pass
        assert answer["code"] == 4401

    conversation(user, talk)


def test_an_idle_socket_stays_open_and_gets_beats() -> None:
    make_host()

    async def talk(socket: Socket) -> None:
        assert (await socket.receive_json_from())["type"] == "snapshot"
        # redis-py 8 ended sockets that were idle for 5 s
        assert await socket.receive_json_from(timeout=8) == {"type": "beat"}

    conversation(make_user(), talk)
