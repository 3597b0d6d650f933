"""Proves that this server is what the tests take it for: rotation, reuse protection, and the grace that it was started with.

If a new version changed what a replay yields, tests that rest on it would go on passing and mean nothing. So this
runs before the tests. Arguments: the server's address, and its grace in seconds.
"""

import base64
import hashlib
import http.cookiejar
import json
import re
import secrets
import sys
import urllib.error
import urllib.parse
import urllib.request

BASE, GRACE = sys.argv[1], int(sys.argv[2])
REDIRECT = "http://127.0.0.1:8444/callback/smoke"


class HandBack(urllib.request.HTTPRedirectHandler):
    """Does not follow the redirect that leaves this server: its address is the answer."""

    def redirect_request(self, request, body, code, message, headers, address):
        if address.startswith(REDIRECT):
            raise urllib.error.HTTPError(address, code, message, headers, body)
        return super().redirect_request(request, body, code, message, headers, address)


def fetch(path, form=None, headers=None, opener=None):
    """One request; its status, the address where it ended and its body."""
    body = urllib.parse.urlencode(form).encode() if form is not None else None
    request = urllib.request.Request(urllib.parse.urljoin(BASE, path), body, headers or {})
    try:
        with (opener.open if opener else urllib.request.urlopen)(request) as answer:
            return answer.status, answer.url, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.url, error.read().decode()


def control(path, value=None):
    body = None if value is None else json.dumps(value).encode()
    return json.load(urllib.request.urlopen(urllib.request.Request(f"{BASE}/test/{path}", body)))


def fields(page):
    """The hidden fields of a page's form."""
    inputs = re.findall(r"<input[^>]*type=\"hidden\"[^>]*>", page)
    return {re.search(r'name="([^"]*)"', i)[1]: (re.search(r'value="([^"]*)"', i) or [0, ""])[1].replace("&amp;", "&") for i in inputs}


def connect(client):
    """Login and consent in a browser that keeps cookies, then the exchange."""
    verifier = secrets.token_urlsafe(32)
    challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
    query = {"client_id": client["client_id"], "response_type": "code", "redirect_uri": REDIRECT, "state": "s1"}
    query |= {"code_challenge": challenge, "code_challenge_method": "S256"}
    browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar()), HandBack)
    _, address, page = fetch("/o/authorize/?" + urllib.parse.urlencode(query), opener=browser)
    login = fields(page) | {"username": client["username"], "password": client["password"]}
    _, address, page = fetch(address, login, opener=browser)
    status, address, page = fetch(address, fields(page) | {"allow": "Authorize"}, opener=browser)
    answer = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(address).query))
    assert status == 302 and answer["state"] == "s1", (status, address, page)
    status, tokens = token(client, grant_type="authorization_code", code=answer["code"], code_verifier=verifier, redirect_uri=REDIRECT)
    assert status == 200, tokens
    return tokens


def token(client, **parameters):
    basic = base64.b64encode(f"{client['client_id']}:{client['client_secret']}".encode()).decode()
    status, _, body = fetch("/o/token/", parameters, {"Authorization": f"Basic {basic}"})
    return status, json.loads(body)


def refresh(client, tokens):
    return token(client, grant_type="refresh_token", refresh_token=tokens["refresh_token"])


def call(tokens):
    return fetch("/api/smoke/me", headers={"Authorization": f"Bearer {tokens['access_token']}"})[0]


def new_client(**more):
    return control("client", {"redirect_uri": REDIRECT, "username": secrets.token_hex(6), **more})


def counted(client):
    counters = control(f"counters?client_id={client['client_id']}")
    names = ("refreshes_ok", "refreshes_failed", "reuse_detected", "replays_in_grace", "families_revoked")
    return [counters[name] for name in names]


def a_replay_yields_what_the_grace_says():
    client = new_client(access_token_ttl=20)
    first = connect(client)
    assert first["expires_in"] == 20 and call(first) == 200
    _, second = refresh(client, first)
    assert second["refresh_token"] != first["refresh_token"], "a refresh rotates"
    assert call(first) == 401 and call(second) == 200, "the old access token dies with the refresh"
    status, replay = refresh(client, first)
    if GRACE:
        assert status == 200 and replay["refresh_token"] == second["refresh_token"], "inside the grace: the same successor"
        assert counted(client) == [2, 0, 0, 1, 0], counted(client)
        assert refresh(client, second)[0] == 200, "and the family lives"
    else:
        assert replay["error"] == "invalid_grant" and refresh(client, second)[0] == 400, "reuse ends the family"
        assert counted(client) == [1, 2, 2, 0, 1], counted(client)
        assert call(second) == 401


def behaviours_and_revocation_hold():
    client = new_client()
    tokens = connect(client)
    assert tokens["expires_in"] == 30
    control(f"behaviour?client_id={client['client_id']}", {"status": 503, "retry_after": 7, "times": 1})
    assert refresh(client, tokens)[0] == 503
    _, tokens = refresh(client, tokens)
    twice = control(f"counters?client_id={client['client_id']}")["presented_twice"]
    assert twice == 1, "a token that was never consumed counts as well"
    control(f"behaviour?client_id={client['client_id']}", {"drop_after_commit": True, "times": 1})
    try:
        refresh(client, tokens)
        raise AssertionError("the answer is lost")
    except (urllib.error.URLError, ConnectionError):
        pass
    assert counted(client)[0] == 2, "but the provider committed"
    assert control(f"revoke?client_id={client['client_id']}", {})["revoked"] == 1
    assert refresh(client, tokens)[0] == 400


a_replay_yields_what_the_grace_says()
behaviours_and_revocation_hold()
