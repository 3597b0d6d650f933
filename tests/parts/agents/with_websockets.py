"""Python `websockets`, as a program uses it that was written for the service and knows nothing of proxies or certificates:
it finds them in its environment.

    with_websockets.py URL [CERTIFICATE KEY]

With a certificate it goes straight to a gateway that asks for one. Prints one JSON object a line: what each handshake came
to, every message that came, and how the connection ended, for which it waits where it was given a certificate.
"""

import asyncio
import json
import os
import ssl
import sys

from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

TOKEN = {"Authorization": f"Bearer {os.environ['LIVE_TOKEN']}"}
URL, *CERTIFIED = sys.argv[1:]


def tell(**facts):
    print(json.dumps(facts), flush=True)


def options():
    if not CERTIFIED:
        return {}
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.load_cert_chain(*CERTIFIED)
    return {"ssl": context, "proxy": None}


async def refused(url, headers):
    try:
        async with connect(url, additional_headers=headers, **options()):
            tell(status=101)
    except InvalidStatus as refusal:
        answer = refusal.response
        tell(status=answer.status_code, problem=json.loads(answer.body).get("type"))


async def main():
    kept = []
    async with connect(URL, additional_headers=TOKEN, subprotocols=["chat"], **options()) as connection:
        for message in ["hello", "credential", "in fragments", "agreed", "x" * 300_000]:
            await connection.send(message)
            kept.append(await connection.recv())
            tell(message=kept[-1])
        await (await connection.ping())
        tell(agreed=connection.subprotocol, extensions=[extension.name for extension in connection.protocol.extensions])
        if CERTIFIED:
            await connection.wait_closed()
    tell(code=connection.close_code, reason=connection.close_reason)
    if not CERTIFIED:
        await refused(URL.replace("/live/", "/other/"), TOKEN)
        await refused(URL, {})


asyncio.run(main())
# Without tidying up, so that the memory's last state is that of the program at work.
os._exit(0)
