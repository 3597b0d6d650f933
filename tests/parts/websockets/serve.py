"""A WebSocket server, PyPI `websockets`, that repeats its caller's credential, as debug endpoints do.

It answers each message with itself, but for three that it knows:

    credential      the `Authorization` that it was sent
    in fragments    the same, each letter in a fragment of its own
    agreed          what it agreed upon with its client, as JSON

It says where it answers in one line of JSON, and ends with its standard input.
"""

import asyncio
import json
import os
import sys
import threading

from websockets.asyncio.server import serve


async def answer(connection):
    headers = connection.request.headers
    said = f"you sent {headers.get('Authorization')}"
    agreed = {
        "extensions": [extension.name for extension in connection.protocol.extensions],
        "offered": headers.get_all("Sec-WebSocket-Extensions"),
        "subprotocol": connection.subprotocol,
    }
    known = {"credential": said, "in fragments": list(said), "agreed": json.dumps(agreed)}
    async for message in connection:
        await connection.send(known.get(message, message))


def end_with_input():
    sys.stdin.buffer.read()
    os._exit(0)


async def main():
    async with serve(answer, "127.0.0.1", 0, subprotocols=["chat"]) as server:
        threading.Thread(target=end_with_input, daemon=True).start()
        print(json.dumps({"base": f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"}), flush=True)
        await asyncio.Future()


asyncio.run(main())
