"""The follow-up MRI: booked inside its window, noticed when it falls out of it, and read disc by disc."""

from datetime import timedelta

import pytest

from clinic.status import StepRefused
from followup import events, imaging
from followup.demo import walk
from followup.models import FollowUpEvent
from followup.states import EventStatus
from scheduling import bookings
from scheduling.models import DiscReading, Episode, MriStudy
from scheduling.models.protocol import Visit

DISCS = [{"level": "L3/4", "grade": 2}, {"level": "L4/5", "grade": 3, "modic": 1}]
DAY = timedelta(days=1)


def mri(episode, code="mri-month-6"):
    events.open_due(at=episode.anchor_at)
    return FollowUpEvent.objects.with_dates().get(episode=episode, code=code)


def again(event):
    return FollowUpEvent.objects.with_dates().select_related("mri", "appointment").get(pk=event.pk)


def book(event):
    at = walk.at_noon(event.opens_on - 20 * DAY)
    option = imaging.find(event, at=at, limit=1).options[0]
    return imaging.book(event, option=option, by="coordinator", at=at)


def move_injection(episode, days):
    Episode.objects.filter(pk=episode.pk).update(anchor_at=episode.anchor_at + timedelta(days=days))


def test_times_are_offered_only_on_days_that_count(injected):
    event = mri(injected)

    found = imaging.find(event, at=injected.anchor_at, limit=1000)

    days = [option.start.date() for option in found.options]
    assert (min(days) >= event.opens_on, max(days) <= event.closes_on) == (True, True)


def test_a_booked_mri_belongs_to_its_event(injected):
    event = book(mri(injected))

    assert event.appointment.visit == Visit.MRI
    assert list(imaging.needs_rebooking(at=injected.anchor_at)) == []


def test_an_mri_that_falls_out_of_its_window_is_noticed_and_not_moved(injected):
    event = book(mri(injected))
    was = event.appointment.during

    move_injection(injected, 100)

    late = imaging.needs_rebooking(at=injected.anchor_at)
    assert [(row.pk, row.scan_on) for row in late] == [(event.pk, was.lower.date())]
    assert again(event).appointment.during == was
    move_injection(injected, 0)
    assert list(imaging.needs_rebooking(at=injected.anchor_at)) == []


def test_another_patients_or_a_cancelled_appointment_is_not_attached(injected, site, at):
    event = mri(injected)
    other = walk.open_episode(walk.register(site, at=at, mrn="MRN-2", family_name="Other"), at=at)
    procedure = walk.book(other, at=at)

    with pytest.raises(StepRefused, match="not an MRI of this patient"):
        imaging.attach(event, appointment=procedure, by="coordinator", at=at)
    cancelled = book(event).appointment
    bookings.cancel(cancelled, reason="Asked to", by="coordinator", at=walk.at_noon(event.opens_on - 19 * DAY))
    with pytest.raises(StepRefused, match="cancelled or missed"):
        imaging.attach(event, appointment=cancelled, by="coordinator", at=at)


def test_one_appointment_serves_one_event(injected):
    taken = book(mri(injected)).appointment

    with pytest.raises(StepRefused, match="already for MRI at 6 months"):
        imaging.attach(mri(injected, "mri-month-12"), appointment=taken, by="coordinator", at=injected.anchor_at)


def test_a_day_outside_the_window_is_refused(injected):
    event = mri(injected)
    found = bookings.find(
        injected, visit=Visit.MRI, earliest=event.closes_on + DAY, at=walk.at_noon(event.opens_on), limit=1
    )

    with pytest.raises(StepRefused, match="outside the days that count"):
        imaging.book(event, option=found.options[0], by="coordinator", at=walk.at_noon(event.opens_on))

    assert again(event).appointment is None


