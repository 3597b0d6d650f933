"""Proves that this server repeats its caller's credential, whole and in fragments, and would agree to compress.

One that did not would let every test pass that says nothing of it came back. Argument: the server's address.
"""

import asyncio
import json
import sys

from websockets.asyncio.client import connect


async def main():
    headers = {"Authorization": "Bearer right"}
    url = sys.argv[1].replace("http:", "ws:")
    async with connect(url, additional_headers=headers, subprotocols=["chat"], proxy=None) as connection:
        for asked in ["credential", "in fragments"]:
            await connection.send(asked)
            assert await connection.recv() == "you sent Bearer right", asked
        await connection.send("agreed")
        agreed = json.loads(await connection.recv())
        assert agreed["extensions"] == ["permessage-deflate"] and agreed["subprotocol"] == "chat", agreed


asyncio.run(main())
