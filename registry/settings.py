"""Settings, from the environment only. A bad value stops the start; NAME_FILE names a file that holds a secret.

`manage.py up` sets what an embedded hub needs (registry/embedded). Without DATABASE_URL only commands that
need no database work (`check`, `makemigrations --check`).
"""

import difflib
import os
import secrets
import urllib.parse
from pathlib import Path
from typing import Any

from django.core.exceptions import ImproperlyConfigured

BASE_DIR = Path(__file__).resolve().parent.parent
MAKE_A_KEY = "Make one: openssl rand -hex 32"
LOOPBACK = ["127.0.0.1", "localhost", "[::1]"]

# --- Reading the environment ---
asked: set[str] = set()


def text(name: str, default: str = "") -> str:
    """Return a variable, or the content of the file that NAME_FILE names."""
    asked.update((name, f"{name}_FILE"))
    path = os.environ.get(f"{name}_FILE")
    if path and os.environ.get(name):
        raise ImproperlyConfigured(f"Both {name} and {name}_FILE are set. Keep one.")
    try:
        return (Path(path).read_text().strip() if path else os.environ.get(name, "").strip()) or default
    except OSError as error:
        raise ImproperlyConfigured(f"{name}_FILE: {path} cannot be read ({error.strerror}).") from error


def flag(name: str, default: bool) -> bool:
    """Return a variable that is on or off."""
    value = text(name).lower()
    if value in ("", "1", "true", "yes", "on", "0", "false", "no", "off"):
        return default if not value else value in ("1", "true", "yes", "on")
    raise ImproperlyConfigured(f"{name} is {value!r}. Give 1 or 0.")


def number(name: str, default: int, low: int, high: int) -> int:
    """Return a whole number within bounds."""
    value = text(name, str(default))
    if not value.isdecimal() or not low <= int(value) <= high:
        raise ImproperlyConfigured(f"{name} is {value!r}. Give a whole number from {low} to {high}.")
    return int(value)


def one_of(name: str, default: str, *others: str) -> str:
    """Return one of a few words."""
    value = text(name, default)
    if value not in (default, *others):
        raise ImproperlyConfigured(f"{name} is {value!r}. Give {' or '.join((default, *others))}.")
    return value


def words(name: str) -> list[str]:
    """Return a list written with commas."""
    return [word.strip() for word in text(name).split(",") if word.strip()]


def address(name: str, default: str, *schemes: str) -> urllib.parse.SplitResult:
    """Return a URL with one of these schemes, in its parts."""
    value = text(name, default)
    try:
        parts = urllib.parse.urlsplit(value)
        _ = parts.port
    except ValueError as error:
        raise ImproperlyConfigured(f"{name} is not a URL: {error}.") from error
    if value and parts.scheme not in schemes:
        # The value may hold a password: it is not repeated.
        wanted = " or ".join(f"{scheme}://" for scheme in schemes)
        raise ImproperlyConfigured(f"{name} begins with {parts.scheme or 'no scheme'}. Give {wanted}...")
    return parts


def database(parts: urllib.parse.SplitResult, statement_seconds: int) -> dict[str, Any]:
    """Return Django's description of a database from a PostgreSQL URL; `?host=/folder` is a unix socket."""
    if not parts.scheme:
        return {"ENGINE": "django.db.backends.dummy"}
    options: dict[str, Any] = dict(urllib.parse.parse_qsl(parts.query))
    host = options.pop("host", "") or parts.hostname or ""
    limits = {
        "statement_timeout": statement_seconds * 1000,
        "lock_timeout": min(statement_seconds, 10) * 1000,
        "idle_in_transaction_session_timeout": 60_000,
    }
    options["options"] = " ".join(f"-c {name}={value}" for name, value in limits.items())
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": urllib.parse.unquote(parts.path.lstrip("/")),
        "USER": urllib.parse.unquote(parts.username or ""),
        "PASSWORD": urllib.parse.unquote(parts.password or ""),
        "HOST": host,
        "PORT": str(parts.port or ""),
        "CONN_MAX_AGE": 60,
        "CONN_HEALTH_CHECKS": True,
        "OPTIONS": {"connect_timeout": 5} | options,
    }


def secret_key() -> str:
    """Return the key that signs sessions. Who serves nobody does with one that is soon forgotten (see wsgi.py)."""
    key = text("HUB_SECRET_KEY")
    if key and len(key) < 50:
        raise ImproperlyConfigured(f"HUB_SECRET_KEY is shorter than 50 characters. {MAKE_A_KEY}")
    return key or secrets.token_urlsafe(48)


