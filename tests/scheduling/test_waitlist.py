from datetime import time, timedelta

import pytest
from django.core import mail
from django.db.backends.postgresql.psycopg_any import DateTimeTZRange

from clinic import messages, optouts, patients
from clinic.clock import at_local, day_bounds, local_date
from clinic.models import Message
from clinic.status import StepRefused
from followup.demo import walk
from scheduling import bookings, closures, reminders, waitlist
from scheduling.models import Appointment, Episode, FreedTime, Lot, Reservation, Resource, WaitlistOffer
from scheduling.models.protocol import Visit
from scheduling.states import AppointmentStatus, OfferStatus, WaitlistStatus

P = Visit.PROCEDURE
BY = walk.BY
HOUR = timedelta(hours=1)


def treatment(site, name, *, at, code=walk.SAME_SESSION, **given):
    return walk.open_episode(walk.register(site, at=at, mrn=name, **given), at=at, code=code)


@pytest.fixture
def freed(site, at):
    """The first morning of a week ahead, booked; tests give it up."""
    return walk.book(treatment(site, "FIRST", at=at), at=at, days_ahead=7)


@pytest.fixture
def waits(site, at):
    """Puts somebody on the list who is booked three weeks ahead, a minute after the one before."""
    count = 0

    def join(*, booked=True, days_ahead=21, code=walk.SAME_SESSION, given=None, **wants):
        nonlocal count
        count += 1
        episode = treatment(site, f"WAIT-{count}", at=at, code=code, **(given or {}))
        if booked:
            walk.book(episode, at=at, days_ahead=days_ahead)
        return waitlist.add(episode, visit=P, by=BY, at=at + timedelta(minutes=count), **wants)

    return join


def cancel(appointment, at):
    return bookings.cancel(appointment, reason="The patient is ill", by=BY, at=at)


def turns(entry):
    return [(offer.status, offer.reason) for offer in entry.offers.order_by("made_at")]


def offer_to(entry):
    return WaitlistOffer.objects.get(entry=entry, status=OfferStatus.OPEN)


def present(entry):
    return waitlist.booked(entry.episode, P)


def live(entry):
    """Every visit of the patient that still keeps time."""
    kept = Reservation.objects.filter(step__appointment__episode=entry.episode, live=True)
    return sorted(set(kept.values_list("step__appointment__during", flat=True)))


# Who is offered what


def test_a_cancelled_day_is_offered_to_who_has_waited_longest_and_kept_for_them(freed, waits, at):
    first, second = waits(), waits()
    cancel(freed, at + HOUR)

    made = waitlist.sweep(at=at + HOUR)

    offer = offer_to(first)
    assert made == 1
    assert (offer.during, offer.until) == (freed.during, at + HOUR + timedelta(hours=4))
    assert (offer.held.status, offer.held.held_until) == (AppointmentStatus.HELD, offer.until)
    assert not second.offers.exists()


def test_the_booking_stays_until_the_patient_accepts_and_then_it_has_moved(freed, waits, at):
    entry = waits()
    has = present(entry)
    was = has.during
    cancel(freed, at + HOUR)
    waitlist.sweep(at=at + HOUR)

    assert (present(entry).during, len(live(entry))) == (was, 2)

    waitlist.accept(offer_to(entry), by="patient", at=at + 2 * HOUR)

    moved = present(entry)
    assert (moved.pk, moved.during, moved.version) == (has.pk, freed.during, has.version + 1)
    assert live(entry) == [freed.during]
    assert Episode.objects.get(pk=entry.episode_id).anchor_at == moved.steps.get(code="injection").during.lower
    entry.refresh_from_db()
    assert (entry.status, turns(entry)) == (WaitlistStatus.PLACED, [(OfferStatus.ACCEPTED, "")])


def test_a_patient_without_a_booking_accepts_and_is_booked(freed, waits, at):
    entry = waits(booked=False)
    cancel(freed, at + HOUR)
    waitlist.sweep(at=at + HOUR)

    waitlist.accept(offer_to(entry), by="patient", at=at + 2 * HOUR)

    booked = present(entry)
    assert (booked.status, booked.during) == (AppointmentStatus.BOOKED, freed.during)
    assert live(entry) == [freed.during]


def test_the_units_of_a_booking_go_with_it_to_the_sooner_day(site, waits, at):
    code = "disc-progenitor-allogeneic"
    gone = walk.book(treatment(site, "FIRST", at=at, code=code), at=at, days_ahead=7)
    entry = waits(code=code)
    units = list(present(entry).units.all())
    cancel(gone, at + HOUR)
    waitlist.sweep(at=at + HOUR)

    offer = offer_to(entry)
    assert (len(units), offer.held.units.count(), present(entry).units.count()) == (1, 0, 1)

    waitlist.accept(offer, by="patient", at=at + 2 * HOUR)
    assert (present(entry).during.lower, present(entry).units.count()) == (gone.during.lower, 1)


