"""Real threads, each with its own connection, at the same last chance. The constraint alone would answer with
deadlocks; the order of the locks turns them into one winner and clear refusals."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from threading import Barrier

import pytest
import time_machine
from django.db import connection
from rest_framework.test import APIClient

from clinic import links
from clinic.status import StepRefused
from followup import demo, instruments
from followup.demo import walk
from scheduling import bookings, cells, diary, protocols
from scheduling.api.offers import seal
from scheduling.models import Appointment, AppointmentStep, Episode, Reservation, Resource, Unit
from scheduling.models.protocol import ResourceKind, Visit
from scheduling.states import UnitStatus

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]

AT = datetime(2026, 5, 4, 14, 0, tzinfo=UTC)
MONDAY = date(2026, 5, 11)
P = Visit.PROCEDURE


@pytest.fixture(autouse=True)
def patience(monkeypatch):
    """Who waits for a lock waits for its answer: these tests ask who wins, not how fast this machine is."""
    monkeypatch.setattr(diary, "LOCK_TIMEOUT", "60s")


@pytest.fixture
def clinic(transactional_db):
    protocols.load_all(at=AT)
    instruments.load_all(at=AT)
    site = demo.found_clinic()
    demo.complete_products()
    demo.stock_cells(site, at=AT, units=3)
    return site


def patients(site, count, **given):
    return [walk.open_episode(walk.register(site, at=AT, mrn=f"MRN-{n}"), at=AT, **given) for n in range(count)]


def at_once(jobs):
    """Run every job in a thread of its own, all released at the same moment; what each returned or raised."""
    start = Barrier(len(jobs))

    def run(job):
        try:
            start.wait()
            return job()
        except Exception as raised:
            return raised
        finally:
            connection.close()

    with ThreadPoolExecutor(len(jobs)) as pool:
        return list(pool.map(run, jobs))


def deadlocks():
    with connection.cursor() as cursor:
        cursor.execute("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
        return cursor.fetchone()[0]


def overlaps():
    """Live reservations of one resource that overlap, found by asking, not by trusting the constraint."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM scheduling_reservation a JOIN scheduling_reservation b"
            " ON a.resource_id = b.resource_id AND a.id < b.id AND a.during && b.during WHERE a.live AND b.live"
        )
        return cursor.fetchone()[0]


def only_one_c_arm(site):
    Resource.objects.filter(site=site, kind=ResourceKind.C_ARM, name="C-arm 2").update(active=False)


def test_twenty_patients_want_the_last_chain_and_one_gets_it(clinic):
    only_one_c_arm(clinic)
    episodes = patients(clinic, 20)
    option = bookings.find(episodes[0], visit=P, earliest=MONDAY, at=AT).options[0]
    before = deadlocks()

    answers = at_once(
        [
            lambda episode=episode: bookings.book_at(episode, visit=P, option=option, by=walk.BY, at=AT)
            for episode in episodes
        ]
    )

    winners = [answer for answer in answers if isinstance(answer, Appointment)]
    refusals = [answer for answer in answers if isinstance(answer, StepRefused)]
    assert (len(winners), len(refusals)) == (1, 19)
    assert {refusal.code for refusal in refusals} == {"time_taken"}
    assert Appointment.objects.count() == 1
    assert AppointmentStep.objects.count() == 5
    assert Episode.objects.filter(anchor_at__isnull=False).count() == 1
    assert deadlocks() == before


def test_patients_who_share_only_the_c_arm_get_it_one_after_the_other(clinic):
    """Each takes another option of the same morning: the chains overlap in different steps, in any order."""
    only_one_c_arm(clinic)
    episodes = patients(clinic, 8)
    options = bookings.find(episodes[0], visit=P, earliest=MONDAY, at=AT, per_day=8, limit=8).options
    before = deadlocks()

    answers = at_once(
        [
            lambda episode=episode, option=option: bookings.book_at(episode, visit=P, option=option, by=walk.BY, at=AT)
            for episode, option in zip(episodes, options, strict=True)
        ]
    )

    assert {type(answer) for answer in answers} <= {Appointment, bookings.diary.TimeTaken}
    assert Appointment.objects.count() == sum(isinstance(answer, Appointment) for answer in answers) >= 1
    assert (overlaps(), deadlocks()) == (0, before)


def test_a_hold_and_a_booking_race_for_the_same_time(clinic):
    only_one_c_arm(clinic)
    episodes = patients(clinic, 6)
    option = bookings.find(episodes[0], visit=P, earliest=MONDAY, at=AT).options[0]
    verbs = [bookings.hold, bookings.book_at] * 3

    answers = at_once(
        [
            lambda episode=episode, verb=verb: verb(episode, visit=P, option=option, by=walk.BY, at=AT)
            for episode, verb in zip(episodes, verbs, strict=True)
        ]
    )

    assert sum(isinstance(answer, Appointment) for answer in answers) == 1
    assert sum(isinstance(answer, StepRefused) for answer in answers) == 5


