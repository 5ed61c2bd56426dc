"""The door for gunicorn. It stays shut while the database would book anything twice."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "clinic.settings")

application = get_wsgi_application()

from clinic import checks  # noqa: E402 - the checks are registered once the applications are there

checks.stop_if_unguarded()
