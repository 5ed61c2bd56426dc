"""The follow-up MRI: booked inside its window, noticed when it falls out of it, and read disc by disc."""

from datetime import timedelta

import pytest

from clinic.status import StepRefused
from followup import events, imaging, orders
from followup.demo import walk
from followup.models import FollowUpEvent, MriOrder
from followup.states import EventStatus
from scheduling import bookings, studies
from scheduling.models import DiscReading, Episode, MriStudy, Resource
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


# Ordered


def status_of(event):
    return [order.status for order in MriOrder.objects.filter(event=event).order_by("ordered_at", "status")]


def told(event):
    return imaging.scans().get(pk=event.pk)


def make(event):
    """The scan takes place as it was booked."""
    appointment = bookings.arrive(event.appointment, by="radiographer", at=event.appointment.during.lower)
    return bookings.fulfil(appointment, by="radiographer", at=appointment.during.upper)


def receive(event, **study):
    on = event.appointment.during.lower if event.appointment else walk.at_noon(event.due_on)
    at = on + timedelta(hours=3)
    return imaging.receive(event, acquired_on=on.date(), by="radiographer", at=at, **study)


def test_an_order_is_booked_with_the_appointment_and_done_with_the_study(injected):
    event = mri(injected)

    order = orders.place(event, sequences=["sagittal-t2", "t2-map"], by="dr", at=injected.anchor_at)
    ordered = status_of(event)
    event = book(event)
    booked = status_of(event)
    make(event)
    made = status_of(event)
    receive(again(event))

    assert (ordered, booked, made, status_of(event)) == (["ordered"], ["booked"], ["booked"], ["done"])
    assert (order.said, order.ordered_by) == ("Sagittal T2, T2 map", "dr")


def test_what_nobody_ordered_is_ordered_with_the_booking_as_at_baseline(injected):
    event = book(mri(injected))

    order = MriOrder.objects.get(event=event)

    assert (order.status, order.ordered_by, order.said) == ("booked", "coordinator", "Sagittal T2, Sagittal T1")


def test_one_order_stands_for_one_mri(injected, at):
    event = mri(injected)
    orders.place(event, by="dr", at=at)

    with pytest.raises(StepRefused, match="ordered already, by dr"):
        orders.place(event, by="another", at=at)
    with pytest.raises(StepRefused, match="is not an MRI"):
        orders.place(FollowUpEvent.objects.get(episode=injected, code="week-4"), by="dr", at=at)
    with pytest.raises(StepRefused, match="Not a sequence"):
        orders.place(mri(injected, "mri-month-12"), sequences=["colour"], by="dr", at=at)


def test_what_was_taken_back_is_not_booked_until_it_is_ordered_again(injected, at):
    event = mri(injected)
    order = orders.place(event, by="dr", at=at)

    with pytest.raises(StepRefused, match="Say why"):
        orders.cancel(order, reason=" ", by="dr", at=at)
    orders.cancel(order, reason="Has a pacemaker now", by="dr", at=at)

    with pytest.raises(StepRefused, match="Order it again"):
        book(event)
    assert again(event).appointment is None
    orders.place(event, by="dr", at=at)
    book(event)
    assert sorted(status_of(event)) == ["booked", "cancelled"]


def test_a_booked_order_is_not_taken_back_behind_the_patients_back(injected, at):
    event = book(mri(injected))

    with pytest.raises(StepRefused, match="Cancel its appointment first"):
        orders.cancel(MriOrder.objects.get(event=event), reason="Not wanted", by="dr", at=at)


def test_an_order_whose_day_fell_through_is_open_again_and_one_not_due_is_cancelled(injected, at):
    event = book(mri(injected))
    later = walk.at_noon(event.opens_on - 19 * DAY)
    untouched = orders.settle(at=later)
    bookings.cancel(event.appointment, reason="Ill", by="coordinator", at=later)

    settled = orders.settle(at=later)
    opened = status_of(event)
    events.waive(event, reason="Moved away", by="dr", at=later)
    orders.settle(at=later)

    assert (untouched, settled, opened, status_of(event)) == (0, 1, ["ordered"], ["cancelled"])
    assert orders.settle(at=later) == 0


# Received


def test_a_scan_is_done_only_when_its_study_has_come(injected):
    event = book(mri(injected))
    before = list(imaging.to_receive())
    make(event)
    waiting = [row.pk for row in imaging.to_receive()]
    still = again(event).status

    study = receive(again(event))

    assert (before, waiting, still) == ([], [event.pk], EventStatus.OPEN)
    assert (again(event).status, again(event).mri) == (EventStatus.DONE, study)
    assert list(imaging.to_receive()) == []
    assert list(studies.unread()) == [study]


