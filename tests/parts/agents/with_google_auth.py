"""Google's own library refreshes by itself, and then calls, as a program does whose access token is old.

The token that it holds stands in `GMAIL_TOKEN`; prints what came of each step.
"""

import json
import os

import google.auth.exceptions
from google.auth.transport.requests import AuthorizedSession, Request
from google.oauth2.credentials import Credentials

MESSAGES = "https://gmail.googleapis.com/gmail/v1/users/me/messages"


def credentials(refresh_token):
    return Credentials(
        token=None,
        refresh_token=refresh_token,
        token_uri="https://oauth2.googleapis.com/token",
        client_id="desktop.apps.googleusercontent.com",
        client_secret="not-a-real-one",
    )


held = os.environ["GMAIL_TOKEN"]
own = credentials(held)
own.refresh(Request())
answer = AuthorizedSession(own).get(MESSAGES)
try:
    credentials("1//made-up").refresh(Request())
    made_up = None
except google.auth.exceptions.RefreshError as error:
    made_up = error.args[1]["error"]
print(json.dumps({"same": own.token == held, "status": answer.status_code, "made_up": made_up}), flush=True)
# Without tidying up, so that the last state of its memory is that of a program at work.
os._exit(0)
