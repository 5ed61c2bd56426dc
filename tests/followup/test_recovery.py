"""From the table to home, and what the patient may do in the weeks after."""

from datetime import date, timedelta

import pytest
from django.db import IntegrityError, transaction

from clinic.models import Message
from clinic.status import StepRefused
from followup import recovery, reminders
from followup.models import Discharge, RecoveryScore, RestrictionStage
from scheduling import bookings
from scheduling.models import Episode

FIT = {"vital_signs": 2, "activity": 2, "comfort": 2, "bleeding": 2, "intake": 1}
UNFIT = FIT | {"comfort": 1}


@pytest.fixture
def injection(injected):
    return injected.injection


@pytest.fixture
def hour(injection):
    return injection.ended_at + timedelta(hours=1)


def test_nine_of_ten_goes_home(injection, hour):
    recovery.score(injection, items=FIT, by="nurse", at=hour)

    home = recovery.discharge(injection, escorted_by="spouse", by="nurse", at=hour)

    assert (home.score.total, home.escorted_by, home.note) == (9, "spouse", "")


def test_eight_of_ten_stays_until_the_next_score(injection, hour):
    recovery.score(injection, items=UNFIT, by="nurse", at=hour)

    with pytest.raises(recovery.NotFitToGoHome, match="8 of 10; 9 is needed"):
        recovery.discharge(injection, escorted_by="spouse", by="nurse", at=hour)
    recovery.score(injection, items=FIT, by="nurse", at=hour + timedelta(minutes=30))
    recovery.discharge(injection, escorted_by="spouse", by="nurse", at=hour + timedelta(minutes=30))

    assert Discharge.objects.get().score.total == 9


def test_only_the_latest_score_counts(injection, hour):
    recovery.score(injection, items=FIT, by="nurse", at=hour)
    recovery.score(injection, items=UNFIT, by="nurse", at=hour + timedelta(minutes=30))

    with pytest.raises(recovery.NotFitToGoHome):
        recovery.discharge(injection, escorted_by="spouse", by="nurse", at=hour + timedelta(hours=1))


def test_no_note_lets_a_patient_go_home_below_nine(injection, hour):
    recovery.score(injection, items=UNFIT, by="nurse", at=hour)

    with pytest.raises(recovery.NotFitToGoHome, match="Keep the patient here and score again"):
        recovery.discharge(injection, escorted_by="spouse", note="As usual for her", by="clinician", at=hour)

    assert Discharge.objects.count() == 0


@pytest.mark.parametrize("nobody", ["", "  ", "\t\x0b"])
def test_nobody_goes_home_alone(injection, hour, nobody):
    recovery.score(injection, items=FIT, by="nurse", at=hour)

    with pytest.raises(recovery.NobodyTakesThemHome, match="write down who takes Reyes, Marta home"):
        recovery.discharge(injection, escorted_by=nobody, by="nurse", at=hour)

    assert Discharge.objects.count() == 0


def test_the_database_too_lets_nobody_go_home_alone(injection, hour):
    score = recovery.score(injection, items=FIT, by="nurse", at=hour)

    home = {"discharged_at": hour, "discharged_by": "nurse", "escorted_by": ""}

    with pytest.raises(IntegrityError, match="nobody_goes_home_alone"), transaction.atomic():
        Discharge.objects.create(injection=injection, score=score, **home)


def test_nobody_goes_home_unscored_or_twice(injection, hour):
    with pytest.raises(recovery.NotFitToGoHome, match="no discharge score"):
        recovery.discharge(injection, escorted_by="spouse", by="nurse", at=hour)
    recovery.score(injection, items=FIT, by="nurse", at=hour)
    recovery.discharge(injection, escorted_by="spouse", by="nurse", at=hour)

    with pytest.raises(StepRefused, match="gone home already"):
        recovery.discharge(injection, escorted_by="spouse", by="nurse", at=hour)
    with pytest.raises(StepRefused, match="gone home already"):
        recovery.score(injection, items=FIT, by="nurse", at=hour)


@pytest.mark.parametrize(
    "items",
    [FIT | {"comfort": 3}, FIT | {"comfort": -1}, FIT | {"comfort": True}, {"comfort": 2}, FIT | {"pulse": 1}],
)
def test_five_items_of_nought_to_two(injection, hour, items):
    with pytest.raises(StepRefused):
        recovery.score(injection, items=items, by="nurse", at=hour)

    assert RecoveryScore.objects.count() == 0


def test_times_make_sense(injection, hour):
    with pytest.raises(StepRefused, match="after it"):
        recovery.score(injection, items=FIT, by="nurse", at=injection.ended_at - timedelta(minutes=1))
    recovery.score(injection, items=FIT, by="nurse", at=hour)

    with pytest.raises(StepRefused, match="before the latest score"):
        recovery.discharge(injection, escorted_by="spouse", by="nurse", at=hour - timedelta(minutes=1))


def test_stages_follow_the_injection(injected):
    stages = recovery.stages(injected)

    assert [(dated.stage.name, dated.begins_on, dated.ends_on) for dated in stages] == [
        ("Rest", date(2026, 5, 11), date(2026, 5, 13)),
        ("Protect", date(2026, 5, 14), date(2026, 5, 18)),
        ("Light activity", date(2026, 5, 19), date(2026, 5, 25)),
        ("Rebuild", date(2026, 5, 26), date(2026, 6, 22)),
        ("As cleared", date(2026, 6, 23), None),
    ]


def test_stages_are_planned_until_the_injection_and_then_follow_its_actual_end(booked, inject):
    before = recovery.stages(booked)

    injected = inject(booked)
    Episode.objects.filter(pk=injected.pk).update(anchor_at=injected.anchor_at + timedelta(days=2))

    after = recovery.stages(Episode.objects.get(pk=injected.pk))
    assert {stage.planned for stage in before} == {True}
    assert {stage.planned for stage in after} == {False}
    assert [later.begins_on - sooner.begins_on for sooner, later in zip(before, after, strict=True)] == [
        timedelta(days=2)
    ] * 5


def test_there_are_no_stages_without_a_date_or_after_a_treatment_was_called_off(booked, at):
    bookings.cancel_episode(booked, reason="Changed her mind", by="coordinator", at=at)
    off = recovery.stages(Episode.objects.get(pk=booked.pk))
    booked.anchor_at = None

    assert (recovery.stages(booked), off) == ((), ())


def test_a_stage_is_told_by_one_mail_on_its_first_day(injected):
    told = []
    for day in range(16):
        reminders.queue_due(at=injected.anchor_at + timedelta(days=day, hours=6))
        told.append(Message.objects.filter(kind=reminders.STAGE).count())

    assert told == [1, 1, 1, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 4]


def test_a_stage_cannot_end_before_it_begins(injected):
    rest = RestrictionStage.objects.filter(protocol=injected.protocol, code="protect")

    with pytest.raises(IntegrityError, match="a_stage_ends_after_it_begins"), transaction.atomic():
        rest.update(last_day=2)