def test_reading_keeps_every_disc_and_closes_the_event(injected):
    event = mri(injected)

    study = imaging.read(
        event, acquired_on=event.due_on, scale="pfirrmann5", discs=DISCS, by="reader", at=walk.at_noon(event.due_on)
    )

    assert list(study.discs.values_list("level", "grade", "modic", "scale")) == [
        ("L3/4", 2, None, "pfirrmann5"),
        ("L4/5", 3, 1, "pfirrmann5"),
    ]
    assert (study.patient, study.read_by) == (injected.patient, "reader")
    assert (again(event).status, again(event).mri) == (EventStatus.DONE, study)


@pytest.mark.parametrize(("days_late", "in_window"), [(0, True), (42, True), (43, False)])
def test_whether_a_scan_was_on_time_is_computed(injected, days_late, in_window):
    event = mri(injected)
    on = event.due_on + days_late * DAY

    imaging.read(event, acquired_on=on, scale="pfirrmann5", discs=DISCS, by="reader", at=walk.at_noon(on))

    assert imaging.in_window(again(event)) is in_window


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"discs": []}, "at least one disc"),
        ({"discs": [{"level": "L4/5", "grade": 6}]}, "does not exist on that scale"),
        ({"discs": [{"level": "L4/5", "grade": 3, "modic": 4}]}, "outside its scale"),
        ({"discs": [{"level": "L9/9", "grade": 3}]}, "not a valid choice"),
        ({"discs": [{"level": "L4/5"}]}, "null"),
        ({"discs": [{"level": "L4/5", "grade": 3}] * 2}, "L4/5 is read twice"),
        ({"discs": [{"level": "L4/5", "grade": 3, "mood": 1}]}, "has no mood"),
        ({"scale": "other"}, "not a valid choice"),
        ({"camera": "new"}, "has no camera"),
        ({"field_strength_tesla": "strong"}, "number"),
    ],
)
def test_a_reading_that_makes_no_sense_is_refused_whole(injected, change, words):
    event = mri(injected)
    studies = MriStudy.objects.count()
    readings = DiscReading.objects.count()
    given = {"acquired_on": event.due_on, "scale": "pfirrmann5", "discs": DISCS} | change

    with pytest.raises(StepRefused, match=words):
        imaging.read(event, by="reader", at=walk.at_noon(event.due_on), **given)

    assert (MriStudy.objects.count(), DiscReading.objects.count()) == (studies, readings)
    assert again(event).status == EventStatus.OPEN


def test_a_scan_is_read_after_it_was_made_and_made_after_the_injection(injected):
    event = mri(injected)
    given = {"scale": "pfirrmann5", "discs": DISCS, "by": "reader", "at": walk.at_noon(event.due_on)}

    with pytest.raises(StepRefused, match="has not come yet"):
        imaging.read(event, acquired_on=event.due_on + DAY, **given)
    with pytest.raises(StepRefused, match="before the injection"):
        imaging.read(event, acquired_on=injected.anchor_at.date() - DAY, **given)


def test_an_unbooked_mri_is_on_the_list_four_weeks_ahead(injected):
    event = mri(injected)

    def listed(day):
        return [row.code for row in imaging.unbooked(at=walk.at_noon(day))]

    assert listed(event.opens_on - 29 * DAY) == []
    assert listed(event.opens_on - 28 * DAY) == ["mri-month-6"]
    book(event)
    assert listed(event.opens_on) == []


def test_a_scan_that_was_made_waits_for_its_reading(injected):
    event = book(mri(injected))
    late = walk.at_noon(event.closes_on + 30 * DAY)
    during = event.appointment.during
    bookings.arrive(event.appointment, by="radiographer", at=during.lower)
    bookings.fulfil(event.appointment, by="radiographer", at=during.upper)

    events.miss_overdue(at=late)
    open_still = again(event).status
    imaging.read(event, acquired_on=during.lower.date(), scale="pfirrmann5", discs=DISCS, by="reader", at=late)

    assert open_still == EventStatus.OPEN
    assert imaging.in_window(again(event)) is True


def test_an_mri_that_was_never_booked_is_missed(injected):
    event = mri(injected)

    events.miss_overdue(at=walk.at_noon(event.closes_on + DAY))

    assert again(event).status == EventStatus.MISSED
