"""The door for a WSGI server: `gunicorn registry.wsgi`."""

import os

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "registry.settings")

application = get_wsgi_application()

if not settings.SECRET_KEY_IS_LASTING:
    raise ImproperlyConfigured(
        "HUB_SECRET_KEY is missing: every restart would sign people out. Make one: openssl rand -hex 32"
    )
