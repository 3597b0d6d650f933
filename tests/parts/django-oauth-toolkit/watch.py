"""What happened at the token endpoint, counted for each client, and how it misbehaves when a test asks for it.

The numbers come from inside the server (what was validated and committed), not from what a client got to see. A
behaviour, set for one client, is an object with any of:

    delay_ms           wait before anything is processed
    status, retry_after, body   answer this instead, before anything is processed
    drop_before        close the connection before anything is processed
    delay_after_ms     process, then hold the answer back
    garbage            process, then answer 200 with something that is no token
    drop_after_commit  process, then close the connection without an answer
    times              wear off after so many requests
"""

import base64
import hashlib
import socket
import threading
import time
from collections import defaultdict
from urllib.parse import unquote_plus

from django.http import HttpResponse, JsonResponse
from oauth2_provider.models import RefreshToken
from oauth2_provider.oauth2_validators import OAuth2Validator

TOKEN_PATH = "/o/token/"
NAMES = (
    "token_requests",
    "presented_twice",
    "code_exchanges",
    "refreshes_ok",
    "refreshes_failed",
    "reuse_detected",
    "replays_in_grace",
    "families_revoked",
    "refused_by_behaviour",
)

_lock = threading.Lock()
_counters = defaultdict(lambda: dict.fromkeys(NAMES, 0))
_behaviours = {}
_access_token_secs = {}
_seen = {}
_presented = set()
_issued = defaultdict(list)


def count(client_id, name):
    with _lock:
        _counters[client_id][name] += 1


def arrived(client_id, refresh_token):
    """Counts a request as it arrives: a refresh token that was never consumed is presented twice all the same."""
    count(client_id, "token_requests")
    checksum = hashlib.sha256((refresh_token or "").encode()).hexdigest()
    with _lock:
        again = refresh_token is not None and checksum in _presented
        _presented.add(checksum)
    if again:
        count(client_id, "presented_twice")


def counters_of(client_id):
    with _lock:
        return dict(_counters[client_id])


def behave(client_id, behaviour):
    """Sets a client's behaviour; an empty one resets."""
    with _lock:
        _behaviours.pop(client_id, None)
        if behaviour:
            _behaviours[client_id] = dict(behaviour)


def set_access_token_secs(client_id, secs):
    _access_token_secs[client_id] = int(secs)


def issued_to(client_id):
    """Every code and token that a client was ever given: what a leak is looked for by."""
    with _lock:
        return list(_issued[client_id])


def _note_issued(client_id, *secrets):
    with _lock:
        _issued[client_id].extend(secret for secret in secrets if secret)


def note_call(client_id, path, ok, presented):
    """Notes one call to the protected resource; of what was presented, only its hash."""
    with _lock:
        # The newest stands last, so that a sum over several paths ends with the newest hash.
        calls = _seen.pop((client_id, path), {"ok": 0, "unauthorized": 0, "all": set()})
        calls["ok" if ok else "unauthorized"] += 1
        calls["last"] = hashlib.sha256(presented.encode()).hexdigest() if presented is not None else None
        calls["all"].add(calls["last"])
        _seen[(client_id, path)] = calls


def seen(client_id, prefix):
    """The calls of a client, or under a path, or all."""
    total = {"calls": 0, "ok": 0, "unauthorized": 0, "last_authorization_sha256": None}
    every = set()
    with _lock:
        for (client, path), calls in _seen.items():
            if (client_id and client != client_id) or not path.startswith(prefix or ""):
                continue
            total["ok"] += calls["ok"]
            total["unauthorized"] += calls["unauthorized"]
            total["last_authorization_sha256"] = calls["last"]
            every |= calls["all"]
    total["calls"] = total["ok"] + total["unauthorized"]
    total["authorizations_sha256"] = list(every)
    return total


