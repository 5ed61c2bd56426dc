from dataclasses import replace
from datetime import date, time, timedelta

import pytest

from clinic import patients
from clinic.clock import at_local, local_date
from clinic.models import StatusChange
from clinic.status import Stale, StepRefused
from followup.demo import walk
from scheduling import bookings, diary, evaluations, preparation, slots
from scheduling.models import (
    Appointment,
    AppointmentStep,
    Episode,
    OpeningHours,
    Protocol,
    Reservation,
    Resource,
    StepNeed,
)
from scheduling.models.evaluation import Outcome
from scheduling.models.product import Tissue
from scheduling.models.protocol import ResourceKind, StepCode, Visit
from scheduling.states import AppointmentStatus, EpisodeStatus, HarvestStatus, VerdictStatus

BY = walk.BY
P = Visit.PROCEDURE
MONDAY = date(2026, 5, 11)
REASON = "The patient asked"
# Begin, lock_timeout and end (3); the protocol (2); two locks; lapsed holds and who is in the way (2); what else must
# hold, holidays among it (5); what is written, with a savepoint for the constraint (6).
BOOKING_QUERIES = 20


@pytest.fixture
def episode(patient, at):
    return walk.open_episode(patient, at=at)


@pytest.fixture
def booked(episode, at):
    return walk.book(episode, at=at)


@pytest.fixture
def expanded(patient, at):
    return walk.open_episode(patient, at=at, code="bone-marrow-expanded")


def options(episode, at, *, visit=P, earliest=MONDAY, **given):
    return bookings.find(episode, visit=visit, earliest=earliest, at=at, **given).options


def why_not(episode, at, *, visit=P, earliest=MONDAY, **given):
    found = bookings.find(episode, visit=visit, earliest=earliest, at=at, **given)
    assert found.options == ()
    return found.shortage.sentence


def shifted(option, by):
    return slots.Option(tuple(replace(step, start=step.start + by, end=step.end + by) for step in option.steps))


def changed(option, place, **given):
    """The option with one step altered."""
    steps = list(option.steps)
    steps[place] = replace(steps[place], **given)
    return slots.Option(tuple(steps))


def anchor(episode):
    return Episode.objects.get(pk=episode.pk).anchor_at


def everything(appointment):
    """All that a visit consists of, to compare before and after."""
    return (
        Appointment.objects.filter(pk=appointment.pk).values().get(),
        list(AppointmentStep.objects.filter(appointment=appointment).order_by("order").values()),
        list(Reservation.objects.filter(step__appointment=appointment).order_by("pk").values()),
        list(appointment.units.order_by("pk").values()),
        list(StatusChange.objects.order_by("pk").values()),
    )


def live(appointment):
    return Reservation.objects.filter(step__appointment=appointment, live=True)


# The treatment


def test_a_treatment_is_planned_under_a_signed_verdict(patient, at):
    verdict = walk.sign(patient, at=at)

    episode = bookings.open_episode(verdict, by=BY, at=at)

    assert (episode.status, episode.target_levels, episode.anchor_at) == (EpisodeStatus.PLANNED, [walk.LEVEL], None)


def test_an_unsigned_verdict_allows_nothing(patient, at):
    evaluation = walk.evaluate(walk.refer(patient, at=at), at=at)
    verdict = evaluations.judge(evaluation, protocol=walk.protocol(), by=BY, at=at)

    with pytest.raises(StepRefused, match="is not signed"):
        bookings.open_episode(verdict, by=BY, at=at)


def test_a_patient_found_not_eligible_gets_no_treatment(patient, at):
    verdict = walk.sign(patient, at=at, active_infection=True)

    with pytest.raises(StepRefused, match="The signed verdict says: Not eligible"):
        bookings.open_episode(verdict, by=BY, at=at)


def test_what_a_clinician_signed_counts_and_not_what_the_criteria_said(patient, at):
    evaluation = walk.evaluate(walk.refer(patient, at=at), at=at, odi_pct=20)
    verdict = evaluations.judge(evaluation, protocol=walk.protocol(), by=BY, at=at)
    verdict = evaluations.override(verdict, outcome=Outcome.ELIGIBLE, reason="Agreed in conference", by="dr", at=at)

    assert bookings.open_episode(verdict, by=BY, at=at).status == EpisodeStatus.PLANNED


def test_one_verdict_allows_one_treatment(episode, at):
    with pytest.raises(StepRefused, match="planned under this verdict already"):
        bookings.open_episode(episode.verdict, by=BY, at=at)


def test_an_old_verdict_starts_nothing(patient, at):
    verdict = walk.sign(patient, at=at)

    with pytest.raises(StepRefused, match="too old"):
        bookings.open_episode(verdict, by=BY, at=at + timedelta(days=46))


def test_more_discs_than_the_protocol_treats_are_refused(patient, at):
    verdict = walk.sign(patient, at=at, code="disc-progenitor-allogeneic", target_levels=["L4/5", "L5/S1"])

    with pytest.raises(StepRefused, match="treats 1 to 1 disc levels; the evaluation names 2"):
        bookings.open_episode(verdict, by=BY, at=at)


def test_a_retired_protocol_starts_nothing_new(patient, at):
    verdict = walk.sign(patient, at=at)
    Protocol.objects.update(active=False)
    verdict.refresh_from_db()

    with pytest.raises(StepRefused, match="is no longer used"):
        bookings.open_episode(verdict, by=BY, at=at)


# Finding a time


