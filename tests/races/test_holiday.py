"""Somebody books while somebody else closes the day: one of them is told, and never do both stand."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime
from threading import Barrier

import pytest
from django.db import connection

from clinic.status import StepRefused
from followup import demo
from followup.demo import walk
from scheduling import bookings, diary, hours, protocols
from scheduling.models import Appointment, Holiday
from scheduling.models.protocol import Visit

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]

AT = datetime(2026, 5, 4, 14, 0, tzinfo=UTC)
MONDAY = date(2026, 5, 11)


@pytest.fixture
def site(transactional_db, monkeypatch):
    monkeypatch.setattr(diary, "LOCK_TIMEOUT", "60s")
    protocols.load_all(at=AT)
    site = demo.found_clinic()
    demo.complete_products()
    return site


@pytest.mark.parametrize("first", ["booking", "holiday"])
def test_a_booking_and_a_holiday_at_once_never_both_stand(site, first):
    episode = walk.open_episode(walk.register(site, at=AT, mrn="MRN-1"), at=AT)
    option = bookings.find(episode, visit=Visit.PROCEDURE, earliest=MONDAY, at=AT).options[0]
    start = Barrier(2)

    def run(job):
        try:
            start.wait()
            job()
        except StepRefused as refused:
            return str(refused)
        finally:
            connection.close()

    jobs = {
        "booking": lambda: bookings.book_at(episode, visit=Visit.PROCEDURE, option=option, by="nurse", at=AT),
        "holiday": lambda: hours.add_holiday(site=site, day=MONDAY, name="Founders' Day", by="coordinator", at=AT),
    }
    with ThreadPoolExecutor(2) as pool:
        told = list(pool.map(run, sorted(jobs.values(), key=lambda job: job is not jobs[first])))

    assert (Holiday.objects.count() + Appointment.objects.count(), told.count(None)) == (1, 1)
