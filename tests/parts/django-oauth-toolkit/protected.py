"""The protected resource: each request's token is looked up in the database, so 200 means that a living one arrived."""

from django.http import HttpResponse, JsonResponse
from django.utils.decorators import method_decorator
from django.views.decorators.csrf import csrf_exempt
from oauth2_provider.views.generic import ProtectedResourceView
from oauth2_provider.views.mixins import ProtectedResourceMetadataMixin

import watch


@method_decorator(csrf_exempt, name="dispatch")
class Protected(ProtectedResourceMetadataMixin, ProtectedResourceView):
    """401 with a challenge without a living token (RFC 6750 §3.1); every call is noted."""

    def dispatch(self, request, *args, **kwargs):
        answer = super().dispatch(request, *args, **kwargs)
        ok = answer.status_code not in (401, 403)
        client_id = request.access_token.application.client_id if ok else "unknown"
        watch.note_call(client_id, request.path, ok, request.META.get("HTTP_AUTHORIZATION"))
        return answer

    def verify_request(self, request):
        valid, verified = super().verify_request(request)
        if valid:
            request.access_token = verified.access_token
        return valid, verified


class Me(Protected):
    def get(self, request):
        return JsonResponse({"id": request.resource_owner.id, "login": request.resource_owner.username})


class Echo(Protected):
    def post(self, request):
        return HttpResponse(request.body, content_type=request.META.get("CONTENT_TYPE", "application/octet-stream"))


class Anything(Protected):
    def http_method_not_allowed(self, request, *args, **kwargs):
        application = request.access_token.application
        return JsonResponse(
            {
                "ok": True,
                "sub": request.resource_owner.username,
                "client_id": application.client_id,
                "path": request.path,
                "method": request.method,
            }
        )
