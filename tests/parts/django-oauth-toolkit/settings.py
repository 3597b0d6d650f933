"""A second real authorization server for the tests: django-oauth-toolkit, with rotation and reuse protection.

It runs twice. With `PART_GRACE=0` a rotated refresh token that comes back ends its family; with `PART_GRACE=30` it
is answered for 30 seconds with the same successor. Both are what real providers do. An access token dies when its
refresh token is rotated, which is this server's own habit.
"""

import os
import secrets
from urllib.parse import urlsplit

DEBUG = False
SECRET_KEY = secrets.token_hex(32)
ALLOWED_HOSTS = ["127.0.0.1", "localhost"]
ROOT_URLCONF = "urls"
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
LOGIN_URL = "/login/"
LOGIN_REDIRECT_URL = "/"

INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "oauth2_provider",
]
MIDDLEWARE = [
    "watch.TokenEndpoint",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [os.path.join(os.path.dirname(os.path.abspath(__file__)), "templates")],
        "APP_DIRS": True,
        "OPTIONS": {"context_processors": ["django.template.context_processors.request"]},
    }
]
_database = urlsplit(os.environ["PART_DATABASE"])
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "HOST": _database.hostname,
        "PORT": _database.port,
        "USER": _database.username,
        "NAME": _database.path.lstrip("/"),
        "CONN_MAX_AGE": None,
    }
}
# Accounts and clients live for one test: a slow hash would only burn the machine at every token request.
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]

OAUTH2_PROVIDER = {
    "OAUTH2_VALIDATOR_CLASS": "watch.Validator",
    "ROTATE_REFRESH_TOKEN": True,
    "REFRESH_TOKEN_REUSE_PROTECTION": True,
    "REFRESH_TOKEN_GRACE_PERIOD_SECONDS": int(os.environ.get("PART_GRACE", "0")),
    "ACCESS_TOKEN_EXPIRE_SECONDS": int(os.environ.get("PART_ACCESS_TOKEN_SECS", "30")),
    "REFRESH_TOKEN_EXPIRE_SECONDS": 3600,
    "PKCE_REQUIRED": True,
    "COMPLIANT_BCP_RFC9700_PKCE_METHOD": True,
    "COMPLIANT_BCP_RFC9700_ACCESS_TOKEN_TRANSPORT": True,
    "ALLOWED_REDIRECT_URI_SCHEMES": ["http", "https"],
    "SCOPES": {"read": "read", "write": "write"},
}

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"stderr": {"class": "logging.StreamHandler"}},
    "root": {"handlers": ["stderr"], "level": "WARNING"},
    # Refusals are what the tests provoke; the numbers tell of them.
    "loggers": {"django.request": {"level": "ERROR"}, "oauth2_provider": {"level": "ERROR"}, "oauthlib": {"level": "ERROR"}},
}