# --- The hub ---
_database = address("DATABASE_URL", "", "postgresql", "postgres")
_public = address("HUB_PUBLIC_URL", "http://127.0.0.1:8000", "http", "https")
_https = _public.scheme == "https"

HUB_PUBLIC_URL = f"{_public.scheme}://{_public.netloc}"
HUB_STORAGE = text("HUB_STORAGE")
HUB_STORAGE_PUBLIC_ENDPOINT = text("HUB_STORAGE_PUBLIC_ENDPOINT")
HUB_VALIDATION = one_of("HUB_VALIDATION", "required", "off")
HUB_HF_UPSTREAM = text("HUB_HF_UPSTREAM")
HUB_HF_UPSTREAM_ALLOW = words("HUB_HF_UPSTREAM_ALLOW")
HUB_LEASE_SECONDS = number("HUB_LEASE_SECONDS", 60, 2, 3600)
HUB_REHINT_SECONDS = number("HUB_REHINT_SECONDS", 5, 1, 3600)
HUB_RETRY_SECONDS = number("HUB_RETRY_SECONDS", 5, 0, 3600)  # the first pause after a fault; each next one is twice it
HUB_FENCING = flag("HUB_FENCING", True)  # off only to show that the kill test needs it: then any run token reports
HUB_INLINE_INGEST_BYTES = number("HUB_INLINE_INGEST_BYTES", 4 << 20, 0, 64 << 20)  # judged within the request
HUB_INLINE_FILE_BYTES = number("HUB_INLINE_FILE_BYTES", 64 << 10, 0, 4 << 20)  # sent with the answer of a resolve
HUB_MAX_UPLOAD_BYTES = number("HUB_MAX_UPLOAD_BYTES", 10 << 30, 1 << 10, 1 << 50)
HUB_MAX_BASE_BYTES = number("HUB_MAX_BASE_BYTES", 20 << 30, 0, 1 << 50)
HUB_MAX_OPEN_UPLOADS = number("HUB_MAX_OPEN_UPLOADS", 200, 1, 100_000)
HUB_PRIVATE_RUNS_PER_DAY = number("HUB_PRIVATE_RUNS_PER_DAY", 5, 0, 100_000)
HUB_UPLOAD_HOURS = number("HUB_UPLOAD_HOURS", 24, 1, 720)
HUB_INGEST_LEASE_SECONDS = number("HUB_INGEST_LEASE_SECONDS", 120, 2, 86_400)
HUB_RELAY_MILLISECONDS = number("HUB_RELAY_MILLISECONDS", 200, 10, 60_000)
HUB_CLIENT_WHEELS = text("HUB_CLIENT_WHEELS")
HUB_BEHIND_PROXY = flag("HUB_BEHIND_PROXY", False)
HUB_STATEMENT_SECONDS = number("HUB_STATEMENT_SECONDS", 10, 1, 86_400)
BROKER_URL = text("BROKER_URL")
HUB_WORKER_BROKER_URL = text("HUB_WORKER_BROKER_URL") or BROKER_URL
# Read by other parts of the hub from the same environment; known here so that a typing error is seen.
OTHERS = (
    *("HUB_DATA", "HUB_EMBEDDED_USER", "HUB_ENDPOINT", "HUB_TOKEN", "HUB_CACHE", "HUB_CONFIG", "HUB_OFFLINE"),
    *("HUB_BASES", "HUB_SCRATCH", "HUB_WORKER_TOKEN", "HUB_RUN_SECONDS", "HUB_RUN_MEMORY_GB", "HUB_ISOLATION"),
)

# --- Django ---
DEBUG = flag("HUB_DEBUG", False)
if DEBUG and _public.hostname not in ("127.0.0.1", "localhost", "::1"):
    raise ImproperlyConfigured("HUB_DEBUG shows secrets to visitors: only where HUB_PUBLIC_URL is this machine.")