def test_the_first_time_found_is_the_first_there_is(site, episode, at):
    first = options(episode, at)[0]

    assert first.start == at_local(MONDAY, time(8), site.zone)
    assert [(step.code, (step.end - step.start).seconds // 60) for step in first.steps] == [
        ("check_in", 30),
        ("harvest", 30),
        ("processing", 30),
        ("injection", 60),
        ("recovery", 60),
    ]


def test_options_are_spread_over_days_and_start_on_the_quarter_hour(site, episode, at):
    found = options(episode, at, limit=7)

    days = [local_date(option.start, site.zone) for option in found]
    assert days == [MONDAY] * 3 + [date(2026, 5, 12)] * 3 + [date(2026, 5, 13)]
    assert {option.start.minute % 15 for option in found} == {0}


def test_two_discs_lengthen_the_injection(patient, at):
    verdict = walk.sign(patient, at=at, target_levels=["L4/5", "L5/S1"])
    episode = bookings.open_episode(verdict, by=BY, at=at)

    injection = options(episode, at)[0].steps[3]

    assert injection.end - injection.start == timedelta(minutes=75)


def test_nothing_is_offered_that_has_begun(site, episode, at):
    just_after_ten = at_local(MONDAY, time(10, 1), site.zone)

    first = options(episode, just_after_ten)[0]

    assert first.start == at_local(MONDAY, time(10, 15), site.zone)


def test_only_the_weekdays_asked_for_are_offered(site, episode, at):
    found = options(episode, at, weekdays={2, 4}, limit=7)

    assert [local_date(option.start, site.zone).weekday() for option in found] == [2, 2, 2, 4, 4, 4, 2]


def test_offers_end_with_the_verdict(site, episode, at):
    found = options(episode, at, limit=1000, per_day=1)

    assert local_date(found[-1].start, site.zone) == episode.verdict.expires_on(site.zone) == date(2026, 6, 18)


def test_a_search_after_the_verdict_says_that_it_has_ended(episode, at):
    assert why_not(episode, at, earliest=date(2026, 6, 19)) == (
        "The signed verdict allows a procedure until Thu 18 Jun 2026. A later day needs a new evaluation."
    )


def test_a_search_that_ends_before_it_begins_says_so(episode, at):
    assert why_not(episode, at, latest=date(2026, 5, 1)) == (
        "The search would end on Fri 1 May 2026, before it begins on Mon 11 May 2026."
    )


@pytest.mark.parametrize("earliest", [date.max, date(2027, 5, 5)])
def test_a_search_beyond_a_year_says_so(episode, at, earliest):
    assert why_not(episode, at, visit=Visit.MRI, earliest=earliest) == "Nothing is booked more than a year ahead."


def test_a_search_from_long_ago_starts_today(site, episode, at):
    first = options(episode, at, earliest=date.min, latest=MONDAY)[0]

    assert first.start == at_local(at.date(), time(9, 15), site.zone)


def test_a_shortage_names_the_bottleneck_who_has_it_and_the_first_day_without_it(site, episode, at):
    Resource.objects.filter(site=site, name="C-arm 2").update(active=False)
    walk.book(walk.open_episode(walk.register(site, at=at, mrn="MRN-2"), at=at), at=at)
    OpeningHours.objects.filter(site=site).update(closes=time(11, 30))  # room for one day, and no later

    found = bookings.find(episode, visit=P, earliest=MONDAY, latest=MONDAY, at=at)

    assert found.options == ()
    assert found.shortage.sentence == (
        "There is no time from Mon 11 May 2026 to Mon 11 May 2026: the C-arm is the bottleneck. "
        "With one more free, the first day would be Mon 11 May 2026."
    )
    assert found.shortage.blocking == ("C-arm 1: a procedure day, Mon 11 May 2026, 09:30-10:30 (Chicago)",)


def test_a_patient_who_is_here_already_that_day_is_told_so(site, episode, booked, at):
    OpeningHours.objects.filter(site=site).update(closes=time(11, 30))

    found = bookings.find(episode, visit=Visit.MRI, earliest=MONDAY, latest=MONDAY, at=at)

    assert found.shortage.sentence == (
        "There is no time from Mon 11 May 2026 to Mon 11 May 2026: the patient has another visit in the way. "
        "Without it the first day would be Mon 11 May 2026."
    )
    assert found.shortage.blocking == ()


def test_a_clinic_without_the_device_is_told_so(site, episode, at):
    Resource.objects.filter(site=site, kind=ResourceKind.C_ARM).update(active=False)

    assert why_not(episode, at) == "Injection needs 1 C-arm; the clinic has none."


def test_a_closed_week_offers_later_days(site, episode, at):
    OpeningHours.objects.filter(site=site).delete()

    assert why_not(episode, at).endswith("or the clinic is closed. Look at later days.")


def test_searching_writes_nothing(episode, at):
    options(episode, at)

    assert not Resource.objects.filter(patient=episode.patient).exists()


def test_a_search_asks_the_database_the_same_few_questions_whatever_is_booked(
    site, episode, at, django_assert_num_queries
):
    episode = Episode.objects.select_related("patient__site", "protocol__product", "verdict__criteria").get()
    with django_assert_num_queries(8):
        options(episode, at)
    for mrn in ("MRN-2", "MRN-3"):
        walk.book(walk.open_episode(walk.register(site, at=at, mrn=mrn), at=at), at=at)

    with django_assert_num_queries(8):
        options(episode, at)


# Holding and booking


def test_booking_reserves_every_room_and_person_and_the_patient(booked):
    taken = set(live(booked).values_list("step__code", "resource__kind", "kind"))

    assert {(kind, what) for code, kind, what in taken if code == StepCode.INJECTION} == {
        (ResourceKind.PATIENT, "step"),
        (ResourceKind.FLUOROSCOPY_SUITE, "step"),
        (ResourceKind.FLUOROSCOPY_SUITE, "turnover"),
        (ResourceKind.C_ARM, "step"),
        (ResourceKind.INTERVENTIONALIST, "step"),
        (ResourceKind.RADIOGRAPHER, "step"),
        (ResourceKind.NURSE, "step"),
    }
    assert {code for code, kind, _ in taken if kind == ResourceKind.PATIENT} == {
        "check_in",
        "harvest",
        "processing",
        "injection",
        "recovery",
    }


def test_booking_the_procedure_sets_the_anchor_to_the_start_of_the_injection(episode, booked):
    assert anchor(episode) == booked.steps.get(code=StepCode.INJECTION).during.lower


def test_a_hold_sets_no_anchor_until_it_is_booked(episode, at):
    held = bookings.hold(episode, visit=P, option=options(episode, at)[0], by=BY, at=at)
    assert (held.status, held.held_until, anchor(episode)) == (
        AppointmentStatus.HELD,
        at + timedelta(minutes=15),
        None,
    )

    booked = bookings.book(held, by=BY, at=at + timedelta(minutes=14))

    assert booked.status == AppointmentStatus.BOOKED
    assert anchor(episode) == booked.steps.get(code=StepCode.INJECTION).during.lower


def test_a_hold_that_ran_out_cannot_be_booked(episode, at):
    held = bookings.hold(episode, visit=P, option=options(episode, at)[0], by=BY, at=at)

    with pytest.raises(StepRefused, match=r"kept until Mon 4 May 2026, 09:15 \(Chicago\)"):
        bookings.book(held, by=BY, at=held.held_until)


def test_a_lapsed_hold_gives_way_to_the_next_patient(site, episode, at):
    option = options(episode, at)[0]
    held = bookings.hold(episode, visit=P, option=option, by=BY, at=at)
    other = walk.open_episode(walk.register(site, at=at, mrn="MRN-2"), at=at)
    later = at + timedelta(minutes=15)

    bookings.book_at(other, visit=P, option=options(other, later)[0], by=BY, at=later)

    held.refresh_from_db()
    assert held.status == AppointmentStatus.CANCELLED
    assert not live(held).exists()


def test_who_let_a_hold_lapse_may_take_another_time(episode, at):
    found = options(episode, at)
    held = bookings.hold(episode, visit=P, option=found[0], by=BY, at=at)
    later = held.held_until

    booked = bookings.book_at(episode, visit=P, option=found[5], by=BY, at=later)

    held.refresh_from_db()
    assert (held.status, booked.status) == (AppointmentStatus.CANCELLED, AppointmentStatus.BOOKED)


def test_a_booking_asks_the_database_the_same_questions_whatever_else_is_booked(
    site, episode, at, django_assert_num_queries
):
    walk.book(walk.open_episode(walk.register(site, at=at, mrn="MRN-2"), at=at), at=at)
    with diary.one_commit():
        diary.lock_with(episode.patient, [])  # made once, with the first booking of a patient
    related = ("patient__site", "protocol__product")
    episode = Episode.objects.select_related(*related).get(pk=episode.pk)
    option = options(episode, at)[0]

    with django_assert_num_queries(BOOKING_QUERIES):
        bookings.book_at(episode, visit=P, option=option, by=BY, at=at)


def test_a_live_hold_does_not_give_way(site, episode, at):
    option = options(episode, at)[0]
    bookings.hold(episode, visit=P, option=option, by=BY, at=at)
    other = walk.open_episode(walk.register(site, at=at, mrn="MRN-2"), at=at)

    with pytest.raises(diary.TimeTaken, match="a procedure day, held for a few minutes"):
        bookings.book_at(other, visit=P, option=option, by=BY, at=at + timedelta(minutes=14))


def test_the_sweep_tidies_up_lapsed_holds_once(episode, at):
    held = bookings.hold(episode, visit=P, option=options(episode, at)[0], by=BY, at=at)

    swept = [bookings.lapse_holds(at=held.held_until + timedelta(seconds=n)) for n in (-1, 0, 1)]

    assert swept == [0, 1, 0]


def test_a_treatment_has_one_procedure_day(episode, booked, at):
    assert why_not(episode, at) == ("This treatment has its Procedure day on Mon 11 May 2026 already. Move that one.")


def test_a_patient_cannot_be_in_two_places(site, patient, booked, at):
    start = booked.during.lower

    found = options(booked.episode, at, visit=Visit.MRI, latest=MONDAY, limit=1)[0]

    assert found.start >= booked.during.upper
    early = slots.Option((replace(found.steps[0], start=start, end=start + timedelta(minutes=45)),))
    with pytest.raises(diary.TimeTaken, match="The patient is taken on Mon 11 May 2026, 08:00-08:30"):
        bookings.book_at(booked.episode, visit=Visit.MRI, option=early, by=BY, at=at)


def test_nobody_books_for_the_dead(episode, at):
    option = options(episode, at)[0]
    patients.mark_deceased(episode.patient, on=at.date(), by=BY, at=at)
    episode = Episode.objects.get(pk=episode.pk)

    assert why_not(episode, at) == "The patient has died. Nothing can be booked."
    with pytest.raises(StepRefused, match="The patient has died"):
        bookings.book_at(episode, visit=P, option=option, by=BY, at=at)


def test_a_verdict_that_stopped_to_hold_stops_the_booking(episode, at):
    option = options(episode, at)[0]
    type(episode.verdict).objects.update(status=VerdictStatus.WITHDRAWN)

    with pytest.raises(StepRefused, match="is not signed"):
        bookings.book_at(episode, visit=P, option=option, by=BY, at=at)


def test_a_regulatory_basis_that_ends_bounds_the_search(site, episode, at):
    product = episode.protocol.product
    product.regulatory_expires_on = date(2026, 5, 13)
    product.save()

    found = options(episode, at, limit=100, per_day=1)

    assert [local_date(option.start, site.zone).day for option in found] == [11, 12, 13]


# A proposal is not believed


def forgeries():
    minute = timedelta(minutes=1)
    return {
        "no steps": (lambda o: slots.Option(()), "its steps are not the protocol's"),
        "a step left out": (lambda o: slots.Option(o.steps[:-1]), "its steps are not the protocol's"),
        "another order": (lambda o: slots.Option(o.steps[::-1]), "its steps are not the protocol's"),
        "a shorter injection": (
            lambda o: changed(o, 3, end=o.steps[3].end - 5 * minute),
            "Injection must last 60 minutes",
        ),
        "a longer gap": (
            lambda o: changed(o, 4, start=o.steps[4].start + 35 * minute, end=o.steps[4].end + 35 * minute),
            "Recovery must begin 0 to 30 minutes after the step before it",
        ),
        "overlapping steps": (
            lambda o: changed(o, 4, start=o.steps[4].start - 5 * minute, end=o.steps[4].end - 5 * minute),
            "Recovery must begin 0 to 30 minutes after the step before it",
        ),
        "an odd minute": (lambda o: shifted(o, minute), "Check-in does not start on a five-minute mark"),
        "the end of time": (lambda o: shifted(o, timedelta(days=365 * 7900)), "nobody comes in such a year"),
        "a time without a zone": (
            lambda o: changed(o, 0, start=o.start.replace(tzinfo=None)),
            "Check-in has a time without a time zone",
        ),
        "nobody for a need": (
            lambda o: changed(o, 3, units=(*o.steps[3].units[:-1], ())),
            "Injection needs 1 Nurse",
        ),
        "a need left out": (
            lambda o: changed(o, 3, units=o.steps[3].units[:-1]),
            "Injection does not have all it needs",
        ),
        "a thing that is not there": (
            lambda o: changed(o, 3, units=(*o.steps[3].units[:-1], ("999999999",))),
            "Injection names something that this clinic cannot book",
        ),
        "no number": (
            lambda o: changed(o, 3, units=(*o.steps[3].units[:-1], ("1 OR 1=1",))),
            "it names something that is not a resource of this clinic",
        ),
        "a number too large": (
            lambda o: changed(o, 3, units=(*o.steps[3].units[:-1], ("9" * 30,))),
            "it names something that is not a resource of this clinic",
        ),
        "a bay for a nurse": (
            lambda o: changed(o, 3, units=(*o.steps[3].units[:-1], o.steps[4].units[1])),
            "cannot do that part of Injection",
        ),
    }


@pytest.mark.parametrize("kind", forgeries())
def test_a_forged_proposal_is_refused(episode, at, kind):
    forge, why = forgeries()[kind]
    forged = forge(options(episode, at)[0])

    with pytest.raises(StepRefused, match=why):
        bookings.book_at(episode, visit=P, option=forged, by=BY, at=at)
    assert not Appointment.objects.exists()


def test_whoever_may_not_inject_does_not_inject(site, episode, at):
    Resource.objects.filter(site=site, name="Dr Jonas Lindqvist").update(capabilities=["harvest"])
    option = options(episode, at)[0]
    lindqvist = str(Resource.objects.get(site=site, name="Dr Jonas Lindqvist").pk)
    units = list(option.steps[3].units)
    units[3] = (lindqvist,)

    with pytest.raises(StepRefused, match="Dr Jonas Lindqvist cannot do that part of Injection"):
        bookings.book_at(episode, visit=P, option=changed(option, 3, units=tuple(units)), by=BY, at=at)


def test_one_person_harvests_and_injects(site, episode, at):
    option = options(episode, at)[0]
    other = Resource.objects.filter(site=site, kind=ResourceKind.INTERVENTIONALIST).exclude(
        pk=int(option.steps[3].units[3][0])
    )
    units = list(option.steps[3].units)
    units[3] = (str(other.get().pk),)

    with pytest.raises(StepRefused, match="the interventionalist must be the same throughout"):
        bookings.book_at(episode, visit=P, option=changed(option, 3, units=tuple(units)), by=BY, at=at)


def test_another_sites_room_cannot_be_taken(site, other_site, episode, at):
    option = options(episode, at)[0]
    theirs = str(Resource.objects.get(site=other_site, name="C-arm 1").pk)
    units = list(option.steps[3].units)
    units[2] = (theirs,)

    with pytest.raises(StepRefused, match="names something that this clinic cannot book"):
        bookings.book_at(episode, visit=P, option=changed(option, 3, units=tuple(units)), by=BY, at=at)


def test_the_past_cannot_be_booked(episode, at):
    option = options(episode, at)[0]

    with pytest.raises(StepRefused, match="That time has passed"):
        bookings.book_at(episode, visit=P, option=option, by=BY, at=option.start)


def test_nothing_is_booked_more_than_a_year_ahead(site, episode, at):
    option = options(episode, at, visit=Visit.MRI)[0]
    far = shifted(option, timedelta(weeks=53))

    with pytest.raises(StepRefused, match="more than a year ahead"):
        bookings.book_at(episode, visit=Visit.MRI, option=far, by=BY, at=at)


def test_a_day_after_the_verdict_cannot_be_booked(episode, at):
    late = shifted(options(episode, at)[0], timedelta(weeks=6))

    with pytest.raises(StepRefused, match="allows a procedure until Thu 18 Jun 2026"):
        bookings.book_at(episode, visit=P, option=late, by=BY, at=at)


# The day itself


def test_a_booked_patient_confirms_and_arrives(booked, at):
    confirmed = bookings.confirm(booked, by=BY, at=at)
    arrived = bookings.arrive(confirmed, by=BY, at=booked.during.lower)

    moves = StatusChange.objects.filter(subject="scheduling.Appointment", subject_id=str(booked.pk)).order_by("pk")
    assert arrived.status == AppointmentStatus.ARRIVED
    assert list(moves.values_list("was", "became")) == [
        ("", "booked"),
        ("booked", "confirmed"),
        ("confirmed", "arrived"),
    ]


def test_nobody_arrives_the_day_before(booked):
    with pytest.raises(StepRefused, match="The visit is on Mon 11 May 2026, 08:00"):
        bookings.arrive(booked, by=BY, at=booked.during.lower - timedelta(days=1))


def test_a_procedure_day_is_completed_by_its_injection_only(booked):
    arrived = bookings.arrive(booked, by=BY, at=booked.during.lower)

    with pytest.raises(StepRefused, match="Record the injection"):
        bookings.fulfil(arrived, by=BY, at=booked.during.upper)


def test_an_mri_is_booked_made_and_done(episode, at):
    mri = walk.book(episode, at=at, visit=Visit.MRI)
    bookings.arrive(mri, by=BY, at=mri.during.lower)

    assert bookings.fulfil(mri, by=BY, at=mri.during.upper).status == AppointmentStatus.FULFILLED


# Moving


def test_a_moved_day_keeps_its_steps_and_tells_what_changed(site, episode, booked, at):
    before = list(booked.steps.order_by("order").values_list("pk", flat=True))
    new = options(episode, at, earliest=date(2026, 5, 14), ignore=booked)[0]

    moved = bookings.move(booked, option=new, reason=REASON, by=BY, at=at)

    steps = list(moved.steps.order_by("order"))
    assert [step.pk for step in steps] == before
    assert [(step.during.lower, step.during.upper) for step in steps] == [(s.start, s.end) for s in new.steps]
    assert [step.sequence for step in steps] == [1] * 5
    assert (moved.pk, moved.version, moved.changed_at) == (booked.pk, 2, at)
    assert anchor(episode) == new.steps[3].start
    assert StatusChange.objects.filter(subject_id=str(booked.pk)).latest("pk").reason == (
        "From Mon 11 May 2026, 08:00 (Chicago) to Thu 14 May 2026, 08:00 (Chicago). The patient asked"
    )


def test_a_confirmed_day_that_moves_must_be_confirmed_again(episode, booked, at):
    confirmed = bookings.confirm(booked, by=BY, at=at)
    earliest = at.date() + timedelta(days=12)
    later = bookings.find(episode, visit=Visit.PROCEDURE, earliest=earliest, at=at, limit=1, ignore=confirmed)

    moved = bookings.move(confirmed, option=later.options[0], reason="The patient asked", by=BY, at=at)

    assert moved.status == "booked"
    assert bookings.confirm(moved, by=BY, at=at).status == "confirmed"


def test_a_moved_day_frees_the_time_it_had(site, episode, booked, at):
    new = options(episode, at, earliest=date(2026, 5, 14), ignore=booked)[0]
    moved = bookings.move(booked, option=new, reason=REASON, by=BY, at=at)

    days = {row.during.lower.date() for row in live(moved)}
    other = walk.open_episode(walk.register(site, at=at, mrn="MRN-2"), at=at)

    assert days == {date(2026, 5, 14)}
    assert walk.book(other, at=at).during.lower == booked.during.lower


def test_a_day_can_move_by_a_quarter_of_an_hour_over_itself(episode, booked, at):
    later = shifted(options(episode, at, ignore=booked)[0], timedelta(minutes=15))

    moved = bookings.move(booked, option=later, reason=REASON, by=BY, at=at)

    assert moved.during.lower == booked.during.lower + timedelta(minutes=15)


def test_another_nurse_at_the_same_time_is_no_news_for_the_patient(site, episode, booked, at):
    same = options(episode, at, ignore=booked)[0]
    planned = int(same.steps[4].units[2][0])
    other = Resource.objects.filter(site=site, kind=ResourceKind.NURSE).exclude(pk=planned).last()
    swapped = changed(same, 4, units=(*same.steps[4].units[:2], (str(other.pk),)))

    moved = bookings.move(booked, option=swapped, reason="She is on leave", by=BY, at=at)

    assert moved.version == 1
    assert set(moved.steps.values_list("sequence", flat=True)) == {0}
    assert live(moved).get(step__code="recovery", resource__kind=ResourceKind.NURSE).resource == other
    assert StatusChange.objects.latest("pk").reason == "Same time, other resources. She is on leave"


def test_a_move_that_fails_changes_nothing(site, episode, booked, at):
    other = walk.open_episode(walk.register(site, at=at, mrn="MRN-2"), at=at)
    theirs = options(other, at, earliest=date(2026, 5, 14))[0]
    bookings.book_at(other, visit=P, option=theirs, by=BY, at=at)
    before = everything(booked)

    with pytest.raises(diary.TimeTaken):
        bookings.move(booked, option=theirs, reason=REASON, by=BY, at=at)

    assert everything(booked) == before


def test_a_move_needs_a_reason(episode, booked, at):
    with pytest.raises(StepRefused, match="Say why"):
        bookings.move(booked, option=options(episode, at, ignore=booked)[1], reason=" ", by=BY, at=at)


def test_a_patient_who_is_here_is_not_moved(episode, booked, at):
    arrived = bookings.arrive(booked, by=BY, at=booked.during.lower)

    with pytest.raises(StepRefused, match="can no longer be moved"):
        bookings.move(arrived, option=options(episode, at, ignore=booked)[1], reason=REASON, by=BY, at=at)


def test_a_lapsed_hold_is_not_moved(episode, at):
    found = options(episode, at)
    held = bookings.hold(episode, visit=P, option=found[0], by=BY, at=at)

    with pytest.raises(StepRefused, match="The time was kept until"):
        bookings.move(held, option=found[1], reason=REASON, by=BY, at=held.held_until)


# Swapping


def who(appointment, code, kind):
    """Whoever of this kind has the step now."""
    return live(appointment).get(step__code=code, resource__kind=kind, kind="step").resource


def another(resource):
    """One more of its kind at the same site, free."""
    return Resource.objects.create(
        site=resource.site, kind=resource.kind, name="Somebody else", capabilities=resource.capabilities
    )


def test_a_nurse_who_is_sick_is_replaced_and_the_time_stays(episode, booked, at):
    sick = who(booked, "recovery", ResourceKind.NURSE)
    steps = list(booked.steps.order_by("order").values("pk", "during"))
    parts = set(live(booked).filter(resource=sick).values_list("step__code", "during", "kind"))
    healthy = another(sick)

    swapped = bookings.swap(booked, out=sick, into=healthy, reason="She is sick", by=BY, at=at)

    assert set(live(booked).filter(resource=healthy).values_list("step__code", "during", "kind")) == parts
    assert not live(booked).filter(resource=sick).exists()
    assert list(swapped.steps.order_by("order").values("pk", "during")) == steps
    assert (swapped.during, swapped.version, swapped.revision) == (booked.during, 1, booked.revision + 1)
    assert anchor(episode) == swapped.steps.get(code=StepCode.INJECTION).during.lower


def test_the_trail_of_a_swap_names_both_and_says_why(booked, at):
    c_arm = Resource.objects.get(pk=who(booked, "injection", ResourceKind.C_ARM).pk)
    other = Resource.objects.exclude(pk=c_arm.pk).get(site=c_arm.site, kind=ResourceKind.C_ARM)

    bookings.swap(booked, out=c_arm, into=other, reason="Under repair", by=BY, at=at)

    change = StatusChange.objects.latest("pk")
    assert (change.subject_id, change.by, change.was, change.became) == (str(booked.pk), BY, "booked", "booked")
    assert change.reason == f"Same time, {other} instead of {c_arm}. Under repair"


def test_the_calendars_of_both_take_note_of_a_swap_and_the_others_do_not(booked, at):
    c_arm = who(booked, "injection", ResourceKind.C_ARM)

    bookings.swap(booked, out=c_arm, into=another(c_arm), reason=REASON, by=BY, at=at)

    assert dict(booked.steps.values_list("code", "sequence")) == {
        "check_in": 0,
        "harvest": 0,
        "processing": 0,
        "injection": 1,
        "recovery": 0,
    }


def test_a_room_takes_its_turnover_with_it(booked, at):
    suite = who(booked, "injection", ResourceKind.FLUOROSCOPY_SUITE)
    times = set(live(booked).filter(resource=suite).values_list("kind", "during"))
    other = another(suite)

    bookings.swap(booked, out=suite, into=other, reason=REASON, by=BY, at=at)

    assert {kind for kind, _ in times} == {"step", "turnover"}
    assert set(live(booked).filter(resource=other).values_list("kind", "during")) == times


def test_a_room_takes_the_time_that_makes_it_ready_with_it(episode, at):
    needs = StepNeed.objects.filter(step__code=StepCode.INJECTION, kind=ResourceKind.FLUOROSCOPY_SUITE)
    needs.update(setup_minutes=10, turnover_minutes=15)
    booked = walk.book(episode, at=at)
    suite = who(booked, "injection", ResourceKind.FLUOROSCOPY_SUITE)
    times = set(live(booked).filter(resource=suite).values_list("kind", "during"))
    other = another(suite)

    bookings.swap(booked, out=suite, into=other, reason=REASON, by=BY, at=at)

    assert sorted(kind for kind, _ in times) == ["step", "turnover", "turnover"]
    assert set(live(booked).filter(resource=other).values_list("kind", "during")) == times


def test_who_is_taken_cannot_step_in_and_the_refusal_says_who_has_them(site, episode, booked, at):
    other = walk.book(walk.open_episode(walk.register(site, at=at, mrn="MRN-2"), at=at), at=at)
    mine, theirs = (who(day, "injection", ResourceKind.C_ARM) for day in (booked, other))
    before = everything(booked)

    with pytest.raises(diary.TimeTaken) as refused:
        bookings.swap(booked, out=mine, into=theirs, reason=REASON, by=BY, at=at)

    assert (refused.value.resource, refused.value.holder) == (theirs, "a procedure day")
    assert refused.value.during == other.steps.get(code=StepCode.INJECTION).during
    assert "Reyes" not in str(refused.value)
    assert everything(booked) == before


def test_a_lapsed_hold_gives_way_to_a_swap(site, episode, booked, at):
    other = walk.open_episode(walk.register(site, at=at, mrn="MRN-2"), at=at)
    held = bookings.hold(other, visit=P, option=options(other, at)[0], by=BY, at=at)
    mine, theirs = (who(day, "injection", ResourceKind.C_ARM) for day in (booked, held))

    bookings.swap(booked, out=mine, into=theirs, reason=REASON, by=BY, at=held.held_until)

    held.refresh_from_db()
    assert held.status == AppointmentStatus.CANCELLED
    assert who(booked, "injection", ResourceKind.C_ARM) == theirs


def test_only_what_can_do_the_same_steps_in(site, other_site, booked, at):
    doctor = who(booked, "injection", ResourceKind.INTERVENTIONALIST)
    room = Resource.objects.get(site=site, name="Recovery bay 4")
    idle = Resource.objects.create(site=site, kind=doctor.kind, name="Dr New", capabilities=[])
    gone = Resource.objects.create(site=site, kind=doctor.kind, name="Dr Gone", capabilities=["inject"], active=False)
    elsewhere = Resource.objects.filter(site=other_site, kind=doctor.kind).first()
    patient = Resource.objects.get(patient=booked.episode.patient)

    for out, into, why in [
        (doctor, room, "Recovery bay 4 cannot stand in for"),
        (doctor, idle, "Dr New cannot do the part of"),
        (doctor, gone, "Dr Gone cannot be booked at this clinic now"),
        (doctor, elsewhere, "cannot be booked at this clinic now"),
        (doctor, doctor, "Choose something else than"),
        (patient, doctor, "cannot stand in for"),
        (idle, doctor, "Dr New has no part in this visit"),
    ]:
        with pytest.raises(StepRefused, match=why):
            bookings.swap(booked, out=out, into=into, reason=REASON, by=BY, at=at)


def test_nobody_is_swapped_into_hours_they_do_not_work(site, booked, at):
    nurse = who(booked, "recovery", ResourceKind.NURSE)
    evening = another(nurse)
    OpeningHours.objects.create(site=site, resource=evening, weekday=0, opens=time(15), closes=time(17))

    with pytest.raises(StepRefused, match="is outside opening hours"):
        bookings.swap(booked, out=nurse, into=evening, reason=REASON, by=BY, at=at)


def test_on_the_day_itself_only_the_steps_to_come_are_swapped(booked):
    arrived = bookings.arrive(booked, by=BY, at=booked.during.lower)
    nurse = live(arrived).filter(step__code="check_in", resource__kind=ResourceKind.NURSE).first()
    nurse = nurse.resource if nurse else who(arrived, "harvest", ResourceKind.NURSE)
    begun = set(live(arrived).filter(resource=nurse, step__during__startswith__lte=booked.during.lower))
    doctor = who(arrived, "injection", ResourceKind.INTERVENTIONALIST)
    during_harvest = arrived.steps.get(code="harvest").during.lower
    other = another(doctor)

    bookings.swap(arrived, out=doctor, into=other, reason="Called away", by=BY, at=during_harvest)

    assert begun == set(live(arrived).filter(pk__in=[row.pk for row in begun]))
    assert who(arrived, "harvest", ResourceKind.INTERVENTIONALIST) == doctor
    assert who(arrived, "injection", ResourceKind.INTERVENTIONALIST) == other


def test_a_visit_that_is_over_is_not_swapped(booked, at):
    nurse = who(booked, "recovery", ResourceKind.NURSE)
    bookings.cancel(booked, reason=REASON, by=BY, at=at)

    with pytest.raises(StepRefused, match="nobody is swapped any more"):
        bookings.swap(booked, out=nurse, into=another(nurse), reason=REASON, by=BY, at=at)


# Who looked at an older state


def test_a_visit_that_changed_since_it_was_looked_at_is_left_alone(episode, booked, at):
    seen = {booked.revision}
    bookings.confirm(booked, by="somebody else", at=at)
    nurse = who(booked, "recovery", ResourceKind.NURSE)
    before = everything(booked)

    for change in (
        lambda: bookings.move(
            booked, option=options(episode, at, ignore=booked)[1], reason=REASON, seen=seen, by=BY, at=at
        ),
        lambda: bookings.swap(booked, out=nurse, into=nurse, reason=REASON, seen=seen, by=BY, at=at),
        lambda: bookings.cancel(booked, reason=REASON, seen=seen, by=BY, at=at),
    ):
        with pytest.raises(Stale, match="Somebody has changed this visit since you looked at it"):
            change()

    assert everything(booked) == before


def test_every_change_of_a_visit_counts(episode, at):
    held = bookings.hold(episode, visit=P, option=options(episode, at)[0], by=BY, at=at)
    booked = bookings.book(held, by=BY, at=at)
    confirmed = bookings.confirm(booked, by=BY, at=at)
    moved = bookings.move(confirmed, option=options(episode, at, ignore=booked)[1], reason=REASON, by=BY, at=at)
    cancelled = bookings.cancel(moved, reason=REASON, by=BY, at=at)

    seen = [row.revision for row in (held, booked, confirmed, moved, cancelled)]
    assert seen == sorted(set(seen))


def test_who_saw_the_present_state_may_change_it(booked, at):
    cancelled = bookings.cancel(booked, reason=REASON, seen={booked.revision}, by=BY, at=at)

    assert cancelled.status == AppointmentStatus.CANCELLED


# Giving up


def test_a_cancelled_booking_frees_the_room(site, episode, booked, at):
    cancelled = bookings.cancel(booked, reason=REASON, by=BY, at=at)

    assert (cancelled.status, cancelled.version, anchor(episode)) == (AppointmentStatus.CANCELLED, 2, None)
    assert not live(cancelled).exists()
    assert set(cancelled.steps.values_list("sequence", flat=True)) == {1}
    assert walk.book(episode, at=at).during == booked.during


def test_a_patient_who_did_not_come_frees_the_anchor(episode, booked):
    missed = bookings.no_show(booked, reason="Did not answer the phone", by=BY, at=booked.during.upper)

    assert (missed.status, anchor(episode)) == (AppointmentStatus.NOSHOW, None)
    assert not live(missed).exists()


def test_nobody_misses_a_visit_that_is_still_to_come(booked, at):
    with pytest.raises(StepRefused, match="Until then it can be moved or cancelled"):
        bookings.no_show(booked, reason=REASON, by=BY, at=at)


def test_a_cancelled_visit_cannot_be_cancelled_again(booked, at):
    bookings.cancel(booked, reason=REASON, by=BY, at=at)

    with pytest.raises(StepRefused, match="cannot become"):
        bookings.cancel(booked, reason=REASON, by=BY, at=at)


def test_harvested_cells_are_accounted_for_before_the_day_is_given_up(booked):
    arrived = bookings.arrive(booked, by=BY, at=booked.during.lower)
    harvest = preparation.record_harvest(
        arrived, tissue=Tissue.BONE_MARROW, kit="KIT-9", volume_ml=55, by=BY, at=booked.during.lower
    )
    with pytest.raises(StepRefused, match="Kit KIT-9 holds cells of this patient"):
        bookings.cancel(arrived, reason=REASON, by=BY, at=booked.during.upper)

    preparation.harvest_failed(harvest, reason="Clotted", by=BY, at=booked.during.upper)

    cancelled = bookings.cancel(arrived, reason=REASON, by=BY, at=booked.during.upper)
    assert cancelled.status == AppointmentStatus.CANCELLED


def test_a_treatment_given_up_takes_its_visits_with_it(expanded, at):
    harvest = walk.book(expanded, at=at, visit=Visit.HARVEST, days_ahead=1)
    procedure = walk.book(expanded, at=at, days_ahead=25)
    mri = walk.book(expanded, at=at, visit=Visit.MRI)

    episode = bookings.cancel_episode(expanded, reason=REASON, by=BY, at=at)

    states = Appointment.objects.filter(pk__in=[harvest.pk, procedure.pk, mri.pk]).values_list("status", flat=True)
    assert list(states) == [AppointmentStatus.CANCELLED] * 3
    assert (episode.status, anchor(episode)) == (EpisodeStatus.CANCELLED, None)
    assert not Reservation.objects.filter(live=True).exists()


def test_a_treatment_is_not_given_up_over_the_head_of_a_patient_who_is_here(booked):
    bookings.arrive(booked, by=BY, at=booked.during.lower)

    with pytest.raises(StepRefused, match="The patient is in the clinic"):
        bookings.cancel_episode(booked.episode, reason=REASON, by=BY, at=booked.during.lower)


def test_a_cancelled_treatment_books_nothing_more(episode, at):
    episode = bookings.cancel_episode(episode, reason=REASON, by=BY, at=at)

    assert why_not(episode, at) == "This treatment is no longer planned (Cancelled)."
    assert why_not(episode, at, visit=Visit.MRI) == ("This treatment is over (Cancelled). No MRI can be booked for it.")


# Cells that grow for weeks


def test_expanded_cells_are_harvested_before_they_are_injected(expanded, at):
    assert why_not(expanded, at) == ("Book the harvest day first: the injection comes after the cells have grown.")


def test_the_procedure_comes_three_to_six_weeks_after_the_harvest(site, expanded, at):
    harvest = walk.book(expanded, at=at, visit=Visit.HARVEST, days_ahead=1)

    found = options(expanded, at, limit=1000, per_day=1)

    assert local_date(harvest.during.lower, site.zone) == date(2026, 5, 5)
    assert local_date(found[0].start, site.zone) == date(2026, 5, 26)
    assert local_date(found[-1].start, site.zone) == date(2026, 6, 16)


def test_too_early_a_procedure_is_refused_with_the_days_that_work(expanded, at):
    walk.book(expanded, at=at, visit=Visit.HARVEST, days_ahead=1)
    early = shifted(options(expanded, at)[0], timedelta(days=-7))

    with pytest.raises(StepRefused) as refusal:
        bookings.book_at(expanded, visit=P, option=early, by=BY, at=at)

    assert str(refusal.value) == (
        "After the harvest on Tue 5 May 2026 the procedure day must be between Tue 26 May 2026 and Tue 16 Jun 2026."
    )


def test_a_harvest_leaves_time_for_the_procedure_within_the_verdict(site, expanded, at):
    found = options(expanded, at, visit=Visit.HARVEST, earliest=at.date(), limit=1000, per_day=1)

    assert local_date(found[-1].start, site.zone) == date(2026, 5, 28)


def test_a_harvest_does_not_move_away_from_its_procedure(expanded, at):
    harvest = walk.book(expanded, at=at, visit=Visit.HARVEST, days_ahead=1)
    walk.book(expanded, at=at, days_ahead=22)
    late = shifted(
        options(expanded, at, visit=Visit.HARVEST, earliest=at.date(), ignore=harvest)[0], timedelta(weeks=2)
    )

    with pytest.raises(StepRefused, match="For the procedure day on Tue 26 May 2026 the harvest must be between"):
        bookings.move(harvest, option=late, reason=REASON, by=BY, at=at)


def test_a_harvest_is_not_cancelled_from_under_its_procedure(expanded, at):
    harvest = walk.book(expanded, at=at, visit=Visit.HARVEST, days_ahead=1)
    walk.book(expanded, at=at, days_ahead=22)

    with pytest.raises(StepRefused, match="The procedure day on Tue 26 May 2026 needs this harvest"):
        bookings.cancel(harvest, reason=REASON, by=BY, at=at)


def test_a_harvest_day_ends_with_its_harvest(expanded, at):
    day = walk.book(expanded, at=at, visit=Visit.HARVEST, days_ahead=1)
    arrived = bookings.arrive(day, by=BY, at=day.during.lower)
    with pytest.raises(StepRefused, match="Record what was harvested first"):
        bookings.fulfil(arrived, by=BY, at=day.during.upper)

    preparation.record_harvest(
        arrived, tissue=Tissue.BONE_MARROW, kit="KIT-9", volume_ml=55, by=BY, at=day.during.upper
    )

    assert bookings.fulfil(arrived, by=BY, at=day.during.upper).status == AppointmentStatus.FULFILLED


def test_cells_that_did_not_grow_are_harvested_again(expanded, at):
    day = walk.book(expanded, at=at, visit=Visit.HARVEST, days_ahead=1)
    arrived = bookings.arrive(day, by=BY, at=day.during.lower)
    harvest = preparation.record_harvest(
        arrived, tissue=Tissue.BONE_MARROW, kit="KIT-9", volume_ml=55, by=BY, at=day.during.upper
    )
    bookings.fulfil(arrived, by=BY, at=day.during.upper)
    failed = preparation.harvest_failed(harvest, reason="Did not grow", by=BY, at=day.during.upper)

    again = walk.book(expanded, at=day.during.upper, visit=Visit.HARVEST, days_ahead=7)

    assert (failed.status, again.status) == (HarvestStatus.FAILED, AppointmentStatus.BOOKED)
