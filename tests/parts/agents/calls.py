"""The calls that every Python client here makes, as a program would that was written for GitHub: it reads its token from the
environment, and nothing of it knows of proxies or certificates.

Prints one JSON object a call: its status, and what a refusal says of itself. It keeps what it was answered, as a program
does that goes on working with it: whatever came is still in memory at its end.
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


answers = []


def tell(status, headers, text):
    answers.append((list(headers.items()), text))
    body = json.loads(text)
    told = {"status": status, "challenge": headers.get("www-authenticate"), "problem": body.get("type"), "name": body.get("full_name")}
    print(json.dumps(told), flush=True)


def leave():
    """Ends without tidying up, so that the memory's last state is that of the program at work."""
    os._exit(0)
