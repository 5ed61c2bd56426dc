"""Whoever reads a log, a figure, a subject line or the broker learns of no patient. Patients at every step of the path
carry names that are found nowhere else; everything that runs by itself is run over them, also where it fails."""

import json
from contextlib import contextmanager
from datetime import time

import pytest
from celery import signals
from django.conf import settings as configured
from django.db.models import F
from django.urls import reverse
from django.utils.timezone import now

from clinic import bounces
from clinic.celery import app
from clinic.models import Message, Patient, ReturnedMail, Site
from followup import demo
from followup.demo import Step
from followup.demo import patients as crowd
from tests.relays import Relay

pytestmark = [pytest.mark.slow, pytest.mark.django_db]

MARKER = "quillfeather"
RELAY = " mail.log "  # the mail server runs in this process; it is the clinic's, and not ours
GIVEN, FAMILY = f"Ottilie-{MARKER}", f"Van {MARKER.title()}"


@pytest.fixture
def everybody(site, monkeypatch):
    """The demo's patients at every step, under marked names, numbers and addresses."""
    names = [(GIVEN, FAMILY, sex) for _, _, sex in crowd.NAMES]
    register = crowd.walk.register

    def marked(site, *, mrn, **given):
        return register(site, **given | {"mrn": f"{MARKER}-{mrn}", "email": f"{mrn}.{MARKER}@example.org"})

    monkeypatch.setattr(crowd, "NAMES", names)
    monkeypatch.setattr(crowd.walk, "register", marked)
    Site.objects.update(quiet_from=time(0), quiet_until=time(0))  # whatever the hour at which this is run
    demo.seed(site, to=Step.INJECTED, at=now())
    return Patient.objects.filter(site=site)


@pytest.fixture
def relay(settings):
    with Relay() as relay:
        settings.EMAIL_BACKEND = "clinic.relay.EmailBackend"
        settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", relay.port
        yield relay


@contextmanager
def watched(signal, seen):
    def see(*, args=None, kwargs=None, body=None, **_):
        seen.append((args, kwargs, body))

    signal.connect(see, weak=False)
    try:
        yield
    finally:
        signal.disconnect(see)


def every_sweep():
    """Each task of the schedule, as a worker runs it."""
    app.loader.import_default_modules()
    for entry in configured.CELERY_BEAT_SCHEDULE.values():
        app.tasks[entry["task"]].apply(throw=True)


def due_again():
    Message.objects.exclude(status="sent").update(status="due", lease_until=None)


def test_no_name_is_in_a_log_a_figure_a_subject_or_a_task(everybody, relay, capfd, client, settings):
    settings.METRICS_TOKEN = "a token for a test"
    handed_over = []

    with watched(signals.task_prerun, handed_over), watched(signals.before_task_publish, handed_over):
        relay.answers["RCPT"] = f"450 <{MARKER}@example.org> try again later"
        every_sweep()
        relay.answers["RCPT"] = f"550 no mailbox here for {GIVEN} {FAMILY} <{MARKER}@example.org>"
        due_again()
        every_sweep()
        for returned in ReturnedMail.objects.filter(settled_at=None):  # the address is right after all
            bounces.settle(returned, by="coordinator", at=now())
        relay.answers = {"DATA": "cut"}
        due_again()
        every_sweep()
        relay.answers = {}
        due_again()
        every_sweep()
        Patient.objects.filter(pk__in=everybody[:3]).update(email=F("family_name"))  # it cannot be written to
        Message.objects.filter(patient__in=everybody[:3]).update(status="due", sent_at=None)
        every_sweep()
        app.send_task("clinic.deliver_messages", queue="nobody-reads-this")
    figures = client.get(reverse("metrics"), headers={"Authorization": f"Bearer {settings.METRICS_TOKEN}"})

    assert figures.status_code == 200
    said = {
        "log": "\n".join(line for line in capfd.readouterr().err.splitlines() if RELAY not in line),
        "figures": figures.content.decode(),
        "subjects": "\n".join(mail["Subject"] for mail in relay.mails),
        "kept subjects": "\n".join(Message.objects.values_list("subject", flat=True)),
        "tasks": json.dumps(handed_over, default=str),
    }
    assert all(said.values())
    assert {place for place, words in said.items() if MARKER in words.lower()} == set()
    assert all(MARKER in mail["To"] for mail in relay.mails)  # the marker would have been seen
