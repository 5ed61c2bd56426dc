"""The Celery application. Tasks are small sweeps; the schedule is `CELERY_BEAT_SCHEDULE` in the settings."""

import os
from typing import Any

from celery import Celery
from celery.signals import celeryd_after_setup
from django.core.exceptions import ImproperlyConfigured

from clinic import checks

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "clinic.settings")

app = Celery("pulposus")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@celeryd_after_setup.connect
def stop_if_unguarded(**_: Any) -> None:
    """A signal swallows exceptions, so that only leaving stops the worker."""
    try:
        checks.stop_if_unguarded()
    except ImproperlyConfigured as unsafe:
        raise SystemExit(str(unsafe)) from unsafe