def test_a_lapsed_hold_is_taken_over_by_one_while_its_patient_asks_for_it(clinic):
    only_one_c_arm(clinic)
    first, *others = patients(clinic, 5)
    option = bookings.find(first, visit=P, earliest=MONDAY, at=AT).options[0]
    held = bookings.hold(first, visit=P, option=option, by=walk.BY, at=AT)
    late = held.held_until
    before = deadlocks()

    answers = at_once(
        [
            lambda: bookings.book(held, by=walk.BY, at=late),
            lambda: bookings.lapse_holds(at=late),
            *(
                lambda episode=episode: bookings.book_at(episode, visit=P, option=option, by=walk.BY, at=late)
                for episode in others
            ),
        ]
    )

    assert isinstance(answers[0], StepRefused)
    assert sum(isinstance(answer, Appointment) for answer in answers) <= 1
    assert {type(answer) for answer in answers if isinstance(answer, Exception)} <= {
        StepRefused,
        bookings.diary.TimeTaken,
    }
    assert (overlaps(), deadlocks()) == (0, before)


def test_one_patient_is_booked_once_however_often_somebody_clicks(clinic):
    (episode,) = patients(clinic, 1)
    options = bookings.find(episode, visit=P, earliest=MONDAY, at=AT, limit=8, per_day=1).options

    answers = at_once(
        [
            lambda option=option: bookings.book_at(episode, visit=P, option=option, by=walk.BY, at=AT)
            for option in options
        ]
    )

    assert sum(isinstance(answer, Appointment) for answer in answers) == 1
    assert sum(isinstance(answer, StepRefused) for answer in answers) == 7


def test_three_vials_go_to_three_of_eight_patients(clinic):
    episodes = patients(clinic, 8, code="disc-progenitor-allogeneic")
    options = bookings.find(episodes[0], visit=P, earliest=MONDAY, at=AT, limit=8, per_day=1).options

    answers = at_once(
        [
            lambda episode=episode, option=option: bookings.book_at(episode, visit=P, option=option, by=walk.BY, at=AT)
            for episode, option in zip(episodes, options, strict=True)
        ]
    )

    assert sum(isinstance(answer, Appointment) for answer in answers) == 3
    assert sum(isinstance(answer, cells.NoUnits) for answer in answers) == 5
    assert Unit.objects.filter(status=UnitStatus.ALLOCATED).count() == 3
    assert set(Appointment.objects.values_list("units__status", flat=True)) == {UnitStatus.ALLOCATED}


def test_booking_moving_and_cancelling_at_once_leaves_whole_days_only(clinic):
    booked = [walk.book(episode, at=AT) for episode in patients(clinic, 6)]
    options = bookings.find(
        booked[0].episode, visit=P, earliest=MONDAY + timedelta(days=1), at=AT, ignore=booked[0], limit=3, per_day=1
    ).options
    before = deadlocks()

    def work(number, day):
        for option in options:
            try:
                bookings.move(day, option=option, reason="racing", by=walk.BY, at=AT)
            except StepRefused:
                continue
        if number % 3 == 0:
            bookings.cancel(day, reason="racing", by=walk.BY, at=AT)

    answers = at_once([lambda number=number, day=day: work(number, day) for number, day in enumerate(booked)])

    assert answers == [None] * 6
    assert (overlaps(), deadlocks()) == (0, before)
    for day in Appointment.objects.all():
        live = set(Reservation.objects.filter(step__appointment=day, live=True).values_list("step__code", flat=True))
        whole = {"check_in", "harvest", "processing", "injection", "recovery"}
        assert live == (set() if day.status == "cancelled" else whole)


def test_the_same_request_sent_eight_times_at_once_is_done_once(clinic):
    """A client that lost patience. Whoever is not first hears that it is being worked on, or gets the same answer."""
    (episode,) = patients(clinic, 1)
    option = bookings.find(episode, visit=P, earliest=MONDAY, at=AT).options[0]
    secret = links.issue_token(clinic, name="Bridge", may_write=True, expires_at=AT + timedelta(days=1), at=AT)[1]
    client = APIClient(headers={"Authorization": f"Bearer {secret}", "Idempotency-Key": "once"})

    with time_machine.travel(AT, tick=False):
        body = {"episode": str(episode.pk), "visit": P, "option": seal(option, episode=episode, visit=P)}
        answers = at_once([lambda: client.post("/api/v1/appointments/", body, format="json") for _ in range(8)])
        again = client.post("/api/v1/appointments/", body, format="json")

    made = [answer.json() for answer in answers if answer.status_code == 201]
    others = {answer.json()["code"] for answer in answers if answer.status_code != 201}
    assert Appointment.objects.count() == 1
    assert again.status_code == 201
    assert made == [again.json()] * len(made)
    assert len(made) >= 1
    assert others <= {"in_flight"}