SECRET_KEY_IS_LASTING = bool(text("HUB_SECRET_KEY"))
SECRET_KEY = secret_key()
SECRET_KEY_FALLBACKS = words("HUB_SECRET_KEY_FALLBACKS")
ALLOWED_HOSTS = list(dict.fromkeys([_public.hostname or "", *words("HUB_ALLOWED_HOSTS"), *LOOPBACK]))

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.postgres",
    "django.contrib.staticfiles",
    "rest_framework",
    "drf_spectacular",
    "registry.apps.RegistryConfig",
]
MIDDLEWARE = [
    "registry.logs.RequestId",
    "registry.web.headers.SecurityHeaders",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
ROOT_URLCONF = "registry.urls"
WSGI_APPLICATION = "registry.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
DATABASES = {"default": database(_database, HUB_STATEMENT_SECONDS)}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
AUTH_USER_MODEL = "registry.User"
LANGUAGE_CODE = "en"
USE_I18N = False
USE_TZ = True
TIME_ZONE = "UTC"
APPEND_SLASH = False
LOGIN_URL = "/login"
LOGIN_REDIRECT_URL = "/"
LOGOUT_REDIRECT_URL = "/"
PASSWORD_HASHERS = [
    "django.contrib.auth.hashers.Argon2PasswordHasher",
    "django.contrib.auth.hashers.PBKDF2PasswordHasher",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in ("UserAttributeSimilarityValidator", "MinimumLengthValidator", "CommonPasswordValidator")
]

# --- Safety in browsers (the content policy is in registry/web/headers.py) ---
SECURE_SSL_REDIRECT = flag("HUB_SSL_REDIRECT", _https)
SECURE_REDIRECT_EXEMPT = ["^livez$", "^readyz$"]
SECURE_HSTS_SECONDS = number("HUB_HSTS_SECONDS", 31_536_000, 0, 63_072_000) if _https else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = flag("HUB_HSTS_SUBDOMAINS", False)
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
SECURE_CROSS_ORIGIN_OPENER_POLICY = "same-origin"
# Only a proxy that always sets this header itself may be believed; so it is with X-Forwarded-For (web/signing_in.py).
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if HUB_BEHIND_PROXY else None
X_FRAME_OPTIONS = "DENY"
# Over plain http a browser drops a cookie with Secure: nobody could sign in to a hub without a certificate.
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = _https
SESSION_COOKIE_NAME = "__Host-session" if _https else "session"
CSRF_COOKIE_NAME = "__Host-csrf" if _https else "csrf"
SESSION_COOKIE_HTTPONLY = CSRF_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Lax"
CSRF_TRUSTED_ORIGINS = [HUB_PUBLIC_URL]
DATA_UPLOAD_MAX_MEMORY_SIZE = 2 << 20
DATA_UPLOAD_MAX_NUMBER_FIELDS = 200
DATA_UPLOAD_MAX_NUMBER_FILES = 20

# --- Static files: as `collectstatic` left them in HUB_STATIC_ROOT, else straight from the source ---
STATIC_URL = "/static/"
STATIC_ROOT = text("HUB_STATIC_ROOT") or None
WHITENOISE_USE_FINDERS = STATIC_ROOT is None
WHITENOISE_AUTOREFRESH = False
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.InMemoryStorage"},  # blobs: registry/storage
    "staticfiles": {
        "BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"
        if STATIC_ROOT
        else "django.contrib.staticfiles.storage.StaticFilesStorage"
    },
}

# --- The API ---
REST_FRAMEWORK: dict[str, Any] = {
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "TEST_REQUEST_DEFAULT_FORMAT": "json",
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Adapter hub",
    "DESCRIPTION": "A registry of adapters that publishes only what has really run on its frozen base model.",
    "VERSION": "1",
    "SCHEMA_PATH_PREFIX": "/api/v1",
    "SERVE_INCLUDE_SCHEMA": False,
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "registry.api.schema.add_shapes",
    ],
}

# --- Logs: one JSON line an event, on stderr ---
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"json": {"()": "registry.logs.JsonLines"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "json"}},
    "root": {"handlers": ["stderr"], "level": one_of("HUB_LOG_LEVEL", "INFO", "DEBUG", "WARNING", "ERROR")},
    "loggers": {
        "django": {"handlers": [], "level": "INFO", "propagate": True},
        "django.server": {"handlers": [], "level": "INFO", "propagate": True},
        "django.security.DisallowedHost": {"handlers": [], "propagate": False},
    },
}

_known = asked | set(OTHERS)
for _name in sorted(name for name in os.environ if name.startswith("HUB_") and name not in _known):
    for _near in difflib.get_close_matches(_name, _known, n=1, cutoff=0.85):
        raise ImproperlyConfigured(f"{_name} is no setting of the hub. Is {_near} meant?")
