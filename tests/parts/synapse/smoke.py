"""Proves that Synapse treats refresh tokens as its profile says (crates/catalog/profiles/synapse.toml), and that what is
counted here is what it did.

Arguments: the server's address and its control port's.
"""

import json
import sys
import urllib.error
import urllib.request

BASE, CONTROL = sys.argv[1:3]
CLIENT = "smoke"


def ask(url, body=None, token=None):
    headers = {"content-type": "application/json"} | ({"authorization": f"Bearer {token}"} if token else {})
    data = None if body is None else json.dumps(body).encode()
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data, headers)) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def login():
    user = {"type": "m.id.user", "user": account["username"]}
    asked = {"type": "m.login.password", "identifier": user, "password": account["password"], "refresh_token": True}
    return ask(f"{BASE}/_matrix/client/v3/login", asked)[1]


def refresh(token):
    # With what a client of OAuth adds.
    asked = {"grant_type": "refresh_token", "refresh_token": token, "client_id": "anything"}
    return ask(f"{BASE}/_matrix/client/v3/refresh?of={CLIENT}", asked)


def who(token):
    return ask(f"{BASE}/_matrix/client/v3/account/whoami?path=smoke", token=token)


_, account = ask(f"{CONTROL}/test/client", {"username": CLIENT})
first, other = login(), login()
assert who(first["access_token"])[1]["user_id"] == account["username"]
assert who("syt_nobody")[0] == 401

# A life in milliseconds, no type, and always another refresh token.
status, second = refresh(first["refresh_token"])
assert (status, sorted(second)) == (200, ["access_token", "expires_in_ms", "refresh_token"]), second
assert 19_000 < second["expires_in_ms"] <= 20_000, second
assert second["refresh_token"] != first["refresh_token"]

# Taken again while nothing of what it brought was used, with another answer; and then the earlier one is dead.
status, third = refresh(first["refresh_token"])
assert status == 200 and third["refresh_token"] != second["refresh_token"]
assert who(second["access_token"])[0] == 401
status, refused = refresh(second["refresh_token"])
assert (status, refused["errcode"]) == (401, "M_UNKNOWN_TOKEN"), refused

# Refused once that was used, beside a sentence under `error`; the family lives, and so does another login of the account.
assert who(third["access_token"])[0] == 200
status, refused = refresh(first["refresh_token"])
assert (status, refused["errcode"], " " in refused["error"]) == (403, "M_FORBIDDEN", True), refused
status, fourth = refresh(third["refresh_token"])
assert status == 200
status, fifth = refresh(fourth["refresh_token"])
assert status == 200 and who(fifth["access_token"])[0] == 200
# Of what was consumed long ago it knows nothing any more.
status, refused = refresh(first["refresh_token"])
assert (status, refused["errcode"]) == (401, "M_UNKNOWN_TOKEN"), refused
assert who(other["access_token"])[0] == 200 and refresh(other["refresh_token"])[0] == 200

counted = ask(f"{CONTROL}/test/counters?client_id={CLIENT}")[1]
expected = {"token_requests": 8, "refreshes_ok": 5, "refreshes_failed": 3, "replays_in_grace": 1, "reuse_detected": 3}
assert counted == counted | expected | {"presented_twice": 4, "families_revoked": 0}, counted
issued = ask(f"{CONTROL}/test/issued?client_id={CLIENT}")[1]
every = [first, other, second, third, fourth, fifth]
assert {one[kind] for one in every for kind in ("access_token", "refresh_token")} < set(issued)
seen = ask(f"{CONTROL}/test/seen?path=path%3Dsmoke")[1]
assert (seen["calls"], seen["ok"]) == (6, 4), seen
