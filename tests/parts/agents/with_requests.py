"""Python `requests`, unchanged."""

import requests
from calls import CALLS, leave, tell

with requests.Session() as session:
    for method, url, headers, body in CALLS:
        answer = session.request(method, url, headers=headers, json=body)
        tell(answer.status_code, answer.headers, answer.text)
leave()
