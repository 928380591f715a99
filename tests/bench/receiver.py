"""A receiver of webhooks in a process of its own: `python -m tests.bench.receiver PORT`. GET /N: all but the first N.

One line a delivery: its webhook-id, its path, and when it had come whole, in seconds of the monotonic clock, which all
processes of a machine share.
"""

import asyncio
import sys
import time

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
came: list[str] = []


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while head := await reader.readuntil(b"\r\n\r\n"):
            lines = head.decode("latin-1").split("\r\n")
            headers = dict(line.lower().split(": ", 1) for line in lines[1:] if line)
            await reader.readexactly(int(headers.get("content-length", 0)))
            method, path, _ = lines[0].split(" ")
            if method == "GET":
                body = "\n".join(came[int(path.strip("/") or 0) :]).encode()
                writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
            else:
                came.append(f"{headers['webhook-id']} {path} {time.monotonic()}")
                writer.write(ANSWER)
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


async def main() -> None:
    server = await asyncio.start_server(serve, "127.0.0.1", int(sys.argv[1]), backlog=1000)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