@pytest.mark.parametrize("end", ["decline", "lapse"])
def test_who_declines_or_does_not_answer_passes_the_time_to_the_next(freed, waits, at, end):
    first, second = waits(), waits()
    has = present(first)
    cancel(freed, at + HOUR)
    waitlist.sweep(at=at + HOUR)
    later = at + HOUR + timedelta(hours=4)

    if end == "decline":
        waitlist.decline(offer_to(first), by="patient", at=at + 2 * HOUR)
    waitlist.sweep(at=later)

    how = OfferStatus.DECLINED if end == "decline" else OfferStatus.LAPSED
    assert turns(first) == [(how, "")]
    assert offer_to(second).during == freed.during
    assert live(first) == [has.during]
    first.refresh_from_db()
    assert first.status == WaitlistStatus.WAITING


def test_an_offer_lapses_by_the_clock_without_any_worker(freed, waits, at):
    entry = waits()
    cancel(freed, at + HOUR)
    waitlist.sweep(at=at + HOUR)
    offer = offer_to(entry)

    with pytest.raises(waitlist.OfferOver, match=r"The time was kept until Mon 4 May 2026, 14:00 \(Chicago\)"):
        waitlist.accept(offer, by="patient", at=offer.until)

    assert (offer_to(entry), waitlist.standing(offer, at=offer.until)) == (offer, OfferStatus.LAPSED)


def test_nothing_is_offered_less_than_three_days_before(freed, waits, at):
    entry = waits()
    soon = freed.during.lower - timedelta(hours=72) + timedelta(minutes=1)
    cancel(freed, soon)

    assert waitlist.sweep(at=soon) == 0
    assert turns(entry) == []


def test_exactly_three_days_before_it_still_is(freed, waits, at):
    waits()
    just = freed.during.lower - timedelta(hours=72)
    cancel(freed, just)

    assert waitlist.sweep(at=just) == 1


def test_nobody_is_asked_at_night(freed, waits, site, at):
    entry = waits()
    cancel(freed, at + HOUR)
    today = local_date(at, site.zone)
    night, morning = (at_local(today + timedelta(days=n), time(hour), site.zone) for n, hour in ((0, 21), (1, 8)))

    assert [waitlist.sweep(at=night), waitlist.sweep(at=morning)] == [0, 1]
    assert offer_to(entry).made_at == morning


def test_one_freed_time_has_one_offer_and_a_second_sweep_makes_no_other(freed, waits, at):
    waits(), waits()
    cancel(freed, at + HOUR)

    assert [waitlist.sweep(at=at + HOUR) for _ in range(3)] == [1, 0, 0]


def test_everybody_passed_over_is_written_down_with_the_reason(freed, waits, at):
    booked_sooner = waits(days_ahead=3)
    fridays = waits(weekdays=[4])
    later = waits(earliest=at.date() + timedelta(days=10))
    fits = waits()
    cancel(freed, at + HOUR)

    waitlist.sweep(at=at + HOUR)

    why = [turns(entry) for entry in (booked_sooner, fridays, later)]
    assert why == [
        [(OfferStatus.PASSED, "The patient is booked on Thu 7 May 2026: no sooner day.")],
        [(OfferStatus.PASSED, "The patient asked for other weekdays.")],
        [(OfferStatus.PASSED, "The patient asked for other days.")],
    ]
    assert offer_to(fits).during == freed.during


def test_a_patient_whose_cells_are_not_in_stock_is_passed_over(freed, waits, at):
    entry = waits(booked=False, code="umbilical-cord-allogeneic")
    Lot.objects.filter(product=entry.episode.protocol.product).update(expires_at=at)
    cancel(freed, at + HOUR)

    waitlist.sweep(at=at + HOUR)

    assert [status for status, _ in turns(entry)] == [OfferStatus.PASSED]


# What counts as freed


def test_a_day_moved_away_is_freed_and_so_is_what_an_acceptance_leaves(freed, waits, at):
    first, second = waits(days_ahead=21), waits(days_ahead=28)
    left = present(first).during
    option = bookings.find(
        freed.episode, visit=P, earliest=at.date() + timedelta(days=40), at=at, ignore=freed, limit=1
    ).options[0]
    bookings.move(freed, option=option, reason="Holiday", by=BY, at=at + HOUR)
    waitlist.sweep(at=at + HOUR)
    waitlist.accept(offer_to(first), by="patient", at=at + HOUR)

    waitlist.sweep(at=at + HOUR)

    assert offer_to(second).during == left


