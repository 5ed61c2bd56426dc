"""kill -9 in the middle of a booking: all of it or none of it, and nobody waits for the dead."""

import os
import signal
import subprocess
import sys
from datetime import timedelta

import pytest

from bench._invariants import broken
from bench._service import PROJECT, same_database
from clinic.models import StatusChange
from followup.demo import walk
from scheduling import bookings
from scheduling.models import Appointment, AppointmentStep, Reservation
from scheduling.models.protocol import Visit

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]

# A client of its own: takes a step and stops where the test says, its transaction open and its locks held.
CLIENT = """
import django, sys, time
django.setup()
from datetime import datetime, UTC
from followup.demo import walk
from scheduling import bookings, visits
from scheduling.models import Appointment, Episode

def stop_here(*_, **__):
    print("in the middle", flush=True)
    time.sleep(600)

at = datetime(2026, 5, 4, 14, 0, tzinfo=UTC)
visits.set_anchor = stop_here
step, pk = sys.argv[1:]
if step == "book":
    walk.book(Episode.objects.get(pk=pk), at=at)
else:
    visit = Appointment.objects.get(pk=pk)
    later = bookings.find(visit.episode, visit=visit.visit, earliest=at.date(), at=at, ignore=visit).options[5]
    bookings.move(visit, option=later, reason="Asked for it", by="client", at=at)
"""


@pytest.fixture
def killed_in_the_middle():
    """Start a client, wait until everything is written but not committed, and kill it."""

    def kill(step, row):
        client = subprocess.Popen(
            [sys.executable, "-c", CLIENT, step, str(row.pk)],
            cwd=PROJECT,
            env=same_database() | {"DJANGO_SETTINGS_MODULE": "clinic.settings"},
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert client.stdout.readline() == "in the middle\n"
        finally:
            os.kill(client.pid, signal.SIGKILL)
            client.wait(10)
            client.stdout.close()

    return kill


@pytest.fixture
def episode(site, at):
    return walk.open_episode(walk.register(site, at=at), at=at)


def written():
    """All that a booking leaves behind."""
    return [
        list(model.objects.order_by("pk").values())
        for model in (Appointment, AppointmentStep, Reservation, StatusChange)
    ]


def test_a_client_killed_while_booking_leaves_nothing_and_the_next_gets_the_time(
    site, episode, at, killed_in_the_middle
):
    other = walk.open_episode(walk.register(site, at=at, mrn="MRN-2"), at=at)
    first = bookings.find(other, visit=Visit.PROCEDURE, earliest=at.date() + timedelta(days=7), at=at).options[0]
    before = written()

    killed_in_the_middle("book", episode)

    assert written() == before
    assert bookings.book_at(other, visit=Visit.PROCEDURE, option=first, by=walk.BY, at=at).status == "booked"
    assert broken() == {}


def test_a_client_killed_while_moving_leaves_the_old_time_as_it_was(episode, at, killed_in_the_middle):
    booked = walk.book(episode, at=at)
    before = written()

    killed_in_the_middle("move", booked)

    assert written() == before
    assert bookings.cancel(booked, reason="Asked for it", by=walk.BY, at=at).status == "cancelled"
    assert broken() == {}
