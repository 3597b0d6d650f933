"""Where this server answers: OAuth under `/o/`, the protected resource under `/api/`, the tests' controls under `/test/`."""

from django.contrib.auth.views import LoginView
from django.urls import include, path, re_path

import control
import protected

urlpatterns = [
    path("login/", LoginView.as_view(), name="login"),
    path("o/", include("oauth2_provider.urls", namespace="oauth2_provider")),
    # A test may put its own path before the last segment, and count by that.
    re_path(r"^api/(?:.*/)?me$", protected.Me.as_view()),
    re_path(r"^api/(?:.*/)?echo$", protected.Echo.as_view()),
    re_path(r"^api/", protected.Anything.as_view()),
    path("test/client", control.client),
    path("test/counters", control.counters),
    path("test/issued", control.issued),
    path("test/revoke", control.revoke),
    path("test/behaviour", control.behaviour),
    path("test/seen", control.seen),
]
