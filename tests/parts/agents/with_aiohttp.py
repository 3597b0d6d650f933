"""Python `aiohttp`, with `trust_env=True`: without it, it looks at no proxy variable at all."""

import asyncio

import aiohttp
from calls import CALLS, leave, tell


async def main():
    async with aiohttp.ClientSession(trust_env=True) as session:
        for method, url, headers, body in CALLS:
            async with session.request(method, url, headers=headers, json=body) as answer:
                tell(answer.status, answer.headers, await answer.text())


asyncio.run(main())
leave()
