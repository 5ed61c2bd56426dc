"""The Celery application. Tasks are small sweeps; the schedule is `CELERY_BEAT_SCHEDULE` in the settings."""

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "clinic.settings")

app = Celery("pulposus")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
