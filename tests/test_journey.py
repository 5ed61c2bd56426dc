"""The whole service on one page: one patient, from the referral to the outcome two years later."""

from datetime import timedelta

import pytest
from django.core import mail

from clinic import messages
from followup import events, imaging, outcomes, recovery
from followup import reminders as followup_reminders
from followup.demo import walk
from followup.models import FollowUpEvent
from scheduling import bookings, evaluations, injections, preparation, referrals, reminders
from scheduling.models.product import Tissue
from scheduling.models.protocol import StepCode, Visit


def sweep(at):
    """What the worker does every few seconds."""
    events.open_due(at=at)
    events.miss_overdue(at=at)
    reminders.queue_due(at=at)
    followup_reminders.queue_due(at=at)
    messages.deliver(at=at)
    outcomes.complete_due(at=at)


def dated(episode):
    return {event.code: event for event in FollowUpEvent.objects.with_dates().filter(episode=episode)}


def told(patient):
    return sorted(patient.messages.filter(status="sent").values_list("kind", flat=True))


@pytest.mark.django_db
def test_one_patient_from_referral_to_the_outcome_at_two_years(patient, at):
    # 1 referred
    referral = referrals.receive(
        patient, source="Family practice", reason="Low back pain for two years", received_on=at.date(), by="ann", at=at
    )
    referral = referrals.accept(referral, by="ann", at=at)

    # 2 evaluated: every criterion gets a reasoned line, and a clinician signs
    evaluation = walk.evaluate(referral, at=at)
    verdict = evaluations.judge(evaluation, protocol=walk.protocol(), by="ann", at=at)
    verdict = evaluations.sign(verdict, by="dr", at=at)
    assert verdict.outcome == "eligible"

    # 3 booked: one day that chains harvest, processing, injection and recovery
    episode = bookings.open_episode(verdict, by="ann", at=at)
    found = bookings.find(episode, visit=Visit.PROCEDURE, earliest=at.date() + timedelta(days=7), at=at)
    day = bookings.book_at(episode, visit=Visit.PROCEDURE, option=found.options[0], by="ann", at=at)
    sweep(at)
    assert told(patient) == ["appointment.booked", "survey.invitation"]
    assert {recipient for message in mail.outbox for recipient in message.to} == {patient.email}

    # ... and moved: every later date moves with it, because none was copied
    before = dated(episode)["month-6"].due_on
    later = bookings.find(episode, visit=Visit.PROCEDURE, earliest=at.date() + timedelta(days=14), at=at, ignore=day)
    day = bookings.move(day, option=later.options[0], reason="The patient asked", by="ann", at=at)
    assert dated(episode)["month-6"].due_on == before + timedelta(days=7)
    day = bookings.confirm(day, by="ann", at=at)

    # 4 prepared: the cells and the kit that carries their identity
    day = bookings.arrive(day, by="nurse", at=day.during.lower)
    harvest = preparation.record_harvest(
        day, tissue=Tissue.BONE_MARROW, kit="KIT-7", volume_ml=55, by="nurse", at=day.during.lower
    )
    start = day.steps.get(code=StepCode.INJECTION).during.lower
    preparation.harvest_ready(harvest, viability_pct=93, by="operator", at=start)

    # 5 injected: this sets the anchor
    injection = injections.record(
        day,
        started_at=start,
        ended_at=start + timedelta(minutes=40),
        levels=[{"level": walk.LEVEL, "volume_ml": 1}],
        needle_gauge=22,
        injected_by="dr",
        matched_by=("dr", "nurse"),
        kit="KIT-7",
        fluoroscopy_seconds=41,
        by="dr",
        at=start + timedelta(minutes=40),
    )
    episode.refresh_from_db()
    assert (episode.status, episode.anchor_at) == ("active", injection.ended_at)

    # 6 recovers
    fit = {"vital_signs": 2, "activity": 2, "comfort": 2, "bleeding": 2, "intake": 1}
    home_at = injection.ended_at + timedelta(minutes=60)
    recovery.score(injection, items=fit, by="nurse", at=home_at)
    recovery.discharge(injection, escorted_by="spouse", by="nurse", at=home_at)

    # 7 followed up: asked by e-mail, answered; MRI at 6 and 12 months through the same booking engine
    sweep(home_at)
    for event in sorted(dated(episode).values(), key=lambda event: event.due_on):
        if event.status == "open":
            walk.follow_up(event, vas=20, at=walk.at_noon(event.due_on))
    assert {event.status for event in dated(episode).values() if event.code != "baseline"} == {"done"}
    assert imaging.needs_rebooking(at=at).count() == 0

    # 8 outcome: the scores over time, and the episode ends
    sweep(walk.at_noon(dated(episode)["month-24"].due_on))
    episode.refresh_from_db()
    assert episode.status == "completed"
    assert [point.vas for point in outcomes.series(episode) if point.vas is not None][-1] == 20