def test_a_hold_that_lapsed_is_freed(site, waits, at):
    entry = waits()
    episode = treatment(site, "HOLDER", at=at)
    option = bookings.find(episode, visit=P, earliest=at.date() + timedelta(days=7), at=at, limit=1).options[0]
    held = bookings.hold(episode, visit=P, option=option, by=BY, at=at)

    bookings.lapse_holds(at=held.held_until)
    waitlist.sweep(at=held.held_until)

    assert offer_to(entry).during == held.during


def test_a_room_reopened_is_offered_and_to_more_than_one(site, waits, at):
    day = local_date(at, site.zone) + timedelta(days=7)
    all_day = DateTimeTZRange(*day_bounds(day, site.zone))
    arms = [Resource.objects.get(site=site, name=f"C-arm {n}") for n in (1, 2)]
    shut = [closures.close(arm, during=all_day, reason="maintenance", by=BY, at=at, plan={}) for arm in arms]
    first, second = waits(), waits()
    closures.reopen(shut[0], by=BY, at=at + HOUR)

    waitlist.sweep(at=at + HOUR)
    waitlist.accept(offer_to(first), by="patient", at=at + HOUR)
    waitlist.sweep(at=at + HOUR)

    assert local_date(present(first).during.lower, site.zone) == day
    assert local_date(offer_to(second).during.lower, site.zone) == day


def test_the_time_an_offer_kept_is_not_freed_a_second_time(freed, waits, at):
    entry = waits()
    cancel(freed, at + HOUR)
    waitlist.sweep(at=at + HOUR)
    waitlist.decline(offer_to(entry), by="patient", at=at + HOUR)

    waitlist.sweep(at=at + 2 * HOUR)

    assert FreedTime.objects.count() == 1
    assert turns(entry) == [(OfferStatus.DECLINED, "")]


def test_who_joins_later_is_offered_what_is_still_free(freed, waits, at):
    cancel(freed, at + HOUR)
    assert waitlist.sweep(at=at + HOUR) == 0
    entry = waits()

    waitlist.sweep(at=at + 2 * HOUR)

    assert offer_to(entry).during == freed.during


# What becomes of the list


def test_an_idle_sweep_asks_once(freed, waits, at, django_assert_num_queries):
    waits()

    with django_assert_num_queries(1):
        assert waitlist.sweep(at=at + HOUR) == 0


def test_who_has_died_or_is_no_longer_treated_leaves_the_list_and_their_offer_goes_on(freed, waits, at):
    dead, given_up, next_one = waits(), waits(), waits()
    cancel(freed, at + HOUR)
    waitlist.sweep(at=at + HOUR)
    patients.mark_deceased(dead.episode.patient, on=None, by=BY, at=at + HOUR)
    bookings.cancel_episode(given_up.episode, reason="Feels better", by=BY, at=at + HOUR)

    waitlist.sweep(at=at + 2 * HOUR)

    for entry in (dead, given_up):
        entry.refresh_from_db()
    assert (dead.status, given_up.status) == (WaitlistStatus.WITHDRAWN, WaitlistStatus.WITHDRAWN)
    assert turns(dead) == [(OfferStatus.WITHDRAWN, "The patient has died.")]
    assert offer_to(next_one).during == freed.during


def test_a_treatment_given_up_while_a_time_is_offered_frees_both_times(freed, waits, at):
    entry = waits()
    cancel(freed, at + HOUR)
    waitlist.sweep(at=at + HOUR)

    bookings.cancel_episode(entry.episode, reason="Feels better", by=BY, at=at + 2 * HOUR)

    assert live(entry) == []


def test_who_gets_no_email_is_offered_the_time_and_shown_to_the_desk_to_phone(freed, waits, at):
    entry = waits()
    optouts.stop(entry.episode.patient, by=BY, at=at)
    cancel(freed, at + HOUR)

    waitlist.sweep(at=at + HOUR)

    assert list(waitlist.to_phone(at=at + HOUR)) == [offer_to(entry)]
    assert not Message.objects.filter(kind=waitlist.OFFER).exists()


def test_withdrawn_by_the_desk_the_offer_is_taken_back_and_goes_on(freed, waits, at):
    entry, following = waits(), waits()
    cancel(freed, at + HOUR)
    waitlist.sweep(at=at + HOUR)

    waitlist.withdraw(entry, reason="Moved away", by=BY, at=at + HOUR)
    waitlist.sweep(at=at + HOUR)

    entry.refresh_from_db()
    assert (entry.status, turns(entry)) == (WaitlistStatus.WITHDRAWN, [(OfferStatus.WITHDRAWN, "Moved away")])
    assert offer_to(following).during == freed.during


