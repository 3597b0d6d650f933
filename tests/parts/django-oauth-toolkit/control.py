"""What the tests may ask of this server, besides being what it is. JSON in, JSON out.

    POST /test/client                   {"redirect_uri", "username", "access_token_ttl"?} -> a new account and a
                                        confidential client: {"client_id", "client_secret", "username", "password"}
    GET  /test/counters?client_id=…     what happened at the token endpoint (watch.py)
    GET  /test/issued?client_id=…       every code and token that it was ever given (watch.py)
    POST /test/revoke?client_id=…       the provider ends every token of that client
    POST /test/behaviour?client_id=…    how the token endpoint treats that client from now on; `{}` resets (watch.py)
    GET  /test/seen?client_id=…&path=…  calls to the protected resource, by client, by the path's beginning, or all
"""

import json
import secrets

from django.contrib.auth.models import User
from django.http import JsonResponse
from django.views.decorators.csrf import csrf_exempt
from oauth2_provider.models import AccessToken, Application, Grant, RefreshToken

import watch


@csrf_exempt
def client(request):
    wanted = json.loads(request.body)
    password, secret = secrets.token_urlsafe(16), secrets.token_urlsafe(32)
    user, _ = User.objects.get_or_create(username=wanted["username"])
    user.set_password(password)
    user.save()
    application = Application.objects.create(
        name=wanted["username"],
        client_type=Application.CLIENT_CONFIDENTIAL,
        authorization_grant_type=Application.GRANT_AUTHORIZATION_CODE,
        client_secret=secret,
        redirect_uris=wanted["redirect_uri"],
    )
    if "access_token_ttl" in wanted:
        watch.set_access_token_secs(application.client_id, wanted["access_token_ttl"])
    return JsonResponse(
        {
            "client_id": application.client_id,
            "client_secret": secret,
            "username": user.username,
            "password": password,
        }
    )


def counters(request):
    return JsonResponse(watch.counters_of(request.GET["client_id"]))


def issued(request):
    return JsonResponse(watch.issued_to(request.GET["client_id"]), safe=False)


@csrf_exempt
def revoke(request):
    theirs = {"application__client_id": request.GET["client_id"]}
    revoked = RefreshToken.objects.filter(revoked__isnull=True, **theirs).count()
    for issued in (RefreshToken, AccessToken, Grant):
        issued.objects.filter(**theirs).delete()
    return JsonResponse({"revoked": revoked})


@csrf_exempt
def behaviour(request):
    wanted = json.loads(request.body or "{}")
    watch.behave(request.GET["client_id"], wanted)
    return JsonResponse({"client_id": request.GET["client_id"], "behaviour": wanted})


def seen(request):
    return JsonResponse(watch.seen(request.GET.get("client_id"), request.GET.get("path")))
