"""The calls that every Python client here makes, as a program would that was written for GitHub: it reads its token from the
environment, and nothing of it knows of proxies or certificates.

Prints one JSON object a call: its status, and what a refusal says of itself.
"""

import json
import os

TOKEN = {"Authorization": f"Bearer {os.environ['GH_TOKEN']}"}
REPOSITORY = "https://api.github.com/repos/dana/site"
# Granted; not granted; without a credential.
CALLS = [
    ("GET", REPOSITORY, TOKEN, None),
    ("POST", f"{REPOSITORY}/issues", TOKEN, {"title": "not granted"}),
    ("GET", REPOSITORY, {}, None),
]


def tell(status, headers, text):
    body = json.loads(text)
    told = {"status": status, "challenge": headers.get("www-authenticate"), "problem": body.get("type"), "name": body.get("full_name")}
    print(json.dumps(told), flush=True)
