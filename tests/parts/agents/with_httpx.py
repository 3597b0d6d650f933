"""Python `httpx`, unchanged."""

import httpx
from calls import CALLS, leave, tell

with httpx.Client() as client:
    for method, url, headers, body in CALLS:
        answer = client.request(method, url, headers=headers, json=body)
        tell(answer.status_code, answer.headers, answer.text)
leave()