def _take_behaviour(client_id):
    with _lock:
        behaviour = _behaviours.get(client_id, {})
        if "times" in behaviour:
            behaviour["times"] -= 1
            if behaviour["times"] <= 0:
                _behaviours.pop(client_id)
        return dict(behaviour)


def _client_of(request):
    """The client of a token request, wherever it names itself (RFC 6749 §2.3.1)."""
    scheme, _, value = request.META.get("HTTP_AUTHORIZATION", "").partition(" ")
    if scheme.lower() != "basic":
        return request.POST.get("client_id", "unknown")
    try:
        return unquote_plus(base64.b64decode(value).decode().split(":")[0])
    except ValueError:
        return "unknown"


def _drop(request):
    """Closes the connection without an answer; what is returned goes nowhere."""
    request.META["gunicorn.socket"].shutdown(socket.SHUT_RDWR)
    return HttpResponse()


class TokenEndpoint:
    """Middleware around the token endpoint: counts, and misbehaves as told."""

    def __init__(self, get_response):
        self.get_response = get_response

    def __call__(self, request):
        if request.path != TOKEN_PATH or request.method != "POST":
            return self.get_response(request)
        client_id = _client_of(request)
        behaviour = _take_behaviour(client_id)
        arrived(client_id, request.POST.get("refresh_token"))
        return self._before(request, client_id, behaviour) or self._process(request, client_id, behaviour)

    def _before(self, request, client_id, behaviour):
        time.sleep(behaviour.get("delay_ms", 0) / 1000)
        if "status" not in behaviour and not behaviour.get("drop_before"):
            return None
        count(client_id, "refused_by_behaviour")
        if behaviour.get("drop_before"):
            return _drop(request)
        answer = JsonResponse(behaviour.get("body", {"error": "temporarily_unavailable"}), status=behaviour["status"])
        if "retry_after" in behaviour:
            answer["Retry-After"] = str(behaviour["retry_after"])
        return answer

    def _process(self, request, client_id, behaviour):
        answer = self.get_response(request)
        self._count(client_id, request.POST.get("grant_type"), answer.status_code == 200)
        time.sleep(behaviour.get("delay_after_ms", 0) / 1000)
        if behaviour.get("drop_after_commit"):
            return _drop(request)
        if behaviour.get("garbage"):
            return HttpResponse("<html>it works", status=200)
        return answer

    @staticmethod
    def _count(client_id, grant_type, ok):
        if grant_type == "authorization_code" and ok:
            count(client_id, "code_exchanges")
        if grant_type == "refresh_token":
            count(client_id, "refreshes_ok" if ok else "refreshes_failed")


class Validator(OAuth2Validator):
    """The toolkit's own validator; what it decides is only counted, and a client may have its own lifetime."""

    def validate_refresh_token(self, refresh_token, client, request, *args, **kwargs):
        checksum = hashlib.sha256(refresh_token.encode()).hexdigest()
        before = RefreshToken.objects.filter(token_checksum=checksum).first()
        spent = before is not None and before.revoked is not None
        family_lived = spent and self._lives(before.token_family)
        valid = super().validate_refresh_token(refresh_token, client, request, *args, **kwargs)
        if spent:
            count(client.client_id, "replays_in_grace" if valid else "reuse_detected")
        if family_lived and not self._lives(before.token_family):
            count(client.client_id, "families_revoked")
        return valid

    @staticmethod
    def _lives(family):
        return RefreshToken.objects.filter(token_family=family, revoked__isnull=True).exists()

    def save_bearer_token(self, token, request, *args, **kwargs):
        secs = _access_token_secs.get(getattr(request.client, "client_id", None))
        if secs is not None:
            token["expires_in"] = secs
        super().save_bearer_token(token, request, *args, **kwargs)
        _note_issued(request.client.client_id, token["access_token"], token.get("refresh_token"))

    def save_authorization_code(self, client_id, code, request, *args, **kwargs):
        super().save_authorization_code(client_id, code, request, *args, **kwargs)
        _note_issued(client_id, code["code"])
