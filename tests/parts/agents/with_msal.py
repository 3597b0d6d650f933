"""Microsoft's own library refreshes by itself, and then the program calls with what it was given.

It would first ask the login host where its endpoints are; here it is told, as programs do that must start without a
network: what is proved is the refresh. The token that it holds stands in `MSGRAPH_TOKEN`; prints what came of each step.
"""

import json
import os

import msal
import requests

AUTHORITY = "https://login.microsoftonline.com/common"
DISCOVERY = {
    "issuer": "https://login.microsoftonline.com/{tenantid}/v2.0",
    "authorization_endpoint": f"{AUTHORITY}/oauth2/v2.0/authorize",
    "token_endpoint": f"{AUTHORITY}/oauth2/v2.0/token",
}


class Told(requests.Session):
    """Knows the endpoints already."""

    def get(self, url, **options):
        if not url.endswith("/.well-known/openid-configuration"):
            return super().get(url, **options)
        answer = requests.Response()
        answer.status_code, answer._content = 200, json.dumps(DISCOVERY).encode()
        return answer


held = os.environ["MSGRAPH_TOKEN"]
client = "00000000-0000-4000-8000-000000000001"
app = msal.PublicClientApplication(client, authority=AUTHORITY, instance_discovery=False, http_client=Told())
answer = app.acquire_token_by_refresh_token(held, scopes=["User.Read"])
made_up = app.acquire_token_by_refresh_token("made-up", scopes=["User.Read"])
me = requests.get("https://graph.microsoft.com/v1.0/me", headers={"Authorization": f"Bearer {answer.get('access_token')}"})
print(json.dumps({"same": answer.get("access_token") == held, "status": me.status_code, "made_up": made_up.get("error")}), flush=True)
# Without tidying up, so that the last state of its memory is that of a program at work.
os._exit(0)
