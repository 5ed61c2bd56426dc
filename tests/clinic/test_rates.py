from datetime import timedelta
from threading import Barrier, Thread

import pytest
from django.db import connection

from clinic import messages, rates
from clinic.models import Message, SendCount
from clinic.states import MessageStatus as S
from followup.demo import walk

pytestmark = pytest.mark.django_db


@pytest.fixture
def early_in_a_minute(monkeypatch):
    """The counts are per minute of the database's clock: a test that runs over its end would see two of them."""
    monkeypatch.setattr(rates, "TAKE", rates.TAKE.replace("clock_timestamp()", "timestamptz '2026-05-04 14:00:10Z'"))


def test_without_a_limit_nothing_is_counted(due, at):
    due()

    assert messages.deliver(at=at) == {"sent": 1}
    assert not SendCount.objects.exists()


def test_no_more_leave_in_a_minute_than_the_clinic_allows(due, at, settings, early_in_a_minute):
    settings.MESSAGES_PER_MINUTE = 3
    for number in range(5):
        due(str(number))

    assert messages.deliver(at=at) == {"sent": 3}
    assert messages.deliver(at=at) == {}
    assert Message.objects.filter(status=S.DUE, attempts=0, lease_until=None).count() == 2


def test_one_mail_service_that_has_had_its_share_does_not_hold_up_another(
    due, patient, at, settings, early_in_a_minute
):
    settings.DOMAIN_MESSAGES_PER_MINUTE = 2
    elsewhere = walk.register(patient.site, at=at, mrn="MRN-2")
    type(elsewhere).objects.filter(pk=elsewhere.pk).update(email="reyes@Elsewhere.example")
    for number in range(4):
        due(str(number), due_at=at - timedelta(minutes=1))
    due("other", patient=elsewhere)

    assert messages.deliver(at=at) == {"sent": 3, "due": 2}
    assert [*Message.objects.filter(status=S.DUE).values_list("reason", flat=True)] == [
        "Many messages go to the same mail service; this one waits for its turn."
    ] * 2


def test_those_who_wait_are_spread_over_the_minutes_that_follow(settings, early_in_a_minute):
    settings.DOMAIN_MESSAGES_PER_MINUTE = 2

    waits = [rates.wait_for("p@example.org").total_seconds() for _ in range(7)]

    assert waits == [0, 0, 50, 80, 110, 140, 170]


def test_counts_of_minutes_that_are_over_are_forgotten(at, db):
    for minutes in (1, 61):
        SendCount.objects.create(name="", minute=at - timedelta(minutes=minutes), sent=1)

    assert rates.forget_old(at=at) == 1
    assert SendCount.objects.get().minute == at - timedelta(minutes=1)


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_many_workers_share_one_limit(settings, early_in_a_minute):
    settings.MESSAGES_PER_MINUTE = 10
    start, taken = Barrier(4), []

    def work():
        start.wait()
        taken.extend(rates.take_one() for _ in range(10))
        connection.close()

    workers = [Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()

    assert sorted(taken) == [False] * 30 + [True] * 10