def test_a_booking_that_moved_sooner_meanwhile_takes_the_offer_back(freed, waits, at):
    entry = waits()
    cancel(freed, at + HOUR)
    waitlist.sweep(at=at + HOUR)
    has = present(entry)
    sooner = bookings.find(entry.episode, visit=P, earliest=at.date() + timedelta(days=2), at=at, ignore=has, limit=1)
    bookings.move(has, option=sooner.options[0], reason="Asked", by=BY, at=at + HOUR)

    with pytest.raises(waitlist.OfferOver, match="moved to a sooner time"):
        waitlist.accept(offer_to(entry), by="patient", at=at + HOUR)
    waitlist.sweep(at=at + HOUR)

    assert turns(entry)[0] == (OfferStatus.WITHDRAWN, "The booking has moved to a sooner time meanwhile.")


def test_the_time_beside_a_booking_can_be_given_up_but_not_booked_or_moved(freed, waits, at):
    entry = waits()
    cancel(freed, at + HOUR)
    waitlist.sweep(at=at + HOUR)
    held, anchor = offer_to(entry).held, Episode.objects.get(pk=entry.episode_id).anchor_at

    with pytest.raises(StepRefused, match="offered in place of the one the patient has"):
        bookings.book(held, by=BY, at=at + HOUR)
    bookings.cancel(held, reason="Room is needed", by=BY, at=at + HOUR)

    assert Episode.objects.get(pk=entry.episode_id).anchor_at == anchor
    assert present(entry).status == AppointmentStatus.BOOKED


@pytest.mark.parametrize(
    ("visit", "wants", "why"),
    [
        (Visit.MRI, {}, "An MRI is booked inside its follow-up window"),
        (P, {"weekdays": [7]}, "Choose weekdays"),
        (P, {"earliest": 5, "latest": 3}, "before the first"),
        (P, {"latest": -1}, "has passed"),
        (P, {"earliest": 400}, "more than a year ahead"),
        (P, {"earliest": 30}, "only a sooner day is offered"),
    ],
)
def test_what_cannot_be_waited_for_is_refused_in_words(site, at, visit, wants, why):
    episode = treatment(site, "WAIT", at=at)
    walk.book(episode, at=at, days_ahead=21)
    days = {
        name: at.date() + timedelta(days=value) if isinstance(value, int) else value for name, value in wants.items()
    }

    with pytest.raises(StepRefused, match=why):
        waitlist.add(episode, visit=visit, by=BY, at=at, **days)


def test_nobody_waits_twice_for_the_same_visit(waits, at):
    entry = waits()

    with pytest.raises(StepRefused, match="on the waitlist for this visit already"):
        waitlist.add(entry.episode, visit=P, by=BY, at=at)


# What the patient is told


def delivered(at):
    mail.outbox.clear()
    reminders.queue_due(at=at)
    messages.deliver(at=at)
    return [(email.to[0], email.subject) for email in mail.outbox if "free" in email.subject or "now" in email.subject]


def test_the_offer_goes_out_by_email_and_the_move_after_it(freed, waits, at):
    entry = waits()
    cancel(freed, at + HOUR)
    waitlist.sweep(at=at + HOUR)

    offered = delivered(at + HOUR)
    body = next(email.body for email in mail.outbox if "free" in email.subject)
    waitlist.accept(offer_to(entry), by="patient", at=at + 2 * HOUR)

    assert offered == [("wait-1@example.org", "A sooner appointment is free: Mon 11 May 2026, 08:00 (Chicago)")]
    assert "We keep it for you until Mon 4 May 2026, 14:00 (Chicago)." in body
    assert [page for page in ("/accept/", "/decline/", "/leave/") if page not in body] == []
    assert ("wait-1@example.org", "Your appointment is now: Mon 11 May 2026, 08:00 (Chicago)") in delivered(
        at + 2 * HOUR
    )


def test_an_offer_that_is_over_is_not_sent(freed, waits, at):
    entry = waits()
    cancel(freed, at + HOUR)
    waitlist.sweep(at=at + HOUR)
    waitlist.decline(offer_to(entry), by=BY, at=at + HOUR)

    delivered(at + HOUR)

    told = Message.objects.get(kind=waitlist.OFFER)
    assert (told.status, told.reason) == ("skipped", "The offer is over: declined.")


def test_the_place_on_the_list_is_by_time_of_joining(waits):
    entries = [waits(), waits(), waits()]

    listed = type(entries[0]).objects.with_place().order_by("place")

    assert [(row.pk, row.place) for row in listed] == [(entry.pk, n) for n, entry in enumerate(entries, start=1)]


def test_two_holds_never_stand_for_one_patient(freed, waits, at):
    """What would let a patient end with two bookings is refused by the database itself."""
    entry = waits()
    cancel(freed, at + HOUR)
    waitlist.sweep(at=at + HOUR)

    assert Appointment.objects.filter(episode=entry.episode, status=AppointmentStatus.HELD).count() == 1
