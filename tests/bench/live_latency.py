"""From the request to the first progress on the socket: `python -m tests.bench.live_latency`. Prints one JSON object.

The whole stack as real processes; a real WebSocket client with a session cookie; the worker is idle, the host small.
"""

import asyncio
import json
import os
import statistics
import tempfile
import time
from pathlib import Path

import django
import websockets

from tests.end_to_end.stack import Stack
from tests.hosts.apt import SECURITY, AptHost, Deb

RUNS = 50


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        host = AptHost(
            folder, [Deb(f"package-{number}", "1.0") for number in range(100)], {SECURITY: [Deb("package-1", "2")]}
        )
        os.environ.update(host.environment, SCANNER_DATA=f"{folder}/data", SCAN_HOST="web-1")
        os.environ["DJANGO_SETTINGS_MODULE"] = "project.settings"
        django.setup()
        from django.core.management import call_command  # noqa: PLC0415
        from django.test import Client  # noqa: PLC0415

        from scanner.models import ApiToken  # noqa: PLC0415
        from tests.make import make_user  # noqa: PLC0415

        call_command("migrate", verbosity=0)
        call_command("collectstatic", verbosity=0, interactive=False)
        client = Client()
        client.force_login(make_user())
        token = ApiToken.objects.issue("bench", "scan")
        stack = Stack(os.environ, folder)
        try:
            times = asyncio.run(measure(stack, token, client.cookies["sessionid"].value))
        finally:
            stack.stop()
    times.sort()
    print(json.dumps({"runs": len(times), "median_ms": round(statistics.median(times)), "p99_ms": round(times[-1])}))


async def measure(stack: Stack, token: str, session: str) -> list[float]:
    address = stack.address("/ws/security/package-scanner/?host=web-1").replace("http", "ws", 1)
    headers = {"Cookie": f"sessionid={session}", "Origin": stack.address()}
    times = []
    async with websockets.connect(address, additional_headers=headers) as socket:
        for run in range(RUNS + 2):
            started = time.perf_counter()
            request = asyncio.to_thread(stack.post, "/security/package-scanner/run/", token, Prefer="respond-async")
            posted = asyncio.create_task(request)
            await heard(socket, lambda scan: scan["state"] == "running" and scan["progress"]["step"])
            if run >= 2:
                times.append(1000 * (time.perf_counter() - started))
            await heard(socket, lambda scan: not scan["progress"])
            await posted
    return times


async def heard(socket: websockets.ClientConnection, wanted: object) -> None:
    while True:
        message = json.loads(await asyncio.wait_for(socket.recv(), 30))
        if message["type"] == "scan" and wanted(message["scan"]):  # type: ignore[operator]
            return


if __name__ == "__main__":
    main()