def test_a_study_is_read_after_it_has_come(injected):
    event = mri(injected)
    study = receive(event, identifier="F-1", sequence="sagittal T2 and T1")

    studies.read(
        study,
        discs=[{"scale": "pfirrmann5", **disc} for disc in DISCS],
        read_by="Dr A",
        by="Dr A",
        at=injected.anchor_at,
    )

    assert (study.identifier, study.sequence) == ("F-1", "sagittal T2 and T1")
    assert list(studies.unread()) == []
    with pytest.raises(StepRefused, match="no MRI to receive"):
        receive(again(event))


def test_a_study_comes_from_the_scanner_that_was_booked(injected, site):
    event = book(mri(injected))

    study = receive(event)

    assert study.device == studies.scanners(site).get()


# On which scanner


def test_an_mri_on_the_scanner_of_the_baseline_needs_no_warning(injected):
    event = book(mri(injected))
    booked = imaging.scanner_warning(told(event))
    receive(event)

    assert (booked, imaging.scanner_warning(told(event))) == ("", "")


def test_another_scanner_than_at_baseline_is_a_warning_and_not_a_refusal(injected, site):
    Resource.objects.filter(site=site, kind="mri_scanner").update(active=False)
    Resource.objects.create(site=site, kind="mri_scanner", name="Scanner North")

    event = book(mri(injected))
    booked = imaging.scanner_warning(told(event))
    receive(event)

    plan = "The plan asks for the same scanner and sequence: T2 depends on both."
    first = "The baseline MRI was made on MRI scanner, this one"
    assert booked == f"{first} is booked on Scanner North. {plan}"
    assert imaging.scanner_warning(told(event)) == f"{first} was made on Scanner North. {plan}"


def test_a_scanner_elsewhere_is_compared_by_its_name(injected):
    event = mri(injected)
    receive(event, scanner="Harbour Imaging")
    warned = imaging.scanner_warning(told(event))
    MriStudy.objects.exclude(pk=again(event).mri_id).update(device=None, scanner="harbour imaging")

    assert "this one was made on Harbour Imaging." in warned
    assert imaging.scanner_warning(told(event)) == ""


def test_a_scanner_that_is_not_known_is_not_warned_about(injected):
    event = book(mri(injected))
    MriStudy.objects.update(device=None)

    assert imaging.scanner_warning(told(event)) == ""


# What became of the discs


def changes(event):
    return {change.level: (change.steps, change.why_not) for change in imaging.changes(told(event))}


def test_each_disc_is_compared_with_the_baseline_within_its_scale(injected):
    event = mri(injected)
    before = changes(event)
    discs = [
        {"level": "L3/4", "grade": 3},
        {"level": "L4/5", "grade": 5},
        {"level": "L5/S1", "grade": 3, "scale": "modified8"},
        {"level": "L1/2", "grade": 1},
    ]

    imaging.read(
        event, acquired_on=event.due_on, scale="pfirrmann5", discs=discs, by="Dr A", at=walk.at_noon(event.due_on)
    )

    assert before == {}
    assert list(changes(event)) == ["L1/2", "L3/4", "L4/5", "L5/S1"]
    assert changes(event) == {
        "L1/2": (None, "Not read at baseline."),
        "L3/4": (1, ""),
        "L4/5": (-1, ""),
        "L5/S1": (None, "Graded on two different scales."),
    }


def test_a_disc_in_which_the_readers_differ_has_no_change_until_they_agree(injected):
    event = mri(injected)
    study = imaging.read(
        event, acquired_on=event.due_on, scale="pfirrmann5", discs=DISCS, by="Dr A", at=walk.at_noon(event.due_on)
    )
    seen = {"by": "Dr B", "at": walk.at_noon(event.due_on)}
    other = {"level": "L4/5", "scale": "pfirrmann5", "grade": 5}
    studies.read(study, role="second", discs=[other], read_by="Dr B", **seen)
    apart = changes(event)["L4/5"]

    studies.read(study, role="consensus", discs=[other | {"grade": 4}], read_by="Dr A, Dr B", **seen)

    assert apart == (None, "The readers differ now; their consensus is missing.")
    assert changes(event)["L4/5"] == (0, "")
